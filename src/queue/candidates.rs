//! What may happen to candidates: they are built, verified, landed and split. The rest is in `apply.rs`.

use std::collections::BTreeSet;

use crate::event::{Candidate, Evidence, Hold, LandRefusal, LandedUnit, VerifyPurpose};
use crate::id::{Oid, UnitId};

use super::apply::{Applied, illegal};
use super::proof::{PendingLanding, is_about};
use super::state::{BaseKnown, Built, LandedRecord, Obstruction, Run, State, Unfollowed};
use super::verdict::{Trial, Verdict};

impl State {
    pub(super) fn candidate_built(&mut self, candidate: &Candidate) -> Applied {
        let first = candidate.units.first().map(|member| &member.unit);
        let refuse = |problem| Err(illegal("candidate_built", first, problem));
        if self.pending.is_some() {
            return refuse("a landing has no outcome yet");
        }
        let names: BTreeSet<&UnitId> = candidate.units.iter().map(|member| &member.unit).collect();
        if candidate.units.is_empty() || names.len() < candidate.units.len() {
            return refuse("it has no unit, or one twice");
        }
        for member in &candidate.units {
            let entry = self.require_entry("candidate_built", &member.unit)?;
            if entry.generation != member.generation || entry.head.commit != member.head {
                return refuse("it was not built from the approved head");
            }
        }
        let last = candidate.units.last().map(|member| &member.commit);
        if candidate.strategy != self.settings.strategy || last != Some(&candidate.commit) {
            return refuse("its strategy or its last commit is not its own");
        }
        if self.chain.iter().any(|built| built.candidate == *candidate) {
            return Ok(());
        }
        if candidate
            .units
            .iter()
            .any(|member| self.candidate_of(&member.unit).is_some())
        {
            return refuse("a unit has another candidate that counts");
        }
        let tip = self.expected_tip.as_ref().unwrap_or(&candidate.base);
        if *self.end_of_chain(tip) != candidate.base {
            return refuse("its base is neither the target's tip nor the candidate ahead");
        }
        let trials = self.known_of(candidate);
        self.step += 1;
        self.expected_tip = Some(tip.clone());
        self.chain.push(Built {
            candidate: candidate.clone(),
            number: self.step,
            trials,
            runs: 0,
            flakes: BTreeSet::new(),
        });
        Ok(())
    }

    pub(super) fn integration_failed(&mut self, unit: &UnitId, generation: u32, met: Obstruction) -> Applied {
        let refuse = |problem| Err(illegal("integration_failed", Some(unit), problem));
        let tip = self.expected_tip.as_ref().unwrap_or(&met.base);
        if *self.end_of_chain(tip) != met.base {
            return refuse("its base is neither the target's tip nor the candidate ahead");
        }
        self.require_not_landing("integration_failed", unit)?;
        let entry = self.require_entry("integration_failed", unit)?;
        if self.candidate_of(unit).is_some() {
            return refuse("it has a candidate that counts");
        }
        if entry.generation != generation {
            return refuse("it is about another generation");
        }
        self.step += 1;
        self.expected_tip = Some(tip.clone());
        self.obstructed.insert(unit.clone());
        self.require_entry_mut("integration_failed", unit)?.obstruction = Some(met);
        Ok(())
    }

    pub(super) fn verify_started(&mut self, commit: &Oid, purpose: VerifyPurpose, fence: u64) -> Applied {
        let refuse = |problem| Err(illegal("verify_started", None, problem));
        if self.runs.contains_key(&fence) || self.ended.contains(&fence) {
            return refuse("its fence was used before");
        }
        let candidate = match purpose {
            VerifyPurpose::Candidate => {
                let Some(place) = self.place_in_chain(commit) else {
                    return refuse("the commit is no candidate that counts");
                };
                if self.running(&self.chain[place]).is_some() {
                    return refuse("the same run is under way");
                }
                if self.proof(&self.chain[place]).is_some() {
                    return refuse("the candidate is verified already");
                }
                self.chain[place].runs += 1;
                self.chain[place].number
            }
            VerifyPurpose::Base => {
                if self.expected_tip.as_ref().is_some_and(|tip| tip != commit) {
                    return refuse("the commit is not the target's tip");
                }
                if self.is_running_on(commit) {
                    return refuse("the same run is under way");
                }
                self.base_started(commit);
                0
            }
        };
        self.runs.insert(
            fence,
            Run {
                commit: commit.clone(),
                purpose,
                candidate,
            },
        );
        Ok(())
    }

    pub(super) fn place_in_chain(&self, commit: &Oid) -> Option<usize> {
        let mut chain = self.chain.iter();
        chain.position(|built| built.candidate.commit == *commit)
    }

