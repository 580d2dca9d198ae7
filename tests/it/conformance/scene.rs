//! When: what is done to a pipeline that runs.

use std::cell::RefCell;
use std::process::Child;

use serde_json::Value;

use super::laws;
use crate::tally::tally;
use crate::world::{Said, World};

/// A scenario under way. What must hold after every scenario is asked when it ends.
pub(super) struct Scene {
    pub(super) world: World,
    engine: RefCell<Option<Child>>,
    pub(super) words: RefCell<String>,
}

/// When.
impl Scene {
    pub(super) fn new(world: World) -> Self {
        Self {
            world,
            engine: RefCell::default(),
            words: RefCell::default(),
        }
    }

    /// The same command, to its end.
    pub(super) fn run(&self, code: i32) -> &Self {
        self.start().ends(code)
    }

    /// The same command, to its end, with these faults in the program; a kill is the code -1.
    pub(super) fn run_with(&self, faults: &str, code: i32) -> &Self {
        let said = self
            .world
            .pipeline_with(&["run", "rfc.yaml"], &[("PIPELINE_FAULT", faults)]);
        self.hear(&said.with_code(code, &["run", faults]))
    }

    /// Another verb, to its end.
    pub(super) fn call(&self, args: &[&str], code: i32) -> &Self {
        let said = self.world.expect(args, code);
        self.hear(&said)
    }

    /// The command is started, and goes on by itself.
    pub(super) fn start(&self) -> &Self {
        let engine = self.world.start(&["run", "rfc.yaml"]);
        assert!(
            self.engine.replace(Some(engine)).is_none(),
            "one engine at a time"
        );
        self
    }

    /// The same for some units only.
    pub(super) fn start_for(&self, unit: &str) -> &Self {
        let engine = self.world.start(&["run", "rfc.yaml", unit]);
        self.engine.replace(Some(engine));
        self
    }

    /// What was started comes to its end.
    pub(super) fn ends(&self, code: i32) -> &Self {
        let has_ended = || {
            let mut engine = self.engine.borrow_mut();
            engine
                .as_mut()
                .expect("it was started")
                .try_wait()
                .unwrap()
                .is_some()
        };
        self.world.wait_until("the end of the run", has_ended);
        let engine = self.engine.take().expect("it was started");
        let said = self.world.expect_end(engine, code);
        self.hear(&said)
    }

    /// The engine is killed: no signal handler, no goodbye. What it had started ends with it.
    pub(super) fn kill(&self) -> &Self {
        let mut engine = self.engine.take().expect("it was started");
        engine.kill().unwrap();
        engine.wait().unwrap();
        self.world.assert_no_orphan();
        self
    }

    /// Somebody calls the engine, which is busy, and is not waited for.
    pub(super) fn calls(&self, args: &[&str]) -> Child {
        let caller = self.world.start(args);
        let has_socket = || {
            let files = std::fs::read_dir(format!("/proc/{}/fd", caller.id())).unwrap();
            let mut links = files
                .flatten()
                .filter_map(|file| std::fs::read_link(file.path()).ok());
            links.any(|link| link.to_string_lossy().starts_with("socket:"))
        };
        self.world
            .wait_until("the caller to reach the engine", has_socket);
        // Nobody can see from outside when its words have arrived.
        std::thread::sleep(std::time::Duration::from_secs(1));
        caller
    }

    /// What came of a call.
    pub(super) fn hears(&self, caller: Child, code: i32) -> &Self {
        let said = self.world.wait(caller).with_code(code, &["a call"]);
        self.hear(&said)
    }

    /// The engine is told to stop.
    pub(super) fn stop(&self, code: i32) -> &Self {
        let engine = self.engine.take().expect("it was started");
        let pid = rustix::process::Pid::from_raw(i32::try_from(engine.id()).unwrap()).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        let said = self.world.expect_end(engine, code);
        self.hear(&said)
    }

    fn hear(&self, said: &Said) -> &Self {
        self.words.replace(format!("{}{}", said.out, said.err));
        self
    }

    /// A person does this in the checkout of the target.
    pub(super) fn person(&self, script: &str) -> &Self {
        let stage = self.world.base().join("count");
        let script = script.replace("STAGE", stage.to_str().unwrap());
        let output = self.world.program("sh").args(["-euc", &script]).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{script}: {said}");
        self
    }

