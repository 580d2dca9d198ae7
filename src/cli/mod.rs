//! The command line: one file a verb.
//!
//! A verb reads what it needs through [`context::Context`], and either prints and returns an [`Exit`], or returns
//! a [`Failure`], which is shown here and nowhere else.

mod added;
mod branches;
mod brought;
mod bundle;
mod choose;
mod clean;
pub mod context;
mod demo;
mod diff;
mod doctor;
mod evicted;
pub mod exit;
mod expire;
pub mod failure;
mod fetch;
mod follow;
mod gate;
mod graph;
mod init;
mod logs;
mod pause;
mod plan;
mod queue;
mod queue_add;
mod repair;
mod resolve;
mod restore;
mod retry;
mod run;
mod runs;
mod screen;
mod show;
mod status;
mod steer;
mod strict;
mod tools;
mod validate;
mod why;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand, ValueEnum};

use context::{Context, Environment, Screen};
use exit::Exit;
use failure::Failure;

/// Drives units of work through implement, review, fix and approve, and lands them through a merge queue that
/// verifies exactly what it lands.
#[derive(Debug, Parser)]
#[command(
    name = "pipeline",
    version,
    propagate_version = true,
    arg_required_else_help = true
)]
#[command(after_help = "Start with `pipeline demo`, or with `pipeline init` in a repository of yours.")]
pub struct Cli {
    /// When to use colour
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    color: ColorChoice,
    #[command(subcommand)]
    verb: Verb,
}

/// When to use colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ColorChoice {
    /// On a terminal, unless `NO_COLOR` is set
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Write a commented pipeline file for this repository
    Init(init::Args),
    /// Report every problem of pipeline files
    Validate(validate::Args),
    /// Print the JSON Schema of the pipeline file
    Schema,
    /// Tell more about a diagnostic or reason code
    Explain(validate::ExplainArgs),
    /// Show what a run would do, and start nothing
    Plan(plan::Args),
    /// Draw the units and what they need
    Graph(graph::Args),
    /// Run a pipeline file, or continue its run
    Run(run::Args),
    /// List the runs of this repository
    Runs(runs::Args),
    /// Show where every unit is
    Status(status::Args),
    /// Show the merge queue, or change it by hand
    Queue(queue::Args),
    /// Print the output of a unit's attempts
    Logs(logs::Args),
    /// Show everything about a unit
    Show(show::Args),
    /// Tell why a unit is where it is, and what it waits for
    Why(why::Args),
    /// Show the change of a unit
    Diff(diff::Args),
    /// List the units that need a person
    Evicted(evicted::Args),
    /// Repair an evicted unit by hand
    Resolve(resolve::Args),
    /// Let a unit be done afresh
    Retry(retry::Args),
    /// Give a unit up
    Discard(retry::DiscardArgs),
    /// Take a unit out of the run
    Cancel(pause::CancelArgs),
    /// Start and land nothing until the run is resumed
    Pause(pause::Args),
    /// Lift a pause
    Resume(pause::Args),
    /// Let a unit pass its gate
    Approve(gate::ApproveArgs),
    /// Do not let a unit pass its gate
    Reject(gate::RejectArgs),
    /// Remove what no live unit owns
    Clean(clean::Args),
    /// Check git, the agents and the repository's state
    Doctor(doctor::Args),
    /// Make a scratch repository and run a small pipeline in it
    Demo(demo::Args),
    /// Print completions for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Supervise one process; for the program's own use
    #[command(name = "__supervise", hide = true)]
    Supervise {
        /// What to run
        spec: PathBuf,
    },
}

/// Which run a verb is about.
#[derive(Debug, clap::Args)]
pub(crate) struct RunChoice {
    /// The run, by name or id [default: the latest]
    #[arg(long, value_name = "NAME|ID")]
    run: Option<String>,
}

/// The command line as clap knows it, for the reference and the completions.
pub fn command() -> clap::Command {
    <Cli as clap::CommandFactory>::command()
}

