//! A small driver that plays the engine and git: a tree is the set of works it holds.

mod backoff;
mod branches;
mod limits;
mod order;
mod preflight;
mod radar;
mod recovery;
mod resources;
mod stall;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use super::*;
use crate::event::{Candidate, CandidateUnit, CheckOutcome, CheckResult, Head, Usage};
use crate::queue::Tip;
use crate::spec::{Loaded, Surroundings};
use crate::unit::Phase;

/// A repository in which everything is there.
struct Everything;

impl Surroundings for Everything {
    fn read(&self, _: &str) -> Result<String, String> {
        Ok(String::new())
    }
    fn is_on_path(&self, _: &str) -> bool {
        true
    }
    fn branches(&self) -> Vec<String> {
        vec!["main".to_owned()]
    }
    fn has_branch(&self, _: &str) -> bool {
        true
    }
    fn tracked_paths(&self) -> Vec<String> {
        Vec::new()
    }
}

/// A pipeline of trivial units (`implement`, then the checks) in the YAML of the `units` key; `more` stands before.
pub(super) fn pipeline(more: &str, units: &str) -> Arc<Pipeline> {
    let checks = if more.contains("queue:") {
        ""
    } else {
        "checks: [{name: test, run: make}]\n"
    };
    let text = format!(
        "version: 1\nname: t\ntarget: main\ncommit: {{convention: none}}\nagents: {{author: {{command: [dev], model: m}}, other: {{command: [dev], model: m}}}}\n\
         {checks}{more}\nunits:\n{units}"
    );
    let Loaded {
        pipeline,
        diagnostics,
    } = crate::spec::load("rfc.yaml", &text, None, &Everything);
    Arc::new(pipeline.unwrap_or_else(|| panic!("{diagnostics:?}\n{text}")))
}

/// One line of `units`.
fn line(id: &str, more: &str) -> String {
    let comma = if more.is_empty() { "" } else { ", " };
    format!("  {id}: {{title: '{id}', prompt: x, tier: trivial{comma}{more}}}\n")
}

/// Limits without distance between starts.
fn parallel(slots: u32) -> String {
    format!("limits: {{parallel: {slots}, start_interval: 0s}}")
}

fn id(text: &str) -> UnitId {
    text.parse().unwrap()
}

fn oid_of<T: serde::Serialize>(value: &T) -> Oid {
    hash_json(value)[..40].parse().unwrap()
}

/// The tree that holds these works.
fn tree(works: &BTreeSet<String>) -> Oid {
    oid_of(&("tree", works))
}

struct Driver {
    state: State,
    journal: Vec<Record>,
    now: Timestamp,
    /// The works that the target holds, and how many commits it took.
    target: BTreeSet<String>,
    commits: usize,
    draining: bool,
    only: Option<Arc<BTreeSet<UnitId>>>,
    branches: BTreeMap<UnitId, Oid>,
    /// Works of each unit's head beside the base's.
    bases: BTreeMap<Oid, BTreeSet<String>>,
    /// How many commits the target has once a candidate has landed.
    heights: BTreeMap<Oid, usize>,
    running: BTreeMap<u64, (UnitId, unit::Start)>,
    verifying: BTreeMap<u64, Verification>,
    stopped: Option<StopCause>,
    wake: Option<Timestamp>,
}

impl Driver {
    fn new(pipeline: &Arc<Pipeline>) -> Self {
        let mut driver = Self {
            state: State::new(Arc::clone(pipeline), "here".to_owned()),
            journal: Vec::new(),
            now: "2026-01-01T00:00:00Z".parse().unwrap(),
            target: BTreeSet::new(),
            commits: 0,
            draining: false,
            only: None,
            branches: BTreeMap::new(),
            bases: BTreeMap::new(),
            heights: BTreeMap::new(),
            running: BTreeMap::new(),
            verifying: BTreeMap::new(),
            stopped: None,
            wake: None,
        };
        driver.run_event(RunEvent::RunStarted {
            format: crate::event::FORMAT,
            run: RunId::new(driver.now, 7),
            name: "t".to_owned(),
            file: "rfc.yaml".to_owned(),
            target: "main".to_owned(),
            meant_for: None,
            base: driver.tip(),
            frozen: String::new(),
        });
        driver.begin_engine();
        driver
    }

