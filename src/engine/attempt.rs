//! One attempt: from a decision to start it to the event that says what came of it.
//!
//! An attempt owns copies of what it needs and hands back one event. What a judge is given is a
//! [`ReviewPacket`], which can only be made from the diff and from what reviewers said.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};

use super::dispatch::{Done, blocking};
use super::landing::OnTarget;
use super::panics::panic_of;
use super::{Engine, EngineError, Tools, interpret};
use crate::agent::redact::Redactor;
use crate::agent::{
    self, Assignment, ChainDocument, DiffText, Dispute, FailedCheck, FileLine, LedgerLine, OpenFinding,
    Packet, Prepared, ReviewPacket,
};
use crate::event::{Event, Job, Outcome, Output, ReportedFinding, Resolution, UnitEvent, UnitScoped, Usage};
use crate::id::{AttemptKey, Oid, RunId, UnitId};
use crate::port::{Activity, AgentTask, AttemptOrder, AttemptReturn, Stop, Task, disk_remedy};
use crate::run::unit_checks;
use crate::spec::{Pipeline, Role, Stage, StageKind};
use crate::unit::{self, Brief, OpenConflict};

/// Bytes of a diff that are read for a prompt; the list of files is always whole.
pub(super) const PATCH_BYTES_MAX: usize = 4 << 20;

/// Everything one attempt needs.
pub(super) struct Attempt {
    pub(super) tools: Arc<Tools>,
    pub(super) pipeline: Arc<Pipeline>,
    pub(super) run: RunId,
    pub(super) target: String,
    pub(super) unit: UnitId,
    pub(super) start: unit::Start,
    pub(super) fence: u64,
    pub(super) base: Oid,
    pub(super) agents_from: Oid,
    pub(super) brief: Brief,
    /// The conflict with the target that is being recovered from: what an author returns is held against what landed.
    pub(super) recovers: Option<OpenConflict>,
    /// The stage; `None` for checks.
    stage: Option<Stage>,
    /// The unit's inputs, for the trailer.
    pub(super) inputs: String,
    pub(super) environment: String,
    /// Documents of exploring units that the unit needs.
    pub(super) documents: Vec<ChainDocument>,
    /// What each landed unit of the run changed, for the guard against reverts.
    pub(super) landed: Vec<OnTarget>,
    pub(super) began: jiff::Timestamp,
}

/// What an attempt came to, before it becomes an event.
pub(super) struct Conclusion {
    pub(super) outcome: Outcome,
    pub(super) detail: Option<String>,
    pub(super) output: Option<Output>,
    pub(super) usage: Usage,
}

impl Conclusion {
    /// One that returned nothing.
    pub(super) fn bare(outcome: Outcome, detail: impl Into<String>) -> Self {
        Self {
            outcome,
            detail: Some(detail.into()),
            output: None,
            usage: Usage::default(),
        }
    }

    /// One that the machine failed. Of a disk that refuses, every further attempt would die too: it is free of charge,
    /// and the run stops (see [`super::dispatch`]).
    pub(super) fn of_machine(why: String) -> Self {
        let outcome = match disk_remedy(&why) {
            Some(_) => Outcome::Interrupted,
            None => Outcome::Crashed,
        };
        Self::bare(outcome, why)
    }
}

impl Engine {
    /// The documents of exploring units that a unit needs, named `<unit>-<stage>`.
    fn documents_for(&self, id: &UnitId) -> Vec<ChainDocument> {
        let unit = self
            .state
            .pipeline()
            .unit(id)
            .expect("only units of the pipeline are attempted");
        let mut documents = Vec::new();
        for need in &unit.needs {
            let Some(state) = self.state.unit(need) else {
                continue;
            };
            for stage in &state.plan().tier.stages {
                if let Some(text) = state.document_of(&stage.name) {
                    documents.push(ChainDocument {
                        name: format!("{need}-{}", stage.name),
                        text,
                    });
                }
            }
        }
        documents
    }
}

