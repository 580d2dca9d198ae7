//! The quality pipeline of one unit as a pure machine.
//!
//! The state of a unit is the fold of its events ([`State::apply`]) and of what the merge queue tells it
//! ([`State::apply_queue`]). What to do next is derived from that state each time ([`State::decide`]) and never
//! stored: asking twice gives the same answer, and what is in flight is never asked for again.
//!
//! **Architecture Invariant:** pure and synchronous. No clock, no randomness, no I/O; the moment comes in as an
//! argument. What a reviewer is shown is built from [`Brief::Review`], a type that has no room for an author's
//! words.
//!
//! Map: `phase` is the transition table, `apply` and `results` the fold, `decide` the decisions, `shape` the tier as a graph,
//! `conflict` the recovery from a conflict with the target, `attempts` the accounting of attempts, `branch` work that was
//! there before, `ledger` the findings, `brief` what a stage is shown. Beside the machine stand the deterministic `guards`,
//! the `commit` message and the failure `signature`.

mod apply;
mod attempts;
mod branch;
mod brief;
mod commit;
mod conflict;
mod decide;
pub mod guards;
mod ledger;
mod phase;
mod results;
mod shape;
mod signature;
#[cfg(test)]
pub(crate) mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use crate::event::{
    Conflict, Evidence, Gate, GuardHit, Head, Job, LineRange, Output, Reason, UnitEvent, Usage,
};
use crate::id::{Oid, StageName};
use crate::spec::{self, Usd};

use attempts::Tries;
pub use attempts::{InFlight, SETUP_FAILED_PREFIX};
pub use branch::Intake;
pub use brief::{Brief, Dispute, Eviction, OpenFinding, check_review};
pub use commit::{commit_message, fix_title};
pub use conflict::OpenConflict;
pub use ledger::{FindingState, Ledger, LedgerEntry, Source};
pub use phase::{Happening, IllegalTransition, Phase, transition_table};
pub use signature::failure_signature;

/// What does not change while a unit is worked on.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// The unit.
    pub unit: spec::Unit,
    /// Its tier.
    pub tier: spec::Tier,
    /// Bounds on rounds, attempts, time and money.
    pub limits: spec::Limits,
    /// Configured agents by name.
    pub agents: BTreeMap<String, spec::Agent>,
    /// Whether there is a check to run; `false` when checks are waived.
    pub has_checks: bool,
}

/// What the merge queue tells a unit. Only news of its newest entry may be passed on.
#[derive(Debug, Clone, PartialEq)]
pub enum QueueNews {
    /// It is on the target.
    Landed {
        /// As this commit.
        commit: Oid,
    },
    /// Everything it brings was on the target already.
    AlreadyLanded,
    /// It failed verification and is to be fixed.
    SentBack {
        /// Why.
        reason: Reason,
        /// What failed.
        evidence: Evidence,
    },
    /// It conflicts with the target, and its author is to resolve that.
    Conflicted {
        /// The target's tip.
        onto: Oid,
        /// Where both sides changed the same.
        conflicts: Vec<Conflict>,
    },
    /// It was handed to a person.
    Evicted {
        /// Why.
        reason: Reason,
        /// As a sentence.
        sentence: String,
        /// Where it conflicts, if that is why.
        conflicts: Vec<Conflict>,
    },
    /// Its entry was taken out.
    Cancelled,
}

/// What is to be done now.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// A decision, to be journalled and applied.
    Record(UnitEvent),
    /// An attempt that is wanted as soon as a slot is free.
    Start(Start),
    /// Nothing more to do before that moment.
    Wake(Timestamp),
}

/// An attempt that is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Start {
    /// What for.
    pub job: Job,
    /// In the round.
    pub round: u32,
    /// Its number within stage and round; never used before, also not before a retry of the unit.
    pub attempt: u32,
    /// Who performs it; `None` for checks.
    pub agent: Option<String>,
    /// The commit its worktree is to be at.
    pub commit: Oid,
    /// Its wall time.
    pub timeout: Duration,
}

