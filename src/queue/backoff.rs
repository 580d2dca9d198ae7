//! The wait after a verification that the machine could not carry out.
//!
//! Such a run says nothing about a commit and little about the next one, but what broke it is rarely mended within a
//! second. So the queue waits before it verifies again, whatever it verifies, and longer each time in a row; nobody is
//! charged for waiting. A run that says something about a commit ends it, and so does a new engine: a person has called
//! again.

use jiff::Timestamp;

use super::State;
use super::verdict::Verdict;
use crate::event::{Event, Hold, Record, RunEvent};
use crate::policy;

/// What the latest runs say about the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Machine {
    /// Runs in a row that it could not carry out.
    failures: u32,
    /// The run that was the last of these.
    fence: u64,
    /// When that ended; `None` until the record's time is told.
    since: Option<Timestamp>,
}

impl Machine {
    /// A run of the checks has ended.
    pub(super) fn ran(&mut self, fence: u64, verdict: Verdict) {
        match verdict {
            Verdict::Interrupted => {}
            Verdict::Infrastructure => {
                *self = Self {
                    failures: self.failures.saturating_add(1),
                    fence,
                    since: None,
                }
            }
            Verdict::Passed | Verdict::Failed | Verdict::TimedOut | Verdict::Empty | Verdict::Skipped => {
                *self = Self::default();
            }
        }
    }

    fn until(self) -> Option<Timestamp> {
        let wait = policy::OF_VERIFICATIONS.after(self.failures, self.fence);
        self.since?.checked_add(wait).ok()
    }

    /// The moment that is waited for; `None` when a run may begin. A wait that begins in the future was recorded before
    /// the clock was set back; it keeps nobody waiting.
    pub(super) fn due(self, now: Timestamp) -> Option<Timestamp> {
        let set_back = self.since.is_some_and(|since| since > now);
        self.until().filter(|until| *until > now && !set_back)
    }

    /// What an entry whose candidate is to be verified is held for.
    pub(super) fn hold(self) -> Option<Hold> {
        Some(Hold::Backoff {
            times: self.failures,
            until: self.until()?,
        })
    }
}

impl State {
    /// Takes the time of a record that was taken in.
    pub fn keep_time(&mut self, record: &Record) {
        if let Event::Run(RunEvent::EngineStarted { .. }) = record.event {
            self.machine = Machine::default();
        }
        if self.machine.failures > 0 {
            self.machine.since.get_or_insert(record.at);
        }
    }

    /// That the checks could not be run, and when they are tried again, while somebody is in line.
    pub fn backs_off(&self) -> Option<Hold> {
        self.machine.hold().filter(|_| !self.is_empty())
    }
}
