//! What must hold after every event and every move of the target, whatever happened before.
//!
//! The laws keep books of their own, from the events and from what really happened in the world. They ask the
//! machines for nothing that they could be wrong about.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;

use super::agents::{Truth, truth, truth_of};
use super::cases::Cases;
use super::git::Git;
use super::model::{self, Verdict};
use super::setting::Setting;
use crate::event::{
    Candidate, CheckOutcome, EntryEnd, Event, Evidence, GuardAction, Hold, QueueEvent, Reason, Record,
    RunEvent, StopCause, UnitEvent, VerifyPurpose,
};
use crate::id::{Oid, UnitId};
use crate::queue::{CHARGE_FAILURE, EVICT_AT, Status, Tip, VerifiedCandidate};
use crate::run::{State, decide, hash_json, queue_checks, subject};
use crate::spec::{Check, Pipeline, Verify};
use crate::unit::Phase;

pub(super) struct Laws {
    slots: usize,
    /// Subject and check set of every run that passed, with when the latest did.
    passes: BTreeMap<(Oid, String), Timestamp>,
    /// Every commit that the engine moved the target to, or past, with its unit.
    ours: BTreeMap<Oid, UnitId>,
    landed: BTreeSet<UnitId>,
    /// Where each landing left the target, and what earlier runs had landed on it.
    to_stay: BTreeSet<Oid>,
    line: BTreeMap<UnitId, (Oid, Oid)>,
    cases: Cases,
    /// Checks of the file that passed on the target.
    green: BTreeSet<String>,
    /// Every candidate by its commit, and the newest of each unit.
    built: BTreeMap<Oid, Candidate>,
    newest: BTreeMap<UnitId, Oid>,
    /// Units that were in a batch that was split.
    split: BTreeSet<UnitId>,
    runs: BTreeMap<u64, (Oid, VerifyPurpose)>,
    /// Failed runs of each commit.
    failed: BTreeMap<Oid, u32>,
    red: Option<Oid>,
    /// A landing whose checkout is to follow.
    to_follow: Option<Oid>,
    has_checkout: bool,
    /// What people said to the queue.
    paused: bool,
    frozen_below: Option<i64>,
    raised: BTreeMap<UnitId, i64>,
    /// Where branches were when they were last looked at.
    branches: BTreeMap<UnitId, Oid>,
    /// Since when nothing has landed, been begun to wait for, or been told of.
    quiet: Timestamp,
    /// Whether somebody waited whom no person holds.
    waited: bool,
    /// When the latest of the runs in a row ended that the machine could not carry out, and how many these are.
    machine: Option<(Timestamp, u32)>,
    /// Verifications that began although the wait after these was not over; those that reuse evidence run nothing.
    hasty: BTreeSet<u64>,
    /// Verifications that began when no slot was free, likewise.
    crowded: BTreeSet<u64>,
}

impl Laws {
    pub(super) fn new(pipeline: &Pipeline) -> Self {
        Self {
            slots: pipeline.limits.parallel as usize,
            passes: BTreeMap::new(),
            ours: BTreeMap::new(),
            landed: BTreeSet::new(),
            to_stay: BTreeSet::new(),
            line: BTreeMap::new(),
            cases: Cases::new(pipeline),
            green: BTreeSet::new(),
            built: BTreeMap::new(),
            newest: BTreeMap::new(),
            split: BTreeSet::new(),
            runs: BTreeMap::new(),
            failed: BTreeMap::new(),
            red: None,
            to_follow: None,
            has_checkout: false,
            paused: false,
            frozen_below: None,
            raised: BTreeMap::new(),
            branches: BTreeMap::new(),
            quiet: Timestamp::MIN,
            waited: false,
            machine: None,
            hasty: BTreeSet::new(),
            crowded: BTreeSet::new(),
        }
    }

    /// Where branches are, as the engine is told.
    pub(super) fn looked_at(&mut self, branches: &BTreeMap<UnitId, Oid>) {
        self.branches.clone_from(branches);
    }

    /// Where a branch is that is wanted, if it is there.
    pub(super) fn looked_for(&mut self, unit: &UnitId, branch: Option<&Oid>) {
        self.branches.remove(unit);
        self.branches.extend(branch.map(|at| (unit.clone(), at.clone())));
    }

