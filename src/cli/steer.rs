//! Steering a run while no engine has it.

use std::sync::Arc;
use std::time::Duration;

use super::context::{Context, Reading, println, tell};
use super::exit::Exit;
use super::failure::Failure;
use crate::engine::steer::{Desk, Wish};
use crate::id::UnitId;
use crate::store::{Holder, Store, StoreLease};

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

/// Opens a run to write wishes into it. While it is open, no engine can take the run up.
pub(super) fn open_desk(context: &Context, verb: &str, reading: &Reading) -> Result<Desk, Failure> {
    let store = open_store(context, verb)?;
    let pipeline = Arc::new(reading.frozen.pipeline.clone());
    let mut desk = Desk::open(reading.run.clone(), pipeline, store, super::context::clock())?;
    for note in desk.take_notes() {
        tell(&note);
    }
    Ok(desk)
}

/// Writes a wish for a unit down.
pub(super) fn write_wish(
    context: &Context,
    verb: &str,
    reading: &Reading,
    unit: &UnitId,
    wish: Wish,
    told: &str,
) -> Result<(), Failure> {
    open_desk(context, verb, reading)?.write(unit, wish)?;
    println(told);
    Ok(())
}

/// The command that carries wishes out.
pub(super) fn tell_next(reading: &Reading) -> Exit {
    println(&format!("Next: pipeline run {}", reading.frozen.file));
    Exit::Done
}

/// How long the git commands of an engine that was killed are waited for.
const PATIENCE: Duration = Duration::from_secs(30);

/// Takes the repository's lock without opening the store, and lets what a killed engine had started come to its end.
pub(super) fn lease(context: &Context, verb: &str) -> Result<StoreLease, Failure> {
    let holder = Holder {
        pid: std::process::id(),
        command: format!("pipeline {verb}"),
        started: super::context::clock().now(),
    };
    let lease = StoreLease::acquire(&context.home, &holder)?;
    let left = context.repository.await_stragglers(PATIENCE);
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
