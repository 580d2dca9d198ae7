//! A packet to a prompt and the files of `PIPELINE_CONTEXT`.
//!
//! Every part of a prompt has a budget, and what does not fit is cut where the prompt says so, with the file that
//! holds all of it. `diff.patch` and `target.patch` are byte for byte git's; every other file is cleaned like the prompt.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::AgentError;
use super::fence::{Fences, Text, clean, clean_json, hex};
use super::packet::{
    Assignment, ChainDocument, DiffText, Dispute, FailedCheck, JudgedUnit, LandedWork, LedgerLine,
    OpenFinding, Packet, ReviewPacket,
};
use super::result::schema;
use super::template::{LISTS, TEXTS, Templates};
use crate::event::{Conflict, conflict_id};

/// Bytes of what the unit asks.
pub const TASK_BYTES_MAX: usize = 64 * 1024;
/// Bytes of the pipeline's prose.
pub const RFC_BYTES_MAX: usize = 48 * 1024;
/// Bytes of all documents together; each gets an equal share.
pub const DOCUMENTS_BYTES_MAX: usize = 96 * 1024;
/// Bytes of a diff; a larger one becomes its list of files.
pub const DIFF_BYTES_MAX: usize = 64 * 1024;
/// Bytes of a list of files.
pub const FILES_BYTES_MAX: usize = 16 * 1024;
/// Bytes of all findings together, or of the ledger.
pub const FINDINGS_BYTES_MAX: usize = 48 * 1024;
/// Bytes of all check logs together; each gets an equal share.
pub const LOGS_BYTES_MAX: usize = 48 * 1024;
/// Bytes of all conflicting hunks together.
pub const CONFLICTS_BYTES_MAX: usize = 64 * 1024;
/// Bytes of one earlier failure.
pub const FAILURE_BYTES_MAX: usize = 4 * 1024;
/// Earlier failures that are told: the last ones.
pub const FAILURES_MAX: usize = 3;
/// Bytes of what a person said.
pub const NOTE_BYTES_MAX: usize = 16 * 1024;
/// Bytes of an eviction bundle.
pub const BUNDLE_BYTES_MAX: usize = 32 * 1024;

/// What an agent gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prepared {
    /// For standard input.
    pub prompt: String,
    /// Files of `PIPELINE_CONTEXT`, by relative path.
    pub context: BTreeMap<String, Vec<u8>>,
    /// SHA-256, in hex, over prompt and files.
    pub hash: String,
}

/// Renders what `packet` holds for the attempt `assignment` describes.
pub fn prepare(
    assignment: &Assignment<'_>,
    packet: &Packet,
    templates: &Templates,
) -> Result<Prepared, AgentError> {
    let kind = assignment.stage.kind;
    if packet.kind() != kind {
        return Err(AgentError::Mismatch {
            packet: packet.kind(),
            stage: assignment.stage.name.to_string(),
            kind,
        });
    }
    let mut shown = Shown::new(assignment);
    let (template, failures) = match packet {
        Packet::Prepare { documents, failures } => {
            shown.author_unit(assignment);
            shown.rfc(assignment);
            shown.documents(documents);
            ("prepare.md", failures)
        }
        Packet::Implement {
            documents,
            failures,
            note,
            bundle,
        } => {
            shown.author_unit(assignment);
            shown.rfc(assignment);
            shown.documents(documents);
            shown.note(note.as_deref());
            shown.bundle(bundle.as_deref());
            ("implement.md", failures)
        }
        Packet::Fix {
            diff,
            findings,
            checks,
            failures,
            note,
        } => {
            shown.author_unit(assignment);
            shown.diff(diff);
            shown.findings(findings);
            shown.failed_checks(checks);
            shown.note(note.as_deref());
            ("fix.md", failures)
        }
        Packet::Resolve {
            diff,
            target_diff,
            conflicts,
            landed,
            failures,
            note,
        } => {
            shown.author_unit(assignment);
            shown.diff(diff);
            shown.conflicts(conflicts, target_diff);
            shown.landed(landed);
            shown.note(note.as_deref());
            ("resolve.md", failures)
        }
        Packet::Review { packet, failures } => {
            shown.judged(packet);
            ("review.md", failures)
        }
        Packet::Approve {
            packet,
            ledger,
            disputes,
            failures,
        } => {
            shown.judged(packet);
            shown.ledger(ledger, disputes);
            ("approve.md", failures)
        }
    };
    shown.failures(failures);
    shown.file("schema.json", pretty(&schema(kind)));
    let prompt = templates.render(template, &shown.values)?;
    Ok(shown.finish(prompt))
}