    fn of(more: &str, units: &str) -> Self {
        Self::new(&pipeline(more, units))
    }

    fn begin_engine(&mut self) {
        self.run_event(RunEvent::EngineStarted {
            epoch: self.state.epoch() + 1,
            pid: 1,
            version: String::new(),
        });
        self.stopped = None;
    }

    fn tip(&self) -> Oid {
        oid_of(&("tip", &self.target, self.commits))
    }

    fn facts(&self) -> Facts {
        Facts {
            now: self.now,
            tip: Tip::At {
                commit: self.tip(),
                tree: tree(&self.target),
            },
            tip_continues: true,
            draining: self.draining,
            selection: self.only.clone(),
            branches: self.branches.clone(),
        }
    }

    fn record(&mut self, event: Event) {
        let seq = self.journal.len() as u64 + 1;
        let record = Record {
            seq,
            at: self.now,
            event,
        };
        self.state.apply(&record).unwrap();
        self.journal.push(record);
        assert_agenda(&self.state);
    }

    fn run_event(&mut self, event: RunEvent) {
        self.record(Event::Run(event));
    }

    fn queue_event(&mut self, event: QueueEvent) {
        self.record(Event::Queue(event));
    }

    fn unit_event(&mut self, unit: &str, what: UnitEvent) {
        let unit = id(unit);
        self.record(Event::Unit(UnitScoped { unit, what }));
    }

    /// Decides and acts until there is nothing to do but wait; every decision is asked for twice.
    fn settle(&mut self) -> &mut Self {
        self.wake = None;
        for _ in 0..10_000 {
            let facts = self.facts();
            let effects = self.state.decide(&facts);
            let again = self.state.decide(&facts);
            assert_eq!(
                format!("{effects:?}"),
                format!("{again:?}"),
                "asked twice, the answer is the same"
            );
            let mut acted = false;
            for effect in effects {
                acted |= self.act(effect);
            }
            if !acted {
                return self;
            }
        }
        panic!("it never settles");
    }

    fn take_branches(&mut self, units: &[UnitId]) {
        for unit in units {
            let base = self.tip();
            let works = BTreeSet::from([unit.to_string()]);
            let commit = oid_of(&("branch", unit));
            let head = Head {
                tree: tree(&works),
                commit,
            };
            self.branches.insert(unit.clone(), head.commit.clone());
            let branch = unit.to_string();
            let what = UnitEvent::BranchTaken {
                branch,
                head,
                base,
                guards: Vec::new(),
            };
            self.unit_event(unit.as_str(), what);
        }
    }

    fn act(&mut self, effect: Effect) -> bool {
        match effect {
            Effect::Record(event) => self.record(event),
            Effect::TakeBranches(units) => self.take_branches(&units),
            Effect::Integrate { base, units } => self.integrate(base, &units),
            Effect::Land(verified) => {
                self.queue_event(QueueEvent::LandIntended {
                    commit: verified.to().clone(),
                    from: verified.from().clone(),
                    tree: verified.tree().clone(),
                    checkout: None,
                });
                self.target.extend(self.bases[verified.to()].clone());
                self.commits += verified.units().len();
                assert_eq!(tree(&self.target), *verified.tree());
                self.queue_event(verified.landed_event());
            }
            Effect::Reuse {
                commit,
                purpose,
                evidence,
            } => {
                let fence = self.state.next_fence();
                self.queue_event(QueueEvent::VerifyStarted {
                    commit,
                    purpose,
                    fence,
                });
                self.queue_event(QueueEvent::VerifyEnded {
                    fence,
                    evidence,
                    reused: true,
                });
            }
            Effect::Verify(verification) => {
                let fence = self.state.next_fence();
                self.queue_event(QueueEvent::VerifyStarted {
                    commit: verification.commit.clone(),
                    purpose: verification.purpose,
                    fence,
                });
                self.verifying.insert(fence, verification);
                return false;
            }
            Effect::Attempt { unit, start } => {
                let fence = self.state.next_fence();
                let what = UnitEvent::AttemptStarted {
                    job: start.job.clone(),
                    round: start.round,
                    attempt: start.attempt,
                    fence,
                    agent: start.agent.clone(),
                    commit: start.commit.clone(),
                };
                self.unit_event(unit.as_str(), what);
                self.running.insert(fence, (unit, start));
                return false;
            }
            Effect::Wake(at) => {
                assert!(at > self.now, "a wake that is due is a busy loop");
                self.wake = Some(at);
                return false;
            }
            Effect::Stop(cause) => {
                self.stopped = Some(cause);
                return false;
            }
        }
        true
    }

