//! The repository: real git behind one hardened function, and libgit2 for reading objects.
//!
//! Three settings in which git is run, and nothing else:
//!
//! - **neutral**: a git directory of our own with the repository's objects. No configuration of anybody's is read,
//!   so no filter, driver, hook or helper exists there. Everything that is about objects runs so: trees, merges,
//!   diffs, commits, and the reading of an agent's worktree.
//! - **repository**: the real git directory, for refs and for the registration of worktrees. Its own configuration
//!   is read; every key that could name a program for these commands is overridden.
//! - **person**: their checkout with their configuration, filters and line ends included, because these are their
//!   files. Hooks and helpers are off here too.
//!
//! **Architecture Invariant:** a ref outside `refs/pipeline/` and `refs/heads/pipeline/` is written only by
//! [`Repository::move_target`], which demands the proof that [`Repository::lock_target`] alone hands out; a fetch
//! writes the tracking branch of the target's upstream besides.
//!
//! Locks, both in `<common>/pipeline/`: `worktrees.lock` is waited for, held while a worktree is registered or
//! removed; `target-<hash>.lock` is tried, held as long as a [`TargetLock`] lives. Neither is held while the other
//! is asked for. A [`Repository`] that has made its neutral directory holds the lock of it as long as it lives; nobody
//! else waits for that, it only says that the directory is in use.

mod aside;
mod checkout;
mod conflicted;
mod diff;
mod follow;
mod forward;
mod inspect;
mod integrate;
mod invoke;
mod land;
mod loose;
mod objects;
mod preserve;
mod private;
mod record;
mod refs;
mod repository;
mod resolve;
mod scratch;
mod snapshot;
mod upstream;
mod worktree;

pub use checkout::InTheWay;
pub use conflicted::Conflicted;
pub use diff::{ChangeStatus, ChangedFile, FileStat, Patch};
pub use follow::CHECKOUT_PATIENCE;
pub use forward::Forwarded;
pub use inspect::WithTrailers;
pub use integrate::{ConflictGraph, ConflictPair, IntegrateUnit, Integration};
pub use invoke::UserEnvironment;
pub use land::{Moved, TargetLock};
pub use preserve::{Preservation, Preserved, Resolved, Undone};
pub use private::View;
pub use record::RecordText;
pub use repository::{Identity, Repository};
pub use scratch::create_repository;
pub use snapshot::{Refusal, SnapshotLimits, Taken};
pub use upstream::{Fetched, Upstream};
pub use worktree::WorktreeInfo;

use std::path::PathBuf;

use crate::id::{NameError, Oid};
use crate::process::exec::ExecError;

