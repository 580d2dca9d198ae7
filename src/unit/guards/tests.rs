//! What the guards find, and what they leave alone.

use super::*;
use crate::unit::tests::{oid, unit};

fn guards() -> Guards {
    Guards {
        protected_paths: vec![".github/**".to_owned(), "CODEOWNERS".to_owned()],
        paths_strict: false,
        files_max: 3,
        bytes_max: 1_000,
    }
}

fn change(path: &str, old: Option<&str>, new: Option<&str>) -> FileChange {
    let status = match (old, new) {
        (None, _) => ChangeStatus::Added,
        (Some(_), None) => ChangeStatus::Deleted,
        (Some(_), Some(_)) => ChangeStatus::Modified,
    };
    FileChange {
        path: path.to_owned(),
        old_path: None,
        status,
        old_mode: if old.is_some() { 0o100_644 } else { 0 },
        new_mode: if new.is_some() { 0o100_644 } else { 0 },
        old_text: old.map(str::to_owned),
        new_text: new.map(str::to_owned),
        new_blob: new.map(|_| oid(5)),
        new_bytes: new.map_or(0, |text| text.len() as u64),
    }
}

fn found(files: Vec<FileChange>) -> Vec<GuardHit> {
    inspect(
        &unit(),
        &guards(),
        &["pipeline.yaml".to_owned()],
        &DiffFacts { files },
        &[],
    )
    .unwrap()
}

fn reasons(files: Vec<FileChange>) -> Vec<Reason> {
    found(files).iter().map(|hit| hit.reason).collect()
}

#[test]
fn ordinary_work_is_left_alone() {
    assert_eq!(
        reasons(vec![change("src/a.rs", Some("fn a() {}"), Some("fn b() {}"))]),
        []
    );
}

#[test]
fn a_protected_path_is_a_gate_also_when_deleted_or_renamed_away() {
    for path in [".github/workflows/ci.yml", "docs/CODEOWNERS", "pipeline.yaml"] {
        assert_eq!(
            reasons(vec![change(path, Some("a"), None)]),
            [Reason::ProtectedPath],
            "{path}"
        );
    }
    let mut renamed = change("x.yml", Some("a"), Some("a"));
    renamed.status = ChangeStatus::Renamed;
    renamed.old_path = Some(".github/x.yml".to_owned());
    assert_eq!(found(vec![renamed])[0].action, GuardAction::Gate);
}

#[test]
fn a_submodule_is_always_a_gate() {
    let mut file = change("vendor", None, Some(""));
    file.new_mode = MODE_SUBMODULE;
    assert_eq!(reasons(vec![file]), [Reason::ProtectedPath]);
}

#[test]
fn work_outside_its_paths_is_a_note_and_refused_when_strict() {
    let unit = Unit {
        paths: vec!["src/**".to_owned()],
        ..unit()
    };
    let facts = DiffFacts {
        files: vec![
            change("src/a.rs", None, Some("")),
            change("doc.md", None, Some("")),
        ],
    };
    let note = inspect(&unit, &guards(), &[], &facts, &[]).unwrap();
    assert_eq!(
        (note[0].reason, note[0].action),
        (Reason::OutsidePaths, GuardAction::Note)
    );
    assert!(note[0].sentence.contains("doc.md") && !note[0].sentence.contains("src/a.rs"));
    let strict = Guards {
        paths_strict: true,
        ..guards()
    };
    assert_eq!(
        inspect(&unit, &strict, &[], &facts, &[]).unwrap()[0].action,
        GuardAction::Refuse
    );
}

#[test]
fn too_many_files_or_bytes_are_refused() {
    let many = (0..4).map(|n| change(&format!("f{n}"), None, Some(""))).collect();
    assert_eq!(reasons(many), [Reason::TooLarge]);
    let mut big = change("f", None, Some(""));
    big.new_bytes = 1_001;
    assert_eq!(found(vec![big])[0].action, GuardAction::Refuse);
}

#[test]
fn secrets_are_refused_with_their_place_and_never_quoted() {
    let lines = [
        format!("key = AKIA{}", "ABCDEFGH12345678"),
        format!("x = ghp_{}", "a1B2".repeat(9)),
        format!("s = xoxb-{}", "1234567890-abcdefghij"),
        format!("-----BEGIN {} PRIVATE KEY-----", "RSA"),
        format!("api_key = \"{}\"", "q8Zx7Lw2Vn5Rt9Kp3Md6Yb1"),
    ];
    for line in lines {
        let hits = found(vec![change(
            "a.txt",
            Some("old\n"),
            Some(&format!("old\n{line}\n")),
        )]);
        assert_eq!(hits[0].reason, Reason::SecretInDiff, "{line}");
        assert!(hits[0].sentence.contains("a.txt:2"), "{}", hits[0].sentence);
        assert!(!hits[0].sentence.contains("AKIA") && !hits[0].sentence.contains("q8Zx"));
    }
}