    /// What lands of a branch is what was taken in, and nobody was seen to push to it since.
    fn branch_stands(&self, unit: &UnitId, state: &State) {
        let Some(intake) = state.unit(unit).and_then(crate::unit::State::watched_branch) else {
            return;
        };
        let seen = self.branches.get(unit);
        assert!(
            seen.is_none_or(|seen| *seen == intake.head.commit),
            "{unit} lands, and its branch has moved"
        );
    }

    /// Checks were really run.
    pub(super) fn checked(&mut self, evidence: &Evidence, now: Timestamp) {
        if evidence.passed() {
            self.passes
                .insert((evidence.tree.clone(), evidence.checks.clone()), now);
        }
    }

    /// Checks were really run on the target before work began, those of several sets together.
    pub(super) fn checked_target(
        &mut self,
        ran: &[Check],
        evidence: &Evidence,
        (commit, git): (&Oid, &Git),
        setting: &Setting,
        now: Timestamp,
    ) {
        let passed = |check: &Check| {
            let mut rows = ran.iter().zip(&evidence.results);
            rows.any(|(ran, row)| ran == check && row.outcome == CheckOutcome::Passed)
        };
        for set in sets_of_target(&setting.pipeline) {
            if !set.is_empty() && set.iter().all(passed) {
                let about = subject(&set, commit, git.tree_of(commit)).clone();
                self.passes.insert((about, hash_json(&set)), now);
            }
        }
    }

    /// The engine has just moved the target.
    pub(super) fn target_moved(&mut self, verified: &VerifiedCandidate, git: &Git, setting: &Setting) {
        let (from, to) = (verified.from(), verified.to());
        assert!(
            self.holds_what_landed(from, git),
            "nothing lands where landed work is gone"
        );
        assert!(git.line(to).any(|commit| commit == from), "fast-forward only");
        assert_eq!(
            git.tree_of(to),
            verified.tree(),
            "the very tree that was verified"
        );
        let checks = checks_of(&setting.pipeline, verified);
        let proved = (subject(&checks, to, git.tree_of(to)).clone(), hash_json(&checks));
        let waived = setting.pipeline.verify == Verify::Waived;
        assert!(
            waived || self.passes.contains_key(&proved),
            "what lands was passed by a real run"
        );
        let mut onto = from.clone();
        for member in verified.units() {
            let (head, base) = self.line.get(&member.unit).expect("what lands is in line");
            assert_eq!(*head, member.head, "what lands was approved");
            let strategy = setting.pipeline.queue.strategy;
            let expected = model::put_onto(git, &onto, head, base, strategy);
            let built = git.files(&member.commit);
            assert_eq!(
                expected,
                Verdict::Lands(built.clone()),
                "{} may land",
                member.unit
            );
            onto = member.commit.clone();
            self.ours.insert(onto.clone(), member.unit.clone());
        }
        assert_eq!(onto, *to);
        assert!(
            waived || !matches!(truth_of(&checks, git.files(to)), Truth::Fails | Truth::Hangs),
            "no tree lands that its checks never pass on"
        );
        let units: Vec<&UnitId> = git.line(to).filter_map(|commit| self.ours.get(commit)).collect();
        let once: BTreeSet<&UnitId> = units.iter().copied().collect();
        assert_eq!(units.len(), once.len(), "a unit is on the target once: {units:?}");
    }

    /// Before an event is taken in.
    pub(super) fn before(&mut self, record: &Record, state: &State) {
        if let Event::Unit(scoped) = &record.event {
            let unit = state.unit(&scoped.unit).expect("a unit of the pipeline");
            self.cases
                .before(&scoped.unit, &scoped.what, unit, state.pipeline());
        }
    }

