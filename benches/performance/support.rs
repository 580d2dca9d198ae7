//! What every benchmark needs: measuring in turns, the table, the JSON files, and plain git.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use pipeline::git::{Repository, UserEnvironment};
use pipeline::id::Oid;
use serde_json::json;

/// One row of the table.
pub(crate) struct Figure {
    /// What is measured.
    pub(crate) what: String,
    /// How much.
    pub(crate) value: f64,
    /// Of what: `ms`, `MB`.
    pub(crate) unit: &'static str,
    /// What it is set against, and how much that is.
    pub(crate) against: Option<(&'static str, f64)>,
    /// The most that the value, or its ratio where there is something to set it against, may be.
    pub(crate) goal: Option<f64>,
}

impl Figure {
    /// A time against another one.
    pub(crate) fn ratio(
        what: &str,
        ours: Duration,
        against: &'static str,
        theirs: Duration,
        goal: f64,
    ) -> Self {
        Self {
            what: what.to_owned(),
            value: millis(ours),
            unit: "ms",
            against: Some((against, millis(theirs))),
            goal: Some(goal),
        }
    }

    /// A time against a fixed limit.
    pub(crate) fn time(what: &str, ours: Duration, goal: Option<Duration>) -> Self {
        Self {
            what: what.to_owned(),
            value: millis(ours),
            unit: "ms",
            against: None,
            goal: goal.map(millis),
        }
    }

    fn ratio_value(&self) -> Option<f64> {
        self.against.map(|(_, theirs)| self.value / theirs)
    }

    fn met(&self) -> Option<bool> {
        self.goal
            .map(|goal| self.ratio_value().unwrap_or(self.value) <= goal)
    }

    fn line(&self, name: &str) -> String {
        let mut line = format!(
            "{name:<4} {:<58} {:>10.3} {:<2}",
            self.what, self.value, self.unit
        );
        let against = match self.against {
            Some((what, theirs)) => format!("{what} {theirs:.3} {}", self.unit),
            None => String::new(),
        };
        let _ = write!(line, "  {against:<44}");
        let rounded = self.goal.map(|goal| (goal * 1000.0).round() / 1000.0);
        match (self.ratio_value(), rounded) {
            (Some(ratio), Some(goal)) => {
                let _ = write!(line, " {ratio:>7.3} x  <= {goal} x");
            }
            (None, Some(goal)) => {
                let _ = write!(line, " {:>9}  <= {goal} {}", "", self.unit);
            }
            (Some(ratio), None) => {
                let _ = write!(line, " {ratio:>7.3} x");
            }
            (None, None) => {}
        }
        match self.met() {
            Some(true) => line.push_str("  met"),
            Some(false) => line.push_str("  MISSED"),
            None => {}
        }
        line.truncate(line.trim_end().len());
        line
    }
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

/// A benchmark may print; the library may not.
pub(crate) fn print(text: &str) {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes()).expect("standard output is open");
    out.flush().expect("standard output is open");
}

/// The line above the rows.
pub(crate) fn print_head() {
    print(&format!(
        "{:<4} {:<58} {:>13}  {:<44} {:>9}  goal\n",
        "", "what", "measured", "against", "ratio"
    ));
}

/// Prints the rows of a benchmark and writes its JSON file.
pub(crate) fn report(name: &str, figures: &[Figure]) {
    let mut rows = Vec::new();
    for figure in figures {
        print(&format!("{}\n", figure.line(&name.to_uppercase())));
        rows.push(json!({
            "what": figure.what,
            "value": figure.value,
            "unit": figure.unit,
            "against": figure.against.map(|(what, value)| json!({"what": what, "value": value})),
            "ratio": figure.ratio_value(),
            "goal": figure.goal,
            "met": figure.met(),
        }));
    }
    let folder = target_dir().join("bench");
    std::fs::create_dir_all(&folder).expect("the target directory can be written");
    let text = serde_json::to_string_pretty(&json!({"name": name.to_uppercase(), "rows": rows}));
    let text = text.expect("figures are plain data") + "\n";
    std::fs::write(folder.join(format!("{name}.json")), text).expect("the target directory can be written");
}

/// cargo's target directory: the benchmark lies in `<target>/release/deps`.
pub(crate) fn target_dir() -> PathBuf {
    let program = std::env::current_exe().expect("the program's own path is known");
    program.ancestors().nth(3).expect("it lies in deps").to_owned()
}

/// A directory on the disk that the target directory is on: below `/tmp` there may be none at all.
pub(crate) fn scratch() -> tempfile::TempDir {
    tempfile::tempdir_in(target_dir()).expect("the target directory can be written")
}

/// How long something takes.
pub(crate) fn timed(work: impl FnOnce()) -> Duration {
    let began = Instant::now();
    work();
    began.elapsed()
}

pub(crate) fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

/// The shortest time: a limit in seconds is about the machine at rest.
pub(crate) fn best(times: impl IntoIterator<Item = Duration>) -> Duration {
    times.into_iter().min().expect("something was measured")
}

/// The medians of two things measured in turns; each is told the round.
pub(crate) fn in_turns(
    rounds: usize,
    mut ours: impl FnMut(usize) -> Duration,
    mut theirs: impl FnMut(usize) -> Duration,
) -> (Duration, Duration) {
    let (mut one, mut other) = (Vec::new(), Vec::new());
    for round in 0..rounds {
        one.push(ours(round));
        other.push(theirs(round));
    }
    (median(one), median(other))
}

/// Where programs are found, for everything that is started here.
pub(crate) const PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// A command as a person would start it, but with nobody's configuration.
#[expect(
    clippy::disallowed_methods,
    reason = "what we are measured against is plain git"
)]
pub(crate) fn command(program: &str, at: &Path) -> Command {
    let mut command = Command::new(program);
    command.current_dir(at).env_clear().envs([
        ("PATH", PATH),
        ("HOME", "/nonexistent"),
        ("LC_ALL", "C"),
        ("GIT_CONFIG_NOSYSTEM", "1"),
        ("GIT_AUTHOR_NAME", "Ada"),
        ("GIT_AUTHOR_EMAIL", "ada@example.com"),
        ("GIT_COMMITTER_NAME", "Ada"),
        ("GIT_COMMITTER_EMAIL", "ada@example.com"),
    ]);
    command
}