/// What has been put together so far: the values of the template and the files.
struct Shown {
    values: tera::Context,
    files: BTreeMap<String, Vec<u8>>,
    fences: Fences,
}

impl Shown {
    fn new(assignment: &Assignment<'_>) -> Self {
        let digest = format!(
            "{}/{}.{}.{}@{}",
            assignment.unit.id,
            assignment.stage.name,
            assignment.round,
            assignment.attempt,
            assignment.commit
        );
        let mut values = tera::Context::new();
        // A template may ask for any of them in any kind; what the kind is not shown is none.
        for name in TEXTS {
            values.insert_value(name, tera::Value::none());
        }
        for name in LISTS {
            values.insert(name, &[""; 0]);
        }
        let stage = assignment.stage;
        values.insert("unit", assignment.unit.id.as_str());
        values.insert("stage", stage.name.as_str());
        values.insert("kind", stage.kind.as_str());
        values.insert("focus", &stage.focus);
        values.insert("stance", &stage.stance);
        values.insert("instructions", &stage.prompt);
        values.insert("round", &assignment.round);
        values.insert("attempt", &assignment.attempt);
        values.insert("target", assignment.target);
        values.insert("base", assignment.base.as_str());
        values.insert("commit", assignment.commit.as_str());
        Self {
            values,
            files: BTreeMap::new(),
            fences: Fences::new(assignment.seed, &digest),
        }
    }

    fn file(&mut self, name: impl Into<String>, bytes: impl Into<Vec<u8>>) {
        self.files.insert(name.into(), bytes.into());
    }

    fn json(&mut self, name: &str, mut value: Value) {
        clean_json(&mut value, Text::Prose);
        self.file(name, pretty(&value));
    }

    fn fence(&self, name: &str, kind: Text, text: &str, bytes_max: usize, whole: Option<&str>) -> String {
        self.fences.fence(name, kind, text, bytes_max, whole)
    }

    fn author_unit(&mut self, assignment: &Assignment<'_>) {
        let unit = assignment.unit;
        let checks: Vec<Value> = unit
            .checks
            .iter()
            .map(|check| json!({"name": check.name, "run": check.run, "cwd": check.cwd}))
            .collect();
        let mut value = to_value(&JudgedUnit::new(unit));
        value["may_change_tests"] = json!(unit.may_change_tests);
        value["checks"] = json!(checks);
        self.json("unit.json", value);
        self.task(&JudgedUnit::new(unit));
    }

    fn task(&mut self, unit: &JudgedUnit) {
        let mut text = format!("Title: {}\n\n{}\n", unit.title, unit.prompt.trim_end());
        for (heading, items) in [
            ("\nAcceptance criteria:\n", &unit.acceptance),
            ("\nPaths it is expected to touch:\n", &unit.paths),
        ] {
            if !items.is_empty() {
                text.push_str(heading);
                items
                    .iter()
                    .for_each(|item| text.push_str(&format!("- {item}\n")));
            }
        }
        let block = self.fence("task", Text::Prose, &text, TASK_BYTES_MAX, Some("unit.json"));
        self.values.insert("task", &block);
    }

    fn rfc(&mut self, assignment: &Assignment<'_>) {
        if let Some(rfc) = assignment.rfc {
            self.file("rfc.md", clean(&rfc.text, Text::Prose).into_owned());
            let block = self.fence("rfc", Text::Prose, &rfc.text, RFC_BYTES_MAX, Some("rfc.md"));
            self.values.insert("rfc", &block);
        }
    }

    fn documents(&mut self, documents: &[ChainDocument]) {
        let share = DOCUMENTS_BYTES_MAX / documents.len().max(1);
        let mut blocks = Vec::new();
        for document in documents {
            let file = self.unused("documents", &document.name, "md");
            let name = format!("document-{}", file_name(&document.name));
            blocks.push(self.fence(&name, Text::Prose, &document.text, share, Some(&file)));
            self.file(file, clean(&document.text, Text::Prose).into_owned());
        }
        self.values.insert("documents", &blocks);
    }

