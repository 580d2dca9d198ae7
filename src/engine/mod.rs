//! The one process that owns a repository's store while it runs.
//!
//! One dispatcher task owns the state of the run. It receives what happened, asks the pure core what follows,
//! writes the decision down, and only then acts (`dispatch.rs`). Attempts run beside it as tasks of their own
//! and hand back one event each; they never touch the state. So events have one order, the journal's.
//!
//! **Architecture Invariant:** nothing outside this module writes a run's state, and nothing is shown before it
//! is in the journal.

mod attempt;
pub mod control;
mod dispatch;
mod intake;
mod interpret;
mod landing;
mod panics;
mod radar;
pub mod rebuild;
mod records;
mod recovery;
mod resolution;
pub mod steer;
mod verify;

pub use interpret::LandedChanges;
pub use records::{missing_records, stale_records};
pub use recovery::rows_of;
pub use verify::verify_key;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use crate::agent::{self, Templates};
use crate::control::Call;
use crate::event::{Event, Record, RunEvent, StopCause, UnitEvent, UnitScoped};
use crate::git::{self, Identity, Repository};
use crate::id::{NameError, Oid, RunId, UnitId};
use crate::port::{Activity, Clock, Launcher, Stop};
use crate::run::{IllegalEvent, State};
use crate::spec::Pipeline;
use crate::store::{Store, StoreError};

/// Everything the engine works with. One value per process, shared by every attempt.
pub struct Tools {
    /// The repository.
    pub repository: Repository,
    /// Makes attempts.
    pub launcher: Arc<dyn Launcher>,
    /// Tells the time.
    pub clock: Arc<dyn Clock>,
    /// Prompts.
    pub templates: Templates,
    /// The person whose name is on the commits.
    pub identity: Identity,
    /// Values of the variables that agents ask for by `pass_env`, from the person's environment.
    pub pass_env: BTreeMap<String, String>,
    /// Makes fences around untrusted text unguessable.
    pub seed: u64,
    /// Paths that checks, set-up and agents name: protected like the pipeline file itself.
    pub protected: Vec<String>,
    /// What the units that landed changed.
    pub landed: LandedChanges,
}

/// Told of everything that happens, in order, after it is in the journal.
pub trait Observer: Send {
    /// An event of an earlier engine was read from the journal.
    fn replayed(&mut self, record: &Record);
    /// An event was recorded.
    fn recorded(&mut self, record: &Record);
    /// A running attempt did something worth showing.
    fn activity(&mut self, activity: &Activity);
    /// The run is about to be given more units: it is of this pipeline from now on.
    fn grown(&mut self, pipeline: &Pipeline);
    /// Something worth telling that is no event of the run.
    fn note(&mut self, text: &str);
}

/// How a run is to be carried out; what the command line says.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Run even when the checks fail on the target's tip.
    pub skip_preflight: bool,
    /// Only these units, which contain what they need; `None` means all.
    pub only: Option<Arc<BTreeSet<UnitId>>>,
    /// Stop starting work after this long.
    pub time_limit: Option<std::time::Duration>,
}

