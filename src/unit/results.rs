//! The fold, continued: what the answer of each kind of stage changes.
//!
//! The answers of a panel are kept until they decide. In a review the merged findings decide, so that one member's
//! blocking finding blocks whatever the others say; in an approve stage the quorum does.

use std::collections::BTreeSet;

use jiff::Timestamp;

use crate::event::{
    CheckOutcome, Evidence, GuardAction, GuardHit, Head, Job, LineRange, Outcome, Output, Resolution,
    ResolutionAction, Verdict,
};
use crate::id::StageName;
use crate::spec::{Performer, StageKind};

use super::attempts::{Cause, SETUP_FAILED_PREFIX, job_name};
use super::conflict::is_resolve;
use super::ledger::{Measure, Report, Source};
use super::{InFlight, OpenConflict, State, brief, signature};

/// What an author stage returned.
struct Work<'a> {
    head: &'a Head,
    resolutions: &'a [Resolution],
    guards: &'a [GuardHit],
    touched: &'a [LineRange],
}

impl State {
    /// Takes in what an attempt returned; `false` when it is not what the job had to return.
    pub(super) fn take_output(&mut self, flight: &InFlight, output: &Output, at: Timestamp) -> bool {
        match (&flight.job, output) {
            (Job::Checks, Output::Checks { evidence }) => self.checks_returned(flight, evidence, at),
            (
                Job::Stage {
                    stage,
                    kind: StageKind::Prepare,
                    member,
                },
                Output::Document { .. },
            ) => {
                self.answer(stage, *member, output);
            }
            (
                Job::Stage {
                    stage,
                    kind: StageKind::Implement | StageKind::Fix,
                    ..
                },
                Output::Work {
                    head,
                    resolutions,
                    guards,
                    touched,
                    ..
                },
            ) => {
                let work = Work {
                    head,
                    resolutions,
                    guards,
                    touched,
                };
                self.author_returned(flight, stage, &work, at);
            }
            (
                Job::Stage {
                    stage,
                    kind: StageKind::Review,
                    member,
                },
                Output::Review { .. },
            ) => {
                if let Err(sentence) = brief::check_review(&self.open_findings(stage), output) {
                    self.attempt_failed(flight, Outcome::SchemaMissing, Some(&sentence), at);
                } else if self.answer(stage, *member, output) {
                    self.review_returned(stage);
                    self.built_in_review_returned(flight, at);
                }
            }
            (
                Job::Stage {
                    stage,
                    kind: StageKind::Approve,
                    member,
                },
                Output::Decision { .. },
            ) => {
                self.answer(stage, *member, output);
                self.decision_returned(stage);
            }
            (
                Job::Checks | Job::Stage { .. },
                Output::Document { .. }
                | Output::Work { .. }
                | Output::Review { .. }
                | Output::Decision { .. }
                | Output::Checks { .. },
            ) => return false,
        }
        true
    }

    /// Keeps a member's answer; `true` when every member has answered.
    fn answer(&mut self, stage: &StageName, member: u32, output: &Output) -> bool {
        let members = self.stage(stage).map_or(0, Self::members);
        let run = self.run_mut(stage);
        run.answers.insert(member, output.clone());
        let complete = run.answers.len() == members as usize;
        let judged_alone = matches!(output, Output::Decision { .. });
        run.done = run.done || (complete && !judged_alone);
        complete
    }

    fn checks_returned(&mut self, flight: &InFlight, evidence: &Evidence, at: Timestamp) {
        let failure = evidence.first_failure();
        match failure.map(|result| result.outcome) {
            None if evidence.results.is_empty() => {
                let told = "no check was run".to_owned();
                self.charge(&flight.job, flight.attempt, Cause::Infrastructure, Some(told), at);
            }
            None | Some(CheckOutcome::Passed) => {
                self.signatures.clear();
                self.checked = Some(evidence.clone());
            }
            Some(CheckOutcome::Interrupted) => {}
            Some(CheckOutcome::Infrastructure | CheckOutcome::Skipped) => {
                let tail = failure.map(|result| result.tail.clone()).unwrap_or_default();
                let cause = if tail.starts_with(SETUP_FAILED_PREFIX) {
                    Cause::Setup
                } else {
                    Cause::Infrastructure
                };
                self.charge(&flight.job, flight.attempt, cause, Some(tail), at);
            }
            Some(CheckOutcome::Failed | CheckOutcome::TimedOut) => {
                self.remember_failure(evidence);
                self.checked = Some(evidence.clone());
                self.charge_author_for_checks(flight.attempt, evidence, at);
            }
        }
    }

