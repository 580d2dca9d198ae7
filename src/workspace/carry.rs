//! The frame of an attempt: its directories, its worktree, its ports, and their end; and the same frame around the work
//! of an attempt whose engine died.

use std::collections::HashSet;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::{mpsc, watch};

use crate::git::{IntegrateUnit, View};
use crate::id::{AttemptKey, RunId};
use crate::port::{Activity, Adopted, AttemptOrder, AttemptReturn, Ended, Stop};
use crate::process::{END_BYTES_MAX, END_FILE, ProcessEnd, told_end};
use crate::spec::Role;

use super::attempt::{AGENT_JOB, Attempt, Logs, blocking};
use super::environment::{ADDITIONS_BYTES_MAX, Environment};
use super::note::Note;
use super::place::{self, Place};
use super::{PortLease, Shared, bring};

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
    let mut answer = AttemptReturn::unbegun(logs.main.clone());
    if *stop.borrow() == Stop::No {
        match create(&place, &logs).await {
            Ok(out) => {
                let begun = Begun {
                    shared,
                    order,
                    place,
                    logs,
                    stop,
                    activity,
                };
                begun.go_on(out, &mut answer).await;
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

/// See [`Launcher::discard`](crate::port::Launcher::discard): takes the worktree and the attempt's directory away,
/// whatever an agent did to them. Where somebody removed them, git's registration is still to go.
pub(super) async fn discard(shared: Arc<Shared>, run: RunId, key: AttemptKey) -> Result<(), String> {
    let place = Place::of(&shared.settings.worktrees_root, &run, &key);
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

/// See [`Launcher::adopt`](crate::port::Launcher::adopt).
pub(super) async fn adopt(shared: Arc<Shared>, order: AttemptOrder) -> Option<Adopted> {
    let order = Arc::new(order);
    let place = Place::of(&shared.settings.worktrees_root, &order.run, &order.key);
    let out = place::open_directory(&place.out)?;
    let logs = Logs::of(&shared.settings.logs_root, &order);
    let left = left_by_agent(&place, &order);
    let lease = lease_ports(&shared, &order).ok()?;
    let mut environment = Environment::new(&order, &place, &shared.settings.user_env, lease.ports()).ok()?;
    let additions = place::read_plain(&out, place::ADDITIONS_FILE, ADDITIONS_BYTES_MAX);
    if let Ok(Some(additions)) = additions {
        // What cannot be read now could not be read then; teardown runs without it.
        drop(environment.add(&additions));
    }
    // Nobody waits for a word, and nobody asks the dead to stop.
    let ((_never, stop), (activity, _)) = (watch::channel(Stop::No), mpsc::channel(1));
    let mut answer = AttemptReturn::unbegun(logs.main.clone());
    let attempt = Attempt {
        shared: Arc::clone(&shared),
        order,
        place,
        logs,
        environment,
        stop,
        activity,
        out: Arc::new(out),
        tracked: Arc::new(HashSet::new()),
    };
    let adopted = match left {
        Some((end, note)) => {
            answer.duration_ms = u64::try_from(end.duration.as_millis()).unwrap_or(u64::MAX);
            let packet = note.packet.clone();
            attempt.collect(end, note, 0, &mut answer).await;
            Some(packet)
        }
        None => None,
    };
    attempt.tear_down(&mut answer).await;
    adopted.map(|packet| Adopted {
        returned: answer,
        packet,
    })
}

/// What a supervisor told of the agent's own end, with the note of the attempt.
/// `None` when the agent was ended by somebody, when nobody told its end, or when the note is another attempt's.
fn left_by_agent(place: &Place, order: &AttemptOrder) -> Option<(ProcessEnd, Note)> {
    let note = Note::read(place).ok()??;
    let scratch = place::open_directory(&place.scratch.join(AGENT_JOB))?;
    let end = place::read_plain(&scratch, END_FILE, END_BYTES_MAX).ok()??;
    let end = told_end(&end)?;
    let by_itself = match end.ended {
        Ended::Exited(_) | Ended::Timeout | Ended::Idle => true,
        // Whoever killed the agent may be who killed the engine.
        Ended::Signalled(_)
        | Ended::Stopped
        | Ended::NotStarted(_)
        | Ended::SetupFailed(_)
        | Ended::Infrastructure(_) => false,
    };
    let same = note.fence == order.fence && note.run == order.run.as_str();
    (by_itself && same).then_some((end, note))
}

fn lease_ports(shared: &Shared, order: &AttemptOrder) -> Result<PortLease, String> {
    let workspace = &order.workspace;
    let owner = format!("{}/{}", order.key.unit, order.key.stage);
    shared.settings.ports.lease(
        &owner,
        &workspace.ports,
        workspace.port_base,
        workspace.port_range,
    )
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
        let settings = &self.shared.settings;
        let lease = match lease_ports(&self.shared, &self.order) {
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
    let merge = order.merge.as_ref().map(|merge| {
        let unit = IntegrateUnit {
            head: merge.head.clone(),
            base: merge.base.clone(),
        };
        repository.conflicted(&order.commit, &unit)
    });
    let merge = merge.transpose().map_err(not_made)?;
    let holds = merge.as_ref().map_or(&order.commit, |merge| &merge.tree).clone();
    let view = match order.role {
        Role::Judge => View::Judge {
            base: order.base.clone(),
            head: order.commit.clone(),
        },
        Role::Author | Role::Check => match merge {
            Some(merge) => View::Conflict {
                commit: order.commit.clone(),
                merge,
            },
            None => View::Author {
                commit: order.commit.clone(),
            },
        },
    };
    repository
        .populate_private(&place.tree, &place.git, view)
        .map_err(not_made)?;
    let mut tracked: HashSet<String> = repository
        .tracked_paths(&holds)
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