/// What every function of this module returns.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What can go wrong with a repository.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No repository at or above the place.
    #[error("{path} is not in a git repository: go to one, or make one with `git init` and a first commit", path = .0.display())]
    NotARepository(PathBuf),
    /// The repository refuses to be used by this user, or cannot be opened; git's own words tell.
    #[error("git cannot open the repository at {path}: {message}", path = path.display())]
    Unusable {
        /// Where.
        path: PathBuf,
        /// What git said, with its own remedy.
        message: String,
    },
    /// A repository without a checkout.
    #[error("{path} is a bare repository: run this in a checkout, made with `git worktree add` or `git clone`", path = .0.display())]
    Bare(PathBuf),
    /// A repository without a commit where the person is.
    #[error("{path} has no commit yet: make one with `git commit`, the units need something to stand on", path = .0.display())]
    Unborn(PathBuf),
    /// No `git` on the search path.
    #[error("no `git` on PATH: install git {}.{} or later", MINIMUM.0, MINIMUM.1)]
    GitMissing,
    /// A git that lacks `--attr-source`, without which an agent's attributes could not be kept out.
    #[error("git {found} is too old: install {}.{} or later (`--attr-source` is needed)", MINIMUM.0, MINIMUM.1)]
    GitTooOld {
        /// What was found.
        found: String,
    },
    /// A SHA-256 repository.
    #[error("{path} uses SHA-256 object names, which are not supported: use a SHA-1 repository", path = .0.display())]
    Sha256(PathBuf),
    /// Refs in a reftable.
    #[error("{path} keeps its refs in a reftable, which is not supported: `git refs migrate --ref-format=files`", path = .0.display())]
    Reftable(PathBuf),
    /// The person has no name in git.
    #[error(
        "git does not know who you are: `git config --global user.name \"Your Name\"` and `git config --global user.email you@example.com`"
    )]
    IdentityMissing,
    /// A ref that is not ours to write.
    #[error("`{0}` is not a ref of ours (refs/pipeline/…, refs/heads/pipeline/…) and is never written")]
    ForeignRef(String),
    /// A ref that is not where it was expected.
    #[error("`{name}` is not at {expected} and was left alone: look at it with `git show-ref`", expected = expected.as_ref().map_or("(absent)", |oid| oid.as_str()))]
    RefMoved {
        /// The ref.
        name: String,
        /// Where it should have been.
        expected: Option<Oid>,
    },
    /// A target that would not be fast-forwarded.
    #[error("{to} does not contain {from}: the target is only ever fast-forwarded", from = from.short(), to = to.short())]
    NotAFastForward {
        /// Where the target is to move from.
        from: Oid,
        /// Where it was to move to.
        to: Oid,
    },
    /// Another git is at work in a checkout, or was killed there.
    #[error("another git holds {path}: wait for it; when none is at work there, one was killed, and the file can be deleted", path = .0.display())]
    IndexLocked(PathBuf),
    /// Another process lands on the target.
    #[error("another process is landing on `{0}`: wait for it to end")]
    TargetLocked(String),
    /// An object that is not there or not what it has to be.
    #[error("cannot read {what} from the object store: {message}; `git fsck` tells what is missing")]
    Object {
        /// The object.
        what: String,
        /// What libgit2 said.
        message: String,
    },
    /// A git command failed.
    #[error("`git {command}` failed in {cwd} ({status}): {stderr}{}", remedy(stderr))]
    Command {
        /// The arguments, without the hardening.
        command: String,
        /// Where it ran.
        cwd: PathBuf,
        /// How it ended.
        status: String,
        /// The end of what it said.
        stderr: String,
    },
    /// A git command could not be run to its end.
    #[error("`git {command}`: {source}; run it again")]
    Run {
        /// The arguments, without the hardening.
        command: String,
        /// Why.
        source: ExecError,
    },
    /// A git command printed more than is taken.
    #[error(
        "`git {command}` printed more than {bytes_max} bytes: the repository is larger than is supported"
    )]
    OutputTooLarge {
        /// The arguments, without the hardening.
        command: String,
        /// The bound.
        bytes_max: usize,
    },
    /// A git command answered what we do not understand: a bug of ours.
    #[error("`git {command}` answered `{answer}`, which is not understood: please report it")]
    Answer {
        /// The arguments, without the hardening.
        command: String,
        /// The answer.
        answer: String,
    },
    /// A changed path whose name is no text.
    #[error("the name `{0}` is not UTF-8, which is not supported: rename the file")]
    NotUtf8(String),
    /// A file could not be read or written.
    #[error("cannot {action} {path}: {source}", path = path.display())]
    Io {
        /// A verb.
        action: &'static str,
        /// The path.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A path that has to be below a directory, or text that has to be an object id, and is not.
    #[error(transparent)]
    Name(#[from] NameError),
    /// A repository could not be made.
    #[error("cannot make a repository in {path}: {source}", path = path.display())]
    Scratch {
        /// Where.
        path: PathBuf,
        /// What libgit2 said.
        source: git2::Error,
    },
    /// A worktree that is not registered.
    #[error("{path} is not a worktree of this repository: `git worktree list` shows them", path = .0.display())]
    NotAWorktree(PathBuf),
}

/// The oldest git that will do.
pub(crate) const MINIMUM: (u32, u32) = (2, 41);

/// What helps against the failures of git that people meet.
fn remedy(stderr: &str) -> &'static str {
    if stderr.contains(".lock'") {
        return "; another git is at work, or one was killed: when none is, delete the lock file named above";
    }
    if stderr.contains("No space left") {
        return "; free some disk space and run it again";
    }
    ""
}

impl Error {
    /// For `map_err` on file operations.
    pub(crate) fn io(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { action, path, source }
    }
}

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests_differential;
#[cfg(test)]
mod tests_integrate;
#[cfg(test)]
mod tests_land;
#[cfg(test)]
mod tests_preserve;
#[cfg(test)]
mod tests_repository;
#[cfg(test)]
mod tests_snapshot;
#[cfg(test)]
mod tests_undone;
#[cfg(test)]
mod tests_worktree;
