//! What becomes of an entry that cannot be put onto a base.
//!
//! On the target's tip itself an obstacle ends the entry: a conflict goes back to the unit's author as often as the run
//! allows, everything else is final. On units ahead that have not landed it is no verdict: the entry waits in place while
//! they are ahead, and those behind it go on. If they land as that base, the obstacle is on the tip; if they leave, are
//! passed, or are in doubt, there is none.

use crate::event::{EntryEnd, Hold, Obstacle, QueueEvent, Reason, conflict_sentence, listed};
use crate::id::{Oid, UnitId};

use super::order::Rank;
use super::state::{Entry, Obstruction, State};

impl State {
    /// The end of the first entry that cannot be put onto the tip itself.
    pub(super) fn end_by_obstacle(&self, tip: &Oid) -> Option<QueueEvent> {
        self.obstructed.iter().find_map(|unit| {
            let met = self.entry_of(unit)?.obstruction.as_ref()?;
            (met.base == *tip && met.ahead.is_empty()).then(|| self.out_of_line(unit, tip, &met.obstacle))
        })
    }

    /// How an entry leaves that cannot be put onto the tip.
    fn out_of_line(&self, unit: &UnitId, tip: &Oid, obstacle: &Obstacle) -> QueueEvent {
        let resolved = self.known.get(unit).map_or(0, |known| known.conflicts);
        match obstacle {
            Obstacle::Conflict { conflicts } if resolved < self.settings.conflicts_max => {
                QueueEvent::SentToResolve {
                    unit: unit.clone(),
                    onto: tip.clone(),
                    conflicts: conflicts.clone(),
                }
            }
            Obstacle::Conflict { .. }
            | Obstacle::AlreadyLanded
            | Obstacle::UnrelatedHistory
            | Obstacle::MergeCommit { .. }
            | Obstacle::NotPreserved { .. } => QueueEvent::EntryLeft {
                unit: unit.clone(),
                end: end(obstacle, resolved),
            },
        }
    }

    /// Whether what stands in the way of an entry is still ahead of it.
    pub(super) fn waits_for_ahead(&self, rank: &Rank, entry: &Entry, tip: &Oid) -> bool {
        let Some(met) = &entry.obstruction else {
            return false;
        };
        let is_sound = |commit: &Oid| {
            let mut sound = self.chain.iter().filter(|built| !built.is_in_doubt());
            sound.any(|built| built.candidate.commit == *commit)
        };
        let is_ahead = |unit: &UnitId| {
            let in_doubt = self
                .candidate_of(unit)
                .is_some_and(super::state::Built::is_in_doubt);
            self.ranks.get(unit).is_some_and(|other| other < rank) && !in_doubt
        };
        match met.base == *tip {
            true if met.ahead.is_empty() => false,
            true => met.ahead.iter().all(is_ahead),
            false => is_sound(&met.base) && met.ahead.iter().all(is_ahead),
        }
    }

    /// What such an entry waits for, as others see it.
    pub(super) fn hold_ahead(&self, rank: &Rank, entry: &Entry) -> Option<Hold> {
        let tip = self.expected_tip.as_ref()?;
        let met = entry.obstruction.as_ref()?;
        self.waits_for_ahead(rank, entry, tip)
            .then(|| Hold::ConflictAhead {
                units: self.ahead_of(met),
                paths: met
                    .obstacle
                    .conflicts()
                    .iter()
                    .map(|at| at.path.clone())
                    .collect(),
            })
    }

    /// The units that brought the other side, or else all that the obstacle was met behind.
    fn ahead_of(&self, met: &Obstruction) -> Vec<UnitId> {
        let brought = met.obstacle.conflicts().iter();
        let mut units: Vec<UnitId> = brought.filter_map(|at| at.landed_by.clone()).collect();
        units.retain(|unit| self.ranks.contains_key(unit));
        if units.is_empty() {
            let below = self
                .chain
                .iter()
                .filter(|built| built.candidate.commit == met.base)
                .flat_map(|built| built.candidate.units.iter().map(|member| member.unit.clone()));
            units = below.chain(met.ahead.iter().cloned()).collect();
        }
        units.sort_unstable();
        units.dedup();
        units
    }
}

/// The end on the target's tip, after so many conflicts were resolved.
fn end(obstacle: &Obstacle, resolved: u32) -> EntryEnd {
    let evicted = |reason, sentence, conflicts| EntryEnd::Evicted {
        reason,
        sentence,
        conflicts,
    };
    match obstacle {
        Obstacle::AlreadyLanded => EntryEnd::AlreadyLanded,
        Obstacle::Conflict { conflicts } => evicted(
            Reason::ConflictTarget,
            match resolved {
                0 => conflict_sentence(conflicts),
                1 => format!("{} One was resolved before.", conflict_sentence(conflicts)),
                _ => format!(
                    "{} {resolved} were resolved before.",
                    conflict_sentence(conflicts)
                ),
            },
            conflicts.clone(),
        ),
        Obstacle::UnrelatedHistory => evicted(
            Reason::UnrelatedHistory,
            Reason::UnrelatedHistory.sentence().to_owned(),
            Vec::new(),
        ),
        Obstacle::MergeCommit { commit } => evicted(
            Reason::MergeCommit,
            format!(
                "The unit's range contains the merge commit {}, which cannot be replayed.",
                commit.short()
            ),
            Vec::new(),
        ),
        Obstacle::NotPreserved { paths } => not_preserved(paths),
    }
}

/// The end of an entry whose candidate is not what was reviewed: it is handed to a person, and nobody is charged.
pub fn not_preserved(paths: &[String]) -> EntryEnd {
    let sentence = match paths {
        [] => "What would land does not stand on its base.".to_owned(),
        paths => format!("What would land is not what was reviewed, in {}.", listed(paths)),
    };
    EntryEnd::Evicted {
        reason: Reason::DiffNotPreserved,
        sentence,
        conflicts: Vec::new(),
    }
}
