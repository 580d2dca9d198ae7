//! Integration against git itself, over random histories: renames of files and directories, deletions, modes, links,
//! binary files, submodules, merge attributes. A failure names its seed.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::integrate::testing::{by_git, in_process};
use super::testing::{TestRepo, ada};
use super::{ConflictGraph, ConflictPair, IntegrateUnit, Integration};
use crate::event::Obstacle;
use crate::id::Oid;
use crate::spec::Strategy;

/// splitmix64.
pub(super) struct Dice(pub(super) u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(super) fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end as u64).unwrap()
    }

    pub(super) fn of<'a, T>(&mut self, among: &'a [T]) -> &'a T {
        &among[self.below(among.len())]
    }
}

/// The files of a commit: mode and content; of a submodule, its commit.
pub(super) type Files = BTreeMap<String, (u32, Vec<u8>)>;

fn text(path: &str) -> Vec<u8> {
    let lines = (0..24).map(|line| format!("line {line} of {path}\n"));
    lines.collect::<String>().into_bytes()
}

fn first_files() -> Files {
    let mut files = Files::new();
    for folder in ["", "a/", "a/in/", "b/", "c/d/"] {
        for name in ["one.txt", "two.txt", "three.uni"] {
            let path = format!("{folder}{name}");
            files.insert(path.clone(), (0o100_644, text(&path)));
        }
    }
    files.insert("b/run.sh".to_owned(), (0o100_755, text("b/run.sh")));
    files.insert("b/data.bin".to_owned(), (0o100_644, vec![0, 1, 2, 3, 0, 9]));
    files.insert("link".to_owned(), (0o120_000, b"a/one.txt".to_vec()));
    files.insert("sub".to_owned(), (0o160_000, vec![b'1'; 40]));
    let attributes = b"*.uni merge=union\n*.bin -text\n".to_vec();
    files.insert(".gitattributes".to_owned(), (0o100_644, attributes));
    files
}

/// Changes some lines of a text, one byte of anything else.
fn edit(content: &mut Vec<u8>, dice: &mut Dice) {
    let lines: Vec<&[u8]> = content.split_inclusive(|byte| *byte == b'\n').collect();
    if lines.len() < 2 {
        content.push(b'a' + u8::try_from(dice.below(4)).unwrap());
        return;
    }
    let at = dice.below(lines.len());
    let mut lines: Vec<Vec<u8>> = lines.into_iter().map(<[u8]>::to_vec).collect();
    lines[at] = format!("changed {}\n", dice.below(3)).into_bytes();
    *content = lines.concat();
}

/// Moves everything below one directory to another place.
fn rename_folder(files: &mut Files, dice: &mut Dice) {
    let from = *dice.of(&["a/", "a/in/", "b/", "c/", "c/d/"]);
    let to = *dice.of(&["moved/", "b/", "c/new/", "x/y/", "a/"]);
    if to.starts_with(from) || from.starts_with(to) {
        return;
    }
    let below: Vec<String> = files
        .keys()
        .filter(|path| path.starts_with(from))
        .cloned()
        .collect();
    for path in below {
        let file = files.remove(&path).unwrap();
        files.insert(format!("{to}{}", &path[from.len()..]), file);
    }
}

