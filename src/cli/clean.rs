//! `pipeline clean`: removes worktrees and folders that no live unit owns.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde_json::json;

use super::context::{Context, Screen, print_json, println};
use super::exit::Exit;
use super::failure::Failure;
use crate::spec::Pipeline;
use crate::store::StoreLease;
use crate::workspace::{Found, Leftover};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Only show what would be removed
    #[arg(long)]
    dry_run: bool,
    /// Print JSON
    #[arg(long)]
    pub(super) json: bool,
}

pub(super) fn perform(context: &Context, args: &Args, screen: Screen) -> Result<Exit, Failure> {
    // What a running engine owns looks like a leftover to everybody else.
    let _lease: Option<StoreLease> = if args.dry_run {
        None
    } else {
        Some(super::steer::lease(context, "clean")?)
    };
    let found = all_leftovers(context, args.dry_run);
    let bytes: u64 = found.iter().map(|found| found.bytes).sum();
    if screen.json {
        let rows: Vec<_> =
            found.iter().map(|f| json!({"path": f.path, "bytes": f.bytes, "what": word(f.what), "kept": f.kept, "failure": f.failure})).collect();
        print_json(&json!({"schema": 1, "removed": !args.dry_run, "found": rows, "bytes": bytes}));
        return Ok(Exit::Done);
    }
    for item in &found {
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
    println(&match (found.len(), args.dry_run) {
        (0, _) => "Nothing to remove.".to_owned(),
        (count, true) => format!("{count} leftovers, {}. Next: pipeline clean", size(bytes)),
        (count, false) => format!("{count} leftovers removed, {} freed.", size(bytes)),
    });
    Ok(Exit::Done)
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
