//! A resolved conflict over real git: what had landed is still there, or is named.

use super::testing::{TestRepo, ada};
use super::tests_differential::{Histories, Worktree};
use super::{IntegrateUnit, Integration, Resolved, Undone};
use crate::event::{Conflict, Obstacle};
use crate::id::Oid;
use crate::spec::Strategy;

#[test]
fn what_git_merges_by_itself_undoes_nothing_and_a_conflict_settled_by_git_for_either_side_does_neither() {
    let histories = Histories::new();
    let opened = histories.repo.open();
    let worktree = Worktree::new(&histories.repo);
    let (mut clean, mut resolved) = (0, 0);
    for seed in 5000..5060 {
        let history = histories.history(seed);
        let unit = IntegrateUnit {
            head: history.head.clone(),
            base: history.base.clone(),
        };
        let built = opened
            .integrate(&history.target, &unit, Strategy::Squash, "m", &ada())
            .unwrap();
        let (results, conflicts) = match built {
            Integration::Built { tree, .. } => {
                clean += 1;
                (vec![tree], Vec::new())
            }
            Integration::Obstacle(Obstacle::Conflict { conflicts }) => {
                let sides =
                    ["-Xours", "-Xtheirs"].map(|side| worktree.merge(&history, &["--squash", side], seed));
                let results: Vec<Oid> = sides.into_iter().flatten().collect();
                resolved += results.len();
                (results, conflicts)
            }
            Integration::Obstacle(_) => continue,
        };
        for result in &results {
            let undone = opened
                .undone(&Resolved {
                    old_base: &history.base,
                    old_head: &history.head,
                    new_base: &history.target,
                    result,
                    conflicts: &conflicts,
                })
                .unwrap();
            assert_eq!(undone, [], "seed {seed}: {conflicts:?}");
        }
    }
    assert!(clean > 10 && resolved > 0, "{clean} clean, {resolved} resolved");
}

/// A unit and a target that conflict in `shared.txt`, and the target's other work.
struct Case {
    repo: TestRepo,
    base: Oid,
    head: Oid,
    landed: Vec<Oid>,
}

const SHARED: &str = "the first line\nthe 2\nthe third line\nthe fourth line\nthe fifth line\nthe sixth line\n\
                      the seventh line\nthe 8\nthe last line\n";

impl Case {
    fn new() -> Self {
        let repo = TestRepo::empty();
        let base = repo.commit(
            "base",
            &[("shared.txt", SHARED), ("api.txt", "old\n"), ("gone.txt", "x\n")],
        );
        let head = repo.commit("head", &[("shared.txt", &SHARED.replace('2', "unit"))]);
        repo.git(&["checkout", "-q", "--detach", base.as_str()]);
        let first = SHARED.replace('2', "target").replace('8', "eight");
        let mut landed = vec![repo.commit("first", &[("shared.txt", &first)])];
        landed.push(repo.commit("second", &[("api.txt", "new\n"), ("made.txt", "made\n")]));
        std::fs::remove_file(repo.root().join("gone.txt")).unwrap();
        landed.push(repo.commit("third", &[]));
        Self {
            repo,
            base,
            head,
            landed,
        }
    }

    /// What a result of these files on the target undoes.
    fn undone(&self, files: &[(&str, Option<&str>)]) -> Vec<Undone> {
        let opened = self.repo.open();
        let onto = self.landed.last().unwrap();
        let unit = IntegrateUnit {
            head: self.head.clone(),
            base: self.base.clone(),
        };
        let built = opened
            .integrate(onto, &unit, Strategy::Squash, "m", &ada())
            .unwrap();
        let Integration::Obstacle(Obstacle::Conflict { conflicts }) = built else {
            panic!("{built:?}")
        };
        self.repo.git(&["checkout", "-q", "--detach", onto.as_str()]);
        for (path, text) in files {
            match text {
                Some(text) => self.repo.write(path, text),
                None => std::fs::remove_file(self.repo.root().join(path)).unwrap(),
            }
        }
        let result = self.repo.commit("resolved", &[]);
        self.asked(&result, &conflicts)
    }

    fn asked(&self, result: &Oid, conflicts: &[Conflict]) -> Vec<Undone> {
        let undone = self.repo.open().undone(&Resolved {
            old_base: &self.base,
            old_head: &self.head,
            new_base: self.landed.last().unwrap(),
            result,
            conflicts,
        });
        undone.unwrap()
    }

    fn expected(&self, path: &str, lines: &[&str], landing: usize) -> Undone {
        Undone {
            path: path.to_owned(),
            lines: lines.iter().map(ToString::to_string).collect(),
            landed_as: Some(self.landed[landing].clone()),
        }
    }
}

#[test]
fn a_resolution_of_the_conflict_alone_undoes_nothing() {
    let case = Case::new();
    let both = SHARED.replace('2', "target and unit").replace('8', "eight");
    assert_eq!(case.undone(&[("shared.txt", Some(&both))]), []);
    let more = [
        ("shared.txt", Some(&*both)),
        ("api.txt", Some("newer\n")),
        ("test.txt", Some("t\n")),
    ];
    assert_eq!(
        case.undone(&more),
        [],
        "what the resolution needs besides is for the judges"
    );
}

#[test]
fn the_units_whole_file_undoes_what_landed_beside_the_conflict_and_names_the_landing() {
    let case = Case::new();
    let taken = SHARED.replace('2', "unit");
    let expected = case.expected("shared.txt", &["-the eight", "+the 8"], 0);
    assert_eq!(case.undone(&[("shared.txt", Some(&taken))]), [expected]);
}

#[test]
fn the_units_whole_tree_undoes_everything_that_landed() {
    let case = Case::new();
    let undone = case.asked(&case.head, &[]);
    let expected = [
        case.expected("api.txt", &["-new", "+old"], 1),
        case.expected("gone.txt", &["+gone.txt, the whole file"], 2),
        case.expected("made.txt", &["-made.txt, the whole file"], 1),
        case.expected("shared.txt", &["-the eight", "+the 8"], 0),
    ];
    assert_eq!(undone, expected);
}

#[test]
fn landed_work_in_a_file_that_the_resolution_renames_is_found_there() {
    let case = Case::new();
    let both = SHARED.replace('2', "target and unit").replace('8', "eight");
    assert_eq!(
        case.undone(&[("shared.txt", None), ("moved.txt", Some(&both))]),
        []
    );
    let lost = SHARED.replace('2', "target and unit");
    let expected = case.expected("shared.txt", &["-the eight", "+the 8"], 0);
    assert_eq!(
        case.undone(&[("shared.txt", None), ("moved.txt", Some(&lost))]),
        [expected]
    );
}

#[test]
fn a_mode_and_a_binary_file_that_landed_must_stay() {
    use std::os::unix::fs::PermissionsExt;
    let repo = TestRepo::empty();
    let base = repo.commit("base", &[("data", "\0one"), ("run.sh", "run\n")]);
    let head = repo.commit("head", &[("other", "x\n")]);
    repo.git(&["checkout", "-q", "--detach", base.as_str()]);
    std::fs::set_permissions(repo.root().join("run.sh"), std::fs::Permissions::from_mode(0o755)).unwrap();
    let landed = vec![repo.commit("landed", &[("data", "\0two")])];
    let case = Case {
        repo,
        base,
        head,
        landed,
    };
    let undone = case.asked(&case.head, &[]);
    let what: Vec<(&str, bool)> = undone
        .iter()
        .map(|undone| (&*undone.path, undone.lines[0].starts_with('+')))
        .collect();
    assert_eq!(what, [("data", true), ("run.sh", true)], "{undone:?}");
}
