//! What the queue knows: the fold of its events, and the views derived from it.

use std::collections::{BTreeMap, BTreeSet};

use crate::event::{Candidate, Evidence, Head, Hold, Obstacle, Reason, VerifyPurpose};
use crate::id::{Oid, UnitId};

use super::order::Rank;
use super::proof::{PendingLanding, VerifiedCandidate};
use super::verdict::{Standing, Trial, standing};
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
    /// The candidate built last. It counts while its base is the known tip and its entries are in line.
    pub(super) built: Option<Built>,
    /// Runs without an outcome, by fence.
    pub(super) runs: BTreeMap<u64, Run>,
    /// Fences that had their outcome, so that it counts once.
    pub(super) ended: BTreeSet<u64>,
    /// What the last conclusive run on a target's tip said.
    pub(super) base: Option<BaseKnown>,
    pub(super) base_red: Option<(Oid, String)>,
    pub(super) pending: Option<PendingLanding>,
    pub(super) landed: Vec<LandedRecord>,
    pub(super) unfollowed: Option<Unfollowed>,
    pub(super) stop: Option<(Reason, String)>,
}

/// A unit in line.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Entry {
    pub(super) generation: u32,
    pub(super) head: Head,
    pub(super) base: Oid,
    /// Why it cannot be put onto a base, and onto which.
    pub(super) obstacle: Option<(Oid, Obstacle)>,
    /// A refused landing that is not turned into a hold yet.
    pub(super) refused: Option<Hold>,
    pub(super) hold: Option<Hold>,
}

/// What outlives an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Known {
    pub(super) generation: u32,
    pub(super) age: u64,
    pub(super) charged: u32,
    pub(super) landed: bool,
}

/// The candidate built last, with what is known about it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Built {
    pub(super) candidate: Candidate,
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
    /// Its candidate is built on the known tip.
    Integrated,
    /// The checks run on its candidate.
    Verifying {
        /// The run.
        fence: u64,
    },
    /// Its candidate may land.
    Verified,
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
    /// What it has been charged, over all generations.
    pub charged: u32,
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
            built: None,
            runs: BTreeMap::new(),
            ended: BTreeSet::new(),
            base: None,
            base_red: None,
            pending: None,
            landed: Vec::new(),
            unfollowed: None,
            stop: None,
        }
    }

    /// Every entry in the order in which it is served: the one being served, then by [`Rank`].
    pub fn entries(&self) -> Vec<EntryView> {
        let served = self.served_rank();
        served
            .into_iter()
            .chain(self.line.keys().filter(|rank| Some(*rank) != served))
            .enumerate()
            .map(|(index, rank)| self.view(rank, index + 1))
            .collect()
    }

    /// The entry of a unit, if it is in line.
    pub fn entry(&self, unit: &UnitId) -> Option<EntryView> {
        let rank = self.ranks.get(unit)?;
        let served = self.served_rank();
        let position = if served == Some(rank) {
            1
        } else {
            let ahead = self.line.range(..rank).count();
            let served_from_behind = served.is_some_and(|served| served > rank);
            ahead + 1 + usize::from(served_from_behind)
        };
        Some(self.view(rank, position))
    }

    /// The generation in which a unit is in line, if it is; cheap, unlike [`Self::entry`] with its place.
    pub fn generation_in_line(&self, unit: &UnitId) -> Option<u32> {
        let rank = self.ranks.get(unit)?;
        self.line.get(rank).map(|entry| entry.generation)
    }

    fn view(&self, rank: &Rank, position: usize) -> EntryView {
        let entry = &self.line[rank];
        let current = self.current_of(&rank.unit);
        EntryView {
            unit: rank.unit.clone(),
            position,
            status: self.status(entry, current),
            generation: entry.generation,
            candidate: current.map(|built| built.candidate.commit.clone()),
            charged: self.charged(&rank.unit),
        }
    }

    fn status(&self, entry: &Entry, current: Option<&Built>) -> Status {
        if let (Some(pending), Some(_)) = (&self.pending, current) {
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
        let Some(built) = current else {
            return Status::Queued;
        };
        if let Some(fence) = self.running(&built.candidate.commit, VerifyPurpose::Candidate) {
            return Status::Verifying { fence };
        }
        match self.proof(built) {
            Some(_) => Status::Verified,
            None => Status::Integrated,
        }
    }

    /// Every unit that landed, in the order of landing.
    pub fn landed(&self) -> &[LandedRecord] {
        &self.landed
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

    /// Fences of runs nobody waits for any more, because the target moved or the entry left. The engine may break
    /// them off; whatever they say is ignored.
    pub fn moot(&self) -> Vec<u64> {
        self.runs
            .iter()
            .filter(|(_, run)| match run.purpose {
                VerifyPurpose::Candidate => self
                    .current()
                    .is_none_or(|built| built.candidate.commit != run.commit),
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

    /// Only a person can bring the queue on: the target is red, or its checkout is dirty where a landing would write.
    pub fn waits_for_person(&self) -> bool {
        let dirty = self
            .served()
            .is_some_and(|(_, entry, _)| entry.hold.is_some() || entry.refused.is_some());
        !self.line.is_empty() && self.pending.is_none() && (dirty || self.base_red().is_some())
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

    /// The candidate built last, if it still counts.
    pub(super) fn current(&self) -> Option<&Built> {
        self.built.as_ref().filter(|built| self.counts(built))
    }

    fn current_of(&self, unit: &UnitId) -> Option<&Built> {
        self.current()
            .filter(|built| built.candidate.units.iter().any(|member| member.unit == *unit))
    }

    /// This is where a moved target, a new generation and a departure make a candidate void.
    fn counts(&self, built: &Built) -> bool {
        self.expected_tip.as_ref() == Some(&built.candidate.base)
            && built.candidate.units.iter().all(|member| {
                self.ranks.get(&member.unit).is_some_and(|rank| {
                    let entry = &self.line[rank];
                    entry.generation == member.generation && entry.head.commit == member.head
                })
            })
    }

    pub(super) fn served_rank(&self) -> Option<&Rank> {
        let unit = &self.current()?.candidate.units.first()?.unit;
        self.ranks.get(unit)
    }

    /// The entry being served, with its candidate.
    pub(super) fn served(&self) -> Option<(&Rank, &Entry, &Built)> {
        let rank = self.served_rank()?;
        Some((rank, self.line.get(rank)?, self.current()?))
    }

    pub(super) fn running(&self, commit: &Oid, purpose: VerifyPurpose) -> Option<u64> {
        self.runs
            .iter()
            .find(|(_, run)| run.commit == *commit && run.purpose == purpose)
            .map(|(fence, _)| *fence)
    }

    pub(super) fn proof(&self, built: &Built) -> Option<VerifiedCandidate> {
        VerifiedCandidate::prove(&built.candidate, &built.trials, self.settings.waived)
    }

    /// The evidence that proves a candidate, where checks were run.
    pub(super) fn flake_of(built: &Built) -> Option<(&UnitId, &Evidence, &str)> {
        let Standing::Proven(_) = standing(&built.trials) else {
            return None;
        };
        let unit = &built.candidate.units.first()?.unit;
        built
            .trials
            .iter()
            .filter(|trial| trial.verdict.is_failure())
            .filter_map(|trial| {
                Some((
                    unit,
                    &trial.evidence,
                    trial.evidence.first_failure()?.name.as_str(),
                ))
            })
            .find(|(_, _, check)| !built.flakes.contains(*check))
    }
}
