//! Which candidates count, and how many are verified side by side.
//!
//! The candidates that count are a chain: the first stands on the target's tip, each of the others on the last one
//! before it that is not in doubt. So `A`, `A+B` and `A+B+C` are verified at once, and land one after the other,
//! each from its own base.
//!
//! A candidate is *in doubt* from its first failure until it passes. Nothing is built on it, and what was built on it no
//! longer counts: those behind it go on without it while the failure is looked into. Behind a batch in doubt they wait:
//! most of its units will be ahead of them again, and must not be overtaken for the fault of one.
//!
//! This chooses what gets verified. What may land is asked of one candidate alone, in `proof.rs`.

use crate::id::{Oid, UnitId};
use crate::spec::Breadth;

use super::blame::UNABLE_MAX;
use super::state::{Built, State};
use super::verdict::{Standing, Verdict, standing};

/// How many candidates are verified side by side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Window {
    width: u32,
    /// How wide it may grow; `None` where the width is fixed.
    ceiling: Option<u32>,
}

impl Window {
    /// An adaptive window begins as wide as it may be: approved work has passed its checks once already.
    pub(super) fn new(setting: Breadth, ceiling: u32) -> Self {
        match setting {
            Breadth::Auto => Self {
                width: ceiling.max(1),
                ceiling: Some(ceiling.max(1)),
            },
            Breadth::Fixed(width) => Self {
                width: width.max(1),
                ceiling: None,
            },
        }
    }

    pub(super) fn width(self) -> usize {
        self.width as usize
    }

    /// A landing widens it by one.
    pub(super) fn landed(&mut self) {
        if let Some(ceiling) = self.ceiling {
            self.width = self.width.saturating_add(1).min(ceiling);
        }
    }

    /// A failure that is confirmed halves it. A flake does not, nor does what fails because of one ahead.
    pub(super) fn failed(&mut self) {
        if self.ceiling.is_some() {
            self.width = (self.width / 2).max(1);
        }
    }
}

impl Built {
    /// It failed and has not passed since.
    pub(super) fn is_in_doubt(&self) -> bool {
        let fails = |verdict: Verdict| match verdict {
            Verdict::Failed | Verdict::TimedOut | Verdict::Empty | Verdict::Skipped => true,
            Verdict::Passed | Verdict::Infrastructure | Verdict::Interrupted => false,
        };
        let is_proven = matches!(standing(&self.trials), Standing::Proven(_));
        !is_proven && self.trials.iter().any(|trial| fails(trial.verdict))
    }

    /// The machine could not carry out its verification time and again, and nobody is charged for that.
    pub(super) fn is_unable(&self) -> bool {
        let standing = standing(&self.trials);
        matches!(standing, Standing::InfrastructureUncharged { times, .. } if times >= UNABLE_MAX)
    }

    /// Whether nothing counts behind it: it is a batch, and will be taken apart if it does not pass.
    fn ends_chain(&self) -> bool {
        self.candidate.units.len() > 1 && self.is_in_doubt()
    }

    /// Whether it is about this unit.
    pub(super) fn holds(&self, unit: &UnitId) -> bool {
        self.candidate.units.iter().any(|member| member.unit == *unit)
    }

    /// Whether nothing stands between it and the target that has not landed, so that its failures are its own.
    pub(super) fn stands_on(&self, tip: &Oid) -> bool {
        self.candidate.base == *tip
    }
}

impl State {
    /// The candidate of a unit, if it has one that counts.
    pub(super) fn candidate_of(&self, unit: &UnitId) -> Option<&Built> {
        self.chain.iter().find(|built| built.holds(unit))
    }

    /// What the next candidate is built on, where the target is at `tip`.
    pub(super) fn end_of_chain<'a>(&'a self, tip: &'a Oid) -> &'a Oid {
        let sound = self.chain.iter().rev().find(|built| !built.is_in_doubt());
        sound.map_or(tip, |built| &built.candidate.commit)
    }

    /// Whether another candidate may be built before one of the chain has landed or left. `starting` runs are about to
    /// take a slot. The first candidate is built in any case, so that an obstacle is known at once.
    pub(super) fn has_room(&self, slots_free: usize, starting: usize) -> bool {
        let at_end = self.chain.last().is_some_and(Built::ends_chain);
        self.chain.is_empty() || (!at_end && self.chain.len() < self.window.width() && starting < slots_free)
    }

    /// Forgets candidates that no longer count: the target moved, one ahead is in doubt, a unit left, was approved
    /// anew or is frozen. Whatever may have changed one of these ends with this.
    pub(super) fn drop_void(&mut self) {
        let Some(tip) = self.expected_tip.clone() else {
            return;
        };
        let mut onto = tip;
        for built in std::mem::take(&mut self.chain) {
            let frozen = self.holds_frozen(&built) && !self.is_being_landed(&built);
            if built.candidate.base == onto && self.has_its_units(&built) && !frozen {
                if !built.is_in_doubt() {
                    onto.clone_from(&built.candidate.commit);
                }
                let is_last = built.ends_chain();
                self.chain.push(built);
                if is_last {
                    break;
                }
            }
        }
    }

    /// Whether every unit is in line as it was when the candidate was built.
    fn has_its_units(&self, built: &Built) -> bool {
        built.candidate.units.iter().all(|member| {
            self.entry_of(&member.unit).is_some_and(|entry| {
                entry.generation == member.generation && entry.head.commit == member.head
            })
        })
    }
}
