//! A run that plays itself: the real state machines against a world without agents, git or waiting.
//!
//! What comes out is the journal that an engine would have written: reviews find things, fixes repair them, some
//! attempts fail, and everything lands.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use pipeline::event::{
    Candidate, CandidateUnit, CheckOutcome, CheckResult, Event, Evidence, FORMAT, Head, Job, LedgerRow,
    LedgerRowState, LineRange, Outcome, Output, QueueEvent, Record, ReportedFinding, Resolution,
    ResolutionAction, RunEvent, UnitEvent, UnitScoped, Usage, Verdict,
};
use pipeline::id::{Oid, RunId, UnitId};
use pipeline::queue::{self, Tip};
use pipeline::run::{Effect, Facts, State, Verification, hash_json, queue_checks};
use pipeline::spec::{self, Check, Pipeline, Severity, StageKind, Surroundings, Usd};
use pipeline::unit;
use pipeline::view::View;

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

/// The text of a pipeline file of so many units: a tenth of them stand alone, the others need one before them.
pub(crate) fn file(units: usize) -> String {
    let mut text = "version: 1\nname: bench\ntarget: main\ncommit: {convention: none}\n\
                    agents:\n  author: {command: [sh], model: m}\n  reviewer: {command: [sh], model: n}\n\
                    checks: [{name: test, run: make test}, {name: lint, run: make lint}]\n\
                    limits: {parallel: 8, start_interval: 0s, budget_usd: 1000000}\nunits:\n"
        .to_owned();
    for unit in 0..units {
        let needs = match unit % 10 {
            0 => String::new(),
            _ => format!(", needs: [u-{}]", unit - 1),
        };
        text.push_str(&format!(
            "  u-{unit}: {{title: 'Give module {unit} a retry', tier: small, paths: [\"src/m{unit}/**\"]{needs}, \
             prompt: 'Calls of module {unit} are repeated up to three times, with a growing pause, and then fail as before.'}}\n"
        ));
    }
    text
}

/// The pipeline of such a file.
pub(crate) fn pipeline(units: usize) -> Arc<Pipeline> {
    parse(&file(units))
}

/// The pipeline of the text of a file.
pub(crate) fn parse(text: &str) -> Arc<Pipeline> {
    let loaded = spec::load("rfc.yaml", text, None, &Everything);
    Arc::new(
        loaded
            .pipeline
            .unwrap_or_else(|| panic!("{:?}", loaded.diagnostics)),
    )
}

/// What is under way.
enum Work {
    Attempt(UnitId, unit::Start),
    Verification(Verification),
}

/// How long a stage, the checks or the verification of a unit take; the target's own verification is that of `""`.
pub(crate) type Length = Box<dyn Fn(&str, &str) -> SignedDuration>;

/// How a world goes.
pub(crate) struct World {
    /// How long the engine needs to write an event down.
    pub(crate) tick: SignedDuration,
    /// Whether attempts and checks fail, and reviews find things, now and then.
    pub(crate) mishaps: bool,
    /// How long work takes.
    pub(crate) length: Length,
}

pub(crate) struct Play {
    pub(crate) pipeline: Arc<Pipeline>,
    pub(crate) run: RunId,
    pub(crate) state: State,
    pub(crate) view: View,
    pub(crate) journal: Vec<Record>,
    /// Time spent on deciding and folding.
    pub(crate) spent: Duration,
    /// Time that work of each unit took, by what it was; of what was done again, each time counts.
    pub(crate) worked: BTreeMap<String, Vec<(String, SignedDuration)>>,
    world: World,
    pub(crate) now: Timestamp,
    tip: Head,
    /// By the moment of its end, and by fence.
    under_way: BTreeMap<(Timestamp, u64), Work>,
    /// The same for every unit.
    checks: Vec<Check>,
    wake: Option<Timestamp>,
    /// Numbers for object names.
    objects: u64,
    dice: u64,
}

/// The fingerprint of the environment in these runs.
pub(crate) const ENVIRONMENT: &str = "5b1f0c7e9d3a4f2b8c6d1e0f7a9b3c5d2e4f6a8b0c1d3e5f7a9b2c4d6e8f0a1b";

