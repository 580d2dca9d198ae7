//! `pipeline doctor --strict`: does the repository's state hold what the merge queue and the journal promise?
//!
//! The journals are read and folded, and what they say is compared with git, with the checkouts, with the processes
//! and with what lies on the disk. Nothing is written and no lock is taken, so the answer means something only while
//! no engine is at work; whether that was so is asked before and after.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use miette::Diagnostic;
use serde_json::{Value, json};

use super::context::Context;
use super::exit::Exit;
use super::failure::Failure;
use crate::engine::rows_of;
use crate::event::{Event, Evidence, LandedUnit, QueueEvent, Record, RunEvent};
use crate::git::{IntegrateUnit, Preservation, WithTrailers};
use crate::id::{Oid, RunId, UnitId};
use crate::report::text::one_line;
use crate::run::{Frozen, State};
use crate::spec::{Strategy, Verify};
use crate::store::{RowMap, fold};
use crate::unit::Phase;
use crate::workspace::{Found, Leftover};

/// Something that is not as it must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Finding {
    /// What kind, as a stable word.
    code: &'static str,
    /// The run it is about.
    run: Option<RunId>,
    /// What is wrong, as a sentence.
    what: String,
    /// What helps, with the command.
    help: String,
}

impl Finding {
    fn new(code: &'static str, what: impl Into<String>, help: impl Into<String>) -> Self {
        Self {
            code,
            run: None,
            what: what.into(),
            help: help.into(),
        }
    }

    fn of_failure(code: &'static str, failure: &Failure) -> Self {
        let help = failure.help().map(|help| help.to_string());
        let help =
            help.unwrap_or_else(|| "mend what it names; `pipeline run FILE --fresh` starts over".into());
        Self::new(code, failure.to_string(), help)
    }

    /// On one line.
    pub(super) fn line(&self) -> String {
        let run = self
            .run
            .as_ref()
            .map(|run| format!("{run}: "))
            .unwrap_or_default();
        one_line(
            &format!("{}: {run}{}; next: {}", self.code, self.what, self.help),
            LINE_CHARS_MAX,
        )
    }

    /// For machines.
    pub(super) fn json(&self) -> Value {
        json!({"code": self.code, "run": self.run.as_ref().map(RunId::as_str), "what": self.what, "help": self.help})
    }
}

/// Longest line of a finding; `--json` has the whole.
const LINE_CHARS_MAX: usize = 1000;
/// How long the processes of an engine that is gone may take to end, and git to let go of a lock.
const PATIENCE: Duration = Duration::from_secs(2);
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// A run whose journal folds.
struct Sound {
    run: RunId,
    /// What the database must hold of it, and the sequence of its last event.
    rows: (RowMap, u64),
    frozen: Frozen,
    state: State,
    target: String,
    meant_for: Option<String>,
    base: Oid,
    landings: Vec<Landing>,
}

/// A recorded move of the target.
struct Landing {
    from: Oid,
    to: Oid,
    units: Vec<LandedUnit>,
    evidence: Option<Evidence>,
    /// What was approved of each unit, where the journal tells it.
    approved: BTreeMap<UnitId, IntegrateUnit>,
    /// Whether the run later stopped because of the target; then the stop has told what is wrong with it.
    disowned: bool,
}

/// Everything that is wrong with the state of the repository.
///
/// # Errors
/// While an engine is at work, and when the runs cannot be listed.
pub(super) fn findings(context: &Context) -> Result<Vec<Finding>, Failure> {
    refuse_under_engine(context)?;
    let mut found = Vec::new();
    let mut sound = Vec::new();
    let runs = context.runs()?;
    for run in &runs {
        match read(context, run) {
            Ok(read) => sound.push(read),
            Err(mut finding) => {
                finding.run = Some(run.clone());
                found.push(finding);
            }
        }
    }
    for run in &sound {
        let of_run = of_run(context, run).unwrap_or_else(|f| vec![Finding::of_failure("unreadable", &f)]);
        found.extend(of_run.into_iter().map(|finding| Finding {
            run: Some(run.run.clone()),
            ..finding
        }));
    }
    found.extend(
        of_checkouts(context, &sound).unwrap_or_else(|f| vec![Finding::of_failure("unreadable", &f)]),
    );
    found.extend(of_rows(context, &sound).unwrap_or_else(|f| vec![Finding::of_failure("unreadable", &f)]));
    found.extend(of_refs(context, &runs).unwrap_or_else(|f| vec![Finding::of_failure("unreadable", &f)]));
    found.extend(of_processes(&runs));
    found.extend(of_leftovers(context));
    refuse_under_engine(context)?;
    Ok(found)
}

