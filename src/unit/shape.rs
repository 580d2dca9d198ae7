//! The tier as a graph: which reviews a fix loops with, which fix answers for what, what is settled.

use std::collections::{BTreeMap, BTreeSet};

use crate::event::Output;
use crate::id::StageName;
use crate::spec::{Performer, Stage, StageKind};

use super::conflict::is_resolve;
use super::{OpenConflict, State};

/// What the checks say of the head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Checked {
    /// There are none.
    Waived,
    /// They have not been run on it.
    Unknown,
    /// They pass.
    Passed,
    /// They fail.
    Failed,
}

impl State {
    /// The stage of that name: of the tier, or one that answers for a conflict with the target while there is one.
    pub fn stage(&self, name: &StageName) -> Option<&Stage> {
        let of_tier = self.plan.tier.stage(name.as_str());
        of_tier.or_else(|| self.conflict.as_ref()?.stage(name))
    }

    /// The stages the head has to pass: the tier's, and the review of a resolved conflict that the tier does not have.
    pub(super) fn all_stages(&self) -> impl DoubleEndedIterator<Item = &Stage> {
        let built_in = self.conflict.as_ref().and_then(OpenConflict::review);
        self.plan.tier.stages.iter().chain(built_in)
    }

    fn of_kind(&self, kind: StageKind) -> impl DoubleEndedIterator<Item = &Stage> {
        self.all_stages().filter(move |stage| stage.kind == kind)
    }

    /// Number of attempts a stage needs to be answered: one a member of its panel.
    pub(super) fn members(stage: &Stage) -> u32 {
        match &stage.by {
            Performer::Agent(_) => 1,
            Performer::Panel { agents, .. } if !stage.kind.is_author() => {
                u32::try_from(agents.len()).expect("a panel is written out in a file")
            }
            // An author has one tree; the first of a panel makes it.
            Performer::Panel { .. } => 1,
            Performer::Human | Performer::Checks => 0,
        }
    }

    /// Everything a stage needs, directly or through others; `through` says behind which stages to go on.
    fn ancestors(&self, stage: &Stage, through: impl Fn(&Stage) -> bool) -> BTreeSet<StageName> {
        let mut found = BTreeSet::new();
        let mut open: Vec<&StageName> = stage.needs.iter().collect();
        while let Some(name) = open.pop() {
            if !found.insert(name.clone()) {
                continue;
            }
            if let Some(needed) = self.stage(name).filter(|needed| through(needed)) {
                open.extend(&needed.needs);
            }
        }
        found
    }

    /// The reviews a fix loops with: those it needs without another author stage in between.
    pub(super) fn reviews_of(&self, fix: &Stage) -> Vec<&Stage> {
        let needed = self.ancestors(fix, |stage| !stage.kind.is_author());
        self.of_kind(StageKind::Review)
            .filter(|review| needed.contains(&review.name))
            .collect()
    }

    /// Reviews that no fix loops with; they judge each head anew.
    pub(super) fn reviews_of_no_fix(&self) -> Vec<StageName> {
        let looped: BTreeSet<&StageName> = self
            .of_kind(StageKind::Fix)
            .flat_map(|fix| self.reviews_of(fix))
            .map(|review| &review.name)
            .collect();
        self.of_kind(StageKind::Review)
            .map(|review| &review.name)
            .filter(|name| !looped.contains(name))
            .cloned()
            .collect()
    }

    /// The fix that answers for findings of these stages.
    pub(super) fn fix_for(&self, reporters: &BTreeSet<StageName>) -> Option<&Stage> {
        self.of_kind(StageKind::Fix).find(|fix| {
            self.reviews_of(fix)
                .iter()
                .any(|review| reporters.contains(&review.name))
        })
    }

    /// The fix that answers for what is said of the work as a whole.
    pub(super) fn last_fix(&self) -> Option<&Stage> {
        self.of_kind(StageKind::Fix).next_back()
    }

    /// The fix that answers for failing checks: the one that made the head, else the next in line, provided that
    /// no other author stage has to come first. For a resolved conflict it is the last of the tier: every author has
    /// had its turn.
    pub(super) fn fix_for_checks(&self) -> Option<&Stage> {
        if self.producer.as_ref().is_some_and(is_resolve) {
            return self.last_fix();
        }
        let producer = self.producer.as_ref().and_then(|name| self.stage(name));
        if let Some(fix) = producer.filter(|stage| stage.kind == StageKind::Fix) {
            return Some(fix);
        }
        self.of_kind(StageKind::Fix)
            .filter(|fix| !self.settled(fix))
            .find(|fix| {
                self.ancestors(fix, |_| true)
                    .iter()
                    .filter_map(|name| self.stage(name))
                    .filter(|needed| needed.kind.is_author())
                    .all(|needed| self.settled(needed))
            })
    }

