//! A graph as text: lanes for a terminal, DOT, Mermaid.
//!
//! **Security:** titles are hostile. No control character, and no character that turns the direction of text, comes
//! out of any of these; each format escapes what has a meaning in it.

use std::fmt::Write as _;

use super::order;

/// What is drawn. Edges form no cycle; those that name a node that does not exist are left out.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Drawing {
    /// In file order.
    pub nodes: Vec<Node>,
    /// From what comes first to what waits.
    pub edges: Vec<Edge>,
    /// The critical path, as places in `nodes`.
    pub critical: Vec<usize>,
}

/// A node of a drawing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Node {
    /// The unit's or the stage's name.
    pub id: String,
    /// One line more; may be empty.
    pub title: String,
    /// A state or a kind: `queued`, `running`, `landed`, `evicted`, `review` …; may be empty. It chooses the colour.
    pub class: String,
}

/// An edge of a drawing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Edge {
    /// The place in `nodes` of what comes first.
    pub from: usize,
    /// The place in `nodes` of what waits.
    pub to: usize,
    /// It is not declared, it follows from `overlap: serialize`.
    pub dashed: bool,
}

impl Drawing {
    /// The edges that can be drawn.
    pub(super) fn sound_edges(&self) -> Vec<Edge> {
        let count = self.nodes.len();
        let sound = |edge: &&Edge| edge.from < count && edge.to < count && edge.from != edge.to;
        self.edges.iter().filter(sound).copied().collect()
    }

    pub(super) fn is_critical(&self, edge: Edge) -> bool {
        self.critical.windows(2).any(|pair| pair == [edge.from, edge.to])
    }
}

/// Text without control characters, line breaks and marks that turn the direction of text; at most `max` characters.
pub(super) fn tame(text: &str, max: usize) -> String {
    let turns = |c: char| matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}' | '\u{2028}' | '\u{2029}' | '\u{61c}');
    let mut tamed: String = text
        .chars()
        .map(|c| if c.is_control() || turns(c) { ' ' } else { c })
        .take(max + 1)
        .collect();
    if tamed.chars().count() > max {
        tamed = tamed.chars().take(max.saturating_sub(1)).collect();
        tamed.push('…');
    }
    tamed
}

/// The graph as rows of a terminal of `width` columns, a node a row, with lines in box-drawing characters: `○` a
/// node, `●` one on the critical path.
pub fn ascii(drawing: &Drawing, width: usize) -> String {
    rows(drawing, width, false)
}

/// [`ascii`] in ASCII alone: `o` a node, `*` one on the critical path. Other characters of titles become `?`.
pub fn ascii_plain(drawing: &Drawing, width: usize) -> String {
    let drawn = rows(drawing, width, true);
    drawn
        .chars()
        .map(|c| if c.is_ascii() { c } else { '?' })
        .collect()
}

/// Least room for the text beside the lines; where lines would leave less, they are given up for words.
const TEXT_COLUMNS_MIN: usize = 24;

const UP: u8 = 1;
const DOWN: u8 = 2;
const LEFT: u8 = 4;
const RIGHT: u8 = 8;

