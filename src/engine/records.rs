//! What git is told of a run, so that it can be rebuilt when the state directory is lost.
//!
//! | ref below `refs/pipeline/runs/<run>/` | written | what it proves |
//! | --- | --- | --- |
//! | `_frozen` | when an engine takes the run up | the pipeline, and where the run began |
//! | `<unit>/branch` | before the intake of its branch is in the journal | where the branch was, and where it had left the target |
//! | `<unit>/head` | when an author's work or a branch is taken | the unit's commit |
//! | `<unit>/guards` | before the head of an author's work | what the guards found in that head |
//! | `<unit>/refused` | when a guard refuses an author's work | what was refused, which is no head |
//! | `<unit>/approval` | after the approval is in the journal, and taken away after an eviction, `cancel`, `discard` or `retry` is | who judged the head, shown what |
//! | `<unit>/left` | after `cancel` or `discard` is in the journal, and taken away after a person brings the unit back | that a person took the unit out |
//! | `<unit>/candidate` | before the candidate is in the journal | nothing; it keeps the commit from garbage collection |
//! | `_landings/<commit>` | between the intent to land and the swap | what was about to land, and its evidence |
//!
//! Each is written again with the same content without harm, and each comes from the journal: git never knows more than
//! the journal, but for what an engine that died was about to write there. A unit's id cannot begin with `_`.
//! What a retry set aside loses its `head` and `branch`. [`super::rebuild`] reads them.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::dispatch::blocking;
use super::{Engine, EngineError};
use crate::event::{Candidate, Event, Evidence, GuardHit, Head, Job, QueueEvent, UnitEvent, UnitScoped};
use crate::git::{self, RecordText, Repository};
use crate::id::{Oid, RunId, StageName, UnitId};
use crate::queue::VerifiedCandidate;
use crate::run::State;
use crate::unit::{self, Phase};

/// The version of every record.
pub(super) const VERSION: u32 = 1;

/// How a run began.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct FrozenRecord {
    pub(super) version: u32,
    pub(super) run: RunId,
    pub(super) name: String,
    pub(super) file: String,
    pub(super) target: String,
    /// The branch the work is meant for, when `target` is a branch of the run's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) meant_for: Option<String>,
    pub(super) base: Oid,
    /// SHA-256 of the pipeline.
    pub(super) hash: String,
    /// Units that count as landed because an earlier run landed them.
    pub(super) kept: Vec<KeptUnit>,
    /// The bytes of the run's frozen file, which are JSON.
    pub(super) frozen: String,
}

/// A unit that an earlier run landed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct KeptUnit {
    pub(super) unit: UnitId,
    pub(super) commit: Oid,
    pub(super) from: RunId,
}

/// An approval.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ApprovalRecord {
    pub(super) version: u32,
    pub(super) unit: UnitId,
    pub(super) generation: u32,
    pub(super) head: Head,
    pub(super) base: Oid,
    /// The head is a person's commit, which is their approval.
    pub(super) by_person: bool,
    pub(super) verdicts: Vec<VerdictRecord>,
}

/// What one judge said of the head.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct VerdictRecord {
    pub(super) stage: StageName,
    pub(super) agent: Option<String>,
    /// SHA-256 of what the judge was shown.
    pub(super) packet: String,
    pub(super) verdict: String,
}

/// A branch that was taken in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct BranchRecord {
    pub(super) version: u32,
    pub(super) unit: UnitId,
    pub(super) branch: String,
    pub(super) head: Head,
    pub(super) base: Oid,
    pub(super) guards: Vec<GuardHit>,
}

/// What the guards found in an author's work. It is kept because it cannot be found out again: what had landed by then and
/// the conflict that was resolved are in the journal, and which files checks and agents name changes with the checkout.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct GuardsRecord {
    pub(super) version: u32,
    pub(super) unit: UnitId,
    pub(super) head: Head,
    pub(super) guards: Vec<GuardHit>,
}

