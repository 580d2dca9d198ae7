//! The scripted run that the view and its renderers are tested with.

mod forecast;
mod moot;
mod radar;
mod rules;
mod standing;

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use super::*;
use crate::event::{
    Candidate, CandidateUnit, CheckOutcome, CheckResult, EntryEnd, Evidence, Gate, Head, Hold, Job,
    LandedUnit, LedgerRow, LedgerRowState, Outcome, Output, QueueEvent, Reason, ReportedFinding, Resolution,
    ResolutionAction, UnitEvent, UnitScoped, Usage, Verdict, VerifyPurpose,
};
use crate::id::{Oid, RunId};
use crate::queue::Status;
use crate::spec::{
    Check, CommitSettings, Convention, DependsOn, Guards, Limits, Overlap, Performer, QueueSettings,
    Severity, Stage, StageKind, Tier, Unit, Workspace,
};

pub(crate) fn oid(digit: char) -> Oid {
    digit.to_string().repeat(40).parse().unwrap()
}

fn stage(name: &str, kind: StageKind) -> Stage {
    Stage {
        name: name.parse().unwrap(),
        kind,
        by: Performer::Agent("claude".to_owned()),
        needs: Vec::new(),
        focus: None,
        stance: None,
        min_confidence: 80,
        block_on: Severity::Major,
        prompt: None,
        retries: None,
        timeout: None,
    }
}

fn unit(id: &str, needs: &[&str]) -> Unit {
    Unit {
        id: id.parse().unwrap(),
        title: format!("feat: {id}"),
        prompt: String::new(),
        acceptance: Vec::new(),
        paths: Vec::new(),
        needs: needs.iter().map(|id| id.parse().unwrap()).collect(),
        tier: "small".to_owned(),
        priority: 0,
        agent: None,
        budget: None,
        checks: Vec::new(),
        may_change_tests: false,
        ticket: None,
        exclusive: std::collections::BTreeSet::new(),
        from_branch: None,
    }
}

/// Four units: `lexer`, `parser` and `docs` one after the other, `cache` beside them.
pub(crate) fn pipeline() -> Pipeline {
    let limits = Limits {
        parallel: 2,
        rounds: 3,
        retries: 1,
        stage_timeout: Duration::from_secs(1800),
        idle_timeout: Duration::from_secs(300),
        start_interval: Duration::ZERO,
        budget: Usd::from_dollars(25.0),
        unit_budget: None,
    };
    let stages = vec![
        stage("implement", StageKind::Implement),
        stage("review", StageKind::Review),
        stage("fix", StageKind::Fix),
        stage("approve", StageKind::Approve),
    ];
    Pipeline {
        land: crate::spec::Land::Local,
        name: "demo".to_owned(),
        target: Some("main".to_owned()),
        rfc: None,
        limits,
        agents: BTreeMap::new(),
        workspace: Workspace {
            root: None,
            setup: Vec::new(),
            teardown: Vec::new(),
            copy: Vec::new(),
            env: BTreeMap::new(),
            ports: Vec::new(),
            port_base: 1,
            port_range: 1,
        },
        checks: vec![Check {
            name: "test".to_owned(),
            run: "make test".to_owned(),
            cwd: ".".to_owned(),
            timeout: Duration::from_secs(60),
            depends_on: DependsOn::Tree,
            exclusive: std::collections::BTreeSet::new(),
        }],
        verify: Verify::Inherit,
        tiers: [("small".to_owned(), Tier { stages })].into(),
        default_tier: "small".to_owned(),
        units: vec![
            unit("lexer", &[]),
            unit("parser", &["lexer"]),
            unit("cache", &[]),
            unit("docs", &["parser"]),
        ],
        queue: QueueSettings {
            strategy: crate::spec::Strategy::Squash,
            window: crate::spec::Breadth::Auto,
            batch: crate::spec::Breadth::Fixed(1),
            stall_alarm: Duration::from_secs(1800),
            max_age: Duration::from_secs(2_592_000),
            on_conflict: crate::spec::OnConflict::Agent,
            conflict_rounds: 2,
        },
        guards: Guards {
            protected_paths: Vec::new(),
            paths_strict: false,
            files_max: 100,
            bytes_max: 1 << 20,
        },
        overlap: Overlap::Warn,
        commit: CommitSettings {
            convention: Convention::Conventional,
            signoff: false,
        },
    }
}

/// Feeds events to a view; each one happens a second after the one before.
pub(crate) struct Script {
    pub(crate) view: View,
    pub(crate) records: Vec<Record>,
    fence: u64,
}

pub(crate) fn moment(second: i64) -> jiff::Timestamp {
    jiff::Timestamp::from_second(1_795_000_000 + second).unwrap()
}

