//! The closed set of things that happen to a run, as they stand in the journal.
//!
//! An event is a fact: it has happened, or (for the intents) it is about to be done and recovery must expect it
//! half-done. The state of a run is the fold of its events and nothing else; the view that people see is another
//! fold of the same events.
//!
//! **Architecture Invariant:** variants and fields are only ever added; what a released version wrote stays
//! readable. Times are in the [`Record`] around the event, so that an event is comparable by value.

mod evidence;
mod foreseen;
mod queue;
pub mod reason;
mod sentence;
mod unit;

use serde::{Deserialize, Serialize};

use crate::id::{Oid, RunId, UnitId};
pub use evidence::{CheckOutcome, CheckResult, Evidence};
pub use foreseen::{Collision, Foreseen};
pub use queue::{
    Candidate, CandidateUnit, Conflict, EntryEnd, Hold, LandRefusal, LandedUnit, Obstacle, QueueEvent,
    QueueStep, VerifyPurpose, conflict_id,
};
pub use reason::Reason;
pub use sentence::{conflict_sentence, listed, stash_command};
pub use unit::{
    AttemptNumber, Gate, GuardAction, GuardHit, Head, Job, LedgerRow, LedgerRowState, LineRange, Outcome,
    Output, ReportedFinding, Resolution, ResolutionAction, RestoredWork, UnitEvent, Usage, Verdict,
};

/// The version of the journal's format.
pub const FORMAT: u32 = 1;

/// One line of the journal: an event with its place and time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Place in the run's journal, from 1, without gaps.
    pub seq: u64,
    /// When it was recorded.
    pub at: jiff::Timestamp,
    /// What happened.
    #[serde(flatten)]
    pub event: Event,
}

/// What happened, and to what.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "scope", rename_all = "snake_case")]
pub enum Event {
    /// To the run as a whole.
    Run(RunEvent),
    /// To one unit.
    Unit(UnitScoped),
    /// To the merge queue.
    Queue(QueueEvent),
}

/// An event with the unit it happened to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct UnitScoped {
    /// The unit.
    pub unit: UnitId,
    /// What happened to it.
    #[serde(flatten)]
    pub what: UnitEvent,
}

/// What happens to a run as a whole.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum RunEvent {
    /// First event of a journal.
    RunStarted {
        /// Version of the journal's format.
        format: u32,
        /// The run.
        run: RunId,
        /// The pipeline's name.
        name: String,
        /// The pipeline file, from the repository root where it lies below it.
        file: String,
        /// The branch units land on, without `refs/heads/`.
        target: String,
        /// The branch the work is meant for, when `target` is a branch of the run's own.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        meant_for: Option<String>,
        /// The target's tip.
        base: Oid,
        /// SHA-256 of the frozen pipeline.
        frozen: String,
    },
    /// Units were added to the run that its file does not have.
    UnitsAdded {
        /// The units, in the order of the pipeline.
        units: Vec<UnitId>,
        /// SHA-256 of the frozen pipeline with them.
        frozen: String,
    },
    /// An engine took the run up: its first or a later one.
    EngineStarted {
        /// Counts the engines of this run, from 1; a record of an older epoch is refused.
        epoch: u64,
        /// Its process id.
        pid: u32,
        /// The version of the program.
        version: String,
    },
    /// The engine let go of the run.
    EngineStopped {
        /// Why.
        why: StopCause,
    },
    /// The journal was lost; what stands before this was made from what git proves.
    RunRebuilt {
        /// What was rebuilt and what cannot be known any more, as sentences.
        notes: Vec<String>,
    },
    /// Nothing is left to do.
    RunFinished,
    /// The checks were run on the target's tip before money was spent.
    PreflightEnded {
        /// The target's tip.
        commit: Oid,
        /// What the checks said.
        evidence: Evidence,
        /// What other sets of checks said that ran with them: the file's, where the queue has a list of its own.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        also: Vec<Evidence>,
    },
    /// The conflict radar sees other collisions than before: all of them, which may be none.
    ConflictsForeseen(Foreseen),
}

/// Why an engine let go of a run that was not finished, or `Finished`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StopCause {
    /// Nothing is left to do.
    Finished,
    /// A signal asked for it.
    Signal,
    /// The budget is spent.
    Budget,
    /// The time limit of the command line is reached.
    TimeLimit,
    /// Only a person can go on: a gate, a dirty target, a pause.
    Human,
    /// The checks fail on the target itself.
    BaseRed,
    /// An agent is not logged in, git or the disk fails.
    Environment,
    /// The target was rewritten, or something was tampered with.
    Safety,
}

impl StopCause {
    /// The word in files and output.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Finished => "finished",
            Self::Signal => "signal",
            Self::Budget => "budget",
            Self::TimeLimit => "time_limit",
            Self::Human => "human",
            Self::BaseRed => "base_red",
            Self::Environment => "environment",
            Self::Safety => "safety",
        }
    }
}
