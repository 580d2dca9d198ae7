//! What the view shows after which events.

use proptest::prelude::{Just, Strategy, any, prop_oneof, proptest};

use super::*;
use crate::event::{Conflict, Obstacle};
use crate::queue::EntryView;

#[test]
fn before_anything_happened_units_are_ready_or_waiting_with_their_planned_stages() {
    let script = Script::new();
    assert_eq!(
        ["lexer", "parser", "cache", "docs"].map(|id| script.state(id)),
        ["ready", "waiting", "ready", "waiting"]
    );
    let rows: Vec<&str> = script
        .unit_view("lexer")
        .stages
        .iter()
        .map(|row| row.name.as_str())
        .collect();
    assert_eq!(rows, ["implement", "checks", "review", "fix", "approve"]);
}

#[test]
fn a_landing_makes_what_needs_it_ready() {
    let mut script = Script::new();
    script.begin().enqueue("lexer", 0, 0).land("lexer", '9');
    assert_eq!(
        ["lexer", "parser", "docs"].map(|id| script.state(id)),
        ["landed", "ready", "waiting"]
    );
    assert_eq!(script.view.run.head, Some(oid('9')));
    assert_eq!(script.view.queue().entry(&"lexer".parse().unwrap()), None);
}

#[test]
fn a_stage_row_shows_the_latest_attempt_of_its_round() {
    let mut script = Script::new();
    let review_job = || job("review", StageKind::Review);
    let fence = script.begin().start("lexer", review_job(), 1, 1);
    script.end("lexer", fence, Outcome::Timeout, None);
    assert_eq!(script.unit_view("lexer").stages[2].state, StageState::Failed);
    let fence = script.start("lexer", review_job(), 1, 2);
    assert_eq!(script.unit_view("lexer").stages[2].state, StageState::Running);
    script.end(
        "lexer",
        fence,
        Outcome::Ok,
        Some(review(Verdict::Approve, vec![note("x")], Vec::new())),
    );
    let row = &script.unit_view("lexer").stages[2];
    assert_eq!(
        (row.state, row.attempt, row.verdict.as_deref()),
        (StageState::Done, 2, Some("approved (1 note)"))
    );
    assert_eq!(row.cost, Usd::from_dollars(0.5).unwrap());
    script.start("lexer", review_job(), 2, 1);
    assert_eq!(script.unit_view("lexer").stages.len(), 6);
    assert_eq!(script.unit_view("lexer").round, 2);
}

#[test]
fn an_outcome_of_an_unknown_fence_costs_and_changes_nothing_else() {
    let mut script = Script::new();
    script
        .begin()
        .start("lexer", job("implement", StageKind::Implement), 1, 1);
    script.end("lexer", 99, Outcome::Ok, Some(work('b', Vec::new())));
    let unit = script.unit_view("lexer");
    assert_eq!(
        (unit.head.clone(), unit.stages[0].state),
        (None, StageState::Running)
    );
    assert_eq!(script.view.run.cost, Usd::from_dollars(0.25).unwrap());
    assert_eq!(script.view.run.tokens, Tokens { input: 11, output: 5 });
}

#[test]
fn an_interrupted_attempt_leaves_its_stage_pending() {
    let mut script = Script::new();
    let fence = script.begin().start("lexer", Job::Checks, 1, 1);
    assert_eq!(script.view.running().count(), 1);
    script.end("lexer", fence, Outcome::Interrupted, None);
    assert_eq!(script.unit_view("lexer").stages[1].state, StageState::Pending);
    assert_eq!(script.view.running().count(), 0);
}

