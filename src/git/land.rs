//! Moving the target: by compare-and-swap, forward only, and only with the proof of its lock.

use std::fs::{File, TryLockError};

use super::repository::Repository;
use super::{Error, Result};
use crate::id::Oid;
use crate::port::disk_remedy;

/// How long another git that is about to move the same ref is waited for.
const LOCK_TIMEOUT_MS: &str = "5000";

/// Proof that no other process of ours moves this target. Given back when dropped.
#[derive(Debug)]
pub struct TargetLock {
    branch: String,
    /// Closing it gives the lock back.
    _file: File,
}

impl TargetLock {
    /// The target, without `refs/heads/`.
    pub fn branch(&self) -> &str {
        &self.branch
    }
}

/// The answer of [`Repository::move_target`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Moved {
    /// The target is at its new place.
    Done,
    /// It was not where it was expected and was left alone: here it is, `None` when it is gone.
    Elsewhere(Option<Oid>),
    /// It is where it was, and git did not move it: it is locked, or something stands in its way. These are its words.
    Refused(String),
}

impl Repository {
    /// Takes the lock of a target, without waiting.
    ///
    /// # Errors
    /// [`Error::TargetLocked`] when another process has it.
    pub fn lock_target(&self, branch: &str) -> Result<TargetLock> {
        // Branch names may be longer than file names and contain what these may not.
        let hash = git2::Oid::hash_object(git2::ObjectType::Blob, branch.as_bytes())
            .map_err(super::objects::unreadable(branch))?;
        let path = self.own_dir()?.join(format!("target-{hash}.lock"));
        let file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(Error::io("open", &path))?;
        match file.try_lock() {
            Ok(()) => Ok(TargetLock {
                branch: branch.to_owned(),
                _file: file,
            }),
            Err(TryLockError::WouldBlock) => Err(Error::TargetLocked(branch.to_owned())),
            Err(TryLockError::Error(source)) => Err(Error::Io {
                action: "lock",
                path,
                source,
            }),
        }
    }

    /// Moves the target from `from` to `to`, with `reason` in its reflog. Files of checkouts stay as they are:
    /// [`Repository::follow_in_checkout`] brings them along.
    ///
    /// # Errors
    /// [`Error::NotAFastForward`] when `to` does not contain `from`.
    pub fn move_target(&self, lock: &TargetLock, from: &Oid, to: &Oid, reason: &str) -> Result<Moved> {
        if !self.is_ancestor(from, to)? {
            return Err(Error::NotAFastForward {
                from: from.clone(),
                to: to.clone(),
            });
        }
        let name = format!("refs/heads/{}", lock.branch);
        let found = self.tip(&lock.branch)?;
        if found.as_ref() != Some(from) {
            return Ok(Moved::Elsewhere(found));
        }
        let line: String = reason.chars().filter(|c| !c.is_control()).collect();
        let who = self.identity().ok();
        let (author, email) = who.map_or(("pipeline".to_owned(), "pipeline@localhost".to_owned()), |who| {
            (who.name, who.email)
        });
        let call = self
            .shared()
            .config("core.filesRefLockTimeout", LOCK_TIMEOUT_MS)
            .env("GIT_COMMITTER_NAME", author)
            .env("GIT_COMMITTER_EMAIL", email)
            .args([
                "update-ref",
                "--create-reflog",
                "-m",
                &line,
                "--end-of-options",
                &name,
            ])
            .args([to.as_str(), from.as_str()]);
        match self.output(&call) {
            Ok(_) => Ok(Moved::Done),
            Err(error) => {
                let found = self.tip(&lock.branch)?;
                if found.as_ref() != Some(from) {
                    return Ok(Moved::Elsewhere(found));
                }
                match error {
                    Error::Command { stderr, .. } if disk_remedy(&stderr).is_none() => {
                        Ok(Moved::Refused(stderr))
                    }
                    other => Err(other),
                }
            }
        }
    }
}
