//! When the entries of the queue may land, judged by how long verifications took before.
//!
//! The typical time is the median of the passing verifications of candidates that really ran; evidence that stood in
//! for a run says nothing about time. The candidates are then laid onto as many lanes as the queue verifies side by
//! side, in the order of the line, each onto the lane that is free first, and each lands no earlier than the one
//! before it. What is being verified has run for a while already. Who waits for a person, and who stands behind such
//! a candidate, has no time, and without history nobody has. All of it counts from now on, and only while an engine runs.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::elapsed_ms;
use crate::event::{Event, Hold, QueueEvent, Record, VerifyPurpose};
use crate::id::UnitId;
use crate::queue::{EntryView, State, Status};

/// How long verifications took, in milliseconds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct History {
    took_ms: Vec<u64>,
    /// When each verification under way began, by fence.
    began: BTreeMap<u64, Timestamp>,
}

impl History {
    /// What a journal says.
    pub fn of(records: &[Record]) -> Self {
        let mut history = Self::default();
        for record in records {
            let Event::Queue(event) = &record.event else {
                continue;
            };
            match event {
                QueueEvent::VerifyStarted {
                    purpose: VerifyPurpose::Candidate,
                    fence,
                    ..
                } => {
                    history.began.insert(*fence, record.at);
                }
                QueueEvent::VerifyEnded {
                    fence,
                    evidence,
                    reused,
                } => {
                    let began = history.began.remove(fence);
                    let took = began.map(|began| elapsed_ms(began, record.at));
                    history
                        .took_ms
                        .extend(took.filter(|_| evidence.passed() && !reused));
                }
                _ => {}
            }
        }
        history
    }

    /// How many verifications it knows of.
    pub fn len(&self) -> usize {
        self.took_ms.len()
    }

    /// Whether it knows of none.
    pub fn is_empty(&self) -> bool {
        self.took_ms.is_empty()
    }

    /// The typical time of a verification.
    pub fn median_ms(&self) -> Option<u64> {
        let mut sorted = self.took_ms.clone();
        sorted.sort_unstable();
        sorted.get(sorted.len() / 2).copied()
    }

    /// The same times beside the verifications that `current` has under way.
    #[must_use]
    pub fn beside(self, current: &Self) -> Self {
        Self {
            took_ms: self.took_ms,
            began: current.began.clone(),
        }
    }
}

/// In how many milliseconds each entry may land; `None` where nothing can be said.
pub fn forecast(queue: &State, history: &History, now: Timestamp) -> BTreeMap<UnitId, Option<u64>> {
    let entries = queue.entries();
    let mut lanes = vec![0_u64; queue.width().max(1)];
    let mut front = history.median_ms().map(|_| 0_u64);
    let mut landings = BTreeMap::new();
    for group in candidates(&entries, queue.batch_size()) {
        let verification = group.first().and_then(|entry| left_ms(entry, history, now));
        let lane = lanes.iter_mut().min().expect("there is a lane");
        let lands = match (front, verification) {
            (Some(before), Some(left)) => {
                *lane = lane.saturating_add(left);
                Some((*lane).max(before))
            }
            _ => None,
        };
        // Whoever is passed over keeps nobody up; a candidate that waits keeps up everybody behind it.
        if lands.is_some() || group.iter().any(|entry| entry.candidate.is_some()) {
            front = lands;
        }
        landings.extend(group.iter().map(|entry| (entry.unit.clone(), lands)));
    }
    landings
}

/// Entries that land together: those of one candidate, and of those that have none, as many as a batch takes.
fn candidates(entries: &[EntryView], batch: usize) -> Vec<&[EntryView]> {
    let mut groups: Vec<&[EntryView]> = Vec::new();
    let mut rest = entries;
    while let Some(first) = rest.first() {
        let together = |entry: &&EntryView| match (first.chain_place, is_passed_over(first)) {
            (Some(place), _) => entry.chain_place == Some(place),
            (None, passed_over) => !passed_over && !is_passed_over(entry),
        };
        let most = if first.chain_place.is_some() {
            usize::MAX
        } else {
            batch.max(1)
        };
        let size = rest.iter().take_while(together).take(most).count().max(1);
        let (group, behind) = rest.split_at(size);
        groups.push(group);
        rest = behind;
    }
    groups
}

fn is_passed_over(entry: &EntryView) -> bool {
    matches!(entry.status, Status::Held(_)) && entry.candidate.is_none()
}

/// How long the verification of an entry's candidate still takes.
fn left_ms(entry: &EntryView, history: &History, now: Timestamp) -> Option<u64> {
    let typical = history.median_ms()?;
    match &entry.status {
        Status::Queued | Status::Integrated | Status::Suspect => Some(typical),
        Status::Verifying { fence } => {
            let began = history.began.get(fence);
            Some(began.map_or(typical, |began| typical.saturating_sub(elapsed_ms(*began, now))))
        }
        Status::Verified | Status::Landing { .. } => Some(0),
        Status::Held(
            Hold::TargetDirty { .. }
            | Hold::PushRejected { .. }
            | Hold::BaseRed { .. }
            | Hold::ConflictAhead { .. }
            | Hold::Backoff { .. }
            | Hold::Paused
            | Hold::Frozen { .. },
        ) => None,
    }
}
