//! `pipeline queue`: the merge queue, and the verbs that change it by hand.

use serde_json::{Value, json};

use super::RunChoice;
use super::added::{self, Wish};
use super::context::{Context, Reading, Screen, clock, print, print_json, println};
use super::exit::Exit;
use super::failure::Failure;
use super::steer::Steering;
use crate::event::{Hold, QueueEvent};
use crate::id::{RunId, UnitId};
use crate::queue::Status;
use crate::report::queue::{Forecast, table, to_json};
use crate::report::text::one_line;
use crate::run::QueueWish;
use crate::view::{History, forecast};

/// The most journals that are read for how long verifications took.
const RUNS_READ_MAX: usize = 5;
/// Longest name of a branch that is shown, in characters.
const BRANCH_CHARS_MAX: usize = 120;

#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct Args {
    #[command(subcommand)]
    action: Option<Action>,
    #[command(flatten)]
    choice: RunChoice,
    /// Print JSON
    #[arg(long)]
    pub(super) json: bool,
}

/// What is done to the queue.
#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Bring a branch, a person's too, into the queue of a run
    Add(super::queue_add::Args),
    /// Let a unit in the queue go next; what is being verified goes on
    Top(TopArgs),
    /// Land nothing of a priority below a number, until the freeze is lifted
    Freeze(FreezeArgs),
}

#[derive(Debug, clap::Args)]
struct TopArgs {
    /// The unit
    unit: String,
    /// Break off the verifications before it; they are repeated behind it, free of charge
    #[arg(long)]
    interrupt: bool,
    #[command(flatten)]
    choice: RunChoice,
}

#[derive(Debug, clap::Args)]
struct FreezeArgs {
    /// The lowest priority that still lands
    #[arg(
        long,
        value_name = "PRIORITY",
        allow_negative_numbers = true,
        value_parser = priority,
        required_unless_present = "off"
    )]
    below: Option<i64>,
    /// Lift the freeze
    #[arg(long, conflicts_with = "below")]
    off: bool,
    #[command(flatten)]
    choice: RunChoice,
}

/// A priority as units have it in the pipeline file.
fn priority(text: &str) -> Result<i64, String> {
    text.parse()
        .map_err(|_| "a priority is a whole number, as `priority` of a unit in the pipeline file".to_owned())
}

pub(super) fn perform(context: &Context, args: &Args, screen: Screen) -> Result<Exit, Failure> {
    match &args.action {
        Some(Action::Add(add)) => super::queue_add::perform(context, add),
        Some(Action::Top(top)) => put_on_top(context, top),
        Some(Action::Freeze(freeze)) => perform_freeze(context, freeze),
        None => list(context, args, screen),
    }
}

fn put_on_top(context: &Context, args: &TopArgs) -> Result<Exit, Failure> {
    super::brought::require_taken_in(context, args.choice.run.as_deref(), &args.unit)?;
    let reading = context.read_run(args.choice.run.as_deref())?;
    let unit = super::added::unit_of_run(context, &reading, &args.unit)?;
    let mut steering = Steering::open(context, "queue top", &reading)?;
    let below = reading.view.queue().frozen_below();
    let wish = QueueWish::Top {
        unit: unit.clone(),
        interrupt: args.interrupt,
    };
    let told = match steering.write_queue(wish)? {
        Some(QueueEvent::EntryRaised { priority, .. }) => {
            let passes = match below {
                Some(below) if priority >= below => format!(", past the freeze below {below}"),
                Some(_) | None => String::new(),
            };
            format!("`{unit}` goes next, with priority {priority}{passes}.")
        }
        Some(_) | None => format!("`{unit}` is the next already."),
    };
    println(&told);
    Ok(steering.tell_next())
}

fn perform_freeze(context: &Context, args: &FreezeArgs) -> Result<Exit, Failure> {
    let reading = context.read_run(args.choice.run.as_deref())?;
    let mut steering = Steering::open(context, "queue freeze", &reading)?;
    let Some(below) = args.below else {
        let told = match steering.write_queue(QueueWish::Thaw)? {
            Some(_) => "The freeze is lifted.",
            None => "The queue is not frozen.",
        };
        println(told);
        return Ok(steering.tell_next());
    };
    let written = steering.write_queue(QueueWish::Freeze { below })?;
    let already = if written.is_some() { "" } else { " already" };
    let entries = context.read(&reading.run)?.view.queue().entries();
    let held = entries
        .iter()
        .filter(|entry| entry.status == Status::Held(Hold::Frozen { below }));
    let held: Vec<String> = held.map(|entry| format!("`{}`", entry.unit)).collect();
    let whom = if held.is_empty() {
        "no unit in it is below that now".to_owned()
    } else {
        format!("it holds {}", held.join(", "))
    };
    println(&format!(
        "The queue is frozen below priority {below}{already}; {whom}."
    ));
    println("`pipeline queue freeze --off` lifts the freeze.");
    Ok(steering.tell_next())
}

fn list(context: &Context, args: &Args, screen: Screen) -> Result<Exit, Failure> {
    let reading = context.read_run(args.choice.run.as_deref())?;
    let forecast = foresee(context, &reading);
    // A run that was named may have been followed by the one that took them in.
    let brought = match args.choice.run {
        Some(_) => Vec::new(),
        None => added::not_in_run(context, &reading)?,
    };
    if screen.json {
        let mut told = to_json(&reading.view, &forecast);
        told["brought"] = brought.iter().map(brought_json).collect();
        print_json(&told);
        return Ok(Exit::Done);
    }
    print(&table(&reading.view, &forecast, screen.style, clock().now()));
    if !brought.is_empty() {
        let names: Vec<String> = brought
            .iter()
            .map(|wish| format!("`{}`", one_line(&wish.branch, BRANCH_CHARS_MAX)))
            .collect();
        println(&format!(
            "`pipeline run {}` takes in what was brought by hand: {}.",
            reading.frozen.file,
            names.join(", ")
        ));
    }
    Ok(Exit::Done)
}

/// A branch that was brought by hand and that the run does not have yet.
fn brought_json(wish: &Wish) -> Value {
    json!({"unit": wish.unit, "branch": wish.branch, "review": wish.review})
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

/// In how many milliseconds a unit may land, where that can be said.
pub(super) fn eta_of(context: &Context, reading: &Reading, unit: &UnitId) -> Option<u64> {
    reading.view.queue().generation_in_line(unit)?;
    foresee(context, reading).lands_in_ms.get(unit).copied().flatten()
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
        let is_same = other.view.run.named_target() == reading.view.run.named_target();
        let counts = is_same && !history.is_empty();
        counts.then_some((other.run, history))
    })
}
