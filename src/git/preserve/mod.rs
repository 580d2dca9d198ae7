//! Whether what would land is what was reviewed.
//!
//! A unit's diff was reviewed against its old base; what lands is the diff of its candidate against another. Four
//! trees are held against each other: old base, approved head, new base and candidate. The candidate preserves the
//! diff when each of its paths is what the two changes of the old base say of it:
//!
//! - where only the unit changed a path, the candidate has the head's version: object, mode and kind;
//! - where only the target did, or neither, it has the new base's;
//! - where both made the same of it, it has that: the target holds the hunk already;
//! - where both changed the text of a file, it has the new base's text with every reviewed hunk in the place that
//!   corresponds to its own, byte for byte, and its mode follows the three rules above. A hunk that the target holds
//!   is not made twice. A hunk that touches another change has no place of its own.
//!
//! So far no merge is believed. A path of which none of this is so is left to git, which is asked to merge the
//! commits anew: the candidate must have exactly the tree that comes of it. That accepts what only git's own merge
//! knows how to do and what people get from it anyway: a file that the target renamed, attributes such as
//! `merge=union`, hunks that touch under one way to compare texts and not under another. It also accepts git's choice
//! where landed work has made several places fit a hunk equally well (in equal lines, nobody could tell which copy was
//! meant): the hunk is there, once, and which of the equal places it takes is for the checks to judge.
//!
//! Nothing else is accepted: a hunk left out, added, made twice or changed, a mode, a path beside the unit's, landed
//! work that is undone, a candidate that does not stand on its base or has a parent that brings more than the unit.
//!
//! A unit that is replayed commit by commit is held against its candidate commit by commit, since a target that has
//! taken some of its commits and gone on from there holds their hunks without having them in its tree.

mod lines;
mod undone;

pub use undone::{Resolved, Undone};

use std::collections::{BTreeMap, BTreeSet};

use super::IntegrateUnit;
use super::Result;
use super::integrate::Merged;
use super::objects::{raw, unreadable};
use super::repository::Repository;
use crate::id::Oid;
use crate::spec::Strategy;

/// Largest blob whose text is compared; of a larger one git is asked.
const TEXT_BYTES_MAX: usize = 8 << 20;
const MODE_TREE: u32 = 0o040_000;
/// Modes of a regular file.
const MODES_FILE: [u32; 2] = [0o100_644, 0o100_755];

/// Proof that a commit brings onto another what was reviewed of a unit, and nothing else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Preserved {
    onto: Oid,
    commit: Oid,
}

impl Preserved {
    /// What the commit was put onto.
    pub fn onto(&self) -> &Oid {
        &self.onto
    }

    /// The commit.
    pub fn commit(&self) -> &Oid {
        &self.commit
    }

    /// This and what was put onto it, as one; `None` where the one does not begin where the other ends.
    #[must_use]
    pub fn followed_by(self, next: Self) -> Option<Self> {
        (self.commit == next.onto).then_some(Self {
            onto: self.onto,
            commit: next.commit,
        })
    }
}

/// What the comparison of a candidate with what was reviewed came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Preservation {
    /// It is what was reviewed.
    Kept(Preserved),
    /// It is not.
    Broken {
        /// Where; none when it does not even stand on its base.
        paths: Vec<String>,
    },
}

/// Old base, approved head, new base and candidate: of each its commit, tree, or what it has at a path.
type Four<T> = [T; 4];

impl Repository {
    /// Whether `commit`, which is `unit` put onto `onto`, preserves the unit's diff.
    ///
    /// # Errors
    /// When git fails, or an object is missing.
    pub fn preserve(
        &self,
        onto: &Oid,
        unit: &IntegrateUnit,
        strategy: Strategy,
        commit: &Oid,
    ) -> Result<Preservation> {
        let objects = self.objects()?;
        let comparison = Comparison {
            repository: self,
            objects: &objects,
            onto,
        };
        let broken = match strategy {
            Strategy::Rebase => comparison.replayed(unit, commit)?,
            Strategy::Squash => comparison.one_commit(unit, commit, &[onto])?,
            Strategy::Merge => comparison.merged(unit, commit)?,
        };
        Ok(match broken {
            None => Preservation::Kept(Preserved {
                onto: onto.clone(),
                commit: commit.clone(),
            }),
            Some(paths) => Preservation::Broken { paths },
        })
    }
}

