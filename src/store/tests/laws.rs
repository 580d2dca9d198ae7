//! Laws of the line: whatever is written is read back, whatever was changed is refused.

use proptest::prelude::{Just, Strategy, any, prop_oneof, proptest};

use super::*;
use crate::event::{
    Candidate, CandidateUnit, Conflict, EntryEnd, Hold, Job, Obstacle, Outcome, Output, QueueEvent, Reason,
    ReportedFinding, UnitEvent, UnitScoped, Usage, Verdict,
};
use crate::spec::{Severity, StageKind, Usd};

fn oids() -> impl Strategy<Value = Oid> {
    "[0-9a-f]{40}".prop_map(|text| text.parse().unwrap())
}

fn units() -> impl Strategy<Value = crate::id::UnitId> {
    "[a-z0-9][a-z0-9-]{0,8}".prop_map(|text| text.parse().unwrap())
}

fn unit_events() -> impl Strategy<Value = UnitEvent> {
    let ended = (any::<u64>(), any::<String>(), 0..1_000_000_000_u64, any::<u8>()).prop_map(
        |(fence, text, micros, line)| UnitEvent::AttemptEnded {
            fence,
            outcome: Outcome::RateLimited { reset: at() },
            detail: Some(text.clone()),
            output: Some(Output::Review {
                verdict: Verdict::RequestChanges,
                findings: vec![ReportedFinding {
                    id: None,
                    file: text.clone(),
                    line: Some(u32::from(line)),
                    end_line: None,
                    severity: Severity::Major,
                    confidence: line,
                    title: text.clone(),
                    detail: text,
                    suggestion: None,
                }],
                ledger: Vec::new(),
            }),
            packet: None,
            usage: Usage {
                cost: Some(Usd { micros }),
                ..Usage::default()
            },
            duration_ms: fence,
        },
    );
    prop_oneof![
        oids().prop_map(|base| UnitEvent::UnitStarted { base }),
        ended,
        (oids(), any::<Option<String>>(), any::<u64>()).prop_map(|(commit, agent, fence)| {
            UnitEvent::AttemptStarted {
                job: Job::Stage {
                    stage: "review".parse().unwrap(),
                    kind: StageKind::Review,
                    member: 1,
                },
                round: 1,
                attempt: 2,
                fence,
                agent,
                commit,
            }
        }),
        any::<String>().prop_map(|sentence| UnitEvent::UnitEvicted {
            reason: Reason::NoChange,
            sentence
        }),
        any::<Option<String>>().prop_map(|note| UnitEvent::UnitRetried { note }),
        Just(UnitEvent::UnitUnblocked),
        Just(UnitEvent::UnitDiscarded),
    ]
}

fn conflicts() -> impl Strategy<Value = Conflict> {
    (any::<String>(), oids(), units()).prop_map(|(text, landed, unit)| Conflict {
        path: text.clone(),
        kind: "contents".to_owned(),
        hunks: text,
        landed_by: Some(unit),
        landed_as: Some(landed),
    })
}

fn queue_events() -> impl Strategy<Value = QueueEvent> {
    prop_oneof![
        (units(), oids(), conflicts()).prop_map(|(unit, base, conflict)| {
            QueueEvent::IntegrationFailed {
                unit,
                generation: 1,
                base,
                ahead: Vec::new(),
                obstacle: Obstacle::Conflict {
                    conflicts: vec![conflict],
                },
            }
        }),
        (units(), oids()).prop_map(|(unit, commit)| QueueEvent::CandidateBuilt {
            candidate: Candidate {
                base: commit.clone(),
                strategy: crate::spec::Strategy::Squash,
                units: vec![CandidateUnit {
                    unit,
                    generation: 1,
                    head: commit.clone(),
                    commit: commit.clone(),
                }],
                commit: commit.clone(),
                tree: commit,
            },
        }),
        (units(), any::<String>()).prop_map(|(unit, check)| QueueEvent::EntryHeld {
            unit,
            hold: Hold::BaseRed { check },
        }),
        (units(), any::<String>(), conflicts()).prop_map(|(unit, sentence, conflict)| {
            QueueEvent::EntryLeft {
                unit,
                end: EntryEnd::Evicted {
                    reason: Reason::ConflictTarget,
                    sentence,
                    conflicts: vec![conflict],
                },
            }
        }),
    ]
}

fn records() -> impl Strategy<Value = Record> {
    let event = prop_oneof![
        Just(stopped()),
        Just(started(&run_id(1))),
        (units(), unit_events()).prop_map(|(unit, what)| Event::Unit(UnitScoped { unit, what })),
        queue_events().prop_map(Event::Queue),
    ];
    (any::<u64>(), 0..4_000_000_000_i64, 0..1_000_000_000_i32, event).prop_map(
        |(seq, second, nano, event)| Record {
            seq,
            at: Timestamp::new(second, nano).unwrap(),
            event,
        },
    )
}

proptest! {
    #[test]
    fn a_record_survives_its_line(record in records()) {
        let mut line = Vec::new();
        journal::encode(&record, &mut line);
        assert_eq!(line.pop(), Some(b'\n'));
        assert!(!line.contains(&b'\n'));
        assert_eq!(journal::decode(&mut line.clone()).unwrap(), record);
        let value: serde_json::Value = serde_json::from_slice(&line).unwrap();
        assert!(value["crc"].is_string() && value["seq"].is_u64());
    }

    #[test]
    fn a_line_with_any_byte_changed_is_refused(record in records(), place: proptest::sample::Index, mask in 1..=255_u8) {
        let mut line = Vec::new();
        journal::encode(&record, &mut line);
        line.pop();
        let place = place.index(line.len());
        line[place] ^= mask;
        assert!(journal::decode(&mut line).is_err());
    }

    #[test]
    fn no_bytes_make_the_reader_panic(mut line in proptest::collection::vec(any::<u8>(), 0..100)) {
        assert!(journal::decode(&mut line).is_err());
    }
}
