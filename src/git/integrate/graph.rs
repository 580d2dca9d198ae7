//! Which of many live heads get in each other's way.
//!
//! Every head is put onto the same commit first, so that what is found between two heads is about these two and not
//! about what landed since one of them began. Nothing of it outlives the question (see `aside`). What is not decided in
//! process is asked of git in two batches, because `git merge-tree --stdin` answers when its input ends.

use std::collections::BTreeSet;

use super::super::Result;
use super::super::aside::passing_text;
use super::super::invoke::{failed, nul_items};
use super::super::objects::{own, raw};
use super::super::repository::Repository;
use super::trees::Trees;
use crate::id::Oid;
use crate::port::Cut;

/// What [`Repository::conflicts_between`] found; heads go by their place in its argument.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ConflictGraph {
    /// Heads that conflict with the common commit itself, in order. They are in no pair.
    pub with_onto: Vec<usize>,
    /// Heads that fit alone and not together, each pair once, in order.
    pub pairs: Vec<ConflictPair>,
}

/// Two heads that do not fit together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConflictPair {
    /// The lower place.
    pub one: usize,
    /// The higher place.
    pub other: usize,
    /// Where both changed the same, in order; none where git names no path.
    pub paths: Vec<String>,
}

/// What came of a merge.
enum Merge {
    /// The tree.
    Clean(Oid),
    /// Where both sides changed the same.
    Conflicts(Vec<String>),
}

impl Repository {
    /// The pairwise conflict graph of heads, each given with what it stands on, when all are put onto `onto`.
    ///
    /// # Errors
    /// When git fails, or one of them is no commit.
    pub fn conflicts_between(&self, heads: &[(Oid, Oid)], onto: &Oid) -> Result<ConflictGraph> {
        if self.aside.is_none() {
            return self.aside(&Cut::default())?.conflicts_between(heads, onto);
        }
        let objects = self.objects()?;
        let mut trees = Trees::new(&objects, self.new_objects());
        let placed = self.place_all(heads, onto, &mut trees)?;
        let mut graph = ConflictGraph::default();
        let mut fitting = Vec::new();
        for (at, tree) in placed.into_iter().enumerate() {
            match tree {
                Some(tree) => fitting.push((at, tree)),
                None => graph.with_onto.push(at),
            }
        }
        let base = raw(&self.tree_of(onto)?);
        let mut open = Vec::new();
        for (place, (one, tree)) in fitting.iter().enumerate() {
            for (other, another) in &fitting[place + 1..] {
                if !trees.fit(base, raw(tree), raw(another))? {
                    open.push(((*one, tree), (*other, another)));
                }
            }
        }
        let mut commit_of = |tree: &Oid| own(trees.add_commit(&passing_text(tree, onto))?);
        let mut commits = Vec::with_capacity(open.len());
        for ((_, tree), (_, another)) in &open {
            commits.push([onto.clone(), commit_of(tree)?, commit_of(another)?]);
        }
        trees.new.finish()?;
        let merges: Vec<[&Oid; 3]> = commits.iter().map(<[Oid; 3]>::each_ref).collect();
        for (merged, ((one, _), (other, _))) in self.merges_by_git(&merges)?.into_iter().zip(&open) {
            if let Merge::Conflicts(paths) = merged {
                let (one, other) = (*one, *other);
                graph.pairs.push(ConflictPair { one, other, paths });
            }
        }
        Ok(graph)
    }

    /// The tree of every head on `onto`; `None` where it conflicts.
    fn place_all(&self, heads: &[(Oid, Oid)], onto: &Oid, trees: &mut Trees<'_>) -> Result<Vec<Option<Oid>>> {
        let ours = raw(&self.tree_of(onto)?);
        let mut placed = Vec::with_capacity(heads.len());
        let (mut open, mut places) = (Vec::new(), Vec::new());
        for (at, (head, base)) in heads.iter().enumerate() {
            let (was, theirs) = (raw(&self.tree_of(base)?), raw(&self.tree_of(head)?));
            let tree = trees.merge(was, ours, theirs)?;
            if tree.is_none() {
                open.push([base, onto, head]);
                places.push(at);
            }
            placed.push(tree.map(own).transpose()?);
        }
        for (at, merged) in places.into_iter().zip(self.merges_by_git(&open)?) {
            if let Merge::Clean(tree) = merged {
                placed[at] = Some(tree);
            }
        }
        Ok(placed)
    }

