//! Finding and removing what no live attempt owns.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::git::{Repository, Taken};

use super::note::Note;
use super::place::Place;

/// Something that nobody owns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Where it is.
    pub path: PathBuf,
    /// What it occupies on the disk.
    pub bytes: u64,
    /// What it is.
    pub what: Leftover,
    /// The ref under which an author's unfinished work was kept before the removal.
    pub kept: Option<String>,
    /// Why it could not be removed.
    pub failure: Option<String>,
}

/// Kinds of leftovers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leftover {
    /// The directory of an attempt.
    Attempt,
    /// Git's registration of a worktree whose directory is gone.
    Registration,
    /// A temporary directory of a process that was killed.
    Temporary,
}

/// Finds directories of attempts below `root` (a launcher's `worktrees_root`), and git's registrations of worktrees
/// there, that `live` does not claim; `live` is asked with the attempt's directory. Temporary directories of processes
/// of this repository that were killed are found too. Unless `dry_run`, it removes them,
/// after the tree of an author's attempt was kept under `refs/pipeline/salvage/`.
///
/// To be called by who holds the engine's lock, after [`sweep_orphans`](crate::process::sweep_orphans): nothing may run
/// in what is removed. Blocks.
pub fn clean(
    repository: &Repository,
    root: &Path,
    live: &dyn Fn(&Path) -> bool,
    dry_run: bool,
) -> Vec<Found> {
    let mut found = Vec::new();
    for attempt in attempts_below(root).into_iter().filter(|attempt| !live(attempt)) {
        let mut leftover = Found {
            bytes: bytes_below(&attempt),
            path: attempt,
            what: Leftover::Attempt,
            kept: None,
            failure: None,
        };
        if !dry_run {
            remove_attempt(repository, &mut leftover);
        }
        found.push(leftover);
    }
    // Git tells real paths, and `live` knows those below `root` as it was given.
    let real_root = fs::canonicalize(root).unwrap_or_else(|_| root.to_owned());
    for worktree in repository.worktrees().unwrap_or_default() {
        let below = worktree
            .path
            .strip_prefix(&real_root)
            .or_else(|_| worktree.path.strip_prefix(root));
        let Some(attempt) = below
            .ok()
            .and_then(Path::parent)
            .map(|attempt| root.join(attempt))
        else {
            continue;
        };
        if attempt.exists() || live(&attempt) {
            continue;
        }
        let failure = if dry_run {
            None
        } else {
            repository
                .remove_worktree(&worktree.path)
                .err()
                .map(|error| error.to_string())
        };
        found.push(Found {
            path: worktree.path,
            bytes: 0,
            what: Leftover::Registration,
            kept: None,
            failure,
        });
    }
    for directory in repository.abandoned_directories() {
        let bytes = bytes_below(&directory);
        let failure = if dry_run {
            None
        } else {
            repository.remove_abandoned(&directory).err()
        };
        found.push(Found {
            bytes,
            path: directory,
            what: Leftover::Temporary,
            kept: None,
            failure: failure.map(|error| error.to_string()),
        });
    }
    found
}

/// `<root>/<run>/<unit>/<attempt>`, without following links.
fn attempts_below(root: &Path) -> Vec<PathBuf> {
    let mut level = vec![root.to_owned()];
    for _ in 0..3 {
        level = level
            .iter()
            .flat_map(|directory| directories(directory))
            .collect();
    }
    level.sort();
    level
}

fn directories(parent: &Path) -> Vec<PathBuf> {
    fs::read_dir(parent).map_or_else(
        |_| Vec::new(),
        |entries| {
            entries
                .filter_map(Result::ok)
                .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
                .map(|entry| entry.path())
                .collect()
        },
    )
}

fn remove_attempt(repository: &Repository, leftover: &mut Found) {
    let place = Place::below(leftover.path.clone());
    match salvage(repository, &place) {
        Ok(kept) => leftover.kept = kept,
        // Lost work is worse than a full disk: it stays until a person looks.
        Err(sentence) => {
            leftover.failure = Some(format!("its work could not be kept, so it was left: {sentence}"));
            return;
        }
    }
    let unregistered = repository.remove_worktree(&place.tree);
    leftover.failure = match (place.remove(), unregistered) {
        (Err(error), _) => Some(error.to_string()),
        (Ok(()), Err(error)) => Some(error.to_string()),
        (Ok(()), Ok(())) => None,
    };
}

/// Keeps the tree of an abandoned author's attempt; the name of the ref.
fn salvage(repository: &Repository, place: &Place) -> Result<Option<String>, String> {
    let Some(note) = Note::read(place)?.filter(|note| note.takes_tree) else {
        return Ok(None);
    };
    if !fs::symlink_metadata(&place.tree).is_ok_and(|metadata| metadata.is_dir()) {
        return Ok(None);
    }
    let told = |error: &dyn std::fmt::Display| error.to_string();
    let run = note.run().map_err(|error| told(&error))?;
    let commit = note.commit().map_err(|error| told(&error))?;
    let before = repository.tree_of(&commit).map_err(|error| told(&error))?;
    let taken = repository.take_tree(&place.tree, &commit, &note.limits(), &note.skip);
    match taken.map_err(|error| told(&error))? {
        // Nothing was begun, so there is nothing to keep.
        Taken::Tree(tree) if tree == before => Ok(None),
        Taken::Tree(tree) => {
            let name = format!("refs/pipeline/salvage/{run}/{}/{}", note.unit, note.attempt);
            repository
                .write_ref(&name, &tree, None)
                .map_err(|error| told(&error))?;
            Ok(Some(name))
        }
        // It could not have been used either.
        Taken::Refused(_) => Ok(None),
    }
}

/// What everything at and below `path` occupies on the disk; links are not followed, and what cannot be read counts as
/// nothing. Blocks.
pub fn bytes_below(path: &Path) -> u64 {
    const BLOCK_BYTES: u64 = 512;
    let Ok(metadata) = fs::symlink_metadata(path) else {
        return 0;
    };
    let mut bytes = metadata.blocks() * BLOCK_BYTES;
    let mut directories = if metadata.is_dir() {
        vec![path.to_owned()]
    } else {
        Vec::new()
    };
    while let Some(directory) = directories.pop() {
        let Ok(entries) = fs::read_dir(directory) else {
            continue;
        };
        for entry in entries.filter_map(Result::ok) {
            let Ok(metadata) = entry.metadata() else {
                continue;
            };
            bytes += metadata.blocks() * BLOCK_BYTES;
            if metadata.is_dir() {
                directories.push(entry.path());
            }
        }
    }
    bytes
}

/// Bytes that this user may still write to the file system of `path`, which must exist.
///
/// # Errors
/// The file system cannot be asked.
pub fn free_disk(path: &Path) -> io::Result<u64> {
    // Before the first run the directory itself is not there yet.
    let there = path
        .ancestors()
        .find(|ancestor| ancestor.exists())
        .unwrap_or(path);
    let space = rustix::fs::statvfs(there)?;
    Ok(space.f_bavail.saturating_mul(space.f_frsize))
}
