//! Panics of the engine's own steps: caught where the step belongs to a unit, so that the run goes on without it.
//!
//! A step is a task (an attempt, a verification) or blocking work of git (putting a unit onto a base, moving the target).
//! What the dispatcher itself does, folding events and writing them down, is not caught: a state that may be half
//! changed is not gone on with.

use std::any::Any;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::task::Poll;

use super::{Engine, EngineError};
use crate::event::{Event, LandRefusal, QueueEvent, QueueStep};
use crate::id::{Oid, UnitId};
use crate::queue::VerifiedCandidate;

/// Longest message that is kept, in characters.
const MESSAGE_CHARS_MAX: usize = 500;

/// Drives a task; what its panic said, if it panics. The task is never asked again after that, and what it owns is its
/// own, so nothing half-changed is seen by anybody.
pub(super) async fn caught<T>(task: impl Future<Output = T>) -> Result<T, String> {
    let mut task = pin!(task);
    std::future::poll_fn(move |context| {
        let task: Pin<&mut _> = task.as_mut();
        match catch_unwind(AssertUnwindSafe(|| task.poll(context))) {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(done)) => Poll::Ready(Ok(done)),
            Err(panic) => Poll::Ready(Err(message(&*panic))),
        }
    })
    .await
}

/// What a panic in blocking work said; any other error again.
pub(super) fn panic_of(error: EngineError) -> Result<String, EngineError> {
    match error {
        EngineError::Task(error) => match error.try_into_panic() {
            Ok(panic) => Ok(message(&*panic)),
            Err(error) => Err(EngineError::Task(error)),
        },
        other => Err(other),
    }
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("(no message)");
    text.chars().take(MESSAGE_CHARS_MAX).collect()
}

impl Engine {
    /// Records that a step about these units panicked; of those that have left the line meanwhile nothing is to be told.
    pub(super) fn record_panic(
        &mut self,
        units: &[UnitId],
        commit: Option<Oid>,
        step: QueueStep,
        message: &str,
    ) -> Result<(), EngineError> {
        let queue = self.state.queue();
        let is_in_line = |unit: &&UnitId| queue.generation_in_line(unit).is_some();
        let units: Vec<UnitId> = units.iter().filter(is_in_line).cloned().collect();
        if units.is_empty() {
            return Ok(());
        }
        let message = crate::agent::redact::Redactor::new(self.tools.pass_env.values())
            .clean(message)
            .into_owned();
        self.record(&[Event::Queue(QueueEvent::StepPanicked {
            units,
            commit,
            step,
            message,
        })])
    }

    /// Settles a landing that panicked: the target tells whether it moved. The panic is the candidate's; where it landed
    /// all the same, what is left to do is not about an entry any more.
    pub(super) async fn land_panicked(
        &mut self,
        verified: &VerifiedCandidate,
        error: EngineError,
    ) -> Result<(), EngineError> {
        if self.state.queue().unfollowed().is_some() {
            return Err(error);
        }
        let message = panic_of(error)?;
        if self.state.queue().pending_landing().is_some() {
            let repository = &self.tools.repository;
            let tip = repository.tip(self.target())?;
            let landed = match &tip {
                Some(tip) => repository.is_ancestor(verified.to(), tip)?,
                None => false,
            };
            if landed {
                self.observer
                    .note(&format!("a bug of ours panicked after a landing: {message}"));
                self.record(&[Event::Queue(verified.landed_event())])?;
                return self.follow_last().await;
            }
            let commit = verified.to().clone();
            let tip = tip.unwrap_or_else(|| verified.from().clone());
            let cause = LandRefusal::BaseMoved { tip };
            self.record(&[Event::Queue(QueueEvent::LandRefused { commit, cause })])?;
        }
        let units: Vec<UnitId> = verified
            .units()
            .iter()
            .map(|member| member.unit.clone())
            .collect();
        self.record_panic(&units, Some(verified.to().clone()), QueueStep::Land, &message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_of_a_task_is_what_it_said_and_nothing_more() {
        assert_eq!(caught(async { 3 }).await, Ok(3));
        let waits = async {
            tokio::task::yield_now().await;
            let number = 7;
            assert!(number < 7, "number {number} is too large");
        };
        assert_eq!(caught(waits).await, Err("number 7 is too large".to_owned()));
    }

    #[tokio::test]
    async fn a_panic_in_blocking_work_is_told_from_other_errors() {
        let panicked: Result<(), _> = super::super::dispatch::blocking(|| panic!("no such thing")).await;
        let error: EngineError = panicked.unwrap_err().into();
        assert_eq!(panic_of(error).unwrap(), "no such thing");
        let other = EngineError::Preflight("disk full".to_owned());
        assert!(panic_of(other).is_err());
    }
}
