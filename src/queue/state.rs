//! What the queue knows: the fold of its events, and the views derived from it.

use std::collections::{BTreeMap, BTreeSet};

use crate::event::{Candidate, Head, Hold, Obstacle, Reason, VerifyPurpose};
use crate::id::{Oid, UnitId};

use super::backoff::Machine;
use super::batch::{Batch, Part};
use super::order::Rank;
use super::proof::{PendingLanding, VerifiedCandidate};
use super::quarantine::Panics;
use super::verdict::{Standing, Trial, standing};
use super::window::Window;
use super::{Facts, Settings, Tip};
use crate::event::QueueEvent;

/// The state of one queue.
#[derive(Debug, Clone, PartialEq)]
pub struct State {
    pub(super) settings: Settings,
    /// Entries that wait or are served, in order. `ranks` is its index by unit.
    pub(super) line: BTreeMap<Rank, Entry>,
    pub(super) ranks: BTreeMap<UnitId, Rank>,
    /// What the queue remembers of a unit whatever becomes of its entry.
    pub(super) known: BTreeMap<UnitId, Known>,
    /// Counts the steps of the queue that were not an enqueuing; gives entries their age.
    pub(super) step: u64,
    /// Where the target stands as far as the queue knows.
    pub(super) expected_tip: Option<Oid>,
    /// The candidates that count, each on the one before it or, where that is in doubt, on what that stands on.
    pub(super) chain: Vec<Built>,
    pub(super) window: Window,
    pub(super) batch: Batch,
    /// Batches that could not pass, with what is known of them.
    pub(super) split: Vec<Built>,
    /// Units that once could not be put onto a base, so that they need not be looked for.
    pub(super) obstructed: BTreeSet<UnitId>,
    /// Runs without an outcome, by fence.
    pub(super) runs: BTreeMap<u64, Run>,
    /// Fences that had their outcome, so that it counts once.
    pub(super) ended: BTreeSet<u64>,
    /// What the last conclusive run on a target's tip said.
    pub(super) base: Option<BaseKnown>,
    pub(super) base_red: Option<(Oid, String)>,
    pub(super) machine: Machine,
    pub(super) pending: Option<PendingLanding>,
    pub(super) landed: Vec<LandedRecord>,
    pub(super) unfollowed: Option<Unfollowed>,
    pub(super) stop: Option<(Reason, String)>,
    /// A person paused the queue.
    pub(super) paused: bool,
    /// Entries of a lower priority are held.
    pub(super) frozen_below: Option<i64>,
}

/// A unit in line.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Entry {
    pub(super) generation: u32,
    pub(super) head: Head,
    pub(super) base: Oid,
    /// Why it cannot be put onto a base, and onto which.
    pub(super) obstruction: Option<Obstruction>,
    /// What it may be verified with, once a batch it was in has been split.
    pub(super) part: Option<Part>,
    /// A refused landing that is not turned into a hold yet.
    pub(super) refused: Option<Hold>,
    pub(super) hold: Option<Hold>,
    pub(super) panics: Option<Panics>,
}

/// What a unit met where it was to be put.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Obstruction {
    pub(super) base: Oid,
    /// Units of the same candidate that were put onto the base before it.
    pub(super) ahead: Vec<UnitId>,
    pub(super) obstacle: Obstacle,
}

/// What outlives an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Known {
    pub(super) generation: u32,
    pub(super) age: u64,
    pub(super) charged: u32,
    /// Conflicts with the target it was sent back with.
    pub(super) conflicts: u32,
    pub(super) landed: bool,
    /// The priority a person gave it.
    pub(super) raised: Option<i64>,
}

impl Known {
    /// A person has taken over.
    pub(super) fn forgive(&mut self) {
        self.charged = 0;
        self.conflicts = 0;
    }
}

/// A candidate, with what is known about it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Built {
    pub(super) candidate: Candidate,
    /// No other candidate has it, though one may end in the same commit.
    pub(super) number: u64,
    pub(super) trials: Vec<Trial>,
    /// Runs started on it, also those that were interrupted.
    pub(super) runs: u32,
    /// Checks whose flake is recorded.
    pub(super) flakes: BTreeSet<String>,
}

