//! What `pipeline queue` prints: the line with positions, states, reasons and when each may land.

use std::collections::BTreeMap;
use std::fmt::Write;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::LineStyle;
use super::line::plural;
use super::table::grid;
use super::text::{duration, one_line};
use crate::id::UnitId;
use crate::queue::EntryView;
use crate::view::{RunState, Standing, View, elapsed_ms};

/// Longest sentence in a cell, in characters.
const CELL_CHARS_MAX: usize = 120;

/// When entries may land, and what that is judged by.
#[derive(Debug, Clone, Default)]
pub struct Forecast {
    /// In how many milliseconds each may land; `None` where nothing can be said.
    pub lands_in_ms: BTreeMap<UnitId, Option<u64>>,
    /// How many verifications of the past it is judged by.
    pub verifications: usize,
    /// How long such a one takes; `None` without any.
    pub median_ms: Option<u64>,
    /// The run they are of, where it is an earlier one.
    pub of_run: Option<String>,
}

impl Forecast {
    fn of(&self, entry: &EntryView) -> Option<u64> {
        self.lands_in_ms.get(&entry.unit).copied().flatten()
    }
}

/// The queue as a table.
pub fn table(view: &View, forecast: &Forecast, style: LineStyle, now: Timestamp) -> String {
    let run = &view.run;
    let id = run.id.as_ref().map_or("r-?", |id| id.as_str());
    let mut out = format!(
        "{id} {} {} {} {}\n\n",
        style.arrow(),
        one_line(&run.target, CELL_CHARS_MAX),
        style.dot(),
        run.state.as_str()
    );
    let entries = view.standings_in_queue();
    if entries.is_empty() {
        out.push_str("The queue is empty: nothing waits to land.\n");
    } else {
        let mut rows = vec![["#", "UNIT", "STATE", "ETA", "WHY"].map(str::to_owned).to_vec()];
        for (entry, standing) in &entries {
            rows.push(vec![
                entry.position.to_string(),
                entry.unit.to_string(),
                state_cell(entry, standing),
                forecast.of(entry).map_or_else(|| "unknown".to_owned(), duration),
                one_line(&standing.sentence, CELL_CHARS_MAX),
            ]);
        }
        out.push_str(&grid(&rows));
        let _ = write!(out, "\n{}\n", judged_by(view, forecast));
    }
    out.push_str(&trouble_line(view));
    out.push_str(&stall_line(view, now));
    out.push_str(&words_of_people(view));
    if run.state != RunState::Running && !view.is_settled() && !view.queue().is_paused() {
        let file = one_line(&run.file, CELL_CHARS_MAX);
        let _ = writeln!(out, "No engine runs. Next: pipeline run {file}");
    }
    out
}

/// What keeps everybody waiting: a red target, a safety stop.
pub(super) fn trouble_line(view: &View) -> String {
    let Some(trouble) = &view.run.trouble else {
        return String::new();
    };
    let who = if view.queue().is_empty() { "run" } else { "queue" };
    let trouble = one_line(trouble, CELL_CHARS_MAX);
    format!("The {who} waits: {}.\n", trouble.trim_end_matches('.'))
}

/// That units wait and nothing lands, once the alarm was raised.
pub(super) fn stall_line(view: &View, now: Timestamp) -> String {
    view.run.stalled_since.map_or_else(String::new, |since| {
        let first = view.queue().entries().into_iter().next();
        let more = first.map_or_else(String::new, |first| {
            format!(" `pipeline why {}` tells more.", first.unit)
        });
        format!("STALLED: {}{more}\n", stall_sentence(view, since, now))
    })
}

/// How long nothing has landed, and what the first in line waits for.
pub(super) fn stall_sentence(view: &View, since: Timestamp, now: Timestamp) -> String {
    let waiting = plural(u32::try_from(view.queue_length()).unwrap_or(u32::MAX), "unit");
    let standings = view.standings_in_queue();
    let first = standings.first().map_or_else(String::new, |(entry, standing)| {
        let why = one_line(&standing.sentence, CELL_CHARS_MAX);
        format!(
            "; `{}`, the first, is {}: {why}",
            entry.unit,
            entry.status.as_str()
        )
    });
    let since = duration(elapsed_ms(since, now));
    let sentence = format!("nothing has landed for {since} while the queue holds {waiting}{first}");
    // What was cut ends as it was cut.
    let end = if sentence.ends_with(['.', '…']) { "" } else { "." };
    sentence + end
}

/// What people said to the queue, and how it is taken back.
pub fn words_of_people(view: &View) -> String {
    let mut out = String::new();
    if view.queue().is_paused() {
        out.push_str(
            "A person paused the run: nothing starts or lands. `pipeline resume` lifts the pause.\n",
        );
    }
    if let Some(below) = view.queue().frozen_below() {
        let _ = writeln!(
            out,
            "A person froze the queue below priority {below}. `pipeline queue freeze --off` lifts the freeze."
        );
    }
    out
}

/// The state, and where it is held what for: `held (base_red)`.
fn state_cell(entry: &EntryView, standing: &Standing) -> String {
    let state = entry.status.as_str();
    if standing.code == state {
        state.to_owned()
    } else {
        format!("{state} ({})", standing.code)
    }
}

fn judged_by(view: &View, forecast: &Forecast) -> String {
    let Some(median) = forecast.median_ms else {
        return "ETA unknown: no verification has passed yet, in this run or an earlier one.".to_owned();
    };
    let whose = forecast
        .of_run
        .as_ref()
        .map_or_else(String::new, |run| format!(" of run {run}"));
    format!(
        "ETA from now on while an engine runs: a verification takes {} (median of {} that passed{whose}), {} side by side.",
        duration(median),
        forecast.verifications,
        view.queue().width()
    )
}

/// The object that `queue --json` prints.
pub fn to_json(view: &View, forecast: &Forecast) -> Value {
    let entries: Vec<Value> = view
        .standings_in_queue()
        .iter()
        .map(|(entry, standing)| {
            json!({
                "unit": entry.unit,
                "position": entry.position,
                "state": entry.status.as_str(),
                "generation": entry.generation,
                "candidate": entry.candidate,
                "charged": entry.charged,
                "standing": standing_json(standing),
                "eta_ms": forecast.of(entry),
            })
        })
        .collect();
    json!({
        "schema": 1,
        "run": view.run.id,
        "target": view.run.target,
        "state": view.run.state.as_str(),
        "trouble": view.run.trouble,
        "stalled_since": view.run.stalled_since,
        "paused": view.queue().is_paused(),
        "frozen_below": view.queue().frozen_below(),
        "entries": entries,
        "eta": {
            "median_ms": forecast.median_ms,
            "verifications": forecast.verifications,
            "of_run": forecast.of_run,
            "side_by_side": view.queue().width(),
        },
    })
}

/// Why a unit is where it is, as machines read it.
pub fn standing_json(standing: &Standing) -> Value {
    let waits_for: Vec<Value> = standing
        .waits_for
        .iter()
        .map(|waited| json!({"kind": waited.kind(), "name": waited.name()}))
        .collect();
    json!({
        "code": standing.code,
        "sentence": standing.sentence,
        "remedy": standing.remedy,
        "waits_for": waits_for,
    })
}
