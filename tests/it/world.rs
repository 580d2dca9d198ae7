//! A scratch repository with scripted agents, and the program run in it as a person would run it.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

/// An author that writes `<unit>.txt`, and on a fix adds a line and calls every finding fixed. It counts its calls
/// in a folder outside.
const AUTHOR: &str = r#"
set -eu
echo "$PIPELINE_STAGE.$PIPELINE_ROUND" >> "$COUNT_DIR/$PIPELINE_UNIT"
case "$PIPELINE_KIND" in
implement) echo "work of $PIPELINE_UNIT" > "$PIPELINE_UNIT.txt"; echo '{"summary":"done"}' > "$PIPELINE_RESULT" ;;
fix)
    sed -i "1s/$/ fixed/" "$PIPELINE_UNIT.txt"
    rows=$(grep -o '"F-[0-9]*"' "$PIPELINE_CONTEXT/findings.json" | sort -u |
        sed 's/.*/{"finding":&,"action":"fixed","note":"done"}/' | paste -sd, -)
    echo "{\"summary\":\"fixed\",\"resolutions\":[$rows]}" > "$PIPELINE_RESULT" ;;
esac
"#;

/// A reviewer whose argument lists the confidence of its finding per round, such as `90,90`; no finding after that.
const REVIEWER: &str = r#"
set -eu
echo "$PIPELINE_STAGE.$PIPELINE_ROUND" >> "$COUNT_DIR/$PIPELINE_UNIT"
if [ "$PIPELINE_KIND" = approve ]; then
    echo '{"decision":"approve","reason":"good"}' > "$PIPELINE_RESULT"
    exit 0
fi
confidence=$(echo "${1:-}" | cut -d, -f"$PIPELINE_ROUND")
open=""
[ -f "$PIPELINE_CONTEXT/findings.json" ] && open=$(grep -o '"F-[0-9]*"' "$PIPELINE_CONTEXT/findings.json" | sort -u)
if [ -n "$confidence" ]; then
    state=persists
    findings="{\"file\":\"$PIPELINE_UNIT.txt\",\"line\":1,\"severity\":\"major\",\"confidence\":$confidence,\"title\":\"too plain\",\"detail\":\"say more\"}"
    verdict=request_changes
else
    state=resolved
    findings=""
    verdict=approve
fi
ledger=$(for id in $open; do echo "{\"id\":$id,\"state\":\"$state\"}"; done | paste -sd, -)
[ -n "$open" ] && findings=""
echo "{\"verdict\":\"$verdict\",\"findings\":[$findings],\"ledger\":[$ledger]}" > "$PIPELINE_RESULT"
"#;

/// A scratch repository, with everything the program writes below one temporary folder.
pub(crate) struct World {
    folder: TempDir,
    /// The checkout.
    pub(crate) repo: PathBuf,
    env: BTreeMap<String, String>,
    binary: PathBuf,
}

/// What the program said.
pub(crate) struct Said {
    /// Exit code.
    pub(crate) code: i32,
    /// Standard output.
    pub(crate) out: String,
    /// Standard error.
    pub(crate) err: String,
}

impl Said {
    /// The program, called with these arguments, must have ended with that code.
    pub(crate) fn with_code(self, code: i32, args: &[&str]) -> Self {
        assert_eq!(
            self.code, code,
            "pipeline {args:?}\n--- out\n{}\n--- err\n{}",
            self.out, self.err
        );
        self
    }
}

impl World {
    /// A repository with one commit on `main`, the scripted agents in `agents/`.
    pub(crate) fn new() -> Self {
        Self::in_folder(tempfile::tempdir().unwrap())
    }

