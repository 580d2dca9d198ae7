//! `pipeline why UNIT`: why a unit is where it is, and what it waits for, from the event log.

use super::RunChoice;
use super::context::{Context, Screen, print, print_json};
use super::exit::Exit;
use super::failure::Failure;
use crate::report::history::history;
use crate::report::why::Answer;
use crate::run::order::Order;
use crate::run::rivals;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The unit
    unit: String,
    #[command(flatten)]
    choice: RunChoice,
    /// Print JSON
    #[arg(long)]
    pub(super) json: bool,
}

pub(super) fn perform(context: &Context, args: &Args, screen: Screen) -> Result<Exit, Failure> {
    let reading = context.read_run(args.choice.run.as_deref())?;
    let id = super::added::unit_of_run(context, &reading, &args.unit)?;
    let unit = reading.view.unit(&id).expect("a unit of the pipeline has a row");
    let order = Order::new(&reading.frozen.pipeline);
    let standing = reading.view.standing(unit, order.after(&id));
    let rivals = rivals(&reading.frozen.pipeline, &id);
    let answer = Answer {
        unit,
        view: &reading.view,
        standing: &reading.view.with_holders(standing, &rivals),
        eta_ms: super::queue::eta_of(context, &reading, &id),
        told: &history(&reading.frozen.pipeline, &reading.records, &id),
    };
    if screen.json {
        print_json(&answer.to_json());
    } else {
        print(&answer.to_text(screen.style));
    }
    Ok(Exit::Done)
}
