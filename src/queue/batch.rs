//! Which units go into the next candidate.
//!
//! A batch is units that stand behind one another in line. It is one candidate like any other: verified once, landed in
//! one move. When it cannot pass, it is *split*: each of its units remembers that it is not to be in a candidate of
//! more than half as many again, nor together with units that were not in the batch. So the halves are verified, and
//! split in turn, until a failure belongs to one unit alone; what passes lands, as the set that was verified.
//!
//! What is known of a split batch is used again where the same commit comes up: once its first half has landed or is
//! assumed good, the other half put onto it is the batch itself, and has failed already. That goes for several units
//! only. What failed in company is no evidence against one unit, which is verified alone.

use crate::event::Candidate;
use crate::id::{Oid, UnitId};
use crate::spec::Breadth;

use super::IntegrateUnit;
use super::state::{Built, Entry, State};
use super::verdict::{Trial, Verdict};

/// The most units in a candidate of `batch: auto`.
pub(super) const UNITS_MAX: u32 = 16;
/// Split batches that are remembered.
const SPLIT_MAX: usize = 16;

/// How many units go into one candidate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Batch {
    size: u32,
    grows: bool,
}

impl Batch {
    pub(super) fn new(setting: Breadth) -> Self {
        match setting {
            Breadth::Auto => Self { size: 1, grows: true },
            Breadth::Fixed(size) => Self {
                size: size.max(1),
                grows: false,
            },
        }
    }

    pub(super) fn size(self) -> u32 {
        self.size
    }

    /// A landing lets it grow by one.
    pub(super) fn landed(&mut self) {
        if self.grows {
            self.size = (self.size + 1).min(UNITS_MAX);
        }
    }

    /// A confirmed failure brings it back to 1.
    pub(super) fn failed(&mut self) {
        if self.grows {
            self.size = 1;
        }
    }
}

/// What a unit of a split batch may be verified with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Part {
    /// Tells batches apart.
    batch: u64,
    /// The most units in a candidate.
    units_max: u32,
}

/// What is to be built next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next<'a> {
    /// Nobody in line can be.
    Nobody,
    /// A hold belongs to a landing that does not count any more.
    Release(&'a UnitId),
    /// These, in order.
    Units(Vec<IntegrateUnit>),
}

impl State {
    /// Who is to be put onto the end of the chain: the first in line without a candidate, and in a batch those right
    /// behind it. Who conflicts with one ahead is passed over, and those behind go on.
    pub(super) fn next_units(&self, tip: &Oid) -> Next<'_> {
        let mut units: Vec<IntegrateUnit> = Vec::new();
        let mut part = None;
        for (rank, entry) in &self.line {
            let unit = &rank.unit;
            if self.candidate_of(unit).is_some() || self.waits_for_ahead(rank, entry, tip) {
                continue;
            }
            if entry.hold.is_some() || entry.refused.is_some() {
                return Next::Release(unit);
            }
            // The line is ordered by priority, so everybody behind is frozen too.
            if self.is_frozen(rank) {
                break;
            }
            let first = *part.get_or_insert(entry.part);
            if first != entry.part {
                break;
            }
            units.push(integrate(unit, entry));
            let most = first.map_or(self.batch.size(), |part| part.units_max);
            if units.len() >= most as usize {
                break;
            }
        }
        if units.is_empty() {
            Next::Nobody
        } else {
            Next::Units(units)
        }
    }

    /// Takes a batch apart.
    pub(super) fn split(&mut self, place: usize) {
        let built = self.chain.remove(place);
        let units = u32::try_from(built.candidate.units.len()).unwrap_or(u32::MAX);
        let part = Part {
            batch: self.step,
            units_max: units.div_ceil(2),
        };
        for member in &built.candidate.units {
            if let Some(entry) = self.entry_of_mut(&member.unit) {
                entry.part = Some(part);
            }
        }
        self.split.push(built);
        if self.split.len() > SPLIT_MAX {
            self.split.remove(0);
        }
    }

    /// Takes a batch apart for good: each of its units is verified alone from now on.
    pub(super) fn take_apart(&mut self, place: usize) {
        let built = self.chain.remove(place);
        let part = Part {
            batch: self.step,
            units_max: 1,
        };
        for member in &built.candidate.units {
            if let Some(entry) = self.entry_of_mut(&member.unit) {
                entry.part = Some(part);
            }
        }
    }

    /// What is known of a candidate from a batch that ended in the same commit.
    pub(super) fn known_of(&self, candidate: &Candidate) -> Vec<Trial> {
        let is_rest = |built: &&Built| {
            built.candidate.commit == candidate.commit && built.candidate.units.ends_with(&candidate.units)
        };
        match self.split.iter().find(is_rest) {
            // That the machine could not carry it out says nothing.
            Some(built) if candidate.units.len() > 1 => {
                let told = built
                    .trials
                    .iter()
                    .filter(|trial| trial.verdict != Verdict::Infrastructure);
                told.cloned().collect()
            }
            Some(_) | None => Vec::new(),
        }
    }
}

fn integrate(unit: &UnitId, entry: &Entry) -> IntegrateUnit {
    IntegrateUnit {
        unit: unit.clone(),
        generation: entry.generation,
        head: entry.head.commit.clone(),
        base: entry.base.clone(),
    }
}
