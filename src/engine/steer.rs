//! What a person says about a unit while no engine runs: written to the journal, carried out by the next `run`.

use std::sync::Arc;

use crate::event::{EntryEnd, Event, Head, QueueEvent, Reason, Record, RunEvent, UnitEvent, UnitScoped};
use crate::id::{Oid, RunId, UnitId};
use crate::port::Clock;
use crate::run::{IllegalEvent, State};
use crate::spec::Pipeline;
use crate::store::Store;
use crate::unit::Phase;

use super::EngineError;

/// What a person wants of a unit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wish {
    /// Open gate: go on.
    Approve,
    /// Open gate: no, for this reason.
    Reject {
        /// Told to the author.
        message: String,
    },
    /// Start afresh.
    Retry {
        /// Told to the author.
        note: Option<String>,
    },
    /// Take the commit a person made.
    Resolve {
        /// Their commit.
        head: Head,
        /// The commit it stands on.
        base: Oid,
    },
    /// Give it up.
    Discard,
    /// Take it out of what is done; it can be brought back.
    Cancel,
}

/// What a person wants of the queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum QueueWish {
    /// Start and land nothing.
    Pause,
    /// Lift the pause.
    Resume,
    /// Land nothing of a priority below this.
    Freeze {
        /// The lowest priority that is served.
        below: i64,
    },
    /// Lift the freeze.
    Thaw,
    /// Let a unit in line go next.
    Top {
        /// The unit.
        unit: UnitId,
        /// Break off who is served before it.
        interrupt: bool,
    },
}

