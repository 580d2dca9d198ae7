//! What may happen, and what it changes. Every pair of state and event that is not accepted here is refused.

use crate::event::Hold;
use crate::event::{
    Candidate, EntryEnd, Evidence, Head, LandRefusal, LandedUnit, Obstacle, QueueEvent, Reason, VerifyPurpose,
};
use crate::id::{Oid, UnitId};

use super::order::Rank;
use super::proof::{PendingLanding, is_about};
use super::state::{BaseKnown, Built, Entry, IllegalTransition, Known, LandedRecord, Run, State, Unfollowed};
use super::verdict::{Trial, Verdict};

type Applied = Result<(), IllegalTransition>;

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
                obstacle,
            } => self.integration_failed(unit, *generation, base, obstacle),
            QueueEvent::VerifyStarted {
                commit,
                purpose,
                fence,
            } => self.verify_started(commit, *purpose, *fence),
            QueueEvent::VerifyEnded { fence, evidence, .. } => self.verify_ended(*fence, evidence),
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
            QueueEvent::SentBack { unit, .. } => self.leave("sent_back", unit, true),
            QueueEvent::EntryLeft { unit, end } => match end {
                EntryEnd::AlreadyLanded | EntryEnd::Evicted { .. } | EntryEnd::Cancelled => {
                    self.leave("entry_left", unit, false)
                }
            },
            QueueEvent::TargetMoved { from, to } => self.target_moved(from, to),
            QueueEvent::BaseRed { commit, check } => self.base_turned_red(commit, check),
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
            landed: false,
        };
        let rank = Rank {
            priority: std::cmp::Reverse(priority),
            age: known.age,
            place,
            unit: unit.clone(),
        };
        self.known.insert(unit.clone(), known);
        self.ranks.insert(unit.clone(), rank.clone());
        self.line.insert(
            rank,
            Entry {
                generation,
                head: head.clone(),
                base: base.clone(),
                obstacle: None,
                refused: None,
                hold: None,
            },
        );
        Ok(())
    }

    fn candidate_built(&mut self, candidate: &Candidate) -> Applied {
        let [member] = candidate.units.as_slice() else {
            return Err(illegal(
                "candidate_built",
                None,
                "a candidate of a serial queue has one unit",
            ));
        };
        let refuse = |problem| Err(illegal("candidate_built", Some(&member.unit), problem));
        if self.pending.is_some() {
            return refuse("a landing has no outcome yet");
        }
        let entry = self.require_entry("candidate_built", &member.unit)?;
        if entry.generation != member.generation || entry.head.commit != member.head {
            return refuse("it was not built from the approved head");
        }
        if candidate.strategy != self.settings.strategy || member.commit != candidate.commit {
            return refuse("its strategy or its last commit is not its own");
        }
        if self
            .expected_tip
            .as_ref()
            .is_some_and(|tip| *tip != candidate.base)
        {
            return refuse("its base is not the target's tip");
        }
        if self.current().is_some_and(|built| built.candidate == *candidate) {
            return Ok(());
        }
        if self.current().is_some() {
            return refuse("another candidate is being served");
        }
        self.step += 1;
        self.expected_tip = Some(candidate.base.clone());
        self.built = Some(Built {
            candidate: candidate.clone(),
            trials: Vec::new(),
            runs: 0,
            flakes: std::collections::BTreeSet::new(),
        });
        Ok(())
    }

    fn integration_failed(
        &mut self,
        unit: &UnitId,
        generation: u32,
        base: &Oid,
        obstacle: &Obstacle,
    ) -> Applied {
        if self.expected_tip.as_ref().is_some_and(|tip| tip != base) {
            return Err(illegal(
                "integration_failed",
                Some(unit),
                "its base is not the target's tip",
            ));
        }
        let served = self.current().is_some();
        self.require_not_landing("integration_failed", unit)?;
        let entry = self.require_entry_mut("integration_failed", unit)?;
        if served {
            return Err(illegal(
                "integration_failed",
                Some(unit),
                "another candidate is being served",
            ));
        }
        if entry.generation != generation {
            return Err(illegal(
                "integration_failed",
                Some(unit),
                "it is about another generation",
            ));
        }

        entry.obstacle = Some((base.clone(), obstacle.clone()));
        self.step += 1;
        self.expected_tip = Some(base.clone());
        Ok(())
    }

    fn verify_started(&mut self, commit: &Oid, purpose: VerifyPurpose, fence: u64) -> Applied {
        let refuse = |problem| Err(illegal("verify_started", None, problem));
        if self.runs.contains_key(&fence) || self.ended.contains(&fence) {
            return refuse("its fence was used before");
        }
        if self.running(commit, purpose).is_some() {
            return refuse("the same run is under way");
        }
        match purpose {
            VerifyPurpose::Candidate => {
                if self.current().is_some_and(|built| self.proof(built).is_some()) {
                    return refuse("the candidate is verified already");
                }
                let current = self
                    .current()
                    .is_some_and(|built| built.candidate.commit == *commit);
                match self.built.as_mut().filter(|_| current) {
                    Some(built) => built.runs += 1,
                    None => return refuse("the commit is not the candidate that counts"),
                }
            }
            VerifyPurpose::Base => {
                if self.expected_tip.as_ref().is_some_and(|tip| tip != commit) {
                    return refuse("the commit is not the target's tip");
                }
                self.expected_tip = Some(commit.clone());
                match &mut self.base {
                    Some(base) if base.commit == *commit => base.runs += 1,
                    other => {
                        *other = Some(BaseKnown {
                            commit: commit.clone(),
                            runs: 1,
                            trial: None,
                        });
                    }
                }
            }
        }
        self.runs.insert(
            fence,
            Run {
                commit: commit.clone(),
                purpose,
            },
        );
        Ok(())
    }

    fn verify_ended(&mut self, fence: u64, evidence: &Evidence) -> Applied {
        // An outcome of a run that is no longer known is recorded and ignored.
        let Some(run) = self.runs.get(&fence).cloned() else {
            return Ok(());
        };
        let verdict = Verdict::of(evidence);
        let trial = Trial {
            evidence: evidence.clone(),
            verdict,
            charged: false,
        };
        match run.purpose {
            VerifyPurpose::Candidate => {
                let current = self
                    .current()
                    .is_some_and(|built| built.candidate.commit == run.commit);
                if let Some(built) = self.built.as_mut().filter(|_| current) {
                    if verdict == Verdict::Passed && !is_about(evidence, &built.candidate) {
                        return Err(illegal(
                            "verify_ended",
                            None,
                            "its evidence is about another tree",
                        ));
                    }
                    if verdict != Verdict::Interrupted {
                        built.trials.push(trial);
                    }
                }
            }
            VerifyPurpose::Base => {
                // A target on which a check was not run is not shown to pass it.
                let trial = match verdict {
                    Verdict::Empty | Verdict::Skipped => Trial {
                        verdict: Verdict::Infrastructure,
                        ..trial
                    },
                    Verdict::Passed
                    | Verdict::Failed
                    | Verdict::TimedOut
                    | Verdict::Infrastructure
                    | Verdict::Interrupted => trial,
                };
                if let Some(base) = self.base.as_mut().filter(|base| base.commit == run.commit)
                    && verdict != Verdict::Interrupted
                {
                    base.trial = Some(trial);
                }
                if verdict == Verdict::Passed {
                    self.base_passes(&run.commit);
                }
            }
        }
        self.runs.remove(&fence);
        self.ended.insert(fence);
        Ok(())
    }

    /// A base that was red and passes says that what failed on it proves nothing: the candidate starts afresh.
    fn base_passes(&mut self, commit: &Oid) {
        if self.base_red.as_ref().is_some_and(|(red, _)| red == commit) {
            self.base_red = None;
            if let Some(built) = &mut self.built {
                built.trials.clear();
            }
        }
    }

    fn land_intended(
        &mut self,
        (commit, from, tree): (&Oid, &Oid, &Oid),
        checkout: Option<&String>,
    ) -> Applied {
        let refuse = |problem| Err(illegal("land_intended", None, problem));
        if self.pending.is_some() {
            return refuse("another landing has no outcome yet");
        }
        if self.stop.is_some() {
            return refuse("the queue is stopped");
        }
        let Some(verified) = self.current().and_then(|built| self.proof(built)) else {
            return refuse("no candidate that counts is verified");
        };
        let held = self
            .served()
            .is_none_or(|(_, entry, _)| entry.hold.is_some() || entry.refused.is_some());
        if held || self.base_red().is_some() {
            return refuse("the entry is held");
        }
        if (verified.to(), verified.from(), verified.tree()) != (commit, from, tree) {
            return refuse("it is not the verified candidate, its own base and its verified tree");
        }
        self.pending = Some(PendingLanding {
            verified,
            checkout: checkout.cloned(),
        });
        Ok(())
    }

    fn land(&mut self, from: &Oid, to: &Oid, units: &[LandedUnit], evidence: Option<&Evidence>) -> Applied {
        let refuse = |problem| {
            Err(illegal(
                "landed",
                units.first().map(|landed| &landed.unit),
                problem,
            ))
        };
        let Some(pending) = &self.pending else {
            let same = !units.is_empty()
                && units.iter().all(|unit| {
                    self.landed.iter().any(|known| {
                        (&known.unit, &known.commit, &known.from, &known.to)
                            == (&unit.unit, &unit.commit, from, to)
                    })
                });
            return if same {
                Ok(())
            } else {
                refuse("no landing was intended")
            };
        };
        let verified = pending.verified.clone();
        let ours = verified
            .units()
            .iter()
            .map(|member| (&member.unit, &member.commit))
            .eq(units.iter().map(|landed| (&landed.unit, &landed.commit)));
        if !ours || (from, to) != (verified.from(), verified.to()) {
            return refuse("it is not the landing that was intended");
        }
        if evidence != verified.evidence() {
            return refuse("its evidence is not what proved the candidate");
        }
        self.unfollowed = pending.checkout.clone().map(|checkout| Unfollowed {
            from: from.clone(),
            to: to.clone(),
            checkout,
        });
        self.pending = None;
        self.step += 1;
        self.expected_tip = Some(to.clone());
        for member in verified.units() {
            if let Some(rank) = self.ranks.remove(&member.unit) {
                self.line.remove(&rank);
            }
            if let Some(known) = self.known.get_mut(&member.unit) {
                known.landed = true;
            }
            self.landed.push(LandedRecord {
                unit: member.unit.clone(),
                generation: member.generation,
                from: from.clone(),
                to: to.clone(),
                commit: member.commit.clone(),
                order: self.landed.len() + 1,
            });
        }
        self.built = None;
        Ok(())
    }

    fn checkout_followed(&mut self, to: &Oid) -> Applied {
        match &self.unfollowed {
            Some(unfollowed) if unfollowed.to == *to => self.unfollowed = None,
            Some(_) | None if self.landed.iter().rev().any(|landed| landed.to == *to) => {}
            Some(_) | None => {
                return Err(illegal(
                    "checkout_followed",
                    None,
                    "nothing landed as that commit",
                ));
            }
        }
        Ok(())
    }

    fn land_refused(&mut self, commit: &Oid, cause: &LandRefusal) -> Applied {
        let Some(pending) = self.pending.take_if(|pending| pending.verified.to() == commit) else {
            return Err(illegal(
                "land_refused",
                None,
                "no landing of that commit was intended",
            ));
        };
        match cause {
            // The next look at the target finds it elsewhere, and the candidate no longer counts.
            LandRefusal::BaseMoved { .. } => {}
            LandRefusal::TargetDirty { checkout, paths } => {
                for member in pending.verified.units() {
                    self.require_entry_mut("land_refused", &member.unit)?.refused = Some(Hold::TargetDirty {
                        checkout: checkout.clone(),
                        paths: paths.clone(),
                    });
                }
            }
        }
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
        let built = self
            .built
            .iter_mut()
            .filter(|built| built.candidate.units.iter().any(|member| member.unit == *unit));
        let base = self.base.iter_mut().filter_map(|base| base.trial.as_mut());
        for trial in built.flat_map(|built| built.trials.iter_mut()).chain(base) {
            let machine_failed = trial.verdict == Verdict::Infrastructure;
            trial.charged |= machine_failed == for_machine;
        }
        Ok(())
    }

    fn flake_seen(&mut self, unit: &UnitId, check: &str) -> Applied {
        self.require_entry("flake_seen", unit)?;
        if let Some(built) = &mut self.built {
            built.flakes.insert(check.to_owned());
        }
        Ok(())
    }

    /// Takes an entry out. Its charge is kept for the next generation of a unit that was sent back, and forgotten
    /// where a person has taken over.
    fn leave(&mut self, event: &'static str, unit: &UnitId, keeps_charge: bool) -> Applied {
        self.require_entry(event, unit)?;
        self.require_not_landing(event, unit)?;
        self.step += 1;
        if let Some(rank) = self.ranks.remove(unit) {
            self.line.remove(&rank);
        }
        if let Some(known) = self.known.get_mut(unit).filter(|_| !keeps_charge) {
            known.charged = 0;
        }
        Ok(())
    }

    /// A person starts the unit afresh, or made its commit: what it was charged before is forgotten. An entry in line
    /// keeps its charge, since it leaves the line first.
    pub fn person_takes_over(&mut self, unit: &UnitId) {
        let is_in_line = self.ranks.contains_key(unit);
        if let Some(known) = self.known.get_mut(unit).filter(|_| !is_in_line) {
            known.charged = 0;
        }
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

    fn require_not_landing(&self, event: &'static str, unit: &UnitId) -> Applied {
        match &self.pending {
            Some(pending) if pending.verified.units().iter().any(|member| member.unit == *unit) => {
                Err(illegal(event, Some(unit), "it is being landed"))
            }
            Some(_) | None => Ok(()),
        }
    }

    fn require_entry(&self, event: &'static str, unit: &UnitId) -> Result<&Entry, IllegalTransition> {
        self.ranks
            .get(unit)
            .and_then(|rank| self.line.get(rank))
            .ok_or_else(|| illegal(event, Some(unit), "it is not in line"))
    }

    fn require_entry_mut(
        &mut self,
        event: &'static str,
        unit: &UnitId,
    ) -> Result<&mut Entry, IllegalTransition> {
        self.ranks
            .get(unit)
            .and_then(|rank| self.line.get_mut(rank))
            .ok_or_else(|| illegal(event, Some(unit), "it is not in line"))
    }
}

fn illegal(event: &'static str, unit: Option<&UnitId>, problem: &'static str) -> IllegalTransition {
    IllegalTransition {
        event,
        unit: unit.cloned(),
        problem,
    }
}
