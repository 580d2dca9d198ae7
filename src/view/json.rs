//! `status --json`: fields are only ever added.

use serde_json::{Value, json};

use super::{StageRow, UnitState, UnitView, View};
use crate::event::{Collision, Outcome};
use crate::queue::EntryView;

/// The version of the machine output.
const SCHEMA: u32 = 1;

impl View {
    /// The object that `status --json` prints.
    pub fn to_status_json(&self) -> Value {
        let mut places = self.queue_places();
        let units: Vec<Value> = self
            .units
            .iter()
            .map(|unit| unit_json(unit, places.remove(&unit.id)))
            .collect();
        let run = &self.run;
        let collisions: Vec<Value> = run.foreseen.pairs.iter().map(collision_json).collect();
        json!({
            "schema": SCHEMA,
            "run": {
                "id": run.id,
                "name": run.name,
                "file": run.file,
                "state": run.state.as_str(),
                "target": run.named_target(),
                "branch": run.own_branch(),
                "base": run.base,
                "head": run.head,
                "started_at": run.started_at,
                "finished_at": run.finished_at,
                "cost_usd": run.cost,
                "tokens": {"input": run.tokens.input, "output": run.tokens.output},
                "waived": run.waived,
                "stopped": run.stopped,
                "trouble": run.trouble,
                "stalled_since": run.stalled_since,
                "paused": self.queue.is_paused(),
                "frozen_below": self.queue.frozen_below(),
                "collisions": collisions,
                "collisions_left_out": run.foreseen.left_out,
                "units_not_compared": run.foreseen.not_compared,
            },
            "units": units,
            "counts": {
                "landed": self.counts.of(UnitState::Landed),
                "evicted": self.counts.of(UnitState::Evicted),
                "blocked": self.counts.of(UnitState::Blocked),
                "total": self.counts.total(),
            },
        })
    }
}

fn collision_json(pair: &Collision) -> Value {
    json!({
        "units": pair.units,
        "paths": pair.paths,
        "paths_left_out": pair.paths_left_out,
        "uncommitted": pair.uncommitted,
    })
}

fn unit_json(unit: &UnitView, entry: Option<EntryView>) -> Value {
    let stages: Vec<Value> = unit.stages.iter().map(stage_json).collect();
    let findings: Vec<Value> = unit
        .findings
        .iter()
        .map(|finding| {
            json!({"id": finding.id, "state": finding.state.as_str(), "round": finding.round,
            "stage": finding.stage, "file": finding.reported.file, "line": finding.reported.line,
            "severity": finding.reported.severity, "title": finding.reported.title})
        })
        .collect();
    let queue = entry.map(|entry| {
        json!({"position": entry.position, "state": entry.status.as_str(), "generation": entry.generation,
            "candidate": entry.candidate, "charged": entry.charged, "held": entry.held()})
    });
    json!({
        "id": unit.id,
        "title": unit.title,
        "tier": unit.tier,
        "state": unit.state.as_str(),
        "reason": unit.reason,
        "sentence": unit.sentence,
        "needs": unit.needs,
        "round": unit.round,
        "fixes_used": unit.fixes_used,
        "branch": unit.branch,
        "head": unit.head,
        "base": unit.base,
        "cost_usd": unit.cost,
        "stages": stages,
        "findings": findings,
        "queue": queue,
        "landed_as": unit.landed_as,
        "bundle": unit.bundle,
    })
}

fn stage_json(row: &StageRow) -> Value {
    json!({
        "name": row.name,
        "kind": row.kind,
        "round": row.round,
        "attempt": row.attempt,
        "state": row.state.as_str(),
        "outcome": row.outcome.map(outcome_word),
        "agent": row.agent,
        "duration_ms": row.duration_ms,
        "cost_usd": row.cost,
        "verdict": row.verdict,
        "detail": row.detail,
        "started_at": row.started_at,
        "finished_at": row.finished_at,
    })
}

/// The word for an outcome in files and output.
pub fn outcome_word(outcome: Outcome) -> &'static str {
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