fn refuse_under_engine(context: &Context) -> Result<(), Failure> {
    let Some(holder) = crate::store::holder(&context.home) else {
        return Ok(());
    };
    let message = format!("an engine is at work, so nothing here is at rest: {holder}");
    Err(Failure::new(Exit::Held, "held", message)
        .help("wait for it to end; `pipeline doctor` without `--strict` works meanwhile"))
}

/// Reads a journal, with its checksums and sequence numbers, and folds it.
fn read(context: &Context, run: &RunId) -> Result<Sound, Finding> {
    let damaged = |failure: Failure| Finding::of_failure("journal_damaged", &failure);
    let fresh = "`pipeline doctor --fix` sets it aside and rebuilds the run from git";
    let frozen = context.read_frozen(run).map_err(damaged)?;
    let records = crate::store::read_journal(&context.home, run)
        .map_err(|error| damaged(error.into()))?
        .records;
    // The environment matters only to what is verified next.
    let mut state = State::new(Arc::new(frozen.pipeline.clone()), String::new());
    for record in &records {
        state
            .apply(record)
            .map_err(|error| Finding::new("journal_illegal", error.to_string(), fresh))?;
    }
    let start = state.start().cloned();
    let start = start.expect("a journal is read only if it begins with the start of its run");
    let more = |record: &Record| match &record.event {
        Event::Run(RunEvent::UnitsAdded { units, .. }) => Some(units.clone()),
        Event::Run(_) | Event::Unit(_) | Event::Queue(_) => None,
    };
    let added = records.iter().rev().find_map(more).unwrap_or_default();
    if added.iter().any(|unit| frozen.pipeline.unit(unit).is_none()) {
        let what = "an engine was killed while it gave the run more units";
        let finish = format!("`pipeline run {}` adds them", frozen.file);
        return Err(Finding::new("frozen_behind", what, finish));
    }
    if start.frozen != frozen.hash() {
        let what = "its frozen.json is not the pipeline that the run began with";
        return Err(Finding::new("frozen_changed", what, fresh));
    }
    Ok(Sound {
        run: run.clone(),
        rows: (
            fold(rows_of(records.iter().map(|record| &record.event)).into_iter()),
            records.len() as u64,
        ),
        target: start.target,
        meant_for: start.meant_for,
        base: start.base,
        landings: landings(&records),
        frozen,
        state,
    })
}

fn landings(records: &[Record]) -> Vec<Landing> {
    let mut landings: Vec<Landing> = Vec::new();
    let mut approved = BTreeMap::new();
    for record in records {
        match &record.event {
            Event::Queue(QueueEvent::Enqueued { unit, head, base, .. }) => {
                let (head, base) = (head.commit.clone(), base.clone());
                approved.insert(unit.clone(), IntegrateUnit { head, base });
            }
            Event::Queue(QueueEvent::Landed {
                from,
                to,
                units,
                evidence,
            }) => landings.push(Landing {
                from: from.clone(),
                to: to.clone(),
                units: units.clone(),
                evidence: evidence.clone(),
                approved: approved.clone(),
                disowned: false,
            }),
            Event::Queue(QueueEvent::SafetyStop { .. }) => {
                landings.iter_mut().for_each(|landing| landing.disowned = true);
            }
            Event::Run(
                RunEvent::RunStarted { .. }
                | RunEvent::EngineStarted { .. }
                | RunEvent::EngineStopped { .. }
                | RunEvent::UnitsAdded { .. }
                | RunEvent::RunRebuilt { .. }
                | RunEvent::RunFinished
                | RunEvent::PreflightEnded { .. }
                | RunEvent::ConflictsForeseen(_),
            )
            | Event::Unit(_)
            | Event::Queue(_) => {}
        }
    }
    landings
}

