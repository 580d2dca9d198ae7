//! The part of the fold that concerns one unit's stages.

use super::model::checks_name;
use super::{
    AttemptView, CheckView, FindingState, FindingView, RunState, StageRow, StageState, UnitState, UnitView,
    View,
};
use crate::event::{
    Evidence, Gate, Head, Job, LedgerRowState, Outcome, Output, Reason, Record, ReportedFinding, Resolution,
    ResolutionAction, RestoredWork, UnitEvent, Usage, Verdict,
};
use crate::id::StageName;
use crate::spec::RESOLVE;

impl View {
    pub(super) fn apply_unit(&mut self, record: &Record, place: usize, event: &UnitEvent) {
        match event {
            UnitEvent::BranchTaken {
                branch, head, base, ..
            } => {
                let unit = &mut self.units[place];
                unit.branch = Some(branch.clone());
                unit.taken = Some(head.commit.clone());
                unit.set_head(head);
                unit.base = Some(base.clone());
            }
            UnitEvent::BranchLanded { branch, head } => {
                let unit = &mut self.units[place];
                unit.branch = Some(branch.clone());
                unit.taken = Some(head.commit.clone());
                unit.set_head(head);
                self.end(record, place, UnitState::Landed);
            }
            UnitEvent::UnitStarted { base } => {
                self.units[place].base = Some(base.clone());
                self.began(record, place);
                self.set_state(place, UnitState::Working);
            }
            UnitEvent::AttemptStarted {
                job,
                round,
                attempt,
                fence,
                agent,
                ..
            } => self.attempt_started(record, place, job, (*round, *attempt, *fence), agent.as_ref()),
            UnitEvent::AttemptEnded { .. } => self.attempt_ended(record, place, event),
            UnitEvent::StageSkipped { stage, round } => {
                let unit = &mut self.units[place];
                let kind = unit.kind_of(stage);
                unit.row(stage, kind, *round).state = StageState::Skipped;
            }
            UnitEvent::GateOpened { gate } => {
                self.units[place].gates.push(gate.clone());
                self.set_state(place, UnitState::Gated);
            }
            UnitEvent::GateDecided { approved, .. } => {
                let unit = &mut self.units[place];
                let round = unit.round.max(1);
                for gate in std::mem::take(&mut unit.gates) {
                    if let Gate::Approval { stage } = gate {
                        let kind = unit.kind_of(&stage);
                        let row = unit.row(&stage, kind, round);
                        row.state = if *approved {
                            StageState::Done
                        } else {
                            StageState::Failed
                        };
                        row.verdict = Some(if *approved { "approved" } else { "rejected" }.to_owned());
                    }
                }
                if self.units[place].state == UnitState::Gated {
                    self.set_state(place, UnitState::Working);
                }
            }
            UnitEvent::UnitApproved { head, base, .. } | UnitEvent::UnitResolved { head, base } => {
                if matches!(event, UnitEvent::UnitResolved { .. }) {
                    self.reopen();
                    self.units[place].charged = 0;
                    self.queue.person_takes_over(&self.units[place].id);
                }
                // No attempt speaks for a stage that the checks or a person's repair stand in for.
                for row in self.units[place]
                    .stages
                    .iter_mut()
                    .filter(|row| row.kind == "approve")
                {
                    if row.state == StageState::Pending {
                        row.state = StageState::Done;
                    }
                }
                self.units[place].set_head(head);
                self.units[place].base = Some(base.clone());
                self.units[place].conflicts.clear();
                self.abandon(place, |_| true);
                self.clear_reason(place);
                self.set_state(place, UnitState::Working);
            }
            UnitEvent::UnitRestored { work: None, .. } => {}
            UnitEvent::UnitRestored { work: Some(work), .. } => self.restored(record, place, work),
            UnitEvent::UnitPublished => {
                self.abandon(place, |_| true);
                self.end(record, place, UnitState::Published);
            }
            UnitEvent::UnitEvicted { reason, sentence } => {
                self.evict(record, place, *reason, sentence);
            }
            UnitEvent::UnitBlocked { on } => {
                self.units[place].reason = Some(Reason::DependencyEvicted);
                self.units[place].sentence = Some(format!("waits for {on}, which did not land"));
                self.set_state(place, UnitState::Blocked);
            }
            UnitEvent::UnitUnblocked => self.rest(place),
            UnitEvent::UnitKept { commit, .. } => {
                self.units[place].landed_as = Some(commit.clone());
                self.units[place].head = Some(commit.clone());
                self.end(record, place, UnitState::Landed);
            }
            UnitEvent::UnitRetried { .. } => {
                self.reopen();
                self.abandon(place, |_| true);
                self.units[place].restart();
                self.queue.person_takes_over(&self.units[place].id);
                self.rest(place);
            }
            UnitEvent::UnitDiscarded => {
                self.abandon(place, |_| true);
                // That it was taken out of the queue for this is no reason of its own.
                if self.units[place].reason == Some(Reason::Cancelled) {
                    (self.units[place].reason, self.units[place].sentence) = (None, None);
                }
                self.end(record, place, UnitState::Cancelled);
            }
        }
    }