impl GuardsRecord {
    /// What git is told of it, at a name below the unit's.
    pub(super) fn record(&self, run: &RunId, name: &str) -> RecordText {
        RecordText {
            name: format!("{}{}{name}", refs_of(run), self.unit),
            tree: self.head.tree.clone(),
            parents: vec![self.head.commit.clone()],
            text: text_of(self),
        }
    }
}

/// A unit that a person took out of the run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct LeftRecord {
    pub(super) version: u32,
    pub(super) unit: UnitId,
    pub(super) how: Left,
}

/// How a person took a unit out of the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Left {
    Cancelled,
    Discarded,
}

impl Left {
    fn of(phase: Phase) -> Option<Self> {
        match phase {
            Phase::Cancelled => Some(Self::Cancelled),
            Phase::Discarded => Some(Self::Discarded),
            Phase::Waiting
            | Phase::Working
            | Phase::Gated
            | Phase::Queued
            | Phase::Landed
            | Phase::Published
            | Phase::Evicted
            | Phase::Blocked => None,
        }
    }
}

/// A landing that was about to be made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct LandingRecord {
    pub(super) version: u32,
    pub(super) candidate: Candidate,
    /// What proves it; `None` only where checks are waived.
    pub(super) evidence: Option<Evidence>,
}

/// Below this prefix are the refs of a run.
pub(super) fn refs_of(run: &RunId) -> String {
    format!("refs/pipeline/runs/{run}/")
}

/// Below this prefix are the refs of all runs.
pub(super) const ALL_RUNS: &str = "refs/pipeline/runs/";
pub(super) const FROZEN: &str = "_frozen";
pub(super) const LANDINGS: &str = "_landings/";
pub(super) const APPROVAL: &str = "/approval";
pub(super) const CANDIDATE: &str = "/candidate";
pub(super) const HEAD: &str = "/head";
pub(super) const BRANCH: &str = "/branch";
pub(super) const GUARDS: &str = "/guards";
pub(super) const REFUSED: &str = "/refused";
pub(super) const LEFT: &str = "/left";
pub(super) const ATTEMPTS: &str = "/attempts/";

/// Records that git should have of a run at rest and has not: the names of their refs.
///
/// # Errors
/// When git fails.
pub fn missing_records(repository: &Repository, state: &State) -> Result<Vec<String>, git::Error> {
    let Some(start) = state.start() else {
        return Ok(Vec::new());
    };
    let prefix = refs_of(&start.run);
    let refs = repository.refs_below(&prefix)?;
    let there: BTreeSet<&str> = refs.iter().map(|(name, _)| name.as_str()).collect();
    let landings = state
        .queue()
        .landed()
        .iter()
        .map(|landed| format!("{LANDINGS}{}", landed.to));
    let approvals = state
        .units()
        .filter(|(_, unit)| unit.phase() == Phase::Queued)
        .map(|(id, _)| format!("{id}{APPROVAL}"));
    let branches = state.watched_branches().map(|(id, _)| format!("{id}{BRANCH}"));
    let left = state
        .units()
        .filter(|(_, unit)| Left::of(unit.phase()).is_some())
        // Nobody takes a finished run up any more, to write what an earlier version did not.
        .filter(|_| !state.is_finished())
        .map(|(id, _)| format!("{id}{LEFT}"));
    let wanted = std::iter::once(FROZEN.to_owned())
        .chain(landings)
        .chain(approvals)
        .chain(branches)
        .chain(left);
    let names = wanted.map(|name| format!("{prefix}{name}"));
    Ok(names.filter(|name| !there.contains(name.as_str())).collect())
}