/// What a git command that has to succeed prints.
pub(crate) fn git(at: &Path, arguments: &[&str]) -> String {
    let output = command("git", at).args(arguments).output().expect("git starts");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "git {arguments:?}: {error}");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// Makes a repository of `files` files of some 40 lines in folders of 50, and opens it.
pub(crate) fn repository(root: &Path, files: usize) -> Repository {
    std::fs::create_dir_all(root).expect("a directory can be made");
    git(root, &["init", "-q", "-b", "main"]);
    git(root, &["config", "user.name", "Ada"]);
    git(root, &["config", "user.email", "ada@example.com"]);
    for file in 0..files {
        let path = root.join(path_of(file));
        std::fs::create_dir_all(path.parent().expect("it is in a folder")).expect("a directory can be made");
        std::fs::write(path, text_of(file, "")).expect("a file can be written");
    }
    git(root, &["add", "-A"]);
    git(root, &["commit", "-qm", "base"]);
    let user = UserEnvironment {
        home: None,
        path: PATH.into(),
        xdg_config_home: None,
        ssh_auth_sock: None,
        proxies: Vec::new(),
    };
    Repository::discover(root, &user).expect("it was just made")
}

/// The path of a file of [`repository`].
pub(crate) fn path_of(file: usize) -> String {
    format!("src/module-{}/file-{file}.txt", file / 50)
}

/// The text of a file of [`repository`], with `change` in its tenth line.
pub(crate) fn text_of(file: usize, change: &str) -> String {
    (0..40)
        .map(|line| {
            let change = if line == 10 { change } else { "" };
            format!("line {line} of file {file} says what such lines say{change}\n")
        })
        .collect()
}

/// The commit that is checked out.
pub(crate) fn head(root: &Path) -> Oid {
    git(root, &["rev-parse", "HEAD"])
        .parse()
        .expect("git prints an id")
}