    fn note(&mut self, note: Option<&str>) {
        let block = note.map(|note| self.fence("note", Text::Prose, note, NOTE_BYTES_MAX, None));
        self.values.insert("note", &block);
    }

    fn bundle(&mut self, bundle: Option<&str>) {
        if let Some(bundle) = bundle {
            self.file("bundle.json", clean(bundle, Text::Code).into_owned());
            let block = self.fence(
                "bundle",
                Text::Code,
                bundle,
                BUNDLE_BYTES_MAX,
                Some("bundle.json"),
            );
            self.values.insert("bundle", &block);
        }
    }

    fn diff(&mut self, diff: &DiffText) {
        self.file("diff.patch", diff.patch.clone());
        let block = if diff.truncated || diff.patch.len() > DIFF_BYTES_MAX {
            let rest = if diff.truncated {
                "diff.patch of PIPELINE_CONTEXT holds the part that fits; the rest is in the worktree"
            } else {
                "the diff itself is diff.patch of PIPELINE_CONTEXT"
            };
            let text = format!(
                "{} files changed; {rest}\n{}",
                diff.files.len(),
                diff.file_lines()
            );
            self.fence(
                "changed-files",
                Text::Code,
                &text,
                FILES_BYTES_MAX,
                Some("diff.patch"),
            )
        } else {
            let text = String::from_utf8_lossy(&diff.patch);
            self.fence("diff", Text::Code, &text, DIFF_BYTES_MAX, Some("diff.patch"))
        };
        self.values.insert("diff", &block);
    }

    fn findings(&mut self, findings: &[OpenFinding]) {
        self.json("findings.json", findings.iter().map(OpenFinding::json).collect());
        if findings.is_empty() {
            return;
        }
        let text: String = findings.iter().map(OpenFinding::text).collect();
        let block = self.fence(
            "findings",
            Text::Prose,
            &text,
            FINDINGS_BYTES_MAX,
            Some("findings.json"),
        );
        self.values.insert("findings", &block);
    }

    /// The other side of a conflict; the unit's own is the diff.
    fn conflicts(&mut self, conflicts: &[Conflict], target_diff: &[u8]) {
        let mut rows = Vec::new();
        let mut text = String::new();
        for (place, at) in conflicts.iter().enumerate() {
            let id = conflict_id(place);
            let mut row = to_value(at);
            row["id"] = json!(id);
            rows.push(row);
            let by = match &at.landed_by {
                Some(unit) => format!(", with unit {unit}, which landed"),
                None => String::new(),
            };
            text.push_str(&format!("{id} {} ({}{by})\n{}\n", at.path, at.kind, at.hunks));
        }
        self.json("conflicts.json", Value::Array(rows));
        let block = self.fence(
            "conflicts",
            Text::Code,
            &text,
            CONFLICTS_BYTES_MAX,
            Some("conflicts.json"),
        );
        self.values.insert("conflicts", &block);
        self.file("target.patch", target_diff);
        let text = String::from_utf8_lossy(target_diff);
        let block = self.fence(
            "target-diff",
            Text::Code,
            &text,
            DIFF_BYTES_MAX,
            Some("target.patch"),
        );
        self.values.insert("target_diff", &block);
    }

    fn landed(&mut self, landed: &[LandedWork]) {
        let share = TASK_BYTES_MAX / landed.len().max(1);
        let block = |work: &LandedWork| {
            let text = format!(
                "Unit: {}\nTitle: {}\n\n{}\n",
                work.unit,
                work.title,
                work.prompt.trim_end()
            );
            self.fence("landed-unit", Text::Prose, &text, share, None)
        };
        let blocks: Vec<String> = landed.iter().map(block).collect();
        self.values.insert("landed", &blocks);
    }

    fn failed_checks(&mut self, checks: &[FailedCheck]) {
        let share = LOGS_BYTES_MAX / checks.len().max(1);
        let mut rows = Vec::new();
        let mut blocks = Vec::new();
        for check in checks {
            let file = self.unused("checks", &check.name, "log");
            let name = format!("check-{}", file_name(&check.name));
            blocks.push(self.fence(&name, Text::Code, &check.log, share, Some(&file)));
            rows.push(json!({"name": check.name, "outcome": "failed", "log": file}));
            self.file(file, clean(&check.log, Text::Code).into_owned());
        }
        self.json("checks.json", Value::Array(rows));
        self.values.insert("checks", &blocks);
    }

