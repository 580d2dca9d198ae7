//! `pipeline pause`, `pipeline resume` and `pipeline cancel UNIT`: a run is held up, goes on, or leaves a unit out.

use super::RunChoice;
use super::context::{Context, println};
use super::exit::Exit;
use super::failure::Failure;
use super::steer::{open_desk, tell_next, write_wish};
use crate::engine::steer::{QueueWish, Wish};
use crate::id::UnitId;
use crate::view::View;

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
    let written = open_desk(context, "pause", &reading)?.write_queue(QueueWish::Pause)?;
    let already = if written.is_some() { "" } else { " already" };
    println(&format!(
        "Run {} is paused{already}: `pipeline run {}` starts and lands nothing.\nNext: pipeline resume",
        reading.run, reading.frozen.file
    ));
    Ok(Exit::Done)
}

pub(super) fn resume(context: &Context, args: &Args) -> Result<Exit, Failure> {
    let reading = context.read_run(args.choice.run.as_deref())?;
    let written = open_desk(context, "resume", &reading)?.write_queue(QueueWish::Resume)?;
    println(&match written {
        Some(_) => format!("Run {} is not paused any more.", reading.run),
        None => format!("Run {} is not paused.", reading.run),
    });
    Ok(tell_next(&reading))
}

pub(super) fn cancel(context: &Context, args: &CancelArgs) -> Result<Exit, Failure> {
    let reading = context.read_run(args.choice.run.as_deref())?;
    let unit = reading.unit_id(&args.unit)?;
    let mut told = format!("`{unit}` is cancelled; `pipeline retry {unit}` brings it back.");
    let waiting = waiting_for(&reading.view, &unit);
    if !waiting.is_empty() {
        told.push_str(&format!("\nWhat needs it waits in vain: {}.", waiting.join(", ")));
    }
    write_wish(context, "cancel", &reading, &unit, Wish::Cancel, &told)?;
    Ok(tell_next(&reading))
}

/// The units that need this one, at first or second hand, and have not ended.
fn waiting_for(view: &View, unit: &UnitId) -> Vec<String> {
    let mut gone = vec![unit.clone()];
    // A unit may stand in the file before those it needs.
    loop {
        let lost = view.units.iter().find(|other| {
            !other.state.has_ended()
                && !gone.contains(&other.id)
                && other.needs.iter().any(|need| gone.contains(need))
        });
        match lost {
            Some(lost) => gone.push(lost.id.clone()),
            None => return gone[1..].iter().map(|id| format!("`{id}`")).collect(),
        }
    }
}
