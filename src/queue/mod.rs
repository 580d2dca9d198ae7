//! The merge queue of one target branch, as a pure machine.
//!
//! Events go in through [`State::apply`], decisions come out of [`State::decide`]; the state is the fold of the
//! events and nothing else, but for two pieces of news ([`State::person_takes_over`], [`State::keep_time`]), which come
//! of the run's records too. No clock, no randomness, no I/O: the same events give the same landing order.
//!
//! # Where it decides
//!
//! | question | answered in |
//! | --- | --- |
//! | who is next | [`order::Rank`], one numbered comparator |
//! | which candidates count, how many side by side | `window.rs`: a chain, each built on the one before |
//! | how many units in one, and how a bad one is found | `batch.rs`: neighbours in line; halves of what failed |
//! | what if a step of ours panics | `quarantine.rs`: once it is done again, twice the entry leaves |
//! | what if it cannot be put there | `obstacle.rs`: on the target it ends the entry, on units ahead it waits |
//! | what is to be done now | [`State::decide`] in `decide.rs`, a list of rules from top to bottom |
//! | what people may say | `people.rs`: pause, freeze, let a unit go first |
//! | when is it tried again | `backoff.rs`: the longer, the more often the machine could not run the checks |
//! | whose failure is it | `blame.rs`: asked of a candidate on the target itself |
//! | what a check run says | `verdict.rs`: the first check that did not pass |
//! | is it what was reviewed | git, when it is built and again before it lands; one that is not ends as an obstacle (`obstacle.rs`) |
//! | may this commit land | [`VerifiedCandidate`] in `proof.rs`; nothing else makes one |
//! | what may happen in which state | [`State::apply`] in `apply.rs` and `candidates.rs`; every other event is an [`IllegalTransition`] |
//!
//! # The life of an entry
//!
//! ```text
//! Queued → Integrated → Verifying → Verified → Landing → landed
//!    ↑              ↕         base moved, or one ahead in doubt: the candidate no longer counts, free of charge
//!    ↑           Suspect      it failed, and contains units that have not landed
//! Held(target_dirty | base_red | conflict_ahead | backoff | paused | frozen)
//! left: already landed · evicted · cancelled · sent back to a fix stage
//! ```
//!
//! A status is never stored. What is stored is what happened: the candidates that were built, the runs of their
//! checks, the intent to land, a refusal. The status follows from these and from the tip the queue knows. A candidate
//! whose base is neither the tip nor the candidate ahead no longer counts and is forgotten.
//!
//! # Why it is right
//!
//! - **Only what was verified lands.** [`Effect::Land`] carries a [`VerifiedCandidate`]; its one constructor demands
//!   a passing run whose evidence names the candidate's own tree (or commit), or checks waived in writing. `apply`
//!   demands the same proof again before it accepts [`LandIntended`](crate::event::QueueEvent::LandIntended), so a journal that lands an unproven
//!   tree cannot be folded. Evidence without a row, or with a skipped check, is not a pass.
//! - **Compare-and-swap from its own base.** `from` of a landing is the candidate's base, and a candidate counts only
//!   while its base is the known tip, or becomes that by landings. If the tip moves before the swap, the swap fails, the entry is queued again
//!   and pays nothing.
//! - **Exactly once.** A unit leaves the line when it lands, a landed unit cannot be enqueued, and the same
//!   [`Landed`](crate::event::QueueEvent::Landed) again changes nothing. A crash between intent and outcome is settled by
//!   [`recover_landing`] from git alone.
//! - **No entry is lost.** `apply` takes an entry out in four places only (landed, left, sent back with a failure or
//!   with a conflict), each an event.
//! - **No starvation.** Candidates land in the order of the chain, so the first is served until it leaves; within a
//!   priority the line is ordered by age, and age survives a fix round. Nobody is overtaken for another's failure: behind a
//!   batch in doubt the line waits until the batch is taken apart. Each verdict either ends the service or spends a bounded budget: one repetition
//!   after a failure, one base run, 10 of 200 for the machine's faults. Only interruptions and other people's moves
//!   of the target are free and unbounded, and both come from outside.
//! - **Fair blame.** A charge is decided only of a candidate of one unit that stands on the target itself, after that
//!   candidate failed twice *and* its base was shown not to fail a check that used to pass there. What contains
//!   work that has not landed is a suspect, and what several units fail together is split. Everything else (a moved base, an interruption, a red base) has no path to
//!   [`EntryCharged`](crate::event::QueueEvent::EntryCharged). One case is beyond any queue: work that landed is flaky, fails under both runs of
//!   the next unit and passes under its base. That is to the letter the journal of a unit at fault, so it is charged
//!   and sent back as one; a single such charge does not evict.
//!
//! The tests hold the machine against a brute-force model of git and the checks, under target moves by others,
//! interruptions and replays (`model.rs`), and every window and batch size against the serial queue and a reference
//! that needs no queue (`equivalence.rs`): the same units land.
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
//! # Scheduling and proof are apart
//!
//! Order, window and batches choose *which* candidates are built and verified. What may land is asked of one candidate:
//! a base, a commit, a tree, and the evidence about that tree. Nothing in `proof.rs` knows of a window.

mod apply;
mod backoff;
mod batch;
mod blame;
mod candidates;
mod decide;
mod obstacle;
pub mod order;
mod people;
mod places;
mod proof;
mod quarantine;
mod state;
mod table;
mod verdict;
mod window;

pub use decide::{Effect, Facts, IntegrateUnit, Tip};
pub use obstacle::not_preserved;
pub use proof::{PendingLanding, Recovery, VerifiedCandidate, recover_landing};
pub use state::{EntryView, IllegalTransition, LandedRecord, State, Status, Unfollowed};
pub use table::transition_table;

use crate::spec::{Breadth, Pipeline, Strategy, Verify};

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
    /// Conflicts with the target that a unit is sent back with before one evicts it.
    pub conflicts_max: u32,
    /// Candidates verified side by side.
    pub window: Breadth,
    /// Units per candidate.
    pub batch: Breadth,
    /// Attempts and verifications that may run at once: how wide `window: auto` may grow.
    pub parallel: u32,
}

impl Settings {
    /// What a pipeline says about its queue.
    pub fn of(pipeline: &Pipeline) -> Self {
        Self {
            strategy: pipeline.queue.strategy,
            waived: matches!(pipeline.verify, Verify::Waived),
            evict_at: EVICT_AT,
            conflicts_max: pipeline.queue.conflicts_resolved_max(),
            window: pipeline.queue.window,
            batch: pipeline.queue.batch,
            parallel: pipeline.limits.parallel,
        }
    }

    /// A queue that serves one unit at a time.
    pub fn serial(strategy: Strategy) -> Self {
        Self {
            strategy,
            waived: false,
            evict_at: EVICT_AT,
            conflicts_max: 0,
            window: Breadth::Fixed(1),
            batch: Breadth::Fixed(1),
            parallel: 1,
        }
    }
}

#[cfg(test)]
mod batch_tests;
#[cfg(test)]
mod conflict_tests;
#[cfg(test)]
mod equivalence;
#[cfg(test)]
mod landing_tests;
#[cfg(test)]
mod model;
#[cfg(test)]
mod people_tests;
#[cfg(test)]
mod scenario;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod window_tests;
