//! Integration in memory gives what git's own rebase gives.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::testing::{TestRepo, ada};
use super::{IntegrateUnit, Integration};
use crate::event::{Conflict, Obstacle};
use crate::id::Oid;
use crate::spec::Strategy;

/// A base, a target that went on from it and a side branch.
struct Fork {
    repo: TestRepo,
    base: Oid,
    target: Oid,
    head: Oid,
}

impl Fork {
    fn new(setup: impl Fn(&TestRepo), target: impl Fn(&TestRepo), side: impl Fn(&TestRepo)) -> Self {
        let repo = TestRepo::new();
        let text: String = (0..30).map(|n| format!("line {n}\n")).collect();
        repo.write("long.txt", &text);
        setup(&repo);
        let base = repo.commit("base", &[]);
        repo.git(&["checkout", "-q", "-b", "side"]);
        side(&repo);
        repo.git(&["add", "-A"]);
        let head = repo.commit("side", &[]);
        repo.git(&["checkout", "-q", "main"]);
        target(&repo);
        let target = repo.commit("main", &[]);
        Self {
            repo,
            base,
            target,
            head,
        }
    }

    fn integrate(&self, strategy: Strategy) -> Integration {
        let unit = IntegrateUnit {
            head: self.head.clone(),
            base: self.base.clone(),
        };
        self.repo
            .open()
            .integrate(&self.target, &unit, strategy, "the message", &ada())
            .unwrap()
    }

    /// The tree that `git rebase` gives, if it gives one.
    fn rebased(&self) -> Option<Oid> {
        self.repo.git(&["checkout", "-q", "--detach", self.head.as_str()]);
        let output = self
            .repo
            .run_in(&self.repo.root(), &["rebase", "-q", self.target.as_str()]);
        let tree = output.status.success().then(|| self.repo.oid("HEAD^{tree}"));
        if tree.is_none() {
            self.repo.git(&["rebase", "--abort"]);
        }
        tree
    }

    fn assert_equal_to_rebase(&self) {
        let expected = self.rebased();
        for strategy in [Strategy::Rebase, Strategy::Squash, Strategy::Merge] {
            let found = match self.integrate(strategy) {
                Integration::Built { tree, .. } => Some(tree),
                Integration::Obstacle(Obstacle::Conflict { .. }) => None,
                Integration::Obstacle(other) => panic!("{other:?}"),
            };
            assert_eq!(found, expected, "{strategy:?}");
        }
    }

    fn conflicts(&self) -> Vec<Conflict> {
        self.assert_equal_to_rebase();
        match self.integrate(Strategy::Rebase) {
            Integration::Obstacle(Obstacle::Conflict { conflicts }) => conflicts,
            other => panic!("{other:?}"),
        }
    }
}

fn remove(repo: &TestRepo, path: &str) {
    fs::remove_file(repo.root().join(path)).unwrap();
}

#[test]
fn separate_changes_fit_and_author_and_date_are_kept() {
    let fork = Fork::new(|_| {}, |r| r.write("m", "m"), |r| r.write("s", "s"));
    fork.assert_equal_to_rebase();
    let Integration::Built { commit, .. } = fork.integrate(Strategy::Rebase) else {
        panic!()
    };
    assert_eq!(
        fork.repo
            .git(&["log", "-1", "--format=%an %at %ct %s %P", commit.as_str()]),
        format!("Ada 1700000000 1700000000 side {}", fork.target)
    );
    assert_eq!(fork.integrate(Strategy::Rebase), fork.integrate(Strategy::Rebase));
}

#[test]
fn squash_and_merge_carry_the_message_and_their_parents() {
    let fork = Fork::new(|_| {}, |r| r.write("m", "m"), |r| r.write("s", "s"));
    let show = |strategy| {
        let Integration::Built { commit, .. } = fork.integrate(strategy) else {
            panic!()
        };
        fork.repo.git(&["log", "-1", "--format=%s %P", commit.as_str()])
    };
    assert_eq!(show(Strategy::Squash), format!("the message {}", fork.target));
    assert_eq!(
        show(Strategy::Merge),
        format!("the message {} {}", fork.target, fork.head)
    );
}