    /// After an event was taken in.
    pub(super) fn after(&mut self, record: &Record, state: &State, git: &Git, setting: &Setting) {
        self.keep_to_the_slots(record, state);
        self.reuse_young(record, setting);
        self.wait_for_the_machine(record);
        match &record.event {
            Event::Run(RunEvent::PreflightEnded { evidence, also, .. }) => {
                // No check of the file is called like one of the queue's own.
                std::iter::once(evidence)
                    .chain(also)
                    .for_each(|evidence| self.keep_green(evidence));
            }
            Event::Unit(scoped) => {
                if let UnitEvent::UnitKept { commit, .. } = &scoped.what {
                    self.to_stay.insert(commit.clone());
                }
                if let UnitEvent::UnitEvicted { reason, .. } = &scoped.what {
                    self.evicted(&scoped.unit, *reason, git, setting, state);
                }
            }
            Event::Queue(event) => {
                self.queue_event(event, git, setting, state);
                let known: BTreeSet<&UnitId> = self.line.keys().collect();
                let entries = state.queue().entries();
                let there: BTreeSet<&UnitId> = entries.iter().map(|entry| &entry.unit).collect();
                assert_eq!(known, there, "no accepted entry is lost");
            }
            Event::Run(_) => {}
        }
        self.keep_watch(record, setting);
    }

    /// There are no more runs than slots; what reuses evidence runs nothing.
    fn keep_to_the_slots(&mut self, record: &Record, state: &State) {
        let crowd = state.running().saturating_sub(self.slots);
        match &record.event {
            Event::Queue(QueueEvent::VerifyStarted { fence, .. }) if crowd > self.crowded.len() => {
                self.crowded.insert(*fence);
            }
            Event::Queue(QueueEvent::VerifyEnded {
                fence,
                evidence,
                reused,
            }) if self.crowded.remove(fence) => {
                let outcome = evidence.first_failure().map(|row| row.outcome);
                let ran = !reused && outcome != Some(CheckOutcome::Interrupted);
                assert!(!ran, "no more runs than there are slots");
            }
            _ => {}
        }
        assert!(crowd <= self.crowded.len(), "no more runs than there are slots");
    }

    /// Only what passed in a real run is used again, and only for so long.
    fn reuse_young(&self, record: &Record, setting: &Setting) {
        if let Event::Queue(QueueEvent::VerifyEnded {
            evidence,
            reused: true,
            ..
        }) = &record.event
        {
            let passed = self.passes[&(evidence.tree.clone(), evidence.checks.clone())];
            // A clock that was set back makes it younger than new.
            let age = Duration::try_from(record.at.duration_since(passed)).unwrap_or_default();
            assert!(age <= setting.pipeline.queue.max_age, "evidence of {age:?} ago");
        }
    }

    /// Nothing is verified right after the machine could not carry it out, unless a new engine tries.
    fn wait_for_the_machine(&mut self, record: &Record) {
        match &record.event {
            Event::Run(RunEvent::EngineStarted { .. }) => self.machine = None,
            Event::Queue(QueueEvent::VerifyStarted { fence, .. }) => {
                let is_hasty = self.machine.is_some_and(|(since, failures)| {
                    let least = Duration::from_millis(500 << (failures - 1).min(8));
                    // A clock that was set back makes nobody wait.
                    Duration::try_from(record.at.duration_since(since)).is_ok_and(|waited| waited < least)
                });
                if is_hasty {
                    self.hasty.insert(*fence);
                }
            }
            Event::Queue(QueueEvent::VerifyEnded {
                fence,
                evidence,
                reused: false,
            }) => {
                let outcome = evidence.first_failure().map(|row| row.outcome);
                let was_hasty = self.hasty.remove(fence) && outcome != Some(CheckOutcome::Interrupted);
                assert!(!was_hasty, "the checks are tried again too soon");
                let of_base = |(_, purpose): &(Oid, VerifyPurpose)| *purpose == VerifyPurpose::Base;
                match outcome {
                    Some(CheckOutcome::Interrupted) => {}
                    Some(CheckOutcome::Skipped) if self.runs.get(fence).is_some_and(of_base) => {
                        self.machine_failed(record.at);
                    }
                    Some(CheckOutcome::Infrastructure) => self.machine_failed(record.at),
                    Some(_) | None => self.machine = None,
                }
            }
            Event::Queue(_) | Event::Run(_) | Event::Unit(_) => {}
        }
    }

    fn machine_failed(&mut self, at: Timestamp) {
        self.machine = Some((at, self.machine.map_or(1, |(_, failures)| failures + 1)));
    }

