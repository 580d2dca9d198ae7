//! What an engine that takes a run up does first: settle what another left half-done.
//!
//! | the other engine died | what is done |
//! | --- | --- |
//! | while an attempt or a verification ran | it is recorded as interrupted, costs nothing, and is made again |
//! | when an agent had ended, before its outcome was recorded | what it left is taken over as if nothing had happened |
//! | between the intent to land and its outcome, target at `from` | the checkout is looked at again; it lands, or is refused and asked again |
//! | the same, and what was to land is not what was reviewed | it is refused, and the unit handed to a person |
//! | the same, no target any more | it is refused, and the first decision stops the run |
//! | the same, `to` is in the target | it is recorded as landed |
//! | the same, target elsewhere | the entry is back in line, free of charge |
//! | after the landing, before the checkout followed | the checkout follows now |

use std::path::PathBuf;

use super::attempt::Attempt;
use super::dispatch::blocking;
use super::rebuild::unknown_landings;
use super::{Engine, EngineError, verify};
use crate::event::{Event, Hold, LandRefusal, QueueEvent, Record, UnitEvent, UnitScoped, VerifyPurpose};
use crate::id::Oid;
use crate::queue::{PendingLanding, Recovery, recover_landing};
use crate::run::Verification;
use crate::store::{Row, RowTree};

impl Engine {
    /// Settles what was left half-done.
    pub(super) async fn recover(&mut self) -> Result<(), EngineError> {
        self.adopt_attempts().await?;
        let interruptions = self.state.interruptions();
        if !interruptions.is_empty() {
            self.observer.note(&match interruptions.len() {
                1 => "an attempt was cut off when the last engine ended; it is made again".to_owned(),
                count => {
                    format!("{count} attempts were cut off when the last engine ended; they are made again")
                }
            });
            self.record(&interruptions)?;
        }
        if let Some(pending) = self.state.queue().pending_landing().cloned()
            && let Err(error) = self.recover_landing(&pending).await
        {
            self.land_panicked(&pending.verified, error).await?;
        }
        self.follow_last().await?;
        let facts = self.facts().await?;
        let queue_facts = crate::queue::Facts {
            now: facts.now,
            tip: facts.tip,
            tip_continues: facts.tip_continues,
            slots_free: 0,
            evidence: &|_, _| None,
            known_green: &|_| false,
            paused: true,
        };
        if let Some(restored) = self.state.queue().resume_after_stop(&queue_facts) {
            self.observer
                .note("the target holds again what landed on it; the run goes on");
            self.record(&[Event::Queue(restored)])?;
        }
        self.release_held()
    }

    /// Takes over what agents had finished before the engine that started them could record it. For everything that
    /// was under way, teardown is made up for.
    async fn adopt_attempts(&mut self) -> Result<(), EngineError> {
        for (fence, commit, purpose) in self.state.queue().in_flight() {
            // A commit that is gone was never verified to an end, and its place tells nothing any more.
            if let Ok(verification) = self.under_way(commit, purpose) {
                let order = verify::Job::new(self, &verification, fence).order();
                // Checks that were cut off are repeated, whatever they had come to.
                drop(self.tools.launcher.adopt(order).await);
            }
        }
        let begun: Vec<Attempt> = self
            .state
            .units()
            .flat_map(|(id, unit)| unit.in_flight().map(move |flight| (id, flight)))
            .map(|(id, flight)| Attempt::begun(self, id.clone(), flight))
            .collect();
        for attempt in begun {
            let name = attempt.key().to_string();
            if let Some(done) = attempt.adopt().await {
                self.observer.note(&format!(
                    "{name} had ended before the last engine could record it; its work is taken over"
                ));
                self.record(&[done.event])?;
                self.discard(done.place);
            }
        }
        // What stands after this belongs to nobody, and others may remove it.
        self.finish_discards().await;
        Ok(())
    }