#[test]
fn what_was_there_before_and_what_only_looks_like_a_name_is_no_secret() {
    let old = format!("k = AKIA{}", "ABCDEFGH12345678");
    assert_eq!(
        reasons(vec![change("a", Some(&old), Some(&format!("{old}\nmore")))]),
        []
    );
    for line in [
        "token = \"the quick brown fox jumps over\"",
        "password: read_password()",
        "secret = \"aaaaaaaaaaaaaaaaaaaaaaaa1\"",
    ] {
        assert_eq!(reasons(vec![change("a", None, Some(line))]), [], "{line}");
    }
}

#[test]
fn removed_and_emptied_tests_are_a_gate_in_every_language() {
    let cases = [
        ("src/a.rs", "#[test]\nfn a() { assert!(x); }", "fn a() {}"),
        (
            "tests/test_a.py",
            "def test_a():\n    assert x\n",
            "def test_a():\n    pass\n",
        ),
        ("web/a.test.ts", "it('a', () => { expect(x) })", ""),
        (
            "a_test.go",
            "func TestA(t *testing.T) { t.Fatal(1) }",
            "package a",
        ),
        (
            "src/test/ATest.java",
            "@Test void a() { assertTrue(x); }",
            "void a() {}",
        ),
        ("spec/a_spec.rb", "it 'a' do\nexpect(x)\nend", "puts 1"),
        ("tests/a.bats", "@test \"a\" {\n[ 1 = 1 ]\n}", "true"),
    ];
    for (path, old, new) in cases {
        assert_eq!(
            reasons(vec![change(path, Some(old), Some(new))]),
            [Reason::TestsWeakened],
            "{path}"
        );
        assert_eq!(reasons(vec![change(path, Some(old), Some(old))]), [], "{path}");
    }
    assert_eq!(
        reasons(vec![change("tests/a.rs", Some(""), None)]),
        [Reason::TestsWeakened]
    );
}

#[test]
fn skip_markers_are_a_gate() {
    let cases = [
        ("src/a.rs", "#[test]\nfn a() {}", "#[test]\n#[ignore]\nfn a() {}"),
        (
            "tests/test_a.py",
            "def test_a(): assert x",
            "@pytest.mark.skip\ndef test_a(): assert x",
        ),
        ("a.spec.js", "it('a')", "it('a')\nit.skip('b')"),
        ("a_test.go", "func TestA() {}", "func TestA() {\nt.Skip()\n}"),
    ];
    for (path, old, new) in cases {
        assert_eq!(
            reasons(vec![change(path, Some(old), Some(new))]),
            [Reason::TestsWeakened],
            "{path}"
        );
    }
}

#[test]
fn tests_that_move_within_the_work_or_may_change_are_no_loss() {
    let test = "#[test]\nfn a() { assert!(x); }";
    let moved = vec![
        change("src/a.rs", Some(test), Some("")),
        change("src/b.rs", None, Some(test)),
    ];
    assert_eq!(reasons(moved), []);
    let unit = Unit {
        may_change_tests: true,
        ..unit()
    };
    let facts = DiffFacts {
        files: vec![change("tests/a.rs", Some(test), None)],
    };
    assert_eq!(inspect(&unit, &guards(), &[], &facts, &[]).unwrap(), []);
}

#[test]
fn a_path_set_back_to_before_a_landed_unit_is_a_gate() {
    let landed = |before| LandedChange {
        unit: "core".parse().unwrap(),
        path: "a.txt".to_owned(),
        before,
    };
    let facts = DiffFacts {
        files: vec![change("a.txt", Some("new"), Some("old"))],
    };
    let hits = inspect(&unit(), &guards(), &[], &facts, &[landed(Some(oid(5)))]).unwrap();
    assert_eq!(
        (hits[0].reason, hits[0].action),
        (Reason::RevertsLanded, GuardAction::Gate)
    );
    assert!(hits[0].sentence.contains("`core`"));
    assert_eq!(
        inspect(&unit(), &guards(), &[], &facts, &[landed(Some(oid(6)))]).unwrap(),
        []
    );
    let gone = DiffFacts {
        files: vec![change("a.txt", Some("new"), None)],
    };
    assert_eq!(
        inspect(&unit(), &guards(), &[], &gone, &[landed(None)]).unwrap()[0].reason,
        Reason::RevertsLanded
    );
}

#[test]
fn hostile_file_names_are_escaped_and_long_lists_are_counted() {
    let mut settings = guards();
    settings.files_max = 100;
    let mut files = vec![change(".github/\u{1b}[2J\n", None, Some(""))];
    files.extend((0..14).map(|n| change(&format!(".github/{n}"), None, Some(""))));
    let hits = inspect(&unit(), &settings, &[], &DiffFacts { files }, &[]).unwrap();
    assert!(!hits[0].sentence.contains(['\u{1b}', '\n']));
    assert!(hits[0].sentence.ends_with("and 5 more."));
}

#[test]
fn a_malformed_pattern_is_an_error_and_no_pass() {
    let broken = Guards {
        protected_paths: vec!["a{b".to_owned()],
        ..guards()
    };
    let error = inspect(&unit(), &broken, &[], &DiffFacts::default(), &[]).unwrap_err();
    assert!(error.to_string().contains("a{b"));
}
