//! What blocks, what is left out, and why a run stops.

use super::*;

const NO_RETRIES: &str = "limits: {parallel: 4, start_interval: 0s, retries: 0}";

#[test]
fn what_needs_an_evicted_unit_is_blocked_and_the_rest_goes_on() {
    let units = line("a", "") + &line("b", "needs: [a]") + &line("c", "needs: [b]") + &line("d", "");
    let mut driver = Driver::of(NO_RETRIES, &units);
    driver.settle().fail("a").finish_all();
    assert_eq!(driver.phase("a"), Phase::Evicted);
    assert_eq!(
        (driver.phase("b"), driver.phase("c")),
        (Phase::Blocked, Phase::Blocked)
    );
    assert_eq!(driver.phase("d"), Phase::Landed);
    assert_eq!(driver.stopped, Some(StopCause::Finished));
}

#[test]
fn a_retry_unblocks_what_waited_for_the_unit() {
    let units = line("a", "") + &line("b", "needs: [a]") + &line("c", "needs: [b]");
    let mut driver = Driver::of(NO_RETRIES, &units);
    driver.settle().fail("a").finish_all();
    driver.unit_event("a", UnitEvent::UnitRetried { note: None });
    driver.begin_engine();
    driver.finish_all();
    for unit in ["a", "b", "c"] {
        assert_eq!(driver.phase(unit), Phase::Landed);
    }
}

#[test]
fn a_discarded_need_keeps_its_dependents_blocked() {
    let units = line("a", "") + &line("b", "needs: [a]");
    let mut driver = Driver::of(NO_RETRIES, &units);
    driver.settle().fail("a");
    driver.unit_event("a", UnitEvent::UnitDiscarded);
    driver.settle();
    assert_eq!(driver.phase("b"), Phase::Blocked);
    assert_eq!(driver.stopped, Some(StopCause::Finished));
}

#[test]
fn only_the_named_units_are_worked_on() {
    let units = line("a", "") + &line("b", "needs: [a]") + &line("c", "");
    let mut driver = Driver::of(&parallel(4), &units);
    driver.select(&["a", "b"]);
    driver.finish_all();
    assert_eq!(
        (driver.phase("a"), driver.phase("b")),
        (Phase::Landed, Phase::Landed)
    );
    assert_eq!(driver.phase("c"), Phase::Waiting);
    assert_eq!(driver.stopped, Some(StopCause::Finished));
    assert!(!driver.state.is_complete(), "the run itself is not finished");
}

#[test]
fn units_that_were_left_out_are_done_by_the_next_engine() {
    let mut driver = Driver::of(&parallel(4), &(line("a", "") + &line("b", "")));
    driver.select(&["a"]);
    driver.finish_all();
    driver.only = None;
    driver.begin_engine();
    driver.finish_all();
    assert_eq!(driver.phase("b"), Phase::Landed);
    assert!(driver.state.is_complete());
}

#[test]
fn a_named_unit_does_not_wait_for_the_paths_of_one_that_is_left_out() {
    let more = format!("{}\noverlap: serialize", parallel(4));
    let units = line("a", "paths: [src/**]") + &line("b", "paths: [src/x.rs]");
    let mut driver = Driver::of(&more, &units);
    driver.select(&["b"]);
    driver.settle();
    assert_eq!(driver.under_way(), ["b"]);
}

#[test]
fn a_unit_that_is_left_out_half_done_is_left_as_it_stands() {
    let mut driver = Driver::of(&parallel(4), &(line("a", "") + &line("b", "")));
    driver.settle();
    driver.restart();
    driver.select(&["b"]);
    driver.finish_all();
    assert_eq!(
        (driver.phase("a"), driver.phase("b")),
        (Phase::Working, Phase::Landed)
    );
    assert_eq!(driver.stopped, Some(StopCause::Finished));
}

#[test]
fn a_spent_budget_starts_nothing_that_costs_but_lands_what_is_paid_for() {
    let more = "limits: {parallel: 1, start_interval: 0s, budget_usd: 1}";
    let mut driver = Driver::of(more, &(line("a", "") + &line("b", "")));
    driver.settle().finish_for("a", Some(2.0));
    assert_eq!(driver.under_way(), ["a*"], "checks cost nothing");
    driver.finish("a");
    assert_eq!(driver.phase("a"), Phase::Landed);
    assert_eq!(driver.phase("b"), Phase::Waiting);
    assert_eq!(driver.stopped, Some(StopCause::Budget));
}

#[test]
fn a_gate_stops_the_run_for_a_person_even_when_the_budget_is_spent() {
    let more = "limits: {parallel: 1, start_interval: 0s, budget_usd: 1}\n\
                tiers: {gated: {implement: {agent: author}, approve: {by: human, needs: [implement]}}}";
    let mut driver = Driver::of(more, "  a: {title: a, prompt: x, tier: gated}\n");
    driver.settle().finish_for("a", Some(2.0)).finish("a");
    assert_eq!(driver.phase("a"), Phase::Gated);
    assert_eq!(driver.stopped, Some(StopCause::Human));
}

