//! Nothing an author writes but the diff reaches a judge.

use super::*;

const CANARY: &str = "CANARY";

/// Everything that could be shown to an agent, as one text.
fn everything(prepared: &Prepared) -> String {
    let mut all = prepared.prompt.clone();
    for (name, bytes) in &prepared.context {
        all.push_str(name);
        all.push_str(&String::from_utf8_lossy(bytes));
    }
    all
}

/// An author chain that leaves a canary in every place it can write, and the facts of its unit that are not a
/// judge's business.
fn chain(kind: StageKind) -> Fixture {
    let mut fixture = Fixture::new(kind);
    fixture.unit.agent = Some(format!("{CANARY}-agent"));
    fixture.unit.ticket = Some(format!("{CANARY}-ticket"));
    fixture.unit.tier = format!("{CANARY}-tier");
    fixture.unit.checks[0].run = format!("{CANARY}-check");
    fixture.rfc.text = format!("{CANARY}-rfc");
    fixture.stage.by = Performer::Agent(format!("{CANARY}-performer"));
    fixture
}

fn authors() -> [(Fixture, Packet); 4] {
    let document = ChainDocument {
        name: format!("{CANARY}-name"),
        text: format!("{CANARY}-document"),
    };
    let mut implement = chain(StageKind::Implement);
    implement.stage.prompt = Some(format!("{CANARY}-instructions"));
    [
        (
            chain(StageKind::Prepare),
            Packet::Prepare {
                documents: vec![document.clone()],
                failures: vec![format!("{CANARY}-failure")],
            },
        ),
        (
            implement,
            Packet::Implement {
                documents: vec![document],
                failures: vec![format!("{CANARY}-failure")],
                note: Some(format!("{CANARY}-note")),
                bundle: Some(format!("{{\"x\": \"{CANARY}-bundle\"}}")),
            },
        ),
        (
            chain(StageKind::Fix),
            Packet::Fix {
                diff: diff("+x\n"),
                findings: vec![finding("F-1")],
                checks: vec![FailedCheck {
                    name: format!("{CANARY}-check"),
                    log: format!("{CANARY}-log"),
                }],
                failures: vec![format!("{CANARY}-failure")],
                note: Some(format!("{CANARY}-note")),
            },
        ),
        (chain(StageKind::Fix), resolve(&format!("{CANARY}-conflict"))),
    ]
}

#[test]
fn the_canaries_are_planted() {
    for (fixture, packet) in authors() {
        assert!(everything(&fixture.prepare(&packet)).contains(CANARY));
    }
}

#[test]
fn no_canary_of_the_author_chain_reaches_a_review() {
    let fixture = chain(StageKind::Review);
    let packet = Packet::Review {
        packet: fixture.review_packet(),
        failures: vec!["There is no result.".to_owned()],
    };
    let all = everything(&fixture.prepare(&packet));
    assert!(!all.contains(CANARY), "{all}");
    assert!(all.contains("There is no result."));
}

#[test]
fn an_approve_stage_sees_of_the_author_the_disputed_claim_and_nothing_else() {
    let fixture = chain(StageKind::Approve);
    let packet = Packet::Approve {
        packet: fixture.review_packet(),
        ledger: vec![LedgerLine {
            id: "F-1".to_owned(),
            title: "The last field is lost".to_owned(),
            severity: Severity::Major,
            file: "lib/split.sh".to_owned(),
            line: Some(3),
            state: "disputed".to_owned(),
        }],
        disputes: vec![Dispute {
            id: "F-1".to_owned(),
            claim: "CLAIM it is not lost".to_owned(),
        }],
        failures: Vec::new(),
    };
    let prepared = fixture.prepare(&packet);
    assert!(!everything(&prepared).contains(CANARY));
    assert!(
        prepared
            .prompt
            .contains("F-1: the author claims: CLAIM it is not lost")
    );
    assert!(prepared.prompt.contains("name=\"claims-of-the-author\""));
}

#[test]
fn a_judge_gets_exactly_the_files_of_its_kind() {
    let fixture = Fixture::new(StageKind::Review);
    let packet = fixture.review_packet();
    let prepared = fixture.prepare(&Packet::Review {
        packet,
        failures: Vec::new(),
    });
    let files: Vec<&str> = prepared.context.keys().map(String::as_str).collect();
    assert_eq!(
        files,
        [
            "checks.json",
            "diff.patch",
            "findings.json",
            "prompt.md",
            "schema.json",
            "unit.json"
        ]
    );
}

#[test]
fn a_judges_unit_has_exactly_the_fields_of_the_question() {
    let fixture = Fixture::new(StageKind::Review);
    let packet = fixture.review_packet();
    let prepared = fixture.prepare(&Packet::Review {
        packet,
        failures: Vec::new(),
    });
    let unit: serde_json::Value = serde_json::from_str(&file(&prepared, "unit.json")).unwrap();
    let fields: Vec<&str> = unit.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(fields, ["acceptance", "id", "paths", "prompt", "title"]);
}

#[test]
fn the_hash_covers_everything_that_is_shown() {
    let fixture = Fixture::new(StageKind::Review);
    let a = fixture.assignment();
    let (passed, open) = (["test".to_owned()], [finding("F-1")]);
    let hash = ReviewPacket::new(&a, &diff("+x\n"), &passed, &open).hash();
    assert_eq!(hash, ReviewPacket::new(&a, &diff("+x\n"), &passed, &open).hash());
    assert_eq!(hash.len(), 64);
    let mut other_file = diff("+x\n");
    other_file.files[0].path = "b".to_owned();
    let mut focused = Fixture::new(StageKind::Review);
    focused.stage.focus = Some("security".to_owned());
    let others = [
        ReviewPacket::new(&a, &diff("+y\n"), &passed, &open),
        ReviewPacket::new(&a, &other_file, &passed, &open),
        ReviewPacket::new(&a, &diff("+x\n"), &[], &open),
        ReviewPacket::new(&a, &diff("+x\n"), &passed, &[finding("F-2")]),
        ReviewPacket::new(&focused.assignment(), &diff("+x\n"), &passed, &open),
    ];
    for other in others {
        assert_ne!(hash, other.hash());
    }
}

#[test]
fn the_same_attempt_is_shown_the_same_bytes_and_hashes_alike() {
    for (fixture, packet) in every_packet("text") {
        let (one, two) = (fixture.prepare(&packet), fixture.prepare(&packet));
        assert_eq!(one, two);
        let mut other = fixture;
        other.seed += 1;
        assert_ne!(one.hash, other.prepare(&packet).hash);
    }
}
