//! The state of a whole run: its units, its merge queue, and what is to be done next.
//!
//! A run is the fold of its journal ([`State::apply`]). What to do next is derived from that state and from what
//! the world looks like now ([`State::decide`]), again and again until nothing is left to do at this moment. So
//! recovery is replay: an engine that died is continued by folding what it wrote and asking again.
//!
//! **Architecture Invariant:** pure. Every effect is either an event to record or a request to the engine, and
//! asking twice without an event in between gives the same answer.

mod agenda;
mod branches;
pub mod checks;
mod decide;
mod frozen;
mod grow;
pub mod order;
mod preflight;
mod radar;
mod resources;
#[cfg(test)]
mod simulation;
mod stall;
#[cfg(test)]
mod tests;
mod wish;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use crate::event::{
    EntryEnd, Event, Evidence, Foreseen, Gate, Job, Outcome, Output, QueueEvent, Reason, Record, RunEvent,
    StopCause, UnitEvent, UnitScoped, VerifyPurpose,
};
use crate::id::{Oid, RunId, UnitId};
use crate::policy::Pacing;
use crate::queue::{self, VerifiedCandidate};
use crate::spec::{Check, Pipeline, Usd};
use crate::unit;

pub use checks::{hash_json, inputs, queue_checks, subject, unit_checks};
pub use frozen::Frozen;
pub use preflight::Preflight;
pub use radar::{LiveAuthor, LiveHead, Scene};
pub use resources::rivals;
pub use wish::{QueueWish, Refusal, UnitWish, Wish};

/// What is known of a run.
#[derive(Debug, Clone, PartialEq)]
pub struct State {
    pipeline: Arc<Pipeline>,
    /// Place of each unit in the file.
    places: BTreeMap<UnitId, u32>,
    units: BTreeMap<UnitId, unit::State>,
    /// Units that bring a branch, in the order of the file.
    with_branch: Vec<UnitId>,
    queue: queue::State,
    order: order::Order,
    /// Derived from the units' phases.
    agenda: agenda::Agenda,
    /// The unit of every attempt whose end is not recorded, by fence.
    attempts: BTreeMap<u64, UnitId>,
    /// Attempts under way that matter.
    running_attempts: usize,
    held: resources::Held,
    evidence: checks::EvidenceBook,
    /// Names of the checks that every candidate and the target itself must pass.
    gate: BTreeSet<String>,
    environment: String,
    /// Of the first event.
    start: Option<Start>,
    epoch: u64,
    next_fence: u64,
    pacing: Pacing,
    spent: Usd,
    last_stop: Option<StopCause>,
    finished: bool,
    /// The pause was said to the engine that works, which whoever said so can tell to go on.
    paused_at_work: bool,
    quiet: stall::Quiet,
    foreseen: Foreseen,
}

/// What the first event of a run says.
#[derive(Debug, Clone, PartialEq)]
pub struct Start {
    /// The run.
    pub run: RunId,
    /// The pipeline file.
    pub file: String,
    /// The branch units land on.
    pub target: String,
    /// The branch the work is meant for, when [`Self::target`] is a branch of the run's own.
    pub meant_for: Option<String>,
    /// The target's tip when the run began.
    pub base: Oid,
    /// SHA-256 of the frozen pipeline.
    pub frozen: String,
}

/// What the world looks like at the moment of a decision.
pub struct Facts {
    /// Now.
    pub now: Timestamp,
    /// Where the target stands.
    pub tip: queue::Tip,
    /// Whether the target still contains [`State::landed_work`].
    pub tip_continues: bool,
    /// No new work is to start; what runs may finish.
    pub draining: bool,
    /// Only these units are worked on, in an order that contains what they need; `None` means all. The others stay
    /// as they are; what stands in the merge queue already is served all the same.
    pub selection: Option<Arc<BTreeSet<UnitId>>>,
    /// Where the branches are that units depend on ([`State::watched_branches`]); one that is gone is not in it.
    pub branches: BTreeMap<UnitId, Oid>,
}

