//! Making a run's journal anew from what git proves, when the state directory was lost or its journal is damaged.
//!
//! The truth about what landed is the target. A landing counts when three things agree: a commit on the target's
//! first-parent line with the trailers of the run and unit, the record of what was about to land as that commit, and the
//! unit's approval of the head it was made from. Everything else that git has is less: an approved head is put in line
//! again, another head goes back to its judges, and of a unit without a head nothing is known. What a person took out stays
//! out.
//!
//! The events made here are a journal like any other: they are folded by the same machines, which demand the same proofs,
//! before anybody sees them. The records that are read are written by `records.rs`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::records::{
    ALL_RUNS, APPROVAL, ATTEMPTS, ApprovalRecord, BRANCH, BranchRecord, FROZEN, FrozenRecord, GUARDS,
    GuardsRecord, HEAD, LANDINGS, LEFT, LandingRecord, Left, LeftRecord, REFUSED, VERSION, refs_of,
};
use crate::event::{
    AttemptNumber, CandidateUnit, Event, FORMAT, GuardAction, GuardHit, Head, LandedUnit, QueueEvent, Reason,
    Record, RestoredWork, RunEvent, UnitEvent, UnitScoped, VerifyPurpose,
};
use crate::git::{self, Repository};
use crate::id::{Oid, RunId, UnitId};
use crate::run::{Frozen, IllegalEvent, State};
use crate::spec::{Pipeline, Unit};
use jiff::Timestamp;

/// A journal made from git.
#[derive(Debug, Clone, PartialEq)]
pub struct Rebuilt {
    /// The bytes of the frozen file.
    pub frozen: Vec<u8>,
    /// The events, the start of the run first.
    pub events: Vec<Event>,
    /// What was rebuilt and what cannot be known any more, as sentences.
    pub notes: Vec<String>,
}

/// Why a run cannot be rebuilt.
#[derive(Debug, thiserror::Error)]
pub enum RebuildError {
    /// git failed.
    #[error(transparent)]
    Git(#[from] git::Error),
    /// Git knows no beginning of that run.
    #[error(
        "git has no record of how run {0} began, so nothing of it can be rebuilt; `pipeline run FILE` starts a new one"
    )]
    Unknown(RunId),
    /// The record of its beginning cannot be read.
    #[error("the record at {name} cannot be read: {why}; `git update-ref -d {name}` gives the run up")]
    Broken {
        /// The ref.
        name: String,
        /// What is wrong.
        why: String,
    },
    /// What git has does not make a journal that folds: a bug of ours.
    #[error("what git has of the run does not fit together: {0}; please report it")]
    Illegal(#[from] IllegalEvent),
}

/// The runs of which git knows how they began, oldest first.
///
/// # Errors
/// When git fails.
pub fn known_runs(repository: &Repository) -> Result<Vec<RunId>, git::Error> {
    let refs = repository.refs_below(ALL_RUNS)?;
    let mut runs: Vec<RunId> = refs
        .iter()
        .filter_map(|(name, _)| {
            name.strip_prefix(ALL_RUNS)?
                .strip_suffix(FROZEN)?
                .strip_suffix('/')
        })
        .filter_map(|run| RunId::parse(run).ok())
        .collect();
    runs.sort();
    Ok(runs)
}

/// Makes the journal of a run from what git proves. Only reads.
///
/// # Errors
/// Git has no readable record of how the run began, or fails.
pub fn rebuild(repository: &Repository, run: &RunId, at: Timestamp) -> Result<Rebuilt, RebuildError> {
    let evidence = Remains::read(repository, run)?;
    let mut rebuilding = Rebuilding {
        remains: &evidence,
        state: State::new(Arc::clone(&evidence.pipeline), String::new()),
        events: Vec::new(),
        at,
        fence: 0,
        notes: Vec::new(),
    };
    rebuilding.begin()?;
    let landed = rebuilding.landings()?;
    rebuilding.left()?;
    rebuilding.the_rest()?;
    let notes = rebuilding.tell(landed);
    rebuilding.add(Event::Run(RunEvent::RunRebuilt { notes: notes.clone() }))?;
    Ok(Rebuilt {
        frozen: evidence.start.frozen.clone().into_bytes(),
        events: rebuilding.events,
        notes,
    })
}