#[test]
fn findings_follow_what_author_and_reviewer_say_of_them() {
    let mut script = Script::new();
    let fixed = Resolution {
        finding: "F-1".to_owned(),
        action: ResolutionAction::Fixed,
        note: String::new(),
    };
    let disputed = Resolution {
        finding: "F-2".to_owned(),
        action: ResolutionAction::Disputed,
        note: "no".to_owned(),
    };
    let two = vec![finding("one"), finding("two")];
    let states = |script: &Script| -> Vec<&str> {
        script
            .unit_view("lexer")
            .findings
            .iter()
            .map(|f| f.state.as_str())
            .collect()
    };
    script.begin().attempt(
        "lexer",
        job("review", StageKind::Review),
        1,
        review(Verdict::RequestChanges, two, Vec::new()),
    );
    assert_eq!(states(&script), ["open", "open"]);
    script.attempt(
        "lexer",
        job("fix", StageKind::Fix),
        1,
        work('b', vec![fixed, disputed]),
    );
    assert_eq!(states(&script), ["fixed", "disputed"]);
    assert_eq!(script.unit_view("lexer").fixes_used, 1);
    let ledger = vec![
        LedgerRow {
            id: "F-1".to_owned(),
            state: LedgerRowState::Resolved,
        },
        LedgerRow {
            id: "F-2".to_owned(),
            state: LedgerRowState::Persists,
        },
        LedgerRow {
            id: "F-9".to_owned(),
            state: LedgerRowState::Persists,
        },
    ];
    script.attempt(
        "lexer",
        job("review", StageKind::Review),
        2,
        review(Verdict::Approve, vec![finding("three")], ledger),
    );
    assert_eq!(states(&script), ["resolved", "open", "open"]);
    assert_eq!(script.unit_view("lexer").findings[2].id, "F-3");
}

#[test]
fn the_queue_is_ordered_by_what_is_under_way_then_priority_then_age_then_place() {
    let mut script = Script::new();
    script
        .begin()
        .enqueue("lexer", 0, 0)
        .enqueue("cache", 0, 2)
        .enqueue("docs", 5, 3);
    let order = |script: &Script| -> Vec<String> {
        let mut ids: Vec<_> = script
            .view
            .queue_places()
            .into_iter()
            .map(|(id, entry)| (entry.position, id.to_string()))
            .collect();
        ids.sort();
        ids.into_iter().map(|(_, id)| id).collect()
    };
    assert_eq!(order(&script), ["docs", "lexer", "cache"]);
    script.candidate("cache", 'c');
    assert_eq!(order(&script), ["cache", "docs", "lexer"]);
    script.queue(QueueEvent::TargetMoved {
        from: oid('4'),
        to: oid('5'),
    });
    assert_eq!(order(&script), ["docs", "lexer", "cache"]);
    assert_eq!(entry(&script, "cache").candidate, None);
}

#[test]
fn an_entry_goes_from_queued_to_landing_by_what_is_journalled() {
    let mut script = Script::new();
    let state = |script: &Script| entry(script, "lexer").status.as_str();
    script.begin().enqueue("lexer", 0, 0);
    assert_eq!(state(&script), "queued");
    script.candidate("lexer", 'c');
    assert_eq!(state(&script), "integrated");
    script.queue(QueueEvent::VerifyStarted {
        commit: oid('c'),
        purpose: VerifyPurpose::Candidate,
        fence: 7,
    });
    assert_eq!(state(&script), "verifying");
    let passed = evidence(CheckOutcome::Passed);
    script.queue(QueueEvent::VerifyEnded {
        fence: 6,
        evidence: passed.clone(),
        reused: false,
    });
    assert_eq!(
        state(&script),
        "verifying",
        "a stranger's evidence proves nothing"
    );
    script.queue(QueueEvent::VerifyEnded {
        fence: 7,
        evidence: passed,
        reused: false,
    });
    assert_eq!(state(&script), "verified");
    script.queue(QueueEvent::EntryHeld {
        unit: "lexer".parse().unwrap(),
        hold: Hold::BaseRed {
            check: "t".to_owned(),
        },
    });
    assert_eq!(state(&script), "held");
    script.queue(QueueEvent::EntryReleased {
        unit: "lexer".parse().unwrap(),
    });
    script.queue(QueueEvent::LandIntended {
        commit: oid('c'),
        from: oid('4'),
        tree: oid('e'),
        checkout: None,
    });
    assert_eq!(state(&script), "landing");
}

#[test]
fn a_failed_verification_is_never_shown_as_verified() {
    let mut script = Script::new();
    script.begin().enqueue("lexer", 0, 0).candidate("lexer", 'c');
    script.queue(QueueEvent::VerifyStarted {
        commit: oid('c'),
        purpose: VerifyPurpose::Candidate,
        fence: 7,
    });
    script.queue(QueueEvent::VerifyEnded {
        fence: 7,
        evidence: evidence(CheckOutcome::Failed),
        reused: false,
    });
    assert_eq!(entry(&script, "lexer").status, Status::Integrated);
    assert_eq!(script.unit_view("lexer").checks[0].on, "candidate");
}

fn entry(script: &Script, id: &str) -> EntryView {
    script.view.queue().entry(&id.parse().unwrap()).unwrap()
}