    /// No attempt speaks any more for the stages whose work git still has.
    fn restored(&mut self, record: &Record, place: usize, work: &RestoredWork) {
        let unit = &mut self.units[place];
        for row in &mut unit.stages {
            if work.approved.is_some() || ["prepare", "implement"].contains(&row.kind) {
                row.state = StageState::Done;
            }
        }
        unit.set_head(&work.head);
        unit.base = Some(work.base.clone());
        self.began(record, place);
        self.set_state(place, UnitState::Working);
    }

    fn began(&mut self, record: &Record, place: usize) {
        let worked = self.run.worked.ms(record.at);
        self.units[place].began_ms.get_or_insert(worked);
    }

    /// A finished run goes on when a person brings a unit back.
    pub(super) fn reopen(&mut self) {
        if self.run.state == RunState::Finished {
            self.run.state = RunState::Paused;
            self.run.finished_at = None;
        }
    }

    fn rest(&mut self, place: usize) {
        self.clear_reason(place);
        let idle = self.idle_state(place);
        self.set_state(place, idle);
    }

    pub(super) fn clear_reason(&mut self, place: usize) {
        let unit = &mut self.units[place];
        unit.reason = None;
        unit.sentence = None;
        unit.ended_at = None;
        unit.ended_seq = None;
    }

    pub(super) fn end(&mut self, record: &Record, place: usize, state: UnitState) {
        if self.units[place].state != state {
            self.units[place].ended_at = Some(record.at);
            self.units[place].ended_seq = Some(record.seq);
        }
        self.set_state(place, state);
    }

    /// Nobody waits any more for what runs for a unit: what it comes to costs what it cost, and says nothing. Who is
    /// forgotten when is as the unit's machine has it.
    fn abandon(&mut self, place: usize, which: impl Fn(&AttemptView) -> bool) {
        for (owner, number) in self.running.values() {
            let attempt = &mut self.units[*owner].attempts[*number];
            attempt.moot |= *owner == place && which(attempt);
        }
    }

    /// What nobody waited for has no end in the journal, when its engine died before that.
    pub(super) fn forget_moot(&mut self) {
        let units = &mut self.units;
        self.running.retain(|_, (place, number)| {
            let unit = &mut units[*place];
            let attempt = unit.attempts[*number].clone();
            if attempt.moot {
                unit.leave_row(&attempt);
            }
            !attempt.moot
        });
    }

