//! Graphs and drawings, held against naive counterparts.

use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::prelude::*;

use super::{
    Drawing, Edge, Node, UnitGraph, ascii, ascii_plain, cycles, dot, mermaid, overlaps, serialized, svg,
};
use crate::id::UnitId;
use crate::spec::Unit;

fn id(name: &str) -> UnitId {
    name.parse().unwrap()
}

fn unit(name: &str, needs: &[&str], paths: &[&str]) -> Unit {
    Unit {
        id: id(name),
        title: name.to_owned(),
        prompt: String::new(),
        acceptance: vec![],
        paths: paths.iter().map(|path| (*path).to_owned()).collect(),
        needs: needs.iter().map(|need| id(need)).collect(),
        tier: "small".to_owned(),
        priority: 0,
        agent: None,
        budget: None,
        checks: vec![],
        may_change_tests: false,
        ticket: None,
        exclusive: std::collections::BTreeSet::new(),
        from_branch: None,
    }
}

/// a → b → d, a → c → d, e alone.
fn diamond() -> Vec<Unit> {
    vec![
        unit("a", &[], &[]),
        unit("b", &["a"], &[]),
        unit("c", &["a"], &[]),
        unit("d", &["b", "c"], &[]),
        unit("e", &[], &[]),
    ]
}

fn names(units: &[UnitId]) -> Vec<&str> {
    units.iter().map(UnitId::as_str).collect()
}

/// Good enough for tests: literal directories up to the first `*`.
fn prefixes_meet(a: &str, b: &str) -> bool {
    let (a, b) = (a.split('*').next().unwrap(), b.split('*').next().unwrap());
    a.starts_with(b) || b.starts_with(a)
}

#[test]
fn a_cycle_is_told_as_its_whole_path_from_its_smallest_node() {
    assert_eq!(cycles(&[(2, 0), (0, 1), (1, 2), (2, 3)], 4), [[0, 1, 2]]);
}

#[test]
fn a_node_that_needs_itself_is_a_cycle() {
    assert_eq!(cycles(&[(1, 1)], 2), [[1]]);
}

#[test]
fn separate_cycles_are_told_separately_in_order() {
    assert_eq!(cycles(&[(3, 2), (2, 3), (1, 0), (0, 1)], 4), [[0, 1], [2, 3]]);
}

#[test]
fn a_graph_without_cycles_has_none_and_foreign_nodes_are_left_out() {
    assert!(cycles(&[(0, 1), (1, 2), (0, 2), (7, 0)], 3).is_empty());
}

#[test]
fn a_long_chain_does_not_exhaust_the_stack() {
    let edges: Vec<_> = (0..50_000).map(|node| (node, (node + 1) % 50_001)).collect();
    assert!(cycles(&edges, 50_001).is_empty());
}

#[test]
fn waves_hold_what_may_start_together() {
    let waves = UnitGraph::new(&diamond(), &[]).waves();
    assert_eq!(
        waves.iter().map(|wave| names(wave)).collect::<Vec<_>>(),
        [vec!["a", "e"], vec!["b", "c"], vec!["d"]]
    );
}

#[test]
fn serialized_units_are_in_separate_waves() {
    let graph = UnitGraph::new(&diamond(), &[(id("c"), id("b"))]);
    assert_eq!(graph.waves().len(), 4);
    assert!(!graph.may_run_together(&id("b"), &id("c")));
}

#[test]
fn the_critical_path_is_the_heaviest_and_ties_go_by_place() {
    let graph = UnitGraph::new(&diamond(), &[]);
    assert_eq!(names(&graph.critical_path(|_| 1)), ["a", "b", "d"]);
    let heavy_c = |unit: &UnitId| if unit.as_str() == "c" { 5 } else { 1 };
    assert_eq!(names(&graph.critical_path(heavy_c)), ["a", "c", "d"]);
    assert!(UnitGraph::new(&[], &[]).critical_path(|_| 1).is_empty());
}

#[test]
fn the_remaining_path_counts_the_unit_itself() {
    let remaining = UnitGraph::new(&diamond(), &[]).remaining_path(|_| 2);
    assert_eq!(remaining.values().copied().collect::<Vec<_>>(), [6, 4, 4, 2, 2]);
}

#[test]
fn dependents_are_all_that_wait_directly_or_not() {
    let graph = UnitGraph::new(&diamond(), &[]);
    assert_eq!(names(&graph.dependents(&id("a"))), ["b", "c", "d"]);
    assert!(graph.dependents(&id("e")).is_empty() && graph.dependents(&id("x")).is_empty());
}