/// `lexer`, `cache` on it and `docs` on that, all verifying.
pub(super) fn side_by_side() -> Script {
    let mut script = Script::new();
    script.begin();
    for (id, place, base, commit, fence) in [
        ("lexer", 0, '4', 'a', 1),
        ("cache", 2, 'a', 'b', 2),
        ("docs", 3, 'b', 'c', 3),
    ] {
        script.enqueue(id, 0, place).candidate_on(id, base, commit);
        script.queue(QueueEvent::VerifyStarted {
            commit: oid(commit),
            purpose: VerifyPurpose::Candidate,
            fence,
        });
    }
    script
}

fn queue_states(script: &Script) -> Vec<&'static str> {
    let state = |id: &&str| {
        let entry = script.view.queue().entry(&id.parse().unwrap());
        entry.map_or("gone", |entry| entry.status.as_str())
    };
    ["lexer", "cache", "docs"].iter().map(state).collect()
}

pub(super) fn verified(fence: u64, outcome: CheckOutcome) -> QueueEvent {
    QueueEvent::VerifyEnded {
        fence,
        evidence: evidence(outcome),
        reused: false,
    }
}

#[test]
fn several_entries_are_verified_at_once_and_a_failure_makes_a_suspect_of_one_and_frees_those_behind_it() {
    let mut script = side_by_side();
    assert_eq!(queue_states(&script), ["verifying", "verifying", "verifying"]);
    script.queue(verified(2, CheckOutcome::Failed));
    assert_eq!(queue_states(&script), ["verifying", "suspect", "queued"]);
    script.candidate_on("docs", 'a', 'd');
    assert_eq!(queue_states(&script), ["verifying", "suspect", "integrated"]);
    script.queue(verified(3, CheckOutcome::Passed));
    assert_eq!(
        queue_states(&script)[2],
        "integrated",
        "what ran on the doomed one proves nothing"
    );
    script.land("lexer", 'a');
    assert_eq!(
        queue_states(&script),
        ["gone", "integrated", "integrated"],
        "nothing unlanded is below it"
    );
}

#[test]
fn an_entry_that_cannot_be_put_onto_one_ahead_is_held_until_that_one_leaves() {
    let mut script = side_by_side();
    script.queue(verified(3, CheckOutcome::Failed));
    script.enqueue("parser", 0, 1);
    script.queue(QueueEvent::IntegrationFailed {
        unit: "parser".parse().unwrap(),
        generation: 1,
        base: oid('b'),
        ahead: Vec::new(),
        obstacle: Obstacle::Conflict {
            conflicts: vec![Conflict {
                path: "src/lib.rs".to_owned(),
                kind: "contents".to_owned(),
                hunks: String::new(),
                landed_by: Some("cache".parse().unwrap()),
                landed_as: None,
            }],
        },
    });
    let parser = |script: &Script| entry(script, "parser");
    assert_eq!(parser(&script).status.as_str(), "held");
    let held = "it conflicts with `cache`, ahead in the queue, in src/lib.rs";
    assert_eq!(parser(&script).held().as_deref(), Some(held));
    script.queue(QueueEvent::EntryLeft {
        unit: "cache".parse().unwrap(),
        end: EntryEnd::Cancelled,
    });
    assert_eq!(parser(&script).status, Status::Queued);
}

#[test]
fn under_a_red_target_everybody_in_line_is_held() {
    let mut script = side_by_side();
    script.enqueue("parser", 0, 1).queue(QueueEvent::BaseRed {
        commit: oid('4'),
        check: "test".to_owned(),
    });
    let states: Vec<&str> = script
        .view
        .queue()
        .entries()
        .iter()
        .map(|entry| entry.status.as_str())
        .collect();
    assert_eq!(states, ["held"; 4]);
    let json = script.view.to_status_json();
    assert_eq!(json["units"][0]["queue"]["state"], "held");
    assert_eq!(
        json["units"][0]["queue"]["held"],
        "the check `test` fails on the target itself"
    );
}

#[test]
fn what_the_queue_refuses_is_not_shown() {
    let mut script = Script::new();
    script.begin().enqueue("lexer", 0, 0).queue(QueueEvent::Landed {
        from: oid('4'),
        to: oid('9'),
        units: vec![LandedUnit {
            unit: "lexer".parse().unwrap(),
            commit: oid('9'),
            unverified: false,
        }],
        evidence: None,
    });
    assert_eq!(
        (script.state("lexer"), script.view.run.head.clone()),
        ("queued", Some(oid('4'))),
        "no landing was intended"
    );
}

