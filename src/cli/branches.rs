//! Branches that units bring, as a person's commands look at them.

use std::collections::{BTreeMap, BTreeSet};

use super::context::{Context, Reading};
use super::exit::Exit;
use super::failure::Failure;
use crate::id::{Oid, UnitId};
use crate::spec::{Unit, nearest};

/// A branch that a unit brings must be there when it is taken in.
pub(super) fn require<'u>(
    context: &Context,
    units: impl Iterator<Item = &'u Unit>,
) -> Result<BTreeMap<String, Oid>, Failure> {
    let units: Vec<(&Unit, &str)> = units
        .filter_map(|unit| Some((unit, unit.from_branch.as_ref()?.name.as_str())))
        .collect();
    let names: BTreeSet<&str> = units.iter().map(|(_, name)| *name).collect();
    if names.is_empty() {
        return Ok(BTreeMap::new());
    }
    let tips = context.repository.branch_tips(&names)?;
    let missing: Vec<&(&Unit, &str)> = units
        .iter()
        .filter(|(_, name)| !tips.contains_key(*name))
        .collect();
    let Some((unit, first)) = missing.first() else {
        return Ok(tips);
    };
    let told: Vec<String> = missing
        .iter()
        .map(|(unit, name)| format!("`{name}` of unit `{}`", unit.id))
        .collect();
    let failure = no_branch(context, Exit::InvalidFile, first, &told.join(", "))?;
    Err(match super::brought::way_out(context, &unit.id)? {
        Some(command) => failure.help(format!(
            "it was brought by hand: `{command}` gives `{}` up; or make the branch again",
            unit.id
        )),
        None => failure,
    })
}

/// The failure of a branch that is not there.
pub(super) fn no_branch(context: &Context, exit: Exit, name: &str, told: &str) -> Result<Failure, Failure> {
    let branches = context.repository.branches()?;
    let like = nearest(name, branches.iter().map(String::as_str));
    let hint = like.map_or_else(String::new, |name| format!("did you mean `{name}`? "));
    Ok(
        Failure::new(exit, "no_branch", format!("there is no branch {told}")).help(format!(
            "{hint}`git branch --all` lists them; one of a remote is named `origin/…`, after a `git fetch`"
        )),
    )
}

/// Units of an earlier run whose branch is not where that run took it in: what landed is not what is there now.
pub(super) fn moved_since(context: &Context, earlier: &Reading) -> Result<BTreeSet<UnitId>, Failure> {
    let taken: BTreeMap<&UnitId, (&str, &Oid)> = earlier
        .view
        .units
        .iter()
        .filter_map(|row| Some((&row.id, (row.branch.as_deref()?, row.taken.as_ref()?))))
        .collect();
    let names: BTreeSet<&str> = taken.values().map(|(branch, _)| *branch).collect();
    if names.is_empty() {
        return Ok(BTreeSet::new());
    }
    let tips = context.repository.branch_tips(&names)?;
    let moved = taken
        .into_iter()
        .filter(|(_, (branch, head))| tips.get(*branch).is_some_and(|tip| tip != *head));
    Ok(moved.map(|(unit, _)| unit.clone()).collect())
}