fn rows(drawing: &Drawing, width: usize, plain: bool) -> String {
    let edges: Vec<(usize, usize)> = drawing
        .sound_edges()
        .iter()
        .map(|edge| (edge.from, edge.to))
        .collect();
    let count = drawing.nodes.len();
    let sorted = order::sorted(&edges, count);
    let mut next = vec![Vec::new(); count];
    for (from, to) in &edges {
        next[*from].push(*to);
    }
    let mut place = vec![usize::MAX; count];
    for (position, node) in sorted.iter().enumerate() {
        place[*node] = position;
    }
    let (mut lines, mut columns) = (Vec::new(), 0);
    // The node each lane leads to; a node has one lane at most, on which all edges to it come together.
    let mut lanes: Vec<Option<usize>> = Vec::new();
    for &node in &sorted {
        let column = lane_of(&mut lanes, node);
        lines.push((cells(&lanes, column), Some(node)));
        next[node].sort_unstable_by_key(|target| place[*target]);
        next[node].dedup();
        let before = lanes.clone();
        lanes[column] = None;
        let targets: Vec<usize> = next[node]
            .iter()
            .map(|target| lane_for(&mut lanes, *target, column))
            .collect();
        if targets.iter().any(|target| *target != column) {
            lines.push((turn(&before, &lanes, column, &targets), None));
        }
        columns = columns.max(lanes.len());
        while lanes.last() == Some(&None) {
            lanes.pop();
        }
    }
    if columns * 2 + TEXT_COLUMNS_MIN > width {
        return listed(drawing, &sorted, &edges, width);
    }
    let id_columns = drawing
        .nodes
        .iter()
        .map(|node| node.id.chars().count())
        .max()
        .unwrap_or(0)
        .min(24);
    let mut drawn = String::new();
    for (cells, node) in lines {
        let mut line = line_of(&cells, node.map(|node| symbol(drawing, node, plain)), plain);
        if let Some(node) = node {
            line = format!(
                "{line:<lanes$} {}",
                label(&drawing.nodes[node], id_columns),
                lanes = columns * 2
            );
        }
        drawn.push_str(&cut(&line, width));
        drawn.push('\n');
    }
    drawn
}

/// The lane that leads to `node`, or the first free one.
fn lane_of(lanes: &mut Vec<Option<usize>>, node: usize) -> usize {
    let found = lanes.iter().position(|lane| *lane == Some(node));
    let column = found
        .or_else(|| lanes.iter().position(Option::is_none))
        .unwrap_or(lanes.len());
    if column == lanes.len() {
        lanes.push(None);
    }
    lanes[column] = Some(node);
    column
}

/// The lane that leads to `target` already, or else `own` if it is free, or else a new one.
fn lane_for(lanes: &mut Vec<Option<usize>>, target: usize, own: usize) -> usize {
    if let Some(lane) = lanes.iter().position(|lane| *lane == Some(target)) {
        return lane;
    }
    if lanes[own].is_none() {
        lanes[own] = Some(target);
        return own;
    }
    lane_of(lanes, target)
}

fn cells(lanes: &[Option<usize>], column: usize) -> Vec<u8> {
    let mut cells = vec![0; lanes.len() * 2];
    for (lane, target) in lanes.iter().enumerate() {
        if target.is_some() && lane != column {
            cells[lane * 2] = UP | DOWN;
        }
    }
    // Marks where the node stands; the symbol replaces it.
    cells[column * 2] = u8::MAX;
    cells
}

/// The row below a node, in which its edges turn into their lanes.
fn turn(before: &[Option<usize>], after: &[Option<usize>], column: usize, targets: &[usize]) -> Vec<u8> {
    let mut cells = vec![0; before.len().max(after.len()) * 2];
    for (lane, target) in before.iter().enumerate() {
        if target.is_some() {
            cells[lane * 2] |= UP;
        }
    }
    for (lane, target) in after.iter().enumerate() {
        if target.is_some() {
            cells[lane * 2] |= DOWN;
        }
    }
    for target in targets {
        let (left, right) = (column.min(*target) * 2, column.max(*target) * 2);
        for cell in left..right {
            cells[cell] |= RIGHT;
            cells[cell + 1] |= LEFT;
        }
    }
    cells
}

fn line_of(cells: &[u8], symbol: Option<char>, plain: bool) -> String {
    cells
        .iter()
        .map(|cell| match (*cell, symbol) {
            (u8::MAX, Some(symbol)) => symbol,
            (cell, _) if plain => match cell {
                0 => ' ',
                cell if cell & (LEFT | RIGHT) == 0 => '|',
                cell if cell & (UP | DOWN) == 0 => '-',
                _ => '+',
            },
            (cell, _) => [
                ' ', '╵', '╷', '│', '╴', '╯', '╮', '┤', '╶', '╰', '╭', '├', '─', '┴', '┬', '┼',
            ][usize::from(cell & 15)],
        })
        .collect()
}

fn symbol(drawing: &Drawing, node: usize, plain: bool) -> char {
    match (drawing.critical.contains(&node), plain) {
        (true, false) => '●',
        (false, false) => '○',
        (true, true) => '*',
        (false, true) => 'o',
    }
}

