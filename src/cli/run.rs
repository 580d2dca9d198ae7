//! `pipeline run FILE`: runs a pipeline file, or continues its run.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Runtime;
use tokio::sync::{mpsc, watch};

use super::choose::{
    Chosen, choose_run, refuse_filters, refuse_uncommitted_agents, target_of, tell_finished,
};
use super::context::{Context, Reading, Screen, load_file, require_valid, tell};
use super::exit::{Exit, Signal};
use super::failure::Failure;
use super::screen::RunScreen;
use super::steer::open_store;
use super::tools::{fingerprint, random, tools};
use crate::control::{self, Call, Listener};
use crate::engine::steer::add_units;
use crate::engine::{Engine, Observer, Options, rows_of};
use crate::event::{Event, Record, RunEvent, UnitEvent, UnitScoped};
use crate::id::{Oid, RunId, UnitId};
use crate::port::{Activity, Stop};
use crate::run::Frozen;
use crate::spec::{Land, Pipeline, Unit, Usd};
use crate::store::Store;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The pipeline file
    pub(super) file: PathBuf,
    /// Only these units, with what they need
    pub(super) units: Vec<String>,
    /// Show what would be done, and start nothing
    #[arg(long)]
    pub(super) dry_run: bool,
    /// Start over, even when the file's run is not finished
    #[arg(long)]
    pub(super) fresh: bool,
    /// The branch to land on, instead of the file's
    #[arg(long, value_name = "BRANCH")]
    pub(super) target: Option<String>,
    /// Where units land, instead of what the file says
    #[arg(long, value_name = "WHERE", value_enum)]
    pub(super) land: Option<LandFlag>,
    /// Attempts at once, instead of the file's
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) parallel: Option<u32>,
    /// Money for the run, instead of the file's
    #[arg(long, value_name = "DOLLARS")]
    pub(super) budget_usd: Option<f64>,
    /// Start no more work after this long, such as 45m
    #[arg(long, value_name = "DURATION")]
    pub(super) time_limit: Option<jiff::SignedDuration>,
    /// Go on even when the checks fail on the target itself
    #[arg(long)]
    pub(super) no_preflight: bool,
    /// Take the target as it is here, without fetching its upstream
    #[arg(long)]
    pub(super) no_fetch: bool,
    /// Print one event a line as JSON
    #[arg(long)]
    pub(super) json: bool,
}

/// Where units land.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum LandFlag {
    /// On the target itself
    Local,
    /// On a branch `pipeline/RUN` from the target, which you merge
    Branch,
}

impl LandFlag {
    fn land(self) -> Land {
        match self {
            Self::Local => Land::Local,
            Self::Branch => Land::Branch,
        }
    }
}

impl Args {
    /// Runs the file as it is.
    pub(super) fn of(file: &Path) -> Self {
        Self {
            file: file.to_owned(),
            units: Vec::new(),
            dry_run: false,
            fresh: false,
            target: None,
            land: None,
            parallel: None,
            budget_usd: None,
            time_limit: None,
            no_preflight: false,
            no_fetch: false,
            json: false,
        }
    }
}

pub(super) fn perform(context: &Context, args: &Args, screen: Screen) -> Result<Exit, Failure> {
    if args.dry_run {
        let plan = super::plan::Args {
            file: args.file.clone(),
            json: args.json,
            detailed_exitcode: false,
        };
        return super::plan::perform(&context.environment, &plan, screen);
    }
    let loaded = load_file(&context.environment, Some(&context.repository), &args.file)?;
    let frozen = require_valid(loaded, &args.file)?;
    let target = target_of(context, args, &frozen.pipeline)?;
    let mut store = open_store(context, "run")?;
    // Orphans of attempts must become children of this process, to be found and ended.
    crate::process::become_subreaper().map_err(|error| {
        Failure::new(
            Exit::Environment,
            "subreaper",
            format!("this system has no subreapers: {error}"),
        )
    })?;
    // Whatever a dead engine left works in nothing any more, and cannot speak for a person.
    end_orphans(context)?;
    // Until the run has the units that it begins with. Taken before anybody can call: who has it may be about to call.
    let brought = super::added::lock(context)?;
    let runtime = runtime()?;
    let (_socket, calls) = {
        let _runtime = runtime.enter();
        listen_to_callers(context)
    };
    let frozen = super::added::lay_over(context, frozen)?;
    super::fetch::finish(context)?;
    let chosen = choose_run(context, args, frozen, &target)?;
    let base = chosen.base_branch(&target).to_owned();
    let upstream = match chosen.pipeline() {
        Some(_) if !args.no_fetch => context.repository.upstream_of(&base)?,
        Some(_) | None => None,
    };
    if let Some(cut_off) = chosen.cut_off(upstream.is_some()) {
        store = settle_landing(context, &runtime, store, cut_off)?;
    }
    if let Some(upstream) = upstream {
        super::fetch::bring_target(context, &base, &upstream)?;
    }
    if let Some(pipeline) = chosen.pipeline() {
        refuse_filters(&context.repository, &base)?;
        refuse_uncommitted_agents(&context.repository, pipeline, &base)?;
    }
    let (run, frozen) = match chosen {
        Chosen::Finished(reading) => {
            // The engine that finished it may have been killed on its way out.
            remove_leftovers(context, &reading.frozen.pipeline);
            return Ok(tell_finished(&reading));
        }
        Chosen::Continue(reading) => (reading.run, reading.frozen),
        Chosen::Extend {
            reading,
            frozen,
            units,
        } => {
            let is_new = |unit: &&Unit| units.contains(&unit.id);
            super::branches::require(context, frozen.pipeline.units.iter().filter(is_new))?;
            let now = super::context::clock().now();
            add_units(&mut store, &reading.run, now, units, &frozen)?;
            (reading.run, *frozen)
        }
        Chosen::Start { frozen, kept, .. } => {
            let land = args.land.map_or(frozen.pipeline.land, LandFlag::land);
            let run = start(context, &mut store, &frozen, (&target, land), kept)?;
            (run, *frozen)
        }
    };
    drop(brought);
    drive(context, args, screen, (runtime, calls), store, run, &frozen)
}

