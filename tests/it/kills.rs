//! Engines that are killed at any moment: whatever they were at, the same command goes on, and nothing is lost, done
//! twice or left behind.

use std::time::Duration;

use crate::aftermath::{assert_calls_are_explained, assert_no_orphan, journal, landed, tallies};
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
pub(crate) fn next(seed: &mut u64) -> u64 {
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

#[test]
fn an_engine_that_is_killed_at_any_moment_is_continued_by_the_same_command() {
    let seed = std::env::var(SEED_VARIABLE).map_or(SEED, |text| text.parse().unwrap());
    let hint = format!("{SEED_VARIABLE}={seed}");
    println!("{hint}");
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
        assert_no_orphan(&world, &hint);
    }
    world.expect(&["run", "rfc.yaml"], 0);
    let records = journal(&world);
    let epochs = records
        .iter()
        .filter(|record| record["type"] == "engine_started")
        .count();
    println!("{epochs} engines, {} records", records.len());
    let mut landed = landed(&world);
    landed.sort_unstable();
    assert_eq!(landed, NAMES, "{hint}: every unit landed exactly once");
    let tallies = tallies(&records, &hint);
    assert_calls_are_explained(&world, &NAMES, &tallies, &hint);
    for (key, tally) in tallies {
        assert_eq!((tally.ok, tally.failed), (1, 0), "{hint}: {key:?}");
    }
    world.expect(&["doctor", "--strict"], 0);
    assert_eq!(world.git(&["status", "--porcelain"]), "", "{hint}");
    world.assert_clean();
}
