//! One line an event, for people: what stands above the live display, and everything there is without a terminal.

use console::Style;
use jiff::Timestamp;

use super::queue::stall_sentence;
use super::radar::collision_text;
use super::text::{duration, one_line, sanitize};
use crate::event::{
    CheckOutcome, Collision, EntryEnd, Event, Evidence, Hold, Outcome, Output, QueueEvent, Reason, Record,
    RunEvent, UnitEvent, conflict_sentence,
};
use crate::id::{Oid, UnitId};
use crate::spec::Usd;
use crate::view::{AttemptView, RunState, RunView, UnitState, UnitView, View, elapsed_ms, outcome_word};

/// Longest text taken over from outside into a line, in characters.
const TEXT_CHARS_MAX: usize = 160;
/// Of text that ends in a command.
const COMMAND_CHARS_MAX: usize = 2000;

/// Collisions that one event is told with; the rest is counted.
const COLLISION_LINES_MAX: usize = 3;

/// How lines are drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LineStyle {
    /// Whether colour may be used; nothing is told by it alone.
    pub color: bool,
    /// Whether more than ASCII may be used.
    pub unicode: bool,
    /// Columns of the terminal.
    pub width: usize,
}

impl LineStyle {
    /// Without colour, in ASCII, for a file of 100 columns.
    pub fn plain() -> Self {
        Self {
            color: false,
            unicode: false,
            width: 100,
        }
    }

    /// The first in Unicode, the second in ASCII.
    pub fn choose<'a>(&self, unicode: &'a str, ascii: &'a str) -> &'a str {
        if self.unicode { unicode } else { ascii }
    }

    pub(super) fn arrow(&self) -> &'static str {
        self.choose("→", "->")
    }

    pub(super) fn dot(&self) -> &'static str {
        self.choose("·", "-")
    }

    pub(super) fn paint(&self, style: Style, text: &str) -> String {
        if self.color {
            style.force_styling(true).apply_to(text).to_string()
        } else {
            text.to_owned()
        }
    }
}

/// How an event is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tone {
    Good,
    Bad,
    Attention,
}

impl Tone {
    fn style(self) -> Style {
        match self {
            Self::Good => Style::new().green().bold(),
            Self::Bad => Style::new().red().bold(),
            Self::Attention => Style::new().yellow().bold(),
        }
    }
}

/// The line that opens a run. `isolation` says what the agents are shut into, `none` included.
pub fn header(view: &View, isolation: &str, style: LineStyle) -> String {
    let run = &view.run;
    let id = run.id.as_ref().map_or("r-?", |id| id.as_str());
    let base = run.base.as_ref().map_or("?", Oid::short);
    let dot = style.dot();
    let budget = run
        .budget
        .map_or("no budget".to_owned(), |budget| budget.to_string());
    let waived = if run.waived {
        format!(" {dot} lands unverified")
    } else {
        String::new()
    };
    let meant = meant_for(run);
    format!(
        "    {} {id} {} @ {base} {} {}{meant} {dot} {} {dot} sandbox {isolation} {dot} {budget}{waived}",
        style.paint(Style::new().bold(), "Run"),
        one_line(&run.file, TEXT_CHARS_MAX),
        style.arrow(),
        one_line(&run.target, TEXT_CHARS_MAX),
        plural(view.counts.total(), "unit"),
    )
}

/// ` for main` where units land on a branch of the run's own.
pub fn meant_for(run: &RunView) -> String {
    let named = run.meant_for.as_ref();
    named.map_or_else(String::new, |target| {
        format!(" for {}", one_line(target, TEXT_CHARS_MAX))
    })
}

/// How what landed on a branch of the run's own gets to where it is meant for.
pub fn merge_hint(view: &View) -> Option<String> {
    let target = view.run.meant_for.as_ref()?;
    let landed = view.counts.of(UnitState::Landed);
    let quoted = [target, &view.run.target].map(|name| shell_words::quote(name));
    let command = format!("git switch {} && git merge {}", quoted[0], quoted[1]);
    let them = if landed == 1 { "it" } else { "them" };
    let text = format!(
        "{landed} landed on `{}`; `{command}` brings {them} to `{target}`.",
        view.run.target
    );
    (landed > 0).then(|| sanitize(&text))
}

