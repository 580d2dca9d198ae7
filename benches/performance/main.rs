//! The figures of the performance contract, each a ratio measured in this run against what a user would use
//! instead, or against the physical limit.
//!
//! `cargo bench` runs them all; `cargo bench -- p3 p9` only these. Each prints its rows and leaves
//! `target/bench/<name>.json`. What is compared is measured in turns, so that a busy machine slows both, and the
//! medians are set against each other.

mod attempt;
mod integrate;
mod line;
mod makespan;
mod play;
mod scale;
mod store;
mod support;

use std::process::ExitCode;

use support::Figure;

/// A benchmark: its name in the contract, in lower case, and what measures it.
type Bench = (&'static str, fn() -> Vec<Figure>);

const BENCHES: [Bench; 8] = [
    ("p1", attempt::no_op_attempt),
    ("p3", integrate::one_unit),
    ("p4", integrate::conflict_graph),
    ("p5", line::one_line),
    ("p6", makespan::random_graphs),
    ("p8", scale::ten_thousand_units),
    ("p9", store::one_commit),
    ("p12", store::resume),
];

fn main() -> ExitCode {
    // cargo adds `--bench`.
    let wanted: Vec<String> = std::env::args()
        .skip(1)
        .filter(|argument| !argument.starts_with('-'))
        .map(|name| name.to_lowercase())
        .collect();
    let known = |name: &String| BENCHES.iter().any(|(known, _)| known == name);
    if let Some(name) = wanted.iter().find(|name| !known(name)) {
        let names = BENCHES.map(|(name, _)| name).join(", ");
        support::print(&format!("there is no benchmark `{name}`; there are {names}\n"));
        return ExitCode::FAILURE;
    }
    support::print_head();
    for (name, measure) in BENCHES {
        if wanted.is_empty() || wanted.iter().any(|wanted| wanted == name) {
            support::report(name, &measure());
        }
    }
    ExitCode::SUCCESS
}
