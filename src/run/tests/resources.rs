//! `exclusive`: one holder at a time, the others go on, and nobody waits for ever.

use super::*;

/// A queue that verifies by checks of its own, so that nothing stands in for a run.
fn queue(slots: u32, checks: &str) -> String {
    format!(
        "{}\nchecks: [{{name: test, run: make}}]\nqueue: {{window: 4, verify: [{checks}]}}",
        parallel(slots)
    )
}

#[test]
fn one_attempt_holds_a_resource_and_others_go_on_beside_it() {
    let units = line("a", "exclusive: [db]") + &line("b", "exclusive: [db]") + &line("c", "");
    let mut driver = Driver::of(&parallel(4), &units);
    driver.settle();
    assert_eq!(driver.under_way(), ["a", "c"]);
    assert_eq!(
        driver.phase("b"),
        Phase::Waiting,
        "it will stand on a newer target"
    );
    driver.finish("a");
    assert_eq!(
        driver.under_way(),
        ["c", "b"],
        "the longest way to go is served first"
    );
    driver.finish("b");
    assert_eq!(driver.under_way(), ["c", "a*"]);
    driver.finish_all();
    for unit in ["a", "b", "c"] {
        assert_eq!(driver.phase(unit), Phase::Landed);
    }
}

#[test]
fn a_resource_of_a_check_is_held_by_whatever_runs_the_check() {
    let check = "checks: [{name: own, run: make, exclusive: [db]}]";
    let units = line("a", check) + &line("b", check) + &line("c", "");
    let mut driver = Driver::of(&parallel(4), &units);
    driver.settle();
    assert_eq!(driver.under_way(), ["a", "b", "c"], "no author runs the check");
    driver.finish("a").finish("b").finish("c");
    assert_eq!(driver.under_way(), ["a*", "c*"]);
    driver.finish("a");
    assert!(driver.under_way().contains(&"b*".to_owned()));
}

#[test]
fn candidates_that_need_the_same_resource_are_verified_one_after_the_other() {
    let units = line("a", "") + &line("b", "") + &line("c", "");
    let side_by_side = |check: &str| {
        let mut driver = Driver::of(&queue(4, check), &units);
        driver.settle();
        for unit in ["a", "b", "c"] {
            driver.finish(unit).finish(unit);
        }
        let verifying = driver.verifying.len();
        driver.finish_all();
        assert_eq!(driver.stopped, Some(StopCause::Finished));
        verifying
    };
    assert_eq!(side_by_side("{name: gate, run: make}"), 3);
    assert_eq!(side_by_side("{name: gate, run: make, exclusive: [db]}"), 1);
}

#[test]
fn who_waits_for_two_resources_is_not_passed_by_one_that_needs_one_of_them() {
    let units = line("a", "exclusive: [x]")
        + &line("both", "exclusive: [x, y]")
        + &line("c", "exclusive: [y]")
        + &line("d", "exclusive: [z]");
    let mut driver = Driver::of(&parallel(4), &units);
    driver.settle();
    assert_eq!(driver.under_way(), ["a", "d"], "`c` would keep `both` waiting");
    driver.fail("a");
    assert_eq!(driver.under_way(), ["d", "both"]);
}

#[test]
fn opposite_orders_of_two_resources_are_no_deadlock() {
    let units = line(
        "a",
        "exclusive: [x], checks: [{name: own, run: make, exclusive: [y]}]",
    ) + &line(
        "b",
        "exclusive: [y], checks: [{name: own, run: make, exclusive: [x]}]",
    );
    let mut driver = Driver::of(&parallel(4), &units);
    driver.finish_all();
    assert_eq!(driver.stopped, Some(StopCause::Finished));
    assert_eq!(
        (driver.phase("a"), driver.phase("b")),
        (Phase::Landed, Phase::Landed)
    );
}

#[test]
fn an_attempt_nobody_waits_for_holds_its_resource_until_it_has_ended() {
    let units = line("a", "exclusive: [db]") + &line("b", "exclusive: [db]");
    let mut driver = Driver::of(&parallel(4), &units);
    driver.settle();
    let fence = driver.fence_of("a");
    driver.unit_event("a", UnitEvent::UnitDiscarded);
    driver.settle();
    assert_eq!(driver.phase("b"), Phase::Waiting);
    assert_eq!(driver.stopped, None, "what still runs is waited for");
    driver.end(fence, Outcome::Interrupted, None, None);
    driver.settle();
    assert_eq!(driver.under_way(), ["b"]);
}

#[test]
fn a_dead_engine_holds_nothing() {
    let units = line("a", "exclusive: [db]") + &line("b", "exclusive: [db]");
    let mut driver = Driver::of(&parallel(4), &units);
    driver.settle();
    driver.unit_event("a", UnitEvent::UnitDiscarded);
    driver.restart();
    driver.settle();
    assert_eq!(driver.under_way(), ["b"]);
}

#[test]
fn a_file_without_resources_is_frozen_as_before() {
    let frozen = serde_json::to_string(&*pipeline("", &line("a", ""))).unwrap();
    assert!(!frozen.contains("exclusive"));
}

#[test]
fn rivals_are_the_others_that_need_the_same() {
    let units = line("a", "exclusive: [db, port]") + &line("b", "exclusive: [db]") + &line("c", "");
    let pipeline = pipeline(&parallel(4), &units);
    let rivals = |id: &str| crate::run::rivals(&pipeline, &id.parse().unwrap());
    assert_eq!(rivals("a"), [("db".to_owned(), "b".parse().unwrap())]);
    assert!(rivals("c").is_empty());
}