/// The line that closes a run.
pub fn footer(view: &View, now: Timestamp, style: LineStyle) -> String {
    let (word, tone) = match view.run.state {
        RunState::Finished if view.counts.done() == view.counts.total() => ("Done", Tone::Good),
        RunState::Finished => ("Done", Tone::Attention),
        RunState::Running => ("Running", Tone::Good),
        RunState::Paused => ("Paused", Tone::Attention),
        RunState::Interrupted => ("Stopped", Tone::Attention),
    };
    let word = style.paint(tone.style(), &format!("{word:>7}"));
    format!("{word} {}", totals(view, now, style))
}

/// What an engine waits for that a person paused.
pub(super) const PAUSED: &str = "paused until `pipeline resume`";

/// One line for a log that is read while nothing happens.
pub fn heartbeat(view: &View, now: Timestamp) -> String {
    let running: Vec<String> = view
        .running()
        .map(|(unit, attempt)| {
            format!(
                "{}/{} {}",
                unit.id,
                attempt.stage,
                duration(elapsed_ms(attempt.started_at, now))
            )
        })
        .collect();
    let running = if running.is_empty() && view.queue().is_paused() {
        PAUSED.to_owned()
    } else if running.is_empty() {
        "nothing runs".to_owned()
    } else {
        running.join(", ")
    };
    format!("    ... {} - {running}", totals(view, now, LineStyle::plain()))
}

/// `2/6 done · 1 landed · 1 evicted · queue 0 · 6m51s · $2.31/$20.00`.
pub(super) fn totals(view: &View, now: Timestamp, style: LineStyle) -> String {
    let mut parts = vec![format!("{}/{} done", view.counts.done(), view.counts.total())];
    for state in UnitState::ALL {
        let count = view.counts.of(*state);
        if count > 0 && !matches!(state, UnitState::Waiting | UnitState::Ready | UnitState::Queued) {
            parts.push(format!("{count} {}", state.as_str()));
        }
    }
    let flakes: usize = view.units.iter().map(|unit| unit.flakes.len()).sum();
    if flakes > 0 {
        parts.push(plural(u32::try_from(flakes).unwrap_or(u32::MAX), "flake"));
    }
    parts.push(format!("queue {}", view.queue_length()));
    if view.run.started_at.is_some() {
        parts.push(duration(view.run.worked.ms(now)));
    }
    let budget = view
        .run
        .budget
        .map(|budget| format!("/{budget}"))
        .unwrap_or_default();
    parts.push(format!("{}{budget}", view.run.cost));
    parts.join(&format!(" {} ", style.dot()))
}

/// The lines for an event, or `None` when it is no news for a person. `view` has taken the event in.
pub fn event_line(record: &Record, view: &View, style: LineStyle) -> Option<String> {
    let line = Lines { record, view, style };
    match &record.event {
        Event::Run(event) => line.run(event),
        Event::Unit(scoped) => line.unit(&scoped.unit, &scoped.what),
        Event::Queue(event) => line.queue(event),
    }
}

/// What every line needs.
struct Lines<'a> {
    record: &'a Record,
    view: &'a View,
    style: LineStyle,
}

