//! The part of the fold that concerns the merge queue.
//!
//! Where an entry stands is asked of the queue's own machine. What is folded here is what the queue's events say about
//! units: that they joined, what their checks said, how they left.

use super::{RunState, UnitState, View};
use crate::event::{EntryEnd, Head, Hold, LandedUnit, QueueEvent, Reason, Record};
use crate::id::{Oid, UnitId};

impl View {
    /// An event that the queue refuses is not possible, and nothing of it is shown: the engine and `doctor` say what is
    /// wrong with such a journal.
    pub(super) fn apply_queue(&mut self, record: &Record, event: &QueueEvent) {
        let verified = match event {
            QueueEvent::VerifyEnded { fence, .. } => self.queue.units_of_run(*fence),
            _ => Vec::new(),
        };
        if self.queue.apply(event).is_err() {
            return;
        }
        self.queue.keep_time(record);
        self.news_of_queue(record, event, &verified);
        if let Some(tip) = self.queue.expected_tip() {
            self.run.head = Some(tip.clone());
        }
        let ends_stall = matches!(event, QueueEvent::Landed { .. });
        if ends_stall || self.queue.is_empty() || self.queue.is_held_by_person() {
            self.run.stalled_since = None;
        }
        if let QueueEvent::QueueStalled { since } = event {
            self.run.stalled_since = Some(*since);
        }
        self.run.trouble = self.trouble_of_queue();
    }

    /// Why the queue as a whole waits or stopped.
    pub(super) fn trouble_of_queue(&self) -> Option<String> {
        let red = || {
            let (_, check) = self.queue.base_red()?;
            let check = check.to_owned();
            Some(Hold::BaseRed { check }.sentence())
        };
        let stopped = self.queue.safety_stop().map(|(_, sentence)| sentence.to_owned());
        let backs_off = || self.queue.backs_off().map(|hold| hold.sentence());
        stopped.or_else(red).or_else(backs_off)
    }

    /// What an event of the queue says about units; `verified` are those that a run of the checks was about.
    fn news_of_queue(&mut self, record: &Record, event: &QueueEvent, verified: &[UnitId]) {
        match event {
            QueueEvent::Enqueued { unit, head, base, .. } => self.enqueued(unit, head, base),
            QueueEvent::VerifyEnded { evidence, .. } => {
                for place in self.places(verified) {
                    self.units[place].take_checks(evidence, "candidate");
                }
            }
            QueueEvent::Landed { units, .. } => self.landed(record, units),
            QueueEvent::EntryCharged { unit, charge, .. } => {
                if let Some(place) = self.index.get(unit) {
                    let charged = &mut self.units[*place].charged;
                    *charged = charged.saturating_add(*charge);
                }
            }
            QueueEvent::FlakeSeen { unit, check } => {
                if let Some(place) = self.index.get(unit) {
                    self.units[*place].flakes.push(check.clone());
                }
            }
            QueueEvent::SentBack { unit, evidence, .. } => {
                if let Some(place) = self.index.get(unit).copied() {
                    self.units[place].take_checks(evidence, "candidate");
                    self.set_state(place, UnitState::Working);
                }
            }
            QueueEvent::SentToResolve { unit, conflicts, .. } => {
                if let Some(place) = self.index.get(unit).copied() {
                    self.units[place].conflicts.clone_from(conflicts);
                    self.set_state(place, UnitState::Working);
                }
            }
            QueueEvent::EntryLeft { unit, end } => self.left(record, unit, end),
            QueueEvent::QueuePaused | QueueEvent::QueueResumed => {
                if self.run.state != RunState::Running {
                    self.run.state = self.state_at_rest();
                }
            }
            QueueEvent::CandidateBuilt { .. }
            | QueueEvent::IntegrationFailed { .. }
            | QueueEvent::VerifyStarted { .. }
            | QueueEvent::LandIntended { .. }
            | QueueEvent::CheckoutFollowed { .. }
            | QueueEvent::LandRefused { .. }
            | QueueEvent::EntryHeld { .. }
            | QueueEvent::EntryReleased { .. }
            | QueueEvent::BatchSplit { .. }
            | QueueEvent::StepPanicked { .. }
            | QueueEvent::TargetMoved { .. }
            | QueueEvent::BaseRed { .. }
            | QueueEvent::QueueFrozen { .. }
            | QueueEvent::QueueThawed
            | QueueEvent::EntryRaised { .. }
            | QueueEvent::QueueStalled { .. }
            | QueueEvent::SafetyStop { .. } => {}
        }
    }

    fn places(&self, units: &[UnitId]) -> Vec<usize> {
        units
            .iter()
            .filter_map(|unit| self.index.get(unit).copied())
            .collect()
    }

    fn enqueued(&mut self, unit: &UnitId, head: &Head, base: &Oid) {
        let Some(place) = self.index.get(unit).copied() else {
            return;
        };
        self.clear_reason(place);
        self.units[place].set_head(head);
        self.units[place].base = Some(base.clone());
        self.set_state(place, UnitState::Queued);
    }

    fn landed(&mut self, record: &Record, units: &[LandedUnit]) {
        for landed in units {
            if let Some(place) = self.index.get(&landed.unit).copied() {
                self.clear_reason(place);
                self.units[place].landed_as = Some(landed.commit.clone());
                self.end(record, place, UnitState::Landed);
            }
        }
    }

    fn left(&mut self, record: &Record, unit: &UnitId, end: &EntryEnd) {
        let Some(place) = self.index.get(unit).copied() else {
            return;
        };
        match end {
            EntryEnd::AlreadyLanded => self.end(record, place, UnitState::Landed),
            EntryEnd::Evicted {
                reason,
                sentence,
                conflicts,
            } => {
                self.units[place].conflicts.clone_from(conflicts);
                self.evict(record, place, *reason, sentence);
            }
            // A unit that a person took back before this is no longer queued and keeps its state.
            EntryEnd::Cancelled => {
                if self.units[place].state == UnitState::Queued {
                    self.evict(record, place, Reason::Cancelled, Reason::Cancelled.sentence());
                }
            }
        }
    }
}