/// A unit's change held against its candidate's.
struct Comparison<'a> {
    repository: &'a Repository,
    objects: &'a git2::Repository,
    /// The candidate's base, whose attributes count.
    onto: &'a Oid,
}

/// The paths that are not what was reviewed; `None` when all are.
type Broken = Option<Vec<String>>;

impl Comparison<'_> {
    /// The unit's commits one by one: each is the next of the candidate's, or the target holds it.
    fn replayed(&self, unit: &IntegrateUnit, commit: &Oid) -> Result<Broken> {
        let nothing = Some(Vec::new());
        let line = |base, head| self.repository.line(self.objects, base, head);
        let Ok(reviewed) = line(&unit.base, &unit.head)? else {
            return Ok(nothing);
        };
        let Ok(made) = line(self.onto, commit)? else {
            return Ok(nothing);
        };
        let mut made = made.into_iter().peekable();
        let mut at = self.onto.clone();
        for (parent, reviewed) in &reviewed {
            let mut broken = None;
            if let Some((under, next)) = made.peek() {
                if *under != at {
                    return Ok(nothing);
                }
                broken = self.step(Some(parent), [reviewed, &at, next])?;
                if broken.is_none() {
                    at = next.clone();
                    made.next();
                    continue;
                }
            }
            let held = self.step(Some(parent), [reviewed, &at, &at])?;
            if held.is_some() {
                return Ok(broken.or(held));
            }
        }
        match made.next() {
            None => Ok(None),
            Some((_, beyond)) => self.changed(&at, &beyond).map(Some),
        }
    }

    /// Everything the unit brings by a merge of its head. A second parent brings its whole history, and what was reviewed
    /// is only what the unit adds to its base: so the target has that, or the head is no parent.
    fn merged(&self, unit: &IntegrateUnit, commit: &Oid) -> Result<Broken> {
        if self.repository.is_ancestor(&unit.base, self.onto)? {
            return self.one_commit(unit, commit, &[self.onto, &unit.head]);
        }
        let differs = self.step(Some(&unit.base), [&unit.head, self.onto, commit])?;
        Ok(match differs {
            None => self.one_commit(unit, commit, &[self.onto])?,
            Some(paths) => Some(paths),
        })
    }

    /// Everything the unit brings as one commit.
    fn one_commit(&self, unit: &IntegrateUnit, commit: &Oid, parents: &[&Oid]) -> Result<Broken> {
        let found = self.objects.find_commit(raw(commit));
        let found = found.map_err(unreadable(commit.as_str()))?;
        if !found.parent_ids().eq(parents.iter().map(|parent| raw(parent))) {
            return Ok(Some(Vec::new()));
        }
        let counted_from = match parents {
            [_] => self.repository.counted_from(&unit.base, self.onto)?.cloned(),
            _ => None,
        };
        let from = match counted_from {
            Some(base) => Some(base),
            // Of several, only git knows what they come to together.
            None => match <[Oid; 1]>::try_from(self.repository.merge_bases(self.onto, &unit.head)?) {
                Ok([fork]) => Some(fork),
                Err(_) => None,
            },
        };
        self.step(from.as_ref(), [&unit.head, self.onto, commit])
    }

    /// One change of `was` to `head`, as it stands on `base` in `commit`.
    fn step(&self, was: Option<&Oid>, [head, base, commit]: [&Oid; 3]) -> Result<Broken> {
        let tree = |commit: &Oid| -> Result<_> { Ok(Some(raw(&self.repository.tree_of(commit)?))) };
        let mut paths = BTreeSet::new();
        if let Some(was) = was {
            let trees = [tree(was)?, tree(head)?, tree(base)?, tree(commit)?];
            self.compare(&mut Vec::new(), trees, &mut paths)?;
            if paths.is_empty() {
                return Ok(None);
            }
        }
        let made = self.repository.tree_of(commit)?;
        match self.repository.merge_by_git(self.onto, base, head, was)? {
            Merged::Clean(merged) if merged == made => Ok(None),
            Merged::Clean(merged) => self.changed(&merged, &made).map(Some),
            Merged::Conflicts { conflicts, .. } if paths.is_empty() => {
                Ok(Some(conflicts.into_keys().collect()))
            }
            Merged::Conflicts { .. } => Ok(Some(paths.into_iter().collect())),
        }
    }

    /// The paths on which two commits or trees differ.
    fn changed(&self, from: &Oid, to: &Oid) -> Result<Vec<String>> {
        let changes = self.repository.raw_changes(from, to, "--no-renames")?;
        Ok(changes.into_iter().map(|change| change.path).collect())
    }

    /// Collects the paths below a directory that are not what the two changes say.
    fn compare(
        &self,
        above: &mut Vec<u8>,
        trees: Four<Option<git2::Oid>>,
        broken: &mut BTreeSet<String>,
    ) -> Result<()> {
        let mut names: BTreeMap<Vec<u8>, Four<Option<Entry>>> = BTreeMap::new();
        for (side, tree) in trees.iter().enumerate() {
            let Some(tree) = tree else { continue };
            let found = self.objects.find_tree(*tree);
            for entry in &found.map_err(unreadable(&tree.to_string()))? {
                let mode = u32::try_from(entry.filemode_raw()).unwrap_or(0);
                let oid = entry.id();
                names.entry(entry.name_bytes().to_vec()).or_default()[side] = Some(Entry { mode, oid });
            }
        }
        for (name, entries) in names {
            if is_plain(entries) {
                continue;
            }
            let length = above.len();
            above.extend_from_slice(&name);
            let leaves = entries.map(|entry| entry.filter(|entry| entry.mode != MODE_TREE));
            if !is_plain(leaves) && !self.is_merged(leaves)? {
                broken.insert(String::from_utf8_lossy(above).into_owned());
            }
            let trees = entries.map(|entry| entry.filter(|entry| entry.mode == MODE_TREE));
            if !is_plain(trees) {
                above.push(b'/');
                self.compare(above, trees.map(|entry| entry.map(|entry| entry.oid)), broken)?;
            }
            above.truncate(length);
        }
        Ok(())
    }

    /// Whether a file that both sides changed has both changes.
    fn is_merged(&self, entries: Four<Option<Entry>>) -> Result<bool> {
        let [Some(was), Some(head), Some(base), Some(made)] = entries else {
            return Ok(false);
        };
        let files = [was, head, base, made];
        if files.iter().any(|file| !MODES_FILE.contains(&file.mode)) || !is_plain(files.map(|file| file.mode))
        {
            return Ok(false);
        }
        let oids = files.map(|file| file.oid);
        if is_plain(oids) {
            return Ok(true);
        }
        let mut texts = Vec::with_capacity(oids.len());
        for oid in oids {
            let Some(text) = text_of(self.objects, oid)? else {
                return Ok(false);
            };
            texts.push(text);
        }
        let [was, head, base, made] = &texts[..] else {
            unreachable!("there are four of them")
        };
        Ok(lines::transport(was, head, base)?.as_ref() == Some(made))
    }
}

