//! An engine that plays: what `engine::dispatch` does with git, programs and a clock, done to a world in memory.
//!
//! The order is the engine's: look at the world, decide, write down, then act; an intent before every effect and its
//! outcome after it. Before every record and around every effect the process may be killed, and wherever the real
//! engine lets go of the world for a moment, other people may act.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use super::dice::Dice;
use super::git::{Git, Integration};
use super::laws::Laws;
use super::setting::{Kind, Setting};
use crate::event::{
    Candidate, CandidateUnit, CheckOutcome, Event, Evidence, Job, LandRefusal, Outcome, QueueEvent, Record,
    RunEvent, StopCause, UnitEvent, UnitScoped, VerifyPurpose,
};
use crate::id::{Oid, UnitId};
use crate::queue::{IntegrateUnit, Tip, VerifiedCandidate};
use crate::run::{Effect, Facts, State, Verification, queue_checks, unit_checks};
use crate::unit::{self, Brief};

/// The environment that evidence carries.
pub(super) const HERE: &str = "here";
/// The path of the checkout that has the target.
const CHECKOUT: &str = "/checkout";
/// Decisions in a row without a wait until they are held to be endless.
const DECISIONS_MAX: u32 = 500;
/// Waits of a run until it is held to be endless.
const WAITS_MAX: u32 = 2_000;

/// Why an engine is no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Halt {
    /// The process was killed; what was persisted stays.
    Killed,
    /// The seed has been played long enough.
    Over,
}

pub(super) type Step<T = ()> = Result<T, Halt>;

/// Something under way.
pub(super) struct Task {
    pub(super) what: What,
    /// It was asked to stop.
    pub(super) told: bool,
}

pub(super) enum What {
    Attempt {
        unit: UnitId,
        start: unit::Start,
        base: Oid,
        brief: Box<Brief>,
    },
    Verify(Verification),
}

/// What settling came to.
#[derive(Default)]
pub(super) struct Settled {
    sleep: Option<SignedDuration>,
    stop: Option<StopCause>,
}

pub(super) struct Driver {
    pub(super) setting: Setting,
    pub(super) dice: Dice,
    pub(super) git: Git,
    pub(super) state: State,
    pub(super) journal: Vec<Record>,
    pub(super) now: Timestamp,
    pub(super) tasks: BTreeMap<u64, Task>,
    pub(super) stopping: Option<StopCause>,
    pub(super) selection: Option<Arc<BTreeSet<UnitId>>>,
    /// Versions of its work that each unit's author has made, and what else is used up of its nature.
    pub(super) used: Vec<super::agents::Used>,
    /// Whether faults still happen.
    pub(super) faulty: bool,
    /// Records and effects until the process is killed.
    pub(super) fuse: Option<u32>,
    pub(super) waits: u32,
    pub(super) laws: Laws,
    /// How often what happened in the world outside the journal.
    pub(super) seen: BTreeMap<&'static str, u64>,
}

impl Driver {
    pub(super) fn new(setting: Setting, dice: Dice) -> Self {
        let pipeline = Arc::clone(&setting.pipeline);
        Self {
            dice,
            git: Git::new(setting.with_checkout),
            state: State::new(Arc::clone(&pipeline), HERE.to_owned()),
            journal: Vec::new(),
            now: "2026-01-01T00:00:00Z".parse().expect("a moment"),
            tasks: BTreeMap::new(),
            stopping: None,
            selection: None,
            used: vec![super::agents::Used::default(); pipeline.units.len()],
            faulty: setting.kind != Kind::Calm,
            fuse: None,
            waits: 0,
            laws: Laws::new(&pipeline),
            seen: BTreeMap::new(),
            setting,
        }
    }

    pub(super) fn see(&mut self, what: &'static str) {
        *self.seen.entry(what).or_insert(0) += 1;
    }