    /// The same in memory where the machine has a file system there: a write costs nothing, and a kill loses none.
    pub(crate) fn in_memory() -> Self {
        let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir());
        Self::in_folder(folder.unwrap())
    }

    fn in_folder(folder: TempDir) -> Self {
        let base = folder.path();
        let repo = base.join("repo");
        for name in ["repo", "home", "state", "count", "tmp", "runtime"] {
            std::fs::create_dir(base.join(name)).unwrap();
        }
        let text = |path: PathBuf| path.to_str().unwrap().to_owned();
        let env = BTreeMap::from([
            ("PATH".to_owned(), std::env::var("PATH").unwrap()),
            ("HOME".to_owned(), text(base.join("home"))),
            ("XDG_STATE_HOME".to_owned(), text(base.join("state"))),
            ("TMPDIR".to_owned(), text(base.join("tmp"))),
            ("XDG_RUNTIME_DIR".to_owned(), text(base.join("runtime"))),
            ("COUNT_DIR".to_owned(), text(base.join("count"))),
            ("LANG".to_owned(), "C.UTF-8".to_owned()),
            ("GIT_CONFIG_NOSYSTEM".to_owned(), "1".to_owned()),
        ]);
        let binary = env!("CARGO_BIN_EXE_pipeline").into();
        let world = Self {
            folder,
            repo,
            env,
            binary,
        };
        world.git(&["init", "-q", "-b", "main"]);
        world.git(&["config", "user.name", "Ada"]);
        world.git(&["config", "user.email", "ada@example.org"]);
        world.write("README", "hello\n");
        world.write("agents/author.sh", AUTHOR);
        world.write("agents/reviewer.sh", REVIEWER);
        world.commit("chore: begin");
        world
    }

    /// The folder everything is in.
    pub(crate) fn base(&self) -> &Path {
        self.folder.path()
    }

    /// Copies everything to `place`, to be brought back by [`World::restore`].
    pub(crate) fn save(&self, place: &Path) {
        copy_folder(self.base(), place);
    }

    /// Makes everything as it was when it was saved, under the same paths.
    pub(crate) fn restore(&self, place: &Path) {
        for entry in std::fs::read_dir(self.base()).unwrap() {
            let path = entry.unwrap().path();
            // Directories that an attempt was given are read-only.
            let removed = std::fs::remove_dir_all(&path).or_else(|_| {
                make_writable(&path);
                std::fs::remove_dir_all(&path)
            });
            removed.unwrap();
        }
        copy_folder(place, self.base());
    }

    /// Sets a variable for the program.
    pub(crate) fn set(&mut self, name: &str, value: &str) {
        self.env.insert(name.to_owned(), value.to_owned());
    }

    /// The program finds this git before the real one.
    pub(crate) fn put_before_git(&mut self, script: &str) {
        let folder = self.base().join("between");
        std::fs::create_dir(&folder).unwrap();
        write_program(&folder.join("git"), script);
        let search = format!("{}:{}", folder.display(), std::env::var("PATH").unwrap());
        self.set("PATH", &search);
    }

    /// Runs another build of the program from now on.
    pub(crate) fn use_binary(&mut self, binary: &Path) {
        self.binary = binary.to_owned();
    }

    /// Removes a variable for the program.
    pub(crate) fn unset(&mut self, name: &str) {
        self.env.remove(name);
    }

    /// Writes a file of the checkout.
    pub(crate) fn write(&self, path: &str, text: &str) {
        let path = self.repo.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    /// Reads a file of the checkout.
    pub(crate) fn read(&self, path: &str) -> String {
        std::fs::read_to_string(self.repo.join(path)).unwrap()
    }

    /// Commits everything in the checkout.
    pub(crate) fn commit(&self, message: &str) {
        self.git(&["add", "-A"]);
        self.git(&["commit", "-q", "-m", message]);
    }

    /// A finished run of two units that changed the same line, where a conflict evicts: the one that landed and the one
    /// that was evicted.
    pub(crate) fn with_conflict() -> (Self, String, String) {
        let world = Self::new();
        world.write("shared.txt", "before\n");
        world.write(
            "agents/author.sh",
            "echo \"by $PIPELINE_UNIT\" > shared.txt\nsleep 0.2\n",
        );
        let unit = |id: &str| format!("  {id}: {{title: 'feat: {id}', prompt: x, tier: trivial}}\n");
        let evicts = "queue: {on_conflict: evict}\n";
        world.file("", &(unit("one") + &unit("two") + evicts));
        world.commit("chore: plan");
        world.expect(&["run", "rfc.yaml"], 5);
        let in_state = |state| {
            ["one", "two"]
                .into_iter()
                .find(|id| world.unit(id)["state"] == state)
        };
        let (landed, evicted) = (in_state("landed").unwrap(), in_state("evicted").unwrap());
        (world, landed.to_owned(), evicted.to_owned())
    }

    /// Opens an evicted unit for repair and returns the folder it is to be repaired in.
    pub(crate) fn open_repair(&self, unit: &str) -> PathBuf {
        let said = self.expect(&["resolve", unit], 0);
        let line = said.out.lines().find_map(|line| line.trim().strip_prefix("cd "));
        PathBuf::from(line.unwrap().trim_matches('\''))
    }

    /// Runs git in the checkout; it must succeed.
    pub(crate) fn git(&self, args: &[&str]) -> String {
        self.git_in(&self.repo, args)
    }

    /// Runs git somewhere else; it must succeed.
    pub(crate) fn git_in(&self, folder: &Path, args: &[&str]) -> String {
        let output = Command::new("git")
            .args(args)
            .current_dir(folder)
            .env_clear()
            .envs(&self.env)
            .output();
        let output = output.unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "git {args:?}: {said}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// A program as a person would run it: in the checkout, with the environment of this world.
    pub(crate) fn program(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command
            .current_dir(&self.repo)
            .env_clear()
            .envs(&self.env)
            .stdin(Stdio::null());
        command
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = self.program(&self.binary);
        command.args(args);
        command
    }

    /// Runs the program to its end.
    pub(crate) fn pipeline(&self, args: &[&str]) -> Said {
        said(&self.command(args).output().unwrap())
    }

    /// Runs the program to its end with more variables set.
    pub(crate) fn pipeline_with(&self, args: &[&str], variables: &[(&str, &str)]) -> Said {
        said(
            &self
                .command(args)
                .envs(variables.iter().copied())
                .output()
                .unwrap(),
        )
    }

    /// Runs the program somewhere else.
    pub(crate) fn pipeline_in(&self, folder: &Path, args: &[&str]) -> Said {
        said(&self.command(args).current_dir(folder).output().unwrap())
    }

    /// Starts the program and lets it run.
    pub(crate) fn start(&self, args: &[&str]) -> Child {
        self.command(args)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    }

    /// Runs the program, which must end with that code.
    pub(crate) fn expect(&self, args: &[&str], code: i32) -> Said {
        self.pipeline(args).with_code(code, args)
    }

    /// `status --json`.
    pub(crate) fn status(&self) -> Value {
        let said = self.expect(&["status", "--json"], 0);
        serde_json::from_str(&said.out).unwrap()
    }

    /// The row of a unit in `status --json`.
    pub(crate) fn unit(&self, id: &str) -> Value {
        let status = self.status();
        status["units"]
            .as_array()
            .unwrap()
            .iter()
            .find(|unit| unit["id"] == id)
            .unwrap()
            .clone()
    }

    /// The state of a unit, also while there is no run yet.
    pub(crate) fn unit_state(&self, id: &str) -> String {
        let said = self.pipeline(&["status", "--json"]);
        let status: Value = serde_json::from_str(&said.out).unwrap_or_default();
        let units = status["units"].as_array().cloned().unwrap_or_default();
        let unit = units.iter().find(|unit| unit["id"] == id);
        unit.and_then(|unit| unit["state"].as_str())
            .unwrap_or_default()
            .to_owned()
    }

    /// How often the agents were called for a unit, by `stage.round`.
    pub(crate) fn calls(&self, unit: &str) -> Vec<String> {
        let text = std::fs::read_to_string(self.base().join("count").join(unit)).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// A pipeline file with the scripted agents, `units` in the YAML of the `units` key.
    pub(crate) fn file(&self, confidences: &str, units: &str) {
        self.write("rfc.yaml", &file(confidences, "test -f README", units));
    }

    /// Waits for the end of a program that was started.
    pub(crate) fn wait(&self, program: Child) -> Said {
        said(&program.wait_with_output().unwrap())
    }

    /// Waits for the end of a run that was started, which must end with that code.
    pub(crate) fn expect_end(&self, run: Child, code: i32) -> Said {
        self.wait(run).with_code(code, &["run"])
    }

    /// Every event of the one run. A last line that was cut off by a kill counts for nobody.
    pub(crate) fn journal(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(self.run_dir().join("journal.jsonl")).unwrap();
        text.split_inclusive('\n')
            .filter(|line| line.ends_with('\n'))
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    /// Its events of that type, in order.
    pub(crate) fn events(&self, kind: &str) -> Vec<Value> {
        let rows = self.journal();
        rows.iter().filter_map(|row| find_type(row, kind)).collect()
    }

    /// The directory of the one run.
    pub(crate) fn run_dir(&self) -> PathBuf {
        let runs = std::fs::read_dir(self.repo.join(".git/pipeline/runs")).unwrap();
        let runs: Vec<PathBuf> = runs.map(|run| run.unwrap().path()).collect();
        let [run] = runs.as_slice() else {
            panic!("one run: {runs:?}")
        };
        run.clone()
    }

    /// Processes of attempts of this world.
    pub(crate) fn processes(&self) -> Vec<String> {
        let here = self.base().to_str().unwrap();
        let mut found = Vec::new();
        for entry in std::fs::read_dir("/proc").unwrap().flatten() {
            let environ = std::fs::read(entry.path().join("environ")).unwrap_or_default();
            let environ = String::from_utf8_lossy(&environ);
            if environ.contains("PIPELINE_FENCE=") && environ.contains(here) {
                found.push(entry.file_name().to_string_lossy().into_owned());
            }
        }
        found
    }

    /// No process of an attempt is left two seconds after the end of its engine.
    pub(crate) fn assert_no_orphan(&self) {
        let gone = Instant::now();
        loop {
            let left = self.processes();
            if left.is_empty() {
                return;
            }
            assert!(
                gone.elapsed() < Duration::from_secs(2),
                "{left:?} outlived their engine"
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Nothing of the program is left: one worktree, no branch of ours, no folder of an attempt.
    pub(crate) fn assert_clean(&self) {
        self.assert_clean_beside("");
    }

    /// The same where a run lands on a branch of ours.
    pub(crate) fn assert_clean_beside(&self, branch: &str) {
        assert_eq!(
            self.git(&["worktree", "list"]).lines().count(),
            1,
            "only the checkout is a worktree"
        );
        let ours = self.git(&["branch", "--list", "--format=%(refname:short)", "pipeline/*"]);
        assert_eq!(ours.trim(), branch, "branches of ours");
        assert_eq!(
            self.git(&["for-each-ref", "refs/pipeline/repairs"]),
            "",
            "records of repairs"
        );
        assert!(self.git(&["worktree", "prune", "-n", "-v"]).is_empty());
        let left = files_below(&self.base().join("state"));
        assert!(left.is_empty(), "left behind: {left:?}");
    }

    /// Waits until something holds; the test fails after 20 s.
    pub(crate) fn wait_until(&self, what: &str, holds: impl Fn() -> bool) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while !holds() {
            assert!(Instant::now() < deadline, "waited in vain for: {what}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// A pipeline file on the scripted agents.
pub(crate) fn file(confidences: &str, check: &str, units: &str) -> String {
    format!(
        "\
version: 1
name: trial
limits: {{start_interval: 0s, parallel: 8, retries: 1}}
agents:
  author: {{command: [sh, agents/author.sh], model: a, pass_env: [COUNT_DIR]}}
  reviewer: {{command: [sh, agents/reviewer.sh, \"{confidences}\"], model: b, pass_env: [COUNT_DIR]}}
checks:
  - {{name: test, run: \"{check}\"}}
units:
{units}"
    )
}

/// The object with that `type` in a row, however it is wrapped.
fn find_type(row: &Value, kind: &str) -> Option<Value> {
    if row["type"] == kind {
        return Some(row.clone());
    }
    row.as_object()?.values().find_map(|inner| find_type(inner, kind))
}

fn said(output: &Output) -> Said {
    Said {
        code: output.status.code().unwrap_or(-1),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if entry.file_type().unwrap().is_dir() {
            found.extend(files_below(&path));
        } else {
            found.push(path);
        }
    }
    found
}

fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let (path, below) = (
            entry.as_ref().unwrap().path(),
            to.join(entry.unwrap().file_name()),
        );
        let data = path.symlink_metadata().unwrap();
        if data.is_dir() {
            copy_folder(&path, &below);
        } else if data.is_symlink() {
            std::os::unix::fs::symlink(std::fs::read_link(&path).unwrap(), &below).unwrap();
        } else {
            std::fs::copy(&path, &below).unwrap();
        }
    }
    let mode = from.metadata().unwrap().permissions();
    std::fs::set_permissions(to, mode).unwrap();
}

/// Writes a program. A child writes it: what the tests beside this one start at that moment would hold a file of this
/// process open, and the program could not be run for as long.
pub(crate) fn write_program(path: &Path, text: &str) {
    let script = "printf %s \"$2\" > \"$1\" && chmod 755 \"$1\"";
    let written = Command::new("sh")
        .args(["-c", script, "sh"])
        .arg(path)
        .arg(text)
        .status();
    assert!(written.unwrap().success(), "{} is written", path.display());
}

fn make_writable(folder: &Path) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o700)).unwrap();
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        if entry.file_type().unwrap().is_dir() {
            make_writable(&entry.path());
        }
    }
}
