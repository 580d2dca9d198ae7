//! The part of the fold that concerns the merge queue.

use std::cmp::Reverse;

use super::{QueuePlace, QueueState, UnitState, View};
use crate::event::{Candidate, EntryEnd, Hold, LandRefusal, LandedUnit, QueueEvent, Record, VerifyPurpose};
use crate::id::{Oid, UnitId};

/// The order of the queue: what is under way, then priority, age of the unit, and place in the file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Rank {
    waits: bool,
    priority: Reverse<i64>,
    joined: jiff::Timestamp,
    place: u32,
    pub(super) unit: usize,
}

impl View {
    pub(super) fn apply_queue(&mut self, record: &Record, event: &QueueEvent) {
        match event {
            QueueEvent::Enqueued { .. } => self.enqueued(record, event),
            QueueEvent::CandidateBuilt { candidate } => self.candidate_built(candidate),
            QueueEvent::IntegrationFailed { unit, .. } => self.without_candidate(unit),
            QueueEvent::VerifyStarted {
                commit,
                purpose,
                fence,
            } => {
                if *purpose == VerifyPurpose::Candidate {
                    self.verifying.insert(*fence, commit.clone());
                    self.move_candidate(commit, QueueState::Verifying);
                }
            }
            QueueEvent::VerifyEnded { fence, evidence, .. } => {
                if let Some(commit) = self.verifying.remove(fence) {
                    for place in self.candidates.get(&commit).cloned().unwrap_or_default() {
                        self.units[place].take_checks(evidence, "candidate");
                    }
                    let passed = evidence.passed();
                    let state = if passed {
                        QueueState::Verified
                    } else {
                        QueueState::Integrated
                    };
                    self.move_candidate(&commit, state);
                }
            }
            QueueEvent::LandIntended { commit, checkout, .. } => {
                self.landing = Some(checkout.is_some());
                self.move_candidate(commit, QueueState::Landing);
            }
            QueueEvent::Landed { to, units, .. } => self.landed(record, to, units),
            QueueEvent::CheckoutFollowed { .. } => self.landing = None,
            QueueEvent::LandRefused { commit, cause } => {
                self.landing = None;
                match cause {
                    LandRefusal::BaseMoved { tip } => {
                        self.run.head = Some(tip.clone());
                        self.drop_candidates();
                    }
                    LandRefusal::TargetDirty { .. } => self.move_candidate(commit, QueueState::Verified),
                }
            }
            QueueEvent::EntryHeld { unit, hold } => self.held(unit, hold),
            QueueEvent::EntryReleased { unit } => self.released(unit),
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
                    self.leave_line(place);
                    self.units[place].take_checks(evidence, "candidate");
                    self.set_state(place, UnitState::Working);
                }
            }
            QueueEvent::EntryLeft { unit, end } => self.left(record, unit, end),
            QueueEvent::TargetMoved { to, .. } => {
                self.run.head = Some(to.clone());
                self.drop_candidates();
            }
            QueueEvent::BaseRed { check, .. } => {
                self.run.trouble = Some(format!("the check `{check}` fails on the target itself"));
            }
            QueueEvent::SafetyStop { sentence, .. } => self.run.trouble = Some(sentence.clone()),
        }
    }

    fn enqueued(&mut self, record: &Record, event: &QueueEvent) {
        let QueueEvent::Enqueued {
            unit,
            generation,
            head,
            base,
            priority,
            place: file_place,
        } = event
        else {
            return;
        };
        let Some(place) = self.index.get(unit).copied() else {
            return;
        };
        self.leave_line(place);
        self.clear_reason(place);
        let joined = *self.joined.entry(place).or_insert(record.at);
        self.units[place].head = Some(head.commit.clone());
        self.units[place].base = Some(base.clone());
        self.units[place].queue = Some(QueuePlace {
            state: QueueState::Queued,
            generation: *generation,
            candidate: None,
            held: None,
        });
        self.line.insert(Rank {
            waits: true,
            priority: Reverse(*priority),
            joined,
            place: *file_place,
            unit: place,
        });
        self.ranks.insert(place, (*priority, *file_place));
        self.set_state(place, UnitState::Queued);
    }

    /// Takes a unit out of the queue, with the candidate it was in.
    pub(super) fn leave_line(&mut self, place: usize) {
        let waits = self.units[place].queue.as_ref().map(waits);
        if let (Some(waits), Some(rank)) = (waits, self.rank(place)) {
            self.line.remove(&Rank { waits, ..rank });
        }
        if let Some(commit) = self.units[place].queue.take().and_then(|entry| entry.candidate) {
            self.candidates.remove(&commit);
        }
        self.ranks.remove(&place);
    }

    fn rank(&self, place: usize) -> Option<Rank> {
        let (priority, file_place) = *self.ranks.get(&place)?;
        Some(Rank {
            waits: true,
            priority: Reverse(priority),
            joined: *self.joined.get(&place)?,
            place: file_place,
            unit: place,
        })
    }

    /// Changes an entry and keeps the line in order.
    fn change_entry(&mut self, place: usize, change: impl FnOnce(&mut QueuePlace)) {
        let rank = self.rank(place);
        let (Some(entry), Some(rank)) = (self.units[place].queue.as_mut(), rank) else {
            return;
        };
        let before = waits(entry);
        change(entry);
        let after = waits(entry);
        if before != after {
            self.line.remove(&Rank {
                waits: before,
                ..rank.clone()
            });
            self.line.insert(Rank { waits: after, ..rank });
        }
    }

    fn candidate_built(&mut self, candidate: &Candidate) {
        let mut places = Vec::new();
        for part in &candidate.units {
            if let Some(place) = self.index.get(&part.unit).copied() {
                places.push(place);
                self.change_entry(place, |entry| {
                    entry.candidate = Some(part.commit.clone());
                    entry.state = QueueState::Integrated;
                });
            }
        }
        self.candidates.insert(candidate.commit.clone(), places);
    }

    fn move_candidate(&mut self, commit: &Oid, state: QueueState) {
        for place in self.candidates.get(commit).cloned().unwrap_or_default() {
            self.change_entry(place, |entry| entry.state = state);
        }
    }

    /// The target moved: what was built on its old tip counts no longer. The candidates are few, as many as the
    /// queue's window.
    fn drop_candidates(&mut self) {
        for (_, places) in std::mem::take(&mut self.candidates) {
            for place in places {
                self.change_entry(place, |entry| {
                    entry.candidate = None;
                    entry.state = QueueState::Queued;
                    entry.held = None;
                });
            }
        }
        self.verifying.clear();
    }

    fn without_candidate(&mut self, unit: &UnitId) {
        if let Some(place) = self.index.get(unit).copied() {
            self.change_entry(place, |entry| {
                entry.candidate = None;
                entry.state = QueueState::Queued;
            });
        }
    }

    fn landed(&mut self, record: &Record, to: &Oid, units: &[LandedUnit]) {
        self.run.head = Some(to.clone());
        self.run.trouble = None;
        self.landing = self.landing.filter(|follows| *follows);
        self.candidates.remove(to);
        for landed in units {
            if let Some(place) = self.index.get(&landed.unit).copied() {
                self.leave_line(place);
                self.clear_reason(place);
                self.units[place].landed_as = Some(landed.commit.clone());
                self.end(record, place, UnitState::Landed);
            }
        }
    }

    fn held(&mut self, unit: &UnitId, hold: &Hold) {
        let text = hold_sentence(hold);
        if let Some(place) = self.index.get(unit).copied() {
            self.change_entry(place, |entry| {
                entry.state = QueueState::Held;
                entry.held = Some(text);
            });
        }
    }

    fn released(&mut self, unit: &UnitId) {
        if let Some(place) = self.index.get(unit).copied() {
            self.change_entry(place, |entry| {
                entry.held = None;
                entry.state = match entry.candidate {
                    Some(_) => QueueState::Integrated,
                    None => QueueState::Queued,
                };
            });
        }
    }

    fn left(&mut self, record: &Record, unit: &UnitId, end: &EntryEnd) {
        let Some(place) = self.index.get(unit).copied() else {
            return;
        };
        self.leave_line(place);
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
                    self.end(record, place, UnitState::Cancelled);
                }
            }
        }
    }
}

/// What an entry waits for, as a sentence.
pub fn hold_sentence(hold: &Hold) -> String {
    match hold {
        Hold::TargetDirty { checkout, paths } => {
            format!(
                "uncommitted work in {checkout} is in the way: {}; commit it, or put it aside with `git stash push -u`",
                paths.join(", ")
            )
        }
        Hold::BaseRed { check } => format!("the check `{check}` fails on the target itself"),
    }
}

/// Whether an entry has yet to be put onto the target's tip; what has been stays in front.
fn waits(entry: &QueuePlace) -> bool {
    entry.candidate.is_none()
}
