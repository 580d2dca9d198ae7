//! Who stands where in line, for those that look on.

use crate::id::UnitId;

use super::state::State;

impl State {
    /// How many candidates may be verified side by side now.
    pub fn width(&self) -> usize {
        self.window.width()
    }

    /// How many units go into the next candidate.
    pub fn batch_size(&self) -> usize {
        self.batch.size() as usize
    }

    /// For readers: no engine is there, so nothing that the journal leaves under way runs any more.
    pub fn tell_no_engine(&mut self) {
        let runs = std::mem::take(&mut self.runs);
        self.ended.extend(runs.into_keys());
    }

    /// Whom a unit's candidate contains that has not landed, in the order in which they land.
    pub fn unlanded_below(&self, unit: &UnitId) -> Vec<UnitId> {
        let Some(mut built) = self.candidate_of(unit) else {
            return Vec::new();
        };
        let mut below: Vec<UnitId> = Vec::new();
        // Bases lead down the chain, so this ends at the target.
        while let Some(under) = self
            .chain
            .iter()
            .find(|other| other.candidate.commit == built.candidate.base)
        {
            below.extend(
                under
                    .candidate
                    .units
                    .iter()
                    .rev()
                    .map(|member| member.unit.clone()),
            );
            built = under;
        }
        below.reverse();
        below
    }

    /// Whose candidates are settled before a unit's may land, in their order. These may be more than it contains: who
    /// failed once and is run again has its turn first, and those behind it stand where they stood without it.
    pub fn settled_before(&self, unit: &UnitId) -> Vec<UnitId> {
        let place = self.chain.iter().position(|built| built.holds(unit)).unwrap_or(0);
        let members = self.chain[..place]
            .iter()
            .flat_map(|built| &built.candidate.units);
        members.map(|member| member.unit.clone()).collect()
    }

    /// Whether a unit has a candidate that counts.
    pub fn has_candidate(&self, unit: &UnitId) -> bool {
        self.candidate_of(unit).is_some()
    }

    /// Who is served right before a unit.
    pub fn just_ahead(&self, unit: &UnitId) -> Option<UnitId> {
        let entries = self.entries();
        let place = entries.iter().position(|entry| entry.unit == *unit)?;
        Some(entries.get(place.checked_sub(1)?)?.unit.clone())
    }
}
