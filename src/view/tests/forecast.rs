//! When the queue's entries may land, and why they are where they are.

use super::rules::{side_by_side, verified};
use super::*;
use crate::spec::Breadth;

/// Milliseconds until each of these may land, where verifications typically take `median_s`.
fn foreseen(script: &Script, history: &History, ids: &[&str]) -> Vec<Option<u64>> {
    let all = forecast(script.view.queue(), history, script.now());
    ids.iter().map(|id| all[&id.parse::<UnitId>().unwrap()]).collect()
}

/// A run whose one verification took 10 s.
fn ten_seconds() -> History {
    let mut script = Script::new();
    script.begin().enqueue("lexer", 0, 0).candidate("lexer", 'c');
    let fence = script.verify('c');
    script.queue(verified(fence, CheckOutcome::Passed));
    let mut records = script.records;
    records.last_mut().unwrap().at += jiff::SignedDuration::from_secs(9);
    History::of(&records)
}

fn script_of(window: u32, batch: u32) -> Script {
    let mut pipeline = pipeline();
    pipeline.queue.window = Breadth::Fixed(window);
    pipeline.queue.batch = Breadth::Fixed(batch);
    Script {
        view: View::new(&pipeline),
        ..Script::new()
    }
}

#[test]
fn the_typical_time_is_the_median_of_verifications_that_ran_and_passed() {
    assert_eq!(ten_seconds().median_ms(), Some(10_000));
    let mut script = side_by_side();
    script
        .queue(verified(1, CheckOutcome::Failed))
        .queue(QueueEvent::VerifyEnded {
            fence: 3,
            evidence: evidence(CheckOutcome::Passed),
            reused: true,
        });
    assert!(
        History::of(&script.records).is_empty(),
        "a failure and reused evidence say nothing"
    );
    assert_eq!(
        foreseen(&script, &History::of(&script.records), &["lexer", "cache"]),
        [None, None],
        "without history nothing is said"
    );
}

#[test]
fn waiting_entries_land_one_after_the_other_through_the_lanes_of_the_window() {
    let line = |script: &mut Script| {
        script
            .begin()
            .enqueue("lexer", 0, 0)
            .enqueue("cache", 0, 2)
            .enqueue("docs", 0, 3);
    };
    let ids = ["lexer", "cache", "docs"];
    for (window, batch, seconds) in [(1, 1, [10, 20, 30]), (2, 1, [10, 10, 20]), (1, 2, [10, 10, 20])] {
        let mut script = script_of(window, batch);
        line(&mut script);
        assert_eq!(
            foreseen(&script, &ten_seconds(), &ids),
            seconds.map(|seconds| Some(seconds * 1000)),
            "window {window}, batch {batch}"
        );
    }
}

#[test]
fn what_is_being_verified_has_run_for_a_while_already() {
    let mut script = script_of(1, 1);
    script.begin().enqueue("lexer", 0, 0).candidate("lexer", 'c');
    script.verify('c');
    script.enqueue("cache", 0, 2);
    let history = ten_seconds().beside(&History::of(&script.records));
    assert_eq!(
        foreseen(&script, &history, &["lexer", "cache"]),
        [Some(9_000), Some(19_000)]
    );
}

#[test]
fn who_stands_behind_one_that_waits_for_a_person_has_no_time() {
    let mut script = side_by_side();
    script.queue(verified(1, CheckOutcome::Passed));
    script.queue(QueueEvent::EntryHeld {
        unit: "lexer".parse().unwrap(),
        hold: Hold::TargetDirty {
            checkout: "/repo".to_owned(),
            paths: vec!["a".to_owned()],
            removed: Vec::new(),
        },
    });
    assert_eq!(
        foreseen(&script, &ten_seconds(), &["lexer", "cache", "docs"]),
        [None, None, None]
    );
}

#[test]
fn an_entry_says_what_it_waits_for() {
    let mut script = side_by_side();
    let standing = |script: &Script, id: &str| script.view.standing(script.unit_view(id), &[]);
    assert_eq!(standing(&script, "lexer").waits_for, [Waited::Checks]);
    script.queue(verified(2, CheckOutcome::Failed));
    let suspect = standing(&script, "cache");
    assert_eq!(
        (suspect.code, suspect.waits_for.as_slice()),
        ("suspect", [Waited::Unit("lexer".parse().unwrap())].as_slice())
    );
    let queued = standing(&script, "docs");
    assert_eq!(queued.sentence, "2 units are ahead of it");
    assert_eq!(queued.waits_for, [Waited::Unit("cache".parse().unwrap())]);
    script.queue(QueueEvent::BaseRed {
        commit: oid('4'),
        check: "test".to_owned(),
    });
    let held = standing(&script, "docs");
    assert_eq!(
        (held.code, held.waits_for.as_slice()),
        ("base_red", [Waited::Base, Waited::Person].as_slice())
    );
    assert!(held.remedy.unwrap().contains("pipeline run rfc.yaml"));
}

