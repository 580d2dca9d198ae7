//! What happens to one unit: attempts, their outcomes, gates and ends.

use serde::{Deserialize, Serialize};

use super::{Evidence, Reason};
use crate::id::{Oid, RunId, StageName, UnitId};
use crate::spec::{Severity, StageKind, Usd};

/// What happens to one unit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum UnitEvent {
    /// What it needs has landed; work begins on this base.
    UnitStarted {
        /// The target's tip, which stays the unit's base until the queue gives it another.
        base: Oid,
    },
    /// The branch that brings its work was looked at, and its commits were copied to a ref of ours.
    BranchTaken {
        /// The branch, as the file names it.
        branch: String,
        /// Where it was.
        head: Head,
        /// Where it had left the target.
        base: Oid,
        /// What the guards found in it.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        guards: Vec<GuardHit>,
    },
    /// The branch that was to bring its work brings nothing that is not on the target already.
    BranchLanded {
        /// The branch, as the file names it.
        branch: String,
        /// Where it was.
        head: Head,
    },
    /// Intent: an attempt is about to be made. `fence` makes its outcome recognisable.
    AttemptStarted {
        /// What is attempted.
        job: Job,
        /// The round, from 1.
        round: u32,
        /// The attempt within the round, from 1.
        attempt: u32,
        /// Unique within the run; an outcome with another fence is ignored.
        fence: u64,
        /// The agent; `None` for checks.
        agent: Option<String>,
        /// The commit its worktree is at.
        commit: Oid,
    },
    /// An attempt has an outcome.
    AttemptEnded {
        /// The fence of its start.
        fence: u64,
        /// How it ended.
        outcome: Outcome,
        /// What went wrong, or what is worth telling, in a sentence or a log's tail.
        detail: Option<String>,
        /// What it returned, when `outcome` is ok.
        output: Option<Output>,
        /// SHA-256 of the packet it was shown.
        packet: Option<String>,
        /// What it cost.
        usage: Usage,
        /// Wall time.
        duration_ms: u64,
    },
    /// A stage had nothing to do.
    StageSkipped {
        /// The stage.
        stage: StageName,
        /// In the round.
        round: u32,
    },
    /// A person must decide before the unit goes on.
    GateOpened {
        /// What is to be decided.
        gate: Gate,
    },
    /// A person decided.
    GateDecided {
        /// Go on, or not.
        approved: bool,
        /// What they said.
        message: Option<String>,
    },
    /// Every stage is done; the unit goes to the queue.
    UnitApproved {
        /// Counts approvals, from 1.
        generation: u32,
        /// What was approved.
        head: Head,
        /// The commit the head stands on.
        base: Oid,
    },
    /// A unit of an exploring tier ended with its document; nothing lands.
    UnitPublished,
    /// The unit was handed to a person.
    UnitEvicted {
        /// Why, as a code.
        reason: Reason,
        /// Why, as a sentence.
        sentence: String,
    },
    /// A unit it needs was evicted, cancelled or discarded.
    UnitBlocked {
        /// The unit it waits for in vain.
        on: UnitId,
    },
    /// The unit it waited for came back.
    UnitUnblocked,
    /// A person wants it done afresh.
    UnitRetried {
        /// What they said; told to the author.
        note: Option<String>,
    },
    /// A person repaired it; this is their commit.
    UnitResolved {
        /// The commit, on the unit's base.
        head: Head,
        /// The base.
        base: Oid,
    },
    /// An earlier run of the same pipeline landed it with the same inputs; it counts as landed in this one.
    UnitKept {
        /// Its commit on the target.
        commit: Oid,
        /// The run that landed it.
        from: RunId,
    },
    /// The journal was lost, and this is what git still proves of the unit.
    UnitRestored {
        /// Its commit with what that stands on; `None` when it has none, so that it begins anew.
        work: Option<RestoredWork>,
        /// Attempts that were made before: their numbers are not given out again.
        attempts: Vec<AttemptNumber>,
    },
    /// A person gave it up.
    UnitDiscarded,
}

/// The work of a unit that was found in git.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestoredWork {
    /// Its commit.
    pub head: Head,
    /// What that stands on.
    pub base: Oid,
    /// The number of its approval, when git proves one; otherwise the work is judged again.
    pub approved: Option<u32>,
    /// What the guards found in work that is judged again.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub guards: Vec<GuardHit>,
}

/// The highest attempt of a stage in a round.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttemptNumber {
    /// The stage.
    pub stage: StageName,
    /// The round.
    pub round: u32,
    /// The number.
    pub attempt: u32,
}

/// What an attempt is for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(tag = "job", rename_all = "snake_case")]
pub enum Job {
    /// A stage of the unit's tier.
    Stage {
        /// Its name.
        stage: StageName,
        /// Its kind.
        kind: StageKind,
        /// The member of a panel, from 0; 0 without a panel.
        member: u32,
    },
    /// The checks, on the unit's head.
    Checks,
}

