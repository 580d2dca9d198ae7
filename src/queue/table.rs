//! The table of transitions, made by trying every event in every state: it cannot disagree with the code.

use std::fmt::Write as _;

use crate::event::{
    Candidate, CandidateUnit, CheckOutcome, CheckResult, EntryEnd, Evidence, Head, Hold, LandRefusal,
    LandedUnit, Obstacle, QueueEvent, QueueStep, Reason, VerifyPurpose,
};
use crate::id::{Oid, UnitId};
use crate::spec::Strategy;

use super::{Settings, State};

/// The table as Markdown: a row for every event, a column for every status of the entry it happens to. A cell is the
/// status afterwards, `–` where the entry is gone, and empty where the event is refused.
pub fn transition_table() -> String {
    let columns = columns();
    let mut table = String::from("| event |");
    for (status, _) in &columns {
        let _ = write!(table, " {status} |");
    }
    table.push_str("\n| --- |");
    table.push_str(&" --- |".repeat(columns.len()));
    table.push('\n');
    for (name, event) in rows() {
        let _ = write!(table, "| {name} |");
        for (_, state) in &columns {
            let _ = write!(table, " {} |", cell(state, &event));
        }
        table.push('\n');
    }
    table
}

fn cell(state: &State, event: &QueueEvent) -> &'static str {
    let mut after = state.clone();
    match after.apply(event) {
        Err(_) => "",
        Ok(()) => after.entry(&unit()).map_or("–", |entry| entry.status.as_str()),
    }
}

/// A state for every status, each reached by the events before it.
fn columns() -> Vec<(&'static str, State)> {
    let path = [
        enqueued(),
        built(),
        started(),
        ended(CheckOutcome::Passed),
        intended(),
        refused_dirty(),
    ];
    let mut state = State::new(Settings::serial(Strategy::Rebase));
    let mut columns = Vec::new();
    for event in path {
        state.apply(&event).expect("the path is legal");
        let status = state.entry(&unit()).expect("the entry is in line").status;
        columns.push((status.as_str(), state.clone()));
    }
    columns
}

fn rows() -> Vec<(&'static str, QueueEvent)> {
    let mut rows = service_rows();
    rows.extend(line_rows());
    rows
}

/// What happens to a candidate.
fn service_rows() -> Vec<(&'static str, QueueEvent)> {
    vec![
        ("candidate_built", built()),
        (
            "integration_failed",
            QueueEvent::IntegrationFailed {
                unit: unit(),
                generation: 1,
                base: oid(0),
                ahead: Vec::new(),
                obstacle: Obstacle::UnrelatedHistory,
            },
        ),
        (
            "verify_started",
            QueueEvent::VerifyStarted {
                commit: oid(2),
                purpose: VerifyPurpose::Candidate,
                fence: 2,
            },
        ),
        ("verify_ended, passed", ended(CheckOutcome::Passed)),
        ("verify_ended, failed", ended(CheckOutcome::Failed)),
        ("verify_ended, interrupted", ended(CheckOutcome::Interrupted)),
        ("land_intended", intended()),
        (
            "landed",
            QueueEvent::Landed {
                from: oid(0),
                to: oid(2),
                units: vec![LandedUnit {
                    unit: unit(),
                    commit: oid(2),
                    unverified: false,
                }],
                evidence: Some(evidence(CheckOutcome::Passed)),
            },
        ),
        ("land_refused, target_dirty", refused_dirty()),
        (
            "land_refused, push_rejected",
            QueueEvent::LandRefused {
                commit: oid(2),
                cause: LandRefusal::PushRejected { words: String::new() },
            },
        ),
        (
            "land_refused, base_moved",
            QueueEvent::LandRefused {
                commit: oid(2),
                cause: LandRefusal::BaseMoved { tip: oid(9) },
            },
        ),
    ]
}

