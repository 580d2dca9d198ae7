//! The live display of a terminal: finished lines above, then one line per running attempt, the units that wait,
//! and a bar.
//!
//! It is a picture of the view and holds no state of the run: losing it loses nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use jiff::Timestamp;

use super::line::{LineStyle, PAUSED, event_line, totals};
use super::text::{duration, one_line};
use crate::event::{Event, Record, UnitEvent};
use crate::port::Activity;
use crate::spec::RESOLVE;
use crate::view::{AttemptView, UnitState, UnitView, View, elapsed_ms};

/// Units that wait are named up to this number; the rest is counted.
const WAITING_LINES_MAX: usize = 4;

/// Longest last activity shown, in characters, on a wide terminal.
const ACTIVITY_CHARS_MAX: usize = 80;

/// Time between two frames of a spinner.
const TICK: Duration = Duration::from_millis(120);

/// Names an attempt: unit, stage, round, attempt.
type Key = (String, String, u32, u32);

/// A running attempt on the screen.
#[derive(Debug)]
struct Spinner {
    bar: ProgressBar,
    label: String,
}

/// The display.
#[derive(Debug)]
pub struct Live {
    style: LineStyle,
    screen: MultiProgress,
    spinners: BTreeMap<Key, Spinner>,
    waiting: ProgressBar,
    totals: ProgressBar,
}

impl Live {
    /// A display that draws on `target`.
    pub fn new(style: LineStyle, target: ProgressDrawTarget) -> Self {
        let screen = MultiProgress::with_draw_target(target);
        let text = ProgressStyle::with_template("{msg}").expect("the template is well-formed");
        let bar = ProgressStyle::with_template(" {bar:24} {msg}")
            .expect("the template is well-formed")
            .progress_chars(style.choose("█░", "#-"));
        let waiting = screen.add(ProgressBar::new(0).with_style(text));
        let totals = screen.add(ProgressBar::new(0).with_style(bar));
        Self {
            style,
            screen,
            spinners: BTreeMap::new(),
            waiting,
            totals,
        }
    }

    /// Takes a record in, after the view has: prints its line, and brings the block up to date.
    pub fn apply(&mut self, record: &Record, view: &View) {
        if let Some(line) = event_line(record, view, self.style) {
            self.println(&line);
        }
        if let Event::Unit(scoped) = &record.event
            && matches!(
                scoped.what,
                UnitEvent::AttemptStarted { .. } | UnitEvent::AttemptEnded { .. }
            )
        {
            self.follow_attempts(view, record.at);
        }
        self.draw_waiting(view);
        self.tick(view, record.at);
    }

    /// Brings the figures beside the bar up to `now`; to be called about once a second.
    pub fn tick(&self, view: &View, now: Timestamp) {
        self.totals.set_length(u64::from(view.counts.total()));
        self.totals.set_position(u64::from(view.counts.done()));
        self.totals.set_message(totals(view, now, self.style));
    }

    /// Shows what an attempt does; one that is not on the screen is passed over.
    pub fn activity(&mut self, activity: &Activity) {
        let key = &activity.key;
        let name = (
            key.unit.to_string(),
            key.stage.to_string(),
            key.round,
            key.attempt,
        );
        let Some(spinner) = self.spinners.get(&name) else {
            return;
        };
        let text = match activity.idle {
            Some(idle) => {
                let ms = u64::try_from(idle.as_millis()).unwrap_or(u64::MAX);
                format!("SLOW, silent for {}", duration(ms))
            }
            None if activity.line.is_empty() => return,
            None => one_line(&activity.line, self.activity_chars()),
        };
        spinner.bar.set_message(format!("{}{text}", spinner.label));
    }

    /// Prints above the block.
    pub fn println(&self, line: &str) {
        // A terminal that is gone is no reason to stop a run.
        let _ = self.screen.println(line);
    }

    /// Takes the block away while `f` uses the terminal.
    pub fn suspend<R>(&self, f: impl FnOnce() -> R) -> R {
        self.screen.suspend(f)
    }