/// What stands under a name in a tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Entry {
    mode: u32,
    oid: git2::Oid,
}

/// Whether the last is what the others say without looking inside: what the one side that changed it made of it.
fn is_plain<T: PartialEq + Copy>([was, head, base, made]: Four<T>) -> bool {
    if was == head || head == base {
        made == base
    } else {
        was == base && made == head
    }
}

/// A blob's content; `None` when it is binary, or too large to be looked at.
fn text_of(objects: &git2::Repository, oid: git2::Oid) -> Result<Option<Vec<u8>>> {
    let store = objects.odb().map_err(unreadable("the object store"))?;
    let (bytes, _) = store.read_header(oid).map_err(unreadable(&oid.to_string()))?;
    if bytes > TEXT_BYTES_MAX {
        return Ok(None);
    }
    let blob = objects.find_blob(oid).map_err(unreadable(&oid.to_string()))?;
    Ok((!blob.content().contains(&0)).then(|| blob.content().to_vec()))
}

#[cfg(test)]
pub(super) mod testing {
    /// The lines of a text, for who wants to change some.
    pub(in super::super) fn lines(text: &[u8]) -> Vec<Vec<u8>> {
        super::lines::lines(text)
            .into_iter()
            .map(<[u8]>::to_vec)
            .collect()
    }
}
