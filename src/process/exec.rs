//! Runs one short command to its end: the chokepoint for everything that needs no supervisor.
//!
//! The child gets exactly the environment it is handed, its own process group, its input from memory and nothing
//! from our terminal. Both of its outputs are read while it runs, so that neither can block it. On the time limit
//! or when it prints more than it may or is cut off, its whole group is killed. No locks are held; the call blocks its thread.

use std::ffi::OsString;
use std::io::{Read, Write};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

use super::start;
use crate::port::Cut;

/// How many bytes are read at once.
const CHUNK_BYTES: usize = 64 * 1024;

/// How long a command that may be cut off goes on after that at most.
const LOOK_FOR_CUT: Duration = Duration::from_millis(20);

/// One command.
#[derive(Debug, Clone)]
pub struct Exec {
    /// The program, best as an absolute path.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<OsString>,
    /// Its working directory.
    pub cwd: PathBuf,
    /// Its complete environment; nothing of ours is added.
    pub env: Vec<(OsString, OsString)>,
    /// What it reads; then its input is closed.
    pub stdin: Vec<u8>,
    /// How long it and whatever holds its outputs may live.
    pub timeout: Duration,
    /// Most bytes kept of each output; more ends the command.
    pub output_bytes_max: usize,
    /// Ends it early, where somebody may stop waiting for it.
    pub cut: Option<Cut>,
}

/// What a command left.
#[derive(Debug, Clone)]
pub struct ExecOutput {
    /// How it ended; a signal when `truncated`.
    pub status: ExitStatus,
    /// Its standard output.
    pub stdout: Vec<u8>,
    /// Its standard error.
    pub stderr: Vec<u8>,
    /// Whether it printed more than it may, and was killed for it.
    pub truncated: bool,
}