/// What landed on the target according to git and has no event in the state of its run: each unit with its commit. The
/// journal behind such a state lost its end, and going on with it would do work again that is on the target already.
///
/// # Errors
/// When git fails.
pub fn unknown_landings(repository: &Repository, state: &State) -> Result<Vec<String>, git::Error> {
    let Some(start) = state.start() else {
        return Ok(Vec::new());
    };
    let Some(tip) = repository.tip(&start.target)? else {
        return Ok(Vec::new());
    };
    let queue = state.queue();
    let mut known: BTreeSet<&Oid> = queue.landed().iter().map(|landed| &landed.to).collect();
    known.extend(queue.pending_landing().map(|pending| pending.verified.to()));
    let mut unknown = Vec::new();
    for (name, record) in repository.refs_below(&format!("{}{LANDINGS}", refs_of(&start.run)))? {
        let commit = name.rsplit('/').next().and_then(|commit| commit.parse().ok());
        let Some(commit) = commit.filter(|commit| !known.contains(commit)) else {
            continue;
        };
        if !repository.is_ancestor(&commit, &tip)? {
            continue;
        }
        let Ok(landing) = serde_json::from_str::<LandingRecord>(&repository.read_record(&record)?) else {
            continue;
        };
        // What does not count when a journal is made from git is not missed in one either.
        let approvals = Remains::read(repository, &start.run).map(|remains| remains.approvals);
        let units = landing.candidate.units.iter();
        if approvals.is_ok_and(|approvals| units.clone().all(|member| is_approved(&approvals, member))) {
            unknown.extend(units.map(|member| format!("`{}` as {}", member.unit, member.commit.short())));
        }
    }
    Ok(unknown)
}

/// Whether a commit was made from the very head that was approved.
fn is_approved(approvals: &BTreeMap<UnitId, ApprovalRecord>, member: &CandidateUnit) -> bool {
    approvals.get(&member.unit).is_some_and(|approval| {
        approval.head.commit == member.head && approval.generation == member.generation
    })
}

/// What git has of a run.
struct Remains {
    start: FrozenRecord,
    pipeline: Arc<Pipeline>,
    /// Commits of the target since the run began, with their place on its first-parent line.
    line: BTreeMap<Oid, usize>,
    /// Of these, the runs and units that trailers name.
    named: BTreeMap<Oid, BTreeSet<(String, String)>>,
    landings: Vec<LandingRecord>,
    approvals: BTreeMap<UnitId, ApprovalRecord>,
    /// Heads with what they stand on.
    heads: BTreeMap<UnitId, (Head, Oid)>,
    branches: BTreeMap<UnitId, BranchRecord>,
    /// What the guards found, in a head and in work that was refused.
    guards: BTreeMap<UnitId, GuardsRecord>,
    refused: BTreeMap<UnitId, GuardsRecord>,
    /// Whom a person took out of the run.
    left: BTreeMap<UnitId, Left>,
    attempts: BTreeMap<UnitId, Vec<AttemptNumber>>,
    notes: Vec<String>,
}

impl Remains {
    fn read(repository: &Repository, run: &RunId) -> Result<Self, RebuildError> {
        let prefix = refs_of(run);
        let refs = repository.refs_below(&prefix)?;
        let begun = refs
            .iter()
            .find(|(name, _)| name.strip_prefix(&prefix) == Some(FROZEN));
        let (name, record) = begun.ok_or_else(|| RebuildError::Unknown(run.clone()))?;
        let broken = |error: serde_json::Error| RebuildError::Broken {
            name: name.clone(),
            why: error.to_string(),
        };
        let start: FrozenRecord = serde_json::from_str(&repository.read_record(record)?).map_err(broken)?;
        let file: Frozen = serde_json::from_str(&start.frozen).map_err(broken)?;
        let mut remains = Self {
            pipeline: Arc::new(file.pipeline),
            start,
            line: BTreeMap::new(),
            named: BTreeMap::new(),
            landings: Vec::new(),
            approvals: BTreeMap::new(),
            heads: BTreeMap::new(),
            branches: BTreeMap::new(),
            guards: BTreeMap::new(),
            refused: BTreeMap::new(),
            left: BTreeMap::new(),
            attempts: BTreeMap::new(),
            notes: Vec::new(),
        };
        remains.read_line(repository)?;
        for (name, oid) in &refs {
            remains.read_ref(repository, &name[prefix.len()..], oid)?;
        }
        for (unit, record) in &remains.branches {
            // What a fix added stands on the branch; what a person made instead stands where it stands.
            if let Some((head, base)) = remains.heads.get_mut(unit)
                && repository.is_ancestor(&record.head.commit, &head.commit)?
            {
                base.clone_from(&record.base);
            }
        }
        let line = &remains.line;
        remains
            .landings
            .retain(|landing| line.contains_key(&landing.candidate.commit));
        remains
            .landings
            .sort_by_key(|landing| line[&landing.candidate.commit]);
        Ok(remains)
    }

