//! What the engine needs of the outside world, as traits and plain data.
//!
//! An attempt is a function of (commit, order) to (tree, result) and crosses [`Launcher`] as data: nothing above
//! this file may assume that the worktree was on this machine.

use std::collections::BTreeMap;
use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, watch};

use crate::event::CheckResult;
use crate::id::{AttemptKey, Oid, RunId};
use crate::spec::{Check, Role, Workspace};

/// A future that can be sent to another thread.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Tells the time.
pub trait Clock: Send + Sync {
    /// Wall time, for records and for people.
    fn now(&self) -> jiff::Timestamp;
}

/// Makes one attempt somewhere.
///
/// The place of an attempt stands until [`Launcher::discard`]. So between the end of an agent and the record of what
/// came of it nothing is lost: an engine that finds the place of another, which died there, takes the work over.
pub trait Launcher: Send + Sync {
    /// Carries out `order` and returns what came of it. When this returns, no process of the attempt is alive; what it
    /// left behind is in the answer and in the attempt's log.
    ///
    /// `stop` asks for an early end; `activity` receives what is worth showing meanwhile and may be dropped.
    fn launch(
        &self,
        order: AttemptOrder,
        stop: watch::Receiver<Stop>,
        activity: mpsc::Sender<Activity>,
    ) -> BoxFuture<'static, AttemptReturn>;

    /// Takes over what the attempt of this very order (run, key, fence) came to under an engine that is gone: its
    /// answer, when its agent had ended by itself and all of it is there, and `None` when it is to be made again.
    /// Teardown has run in either case. The task of `order` may be incomplete: nothing is started anew.
    fn adopt(&self, order: AttemptOrder) -> BoxFuture<'static, Option<Adopted>>;

    /// The tree that an author under way has made so far, put into [`Glance::objects`]. `None` where there is none to be had:
    /// its agent has not begun or is gone, or what stands there cannot be taken. The place is left as it is.
    fn glance(&self, glance: Glance) -> BoxFuture<'static, Option<Oid>>;

    /// Removes the place of an attempt that ended, if there is one. What cannot be removed is told as a sentence, and is
    /// found by who looks for leftovers.
    fn discard(&self, run: RunId, key: AttemptKey) -> BoxFuture<'static, Result<(), String>>;
}

/// A look at what an author has made so far.
#[derive(Debug, Clone)]
pub struct Glance {
    /// The run.
    pub run: RunId,
    /// The attempt.
    pub key: AttemptKey,
    /// Its fence.
    pub fence: u64,
    /// The commit that its worktree began as.
    pub commit: Oid,
    /// An object store that borrows the repository's; nothing is put anywhere else.
    pub objects: PathBuf,
    /// Ends it early.
    pub cut: Cut,
}

/// What an attempt came to under an engine that is gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Adopted {
    /// What came of it.
    pub returned: AttemptReturn,
    /// [`AttemptOrder::packet`] as it was ordered.
    pub packet: Option<String>,
}

/// How urgently an attempt is to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Stop {
    /// Not at all.
    #[default]
    No,
    /// SIGINT, then SIGTERM, then SIGKILL, with grace between.
    Gently,
    /// SIGKILL.
    AtOnce,
}

/// Something worth showing of a running attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Activity {
    /// The attempt.
    pub key: AttemptKey,
    /// Its last line of output, control characters removed, at most 200 characters; empty for a sign of life.
    pub line: String,
    /// How long it has been silent, when that is near its idle limit.
    pub idle: Option<Duration>,
}

/// Tells work that holds up a thread that nobody waits for it any more. Clones are one.
#[derive(Debug, Clone, Default)]
pub struct Cut(Arc<AtomicBool>);

