//! What may happen, and what it changes. Every pair of state and event that is not accepted is refused. What happens to
//! candidates is in `candidates.rs`.

use crate::event::{EntryEnd, Head, Hold, QueueEvent, Reason};
use crate::id::{Oid, UnitId};

use super::order::Rank;
use super::state::{Entry, IllegalTransition, Known, Obstruction, State};
use super::verdict::Verdict;

pub(super) type Applied = Result<(), IllegalTransition>;

impl State {
    /// Takes an event into the state.
    ///
    /// # Errors
    /// The event cannot follow what the queue knows. The state is unchanged then. A repeated `Enqueued`, `Landed` or
    /// `CheckoutFollowed` that says the same as before is no error and changes nothing.
    pub fn apply(&mut self, event: &QueueEvent) -> Applied {
        match event {
            QueueEvent::Enqueued {
                unit,
                generation,
                head,
                base,
                priority,
                place,
            } => self.enqueued(unit, *generation, head, base, (*priority, *place)),
            QueueEvent::CandidateBuilt { candidate } => self.candidate_built(candidate),
            QueueEvent::IntegrationFailed {
                unit,
                generation,
                base,
                ahead,
                obstacle,
            } => {
                let met = Obstruction {
                    base: base.clone(),
                    ahead: ahead.clone(),
                    obstacle: obstacle.clone(),
                };
                self.integration_failed(unit, *generation, met)
            }
            QueueEvent::VerifyStarted {
                commit,
                purpose,
                fence,
            } => self.verify_started(commit, *purpose, *fence),
            QueueEvent::VerifyEnded {
                fence,
                evidence,
                reused,
            } => self.verify_ended(*fence, evidence, *reused),
            QueueEvent::LandIntended {
                commit,
                from,
                tree,
                checkout,
            } => self.land_intended((commit, from, tree), checkout.as_ref()),
            QueueEvent::Landed {
                from,
                to,
                units,
                evidence,
            } => self.land(from, to, units, evidence.as_ref()),
            QueueEvent::CheckoutFollowed { to, .. } => self.checkout_followed(to),
            QueueEvent::LandRefused { commit, cause } => self.land_refused(commit, cause),
            QueueEvent::EntryHeld { unit, hold } => self.entry_held(unit, hold),
            QueueEvent::EntryReleased { unit } => self.entry_released(unit),
            QueueEvent::EntryCharged { unit, charge, reason } => self.entry_charged(unit, *charge, *reason),
            QueueEvent::FlakeSeen { unit, check } => self.flake_seen(unit, check),
            QueueEvent::BatchSplit { commit, .. } => self.batch_split(commit),
            QueueEvent::StepPanicked {
                units,
                commit,
                step,
                message,
            } => self.step_panicked(units, commit.as_ref(), *step, message),
            QueueEvent::SentBack { unit, .. } => self.leave("sent_back", unit, true),
            QueueEvent::SentToResolve { unit, onto, .. } => self.sent_to_resolve(unit, onto),
            QueueEvent::EntryLeft { unit, end } => match end {
                EntryEnd::AlreadyLanded | EntryEnd::Evicted { .. } | EntryEnd::Cancelled => {
                    self.leave("entry_left", unit, false)
                }
            },
            QueueEvent::TargetMoved { from, to } => self.target_moved(from, to),
            QueueEvent::BaseRed { commit, check } => self.base_turned_red(commit, check),
            QueueEvent::QueuePaused => self.pause(true),
            QueueEvent::QueueResumed => self.pause(false),
            QueueEvent::QueueFrozen { below } => self.freeze(Some(*below)),
            QueueEvent::QueueThawed => self.freeze(None),
            QueueEvent::EntryRaised {
                unit,
                priority,
                interrupt,
            } => self.raise(unit, *priority, *interrupt),
            QueueEvent::QueueStalled { .. } if self.is_empty() => {
                Err(illegal("queue_stalled", None, "nobody is in line"))
            }
            // An alarm changes nothing.
            QueueEvent::QueueStalled { .. } => Ok(()),
            QueueEvent::SafetyStop { reason, sentence } => {
                self.stop.get_or_insert_with(|| (*reason, sentence.clone()));
                Ok(())
            }
        }
    }

    fn enqueued(
        &mut self,
        unit: &UnitId,
        generation: u32,
        head: &Head,
        base: &Oid,
        (priority, place): (i64, u32),
    ) -> Applied {
        let refuse = |problem| Err(illegal("enqueued", Some(unit), problem));
        if let Some(rank) = self.ranks.get(unit) {
            let entry = &self.line[rank];
            let same = entry.generation == generation && entry.head == *head;
            return if same {
                Ok(())
            } else {
                refuse("it is in line with another generation or head")
            };
        }
        let known = self.known.get(unit).copied();
        if known.is_some_and(|known| known.landed) {
            return refuse("the unit has landed");
        }
        if known.is_some_and(|known| known.generation >= generation) {
            return refuse("a later generation, or this one, has been in line before");
        }
        let known = Known {
            generation,
            age: known.map_or(self.step, |known| known.age),
            charged: known.map_or(0, |known| known.charged),
            conflicts: known.map_or(0, |known| known.conflicts),
            landed: false,
            raised: known.and_then(|known| known.raised),
        };
        let rank = Rank {
            priority: std::cmp::Reverse(known.raised.unwrap_or(priority)),
            age: known.age,
            place,
            unit: unit.clone(),
        };
        self.known.insert(unit.clone(), known);
        self.insert(
            rank,
            Entry {
                generation,
                head: head.clone(),
                base: base.clone(),
                obstruction: None,
                part: None,
                refused: None,
                hold: None,
                panics: None,
            },
        );
        Ok(())
    }