    pub(super) fn evict(&mut self, record: &Record, place: usize, reason: Reason, sentence: &str) {
        self.abandon(place, |_| true);
        self.units[place].reason = Some(reason);
        self.units[place].sentence = Some(sentence.to_owned());
        let state = if reason == Reason::Cancelled {
            UnitState::Cancelled
        } else if reason == Reason::Declined {
            UnitState::Declined
        } else {
            UnitState::Evicted
        };
        self.end(record, place, state);
    }

    fn attempt_started(
        &mut self,
        record: &Record,
        place: usize,
        job: &Job,
        (round, attempt, fence): (u32, u32, u64),
        agent: Option<&String>,
    ) {
        let unit = &mut self.units[place];
        let (stage, kind) = match job {
            Job::Stage { stage, kind, .. } => (stage.clone(), kind.as_str()),
            Job::Checks => (checks_name(), "check"),
        };
        unit.round = unit.round.max(round);
        let row = unit.row(&stage, kind, round);
        row.attempt = attempt;
        row.state = StageState::Running;
        row.agent = agent.cloned();
        row.started_at = Some(record.at);
        (row.outcome, row.duration_ms, row.finished_at) = (None, None, None);
        (row.detail, row.verdict) = (None, None);
        unit.attempts.push(AttemptView {
            stage,
            kind,
            round,
            attempt,
            agent: agent.cloned(),
            started_at: record.at,
            finished_at: None,
            outcome: None,
            verdict: None,
            detail: None,
            cost: None,
            duration_ms: None,
            blocks: false,
            moot: false,
        });
        self.running.insert(fence, (place, unit.attempts.len() - 1));
        if self.units[place].state != UnitState::Gated {
            self.set_state(place, UnitState::Working);
        }
    }

    fn attempt_ended(&mut self, record: &Record, place: usize, event: &UnitEvent) {
        let UnitEvent::AttemptEnded {
            fence,
            outcome,
            detail,
            output,
            usage,
            duration_ms,
            ..
        } = event
        else {
            return;
        };
        self.charge_usage(place, usage);
        // An outcome of an attempt that is no longer current costs what it cost and says nothing.
        let Some((owner, number)) = self.running.remove(fence).filter(|(owner, _)| *owner == place) else {
            return;
        };
        let unit = &mut self.units[owner];
        let attempt = &mut unit.attempts[number];
        attempt.finished_at = Some(record.at);
        attempt.outcome = Some(*outcome);
        attempt.detail.clone_from(detail);
        attempt.cost = usage.cost;
        attempt.duration_ms = Some(*duration_ms);
        if attempt.moot {
            let attempt = attempt.clone();
            unit.leave_row(&attempt);
            return;
        }
        let stage = attempt.stage.clone();
        let blocks = output.as_ref().is_some_and(|output| unit.blocks(&stage, output));
        let verdict = output.as_ref().map(|output| verdict_of(output, blocks));
        let attempt = &mut unit.attempts[number];
        attempt.blocks = blocks;
        attempt.verdict.clone_from(&verdict);
        let (stage, kind, round, count) = (
            attempt.stage.clone(),
            attempt.kind,
            attempt.round,
            attempt.attempt,
        );
        let row = unit.row(&stage, kind, round);
        row.cost = row.cost + usage.cost.unwrap_or_default();
        // Members of a panel share a row, which shows the one that began last.
        if row.attempt == count {
            row.state = state_after(*outcome, output.as_ref());
            row.outcome = Some(*outcome);
            row.duration_ms = Some(*duration_ms);
            row.detail.clone_from(detail);
            row.verdict = verdict;
            row.finished_at = Some(record.at);
        }
        if let Some(output) = output.as_ref().filter(|_| *outcome == Outcome::Ok)
            && unit.take_output(&stage, kind, round, output)
        {
            // What judges the old head can say nothing of the new one.
            self.abandon(place, |attempt| {
                matches!(attempt.kind, "check" | "review" | "approve")
            });
        }
    }

