//! A repository in memory: a graph of commits whose trees are small maps, a target that moves by compare-and-swap,
//! and a checkout of it in which a person may be at work.
//!
//! What `git::integrate`, `git::land` and `git::follow` do to a real repository is done here to the maps.

use std::collections::{BTreeMap, BTreeSet};

use crate::event::{Conflict, Obstacle};
use crate::id::{Oid, UnitId};
use crate::spec::Strategy;

/// The number of a path.
pub(super) type Path = u8;

/// Who wrote a file that no unit wrote.
pub(super) const OTHERS: u8 = 99;
/// The path that other people write to.
pub(super) const THEIRS: Path = 90;

/// What is wrong with a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Mark {
    /// Nothing.
    Fine,
    /// The checks fail on it.
    Breaks,
    /// The checks do not end on it.
    Hangs,
    /// The checks fail on it at times.
    Flaky,
    /// The checks fail on it where the work of this unit is, too.
    Clashes(u8),
    /// Only the unit's own check fails on it.
    Rough,
}

/// What a path holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct File {
    pub(super) by: u8,
    pub(super) version: u32,
    pub(super) mark: Mark,
}

pub(super) type Tree = BTreeMap<Path, File>;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Stamp {
    pub(super) by: u8,
    pub(super) second: i64,
}

struct Commit {
    parents: Vec<Oid>,
    tree: Oid,
    stamp: Stamp,
}

/// A person's working copy of the target.
#[derive(Debug, Clone, Default)]
pub(super) struct Checkout {
    pub(super) files: Tree,
    /// What the person wrote and did not commit.
    pub(super) dirty: Tree,
}

pub(super) enum Integration {
    Built { commit: Oid, tree: Oid },
    Obstacle(Obstacle),
}

pub(super) struct Git {
    commits: BTreeMap<Oid, Commit>,
    by_content: BTreeMap<(Vec<Oid>, Oid, Stamp), Oid>,
    trees: BTreeMap<Oid, Tree>,
    by_files: BTreeMap<Tree, Oid>,
    pub(super) target: Option<Oid>,
    pub(super) checkout: Option<Checkout>,
    /// The branches that units bring.
    pub(super) branches: BTreeMap<UnitId, Oid>,
}

impl Git {
    pub(super) fn new(with_checkout: bool) -> Self {
        let mut git = Self {
            commits: BTreeMap::new(),
            by_content: BTreeMap::new(),
            trees: BTreeMap::new(),
            by_files: BTreeMap::new(),
            target: None,
            checkout: with_checkout.then(Checkout::default),
            branches: BTreeMap::new(),
        };
        let root = git.commit(
            &[],
            &Tree::new(),
            Stamp {
                by: OTHERS,
                second: 0,
            },
        );
        git.target = Some(root);
        git
    }

    /// The same parents, files and stamp give the same id.
    pub(super) fn commit(&mut self, parents: &[Oid], files: &Tree, stamp: Stamp) -> Oid {
        let tree = self.intern(files);
        let content = (parents.to_vec(), tree.clone(), stamp);
        if let Some(known) = self.by_content.get(&content) {
            return known.clone();
        }
        let oid = numbered('c', self.commits.len());
        self.by_content.insert(content, oid.clone());
        let parents = parents.to_vec();
        self.commits.insert(oid.clone(), Commit { parents, tree, stamp });
        oid
    }

    fn intern(&mut self, files: &Tree) -> Oid {
        if let Some(known) = self.by_files.get(files) {
            return known.clone();
        }
        let oid = numbered('f', self.trees.len());
        self.by_files.insert(files.clone(), oid.clone());
        self.trees.insert(oid.clone(), files.clone());
        oid
    }

    pub(super) fn files(&self, commit: &Oid) -> &Tree {
        &self.trees[&self.commits[commit].tree]
    }

    pub(super) fn tree_of(&self, commit: &Oid) -> &Oid {
        &self.commits[commit].tree
    }

    pub(super) fn parents(&self, commit: &Oid) -> &[Oid] {
        &self.commits[commit].parents
    }

    pub(super) fn author(&self, commit: &Oid) -> u8 {
        self.commits[commit].stamp.by
    }

    fn ancestors(&self, of: &Oid) -> BTreeSet<&Oid> {
        let mut found = BTreeSet::new();
        let mut open = vec![self.commits.get_key_value(of).expect("a commit").0];
        while let Some(commit) = open.pop() {
            if found.insert(commit) {
                open.extend(&self.commits[commit].parents);
            }
        }
        found
    }

    pub(super) fn is_ancestor(&self, ancestor: &Oid, of: &Oid) -> bool {
        ancestor == of || self.ancestors(of).contains(ancestor)
    }

    /// The newest commit both contain; ids are given in the order of making, so a child's is higher.
    pub(super) fn merge_base(&self, one: &Oid, other: &Oid) -> Option<Oid> {
        let known = self.ancestors(one);
        let common = self.ancestors(other);
        common
            .into_iter()
            .rev()
            .find(|commit| known.contains(commit))
            .cloned()
    }

    /// A commit, its first parent, and so on.
    pub(super) fn line(&self, tip: &Oid) -> impl Iterator<Item = &Oid> {
        let tip = self.commits.get_key_value(tip).expect("a commit").0;
        std::iter::successors(Some(tip), |commit| self.commits[*commit].parents.first())
    }

