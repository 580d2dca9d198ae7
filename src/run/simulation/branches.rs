//! Branches of people that bring the work of units, and what `engine::intake` does with them.

use super::driver::{Driver, Step};
use super::git::Integration;
use super::setting::number_of;
use crate::event::{Event, GuardAction, GuardHit, Head, Obstacle, Reason, UnitEvent, UnitScoped};
use crate::id::{Oid, UnitId};

impl Driver {
    /// The branches that are there when the run begins.
    pub(super) fn make_branches(&mut self) {
        let root = self.git.target.clone().expect("a target to begin with");
        for unit in self.units_with_branch() {
            let head = self.write(number_of(&unit), &root, &root);
            self.git.branches.insert(unit, head.commit);
        }
    }

    fn units_with_branch(&self) -> Vec<UnitId> {
        let units = self.setting.pipeline.units.iter();
        let brings = units.filter(|unit| unit.from_branch.is_some());
        brings.map(|unit| unit.id.clone()).collect()
    }

    /// Takes in what the units of the selection wait for.
    pub(super) fn take_wanted_branches(&mut self) -> Step {
        let wanted = self.state.wanted_branches(self.selection.as_deref());
        let units: Vec<UnitId> = wanted.map(|(unit, _)| unit.clone()).collect();
        self.take_branches(units)
    }

    pub(super) fn take_branches(&mut self, units: Vec<UnitId>) -> Step {
        let Some(tip) = self.git.target.clone() else {
            return Ok(());
        };
        let mut events = Vec::new();
        for unit in units {
            let what = self.take_branch(&unit, &tip);
            events.push(Event::Unit(UnitScoped { unit, what }));
        }
        self.doom()?;
        self.others_act(10);
        self.record(events)
    }

    fn take_branch(&mut self, unit: &UnitId, tip: &Oid) -> UnitEvent {
        let evicted = |reason| UnitEvent::UnitEvicted {
            reason,
            sentence: String::new(),
        };
        let found = self.git.branches.get(unit).cloned();
        self.laws.looked_for(unit, found.as_ref());
        let Some(commit) = found else {
            self.see("a branch was gone when it was wanted");
            return evicted(Reason::HeadMoved);
        };
        let base = self.git.merge_base(tip, &commit).expect("all grew from one root");
        let tree = self.git.tree_of(&commit).clone();
        let reviewed = self.is_reviewed(unit);
        let strategy = self.setting.pipeline.queue.strategy;
        let landed = reviewed
            && matches!(
                self.git.integrate(tip, &commit, &base, strategy),
                Integration::Obstacle(Obstacle::AlreadyLanded)
            );
        let branch = unit.to_string();
        let head = Head { commit, tree };
        if landed || base == head.commit {
            return UnitEvent::BranchLanded { branch, head };
        }
        let guard = self.setting.nature(unit).guard.filter(|_| reviewed);
        let guards: Vec<GuardHit> = guard.map(super::agents::guard_hit).into_iter().collect();
        if guard == Some(GuardAction::Refuse) {
            return evicted(guards[0].reason);
        }
        UnitEvent::BranchTaken {
            branch,
            head,
            base,
            guards,
        }
    }

    pub(super) fn is_reviewed(&self, unit: &UnitId) -> bool {
        let branch = self.setting.spec(unit).from_branch.as_ref();
        branch.is_some_and(|branch| branch.review)
    }

    /// Somebody brings a branch to the target themselves.
    fn merge_by_hand(&mut self, head: &Oid) {
        let Some(tip) = self.git.target.clone() else {
            return;
        };
        let base = self.git.merge_base(&tip, head).expect("all grew from one root");
        let strategy = self.setting.pipeline.queue.strategy;
        if let Integration::Built { commit, .. } = self.git.integrate(&tip, head, &base, strategy) {
            self.see("others landed a branch");
            let files = self.git.files(&commit).clone();
            self.move_target(&files, std::slice::from_ref(&tip));
        }
    }

    /// Somebody pushes to a branch, lands it, or takes it away.
    pub(super) fn touch_branch(&mut self) {
        let units = self.units_with_branch();
        if units.is_empty() {
            return;
        }
        let unit = self.dice.pick(&units);
        match self.git.branches.get(&unit).cloned() {
            Some(_) if self.dice.chance(40) => {
                self.see("a branch was taken away");
                self.git.branches.remove(&unit);
            }
            Some(head) if self.dice.chance(40) => self.merge_by_hand(&head),
            Some(head) => {
                self.see("others pushed to a branch");
                let more = self.write(number_of(&unit), &head, &head);
                self.git.branches.insert(unit, more.commit);
            }
            None => {
                let root = self.state.start().expect("a run has started").base.clone();
                let head = self.write(number_of(&unit), &root, &root);
                self.git.branches.insert(unit, head.commit);
            }
        }
    }
}
