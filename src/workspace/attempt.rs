//! What happens in an attempt whose worktree stands: set-up, the task, and teardown.

use std::collections::{BTreeMap, HashSet};
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};

use crate::git::{SnapshotLimits, Taken};
use crate::id::AttemptKey;
use crate::port::{Activity, AgentTask, AttemptOrder, AttemptReturn, Ended, Stop, TakenTree, Task};
use crate::process::{ActivityLine, Command, LOG_BYTES_MAX, ProcessEnd};
use crate::spec::Step;

use super::environment::{ADDITIONS_BYTES_MAX, Environment};
use super::note::{Note, attempt_name};
use super::place::{self, Place};
use super::{Shared, bring, material};

/// Most bytes of the file `PIPELINE_RESULT`.
const RESULT_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// Wall time of all set-up steps together.
const SETUP_MAX: Duration = Duration::from_secs(30 * 60);
/// Wall time of all teardown steps together.
const TEARDOWN_MAX: Duration = Duration::from_secs(60);
/// Names the agent's own directory below `scratch/`.
pub(super) const AGENT_JOB: &str = "agent";
/// Lines of activity that may wait for their reader.
const ACTIVITY_WAITING_MAX: usize = 16;

/// The log of an attempt below the logs of its run.
pub fn log_path(logs_root: &Path, key: &AttemptKey) -> PathBuf {
    log_file(logs_root, key, "")
}

fn log_file(logs_root: &Path, key: &AttemptKey, suffix: &str) -> PathBuf {
    let name = format!("{}{suffix}.log", attempt_name(key));
    logs_root.join(key.unit.as_str()).join(name)
}

/// The logs of one attempt: its own, and those of set-up and teardown.
#[derive(Debug, Clone)]
pub(super) struct Logs {
    pub(super) main: PathBuf,
    setup: PathBuf,
    teardown: PathBuf,
}

impl Logs {
    pub(super) fn of(logs_root: &Path, order: &AttemptOrder) -> Self {
        let log = |suffix| log_file(logs_root, &order.key, suffix);
        Self {
            main: log(""),
            setup: log(".setup"),
            teardown: log(".teardown"),
        }
    }
}

/// An attempt whose worktree stands.
pub(super) struct Attempt {
    pub(super) shared: Arc<Shared>,
    pub(super) order: Arc<AttemptOrder>,
    pub(super) place: Place,
    pub(super) logs: Logs,
    pub(super) environment: Environment,
    pub(super) stop: watch::Receiver<Stop>,
    pub(super) activity: mpsc::Sender<Activity>,
    pub(super) out: Arc<OwnedFd>,
    pub(super) tracked: Arc<HashSet<String>>,
}

/// One command of an attempt.
pub(super) struct Job<'a> {
    /// Names its directory below `scratch/`.
    pub(super) name: String,
    pub(super) argv: Vec<String>,
    pub(super) cwd: &'a Path,
    pub(super) env: BTreeMap<String, String>,
    pub(super) stdin: Option<PathBuf>,
    pub(super) log: &'a Path,
    pub(super) wall_max: Duration,
    pub(super) idle_max: Duration,
}

/// The argument vector of a shell line.
pub(super) fn shell(line: &str) -> Vec<String> {
    ["/bin/sh", "-c", line].map(str::to_owned).to_vec()
}

/// Runs what would hold up the other tasks of this thread.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, String> + Send + 'static,
) -> Result<T, String> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => Err(format!("the work on the worktree failed: {error}")),
    }
}

impl Attempt {
    /// Set-up and the task.
    pub(super) async fn work(&mut self, answer: &mut AttemptReturn) {
        // A log may be there already when a run was repeated under the same name.
        let offset = place::log_length(&self.logs.setup);
        if let Err(ended) = self.set_up().await {
            answer.ended = ended;
            answer.log = self.logs.setup.clone();
            answer.tail = place::log_tail(&answer.log, offset);
            if let Task::Checks(checks) = &self.order.task {
                answer.checks = super::checks::without_run(checks, &answer.ended, &answer.tail);
            }
            return;
        }
        let order = Arc::clone(&self.order);
        match &order.task {
            Task::Agent(task) => self.agent(task, answer).await,
            Task::Checks(checks) => self.checks(checks, answer).await,
        }
    }

