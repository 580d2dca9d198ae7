//! Who holds the resources that `exclusive` names.
//!
//! Whatever is run is one holder: an attempt, the checks on a unit's head, a verification. From its start to its end
//! it holds what its units name and, if it runs checks, what those name. Between two of its attempts a unit holds
//! nothing, so a gate that waits for a person keeps nobody else waiting.
//!
//! A holder takes all it needs at once, before it starts, and waits for nothing while it holds: so there is no
//! deadlock. Who asks is served in the order of the free slots, and what is asked for in vain is kept for the one who
//! asked: so nobody lower passes one that waits for several.
//!
//! The preflight has no place here: nothing else runs beside it.

use std::collections::{BTreeMap, BTreeSet};

use super::{State, queue_checks};
use crate::event::{Job, QueueEvent, UnitEvent, VerifyPurpose};
use crate::id::UnitId;
use crate::spec::{Check, Pipeline, Unit};

/// The resources of everything under way, by fence; also of attempts that no longer matter until they have ended.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Held(BTreeMap<u64, BTreeSet<String>>);

impl Held {
    pub(super) fn take(&mut self, fence: u64, resources: BTreeSet<String>) {
        if !resources.is_empty() {
            self.0.insert(fence, resources);
        }
    }

    pub(super) fn release(&mut self, fence: u64) {
        self.0.remove(&fence);
    }

    /// What a dead engine ran was ended before the next one begins.
    pub(super) fn release_all(&mut self) {
        self.0.clear();
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What can be given out now.
    pub(super) fn claims(&self) -> Claims {
        Claims {
            taken: self.0.values().flatten().cloned().collect(),
        }
    }
}

/// Resources that are held, given out in this decision, or kept for somebody who waits.
#[derive(Debug, Clone)]
pub(super) struct Claims {
    taken: BTreeSet<String>,
}

impl Claims {
    /// Whether all of them are free. They are taken either way: nobody after this one gets what it waits for.
    pub(super) fn grant(&mut self, resources: BTreeSet<String>) -> bool {
        let free = resources.is_disjoint(&self.taken);
        self.taken.extend(resources);
        free
    }
}

/// The other units that need a resource which a unit needs too, each with that resource.
pub fn rivals(pipeline: &Pipeline, id: &UnitId) -> Vec<(String, UnitId)> {
    let Some(own) = pipeline.unit(id) else {
        return Vec::new();
    };
    let others = pipeline.units.iter().filter(|unit| unit.id != *id);
    others
        .flat_map(|other| {
            let shared = own.exclusive.intersection(&other.exclusive);
            shared.map(|resource| (resource.clone(), other.id.clone()))
        })
        .collect()
}

impl State {
    /// What the next attempt of a unit must hold.
    pub(super) fn resources_of_job(&self, id: &UnitId, job: &Job) -> BTreeSet<String> {
        let unit = self.unit_in_file(id);
        let checks: [&[Check]; 2] = match job {
            Job::Checks => [&self.pipeline.checks, &unit.checks],
            Job::Stage { .. } => [&[], &[]],
        };
        let of_checks = checks.into_iter().flatten().flat_map(|check| &check.exclusive);
        unit.exclusive.iter().chain(of_checks).cloned().collect()
    }

    /// What a verification with the checks of these units must hold.
    pub(super) fn resources_of_verification(&self, units: &[UnitId]) -> BTreeSet<String> {
        let units: Vec<&Unit> = units.iter().map(|id| self.unit_in_file(id)).collect();
        let checks = queue_checks(&self.pipeline, units.iter().copied());
        let of_checks = checks.into_iter().flat_map(|check| check.exclusive);
        let of_units = units.iter().flat_map(|unit| &unit.exclusive).cloned();
        of_units.chain(of_checks).collect()
    }

    /// An attempt that begins takes what it must hold, and gives it back at its end.
    pub(super) fn hold_for_attempt(&mut self, id: &UnitId, event: &UnitEvent) {
        if let UnitEvent::AttemptStarted { fence, job, .. } = event {
            self.held.take(*fence, self.resources_of_job(id, job));
        }
        if let UnitEvent::AttemptEnded { fence, .. } = event {
            self.held.release(*fence);
        }
    }

    /// A verification that begins takes what it must hold, and gives it back at its end.
    pub(super) fn hold_for_verification(&mut self, event: &QueueEvent) {
        if let QueueEvent::VerifyStarted {
            commit,
            purpose,
            fence,
        } = event
        {
            let units = match purpose {
                VerifyPurpose::Candidate => self.queue.units_of(commit),
                VerifyPurpose::Base => Vec::new(),
            };
            let resources = self.resources_of_verification(&units);
            self.held.take(*fence, resources);
        }
        if let QueueEvent::VerifyEnded { fence, .. } = event {
            self.held.release(*fence);
        }
    }

    /// What the first attempt of a unit that has not begun must hold.
    pub(super) fn resources_to_begin(&self, id: &UnitId) -> BTreeSet<String> {
        self.unit_in_file(id).exclusive.clone()
    }

    fn unit_in_file(&self, id: &UnitId) -> &Unit {
        &self.pipeline.units[self.places[id] as usize]
    }
}
