//! Looking at what an author under way has made so far.
//!
//! The worktree is read as when the author is done, under the same limits, and nothing in it or beside it is changed. But
//! its agent is alive and may change it under the reader, so what comes of it is only shown, and the end of the engine
//! cuts it off. Of the attempt's note, which the agent could forge, only what takes away from its work is believed.

use std::sync::Arc;

use crate::git::{SnapshotLimits, Taken};
use crate::id::Oid;
use crate::port::Glance;

use super::Shared;
use super::attempt::{blocking, is_directory};
use super::note::Note;
use super::place::Place;

/// See [`Launcher::glance`](crate::port::Launcher::glance).
pub(super) async fn glance(shared: Arc<Shared>, glance: Glance) -> Option<Oid> {
    blocking(move || take(&shared, &glance)).await.ok().flatten()
}

fn take(shared: &Shared, glance: &Glance) -> Result<Option<Oid>, String> {
    let settings = &shared.settings;
    let place = Place::of(&settings.worktrees_root, &glance.run, &glance.key);
    // The note is left when set-up is done, just before the agent begins.
    let Some(note) = Note::read(&place)? else {
        return Ok(None);
    };
    let same = note.fence == glance.fence && note.run == glance.run.as_str();
    if !(same && note.takes_tree && is_directory(&place.tree)) {
        return Ok(None);
    }
    let limits = SnapshotLimits {
        files_max: settings.files_max,
        bytes_max: settings.bytes_max,
    };
    let aside = shared.repository.aside_in(&glance.objects, &glance.cut);
    match aside.take_tree(&place.tree, &glance.commit, &limits, &note.skip) {
        Ok(Taken::Tree(tree)) => Ok(Some(tree)),
        Ok(Taken::Refused(_)) => Ok(None),
        Err(error) => Err(error.to_string()),
    }
}
