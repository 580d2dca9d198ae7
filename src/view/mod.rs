//! What people see of a run: a fold of its events.
//!
//! One model for every renderer: the progress display, `status`, `show`, the bundle of an eviction.
//!
//! **Architecture Invariants:** the view shows nothing that the journal does not prove. Applying one event costs
//! time in the things the event names, never in the number of units. No order of events makes it panic: what
//! names an unknown unit or fence is ignored.

mod forecast;
mod json;
mod model;
mod queue;
mod radar;
mod standing;
mod unit;
mod worked;

use std::collections::{BTreeMap, HashMap};

pub use forecast::{History, forecast};
pub use json::outcome_word;
pub use model::{
    AttemptView, CheckView, Counts, FindingState, FindingView, RunState, RunView, StageRow, StageState,
    Tokens, UnitState, UnitView,
};
pub use worked::{Worked, elapsed_ms};

pub use standing::{Standing, Waited};

use crate::event::{Event, Foreseen, Hold, Outcome, Record, RunEvent, StopCause};
use crate::id::{Oid, UnitId};
use crate::queue::{EntryView, Settings, State as Queue};
use crate::spec::{Pipeline, Usd, Verify};

/// Everything there is to see of a run.
#[derive(Debug, Clone)]
pub struct View {
    /// The run as a whole.
    pub run: RunView,
    /// Its units, in file order.
    pub units: Vec<UnitView>,
    /// Units by state.
    pub counts: Counts,
    index: HashMap<UnitId, usize>,
    /// For each unit, the units that need it.
    dependants: Vec<Vec<usize>>,
    /// For each unit, how many of its needs are not there yet.
    needs_left: Vec<usize>,
    /// Attempts under way, by fence: the unit and the place in its attempts.
    running: BTreeMap<u64, (usize, usize)>,
    /// The merge queue, folded from the same events: it alone knows where an entry stands.
    queue: Queue,
}

impl View {
    /// The view before the first event.
    pub fn new(pipeline: &Pipeline) -> Self {
        let mut view = Self {
            run: RunView::new(pipeline),
            units: Vec::new(),
            counts: Counts::default(),
            index: HashMap::new(),
            dependants: vec![],
            needs_left: vec![],
            running: BTreeMap::new(),
            queue: Queue::new(Settings::of(pipeline)),
        };
        view.grow(pipeline);
        view
    }

    /// Takes in the units of `pipeline` that stand behind those it has.
    pub fn grow(&mut self, pipeline: &Pipeline) {
        let had = self.units.len();
        let more = pipeline.units.get(had..).unwrap_or_default();
        let ids = more.iter().map(|unit| unit.id.clone());
        self.index.extend(ids.zip(had..));
        self.dependants.resize(had + more.len(), Vec::new());
        for (place, unit) in (had..).zip(more) {
            let needed = || unit.needs.iter().filter_map(|id| self.index.get(id).copied());
            let there = |place: &usize| self.units.get(*place).is_some_and(|unit| unit.state.is_done());
            self.needs_left
                .push(needed().filter(|place| !there(place)).count());
            for needed in needed().collect::<Vec<_>>() {
                self.dependants[needed].push(place);
            }
        }
        for (place, unit) in (had..).zip(more) {
            let view = UnitView::new(pipeline, unit, self.idle_state(place));
            self.counts.add(view.state);
            self.units.push(view);
        }
    }

    /// The view after a whole journal.
    pub fn of(pipeline: &Pipeline, records: &[Record]) -> Self {
        let mut view = Self::new(pipeline);
        for record in records {
            view.apply(record);
        }
        view
    }

    /// The unit of that id.
    pub fn unit(&self, id: &UnitId) -> Option<&UnitView> {
        self.index.get(id).map(|place| &self.units[*place])
    }

    /// Attempts under way, oldest first, each with its unit.
    pub fn running(&self) -> impl Iterator<Item = (&UnitView, &AttemptView)> {
        self.running.values().map(|(place, attempt)| {
            let unit = &self.units[*place];
            (unit, &unit.attempts[*attempt])
        })
    }

