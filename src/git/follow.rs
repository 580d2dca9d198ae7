//! Bringing a checkout's files and index along after its branch moved.
//!
//! Only paths that differ between the two commits are looked at, and of these only what is the old or the new
//! version is written; the rest is a person's. The index is changed first, in one step, for just these entries;
//! each file then appears by a rename. So a crash leaves every path at one of the two versions, and a repetition
//! finishes what is left.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::checkout::{InTheWay, Landscape, OnDisk, PathState};
use super::invoke::nul_ended;
use super::objects::MODE_SUBMODULE;
use super::repository::Repository;
use super::{Error, Result};
use crate::fault;
use crate::id::Oid;

/// How long another git in a person's checkout is waited for.
pub const CHECKOUT_PATIENCE: Duration = Duration::from_secs(10);

impl Repository {
    /// Brings files and index of `checkout`, whose branch moved from `from` to `to`, along. Returns the paths that
    /// were left alone because they are a person's work, in order. May be repeated at any time.
    ///
    /// An entry of the index that is still the old version becomes the new one even where the file is left, so that
    /// nothing looks like a staged reversal.
    ///
    /// # Errors
    /// When git fails, mostly because another git holds the index; then nothing was changed.
    pub fn follow_in_checkout(&self, checkout: &Path, from: &Oid, to: &Oid) -> Result<Vec<String>> {
        let landscape = self.landscape(checkout, from, to)?;
        let mut left = Vec::new();
        let (mut remove, mut write) = (Vec::new(), Vec::new());
        for state in &landscape.paths {
            if !state.index_is_free() || !landscape.file_is_free(state) {
                left.push(state.path.clone());
            } else if !state.file_is_new() {
                match state.new {
                    Some(_) => write.push(state),
                    None => remove.push(state),
                }
            }
        }
        // Prepared before anything is changed: a failing filter must not leave half a checkout.
        let stage = self.stage(checkout, to, &write)?;
        self.bring_index(checkout, &landscape)?;
        for state in remove {
            remove_file(checkout, &state.path)?;
        }
        for state in write {
            place(checkout, stage.path(), state)?;
        }
        // Only times and sizes; its status says whether something differs.
        let refresh = self.personal(checkout).args(["update-index", "-q", "--refresh"]);
        self.invoker().run(&refresh)?;
        Ok(left)
    }

    /// The checkout that has a branch, with what of a person's work is in the way of bringing it from `from` to `to`. Another git there is waited for first, since the checkout must follow once the branch has moved.
    ///
    /// # Errors
    /// When git fails, and [`Error::IndexLocked`] after `patience`.
    pub fn way_in_checkout(
        &self,
        branch: &str,
        from: &Oid,
        to: &Oid,
        patience: Duration,
    ) -> Result<Option<(PathBuf, InTheWay)>> {
        let Some(checkout) = self.checkout_of(branch)? else {
            return Ok(None);
        };
        self.wait_for_index(&checkout, patience)?;
        let way = self.obstacles_in_checkout(&checkout, from, to)?;
        Ok(Some((checkout, way)))
    }

    /// Brings the files along where `checkout` still has the branch: one that is gone, or is on another branch by now,
    /// is none of ours. Returns the paths that were left because they are a person's.
    ///
    /// # Errors
    /// As [`Repository::follow_in_checkout`], and [`Error::IndexLocked`] after `patience`.
    pub fn follow_where_it_is(
        &self,
        branch: &str,
        checkout: &Path,
        (from, to): (&Oid, &Oid),
        patience: Duration,
    ) -> Result<Vec<String>> {
        match self.checkout_of(branch)? {
            Some(found) if found == checkout => {
                self.wait_for_index(checkout, patience)?;
                self.follow_in_checkout(checkout, from, to)
            }
            Some(_) | None => Ok(Vec::new()),
        }
    }

    /// Writes the new files as the person's settings want them, in a directory of their own.
    fn stage(&self, checkout: &Path, to: &Oid, write: &[&PathState]) -> Result<tempfile::TempDir> {
        let parent = self.own_dir()?;
        let stage = fault::point("follow.stage")
            .and_then(|()| {
                tempfile::Builder::new()
                    .prefix(super::inspect::STAGE_PREFIX)
                    .tempdir_in(&parent)
            })
            .map_err(Error::io("make a directory in", &parent))?;
        let files: Vec<&str> = write
            .iter()
            .filter(|state| {
                state
                    .new
                    .as_ref()
                    .is_some_and(|(mode, _)| *mode != MODE_SUBMODULE)
            })
            .map(|state| state.path.as_str())
            .collect();
        if files.is_empty() {
            return Ok(stage);
        }
        let index = stage.path().join("index");
        let read = self.personal(checkout).env("GIT_INDEX_FILE", &index);
        self.output(&read.args(["read-tree", to.as_str()]))?;
        let mut prefix = stage.path().join("files").into_os_string();
        prefix.push("/");
        let mut option = std::ffi::OsString::from("--prefix=");
        option.push(prefix);
        let call = self
            .personal(checkout)
            .attributes_from(to.as_str())
            .env("GIT_INDEX_FILE", &index)
            .args(["checkout-index", "-z", "--stdin"])
            .arg(option)
            .stdin(nul_ended(files));
        self.output(&call)?;
        Ok(stage)
    }