#[test]
fn units_may_run_together_when_neither_waits_for_the_other() {
    let graph = UnitGraph::new(&diamond(), &[]);
    assert!(graph.may_run_together(&id("b"), &id("c")));
    assert!(!graph.may_run_together(&id("a"), &id("d")) && !graph.may_run_together(&id("d"), &id("a")));
    assert!(!graph.may_run_together(&id("a"), &id("a")));
}

#[test]
fn overlap_is_told_in_file_order_with_the_patterns() {
    let units = [
        unit("a", &[], &["src/api/x.rs"]),
        unit("b", &[], &["docs/**", "src/**"]),
    ];
    let found = overlaps(&units, &prefixes_meet);
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].a.as_str(), found[0].b.as_str()), ("a", "b"));
    assert_eq!(
        found[0].patterns,
        ("src/api/x.rs".to_owned(), "src/**".to_owned())
    );
}

#[test]
fn units_that_wait_for_each_other_do_not_overlap() {
    let units = [
        unit("a", &[], &["src/**"]),
        unit("b", &["a"], &["lib/**"]),
        unit("c", &["b"], &["src/**"]),
    ];
    assert!(overlaps(&units, &prefixes_meet).is_empty());
}

#[test]
fn a_pattern_without_a_slash_is_compared_with_everything() {
    let units = [unit("a", &[], &["*.rs"]), unit("b", &[], &["deep/down/x.rs"])];
    assert_eq!(overlaps(&units, &|_, _| true).len(), 1);
}

#[test]
fn a_directory_is_compared_with_what_lies_in_it() {
    let units = [unit("a", &[], &["src/api"]), unit("b", &[], &["src/api/v1/x.rs"])];
    assert_eq!(overlaps(&units, &|_, _| true).len(), 1);
}

#[test]
fn separate_directories_are_not_compared_at_all() {
    let units: Vec<Unit> = (0..10_000)
        .map(|n| unit(&format!("u{n}"), &[], &[&format!("part{n}/src/**")]))
        .collect();
    assert!(overlaps(&units, &|_, _| panic!("compared")).is_empty());
}

#[test]
fn the_later_one_in_the_file_waits() {
    let units = [
        unit("a", &[], &["x/**"]),
        unit("b", &[], &["x/**"]),
        unit("c", &[], &["x/**"]),
    ];
    let pairs = serialized(&units, &overlaps(&units, &prefixes_meet));
    assert_eq!(
        pairs,
        [(id("b"), id("a")), (id("c"), id("a")), (id("c"), id("b"))]
    );
}

#[test]
fn serializing_never_closes_a_cycle() {
    let units = [
        unit("a", &["c"], &["x/**"]),
        unit("b", &[], &["x/**", "y/**"]),
        unit("c", &[], &["y/**"]),
    ];
    let pairs = serialized(&units, &overlaps(&units, &prefixes_meet));
    assert_eq!(pairs, [(id("b"), id("a"))], "c comes before a, and so before b");
    assert_eq!(UnitGraph::new(&units, &pairs).waves().len(), 3);
}

fn drawing() -> Drawing {
    let names = ["schema", "api", "ui", "docs", "release"];
    Drawing {
        nodes: names
            .iter()
            .map(|name| Node {
                id: (*name).to_owned(),
                title: format!("feat: the {name}"),
                class: "queued".to_owned(),
            })
            .collect(),
        edges: [(0, 1), (0, 2), (1, 4), (2, 4), (0, 3), (3, 4)]
            .map(|(from, to)| Edge {
                from,
                to,
                dashed: to == 3,
            })
            .to_vec(),
        critical: vec![0, 1, 4],
    }
}

fn hostile() -> Drawing {
    let evil = "\"];}\n</text><script>&'\u{1b}[31m\u{202e}`#;--> %%{init}%% \\";
    Drawing {
        nodes: vec![Node {
            id: evil.to_owned(),
            title: evil.to_owned(),
            class: evil.to_owned(),
        }],
        edges: vec![
            Edge {
                from: 0,
                to: 9,
                dashed: false,
            },
            Edge {
                from: 0,
                to: 0,
                dashed: false,
            },
        ],
        critical: vec![0, 7],
    }
}