impl Script {
    pub(crate) fn new() -> Self {
        Self {
            view: View::new(&pipeline()),
            records: Vec::new(),
            fence: 0,
        }
    }

    /// The script of a run whose file waives the checks before landing.
    pub(crate) fn waived() -> Self {
        let pipeline = Pipeline {
            verify: Verify::Waived,
            ..pipeline()
        };
        Self {
            view: View::new(&pipeline),
            ..Self::new()
        }
    }

    pub(crate) fn push(&mut self, event: Event) -> &mut Self {
        let seq = self.records.len() as u64 + 1;
        let at = moment(seq as i64);
        let record = Record { seq, at, event };
        self.view.apply(&record);
        self.records.push(record);
        self
    }

    pub(crate) fn now(&self) -> jiff::Timestamp {
        moment(self.records.len() as i64)
    }

    pub(crate) fn run(&mut self, event: RunEvent) -> &mut Self {
        self.push(Event::Run(event))
    }

    pub(crate) fn unit(&mut self, id: &str, what: UnitEvent) -> &mut Self {
        let unit = id.parse().unwrap();
        self.push(Event::Unit(UnitScoped { unit, what }))
    }

    pub(crate) fn queue(&mut self, event: QueueEvent) -> &mut Self {
        self.push(Event::Queue(event))
    }

    pub(crate) fn begin(&mut self) -> &mut Self {
        self.run(RunEvent::RunStarted {
            format: 1,
            run: RunId::new(moment(0), 1),
            name: "demo".to_owned(),
            file: "rfc.yaml".to_owned(),
            target: "main".to_owned(),
            meant_for: None,
            base: oid('4'),
            frozen: String::new(),
        })
        .run(RunEvent::EngineStarted {
            epoch: 1,
            pid: 1,
            version: String::new(),
        })
    }

    pub(crate) fn start(&mut self, id: &str, job: Job, round: u32, attempt: u32) -> u64 {
        self.fence += 1;
        let agent = matches!(job, Job::Stage { .. }).then(|| "claude".to_owned());
        let fence = self.fence;
        self.unit(
            id,
            UnitEvent::AttemptStarted {
                job,
                round,
                attempt,
                fence,
                agent,
                commit: oid('4'),
            },
        );
        fence
    }

    pub(crate) fn end(
        &mut self,
        id: &str,
        fence: u64,
        outcome: Outcome,
        output: Option<Output>,
    ) -> &mut Self {
        self.unit(
            id,
            UnitEvent::AttemptEnded {
                fence,
                outcome,
                detail: (outcome != Outcome::Ok).then(|| "it went\nwrong".to_owned()),
                output,
                packet: None,
                usage: Usage {
                    cost: Usd::from_dollars(0.25),
                    input_tokens: 10,
                    output_tokens: 5,
                    cached_tokens: 1,
                },
                duration_ms: 192_000,
            },
        )
    }

    pub(crate) fn attempt(&mut self, id: &str, job: Job, round: u32, output: Output) -> &mut Self {
        let fence = self.start(id, job, round, 1);
        self.end(id, fence, Outcome::Ok, Some(output))
    }

    pub(crate) fn enqueue(&mut self, id: &str, priority: i64, place: u32) -> &mut Self {
        self.queue(QueueEvent::Enqueued {
            unit: id.parse().unwrap(),
            generation: 1,
            head: head('a'),
            base: oid('4'),
            priority,
            place,
        })
    }

    pub(crate) fn candidate(&mut self, id: &str, commit: char) -> &mut Self {
        self.candidate_on(id, '4', commit)
    }

    pub(crate) fn candidate_on(&mut self, id: &str, base: char, commit: char) -> &mut Self {
        self.queue(QueueEvent::CandidateBuilt {
            candidate: Candidate {
                base: oid(base),
                strategy: crate::spec::Strategy::Squash,
                units: vec![CandidateUnit {
                    unit: id.parse().unwrap(),
                    generation: 1,
                    head: oid('a'),
                    commit: oid(commit),
                }],
                commit: oid(commit),
                tree: oid('e'),
            },
        })
    }

    /// The candidate of a unit passes its checks and lands, after it was built if it was not.
    pub(crate) fn land(&mut self, id: &str, commit: char) -> &mut Self {
        let unit: UnitId = id.parse().unwrap();
        let from = self.view.run.head.clone().unwrap();
        if self.view.queue.entry(&unit).unwrap().candidate.is_none() {
            self.candidate(id, commit);
        }
        let fence = match self.view.queue.entry(&unit).unwrap().status {
            Status::Verifying { fence } => fence,
            _ => self.verify(commit),
        };
        self.queue(QueueEvent::VerifyEnded {
            fence,
            evidence: evidence(CheckOutcome::Passed),
            reused: false,
        })
        .queue(QueueEvent::LandIntended {
            commit: oid(commit),
            from: from.clone(),
            tree: oid('e'),
            checkout: None,
        })
        .queue(QueueEvent::Landed {
            from,
            to: oid(commit),
            units: vec![LandedUnit {
                unit,
                commit: oid(commit),
                unverified: false,
            }],
            evidence: Some(evidence(CheckOutcome::Passed)),
        })
    }

