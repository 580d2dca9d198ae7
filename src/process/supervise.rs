//! The supervisor: the process between the engine and one command.
//!
//! One thread, one poll loop. It ends the command when it is asked to, when a limit is reached, and when the
//! engine is gone; and it does not end before everything below it has.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, PipeReader, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{ExitCode, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{Errno, ioctl_fionbio};
use rustix::process::{
    DumpableBehavior, Pid, PidfdFlags, Resource, Rlimit, Signal, WaitOptions, WaitStatus, kill_process_group,
    pidfd_open, set_dumpable_behavior, setrlimit, setsid, wait,
};

use super::capture::Capture;
use super::start;
use super::table::{self, SWEEP_MAX};
use super::wire::{self, End, Message, Order};
use crate::fault;
use crate::port::Ended;

/// Least time between two lines of activity, and the longest sleep of the loop.
const TICK: Duration = Duration::from_millis(200);
/// Between two reports of silence.
const SILENCE_INTERVAL: Duration = Duration::from_secs(1);
/// Bytes read of the output at once.
const READ_BYTES: usize = 64 * 1024;

/// Runs the command that the file `spec` describes. This is the whole life of the hidden verb's process; its
/// standard input is the liveness pipe and its standard output takes the messages.
///
/// The exit status says only whether the end could be told; how the command ended is in the message.
pub fn supervise_main(spec: &Path) -> ExitCode {
    let started = Instant::now();
    let (ended, killed_descendants, output_bytes) = match supervise(spec) {
        Ok(outcome) => outcome,
        Err(ended) => (ended, 0, 0),
    };
    let end = End {
        version: wire::VERSION,
        ended,
        duration_ms: wire::millis(started.elapsed()),
        killed_descendants,
        output_bytes,
    };
    // On a full disk the file cannot be written, and the message alone tells the end.
    let kept = wire::write_whole(&spec.with_file_name(wire::END_FILE), &end).is_ok();
    let told = tell_end(end).is_ok();
    if kept || told {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// How the command ended, the number of processes killed, and the bytes printed.
type Outcome = (Ended, u32, u64);

fn supervise(spec: &Path) -> Result<Outcome, Ended> {
    isolate().map_err(|error| infrastructure("the supervisor could not isolate itself", &error))?;
    let order = take_order(spec)?;
    #[cfg(debug_assertions)]
    if let Some(text) = &order.fault {
        fault::arm(text).map_err(Ended::Infrastructure)?;
    }
    let log = fault::point(wire::LOG_POINT).and_then(|()| Capture::open(&order.log, order.log_bytes_max));
    let capture = log.map_err(|error| {
        infrastructure(
            &format!("the log {} cannot be opened", order.log.display()),
            &error,
        )
    })?;
    let (main, output) = start(&order)?;
    let mut supervision = Supervision::new(&order, capture, main, output)
        .map_err(|error| infrastructure("the command cannot be watched", &error))?;
    supervision.watch();
    Ok(supervision.finish())
}

/// Makes this process what [the module](super) says of a supervisor.
fn isolate() -> io::Result<()> {
    match setsid() {
        // Who leads a group already, started from a shell say, leads a session or has no engine above it.
        Ok(_) | Err(Errno::PERM) => {}
        Err(error) => return Err(error.into()),
    }
    super::become_subreaper()?;
    // Else the command could reach our pipes through `/proc`, and speak to the engine in our name.
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    ioctl_fionbio(io::stdout(), true)?;
    // Inherited by everything below. A core file would hold the environment with its secrets.
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    Ok(setrlimit(Resource::Core, none)?)
}

fn take_order(spec: &Path) -> Result<Order, Ended> {
    let what = || format!("the supervisor's order {} cannot be read", spec.display());
    let text = fs::read(spec).map_err(|error| infrastructure(&what(), &error))?;
    fs::remove_file(spec).map_err(|error| infrastructure(&what(), &error))?;
    let order: Order = serde_json::from_slice(&text).map_err(|error| infrastructure(&what(), &error))?;
    if order.version != wire::VERSION {
        return Err(Ended::Infrastructure(format!(
            "{}: it has version {} and this binary reads {}; the binary was replaced during the run, start the run again",
            what(),
            order.version,
            wire::VERSION
        )));
    }
    Ok(order)
}

/// Starts the command in a process group of its own, with one pipe for all its output.
#[expect(clippy::disallowed_methods, reason = "this is where commands are started")]
fn start(order: &Order) -> Result<(Pid, PipeReader), Ended> {
    let program = order.argv.first().map_or("", String::as_str);
    let not_started = |error: &dyn std::fmt::Display| {
        Ended::NotStarted(format!(
            "`{program}` could not be started in {}: {error}; check that both exist and that the program is executable",
            order.cwd.display()
        ))
    };
    let input = match &order.stdin {
        Some(path) => Stdio::from(File::open(path).map_err(|error| {
            infrastructure(&format!("the input {} cannot be opened", path.display()), &error)
        })?),
        None => Stdio::null(),
    };
    let pipe = |error: io::Error| infrastructure("no pipe for the command's output", &error);
    let (reader, writer) = io::pipe().map_err(pipe)?;
    ioctl_fionbio(&reader, true).map_err(|error| pipe(error.into()))?;
    let mut command = std::process::Command::new(program);
    command
        .args(order.argv.iter().skip(1))
        .current_dir(&order.cwd)
        .env_clear()
        .envs(&order.env)
        .stdin(input)
        .stdout(writer.try_clone().map_err(pipe)?)
        .stderr(writer)
        .process_group(0);
    let child = start::spawn(&mut command).map_err(|error| not_started(&error))?;
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    Ok((pid.expect("a started process has an id"), reader))
}

/// How far the command's end has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Running,
    /// SIGINT was sent; SIGTERM follows.
    Interrupted {
        until: Instant,
    },
    /// SIGTERM was sent; SIGKILL follows.
    Terminated {
        until: Instant,
    },
    /// Everything is to be killed.
    Killing,
}

struct Supervision {
    main: Pid,
    main_fd: OwnedFd,
    main_status: Option<WaitStatus>,
    output: Option<PipeReader>,
    capture: Capture,
    wall_end: Option<Instant>,
    idle_max: Duration,
    grace: Duration,
    phase: Phase,
    /// Why the command was ended; `None` while it may still end by itself.
    cause: Option<Ended>,
    last_output: Instant,
    last_line: Option<Instant>,
    last_silence: Option<Instant>,
    killed: HashSet<Pid>,
    buffer: Vec<u8>,
}

impl Supervision {
    fn new(order: &Order, capture: Capture, main: Pid, output: PipeReader) -> io::Result<Self> {
        let now = Instant::now();
        let main_fd = pidfd_open(main, PidfdFlags::empty())?;
        Ok(Self {
            main,
            main_fd,
            main_status: None,
            output: Some(output),
            capture,
            // A limit beyond the clock's range is none.
            wall_end: now.checked_add(Duration::from_millis(order.wall_ms)),
            idle_max: Duration::from_millis(order.idle_ms),
            grace: Duration::from_millis(order.grace_ms),
            phase: Phase::Running,
            cause: None,
            last_output: now,
            last_line: None,
            last_silence: None,
            killed: HashSet::new(),
            buffer: vec![0; READ_BYTES],
        })
    }

    /// Until the command has ended or is to be killed.
    fn watch(&mut self) {
        while self.main_status.is_none() && self.phase != Phase::Killing {
            let (engine, output) = self.wait_for_something();
            if engine {
                self.hear_engine();
            }
            if output {
                self.read_output();
            }
            self.reap();
            if self.main_status.is_none() {
                self.keep_limits(Instant::now());
                self.report(Instant::now());
            }
        }
    }

    /// Sleeps for a tick at most; whether the engine spoke, and whether there is output.
    fn wait_for_something(&self) -> (bool, bool) {
        let stdin = io::stdin();
        let mut fds = vec![
            PollFd::new(&stdin, PollFlags::IN),
            PollFd::new(&self.main_fd, PollFlags::IN),
        ];
        if let Some(output) = &self.output {
            fds.push(PollFd::from_borrowed_fd(output.as_fd(), PollFlags::IN));
        }
        let now = Instant::now();
        let limit = match self.phase {
            Phase::Running => self.wall_end.map(|end| end.min(now + self.idle_left(now))),
            Phase::Interrupted { until } | Phase::Terminated { until } => Some(until),
            Phase::Killing => Some(now),
        };
        let sleep = limit.map_or(TICK, |limit| limit.saturating_duration_since(now).min(TICK));
        let timeout = Timespec {
            tv_sec: 0,
            tv_nsec: i64::from(sleep.subsec_nanos()),
        };
        match poll(&mut fds, Some(&timeout)) {
            Ok(_) => {
                let ready = |at: usize| fds.get(at).is_some_and(|fd| !fd.revents().is_empty());
                (ready(0), ready(2))
            }
            // Interrupted by a signal: the next turn asks again.
            Err(_) => (false, false),
        }
    }

    /// What is left of the idle limit, at most a day.
    fn idle_left(&self, now: Instant) -> Duration {
        let silent = now.saturating_duration_since(self.last_output);
        self.idle_max
            .saturating_sub(silent)
            .min(Duration::from_secs(86_400))
    }

    /// Reads the liveness pipe; its end means that the engine is gone.
    fn hear_engine(&mut self) {
        let mut bytes = [0; 64];
        match rustix::io::read(io::stdin(), &mut bytes) {
            Ok(0) => self.kill_at_once(),
            Ok(read) if bytes[..read].contains(&wire::STOP_AT_ONCE) => self.kill_at_once(),
            Ok(read) if bytes[..read].contains(&wire::STOP_GENTLY) => self.end(Ended::Stopped),
            Ok(_) | Err(Errno::INTR | Errno::AGAIN) => {}
            // A pipe that cannot be read tells nothing any more about the engine.
            Err(_) => self.kill_at_once(),
        }
    }

    fn kill_at_once(&mut self) {
        self.cause.get_or_insert(Ended::Stopped);
        self.phase = Phase::Killing;
    }

    /// Begins the command's end; its first cause is the one told.
    fn end(&mut self, cause: Ended) {
        if self.phase == Phase::Running {
            self.cause = Some(cause);
            self.signal(Signal::INT);
            self.phase = Phase::Interrupted {
                until: Instant::now() + self.grace,
            };
        }
    }

    /// Signals the command's group. The command was not waited for yet, so its id cannot mean another process.
    fn signal(&self, signal: Signal) {
        // It fails only when the whole group is dead, which the next turn sees.
        let _ = kill_process_group(self.main, signal);
    }

    fn keep_limits(&mut self, now: Instant) {
        match self.phase {
            Phase::Running if self.wall_end.is_some_and(|end| now >= end) => self.end(Ended::Timeout),
            Phase::Running if self.idle_left(now).is_zero() => self.end(Ended::Idle),
            Phase::Interrupted { until } if now >= until => {
                self.signal(Signal::TERM);
                self.phase = Phase::Terminated {
                    until: now + self.grace,
                };
            }
            Phase::Terminated { until } if now >= until => self.phase = Phase::Killing,
            Phase::Running | Phase::Interrupted { .. } | Phase::Terminated { .. } | Phase::Killing => {}
        }
    }

    /// Reads once; whether there may be more.
    fn read_output(&mut self) -> bool {
        let Some(output) = &mut self.output else {
            return false;
        };
        match output.read(&mut self.buffer) {
            Ok(read) if read > 0 => {
                self.capture.take(&self.buffer[..read]);
                self.last_output = Instant::now();
                true
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => false,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => true,
            // Closed: a command may close its output long before it ends.
            Ok(_) | Err(_) => {
                self.output = None;
                false
            }
        }
    }

    /// Takes leave of all children that are dead; whether there is none left at all, dead or alive.
    fn reap(&mut self) -> bool {
        loop {
            match wait(WaitOptions::NOHANG) {
                Ok(Some((pid, status))) if pid == self.main => self.main_status = Some(status),
                Ok(Some(_)) | Err(Errno::INTR) => {}
                Ok(None) => return false,
                // ECHILD.
                Err(_) => return true,
            }
        }
    }

    /// Tells the engine what is worth showing.
    fn report(&mut self, now: Instant) {
        let due = |last: Option<Instant>, interval| last.is_none_or(|last| now >= last + interval);
        if due(self.last_line, TICK)
            && let Some(line) = self.capture.fresh_line()
        {
            self.last_line = Some(now);
            tell_activity(line, None);
        }
        let silent = now.saturating_duration_since(self.last_output);
        if silent >= self.idle_max.mul_f64(0.75) && due(self.last_silence, SILENCE_INTERVAL) {
            self.last_silence = Some(now);
            tell_activity(String::new(), Some(silent));
        }
    }

    /// Kills whatever is left, takes the last output, and says how it all ended.
    fn finish(mut self) -> Outcome {
        let clean = self.sweep();
        while self.read_output() {}
        if self.capture.bytes() > 0 {
            self.last_line = None;
            self.last_silence = Some(Instant::now());
            self.report(Instant::now());
        }
        let killed = u32::try_from(self.killed.len()).unwrap_or(u32::MAX);
        let output_bytes = self.capture.bytes();
        let mut ended = match (self.cause, self.main_status) {
            (Some(cause), _) => cause,
            (None, Some(status)) => match (status.exit_status(), status.terminating_signal()) {
                (Some(code), _) => Ended::Exited(code),
                (None, Some(signal)) => Ended::Signalled(signal),
                (None, None) => Ended::Infrastructure("the command has no exit status".to_owned()),
            },
            (None, None) => Ended::Infrastructure("the command was lost".to_owned()),
        };
        if let Err(error) = self.capture.finish() {
            ended = infrastructure("the log could not be written; free some disk space", &error);
        }
        if !clean {
            ended = Ended::Infrastructure(
                "processes of the command cannot be killed: they belong to another user or hang in the kernel; \
                 look for them with `ps -ef` and end them"
                    .to_owned(),
            );
        }
        (ended, killed, output_bytes)
    }

    /// Kills everything below this process until the kernel says that there is nothing; whether it came to that.
    fn sweep(&mut self) -> bool {
        let this = rustix::process::getpid();
        let deadline = Instant::now() + SWEEP_MAX;
        if self.main_status.is_none() {
            self.signal(Signal::KILL);
        }
        while !self.reap() {
            if Instant::now() >= deadline {
                return false;
            }
            for row in table::descendants(&table::rows(), this, |_| false) {
                if table::kill(&row) && row.pid != self.main {
                    self.killed.insert(row.pid);
                }
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        true
    }
}

/// Sends a line of activity, unless the engine is behind: the limits must be kept whether it listens or not.
fn tell_activity(line: String, idle: Option<Duration>) {
    let message = Message::Activity {
        line,
        idle_ms: idle.map(wire::millis),
    };
    let mut text = serde_json::to_vec(&message).expect("a message is plain data");
    text.push(b'\n');
    // Shorter than PIPE_BUF, so it is written whole or not at all.
    let _ = rustix::io::write(io::stdout(), &text);
}

/// Sends the last message, waiting for the engine to read.
fn tell_end(end: End) -> io::Result<()> {
    ioctl_fionbio(io::stdout(), false)?;
    let mut text = serde_json::to_vec(&Message::End(end))?;
    text.push(b'\n');
    let mut rest = text.as_slice();
    while !rest.is_empty() {
        match rustix::io::write(io::stdout(), rest) {
            Ok(written) => rest = &rest[written..],
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

fn infrastructure(what: &str, error: &dyn std::fmt::Display) -> Ended {
    Ended::Infrastructure(format!("{what}: {error}"))
}