    /// A moment at which the process may be killed.
    pub(super) fn doom(&mut self) -> Step {
        match &mut self.fuse {
            Some(0) => {
                self.fuse = None;
                self.see("killed");
                Err(Halt::Killed)
            }
            Some(left) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// Persists events and folds them in; a kill leaves a part of what was to be written together.
    pub(super) fn record(&mut self, events: impl IntoIterator<Item = Event>) -> Step {
        for event in events {
            self.doom()?;
            let seq = self.journal.len() as u64 + 1;
            let at = self.now;
            let record = Record { seq, at, event };
            if self.setting.is_thorough() {
                let folded = super::recovery::fold(&self.setting.pipeline, &self.journal);
                assert!(
                    folded == self.state,
                    "the fold of the journal is the state, after every event"
                );
            }
            self.laws.before(&record, &self.state);
            self.journal.push(record);
            let record = self.journal.last().expect("it was just pushed");
            self.state.apply(record).expect("what the engine records fits");
            self.laws.after(record, &self.state, &self.git, &self.setting);
        }
        Ok(())
    }

    pub(super) fn record_queue(&mut self, event: QueueEvent) -> Step {
        self.record([Event::Queue(event)])
    }

    /// Drives the run until it stops, as one engine.
    pub(super) fn engine(&mut self) -> Step<StopCause> {
        self.stopping = None;
        self.take_up()?;
        self.take_wanted_branches()?;
        if let Some(cause) = self.preflight()? {
            return self.let_go(cause);
        }
        loop {
            let settled = self.settle()?;
            if let Some(cause) = settled.stop.filter(|_| self.tasks.is_empty()) {
                self.laws.check_stop(cause, &self.state, &self.git, self.stopping);
                return self.let_go(cause);
            }
            self.look()?;
            self.wait(&settled)?;
        }
    }

    fn let_go(&mut self, cause: StopCause) -> Step<StopCause> {
        let complete = cause == StopCause::Finished && self.state.is_complete();
        let finished = complete.then_some(Event::Run(RunEvent::RunFinished));
        let stopped = Event::Run(RunEvent::EngineStopped { why: cause });
        self.record(finished.into_iter().chain([stopped]))?;
        Ok(cause)
    }

    /// Decides and acts until there is nothing to do but wait.
    fn settle(&mut self) -> Step<Settled> {
        let mut facts = self.facts();
        self.look_at_branches(&mut facts);
        for _ in 0..DECISIONS_MAX {
            self.others_act(1);
            facts.now = self.now;
            let effects = self.state.decide(&facts);
            assert_eq!(
                effects,
                self.state.decide(&facts),
                "asked twice, the answer is the same"
            );
            let mut settled = Settled::default();
            let mut records = Vec::new();
            let mut acted = false;
            let mut took_time = false;
            for effect in effects {
                match effect {
                    Effect::Record(event) => {
                        self.laws.decided(&event, &facts.tip, &self.git);
                        records.push(event);
                    }
                    Effect::TakeBranches(units) => {
                        took_time = true;
                        self.take_branches(units)?;
                    }
                    Effect::Integrate { base, units } => {
                        took_time = true;
                        self.integrate(base, units)?;
                    }
                    Effect::Land(verified) => {
                        took_time = true;
                        self.land(&verified)?;
                    }
                    Effect::Reuse {
                        commit,
                        purpose,
                        evidence,
                    } => {
                        acted = true;
                        self.reuse(commit, purpose, evidence)?;
                    }
                    Effect::Verify(verification) => self.start_verification(verification)?,
                    Effect::Attempt { unit, start } => self.start_attempt(unit, start)?,
                    Effect::Wake(at) => {
                        let wait = at.duration_since(facts.now);
                        settled.sleep = Some(wait.max(SignedDuration::from_millis(1)));
                    }
                    Effect::Stop(cause) => settled.stop = Some(self.cause_of_stop(cause)),
                }
            }
            if !records.is_empty() {
                let count = records.len();
                self.record(records)?;
                acted |= count > 0;
            }
            self.break_off_moot();
            if took_time {
                let branches = facts.branches;
                facts = self.facts();
                facts.branches = branches;
            } else if !acted {
                self.laws.when_settled(&self.state, self.selection.as_deref());
                return Ok(settled);
            }
        }
        panic!("the run does not settle");
    }

    fn cause_of_stop(&self, cause: StopCause) -> StopCause {
        match cause {
            StopCause::Finished | StopCause::Safety => cause,
            StopCause::Signal
            | StopCause::Budget
            | StopCause::TimeLimit
            | StopCause::Human
            | StopCause::BaseRed
            | StopCause::Environment => self.stopping.unwrap_or(cause),
        }
    }

    fn break_off_moot(&mut self) {
        let moot = self.state.queue().moot();
        for (fence, task) in &mut self.tasks {
            task.told |= moot.contains(fence) || !self.state.is_under_way(*fence);
        }
    }

    pub(super) fn facts(&self) -> Facts {
        let (tip, tip_continues) = self.git.target.as_ref().map_or((Tip::Missing, false), |tip| {
            let continues = self
                .state
                .landed_work()
                .all(|commit| self.git.is_ancestor(commit, tip));
            let tree = self.git.tree_of(tip).clone();
            let commit = tip.clone();
            (Tip::At { commit, tree }, continues)
        });
        Facts {
            now: self.now,
            tip,
            tip_continues,
            draining: self.stopping.is_some(),
            selection: self.selection.clone(),
            branches: BTreeMap::new(),
        }
    }

    fn look_at_branches(&mut self, facts: &mut Facts) {
        let watched = self.state.watched_branches();
        let at = |(unit, _): (&UnitId, _)| Some((unit.clone(), self.git.branches.get(unit)?.clone()));
        facts.branches = watched.filter_map(at).collect();
        self.laws.looked_at(&facts.branches);
    }

    fn start_attempt(&mut self, unit: UnitId, start: unit::Start) -> Step {
        let fence = self.state.next_fence();
        self.record([Event::Unit(UnitScoped {
            unit: unit.clone(),
            what: UnitEvent::AttemptStarted {
                job: start.job.clone(),
                round: start.round,
                attempt: start.attempt,
                fence,
                agent: start.agent.clone(),
                commit: start.commit.clone(),
            },
        })])?;
        let state = self.state.unit(&unit).expect("a unit of the pipeline");
        let base = state.base_for(&start.job);
        let base = base.expect("a unit that is worked on has a base").clone();
        let brief = Box::new(state.brief(&start.job));
        self.spawn(
            fence,
            What::Attempt {
                unit,
                start,
                base,
                brief,
            },
        );
        Ok(())
    }

    fn start_verification(&mut self, verification: Verification) -> Step {
        let fence = self.state.next_fence();
        self.record_queue(QueueEvent::VerifyStarted {
            commit: verification.commit.clone(),
            purpose: verification.purpose,
            fence,
        })?;
        self.spawn(fence, What::Verify(verification));
        Ok(())
    }

    fn spawn(&mut self, fence: u64, what: What) {
        assert!(self.stopping.is_none(), "nothing starts while the run drains");
        let wanted = self.resources(&what);
        let mut beside = false;
        for task in self.tasks.values() {
            let held = self.resources(&task.what);
            assert!(
                wanted.is_disjoint(&held),
                "{wanted:?} is given while {held:?} is held"
            );
            beside |= !held.is_empty() && !wanted.is_empty();
        }
        if beside {
            self.see("two held different resources");
        }
        self.tasks.insert(fence, Task { what, told: false });
        let running = self
            .tasks
            .keys()
            .filter(|fence| self.state.is_under_way(**fence))
            .count();
        let slots = self.setting.pipeline.limits.parallel as usize;
        assert!(running <= slots, "{running} attempts run in {slots} slots");
    }

    /// What a task uses by itself, as long as it runs.
    fn resources(&self, what: &What) -> BTreeSet<String> {
        let pipeline = &self.setting.pipeline;
        let (units, checks) = match what {
            What::Attempt { unit, start, .. } => {
                let unit = self.setting.spec(unit);
                let checks = match start.job {
                    Job::Checks => unit_checks(pipeline, unit),
                    Job::Stage { .. } => Vec::new(),
                };
                (vec![unit], checks)
            }
            What::Verify(verification) => {
                let units: Vec<_> = verification
                    .units
                    .iter()
                    .map(|unit| self.setting.spec(unit))
                    .collect();
                (units.clone(), queue_checks(pipeline, units))
            }
        };
        let of_checks = checks.into_iter().flat_map(|check| check.exclusive);
        let of_units = units.into_iter().flat_map(|unit| unit.exclusive.clone());
        of_units.chain(of_checks).collect()
    }

    fn reuse(&mut self, commit: Oid, purpose: VerifyPurpose, evidence: Evidence) -> Step {
        let fence = self.state.next_fence();
        let started = QueueEvent::VerifyStarted {
            commit,
            purpose,
            fence,
        };
        let ended = QueueEvent::VerifyEnded {
            fence,
            evidence,
            reused: true,
        };
        self.record([Event::Queue(started), Event::Queue(ended)])
    }

    fn integrate(&mut self, base: Oid, units: Vec<IntegrateUnit>) -> Step {
        let mut onto = base.clone();
        let mut built = Vec::new();
        let mut tree = None;
        let strategy = self.setting.pipeline.queue.strategy;
        for unit in units {
            match self.git.integrate(&onto, &unit.head, &unit.base, strategy) {
                Integration::Built {
                    commit,
                    tree: of_commit,
                } => {
                    onto = commit.clone();
                    tree = Some(of_commit);
                    built.push(CandidateUnit {
                        unit: unit.unit,
                        generation: unit.generation,
                        head: unit.head,
                        commit,
                    });
                }
                Integration::Obstacle(obstacle) => {
                    return self.record_queue(QueueEvent::IntegrationFailed {
                        unit: unit.unit,
                        generation: unit.generation,
                        base,
                        ahead: built.into_iter().map(|ahead| ahead.unit).collect(),
                        obstacle,
                    });
                }
            }
        }
        let Some(tree) = tree else { return Ok(()) };
        let candidate = Candidate {
            base,
            strategy,
            units: built,
            commit: onto,
            tree,
        };
        self.record_queue(QueueEvent::CandidateBuilt { candidate })
    }

    fn land(&mut self, verified: &VerifiedCandidate) -> Step {
        assert!(self.stopping.is_none(), "nothing lands while the run drains");
        let (from, to) = (verified.from().clone(), verified.to().clone());
        self.others_act(2);
        let (checkout, refusal) = self.look_at_checkout(&from, &to);
        self.record_queue(QueueEvent::LandIntended {
            commit: to.clone(),
            from,
            tree: verified.tree().clone(),
            checkout: checkout.clone(),
        })?;
        match refusal {
            Some(cause) => self.record_queue(QueueEvent::LandRefused { commit: to, cause }),
            None => self.swap(verified, checkout.is_some()),
        }
    }

    /// The compare-and-swap of an intended landing, and what follows from it.
    pub(super) fn swap(&mut self, verified: &VerifiedCandidate, has_checkout: bool) -> Step {
        let (from, to) = (verified.from().clone(), verified.to().clone());
        self.doom()?;
        self.others_act(4);
        if self.faulty && self.dice.chance(3) {
            let words = "locked".to_owned();
            let cause = LandRefusal::PushRejected { words };
            return self.record_queue(QueueEvent::LandRefused { commit: to, cause });
        }
        match self.git.swap(&from, &to) {
            Ok(()) => {
                self.laws.target_moved(verified, &self.git, &self.setting);
                self.doom()?;
                self.others_act(4);
                self.record_queue(verified.landed_event())?;
                self.others_act(4);
                self.follow(has_checkout, &from, &to)
            }
            Err(tip) => {
                self.see("the swap was raced");
                let tip = tip.unwrap_or(from);
                let cause = LandRefusal::BaseMoved { tip };
                self.record_queue(QueueEvent::LandRefused { commit: to, cause })
            }
        }
    }

    pub(super) fn look_at_checkout(&self, from: &Oid, to: &Oid) -> (Option<String>, Option<LandRefusal>) {
        if self.git.checkout.is_none() {
            return (None, None);
        }
        let checkout = CHECKOUT.to_owned();
        let paths = self.git.obstacles(from, to);
        let refusal = (!paths.is_empty()).then(|| LandRefusal::TargetDirty {
            checkout: checkout.clone(),
            paths,
            removed: Vec::new(),
        });
        (Some(checkout), refusal)
    }

    pub(super) fn follow(&mut self, has_checkout: bool, from: &Oid, to: &Oid) -> Step {
        if !has_checkout {
            return Ok(());
        }
        self.doom()?;
        let left = self.git.follow(from, to);
        let to = to.clone();
        self.record_queue(QueueEvent::CheckoutFollowed { to, left })
    }

    /// Waits for something to decide upon, and takes it in.
    fn wait(&mut self, settled: &Settled) -> Step {
        self.waits += 1;
        if self.waits > WAITS_MAX {
            assert!(self.setting.kind == Kind::Wild, "the run does not come to an end");
            return Err(Halt::Over);
        }
        self.trouble()?;
        let fences: Vec<u64> = self.tasks.keys().copied().collect();
        let sleeps = settled.sleep.is_some() && self.dice.chance(20);
        if !fences.is_empty() && !sleeps {
            let fence = self.dice.pick(&fences);
            let seconds = i64::from(self.dice.roll(40));
            self.pass(SignedDuration::from_secs(seconds));
            return self.end(fence);
        }
        let told = settled.stop.is_some() || settled.sleep.is_some() || self.stopping.is_some();
        if !told && self.state.queue().is_paused() {
            // Whoever paused the engine that works lets it go on, some time.
            self.see("an engine that was paused went on");
            self.lift_holds()?;
            return Ok(());
        }
        assert!(told || self.faulty, "the run neither works nor waits nor stops");
        self.pass(settled.sleep.unwrap_or(SignedDuration::from_secs(15)));
        Ok(())
    }

    fn pass(&mut self, time: SignedDuration) {
        self.now = self.now.checked_add(time).expect("within centuries");
    }

    /// Something under way ends.
    fn end(&mut self, fence: u64) -> Step {
        let task = self.tasks.remove(&fence).expect("it is under way");
        let event = match task.what {
            What::Attempt {
                unit,
                start,
                base,
                brief,
            } => {
                let ended = self.attempt(fence, (&unit, &start, &base, &brief), task.told);
                Event::Unit(UnitScoped { unit, what: ended })
            }
            What::Verify(verification) => Event::Queue(QueueEvent::VerifyEnded {
                fence,
                evidence: self.verify(&verification, task.told),
                reused: false,
            }),
        };
        let needs_login = matches!(
            &event,
            Event::Unit(UnitScoped {
                what: UnitEvent::AttemptEnded {
                    outcome: Outcome::Auth,
                    ..
                },
                ..
            })
        );
        self.record([event])?;
        if needs_login {
            self.stopping = Some(self.stopping.unwrap_or(StopCause::Environment));
        }
        Ok(())
    }

    /// Asks everything under way to stop.
    pub(super) fn signal(&mut self) {
        self.stopping = Some(StopCause::Signal);
        for task in self.tasks.values_mut() {
            task.told = true;
        }
    }

    /// The checks on the target's tip before work begins.
    fn preflight(&mut self) -> Step<Option<StopCause>> {
        let Some(preflight) = self.to_preflight() else {
            return Ok(None);
        };
        self.doom()?;
        let (checks, commit) = (preflight.checks(), preflight.commit());
        let evidence = self.examine(&checks, commit, None);
        self.laws
            .checked_target(&checks, &evidence, (commit, &self.git), &self.setting, self.now);
        if self.faulty && self.dice.chance(3) {
            self.signal();
            return Ok(self.stopping);
        }
        let broken = |row: &crate::event::CheckResult| row.outcome == CheckOutcome::Infrastructure;
        if evidence.results.iter().any(broken) {
            // The real engine ends with an error that says so, or goes on where none was wanted, and writes nothing.
            self.see("the preflight could not be run");
            return match self.setting.skip_preflight {
                true => Ok(None),
                false => Err(Halt::Killed),
            };
        }
        let stops = !evidence.passed() && !self.setting.skip_preflight;
        let event = preflight.ended(&evidence.results, &evidence.environment);
        self.record([Event::Run(event)])?;
        Ok(stops.then_some(StopCause::BaseRed))
    }
}

/// A seed that fails shows what happened.
impl Drop for Driver {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", super::trace::of(self));
        }
    }
}