    /// An alarm is raised only where units wait that no person holds, and nothing has landed for so long.
    fn keep_watch(&mut self, record: &Record, setting: &Setting) {
        let waits = !self.paused
            && self
                .line
                .keys()
                .any(|unit| !self.is_frozen(unit, &setting.pipeline));
        let alarm = matches!(record.event, Event::Queue(QueueEvent::QueueStalled { .. }));
        if alarm {
            let quiet = record.at.duration_since(self.quiet).unsigned_abs();
            assert!(
                quiet >= setting.pipeline.queue.stall_alarm,
                "the alarm comes after {quiet:?}"
            );
            assert!(waits, "there is nothing to wait for");
        }
        let is_news = matches!(
            record.event,
            Event::Queue(QueueEvent::Landed { .. }) | Event::Run(RunEvent::EngineStarted { .. })
        );
        if alarm || is_news || !self.waited {
            self.quiet = record.at;
        }
        self.waited = waits;
    }

    /// Whether a freeze holds a unit.
    fn is_frozen(&self, unit: &UnitId, pipeline: &Pipeline) -> bool {
        let written = pipeline.unit(unit).map(|unit| unit.priority);
        let priority = self.raised.get(unit).copied().or(written);
        self.frozen_below.is_some_and(|below| priority < Some(below))
    }

    fn keep_green(&mut self, evidence: &Evidence) {
        let passed = evidence.results.iter();
        let passed = passed.filter(|row| row.outcome == CheckOutcome::Passed);
        self.green.extend(passed.map(|row| row.name.clone()));
    }

    fn queue_event(&mut self, event: &QueueEvent, git: &Git, setting: &Setting, state: &State) {
        match event {
            QueueEvent::Enqueued { unit, head, base, .. } => {
                let before = self
                    .line
                    .insert(unit.clone(), (head.commit.clone(), base.clone()));
                assert!(before.is_none(), "{unit} is in line once");
            }
            QueueEvent::QueuePaused => self.paused = true,
            QueueEvent::QueueResumed => self.paused = false,
            QueueEvent::QueueFrozen { below } => self.frozen_below = Some(*below),
            QueueEvent::QueueThawed => self.frozen_below = None,
            QueueEvent::EntryRaised { unit, priority, .. } => {
                self.raised.insert(unit.clone(), *priority);
            }
            QueueEvent::LandIntended { checkout, commit, .. } => {
                self.may_land_now(commit, setting);
                for member in &self.built[commit].units {
                    self.branch_stands(&member.unit, state);
                }
                assert_eq!(self.to_follow, None, "a checkout follows before the next landing");
                self.has_checkout = checkout.is_some();
            }
            QueueEvent::CheckoutFollowed { .. } => self.to_follow = None,
            QueueEvent::CandidateBuilt { candidate } => {
                self.built.insert(candidate.commit.clone(), candidate.clone());
                let units = candidate.units.iter();
                self.newest
                    .extend(units.map(|member| (member.unit.clone(), candidate.commit.clone())));
            }
            QueueEvent::VerifyStarted {
                commit,
                purpose,
                fence,
            } => {
                self.runs.insert(*fence, (commit.clone(), *purpose));
            }
            QueueEvent::VerifyEnded { fence, evidence, .. } => self.verify_ended(*fence, evidence),
            QueueEvent::EntryCharged { unit, charge, .. } => {
                let case = self.cases.of_mut(unit);
                case.charged += charge;
                if *charge == CHARGE_FAILURE {
                    case.blamed += 1;
                    self.blamed(unit, git, setting);
                }
                let members = &self.built[&self.newest[unit]].units;
                assert_eq!(members.len(), 1, "nobody is charged for what several did");
            }
            QueueEvent::Landed {
                units, evidence, to, ..
            } => {
                self.to_follow = self.has_checkout.then(|| to.clone());
                self.to_stay.insert(to.clone());
                for landed in units {
                    self.cases.of_mut(&landed.unit).is_there = true;
                    assert!(self.line.remove(&landed.unit).is_some(), "what lands was in line");
                    assert!(
                        self.landed.insert(landed.unit.clone()),
                        "{} lands once",
                        landed.unit
                    );
                }
                assert!(self.ours.contains_key(to), "what is told to have landed did");
                evidence.iter().for_each(|evidence| self.keep_green(evidence));
            }
            QueueEvent::TargetMoved { to, .. } => {
                assert!(
                    self.holds_what_landed(to, git),
                    "nobody goes on where landed work is gone"
                );
            }
            QueueEvent::BatchSplit { commit, units } => {
                let built = self.built[commit].units.iter().map(|member| &member.unit);
                assert!(
                    units.len() > 1 && built.eq(units),
                    "a batch is split, and nothing else"
                );
                self.split.extend(units.iter().cloned());
            }
            QueueEvent::BaseRed { commit, .. } => self.red = Some(commit.clone()),
            QueueEvent::SentBack { unit, .. } => {
                self.line.remove(unit);
                let case = self.cases.of_mut(unit);
                case.sent_back += 1;
                assert_eq!(
                    case.blamed, case.sent_back,
                    "{unit} is sent back for what it was charged"
                );
                assert!(case.charged < EVICT_AT, "{unit} is evicted at {EVICT_AT}");
            }
            QueueEvent::SentToResolve { unit, onto, .. } => {
                let (head, base) = self.line.remove(unit).expect("who leaves was in line");
                let strategy = setting.pipeline.queue.strategy;
                let verdict = model::put_onto(git, onto, &head, &base, strategy);
                assert_eq!(verdict, Verdict::Conflicts, "{unit} conflicts with the target");
                assert_eq!(state.queue().expected_tip(), Some(onto));
                let case = self.cases.of_mut(unit);
                case.sent_to_resolve();
                let most = setting.pipeline.queue.conflicts_resolved_max();
                assert!(
                    case.conflicts <= most,
                    "{unit} is sent back with more than {most} conflicts"
                );
            }
            QueueEvent::EntryLeft { unit, end } => {
                if let EntryEnd::Evicted { reason, .. } = end {
                    self.evicted(unit, *reason, git, setting, state);
                }
                self.line.remove(unit);
                let case = self.cases.of_mut(unit);
                (case.charged, case.blamed, case.sent_back, case.conflicts) = (0, 0, 0, 0);
                case.is_there |= *end == EntryEnd::AlreadyLanded;
            }
            _ => {}
        }
    }

