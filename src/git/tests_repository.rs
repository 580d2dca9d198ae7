//! Discovery, reads, refs, commits, diffs, and that nothing of a repository's configuration is executed.

use std::fs;
use std::os::unix::fs::symlink;

use super::testing::{TestRepo, ada};
use super::{ChangeStatus, Error, IntegrateUnit, Repository};
use crate::spec::Strategy;

#[test]
fn a_repository_is_found_from_a_directory_below() {
    let repo = TestRepo::new();
    fs::create_dir_all(repo.root().join("x/y")).unwrap();
    let found = Repository::discover(&repo.root().join("x/y"), &repo.user()).unwrap();
    assert_eq!(found.root(), repo.root());
    assert_eq!(found.main_root(), repo.root());
    assert_eq!(found.common_dir(), repo.root().join(".git"));
    assert_eq!(found.current_branch().unwrap().as_deref(), Some("main"));
    assert!(!found.is_shallow());
}

#[test]
fn a_linked_worktree_knows_the_main_one() {
    let repo = TestRepo::new();
    repo.git(&["worktree", "add", "-q", "../linked", "-b", "side"]);
    let found = Repository::discover(&repo.path("linked"), &repo.user()).unwrap();
    assert_eq!(
        (found.root(), found.main_root()),
        (&*repo.path("linked"), &*repo.root())
    );
    assert_eq!(found.current_branch().unwrap().as_deref(), Some("side"));
}

#[test]
fn what_cannot_be_worked_in_is_refused_by_its_name() {
    let repo = TestRepo::new();
    let at = |path: &str| Repository::discover(&repo.path(path), &repo.user()).unwrap_err();
    assert!(matches!(at("home"), Error::NotARepository(_)));
    repo.git(&["clone", "-q", "--bare", ".", "../bare.git"]);
    assert!(matches!(at("bare.git"), Error::Bare(_)));
    repo.git(&["init", "-q", "../unborn"]);
    assert!(matches!(at("unborn"), Error::Unborn(_)));
    repo.git(&["init", "-q", "--object-format=sha256", "../sha256"]);
    assert!(matches!(at("sha256"), Error::Sha256(_)));
    repo.git(&["init", "-q", "--ref-format=reftable", "../reftable"]);
    assert!(matches!(at("reftable"), Error::Reftable(_)));
}