impl Play {
    /// A run that has begun on `base`, in a world with mishaps.
    pub(crate) fn new(pipeline: Arc<Pipeline>, base: Head) -> Self {
        let world = World {
            tick: SignedDuration::from_millis(137),
            mishaps: true,
            length: Box::new(|_, _| SignedDuration::from_secs(9)),
        };
        Self::within(world, pipeline, base)
    }

    /// A run that has begun on `base`.
    pub(crate) fn within(world: World, pipeline: Arc<Pipeline>, base: Head) -> Self {
        let now: Timestamp = "2026-11-21T14:22:33Z".parse().expect("it is a time");
        let mut play = Self {
            run: RunId::new(now, 7),
            state: State::new(Arc::clone(&pipeline), ENVIRONMENT.to_owned()),
            view: View::new(&pipeline),
            checks: queue_checks(&pipeline, []),
            pipeline,
            journal: Vec::new(),
            spent: Duration::ZERO,
            worked: BTreeMap::new(),
            world,
            now,
            tip: base.clone(),
            under_way: BTreeMap::new(),
            wake: None,
            objects: 0,
            dice: 20_261_121,
        };
        play.record(Event::Run(RunEvent::RunStarted {
            format: FORMAT,
            run: play.run.clone(),
            name: "bench".to_owned(),
            file: "rfc.yaml".to_owned(),
            target: "main".to_owned(),
            meant_for: None,
            base: base.commit,
            frozen: hash_json(&*play.pipeline),
        }));
        play.record(Event::Run(RunEvent::EngineStarted {
            epoch: 1,
            pid: 4711,
            version: env!("CARGO_PKG_VERSION").to_owned(),
        }));
        play
    }

    /// Goes on until there are at least so many events, or nothing is left to do.
    pub(crate) fn play(&mut self, events: usize) {
        while self.journal.len() < events {
            let facts = Facts {
                now: self.now,
                tip: Tip::At {
                    commit: self.tip.commit.clone(),
                    tree: self.tip.tree.clone(),
                },
                tip_continues: true,
                draining: false,
                selection: None,
                branches: std::collections::BTreeMap::new(),
            };
            self.wake = None;
            let mut acted = false;
            let began = Instant::now();
            let effects = self.state.decide(&facts);
            self.spent += began.elapsed();
            for effect in effects {
                acted |= self.act(effect);
            }
            if acted {
                continue;
            }
            if let Some(((at, fence), work)) = self.under_way.pop_first() {
                self.now = self.now.max(at);
                self.end(fence, work);
            } else if let Some(at) = self.wake {
                self.now = at;
            } else {
                return;
            }
        }
    }

    /// Says that somebody moved the target.
    pub(crate) fn move_target(&mut self, to: Head) {
        while self.state.queue().pending_landing().is_some() {
            self.play(self.journal.len() + 1);
        }
        let from = std::mem::replace(&mut self.tip, to.clone()).commit;
        self.record(Event::Queue(QueueEvent::TargetMoved { from, to: to.commit }));
    }

    fn record(&mut self, event: Event) {
        self.now = later(self.now, self.world.tick);
        let record = Record {
            seq: self.journal.len() as u64 + 1,
            at: self.now,
            event,
        };
        let began = Instant::now();
        self.state.apply(&record).expect("the machine decided it");
        self.view.apply(&record);
        self.spent += began.elapsed();
        self.journal.push(record);
    }

    fn queue(&mut self, event: QueueEvent) {
        self.record(Event::Queue(event));
    }

    /// Something is under way from now on.
    fn begin(&mut self, fence: u64, work: Work) {
        let (unit, what) = match &work {
            Work::Attempt(unit, start) => (unit.as_str(), job_name(&start.job)),
            Work::Verification(verification) => {
                let last = verification.units.last();
                (last.map_or("", UnitId::as_str), "verification")
            }
        };
        let length = (self.world.length)(unit, what);
        let worked = self.worked.entry(unit.to_owned()).or_default();
        worked.push((what.to_owned(), length));
        self.under_way.insert((later(self.now, length), fence), work);
    }

