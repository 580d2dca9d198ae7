//! Which run a pipeline file means: one to continue, one that is finished, or a new one.

use std::collections::BTreeSet;

use super::context::{Context, Reading, tell};
use super::exit::Exit;
use super::failure::Failure;
use super::run::{Args, LandFlag};
use crate::git::Repository;
use crate::id::{Oid, RunId, UnitId};
use crate::run::{Frozen, inputs};
use crate::spec::{Adapter, Pipeline, nearest};
use crate::view::{RunState, UnitState};

/// What `run` does with the file it was given.
pub(super) enum Chosen {
    /// Its run is finished and nothing has changed.
    Finished(Box<Reading>),
    /// Its run goes on.
    Continue(Box<Reading>),
    /// Its run goes on with units that were added to it by hand.
    Extend {
        reading: Box<Reading>,
        frozen: Box<Frozen>,
        units: Vec<UnitId>,
    },
    /// A new run, with the units an earlier one landed with the same inputs.
    Start {
        frozen: Box<Frozen>,
        kept: Vec<(UnitId, Oid, RunId)>,
        /// The earlier run, when it was cut off in the middle of a landing.
        unsettled: Option<Box<Reading>>,
    },
}

impl Chosen {
    /// The run whose landing was cut off and must be settled first: a run that goes on does that by itself, unless the
    /// target is moved before.
    pub(super) fn cut_off(&self, moves_target: bool) -> Option<&Reading> {
        match self {
            Self::Finished(_) => None,
            Self::Continue(reading) | Self::Extend { reading, .. } => {
                Some(&**reading).filter(|reading| moves_target && reading.view.has_open_landing())
            }
            Self::Start { unsettled, .. } => unsettled.as_deref(),
        }
    }

    /// The branch that is worked on: of a run that goes on, the one it lands on.
    pub(super) fn base_branch<'a>(&'a self, target: &'a str) -> &'a str {
        match self {
            Self::Continue(reading) | Self::Extend { reading, .. } => &reading.view.run.target,
            Self::Finished(_) | Self::Start { .. } => target,
        }
    }

    /// What is to be worked on, if there is work.
    pub(super) fn pipeline(&self) -> Option<&Pipeline> {
        match self {
            Self::Finished(_) => None,
            Self::Continue(reading) => Some(&reading.frozen.pipeline),
            Self::Extend { frozen, .. } | Self::Start { frozen, .. } => Some(&frozen.pipeline),
        }
    }
}

pub(super) fn target_of(context: &Context, args: &Args, pipeline: &Pipeline) -> Result<String, Failure> {
    let named = args.target.clone().or_else(|| pipeline.target.clone());
    let target = match named {
        Some(target) => target,
        None => {
            let current = context.repository.current_branch()?.ok_or_else(|| {
                let message = "no branch is checked out here (detached HEAD), and the file names no `target`";
                Failure::new(Exit::Environment, "no_target", message).help(
                    "check a branch out with `git switch BRANCH`, or write `target: BRANCH` into the file",
                )
            })?;
            meant_by(context, &current)?.unwrap_or(current)
        }
    };
    if context.repository.tip(&target)?.is_none() {
        refuse_lost_target(context, pipeline, &target)?;
        let branches = context.repository.branches()?;
        let like = nearest(&target, branches.iter().map(String::as_str));
        let hint = like.map_or_else(String::new, |name| format!("did you mean `{name}`? "));
        return Err(Failure::new(
            Exit::Environment,
            "no_target",
            format!("there is no branch `{target}` to land on"),
        )
        .help(format!(
            "{hint}`git branch {target}` makes it from what is checked out"
        )));
    }
    Ok(target)
}

/// The target of the run whose own branch this is: who looks at what has landed there means the run that goes on.
fn meant_by(context: &Context, branch: &str) -> Result<Option<String>, Failure> {
    for run in context.runs()? {
        if branch.strip_prefix("pipeline/") == Some(run.as_str()) {
            return Ok(context.read(&run)?.view.run.meant_for);
        }
    }
    Ok(None)
}

/// A target that has gone after units landed on it is no slip of the pen.
fn refuse_lost_target(context: &Context, pipeline: &Pipeline, target: &str) -> Result<(), Failure> {
    for run in context.runs()?.iter().rev() {
        let reading = context.read(run)?;
        let is_earlier = reading.frozen.pipeline.name == pipeline.name && reading.view.run.target == target;
        if is_earlier && reading.view.counts.of(UnitState::Landed) > 0 {
            let tip = reading.view.run.head.as_ref().map_or("?", Oid::as_str);
            let message = format!("the target `{target}` is gone, with the work that landed on it");
            return Err(
                Failure::new(Exit::Safety, "target_rewritten", message).help(format!(
                    "`git branch {target} {tip}` brings it back as run {run} left it"
                )),
            );
        }
    }
    Ok(())
}

