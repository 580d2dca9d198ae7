//! Registering, listing and removing linked worktrees.
//!
//! Everything that changes the registration holds one lock of the repository: git itself does not lock there, and
//! several `git worktree add` at once fail.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::invoke::{nul_items, path_of};
use super::repository::Repository;
use super::{Error, Result};
use crate::fault;
use crate::id::Oid;

/// How often the registration of a worktree is begun anew when somebody takes it away meanwhile.
const REGISTRATION_TRIES: u32 = 5;
/// What git says then, among other words.
const GONE: &str = "No such file or directory";

/// One registered worktree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorktreeInfo {
    /// Where it is.
    pub path: PathBuf,
    /// Its branch, without `refs/heads/`; `None` when detached or bare.
    pub branch: Option<String>,
    /// Its commit, as the repository knows it; `None` when it has none.
    pub head: Option<Oid>,
    /// Why it is locked, if it is; may be empty.
    pub locked: Option<String>,
    /// Whether `git worktree prune` would forget it.
    pub prunable: bool,
}

impl Repository {
    /// Registers a linked worktree at `path`: detached at `commit`, locked with `reason`, without files.
    /// [`Repository::populate_private`] brings them.
    ///
    /// # Errors
    /// When the path is taken, or git fails.
    pub fn add_worktree(&self, path: &Path, commit: &Oid, reason: &str) -> Result<()> {
        let _lock = self.lock_worktrees()?;
        let call = self
            .shared()
            .args([
                "worktree",
                "add",
                "--quiet",
                "--detach",
                "--no-checkout",
                "--lock",
            ])
            .args(["--reason", reason, "--end-of-options"])
            .arg(path)
            .arg(commit.as_str());
        let is_taken = path.exists();
        for _ in 1..REGISTRATION_TRIES {
            match self.output(&call) {
                // Somebody's `git worktree prune` has taken the half-made registration away.
                Err(Error::Command { stderr, .. }) if !is_taken && stderr.contains(GONE) => {
                    self.forget_worktree(&real_path(path))?;
                }
                done => return done.map(drop),
            }
        }
        self.output(&call).map(drop)
    }

    /// Deletes the worktree at `path` with everything in it, and its registration, locked or half-made. What is not
    /// there is fine. Links in it are removed, not followed.
    ///
    /// # Errors
    /// When something cannot be deleted.
    pub fn remove_worktree(&self, path: &Path) -> Result<()> {
        let _lock = self.lock_worktrees()?;
        let path = real_path(path);
        if path == self.main_root() || path == self.common_dir() {
            return Err(Error::NotAWorktree(path));
        }
        self.forget_worktree(&path)
    }

    /// The deletion itself, under the lock.
    fn forget_worktree(&self, path: &Path) -> Result<()> {
        fault::point("worktree.remove").map_err(Error::io("remove", path))?;
        remove_tree(path)?;
        for registration in self.registrations_of(path)? {
            fault::point("worktree.forget").map_err(Error::io("remove", &registration))?;
            remove_tree(&registration)?;
        }
        Ok(())
    }

    /// Every worktree of the repository, the main one first.
    ///
    /// # Errors
    /// When git fails.
    pub fn worktrees(&self) -> Result<Vec<WorktreeInfo>> {
        let call = self.shared().args(["worktree", "list", "--porcelain", "-z"]);
        let bytes = match self.output(&call) {
            // Git fails on a registration that is being made or removed; under the lock none is.
            Err(Error::Command { .. }) => {
                let _lock = self.lock_worktrees()?;
                self.output(&call)?
            }
            done => done?,
        };
        let mut list: Vec<WorktreeInfo> = Vec::new();
        for item in nul_items(&bytes) {
            if let Some(path) = item.strip_prefix(b"worktree ") {
                list.push(WorktreeInfo {
                    path: path_of(path),
                    branch: None,
                    head: None,
                    locked: None,
                    prunable: false,
                });
                continue;
            }
            let Some(last) = list.last_mut() else {
                continue;
            };
            let text = String::from_utf8_lossy(item);
            let (key, value) = text.split_once(' ').unwrap_or((&text, ""));
            match key {
                "HEAD" => {
                    last.head = value
                        .parse()
                        .ok()
                        .filter(|oid: &Oid| oid.as_str().bytes().any(|digit| digit != b'0'));
                }
                "branch" => last.branch = value.strip_prefix("refs/heads/").map(str::to_owned),
                "locked" => last.locked = Some(value.to_owned()),
                "prunable" => last.prunable = true,
                _ => {}
            }
        }
        Ok(list)
    }

