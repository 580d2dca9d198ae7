//! Putting a unit onto a base, in memory.
//!
//! git's own merge (`ort`) is what counts, in the neutral setting with the attributes of the base. It is asked wherever
//! it might do more than take each path from the side that changed it; that much is done in process (`trees`), and
//! so is everything around it. Authors and their dates are kept, a committer's date is the author's, so the same
//! inputs give the same commit.

mod conflict;
mod graph;
mod line;
mod trees;

#[cfg(test)]
pub(super) use graph::testing;
pub use graph::{ConflictGraph, ConflictPair};

use super::objects::{commit_text, own, person_line, raw, unreadable};
use super::repository::{Identity, Repository};
use super::{Error, Result};
use crate::event::Obstacle;
use crate::id::Oid;
use crate::spec::Strategy;
pub(super) use conflict::Merged;
use line::with_trailers;
use trees::Trees;

/// What is put onto a base: the commits of `head` that are not in `base`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IntegrateUnit {
    /// The approved commit.
    pub head: Oid,
    /// What it stands on.
    pub base: Oid,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Integration {
    /// It fits.
    Built {
        /// The last commit.
        commit: Oid,
        /// Its tree.
        tree: Oid,
    },
    /// It does not; `landed_by` of its conflicts is for the caller to fill in.
    Obstacle(Obstacle),
}

/// What is kept of a commit that is made again.
struct Original {
    author: Vec<u8>,
    /// Seconds and zone of the author.
    date: Vec<u8>,
    /// The `encoding` header, if there is one.
    encoding: Vec<u8>,
    message: Vec<u8>,
}

impl Repository {
    /// Puts `unit` onto `base`. `message` is that of the one commit of squash and merge; under rebase, commits that lack
    /// its `Pipeline-…` trailers are given them. A unit whose own base is not in `base`, because the target was moved
    /// back, brings what it adds to its own and nothing of what that stands on: under merge, too, as one commit.
    ///
    /// # Errors
    /// When git fails. What is the unit's own trouble is an [`Integration::Obstacle`].
    pub fn integrate(
        &self,
        base: &Oid,
        unit: &IntegrateUnit,
        strategy: Strategy,
        message: &str,
        identity: &Identity,
    ) -> Result<Integration> {
        let forks = self.merge_bases(base, &unit.head)?;
        let Some(fork) = forks.first() else {
            return Ok(Integration::Obstacle(Obstacle::UnrelatedHistory));
        };
        if *fork == unit.head {
            return Ok(Integration::Obstacle(Obstacle::AlreadyLanded));
        }
        let objects = self.objects()?;
        let mut work = Work {
            repository: self,
            objects: &objects,
            trees: Trees::new(&objects, self.new_objects()),
            base,
            unit,
            forks: &forks,
            identity,
        };
        let done = match strategy {
            Strategy::Rebase => work.replay(message)?,
            Strategy::Squash => work.one_commit(self.counted_from(&unit.base, base)?, &[base], message)?,
            Strategy::Merge => match self.counted_from(&unit.base, base)? {
                None => work.one_commit(None, &[base, &unit.head], message)?,
                // As a parent, the head would bring all it stands on, which nobody reviewed as a part of it.
                counted_from => work.one_commit(counted_from, &[base], message)?,
            },
        };
        if let Integration::Built { .. } = done {
            work.trees.new.finish()?;
        }
        Ok(done)
    }

    /// The commit from which the changes of a unit with this base are counted when they become one change on `onto`, if
    /// git is to be told. Where the base is on the line, git finds the better one itself; where it is not, only what the
    /// unit adds to it is meant, or it would bring back what was taken from the line.
    ///
    /// # Errors
    /// When one of them is no commit.
    pub fn counted_from<'a>(&self, base: &'a Oid, onto: &Oid) -> Result<Option<&'a Oid>> {
        Ok((!self.is_ancestor(base, onto)?).then_some(base))
    }
}

/// One unit on its way onto a base.
struct Work<'a> {
    repository: &'a Repository,
    objects: &'a git2::Repository,
    trees: Trees<'a>,
    base: &'a Oid,
    unit: &'a IntegrateUnit,
    /// The merge bases of base and head; at least one.
    forks: &'a [Oid],
    identity: &'a Identity,
}

/// A commit that may not be in place yet, with its tree.
#[derive(Clone)]
struct Made {
    commit: Oid,
    tree: Oid,
}

