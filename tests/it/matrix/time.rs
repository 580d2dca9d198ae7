//! Clocks that jump and machines that sleep. Wall time cannot be set for one process, so here an engine of this
//! process, with a clock of the test's, takes a run up that the real binary began.

use std::collections::BTreeMap;
use std::process::Child;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use pipeline::agent::Templates;
use pipeline::engine::{Engine, LandedChanges, Observer, Options, Tools};
use pipeline::event::{Record, StopCause};
use pipeline::git::{Repository, UserEnvironment};
use pipeline::id::RunId;
use pipeline::port::{Activity, Clock, Stop};
use pipeline::process::{GRACE, Launch};
use pipeline::spec::Pipeline;
use pipeline::store::{Holder, Home, Store, StoreLease};
use pipeline::workspace::{LauncherSettings, LocalLauncher, PortLeases};
use rustix::process::{Pid, Signal, kill_process};
use tokio::sync::watch;

use super::{
    assert_landed_once, assert_nothing_left, is_alive, let_go, outcomes, row, signal, start_and_wait,
    with_waiting_author, words,
};
use crate::world::World;

/// No run here needs this long.
const LONG: Duration = Duration::from_secs(30);
const DAY_SECONDS: i64 = 86_400;

/// Wall time, and as many seconds more or less as a test says.
#[derive(Default)]
struct JumpingClock(AtomicI64);

impl JumpingClock {
    fn jump(&self, seconds: i64) {
        self.0.fetch_add(seconds, Ordering::SeqCst);
    }
}

impl Clock for JumpingClock {
    fn now(&self) -> Timestamp {
        let ahead = SignedDuration::from_secs(self.0.load(Ordering::SeqCst));
        pipeline::clock::SystemClock.now().checked_add(ahead).unwrap()
    }
}

/// Sees nothing.
struct Blind;

impl Observer for Blind {
    fn replayed(&mut self, _: &Record) {}
    fn recorded(&mut self, _: &Record) {}
    fn grown(&mut self, _: &Pipeline) {}
    fn activity(&mut self, _: &Activity) {}
    fn note(&mut self, _: &str) {}
}

/// A run that was begun by the binary and left while its author waited.
fn left_by_the_binary(world: &World) {
    let mut engine = start_and_wait(world);
    engine.kill().unwrap();
    engine.wait().unwrap();
    world.assert_no_orphan();
    std::fs::remove_file(world.base().join("count/waiting")).unwrap();
}

fn tools(world: &World, home: &Home, run: &RunId, clock: Arc<JumpingClock>) -> Tools {
    let text = |name: &str| world.base().join(name).to_str().unwrap().to_owned();
    let path = std::env::var("PATH").unwrap();
    let user = UserEnvironment {
        home: Some(world.base().join("home")),
        path: path.clone().into(),
        xdg_config_home: None,
        ssh_auth_sock: None,
        proxies: Vec::new(),
    };
    let repository = Repository::discover(&world.repo, &user).unwrap();
    let mut roots = std::fs::read_dir(world.base().join("state/pipeline")).unwrap();
    let settings = LauncherSettings {
        worktrees_root: roots.next().unwrap().unwrap().path(),
        logs_root: home.logs(run),
        user_env: BTreeMap::from([("PATH".to_owned(), path), ("HOME".to_owned(), text("home"))]),
        ports: Arc::new(PortLeases::default()),
        files_max: 1000,
        bytes_max: 1 << 20,
        grace: GRACE,
    };
    let launch = Launch::new(env!("CARGO_BIN_EXE_pipeline").into());
    Tools {
        identity: repository.identity().unwrap(),
        launcher: Arc::new(LocalLauncher::new(repository.clone(), launch, settings)),
        clock,
        templates: Templates::embedded(),
        pass_env: BTreeMap::from([("COUNT_DIR".to_owned(), text("count"))]),
        seed: 1,
        protected: Vec::new(),
        landed: LandedChanges::default(),
        repository,
    }
}

/// Drives the run to its end in this process while `meanwhile` plays with the clock.
fn drive(world: &World, meanwhile: impl FnOnce(&JumpingClock) + Send) -> StopCause {
    // The worktree that the binary left is not this engine's to remove.
    world.expect(&["clean"], 0);
    let clock = Arc::new(JumpingClock::default());
    let home = Home::new(&world.repo.join(".git").canonicalize().unwrap());
    let run = world.run_dir();
    let frozen: serde_json::Value =
        serde_json::from_slice(&std::fs::read(run.join("frozen.json")).unwrap()).unwrap();
    let pipeline: Pipeline = serde_json::from_value(frozen["pipeline"].clone()).unwrap();
    let run = RunId::parse(run.file_name().unwrap().to_str().unwrap()).unwrap();
    let holder = Holder {
        pid: std::process::id(),
        command: "a test".to_owned(),
        started: clock.now(),
    };
    let lease = StoreLease::acquire(&home, &holder).unwrap();
    let (store, _) = Store::open(home.clone(), lease).unwrap();
    let tools = Arc::new(tools(world, &home, &run, Arc::clone(&clock)));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    std::thread::scope(|scope| {
        let player = Arc::clone(&clock);
        scope.spawn(move || meanwhile(&player));
        runtime.block_on(async {
            let (observer, options) = (Box::new(Blind), Options::default());
            let engine = Engine::take_up(
                run,
                Arc::new(pipeline),
                String::new(),
                store,
                tools,
                options,
                observer,
            );
            let (_stop, told) = watch::channel(Stop::No);
            let mut engine = engine.await.unwrap();
            let end = tokio::time::timeout(LONG, engine.run(told)).await;
            end.expect("no wall time is waited for").unwrap()
        })
    })
}

