//! What to do next, derived from the state each time.
//!
//! The order of the questions is the order of the rules: a stage that has used up its attempts ends the unit; a conflict
//! with the target is resolved before anything else; what stands in the way of the head goes to the fix that answers for
//! it, or ends the unit; otherwise every stage whose needs are settled is wanted; at last guards, approval and the queue.

use jiff::Timestamp;

use crate::event::{Gate, GuardHit, Job, Reason, UnitEvent};
use crate::policy;
use crate::spec::{Performer, Stage, StageKind};

use super::attempts::job_name;
use super::ledger::{LedgerEntry, Source};
use super::phase::Phase;
use super::shape::Checked;
use super::{Effect, Start, State};

/// Repeats of one blocking finding, or of one failure signature, after which more rounds are held to be in vain.
const REPEATS_MAX: usize = 3;

/// What is wanted of the world.
enum Want {
    /// A decision is to be recorded.
    Record(Box<UnitEvent>),
    /// Attempts; none when what runs must end first.
    Jobs(Vec<Job>),
}

/// What stands in the way of the head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trouble {
    SentBack,
    Checks,
    Rejection,
    Findings,
}

impl State {
    /// What is to be done now. Asking again without a new event gives the same answer; what is in flight is not
    /// asked for.
    pub fn decide(&self, now: Timestamp) -> Vec<Effect> {
        match self.phase {
            Phase::Working => {}
            Phase::Waiting
            | Phase::Gated
            | Phase::Queued
            | Phase::Landed
            | Phase::Published
            | Phase::Evicted
            | Phase::Blocked
            | Phase::Cancelled
            | Phase::Discarded => return Vec::new(),
        }
        let want = if self.is_resolved() {
            self.want_for_resolved()
        } else {
            self.want()
        };
        match want {
            Want::Record(event) => vec![Effect::Record(*event)],
            Want::Jobs(jobs) => self.start(&jobs, now),
        }
    }

    /// Open findings that stand in the way of the head as it stands.
    pub(super) fn blocking(&self) -> impl Iterator<Item = &LedgerEntry> {
        self.ledger
            .open(self.try_number)
            .filter(|entry| entry.blocks && entry.seen == self.round && !entry.state.awaits_judge())
    }

    fn want(&self) -> Want {
        if let Some((reason, sentence)) = self.exhausted() {
            return evict(reason, sentence);
        }
        if let Some(conflict) = self.unresolved() {
            return Want::Jobs(vec![Self::resolve_job(conflict)]);
        }
        match self.trouble() {
            Some((trouble, Some(fix))) => self.want_fix(trouble, fix),
            Some((trouble, None)) => self.want_without_fix(trouble),
            None => self.want_next(),
        }
    }

    /// A person's commit is approved by being theirs; only the checks are asked, and of a branch that a person vouched for
    /// only those of the queue.
    fn want_for_resolved(&self) -> Want {
        if let Some((reason, _)) = &self.sent_back {
            let sentence = "The queue's checks fail on the commit a person made.".to_owned();
            return evict(*reason, sentence);
        }
        if !self.resolved {
            return self.want_queue();
        }
        if let Some((reason, sentence)) = self.exhausted() {
            return evict(reason, sentence);
        }
        match self.checked() {
            Checked::Unknown => Want::Jobs(vec![Job::Checks]),
            Checked::Failed => evict(Reason::ChecksFailed, self.checks_sentence()),
            Checked::Passed | Checked::Waived => self.want_queue(),
        }
    }

    /// What stands in the way, with the fix that answers for it; reviews that the fix waits for come first.
    fn trouble(&self) -> Option<(Trouble, Option<&Stage>)> {
        if self.sent_back.is_some() {
            return Some((Trouble::SentBack, self.last_fix()));
        }
        if self.checked() == Checked::Failed {
            return Some((Trouble::Checks, self.fix_for_checks()));
        }
        if self.blocking().any(|entry| entry.source != Source::Review) {
            return Some((Trouble::Rejection, self.last_fix()));
        }
        let mut blocking = self.blocking().peekable();
        blocking.peek()?;
        for entry in blocking {
            let Some(fix) = self.fix_for(&entry.reporters) else {
                return Some((Trouble::Findings, None));
            };
            let reviewed = self
                .reviews_of(fix)
                .iter()
                .all(|review| self.run(&review.name).done);
            if reviewed {
                return Some((Trouble::Findings, Some(fix)));
            }
        }
        None
    }

