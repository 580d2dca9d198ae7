//! Reading and making objects.
//!
//! Commits, trees and blobs are read with libgit2 from a bare object database: it has no configuration, no refs and no
//! replacements. It does not know where a shallow history ends, so what follows history there runs git.

use std::collections::BTreeSet;

use super::invoke::failed;
use super::repository::{Identity, Repository};
use super::{Error, Result};
use crate::id::Oid;

/// One entry of a tree, by its full path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TreeEntry {
    pub(super) path: String,
    pub(super) mode: u32,
    pub(super) oid: Oid,
    /// Bytes of the blob; 0 for a submodule.
    pub(super) size: u64,
}

/// Mode of a submodule's entry.
pub(super) const MODE_SUBMODULE: u32 = 0o160_000;
/// Mode of a directory's entry.
const MODE_DIRECTORY: u32 = 0o040_000;
/// Mode of a symbolic link's entry.
pub(super) const MODE_LINK: u32 = 0o120_000;
/// Mode of an executable file's entry.
pub(super) const MODE_EXECUTABLE: u32 = 0o100_755;

impl Repository {
    /// The commit that `revision` names, if it names one.
    ///
    /// # Errors
    /// When git cannot be run.
    pub fn resolve(&self, revision: &str) -> Result<Option<Oid>> {
        // Names are looked up from the person's worktree, so that `HEAD` and `HEAD~1` are theirs.
        let call = self
            .personal(self.root())
            .args(["rev-parse", "--quiet", "--verify", "--end-of-options"])
            .arg(format!("{revision}^{{commit}}"));
        let output = self.invoker().run(&call)?;
        Ok(String::from_utf8_lossy(&output.stdout)
            .trim()
            .parse()
            .ok()
            .filter(|_| output.status.success()))
    }

    /// The tree of a commit.
    ///
    /// # Errors
    /// When there is no such commit.
    pub fn tree_of(&self, commit: &Oid) -> Result<Oid> {
        let objects = self.objects()?;
        let tree = objects.find_commit(raw(commit)).map(|found| found.tree_id());
        own(tree.map_err(unreadable(commit.as_str()))?)
    }

