//! The merge queue's conformance suite: what it promises, one scenario a rule, over the real binary, real git and real
//! processes with scripted agents.
//!
//! A scenario reads in three parts:
//!
//! - **given** a queue, units and a repository ([`given`], the builder in `given.rs`). Units are named by one letter,
//!   and join the queue in the order of the file, each only when the one before it is in line.
//! - **when** the pipeline runs: to its end ([`Given::run`](given::Given::run)), or step by step while the queue's check is
//!   closed ([`Given::start`](given::Given::start) and `scene.rs`).
//! - **then** this landed and that did not (`outcome.rs`). A landing is a word of the units it brought:
//!   `landed("a bc")` says that `a` landed, and then `b` and `c` in one move.
//!
//! When a scenario is over, `laws.rs` asks what must hold after each of them, whatever happened. Nothing sleeps: scripts
//! and scenarios wait for files and for events of the journal.

mod batches;
mod branches;
mod conflicts;
mod given;
mod landing;
mod laws;
mod order;
mod outcome;
mod own_branch;
mod people;
mod quarantine;
mod races;
mod resolving;
mod scene;
mod speculation;
mod steering;
mod verification;

use std::path::Path;

use given::given;

use crate::tally::tally;

/// Counts them for `tests/run`, which compares the count with the scenarios that came to their end.
#[test]
fn every_test_of_the_suite_is_a_scenario() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/conformance");
    let mut scenarios = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.ends_with("mod.rs") {
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        let tests = text.matches("#[test]\n").count();
        assert!(
            tests == 0 || text.contains("given("),
            "{} gives nothing",
            path.display()
        );
        scenarios += tests;
    }
    tally(&format!("scenarios: {scenarios}"));
}