    /// A verification without an outcome, as it was asked for.
    fn under_way(&self, commit: Oid, purpose: VerifyPurpose) -> Result<Verification, EngineError> {
        let members = self.state.queue().entries().into_iter();
        let members = members.filter(|entry| entry.candidate.as_ref() == Some(&commit));
        Ok(Verification {
            tree: self.tools.repository.tree_of(&commit)?,
            units: match purpose {
                VerifyPurpose::Candidate => members.map(|entry| entry.unit).collect(),
                VerifyPurpose::Base => Vec::new(),
            },
            commit,
            purpose,
        })
    }

    async fn recover_landing(&mut self, pending: &PendingLanding) -> Result<(), EngineError> {
        let verified = &pending.verified;
        let refused = |cause| {
            let commit = verified.to().clone();
            [Event::Queue(QueueEvent::LandRefused { commit, cause })]
        };
        let Some(tip) = self.tools.repository.tip(self.target())? else {
            // The first decision stops the run for the target that is gone, once nothing is being landed.
            let tip = verified.from().clone();
            return self.record(&refused(LandRefusal::BaseMoved { tip }));
        };
        let is_in = self.tools.repository.is_ancestor(verified.to(), &tip)?;
        match recover_landing(pending, &tip, is_in) {
            Recovery::Continue => {
                let preserved = match self.preserved(verified).await? {
                    Ok(preserved) => preserved,
                    Err(end) => {
                        let [refused] = refused(LandRefusal::BaseMoved { tip });
                        return self.record(&[refused, end]);
                    }
                };
                // The person has had their checkout to themselves since the intent was written.
                let look = self
                    .look_at_checkout(verified.from(), verified.to(), crate::git::CHECKOUT_PATIENCE)
                    .await?;
                let intended = pending.checkout.as_ref().map(PathBuf::from);
                match look.refusal {
                    Some(cause) => self.record(&refused(cause)),
                    None if look.checkout == intended => self.swap(verified, &preserved, intended).await,
                    None => self.record(&refused(LandRefusal::BaseMoved { tip })),
                }
            }
            Recovery::RecordLanded => self.record(&[Event::Queue(verified.landed_event())]),
            Recovery::Requeue => self.record(&refused(LandRefusal::BaseMoved { tip })),
        }
    }

    /// A person has called again: what waited for them is looked at anew.
    fn release_held(&mut self) -> Result<(), EngineError> {
        let held: Vec<Event> = self
            .state
            .queue()
            .entries()
            .into_iter()
            .filter(|entry| match &entry.status {
                crate::queue::Status::Held(Hold::TargetDirty { .. } | Hold::PushRejected { .. }) => true,
                crate::queue::Status::Held(
                    Hold::BaseRed { .. }
                    | Hold::ConflictAhead { .. }
                    | Hold::Backoff { .. }
                    | Hold::Paused
                    | Hold::Frozen { .. },
                )
                | crate::queue::Status::Queued
                | crate::queue::Status::Integrated
                | crate::queue::Status::Verifying { .. }
                | crate::queue::Status::Verified
                | crate::queue::Status::Suspect
                | crate::queue::Status::Landing { .. } => false,
            })
            .map(|entry| Event::Queue(QueueEvent::EntryReleased { unit: entry.unit }))
            .collect();
        if held.is_empty() {
            Ok(())
        } else {
            self.record(&held)
        }
    }

    /// Compares what landed according to git with the journal.
    pub(super) async fn refuse_a_cut_journal(&self) -> Result<(), EngineError> {
        let (repository, state) = (self.tools.repository.clone(), self.state.clone());
        let units = blocking(move || unknown_landings(&repository, &state)).await??;
        if units.is_empty() {
            return Ok(());
        }
        Err(EngineError::CutJournal {
            run: self.run.clone(),
            units,
        })
    }

