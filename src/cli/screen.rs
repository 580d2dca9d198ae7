//! What `run` shows: lines and a live block on a terminal, lines elsewhere, events as JSON with `--json`.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use indicatif::ProgressDrawTarget;
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};

use super::bundle;
use super::context::{Context, Screen, clock, println, tell};
use super::exit::{Exit, Signal};
use super::run::resume_command;
use crate::engine::Observer;
use crate::event::{Event, Gate, Hold, QueueEvent, Reason, Record, RunEvent, StopCause, UnitEvent};
use crate::id::{RunId, UnitId};
use crate::port::Activity;
use crate::queue::{EntryView, Status};
use crate::report::queue::words_of_people;
use crate::report::text::sanitize;
use crate::report::{line, live::Live};
use crate::spec::Pipeline;
use crate::view::{UnitState, UnitView, View};

/// Silence after which a run without a live block says that it is alive.
const HEARTBEAT: jiff::SignedDuration = jiff::SignedDuration::from_secs(60);

/// The last signal that asked to stop, for the exit code: 0 none, 1 SIGINT, 2 SIGTERM.
static SIGNAL: AtomicU8 = AtomicU8::new(0);

/// Remembers a signal for the exit code.
pub(super) fn remember_signal(signal: Signal) {
    let number = match signal {
        Signal::Interrupt => 1,
        Signal::Terminate => 2,
    };
    SIGNAL.store(number, Ordering::Relaxed);
}

/// The signal that asked to stop, if one did.
pub(super) fn signal() -> Option<Signal> {
    match SIGNAL.load(Ordering::Relaxed) {
        1 => Some(Signal::Interrupt),
        2 => Some(Signal::Terminate),
        _ => None,
    }
}

/// Shows a run while it goes on.
pub(super) struct RunScreen {
    shared: Shared,
}

/// A handle to what is shown.
#[derive(Clone)]
pub(super) struct Shared(Arc<Mutex<Inner>>);

struct Inner {
    context: Context,
    run: RunId,
    pipeline: Pipeline,
    view: View,
    screen: Screen,
    live: Option<Live>,
    /// Held as long as the live block is drawn.
    quiet: Option<QuietTerminal>,
    header_shown: bool,
    last_line: jiff::Timestamp,
    /// Evictions whose bundle is written: the record that evicted, by unit.
    bundled: BTreeMap<UnitId, Option<u64>>,
    /// What a check said that fails on the target itself.
    red: Option<String>,
}

impl RunScreen {
    pub(super) fn new(context: &Context, run: &RunId, pipeline: &Pipeline, screen: Screen) -> Self {
        let live =
            (screen.live && !screen.json).then(|| Live::new(screen.style, ProgressDrawTarget::stderr()));
        let quiet = live.as_ref().and_then(|_| QuietTerminal::new());
        let inner = Inner {
            quiet,
            context: context.clone(),
            run: run.clone(),
            pipeline: pipeline.clone(),
            view: View::new(pipeline),
            screen,
            live,
            header_shown: false,
            last_line: clock().now(),
            bundled: BTreeMap::new(),
            red: None,
        };
        Self {
            shared: Shared(Arc::new(Mutex::new(inner))),
        }
    }

    pub(super) fn shared(&self) -> Shared {
        self.shared.clone()
    }
}

/// While the live block is drawn, the terminal does not echo `^C`: it would push the block down by a line that is never
/// taken away. Put back when dropped.
struct QuietTerminal(Termios);

impl QuietTerminal {
    /// `None` where standard input is no terminal.
    fn new() -> Option<Self> {
        let before = tcgetattr(std::io::stdin()).ok()?;
        let mut quiet = before.clone();
        quiet.local_modes.remove(LocalModes::ECHOCTL);
        tcsetattr(std::io::stdin(), OptionalActions::Now, &quiet).ok()?;
        Some(Self(before))
    }
}

impl Drop for QuietTerminal {
    fn drop(&mut self) {
        // A terminal that is gone needs nothing put back.
        let _ = tcsetattr(std::io::stdin(), OptionalActions::Now, &self.0);
    }
}

