//! The bundle of an eviction: everything a person needs to take the unit over, as JSON and as Markdown.
//!
//! Text from agents, checks and diffs is hostile: in Markdown it stands in fences it cannot break out of, and in
//! both forms it is sanitized.

use std::fmt::Write;

use serde_json::{Value, json};

use super::line::check_word;
use super::table::remedy;
use super::text::{duration, fenced, inline_code, one_line, sanitize};
use crate::event::{Conflict, ResolutionAction};
use crate::view::{RunView, UnitView, outcome_word};

/// Longest text taken over into a sentence, in characters.
const SENTENCE_CHARS_MAX: usize = 500;

/// What a bundle is made of.
#[derive(Debug, Clone)]
pub struct BundleFacts<'a> {
    /// The run.
    pub run: &'a RunView,
    /// The evicted unit.
    pub unit: &'a UnitView,
    /// `git diff --stat` of its work, as git prints it; empty when there is none.
    pub diff_stat: &'a str,
    /// Commands that show the failure again, in order; shell lines.
    pub repro: &'a [String],
}

/// The bundle for machines; fields are only ever added.
pub fn bundle_json(facts: &BundleFacts<'_>) -> Value {
    let unit = facts.unit;
    json!({
        "schema": 1,
        "run": facts.run.id,
        "target": facts.run.target,
        "unit": unit.id,
        "title": sanitize(&unit.title),
        "reason": unit.reason,
        "sentence": unit.sentence.as_deref().map(sanitize),
        "remedy": unit.reason.map(|reason| remedy(unit, reason)),
        "base": unit.base,
        "head": unit.head,
        "diff_stat": sanitize(facts.diff_stat),
        "findings": unit.findings.iter().map(finding_json).collect::<Vec<_>>(),
        "checks": unit.checks.iter().map(|check| json!({
            "name": sanitize(&check.result.name), "on": check.on, "outcome": check.result.outcome,
            "exit": check.result.exit, "duration_ms": check.result.duration_ms,
            "tail": sanitize(&check.result.tail), "signature": sanitize(&check.result.signature),
        })).collect::<Vec<_>>(),
        "conflicts": unit.conflicts.iter().map(|conflict| json!({
            "path": sanitize(&conflict.path), "kind": sanitize(&conflict.kind), "hunks": sanitize(&conflict.hunks),
            "landed_by": conflict.landed_by, "landed_as": conflict.landed_as,
        })).collect::<Vec<_>>(),
        "repro": facts.repro.iter().map(|command| sanitize(command)).collect::<Vec<_>>(),
        "cost_usd": unit.cost,
        "attempts": unit.attempts.iter().map(|attempt| json!({
            "stage": attempt.stage, "round": attempt.round, "attempt": attempt.attempt, "agent": attempt.agent,
            "outcome": attempt.outcome.map(outcome_word), "verdict": attempt.verdict.as_deref().map(sanitize),
            "detail": attempt.detail.as_deref().map(sanitize), "cost_usd": attempt.cost,
            "duration_ms": attempt.duration_ms, "started_at": attempt.started_at,
        })).collect::<Vec<_>>(),
    })
}

fn finding_json(finding: &crate::view::FindingView) -> Value {
    let reported = &finding.reported;
    json!({
        "id": finding.id, "state": finding.state.as_str(), "stage": finding.stage, "round": finding.round,
        "file": sanitize(&reported.file), "line": reported.line, "severity": reported.severity,
        "confidence": reported.confidence, "title": sanitize(&reported.title),
        "detail": sanitize(&reported.detail), "suggestion": reported.suggestion.as_deref().map(sanitize),
        "resolution": finding.resolution.as_ref().map(|resolution| json!({
            "action": resolution.action, "note": sanitize(&resolution.note)})),
    })
}

/// The bundle for people.
pub fn bundle_md(facts: &BundleFacts<'_>) -> String {
    let unit = facts.unit;
    let mut out = format!("# {}: {}\n\n", unit.id, inline_code(&unit.title));
    if let Some(reason) = unit.reason {
        let sentence = unit.sentence.as_deref().unwrap_or_else(|| reason.sentence());
        let _ = writeln!(out, "**{reason}**: {}\n", inline_code(sentence));
        let _ = writeln!(out, "What to do: {}\n", remedy(unit, reason));
    }
    let oid = |oid: &Option<crate::id::Oid>| oid.as_ref().map_or("none".to_owned(), ToString::to_string);
    let run = facts
        .run
        .id
        .as_ref()
        .map_or_else(String::new, ToString::to_string);
    let _ = writeln!(
        out,
        "Run {run}, target {}, base {}, head {}, cost {}.\n",
        inline_code(&facts.run.target),
        oid(&unit.base),
        oid(&unit.head),
        unit.cost
    );
    section(&mut out, "See it again", &facts.repro.join("\n"));
    for conflict in &unit.conflicts {
        out.push_str(&conflict_md(conflict));
    }
    checks_md(&mut out, unit);
    findings_md(&mut out, unit);
    section(&mut out, "What it changes", facts.diff_stat);
    attempts_md(&mut out, unit);
    out
}

