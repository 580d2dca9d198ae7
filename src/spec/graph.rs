//! Order and cycles of `needs`, for units and for the stages of a tier alike.
//!
//! Nodes are numbers in file order; `needs[i]` holds what `i` waits for. Nothing here recurses: a chain may be
//! as long as the file allows.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// An order that respects `needs`, ties in file order; nodes on or behind a cycle are missing from it.
pub(super) fn order(needs: &[Vec<usize>]) -> Vec<usize> {
    let mut dependents = vec![Vec::new(); needs.len()];
    let mut waiting: Vec<usize> = needs.iter().map(Vec::len).collect();
    for (node, its_needs) in needs.iter().enumerate() {
        for need in its_needs {
            dependents[*need].push(node);
        }
    }
    let mut ready: BinaryHeap<_> = (0..needs.len())
        .filter(|node| waiting[*node] == 0)
        .map(Reverse)
        .collect();
    let mut order = Vec::with_capacity(needs.len());
    while let Some(Reverse(node)) = ready.pop() {
        order.push(node);
        for dependent in &dependents[node] {
            waiting[*dependent] -= 1;
            if waiting[*dependent] == 0 {
                ready.push(Reverse(*dependent));
            }
        }
    }
    order
}

/// Cycles, each as the nodes in the order in which they need one another; every node is in one of them at most.
pub(super) fn cycles(needs: &[Vec<usize>]) -> Vec<Vec<usize>> {
    let mut stuck = vec![true; needs.len()];
    for node in order(needs) {
        stuck[node] = false;
    }
    let mut walk_of = vec![usize::MAX; needs.len()];
    let mut cycles = Vec::new();
    for start in 0..needs.len() {
        if !stuck[start] || walk_of[start] != usize::MAX {
            continue;
        }
        let mut path = Vec::new();
        let mut node = start;
        while walk_of[node] == usize::MAX {
            walk_of[node] = start;
            path.push(node);
            let next = needs[node].iter().find(|need| stuck[**need]);
            node = *next.expect("a node that is stuck waits for another one that is");
        }
        if walk_of[node] == start {
            let entry = path
                .iter()
                .position(|on_path| *on_path == node)
                .expect("the walk came by it");
            let mut cycle = path.split_off(entry);
            let first = (0..cycle.len()).min_by_key(|at| cycle[*at]).unwrap_or(0);
            cycle.rotate_left(first);
            cycles.push(cycle);
        }
    }
    cycles
}

/// Which nodes each node waits for, directly or not, as one row of bits per node.
pub(super) struct Ancestors {
    words: usize,
    bits: Vec<u64>,
}

impl Ancestors {
    /// Of a graph; rows of nodes that [`order`] leaves out stay empty.
    pub(super) fn new(needs: &[Vec<usize>]) -> Self {
        let words = needs.len().div_ceil(64);
        let mut bits = vec![0_u64; words * needs.len()];
        for node in order(needs) {
            for need in &needs[node] {
                for word in 0..words {
                    let inherited = bits[need * words + word];
                    bits[node * words + word] |= inherited;
                }
                bits[node * words + need / 64] |= 1 << (need % 64);
            }
        }
        Self { words, bits }
    }

    /// Whether `node` waits for `earlier`, directly or not.
    pub(super) fn waits(&self, node: usize, earlier: usize) -> bool {
        self.bits[node * self.words + earlier / 64] >> (earlier % 64) & 1 == 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_respects_needs_and_breaks_ties_by_file_order() {
        assert_eq!(order(&[vec![2], vec![], vec![], vec![0, 1]]), [1, 2, 0, 3]);
    }

    #[test]
    fn a_node_behind_a_cycle_is_not_blamed_for_it() {
        let needs = [vec![1], vec![2], vec![1], vec![]];
        assert_eq!(cycles(&needs), [vec![1, 2]]);
        assert_eq!(order(&needs), [3]);
    }

    #[test]
    fn two_cycles_are_two_reports() {
        assert_eq!(
            cycles(&[vec![1], vec![0], vec![3], vec![2], vec![4]]),
            [vec![0, 1], vec![2, 3], vec![4]]
        );
    }

    #[test]
    fn ancestors_are_transitive() {
        let ancestors = Ancestors::new(&[vec![], vec![0], vec![1], vec![]]);
        assert!(ancestors.waits(2, 0) && !ancestors.waits(0, 2) && !ancestors.waits(3, 0));
    }
}
