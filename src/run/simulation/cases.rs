//! What must hold of each unit: books on its attempts, its approval, and what speaks against it.

use std::collections::{BTreeMap, BTreeSet};

use crate::event::{CheckOutcome, GuardAction, Job, Outcome, Output, UnitEvent};
use crate::id::{Oid, StageName, UnitId};
use crate::run::unit_checks;
use crate::spec::{Performer, Pipeline, RESOLVE, StageKind, Usd};
use crate::unit;

/// One piece of work: never done again once it is done. Try, round, job, and the commit it was done on.
type Piece = (UnitId, u32, u32, Job, Oid);

/// What is known of a unit; in its current try where nothing else is said.
#[derive(Default)]
pub(super) struct Case {
    /// Attempts that failed in a way that is charged.
    pub(super) failures: u32,
    /// Runs of its own checks that failed.
    pub(super) red_checks: u32,
    pub(super) rejections: u32,
    /// Fixes that were made.
    fixes: u32,
    /// A person's commit took the place of the author's.
    resolved: bool,
    /// What the queue charged, and how often for a failure, since it was last in a person's hands.
    pub(super) charged: u32,
    pub(super) blamed: u32,
    pub(super) sent_back: u32,
    /// Conflicts with the target it was sent back with, and whether one of them was resolved for the newest head.
    pub(super) conflicts: u32,
    conflicted: bool,
    /// Verifications of it that left a check out.
    pub(super) skipped: u32,
    /// In all tries.
    pub(super) spent: Usd,
    /// What it brings is there for those that need it.
    pub(super) is_there: bool,
}

pub(super) struct Cases {
    cases: BTreeMap<UnitId, Case>,
    /// The piece of every attempt whose end is not recorded.
    open: BTreeMap<u64, Piece>,
    done: BTreeSet<Piece>,
    /// What attempts are called: unit, stage, round, attempt.
    names: BTreeSet<(UnitId, Option<StageName>, u32, u32)>,
    /// Stages with the commits on which they said nothing against it, and the checks as none.
    agreed: BTreeSet<(UnitId, Option<StageName>, Oid)>,
    spent: Usd,
}

impl Cases {
    pub(super) fn new(pipeline: &Pipeline) -> Self {
        let cases = pipeline.units.iter();
        Self {
            cases: cases.map(|unit| (unit.id.clone(), Case::default())).collect(),
            open: BTreeMap::new(),
            done: BTreeSet::new(),
            names: BTreeSet::new(),
            agreed: BTreeSet::new(),
            spent: Usd::default(),
        }
    }

    pub(super) fn of(&self, unit: &UnitId) -> &Case {
        &self.cases[unit]
    }

    pub(super) fn of_mut(&mut self, unit: &UnitId) -> &mut Case {
        self.cases.get_mut(unit).expect("a case a unit")
    }

    /// What all attempts have cost.
    pub(super) fn spent(&self) -> Usd {
        self.spent
    }

    /// Before an event of a unit is taken in.
    pub(super) fn before(&mut self, id: &UnitId, event: &UnitEvent, unit: &unit::State, pipeline: &Pipeline) {
        match event {
            UnitEvent::UnitStarted { .. } => {
                let there = |need: &UnitId| self.cases[need].is_there;
                assert!(
                    unit.plan().unit.needs.iter().all(there),
                    "{id} begins without what it needs"
                );
            }
            UnitEvent::AttemptStarted {
                job,
                round,
                attempt,
                fence,
                commit,
                ..
            } => {
                let name = (id.clone(), stage_of(job), *round, *attempt);
                assert!(self.names.insert(name), "{id}: an attempt's name is given once");
                let piece = (id.clone(), unit.try_number(), *round, job.clone(), commit.clone());
                assert!(!self.done.contains(&piece), "done already: {piece:?}");
                self.open.insert(*fence, piece);
                let within = |spent: Usd, budget: Option<Usd>| budget.is_none_or(|budget| spent < budget);
                let run = within(self.spent, pipeline.limits.budget);
                let own = within(self.cases[id].spent, unit.budget());
                assert!(
                    *job == Job::Checks || run && own,
                    "nothing that costs starts when a budget is spent"
                );
            }
            UnitEvent::AttemptEnded { .. } => self.attempt_ended(id, event, unit, pipeline),
            UnitEvent::UnitApproved { head, base, .. } => {
                self.approved(id, &head.commit, unit, pipeline);
                assert_eq!(unit.base(), Some(base));
                self.of_mut(id).conflicted = false;
            }
            UnitEvent::UnitPublished | UnitEvent::UnitKept { .. } | UnitEvent::BranchLanded { .. } => {
                self.of_mut(id).is_there = true;
            }
            UnitEvent::UnitResolved { .. } => {
                let case = self.of_mut(id);
                case.resolved = true;
                case.conflicted = false;
                (case.charged, case.blamed, case.sent_back, case.conflicts) = (0, 0, 0, 0);
            }
            UnitEvent::UnitRetried { .. } => {
                let case = self.of_mut(id);
                let spent = case.spent;
                *case = Case {
                    spent,
                    ..Case::default()
                };
            }
            UnitEvent::GateDecided { approved, .. } => {
                let case = self.of_mut(id);
                case.rejections += u32::from(!approved);
            }
            _ => {}
        }
    }

