//! `pipeline pause`, `pipeline resume` and `pipeline cancel UNIT`: a run is held up, goes on, or leaves a unit out.

use super::RunChoice;
use super::context::{Context, Reading, println};
use super::exit::Exit;
use super::failure::Failure;
use super::steer::{Steering, write_wish};
use crate::dag::UnitGraph;
use crate::id::UnitId;
use crate::run::{QueueWish, UnitWish};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    choice: RunChoice,
}

#[derive(Debug, clap::Args)]
pub(super) struct CancelArgs {
    /// The unit
    unit: String,
    #[command(flatten)]
    choice: RunChoice,
}

pub(super) fn pause(context: &Context, args: &Args) -> Result<Exit, Failure> {
    let reading = context.read_run(args.choice.run.as_deref())?;
    let mut steering = Steering::open(context, "pause", &reading)?;
    let written = steering.write_queue(QueueWish::Pause)?;
    let already = if written.is_some() { "" } else { " already" };
    let who = if steering.is_live() {
        "what is under way comes to its end, and nothing more starts or lands".to_owned()
    } else {
        format!("`pipeline run {}` starts and lands nothing", reading.frozen.file)
    };
    println(&format!(
        "Run {} is paused{already}: {who}.\nNext: pipeline resume",
        reading.run
    ));
    Ok(Exit::Done)
}

pub(super) fn resume(context: &Context, args: &Args) -> Result<Exit, Failure> {
    let reading = context.read_run(args.choice.run.as_deref())?;
    let mut steering = Steering::open(context, "resume", &reading)?;
    let written = steering.write_queue(QueueWish::Resume)?;
    println(&match written {
        Some(_) => format!("Run {} is not paused any more.", reading.run),
        None => format!("Run {} is not paused.", reading.run),
    });
    Ok(steering.tell_next())
}

pub(super) fn cancel(context: &Context, args: &CancelArgs) -> Result<Exit, Failure> {
    if let Some(exit) = super::brought::give_up(context, args.choice.run.as_deref(), &args.unit)? {
        return Ok(exit);
    }
    let reading = context.read_run(args.choice.run.as_deref())?;
    let unit = super::added::unit_of_run(context, &reading, &args.unit)?;
    let mut told = format!("`{unit}` is cancelled; `pipeline retry {unit}` brings it back.");
    let waiting = waiting_for(&reading, &unit);
    if !waiting.is_empty() {
        told.push_str(&format!("\nWhat needs it waits in vain: {}.", waiting.join(", ")));
    }
    Ok(write_wish(context, "cancel", &reading, &unit, UnitWish::Cancel, &told)?.tell_next())
}

/// The units that need this one, at first or second hand, and have not ended.
fn waiting_for(reading: &Reading, unit: &UnitId) -> Vec<String> {
    let waits = |id: &UnitId| reading.view.unit(id).is_some_and(|unit| !unit.state.has_ended());
    let dependents = UnitGraph::new(&reading.frozen.pipeline.units, &[]).dependents(unit);
    let waiting = dependents.iter().filter(|id| waits(id));
    waiting.map(|id| format!("`{id}`")).collect()
}