fn label(node: &Node, id_columns: usize) -> String {
    let mut label = format!("{:<id_columns$}", tame(&node.id, 40));
    if !node.class.is_empty() {
        let _ = write!(label, "  [{}]", tame(&node.class, 24));
    }
    if !node.title.is_empty() {
        let _ = write!(label, "  {}", tame(&node.title, 200));
    }
    label
}

fn cut(line: &str, width: usize) -> String {
    tame(line.trim_end(), width)
}

/// The graph in words: too many lanes for the width.
fn listed(drawing: &Drawing, sorted: &[usize], edges: &[(usize, usize)], width: usize) -> String {
    let mut drawn = String::new();
    for &node in sorted {
        let needs: Vec<String> = edges
            .iter()
            .filter(|(_, to)| *to == node)
            .map(|(from, _)| tame(&drawing.nodes[*from].id, 40))
            .collect();
        let mut line = label(&drawing.nodes[node], 0);
        if !needs.is_empty() {
            line = format!(
                "{}  after {}",
                tame(&drawing.nodes[node].id, 40),
                needs.join(", ")
            );
        }
        let mark = if drawing.critical.contains(&node) {
            '*'
        } else {
            '-'
        };
        drawn.push_str(&cut(&format!("{mark} {line}"), width));
        drawn.push('\n');
    }
    drawn
}

/// The graph in Graphviz' language.
pub fn dot(drawing: &Drawing) -> String {
    let quoted = |text: &str, max: usize| tame(text, max).replace('\\', "\\\\").replace('"', "\\\"");
    let mut out = String::from(
        "digraph pipeline {\n  rankdir=LR;\n  node [shape=box, style=rounded, fontname=\"sans-serif\"];\n",
    );
    for (place, node) in drawing.nodes.iter().enumerate() {
        let mut lines = vec![quoted(&node.id, 40)];
        lines.extend(
            [&node.title, &node.class]
                .into_iter()
                .filter(|text| !text.is_empty())
                .map(|text| quoted(text, 60)),
        );
        let weight = if drawing.critical.contains(&place) {
            ", penwidth=2.5"
        } else {
            ""
        };
        let _ = writeln!(out, "  n{place} [label=\"{}\"{weight}];", lines.join("\\n"));
    }
    for edge in drawing.sound_edges() {
        let style = if edge.dashed { "dashed" } else { "solid" };
        let weight = if drawing.is_critical(edge) {
            ", penwidth=2.5"
        } else {
            ""
        };
        let _ = writeln!(out, "  n{} -> n{} [style={style}{weight}];", edge.from, edge.to);
    }
    out.push_str("}\n");
    out
}

/// The graph as a Mermaid flowchart.
pub fn mermaid(drawing: &Drawing) -> String {
    let mut out = String::from("flowchart LR\n");
    for (place, node) in drawing.nodes.iter().enumerate() {
        let mut lines = vec![mermaid_text(&node.id, 40)];
        let more = [&node.title, &node.class];
        lines.extend(
            more.into_iter()
                .filter(|text| !text.is_empty())
                .map(|text| mermaid_text(text, 60)),
        );
        let _ = writeln!(out, "  n{place}[\"{}\"]", lines.join("<br/>"));
    }
    for edge in drawing.sound_edges() {
        let arrow = match (edge.dashed, drawing.is_critical(edge)) {
            (true, _) => "-.->",
            (false, true) => "==>",
            (false, false) => "-->",
        };
        let _ = writeln!(out, "  n{} {arrow} n{}", edge.from, edge.to);
    }
    if !drawing.critical.is_empty() {
        let critical: Vec<String> = drawing.critical.iter().map(|place| format!("n{place}")).collect();
        let _ = writeln!(
            out,
            "  classDef critical stroke-width:3px\n  class {} critical",
            critical.join(",")
        );
    }
    out
}

/// Everything in ASCII that is not plainly text becomes a character code, which Mermaid takes in labels.
fn mermaid_text(text: &str, max: usize) -> String {
    let mut out = String::new();
    for c in tame(text, max).chars() {
        if c.is_ascii_alphanumeric() || !c.is_ascii() || " -_.,:/()".contains(c) {
            out.push(c);
        } else {
            let _ = write!(out, "#{};", u32::from(c));
        }
    }
    out
}
