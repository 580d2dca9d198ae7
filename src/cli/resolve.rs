//! `pipeline resolve UNIT`: a person repairs an evicted unit.

use std::path::{Path, PathBuf};

use super::RunChoice;
use super::context::{Context, Reading, println};
use super::exit::Exit;
use super::failure::Failure;
use super::repair::{Named, Repair, is_at};
use super::steer::{Steering, require_hearing};
use crate::event::{Head, Reason};
use crate::git::{Repository, SnapshotLimits, Taken};
use crate::id::{Oid, UnitId};
use crate::run::{UnitWish, Wish};
use crate::view::{UnitState, UnitView};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The unit
    unit: String,
    /// Take what was committed in its worktree and put the unit back in line
    #[arg(long, conflicts_with = "abort")]
    done: bool,
    /// Close its worktree and leave the unit evicted
    #[arg(long)]
    abort: bool,
    #[command(flatten)]
    choice: RunChoice,
}

pub(super) fn perform(context: &Context, args: &Args) -> Result<Exit, Failure> {
    let reading = context.read_run(args.choice.run.as_deref())?;
    let unit = super::added::unit_of_run(context, &reading, &args.unit)?;
    if args.done {
        return done(context, &reading, &unit);
    }
    if args.abort {
        return abort(context, &reading, &unit);
    }
    open(context, &reading, &unit)
}

/// The branch a person works on.
pub(super) fn branch_of(reading: &Reading, unit: &UnitId) -> String {
    format!("pipeline/{}/{unit}", reading.frozen.pipeline.name)
}

/// The folder below the worktrees in which people repair units.
const REPAIRS: &str = "resolve";

fn folder(context: &Context, reading: &Reading, unit: &UnitId) -> PathBuf {
    let root = context.worktrees_root(Some(&reading.frozen.pipeline));
    root.join(REPAIRS)
        .join(format!("{}-{unit}", reading.frozen.pipeline.name))
}

fn repair(context: &Context, reading: &Reading, unit: &UnitId) -> Repair {
    Repair {
        pipeline: reading.frozen.pipeline.name.clone(),
        unit: unit.clone(),
        branch: branch_of(reading, unit),
        path: folder(context, reading, unit),
    }
}

/// Whether a worktree is one in which a person repairs a unit.
pub(super) fn is_repair(worktree: &std::path::Path) -> bool {
    worktree.parent().is_some_and(|parent| parent.ends_with(REPAIRS))
}

fn open(context: &Context, reading: &Reading, unit: &UnitId) -> Result<Exit, Failure> {
    let row = reading.view.unit(unit).expect("a unit of the pipeline has a row");
    let Some(reason) = row.reason.filter(|_| row.state == UnitState::Evicted) else {
        let message = format!(
            "`{unit}` is {}: only an evicted unit is resolved by hand",
            row.state.as_str()
        );
        return Err(Failure::new(Exit::Usage, "wrong_state", message)
            .help(format!("`pipeline status` shows where every unit is; `pipeline retry {unit}` starts it afresh unless it has landed")));
    };
    let path = folder(context, reading, unit);
    let branch = branch_of(reading, unit);
    if path.exists() {
        println(&format!("`{unit}` is open already."));
        tell_how(&path, unit);
        return Ok(Exit::Done);
    }
    // A folder that was deleted by hand leaves a branch and a registration: both make room, the commit is kept.
    salvage_and_close(context, reading, unit)?;
    let repair = repair(context, reading, unit);
    if context.repository.tip(&branch)?.is_some() {
        let message =
            format!("a repair of `{unit}` needs the name of a branch that `resolve` did not make: {branch}");
        return Err(Failure::new(Exit::Usage, "branch_taken", message).help(format!(
            "give that branch another name, as with `git branch -m {branch} repair-of-{unit}`, then call again"
        )));
    }
    let target = &reading.view.run.target;
    let tip = tip_of(context, target)?;
    let repository = &context.repository;
    let head = row.head.clone();
    match head.filter(|_| reason == Reason::ConflictTarget) {
        Some(head) => {
            repository.add_person_worktree(&path, &branch, &tip)?;
            repair.record(context, &tip)?;
            let from = base_off_target(context, row, &tip)?;
            let told = if repository.start_merge_conflict(&path, &tip, &head, from)? {
                format!("The conflict of `{unit}` with {target} is in place there.")
            } else {
                format!("`{unit}` conflicts with {target} no more; its work is staged there.")
            };
            println(&told);
        }
        None => {
            let start = row.head.clone().unwrap_or(tip);
            repository.add_person_worktree(&path, &branch, &start)?;
            repair.record(context, &start)?;
            println(&format!(
                "`{unit}` is open on branch {branch}: {}",
                reason.sentence()
            ));
        }
    }
    if let Some(bundle) = &row.bundle {
        println(&format!("What is known about it: {bundle}/bundle.md"));
    }
    tell_how(&path, unit);
    Ok(Exit::Done)
}