/// What is to be done.
#[derive(Debug, PartialEq)]
pub enum Effect {
    /// A decision, to be written to the journal.
    Record(Event),
    /// Branches to be looked at and copied, for units that have not begun.
    TakeBranches(Vec<UnitId>),
    /// An attempt, for which a slot is free.
    Attempt {
        /// The unit.
        unit: UnitId,
        /// What, by whom and where.
        start: unit::Start,
    },
    /// A verification, for which a slot is free.
    Verify(Verification),
    /// Earlier evidence that stands in for a verification.
    Reuse {
        /// The commit.
        commit: Oid,
        /// Why it is verified.
        purpose: VerifyPurpose,
        /// It passed.
        evidence: Evidence,
    },
    /// Units to be put onto a base, in memory.
    Integrate {
        /// The base.
        base: Oid,
        /// The units in order.
        units: Vec<queue::IntegrateUnit>,
    },
    /// A candidate to land.
    Land(VerifiedCandidate),
    /// Nothing to do before this moment.
    Wake(Timestamp),
    /// Nothing to do until a person acts, or ever.
    Stop(StopCause),
}

/// A commit to run checks on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verification {
    /// The commit.
    pub commit: Oid,
    /// Its tree.
    pub tree: Oid,
    /// Units whose own checks run too.
    pub units: Vec<UnitId>,
    /// Why.
    pub purpose: VerifyPurpose,
}

/// An event that does not fit the state it meets: the journal is not one we wrote, or the program has a bug.
#[derive(Debug, Clone, thiserror::Error)]
#[error("event {seq} does not fit the run's state: {why}")]
pub struct IllegalEvent {
    /// Its place in the journal.
    pub seq: u64,
    /// What the machine said.
    pub why: String,
}

impl State {
    /// A run of which nothing has happened yet. `environment` is the fingerprint evidence must carry.
    pub fn new(pipeline: Arc<Pipeline>, environment: String) -> Self {
        let plan = |unit: &crate::spec::Unit| unit::Plan {
            unit: unit.clone(),
            tier: pipeline.tiers[&unit.tier].clone(),
            limits: pipeline.limits.clone(),
            agents: pipeline.agents.clone(),
            has_checks: !unit_checks(&pipeline, unit).is_empty(),
        };
        let units: BTreeMap<UnitId, unit::State> = pipeline
            .units
            .iter()
            .map(|unit| (unit.id.clone(), unit::State::new(Arc::new(plan(unit)))))
            .collect();
        let places: BTreeMap<UnitId, u32> = (0..)
            .zip(&pipeline.units)
            .map(|(place, unit)| (unit.id.clone(), place))
            .collect();
        let order = order::Order::new(&pipeline);
        let rank = |(place, unit): (u32, &crate::spec::Unit)| {
            let left = u64::from(units[&unit.id].remaining_stages()) + order.behind(&unit.id);
            (Reverse(left), Reverse(unit.priority), place)
        };
        let ranks = (0..).zip(&pipeline.units).map(rank).collect();
        let gate = queue_checks(&pipeline, std::iter::empty());
        let brings_branch = pipeline.units.iter().filter(|unit| unit.from_branch.is_some());
        let with_branch = brings_branch.map(|unit| unit.id.clone()).collect();
        let mut state = Self {
            agenda: agenda::Agenda::new(&pipeline, &places, ranks),
            places,
            units,
            with_branch,
            queue: queue::State::new(queue::Settings::of(&pipeline)),
            order,
            attempts: BTreeMap::new(),
            running_attempts: 0,
            held: resources::Held::default(),
            gate: gate.into_iter().map(|check| check.name).collect(),
            pipeline,
            evidence: checks::EvidenceBook::default(),
            environment,
            start: None,
            epoch: 0,
            next_fence: 1,
            pacing: Pacing::default(),
            spent: Usd::default(),
            last_stop: None,
            finished: false,
            paused_at_work: false,
            quiet: stall::Quiet::default(),
            foreseen: Foreseen::default(),
        };
        state.review_all();
        state
    }

    /// Folds one more event into the state.
    ///
    /// # Errors
    /// When the event is not possible in this state; the state is then not to be used any more.
    pub fn apply(&mut self, record: &Record) -> Result<(), IllegalEvent> {
        match &record.event {
            Event::Run(event) => self.apply_run(event, record),
            Event::Unit(UnitScoped { unit, what }) => self.apply_unit(unit, what, record),
            Event::Queue(event) => self.apply_queue(event, record),
        }?;
        self.queue.keep_time(record);
        self.quiet.after(record, &self.queue);
        self.forget_collisions();
        Ok(())
    }

