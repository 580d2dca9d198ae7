//! The part of the fold that concerns the merge queue.

use std::cmp::Reverse;

use super::{QueuePlace, QueueState, UnitState, View};
use crate::event::{
    Candidate, CandidateUnit, CheckOutcome, EntryEnd, Evidence, Hold, LandRefusal, LandedUnit, Obstacle,
    QueueEvent, Record, VerifyPurpose,
};
use crate::id::{Oid, UnitId};

/// The order of the queue: candidates as they were built, then priority, age of the unit, and place in the file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Rank {
    /// Which candidate it is in; [`WAITS`] while it is in none.
    turn: u64,
    priority: Reverse<i64>,
    joined: jiff::Timestamp,
    place: u32,
    pub(super) unit: usize,
}

const WAITS: u64 = u64::MAX;

/// A candidate that counts: its base is the target's tip, or the last candidate before it that is not in doubt.
#[derive(Debug, Clone)]
pub(super) struct Link {
    base: Oid,
    commit: Oid,
    units: Vec<usize>,
    /// It failed and has not passed since.
    in_doubt: bool,
}

/// What a unit met where it was to be put.
#[derive(Debug, Clone)]
pub(super) struct Obstruction {
    base: Oid,
    /// Units of the same candidate that were put onto the base before it.
    ahead: Vec<usize>,
    sentence: String,
}

