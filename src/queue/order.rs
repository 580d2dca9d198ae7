//! Who is next: the one comparator of the queue.

use std::cmp::Reverse;

use crate::id::UnitId;

/// The place of an entry among those that wait. Smaller goes first; the fields are compared in this order:
///
/// 1. **Priority**, higher first: the one in the file, or the one that a person gave the unit since.
/// 2. **Age**, older first. It is counted in steps of the queue (a candidate begun, an entry ended), not in time, and belongs to the unit, not to its
///    generation: a unit that comes back from a fix stage keeps its age. Units that join between the same two
///    steps are of one age.
/// 3. **Place** in the pipeline file.
/// 4. **Unit id**, so that the order is total whatever the places are.
///
/// Above all four stands that entries whose candidates count are served to their end, in the order in which these were
/// built: a unit of a higher priority goes next, but cancels nothing.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rank {
    /// Rule 1.
    pub priority: Reverse<i64>,
    /// Rule 2.
    pub age: u64,
    /// Rule 3.
    pub place: u32,
    /// Rule 4.
    pub unit: UnitId,
}
