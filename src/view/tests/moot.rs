//! Attempts that nobody waits for any more: they cost what they cost, and say nothing.

use super::*;

/// A unit whose author has handed in a head.
fn implemented() -> Script {
    let mut script = Script::new();
    script.begin();
    script.attempt(
        "lexer",
        job("implement", StageKind::Implement),
        1,
        work('a', Vec::new()),
    );
    script
}

fn ending(script: &mut Script, id: &str, how: &str) {
    let cancelled = UnitEvent::UnitEvicted {
        reason: Reason::Cancelled,
        sentence: "A person cancelled it.".to_owned(),
    };
    match how {
        "retried" => script.unit(id, UnitEvent::UnitRetried { note: None }),
        "discarded" => script.unit(id, UnitEvent::UnitDiscarded),
        "cancelled" => script.unit(id, cancelled),
        "evicted" => script.evict(id, "it failed"),
        other => panic!("{other}"),
    };
}

#[test]
fn what_ends_after_its_unit_was_taken_back_costs_what_it_cost_and_says_nothing() {
    for how in ["retried", "discarded", "cancelled", "evicted"] {
        let mut script = implemented();
        let reviewing = script.start("lexer", job("review", StageKind::Review), 1, 1);
        let fixing = script.start("lexer", job("fix", StageKind::Fix), 1, 1);
        let checking = script.start("lexer", Job::Checks, 1, 1);
        ending(&mut script, "lexer", how);
        let before = script.unit_view("lexer").clone();
        let found = review(Verdict::RequestChanges, vec![finding("one")], Vec::new());
        let failed = Output::Checks {
            evidence: evidence(CheckOutcome::Failed),
        };
        script.end("lexer", reviewing, Outcome::Ok, Some(found));
        script.end("lexer", fixing, Outcome::Ok, Some(work('b', Vec::new())));
        script.end("lexer", checking, Outcome::Ok, Some(failed));
        let after = script.unit_view("lexer");
        assert_eq!(
            (
                &after.head,
                &after.findings,
                after.fixes_used,
                &after.checks,
                after.state
            ),
            (
                &before.head,
                &before.findings,
                before.fixes_used,
                &before.checks,
                before.state
            ),
            "{how}"
        );
        assert_eq!(after.cost, Usd::from_dollars(1.0).unwrap(), "{how}");
        assert_eq!(script.view.running().count(), 0, "{how}");
        assert!(
            after.attempts[1..]
                .iter()
                .all(|attempt| attempt.moot && attempt.finished_at.is_some() && attempt.verdict.is_none()),
            "{how}"
        );
        assert!(
            after.stages.iter().all(|row| row.state != StageState::Running),
            "{how}"
        );
    }
}

#[test]
fn what_is_begun_after_a_retry_is_not_taken_for_what_ended_late() {
    let mut script = Script::new();
    let old = script
        .begin()
        .start("lexer", job("implement", StageKind::Implement), 1, 1);
    ending(&mut script, "lexer", "retried");
    let new = script.start("lexer", job("implement", StageKind::Implement), 1, 2);
    script.end("lexer", old, Outcome::Ok, Some(work('a', Vec::new())));
    let unit = script.unit_view("lexer");
    assert_eq!((&unit.head, unit.stages[0].state), (&None, StageState::Running));
    script.end("lexer", new, Outcome::Ok, Some(work('b', Vec::new())));
    let unit = script.unit_view("lexer");
    assert_eq!(
        (unit.head.clone(), unit.stages[0].state),
        (Some(oid('b')), StageState::Done)
    );
}

#[test]
fn who_judges_a_head_that_is_no_more_says_nothing_of_the_new_one() {
    for (head, findings) in [('b', 0), ('a', 1)] {
        let mut script = implemented();
        let reviewing = script.start("lexer", job("review", StageKind::Review), 1, 1);
        // A fix may leave the tree as it is: then the judges go on.
        script.attempt("lexer", job("fix", StageKind::Fix), 1, work(head, Vec::new()));
        let found = review(Verdict::RequestChanges, vec![finding("one")], Vec::new());
        script.end("lexer", reviewing, Outcome::Ok, Some(found));
        assert_eq!(script.unit_view("lexer").findings.len(), findings);
    }
}

#[test]
fn what_nobody_waited_for_ends_with_its_engine() {
    let mut script = Script::new();
    script
        .begin()
        .start("lexer", job("implement", StageKind::Implement), 1, 1);
    ending(&mut script, "lexer", "evicted");
    assert_eq!(script.view.running().count(), 1, "it is being ended");
    script.run(RunEvent::EngineStarted {
        epoch: 2,
        pid: 1,
        version: String::new(),
    });
    assert_eq!(script.view.running().count(), 0);
    assert_eq!(script.unit_view("lexer").stages[0].state, StageState::Pending);
}
