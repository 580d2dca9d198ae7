//! Which checks prove what: check sets, their hashes, and the evidence they left.

use std::collections::{BTreeMap, BTreeSet};

use sha2::{Digest, Sha256};

use crate::event::{CheckOutcome, Evidence};
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

/// Passing evidence by subject and check set, and the checks that have been seen to pass on the target.
///
/// A cache: everything in it stands in the journal.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct EvidenceBook {
    passing: BTreeMap<(Oid, String), Evidence>,
    green_on_target: BTreeSet<String>,
}

impl EvidenceBook {
    /// Keeps evidence that passed; other evidence is never used again.
    pub fn keep(&mut self, evidence: &Evidence) {
        if evidence.passed() {
            self.passing
                .insert((evidence.tree.clone(), evidence.checks.clone()), evidence.clone());
        }
    }

    /// Remembers which checks passed on the target itself.
    pub fn keep_of_target(&mut self, evidence: &Evidence) {
        self.keep(evidence);
        let passed = evidence
            .results
            .iter()
            .filter(|result| result.outcome == CheckOutcome::Passed);
        self.green_on_target
            .extend(passed.map(|result| result.name.clone()));
    }

    /// Passing evidence for exactly this subject, check set and environment.
    pub fn find(&self, subject: &Oid, checks: &str, environment: &str) -> Option<&Evidence> {
        self.passing
            .get(&(subject.clone(), checks.to_owned()))
            .filter(|evidence| evidence.environment == environment)
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