    fn read_line(&mut self, repository: &Repository) -> Result<(), RebuildError> {
        let (target, base) = (&self.start.target, &self.start.base);
        let Some(tip) = repository.tip(target)? else {
            self.notes.push(format!(
                "the target `{target}` is gone, so nothing counts as landed"
            ));
            return Ok(());
        };
        // People may have rewritten what the run began on: what landed since is there all the same, or not.
        for (place, (commit, trailers)) in repository.trailers_between(base, &tip)?.into_iter().enumerate() {
            let values = |key: &str| -> Vec<String> {
                let of_key = trailers.iter().filter(|(name, _)| name == key);
                of_key.map(|(_, value)| value.clone()).collect()
            };
            let units = values("Pipeline-Unit");
            let names = values("Pipeline-Run")
                .into_iter()
                .flat_map(|run| units.iter().map(move |unit| (run.clone(), unit.clone())));
            self.named.insert(commit.clone(), names.collect());
            self.line.insert(commit, place);
        }
        Ok(())
    }

    /// Takes one ref in, by its name below the run's prefix. What is not one of ours is passed over and told.
    fn read_ref(&mut self, repository: &Repository, name: &str, oid: &Oid) -> Result<(), RebuildError> {
        if name.starts_with(LANDINGS) {
            match serde_json::from_str::<LandingRecord>(&repository.read_record(oid)?) {
                Ok(landing) if landing.version <= VERSION => self.landings.push(landing),
                Ok(_) | Err(_) => self
                    .notes
                    .push(format!("the record {name} cannot be read and counts for nothing")),
            }
            return Ok(());
        }
        let Some(unit) = name
            .split('/')
            .next()
            .and_then(|unit| unit.parse::<UnitId>().ok())
        else {
            return Ok(());
        };
        let rest = &name[unit.as_str().len()..];
        if rest == APPROVAL {
            match serde_json::from_str::<ApprovalRecord>(&repository.read_record(oid)?) {
                Ok(approval) if approval.version <= VERSION && approval.unit == unit => {
                    self.approvals.insert(unit, approval);
                }
                Ok(_) | Err(_) => {
                    self.notes.push(format!(
                        "the approval of `{unit}` cannot be read, so it is judged again"
                    ));
                }
            }
        } else if rest == HEAD {
            if let Some(base) = repository.first_parent(oid)? {
                let tree = repository.tree_of(oid)?;
                let commit = oid.clone();
                self.heads.insert(unit, (Head { commit, tree }, base));
            }
        } else if rest == BRANCH {
            match serde_json::from_str::<BranchRecord>(&repository.read_record(oid)?) {
                Ok(record) if record.version <= VERSION && record.unit == unit => {
                    self.branches.insert(unit, record);
                }
                Ok(_) | Err(_) => self.notes.push(format!(
                    "what was taken in of the branch of `{unit}` cannot be read, so it is taken in again"
                )),
            }
        } else if rest == LEFT {
            match serde_json::from_str::<LeftRecord>(&repository.read_record(oid)?) {
                Ok(record) if record.version <= VERSION && record.unit == unit => {
                    self.left.insert(unit, record.how);
                }
                Ok(_) | Err(_) => {
                    self.notes.push(format!(
                        "how a person took `{unit}` out of the run cannot be read, so it is cancelled"
                    ));
                    self.left.insert(unit, Left::Cancelled);
                }
            }
        } else if rest == GUARDS || rest == REFUSED {
            let found = serde_json::from_str::<GuardsRecord>(&repository.read_record(oid)?);
            let known = found
                .ok()
                .filter(|found| found.version <= VERSION && found.unit == unit);
            let records = if rest == GUARDS {
                &mut self.guards
            } else {
                &mut self.refused
            };
            records.extend(known.map(|found| (unit, found)));
        } else if let Some(attempt) = rest.strip_prefix(ATTEMPTS) {
            self.attempts
                .entry(unit)
                .or_default()
                .extend(attempt_number(attempt));
        }
        Ok(())
    }