    /// Sets every entry that is still the old version to the new one.
    fn bring_index(&self, checkout: &Path, landscape: &Landscape) -> Result<()> {
        let behind = |state: &&PathState| state.old != state.new && state.index == Ok(state.old.clone());
        let behind: Vec<&PathState> = landscape.paths.iter().filter(behind).collect();
        if behind.is_empty() {
            return Ok(());
        }
        // Removals first, for a file that becomes a directory and the other way round.
        let (gone, set): (Vec<&PathState>, Vec<&PathState>) =
            behind.iter().partition(|state| state.new.is_none());
        let gone = gone
            .iter()
            .map(|state| format!("0 {}\t{}", "0".repeat(40), state.path));
        let set = set.iter().filter_map(|state| {
            let (mode, oid) = state.new.as_ref()?;
            Some(format!("{mode:06o} {oid} 0\t{}", state.path))
        });
        let call = self
            .personal(checkout)
            .args(["update-index", "-z", "--index-info"]);
        self.output(&call.stdin(nul_ended(gone.chain(set))))?;
        let sparse: Vec<_> = behind
            .iter()
            .filter(|state| state.sparse && state.new.is_some())
            .map(|state| state.path.as_str())
            .collect();
        if !sparse.is_empty() {
            let call = self
                .personal(checkout)
                .args(["update-index", "-z", "--skip-worktree", "--stdin"]);
            self.output(&call.stdin(nul_ended(sparse)))?;
        }
        Ok(())
    }
}

/// Removes a file and the directories that are empty without it.
fn remove_file(top: &Path, path: &str) -> Result<()> {
    let full = top.join(path);
    match fault::point("follow.remove").and_then(|()| fs::remove_file(&full)) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            return Err(Error::Io {
                action: "remove",
                path: full,
                source: error,
            });
        }
        Ok(()) | Err(_) => {}
    }
    let mut above = Path::new(path).parent();
    while let Some(directory) = above.filter(|directory| !directory.as_os_str().is_empty()) {
        // It is not empty, or somebody was faster.
        if fs::remove_dir(top.join(directory)).is_err() {
            break;
        }
        above = directory.parent();
    }
    Ok(())
}

fn place(top: &Path, stage: &Path, state: &PathState) -> Result<()> {
    let staged = stage.join("files").join(&state.path);
    let full = top.join(&state.path);
    if fs::symlink_metadata(&staged).is_err() {
        // A submodule, or left out by a sparse checkout.
        return Ok(());
    }
    let directory = full.parent().expect("it is below the top");
    fs::create_dir_all(directory).map_err(Error::io("make", directory))?;
    if matches!(state.disk, OnDisk::Directory(_)) {
        // Its files are gone by now; what is left are empty directories.
        remove_empty(&full)?;
    }
    match fault::point("follow.place").and_then(|()| fs::rename(&staged, &full)) {
        Err(error) if error.kind() == ErrorKind::CrossesDevices => {
            let beside = beside(&full);
            copy(&staged, &beside).map_err(Error::io("write", &beside))?;
            fs::rename(&beside, &full).map_err(Error::io("write", &full))
        }
        other => other.map_err(Error::io("write", &full)),
    }
}

fn remove_empty(directory: &Path) -> Result<()> {
    let Ok(entries) = fs::read_dir(directory) else {
        return Ok(());
    };
    for entry in entries.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_empty(&entry.path())?;
        }
    }
    fs::remove_dir(directory).map_err(Error::io("remove", directory))
}

fn beside(path: &Path) -> PathBuf {
    let mut name = std::ffi::OsString::from(".pipeline-");
    name.push(path.file_name().unwrap_or_default());
    path.with_file_name(name)
}

fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
    drop(fs::remove_file(to));
    if from.symlink_metadata()?.is_symlink() {
        return std::os::unix::fs::symlink(fs::read_link(from)?, to);
    }
    fs::copy(from, to).map(drop)
}
