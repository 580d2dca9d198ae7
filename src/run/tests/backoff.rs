//! The wait after a verification that the machine could not carry out.

use super::*;
use crate::event::Hold;
use crate::queue::Status;
use CheckOutcome::{Failed, Infrastructure, Interrupted, Passed};

/// Units in line, of which the first is being verified.
fn queued(names: &[&str]) -> Driver {
    let more = format!(
        "{}\nchecks: [{{name: lint, run: make}}]\nqueue: {{window: 1, verify: [{{name: test, run: make}}]}}",
        parallel(4)
    );
    let units: String = names.iter().map(|name| line(name, "")).collect();
    let mut driver = Driver::of(&more, &units);
    driver.settle();
    for name in names {
        while driver.phase(name) == Phase::Working {
            driver.finish(name);
        }
    }
    assert_eq!(driver.verifying.len(), 1);
    driver
}

/// Milliseconds until the checks are tried again; 0 when they run.
fn wait(driver: &Driver) -> i64 {
    let is_waiting = driver.verifying.is_empty();
    let wake = driver.wake.filter(|_| is_waiting);
    wake.map_or(0, |at| {
        i64::try_from(at.duration_since(driver.now).as_millis()).unwrap()
    })
}

fn until_it_runs(driver: &mut Driver) {
    while driver.verifying.is_empty() {
        driver.now = driver.wake.expect("the engine wakes for it");
        driver.settle();
    }
}

fn charges(driver: &Driver) -> usize {
    let charged = |record: &&Record| matches!(record.event, Event::Queue(QueueEvent::EntryCharged { .. }));
    driver.journal.iter().filter(charged).count()
}

#[test]
fn the_wait_doubles_with_every_failure_of_the_machine_in_a_row_up_to_five_minutes() {
    let mut driver = queued(&["a"]);
    for failures in 1..20 {
        driver.verify(Infrastructure);
        assert!(driver.verifying.is_empty(), "it is not tried again at once");
        let full = (500_i64 << failures).min(300_000);
        let wait = wait(&driver);
        // A stall alarm may wake the engine before.
        assert!(wait <= full, "{wait} after {failures}");
        let before = driver.now;
        until_it_runs(&mut driver);
        let waited = i64::try_from(driver.now.duration_since(before).as_millis()).unwrap();
        assert!((full / 2..=full).contains(&waited), "{waited} after {failures}");
    }
    assert_eq!(charges(&driver), 19, "a wait costs nothing, a failure 10");
    driver.verify(Infrastructure);
    assert_eq!(driver.phase("a"), Phase::Evicted);
}

#[test]
fn two_minutes_without_a_registry_evict_nobody() {
    let mut driver = queued(&["a", "b", "c"]);
    let mended = driver.now + SignedDuration::from_mins(2);
    while driver.now < mended {
        // A set-up that fails in a second.
        driver.pass_time(1);
        driver.verify(Infrastructure);
        until_it_runs(&mut driver);
    }
    assert!(charges(&driver) < 10, "{} failures", charges(&driver));
    driver.finish_all();
    for unit in ["a", "b", "c"] {
        assert_eq!(driver.phase(unit), Phase::Landed);
    }
}

#[test]
fn whatever_says_something_about_a_commit_ends_the_wait_and_an_interruption_says_nothing() {
    for (outcome, goes_on) in [(Failed, false), (Passed, false), (Interrupted, true)] {
        let mut driver = queued(&["a", "b"]);
        for _ in 0..5 {
            driver.verify(Infrastructure);
            until_it_runs(&mut driver);
        }
        driver.verify(outcome);
        assert_eq!(wait(&driver), 0, "nothing is waited for after {outcome:?}");
        driver.verify(Infrastructure);
        let wait = wait(&driver);
        assert_eq!(wait > 1_000, goes_on, "{wait} after {outcome:?}");
        assert!(wait >= 500, "{wait} after {outcome:?}");
    }
}

#[test]
fn a_new_engine_tries_at_once_and_begins_with_a_short_wait() {
    let mut driver = queued(&["a"]);
    for _ in 0..8 {
        driver.verify(Infrastructure);
        until_it_runs(&mut driver);
    }
    driver.verify(Infrastructure);
    assert!(wait(&driver) > 60_000);
    driver.begin_engine();
    driver.settle();
    assert_eq!(driver.verifying.len(), 1);
    driver.verify(Infrastructure);
    assert!((500..=1_000).contains(&wait(&driver)));
}

#[test]
fn a_clock_that_was_set_back_makes_nobody_wait() {
    let mut driver = queued(&["a"]);
    driver.verify(Infrastructure);
    driver.pass_time(-3_600).settle();
    assert_eq!(driver.verifying.len(), 1);
}

#[test]
fn who_waits_for_the_machine_is_held_and_the_rest_of_the_run_goes_on() {
    let mut driver = queued(&["a", "b"]);
    driver.verify(Infrastructure);
    let status = |driver: &Driver, unit| driver.state.queue().entry(&id(unit)).unwrap().status;
    let Status::Held(hold @ Hold::Backoff { times: 1, until }) = status(&driver, "a") else {
        panic!("{:?}", status(&driver, "a"));
    };
    assert_eq!((hold.code(), Some(until)), ("backoff", driver.wake));
    assert_eq!(status(&driver, "b"), Status::Queued);
    assert_eq!(driver.stopped, None, "it is only a matter of time");
    until_it_runs(&mut driver);
    assert_eq!(status(&driver, "a").as_str(), "verifying");
    driver.verify(Passed);
    assert_eq!(driver.phase("a"), Phase::Landed);
}

#[test]
fn a_target_that_cannot_be_checked_is_waited_for_too() {
    let mut driver = queued(&["a", "b"]);
    driver.verify(Passed);
    // Nobody has checked what others add.
    driver.target.insert("theirs".to_owned());
    driver.commits += 1;
    driver.verify(Interrupted);
    driver.verify(Failed).verify(Failed);
    let purpose = |driver: &Driver| driver.verifying.values().next().map(|run| run.purpose);
    assert_eq!(purpose(&driver), Some(VerifyPurpose::Base));
    driver.verify(Infrastructure);
    assert!((500..=1_000).contains(&wait(&driver)));
    until_it_runs(&mut driver);
    assert_eq!(purpose(&driver), Some(VerifyPurpose::Base));
}

#[test]
fn a_paused_run_wakes_for_nothing() {
    let mut driver = queued(&["a"]);
    driver.verify(Infrastructure);
    driver.queue_event(QueueEvent::QueuePaused);
    driver.settle();
    assert_eq!(
        (driver.stopped, driver.wake),
        (None, None),
        "it waits for whoever paused it"
    );
    driver.begin_engine();
    driver.settle();
    assert_eq!(
        driver.stopped,
        Some(StopCause::Human),
        "another was told by nobody"
    );
}