    /// Where no fix answers for failing checks, the author stage does, with its attempts.
    fn charge_author_for_checks(&mut self, attempt: u32, evidence: &Evidence, at: Timestamp) {
        if self.resolved || self.fix_for_checks().is_some() {
            return;
        }
        let Some(producer) = self.producer.clone() else {
            return;
        };
        let check = evidence
            .first_failure()
            .map(|result| result.name.as_str())
            .unwrap_or_default();
        let told = format!("check `{check}` fails on the work");
        if is_resolve(&producer) {
            self.resolution_failed(attempt, Cause::Checks, told, at);
            return;
        }
        let job = Job::Stage {
            stage: producer.clone(),
            kind: StageKind::Implement,
            member: 0,
        };
        self.run_mut(&producer).done = false;
        self.charge(&job, attempt, Cause::Checks, Some(told), at);
    }

    pub(super) fn remember_failure(&mut self, evidence: &Evidence) {
        let Some(failure) = evidence.first_failure() else {
            return;
        };
        let signature = if failure.signature.is_empty() {
            signature::failure_signature(&failure.name, &failure.tail)
        } else {
            format!("{}: {}", failure.name, failure.signature)
        };
        self.signatures.push(signature);
    }

    /// A guard refused the work: the next try is told why, and the guard's reason is the unit's in the end.
    pub(super) fn work_refused(&mut self, flight: &InFlight, hit: &GuardHit, at: Timestamp) {
        let told = Some(hit.sentence.clone());
        self.charge(&flight.job, flight.attempt, Cause::Guard(hit.reason), told, at);
    }

    fn author_returned(&mut self, flight: &InFlight, stage: &StageName, work: &Work<'_>, at: Timestamp) {
        if let Some(hit) = refusing(work.guards) {
            self.work_refused(flight, hit, at);
            return;
        }
        if is_resolve(stage) {
            self.resolved_by_author(work.head, work.guards);
            return;
        }
        let unchanged = self.head.as_ref().is_some_and(|head| head.tree == work.head.tree);
        if unchanged && !self.may_leave_unchanged(stage, work.resolutions) {
            let told = Some("the work is the same as before".to_owned());
            self.charge(&flight.job, flight.attempt, Cause::NoChange, told, at);
            return;
        }
        let judged = self.disputes_have_a_judge();
        self.ledger
            .take_resolutions(work.resolutions, judged, self.try_number);
        if !unchanged {
            self.adopt_head(stage, work);
        }
        let is_fix = self
            .stage(stage)
            .is_some_and(|stage| stage.kind == StageKind::Fix);
        if is_fix {
            self.fix_done(stage, unchanged);
        } else {
            self.run_mut(stage).done = true;
        }
    }

    /// A fix may leave the tree as it is when it has passed on every finding to a judge.
    fn may_leave_unchanged(&self, stage: &StageName, resolutions: &[Resolution]) -> bool {
        let is_fix = self
            .stage(stage)
            .is_some_and(|stage| stage.kind == StageKind::Fix);
        let passed_on = |id: &str| {
            resolutions
                .iter()
                .any(|resolution| resolution.finding == id && resolution.action != ResolutionAction::Fixed)
        };
        is_fix
            && self.failed_evidence().is_none()
            && self.disputes_have_a_judge()
            && self.blocking().all(|entry| passed_on(&entry.id))
    }

    fn adopt_head(&mut self, stage: &StageName, work: &Work<'_>) {
        for run in self.stages.values_mut() {
            run.touched.extend_from_slice(work.touched);
        }
        self.take_head(stage, work.head, work.guards);
        for name in self.reviews_of_no_fix() {
            self.reopen_review(&name);
        }
        self.reopen_approvals();
    }

    /// There is a head that nothing is known of.
    pub(super) fn take_head(&mut self, stage: &StageName, head: &Head, guards: &[GuardHit]) {
        self.head = Some(head.clone());
        self.producer = Some(stage.clone());
        self.take_gate_hits(guards);
        self.checked = None;
        self.sent_back = None;
        self.tries.remove(&Job::Checks);
        self.ledger.close_rejections(Source::Guard, None, self.try_number);
        // What judges the old head can say nothing of the new one.
        self.abandon(|flight| match &flight.job {
            Job::Checks => true,
            Job::Stage { kind, .. } => kind.is_judge(),
        });
    }

    /// What of the guards' hits a person is asked about.
    pub(super) fn take_gate_hits(&mut self, guards: &[GuardHit]) {
        let asks = |hit: &&GuardHit| hit.action == GuardAction::Gate;
        self.gate_hits = guards.iter().filter(asks).cloned().collect();
    }

