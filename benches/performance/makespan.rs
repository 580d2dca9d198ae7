//! P6: how long runs of random graphs of units take, against what no scheduler can beat.
//!
//! The scheduler is the real one and knows nothing of how long a stage takes. The bound knows every length: the longest
//! path of units, each with its stages and its verification one after the other, or all work spread evenly over the
//! slots, whichever is longer.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use jiff::SignedDuration;
use pipeline::event::Head;

use super::play::{Play, World, parse};
use super::support::Figure;

const GRAPHS: u64 = 200;
const SLOTS: u64 = 4;
const GOAL_MEDIAN: f64 = 1.05;
const GOAL_WORST: f64 = 1.25;

/// Units by place, each with the places of those it needs.
type Graph = Vec<Vec<usize>>;

/// P6.
pub(crate) fn random_graphs() -> Vec<Figure> {
    let mut runs: Vec<(f64, f64)> = (0..GRAPHS).map(one_graph).collect();
    runs.sort_by(|a, b| (a.0 / a.1).total_cmp(&(b.0 / b.1)));
    let figure = |what: &str, (makespan, bound): (f64, f64), goal| Figure {
        what: format!("{what} of {GRAPHS} random graphs, {SLOTS} slots"),
        value: makespan,
        unit: "min",
        against: Some(("the longest path, or all work over all slots", bound)),
        goal: Some(goal),
    };
    let worst = *runs.last().expect("there are graphs");
    vec![
        figure("makespan: the median", runs[runs.len() / 2], GOAL_MEDIAN),
        figure("makespan: the worst", worst, GOAL_WORST),
    ]
}

/// Minutes that a run of one graph takes, and that it must take.
fn one_graph(seed: u64) -> (f64, f64) {
    let graph = graph(seed);
    let world = World {
        tick: SignedDuration::ZERO,
        mishaps: false,
        length: Box::new(move |unit, what| length(seed, unit, what)),
    };
    let base = Head {
        commit: "1".repeat(40).parse().expect("it is an id"),
        tree: "2".repeat(40).parse().expect("it is an id"),
    };
    let mut play = Play::within(world, parse(&file(&graph)), base);
    let began = play.now;
    play.play(usize::MAX);
    assert_eq!(
        play.state.queue().landed().len(),
        graph.len(),
        "graph {seed}: every unit lands"
    );
    let makespan = minutes(play.now.duration_since(began));
    (makespan, bound(&graph, &play))
}

fn bound(graph: &Graph, play: &Play) -> f64 {
    let mut total = 0.0;
    let mut longest: Vec<f64> = Vec::new();
    for (place, needs) in graph.iter().enumerate() {
        // What was done twice had to be done once.
        let once: BTreeMap<_, _> = play.worked[&name(place)].iter().cloned().collect();
        let own: f64 = once.values().copied().map(minutes).sum();
        let before = needs.iter().map(|need| longest[*need]).fold(0.0, f64::max);
        longest.push(before + own);
        total += own;
    }
    longest.into_iter().fold(total / SLOTS as f64, f64::max)
}

/// Between 12 and 60 units; some graphs are wide, others are chains.
fn graph(seed: u64) -> Graph {
    let mut dice = Dice(seed);
    let units = 12 + dice.below(49) as usize;
    let needs_most = 1 + dice.below(3);
    let near = 1 + dice.below(20);
    (0..units)
        .map(|place| {
            let wanted = dice.below(needs_most + 1);
            let mut needs: Vec<usize> = (0..wanted)
                .filter_map(|_| place.checked_sub(1 + dice.below(near) as usize))
                .collect();
            needs.sort_unstable();
            needs.dedup();
            needs
        })
        .collect()
}

fn file(graph: &Graph) -> String {
    let mut text = format!(
        "version: 1\nname: bench\ntarget: main\ncommit: {{convention: none}}\n\
         agents:\n  author: {{command: [sh], model: m}}\n  reviewer: {{command: [sh], model: n}}\n\
         checks: [{{name: test, run: make test}}]\n\
         limits: {{parallel: {SLOTS}, start_interval: 0s, budget_usd: 1000000}}\nunits:\n"
    );
    for (place, needs) in graph.iter().enumerate() {
        let needs: Vec<String> = needs.iter().map(|need| name(*need)).collect();
        let id = name(place);
        writeln!(
            text,
            "  {id}: {{title: 'Unit {id}', tier: small, paths: [\"src/{id}/**\"], needs: [{}], prompt: work}}",
            needs.join(", ")
        )
        .expect("a string takes everything");
    }
    text
}

fn name(place: usize) -> String {
    format!("u-{place}")
}

/// Checks take the same time everywhere; a stage takes between one and twenty minutes.
fn length(seed: u64, unit: &str, what: &str) -> SignedDuration {
    let minutes = match what {
        "checks" | "verification" => 3,
        stage => {
            let of_name = |sum: u64, byte: u8| sum.wrapping_mul(31).wrapping_add(u64::from(byte));
            let hash = unit.bytes().chain(stage.bytes()).fold(seed, of_name);
            1 + Dice(hash).below(20)
        }
    };
    SignedDuration::from_mins(i64::try_from(minutes).expect("it is small"))
}

fn minutes(time: SignedDuration) -> f64 {
    time.as_secs_f64() / 60.0
}

/// SplitMix64 (Steele, Lea, Flood 2014): the same numbers for the same seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }
}
