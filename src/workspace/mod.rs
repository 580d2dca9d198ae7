//! Worktrees: a fresh place for every attempt, everything that happens in it, and its end.
//!
//! ```text
//! <worktrees_root>/<run>/<unit>/<stage>.<round>.<attempt>/     mode 0700, stands until the outcome is recorded
//!   tree/      the linked worktree: what the attempt works on
//!   git/       its private git directory
//!   context/   PIPELINE_CONTEXT, read-only
//!   out/       PIPELINE_RESULT and PIPELINE_ENV
//!   tmp/       TMPDIR
//!   agent/     the agent's own files, from the base commit, read-only
//!   scratch/   ours: orders of supervisors and what they told at the end, the prompt, the attempt's note
//! <logs_root>/<unit>/<stage>.<round>.<attempt>{,.setup,.teardown}.log
//! ```
//!
//! Invariants:
//! - Nothing is shared between two attempts, and no name tells one attempt about another.
//! - An author cannot replace its own judge: what the agent's argument vector names is taken from the base commit
//!   ([`LocalLauncher`] says how exactly).
//! - What is brought in from the main worktree, and what set-up makes, never becomes part of an author's tree.
//! - Teardown runs however the attempt ended, also when its engine died. The place is removed once the outcome is
//!   recorded, and not before: what an agent had finished is adopted by the next engine. What cannot be removed is
//!   found by [`clean`].
//! - Nothing below a worktree is opened through a link that an author may have put there.
//!
//! Locks: the table of [`PortLeases`], never held across an await. Git's registrations of worktrees are shared, and
//! `git` locks them itself.

mod attempt;
mod bring;
mod carry;
mod checks;
mod clean;
mod environment;
mod glance;
mod material;
mod note;
mod place;
mod ports;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};

use crate::git::Repository;
use crate::id::{AttemptKey, Oid, RunId};
use crate::port::{Activity, Adopted, AttemptOrder, AttemptReturn, BoxFuture, Glance, Launcher, Stop};
use crate::process::Launch;

pub use attempt::log_path;
pub use clean::{Found, Leftover, bytes_below, clean, free_disk};
pub use ports::{PortLease, PortLeases};

/// What a [`LocalLauncher`] needs to know of the machine and of the run.
#[derive(Debug, Clone)]
pub struct LauncherSettings {
    /// Where attempts' directories are made; absolute.
    pub worktrees_root: PathBuf,
    /// The logs of this run.
    pub logs_root: PathBuf,
    /// The allow-listed part of the environment of the person who runs the pipeline.
    pub user_env: BTreeMap<String, String>,
    /// The ports in use, shared by everything that leases them in this process.
    pub ports: Arc<PortLeases>,
    /// Most files an author may change.
    pub files_max: u32,
    /// Most bytes an author may add.
    pub bytes_max: u64,
    /// Time between SIGINT and SIGTERM, and between SIGTERM and SIGKILL.
    pub grace: Duration,
}

/// Makes attempts on this machine, each in a worktree of its own.
///
/// The rule for the agent's argument vector, in order:
/// 1. A program that is an absolute path or a bare name is left alone; the name is looked up on `PATH`, of which
///    only the absolute directories are kept, so that nothing in the worktree can stand in for it.
/// 2. Any other program (`scripts/review.sh`, `./review`) must be a file of the *base commit*; if it is not there, the
///    attempt is not started.
/// 3. Every further argument that names, as a whole and after a leading `./`, a file of the base commit stands for
///    that file. One that names a file which only the work has, and not the base, is refused: what is judged must not
///    bring its own judge. An argument that only contains a path, `--config=x.toml` or the text of `sh -c`, is left
///    alone.
///
/// Files found by 2 and 3 are written, read-only and executable, below the attempt's `agent/` directory under their
/// path in the repository, after set-up and before the agent; the arguments become their absolute paths. Files they load
/// by themselves are theirs to find: from the worktree, where an author may have changed them.
#[derive(Debug, Clone)]
pub struct LocalLauncher {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    repository: Repository,
    launch: Launch,
    settings: LauncherSettings,
}

impl LocalLauncher {
    /// A launcher for one run.
    pub fn new(repository: Repository, launch: Launch, settings: LauncherSettings) -> Self {
        let launch = Launch {
            grace: settings.grace,
            ..launch
        };
        Self {
            shared: Arc::new(Shared {
                repository,
                launch,
                settings,
            }),
        }
    }
}

impl Launcher for LocalLauncher {
    fn launch(
        &self,
        order: AttemptOrder,
        stop: watch::Receiver<Stop>,
        activity: mpsc::Sender<Activity>,
    ) -> BoxFuture<'static, AttemptReturn> {
        Box::pin(carry::carry_out(Arc::clone(&self.shared), order, stop, activity))
    }

    fn adopt(&self, order: AttemptOrder) -> BoxFuture<'static, Option<Adopted>> {
        Box::pin(carry::adopt(Arc::clone(&self.shared), order))
    }

    fn glance(&self, glance: Glance) -> BoxFuture<'static, Option<Oid>> {
        Box::pin(glance::glance(Arc::clone(&self.shared), glance))
    }

    fn discard(&self, run: RunId, key: AttemptKey) -> BoxFuture<'static, Result<(), String>> {
        Box::pin(carry::discard(Arc::clone(&self.shared), run, key))
    }
}