/// A run of the checks that has begun.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) commit: Oid,
    pub(super) purpose: VerifyPurpose,
    /// Of the candidate; 0 for a base.
    pub(super) candidate: u64,
}

/// What is known about the checks on a tip.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct BaseKnown {
    pub(super) commit: Oid,
    /// Runs started on it.
    pub(super) runs: u32,
    /// The last one that ended and was not interrupted.
    pub(super) trial: Option<Trial>,
}

/// An event that cannot follow what the queue knows: the journal is corrupt, or there is a bug.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the queue refuses `{event}`{}: {problem}; the journal and the queue disagree, so nothing more is done with it (`pipeline doctor` tells more)", .unit.as_ref().map(|unit| format!(" of unit `{unit}`")).unwrap_or_default())]
pub struct IllegalTransition {
    /// The event's type.
    pub event: &'static str,
    /// The unit it is about, if it is about one.
    pub unit: Option<UnitId>,
    /// Why it cannot be.
    pub problem: &'static str,
}

/// Where an entry stands; derived, never stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Status {
    /// It waits for its turn.
    Queued,
    /// Its candidate is built.
    Integrated,
    /// The checks run on its candidate.
    Verifying {
        /// The run.
        fence: u64,
    },
    /// Its candidate may land, when those it is built on have landed.
    Verified,
    /// Its candidate failed, and contains units that have not landed: nobody is blamed until they have, or have left.
    Suspect,
    /// The target is being moved.
    Landing {
        /// From here.
        from: Oid,
        /// To there.
        to: Oid,
    },
    /// It waits, in place.
    Held(Hold),
}

impl Status {
    /// The word in `status --json`.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Integrated => "integrated",
            Self::Verifying { .. } => "verifying",
            Self::Verified => "verified",
            Self::Suspect => "suspect",
            Self::Landing { .. } => "landing",
            Self::Held(_) => "held",
        }
    }
}

/// An entry as others see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EntryView {
    /// The unit.
    pub unit: UnitId,
    /// Place in the queue, from 1.
    pub position: usize,
    /// Where it stands.
    pub status: Status,
    /// Its approval.
    pub generation: u32,
    /// The commit it became, while that counts.
    pub candidate: Option<Oid>,
    /// Which of the candidates it is in, the first to land first; those of a batch share one.
    pub chain_place: Option<usize>,
    /// What it has been charged, over all generations.
    pub charged: u32,
}

impl EntryView {
    /// What it waits for in place, as a sentence.
    pub fn held(&self) -> Option<String> {
        match &self.status {
            Status::Held(hold) => Some(hold.sentence()),
            Status::Queued
            | Status::Integrated
            | Status::Verifying { .. }
            | Status::Verified
            | Status::Suspect
            | Status::Landing { .. } => None,
        }
    }
}

/// A unit that landed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LandedRecord {
    /// The unit.
    pub unit: UnitId,
    /// The approval that landed.
    pub generation: u32,
    /// The target's tip before.
    pub from: Oid,
    /// The target's tip after.
    pub to: Oid,
    /// The unit's own commit on the target.
    pub commit: Oid,
    /// Counts landings of units, from 1.
    pub order: usize,
}

/// A landing whose checkout has not followed yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unfollowed {
    /// The old tip.
    pub from: Oid,
    /// The new tip.
    pub to: Oid,
    /// The worktree that has the target checked out.
    pub checkout: String,
}