    /// A fix waits for every review of the head: it is shown all they find, and what it returns replaces the head, so
    /// that another fix beside it would be lost.
    fn want_fix(&self, trouble: Trouble, fix: &Stage) -> Want {
        if self.flight.values().any(|flight| is_review(&flight.job)) {
            return Want::Jobs(Vec::new());
        }
        if let Some(sentence) = self.going_in_circles() {
            return evict(Reason::RoundsExhausted, sentence);
        }
        if self.fixes >= self.plan.limits.rounds {
            return self.evict_for(trouble);
        }
        if trouble == Trouble::Checks {
            let skipped = self.reviews_of(fix).into_iter().find(|review| {
                let run = self.run(&review.name);
                !run.done && run.skipped_in != Some(self.round)
            });
            if let Some(review) = skipped {
                return self.skip(review);
            }
        }
        if !self.ready_but_for_reviews(fix) {
            return Want::Jobs(self.wanted_of(&[StageKind::Prepare]));
        }
        Want::Jobs(author_job(fix).into_iter().collect())
    }

    fn want_without_fix(&self, trouble: Trouble) -> Want {
        match trouble {
            // The author stage was charged and opened again when the checks failed.
            Trouble::Checks if self.producer.is_some() => {
                Want::Jobs(self.wanted_of(&[StageKind::Prepare, StageKind::Implement]))
            }
            Trouble::SentBack | Trouble::Checks | Trouble::Rejection | Trouble::Findings => {
                self.evict_for(trouble)
            }
        }
    }

    fn evict_for(&self, trouble: Trouble) -> Want {
        let rounds = self.rounds_sentence();
        match trouble {
            Trouble::SentBack => {
                let reason = self
                    .sent_back
                    .as_ref()
                    .map_or(Reason::VerifyFailed, |(reason, _)| *reason);
                evict(reason, format!("{} {rounds}", reason.sentence()))
            }
            Trouble::Checks => evict(
                Reason::ChecksFailed,
                format!("{} {rounds}", self.checks_sentence()),
            ),
            Trouble::Rejection => {
                let said = self
                    .blocking()
                    .find(|entry| entry.source != Source::Review)
                    .map(|entry| entry.detail.clone())
                    .unwrap_or_default();
                evict(Reason::Rejected, format!("Rejected: {said} ({rounds})"))
            }
            Trouble::Findings => {
                let ids: Vec<&str> = self.blocking().map(|entry| entry.id.as_str()).collect();
                evict(
                    Reason::RoundsExhausted,
                    format!("{} still blocks. {rounds}", ids.join(", ")),
                )
            }
        }
    }

    fn rounds_sentence(&self) -> String {
        match self.last_fix() {
            None => "The tier has no fix stage.".to_owned(),
            Some(_) => format!(
                "{} of {} fix rounds are used.",
                self.fixes, self.plan.limits.rounds
            ),
        }
    }

    fn checks_sentence(&self) -> String {
        let check = self
            .failed_evidence()
            .and_then(|evidence| evidence.first_failure())
            .map(|result| result.name.as_str())
            .unwrap_or_default();
        format!("Check `{check}` fails on the unit's head.")
    }

    /// Why more rounds would be in vain, if they would.
    fn going_in_circles(&self) -> Option<String> {
        if let Some(entry) = self
            .blocking()
            .find(|entry| entry.persisted as usize >= REPEATS_MAX)
        {
            return Some(format!(
                "Finding {} persists for the {REPEATS_MAX}rd time; further rounds are held to be in vain.",
                entry.id
            ));
        }
        let failing = self.failed_evidence().is_some();
        let recent = self
            .signatures
            .len()
            .checked_sub(REPEATS_MAX)
            .map(|from| &self.signatures[from..])?;
        let same = recent.iter().all(|signature| *signature == recent[0]);
        (failing && same).then(|| {
            format!(
                "The same check failure came {REPEATS_MAX} times in a row ({}); further rounds are held to be in vain.",
                recent[0]
            )
        })
    }