impl View {
    pub(super) fn apply_queue(&mut self, record: &Record, event: &QueueEvent) {
        match event {
            QueueEvent::Enqueued { .. } => self.enqueued(record, event),
            QueueEvent::CandidateBuilt { candidate } => self.candidate_built(candidate),
            QueueEvent::IntegrationFailed {
                unit,
                base,
                ahead,
                obstacle,
                ..
            } => self.obstructed(unit, base, ahead, obstacle),
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
                    self.verified(&commit, evidence);
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
                        self.review_chain();
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
            QueueEvent::BatchSplit { commit, .. } => {
                self.chain_without(|link| link.commit == *commit);
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
                self.review_chain();
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
        let rank = Rank {
            turn: WAITS,
            priority: Reverse(*priority),
            joined,
            place: *file_place,
            unit: place,
        };
        self.line.insert(rank.clone());
        self.ranks.insert(place, rank);
        self.set_state(place, UnitState::Queued);
    }

    /// Takes a unit out of the queue, with the candidate it was in.
    pub(super) fn leave_line(&mut self, place: usize) {
        self.units[place].queue = None;
        if let Some(rank) = self.ranks.remove(&place) {
            self.line.remove(&rank);
        }
        self.obstructions.remove(&place);
        self.chain_without(|link| link.units.contains(&place));
    }

    fn change_entry(&mut self, place: usize, change: impl FnOnce(&mut QueuePlace)) {
        if let Some(entry) = self.units[place].queue.as_mut() {
            change(entry);
        }
    }

    /// Gives an entry its place among those that have a candidate, or takes it away.
    fn set_turn(&mut self, place: usize, turn: u64) {
        if let Some(rank) = self.ranks.get_mut(&place) {
            self.line.remove(rank);
            rank.turn = turn;
            self.line.insert(rank.clone());
        }
    }

    fn candidate_built(&mut self, candidate: &Candidate) {
        let places = |part: &CandidateUnit| Some((self.index.get(&part.unit).copied()?, part.commit.clone()));
        let members: Vec<(usize, Oid)> = candidate.units.iter().filter_map(places).collect();
        if self.chain.is_empty() {
            self.run.head = Some(candidate.base.clone());
        }
        self.built += 1;
        for (place, commit) in &members {
            self.set_turn(*place, self.built);
            self.change_entry(*place, |entry| {
                entry.candidate = Some(commit.clone());
                entry.state = QueueState::Integrated;
                entry.held = None;
            });
        }
        self.chain.push(Link {
            base: candidate.base.clone(),
            commit: candidate.commit.clone(),
            units: members.into_iter().map(|(place, _)| place).collect(),
            in_doubt: false,
        });
    }

    fn units_of(&self, commit: &Oid) -> Vec<usize> {
        let link = self.chain.iter().find(|link| link.commit == *commit);
        link.map_or_else(Vec::new, |link| link.units.clone())
    }

    fn move_candidate(&mut self, commit: &Oid, state: QueueState) {
        for place in self.units_of(commit) {
            self.change_entry(place, |entry| entry.state = state);
        }
    }

    fn verified(&mut self, commit: &Oid, evidence: &Evidence) {
        for place in self.units_of(commit) {
            self.units[place].take_checks(evidence, "candidate");
        }
        let fails = evidence.first_failure().is_none_or(|row| match row.outcome {
            CheckOutcome::Failed | CheckOutcome::TimedOut | CheckOutcome::Skipped => true,
            CheckOutcome::Passed | CheckOutcome::Infrastructure | CheckOutcome::Interrupted => false,
        });
        let passed = evidence.passed();
        let Some(link) = self.chain.iter_mut().find(|link| link.commit == *commit) else {
            return;
        };
        link.in_doubt = !passed && (link.in_doubt || fails);
        let on_target = self.run.head.as_ref() == Some(&link.base);
        let state = match (passed, link.in_doubt && !on_target) {
            (true, _) => QueueState::Verified,
            (false, true) => QueueState::Suspect,
            (false, false) => QueueState::Integrated,
        };
        self.move_candidate(commit, state);
        self.review_chain();
    }

    fn chain_without(&mut self, gone: impl Fn(&Link) -> bool) {
        let (out, kept) = std::mem::take(&mut self.chain).into_iter().partition(gone);
        self.chain = kept;
        self.drop_links(out);
        self.review_chain();
    }

    /// What does not count any more is dropped, and what follows from that is shown. The candidates are few, as many as
    /// the queue's window.
    fn review_chain(&mut self) {
        let mut onto = self.run.head.clone();
        let mut dropped = Vec::new();
        let mut ended = false;
        for link in std::mem::take(&mut self.chain) {
            if ended || Some(&link.base) != onto.as_ref() {
                dropped.push(link);
                continue;
            }
            if !link.in_doubt {
                onto = Some(link.commit.clone());
            }
            // Behind a batch in doubt nothing counts until it has passed or is taken apart.
            ended = link.in_doubt && link.units.len() > 1;
            self.chain.push(link);
        }
        self.drop_links(dropped);
        let on_target = self
            .chain
            .iter()
            .filter(|link| self.run.head.as_ref() == Some(&link.base));
        for place in on_target.flat_map(|link| link.units.clone()).collect::<Vec<_>>() {
            self.change_entry(place, |entry| {
                if entry.state == QueueState::Suspect {
                    entry.state = QueueState::Integrated;
                }
            });
        }
        self.review_obstructions();
    }

    fn drop_links(&mut self, links: Vec<Link>) {
        for place in links.into_iter().flat_map(|link| link.units) {
            self.set_turn(place, WAITS);
            self.change_entry(place, |entry| {
                entry.candidate = None;
                entry.state = QueueState::Queued;
                entry.held = None;
            });
        }
    }

    fn obstructed(&mut self, unit: &UnitId, base: &Oid, ahead: &[UnitId], obstacle: &Obstacle) {
        let Some(place) = self.index.get(unit).copied() else {
            return;
        };
        let sentence = obstruction_sentence(obstacle);
        let ahead = ahead.iter().filter_map(|unit| self.index.get(unit).copied());
        let met = Obstruction {
            base: base.clone(),
            ahead: ahead.collect(),
            sentence,
        };
        self.obstructions.insert(place, met);
        self.review_obstructions();
    }

    /// Who cannot be put onto units ahead waits while they are ahead.
    fn review_obstructions(&mut self) {
        let sound = |commit: &Oid| {
            self.chain
                .iter()
                .any(|link| link.commit == *commit && !link.in_doubt)
        };
        let ahead = |place: &usize| {
            let in_doubt = self
                .chain
                .iter()
                .any(|link| link.in_doubt && link.units.contains(place));
            self.units[*place].queue.is_some() && !in_doubt
        };
        let waits = |met: &Obstruction| {
            let stands = if self.run.head.as_ref() == Some(&met.base) {
                !met.ahead.is_empty()
            } else {
                sound(&met.base)
            };
            stands && met.ahead.iter().all(ahead)
        };
        let now: Vec<(usize, Option<String>)> = self
            .obstructions
            .iter()
            .map(|(place, met)| (*place, waits(met).then(|| met.sentence.clone())))
            .collect();
        for (place, held) in now {
            self.change_entry(place, |entry| {
                if entry.candidate.is_none() {
                    entry.state = if held.is_some() {
                        QueueState::Held
                    } else {
                        QueueState::Queued
                    };
                    entry.held = held;
                }
            });
        }
    }

    fn landed(&mut self, record: &Record, to: &Oid, units: &[LandedUnit]) {
        self.run.head = Some(to.clone());
        self.run.trouble = None;
        self.landing = self.landing.filter(|follows| *follows);
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
        Hold::ConflictAhead { units, paths } => ahead_sentence(units, paths),
    }
}

fn obstruction_sentence(obstacle: &Obstacle) -> String {
    let conflicts = obstacle.conflicts();
    let mut units: Vec<UnitId> = conflicts.iter().filter_map(|at| at.landed_by.clone()).collect();
    let paths: Vec<String> = conflicts.iter().map(|at| at.path.clone()).collect();
    units.sort_unstable();
    units.dedup();
    ahead_sentence(&units, &paths)
}

fn ahead_sentence(units: &[UnitId], paths: &[String]) -> String {
    let whom = if units.is_empty() {
        "work ahead in the queue".to_owned()
    } else {
        let names: Vec<String> = units.iter().map(|unit| format!("`{unit}`")).collect();
        format!("{}, ahead in the queue", names.join(", "))
    };
    if paths.is_empty() {
        format!("it cannot be put onto {whom}")
    } else {
        format!("it conflicts with {whom}, in {}", paths.join(", "))
    }
}
