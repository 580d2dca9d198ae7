//! Packets, prompts and results, canaries included.

use std::time::Duration;

use super::*;
use crate::event::{Conflict, ReportedFinding};
use crate::id::Oid;
use crate::spec::{Check, DependsOn, Document, Performer, Severity, Stage, Unit};

mod isolation;
mod prompts;
mod results;

pub(super) const KINDS: [StageKind; 5] = [
    StageKind::Prepare,
    StageKind::Implement,
    StageKind::Review,
    StageKind::Fix,
    StageKind::Approve,
];

/// Owns what an [`Assignment`] borrows.
pub(super) struct Fixture {
    pub(super) unit: Unit,
    pub(super) rfc: Document,
    pub(super) stage: Stage,
    base: Oid,
    commit: Oid,
    pub(super) seed: u64,
}

impl Fixture {
    pub(super) fn new(kind: StageKind) -> Self {
        Self {
            unit: unit(),
            rfc: Document {
                path: "docs/rfc.md".to_owned(),
                text: "# Why\nUsers asked for tabs.\n".to_owned(),
            },
            stage: stage(kind),
            base: "a".repeat(40).parse().unwrap(),
            commit: "b".repeat(40).parse().unwrap(),
            seed: 7,
        }
    }

    pub(super) fn assignment(&self) -> Assignment<'_> {
        Assignment {
            unit: &self.unit,
            rfc: Some(&self.rfc),
            stage: &self.stage,
            round: 2,
            attempt: 1,
            target: "main",
            base: &self.base,
            commit: &self.commit,
            seed: self.seed,
        }
    }

    pub(super) fn prepare(&self, packet: &Packet) -> Prepared {
        prepare(&self.assignment(), packet, &Templates::embedded()).unwrap()
    }

    pub(super) fn review_packet(&self) -> ReviewPacket {
        ReviewPacket::new(
            &self.assignment(),
            &diff("+new line\n"),
            &["test".to_owned()],
            &[finding("F-1")],
        )
    }
}

pub(super) fn unit() -> Unit {
    Unit {
        id: "split".parse().unwrap(),
        title: "feat: split on tabs".to_owned(),
        prompt: "Split on tabs, too.".to_owned(),
        acceptance: vec!["empty fields are kept".to_owned()],
        paths: vec!["lib/split.sh".to_owned()],
        needs: Vec::new(),
        tier: "small".to_owned(),
        priority: 0,
        agent: None,
        budget: None,
        checks: vec![Check {
            name: "unit".to_owned(),
            run: "sh tests/run.sh".to_owned(),
            cwd: ".".to_owned(),
            timeout: Duration::from_secs(60),
            depends_on: DependsOn::Tree,
            exclusive: std::collections::BTreeSet::new(),
        }],
        may_change_tests: false,
        ticket: None,
        exclusive: std::collections::BTreeSet::new(),
        from_branch: None,
    }
}

pub(super) fn stage(kind: StageKind) -> Stage {
    Stage {
        name: kind.as_str().parse().unwrap(),
        kind,
        by: Performer::Agent("someone".to_owned()),
        needs: Vec::new(),
        focus: None,
        stance: None,
        min_confidence: 80,
        block_on: Severity::Major,
        prompt: None,
        retries: None,
        timeout: None,
    }
}

pub(super) fn diff(patch: &str) -> DiffText {
    DiffText {
        patch: patch.as_bytes().to_vec(),
        truncated: false,
        files: vec![FileLine {
            path: "lib/split.sh".to_owned(),
            added: 1,
            removed: 0,
            binary: false,
        }],
    }
}

pub(super) fn finding(id: &str) -> OpenFinding {
    OpenFinding {
        id: id.to_owned(),
        finding: ReportedFinding {
            id: None,
            file: "lib/split.sh".to_owned(),
            line: Some(3),
            end_line: Some(4),
            severity: Severity::Major,
            confidence: 90,
            title: "The last field is lost".to_owned(),
            detail: "The loop ends at the separator.".to_owned(),
            suggestion: Some("Print the rest.".to_owned()),
        },
    }
}

pub(super) fn file(prepared: &Prepared, name: &str) -> String {
    String::from_utf8(prepared.context[name].clone()).unwrap()
}

