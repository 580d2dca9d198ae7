//! Which checks prove what: check sets, their hashes, and the evidence they left.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use sha2::{Digest, Sha256};

use crate::event::{CheckOutcome, Evidence, Record};
use crate::id::{Oid, UnitId};
use crate::spec::{Check, DependsOn, Pipeline, Unit, Verify};

/// The lower-case hex SHA-256 of a value's JSON. Struct fields and map keys have a fixed order, so equal values
/// have equal hashes.
pub fn hash_json<T: serde::Serialize>(value: &T) -> String {
    let bytes = serde_json::to_vec(value).expect("plain data serialises");
    format!("{:x}", Sha256::digest(bytes))
}

/// The checks run on a unit's head: the file's and its own.
pub fn unit_checks(pipeline: &Pipeline, unit: &Unit) -> Vec<Check> {
    pipeline.checks.iter().chain(&unit.checks).cloned().collect()
}

/// The checks the queue runs on a candidate with these units; none when they are waived.
pub fn queue_checks<'a>(pipeline: &Pipeline, units: impl IntoIterator<Item = &'a Unit>) -> Vec<Check> {
    let file = match &pipeline.verify {
        Verify::Waived => return Vec::new(),
        Verify::Inherit => &pipeline.checks,
        Verify::Own(checks) => checks,
    };
    file.iter()
        .chain(units.into_iter().flat_map(|unit| &unit.checks))
        .cloned()
        .collect()
}

/// What the evidence of these checks is about: the tree, or the commit when one of them depends on history.
pub fn subject<'a>(checks: &[Check], commit: &'a Oid, tree: &'a Oid) -> &'a Oid {
    if checks.iter().any(|check| check.depends_on == DependsOn::History) {
        commit
    } else {
        tree
    }
}

/// How many pieces of evidence are kept; of more, the oldest go.
const KEPT_MAX: usize = 1000;

/// Passing evidence by subject and check set, and the checks that have been seen to pass on the target.
///
/// A cache: everything in it stands in the journal. What proves a landing stands in the landing's own record.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct EvidenceBook {
    passing: BTreeMap<(Oid, String), Kept>,
    green_on_target: BTreeSet<String>,
}

#[derive(Debug, Clone, PartialEq)]
struct Kept {
    /// The record that told of it.
    seq: u64,
    /// When the checks were run: to use their evidence again makes it no younger.
    at: Timestamp,
    evidence: Evidence,
}

impl EvidenceBook {
    /// Keeps evidence that passed, of checks that were run just now; other evidence is never used again.
    pub fn keep(&mut self, evidence: &Evidence, record: &Record) {
        if !evidence.passed() {
            return;
        }
        let key = (evidence.tree.clone(), evidence.checks.clone());
        let kept = Kept {
            seq: record.seq,
            at: record.at,
            evidence: evidence.clone(),
        };
        self.passing.insert(key, kept);
        if self.passing.len() > KEPT_MAX {
            let oldest = self.passing.iter().min_by_key(|(_, kept)| kept.seq);
            let oldest = oldest.map(|(key, _)| key.clone());
            oldest.map(|key| self.passing.remove(&key));
        }
    }

    /// Remembers which checks passed on the target itself.
    pub fn saw_target(&mut self, evidence: &Evidence) {
        let passed = evidence
            .results
            .iter()
            .filter(|result| result.outcome == CheckOutcome::Passed);
        self.green_on_target
            .extend(passed.map(|result| result.name.clone()));
    }

    /// Passing evidence for exactly this subject, check set and environment, not from before `since`.
    pub fn find(
        &self,
        subject: &Oid,
        checks: &str,
        environment: &str,
        since: Timestamp,
    ) -> Option<&Evidence> {
        let kept = self.passing.get(&(subject.clone(), checks.to_owned()))?;
        let fits = kept.evidence.environment == environment && kept.at >= since;
        fits.then_some(&kept.evidence)
    }

    /// Whether the check has passed on the target before.
    pub fn was_green_on_target(&self, check: &str) -> bool {
        self.green_on_target.contains(check)
    }
}

