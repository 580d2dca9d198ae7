//! Agents that die, hang, talk for ever, wait for a person, or leave something running.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::{
    assert_landed_once, assert_nothing_left, is_alive, let_go, outcome_of_author, outcomes, row, signal,
    start_and_wait, state_and_reason, with_author, with_waiting_author, words,
};
use crate::world::World;

/// Waits for a file with a process id that an agent writes below the counts.
fn pid_in(world: &World, name: &str) -> u32 {
    let path = world.base().join("count").join(name);
    let read = || std::fs::read_to_string(&path).unwrap_or_default();
    world.wait_until("the process id", || read().ends_with('\n'));
    read().trim().parse().unwrap()
}

/// The unit was tried twice, each time with that outcome, and given up; everything is told.
fn assert_given_up(world: &World, outcome: &str, log: &str) {
    let said = world.expect(&["run", "rfc.yaml"], 5);
    assert!(said.out.contains("EVICTED"), "{}", said.out);
    assert_eq!(
        state_and_reason(world),
        ("evicted".to_owned(), "attempts_exhausted".to_owned())
    );
    assert_eq!(outcome_of_author(world), outcome);
    let logs = world.expect(&["logs", "api", "--failed"], 0);
    assert!(logs.out.matches(log).count() >= 2, "{}", logs.out);
    let told = world.expect(&["evicted"], 0);
    assert!(told.out.contains("pipeline retry api"), "{}", told.out);
    assert_nothing_left(world);
    let again = world.expect(&["run", "rfc.yaml"], 5);
    assert!(again.err.contains("pipeline evicted"), "{}", again.err);
}

#[test]
fn an_agent_that_is_killed_is_tried_again() {
    let _row = row("agent killed");
    let world = with_waiting_author("echo $$ > \"$COUNT_DIR/pid\"");
    let engine = start_and_wait(&world);
    let pid = pid_in(&world, "pid");
    let_go_after_death(&world, pid);
    let said = world.wait(engine);
    assert_eq!(said.code, 0, "{}", words(&said));
    assert!(said.out.contains("signal 9"), "{}", said.out);
    assert_eq!(outcomes(&world)["crashed"], 1);
    assert_landed_once(&world);
    assert_eq!(world.calls("api"), ["implement.1"]);
    assert_nothing_left(&world);
}

/// Kills a waiting author before it can see that it may go on.
fn let_go_after_death(world: &World, pid: u32) {
    signal(pid, Signal::KILL);
    world.wait_until("the death of the agent", || !is_alive(pid));
    let_go(world);
}

/// A control group of its own with a limit of memory, where this machine lets us make one.
struct MemoryLimit(PathBuf);

impl MemoryLimit {
    fn new(bytes: u64) -> Option<Self> {
        let name = format!("pipeline-test-{}", std::process::id());
        for (root, limit) in [
            ("/sys/fs/cgroup/memory", "memory.limit_in_bytes"),
            ("/sys/fs/cgroup", "memory.max"),
        ] {
            let group = Path::new(root).join(&name);
            if std::fs::create_dir(&group).is_err() {
                continue;
            }
            let made = Self(group);
            if std::fs::write(made.0.join(limit), bytes.to_string()).is_ok() {
                return Some(made);
            }
        }
        None
    }
}

impl Drop for MemoryLimit {
    fn drop(&mut self) {
        drop(std::fs::remove_dir(&self.0));
    }
}

#[test]
fn an_agent_that_runs_out_of_memory_has_failed_and_nothing_else_suffers() {
    let _row = row("agent out of memory");
    // Refused by the kernel at the limit of its address space.
    let world = with_author("ulimit -v 100000; exec tail /dev/zero\n", "");
    assert_given_up(&world, "failed", "memory exhausted");
    // Killed by the kernel where it shares a limit with others.
    if let Some(limit) = MemoryLimit::new(64 << 20) {
        let join = format!("echo $$ > {}/cgroup.procs\n", limit.0.display());
        let world = with_author(&(join + "echo eating; exec tail /dev/zero\n"), "");
        assert_given_up(&world, "crashed", "eating");
        assert!(world.expect(&["show", "api"], 0).out.contains("signal 9"));
    }
}

#[test]
fn an_agent_that_hangs_is_ended_by_the_idle_limit() {
    let _row = row("agent hanging silently");
    let world = with_author("echo last words; exec sleep 600\n", ", idle_timeout: 1s");
    assert_given_up(&world, "idle", "last words");
}

#[test]
fn an_agent_that_prints_for_ever_is_ended_by_the_time_limit() {
    let _row = row("agent printing for ever");
    let world = with_author(
        "while :; do echo again; sleep 0.01; done\n",
        ", stage_timeout: 1s",
    );
    assert_given_up(&world, "timeout", "again");
}

#[test]
fn an_agent_finds_no_terminal_to_wait_for_even_when_its_engine_has_one() {
    let _row = row("agent waiting for a tty");
    let script =
        "[ -t 0 ] && echo has a terminal\nread -r answer < /dev/tty || { echo no answer; exit 3; }\n";
    let world = with_author(script, ", idle_timeout: 30s");
    let began = Instant::now();
    // `script` gives the engine a terminal.
    let command = format!("{} run rfc.yaml", env!("CARGO_BIN_EXE_pipeline"));
    let output = world
        .program("script")
        .args(["-qec", &command, "/dev/null"])
        .env("TERM", "xterm")
        .output()
        .unwrap();
    let out = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(5), "{out}");
    assert!(began.elapsed() < Duration::from_secs(20), "it was not waited for");
    assert_eq!(outcome_of_author(&world), "failed");
    let logs = world.expect(&["logs", "api", "--failed"], 0);
    assert_eq!(logs.out.matches("no answer").count(), 2, "{}", logs.out);
    assert!(!logs.out.contains("has a terminal"), "{}", logs.out);
    assert_nothing_left(&world);
}

/// Starts what does all it can to get away.
const DAEMON: &str =
    "setsid -f env -i /bin/sh -c 'trap \"\" HUP INT TERM; echo $$ > '\"$COUNT_DIR\"'/daemon; exec sleep 600'
while ! [ -s \"$COUNT_DIR/daemon\" ]; do sleep 0.01; done";

#[test]
fn a_daemon_with_its_own_session_and_no_environment_ends_with_its_attempt_and_with_its_engine() {
    let _row = row("agent daemonises with setsid and a cleared environment");
    let world = with_waiting_author(DAEMON);
    let engine = start_and_wait(&world);
    let daemon = pid_in(&world, "daemon");
    assert!(is_alive(daemon));
    let_go(&world);
    let said = world.wait(engine);
    assert_eq!(said.code, 0, "{}", words(&said));
    assert!(!is_alive(daemon), "it outlived the attempt");
    assert_landed_once(&world);
    assert_nothing_left(&world);

    let world = with_waiting_author(DAEMON);
    let mut engine = start_and_wait(&world);
    let daemon = pid_in(&world, "daemon");
    engine.kill().unwrap();
    engine.wait().unwrap();
    let killed = Instant::now();
    world.wait_until("the end of the daemon", || !is_alive(daemon));
    assert!(
        killed.elapsed() < Duration::from_secs(2),
        "{:?}",
        killed.elapsed()
    );
    let_go(&world);
    world.expect(&["run", "rfc.yaml"], 0);
    assert_landed_once(&world);
    assert_nothing_left(&world);
}
