//! Runs whose state was lost or is damaged: found, and made anew from what git proves.

use std::sync::Arc;

use super::context::{Context, clock, tell};
use super::failure::Failure;
use crate::engine::rebuild::{RebuildError, known_runs, rebuild};
use crate::engine::rows_of;
use crate::id::RunId;
use crate::run::{Frozen, State};
use crate::store::Store;

/// Runs that git knows and the state directory does not.
///
/// # Errors
/// When git or the disk fails.
pub(super) fn lost_runs(context: &Context) -> Result<Vec<RunId>, Failure> {
    let here = context.runs()?;
    let mut lost = known_runs(&context.repository)?;
    lost.retain(|run| !here.contains(run));
    Ok(lost)
}

/// Makes the journal of every run that is lost anew, and tells what it rebuilt and what it cannot know. A run that cannot
/// be rebuilt is told and left; the others go on.
pub(super) fn restore_lost_runs(context: &Context, store: &mut Store) -> Result<(), Failure> {
    for run in lost_runs(context)? {
        match restore(context, store, &run) {
            Ok(notes) => notes.iter().for_each(|note| tell(note)),
            Err(failure) => tell(&format!(
                "run {run}, which is lost here, was not rebuilt: {failure}"
            )),
        }
    }
    Ok(())
}

/// Makes the journal of a run anew; what is to be told.
fn restore(context: &Context, store: &mut Store, run: &RunId) -> Result<Vec<String>, Failure> {
    let now = clock().now();
    let rebuilt = rebuild(&context.repository, run, now)?;
    let rows = rows_of(&rebuilt.events);
    store.start_run(run, &rebuilt.frozen, now, &rebuilt.events, &rows)?;
    Ok(rebuilt.notes)
}

/// Sets every run aside whose journal is damaged, does not follow from its own pipeline, or is older than the target, and
/// makes it anew from git. What git cannot rebuild is left as it is, with the reason. The sentences are to be told.
///
/// # Errors
/// When the store fails.
pub(super) fn repair_runs(context: &Context, store: &mut Store) -> Result<Vec<String>, Failure> {
    let mut told = Vec::new();
    for run in context.runs()? {
        let Err(damage) = sound(context, &run) else {
            continue;
        };
        // First whether there is anything to put in its place.
        if let Err(error) = rebuild(&context.repository, &run, clock().now()) {
            told.push(format!(
                "run {run} is damaged ({damage}) and was left as it is: {error}"
            ));
            continue;
        }
        let aside = store.set_run_aside(&run)?;
        told.push(format!(
            "run {run} was damaged ({damage}) and was set aside as {}",
            aside.display()
        ));
        told.extend(restore(context, store, &run)?);
    }
    for run in lost_runs(context)? {
        told.extend(restore(context, store, &run)?);
    }
    Ok(told)
}

/// Whether a run's files can be read, fold, and know of everything that landed.
fn sound(context: &Context, run: &RunId) -> Result<(), String> {
    let frozen: Frozen = context.read_frozen(run).map_err(|failure| failure.to_string())?;
    let journal = crate::store::read_journal(&context.home, run).map_err(|error| error.to_string())?;
    let mut state = State::new(Arc::new(frozen.pipeline), String::new());
    for record in &journal.records {
        state.apply(record).map_err(|error| error.to_string())?;
    }
    let unknown = crate::engine::rebuild::unknown_landings(&context.repository, &state);
    match unknown.map_err(|error| error.to_string())?.as_slice() {
        [] => Ok(()),
        units => Err(format!("no event says that {} landed", units.join(", "))),
    }
}

impl From<RebuildError> for Failure {
    fn from(error: RebuildError) -> Self {
        Self::new(super::exit::Exit::Environment, "rebuild", error.to_string())
    }
}