#[test]
fn a_terminal_shows_a_row_for_every_node_and_its_lanes() {
    let drawn = ascii(&drawing(), 80);
    assert_eq!(
        drawn,
        "\
●      schema   [queued]  feat: the schema
├─┬─╮
● │ │  api      [queued]  feat: the api
│ ○ │  ui       [queued]  feat: the ui
├─╯ │
│   ○  docs     [queued]  feat: the docs
├───╯
●      release  [queued]  feat: the release
"
    );
}

#[test]
fn plain_drawings_are_ascii() {
    let drawn = ascii_plain(&drawing(), 80);
    assert!(
        drawn.is_ascii() && drawn.starts_with("*      schema") && drawn.contains("+-+-+"),
        "{drawn}"
    );
}

#[test]
fn a_terminal_too_narrow_for_lanes_gets_words() {
    let drawn = ascii(&drawing(), 26);
    assert!(drawn.contains("- ui  after schema"), "{drawn}");
    assert!(drawn.lines().all(|line| line.chars().count() <= 26));
}

#[test]
fn two_hundred_nodes_are_drawn_within_the_width() {
    let nodes = (0..200)
        .map(|n| Node {
            id: format!("u{n}"),
            ..Node::default()
        })
        .collect();
    let edges = (0..200)
        .flat_map(|n| [(n, n + 7), (n, n + 13)])
        .filter(|(_, to)| *to < 200)
        .map(|(from, to)| Edge {
            from,
            to,
            dashed: false,
        })
        .collect();
    let drawn = ascii(
        &Drawing {
            nodes,
            edges,
            critical: vec![],
        },
        100,
    );
    assert!(drawn.lines().all(|line| line.chars().count() <= 100));
    assert!((0..200).all(|n| drawn.contains(&format!("u{n}"))));
}

#[test]
fn hostile_text_ends_no_string_in_dot() {
    let drawn = dot(&hostile());
    let label = drawn.split("label=\"").nth(1).unwrap();
    assert!(label.starts_with("\\\"];}"), "{drawn}");
    assert!(!drawn.contains('\u{1b}') && !drawn.contains('\u{202e}') && !drawn.contains("-> n9"));
    assert_eq!(drawn.lines().count(), 5, "no line of its own");
}

#[test]
fn hostile_text_has_no_meaning_in_mermaid() {
    let drawn = mermaid(&hostile());
    assert_eq!(drawn.lines().filter(|line| line.contains("n0[")).count(), 1);
    let label = drawn.split("[\"").nth(1).unwrap().split("\"]").next().unwrap();
    let label = label.replace("<br/>", "");
    assert!(
        !label.contains(['"', '<', '>', '&', '`', '%', '{', '}', '\\', '\u{1b}']),
        "{label}"
    );
}

#[test]
fn hostile_text_is_text_in_svg() {
    let drawn = svg(&hostile());
    assert!(!drawn.contains("<script>") && drawn.contains("&lt;/text&gt;&lt;script&gt;"));
    assert!(!drawn.contains('\u{1b}') && !drawn.contains('\u{202e}'));
    assert_eq!(drawn.matches("<g ").count(), drawn.matches("</g>").count());
}

#[test]
fn hostile_text_cannot_steer_a_terminal() {
    let drawn = ascii(&hostile(), 200);
    assert!(!drawn.contains('\u{1b}') && !drawn.contains('\u{202e}'));
    assert_eq!(drawn.lines().count(), 1);
}

#[test]
fn every_format_draws_every_edge_and_marks_dashed_and_critical_ones() {
    let drawing = drawing();
    let (dot, mermaid, svg) = (dot(&drawing), mermaid(&drawing), svg(&drawing));
    assert_eq!(dot.matches(" -> ").count(), 6);
    assert_eq!(
        (dot.matches("dashed").count(), mermaid.matches("-.->").count()),
        (1, 1)
    );
    assert_eq!(
        (mermaid.matches("==>").count(), mermaid.matches("-->").count()),
        (2, 3)
    );
    assert_eq!(svg.matches("class=\"edge").count(), 6);
    assert_eq!(
        (
            svg.matches("edge critical").count(),
            svg.matches(" dashed\"").count()
        ),
        (2, 1)
    );
}

#[test]
fn a_picture_tells_its_content_to_a_screen_reader_and_follows_the_page() {
    let drawn = svg(&drawing());
    assert!(drawn.contains("5 nodes and 6 edges. Critical path: schema, api, release."));
    assert!(drawn.contains("prefers-color-scheme:dark") && drawn.contains("role=\"img\""));
}

