//! Branches that a person brought and that no run has taken in yet: they are in no journal, so what is said of them is said
//! to the wish itself.

use super::added::{self, Wish};
use super::context::{Context, Reading, println};
use super::exit::Exit;
use super::failure::Failure;
use crate::id::UnitId;
use crate::view::RunState;

/// A branch that waits for a run to take it in.
pub(super) struct Brought {
    /// The pipeline it was brought to.
    pipeline: String,
    wish: Wish,
    /// The latest run of that pipeline, if there is one.
    latest: Option<Reading>,
}

/// The branch that was brought as this unit and that no run has, for the run or the pipeline that a person chose, or else for
/// that of the latest run, or else for any.
fn find(context: &Context, run: Option<&str>, unit: &str) -> Result<Option<Brought>, Failure> {
    let Ok(id) = unit.parse::<UnitId>() else {
        return Ok(None);
    };
    let pipelines = added::pipelines_with(context, &id)?;
    // Most units were not brought: for them no journal is read.
    if pipelines.is_empty() {
        return Ok(None);
    }
    let chosen = chosen_run(context, run)?;
    if chosen.as_ref().is_some_and(|reading| reading.unit(unit).is_ok()) {
        return Ok(None);
    }
    let of_run = chosen.map(|reading| reading.frozen.pipeline.name);
    let mut found = Vec::new();
    for pipeline in pipelines {
        let is_meant = run.is_none_or(|run| run == pipeline || of_run.as_ref() == Some(&pipeline));
        let latest = chosen_run(context, Some(&pipeline))?;
        let has_it = latest.as_ref().is_some_and(|latest| latest.unit(unit).is_ok());
        if !is_meant || has_it || goes_on_with(context, &pipeline, &id)? {
            continue;
        }
        let wishes = added::wishes(context, &pipeline)?;
        let wish = wishes.into_iter().find(|wish| wish.unit == id);
        found.extend(wish.map(|wish| Brought {
            pipeline,
            wish,
            latest,
        }));
    }
    if let Some(at) = found
        .iter()
        .position(|brought| of_run.as_ref() == Some(&brought.pipeline))
    {
        return Ok(Some(found.swap_remove(at)));
    }
    if let [first, _, ..] = found.as_slice() {
        let names: Vec<String> = found
            .iter()
            .map(|brought| format!("`{}`", brought.pipeline))
            .collect();
        let message = format!(
            "`{unit}` was brought by hand to several pipelines: {}",
            names.join(", ")
        );
        return Err(Failure::new(Exit::Usage, "several", message)
            .help(format!("say which, as with `--run {}`", first.pipeline)));
    }
    Ok(found.pop())
}

/// Whether a run of that pipeline has the unit and is not finished, be it on another target.
fn goes_on_with(context: &Context, pipeline: &str, unit: &UnitId) -> Result<bool, Failure> {
    for run in context.runs()? {
        let frozen = context.read_frozen(&run)?;
        if frozen.pipeline.name == pipeline
            && frozen.pipeline.unit(unit).is_some()
            && context.read(&run)?.view.run.state != RunState::Finished
        {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The run that is meant by a name or an id; `None` when there is none yet.
fn chosen_run(context: &Context, run: Option<&str>) -> Result<Option<Reading>, Failure> {
    match context.read_run(run) {
        Ok(reading) => Ok(Some(reading)),
        Err(failure) if failure.is("no_run") => Ok(None),
        Err(failure) => Err(failure),
    }
}

/// Gives a branch up that no run has taken in; `None` when the unit is none of those.
pub(super) fn give_up(context: &Context, run: Option<&str>, unit: &str) -> Result<Option<Exit>, Failure> {
    if find(context, run, unit)?.is_none() {
        return Ok(None);
    }
    // Nobody takes it in between the look and the end of it.
    let _lock = added::lock(context)?;
    let Some(Brought {
        pipeline,
        wish,
        latest,
    }) = find(context, run, unit)?
    else {
        return Ok(None);
    };
    added::forget(context, &pipeline, &wish.unit)?;
    let branch = shell_words::quote(&wish.branch);
    println(&format!(
        "`{unit}` is forgotten, since no run had taken it in. The branch stays as it is; `pipeline queue add {branch}` brings it again."
    ));
    let file = latest.map(|latest| latest.frozen.file);
    println(&match file {
        Some(file) => format!("Next: pipeline run {}", shell_words::quote(&file)),
        None => "Next: pipeline run FILE".to_owned(),
    });
    Ok(Some(Exit::Done))
}

/// Only what is in line can be put in another place there.
pub(super) fn require_taken_in(context: &Context, run: Option<&str>, unit: &str) -> Result<(), Failure> {
    match find(context, run, unit)? {
        Some(brought) => Err(not_taken_in(unit, brought.latest.as_ref())),
        None => Ok(()),
    }
}

/// The failure of a verb that needs a run to have the unit.
pub(super) fn not_taken_in(unit: &str, latest: Option<&Reading>) -> Failure {
    let (said, file) = match latest {
        Some(latest) => (
            format!("run {} does not have it yet", latest.run),
            shell_words::quote(&latest.frozen.file).into_owned(),
        ),
        None => ("no run has taken it in yet".to_owned(), "FILE".to_owned()),
    };
    let message = format!("`{unit}` was brought by hand, and {said}");
    Failure::new(Exit::NoMatch, "no_unit", message).help(format!(
        "`pipeline run {file}` takes it in, then ask again; `pipeline cancel {unit}` forgets it"
    ))
}

/// The command that gives a unit up whose branch is gone, when a person brought it by hand.
pub(super) fn way_out(context: &Context, unit: &UnitId) -> Result<Option<String>, Failure> {
    let pipelines = added::pipelines_with(context, unit)?;
    let Some(pipeline) = pipelines.first() else {
        return Ok(None);
    };
    // A run that has it may have evicted it, and only `discard` ends that.
    let in_run = chosen_run(context, Some(pipeline))?.is_some_and(|run| run.unit(unit.as_str()).is_ok());
    let verb = if in_run { "discard" } else { "cancel" };
    let which = if pipelines.len() > 1 { " --run NAME" } else { "" };
    Ok(Some(format!("pipeline {verb} {unit}{which}")))
}
