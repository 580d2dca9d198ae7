//! The part of the fold that concerns what the conflict radar saw.

use super::{UnitState, View};
use crate::event::{Collision, Foreseen};
use crate::id::UnitId;

impl View {
    /// A pair that the latest such record told of is not new, also if it was forgotten since: what an author hands in
    /// collides as it did before.
    pub(super) fn foresee(&mut self, seq: u64, foreseen: &Foreseen) {
        let known = std::mem::take(&mut self.run.foreseen_since);
        let since = foreseen.pairs.iter().map(|pair| {
            let since = known.get(&pair.units).copied().unwrap_or(seq);
            (pair.units.clone(), since)
        });
        self.run.foreseen_since = since.collect();
        self.run.foreseen = foreseen.clone();
    }

    /// Forgets the collisions of units that have landed or left, and of authors that are no longer at work.
    pub(super) fn forget_collisions(&mut self) {
        if self.run.foreseen.pairs.is_empty() {
            return;
        }
        let mut foreseen = std::mem::take(&mut self.run.foreseen);
        let is_under_way = |id: &UnitId| {
            let state = self.unit(id).map(|unit| unit.state);
            matches!(
                state,
                Some(UnitState::Working | UnitState::Gated | UnitState::Queued)
            )
        };
        let is_at_work = |id: &UnitId| {
            let mut running = self.running();
            running.any(|(unit, attempt)| {
                unit.id == *id && !attempt.moot && matches!(attempt.kind, "implement" | "fix")
            })
        };
        foreseen
            .retain(|pair| pair.units.iter().all(is_under_way) && pair.uncommitted.iter().all(is_at_work));
        self.run.foreseen = foreseen;
    }

    /// The collisions that the record of this number was the first to tell of.
    pub fn collisions_since(&self, seq: u64) -> impl Iterator<Item = &Collision> {
        let pairs = self.run.foreseen.pairs.iter();
        pairs.filter(move |pair| self.run.foreseen_since.get(&pair.units) == Some(&seq))
    }
}