    fn steps(&self, steps: &[Step]) -> Vec<Step> {
        steps
            .iter()
            .filter(|step| step.roles.contains(&self.order.role))
            .cloned()
            .collect()
    }

    async fn set_up(&mut self) -> Result<(), Ended> {
        let deadline = Instant::now() + SETUP_MAX;
        let log = self.logs.setup.clone();
        for (at, step) in (1..).zip(self.steps(&self.order.workspace.setup)) {
            let wall_max = deadline.saturating_duration_since(Instant::now());
            let end = self
                .run(
                    self.step(format!("setup-{at}"), &step, &self.place.tree, &log, wall_max),
                    self.stop.clone(),
                )
                .await;
            // Also after a failure: teardown may need what the step made before it failed.
            let added = self.read_additions();
            let failed = |how: &str| Ended::SetupFailed(format!("set-up step {at}, `{}`, {how}", step.run));
            match &end.ended {
                Ended::Exited(0) => added.map_err(|sentence| failed(&format!("is refused: {sentence}")))?,
                Ended::Stopped | Ended::Infrastructure(_) => return Err(end.ended),
                other => return Err(failed(&how(other, wall_max))),
            }
        }
        Ok(())
    }

    fn read_additions(&mut self) -> Result<(), String> {
        match place::read_plain(&self.out, place::ADDITIONS_FILE, ADDITIONS_BYTES_MAX)? {
            Some(file) => self.environment.add(&file),
            None => Ok(()),
        }
    }

