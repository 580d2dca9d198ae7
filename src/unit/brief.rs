//! What each kind of stage is shown, as plain data.
//!
//! **Architecture Invariant:** [`Brief::Review`] holds nothing an author wrote. Its findings are the reviewer's own
//! reports and its failures are complaints about the reviewer's own answers.

use crate::event::{Evidence, Job, Output, Reason, ReportedFinding, ResolutionAction};
use crate::id::StageName;
use crate::spec::StageKind;

use super::conflict::is_resolve;
use super::ledger::LedgerEntry;
use super::{OpenConflict, State};

/// Everything the packet of a stage may be built from, beside what the engine reads from git and the pipeline.
#[derive(Debug, Clone, PartialEq)]
pub enum Brief {
    /// Of a prepare stage.
    Prepare {
        /// Documents of the stages it needs.
        documents: Vec<(StageName, String)>,
        /// Why its earlier attempts failed; the last three.
        failures: Vec<String>,
    },
    /// Of an implement or fix stage.
    Author {
        /// Documents of the stages it needs.
        documents: Vec<(StageName, String)>,
        /// Why its earlier attempts failed; the last three.
        failures: Vec<String>,
        /// What the person who asked for another try said.
        note: Option<String>,
        /// Findings that block; for a fix only.
        findings: Vec<OpenFinding>,
        /// The checks that fail on the head, or on what the queue made of it.
        failed_checks: Option<Evidence>,
        /// How an earlier try of the unit ended.
        previous: Option<Eviction>,
    },
    /// Of the stage in which an author resolves a conflict with the target.
    Resolve {
        /// What conflicts with what.
        conflict: Box<OpenConflict>,
        /// Why its earlier attempts failed; the last three.
        failures: Vec<String>,
        /// What the person who asked for another try said.
        note: Option<String>,
    },
    /// Of a review.
    Review {
        /// Names of the checks that passed on the head.
        passed_checks: Vec<String>,
        /// Findings this stage reported that are open; it must return a row for each.
        open: Vec<OpenFinding>,
        /// The round.
        round: u32,
        /// What was wrong with the shape of its own earlier answers.
        failures: Vec<String>,
    },
    /// Of an approve stage.
    Approve {
        /// The findings of the current try.
        ledger: Vec<LedgerEntry>,
        /// What the checks said.
        evidence: Option<Evidence>,
        /// What the author disputes or defers.
        disputed: Vec<Dispute>,
        /// Why its earlier attempts failed; the last three.
        failures: Vec<String>,
    },
    /// Of the checks.
    Checks,
}

impl Brief {
    /// The conflict that is to be resolved, if that is what the attempt is for.
    pub fn conflict(&self) -> Option<&OpenConflict> {
        match self {
            Self::Resolve { conflict, .. } => Some(conflict),
            Self::Prepare { .. }
            | Self::Author { .. }
            | Self::Review { .. }
            | Self::Approve { .. }
            | Self::Checks => None,
        }
    }
}

/// An open finding as it was reported, without anything an author said about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenFinding {
    /// `F-<n>`.
    pub id: String,
    /// What was reported.
    pub reported: ReportedFinding,
}

/// What an author says about a finding it did not fix: the author's claim, not a fact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dispute {
    /// The finding.
    pub finding: String,
    /// Disputed or deferred.
    pub action: ResolutionAction,
    /// The author's reason.
    pub note: String,
}

/// How a try of the unit ended with a person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Eviction {
    /// Why, as a code.
    pub reason: Reason,
    /// Why, as a sentence.
    pub sentence: String,
}

