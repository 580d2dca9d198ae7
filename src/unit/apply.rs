//! The fold: what each event changes.
//!
//! The table of `phase` says whether an event may happen and where the unit stands afterwards; this file keeps the
//! rest of the state. It takes no decisions.

use jiff::Timestamp;

use crate::event::{
    AttemptNumber, Gate, Head, Job, Outcome, Output, Reason, RestoredWork, UnitEvent, Usage, Verdict,
};
use crate::id::{Oid, StageName};
use crate::spec::StageKind;

use super::attempts::{charged_outcome, job_name};
use super::ledger::Source;
use super::phase::{Happening, IllegalTransition, Rule, rule};
use super::results::refusal;
use super::{Eviction, InFlight, Judgement, QueueNews, State};

/// Shortest wait for a rate limit to end, so that a provider whose reset has passed is not asked in a tight loop.
const RATE_LIMIT_PAUSE_MIN: std::time::Duration = std::time::Duration::from_secs(1);

impl State {
    /// Takes in an event that was recorded at `at`.
    ///
    /// # Errors
    /// When the table does not allow the event where the unit stands; the state is as before.
    pub fn apply(&mut self, event: &UnitEvent, at: Timestamp) -> Result<(), IllegalTransition> {
        let happening = Happening::of_event(event);
        let next = match rule(self.phase, happening) {
            Rule::To(next) => next,
            Rule::Late => {
                self.late(event, at);
                return Ok(());
            }
            Rule::Illegal => return Err(self.illegal(happening, String::new())),
        };
        self.refuse_nonsense(event, happening)?;
        self.phase = next;
        match event {
            UnitEvent::BranchTaken { .. } => self.branch_taken(event),
            UnitEvent::BranchLanded { .. } => {}
            UnitEvent::UnitStarted { base } => {
                self.base = Some(base.clone());
                self.begin_with_branch();
            }
            UnitEvent::AttemptStarted { .. } => self.attempt_started(event),
            UnitEvent::AttemptEnded { .. } => self.attempt_ended(event, at),
            UnitEvent::StageSkipped { stage, round } => self.stage_skipped(stage, *round),
            UnitEvent::GateOpened { gate } => self.gate = Some(gate.clone()),
            UnitEvent::GateDecided { approved, message } => self.gate_decided(*approved, message.as_deref()),
            UnitEvent::UnitApproved { generation, .. } => {
                self.generation = *generation;
                self.approval_stands = true;
                self.conflict = None;
                self.abandon(|_| true);
            }
            UnitEvent::UnitPublished => self.abandon(|_| true),
            UnitEvent::UnitEvicted { reason, sentence } => self.evicted(*reason, sentence),
            UnitEvent::UnitBlocked { .. } | UnitEvent::UnitUnblocked => {}
            UnitEvent::UnitRetried { note } => self.retried(note.clone()),
            UnitEvent::UnitResolved { head, base } => self.resolved_by_person(head, base),
            UnitEvent::UnitKept { commit, .. } => self.landed = Some(commit.clone()),
            UnitEvent::UnitRestored { work, attempts } => self.restored(work.as_ref(), attempts),
            UnitEvent::UnitDiscarded => {
                self.approval_stands = false;
                self.abandon(|_| true);
            }
        }
        Ok(())
    }

    /// Takes in what the merge queue says.
    ///
    /// # Errors
    /// When the unit is not in the queue's hands; the state is as before. A cancelled entry of a unit that has gone
    /// on meanwhile is no error.
    pub fn apply_queue(&mut self, news: &QueueNews) -> Result<(), IllegalTransition> {
        let happening = Happening::of_news(news);
        match rule(self.phase, happening) {
            Rule::To(next) => self.phase = next,
            Rule::Late => return Ok(()),
            Rule::Illegal => return Err(self.illegal(happening, String::new())),
        }
        match news {
            QueueNews::Landed { commit } => self.landed = Some(commit.clone()),
            QueueNews::AlreadyLanded => {}
            QueueNews::Cancelled => self.approval_stands = false,
            QueueNews::SentBack { reason, evidence } => {
                self.remember_failure(evidence);
                self.sent_back = Some((*reason, evidence.clone()));
                self.reopen_approvals();
            }
            QueueNews::Conflicted { onto, conflicts } => self.conflicted(onto, conflicts),
            QueueNews::Evicted { reason, sentence, .. } => self.evicted(*reason, sentence),
        }
        Ok(())
    }

    fn illegal(&self, happening: Happening, detail: String) -> IllegalTransition {
        IllegalTransition {
            unit: self.plan.unit.id.to_string(),
            phase: self.phase.as_str(),
            happening: happening.as_str(),
            detail,
        }
    }