/// Parses the command line, carries it out and says how the program ends.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are no errors, and a reader that went away is nobody's.
            drop(error.print());
            return ExitCode::from(if error.use_stderr() {
                Exit::Usage.code()
            } else {
                Exit::Done.code()
            });
        }
    };
    if let Verb::Supervise { spec } = &cli.verb {
        return crate::process::supervise_main(spec);
    }
    let exit = match perform(cli) {
        Ok(exit) => exit,
        Err(failure) => {
            for diagnostic in failure.diagnostics() {
                context::draw(diagnostic.clone());
            }
            let exit = failure.exit;
            context::draw(failure);
            exit
        }
    };
    ExitCode::from(exit.code())
}

fn perform(cli: Cli) -> Result<Exit, Failure> {
    let environment = Environment::read()?;
    #[cfg(debug_assertions)]
    if let Some(text) = environment.var(crate::fault::VARIABLE) {
        let refused = |why| Failure::new(Exit::Usage, "fault", why);
        crate::fault::arm(text).map_err(refused)?;
    }
    let screen = |json: bool| Screen::new(&environment, cli.color, json);
    set_error_style(screen(false));
    let here = || Context::discover(environment.clone());
    match cli.verb {
        Verb::Init(args) => init::perform(&here()?, &args),
        Verb::Validate(args) => validate::perform(&environment, &args),
        Verb::Schema => {
            context::print_json(&crate::spec::schema());
            Ok(Exit::Done)
        }
        Verb::Explain(args) => validate::explain(&args),
        Verb::Plan(args) => plan::perform(&environment, &args, screen(args.json)),
        Verb::Graph(args) => graph::perform(&environment, &args, screen(false)),
        Verb::Run(args) => run::perform(&here()?, &args, screen(args.json)),
        Verb::Runs(args) => runs::perform(&here()?, screen(args.json)),
        Verb::Status(args) => status::perform(&here()?, &args, screen(args.json)),
        Verb::Queue(args) => queue::perform(&here()?, &args, screen(args.json)),
        Verb::Logs(args) => logs::perform(&here()?, &args),
        Verb::Show(args) => show::perform(&here()?, &args, screen(args.json)),
        Verb::Why(args) => why::perform(&here()?, &args, screen(args.json)),
        Verb::Diff(args) => diff::perform(&here()?, &args),
        Verb::Evicted(args) => evicted::perform(&here()?, &args, screen(args.json)),
        Verb::Resolve(args) => resolve::perform(&here()?, &args),
        Verb::Retry(args) => retry::perform(&here()?, &args),
        Verb::Discard(args) => retry::discard(&here()?, &args),
        Verb::Cancel(args) => pause::cancel(&here()?, &args),
        Verb::Pause(args) => pause::pause(&here()?, &args),
        Verb::Resume(args) => pause::resume(&here()?, &args),
        Verb::Approve(args) => gate::approve(&here()?, &args),
        Verb::Reject(args) => gate::reject(&here()?, &args),
        Verb::Clean(args) => clean::perform(&here()?, &args, screen(args.json)),
        Verb::Doctor(args) => doctor::perform(&environment, &args, screen(args.json)),
        Verb::Demo(args) => demo::perform(&environment, &args, screen(false)),
        Verb::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut command(), "pipeline", &mut script);
            context::print(&String::from_utf8_lossy(&script));
            Ok(Exit::Done)
        }
        Verb::Supervise { .. } => Ok(Exit::Done),
    }
}

/// Errors are drawn as wide and as colourful as everything else.
fn set_error_style(screen: Screen) {
    let hook = miette::set_hook(Box::new(move |_| {
        let options = miette::MietteHandlerOpts::new()
            .color(screen.style.color)
            .unicode(screen.style.unicode);
        Box::new(options.width(screen.style.width.clamp(40, 120)).build())
    }));
    // Only the first hook counts; a second call cannot happen in one process.
    drop(hook);
}
