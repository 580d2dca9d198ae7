//! Who begins when, and who lands.

use super::*;

#[test]
fn one_unit_is_worked_on_checked_and_landed() {
    let mut driver = Driver::of(&parallel(2), &line("a", ""));
    driver.finish_all();
    assert_eq!(driver.phase("a"), Phase::Landed);
    assert_eq!(driver.stopped, Some(StopCause::Finished));
    assert!(driver.state.is_complete());
}

#[test]
fn a_unit_begins_when_what_it_needs_has_landed() {
    let units = line("a", "") + &line("b", "needs: [a]");
    let mut driver = Driver::of(&parallel(4), &units);
    driver.settle();
    assert_eq!(driver.under_way(), ["a"]);
    assert_eq!(driver.phase("b"), Phase::Waiting);
    driver.finish("a").finish("a");
    assert_eq!(driver.phase("a"), Phase::Landed);
    assert_eq!(driver.under_way(), ["b"]);
    assert_eq!(driver.state.unit(&id("b")).unwrap().base(), Some(&driver.tip()));
}

#[test]
fn no_more_attempts_run_than_there_are_slots() {
    let units: String = (0..6).map(|n| line(&format!("u{n}"), "")).collect();
    let mut driver = Driver::of(&parallel(2), &units);
    driver.settle();
    for _ in 0..40 {
        assert!(driver.state.running() <= 2);
        let Some((unit, _)) = driver.running.values().next().cloned() else {
            break;
        };
        driver.finish(unit.as_str());
    }
    driver.finish_all();
    assert_eq!(driver.stopped, Some(StopCause::Finished));
}

#[test]
fn the_longest_remaining_path_goes_first() {
    let units = line("short", "") + &line("first", "") + &line("second", "needs: [first]");
    let mut driver = Driver::of(&parallel(1), &units);
    driver.settle();
    assert_eq!(driver.under_way(), ["first"]);
}

#[test]
fn among_equals_the_higher_priority_goes_first_then_the_place_in_the_file() {
    let units = line("a", "") + &line("b", "") + &line("c", "priority: 5");
    let mut driver = Driver::of(&parallel(2), &units);
    driver.settle();
    assert_eq!(driver.under_way(), ["c", "a"]);
}

#[test]
fn a_unit_without_a_slot_has_not_begun_and_gets_the_target_of_its_turn() {
    let units = line("a", "") + &line("c", "needs: [a]") + &line("b", "");
    let mut driver = Driver::of(&parallel(1), &units);
    driver.settle();
    assert_eq!(driver.phase("b"), Phase::Waiting);
    driver.finish_all();
    let begun = driver.journal.iter().find_map(|record| match &record.event {
        Event::Unit(UnitScoped {
            unit,
            what: UnitEvent::UnitStarted { base },
        }) if *unit == id("b") => Some(base),
        _ => None,
    });
    assert!(
        driver.bases.contains_key(begun.unwrap()),
        "it stands on what landed meanwhile"
    );
}

#[test]
fn units_of_the_same_paths_run_one_after_the_other() {
    let more = format!("{}\noverlap: serialize", parallel(4));
    let units =
        line("a", "paths: [src/**]") + &line("b", "paths: [src/x.rs]") + &line("c", "paths: [doc/**]");
    let mut driver = Driver::of(&more, &units);
    driver.settle();
    assert_eq!(driver.under_way(), ["a", "c"]);
    driver.finish("a").finish("a");
    assert_eq!(driver.phase("a"), Phase::Landed);
    assert!(driver.under_way().contains(&"b".to_owned()));
}

#[test]
fn a_serialized_unit_goes_on_when_the_earlier_one_is_evicted() {
    let more = "overlap: serialize\nlimits: {parallel: 4, start_interval: 0s, retries: 0}";
    let units = line("a", "paths: [src/**]") + &line("b", "paths: [src/x.rs]");
    let mut driver = Driver::of(more, &units);
    driver.settle().fail("a");
    assert_eq!(driver.phase("a"), Phase::Evicted);
    assert_eq!(driver.under_way(), ["b"]);
}

