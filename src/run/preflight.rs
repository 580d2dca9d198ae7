//! The look at the target's tip before an engine begins: which checks run there, and what each set of them said.
//!
//! A unit's head is held against the file's checks, and what lands against the queue's. Where the queue has a list of
//! its own, or none, these are different sets. They run together, each check once, and leave evidence a set: so it
//! stands in wherever that set is asked for, and says nothing about another.

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::{State, hash_json, queue_checks, subject};
use crate::event::{CheckOutcome, CheckResult, Evidence, RunEvent};
use crate::id::{Oid, UnitId};
use crate::spec::Check;
use crate::unit::{self, Phase};

/// What is to be run on the target's tip before an engine begins.
#[derive(Debug)]
pub struct Preflight {
    commit: Oid,
    /// At least one; none is empty.
    sets: Vec<CheckSet>,
}

#[derive(Debug)]
struct CheckSet {
    /// What its evidence is about.
    subject: Oid,
    checks: Vec<Check>,
}

impl State {
    /// The checks that are to be run on the target's tip, with this tree, before an engine begins; `None` when there is
    /// nothing to ask, or evidence answers it.
    ///
    /// The file's and the queue's are asked where work is left that would be paid for, unless that is not wanted
    /// (`skip`). The queue's are asked also where the queue waits for a target that failed: by calling again a person says
    /// that it may pass now.
    pub fn preflight(
        &self,
        selection: Option<&BTreeSet<UnitId>>,
        skip: bool,
        (tip, tree): (&Oid, &Oid),
        now: Timestamp,
    ) -> Option<Preflight> {
        if self.queue.safety_stop().is_some() || self.queue.is_paused() {
            return None;
        }
        let begins = |(id, unit): (&UnitId, &unit::State)| {
            unit.phase() == Phase::Waiting && selection.is_none_or(|only| only.contains(id))
        };
        let is_paid_for = !skip && self.units.iter().any(begins);
        let of_queue = || queue_checks(&self.pipeline, std::iter::empty());
        let mut lists = Vec::new();
        lists.extend((is_paid_for || self.queue.base_red().is_some()).then(of_queue));
        lists.extend(is_paid_for.then(|| self.pipeline.checks.clone()));
        lists.dedup();
        let sets = lists.into_iter().map(|checks| CheckSet {
            subject: subject(&checks, tip, tree).clone(),
            checks,
        });
        let is_open = |set: &CheckSet| {
            !set.checks.is_empty() && self.evidence_of(&set.subject, &set.checks, now).is_none()
        };
        let sets: Vec<CheckSet> = sets.filter(is_open).collect();
        (!sets.is_empty()).then(|| Preflight {
            commit: tip.clone(),
            sets,
        })
    }

    /// Whether evidence is about the checks that everything must pass that lands, and these alone.
    pub(super) fn is_of_gate(&self, evidence: &Evidence) -> bool {
        evidence.checks == hash_json(&queue_checks(&self.pipeline, std::iter::empty()))
    }
}

impl Preflight {
    /// The target's tip.
    pub fn commit(&self) -> &Oid {
        &self.commit
    }

    /// How many sets of checks there are.
    pub fn sets(&self) -> u32 {
        u32::try_from(self.sets.len()).unwrap_or(u32::MAX)
    }

    /// The checks of all sets in order, each once.
    pub fn checks(&self) -> Vec<Check> {
        let mut all: Vec<Check> = Vec::new();
        for check in self.sets.iter().flat_map(|set| &set.checks) {
            if !all.contains(check) {
                all.push(check.clone());
            }
        }
        all
    }

    /// The event that tells what came of it. `rows` is what running [`Self::checks`] said.
    pub fn ended(&self, rows: &[CheckResult], environment: &str) -> RunEvent {
        let mut evidence = self.sets.iter().map(|set| Evidence {
            tree: set.subject.clone(),
            checks: hash_json(&set.checks),
            environment: environment.to_owned(),
            results: self.rows_of(set, rows),
        });
        RunEvent::PreflightEnded {
            commit: self.commit.clone(),
            evidence: evidence.next().expect("it has a set"),
            also: evidence.collect(),
        }
    }

    /// The rows of one set. Where there is not a row a check, the checks were not run to their end: then only what did
    /// not pass is told of any, so that no gap passes.
    fn rows_of(&self, set: &CheckSet, rows: &[CheckResult]) -> Vec<CheckResult> {
        let all = self.checks();
        let names = rows.iter().map(|row| &row.name);
        if !names.eq(all.iter().map(|check| &check.name)) {
            let is_bad = |row: &&CheckResult| row.outcome != CheckOutcome::Passed;
            return rows.iter().filter(is_bad).cloned().collect();
        }
        let row_of = |check| {
            let place = all.iter().position(|known| known == check);
            rows[place.expect("the sets' checks are all there")].clone()
        };
        set.checks.iter().map(row_of).collect()
    }
}