/// A heading with a fenced text, unless there is none.
fn section(out: &mut String, title: &str, text: &str) {
    if !text.trim().is_empty() {
        let _ = writeln!(out, "## {title}\n\n{}", fenced(text));
    }
}

fn conflict_md(conflict: &Conflict) -> String {
    let mut out = format!(
        "## Conflict: {} ({})\n\n",
        inline_code(&conflict.path),
        one_line(&conflict.kind, SENTENCE_CHARS_MAX)
    );
    match (&conflict.landed_by, &conflict.landed_as) {
        (Some(unit), Some(commit)) => {
            let _ = writeln!(out, "The other side was landed by unit `{unit}` as {commit}.\n");
        }
        (Some(unit), None) => {
            let _ = writeln!(out, "The other side was landed by unit `{unit}`.\n");
        }
        (None, Some(commit)) => {
            let _ = writeln!(
                out,
                "The other side came with {commit}, which is no unit of this run.\n"
            );
        }
        (None, None) => {}
    }
    if !conflict.hunks.is_empty() {
        let _ = writeln!(out, "{}", fenced(&conflict.hunks));
    }
    out
}

fn checks_md(out: &mut String, unit: &UnitView) {
    for check in &unit.checks {
        let result = &check.result;
        let exit = result
            .exit
            .map(|exit| format!(", exit status {exit}"))
            .unwrap_or_default();
        let _ = writeln!(
            out,
            "## Check {} on its {}: {}{exit}, {}\n",
            inline_code(&result.name),
            check.on,
            check_word(result.outcome),
            duration(result.duration_ms)
        );
        if !result.tail.trim().is_empty() {
            let _ = writeln!(out, "{}", fenced(&result.tail));
        }
    }
}

fn findings_md(out: &mut String, unit: &UnitView) {
    for finding in &unit.findings {
        let reported = &finding.reported;
        let line = reported.line.map(|line| format!(":{line}")).unwrap_or_default();
        let _ = writeln!(
            out,
            "## {} ({}, {}) in {}\n\nTitle: {}\n",
            finding.id,
            finding.state.as_str(),
            reported.severity.as_str(),
            inline_code(&format!("{}{line}", reported.file)),
            inline_code(&reported.title)
        );
        let _ = writeln!(out, "{}", fenced(&reported.detail));
        if let Some(suggestion) = &reported.suggestion {
            let _ = writeln!(out, "Suggested:\n\n{}", fenced(suggestion));
        }
        if let Some(resolution) = &finding.resolution {
            let action = match resolution.action {
                ResolutionAction::Fixed => "fixed",
                ResolutionAction::Disputed => "disputed",
                ResolutionAction::Deferred => "deferred",
            };
            let _ = writeln!(out, "The author: {action}.\n\n{}", fenced(&resolution.note));
        }
    }
}

fn attempts_md(out: &mut String, unit: &UnitView) {
    if unit.attempts.is_empty() {
        return;
    }
    out.push_str("## Attempts\n\n");
    for attempt in &unit.attempts {
        let outcome = attempt.outcome.map_or("unfinished", outcome_word);
        let agent = attempt
            .agent
            .as_deref()
            .map(|agent| format!(" by {}", inline_code(agent)));
        let cost = attempt
            .cost
            .map_or_else(|| "cost unknown".to_owned(), |cost| cost.to_string());
        let took = attempt
            .duration_ms
            .map_or_else(String::new, |ms| format!(", {}", duration(ms)));
        let said = attempt.verdict.as_ref().or(attempt.detail.as_ref());
        let said = said
            .map(|text| format!(", {}", inline_code(text)))
            .unwrap_or_default();
        let _ = writeln!(
            out,
            "- {} round {} attempt {}{}: {outcome}{said}, {cost}{took}",
            attempt.stage,
            attempt.round,
            attempt.attempt,
            agent.unwrap_or_default()
        );
    }
}