    /// Nothing stands in the way: every stage whose needs are settled.
    fn want_next(&self) -> Want {
        let jobs = self.wanted_of(&[StageKind::Prepare, StageKind::Implement]);
        let author_busy =
            jobs.iter().any(is_implement) || self.flight.values().any(|flight| is_implement(&flight.job));
        let mut jobs = jobs;
        let mut checks = false;
        for stage in self.all_stages() {
            let due = !self.settled(stage) && self.ready(stage);
            match stage.kind {
                StageKind::Prepare | StageKind::Implement | StageKind::Approve => {}
                StageKind::Review | StageKind::Fix if !due => {}
                StageKind::Review | StageKind::Fix if !self.checks_allow() => checks = true,
                StageKind::Review => jobs.extend(self.unanswered(stage)),
                StageKind::Fix => return self.skip(stage),
            }
        }
        let rest = |stage: &&Stage| stage.kind != StageKind::Approve && !self.settled(stage);
        let worked = !self.all_stages().any(|stage| rest(&stage));
        if worked && self.plan.tier.is_explore() {
            return record(UnitEvent::UnitPublished);
        }
        checks = checks || worked;
        if checks && !author_busy && self.checked() == Checked::Unknown {
            jobs.push(Job::Checks);
            return Want::Jobs(jobs);
        }
        if worked {
            self.want_approval()
        } else {
            Want::Jobs(jobs)
        }
    }

    fn want_approval(&self) -> Want {
        let asked: Vec<GuardHit> = self
            .gate_hits
            .iter()
            .filter(|hit| !self.accepted_hits.iter().any(|known| same_hit(known, hit)))
            .cloned()
            .collect();
        if !asked.is_empty() {
            return self.gate_when_quiet(Gate::Guard { hits: asked });
        }
        let mut jobs = Vec::new();
        let mut by_person = None;
        let mut open = false;
        for stage in &self.plan.tier.stages {
            if self.settled(stage) {
                continue;
            }
            open = true;
            if !self.ready(stage) {
                continue;
            }
            match stage.by {
                Performer::Agent(_) | Performer::Panel { .. } => jobs.extend(self.unanswered(stage)),
                Performer::Human => by_person = by_person.or(Some(stage)),
                Performer::Checks => {}
            }
        }
        match by_person {
            // The person sees what the others decided.
            Some(stage) if jobs.is_empty() => self.gate_when_quiet(Gate::Approval {
                stage: stage.name.clone(),
            }),
            Some(_) | None if open => Want::Jobs(jobs),
            Some(_) | None => self.want_queue(),
        }
    }

    fn gate_when_quiet(&self, gate: Gate) -> Want {
        if self.flight.is_empty() {
            record(UnitEvent::GateOpened { gate })
        } else {
            Want::Jobs(Vec::new())
        }
    }

    fn want_queue(&self) -> Want {
        match (&self.head, &self.base) {
            (Some(head), Some(base)) => record(UnitEvent::UnitApproved {
                generation: self.generation + 1,
                head: head.clone(),
                base: base.clone(),
            }),
            (None, _) | (_, None) => {
                evict(Reason::NoChange, "No stage of the tier made a commit.".to_owned())
            }
        }
    }

    fn skip(&self, stage: &Stage) -> Want {
        record(UnitEvent::StageSkipped {
            stage: stage.name.clone(),
            round: self.round,
        })
    }

    /// Jobs of stages of these kinds whose needs are settled; of authors only the first.
    fn wanted_of(&self, kinds: &[StageKind]) -> Vec<Job> {
        let mut jobs = Vec::new();
        let mut author = self.flight.values().any(|flight| is_implement(&flight.job));
        for stage in &self.plan.tier.stages {
            if !kinds.contains(&stage.kind) || self.settled(stage) || !self.ready(stage) {
                continue;
            }
            match stage.kind {
                StageKind::Implement | StageKind::Fix => {
                    if !author {
                        jobs.extend(author_job(stage));
                    }
                    author = true;
                }
                StageKind::Prepare | StageKind::Review | StageKind::Approve => {
                    jobs.extend(self.unanswered(stage));
                }
            }
        }
        jobs
    }

