//! Whose failure it is.
//!
//! Asked only of a candidate that stands on the target itself. A charge needs that the same candidate failed twice, and
//! that its base was shown not to fail a check that used to pass there. A batch is never charged, nor is anybody for what
//! the machine could not do with several: it is split, until the failure is one unit's own.

use crate::event::{EntryEnd, QueueEvent, Reason};
use crate::id::UnitId;

use super::decide::{Effect, Facts, Turn, record};
use super::state::{Built, State};
use super::verdict::{Standing, Trial, Verdict};
use super::{CHARGE_FAILURE, CHARGE_INFRASTRUCTURE};

/// Runs in a row that the machine could not carry out for a batch, until it is split.
pub(super) const UNABLE_MAX: usize = 3;

impl State {
    /// The candidate on the target has not passed: what follows.
    pub(super) fn conclude(
        &self,
        facts: &Facts<'_>,
        turn: Turn<'_>,
        built: &Built,
        standing: Standing<'_>,
    ) -> Vec<Effect> {
        let unit = first_of(built);
        let is_batch = built.candidate.units.len() > 1;
        match standing {
            Standing::FailedTwice(trial) if trial.charged => self.put_down(unit, trial),
            _ if self.is_exhausted(turn, built) => self.exhausted(unit),
            // `proof` has said no to a pass: it is about another tree, and `apply` lets none of that in.
            Standing::Proven(_) | Standing::Open { .. } => Vec::new(),
            Standing::InfrastructureUncharged { times, .. } if is_batch && times >= UNABLE_MAX => {
                split(built)
            }
            Standing::InfrastructureUncharged { fresh, .. } if is_batch => {
                self.verify_candidate(facts, turn, built, fresh)
            }
            Standing::InfrastructureUncharged { .. } => record(infrastructure_charge(unit)),
            Standing::NoGate(_) if is_batch => split(built),
            Standing::NoGate(trial) => record(no_gate(unit, trial)),
            Standing::FailedTwice(trial) => self.blame(facts, turn, built, trial),
        }
    }

    /// Whether the first unit's budget is spent, so that no further run is begun for it on the target.
    pub(super) fn is_exhausted(&self, turn: Turn<'_>, built: &Built) -> bool {
        built.stands_on(turn.tip) && self.charged(first_of(built)) >= self.settings.evict_at
    }

    /// The candidate failed twice. Whose failure is it?
    fn blame(&self, facts: &Facts<'_>, turn: Turn<'_>, built: &Built, trial: &Trial) -> Vec<Effect> {
        let green_before = trial
            .evidence
            .first_failure()
            .is_some_and(|failure| (facts.known_green)(&failure.name));
        // The target never passed this check, or it is a unit's own: the base cannot be at fault.
        if !green_before {
            return self.own_failure(built, trial);
        }
        let known = self.base.as_ref().filter(|base| base.commit == *turn.tip);
        let Some(base_trial) = known.and_then(|base| base.trial.as_ref()) else {
            return self.verify_base(facts, turn, known.map_or(0, |base| base.runs));
        };
        match base_trial.verdict {
            Verdict::Infrastructure if base_trial.charged => {
                self.verify_base(facts, turn, known.map_or(0, |base| base.runs))
            }
            Verdict::Infrastructure if built.candidate.units.len() > 1 => split(built),
            Verdict::Infrastructure => record(infrastructure_charge(first_of(built))),
            Verdict::Failed | Verdict::TimedOut => match base_trial.evidence.first_failure() {
                Some(failure) if (facts.known_green)(&failure.name) => record(QueueEvent::BaseRed {
                    commit: turn.tip.clone(),
                    check: failure.name.clone(),
                }),
                Some(_) | None => self.own_failure(built, trial),
            },
            // The base does not fail what used to pass on it, so the candidate does. A base that was not checked is
            // taken in as the machine's fault.
            Verdict::Passed | Verdict::Empty | Verdict::Skipped | Verdict::Interrupted => {
                self.own_failure(built, trial)
            }
        }
    }

    /// The failure is the candidate's own: several units are told apart, one is put down.
    fn own_failure(&self, built: &Built, trial: &Trial) -> Vec<Effect> {
        if built.candidate.units.len() > 1 {
            split(built)
        } else {
            self.put_down(first_of(built), trial)
        }
    }

    /// The failure is the unit's own: it is charged, and then goes back to a fix stage or is evicted.
    fn put_down(&self, unit: &UnitId, trial: &Trial) -> Vec<Effect> {
        let reason = self.failure_reason(unit, trial.verdict);
        if !trial.charged {
            return record(QueueEvent::EntryCharged {
                unit: unit.clone(),
                charge: CHARGE_FAILURE,
                reason,
            });
        }
        let charged = self.charged(unit);
        if charged < self.settings.evict_at {
            return record(QueueEvent::SentBack {
                unit: unit.clone(),
                reason,
                evidence: trial.evidence.clone(),
            });
        }
        let check = trial
            .evidence
            .first_failure()
            .map_or("", |failure| failure.name.as_str());
        record(evicted(
            unit,
            reason,
            format!(
                "The check `{check}` fails on the work put onto the target, twice in a row, and the target is not at \
                 fault; the unit is charged {charged} of {}.",
                self.settings.evict_at
            ),
        ))
    }

    fn failure_reason(&self, unit: &UnitId, verdict: Verdict) -> Reason {
        let was_split = self.entry_of(unit).is_some_and(|entry| entry.part.is_some());
        match verdict {
            Verdict::TimedOut => Reason::VerifyTimeout,
            _ if was_split => Reason::DroppedByBisection,
            Verdict::Failed
            | Verdict::Passed
            | Verdict::Infrastructure
            | Verdict::Interrupted
            | Verdict::Empty
            | Verdict::Skipped => Reason::VerifyFailed,
        }
    }

    /// The machine's own faults are cheap, but bounded.
    fn exhausted(&self, unit: &UnitId) -> Vec<Effect> {
        record(evicted(
            unit,
            Reason::InfraExhausted,
            format!(
                "The machine could not carry out the verification too many times; the unit is charged {} of {}.",
                self.charged(unit),
                self.settings.evict_at
            ),
        ))
    }
}

/// The unit whose turn it is.
fn first_of(built: &Built) -> &UnitId {
    &built
        .candidate
        .units
        .first()
        .expect("a candidate has a unit")
        .unit
}

fn split(built: &Built) -> Vec<Effect> {
    let units = built.candidate.units.iter().map(|member| member.unit.clone());
    record(QueueEvent::BatchSplit {
        commit: built.candidate.commit.clone(),
        units: units.collect(),
    })
}

fn evicted(unit: &UnitId, reason: Reason, sentence: String) -> QueueEvent {
    QueueEvent::EntryLeft {
        unit: unit.clone(),
        end: EntryEnd::Evicted {
            reason,
            sentence,
            conflicts: Vec::new(),
        },
    }
}

fn infrastructure_charge(unit: &UnitId) -> QueueEvent {
    QueueEvent::EntryCharged {
        unit: unit.clone(),
        charge: CHARGE_INFRASTRUCTURE,
        reason: Reason::InfraExhausted,
    }
}

fn no_gate(unit: &UnitId, trial: &Trial) -> QueueEvent {
    let reason = match trial.verdict {
        Verdict::Skipped => Reason::GateSkipped,
        Verdict::Empty
        | Verdict::Passed
        | Verdict::Failed
        | Verdict::TimedOut
        | Verdict::Infrastructure
        | Verdict::Interrupted => Reason::GateEmpty,
    };
    evicted(unit, reason, reason.sentence().to_owned())
}
