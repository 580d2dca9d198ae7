//! Where a unit stands, and what may happen to it there: the transition table.
//!
//! The table is the only place that changes a phase. It is one `match` per phase without a wildcard arm, so that a
//! new phase or a new happening does not compile until every pair has been thought about. ARCHITECTURE.md shows
//! it as [`transition_table`] prints it.

use std::fmt::Write as _;

use crate::event::{Reason, UnitEvent};

use super::QueueNews;

/// Where a unit stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Phase {
    /// For the units it needs, or for its start.
    Waiting,
    /// Its stages are under way.
    Working,
    /// A person must decide.
    Gated,
    /// Approved, and in the merge queue's hands.
    Queued,
    /// On the target.
    Landed,
    /// An exploring unit whose document is there.
    Published,
    /// Handed to a person.
    Evicted,
    /// A unit it needs will not land.
    Blocked,
    /// Taken out by a person.
    Cancelled,
    /// Given up by a person; nothing brings it back.
    Discarded,
}

impl Phase {
    /// Every phase, in the order of the table.
    pub const ALL: [Self; 10] = [
        Self::Waiting,
        Self::Working,
        Self::Gated,
        Self::Queued,
        Self::Landed,
        Self::Published,
        Self::Evicted,
        Self::Blocked,
        Self::Cancelled,
        Self::Discarded,
    ];

    /// The word used in output.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Working => "working",
            Self::Gated => "gated",
            Self::Queued => "queued",
            Self::Landed => "landed",
            Self::Published => "published",
            Self::Evicted => "evicted",
            Self::Blocked => "blocked",
            Self::Cancelled => "cancelled",
            Self::Discarded => "discarded",
        }
    }

    /// Nothing more happens without a person.
    pub fn is_at_rest(self) -> bool {
        match self {
            Self::Waiting | Self::Working | Self::Queued => false,
            Self::Gated
            | Self::Landed
            | Self::Published
            | Self::Evicted
            | Self::Blocked
            | Self::Cancelled
            | Self::Discarded => true,
        }
    }
}

/// An event or a piece of news, as far as the table tells them apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Happening {
    /// `BranchTaken`.
    BranchTaken,
    /// `BranchLanded`.
    BranchLanded,
    /// `UnitStarted`.
    Started,
    /// `AttemptStarted`.
    AttemptStarted,
    /// `AttemptEnded`.
    AttemptEnded,
    /// `StageSkipped`.
    StageSkipped,
    /// `GateOpened`.
    GateOpened,
    /// `GateDecided`.
    GateDecided,
    /// `UnitApproved`.
    Approved,
    /// `UnitPublished`.
    Published,
    /// `UnitEvicted` for any reason but a person's cancellation.
    Evicted,
    /// `UnitEvicted` because a person cancelled it.
    Cancelled,
    /// `UnitBlocked`.
    Blocked,
    /// `UnitUnblocked`.
    Unblocked,
    /// `UnitRetried`.
    Retried,
    /// `UnitResolved`.
    Resolved,
    /// `UnitKept`.
    Kept,
    /// `UnitRestored` with work that is judged again.
    Restored,
    /// `UnitRestored` with work whose approval is proved.
    RestoredApproved,
    /// `UnitRestored` without work.
    RestoredUnbegun,
    /// `UnitDiscarded`.
    Discarded,
    /// The queue landed it, or found it landed.
    QueueLanded,
    /// The queue sent it back, with a failure or with a conflict.
    QueueSentBack,
    /// The queue evicted it.
    QueueEvicted,
    /// Its entry left the queue at a person's wish, or for a later one.
    QueueCancelled,
}

impl Happening {
    /// Every happening, in the order of the table.
    pub const ALL: [Self; 25] = [
        Self::BranchTaken,
        Self::BranchLanded,
        Self::Started,
        Self::AttemptStarted,
        Self::AttemptEnded,
        Self::StageSkipped,
        Self::GateOpened,
        Self::GateDecided,
        Self::Approved,
        Self::Published,
        Self::Evicted,
        Self::Cancelled,
        Self::Blocked,
        Self::Unblocked,
        Self::Retried,
        Self::Resolved,
        Self::Kept,
        Self::Restored,
        Self::RestoredApproved,
        Self::RestoredUnbegun,
        Self::Discarded,
        Self::QueueLanded,
        Self::QueueSentBack,
        Self::QueueEvicted,
        Self::QueueCancelled,
    ];

