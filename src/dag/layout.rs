//! Where things go in a layered drawing: layers by longest path, few crossings by barycentres.

use super::order;

/// What takes a place in a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Slot {
    /// A node.
    Node(usize),
    /// An edge on its way through.
    Via(usize),
}

/// A layered layout.
pub(super) struct Layout {
    /// Top to bottom within a layer.
    pub(super) layers: Vec<Vec<Slot>>,
    /// The layer of each node.
    pub(super) layer_of: Vec<usize>,
}

/// Sweeps over the layers; more do not help visibly.
const SWEEPS: usize = 8;

/// Lays out a graph without cycles.
pub(super) fn layout(edges: &[(usize, usize)], nodes: usize) -> Layout {
    let layer_of = order::layers(edges, nodes);
    let count = layer_of.iter().max().map_or(0, |deepest| deepest + 1);
    let mut layers: Vec<Vec<Slot>> = vec![Vec::new(); count];
    for (node, layer) in layer_of.iter().enumerate() {
        layers[*layer].push(Slot::Node(node));
    }
    for (edge, (from, to)) in edges.iter().enumerate() {
        for layer in layers.iter_mut().take(layer_of[*to]).skip(layer_of[*from] + 1) {
            layer.push(Slot::Via(edge));
        }
    }
    let mut layout = Layout { layers, layer_of };
    for sweep in 0..SWEEPS {
        for step in 1..count {
            let (layer, beside) = if sweep % 2 == 0 {
                (step, step - 1)
            } else {
                (count - 1 - step, count - step)
            };
            layout.reorder(layer, beside, edges, nodes);
        }
    }
    layout
}

impl Layout {
    /// Puts the slots of a layer in the order of the middle of what they touch in the layer beside it.
    fn reorder(&mut self, layer: usize, beside: usize, edges: &[(usize, usize)], nodes: usize) {
        let mut node_at = vec![None; nodes];
        let mut via_at = vec![None; edges.len()];
        for (place, slot) in self.layers[beside].iter().enumerate() {
            match slot {
                Slot::Node(node) => node_at[*node] = Some(place),
                Slot::Via(edge) => via_at[*edge] = Some(place),
            }
        }
        let mut node_here = vec![false; nodes];
        let mut touched: Vec<(u64, u64)> = vec![(0, 0); nodes];
        for slot in &self.layers[layer] {
            if let Slot::Node(node) = slot {
                node_here[*node] = true;
            }
        }
        for (edge, (from, to)) in edges.iter().enumerate() {
            let (here, there) = if beside < layer {
                (*to, *from)
            } else {
                (*from, *to)
            };
            if let (true, Some(place)) = (node_here[here], via_at[edge].or(node_at[there])) {
                touched[here] = (touched[here].0 + place as u64, touched[here].1 + 1);
            }
        }
        let centre = |place: usize, slot: Slot| -> u64 {
            // In thousandths of a place, so that the order is exact on every machine.
            match slot {
                Slot::Node(node) => match touched[node] {
                    (_, 0) => place as u64 * 1000,
                    (sum, count) => sum * 1000 / count,
                },
                Slot::Via(edge) => {
                    let (from, to) = edges[edge];
                    let end = if beside < layer { from } else { to };
                    via_at[edge].or(node_at[end]).unwrap_or(place) as u64 * 1000
                }
            }
        };
        let mut ordered: Vec<(u64, usize, Slot)> = self.layers[layer]
            .iter()
            .enumerate()
            .map(|(place, slot)| (centre(place, *slot), place, *slot))
            .collect();
        ordered.sort_unstable_by_key(|(centre, place, _)| (*centre, *place));
        self.layers[layer] = ordered.into_iter().map(|(_, _, slot)| slot).collect();
    }
}