    /// What is decided where the target is seen: people may rewrite what is theirs.
    pub(super) fn decided(&self, event: &Event, seen: &Tip, git: &Git) {
        if let (Event::Queue(QueueEvent::SafetyStop { .. }), Tip::At { commit, .. }) = (event, seen) {
            assert!(!self.holds_what_landed(commit, git), "it stops for nothing");
        }
    }

    fn holds_what_landed(&self, tip: &Oid, git: &Git) -> bool {
        self.to_stay.iter().all(|commit| git.is_ancestor(commit, tip))
    }

    /// A person's word holds for every landing that is begun after it.
    fn may_land_now(&self, commit: &Oid, setting: &Setting) {
        assert!(!self.paused, "nothing lands while a person has paused the run");
        for member in &self.built[commit].units {
            let frozen = self.is_frozen(&member.unit, &setting.pipeline);
            assert!(!frozen, "{} lands though it is frozen", member.unit);
        }
    }

    fn verify_ended(&mut self, fence: u64, evidence: &Evidence) {
        let Some((commit, purpose)) = self.runs.remove(&fence) else {
            return;
        };
        let failure = evidence.first_failure().map(|row| row.outcome);
        let failed = matches!(failure, Some(CheckOutcome::Failed | CheckOutcome::TimedOut));
        *self.failed.entry(commit.clone()).or_insert(0) += u32::from(failed);
        if failure == Some(CheckOutcome::Skipped) {
            for member in self.built.get(&commit).into_iter().flat_map(|built| &built.units) {
                self.cases.of_mut(&member.unit).skipped += 1;
            }
        }
        if purpose == VerifyPurpose::Base {
            self.keep_green(evidence);
            // What failed on a base that was red and passes proves nothing.
            if evidence.passed() && self.red.take_if(|red| *red == commit).is_some() {
                let on_it = self.built.values().filter(|built| built.base == commit);
                for built in on_it {
                    self.failed.remove(&built.commit);
                }
            }
        }
    }

