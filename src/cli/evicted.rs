//! `pipeline evicted`: the units that need a person.

use serde_json::json;

use super::RunChoice;
use super::context::{Context, Screen, print, print_json};
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
    if !screen.json {
        print(&table::evicted(&reading.view));
        return Ok(Exit::Done);
    }
    let status = reading.view.to_status_json();
    let units: Vec<_> = status["units"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|unit| unit["state"] == "evicted")
        .cloned()
        .collect();
    print_json(&json!({"schema": 1, "run": reading.run, "units": units}));
    Ok(Exit::Done)
}
