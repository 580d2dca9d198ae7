//! The parts of the view: plain data.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::event::{
    CheckResult, Conflict, Foreseen, Gate, LedgerRowState, Outcome, Output, Reason, ReportedFinding,
    Resolution, StopCause,
};
use crate::id::{Oid, RunId, StageName, UnitId};
use crate::spec::{
    BLOCK_ON, MIN_CONFIDENCE, Pipeline, RESOLVE, RESOLVE_REVIEW, Severity, StageKind, Unit, Usd,
};

/// Declares an enum whose variants have a word of their own in files and output.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $word:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name { $($(#[$vdoc])* $variant,)* }

        impl $name {
            /// Every state there is.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The word used in files and output.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word),* }
            }
        }
    };
}

words! {
    /// How a run stands.
    RunState {
        /// An engine took it up and has not let go.
        Running = "running",
        /// The engine stopped for a cause that somebody or something must remove.
        Paused = "paused",
        /// Nothing is left to do.
        Finished = "finished",
        /// No engine has it, and it is not finished.
        Interrupted = "interrupted",
    }
}

words! {
    /// How a unit stands.
    UnitState {
        /// A unit it needs is not there yet.
        Waiting = "waiting",
        /// Nothing stands in its way.
        Ready = "ready",
        /// Its stages are under way.
        Working = "working",
        /// A person must decide.
        Gated = "gated",
        /// It is in the merge queue.
        Queued = "queued",
        /// It is on the target.
        Landed = "landed",
        /// Its document is there; nothing lands.
        Published = "published",
        /// It was handed to a person.
        Evicted = "evicted",
        /// It waits in vain for a unit it needs.
        Blocked = "blocked",
        /// A person gave it up.
        Cancelled = "cancelled",
        /// Its pull request was closed.
        Declined = "declined",
    }
}

impl UnitState {
    /// Whether what needs the unit may begin.
    pub fn is_done(self) -> bool {
        matches!(self, Self::Landed | Self::Published)
    }

    /// Whether only a person can change it now.
    pub fn has_ended(self) -> bool {
        match self {
            Self::Landed
            | Self::Published
            | Self::Evicted
            | Self::Blocked
            | Self::Cancelled
            | Self::Declined => true,
            Self::Waiting | Self::Ready | Self::Working | Self::Gated | Self::Queued => false,
        }
    }
}

words! {
    /// How a stage of a round stands.
    StageState {
        /// It has not begun, or was interrupted.
        Pending = "pending",
        /// An attempt is under way.
        Running = "running",
        /// It returned what it had to.
        Done = "done",
        /// It had nothing to do.
        Skipped = "skipped",
        /// Its latest attempt failed.
        Failed = "failed",
    }
}

words! {
    /// How a finding stands.
    FindingState {
        /// Nothing was done about it, or it is still there.
        Open = "open",
        /// The author says it is repaired; no review has confirmed it.
        Fixed = "fixed",
        /// The author holds it to be wrong.
        Disputed = "disputed",
        /// The author leaves it for later.
        Deferred = "deferred",
        /// A review says it is no longer there.
        Resolved = "resolved",
    }
}

/// Tokens used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tokens {
    /// Fresh and cached input.
    pub input: u64,
    /// Output.
    pub output: u64,
}

/// The run as a whole.
#[derive(Debug, Clone, PartialEq)]
pub struct RunView {
    /// Its id; `None` before the first event.
    pub id: Option<RunId>,
    /// The pipeline's name.
    pub name: String,
    /// The pipeline file.
    pub file: String,
    /// The branch units land on.
    pub target: String,
    /// The branch the work is meant for, when [`Self::target`] is a branch of the run's own.
    pub meant_for: Option<String>,
    /// The target's tip when the run began.
    pub base: Option<Oid>,
    /// The target's tip as the journal last knew it.
    pub head: Option<Oid>,
    /// How it stands.
    pub state: RunState,
    /// Why the engine last let go.
    pub stopped: Option<StopCause>,
    /// When it began.
    pub started_at: Option<Timestamp>,
    /// When nothing was left to do.
    pub finished_at: Option<Timestamp>,
    /// How long engines have worked on it.
    pub worked: super::Worked,
    /// What it cost so far, as far as that is known.
    pub cost: Usd,
    /// What it may cost.
    pub budget: Option<Usd>,
    /// Fix rounds a unit may use.
    pub rounds_max: u32,
    /// What it used so far.
    pub tokens: Tokens,
    /// Whether the queue lands without verification.
    pub waived: bool,
    /// Why the queue as a whole waits or stopped: a red base, a safety stop. As a sentence.
    pub trouble: Option<String>,
    /// Since when units wait and nothing lands, once that has lasted for `queue.stall_alarm`.
    pub stalled_since: Option<Timestamp>,
    /// Live work that will collide, as the conflict radar last saw it.
    pub foreseen: Foreseen,
    /// The pairs that were last told of, each with the record that was the first to.
    pub(super) foreseen_since: BTreeMap<[UnitId; 2], u64>,
}