/// One thing an author does.
fn change(files: &mut Files, dice: &mut Dice) {
    let paths: Vec<String> = files
        .keys()
        .filter(|path| *path != ".gitattributes")
        .cloned()
        .collect();
    let path = dice.of(&paths).clone();
    let folder = *dice.of(&["", "a/", "a/in/", "b/", "c/d/", "fresh/"]);
    match dice.below(20) {
        0..=7 => edit(&mut files.get_mut(&path).unwrap().1, dice),
        8..=10 => {
            let name = format!("{folder}new-{}.txt", dice.below(4));
            let kind = *dice.of(&["x", "y"]);
            files.insert(name, (0o100_644, text(kind)));
        }
        11 => drop(files.remove(&path)),
        12 => {
            let file = files.remove(&path).unwrap();
            files.insert(format!("{folder}renamed-{}.txt", dice.below(3)), file);
        }
        13 => {
            let mut file = files.remove(&path).unwrap();
            edit(&mut file.1, dice);
            files.insert(format!("{folder}renamed-{}.txt", dice.below(3)), file);
        }
        14 | 15 => rename_folder(files, dice),
        16 => {
            let file = files.get_mut(&path).unwrap();
            if file.0 & 0o170_000 == 0o100_000 {
                file.0 ^= 0o111;
            }
        }
        17 => drop(files.insert(path, (0o120_000, b"b".repeat(1 + dice.below(2))))),
        18 => files.retain(|other, _| folder.is_empty() || !other.starts_with(folder)),
        _ => drop(files.insert("sub".to_owned(), (0o160_000, vec![b'2'; 40]))),
    }
    // A file where another has its directory makes way.
    let paths: Vec<String> = files.keys().cloned().collect();
    files.retain(|path, _| {
        let below = format!("{path}/");
        !paths.iter().any(|other| other.starts_with(&below))
    });
}

/// A repository in which histories are made without a process.
pub(super) struct Histories {
    pub(super) repo: TestRepo,
    pub(super) raw: git2::Repository,
}

/// A target that went on from a base, and a unit on that base.
pub(super) struct History {
    pub(super) base: Oid,
    pub(super) target: Oid,
    pub(super) head: Oid,
}

impl Histories {
    pub(super) fn new() -> Self {
        let repo = TestRepo::new();
        let raw = git2::Repository::open(repo.root()).unwrap();
        Self { repo, raw }
    }

    pub(super) fn commit(&self, files: &Files, parents: &[Oid], message: &str) -> Oid {
        let mut index = git2::Index::new().unwrap();
        for (path, (mode, content)) in files {
            let id = if *mode == 0o160_000 {
                git2::Oid::from_str(str::from_utf8(&content[..40]).unwrap()).unwrap()
            } else {
                self.raw.blob(content).unwrap()
            };
            let zero = git2::IndexTime::new(0, 0);
            let entry = git2::IndexEntry {
                ctime: zero,
                mtime: zero,
                dev: 0,
                ino: 0,
                mode: *mode,
                uid: 0,
                gid: 0,
                file_size: 0,
                id,
                flags: 0,
                flags_extended: 0,
                path: path.clone().into_bytes(),
            };
            index.add(&entry).unwrap();
        }
        let tree = index.write_tree_to(&self.raw).unwrap();
        let tree = self.raw.find_tree(tree).unwrap();
        let who =
            git2::Signature::new("Ada", "ada@example.com", &git2::Time::new(1_700_000_000, 60)).unwrap();
        let parents: Vec<git2::Commit<'_>> = parents
            .iter()
            .map(|oid| self.raw.find_commit(super::objects::raw(oid)).unwrap())
            .collect();
        let parents: Vec<&git2::Commit<'_>> = parents.iter().collect();
        let commit = self
            .raw
            .commit(None, &who, &who, message, &tree, &parents)
            .unwrap();
        super::objects::own(commit).unwrap()
    }

    /// Some commits of some changes each, from `base` on.
    fn branch(&self, base: &Oid, mut files: Files, dice: &mut Dice) -> Oid {
        let mut tip = base.clone();
        for at in 0..=dice.below(3) {
            for _ in 0..=dice.below(3) {
                change(&mut files, dice);
            }
            tip = self.commit(&files, &[tip], &format!("change {at}"));
        }
        tip
    }

    pub(super) fn history(&self, seed: u64) -> History {
        let mut dice = Dice(seed);
        let files = first_files();
        let base = self.commit(&files, &[], "base");
        // Sometimes both begin with the same change.
        let mut files_of_unit = files.clone();
        let mut files_of_target = files;
        if dice.below(5) == 0 {
            let mut same = Dice(dice.next());
            change(&mut files_of_target, &mut Dice(same.0));
            change(&mut files_of_unit, &mut same);
        }
        let target = self.branch(&base, files_of_target, &mut dice);
        let head = self.branch(&base, files_of_unit, &mut dice);
        History { base, target, head }
    }

