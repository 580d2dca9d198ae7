//! `pipeline retry UNIT` and `pipeline discard UNIT`.

use super::RunChoice;
use super::context::Context;
use super::exit::Exit;
use super::failure::Failure;
use super::resolve;
use super::steer::write_wish;
use crate::run::UnitWish;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The unit
    unit: String,
    /// What to do differently; the author is told
    #[arg(short, long)]
    message: Option<String>,
    #[command(flatten)]
    choice: RunChoice,
}

#[derive(Debug, clap::Args)]
pub(super) struct DiscardArgs {
    /// The unit
    unit: String,
    #[command(flatten)]
    choice: RunChoice,
}

pub(super) fn perform(context: &Context, args: &Args) -> Result<Exit, Failure> {
    let reading = context.read_run(args.choice.run.as_deref())?;
    let unit = super::added::unit_of_run(context, &reading, &args.unit)?;
    super::branches::require(context, std::iter::once(reading.unit(unit.as_str())?))?;
    let told = format!("`{unit}` starts afresh.");
    let wish = UnitWish::Retry {
        note: args.message.clone(),
    };
    // What cannot be kept is told before anything is wished that could not be wished again.
    resolve::keep(context, &reading, &unit)?;
    let steering = write_wish(context, "retry", &reading, &unit, wish, &told)?;
    resolve::salvage_and_close(context, &reading, &unit)?;
    Ok(steering.tell_next())
}

pub(super) fn discard(context: &Context, args: &DiscardArgs) -> Result<Exit, Failure> {
    if let Some(exit) = super::brought::give_up(context, args.choice.run.as_deref(), &args.unit)? {
        return Ok(exit);
    }
    let reading = context.read_run(args.choice.run.as_deref())?;
    let unit = super::added::unit_of_run(context, &reading, &args.unit)?;
    let told = format!("`{unit}` is given up.");
    resolve::keep(context, &reading, &unit)?;
    let steering = write_wish(context, "discard", &reading, &unit, UnitWish::Discard, &told)?;
    resolve::salvage_and_close(context, &reading, &unit)?;
    Ok(steering.tell_next())
}