/// Records that git has of a run at rest and should not have any more, since they would bring back what the journal took
/// back: the names of their refs.
///
/// # Errors
/// When git fails.
pub fn stale_records(repository: &Repository, state: &State) -> Result<Vec<String>, git::Error> {
    let Some(start) = state.start() else {
        return Ok(Vec::new());
    };
    let refs = repository.refs_below(&refs_of(&start.run))?;
    let gone: BTreeSet<String> = state
        .units()
        .flat_map(|(id, unit)| taken_back(&start.run, id, unit))
        .collect();
    let stale = refs.into_iter().filter(|(name, _)| gone.contains(name));
    Ok(stale.map(|(name, _)| name).collect())
}

/// The refs that git must not have of a unit, as the journal has it.
fn taken_back(run: &RunId, id: &UnitId, unit: &unit::State) -> Vec<String> {
    let is_afresh = unit.try_number() > 1 && unit.intake().is_none();
    [
        (APPROVAL, !unit.approval_stands()),
        (LEFT, Left::of(unit.phase()).is_none()),
        (BRANCH, is_afresh),
        (HEAD, is_afresh && unit.head().is_none()),
    ]
    .into_iter()
    .filter(|(_, is_gone)| *is_gone)
    .map(|(name, _)| format!("{}{id}{name}", refs_of(run)))
    .collect()
}

/// Tells git where units stand that are in line, that have left it, or that a person took out or began afresh: by whoever
/// wrote that into the journal, after it is there, and by every engine that takes the run up. No attempt of these units may
/// be under way.
pub(super) fn tell_of_units<'a>(
    repository: &Repository,
    state: &State,
    units: impl IntoIterator<Item = &'a UnitId>,
) -> Result<(), git::Error> {
    let Some(start) = state.start() else {
        return Ok(());
    };
    let mut records = Vec::new();
    let mut gone = BTreeSet::new();
    for id in units {
        let Some(unit) = state.unit(id) else { continue };
        gone.extend(taken_back(&start.run, id, unit));
        if unit.phase() == Phase::Queued {
            records.extend(approval_of(&start.run, id, unit));
        }
        if let Some(how) = Left::of(unit.phase()) {
            let record = LeftRecord {
                version: VERSION,
                unit: id.clone(),
                how,
            };
            records.push(RecordText {
                name: format!("{}{id}{LEFT}", refs_of(&start.run)),
                tree: repository.tree_of(&start.base)?,
                parents: vec![start.base.clone()],
                text: text_of(&record),
            });
        }
    }
    repository.replace_records(&refs_of(&start.run), &records, &gone)
}

fn approval_of(run: &RunId, id: &UnitId, unit: &unit::State) -> Option<RecordText> {
    let verdicts = unit.judgements().filter_map(|(job, judgement)| match job {
        Job::Stage { stage, .. } => Some(VerdictRecord {
            stage: stage.clone(),
            agent: judgement.agent.clone(),
            packet: judgement.packet.clone(),
            verdict: judgement.verdict.to_owned(),
        }),
        Job::Checks => None,
    });
    let head = unit.head()?;
    let record = ApprovalRecord {
        version: VERSION,
        unit: id.clone(),
        generation: unit.generation(),
        head: head.clone(),
        base: unit.base()?.clone(),
        by_person: unit.is_resolved(),
        verdicts: verdicts.collect(),
    };
    Some(RecordText {
        name: format!("{}{id}{APPROVAL}", refs_of(run)),
        tree: head.tree.clone(),
        parents: vec![head.commit.clone()],
        text: text_of(&record),
    })
}

/// The newest landing of any run that a commit stands on, along its first parents.
///
/// # Errors
/// When git fails.
pub(super) fn newest_landing(repository: &Repository, on: &Oid) -> Result<Option<Oid>, git::Error> {
    let of_landing = |(name, _): (String, Oid)| name.split_once(LANDINGS)?.1.parse().ok();
    let landings: BTreeSet<Oid> = repository
        .refs_below(ALL_RUNS)?
        .into_iter()
        .filter_map(of_landing)
        .collect();
    repository.newest_of(on, &landings)
}

