//! P1: what an attempt costs beside its agent.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::Timestamp;
use pipeline::event::{Event, Job, Outcome, RunEvent, UnitEvent, UnitScoped, Usage};
use pipeline::git::Repository;
use pipeline::id::{AttemptKey, Oid, RunId};
use pipeline::port::{AgentTask, AttemptOrder, Launcher, Stop, TakenTree, Task};
use pipeline::process::Launch;
use pipeline::spec::{Role, StageKind, Workspace};
use pipeline::store::{Home, Store};
use pipeline::workspace::{LauncherSettings, LocalLauncher, PortLeases};
use tokio::sync::{mpsc, watch};

use super::play::pipeline;
use super::store::open;
use super::support::{self, Figure, in_turns, timed};

const FILES: usize = 2000;
/// Attempts at a time.
const PARALLEL: u32 = 2;
/// Attempts of each of these in a round.
const ATTEMPTS: u32 = 5;
const ROUNDS: usize = 5;

/// What both sides run as their agent.
const AGENT: &str = "echo work > made.txt";

/// The script that a user would write.
const SCRIPT: &str = r#"
set -e
attempts() {
    for attempt in $(seq "$2"); do
        tree="$PLACE/tree-$1-$attempt"
        git worktree add -q --detach "$tree" "$3"
        (cd "$tree" && sh -c "$AGENT" && git add -A && git commit -qm work)
        git worktree remove "$tree"
    done
}
for slot in $(seq "$1"); do attempts "$slot" "$2" "$3" & jobs="$jobs $!"; done
for job in $jobs; do wait "$job"; done
"#;

struct World {
    launcher: LocalLauncher,
    repository: Repository,
    store: Mutex<Store>,
    run: RunId,
    base: Oid,
    workspace: Arc<Workspace>,
}

impl World {
    fn new(place: &Path) -> Self {
        let root = place.join("repo");
        let repository = support::repository(&root, FILES);
        let base = support::head(&root);
        let settings = LauncherSettings {
            worktrees_root: place.join("state"),
            logs_root: place.join("logs"),
            user_env: [("PATH".to_owned(), support::PATH.to_owned())].into(),
            ports: Arc::new(PortLeases::default()),
            files_max: 100,
            bytes_max: 1 << 20,
            grace: Duration::from_secs(1),
        };
        let launch = Launch::new(env!("CARGO_BIN_EXE_pipeline").into());
        let run = RunId::new(Timestamp::UNIX_EPOCH, 1);
        let mut store = open(&Home::new(repository.common_dir()));
        let started = Event::Run(RunEvent::RunStarted {
            format: pipeline::event::FORMAT,
            run: run.clone(),
            name: "bench".to_owned(),
            file: "rfc.yaml".to_owned(),
            target: "main".to_owned(),
            meant_for: None,
            base: base.clone(),
            frozen: String::new(),
        });
        store
            .start_run(&run, b"{}", Timestamp::UNIX_EPOCH, &[started], &[])
            .expect("the disk can be written");
        Self {
            launcher: LocalLauncher::new(repository.clone(), launch, settings),
            repository,
            store: Mutex::new(store),
            run,
            base,
            workspace: Arc::new(pipeline(1).workspace.clone()),
        }
    }

    fn record(&self, what: UnitEvent) {
        let unit = "api".parse().expect("it is an id");
        let event = Event::Unit(UnitScoped { unit, what });
        let mut store = self.store.lock().expect("nobody panicked");
        let done = store.commit(&self.run, Timestamp::UNIX_EPOCH, &[event], &[]);
        done.expect("the disk can be written");
    }

    /// An attempt from its intent in the journal to its outcome there, as the engine makes it.
    async fn attempt(&self, round: u32, slot: u32, attempt: u32) {
        let stage = "work".parse().expect("it is a name");
        let number = slot * ATTEMPTS + attempt;
        let fence = u64::from(round * PARALLEL * ATTEMPTS + number);
        self.record(UnitEvent::AttemptStarted {
            job: Job::Stage {
                stage,
                kind: StageKind::Implement,
                member: 0,
            },
            round,
            attempt: number,
            fence,
            agent: Some("author".to_owned()),
            commit: self.base.clone(),
        });
        let (activity, _) = mpsc::channel(16);
        let (_stop, stop) = watch::channel(Stop::No);
        let answer = self
            .launcher
            .launch(self.order(round, number, fence), stop, activity)
            .await;
        let Some(TakenTree::Tree(tree)) = &answer.tree else {
            panic!("{answer:?}");
        };
        let identity = self.repository.identity().expect("it is configured");
        let commit =
            self.repository
                .commit_tree(tree, &[&self.base], "work", &identity, Timestamp::UNIX_EPOCH);
        commit.expect("git works");
        self.record(UnitEvent::AttemptEnded {
            fence,
            outcome: Outcome::Ok,
            detail: None,
            output: None,
            packet: None,
            usage: Usage::default(),
            duration_ms: answer.duration_ms,
        });
        let key = self.order(round, number, fence).key;
        let discarded = self.launcher.discard(self.run.clone(), key).await;
        discarded.expect("the place can be removed");
    }

    fn order(&self, round: u32, attempt: u32, fence: u64) -> AttemptOrder {
        AttemptOrder {
            run: self.run.clone(),
            key: AttemptKey {
                unit: "api".parse().expect("it is an id"),
                stage: "work".parse().expect("it is a name"),
                round,
                attempt,
            },
            fence,
            packet: None,
            role: Role::Author,
            kind: "implement",
            base: self.base.clone(),
            agents_from: self.base.clone(),
            merge: None,
            commit: self.base.clone(),
            target: "main".to_owned(),
            task: Task::Agent(AgentTask {
                argv: ["/bin/sh", "-c", AGENT].map(str::to_owned).to_vec(),
                prompt: String::new(),
                context: BTreeMap::new(),
                env: BTreeMap::new(),
                takes_tree: true,
            }),
            workspace: Arc::clone(&self.workspace),
            wall_max: Duration::from_secs(60),
            idle_max: Duration::from_secs(60),
        }
    }
}

/// P1.
pub(crate) fn no_op_attempt() -> Vec<Figure> {
    let place = support::scratch();
    let world = Arc::new(World::new(place.path()));
    let runtime = tokio::runtime::Runtime::new().expect("threads can be started");
    let ours = |round: usize| {
        let round = u32::try_from(round).expect("it is small");
        timed(|| {
            runtime.block_on(async {
                let slots = (0..PARALLEL).map(|slot| {
                    let world = Arc::clone(&world);
                    tokio::spawn(async move {
                        for attempt in 0..ATTEMPTS {
                            world.attempt(round + 1, slot, attempt + 1).await;
                        }
                    })
                });
                for slot in slots.collect::<Vec<_>>() {
                    slot.await.expect("no attempt panics");
                }
            });
        })
    };
    let theirs = |_| {
        timed(|| {
            let status = support::command("sh", world.repository.root())
                .args([
                    "-c",
                    SCRIPT,
                    "script",
                    &PARALLEL.to_string(),
                    &ATTEMPTS.to_string(),
                ])
                .arg(world.base.as_str())
                .env("PLACE", place.path())
                .env("AGENT", AGENT)
                .status();
            assert!(status.expect("a shell starts").success());
        })
    };
    let (one, other) = in_turns(ROUNDS, ours, theirs);
    let each = |all: Duration| all / (PARALLEL * ATTEMPTS);
    let what = format!("an attempt of an agent that does next to nothing, {FILES} files");
    vec![Figure::ratio(
        &what,
        each(one),
        "worktree add, run, commit, remove",
        each(other),
        0.5,
    )]
}