/// Why a wish cannot be written down.
#[derive(Debug, thiserror::Error)]
pub enum SteerError {
    /// The unit is in no state for it.
    #[error("`{unit}` is {state}: {why}")]
    WrongState {
        /// The unit.
        unit: UnitId,
        /// Where it is.
        state: &'static str,
        /// What would have to be.
        why: &'static str,
    },
    /// The run has no such unit.
    #[error("run {run} has no unit `{unit}`")]
    NoUnit {
        /// The run.
        run: RunId,
        /// The unit.
        unit: String,
    },
    /// Nothing is left to steer.
    #[error("run {run} is finished: nothing of it is left to start or to land")]
    Finished {
        /// The run.
        run: RunId,
    },
    /// The store or the journal.
    #[error(transparent)]
    Engine(#[from] EngineError),
}

/// A run that is opened to write a person's wishes into it.
pub struct Desk {
    run: RunId,
    state: State,
    store: Store,
    clock: Arc<dyn Clock>,
}

impl Desk {
    /// Opens a run that no engine has.
    ///
    /// # Errors
    /// When the journal cannot be read or replayed.
    pub fn open(
        run: RunId,
        pipeline: Arc<Pipeline>,
        mut store: Store,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, EngineError> {
        let mut state = State::new(pipeline, String::new());
        for record in store.load(&run)? {
            state.apply(&record).map_err(|source| EngineError::Replay {
                run: run.clone(),
                source,
            })?;
        }
        Ok(Self {
            run,
            state,
            store,
            clock,
        })
    }

    /// What opening the run had to mend; to be told.
    pub fn take_notes(&mut self) -> Vec<String> {
        self.store.take_notes()
    }

    /// The state of the run.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Writes a wish down.
    ///
    /// # Errors
    /// When the unit is in no state for it; nothing is written then.
    pub fn write(&mut self, unit: &UnitId, wish: Wish) -> Result<(), SteerError> {
        let phase = self.phase(unit)?;
        let refuse = |why| SteerError::WrongState {
            unit: unit.clone(),
            state: phase.as_str(),
            why,
        };
        let leaves_queue = self.state.queue().generation_in_line(unit).is_some();
        let leave = Event::Queue(QueueEvent::EntryLeft {
            unit: unit.clone(),
            end: EntryEnd::Cancelled,
        });
        let mut events: Vec<Event> = leaves_queue.then_some(leave).into_iter().collect();
        // Who is cancelled in line is cancelled by leaving it.
        if wish != Wish::Cancel || !leaves_queue {
            let what = event_of(wish, phase).map_err(refuse)?;
            let unit = unit.clone();
            events.push(Event::Unit(UnitScoped { unit, what }));
        }
        self.rehearse(&events).map_err(|_| {
            refuse(
                "it is being landed, or is past that; `pipeline run` settles what an engine left half-done",
            )
        })?;
        self.commit(&events)
    }

    /// Writes a wish for the queue down and says which event it became; `None` where it is so already.
    ///
    /// # Errors
    /// When it cannot be; nothing is written then.
    pub fn write_queue(&mut self, wish: QueueWish) -> Result<Option<QueueEvent>, SteerError> {
        if self.state.is_complete() {
            let run = self.run.clone();
            return Err(SteerError::Finished { run });
        }
        let Some(event) = self.event_of_queue(wish)? else {
            return Ok(None);
        };
        self.commit(&[Event::Queue(event.clone())])?;
        Ok(Some(event))
    }

    /// The event that a wish for the queue becomes.
    fn event_of_queue(&self, wish: QueueWish) -> Result<Option<QueueEvent>, SteerError> {
        let queue = self.state.queue();
        Ok(match wish {
            QueueWish::Pause => (!queue.is_paused()).then_some(QueueEvent::QueuePaused),
            QueueWish::Resume => queue.is_paused().then_some(QueueEvent::QueueResumed),
            QueueWish::Freeze { below } => {
                (queue.frozen_below() != Some(below)).then_some(QueueEvent::QueueFrozen { below })
            }
            QueueWish::Thaw => queue.frozen_below().map(|_| QueueEvent::QueueThawed),
            QueueWish::Top { unit, interrupt } => {
                let phase = self.phase(&unit)?;
                let Some(own) = queue.priority_of(&unit) else {
                    return Err(SteerError::WrongState {
                        unit,
                        state: phase.as_str(),
                        why: "only a unit in the queue can be put on top",
                    });
                };
                let breaks_off = interrupt && queue.is_served_behind_others(&unit);
                let priority = queue.priority_on_top(&unit).or_else(|| breaks_off.then_some(own));
                priority.map(|priority| QueueEvent::EntryRaised {
                    unit,
                    priority,
                    interrupt,
                })
            }
        })
    }

    fn phase(&self, unit: &UnitId) -> Result<Phase, SteerError> {
        let state = self.state.unit(unit).ok_or_else(|| SteerError::NoUnit {
            run: self.run.clone(),
            unit: unit.to_string(),
        })?;
        Ok(state.phase())
    }

    fn commit(&mut self, events: &[Event]) -> Result<(), SteerError> {
        let records = self
            .store
            .commit(&self.run, self.clock.now(), events, &super::rows_of(events))
            .map_err(EngineError::from)?;
        for record in &records {
            self.state.apply(record).map_err(|source| EngineError::Replay {
                run: self.run.clone(),
                source,
            })?;
        }
        Ok(())
    }

    /// Whether the events fit the state. What is in the journal must be replayed for ever, so a wish that cannot be
    /// true is found out before it is written.
    fn rehearse(&self, events: &[Event]) -> Result<(), IllegalEvent> {
        let mut state = self.state.clone();
        for event in events {
            let (at, event) = (self.clock.now(), event.clone());
            state.apply(&Record { seq: 0, at, event })?;
        }
        Ok(())
    }

    /// Why a unit was evicted.
    pub fn eviction(&self, unit: &UnitId) -> Option<(Reason, &str)> {
        self.state.unit(unit)?.eviction()
    }
}

/// Gives a run more units. `more` are their ids with the hash of the whole pipeline, `frozen` is its file. Killed in between,
/// the run has the units it had, and whoever asks again adds these.
///
/// # Errors
/// When the journal cannot be read, or the store cannot be written.
pub fn add_units(
    store: &mut Store,
    run: &RunId,
    now: jiff::Timestamp,
    more: (Vec<UnitId>, String),
    frozen: &[u8],
) -> Result<(), EngineError> {
    let (units, hash) = more;
    store.load(run)?;
    let added = Event::Run(RunEvent::UnitsAdded { units, frozen: hash });
    store.commit(run, now, &[added], &[])?;
    Ok(store.replace_frozen(run, frozen)?)
}

/// The event that a wish for a unit in this phase becomes, or what would have to be.
fn event_of(wish: Wish, phase: Phase) -> Result<UnitEvent, &'static str> {
    Ok(match wish {
        Wish::Approve if phase == Phase::Gated => UnitEvent::GateDecided {
            approved: true,
            message: None,
        },
        Wish::Reject { message } if phase == Phase::Gated => UnitEvent::GateDecided {
            approved: false,
            message: Some(message),
        },
        Wish::Approve | Wish::Reject { .. } => {
            return Err("only a unit that waits at a gate can be approved or rejected");
        }
        Wish::Retry { .. } | Wish::Resolve { .. } | Wish::Discard if phase == Phase::Landed => {
            return Err("what has landed stays landed; revert it with git if it must go");
        }
        Wish::Retry { .. } | Wish::Discard if phase == Phase::Discarded => {
            return Err("it was given up; write it into the file under another id to do it after all");
        }
        Wish::Cancel => match phase {
            Phase::Waiting | Phase::Working | Phase::Gated | Phase::Queued | Phase::Blocked => {
                UnitEvent::UnitEvicted {
                    reason: Reason::Cancelled,
                    sentence: Reason::Cancelled.sentence().to_owned(),
                }
            }
            Phase::Landed | Phase::Published => {
                return Err("it is done; what has landed is taken back with git");
            }
            Phase::Evicted | Phase::Cancelled | Phase::Discarded => {
                return Err("it has left the run already");
            }
        },
        Wish::Retry { note } => UnitEvent::UnitRetried { note },
        Wish::Resolve { head, base } if phase == Phase::Evicted => UnitEvent::UnitResolved { head, base },
        Wish::Resolve { .. } => return Err("only an evicted unit is resolved by hand"),
        Wish::Discard => UnitEvent::UnitDiscarded,
    })
}