/// Keeps the figures moving while nothing happens.
pub(super) async fn tick(shared: Shared) {
    let mut seconds = tokio::time::interval(Duration::from_secs(1));
    loop {
        seconds.tick().await;
        shared.lock().tick();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().expect("nothing panics while it holds the screen")
    }

    pub(super) fn needs_person(&self) -> bool {
        self.lock().view.needs_person()
    }

    /// The last lines of a run: what came of it, and the next command.
    pub(super) fn finish(&self, cause: StopCause, file: &Path, exit: Exit) {
        let mut inner = self.lock();
        if let Some(mut live) = inner.live.take() {
            live.finish();
        }
        inner.quiet = None;
        if inner.screen.json {
            return;
        }
        println(&line::footer(&inner.view, clock().now(), inner.screen.style));
        if let Some(hint) = line::merge_hint(&inner.view).filter(|_| cause != StopCause::Safety) {
            println(&hint);
        }
        let again = resume_command(file);
        let next = match cause {
            StopCause::Finished if exit == Exit::NeedsPerson => "Next: pipeline evicted".to_owned(),
            StopCause::Finished if inner.view.is_settled() => return,
            StopCause::Finished => format!("The units that were named are done. Next: {again}"),
            StopCause::Budget => format!("The budget is spent. Next: {again} --budget-usd AMOUNT"),
            StopCause::TimeLimit => format!("The time limit is reached. Next: {again}"),
            StopCause::Signal => format!("Stopped; nothing is lost. Next: {again}"),
            StopCause::Environment | StopCause::Human | StopCause::BaseRed | StopCause::Safety => {
                inner.what_a_person_must_do(cause, &again)
            }
        };
        println(&next);
    }
}

impl Observer for RunScreen {
    fn replayed(&mut self, record: &Record) {
        let mut inner = self.shared.lock();
        inner.view.apply(record);
        // Whoever reads the events learns first which run they are of.
        if inner.screen.json && matches!(record.event, Event::Run(RunEvent::RunStarted { .. })) {
            println(&serde_json::to_string(record).expect("an event serialises"));
        }
    }

    fn recorded(&mut self, record: &Record) {
        let mut guard = self.shared.lock();
        let inner = &mut *guard;
        inner.view.apply(record);
        if let Event::Run(RunEvent::PreflightEnded { evidence, also, .. }) = &record.event {
            inner.red = evidence.together(also).first_failure().map(|failed| {
                let said = sanitize(failed.tail.trim_end());
                let told = format!("The check `{}` fails on the target itself", failed.name);
                if said.is_empty() {
                    format!("{told}, and prints nothing.")
                } else {
                    format!("{told}:\n{said}")
                }
            });
        }
        if may_evict(&record.event) {
            inner.write_bundles();
        }
        if inner.screen.json {
            println(&serde_json::to_string(record).expect("an event serialises"));
            return;
        }
        if !inner.header_shown {
            inner.header_shown = true;
            inner.say(&line::header(&inner.view, "none", inner.screen.style));
        }
        if let Some(live) = &mut inner.live {
            live.apply(record, &inner.view);
        } else if let Some(text) = line::event_line(record, &inner.view, inner.screen.style) {
            println(&text);
            inner.last_line = record.at;
        }
    }

    fn activity(&mut self, activity: &Activity) {
        if let Some(live) = &mut self.shared.lock().live {
            live.activity(activity);
        }
    }

    fn grown(&mut self, pipeline: &Pipeline) {
        let mut inner = self.shared.lock();
        inner.view.grow(pipeline);
        inner.pipeline = pipeline.clone();
    }

    fn note(&mut self, text: &str) {
        let inner = self.shared.lock();
        match &inner.live {
            Some(live) => live.println(text),
            None => tell(text),
        }
    }
}

impl Inner {
    /// Prints above the live block, if there is one.
    fn say(&self, text: &str) {
        match &self.live {
            Some(live) => live.println(text),
            None => println(text),
        }
    }