    /// The checks of a candidate begin.
    pub(crate) fn verify(&mut self, commit: char) -> u64 {
        self.fence += 100;
        let fence = self.fence;
        self.queue(QueueEvent::VerifyStarted {
            commit: oid(commit),
            purpose: VerifyPurpose::Candidate,
            fence,
        });
        fence
    }

    pub(crate) fn evict(&mut self, id: &str, sentence: &str) -> &mut Self {
        self.unit(
            id,
            UnitEvent::UnitEvicted {
                reason: Reason::VerifyFailed,
                sentence: sentence.to_owned(),
            },
        )
    }

    fn state(&self, id: &str) -> &'static str {
        self.unit_view(id).state.as_str()
    }

    pub(crate) fn unit_view(&self, id: &str) -> &UnitView {
        self.view.unit(&id.parse().unwrap()).unwrap()
    }
}

pub(crate) fn job(name: &str, kind: StageKind) -> Job {
    let stage = name.parse().unwrap();
    Job::Stage {
        stage,
        kind,
        member: 0,
    }
}

pub(crate) fn head(digit: char) -> Head {
    Head {
        commit: oid(digit),
        tree: oid(digit),
    }
}

pub(crate) fn work(digit: char, resolutions: Vec<Resolution>) -> Output {
    Output::Work {
        head: head(digit),
        summary: "done".to_owned(),
        testing_notes: None,
        resolutions,
        guards: Vec::new(),
        touched: Vec::new(),
    }
}

pub(crate) fn finding(title: &str) -> ReportedFinding {
    ReportedFinding {
        id: None,
        file: "src/parser.rs".to_owned(),
        line: Some(7),
        end_line: None,
        severity: Severity::Major,
        confidence: 90,
        title: title.to_owned(),
        detail: "``` it breaks ````".to_owned(),
        suggestion: None,
    }
}

/// A finding that blocks nothing.
pub(crate) fn note(title: &str) -> ReportedFinding {
    ReportedFinding {
        severity: Severity::Minor,
        ..finding(title)
    }
}

pub(crate) fn review(verdict: Verdict, findings: Vec<ReportedFinding>, ledger: Vec<LedgerRow>) -> Output {
    Output::Review {
        verdict,
        findings,
        ledger,
    }
}

pub(crate) fn evidence(outcome: CheckOutcome) -> Evidence {
    Evidence {
        tree: oid('e'),
        checks: String::new(),
        environment: String::new(),
        results: vec![CheckResult {
            name: "test".to_owned(),
            outcome,
            exit: Some(i32::from(outcome != CheckOutcome::Passed)),
            duration_ms: 1200,
            tail: "assertion failed\u{1b}[31m".to_owned(),
            signature: String::new(),
        }],
    }
}

/// A run in which `lexer` lands, `parser` is reviewed and fixed, and `cache` is evicted.
pub(crate) fn scripted() -> Script {
    let mut script = Script::new();
    script.begin();
    let start = |s: &mut Script, id: &str| {
        s.unit(id, UnitEvent::UnitStarted { base: oid('4') });
    };
    start(&mut script, "lexer");
    start(&mut script, "cache");
    script
        .attempt(
            "lexer",
            job("implement", StageKind::Implement),
            1,
            work('a', Vec::new()),
        )
        .attempt(
            "lexer",
            Job::Checks,
            1,
            Output::Checks {
                evidence: evidence(CheckOutcome::Passed),
            },
        )
        .attempt(
            "lexer",
            job("review", StageKind::Review),
            1,
            review(Verdict::Approve, vec![note("a")], Vec::new()),
        )
        .enqueue("lexer", 0, 0)
        .candidate("lexer", '9')
        .queue(QueueEvent::FlakeSeen {
            unit: "lexer".parse().unwrap(),
            check: "test".to_owned(),
        })
        .land("lexer", '9');
    start(&mut script, "parser");
    let broken = vec![finding("off by one"), finding("leak")];
    script
        .attempt(
            "parser",
            job("implement", StageKind::Implement),
            1,
            work('b', Vec::new()),
        )
        .attempt(
            "parser",
            job("review", StageKind::Review),
            1,
            review(Verdict::RequestChanges, broken, Vec::new()),
        );
    script.evict("cache", "test cache::ttl");
    let _running = script.start("parser", job("fix", StageKind::Fix), 1, 1);
    script
}