    fn apply_run(&mut self, event: &RunEvent, record: &Record) -> Result<(), IllegalEvent> {
        let seq = record.seq;
        match event {
            RunEvent::RunStarted {
                run,
                file,
                target,
                meant_for,
                base,
                frozen,
                ..
            } => {
                if self.start.is_some() {
                    return Err(IllegalEvent {
                        seq,
                        why: "the run started twice".to_owned(),
                    });
                }
                self.start = Some(Start {
                    run: run.clone(),
                    file: file.clone(),
                    target: target.clone(),
                    meant_for: meant_for.clone(),
                    base: base.clone(),
                    frozen: frozen.clone(),
                });
            }
            RunEvent::EngineStarted { epoch, .. } => {
                if *epoch <= self.epoch {
                    let why = format!("engine {epoch} started after engine {}", self.epoch);
                    return Err(IllegalEvent { seq, why });
                }
                self.epoch = *epoch;
                self.held.release_all();
                self.last_stop = None;
                self.finished = false;
                self.paused_at_work = false;
            }
            RunEvent::EngineStopped { why } => self.last_stop = Some(*why),
            RunEvent::UnitsAdded { frozen, .. } => {
                if let Some(start) = &mut self.start {
                    start.frozen.clone_from(frozen);
                }
            }
            RunEvent::RunRebuilt { .. } => {}
            RunEvent::ConflictsForeseen(foreseen) => self.foreseen = foreseen.clone(),
            RunEvent::RunFinished => self.finished = true,
            RunEvent::PreflightEnded { evidence, also, .. } => {
                for evidence in std::iter::once(evidence).chain(also) {
                    self.evidence.keep(evidence, record);
                    // A check of the file may be called like another one of the queue's.
                    if self.is_of_gate(evidence) {
                        self.evidence.saw_target(evidence);
                    }
                }
            }
        }
        Ok(())
    }

    fn apply_unit(&mut self, id: &UnitId, event: &UnitEvent, record: &Record) -> Result<(), IllegalEvent> {
        let seq = record.seq;
        let unit = self.units.get_mut(id).ok_or_else(|| IllegalEvent {
            seq,
            why: format!("the pipeline has no unit `{id}`"),
        })?;
        let (phase, running) = (unit.phase(), unit.in_flight().count());
        if let UnitEvent::AttemptStarted { fence, agent, .. } = event {
            self.next_fence = self.next_fence.max(fence.saturating_add(1));
            self.attempts.insert(*fence, id.clone());
            if let Some(agent) = agent {
                self.pacing.started(agent, record.at);
            }
        }
        if let UnitEvent::AttemptEnded {
            fence,
            outcome,
            output,
            usage,
            ..
        } = event
        {
            self.attempts.remove(fence);
            self.spent = self.spent + usage.cost.unwrap_or_default();
            let agent = unit
                .in_flight()
                .find(|flight| flight.fence == *fence)
                .and_then(|f| f.agent.clone());
            if let (Outcome::RateLimited { reset }, Some(agent)) = (outcome, agent) {
                self.pacing.rate_limited(&agent, *reset);
            }
            if let Some(Output::Checks { evidence }) = output {
                self.evidence.keep(evidence, record);
            }
        }
        self.finished = false;
        unit.apply(event, record.at).map_err(|illegal| IllegalEvent {
            seq,
            why: format!("{id}: {illegal}"),
        })?;
        self.running_attempts = self.running_attempts + unit.in_flight().count() - running;
        self.hold_for_attempt(id, event);
        if let UnitEvent::UnitRetried { .. } | UnitEvent::UnitResolved { .. } = event {
            self.queue.person_takes_over(id);
        }
        self.review_after(id, phase);
        Ok(())
    }