    /// The worktree that has this branch checked out, if one has.
    ///
    /// # Errors
    /// When git fails.
    pub fn checkout_of(&self, branch: &str) -> Result<Option<PathBuf>> {
        let list = self.worktrees()?;
        let found = list
            .into_iter()
            .find(|worktree| worktree.branch.as_deref() == Some(branch) && !worktree.prunable);
        Ok(found.map(|worktree| worktree.path))
    }

    /// Waits for the lock under which worktrees are registered and removed.
    pub(super) fn lock_worktrees(&self) -> Result<File> {
        let path = self.own_dir()?.join("worktrees.lock");
        let file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(Error::io("open", &path))?;
        file.lock().map_err(Error::io("lock", &path))?;
        Ok(file)
    }

    /// The directories in which the repository remembers the worktree at `path`.
    fn registrations_of(&self, path: &Path) -> Result<Vec<PathBuf>> {
        let all = self.common_dir().join("worktrees");
        let entries = match fs::read_dir(&all) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            Err(source) => {
                return Err(Error::Io {
                    action: "list",
                    path: all,
                    source,
                });
            }
        };
        let mut found = Vec::new();
        for entry in entries {
            let registration = entry.map_err(Error::io("list", &all))?.path();
            let belongs = match fs::read(registration.join("gitdir")) {
                Ok(text) => {
                    let file = registration.join(path_of(text.trim_ascii_end()));
                    file.parent().map(real_path).as_deref() == Some(path)
                }
                // Killed before it was written. The name tells, and nothing of ours is being made: we have the lock.
                Err(_) => is_half_made(&registration, path),
            };
            if belongs {
                found.push(registration);
            }
        }
        Ok(found)
    }
}

/// git names a registration after the directory, with a number behind it when that is taken.
fn is_half_made(registration: &Path, path: &Path) -> bool {
    let initializing =
        fs::read_to_string(registration.join("locked")).is_ok_and(|why| why.trim() == "initializing");
    let (Some(own), Some(name)) = (registration.file_name(), path.file_name()) else {
        return false;
    };
    let (own, name) = (own.to_string_lossy(), name.to_string_lossy());
    let numbered = own
        .strip_prefix(name.as_ref())
        .is_some_and(|rest| rest.bytes().all(|byte| byte.is_ascii_digit()));
    initializing && numbered
}

/// The path with every link above its last part resolved, whether or not it is there.
pub(super) fn real_path(path: &Path) -> PathBuf {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return path.to_owned();
    };
    match fs::canonicalize(parent) {
        Ok(real) => real.join(name),
        Err(_) => real_path(parent).join(name),
    }
}

/// Removes a directory, a file or a link, and what is below a directory, without following links.
fn remove_tree(path: &Path) -> Result<()> {
    let remove = || match fs::symlink_metadata(path) {
        Ok(data) if data.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    let mut result = remove();
    if result
        .as_ref()
        .is_err_and(|error| error.kind() == ErrorKind::PermissionDenied)
    {
        // Module caches are read-only directories, and an agent may make such.
        make_writable(path);
        result = remove();
    }
    match result {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(Error::Io {
            action: "remove",
            path: path.to_owned(),
            source: error,
        }),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Gives every directory its owner's permissions; what fails shows when the removal is repeated.
fn make_writable(path: &Path) {
    if !fs::symlink_metadata(path).is_ok_and(|data| data.is_dir()) {
        return;
    }
    drop(fs::set_permissions(path, fs::Permissions::from_mode(0o700)));
    for entry in fs::read_dir(path).into_iter().flatten().flatten() {
        make_writable(&entry.path());
    }
}
