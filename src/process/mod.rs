//! The spawn chokepoint: the one place that starts programs.
//!
//! Whatever an attempt runs (agent, check, set-up, teardown) runs below a *supervisor*: the program's own binary
//! under a hidden verb, one per command. The supervisor leads a session of its own without a terminal, is the
//! subreaper of everything below it, and holds the reading end of a *liveness pipe* whose writing end only the
//! engine has.
//!
//! ```text
//! engine ── Launch::run ──stdin: liveness and stop──▶ supervisor ── process group ──▶ command ─▶ descendants
//!        ◀── JSON lines: activity, end ──            │  ▲
//!                                                    ▼  └─ one pipe: standard output and error
//!                                              log, end.json
//! ```
//!
//! Invariants:
//! - When [`Launch::run`] returns, no process of the command is alive, however it ended and whatever its
//!   descendants did to get away: the supervisor kills until the kernel says it has no child left (`ECHILD`),
//!   and a subreaper without children has no descendants.
//! - When the engine dies, the pipe closes and the supervisor kills at once. When the supervisor dies, its
//!   descendants fall to the engine, which is a subreaper too, and [`Launch::run`] kills them. When both die
//!   together, [`sweep_orphans`] finds what carries our environment marker at the next start.
//! - A short command ([`exec`]) is not killed with who started it, because half of a ref update is worse than a late
//!   one; [`await_stragglers`] lets those of a dead engine end before the next one begins.
//! - A child sees exactly the environment it is given.
//! - Memory is bounded whatever a command prints.
//!
//! Locks: the registry of living supervisors in `launch`; it is held while a supervisor is started and while the
//! descendants of a dead one are looked for, never across an await.
//!
//! This module is written for Linux: it relies on subreapers, pidfds and `/proc`.

mod capture;
pub mod exec;
mod launch;
mod start;
mod supervise;
mod table;
mod text;
mod wire;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use crate::port::Ended;

pub use launch::{Launch, become_subreaper};
pub use supervise::supervise_main;
pub use table::{Orphan, await_stragglers, is_no_descendant, orphans, sweep_orphans};
pub use text::{one_line, plain_text};
pub use wire::{END_BYTES_MAX, END_FILE, told_end};

/// The hidden verb under which the binary is a supervisor; its one argument is the file to read.
pub const SUPERVISE_VERB: &str = "__supervise";

/// The variable that marks every process of an attempt: `<run>:<fence>`.
pub const MARKER_VARIABLE: &str = "PIPELINE_FENCE";

/// The variable that marks a short command that nobody supervises: `<process that started it>:<for what>`. It ends by
/// itself, but maybe after who started it was killed; see [`await_stragglers`].
pub const OWNER_VARIABLE: &str = "PIPELINE_OWNER";

/// Most bytes of a command's output kept in its log: the first half of them and the last.
pub const LOG_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// Time between SIGINT and SIGTERM, and between SIGTERM and SIGKILL.
pub const GRACE: Duration = Duration::from_secs(3);

/// One program to run under a supervisor.
#[derive(Debug, Clone)]
pub struct Command {
    /// Program and arguments, never empty; a bare program name is looked up on the `PATH` of `env`.
    pub argv: Vec<String>,
    /// Working directory.
    pub cwd: PathBuf,
    /// The whole environment; nothing is inherited.
    pub env: BTreeMap<String, String>,
    /// A file for standard input; `None` means `/dev/null`.
    pub stdin: Option<PathBuf>,
    /// Output is appended here, standard output and error in the order they were written.
    pub log: PathBuf,
    /// Most bytes this command adds to the log, the line that says what was left out aside.
    pub log_bytes_max: u64,
    /// Longest life.
    pub wall_max: Duration,
    /// Longest silence.
    pub idle_max: Duration,
}

/// What came of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProcessEnd {
    /// How it ended; never [`Ended::SetupFailed`].
    pub ended: Ended,
    /// From its start until nothing of it was left.
    pub duration: Duration,
    /// Processes that outlived the command, or its grace, and had to be killed.
    pub killed_descendants: u32,
    /// Bytes it printed, kept or not.
    pub output_bytes: u64,
}

/// A sign of life of a running command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ActivityLine {
    /// The last line it printed, fit to be shown, at most 200 characters; empty when the line says only `idle`.
    pub line: String,
    /// How long it has been silent, from three quarters of its idle limit on.
    pub idle: Option<Duration>,
}