    fn apply_queue(&mut self, event: &QueueEvent, record: &Record) -> Result<(), IllegalEvent> {
        let seq = record.seq;
        let illegal = |why: String| IllegalEvent { seq, why };
        if let QueueEvent::VerifyStarted { fence, .. } = event {
            self.next_fence = self.next_fence.max(fence.saturating_add(1));
        }
        if let QueueEvent::VerifyEnded {
            fence,
            evidence,
            reused,
        } = event
        {
            let of_target = self
                .queue
                .in_flight()
                .iter()
                .any(|(known, _, purpose)| known == fence && *purpose == VerifyPurpose::Base);
            if !reused {
                self.evidence.keep(evidence, record);
            }
            if of_target {
                self.evidence.saw_target(evidence);
            }
        }
        if let QueueEvent::Landed {
            evidence: Some(evidence),
            ..
        } = event
        {
            self.evidence.saw_target(evidence);
        }
        self.queue.apply(event).map_err(|why| illegal(why.to_string()))?;
        match event {
            QueueEvent::QueuePaused => self.paused_at_work = true,
            QueueEvent::QueueResumed => self.paused_at_work = false,
            _ => {}
        }
        self.hold_for_verification(event);
        for (id, news) in news_for_units(event) {
            if let Some(unit) = self.units.get_mut(id) {
                let (phase, running) = (unit.phase(), unit.in_flight().count());
                unit.apply_queue(&news)
                    .map_err(|why| illegal(format!("{id}: {why}")))?;
                self.running_attempts = self.running_attempts + unit.in_flight().count() - running;
                self.review_after(id, phase);
            }
        }
        if let QueueEvent::Enqueued { unit, .. } = event
            && let Some(state) = self.units.get(unit)
        {
            self.review_after(unit, state.phase());
        }
        Ok(())
    }

    /// The pipeline of the run.
    pub fn pipeline(&self) -> &Arc<Pipeline> {
        &self.pipeline
    }

    /// What the first event said; `None` before it.
    pub fn start(&self) -> Option<&Start> {
        self.start.as_ref()
    }

    /// The state of a unit.
    pub fn unit(&self, id: &UnitId) -> Option<&unit::State> {
        self.units.get(id)
    }

    /// Every unit with its state, by id.
    pub fn units(&self) -> impl Iterator<Item = (&UnitId, &unit::State)> {
        self.units.iter()
    }

    /// The merge queue.
    pub fn queue(&self) -> &queue::State {
        &self.queue
    }

    /// Commits that the target contains unless landed work is gone: the last landing, which stands on those before it; before
    /// the first, what earlier runs landed of units that were kept.
    pub fn landed_work(&self) -> impl Iterator<Item = &Oid> {
        let kept = self.units.values().filter_map(unit::State::landed);
        self.queue.last_landing_or(kept)
    }

    /// Passing evidence about a commit or its tree under these checks that may be used again: made in this environment, and
    /// no older than `queue.max_age`.
    pub fn evidence_of(&self, subject: &Oid, checks: &[Check], now: Timestamp) -> Option<&Evidence> {
        let age = SignedDuration::try_from(self.pipeline.queue.max_age).unwrap_or(SignedDuration::MAX);
        let since = now.saturating_sub(age).unwrap_or(Timestamp::MIN);
        self.evidence
            .find(subject, &hash_json(&checks), &self.environment, since)
    }

    /// The fingerprint that evidence must carry.
    pub fn environment(&self) -> &str {
        &self.environment
    }

    /// The number of engines that have taken the run up.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// The fence the next attempt or verification gets.
    pub fn next_fence(&self) -> u64 {
        self.next_fence
    }

    /// What the run has cost.
    pub fn spent(&self) -> Usd {
        self.spent
    }

    /// Whether the end of the run is recorded.
    pub fn is_finished(&self) -> bool {
        self.finished
    }

    /// Whether every unit has come to an end and the queue is empty.
    pub fn is_complete(&self) -> bool {
        self.queue.is_idle() && self.units.values().all(|unit| decide::has_ended(unit.phase()))
    }

    /// Why the last engine let go, if one did and none has taken over.
    pub fn last_stop(&self) -> Option<StopCause> {
        self.last_stop
    }

    /// Attempts and verifications under way.
    pub fn running(&self) -> usize {
        self.running_attempts + self.queue.in_flight().len()
    }

    /// Whether the outcome of an attempt or verification is still waited for.
    pub fn is_under_way(&self, fence: u64) -> bool {
        self.attempts
            .get(&fence)
            .and_then(|id| self.units.get(id))
            .is_some_and(|unit| unit.in_flight().any(|flight| flight.fence == fence))
            || self.queue.in_flight().iter().any(|(known, ..)| *known == fence)
    }

    /// Units that a person must see to, each with the reason.
    pub fn evicted(&self) -> impl Iterator<Item = (&UnitId, Reason, &str)> {
        self.units
            .iter()
            .filter_map(|(id, unit)| unit.eviction().map(|(reason, why)| (id, reason, why)))
    }

    /// Gates that wait for a person.
    pub fn gates(&self) -> impl Iterator<Item = (&UnitId, &Gate)> {
        self.units
            .iter()
            .filter_map(|(id, unit)| unit.gate().map(|gate| (id, gate)))
    }

