//! Graphs of units and stages: cycles with their path, order, critical path, overlap of claimed paths, drawings.
//!
//! An edge goes from what must be done first to what waits for it. Everything is deterministic: ties go by place in
//! the file.
//!
//! **Architecture Invariant:** pure functions of the pipeline file; a graph is made where it is needed and never
//! stored.

mod draw;
mod layout;
mod order;
mod overlap;
mod svg;

pub use draw::{Drawing, Edge, Node, ascii, ascii_plain, dot, mermaid};
pub use overlap::{Overlap, overlaps, serialized};
pub use svg::svg;

use std::collections::{BTreeMap, VecDeque};

use petgraph::algo::kosaraju_scc;
use petgraph::graph::{DiGraph, NodeIndex};
use petgraph::visit::EdgeRef;
use petgraph::{Direction, visit::Bfs};

use crate::id::UnitId;
use crate::spec;

/// One cycle of every strongly connected component, as its whole path: it starts at the smallest node, follows the
/// edges, and its last node has an edge to its first. Empty exactly if the graph has no cycle. Edges that name a node
/// beyond `nodes` are left out.
pub fn cycles(edges: &[(usize, usize)], nodes: usize) -> Vec<Vec<usize>> {
    let mut graph = DiGraph::<(), ()>::with_capacity(nodes, edges.len());
    for _ in 0..nodes {
        graph.add_node(());
    }
    let mut next: Vec<Vec<usize>> = vec![Vec::new(); nodes];
    for &(from, to) in edges.iter().filter(|(from, to)| *from < nodes && *to < nodes) {
        graph.add_edge(NodeIndex::new(from), NodeIndex::new(to), ());
        next[from].push(to);
    }
    for targets in &mut next {
        targets.sort_unstable();
        targets.dedup();
    }
    let mut component = vec![0; nodes];
    let mut starts = Vec::new();
    for (number, members) in kosaraju_scc(&graph).into_iter().enumerate() {
        for member in &members {
            component[member.index()] = number;
        }
        let smallest = members.iter().map(|member| member.index()).min();
        let cyclic = |node: &usize| members.len() > 1 || next[*node].contains(node);
        starts.extend(smallest.filter(cyclic));
    }
    starts.sort_unstable();
    starts
        .into_iter()
        .map(|start| shortest_cycle(start, &next, &component))
        .collect()
}

/// The shortest way from `start` back to itself within its component, which has one.
fn shortest_cycle(start: usize, next: &[Vec<usize>], component: &[usize]) -> Vec<usize> {
    let mut came_from = BTreeMap::new();
    let mut queue = VecDeque::from([start]);
    while let Some(node) = queue.pop_front() {
        for &target in &next[node] {
            if target == start {
                let mut path: Vec<usize> =
                    std::iter::successors(Some(node), |node| came_from.get(node).copied()).collect();
                path.reverse();
                return path;
            }
            if component[target] == component[start] && !came_from.contains_key(&target) {
                came_from.insert(target, node);
                queue.push_back(target);
            }
        }
    }
    vec![start]
}

/// The units of a validated file and what each must wait for.
pub struct UnitGraph {
    graph: DiGraph<UnitId, ()>,
    index: BTreeMap<UnitId, NodeIndex>,
    /// Nodes in an order that respects the edges; ties by place in the file.
    sorted: Vec<NodeIndex>,
}

impl UnitGraph {
    /// The graph of `needs`, with an edge more for each pair (later, earlier) of `serialized`. Names of units that are
    /// not in `units` are left out. Both together must be free of cycles, which validation sees to; what lies on a
    /// cycle would be in no wave.
    pub fn new(units: &[spec::Unit], serialized: &[(UnitId, UnitId)]) -> Self {
        let mut graph = DiGraph::with_capacity(units.len(), units.len());
        let index: BTreeMap<UnitId, NodeIndex> = units
            .iter()
            .map(|unit| (unit.id.clone(), graph.add_node(unit.id.clone())))
            .collect();
        let needs = units
            .iter()
            .flat_map(|unit| unit.needs.iter().map(|need| (&unit.id, need)));
        let waits = serialized.iter().map(|(later, earlier)| (later, earlier));
        for (later, earlier) in needs.chain(waits) {
            if let (Some(&later), Some(&earlier)) = (index.get(later), index.get(earlier)) {
                graph.update_edge(earlier, later, ());
            }
        }
        let edges: Vec<(usize, usize)> = graph
            .edge_references()
            .map(|edge| (edge.source().index(), edge.target().index()))
            .collect();
        let sorted = order::sorted(&edges, units.len())
            .into_iter()
            .map(NodeIndex::new)
            .collect();
        Self { graph, index, sorted }
    }