    /// Merges many commits, each given as base, ours and theirs.
    fn merges_by_git(&self, merges: &[[&Oid; 3]]) -> Result<Vec<Merge>> {
        let lines: String = merges
            .iter()
            .map(|[base, ours, theirs]| format!("{base} -- {ours} {theirs}\n"))
            .collect();
        let Some([_, onto, _]) = merges.first() else {
            return Ok(Vec::new());
        };
        let call = self
            .neutral()?
            .attributes_from(onto.as_str())
            .args([
                "merge-tree",
                "--write-tree",
                "--stdin",
                "--name-only",
                "--no-messages",
            ])
            .stdin(lines.into_bytes());
        let output = self.invoker().run(&call)?;
        if !output.status.success() {
            return Err(failed(&call, &output));
        }
        // A status and a tree, the names of what conflicts, and an empty item.
        let mut items = nul_items(&output.stdout);
        let mut merged = Vec::with_capacity(merges.len());
        while let (Some(status), Some(tree)) = (items.next(), items.next()) {
            let [_, ours, theirs] = merges.get(merged.len()).ok_or_else(|| failed(&call, &output))?;
            let clean = match status {
                b"1" => true,
                b"0" => false,
                _ => return Err(failed(&call, &output)),
            };
            let tree = String::from_utf8_lossy(tree).parse()?;
            let names = items.by_ref().take_while(|item| !item.is_empty());
            let paths: BTreeSet<String> = names.map(|name| named(name, [ours, theirs])).collect();
            merged.push(if clean {
                Merge::Clean(tree)
            } else {
                Merge::Conflicts(paths.into_iter().collect())
            });
        }
        if merged.len() != merges.len() {
            return Err(failed(&call, &output));
        }
        Ok(merged)
    }
}

/// A path that git names. Where two things want the same name it puts `~` and a side behind one of them.
fn named(name: &[u8], sides: [&Oid; 2]) -> String {
    let name = String::from_utf8_lossy(name);
    let plain = |side: &Oid| name.strip_suffix(side.as_str())?.strip_suffix('~');
    sides.into_iter().find_map(plain).unwrap_or(&name).to_owned()
}

/// What the tests of this folder's parent compare.
#[cfg(test)]
pub(in super::super) mod testing {
    use super::*;

    pub(in super::super::super) fn by_git(repository: &Repository, merges: &[[&Oid; 3]]) -> Vec<Option<Oid>> {
        let merged = repository.merges_by_git(merges).unwrap().into_iter();
        merged
            .map(|merge| match merge {
                Merge::Clean(tree) => Some(tree),
                Merge::Conflicts(_) => None,
            })
            .collect()
    }

    pub(in super::super::super) fn in_process(
        repository: &Repository,
        merges: &[[&Oid; 3]],
    ) -> Vec<Option<Oid>> {
        let aside = repository.aside(&Cut::default()).unwrap();
        let objects = aside.objects().unwrap();
        let mut trees = Trees::new(&objects, aside.new_objects());
        let tree_of = |commit: &Oid| raw(&repository.tree_of(commit).unwrap());
        merges
            .iter()
            .map(|merge| {
                let [base, ours, theirs] = merge.map(tree_of);
                let merged = trees.merge(base, ours, theirs).unwrap();
                assert_eq!(trees.fit(base, ours, theirs).unwrap(), merged.is_some());
                merged.map(|tree| own(tree).unwrap())
            })
            .collect()
    }
}
