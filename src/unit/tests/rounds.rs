//! Order of stages, rounds, and how they end.

use super::*;

fn major(line: u32) -> ReportedFinding {
    finding(&format!("issue at {line}"), line, Severity::Major, 90)
}

#[test]
fn a_clean_unit_goes_straight_to_the_queue_and_its_fix_is_skipped() {
    let mut driver = Driver::small().implemented();
    driver.step("review", review(vec![], &[]));
    driver.step("approve", decision(true));
    assert_eq!(driver.rest(), Phase::Queued);
    assert_eq!((driver.state.generation(), driver.state.fixes_used()), (1, 0));
    let skipped = |event: &UnitEvent| matches!(event, UnitEvent::StageSkipped { stage, round: 1 } if stage.as_str() == "fix");
    assert!(driver.events.iter().any(|(event, _)| skipped(event)));
}

#[test]
fn major_findings_twice_then_none_mean_two_fix_rounds_then_approval() {
    let mut driver = Driver::small().implemented();
    driver.step("review", review(vec![major(3)], &[]));
    driver.step("fix", work(3));
    driver.step("checks", passing());
    driver.step("review", review(vec![major(30)], &[("F-1", RESOLVED)]));
    driver.step("fix", work(4));
    driver.step("checks", passing());
    driver.step("review", review(vec![], &[("F-2", RESOLVED)]));
    driver.step("approve", decision(true));
    assert_eq!(driver.rest(), Phase::Queued);
    assert_eq!((driver.state.fixes_used(), driver.state.round()), (2, 3));
}

#[test]
fn a_finding_below_the_confidence_bar_never_leads_to_a_fix() {
    let mut driver = Driver::small().implemented();
    driver.step(
        "review",
        review(vec![finding("doubt", 3, Severity::Major, 60)], &[]),
    );
    driver.step("approve", decision(true));
    assert_eq!(driver.rest(), Phase::Queued);
    assert_eq!(driver.state.fixes_used(), 0);
    assert_eq!(driver.state.ledger().entries().len(), 1);
}

#[test]
fn a_finding_below_the_severity_bar_never_leads_to_a_fix() {
    let mut driver = Driver::small().implemented();
    driver.step(
        "review",
        review(vec![finding("style", 3, Severity::Minor, 100)], &[]),
    );
    driver.step("approve", decision(true));
    assert_eq!(driver.rest(), Phase::Queued);
}

#[test]
fn a_blocking_finding_after_the_last_fix_is_rounds_exhausted() {
    let mut driver = Driver::small().implemented();
    driver.step("review", review(vec![major(1)], &[]));
    for round in 1..=3u64 {
        driver.step("fix", work(10 + round));
        driver.step("checks", passing());
        let last = format!("F-{round}");
        let line = u32::try_from(round * 10).unwrap();
        driver.step("review", review(vec![major(line)], &[(&last, RESOLVED)]));
    }
    assert_eq!(driver.evicted(), Reason::RoundsExhausted);
    assert_eq!(driver.state.fixes_used(), 3);
}

#[test]
fn a_failed_check_skips_the_reviews_and_goes_to_fix_with_its_log() {
    let mut driver = Driver::small();
    driver.step("implement", work(2));
    driver.step("checks", failing("boom"));
    let fence = driver.begin("fix");
    let Brief::Author {
        failed_checks,
        findings,
        ..
    } = driver.state.brief(&stage_job("fix", StageKind::Fix))
    else {
        panic!("a fix is an author");
    };
    assert_eq!(failed_checks.unwrap().results[0].tail, "the log");
    assert!(findings.is_empty());
    driver.end(fence, Outcome::Ok, Some(work(3)));
    driver.step("checks", passing());
    driver.step("review", review(vec![], &[]));
    driver.step("approve", decision(true));
    assert_eq!(driver.rest(), Phase::Queued);
}

#[test]
fn checks_that_still_fail_after_the_last_round_evict_as_checks_failed() {
    let mut driver = Driver::small();
    driver.step("implement", work(2));
    for round in 0..3 {
        driver.step("checks", failing(&format!("boom {round}")));
        driver.step("fix", work(3 + round));
    }
    driver.step("checks", failing("boom at last"));
    assert_eq!(driver.evicted(), Reason::ChecksFailed);
}

#[test]
fn the_same_check_failure_three_times_in_a_row_ends_the_rounds_early() {
    let mut driver = Driver::small();
    driver.step("implement", work(2));
    driver.step("checks", failing("same"));
    driver.step("fix", work(3));
    driver.step("checks", failing("same"));
    driver.step("fix", work(4));
    driver.step("checks", failing("same"));
    assert_eq!(driver.evicted(), Reason::RoundsExhausted);
    assert_eq!(driver.state.fixes_used(), 2);
    assert!(driver.state.eviction().unwrap().1.contains("3 times in a row"));
}