    fn step<'a>(
        &self,
        name: String,
        step: &Step,
        cwd: &'a Path,
        log: &'a Path,
        wall_max: Duration,
    ) -> Job<'a> {
        Job {
            name,
            argv: shell(&step.run),
            cwd,
            env: self.environment.with(&BTreeMap::new()),
            stdin: None,
            log,
            wall_max,
            idle_max: wall_max,
        }
    }

    /// Runs one command to its end.
    pub(super) async fn run(&self, job: Job<'_>, stop: watch::Receiver<Stop>) -> ProcessEnd {
        let scratch = self.place.scratch.join(&job.name);
        if let Err(error) = place::private_directories(&scratch) {
            return ProcessEnd {
                ended: Ended::Infrastructure(format!("{} cannot be made: {error}", scratch.display())),
                duration: Duration::ZERO,
                killed_descendants: 0,
                output_bytes: 0,
            };
        }
        let command = Command {
            argv: job.argv,
            cwd: job.cwd.to_owned(),
            env: job.env,
            stdin: job.stdin,
            log: job.log.to_owned(),
            log_bytes_max: LOG_BYTES_MAX,
            wall_max: job.wall_max,
            idle_max: job.idle_max,
        };
        let (sender, mut lines) = mpsc::channel::<ActivityLine>(ACTIVITY_WAITING_MAX);
        let (activity, key) = (self.activity.clone(), self.order.key.clone());
        tokio::spawn(async move {
            while let Some(line) = lines.recv().await {
                let line = Activity {
                    key: key.clone(),
                    line: line.line,
                    idle: line.idle,
                };
                // A reader that is behind misses a line.
                drop(activity.try_send(line));
            }
        });
        self.shared
            .launch
            .run(command, &scratch, stop, Some(sender))
            .await
    }

    async fn agent(&self, task: &AgentTask, answer: &mut AttemptReturn) {
        let argv = match self.provide(task).await {
            Ok(argv) => argv,
            Err(ended) => {
                answer.ended = ended;
                return;
            }
        };
        let note = match self.leave_note(task).await {
            Ok(note) => note,
            Err(sentence) => {
                answer.ended = Ended::Infrastructure(sentence);
                return;
            }
        };
        let job = Job {
            name: AGENT_JOB.to_owned(),
            argv,
            cwd: &self.place.tree,
            env: self.environment.with(&task.env),
            stdin: Some(self.place.scratch.join("prompt")),
            log: &self.logs.main,
            wall_max: self.order.wall_max,
            idle_max: self.order.idle_max,
        };
        let offset = place::log_length(&self.logs.main);
        let end = self.run(job, self.stop.clone()).await;
        self.collect(end, note, offset, answer).await;
    }

    /// Gathers what an agent that ended left: its result, the tree if it is an author's, and the end of its log from
    /// `offset` on.
    pub(super) async fn collect(&self, end: ProcessEnd, note: Note, offset: u64, answer: &mut AttemptReturn) {
        answer.notes.extend(outlived(end.killed_descendants, "the agent"));
        answer.ended = end.ended;
        answer.tail = place::log_tail(&self.logs.main, offset);
        let out = Arc::clone(&self.out);
        match blocking(move || place::read_plain(&out, place::RESULT_FILE, RESULT_BYTES_MAX)).await {
            Ok(result) => answer.result = result,
            Err(sentence) => answer.notes.push(format!("the result was refused: {sentence}")),
        }
        if note.takes_tree && !matches!(answer.ended, Ended::NotStarted(_)) {
            self.take_tree(note.skip, answer).await;
        }
    }

    /// Writes what the agent is given: its context, its prompt, and its own files; its argument vector.
    async fn provide(&self, task: &AgentTask) -> Result<Vec<String>, Ended> {
        let (shared, order, place, task) = (
            Arc::clone(&self.shared),
            Arc::clone(&self.order),
            self.place.clone(),
            task.clone(),
        );
        let provided = tokio::task::spawn_blocking(move || {
            let written = || -> io::Result<()> {
                for (path, content) in &task.context {
                    place::write_read_only(&place.context, Path::new(path), content, 0o444)?;
                }
                place::seal(&place.context)?;
                place::write_read_only(&place.scratch, Path::new("prompt"), task.prompt.as_bytes(), 0o400)?;
                Ok(())
            };
            written().map_err(material::Error::from)?;
            material::materialise(
                &shared.repository,
                &order.agents_from,
                &order.commit,
                &place,
                &task.argv,
            )
        });
        match provided.await {
            Ok(Ok(argv)) => Ok(argv),
            Ok(Err(error @ material::Error::NotInBase(_))) => Err(Ended::NotStarted(error.to_string())),
            Ok(Err(error)) => Err(Ended::Infrastructure(format!(
                "{error} (below {})",
                self.place.root.display()
            ))),
            Err(error) => Err(Ended::Infrastructure(format!(
                "the agent's files cannot be written: {error}"
            ))),
        }
    }

    /// Leaves the note for whoever finds the attempt without its engine, with the paths that are no author's work.
    async fn leave_note(&self, task: &AgentTask) -> Result<Note, String> {
        let (order, place, tracked, limits) = (
            Arc::clone(&self.order),
            self.place.clone(),
            Arc::clone(&self.tracked),
            self.limits(),
        );
        let takes_tree = task.takes_tree;
        blocking(move || {
            let skip = if takes_tree {
                bring::untracked(&place.tree, &tracked).map_err(|error| {
                    format!(
                        "the fresh worktree {} cannot be looked through: {error}",
                        place.tree.display()
                    )
                })?
            } else {
                Vec::new()
            };
            let note = Note::new(&order, takes_tree, &limits, &skip);
            note.write(&place).map_err(|error| {
                format!(
                    "the attempt's note in {} cannot be written: {error}",
                    place.scratch.display()
                )
            })?;
            Ok(note)
        })
        .await
    }

    fn limits(&self) -> SnapshotLimits {
        SnapshotLimits {
            files_max: self.shared.settings.files_max,
            bytes_max: self.shared.settings.bytes_max,
        }
    }

    async fn take_tree(&self, skip: Vec<String>, answer: &mut AttemptReturn) {
        let (shared, order, tree, limits) = (
            Arc::clone(&self.shared),
            Arc::clone(&self.order),
            self.place.tree.clone(),
            self.limits(),
        );
        let taken = blocking(move || {
            if !is_directory(&tree) {
                return Ok(TakenTree::Refused(
                    "the worktree was removed by the agent".to_owned(),
                ));
            }
            let repository = &shared.repository;
            let taken = repository.take_tree(&tree, &order.commit, &limits, &skip);
            match taken.map_err(|error| error.to_string())? {
                Taken::Refused(refusal) if refusal.too_large => Ok(TakenTree::TooLarge(refusal.sentence)),
                Taken::Refused(refusal) => Ok(TakenTree::Refused(refusal.sentence)),
                Taken::Tree(oid) => {
                    let (unit, attempt) = (&order.key.unit, attempt_name(&order.key));
                    let name = format!("refs/pipeline/runs/{}/{unit}/attempts/{attempt}", order.run);
                    repository
                        .write_ref(&name, &oid, None)
                        .map_err(|error| error.to_string())?;
                    Ok(TakenTree::Tree(oid))
                }
            }
        });
        match taken.await {
            Ok(tree) => answer.tree = Some(tree),
            Err(sentence) => {
                let sentence = format!("the tree the agent left cannot be taken: {sentence}");
                if matches!(answer.ended, Ended::Exited(_)) {
                    answer.ended = Ended::Infrastructure(sentence);
                } else {
                    answer.notes.push(sentence);
                }
            }
        }
    }

    /// Runs the teardown steps, whatever came before; their failures are notes.
    pub(super) async fn tear_down(&self, answer: &mut AttemptReturn) {
        let deadline = Instant::now() + TEARDOWN_MAX;
        // Nobody asks teardown to stop: it gives back what set-up took, and its time is short.
        let (_never, stop) = watch::channel(Stop::No);
        let tree = &self.place.tree;
        let cwd = if is_directory(tree) {
            tree
        } else {
            &self.place.root
        };
        for (at, step) in (1..).zip(self.steps(&self.order.workspace.teardown)) {
            let wall_max = deadline.saturating_duration_since(Instant::now());
            let job = self.step(
                format!("teardown-{at}"),
                &step,
                cwd,
                &self.logs.teardown,
                wall_max,
            );
            let end = self.run(job, stop.clone()).await;
            if end.ended != Ended::Exited(0) {
                let how = how(&end.ended, TEARDOWN_MAX);
                let log = self.logs.teardown.display();
                answer
                    .notes
                    .push(format!("teardown step {at}, `{}`, {how}; see {log}", step.run));
            }
        }
    }
}

/// Whether a directory, and not a link to one, is there.
pub(super) fn is_directory(path: &Path) -> bool {
    std::fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_dir())
}

/// A note about processes that had to be killed.
pub(super) fn outlived(killed: u32, whom: &str) -> Option<String> {
    match killed {
        0 => None,
        1 => Some(format!("1 process outlived {whom} and was killed")),
        many => Some(format!("{many} processes outlived {whom} and were killed")),
    }
}

/// How a step ended, as a predicate.
fn how(ended: &Ended, limit: Duration) -> String {
    match ended {
        Ended::Exited(status) => format!("exited with status {status}"),
        Ended::Signalled(signal) => format!("was ended by signal {signal}"),
        Ended::Timeout | Ended::Idle => format!("did not end within {} s", limit.as_secs()),
        Ended::Stopped => "was stopped".to_owned(),
        Ended::NotStarted(why) | Ended::SetupFailed(why) | Ended::Infrastructure(why) => {
            format!("failed: {why}")
        }
    }
}