    /// A failure was put down to a unit: its candidate failed twice, and the target is not at fault.
    fn blamed(&self, unit: &UnitId, git: &Git, setting: &Setting) {
        let built = &self.built[&self.newest[unit]];
        let members: Vec<&UnitId> = built.units.iter().map(|member| &member.unit).collect();
        assert_eq!(members, [unit], "a charge for a failure is about the unit alone");
        let failures = self.failed.get(&built.commit).copied().unwrap_or(0);
        assert!(failures >= 2, "{unit} is charged after {failures} failures");
        let units = setting.pipeline.units.iter();
        let units = units.filter(|spec| built.units.iter().any(|member| member.unit == spec.id));
        let checks = queue_checks(&setting.pipeline, units);
        let (here, base) = (git.files(&built.commit), git.files(&built.base));
        assert_ne!(
            truth_of(&checks, here),
            Truth::Passes,
            "{unit} is charged for a tree that passes"
        );
        let failing = checks
            .iter()
            .find(|check| truth(&check.name, here) != Truth::Passes);
        let failing = failing.expect("one does not pass");
        let known = self.green.contains(&failing.name) && !failing.name.starts_with("own-");
        let base_fails = matches!(truth(&failing.name, base), Truth::Fails | Truth::Hangs);
        assert!(
            !(known && base_fails),
            "{unit} is charged for what the target fails of"
        );
    }

    /// A unit is given to a person for a reason that holds.
    fn evicted(&self, unit: &UnitId, reason: Reason, git: &Git, setting: &Setting, state: &State) {
        let case = self.cases.of(unit);
        let nature = setting.nature(unit);
        let limits = &setting.pipeline.limits;
        let holds = match reason {
            Reason::ConflictTarget if !self.line.contains_key(unit) => {
                case.conflicts > 0 && case.failures > limits.retries
            }
            Reason::ConflictTarget => {
                let (head, base) = &self.line[unit];
                let most = setting.pipeline.queue.conflicts_resolved_max();
                assert_eq!(case.conflicts, most, "{unit} may be sent back once more");
                let tip = state.queue().expected_tip().expect("it was put onto a tip");
                let strategy = setting.pipeline.queue.strategy;
                model::put_onto(git, tip, head, base, strategy) == Verdict::Conflicts
            }
            Reason::VerifyFailed | Reason::VerifyTimeout => case.charged >= EVICT_AT || case.sent_back > 0,
            Reason::DroppedByBisection => {
                self.split.contains(unit) && (case.charged >= EVICT_AT || case.sent_back > 0)
            }
            Reason::InfraExhausted => case.charged >= EVICT_AT || case.failures > limits.retries,
            Reason::GateSkipped => case.skipped > 0,
            Reason::ChecksFailed => case.red_checks > 0,
            Reason::RoundsExhausted => !nature.is_good() || case.red_checks > 0 || case.rejections > 0,
            Reason::Rejected => case.rejections > 0 || (case.conflicts > 0 && nature.findings > 0),
            Reason::SecretInDiff if setting.spec(unit).from_branch.is_some() => {
                nature.guard == Some(GuardAction::Refuse)
            }
            Reason::AttemptsExhausted | Reason::NoChange | Reason::SetupFailed | Reason::SecretInDiff => {
                case.failures > limits.retries
            }
            Reason::HeadMoved => {
                let intake = state.unit(unit).and_then(crate::unit::State::intake);
                let seen = self.branches.get(unit);
                intake.map_or(seen.is_none(), |intake| seen != Some(&intake.head.commit))
            }
            Reason::BudgetExhausted => state
                .unit(unit)
                .and_then(crate::unit::State::budget)
                .is_some_and(|budget| case.spent >= budget),
            // A person may do so at any time.
            Reason::Cancelled => true,
            other => panic!("{unit} is evicted as {other}"),
        };
        assert!(holds, "{unit} is evicted as {reason} without a reason");
    }

