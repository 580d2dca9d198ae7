//! What each kind of stage is given, as plain data.
//!
//! **Architecture Invariant:** a [`ReviewPacket`] is the only way to show a judge anything, and nothing an author
//! wrote but the diff fits into its constructor. Whoever wants to add a parameter to it changes the promise of
//! reviewer isolation, and has to add a canary to the tests.

use serde::Serialize;
use sha2::{Digest, Sha256};

use super::fence::hex;
use crate::event::{Conflict, ReportedFinding};
use crate::id::Oid;
use crate::spec::{Document, Severity, Stage, StageKind, Unit};

/// Which attempt at what is being prepared.
#[derive(Debug, Clone, Copy)]
pub struct Assignment<'a> {
    /// The unit.
    pub unit: &'a Unit,
    /// The prose of the pipeline file, if it has one. Only prepare and implement stages are shown it.
    pub rfc: Option<&'a Document>,
    /// The stage.
    pub stage: &'a Stage,
    /// The round, from 1.
    pub round: u32,
    /// The attempt within the round, from 1.
    pub attempt: u32,
    /// The target branch.
    pub target: &'a str,
    /// The unit's base.
    pub base: &'a Oid,
    /// The commit its worktree is at.
    pub commit: &'a Oid,
    /// Secret of the run: makes the fences around untrusted text unguessable to its authors.
    pub seed: u64,
}

/// A diff base…head.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct DiffText {
    /// The patch as git writes it; bytes, since files need not be UTF-8.
    #[serde(skip)]
    pub patch: Vec<u8>,
    /// Whether whoever made it left something out of `patch` for its size.
    pub truncated: bool,
    /// Every changed file, also of what was left out.
    pub files: Vec<FileLine>,
}

/// One changed file of a diff.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FileLine {
    /// Path from the repository root.
    pub path: String,
    /// Lines added.
    pub added: u64,
    /// Lines removed.
    pub removed: u64,
    /// Whether git takes it for binary.
    pub binary: bool,
}

/// A finding that is still open, as the reviewer reported it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OpenFinding {
    /// Its id in the ledger, `F-<n>`.
    pub id: String,
    /// What the reviewer reported.
    pub finding: ReportedFinding,
}

/// A document of an earlier stage, or of an exploring unit this one needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ChainDocument {
    /// The stage or unit that wrote it.
    pub name: String,
    /// Markdown.
    pub text: String,
}

/// A unit that landed the other side of a conflict: what was asked of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LandedWork {
    /// The unit.
    pub unit: String,
    /// Its title.
    pub title: String,
    /// Its prompt.
    pub prompt: String,
}

/// A check that did not pass on the unit's head.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailedCheck {
    /// Its name.
    pub name: String,
    /// Its output, or the last part of it.
    pub log: String,
}

/// A finding of the ledger in whatever state, without what the author wrote about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LedgerLine {
    /// `F-<n>`.
    pub id: String,
    /// The reviewer's title.
    pub title: String,
    /// How bad it is.
    pub severity: Severity,
    /// Path from the repository root.
    pub file: String,
    /// First line, if it has one.
    pub line: Option<u32>,
    /// The word for its state: `new`, `persists`, `resolved`, `reopened`, `disputed`, `deferred`.
    pub state: String,
}

/// What the author says against a finding. Only approve stages see it, marked as a claim.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Dispute {
    /// `F-<n>`.
    pub id: String,
    /// The author's reason.
    pub claim: String,
}

/// What a stage is given, by its kind.
#[derive(Debug, Clone)]
pub enum Packet {
    /// Unit, rfc, documents.
    Prepare {
        /// Of the stages it needs.
        documents: Vec<ChainDocument>,
        /// Of its own earlier tries.
        failures: Vec<String>,
    },
    /// Unit, rfc, documents, and what became of an earlier try.
    Implement {
        /// Of the stages and exploring units it needs.
        documents: Vec<ChainDocument>,
        /// Of its own earlier tries.
        failures: Vec<String>,
        /// What a person said when they sent the unit back.
        note: Option<String>,
        /// The eviction bundle of an earlier try, as JSON.
        bundle: Option<String>,
    },
    /// Unit, diff, what has to be repaired.
    Fix {
        /// Base to head.
        diff: DiffText,
        /// Findings that block.
        findings: Vec<OpenFinding>,
        /// Checks that failed, with their logs.
        checks: Vec<FailedCheck>,
        /// Of its own earlier tries.
        failures: Vec<String>,
        /// What a person said when they sent the unit back.
        note: Option<String>,
    },
    /// Unit, both sides of a conflict, and what landed the other one.
    Resolve {
        /// The unit's work, from its old base.
        diff: DiffText,
        /// What the target changed since then, on the paths that conflict.
        target_diff: Vec<u8>,
        /// Where both sides changed the same.
        conflicts: Vec<Conflict>,
        /// The units that brought the other side.
        landed: Vec<LandedWork>,
        /// Of its own earlier tries.
        failures: Vec<String>,
        /// What a person said when they sent the unit back.
        note: Option<String>,
    },
    /// The proof of isolation, and nothing else.
    Review {
        /// What is judged.
        packet: ReviewPacket,
        /// Of this judge's own earlier tries: how they ended and what was wrong with their result.
        failures: Vec<String>,
    },
    /// As a review, with the ledger.
    Approve {
        /// What is judged.
        packet: ReviewPacket,
        /// Every finding with its state.
        ledger: Vec<LedgerLine>,
        /// What the author disputes.
        disputes: Vec<Dispute>,
        /// Of this judge's own earlier tries.
        failures: Vec<String>,
    },
}

