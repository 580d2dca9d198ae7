//! What a person wishes while no engine runs: written to the journal and told to git, carried out by the next `run`.

use std::sync::Arc;

use crate::event::{Event, RunEvent};
use crate::git::Repository;
use crate::id::{RunId, UnitId};
use crate::port::Clock;
use crate::run::{Frozen, Refusal, State, Wish};
use crate::spec::Pipeline;
use crate::store::Store;

use super::EngineError;
use super::rebuild::unknown_landings;
use super::records::tell_of_units;

/// Why nothing was written.
#[derive(Debug, thiserror::Error)]
pub enum SteerError {
    /// The wish cannot be.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The store or the journal.
    #[error(transparent)]
    Engine(#[from] EngineError),
}

/// A run that is opened to write a person's wishes into it.
pub struct Desk {
    run: RunId,
    state: State,
    store: Store,
    repository: Repository,
    clock: Arc<dyn Clock>,
}

impl Desk {
    /// Opens a run that no engine has.
    ///
    /// # Errors
    /// When the journal cannot be read or replayed, or is older than the target; when git fails.
    pub fn open(
        run: RunId,
        pipeline: Arc<Pipeline>,
        mut store: Store,
        repository: Repository,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, EngineError> {
        let mut state = State::new(pipeline, String::new());
        for record in store.load(&run)? {
            state.apply(&record).map_err(|source| EngineError::Replay {
                run: run.clone(),
                source,
            })?;
        }
        // What a journal that lost its end would take back may be what proves a landing.
        let units = unknown_landings(&repository, &state)?;
        if !units.is_empty() {
            return Err(EngineError::CutJournal { run, units });
        }
        let desk = Self {
            run,
            state,
            store,
            repository,
            clock,
        };
        desk.tell_git()?;
        Ok(desk)
    }

    /// Makes up for what was written down before and not told, too.
    fn tell_git(&self) -> Result<(), EngineError> {
        let units = self.state.units().map(|(id, _)| id);
        Ok(tell_of_units(&self.repository, &self.state, units)?)
    }

    /// What opening the run had to mend; to be told.
    pub fn take_notes(&mut self) -> Vec<String> {
        self.store.take_notes()
    }

    /// Writes a wish down and says which events it became; none where it is so already.
    ///
    /// # Errors
    /// When it cannot be; nothing is written then.
    pub fn write(&mut self, wish: Wish) -> Result<Vec<Event>, SteerError> {
        let events = self.state.events_of(self.clock.now(), wish)?;
        self.commit(&events)?;
        Ok(events)
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
        Ok(self.tell_git()?)
    }
}

/// Gives a run that no engine has more units: `frozen` is what it has with them. Killed in between, it has the units it had,
/// and whoever asks again adds these.
///
/// # Errors
/// When the journal cannot be read, or the store cannot be written.
pub fn add_units(
    store: &mut Store,
    run: &RunId,
    now: jiff::Timestamp,
    units: Vec<UnitId>,
    frozen: &Frozen,
) -> Result<(), EngineError> {
    store.load(run)?;
    store.commit(run, now, &[units_added(units, frozen)], &[])?;
    Ok(store.replace_frozen(run, frozen.text().as_bytes())?)
}

/// That a run has more units, `frozen` being what it has with them.
pub(super) fn units_added(units: Vec<UnitId>, frozen: &Frozen) -> Event {
    let frozen = frozen.hash();
    Event::Run(RunEvent::UnitsAdded { units, frozen })
}