    /// True if something was recorded at once.
    fn act(&mut self, effect: Effect) -> bool {
        let fence = self.state.next_fence();
        match effect {
            Effect::Record(event) => self.record(event),
            Effect::TakeBranches(units) => panic!("no unit here brings a branch: {units:?}"),
            Effect::Integrate { base, units } => self.integrate(base, &units),
            Effect::Land(verified) => {
                let (commit, tree) = (verified.to().clone(), verified.tree().clone());
                self.queue(QueueEvent::LandIntended {
                    commit: commit.clone(),
                    from: verified.from().clone(),
                    tree: tree.clone(),
                    checkout: None,
                });
                self.tip = Head { commit, tree };
                self.queue(verified.landed_event());
            }
            Effect::Reuse {
                commit,
                purpose,
                evidence,
            } => {
                self.queue(QueueEvent::VerifyStarted {
                    commit,
                    purpose,
                    fence,
                });
                self.queue(QueueEvent::VerifyEnded {
                    fence,
                    evidence,
                    reused: true,
                });
            }
            Effect::Verify(verification) => {
                self.queue(QueueEvent::VerifyStarted {
                    commit: verification.commit.clone(),
                    purpose: verification.purpose,
                    fence,
                });
                self.begin(fence, Work::Verification(verification));
                return false;
            }
            Effect::Attempt { unit, start } => {
                let what = UnitEvent::AttemptStarted {
                    job: start.job.clone(),
                    round: start.round,
                    attempt: start.attempt,
                    fence,
                    agent: start.agent.clone(),
                    commit: start.commit.clone(),
                };
                let of_unit = unit.clone();
                self.record(Event::Unit(UnitScoped { unit: of_unit, what }));
                self.begin(fence, Work::Attempt(unit, start));
                return false;
            }
            Effect::Wake(at) => {
                self.wake = Some(at);
                return false;
            }
            Effect::Stop(_) => return false,
        }
        true
    }

    fn integrate(&mut self, base: Oid, units: &[queue::IntegrateUnit]) {
        let units: Vec<_> = units
            .iter()
            .map(|unit| CandidateUnit {
                unit: unit.unit.clone(),
                generation: unit.generation,
                head: unit.head.clone(),
                commit: self.object(),
            })
            .collect();
        let candidate = Candidate {
            base,
            strategy: self.pipeline.queue.strategy,
            commit: units.last().expect("there is a unit").commit.clone(),
            units,
            tree: self.object(),
        };
        self.queue(QueueEvent::CandidateBuilt { candidate });
    }

    fn end(&mut self, fence: u64, work: Work) {
        let (unit, start) = match work {
            Work::Attempt(unit, start) => (unit, start),
            Work::Verification(verification) => {
                let outcome = self.checks_outcome(40);
                let evidence = evidence(&self.checks, verification.tree, outcome);
                self.queue(QueueEvent::VerifyEnded {
                    fence,
                    evidence,
                    reused: false,
                });
                return;
            }
        };
        let fails = start.job != Job::Checks && self.throw(25);
        let what = UnitEvent::AttemptEnded {
            fence,
            outcome: if fails { Outcome::Failed } else { Outcome::Ok },
            detail: fails.then(|| "the agent ended with status 1: connection reset by peer".to_owned()),
            output: (!fails).then(|| self.output(&unit, &start)),
            packet: Some(hash_json(&fence)),
            usage: Usage {
                cost: Usd::from_dollars(0.13),
                input_tokens: 21_733,
                output_tokens: 3_319,
                cached_tokens: 187_004,
            },
            duration_ms: 183_402,
        };
        self.record(Event::Unit(UnitScoped { unit, what }));
    }

    fn output(&mut self, id: &UnitId, start: &unit::Start) -> Output {
        let Job::Stage { kind, .. } = &start.job else {
            let head = self.state.unit(id).and_then(|unit| unit.head());
            let tree = head.expect("it has work").tree.clone();
            let outcome = self.checks_outcome(15);
            return Output::Checks {
                evidence: evidence(&self.checks, tree, outcome),
            };
        };
        match kind {
            StageKind::Prepare => Output::Document {
                text: PROSE.repeat(4),
            },
            StageKind::Implement | StageKind::Fix => self.work(id),
            StageKind::Review => self.review(id),
            StageKind::Approve => Output::Decision {
                approved: true,
                reason: PROSE.to_owned(),
            },
        }
    }