/// Takes an earlier run up and lets go of it again: that settles a landing it was cut off in.
fn settle_landing(
    context: &Context,
    runtime: &Runtime,
    store: Store,
    earlier: &Reading,
) -> Result<Store, Failure> {
    let pipeline = Arc::new(earlier.frozen.pipeline.clone());
    let tools = Arc::new(tools(context, &pipeline, &earlier.frozen.file, &earlier.run)?);
    let environment = fingerprint(&pipeline);
    let settle = async {
        let observer = Box::new(NotesOnly);
        let run = earlier.run.clone();
        Engine::take_up(
            run,
            pipeline,
            environment,
            store,
            tools,
            Options::default(),
            observer,
        )
        .await?
        .release()
    };
    Ok(runtime.block_on(settle)?)
}

/// Tells notes and nothing else.
struct NotesOnly;

impl Observer for NotesOnly {
    fn replayed(&mut self, _: &Record) {}
    fn recorded(&mut self, _: &Record) {}
    fn activity(&mut self, _: &Activity) {}
    fn grown(&mut self, _: &Pipeline) {}
    fn note(&mut self, text: &str) {
        tell(text);
    }
}

/// Two threads are enough: the work is done by other processes.
fn runtime() -> Result<Runtime, Failure> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| {
            Failure::new(
                Exit::Environment,
                "threads",
                format!("cannot start threads: {error}"),
            )
        })
}

/// Writes the first events of a new run.
fn start(
    context: &Context,
    store: &mut Store,
    frozen: &Frozen,
    (target, land): (&str, Land),
    kept: Vec<(UnitId, Oid, RunId)>,
) -> Result<RunId, Failure> {
    super::branches::require(context, frozen.pipeline.units.iter())?;
    let now = super::context::clock().now();
    let run = next_run_id(context, now)?;
    let text = frozen.text();
    let base = context.repository.tip(target)?.ok_or_else(|| {
        Failure::new(
            Exit::Environment,
            "no_target",
            format!("the branch `{target}` went away"),
        )
    })?;
    let started = Event::Run(RunEvent::RunStarted {
        format: crate::event::FORMAT,
        run: run.clone(),
        name: frozen.pipeline.name.clone(),
        file: frozen.file.clone(),
        target: match land {
            Land::Local => target.to_owned(),
            Land::Branch => format!("pipeline/{run}"),
        },
        meant_for: match land {
            Land::Local => None,
            Land::Branch => Some(target.to_owned()),
        },
        base,
        frozen: frozen.hash(),
    });
    let keep = |(unit, commit, from): (UnitId, Oid, RunId)| {
        Event::Unit(UnitScoped {
            unit,
            what: UnitEvent::UnitKept { commit, from },
        })
    };
    let events: Vec<Event> = std::iter::once(started)
        .chain(kept.into_iter().map(keep))
        .collect();
    store.start_run(&run, text.as_bytes(), now, &events, &rows_of(&events))?;
    Ok(run)
}

/// A new id that sorts after every other, also after one of the same second.
fn next_run_id(context: &Context, now: jiff::Timestamp) -> Result<RunId, Failure> {
    let id = RunId::new(now, random()?);
    match context.runs()?.last() {
        Some(last) if *last >= id => Ok(last.successor()),
        Some(_) | None => Ok(id),
    }
}