    /// Puts what `head` adds to `unit_base` onto `base`.
    pub(super) fn integrate(
        &mut self,
        base: &Oid,
        head: &Oid,
        unit_base: &Oid,
        strategy: Strategy,
    ) -> Integration {
        let Some(fork) = self.merge_base(base, head) else {
            return Integration::Obstacle(Obstacle::UnrelatedHistory);
        };
        if fork == *head {
            return Integration::Obstacle(Obstacle::AlreadyLanded);
        }
        let differs = self.tree_of(unit_base) != self.tree_of(head);
        if strategy == Strategy::Rebase && base == unit_base && differs {
            let tree = self.tree_of(head).clone();
            let commit = head.clone();
            return Integration::Built { commit, tree };
        }
        let (from, parents) = match strategy {
            Strategy::Rebase => (unit_base.clone(), vec![base.clone()]),
            Strategy::Squash | Strategy::Merge if !self.is_ancestor(unit_base, base) => {
                (unit_base.clone(), vec![base.clone()])
            }
            Strategy::Squash => (fork, vec![base.clone()]),
            Strategy::Merge => (fork, vec![base.clone(), head.clone()]),
        };
        let merged = three_way(self.files(&from), self.files(base), self.files(head));
        let files = match merged {
            Ok(files) => files,
            Err(paths) => return Integration::Obstacle(conflict(&paths)),
        };
        if files == *self.files(base) {
            return Integration::Obstacle(Obstacle::AlreadyLanded);
        }
        let stamp = self.commits[head].stamp;
        let commit = self.commit(&parents, &files, stamp);
        let tree = self.tree_of(&commit).clone();
        Integration::Built { commit, tree }
    }

    /// Moves the target if it is at `from`; otherwise says where it is.
    pub(super) fn swap(&mut self, from: &Oid, to: &Oid) -> Result<(), Option<Oid>> {
        if self.target.as_ref() != Some(from) {
            return Err(self.target.clone());
        }
        self.target = Some(to.clone());
        Ok(())
    }

    fn changed(&self, from: &Oid, to: &Oid) -> Vec<Path> {
        let (old, new) = (self.files(from), self.files(to));
        let paths: BTreeSet<Path> = old.keys().chain(new.keys()).copied().collect();
        let differs = |path: &Path| old.get(path) != new.get(path);
        paths.into_iter().filter(differs).collect()
    }

    /// A person's work where a landing would write.
    pub(super) fn obstacles(&self, from: &Oid, to: &Oid) -> Vec<String> {
        let dirty = |path: &Path| {
            let checkout = self.checkout.as_ref();
            checkout.is_some_and(|checkout| checkout.dirty.contains_key(path))
        };
        let changed = self.changed(from, to).into_iter();
        changed.filter(dirty).map(|path| path.to_string()).collect()
    }

    /// Brings the checkout along: each path that is as it was; what is neither old nor new is left.
    pub(super) fn follow(&mut self, from: &Oid, to: &Oid) -> Vec<String> {
        let paths = self.changed(from, to);
        let (old, new) = (self.files(from).clone(), self.files(to).clone());
        let Some(checkout) = &mut self.checkout else {
            return Vec::new();
        };
        let mut left = Vec::new();
        for path in paths {
            let here = checkout.files.get(&path).copied();
            if here == old.get(&path).copied() {
                put(&mut checkout.files, path, new.get(&path).copied());
            } else if here != new.get(&path).copied() {
                left.push(path.to_string());
            }
        }
        let kept = |(path, file): (&Path, &File)| checkout.files.get(path) == Some(file);
        assert!(checkout.dirty.iter().all(kept), "a person's work was overwritten");
        left
    }

    /// The person's own git brings their checkout to the target; uncommitted work stays.
    pub(super) fn refresh_checkout(&mut self) {
        let Some(tip) = self.target.clone() else { return };
        let files = self.files(&tip).clone();
        if let Some(checkout) = &mut self.checkout {
            checkout.files = files;
            checkout.files.extend(&checkout.dirty);
        }
    }
}

fn put(files: &mut Tree, path: Path, file: Option<File>) {
    match file {
        Some(file) => files.insert(path, file),
        None => files.remove(&path),
    };
}

/// Merges two trees; the paths both changed to different things are conflicts.
fn three_way(base: &Tree, ours: &Tree, theirs: &Tree) -> Result<Tree, Vec<Path>> {
    let mut merged = ours.clone();
    let mut conflicts = Vec::new();
    let paths: BTreeSet<Path> = base.keys().chain(theirs.keys()).copied().collect();
    for path in paths {
        let (base, ours, theirs) = (base.get(&path), ours.get(&path), theirs.get(&path));
        if theirs == base || theirs == ours {
            continue;
        }
        if ours == base {
            put(&mut merged, path, theirs.copied());
        } else {
            conflicts.push(path);
        }
    }
    if conflicts.is_empty() {
        Ok(merged)
    } else {
        Err(conflicts)
    }
}

fn conflict(paths: &[Path]) -> Obstacle {
    let conflict = |path: &Path| Conflict {
        path: path.to_string(),
        kind: "contents".to_owned(),
        hunks: String::new(),
        landed_by: None,
        landed_as: None,
    };
    Obstacle::Conflict {
        conflicts: paths.iter().map(conflict).collect(),
    }
}

fn numbered(kind: char, number: usize) -> Oid {
    format!("{kind}{number:039x}").parse().expect("forty hex digits")
}