impl Lines<'_> {
    /// `word [  time] unit      text`.
    fn compose(&self, tone: Tone, word: &str, ms: Option<u64>, unit: &str, text: &str) -> String {
        let word = self.style.paint(tone.style(), &format!("{word:>7}"));
        let time = ms.map_or_else(String::new, duration);
        format!("{word} [{time:>7}] {unit:<9} {text}")
            .trim_end()
            .to_owned()
    }

    /// Time since the unit's work began, without the pauses between engines.
    fn unit_ms(&self, unit: &UnitId) -> Option<u64> {
        let before = self.view.unit(unit)?.began_ms?;
        Some(self.view.run.worked.ms(self.record.at).saturating_sub(before))
    }

    fn of_unit(&self, tone: Tone, word: &str, unit: &UnitId, text: &str) -> String {
        self.compose(tone, word, self.unit_ms(unit), unit.as_str(), text)
    }

    fn mark(&self, tone: Tone) -> &'static str {
        match tone {
            Tone::Good => self.style.choose("✓", "ok"),
            Tone::Bad => self.style.choose("✗", "x"),
            Tone::Attention => self.style.choose("•", "*"),
        }
    }

    fn run(&self, event: &RunEvent) -> Option<String> {
        let evidence = match event {
            RunEvent::PreflightEnded { evidence, also, .. } => evidence.together(also),
            RunEvent::ConflictsForeseen(_) => return self.collisions(),
            RunEvent::UnitsAdded { units, .. } => return Some(self.added(units)),
            RunEvent::RunStarted { .. }
            | RunEvent::EngineStarted { .. }
            | RunEvent::EngineStopped { .. }
            | RunEvent::RunRebuilt { .. }
            | RunEvent::RunFinished => return None,
        };
        let tone = if evidence.passed() { Tone::Good } else { Tone::Bad };
        let ms = evidence.results.iter().map(|result| result.duration_ms).sum();
        let target = one_line(&self.view.run.target, TEXT_CHARS_MAX);
        let text = format!("preflight  {}", evidence_text(&evidence));
        Some(self.compose(tone, self.mark(tone), Some(ms), &target, &text))
    }

    /// A line for each unit that joined the run.
    fn added(&self, units: &[UnitId]) -> String {
        let title = |id: &UnitId| self.view.unit(id).map_or("", |unit| &unit.title);
        let line = |id: &UnitId| {
            let title = one_line(title(id), TEXT_CHARS_MAX);
            self.compose(Tone::Good, "ADDED", None, id.as_str(), &title)
        };
        units.iter().map(line).collect::<Vec<_>>().join("\n")
    }

    /// A line for each collision that was not foreseen before.
    fn collisions(&self) -> Option<String> {
        let new: Vec<&Collision> = self.view.collisions_since(self.record.seq).collect();
        let shown = new.iter().take(COLLISION_LINES_MAX).map(|pair| {
            let [one, _] = &pair.units;
            self.compose(
                Tone::Attention,
                "COLLIDE",
                None,
                one.as_str(),
                &collision_text(pair),
            )
        });
        let rest = u32::try_from(new.len().saturating_sub(COLLISION_LINES_MAX)).unwrap_or(u32::MAX);
        let rest = (rest > 0).then(|| format!("        and {} more: pipeline status", plural(rest, "pair")));
        let lines: Vec<String> = shown.chain(rest).collect();
        (!lines.is_empty()).then(|| lines.join("\n"))
    }

    fn unit(&self, id: &UnitId, event: &UnitEvent) -> Option<String> {
        let unit = self.view.unit(id)?;
        match event {
            UnitEvent::AttemptEnded {
                outcome,
                output,
                usage,
                ..
            } => self.attempt(unit, *outcome, output.as_ref(), usage.cost),
            UnitEvent::GateOpened { .. } => {
                let text = format!("waits for a person {} pipeline approve {id}", self.style.dot());
                Some(self.of_unit(Tone::Attention, "HELD", id, &text))
            }
            UnitEvent::GateDecided { approved, message } => {
                let tone = if *approved { Tone::Good } else { Tone::Bad };
                let word = if *approved { "approved" } else { "rejected" };
                let said = message
                    .as_deref()
                    .map(|m| format!(": {}", one_line(m, TEXT_CHARS_MAX)));
                let text = format!("gate       {word} by a person{}", said.unwrap_or_default());
                Some(self.of_unit(tone, self.mark(tone), id, &text))
            }
            UnitEvent::UnitPublished => {
                Some(self.of_unit(Tone::Good, self.mark(Tone::Good), id, "published"))
            }
            UnitEvent::UnitEvicted { reason, sentence } => self.evicted(unit, *reason, sentence),
            UnitEvent::UnitBlocked { on } => {
                let text = format!("waits for {on}, which did not land");
                Some(self.of_unit(Tone::Attention, "BLOCKED", id, &text))
            }
            UnitEvent::UnitKept { commit, from } => {
                let text = format!("landed as {} in {from}, kept", commit.short());
                Some(self.of_unit(Tone::Good, self.mark(Tone::Good), id, &text))
            }
            UnitEvent::UnitDiscarded => Some(self.by_person(id, "given up by a person")),
            UnitEvent::UnitResolved { head, .. } => {
                let text = format!("repaired by a person at {}", head.commit.short());
                Some(self.by_person(id, &text))
            }
            UnitEvent::UnitRetried { .. } => Some(self.by_person(id, "starts afresh")),
            UnitEvent::BranchTaken { branch, head, .. } => {
                let text = format!("branch     {branch} taken in at {}", head.commit.short());
                Some(self.of_unit(Tone::Good, self.mark(Tone::Good), id, &text))
            }
            UnitEvent::BranchLanded { branch, head } => {
                let text = format!(
                    "branch     {branch} at {} is on the target already",
                    head.commit.short()
                );
                Some(self.of_unit(Tone::Good, self.mark(Tone::Good), id, &text))
            }
            UnitEvent::UnitStarted { .. }
            | UnitEvent::AttemptStarted { .. }
            | UnitEvent::StageSkipped { .. }
            | UnitEvent::UnitApproved { .. }
            | UnitEvent::UnitUnblocked
            | UnitEvent::UnitRestored { .. } => None,
        }
    }

    fn attempt(
        &self,
        unit: &UnitView,
        outcome: Outcome,
        output: Option<&Output>,
        cost: Option<Usd>,
    ) -> Option<String> {
        // An outcome that the view did not take in belongs to an attempt that is no longer current.
        let ended = |attempt: &&AttemptView| attempt.finished_at == Some(self.record.at);
        let attempt = unit.attempts.iter().rev().find(ended)?;
        let tone = match attempt.moot {
            true => Tone::Attention,
            false => tone_of(outcome, attempt.blocks),
        };
        let text = match (outcome, &attempt.verdict) {
            _ if attempt.moot => "nobody waited for it any more".to_owned(),
            (Outcome::Ok, Some(verdict)) => one_line(verdict, TEXT_CHARS_MAX),
            (Outcome::Ok, None) => "done".to_owned(),
            (other, _) => {
                let detail = attempt
                    .detail
                    .as_deref()
                    .map(|d| format!(": {}", one_line(d, TEXT_CHARS_MAX)));
                format!("{}{}", outcome_word(other), detail.unwrap_or_default())
            }
        };
        let next = if attempt.blocks && leads_to_fix(output) && unit.fixes_used < self.view.run.rounds_max {
            let (number, most) = (unit.fixes_used + 1, self.view.run.rounds_max);
            format!(" {} fix {number}/{most}", self.style.arrow())
        } else {
            String::new()
        };
        let text = format!("{text}{next}");
        let cost = cost
            .filter(|cost| cost.micros > 0)
            .map(|cost| cost.to_string())
            .unwrap_or_default();
        let text = format!("{:<10} {text:<39} {cost}", attempt.stage);
        Some(self.compose(
            tone,
            self.mark(tone),
            attempt.duration_ms,
            unit.id.as_str(),
            &text,
        ))
    }

    /// An eviction may be recorded twice, by the queue and for the unit; the first is the news.
    fn evicted(&self, unit: &UnitView, reason: Reason, sentence: &str) -> Option<String> {
        if unit.ended_seq != Some(self.record.seq) {
            return None;
        }
        if reason == Reason::Cancelled {
            let again = format!(
                "cancelled by a person {} pipeline retry {}",
                self.style.dot(),
                unit.id
            );
            return Some(self.by_person(&unit.id, &again));
        }
        let sentence = one_line(sentence, TEXT_CHARS_MAX);
        let text = format!(
            "{reason}: {sentence} {} pipeline show {}",
            self.style.dot(),
            unit.id
        );
        Some(self.of_unit(Tone::Bad, "EVICTED", &unit.id, &text))
    }

    fn queue(&self, event: &QueueEvent) -> Option<String> {
        match event {
            QueueEvent::Landed { units, evidence, .. } => {
                let total = self.view.counts.total();
                let first = self.view.counts.done() + 1;
                let first = first.saturating_sub(u32::try_from(units.len()).unwrap_or(0));
                let unproved = if evidence.is_none() { " unverified" } else { "" };
                let lines: Vec<String> = (first..)
                    .zip(units)
                    .map(|(number, landed)| {
                        let target = one_line(&self.view.run.target, TEXT_CHARS_MAX);
                        let (commit, arrow) = (landed.commit.short(), self.style.arrow());
                        let text = format!("{commit} {arrow} {target} ({number}/{total}){unproved}");
                        self.of_unit(Tone::Good, "LANDED", &landed.unit, &text)
                    })
                    .collect();
                (!lines.is_empty()).then(|| lines.join("\n"))
            }
            QueueEvent::EntryHeld { unit, hold } => {
                // A command is of no use when it is cut.
                let chars_max = match hold {
                    Hold::TargetDirty { .. } => COMMAND_CHARS_MAX,
                    _ => TEXT_CHARS_MAX,
                };
                let text = one_line(&format!("{}: {}", hold.code(), hold.sentence()), chars_max);
                Some(self.of_unit(Tone::Attention, "HELD", unit, &text))
            }
            QueueEvent::IntegrationFailed { unit, .. } => {
                let held = self.view.queue().entry(unit)?.held()?;
                let text = one_line(&held, TEXT_CHARS_MAX);
                Some(self.of_unit(Tone::Attention, "HELD", unit, &text))
            }
            QueueEvent::BatchSplit { units, .. } => {
                let names: Vec<&str> = units.iter().map(UnitId::as_str).collect();
                let text = format!("{} fail together and are verified in halves", names.join(", "));
                let text = one_line(&text, TEXT_CHARS_MAX);
                Some(self.compose(Tone::Attention, self.mark(Tone::Attention), None, "queue", &text))
            }
            QueueEvent::StepPanicked {
                units, step, message, ..
            } => {
                let names: Vec<&str> = units.iter().map(UnitId::as_str).collect();
                let text = format!(
                    "{} it panicked, which is a bug: {message}; it is done again ({})",
                    step.doing(),
                    names.join(", ")
                );
                let text = one_line(&text, TEXT_CHARS_MAX);
                Some(self.compose(Tone::Bad, self.mark(Tone::Bad), None, "queue", &text))
            }
            QueueEvent::FlakeSeen { unit, check } => {
                let text = format!(
                    "{} failed, then passed on the same tree",
                    one_line(check, TEXT_CHARS_MAX)
                );
                Some(self.of_unit(Tone::Attention, "FLAKY", unit, &text))
            }
            QueueEvent::SentBack {
                unit,
                reason,
                evidence,
            } => {
                let text = format!(
                    "queue      {reason}: {}, back to its author",
                    evidence_text(evidence)
                );
                Some(self.of_unit(Tone::Bad, self.mark(Tone::Bad), unit, &text))
            }
            QueueEvent::SentToResolve { unit, conflicts, .. } => {
                let met = one_line(&conflict_sentence(conflicts), TEXT_CHARS_MAX);
                let text = format!("queue      {met} Back to its author.");
                Some(self.of_unit(Tone::Attention, "CONFLICT", unit, &text))
            }
            QueueEvent::EntryLeft { unit, end } => self.left(unit, end),
            QueueEvent::BaseRed { check, .. } => {
                let target = one_line(&self.view.run.target, TEXT_CHARS_MAX);
                let text = format!(
                    "{}: {} fails on the target itself; nobody is charged",
                    Reason::BaseRed,
                    one_line(check, TEXT_CHARS_MAX)
                );
                Some(self.compose(Tone::Bad, "HELD", None, &target, &text))
            }
            QueueEvent::SafetyStop { reason, sentence } => {
                let text = format!("{reason}: {}", one_line(sentence, TEXT_CHARS_MAX));
                Some(self.compose(Tone::Bad, "STOPPED", None, "queue", &text))
            }
            QueueEvent::TargetMoved { to, .. } => {
                let target = one_line(&self.view.run.target, TEXT_CHARS_MAX);
                let text = format!("moved to {} by somebody else; the queue follows", to.short());
                Some(self.compose(Tone::Attention, self.mark(Tone::Attention), None, &target, &text))
            }
            QueueEvent::CheckoutFollowed { left, .. } if !left.is_empty() => {
                let text = format!(
                    "left as they were in the checkout: {}",
                    one_line(&left.join(", "), TEXT_CHARS_MAX)
                );
                let target = one_line(&self.view.run.target, TEXT_CHARS_MAX);
                Some(self.compose(Tone::Attention, self.mark(Tone::Attention), None, &target, &text))
            }
            QueueEvent::QueueStalled { since } => {
                let text = stall_sentence(self.view, *since, self.record.at);
                Some(self.compose(Tone::Bad, "STALLED", None, "queue", &text))
            }
            QueueEvent::QueuePaused => {
                Some(self.word_of_person("paused: what is under way ends, nothing starts or lands"))
            }
            QueueEvent::QueueResumed => Some(self.word_of_person("the pause is lifted")),
            QueueEvent::QueueFrozen { below } => {
                Some(self.word_of_person(&format!("frozen below priority {below}")))
            }
            QueueEvent::QueueThawed => Some(self.word_of_person("the freeze is lifted")),
            QueueEvent::EntryRaised { unit, priority, .. } => {
                Some(self.word_of_person(&format!("{unit} goes next, with priority {priority}")))
            }
            QueueEvent::VerifyEnded { evidence, .. } => self.could_not_run(evidence),
            QueueEvent::Enqueued { .. }
            | QueueEvent::CandidateBuilt { .. }
            | QueueEvent::VerifyStarted { .. }
            | QueueEvent::LandIntended { .. }
            | QueueEvent::CheckoutFollowed { .. }
            | QueueEvent::LandRefused { .. }
            | QueueEvent::EntryReleased { .. }
            | QueueEvent::EntryCharged { .. } => None,
        }
    }

    /// That the machine could not run the checks, with what it said, and when they are tried again.
    fn could_not_run(&self, evidence: &Evidence) -> Option<String> {
        let failure = evidence.first_failure()?;
        if failure.outcome == CheckOutcome::Interrupted {
            return None;
        }
        let Some(Hold::Backoff { until, .. }) = self.view.queue().backs_off() else {
            return None;
        };
        let said = failure
            .tail
            .lines()
            .next()
            .map(|line| one_line(line, TEXT_CHARS_MAX));
        let text = format!(
            "backoff: {}; tried again at {} UTC",
            said.unwrap_or_else(|| evidence_text(evidence)),
            until.strftime("%H:%M:%S")
        );
        Some(self.compose(Tone::Attention, "HELD", None, "queue", &text))
    }

    /// What a person said to the queue.
    fn word_of_person(&self, text: &str) -> String {
        self.compose(Tone::Attention, self.mark(Tone::Attention), None, "queue", text)
    }

    fn left(&self, id: &UnitId, end: &EntryEnd) -> Option<String> {
        let unit = self.view.unit(id)?;
        match end {
            EntryEnd::AlreadyLanded => {
                let text = "everything it brings is on the target already";
                Some(self.of_unit(Tone::Good, "LANDED", id, text))
            }
            EntryEnd::Evicted { reason, sentence, .. } => self.evicted(unit, *reason, sentence),
            EntryEnd::Cancelled => Some(self.by_person(id, "taken out of the queue by a person")),
        }
    }

    /// What a person did to a unit.
    fn by_person(&self, id: &UnitId, text: &str) -> String {
        self.of_unit(Tone::Attention, self.mark(Tone::Attention), id, text)
    }
}