#[test]
fn a_unit_that_left_the_queue_shows_how() {
    let mut script = Script::new();
    let left = |id: &str, end| QueueEvent::EntryLeft {
        unit: id.parse().unwrap(),
        end,
    };
    script
        .begin()
        .enqueue("lexer", 0, 0)
        .queue(left("lexer", EntryEnd::AlreadyLanded));
    assert_eq!(
        (script.state("lexer"), script.unit_view("lexer").landed_as.clone()),
        ("landed", None)
    );
    let evicted = EntryEnd::Evicted {
        reason: Reason::ConflictTarget,
        sentence: "s".to_owned(),
        conflicts: Vec::new(),
    };
    script.enqueue("cache", 0, 2).queue(left("cache", evicted));
    assert_eq!(
        (script.state("cache"), script.unit_view("cache").reason),
        ("evicted", Some(Reason::ConflictTarget))
    );
    script
        .enqueue("docs", 0, 3)
        .queue(left("docs", EntryEnd::Cancelled));
    assert_eq!(script.state("docs"), "cancelled");
    assert_eq!(script.view.queue_length(), 0);
}

#[test]
fn a_retry_starts_the_stages_afresh_and_keeps_cost_and_history() {
    let mut script = scripted();
    script.unit("cache", UnitEvent::UnitRetried { note: None });
    assert_eq!(script.state("cache"), "ready");
    script
        .evict("parser", "no")
        .unit("parser", UnitEvent::UnitRetried { note: None });
    let unit = script.unit_view("parser");
    assert!(
        unit.stages
            .iter()
            .all(|row| row.state == StageState::Pending && row.attempt == 0)
    );
    assert_eq!(
        (unit.reason, unit.attempts.len(), unit.cost.to_string()),
        (None, 3, "$0.50".to_owned())
    );
}

#[test]
fn people_gate_block_and_discard() {
    let mut script = Script::new();
    let gate = Gate::Approval {
        stage: "approve".parse().unwrap(),
    };
    script.begin().unit("lexer", UnitEvent::GateOpened { gate });
    assert_eq!(script.state("lexer"), "gated");
    script.unit(
        "lexer",
        UnitEvent::GateDecided {
            approved: true,
            message: None,
        },
    );
    assert_eq!(script.state("lexer"), "working");
    script.unit("lexer", UnitEvent::UnitDiscarded);
    script.unit(
        "parser",
        UnitEvent::UnitBlocked {
            on: "lexer".parse().unwrap(),
        },
    );
    assert_eq!(
        [script.state("lexer"), script.state("parser")],
        ["cancelled", "blocked"]
    );
    script.unit("parser", UnitEvent::UnitUnblocked);
    assert_eq!(script.state("parser"), "waiting");
}

#[test]
fn a_run_that_no_engine_holds_is_interrupted() {
    let mut script = Script::new();
    script.begin();
    assert_eq!(script.view.run.state, RunState::Running);
    script.view.tell_no_engine();
    assert_eq!(script.view.run.state, RunState::Interrupted);
    script.run(RunEvent::EngineStopped {
        why: StopCause::Budget,
    });
    assert_eq!(script.view.run.state, RunState::Paused);
    script.run(RunEvent::RunFinished);
    assert_eq!(
        (script.view.run.state, script.view.run.finished_at),
        (RunState::Finished, Some(script.now()))
    );
}

#[test]
fn status_json_has_every_documented_field() {
    let script = scripted();
    let json = script.view.to_status_json();
    let keys = |value: &serde_json::Value, wanted: &[&str]| {
        for key in wanted {
            assert!(value.get(key).is_some(), "{key} is missing");
        }
    };
    keys(&json, &["schema", "run", "units", "counts"]);
    keys(
        &json["run"],
        &[
            "id",
            "name",
            "file",
            "state",
            "target",
            "base",
            "head",
            "started_at",
            "finished_at",
            "cost_usd",
            "tokens",
        ],
    );
    let unit = &json["units"][1];
    keys(
        unit,
        &[
            "id",
            "title",
            "tier",
            "state",
            "reason",
            "needs",
            "round",
            "branch",
            "head",
            "cost_usd",
            "stages",
            "queue",
            "landed_as",
            "bundle",
        ],
    );
    keys(
        &unit["stages"][0],
        &[
            "name",
            "kind",
            "round",
            "attempt",
            "state",
            "outcome",
            "agent",
            "duration_ms",
            "cost_usd",
        ],
    );
    assert_eq!(unit["stages"][0]["outcome"], "ok");
    assert_eq!(unit["cost_usd"], 0.5);
    assert_eq!(json["counts"]["landed"], 1);
}

