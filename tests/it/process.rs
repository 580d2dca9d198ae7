//! Commands under a supervisor: how they end, what is kept, and that nothing survives.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use pipeline::port::{Ended, Stop};
use pipeline::process::{ActivityLine, Command, LOG_BYTES_MAX, Launch, ProcessEnd, sweep_orphans};
use tempfile::TempDir;
use tokio::sync::{mpsc, watch};

const BINARY: &str = env!("CARGO_BIN_EXE_pipeline");
const LONG: Duration = Duration::from_secs(60);

/// Held by tests in which a process of one falls to this test binary: another's sweep would take it.
static SWEEPS: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// A directory with everything one command needs.
struct Bench {
    dir: TempDir,
    launch: Launch,
    stop: watch::Sender<Stop>,
}

impl Bench {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("scratch")).unwrap();
        Self {
            dir,
            launch: Launch {
                supervisor: BINARY.into(),
                grace: Duration::from_millis(150),
            },
            stop: watch::Sender::new(Stop::No),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn command(&self, argv: &[&str]) -> Command {
        Command {
            argv: argv.iter().map(|&word| word.to_owned()).collect(),
            cwd: self.dir.path().to_owned(),
            env: BTreeMap::from([("PATH".to_owned(), "/usr/local/bin:/usr/bin:/bin".to_owned())]),
            stdin: None,
            log: self.path("log"),
            log_bytes_max: LOG_BYTES_MAX,
            wall_max: LONG,
            idle_max: LONG,
        }
    }

    fn sh(&self, script: &str) -> Command {
        self.command(&["sh", "-c", script])
    }

    async fn run(&self, command: Command) -> ProcessEnd {
        self.launch
            .run(command, &self.path("scratch"), self.stop.subscribe(), None)
            .await
    }

    fn log(&self) -> Vec<u8> {
        fs::read(self.path("log")).unwrap()
    }

    fn log_text(&self) -> String {
        String::from_utf8(self.log()).unwrap()
    }

    /// Waits for a file that a command writes, and takes the number in it.
    async fn number(&self, name: &str) -> i32 {
        let path = self.path(name);
        eventually("the file", || {
            fs::read_to_string(&path).is_ok_and(|text| text.ends_with('\n'))
        })
        .await;
        fs::read_to_string(path).unwrap().trim().parse().unwrap()
    }
}

async fn eventually(what: &str, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !holds() {
        assert!(Instant::now() < deadline, "{what} did not come");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Whether a process is there and not a zombie.
fn is_alive(pid: i32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| !stat.rsplit(')').next().unwrap().starts_with(" Z"))
}

fn parent(pid: i32) -> i32 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields = stat.rsplit(')').next().unwrap();
    fields.split_ascii_whitespace().nth(1).unwrap().parse().unwrap()
}

fn kill_9(pid: i32) {
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
}

/// A descendant that does all it can to get away, and writes its id to `file`.
fn daemon(file: &Path) -> String {
    format!(
        "setsid -f env -i /bin/sh -c 'trap \"\" HUP INT TERM; echo $$ > {}; exec sleep 600'",
        file.display()
    )
}

#[tokio::test]
async fn a_command_that_ends_by_itself_tells_its_status_and_its_output() {
    let bench = Bench::new();
    let end = bench
        .run(bench.sh("echo out; echo err >&2; echo out again"))
        .await;
    assert_eq!(end.ended, Ended::Exited(0));
    assert_eq!(bench.log_text(), "out\nerr\nout again\n");
    assert_eq!(end.output_bytes, 18);
    assert_eq!(end.killed_descendants, 0);
    assert_eq!(bench.run(bench.sh("exit 7")).await.ended, Ended::Exited(7));
    assert_eq!(
        bench.run(bench.sh("kill -SEGV $$")).await.ended,
        Ended::Signalled(11)
    );
}