impl State {
    /// What an attempt at this job is shown.
    pub fn brief(&self, job: &Job) -> Brief {
        let failures = self
            .tries
            .get(job)
            .map(|tries| tries.failures.clone())
            .unwrap_or_default();
        let Job::Stage { stage, kind, .. } = job else {
            return Brief::Checks;
        };
        match &self.conflict {
            Some(conflict) if is_resolve(stage) => {
                return Brief::Resolve {
                    conflict: Box::new(conflict.clone()),
                    failures,
                    note: self.retry_note.clone(),
                };
            }
            Some(_) | None => {}
        }
        match kind {
            StageKind::Prepare => Brief::Prepare {
                documents: self.documents(stage),
                failures,
            },
            StageKind::Implement | StageKind::Fix => Brief::Author {
                documents: self.documents(stage),
                failures,
                note: self.retry_note.clone(),
                findings: self.findings_for(*kind),
                failed_checks: self.failed_evidence().cloned(),
                previous: self.previous.clone(),
            },
            StageKind::Review => Brief::Review {
                passed_checks: self.passed_checks(),
                open: self.open_findings(stage),
                round: self.round,
                failures,
            },
            StageKind::Approve => Brief::Approve {
                ledger: self.current_entries().cloned().collect(),
                evidence: self.checked.clone(),
                disputed: self.disputes(),
                failures,
            },
        }
    }

    /// The open findings a review is shown: those it reported itself.
    pub(super) fn open_findings(&self, review: &StageName) -> Vec<OpenFinding> {
        self.ledger
            .shown_to(review, self.try_number, self.round)
            .map(open_finding)
            .collect()
    }

    /// What failed on the head: the queue's evidence, else that of the unit's own checks.
    pub(super) fn failed_evidence(&self) -> Option<&Evidence> {
        self.sent_back
            .as_ref()
            .map(|(_, evidence)| evidence)
            .or_else(|| self.checked.as_ref().filter(|evidence| !evidence.passed()))
    }

    fn current_entries(&self) -> impl Iterator<Item = &LedgerEntry> {
        self.ledger
            .entries()
            .iter()
            .filter(|entry| entry.try_number == self.try_number)
    }

    fn findings_for(&self, kind: StageKind) -> Vec<OpenFinding> {
        if kind != StageKind::Fix {
            return Vec::new();
        }
        // Those that no review has looked at since an earlier fix are told again.
        self.ledger
            .open(self.try_number)
            .filter(|entry| entry.blocks && !entry.state.awaits_judge())
            .map(open_finding)
            .collect()
    }

    fn disputes(&self) -> Vec<Dispute> {
        self.current_entries()
            .filter(|entry| entry.state.awaits_judge())
            .filter_map(|entry| self.ledger.claim(&entry.id))
            .map(|claim| Dispute {
                finding: claim.finding.clone(),
                action: claim.action,
                note: claim.note.clone(),
            })
            .collect()
    }

    fn passed_checks(&self) -> Vec<String> {
        self.checked
            .iter()
            .filter(|evidence| evidence.passed())
            .flat_map(|evidence| &evidence.results)
            .map(|result| result.name.clone())
            .collect()
    }
}

fn open_finding(entry: &LedgerEntry) -> OpenFinding {
    OpenFinding {
        id: entry.id.clone(),
        reported: ReportedFinding {
            id: Some(entry.id.clone()),
            file: entry.file.clone(),
            line: entry.line,
            end_line: entry.end_line,
            severity: entry.severity,
            confidence: entry.confidence,
            title: entry.title.clone(),
            detail: entry.detail.clone(),
            suggestion: entry.suggestion.clone(),
        },
    }
}

/// Whether a review's answer has a ledger row for every open finding it was shown.
///
/// # Errors
/// A sentence for the reviewer's next attempt: what is missing, or that the output is not a review's.
pub fn check_review(open: &[OpenFinding], output: &Output) -> Result<(), String> {
    let Output::Review { ledger, .. } = output else {
        return Err("the result is not a review's".to_owned());
    };
    let missing: Vec<&str> = open
        .iter()
        .map(|finding| finding.id.as_str())
        .filter(|id| !ledger.iter().any(|row| row.id == *id))
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    Err(format!(
        "`ledger` must have one row for every open finding; missing: {}",
        missing.join(", ")
    ))
}
