//! Who goes first when slots are short, and who waits for whom.

use std::collections::BTreeMap;

use crate::dag::{self, UnitGraph};
use crate::id::UnitId;
use crate::spec::{self, Overlap, Pipeline, Tier};

/// The fixed part of the order: the graph of units with the length of the path that is left from each.
#[derive(Debug, Clone, PartialEq)]
pub struct Order {
    /// Stages on the longest path of units that hangs on each unit, itself not included.
    behind: BTreeMap<UnitId, u64>,
    /// Units each unit waits for because both claim the same paths; ended in any way is good enough.
    after: BTreeMap<UnitId, Vec<UnitId>>,
}

impl Order {
    /// Computes the order of a validated pipeline.
    pub fn new(pipeline: &Pipeline) -> Self {
        let serialized = serialized(pipeline);
        let graph = UnitGraph::new(&pipeline.units, &serialized);
        let weights: BTreeMap<&UnitId, u64> = pipeline
            .units
            .iter()
            .map(|unit| (&unit.id, longest_stage_path(&pipeline.tiers[&unit.tier])))
            .collect();
        let mut behind = graph.remaining_path(|unit| weights[unit]);
        for (unit, length) in &mut behind {
            *length -= weights[unit];
        }
        let mut after: BTreeMap<UnitId, Vec<UnitId>> = BTreeMap::new();
        for (later, earlier) in serialized {
            after.entry(later).or_default().push(earlier);
        }
        Self { behind, after }
    }

    /// Stages that must follow on the longest path after the unit has landed.
    pub fn behind(&self, unit: &UnitId) -> u64 {
        self.behind.get(unit).copied().unwrap_or(0)
    }

    /// Units that must have ended before this one starts, because both claim the same paths.
    pub fn after(&self, unit: &UnitId) -> &[UnitId] {
        self.after.get(unit).map_or(&[], Vec::as_slice)
    }
}

/// Pairs (later, earlier) of units that claim the same paths and are therefore run one after the other.
pub fn serialized(pipeline: &Pipeline) -> Vec<(UnitId, UnitId)> {
    match pipeline.overlap {
        Overlap::Serialize => {
            let overlaps = dag::overlaps(&pipeline.units, &spec::patterns_may_overlap);
            dag::serialized(&pipeline.units, &overlaps)
        }
        Overlap::Warn | Overlap::Error => Vec::new(),
    }
}

/// The number of stages on the longest path through a tier.
pub fn longest_stage_path(tier: &Tier) -> u64 {
    let mut lengths: BTreeMap<&str, u64> = BTreeMap::new();
    for stage in &tier.stages {
        let longest = stage
            .needs
            .iter()
            .filter_map(|need| lengths.get(need.as_str()))
            .max();
        lengths.insert(stage.name.as_str(), longest.copied().unwrap_or(0) + 1);
    }
    lengths.into_values().max().unwrap_or(0)
}
