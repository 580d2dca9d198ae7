//! The ledger: merging, closing, convergence, contradictions.

use super::*;

fn two_reviews() -> Driver {
    let stages = vec![
        stage("implement", StageKind::Implement, &[]),
        stage("review", StageKind::Review, &["implement"]),
        stage("audit", StageKind::Review, &["implement"]),
        stage("fix", StageKind::Fix, &["review", "audit"]),
        stage("approve", StageKind::Approve, &["fix"]),
    ];
    Driver::new(plan(stages)).implemented()
}

fn panel(kind: StageKind, quorum: u32) -> Driver {
    let mut stages = small();
    let index = if kind == StageKind::Review { 1 } else { 3 };
    stages[index].by = Performer::Panel {
        agents: vec!["a".to_owned(), "b".to_owned(), "c".to_owned()],
        quorum,
    };
    Driver::new(plan(stages)).implemented()
}

#[test]
fn reports_of_a_panel_merge_with_both_names_and_the_highest_confidence() {
    let mut driver = panel(StageKind::Review, 2);
    driver.step(
        "review#1",
        review(vec![finding("Leak ", 4, Severity::Minor, 95)], &[]),
    );
    driver.step("review#2", review(vec![], &[]));
    driver.step(
        "review",
        review(vec![finding("leak", 4, Severity::Major, 70)], &[]),
    );
    let [entry] = driver.state.ledger().entries() else {
        panic!("one issue is one finding");
    };
    assert_eq!((entry.confidence, entry.severity), (95, Severity::Major));
    assert_eq!(
        entry.agents.iter().map(String::as_str).collect::<Vec<_>>(),
        ["a", "b"]
    );
    assert!(entry.blocks);
}

#[test]
fn a_panel_approves_with_its_quorum() {
    let mut driver = panel(StageKind::Approve, 2);
    driver.step("review", review(vec![], &[]));
    let starts = driver.wanted();
    assert_eq!(
        starts.iter().map(|start| start.attempt).collect::<Vec<_>>(),
        [1, 2, 3]
    );
    driver.step("approve", decision(false));
    driver.step("approve#1", decision(true));
    assert_eq!(driver.state.phase(), Phase::Working);
    driver.step("approve#2", decision(true));
    assert_eq!(driver.rest(), Phase::Queued);
}

#[test]
fn a_panel_rejects_as_soon_as_its_quorum_is_out_of_reach() {
    let mut driver = panel(StageKind::Approve, 3);
    driver.step("review", review(vec![], &[]));
    let running = driver.begin("approve#1");
    driver.step("approve", decision(false));
    assert_eq!(driver.state.in_flight().count(), 0);
    driver.end(running, Outcome::Ok, Some(decision(true)));
    assert_eq!(job_text(&driver.wanted()[0].job), "fix");
}

#[test]
fn only_the_stage_that_reported_a_finding_can_close_it() {
    let mut driver = two_reviews();
    driver.step("review", review(vec![finding("x", 3, Severity::Major, 90)], &[]));
    driver.step("audit", review(vec![], &[]));
    driver.step("fix", work(3));
    driver.step("checks", passing());
    let Brief::Review { open, .. } = driver.state.brief(&stage_job("audit", StageKind::Review)) else {
        panic!("an audit is a review");
    };
    assert!(open.is_empty(), "a finding of another review is not shown");
    driver.step("audit", review(vec![], &[("F-1", RESOLVED)]));
    assert_eq!(driver.state.ledger().entries()[0].state, FindingState::New);
    driver.step("review", review(vec![], &[("F-1", PERSISTS)]));
    assert_eq!(driver.state.ledger().entries()[0].state, FindingState::Persists);
    assert_eq!(job_text(&driver.wanted()[0].job), "fix");
}

#[test]
fn a_missing_ledger_row_is_a_missing_schema() {
    let mut driver = Driver::small().implemented();
    driver.step("review", review(vec![finding("x", 3, Severity::Major, 90)], &[]));
    driver.step("fix", work(3));
    driver.step("checks", passing());
    driver.step("review", review(vec![], &[]));
    let Brief::Review { failures, open, .. } = driver.state.brief(&stage_job("review", StageKind::Review))
    else {
        panic!("a review");
    };
    assert!(failures[0].contains("F-1"));
    assert!(check_review(&open, &review(vec![], &[("F-1", PERSISTS)])).is_ok());
    assert!(check_review(&open, &decision(true)).is_err());
    driver.step("review", review(vec![], &[("F-1", RESOLVED)]));
    driver.step("approve", decision(true));
    assert_eq!(driver.rest(), Phase::Queued);
}

#[test]
fn from_round_two_a_new_finding_on_untouched_lines_blocks_only_as_a_blocker() {
    for (severity, phase) in [(Severity::Major, "approve"), (Severity::Blocker, "fix")] {
        let mut driver = Driver::small().implemented();
        driver.step("review", review(vec![finding("x", 3, Severity::Major, 90)], &[]));
        driver.step("fix", work(3));
        driver.step("checks", passing());
        driver.step(
            "review",
            review(vec![finding("late", 400, severity, 95)], &[("F-1", RESOLVED)]),
        );
        assert_eq!(job_text(&driver.wanted()[0].job), phase);
    }
}

