//! What lands is what was reviewed: every clean rebase of git passes, every tampering with one is refused.

use std::collections::BTreeSet;

use super::objects::raw;
use super::testing::{TestRepo, ada};
use super::tests_differential::{Dice, Files, Histories, History, Worktree};
use super::{IntegrateUnit, Integration, Preservation, Repository};
use crate::id::Oid;
use crate::spec::Strategy;

const STRATEGIES: [Strategy; 3] = [Strategy::Rebase, Strategy::Squash, Strategy::Merge];

fn unit_of(history: &History) -> IntegrateUnit {
    IntegrateUnit {
        head: history.head.clone(),
        base: history.base.clone(),
    }
}

fn files_of(histories: &Histories, opened: &Repository, commit: &Oid) -> Files {
    let content = |mode: u32, oid: &Oid| match mode {
        0o160_000 => oid.as_str().as_bytes().to_vec(),
        _ => histories.raw.find_blob(raw(oid)).unwrap().content().to_vec(),
    };
    let entries = opened.entries(commit).unwrap().into_iter();
    entries
        .map(|entry| (entry.path, (entry.mode, content(entry.mode, &entry.oid))))
        .collect()
}

fn parents_of(histories: &Histories, commit: &Oid) -> Vec<Oid> {
    let found = histories.raw.find_commit(raw(commit)).unwrap();
    found
        .parent_ids()
        .map(|oid| oid.to_string().parse().unwrap())
        .collect()
}

fn differing(one: &Files, other: &Files) -> Vec<String> {
    let paths: BTreeSet<&String> = one.keys().chain(other.keys()).collect();
    let paths = paths
        .into_iter()
        .filter(|path| one.get(*path) != other.get(*path));
    paths.cloned().collect()
}

/// Puts a path to what it is elsewhere.
fn put(files: &mut Files, path: &str, from: &Files) {
    match from.get(path) {
        Some(file) => drop(files.insert(path.to_owned(), file.clone())),
        None => drop(files.remove(path)),
    }
}

/// The files of the commits a candidate comes from.
struct Around {
    base: Files,
    target: Files,
    made: Files,
}

/// One way to make a candidate something else than what was reviewed; the path it is about.
fn tamper(files: &mut Files, around: &Around, dice: &mut Dice) -> Option<(&'static str, String)> {
    let reviewed = differing(&around.target, &around.made);
    let landed = differing(&around.base, &around.target);
    let texts: Vec<String> = files
        .iter()
        .filter(|(path, (mode, content))| {
            *mode & 0o170_000 == 0o100_000 && !content.contains(&0) && *path != ".gitattributes"
        })
        .map(|(path, _)| path.clone())
        .collect();
    let among = |paths: &[String], dice: &mut Dice| (!paths.is_empty()).then(|| dice.of(paths).clone());
    Some(match dice.below(9) {
        0 => {
            let path = among(&reviewed, dice)?;
            put(files, &path, &around.target);
            ("left a change out", path)
        }
        1 => {
            let path = among(&landed, dice)?;
            put(files, &path, &around.base);
            ("undid landed work", path)
        }
        2 | 3 => {
            let path = among(&texts, dice)?;
            let content = &mut files.get_mut(&path)?.1;
            let mut lines: Vec<Vec<u8>> = super::preserve::testing::lines(content);
            let at = dice.below(lines.len() + 1);
            lines.insert(at, b"smuggled in\n".to_vec());
            *content = lines.concat();
            ("added a line", path)
        }
        4 => {
            let path = among(&texts, dice)?;
            let content = &mut files.get_mut(&path)?.1;
            let mut lines: Vec<Vec<u8>> = super::preserve::testing::lines(content);
            let at = dice.below(lines.len());
            *lines.get_mut(at)? = b"something else\n".to_vec();
            *content = lines.concat();
            ("changed a line", path)
        }
        5 => {
            let path = among(&texts, dice)?;
            files.get_mut(&path)?.0 ^= 0o111;
            ("changed a mode", path)
        }
        6 => {
            let path = among(&texts, dice)?;
            let content = &mut files.get_mut(&path)?.1;
            if content.pop() != Some(b'\n') {
                content.push(b'\n');
            }
            ("changed the end of a file", path)
        }
        7 => {
            files.insert("beside.txt".to_owned(), (0o100_644, Vec::new()));
            ("made an empty file", "beside.txt".to_owned())
        }
        _ => {
            let paths: Vec<String> = files.keys().cloned().collect();
            let path = among(&paths, dice)?;
            files.remove(&path);
            ("removed a file", path)
        }
    })
}

