//! Signals from a person or from the system: the first ends gently, the second at once, and the same command goes on.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::{
    assert_landed_once, assert_nothing_left, let_go, row, signal, start_and_wait, with_waiting_author,
};

/// An author that says when it was asked to end, and does not.
const STUBBORN: &str = "trap 'touch \"$COUNT_DIR/asked\"' INT\ntrap '' TERM";
/// Less than the first grace of a gentle end.
const AT_ONCE: Duration = Duration::from_secs(2);

fn once(which: Signal, code: i32) {
    let world = with_waiting_author("");
    let engine = start_and_wait(&world);
    signal(engine.id(), which);
    let said = world.wait(engine);
    assert_eq!(said.code, code, "{}{}", said.out, said.err);
    let last = said.out.trim_end().lines().last().unwrap();
    assert!(last.contains("pipeline run rfc.yaml"), "{last}");
    assert_eq!(world.unit("api")["state"], "working");
    assert_eq!(world.status()["run"]["state"], "interrupted");
    assert_nothing_left(&world);
    let_go(&world);
    world.expect(&["run", "rfc.yaml"], 0);
    assert_landed_once(&world);
    assert_eq!(world.calls("api"), ["implement.1"]);
    assert_nothing_left(&world);
}

fn twice(which: Signal, code: i32) {
    let world = with_waiting_author(STUBBORN);
    let engine = start_and_wait(&world);
    signal(engine.id(), which);
    world.wait_until("the agent to be asked", || {
        world.base().join("count/asked").exists()
    });
    assert!(!world.processes().is_empty(), "asked, and not yet forced");
    let again = Instant::now();
    signal(engine.id(), which);
    let said = world.wait(engine);
    assert!(again.elapsed() < AT_ONCE, "{:?}", again.elapsed());
    assert_eq!(said.code, code, "{}{}", said.out, said.err);
    let last = said.out.trim_end().lines().last().unwrap();
    assert!(last.contains("pipeline run rfc.yaml"), "{last}");
    assert_nothing_left(&world);
    let_go(&world);
    world.expect(&["run", "rfc.yaml"], 0);
    assert_landed_once(&world);
    assert_nothing_left(&world);
}

#[test]
fn sigterm_ends_a_run_so_that_the_same_command_goes_on() {
    let _row = row("SIGTERM once");
    once(Signal::TERM, 143);
}

#[test]
fn a_second_sigterm_ends_it_at_once() {
    let _row = row("SIGTERM twice");
    twice(Signal::TERM, 143);
}

#[test]
fn ctrl_c_ends_a_run_so_that_the_same_command_goes_on() {
    let _row = row("Ctrl-C once");
    once(Signal::INT, 130);
}

#[test]
fn a_second_ctrl_c_ends_it_at_once() {
    let _row = row("Ctrl-C twice");
    twice(Signal::INT, 130);
}
