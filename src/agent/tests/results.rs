//! Results: strict where a verdict hangs on them, lenient only about an author's missing file.

use super::*;
use crate::event::{LedgerRow, LedgerRowState, ResolutionAction, Verdict};
use crate::spec::{Price, Usd};

fn review(text: &str) -> Result<Parsed, ResultError> {
    parse(StageKind::Review, Some(text.as_bytes()), None)
}

/// A review with one finding in which `field` (a JSON member) replaces or joins the good ones.
fn with_finding(field: &str) -> String {
    let good = r#""file":"a.sh","severity":"major","confidence":90,"title":"t","detail":"d""#;
    let name = field.split(':').next().unwrap();
    let kept: Vec<&str> = good
        .split(',')
        .filter(|member| !member.starts_with(name))
        .collect();
    format!(
        r#"{{"verdict":"approve","ledger":[],"findings":[{{{},{field}}}]}}"#,
        kept.join(",")
    )
}

#[test]
fn the_examples_in_the_templates_are_results() {
    for (fixture, packet) in every_packet("text") {
        let kind = fixture.stage.kind;
        let prompt = fixture.prepare(&packet).prompt;
        let example = prompt
            .rsplit("```json\n")
            .next()
            .unwrap()
            .split("```")
            .next()
            .unwrap();
        parse(kind, Some(example.as_bytes()), None)
            .unwrap_or_else(|error| panic!("{}: {error}", kind.as_str()));
        let value: serde_json::Value = serde_json::from_str(example).unwrap();
        assert_schema_knows(&schema(kind), &value);
    }
}

/// Every member of `value` is a property of `schema`, and every required one is there.
fn assert_schema_knows(schema: &serde_json::Value, value: &serde_json::Value) {
    match value {
        serde_json::Value::Object(fields) => {
            for (name, field) in fields {
                assert!(schema["properties"][name].is_object(), "{name} in {schema:#}");
                assert_schema_knows(&schema["properties"][name], field);
            }
            for name in schema["required"].as_array().into_iter().flatten() {
                assert!(fields.contains_key(name.as_str().unwrap()), "{name}");
            }
            assert_eq!(schema["additionalProperties"], false);
        }
        serde_json::Value::Array(items) => items
            .iter()
            .for_each(|item| assert_schema_knows(&schema["items"], item)),
        _ => {}
    }
}

#[test]
fn schemas_stand_alone() {
    for kind in KINDS {
        let text = schema(kind).to_string();
        assert!(!text.contains("$ref"), "{text}");
        assert!(text.contains("\"title\"") && text.contains("https://json-schema.org/draft/2020-12/schema"));
    }
}

#[test]
fn a_judge_without_a_result_has_failed() {
    for kind in [StageKind::Prepare, StageKind::Review, StageKind::Approve] {
        let error = parse(kind, None, None).unwrap_err().to_string();
        assert!(
            error.starts_with("There is no result. Write the JSON object {"),
            "{error}"
        );
    }
}

#[test]
fn an_author_may_leave_the_file_out() {
    for kind in [StageKind::Implement, StageKind::Fix] {
        let Returned::Work {
            summary, resolutions, ..
        } = parse(kind, None, None).unwrap().returned
        else {
            panic!("an author returns work")
        };
        assert!(summary.is_empty() && resolutions.is_empty());
        assert!(
            parse(kind, Some(b""), None).is_err(),
            "but not write nonsense into it"
        );
        assert!(parse(kind, Some(b"done"), None).is_err());
    }
}

