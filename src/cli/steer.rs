//! Steering a run: through its engine while one has it, or by writing wishes down that the next one carries out.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use super::context::{Context, Reading, println, tell};
use super::exit::Exit;
use super::failure::Failure;
use crate::control::{self, AskError};
use crate::engine::control::{Answer, Request, Want};
use crate::engine::steer::Desk;
use crate::event::{Event, QueueEvent};
use crate::id::{RunId, UnitId};
use crate::run::{QueueWish, UnitWish, Wish};
use crate::spec::Unit;
use crate::store::{Holder, Store, StoreLease};

/// How long an engine that starts or ends is waited for, until either it listens or the repository is free.
const PATIENCE: Duration = Duration::from_secs(3);
/// Between two looks at who has the repository.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);

/// A person's hand on a run.
pub(super) struct Steering<'a> {
    context: &'a Context,
    verb: &'static str,
    reading: &'a Reading,
    who: Who,
}

/// Who writes down what a person wishes.
enum Who {
    /// This process, which has the repository.
    This(Box<Desk>),
    /// The engine that has it, and whether it acts upon what was wished last.
    Engine { acts: bool },
}

impl<'a> Steering<'a> {
    /// Takes the repository where it is free. As long as this lives no engine can take the run up that does not have it now.
    pub(super) fn open(
        context: &'a Context,
        verb: &'static str,
        reading: &'a Reading,
    ) -> Result<Self, Failure> {
        let who = match desk(context, verb, reading) {
            Err(held) if held.exit == Exit::Held => Who::Engine { acts: true },
            desk => Who::This(Box::new(desk?)),
        };
        Ok(Self {
            context,
            verb,
            reading,
            who,
        })
    }

    /// Writes a wish down, here or through the engine; the events it became, none where it is so already.
    pub(super) fn write(&mut self, wish: Wish) -> Result<Vec<Event>, Failure> {
        let request = request(&self.reading.run, Want::Wish(wish.clone()));
        let mut deadline = Instant::now() + PATIENCE;
        loop {
            if let Who::This(desk) = &mut self.who {
                return Ok(desk.write(wish)?);
            }
            match control::ask(&self.context.control_place(), &request) {
                Ok(answer) => {
                    let (events, acts) = read(&answer)?;
                    self.who = Who::Engine { acts };
                    return Ok(events);
                }
                Err(AskError::NoEngine) => {}
                Err(AskError::Gone) => {
                    // Whether it had come to this before it ended the journal knows.
                    let told = self.told_since(&wish)?;
                    if !told.is_empty() {
                        self.who = Who::Engine { acts: false };
                        return Ok(told);
                    }
                    deadline = Instant::now() + PATIENCE;
                }
                Err(error) => return Err(error.into()),
            }
            match desk(self.context, self.verb, self.reading) {
                // It ends, or does not listen yet.
                Err(held) if held.exit == Exit::Held && Instant::now() < deadline => {
                    thread::sleep(LOOK_INTERVAL);
                }
                desk => self.who = Who::This(Box::new(desk?)),
            }
        }
    }

    /// The events since the run was read that a wish becomes.
    fn told_since(&self, wish: &Wish) -> Result<Vec<Event>, Failure> {
        let seen = self.reading.records.last().map_or(0, |record| record.seq);
        let now = self.context.read(&self.reading.run)?.records.into_iter();
        let since = now.filter(|record| record.seq > seen).map(|record| record.event);
        Ok(since.filter(|event| wish.is_told_by(event)).collect())
    }

    /// The same for a wish that becomes an event of the queue.
    pub(super) fn write_queue(&mut self, wish: QueueWish) -> Result<Option<QueueEvent>, Failure> {
        let of_queue = |event| match event {
            Event::Queue(event) => Some(event),
            Event::Run(_) | Event::Unit(_) => None,
        };
        let events = self.write(Wish::Queue(wish))?;
        Ok(events.into_iter().find_map(of_queue))
    }

    /// Whether an engine has the run and acts upon what was wished.
    pub(super) fn is_live(&self) -> bool {
        matches!(self.who, Who::Engine { acts: true })
    }

    /// The command that comes next.
    pub(super) fn tell_next(&self) -> Exit {
        let run = format!("pipeline run {}", self.reading.frozen.file);
        println(&match self.who {
            Who::This(_) => format!("Next: {run}"),
            Who::Engine { acts: true } => {
                "The engine that runs acts upon it. Next: pipeline status".to_owned()
            }
            Who::Engine { acts: false } => {
                format!("The engine that runs does not act upon it. Once it has ended: {run}")
            }
        });
        Exit::Done
    }
}

