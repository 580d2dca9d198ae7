//! The queue's news, eviction and return, blocking, and the table.

use super::*;

fn queued() -> Driver {
    let mut driver = Driver::small().implemented();
    driver.step("review", review(vec![], &[]));
    driver.step("approve", decision(true));
    assert_eq!(driver.rest(), Phase::Queued);
    driver
}

fn sent_back() -> QueueNews {
    QueueNews::SentBack {
        reason: Reason::VerifyFailed,
        evidence: evidence(CheckOutcome::Failed, "merged"),
    }
}

fn evicted(reason: Reason) -> UnitEvent {
    UnitEvent::UnitEvicted {
        reason,
        sentence: "so it is".to_owned(),
    }
}

#[test]
fn a_unit_sent_back_is_fixed_reviewed_and_approved_as_a_new_generation() {
    let mut driver = queued();
    driver.state.apply_queue(&sent_back()).unwrap();
    let Brief::Author { failed_checks, .. } = driver.state.brief(&stage_job("fix", StageKind::Fix)) else {
        panic!("a fix is an author");
    };
    assert!(failed_checks.is_some());
    driver.step("fix", work(3));
    driver.step("checks", passing());
    driver.step("review", review(vec![], &[]));
    driver.step("approve", decision(true));
    assert_eq!((driver.rest(), driver.state.generation()), (Phase::Queued, 2));
}

#[test]
fn an_approval_stands_until_the_unit_leaves_the_line_for_good() {
    assert!(queued().state.approval_stands());
    let mut driver = queued();
    driver.state.apply_queue(&sent_back()).unwrap();
    assert!(driver.state.approval_stands(), "another head needs another");
    let of_queue = QueueNews::Evicted {
        reason: Reason::DiffNotPreserved,
        sentence: "so it is".to_owned(),
        conflicts: Vec::new(),
    };
    for news in [QueueNews::Cancelled, of_queue] {
        let mut driver = queued();
        driver.state.apply_queue(&news).unwrap();
        assert!(!driver.state.approval_stands(), "{news:?}");
    }
    let retried = UnitEvent::UnitRetried { note: None };
    for event in [evicted(Reason::HeadMoved), retried, UnitEvent::UnitDiscarded] {
        let mut driver = queued();
        driver.record(event.clone());
        assert!(!driver.state.approval_stands(), "{event:?}");
    }
    let landed = QueueNews::Landed { commit: oid(9) };
    let mut driver = queued();
    driver.state.apply_queue(&landed).unwrap();
    assert!(driver.state.approval_stands(), "it is what proves the landing");
}

#[test]
fn a_fix_that_was_skipped_once_uses_up_its_attempts_when_the_queue_wants_it_after_all() {
    let mut driver = queued();
    driver.state.apply_queue(&sent_back()).unwrap();
    for _ in 0..=driver.state.plan().limits.retries {
        driver.fails("fix", Outcome::Crashed);
    }
    assert_eq!(driver.evicted(), Reason::AttemptsExhausted);
}

#[test]
fn a_unit_sent_back_without_rounds_left_is_evicted_for_the_queues_reason() {
    let mut plan = plan(small());
    plan.limits.rounds = 0;
    let mut driver = Driver::new(plan).implemented();
    driver.step("review", review(vec![], &[]));
    driver.step("approve", decision(true));
    driver.rest();
    driver.state.apply_queue(&sent_back()).unwrap();
    assert_eq!(driver.evicted(), Reason::VerifyFailed);
}

#[test]
fn landed_is_final() {
    let mut driver = queued();
    driver
        .state
        .apply_queue(&QueueNews::Landed { commit: oid(99) })
        .unwrap();
    assert_eq!(
        (driver.rest(), driver.state.landed()),
        (Phase::Landed, Some(&oid(99)))
    );
    let retry = UnitEvent::UnitRetried { note: None };
    let before = driver.state.clone();
    assert!(driver.state.apply(&retry, driver.now).is_err());
    assert_eq!(driver.state, before, "a refused event changes nothing");
}

#[test]
fn a_cancelled_entry_of_a_unit_that_went_on_is_ignored() {
    let mut driver = queued();
    driver.record(UnitEvent::UnitRetried { note: None });
    driver.state.apply_queue(&QueueNews::Cancelled).unwrap();
    assert_eq!(driver.state.phase(), Phase::Waiting);
    let mut driver = queued();
    driver.state.apply_queue(&QueueNews::Cancelled).unwrap();
    assert_eq!(driver.state.phase(), Phase::Cancelled);
}

