//! Why a unit, an attempt or the whole queue stopped: a closed set of stable codes.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

macro_rules! reasons {
    ($($(#[$doc:meta])* $variant:ident = $code:literal, $sentence:literal, $remedy:literal;)*) => {
        /// A stable code. Its text form is what machines read; sentence and remedy are for people.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
        pub enum Reason {
            $($(#[$doc])* #[doc = $sentence] #[serde(rename = $code)] $variant,)*
        }

        impl Reason {
            /// Every reason there is, in the order of the reference.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The code.
            pub fn code(self) -> &'static str {
                match self { $(Self::$variant => $code),* }
            }

            /// What it means.
            pub fn sentence(self) -> &'static str {
                match self { $(Self::$variant => $sentence),* }
            }

            /// What a person can do about it.
            pub fn remedy(self) -> &'static str {
                match self { $(Self::$variant => $remedy),* }
            }
        }
    };
}

reasons! {
    ChecksFailed = "checks_failed", "The checks fail on the unit's head.", "Read the check's log with `pipeline logs UNIT --failed`, repair it with `pipeline resolve UNIT`, or try again with `pipeline retry UNIT -m NOTE`.";
    SetupFailed = "setup_failed", "A set-up command failed in a fresh worktree.", "Run the set-up command in a clean checkout and repair it, then `pipeline retry UNIT`.";
    TooLarge = "too_large", "The work changes more files or adds more bytes than `guards` allows.", "Narrow the unit, or raise `guards.max_files` or `guards.max_bytes`.";
    SecretInDiff = "secret_in_diff", "The work contains what looks like a secret.", "Remove the secret, revoke it if it is real, then `pipeline retry UNIT`.";
    OutsidePaths = "outside_paths", "The work touches paths the unit does not claim, and `guards.paths_strict` is on.", "Widen the unit's `paths`, or retry with a narrower scope.";
    Rejected = "rejected", "An approve stage or a person rejected the work.", "Read the reason with `pipeline show UNIT`; repair with `pipeline resolve UNIT` or retry with a note.";
    RevertsLanded = "reverts_landed", "The work sets a path back to what it was before another unit of this run landed.", "Look at `pipeline diff UNIT`; approve if that is meant, else retry.";
    ConflictTarget = "conflict_target", "The work conflicts with the target.", "`pipeline resolve UNIT` opens a worktree with the conflict in place; `pipeline retry UNIT` does the unit afresh, on the target as it is now.";
    ConflictAhead = "conflict_ahead", "The work conflicts with a unit ahead in the queue.", "Nothing: it goes on when the one ahead has landed or left.";
    VerifyFailed = "verify_failed", "The checks fail on the work put onto the target.", "Read the log with `pipeline logs UNIT --failed`, then `pipeline resolve UNIT`.";
    VerifyTimeout = "verify_timeout", "A check on the work put onto the target ran into its time limit.", "Raise the check's `timeout`, or repair what hangs.";
    VerifyInterrupted = "verify_interrupted", "The verification was interrupted.", "Nothing: it is repeated at no cost.";
    GateEmpty = "gate_empty", "There is no check to run, so nothing can be proved.", "Add `checks`, or write `queue: {verify: none}` to waive them.";
    GateSkipped = "gate_skipped", "A check was skipped, so nothing is proved.", "Make every check run.";
    BaseRed = "base_red", "The checks fail on the target itself.", "Repair the target; the run goes on from there.";
    HeadMoved = "head_moved", "The unit's branch moved after its approval.", "`pipeline retry UNIT` takes the new head through review.";
    ApprovalLost = "approval_lost", "The approval of the unit's head cannot be proved.", "`pipeline retry UNIT` takes it through review again.";
    RoundsExhausted = "rounds_exhausted", "Blocking findings are left after the last fix round.", "Read them with `pipeline show UNIT`; repair with `pipeline resolve UNIT` or retry with a note.";
    AttemptsExhausted = "attempts_exhausted", "A stage failed in every attempt it had.", "Read the log with `pipeline logs UNIT --failed`, mend the agent or the prompt, then `pipeline retry UNIT`.";
    NoChange = "no_change", "The author changed nothing.", "Make the prompt clearer, or discard the unit if there is nothing to do.";
    DependencyEvicted = "dependency_evicted", "A unit it needs was evicted.", "Bring that unit back; this one follows.";
    DroppedByBisection = "dropped_by_bisection", "The unit is the one that makes its batch fail.", "Read the log with `pipeline logs UNIT --failed`, then `pipeline resolve UNIT`.";
    DiffNotPreserved = "diff_not_preserved", "What would land is not what was reviewed.", "`pipeline resolve UNIT`, or retry.";
    ProtectedPath = "protected_path", "The work touches a protected path.", "Look at `pipeline diff UNIT`, then `pipeline approve UNIT` or `pipeline reject UNIT -m WHY`.";
    TestsWeakened = "tests_weakened", "The work deletes, skips or empties tests.", "Look at `pipeline diff UNIT`, then `pipeline approve UNIT` or `pipeline reject UNIT -m WHY`; or set `may_change_tests: true`.";
    UnrelatedHistory = "unrelated_history", "The branch shares no history with the target.", "Rebuild the branch on the target.";
    MergeCommit = "merge_commit", "The branch contains a merge commit, which `strategy: rebase` cannot replay.", "Flatten the branch, or use `queue: {strategy: squash}`.";
    TargetDirty = "target_dirty", "Uncommitted work in the checkout of the target is on a path that would be written.", "Commit those paths, or put them aside with the command that is told (`git stash push --all -- PATHS`); then run the same command again.";
    TargetRewritten = "target_rewritten", "The target was moved so that landed work is gone, or it was deleted or renamed.", "Restore the target, or start over with `--fresh` after making sure that nothing is lost.";
    PushRejected = "push_rejected", "The repository does not let the target move, or the remote refused the push.", "Read its message and mend what it names, then run the same command again.";
    InfraExhausted = "infra_exhausted", "The verification could not be carried out too many times.", "Mend the machine or the set-up, then `pipeline retry UNIT`.";
    BudgetExhausted = "budget_exhausted", "The unit's budget is spent.", "Raise `budget_usd`, then `pipeline retry UNIT`.";
    Auth = "auth", "An agent is not logged in.", "Log it in; `pipeline doctor` shows which one.";
    Superseded = "superseded", "A later generation replaced it.", "Nothing.";
    Declined = "declined", "Its pull request was closed.", "`pipeline retry UNIT` opens another.";
    Cancelled = "cancelled", "A person cancelled it.", "`pipeline retry UNIT` brings it back.";
    Tampered = "tampered", "Hooks, configuration or refs of the repository changed while it ran.", "Look at what changed before anything else.";
    Internal = "internal", "A bug of ours.", "Report it with the run's journal.";
}

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_unique_snake_case_and_stand_in_json() {
        let mut seen = std::collections::BTreeSet::new();
        for reason in Reason::ALL {
            assert!(seen.insert(reason.code()));
            assert!(
                reason.code().bytes().all(|b| b.is_ascii_lowercase() || b == b'_'),
                "{reason}"
            );
            assert_eq!(serde_json::to_value(reason).unwrap(), reason.code());
            assert!(
                reason.sentence().ends_with('.') && reason.remedy().ends_with('.'),
                "{reason}"
            );
        }
    }
}
