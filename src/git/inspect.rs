//! Looking for what should not be there: missing objects, staged reversals, locks and directories whose owner died.
//!
//! Everything here only reads.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::checkout::Entry;
use super::invoke::nul_items;
use super::repository::{Repository, neutral_prefix};
use super::{Error, Result};
use crate::id::Oid;

/// Directories of this prefix, in [`Repository::own_dir`], hold files on their way into a checkout.
pub(super) const STAGE_PREFIX: &str = "follow-";

/// A commit with its trailers: key and value, in order.
pub type WithTrailers = (Oid, Vec<(String, String)>);

impl Repository {
    /// What git has to say when an object is missing that a ref, a reflog or an index names; `None` when all are there.
    ///
    /// # Errors
    /// When git cannot be run.
    pub fn missing_objects(&self) -> Result<Option<String>> {
        let call = self
            .shared()
            .args(["fsck", "--connectivity-only", "--no-dangling", "--no-progress"]);
        let output = self.invoker().run(&call)?;
        if output.status.success() {
            return Ok(None);
        }
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        let lines: Vec<&str> = said.lines().filter(|line| !line.is_empty()).collect();
        Ok(Some(match lines.len() {
            0 => format!("git fsck ended with {}", output.status),
            1 => lines[0].to_owned(),
            count => format!("{}, and {} more lines", lines[0], count - 1),
        }))
    }

    /// The commits of `to` that are not in `from`, along first parents, the oldest first, each with its trailers.
    ///
    /// # Errors
    /// When one of them is no commit.
    pub fn trailers_between(&self, from: &Oid, to: &Oid) -> Result<Vec<WithTrailers>> {
        let format = "--format=%H%n%(trailers:only=true,unfold=true,key_value_separator=%x01)";
        let call = self
            .neutral()?
            .args(["log", "--first-parent", "--reverse", "-z", format])
            .arg("--end-of-options")
            .arg(format!("{from}..{to}"));
        let bytes = self.output(&call)?;
        let one = |item: &[u8]| {
            let text = String::from_utf8_lossy(item);
            let (commit, rows) = text.split_once('\n').unwrap_or((&text, ""));
            let pairs = rows.lines().filter_map(|row| row.split_once('\u{1}'));
            let pairs = pairs.map(|(key, value)| (key.to_owned(), value.trim().to_owned()));
            Ok((commit.trim().parse()?, pairs.collect()))
        };
        nul_items(&bytes)
            .filter(|item| !item.trim_ascii().is_empty())
            .map(one)
            .collect()
    }

    /// Paths that a landing changed, each given by its old and new tip, whose index entry in `checkout` is what stood
    /// before it while the branch, at `tip`, has what it brought: committing there would undo it.
    ///
    /// # Errors
    /// When git fails.
    pub fn staged_reversals(
        &self,
        checkout: &Path,
        landings: &[(Oid, Oid)],
        tip: &Oid,
    ) -> Result<Vec<String>> {
        type Versions = Vec<Option<Entry>>;
        let mut touched: BTreeMap<String, (Versions, Versions)> = BTreeMap::new();
        for (from, to) in landings {
            for change in self.raw_changes(from, to, "--no-renames")? {
                let (old, new) = touched.entry(change.path).or_default();
                old.push(change.old);
                new.push(change.new);
            }
        }
        if touched.is_empty() {
            return Ok(Vec::new());
        }
        let index = self.index_entries(checkout)?;
        let at_tip: BTreeMap<String, Entry> = self
            .entries(tip)?
            .into_iter()
            .map(|entry| (entry.path, (entry.mode, entry.oid)))
            .collect();
        let is_reversed = |path: &String, (old, new): &(Versions, Versions)| {
            let staged = match index.get(path) {
                Some((Ok(entry), _)) => entry.clone(),
                // In conflict: a person is merging.
                Some((Err(()), _)) => return false,
                None => None,
            };
            let landed = at_tip.get(path).cloned();
            staged != landed && old.contains(&staged) && new.contains(&landed)
        };
        Ok(touched
            .iter()
            .filter(|(path, versions)| is_reversed(path, versions))
            .map(|(path, _)| path.clone())
            .collect())
    }

    /// Lock files of git on refs of ours, on `branches` and on all packed refs.
    pub fn ref_locks(&self, branches: &[String]) -> Vec<PathBuf> {
        let common = self.common_dir();
        let mut found = Vec::new();
        for below in ["refs/pipeline", "refs/heads/pipeline"] {
            locks_below(&common.join(below), &mut found);
        }
        let of_branches = branches.iter().map(|name| format!("refs/heads/{name}.lock"));
        let single = of_branches.chain(["packed-refs.lock".to_owned()]);
        found.extend(single.map(|name| common.join(name)).filter(|path| path.is_file()));
        found
    }

    /// The lock of the index of a checkout, if there is one.
    ///
    /// # Errors
    /// When git fails.
    pub fn index_lock(&self, checkout: &Path) -> Result<Option<PathBuf>> {
        let path = self.index_lock_path(checkout)?;
        Ok(path.exists().then_some(path))
    }

    /// Temporary directories of this repository's engines and readers that were killed.
    ///
    /// Only who holds the engine's lock, or knows that nobody does, may call those left behind that are in the
    /// repository itself; those elsewhere are locked by their owner.
    pub fn abandoned_directories(&self) -> Vec<PathBuf> {
        let own = self.common_dir().join("pipeline");
        let mut found = directories_of(&own, STAGE_PREFIX);
        let prefix = neutral_prefix(self.common_dir());
        let elsewhere = prefix.map(|prefix| directories_of(self.temporary_root(), &prefix));
        let elsewhere = elsewhere.unwrap_or_default().into_iter();
        found.extend(elsewhere.filter(|path| lock_of_abandoned(path).is_some()));
        found.sort();
        found
    }

    /// Removes one of [`Self::abandoned_directories`]; one that somebody has taken since is left.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub fn remove_abandoned(&self, directory: &Path) -> Result<()> {
        let Some(_lock) = lock_of_abandoned(directory) else {
            return Ok(());
        };
        fs::remove_dir_all(directory).map_err(Error::io("remove", directory))
    }
}

/// The lock of a directory of ours that no process holds any more.
fn lock_of_abandoned(directory: &Path) -> Option<File> {
    let data = fs::symlink_metadata(directory).ok()?;
    let mine = data.is_dir() && data.uid() == rustix::process::geteuid().as_raw();
    let file = File::open(directory).ok().filter(|_| mine)?;
    file.try_lock().is_ok().then_some(file)
}

fn locks_below(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = entry.path();
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            locks_below(&path, found);
        } else if path.extension() == Some(OsStr::new("lock")) {
            found.push(path);
        }
    }
}

fn directories_of(parent: &Path, prefix: &str) -> Vec<PathBuf> {
    fs::read_dir(parent)
        .into_iter()
        .flatten()
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(prefix))
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.path())
        .collect()
}