    fn attempt_ended(&mut self, id: &UnitId, event: &UnitEvent, unit: &unit::State, pipeline: &Pipeline) {
        let UnitEvent::AttemptEnded {
            fence,
            outcome,
            output,
            usage,
            ..
        } = event
        else {
            return;
        };
        let cost = usage.cost.unwrap_or_default();
        self.spent = self.spent + cost;
        let piece = self.open.remove(fence).expect("it was started");
        let case = self.of_mut(id);
        case.spent = case.spent + cost;
        // What the unit no longer waits for counts for nothing but its cost.
        if !unit.in_flight().any(|flight| flight.fence == *fence) {
            return;
        }
        let judges = match &piece.3 {
            Job::Stage { kind, .. } => kind.is_judge(),
            Job::Checks => true,
        };
        let on_head = unit.head().is_some_and(|head| head.commit == piece.4);
        assert!(
            !judges || on_head,
            "{id}: what judged an older head says nothing of this one"
        );
        let done = case.take(*outcome, output.as_ref(), unit.head().map(|head| &head.tree));
        let is_fix = matches!(
            piece.3,
            Job::Stage {
                kind: StageKind::Fix,
                ..
            }
        );
        let disputed = matches!(output, Some(Output::Work { resolutions, .. }) if !resolutions.is_empty());
        let resolves = stage_of(&piece.3).is_some_and(|stage| stage.as_str() == RESOLVE);
        if is_fix && !resolves && *outcome == Outcome::Ok && (done || disputed) {
            case.fixes += 1;
            let most = pipeline.limits.rounds;
            assert!(case.fixes <= most, "{id} is fixed more than {most} times");
        }
        if done {
            if agrees(output.as_ref()) {
                let stage = stage_of(&piece.3);
                self.agreed.insert((id.clone(), stage, piece.4.clone()));
            }
            self.done.insert(piece);
        }
    }

    /// A unit goes to the queue: its checks passed, and every judge has judged, on this very head. Where there is
    /// more than one fix, a review judges again what its own fix made, and nothing else.
    fn approved(&self, id: &UnitId, head: &Oid, unit: &unit::State, pipeline: &Pipeline) {
        let agreed = |stage: Option<StageName>| self.agreed.contains(&(id.clone(), stage, head.clone()));
        let plan = unit.plan();
        let branch = plan.unit.from_branch.as_ref().filter(|branch| !branch.review);
        let as_it_was = unit.intake().is_some_and(|intake| intake.head.commit == *head);
        if branch.is_some() && (self.cases[id].resolved || (as_it_was && !self.cases[id].conflicted)) {
            return;
        }
        let checks = unit_checks(pipeline, &plan.unit);
        assert!(
            checks.is_empty() || agreed(None),
            "{id} is approved over its checks"
        );
        if self.cases[id].resolved {
            return;
        }
        let stands = |entry: &&unit::LedgerEntry| {
            entry.is_open(unit.try_number()) && entry.blocks && !entry.state.awaits_judge()
        };
        let blocking = unit.ledger().entries().iter().find(stands);
        assert!(blocking.is_none(), "{id} is approved over {blocking:?}");
        let fixes = plan
            .tier
            .stages
            .iter()
            .filter(|stage| stage.kind == StageKind::Fix);
        let many_fixes = fixes.count() > 1;
        let built_in = plan.tier.resolve_review(&plan.agents);
        let built_in = built_in.iter().filter(|_| self.cases[id].conflicted);
        for stage in plan.tier.stages.iter().chain(built_in) {
            let judged = match (stage.kind, &stage.by) {
                (StageKind::Review, _) => !many_fixes,
                (StageKind::Approve, Performer::Agent(_) | Performer::Panel { .. }) => true,
                (StageKind::Approve, Performer::Human | Performer::Checks) => false,
                (StageKind::Prepare | StageKind::Implement | StageKind::Fix, _) => false,
            };
            let name = stage.name.clone();
            assert!(
                !judged || agreed(Some(name)),
                "{id} is approved without `{}`",
                stage.name
            );
        }
    }
}

impl Case {
    /// It leaves the line with a conflict: whoever made its head, every judge is asked about what resolves it.
    pub(super) fn sent_to_resolve(&mut self) {
        self.conflicts += 1;
        self.conflicted = true;
        self.resolved = false;
    }

    /// Takes an outcome in; `true` when the piece of work is done for good.
    fn take(&mut self, outcome: Outcome, output: Option<&Output>, head: Option<&Oid>) -> bool {
        let done = match (outcome, output) {
            (Outcome::Interrupted | Outcome::Panicked | Outcome::RateLimited { .. } | Outcome::Auth, _) => {
                return false;
            }
            (Outcome::Ok, Some(Output::Checks { evidence })) => {
                let failure = evidence.first_failure().map(|row| row.outcome);
                let failed = matches!(failure, Some(CheckOutcome::Failed | CheckOutcome::TimedOut));
                self.red_checks += u32::from(failed);
                self.failures += u32::from(failed);
                evidence.passed() || failed
            }
            (
                Outcome::Ok,
                Some(Output::Work {
                    head: new, guards, ..
                }),
            ) => {
                let refused = guards.iter().any(|hit| hit.action == GuardAction::Refuse);
                !refused && head != Some(&new.tree)
            }
            (Outcome::Ok, Some(Output::Decision { approved, .. })) => {
                self.rejections += u32::from(!approved);
                true
            }
            (Outcome::Ok, Some(Output::Document { .. } | Output::Review { .. })) => true,
            (_, _) => false,
        };
        self.failures += u32::from(!done);
        done
    }
}

/// Whether a judge or the checks let the work pass, as far as one answer goes.
fn agrees(output: Option<&Output>) -> bool {
    match output {
        Some(Output::Checks { evidence }) => evidence.passed(),
        Some(Output::Decision { approved, .. }) => *approved,
        Some(Output::Review { .. } | Output::Document { .. } | Output::Work { .. }) => true,
        None => false,
    }
}

fn stage_of(job: &Job) -> Option<StageName> {
    match job {
        Job::Stage { stage, .. } => Some(stage.clone()),
        Job::Checks => None,
    }
}
