//! `pipeline clean`: removes worktrees and folders that no live unit owns.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde_json::json;

use super::context::{Context, Screen, print_json, println};
use super::exit::Exit;
use super::expire::{Expired, KEEP, expired, remove};
use super::failure::Failure;
use crate::spec::Pipeline;
use crate::workspace::{Found, Leftover};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Only show what would be removed
    #[arg(long)]
    dry_run: bool,
    /// Remove finished runs that another followed once they are this old [default: 30d]
    #[arg(long, value_name = "DURATION")]
    older_than: Option<jiff::SignedDuration>,
    /// Print JSON
    #[arg(long)]
    pub(super) json: bool,
}

pub(super) fn perform(context: &Context, args: &Args, screen: Screen) -> Result<Exit, Failure> {
    let keep = args.older_than.map_or(KEEP, jiff::SignedDuration::unsigned_abs);
    // Held to the end: what a running engine owns looks like a leftover to everybody else.
    let mut store = (!args.dry_run)
        .then(|| super::steer::open_store(context, "clean"))
        .transpose()?;
    let expired = expired(context, keep)?;
    if let Some(store) = &mut store {
        for old in &expired {
            remove(context, store, old)?;
        }
    }
    let found = all_leftovers(context, args.dry_run);
    let left = found.iter().filter(|found| found.failure.is_some()).count();
    let gone = found.iter().filter(|found| found.failure.is_none());
    let bytes = gone.map(|found| found.bytes).sum::<u64>() + expired.iter().map(|old| old.bytes).sum::<u64>();
    let exit = if left == 0 { Exit::Done } else { Exit::Environment };
    if screen.json {
        let rows: Vec<_> =
            found.iter().map(|f| json!({"path": f.path, "bytes": f.bytes, "what": word(f.what), "kept": f.kept, "failure": f.failure})).collect();
        let old: Vec<_> = expired
            .iter()
            .map(|old| json!({"name": old.name, "bytes": old.bytes}))
            .collect();
        print_json(
            &json!({"schema": 1, "removed": !args.dry_run, "found": rows, "expired": old, "bytes": bytes}),
        );
        return Ok(exit);
    }
    tell_expired(&expired);
    tell_found(&found);
    println(&closing(found.len() + expired.len(), left, bytes, args.dry_run));
    Ok(exit)
}

/// The last line: of `all` that was found, `left` things could not be removed; the others occupy or occupied `bytes`.
fn closing(all: usize, left: usize, bytes: u64, dry_run: bool) -> String {
    let size = size(bytes);
    match (all, left) {
        (0, _) => "Nothing to remove.".to_owned(),
        _ if dry_run => format!("{all} to remove, {size}. Next: pipeline clean"),
        (_, 0) => format!("{all} removed, {size} freed."),
        _ => format!(
            "{} removed, {size} freed; {left} could not be removed. Mend what is said above. Next: pipeline clean",
            all - left
        ),
    }
}

fn tell_expired(expired: &[Expired]) {
    for old in expired {
        println(&format!("{:>10}  {}  (expired)", size(old.bytes), old.name));
    }
}

fn tell_found(found: &[Found]) {
    for item in found {
        println(&format!(
            "{:>10}  {}  ({})",
            size(item.bytes),
            item.path.display(),
            word(item.what)
        ));
        if let Some(name) = &item.kept {
            println(&format!("            unfinished work is kept as {name}"));
        }
        if let Some(why) = &item.failure {
            println(&format!("            could not be removed: {why}"));
        }
    }
}

/// Worktrees and folders of attempts that nobody owns, and temporary folders of what was killed. Those that people repair units in are theirs.
pub(super) fn leftovers(context: &Context, pipeline: Option<&Pipeline>, dry_run: bool) -> Vec<Found> {
    let root = context.worktrees_root(pipeline);
    let kept_for_people = root.join("resolve");
    let live = |path: &Path| path.starts_with(&kept_for_people);
    crate::workspace::clean(&context.repository, &root, &live, dry_run)
}

/// The same, wherever a pipeline of a run of this repository has its worktrees.
pub(super) fn all_leftovers(context: &Context, dry_run: bool) -> Vec<Found> {
    let mut roots: BTreeMap<PathBuf, Option<Pipeline>> =
        BTreeMap::from([(context.worktrees_root(None), None)]);
    for run in context.runs().unwrap_or_default() {
        // One that cannot be read is told by every verb that needs it.
        if let Ok(frozen) = context.read_frozen(&run) {
            let root = context.worktrees_root(Some(&frozen.pipeline));
            roots.entry(root).or_insert(Some(frozen.pipeline));
        }
    }
    let mut seen = BTreeSet::new();
    roots
        .values()
        .flat_map(|pipeline| leftovers(context, pipeline.as_ref(), dry_run))
        .filter(|found| seen.insert(found.path.clone()))
        .collect()
}

fn word(what: Leftover) -> &'static str {
    match what {
        Leftover::Attempt => "attempt",
        Leftover::Registration => "registration",
        Leftover::Temporary => "temporary",
    }
}

/// Bytes for people.
fn size(bytes: u64) -> String {
    indicatif::HumanBytes(bytes).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_not_be_removed_is_not_counted_as_removed() {
        assert_eq!(
            closing(3, 1, 2048, false),
            "2 removed, 2.00 KiB freed; 1 could not be removed. Mend what is said above. Next: pipeline clean"
        );
        assert_eq!(closing(3, 0, 2048, false), "3 removed, 2.00 KiB freed.");
        assert_eq!(
            closing(3, 0, 2048, true),
            "3 to remove, 2.00 KiB. Next: pipeline clean"
        );
    }
}