/// What holds of one candidate: it is kept, and nothing made of it is.
fn holds(
    histories: &Histories,
    opened: &Repository,
    history: &History,
    strategy: Strategy,
    made: &Oid,
    seed: u64,
) -> usize {
    let unit = unit_of(history);
    let kept = opened.preserve(&history.target, &unit, strategy, made).unwrap();
    assert!(
        matches!(kept, Preservation::Kept(_)),
        "seed {seed}, {strategy:?}: {kept:?}"
    );
    let around = Around {
        base: files_of(histories, opened, &history.base),
        target: files_of(histories, opened, &history.target),
        made: files_of(histories, opened, made),
    };
    let parents = parents_of(histories, made);
    let mut dice = Dice(seed ^ 0x7a3f);
    let mut refused = 0;
    for _ in 0..6 {
        let mut files = around.made.clone();
        let Some((what, path)) = tamper(&mut files, &around, &mut dice) else {
            continue;
        };
        if files == around.made {
            continue;
        }
        let forged = histories.commit(&files, &parents, "forged");
        let said = opened
            .preserve(&history.target, &unit, strategy, &forged)
            .unwrap();
        let Preservation::Broken { paths } = said else {
            panic!("seed {seed}, {strategy:?}: {what} at {path}, and it is said to be kept");
        };
        assert!(
            paths.contains(&path),
            "seed {seed}, {strategy:?}: {what} at {path}: {paths:?}"
        );
        refused += 1;
    }
    refused
}

fn random_histories(seeds: std::ops::Range<u64>, of: impl Fn(&Histories, u64) -> History) {
    let histories = Histories::new();
    let opened = histories.repo.open();
    let (mut kept, mut refused) = (0, 0);
    for seed in seeds {
        let history = of(&histories, seed);
        for strategy in STRATEGIES {
            let built = opened.integrate(&history.target, &unit_of(&history), strategy, "m", &ada());
            if let Integration::Built { commit, .. } = built.unwrap() {
                kept += 1;
                refused += holds(&histories, &opened, &history, strategy, &commit, seed);
            }
        }
    }
    assert!(kept > 20 && refused > 4 * kept, "{kept} kept, {refused} refused");
}

#[test]
fn every_candidate_preserves_its_diff_and_every_tampering_is_refused_1() {
    random_histories(3000..3040, Histories::history);
}

#[test]
fn every_candidate_preserves_its_diff_and_every_tampering_is_refused_2() {
    random_histories(3040..3080, Histories::history);
}

#[test]
fn every_candidate_of_a_unit_whose_base_left_the_target_preserves_its_diff_and_every_tampering_is_refused() {
    random_histories(3080..3120, Histories::rewritten);
}

#[test]
fn a_merge_that_brings_more_than_the_unit_adds_to_its_base_is_refused() {
    let repo = TestRepo::new();
    let onto = repo.head();
    let base = repo.commit("debug", &[("debug.txt", "debug\n")]);
    let head = repo.commit("work", &[("work.txt", "work\n")]);
    let opened = repo.open();
    let merge = |files: &Oid| -> Oid {
        let tree = opened.tree_of(files).unwrap();
        let parents = ["-p", onto.as_str(), "-p", head.as_str()];
        let args = [["commit-tree", "-m", "merge", tree.as_str()].as_slice(), &parents].concat();
        repo.git(&args).parse().unwrap()
    };
    let unit = IntegrateUnit {
        head: head.clone(),
        base,
    };
    let said = |commit: &Oid| opened.preserve(&onto, &unit, Strategy::Merge, commit).unwrap();
    let broken = |paths: &[&str]| Preservation::Broken {
        paths: paths.iter().map(|path| (*path).to_owned()).collect(),
    };
    // As git merges the two, since nobody on the target ever had the file.
    assert_eq!(said(&merge(&head)), broken(&["debug.txt"]));
    let built = opened
        .integrate(&onto, &unit, Strategy::Merge, "m", &ada())
        .unwrap();
    let Integration::Built { commit, .. } = built else {
        panic!("{built:?}")
    };
    assert!(matches!(said(&commit), Preservation::Kept(_)));
    assert_eq!(
        repo.git(&["ls-tree", "--name-only", commit.as_str()]),
        "a.txt\nwork.txt"
    );
    // Its files are right, and what came before the unit would be on the target with it.
    assert_eq!(said(&merge(&commit)), broken(&[]));
}

