//! What a person decides.

use super::*;
use crate::event::GuardAction;

fn gate_hit(sentence: &str) -> GuardHit {
    GuardHit {
        reason: Reason::ProtectedPath,
        action: GuardAction::Gate,
        sentence: sentence.to_owned(),
    }
}

fn decide(driver: &mut Driver, approved: bool) {
    driver.record(UnitEvent::GateDecided {
        approved,
        message: Some("my word".to_owned()),
    });
}

fn guarded() -> Driver {
    let mut driver = Driver::small();
    driver.step("implement", work_with(2, &[], vec![gate_hit("ci")]));
    driver.step("checks", passing());
    driver.step("review", review(vec![], &[]));
    assert_eq!(driver.rest(), Phase::Gated);
    driver
}

#[test]
fn a_guard_asks_a_person_before_the_judge_is_paid() {
    let mut driver = guarded();
    assert!(matches!(driver.state.gate(), Some(Gate::Guard { hits }) if hits.len() == 1));
    decide(&mut driver, true);
    driver.step("approve", decision(true));
    assert_eq!(driver.rest(), Phase::Queued);
}

#[test]
fn what_a_person_agreed_to_is_not_asked_again_and_what_is_new_is() {
    for (sentence, phase) in [("ci", Phase::Working), ("another", Phase::Gated)] {
        let mut driver = guarded();
        decide(&mut driver, true);
        driver.step("approve", decision(false));
        driver.step("fix", work_with(3, &[], vec![gate_hit(sentence)]));
        driver.step("checks", passing());
        driver.step("review", review(vec![], &[]));
        driver.wanted();
        assert_eq!(driver.state.phase(), phase);
    }
}

#[test]
fn a_refused_guard_is_a_finding_with_the_persons_words() {
    let mut driver = guarded();
    decide(&mut driver, false);
    let Brief::Author { findings, .. } = driver.state.brief(&stage_job("fix", StageKind::Fix)) else {
        panic!("a fix is an author");
    };
    assert_eq!(findings[0].reported.detail, "my word");
    driver.step("fix", work(3));
    driver.step("checks", passing());
    driver.step("review", review(vec![], &[]));
    driver.step("approve", decision(true));
    assert_eq!(driver.rest(), Phase::Queued);
}

#[test]
fn a_refused_guard_without_rounds_left_evicts_as_rejected() {
    let mut plan = plan(small());
    plan.limits.rounds = 0;
    let mut driver = Driver::new(plan);
    driver.step("implement", work_with(2, &[], vec![gate_hit("ci")]));
    driver.step("checks", passing());
    driver.step("review", review(vec![], &[]));
    assert_eq!(driver.rest(), Phase::Gated);
    decide(&mut driver, false);
    assert_eq!(driver.evicted(), Reason::Rejected);
    assert!(driver.state.eviction().unwrap().1.contains("my word"));
}

#[test]
fn approval_by_a_person_waits_at_a_gate() {
    let mut stages = small();
    stages[3].by = Performer::Human;
    let mut driver = Driver::new(plan(stages)).implemented();
    driver.step("review", review(vec![], &[]));
    assert_eq!(driver.rest(), Phase::Gated);
    assert_eq!(
        driver.state.gate(),
        Some(&Gate::Approval {
            stage: name("approve")
        })
    );
    decide(&mut driver, false);
    driver.step("fix", work(3));
    driver.step("checks", passing());
    driver.step("review", review(vec![], &[]));
    assert_eq!(driver.rest(), Phase::Gated);
    decide(&mut driver, true);
    assert_eq!(driver.rest(), Phase::Queued);
}

#[test]
fn a_note_of_a_guard_stops_nothing() {
    let mut driver = Driver::small();
    let hit = GuardHit {
        action: GuardAction::Note,
        ..gate_hit("outside")
    };
    driver.step("implement", work_with(2, &[], vec![hit]));
    driver.step("checks", passing());
    driver.step("review", review(vec![], &[]));
    driver.step("approve", decision(true));
    assert_eq!(driver.rest(), Phase::Queued);
}