#[test]
fn the_queues_eviction_is_the_units() {
    let mut driver = queued();
    let news = QueueNews::Evicted {
        reason: Reason::ConflictTarget,
        sentence: "collides".to_owned(),
        conflicts: Vec::new(),
    };
    driver.state.apply_queue(&news).unwrap();
    assert_eq!(
        driver.state.eviction(),
        Some((Reason::ConflictTarget, "collides"))
    );
}

#[test]
fn a_retry_starts_afresh_with_the_note_the_eviction_and_the_history() {
    let mut driver = Driver::small().implemented();
    driver.step("review", review(vec![finding("x", 3, Severity::Major, 90)], &[]));
    driver.record(evicted(Reason::RoundsExhausted));
    driver.record(UnitEvent::UnitRetried {
        note: Some("narrower".to_owned()),
    });
    assert_eq!(driver.state.decide(driver.now), []);
    driver.record(UnitEvent::UnitStarted { base: oid(60) });
    let Brief::Author {
        note,
        previous,
        findings,
        ..
    } = driver.state.brief(&stage_job("implement", StageKind::Implement))
    else {
        panic!("implement is an author");
    };
    assert_eq!(note.as_deref(), Some("narrower"));
    assert_eq!(previous.unwrap().reason, Reason::RoundsExhausted);
    assert!(findings.is_empty());
    driver.step("implement", work(70));
    driver.step("checks", passing());
    driver.step("review", review(vec![finding("x", 3, Severity::Major, 90)], &[]));
    let ids: Vec<&str> = driver
        .state
        .ledger()
        .entries()
        .iter()
        .map(|entry| entry.id.as_str())
        .collect();
    assert_eq!(ids, ["F-1", "F-2"], "an id is never given twice");
    assert_eq!(driver.state.round(), 1);
}

#[test]
fn a_persons_commit_is_approved_by_passing_checks() {
    let mut driver = Driver::small().implemented();
    driver.record(evicted(Reason::RoundsExhausted));
    driver.record(UnitEvent::UnitResolved {
        head: head(80),
        base: oid(1),
    });
    driver.step("checks", passing());
    assert_eq!(driver.rest(), Phase::Queued);
    assert_eq!(driver.state.head(), Some(&head(80)));
    driver.state.apply_queue(&sent_back()).unwrap();
    assert_eq!(
        driver.evicted(),
        Reason::VerifyFailed,
        "no agent touches a person's commit"
    );
}

#[test]
fn a_persons_commit_with_failing_checks_is_evicted_again() {
    let mut driver = Driver::small().implemented();
    driver.record(evicted(Reason::RoundsExhausted));
    driver.record(UnitEvent::UnitResolved {
        head: head(80),
        base: oid(1),
    });
    driver.step("checks", failing("boom"));
    assert_eq!(driver.evicted(), Reason::ChecksFailed);
}

#[test]
fn a_blocked_unit_waits_again_when_what_it_needs_comes_back() {
    let mut state = State::new(Arc::new(plan(small())));
    let now = Timestamp::UNIX_EPOCH;
    state
        .apply(
            &UnitEvent::UnitBlocked {
                on: "core".parse().unwrap(),
            },
            now,
        )
        .unwrap();
    assert_eq!((state.phase(), state.decide(now)), (Phase::Blocked, vec![]));
    state.apply(&UnitEvent::UnitUnblocked, now).unwrap();
    assert_eq!(state.phase(), Phase::Waiting);
}

#[test]
fn a_cancelled_unit_is_not_an_evicted_one_and_a_discarded_one_stays() {
    let mut driver = Driver::small();
    driver.record(evicted(Reason::Cancelled));
    assert_eq!(driver.state.phase(), Phase::Cancelled);
    driver.record(UnitEvent::UnitDiscarded);
    let retry = UnitEvent::UnitRetried { note: None };
    let error = driver.state.apply(&retry, driver.now).unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("unit `api` is discarded, where `retried` cannot happen")
    );
}

#[test]
fn eviction_forgets_what_runs() {
    let mut driver = Driver::small();
    driver.begin("implement");
    driver.record(evicted(Reason::Cancelled));
    assert_eq!(driver.state.in_flight().count(), 0);
}

#[test]
fn the_table_has_a_row_for_every_happening_and_a_column_for_every_phase() {
    let table = transition_table();
    let lines: Vec<&str> = table.lines().collect();
    assert_eq!(lines.len(), Happening::ALL.len() + 2);
    assert!(
        lines
            .iter()
            .all(|line| line.matches('|').count() == Phase::ALL.len() + 2)
    );
    assert!(
        table.contains("| queue: landed | | | | landed |")
            || table.contains("| queue: landed |  |  |  | landed |")
    );
}