    /// The target was moved back behind the unit's base, and went on from there or not.
    pub(super) fn rewritten(&self, seed: u64) -> History {
        let mut dice = Dice(seed);
        let files = first_files();
        let kept = self.commit(&files, &[], "kept");
        let mut dropped = files.clone();
        for _ in 0..=dice.below(2) {
            change(&mut dropped, &mut dice);
        }
        let base = self.commit(&dropped, std::slice::from_ref(&kept), "dropped");
        let head = self.branch(&base, dropped, &mut dice);
        let target = match dice.below(3) {
            0 => kept,
            _ => self.branch(&kept, files, &mut dice),
        };
        History { base, target, head }
    }
}

/// A tree, or that there was a conflict.
type Outcome = Option<Oid>;

/// git in a worktree.
pub(super) struct Worktree<'a> {
    repo: &'a TestRepo,
    pub(super) root: PathBuf,
}

impl<'a> Worktree<'a> {
    pub(super) fn new(repo: &'a TestRepo) -> Self {
        let root = repo.path("tree");
        repo.git(&["worktree", "add", "-q", "--detach", root.to_str().unwrap()]);
        for (key, value) in [
            ("core.fsync", "none"),
            ("gc.auto", "0"),
            ("advice.detachedHead", "false"),
        ] {
            repo.git(&["config", key, value]);
        }
        Self { repo, root }
    }

    fn start(&self, at: &Oid) {
        self.repo
            .git_in(&self.root, &["reset", "-q", "--hard", at.as_str()]);
        self.repo.git_in(&self.root, &["clean", "-qffdx"]);
    }

    /// Runs a command that fails on a conflict only.
    fn try_to(&self, args: &[&str], seed: u64) -> bool {
        let output = self.repo.run_in(&self.root, args);
        let told = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        let conflict = told.contains("CONFLICT");
        assert!(
            output.status.success() || conflict,
            "seed {seed}: git {args:?}: {told}"
        );
        output.status.success()
    }

    pub(super) fn rebase(&self, history: &History, seed: u64) -> Outcome {
        self.start(&history.head);
        // A change that landed and was taken back is to come again, so what counts is the tree and not a patch id.
        let (target, base) = (history.target.as_str(), history.base.as_str());
        if self.try_to(
            &["rebase", "-q", "--reapply-cherry-picks", "--onto", target, base],
            seed,
        ) {
            return Some(
                self.repo
                    .git_in(&self.root, &["rev-parse", "HEAD^{tree}"])
                    .parse()
                    .unwrap(),
            );
        }
        self.repo.git_in(&self.root, &["rebase", "--abort"]);
        None
    }

    pub(super) fn merge(&self, history: &History, how: &[&str], seed: u64) -> Outcome {
        self.start(&history.target);
        let args: Vec<&str> = ["merge", "-q"]
            .iter()
            .chain(how)
            .copied()
            .chain([history.head.as_str()])
            .collect();
        self.try_to(&args, seed)
            .then(|| self.repo.git_in(&self.root, &["write-tree"]).parse().unwrap())
    }
}