    /// Candidates get the commit the tip will have, so that landing one is a fast-forward to it.
    fn integrate(&mut self, base: Oid, units: &[queue::IntegrateUnit]) {
        let on_target = (self.target.clone(), self.commits);
        let (mut works, mut height) = match self.heights.get(&base) {
            Some(height) => (self.bases[&base].clone(), *height),
            None => on_target,
        };
        let mut built = Vec::new();
        for unit in units {
            works.insert(unit.unit.to_string());
            height += 1;
            let commit = oid_of(&("tip", &works, height));
            self.bases.insert(commit.clone(), works.clone());
            self.heights.insert(commit.clone(), height);
            built.push(CandidateUnit {
                unit: unit.unit.clone(),
                generation: unit.generation,
                head: unit.head.clone(),
                commit,
            });
        }
        let candidate = Candidate {
            base,
            strategy: self.state.pipeline().queue.strategy,
            commit: built.last().unwrap().commit.clone(),
            units: built,
            tree: tree(&works),
        };
        self.queue_event(QueueEvent::CandidateBuilt { candidate });
    }

    /// The units of the attempts under way, with a `*` at those that are checks, in the order of their start.
    fn under_way(&self) -> Vec<String> {
        let name = |(unit, start): &(UnitId, unit::Start)| match start.job {
            Job::Checks => format!("{unit}*"),
            Job::Stage { .. } => unit.to_string(),
        };
        self.running.values().map(name).collect()
    }

    fn end(&mut self, fence: u64, outcome: Outcome, output: Option<Output>, cost: Option<f64>) {
        let (unit, _) = self.running.remove(&fence).unwrap();
        let what = UnitEvent::AttemptEnded {
            fence,
            outcome,
            detail: None,
            output,
            packet: None,
            usage: Usage {
                cost: cost.and_then(Usd::from_dollars),
                ..Usage::default()
            },
            duration_ms: 1,
        };
        self.unit_event(unit.as_str(), what);
    }

    fn fence_of(&self, unit: &str) -> u64 {
        let found = self
            .running
            .iter()
            .find(|(_, (running, _))| running.as_str() == unit);
        *found
            .unwrap_or_else(|| panic!("{unit} is not under way: {:?}", self.under_way()))
            .0
    }

    /// The attempt of a unit ends well.
    fn finish(&mut self, unit: &str) -> &mut Self {
        self.finish_for(unit, None)
    }

    fn finish_for(&mut self, unit: &str, cost: Option<f64>) -> &mut Self {
        let fence = self.fence_of(unit);
        let output = match self.running[&fence].1.job {
            Job::Stage { .. } => self.work(unit),
            Job::Checks => Output::Checks {
                evidence: self.checked(unit, CheckOutcome::Passed),
            },
        };
        self.end(fence, Outcome::Ok, Some(output), cost);
        self.settle()
    }

    /// The attempt of a unit fails.
    fn fail(&mut self, unit: &str) -> &mut Self {
        self.end(self.fence_of(unit), Outcome::Failed, None, None);
        self.settle()
    }

    /// The work of a unit stands on what the target held when the unit began.
    fn work(&mut self, unit: &str) -> Output {
        let base = self.state.unit(&id(unit)).unwrap().base().unwrap().clone();
        let mut works = self.bases.get(&base).cloned().unwrap_or_default();
        works.insert(unit.to_owned());
        let head = Head {
            commit: oid_of(&("head", unit, &base)),
            tree: tree(&works),
        };
        self.bases.insert(head.commit.clone(), works);
        Output::Work {
            head,
            summary: String::new(),
            testing_notes: None,
            resolutions: Vec::new(),
            guards: Vec::new(),
            touched: Vec::new(),
        }
    }

