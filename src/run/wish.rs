//! What a person wants of a run, and the events it becomes.
//!
//! What is in the journal must be replayed for ever, so a wish that cannot be true is found out before it is written.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{IllegalEvent, State};
use crate::event::{EntryEnd, Event, Head, QueueEvent, Reason, Record, UnitEvent, UnitScoped};
use crate::id::{Oid, UnitId};
use crate::unit::Phase;

/// What a person wants of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Wish {
    /// Of one of its units.
    Unit {
        /// The unit.
        unit: UnitId,
        /// What is to become of it.
        wish: UnitWish,
    },
    /// Of its queue.
    Queue(QueueWish),
}

impl Wish {
    /// The unit it is about, where it is about one.
    pub fn unit(&self) -> Option<&UnitId> {
        match self {
            Self::Unit { unit, .. } | Self::Queue(QueueWish::Top { unit, .. }) => Some(unit),
            Self::Queue(_) => None,
        }
    }

    /// Whether that event is one that this wish becomes: then it was fulfilled, whoever uttered it.
    pub fn is_told_by(&self, event: &Event) -> bool {
        match (self, event) {
            (Self::Unit { unit, wish }, Event::Unit(scoped)) if scoped.unit == *unit => {
                match (wish, &scoped.what) {
                    (UnitWish::Approve, UnitEvent::GateDecided { approved, .. }) => *approved,
                    (UnitWish::Reject { .. }, UnitEvent::GateDecided { approved, .. }) => !approved,
                    (UnitWish::Resolve { head, .. }, UnitEvent::UnitResolved { head: taken, .. }) => {
                        head == taken
                    }
                    (UnitWish::Cancel, UnitEvent::UnitEvicted { reason, .. }) => *reason == Reason::Cancelled,
                    (UnitWish::Retry { .. }, UnitEvent::UnitRetried { .. })
                    | (UnitWish::Discard, UnitEvent::UnitDiscarded) => true,
                    _ => false,
                }
            }
            (
                Self::Unit { unit, wish },
                Event::Queue(QueueEvent::EntryLeft {
                    unit: left,
                    end: EntryEnd::Cancelled,
                }),
            ) => *wish == UnitWish::Cancel && unit == left,
            // To want the queue to be as it is changes nothing.
            _ => false,
        }
    }
}

/// What a person wants of a unit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UnitWish {
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
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
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
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum Refusal {
    /// The unit is in no state for it.
    #[error("`{unit}` is {state}: {why}")]
    WrongState {
        /// The unit.
        unit: UnitId,
        /// Where it is.
        state: String,
        /// What would have to be.
        why: String,
    },
    /// The run has no such unit.
    #[error("the run has no unit `{unit}`")]
    NoUnit {
        /// The unit.
        unit: UnitId,
    },
    /// Nothing is left to steer.
    #[error("the run is finished: nothing of it is left to start or to land")]
    Finished,
}

impl State {
    /// The events that a wish becomes; none where it is so already.
    ///
    /// # Errors
    /// When it cannot be.
    pub fn events_of(&self, now: Timestamp, wish: Wish) -> Result<Vec<Event>, Refusal> {
        match wish {
            Wish::Unit { unit, wish } => events_of_unit(self, now, &unit, wish),
            Wish::Queue(_) if self.is_complete() => Err(Refusal::Finished),
            Wish::Queue(wish) => {
                let event = event_of_queue(self, wish)?;
                Ok(event.map(Event::Queue).into_iter().collect())
            }
        }
    }
}

fn events_of_unit(
    state: &State,
    now: Timestamp,
    unit: &UnitId,
    wish: UnitWish,
) -> Result<Vec<Event>, Refusal> {
    let phase = phase_of(state, unit)?;
    let refuse = |why: &str| wrong_state(unit, phase, why);
    let leaves_queue = state.queue().generation_in_line(unit).is_some();
    let leave = Event::Queue(QueueEvent::EntryLeft {
        unit: unit.clone(),
        end: EntryEnd::Cancelled,
    });
    let mut events: Vec<Event> = leaves_queue.then_some(leave).into_iter().collect();
    // Who is cancelled in line is cancelled by leaving it.
    if wish != UnitWish::Cancel || !leaves_queue {
        let what = event_of(wish, phase).map_err(refuse)?;
        let unit = unit.clone();
        events.push(Event::Unit(UnitScoped { unit, what }));
    }
    rehearse(state, now, &events).map_err(|_| refuse("it is being landed, or is past that"))?;
    Ok(events)
}

/// Whether the events fit the state.
fn rehearse(state: &State, now: Timestamp, events: &[Event]) -> Result<(), IllegalEvent> {
    let mut state = state.clone();
    for event in events {
        let (at, event) = (now, event.clone());
        state.apply(&Record { seq: 0, at, event })?;
    }
    Ok(())
}

/// The event that a wish for the queue becomes.
fn event_of_queue(state: &State, wish: QueueWish) -> Result<Option<QueueEvent>, Refusal> {
    let queue = state.queue();
    Ok(match wish {
        QueueWish::Pause => (!queue.is_paused()).then_some(QueueEvent::QueuePaused),
        QueueWish::Resume => queue.is_paused().then_some(QueueEvent::QueueResumed),
        QueueWish::Freeze { below } => {
            (queue.frozen_below() != Some(below)).then_some(QueueEvent::QueueFrozen { below })
        }
        QueueWish::Thaw => queue.frozen_below().map(|_| QueueEvent::QueueThawed),
        QueueWish::Top { unit, interrupt } => {
            let phase = phase_of(state, &unit)?;
            let Some(own) = queue.priority_of(&unit) else {
                let why = "only a unit in the queue can be put on top";
                return Err(wrong_state(&unit, phase, why));
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

fn phase_of(state: &State, unit: &UnitId) -> Result<Phase, Refusal> {
    let found = state.unit(unit).map(crate::unit::State::phase);
    found.ok_or_else(|| Refusal::NoUnit { unit: unit.clone() })
}

fn wrong_state(unit: &UnitId, phase: Phase, why: &str) -> Refusal {
    Refusal::WrongState {
        unit: unit.clone(),
        state: phase.as_str().to_owned(),
        why: why.to_owned(),
    }
}

/// The event that a wish for a unit in this phase becomes, or what would have to be.
fn event_of(wish: UnitWish, phase: Phase) -> Result<UnitEvent, &'static str> {
    Ok(match wish {
        UnitWish::Approve if phase == Phase::Gated => UnitEvent::GateDecided {
            approved: true,
            message: None,
        },
        UnitWish::Reject { message } if phase == Phase::Gated => UnitEvent::GateDecided {
            approved: false,
            message: Some(message),
        },
        UnitWish::Approve | UnitWish::Reject { .. } => {
            return Err("only a unit that waits at a gate can be approved or rejected");
        }
        UnitWish::Retry { .. } | UnitWish::Resolve { .. } | UnitWish::Discard if phase == Phase::Landed => {
            return Err("what has landed stays landed; revert it with git if it must go");
        }
        UnitWish::Retry { .. } | UnitWish::Discard if phase == Phase::Discarded => {
            return Err("it was given up; write it into the file under another id to do it after all");
        }
        UnitWish::Cancel => match phase {
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
        UnitWish::Retry { note } => UnitEvent::UnitRetried { note },
        UnitWish::Resolve { head, base } if phase == Phase::Evicted => UnitEvent::UnitResolved { head, base },
        UnitWish::Resolve { .. } => return Err("only an evicted unit is resolved by hand"),
        UnitWish::Discard => UnitEvent::UnitDiscarded,
    })
}
