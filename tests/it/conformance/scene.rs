//! When and then: what is done to a pipeline that runs, and what came of it.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::process::Child;

use serde_json::Value;

use super::laws;
use crate::aftermath;
use crate::tally::tally;
use crate::world::{Said, World};

/// A scenario under way. What must hold after every scenario is asked when it ends.
pub(super) struct Scene {
    pub(super) world: World,
    engine: RefCell<Option<Child>>,
    words: RefCell<String>,
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

    /// Waits until the queue's check runs where exactly the work of these units is.
    pub(super) fn verifying(&self, holds: &str) -> &Self {
        self.world.wait_until(&format!("{holds} to be verified"), || {
            self.runs().iter().any(|run| run == holds)
        });
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

    /// Waits until they are all in line.
    pub(super) fn in_line(&self, names: &str) -> &Self {
        names
            .chars()
            .fold(self, |scene, name| scene.until("enqueued", Some(name)))
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

/// Then.
impl Scene {
    /// These landed, a word a move of the target, and nothing else did.
    pub(super) fn landed(&self, moves: &str) -> &Self {
        let landings = self.world.events("landed");
        let words: Vec<String> = landings
            .iter()
            .map(|landing| {
                let units = landing["units"].as_array().unwrap();
                units.iter().map(|unit| unit["unit"].as_str().unwrap()).collect()
            })
            .collect();
        assert_eq!(words.join(" "), moves, "what landed");
        let mut on_target = aftermath::landed(&self.world);
        on_target.reverse();
        assert_eq!(on_target.concat(), words.concat(), "what the target holds");
        for unit in words.concat().chars() {
            assert_eq!(self.state(unit), "landed", "{unit}");
        }
        self
    }

    /// It was handed to a person, for this reason.
    pub(super) fn evicted(&self, unit: char, reason: &str) -> &Self {
        let row = self.world.unit(&unit.to_string());
        let told = (row["state"].as_str(), row["reason"].as_str());
        assert_eq!(told, (Some("evicted"), Some(reason)), "{unit}");
        self
    }

    /// Its state, as `status` tells it.
    pub(super) fn is(&self, unit: char, state: &str) -> &Self {
        assert_eq!(self.state(unit), state, "{unit}");
        self
    }

    fn state(&self, unit: char) -> String {
        self.world.unit_state(&unit.to_string())
    }

    /// Where it stands in the queue, as `status` tells it.
    pub(super) fn entry(&self, unit: char) -> Value {
        self.world.unit(&unit.to_string())["queue"].clone()
    }

    /// What each unit was charged in all, and nobody else anything: `a 100, b 10`.
    pub(super) fn charged(&self, bill: &str) -> &Self {
        let mut charges = BTreeMap::<String, u64>::new();
        for event in self.world.events("entry_charged") {
            let unit = event["unit"].as_str().unwrap().to_owned();
            *charges.entry(unit).or_default() += event["charge"].as_u64().unwrap();
        }
        let charges: Vec<String> = charges
            .iter()
            .map(|(unit, sum)| format!("{unit} {sum}"))
            .collect();
        assert_eq!(charges.join(", "), bill, "who paid");
        self
    }

    /// Nobody paid for anything.
    pub(super) fn nobody_paid(&self) -> &Self {
        self.charged("")
    }

    /// The queue's check ran on exactly these, in any order, runs on the target itself left out.
    pub(super) fn verified(&self, runs: &str) -> &Self {
        let mut found: Vec<String> = self.runs().into_iter().filter(|run| !run.is_empty()).collect();
        found.sort();
        let mut wanted: Vec<&str> = runs.split_whitespace().collect();
        wanted.sort_unstable();
        assert_eq!(found, wanted, "what was verified");
        self
    }

    /// The most runs for a candidate that were open at once, as the journal has it.
    pub(super) fn side_by_side(&self, most: usize) -> &Self {
        let mut open = BTreeSet::new();
        let mut found = 0;
        for row in self.world.journal() {
            let fence = row["fence"].as_u64();
            match row["type"].as_str() {
                Some("verify_started") if row["purpose"] == "candidate" => drop(open.insert(fence)),
                Some("verify_ended") => drop(open.remove(&fence)),
                _ => {}
            }
            found = found.max(open.len());
        }
        assert_eq!(found, most, "runs side by side");
        self
    }

    /// These units landed as commits that were not verified by themselves.
    pub(super) fn unverified(&self, units: &str) -> &Self {
        let landings = self.world.events("landed");
        let landed = landings
            .iter()
            .flat_map(|landing| landing["units"].as_array().unwrap());
        let unverified = landed.filter(|unit| unit["unverified"] == true);
        let found: String = unverified.map(|unit| unit["unit"].as_str().unwrap()).collect();
        assert_eq!(found, units, "unverified");
        self
    }

    /// Whose work the queue's check found each time it ran.
    pub(super) fn runs(&self) -> Vec<String> {
        let runs = std::fs::read_to_string(self.world.base().join("count/runs")).unwrap_or_default();
        runs.lines().map(str::to_owned).collect()
    }

    /// That many events of that type are in the journal.
    pub(super) fn events(&self, kind: &str, count: usize) -> &Self {
        let events = self.world.events(kind);
        assert_eq!(events.len(), count, "{kind}: {events:?}");
        self
    }

    /// What the target holds under a path.
    pub(super) fn target(&self, path: &str, text: &str) -> &Self {
        let held = self.world.git(&["show", &format!("main:{path}")]);
        assert_eq!(held, text, "{path} on the target");
        self
    }

    /// The subjects of the target's latest commits, the latest first, separated by `; `.
    pub(super) fn history(&self, subjects: &str) -> &Self {
        let wanted: Vec<&str> = subjects.split("; ").collect();
        let log = self.world.git(&[
            "log",
            "--first-parent",
            "--format=%s",
            &format!("-{}", wanted.len()),
            "main",
        ]);
        assert_eq!(log.lines().collect::<Vec<_>>(), wanted, "the target's history");
        self
    }

    /// A person was told this by the last command that ended.
    pub(super) fn told(&self, text: &str) -> &Self {
        let words = self.words.borrow();
        assert!(words.contains(text), "{text:?} was not told:\n{words}");
        self
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
        if self.started() {
            laws::hold_of_the_run(&self.world);
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