    /// Takes everything from the packet, also what the assignment would have: the packet is what was hashed.
    fn judged(&mut self, packet: &ReviewPacket) {
        self.json("unit.json", to_value(&packet.unit));
        self.task(&packet.unit);
        self.diff(&packet.diff);
        self.findings(&packet.open);
        let rows = packet
            .passed_checks
            .iter()
            .map(|name| json!({"name": name, "outcome": "passed"}));
        self.json("checks.json", rows.collect());
        let names: Vec<String> = packet
            .passed_checks
            .iter()
            .map(|name| clean(name, Text::Prose).into_owned())
            .collect();
        self.values.insert("passed_checks", &names);
        self.values.insert("stage", &packet.stage.name);
        self.values.insert("focus", &packet.stage.focus);
        self.values.insert("stance", &packet.stage.stance);
        self.values.insert("instructions", &packet.stage.prompt);
        self.values.insert("round", &packet.round);
        self.values.insert("target", &packet.target);
        self.values.insert("base", packet.base.as_str());
        self.values.insert("commit", packet.commit.as_str());
    }

    fn ledger(&mut self, ledger: &[LedgerLine], disputes: &[Dispute]) {
        self.json(
            "ledger.json",
            json!({"findings": to_value(ledger), "claims_of_the_author": to_value(disputes)}),
        );
        if !ledger.is_empty() {
            let text: String = ledger.iter().map(LedgerLine::text).collect();
            let block = self.fence(
                "ledger",
                Text::Prose,
                &text,
                FINDINGS_BYTES_MAX,
                Some("ledger.json"),
            );
            self.values.insert("ledger", &block);
        }
        if !disputes.is_empty() {
            let text: String = disputes
                .iter()
                .map(|dispute| format!("{}: the author claims: {}\n\n", dispute.id, dispute.claim))
                .collect();
            let block = self.fence(
                "claims-of-the-author",
                Text::Prose,
                &text,
                FINDINGS_BYTES_MAX,
                Some("ledger.json"),
            );
            self.values.insert("disputes", &block);
        }
    }

    fn failures(&mut self, failures: &[String]) {
        let told = &failures[failures.len().saturating_sub(FAILURES_MAX)..];
        let blocks: Vec<String> = told
            .iter()
            .map(|failure| self.fence("earlier-failure", Text::Code, failure, FAILURE_BYTES_MAX, None))
            .collect();
        self.values.insert("failures", &blocks);
    }

    /// A file below `folder` that no other name of this packet got; names need not be safe, and two may differ
    /// only in what is not.
    fn unused(&self, folder: &str, name: &str, extension: &str) -> String {
        let stem = file_name(name);
        let first = format!("{folder}/{stem}.{extension}");
        let later = (2..).map(|n| format!("{folder}/{stem}-{n}.{extension}"));
        std::iter::once(first)
            .chain(later)
            .find(|file| !self.files.contains_key(file))
            .expect("the numbers do not end")
    }

    fn finish(mut self, prompt: String) -> Prepared {
        self.file("prompt.md", prompt.clone());
        let mut hasher = Sha256::new();
        hasher.update(b"pipeline packet v1\0");
        for (name, bytes) in &self.files {
            for part in [name.as_bytes(), bytes] {
                hasher.update((part.len() as u64).to_le_bytes());
                hasher.update(part);
            }
        }
        Prepared {
            prompt,
            context: self.files,
            hash: hex(&hasher.finalize()),
        }
    }
}

fn to_value<T: serde::Serialize + ?Sized>(value: &T) -> Value {
    serde_json::to_value(value).expect("packets are plain data with string keys")
}

fn pretty(value: &Value) -> String {
    format!("{value:#}\n")
}

/// A name as one path component: letters, digits, `_` and `-`, at most 60.
fn file_name(name: &str) -> String {
    let safe: String = name
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || c == '-' || c == '_' {
                c
            } else {
                '_'
            }
        })
        .take(60)
        .collect();
    if safe.is_empty() { "_".to_owned() } else { safe }
}