impl Attempt {
    pub(super) fn new(engine: &Engine, unit: UnitId, start: unit::Start, fence: u64) -> Self {
        let state = engine
            .state
            .unit(&unit)
            .expect("only units of the pipeline are started");
        let base = state
            .base_for(&start.job)
            .expect("a unit has a base before it has attempts");
        let begun = engine.state.start().filter(|_| state.intake().is_some());
        Self {
            tools: Arc::clone(&engine.tools),
            pipeline: Arc::clone(engine.state.pipeline()),
            run: engine.run.clone(),
            target: engine.target().to_owned(),
            base: base.clone(),
            agents_from: begun.map_or(base, |start| &start.base).clone(),
            brief: state.brief(&start.job),
            recovers: state.conflict().cloned(),
            stage: match &start.job {
                Job::Stage { stage, .. } => state.stage(stage).cloned(),
                Job::Checks => None,
            },
            inputs: engine.inputs[&unit].clone(),
            environment: engine.state.environment().to_owned(),
            documents: engine.documents_for(&unit),
            landed: engine.landed_ranges(),
            began: engine.tools.clock.now(),
            unit,
            start,
            fence,
        }
    }

    /// One that another engine began, as the journal tells of it.
    pub(super) fn begun(engine: &Engine, unit: UnitId, flight: &unit::InFlight) -> Self {
        let start = unit::Start {
            job: flight.job.clone(),
            round: flight.round,
            attempt: flight.attempt,
            agent: flight.agent.clone(),
            commit: flight.commit.clone(),
            // Nothing is started, so nothing is limited.
            timeout: Duration::ZERO,
        };
        Self::new(engine, unit, start, flight.fence)
    }

    /// Makes the attempt and says what came of it.
    pub(super) async fn perform(
        self: Arc<Self>,
        stop: watch::Receiver<Stop>,
        activity: mpsc::Sender<Activity>,
    ) -> Done {
        let came = self.prepare_and_launch(stop, activity).await;
        self.done(came).await
    }

    /// What it came to when our own part of it panicked.
    pub(super) fn panicked(&self, message: String) -> Done {
        self.concluded(Conclusion::bare(Outcome::Panicked, message), None, 0, Vec::new())
    }

    /// What the attempt came to under an engine that died; `None` when it is to be made again.
    pub(super) async fn adopt(self) -> Option<Done> {
        let attempt = Arc::new(self);
        let adopted = attempt.tools.launcher.adopt(attempt.order_begun()).await?;
        Some(attempt.done(Ok((adopted.returned, adopted.packet))).await)
    }

    /// The event that says what came of it.
    async fn done(self: &Arc<Self>, came: Result<(AttemptReturn, Option<String>), EngineError>) -> Done {
        let mut notes = Vec::new();
        let (conclusion, packet, duration_ms) = match came {
            Ok((returned, packet)) => {
                notes.extend(
                    returned
                        .notes
                        .iter()
                        .map(|note| format!("{}: {note}", self.key())),
                );
                let duration_ms = returned.duration_ms;
                let interpreter = Arc::clone(self);
                let conclusion = blocking(move || interpret::conclude(&interpreter, &returned)).await;
                let conclusion = conclusion
                    .map_err(EngineError::from)
                    .and_then(|conclusion| conclusion);
                (conclusion, packet, duration_ms)
            }
            Err(error) => (Err(error), None, 0),
        };
        // What fails on our side of an attempt is told as its outcome: the unit retries, and is evicted in the
        // end with this very text.
        let conclusion = conclusion.unwrap_or_else(|error| match panic_of(error) {
            Ok(message) => Conclusion::bare(Outcome::Panicked, message),
            Err(error) => Conclusion::of_machine(error.to_string()),
        });
        self.concluded(conclusion, packet, duration_ms, notes)
    }

