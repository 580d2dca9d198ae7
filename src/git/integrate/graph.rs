//! Which of many live heads get in each other's way.
//!
//! Every head is put onto the same commit first, so that what is found between two heads is about these two and not
//! about what landed since one of them began. Nothing of it outlives the question: what is made for it lies in an
//! object store of its own. What is not decided in process is asked of git in two batches, because `git merge-tree
//! --stdin` answers when its input ends.

use std::fs;
use std::os::unix::ffi::OsStrExt;

use tempfile::TempDir;

use super::super::invoke::{failed, nul_items};
use super::super::loose::LooseObjects;
use super::super::objects::{commit_text, own, raw, unreadable};
use super::super::repository::Repository;
use super::super::{Error, Result};
use super::trees::Trees;
use crate::id::Oid;

/// What [`Repository::conflicts_between`] found; heads go by their place in its argument.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ConflictGraph {
    /// Heads that conflict with the common commit itself, in order. They are in no pair.
    pub with_onto: Vec<usize>,
    /// Heads that fit alone and not together, each pair once, the lower place first, in order.
    pub pairs: Vec<(usize, usize)>,
}

/// A place for objects that borrows those of the repository.
struct Scratch {
    directory: TempDir,
}

impl Scratch {
    fn new(repository: &Repository) -> Result<Self> {
        let parent = repository.scratch_root()?;
        let directory = tempfile::Builder::new()
            .prefix("objects-")
            .tempdir_in(parent)
            .map_err(Error::io("make a directory in", parent))?;
        let info = directory.path().join("info");
        fs::create_dir_all(&info).map_err(Error::io("make", &info))?;
        let file = info.join("alternates");
        let line = [repository.objects_dir().as_os_str().as_bytes(), b"\n"].concat();
        fs::write(&file, line).map_err(Error::io("write", &file))?;
        Ok(Self { directory })
    }

    fn objects(&self) -> Result<git2::Repository> {
        let open = || {
            let objects = git2::Odb::new()?;
            objects.add_disk_alternate(&self.directory.path().to_string_lossy())?;
            git2::Repository::from_odb(objects)
        };
        open().map_err(unreadable("the objects of a comparison"))
    }
}

impl Repository {
    /// The pairwise conflict graph of heads, each given with what it stands on, when all are put onto `onto`.
    ///
    /// # Errors
    /// When git fails, or one of them is no commit.
    pub fn conflicts_between(&self, heads: &[(Oid, Oid)], onto: &Oid) -> Result<ConflictGraph> {
        let scratch = Scratch::new(self)?;
        let objects = scratch.objects()?;
        let directory = scratch.directory.path().to_owned();
        let mut trees = Trees::new(&objects, LooseObjects::passing(directory));
        let placed = self.place_all(heads, onto, &mut trees, &scratch)?;
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
        let mut commit_of = |tree: &Oid| -> Result<Oid> {
            let nobody = b"nobody <> 0 +0000";
            own(trees.add_commit(&commit_text(tree, &[onto], nobody, nobody, &[], b"placed"))?)
        };
        let mut commits = Vec::with_capacity(open.len());
        for ((_, tree), (_, another)) in &open {
            commits.push([onto.clone(), commit_of(tree)?, commit_of(another)?]);
        }
        trees.new.finish()?;
        let merges: Vec<[&Oid; 3]> = commits.iter().map(<[Oid; 3]>::each_ref).collect();
        let merged = self.merges_by_git(&merges, Some(&scratch))?;
        let pairs = open.iter().map(|((one, _), (other, _))| (*one, *other));
        let conflicting = pairs.zip(merged).filter(|(_, merged)| merged.is_none());
        graph.pairs = conflicting.map(|(pair, _)| pair).collect();
        Ok(graph)
    }

    /// The tree of every head on `onto`; `None` where it conflicts.
    fn place_all(
        &self,
        heads: &[(Oid, Oid)],
        onto: &Oid,
        trees: &mut Trees<'_>,
        scratch: &Scratch,
    ) -> Result<Vec<Option<Oid>>> {
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
        for (at, tree) in places.into_iter().zip(self.merges_by_git(&open, Some(scratch))?) {
            placed[at] = tree;
        }
        Ok(placed)
    }

    /// Merges many commits, each given as base, ours and theirs; `None` where they conflict.
    fn merges_by_git(&self, merges: &[[&Oid; 3]], scratch: Option<&Scratch>) -> Result<Vec<Option<Oid>>> {
        let lines: String = merges
            .iter()
            .map(|[base, ours, theirs]| format!("{base} -- {ours} {theirs}\n"))
            .collect();
        let Some([_, onto, _]) = merges.first() else {
            return Ok(Vec::new());
        };
        let mut call = self
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
        if let Some(scratch) = scratch {
            call = call.env("GIT_OBJECT_DIRECTORY", scratch.directory.path());
        }
        let output = self.invoker().run(&call)?;
        if !output.status.success() {
            return Err(failed(&call, &output));
        }
        // A status and a tree, the names of what conflicts, and an empty item.
        let mut items = nul_items(&output.stdout);
        let mut merged = Vec::with_capacity(merges.len());
        while let (Some(status), Some(tree)) = (items.next(), items.next()) {
            let clean = match status {
                b"1" => true,
                b"0" => false,
                _ => return Err(failed(&call, &output)),
            };
            let tree = String::from_utf8_lossy(tree).parse()?;
            merged.push(clean.then_some(tree));
            items.by_ref().take_while(|item| !item.is_empty()).for_each(drop);
        }
        if merged.len() != merges.len() {
            return Err(failed(&call, &output));
        }
        Ok(merged)
    }
}

/// What the tests of this folder's parent compare.
#[cfg(test)]
pub(in super::super) mod testing {
    use super::*;

    pub(in super::super::super) fn by_git(repository: &Repository, merges: &[[&Oid; 3]]) -> Vec<Option<Oid>> {
        repository.merges_by_git(merges, None).unwrap()
    }

    pub(in super::super::super) fn in_process(
        repository: &Repository,
        merges: &[[&Oid; 3]],
    ) -> Vec<Option<Oid>> {
        let scratch = Scratch::new(repository).unwrap();
        let objects = scratch.objects().unwrap();
        let mut trees = Trees::new(
            &objects,
            LooseObjects::passing(scratch.directory.path().to_owned()),
        );
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