    /// The work that every attempt and verification left open when the engine died: what to record so that it
    /// is done again, at no cost.
    pub fn interruptions(&self) -> Vec<Event> {
        let attempts = self.units.iter().flat_map(|(id, unit)| {
            unit.in_flight().map(|flight| {
                Event::Unit(UnitScoped {
                    unit: id.clone(),
                    what: UnitEvent::AttemptEnded {
                        fence: flight.fence,
                        outcome: Outcome::Interrupted,
                        detail: None,
                        output: None,
                        packet: None,
                        usage: crate::event::Usage::default(),
                        duration_ms: 0,
                    },
                })
            })
        });
        let verifications = self.queue.in_flight().into_iter().map(|(fence, commit, _)| {
            let evidence = interrupted_evidence(commit, &self.environment);
            Event::Queue(QueueEvent::VerifyEnded {
                fence,
                evidence,
                reused: false,
            })
        });
        attempts.chain(verifications).collect()
    }
}

/// Evidence of a verification that came to no result.
pub fn interrupted_evidence(subject: Oid, environment: &str) -> Evidence {
    Evidence {
        tree: subject,
        checks: String::new(),
        environment: environment.to_owned(),
        results: vec![crate::event::CheckResult {
            name: "verify".to_owned(),
            outcome: crate::event::CheckOutcome::Interrupted,
            exit: None,
            duration_ms: 0,
            tail: String::new(),
            signature: String::new(),
        }],
    }
}

/// What an event of the queue means to units.
fn news_for_units(event: &QueueEvent) -> Vec<(&UnitId, unit::QueueNews)> {
    match event {
        QueueEvent::Landed { units, .. } => units
            .iter()
            .map(|landed| {
                (
                    &landed.unit,
                    unit::QueueNews::Landed {
                        commit: landed.commit.clone(),
                    },
                )
            })
            .collect(),
        QueueEvent::SentBack {
            unit,
            reason,
            evidence,
        } => {
            vec![(
                unit,
                unit::QueueNews::SentBack {
                    reason: *reason,
                    evidence: evidence.clone(),
                },
            )]
        }
        QueueEvent::SentToResolve {
            unit,
            onto,
            conflicts,
        } => vec![(
            unit,
            unit::QueueNews::Conflicted {
                onto: onto.clone(),
                conflicts: conflicts.clone(),
            },
        )],
        QueueEvent::EntryLeft { unit, end } => {
            let news = match end {
                EntryEnd::AlreadyLanded => unit::QueueNews::AlreadyLanded,
                EntryEnd::Evicted {
                    reason,
                    sentence,
                    conflicts,
                } => unit::QueueNews::Evicted {
                    reason: *reason,
                    sentence: sentence.clone(),
                    conflicts: conflicts.clone(),
                },
                EntryEnd::Cancelled => unit::QueueNews::Cancelled,
            };
            vec![(unit, news)]
        }
        QueueEvent::Enqueued { .. }
        | QueueEvent::CandidateBuilt { .. }
        | QueueEvent::IntegrationFailed { .. }
        | QueueEvent::VerifyStarted { .. }
        | QueueEvent::VerifyEnded { .. }
        | QueueEvent::LandIntended { .. }
        | QueueEvent::CheckoutFollowed { .. }
        | QueueEvent::LandRefused { .. }
        | QueueEvent::EntryHeld { .. }
        | QueueEvent::EntryReleased { .. }
        | QueueEvent::EntryCharged { .. }
        | QueueEvent::FlakeSeen { .. }
        | QueueEvent::BatchSplit { .. }
        | QueueEvent::StepPanicked { .. }
        | QueueEvent::TargetMoved { .. }
        | QueueEvent::BaseRed { .. }
        | QueueEvent::QueuePaused
        | QueueEvent::QueueResumed
        | QueueEvent::QueueFrozen { .. }
        | QueueEvent::QueueThawed
        | QueueEvent::EntryRaised { .. }
        | QueueEvent::QueueStalled { .. }
        | QueueEvent::SafetyStop { .. } => Vec::new(),
    }
}

/// The agent that performs a job, as far as the staggering of starts is concerned.
fn agent_of(start: &unit::Start) -> Option<&String> {
    match start.job {
        Job::Stage { .. } => start.agent.as_ref(),
        Job::Checks => None,
    }
}
