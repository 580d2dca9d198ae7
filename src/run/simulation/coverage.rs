//! What happened over all seeds, by kind, so that a simulator in which something stopped happening is noticed.

use std::collections::BTreeMap;

use crate::event::{
    CheckOutcome, EntryEnd, Event, Hold, LandRefusal, Obstacle, Outcome, Output, QueueEvent, Record,
    RunEvent, UnitEvent, VerifyPurpose,
};
use crate::unit::Happening;

/// How often each kind of thing happened.
pub(super) type Counts = BTreeMap<String, u64>;

/// Everything that must happen at least once in ten thousand seeds.
pub(super) const EXPECTED: &[&str] = &[
    "run_started",
    "engine_started",
    "preflight_ended",
    "run_finished",
    "stop Finished",
    "stop Signal",
    "stop Budget",
    "stop TimeLimit",
    "stop Human",
    "stop BaseRed",
    "stop Environment",
    "stop Safety",
    "unit started",
    "unit branch taken",
    "unit branch landed",
    "unit attempt started",
    "unit attempt ended",
    "unit stage skipped",
    "unit gate opened",
    "unit gate decided",
    "unit approved",
    "unit published",
    "unit evicted",
    "unit blocked",
    "unit unblocked",
    "unit retried",
    "unit resolved",
    "unit kept",
    "unit discarded",
    "outcome ok",
    "outcome failed",
    "outcome contradicted",
    "outcome no_change",
    "outcome schema_missing",
    "outcome denied",
    "outcome timeout",
    "outcome idle",
    "outcome budget",
    "outcome rate_limited",
    "outcome auth",
    "outcome crashed",
    "outcome interrupted",
    "output document",
    "output work",
    "output review",
    "output decision",
    "output checks",
    "evicted checks_failed",
    "evicted setup_failed",
    "evicted secret_in_diff",
    "evicted rejected",
    "evicted rounds_exhausted",
    "evicted attempts_exhausted",
    "evicted no_change",
    "evicted infra_exhausted",
    "evicted budget_exhausted",
    "evicted conflict_target",
    "evicted verify_failed",
    "evicted verify_timeout",
    "evicted gate_skipped",
    "enqueued",
    "candidate_built",
    "candidate_built of several",
    "batch_split",
    "integration_failed conflict",
    "integration_failed already_landed",
    "verify_started candidate",
    "verify_started base",
    "verify passed",
    "verify failed",
    "verify timed out",
    "verify skipped",
    "verify infrastructure",
    "verify interrupted",
    "verify reused",
    "land_intended",
    "landed",
    "landed unverified",
    "checkout_followed",
    "checkout_followed, paths left",
    "land_refused base_moved",
    "land_refused target_dirty",
    "entry_held target_dirty",
    "entry_released",
    "entry_charged",
    "flake_seen",
    "sent_back",
    "sent_to_resolve",
    "world a conflict was resolved",
    "world a resolution was reviewed without a review in the tier",
    "world a conflict was left unresolved",
    "left already_landed",
    "left evicted",
    "left cancelled",
    "target_moved",
    "queue_paused",
    "queue_resumed",
    "queue_frozen",
    "queue_thawed",
    "entry_raised",
    "queue_stalled",
    "conflicts_foreseen",
    "base_red",
    "safety_stop",
    "world killed",
    "world killed at rest",
    "world a signal",
    "world the clock went back",
    "world the swap was raced",
    "world the preflight could not be run",
    "world a landing went on after a crash",
    "world a landing was recorded after a crash",
    "world a landing was given up after a crash",
    "world a checkout was brought along after a crash",
    "world a restored target was taken up again",
    "world others moved the target",
    "world others broke the target",
    "world others repaired the target",
    "world others landed a unit's work",
    "world the target was forced back",
    "world others rewrote their own commit",
    "world the target was deleted",
    "world a wish was refused",
    "world somebody called",
    "world an engine that was paused went on",
    "land_refused push_rejected",
    "entry_held push_rejected",
    "world two held different resources",
    "world others pushed to a branch",
    "world a branch was gone when it was wanted",
];

/// Counts what a record says.
pub(super) fn count(counts: &mut Counts, record: &Record) {
    let mut add = |kind: String| *counts.entry(kind).or_insert(0) += 1;
    match &record.event {
        Event::Run(event) => add(match event {
            RunEvent::RunStarted { .. } => "run_started".to_owned(),
            RunEvent::EngineStarted { .. } => "engine_started".to_owned(),
            RunEvent::EngineStopped { why } => format!("stop {why:?}"),
            RunEvent::UnitsAdded { .. } => "units_added".to_owned(),
            RunEvent::RunRebuilt { .. } => "run_rebuilt".to_owned(),
            RunEvent::RunFinished => "run_finished".to_owned(),
            RunEvent::PreflightEnded { .. } => "preflight_ended".to_owned(),
            RunEvent::ConflictsForeseen(_) => "conflicts_foreseen".to_owned(),
        }),
        Event::Unit(scoped) => {
            add(format!("unit {}", Happening::of_event(&scoped.what).as_str()));
            if let UnitEvent::AttemptEnded { outcome, output, .. } = &scoped.what {
                add(format!("outcome {}", outcome_word(*outcome)));
                output
                    .iter()
                    .for_each(|output| add(format!("output {}", output_word(output))));
            }
            if let UnitEvent::UnitEvicted { reason, .. } = &scoped.what {
                add(format!("evicted {reason}"));
            }
        }
        Event::Queue(event) => {
            add(queue_word(event));
            if let QueueEvent::EntryLeft {
                end: EntryEnd::Evicted { reason, .. },
                ..
            } = event
            {
                add(format!("evicted {reason}"));
            }
        }
    }
}

