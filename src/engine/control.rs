//! What callers of the control socket want, done between two steps.
//!
//! A wish is answered once it is in the journal. A caller that went away changes nothing: what it asked for is done.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::steer::units_added;
use super::{Engine, EngineError};
use crate::control::Call;
use crate::event::Event;
use crate::id::{RunId, UnitId};
use crate::run::{Frozen, Refusal, Wish};
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
    /// To be heard, and nothing else.
    Nothing,
    /// Something that a person wishes.
    Wish(Wish),
    /// More units for the run, which stand behind those it has. They bring branches.
    Grow(Vec<Unit>),
}

/// What an engine says to a request.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// It is written down.
    Done {
        /// The events it became; none where it was so already.
        events: Vec<Event>,
        /// Whether this engine acts upon it; otherwise the next one does.
        acts: bool,
    },
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
                Want::Nothing => self.done(Vec::new(), None),
                Want::Wish(wish) => self.fulfil(wish).await?,
                Want::Grow(units) => self.grow(units).await?,
            },
        };
        let text = serde_json::to_string(&answer).expect("an answer is plain data");
        // Whoever asked may not wait any more.
        drop(call.answer.send(text));
        Ok(())
    }

    /// That something is written down, which is about a unit or about all of them.
    fn done(&self, events: Vec<Event>, about: Option<&UnitId>) -> Answer {
        let only = self.options.only.as_ref();
        let is_left_alone = about.is_some_and(|unit| only.is_some_and(|only| !only.contains(unit)));
        let is_safe = self.state.queue().safety_stop().is_none();
        let acts = self.stopping.is_none() && is_safe && !is_left_alone;
        Answer::Done { events, acts }
    }

    async fn fulfil(&mut self, wish: Wish) -> Result<Answer, EngineError> {
        let about = wish.unit().cloned();
        match self.state.events_of(self.tools.clock.now(), wish) {
            Ok(events) => {
                self.record(&events)?;
                self.tell_of_units().await?;
                Ok(self.done(events, about.as_ref()))
            }
            Err(refusal) => Ok(Answer::Refused(refusal)),
        }
    }

    /// Gives the run more units. Killed in between, it has the units it had, and the next `run` adds these.
    async fn grow(&mut self, units: Vec<Unit>) -> Result<Answer, EngineError> {
        let had = self.state.pipeline();
        let is_new = |unit: &Unit| unit.from_branch.is_some() && had.unit(&unit.id).is_none();
        if !units.iter().all(is_new) {
            return Ok(Answer::NotHere(NotHere::OtherUnits));
        }
        if units.is_empty() {
            return Ok(self.done(Vec::new(), None));
        }
        // What the command line set for this engine is not in the file that is kept.
        let kept = crate::store::read_frozen(self.store.home(), &self.run)?;
        let kept: Frozen = serde_json::from_slice(&kept).map_err(|error| EngineError::Frozen {
            run: self.run.clone(),
            why: error.to_string(),
        })?;
        let mut more = Pipeline::clone(had);
        more.units.extend(units.iter().cloned());
        let more = Arc::new(more);
        let ids: Vec<UnitId> = units.iter().map(|unit| unit.id.clone()).collect();
        if let Some(only) = &mut self.options.only {
            Arc::make_mut(only).extend(ids.iter().cloned());
        }
        self.inputs = crate::run::inputs(&more);
        self.observer.grown(&more);
        self.state = self.state.clone().grown(more);
        let kept = kept.with(units);
        let added = units_added(ids, &kept);
        self.record(std::slice::from_ref(&added))?;
        self.store.replace_frozen(&self.run, kept.text().as_bytes())?;
        self.write_missing_records().await?;
        Ok(self.done(vec![added], None))
    }
}