#[test]
fn nothing_to_draw_is_drawn_as_nothing() {
    let empty = Drawing::default();
    assert_eq!(ascii(&empty, 80), "");
    assert!(svg(&empty).ends_with("</svg>\n") && dot(&empty).ends_with("}\n"));
}

fn acyclic() -> impl Strategy<Value = Vec<(usize, usize)>> {
    vec((0_usize..20, 0_usize..20), 0..60)
        .prop_map(|edges| edges.into_iter().filter(|(from, to)| from < to).collect())
}

fn units_of(edges: &[(usize, usize)]) -> Vec<Unit> {
    (0..20)
        .map(|node| {
            let needs: Vec<String> = edges
                .iter()
                .filter(|(_, to)| *to == node)
                .map(|(from, _)| format!("u{from}"))
                .collect();
            unit(
                &format!("u{node}"),
                &needs.iter().map(String::as_str).collect::<Vec<_>>(),
                &["x"],
            )
        })
        .collect()
}

/// The heaviest path from a node, by trying them all.
fn heaviest_from(node: usize, edges: &[(usize, usize)], weights: &[u64]) -> u64 {
    let after = edges.iter().filter(|(from, _)| *from == node);
    weights[node]
        + after
            .map(|(_, to)| heaviest_from(*to, edges, weights))
            .max()
            .unwrap_or(0)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn cycles_are_found_if_and_only_if_there_are_any(edges in vec((0_usize..12, 0_usize..12), 0..24)) {
        let found = cycles(&edges, 12);
        let sortable = super::order::sorted(&edges, 12).len() == 12;
        prop_assert_eq!(found.is_empty(), sortable);
        for cycle in found {
            for (position, from) in cycle.iter().enumerate() {
                prop_assert!(edges.contains(&(*from, cycle[(position + 1) % cycle.len()])));
            }
        }
    }

    #[test]
    fn every_edge_leads_to_a_later_wave(edges in acyclic()) {
        let waves = UnitGraph::new(&units_of(&edges), &[]).waves();
        let wave_of: BTreeMap<String, usize> = waves.iter().enumerate()
            .flat_map(|(number, wave)| wave.iter().map(move |unit| (unit.to_string(), number))).collect();
        prop_assert_eq!(wave_of.len(), 20);
        for (from, to) in edges {
            let (earlier, later) = (wave_of[&format!("u{from}")], wave_of[&format!("u{to}")]);
            prop_assert!(earlier < later);
        }
    }

    #[test]
    fn the_critical_path_is_the_maximum(
        edges in vec((0_usize..20, 0_usize..20), 0..30)
            .prop_map(|edges| edges.into_iter().filter(|(from, to)| from < to).collect::<Vec<_>>()),
        weights in vec(1_u64..9, 20),
    ) {
        let graph = UnitGraph::new(&units_of(&edges), &[]);
        let number = |unit: &UnitId| unit.as_str()[1..].parse::<usize>().unwrap();
        let path = graph.critical_path(|unit| weights[number(unit)]);
        let total: u64 = path.iter().map(|unit| weights[number(unit)]).sum();
        let best = (0..20).map(|node| heaviest_from(node, &edges, &weights)).max().unwrap();
        prop_assert_eq!(total, best);
        for pair in path.windows(2) {
            prop_assert!(edges.contains(&(number(&pair[0]), number(&pair[1]))));
        }
    }

    #[test]
    fn after_serializing_no_two_overlapping_units_run_together(edges in acyclic(), turn in any::<bool>()) {
        let mut units = units_of(&edges);
        if turn {
            units.reverse();
        }
        let pairs = serialized(&units, &overlaps(&units, &|_, _| true));
        let graph = UnitGraph::new(&units, &pairs);
        prop_assert_eq!(graph.waves().len(), 20);
    }

    #[test]
    fn any_drawing_keeps_to_the_width_and_shows_every_node(edges in acyclic(), width in 30_usize..120) {
        let drawing = Drawing {
            nodes: (0..20).map(|n| Node { id: format!("u{n}"), ..Node::default() }).collect(),
            edges: edges.into_iter().map(|(from, to)| Edge { from, to, dashed: false }).collect(),
            critical: vec![],
        };
        for drawn in [ascii(&drawing, width), ascii_plain(&drawing, width)] {
            prop_assert!(drawn.lines().all(|line| line.chars().count() <= width));
            let complete = (0..20).all(|n| drawn.contains(&format!("u{n}")));
            prop_assert!(complete);
        }
        prop_assert_eq!(svg(&drawing).matches("<g ").count(), 20);
    }
}
