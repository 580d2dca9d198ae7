//! The accounting of attempts: what is in flight, what was charged, what a stage failed of.

use jiff::Timestamp;

use crate::event::{Job, Outcome, Reason};
use crate::id::{Oid, StageName};
use crate::policy;
use crate::spec::{Performer, StageKind};

use super::State;
use super::shape::Checked;

/// How the detail of an attempt (or the tail of a check's result) begins when a set-up command failed. Repeated
/// set-up failures evict as `setup_failed` instead of `attempts_exhausted` or `infra_exhausted`.
pub const SETUP_FAILED_PREFIX: &str = "set-up failed: ";

/// Panics of ours after which a unit is handed to a person.
const PANICS_MAX: usize = 2;

/// Failures told to the next try.
const FAILURES_TOLD: usize = 3;

/// An attempt that runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InFlight {
    /// Its fence.
    pub fence: u64,
    /// What for.
    pub job: Job,
    /// In the round.
    pub round: u32,
    /// Its number.
    pub attempt: u32,
    /// Who performs it; `None` for checks.
    pub agent: Option<String>,
    /// The commit its worktree is at.
    pub commit: Oid,
}

/// What an attempt that was charged failed of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cause {
    /// Of something that has no reason of its own.
    Attempt,
    /// The author changed nothing.
    NoChange,
    /// A guard refused the work.
    Guard(Reason),
    /// Set-up failed.
    Setup,
    /// The checks could not be carried out.
    Infrastructure,
    /// The checks failed, and no fix stage answers for that.
    Checks,
    /// A review found what blocks, and no fix stage answers for that.
    Review,
}

impl Cause {
    fn reason(self) -> Reason {
        match self {
            Self::Attempt => Reason::AttemptsExhausted,
            Self::NoChange => Reason::NoChange,
            Self::Guard(reason) => reason,
            Self::Setup => Reason::SetupFailed,
            Self::Infrastructure => Reason::InfraExhausted,
            Self::Checks => Reason::ChecksFailed,
            Self::Review => Reason::Rejected,
        }
    }
}

/// The tries of one job in one round.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Tries {
    /// What each charged attempt failed of, oldest first.
    pub(super) charged: Vec<Cause>,
    /// What the next try is told.
    pub(super) failures: Vec<String>,
    /// No start before.
    pub(super) not_before: Option<Timestamp>,
    /// The moment from which a back-off counts.
    pub(super) backs_off_since: Option<Timestamp>,
}

impl Tries {
    /// The moment that is waited for; `None` when the next try may start now. A back-off that begins in the future was
    /// recorded before the clock was set back; it keeps nobody waiting.
    pub(super) fn due(&self, now: Timestamp) -> Option<Timestamp> {
        let set_back = self.backs_off_since.is_some_and(|since| since > now);
        self.not_before.filter(|due| *due > now && !set_back)
    }
}

impl State {
    /// Attempts a job may be charged before it is exhausted.
    pub(super) fn attempts_max(&self, job: &Job) -> usize {
        let retries = match job {
            Job::Stage { stage, .. } => self.stage(stage).and_then(|stage| stage.retries),
            Job::Checks => None,
        };
        retries.unwrap_or(self.plan.limits.retries) as usize + 1
    }

    pub(super) fn charge(
        &mut self,
        job: &Job,
        attempt: u32,
        cause: Cause,
        told: Option<String>,
        at: Timestamp,
    ) {
        let seed = self.seed(job, attempt);
        let tries = self.tries.entry(job.clone()).or_default();
        tries.charged.push(cause);
        let charged = u32::try_from(tries.charged.len()).unwrap_or(u32::MAX);
        tries.not_before = at.checked_add(policy::OF_ATTEMPTS.after(charged, seed)).ok();
        tries.backs_off_since = Some(at);
        if let Some(text) = told {
            tries.failures.push(text);
            let surplus = tries.failures.len().saturating_sub(FAILURES_TOLD);
            tries.failures.drain(..surplus);
        }
    }

    /// Holds a job back until a moment, free of charge.
    pub(super) fn hold_until(&mut self, job: &Job, until: Timestamp) {
        let tries = self.tries.entry(job.clone()).or_default();
        tries.not_before = Some(until);
        tries.backs_off_since = None;
    }

