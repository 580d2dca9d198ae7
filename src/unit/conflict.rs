//! The recovery of a unit that conflicts with the target.
//!
//! The queue has sent it back with the conflict. A stage that no tier has, [`RESOLVE`], lets the unit's author resolve it
//! on the tip it was met on. What results is a new diff on a new base: the checks and every judge of the tier are asked
//! about it as about work that nobody has seen, with a review of its own where the tier has none. From the approval on
//! the unit is like any other, and if the target has moved meanwhile the queue sees to it.
//!
//! A failing check, or a finding of that review, goes to the tier's fix; where there is none the resolution has
//! failed and is made again, within the attempts of the stage.

use std::collections::BTreeSet;

use jiff::Timestamp;

use crate::event::{Conflict, GuardHit, Head, Job, Reason, conflict_sentence};
use crate::id::{Oid, StageName};
use crate::spec::{RESOLVE, RESOLVE_REVIEW, Stage, StageKind};

use super::attempts::{Cause, Tries, exhaustion};
use super::{InFlight, Source, StageRun, State};

/// A conflict with the target, with the stages that answer for it.
#[derive(Debug, Clone, PartialEq)]
pub struct OpenConflict {
    /// The target's tip the work could not be put onto: the base of what resolves it.
    pub onto: Oid,
    /// The work that conflicts.
    pub head: Oid,
    /// What that stands on.
    pub base: Oid,
    /// Where both sides changed the same.
    pub conflicts: Vec<Conflict>,
    /// In which the author resolves it.
    resolve: Stage,
    /// Which judges what results, where the tier has no review.
    review: Option<Stage>,
    /// There is a head that resolves it.
    resolved: bool,
}

impl OpenConflict {
    /// A stage that answers for it, by name.
    pub(super) fn stage(&self, name: &StageName) -> Option<&Stage> {
        std::iter::once(&self.resolve)
            .chain(&self.review)
            .find(|stage| stage.name == *name)
    }

    /// The review that the tier does not have.
    pub(super) fn review(&self) -> Option<&Stage> {
        self.review.as_ref()
    }
}

/// Whether a stage is the one in which an author resolves a conflict.
pub(super) fn is_resolve(stage: &StageName) -> bool {
    stage.as_str() == RESOLVE
}

fn is_resolve_job(job: &Job) -> bool {
    match job {
        Job::Stage { stage, .. } => is_resolve(stage),
        Job::Checks => false,
    }
}

impl State {
    /// The conflict with the target that is being recovered from.
    pub fn conflict(&self) -> Option<&OpenConflict> {
        self.conflict.as_ref()
    }

    /// The conflict that still needs a head that resolves it.
    pub(super) fn unresolved(&self) -> Option<&OpenConflict> {
        self.conflict.as_ref().filter(|conflict| !conflict.resolved)
    }

    /// What an attempt's work stands on.
    pub fn base_for(&self, job: &Job) -> Option<&Oid> {
        match &self.conflict {
            Some(conflict) if is_resolve_job(job) => Some(&conflict.onto),
            Some(_) | None => self.base.as_ref(),
        }
    }

    /// The job that is wanted while a conflict is not resolved.
    pub(super) fn resolve_job(conflict: &OpenConflict) -> Job {
        Job::Stage {
            stage: conflict.resolve.name.clone(),
            kind: StageKind::Fix,
            member: 0,
        }
    }

