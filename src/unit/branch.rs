//! A unit whose implementation is a branch that was there before.
//!
//! The branch is taken in before the unit begins: its head and where it left the target are remembered, and from then on
//! the unit is about those commits. The branch itself is a person's; that it moves is seen by whoever compares.

use crate::event::{GuardHit, Head, UnitEvent};
use crate::id::Oid;

use super::{Phase, State};

/// What of a branch was taken in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Intake {
    /// The branch, as the file names it.
    pub branch: String,
    /// Where it was.
    pub head: Head,
    /// Where it had left the target.
    pub base: Oid,
    /// What the guards found in it.
    pub guards: Vec<GuardHit>,
}

impl State {
    /// What was taken in of the unit's branch, once it was.
    pub fn intake(&self) -> Option<&Intake> {
        self.intake.as_ref()
    }

    /// The branch that is to be looked at before the unit can begin.
    pub fn wants_branch(&self) -> Option<&str> {
        let wanted = self.phase == Phase::Waiting && self.intake.is_none();
        let branch = self.plan.unit.from_branch.as_ref().filter(|_| wanted)?;
        Some(&branch.name)
    }

    /// The branch whose head the unit depends on: until the unit has come to an end, or a person has said with a commit of
    /// their own what is to land instead.
    pub fn watched_branch(&self) -> Option<&Intake> {
        let depends = match self.phase {
            Phase::Waiting | Phase::Blocked | Phase::Working | Phase::Gated | Phase::Queued => true,
            Phase::Landed | Phase::Published | Phase::Evicted | Phase::Cancelled | Phase::Discarded => false,
        };
        self.intake.as_ref().filter(|_| depends && !self.resolved)
    }

    /// Whether a person has vouched for the head, so that nobody but the queue judges it: for the branch as it was taken in,
    /// and not for what an author makes of it that conflicts with the target.
    pub(super) fn is_vouched_for(&self) -> bool {
        let branch = self.plan.unit.from_branch.as_ref();
        let taken = self.intake.as_ref().map(|intake| &intake.head);
        let as_it_was = self.head.is_none() || self.head.as_ref() == taken;
        branch.is_some_and(|branch| !branch.review) && as_it_was && self.conflict.is_none()
    }

    pub(super) fn branch_taken(&mut self, event: &UnitEvent) {
        let UnitEvent::BranchTaken {
            branch,
            head,
            base,
            guards,
        } = event
        else {
            return;
        };
        self.intake = Some(Intake {
            branch: branch.clone(),
            head: head.clone(),
            base: base.clone(),
            guards: guards.clone(),
        });
    }

    /// The commits of the branch are what an author would have made: the unit begins with its reviews.
    pub(super) fn begin_with_branch(&mut self) {
        let Some(intake) = self.intake.clone() else {
            return;
        };
        self.head = Some(intake.head);
        let plan = self.plan.clone();
        for stage in &plan.tier.stages {
            if !plan.unit.performs(stage.kind) {
                self.run_mut(&stage.name).done = true;
            }
        }
        self.take_gate_hits(&intake.guards);
    }
}
