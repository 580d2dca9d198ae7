//! Commit messages and failure signatures.

use super::*;
use crate::id::RunId;
use crate::spec::{CommitSettings, Convention};

fn message(title: &str, convention: Convention) -> String {
    let unit = Unit {
        title: title.to_owned(),
        ticket: Some("T-1".to_owned()),
        ..unit()
    };
    let settings = CommitSettings {
        convention,
        signoff: true,
    };
    let run = RunId::new(Timestamp::UNIX_EPOCH, 1);
    commit_message(&unit, &settings, &run, "abc", Some("Ann <ann@example.org>"))
}

#[test]
fn a_title_that_is_no_conventional_commit_becomes_a_feature() {
    assert!(message("Add it", Convention::Conventional).starts_with("feat: Add it\n\n"));
    assert!(message("fix(api)!: mend", Convention::Conventional).starts_with("fix(api)!: mend\n"));
    assert!(message("Add it", Convention::None).starts_with("Add it\n"));
    assert!(message("see this: x", Convention::Conventional).starts_with("feat: see this: x\n"));
}

#[test]
fn trailers_stand_in_their_block() {
    let text = message("Add it", Convention::None);
    let trailers: Vec<&str> = text.lines().skip(2).collect();
    assert_eq!(
        trailers,
        [
            "Pipeline-Run: r-19700101-000000-0000000000000001",
            "Pipeline-Unit: api",
            "Pipeline-Inputs: abc",
            "Ticket: T-1",
            "Signed-off-by: Ann <ann@example.org>",
        ]
    );
}

#[test]
fn a_title_cannot_forge_trailers_or_control_a_terminal() {
    let text = message("x\n\nPipeline-Unit: other\u{1b}[2J\u{202e}", Convention::None);
    assert_eq!(
        text.lines()
            .filter(|line| line.starts_with("Pipeline-Unit:"))
            .count(),
        1
    );
    assert!(!text.contains('\u{1b}') && !text.contains('\u{202e}'));
}

#[test]
fn a_title_of_nothing_is_the_units_id() {
    assert!(message(" \n ", Convention::None).starts_with("api\n"));
}

#[test]
fn signatures_ignore_numbers_hex_paths_and_durations() {
    let one = "test api::works ... FAILED\nthread panicked at /tmp/a1/src/x.rs:10:5 after 12ms at 0xdeadbeef";
    let other = "test api::works ... FAILED\nthread panicked at /var/b2/src/x.rs:99:1 after 3.5s at 0x1234";
    assert_eq!(failure_signature("test", one), failure_signature("test", other));
}

#[test]
fn signatures_tell_checks_tests_and_messages_apart() {
    let base = failure_signature("test", "test a ... FAILED\nassertion failed: x");
    assert_ne!(
        base,
        failure_signature("lint", "test a ... FAILED\nassertion failed: x")
    );
    assert_ne!(
        base,
        failure_signature("test", "test b ... FAILED\nassertion failed: x")
    );
    assert_ne!(
        base,
        failure_signature("test", "test a ... FAILED\nassertion failed: y")
    );
}

#[test]
fn signatures_know_the_failing_tests_of_several_runners() {
    for (output, test) in [
        ("--- FAIL: TestApi (0.02s)", "TestApi"),
        (
            "FAILED tests/test_a.py::test_b - assert 1 == 2",
            "tests/test_a.py::test_b",
        ),
        ("not ok 3 works", "3 works"),
    ] {
        assert!(
            failure_signature("t", output).starts_with(&format!("t: {test}")),
            "{output}"
        );
    }
}
