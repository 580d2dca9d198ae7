//! What the conflict radar looks at, and what it last saw.
//!
//! Nothing is decided by it: what it sees is for people. A pair of units is forgotten when one of them lands or leaves, so
//! that what is shown is never about work that is over; everything else is said anew by the next look.

use super::State;
use crate::event::{Collision, Foreseen};
use crate::id::{Oid, UnitId};

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

/// What a look is about: the same scene is not looked at twice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scene {
    /// The target's tip.
    pub onto: Oid,
    /// Every live head, in the order of the file.
    pub heads: Vec<LiveHead>,
}

impl State {
    /// What there is to look at; `None` before the run has started.
    pub fn scene(&self) -> Option<Scene> {
        let onto = self
            .queue
            .expected_tip()
            .or(self.start.as_ref().map(|start| &start.base))?;
        let units = self
            .agenda
            .under_way()
            .map(|place| &self.pipeline.units[place as usize].id);
        let heads = units.filter_map(|id| {
            let state = &self.units[id];
            Some(LiveHead {
                unit: id.clone(),
                commit: state.head()?.commit.clone(),
                base: state.base()?.clone(),
            })
        });
        Some(Scene {
            heads: heads.collect(),
            onto: onto.clone(),
        })
    }

    /// The collisions that were last seen.
    pub fn foreseen(&self) -> &Foreseen {
        &self.foreseen
    }

    /// What a look at `scene` found, where it is news. A pair whose heads have moved meanwhile is left to the next look.
    pub fn sighting(&self, scene: &Scene, pairs: Vec<Collision>) -> Option<Foreseen> {
        let now = self.scene()?;
        let stands = |unit: &UnitId| {
            let of = |scene: &Scene| scene.heads.iter().find(|head| head.unit == *unit).cloned();
            of(scene).is_some_and(|head| of(&now) == Some(head))
        };
        let stands = |pair: &Collision| pair.units.iter().all(stands);
        let seen = Foreseen::new(pairs.into_iter().filter(stands).collect());
        (seen != self.foreseen).then_some(seen)
    }

    /// Forgets the collisions of units that have landed or left.
    pub(super) fn forget_collisions(&mut self) {
        if self.foreseen.pairs.is_empty() {
            return;
        }
        let is_under_way = |unit: &UnitId| {
            let place = self.places.get(unit);
            place.is_some_and(|place| self.agenda.is_under_way(*place))
        };
        self.foreseen.retain(|pair| pair.units.iter().all(is_under_way));
    }
}