#[test]
fn the_same_finding_persisting_three_times_ends_the_rounds_early() {
    let mut plan = plan(small());
    plan.limits.rounds = 9;
    let mut driver = Driver::new(plan).implemented();
    driver.step("review", review(vec![major(3)], &[]));
    for fix in 0..3 {
        driver.step("fix", work(10 + fix));
        driver.step("checks", passing());
        driver.step("review", review(vec![], &[("F-1", PERSISTS)]));
    }
    assert_eq!(driver.evicted(), Reason::RoundsExhausted);
    assert_eq!(driver.state.fixes_used(), 3);
}

#[test]
fn without_a_fix_stage_failing_checks_cost_the_author_its_attempts() {
    let stages = vec![
        stage("implement", StageKind::Implement, &[]),
        Stage {
            by: Performer::Checks,
            ..stage("approve", StageKind::Approve, &["implement"])
        },
    ];
    let mut driver = Driver::new(plan(stages));
    for attempt in 0..3 {
        driver.step("implement", work(2 + attempt));
        driver.step("checks", failing("same"));
    }
    assert_eq!(driver.evicted(), Reason::ChecksFailed);
}

#[test]
fn approval_by_checks_needs_no_agent() {
    let stages = vec![
        stage("implement", StageKind::Implement, &[]),
        Stage {
            by: Performer::Checks,
            ..stage("approve", StageKind::Approve, &["implement"])
        },
    ];
    let mut driver = Driver::new(plan(stages)).implemented();
    assert_eq!(driver.rest(), Phase::Queued);
}

#[test]
fn waived_checks_are_not_run() {
    let mut plan = plan(small());
    plan.has_checks = false;
    let mut driver = Driver::new(plan);
    driver.step("implement", work(2));
    driver.step("review", review(vec![], &[]));
    driver.step("approve", decision(true));
    assert_eq!(driver.rest(), Phase::Queued);
}

#[test]
fn an_exploring_unit_ends_published_with_its_document() {
    let stages = vec![
        stage("research", StageKind::Prepare, &[]),
        stage("plan", StageKind::Prepare, &["research"]),
    ];
    let mut driver = Driver::new(plan(stages));
    driver.step(
        "research",
        Output::Document {
            text: "facts".to_owned(),
        },
    );
    assert_eq!(
        driver.state.documents(&name("plan")),
        [(name("research"), "facts".to_owned())]
    );
    assert_eq!(driver.state.remaining_stages(), 1);
    driver.step(
        "plan",
        Output::Document {
            text: "steps".to_owned(),
        },
    );
    assert_eq!(driver.rest(), Phase::Published);
}

#[test]
fn reviews_run_side_by_side_and_documents_reach_authors_only() {
    let stages = vec![
        stage("plan", StageKind::Prepare, &[]),
        stage("implement", StageKind::Implement, &["plan"]),
        stage("review", StageKind::Review, &["implement"]),
        stage("audit", StageKind::Review, &["implement"]),
        stage("fix", StageKind::Fix, &["review", "audit"]),
        stage("approve", StageKind::Approve, &["fix"]),
    ];
    let mut driver = Driver::new(plan(stages));
    driver.step(
        "plan",
        Output::Document {
            text: "CANARY plan".to_owned(),
        },
    );
    let mut driver = driver.implemented();
    let wanted: Vec<String> = driver.wanted().iter().map(|start| job_text(&start.job)).collect();
    assert_eq!(wanted, ["review", "audit"]);
    let brief = driver.state.brief(&stage_job("review", StageKind::Review));
    assert!(!format!("{brief:?}").contains("CANARY"));
    driver.step("review", review(vec![major(3)], &[]));
    assert_eq!(driver.wanted().len(), 1, "the fix waits for the audit");
    driver.step("audit", review(vec![], &[]));
    driver.step("fix", work(3));
    driver.step("checks", passing());
    driver.step("audit", review(vec![], &[]));
    driver.step("review", review(vec![], &[("F-1", RESOLVED)]));
    driver.step("approve", decision(true));
    assert_eq!(driver.rest(), Phase::Queued);
}

#[test]
fn each_fix_of_a_tier_loops_with_the_reviews_it_needs() {
    let stages = vec![
        stage("implement", StageKind::Implement, &[]),
        stage("review", StageKind::Review, &["implement"]),
        stage("fix", StageKind::Fix, &["review"]),
        stage("security", StageKind::Review, &["fix"]),
        stage("harden", StageKind::Fix, &["security"]),
        stage("approve", StageKind::Approve, &["harden"]),
    ];
    let mut driver = Driver::new(plan(stages)).implemented();
    driver.step("review", review(vec![], &[]));
    driver.step("security", review(vec![major(3)], &[]));
    driver.step("harden", work(3));
    driver.step("checks", failing("boom"));
    driver.step("harden", work(4));
    driver.step("checks", passing());
    driver.step("security", review(vec![], &[("F-1", RESOLVED)]));
    driver.step("approve", decision(true));
    assert_eq!(driver.rest(), Phase::Queued);
}

#[test]
fn a_blocking_finding_without_a_fix_stage_evicts() {
    let mut stages = small();
    stages.remove(2);
    stages[2].needs = vec![name("review")];
    let mut driver = Driver::new(plan(stages)).implemented();
    driver.step("review", review(vec![major(3)], &[]));
    assert_eq!(driver.evicted(), Reason::RoundsExhausted);
}

