//! The frame of an attempt: its directories, its worktree, its ports, and their end.

use std::collections::HashSet;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::{mpsc, watch};

use crate::git::View;
use crate::port::{Activity, AttemptOrder, AttemptReturn, Ended, Stop};
use crate::spec::Role;

use super::attempt::{Attempt, Logs, blocking};
use super::environment::Environment;
use super::place::{self, Place};
use super::{Shared, bring};

/// See [`Launcher::launch`](crate::port::Launcher::launch).
pub(super) async fn carry_out(
    shared: Arc<Shared>,
    order: AttemptOrder,
    stop: watch::Receiver<Stop>,
    activity: mpsc::Sender<Activity>,
) -> AttemptReturn {
    let started = Instant::now();
    let order = Arc::new(order);
    let place = Place::of(&shared.settings.worktrees_root, &order.run, &order.key);
    let logs = Logs::of(&shared.settings.logs_root, &order);
    let mut answer = AttemptReturn {
        ended: Ended::Stopped,
        result: None,
        tree: None,
        checks: Vec::new(),
        log: logs.main.clone(),
        tail: String::new(),
        duration_ms: 0,
        notes: Vec::new(),
    };
    if *stop.borrow() == Stop::No {
        match create(&place, &logs).await {
            Ok(out) => {
                let begun = Begun {
                    shared: Arc::clone(&shared),
                    order,
                    place: place.clone(),
                    logs,
                    stop,
                    activity,
                };
                begun.go_on(out, &mut answer).await;
                answer.notes.extend(remove(shared, place).await.err());
            }
            Err(sentence) => answer.ended = Ended::Infrastructure(sentence),
        }
    }
    answer.duration_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    answer
}

async fn create(place: &Place, logs: &Logs) -> Result<OwnedFd, String> {
    let (place, log) = (place.clone(), logs.main.clone());
    blocking(move || {
        let directory = log.parent().expect("a log is in a directory");
        place::private_directories(directory).map_err(|error| {
            format!(
                "the log directory {} cannot be made: {error}",
                directory.display()
            )
        })?;
        place.create().map_err(|error| {
            format!(
                "the attempt's directory {} cannot be made: {error}",
                place.root.display()
            )
        })
    })
    .await
}

/// Takes the worktree and the attempt's directory away, whatever an agent did to them.
async fn remove(shared: Arc<Shared>, place: Place) -> Result<(), String> {
    blocking(move || {
        let unregistered = shared.repository.remove_worktree(&place.tree);
        let told = |error: &dyn std::fmt::Display| {
            format!(
                "{} was not removed: {error}; `pipeline clean` does it",
                place.root.display()
            )
        };
        place.remove().map_err(|error| told(&error))?;
        unregistered.map_err(|error| told(&error))
    })
    .await
}

/// An attempt whose directories are there and whose worktree is not.
struct Begun {
    shared: Arc<Shared>,
    order: Arc<AttemptOrder>,
    place: Place,
    logs: Logs,
    stop: watch::Receiver<Stop>,
    activity: mpsc::Sender<Activity>,
}

impl Begun {
    /// Makes the worktree, leases the ports, and carries the attempt through.
    async fn go_on(self, out: OwnedFd, answer: &mut AttemptReturn) {
        let (shared, order, place) = (
            Arc::clone(&self.shared),
            Arc::clone(&self.order),
            self.place.clone(),
        );
        let (tracked, notes) = match blocking(move || populate(&shared, &order, &place)).await {
            Ok(populated) => populated,
            Err(sentence) => {
                answer.ended = Ended::Infrastructure(sentence);
                return;
            }
        };
        answer.notes.extend(notes);
        let workspace = &self.order.workspace;
        let owner = format!("{}/{}", self.order.key.unit, self.order.key.stage);
        let settings = &self.shared.settings;
        let lease = settings.ports.lease(
            &owner,
            &workspace.ports,
            workspace.port_base,
            workspace.port_range,
        );
        let lease = match lease {
            Ok(lease) => lease,
            Err(sentence) => {
                answer.ended = Ended::Infrastructure(sentence);
                return;
            }
        };
        answer.notes.extend(lease.notes().iter().cloned());
        match Environment::new(&self.order, &self.place, &settings.user_env, lease.ports()) {
            Ok(environment) => {
                let mut attempt = Attempt {
                    shared: self.shared,
                    order: self.order,
                    place: self.place,
                    logs: self.logs,
                    environment,
                    stop: self.stop,
                    activity: self.activity,
                    out: Arc::new(out),
                    tracked: Arc::new(tracked),
                };
                attempt.work(answer).await;
                attempt.tear_down(answer).await;
            }
            Err(sentence) => answer.ended = Ended::SetupFailed(sentence),
        }
        // The ports are free again only now that nothing of the attempt is alive.
        drop(lease);
    }
}

/// Makes the worktree and brings in what is to be copied; the tracked paths, and notes.
fn populate(
    shared: &Shared,
    order: &AttemptOrder,
    place: &Place,
) -> Result<(HashSet<String>, Vec<String>), String> {
    let repository = &shared.repository;
    let not_made =
        |error: crate::git::Error| format!("the worktree {} cannot be made: {error}", place.tree.display());
    let reason = format!("pipeline {} {}", order.run, order.key);
    repository
        .add_worktree(&place.tree, &order.commit, &reason)
        .map_err(not_made)?;
    let view = match order.role {
        Role::Judge => View::Judge {
            base: order.base.clone(),
            head: order.commit.clone(),
        },
        Role::Author | Role::Check => View::Author {
            commit: order.commit.clone(),
        },
    };
    repository
        .populate_private(&place.tree, &place.git, view)
        .map_err(not_made)?;
    let mut tracked: HashSet<String> = repository
        .tracked_paths(&order.commit)
        .map_err(not_made)?
        .into_iter()
        .collect();
    let commit_paths = tracked.clone();
    // What the base tracks is no ignored file either, even where the unit deleted it.
    tracked.extend(repository.tracked_paths(&order.base).map_err(not_made)?);
    let (main, except) = (repository.main_root(), &shared.settings.worktrees_root);
    let notes = bring::bring(main, &place.tree, &order.workspace.copy, &tracked, except)
        .map_err(|error| format!("`workspace.copy` failed: {error}"))?;
    Ok((commit_paths, notes))
}
