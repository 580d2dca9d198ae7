//! What happens to the merge queue: integration, verification, landing.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Evidence, Head, Reason, listed, stash_command};
use crate::id::{Oid, UnitId};
use crate::spec::Strategy;

/// What happens to the merge queue. A verification or a landing belongs to a candidate, which names its units.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum QueueEvent {
    /// A unit joined the queue.
    Enqueued {
        /// The unit.
        unit: UnitId,
        /// Its approval.
        generation: u32,
        /// What was approved.
        head: Head,
        /// What it stands on.
        base: Oid,
        /// Higher goes first.
        priority: i64,
        /// Place in the pipeline file: the tie-break.
        place: u32,
    },
    /// Units were put onto a base, in memory.
    CandidateBuilt {
        /// The result.
        candidate: Candidate,
    },
    /// A unit cannot be put onto the base.
    IntegrationFailed {
        /// The unit.
        unit: UnitId,
        /// Its approval.
        generation: u32,
        /// The candidate's base.
        base: Oid,
        /// Units of the same candidate that were put onto the base before it.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        ahead: Vec<UnitId>,
        /// What stood in the way.
        obstacle: Obstacle,
    },
    /// Intent: the checks are about to run on a commit.
    VerifyStarted {
        /// A candidate's commit, or the target's tip.
        commit: Oid,
        /// Why it is verified.
        purpose: VerifyPurpose,
        /// Unique within the run; an outcome with another fence is ignored.
        fence: u64,
    },
    /// The checks ran, or evidence for the same tree and checks stood in.
    VerifyEnded {
        /// The fence of its start.
        fence: u64,
        /// What they said.
        evidence: Evidence,
        /// Whether earlier evidence was used.
        reused: bool,
    },
    /// Intent: the target is about to move.
    LandIntended {
        /// What lands.
        commit: Oid,
        /// Where the target stands.
        from: Oid,
        /// The verified tree.
        tree: Oid,
        /// The worktree that has the target checked out, whose files follow.
        checkout: Option<String>,
    },
    /// The target moved.
    Landed {
        /// The target's old tip.
        from: Oid,
        /// Its new tip.
        to: Oid,
        /// Each unit with its commit on the target, in order.
        units: Vec<LandedUnit>,
        /// What proves the tree.
        evidence: Option<Evidence>,
    },
    /// The files of the checkout that has the target followed it.
    CheckoutFollowed {
        /// The new tip.
        to: Oid,
        /// Paths that equal neither the old nor the new tip and were left alone.
        left: Vec<String>,
    },
    /// The target could not move now.
    LandRefused {
        /// What would have landed.
        commit: Oid,
        /// Why not.
        cause: LandRefusal,
    },
    /// An entry waits, in place.
    EntryHeld {
        /// The unit.
        unit: UnitId,
        /// What for.
        hold: Hold,
    },
    /// An entry no longer waits.
    EntryReleased {
        /// The unit.
        unit: UnitId,
    },
    /// A failure was put down to a unit.
    EntryCharged {
        /// The unit.
        unit: UnitId,
        /// How much, of the 200 that evict.
        charge: u32,
        /// What for.
        reason: Reason,
    },
    /// A check failed and passed on the same tree.
    FlakeSeen {
        /// The unit whose candidate it was.
        unit: UnitId,
        /// The check.
        check: String,
    },
    /// A candidate of several units cannot pass: they are verified in halves from now on.
    BatchSplit {
        /// The candidate's commit.
        commit: Oid,
        /// Its units, in order.
        units: Vec<UnitId>,
    },
    /// A step of ours panicked: a bug. Nobody is charged; once it is done again, twice the entry is taken out.
    StepPanicked {
        /// Whom it was about, each in line; a candidate of several is taken apart.
        units: Vec<UnitId>,
        /// Their candidate, if there was one.
        commit: Option<Oid>,
        /// What was being done.
        step: QueueStep,
        /// What the panic said.
        message: String,
    },
    /// A unit left the queue for another fix stage.
    SentBack {
        /// The unit.
        unit: UnitId,
        /// Why.
        reason: Reason,
        /// What failed.
        evidence: Evidence,
    },
    /// A unit left the queue to have its conflict with the target resolved.
    SentToResolve {
        /// The unit.
        unit: UnitId,
        /// The target's tip, which it cannot be put onto.
        onto: Oid,
        /// Where both sides changed the same.
        conflicts: Vec<Conflict>,
    },
    /// A unit left the queue for good without landing through it.
    EntryLeft {
        /// The unit.
        unit: UnitId,
        /// How.
        end: EntryEnd,
    },
    /// The target was found elsewhere than where the queue left it; `to` contains all that has landed.
    TargetMoved {
        /// Where the queue left it.
        from: Oid,
        /// Where it is.
        to: Oid,
    },
    /// The checks fail on the target itself: nobody is charged and the queue waits.
    BaseRed {
        /// The target's tip.
        commit: Oid,
        /// The check.
        check: String,
    },
    /// A person paused the run: what is under way goes on, nothing else starts or lands.
    QueuePaused,
    /// A person lifted the pause.
    QueueResumed,
    /// A person froze the entries below a priority: none of them lands.
    QueueFrozen {
        /// The lowest priority that is still served.
        below: i64,
    },
    /// A person lifted the freeze.
    QueueThawed,
    /// A person gave a unit in line another priority; it keeps it over all its generations.
    EntryRaised {
        /// The unit.
        unit: UnitId,
        /// Higher goes first.
        priority: i64,
        /// Candidates before the unit's own are broken off.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        interrupt: bool,
    },
    /// Units wait, no person holds them back, and nothing has landed for `queue.stall_alarm`.
    QueueStalled {
        /// Since when.
        since: Timestamp,
    },
    /// Something is wrong that must not be worked around.
    SafetyStop {
        /// Why.
        reason: Reason,
        /// As a sentence.
        sentence: String,
    },
}