/// What the journal says against what the target holds.
fn of_run(context: &Context, run: &Sound) -> Result<Vec<Finding>, Failure> {
    let mut found = unsettled(run);
    let Some(tip) = context.repository.tip(&run.target)? else {
        // A branch of the run's own is the person's to delete once the run is over.
        let is_over = run.meant_for.is_some() && run.state.is_finished();
        if !is_over && run.landings.iter().any(|landing| !landing.disowned) {
            let what = format!("its target `{}`, on which it landed, is gone", run.target);
            let help = format!(
                "`git branch {} COMMIT`; `pipeline show UNIT` names commits",
                run.target
            );
            found.push(Finding::new("target_gone", what, help));
        }
        return Ok(found);
    };
    let chain = context.repository.trailers_between(&run.base, &tip)?;
    let waived = matches!(run.frozen.pipeline.verify, Verify::Waived);
    for landing in &run.landings {
        found.extend(proof(context, landing, waived)?);
        found.extend(not_reviewed(
            context,
            landing,
            run.frozen.pipeline.queue.strategy,
        )?);
        if landing.disowned {
            continue;
        }
        for landed in &landing.units {
            if context.repository.is_ancestor(&landed.commit, &tip)? {
                continue;
            }
            let what = format!(
                "`{}` landed as {}, which `{}` does not contain any more",
                landed.unit,
                landed.commit.short(),
                run.target
            );
            let help = format!("`git reflog {}` shows who moved it", run.target);
            found.push(Finding::new("landing_gone", what, help));
        }
    }
    let inner = inner_commits(context, run, &chain)?;
    found.extend(trailers(run, &chain, &inner));
    for name in crate::engine::missing_records(&context.repository, &run.state)? {
        let help = "the next `pipeline run` writes what the run still needs; a landing's is lost";
        found.push(Finding::new("record_missing", format!("git has no {name}"), help));
    }
    for name in crate::engine::stale_records(&context.repository, &run.state)? {
        let what = format!("git has {name}, which the journal took back");
        let help = format!("`git update-ref -d {name}`, or the next `pipeline run`, takes it away");
        found.push(Finding::new("record_stale", what, help));
    }
    Ok(found)
}

/// Effects that were begun and have no outcome.
fn unsettled(run: &Sound) -> Vec<Finding> {
    let queue = run.state.queue();
    let help = format!(
        "`pipeline run {}` settles it",
        shell_words::quote(&run.frozen.file)
    );
    let mut found = Vec::new();
    if let Some(pending) = queue.pending_landing() {
        let what = format!("a landing of {} has no outcome", pending.verified.to().short());
        found.push(Finding::new("landing_open", what, help.clone()));
    }
    if let Some(unfollowed) = queue.unfollowed() {
        let what = format!(
            "the checkout {} did not follow the landing of {}",
            unfollowed.checkout,
            unfollowed.to.short()
        );
        found.push(Finding::new("checkout_behind", what, help));
    }
    found
}

/// Whether passing evidence about exactly what landed is in the landing's record.
fn proof(context: &Context, landing: &Landing, waived: bool) -> Result<Option<Finding>, Failure> {
    let said = match &landing.evidence {
        None if waived => return Ok(None),
        None => "without evidence, though checks are required".to_owned(),
        Some(evidence) => {
            let tree = context.repository.tree_of(&landing.to)?;
            if evidence.tree != tree && evidence.tree != landing.to {
                format!("on evidence about another tree, {}", evidence.tree.short())
            } else if !evidence.passed() {
                "on evidence that is no pass".to_owned()
            } else {
                return Ok(None);
            }
        }
    };
    let what = format!("{} landed {said}", landing.to.short());
    let help = format!("run the checks on it: `git switch --detach {}`", landing.to);
    Ok(Some(Finding::new("unproved_landing", what, help)))
}

/// Units of a landing that brought something else than what was reviewed of them.
fn not_reviewed(context: &Context, landing: &Landing, strategy: Strategy) -> Result<Vec<Finding>, Failure> {
    let mut found = Vec::new();
    let mut onto = &landing.from;
    for landed in &landing.units {
        let under = std::mem::replace(&mut onto, &landed.commit);
        let Some(unit) = landing.approved.get(&landed.unit) else {
            continue;
        };
        let said = context
            .repository
            .preserve(under, unit, strategy, &landed.commit)?;
        if let Preservation::Broken { paths } = said {
            let what = format!(
                "`{}` landed as {}, which is not what was reviewed of it: {}",
                landed.unit,
                landed.commit.short(),
                paths.join(", ")
            );
            let help = format!(
                "compare `git show {}` with `git show {}`",
                landed.commit, unit.head
            );
            found.push(Finding::new("diff_not_preserved", what, help));
        }
    }
    Ok(found)
}

const RUN: &str = "Pipeline-Run";
const UNIT: &str = "Pipeline-Unit";

