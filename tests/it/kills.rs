//! The release binary, killed at any moment: whatever it was at, the same command goes on, and nothing is lost, done
//! twice or left behind.

use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::{Duration, SystemTime};

use rustix::process::{Pid, Signal, kill_process};

use crate::aftermath::{assert_calls_are_explained, landed, tallies};
use crate::tally::{skip, tally};
use crate::world::{World, file};

const UNITS: &str = "  a: {title: 'feat: a', prompt: x}
  b: {title: 'feat: b', prompt: x}
  c: {title: 'feat: c', prompt: x, needs: [a]}
  d: {title: 'feat: d', prompt: x, needs: [a]}
  e: {title: 'feat: e', prompt: x, needs: [b]}
  f: {title: 'feat: f', prompt: x, needs: [c]}
";
const NAMES: [&str; 6] = ["a", "b", "c", "d", "e", "f"];
const KILLS: u32 = 200;
/// After so many, a world is run to its end and looked at.
const KILLS_PER_WORLD_MAX: u32 = 34;
/// Worlds at the same time.
const LANES: u32 = 2;
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

/// The scripted agents, which take their time after they were counted and may be killed as often as it comes.
fn slow_world(binary: &Path) -> World {
    let mut world = World::new();
    world.use_binary(binary);
    for agent in ["agents/author.sh", "agents/reviewer.sh"] {
        let text = world.read(agent);
        let counted = "\"$COUNT_DIR/$PIPELINE_UNIT\"\n";
        assert!(text.contains(counted));
        world.write(
            agent,
            &text.replacen(counted, &format!("{counted}sleep 0.1\n"), 1),
        );
    }
    let text = file("90,", "sleep 0.05; test -f README", UNITS);
    world.write("rfc.yaml", &text.replace("retries: 1}", "retries: 50}"));
    world.commit("chore: plan");
    world
}

/// Runs a world to its end and compares everything there is with everything there was.
fn assert_nothing_lost_or_doubled(world: &World) {
    let last = world.expect(&["run", "rfc.yaml"], 0);
    let mut landed = landed(world);
    landed.sort_unstable();
    assert_eq!(landed, NAMES, "every unit landed exactly once");
    let tallies = tallies(&world.journal(), "the run");
    assert_calls_are_explained(world, &NAMES, &tallies, "the run");
    for (key, tally) in tallies {
        assert_eq!(tally.ok, 1, "{key:?}");
    }
    let strict = world.pipeline(&["doctor", "--strict"]);
    assert_eq!(strict.code, 0, "{}\nafter\n{}{}", strict.out, last.out, last.err);
    assert_eq!(world.git(&["status", "--porcelain"]), "");
    world.assert_no_orphan();
    world.assert_clean();
}

/// Who dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Victim {
    Engine,
    SupervisorToo,
    AgentToo,
}

impl Victim {
    fn choose(seed: &mut u64) -> Self {
        match next(seed) % 8 {
            0 => Self::SupervisorToo,
            1 => Self::AgentToo,
            _ => Self::Engine,
        }
    }
}

/// Supervisors of this world, by the orders they were started with.
fn supervisors(world: &World) -> Vec<String> {
    let here = world.base().to_str().unwrap();
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let ours = entries.filter(|entry| {
        let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line);
        line.contains("__supervise") && line.contains(here)
    });
    ours.map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect()
}

/// Kills one of them, if there is one; how many were killed.
fn kill_one(pids: &[String], seed: &mut u64) -> u32 {
    let Some(place) = next(seed).checked_rem(pids.len() as u64) else {
        return 0;
    };
    let pid = pids[usize::try_from(place).unwrap()].parse().unwrap();
    // It may have ended by itself since it was listed.
    u32::from(kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL).is_ok())
}

/// Kills an engine at some moment, sometimes with another process; how many were killed. 0 when it came to its end.
fn kill_at_some_moment(world: &World, mut engine: Child, seed: &mut u64) -> u32 {
    std::thread::sleep(Duration::from_millis(20 + next(seed) % 480));
    let victim = Victim::choose(seed);
    let mut killed = match victim {
        Victim::Engine => 0,
        Victim::SupervisorToo => kill_one(&supervisors(world), seed),
        Victim::AgentToo => kill_one(&world.processes(), seed),
    };
    if killed > 0 {
        // Sometimes the engine still sees that death, sometimes not.
        std::thread::sleep(Duration::from_millis(next(seed) % 60));
    }
    if engine.try_wait().unwrap().is_some() {
        return killed;
    }
    engine.kill().unwrap();
    engine.wait().unwrap();
    killed += 1;
    // What lost both at once is ended by the next engine.
    if victim != Victim::SupervisorToo {
        world.assert_no_orphan();
    }
    killed
}