fn any_event() -> impl Strategy<Value = Event> {
    let ids = prop_oneof![Just("lexer"), Just("parser"), Just("cache"), Just("stranger")];
    (ids, 0..20_u32, 1..4_u64, any::<bool>()).prop_map(|(id, which, fence, flag)| {
        let mut script = Script::new();
        script.fence = fence;
        let unit = || id.parse().unwrap();
        let outcome = if flag {
            CheckOutcome::Passed
        } else {
            CheckOutcome::Failed
        };
        match which {
            0 => script.start(id, job("review", StageKind::Review), fence as u32, 1),
            1 => script.start(id, Job::Checks, 1, 1),
            _ => 0,
        };
        match which {
            0 | 1 => &mut script,
            2 => script.end(id, fence, Outcome::Ok, Some(work('b', Vec::new()))),
            3 => script.end(id, fence, Outcome::Crashed, None),
            4 | 5 => script.enqueue(id, i64::from(flag), 1),
            6 | 7 => script.candidate(id, if flag { 'c' } else { 'd' }),
            8 => script.queue(QueueEvent::VerifyStarted {
                commit: oid('c'),
                purpose: VerifyPurpose::Candidate,
                fence,
            }),
            9 => script.queue(QueueEvent::VerifyEnded {
                fence,
                evidence: evidence(outcome),
                reused: flag,
            }),
            10 => script.queue(QueueEvent::Landed {
                from: oid('4'),
                to: oid('c'),
                units: vec![LandedUnit {
                    unit: unit(),
                    commit: oid('c'),
                    unverified: false,
                }],
                evidence: Some(evidence(CheckOutcome::Passed)),
            }),
            19 => script.queue(QueueEvent::LandIntended {
                commit: oid('c'),
                from: oid('4'),
                tree: oid('e'),
                checkout: None,
            }),
            11 => script.evict(id, "why"),
            12 => script.queue(QueueEvent::TargetMoved {
                from: oid('4'),
                to: oid('5'),
            }),
            13 => script.queue(QueueEvent::EntryHeld {
                unit: unit(),
                hold: Hold::BaseRed { check: String::new() },
            }),
            14 => script.queue(QueueEvent::EntryReleased { unit: unit() }),
            15 => script.unit(id, UnitEvent::UnitRetried { note: None }),
            16 => script.unit(id, UnitEvent::UnitDiscarded),
            17 => script.queue(QueueEvent::SentBack {
                unit: unit(),
                reason: Reason::VerifyFailed,
                evidence: evidence(outcome),
            }),
            _ => script.unit(id, UnitEvent::UnitUnblocked),
        };
        script.records[0].event.clone()
    })
}

proptest! {
    #[test]
    fn no_order_of_events_breaks_the_view(events in proptest::collection::vec(any_event(), 0..60)) {
        let mut script = Script::new();
        for event in events {
            script.push(event);
        }
        let view = &script.view;
        for state in UnitState::ALL {
            let found = view.units.iter().filter(|unit| unit.state == *state).count();
            assert_eq!(found as u32, view.counts.of(*state), "{state:?}");
        }
        assert_eq!(view.queue_places().len(), view.queue_length());
        for unit in view.units.iter().filter(|unit| unit.state == UnitState::Ready) {
            assert!(unit.needs.iter().all(|id| view.unit(id).unwrap().state.is_done()));
        }
        let _ = view.to_status_json();
    }
}

#[test]
fn the_time_of_a_run_stands_still_while_no_engine_works_on_it() {
    let mut script = Script::new();
    script.begin().run(RunEvent::EngineStopped {
        why: StopCause::Budget,
    });
    let worked = script.now();
    let later = moment(1_000);
    assert_eq!(script.view.run.worked.ms(later), elapsed_ms(moment(2), worked));

    script.run(RunEvent::EngineStarted {
        epoch: 2,
        pid: 1,
        version: String::new(),
    });
    script.view.tell_no_engine();
    assert_eq!(
        script.view.run.worked.ms(later),
        elapsed_ms(moment(2), worked),
        "it died at once"
    );
}
