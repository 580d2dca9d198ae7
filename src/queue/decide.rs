//! What is to be done now: rules from top to bottom, the first that applies decides.

use crate::event::{Conflict, EntryEnd, Evidence, Obstacle, QueueEvent, Reason, VerifyPurpose};
use crate::id::{Oid, UnitId};
use crate::spec::Strategy;

use super::order::Rank;
use super::proof::VerifiedCandidate;
use super::state::{Built, Entry, State};
use super::verdict::{Standing, Trial, Verdict, standing};
use super::{CHARGE_FAILURE, CHARGE_INFRASTRUCTURE};

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
    /// Where the target is.
    pub tip: Tip,
    /// Whether the tip is [`State::expected_tip`] or descends from it; true while that is `None`.
    pub tip_continues: bool,
    /// Verifications that may be started.
    pub slots_free: u32,
    /// Earlier passing evidence for a tree, under the file's checks and those of the units.
    pub evidence: &'a dyn Fn(&Oid, &[UnitId]) -> Option<Evidence>,
    /// Whether the file-level check of that name has passed on the target before. False for a unit's own check.
    pub known_green: &'a dyn Fn(&str) -> bool,
    /// A person paused the queue: what runs goes on, nothing is started or landed.
    pub paused: bool,
}

/// What the engine is to do.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// Record this.
    Record(QueueEvent),
    /// Put units onto a base, in memory; answered at once by `CandidateBuilt` or `IntegrationFailed`.
    Integrate {
        /// The target's tip.
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

impl State {
    /// What is to be done now. The engine does it, records what came of it, and asks again until the answer is
    /// empty.
    pub fn decide(&self, facts: &Facts<'_>) -> Vec<Effect> {
        // 1. A stop is final within a run, and a begun landing is settled before anything else.
        if self.stop.is_some() || self.pending.is_some() {
            return Vec::new();
        }
        // 2. The target must be where the queue left it, or ahead of that.
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
                Some(evidence) => self.reuse(tip, VerifyPurpose::Base, evidence),
                None => Vec::new(),
            };
        }
        // 4. The candidate that counts is served to its end; otherwise the first in line.
        match self.served() {
            Some((rank, entry, built)) => self.serve(facts, (tip, tree), &rank.unit, entry, built),
            None => match self.line.first_key_value() {
                Some((rank, entry)) => self.begin(facts, tip, rank, entry),
                None => Vec::new(),
            },
        }
    }

    /// The first in line has no candidate that counts.
    fn begin(&self, facts: &Facts<'_>, tip: &Oid, rank: &Rank, entry: &Entry) -> Vec<Effect> {
        let unit = &rank.unit;
        // A hold belongs to a landing from the old base; it is asked for again when the new candidate lands.
        if entry.hold.is_some() || entry.refused.is_some() {
            return record(QueueEvent::EntryReleased { unit: unit.clone() });
        }
        match &entry.obstacle {
            Some((base, obstacle)) if base == tip => record(QueueEvent::EntryLeft {
                unit: unit.clone(),
                end: end_by_obstacle(obstacle),
            }),
            Some(_) | None if facts.paused => Vec::new(),
            Some(_) | None => vec![Effect::Integrate {
                base: tip.clone(),
                units: vec![IntegrateUnit {
                    unit: unit.clone(),
                    generation: entry.generation,
                    head: entry.head.commit.clone(),
                    base: entry.base.clone(),
                }],
                strategy: self.settings.strategy,
            }],
        }
    }

    /// The candidate counts: prove it, land it, or find out whose failure it is.
    fn serve(
        &self,
        facts: &Facts<'_>,
        tip: (&Oid, &Oid),
        unit: &UnitId,
        entry: &Entry,
        built: &Built,
    ) -> Vec<Effect> {
        if let (None, Some(refused)) = (&entry.hold, &entry.refused) {
            return record(QueueEvent::EntryHeld {
                unit: unit.clone(),
                hold: refused.clone(),
            });
        }
        if entry.hold.is_some() {
            return Vec::new();
        }
        let candidate = &built.candidate;
        if self
            .running(&candidate.commit, VerifyPurpose::Candidate)
            .is_some()
        {
            return Vec::new();
        }
        if let Some((unit, _, check)) = Self::flake_of(built) {
            return record(QueueEvent::FlakeSeen {
                unit: unit.clone(),
                check: check.to_owned(),
            });
        }
        if let Some(verified) = self.proof(built) {
            let may = !facts.paused && self.unfollowed.is_none();
            return if may {
                vec![Effect::Land(verified)]
            } else {
                Vec::new()
            };
        }
        let standing = standing(&built.trials);
        let put_down = matches!(standing, Standing::FailedTwice(trial) if trial.charged);
        if self.charged(unit) >= self.settings.evict_at && !put_down {
            return self.exhausted(unit);
        }
        match standing {
            // `proof` has said no to a pass: it is about another tree, and `apply` lets none of that in.
            Standing::Proven(_) => Vec::new(),
            Standing::Open { fresh } => self.verify_candidate(facts, built, fresh),
            Standing::InfrastructureUncharged => record(infrastructure_charge(unit)),
            Standing::NoGate(trial) => record(no_gate(unit, trial)),
            Standing::FailedTwice(trial) if trial.charged => self.put_down(unit, trial),
            Standing::FailedTwice(trial) => self.blame(facts, tip, unit, trial),
        }
    }

    fn verify_candidate(&self, facts: &Facts<'_>, built: &Built, fresh: bool) -> Vec<Effect> {
        let candidate = &built.candidate;
        let units: Vec<UnitId> = candidate.units.iter().map(|member| member.unit.clone()).collect();
        if facts.paused {
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
            return self.reuse(&candidate.commit, VerifyPurpose::Candidate, evidence);
        }
        if facts.slots_free == 0 {
            return Vec::new();
        }
        vec![Effect::Verify {
            commit: candidate.commit.clone(),
            tree: candidate.tree.clone(),
            units,
            purpose: VerifyPurpose::Candidate,
            run_number: built.runs + 1,
        }]
    }

    /// The candidate failed twice. Whose failure is it?
    fn blame(&self, facts: &Facts<'_>, tip: (&Oid, &Oid), unit: &UnitId, trial: &Trial) -> Vec<Effect> {
        let green_before = trial
            .evidence
            .first_failure()
            .is_some_and(|failure| (facts.known_green)(&failure.name));
        // The target never passed this check, or it is the unit's own: the base cannot be at fault.
        if !green_before {
            return self.put_down(unit, trial);
        }
        let known = self.base.as_ref().filter(|base| base.commit == *tip.0);
        let Some(base_trial) = known.and_then(|base| base.trial.as_ref()) else {
            return self.verify_base(facts, tip, known.map_or(0, |base| base.runs));
        };
        match base_trial.verdict {
            Verdict::Infrastructure if base_trial.charged => {
                self.verify_base(facts, tip, known.map_or(0, |base| base.runs))
            }
            Verdict::Infrastructure => record(infrastructure_charge(unit)),
            Verdict::Failed | Verdict::TimedOut => match base_trial.evidence.first_failure() {
                Some(failure) if (facts.known_green)(&failure.name) => record(QueueEvent::BaseRed {
                    commit: tip.0.clone(),
                    check: failure.name.clone(),
                }),
                Some(_) | None => self.put_down(unit, trial),
            },
            // The base does not fail what used to pass on it, so the unit does. A base that was not checked is taken in
            // as the machine's fault.
            Verdict::Passed | Verdict::Empty | Verdict::Skipped | Verdict::Interrupted => {
                self.put_down(unit, trial)
            }
        }
    }

    fn verify_base(&self, facts: &Facts<'_>, (tip, tree): (&Oid, &Oid), runs: u32) -> Vec<Effect> {
        if facts.paused || self.running(tip, VerifyPurpose::Base).is_some() {
            return Vec::new();
        }
        if let Some(evidence) = (facts.evidence)(tree, &[]).filter(Evidence::passed) {
            return self.reuse(tip, VerifyPurpose::Base, evidence);
        }
        if facts.slots_free == 0 {
            return Vec::new();
        }
        vec![Effect::Verify {
            commit: tip.clone(),
            tree: tree.clone(),
            units: Vec::new(),
            purpose: VerifyPurpose::Base,
            run_number: runs + 1,
        }]
    }

    /// The failure is the unit's own: it is charged, and then goes back to a fix stage or is evicted.
    fn put_down(&self, unit: &UnitId, trial: &Trial) -> Vec<Effect> {
        let reason = failure_reason(trial.verdict);
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

    /// Earlier evidence stands in, unless the same run is under way.
    fn reuse(&self, commit: &Oid, purpose: VerifyPurpose, evidence: Evidence) -> Vec<Effect> {
        if self.running(commit, purpose).is_some() {
            return Vec::new();
        }
        vec![Effect::Reuse {
            commit: commit.clone(),
            purpose,
            evidence,
        }]
    }

    fn lost_sentence(&self, tip: &Oid) -> String {
        let expected = self.expected_tip.as_ref().map_or("", Oid::short);
        let landed: Vec<&str> = self.landed.iter().map(|landed| landed.unit.as_str()).collect();
        let lost = match landed.as_slice() {
            [] => String::new(),
            units => format!(" Units that landed before: {}.", units.join(", ")),
        };
        format!(
            "The target is at {}, which does not contain {expected}, where the queue left it.{lost}",
            tip.short()
        )
    }
}

