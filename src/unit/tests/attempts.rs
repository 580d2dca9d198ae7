//! What an attempt costs, and what fences are for.

use super::*;

#[test]
fn attempts_are_one_and_the_retries_then_exhausted() {
    let mut driver = Driver::small();
    for _ in 0..3 {
        driver.fails("implement", Outcome::Failed);
    }
    assert_eq!(driver.evicted(), Reason::AttemptsExhausted);
}

#[test]
fn a_retry_waits_and_is_told_why_the_last_try_failed() {
    let mut driver = Driver::small();
    let fence = driver.begin("implement");
    driver.end_with(fence, Outcome::Failed, None, Some("it broke"));
    let [Effect::Wake(at)] = driver.state.decide(driver.now)[..] else {
        panic!("a failed attempt backs off");
    };
    assert!(at > driver.now);
    let Brief::Author { failures, .. } = driver.state.brief(&stage_job("implement", StageKind::Implement))
    else {
        panic!("implement is an author");
    };
    assert_eq!(failures, ["it broke"]);
}

#[test]
fn no_change_in_every_attempt_evicts_as_no_change() {
    let mut driver = Driver::small();
    for _ in 0..3 {
        driver.fails("implement", Outcome::NoChange);
    }
    assert_eq!(driver.evicted(), Reason::NoChange);
}

#[test]
fn interrupted_and_rate_limited_cost_nothing_and_count_on() {
    let mut driver = Driver::small();
    for _ in 0..5 {
        driver.fails("implement", Outcome::Interrupted);
    }
    let reset = driver.now.checked_add(Duration::from_secs(900)).unwrap();
    driver.fails("implement", Outcome::RateLimited { reset });
    assert_eq!(driver.state.decide(driver.now), [Effect::Wake(reset)]);
    let starts = driver.wanted();
    assert_eq!((driver.now, starts[0].attempt), (reset, 7));
}

#[test]
fn a_rate_limit_whose_reset_has_passed_is_not_asked_in_a_tight_loop() {
    let mut driver = Driver::small();
    let reset = driver.now;
    driver.fails("implement", Outcome::RateLimited { reset });
    assert!(matches!(driver.state.decide(driver.now)[..], [Effect::Wake(at)] if at > driver.now));
}

#[test]
fn a_missing_login_is_no_attempt() {
    let mut driver = Driver::small();
    for _ in 0..5 {
        driver.fails("implement", Outcome::Auth);
    }
    assert_eq!(driver.wanted().len(), 1);
}

#[test]
fn setup_failures_evict_as_setup_failed() {
    let mut driver = Driver::small();
    for _ in 0..3 {
        let fence = driver.begin("implement");
        driver.end_with(fence, Outcome::Crashed, None, Some("set-up failed: npm ci"));
    }
    assert_eq!(driver.evicted(), Reason::SetupFailed);
}

#[test]
fn infrastructure_says_nothing_about_the_commit_and_is_bounded() {
    let mut driver = Driver::small();
    driver.step("implement", work(2));
    for _ in 0..2 {
        let evidence = evidence(CheckOutcome::Infrastructure, "");
        driver.step("checks", Output::Checks { evidence });
        assert!(driver.state.evidence().is_none());
    }
    for _ in 0..4 {
        let evidence = evidence(CheckOutcome::Interrupted, "");
        driver.step("checks", Output::Checks { evidence });
    }
    driver.fails("checks", Outcome::Crashed);
    assert_eq!(driver.evicted(), Reason::InfraExhausted);
}

#[test]
fn checks_without_results_are_no_pass() {
    let mut driver = Driver::small();
    driver.step("implement", work(2));
    let mut empty = evidence(CheckOutcome::Passed, "");
    empty.results.clear();
    driver.step("checks", Output::Checks { evidence: empty });
    assert!(driver.state.evidence().is_none());
    assert_eq!(job_text(&driver.wanted()[0].job), "checks");
}

#[test]
fn a_judge_that_answers_in_the_wrong_shape_never_approves() {
    let mut driver = Driver::small().implemented();
    driver.step("review", decision(true));
    driver.step("review", work(3));
    driver.fails("review", Outcome::Ok);
    assert_eq!(driver.evicted(), Reason::AttemptsExhausted);
    assert_eq!(
        driver.state.head(),
        Some(&head(2)),
        "a judge cannot move the head"
    );
}

#[test]
fn a_stale_fence_changes_nothing_but_what_was_spent() {
    let mut driver = Driver::small();
    driver.cost = Usd::from_dollars(1.0);
    let stale = driver.begin("implement");
    driver.record(UnitEvent::UnitRetried { note: None });
    driver.end(stale, Outcome::Ok, Some(work(9)));
    driver.end(stale, Outcome::Ok, Some(work(9)));
    driver.end(777, Outcome::Ok, Some(work(9)));
    assert_eq!(
        (driver.state.phase(), driver.state.head()),
        (Phase::Waiting, None)
    );
    assert_eq!(driver.state.ignored_outcomes(), 3);
    assert_eq!(driver.state.spent().cost, Usd::from_dollars(1.0));
}

#[test]
fn an_attempt_in_flight_is_not_asked_for_again_nor_accepted_twice() {
    let mut driver = Driver::small();
    let starts = driver.wanted();
    driver.start(&starts[0]);
    assert_eq!(driver.state.decide(driver.now), []);
    let again = UnitEvent::AttemptStarted {
        job: starts[0].job.clone(),
        round: 1,
        attempt: 2,
        fence: 99,
        agent: None,
        commit: oid(1),
    };
    assert!(
        driver
            .state
            .apply(&again, driver.now)
            .unwrap_err()
            .to_string()
            .contains("runs already")
    );
}

#[test]
fn attempt_numbers_are_never_used_twice_also_after_a_retry() {
    let mut driver = Driver::small();
    driver.fails("implement", Outcome::Interrupted);
    driver.record(UnitEvent::UnitRetried {
        note: Some("narrower".to_owned()),
    });
    driver.record(UnitEvent::UnitStarted { base: oid(50) });
    let starts = driver.wanted();
    assert_eq!((starts[0].round, starts[0].attempt), (1, 2));
    assert_eq!(starts[0].commit, oid(50));
}

#[test]
fn a_spent_budget_evicts_before_the_next_start() {
    let mut plan = plan(small());
    plan.limits.unit_budget = Usd::from_dollars(2.0);
    let mut driver = Driver::new(plan);
    driver.cost = Usd::from_dollars(1.0);
    driver.step("implement", work(2));
    driver.step("checks", passing());
    assert_eq!(driver.evicted(), Reason::BudgetExhausted);
}

#[test]
fn a_refused_tree_is_a_failed_attempt_with_its_own_reason_at_the_end() {
    for reason in [Reason::TooLarge, Reason::SecretInDiff, Reason::OutsidePaths] {
        let mut driver = Driver::small();
        for n in 0..3 {
            let hit = GuardHit {
                reason,
                action: crate::event::GuardAction::Refuse,
                sentence: "no".to_owned(),
            };
            driver.step("implement", work_with(2 + n, &[], vec![hit]));
            assert_eq!(driver.state.head(), None);
        }
        assert_eq!(driver.evicted(), reason);
    }
}

#[test]
fn a_unit_agent_performs_the_author_stages_only() {
    let mut plan = plan(small());
    plan.unit.agent = Some("special".to_owned());
    let mut driver = Driver::new(plan);
    assert_eq!(driver.wanted()[0].agent.as_deref(), Some("special"));
    let mut driver = driver.implemented();
    assert_eq!(driver.wanted()[0].agent.as_deref(), Some("reviewer"));
}