pub(super) fn text_of<T: Serialize>(record: &T) -> String {
    serde_json::to_string_pretty(record).expect("a record is plain data")
}

impl Engine {
    /// Tells git what it should know by now: how the run began, and which branches were taken in.
    pub(super) async fn write_missing_records(&mut self) -> Result<(), EngineError> {
        let start = self
            .state
            .start()
            .expect("a run that was taken up has started")
            .clone();
        let name = self.state.pipeline().name.clone();
        let frozen = crate::store::read_frozen(self.store.home(), &self.run)?;
        let record = FrozenRecord {
            version: VERSION,
            run: self.run.clone(),
            name,
            file: start.file,
            target: start.target,
            meant_for: start.meant_for,
            base: start.base,
            hash: start.frozen,
            kept: self.kept.clone(),
            frozen: String::from_utf8_lossy(&frozen).into_owned(),
        };
        let tree = self.tools.repository.tree_of(&record.base)?;
        let mut records = vec![RecordText {
            name: format!("{}{FROZEN}", refs_of(&self.run)),
            tree,
            parents: vec![record.base.clone()],
            text: text_of(&record),
        }];
        let watched = self.state.watched_branches();
        records.extend(watched.map(|(id, intake)| self.branch_record(id, intake)));
        self.write_records(records).await
    }

    pub(super) async fn write_records(&self, records: Vec<RecordText>) -> Result<(), EngineError> {
        let (repository, below) = (self.tools.repository.clone(), refs_of(&self.run));
        Ok(blocking(move || repository.write_records(&below, &records)).await??)
    }

    /// Remembers units of which git is to be told something that is in the journal now.
    pub(super) fn remember_units(&mut self, events: &[Event]) {
        let units = events.iter().filter_map(|event| match event {
            Event::Unit(UnitScoped {
                unit,
                what:
                    UnitEvent::UnitApproved { .. }
                    | UnitEvent::UnitEvicted { .. }
                    | UnitEvent::UnitRetried { .. }
                    | UnitEvent::UnitResolved { .. }
                    | UnitEvent::UnitDiscarded,
            })
            | Event::Queue(QueueEvent::EntryLeft { unit, .. }) => Some(unit.clone()),
            Event::Unit(_) | Event::Run(_) | Event::Queue(_) => None,
        });
        self.untold.extend(units);
    }

    /// Tells git of units it does not know enough about.
    pub(super) async fn tell_of_units(&mut self) -> Result<(), EngineError> {
        let units = std::mem::take(&mut self.untold);
        if units.is_empty() {
            return Ok(());
        }
        let (repository, state) = (self.tools.repository.clone(), self.state.clone());
        Ok(blocking(move || tell_of_units(&repository, &state, &units)).await??)
    }

    /// Keeps the commits of a candidate from garbage collection until the unit has another.
    pub(super) async fn keep_candidate(&self, candidate: &Candidate) -> Result<(), EngineError> {
        let prefix = refs_of(&self.run);
        let ref_of = |unit: &crate::event::CandidateUnit| {
            (format!("{prefix}{}{CANDIDATE}", unit.unit), unit.commit.clone())
        };
        let refs: Vec<(String, Oid)> = candidate.units.iter().map(ref_of).collect();
        let repository = self.tools.repository.clone();
        Ok(blocking(move || repository.write_refs(&refs)).await??)
    }

    /// Tells git what is about to land, before it does.
    pub(super) async fn write_landing(&self, verified: &VerifiedCandidate) -> Result<(), EngineError> {
        let record = LandingRecord {
            version: VERSION,
            candidate: verified.candidate().clone(),
            evidence: verified.evidence().cloned(),
        };
        let candidate = verified.candidate();
        self.write_records(vec![RecordText {
            name: format!("{}{LANDINGS}{}", refs_of(&self.run), verified.to()),
            tree: candidate.tree.clone(),
            parents: vec![candidate.commit.clone()],
            text: text_of(&record),
        }])
        .await
    }
}