#[tokio::test]
async fn the_order_is_removed_because_it_holds_secrets_and_the_end_is_kept_whole() {
    let bench = Bench::new();
    bench.run(bench.sh("ls scratch")).await;
    assert_eq!(bench.log_text(), "");
    let files: Vec<_> = fs::read_dir(bench.path("scratch"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(files, ["end.json"]);
    let end = fs::read_to_string(bench.path("scratch/end.json")).unwrap();
    assert!(end.contains("\"exited\":0"), "{end}");
}

#[tokio::test]
async fn a_program_that_does_not_exist_is_not_started_and_the_sentence_names_it() {
    let bench = Bench::new();
    let end = bench.run(bench.command(&["no-such-program"])).await;
    let Ended::NotStarted(sentence) = end.ended else {
        panic!("{end:?}")
    };
    assert!(sentence.contains("`no-such-program`"), "{sentence}");
    let mut elsewhere = bench.sh("true");
    elsewhere.cwd = bench.path("nowhere");
    assert!(matches!(bench.run(elsewhere).await.ended, Ended::NotStarted(_)));
}

#[tokio::test]
async fn a_supervisor_that_does_not_exist_is_a_failure_of_the_machine() {
    let mut bench = Bench::new();
    bench.launch.supervisor = bench.path("nothing");
    let end = bench.run(bench.sh("true")).await;
    assert!(matches!(end.ended, Ended::Infrastructure(_)), "{end:?}");
}

#[tokio::test]
async fn a_log_that_cannot_be_written_is_a_failure_of_the_machine() {
    let bench = Bench::new();
    let mut command = bench.sh("echo x");
    command.log = "/dev/full".into();
    let end = bench.run(command).await;
    assert!(
        matches!(&end.ended, Ended::Infrastructure(why) if why.contains("space")),
        "{end:?}"
    );
}

#[tokio::test]
async fn the_wall_limit_ends_a_command_that_talks_for_ever() {
    let bench = Bench::new();
    let mut command = bench.sh("while :; do echo again; sleep 0.02; done");
    command.wall_max = Duration::from_millis(300);
    let end = bench.run(command).await;
    assert_eq!(end.ended, Ended::Timeout);
    assert!(end.duration < Duration::from_secs(5), "{end:?}");
}

#[tokio::test]
async fn the_idle_limit_ends_a_silent_command_and_output_puts_it_off() {
    let bench = Bench::new();
    let mut command = bench.sh("for i in 1 2 3 4 5 6; do echo $i; sleep 0.1; done; exec sleep 60");
    command.idle_max = Duration::from_millis(300);
    let end = bench.run(command).await;
    assert_eq!(end.ended, Ended::Idle);
    assert!(bench.log_text().ends_with("6\n"));
}

#[tokio::test]
async fn a_command_that_ends_on_sigint_may_say_its_last_word() {
    let mut bench = Bench::new();
    bench.launch.grace = LONG;
    let mut command = bench.sh("trap 'echo cost 3; exit 0' INT; echo up; while :; do sleep 0.02; done");
    command.wall_max = Duration::from_secs(2);
    let end = bench.run(command).await;
    assert_eq!(end.ended, Ended::Timeout, "its own exit status changes nothing");
    assert!(bench.log_text().ends_with("cost 3\n"));
}

#[tokio::test]
async fn a_command_that_ignores_sigint_and_sigterm_is_killed() {
    let bench = Bench::new();
    let mut command = bench.sh("trap '' INT TERM HUP; echo $$ > pid; while :; do sleep 0.02; done");
    command.wall_max = Duration::from_millis(200);
    let end = bench.run(command).await;
    assert_eq!(end.ended, Ended::Timeout);
    assert!(
        end.duration >= Duration::from_millis(500),
        "both graces pass: {end:?}"
    );
    assert!(!is_alive(bench.number("pid").await));
}

#[tokio::test]
async fn stop_ends_it_gently_or_at_once_and_before_the_start() {
    for (how, word) in [(Stop::Gently, "interrupted\n"), (Stop::AtOnce, "")] {
        let mut bench = Bench::new();
        bench.launch.grace = LONG;
        let script = "trap 'echo interrupted; exit 0' INT; echo $$ > pid; while :; do sleep 0.02; done";
        let run = bench.run(bench.sh(script));
        let stop = async {
            bench.number("pid").await;
            bench.stop.send_replace(how);
        };
        let (end, ()) = tokio::join!(run, stop);
        assert_eq!(end.ended, Ended::Stopped);
        assert_eq!(bench.log_text(), word);
    }
    let bench = Bench::new();
    bench.stop.send_replace(Stop::Gently);
    let end = bench.run(bench.sh("touch started")).await;
    assert_eq!(end.ended, Ended::Stopped);
    assert!(!bench.path("started").exists());
}

#[tokio::test]
async fn stop_at_once_cuts_a_gentle_stop_short() {
    let mut bench = Bench::new();
    bench.launch.grace = LONG;
    let run = bench.run(bench.sh("trap '' INT; echo $$ > pid; while :; do sleep 0.02; done"));
    let stop = async {
        bench.number("pid").await;
        bench.stop.send_replace(Stop::Gently);
        tokio::time::sleep(Duration::from_millis(50)).await;
        bench.stop.send_replace(Stop::AtOnce);
    };
    let (end, ()) = tokio::join!(run, stop);
    assert_eq!(end.ended, Ended::Stopped);
    assert!(end.duration < Duration::from_secs(10));
}

#[tokio::test]
async fn a_daemon_with_its_own_session_and_no_environment_is_gone_after_a_normal_exit() {
    let bench = Bench::new();
    let daemon = daemon(&bench.path("pid"));
    let script = format!("{daemon}; while ! [ -s pid ]; do sleep 0.01; done; echo done");
    let end = bench.run(bench.sh(&script)).await;
    assert_eq!(end.ended, Ended::Exited(0));
    assert!(end.killed_descendants >= 1, "{end:?}");
    assert!(!is_alive(bench.number("pid").await));
    assert_eq!(bench.log_text(), "done\n");
    assert!(
        end.duration < Duration::from_secs(5),
        "its open pipe holds nothing up"
    );
}

#[tokio::test]
async fn processes_that_start_each_other_anew_are_outrun() {
    let bench = Bench::new();
    let hydra =
        "for i in 1 2 3 4 5 6 7 8; do setsid -f sleep 61.$i; done; sleep 0.05; exec setsid -f sh hydra\n";
    fs::write(bench.path("hydra"), hydra).unwrap();
    let mut command = bench.sh("sh hydra; exec sleep 60");
    command.wall_max = Duration::from_millis(300);
    let end = bench.run(command).await;
    assert_eq!(end.ended, Ended::Timeout);
    assert!(end.killed_descendants > 8, "{end:?}");
}

#[tokio::test]
async fn of_endless_output_the_head_and_the_tail_are_kept() {
    let bench = Bench::new();
    let mut command = bench.sh("echo first; yes | head -c 3000000; echo last");
    command.log_bytes_max = 10_000;
    let end = bench.run(command).await;
    assert_eq!(end.ended, Ended::Exited(0));
    assert_eq!(end.output_bytes, 3_000_011);
    let log = bench.log_text();
    assert!(log.starts_with("first\ny\n") && log.ends_with("y\nlast\n"));
    assert!(log.contains("[pipeline: 2990011 bytes were left out here]"));
    assert!(log.len() < 10_100, "{}", log.len());
}

#[tokio::test]
async fn binary_output_is_kept_byte_for_byte() {
    let bench = Bench::new();
    let bytes: Vec<u8> = (0..=255).cycle().take(100_000).collect();
    fs::write(bench.path("bytes"), &bytes).unwrap();
    bench.run(bench.sh("cat bytes")).await;
    assert_eq!(bench.log(), bytes);
}

#[tokio::test]
async fn a_prompt_of_a_megabyte_reaches_standard_input_which_is_then_closed() {
    let bench = Bench::new();
    let prompt = "-starts like a flag\n".repeat(60_000);
    fs::write(bench.path("prompt"), &prompt).unwrap();
    let mut command = bench.command(&["cat"]);
    command.stdin = Some(bench.path("prompt"));
    let end = bench.run(command).await;
    assert_eq!(end.ended, Ended::Exited(0));
    assert_eq!(bench.log_text(), prompt);
}

#[tokio::test]
async fn there_is_no_terminal_no_input_and_a_session_of_its_own() {
    let bench = Bench::new();
    let script = "exec 2>/dev/null; (: < /dev/tty) && echo tty; [ -t 0 ] && echo input; wc -c; \
                  awk '{print ($5 == $1), ($6 != $1)}' /proc/$$/stat";
    bench.run(bench.sh(script)).await;
    assert_eq!(bench.log_text(), "0\n1 1\n", "leads its group, not its session");
}

#[tokio::test]
async fn the_environment_is_exactly_the_one_given() {
    let bench = Bench::new();
    let mut command = bench.command(&["/usr/bin/env"]);
    command.env = BTreeMap::from([("ONLY".to_owned(), "this\nand that".to_owned())]);
    bench.run(command).await;
    assert_eq!(bench.log_text(), "ONLY=this\nand that\n");
}

#[tokio::test]
async fn no_core_files_are_written() {
    let bench = Bench::new();
    bench.run(bench.sh("ulimit -c; ulimit -H -c")).await;
    assert_eq!(bench.log_text(), "0\n0\n");
}

#[tokio::test]
async fn activity_is_throttled_plain_and_tells_silence_near_the_limit() {
    let bench = Bench::new();
    let (sender, mut receiver) = mpsc::channel(1000);
    let mut command = bench.sh(
        "i=0; while [ $i -lt 100 ]; do printf '\\033[31mstep %s\\033[0m\\n' $i; i=$((i+1)); sleep 0.005; done; \
         printf '\\033]0;t\\007half a line'; exec sleep 60",
    );
    command.idle_max = Duration::from_millis(800);
    let scratch = bench.path("scratch");
    let end = bench
        .launch
        .run(command, &scratch, bench.stop.subscribe(), Some(sender))
        .await;
    assert_eq!(end.ended, Ended::Idle);
    let mut activity: Vec<ActivityLine> = Vec::new();
    while let Some(line) = receiver.recv().await {
        activity.push(line);
    }
    let (silence, lines): (Vec<_>, Vec<_>) = activity.iter().partition(|line| line.idle.is_some());
    assert!((2..=20).contains(&lines.len()), "{lines:?}");
    assert!(
        lines
            .iter()
            .all(|line| !line.line.contains(['\u{1b}', '\u{7}', '[']))
    );
    assert_eq!(lines.last().unwrap().line, "half a line");
    assert!(silence.iter().all(|line| line.line.is_empty()));
    assert!(silence[0].idle.unwrap() >= Duration::from_millis(600));
}

#[tokio::test]
async fn a_receiver_that_never_reads_holds_nothing_up() {
    let bench = Bench::new();
    let (sender, _receiver) = mpsc::channel(1);
    let command = bench.sh("i=0; while [ $i -lt 50 ]; do echo $i; i=$((i+1)); sleep 0.01; done");
    let scratch = bench.path("scratch");
    let end = bench
        .launch
        .run(command, &scratch, bench.stop.subscribe(), Some(sender))
        .await;
    assert_eq!(end.ended, Ended::Exited(0));
}

#[tokio::test]
async fn when_the_supervisor_is_killed_its_descendants_are_swept() {
    let _alone = SWEEPS.lock().await;
    let bench = Bench::new();
    let daemon = daemon(&bench.path("daemon"));
    let script = format!("trap '' INT TERM; {daemon}; echo $$ > main; while :; do sleep 0.02; done");
    let mut command = bench.sh(&script);
    command
        .env
        .insert("PIPELINE_FENCE".to_owned(), "r-swept:1".to_owned());
    let run = bench.run(command);
    let kill = async {
        bench.number("daemon").await;
        kill_9(parent(bench.number("main").await));
    };
    let (end, ()) = tokio::join!(run, kill);
    assert!(
        matches!(&end.ended, Ended::Infrastructure(why) if why.contains("supervisor")),
        "{end:?}"
    );
    assert!(!is_alive(bench.number("main").await));
    assert!(
        !is_alive(bench.number("daemon").await),
        "its environment is cleared"
    );
    assert!(end.killed_descendants >= 2, "{end:?}");
}

#[tokio::test]
async fn an_end_that_a_command_forges_in_its_supervisors_name_is_not_believed() {
    let _alone = SWEEPS.lock().await;
    let bench = Bench::new();
    let forged = r#"{"end":{"version":1,"ended":{"exited":0},"duration_ms":1,"killed_descendants":0,"output_bytes":0}}"#;
    let script = format!("echo '{forged}' > /proc/$PPID/fd/1; echo $$ > main; kill -9 $PPID; exec sleep 60");
    let end = bench.run(bench.sh(&script)).await;
    assert!(matches!(end.ended, Ended::Infrastructure(_)), "{end:?}");
    assert!(!is_alive(bench.number("main").await));
}

#[tokio::test]
async fn sweeping_after_one_supervisor_spares_the_others_and_plain_children() {
    let _alone = SWEEPS.lock().await;
    let (victim, bystander) = (Bench::new(), Bench::new());
    let mut plain = helper("exec sleep 60");
    let run = victim.run(victim.sh("echo $$ > main; exec sleep 60"));
    let other = bystander.run(bystander.sh("setsid sh -c 'echo $$ > main; sleep 0.5'; echo fine"));
    let kill = async {
        bystander.number("main").await;
        kill_9(parent(victim.number("main").await));
    };
    let (end, other, ()) = tokio::join!(run, other, kill);
    assert!(matches!(end.ended, Ended::Infrastructure(_)), "{end:?}");
    assert_eq!(other.ended, Ended::Exited(0));
    assert_eq!(bystander.log_text(), "fine\n");
    assert!(plain.try_wait().unwrap().is_none());
    plain.kill().unwrap();
    plain.wait().unwrap();
}

/// A child of this process outside any supervisor.
#[expect(
    clippy::disallowed_methods,
    reason = "what is tested is how others' children fare"
)]
fn helper(script: &str) -> std::process::Child {
    std::process::Command::new("sh")
        .args(["-c", script])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Writes a supervisor's order for `script` as the engine does.
fn write_order(bench: &Bench, script: &str) -> PathBuf {
    let spec = bench.path("scratch/spec.json");
    let order = serde_json::json!({
        "version": 1, "argv": ["sh", "-c", script], "cwd": bench.dir.path(),
        "env": {"PATH": "/usr/bin:/bin"}, "stdin": null, "log": bench.path("log"),
        "log_bytes_max": 1000, "wall_ms": 60_000, "idle_ms": 60_000, "grace_ms": 60_000,
    });
    fs::write(&spec, order.to_string()).unwrap();
    spec
}

/// Two descendants that will not end by themselves; their ids are written to `main` and `daemon`.
fn stubborn(bench: &Bench) -> String {
    let daemon = daemon(&bench.path("daemon"));
    format!("trap '' INT TERM HUP; {daemon}; echo $$ > main; while :; do sleep 0.02; done")
}

#[tokio::test]
async fn when_the_engine_is_killed_everything_is_gone_within_two_seconds() {
    let _alone = SWEEPS.lock().await;
    let bench = Bench::new();
    let spec = write_order(&bench, &stubborn(&bench));
    // The helper stands for the engine: it alone holds the writing end of the supervisor's standard input.
    let script = format!(
        "mkfifo {0}/fifo; {BINARY} __supervise {1} < {0}/fifo & exec 9> {0}/fifo; echo $$; exec sleep 60",
        bench.dir.path().display(),
        spec.display()
    );
    let mut engine = helper(&script);
    let (main, daemon) = (bench.number("main").await, bench.number("daemon").await);
    assert!(is_alive(main) && is_alive(daemon));
    let killed = Instant::now();
    engine.kill().unwrap();
    engine.wait().unwrap();
    eventually("the end of all", || !is_alive(main) && !is_alive(daemon)).await;
    assert!(
        killed.elapsed() < Duration::from_secs(2),
        "{:?}",
        killed.elapsed()
    );
    eventually("the record of the end", || {
        bench.path("scratch/end.json").exists()
    })
    .await;
    let end = fs::read_to_string(bench.path("scratch/end.json")).unwrap();
    assert!(end.contains("\"stopped\""), "{end}");
}

#[tokio::test]
async fn when_the_engine_forgets_the_attempt_it_ends_too() {
    let _alone = SWEEPS.lock().await;
    let bench = Bench::new();
    let command = bench.sh(&stubborn(&bench));
    let launch = bench.launch.clone();
    let (scratch, stop) = (bench.path("scratch"), bench.stop.subscribe());
    let run = tokio::spawn(async move { launch.run(command, &scratch, stop, None).await });
    let (main, daemon) = (bench.number("main").await, bench.number("daemon").await);
    run.abort();
    eventually("the end of all", || !is_alive(main) && !is_alive(daemon)).await;
}

#[tokio::test]
async fn orphans_of_an_earlier_engine_are_found_by_their_marker_and_others_are_not() {
    let _alone = SWEEPS.lock().await;
    let mark = |marker: &str| {
        let script = format!(
            "PIPELINE_FENCE={marker} setsid sh -c 'setsid env -i /bin/sleep 600 & echo $!; echo $$; exec sleep 600'; :"
        );
        let mut child = helper(&script);
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut next = || lines.next().unwrap().unwrap().parse::<i32>().unwrap();
        (next(), next(), child)
    };
    let (cleared, marked, mut ours) = mark("r-dead:7");
    let (other_cleared, other, mut theirs) = mark("r-other:7");
    let orphans =
        tokio::task::spawn_blocking(|| sweep_orphans(&|marker| marker.starts_with("r-dead:"))).await;
    let orphans = orphans.unwrap();
    assert!(
        orphans
            .iter()
            .any(|orphan| orphan.pid == marked && orphan.marker == "r-dead:7")
    );
    assert!(!is_alive(marked) && !is_alive(cleared));
    assert!(is_alive(other) && is_alive(other_cleared));
    kill_9(other_cleared);
    kill_9(other);
    ours.wait().unwrap();
    theirs.wait().unwrap();
}

#[tokio::test]
async fn a_script_that_was_just_written_can_be_run_while_others_start() {
    let bench = Bench::new();
    for turn in 0..10 {
        let script = bench.path(&format!("script{turn}"));
        fs::write(&script, "#!/bin/sh\nexit 3\n").unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o555);
        fs::set_permissions(&script, mode).unwrap();
        let end = bench.run(bench.command(&[script.to_str().unwrap()])).await;
        assert_eq!(end.ended, Ended::Exited(3));
    }
}
