//! What checks said of a tree.

use serde::{Deserialize, Serialize};

use crate::id::Oid;

/// The recorded result of a check set on a tree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    /// The tree, or the commit's id when a check depends on history.
    pub tree: Oid,
    /// SHA-256 of the check set.
    pub checks: String,
    /// SHA-256 of operating system, architecture and declared environment.
    pub environment: String,
    /// One row a check, in order; empty is not a pass.
    pub results: Vec<CheckResult>,
}

impl Evidence {
    /// At least one check ran, and every one passed.
    pub fn passed(&self) -> bool {
        !self.results.is_empty()
            && self
                .results
                .iter()
                .all(|result| result.outcome == CheckOutcome::Passed)
    }

    /// The same, with the rows of others that were made together with it, each once.
    #[must_use]
    pub fn together(&self, others: &[Self]) -> Self {
        let mut all = self.clone();
        for row in others.iter().flat_map(|other| &other.results) {
            if !all.results.contains(row) {
                all.results.push(row.clone());
            }
        }
        all
    }

    /// The first check that did not pass.
    pub fn first_failure(&self) -> Option<&CheckResult> {
        self.results
            .iter()
            .find(|result| result.outcome != CheckOutcome::Passed)
    }
}

/// What one check said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckResult {
    /// Its name.
    pub name: String,
    /// How it ended.
    pub outcome: CheckOutcome,
    /// Its exit status; `None` when it has none.
    pub exit: Option<i32>,
    /// Wall time.
    pub duration_ms: u64,
    /// The last lines of its output, control characters removed; at most 8 KiB.
    pub tail: String,
    /// The failure's signature: first failing test and normalised message; empty on a pass.
    pub signature: String,
}

/// How one check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CheckOutcome {
    /// Exit status 0.
    Passed,
    /// Another exit status.
    Failed,
    /// The time limit was reached.
    TimedOut,
    /// It was not run, because one before it failed.
    Skipped,
    /// Set-up failed, the program could not be started, the disk is full: says nothing about the commit.
    Infrastructure,
    /// The engine died or a person cancelled: says nothing about the commit.
    Interrupted,
}
