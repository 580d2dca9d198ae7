//! Bundles: what a person needs to repair an evicted unit, in one folder.
//!
//! A bundle is rendered from the journal's view and from git, so writing it again gives the same.

use std::path::Path;

use super::context::{Context, write_file};
use super::failure::Failure;
use crate::event::CheckOutcome;
use crate::git::Repository;
use crate::id::RunId;
use crate::report::bundle::{BundleFacts, bundle_json, bundle_md};
use crate::spec::Pipeline;
use crate::store::Home;
use crate::view::{UnitState, UnitView, View};

/// Bytes of a diff that go into a bundle; git has the whole.
const PATCH_BYTES_MAX: usize = 16 << 20;

/// Names in the view the bundles that have been written.
pub(super) fn name_bundles(home: &Home, run: &RunId, view: &mut View) {
    for unit in &mut view.units {
        let folder = home.bundles(run, &unit.id);
        let is_there = unit.state == UnitState::Evicted && folder.join("bundle.json").exists();
        unit.bundle = is_there.then(|| folder.display().to_string());
    }
}

/// Writes the bundle of an evicted unit.
///
/// # Errors
/// When git or the folder fails.
pub(super) fn write(
    context: &Context,
    pipeline: &Pipeline,
    run: &RunId,
    view: &View,
    unit: &UnitView,
) -> Result<(), Failure> {
    let repository = &context.repository;
    let folder = context.home.bundles(run, &unit.id);
    let stat = diff_stat(repository, unit)?;
    let repro = repro(pipeline, unit);
    let facts = BundleFacts {
        run: &view.run,
        unit,
        diff_stat: &stat,
        repro: &repro,
    };
    if let (Some(base), Some(head)) = (&unit.base, &unit.head) {
        put(
            &folder,
            "diff.patch",
            &repository.diff_patch(base, head, PATCH_BYTES_MAX)?.text,
        )?;
    }
    put(&folder, "bundle.md", bundle_md(&facts).as_bytes())?;
    let json = serde_json::to_vec_pretty(&bundle_json(&facts)).expect("a JSON value serialises");
    // The last file: a folder that has it is complete.
    put(&folder, "bundle.json", &json)
}

fn put(folder: &Path, name: &str, bytes: &[u8]) -> Result<(), Failure> {
    write_file(&folder.join(name), bytes)
}

fn diff_stat(repository: &Repository, unit: &UnitView) -> Result<String, Failure> {
    let (Some(base), Some(head)) = (&unit.base, &unit.head) else {
        return Ok(String::new());
    };
    let stats = repository.diff_stat(base, head)?;
    let line = |stat: crate::git::FileStat| match stat.binary {
        true => format!("{}  binary\n", stat.path),
        false => format!("{}  +{} -{}\n", stat.path, stat.added, stat.removed),
    };
    Ok(stats.into_iter().map(line).collect())
}

/// Commands that show the failure again.
fn repro(pipeline: &Pipeline, unit: &UnitView) -> Vec<String> {
    let Some(head) = &unit.head else { return Vec::new() };
    let mut commands = vec![
        format!("git worktree add --detach ../{} {head}", unit.id),
        format!("cd ../{}", unit.id),
    ];
    let of_unit = pipeline
        .units
        .iter()
        .filter(|spec| spec.id == unit.id)
        .flat_map(|spec| &spec.checks);
    let checks: Vec<_> = pipeline.checks.iter().chain(of_unit).collect();
    for failed in unit
        .checks
        .iter()
        .filter(|check| check.result.outcome != CheckOutcome::Passed)
    {
        commands.extend(checks.iter().filter(|c| c.name == failed.result.name).map(
            |c| match c.cwd.as_str() {
                "." => c.run.clone(),
                cwd => format!("(cd {} && {})", shell_words::quote(cwd), c.run),
            },
        ));
    }
    commands
}