    /// What kind of happening an event is.
    pub fn of_event(event: &UnitEvent) -> Self {
        match event {
            UnitEvent::BranchTaken { .. } => Self::BranchTaken,
            UnitEvent::BranchLanded { .. } => Self::BranchLanded,
            UnitEvent::UnitStarted { .. } => Self::Started,
            UnitEvent::AttemptStarted { .. } => Self::AttemptStarted,
            UnitEvent::AttemptEnded { .. } => Self::AttemptEnded,
            UnitEvent::StageSkipped { .. } => Self::StageSkipped,
            UnitEvent::GateOpened { .. } => Self::GateOpened,
            UnitEvent::GateDecided { .. } => Self::GateDecided,
            UnitEvent::UnitApproved { .. } => Self::Approved,
            UnitEvent::UnitPublished => Self::Published,
            UnitEvent::UnitEvicted { reason, .. } if *reason == Reason::Cancelled => Self::Cancelled,
            UnitEvent::UnitEvicted { .. } => Self::Evicted,
            UnitEvent::UnitBlocked { .. } => Self::Blocked,
            UnitEvent::UnitUnblocked => Self::Unblocked,
            UnitEvent::UnitRetried { .. } => Self::Retried,
            UnitEvent::UnitResolved { .. } => Self::Resolved,
            UnitEvent::UnitKept { .. } => Self::Kept,
            UnitEvent::UnitRestored { work, .. } => match work {
                None => Self::RestoredUnbegun,
                Some(work) if work.approved.is_some() => Self::RestoredApproved,
                Some(_) => Self::Restored,
            },
            UnitEvent::UnitDiscarded => Self::Discarded,
        }
    }

    /// What kind of happening a piece of news is.
    pub fn of_news(news: &QueueNews) -> Self {
        match news {
            QueueNews::Landed { .. } | QueueNews::AlreadyLanded => Self::QueueLanded,
            QueueNews::SentBack { .. } | QueueNews::Conflicted { .. } => Self::QueueSentBack,
            QueueNews::Evicted { .. } => Self::QueueEvicted,
            QueueNews::Cancelled => Self::QueueCancelled,
        }
    }

    /// The word used in the table and in errors.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::BranchTaken => "branch taken",
            Self::BranchLanded => "branch landed",
            Self::Started => "started",
            Self::AttemptStarted => "attempt started",
            Self::AttemptEnded => "attempt ended",
            Self::StageSkipped => "stage skipped",
            Self::GateOpened => "gate opened",
            Self::GateDecided => "gate decided",
            Self::Approved => "approved",
            Self::Published => "published",
            Self::Evicted => "evicted",
            Self::Cancelled => "cancelled",
            Self::Blocked => "blocked",
            Self::Unblocked => "unblocked",
            Self::Retried => "retried",
            Self::Resolved => "resolved",
            Self::Kept => "kept",
            Self::Restored => "restored",
            Self::RestoredApproved => "restored, approved",
            Self::RestoredUnbegun => "restored, not begun",
            Self::Discarded => "discarded",
            Self::QueueLanded => "queue: landed",
            Self::QueueSentBack => "queue: sent back",
            Self::QueueEvicted => "queue: evicted",
            Self::QueueCancelled => "queue: cancelled",
        }
    }
}

/// A pair the table does not allow. It means that the journal was not written by this machine, or a bug of ours.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "unit `{unit}` is {phase}, where `{happening}` cannot happen{detail}; report it with the run's journal"
)]
pub struct IllegalTransition {
    /// The unit.
    pub unit: String,
    /// Where it stands.
    pub phase: &'static str,
    /// What was to happen.
    pub happening: &'static str,
    /// More, starting with `: `, or empty.
    pub detail: String,
}

/// What the table says of a pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rule {
    /// It happens, and the unit stands there afterwards.
    To(Phase),
    /// It came too late to matter; it is recorded and changes nothing but what was spent.
    Late,
    /// It cannot happen.
    Illegal,
}

/// The transition table.
pub(super) fn rule(phase: Phase, happening: Happening) -> Rule {
    match phase {
        Phase::Waiting => from_waiting(happening),
        Phase::Working => from_working(happening),
        Phase::Gated => from_gated(happening),
        Phase::Queued => from_queued(happening),
        Phase::Landed => from_landed(happening),
        Phase::Published => from_published(happening),
        Phase::Evicted | Phase::Cancelled => from_evicted(happening),
        Phase::Blocked => from_blocked(happening),
        Phase::Discarded => from_discarded(happening),
    }
}