/// Programs whose first argument is a file that they run.
const INTERPRETERS: &[&str] = &[
    "sh", "bash", "dash", "zsh", "python", "python3", "node", "ruby", "perl",
];

/// An agent's own file comes from the base commit: one that is not committed would fail in every attempt.
pub(super) fn refuse_uncommitted_agents(
    repository: &Repository,
    pipeline: &Pipeline,
    target: &str,
) -> Result<(), Failure> {
    let Some(tip) = repository.tip(target)? else {
        return Ok(());
    };
    let tracked: BTreeSet<String> = repository.tracked_paths(&tip)?.into_iter().collect();
    for (name, agent) in &pipeline.agents {
        let Adapter::Command { argv } = &agent.adapter;
        let file = match argv.as_slice() {
            [program, script, ..] if INTERPRETERS.contains(&program.as_str()) => script,
            [program, ..] if program.contains('/') => program,
            _ => continue,
        };
        let is_ours = !file.starts_with(['/', '-']);
        if is_ours && !tracked.contains(file.trim_start_matches("./")) {
            let message = format!("agent `{name}` runs {file}, which is not committed on `{target}`");
            return Err(
                Failure::new(Exit::InvalidFile, "agent_not_committed", message).help(
                    "an agent's own files are read from the base commit: add the file and commit it there",
                ),
            );
        }
    }
    Ok(())
}

/// What an author's worktree holds must be what git stores: a filter driver, such as that of Git LFS, breaks that.
pub(super) fn refuse_filters(repository: &Repository, target: &str) -> Result<(), Failure> {
    let Some(tip) = repository.tip(target)? else {
        return Ok(());
    };
    for path in repository.tracked_paths(&tip)? {
        if path != ".gitattributes" && !path.ends_with("/.gitattributes") {
            continue;
        }
        let text = repository.read_file(&tip, &path)?.unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let sets_filter = |line: &&str| {
            !line.trim_start().starts_with('#')
                && line.split_whitespace().any(|word| word.starts_with("filter="))
        };
        if let Some(line) = text.lines().find(sets_filter) {
            let message = format!(
                "{path} sets a filter driver, which is not supported yet: {}",
                line.trim()
            );
            return Err(Failure::new(Exit::Environment, "filters", message).help(
                "units would be committed without the filter (with Git LFS: contents instead of pointers); \
                 run on a branch without such lines",
            ));
        }
    }
    Ok(())
}

pub(super) fn choose_run(
    context: &Context,
    args: &Args,
    frozen: Frozen,
    target: &str,
) -> Result<Chosen, Failure> {
    let Some(earlier) = latest_of(context, &frozen.pipeline.name, target)? else {
        return Ok(Chosen::Start {
            frozen: Box::new(frozen),
            kept: Vec::new(),
            unsettled: None,
        });
    };
    if earlier.frozen.file != frozen.file {
        let message = format!(
            "the name `{}` is that of another pipeline file: {}",
            frozen.pipeline.name, earlier.frozen.file
        );
        return Err(Failure::new(Exit::Usage, "name_taken", message).help("give this file another `name`"));
    }
    if args.fresh {
        return Ok(Chosen::Start {
            frozen: Box::new(super::added::without_settled(context, frozen, &earlier)?),
            kept: Vec::new(),
            unsettled: unsettled(earlier),
        });
    }
    if earlier.frozen.hash() == frozen.hash() {
        refuse_other_landing(&earlier, args)?;
        // Without the record of its end, an engine died before it was done with the checkout or the journal.
        let finished = earlier.view.is_settled() && earlier.view.run.state == RunState::Finished;
        // A run that goes on looks at the target itself.
        if finished {
            refuse_lost_work(context, &earlier)?;
        }
        let reading = Box::new(earlier);
        return Ok(if finished {
            Chosen::Finished(reading)
        } else {
            Chosen::Continue(reading)
        });
    }
    // A branch of the run's own is the person's to do away with: a new run lands on another.
    if earlier.view.run.own_branch().is_none() {
        refuse_lost_work(context, &earlier)?;
    }
    if let Some(units) = super::added::missing_in(context, &earlier.frozen, &frozen.pipeline)? {
        let units = units.iter().map(|unit| unit.id.clone()).collect();
        return Ok(Chosen::Extend {
            reading: Box::new(earlier),
            frozen: Box::new(frozen),
            units,
        });
    }
    let frozen = super::added::without_settled(context, frozen, &earlier)?;
    let kept = kept_units(context, &earlier, &frozen, target)?;
    tell_difference(&earlier, &frozen, &kept);
    Ok(Chosen::Start {
        frozen: Box::new(frozen),
        kept,
        unsettled: unsettled(earlier),
    })
}

/// The latest run of a pipeline's name and target.
pub(super) fn latest_of(context: &Context, name: &str, target: &str) -> Result<Option<Reading>, Failure> {
    for run in context.runs()?.iter().rev() {
        // The journal is read only where the name fits: many runs may lie before it.
        if context.read_frozen(run)?.pipeline.name != name {
            continue;
        }
        let reading = context.read(run)?;
        if reading.view.run.named_target() == target {
            return Ok(Some(reading));
        }
    }
    Ok(None)
}