impl RunView {
    /// The branch the work is meant for.
    pub fn named_target(&self) -> &str {
        self.meant_for.as_deref().unwrap_or(&self.target)
    }

    /// The branch of the run's own that units land on, if they do not land on the target itself.
    pub fn own_branch(&self) -> Option<&str> {
        self.meant_for.as_ref().map(|_| self.target.as_str())
    }
}

/// One unit.
#[derive(Debug, Clone, PartialEq)]
pub struct UnitView {
    /// Its id.
    pub id: UnitId,
    /// Its title.
    pub title: String,
    /// The name of its tier.
    pub tier: String,
    /// How it stands.
    pub state: UnitState,
    /// Why, as a code.
    pub reason: Option<Reason>,
    /// Why, as a sentence.
    pub sentence: Option<String>,
    /// The units it needs.
    pub needs: Vec<UnitId>,
    /// The latest round, from 1; 0 before the first attempt.
    pub round: u32,
    /// Fix attempts that returned work.
    pub fixes_used: u32,
    /// The branch it came from, as the file names it.
    pub branch: Option<String>,
    /// Where that branch was when it was taken in.
    pub taken: Option<Oid>,
    /// Its commit.
    pub head: Option<Oid>,
    /// Its tree: a fix that leaves it as it is makes no other head.
    pub(super) head_tree: Option<Oid>,
    /// What the commit stands on.
    pub base: Option<Oid>,
    /// What it cost so far.
    pub cost: Usd,
    /// What it used so far.
    pub tokens: Tokens,
    /// One row a stage and round, in the order in which they came up.
    pub stages: Vec<StageRow>,
    /// Every attempt there was, in order.
    pub attempts: Vec<AttemptView>,
    /// Every finding there was, in order.
    pub findings: Vec<FindingView>,
    /// The latest results of checks on its head or its candidate.
    pub checks: Vec<CheckView>,
    /// What a person must decide.
    pub gates: Vec<Gate>,
    /// What it was charged of the 200 that evict.
    pub charged: u32,
    /// Checks that failed and passed on the same tree.
    pub flakes: Vec<String>,
    /// Where it conflicts with the target, if that is why it left the queue, until it is approved again.
    pub conflicts: Vec<Conflict>,
    /// Its commit on the target.
    pub landed_as: Option<Oid>,
    /// The eviction bundle, from the directory of the state; set by whoever wrote it.
    pub bundle: Option<String>,
    /// How long engines had worked on the run when the unit's work began, in milliseconds.
    pub began_ms: Option<u64>,
    /// When it came to its present end.
    pub ended_at: Option<Timestamp>,
    /// The record that brought it there; later ones may confirm it.
    pub ended_seq: Option<u64>,
    /// From which severity and confidence on a finding of each review blocks.
    pub(super) bars: BTreeMap<StageName, (Severity, u8)>,
}

/// A stage in a round: its latest attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StageRow {
    /// The stage, or `checks`.
    pub name: StageName,
    /// Its kind, or `check`.
    pub kind: &'static str,
    /// The round, from 1.
    pub round: u32,
    /// The latest attempt; 0 before the first.
    pub attempt: u32,
    /// How it stands.
    pub state: StageState,
    /// How the latest attempt ended.
    pub outcome: Option<Outcome>,
    /// Who made it.
    pub agent: Option<String>,
    /// Wall time of the latest attempt.
    pub duration_ms: Option<u64>,
    /// Cost of all its attempts.
    pub cost: Usd,
    /// What is worth telling of it.
    pub detail: Option<String>,
    /// What it said, in a few words: `approved (1 note)`, `2 findings`.
    pub verdict: Option<String>,
    /// When the latest attempt began.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
}

impl StageRow {
    pub(super) fn pending(name: StageName, kind: &'static str) -> Self {
        Self {
            name,
            kind,
            round: 1,
            attempt: 0,
            state: StageState::Pending,
            outcome: None,
            agent: None,
            duration_ms: None,
            cost: Usd::default(),
            detail: None,
            verdict: None,
            started_at: None,
            finished_at: None,
        }
    }
}

/// One attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttemptView {
    /// The stage, or `checks`.
    pub stage: StageName,
    /// Its kind, or `check`.
    pub kind: &'static str,
    /// The round, from 1.
    pub round: u32,
    /// The attempt within the round, from 1.
    pub attempt: u32,
    /// Who makes it.
    pub agent: Option<String>,
    /// When it began.
    pub started_at: Timestamp,
    /// When it ended; `None` while it runs.
    pub finished_at: Option<Timestamp>,
    /// How it ended.
    pub outcome: Option<Outcome>,
    /// What it said, in a few words.
    pub verdict: Option<String>,
    /// What is worth telling of it.
    pub detail: Option<String>,
    /// What it cost.
    pub cost: Option<Usd>,
    /// Wall time.
    pub duration_ms: Option<u64>,
    /// Whether what it returned stands in the way: findings that block, a rejection, a check that failed.
    pub blocks: bool,
    /// Nobody waits for it any more: what it returns says nothing.
    pub moot: bool,
}

