//! `pipeline queue`: the merge queue, and the verbs that change it by hand.

use super::RunChoice;
use super::context::{Context, Reading, Screen, clock, print, print_json};
use super::exit::Exit;
use super::failure::Failure;
use crate::id::RunId;
use crate::report::queue::{Forecast, table, to_json};
use crate::view::{History, forecast};

/// The most journals that are read for how long verifications took.
const RUNS_READ_MAX: usize = 5;

#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct Args {
    #[command(flatten)]
    choice: RunChoice,
    /// Print JSON
    #[arg(long)]
    pub(super) json: bool,
}

pub(super) fn perform(context: &Context, args: &Args, screen: Screen) -> Result<Exit, Failure> {
    let reading = context.read_run(args.choice.run.as_deref())?;
    let forecast = foresee(context, &reading);
    if screen.json {
        print_json(&to_json(&reading.view, &forecast));
    } else {
        print(&table(&reading.view, &forecast, screen.style));
    }
    Ok(Exit::Done)
}

/// When the entries may land, by the verifications of this run, or else of the latest earlier one on the same target.
fn foresee(context: &Context, reading: &Reading) -> Forecast {
    let own = History::of(&reading.records);
    let earlier = if own.is_empty() {
        history_before(context, reading)
    } else {
        None
    };
    let (history, of_run) = match earlier {
        Some((run, history)) => (history.beside(&own), Some(run.to_string())),
        None => (own, None),
    };
    Forecast {
        lands_in_ms: forecast(reading.view.queue(), &history, clock().now()),
        verifications: history.len(),
        median_ms: history.median_ms(),
        of_run,
    }
}

/// The verifications of the latest earlier run on the same target that has any. A run that cannot be read has none.
fn history_before(context: &Context, reading: &Reading) -> Option<(RunId, History)> {
    let runs = context.runs().ok()?;
    let others = runs.iter().rev().filter(|run| **run != reading.run);
    let mut others = others
        .take(RUNS_READ_MAX)
        .filter_map(|run| context.read(run).ok());
    others.find_map(|other| {
        let history = History::of(&other.records);
        let counts = other.view.run.target == reading.view.run.target && !history.is_empty();
        counts.then_some((other.run, history))
    })
}