fn from_waiting(happening: Happening) -> Rule {
    use Happening as H;
    match happening {
        H::Started => Rule::To(Phase::Working),
        H::BranchTaken => Rule::To(Phase::Waiting),
        H::BranchLanded => Rule::To(Phase::Landed),
        H::Kept => Rule::To(Phase::Landed),
        H::Restored => Rule::To(Phase::Working),
        H::RestoredApproved => Rule::To(Phase::Queued),
        H::RestoredUnbegun => Rule::To(Phase::Waiting),
        H::Blocked => Rule::To(Phase::Blocked),
        H::Retried => Rule::To(Phase::Waiting),
        H::Evicted => Rule::To(Phase::Evicted),
        H::Cancelled => Rule::To(Phase::Cancelled),
        H::Discarded => Rule::To(Phase::Discarded),
        H::AttemptEnded | H::QueueCancelled => Rule::Late,
        H::AttemptStarted
        | H::StageSkipped
        | H::GateOpened
        | H::GateDecided
        | H::Approved
        | H::Published
        | H::Unblocked
        | H::Resolved
        | H::QueueLanded
        | H::QueueSentBack
        | H::QueueEvicted => Rule::Illegal,
    }
}

fn from_working(happening: Happening) -> Rule {
    use Happening as H;
    match happening {
        H::AttemptStarted | H::AttemptEnded | H::StageSkipped => Rule::To(Phase::Working),
        H::GateOpened => Rule::To(Phase::Gated),
        H::Approved => Rule::To(Phase::Queued),
        H::Published => Rule::To(Phase::Published),
        H::Evicted => Rule::To(Phase::Evicted),
        H::Cancelled => Rule::To(Phase::Cancelled),
        H::Retried => Rule::To(Phase::Waiting),
        H::Discarded => Rule::To(Phase::Discarded),
        H::QueueCancelled => Rule::Late,
        H::BranchTaken
        | H::BranchLanded
        | H::Started
        | H::GateDecided
        | H::Blocked
        | H::Unblocked
        | H::Resolved
        | H::QueueLanded
        | H::QueueSentBack
        | H::QueueEvicted
        | H::Kept
        | H::Restored
        | H::RestoredApproved
        | H::RestoredUnbegun => Rule::Illegal,
    }
}

fn from_gated(happening: Happening) -> Rule {
    use Happening as H;
    match happening {
        H::GateDecided => Rule::To(Phase::Working),
        H::Evicted => Rule::To(Phase::Evicted),
        H::Cancelled => Rule::To(Phase::Cancelled),
        H::Retried => Rule::To(Phase::Waiting),
        H::Discarded => Rule::To(Phase::Discarded),
        H::AttemptEnded | H::QueueCancelled => Rule::Late,
        H::BranchTaken
        | H::BranchLanded
        | H::Started
        | H::AttemptStarted
        | H::StageSkipped
        | H::GateOpened
        | H::Approved
        | H::Published
        | H::Blocked
        | H::Unblocked
        | H::Resolved
        | H::QueueLanded
        | H::QueueSentBack
        | H::QueueEvicted
        | H::Kept
        | H::Restored
        | H::RestoredApproved
        | H::RestoredUnbegun => Rule::Illegal,
    }
}

fn from_queued(happening: Happening) -> Rule {
    use Happening as H;
    match happening {
        H::QueueLanded => Rule::To(Phase::Landed),
        H::QueueSentBack => Rule::To(Phase::Working),
        H::QueueEvicted | H::Evicted => Rule::To(Phase::Evicted),
        H::QueueCancelled | H::Cancelled => Rule::To(Phase::Cancelled),
        H::Retried => Rule::To(Phase::Waiting),
        H::Discarded => Rule::To(Phase::Discarded),
        H::AttemptEnded => Rule::Late,
        H::BranchTaken
        | H::BranchLanded
        | H::Started
        | H::AttemptStarted
        | H::StageSkipped
        | H::GateOpened
        | H::GateDecided
        | H::Approved
        | H::Published
        | H::Blocked
        | H::Unblocked
        | H::Resolved
        | H::Kept
        | H::Restored
        | H::RestoredApproved
        | H::RestoredUnbegun => Rule::Illegal,
    }
}

fn from_landed(happening: Happening) -> Rule {
    use Happening as H;
    match happening {
        H::AttemptEnded | H::QueueCancelled => Rule::Late,
        H::BranchTaken
        | H::BranchLanded
        | H::Started
        | H::AttemptStarted
        | H::StageSkipped
        | H::GateOpened
        | H::GateDecided
        | H::Approved
        | H::Published
        | H::Evicted
        | H::Cancelled
        | H::Blocked
        | H::Unblocked
        | H::Retried
        | H::Resolved
        | H::Discarded
        | H::QueueLanded
        | H::QueueSentBack
        | H::QueueEvicted
        | H::Kept
        | H::Restored
        | H::RestoredApproved
        | H::RestoredUnbegun => Rule::Illegal,
    }
}