    /// The units that `unit` needs and that are not there yet.
    pub fn missing_needs<'a>(&self, unit: &'a UnitView) -> Vec<&'a str> {
        let missing = |id: &&UnitId| self.unit(id).is_none_or(|needed| !needed.state.is_done());
        unit.needs.iter().filter(missing).map(UnitId::as_str).collect()
    }

    /// The merge queue.
    pub fn queue(&self) -> &Queue {
        &self.queue
    }

    /// Number of units in the queue.
    pub fn queue_length(&self) -> usize {
        self.queue.len()
    }

    /// Every unit in the queue with where it stands.
    pub fn queue_places(&self) -> HashMap<UnitId, EntryView> {
        let entries = self.queue.entries().into_iter();
        entries.map(|entry| (entry.unit.clone(), entry)).collect()
    }

    /// Whether every unit has come to an end, the queue is empty, and the checkout of the target has followed.
    pub fn is_settled(&self) -> bool {
        self.queue.is_empty()
            && !self.has_open_landing()
            && self.units.iter().all(|unit| unit.state.has_ended())
    }

    /// Commits that the branch it landed on contains unless landed work is gone: the last landing, which stands on those
    /// before it; before the first, what earlier runs landed of units that were kept.
    pub fn landed_work(&self) -> impl Iterator<Item = &Oid> {
        let kept = self.units.iter().filter_map(|unit| unit.landed_as.as_ref());
        self.queue.last_landing_or(kept)
    }

    /// Whether a landing was begun and is not known to be over, its checkout included.
    pub fn has_open_landing(&self) -> bool {
        self.queue.pending_landing().is_some() || self.queue.unfollowed().is_some()
    }

    /// Whether a unit has come to an end that a person must see to.
    pub fn needs_person(&self) -> bool {
        self.counts.of(UnitState::Evicted) + self.counts.of(UnitState::Blocked) > 0
    }

    /// For readers, who know whether an engine holds the repository: a run that its journal leaves running while
    /// none does was interrupted.
    pub fn tell_no_engine(&mut self) {
        if self.run.state == RunState::Running {
            self.run.state = self.state_at_rest();
            self.run.worked.died();
        }
        // What was under way then is not any more.
        self.queue.tell_no_engine();
        self.run.foreseen.retain(|pair| pair.uncommitted.is_empty());
        for row in self.units.iter_mut().flat_map(|unit| &mut unit.stages) {
            if row.state == StageState::Running {
                row.state = StageState::Pending;
                row.outcome = Some(Outcome::Interrupted);
            }
        }
    }

    /// How the run stands that no engine has and that is not finished.
    fn state_at_rest(&self) -> RunState {
        if self.queue.is_paused() {
            RunState::Paused
        } else {
            RunState::Interrupted
        }
    }

    /// Takes one record in.
    pub fn apply(&mut self, record: &Record) {
        match &record.event {
            Event::Run(event) => self.apply_run(record, event),
            Event::Unit(scoped) => {
                if let Some(place) = self.index.get(&scoped.unit) {
                    self.apply_unit(record, *place, &scoped.what);
                }
            }
            Event::Queue(event) => self.apply_queue(record, event),
        }
        self.forget_collisions();
        self.run.worked.event_at(record.at);
    }

    fn apply_run(&mut self, record: &Record, event: &RunEvent) {
        self.queue.keep_time(record);
        match event {
            RunEvent::RunStarted {
                run,
                name,
                file,
                target,
                meant_for,
                base,
                ..
            } => {
                self.run.id = Some(run.clone());
                self.run.name.clone_from(name);
                self.run.file.clone_from(file);
                self.run.target.clone_from(target);
                self.run.meant_for.clone_from(meant_for);
                self.run.base = Some(base.clone());
                self.run.head = Some(base.clone());
                self.run.started_at = Some(record.at);
                self.run.state = RunState::Running;
            }
            RunEvent::EngineStarted { .. } => {
                self.forget_moot();
                self.run.worked.begin(record.at);
                self.run.state = RunState::Running;
                self.run.stopped = None;
                self.run.finished_at = None;
                // Time without an engine is nobody's stall.
                self.run.stalled_since = None;
                // Whoever starts one says that what was red may pass now.
                self.run.trouble = self.trouble_of_queue();
            }
            RunEvent::EngineStopped { why } => {
                self.run.stopped = Some(*why);
                self.run.worked.end(record.at);
                self.run.state = match why {
                    StopCause::Finished if self.run.finished_at.is_some() => RunState::Finished,
                    StopCause::Signal => RunState::Interrupted,
                    // Only a part of the run was asked for, and that part is done.
                    StopCause::Finished
                    | StopCause::Budget
                    | StopCause::TimeLimit
                    | StopCause::Human
                    | StopCause::BaseRed
                    | StopCause::Environment
                    | StopCause::Safety => RunState::Paused,
                };
            }
            RunEvent::RunFinished => {
                self.run.state = RunState::Finished;
                self.run.finished_at = Some(record.at);
            }
            RunEvent::UnitsAdded { .. } => self.reopen(),
            RunEvent::PreflightEnded { evidence, also, .. } => {
                let red = evidence.together(also).first_failure().map(|failed| {
                    let check = failed.name.clone();
                    Hold::BaseRed { check }.sentence()
                });
                self.run.trouble = red.or_else(|| self.trouble_of_queue());
            }
            RunEvent::ConflictsForeseen(foreseen) => self.foresee(record.seq, foreseen),
            RunEvent::RunRebuilt { .. } => {}
        }
    }

    /// Moves a unit to a state and keeps the counts and what waits for it true.
    fn set_state(&mut self, place: usize, state: UnitState) {
        let was = std::mem::replace(&mut self.units[place].state, state);
        if was == state {
            return;
        }
        self.counts.subtract(was);
        self.counts.add(state);
        if was.is_done() == state.is_done() {
            return;
        }
        for other in self.dependants[place].clone() {
            let left = &mut self.needs_left[other];
            *left = if state.is_done() {
                left.saturating_sub(1)
            } else {
                *left + 1
            };
            if matches!(self.units[other].state, UnitState::Waiting | UnitState::Ready) {
                let idle = self.idle_state(other);
                self.set_state(other, idle);
            }
        }
    }

    /// The state of a unit on which no work is under way.
    fn idle_state(&self, place: usize) -> UnitState {
        if self.needs_left[place] == 0 {
            UnitState::Ready
        } else {
            UnitState::Waiting
        }
    }
}

impl RunView {
    fn new(pipeline: &Pipeline) -> Self {
        Self {
            id: None,
            name: pipeline.name.clone(),
            file: String::new(),
            target: pipeline.target.clone().unwrap_or_default(),
            meant_for: None,
            base: None,
            head: None,
            state: RunState::Interrupted,
            stopped: None,
            started_at: None,
            finished_at: None,
            worked: Worked::default(),
            cost: Usd::default(),
            budget: pipeline.limits.budget,
            rounds_max: pipeline.limits.rounds,
            tokens: Tokens::default(),
            waived: pipeline.verify == Verify::Waived,
            trouble: None,
            stalled_since: None,
            foreseen: Foreseen::default(),
            foreseen_since: BTreeMap::new(),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
