//! `pipeline runs`: the runs of this repository.

use serde_json::json;

use super::context::{Context, Reading, Screen, print, print_json};
use super::exit::Exit;
use super::failure::Failure;
use crate::report::table;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Print JSON
    #[arg(long)]
    pub(super) json: bool,
}

pub(super) fn perform(context: &Context, screen: Screen) -> Result<Exit, Failure> {
    let readings = context
        .runs()?
        .iter()
        .map(|run| context.read(run))
        .collect::<Result<Vec<_>, _>>()?;
    if screen.json {
        let runs: Vec<_> = readings
            .iter()
            .map(|reading| reading.view.to_status_json()["run"].clone())
            .collect();
        print_json(&json!({"schema": 1, "runs": runs}));
    } else {
        let row = |reading: &Reading| {
            let counts = &reading.view.counts;
            (reading.view.run.clone(), counts.done(), counts.total())
        };
        print(&table::runs(&readings.iter().map(row).collect::<Vec<_>>()));
    }
    Ok(Exit::Done)
}