    /// The earliest wave of each unit: all it waits for is in earlier ones. Within a wave in file order.
    pub fn waves(&self) -> Vec<Vec<UnitId>> {
        let mut wave_of = vec![0; self.graph.node_count()];
        let mut waves: Vec<Vec<NodeIndex>> = Vec::new();
        for &node in &self.sorted {
            let before = self.graph.neighbors_directed(node, Direction::Incoming);
            let wave = before
                .map(|earlier| wave_of[earlier.index()] + 1)
                .max()
                .unwrap_or(0);
            wave_of[node.index()] = wave;
            if wave >= waves.len() {
                waves.resize(wave + 1, Vec::new());
            }
            waves[wave].push(node);
        }
        for wave in &mut waves {
            wave.sort_unstable();
        }
        waves
            .into_iter()
            .map(|wave| wave.into_iter().map(|node| self.graph[node].clone()).collect())
            .collect()
    }

    /// For every unit the weight of the heaviest path from it to a unit nothing waits for, itself included.
    pub fn remaining_path(&self, weight: impl Fn(&UnitId) -> u64) -> BTreeMap<UnitId, u64> {
        let remaining = self.remaining(&weight);
        self.index
            .iter()
            .map(|(unit, node)| (unit.clone(), remaining[node.index()]))
            .collect()
    }

    /// The heaviest path, from a unit that waits for nothing to one nothing waits for.
    pub fn critical_path(&self, weight: impl Fn(&UnitId) -> u64) -> Vec<UnitId> {
        let remaining = self.remaining(&weight);
        // The heaviest, and of equals the first in the file.
        let heaviest = |nodes: &mut dyn Iterator<Item = NodeIndex>| {
            nodes.max_by_key(|node| (remaining[node.index()], std::cmp::Reverse(node.index())))
        };
        let mut sources = self.sorted.iter().copied().filter(|node| {
            self.graph
                .neighbors_directed(*node, Direction::Incoming)
                .next()
                .is_none()
        });
        std::iter::successors(heaviest(&mut sources), |node| {
            heaviest(&mut self.graph.neighbors(*node))
        })
        .map(|node| self.graph[node].clone())
        .collect()
    }

    fn remaining(&self, weight: &impl Fn(&UnitId) -> u64) -> Vec<u64> {
        let mut remaining = vec![0_u64; self.graph.node_count()];
        for &node in self.sorted.iter().rev() {
            let after = self
                .graph
                .neighbors(node)
                .map(|later| remaining[later.index()])
                .max();
            remaining[node.index()] = weight(&self.graph[node]).saturating_add(after.unwrap_or(0));
        }
        remaining
    }

    /// Everything that waits for a unit, directly or not, in file order.
    pub fn dependents(&self, unit: &UnitId) -> Vec<UnitId> {
        let Some(&start) = self.index.get(unit) else {
            return Vec::new();
        };
        let mut search = Bfs::new(&self.graph, start);
        let mut found: Vec<NodeIndex> = std::iter::from_fn(|| search.next(&self.graph))
            .filter(|node| *node != start)
            .collect();
        found.sort_unstable();
        found.into_iter().map(|node| self.graph[node].clone()).collect()
    }

    /// Whether two different units may be worked on at the same time: neither waits for the other.
    pub fn may_run_together(&self, a: &UnitId, b: &UnitId) -> bool {
        a != b && !self.dependents(a).contains(b) && !self.dependents(b).contains(a)
    }
}

#[cfg(test)]
mod tests;