/// A second unit, whose author waits for a sign of its own.
fn two_units() -> World {
    let world = with_waiting_author("");
    let author = world.read("agents/author.sh");
    let own = "[ $PIPELINE_UNIT = api ] || { while ! [ -e \"$COUNT_DIR/other\" ]; do sleep 0.02; done; touch \"$COUNT_DIR/go-$PIPELINE_UNIT\"; }\n";
    let author = author.replace(
        "[ -e \"$COUNT_DIR/go\" ] ||",
        "[ -e \"$COUNT_DIR/go\" ] || [ $PIPELINE_UNIT != api ] ||",
    );
    world.write("agents/author.sh", &(own.to_owned() + &author));
    let units = format!(
        "{}  other: {{title: 'feat: other', prompt: x, tier: trivial}}\n",
        super::ONE
    );
    world.file("", &units);
    world.commit("chore: two units");
    world
}

/// While the author of one unit works, the clock jumps, and another unit makes the engine decide many things by it.
fn assert_a_jump_changes_nothing(seconds: i64) {
    let world = two_units();
    left_by_the_binary(&world);
    let why = drive(&world, |clock| {
        let waiting = world.base().join("count/waiting");
        world.wait_until("the author to wait", || waiting.exists());
        clock.jump(seconds);
        std::fs::write(world.base().join("count/other"), "").unwrap();
        world.wait_until("the other to land", || world.unit_state("other") == "landed");
        assert_eq!(world.unit_state("api"), "working", "its time is not over");
        clock.jump(-2 * seconds);
        let_go(&world);
    });
    assert_eq!(why, StopCause::Finished);
    assert_landed_once(&world);
    assert_eq!(world.calls("api"), ["implement.1"]);
    assert_eq!(outcomes(&world).get("timeout"), None);
    assert_eq!(outcomes(&world).get("idle"), None);
    assert_nothing_left(&world);
}

#[test]
fn a_clock_that_jumps_forth_ends_no_attempt() {
    let _row = row("clock jumps forth");
    assert_a_jump_changes_nothing(30 * DAY_SECONDS);
}

#[test]
fn a_clock_that_is_set_back_prolongs_no_attempt_and_no_back_off() {
    let _row = row("clock jumps back");
    assert_a_jump_changes_nothing(-30 * DAY_SECONDS);

    // A deadline comes although the clock goes back all the time, and so does the next try.
    let world = with_waiting_author("");
    let text = world
        .read("rfc.yaml")
        .replace("retries: 1}", "retries: 1, stage_timeout: 1s}");
    world.write("rfc.yaml", &text);
    world.commit("chore: a time limit");
    left_by_the_binary(&world);
    let began = Instant::now();
    drive(&world, |clock| {
        for hour in 0..20 {
            clock.jump(-3600);
            std::thread::sleep(Duration::from_millis(100));
            if hour == 15 {
                let_go(&world);
            }
        }
    });
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    assert_eq!(outcomes(&world)["timeout"], 1);
    assert_landed_once(&world);
    assert_nothing_left(&world);
}

/// The engine, its supervisors, and the processes of attempts.
fn all_processes(world: &World, engine: &Child) -> Vec<Pid> {
    let is_child = |pid: &u32| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let fields = stat.rsplit(')').next().unwrap_or_default();
        fields.split_ascii_whitespace().nth(1) == Some(&engine.id().to_string())
    };
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let supervisors: Vec<u32> = pids.filter(is_child).collect();
    assert_eq!(supervisors.len(), 1, "one attempt is under way");
    let attempts = world.processes().into_iter().map(|pid| pid.parse().unwrap());
    std::iter::once(engine.id())
        .chain(supervisors)
        .chain(attempts)
        .map(|pid| Pid::from_raw(i32::try_from(pid).unwrap()).unwrap())
        .collect()
}

#[test]
fn an_engine_that_sleeps_takes_up_what_happened_meanwhile() {
    let _row = row("suspend");
    // The engine alone: its agent ends while it sleeps.
    let world = with_waiting_author("echo $$ > \"$COUNT_DIR/pid\"");
    let engine = start_and_wait(&world);
    let agent = std::fs::read_to_string(world.base().join("count/pid")).unwrap();
    signal(engine.id(), Signal::STOP);
    let_go(&world);
    world.wait_until("the agent to end", || !is_alive(agent.trim().parse().unwrap()));
    assert_eq!(world.unit_state("api"), "working", "readers do not wait for it");
    let refused = world.expect(&["run", "rfc.yaml"], 7);
    assert!(refused.err.contains(&engine.id().to_string()), "{}", refused.err);
    signal(engine.id(), Signal::CONT);
    let said = world.wait(engine);
    assert_eq!(said.code, 0, "{}", words(&said));
    assert_landed_once(&world);
    assert_eq!(world.calls("api"), ["implement.1"]);
    assert_nothing_left(&world);

    // Everything: nothing is noticed but the time.
    let world = with_waiting_author("");
    let engine = start_and_wait(&world);
    let all = all_processes(&world, &engine);
    for which in [Signal::STOP, Signal::CONT] {
        for pid in &all {
            // One that ended since it was listed sleeps for ever.
            let _ = kill_process(*pid, which);
        }
        std::thread::sleep(Duration::from_secs(1));
    }
    let_go(&world);
    let said = world.wait(engine);
    assert_eq!(said.code, 0, "{}", words(&said));
    assert_landed_once(&world);
    assert_eq!(
        outcomes(&world),
        BTreeMap::from([("ok".to_owned(), 2)]),
        "author and checks, once each"
    );
    assert_nothing_left(&world);
}