#[test]
fn who_holds_a_resource_is_named_beside_the_slot_while_it_is_busy() {
    let mut script = Script::new();
    script.begin();
    let rivals = [("db".to_owned(), "cache".parse().unwrap())];
    let standing = |script: &Script| {
        let standing = script.view.standing(script.unit_view("lexer"), &[]);
        script.view.with_holders(standing, &rivals)
    };
    assert_eq!(standing(&script).waits_for, [Waited::Slot]);
    script.start("cache", job("implement", StageKind::Implement), 1, 1);
    let held = standing(&script);
    assert_eq!(
        held.waits_for,
        [Waited::Slot, Waited::Unit("cache".parse().unwrap())]
    );
    assert!(held.sentence.contains("`cache` has `db`"), "{held:?}");
}

#[test]
fn every_state_of_a_unit_says_why_it_is_there() {
    let mut script = Script::new();
    let standing = |script: &Script, id: &str| script.view.standing(script.unit_view(id), &[]);
    script.begin();
    assert_eq!(standing(&script, "lexer").waits_for, [Waited::Slot]);
    let after = ["lexer".parse().unwrap()];
    assert_eq!(
        script.view.standing(script.unit_view("cache"), &after).waits_for,
        [Waited::Unit("lexer".parse().unwrap())],
        "they claim the same paths"
    );
    let parser = standing(&script, "parser");
    assert_eq!(
        (parser.code, parser.waits_for.as_slice()),
        ("waiting", [Waited::Unit("lexer".parse().unwrap())].as_slice())
    );
    script.unit("lexer", UnitEvent::UnitStarted { base: oid('4') });
    assert_eq!(
        standing(&script, "lexer").sentence,
        "its next stage is `implement` (round 1, attempt 1), which starts when a slot is free"
    );
    let fence = script.start("lexer", job("implement", StageKind::Implement), 1, 1);
    assert_eq!(
        standing(&script, "lexer").waits_for,
        [Waited::Attempt("implement".parse().unwrap())]
    );
    script.end("lexer", fence, Outcome::Timeout, None);
    assert!(standing(&script, "lexer").sentence.contains("ended as timeout"));
    script.unit(
        "lexer",
        UnitEvent::GateOpened {
            gate: Gate::Approval {
                stage: "approve".parse().unwrap(),
            },
        },
    );
    assert_eq!(standing(&script, "lexer").waits_for, [Waited::Person]);
    script.evict("lexer", "it fails");
    let evicted = standing(&script, "lexer");
    assert_eq!(
        (evicted.code, evicted.sentence.as_str()),
        ("verify_failed", "it fails")
    );
    assert!(evicted.remedy.unwrap().contains("pipeline resolve lexer"));
    script.unit(
        "cache",
        UnitEvent::UnitEvicted {
            reason: Reason::Cancelled,
            sentence: String::new(),
        },
    );
    assert!(
        standing(&script, "cache").waits_for.is_empty(),
        "it waits for nobody"
    );
    script.unit(
        "parser",
        UnitEvent::UnitBlocked {
            on: "lexer".parse().unwrap(),
        },
    );
    let blocked = standing(&script, "parser");
    assert_eq!(
        (blocked.code, blocked.waits_for.as_slice()),
        (
            "dependency_evicted",
            [Waited::Unit("lexer".parse().unwrap())].as_slice()
        )
    );
}

#[test]
fn without_an_engine_what_needs_no_person_needs_somebody_who_starts_one() {
    let mut script = side_by_side();
    script.run(RunEvent::EngineStopped {
        why: StopCause::Signal,
    });
    let standing = script.view.standing(script.unit_view("docs"), &[]);
    assert_eq!(standing.waits_for.last(), Some(&Waited::Engine));
    assert!(standing.remedy.unwrap().contains("pipeline run rfc.yaml"));
}

#[test]
fn what_a_dead_engine_was_verifying_is_not_shown_as_being_verified() {
    let mut script = side_by_side();
    script.view.tell_no_engine();
    let entries = script.view.queue().entries();
    assert!(
        entries.iter().all(|entry| entry.status == Status::Integrated),
        "{entries:?}"
    );
}