#[test]
fn every_clean_rebase_by_git_passes() {
    let histories = Histories::new();
    let opened = histories.repo.open();
    let worktree = Worktree::new(&histories.repo);
    let (mut kept, mut refused) = (0, 0);
    for seed in 4000..4030 {
        let history = histories.history(seed);
        if worktree.rebase(&history, seed).is_none() {
            continue;
        }
        let made = histories.repo.git_in(&worktree.root, &["rev-parse", "HEAD"]);
        let made: Oid = made.parse().unwrap();
        if made == history.target {
            // The target holds it all.
            continue;
        }
        kept += 1;
        refused += holds(&histories, &opened, &history, Strategy::Rebase, &made, seed);
    }
    assert!(kept > 8 && refused > 3 * kept, "{kept} kept, {refused} refused");
}

/// A repository in which one file has four versions: as it was, as the head, as the target and as the candidate has it.
fn verdict(was: &str, head: &str, onto: &str, made: &str) -> bool {
    let repo = TestRepo::empty();
    let commit = |parent: Option<&Oid>, text: &str| {
        if let Some(parent) = parent {
            repo.git(&["checkout", "-q", "--detach", parent.as_str()]);
        }
        repo.commit("m", &[("file", text)])
    };
    let base = commit(None, was);
    let head = commit(Some(&base), head);
    let onto = commit(Some(&base), onto);
    let made = commit(Some(&onto), made);
    let unit = IntegrateUnit { head, base };
    let said = repo
        .open()
        .preserve(&onto, &unit, Strategy::Squash, &made)
        .unwrap();
    matches!(said, Preservation::Kept(_))
}

#[test]
fn a_hunk_at_the_wrong_one_of_two_equal_places_is_refused() {
    let was = "start\nf\n  one\nend\nmiddle\nf\n  one\nend\n";
    let head = "start\nf\n  one\nend\nmiddle\nf\n  two\nend\n";
    let onto = "first\nstart\nf\n  one\nend\nmiddle\nf\n  one\nend\n";
    let right = "first\nstart\nf\n  one\nend\nmiddle\nf\n  two\nend\n";
    let wrong = "first\nstart\nf\n  two\nend\nmiddle\nf\n  one\nend\n";
    assert!(verdict(was, head, onto, right));
    assert!(!verdict(was, head, onto, wrong));
}

#[test]
fn a_hunk_made_twice_is_refused() {
    let (was, head) = ("a\nb\nc\nd\n", "a\nb\nnew\nc\nd\n");
    let onto = "landed\na\nb\nc\nd\n";
    assert!(verdict(was, head, onto, "landed\na\nb\nnew\nc\nd\n"));
    assert!(!verdict(was, head, onto, "landed\na\nb\nnew\nnew\nc\nd\n"));
}

#[test]
fn a_hunk_the_target_holds_already_need_not_come_again_and_must_not() {
    let was = "a\nb\nc\nd\ne\nf\n";
    let head = "A\nb\nc\nd\ne\nF\n";
    let onto = "A\nb\nc\nd\ne\nf\n";
    assert!(verdict(was, head, onto, head));
    assert!(!verdict(was, head, onto, onto), "the other hunk is missing");
    assert!(
        !verdict(was, head, onto, "a\nb\nc\nd\ne\nF\n"),
        "the target's is taken back"
    );
}

#[test]
fn line_ends_count() {
    let (was, head, onto) = ("a\r\nb\r\nc\r\nd", "a\r\nB\r\nc\r\nd", "a\r\nb\r\nc\r\nd\r\n");
    assert!(verdict(was, head, onto, "a\r\nB\r\nc\r\nd\r\n"));
    assert!(!verdict(was, head, onto, "a\r\nB\nc\r\nd\r\n"));
    assert!(!verdict(was, head, onto, "a\r\nB\r\nc\r\nd"));
}