/// The commits of the target that name this run, against the landings of its journal.
fn trailers(run: &Sound, chain: &[WithTrailers], inner: &BTreeMap<&Oid, &UnitId>) -> Vec<Finding> {
    let recorded: BTreeMap<&Oid, &UnitId> = run
        .landings
        .iter()
        .flat_map(|landing| landing.units.iter().map(|landed| (&landed.commit, &landed.unit)))
        .collect();
    let show = |commit: &Oid| format!("`git show {commit}`");
    let mut found = Vec::new();
    let mut commits_of: BTreeMap<&str, Vec<&Oid>> = BTreeMap::new();
    for (commit, trailers) in chain {
        let values = |key: &str| -> Vec<&str> {
            let of_key = trailers.iter().filter(|(name, _)| name == key);
            of_key.map(|(_, value)| value.as_str()).collect()
        };
        let (runs, units) = (values(RUN), values(UNIT));
        let known = recorded.get(commit).or_else(|| inner.get(commit));
        if known.is_none() && !runs.contains(&run.run.as_str()) {
            continue;
        }
        let short = commit.short();
        for unit in units.iter().filter(|_| !inner.contains_key(commit)) {
            commits_of.entry(unit).or_default().push(commit);
        }
        match known {
            Some(unit) if runs == [run.run.as_str()] && units == [unit.as_str()] => {}
            Some(unit) => {
                let what =
                    format!("{short} landed `{unit}`, and its trailers do not name just this run and unit");
                found.push(Finding::new("trailers_wrong", what, show(commit)));
            }
            None if units.iter().all(|unit| was_found_landed(run, unit)) => {}
            None => {
                let units = units.join("`, `");
                let target = &run.target;
                let what = format!(
                    "{short} on `{target}` names this run and `{units}`, and no landing of it is recorded"
                );
                found.push(Finding::new("landing_unknown", what, show(commit)));
            }
        }
    }
    for (unit, commits) in commits_of.iter().filter(|(_, commits)| commits.len() > 1) {
        let shorts: Vec<&str> = commits.iter().map(|commit| commit.short()).collect();
        let what = format!(
            "`{unit}` is {} times on `{}`: {}",
            commits.len(),
            run.target,
            shorts.join(", ")
        );
        let help = format!("`git log --first-parent {}..{}`", run.base.short(), run.target);
        found.push(Finding::new("landed_twice", what, help));
    }
    found
}

/// The commits of units that landed as several, but for the last of each.
fn inner_commits<'a>(
    context: &Context,
    run: &'a Sound,
    chain: &'a [WithTrailers],
) -> Result<BTreeMap<&'a Oid, &'a UnitId>, Failure> {
    let places: BTreeMap<&Oid, usize> = (0..).zip(chain).map(|(at, (commit, _))| (commit, at)).collect();
    let mut inner = BTreeMap::new();
    for landing in &run.landings {
        let mut next = match places.get(&landing.from) {
            Some(at) => at + 1,
            // People may have brought the target back behind where the run began.
            None if context.repository.is_ancestor(&landing.from, &run.base)? => 0,
            None => continue,
        };
        for landed in &landing.units {
            let Some(last) = places.get(&landed.commit).copied() else {
                continue;
            };
            let before = chain.get(next..last).unwrap_or_default();
            inner.extend(before.iter().map(|(commit, _)| (commit, &landed.unit)));
            next = last + 1;
        }
    }
    Ok(inner)
}

/// Whether the queue found the work of a unit on the target and so landed nothing: a person took the commit over, with its
/// trailers.
fn was_found_landed(run: &Sound, unit: &str) -> bool {
    let state = unit.parse().ok().and_then(|id| run.state.unit(&id));
    let is_landed = state.is_some_and(|state| state.phase() == Phase::Landed);
    let mut landed = run.landings.iter().flat_map(|landing| &landing.units);
    is_landed && !landed.any(|landed| landed.unit.as_str() == unit)
}

/// The checkouts that have a target.
fn of_checkouts(context: &Context, runs: &[Sound]) -> Result<Vec<Finding>, Failure> {
    let repository = &context.repository;
    let mut by_target: BTreeMap<&str, Vec<(Oid, Oid)>> = BTreeMap::new();
    for run in runs {
        let moves = run.landings.iter().filter(|landing| !landing.disowned);
        let moves = moves.map(|landing| (landing.from.clone(), landing.to.clone()));
        by_target.entry(&run.target).or_default().extend(moves);
    }
    let mut found = Vec::new();
    if let Some(branch) = repository.open_fast_forward()? {
        let what = format!("`{branch}` was on its way to its upstream when the engine was killed");
        let help = "the next `pipeline run` brings its checkout along";
        found.push(Finding::new("forward_open", what, help));
    }
    for (target, landings) in &by_target {
        let (Some(checkout), Some(tip)) = (repository.checkout_of(target)?, repository.tip(target)?) else {
            continue;
        };
        if let Some(lock) = settled(|| repository.index_lock(&checkout).ok().flatten()) {
            found.push(stale_lock(&lock));
        }
        let paths = repository.staged_reversals(&checkout, landings, &tip)?;
        if paths.is_empty() {
            continue;
        }
        let place = checkout.display().to_string();
        let what = format!(
            "{place}, which has `{target}`, would undo landed work at the next commit: {}",
            paths.join(", ")
        );
        let paths = shell_words::join(&paths);
        let help = format!(
            "`git -C {} restore --staged -- {paths}`",
            shell_words::quote(&place)
        );
        found.push(Finding::new("staged_reversal", what, help));
    }
    let targets: Vec<String> = by_target.keys().map(|target| (*target).to_owned()).collect();
    let locks = settled(|| Some(repository.ref_locks(&targets)).filter(|locks| !locks.is_empty()));
    found.extend(locks.unwrap_or_default().iter().map(|path| stale_lock(path)));
    Ok(found)
}