/// Takes the run up and drives it until it is finished or stopped.
fn drive(
    context: &Context,
    args: &Args,
    screen: Screen,
    (runtime, calls): (Runtime, mpsc::Receiver<Call>),
    store: Store,
    run: RunId,
    frozen: &Frozen,
) -> Result<Exit, Failure> {
    let pipeline = Arc::new(with_flags(frozen.pipeline.clone(), args)?);
    let only = wanted_units(&pipeline, &args.units)?.map(Arc::new);
    let tools = Arc::new(tools(context, &pipeline, &frozen.file, &run)?);
    let options = Options {
        skip_preflight: args.no_preflight,
        only,
        time_limit: args.time_limit.and_then(|limit| Duration::try_from(limit).ok()),
    };
    let environment = fingerprint(&pipeline);
    let observer = RunScreen::new(context, &run, &pipeline, screen);
    let shared = observer.shared();
    let cause = runtime.block_on(async {
        let mut engine = Engine::take_up(
            run,
            Arc::clone(&pipeline),
            environment,
            store,
            tools,
            options,
            Box::new(observer),
        )
        .await?;
        engine.listen_to(calls);
        // The engine has taken over what could be; what is left now is nobody's.
        remove_leftovers(context, &pipeline);
        let (sender, receiver) = watch::channel(Stop::No);
        let signals = tokio::spawn(listen(sender));
        let ticks = tokio::spawn(super::screen::tick(shared.clone()));
        let result = engine.run(receiver).await;
        signals.abort();
        ticks.abort();
        result.map_err(Failure::from)
    })?;
    let exit = Exit::of_run(cause, shared.needs_person(), super::screen::signal());
    shared.finish(cause, &args.file, exit);
    Ok(exit)
}

/// Opens the control socket. A run goes on without one: then it can be stopped and not be steered.
fn listen_to_callers(context: &Context) -> (Option<Listener>, mpsc::Receiver<Call>) {
    match control::listen(&context.control_place()) {
        Ok((listener, calls)) => (Some(listener), calls),
        Err(error) => {
            tell(&format!(
                "no control socket, so nothing can be changed while this run goes on: {error}"
            ));
            (None, mpsc::channel(1).1)
        }
    }
}

/// Ends the processes of attempts that an engine that died may have left. Before that, nothing they work in is at rest.
fn end_orphans(context: &Context) -> Result<(), Failure> {
    let runs = context.runs()?;
    let is_ours = |marker: &str| runs.iter().any(|run| marker.starts_with(&format!("{run}:")));
    for orphan in crate::process::sweep_orphans(&is_ours) {
        tell(&format!(
            "process {} of an attempt had outlived its engine and was ended",
            orphan.pid
        ));
    }
    Ok(())
}

/// Removes the places of attempts that nobody owns, and keeps the unfinished work in them.
fn remove_leftovers(context: &Context, pipeline: &Pipeline) {
    for found in super::clean::leftovers(context, Some(pipeline), false) {
        if let Some(name) = &found.kept {
            tell(&format!(
                "unfinished work of {} is kept as {name}",
                found.path.display()
            ));
        }
        if let Some(why) = &found.failure {
            tell(&format!("{} could not be removed: {why}", found.path.display()));
        }
    }
}

/// Turns signals into wishes to stop: the first gently, the second at once. SIGHUP is ignored: a closed terminal
/// detaches and never kills.
async fn listen(sender: watch::Sender<Stop>) -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut interrupts = signal(SignalKind::interrupt())?;
    let mut terminations = signal(SignalKind::terminate())?;
    let mut hangups = signal(SignalKind::hangup())?;
    loop {
        let arrived = tokio::select! {
            _ = interrupts.recv() => Signal::Interrupt,
            _ = terminations.recv() => Signal::Terminate,
            _ = hangups.recv() => continue,
        };
        super::screen::remember_signal(arrived);
        let again = *sender.borrow() != Stop::No;
        sender.send_replace(if again { Stop::AtOnce } else { Stop::Gently });
    }
}

/// What the command line sets for this invocation only. The frozen file stays as it is.
fn with_flags(mut pipeline: Pipeline, args: &Args) -> Result<Pipeline, Failure> {
    if let Some(parallel) = args.parallel {
        pipeline.limits.parallel = parallel;
    }
    if let Some(dollars) = args.budget_usd {
        let budget = Usd::from_dollars(dollars).ok_or_else(|| {
            Failure::new(
                Exit::Usage,
                "budget",
                format!("`--budget-usd {dollars}` is no amount of dollars"),
            )
        })?;
        pipeline.limits.budget = Some(budget);
    }
    Ok(pipeline)
}

/// The named units with everything they need; `None` when none is named.
fn wanted_units(pipeline: &Pipeline, names: &[String]) -> Result<Option<BTreeSet<UnitId>>, Failure> {
    if names.is_empty() {
        return Ok(None);
    }
    let by_id: BTreeMap<&str, &Unit> = pipeline
        .units
        .iter()
        .map(|unit| (unit.id.as_str(), unit))
        .collect();
    let mut open = Vec::new();
    for name in names {
        let unit = by_id.get(name.as_str()).ok_or_else(|| {
            Failure::new(Exit::NoMatch, "no_unit", format!("the file has no unit `{name}`"))
                .help("name units by their id, the key below `units:`")
        })?;
        open.push(*unit);
    }
    let mut wanted = BTreeSet::new();
    while let Some(unit) = open.pop() {
        if wanted.insert(unit.id.clone()) {
            open.extend(unit.needs.iter().map(|need| by_id[need.as_str()]));
        }
    }
    Ok(Some(wanted))
}

/// The command that goes on with a run.
pub(super) fn resume_command(file: &Path) -> String {
    format!("pipeline run {}", file.display())
}
