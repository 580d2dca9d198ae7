//! Steering a run: through its engine while one has it, or by writing wishes down that the next one carries out.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use super::context::{Context, Reading, println, tell};
use super::exit::Exit;
use super::failure::Failure;
use crate::control::{self, AskError};
use crate::engine::control::{Answer, Growth, Request, Want};
use crate::engine::steer::Desk;
use crate::event::{Event, QueueEvent};
use crate::id::{RunId, UnitId};
use crate::run::{QueueWish, UnitWish, Wish};
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
    /// While this process has the repository; otherwise an engine has it.
    own: Option<Desk>,
}

impl<'a> Steering<'a> {
    /// Takes the repository where it is free. As long as this lives no engine can take the run up then.
    pub(super) fn open(
        context: &'a Context,
        verb: &'static str,
        reading: &'a Reading,
    ) -> Result<Self, Failure> {
        let mut steering = Self {
            context,
            verb,
            reading,
            own: None,
        };
        match steering.take() {
            Err(failure) if failure.exit != Exit::Held => Err(failure),
            Ok(()) | Err(_) => Ok(steering),
        }
    }

    fn take(&mut self) -> Result<(), Failure> {
        let store = open_store(self.context, self.verb)?;
        let pipeline = Arc::new(self.reading.frozen.pipeline.clone());
        let clock = super::context::clock();
        let mut desk = Desk::open(self.reading.run.clone(), pipeline, store, clock)?;
        desk.take_notes().iter().for_each(|note| tell(note));
        self.own = Some(desk);
        Ok(())
    }

    /// Writes a wish down, here or through the engine; the events it became, none where it is so already.
    pub(super) fn write(&mut self, wish: Wish) -> Result<Vec<Event>, Failure> {
        let deadline = Instant::now() + PATIENCE;
        let request = request(&self.reading.run, Want::Wish(wish.clone()));
        loop {
            if let Some(desk) = &mut self.own {
                return Ok(desk.write(wish)?);
            }
            match control::ask(&self.context.control_place(), &request) {
                Ok(answer) => return read(&answer),
                // It ended, or does not listen yet.
                Err(AskError::NoEngine | AskError::Gone) => {}
                Err(error) => return Err(error.into()),
            }
            match self.take() {
                Err(held) if held.exit == Exit::Held && Instant::now() < deadline => {
                    thread::sleep(LOOK_INTERVAL);
                }
                taken => taken?,
            }
        }
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
        self.own.is_none()
    }

    /// The command that comes next.
    pub(super) fn tell_next(&self) -> Exit {
        if self.is_live() {
            println("The engine that runs acts upon it. Next: pipeline status");
        } else {
            println(&format!("Next: pipeline run {}", self.reading.frozen.file));
        }
        Exit::Done
    }
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

/// Gives the engine that has a run more units for it; `false` when there is none that can take them.
pub(super) fn grow(context: &Context, run: &RunId, growth: Growth) -> Result<bool, Failure> {
    match control::ask(&context.control_place(), &request(run, Want::Grow(growth))) {
        Ok(answer) => match parse(&answer)? {
            Answer::NotHere(_) => Ok(false),
            answer => done(answer).map(|_| true),
        },
        Err(AskError::NoEngine | AskError::Gone) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

fn request(run: &RunId, want: Want) -> String {
    let run = run.clone();
    serde_json::to_string(&Request { run, want }).expect("a request is plain data")
}

fn read(answer: &str) -> Result<Vec<Event>, Failure> {
    done(parse(answer)?)
}

fn parse(answer: &str) -> Result<Answer, Failure> {
    serde_json::from_str(answer).map_err(|error| {
        let message =
            format!("the engine that runs here says what this version does not understand: {error}");
        Failure::new(Exit::Held, "held", message)
            .help("call it with the version of the program that the engine has")
    })
}

fn done(answer: Answer) -> Result<Vec<Event>, Failure> {
    match answer {
        Answer::Done(events) => Ok(events),
        Answer::Refused(refusal) => Err(refusal.into()),
        Answer::NotHere(not_here) => Err(not_here.into()),
    }
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