    /// Whether somebody other than the checks approves, and so can decide a dispute.
    pub(super) fn disputes_have_a_judge(&self) -> bool {
        self.of_kind(StageKind::Approve).any(|stage| match stage.by {
            Performer::Agent(_) | Performer::Panel { .. } | Performer::Human => true,
            Performer::Checks => false,
        })
    }

    pub(super) fn checked(&self) -> Checked {
        match (&self.checked, self.plan.has_checks) {
            (_, false) => Checked::Waived,
            (None, true) => Checked::Unknown,
            (Some(evidence), true) if evidence.passed() => Checked::Passed,
            (Some(_), true) => Checked::Failed,
        }
    }

    /// Nothing speaks against the head as far as the checks go.
    pub(super) fn checks_allow(&self) -> bool {
        match self.checked() {
            Checked::Waived | Checked::Passed => true,
            Checked::Unknown | Checked::Failed => false,
        }
    }

    /// Whether a stage has nothing left to do on the head as it stands.
    pub(super) fn settled(&self, stage: &Stage) -> bool {
        if is_resolve(&stage.name) {
            return self.unresolved().is_none();
        }
        let run = self.run(&stage.name);
        match stage.kind {
            StageKind::Prepare | StageKind::Implement | StageKind::Review => run.done,
            StageKind::Fix => run.skipped || self.fix_is_through(stage),
            StageKind::Approve => match stage.by {
                Performer::Agent(_) | Performer::Panel { .. } | Performer::Human => run.done,
                Performer::Checks => self.checks_allow() && self.ready(stage),
            },
        }
    }

    fn fix_is_through(&self, fix: &Stage) -> bool {
        let made_head = self.producer.as_ref() == Some(&fix.name);
        self.run(&fix.name).fixes > 0
            && self
                .reviews_of(fix)
                .iter()
                .all(|review| self.run(&review.name).done)
            && (!made_head || self.checks_allow())
    }

    /// Whether everything a stage needs is settled.
    pub(super) fn ready(&self, stage: &Stage) -> bool {
        stage
            .needs
            .iter()
            .filter_map(|name| self.stage(name))
            .all(|needed| self.settled(needed))
    }

    /// Whether a fix could start as far as everything but its reviews goes.
    pub(super) fn ready_but_for_reviews(&self, fix: &Stage) -> bool {
        self.ancestors(fix, |_| true)
            .iter()
            .filter_map(|name| self.stage(name))
            .all(|needed| match needed.kind {
                StageKind::Prepare | StageKind::Implement => self.settled(needed),
                StageKind::Review | StageKind::Fix | StageKind::Approve => true,
            })
    }

    /// The documents of the prepare stages a stage needs, directly or through others, in the tier's order.
    pub fn documents(&self, stage: &StageName) -> Vec<(StageName, String)> {
        let Some(stage) = self.stage(stage) else {
            return Vec::new();
        };
        let needed = self.ancestors(stage, |_| true);
        self.of_kind(StageKind::Prepare)
            .filter(|prepare| needed.contains(&prepare.name))
            .filter_map(|prepare| Some((prepare.name.clone(), self.document_of(&prepare.name)?)))
            .collect()
    }

    /// The document of one prepare stage; what the members of a panel wrote, one after the other.
    pub fn document_of(&self, prepare: &StageName) -> Option<String> {
        let run = self.stages.get(prepare).filter(|run| run.done)?;
        let texts: Vec<&str> = run
            .answers
            .values()
            .filter_map(|answer| match answer {
                Output::Document { text } => Some(text.as_str()),
                Output::Work { .. }
                | Output::Review { .. }
                | Output::Decision { .. }
                | Output::Checks { .. } => None,
            })
            .collect();
        (!texts.is_empty()).then(|| texts.join("\n\n---\n\n"))
    }

    /// Stages on the longest path that is still to go; when slots are short, the unit with most goes first.
    pub fn remaining_stages(&self) -> u32 {
        let mut longest: BTreeMap<&StageName, u32> = BTreeMap::new();
        for stage in &self.plan.tier.stages {
            let before = stage
                .needs
                .iter()
                .filter_map(|name| longest.get(name))
                .max()
                .copied()
                .unwrap_or(0);
            let performed = match stage.kind {
                StageKind::Prepare | StageKind::Implement => self.plan.unit.performs(stage.kind),
                StageKind::Review | StageKind::Fix | StageKind::Approve => !self.is_vouched_for(),
            };
            let is_left = performed && !self.settled(stage);
            longest.insert(&stage.name, before + u32::from(is_left));
        }
        let recovery = u32::from(self.unresolved().is_some());
        longest.values().max().copied().unwrap_or(0) + recovery
    }
}