fn agrees_with_git_on(seeds: std::ops::Range<u64>) {
    let histories = Histories::new();
    let opened = histories.repo.open();
    let worktree = Worktree::new(&histories.repo);
    let (mut clean, mut conflicts) = (0, 0);
    for seed in seeds {
        let history = histories.history(seed);
        let unit = IntegrateUnit {
            head: history.head.clone(),
            base: history.base.clone(),
        };
        let ours = |strategy| -> Outcome {
            match opened
                .integrate(&history.target, &unit, strategy, "m", &ada())
                .unwrap()
            {
                Integration::Built { tree, .. } => Some(tree),
                Integration::Obstacle(Obstacle::AlreadyLanded) => {
                    Some(opened.tree_of(&history.target).unwrap())
                }
                Integration::Obstacle(Obstacle::Conflict { conflicts }) => {
                    assert!(!conflicts.is_empty(), "seed {seed}");
                    None
                }
                Integration::Obstacle(other) => panic!("seed {seed}: {other:?}"),
            }
        };
        let expected = worktree.rebase(&history, seed);
        assert_eq!(ours(Strategy::Rebase), expected, "seed {seed}: rebase");
        let squashed = worktree.merge(&history, &["--squash"], seed);
        assert_eq!(ours(Strategy::Squash), squashed, "seed {seed}: squash");
        let merged = worktree.merge(&history, &["--no-ff", "-m", "m"], seed);
        assert_eq!(ours(Strategy::Merge), merged, "seed {seed}: merge");
        clean += u32::from(expected.is_some());
        conflicts += u32::from(expected.is_none());
    }
    assert!(
        clean > 10 && conflicts > 10,
        "{clean} clean, {conflicts} conflicts"
    );
    histories.repo.git(&["fsck", "--no-dangling"]);
}

#[test]
fn every_strategy_agrees_with_git_on_random_histories_1() {
    agrees_with_git_on(0..70);
}

#[test]
fn every_strategy_agrees_with_git_on_random_histories_2() {
    agrees_with_git_on(70..140);
}

#[test]
fn every_strategy_agrees_with_git_on_random_histories_3() {
    agrees_with_git_on(140..200);
}

#[test]
fn a_unit_whose_base_left_the_target_brings_what_it_adds_to_it_and_agrees_with_git() {
    let histories = Histories::new();
    let opened = histories.repo.open();
    let worktree = Worktree::new(&histories.repo);
    let (mut clean, mut conflicts) = (0, 0);
    for seed in 5000..5040 {
        let history = histories.rewritten(seed);
        let History { base, target, head } = &history;
        let unit = IntegrateUnit {
            head: head.clone(),
            base: base.clone(),
        };
        let rebased = worktree.rebase(&history, seed);
        let at_once = merge_tree(&histories.repo, base, target, head);
        for (strategy, expected) in [
            (Strategy::Rebase, rebased),
            (Strategy::Squash, at_once.clone()),
            (Strategy::Merge, at_once),
        ] {
            let found = match opened.integrate(target, &unit, strategy, "m", &ada()).unwrap() {
                Integration::Built { commit, tree } => {
                    let brought =
                        histories
                            .repo
                            .git(&["rev-list", commit.as_str(), "--not", target.as_str()]);
                    assert!(!brought.contains(base.as_str()), "seed {seed}: {strategy:?}");
                    Some(tree)
                }
                Integration::Obstacle(Obstacle::AlreadyLanded) => Some(opened.tree_of(target).unwrap()),
                Integration::Obstacle(Obstacle::Conflict { .. }) => None,
                Integration::Obstacle(other) => panic!("seed {seed}: {other:?}"),
            };
            clean += u32::from(expected.is_some());
            conflicts += u32::from(expected.is_none());
            assert_eq!(found, expected, "seed {seed}: {strategy:?}");
        }
    }
    assert!(
        clean > 20 && conflicts > 10,
        "{clean} clean, {conflicts} conflicts"
    );
}

#[test]
fn what_is_merged_in_process_is_what_git_merges() {
    const SEEDS: u64 = 1000;
    let histories = Histories::new();
    let opened = histories.repo.open();
    let all: Vec<History> = (1000..1000 + SEEDS).map(|seed| histories.history(seed)).collect();
    let triples: Vec<[&Oid; 3]> = all.iter().map(|h| [&h.base, &h.target, &h.head]).collect();
    let mut decided = 0;
    let both = in_process(&opened, &triples)
        .into_iter()
        .zip(by_git(&opened, &triples));
    for ((found, expected), seed) in both.zip(1000..) {
        if let Some(tree) = found {
            assert_eq!(Some(tree), expected, "seed {seed}");
            decided += 1;
        }
    }
    assert!(
        (SEEDS / 10..SEEDS / 2).contains(&decided),
        "{decided} of {SEEDS} in process"
    );
}