/// Base commit, ordered unit heads and strategy, and the commit they give.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Candidate {
    /// The commit everything was put onto: the target's tip, or the candidate ahead.
    pub base: Oid,
    /// How.
    pub strategy: Strategy,
    /// The units in order, each with the commit it became.
    pub units: Vec<CandidateUnit>,
    /// The last of those commits.
    pub commit: Oid,
    /// Its tree.
    pub tree: Oid,
}

/// A unit in a candidate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CandidateUnit {
    /// The unit.
    pub unit: UnitId,
    /// Its approval.
    pub generation: u32,
    /// What was approved.
    pub head: Oid,
    /// What it became.
    pub commit: Oid,
}

/// A unit and the commit on the target that is it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LandedUnit {
    /// The unit.
    pub unit: UnitId,
    /// Its commit on the target.
    pub commit: Oid,
    /// It stands between the old tip and the commit that was verified, and was not verified by itself.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unverified: bool,
}

/// What stands in the way of an integration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "obstacle", rename_all = "snake_case")]
pub enum Obstacle {
    /// Both sides changed the same.
    Conflict {
        /// Where.
        conflicts: Vec<Conflict>,
    },
    /// Everything is on the base already.
    AlreadyLanded,
    /// No common ancestor.
    UnrelatedHistory,
    /// A merge commit in the unit's range, under rebase.
    MergeCommit {
        /// The commit.
        commit: Oid,
    },
    /// What came of it is not what was reviewed.
    NotPreserved {
        /// Where it differs; none when it does not stand on its base.
        paths: Vec<String>,
    },
}

impl Obstacle {
    /// The paths on which both sides changed the same; none for what is no conflict.
    pub fn conflicts(&self) -> &[Conflict] {
        match self {
            Self::Conflict { conflicts } => conflicts,
            Self::AlreadyLanded
            | Self::UnrelatedHistory
            | Self::MergeCommit { .. }
            | Self::NotPreserved { .. } => &[],
        }
    }
}

