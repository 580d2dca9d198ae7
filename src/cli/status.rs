//! `pipeline status`: the units × stages table.

use super::RunChoice;
use super::context::{Context, Screen, clock, print, print_json};
use super::exit::Exit;
use super::failure::Failure;
use crate::report::table;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    choice: RunChoice,
    /// Print JSON
    #[arg(long)]
    pub(super) json: bool,
}

pub(super) fn perform(context: &Context, args: &Args, screen: Screen) -> Result<Exit, Failure> {
    let reading = context.read_run(args.choice.run.as_deref())?;
    if screen.json {
        print_json(&reading.view.to_status_json());
    } else {
        print(&table::status(&reading.view, screen.style, clock().now()));
    }
    Ok(Exit::Done)
}