/// What a unit stands on, when that has left the target.
fn base_off_target<'a>(context: &Context, row: &'a UnitView, tip: &Oid) -> Result<Option<&'a Oid>, Failure> {
    let base = row.base.as_ref();
    let counted = base.map(|base| context.repository.counted_from(base, tip));
    Ok(counted.transpose()?.flatten())
}

fn tell_how(path: &Path, unit: &UnitId) {
    println(&format!(
        "\n  cd {}",
        shell_words::quote(&path.display().to_string())
    ));
    println("  # repair it, then: git add -A && git commit");
    println(&format!("  pipeline resolve {unit} --done     # or --abort"));
}

fn tip_of(context: &Context, target: &str) -> Result<Oid, Failure> {
    context.repository.tip(target)?.ok_or_else(|| {
        Failure::new(
            Exit::Safety,
            "target_rewritten",
            format!("the target `{target}` is gone"),
        )
        .help(Reason::TargetRewritten.remedy())
    })
}

fn require_open(context: &Context, reading: &Reading, unit: &UnitId) -> Result<PathBuf, Failure> {
    let path = folder(context, reading, unit);
    if path.exists() {
        return Ok(path);
    }
    Err(Failure::new(
        Exit::Usage,
        "not_open",
        format!("`{unit}` is not open for repair"),
    )
    .help(format!("`pipeline resolve {unit}` opens it")))
}

/// The person's tree becomes the unit's one commit, like an author's; the commits of a branch stay what they are.
fn done(context: &Context, reading: &Reading, unit: &UnitId) -> Result<Exit, Failure> {
    let path = require_open(context, reading, unit)?;
    let repository = &context.repository;
    let branch = branch_of(reading, unit);
    let unfinished = repository.uncommitted(&path)?;
    if !unfinished.is_empty() {
        let message = format!(
            "{} has changes that are not committed: {}",
            path.display(),
            unfinished.join(", ")
        );
        return Err(Failure::new(Exit::Usage, "uncommitted", message)
            .help("commit them there with `git add -A && git commit`, then call again"));
    }
    // From here on no engine can take the run up that does not have it already, and none brings back a unit by itself.
    let mut steering = Steering::open(context, "resolve", reading)?;
    require_hearing(context, &reading.run)?;
    let now = context.read(&reading.run)?;
    if now
        .view
        .unit(unit)
        .is_none_or(|row| row.state != UnitState::Evicted)
    {
        let message = format!("`{unit}` is not evicted any more: there is nothing to resolve");
        return Err(Failure::new(Exit::Usage, "wrong_state", message).help(format!(
            "`pipeline resolve {unit} --abort` keeps the commit and closes the worktree"
        )));
    }
    let tip = tip_of(context, &reading.view.run.target)?;
    let theirs = require_on_branch(context, &path, &branch)?;
    let row = reading.view.unit(unit).expect("a unit of the pipeline has a row");
    let base = match base_off_target(context, row, &tip)? {
        Some(base) if repository.is_ancestor(base, &theirs)? => Some(base.clone()),
        Some(_) | None => repository.merge_base(&theirs, &tip)?,
    };
    let base = base.ok_or_else(|| {
        Failure::new(
            Exit::Usage,
            "unrelated_history",
            Reason::UnrelatedHistory.sentence(),
        )
        .help(Reason::UnrelatedHistory.remedy())
    })?;
    let tree = repository.tree_of(&theirs)?;
    if tree == repository.tree_of(&base)? {
        return Err(Failure::new(
            Exit::Usage,
            "no_change",
            format!("`{unit}` changes nothing against the target"),
        )
        .help(format!(
            "commit a repair, or give the unit up with `pipeline discard {unit}`"
        )));
    }
    if let Some(head) = &row.head
        && tree == repository.tree_of(head)?
    {
        let message = format!("nothing was changed: this is `{unit}` as it was evicted");
        return Err(Failure::new(Exit::Usage, "no_change", message)
            .help("commit a repair there, then call again; or close it with --abort"));
    }
    if let Some(path) = repository.path_that_is_no_text(&base, &theirs)? {
        let message = format!("the name `{path}` is not UTF-8, which is not supported");
        return Err(
            Failure::new(Exit::Usage, "not_text", message).help("rename the file, commit, then call again")
        );
    }
    refuse_conflict_markers(repository, &base, &theirs)?;
    let commit = match commits_of_branch(context, reading, unit, &theirs, &base)? {
        Some(commit) => commit,
        None => commit_of_unit(context, reading, unit, &tree, &base)?,
    };
    let name = format!("refs/pipeline/runs/{}/{unit}/head", reading.run);
    repository.write_ref(&name, &commit, None)?;
    salvage(context, reading, unit, &theirs)?;
    let head = Head { commit, tree };
    let wish = UnitWish::Resolve { head, base };
    let unit_id = unit.clone();
    steering.write(Wish::Unit { unit: unit_id, wish })?;
    close(context, reading, unit)?;
    println(&format!(
        "`{unit}` is back in line; its checks run before it lands."
    ));
    if context.environment.cwd().starts_with(&path) {
        let home = context.repository.main_root().display().to_string();
        println(&format!(
            "The folder you are in is gone: cd {}",
            shell_words::quote(&home)
        ));
    }
    Ok(steering.tell_next())
}

