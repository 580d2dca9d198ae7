//! The proof that a commit may land, and what is known about a landing that was begun.
//!
//! **Architecture Invariant:** [`VerifiedCandidate`] has private fields and one constructor, which checks the proof
//! itself. Who holds one may move the target from its base to its commit; who holds none cannot ask for it.

use crate::event::{Candidate, CandidateUnit, Evidence, LandedUnit, QueueEvent};
use crate::id::Oid;

use super::verdict::{Standing, Trial, standing};

/// Proof that a candidate's exact tree has passing evidence, or that checks are waived in writing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedCandidate {
    candidate: Candidate,
    evidence: Option<Evidence>,
}

impl VerifiedCandidate {
    /// The proof, if there is one: the last trial passed and its evidence is about this very tree or commit.
    pub(super) fn prove(candidate: &Candidate, trials: &[Trial], waived: bool) -> Option<Self> {
        let evidence = match standing(trials) {
            Standing::Proven(evidence) if is_about(evidence, candidate) => Some(evidence.clone()),
            Standing::Open { .. } if waived => None,
            Standing::Proven(_)
            | Standing::Open { .. }
            | Standing::FailedTwice(_)
            | Standing::InfrastructureUncharged { .. }
            | Standing::NoGate(_) => return None,
        };
        Some(Self {
            candidate: candidate.clone(),
            evidence,
        })
    }

    /// What lands.
    pub fn candidate(&self) -> &Candidate {
        &self.candidate
    }

    /// What proves it; `None` only where checks are waived.
    pub fn evidence(&self) -> Option<&Evidence> {
        self.evidence.as_ref()
    }

    /// Where the target must stand for the compare-and-swap: the candidate's own base.
    pub fn from(&self) -> &Oid {
        &self.candidate.base
    }

    /// Where the target goes.
    pub fn to(&self) -> &Oid {
        &self.candidate.commit
    }

    /// The verified tree, which `to` must have.
    pub fn tree(&self) -> &Oid {
        &self.candidate.tree
    }

    /// The units that land, in order.
    pub fn units(&self) -> &[CandidateUnit] {
        &self.candidate.units
    }

    /// The event that records the landing.
    pub fn landed_event(&self) -> QueueEvent {
        QueueEvent::Landed {
            from: self.candidate.base.clone(),
            to: self.candidate.commit.clone(),
            units: self
                .candidate
                .units
                .iter()
                .map(|unit| LandedUnit {
                    unit: unit.unit.clone(),
                    commit: unit.commit.clone(),
                    unverified: unit.commit != self.candidate.commit,
                })
                .collect(),
            evidence: self.evidence.clone(),
        }
    }
}

/// Whether evidence is about this candidate: it names its tree, or its commit where a check depends on history.
pub(super) fn is_about(evidence: &Evidence, candidate: &Candidate) -> bool {
    evidence.tree == candidate.tree || evidence.tree == candidate.commit
}

/// A landing that was intended and has no outcome yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PendingLanding {
    /// What lands, with its proof.
    pub verified: VerifiedCandidate,
    /// The worktree that has the target checked out, whose files are to follow.
    pub checkout: Option<String>,
}

/// What to do about a landing that was begun before a crash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recovery {
    /// The target has not moved: go on at the compare-and-swap.
    Continue,
    /// The target holds it: record [`VerifiedCandidate::landed_event`].
    RecordLanded,
    /// Somebody moved the target elsewhere: record `LandRefused` with `base_moved`; it costs nothing.
    Requeue,
}

/// Settles a landing that has an intent and no outcome, from what git says: the target's tip, and whether the
/// commit that was to land is the tip or an ancestor of it.
pub fn recover_landing(pending: &PendingLanding, tip: &Oid, to_is_in_tip: bool) -> Recovery {
    if to_is_in_tip || tip == pending.verified.to() {
        Recovery::RecordLanded
    } else if tip == pending.verified.from() {
        Recovery::Continue
    } else {
        Recovery::Requeue
    }
}