#[test]
fn a_rename_on_one_side_carries_the_change_of_the_other() {
    Fork::new(
        |_| {},
        |r| {
            r.git(&["mv", "long.txt", "moved.txt"]);
        },
        |r| {
            r.write(
                "long.txt",
                &r.read("long.txt").replace("line 7\n", "line seven\n"),
            );
        },
    )
    .assert_equal_to_rebase();
}

#[test]
fn a_renamed_directory_carries_new_files() {
    Fork::new(
        |r| {
            for n in 0..4 {
                r.write(&format!("old/{n}"), &format!("content {n}\nmore {n}\n"));
            }
        },
        |r| {
            r.git(&["mv", "old", "new"]);
        },
        |r| r.write("old/added", "added\n"),
    )
    .assert_equal_to_rebase();
}

#[test]
fn a_mode_and_a_content_change_fit() {
    Fork::new(
        |_| {},
        |r| fs::set_permissions(r.root().join("a.txt"), fs::Permissions::from_mode(0o755)).unwrap(),
        |r| r.write("a.txt", "one\ntwo\nthree\nfour\n"),
    )
    .assert_equal_to_rebase();
}

#[test]
fn a_content_conflict_tells_path_kind_hunks_and_who_landed() {
    let fork = Fork::new(
        |_| {},
        |r| {
            r.write(
                "long.txt",
                &r.read("long.txt").replace("line 7\n", "main seven\n"),
            );
        },
        |r| {
            r.write(
                "long.txt",
                &r.read("long.txt").replace("line 7\n", "side seven\n"),
            );
        },
    );
    let conflicts = fork.conflicts();
    assert_eq!(conflicts.len(), 1);
    assert_eq!(
        (conflicts[0].path.as_str(), conflicts[0].kind.as_str()),
        ("long.txt", "contents")
    );
    assert!(
        conflicts[0].hunks.contains("main seven\n=======\nside seven\n"),
        "{}",
        conflicts[0].hunks
    );
    assert!(!conflicts[0].hunks.contains("line 20"));
    assert_eq!(conflicts[0].landed_as, Some(fork.target.clone()));
}

#[test]
fn delete_against_modify_is_a_conflict() {
    let fork = Fork::new(|_| {}, |r| remove(r, "a.txt"), |r| r.write("a.txt", "changed\n"));
    assert_eq!(fork.conflicts()[0].kind, "modify/delete");
}

#[test]
fn both_adding_a_path_is_a_conflict() {
    let fork = Fork::new(|_| {}, |r| r.write("n", "main\n"), |r| r.write("n", "side\n"));
    let conflicts = fork.conflicts();
    assert_eq!(conflicts[0].path, "n");
    assert!(conflicts[0].hunks.contains("<<<<<<<"));
}

#[test]
fn a_binary_conflict_has_no_hunks() {
    let binary = |r: &TestRepo, byte: u8| fs::write(r.root().join("b.bin"), [0, byte, 0]).unwrap();
    let fork = Fork::new(|r| binary(r, 1), |r| binary(r, 2), |r| binary(r, 3));
    let conflicts = fork.conflicts();
    assert_eq!(
        (conflicts[0].kind.as_str(), conflicts[0].hunks.as_str()),
        ("binary", "")
    );
}

#[test]
fn different_renames_of_a_file_are_a_conflict() {
    let fork = Fork::new(
        |_| {},
        |r| {
            r.git(&["mv", "long.txt", "m.txt"]);
        },
        |r| {
            r.git(&["mv", "long.txt", "s.txt"]);
        },
    );
    assert!(
        fork.conflicts()
            .iter()
            .any(|conflict| conflict.kind == "rename/rename")
    );
}