impl Work<'_> {
    /// The commits of the unit one by one.
    fn replay(&mut self, message: &str) -> Result<Integration> {
        let line = self
            .repository
            .line(self.objects, &self.unit.base, &self.unit.head)?;
        let line = match line {
            Ok(line) => line,
            Err(obstacle) => return Ok(Integration::Obstacle(obstacle)),
        };
        let mut current = self.existing(self.base)?;
        for (parent, commit) in line {
            let (was, is) = (self.existing(&parent)?, self.existing(&commit)?);
            let original = self.original(&commit)?;
            let text = with_trailers(&original.message, message);
            if parent == current.commit && was.tree != is.tree && text == original.message {
                // It stands there already.
                current = is;
                continue;
            }
            let tree = match self.merge(&current, &is, Some(&was))? {
                Merged::Clean(tree) => tree,
                Merged::Conflicts { tree, conflicts, .. } => {
                    return self
                        .repository
                        .conflict(&tree, conflicts, &self.forks[0], self.base);
                }
            };
            if tree == current.tree {
                continue;
            }
            let mut committer = name_of(self.identity);
            committer.extend_from_slice(&original.date);
            let text = commit_text(
                &tree,
                &[&current.commit],
                &original.author,
                &committer,
                &original.encoding,
                &text,
            );
            let commit = own(self.trees.add_commit(&text)?)?;
            current = Made { commit, tree };
        }
        if current.commit == *self.base {
            return Ok(Integration::Obstacle(Obstacle::AlreadyLanded));
        }
        let Made { commit, tree } = current;
        Ok(Integration::Built { commit, tree })
    }

    /// Everything the unit brings as one commit. `was` is what it is counted from, where it is not for git to find.
    fn one_commit(&mut self, was: Option<&Oid>, parents: &[&Oid], message: &str) -> Result<Integration> {
        let (ours, theirs) = (self.existing(self.base)?, self.existing(&self.unit.head)?);
        let was = was.map(|was| self.existing(was)).transpose()?;
        let tree = match self.merge(&ours, &theirs, was.as_ref())? {
            Merged::Clean(tree) => tree,
            Merged::Conflicts { tree, conflicts, .. } => {
                return self
                    .repository
                    .conflict(&tree, conflicts, &self.forks[0], self.base);
            }
        };
        if tree == ours.tree {
            return Ok(Integration::Obstacle(Obstacle::AlreadyLanded));
        }
        let original = self.original(&self.unit.head)?;
        let mut committer = name_of(self.identity);
        committer.extend_from_slice(&original.date);
        let author = if parents.len() == 1 {
            &original.author
        } else {
            &committer
        };
        let text = commit_text(&tree, parents, author, &committer, &[], message.as_bytes());
        let commit = own(self.trees.add_commit(&text)?)?;
        Ok(Integration::Built { commit, tree })
    }

    /// Merges `theirs` into `ours`; `base` where it is not for git to find.
    fn merge(&mut self, ours: &Made, theirs: &Made, base: Option<&Made>) -> Result<Merged> {
        let only_fork = || match self.forks {
            [fork] => self.existing(fork).map(Some),
            _ => Ok(None),
        };
        let from = match base {
            Some(base) => Some(base.clone()),
            None => only_fork()?,
        };
        if let Some(from) = from {
            let [from, one, other] = [&from, ours, theirs].map(|made| raw(&made.tree));
            if let Some(tree) = self.trees.merge(from, one, other)? {
                return Ok(Merged::Clean(own(tree)?));
            }
        }
        // git has to see what was made so far.
        self.trees.new.finish()?;
        let base = base.map(|made| &made.commit);
        self.repository
            .merge_by_git(self.base, &ours.commit, &theirs.commit, base)
    }

    /// A commit that is in place.
    fn existing(&self, commit: &Oid) -> Result<Made> {
        let found = self.objects.find_commit(raw(commit));
        Ok(Made {
            commit: commit.clone(),
            tree: own(found.map_err(unreadable(commit.as_str()))?.tree_id())?,
        })
    }

    fn original(&self, commit: &Oid) -> Result<Original> {
        let found = self
            .objects
            .find_commit(raw(commit))
            .map_err(unreadable(commit.as_str()))?;
        let header = found.raw_header_bytes();
        let field = |key: &[u8]| -> Option<&[u8]> {
            header
                .split(|byte| *byte == b'\n')
                .find_map(|line| line.strip_prefix(key))
        };
        let author = field(b"author ").ok_or_else(|| Error::Object {
            what: commit.to_string(),
            message: "it has no author".to_owned(),
        })?;
        let after = author
            .iter()
            .rposition(|byte| *byte == b'>')
            .map_or(author.len(), |at| at + 1);
        let encoding = field(b"encoding ").map_or(Vec::new(), |name| [b"encoding ", name, b"\n"].concat());
        Ok(Original {
            date: author[after..].to_vec(),
            author: author.to_vec(),
            encoding,
            message: found.message_raw_bytes().to_vec(),
        })
    }
}

/// `Name <address>`, to be followed by a date.
fn name_of(identity: &Identity) -> Vec<u8> {
    let line = person_line(identity, 0);
    let end = line.rfind('>').map_or(line.len(), |at| at + 1);
    line.as_bytes()[..end].to_vec()
}