/// Everything a review or approve stage is given of the work. Holding one proves that isolation was kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ReviewPacket {
    pub(super) unit: JudgedUnit,
    pub(super) stage: JudgeStage,
    pub(super) round: u32,
    pub(super) target: String,
    pub(super) base: Oid,
    pub(super) commit: Oid,
    pub(super) diff: DiffText,
    pub(super) passed_checks: Vec<String>,
    pub(super) open: Vec<OpenFinding>,
}

/// What a judge may know of a unit. The author's name, budget and place in the DAG are not among it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct JudgedUnit {
    pub(super) id: String,
    pub(super) title: String,
    pub(super) prompt: String,
    pub(super) acceptance: Vec<String>,
    pub(super) paths: Vec<String>,
}

/// What the pipeline file says about how to judge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct JudgeStage {
    pub(super) name: String,
    pub(super) focus: Option<String>,
    pub(super) stance: Option<String>,
    pub(super) prompt: Option<String>,
}

impl ReviewPacket {
    /// From the assignment, the diff, the names of the checks that passed on the head, and the findings of
    /// earlier reviews that are open. There is no parameter for anything else an author could have written.
    pub fn new(
        assignment: &Assignment<'_>,
        diff: &DiffText,
        passed_checks: &[String],
        open: &[OpenFinding],
    ) -> Self {
        Self {
            unit: JudgedUnit::new(assignment.unit),
            stage: JudgeStage {
                name: assignment.stage.name.to_string(),
                focus: assignment.stage.focus.clone(),
                stance: assignment.stage.stance.clone(),
                prompt: assignment.stage.prompt.clone(),
            },
            round: assignment.round,
            target: assignment.target.to_owned(),
            base: assignment.base.clone(),
            commit: assignment.commit.clone(),
            diff: diff.clone(),
            passed_checks: passed_checks.to_vec(),
            open: open.to_vec(),
        }
    }

    /// SHA-256, in hex, over everything the packet shows. Two judges of one panel have the same; so has the same
    /// judge asked again, whose own failures are not part of it.
    pub fn hash(&self) -> String {
        let mut hasher = Sha256::new();
        hasher.update(b"pipeline review packet v1\0");
        hasher.update(serde_json::to_vec(self).expect("a packet is plain data with string keys"));
        // The patch is the last part, and the JSON before it is self-delimiting: no length is needed.
        hasher.update(&self.diff.patch);
        hex(&hasher.finalize())
    }
}

impl JudgedUnit {
    pub(super) fn new(unit: &Unit) -> Self {
        Self {
            id: unit.id.to_string(),
            title: unit.title.clone(),
            prompt: unit.prompt.clone(),
            acceptance: unit.acceptance.clone(),
            paths: unit.paths.clone(),
        }
    }
}

impl Packet {
    /// The kind of stage it is for.
    pub fn kind(&self) -> StageKind {
        match self {
            Self::Prepare { .. } => StageKind::Prepare,
            Self::Implement { .. } => StageKind::Implement,
            Self::Fix { .. } | Self::Resolve { .. } => StageKind::Fix,
            Self::Review { .. } => StageKind::Review,
            Self::Approve { .. } => StageKind::Approve,
        }
    }
}

impl DiffText {
    /// One line a changed file.
    pub(super) fn file_lines(&self) -> String {
        self.files
            .iter()
            .map(|file| {
                if file.binary {
                    format!("binary        {}\n", file.path)
                } else {
                    format!("+{:<5} -{:<5} {}\n", file.added, file.removed, file.path)
                }
            })
            .collect()
    }
}

impl OpenFinding {
    /// What was reported, under the ledger's id.
    pub(super) fn json(&self) -> serde_json::Value {
        let mut value = serde_json::to_value(&self.finding).expect("a finding is plain data");
        value["id"] = serde_json::Value::String(self.id.clone());
        value
    }

    /// A paragraph for a prompt.
    pub(super) fn text(&self) -> String {
        let finding = &self.finding;
        let lines = match (finding.line, finding.end_line) {
            (Some(line), Some(end)) if end > line => format!(":{line}-{end}"),
            (Some(line), _) => format!(":{line}"),
            (None, _) => String::new(),
        };
        let suggestion = finding
            .suggestion
            .as_ref()
            .map_or(String::new(), |text| format!("Suggestion: {text}\n"));
        format!(
            "{} {} (confidence {}) {}{lines}\n{}\n{}\n{suggestion}\n",
            self.id,
            finding.severity.as_str(),
            finding.confidence,
            finding.file,
            finding.title,
            finding.detail
        )
    }
}

impl LedgerLine {
    /// A line for a prompt.
    pub(super) fn text(&self) -> String {
        let line = self.line.map_or(String::new(), |line| format!(":{line}"));
        let severity = self.severity.as_str();
        format!(
            "{} {} {severity} {}{line} {}\n",
            self.id, self.state, self.file, self.title
        )
    }
}