    fn fix_done(&mut self, fix: &StageName, unchanged: bool) {
        // Their findings are about a head that is no more, whichever fix they are for.
        let found: Vec<StageName> = self
            .blocking()
            .filter(|entry| entry.source == Source::Review)
            .flat_map(|entry| entry.reporters.iter().cloned())
            .collect();
        self.fixes += 1;
        self.round += 1;
        self.run_mut(fix).fixes += 1;
        self.run_mut(fix).skipped = false;
        self.tries.clear();
        self.reopen_approvals();
        if unchanged {
            return;
        }
        let reviews: Vec<StageName> = self
            .stage(fix)
            .map(|fix| {
                self.reviews_of(fix)
                    .iter()
                    .map(|review| review.name.clone())
                    .collect()
            })
            .unwrap_or_default();
        let reopened: BTreeSet<StageName> = reviews.into_iter().chain(found).collect();
        for name in reopened {
            self.reopen_review(&name);
        }
    }

    fn reopen_review(&mut self, review: &StageName) {
        let run = self.run_mut(review);
        run.reviewed_before |= run.done;
        run.done = false;
        run.answers.clear();
    }

    pub(super) fn reopen_approvals(&mut self) {
        let approvals: Vec<StageName> = self
            .plan
            .tier
            .stages
            .iter()
            .filter(|stage| stage.kind == StageKind::Approve)
            .map(|stage| stage.name.clone())
            .collect();
        for name in approvals {
            let run = self.run_mut(&name);
            run.done = false;
            run.answers.clear();
        }
    }

    fn review_returned(&mut self, name: &StageName) {
        let plan = self.plan.clone();
        let built_in = self.conflict.as_ref().and_then(OpenConflict::review).cloned();
        let stage = plan.tier.stage(name.as_str());
        let Some(stage) = stage.or(built_in.as_ref()) else {
            return;
        };
        let run = self.run(name).clone();
        let measure = Measure {
            stage,
            try_number: self.try_number,
            round: self.round,
            converging: run.reviewed_before.then_some(run.touched.as_slice()),
        };
        let mut reports = Vec::new();
        for (member, answer) in &run.answers {
            let Output::Review {
                verdict,
                findings,
                ledger,
            } = answer
            else {
                continue;
            };
            let agent = match &stage.by {
                Performer::Agent(agent) => Some(agent.as_str()),
                Performer::Panel { agents, .. } => agents.get(*member as usize).map(String::as_str),
                Performer::Human | Performer::Checks => None,
            };
            reports.push((
                verdict,
                Report {
                    agent,
                    findings,
                    rows: ledger,
                },
            ));
        }
        let (verdicts, reports): (Vec<_>, Vec<_>) = reports.into_iter().unzip();
        self.ledger.take_review(&measure, &reports);
        self.run_mut(name).touched.clear();
        let blocks = self.blocking().any(|entry| entry.reporters.contains(name));
        let asks = verdicts.contains(&&Verdict::RequestChanges);
        if asks != blocks {
            let (said, found) = if asks {
                ("requests changes", "nothing it found blocks")
            } else {
                ("approves", "a finding blocks")
            };
            let round = self.round;
            self.ledger.note(format!(
                "`{name}` {said} in round {round}, but {found}; the findings decide."
            ));
        }
    }

    fn decision_returned(&mut self, name: &StageName) {
        let Some((members, quorum)) = self.stage(name).map(|stage| match &stage.by {
            Performer::Panel { quorum, .. } => (Self::members(stage), *quorum),
            Performer::Agent(_) | Performer::Human | Performer::Checks => (1, 1),
        }) else {
            return;
        };
        let mut approvals = 0;
        let mut refusals = Vec::new();
        for answer in self.run(name).answers.values() {
            if let Output::Decision { approved, reason } = answer {
                if *approved {
                    approvals += 1;
                } else {
                    refusals.push(reason.clone());
                }
            }
        }
        let refused = u32::try_from(refusals.len()).unwrap_or(u32::MAX);
        if approvals >= quorum {
            self.approve_stage(name);
        } else if refused > members.saturating_sub(quorum) {
            self.reject(Source::Approve, Some(name), &refusals.join("\n"));
        } else {
            return;
        }
        self.abandon(|flight| job_name(&flight.job) == *name);
    }

    pub(super) fn approve_stage(&mut self, name: &StageName) {
        self.run_mut(name).done = true;
        self.ledger
            .close_rejections(Source::Approve, Some(name), self.try_number);
    }

    pub(super) fn reject(&mut self, source: Source, stage: Option<&StageName>, reason: &str) {
        let place = (self.try_number, self.round);
        self.ledger.refuse_disputes(self.try_number, self.round);
        self.ledger.take_rejection(source, stage, reason, place);
    }
}

/// The guard that refuses an author's work, if one does.
pub(super) fn refusal(output: &Output) -> Option<&GuardHit> {
    match output {
        Output::Work { guards, .. } => refusing(guards),
        Output::Document { .. } | Output::Review { .. } | Output::Decision { .. } | Output::Checks { .. } => {
            None
        }
    }
}

fn refusing(guards: &[GuardHit]) -> Option<&GuardHit> {
    guards.iter().find(|hit| hit.action == GuardAction::Refuse)
}