#[test]
fn a_change_follows_a_file_that_the_target_renamed_and_goes_nowhere_else() {
    let repo = TestRepo::empty();
    let text: String = (0..20).map(|line| format!("line {line}\n")).collect();
    let base = repo.commit("base", &[("old.txt", &text), ("other.txt", &text)]);
    let changed = text.replace("line 7\n", "line seven\n");
    let head = repo.commit("head", &[("old.txt", &changed)]);
    repo.git(&["checkout", "-q", "--detach", base.as_str()]);
    repo.git(&["mv", "old.txt", "new.txt"]);
    let onto = repo.commit("renamed", &[]);
    let right = repo.commit("right", &[("new.txt", &changed)]);
    repo.git(&["checkout", "-q", "--detach", onto.as_str()]);
    let wrong = repo.commit("wrong", &[("other.txt", &changed)]);
    let unit = IntegrateUnit { head, base };
    let said = |made| {
        repo.open()
            .preserve(&onto, &unit, Strategy::Rebase, made)
            .unwrap()
    };
    assert!(matches!(said(&right), Preservation::Kept(_)));
    assert!(matches!(said(&wrong), Preservation::Broken { .. }));
}

#[test]
fn a_candidate_that_does_not_stand_on_its_base_is_refused() {
    let repo = TestRepo::new();
    let base = repo.head();
    let head = repo.commit("head", &[("b.txt", "b\n")]);
    repo.git(&["checkout", "-q", "--detach", base.as_str()]);
    let onto = repo.commit("landed", &[("c.txt", "c\n")]);
    let opened = repo.open();
    let unit = IntegrateUnit { head, base };
    for strategy in STRATEGIES {
        let built = opened.integrate(&onto, &unit, strategy, "m", &ada()).unwrap();
        let Integration::Built { commit, tree } = built else {
            panic!("{built:?}")
        };
        let kept = opened.preserve(&onto, &unit, strategy, &commit).unwrap();
        let Preservation::Kept(proof) = kept else {
            panic!("{kept:?}")
        };
        assert_eq!((proof.onto(), proof.commit()), (&onto, &commit));
        // The same tree on another commit lands what nobody reviewed as a part of it.
        let astray = repo.git(&[
            "commit-tree",
            "-m",
            "astray",
            "-p",
            unit.base.as_str(),
            tree.as_str(),
        ]);
        let said = opened
            .preserve(&onto, &unit, strategy, &astray.parse().unwrap())
            .unwrap();
        assert!(
            matches!(said, Preservation::Broken { .. }),
            "{strategy:?}: {said:?}"
        );
    }
}

#[test]
fn a_unit_of_which_the_target_took_a_part_and_went_on_is_compared_commit_by_commit() {
    let repo = TestRepo::empty();
    let base = repo.commit("base", &[("a.txt", "one\n"), ("b.txt", "b\n")]);
    let first = repo.commit("first", &[("a.txt", "two\n")]);
    let head = repo.commit("second", &[("b.txt", "B\n")]);
    repo.git(&["checkout", "-q", "--detach", base.as_str()]);
    repo.git(&["cherry-pick", "--allow-empty", first.as_str()]);
    repo.commit("other work", &[("c.txt", "c\n")]);
    let onto = repo.head();
    let opened = repo.open();
    let unit = IntegrateUnit { head, base };
    let built = opened
        .integrate(&onto, &unit, Strategy::Rebase, "m", &ada())
        .unwrap();
    let Integration::Built { commit, .. } = built else {
        panic!("{built:?}")
    };
    let kept = opened.preserve(&onto, &unit, Strategy::Rebase, &commit).unwrap();
    assert!(matches!(kept, Preservation::Kept(_)), "{kept:?}");
    // A commit more than the unit has.
    repo.git(&["checkout", "-q", "--detach", commit.as_str()]);
    let beyond = repo.commit("beyond", &[("d.txt", "d\n")]);
    let said = opened.preserve(&onto, &unit, Strategy::Rebase, &beyond).unwrap();
    assert_eq!(
        said,
        Preservation::Broken {
            paths: vec!["d.txt".to_owned()]
        }
    );
}