#[test]
fn a_rejection_is_a_blocking_finding_with_one_more_fix_round() {
    let mut driver = Driver::small().implemented();
    driver.step("review", review(vec![], &[]));
    driver.step("approve", decision(false));
    let Brief::Author { findings, .. } = driver.state.brief(&stage_job("fix", StageKind::Fix)) else {
        panic!("a fix is an author");
    };
    assert_eq!(findings[0].reported.detail, "because");
    driver.step("fix", work(3));
    driver.step("checks", passing());
    driver.step("review", review(vec![], &[]));
    driver.step("approve", decision(true));
    assert_eq!(driver.rest(), Phase::Queued);
    assert_eq!(driver.state.ledger().entries()[0].state, FindingState::Resolved);
}

#[test]
fn a_rejection_without_rounds_left_evicts_as_rejected() {
    let mut plan = plan(small());
    plan.limits.rounds = 0;
    let mut driver = Driver::new(plan).implemented();
    driver.step("review", review(vec![], &[]));
    driver.step("approve", decision(false));
    assert_eq!(driver.evicted(), Reason::Rejected);
}

#[test]
fn disputed_findings_go_to_the_judge_who_accepts_them() {
    let mut driver = Driver::small().implemented();
    driver.step("review", review(vec![major(3)], &[]));
    driver.step(
        "fix",
        work_with(2, &[("F-1", ResolutionAction::Disputed)], vec![]),
    );
    let Brief::Approve { disputed, .. } = driver.state.brief(&stage_job("approve", StageKind::Approve))
    else {
        panic!("approve has its own brief");
    };
    assert_eq!(
        (disputed[0].finding.as_str(), disputed[0].note.as_str()),
        ("F-1", "CANARY note")
    );
    driver.step("approve", decision(true));
    assert_eq!(driver.rest(), Phase::Queued);
}

#[test]
fn a_refused_dispute_blocks_again() {
    let mut driver = Driver::small().implemented();
    driver.step("review", review(vec![major(3)], &[]));
    driver.step(
        "fix",
        work_with(2, &[("F-1", ResolutionAction::Disputed)], vec![]),
    );
    driver.step("approve", decision(false));
    let ids: Vec<&str> = driver.state.blocking().map(|entry| entry.id.as_str()).collect();
    assert_eq!(ids, ["F-1", "F-2"]);
    driver.step("fix", work(3));
    driver.step("checks", passing());
    driver.step("review", review(vec![], &[("F-1", RESOLVED)]));
    driver.step("approve", decision(true));
    assert_eq!(driver.rest(), Phase::Queued);
}

#[test]
fn a_dispute_nobody_can_judge_does_not_let_the_author_through() {
    let mut stages = small();
    stages[3].by = Performer::Checks;
    let mut driver = Driver::new(plan(stages)).implemented();
    driver.step("review", review(vec![major(3)], &[]));
    for _ in 0..3 {
        driver.step(
            "fix",
            work_with(2, &[("F-1", ResolutionAction::Disputed)], vec![]),
        );
    }
    assert_eq!(driver.evicted(), Reason::NoChange);
}

/// Two reviews of one head, each with a fix of its own.
fn two_loops() -> Driver {
    Driver::new(plan(vec![
        stage("implement", StageKind::Implement, &[]),
        stage("style", StageKind::Review, &["implement"]),
        stage("security", StageKind::Review, &["implement"]),
        stage("restyle", StageKind::Fix, &["style"]),
        stage("secure", StageKind::Fix, &["security"]),
        stage("approve", StageKind::Approve, &["restyle", "secure"]),
    ]))
    .implemented()
}

#[test]
fn a_fix_waits_for_every_review_of_the_head_so_that_two_never_work_on_it_at_once() {
    let mut driver = two_loops();
    let (style, security) = (driver.begin("style"), driver.begin("security"));
    driver.end(security, Outcome::Ok, Some(review(vec![major(3)], &[])));
    assert_eq!(driver.wanted(), Vec::new());
    driver.end(style, Outcome::Ok, Some(review(vec![major(30)], &[])));
    driver.begin("secure");
    assert_eq!(driver.wanted(), Vec::new(), "the other fix waits for this one");
}

#[test]
fn what_another_review_found_still_blocks_after_a_fix() {
    let mut driver = two_loops();
    let (style, security) = (driver.begin("style"), driver.begin("security"));
    driver.end(style, Outcome::Ok, Some(review(vec![major(30)], &[])));
    driver.end(security, Outcome::Ok, Some(review(vec![major(3)], &[])));
    driver.step("restyle", work(3));
    driver.step("checks", passing());
    driver.step("style", review(vec![], &[("F-1", RESOLVED)]));
    driver.step("security", review(vec![], &[("F-2", PERSISTS)]));
    driver.step("secure", work(4));
    assert_eq!(driver.state.head(), Some(&head(4)));
}