    fn charge_usage(&mut self, place: usize, usage: &Usage) {
        let cost = usage.cost.unwrap_or_default();
        let unit = &mut self.units[place];
        unit.cost = unit.cost + cost;
        self.run.cost = self.run.cost + cost;
        for tokens in [&mut unit.tokens, &mut self.run.tokens] {
            tokens.input = tokens
                .input
                .saturating_add(usage.input_tokens)
                .saturating_add(usage.cached_tokens);
            tokens.output = tokens.output.saturating_add(usage.output_tokens);
        }
    }
}

impl UnitView {
    /// The row of a stage in a round: the one there is, the planned one, or a new one.
    fn row(&mut self, stage: &StageName, kind: &'static str, round: u32) -> &mut StageRow {
        let exact = self
            .stages
            .iter()
            .position(|row| row.name == *stage && row.round == round);
        let planned = || {
            let untouched = |row: &StageRow| row.state == StageState::Pending && row.attempt == 0;
            self.stages
                .iter()
                .position(|row| row.name == *stage && untouched(row))
        };
        let at = exact.or_else(planned).unwrap_or_else(|| {
            self.stages.push(StageRow::pending(stage.clone(), kind));
            self.stages.len() - 1
        });
        self.stages[at].round = round;
        &mut self.stages[at]
    }

    /// The kind of a stage that has a row.
    fn kind_of(&self, stage: &StageName) -> &'static str {
        self.stages
            .iter()
            .find(|row| row.name == *stage)
            .map_or("", |row| row.kind)
    }

    /// Back to the plan; the attempts and their cost stay.
    fn restart(&mut self) {
        let mut seen = std::collections::BTreeSet::new();
        self.stages.retain(|row| seen.insert(row.name.clone()));
        for row in &mut self.stages {
            *row = StageRow::pending(row.name.clone(), row.kind);
        }
        self.head_tree = None;
        self.round = 0;
        self.fixes_used = 0;
        self.charged = 0;
        self.findings.clear();
        self.checks.clear();
        self.gates.clear();
        self.conflicts.clear();
    }

    pub(super) fn set_head(&mut self, head: &Head) {
        self.head = Some(head.commit.clone());
        self.head_tree = Some(head.tree.clone());
    }

    /// The row of an attempt that nobody waits for any more is free for the next one.
    fn leave_row(&mut self, attempt: &AttemptView) {
        let is_its = |row: &&mut StageRow| {
            let (name, round) = (&row.name, row.round);
            (name, round, row.attempt) == (&attempt.stage, attempt.round, attempt.attempt)
        };
        if let Some(row) = self.stages.iter_mut().find(is_its) {
            row.cost = row.cost + attempt.cost.unwrap_or_default();
            row.duration_ms = attempt.duration_ms;
            row.finished_at = attempt.finished_at;
            if row.state == StageState::Running {
                row.state = StageState::Pending;
                row.outcome = Some(Outcome::Interrupted);
            }
        }
    }

    /// Takes in what an attempt returned; `true` when the unit has another head now.
    fn take_output(&mut self, stage: &StageName, kind: &'static str, round: u32, output: &Output) -> bool {
        match output {
            Output::Document { .. } | Output::Decision { .. } => {}
            Output::Work {
                head, resolutions, ..
            } => {
                let is_new = stage.as_str() == RESOLVE || self.head_tree.as_ref() != Some(&head.tree);
                if is_new {
                    self.set_head(head);
                }
                self.fixes_used += u32::from(kind == "fix" && stage.as_str() != RESOLVE);
                // What it says of a conflict is about no finding.
                for resolution in resolutions.iter().filter(|_| stage.as_str() != RESOLVE) {
                    self.resolve(resolution);
                }
                return is_new;
            }
            Output::Review { findings, ledger, .. } => {
                for row in ledger {
                    if let Some(finding) = self.findings.iter_mut().find(|finding| finding.id == row.id) {
                        finding.state = match row.state {
                            LedgerRowState::Resolved => FindingState::Resolved,
                            LedgerRowState::Persists => FindingState::Open,
                        };
                    }
                }
                for reported in findings {
                    self.take_finding(stage, round, reported);
                }
            }
            Output::Checks { evidence } => self.take_checks(evidence, "head"),
        }
        false
    }

    fn resolve(&mut self, resolution: &Resolution) {
        if let Some(finding) = self
            .findings
            .iter_mut()
            .find(|finding| finding.id == resolution.finding)
        {
            finding.state = match resolution.action {
                ResolutionAction::Fixed => FindingState::Fixed,
                ResolutionAction::Disputed => FindingState::Disputed,
                ResolutionAction::Deferred => FindingState::Deferred,
            };
            finding.resolution = Some(resolution.clone());
        }
    }

    /// A finding about one that is known opens it again; any other gets the next number.
    fn take_finding(&mut self, stage: &StageName, round: u32, reported: &ReportedFinding) {
        let known = self
            .findings
            .iter_mut()
            .find(|finding| Some(&finding.id) == reported.id.as_ref());
        if let Some(finding) = known {
            finding.state = FindingState::Open;
            finding.reported = reported.clone();
            return;
        }
        self.findings.push(FindingView {
            id: format!("F-{}", self.findings.len() + 1),
            stage: stage.clone(),
            round,
            reported: reported.clone(),
            state: FindingState::Open,
            resolution: None,
        });
    }

    pub(super) fn take_checks(&mut self, evidence: &Evidence, on: &'static str) {
        self.checks = evidence
            .results
            .iter()
            .map(|result| CheckView {
                result: result.clone(),
                on,
            })
            .collect();
    }
}

