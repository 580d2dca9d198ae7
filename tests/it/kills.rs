//! Engines that are killed at any moment: whatever they were at, the same command goes on, and nothing is lost, done
//! twice or left behind.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::world::{World, file};

const UNITS: &str = "  a: {title: 'feat: a', prompt: x}
  b: {title: 'feat: b', prompt: x}
  c: {title: 'feat: c', prompt: x, needs: [a]}
  d: {title: 'feat: d', prompt: x, needs: [a]}
  e: {title: 'feat: e', prompt: x, needs: [b]}
  f: {title: 'feat: f', prompt: x, needs: [c]}
";
const NAMES: [&str; 6] = ["a", "b", "c", "d", "e", "f"];
const KILLS: u32 = 12;
/// Another sequence of moments is tried by setting this variable.
const SEED_VARIABLE: &str = "PIPELINE_KILLS_SEED";
const SEED: u64 = 20_261_121;

/// splitmix64.
fn next(seed: &mut u64) -> u64 {
    *seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *seed;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// The scripted agents, which take their time after they were counted.
fn slow_world() -> World {
    let world = World::new();
    for agent in ["agents/author.sh", "agents/reviewer.sh"] {
        let text = world.read(agent);
        let counted = "\"$COUNT_DIR/$PIPELINE_UNIT\"\n";
        assert!(text.contains(counted));
        world.write(
            agent,
            &text.replacen(counted, &format!("{counted}sleep 0.15\n"), 1),
        );
    }
    world.write("rfc.yaml", &file("90,", "sleep 0.05; test -f README", UNITS));
    world.commit("chore: plan");
    world
}

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

fn assert_no_orphan(world: &World, seed: u64) {
    let gone = Instant::now();
    loop {
        let left = marked(world);
        if left.is_empty() {
            return;
        }
        assert!(
            gone.elapsed() < Duration::from_secs(2),
            "seed {seed}: {left:?} outlived their engine"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn journal(world: &World) -> Vec<Value> {
    let runs: Vec<_> = std::fs::read_dir(world.repo.join(".git/pipeline/runs"))
        .unwrap()
        .collect();
    assert_eq!(runs.len(), 1, "every call went on with the same run");
    let path = runs[0].as_ref().unwrap().path().join("journal.jsonl");
    let text = std::fs::read_to_string(path).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// What the journal says of one stage of a unit in one round.
#[derive(Debug, Default)]
struct Tally {
    started: usize,
    interrupted: usize,
    ok: usize,
    /// Commits on which it has ended well.
    done_on: BTreeSet<String>,
}

/// The attempts of agents, by unit and `stage.round`.
fn tallies(records: &[Value], seed: u64) -> BTreeMap<(String, String), Tally> {
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
                    "seed {seed}: {key:?} was started again on {commit} though it had ended well"
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
                    other => panic!("seed {seed}: {key:?} ended as {other:?}"),
                }
            }
            _ => {}
        }
    }
    assert!(under_way.is_empty(), "seed {seed}: without an end: {under_way:?}");
    tallies
}

#[test]
fn an_engine_that_is_killed_at_any_moment_is_continued_by_the_same_command() {
    let seed = std::env::var(SEED_VARIABLE).map_or(SEED, |text| text.parse().unwrap());
    println!("{SEED_VARIABLE}={seed}");
    let world = slow_world();
    let mut moments = seed;
    for _ in 0..KILLS {
        let mut engine = world.start(&["run", "rfc.yaml"]);
        std::thread::sleep(Duration::from_millis(100 + next(&mut moments) % 900));
        if engine.try_wait().unwrap().is_some() {
            break;
        }
        engine.kill().unwrap();
        engine.wait().unwrap();
        assert_no_orphan(&world, seed);
    }
    world.expect(&["run", "rfc.yaml"], 0);
    let records = journal(&world);
    let epochs = records
        .iter()
        .filter(|record| record["type"] == "engine_started")
        .count();
    println!("{epochs} engines, {} records", records.len());
    let log = world.git(&[
        "log",
        "--first-parent",
        "--format=%(trailers:key=Pipeline-Unit,valueonly)",
        "main",
    ]);
    let mut landed: Vec<&str> = log.split_whitespace().collect();
    landed.sort_unstable();
    assert_eq!(landed, NAMES, "seed {seed}: every unit landed exactly once");
    let mut tallies = tallies(&records, seed);
    for unit in NAMES {
        let mut calls: BTreeMap<String, usize> = BTreeMap::new();
        for call in world.calls(unit) {
            *calls.entry(call).or_default() += 1;
        }
        for (stage, called) in calls {
            let tally = tallies
                .remove(&(unit.to_owned(), stage.clone()))
                .unwrap_or_default();
            let explained = tally.ok..=tally.ok + tally.interrupted;
            assert!(
                explained.contains(&called) && tally.started == tally.ok + tally.interrupted,
                "seed {seed}: {unit} {stage} was called {called} times: {tally:?}"
            );
            assert_eq!(tally.ok, 1, "seed {seed}: {unit} {stage}: {tally:?}");
        }
    }
    assert!(
        tallies.values().all(|tally| tally.ok == 0),
        "seed {seed}: ended well without a call: {tallies:?}"
    );
    world.expect(&["doctor", "--strict"], 0);
    assert_eq!(world.git(&["status", "--porcelain"]), "", "seed {seed}");
    world.assert_clean();
}
