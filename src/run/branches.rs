//! Units whose work was there before the run: when their branches are looked at, and what follows from one that moves.

use std::collections::BTreeSet;

use super::decide::{is_selected, of_unit};
use super::{Facts, State};
use crate::event::{EntryEnd, Event, QueueEvent, Reason, UnitEvent};
use crate::id::{Oid, UnitId};
use crate::queue::Tip;
use crate::unit::{Intake, Phase};

impl State {
    /// Branches that units wait for, with the name each is to be found by; the first in the file first.
    pub fn wanted_branches<'a>(
        &'a self,
        selection: Option<&'a BTreeSet<UnitId>>,
    ) -> impl Iterator<Item = (&'a UnitId, &'a str)> {
        let is_wanted = move |id: &UnitId| selection.is_none_or(|only| only.contains(id));
        self.with_branch
            .iter()
            .filter(move |id| is_wanted(id))
            .filter_map(|id| Some((id, self.units[id].wants_branch()?)))
    }

    /// Branches whose movement would concern a unit.
    pub fn watched_branches(&self) -> impl Iterator<Item = (&UnitId, &Intake)> {
        self.with_branch
            .iter()
            .filter_map(|id| Some((id, self.units[id].watched_branch()?)))
    }

    /// All branches of a run are taken in together and before anything else, so that they are those of the moment the
    /// run began.
    pub(super) fn branches_to_take(&self, facts: &Facts) -> Option<Vec<UnitId>> {
        if facts.draining || matches!(facts.tip, Tip::Missing) {
            return None;
        }
        let wanted = self.wanted_branches(facts.selection.as_deref());
        let units: Vec<UnitId> = wanted.map(|(id, _)| id.clone()).collect();
        (!units.is_empty()).then_some(units)
    }

    /// Units whose branch is not where it was when it was taken in. What lands just now is not called back.
    pub(super) fn moved_branches(&self, facts: &Facts) -> Vec<Event> {
        let landing = self.queue.pending_landing().is_some();
        self.watched_branches()
            .filter(|(id, _)| is_selected(facts, id) || self.units[*id].phase() == Phase::Queued)
            .filter_map(|(id, intake)| {
                let now = facts.branches.get(id).filter(|now| **now != intake.head.commit)?;
                match self.units[id].phase() {
                    Phase::Queued if landing || self.waits_outside(id) => None,
                    Phase::Queued => Some(Event::Queue(QueueEvent::EntryLeft {
                        unit: id.clone(),
                        end: EntryEnd::Evicted {
                            reason: Reason::HeadMoved,
                            sentence: moved(intake, now),
                            conflicts: Vec::new(),
                        },
                    })),
                    Phase::Waiting
                    | Phase::Working
                    | Phase::Gated
                    | Phase::Landed
                    | Phase::Published
                    | Phase::Evicted
                    | Phase::Blocked
                    | Phase::Cancelled
                    | Phase::Discarded => Some(of_unit(
                        id,
                        UnitEvent::UnitEvicted {
                            reason: Reason::HeadMoved,
                            sentence: moved(intake, now),
                        },
                    )),
                }
            })
            .collect()
    }
}

fn moved(intake: &Intake, now: &Oid) -> String {
    format!(
        "The branch `{}` was at {} when it was taken in, and is at {} now.",
        intake.branch,
        intake.head.commit.short(),
        now.short()
    )
}