    /// Compares the store's rows with the journal, which is the truth.
    pub(super) fn check_rows(&mut self, records: &[Record]) -> Result<(), EngineError> {
        let expected = crate::store::fold(rows_of(records.iter().map(|record| &record.event)).into_iter());
        let seq = records.last().map_or(0, |record| record.seq);
        if let Some(note) = self.store.verify_rows(&self.run, &expected, seq)? {
            self.observer.note(&note);
        }
        Ok(())
    }
}

/// The rows of the store that the events change: a cache of the journal.
pub fn rows_of<'a>(events: impl IntoIterator<Item = &'a Event>) -> Vec<Row> {
    events.into_iter().flat_map(rows_of_event).collect()
}

/// The rows an event sets or removes: entries of the queue by unit, evidence by tree and check set,
/// leases by fence. Later events overwrite earlier ones, so the rows are a fold like any other.
fn rows_of_event(event: &Event) -> Vec<Row> {
    let row = |tree: RowTree, key: String, value: Option<Vec<u8>>| vec![Row { tree, key, value }];
    let json = |event: &Event| serde_json::to_vec(event).expect("an event serialises");
    match event {
        Event::Run(_) => Vec::new(),
        Event::Unit(UnitScoped { what, .. }) => match what {
            UnitEvent::AttemptStarted { fence, .. } => {
                row(RowTree::Leases, fence.to_string(), Some(json(event)))
            }
            UnitEvent::AttemptEnded { fence, .. } => row(RowTree::Leases, fence.to_string(), None),
            UnitEvent::BranchTaken { .. }
            | UnitEvent::BranchLanded { .. }
            | UnitEvent::UnitStarted { .. }
            | UnitEvent::StageSkipped { .. }
            | UnitEvent::GateOpened { .. }
            | UnitEvent::GateDecided { .. }
            | UnitEvent::UnitApproved { .. }
            | UnitEvent::UnitPublished
            | UnitEvent::UnitEvicted { .. }
            | UnitEvent::UnitBlocked { .. }
            | UnitEvent::UnitUnblocked
            | UnitEvent::UnitRetried { .. }
            | UnitEvent::UnitResolved { .. }
            | UnitEvent::UnitKept { .. }
            | UnitEvent::UnitRestored { .. }
            | UnitEvent::UnitDiscarded => Vec::new(),
        },
        Event::Queue(queue) => match queue {
            QueueEvent::Enqueued { unit, .. } => row(RowTree::Entries, unit.to_string(), Some(json(event))),
            QueueEvent::SentBack { unit, .. }
            | QueueEvent::SentToResolve { unit, .. }
            | QueueEvent::EntryLeft { unit, .. } => row(RowTree::Entries, unit.to_string(), None),
            QueueEvent::Landed { units, .. } => units
                .iter()
                .flat_map(|landed| row(RowTree::Entries, landed.unit.to_string(), None))
                .collect(),
            QueueEvent::VerifyStarted { fence, .. } => {
                row(RowTree::Leases, fence.to_string(), Some(json(event)))
            }
            QueueEvent::VerifyEnded { fence, .. } => row(RowTree::Leases, fence.to_string(), None),
            QueueEvent::CandidateBuilt { .. }
            | QueueEvent::IntegrationFailed { .. }
            | QueueEvent::LandIntended { .. }
            | QueueEvent::CheckoutFollowed { .. }
            | QueueEvent::LandRefused { .. }
            | QueueEvent::EntryHeld { .. }
            | QueueEvent::EntryReleased { .. }
            | QueueEvent::EntryCharged { .. }
            | QueueEvent::FlakeSeen { .. }
            | QueueEvent::BatchSplit { .. }
            | QueueEvent::StepPanicked { .. }
            | QueueEvent::TargetMoved { .. }
            | QueueEvent::BaseRed { .. }
            | QueueEvent::QueuePaused
            | QueueEvent::QueueResumed
            | QueueEvent::QueueFrozen { .. }
            | QueueEvent::QueueThawed
            | QueueEvent::EntryRaised { .. }
            | QueueEvent::QueueStalled { .. }
            | QueueEvent::SafetyStop { .. } => Vec::new(),
        },
    }
}