    /// What the guards found in a head that nobody has approved. Of one that a person made, or a version that kept no
    /// record, git does not know it: it may touch protected paths, so that a person has to look.
    fn found_in(&self, unit: &UnitId, head: &Head) -> Vec<GuardHit> {
        let known = self.guards.get(unit).filter(|found| found.head == *head);
        known.map_or_else(
            || {
                vec![GuardHit {
                    reason: Reason::ApprovalLost,
                    action: GuardAction::Gate,
                    sentence: format!(
                        "The journal was lost, and git does not know what the guards found in {}.",
                        head.commit.short()
                    ),
                }]
            },
            |found| found.guards.clone(),
        )
    }

    /// Why work is not taken over that was its author's last, where a guard had refused it.
    fn refusal(&self, unit: &UnitId) -> Option<String> {
        let found = self.refused.get(unit)?;
        let hit = found
            .guards
            .iter()
            .find(|hit| hit.action == GuardAction::Refuse)?;
        Some(format!(
            "work of `{unit}` that a guard had refused is not taken over ({}): {}",
            found.head.commit.short(),
            hit.sentence
        ))
    }

    /// Whether a commit on the target says that it is that unit of this run.
    fn is_named(&self, commit: &Oid, unit: &UnitId) -> bool {
        let name = (self.start.run.to_string(), unit.to_string());
        self.named.get(commit).is_some_and(|names| names.contains(&name))
    }
}

/// `<stage>.<round>.<attempt>`; a stage's name has no dot.
fn attempt_number(name: &str) -> Option<AttemptNumber> {
    let mut parts = name.split('.');
    Some(AttemptNumber {
        stage: parts.next()?.parse().ok()?,
        round: parts.next()?.parse().ok()?,
        attempt: parts.next()?.parse().ok()?,
    })
}

/// A journal in the making. Every event passes the machines before it counts.
struct Rebuilding<'a> {
    remains: &'a Remains,
    state: State,
    events: Vec<Event>,
    at: Timestamp,
    fence: u64,
    notes: Vec<String>,
}