#[test]
fn a_change_that_is_on_the_target_has_landed() {
    let fork = Fork::new(|_| {}, |r| r.write("n", "same\n"), |r| r.write("n", "same\n"));
    for strategy in [Strategy::Rebase, Strategy::Squash, Strategy::Merge] {
        assert_eq!(
            fork.integrate(strategy),
            Integration::Obstacle(Obstacle::AlreadyLanded),
            "{strategy:?}"
        );
    }
}

#[test]
fn a_commit_that_is_on_the_target_is_skipped_and_the_rest_replayed() {
    let repo = TestRepo::new();
    let base = repo.head();
    repo.git(&["checkout", "-q", "-b", "side"]);
    repo.commit("same", &[("n", "same\n")]);
    repo.commit("empty", &[]);
    let head = repo.commit("own", &[("o", "own\n")]);
    repo.git(&["checkout", "-q", "main"]);
    let target = repo.commit("landed", &[("n", "same\n")]);
    let unit = IntegrateUnit { head, base };
    let built = repo
        .open()
        .integrate(&target, &unit, Strategy::Rebase, "", &ada())
        .unwrap();
    let Integration::Built { commit, .. } = built else {
        panic!("{built:?}")
    };
    assert_eq!(
        repo.git(&["log", "--format=%s", &format!("{target}..{commit}")]),
        "own"
    );
}

#[test]
fn a_unit_that_stands_on_the_base_keeps_its_commit() {
    let repo = TestRepo::new();
    let base = repo.head();
    let head = repo.commit("next", &[("n", "n")]);
    let unit = IntegrateUnit {
        head: head.clone(),
        base: base.clone(),
    };
    let built = repo
        .open()
        .integrate(&base, &unit, Strategy::Rebase, "", &ada())
        .unwrap();
    assert!(matches!(built, Integration::Built { commit, .. } if commit == head));
    let again = repo
        .open()
        .integrate(&head, &unit, Strategy::Rebase, "", &ada())
        .unwrap();
    assert_eq!(again, Integration::Obstacle(Obstacle::AlreadyLanded));
}

#[test]
fn unrelated_history_is_an_obstacle() {
    let repo = TestRepo::new();
    let target = repo.head();
    repo.git(&["checkout", "-q", "--orphan", "other"]);
    let head = repo.commit("other", &[("x", "x")]);
    let unit = IntegrateUnit {
        head: head.clone(),
        base: head,
    };
    let built = repo
        .open()
        .integrate(&target, &unit, Strategy::Merge, "", &ada())
        .unwrap();
    assert_eq!(built, Integration::Obstacle(Obstacle::UnrelatedHistory));
}

#[test]
fn a_merge_commit_is_refused_by_rebase_and_flattened_by_squash() {
    let repo = TestRepo::new();
    let base = repo.head();
    repo.git(&["checkout", "-q", "-b", "side"]);
    repo.commit("s", &[("s", "s")]);
    repo.git(&["checkout", "-q", "-b", "other", base.as_str()]);
    repo.commit("o", &[("o", "o")]);
    repo.git(&["checkout", "-q", "side"]);
    repo.git(&["merge", "-q", "--no-edit", "other"]);
    let head = repo.head();
    repo.git(&["checkout", "-q", "main"]);
    let target = repo.commit("m", &[("m", "m")]);
    let unit = IntegrateUnit {
        head: head.clone(),
        base,
    };
    let rebase = repo
        .open()
        .integrate(&target, &unit, Strategy::Rebase, "", &ada())
        .unwrap();
    assert_eq!(
        rebase,
        Integration::Obstacle(Obstacle::MergeCommit { commit: head })
    );
    let squash = repo
        .open()
        .integrate(&target, &unit, Strategy::Squash, "m", &ada())
        .unwrap();
    assert!(matches!(squash, Integration::Built { .. }));
}