    fn unanswered(&self, stage: &Stage) -> Vec<Job> {
        let run = self.run(&stage.name);
        (0..Self::members(stage))
            .filter(|member| !run.answers.contains_key(member))
            .map(|member| Job::Stage {
                stage: stage.name.clone(),
                kind: stage.kind,
                member,
            })
            .collect()
    }

    /// Starts for what is not in flight, or the moment at which one becomes due.
    fn start(&self, jobs: &[Job], now: Timestamp) -> Vec<Effect> {
        let idle: Vec<&Job> = jobs.iter().filter(|job| !self.is_in_flight(job)).collect();
        let costs = idle.iter().any(|job| **job != Job::Checks);
        if costs && policy::is_spent(self.spent.cost.unwrap_or_default(), self.budget()) {
            // What runs is paid for; its result may still help the person.
            if !self.flight.is_empty() {
                return Vec::new();
            }
            let limit = self.budget().unwrap_or_default();
            let spent = self.spent.cost.unwrap_or_default();
            let sentence = format!("{spent} of the unit's budget of {limit} is spent.");
            return vec![Effect::Record(UnitEvent::UnitEvicted {
                reason: Reason::BudgetExhausted,
                sentence,
            })];
        }
        let mut effects = Vec::new();
        let mut wake: Option<Timestamp> = None;
        let mut given: Vec<crate::id::StageName> = Vec::new();
        for job in idle {
            if let Some(due) = self.tries.get(job).and_then(|tries| tries.due(now)) {
                wake = Some(wake.map_or(due, |earlier| earlier.min(due)));
                continue;
            }
            let name = job_name(job);
            let siblings = given.iter().filter(|other| **other == name).count();
            let after = u32::try_from(siblings).unwrap_or(u32::MAX);
            given.push(name);
            effects.extend(self.start_of(job, after));
        }
        effects.extend(wake.map(Effect::Wake));
        effects
    }

    fn start_of(&self, job: &Job, after: u32) -> Option<Effect> {
        let agent = self.performer(job);
        let limits = &self.plan.limits;
        let commit = match job {
            Job::Stage {
                kind: StageKind::Prepare,
                ..
            } => self.base.as_ref(),
            Job::Stage { .. } | Job::Checks if self.unresolved().is_some() => self.base_for(job),
            Job::Stage { .. } | Job::Checks => self.tip(),
        }?;
        let own = match job {
            Job::Stage { stage, .. } => self.stage(stage).and_then(|stage| stage.timeout),
            Job::Checks => None,
        };
        let agents = agent
            .as_ref()
            .and_then(|name| self.plan.agents.get(name))
            .and_then(|agent| agent.timeout);
        Some(Effect::Start(Start {
            job: job.clone(),
            round: self.round,
            attempt: self.highest_attempt(job) + 1 + after,
            agent,
            commit: commit.clone(),
            timeout: own.or(agents).unwrap_or(limits.stage_timeout),
        }))
    }
}

fn record(event: UnitEvent) -> Want {
    Want::Record(Box::new(event))
}

fn evict(reason: Reason, sentence: String) -> Want {
    record(UnitEvent::UnitEvicted { reason, sentence })
}

fn author_job(stage: &Stage) -> Option<Job> {
    stage.kind.is_author().then(|| Job::Stage {
        stage: stage.name.clone(),
        kind: stage.kind,
        member: 0,
    })
}

fn is_implement(job: &Job) -> bool {
    match job {
        Job::Stage { kind, .. } => kind.is_author(),
        Job::Checks => false,
    }
}

fn is_review(job: &Job) -> bool {
    match job {
        Job::Stage { kind, .. } => *kind == StageKind::Review,
        Job::Checks => false,
    }
}

fn same_hit(one: &GuardHit, other: &GuardHit) -> bool {
    one.reason == other.reason && one.sentence == other.sentence
}