    fn tick(&mut self) {
        let now = clock().now();
        match &self.live {
            Some(live) => live.tick(&self.view, now),
            None if self.screen.json || now.duration_since(self.last_line) < HEARTBEAT => {}
            None => {
                println(&line::heartbeat(&self.view, now));
                self.last_line = now;
            }
        }
    }

    /// Writes the bundle of each unit that was evicted since the last look.
    fn write_bundles(&mut self) {
        let is_new = |unit: &&UnitView| {
            unit.state == UnitState::Evicted && self.bundled.get(&unit.id) != Some(&unit.ended_seq)
        };
        let evicted: Vec<UnitView> = self.view.units.iter().filter(is_new).cloned().collect();
        for unit in evicted {
            if let Err(failure) = bundle::write(&self.context, &self.pipeline, &self.run, &self.view, &unit) {
                self.say(&format!(
                    "the bundle of `{}` could not be written: {failure}",
                    unit.id
                ));
            }
            self.bundled.insert(unit.id, unit.ended_seq);
        }
        bundle::name_bundles(&self.context.home, &self.run, &mut self.view);
    }

    /// What keeps the run from going on, and the commands that help.
    fn what_a_person_must_do(&self, cause: StopCause, again: &str) -> String {
        let mut lines: Vec<String> = self
            .red
            .as_ref()
            .or(self.view.run.trouble.as_ref())
            .into_iter()
            .cloned()
            .collect();
        let places = self.view.queue_places();
        lines.extend(words_of_people(&self.view).lines().map(str::to_owned));
        for unit in &self.view.units {
            if unit.state == UnitState::Gated {
                let why = unit
                    .gates
                    .iter()
                    .map(Gate::sentence)
                    .collect::<Vec<_>>()
                    .join(" ");
                lines.push(format!("`{}` waits for you. {why}", unit.id));
                lines.push(format!(
                    "  pipeline diff {0}; pipeline approve {0}, or pipeline reject {0} -m WHY",
                    unit.id
                ));
            }
            // That everybody is paused is told once.
            let entry = places
                .get(&unit.id)
                .filter(|entry| entry.status != Status::Held(Hold::Paused));
            if let Some(held) = entry.and_then(EntryView::held) {
                lines.push(format!("`{}` is held: {held}", unit.id));
            }
        }
        let remedy = match cause {
            StopCause::BaseRed => Reason::BaseRed.remedy(),
            StopCause::Safety => Reason::TargetRewritten.remedy(),
            StopCause::Human
            | StopCause::Finished
            | StopCause::Signal
            | StopCause::Budget
            | StopCause::TimeLimit
            | StopCause::Environment => "",
        };
        if !remedy.is_empty() {
            lines.push(remedy.to_owned());
        }
        let run = &self.view.run;
        if let (StopCause::Safety, Some(branch), Some(head)) = (cause, run.own_branch(), &run.head) {
            lines.push(format!(
                "`git branch -f {branch} {head}` makes the run's branch what it was."
            ));
        }
        lines.push(match cause {
            StopCause::Environment => format!("Stopped by what is said above. Mend it, then: {again}"),
            StopCause::Human
            | StopCause::BaseRed
            | StopCause::Safety
            | StopCause::Finished
            | StopCause::Signal
            | StopCause::Budget
            | StopCause::TimeLimit => format!("Then: {again}"),
        });
        // Paths and sentences in it may be an agent's.
        sanitize(&lines.join("\n"))
    }
}

/// Whether a unit may have been evicted by this, or by an engine that died before it wrote the bundle.
fn may_evict(event: &Event) -> bool {
    match event {
        Event::Unit(scoped) => matches!(scoped.what, UnitEvent::UnitEvicted { .. }),
        Event::Queue(event) => matches!(event, QueueEvent::EntryLeft { .. }),
        Event::Run(event) => matches!(event, RunEvent::EngineStarted { .. }),
    }
}
