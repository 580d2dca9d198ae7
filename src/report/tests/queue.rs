//! What people are shown of the queue.

use super::{last_line, unicode};
use crate::event::{CheckOutcome, QueueEvent, Reason, RunEvent, StopCause, VerifyPurpose};
use crate::report::LineStyle;
use crate::report::queue::{Forecast, table};
use crate::view::tests::{Script, evidence, moment, oid, pipeline};
use crate::view::{View, Waited};

/// Two units in line, one of them verified on the other, and a third that joined later.
fn in_line() -> Script {
    let mut script = Script::new();
    script
        .begin()
        .enqueue("lexer", 0, 0)
        .candidate("lexer", 'a')
        .enqueue("cache", 0, 2)
        .candidate_on("cache", 'a', 'b');
    script.verify('a');
    script.verify('b');
    script.enqueue("docs", 0, 3);
    script
}

fn queue_table(script: &Script) -> String {
    let forecast = Forecast {
        lands_in_ms: [("lexer".parse().unwrap(), Some(90_000))].into(),
        verifications: 3,
        median_ms: Some(95_000),
        of_run: None,
    };
    table(&script.view, &forecast, unicode(), script.now())
}

#[test]
fn the_queue_is_a_table_of_states_reasons_and_times() {
    let mut script = in_line();
    insta::assert_snapshot!(queue_table(&script), @"
    r-20261118-110640-0000000000000001 → main · running

    #  UNIT   STATE      ETA      WHY
    1  lexer  verifying  1m30s    the checks run on the candidate that puts it onto the tip of main
    2  cache  verifying  unknown  the checks run on the candidate that puts it onto `lexer`
    3  docs   queued     unknown  2 units are ahead of it

    ETA from now on while an engine runs: a verification takes 1m35s (median of 3 that passed), 2 side by side.
    ");
    script.queue(QueueEvent::QueueStalled { since: moment(0) });
    assert!(
        queue_table(&script)
            .contains("\nSTALLED: nothing has landed for 10.0s while the queue holds 3 units")
    );
    script.queue(QueueEvent::QueueFrozen { below: 5 });
    let frozen = queue_table(&script);
    assert!(!frozen.contains("STALLED"), "a person holds everybody: {frozen}");
    assert!(
        frozen.contains("1  lexer  held (frozen)  1m30s    a person froze the queue below priority 5"),
        "{frozen}"
    );
    assert!(
        frozen.contains("`pipeline queue freeze --off` lifts the freeze."),
        "{frozen}"
    );
}

#[test]
fn a_machine_that_cannot_run_the_checks_is_told_with_the_moment_of_the_next_try() {
    let mut script = in_line();
    for (fence, ..) in script.view.queue().in_flight() {
        script.queue(QueueEvent::VerifyEnded {
            fence,
            evidence: evidence(CheckOutcome::Infrastructure),
            reused: false,
        });
    }
    let line = last_line(&script).unwrap();
    assert!(
        line.starts_with("   HELD [       ] queue     backoff: "),
        "{line}"
    );
    assert!(
        line.contains("; tried again at 11:0") && line.ends_with(" UTC"),
        "{line}"
    );
    let told = queue_table(&script);
    let sentence = "the checks could not be run 2 times in a row, and are tried again at 2026-11-18T11:0";
    assert!(told.contains(&format!("\nThe queue waits: {sentence}")), "{told}");
    assert!(
        told.contains("1  lexer  held (backoff)  1m30s    the checks could not be run"),
        "{told}"
    );
    script.queue(QueueEvent::EntryCharged {
        unit: "lexer".parse().unwrap(),
        charge: 10,
        reason: Reason::InfraExhausted,
    });
    script.queue(QueueEvent::VerifyStarted {
        commit: oid('a'),
        purpose: VerifyPurpose::Candidate,
        fence: 8,
    });
    assert_eq!(script.view.queue().entries()[0].status.as_str(), "verifying");
}

#[test]
fn a_queue_that_is_empty_says_so_and_everything_but_foreign_text_is_ascii() {
    let forecast = Forecast::default();
    let empty = table(&View::new(&pipeline()), &forecast, LineStyle::plain(), moment(0));
    assert!(
        empty.contains("The queue is empty: nothing waits to land."),
        "{empty}"
    );
    let script = in_line();
    let plain = table(&script.view, &forecast, LineStyle::plain(), script.now());
    assert!(plain.is_ascii() && plain.contains("ETA unknown"), "{plain}");
}

#[test]
fn an_alarm_is_told_with_what_the_first_in_line_waits_for() {
    let mut script = in_line();
    script.queue(QueueEvent::QueueStalled { since: moment(0) });
    insta::assert_snapshot!(last_line(&script).unwrap(), @"STALLED [       ] queue     nothing has landed for 10.0s while the queue holds 3 units; `lexer`, the first, is verifying: the checks run on the candidate that puts it onto the tip of main.");
}

#[test]
fn a_target_that_was_red_before_work_began_is_what_everybody_waits_for() {
    let mut script = Script::new();
    script
        .begin()
        .run(RunEvent::PreflightEnded {
            commit: oid('4'),
            evidence: evidence(CheckOutcome::Failed),
            also: Vec::new(),
        })
        .run(RunEvent::EngineStopped {
            why: StopCause::BaseRed,
        });
    let told = "the check `test` fails on the target itself";
    assert!(queue_table(&script).contains(&format!("\nThe run waits: {told}.\n")));
    let standing = script.view.standing(script.unit_view("lexer"), &[]);
    assert!(standing.sentence.ends_with(told), "{standing:?}");
    assert!(standing.waits_for.contains(&Waited::Base), "{standing:?}");
    script.run(RunEvent::EngineStarted {
        epoch: 2,
        pid: 1,
        version: String::new(),
    });
    assert!(
        !queue_table(&script).contains("waits:"),
        "whoever calls again says that it may pass now"
    );
}