/// One finding with what became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FindingView {
    /// `F-<n>`.
    pub id: String,
    /// The stage that reported it.
    pub stage: StageName,
    /// In the round.
    pub round: u32,
    /// What was reported.
    pub reported: ReportedFinding,
    /// How it stands.
    pub state: FindingState,
    /// What the author last did about it.
    pub resolution: Option<Resolution>,
}

/// The latest result of a check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckView {
    /// What it said.
    pub result: CheckResult,
    /// What it ran on: `head` or `candidate`.
    pub on: &'static str,
}

/// Units by state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    by_state: [u32; UnitState::ALL.len()],
}

impl Counts {
    /// Units in a state.
    pub fn of(&self, state: UnitState) -> u32 {
        self.by_state[state as usize]
    }

    /// All units.
    pub fn total(&self) -> u32 {
        self.by_state.iter().sum()
    }

    /// Units that landed or were published.
    pub fn done(&self) -> u32 {
        self.of(UnitState::Landed) + self.of(UnitState::Published)
    }

    pub(super) fn add(&mut self, state: UnitState) {
        self.by_state[state as usize] += 1;
    }

    pub(super) fn subtract(&mut self, state: UnitState) {
        let count = &mut self.by_state[state as usize];
        *count = count.saturating_sub(1);
    }
}

/// The name that the checks go by among the stages.
pub(super) fn checks_name() -> StageName {
    "checks".parse().expect("`checks` is a stage name")
}

/// The name of the review that stands in no tier.
fn resolve_review() -> StageName {
    RESOLVE_REVIEW.parse().expect("it is a stage name")
}

impl UnitView {
    /// Whether its author is to resolve a conflict with the target, and has not yet.
    pub fn is_resolving(&self) -> bool {
        let done = |row: &StageRow| row.name.as_str() == RESOLVE && row.state == StageState::Done;
        let latest = self.stages.iter().rfind(|row| row.name.as_str() == RESOLVE);
        !self.conflicts.is_empty() && !latest.is_some_and(done)
    }

    pub(super) fn new(pipeline: &Pipeline, unit: &Unit, state: UnitState) -> Self {
        Self {
            id: unit.id.clone(),
            title: unit.title.clone(),
            tier: unit.tier.clone(),
            state,
            reason: None,
            sentence: None,
            needs: unit.needs.clone(),
            round: 0,
            fixes_used: 0,
            branch: None,
            taken: None,
            head: None,
            head_tree: None,
            base: None,
            cost: Usd::default(),
            tokens: Tokens::default(),
            stages: planned_rows(pipeline, unit),
            attempts: Vec::new(),
            findings: Vec::new(),
            checks: Vec::new(),
            gates: Vec::new(),
            charged: 0,
            flakes: Vec::new(),
            conflicts: Vec::new(),
            landed_as: None,
            bundle: None,
            began_ms: None,
            ended_at: None,
            ended_seq: None,
            bars: pipeline
                .tiers
                .get(&unit.tier)
                .into_iter()
                .flat_map(|tier| &tier.stages)
                .map(|stage| (stage.name.clone(), (stage.block_on, stage.min_confidence)))
                .chain([(resolve_review(), (BLOCK_ON, MIN_CONFIDENCE))])
                .collect(),
        }
    }

    /// Whether what a judge returned stands in the way: the findings decide, not its verdict.
    pub(super) fn blocks(&self, stage: &StageName, output: &Output) -> bool {
        let weighs = |finding: &ReportedFinding| {
            let bar = self.bars.get(stage);
            bar.is_none_or(|(severity, confidence)| {
                finding.severity >= *severity && finding.confidence >= *confidence
            })
        };
        match output {
            Output::Review { findings, ledger, .. } => {
                let persists = ledger.iter().filter(|row| row.state == LedgerRowState::Persists);
                let mut open =
                    persists.filter_map(|row| self.findings.iter().find(|known| known.id == row.id));
                findings.iter().any(weighs) || open.any(|known| weighs(&known.reported))
            }
            Output::Decision { approved, .. } => !approved,
            Output::Checks { evidence } => !evidence.passed(),
            Output::Document { .. } | Output::Work { .. } => false,
        }
    }
}

/// The rows of a unit before anything happened: its tier's stages, and the checks after the first that makes a
/// commit.
fn planned_rows(pipeline: &Pipeline, unit: &Unit) -> Vec<StageRow> {
    let mut rows = Vec::new();
    let mut checks_left = !(pipeline.checks.is_empty() && unit.checks.is_empty());
    for stage in pipeline
        .tiers
        .get(&unit.tier)
        .into_iter()
        .flat_map(|tier| &tier.stages)
    {
        if unit.performs(stage.kind) {
            rows.push(StageRow::pending(stage.name.clone(), stage.kind.as_str()));
        }
        let is_judged = unit.performs(StageKind::Review);
        if stage.kind == StageKind::Implement && is_judged && std::mem::take(&mut checks_left) {
            rows.push(StageRow::pending(checks_name(), "check"));
        }
    }
    rows
}
