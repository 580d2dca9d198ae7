//! Then: what came of it, in the journal, on the target, in the queue and in the words that a person is told.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::scene::Scene;
use crate::aftermath;

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
        let on_target = aftermath::landed(&self.world);
        assert_eq!(on_target.concat(), words.concat(), "what the target holds");
        for unit in words.concat().chars() {
            assert_eq!(self.state(unit), "landed", "{unit}");
        }
        self
    }

    /// It was handed to a person, for this reason.
    pub(super) fn evicted(&self, unit: char, reason: &str) -> &Self {
        self.left(unit, "evicted", reason)
    }

    /// It left in that way, for this reason.
    pub(super) fn left(&self, unit: char, state: &str, reason: &str) -> &Self {
        let row = self.world.unit(&unit.to_string());
        let told = (row["state"].as_str(), row["reason"].as_str());
        assert_eq!(told, (Some(state), Some(reason)), "{unit}");
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

    /// Who is in line, first the first, as `queue` tells it: each with its state, and with the reason where the state
    /// does not say it, as in `a verifying, b held (paused)`.
    pub(super) fn line(&self, line: &str) -> &Self {
        let queue = self.queue();
        let entries = queue["entries"].as_array().unwrap().iter().map(|entry| {
            let [unit, state, code] = [&entry["unit"], &entry["state"], &entry["standing"]["code"]]
                .map(|text| text.as_str().unwrap_or_default());
            match code == state {
                true => format!("{unit} {state}"),
                false => format!("{unit} {state} ({code})"),
            }
        });
        assert_eq!(entries.collect::<Vec<_>>().join(", "), line, "who is in line");
        self
    }

    /// `queue --json`.
    pub(super) fn queue(&self) -> Value {
        serde_json::from_str(&self.world.expect(&["queue", "--json"], 0).out).unwrap()
    }

    /// `why UNIT --json`.
    pub(super) fn why(&self, unit: char) -> Value {
        let said = self.world.expect(&["why", &unit.to_string(), "--json"], 0);
        serde_json::from_str(&said.out).unwrap()
    }

    /// `why` tells of a unit that all this came to pass, in this order.
    pub(super) fn came_to_pass(&self, unit: char, parts: &[&str]) -> &Self {
        let why = self.why(unit);
        let history = why["history"].as_array().unwrap();
        let mut told = history.iter().map(|one| one["sentence"].as_str().unwrap());
        for part in parts {
            assert!(
                told.any(|sentence| sentence.contains(part)),
                "{part:?} is not told of {unit}, or not in its place: {why}"
            );
        }
        self
    }
}