    /// Spreads the back-off of different units and stages, the same way at every replay.
    fn seed(&self, job: &Job, attempt: u32) -> u64 {
        let text = format!("{}/{}.{}.{attempt}", self.plan.unit.id, job_name(job), self.round);
        // FNV-1a: stable over versions of the standard library, which its hasher is not.
        text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        })
    }

    /// The eviction that follows from a job having used up its attempts, if one has.
    pub(super) fn exhausted(&self) -> Option<(Reason, String)> {
        if let Some(message) = self.panics.last().filter(|_| self.panics.len() >= PANICS_MAX) {
            let count = self.panics.len();
            let sentence = format!("Work on this unit panicked {count} times, the last time with: {message}");
            return Some((Reason::Internal, sentence));
        }
        self.tries
            .iter()
            .filter(|(job, tries)| tries.charged.len() >= self.attempts_max(job) && self.is_open_job(job))
            .map(|(job, tries)| {
                self.unresolvable(job, tries)
                    .unwrap_or_else(|| exhaustion(job, tries))
            })
            .next()
    }

    fn is_open_job(&self, job: &Job) -> bool {
        match job {
            Job::Stage { stage, member, .. } => self.stage(stage).is_some_and(|stage| {
                let answered = self.run(&stage.name).answers.contains_key(member);
                !self.settled(stage) && (!answered || stage.kind.is_author())
            }),
            Job::Checks => self.checked() == Checked::Unknown,
        }
    }

    /// Who performs a job.
    pub(super) fn performer(&self, job: &Job) -> Option<String> {
        let Job::Stage { stage, kind, member } = job else {
            return None;
        };
        let own = match &self.stage(stage)?.by {
            Performer::Agent(agent) => Some(agent),
            Performer::Panel { agents, .. } => agents.get(*member as usize),
            Performer::Human | Performer::Checks => None,
        };
        match kind {
            StageKind::Implement | StageKind::Fix => self.plan.unit.agent.as_ref().or(own).cloned(),
            StageKind::Prepare | StageKind::Review | StageKind::Approve => own.cloned(),
        }
    }

    /// Forgets what runs; its outcomes will be ignored, its cost will not.
    pub(super) fn abandon(&mut self, which: impl Fn(&InFlight) -> bool) {
        let fences: Vec<u64> = self
            .flight
            .values()
            .filter(|flight| which(flight))
            .map(|flight| flight.fence)
            .collect();
        for fence in fences {
            self.flight.remove(&fence);
            self.abandoned.insert(fence);
        }
    }

    pub(super) fn is_in_flight(&self, job: &Job) -> bool {
        self.flight.values().any(|flight| flight.job == *job)
    }

    /// The highest attempt number given out for a job's stage in the current round.
    pub(super) fn highest_attempt(&self, job: &Job) -> u32 {
        self.numbered
            .get(&(job_name(job), self.round))
            .copied()
            .unwrap_or(0)
    }
}

pub(super) fn exhaustion(job: &Job, tries: &Tries) -> (Reason, String) {
    let last = *tries.charged.last().expect("an exhausted job was charged");
    let name = job_name(job);
    let count = tries.charged.len();
    let attempts = if count == 1 { "attempt" } else { "attempts" };
    let told = tries
        .failures
        .last()
        .map(|text| format!(": {text}"))
        .unwrap_or_default();
    // "Nothing to do" is said only when every attempt says so; otherwise the failures are what a person must see.
    let other = tries
        .charged
        .iter()
        .rev()
        .find(|cause| **cause != Cause::NoChange);
    let cause = *other.unwrap_or(&last);
    let sentence = match cause {
        Cause::NoChange => format!("Stage `{name}` changed nothing in {count} {attempts}."),
        Cause::Checks => format!("The checks fail after {count} {attempts} of stage `{name}`{told}"),
        Cause::Setup => format!("Set-up failed in {count} {attempts} of `{name}`{told}"),
        Cause::Infrastructure => format!("The checks could not be carried out in {count} {attempts}{told}"),
        Cause::Guard(_) | Cause::Attempt | Cause::Review => {
            format!("Stage `{name}` failed in {count} {attempts}, the last time{told}")
        }
    };
    (cause.reason(), sentence)
}

/// The stage part of an attempt's name.
pub(super) fn job_name(job: &Job) -> StageName {
    match job {
        Job::Stage { stage, .. } => stage.clone(),
        Job::Checks => "checks".parse().expect("`checks` is a stage name"),
    }
}

/// What a charged outcome failed of, and what it is called; `None` when the outcome costs nothing.
pub(super) fn charged_outcome(
    outcome: Outcome,
    job: &Job,
    detail: Option<&str>,
) -> Option<(Cause, &'static str)> {
    let (cause, word) = match outcome {
        Outcome::Interrupted | Outcome::Panicked | Outcome::RateLimited { .. } | Outcome::Auth => {
            return None;
        }
        Outcome::NoChange => (Cause::NoChange, "the author changed nothing"),
        // An ok without its output is as good as no answer.
        Outcome::Ok | Outcome::SchemaMissing => {
            (Cause::Attempt, "the result is missing or of the wrong shape")
        }
        Outcome::Failed => (Cause::Attempt, "the attempt failed"),
        Outcome::Contradicted => (Cause::Attempt, "the answer contradicts the work"),
        Outcome::Denied => (Cause::Attempt, "a permission was denied"),
        Outcome::Timeout => (Cause::Attempt, "the time limit was reached"),
        Outcome::Idle => (Cause::Attempt, "the idle limit was reached"),
        Outcome::Budget => (Cause::Attempt, "the agent's own budget was reached"),
        Outcome::Crashed => (Cause::Attempt, "the agent crashed or could not be started"),
    };
    if detail.is_some_and(|text| text.starts_with(SETUP_FAILED_PREFIX)) {
        return Some((Cause::Setup, word));
    }
    match job {
        Job::Stage { .. } => Some((cause, word)),
        Job::Checks => Some((Cause::Infrastructure, word)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_back_off_that_begins_in_the_future_keeps_nobody_waiting() {
        let moment = |second| Timestamp::from_second(second).unwrap();
        let mut tries = Tries {
            not_before: Some(moment(60)),
            backs_off_since: Some(moment(50)),
            ..Tries::default()
        };
        assert_eq!(tries.due(moment(49)), None, "the clock was set back");
        assert_eq!(tries.due(moment(50)), Some(moment(60)));
        assert_eq!(tries.due(moment(60)), None);
        // A provider names a moment of its own: that is waited for by any clock.
        tries.backs_off_since = None;
        assert_eq!(tries.due(moment(49)), Some(moment(60)));
    }
}
