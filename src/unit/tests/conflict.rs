//! The recovery from a conflict with the target.

use super::*;
use crate::event::Conflict;
use crate::spec::{FromBranch, RESOLVE, RESOLVE_REVIEW};

fn conflicted(onto: u64) -> QueueNews {
    QueueNews::Conflicted {
        onto: oid(onto),
        conflicts: vec![Conflict {
            path: "src/a.rs".to_owned(),
            kind: "contents".to_owned(),
            hunks: "<<<<<<<".to_owned(),
            landed_by: Some("other".parse().unwrap()),
            landed_as: Some(oid(onto)),
        }],
    }
}

/// The stage fails with these words.
fn fail(driver: &mut Driver, outcome: Outcome, detail: &str) {
    let fence = driver.begin(RESOLVE);
    driver.end_with(fence, outcome, None, Some(detail));
}

/// A finding that blocks, far from what anybody touched.
fn blocks(title: &str) -> ReportedFinding {
    finding(title, 900, Severity::Major, 90)
}

/// A unit of the tier `small` that was approved and sent back with a conflict.
fn sent_back() -> Driver {
    let mut driver = Driver::small().implemented();
    driver.step("review", review(vec![], &[]));
    driver.step("approve", decision(true));
    assert_eq!(driver.rest(), Phase::Queued);
    driver.state.apply_queue(&conflicted(50)).unwrap();
    driver
}

/// A unit without a judge, in the same state.
fn trivial() -> Driver {
    let mut approve = stage("approve", StageKind::Approve, &["implement"]);
    approve.by = Performer::Checks;
    let stages = vec![stage("implement", StageKind::Implement, &[]), approve];
    let mut driver = Driver::new(plan(stages)).implemented();
    assert_eq!(driver.rest(), Phase::Queued);
    driver.state.apply_queue(&conflicted(50)).unwrap();
    driver
}

#[test]
fn the_author_resolves_a_conflict_on_the_tip_and_every_judge_is_asked_again() {
    let mut driver = sent_back();
    let before = driver.state.head().cloned().unwrap();
    let starts = driver.wanted();
    assert_eq!(starts.len(), 1);
    assert_eq!(starts[0].commit, oid(50), "its worktree is at the target's tip");
    assert_eq!(driver.state.base_for(&starts[0].job), Some(&oid(50)));
    let Brief::Resolve { conflict, .. } = driver.state.brief(&starts[0].job) else {
        panic!("it is shown the conflict")
    };
    assert_eq!(
        (&conflict.onto, &conflict.head),
        (&oid(50), &before.commit),
        "both sides"
    );
    driver.step(RESOLVE, work(60));
    assert_eq!(driver.state.base(), Some(&oid(50)));
    driver.step("checks", passing());
    driver.step("review", review(vec![], &[]));
    driver.step("approve", decision(true));
    assert_eq!((driver.rest(), driver.state.generation()), (Phase::Queued, 2));
    assert_eq!(
        driver.state.fixes_used(),
        0,
        "a resolved conflict is no fix round"
    );
}

#[test]
fn a_branch_that_a_person_vouched_for_is_judged_from_its_first_conflict_on() {
    let mut plan = plan(small());
    plan.unit.from_branch = Some(FromBranch {
        name: "theirs".to_owned(),
        review: false,
    });
    let mut driver = Driver::waiting(plan);
    driver.record(UnitEvent::BranchTaken {
        branch: "theirs".to_owned(),
        head: head(2),
        base: oid(1),
        guards: Vec::new(),
    });
    assert_eq!(driver.state.remaining_stages(), 0);
    driver.record(UnitEvent::UnitStarted { base: oid(1) });
    assert_eq!((driver.rest(), driver.state.is_resolved()), (Phase::Queued, true));
    driver.state.apply_queue(&conflicted(50)).unwrap();
    driver.step(RESOLVE, work(60));
    driver.step("checks", passing());
    assert_eq!(driver.state.remaining_stages(), 3, "review, fix and approval");
    driver.step("review", review(vec![], &[]));
    driver.step("approve", decision(true));
    assert_eq!(
        (driver.rest(), driver.state.is_resolved()),
        (Phase::Queued, false)
    );
    let failed = QueueNews::SentBack {
        reason: Reason::VerifyFailed,
        evidence: evidence(CheckOutcome::Failed, "merged"),
    };
    driver.state.apply_queue(&failed).unwrap();
    assert_eq!(
        driver.wanted()[0].job,
        stage_job("fix", StageKind::Fix),
        "as an author's work"
    );
}

#[test]
fn what_fails_on_a_resolution_goes_to_the_fix_of_the_tier() {
    let mut driver = sent_back();
    driver.step(RESOLVE, work(60));
    driver.step("checks", failing("x"));
    driver.step("fix", work(61));
    driver.step("checks", passing());
    driver.step("review", review(vec![], &[]));
    driver.step("approve", decision(true));
    assert_eq!((driver.rest(), driver.state.fixes_used()), (Phase::Queued, 1));
    assert_eq!(
        driver.state.base(),
        Some(&oid(50)),
        "the fix stands on the tip, too"
    );
}

