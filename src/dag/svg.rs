//! A graph as an SVG picture, left to right, for light and dark pages.
//!
//! **Security:** every text is escaped and tamed, attributes are numbers or words of ours, and there is no script, no
//! link and nothing that is loaded.

use std::fmt::Write as _;

use super::draw::{Drawing, Edge, tame};
use super::layout::{Layout, Slot, layout};

const CARD_WIDTH: f64 = 196.0;
const CARD_HEIGHT: f64 = 52.0;
const VIA_HEIGHT: f64 = 14.0;
const GAP_X: f64 = 64.0;
const GAP_Y: f64 = 18.0;
const MARGIN: f64 = 24.0;
/// Characters that fit into a card.
const ID_CHARS: usize = 22;
const TITLE_CHARS: usize = 29;

/// Colours are written out, not as variables, which renderers outside browsers do not know.
const STYLE: &str = "<style>
text{font-family:ui-sans-serif,system-ui,-apple-system,'Segoe UI','DejaVu Sans',sans-serif;fill:#1f2328}
.id{font-size:13px;font-weight:600}.title{font-size:11px;fill:#59636e}
.page{fill:#ffffff}.card{fill:#f6f8fa;stroke:#b6bfc9;stroke-width:1}
.edge{fill:none;stroke:#b6bfc9;stroke-width:1.5}.tip,.bar{fill:#b6bfc9}
.good .bar{fill:#1a7f37}.bad .bar{fill:#cf222e}.busy .bar{fill:#9a6700}
.critical .card{stroke:#0969da;stroke-width:2}.edge.critical{stroke:#0969da;stroke-width:2.25}.tip.critical{fill:#0969da}
.edge.dashed{stroke-dasharray:5 4}
@media (prefers-color-scheme:dark){
text{fill:#e6edf3}.title{fill:#9198a1}
.page{fill:#0d1117}.card{fill:#161b22;stroke:#3d444d}
.edge{stroke:#3d444d}.tip,.bar{fill:#3d444d}
.good .bar{fill:#3fb950}.bad .bar{fill:#f85149}.busy .bar{fill:#d29922}
.critical .card,.edge.critical{stroke:#4493f8}.tip.critical{fill:#4493f8}
}
</style>
";

/// The graph as a complete SVG document.
pub fn svg(drawing: &Drawing) -> String {
    let edges = drawing.sound_edges();
    let pairs: Vec<(usize, usize)> = edges.iter().map(|edge| (edge.from, edge.to)).collect();
    let layout = layout(&pairs, drawing.nodes.len());
    let places = Places::new(&layout, drawing.nodes.len(), edges.len());
    let mut out = String::new();
    let _ = writeln!(
        out,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{w:.0}\" height=\"{h:.0}\" viewBox=\"0 0 {w:.0} {h:.0}\" \
         role=\"img\" aria-labelledby=\"title desc\">",
        w = places.width,
        h = places.height,
    );
    let _ = writeln!(
        out,
        "<title id=\"title\">Pipeline graph</title>\n<desc id=\"desc\">{}</desc>",
        description(drawing, &edges)
    );
    out.push_str(STYLE);
    let _ = writeln!(
        out,
        "<rect class=\"page\" width=\"{:.0}\" height=\"{:.0}\"/>",
        places.width, places.height
    );
    // The critical path is drawn last, on top.
    for critical in [false, true] {
        for (number, edge) in edges.iter().enumerate() {
            if drawing.is_critical(*edge) == critical {
                out.push_str(&curve(&places, &layout, number, *edge, critical));
            }
        }
    }
    for place in 0..drawing.nodes.len() {
        out.push_str(&card(drawing, place, places.nodes[place]));
    }
    out.push_str("</svg>\n");
    out
}

/// The middle of the left side of everything that has a place.
struct Places {
    nodes: Vec<(f64, f64)>,
    /// Each edge's way through the layers between its ends, in order.
    vias: Vec<Vec<(f64, f64)>>,
    width: f64,
    height: f64,
}

impl Places {
    fn new(layout: &Layout, nodes: usize, edges: usize) -> Self {
        let height_of = |slot: &Slot| match slot {
            Slot::Node(_) => CARD_HEIGHT,
            Slot::Via(_) => VIA_HEIGHT,
        };
        let layer_height =
            |layer: &Vec<Slot>| layer.iter().map(|slot| height_of(slot) + GAP_Y).sum::<f64>() - GAP_Y;
        let tallest = layout.layers.iter().map(layer_height).fold(CARD_HEIGHT, f64::max);
        let mut places = Self {
            nodes: vec![(MARGIN, MARGIN); nodes],
            vias: vec![Vec::new(); edges],
            width: MARGIN * 2.0 + layout.layers.len().max(1) as f64 * (CARD_WIDTH + GAP_X) - GAP_X,
            height: MARGIN * 2.0 + tallest,
        };
        for (column, layer) in layout.layers.iter().enumerate() {
            let x = MARGIN + column as f64 * (CARD_WIDTH + GAP_X);
            let mut y = MARGIN + (tallest - layer_height(layer)) / 2.0;
            for slot in layer {
                let middle = y + height_of(slot) / 2.0;
                match slot {
                    Slot::Node(node) => places.nodes[*node] = (x, middle),
                    Slot::Via(edge) => places.vias[*edge].push((x, middle)),
                }
                y += height_of(slot) + GAP_Y;
            }
        }
        places
    }
}

fn curve(places: &Places, layout: &Layout, number: usize, edge: Edge, critical: bool) -> String {
    // An edge that lies on a cycle has no way from left to right.
    if layout.layer_of[edge.from] >= layout.layer_of[edge.to] {
        return String::new();
    }
    let (x, y) = places.nodes[edge.from];
    let mut path = format!("M{:.1} {y:.1}", x + CARD_WIDTH);
    let mut at = (x + CARD_WIDTH, y);
    let (end_x, end_y) = places.nodes[edge.to];
    let end = (end_x - 6.0, end_y);
    for (to, through) in places.vias[number]
        .iter()
        .map(|via| (*via, true))
        .chain([(end, false)])
    {
        let middle = f64::midpoint(at.0, to.0);
        let _ = write!(
            path,
            " C{middle:.1} {:.1} {middle:.1} {:.1} {:.1} {:.1}",
            at.1, to.1, to.0, to.1
        );
        at = to;
        if through {
            at.0 += CARD_WIDTH;
            let _ = write!(path, " L{:.1} {:.1}", at.0, at.1);
        }
    }
    let mut class = String::new();
    class.push_str(if critical { " critical" } else { "" });
    let dashed = if edge.dashed { " dashed" } else { "" };
    format!(
        "<path class=\"edge{class}{dashed}\" d=\"{path}\"/>\n<path class=\"tip{class}\" d=\"M{:.1} {:.1} l-7 -4 v8 z\"/>\n",
        end_x - 1.0,
        end_y
    )
}

fn card(drawing: &Drawing, place: usize, (x, middle): (f64, f64)) -> String {
    let node = &drawing.nodes[place];
    let y = middle - CARD_HEIGHT / 2.0;
    let critical = if drawing.critical.contains(&place) {
        " critical"
    } else {
        ""
    };
    let state = if node.class.is_empty() {
        String::new()
    } else {
        format!(" ({})", escaped(&node.class, 24))
    };
    let (id_y, title_y) = (
        if node.title.is_empty() {
            middle + 4.5
        } else {
            middle - 4.0
        },
        middle + 14.0,
    );
    let mut out = format!(
        "<g class=\"node {}{critical}\"><title>{}{state}: {}</title>\n",
        mood(&node.class),
        escaped(&node.id, 40),
        escaped(&node.title, 200),
    );
    let _ = writeln!(
        out,
        "<rect class=\"card\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{CARD_WIDTH}\" height=\"{CARD_HEIGHT}\" rx=\"7\"/>\
         <rect class=\"bar\" x=\"{:.1}\" y=\"{:.1}\" width=\"3\" height=\"{}\" rx=\"1.5\"/>",
        x + 7.0,
        y + 9.0,
        CARD_HEIGHT - 18.0
    );
    let _ = writeln!(
        out,
        "<text class=\"id\" x=\"{:.1}\" y=\"{id_y:.1}\">{}</text>",
        x + 18.0,
        escaped(&node.id, ID_CHARS)
    );
    if !node.title.is_empty() {
        let _ = writeln!(
            out,
            "<text class=\"title\" x=\"{:.1}\" y=\"{title_y:.1}\">{}</text>",
            x + 18.0,
            escaped(&node.title, TITLE_CHARS)
        );
    }
    out.push_str("</g>\n");
    out
}

/// The colour of a state; a word of ours, whatever the class says.
fn mood(class: &str) -> &'static str {
    match class {
        "landed" | "approved" | "verified" | "done" => "good",
        "evicted" | "blocked" | "failed" | "held" | "discarded" => "bad",
        "running" | "verifying" | "landing" | "integrated" | "gate" => "busy",
        _ => "calm",
    }
}

fn description(drawing: &Drawing, edges: &[Edge]) -> String {
    let critical: Vec<String> = drawing
        .critical
        .iter()
        .filter_map(|place| drawing.nodes.get(*place))
        .map(|node| escaped(&node.id, 40))
        .collect();
    let mut text = format!("{} nodes and {} edges.", drawing.nodes.len(), edges.len());
    if !critical.is_empty() {
        let _ = write!(text, " Critical path: {}.", critical.join(", "));
    }
    text
}

fn escaped(text: &str, max: usize) -> String {
    let mut out = String::new();
    for c in tame(text, max).chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}