fn record(event: QueueEvent) -> Vec<Effect> {
    vec![Effect::Record(event)]
}

fn rewritten(sentence: String) -> QueueEvent {
    QueueEvent::SafetyStop {
        reason: Reason::TargetRewritten,
        sentence,
    }
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

fn failure_reason(verdict: Verdict) -> Reason {
    match verdict {
        Verdict::TimedOut => Reason::VerifyTimeout,
        Verdict::Failed
        | Verdict::Passed
        | Verdict::Infrastructure
        | Verdict::Interrupted
        | Verdict::Empty
        | Verdict::Skipped => Reason::VerifyFailed,
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

/// What becomes of an entry that cannot be put onto the tip. A stage in which an agent resolves a conflict would
/// be an arm of its own here: sent back, not evicted.
fn end_by_obstacle(obstacle: &Obstacle) -> EntryEnd {
    let evicted = |reason, sentence, conflicts| EntryEnd::Evicted {
        reason,
        sentence,
        conflicts,
    };
    match obstacle {
        Obstacle::AlreadyLanded => EntryEnd::AlreadyLanded,
        Obstacle::Conflict { conflicts } => evicted(
            Reason::ConflictTarget,
            conflict_sentence(conflicts),
            conflicts.clone(),
        ),
        Obstacle::UnrelatedHistory => evicted(
            Reason::UnrelatedHistory,
            Reason::UnrelatedHistory.sentence().to_owned(),
            Vec::new(),
        ),
        Obstacle::MergeCommit { commit } => evicted(
            Reason::MergeCommit,
            format!(
                "The unit's range contains the merge commit {}, which cannot be replayed.",
                commit.short()
            ),
            Vec::new(),
        ),
    }
}

fn conflict_sentence(conflicts: &[Conflict]) -> String {
    let places: Vec<String> = conflicts
        .iter()
        .map(|conflict| match &conflict.landed_by {
            Some(unit) => format!("{} (with `{unit}`, which landed)", conflict.path),
            None => conflict.path.clone(),
        })
        .collect();
    match places.as_slice() {
        [] => Reason::ConflictTarget.sentence().to_owned(),
        places => format!("The work conflicts with the target in {}.", places.join(", ")),
    }
}