/// The person's tree as the unit's one commit, under its title.
fn commit_of_unit(
    context: &Context,
    reading: &Reading,
    unit: &UnitId,
    tree: &Oid,
    base: &Oid,
) -> Result<Oid, Failure> {
    let repository = &context.repository;
    let spec = reading.unit(unit.as_str())?;
    let identity = repository.identity()?;
    let signer = identity.to_string();
    let inputs = &crate::run::inputs(&reading.frozen.pipeline)[unit];
    let settings = &reading.frozen.pipeline.commit;
    let message = crate::unit::commit_message(spec, settings, &reading.run, inputs, Some(&signer));
    let now = super::context::clock().now();
    Ok(repository.commit_tree(tree, &[base], &message, &identity, now)?)
}

/// What a person made of a branch, commit by commit as they left it, where the queue can replay it.
fn commits_of_branch(
    context: &Context,
    reading: &Reading,
    unit: &UnitId,
    theirs: &Oid,
    base: &Oid,
) -> Result<Option<Oid>, Failure> {
    let brings = reading.unit(unit.as_str())?.from_branch.is_some();
    let replays = brings && context.repository.merge_between(base, theirs)?.is_none();
    Ok(replays.then(|| theirs.clone()))
}

/// A conflict that was committed as it stood is not resolved.
fn refuse_conflict_markers(repository: &Repository, base: &Oid, theirs: &Oid) -> Result<(), Failure> {
    let Some(path) = repository.conflict_markers(base, theirs)?.into_iter().next() else {
        return Ok(());
    };
    let message = format!("{path} still has conflict markers");
    Err(Failure::new(Exit::Usage, "conflict_markers", message)
        .help("decide between the sides there, commit, then call again"))
}

/// The last commit of the branch, which must be what is checked out: work on another branch or on a detached HEAD
/// would be left out without a word.
fn require_on_branch(context: &Context, path: &Path, branch: &str) -> Result<Oid, Failure> {
    let real = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let here = context
        .repository
        .worktrees()?
        .into_iter()
        .find(|tree| tree.path == real);
    let on_branch = here.as_ref().and_then(|tree| tree.branch.as_deref()) == Some(branch);
    match context.repository.tip(branch)? {
        Some(tip) if on_branch => Ok(tip),
        Some(_) | None => {
            let message = format!("{} is not on the branch {branch}", path.display());
            Err(Failure::new(Exit::Usage, "other_branch", message).help(format!(
                "bring the repair there: `git switch -C {branch}`, then call again"
            )))
        }
    }
}

/// Keeps a person's commits beyond their branch.
fn salvage(context: &Context, reading: &Reading, unit: &UnitId, tip: &Oid) -> Result<String, Failure> {
    let name = format!("refs/pipeline/salvage/{}/{unit}/head", reading.run);
    context.repository.write_ref(&name, tip, None)?;
    Ok(name)
}

