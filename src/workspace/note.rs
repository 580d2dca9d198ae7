//! The note that lies beside an attempt's worktree: what must be known of it by who finds it without its engine.
//!
//! An agent of the same user could forge it. So nothing of it is used but names that are safe and flags that only take
//! away from the agent's own work, and the attempt it names must be the one it lies with.

use std::fs;
use std::io::{self, Write};

use serde::{Deserialize, Serialize};

use crate::fault;
use crate::git::SnapshotLimits;
use crate::id::{AttemptKey, Oid, RunId};
use crate::port::AttemptOrder;

use super::place::{self, Place};

/// Its name, in the attempt's `scratch/`.
const NOTE_FILE: &str = "attempt.json";
/// Its name while it is written.
const NOTE_ASIDE: &str = "attempt.json.new";
/// Most bytes of it.
const NOTE_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// How an attempt's work is taken when nobody comes back for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Note {
    pub(super) run: String,
    pub(super) unit: String,
    /// `<stage>.<round>.<attempt>`.
    pub(super) attempt: String,
    pub(super) fence: u64,
    pub(super) packet: Option<String>,
    /// What its worktree began as.
    pub(super) commit: String,
    pub(super) takes_tree: bool,
    pub(super) files_max: u32,
    pub(super) bytes_max: u64,
    /// Paths that were there before the agent and are not its work.
    pub(super) skip: Vec<String>,
}

impl Note {
    pub(super) fn new(
        order: &AttemptOrder,
        takes_tree: bool,
        limits: &SnapshotLimits,
        skip: &[String],
    ) -> Self {
        Self {
            run: order.run.to_string(),
            unit: order.key.unit.to_string(),
            attempt: attempt_name(&order.key),
            fence: order.fence,
            packet: order.packet.clone(),
            commit: order.commit.to_string(),
            takes_tree,
            files_max: limits.files_max,
            bytes_max: limits.bytes_max,
            skip: skip.to_vec(),
        }
    }

    /// Leaves it in the attempt's directory, whole or not at all: half a note would keep the place from being cleaned.
    pub(super) fn write(&self, place: &Place) -> io::Result<()> {
        let (path, aside) = (place.scratch.join(NOTE_FILE), place.scratch.join(NOTE_ASIDE));
        let text = serde_json::to_vec(self)?;
        let mut file = fs::File::create(&aside)?;
        fault::torn("workspace.note.torn", &mut file, &text)?;
        file.write_all(&text)?;
        fault::point("workspace.note")?;
        fs::rename(&aside, &path)
    }

    /// Reads the note at a place; `None` where no agent was started.
    ///
    /// # Errors
    /// It is not one of ours, or names another attempt; a sentence says what.
    pub(super) fn read(place: &Place) -> Result<Option<Self>, String> {
        let Some(scratch) = place::open_directory(&place.scratch) else {
            return Ok(None);
        };
        let Some(text) = place::read_plain(&scratch, NOTE_FILE, NOTE_BYTES_MAX)? else {
            return Ok(None);
        };
        let broken = |what: &dyn std::fmt::Display| format!("{NOTE_FILE} is broken: {what}");
        let note: Self = serde_json::from_slice(&text).map_err(|error| broken(&error))?;
        let name = place.root.file_name().and_then(|name| name.to_str());
        if name != Some(&note.attempt) || !crate::id::is_safe_name(&note.unit) {
            return Err(broken(&"it names another attempt"));
        }
        note.run().map_err(|error| broken(&error))?;
        note.commit().map_err(|error| broken(&error))?;
        Ok(Some(note))
    }

    pub(super) fn run(&self) -> Result<RunId, crate::id::NameError> {
        RunId::parse(&self.run)
    }

    pub(super) fn commit(&self) -> Result<Oid, crate::id::NameError> {
        self.commit.parse()
    }

    pub(super) fn limits(&self) -> SnapshotLimits {
        SnapshotLimits {
            files_max: self.files_max,
            bytes_max: self.bytes_max,
        }
    }
}

/// `<stage>.<round>.<attempt>`: the name of an attempt's directory, ref and log.
pub(super) fn attempt_name(key: &AttemptKey) -> String {
    format!("{}.{}.{}", key.stage, key.round, key.attempt)
}
