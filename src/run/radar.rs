//! What the conflict radar looks at, and what it last saw.
//!
//! Nothing is decided by it: what it sees is for people. A pair of units is forgotten when one of them lands or leaves, so
//! that what is shown is never about work that is over; everything else is said anew by the next look.

use std::collections::BTreeSet;

use super::State;
use crate::event::{Collision, Foreseen, Job};
use crate::id::{AttemptKey, Oid, UnitId};
use crate::unit;

/// Most units that are compared with one another, the first of the file: each with each are some 5,000 pairs, which git may
/// have to merge one by one when all of them touch one file.
const UNITS_MAX: usize = 100;

/// A unit's work on its way to the target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LiveHead {
    /// The unit.
    pub unit: UnitId,
    /// Its commit.
    pub commit: Oid,
    /// What that stands on.
    pub base: Oid,
}

/// An author at work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LiveAuthor {
    /// The attempt.
    pub key: AttemptKey,
    /// Its fence.
    pub fence: u64,
    /// What its worktree began as.
    pub commit: Oid,
    /// What the unit's work stands on.
    pub base: Oid,
}

/// What a look is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scene {
    /// The target's tip.
    pub onto: Oid,
    /// The live heads, in the order of the file.
    pub heads: Vec<LiveHead>,
    /// The authors at work, in the order of the file.
    pub authors: Vec<LiveAuthor>,
    /// How many more units there are that are compared with none.
    pub not_compared: u32,
}

impl Scene {
    /// Whether a head is here that was not there.
    pub fn has_new_head(&self, before: &Self) -> bool {
        self.heads != before.heads && self.heads.iter().any(|head| !before.heads.contains(head))
    }

    /// Whether another look may find something else, though no head is new: the target moved, heads went away, or authors
    /// are at work, who tell nobody what they write.
    pub fn may_differ(&self, before: &Self) -> bool {
        (&self.onto, &self.heads) != (&before.onto, &before.heads) || !self.authors.is_empty()
    }

    /// Whether there are two units that could collide.
    pub fn has_two(&self) -> bool {
        let heads = self.heads.iter().map(|head| &head.unit);
        let mut units = heads.chain(self.authors.iter().map(|author| &author.key.unit));
        let first = units.next();
        units.any(|unit| Some(unit) != first)
    }
}

impl State {
    /// What there is to look at; `None` before the run has started.
    pub fn scene(&self) -> Option<Scene> {
        self.scene_of(UNITS_MAX)
    }

    /// The scene of so many units at most.
    pub(super) fn scene_of(&self, units_max: usize) -> Option<Scene> {
        let onto = self
            .queue
            .expected_tip()
            .or(self.start.as_ref().map(|start| &start.base))?;
        let units = self
            .agenda
            .under_way()
            .map(|place| &self.pipeline.units[place as usize].id);
        let mut live = units
            .map(|id| (id, &self.units[id]))
            .filter(|(id, state)| state.head().is_some() || author(id, state).is_some());
        let (heads, authors): (Vec<_>, Vec<_>) = live
            .by_ref()
            .take(units_max)
            .map(|(id, state)| (head(id, state), author(id, state)))
            .unzip();
        Some(Scene {
            onto: onto.clone(),
            heads: heads.into_iter().flatten().collect(),
            authors: authors.into_iter().flatten().collect(),
            not_compared: u32::try_from(live.count()).unwrap_or(u32::MAX),
        })
    }

    /// The collisions that were last seen.
    pub fn foreseen(&self) -> &Foreseen {
        &self.foreseen
    }

    /// What a look at `scene` found, where it is news. A pair whose heads have moved meanwhile is left to the next look.
    pub fn sighting(&self, scene: &Scene, pairs: Vec<Collision>) -> Option<Foreseen> {
        let now = self.scene()?;
        let heads = scene.heads.iter().filter(|head| now.heads.contains(head));
        let heads: BTreeSet<&UnitId> = heads.map(|head| &head.unit).collect();
        let authors = scene.authors.iter().filter(|author| now.authors.contains(author));
        let authors: BTreeSet<&UnitId> = authors.map(|author| &author.key.unit).collect();
        let stands = |pair: &Collision| {
            pair.units.iter().all(|unit| {
                if pair.uncommitted.contains(unit) {
                    authors.contains(unit)
                } else {
                    heads.contains(unit)
                }
            })
        };
        let seen = Foreseen::new(pairs.into_iter().filter(stands).collect(), scene.not_compared);
        (seen != self.foreseen).then_some(seen)
    }

    /// Forgets the collisions of units that have landed or left, and of authors that are no longer at work.
    pub(super) fn forget_collisions(&mut self) {
        if self.foreseen.pairs.is_empty() {
            return;
        }
        let is_under_way = |unit: &UnitId| {
            let place = self.places.get(unit);
            place.is_some_and(|place| self.agenda.is_under_way(*place))
        };
        let is_at_work = |unit: &UnitId| {
            let state = self.units.get(unit);
            state.is_some_and(|state| author(unit, state).is_some())
        };
        self.foreseen
            .retain(|pair| pair.units.iter().all(is_under_way) && pair.uncommitted.iter().all(is_at_work));
    }
}

fn head(id: &UnitId, state: &unit::State) -> Option<LiveHead> {
    Some(LiveHead {
        unit: id.clone(),
        commit: state.head()?.commit.clone(),
        base: state.base()?.clone(),
    })
}

/// The author of a unit that is at work. One that resolves a conflict has other work than the unit's own before it, and is
/// left out.
fn author(id: &UnitId, state: &unit::State) -> Option<LiveAuthor> {
    let (base, head) = (state.base()?, state.head());
    state.in_flight().find_map(|flight| {
        let Job::Stage { stage, kind, .. } = &flight.job else {
            return None;
        };
        let on_own_work = flight.commit == *base || head.is_some_and(|head| head.commit == flight.commit);
        (kind.is_author() && on_own_work).then(|| LiveAuthor {
            key: AttemptKey {
                unit: id.clone(),
                stage: stage.clone(),
                round: flight.round,
                attempt: flight.attempt,
            },
            fence: flight.fence,
            commit: flight.commit.clone(),
            base: base.clone(),
        })
    })
}