fn abort(context: &Context, reading: &Reading, unit: &UnitId) -> Result<Exit, Failure> {
    require_open(context, reading, unit)?;
    salvage_and_close(context, reading, unit)?;
    println(&format!("`{unit}` stays evicted. Next: pipeline show {unit}"));
    Ok(Exit::Done)
}

/// Ends a repair, if one is open, and keeps what is in it.
pub(super) fn salvage_and_close(context: &Context, reading: &Reading, unit: &UnitId) -> Result<(), Failure> {
    let kept = keep(context, reading, unit)?;
    kept.iter().for_each(|kept| println(kept));
    close(context, reading, unit)
}

/// Keeps by refs what was committed and what was not in a repair, if one is open; what is to be told of it. A person may have
/// deleted the branch, or left it.
pub(super) fn keep(context: &Context, reading: &Reading, unit: &UnitId) -> Result<Vec<String>, Failure> {
    let mut told = Vec::new();
    let repository = &context.repository;
    let path = folder(context, reading, unit);
    let tip = match repair(context, reading, unit).named(context)? {
        Named::Own(tip) => Some(tip),
        Named::Nothing | Named::Lent(_) | Named::Foreign => None,
    };
    if let Some(tip) = &tip {
        let kept = salvage(context, reading, unit, tip)?;
        told.push(format!("The last commit is kept as {kept}."));
    }
    let left_at = checked_out(context, &path)?;
    if let Some(head) = left_at.as_ref().filter(|head| Some(*head) != tip.as_ref()) {
        let kept = format!("refs/pipeline/salvage/{}/{unit}/checked-out", reading.run);
        repository.write_ref(&kept, head, None)?;
        told.push(format!("What was checked out there is kept as {kept}."));
    }
    if path.exists() && !repository.uncommitted(&path)?.is_empty() {
        told.push(keep_files(context, reading, unit, &path, tip.or(left_at))?);
    }
    Ok(told)
}

/// The commit a repair's worktree is at; `None` where it is at none, or there is no worktree.
fn checked_out(context: &Context, path: &Path) -> Result<Option<Oid>, Failure> {
    let real = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let worktrees = context.repository.worktrees()?;
    let here = worktrees.into_iter().find(|worktree| worktree.path == real);
    Ok(here.and_then(|worktree| worktree.head))
}

/// Keeps what is in the folder of a repair and not committed.
fn keep_files(
    context: &Context,
    reading: &Reading,
    unit: &UnitId,
    path: &Path,
    tip: Option<Oid>,
) -> Result<String, Failure> {
    let began = || reading.view.unit(unit).and_then(|row| row.head.clone());
    let base = match tip.or_else(began) {
        Some(base) => base,
        None => tip_of(context, &reading.view.run.target)?,
    };
    let guards = &reading.frozen.pipeline.guards;
    let limits = SnapshotLimits {
        files_max: guards.files_max,
        bytes_max: guards.bytes_max,
    };
    match context.repository.take_tree(path, &base, &limits, &[])? {
        Taken::Tree(tree) => {
            let kept = format!("refs/pipeline/salvage/{}/{unit}/files", reading.run);
            context.repository.write_ref(&kept, &tree, None)?;
            Ok(format!("What was not committed is kept as {kept}."))
        }
        Taken::Refused(refusal) => {
            let message = format!(
                "what is not committed in {} cannot be kept: {}",
                path.display(),
                refusal.sentence
            );
            Err(Failure::new(Exit::Usage, "uncommitted", message)
                .help("take it away or commit it there, then call again"))
        }
    }
}

/// Removes the worktree of a repair, and its branch unless a person has that checked out.
fn close(context: &Context, reading: &Reading, unit: &UnitId) -> Result<(), Failure> {
    let repair = repair(context, reading, unit);
    let repository = &context.repository;
    // The worktree may be all that tells whose the branch is.
    let named = repair.named(context)?;
    let registered = repository
        .worktrees()?
        .iter()
        .any(|worktree| is_at(&worktree.path, &repair.path));
    if registered || repair.path.exists() {
        repository.remove_worktree(&repair.path)?;
    }
    // A record without its branch would speak for another of the same name.
    match named {
        Named::Own(tip) => repair.forget(context, Some(&tip)),
        Named::Lent(path) => {
            println(&format!(
                "The branch {} stays, since it is checked out in {}.",
                repair.branch,
                path.display()
            ));
            repair.forget(context, None)
        }
        Named::Nothing | Named::Foreign => repair.forget(context, None),
    }
}
