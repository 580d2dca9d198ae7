//! What callers of the control socket want, done between two steps.
//!
//! A wish is answered once it is in the journal. A caller that went away changes nothing: what it asked for is done.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Engine, EngineError};
use crate::control::Call;
use crate::event::{Event, RunEvent};
use crate::id::RunId;
use crate::run::{Refusal, Wish};
use crate::spec::{Pipeline, Unit};

/// A request to the engine that has a repository.
#[derive(Debug, Serialize, Deserialize)]
pub struct Request {
    /// The run it is about.
    pub run: RunId,
    /// What is wanted.
    pub want: Want,
}

/// What a request wants.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Want {
    /// Something that a person wishes.
    Wish(Wish),
    /// More units for the run.
    Grow(Growth),
}

/// Units that a run is given while it goes on.
#[derive(Debug, Serialize, Deserialize)]
pub struct Growth {
    /// They stand behind those it has.
    pub units: Vec<Unit>,
    /// The run's frozen file with them.
    pub frozen: String,
    /// The hash of its pipeline.
    pub hash: String,
}

/// What an engine says to a request.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// It is done, and these are the events it became; none where it was so already.
    Done(Vec<Event>),
    /// It cannot be.
    Refused(Refusal),
    /// It is nothing for this engine.
    NotHere(NotHere),
}

/// Why a request is nothing for an engine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum NotHere {
    /// It has another run.
    #[error("the engine that runs here works on run {running}")]
    OtherRun {
        /// That run.
        running: RunId,
    },
    /// It does not know what is wanted.
    #[error("the engine that runs here is of version {version} and does not know this wish")]
    OtherVersion {
        /// Its version.
        version: String,
    },
    /// The units were added to another pipeline than the run has.
    #[error("the run that goes on here has other units than the file")]
    OtherUnits,
}

impl Engine {
    /// Does what a caller wants, and answers.
    pub(super) async fn answer(&mut self, call: Call) -> Result<(), EngineError> {
        let answer = match serde_json::from_str::<Request>(&call.request) {
            Err(_) => Answer::NotHere(NotHere::OtherVersion {
                version: env!("CARGO_PKG_VERSION").to_owned(),
            }),
            Ok(request) if request.run != self.run => Answer::NotHere(NotHere::OtherRun {
                running: self.run.clone(),
            }),
            Ok(request) => match request.want {
                Want::Wish(wish) => self.fulfil(wish)?,
                Want::Grow(growth) => self.grow(growth).await?,
            },
        };
        let text = serde_json::to_string(&answer).expect("an answer is plain data");
        // Whoever asked may not wait any more.
        drop(call.answer.send(text));
        Ok(())
    }

    fn fulfil(&mut self, wish: Wish) -> Result<Answer, EngineError> {
        match self.state.events_of(self.tools.clock.now(), wish) {
            Ok(events) => {
                self.record(&events)?;
                Ok(Answer::Done(events))
            }
            Err(refusal) => Ok(Answer::Refused(refusal)),
        }
    }

    /// Gives the run more units. Killed in between, it has the units it had, and the next `run` adds these.
    async fn grow(&mut self, growth: Growth) -> Result<Answer, EngineError> {
        let had = self.state.pipeline();
        let is_new = |unit: &Unit| unit.from_branch.is_some() && had.unit(&unit.id).is_none();
        if !growth.units.iter().all(is_new) {
            return Ok(Answer::NotHere(NotHere::OtherUnits));
        }
        if growth.units.is_empty() {
            return Ok(Answer::Done(Vec::new()));
        }
        let mut more = Pipeline::clone(had);
        more.units.extend(growth.units.iter().cloned());
        let more = Arc::new(more);
        let ids: Vec<_> = growth.units.into_iter().map(|unit| unit.id).collect();
        if let Some(only) = &mut self.options.only {
            Arc::make_mut(only).extend(ids.iter().cloned());
        }
        self.inputs = crate::run::inputs(&more);
        self.observer.grown(&more);
        self.state = self.state.clone().grown(more);
        let added = Event::Run(RunEvent::UnitsAdded {
            units: ids,
            frozen: growth.hash,
        });
        self.record(std::slice::from_ref(&added))?;
        self.store.replace_frozen(&self.run, growth.frozen.as_bytes())?;
        self.write_missing_records().await?;
        Ok(Answer::Done(vec![added]))
    }
}