    /// Nothing is left to decide at this moment: whoever is approved stands in line.
    pub(super) fn when_settled(&self, state: &State, only: Option<&BTreeSet<UnitId>>) {
        if state.queue().safety_stop().is_some() {
            return;
        }
        for (id, unit) in state.units() {
            let in_line = state.queue().generation_in_line(id);
            let queued = unit.phase() == Phase::Queued;
            let left_out = only.is_some_and(|only| !only.contains(id)) && in_line.is_none();
            let expected = queued.then(|| unit.generation());
            assert!(
                in_line == expected || left_out,
                "{id} is approved and not in line"
            );
        }
    }

    /// A run stops for what is so.
    pub(super) fn check_stop(&self, cause: StopCause, state: &State, git: &Git, asked: Option<StopCause>) {
        let fits = match cause {
            StopCause::Finished => state.queue().is_idle() && self.line.is_empty(),
            StopCause::Human => {
                let entries = state.queue().entries();
                let by_person = |status: &Status| {
                    matches!(
                        status,
                        Status::Held(Hold::TargetDirty { .. } | Hold::Frozen { .. })
                    )
                };
                state.gates().next().is_some()
                    || self.paused
                    || entries.iter().any(|entry| by_person(&entry.status))
            }
            StopCause::BaseRed => {
                let tip = state.queue().expected_tip().expect("the target was looked at");
                let checks = queue_checks(state.pipeline(), std::iter::empty());
                truth_of(&checks, git.files(tip)) != Truth::Passes
            }
            StopCause::Budget => state
                .pipeline()
                .limits
                .budget
                .is_some_and(|budget| self.cases.spent() >= budget),
            StopCause::Safety => state.queue().safety_stop().is_some(),
            StopCause::Environment if asked.is_none() => {
                let entries = state.queue().entries();
                let rejected = |status: &Status| matches!(status, Status::Held(Hold::PushRejected { .. }));
                entries.iter().any(|entry| rejected(&entry.status))
            }
            StopCause::Signal | StopCause::TimeLimit | StopCause::Environment => asked == Some(cause),
        };
        assert!(fits, "the run stops as {cause:?}, which is not so");
    }

    /// The end of a seed: what is on the target is ours with its proof, or somebody else's.
    pub(super) fn at_the_end(&self, state: &State, git: &Git) {
        let Some(tip) = &git.target else { return };
        let landed = state.queue().landed();
        let mut on_target: Vec<&Oid> = git
            .line(tip)
            .filter(|commit| self.ours.contains_key(*commit))
            .collect();
        on_target.reverse();
        let told: Vec<&Oid> = landed.iter().map(|landed| &landed.commit).collect();
        let told: Vec<&Oid> = told
            .into_iter()
            .filter(|commit| on_target.contains(commit))
            .collect();
        let pending = state.queue().pending_landing();
        let unsettled = pending.map_or(0, |pending| pending.verified.units().len());
        assert!(
            on_target.len() <= told.len() + unsettled,
            "{on_target:?} against {told:?}"
        );
        assert_eq!(told, on_target[..told.len()], "in the order of landing");
        for (id, unit) in state.units() {
            let is_told = landed.iter().filter(|landed| landed.unit == *id).count();
            assert!(is_told <= 1, "{id} landed once");
            assert!(is_told == 0 || unit.phase() == Phase::Landed);
        }
    }

    /// Every unit has come to an end.
    pub(super) fn all_ended(state: &State) {
        for (id, unit) in state.units() {
            assert!(decide::has_ended(unit.phase()), "{id} is {:?}", unit.phase());
        }
        assert!(state.is_complete() && state.is_finished());
    }
}

/// The sets of checks that the target passes before anybody works: what lands passes the one, the heads of units the other.
pub(super) fn sets_of_target(pipeline: &Pipeline) -> [Vec<Check>; 2] {
    [
        queue_checks(pipeline, std::iter::empty()),
        pipeline.checks.clone(),
    ]
}

fn checks_of(pipeline: &Pipeline, verified: &VerifiedCandidate) -> Vec<Check> {
    let lands = |id: &UnitId| verified.units().iter().any(|member| member.unit == *id);
    queue_checks(pipeline, pipeline.units.iter().filter(|unit| lands(&unit.id)))
}