    /// Whether `descendant` contains every one of `commits`.
    ///
    /// # Errors
    /// When one of them is no commit.
    pub fn contains_all(&self, descendant: &Oid, commits: &[Oid]) -> Result<bool> {
        for commit in commits {
            if !self.is_ancestor(commit, descendant)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The newest of `commits` along the first parents of `tip`, which may be it. Where a shallow history ends there is none.
    ///
    /// # Errors
    /// When the objects cannot be read.
    pub fn newest_of(&self, tip: &Oid, commits: &BTreeSet<Oid>) -> Result<Option<Oid>> {
        if commits.is_empty() {
            return Ok(None);
        }
        let objects = self.objects()?;
        let mut next = Some(raw(tip));
        while let Some(id) = next {
            let commit = own(id)?;
            if commits.contains(&commit) {
                return Ok(Some(commit));
            }
            next = objects
                .find_commit(id)
                .ok()
                .and_then(|commit| commit.parent_id(0).ok());
        }
        Ok(None)
    }

    /// Whether `descendant` contains `ancestor`; a commit contains itself.
    ///
    /// # Errors
    /// When one of them is no commit.
    pub fn is_ancestor(&self, ancestor: &Oid, descendant: &Oid) -> Result<bool> {
        if !self.is_shallow() {
            let objects = self.objects()?;
            for commit in [ancestor, descendant] {
                objects
                    .find_commit(raw(commit))
                    .map_err(unreadable(commit.as_str()))?;
            }
            let descends = objects.graph_descendant_of(raw(descendant), raw(ancestor));
            return Ok(ancestor == descendant || descends.map_err(unreadable("the history"))?);
        }
        let call = self.neutral()?.args([
            "merge-base",
            "--is-ancestor",
            ancestor.as_str(),
            descendant.as_str(),
        ]);
        let output = self.invoker().run(&call)?;
        match output.status.code() {
            Some(0) => Ok(true),
            Some(1) => Ok(false),
            _ => Err(failed(&call, &output)),
        }
    }

    /// The best common ancestor, if there is one; git's first choice where there are several.
    ///
    /// # Errors
    /// When one of them is no commit.
    pub fn merge_base(&self, one: &Oid, other: &Oid) -> Result<Option<Oid>> {
        Ok(self.merge_bases(one, other)?.into_iter().next())
    }

    /// The best common ancestors, in git's order.
    pub(super) fn merge_bases(&self, one: &Oid, other: &Oid) -> Result<Vec<Oid>> {
        if !self.is_shallow() {
            let objects = self.objects()?;
            match objects.merge_bases(raw(one), raw(other)) {
                Ok(found) if found.len() == 1 => return Ok(vec![own(found[0])?]),
                Err(error) if error.code() == git2::ErrorCode::NotFound => {
                    // The same answer as for a commit that is not there.
                    for commit in [one, other] {
                        objects
                            .find_commit(raw(commit))
                            .map_err(unreadable(commit.as_str()))?;
                    }
                    return Ok(Vec::new());
                }
                Ok(_) | Err(_) => {}
            }
        }
        let call = self
            .neutral()?
            .args(["merge-base", "--all", one.as_str(), other.as_str()]);
        let output = self.invoker().run(&call)?;
        match output.status.code() {
            Some(0) => String::from_utf8_lossy(&output.stdout)
                .lines()
                .map(|line| Ok(line.parse()?))
                .collect(),
            Some(1) => Ok(Vec::new()),
            _ => Err(failed(&call, &output)),
        }
    }

    /// The commits of `to` that are not in `from`, along first parents, the oldest first.
    ///
    /// # Errors
    /// When one of them is no commit.
    pub fn commits_between(&self, from: &Oid, to: &Oid) -> Result<Vec<Oid>> {
        let call = self
            .neutral()?
            .args(["rev-list", "--first-parent", "--reverse", "--end-of-options"])
            .arg(format!("{from}..{to}"));
        let bytes = self.output(&call)?;
        let text = String::from_utf8_lossy(&bytes);
        text.lines().map(|line| Ok(line.parse()?)).collect()
    }

    /// The trailers of a commit's message, in order: key and value, unfolded.
    ///
    /// # Errors
    /// When there is no such commit.
    pub fn trailers(&self, commit: &Oid) -> Result<Vec<(String, String)>> {
        let format = "--format=%(trailers:only=true,unfold=true,key_value_separator=%x00,separator=%x00%x00)";
        let call = self
            .neutral()?
            .args(["log", "-1", "--no-walk", "-z", format, "--end-of-options"])
            .arg(commit.as_str());
        let bytes = self.output(&call)?;
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let rows = text.trim_end_matches('\0').split("\0\0");
        let pairs = rows.filter_map(|row| row.split_once('\0'));
        Ok(pairs
            .map(|(key, value)| (key.to_owned(), value.trim().to_owned()))
            .collect())
    }

    /// The paths of all files of a commit, submodules not among them. Names that are not UTF-8 are left out.
    ///
    /// # Errors
    /// When there is no such commit.
    pub fn tracked_paths(&self, commit: &Oid) -> Result<Vec<String>> {
        let files = walk(&self.objects()?, commit)?.into_iter();
        let files = files.filter(|(_, mode, _)| *mode != MODE_SUBMODULE);
        Ok(files.map(|(path, ..)| path).collect())
    }

    /// A file's content in a commit; `None` when it has no file there. A symbolic link's content is where it points.
    ///
    /// # Errors
    /// When there is no such commit, or an object is missing.
    pub fn read_file(&self, commit: &Oid, path: &str) -> Result<Option<Vec<u8>>> {
        let objects = self.objects()?;
        let tree = objects
            .find_commit(raw(commit))
            .and_then(|found| found.tree())
            .map_err(unreadable(commit.as_str()))?;
        let entry = match tree.get_path(std::path::Path::new(path)) {
            Ok(entry) => entry,
            Err(error) if error.code() == git2::ErrorCode::NotFound => return Ok(None),
            Err(error) => return Err(unreadable(path)(error)),
        };
        if entry.kind() != Some(git2::ObjectType::Blob) {
            return Ok(None);
        }
        let blob = objects.find_blob(entry.id()).map_err(unreadable(path))?;
        Ok(Some(blob.content().to_vec()))
    }

    /// Every file and submodule of a commit or tree.
    pub(super) fn entries(&self, treeish: &Oid) -> Result<Vec<TreeEntry>> {
        let objects = self.objects()?;
        let sizes = objects.odb().map_err(unreadable("the objects directory"))?;
        // A partial clone lacks blobs.
        let size = |oid| match sizes.read_header(oid) {
            Ok((bytes, git2::ObjectType::Blob)) => bytes as u64,
            Ok(_) | Err(_) => 0,
        };
        let entry = |(path, mode, oid)| {
            Ok(TreeEntry {
                path,
                mode,
                size: size(oid),
                oid: own(oid)?,
            })
        };
        walk(&objects, treeish)?.into_iter().map(entry).collect()
    }

    /// The first parent of a commit; `None` for a root.
    ///
    /// # Errors
    /// When there is no such commit.
    pub fn first_parent(&self, commit: &Oid) -> Result<Option<Oid>> {
        let objects = self.objects()?;
        let found = objects
            .find_commit(raw(commit))
            .map_err(unreadable(commit.as_str()))?;
        found.parent_ids().next().map(own).transpose()
    }

    /// Makes a commit. The same arguments always give the same commit: the committer is the author, at the same
    /// moment, in UTC.
    ///
    /// # Errors
    /// When git refuses to write it.
    pub fn commit_tree(
        &self,
        tree: &Oid,
        parents: &[&Oid],
        message: &str,
        author: &Identity,
        when: jiff::Timestamp,
    ) -> Result<Oid> {
        let line = person_line(author, when.as_second());
        self.write_commit(&commit_text(
            tree,
            parents,
            line.as_bytes(),
            line.as_bytes(),
            &[],
            message.as_bytes(),
        ))
    }

    /// Writes a commit's text into the repository's object store.
    pub(super) fn write_commit(&self, text: &[u8]) -> Result<Oid> {
        let objects = self.objects()?;
        let store = objects.odb().map_err(unreadable("the object store"))?;
        let mut new = self.new_objects();
        let commit = new.add(&store, git2::ObjectType::Commit, text)?;
        new.finish()?;
        own(commit)
    }

    /// The objects and nothing else of the repository, for libgit2.
    pub(super) fn objects(&self) -> Result<git2::Repository> {
        let path = self.objects_dir();
        let open = || {
            let objects = git2::Odb::new()?;
            objects.add_disk_alternate(&path.to_string_lossy())?;
            git2::Repository::from_odb(objects)
        };
        open().map_err(unreadable("the objects directory"))
    }
}

/// Path, mode and object of everything in a commit or tree but its directories. Names that are not UTF-8 are left out.
fn walk(objects: &git2::Repository, treeish: &Oid) -> Result<Vec<(String, u32, git2::Oid)>> {
    let missing = || unreadable(treeish.as_str());
    let top = objects
        .find_object(raw(treeish), None)
        .and_then(|found| found.peel_to_tree())
        .map_err(missing())?;
    let mut found = Vec::new();
    // From its end, so that the order is git's own.
    let mut open: Vec<(String, u32, git2::Oid)> = listed("", &top);
    while let Some((path, mode, oid)) = open.pop() {
        if mode == MODE_DIRECTORY {
            let below = objects.find_tree(oid).map_err(missing())?;
            open.extend(listed(&format!("{path}/"), &below));
        } else {
            found.push((path, mode, oid));
        }
    }
    Ok(found)
}

/// The entries of one directory, the last one first.
fn listed(above: &str, tree: &git2::Tree<'_>) -> Vec<(String, u32, git2::Oid)> {
    let entry = |entry: git2::TreeEntry<'_>| {
        let path = format!("{above}{}", entry.name().ok()?);
        Some((path, entry.filemode().cast_unsigned(), entry.id()))
    };
    let mut listed: Vec<_> = tree.iter().filter_map(entry).collect();
    listed.reverse();
    listed
}

/// `Name <address> seconds +0000`, with what would break the line removed.
pub(super) fn person_line(who: &Identity, seconds: i64) -> String {
    let clean = |text: &str| -> String {
        text.chars()
            .filter(|c| !c.is_control() && !['<', '>'].contains(c))
            .collect()
    };
    format!(
        "{} <{}> {} +0000",
        clean(&who.name).trim(),
        clean(&who.email).trim(),
        seconds.max(0)
    )
}

/// A commit object's text. `extra` are header lines that are kept as they are.
pub(super) fn commit_text(
    tree: &Oid,
    parents: &[&Oid],
    author: &[u8],
    committer: &[u8],
    extra: &[u8],
    message: &[u8],
) -> Vec<u8> {
    let mut text = format!("tree {tree}\n").into_bytes();
    for parent in parents {
        text.extend_from_slice(format!("parent {parent}\n").as_bytes());
    }
    for (key, line) in [("author ", author), ("committer ", committer)] {
        text.extend_from_slice(key.as_bytes());
        text.extend_from_slice(line);
        text.push(b'\n');
    }
    text.extend_from_slice(extra);
    text.push(b'\n');
    // A NUL would end the message for git and hide the rest from people.
    text.extend(message.iter().filter(|byte| **byte != 0));
    if !text.ends_with(b"\n") {
        text.push(b'\n');
    }
    text
}

/// Our object id for libgit2.
pub(super) fn raw(oid: &Oid) -> git2::Oid {
    git2::Oid::from_str(oid.as_str()).expect("our ids are 40 hex digits")
}

/// libgit2's object id as ours.
pub(super) fn own(oid: git2::Oid) -> Result<Oid> {
    Ok(oid.to_string().parse()?)
}

/// For `map_err` on libgit2.
pub(super) fn unreadable(what: &str) -> impl FnOnce(git2::Error) -> Error {
    let what = what.to_owned();
    move |error| Error::Object {
        what,
        message: error.message().to_owned(),
    }
}