impl Rebuilding<'_> {
    fn add(&mut self, event: Event) -> Result<(), IllegalEvent> {
        let seq = self.events.len() as u64 + 1;
        self.state.apply(&Record {
            seq,
            at: self.at,
            event: event.clone(),
        })?;
        self.events.push(event);
        Ok(())
    }

    fn add_unit(&mut self, unit: &UnitId, what: UnitEvent) -> Result<(), IllegalEvent> {
        self.add(Event::Unit(UnitScoped {
            unit: unit.clone(),
            what,
        }))
    }

    fn add_queue(&mut self, event: QueueEvent) -> Result<(), IllegalEvent> {
        self.add(Event::Queue(event))
    }

    fn begin(&mut self) -> Result<(), IllegalEvent> {
        let start = &self.remains.start;
        self.add(Event::Run(RunEvent::RunStarted {
            format: FORMAT,
            run: start.run.clone(),
            name: start.name.clone(),
            file: start.file.clone(),
            target: start.target.clone(),
            meant_for: start.meant_for.clone(),
            base: start.base.clone(),
            frozen: start.hash.clone(),
        }))?;
        for kept in &start.kept {
            self.add_unit(
                &kept.unit,
                UnitEvent::UnitKept {
                    commit: kept.commit.clone(),
                    from: kept.from.clone(),
                },
            )?;
        }
        for (unit, record) in &self.remains.branches {
            if self.state.unit(unit).and_then(crate::unit::State::wants_branch) == Some(&record.branch) {
                self.add_unit(
                    unit,
                    UnitEvent::BranchTaken {
                        branch: record.branch.clone(),
                        head: record.head.clone(),
                        base: record.base.clone(),
                        guards: record.guards.clone(),
                    },
                )?;
            }
        }
        Ok(())
    }

    /// Every landing that is confirmed, in the order of the target; the units that landed.
    fn landings(&mut self) -> Result<usize, IllegalEvent> {
        let mut count = 0;
        for landing in &self.remains.landings {
            let units = &landing.candidate.units;
            if let Some(doubt) = units.iter().find(|member| !self.is_confirmed(member)) {
                self.notes.push(format!(
                    "{} on the target is not confirmed as `{}`, which is put in line again",
                    doubt.commit.short(),
                    doubt.unit
                ));
                continue;
            }
            count += units.len();
            self.land(landing)?;
        }
        Ok(count)
    }

    /// The approval of the very head the commit was made from, and the commit's own trailers.
    fn is_confirmed(&self, member: &CandidateUnit) -> bool {
        is_approved(&self.remains.approvals, member)
            && self.remains.is_named(&member.commit, &member.unit)
            && self.is_unbegun(&member.unit)
    }

    fn is_unbegun(&self, unit: &UnitId) -> bool {
        self.state
            .unit(unit)
            .is_some_and(|state| state.phase() == crate::unit::Phase::Waiting)
    }

    fn land(&mut self, landing: &LandingRecord) -> Result<(), IllegalEvent> {
        let candidate = &landing.candidate;
        for member in &candidate.units {
            self.restore_approved(&member.unit)?;
            self.enqueue(&member.unit)?;
        }
        let expected = self.state.queue().expected_tip().cloned();
        if let Some(from) = expected.filter(|expected| *expected != candidate.base) {
            let to = candidate.base.clone();
            self.add_queue(QueueEvent::TargetMoved { from, to })?;
        }
        self.add_queue(QueueEvent::CandidateBuilt {
            candidate: candidate.clone(),
        })?;
        if let Some(evidence) = &landing.evidence {
            self.fence += 1;
            let fence = self.fence;
            self.add_queue(QueueEvent::VerifyStarted {
                commit: candidate.commit.clone(),
                purpose: VerifyPurpose::Candidate,
                fence,
            })?;
            self.add_queue(QueueEvent::VerifyEnded {
                fence,
                evidence: evidence.clone(),
                reused: true,
            })?;
        }
        let (from, to) = (candidate.base.clone(), candidate.commit.clone());
        self.add_queue(QueueEvent::LandIntended {
            commit: to.clone(),
            from: from.clone(),
            tree: candidate.tree.clone(),
            checkout: None,
        })?;
        let landed = candidate.units.iter().map(|member| LandedUnit {
            unit: member.unit.clone(),
            commit: member.commit.clone(),
            unverified: member.commit != candidate.commit,
        });
        self.add_queue(QueueEvent::Landed {
            from,
            to,
            units: landed.collect(),
            evidence: landing.evidence.clone(),
        })
    }

    fn restore_approved(&mut self, unit: &UnitId) -> Result<(), IllegalEvent> {
        let approval = &self.remains.approvals[unit];
        let work = RestoredWork {
            head: approval.head.clone(),
            base: approval.base.clone(),
            approved: Some(approval.generation),
            guards: Vec::new(),
        };
        self.restore(unit, Some(work))
    }

    fn restore(&mut self, unit: &UnitId, work: Option<RestoredWork>) -> Result<(), IllegalEvent> {
        let attempts = self.remains.attempts.get(unit).cloned().unwrap_or_default();
        self.add_unit(unit, UnitEvent::UnitRestored { work, attempts })
    }

    fn enqueue(&mut self, id: &UnitId) -> Result<(), IllegalEvent> {
        let units = (0..).zip(&self.remains.pipeline.units);
        let known = units.clone().find(|(_, unit)| unit.id == *id);
        let (place, unit): (u32, &Unit) = known.expect("the state knows the unit, so the pipeline does");
        let approval = &self.remains.approvals[id];
        self.add_queue(QueueEvent::Enqueued {
            unit: id.clone(),
            generation: approval.generation,
            head: approval.head.clone(),
            base: approval.base.clone(),
            priority: unit.priority,
            place,
        })
    }

    /// Units that a person took out, with the work they had; whoever brings one back finds it.
    fn left(&mut self) -> Result<(), IllegalEvent> {
        for (unit, how) in &self.remains.left {
            if !self.is_unbegun(unit) {
                continue;
            }
            let taken = self.remains.branches.get(unit).map(|record| &record.head);
            let head = self
                .remains
                .heads
                .get(unit)
                .filter(|(head, _)| Some(head) != taken);
            let work = head.map(|(head, base)| RestoredWork {
                head: head.clone(),
                base: base.clone(),
                approved: None,
                guards: Vec::new(),
            });
            self.restore(unit, work)?;
            let what = match how {
                Left::Cancelled => UnitEvent::UnitEvicted {
                    reason: Reason::Cancelled,
                    sentence: Reason::Cancelled.sentence().to_owned(),
                },
                Left::Discarded => UnitEvent::UnitDiscarded,
            };
            self.add_unit(unit, what)?;
        }
        Ok(())
    }

    /// Units that did not land: an approval that is still of the newest head stands, another head is judged again, and one
    /// that may have resolved a conflict in a tier without a review is made anew. A unit whose needs are not met any more
    /// begins when they are.
    fn the_rest(&mut self) -> Result<(), IllegalEvent> {
        for unit in &self.remains.pipeline.units {
            if !self.is_unbegun(&unit.id) {
                continue;
            }
            let ready = unit.needs.iter().all(|need| {
                self.state
                    .unit(need)
                    .is_some_and(|state| state.phase() == crate::unit::Phase::Landed)
            });
            // The commits of a branch are not yet work that began.
            let taken = self.remains.branches.get(&unit.id).map(|record| &record.head);
            let head = self.remains.heads.get(&unit.id).filter(|_| ready);
            let approval = self.remains.approvals.get(&unit.id).filter(|_| ready);
            let stands = approval.is_some_and(|approval| {
                approval.by_person || head.is_some_and(|(head, _)| *head == approval.head)
            });
            // Its tier has no review to judge it, and the one that judges a resolved conflict is not asked of a lost
            // journal.
            let may_resolve = |(_, base): &&(Head, Oid)| approval.is_some_and(|known| known.base != *base);
            let tier = &self.remains.pipeline.tiers[&unit.tier];
            let judged = |found: &&(Head, Oid)| !may_resolve(found) || tier.has_review();
            if stands {
                self.restore_approved(&unit.id)?;
            } else if let Some((head, base)) = head.filter(|found| Some(&found.0) != taken && judged(found)) {
                let work = RestoredWork {
                    head: head.clone(),
                    base: base.clone(),
                    approved: None,
                    guards: self.remains.found_in(&unit.id, head),
                };
                self.restore(&unit.id, Some(work))?;
            } else if self.remains.attempts.contains_key(&unit.id) {
                self.notes.extend(self.remains.refusal(&unit.id));
                self.restore(&unit.id, None)?;
            }
        }
        Ok(())
    }

    fn tell(&mut self, landed: usize) -> Vec<String> {
        let in_phase = |phase| {
            self.state
                .units()
                .filter(|(_, unit)| unit.phase() == phase)
                .count()
        };
        let (approved, judged) = (
            in_phase(crate::unit::Phase::Queued),
            in_phase(crate::unit::Phase::Working),
        );
        let begin = in_phase(crate::unit::Phase::Waiting);
        let left = match self.remains.left.len() {
            0 => String::new(),
            count => format!(", {count} taken out by a person"),
        };
        let mut notes = vec![format!(
            "run {} was rebuilt from git: {landed} landed, {approved} approved and in line again, {judged} to be judged again, \
             {begin} to be begun{left}",
            self.remains.start.run
        )];
        notes.extend(self.remains.notes.iter().cloned());
        notes.append(&mut self.notes);
        notes.push(
            "not known any more: findings and rounds, gates, evictions and what else people said, logs, and what was spent: \
             the budget counts from zero"
                .to_owned(),
        );
        notes
    }
}