fn outcome_word(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Ok => "ok",
        Outcome::Failed => "failed",
        Outcome::Contradicted => "contradicted",
        Outcome::NoChange => "no_change",
        Outcome::SchemaMissing => "schema_missing",
        Outcome::Denied => "denied",
        Outcome::Timeout => "timeout",
        Outcome::Idle => "idle",
        Outcome::Budget => "budget",
        Outcome::RateLimited { .. } => "rate_limited",
        Outcome::Auth => "auth",
        Outcome::Crashed => "crashed",
        Outcome::Interrupted => "interrupted",
        Outcome::Panicked => "panicked",
    }
}

fn output_word(output: &Output) -> &'static str {
    match output {
        Output::Document { .. } => "document",
        Output::Work { .. } => "work",
        Output::Review { .. } => "review",
        Output::Decision { .. } => "decision",
        Output::Checks { .. } => "checks",
    }
}

fn queue_word(event: &QueueEvent) -> String {
    let word = match event {
        QueueEvent::Enqueued { .. } => "enqueued",
        QueueEvent::CandidateBuilt { candidate } if candidate.units.len() > 1 => "candidate_built of several",
        QueueEvent::CandidateBuilt { .. } => "candidate_built",
        QueueEvent::IntegrationFailed { obstacle, .. } => match obstacle {
            Obstacle::Conflict { .. } => "integration_failed conflict",
            Obstacle::AlreadyLanded => "integration_failed already_landed",
            Obstacle::UnrelatedHistory => "integration_failed unrelated_history",
            Obstacle::MergeCommit { .. } => "integration_failed merge_commit",
            Obstacle::NotPreserved { .. } => "integration_failed not_preserved",
        },
        QueueEvent::VerifyStarted { purpose, .. } => match purpose {
            VerifyPurpose::Candidate => "verify_started candidate",
            VerifyPurpose::Base => "verify_started base",
        },
        QueueEvent::VerifyEnded { reused: true, .. } => "verify reused",
        QueueEvent::VerifyEnded { evidence, .. } => match evidence.first_failure().map(|row| row.outcome) {
            None | Some(CheckOutcome::Passed) => "verify passed",
            Some(CheckOutcome::Failed) => "verify failed",
            Some(CheckOutcome::TimedOut) => "verify timed out",
            Some(CheckOutcome::Skipped) => "verify skipped",
            Some(CheckOutcome::Infrastructure) => "verify infrastructure",
            Some(CheckOutcome::Interrupted) => "verify interrupted",
        },
        QueueEvent::LandIntended { .. } => "land_intended",
        QueueEvent::Landed { evidence: None, .. } => "landed unverified",
        QueueEvent::Landed { .. } => "landed",
        QueueEvent::CheckoutFollowed { left, .. } if left.is_empty() => "checkout_followed",
        QueueEvent::CheckoutFollowed { .. } => "checkout_followed, paths left",
        QueueEvent::LandRefused { cause, .. } => match cause {
            LandRefusal::BaseMoved { .. } => "land_refused base_moved",
            LandRefusal::TargetDirty { .. } => "land_refused target_dirty",
            LandRefusal::PushRejected { .. } => "land_refused push_rejected",
        },
        QueueEvent::EntryHeld { hold, .. } => match hold {
            Hold::TargetDirty { .. } => "entry_held target_dirty",
            Hold::PushRejected { .. } => "entry_held push_rejected",
            Hold::BaseRed { .. } => "entry_held base_red",
            Hold::ConflictAhead { .. } => "entry_held conflict_ahead",
            Hold::Backoff { .. } => "entry_held backoff",
            Hold::Paused => "entry_held paused",
            Hold::Frozen { .. } => "entry_held frozen",
        },
        QueueEvent::EntryReleased { .. } => "entry_released",
        QueueEvent::EntryCharged { .. } => "entry_charged",
        QueueEvent::FlakeSeen { .. } => "flake_seen",
        QueueEvent::SentBack { .. } => "sent_back",
        QueueEvent::SentToResolve { .. } => "sent_to_resolve",
        QueueEvent::EntryLeft { end, .. } => match end {
            EntryEnd::AlreadyLanded => "left already_landed",
            EntryEnd::Evicted { .. } => "left evicted",
            EntryEnd::Cancelled => "left cancelled",
        },
        QueueEvent::TargetMoved { .. } => "target_moved",
        QueueEvent::BaseRed { .. } => "base_red",
        QueueEvent::SafetyStop { .. } => "safety_stop",
        QueueEvent::BatchSplit { .. } => "batch_split",
        QueueEvent::QueuePaused => "queue_paused",
        QueueEvent::QueueResumed => "queue_resumed",
        QueueEvent::QueueFrozen { .. } => "queue_frozen",
        QueueEvent::QueueThawed => "queue_thawed",
        QueueEvent::EntryRaised { .. } => "entry_raised",
        QueueEvent::QueueStalled { .. } => "queue_stalled",
        QueueEvent::StepPanicked { .. } => "step_panicked",
    };
    word.to_owned()
}