/// Why a command could not be run to its end.
#[derive(Debug, thiserror::Error)]
pub enum ExecError {
    /// It could not be started: mostly a missing program or working directory.
    #[error("cannot start `{program}` in {cwd}: {source}", program = program.display(), cwd = cwd.display())]
    Start {
        /// The program.
        program: PathBuf,
        /// Where.
        cwd: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The time limit was reached and the group killed.
    #[error("`{program}` did not end within {seconds} s and was killed", program = program.display())]
    Timeout {
        /// The program.
        program: PathBuf,
        /// The limit in whole seconds.
        seconds: u64,
    },
    /// Nobody waited for it any more, and the group was killed.
    #[error("`{program}` was cut off", program = program.display())]
    CutOff {
        /// The program.
        program: PathBuf,
    },
    /// Waiting failed, which the system does not do to a child of ours.
    #[error("cannot wait for `{program}`: {source}", program = program.display())]
    Wait {
        /// The program.
        program: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}

/// Which output a message is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Channel {
    Out,
    Err,
}

/// What a reading thread says.
enum Message {
    Bytes(Channel, Vec<u8>),
    Closed,
}

/// Runs `exec` to its end.
///
/// # Errors
/// When it cannot be started, outlives its time limit or is cut off. A failing exit status is no error.
pub fn run(exec: &Exec) -> Result<ExecOutput, ExecError> {
    if is_cut_off(exec) {
        let program = exec.program.clone();
        return Err(ExecError::CutOff { program });
    }
    let mut child = spawn(exec)?;
    let mut input = child.stdin.take().expect("stdin is piped");
    let bytes = exec.stdin.clone();
    // A child that does not read its input closes it; that is its business, and its status tells.
    thread::spawn(move || drop(input.write_all(&bytes)));

    let (sender, receiver) = mpsc::channel();
    read_into(
        Channel::Out,
        child.stdout.take().expect("stdout is piped"),
        sender.clone(),
    );
    read_into(
        Channel::Err,
        child.stderr.take().expect("stderr is piped"),
        sender,
    );

    let deadline = Instant::now() + exec.timeout;
    let (mut stdout, mut stderr, mut open, mut truncated) = (Vec::new(), Vec::new(), 2_u8, false);
    while open > 0 && !truncated {
        match receiver.recv_timeout(patience(exec, deadline)) {
            Ok(Message::Bytes(channel, bytes)) => {
                let kept: &mut Vec<u8> = if channel == Channel::Out {
                    &mut stdout
                } else {
                    &mut stderr
                };
                let room = exec.output_bytes_max - kept.len();
                truncated = bytes.len() > room;
                kept.extend_from_slice(&bytes[..bytes.len().min(room)]);
            }
            Ok(Message::Closed) => open -= 1,
            Err(RecvTimeoutError::Timeout) if is_over(exec, deadline) => {
                return Err(kill_late(exec, &mut child));
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    if truncated {
        kill_group(&child);
    }
    let status = wait_until(exec, &mut child, deadline)?;
    Ok(ExecOutput {
        status,
        stdout,
        stderr,
        truncated,
    })
}

#[expect(
    clippy::disallowed_methods,
    reason = "this is the chokepoint for short commands"
)]
fn spawn(exec: &Exec) -> Result<Child, ExecError> {
    let mut command = Command::new(&exec.program);
    command
        .args(&exec.args)
        .current_dir(&exec.cwd)
        .env_clear()
        .envs(exec.env.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0);
    start::spawn(&mut command).map_err(|source| ExecError::Start {
        program: exec.program.clone(),
        cwd: exec.cwd.clone(),
        source,
    })
}

fn read_into(channel: Channel, mut from: impl Read + Send + 'static, to: Sender<Message>) {
    thread::spawn(move || {
        let mut chunk = vec![0; CHUNK_BYTES];
        // A failing read ends the output like its end does; a receiver that is gone wants no more.
        while let Ok(count @ 1..) = from.read(&mut chunk) {
            if to.send(Message::Bytes(channel, chunk[..count].to_vec())).is_err() {
                return;
            }
        }
        drop(to.send(Message::Closed));
    });
}

/// How long may be waited before it is asked again whether the command is over.
fn patience(exec: &Exec, deadline: Instant) -> Duration {
    let left = deadline.saturating_duration_since(Instant::now());
    match exec.cut {
        Some(_) => left.min(LOOK_FOR_CUT),
        None => left,
    }
}

fn is_cut_off(exec: &Exec) -> bool {
    exec.cut.as_ref().is_some_and(Cut::is_off)
}

fn is_over(exec: &Exec, deadline: Instant) -> bool {
    is_cut_off(exec) || Instant::now() >= deadline
}

/// Waits for a child whose outputs are closed; most are dead already.
fn wait_until(exec: &Exec, child: &mut Child, deadline: Instant) -> Result<ExitStatus, ExecError> {
    let mut pause = Duration::from_micros(100);
    loop {
        let ended = child.try_wait().map_err(|source| ExecError::Wait {
            program: exec.program.clone(),
            source,
        })?;
        if let Some(status) = ended {
            return Ok(status);
        }
        if is_over(exec, deadline) {
            return Err(kill_late(exec, child));
        }
        thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(20));
    }
}

fn kill_late(exec: &Exec, child: &mut Child) -> ExecError {
    kill_group(child);
    drop(child.wait());
    let program = exec.program.clone();
    if is_cut_off(exec) {
        return ExecError::CutOff { program };
    }
    ExecError::Timeout {
        program,
        seconds: exec.timeout.as_secs(),
    }
}

fn kill_group(child: &Child) {
    // The child is not yet waited for, so its id is still its own; a group that is gone needs no killing.
    if let Some(pid) = rustix::process::Pid::from_raw(child.id().cast_signed()) {
        let _ = rustix::process::kill_process_group(pid, rustix::process::Signal::KILL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Exec {
        Exec {
            program: "/bin/sh".into(),
            args: vec!["-c".into(), script.into()],
            cwd: "/".into(),
            env: vec![("PATH".into(), "/usr/bin:/bin".into())],
            stdin: Vec::new(),
            timeout: Duration::from_secs(20),
            output_bytes_max: 8 << 20,
            cut: None,
        }
    }

    #[test]
    fn both_outputs_and_a_large_input_pass_without_deadlock() {
        let mut exec = shell("cat; head -c 1000000 /dev/zero >&2; exit 3");
        exec.stdin = vec![b'x'; 3 << 20];
        let output = run(&exec).unwrap();
        assert_eq!(output.stdout, exec.stdin);
        assert_eq!((output.stderr.len(), output.status.code()), (1_000_000, Some(3)));
        assert!(!output.truncated);
    }

    #[test]
    fn the_environment_is_exactly_the_one_given() {
        let output = run(&shell("env")).unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let foreign: Vec<_> = text
            .lines()
            .filter(|line| {
                !["PATH=", "PWD=", "_=", "SHLVL=", "OLDPWD="]
                    .iter()
                    .any(|own| line.starts_with(own))
            })
            .collect();
        assert!(foreign.is_empty(), "{foreign:?}");
    }

    #[test]
    fn the_time_limit_kills_the_whole_group() {
        let mut exec = shell("sleep 60 & sleep 60");
        exec.timeout = Duration::from_millis(200);
        let begun = Instant::now();
        assert!(matches!(run(&exec), Err(ExecError::Timeout { .. })));
        assert!(begun.elapsed() < Duration::from_secs(10));
    }

    #[test]
    fn a_command_that_is_cut_off_is_killed_with_its_group() {
        let mut exec = shell("sleep 60 & sleep 60");
        let cut = Cut::default();
        exec.cut = Some(cut.clone());
        let begun = Instant::now();
        thread::spawn(move || {
            thread::sleep(Duration::from_millis(100));
            cut.off();
        });
        assert!(matches!(run(&exec), Err(ExecError::CutOff { .. })));
        assert!(begun.elapsed() < Duration::from_secs(10));
        assert!(
            matches!(run(&exec), Err(ExecError::CutOff { .. })),
            "nor is another begun"
        );
    }

    #[test]
    fn a_command_that_prints_too_much_is_killed_and_its_beginning_kept() {
        let mut exec = shell("yes");
        exec.output_bytes_max = 1000;
        let output = run(&exec).unwrap();
        assert!(output.truncated);
        assert_eq!(output.stdout.len(), 1000);
    }

    #[test]
    fn a_missing_program_is_named() {
        let mut exec = shell("");
        exec.program = "/no/such/program".into();
        assert!(run(&exec).unwrap_err().to_string().contains("/no/such/program"));
    }
}
