//! The engine's side of a supervisor.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::Pid;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin};
use tokio::sync::{mpsc, watch};

use super::wire::{self, End, Message, Order};
use super::{ActivityLine, Command, GRACE, MARKER_VARIABLE, ProcessEnd, SUPERVISE_VERB, table};
use crate::fault;
use crate::port::{Ended, Stop};

/// The supervisors that are alive. Global, because what it guards is: a process is or is not a child of this one.
static SUPERVISORS: Mutex<Vec<Pid>> = Mutex::new(Vec::new());

fn supervisors() -> MutexGuard<'static, Vec<Pid>> {
    // The list is never left half-changed.
    SUPERVISORS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Makes this process the one to which descendants of a dead supervisor fall. [`Launch::run`] does it itself; to
/// call it twice is harmless.
///
/// # Errors
/// The kernel has no subreapers (before Linux 3.4).
pub fn become_subreaper() -> io::Result<()> {
    Ok(rustix::process::set_child_subreaper(Some(
        rustix::process::getpid(),
    ))?)
}

/// Starts supervisors.
#[derive(Debug, Clone)]
pub struct Launch {
    /// The binary that knows the hidden verb: our own.
    pub supervisor: PathBuf,
    /// Time between SIGINT and SIGTERM, and between SIGTERM and SIGKILL.
    pub grace: Duration,
}

impl Launch {
    /// Supervisors of the given binary, with the usual grace of three seconds.
    pub fn new(supervisor: PathBuf) -> Self {
        Self {
            supervisor,
            grace: GRACE,
        }
    }

    /// Runs `command` and returns when nothing of it is alive.
    ///
    /// `scratch` is a directory of this command alone; the file `end.json` there tells the end to a later engine.
    /// `activity` never makes the command wait: what its receiver has no room for is dropped. When the returned
    /// future is dropped, the supervisor kills everything by itself.
    pub async fn run(
        &self,
        command: Command,
        scratch: &Path,
        stop: watch::Receiver<Stop>,
        activity: Option<mpsc::Sender<ActivityLine>>,
    ) -> ProcessEnd {
        let started = Instant::now();
        let without_start = |ended| ProcessEnd {
            ended,
            duration: started.elapsed(),
            killed_descendants: 0,
            output_bytes: 0,
        };
        if *stop.borrow() != Stop::No {
            return without_start(Ended::Stopped);
        }
        let marker = command.env.get(MARKER_VARIABLE).cloned();
        let order = self.order(command);
        let (mut child, registration) = match self.start(order, scratch.to_owned()).await {
            Ok(started) => started,
            Err(sentence) => return without_start(Ended::Infrastructure(sentence)),
        };
        // Nothing is written at this moment that could fail.
        drop(fault::point("process.started"));
        let end = converse(&mut child, stop.clone(), activity).await;
        let status = child.wait().await;
        drop(registration);
        match end {
            // A word that came before a violent death may be forged: the command can find its supervisor in `/proc`.
            Some(end) if status.as_ref().is_ok_and(ExitStatus::success) => end.into(),
            Some(_) | None => ProcessEnd {
                killed_descendants: sweep(marker).await,
                ..without_start(lost_supervisor(&stop, status))
            },
        }
    }

    fn order(&self, command: Command) -> Order {
        Order {
            version: wire::VERSION,
            argv: command.argv,
            cwd: command.cwd,
            env: command.env,
            stdin: command.stdin,
            log: command.log,
            log_bytes_max: command.log_bytes_max,
            wall_ms: wire::millis(command.wall_max),
            idle_ms: wire::millis(command.idle_max),
            grace_ms: wire::millis(self.grace),
            #[cfg(debug_assertions)]
            fault: fault::hand_over(&[wire::LOG_POINT, wire::END_POINT]),
        }
    }

    /// Writes the order and starts a supervisor on it.
    async fn start(&self, order: Order, scratch: PathBuf) -> Result<(Child, Registration), String> {
        become_subreaper().map_err(|error| format!("this process cannot look after orphans: {error}"))?;
        let spec = scratch.join(wire::ORDER_FILE);
        let written = tokio::task::spawn_blocking(move || write_order(&scratch, &order)).await;
        written
            .map_err(io::Error::other)
            .and_then(|written| written)
            .map_err(|error| {
                format!(
                    "the supervisor's order {} cannot be written: {error}",
                    spec.display()
                )
            })?;
        self.spawn(&spec).map_err(|error| {
            format!(
                "the supervisor {} could not be started: {error}",
                self.supervisor.display()
            )
        })
    }

