//! The merge queue of one target branch, as a pure machine.
//!
//! Events go in through [`State::apply`], decisions come out of [`State::decide`]; the state is the fold of the
//! events and nothing else, but for one piece of news ([`State::person_takes_over`]), which is itself an event of the
//! run. No clock, no randomness, no I/O: the same events give the same landing order.
//!
//! # Where it decides
//!
//! | question | answered in |
//! | --- | --- |
//! | who is next | [`order::Rank`], one numbered comparator |
//! | what is to be done now | [`State::decide`] in `decide.rs`, a list of rules from top to bottom |
//! | what a check run says | `verdict.rs`: the first check that did not pass |
//! | may this commit land | [`VerifiedCandidate`] in `proof.rs`; nothing else makes one |
//! | what may happen in which state | [`State::apply`] in `apply.rs`; every other event is an [`IllegalTransition`] |
//!
//! # The life of an entry
//!
//! ```text
//! Queued → Integrated → Verifying → Verified → Landing → landed
//!    ↑          base moved: dropped by derivation, free of charge
//! Held(target_dirty | base_red)            left: already landed · evicted · cancelled · sent back to a fix stage
//! ```
//!
//! A status is never stored. What is stored is what happened: the candidate that was built last, the runs of its
//! checks, the intent to land, a refusal. The status follows from these and from the tip the queue knows. That is
//! why a moved target needs no clean-up: a candidate whose base is not the tip simply no longer counts.
//!
//! # Why it is right
//!
//! - **Only what was verified lands.** [`Effect::Land`] carries a [`VerifiedCandidate`]; its one constructor demands
//!   a passing run whose evidence names the candidate's own tree (or commit), or checks waived in writing. `apply`
//!   demands the same proof again before it accepts [`LandIntended`](crate::event::QueueEvent::LandIntended), so a journal that lands an unproven
//!   tree cannot be folded. Evidence without a row, or with a skipped check, is not a pass.
//! - **Compare-and-swap from its own base.** `from` of a landing is the candidate's base, and a candidate counts only
//!   while its base is the known tip. If the tip moves before the swap, the swap fails, the entry is queued again
//!   and pays nothing.
//! - **Exactly once.** A unit leaves the line when it lands, a landed unit cannot be enqueued, and the same
//!   [`Landed`](crate::event::QueueEvent::Landed) again changes nothing. A crash between intent and outcome is settled by
//!   [`recover_landing`] from git alone.
//! - **No entry is lost.** `apply` takes an entry out in three places only (landed, left, sent back), each an event.
//! - **No starvation.** The first in line is served until it leaves; within a priority the line is ordered by age,
//!   and age survives a fix round. Each verdict either ends the service or spends a bounded budget: one repetition
//!   after a failure, one base run, 10 of 200 for the machine's faults. Only interruptions and other people's moves
//!   of the target are free and unbounded, and both come from outside.
//! - **Fair blame.** A charge is decided only after the same candidate failed twice *and* its base was shown not
//!   to fail a check that used to pass there. Everything else (a moved base, an interruption, a red base) has no path to
//!   [`EntryCharged`](crate::event::QueueEvent::EntryCharged). One case is beyond any queue: work that landed is flaky, fails under both runs of
//!   the next unit and passes under its base. That is to the letter the journal of a unit at fault, so it is charged
//!   and sent back as one; a single such charge does not evict.
//!
//! The tests hold the machine against a brute-force model of git and the checks, under target moves by others,
//! interruptions and replays (`model.rs`).
//!
//! # How the engine drives it
//!
//! After every recorded event, and whenever a fact changes, the engine calls `decide` and carries out the effects
//! in order, until a call returns none. `decide` is level-triggered: asked twice in the same state it says the same,
//! and what is under way (a run whose fence is open, an intent without an outcome) is not asked for again.
//! On restart the engine first settles [`State::pending_landing`] and [`State::unfollowed`], ends every run of
//! [`State::in_flight`] with an `interrupted` row, records `EntryReleased` for entries held by `target_dirty`, and
//! asks [`State::resume_after_stop`].
//!
//! # Where speculation and batches go
//!
//! They choose *which* candidates are built and verified: the choice of the service in `decide.rs`. The proof,
//! `apply` and the landing rules are about one candidate and stay as they are.

mod apply;
mod decide;
pub mod order;
mod proof;
mod state;
mod table;
mod verdict;

pub use decide::{Effect, Facts, IntegrateUnit, Tip};
pub use proof::{PendingLanding, Recovery, VerifiedCandidate, recover_landing};
pub use state::{EntryView, IllegalTransition, LandedRecord, State, Status, Unfollowed};
pub use table::transition_table;

use crate::spec::Strategy;

/// What evicts an entry by default.
pub const EVICT_AT: u32 = 200;
/// The charge for a failure that is the unit's own.
pub const CHARGE_FAILURE: u32 = 100;
/// The charge for a verification the machine could not carry out.
pub const CHARGE_INFRASTRUCTURE: u32 = 10;

/// What a run fixes about its queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// How a unit is put onto its base.
    pub strategy: Strategy,
    /// `verify: none` is written in the pipeline file: candidates land unverified.
    pub waived: bool,
    /// The charge at which an entry is evicted; [`EVICT_AT`].
    pub evict_at: u32,
}

#[cfg(test)]
mod landing_tests;
#[cfg(test)]
mod model;
#[cfg(test)]
mod scenario;
#[cfg(test)]
mod tests;
