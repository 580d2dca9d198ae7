//! What people say to the queue: pause it, freeze a part of it, let a unit go first.
//!
//! A pause holds everybody: what runs goes on, and nothing is built, verified or landed until it is lifted. A freeze
//! holds the entries below a priority; their candidates are forgotten, free of charge, so that nobody above waits for
//! them. Who is raised goes next, and cancels nothing, unless the candidates that do not hold it are broken off.

use std::cmp::Reverse;

use crate::event::Hold;
use crate::id::UnitId;

use super::apply::{Applied, illegal};
use super::order::Rank;
use super::state::{Built, Entry, State};

impl State {
    /// Whether a person paused the queue.
    pub fn is_paused(&self) -> bool {
        self.paused
    }

    /// The priority below which a person froze the queue.
    pub fn frozen_below(&self) -> Option<i64> {
        self.frozen_below
    }

    /// Whether something is in line and all of it is held by a person's word.
    pub fn is_held_by_person(&self) -> bool {
        // The line is ordered by priority: where the first is frozen, all are.
        let first = self.line.keys().next();
        first.is_some_and(|first| self.paused || self.is_frozen(first))
    }

    /// The priority that lets a unit in line go before everybody else and past a freeze; `None` where it does already.
    pub fn priority_on_top(&self, unit: &UnitId) -> Option<i64> {
        let own = self.ranks.get(unit)?;
        let others = self.line.keys().filter(|rank| rank.unit != *unit);
        let above = others.map(|rank| rank.priority.0.saturating_add(1)).max();
        let top = above.into_iter().chain(self.frozen_below).max()?;
        let is_first = self.line.keys().next() == Some(own) && !self.is_frozen(own);
        (!is_first && own.priority.0 < top).then_some(top)
    }

    /// The priority of a unit in line.
    pub fn priority_of(&self, unit: &UnitId) -> Option<i64> {
        Some(self.ranks.get(unit)?.priority.0)
    }

    /// Whether candidates that do not hold the unit are served before it.
    pub fn is_served_behind_others(&self, unit: &UnitId) -> bool {
        let mut chain = self.chain.iter();
        chain
            .find(|built| !self.is_being_landed(built))
            .is_some_and(|built| !built.holds(unit))
    }

    /// What a person holds an entry for, if it is held so.
    pub(super) fn held_by_person(&self, rank: &Rank) -> Option<Hold> {
        if self.paused {
            return Some(Hold::Paused);
        }
        let below = self.frozen_below.filter(|_| self.is_frozen(rank))?;
        Some(Hold::Frozen { below })
    }

    pub(super) fn is_frozen(&self, rank: &Rank) -> bool {
        self.frozen_below.is_some_and(|below| rank.priority.0 < below)
    }

    /// Whether a candidate holds a frozen entry.
    pub(super) fn holds_frozen(&self, built: &Built) -> bool {
        let mut ranks = built
            .candidate
            .units
            .iter()
            .filter_map(|member| self.ranks.get(&member.unit));
        ranks.any(|rank| self.is_frozen(rank))
    }

    pub(super) fn pause(&mut self, paused: bool) -> Applied {
        if self.paused == paused {
            let event = if paused { "queue_paused" } else { "queue_resumed" };
            return Err(illegal(event, None, "it is so already"));
        }
        self.paused = paused;
        Ok(())
    }

    pub(super) fn freeze(&mut self, below: Option<i64>) -> Applied {
        if self.frozen_below == below {
            let event = if below.is_some() {
                "queue_frozen"
            } else {
                "queue_thawed"
            };
            return Err(illegal(event, None, "it is so already"));
        }
        self.frozen_below = below;
        self.drop_void();
        Ok(())
    }

    /// The entry, and the unit whenever it comes back, has this priority from now on.
    pub(super) fn raise(&mut self, unit: &UnitId, priority: i64, interrupt: bool) -> Applied {
        self.require_entry("entry_raised", unit)?;
        let rank = self.ranks[unit].clone();
        if rank.priority.0 > priority {
            return Err(illegal(
                "entry_raised",
                Some(unit),
                "its priority is higher already",
            ));
        }
        let entry = self.line.remove(&rank).expect("every rank is in line");
        self.insert(
            Rank {
                priority: Reverse(priority),
                ..rank
            },
            entry,
        );
        if let Some(known) = self.known.get_mut(unit) {
            known.raised = Some(priority);
        }
        if interrupt {
            self.break_off_for(unit);
        }
        Ok(())
    }

    pub(super) fn insert(&mut self, rank: Rank, entry: Entry) {
        self.ranks.insert(rank.unit.clone(), rank.clone());
        self.line.insert(rank, entry);
    }

    /// Forgets the candidates, unless the unit is in the first of them. A landing that was begun is not taken back.
    fn break_off_for(&mut self, unit: &UnitId) {
        if self.is_served_behind_others(unit) {
            let landing = self.chain.iter().filter(|built| self.is_being_landed(built));
            self.chain = landing.cloned().collect();
        }
    }

    pub(super) fn is_being_landed(&self, built: &Built) -> bool {
        let pending = self.pending.as_ref();
        pending.is_some_and(|pending| *pending.verified.to() == built.candidate.commit)
    }
}