    fn entry_held(&mut self, unit: &UnitId, hold: &Hold) -> Applied {
        self.require_not_landing("entry_held", unit)?;
        let entry = self.require_entry_mut("entry_held", unit)?;
        entry.hold = Some(hold.clone());
        entry.refused = None;
        Ok(())
    }

    fn entry_released(&mut self, unit: &UnitId) -> Applied {
        self.require_not_landing("entry_released", unit)?;
        let entry = self.require_entry_mut("entry_released", unit)?;
        entry.hold = None;
        entry.refused = None;
        Ok(())
    }

    /// Marks what the charge is for, so that it is not charged again.
    fn entry_charged(&mut self, unit: &UnitId, charge: u32, reason: Reason) -> Applied {
        self.require_entry("entry_charged", unit)?;
        if let Some(known) = self.known.get_mut(unit) {
            known.charged = known.charged.saturating_add(charge);
        }
        let for_machine = reason == Reason::InfraExhausted;
        let chain = self.chain.iter_mut().filter(|built| built.holds(unit));
        let base = self.base.iter_mut().filter_map(|base| base.trial.as_mut());
        for trial in chain.flat_map(|built| built.trials.iter_mut()).chain(base) {
            let machine_failed = trial.verdict == Verdict::Infrastructure;
            trial.charged |= machine_failed == for_machine;
        }
        if !for_machine {
            self.window.failed();
            self.batch.failed();
        }
        Ok(())
    }

    /// Takes an entry out. What it was charged is kept for the next generation of a unit that was sent back, and forgotten
    /// where a person has taken over.
    fn leave(&mut self, event: &'static str, unit: &UnitId, keeps_charge: bool) -> Applied {
        self.require_entry(event, unit)?;
        self.require_not_landing(event, unit)?;
        self.step += 1;
        self.take_out(unit);
        // Who was put behind it and could not be, can be now.
        for other in self.obstructed.clone() {
            let stood = |met: &mut Obstruction| met.ahead.contains(unit);
            if let Some(entry) = self.entry_of_mut(&other) {
                entry.obstruction.take_if(stood);
            }
        }
        self.drop_void();
        if let Some(known) = self.known.get_mut(unit).filter(|_| !keeps_charge) {
            known.forgive();
        }
        Ok(())
    }

    /// A conflict on the tip itself counts.
    fn sent_to_resolve(&mut self, unit: &UnitId, onto: &Oid) -> Applied {
        if self.expected_tip.as_ref() != Some(onto) {
            return Err(illegal(
                "sent_to_resolve",
                Some(unit),
                "the commit is not the target's tip",
            ));
        }
        self.leave("sent_to_resolve", unit, true)?;
        if let Some(known) = self.known.get_mut(unit) {
            known.conflicts = known.conflicts.saturating_add(1);
        }
        Ok(())
    }

    /// A person starts the unit afresh, or made its commit: what it was charged before, and its conflicts, are
    /// forgotten. An entry in line keeps them, since it leaves the line first.
    pub fn person_takes_over(&mut self, unit: &UnitId) {
        let is_in_line = self.ranks.contains_key(unit);
        if let Some(known) = self.known.get_mut(unit).filter(|_| !is_in_line) {
            known.forgive();
        }
    }

    pub(super) fn take_out(&mut self, unit: &UnitId) {
        if let Some(rank) = self.ranks.remove(unit) {
            self.line.remove(&rank);
        }
        self.obstructed.remove(unit);
    }

    fn target_moved(&mut self, from: &Oid, to: &Oid) -> Applied {
        if self.pending.is_some() {
            return Err(illegal("target_moved", None, "a landing has no outcome yet"));
        }
        if self.expected_tip.as_ref().is_some_and(|tip| tip != from) {
            return Err(illegal(
                "target_moved",
                None,
                "the queue left the target elsewhere",
            ));
        }
        self.expected_tip = Some(to.clone());
        self.drop_void();
        self.stop
            .take_if(|(reason, _)| *reason == Reason::TargetRewritten);
        Ok(())
    }

    fn base_turned_red(&mut self, commit: &Oid, check: &str) -> Applied {
        if self.expected_tip.as_ref() != Some(commit) {
            return Err(illegal("base_red", None, "the commit is not the target's tip"));
        }
        if self.pending.is_some() {
            return Err(illegal("base_red", None, "a landing has no outcome yet"));
        }
        self.base_red = Some((commit.clone(), check.to_owned()));
        Ok(())
    }

    pub(super) fn require_not_landing(&self, event: &'static str, unit: &UnitId) -> Applied {
        match &self.pending {
            Some(pending) if pending.verified.units().iter().any(|member| member.unit == *unit) => {
                Err(illegal(event, Some(unit), "it is being landed"))
            }
            Some(_) | None => Ok(()),
        }
    }

    pub(super) fn require_entry(
        &self,
        event: &'static str,
        unit: &UnitId,
    ) -> Result<&Entry, IllegalTransition> {
        self.entry_of(unit)
            .ok_or_else(|| illegal(event, Some(unit), "it is not in line"))
    }

    pub(super) fn require_entry_mut(
        &mut self,
        event: &'static str,
        unit: &UnitId,
    ) -> Result<&mut Entry, IllegalTransition> {
        self.entry_of_mut(unit)
            .ok_or_else(|| illegal(event, Some(unit), "it is not in line"))
    }
}

pub(super) fn illegal(
    event: &'static str,
    unit: Option<&UnitId>,
    problem: &'static str,
) -> IllegalTransition {
    IllegalTransition {
        event,
        unit: unit.cloned(),
        problem,
    }
}