    fn base_started(&mut self, commit: &Oid) {
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

    pub(super) fn verify_ended(&mut self, fence: u64, evidence: &Evidence, reused: bool) -> Applied {
        // An outcome of a run that is no longer known is recorded and ignored.
        let Some(run) = self.runs.get(&fence).cloned() else {
            return Ok(());
        };
        let verdict = match run.purpose {
            VerifyPurpose::Candidate => Verdict::of(evidence),
            VerifyPurpose::Base => Verdict::of_base(evidence),
        };
        let trial = Trial {
            evidence: evidence.clone(),
            verdict,
            charged: false,
        };
        match run.purpose {
            VerifyPurpose::Candidate => {
                let mut chain = self.chain.iter_mut();
                if let Some(built) = chain.find(|built| built.number == run.candidate) {
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
        if !reused {
            self.machine.ran(fence, verdict);
        }
        self.runs.remove(&fence);
        self.ended.insert(fence);
        self.drop_void();
        Ok(())
    }

    /// A base that was red and passes says that what failed on it proves nothing: the candidates start afresh.
    fn base_passes(&mut self, commit: &Oid) {
        if self.base_red.as_ref().is_some_and(|(red, _)| red == commit) {
            self.base_red = None;
            self.split.clear();
            for built in &mut self.chain {
                if built.is_in_doubt() {
                    built.trials.clear();
                }
            }
        }
    }

    pub(super) fn land_intended(
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
        let tip = self.expected_tip.as_ref();
        let on_target = |built: &&Built| tip.is_some_and(|tip| built.stands_on(tip));
        let mut on_target = self.chain.iter().filter(on_target);
        let Some(built) = on_target.find(|built| built.candidate.commit == *commit) else {
            return refuse("the commit is no candidate on the target's tip");
        };
        let Some(verified) = self.proof(built) else {
            return refuse("the candidate is not verified");
        };
        if self.is_held(built) || self.base_red().is_some() || self.paused || self.holds_frozen(built) {
            return refuse("the entry is held");
        }
        if (verified.from(), verified.tree()) != (from, tree) {
            return refuse("it is not the candidate's own base and its verified tree");
        }
        self.pending = Some(PendingLanding {
            verified,
            checkout: checkout.cloned(),
        });
        Ok(())
    }

    pub(super) fn land(
        &mut self,
        from: &Oid,
        to: &Oid,
        units: &[LandedUnit],
        evidence: Option<&Evidence>,
    ) -> Applied {
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
        self.window.landed();
        self.batch.landed();
        for member in verified.units() {
            self.take_out(&member.unit);
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
        self.drop_void();
        Ok(())
    }

    pub(super) fn checkout_followed(&mut self, to: &Oid) -> Applied {
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

    pub(super) fn land_refused(&mut self, commit: &Oid, cause: &LandRefusal) -> Applied {
        let Some(pending) = self.pending.take_if(|pending| pending.verified.to() == commit) else {
            return Err(illegal(
                "land_refused",
                None,
                "no landing of that commit was intended",
            ));
        };
        let hold = match cause {
            // The next look at the target finds it elsewhere, and the candidate no longer counts.
            LandRefusal::BaseMoved { .. } => return Ok(()),
            LandRefusal::TargetDirty {
                checkout,
                paths,
                removed,
            } => Hold::TargetDirty {
                checkout: checkout.clone(),
                paths: paths.clone(),
                removed: removed.clone(),
            },
            LandRefusal::PushRejected { words } => Hold::PushRejected { words: words.clone() },
        };
        for member in pending.verified.units() {
            self.require_entry_mut("land_refused", &member.unit)?.refused = Some(hold.clone());
        }
        // A freeze that came meanwhile holds it now.
        self.drop_void();
        Ok(())
    }

    pub(super) fn flake_seen(&mut self, unit: &UnitId, check: &str) -> Applied {
        self.require_entry("flake_seen", unit)?;
        if let Some(built) = self.chain.iter_mut().find(|built| built.holds(unit)) {
            built.flakes.insert(check.to_owned());
        }
        Ok(())
    }

    pub(super) fn batch_split(&mut self, commit: &Oid) -> Applied {
        let refuse = |problem| Err(illegal("batch_split", None, problem));
        let Some(place) = self.place_in_chain(commit) else {
            return refuse("the commit is no candidate that counts");
        };
        let built = &self.chain[place];
        if built.candidate.units.len() < 2 {
            return refuse("one unit cannot be split");
        }
        if !built.is_in_doubt() && !built.is_unable() {
            return refuse("the batch has not failed");
        }
        self.step += 1;
        self.split(place);
        self.window.failed();
        self.batch.failed();
        // One that the machine could not set up was not in doubt, so that others may stand on it.
        self.drop_void();
        Ok(())
    }
}