/// Opens a run that no engine has, to write wishes into it.
fn desk(context: &Context, verb: &str, reading: &Reading) -> Result<Desk, Failure> {
    let store = open_store(context, verb)?;
    // An engine may have given it more units since it was read.
    let frozen = context.read_frozen(&reading.run)?;
    let (repository, clock) = (context.repository.clone(), super::context::clock());
    let pipeline = Arc::new(frozen.pipeline);
    let mut desk = Desk::open(reading.run.clone(), pipeline, store, repository, clock)?;
    desk.take_notes().iter().for_each(|note| tell(note));
    Ok(desk)
}

/// Writes a wish for a unit down.
pub(super) fn write_wish<'a>(
    context: &'a Context,
    verb: &'static str,
    reading: &'a Reading,
    unit: &UnitId,
    wish: UnitWish,
    told: &str,
) -> Result<Steering<'a>, Failure> {
    let unit = unit.clone();
    let mut steering = Steering::open(context, verb, reading)?;
    steering.write(Wish::Unit { unit, wish })?;
    println(told);
    Ok(steering)
}

/// What came of handing units to an engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Handed {
    /// It works on them.
    Taken,
    /// It has them, and the next engine works on them.
    Kept,
    /// It has another run, or another pipeline.
    NotHere,
    /// None is there.
    NoEngine,
}

/// Fails where an engine is at work that does not listen to this process.
pub(super) fn require_hearing(context: &Context, run: &RunId) -> Result<(), Failure> {
    match control::ask(&context.control_place(), &request(run, Want::Nothing)) {
        Ok(_) | Err(AskError::NoEngine | AskError::Gone) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Gives the engine that has a run more units for it.
pub(super) fn hand_over(context: &Context, run: &RunId, units: Vec<Unit>) -> Result<Handed, Failure> {
    match control::ask(&context.control_place(), &request(run, Want::Grow(units))) {
        Ok(answer) => match parse(&answer)? {
            Answer::Done { acts: true, .. } => Ok(Handed::Taken),
            Answer::Done { acts: false, .. } => Ok(Handed::Kept),
            Answer::NotHere(_) => Ok(Handed::NotHere),
            Answer::Refused(refusal) => Err(refusal.into()),
        },
        Err(AskError::NoEngine | AskError::Gone) => Ok(Handed::NoEngine),
        Err(error) => Err(error.into()),
    }
}

fn request(run: &RunId, want: Want) -> String {
    let run = run.clone();
    serde_json::to_string(&Request { run, want }).expect("a request is plain data")
}

/// The events that a wish became, and whether the engine acts upon them.
fn read(answer: &str) -> Result<(Vec<Event>, bool), Failure> {
    match parse(answer)? {
        Answer::Done { events, acts } => Ok((events, acts)),
        Answer::Refused(refusal) => Err(refusal.into()),
        Answer::NotHere(not_here) => Err(not_here.into()),
    }
}

fn parse(answer: &str) -> Result<Answer, Failure> {
    serde_json::from_str(answer).map_err(|error| {
        let message =
            format!("the engine that runs here says what this version does not understand: {error}");
        Failure::new(Exit::Held, "held", message)
            .help("call it with the version of the program that the engine has")
    })
}

/// Opens the store for writing, with every run in it that git knows. While an engine has the repository, this fails with its
/// name.
pub(super) fn open_store(context: &Context, verb: &str) -> Result<Store, Failure> {
    let lease = lease(context, verb)?;
    let (mut store, notes) = Store::open(context.home.clone(), lease)?;
    for note in notes {
        tell(&note);
    }
    super::restore::restore_lost_runs(context, &mut store)?;
    Ok(store)
}

/// How long the git commands of an engine that was killed are waited for.
const STRAGGLERS_MAX: Duration = Duration::from_secs(30);

/// Takes the repository's lock without opening the store, and lets what a killed engine had started come to its end.
pub(super) fn lease(context: &Context, verb: &str) -> Result<StoreLease, Failure> {
    let holder = Holder {
        pid: std::process::id(),
        command: format!("pipeline {verb}"),
        started: super::context::clock().now(),
    };
    let lease = StoreLease::acquire(&context.home, &holder)?;
    let left = context.repository.await_stragglers(STRAGGLERS_MAX);
    if let Some(pid) = left.first() {
        let message =
            format!("process {pid}, a git that a killed engine started here, does not come to its end");
        return Err(
            Failure::new(Exit::Environment, "straggler", message).help(format!(
                "see what it waits for; end it with `kill {pid}`, then run the same command again"
            )),
        );
    }
    Ok(lease)
}
