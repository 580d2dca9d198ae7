//! Order among numbered nodes: a stable topological sort, and who comes before whom.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Nodes in an order that respects the edges, the smallest first where there is a choice. Nodes on a cycle, and what
/// lies behind one, are missing.
pub(super) fn sorted(edges: &[(usize, usize)], nodes: usize) -> Vec<usize> {
    let mut waits_for = vec![0_usize; nodes];
    let mut next = vec![Vec::new(); nodes];
    for &(from, to) in edges {
        waits_for[to] += 1;
        next[from].push(to);
    }
    let mut ready: BinaryHeap<Reverse<usize>> = (0..nodes)
        .filter(|node| waits_for[*node] == 0)
        .map(Reverse)
        .collect();
    let mut sorted = Vec::with_capacity(nodes);
    while let Some(Reverse(node)) = ready.pop() {
        sorted.push(node);
        for &target in &next[node] {
            waits_for[target] -= 1;
            if waits_for[target] == 0 {
                ready.push(Reverse(target));
            }
        }
    }
    sorted
}

/// The layer of every node: the length of the longest way to it.
pub(super) fn layers(edges: &[(usize, usize)], nodes: usize) -> Vec<usize> {
    let mut layer = vec![0; nodes];
    let mut next = vec![Vec::new(); nodes];
    for &(from, to) in edges {
        next[from].push(to);
    }
    for node in sorted(edges, nodes) {
        for &target in &next[node] {
            layer[target] = layer[target].max(layer[node] + 1);
        }
    }
    layer
}

/// Who comes before whom, as one bit a pair: 12.5 MB for 10,000 nodes.
pub(super) struct Precedence {
    words: usize,
    after: Vec<u64>,
}

impl Precedence {
    pub(super) fn new(edges: &[(usize, usize)], nodes: usize) -> Self {
        let words = nodes.div_ceil(64);
        let mut precedence = Self {
            words,
            after: vec![0; words * nodes],
        };
        let mut next = vec![Vec::new(); nodes];
        for &(from, to) in edges {
            next[from].push(to);
        }
        for node in sorted(edges, nodes).into_iter().rev() {
            for &target in &next[node] {
                precedence.take_over(node, target);
            }
        }
        precedence
    }

    /// Whether `later` waits for `earlier`, directly or not.
    pub(super) fn holds(&self, earlier: usize, later: usize) -> bool {
        self.after[earlier * self.words + later / 64] >> (later % 64) & 1 == 1
    }

    /// Adds that `later` waits for `earlier`; the opposite must not hold.
    pub(super) fn insert(&mut self, earlier: usize, later: usize, nodes: usize) {
        for node in 0..nodes {
            if (node == earlier || self.holds(node, earlier)) && !self.holds(node, later) {
                self.take_over(node, later);
            }
        }
    }

    /// What comes after `target`, and `target` itself, comes after `node`.
    fn take_over(&mut self, node: usize, target: usize) {
        for word in 0..self.words {
            self.after[node * self.words + word] |= self.after[target * self.words + word];
        }
        self.after[node * self.words + target / 64] |= 1 << (target % 64);
    }
}