fn from_published(happening: Happening) -> Rule {
    use Happening as H;
    match happening {
        H::Retried => Rule::To(Phase::Waiting),
        H::Discarded => Rule::To(Phase::Discarded),
        H::AttemptEnded | H::QueueCancelled => Rule::Late,
        H::BranchTaken
        | H::BranchLanded
        | H::Started
        | H::AttemptStarted
        | H::StageSkipped
        | H::GateOpened
        | H::GateDecided
        | H::Approved
        | H::Published
        | H::Evicted
        | H::Cancelled
        | H::Blocked
        | H::Unblocked
        | H::Resolved
        | H::QueueLanded
        | H::QueueSentBack
        | H::QueueEvicted
        | H::Kept
        | H::Restored
        | H::RestoredApproved
        | H::RestoredUnbegun => Rule::Illegal,
    }
}

fn from_evicted(happening: Happening) -> Rule {
    use Happening as H;
    match happening {
        H::Retried => Rule::To(Phase::Waiting),
        H::Resolved => Rule::To(Phase::Working),
        H::Discarded => Rule::To(Phase::Discarded),
        H::AttemptEnded | H::QueueCancelled => Rule::Late,
        H::BranchTaken
        | H::BranchLanded
        | H::Started
        | H::AttemptStarted
        | H::StageSkipped
        | H::GateOpened
        | H::GateDecided
        | H::Approved
        | H::Published
        | H::Evicted
        | H::Cancelled
        | H::Blocked
        | H::Unblocked
        | H::QueueLanded
        | H::QueueSentBack
        | H::QueueEvicted
        | H::Kept
        | H::Restored
        | H::RestoredApproved
        | H::RestoredUnbegun => Rule::Illegal,
    }
}

fn from_blocked(happening: Happening) -> Rule {
    use Happening as H;
    match happening {
        H::Unblocked | H::Retried => Rule::To(Phase::Waiting),
        H::Blocked => Rule::To(Phase::Blocked),
        H::Evicted => Rule::To(Phase::Evicted),
        H::Cancelled => Rule::To(Phase::Cancelled),
        H::Discarded => Rule::To(Phase::Discarded),
        H::AttemptEnded | H::QueueCancelled => Rule::Late,
        H::BranchTaken
        | H::BranchLanded
        | H::Started
        | H::AttemptStarted
        | H::StageSkipped
        | H::GateOpened
        | H::GateDecided
        | H::Approved
        | H::Published
        | H::Resolved
        | H::QueueLanded
        | H::QueueSentBack
        | H::QueueEvicted
        | H::Kept
        | H::Restored
        | H::RestoredApproved
        | H::RestoredUnbegun => Rule::Illegal,
    }
}

fn from_discarded(happening: Happening) -> Rule {
    use Happening as H;
    match happening {
        H::AttemptEnded | H::QueueCancelled => Rule::Late,
        H::BranchTaken
        | H::BranchLanded
        | H::Started
        | H::AttemptStarted
        | H::StageSkipped
        | H::GateOpened
        | H::GateDecided
        | H::Approved
        | H::Published
        | H::Evicted
        | H::Cancelled
        | H::Blocked
        | H::Unblocked
        | H::Retried
        | H::Resolved
        | H::Discarded
        | H::QueueLanded
        | H::QueueSentBack
        | H::QueueEvicted
        | H::Kept
        | H::Restored
        | H::RestoredApproved
        | H::RestoredUnbegun => Rule::Illegal,
    }
}

/// The transition table as Markdown: a row a happening, a column a phase; `late` is recorded and changes nothing,
/// an empty cell cannot happen.
pub fn transition_table() -> String {
    let mut text = String::from("| |");
    for phase in Phase::ALL {
        let _ = write!(text, " {} |", phase.as_str());
    }
    text.push_str("\n| --- |");
    text.push_str(&" --- |".repeat(Phase::ALL.len()));
    for happening in Happening::ALL {
        let _ = write!(text, "\n| {} |", happening.as_str());
        for phase in Phase::ALL {
            let cell = match rule(phase, happening) {
                Rule::To(next) => next.as_str(),
                Rule::Late => "late",
                Rule::Illegal => "",
            };
            let _ = write!(text, " {cell} |");
        }
    }
    text.push('\n');
    text
}