/// What happens to an entry in line, and to the target.
fn line_rows() -> Vec<(&'static str, QueueEvent)> {
    vec![
        (
            "entry_held",
            QueueEvent::EntryHeld {
                unit: unit(),
                hold: hold(),
            },
        ),
        ("entry_released", QueueEvent::EntryReleased { unit: unit() }),
        (
            "step_panicked",
            QueueEvent::StepPanicked {
                units: vec![unit()],
                commit: None,
                step: QueueStep::Integrate,
                message: "a bug".to_owned(),
            },
        ),
        (
            "sent_back",
            QueueEvent::SentBack {
                unit: unit(),
                reason: Reason::VerifyFailed,
                evidence: evidence(CheckOutcome::Failed),
            },
        ),
        (
            "sent_to_resolve",
            QueueEvent::SentToResolve {
                unit: unit(),
                onto: oid(0),
                conflicts: Vec::new(),
            },
        ),
        (
            "entry_left",
            QueueEvent::EntryLeft {
                unit: unit(),
                end: EntryEnd::Cancelled,
            },
        ),
        (
            "target_moved",
            QueueEvent::TargetMoved {
                from: oid(0),
                to: oid(9),
            },
        ),
        (
            "base_red",
            QueueEvent::BaseRed {
                commit: oid(0),
                check: "test".to_owned(),
            },
        ),
        ("queue_paused", QueueEvent::QueuePaused),
        (
            "queue_frozen, above its priority",
            QueueEvent::QueueFrozen { below: 1 },
        ),
        ("entry_raised", raised(false)),
        ("entry_raised, interrupt", raised(true)),
    ]
}

fn unit() -> UnitId {
    "unit".parse().expect("a safe name")
}

fn oid(number: u8) -> Oid {
    format!("{number:040x}").parse().expect("forty hex digits")
}

fn enqueued() -> QueueEvent {
    QueueEvent::Enqueued {
        unit: unit(),
        generation: 1,
        head: Head {
            commit: oid(1),
            tree: oid(3),
        },
        base: oid(0),
        priority: 0,
        place: 0,
    }
}

fn built() -> QueueEvent {
    QueueEvent::CandidateBuilt {
        candidate: Candidate {
            base: oid(0),
            strategy: Strategy::Rebase,
            units: vec![CandidateUnit {
                unit: unit(),
                generation: 1,
                head: oid(1),
                commit: oid(2),
            }],
            commit: oid(2),
            tree: oid(3),
        },
    }
}

fn started() -> QueueEvent {
    QueueEvent::VerifyStarted {
        commit: oid(2),
        purpose: VerifyPurpose::Candidate,
        fence: 1,
    }
}

fn ended(outcome: CheckOutcome) -> QueueEvent {
    QueueEvent::VerifyEnded {
        fence: 1,
        evidence: evidence(outcome),
        reused: false,
    }
}

fn evidence(outcome: CheckOutcome) -> Evidence {
    Evidence {
        tree: oid(3),
        checks: String::new(),
        environment: String::new(),
        results: vec![CheckResult {
            name: "test".to_owned(),
            outcome,
            exit: None,
            duration_ms: 0,
            tail: String::new(),
            signature: String::new(),
        }],
    }
}

fn intended() -> QueueEvent {
    QueueEvent::LandIntended {
        commit: oid(2),
        from: oid(0),
        tree: oid(3),
        checkout: None,
    }
}

fn raised(interrupt: bool) -> QueueEvent {
    QueueEvent::EntryRaised {
        unit: unit(),
        priority: 1,
        interrupt,
    }
}

fn hold() -> Hold {
    Hold::TargetDirty {
        checkout: String::new(),
        paths: Vec::new(),
        removed: Vec::new(),
    }
}

fn refused_dirty() -> QueueEvent {
    QueueEvent::LandRefused {
        commit: oid(2),
        cause: LandRefusal::TargetDirty {
            checkout: String::new(),
            paths: Vec::new(),
            removed: Vec::new(),
        },
    }
}
