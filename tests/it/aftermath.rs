//! What must hold after an engine died and another one finished its run: nothing of an attempt is alive, and each call of an
//! agent is explained by the journal.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::world::World;

/// Processes of this world's attempts.
fn marked(world: &World) -> Vec<String> {
    let here = world.base().to_str().unwrap();
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let environ = std::fs::read(entry.path().join("environ")).unwrap_or_default();
        let environ = String::from_utf8_lossy(&environ);
        if environ.contains("PIPELINE_FENCE=") && environ.contains(here) {
            found.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    found
}

/// No process of an attempt lives on for more than two seconds; `hint` is told when one does.
pub(crate) fn assert_no_orphan(world: &World, hint: &str) {
    let gone = Instant::now();
    loop {
        let left = marked(world);
        if left.is_empty() {
            return;
        }
        assert!(
            gone.elapsed() < Duration::from_secs(2),
            "{hint}: {left:?} outlived their engine"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The records of the one run. A last line that was cut off by a kill counts for nobody.
pub(crate) fn journal(world: &World) -> Vec<Value> {
    let runs: Vec<_> = std::fs::read_dir(world.repo.join(".git/pipeline/runs"))
        .unwrap()
        .collect();
    assert_eq!(runs.len(), 1, "every call went on with the same run");
    let path = runs[0].as_ref().unwrap().path().join("journal.jsonl");
    let text = std::fs::read_to_string(path).unwrap();
    text.split_inclusive('\n')
        .filter(|line| line.ends_with('\n'))
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

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

/// The units that the target holds, by the trailers of its commits, the latest first.
pub(crate) fn landed(world: &World) -> Vec<String> {
    let format = "--format=%(trailers:key=Pipeline-Unit,valueonly)";
    let log = world.git(&["log", "--first-parent", format, "main"]);
    log.split_whitespace().map(str::to_owned).collect()
}