    /// Waits until the queue's check runs where exactly the work of these units is, a word a run.
    pub(super) fn verifying(&self, runs: &str) -> &Self {
        for holds in runs.split_whitespace() {
            self.world.wait_until(&format!("{holds} to be verified"), || {
                self.runs().iter().any(|run| run == holds)
            });
        }
        self
    }

    /// Waits for an event of that type, about that unit where one is named.
    pub(super) fn until(&self, kind: &str, unit: Option<char>) -> &Self {
        self.world.wait_until(&format!("{kind} of {unit:?}"), || {
            self.started() && self.world.events(kind).iter().any(|event| is_about(event, unit))
        });
        self
    }

    /// Waits until there are that many events of that type.
    pub(super) fn until_times(&self, kind: &str, count: usize) -> &Self {
        self.world.wait_until(&format!("{kind}, {count} times"), || {
            self.started() && self.world.events(kind).len() == count
        });
        self
    }

    /// Waits until `status` tells that of its entry in the queue.
    pub(super) fn until_stands(&self, unit: char, state: &str) -> &Self {
        let stands = || self.entry(unit)["state"] == state;
        self.world.wait_until(&format!("{unit} to be {state}"), stands);
        self
    }

    /// Waits until `status` tells that of the unit.
    pub(super) fn until_is(&self, unit: char, state: &str) -> &Self {
        let stands = || self.world.unit_state(&unit.to_string()) == state;
        self.world.wait_until(&format!("{unit} to be {state}"), stands);
        self
    }

    /// Waits until they are all in line.
    pub(super) fn in_line(&self, names: &str) -> &Self {
        names
            .chars()
            .fold(self, |scene, name| scene.until("enqueued", Some(name)))
    }

    /// In a window of one whose check is closed the first of these lands, and the others are verified on it as one.
    pub(super) fn first_lands(&self, names: &str) -> &Self {
        let (first, rest) = names.split_at(1);
        self.verifying(first)
            .in_line(rest)
            .pass(first)
            .until("landed", first.chars().next())
            .verifying(names)
    }

    /// Waits until a script of the scenario has left that file on the stage.
    pub(super) fn until_file(&self, name: &str) -> &Self {
        let file = self.world.base().join("count").join(name);
        self.world.wait_until(name, || file.exists());
        self
    }

    /// Leaves a file on the stage that a script of the scenario waits for.
    pub(super) fn file(&self, name: &str) -> &Self {
        std::fs::write(self.world.base().join("count").join(name), "").unwrap();
        self
    }

    /// The queue's check goes on where exactly the work of these is.
    pub(super) fn pass(&self, holds: &str) -> &Self {
        self.file(&format!("pass.{holds}"))
    }

    /// The queue's check waits for nothing any more.
    pub(super) fn open(&self) -> &Self {
        std::fs::remove_file(self.world.base().join("count/closed")).unwrap();
        self
    }

    /// What helps to see why a scenario failed.
    fn confess(&self) {
        eprintln!("the queue's check ran on {:?}", self.runs());
        if self.started() {
            for row in self.world.journal() {
                let keys = [
                    "seq", "type", "unit", "units", "fence", "outcome", "purpose", "reason", "obstacle",
                    "end", "charge",
                ];
                let told = keys
                    .iter()
                    .filter_map(|key| Some(format!("{key}={}", row.get(key)?)));
                eprintln!("{}", told.collect::<Vec<_>>().join(" "));
            }
        }
        eprintln!("{}", self.words.borrow());
    }

    fn started(&self) -> bool {
        let runs = std::fs::read_dir(self.world.repo.join(".git/pipeline/runs"));
        runs.is_ok_and(|mut runs| runs.any(|run| run.unwrap().path().join("journal.jsonl").exists()))
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        let left = self.engine.take();
        let is_left = left.is_some();
        if let Some(mut engine) = left {
            drop(engine.kill());
            drop(engine.wait());
        }
        if std::thread::panicking() {
            self.confess();
            return;
        }
        assert!(!is_left, "a scenario ends when its pipeline has ended");
        laws::hold_of_the_place(&self.world);
        match self.started() {
            true => laws::hold_of_the_run(&self.world),
            false => self.world.assert_clean(),
        }
        tally(&format!("scenario: {}", std::thread::current().name().unwrap()));
    }
}

/// Whether an event is about a unit: its own, or one of several.
fn is_about(event: &Value, unit: Option<char>) -> bool {
    let Some(unit) = unit.map(String::from) else {
        return true;
    };
    let units = event["units"].as_array().cloned().unwrap_or_default();
    event["unit"] == unit || units.iter().any(|row| *row == unit || row["unit"] == unit)
}