    fn concluded(
        &self,
        conclusion: Conclusion,
        packet: Option<String>,
        duration_ms: u64,
        notes: Vec<String>,
    ) -> Done {
        let redactor = Redactor::new(self.tools.pass_env.values());
        let what = UnitEvent::AttemptEnded {
            fence: self.fence,
            outcome: conclusion.outcome,
            detail: conclusion
                .detail
                .map(|detail| redactor.clean(&detail).into_owned()),
            output: conclusion.output.map(|output| redacted(&redactor, output)),
            packet,
            usage: conclusion.usage,
            duration_ms,
        };
        Done {
            fence: self.fence,
            place: Some(self.key()),
            panicked: None,
            notes,
            event: Event::Unit(UnitScoped {
                unit: self.unit.clone(),
                what,
            }),
        }
    }

    async fn prepare_and_launch(
        self: &Arc<Self>,
        stop: watch::Receiver<Stop>,
        activity: mpsc::Sender<Activity>,
    ) -> Result<(AttemptReturn, Option<String>), EngineError> {
        let preparing = Arc::clone(self);
        let (order, packet) = blocking(move || preparing.order()).await??;
        Ok((self.tools.launcher.launch(order, stop, activity).await, packet))
    }

    /// The order, and the hash of the packet in it.
    fn order(&self) -> Result<(AttemptOrder, Option<String>), EngineError> {
        let (task, packet) = match &self.start.job {
            Job::Checks => (self.checks(), None),
            Job::Stage { kind, .. } => {
                let prepared = self.prepare()?;
                let hash = prepared.hash.clone();
                let name = self
                    .start
                    .agent
                    .as_ref()
                    .expect("a stage that is started has an agent");
                let agent = &self.pipeline.agents[name];
                let pass = self
                    .tools
                    .pass_env
                    .iter()
                    .filter(|(name, _)| agent.pass_env.contains(name));
                let pass = pass.map(|(name, value)| (name.clone(), value.clone())).collect();
                let task = agent::task(agent, prepared, &pass, kind.is_author());
                (Task::Agent(task), Some(hash))
            }
        };
        Ok((self.order_of(task, packet.clone()), packet))
    }

    /// The order of an attempt that was begun by another engine: nothing of its task is needed any more.
    fn order_begun(&self) -> AttemptOrder {
        let task = match &self.start.job {
            Job::Checks => self.checks(),
            Job::Stage { kind, .. } => Task::Agent(AgentTask {
                argv: Vec::new(),
                prompt: String::new(),
                context: BTreeMap::new(),
                env: BTreeMap::new(),
                takes_tree: kind.is_author(),
            }),
        };
        self.order_of(task, None)
    }

    fn checks(&self) -> Task {
        Task::Checks(unit_checks(&self.pipeline, self.unit_spec()))
    }

    fn order_of(&self, task: Task, packet: Option<String>) -> AttemptOrder {
        let (role, kind) = match &self.start.job {
            Job::Checks => (Role::Check, "check"),
            Job::Stage { kind, .. } => (kind.role(), kind.as_str()),
        };
        AttemptOrder {
            run: self.run.clone(),
            key: self.key(),
            fence: self.fence,
            packet,
            role,
            kind,
            base: self.base.clone(),
            agents_from: self.agents_from.clone(),
            commit: self.start.commit.clone(),
            merge: self.merge_in_place(),
            target: self.target.clone(),
            task,
            workspace: Arc::new(self.pipeline.workspace.clone()),
            wall_max: self.start.timeout,
            idle_max: self.idle_max(role),
        }
    }

    /// Checks are silent for as long as their own limits allow.
    fn idle_max(&self, role: Role) -> Duration {
        match role {
            Role::Check => Duration::MAX,
            Role::Author | Role::Judge => self.pipeline.limits.idle_timeout,
        }
    }

    pub(super) fn key(&self) -> AttemptKey {
        let stage = match &self.start.job {
            Job::Stage { stage, .. } => stage.clone(),
            Job::Checks => "checks".parse().expect("a constant name is well-formed"),
        };
        AttemptKey {
            unit: self.unit.clone(),
            stage,
            round: self.start.round,
            attempt: self.start.attempt,
        }
    }

