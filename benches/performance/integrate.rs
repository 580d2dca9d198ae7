//! P3 and P4: integration in memory against git in a worktree and against one process a pair.

use std::path::Path;

use pipeline::git::{Identity, IntegrateUnit, Integration, Preservation};
use pipeline::id::Oid;
use pipeline::spec::Strategy;

use super::support::{self, Figure, git, in_turns, path_of, text_of, timed};

/// Files of the repository that a unit is integrated in.
const FILES: usize = 3000;
const ROUNDS: usize = 15;

/// A branch of `commits` commits on `base`, each of which changes a file of its own and makes one.
fn branch(root: &Path, name: &str, base: &Oid, files: &[usize]) -> Oid {
    git(root, &["checkout", "-q", "-b", name, base.as_str()]);
    for file in files {
        std::fs::write(root.join(path_of(*file)), text_of(*file, &format!(" on {name}")))
            .expect("a file can be written");
        let made = root.join(format!("made-{name}-{file}.txt"));
        std::fs::write(made, text_of(*file, name)).expect("a file can be written");
        git(root, &["add", "-A"]);
        git(root, &["commit", "-qm", &format!("{name} {file}")]);
    }
    support::head(root)
}

fn identity() -> Identity {
    Identity {
        name: "Ada".to_owned(),
        email: "ada@example.com".to_owned(),
    }
}

/// P3.
pub(crate) fn one_unit() -> Vec<Figure> {
    let place = support::scratch();
    let root = place.path().join("repo");
    let repository = support::repository(&root, FILES);
    let base = support::head(&root);
    let heads: Vec<Oid> = (0..ROUNDS)
        .map(|unit| {
            branch(
                &root,
                &format!("unit-{unit}"),
                &base,
                &[unit, 100 + unit, 200 + unit],
            )
        })
        .collect();
    let target = branch(&root, "target", &base, &[1000, 1100, 1200, 1300]);
    let mut figures = Vec::new();
    for (strategy, name) in [(Strategy::Rebase, "rebase"), (Strategy::Squash, "squash")] {
        let ours = |round: usize| {
            let unit = IntegrateUnit {
                head: heads[round].clone(),
                base: base.clone(),
            };
            timed(|| {
                let done = repository.integrate(&target, &unit, strategy, "m", &identity());
                let Ok(Integration::Built { commit, .. }) = done else {
                    panic!("{done:?}")
                };
                // As the engine does before it takes the result for a candidate.
                let kept = repository.preserve(&target, &unit, strategy, &commit);
                assert!(matches!(kept, Ok(Preservation::Kept(_))), "{kept:?}");
            })
        };
        let theirs = |round: usize| {
            timed(|| {
                let tree = place.path().join("tree");
                let path = tree.to_str().expect("it is text");
                git(
                    &root,
                    &["worktree", "add", "-q", "--detach", path, heads[round].as_str()],
                );
                git(&tree, &["rebase", "-q", "--onto", target.as_str(), base.as_str()]);
                git(&root, &["worktree", "remove", path]);
            })
        };
        let (one, other) = in_turns(ROUNDS, ours, theirs);
        let what = format!("integrating 3 commits by {name}, {FILES} files");
        figures.push(Figure::ratio(
            &what,
            one,
            "`git rebase` in a worktree",
            other,
            0.05,
        ));
    }
    figures
}

/// P4.
pub(crate) fn conflict_graph() -> Vec<Figure> {
    const UNITS: usize = 50;
    let place = support::scratch();
    let root = place.path().join("repo");
    let repository = support::repository(&root, FILES);
    let base = support::head(&root);
    // Neighbours share a file, so that each conflicts with two others.
    let heads: Vec<(Oid, Oid)> = (0..UNITS)
        .map(|unit| {
            let files = [unit, (unit + 1) % UNITS, 100 + unit];
            (
                branch(&root, &format!("unit-{unit}"), &base, &files),
                base.clone(),
            )
        })
        .collect();
    let (one, other) = in_turns(
        3,
        |_| {
            timed(|| {
                let graph = repository.conflicts_between(&heads, &base).expect("git works");
                assert_eq!((graph.with_onto.len(), graph.pairs.len()), (0, UNITS));
            })
        },
        |_| timed(|| assert_eq!(one_by_one(&root, &heads), UNITS)),
    );
    let what = format!(
        "conflict graph of {UNITS} units, {} pairs",
        UNITS * (UNITS - 1) / 2
    );
    vec![Figure::ratio(
        &what,
        one,
        "one `git merge-tree` a pair",
        other,
        0.1,
    )]
}

/// The number of pairs that conflict, as a script would find out.
fn one_by_one(root: &Path, heads: &[(Oid, Oid)]) -> usize {
    let mut found = 0;
    for (at, (one, _)) in heads.iter().enumerate() {
        for (other, _) in &heads[at + 1..] {
            let status = support::command("git", root)
                .args(["merge-tree", "--write-tree", one.as_str(), other.as_str()])
                .output()
                .expect("git starts")
                .status;
            found += usize::from(!status.success());
        }
    }
    found
}
