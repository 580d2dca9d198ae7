//! What is to be done now: rules from top to bottom, the first that applies decides.

use jiff::Timestamp;

use crate::event::{Evidence, QueueEvent, Reason, VerifyPurpose};
use crate::id::{Oid, UnitId};
use crate::spec::Strategy;

use super::batch::Next;
use super::proof::VerifiedCandidate;
use super::state::{Built, State};
use super::verdict::{Standing, standing};

/// Where the target is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tip {
    /// At this commit.
    At {
        /// The commit.
        commit: Oid,
        /// Its tree, by which evidence is found.
        tree: Oid,
    },
    /// The branch does not exist any more.
    Missing,
}

/// What the engine sees at the moment of a decision.
pub struct Facts<'a> {
    /// Now.
    pub now: Timestamp,
    /// Where the target is.
    pub tip: Tip,
    /// Whether the tip contains what has landed, in this run or before it. What people committed beside that is theirs to
    /// rewrite.
    pub tip_continues: bool,
    /// Verifications that may be started.
    pub slots_free: u32,
    /// Earlier passing evidence for a tree, under the file's checks and those of the units.
    pub evidence: &'a dyn Fn(&Oid, &[UnitId]) -> Option<Evidence>,
    /// Whether the file-level check of that name has passed on the target before. False for a unit's own check.
    pub known_green: &'a dyn Fn(&str) -> bool,
    /// Nothing is to be started or landed by this engine; what runs goes on.
    pub paused: bool,
}

/// What the engine is to do.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// Record this.
    Record(QueueEvent),
    /// Put units onto a base, one after the other, in memory; answered at once by `CandidateBuilt`, or by
    /// `IntegrationFailed` for the first that does not fit.
    Integrate {
        /// The target's tip, or the commit of a candidate.
        base: Oid,
        /// In order.
        units: Vec<IntegrateUnit>,
        /// How.
        strategy: Strategy,
    },
    /// Run the checks: record `VerifyStarted` with a fresh fence, and later `VerifyEnded`. The evidence has a row for
    /// every check; a run that was broken off has an `interrupted` row, one that could not be set up an
    /// `infrastructure` row. No row at all means that there was nothing to check, and evicts.
    Verify {
        /// The commit.
        commit: Oid,
        /// Its tree.
        tree: Oid,
        /// The units whose own checks are added to the file's; empty for a base.
        units: Vec<UnitId>,
        /// Why.
        purpose: VerifyPurpose,
        /// Counts the runs on this commit, from 1.
        run_number: u32,
    },
    /// Let earlier evidence stand in for a run: record `VerifyStarted` and `VerifyEnded` with `reused`.
    Reuse {
        /// The commit.
        commit: Oid,
        /// Why.
        purpose: VerifyPurpose,
        /// It passed.
        evidence: Evidence,
    },
    /// Land it: record `LandIntended`, move the target by compare-and-swap from [`VerifiedCandidate::from`], then record
    /// `Landed` or `LandRefused`.
    Land(VerifiedCandidate),
    /// A run that is due is not begun before this moment: the machine could not carry out the one before.
    Wake(Timestamp),
}

/// A unit to be put onto a base.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IntegrateUnit {
    /// The unit.
    pub unit: UnitId,
    /// Its approval.
    pub generation: u32,
    /// What was approved.
    pub head: Oid,
    /// What that stands on.
    pub base: Oid,
}

/// What a candidate is served with.
#[derive(Clone, Copy)]
pub(super) struct Turn<'a> {
    /// Where the target is.
    pub(super) tip: &'a Oid,
    /// The tip's tree.
    pub(super) tree: &'a Oid,
    /// Whether no other candidate goes before it.
    pub(super) is_first: bool,
    /// Runs that may be started for it.
    pub(super) slots: usize,
}

