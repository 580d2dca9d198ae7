//! Units that may run together and claim the same paths.

use std::collections::BTreeMap;

use super::order::Precedence;
use crate::id::UnitId;
use crate::spec;

/// Two units that may run together, and a pattern of each that may match the same path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Overlap {
    /// The earlier one in the file.
    pub a: UnitId,
    /// The later one.
    pub b: UnitId,
    /// A pattern of `a` and one of `b`.
    pub patterns: (String, String),
}

/// Every pair of units that may run together and claim the same paths, in file order, with the first pair of patterns
/// that shows it.
///
/// Only patterns of which one's literal directories are the beginning of the other's are compared, so that units in
/// separate directories cost nothing however many there are.
pub fn overlaps(units: &[spec::Unit], may_overlap: &dyn Fn(&str, &str) -> bool) -> Vec<Overlap> {
    let mut by_directory: BTreeMap<Vec<&str>, Vec<(usize, &str)>> = BTreeMap::new();
    for (place, unit) in units.iter().enumerate() {
        for pattern in &unit.paths {
            by_directory
                .entry(literal_directories(pattern))
                .or_default()
                .push((place, pattern));
        }
    }
    let precedence = Precedence::new(&needs(units), units.len());
    let mut found: BTreeMap<(usize, usize), (&str, &str)> = BTreeMap::new();
    let compare = |one: (usize, &'_ str), other: (usize, &'_ str)| -> Option<(usize, usize, bool)> {
        let (a, b) = if one.0 <= other.0 {
            (one, other)
        } else {
            (other, one)
        };
        let apart = a.0 == b.0 || precedence.holds(a.0, b.0) || precedence.holds(b.0, a.0);
        (!apart && may_overlap(a.1, b.1)).then_some((a.0, b.0, one.0 <= other.0))
    };
    for (directories, claims) in &by_directory {
        for (position, &claim) in claims.iter().enumerate() {
            let above = (0..directories.len()).filter_map(|depth| by_directory.get(&directories[..depth]));
            for &other in above.flatten().chain(&claims[position + 1..]) {
                if let Some((a, b, in_order)) = compare(claim, other) {
                    let patterns = if in_order {
                        (claim.1, other.1)
                    } else {
                        (other.1, claim.1)
                    };
                    found.entry((a, b)).or_insert(patterns);
                }
            }
        }
    }
    found
        .into_iter()
        .map(|((a, b), patterns)| Overlap {
            a: units[a].id.clone(),
            b: units[b].id.clone(),
            patterns: (patterns.0.to_owned(), patterns.1.to_owned()),
        })
        .collect()
}

/// For each overlap the pair (later, earlier) in file order, so that the later one waits. A pair that `needs` or the
/// pairs before it put in an order is left out, whichever order that is, so no cycle can arise.
pub fn serialized(units: &[spec::Unit], overlaps: &[Overlap]) -> Vec<(UnitId, UnitId)> {
    let places: BTreeMap<&UnitId, usize> = units
        .iter()
        .enumerate()
        .map(|(place, unit)| (&unit.id, place))
        .collect();
    let mut precedence = Precedence::new(&needs(units), units.len());
    let mut pairs = Vec::new();
    for overlap in overlaps {
        let (Some(&a), Some(&b)) = (places.get(&overlap.a), places.get(&overlap.b)) else {
            continue;
        };
        let (earlier, later) = (a.min(b), a.max(b));
        if earlier == later || precedence.holds(earlier, later) || precedence.holds(later, earlier) {
            continue;
        }
        precedence.insert(earlier, later, units.len());
        pairs.push((units[later].id.clone(), units[earlier].id.clone()));
    }
    pairs
}

/// The edges of `needs` by place in the file.
fn needs(units: &[spec::Unit]) -> Vec<(usize, usize)> {
    let places: BTreeMap<&UnitId, usize> = units
        .iter()
        .enumerate()
        .map(|(place, unit)| (&unit.id, place))
        .collect();
    units
        .iter()
        .enumerate()
        .flat_map(|(later, unit)| unit.needs.iter().map(move |need| (need, later)))
        .filter_map(|(need, later)| places.get(need).map(|earlier| (*earlier, later)))
        .collect()
}

/// The directories in which everything lies that a gitignore-style pattern matches. None for a pattern without a
/// slash, which matches at any depth. The last component is never one: it may be the file itself.
fn literal_directories(pattern: &str) -> Vec<&str> {
    let inner = pattern.strip_suffix('/').unwrap_or(pattern);
    if pattern.starts_with('!') || !inner.contains('/') {
        return Vec::new();
    }
    let mut components: Vec<&str> = inner
        .split('/')
        .filter(|component| !component.is_empty())
        .collect();
    components.pop();
    let literal = components
        .iter()
        .take_while(|component| !component.contains(['*', '?', '[', '\\', '{']))
        .count();
    components.truncate(literal);
    components
}
