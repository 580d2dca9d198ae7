//! What must hold after an engine died and another one finished its run: each call of an agent is explained by the journal.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::world::World;

/// What the journal says of one stage of a unit in one round.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    started: usize,
    /// Cut off together with their engine.
    interrupted: usize,
    /// Ended well.
    pub(crate) ok: usize,
    /// Ended in any other way.
    pub(crate) failed: usize,
    /// Commits on which it has ended well.
    done_on: BTreeSet<String>,
}

/// The attempts of agents, by unit and `stage.round`; none was started again on a commit on which it had ended well.
pub(crate) fn tallies(records: &[Value], hint: &str) -> BTreeMap<(String, String), Tally> {
    let mut tallies: BTreeMap<(String, String), Tally> = BTreeMap::new();
    let mut under_way = BTreeMap::new();
    for record in records.iter().filter(|record| record["scope"] == "unit") {
        match record["type"].as_str().unwrap() {
            "attempt_started" if record["job"]["job"] == "stage" => {
                let stage = format!("{}.{}", record["job"]["stage"].as_str().unwrap(), record["round"]);
                let key = (record["unit"].as_str().unwrap().to_owned(), stage);
                let commit = record["commit"].as_str().unwrap().to_owned();
                let tally = tallies.entry(key.clone()).or_default();
                assert!(
                    !tally.done_on.contains(&commit),
                    "{hint}: {key:?} was started again on {commit} though it had ended well"
                );
                tally.started += 1;
                under_way.insert(record["fence"].as_u64().unwrap(), (key, commit));
            }
            "attempt_ended" => {
                let Some((key, commit)) = under_way.remove(&record["fence"].as_u64().unwrap()) else {
                    continue;
                };
                let tally = tallies.get_mut(&key).unwrap();
                match record["outcome"].as_str() {
                    Some("ok") => {
                        tally.ok += 1;
                        tally.done_on.insert(commit);
                    }
                    Some("interrupted") => tally.interrupted += 1,
                    _ => tally.failed += 1,
                }
            }
            _ => {}
        }
    }
    assert!(under_way.is_empty(), "{hint}: without an end: {under_way:?}");
    tallies
}

/// Each call that the agents of `units` counted belongs to an attempt of the journal, and no attempt ended well without
/// one.
pub(crate) fn assert_calls_are_explained(
    world: &World,
    units: &[&str],
    tallies: &BTreeMap<(String, String), Tally>,
    hint: &str,
) {
    let mut called: BTreeMap<(String, String), usize> = BTreeMap::new();
    for unit in units {
        for stage in world.calls(unit) {
            *called.entry(((*unit).to_owned(), stage)).or_default() += 1;
        }
    }
    for (key, calls) in &called {
        let tally = tallies.get(key);
        let tally = tally.unwrap_or_else(|| panic!("{hint}: {key:?} was called and never started"));
        let explained = tally.ok..=tally.ok + tally.failed + tally.interrupted;
        assert!(
            explained.contains(calls) && tally.started == tally.ok + tally.failed + tally.interrupted,
            "{hint}: {key:?} was called {calls} times: {tally:?}"
        );
    }
    for (key, tally) in tallies.iter().filter(|(key, _)| !called.contains_key(key)) {
        assert_eq!(
            tally.ok, 0,
            "{hint}: {key:?} ended well without a call: {tally:?}"
        );
    }
}

/// The branch that the run lands on.
pub(crate) fn lands_on(world: &World) -> String {
    let run = &world.status()["run"];
    let branch = run["branch"].as_str().or(run["target"].as_str());
    branch.unwrap().to_owned()
}

/// The units that it holds, by the trailers of its commits, the earliest first. One of several commits is told once, and
/// again where another's came between.
pub(crate) fn landed(world: &World) -> Vec<String> {
    let format = "--format=%(trailers:key=Pipeline-Unit,valueonly)";
    let log = world.git(&["log", "--first-parent", "--reverse", format, &lands_on(world)]);
    let mut units: Vec<String> = log.split_whitespace().map(str::to_owned).collect();
    units.dedup();
    units
}