/// What a unit's result depends on: its own text, its tier, the agents that perform it, the checks, and the
/// inputs of the units it needs. Two runs in which a unit has the same inputs may share its result.
pub fn inputs(pipeline: &Pipeline) -> BTreeMap<UnitId, String> {
    let by_id: BTreeMap<&UnitId, &Unit> = pipeline.units.iter().map(|unit| (&unit.id, unit)).collect();
    let mut done: BTreeMap<UnitId, String> = BTreeMap::new();
    // Units may stand in the file before those they need: a depth-first walk with an explicit stack, so that a
    // chain of ten thousand units is no deeper than the heap.
    for unit in &pipeline.units {
        let mut stack = vec![unit];
        while let Some(top) = stack.last().copied() {
            let missing: Vec<&Unit> = top
                .needs
                .iter()
                .filter(|need| !done.contains_key(*need))
                .map(|need| by_id[need])
                .collect();
            if missing.is_empty() {
                stack.pop();
                if !done.contains_key(&top.id) {
                    let hash = unit_inputs(pipeline, top, &done);
                    done.insert(top.id.clone(), hash);
                }
            } else {
                stack.extend(missing);
            }
        }
    }
    done
}

fn unit_inputs(pipeline: &Pipeline, unit: &Unit, done: &BTreeMap<UnitId, String>) -> String {
    let needs: Vec<&String> = unit.needs.iter().map(|need| &done[need]).collect();
    let tier = &pipeline.tiers[&unit.tier];
    let mut names = BTreeSet::new();
    for stage in &tier.stages {
        match &stage.by {
            crate::spec::Performer::Agent(name) => drop(names.insert(name)),
            crate::spec::Performer::Panel { agents, .. } => names.extend(agents),
            crate::spec::Performer::Human | crate::spec::Performer::Checks => {}
        }
    }
    names.extend(&unit.agent);
    let agents: BTreeMap<&String, _> = names
        .into_iter()
        .map(|name| (name, pipeline.agents.get(name)))
        .collect();
    hash_json(&(
        unit,
        tier,
        agents,
        unit_checks(pipeline, unit),
        &pipeline.rfc,
        needs,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{CheckResult, Event, RunEvent};

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn record(seq: u64, second: i64) -> Record {
        let event = Event::Run(RunEvent::RunFinished);
        Record {
            seq,
            at: at(second),
            event,
        }
    }

    fn evidence(tree: usize) -> Evidence {
        Evidence {
            tree: format!("{tree:040x}").parse().unwrap(),
            checks: "checks".to_owned(),
            environment: "here".to_owned(),
            results: vec![CheckResult {
                name: "test".to_owned(),
                outcome: CheckOutcome::Passed,
                exit: Some(0),
                duration_ms: 1,
                tail: String::new(),
                signature: String::new(),
            }],
        }
    }

    fn finds(book: &EvidenceBook, tree: usize, since: i64) -> bool {
        let subject = evidence(tree).tree;
        book.find(&subject, "checks", "here", at(since)).is_some()
    }

    #[test]
    fn evidence_is_found_from_when_the_checks_were_last_run() {
        let mut book = EvidenceBook::default();
        book.keep(&evidence(1), &record(1, 10));
        assert!(finds(&book, 1, 10) && !finds(&book, 1, 11));
        book.keep(&evidence(1), &record(2, 20));
        assert!(finds(&book, 1, 20), "run again, with the same result");
    }

    #[test]
    fn of_too_much_evidence_the_oldest_goes() {
        let mut book = EvidenceBook::default();
        // A clock that is set back makes nothing old.
        for tree in 0..=KEPT_MAX {
            let second = KEPT_MAX as i64 - tree as i64;
            book.keep(&evidence(tree), &record(tree as u64 + 1, second));
        }
        assert_eq!(book.passing.len(), KEPT_MAX);
        assert!(!finds(&book, 0, 0) && finds(&book, KEPT_MAX, 0));
    }
}
