//! A small driver that plays the engine: it starts what the machine asks for and answers as a test says.

mod attempts;
mod conflict;
mod gates;
mod laws;
mod queue;
mod reviews;
mod rounds;
mod texts;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::*;
use crate::event::{
    CheckOutcome, CheckResult, GuardHit, LedgerRow, LedgerRowState, Outcome, ReportedFinding, Resolution,
    ResolutionAction, Verdict,
};
use crate::spec::{Limits, Performer, Severity, Stage, StageKind, Tier, Unit};

pub(crate) fn oid(n: u64) -> Oid {
    format!("{n:040x}").parse().unwrap()
}

pub(super) fn head(n: u64) -> Head {
    Head {
        commit: oid(n),
        tree: oid(n + 1_000_000),
    }
}

pub(super) fn name(text: &str) -> StageName {
    text.parse().unwrap()
}

pub(super) fn stage(text: &str, kind: StageKind, needs: &[&str]) -> Stage {
    Stage {
        name: name(text),
        kind,
        by: Performer::Agent(if kind.is_judge() { "reviewer" } else { "author" }.to_owned()),
        needs: needs.iter().map(|need| name(need)).collect(),
        focus: None,
        stance: None,
        min_confidence: 80,
        block_on: Severity::Major,
        prompt: None,
        retries: None,
        timeout: None,
    }
}