    fn checked(&self, unit: &str, outcome: CheckOutcome) -> Evidence {
        let pipeline = self.state.pipeline();
        let spec = pipeline
            .units
            .iter()
            .find(|spec| spec.id.as_str() == unit)
            .unwrap();
        let checks = unit_checks(pipeline, spec);
        let head = self.state.unit(&id(unit)).unwrap().head().unwrap();
        let subject = subject(&checks, &head.commit, &head.tree);
        evidence(&checks, subject, outcome)
    }

    /// The oldest verification under way ends.
    fn verify(&mut self, outcome: CheckOutcome) -> &mut Self {
        let (fence, verification) = self.verifying.pop_first().expect("a verification is under way");
        let pipeline = Arc::clone(self.state.pipeline());
        let units = pipeline
            .units
            .iter()
            .filter(|unit| verification.units.contains(&unit.id));
        let checks = queue_checks(&pipeline, units);
        let subject = subject(&checks, &verification.commit, &verification.tree);
        let evidence = evidence(&checks, subject, outcome);
        self.queue_event(QueueEvent::VerifyEnded {
            fence,
            evidence,
            reused: false,
        });
        self.settle()
    }

    /// Ends what is under way, the oldest first, until nothing is; waits are over at once.
    fn finish_all(&mut self) -> &mut Self {
        self.settle();
        for _ in 0..10_000 {
            if let Some((unit, _)) = self.running.values().next().cloned() {
                self.finish(unit.as_str());
            } else if !self.verifying.is_empty() {
                self.verify(CheckOutcome::Passed);
            } else if let Some(wake) = self.wake.filter(|_| self.stopped.is_none()) {
                self.now = wake;
                self.settle();
            } else {
                return self;
            }
        }
        panic!("it never ends");
    }

    fn phase(&self, unit: &str) -> Phase {
        self.state.unit(&id(unit)).unwrap().phase()
    }

    fn select(&mut self, units: &[&str]) {
        self.only = Some(Arc::new(units.iter().map(|unit| id(unit)).collect()));
    }

    fn pass_time(&mut self, seconds: i64) -> &mut Self {
        self.now += SignedDuration::from_secs(seconds);
        self.settle()
    }

    /// Another engine takes the run up from its journal.
    fn restart(&mut self) {
        self.state = fold(self.state.pipeline(), &self.journal);
        self.begin_engine();
        for event in self.state.interruptions() {
            self.record(event);
        }
        self.running.clear();
        self.verifying.clear();
    }
}

fn fold(pipeline: &Arc<Pipeline>, records: &[Record]) -> State {
    let mut state = State::new(Arc::clone(pipeline), "here".to_owned());
    for record in records {
        state.apply(record).unwrap();
    }
    state
}

/// What is kept up to date must be what looking at everything says.
fn assert_agenda(state: &State) {
    let mut fresh = state.clone();
    fresh.review_all();
    assert!(state.agenda.live().eq(fresh.agenda.live()));
    assert!(state.agenda.ready().eq(fresh.agenda.ready()));
    assert!(state.agenda.under_way().eq(fresh.agenda.under_way()));
    let counted: usize = state.units.values().map(|unit| unit.in_flight().count()).sum();
    assert_eq!(counted, state.running_attempts);
}

fn evidence(checks: &[crate::spec::Check], subject: &Oid, outcome: CheckOutcome) -> Evidence {
    let row = |check: &crate::spec::Check| CheckResult {
        name: check.name.clone(),
        outcome,
        exit: None,
        duration_ms: 1,
        tail: String::new(),
        signature: check.name.clone(),
    };
    Evidence {
        tree: subject.clone(),
        checks: hash_json(&checks),
        environment: "here".to_owned(),
        results: checks.iter().map(row).collect(),
    }
}