    fn work(&mut self, id: &UnitId) -> Output {
        let open = self.open_findings(id);
        Output::Work {
            head: Head {
                commit: self.object(),
                tree: self.object(),
            },
            summary: PROSE.repeat(2),
            testing_notes: Some("`make test` passes; the new cases are in `tests/retry.rs`.".to_owned()),
            resolutions: open
                .into_iter()
                .map(|finding| Resolution {
                    finding,
                    action: ResolutionAction::Fixed,
                    note: "the limit is now read once, before the loop".to_owned(),
                })
                .collect(),
            guards: Vec::new(),
            touched: (0..4)
                .map(|hunk| LineRange {
                    file: format!("src/{id}/part-{hunk}.rs"),
                    first: 17 * hunk + 3,
                    last: 17 * hunk + 12,
                })
                .collect(),
        }
    }

    fn review(&mut self, id: &UnitId) -> Output {
        let ledger = self.open_findings(id);
        let findings: Vec<_> = if self.throw(3) {
            let title = self.objects;
            (0..2)
                .map(|line| ReportedFinding {
                    id: None,
                    file: format!("src/{id}/part-{line}.rs"),
                    line: Some(17 * line + 4),
                    end_line: Some(17 * line + 6),
                    severity: Severity::Major,
                    confidence: 85,
                    title: format!("The pause of case {title}.{line} grows without a bound"),
                    detail: PROSE.repeat(2),
                    suggestion: Some("Cap it at the configured maximum.".to_owned()),
                })
                .collect()
        } else {
            Vec::new()
        };
        Output::Review {
            verdict: if findings.is_empty() {
                Verdict::Approve
            } else {
                Verdict::RequestChanges
            },
            findings,
            ledger: ledger
                .into_iter()
                .map(|id| LedgerRow {
                    id,
                    state: LedgerRowState::Resolved,
                })
                .collect(),
        }
    }

    fn open_findings(&self, id: &UnitId) -> Vec<String> {
        let unit = self.state.unit(id).expect("it is known");
        let entries = unit.ledger().entries().iter();
        entries
            .filter(|entry| entry.is_open(unit.try_number()))
            .map(|entry| entry.id.clone())
            .collect()
    }

    fn checks_outcome(&mut self, one_in: u64) -> CheckOutcome {
        if self.throw(one_in) {
            CheckOutcome::Failed
        } else {
            CheckOutcome::Passed
        }
    }

    /// True once in so many times, always in the same places.
    fn throw(&mut self, one_in: u64) -> bool {
        self.dice = self
            .dice
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        self.world.mishaps && (self.dice >> 33).is_multiple_of(one_in)
    }

    /// The name of an object that is nowhere else.
    fn object(&mut self) -> Oid {
        self.objects += 1;
        hash_json(&self.objects)[..40].parse().expect("it is hex")
    }
}

fn job_name(job: &Job) -> &str {
    match job {
        Job::Checks => "checks",
        Job::Stage { stage, .. } => stage.as_str(),
    }
}

fn later(moment: Timestamp, by: SignedDuration) -> Timestamp {
    moment.checked_add(by).expect("the run is short")
}

const PROSE: &str = "Calls are now repeated up to three times; the pause starts at 100 ms and doubles. \
                     The client keeps its interface, and what was an error at once is an error after the last try. ";

fn evidence(checks: &[Check], subject: Oid, outcome: CheckOutcome) -> Evidence {
    let result = |(place, check): (usize, &Check)| CheckResult {
        name: check.name.clone(),
        outcome: match (place, outcome) {
            (0, outcome) => outcome,
            (_, CheckOutcome::Passed) => CheckOutcome::Passed,
            (_, _) => CheckOutcome::Skipped,
        },
        exit: (place == 0 || outcome == CheckOutcome::Passed)
            .then_some(i32::from(outcome != CheckOutcome::Passed)),
        duration_ms: 48_211,
        tail: (0..8)
            .map(|case| format!("test retry::case_{case}_is_repeated_until_it_fits ... ok\n"))
            .collect(),
        signature: String::new(),
    };
    Evidence {
        tree: subject,
        checks: hash_json(&checks),
        environment: ENVIRONMENT.to_owned(),
        results: checks.iter().enumerate().map(result).collect(),
    }
}
