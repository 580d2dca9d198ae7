//! Retention: runs that are over and have been followed by another for long enough are removed, with their refs and logs.
//!
//! What a run landed stays where it landed. The latest run of a name and target never expires: it is what the same command
//! goes on with, or says is finished.

use std::collections::BTreeSet;
use std::time::Duration;

use super::context::{Context, clock};
use super::failure::Failure;
use crate::id::RunId;
use crate::store::Store;
use crate::view::RunState;
use crate::workspace::bytes_below;

/// How long what is over is kept.
pub(super) const KEEP: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// Something that is old enough to go.
pub(super) struct Expired {
    /// What it is, for people and machines.
    pub(super) name: String,
    /// What it occupies on the disk.
    pub(super) bytes: u64,
    /// The run; `None` for what was set aside as damaged.
    run: Option<RunId>,
}

/// Runs that are over for longer than `keep` and are not the latest of their kind, and what was set aside that long ago.
/// A run that cannot be read is kept: somebody may want to repair it.
///
/// # Errors
/// When the runs cannot be listed.
pub(super) fn expired(context: &Context, keep: Duration) -> Result<Vec<Expired>, Failure> {
    let now = clock().now();
    let is_old =
        |at: jiff::Timestamp| Duration::try_from(now.duration_since(at)).is_ok_and(|age| age >= keep);
    let mut latest = BTreeSet::new();
    let mut found = Vec::new();
    for run in context.runs()?.into_iter().rev() {
        let Ok(reading) = context.read(&run) else {
            continue;
        };
        let newest = latest.insert((
            reading.frozen.pipeline.name.clone(),
            reading.view.run.named_target().to_owned(),
        ));
        let over = reading.view.run.state == RunState::Finished;
        let ended = reading.records.last().map(|record| record.at);
        if !newest && over && ended.is_some_and(is_old) {
            let home = &context.home;
            found.push(Expired {
                name: run.to_string(),
                bytes: bytes_below(&home.run_dir(&run)) + bytes_below(&home.logs(&run)),
                run: Some(run),
            });
        }
    }
    for path in context.home.set_aside() {
        let modified = path.metadata().and_then(|data| data.modified()).ok();
        let at = modified.and_then(|at| jiff::Timestamp::try_from(at).ok());
        if at.is_some_and(is_old) {
            found.push(Expired {
                name: path.display().to_string(),
                bytes: bytes_below(&path),
                run: None,
            });
        }
    }
    Ok(found)
}

/// Removes what expired. The refs go first, with the record from which git would rebuild the run: a run that is half gone is
/// never brought back.
///
/// # Errors
/// When git or the disk refuses; what was not removed is found again.
pub(super) fn remove(context: &Context, store: &mut Store, expired: &Expired) -> Result<(), Failure> {
    let Some(run) = &expired.run else {
        let path = std::path::Path::new(&expired.name);
        return std::fs::remove_dir_all(path).map_err(|error| Failure::io("remove", path, &error));
    };
    for prefix in ["runs", "salvage"] {
        context
            .repository
            .delete_refs_below(&format!("refs/pipeline/{prefix}/{run}/"))?;
    }
    Ok(store.remove_run(run)?)
}
