//! Attempts in worktrees: fresh, apart from each other, and gone afterwards.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod adopted;
mod hostile;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use pipeline::event::CheckOutcome;
use pipeline::git::{Repository, UserEnvironment};
use pipeline::id::{AttemptKey, Oid, RunId};
use pipeline::port::{
    Activity, AgentTask, AttemptOrder, AttemptReturn, Ended, Launcher, Stop, TakenTree, Task,
};
use pipeline::process::Launch;
use pipeline::spec::{Check, DependsOn, Role, Step, Workspace};
use pipeline::workspace::{LauncherSettings, LocalLauncher, PortLeases, bytes_below, free_disk};
use tempfile::TempDir;
use tokio::sync::{mpsc, watch};

const RUN: &str = "r-20261121-142233-00000000deadbeef";

/// A repository, a launcher for it, and a signal to stop.
struct World {
    dir: TempDir,
    repository: Repository,
    launcher: LocalLauncher,
    stop: watch::Sender<Stop>,
    base: Oid,
}

#[expect(clippy::disallowed_methods, reason = "tests set the scene with plain git")]
fn git(at: &Path, arguments: &[&str]) -> String {
    let output = std::process::Command::new("git")
        .arg("-C")
        .arg(at)
        .args([
            "-c",
            "user.name=t",
            "-c",
            "user.email=t@localhost",
            "-c",
            "init.defaultBranch=main",
        ])
        .args(arguments)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

impl World {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let main = dir.path().join("main");
        fs::create_dir(&main).unwrap();
        git(&main, &["init", "-q"]);
        fs::create_dir(main.join("scripts")).unwrap();
        fs::write(
            main.join("scripts/review.sh"),
            "#!/bin/sh\necho the true reviewer\ncat \"$@\"\n",
        )
        .unwrap();
        fs::write(main.join("file"), "base\n").unwrap();
        fs::write(main.join(".gitignore"), ".env\nbuild/\n").unwrap();
        git(&main, &["add", "-A"]);
        git(&main, &["commit", "-qm", "base"]);
        let base = git(&main, &["rev-parse", "HEAD"]).parse().unwrap();
        let repository = open(&main);
        let user_env = [
            ("PATH", "/usr/local/bin:/usr/bin:/bin:."),
            ("HOME", "/nonexistent"),
            ("GIT_DIR", "/somewhere"),
            ("CLAUDECODE", "1"),
        ];
        let settings = LauncherSettings {
            worktrees_root: dir.path().join("state"),
            logs_root: dir.path().join("logs"),
            user_env: strings(&user_env),
            ports: Arc::new(PortLeases::default()),
            files_max: 1000,
            bytes_max: 1 << 20,
            grace: Duration::from_millis(150),
        };
        let launch = Launch::new(env!("CARGO_BIN_EXE_pipeline").into());
        Self {
            launcher: LocalLauncher::new(repository.clone(), launch, settings),
            dir,
            repository,
            stop: watch::Sender::new(Stop::No),
            base,
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Commits a file on top of the base without leaving it in the checkout.
    fn commit(&self, path: &str, content: &str) -> Oid {
        let main = self.path("main");
        fs::write(main.join(path), content).unwrap();
        git(&main, &["add", "-A"]);
        git(&main, &["commit", "-qm", "work"]);
        let commit = git(&main, &["rev-parse", "HEAD"]).parse().unwrap();
        git(&main, &["reset", "-q", "--hard", self.base.as_str()]);
        commit
    }

    fn order(&self, role: Role, task: Task, workspace: Workspace) -> AttemptOrder {
        AttemptOrder {
            run: RunId::parse(RUN).unwrap(),
            key: AttemptKey {
                unit: "api".parse().unwrap(),
                stage: "work".parse().unwrap(),
                round: 1,
                attempt: 1,
            },
            fence: 9,
            packet: None,
            role,
            kind: "implement",
            base: self.base.clone(),
            agents_from: self.base.clone(),
            commit: self.base.clone(),
            merge: None,
            target: "main".to_owned(),
            task,
            workspace: Arc::new(workspace),
            wall_max: Duration::from_secs(60),
            idle_max: Duration::from_secs(60),
        }
    }

    async fn launch(&self, order: AttemptOrder) -> AttemptReturn {
        let (activity, _) = mpsc::channel::<Activity>(100);
        let (run, key) = (order.run.clone(), order.key.clone());
        let answer = self.launcher.launch(order, self.stop.subscribe(), activity).await;
        self.launcher.discard(run, key).await.unwrap();
        answer
    }

    async fn author(&self, script: &str, workspace: Workspace) -> AttemptReturn {
        self.launch(self.order(Role::Author, agent(&["/bin/sh", "-c", script]), workspace))
            .await
    }

    fn assert_nothing_is_left(&self) {
        let worktrees = git(&self.path("main"), &["worktree", "list"]);
        assert_eq!(worktrees.lines().count(), 1, "{worktrees}");
        let state = self.path("state");
        assert!(!state.exists() || fs::read_dir(state).unwrap().count() == 0);
    }

    fn show(&self, answer: &AttemptReturn, path: &str) -> Option<String> {
        let Some(TakenTree::Tree(tree)) = &answer.tree else {
            panic!("{answer:?}")
        };
        let main = self.path("main");
        let listed = git(&main, &["ls-tree", "-r", "--name-only", tree.as_str()]);
        let there = listed.lines().any(|line| line == path);
        there.then(|| git(&main, &["cat-file", "blob", &format!("{tree}:{path}")]))
    }
}

/// The one place that knows how a repository is opened.
fn open(main: &Path) -> Repository {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let user = UserEnvironment {
        home: None,
        path,
        xdg_config_home: None,
        ssh_auth_sock: None,
        proxies: Vec::new(),
    };
    Repository::discover(main, &user).unwrap()
}

fn strings(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs
        .iter()
        .map(|&(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

fn agent(argv: &[&str]) -> Task {
    Task::Agent(AgentTask {
        argv: argv.iter().map(|&word| word.to_owned()).collect(),
        prompt: "do it".to_owned(),
        context: BTreeMap::from([("checks/unit.log".to_owned(), b"log".to_vec())]),
        env: strings(&[("KEY", "of the agent")]),
        takes_tree: true,
    })
}

fn workspace() -> Workspace {
    Workspace {
        root: None,
        setup: Vec::new(),
        teardown: Vec::new(),
        copy: Vec::new(),
        env: BTreeMap::new(),
        ports: Vec::new(),
        port_base: 45_000,
        port_range: 500,
    }
}

fn step(run: &str) -> Step {
    Step {
        run: run.to_owned(),
        roles: vec![Role::Author, Role::Check, Role::Judge],
    }
}

fn check(name: &str, run: &str) -> Check {
    Check {
        name: name.to_owned(),
        run: run.to_owned(),
        cwd: ".".to_owned(),
        timeout: Duration::from_secs(30),
        depends_on: DependsOn::Tree,
        exclusive: std::collections::BTreeSet::new(),
    }
}

#[tokio::test]
async fn an_author_changes_files_and_its_tree_is_taken_and_kept() {
    let world = World::new();
    let answer = world
        .author(
            "cat > new; echo more >> file; echo '{\"a\":1}' > $PIPELINE_RESULT",
            workspace(),
        )
        .await;
    assert_eq!(answer.ended, Ended::Exited(0), "{answer:?}");
    assert_eq!(world.show(&answer, "new").as_deref(), Some("do it"));
    assert_eq!(world.show(&answer, "file").as_deref(), Some("base\nmore"));
    assert_eq!(answer.result.as_deref(), Some(b"{\"a\":1}\n".as_slice()));
    let Some(TakenTree::Tree(tree)) = &answer.tree else {
        unreachable!()
    };
    let kept = format!("refs/pipeline/runs/{RUN}/api/attempts/work.1.1");
    assert_eq!(git(&world.path("main"), &["rev-parse", &kept]), tree.as_str());
    assert_eq!(git(&world.path("main"), &["status", "--porcelain"]), "");
    world.assert_nothing_is_left();
}

#[tokio::test]
async fn the_environment_is_the_contract_and_nothing_else() {
    let world = World::new();
    let mut workspace = workspace();
    workspace.env = strings(&[
        ("DB", "{{ unit }}-{{ stage }}-{{ PORT }}.sqlite"),
        ("W", "{{ worktree }}"),
    ]);
    workspace.ports = vec!["PORT".to_owned()];
    let script = "env | sort; pwd; test -d $TMPDIR && cat $PIPELINE_CONTEXT/checks/unit.log";
    let answer = world.author(script, workspace).await;
    let log = fs::read_to_string(&answer.log).unwrap();
    let names: Vec<&str> = log
        .lines()
        .filter_map(|line| Some(line.split_once('=')?.0))
        .collect();
    let expected = [
        "DB",
        "HOME",
        "KEY",
        "PATH",
        "PIPELINE_ATTEMPT",
        "PIPELINE_BASE",
        "PIPELINE_CONTEXT",
        "PIPELINE_ENV",
        "PIPELINE_FENCE",
        "PIPELINE_KIND",
        "PIPELINE_RESULT",
        "PIPELINE_ROUND",
        "PIPELINE_RUN",
        "PIPELINE_STAGE",
        "PIPELINE_TARGET",
        "PIPELINE_UNIT",
        "PIPELINE_WORKTREE",
        "PORT",
        "PWD",
        "TMPDIR",
        "W",
    ];
    let names: Vec<&str> = names
        .into_iter()
        .filter(|name| !["_", "SHLVL", "OLDPWD"].contains(name))
        .collect();
    assert_eq!(names, expected);
    let value = |name: &str| {
        log.lines()
            .find_map(|line| line.strip_prefix(&format!("{name}=")))
            .unwrap()
    };
    assert_eq!(value("PATH"), "/usr/local/bin:/usr/bin:/bin");
    assert_eq!(value("PIPELINE_FENCE"), format!("{RUN}:9"));
    assert_eq!(value("DB"), format!("api-work-{}.sqlite", value("PORT")));
    assert_eq!(value("W"), value("PIPELINE_WORKTREE"));
    assert!(
        log.contains(&format!("\n{}\n", value("PIPELINE_WORKTREE"))),
        "it is the working directory"
    );
    assert!(log.ends_with("log"), "the context is there");
}

#[tokio::test]
async fn a_template_that_is_wrong_is_a_failed_set_up_that_names_the_variable() {
    let world = World::new();
    let mut workspace = workspace();
    workspace.env = strings(&[("DB", "{{ nothing }}")]);
    let answer = world.author("true", workspace).await;
    assert!(
        matches!(&answer.ended, Ended::SetupFailed(why) if why.contains("workspace.env.DB")),
        "{answer:?}"
    );
    world.assert_nothing_is_left();
}

#[tokio::test]
async fn what_set_up_appends_is_seen_by_later_set_up_agent_and_teardown_but_no_log() {
    let world = World::new();
    let seen = world.path("seen");
    let mut workspace = workspace();
    workspace.setup = vec![
        step("echo URL=secret-7 >> $PIPELINE_ENV"),
        step("test $URL = secret-7 && test -z \"$KEY\" && echo SECOND=$URL/2 >> $PIPELINE_ENV"),
    ];
    workspace.teardown = vec![step(&format!("echo $SECOND $KEY > {}", seen.display()))];
    let answer = world.author("test $SECOND = secret-7/2", workspace).await;
    assert_eq!(answer.ended, Ended::Exited(0), "{answer:?}");
    assert_eq!(fs::read_to_string(seen).unwrap(), "secret-7/2\n");
    for log in fs::read_dir(world.path("logs/api")).unwrap() {
        let log = fs::read_to_string(log.unwrap().path()).unwrap();
        assert!(!log.contains("secret"), "{log}");
    }
}

#[tokio::test]
async fn a_failed_set_up_step_is_named_the_agent_is_not_started_and_teardown_runs() {
    let world = World::new();
    let (agent, teardown) = (world.path("agent"), world.path("teardown"));
    let mut workspace = workspace();
    workspace.setup = vec![step("true"), step("echo no network; exit 3"), step("echo never")];
    workspace.teardown = vec![step("exit 1"), step(&format!("touch {}", teardown.display()))];
    let answer = world
        .author(&format!("touch {}", agent.display()), workspace)
        .await;
    let Ended::SetupFailed(sentence) = &answer.ended else {
        panic!("{answer:?}")
    };
    assert!(
        sentence.contains("step 2") && sentence.contains("status 3"),
        "{sentence}"
    );
    assert_eq!(answer.tail, "no network\n");
    assert!(answer.log.ends_with("api/work.1.1.setup.log"));
    assert!(teardown.exists() && !agent.exists());
    assert!(
        answer.notes.iter().any(|note| note.contains("teardown step 1")),
        "{:?}",
        answer.notes
    );
    assert_eq!(answer.tree, None);
    world.assert_nothing_is_left();
}

#[tokio::test]
async fn steps_are_run_for_their_roles_only() {
    let world = World::new();
    let mut workspace = workspace();
    workspace.setup = vec![Step {
        run: "exit 1".to_owned(),
        roles: vec![Role::Judge],
    }];
    assert_eq!(
        world.author("true", workspace.clone()).await.ended,
        Ended::Exited(0)
    );
    let judge = world.order(Role::Judge, agent(&["true"]), workspace);
    assert!(matches!(world.launch(judge).await.ended, Ended::SetupFailed(_)));
}

#[tokio::test]
async fn what_copy_and_set_up_made_is_there_and_never_becomes_work() {
    let world = World::new();
    fs::write(world.path("main/.env"), "TOKEN=1").unwrap();
    fs::write(world.path("main/local.txt"), "untracked").unwrap();
    let mut workspace = workspace();
    workspace.copy = vec![".env".to_owned(), "local.txt".to_owned(), "file".to_owned()];
    workspace.setup = vec![step("mkdir -p gen && echo made > gen/set-up")];
    fs::write(world.path("main/file"), "a person's edit").unwrap();
    let script = "cat .env local.txt gen/set-up file; : > .gitignore; echo x > gen/by-agent";
    let answer = world.author(script, workspace).await;
    assert_eq!(
        fs::read_to_string(&answer.log).unwrap(),
        "TOKEN=1untrackedmade\nbase\n"
    );
    for path in [".env", "local.txt", "gen/set-up"] {
        assert_eq!(world.show(&answer, path), None, "{path}");
    }
    assert_eq!(world.show(&answer, "gen/by-agent").as_deref(), Some("x"));
}

#[tokio::test]
async fn checks_run_in_order_and_after_a_failure_the_rest_are_skipped() {
    let world = World::new();
    let mut below = check("below", "pwd; printf '\\033[31mred\\033[0m\\n'");
    below.cwd = "scripts".to_owned();
    let checks = vec![
        check("one", "cat file"),
        below,
        check("bad", "echo why; exit 4"),
        check("never", "true"),
    ];
    let answer = world
        .launch(world.order(Role::Check, Task::Checks(checks), workspace()))
        .await;
    let rows: Vec<_> = answer
        .checks
        .iter()
        .map(|row| (row.name.as_str(), row.outcome, row.exit))
        .collect();
    let expected = [
        ("one", CheckOutcome::Passed, Some(0)),
        ("below", CheckOutcome::Passed, Some(0)),
        ("bad", CheckOutcome::Failed, Some(4)),
        ("never", CheckOutcome::Skipped, None),
    ];
    assert_eq!(rows, expected);
    assert_eq!(answer.ended, Ended::Exited(0));
    assert_eq!(answer.checks[0].tail, "base\n");
    assert!(
        answer.checks[1].tail.ends_with("/tree/scripts\nred\n"),
        "{:?}",
        answer.checks[1]
    );
    assert_eq!(answer.checks[2].tail, "why\n");
    assert!(answer.checks.iter().all(|row| row.signature.is_empty()));
    world.assert_nothing_is_left();
}

#[tokio::test]
async fn a_check_has_its_own_limit_and_a_stop_says_nothing_about_the_commit() {
    let world = World::new();
    let mut slow = check("slow", "exec sleep 60");
    slow.timeout = Duration::from_millis(200);
    let answer = world
        .launch(world.order(Role::Check, Task::Checks(vec![slow]), workspace()))
        .await;
    assert_eq!(answer.checks[0].outcome, CheckOutcome::TimedOut);
    assert_eq!(answer.ended, Ended::Exited(0));

    let started = world.path("started");
    let checks = vec![
        check("long", &format!("touch {}; exec sleep 60", started.display())),
        check("next", "true"),
    ];
    let run = world.launch(world.order(Role::Check, Task::Checks(checks), workspace()));
    let stop = async {
        while !started.exists() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        world.stop.send_replace(Stop::Gently);
    };
    let (answer, ()) = tokio::join!(run, stop);
    assert_eq!(answer.ended, Ended::Stopped);
    assert_eq!(answer.checks[0].outcome, CheckOutcome::Interrupted);
    assert_eq!(answer.checks[1].outcome, CheckOutcome::Skipped);
    world.assert_nothing_is_left();
}

#[tokio::test]
async fn a_stopped_author_keeps_its_work_and_its_teardown() {
    let world = World::new();
    let (started, torn) = (world.path("started"), world.path("torn"));
    let mut workspace = workspace();
    workspace.teardown = vec![step(&format!("touch {}", torn.display()))];
    let script = format!("echo half > half; touch {}; exec sleep 60", started.display());
    let run = world.author(&script, workspace);
    let stop = async {
        while !started.exists() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        world.stop.send_replace(Stop::AtOnce);
    };
    let (answer, ()) = tokio::join!(run, stop);
    assert_eq!(answer.ended, Ended::Stopped);
    assert_eq!(world.show(&answer, "half").as_deref(), Some("half"));
    assert!(torn.exists());
    world.assert_nothing_is_left();
}

#[tokio::test]
async fn an_attempt_stopped_before_it_began_makes_nothing() {
    let world = World::new();
    world.stop.send_replace(Stop::Gently);
    let answer = world.author("true", workspace()).await;
    assert_eq!(answer.ended, Ended::Stopped);
    assert!(!world.path("state").exists() && !world.path("logs").exists());
}

#[tokio::test]
async fn attempts_side_by_side_have_places_and_ports_of_their_own() {
    let world = World::new();
    let mut workspace = workspace();
    workspace.ports = vec!["PORT".to_owned(), "DB_PORT".to_owned()];
    let mut running = tokio::task::JoinSet::new();
    let (activity, _) = mpsc::channel::<Activity>(1);
    for attempt in 1..=4 {
        let task = agent(&[
            "/bin/sh",
            "-c",
            "ls -A $TMPDIR; touch $TMPDIR/x; echo $PORT $DB_PORT $TMPDIR $PWD; sleep 0.5",
        ]);
        let mut order = world.order(Role::Author, task, workspace.clone());
        order.key.attempt = attempt;
        let (run, key) = (order.run.clone(), order.key.clone());
        let (launcher, stop, activity) = (world.launcher.clone(), world.stop.subscribe(), activity.clone());
        running.spawn(async move {
            let answer = launcher.launch(order, stop, activity).await;
            launcher.discard(run, key).await.unwrap();
            answer
        });
    }
    let answers = running.join_all().await;
    let mut words: Vec<&str> = answers
        .iter()
        .flat_map(|answer| answer.tail.split_whitespace())
        .collect();
    assert_eq!(words.len(), 16);
    words.sort_unstable();
    words.dedup();
    assert_eq!(words.len(), 16, "{words:?}");
    let notes: Vec<&String> = answers.iter().flat_map(|answer| &answer.notes).collect();
    assert!(
        notes.iter().any(|note| note.contains("in use by api/work")),
        "{notes:?}"
    );
    world.assert_nothing_is_left();
}

#[test]
fn bytes_and_free_disk_are_measured_without_following_links() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("below")).unwrap();
    fs::write(dir.path().join("below/file"), vec![1; 100_000]).unwrap();
    std::os::unix::fs::symlink("/", dir.path().join("link")).unwrap();
    let bytes = bytes_below(dir.path());
    assert!((100_000..1_000_000).contains(&bytes), "{bytes}");
    assert_eq!(bytes_below(&dir.path().join("missing")), 0);
    assert!(free_disk(dir.path()).unwrap() > 0);
}