#[test]
fn the_first_review_of_a_later_round_is_not_held_to_convergence() {
    let mut driver = Driver::small();
    driver.step("implement", work(2));
    driver.step("checks", failing("boom"));
    driver.step("fix", work(3));
    driver.step("checks", passing());
    driver.step(
        "review",
        review(vec![finding("never seen", 400, Severity::Major, 95)], &[]),
    );
    assert_eq!(job_text(&driver.wanted()[0].job), "fix");
}

#[test]
fn lines_of_all_fixes_since_the_last_review_count_as_touched() {
    let mut driver = Driver::small().implemented();
    driver.step("review", review(vec![finding("x", 3, Severity::Major, 90)], &[]));
    driver.step("fix", work(3));
    driver.step("checks", failing("boom"));
    let mut second = work(4);
    if let Output::Work { touched, .. } = &mut second {
        touched[0].file = "other.rs".to_owned();
    }
    driver.step("fix", second);
    driver.step("checks", passing());
    driver.step(
        "review",
        review(
            vec![finding("new", 20, Severity::Major, 90)],
            &[("F-1", RESOLVED)],
        ),
    );
    assert_eq!(job_text(&driver.wanted()[0].job), "fix");
}

#[test]
fn a_finding_that_comes_back_is_reopened_under_its_id() {
    let mut driver = Driver::small().implemented();
    driver.step("review", review(vec![finding("x", 3, Severity::Major, 90)], &[]));
    driver.step("fix", work(3));
    driver.step("checks", passing());
    driver.step(
        "review",
        review(vec![finding("y", 9, Severity::Major, 90)], &[("F-1", RESOLVED)]),
    );
    driver.step("fix", work(4));
    driver.step("checks", passing());
    driver.step(
        "review",
        review(vec![finding("x", 3, Severity::Major, 90)], &[("F-2", RESOLVED)]),
    );
    let states: Vec<_> = driver
        .state
        .ledger()
        .entries()
        .iter()
        .map(|entry| entry.state)
        .collect();
    assert_eq!(states, [FindingState::Reopened, FindingState::Resolved]);
    assert_eq!(job_text(&driver.wanted()[0].job), "fix");
}

#[test]
fn the_findings_decide_when_a_verdict_contradicts_them() {
    let mut driver = Driver::small().implemented();
    let mut answer = review(vec![finding("x", 3, Severity::Major, 90)], &[]);
    if let Output::Review { verdict, .. } = &mut answer {
        *verdict = Verdict::Approve;
    }
    driver.step("review", answer);
    assert_eq!(job_text(&driver.wanted()[0].job), "fix");
    assert_eq!(driver.state.ledger().notes().len(), 1);

    let mut driver = Driver::small().implemented();
    let mut answer = review(vec![], &[]);
    if let Output::Review { verdict, .. } = &mut answer {
        *verdict = Verdict::RequestChanges;
    }
    driver.step("review", answer);
    assert_eq!(job_text(&driver.wanted()[0].job), "approve");
    assert!(driver.state.ledger().notes()[0].contains("the findings decide"));
}

#[test]
fn a_review_is_never_shown_an_authors_words() {
    let mut driver = Driver::small();
    let fence = driver.begin("implement");
    driver.end_with(fence, Outcome::Failed, None, Some("CANARY tail"));
    let mut driver = driver.implemented();
    let fence = driver.begin("review");
    driver.end_with(fence, Outcome::Crashed, None, Some("CANARY log"));
    driver.step("review", review(vec![finding("x", 3, Severity::Major, 90)], &[]));
    driver.step(
        "fix",
        work_with(3, &[("F-1", ResolutionAction::Disputed)], vec![]),
    );
    driver.step("checks", passing());
    let brief = driver.state.brief(&stage_job("review", StageKind::Review));
    assert!(matches!(&brief, Brief::Review { open, round: 2, .. } if open.len() == 1));
    assert!(!format!("{brief:?}").contains("CANARY"));
}

#[test]
fn reporters_that_disagree_keep_a_finding_open_whoever_answers_first() {
    for order in [["review", "audit"], ["audit", "review"]] {
        let mut driver = two_reviews();
        driver.step("review", review(vec![finding("x", 3, Severity::Major, 90)], &[]));
        driver.step("audit", review(vec![finding("X", 3, Severity::Major, 85)], &[]));
        driver.step("fix", work(3));
        driver.step("checks", passing());
        driver.step(order[0], review(vec![], &[("F-1", RESOLVED)]));
        driver.step(order[1], review(vec![], &[("F-1", PERSISTS)]));
        assert_eq!(job_text(&driver.wanted()[0].job), "fix");

        let mut driver = two_reviews();
        driver.step("review", review(vec![finding("x", 3, Severity::Major, 90)], &[]));
        driver.step("audit", review(vec![finding("X", 3, Severity::Major, 85)], &[]));
        driver.step("fix", work(3));
        driver.step("checks", passing());
        driver.step(order[0], review(vec![], &[("F-1", PERSISTS)]));
        driver.step(order[1], review(vec![], &[("F-1", RESOLVED)]));
        assert_eq!(job_text(&driver.wanted()[0].job), "fix");
    }
}