    /// Events that the table allows and that still cannot be true.
    fn refuse_nonsense(&self, event: &UnitEvent, happening: Happening) -> Result<(), IllegalTransition> {
        if let UnitEvent::BranchTaken { branch, .. } | UnitEvent::BranchLanded { branch, .. } = event
            && self.wants_branch() != Some(branch)
        {
            return Err(self.illegal(happening, format!(": it does not wait for the branch `{branch}`")));
        }
        if let UnitEvent::AttemptStarted { job, fence, .. } = event {
            if self.flight.contains_key(fence) || self.abandoned.contains(fence) {
                return Err(self.illegal(happening, format!(": fence {fence} was given before")));
            }
            if self.is_in_flight(job) {
                return Err(self.illegal(happening, format!(": `{}` runs already", job_name(job))));
            }
            if let Job::Stage { stage, kind, member } = job {
                let known = self
                    .stage(stage)
                    .is_some_and(|known| known.kind == *kind && *member < Self::members(known));
                if !known {
                    return Err(self.illegal(happening, format!(": the tier has no such stage `{stage}`")));
                }
            }
        }
        Ok(())
    }

    /// An outcome of an attempt that no longer matters, or of one that still runs beside an open gate.
    fn late(&mut self, event: &UnitEvent, at: Timestamp) {
        if let UnitEvent::AttemptEnded { .. } = event {
            self.attempt_ended(event, at);
        }
    }

    fn attempt_started(&mut self, event: &UnitEvent) {
        let UnitEvent::AttemptStarted {
            job,
            round,
            attempt,
            fence,
            agent,
            commit,
        } = event
        else {
            return;
        };
        let highest = self.numbered.entry((job_name(job), *round)).or_insert(0);
        *highest = (*highest).max(*attempt);
        if let Some(tries) = self.tries.get_mut(job) {
            tries.not_before = None;
        }
        let flight = InFlight {
            fence: *fence,
            job: job.clone(),
            round: *round,
            attempt: *attempt,
            agent: agent.clone(),
            commit: commit.clone(),
        };
        // A fix may have been skipped before the queue or an approver wanted it after all.
        if let Job::Stage {
            stage,
            kind: StageKind::Fix,
            ..
        } = job
        {
            self.run_mut(stage).skipped = false;
        }
        self.flight.insert(*fence, flight);
    }

    fn attempt_ended(&mut self, event: &UnitEvent, at: Timestamp) {
        let UnitEvent::AttemptEnded {
            fence,
            outcome,
            detail,
            output,
            packet,
            usage,
            ..
        } = event
        else {
            return;
        };
        let Some(flight) = self.flight.remove(fence) else {
            self.ignored += 1;
            if self.abandoned.remove(fence) {
                self.spend(usage);
            }
            return;
        };
        self.spend(usage);
        if let (Job::Stage { kind, .. }, Some(packet), Some(output)) = (&flight.job, packet, output)
            && kind.is_judge()
        {
            let judgement = Judgement {
                commit: flight.commit.clone(),
                agent: flight.agent.clone(),
                packet: packet.clone(),
                verdict: verdict_word(output),
            };
            self.judgements.insert(flight.job.clone(), judgement);
        }
        let refused = output
            .as_ref()
            .and_then(refusal)
            .filter(|_| *outcome == Outcome::Failed);
        if let Some(hit) = refused {
            self.work_refused(&flight, hit, at);
            return;
        }
        let taken = *outcome == Outcome::Ok
            && output
                .as_ref()
                .is_some_and(|output| self.take_output(&flight, output, at));
        if !taken {
            self.attempt_failed(&flight, *outcome, detail.as_deref(), at);
        }
    }

    fn spend(&mut self, usage: &Usage) {
        self.spent.cost = match (self.spent.cost, usage.cost) {
            (Some(before), Some(more)) => Some(before + more),
            (known, None) | (None, known) => known,
        };
        self.spent.input_tokens = self.spent.input_tokens.saturating_add(usage.input_tokens);
        self.spent.output_tokens = self.spent.output_tokens.saturating_add(usage.output_tokens);
        self.spent.cached_tokens = self.spent.cached_tokens.saturating_add(usage.cached_tokens);
    }