#[test]
fn the_tree_that_passed_as_a_units_head_is_not_verified_again() {
    let mut driver = Driver::of(&parallel(2), &line("a", ""));
    driver.settle().finish("a").finish("a");
    assert_eq!(driver.phase("a"), Phase::Landed);
    let reused = driver.journal.iter().any(|record| {
        matches!(
            record.event,
            Event::Queue(QueueEvent::VerifyEnded { reused: true, .. })
        )
    });
    assert!(reused && driver.verifying.is_empty());
}

#[test]
fn evidence_that_is_too_old_is_not_used_again() {
    let more = format!(
        "{}\nchecks: [{{name: test, run: make}}]\nqueue: {{max_age: 1h}}",
        parallel(2)
    );
    let landed_after = |minutes: i64| {
        let mut driver = Driver::of(&more, &line("a", ""));
        driver.settle().finish("a").queue_event(QueueEvent::QueuePaused);
        driver.finish("a").pass_time(minutes * 60);
        driver.queue_event(QueueEvent::QueueResumed);
        driver.settle();
        assert_ne!(driver.phase("a") == Phase::Landed, driver.verifying.len() == 1);
        driver.phase("a") == Phase::Landed
    };
    assert!(landed_after(60));
    assert!(!landed_after(61));
}

#[test]
fn a_tree_that_no_check_has_seen_is_verified_before_it_lands() {
    let mut driver = Driver::of(&parallel(4), &(line("a", "") + &line("b", "")));
    driver.settle().finish("a").finish("b").finish("a").finish("b");
    assert_eq!(driver.phase("a"), Phase::Landed);
    assert_eq!(driver.phase("b"), Phase::Queued, "both together are a new tree");
    assert_eq!(driver.verifying.len(), 1);
    driver.verify(CheckOutcome::Passed);
    assert_eq!(driver.phase("b"), Phase::Landed);
}

#[test]
fn evidence_of_a_check_that_looks_at_history_serves_no_other_commit() {
    let more = format!(
        "{}\nqueue: {{verify: [{{name: log, run: make, depends_on: history}}]}}\nchecks: [{{name: log, run: make, depends_on: history}}]",
        parallel(2)
    );
    let mut driver = Driver::of(&more, &line("a", ""));
    driver.settle().finish("a").finish("a");
    assert_eq!(driver.phase("a"), Phase::Queued);
    assert_eq!(driver.verifying.len(), 1);
}

#[test]
fn evidence_under_other_checks_proves_nothing() {
    let more = format!(
        "{}\nqueue: {{verify: [{{name: all, run: make all}}]}}\nchecks: [{{name: test, run: make}}]",
        parallel(2)
    );
    let mut driver = Driver::of(&more, &line("a", ""));
    driver.settle().finish("a").finish("a");
    assert_eq!(driver.verifying.len(), 1, "the queue's own checks have not run");
}

#[test]
fn a_waived_queue_lands_without_a_run_and_still_runs_a_units_own_checks() {
    let more = format!("{}\nqueue: {{verify: none}}", parallel(2));
    let mut driver = Driver::of(&more, &line("a", "checks: [{name: own, run: make}]"));
    driver.settle().finish("a");
    assert_eq!(driver.under_way(), ["a*"]);
    driver.finish("a");
    assert_eq!(driver.phase("a"), Phase::Landed);
    assert!(driver.verifying.is_empty());
}

#[test]
fn starts_of_one_agent_keep_their_distance_and_others_do_not_wait_for_it() {
    let units = line("a", "agent: author") + &line("b", "agent: author") + &line("c", "agent: other");
    let mut driver = Driver::of("limits: {parallel: 4, start_interval: 10s}", &units);
    driver.settle();
    assert_eq!(driver.under_way(), ["a", "c"]);
    assert_eq!(driver.wake, Some(driver.now + SignedDuration::from_secs(10)));
    driver.pass_time(9);
    assert_eq!(driver.running.len(), 2);
    driver.pass_time(1);
    assert_eq!(driver.under_way(), ["a", "c", "b"]);
}