/// The tree of a merge as a script would ask for it.
fn merge_tree(repo: &TestRepo, base: &Oid, ours: &Oid, theirs: &Oid) -> Outcome {
    let base = format!("--merge-base={base}");
    let args = [
        "merge-tree",
        "--write-tree",
        &base,
        ours.as_str(),
        theirs.as_str(),
    ];
    let output = repo.run_in(&repo.root(), &args);
    let tree = || String::from_utf8_lossy(&output.stdout[..40]).parse().unwrap();
    match output.status.code() {
        Some(0) => Some(tree()),
        Some(1) => None,
        _ => panic!("{}", String::from_utf8_lossy(&output.stderr)),
    }
}

/// The paths on which a merge conflicts, as a script would ask for them.
fn conflicting_paths(repo: &TestRepo, base: &Oid, ours: &Oid, theirs: &Oid) -> Vec<String> {
    let base = format!("--merge-base={base}");
    let args = [
        "-c",
        "core.quotePath=false",
        "merge-tree",
        "--name-only",
        "--no-messages",
        &base,
    ];
    let args = [&args, [ours.as_str(), theirs.as_str()].as_slice()].concat();
    let output = repo.run_in(&repo.root(), &args);
    let text = String::from_utf8(output.stdout).unwrap();
    let plain = |path: &str| path.split_once('~').map_or(path, |(plain, _)| plain).to_owned();
    let paths: std::collections::BTreeSet<String> = text.lines().skip(1).map(plain).collect();
    paths.into_iter().collect()
}

#[test]
fn the_conflict_graph_is_what_one_merge_a_pair_gives_and_leaves_nothing() {
    let histories = Histories::new();
    let opened = histories.repo.open();
    let all: Vec<History> = (500..514).map(|seed| histories.history(seed)).collect();
    let onto = &all[0].target;
    let heads: Vec<(Oid, Oid)> = all.iter().map(|h| (h.head.clone(), h.base.clone())).collect();
    let objects = || histories.repo.git(&["count-objects", "-v"]);
    let before = objects();
    let graph = opened.conflicts_between(&heads, onto).unwrap();
    assert_eq!(objects(), before);

    let mut expected = ConflictGraph::default();
    let mut placed = Vec::new();
    for (at, (head, base)) in heads.iter().enumerate() {
        match merge_tree(&histories.repo, base, onto, head) {
            Some(tree) => {
                let args = ["commit-tree", "-m", "placed", "-p", onto.as_str(), tree.as_str()];
                placed.push((at, histories.repo.git(&args).parse::<Oid>().unwrap()));
            }
            None => expected.with_onto.push(at),
        }
    }
    for (place, (one, commit)) in placed.iter().enumerate() {
        for (other, another) in &placed[place + 1..] {
            if merge_tree(&histories.repo, onto, commit, another).is_none() {
                let paths = conflicting_paths(&histories.repo, onto, commit, another);
                let (one, other) = (*one, *other);
                expected.pairs.push(ConflictPair { one, other, paths });
            }
        }
    }
    assert_eq!(graph, expected);
    assert!(
        !graph.with_onto.is_empty() && !graph.pairs.is_empty(),
        "{graph:?}"
    );
    assert!(
        graph.pairs.len() < placed.len() * (placed.len() - 1) / 2,
        "{graph:?}"
    );
}

#[test]
fn the_conflict_graph_of_few_is_empty() {
    let histories = Histories::new();
    let History { base, target, head } = histories.history(0);
    let opened = histories.repo.open();
    let nothing = ConflictGraph::default();
    assert_eq!(opened.conflicts_between(&[], &target).unwrap(), nothing);
    assert_eq!(
        opened.conflicts_between(&[(head, base.clone())], &base).unwrap(),
        nothing
    );
}