/// Why the engine could not go on.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The store failed: disk full, read-only, corrupt. The text of the source names file and remedy.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// git failed.
    #[error(transparent)]
    Git(#[from] git::Error),
    /// The journal does not fit the pipeline: it was not written by this program, or the program has a bug.
    #[error("the journal of run {run} cannot be replayed: {source}")]
    Replay {
        /// The run.
        run: RunId,
        /// The event and the reason.
        source: IllegalEvent,
    },
    /// A prompt could not be rendered.
    #[error(transparent)]
    Agent(#[from] agent::AgentError),
    /// A pattern of the guards is malformed; a guard that cannot be evaluated must not pass.
    #[error(transparent)]
    Pattern(#[from] crate::unit::guards::PatternError),
    /// A name in the store is not one of ours.
    #[error(transparent)]
    Name(#[from] NameError),
    /// The checks could not be run on the target: no worktree, set-up failed, disk full.
    #[error("the checks cannot be run on the target: {0}")]
    Preflight(String),
    /// Units are on the target whose landing the journal does not know: somebody cut it, or put back an older one.
    #[error(
        "the journal of run {run} is older than the target: {} landed and stands there, and no event says so", units.join(", ")
    )]
    CutJournal {
        /// The run.
        run: RunId,
        /// The units, each with its commit.
        units: Vec<String>,
    },
    /// The file with the run's pipeline cannot be read.
    #[error("the frozen pipeline of run {run} cannot be read: {why}")]
    Frozen {
        /// The run.
        run: RunId,
        /// What is wrong with it.
        why: String,
    },
    /// A task of ours panicked.
    #[error("a task of the engine failed: {0}")]
    Task(#[from] tokio::task::JoinError),
}

/// The engine of one run.
pub struct Engine {
    run: RunId,
    state: State,
    store: Store,
    tools: Arc<Tools>,
    observer: Box<dyn Observer>,
    options: Options,
    /// The hash of each unit's inputs, for trailers.
    inputs: BTreeMap<UnitId, String>,
    /// Units that an earlier run landed.
    kept: Vec<records::KeptUnit>,
    tasks: JoinSet<dispatch::Done>,
    /// Places of attempts whose outcome is recorded, being removed.
    discards: JoinSet<Result<(), String>>,
    /// One sender per attempt or verification under way, by fence.
    stops: BTreeMap<u64, watch::Sender<Stop>>,
    /// Units of which git has not been told everything that is in the journal.
    untold: BTreeSet<UnitId>,
    activity: mpsc::Sender<Activity>,
    activity_of_attempts: mpsc::Receiver<Activity>,
    stopping: Option<StopCause>,
    radar: radar::Radar,
    /// The newest landing that was on the target when the run began. It counts until the run has one of its own.
    landed_before: Option<Oid>,
    /// Where the target was last looked at, the landed work that was looked for, and whether it was there.
    looked_at: Option<(Oid, Vec<Oid>, bool)>,
    /// What verbs want that were called meanwhile; closed where nobody listens.
    calls: mpsc::Receiver<Call>,
}

/// Activity lines that may wait to be shown; more are dropped by the attempts.
const ACTIVITY_LINES_MAX: usize = 256;

impl Engine {
    /// Takes up a run: replays its journal, records that a new engine has it, and settles what an engine that
    /// died left half-done.
    ///
    /// # Errors
    /// When the journal cannot be read or replayed, or the store cannot be written.
    pub async fn take_up(
        run: RunId,
        pipeline: Arc<Pipeline>,
        environment: String,
        mut store: Store,
        tools: Arc<Tools>,
        options: Options,
        observer: Box<dyn Observer>,
    ) -> Result<Self, EngineError> {
        let mut state = State::new(Arc::clone(&pipeline), environment);
        let records = store.load(&run)?;
        let notes = store.take_notes();
        for record in &records {
            state.apply(record).map_err(|source| EngineError::Replay {
                run: run.clone(),
                source,
            })?;
        }
        let inputs = crate::run::inputs(&pipeline);
        let (activity, activity_of_attempts) = mpsc::channel(ACTIVITY_LINES_MAX);
        let mut engine = Self {
            run,
            state,
            store,
            tools,
            observer,
            options,
            inputs,
            kept: kept_units(&records),
            tasks: JoinSet::new(),
            discards: JoinSet::new(),
            stops: BTreeMap::new(),
            untold: pipeline.units.iter().map(|unit| unit.id.clone()).collect(),
            activity,
            activity_of_attempts,
            stopping: None,
            radar: radar::Radar::new(),
            landed_before: None,
            looked_at: None,
            calls: mpsc::channel(1).1,
        };
        for record in &records {
            engine.observer.replayed(record);
        }
        for note in notes {
            engine.observer.note(&note);
        }
        engine.check_rows(&records)?;
        engine.refuse_a_cut_journal().await?;
        engine.make_own_branch(&records).await?;
        engine.landed_before = engine.landing_below().await?;
        engine.record(&[Event::Run(RunEvent::EngineStarted {
            epoch: engine.state.epoch() + 1,
            pid: std::process::id(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        })])?;
        engine.write_missing_records().await?;
        engine.tell_of_units().await?;
        engine.recover().await?;
        Ok(engine)
    }

    async fn landing_below(&self) -> Result<Option<Oid>, EngineError> {
        if !self.state.queue().landed().is_empty() {
            return Ok(None);
        }
        let start = self.state.start().expect("a run that was taken up has started");
        let (repository, base) = (self.tools.repository.clone(), start.base.clone());
        Ok(dispatch::blocking(move || records::newest_landing(&repository, &base)).await??)
    }

    /// Makes the branch that the run lands on when that is not the target. Only before its first engine: from then on, a
    /// branch that is gone is a person's deed.
    async fn make_own_branch(&self, records: &[Record]) -> Result<(), EngineError> {
        let is_rebuilt = |record: &Record| matches!(record.event, Event::Run(RunEvent::RunRebuilt { .. }));
        let start = self.state.start().filter(|start| start.meant_for.is_some());
        let Some(start) = start.filter(|_| self.state.epoch() == 0 && !records.iter().any(is_rebuilt)) else {
            return Ok(());
        };
        let repository = self.tools.repository.clone();
        let (branch, base) = (start.target.clone(), start.base.clone());
        Ok(dispatch::blocking(move || repository.create_branch(&branch, &base)).await??)
    }

    /// Writes events down, folds them into the state, and shows them; in this order.
    fn record(&mut self, events: &[Event]) -> Result<(), EngineError> {
        let now = self.tools.clock.now();
        let records = self.store.commit(&self.run, now, events, &rows_of(events))?;
        self.remember_units(events);
        for record in &records {
            self.state.apply(record).map_err(|source| EngineError::Replay {
                run: self.run.clone(),
                source,
            })?;
            self.observer.recorded(record);
        }
        Ok(())
    }

    /// Does what `calls` ask for while it drives the run.
    pub fn listen_to(&mut self, calls: mpsc::Receiver<Call>) {
        self.calls = calls;
    }

    /// Lets go of the run without driving it, and hands the store back.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub fn release(mut self) -> Result<Store, EngineError> {
        let why = StopCause::Signal;
        self.record(&[Event::Run(RunEvent::EngineStopped { why })])?;
        Ok(self.store)
    }

    /// The state of the run, for those who ask when it is over.
    pub fn state(&self) -> &State {
        &self.state
    }
}

/// Units that an earlier run landed, as the journal names them.
fn kept_units(records: &[Record]) -> Vec<records::KeptUnit> {
    let kept = |record: &Record| match &record.event {
        Event::Unit(UnitScoped {
            unit,
            what: UnitEvent::UnitKept { commit, from },
        }) => Some(records::KeptUnit {
            unit: unit.clone(),
            commit: commit.clone(),
            from: from.clone(),
        }),
        Event::Unit(_) | Event::Run(_) | Event::Queue(_) => None,
    };
    records.iter().filter_map(kept).collect()
}