impl State {
    /// An empty queue.
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            line: BTreeMap::new(),
            ranks: BTreeMap::new(),
            known: BTreeMap::new(),
            step: 0,
            expected_tip: None,
            chain: Vec::new(),
            window: Window::new(settings.window, settings.parallel),
            batch: Batch::new(settings.batch),
            split: Vec::new(),
            obstructed: BTreeSet::new(),
            runs: BTreeMap::new(),
            ended: BTreeSet::new(),
            base: None,
            base_red: None,
            machine: Machine::default(),
            pending: None,
            landed: Vec::new(),
            unfollowed: None,
            stop: None,
            paused: false,
            frozen_below: None,
        }
    }

    /// Every entry in the order in which it is served: those that have a candidate, then by [`Rank`].
    pub fn entries(&self) -> Vec<EntryView> {
        let served = self.served_ranks();
        let waiting = self.line.keys().filter(|rank| !served.contains(rank));
        served
            .iter()
            .copied()
            .chain(waiting)
            .enumerate()
            .map(|(index, rank)| self.view(rank, index + 1))
            .collect()
    }

    /// Number of entries.
    pub fn len(&self) -> usize {
        self.line.len()
    }

    /// Whether nothing is in line.
    pub fn is_empty(&self) -> bool {
        self.line.is_empty()
    }

    /// The units of the candidate that a run is about, while it counts.
    pub fn units_of_run(&self, fence: u64) -> Vec<UnitId> {
        let run = self
            .runs
            .get(&fence)
            .filter(|run| run.purpose == VerifyPurpose::Candidate);
        let built = run.and_then(|run| self.chain.iter().find(|built| built.number == run.candidate));
        let units = built.into_iter().flat_map(|built| &built.candidate.units);
        units.map(|member| member.unit.clone()).collect()
    }

    /// The entry of a unit, if it is in line.
    pub fn entry(&self, unit: &UnitId) -> Option<EntryView> {
        let rank = self.ranks.get(unit)?;
        let served = self.served_ranks();
        let place = served.iter().position(|other| *other == rank);
        let position = place.unwrap_or_else(|| {
            let ahead = self.line.range(..rank).count();
            ahead + served.iter().filter(|other| **other > rank).count()
        });
        Some(self.view(rank, position + 1))
    }

    /// The entries that have a candidate, in the order of the chain.
    fn served_ranks(&self) -> Vec<&Rank> {
        let members = self.chain.iter().flat_map(|built| &built.candidate.units);
        members
            .filter_map(|member| self.ranks.get(&member.unit))
            .collect()
    }

    /// The generation in which a unit is in line, if it is; cheap, unlike [`Self::entry`] with its place.
    pub fn generation_in_line(&self, unit: &UnitId) -> Option<u32> {
        let rank = self.ranks.get(unit)?;
        self.line.get(rank).map(|entry| entry.generation)
    }

    /// What the approved head of a unit in line stands on.
    pub fn base_of(&self, unit: &UnitId) -> Option<&Oid> {
        self.entry_of(unit).map(|entry| &entry.base)
    }

    fn view(&self, rank: &Rank, position: usize) -> EntryView {
        let entry = &self.line[rank];
        let built = self.candidate_of(&rank.unit);
        let member = built.and_then(|built| built.candidate.units.iter().find(|m| m.unit == rank.unit));
        EntryView {
            unit: rank.unit.clone(),
            position,
            status: self.status(rank, entry, built),
            generation: entry.generation,
            candidate: member.map(|member| member.commit.clone()),
            chain_place: self.chain.iter().position(|built| built.holds(&rank.unit)),
            charged: self.charged(&rank.unit),
        }
    }

    fn status(&self, rank: &Rank, entry: &Entry, built: Option<&Built>) -> Status {
        let lands = |pending: &&PendingLanding| pending.verified.units().iter().any(|m| m.unit == rank.unit);
        if let Some(pending) = self.pending.as_ref().filter(lands) {
            return Status::Landing {
                from: pending.verified.from().clone(),
                to: pending.verified.to().clone(),
            };
        }
        if let Some(hold) = entry.hold.as_ref().or(entry.refused.as_ref()) {
            return Status::Held(hold.clone());
        }
        if let Some((_, check)) = self.base_red() {
            return Status::Held(Hold::BaseRed {
                check: check.to_owned(),
            });
        }
        if let Some(fence) = built.and_then(|built| self.running(built)) {
            return Status::Verifying { fence };
        }
        if let Some(hold) = self.held_by_person(rank) {
            return Status::Held(hold);
        }
        let Some(built) = built else {
            return self.hold_ahead(rank, entry).map_or(Status::Queued, Status::Held);
        };
        let on_target = self.expected_tip.as_ref().is_some_and(|tip| built.stands_on(tip));
        match self.proof(built) {
            Some(_) => Status::Verified,
            None if built.is_in_doubt() && !on_target => Status::Suspect,
            None => (self.machine.hold()).map_or(Status::Integrated, Status::Held),
        }
    }

    /// Every unit that landed, in the order of landing.
    pub fn landed(&self) -> &[LandedRecord] {
        &self.landed
    }

    /// What the target contains unless landed work is gone: the last landing, which stands on those before it; before the
    /// first, what earlier runs landed of the units that are `kept`.
    pub fn last_landing_or<'a>(
        &'a self,
        kept: impl Iterator<Item = &'a Oid>,
    ) -> impl Iterator<Item = &'a Oid> {
        let last = self.landed.last().map(|landed| &landed.to);
        last.into_iter().chain(kept.take_while(move |_| last.is_none()))
    }

    /// Every unit that has a candidate that counts, with the commit it became.
    pub fn candidate_commits(&self) -> impl Iterator<Item = (UnitId, Oid)> {
        let members = self.chain.iter().flat_map(|built| &built.candidate.units);
        members.map(|member| (member.unit.clone(), member.commit.clone()))
    }

    /// The units of the candidate that counts and is that commit.
    pub fn units_of(&self, commit: &Oid) -> Vec<UnitId> {
        let built = self
            .chain
            .iter()
            .filter(|built| built.candidate.commit == *commit);
        let members = built.flat_map(|built| &built.candidate.units);
        members.map(|member| member.unit.clone()).collect()
    }

    /// Where the queue expects the target; `None` before it first looked.
    pub fn expected_tip(&self) -> Option<&Oid> {
        self.expected_tip.as_ref()
    }

    /// Runs of the checks without an outcome: fence, commit, purpose.
    pub fn in_flight(&self) -> Vec<(u64, Oid, VerifyPurpose)> {
        self.runs
            .iter()
            .map(|(fence, run)| (*fence, run.commit.clone(), run.purpose))
            .collect()
    }

    /// Fences of runs nobody waits for any more: the target moved, the entry left, or one ahead is in doubt. The engine
    /// may break them off; whatever they say is ignored.
    pub fn moot(&self) -> Vec<u64> {
        self.runs
            .iter()
            .filter(|(_, run)| match run.purpose {
                VerifyPurpose::Candidate => self.chain.iter().all(|built| built.number != run.candidate),
                VerifyPurpose::Base => self.expected_tip.as_ref() != Some(&run.commit),
            })
            .map(|(fence, _)| *fence)
            .collect()
    }

    /// A landing that was intended and has no outcome yet; see [`super::recover_landing`].
    pub fn pending_landing(&self) -> Option<&PendingLanding> {
        self.pending.as_ref()
    }

    /// A landing whose checkout is not known to have followed. Nothing lands before it has.
    pub fn unfollowed(&self) -> Option<&Unfollowed> {
        self.unfollowed.as_ref()
    }

    /// Why the queue stopped and does nothing more.
    pub fn safety_stop(&self) -> Option<(Reason, &str)> {
        self.stop
            .as_ref()
            .map(|(reason, sentence)| (*reason, sentence.as_str()))
    }

    /// The tip that fails its checks, and the check, while that is so.
    pub fn base_red(&self) -> Option<(&Oid, &str)> {
        self.base_red
            .as_ref()
            .filter(|(commit, _)| self.expected_tip.as_ref() == Some(commit))
            .map(|(commit, check)| (commit, check.as_str()))
    }

    /// Nothing is in line, running, being landed or to be followed.
    pub fn is_idle(&self) -> bool {
        self.line.is_empty() && self.pending.is_none() && self.unfollowed.is_none() && self.runs.is_empty()
    }

    /// Only a person can bring the queue on: the target is red, its checkout is dirty where a landing would write, or a
    /// person holds everything that is in line.
    pub fn waits_for_person(&self) -> bool {
        let dirty = self.chain.first().is_some_and(|first| self.is_held(first));
        let held = dirty || self.base_red().is_some() || self.is_held_by_person();
        !self.line.is_empty() && self.pending.is_none() && held
    }

    /// Whether the repository does not let the target move: nothing of ours can bring the queue on.
    pub fn is_rejected(&self) -> bool {
        matches!(self.held_landing(), Some((_, Hold::PushRejected { .. })))
    }

    /// The candidate that would land next and is held, and why.
    pub fn held_landing(&self) -> Option<(&Candidate, &Hold)> {
        let candidate = &self.chain.first()?.candidate;
        let mut entries = candidate
            .units
            .iter()
            .filter_map(|member| self.entry_of(&member.unit));
        Some((candidate, entries.find_map(|entry| entry.hold.as_ref())?))
    }

    /// The event that lifts a stop for `target_rewritten` once the target has been restored. The engine asks on
    /// restart; within a run a stop stays. A queue that stopped before it ever found the target takes it as it is.
    pub fn resume_after_stop(&self, facts: &Facts<'_>) -> Option<QueueEvent> {
        let (Some((Reason::TargetRewritten, _)), Tip::At { commit, .. }) = (&self.stop, &facts.tip) else {
            return None;
        };
        facts.tip_continues.then(|| QueueEvent::TargetMoved {
            from: self.expected_tip.as_ref().unwrap_or(commit).clone(),
            to: commit.clone(),
        })
    }

    pub(super) fn charged(&self, unit: &UnitId) -> u32 {
        self.known.get(unit).map_or(0, |known| known.charged)
    }

    pub(super) fn entry_of(&self, unit: &UnitId) -> Option<&Entry> {
        self.line.get(self.ranks.get(unit)?)
    }

    pub(super) fn entry_of_mut(&mut self, unit: &UnitId) -> Option<&mut Entry> {
        self.line.get_mut(self.ranks.get(unit)?)
    }

    /// Whether a landing of this candidate waits for a person.
    pub(super) fn is_held(&self, built: &Built) -> bool {
        let mut entries = built
            .candidate
            .units
            .iter()
            .filter_map(|member| self.entry_of(&member.unit));
        entries.any(|entry| entry.hold.is_some() || entry.refused.is_some())
    }

    /// The run of a candidate that has no outcome yet.
    pub(super) fn running(&self, built: &Built) -> Option<u64> {
        let is_its = |run: &Run| run.purpose == VerifyPurpose::Candidate && run.candidate == built.number;
        self.runs
            .iter()
            .find(|(_, run)| is_its(run))
            .map(|(fence, _)| *fence)
    }

    /// Whether the checks run on the target's tip itself.
    pub(super) fn is_running_on(&self, tip: &Oid) -> bool {
        self.runs
            .values()
            .any(|run| run.purpose == VerifyPurpose::Base && run.commit == *tip)
    }

    pub(super) fn proof(&self, built: &Built) -> Option<VerifiedCandidate> {
        VerifiedCandidate::prove(&built.candidate, &built.trials, self.settings.waived)
    }

    /// A check that failed and then passed on the candidate, and is not recorded as a flake yet.
    pub(super) fn flake_of(built: &Built) -> Option<(&UnitId, &str)> {
        let Standing::Proven(_) = standing(&built.trials) else {
            return None;
        };
        let unit = &built.candidate.units.first()?.unit;
        built
            .trials
            .iter()
            .filter(|trial| trial.verdict.is_failure())
            .filter_map(|trial| Some((unit, trial.evidence.first_failure()?.name.as_str())))
            .find(|(_, check)| !built.flakes.contains(*check))
    }
}
