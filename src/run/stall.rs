//! The alarm for a queue that is occupied while nothing lands.
//!
//! The clock is an argument and the times are those of the records, so that a replay raises no alarm anew. The quiet
//! time begins when somebody waits whom no person holds back, and anew with every landing, with every engine (time
//! without one is nobody's stall) and when a person's hold is lifted. A pause, or a freeze of everybody, is no stall.

use jiff::{SignedDuration, Timestamp};

use super::State;
use crate::event::{Event, QueueEvent, Record, RunEvent};
use crate::queue;

/// Since when nothing has landed while somebody waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Quiet {
    /// `None` while nobody waits whom no person holds back.
    since: Option<Timestamp>,
    /// When the alarm was last raised in this time.
    told: Option<Timestamp>,
}

impl Quiet {
    /// Looks at a record that the queue has taken in.
    pub(super) fn after(&mut self, record: &Record, queue: &queue::State) {
        if queue.is_empty() || queue.is_held_by_person() {
            *self = Self::default();
            return;
        }
        let begins_anew = matches!(
            record.event,
            Event::Queue(QueueEvent::Landed { .. }) | Event::Run(RunEvent::EngineStarted { .. })
        );
        if begins_anew || self.since.is_none() {
            *self = Self {
                since: Some(record.at),
                told: None,
            };
        }
        if let Event::Queue(QueueEvent::QueueStalled { .. }) = record.event {
            self.told = Some(record.at);
        }
    }

    /// When the alarm is due, the first time or again.
    fn due(self, after: SignedDuration) -> Option<Timestamp> {
        self.told.or(self.since)?.checked_add(after).ok()
    }
}

impl State {
    /// When the next alarm is due, while somebody waits.
    pub(super) fn alarm_due(&self) -> Option<Timestamp> {
        let after = SignedDuration::try_from(self.pipeline.queue.stall_alarm).unwrap_or(SignedDuration::MAX);
        self.quiet.due(after)
    }

    /// The alarm, when it is due.
    pub(super) fn alarm(&self, now: Timestamp) -> Option<Event> {
        let since = self
            .quiet
            .since
            .filter(|_| self.alarm_due().is_some_and(|due| due <= now))?;
        Some(Event::Queue(QueueEvent::QueueStalled { since }))
    }
}