    #[expect(clippy::disallowed_methods, reason = "this is where supervisors are started")]
    fn spawn(&self, spec: &Path) -> io::Result<(Child, Registration)> {
        let mut command = tokio::process::Command::new(&self.supervisor);
        command
            .arg(SUPERVISE_VERB)
            .arg(spec)
            .current_dir("/")
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        fault::point("process.start")?;
        // Held over the start, so that whoever sees the new process in the table also finds it registered.
        let mut living = supervisors();
        let child = command.spawn()?;
        let pid = child.id().and_then(|id| i32::try_from(id).ok());
        let pid = pid
            .and_then(Pid::from_raw)
            .expect("a process that was not waited for has an id");
        living.push(pid);
        Ok((child, Registration(pid)))
    }
}

/// A supervisor's place among the living.
struct Registration(Pid);

impl Drop for Registration {
    fn drop(&mut self) {
        supervisors().retain(|pid| *pid != self.0);
    }
}

fn write_order(scratch: &Path, order: &Order) -> io::Result<()> {
    fault::point("process.order")?;
    for stale in [wire::END_FILE, wire::ORDER_FILE] {
        match fs::remove_file(scratch.join(stale)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(scratch.join(wire::ORDER_FILE))?;
    file.write_all(&serde_json::to_vec(order)?)
}

/// Passes on requests to stop and signs of life until the supervisor says no more; its last word, if it had one.
async fn converse(
    child: &mut Child,
    mut stop: watch::Receiver<Stop>,
    activity: Option<mpsc::Sender<ActivityLine>>,
) -> Option<End> {
    let mut liveness = child.stdin.take().expect("the pipe was asked for");
    let output = child.stdout.take().expect("the pipe was asked for");
    let mut lines = BufReader::new(output).lines();
    let mut end = None;
    let mut asked = Stop::No;
    let mut can_stop = true;
    loop {
        tokio::select! {
            line = lines.next_line() => match line {
                Ok(Some(line)) => match serde_json::from_str(&line) {
                    Ok(Message::Activity { line, idle_ms }) => if let Some(activity) = &activity {
                        // A receiver that is full or gone misses a line; the next one is soon there.
                        drop(activity.try_send(ActivityLine { line, idle: idle_ms.map(Duration::from_millis) }));
                    },
                    Ok(Message::End(last)) => end = Some(last),
                    // Cut off by the supervisor's death.
                    Err(_) => {}
                },
                Ok(None) | Err(_) => return end,
            },
            changed = stop.changed(), if can_stop => can_stop = changed.is_ok(),
        }
        let wanted = *stop.borrow_and_update();
        if wanted > asked {
            asked = wanted;
            request(&mut liveness, wanted).await;
        }
    }
}

async fn request(liveness: &mut ChildStdin, stop: Stop) {
    let byte = match stop {
        Stop::No => return,
        Stop::Gently => wire::STOP_GENTLY,
        Stop::AtOnce => wire::STOP_AT_ONCE,
    };
    // A supervisor that is gone has ended already.
    drop(liveness.write_all(&[byte]).await);
}

/// Kills what a dead supervisor left behind; the number of processes.
async fn sweep(marker: Option<String>) -> u32 {
    let swept = tokio::task::spawn_blocking(move || {
        let fallen = table::sweep_fallen(|pid| supervisors().contains(&pid));
        let marked = marker.map_or(0, |marker| table::sweep_orphans(&|found| found == marker).len());
        fallen.saturating_add(u32::try_from(marked).unwrap_or(u32::MAX))
    });
    swept.await.unwrap_or(0)
}

fn lost_supervisor(stop: &watch::Receiver<Stop>, status: io::Result<ExitStatus>) -> Ended {
    if *stop.borrow() != Stop::No {
        return Ended::Stopped;
    }
    let how = status.map_or_else(|error| error.to_string(), |status| status.to_string());
    Ended::Infrastructure(format!(
        "the supervisor ended before its command ({how}); it was killed or memory ran out"
    ))
}