    pub(super) fn unit_spec(&self) -> &crate::spec::Unit {
        self.pipeline
            .unit(&self.unit)
            .expect("only units of the pipeline are attempted")
    }

    fn stage(&self) -> &Stage {
        self.stage
            .as_ref()
            .expect("only stages that the unit has are started")
    }

    /// The prompt and the context directory of a stage.
    fn prepare(&self) -> Result<Prepared, EngineError> {
        let assignment = Assignment {
            unit: self.unit_spec(),
            rfc: self.pipeline.rfc.as_ref(),
            stage: self.stage(),
            round: self.start.round,
            attempt: self.start.attempt,
            target: &self.target,
            base: &self.base,
            commit: &self.start.commit,
            seed: self.tools.seed,
        };
        let packet = self.packet(&assignment)?;
        Ok(agent::prepare(&assignment, &packet, &self.tools.templates)?)
    }

    fn packet(&self, assignment: &Assignment<'_>) -> Result<Packet, EngineError> {
        Ok(match &self.brief {
            Brief::Prepare { documents, failures } => Packet::Prepare {
                documents: self.with_needed(documents),
                failures: failures.clone(),
            },
            Brief::Author {
                documents,
                failures,
                note,
                findings,
                failed_checks,
                previous,
            } => match self.stage().kind {
                StageKind::Fix => Packet::Fix {
                    diff: self.diff()?,
                    findings: reported(findings),
                    checks: failed_checks.as_ref().map(failed).unwrap_or_default(),
                    failures: failures.clone(),
                    note: note.clone(),
                },
                StageKind::Implement | StageKind::Prepare | StageKind::Review | StageKind::Approve => {
                    Packet::Implement {
                        documents: self.with_needed(documents),
                        failures: failures.clone(),
                        note: note.clone(),
                        bundle: previous.as_ref().map(eviction_json),
                    }
                }
            },
            Brief::Resolve {
                conflict,
                failures,
                note,
            } => self.resolve_packet(conflict, failures, note.as_ref())?,
            Brief::Review {
                passed_checks,
                open,
                failures,
                ..
            } => Packet::Review {
                packet: ReviewPacket::new(assignment, &self.diff()?, passed_checks, &reported(open)),
                failures: failures.clone(),
            },
            Brief::Approve {
                ledger,
                evidence,
                disputed,
                failures,
            } => {
                let passed = evidence.as_ref().map(passed_names).unwrap_or_default();
                Packet::Approve {
                    packet: ReviewPacket::new(assignment, &self.diff()?, &passed, &[]),
                    ledger: ledger.iter().map(ledger_line).collect(),
                    disputes: disputed.iter().map(dispute).collect(),
                    failures: failures.clone(),
                }
            }
            Brief::Checks => unreachable!("checks have no packet"),
        })
    }

    /// The documents of the unit's own stages, after those of the exploring units it needs.
    fn with_needed(&self, own: &[(crate::id::StageName, String)]) -> Vec<ChainDocument> {
        let own = own.iter().map(|(name, text)| ChainDocument {
            name: name.to_string(),
            text: text.clone(),
        });
        self.documents.iter().cloned().chain(own).collect()
    }

    fn diff(&self) -> Result<DiffText, EngineError> {
        self.diff_of(&self.base, &self.start.commit)
    }

    pub(super) fn diff_of(&self, base: &Oid, head: &Oid) -> Result<DiffText, EngineError> {
        let repository = &self.tools.repository;
        let patch = repository.diff_patch(base, head, PATCH_BYTES_MAX)?;
        let files = repository.diff_stat(base, head)?;
        let files = files.into_iter().map(|stat| FileLine {
            path: stat.path,
            added: stat.added,
            removed: stat.removed,
            binary: stat.binary,
        });
        Ok(DiffText {
            patch: patch.text,
            truncated: patch.truncated,
            files: files.collect(),
        })
    }
}