fn stale_lock(lock: &Path) -> Finding {
    let lock = lock.display().to_string();
    let help = format!("when no git is at work, `rm {}`", shell_words::quote(&lock));
    Finding::new("stale_lock", format!("{lock} is in the way of every git"), help)
}

/// The database against the journals.
fn of_rows(context: &Context, sound: &[Sound]) -> Result<Vec<Finding>, Failure> {
    let expected = sound
        .iter()
        .map(|run| (run.run.clone(), run.rows.clone()))
        .collect();
    let wrong = crate::store::audit_rows(&context.home, &expected)?;
    let finding = |(run, what): (Option<RunId>, String)| Finding {
        run,
        ..Finding::new(
            "rows_wrong",
            what,
            "the next `pipeline run` sets it aside and rebuilds it",
        )
    };
    Ok(wrong.into_iter().map(finding).collect())
}

/// Refs of ours, and the objects behind all refs.
fn of_refs(context: &Context, runs: &[RunId]) -> Result<Vec<Finding>, Failure> {
    const OF_RUNS: &str = "refs/pipeline/runs/";
    let refs = context.repository.refs_below(OF_RUNS)?;
    let owners: BTreeSet<&str> = refs
        .iter()
        .filter_map(|(name, _)| name.strip_prefix(OF_RUNS)?.split('/').next())
        .filter(|owner| runs.iter().all(|run| run.as_str() != *owner))
        .collect();
    let mut found: Vec<Finding> = owners
        .iter()
        .map(|owner| {
            let what = format!("{OF_RUNS}{owner}/ belongs to no run of this repository");
            Finding::new(
                "foreign_refs",
                what,
                format!("`git for-each-ref {OF_RUNS}{owner}/`"),
            )
        })
        .collect();
    if let Some(said) = context.repository.missing_objects()? {
        let help = "`git fsck` tells all; a clone or a backup may have the objects";
        found.push(Finding::new("objects_missing", said, help));
    }
    Ok(found)
}

fn of_processes(runs: &[RunId]) -> Vec<Finding> {
    let is_ours = |marker: &str| {
        let run = marker.split_once(':').map(|(run, _)| run);
        runs.iter().any(|known| run == Some(known.as_str()))
    };
    let orphans = settled(|| Some(crate::process::orphans(&is_ours)).filter(|orphans| !orphans.is_empty()));
    let finding = |orphan: &crate::process::Orphan| {
        let what = format!(
            "process {} of the attempt {} outlived its engine",
            orphan.pid, orphan.marker
        );
        Finding::new("orphan_process", what, format!("`kill -9 {}`", orphan.pid))
    };
    orphans.unwrap_or_default().iter().map(finding).collect()
}

/// Folders, registrations and temporary directories that nobody owns.
fn of_leftovers(context: &Context) -> Vec<Finding> {
    let finding = |leftover: Found| {
        let (code, what) = match leftover.what {
            Leftover::Attempt => ("orphan_attempt", "the folder of an attempt that nobody owns"),
            Leftover::Registration => ("orphan_worktree", "a worktree that is registered and gone"),
            Leftover::Temporary => (
                "orphan_temporary",
                "a temporary folder of a process that was killed",
            ),
        };
        let what = format!("{} is {what}", leftover.path.display());
        Finding::new(code, what, "`pipeline clean`")
    };
    let found = super::clean::all_leftovers(context, true);
    found.into_iter().map(finding).collect()
}

/// Asks again for a while: what is ending has time to end. The last answer, when there still is one.
fn settled<T>(ask: impl Fn() -> Option<T>) -> Option<T> {
    let began = Instant::now();
    loop {
        let answer = ask()?;
        if began.elapsed() >= PATIENCE {
            return Some(answer);
        }
        std::thread::sleep(LOOK_AGAIN);
    }
}
