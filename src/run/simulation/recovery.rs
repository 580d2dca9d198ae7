//! What an engine that takes the run up does first, as `engine::recovery` does it.

use std::sync::Arc;

use super::driver::{Driver, HERE, Step};
use crate::event::{Event, Hold, LandRefusal, QueueEvent, Record, RunEvent};
use crate::queue::{self, PendingLanding, Recovery, recover_landing};
use crate::run::{Preflight, State};
use crate::spec::Pipeline;

/// The state of a run is the fold of its journal.
pub(super) fn fold(pipeline: &Arc<Pipeline>, records: &[Record]) -> State {
    let mut state = State::new(Arc::clone(pipeline), HERE.to_owned());
    for record in records {
        state.apply(record).expect("a journal of ours folds");
    }
    state
}

impl Driver {
    /// Replays the journal, records that another engine has the run, and settles what the last one left half-done.
    pub(super) fn take_up(&mut self) -> Step {
        self.tasks.clear();
        let replayed = fold(&self.setting.pipeline, &self.journal);
        assert!(replayed == self.state, "the fold of the journal is the state");
        self.state = replayed;
        self.record([Event::Run(RunEvent::EngineStarted {
            epoch: self.state.epoch() + 1,
            pid: 1,
            version: String::new(),
        })])?;
        self.record(self.state.interruptions())?;
        if let Some(pending) = self.state.queue().pending_landing().cloned() {
            self.recover_landing(&pending)?;
        }
        if let Some(landed) = self.state.queue().unfollowed().cloned() {
            self.see("a checkout was brought along after a crash");
            self.follow(true, &landed.from, &landed.to)?;
        }
        let facts = self.facts();
        let queue_facts = queue::Facts {
            now: facts.now,
            tip: facts.tip,
            tip_continues: facts.tip_continues,
            slots_free: 0,
            evidence: &|_, _| None,
            known_green: &|_| false,
            paused: true,
        };
        if let Some(restored) = self.state.queue().resume_after_stop(&queue_facts) {
            self.see("a restored target was taken up again");
            self.record_queue(restored)?;
        }
        self.release_held()
    }

    fn recover_landing(&mut self, pending: &PendingLanding) -> Step {
        let verified = &pending.verified;
        let commit = verified.to().clone();
        let refused = |cause| QueueEvent::LandRefused { commit, cause };
        let Some(tip) = self.git.target.clone() else {
            let tip = verified.from().clone();
            return self.record_queue(refused(LandRefusal::BaseMoved { tip }));
        };
        let is_in = self.git.is_ancestor(verified.to(), &tip);
        match recover_landing(pending, &tip, is_in) {
            Recovery::Continue => {
                self.see("a landing went on after a crash");
                let (checkout, refusal) = self.look_at_checkout(verified.from(), verified.to());
                match refusal {
                    Some(cause) => self.record_queue(refused(cause)),
                    None if checkout == pending.checkout => self.swap(verified, checkout.is_some()),
                    None => self.record_queue(refused(LandRefusal::BaseMoved { tip })),
                }
            }
            Recovery::RecordLanded => {
                self.see("a landing was recorded after a crash");
                self.record_queue(verified.landed_event())
            }
            Recovery::Requeue => {
                self.see("a landing was given up after a crash");
                self.record_queue(refused(LandRefusal::BaseMoved { tip }))
            }
        }
    }

    fn release_held(&mut self) -> Step {
        let held = self.state.queue().entries().into_iter();
        let held = held.filter(|entry| {
            matches!(
                entry.status,
                queue::Status::Held(Hold::TargetDirty { .. } | Hold::PushRejected { .. })
            )
        });
        let released: Vec<Event> = held
            .map(|entry| Event::Queue(QueueEvent::EntryReleased { unit: entry.unit }))
            .collect();
        self.record(released)
    }

    /// What is to be checked before work begins.
    pub(super) fn to_preflight(&self) -> Option<Preflight> {
        let tip = self.git.target.as_ref()?;
        let skip = self.setting.skip_preflight;
        self.state.preflight(
            self.selection.as_deref(),
            skip,
            (tip, self.git.tree_of(tip)),
            self.now,
        )
    }
}
