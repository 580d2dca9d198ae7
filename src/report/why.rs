//! What `pipeline why` prints: why a unit is where it is, what it waits for, and what decided so far.

use std::fmt::Write;

use serde_json::{Value, json};

use super::LineStyle;
use super::history::Told;
use super::queue::standing_json;
use super::text::{duration, one_line};
use crate::view::{Standing, UnitView, View, Waited};

/// Longest text taken over from outside into a line, in characters.
const LINE_CHARS_MAX: usize = 400;

/// A unit with the answer.
pub struct Answer<'a> {
    /// The unit.
    pub unit: &'a UnitView,
    /// The run.
    pub view: &'a View,
    /// Why it is there.
    pub standing: &'a Standing,
    /// In how many milliseconds it may land, where that can be said.
    pub eta_ms: Option<u64>,
    /// What decided so far.
    pub told: &'a [Told],
}

impl Answer<'_> {
    /// For people.
    pub fn to_text(&self, style: LineStyle) -> String {
        let (unit, standing, dot) = (self.unit, self.standing, style.dot());
        let entry = self.view.queue().entry(&unit.id);
        let place = entry.as_ref().map_or_else(String::new, |entry| {
            format!(" {dot} #{} {}", entry.position, entry.status.as_str())
        });
        let title = one_line(&unit.title, LINE_CHARS_MAX);
        let mut out = format!(
            "{} {dot} {title} {dot} {}{place}\n\n",
            unit.id,
            unit.state.as_str()
        );
        let known = [
            Some(unit.state.as_str()),
            entry.as_ref().map(|entry| entry.status.as_str()),
        ];
        let code = match standing.code {
            code if known.contains(&Some(code)) => String::new(),
            code => format!("{code}: "),
        };
        let _ = writeln!(
            out,
            "Why         {code}{}",
            one_line(&standing.sentence, LINE_CHARS_MAX)
        );
        if !standing.waits_for.is_empty() {
            let waits_for: Vec<String> = standing.waits_for.iter().map(waited).collect();
            let _ = writeln!(out, "Waits for   {}", waits_for.join(", "));
        }
        if let Some(remedy) = &standing.remedy {
            let _ = writeln!(out, "What to do  {}", one_line(remedy, LINE_CHARS_MAX));
        }
        if entry.is_some() {
            let eta = self.eta_ms.map_or_else(|| "unknown".to_owned(), duration);
            let _ = writeln!(out, "ETA         {eta}");
        }
        out.push_str(&told_lines(self.told));
        out
    }

    /// The object that `why --json` prints.
    pub fn to_json(&self) -> Value {
        let history: Vec<Value> = self
            .told
            .iter()
            .map(|one| json!({"seq": one.seq, "at": one.at, "sentence": one.sentence}))
            .collect();
        let entry = self.view.queue().entry(&self.unit.id);
        json!({
            "schema": 1,
            "run": self.view.run.id,
            "unit": self.unit.id,
            "state": self.unit.state.as_str(),
            "standing": standing_json(self.standing),
            "queue": entry.map(|entry| json!({
                "position": entry.position,
                "state": entry.status.as_str(),
                "eta_ms": self.eta_ms,
            })),
            "history": history,
        })
    }
}

/// Who or what is waited for, in words.
fn waited(waited: &Waited) -> String {
    match waited {
        Waited::Unit(unit) => format!("`{unit}`"),
        Waited::Attempt(stage) => format!("the attempt of `{stage}`"),
        Waited::Checks => "its checks".to_owned(),
        Waited::Slot => "a free slot".to_owned(),
        Waited::Base => "a target that passes its checks".to_owned(),
        Waited::Person => "a person".to_owned(),
        Waited::Engine => "an engine".to_owned(),
    }
}

/// One line an event, with its time; the day is told where it changes.
fn told_lines(told: &[Told]) -> String {
    let mut out = String::from("\nWhat decided so far (UTC)\n");
    let mut day = String::new();
    for one in told {
        let this = one.at.strftime("%Y-%m-%d").to_string();
        if this != day {
            let _ = writeln!(out, "  {this}");
            day = this;
        }
        let _ = writeln!(out, "  {}  {}", one.at.strftime("%H:%M:%S"), one.sentence);
    }
    if told.is_empty() {
        out.push_str("  nothing has happened to it yet\n");
    }
    out
}