impl Cut {
    /// Cuts off, for good.
    pub fn off(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether it is cut off.
    pub fn is_off(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Everything an attempt needs.
#[derive(Debug, Clone)]
pub struct AttemptOrder {
    /// The run.
    pub run: RunId,
    /// Names the attempt, its worktree and its log.
    pub key: AttemptKey,
    /// Unique within the run.
    pub fence: u64,
    /// SHA-256 of what the agent is shown; kept with the attempt, so that its answer can be recorded with it later.
    pub packet: Option<String>,
    /// Selects set-up steps.
    pub role: Role,
    /// The stage's kind, or `check`; the value of `PIPELINE_KIND`.
    pub kind: &'static str,
    /// The unit's base: `PIPELINE_BASE`, and the second commit a judge sees.
    pub base: Oid,
    /// The commit that agents' own files are read from: the unit's base, or the target as the run found it where the unit
    /// brings a branch, which may be older than the agents.
    pub agents_from: Oid,
    /// The commit whose tree the worktree holds.
    pub commit: Oid,
    /// What is put onto `commit` there, with its conflicts in place.
    pub merge: Option<MergeInPlace>,
    /// The target branch: `PIPELINE_TARGET`.
    pub target: String,
    /// What is run there.
    pub task: Task,
    /// How the worktree is prepared.
    pub workspace: Arc<Workspace>,
    /// Wall time of the attempt without set-up; each check has its own besides.
    pub wall_max: Duration,
    /// Longest silence.
    pub idle_max: Duration,
}

/// Work that conflicts with the commit a worktree is at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MergeInPlace {
    /// The work.
    pub head: Oid,
    /// What it stands on.
    pub base: Oid,
}

/// What is run in a worktree.
#[derive(Debug, Clone)]
pub enum Task {
    /// One program with a prompt.
    Agent(AgentTask),
    /// Checks in order; after the first that does not pass the rest are skipped.
    Checks(Vec<Check>),
}

/// One program with a prompt.
#[derive(Debug, Clone)]
pub struct AgentTask {
    /// Program and arguments. A relative path is looked up in the tree of `agents_from`, not in the worktree.
    pub argv: Vec<String>,
    /// Goes to standard input, which is then closed.
    pub prompt: String,
    /// Files of `PIPELINE_CONTEXT`, by relative path; made read-only.
    pub context: BTreeMap<String, Vec<u8>>,
    /// Variables set for the agent.
    pub env: BTreeMap<String, String>,
    /// Whether the tree it leaves is taken.
    pub takes_tree: bool,
}

/// What came of an attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttemptReturn {
    /// How the program ended; for checks, [`Ended::Exited`] with 0 when all could be run.
    pub ended: Ended,
    /// The bytes of the file `PIPELINE_RESULT`, if it was written; at most 4 MiB.
    pub result: Option<Vec<u8>>,
    /// The tree the author left.
    pub tree: Option<TakenTree>,
    /// One row a check.
    pub checks: Vec<CheckResult>,
    /// Where the output is.
    pub log: PathBuf,
    /// Its last lines, control characters removed; at most 8 KiB.
    pub tail: String,
    /// Wall time, set-up included.
    pub duration_ms: u64,
    /// Things worth telling, as sentences: a port that had to be another, descendants that had to be killed.
    pub notes: Vec<String>,
}

impl AttemptReturn {
    /// The answer of an attempt that has not begun, with its log there.
    pub fn unbegun(log: PathBuf) -> Self {
        Self {
            ended: Ended::Stopped,
            result: None,
            tree: None,
            checks: Vec::new(),
            log,
            tail: String::new(),
            duration_ms: 0,
            notes: Vec::new(),
        }
    }
}

/// How a program ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ended {
    /// By itself, with this status.
    Exited(i32),
    /// By a signal nobody of ours sent.
    Signalled(i32),
    /// The wall limit was reached.
    Timeout,
    /// The idle limit was reached.
    Idle,
    /// It was asked to stop.
    Stopped,
    /// It could not be started; the text says why.
    NotStarted(String),
    /// A set-up step failed; the text names it.
    SetupFailed(String),
    /// The machine failed us: disk full, worktree not made. The text says how.
    Infrastructure(String),
}

/// What a person can do when the disk refused, if that is what a sentence of ours or of git's tells. Both speak
/// English: git runs in the locale `C`, and so do we.
pub fn disk_remedy(sentence: &str) -> Option<&'static str> {
    const REMEDIES: &[(&str, &str)] = &[
        (
            "No space left on device",
            "make room on the disk, then run the same command again",
        ),
        (
            "Disk quota exceeded",
            "make room on the disk, then run the same command again",
        ),
        (
            "Read-only file system",
            "make the file system writable, then run the same command again",
        ),
    ];
    let known = REMEDIES.iter().find(|(words, _)| sentence.contains(words));
    known.map(|(_, remedy)| *remedy)
}

/// The tree an author left.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TakenTree {
    /// It is in the object store, and is kept there by a ref of the attempt.
    Tree(Oid),
    /// It exceeds a limit on the number or size of files. A sentence says which.
    TooLarge(String),
    /// It cannot be taken: a link that leaves the tree, a name or a repository that must not be there. A sentence says
    /// what and where.
    Refused(String),
}