#[test]
fn a_retry_that_waits_its_time_is_a_wake_and_no_reason_to_stop() {
    let mut driver = Driver::of(&parallel(1), &line("a", ""));
    driver.settle().fail("a");
    assert_eq!(driver.stopped, None);
    assert!(driver.wake.is_some() && driver.running.is_empty());
    driver.finish_all();
    assert_eq!(driver.phase("a"), Phase::Landed);
}

#[test]
fn draining_lets_end_what_runs_and_starts_and_lands_nothing() {
    let mut driver = Driver::of(&parallel(1), &(line("a", "") + &line("b", "")));
    driver.settle();
    driver.draining = true;
    driver.settle();
    assert_eq!(driver.stopped, None, "an attempt still runs");
    driver.finish("a");
    assert!(driver.running.is_empty());
    assert_eq!(driver.stopped, Some(StopCause::Signal));
    assert_eq!(driver.phase("b"), Phase::Waiting);
}

#[test]
fn what_is_done_is_finished_also_when_a_stop_was_asked_for() {
    let mut driver = Driver::of(&parallel(1), &line("a", ""));
    driver.finish_all();
    driver.draining = true;
    driver.settle();
    assert_eq!(driver.stopped, Some(StopCause::Finished));
}

#[test]
fn a_target_that_is_gone_is_a_safety_stop_and_begins_nothing() {
    let mut driver = Driver::of(&parallel(1), &line("a", ""));
    let mut facts = driver.facts();
    facts.tip = Tip::Missing;
    facts.tip_continues = false;
    for effect in driver.state.decide(&facts) {
        driver.act(effect);
    }
    assert!(driver.state.queue().safety_stop().is_some());
    driver.settle();
    assert_eq!(driver.stopped, Some(StopCause::Safety));
    assert_eq!(driver.phase("a"), Phase::Waiting);
}

#[test]
fn only_a_check_of_the_file_can_be_known_to_have_passed_on_the_target() {
    let units = line("a", "checks: [{name: own, run: make}]");
    let mut driver = Driver::of(&parallel(1), &units);
    driver.finish_all();
    assert!(driver.state.evidence.was_green_on_target("own"));
    assert!(driver.state.gate.contains("test") && !driver.state.gate.contains("own"));
}

/// Two units in the queue and one at work, on three slots. The queue has a check of its own, so that what passed on the
/// heads does not stand in.
fn two_queued(queue: &str) -> Driver {
    let units = line("a", "") + &line("b", "") + &line("c", "");
    let checks = "checks: [{name: test, run: make}]";
    let queue = format!("queue: {{{queue}, verify: [{{name: gate, run: make}}]}}");
    let head = format!("{}\n{checks}\n{queue}", parallel(3));
    let mut driver = Driver::of(&head, &units);
    driver.settle();
    for unit in ["a", "b"] {
        driver.finish(unit).finish(unit);
    }
    driver
}

fn verified_units(driver: &Driver) -> Vec<String> {
    let units = driver
        .verifying
        .values()
        .flat_map(|verification| &verification.units);
    units.map(ToString::to_string).collect()
}

#[test]
fn attempts_and_verifications_share_the_slots() {
    let mut driver = two_queued("window: auto");
    assert_eq!(verified_units(&driver), ["a", "b"]);
    assert_eq!(
        (driver.under_way(), driver.state.running()),
        (vec!["c".to_owned()], 3)
    );
    driver.finish("c");
    assert_eq!(driver.under_way(), ["c*"]);
    driver.finish("c");
    assert_eq!(verified_units(&driver), ["a", "b", "c"]);
    for _ in 0..3 {
        driver.verify(CheckOutcome::Passed);
    }
    assert_eq!(driver.stopped, Some(StopCause::Finished));
}

#[test]
fn a_window_of_one_verifies_one_candidate_whatever_is_free() {
    let mut driver = two_queued("window: 1");
    assert_eq!(verified_units(&driver), ["a"]);
    driver.finish_all();
    assert_eq!(driver.stopped, Some(StopCause::Finished));
}

#[test]
fn a_batch_is_one_verification_and_its_units_land_together() {
    let mut driver = two_queued("window: 1, batch: 4");
    driver.finish("c").finish("c");
    driver.verify(CheckOutcome::Passed);
    assert_eq!(verified_units(&driver), ["b", "c"]);
    driver.verify(CheckOutcome::Passed);
    for unit in ["a", "b", "c"] {
        assert_eq!(driver.phase(unit), Phase::Landed);
    }
}