impl State {
    /// What is to be done now. The engine does it, records what came of it, and asks again until the answer is
    /// empty. Runs may come together; everything else comes alone.
    pub fn decide(&self, facts: &Facts<'_>) -> Vec<Effect> {
        // 1. A stop is final within a run, and a begun landing is settled before anything else.
        if self.stop.is_some() || self.pending.is_some() {
            return Vec::new();
        }
        // 2. The target must be there, with all that has landed. Where else it is, the queue follows.
        let Tip::At { commit: tip, tree } = &facts.tip else {
            return record(rewritten("the target branch does not exist any more".to_owned()));
        };
        if !facts.tip_continues {
            return record(rewritten(self.lost_sentence(tip)));
        }
        match &self.expected_tip {
            Some(expected) if expected != tip => {
                return record(QueueEvent::TargetMoved {
                    from: expected.clone(),
                    to: tip.clone(),
                });
            }
            Some(_) | None => {}
        }
        // 3. A red target holds everybody until it moves or is shown to pass.
        if self.base_red().is_some() {
            return match (facts.evidence)(tree, &[]).filter(Evidence::passed) {
                Some(evidence) if !self.is_running_on(tip) => reuse(tip, VerifyPurpose::Base, evidence),
                Some(_) | None => Vec::new(),
            };
        }
        // 4. Who makes us panic leaves.
        if let Some(end) = self.end_by_quarantine() {
            return record(end);
        }
        // 5. Who cannot be put onto the target itself leaves.
        if let Some(end) = self.end_by_obstacle(tip) {
            return record(end);
        }
        // 6. Candidates that count are served, the first one first: slots go to those further ahead.
        let slots = facts.slots_free as usize;
        let mut runs: Vec<Effect> = Vec::new();
        for (place, built) in self.chain.iter().enumerate() {
            let turn = Turn {
                tip,
                tree,
                is_first: place == 0,
                slots: slots.saturating_sub(runs.len()),
            };
            let effects = self.serve(facts, turn, built);
            if !effects.iter().all(is_run) {
                return effects;
            }
            // Two candidates may ask for the same run on the target.
            runs.extend(
                effects
                    .into_iter()
                    .filter(|effect| !runs.contains(effect))
                    .collect::<Vec<_>>(),
            );
        }
        // 7. The chain grows where the window and the slots allow it.
        if self.has_room(slots, runs.len()) {
            let grown = self.grow(facts, tip);
            if !grown.is_empty() {
                return grown;
            }
        }
        runs
    }

    /// Whether nothing is to be started or landed, for the engine or for a person.
    fn is_halted(&self, facts: &Facts<'_>) -> bool {
        facts.paused || self.paused
    }

    /// Whoever is next is put onto the end of the chain.
    fn grow(&self, facts: &Facts<'_>, tip: &Oid) -> Vec<Effect> {
        match self.next_units(tip) {
            Next::Nobody => Vec::new(),
            Next::Release(unit) => record(QueueEvent::EntryReleased { unit: unit.clone() }),
            Next::Units(_) if self.is_halted(facts) => Vec::new(),
            Next::Units(units) => vec![Effect::Integrate {
                base: self.end_of_chain(tip).clone(),
                units,
                strategy: self.settings.strategy,
            }],
        }
    }

    /// One candidate: prove it, land it, or find out whose failure it is.
    fn serve(&self, facts: &Facts<'_>, turn: Turn<'_>, built: &Built) -> Vec<Effect> {
        if self.is_held(built) {
            return self.holds(built);
        }
        if self.running(built).is_some() {
            return Vec::new();
        }
        if let Some((unit, check)) = Self::flake_of(built) {
            return record(QueueEvent::FlakeSeen {
                unit: unit.clone(),
                check: check.to_owned(),
            });
        }
        if let Some(verified) = self.proof(built) {
            let may = turn.is_first && !self.is_halted(facts) && self.unfollowed.is_none();
            return if may {
                vec![Effect::Land(verified)]
            } else {
                Vec::new()
            };
        }
        match standing(&built.trials) {
            Standing::Open { fresh } if !self.is_exhausted(turn, built) => {
                self.verify_candidate(facts, turn, built, fresh)
            }
            // What contains work that has not landed is nobody's failure yet.
            _ if !built.stands_on(turn.tip) => Vec::new(),
            standing => self.conclude(facts, turn, built, standing),
        }
    }

