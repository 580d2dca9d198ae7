//! Units that a person added to a pipeline by hand: branches for its queue.
//!
//! A wish is a small commit of ours at `refs/pipeline/added/<pipeline>/<unit>` whose parent is the branch as it was, so it
//! outlives the state directory. The pipeline of a file is always what the file says, with the units of its wishes after
//! it: so the same wishes give the same pipeline, and a run that has the rest is given more units instead of being begun
//! anew. A wish goes when a new run begins after its unit landed or a person gave it up, or when a person gives it up that no
//! run has.

use std::fs::{self, File, TryLockError};

use serde::{Deserialize, Serialize};

use super::context::{Context, Reading, tell};
use super::exit::Exit;
use super::failure::Failure;
use crate::git::RecordText;
use crate::id::{Oid, UnitId};
use crate::run::Frozen;
use crate::spec::{FromBranch, Pipeline, Unit};
use crate::view::UnitState;

/// Below this prefix are the wishes of all pipelines.
const ADDED: &str = "refs/pipeline/added/";
/// The version of a wish.
const VERSION: u32 = 1;

/// A branch that is to be brought in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Wish {
    version: u32,
    /// The unit it becomes.
    pub(super) unit: UnitId,
    /// The title of that unit.
    pub(super) title: String,
    pub(super) branch: String,
    /// Whether the tier judges it before the queue does.
    pub(super) review: bool,
    /// Counts the wishes of a pipeline: the first comes first.
    place: u32,
}

/// Keeps others from writing wishes until it is dropped, and a run from being begun or added to meanwhile. Waits for who
/// does.
pub(super) fn lock(context: &Context) -> Result<File, Failure> {
    let path = context.home.root().join("added.lock");
    let io = |error: std::io::Error| Failure::io("lock", &path, &error);
    fs::create_dir_all(context.home.root()).map_err(io)?;
    let file = File::options()
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .map_err(io)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            tell("waiting for a `pipeline run` that begins, or another `pipeline queue add`");
            file.lock().map_err(io)?;
        }
        Err(TryLockError::Error(error)) => return Err(io(error)),
    }
    Ok(file)
}

/// The wishes for a pipeline, the oldest first.
pub(super) fn wishes(context: &Context, name: &str) -> Result<Vec<Wish>, Failure> {
    let mut wishes = Vec::new();
    for (name, record) in context.repository.refs_below(&format!("{ADDED}{name}/"))? {
        let text = context.repository.read_record(&record)?;
        let wish: Wish = serde_json::from_str(&text).map_err(|error| {
            let message = format!("the wish at {name} cannot be read: {error}");
            Failure::new(Exit::Environment, "wish", message)
                .help(format!("`git update-ref -d {name}` gives it up"))
        })?;
        if wish.version > VERSION {
            let message = format!("the wish at {name} is of a newer version of this program");
            return Err(Failure::new(Exit::Environment, "wish", message).help("use that version"));
        }
        wishes.push(wish);
    }
    wishes.sort_by(|a, b| (a.place, &a.unit).cmp(&(b.place, &b.unit)));
    Ok(wishes)
}

impl Wish {
    /// A wish that comes after all others.
    pub(super) fn after(others: &[Self], unit: UnitId, title: String, branch: &str, review: bool) -> Self {
        let last = others.iter().map(|wish| wish.place).max().unwrap_or(0);
        Self {
            version: VERSION,
            unit,
            title,
            branch: branch.to_owned(),
            review,
            place: last + 1,
        }
    }
}

/// Writes wishes down, all or none, each with the commit that its branch has now and that it keeps.
pub(super) fn write(context: &Context, name: &str, wishes: &[(Wish, Oid)]) -> Result<(), Failure> {
    let prefix = format!("{ADDED}{name}/");
    let record = |(wish, head): &(Wish, Oid)| -> Result<RecordText, Failure> {
        Ok(RecordText {
            name: format!("{prefix}{}", wish.unit),
            tree: context.repository.tree_of(head)?,
            parents: vec![head.clone()],
            text: serde_json::to_string_pretty(wish).expect("a wish is plain data"),
        })
    };
    let records = wishes.iter().map(record).collect::<Result<Vec<_>, _>>()?;
    Ok(context.repository.write_records(&prefix, &records)?)
}

/// The wishes that the run does not have yet.
pub(super) fn not_in_run(context: &Context, reading: &Reading) -> Result<Vec<Wish>, Failure> {
    let mut wishes = wishes(context, &reading.frozen.pipeline.name)?;
    wishes.retain(|wish| reading.view.unit(&wish.unit).is_none());
    Ok(wishes)
}