/// Kills engines of one world after the other; how many processes were killed, and in how many worlds.
fn kill_in_one_lane(binary: &Path, mut seed: u64, wanted: u32) -> (u32, u32) {
    let (mut killed, mut worlds) = (0, 0);
    while killed < wanted {
        let world = slow_world(binary);
        worlds += 1;
        let until = wanted.min(killed + KILLS_PER_WORLD_MAX);
        while killed < until {
            let engine = world.start(&["run", "rfc.yaml"]);
            match kill_at_some_moment(&world, engine, &mut seed) {
                0 => break,
                count => killed += count,
            }
        }
        assert_nothing_lost_or_doubled(&world);
    }
    (killed, worlds)
}

/// The release binary beside this build, when it is not older than what it is made from.
fn release_binary() -> Result<PathBuf, &'static str> {
    let debug = Path::new(env!("CARGO_BIN_EXE_pipeline"));
    let binary = debug.parent().unwrap().with_file_name("release/pipeline");
    let Ok(built) = binary.metadata().and_then(|data| data.modified()) else {
        return Err("there is no release binary; `cargo build --release` makes it");
    };
    let sources = newest(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"));
    if sources > built {
        return Err("the release binary is older than the sources; `cargo build --release` makes it anew");
    }
    Ok(binary)
}

fn newest(folder: &Path) -> SystemTime {
    let entries = std::fs::read_dir(folder).unwrap().flatten();
    let times = entries.map(|entry| match entry.file_type().unwrap().is_dir() {
        true => newest(&entry.path()),
        false => entry.metadata().unwrap().modified().unwrap(),
    });
    times.max().unwrap_or(SystemTime::UNIX_EPOCH)
}

#[test]
fn an_engine_that_is_killed_at_any_moment_is_continued_by_the_same_command() {
    let binary = match release_binary() {
        Ok(binary) => binary,
        Err(lacks) => return skip(&format!("random kills: {lacks}")),
    };
    let seed = std::env::var(SEED_VARIABLE).map_or(SEED, |text| text.parse().unwrap());
    println!("{SEED_VARIABLE}={seed}");
    let mut lanes = seed;
    let ends: Vec<(u32, u32)> = std::thread::scope(|scope| {
        let started: Vec<_> = (0..LANES)
            .map(|_| {
                let (binary, seed) = (&binary, next(&mut lanes));
                scope.spawn(move || kill_in_one_lane(binary, seed, KILLS / LANES))
            })
            .collect();
        started.into_iter().map(|lane| lane.join().unwrap()).collect()
    });
    let killed: u32 = ends.iter().map(|(killed, _)| killed).sum();
    let worlds: u32 = ends.iter().map(|(_, worlds)| worlds).sum();
    assert!(killed >= KILLS);
    println!("{killed} kills in {worlds} worlds");
    tally(&format!("random kills: {killed}"));
}

#[test]
fn a_git_that_outlives_its_engine_is_waited_for_by_the_next() {
    let mut world = World::new();
    world.file("", "  api: {title: 'feat: api', prompt: do it, tier: trivial}\n");
    world.commit("chore: plan");
    // The first worktree of the unit takes its time to be made.
    let once = world.base().join("once");
    let path = std::env::var("PATH").unwrap();
    world.put_before_git(&format!(
        "#!/bin/sh\ncase \" $* \" in *\" worktree add \"*/implement*) mkdir {} 2> /dev/null && sleep 1 ;; esac\nPATH={path} exec git \"$@\"\n",
        once.display()
    ));

    let mut engine = world.start(&["run", "rfc.yaml"]);
    world.wait_until("the worktree to be made", || once.exists());
    engine.kill().unwrap();
    engine.wait().unwrap();
    world.expect(&["run", "rfc.yaml"], 0);
    assert_eq!(world.unit("api")["state"], "landed");
    // Whatever it still does is done by now.
    std::thread::sleep(Duration::from_secs(1));
    world.expect(&["doctor", "--strict"], 0);
    world.assert_clean();
}
