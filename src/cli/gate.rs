//! `pipeline approve UNIT` and `pipeline reject UNIT`: a person decides at a gate.

use super::RunChoice;
use super::context::Context;
use super::exit::Exit;
use super::failure::Failure;
use super::steer::write_wish;
use crate::run::UnitWish;

#[derive(Debug, clap::Args)]
pub(super) struct ApproveArgs {
    /// The unit
    unit: String,
    #[command(flatten)]
    choice: RunChoice,
}

#[derive(Debug, clap::Args)]
pub(super) struct RejectArgs {
    /// The unit
    unit: String,
    /// Why; the author is told
    #[arg(short, long)]
    message: String,
    #[command(flatten)]
    choice: RunChoice,
}

pub(super) fn approve(context: &Context, args: &ApproveArgs) -> Result<Exit, Failure> {
    let reading = context.read_run(args.choice.run.as_deref())?;
    let unit = super::added::unit_of_run(context, &reading, &args.unit)?;
    let told = format!("`{unit}` is approved.");
    Ok(write_wish(context, "approve", &reading, &unit, UnitWish::Approve, &told)?.tell_next())
}

pub(super) fn reject(context: &Context, args: &RejectArgs) -> Result<Exit, Failure> {
    let reading = context.read_run(args.choice.run.as_deref())?;
    let unit = super::added::unit_of_run(context, &reading, &args.unit)?;
    let told = format!("`{unit}` is rejected.");
    let message = args.message.clone();
    let wish = UnitWish::Reject { message };
    Ok(write_wish(context, "reject", &reading, &unit, wish, &told)?.tell_next())
}