/// A line for an attempt that has been silent for long.
pub fn slow_line(unit: &str, stage: &str, idle_ms: u64, style: LineStyle) -> String {
    let word = style.paint(Tone::Attention.style(), "   SLOW");
    format!("{word} [{:>7}] {unit:<9} {stage:<10} silent", duration(idle_ms))
}

fn tone_of(outcome: Outcome, blocks: bool) -> Tone {
    match outcome {
        Outcome::Interrupted => Tone::Attention,
        Outcome::Ok if !blocks => Tone::Good,
        _ => Tone::Bad,
    }
}

/// Whether it is a review that speaks: after other judges it is the unit's tier that knows what comes next.
fn leads_to_fix(output: Option<&Output>) -> bool {
    matches!(output, Some(Output::Review { .. }))
}

/// `test failed`, `3 checks passed`.
pub(super) fn evidence_text(evidence: &Evidence) -> String {
    let count = u32::try_from(evidence.results.len()).unwrap_or(u32::MAX);
    match evidence.first_failure() {
        Some(result) => format!(
            "{} {}",
            one_line(&result.name, TEXT_CHARS_MAX),
            check_word(result.outcome)
        ),
        None if count == 0 => "no check ran".to_owned(),
        None => format!("{} passed", plural(count, "check")),
    }
}

/// The word for the outcome of a check.
pub(super) fn check_word(outcome: CheckOutcome) -> &'static str {
    match outcome {
        CheckOutcome::Passed => "passed",
        CheckOutcome::Failed => "failed",
        CheckOutcome::TimedOut => "timed out",
        CheckOutcome::Skipped => "skipped",
        CheckOutcome::Infrastructure => "could not be run",
        CheckOutcome::Interrupted => "interrupted",
    }
}

pub(super) fn plural(count: u32, noun: &str) -> String {
    let ending = if count == 1 { "" } else { "s" };
    format!("{count} {noun}{ending}")
}