pub(crate) fn unit() -> Unit {
    Unit {
        id: "api".parse().unwrap(),
        title: "Add the API".to_owned(),
        prompt: "Do it".to_owned(),
        acceptance: Vec::new(),
        paths: Vec::new(),
        needs: Vec::new(),
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

/// implement → review → fix → approve.
pub(super) fn small() -> Vec<Stage> {
    vec![
        stage("implement", StageKind::Implement, &[]),
        stage("review", StageKind::Review, &["implement"]),
        stage("fix", StageKind::Fix, &["review"]),
        stage("approve", StageKind::Approve, &["fix"]),
    ]
}

pub(super) fn plan(stages: Vec<Stage>) -> Plan {
    Plan {
        unit: unit(),
        tier: Tier { stages },
        limits: Limits {
            parallel: 4,
            rounds: 3,
            retries: 2,
            stage_timeout: Duration::from_secs(600),
            idle_timeout: Duration::from_secs(60),
            start_interval: Duration::ZERO,
            budget: None,
            unit_budget: None,
        },
        agents: BTreeMap::new(),
        has_checks: true,
    }
}

pub(super) fn evidence(outcome: CheckOutcome, signature: &str) -> Evidence {
    Evidence {
        tree: oid(7),
        checks: String::new(),
        environment: String::new(),
        results: vec![CheckResult {
            name: "test".to_owned(),
            outcome,
            exit: None,
            duration_ms: 1,
            tail: "the log".to_owned(),
            signature: signature.to_owned(),
        }],
    }
}

pub(super) fn passing() -> Output {
    Output::Checks {
        evidence: evidence(CheckOutcome::Passed, ""),
    }
}

pub(super) fn failing(signature: &str) -> Output {
    Output::Checks {
        evidence: evidence(CheckOutcome::Failed, signature),
    }
}

pub(super) fn finding(title: &str, line: u32, severity: Severity, confidence: u8) -> ReportedFinding {
    ReportedFinding {
        id: None,
        file: "src/a.rs".to_owned(),
        line: Some(line),
        end_line: None,
        severity,
        confidence,
        title: title.to_owned(),
        detail: format!("why {title}"),
        suggestion: None,
    }
}

pub(super) fn review(findings: Vec<ReportedFinding>, rows: &[(&str, LedgerRowState)]) -> Output {
    let verdict = if findings.is_empty() {
        Verdict::Approve
    } else {
        Verdict::RequestChanges
    };
    Output::Review {
        verdict,
        findings,
        ledger: rows
            .iter()
            .map(|(id, state)| LedgerRow {
                id: (*id).to_owned(),
                state: *state,
            })
            .collect(),
    }
}

pub(super) fn work(n: u64) -> Output {
    work_with(n, &[], Vec::new())
}

pub(super) fn work_with(n: u64, resolutions: &[(&str, ResolutionAction)], guards: Vec<GuardHit>) -> Output {
    Output::Work {
        head: head(n),
        summary: "CANARY summary".to_owned(),
        testing_notes: Some("CANARY notes".to_owned()),
        resolutions: resolutions
            .iter()
            .map(|(id, action)| Resolution {
                finding: (*id).to_owned(),
                action: *action,
                note: "CANARY note".to_owned(),
            })
            .collect(),
        guards,
        touched: vec![LineRange {
            file: "src/a.rs".to_owned(),
            first: 1,
            last: 50,
        }],
    }
}

pub(super) fn decision(approved: bool) -> Output {
    Output::Decision {
        approved,
        reason: "because".to_owned(),
    }
}

pub(super) const RESOLVED: LedgerRowState = LedgerRowState::Resolved;
pub(super) const PERSISTS: LedgerRowState = LedgerRowState::Persists;

/// Plays the engine.
pub(super) struct Driver {
    pub(super) state: State,
    pub(super) now: Timestamp,
    pub(super) events: Vec<(UnitEvent, Timestamp)>,
    pub(super) fence: u64,
    pub(super) cost: Option<Usd>,
}

impl Driver {
    pub(super) fn new(plan: Plan) -> Self {
        let mut driver = Self::waiting(plan);
        driver.record(UnitEvent::UnitStarted { base: oid(1) });
        driver
    }

    /// Of a unit that has not begun.
    pub(super) fn waiting(plan: Plan) -> Self {
        Self {
            state: State::new(Arc::new(plan)),
            now: Timestamp::from_second(1_800_000_000).unwrap(),
            events: Vec::new(),
            fence: 0,
            cost: None,
        }
    }

    pub(super) fn small() -> Self {
        Self::new(plan(small()))
    }

    pub(super) fn record(&mut self, event: UnitEvent) {
        self.state.apply(&event, self.now).unwrap();
        self.events.push((event, self.now));
    }

    /// Records decisions and waits until there are starts, or nothing to do.
    pub(super) fn wanted(&mut self) -> Vec<Start> {
        for _ in 0..200 {
            let effects = self.state.decide(self.now);
            let mut starts = Vec::new();
            let mut wake = None;
            let mut recorded = false;
            for effect in effects {
                match effect {
                    Effect::Record(event) => {
                        self.record(event);
                        recorded = true;
                    }
                    Effect::Start(start) => starts.push(start),
                    Effect::Wake(at) => wake = Some(at),
                }
            }
            if !starts.is_empty() || (!recorded && wake.is_none()) {
                return starts;
            }
            if !recorded {
                self.now = wake.unwrap();
            }
        }
        panic!("the machine does not come to rest: {:?}", self.state);
    }

    pub(super) fn start(&mut self, start: &Start) -> u64 {
        self.fence += 1;
        self.record(UnitEvent::AttemptStarted {
            job: start.job.clone(),
            round: start.round,
            attempt: start.attempt,
            fence: self.fence,
            agent: start.agent.clone(),
            commit: start.commit.clone(),
        });
        self.fence
    }

    pub(super) fn end(&mut self, fence: u64, outcome: Outcome, output: Option<Output>) {
        self.end_with(fence, outcome, output, None);
    }

    pub(super) fn end_with(
        &mut self,
        fence: u64,
        outcome: Outcome,
        output: Option<Output>,
        detail: Option<&str>,
    ) {
        let usage = Usage {
            cost: self.cost,
            ..Usage::default()
        };
        self.record(UnitEvent::AttemptEnded {
            fence,
            outcome,
            detail: detail.map(str::to_owned),
            output,
            packet: None,
            usage,
            duration_ms: 1,
        });
    }

    /// The one job that is wanted must be `expected`; it is answered with `output`.
    pub(super) fn step(&mut self, expected: &str, output: Output) {
        let fence = self.begin(expected);
        self.end(fence, Outcome::Ok, Some(output));
    }

    /// The one job that is wanted must be `expected`; it ends so.
    pub(super) fn fails(&mut self, expected: &str, outcome: Outcome) {
        let fence = self.begin(expected);
        self.end(fence, outcome, None);
    }

    /// Starts the wanted job of that name.
    pub(super) fn begin(&mut self, expected: &str) -> u64 {
        let starts = self.wanted();
        let start = starts
            .iter()
            .find(|start| job_text(&start.job) == expected)
            .unwrap_or_else(|| {
                panic!(
                    "`{expected}` is not wanted but {starts:?}; {:?}",
                    self.state.eviction()
                )
            })
            .clone();
        self.start(&start)
    }

    /// Comes to rest and says in which phase.
    pub(super) fn rest(&mut self) -> Phase {
        assert_eq!(self.wanted(), Vec::new());
        self.state.phase()
    }

    pub(super) fn evicted(&mut self) -> Reason {
        assert_eq!(self.rest(), Phase::Evicted);
        self.state.eviction().unwrap().0
    }

    /// implement and the checks on it.
    pub(super) fn implemented(mut self) -> Self {
        self.step("implement", work(2));
        self.step("checks", passing());
        self
    }
}

pub(super) fn job_text(job: &Job) -> String {
    match job {
        Job::Stage { stage, member: 0, .. } => stage.to_string(),
        Job::Stage { stage, member, .. } => format!("{stage}#{member}"),
        Job::Checks => "checks".to_owned(),
    }
}

pub(super) fn stage_job(text: &str, kind: StageKind) -> Job {
    Job::Stage {
        stage: name(text),
        kind,
        member: 0,
    }
}