    pub(super) fn attempt_failed(
        &mut self,
        flight: &InFlight,
        outcome: Outcome,
        detail: Option<&str>,
        at: Timestamp,
    ) {
        if let Outcome::RateLimited { reset } = outcome {
            let soonest = at.checked_add(RATE_LIMIT_PAUSE_MIN).unwrap_or(at);
            self.hold_until(&flight.job, reset.max(soonest));
        }
        if outcome == Outcome::Panicked {
            self.panics.push(detail.unwrap_or("(no message)").to_owned());
        }
        let Some((cause, word)) = charged_outcome(outcome, &flight.job, detail) else {
            return;
        };
        let told = match &flight.job {
            // A log's tail may quote the author's work; a reviewer hears only what was wrong with its own answer.
            Job::Stage {
                kind: StageKind::Review,
                ..
            } if outcome != Outcome::SchemaMissing => None,
            Job::Stage { .. } | Job::Checks => Some(detail.unwrap_or(word).to_owned()),
        };
        self.charge(&flight.job, flight.attempt, cause, told, at);
    }

    fn stage_skipped(&mut self, name: &StageName, round: u32) {
        let is_fix = self.stage(name).is_some_and(|stage| stage.kind == StageKind::Fix);
        let run = self.run_mut(name);
        run.skipped = is_fix;
        run.skipped_in = Some(round);
    }

    fn gate_decided(&mut self, approved: bool, message: Option<&str>) {
        let message = message.unwrap_or("no reason was given");
        match (self.gate.take(), approved) {
            (Some(Gate::Approval { stage }), true) => self.approve_stage(&stage),
            (Some(Gate::Approval { stage }), false) => self.reject(Source::Approve, Some(&stage), message),
            (Some(Gate::Guard { hits }), true) => self.accepted_hits.extend(hits),
            (Some(Gate::Guard { .. }), false) => self.reject(Source::Guard, None, message),
            (None, _) => {}
        }
    }

    fn evicted(&mut self, reason: Reason, sentence: &str) {
        self.eviction = Some(Eviction {
            reason,
            sentence: sentence.to_owned(),
        });
        self.gate = None;
        self.approval_stands = false;
        self.abandon(|_| true);
    }

    /// Everything afresh; the ledger, the numbers of attempts and what was spent stay.
    fn retried(&mut self, note: Option<String>) {
        self.abandon(|_| true);
        let mut fresh = Self::new(self.plan.clone());
        fresh.try_number = self.try_number + 1;
        fresh.generation = self.generation;
        fresh.previous = self.eviction.take().or(self.previous.take());
        fresh.retry_note = note;
        fresh.abandoned = std::mem::take(&mut self.abandoned);
        fresh.numbered = std::mem::take(&mut self.numbered);
        fresh.ledger = std::mem::take(&mut self.ledger);
        fresh.spent = self.spent;
        fresh.ignored = self.ignored;
        *self = fresh;
    }

    /// What git proves of a unit whose journal was lost. Work without a proved approval is as fresh from its author: it is
    /// checked and judged again, and a person is asked again about what the guards found.
    fn restored(&mut self, work: Option<&RestoredWork>, attempts: &[AttemptNumber]) {
        for known in attempts {
            let highest = self
                .numbered
                .entry((known.stage.clone(), known.round))
                .or_insert(0);
            *highest = (*highest).max(known.attempt);
        }
        let Some(work) = work else { return };
        self.head = Some(work.head.clone());
        self.base = Some(work.base.clone());
        self.take_gate_hits(&work.guards);
        let plan = self.plan.clone();
        for stage in &plan.tier.stages {
            let is_made = match stage.kind {
                StageKind::Prepare | StageKind::Implement => true,
                StageKind::Review | StageKind::Fix | StageKind::Approve => work.approved.is_some(),
            };
            if is_made {
                self.run_mut(&stage.name).done = true;
            }
            if stage.kind == StageKind::Implement && self.intake.is_none() {
                self.producer = Some(stage.name.clone());
            }
        }
        if let Some(generation) = work.approved {
            self.generation = generation;
            self.approval_stands = true;
        }
    }

    fn resolved_by_person(&mut self, head: &Head, base: &Oid) {
        self.head = Some(head.clone());
        self.base = Some(base.clone());
        self.producer = None;
        self.resolved = true;
        self.approval_stands = false;
        self.conflict = None;
        self.checked = None;
        self.sent_back = None;
        self.gate_hits.clear();
        self.tries.clear();
        self.panics.clear();
        self.previous = self.eviction.take();
    }
}

/// What a judge said, in a word.
fn verdict_word(output: &Output) -> &'static str {
    match output {
        Output::Review {
            verdict: Verdict::Approve,
            ..
        }
        | Output::Decision { approved: true, .. } => "approve",
        Output::Review {
            verdict: Verdict::RequestChanges,
            ..
        } => "request_changes",
        Output::Decision { approved: false, .. } => "reject",
        Output::Document { .. } | Output::Work { .. } | Output::Checks { .. } => "",
    }
}