/// A conflict on one path, with the work on the other side; `text` in every place that takes text.
pub(super) fn resolve(text: &str) -> Packet {
    Packet::Resolve {
        diff: diff(text),
        target_diff: text.as_bytes().to_vec(),
        conflicts: vec![Conflict {
            path: "lib/split.sh".to_owned(),
            kind: "contents".to_owned(),
            hunks: text.to_owned(),
            landed_by: Some("other".parse().unwrap()),
            landed_as: None,
        }],
        landed: vec![LandedWork {
            unit: "other".to_owned(),
            title: text.to_owned(),
            prompt: text.to_owned(),
        }],
        failures: vec![text.to_owned()],
        note: Some(text.to_owned()),
    }
}

/// One packet of every kind, and of the stage that resolves a conflict, with `text` in every place that takes text.
pub(super) fn every_packet(text: &str) -> Vec<(Fixture, Packet)> {
    let documents = vec![ChainDocument {
        name: "plan".to_owned(),
        text: text.to_owned(),
    }];
    let failures = vec![text.to_owned()];
    let note = Some(text.to_owned());
    let mut open = finding("F-1");
    open.finding.title = text.to_owned();
    open.finding.detail = text.to_owned();
    let fixture_of = |kind| {
        let mut fixture = Fixture::new(kind);
        fixture.unit.title = text.to_owned();
        fixture.unit.prompt = text.to_owned();
        fixture.unit.acceptance = vec![text.to_owned()];
        fixture.rfc.text = text.to_owned();
        fixture
    };
    KINDS
        .into_iter()
        .map(|kind| {
            let fixture = fixture_of(kind);
            let (documents, failures, note) = (documents.clone(), failures.clone(), note.clone());
            let judged = ReviewPacket::new(
                &fixture.assignment(),
                &diff(text),
                &["test".to_owned()],
                &[open.clone()],
            );
            let packet = match kind {
                StageKind::Prepare => Packet::Prepare { documents, failures },
                StageKind::Implement => Packet::Implement {
                    documents,
                    failures,
                    note,
                    bundle: Some(text.to_owned()),
                },
                StageKind::Fix => Packet::Fix {
                    diff: diff(text),
                    findings: vec![open.clone()],
                    checks: vec![FailedCheck {
                        name: "test".to_owned(),
                        log: text.to_owned(),
                    }],
                    failures,
                    note,
                },
                StageKind::Review => Packet::Review {
                    packet: judged,
                    failures,
                },
                StageKind::Approve => Packet::Approve {
                    packet: judged,
                    ledger: vec![LedgerLine {
                        id: "F-1".to_owned(),
                        title: text.to_owned(),
                        severity: Severity::Major,
                        file: "a".to_owned(),
                        line: Some(1),
                        state: "disputed".to_owned(),
                    }],
                    disputes: vec![Dispute {
                        id: "F-1".to_owned(),
                        claim: text.to_owned(),
                    }],
                    failures,
                },
            };
            (fixture, packet)
        })
        .chain([(fixture_of(StageKind::Fix), resolve(text))])
        .collect()
}

fn agent() -> Agent {
    Agent {
        adapter: Adapter::Command {
            argv: vec!["sh".to_owned(), "agents/a.sh".to_owned()],
        },
        model: Some("m1".to_owned()),
        args: vec!["--fast".to_owned()],
        pass_env: vec!["TOKEN".to_owned(), "PIPELINE_RESULT".to_owned()],
        timeout: None,
        price: None,
    }
}

#[test]
fn a_task_has_the_arguments_the_model_and_only_the_variables_asked_for() {
    let fixture = Fixture::new(StageKind::Review);
    let prepared = fixture.prepare(&Packet::Review {
        packet: fixture.review_packet(),
        failures: Vec::new(),
    });
    let pass = ["TOKEN", "HOME", "PIPELINE_RESULT"].map(|name| (name.to_owned(), "v".to_owned()));
    let task = task(&agent(), prepared.clone(), &pass.into(), false);
    assert_eq!(task.argv, ["sh", "agents/a.sh", "--fast"]);
    let env: Vec<_> = task.env.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
    assert_eq!(env, [("PIPELINE_MODEL", "m1"), ("TOKEN", "v")]);
    assert_eq!(task.prompt, prepared.prompt);
    assert!(!task.takes_tree);
}

#[test]
fn a_packet_of_another_kind_is_refused() {
    let fixture = Fixture::new(StageKind::Approve);
    let packet = Packet::Review {
        packet: fixture.review_packet(),
        failures: Vec::new(),
    };
    let error = prepare(&fixture.assignment(), &packet, &Templates::embedded()).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("a packet for review was made for stage `approve`"),
        "{error}"
    );
}