#[test]
fn what_is_no_review_is_an_error_that_says_what_to_write() {
    let cases = [
        ("", "is empty"),
        ("  \n", "is empty"),
        ("Looks good to me!", "is not a JSON object"),
        ("```json\n{}\n```", "no code fence"),
        ("[]", "is not a JSON object"),
        ("{}", "missing field `verdict`"),
        (r#"{"verdict":"approve"}"#, "missing field `findings`"),
        (r#"{"verdict":"approve","findings":[]}"#, "missing field `ledger`"),
        (
            r#"{"verdict":"lgtm","findings":[],"ledger":[]}"#,
            "unknown variant `lgtm`",
        ),
        (
            r#"{"verdict":"approve","verdict":"approve","findings":[],"ledger":[]}"#,
            "duplicate field",
        ),
        (
            r#"{"verdict":"approve","findings":[],"ledger":[],"note":1}"#,
            "unknown field `note`",
        ),
        (
            r#"{"verdict":"approve","findings":[],"ledger":[]}{}"#,
            "nothing after it",
        ),
        (
            r#"{"verdict":"approve","findings":[],"ledger":[]} I approve."#,
            "nothing after it",
        ),
        (r#"{"verdict":"approve","findings":[],"ledger":["#, "EOF"),
        (
            r#"{"decision":"approve","reason":"x"}"#,
            "unknown field `decision`",
        ),
        (
            r#"{"verdict":"approve","findings":null,"ledger":[]}"#,
            "invalid type: null",
        ),
        (
            r#"{"verdict":"approve","findings":[],"ledger":[{"id":"1","state":"resolved"}]}"#,
            "not the id of a finding",
        ),
        (
            r#"{"verdict":"approve","findings":[],"ledger":[{"id":"F-01","state":"resolved"}]}"#,
            "not the id",
        ),
        (
            r#"{"verdict":"approve","findings":[],"ledger":[{"id":"F-1","state":"resolved"},{"id":"F-1","state":"persists"}]}"#,
            "F-1 stands twice",
        ),
        (
            r#"{"verdict":"approve","findings":[],"ledger":[{"id":"F-1","state":"disputed"}]}"#,
            "unknown variant",
        ),
        (
            r#"{"verdict":"approve","findings":[],"ledger":[],"cost_usd":-1}"#,
            "`cost_usd` must be",
        ),
        (
            r#"{"verdict":"approve","findings":[],"ledger":[],"tokens":{"input":-1}}"#,
            "invalid value",
        ),
    ];
    for (text, expected) in cases {
        let error = review(text).unwrap_err().to_string();
        assert!(error.contains(expected), "{text}: {error}");
    }
}

#[test]
fn what_is_no_finding_is_an_error_that_names_it() {
    let cases = [
        (r#""confidence":101"#, "Finding 1: `confidence` is 101"),
        (r#""confidence":300"#, "invalid value"),
        (r#""confidence":"high""#, "invalid type"),
        (r#""severity":"critical""#, "unknown variant `critical`"),
        (r#""title":"""#, "`title` is empty"),
        (r#""title":"a\nb""#, "one line"),
        (r#""file":"""#, "`file` is"),
        (r#""file":"/etc/passwd""#, "from the repository root"),
        (r#""file":"../x""#, "without `..`"),
        (r#""file":"a/../../x""#, "without `..`"),
        (r#""file":"~/x""#, "`file` is"),
        (r#""file":"C:\\x""#, "`file` is"),
        (r#""file":"a\u0000b""#, "`file` is `ab`"),
        (r#""line":0"#, "lines count from 1"),
        (r#""line":5,"end_line":4"#, "`end_line` 4 is before `line` 5"),
        (r#""end_line":4"#, "`end_line` without `line`"),
        (r#""id":"f1""#, "names an open finding"),
        (r#""state":"new""#, "unknown field `state`"),
        (r#""title":"x","title":"y""#, "duplicate field"),
    ];
    for (field, expected) in cases {
        let text = with_finding(field);
        let error = review(&text).unwrap_err().to_string();
        assert!(error.contains(expected), "{text}: {error}");
    }
}

#[test]
fn a_good_review_comes_back_whole() {
    let text = r#"{"verdict":"request_changes","findings":[{"file":"./lib/a.sh","line":3,"end_line":3,
        "severity":"blocker","confidence":100,"title":"t","detail":"","suggestion":null,"id":"F-2"}],
        "ledger":[{"id":"F-1","state":"persists"}],"cost_usd":0.25}"#;
    let parsed = review(text).unwrap();
    assert_eq!(parsed.usage.cost, Usd::from_dollars(0.25));
    let Returned::Review {
        verdict,
        findings,
        ledger,
    } = parsed.returned
    else {
        panic!("a review")
    };
    assert_eq!(verdict, Verdict::RequestChanges);
    assert_eq!(
        (findings[0].file.as_str(), findings[0].line),
        ("lib/a.sh", Some(3))
    );
    assert_eq!(ledger[0].state, LedgerRowState::Persists);
}

#[test]
fn results_have_a_size_and_an_encoding() {
    let mut long = br#"{"verdict":"approve","findings":[],"ledger":[]}"#.to_vec();
    long.resize(RESULT_BYTES_MAX + 1, b' ');
    let error = parse(StageKind::Review, Some(&long), None)
        .unwrap_err()
        .to_string();
    assert!(error.contains("Write a shorter one"), "{error}");
    assert!(parse(StageKind::Review, Some(&long[..RESULT_BYTES_MAX]), None).is_ok());
    let error = parse(StageKind::Approve, Some(b"{\"decision\":\"\xff\"}"), None).unwrap_err();
    assert!(error.to_string().contains("UTF-8"), "{error}");
}

#[test]
fn five_hundred_findings_are_the_most() {
    let one = r#"{"file":"a","severity":"nit","confidence":1,"title":"t","detail":"d"}"#;
    let many = |n| {
        format!(
            r#"{{"verdict":"approve","ledger":[],"findings":[{}]}}"#,
            vec![one; n].join(",")
        )
    };
    assert!(review(&many(500)).is_ok());
    assert!(
        review(&many(501))
            .unwrap_err()
            .to_string()
            .contains("501 findings")
    );
}

#[test]
fn a_decision_is_approve_or_reject_with_a_reason() {
    let decide = |text: &str| parse(StageKind::Approve, Some(text.as_bytes()), None);
    let returned = decide(r#"{"decision":"reject","reason":"no"}"#).unwrap().returned;
    assert_eq!(
        returned,
        Returned::Decision {
            approved: false,
            reason: "no".to_owned()
        }
    );
    for bad in [
        r#"{"decision":"approve"}"#,
        r#"{"decision":"approve","reason":" "}"#,
        r#"{"decision":"approved","reason":"x"}"#,
        r#"{"decision":true,"reason":"x"}"#,
        r#"{"approved":true,"reason":"x"}"#,
    ] {
        assert!(decide(bad).is_err(), "{bad}");
    }
}

#[test]
fn a_document_must_say_something() {
    let prepare = |text: &str| parse(StageKind::Prepare, Some(text.as_bytes()), None);
    assert_eq!(
        prepare(r##"{"document":"# x"}"##).unwrap().returned,
        Returned::Document("# x".to_owned())
    );
    assert!(prepare(r#"{"document":"\n"}"#).is_err());
}

#[test]
fn an_authors_account_is_taken_and_checked() {
    let text = r#"{"summary":"s","resolutions":[{"finding":"F-1","action":"disputed","note":"n"}],
        "blocked_reason":"b","testing_notes":"t"}"#;
    let Returned::Work {
        resolutions,
        blocked_reason,
        ..
    } = parse(StageKind::Fix, Some(text.as_bytes()), None)
        .unwrap()
        .returned
    else {
        panic!("work")
    };
    assert_eq!(resolutions[0].action, ResolutionAction::Disputed);
    assert_eq!(blocked_reason.as_deref(), Some("b"));
    let twice = text.replace("}],", r#"},{"finding":"F-1","action":"fixed"}],"#);
    let error = parse(StageKind::Fix, Some(twice.as_bytes()), None).unwrap_err();
    assert!(
        error.to_string().contains("F-1 stands twice in `resolutions`"),
        "{error}"
    );
}

#[test]
fn tokens_cost_what_the_price_says_unless_the_agent_says_it() {
    let price = Price {
        input_per_mtok: Usd { micros: 3_000_000 },
        output_per_mtok: Usd { micros: 15_000_000 },
        cached_per_mtok: Usd { micros: 300_000 },
    };
    let cost = |more: &str, price| {
        let text = format!(r#"{{"summary":"s"{more}}}"#);
        parse(StageKind::Implement, Some(text.as_bytes()), price)
            .unwrap()
            .usage
    };
    let tokens = r#","tokens":{"input":1000,"output":100,"cached":10}"#;
    let usage = cost(tokens, Some(&price));
    assert_eq!(usage.cost, Some(Usd { micros: 4503 }));
    assert_eq!(
        (usage.input_tokens, usage.output_tokens, usage.cached_tokens),
        (1000, 100, 10)
    );
    assert_eq!(cost(tokens, None).cost, None);
    assert_eq!(cost("", Some(&price)).cost, None);
    assert_eq!(
        cost(&format!(r#"{tokens},"cost_usd":1"#), Some(&price)).cost,
        Usd::from_dollars(1.0)
    );
    let one = cost(r#","tokens":{"cached":1}"#, Some(&price));
    assert_eq!(one.cost, Some(Usd { micros: 1 }), "rounded up");
    let most = cost(r#","tokens":{"input":18446744073709551615}"#, Some(&price));
    assert!(most.cost.is_some(), "does not overflow");
}

#[test]
fn every_open_finding_needs_a_row() {
    let row = |id: &str| LedgerRow {
        id: id.to_owned(),
        state: LedgerRowState::Resolved,
    };
    let open = ["F-1".to_owned(), "F-2".to_owned(), "F-3".to_owned()];
    let missing = missing_rows(&[row("F-2")], &open).unwrap_err();
    assert_eq!(missing.ids, ["F-1", "F-3"]);
    assert!(missing.to_string().contains("missing: F-1, F-3."), "{missing}");
    assert_eq!(missing_rows(&[row("F-1"), row("F-2"), row("F-3")], &open), Ok(()));
}

proptest::proptest! {
    #[test]
    fn whatever_a_judge_writes_it_is_a_typed_result_or_an_error(bytes: Vec<u8>, text in "[{}\\[\\]\":,a-z0-9 ]{0,80}") {
        for kind in KINDS {
            for input in [bytes.as_slice(), text.as_bytes()] {
                if let Err(error) = parse(kind, Some(input), None) {
                    proptest::prop_assert!(error.to_string().ends_with('.'), "{}", error);
                }
            }
        }
    }
}