#[test]
fn a_new_finding_on_a_resolution_blocks_as_in_a_first_round() {
    let mut driver = sent_back();
    driver.step(RESOLVE, work(60));
    driver.step("checks", passing());
    driver.step("review", review(vec![blocks("elsewhere")], &[]));
    let fix = driver.wanted();
    assert_eq!(fix[0].job, stage_job("fix", StageKind::Fix));
}

#[test]
fn a_tier_without_a_review_gets_one_for_what_resolves_a_conflict() {
    let mut driver = trivial();
    driver.step(RESOLVE, work(60));
    driver.step("checks", passing());
    driver.step(RESOLVE_REVIEW, review(vec![], &[]));
    assert_eq!((driver.rest(), driver.state.generation()), (Phase::Queued, 2));
    assert!(driver.state.conflict().is_none());
}

#[test]
fn what_the_built_in_review_finds_has_the_conflict_resolved_again_and_evicts_in_the_end() {
    let mut driver = trivial();
    for (number, round) in (60..).zip(2..5) {
        assert_eq!(driver.wanted()[0].round, round - 1);
        driver.step(RESOLVE, work(number));
        driver.step("checks", passing());
        let rows: Vec<(&str, LedgerRowState)> = match round {
            2 => vec![],
            _ => vec![("F-1", PERSISTS)],
        };
        let found = if round == 2 { vec![blocks("lost")] } else { vec![] };
        driver.step(RESOLVE_REVIEW, review(found, &rows));
    }
    assert_eq!(driver.evicted(), Reason::Rejected);
}

#[test]
fn checks_that_fail_on_a_resolution_without_a_fix_have_it_made_again() {
    let mut driver = trivial();
    driver.step(RESOLVE, work(60));
    driver.step("checks", failing("x"));
    let Brief::Resolve { failures, .. } = driver.state.brief(&stage_job(RESOLVE, StageKind::Fix)) else {
        panic!("the conflict again")
    };
    assert!(failures[0].contains("`test` fails"), "{failures:?}");
    driver.step(RESOLVE, work(61));
    driver.step("checks", passing());
    driver.step(RESOLVE_REVIEW, review(vec![], &[]));
    assert_eq!(driver.rest(), Phase::Queued);
}

#[test]
fn a_conflict_that_is_not_resolved_evicts_with_the_paths_and_who_landed_the_other_side() {
    let mut driver = sent_back();
    for _ in 0..3 {
        fail(
            &mut driver,
            Outcome::Failed,
            "conflict markers are left in src/a.rs",
        );
    }
    assert_eq!(driver.evicted(), Reason::ConflictTarget);
    let (_, sentence) = driver.state.eviction().unwrap();
    assert_eq!(
        sentence,
        "The work conflicts with the target in src/a.rs (with `other`, which landed). Stage `resolve` failed in 3 attempts, \
         the last time: conflict markers are left in src/a.rs"
    );
}

#[test]
fn a_second_conflict_is_a_second_round_with_attempts_of_its_own() {
    let mut driver = sent_back();
    fail(&mut driver, Outcome::Crashed, "it died");
    fail(&mut driver, Outcome::Crashed, "it died");
    driver.step(RESOLVE, work(60));
    driver.step("checks", passing());
    driver.step("review", review(vec![], &[]));
    driver.step("approve", decision(true));
    assert_eq!(driver.rest(), Phase::Queued);
    driver.state.apply_queue(&conflicted(70)).unwrap();
    let Brief::Resolve {
        failures, conflict, ..
    } = driver.state.brief(&stage_job(RESOLVE, StageKind::Fix))
    else {
        panic!("the new conflict")
    };
    assert!(failures.is_empty());
    assert_eq!((conflict.base, conflict.head), (oid(50), oid(60)));
    fail(&mut driver, Outcome::Crashed, "it died");
    driver.step(RESOLVE, work(71));
    assert_eq!(driver.state.base(), Some(&oid(70)));
}

#[test]
fn an_agent_resolves_what_a_person_had_made_and_the_tier_judges_it() {
    let mut driver = Driver::small().implemented();
    driver.record(UnitEvent::UnitEvicted {
        reason: Reason::Rejected,
        sentence: String::new(),
    });
    driver.record(UnitEvent::UnitResolved {
        head: head(40),
        base: oid(1),
    });
    driver.step("checks", passing());
    assert_eq!(driver.rest(), Phase::Queued);
    driver.state.apply_queue(&conflicted(50)).unwrap();
    assert!(!driver.state.is_resolved());
    driver.step(RESOLVE, work(60));
    driver.step("checks", passing());
    driver.step("review", review(vec![], &[]));
    driver.step("approve", decision(true));
    assert_eq!(driver.rest(), Phase::Queued);
}

#[test]
fn a_retry_or_a_persons_commit_forgets_the_conflict() {
    let mut driver = sent_back();
    driver.record(UnitEvent::UnitRetried { note: None });
    assert!(driver.state.conflict().is_none());
    let mut driver = sent_back();
    for _ in 0..3 {
        fail(&mut driver, Outcome::Crashed, "it died");
    }
    assert_eq!(driver.evicted(), Reason::ConflictTarget);
    driver.record(UnitEvent::UnitResolved {
        head: head(40),
        base: oid(50),
    });
    driver.step("checks", passing());
    assert_eq!(driver.rest(), Phase::Queued);
}