    /// The queue met a conflict on the target. Whoever had made the head so far, an author or a person, the tier judges
    /// what becomes of it.
    pub(super) fn conflicted(&mut self, onto: &Oid, conflicts: &[Conflict]) {
        let (Some(head), Some(base)) = (&self.head, &self.base) else {
            return;
        };
        let Some(resolve) = self.plan.tier.resolve_stage() else {
            return;
        };
        self.conflict = Some(OpenConflict {
            onto: onto.clone(),
            head: head.commit.clone(),
            base: base.clone(),
            conflicts: conflicts.to_vec(),
            resolve,
            review: self.plan.tier.resolve_review(&self.plan.agents),
            resolved: false,
        });
        self.resolved = false;
        self.tries.clear();
        for name in [RESOLVE, RESOLVE_REVIEW] {
            let name: StageName = name.parse().expect("a constant name is well-formed");
            self.stages.insert(name, StageRun::default());
        }
        let plan = self.plan.clone();
        let made = |stage: &&Stage| matches!(stage.kind, StageKind::Prepare | StageKind::Implement);
        for stage in plan.tier.stages.iter().filter(made) {
            self.run_mut(&stage.name).done = true;
        }
        self.reopen_approvals();
    }

    /// The author has resolved the conflict: the head stands on the tip now, and nobody has judged it.
    pub(super) fn resolved_by_author(&mut self, head: &Head, guards: &[GuardHit]) {
        let Some(conflict) = &mut self.conflict else {
            return;
        };
        conflict.resolved = true;
        let stage = conflict.resolve.name.clone();
        self.base = Some(conflict.onto.clone());
        self.take_head(&stage, head, guards);
        self.accepted_hits.clear();
        self.round += 1;
        // What failed so far counts for the stage that may have to do it again, and for nobody else.
        self.tries.retain(|job, _| is_resolve_job(job));
        let stages: Vec<(StageName, StageKind)> = self
            .all_stages()
            .map(|stage| (stage.name.clone(), stage.kind))
            .collect();
        for (name, kind) in stages {
            let run = self.run_mut(&name);
            match kind {
                StageKind::Review => {
                    run.done = false;
                    run.answers.clear();
                    run.reviewed_before = false;
                    run.touched.clear();
                }
                StageKind::Fix => run.skipped = false,
                StageKind::Prepare | StageKind::Implement | StageKind::Approve => {}
            }
        }
        self.reopen_approvals();
    }

    /// What resolved the conflict did not do, and no fix of the tier answers for it: it is to be done again.
    pub(super) fn resolution_failed(&mut self, attempt: u32, cause: Cause, told: String, at: Timestamp) {
        let Some(conflict) = &mut self.conflict else {
            return;
        };
        conflict.resolved = false;
        let job = Self::resolve_job(conflict);
        self.charge(&job, attempt, cause, Some(told), at);
    }

    /// The built-in review has judged; what it finds fails the resolution.
    pub(super) fn built_in_review_returned(&mut self, flight: &InFlight, at: Timestamp) {
        let found: Vec<String> = self
            .blocking()
            .filter(|entry| entry.source == Source::Review && is_of_built_in(&entry.reporters))
            .map(|entry| {
                let line = entry.line.map_or(String::new(), |line| format!(":{line}"));
                format!(
                    "{} {}{line}: {}\n{}",
                    entry.id, entry.file, entry.title, entry.detail
                )
            })
            .collect();
        if !found.is_empty() {
            let told = format!("the review of the resolution finds:\n{}", found.join("\n"));
            self.resolution_failed(flight.attempt, Cause::Review, told, at);
        }
    }

    /// Why the unit goes to a person, when the author could not resolve the conflict.
    pub(super) fn unresolvable(&self, job: &Job, tries: &Tries) -> Option<(Reason, String)> {
        let conflict = self.conflict.as_ref().filter(|_| is_resolve_job(job))?;
        let (reason, sentence) = exhaustion(job, tries);
        Some(match reason {
            Reason::AttemptsExhausted | Reason::NoChange => (
                Reason::ConflictTarget,
                format!("{} {sentence}", conflict_sentence(&conflict.conflicts)),
            ),
            reason => (reason, sentence),
        })
    }
}

fn is_of_built_in(reporters: &BTreeSet<StageName>) -> bool {
    reporters.iter().any(|name| name.as_str() == RESOLVE_REVIEW)
}
