//! Tables and pages made from the view: what `status`, `runs`, `show` and `evicted` print.

use std::fmt::Write;

use jiff::Timestamp;

use super::LineStyle;
use super::line::{check_word, totals};
use super::line::{meant_for, merge_hint};
use super::text::{duration, fenced, one_line, sanitize};
use crate::event::{Reason, conflict_sentence};
use crate::id::UnitId;
use crate::queue::EntryView;
use crate::view::{
    FindingState, RunView, StageRow, StageState, UnitState, UnitView, View, elapsed_ms, outcome_word,
};

/// Longest text taken over from outside into a cell, in characters.
const CELL_CHARS_MAX: usize = 120;

/// Rows of cells with each column as wide as its widest cell; the last column is not padded.
pub(super) fn grid(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells
            .map(|cell| console::measure_text_width(cell))
            .max()
            .unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut out = String::new();
    for row in rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            let padding = width - console::measure_text_width(cell) + 2;
            line.push_str(cell);
            line.push_str(&" ".repeat(padding));
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

/// Units × stages with reasons, the totals, and what to do next.
pub fn status(view: &View, style: LineStyle, now: Timestamp) -> String {
    let run = &view.run;
    let id = run.id.as_ref().map_or("r-?", |id| id.as_str());
    let mut out = format!(
        "{id} {} {} {}{} {} {}\n\n",
        one_line(&run.file, CELL_CHARS_MAX),
        style.arrow(),
        one_line(&run.target, CELL_CHARS_MAX),
        meant_for(run),
        style.dot(),
        run.state.as_str(),
    );
    let places = view.queue_places();
    let mut rows = vec![
        ["UNIT", "STATE", "STAGES", "COST", "WHY"]
            .map(str::to_owned)
            .to_vec(),
    ];
    for unit in &view.units {
        rows.push(vec![
            unit.id.to_string(),
            unit.state.as_str().to_owned(),
            stages_cell(unit, style),
            unit.cost.to_string(),
            why(unit, places.get(&unit.id), view),
        ]);
    }
    out.push_str(&grid(&rows));
    out.push('\n');
    out.push_str(&super::queue::trouble_line(view));
    out.push_str(&super::queue::stall_line(view, now));
    out.push_str(&super::queue::words_of_people(view));
    out.push_str(&super::radar::status_lines(view));
    if run.waived {
        out.push_str("Units land unverified: the file says `queue: {verify: none}`.\n");
    }
    let _ = writeln!(out, "{}", totals(view, now, style));
    if let Some(hint) = merge_hint(view) {
        let _ = writeln!(out, "{hint}");
    }
    if let Some(next) = next_command(view) {
        let _ = writeln!(out, "Next: {next}");
    }
    out
}

/// Each stage once, with its latest round: `implement done, review running 2`.
fn stages_cell(unit: &UnitView, style: LineStyle) -> String {
    let mut latest: Vec<&StageRow> = Vec::new();
    for row in &unit.stages {
        match latest.iter_mut().find(|known| known.name == row.name) {
            Some(known) => *known = row,
            None => latest.push(row),
        }
    }
    let cells: Vec<String> = latest.iter().map(|row| stage_cell(row)).collect();
    cells.join(&format!(" {} ", style.dot()))
}

fn stage_cell(row: &StageRow) -> String {
    let round = if row.round > 1 {
        format!(" {}", row.round)
    } else {
        String::new()
    };
    match row.state {
        StageState::Pending => format!("{}{round}", row.name),
        StageState::Running | StageState::Done | StageState::Skipped | StageState::Failed => {
            format!("{}{round} {}", row.name, row.state.as_str())
        }
    }
}

/// Why a unit is where it is, in a few words.
fn why(unit: &UnitView, entry: Option<&EntryView>, view: &View) -> String {
    if let Some(landed) = &unit.landed_as {
        return landed.short().to_owned();
    }
    if let Some(reason) = unit.reason {
        let sentence = unit.sentence.as_deref().unwrap_or_else(|| reason.sentence());
        return format!("{reason}: {}", one_line(sentence, CELL_CHARS_MAX));
    }
    if let Some(entry) = entry {
        let held = entry
            .held()
            .map(|text| format!(": {}", one_line(&text, CELL_CHARS_MAX)));
        return format!(
            "#{} {}{}",
            entry.position,
            entry.status.as_str(),
            held.unwrap_or_default()
        );
    }
    match unit.state {
        UnitState::Working if unit.is_resolving() => {
            let sentence = conflict_sentence(&unit.conflicts);
            format!(
                "{}: {}",
                Reason::ConflictTarget,
                one_line(&sentence, CELL_CHARS_MAX)
            )
        }
        UnitState::Gated => format!("pipeline approve {}", unit.id),
        UnitState::Waiting => {
            format!("waits for {}", view.missing_needs(unit).join(", "))
        }
        UnitState::Ready
        | UnitState::Working
        | UnitState::Queued
        | UnitState::Landed
        | UnitState::Published
        | UnitState::Evicted
        | UnitState::Blocked
        | UnitState::Cancelled
        | UnitState::Declined => String::new(),
    }
}

/// The command a person would give now.
fn next_command(view: &View) -> Option<String> {
    use crate::view::RunState;
    let first = |state| view.units.iter().find(|unit| unit.state == state);
    if let Some(unit) = first(UnitState::Gated) {
        return Some(format!("pipeline approve {}", unit.id));
    }
    match view.run.state {
        RunState::Paused if view.queue().is_paused() => Some("pipeline resume".to_owned()),
        RunState::Paused | RunState::Interrupted => Some(format!(
            "pipeline run {}",
            one_line(&view.run.file, CELL_CHARS_MAX)
        )),
        RunState::Running | RunState::Finished => {
            first(UnitState::Evicted).map(|_| "pipeline evicted".to_owned())
        }
    }
}

/// Runs of a repository, one a line, in the order given.
pub fn runs(runs: &[(RunView, u32, u32)]) -> String {
    if runs.is_empty() {
        return "No runs here yet. Next: pipeline run FILE\n".to_owned();
    }
    let mut rows = vec![
        ["RUN", "NAME", "STATE", "DONE", "COST", "FILE"]
            .map(str::to_owned)
            .to_vec(),
    ];
    for (run, done, total) in runs {
        rows.push(vec![
            run.id.as_ref().map_or_else(String::new, ToString::to_string),
            one_line(&run.name, CELL_CHARS_MAX),
            run.state.as_str().to_owned(),
            format!("{done}/{total}"),
            run.cost.to_string(),
            one_line(&run.file, CELL_CHARS_MAX),
        ]);
    }
    grid(&rows)
}

/// Everything about one unit: attempts, findings, checks, cost, and the way on.
pub fn show_unit(unit: &UnitView, view: &View, style: LineStyle, now: Timestamp) -> String {
    let dot = style.dot();
    let entry = view.queue().entry(&unit.id);
    let mut out = format!(
        "{} {dot} {} {dot} {} {dot} {}\n",
        unit.id,
        one_line(&unit.title, CELL_CHARS_MAX),
        unit.tier,
        unit.state.as_str()
    );
    let why = why(unit, entry.as_ref(), view);
    if !why.is_empty() {
        let _ = writeln!(out, "{why}");
    }
    for (name, commit) in [
        ("base", &unit.base),
        ("head", &unit.head),
        ("landed as", &unit.landed_as),
    ] {
        if let Some(commit) = commit {
            let _ = writeln!(out, "{name} {commit}");
        }
    }
    let _ = writeln!(
        out,
        "cost {} {dot} round {} {dot} charged {}/200",
        unit.cost, unit.round, unit.charged
    );
    out.push_str(&attempts_section(unit, now));
    out.push_str(&findings_section(unit));
    out.push_str(&checks_section(unit));
    if let Some(reason) = unit.reason {
        let _ = write!(out, "\nWhat to do: {}\n", remedy(unit, reason));
    }
    out
}

/// The remedy of a reason with the unit's own name in its commands.
pub(super) fn remedy(unit: &UnitView, reason: crate::event::Reason) -> String {
    reason.remedy().replace("UNIT", unit.id.as_str())
}

fn attempts_section(unit: &UnitView, now: Timestamp) -> String {
    if unit.attempts.is_empty() {
        return String::new();
    }
    let mut rows = vec![
        ["ATTEMPT", "BEGAN", "TOOK", "AGENT", "COST", "OUTCOME"]
            .map(str::to_owned)
            .to_vec(),
    ];
    for attempt in &unit.attempts {
        let took = attempt
            .duration_ms
            .unwrap_or_else(|| elapsed_ms(attempt.started_at, now));
        let outcome = attempt.outcome.map_or("running", outcome_word);
        let said = attempt.verdict.as_ref().or(attempt.detail.as_ref());
        let said = said
            .map(|text| format!(": {}", one_line(text, CELL_CHARS_MAX)))
            .unwrap_or_default();
        rows.push(vec![
            format!("{}.{}.{}", attempt.stage, attempt.round, attempt.attempt),
            attempt.started_at.strftime("%H:%M:%S").to_string(),
            duration(took),
            one_line(attempt.agent.as_deref().unwrap_or("-"), CELL_CHARS_MAX),
            attempt
                .cost
                .map_or_else(|| "?".to_owned(), |cost| cost.to_string()),
            format!("{outcome}{said}"),
        ]);
    }
    format!("\n{}", grid(&rows))
}

fn findings_section(unit: &UnitView) -> String {
    if unit.findings.is_empty() {
        return String::new();
    }
    let mut rows = vec![
        ["FINDING", "STATE", "SEVERITY", "WHERE", "WHAT"]
            .map(str::to_owned)
            .to_vec(),
    ];
    for finding in &unit.findings {
        let line = finding
            .reported
            .line
            .map(|line| format!(":{line}"))
            .unwrap_or_default();
        rows.push(vec![
            finding.id.clone(),
            finding.state.as_str().to_owned(),
            finding.reported.severity.as_str().to_owned(),
            format!("{}{line}", one_line(&finding.reported.file, CELL_CHARS_MAX)),
            one_line(&finding.reported.title, CELL_CHARS_MAX),
        ]);
    }
    let open = unit
        .findings
        .iter()
        .filter(|finding| finding.state != FindingState::Resolved);
    let details: String = open
        .map(|finding| {
            format!(
                "\n{}: {}\n",
                finding.id,
                sanitize(&finding.reported.detail).trim_end()
            )
        })
        .collect();
    format!("\n{}{details}", grid(&rows))
}

fn checks_section(unit: &UnitView) -> String {
    if unit.checks.is_empty() {
        return String::new();
    }
    let mut rows = vec![["CHECK", "ON", "RESULT", "TOOK"].map(str::to_owned).to_vec()];
    for check in &unit.checks {
        rows.push(vec![
            one_line(&check.result.name, CELL_CHARS_MAX),
            check.on.to_owned(),
            check_word(check.result.outcome).to_owned(),
            duration(check.result.duration_ms),
        ]);
    }
    let failed = unit
        .checks
        .iter()
        .find(|check| !check.result.signature.is_empty());
    let tail = failed
        .map(|check| format!("\n{}", fenced(&check.result.tail)))
        .unwrap_or_default();
    format!("\n{}{tail}", grid(&rows))
}

/// The units that need a person, each with the way on.
pub fn evicted(view: &View) -> String {
    let mut out = String::new();
    for unit in view.units.iter().filter(|unit| unit.state == UnitState::Evicted) {
        let Some(reason) = unit.reason else { continue };
        let sentence = unit.sentence.as_deref().unwrap_or_else(|| reason.sentence());
        let _ = writeln!(
            out,
            "{}  {reason}: {}",
            unit.id,
            one_line(sentence, CELL_CHARS_MAX)
        );
        let _ = writeln!(out, "    {}", remedy(unit, reason));
        let blocked = view.units.iter().filter(|other| other.needs.contains(&unit.id));
        let names: Vec<&str> = blocked.map(|other| other.id.as_str()).collect();
        if !names.is_empty() {
            let _ = writeln!(out, "    {} wait for it.", names.join(", "));
        }
        if let Some(bundle) = &unit.bundle {
            let _ = writeln!(
                out,
                "    Everything about it: {}",
                one_line(bundle, CELL_CHARS_MAX)
            );
        }
    }
    for unit in view.units.iter().filter(|unit| unit.state == UnitState::Blocked) {
        // What waits for an evicted unit is told with that unit, and follows it when it comes back.
        let state = |id: &UnitId| view.unit(id).map(|needed| needed.state);
        let given_up = unit
            .needs
            .iter()
            .find(|need| state(need) == Some(UnitState::Cancelled));
        if let Some(need) = given_up {
            let _ = writeln!(out, "{}  blocked: it needs {need}, which was given up", unit.id);
            let _ = writeln!(
                out,
                "    Take {need} out of its `needs` in the file, or give it up: pipeline discard {}",
                unit.id
            );
        }
    }
    if out.is_empty() {
        out.push_str("No unit was evicted.\n");
    }
    out
}