#[test]
fn a_missing_git_and_an_old_git_are_told() {
    let repo = TestRepo::new();
    let mut user = repo.user();
    user.path = repo.path("home").into();
    assert!(matches!(
        Repository::discover(&repo.root(), &user),
        Err(Error::GitMissing)
    ));
    let fake = repo.path("home/git");
    fs::write(&fake, "#!/bin/sh\necho git version 2.39.5\n").unwrap();
    fs::set_permissions(&fake, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let error = Repository::discover(&repo.root(), &user).unwrap_err();
    assert!(
        error.to_string().contains("2.39.5 is too old: install 2.41"),
        "{error}"
    );
}

#[test]
fn versions_are_read_as_vendors_write_them() {
    use super::repository::parse_version;
    assert_eq!(parse_version("2.47.3"), Some((2, 47)));
    assert_eq!(parse_version("2.39.5 (Apple Git-154)"), Some((2, 39)));
    assert_eq!(parse_version("2.50-rc1"), Some((2, 50)));
    assert_eq!(parse_version("next"), None);
}

#[test]
fn a_detached_head_has_no_branch() {
    let repo = TestRepo::new();
    repo.git(&["checkout", "-q", "--detach"]);
    assert_eq!(repo.open().current_branch().unwrap(), None);
}

#[test]
fn the_identity_is_the_configured_one_or_an_error() {
    let repo = TestRepo::new();
    assert_eq!(repo.open().identity().unwrap(), ada());
    repo.git(&["config", "--unset", "user.email"]);
    assert!(matches!(repo.open().identity(), Err(Error::IdentityMissing)));
    fs::write(
        repo.path("home/.gitconfig"),
        "[user]\n\temail = home@example.com\n",
    )
    .unwrap();
    assert_eq!(repo.open().identity().unwrap().email, "home@example.com");
}

#[test]
fn a_shallow_clone_is_known_and_its_end_is_respected() {
    let repo = TestRepo::new();
    repo.commit("second", &[("b", "b")]);
    let url = format!("file://{}", repo.root().display());
    repo.git(&["clone", "-q", "--depth=1", &url, "../shallow"]);
    let found = Repository::discover(&repo.path("shallow"), &repo.user()).unwrap();
    assert!(found.is_shallow());
    let head = found.resolve("HEAD").unwrap().unwrap();
    assert!(found.is_ancestor(&head, &head).unwrap());
    assert_eq!(found.merge_base(&head, &head).unwrap(), Some(head));
}

#[test]
fn branches_tips_and_revisions_are_read() {
    let repo = TestRepo::new();
    let first = repo.head();
    repo.git(&["branch", "feature/x"]);
    let second = repo.commit("second", &[("b", "b")]);
    let found = repo.open();
    assert_eq!(found.branches().unwrap(), ["feature/x", "main"]);
    assert_eq!(found.tip("feature/x").unwrap(), Some(first.clone()));
    assert_eq!(found.tip("none").unwrap(), None);
    assert_eq!(found.tip("main~1").unwrap(), None);
    assert_eq!(found.resolve("HEAD~1").unwrap(), Some(first.clone()));
    assert_eq!(found.resolve("--help").unwrap(), None);
    assert!(found.is_ancestor(&first, &second).unwrap());
    assert!(!found.is_ancestor(&second, &first).unwrap());
    assert_eq!(found.merge_base(&first, &second).unwrap(), Some(first.clone()));
    assert_eq!(
        found.commits_between(&first, &second).unwrap(),
        std::slice::from_ref(&second)
    );
    assert_eq!(found.tracked_paths(&second).unwrap(), ["a.txt", "b"]);
    assert_eq!(
        found.read_file(&second, "b").unwrap().as_deref(),
        Some(b"b".as_slice())
    );
    assert_eq!(found.read_file(&first, "b").unwrap(), None);
}

#[test]
fn replacements_are_not_believed() {
    let repo = TestRepo::new();
    let first = repo.head();
    let second = repo.commit("second", &[("b", "b")]);
    repo.git(&["replace", second.as_str(), first.as_str()]);
    let found = repo.open();
    assert!(found.read_file(&second, "b").unwrap().is_some());
    assert_eq!(found.commits_between(&first, &second).unwrap(), [second]);
}

#[test]
fn commits_are_deterministic_and_carry_trailers() {
    let repo = TestRepo::new();
    let (found, head) = (repo.open(), repo.head());
    let tree = found.tree_of(&head).unwrap();
    let make = || {
        let message = "Title\n\nBody\n\nPipeline-Run: r-1\nPipeline-Unit: api";
        found
            .commit_tree(
                &tree,
                &[&head],
                message,
                &ada(),
                "2026-11-21T09:00:00Z".parse().unwrap(),
            )
            .unwrap()
    };
    let commit = make();
    assert_eq!(commit, make());
    let trailers = found.trailers(&commit).unwrap();
    let expected =
        [("Pipeline-Run", "r-1"), ("Pipeline-Unit", "api")].map(|(k, v)| (k.to_owned(), v.to_owned()));
    assert_eq!(trailers, expected);
    assert!(found.trailers(&head).unwrap().is_empty());
    assert_eq!(
        repo.git(&["log", "-1", "--format=%an <%ae> %aI %cI", commit.as_str()]),
        "Ada <ada@example.com> 2026-11-21T09:00:00Z 2026-11-21T09:00:00Z"
    );
}

#[test]
fn an_identity_cannot_break_out_of_its_line() {
    let repo = TestRepo::new();
    let (found, head) = (repo.open(), repo.head());
    let who = super::Identity {
        name: "A>\nparent x".into(),
        email: "<e>\n".into(),
    };
    let tree = found.tree_of(&head).unwrap();
    let commit = found
        .commit_tree(&tree, &[], "m", &who, jiff::Timestamp::UNIX_EPOCH)
        .unwrap();
    assert_eq!(
        repo.git(&["log", "-1", "--format=%an|%ae|%p", commit.as_str()]),
        "Aparent x|e|"
    );
}

#[test]
fn only_refs_of_ours_are_written_or_deleted() {
    let repo = TestRepo::new();
    let (found, head) = (repo.open(), repo.head());
    for foreign in [
        "refs/heads/main",
        "refs/tags/v1",
        "HEAD",
        "refs/pipeline/../heads/main",
        "refs/pipeline/a b",
    ] {
        assert!(
            matches!(found.write_ref(foreign, &head, None), Err(Error::ForeignRef(_))),
            "{foreign}"
        );
        assert!(
            matches!(found.delete_ref(foreign, None), Err(Error::ForeignRef(_))),
            "{foreign}"
        );
    }
    found.write_ref("refs/pipeline/runs/r/a", &head, None).unwrap();
    found.write_ref("refs/heads/pipeline/x", &head, None).unwrap();
    assert_eq!(
        found.refs_below("refs/pipeline/").unwrap(),
        [("refs/pipeline/runs/r/a".to_owned(), head.clone())]
    );
    found.delete_ref("refs/pipeline/runs/r/a", Some(&head)).unwrap();
    found.delete_ref("refs/pipeline/runs/r/a", Some(&head)).unwrap();
    assert!(found.refs_below("refs/pipeline/").unwrap().is_empty());
}

#[test]
fn a_ref_that_moved_is_left_alone() {
    let repo = TestRepo::new();
    let first = repo.head();
    let second = repo.commit("second", &[("b", "b")]);
    let found = repo.open();
    found.write_ref("refs/pipeline/x", &first, None).unwrap();
    assert!(matches!(
        found.write_ref("refs/pipeline/x", &second, Some(&second)),
        Err(Error::RefMoved { .. })
    ));
    assert!(matches!(
        found.delete_ref("refs/pipeline/x", Some(&second)),
        Err(Error::RefMoved { .. })
    ));
    found.write_ref("refs/pipeline/x", &second, Some(&first)).unwrap();
}

#[test]
fn changed_files_tell_kind_modes_and_texts() {
    let repo = TestRepo::new();
    let long: String = (0..40).map(|n| format!("line {n}\n")).collect();
    let from = repo.commit(
        "base",
        &[
            ("old.txt", &long),
            ("gone", "x"),
            ("t", "t"),
            ("m\u{e4} \"q\"", "1\n"),
        ],
    );
    repo.git(&["mv", "old.txt", "new.txt"]);
    fs::remove_file(repo.root().join("gone")).unwrap();
    fs::remove_file(repo.root().join("t")).unwrap();
    symlink("a.txt", repo.root().join("t")).unwrap();
    fs::write(repo.root().join("bin"), [0, 159, 146, 150]).unwrap();
    let to = repo.commit("next", &[("m\u{e4} \"q\"", "1\n2\n")]);
    let files = repo.open().changed_files(&from, &to).unwrap();
    let row = |path: &str| files.iter().find(|file| file.path == path).unwrap();
    assert_eq!(row("new.txt").status, ChangeStatus::Renamed);
    assert_eq!(row("new.txt").old_path.as_deref(), Some("old.txt"));
    assert_eq!(
        (row("gone").status, row("gone").new_mode),
        (ChangeStatus::Deleted, 0)
    );
    assert_eq!(
        (row("t").status, row("t").new_mode),
        (ChangeStatus::TypeChanged, 0o120_000)
    );
    assert_eq!((row("bin").new_bytes, row("bin").new_text.clone()), (4, None));
    assert_eq!(row("m\u{e4} \"q\"").new_text.as_deref(), Some("1\n2\n"));
    let stats = repo.open().diff_stat(&from, &to).unwrap();
    assert!(stats.iter().any(|stat| stat.path == "bin" && stat.binary));
    assert!(stats.iter().any(|stat| stat.path == "new.txt" && stat.added == 0));
    let lines = repo.open().changed_lines(&from, &to).unwrap();
    assert!(
        lines
            .iter()
            .any(|range| range.file == "m\u{e4} \"q\"" && (range.first, range.last) == (2, 2))
    );
    assert!(
        lines
            .iter()
            .any(|range| range.file == "gone" && range.last < range.first)
    );
}

#[test]
fn a_patch_is_cut_at_its_bound() {
    let repo = TestRepo::new();
    let from = repo.head();
    let to = repo.commit("big", &[("big", &"x\n".repeat(50_000))]);
    let patch = repo.open().diff_patch(&from, &to, 1000).unwrap();
    assert_eq!((patch.text.len(), patch.truncated), (1000, true));
    assert!(!repo.open().diff_patch(&from, &to, 1 << 20).unwrap().truncated);
}

#[test]
fn attributes_of_the_newer_side_hide_nothing() {
    let repo = TestRepo::new();
    let from = repo.head();
    let to = repo.commit("sly", &[(".gitattributes", "* -diff\n"), ("a.txt", "changed\n")]);
    let patch = repo.open().diff_patch(&from, &to, 1 << 20).unwrap();
    assert!(String::from_utf8(patch.text).unwrap().contains("+changed"));
}

#[test]
fn nothing_in_the_configuration_is_executed_by_our_own_work() {
    let repo = TestRepo::new();
    let (script, trace) = repo.canary();
    let base = repo.commit(
        "attributes",
        &[(".gitattributes", "* filter=evil diff=evil merge=evil\n")],
    );
    repo.git(&["checkout", "-q", "-b", "side"]);
    let head = repo.commit("side", &[("a.txt", "one\nside\nthree\n")]);
    repo.git(&["checkout", "-q", "main"]);
    let target = repo.commit("main", &[("a.txt", "one\nmain\nthree\n"), ("b", "b")]);
    for key in [
        "filter.evil.clean",
        "filter.evil.smudge",
        "diff.evil.textconv",
        "diff.evil.command",
        "diff.external",
        "merge.evil.driver",
        "core.fsmonitor",
        "core.pager",
        "core.editor",
        "gpg.program",
        "core.sshCommand",
        "core.alternateRefsCommand",
        "trailer.x.command",
        "credential.helper",
    ] {
        repo.git(&["config", key, &script]);
    }
    repo.git(&["config", "commit.gpgSign", "true"]);
    repo.git(&["config", "log.showSignature", "true"]);
    let hooks = repo.root().join(".git/hooks");
    fs::create_dir_all(&hooks).unwrap();
    for hook in [
        "reference-transaction",
        "post-checkout",
        "post-index-change",
        "pre-commit",
        "post-merge",
    ] {
        fs::copy(&script, hooks.join(hook)).unwrap();
    }
    drop(fs::remove_file(&trace));
    let found = repo.open();
    let unit = IntegrateUnit {
        head: head.clone(),
        base: base.clone(),
    };
    for strategy in [Strategy::Rebase, Strategy::Squash, Strategy::Merge] {
        found.integrate(&target, &unit, strategy, "m", &ada()).unwrap();
    }
    found.diff_patch(&base, &head, 1 << 20).unwrap();
    found.diff_stat(&base, &head).unwrap();
    found.changed_files(&base, &head).unwrap();
    found.trailers(&head).unwrap();
    found.write_ref("refs/pipeline/x", &head, None).unwrap();
    found.delete_ref("refs/pipeline/x", None).unwrap();
    let place = repo.path("wt");
    found.add_worktree(&place, &base, "test").unwrap();
    let view = super::View::Author { commit: base.clone() };
    found
        .populate_private(&place, &repo.path("private"), view)
        .unwrap();
    let limits = super::SnapshotLimits {
        files_max: 100,
        bytes_max: 1 << 20,
    };
    found.take_tree(&place, &base, &limits, &[]).unwrap();
    found.remove_worktree(&place).unwrap();
    let lock = found.lock_target("side").unwrap();
    found.move_target(&lock, &head, &head, "test").unwrap();
    assert!(!trace.exists(), "something was executed");
}

#[test]
fn what_a_commit_holds_is_told_as_git_tells_it() {
    let repo = TestRepo::new();
    repo.write("a.b", "1");
    repo.write("a/deep/er", "22");
    repo.write("a/z", "333");
    repo.write("a0", "");
    symlink("a0", repo.path("repo/link")).unwrap();
    fs::set_permissions(
        repo.path("repo/a0"),
        std::os::unix::fs::PermissionsExt::from_mode(0o755),
    )
    .unwrap();
    let module = format!("160000,{},module", repo.head());
    repo.git(&["add", "-A"]);
    repo.git(&["update-index", "--add", "--cacheinfo", &module]);
    repo.git(&["commit", "-q", "-m", "feat: shapes"]);
    let head = repo.head();
    let listed = repo.git(&["ls-tree", "-r", "-l", "--full-tree", head.as_str()]);
    let told: Vec<String> = repo
        .open()
        .entries(&head)
        .unwrap()
        .into_iter()
        .map(|entry| format!("{:06o} {} {} {}", entry.mode, entry.oid, entry.size, entry.path))
        .collect();
    let expected: Vec<String> = listed
        .lines()
        .map(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            let size = if words[3] == "-" { "0" } else { words[3] };
            format!("{} {} {size} {}", words[0], words[2], words[4])
        })
        .collect();
    assert!(expected.iter().any(|line| line.starts_with("160000")));
    assert_eq!(told, expected);
}
