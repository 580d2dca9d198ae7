//! What a run of the checks says about the commit it ran on.

use crate::event::{CheckOutcome, Evidence};

/// The meaning of one run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// At least one check ran and all passed.
    Passed,
    /// A check failed.
    Failed,
    /// A check ran into its time limit.
    TimedOut,
    /// The machine could not carry it out.
    Infrastructure,
    /// It was broken off; as if it had never run.
    Interrupted,
    /// There was nothing to run.
    Empty,
    /// A check was left out although nothing before it had failed.
    Skipped,
}

impl Verdict {
    /// The first check that did not pass decides: what comes after it was not run, or is a consequence of it.
    pub(super) fn of(evidence: &Evidence) -> Self {
        if evidence.results.is_empty() {
            return Self::Empty;
        }
        match evidence.first_failure().map(|result| result.outcome) {
            None | Some(CheckOutcome::Passed) => Self::Passed,
            Some(CheckOutcome::Failed) => Self::Failed,
            Some(CheckOutcome::TimedOut) => Self::TimedOut,
            Some(CheckOutcome::Skipped) => Self::Skipped,
            Some(CheckOutcome::Infrastructure) => Self::Infrastructure,
            Some(CheckOutcome::Interrupted) => Self::Interrupted,
        }
    }

    /// The same of a run on the target. One on which a check was not run is not shown to pass it.
    pub(super) fn of_base(evidence: &Evidence) -> Self {
        match Self::of(evidence) {
            Self::Empty | Self::Skipped => Self::Infrastructure,
            verdict @ (Self::Passed
            | Self::Failed
            | Self::TimedOut
            | Self::Infrastructure
            | Self::Interrupted) => verdict,
        }
    }

    /// Whether it speaks against the commit.
    pub(super) fn is_failure(self) -> bool {
        match self {
            Self::Failed | Self::TimedOut => true,
            Self::Passed | Self::Infrastructure | Self::Interrupted | Self::Empty | Self::Skipped => false,
        }
    }
}

/// One run of the checks on the current candidate that said something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Trial {
    /// What the checks said.
    pub(super) evidence: Evidence,
    /// What it means; never [`Verdict::Interrupted`].
    pub(super) verdict: Verdict,
    /// Whether its charge is recorded.
    pub(super) charged: bool,
}

/// Where the trials of a candidate have led.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing<'a> {
    /// Another run is needed.
    Open {
        /// Whether nothing has failed yet, so that earlier evidence may stand in for a run.
        fresh: bool,
    },
    /// It passed.
    Proven(&'a Evidence),
    /// It failed twice; this is the later one.
    FailedTwice(&'a Trial),
    /// The machine failed, and that is not charged.
    InfrastructureUncharged {
        /// How often in a row.
        times: usize,
        /// As in [`Self::Open`].
        fresh: bool,
    },
    /// It can never be proved.
    NoGate(&'a Trial),
}

/// Reads the trials of one candidate, oldest first.
pub(super) fn standing(trials: &[Trial]) -> Standing<'_> {
    let mut failures = trials.iter().filter(|trial| trial.verdict.is_failure());
    let (first, last) = (failures.next(), failures.next_back());
    let fresh = first.is_none();
    if let Some(trial) = trials.last() {
        match trial.verdict {
            Verdict::Passed => return Standing::Proven(&trial.evidence),
            Verdict::Empty | Verdict::Skipped => return Standing::NoGate(trial),
            Verdict::Infrastructure if !trial.charged => {
                let at_last = trials.iter().rev();
                let times = at_last.take_while(|trial| trial.verdict == Verdict::Infrastructure);
                let times = times.count();
                return Standing::InfrastructureUncharged { times, fresh };
            }
            Verdict::Failed | Verdict::TimedOut | Verdict::Infrastructure | Verdict::Interrupted => {}
        }
    }
    match last {
        Some(last) => Standing::FailedTwice(last),
        None => Standing::Open { fresh },
    }
}