    /// Holds that follow from a refused landing and are not recorded yet.
    fn holds(&self, built: &Built) -> Vec<Effect> {
        let refused = built.candidate.units.iter().filter_map(|member| {
            let entry = self.entry_of(&member.unit)?;
            let refused = entry.refused.as_ref().filter(|_| entry.hold.is_none())?;
            Some(Effect::Record(QueueEvent::EntryHeld {
                unit: member.unit.clone(),
                hold: refused.clone(),
            }))
        });
        refused.collect()
    }

    pub(super) fn verify_candidate(
        &self,
        facts: &Facts<'_>,
        turn: Turn<'_>,
        built: &Built,
        fresh: bool,
    ) -> Vec<Effect> {
        let candidate = &built.candidate;
        let units: Vec<UnitId> = candidate.units.iter().map(|member| member.unit.clone()).collect();
        if self.is_halted(facts) {
            return Vec::new();
        }
        // After a failure only a real run can tell a flake.
        let cached = if fresh {
            (facts.evidence)(&candidate.tree, &units)
        } else {
            None
        };
        if let Some(evidence) = cached.filter(|evidence| evidence.passed() && evidence.tree == candidate.tree)
        {
            return reuse(&candidate.commit, VerifyPurpose::Candidate, evidence);
        }
        let run = || Effect::Verify {
            commit: candidate.commit.clone(),
            tree: candidate.tree.clone(),
            units,
            purpose: VerifyPurpose::Candidate,
            run_number: built.runs + 1,
        };
        self.run_or_wait(facts, turn, run)
    }

    pub(super) fn verify_base(&self, facts: &Facts<'_>, turn: Turn<'_>, runs: u32) -> Vec<Effect> {
        if self.is_halted(facts) || self.is_running_on(turn.tip) {
            return Vec::new();
        }
        if let Some(evidence) = (facts.evidence)(turn.tree, &[]).filter(Evidence::passed) {
            return reuse(turn.tip, VerifyPurpose::Base, evidence);
        }
        let run = || Effect::Verify {
            commit: turn.tip.clone(),
            tree: turn.tree.clone(),
            units: Vec::new(),
            purpose: VerifyPurpose::Base,
            run_number: runs + 1,
        };
        self.run_or_wait(facts, turn, run)
    }

    /// A run, where a slot is free and the machine is not waited for.
    fn run_or_wait(&self, facts: &Facts<'_>, turn: Turn<'_>, run: impl FnOnce() -> Effect) -> Vec<Effect> {
        if turn.slots == 0 {
            return Vec::new();
        }
        vec![self.machine.due(facts.now).map_or_else(run, Effect::Wake)]
    }

    fn lost_sentence(&self, tip: &Oid) -> String {
        let tip = tip.short();
        let Some(last) = self.landed.last() else {
            return format!(
                "The target is at {tip}, which does not contain any more what an earlier run landed."
            );
        };
        let landed: Vec<&str> = self.landed.iter().map(|landed| landed.unit.as_str()).collect();
        format!(
            "The target is at {tip}, which does not contain {}, the last landing. Units that landed: {}.",
            last.to.short(),
            landed.join(", ")
        )
    }
}

pub(super) fn record(event: QueueEvent) -> Vec<Effect> {
    vec![Effect::Record(event)]
}

fn rewritten(sentence: String) -> QueueEvent {
    QueueEvent::SafetyStop {
        reason: Reason::TargetRewritten,
        sentence,
    }
}

/// Earlier evidence stands in for a run.
fn reuse(commit: &Oid, purpose: VerifyPurpose, evidence: Evidence) -> Vec<Effect> {
    vec![Effect::Reuse {
        commit: commit.clone(),
        purpose,
        evidence,
    }]
}

/// A run of the checks, or the wait for one.
fn is_run(effect: &Effect) -> bool {
    match effect {
        Effect::Verify { .. } | Effect::Wake(_) => true,
        Effect::Record(_) | Effect::Integrate { .. } | Effect::Reuse { .. } | Effect::Land(_) => false,
    }
}