/// A unit's state: the fold of its events.
#[derive(Debug, Clone, PartialEq)]
pub struct State {
    plan: Arc<Plan>,
    phase: Phase,
    base: Option<Oid>,
    head: Option<Head>,
    /// Where the head comes from, when it was there before the run.
    intake: Option<Intake>,
    /// The author stage that made the head.
    producer: Option<StageName>,
    /// Guard hits on the head that a person must agree to.
    gate_hits: Vec<GuardHit>,
    /// Hits a person agreed to.
    accepted_hits: Vec<GuardHit>,
    gate: Option<Gate>,
    /// Counts the tries of the whole unit, from 1.
    try_number: u32,
    generation: u32,
    /// The last approval stands: neither a person nor the queue took the unit out since.
    approval_stands: bool,
    round: u32,
    fixes: u32,
    /// The head is a person's commit, which only the checks judge.
    resolved: bool,
    stages: BTreeMap<StageName, StageRun>,
    /// What the checks said of the head: passed or failed, nothing else.
    checked: Option<Evidence>,
    /// What the queue sent the head back with.
    sent_back: Option<(Reason, Evidence)>,
    /// The conflict with the target that is being recovered from, until the unit is approved again.
    conflict: Option<OpenConflict>,
    /// Signatures of failed checks, oldest first; a pass empties it.
    signatures: Vec<String>,
    tries: BTreeMap<Job, Tries>,
    /// What panics of ours in its attempts said; a person who takes over empties it.
    panics: Vec<String>,
    flight: BTreeMap<u64, InFlight>,
    /// Attempts that no longer matter; what they cost still counts.
    abandoned: BTreeSet<u64>,
    /// Highest attempt number given out per stage and round, over all tries.
    numbered: BTreeMap<(StageName, u32), u32>,
    ledger: Ledger,
    /// The last word of every judge.
    judgements: BTreeMap<Job, Judgement>,
    eviction: Option<Eviction>,
    previous: Option<Eviction>,
    retry_note: Option<String>,
    landed: Option<Oid>,
    spent: Usage,
    ignored: u32,
}

/// What a judge said of a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judgement {
    /// What was judged.
    pub commit: Oid,
    /// Who judged.
    pub agent: Option<String>,
    /// SHA-256 of what the judge was shown.
    pub packet: String,
    /// `approve`, `request_changes` or `reject`.
    pub verdict: &'static str,
}

/// How far one stage has come in the current try.
#[derive(Debug, Clone, PartialEq, Default)]
struct StageRun {
    /// It has what it needs for the head as it stands.
    done: bool,
    /// A fix that had nothing to do.
    skipped: bool,
    /// The round in which it was last shown as skipped.
    skipped_in: Option<u32>,
    /// How often a fix has run.
    fixes: u32,
    /// Whether a review has judged an earlier head, so that its new findings are held to convergence.
    reviewed_before: bool,
    /// Lines authors changed since a review last judged.
    touched: Vec<LineRange>,
    /// What the members returned for the head as it stands.
    answers: BTreeMap<u32, Output>,
}

impl State {
    /// A unit that nothing has happened to.
    pub fn new(plan: Arc<Plan>) -> Self {
        let stages = plan
            .tier
            .stages
            .iter()
            .map(|stage| (stage.name.clone(), StageRun::default()))
            .collect();
        Self {
            plan,
            phase: Phase::Waiting,
            base: None,
            head: None,
            intake: None,
            producer: None,
            gate_hits: Vec::new(),
            accepted_hits: Vec::new(),
            gate: None,
            try_number: 1,
            generation: 0,
            approval_stands: false,
            round: 1,
            fixes: 0,
            resolved: false,
            stages,
            checked: None,
            sent_back: None,
            conflict: None,
            signatures: Vec::new(),
            tries: BTreeMap::new(),
            panics: Vec::new(),
            flight: BTreeMap::new(),
            abandoned: BTreeSet::new(),
            numbered: BTreeMap::new(),
            ledger: Ledger::default(),
            judgements: BTreeMap::new(),
            eviction: None,
            previous: None,
            retry_note: None,
            landed: None,
            spent: Usage::default(),
            ignored: 0,
        }
    }