fn state_after(outcome: Outcome, output: Option<&Output>) -> StageState {
    match outcome {
        Outcome::Ok => match output {
            Some(Output::Checks { evidence }) if !evidence.passed() => StageState::Failed,
            _ => StageState::Done,
        },
        Outcome::Interrupted | Outcome::Panicked => StageState::Pending,
        Outcome::Failed
        | Outcome::Contradicted
        | Outcome::NoChange
        | Outcome::SchemaMissing
        | Outcome::Denied
        | Outcome::Timeout
        | Outcome::Idle
        | Outcome::Budget
        | Outcome::RateLimited { .. }
        | Outcome::Auth
        | Outcome::Crashed => StageState::Failed,
    }
}

/// `1 note`, `2 notes`.
fn counted(count: usize, noun: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {noun}{plural}")
}

/// What an attempt said, in a few words.
fn verdict_of(output: &Output, blocks: bool) -> String {
    match output {
        Output::Document { .. } => "document".to_owned(),
        Output::Work { head, .. } => head.commit.short().to_owned(),
        Output::Review {
            verdict,
            findings,
            ledger,
        } => {
            let persist = ledger
                .iter()
                .filter(|row| row.state == LedgerRowState::Persists)
                .count();
            let count = findings.len().max(persist);
            let found = match (blocks, count) {
                (true, _) => counted(count, "finding"),
                (false, 0) => "approved".to_owned(),
                (false, notes) => format!("approved ({})", counted(notes, "note")),
            };
            // What it said and what it found contradict each other; what it found decides.
            match (blocks, verdict) {
                (true, Verdict::Approve) => format!("{found}, though it said approve"),
                (false, Verdict::RequestChanges) => format!("{found}, though it asked for changes"),
                (true, Verdict::RequestChanges) | (false, Verdict::Approve) => found,
            }
        }
        Output::Decision { approved: true, .. } => "approved".to_owned(),
        Output::Decision { reason, .. } => format!("rejected: {reason}"),
        Output::Checks { evidence } => match evidence.first_failure() {
            Some(failed) => format!("{} failed", failed.name),
            None if evidence.results.is_empty() => "no check ran".to_owned(),
            None => format!("{} passed", counted(evidence.results.len(), "check")),
        },
    }
}