/// One path on which an integration conflicts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Conflict {
    /// Path from the repository root.
    pub path: String,
    /// git's own word: `contents`, `modify/delete`, `rename/rename`, `binary` ...
    pub kind: String,
    /// The conflicting hunks with their markers, where the path has text; at most 16 KiB.
    pub hunks: String,
    /// The unit of this run that brought the other side, if one did: it has landed, or is ahead in the queue.
    pub landed_by: Option<UnitId>,
    /// The commit on the target that last touched the path since the unit's old base.
    pub landed_as: Option<Oid>,
}

/// What the queue does with an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum QueueStep {
    /// Putting it onto a base.
    Integrate,
    /// Running the checks on its candidate, or on the target because of it.
    Verify,
    /// Moving the target to its candidate.
    Land,
}

impl QueueStep {
    /// As the beginning of a sentence.
    pub fn doing(self) -> &'static str {
        match self {
            Self::Integrate => "While this unit was put onto its base,",
            Self::Verify => "While this unit's candidate was verified,",
            Self::Land => "While this unit was landed,",
        }
    }
}

/// What the author who resolves it calls a conflict, by its place from 0: `C-<n>`.
pub fn conflict_id(place: usize) -> String {
    format!("C-{}", place + 1)
}

/// Why a commit is verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VerifyPurpose {
    /// To land it.
    Candidate,
    /// To tell a unit's failure from a failure of the target.
    Base,
}

/// Why the target could not move.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "cause", rename_all = "snake_case")]
pub enum LandRefusal {
    /// Somebody moved the target meanwhile.
    BaseMoved {
        /// Where it is.
        tip: Oid,
    },
    /// A person's uncommitted work is in the way.
    TargetDirty {
        /// Their checkout.
        checkout: String,
        /// The paths.
        paths: Vec<String>,
        /// Those of them that are removed in the index, and have no file.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        removed: Vec<String>,
    },
    /// The repository does not let the target move.
    PushRejected {
        /// What git said; untrusted.
        words: String,
    },
}

/// What an entry waits for, in place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "hold", rename_all = "snake_case")]
pub enum Hold {
    /// A person's uncommitted work in the checkout of the target.
    TargetDirty {
        /// Their checkout.
        checkout: String,
        /// The paths.
        paths: Vec<String>,
        /// Those of them that are removed in the index, and have no file.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        removed: Vec<String>,
    },
    /// The repository does not let the target move.
    PushRejected {
        /// What git said; untrusted.
        words: String,
    },
    /// The target itself fails its checks.
    BaseRed {
        /// The check.
        check: String,
    },
    /// It cannot be put onto units that stand ahead of it and have not landed.
    ConflictAhead {
        /// Those units.
        units: Vec<UnitId>,
        /// The paths.
        paths: Vec<String>,
    },
    /// The machine could not run the checks; they are tried again.
    Backoff {
        /// How often in a row.
        times: u32,
        /// Not before this moment.
        until: Timestamp,
    },
    /// A person paused the run.
    Paused,
    /// A person froze the queue below a priority, and the entry's is lower.
    Frozen {
        /// The lowest priority that is served.
        below: i64,
    },
}