    /// Takes the block away for good.
    pub fn finish(&mut self) {
        for spinner in self.spinners.values() {
            spinner.bar.finish_and_clear();
        }
        self.spinners.clear();
        self.waiting.finish_and_clear();
        self.totals.finish_and_clear();
    }

    fn activity_chars(&self) -> usize {
        self.style.width.saturating_sub(48).clamp(8, ACTIVITY_CHARS_MAX)
    }

    fn follow_attempts(&mut self, view: &View, now: Timestamp) {
        let mut alive = BTreeSet::new();
        for (unit, attempt) in view.running() {
            let key = key_of(unit, attempt);
            if !self.spinners.contains_key(&key) {
                let spinner = self.spinner(unit, attempt, now, view.run.rounds_max);
                self.spinners.insert(key.clone(), spinner);
            }
            alive.insert(key);
        }
        self.spinners.retain(|key, spinner| {
            let keep = alive.contains(key);
            if !keep {
                spinner.bar.finish_and_clear();
                self.screen.remove(&spinner.bar);
            }
            keep
        });
    }

    fn spinner(&self, unit: &UnitView, attempt: &AttemptView, now: Timestamp, rounds_max: u32) -> Spinner {
        let template = " {spinner} {prefix} {elapsed:>6}  {msg}";
        let drawn = ProgressStyle::with_template(template)
            .expect("the template is well-formed")
            .tick_chars(self.style.choose("◐◓◑◒ ", "|/-\\ "));
        // How often a conflict may be resolved is not the number of fix rounds.
        let round = if attempt.kind == "fix" && attempt.stage.as_str() != RESOLVE {
            format!(" {}/{rounds_max}", unit.fixes_used + 1)
        } else {
            String::new()
        };
        let stage = format!("{}{round}", attempt.stage);
        let since = elapsed_ms(attempt.started_at, now);
        let bar = ProgressBar::new_spinner()
            .with_style(drawn)
            .with_prefix(format!("{:<9} {stage:<11}", unit.id))
            .with_elapsed(Duration::from_millis(since));
        let bar = self.screen.insert_before(&self.waiting, bar);
        let agent = one_line(attempt.agent.as_deref().unwrap_or("checks"), 16);
        let label = format!("{agent:<8} ");
        bar.set_message(label.clone());
        bar.enable_steady_tick(TICK);
        Spinner { bar, label }
    }

    fn draw_waiting(&self, view: &View) {
        let lines = waiting_lines(view, self.style);
        self.waiting.set_message(lines.join("\n"));
    }
}

fn key_of(unit: &UnitView, attempt: &AttemptView) -> Key {
    (
        unit.id.to_string(),
        attempt.stage.to_string(),
        attempt.round,
        attempt.attempt,
    )
}

/// What waits, at most [`WAITING_LINES_MAX`] units by name and the rest by number.
fn waiting_lines(view: &View, style: LineStyle) -> Vec<String> {
    let count = view.counts.of(UnitState::Waiting) + view.counts.of(UnitState::Gated);
    let waits = |unit: &&UnitView| matches!(unit.state, UnitState::Waiting | UnitState::Gated);
    let mut lines: Vec<String> = if count == 0 {
        Vec::new()
    } else {
        let named = view.units.iter().filter(waits).take(WAITING_LINES_MAX);
        named.map(|unit| waiting_line(unit, view, style)).collect()
    };
    let rest = usize::try_from(count)
        .unwrap_or(usize::MAX)
        .saturating_sub(lines.len());
    if view.queue().is_paused() {
        lines.insert(0, format!(" {} {PAUSED}", style.choose("⏸", "=")));
    }
    if rest > 0 {
        lines.push(format!("   and {rest} more wait"));
    }
    lines
}

fn waiting_line(unit: &UnitView, view: &View, style: LineStyle) -> String {
    let mark = style.choose("⏸", "=");
    let on = if unit.state == UnitState::Gated {
        "a person".to_owned()
    } else {
        one_line(&view.missing_needs(unit).join(", "), ACTIVITY_CHARS_MAX)
    };
    format!(" {mark} {:<9} waits for {on}", unit.id)
}
