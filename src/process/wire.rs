//! What engine and supervisor say to each other.
//!
//! The order is a file that the supervisor reads once and removes, because it holds the command's environment.
//! Everything else goes over the supervisor's standard streams: one byte per request inwards, one JSON line per
//! message outwards. The end is also a file, so that an engine that died meanwhile finds it at its next start.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::ProcessEnd;
use crate::fault;
use crate::port::Ended;

/// The version of [`Order`] and [`End`]. Engine and supervisor are the same binary, so another version means that
/// the binary was replaced while a run was going on.
pub(super) const VERSION: u32 = 1;

/// The file with the order, in the scratch directory.
pub(super) const ORDER_FILE: &str = "spec.json";
/// The file with the end, in the scratch directory of a command.
pub const END_FILE: &str = "end.json";
/// Most bytes of it.
pub const END_BYTES_MAX: u64 = 64 * 1024;

/// Asks the supervisor to end the command with grace.
pub(super) const STOP_GENTLY: u8 = b's';
/// Asks the supervisor to kill.
pub(super) const STOP_AT_ONCE: u8 = b'k';

/// What a supervisor is to do.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Order {
    pub(super) version: u32,
    pub(super) argv: Vec<String>,
    pub(super) cwd: PathBuf,
    pub(super) env: BTreeMap<String, String>,
    pub(super) stdin: Option<PathBuf>,
    pub(super) log: PathBuf,
    pub(super) log_bytes_max: u64,
    pub(super) wall_ms: u64,
    pub(super) idle_ms: u64,
    pub(super) grace_ms: u64,
    /// What the supervisor is to be armed with.
    #[cfg(debug_assertions)]
    pub(super) fault: Option<String>,
}

/// What came of it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct End {
    pub(super) version: u32,
    pub(super) ended: Ended,
    pub(super) duration_ms: u64,
    pub(super) killed_descendants: u32,
    pub(super) output_bytes: u64,
}

/// The failpoint before the log is opened.
pub(super) const LOG_POINT: &str = "supervisor.log";
/// The failpoint before the end is written.
pub(super) const END_POINT: &str = "supervisor.end";

/// A line from the supervisor.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Message {
    /// Something worth showing.
    Activity { line: String, idle_ms: Option<u64> },
    /// The last line.
    End(End),
}

/// The end that the file [`END_FILE`] tells, to be read by who comes after the engine that ordered the command; `None`
/// when it is not whole or of another version.
pub fn told_end(text: &[u8]) -> Option<ProcessEnd> {
    let end: End = serde_json::from_slice(text).ok()?;
    (end.version == VERSION).then(|| end.into())
}

impl From<End> for ProcessEnd {
    fn from(end: End) -> Self {
        Self {
            ended: end.ended,
            duration: Duration::from_millis(end.duration_ms),
            killed_descendants: end.killed_descendants,
            output_bytes: end.output_bytes,
        }
    }
}

/// A duration in whole milliseconds, saturating.
pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Writes `value` to `path` so that a reader sees all of it or nothing, also after a power failure.
pub(super) fn write_whole<T: Serialize>(path: &Path, value: &T) -> io::Result<()> {
    fault::point(END_POINT)?;
    let aside = path.with_extension("tmp");
    match fs::remove_file(&aside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&aside)?;
    file.write_all(&serde_json::to_vec(value)?)?;
    file.sync_all()?;
    fs::rename(&aside, path)?;
    let directory = path.parent().expect("a file has a directory");
    File::open(directory)?.sync_all()
}
