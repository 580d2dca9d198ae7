//! The alarm for a queue in which nothing lands.

use super::*;

fn queued(more: &str) -> Driver {
    let more = format!(
        "{}\nchecks: [{{name: lint, run: make}}]\nqueue: {{window: 1, verify: [{{name: test, run: make}}]{more}}}",
        parallel(4)
    );
    let mut driver = Driver::of(&more, &(line("a", "") + &line("b", "")));
    driver.settle();
    for unit in ["a", "b"] {
        while driver.phase(unit) == Phase::Working {
            driver.finish(unit);
        }
    }
    assert_eq!(
        (driver.phase("a"), driver.phase("b")),
        (Phase::Queued, Phase::Queued)
    );
    driver
}

/// The alarms so far, by the minutes since the run began.
fn alarms(driver: &Driver) -> Vec<i64> {
    let began = driver.journal[0].at;
    let told = driver
        .journal
        .iter()
        .filter(|record| matches!(record.event, Event::Queue(QueueEvent::QueueStalled { .. })));
    told.map(|record| record.at.duration_since(began).as_mins())
        .collect()
}

fn wait(driver: &mut Driver, minutes: i64) {
    driver.now += SignedDuration::from_mins(minutes);
    driver.settle();
}

#[test]
fn the_alarm_comes_when_nothing_has_landed_for_that_long_and_again_after_as_long() {
    let mut driver = queued("");
    let due = driver.now + SignedDuration::from_mins(30);
    assert_eq!(driver.wake, Some(due), "the engine wakes for it");
    wait(&mut driver, 29);
    assert_eq!(alarms(&driver), [] as [i64; 0]);
    wait(&mut driver, 1);
    assert_eq!(alarms(&driver), [30]);
    wait(&mut driver, 29);
    wait(&mut driver, 1);
    assert_eq!(alarms(&driver), [30, 60]);
}

#[test]
fn the_file_says_how_long() {
    let mut driver = queued(", stall_alarm: 5m");
    wait(&mut driver, 5);
    assert_eq!(alarms(&driver), [5]);
}

#[test]
fn a_landing_begins_the_time_anew() {
    let mut driver = queued("");
    wait(&mut driver, 20);
    driver.verify(CheckOutcome::Passed);
    assert_eq!(driver.phase("a"), Phase::Landed);
    wait(&mut driver, 29);
    assert_eq!(alarms(&driver), [] as [i64; 0]);
    wait(&mut driver, 1);
    assert_eq!(alarms(&driver), [50]);
    driver.verify(CheckOutcome::Passed);
    wait(&mut driver, 90);
    assert_eq!(alarms(&driver), [50], "an empty queue does not stall");
}

#[test]
fn a_pause_or_a_freeze_of_everybody_by_a_person_is_no_stall() {
    for (hold, lift) in [
        (QueueEvent::QueuePaused, QueueEvent::QueueResumed),
        (QueueEvent::QueueFrozen { below: 1 }, QueueEvent::QueueThawed),
    ] {
        let mut driver = queued("");
        wait(&mut driver, 20);
        driver.queue_event(hold);
        wait(&mut driver, 300);
        assert_eq!(alarms(&driver), [] as [i64; 0]);
        driver.queue_event(lift);
        wait(&mut driver, 29);
        assert_eq!(alarms(&driver), [] as [i64; 0], "the time begins anew");
        wait(&mut driver, 1);
        assert_eq!(alarms(&driver), [350]);
    }
}

#[test]
fn time_without_an_engine_is_nobodys_stall_and_an_engine_that_lets_go_raises_no_alarm() {
    let mut driver = queued("");
    driver.draining = true;
    wait(&mut driver, 40);
    assert_eq!(alarms(&driver), [] as [i64; 0]);
    driver.draining = false;
    driver.now += SignedDuration::from_hours(9);
    driver.begin_engine();
    driver.settle();
    assert_eq!(alarms(&driver), [] as [i64; 0]);
    wait(&mut driver, 30);
    assert_eq!(alarms(&driver).len(), 1);
}