/// Where a run lands is fixed when it begins.
fn refuse_other_landing(earlier: &Reading, args: &Args) -> Result<(), Failure> {
    let run = &earlier.view.run;
    let lands = match run.own_branch() {
        Some(_) => LandFlag::Branch,
        None => LandFlag::Local,
    };
    if args.land.is_none_or(|asked| asked == lands) {
        return Ok(());
    }
    let message = format!("run {} lands on `{}`", earlier.run, run.target);
    Err(Failure::new(Exit::Usage, "other_landing", message)
        .help("leave `--land` out to go on with it, or start over with `--fresh`"))
}

/// Landed work that is gone is not to be taken for done, and not to be landed a second time. What landed on a branch of the
/// run's own may have been merged, and the branch deleted.
fn refuse_lost_work(context: &Context, earlier: &Reading) -> Result<(), Failure> {
    let (repository, run) = (&context.repository, &earlier.view.run);
    let Some(tip) = repository.tip(&run.target)? else {
        return Ok(());
    };
    let merged_into = run.meant_for.as_deref().map(|target| repository.tip(target));
    let tips = [Some(tip), merged_into.transpose()?.flatten()];
    for commit in earlier.view.landed_work() {
        let mut is_there = false;
        for tip in tips.iter().flatten() {
            is_there = is_there || repository.is_ancestor(commit, tip)?;
        }
        if is_there {
            continue;
        }
        let message = format!(
            "`{}` does not contain {} any more, which is what had landed on it at the end of run {}",
            run.target,
            commit.short(),
            earlier.run
        );
        let target = shell_words::quote(&run.target);
        return Err(
            Failure::new(Exit::Safety, "target_rewritten", message).help(format!(
                "`git switch {target} && git merge {commit}` brings it back; `--fresh` starts over without it"
            )),
        );
    }
    Ok(())
}

fn unsettled(earlier: Reading) -> Option<Box<Reading>> {
    earlier.view.has_open_landing().then(|| Box::new(earlier))
}

/// Units that have landed in the earlier run, whose inputs are the same now and whose commit the target still holds.
fn kept_units(
    context: &Context,
    earlier: &Reading,
    frozen: &Frozen,
    target: &str,
) -> Result<Vec<(UnitId, Oid, RunId)>, Failure> {
    let before = inputs(&earlier.frozen.pipeline);
    let now = inputs(&frozen.pipeline);
    let Some(tip) = context.repository.tip(target)? else {
        return Ok(Vec::new());
    };
    let moved = super::branches::moved_since(context, earlier)?;
    let mut kept = Vec::new();
    for unit in &frozen.pipeline.units {
        let landed_as = earlier.view.unit(&unit.id).and_then(|row| row.landed_as.clone());
        let is_same = before.get(&unit.id) == now.get(&unit.id) && !moved.contains(&unit.id);
        let Some(commit) = landed_as.filter(|_| is_same) else {
            continue;
        };
        if context.repository.is_ancestor(&commit, &tip)? {
            kept.push((unit.id.clone(), commit, earlier.run.clone()));
        }
    }
    Ok(kept)
}

fn tell_difference(earlier: &Reading, frozen: &Frozen, kept: &[(UnitId, Oid, RunId)]) {
    let before = inputs(&earlier.frozen.pipeline);
    let now = inputs(&frozen.pipeline);
    tell(&format!(
        "{} has changed since run {}; a new run begins:",
        frozen.file, earlier.run
    ));
    for unit in &frozen.pipeline.units {
        let word = match (before.get(&unit.id), now.get(&unit.id)) {
            (None, _) => "new",
            (Some(then), Some(now)) if then == now => {
                if kept.iter().any(|(id, ..)| *id == unit.id) {
                    "landed, kept"
                } else {
                    "unchanged, done again"
                }
            }
            (Some(_), _) => "changed, done again",
        };
        tell(&format!("  {:<20} {word}", unit.id.as_str()));
    }
    for gone in before.keys().filter(|id| !now.contains_key(*id)) {
        tell(&format!("  {:<20} no longer in the file", gone.as_str()));
    }
}

pub(super) fn tell_finished(reading: &Reading) -> Exit {
    let counts = &reading.view.counts;
    let (landed, evicted) = (counts.of(UnitState::Landed), counts.of(UnitState::Evicted));
    tell(&format!(
        "Run {} is finished: {landed} landed, {evicted} evicted.",
        reading.run
    ));
    if let Some(hint) = crate::report::line::merge_hint(&reading.view) {
        tell(&hint);
    }
    if reading.view.needs_person() {
        tell("Next: `pipeline evicted` lists what needs a person; `--fresh` starts over.");
        return Exit::NeedsPerson;
    }
    tell("Nothing to do. `--fresh` starts over.");
    Exit::Done
}