/// How an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It returned what it had to.
    Ok,
    /// It said or showed that it failed.
    Failed,
    /// It said one thing and showed another.
    Contradicted,
    /// An author changed nothing.
    NoChange,
    /// The result is missing or of the wrong shape.
    SchemaMissing,
    /// A permission was denied.
    Denied,
    /// The wall limit was reached.
    Timeout,
    /// The idle limit was reached.
    Idle,
    /// Its own budget was reached.
    Budget,
    /// The provider refused until a moment.
    RateLimited {
        /// When it will answer again.
        reset: jiff::Timestamp,
    },
    /// The agent is not logged in.
    Auth,
    /// It died of a signal or could not be started.
    Crashed,
    /// The engine died or a person cancelled; costs nothing.
    Interrupted,
    /// The engine's own part of it panicked: a bug. Costs nothing the first time; the second evicts.
    Panicked,
}

/// What an attempt returned.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "returned", rename_all = "snake_case")]
pub enum Output {
    /// Of a prepare stage.
    Document {
        /// Markdown.
        text: String,
    },
    /// Of an author stage.
    Work {
        /// The unit's commit made from the tree the author left; the old head again when a fix changed nothing.
        head: Head,
        /// The author's account.
        summary: String,
        /// How it was or can be tested.
        testing_notes: Option<String>,
        /// What was done about each finding.
        resolutions: Vec<Resolution>,
        /// What the guards found.
        guards: Vec<GuardHit>,
        /// Lines the new head changed against the previous one, for convergence.
        touched: Vec<LineRange>,
    },
    /// Of a review.
    Review {
        /// What it said; the findings decide.
        verdict: Verdict,
        /// What it found.
        findings: Vec<ReportedFinding>,
        /// One row for every open finding it was shown.
        ledger: Vec<LedgerRow>,
    },
    /// Of an approve stage.
    Decision {
        /// Approve or reject.
        approved: bool,
        /// Why.
        reason: String,
    },
    /// Of the checks.
    Checks {
        /// What they said.
        evidence: Evidence,
    },
}

/// A unit's commit.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Head {
    /// The commit.
    pub commit: Oid,
    /// Its tree.
    pub tree: Oid,
}

/// What a judge decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Nothing blocks.
    Approve,
    /// Something must change.
    RequestChanges,
}

/// One issue a reviewer reports.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ReportedFinding {
    /// The id of an open finding this one is about, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Path from the repository root.
    pub file: String,
    /// First line in the new version of the file, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<u32>,
    /// Last line, at least `line`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end_line: Option<u32>,
    /// How bad it is.
    pub severity: Severity,
    /// How sure the reviewer is, 0–100.
    #[schemars(range(max = 100))]
    pub confidence: u8,
    /// One line.
    pub title: String,
    /// The whole explanation.
    pub detail: String,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suggestion: Option<String>,
}

/// What a later review says of a finding that was open.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LedgerRow {
    /// The finding, `F-<n>`.
    pub id: String,
    /// Its state on this head.
    pub state: LedgerRowState,
}

/// The two answers a review may give about an open finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LedgerRowState {
    /// No longer there.
    Resolved,
    /// Still there.
    Persists,
}

/// What an author did about a finding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Resolution {
    /// The finding, `F-<n>`.
    pub finding: String,
    /// What was done.
    pub action: ResolutionAction,
    /// Why, or how.
    #[serde(default)]
    pub note: String,
}

/// What an author may do about a finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ResolutionAction {
    /// Repaired.
    Fixed,
    /// Held to be wrong; the approve stage decides.
    Disputed,
    /// Held to be right, but for later; the approve stage decides.
    Deferred,
}

/// Lines of a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LineRange {
    /// Path from the repository root.
    pub file: String,
    /// First line, from 1.
    pub first: u32,
    /// Last line, inclusive; less than `first` when lines were only removed there.
    pub last: u32,
}

/// A deterministic objection to an author's work.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GuardHit {
    /// What kind.
    pub reason: Reason,
    /// What follows from it.
    pub action: GuardAction,
    /// What was found, as a sentence that names the paths.
    pub sentence: String,
}

/// What follows from a guard's objection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GuardAction {
    /// It is told and nothing else.
    Note,
    /// A person must agree.
    Gate,
    /// The attempt has failed.
    Refuse,
}

/// Something a person must decide.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "gate", rename_all = "snake_case")]
pub enum Gate {
    /// An approve stage with `by: human`.
    Approval {
        /// The stage.
        stage: StageName,
    },
    /// A guard's objection.
    Guard {
        /// What was found.
        hits: Vec<GuardHit>,
    },
}

impl Gate {
    /// What a person has to decide, as a sentence.
    pub fn sentence(&self) -> String {
        match self {
            Self::Approval { stage } => format!("Stage `{stage}` is yours to decide."),
            Self::Guard { hits } => {
                let hits: Vec<&str> = hits.iter().map(|hit| hit.sentence.as_str()).collect();
                hits.join(" ")
            }
        }
    }
}

/// What an attempt used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Usage {
    /// Money; `None` when it cannot be known.
    pub cost: Option<Usd>,
    /// Fresh input tokens.
    pub input_tokens: u64,
    /// Output tokens.
    pub output_tokens: u64,
    /// Input tokens read from a cache.
    pub cached_tokens: u64,
}