/// The unit of a run that a person names.
pub(super) fn unit_of_run(context: &Context, reading: &Reading, name: &str) -> Result<UnitId, Failure> {
    let unknown = match reading.unit(name) {
        Ok(unit) => return Ok(unit.id.clone()),
        Err(unknown) => unknown,
    };
    let brought = not_in_run(context, reading)?;
    let is_brought = brought.iter().any(|wish| wish.unit.as_str() == name);
    if !is_brought || context.runs()?.last() != Some(&reading.run) {
        return Err(unknown);
    }
    Err(super::brought::not_taken_in(name, Some(reading)))
}

/// The pipelines to which a branch was brought as this unit.
pub(super) fn pipelines_with(context: &Context, unit: &UnitId) -> Result<Vec<String>, Failure> {
    let refs = context.repository.refs_below(ADDED)?;
    let names = refs.iter().filter_map(|(name, _)| {
        let (pipeline, of) = name.strip_prefix(ADDED)?.split_once('/')?;
        (of == unit.as_str()).then(|| pipeline.to_owned())
    });
    Ok(names.collect())
}

/// Gives a wish up.
pub(super) fn forget(context: &Context, name: &str, unit: &UnitId) -> Result<(), Failure> {
    let name = format!("{ADDED}{name}/{unit}");
    Ok(context.repository.delete_ref(&name, None)?)
}

/// The pipeline of a file with the units of its wishes.
pub(super) fn lay_over(context: &Context, mut frozen: Frozen) -> Result<Frozen, Failure> {
    let wishes = wishes(context, &frozen.pipeline.name)?;
    for wish in wishes {
        if frozen.pipeline.units.iter().any(|unit| unit.id == wish.unit) {
            let message = format!(
                "the unit `{}` has the id of a branch that was added by hand, `{}`",
                wish.unit, wish.branch
            );
            return Err(Failure::new(Exit::InvalidFile, "name_taken", message)
                .help("give the unit in the file another id"));
        }
        let unit = unit_of(&wish, &frozen.pipeline);
        frozen.pipeline.units.push(unit);
    }
    Ok(frozen)
}

fn unit_of(wish: &Wish, pipeline: &Pipeline) -> Unit {
    // Of one that a person vouches for the tier is only asked when an author has to resolve a conflict.
    let has_author = |tier: &&String| {
        let tier = pipeline.tiers.get(*tier);
        tier.is_some_and(|tier| tier.resolve_stage().is_some())
    };
    let default = Some(&pipeline.default_tier).filter(|tier| pipeline.tiers.contains_key(*tier));
    let tier = default
        .filter(|tier| wish.review || has_author(tier))
        .or_else(|| pipeline.tiers.keys().find(has_author))
        .or_else(|| pipeline.tiers.keys().next());
    Unit {
        exclusive: std::collections::BTreeSet::new(),
        id: wish.unit.clone(),
        title: wish.title.clone(),
        prompt: crate::spec::prompt_of_branch(&wish.branch),
        acceptance: Vec::new(),
        paths: Vec::new(),
        needs: Vec::new(),
        tier: tier.cloned().unwrap_or_default(),
        priority: 0,
        agent: None,
        budget: None,
        checks: Vec::new(),
        may_change_tests: false,
        ticket: None,
        from_branch: Some(FromBranch {
            name: wish.branch.clone(),
            review: wish.review,
        }),
    }
}

/// The units that an earlier run lacks to be a run of this pipeline, when they are all that it lacks.
pub(super) fn missing_in<'p>(
    context: &Context,
    earlier: &Frozen,
    pipeline: &'p Pipeline,
) -> Result<Option<&'p [Unit]>, Failure> {
    let had = earlier.pipeline.units.len();
    let Some(more) = pipeline.units.get(had..).filter(|more| !more.is_empty()) else {
        return Ok(None);
    };
    let wishes = wishes(context, &pipeline.name)?;
    let added = |unit: &Unit| wishes.iter().any(|wish| wish.unit == unit.id);
    let without = Pipeline {
        units: pipeline.units[..had].to_vec(),
        ..pipeline.clone()
    };
    let is_all = more.iter().all(added) && without == earlier.pipeline;
    Ok(is_all.then_some(more))
}

/// The pipeline of a new run, without the wishes that an earlier one fulfilled or a person gave up there; these are
/// forgotten.
pub(super) fn without_settled(
    context: &Context,
    mut frozen: Frozen,
    earlier: &Reading,
) -> Result<Frozen, Failure> {
    let name = frozen.pipeline.name.clone();
    for wish in wishes(context, &name)? {
        let row = earlier.view.unit(&wish.unit);
        let settled = [UnitState::Landed, UnitState::Cancelled];
        if row.is_some_and(|row| settled.contains(&row.state)) {
            frozen.pipeline.units.retain(|unit| unit.id != wish.unit);
            forget(context, &name, &wish.unit)?;
        }
    }
    Ok(frozen)
}
