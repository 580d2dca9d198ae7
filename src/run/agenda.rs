//! Which units may have something to say.
//!
//! A run of ten thousand units asks a handful of them at a time: those that are worked on, and those that became
//! ready, blocked or approved since they were last looked at. What is kept here is derived from the units' phases
//! when one of them changes, so that a decision costs time in the units that are busy, not in those that exist.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use super::State;
use super::decide::{is_dead, is_done};
use crate::id::UnitId;
use crate::spec::Pipeline;
use crate::unit::Phase;

/// Who goes first when slots are short: the longest remaining path, then higher priority, then the place in the
/// file.
pub(super) type Rank = (Reverse<u64>, Reverse<i64>, u32);

/// The units to be looked at, by their place in the file.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Agenda {
    live: BTreeSet<u32>,
    /// Those that have begun and have not come to an end.
    under_way: BTreeSet<u32>,
    ready: BTreeSet<Rank>,
    /// Where a unit that has not begun stands among the others; by place.
    ranks: Vec<Rank>,
    /// For each unit, the units that need it; by place.
    dependants: Vec<Vec<u32>>,
}

impl Agenda {
    /// The agenda of a run nothing has happened in, with no unit looked at yet.
    pub(super) fn new(pipeline: &Pipeline, places: &BTreeMap<UnitId, u32>, ranks: Vec<Rank>) -> Self {
        let mut dependants = vec![Vec::new(); pipeline.units.len()];
        for (place, unit) in (0..).zip(&pipeline.units) {
            for need in &unit.needs {
                dependants[places[need] as usize].push(place);
            }
        }
        Self {
            live: BTreeSet::new(),
            under_way: BTreeSet::new(),
            ready: BTreeSet::new(),
            ranks,
            dependants,
        }
    }

    /// Units to be asked what they want, in the order of the file.
    pub(super) fn live(&self) -> impl Iterator<Item = u32> {
        self.live.iter().copied()
    }

    /// Units that have begun and have not come to an end, in the order of the file.
    pub(super) fn under_way(&self) -> impl Iterator<Item = u32> {
        self.under_way.iter().copied()
    }

    /// Whether the unit at that place has begun and has not come to an end.
    pub(super) fn is_under_way(&self, place: u32) -> bool {
        self.under_way.contains(&place)
    }

    /// Units that wait for nothing they need, the first to begin first.
    pub(super) fn ready(&self) -> impl Iterator<Item = &Rank> {
        self.ready.iter()
    }
}

impl State {
    /// Looks at every unit.
    pub(super) fn review_all(&mut self) {
        for place in self.places.values().copied().collect::<Vec<_>>() {
            self.review(place);
        }
    }

    /// Looks at a unit after an event; at those that need it, too, when its phase is another than `before`.
    pub(super) fn review_after(&mut self, id: &UnitId, before: Phase) {
        let place = self.places[id];
        self.review(place);
        if self.units[id].phase() != before {
            for dependant in self.agenda.dependants[place as usize].clone() {
                self.review(dependant);
            }
        }
    }

    fn review(&mut self, place: u32) {
        let unit = &self.pipeline.units[place as usize];
        let state = &self.units[&unit.id];
        let doomed = || unit.needs.iter().any(|need| is_dead(self.units[need].phase()));
        let (live, ready) = match state.phase() {
            Phase::Working => (true, false),
            Phase::Waiting => {
                let ready = unit.needs.iter().all(|need| is_done(self.units[need].phase()));
                (!ready && doomed(), ready)
            }
            Phase::Blocked => (!doomed(), false),
            Phase::Queued => (self.waits_outside(&unit.id), false),
            Phase::Gated
            | Phase::Landed
            | Phase::Published
            | Phase::Evicted
            | Phase::Cancelled
            | Phase::Discarded => (false, false),
        };
        let under_way = matches!(state.phase(), Phase::Working | Phase::Gated | Phase::Queued);
        let rank = self.agenda.ranks[place as usize];
        keep(&mut self.agenda.live, place, live);
        keep(&mut self.agenda.under_way, place, under_way);
        if ready {
            self.agenda.ready.insert(rank);
        } else {
            self.agenda.ready.remove(&rank);
        }
    }
}

/// Makes a set hold a place, or not.
fn keep(set: &mut BTreeSet<u32>, place: u32, holds: bool) {
    if holds {
        set.insert(place);
    } else {
        set.remove(&place);
    }
}