impl Hold {
    /// A stable word for it.
    pub fn code(&self) -> &'static str {
        match self {
            Self::TargetDirty { .. } => Reason::TargetDirty.code(),
            Self::PushRejected { .. } => Reason::PushRejected.code(),
            Self::BaseRed { .. } => Reason::BaseRed.code(),
            Self::ConflictAhead { .. } => Reason::ConflictAhead.code(),
            Self::Backoff { .. } => "backoff",
            Self::Paused => "paused",
            Self::Frozen { .. } => "frozen",
        }
    }

    /// What a person can do about it; `file` is the pipeline file of the run.
    pub fn remedy(&self, file: &str) -> String {
        match self {
            Self::TargetDirty { .. } => format!("{} (`pipeline run {file}`)", Reason::TargetDirty.remedy()),
            Self::PushRejected { .. } => format!("{} (`pipeline run {file}`)", Reason::PushRejected.remedy()),
            Self::BaseRed { .. } => format!("{} (`pipeline run {file}`)", Reason::BaseRed.remedy()),
            Self::ConflictAhead { .. } => Reason::ConflictAhead.remedy().to_owned(),
            Self::Backoff { .. } => format!(
                "Mend the machine or the set-up; another engine (Ctrl-C, then `pipeline run {file}`) tries again at once."
            ),
            Self::Paused => format!("`pipeline resume` lifts the pause; then `pipeline run {file}`"),
            Self::Frozen { .. } => format!(
                "`pipeline queue freeze --off` lifts the freeze, `pipeline queue top UNIT` lets one unit pass; then `pipeline run {file}`"
            ),
        }
    }

    /// What the entry waits for, as a sentence.
    pub fn sentence(&self) -> String {
        match self {
            Self::TargetDirty {
                checkout,
                paths,
                removed,
            } => format!(
                "uncommitted work in {checkout} is in the way: {}; commit it, or put it aside with `{}`",
                listed(paths),
                stash_command(checkout, paths, removed)
            ),
            Self::PushRejected { words } => {
                format!("the repository does not let the target move; git says: {words}")
            }
            Self::BaseRed { check } => format!("the check `{check}` fails on the target itself"),
            Self::Backoff { times, until } => {
                let often = match times {
                    0 | 1 => String::new(),
                    times => format!(" {times} times in a row"),
                };
                format!("the checks could not be run{often}, and are tried again at {until:.0}")
            }
            Self::Paused => "a person paused the run".to_owned(),
            Self::Frozen { below } => format!("a person froze the queue below priority {below}"),
            Self::ConflictAhead { units, paths } => {
                let names: Vec<String> = units.iter().map(|unit| format!("`{unit}`")).collect();
                let whom = match names.as_slice() {
                    [] => "work ahead in the queue".to_owned(),
                    names => format!("{}, ahead in the queue", names.join(", ")),
                };
                match paths.as_slice() {
                    [] => format!("it cannot be put onto {whom}"),
                    paths => format!("it conflicts with {whom}, in {}", listed(paths)),
                }
            }
        }
    }
}

/// How an entry left the queue without landing through it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "end", rename_all = "snake_case")]
pub enum EntryEnd {
    /// Everything it brings is on the target already.
    AlreadyLanded,
    /// Handed to a person.
    Evicted {
        /// Why.
        reason: Reason,
        /// As a sentence.
        sentence: String,
        /// Where it conflicts, if that is why.
        conflicts: Vec<Conflict>,
    },
    /// Taken out by a person, or replaced by a later generation.
    Cancelled,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn journals_from_before_windows_and_batches_are_read() {
        let oid = "4".repeat(40);
        let landed = format!(
            r#"{{"type":"landed","from":"{oid}","to":"{oid}","units":[{{"unit":"a","commit":"{oid}"}}],"evidence":null}}"#
        );
        let failed = format!(
            r#"{{"type":"integration_failed","unit":"a","generation":1,"base":"{oid}","obstacle":{{"obstacle":"already_landed"}}}}"#
        );
        let QueueEvent::Landed { units, .. } = serde_json::from_str(&landed).unwrap() else {
            panic!("landed")
        };
        assert!(!units[0].unverified);
        let QueueEvent::IntegrationFailed { ahead, .. } = serde_json::from_str(&failed).unwrap() else {
            panic!("integration failed")
        };
        assert!(ahead.is_empty());
        for text in [landed, failed] {
            let event: QueueEvent = serde_json::from_str(&text).unwrap();
            assert_eq!(
                serde_json::to_string(&event).unwrap(),
                text,
                "and written as they were"
            );
        }
    }
}