/// What an agent returned without the secrets it was given: all of it goes into the journal, and from there into
/// prompts, bundles and reports. Ids, heads and verdicts are ours and stay as they are.
fn redacted(redactor: &Redactor, output: Output) -> Output {
    let clean = |text: String| redactor.clean(&text).into_owned();
    match output {
        Output::Document { text } => Output::Document { text: clean(text) },
        Output::Work {
            head,
            summary,
            testing_notes,
            resolutions,
            guards,
            touched,
        } => Output::Work {
            head,
            summary: clean(summary),
            testing_notes: testing_notes.map(clean),
            resolutions: resolutions
                .into_iter()
                .map(|resolution| Resolution {
                    note: clean(resolution.note),
                    ..resolution
                })
                .collect(),
            guards,
            touched,
        },
        Output::Review {
            verdict,
            findings,
            ledger,
        } => Output::Review {
            verdict,
            findings: findings
                .into_iter()
                .map(|finding| ReportedFinding {
                    title: clean(finding.title),
                    detail: clean(finding.detail),
                    suggestion: finding.suggestion.map(clean),
                    ..finding
                })
                .collect(),
            ledger,
        },
        Output::Decision { approved, reason } => Output::Decision {
            approved,
            reason: clean(reason),
        },
        Output::Checks { .. } => output,
    }
}

fn reported(open: &[unit::OpenFinding]) -> Vec<OpenFinding> {
    open.iter()
        .map(|open| OpenFinding {
            id: open.id.clone(),
            finding: open.reported.clone(),
        })
        .collect()
}

fn failed(evidence: &crate::event::Evidence) -> Vec<FailedCheck> {
    evidence
        .results
        .iter()
        .filter(|result| result.outcome != crate::event::CheckOutcome::Passed)
        .map(|result| FailedCheck {
            name: result.name.clone(),
            log: result.tail.clone(),
        })
        .collect()
}

fn passed_names(evidence: &crate::event::Evidence) -> Vec<String> {
    let passed = |result: &&crate::event::CheckResult| result.outcome == crate::event::CheckOutcome::Passed;
    evidence
        .results
        .iter()
        .filter(passed)
        .map(|result| result.name.clone())
        .collect()
}

/// How an earlier try ended, as the author of the next is told.
fn eviction_json(eviction: &unit::Eviction) -> String {
    serde_json::json!({"reason": eviction.reason, "sentence": eviction.sentence}).to_string()
}

fn ledger_line(entry: &unit::LedgerEntry) -> LedgerLine {
    LedgerLine {
        id: entry.id.clone(),
        title: entry.title.clone(),
        severity: entry.severity,
        file: entry.file.clone(),
        line: entry.line,
        state: entry.state.as_str().to_owned(),
    }
}

fn dispute(dispute: &unit::Dispute) -> Dispute {
    Dispute {
        id: dispute.finding.clone(),
        claim: dispute.note.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::ResolutionAction;

    #[test]
    fn no_secret_gets_into_the_journal_by_what_an_agent_returns() {
        let secret = "sk-canary-0123456789";
        let redactor = Redactor::new([secret]);
        let oid: Oid = "a".repeat(40).parse().unwrap();
        let said = format!("the key is {secret}");
        let work = Output::Work {
            head: crate::event::Head {
                commit: oid.clone(),
                tree: oid,
            },
            summary: said.clone(),
            testing_notes: Some(said.clone()),
            resolutions: vec![Resolution {
                finding: "F-1".to_owned(),
                action: ResolutionAction::Fixed,
                note: said.clone(),
            }],
            guards: Vec::new(),
            touched: Vec::new(),
        };
        let decision = Output::Decision {
            approved: false,
            reason: said.clone(),
        };
        for output in [work, decision, Output::Document { text: said }] {
            let clean = redacted(&redactor, output);
            assert!(
                !serde_json::to_string(&clean).unwrap().contains(secret),
                "{clean:?}"
            );
        }
    }
}