    /// What does not change.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Where the unit stands.
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// The commit the work stands on, once it has started.
    pub fn base(&self) -> Option<&Oid> {
        self.base.as_ref()
    }

    /// The unit's commit, once an author has made one.
    pub fn head(&self) -> Option<&Head> {
        self.head.as_ref()
    }

    /// Counts approvals; 0 before the first.
    pub fn generation(&self) -> u32 {
        self.generation
    }

    /// Whether the last approval still counts. One that was sent back to its author keeps it, since another head needs
    /// another; one that was evicted, cancelled, given up or started afresh has none.
    pub fn approval_stands(&self) -> bool {
        self.approval_stands
    }

    /// The current round, from 1.
    pub fn round(&self) -> u32 {
        self.round
    }

    /// Fix rounds used, of `limits.rounds`.
    pub fn fixes_used(&self) -> u32 {
        self.fixes
    }

    /// Counts the tries of the whole unit, from 1; a person's retry adds one.
    pub fn try_number(&self) -> u32 {
        self.try_number
    }

    /// The findings.
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// What a person must decide, while the unit is gated.
    pub fn gate(&self) -> Option<&Gate> {
        self.gate.as_ref()
    }

    /// Why the unit was handed to a person, while it is.
    pub fn eviction(&self) -> Option<(Reason, &str)> {
        self.eviction
            .as_ref()
            .map(|eviction| (eviction.reason, eviction.sentence.as_str()))
    }

    /// The commit on the target, when it landed through the queue.
    pub fn landed(&self) -> Option<&Oid> {
        self.landed.as_ref()
    }

    /// What all attempts used, over all tries; its cost leaves out attempts whose cost is not known.
    pub fn spent(&self) -> Usage {
        self.spent
    }

    /// Attempts that run and still matter. What an engine runs beside these it should stop.
    pub fn in_flight(&self) -> impl Iterator<Item = &InFlight> {
        self.flight.values()
    }

    /// What the person who asked for another try said.
    pub fn retry_note(&self) -> Option<&str> {
        self.retry_note.as_deref()
    }

    /// What the checks said of the head.
    pub fn evidence(&self) -> Option<&Evidence> {
        self.checked.as_ref()
    }

    /// Outcomes that came too late to matter.
    pub fn ignored_outcomes(&self) -> u32 {
        self.ignored
    }

    /// What judges said of the head as it stands, by stage and member.
    pub fn judgements(&self) -> impl Iterator<Item = (&Job, &Judgement)> {
        let head = self.head.as_ref().map(|head| &head.commit);
        self.judgements
            .iter()
            .filter(move |(_, judgement)| Some(&judgement.commit) == head)
    }

    /// Whether the head is a commit that a person made or vouched for, which is their approval.
    pub fn is_resolved(&self) -> bool {
        self.resolved || self.is_vouched_for()
    }

    /// The unit's budget, if it has one.
    pub fn budget(&self) -> Option<Usd> {
        self.plan.unit.budget.or(self.plan.limits.unit_budget)
    }

    /// The commit a worktree of the unit is at when nothing says otherwise.
    fn tip(&self) -> Option<&Oid> {
        self.head.as_ref().map(|head| &head.commit).or(self.base.as_ref())
    }

    fn run(&self, stage: &StageName) -> &StageRun {
        self.stages.get(stage).expect("every stage of the tier has a run")
    }

    fn run_mut(&mut self, stage: &StageName) -> &mut StageRun {
        self.stages.entry(stage.clone()).or_default()
    }
}
