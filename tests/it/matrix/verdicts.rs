//! Judges that answer with garbage, with two answers, or not at all: nothing is ever taken for an approval.

use super::{assert_nothing_left, outcomes, row, state_and_reason};
use crate::world::World;

/// One unit with a review and an approval.
fn reviewed(script: &str) -> World {
    let world = World::new();
    let reviewer = world.read("agents/reviewer.sh");
    world.write("agents/reviewer.sh", &format!("{script}\n{reviewer}"));
    world.file("", "  api: {title: 'feat: api', prompt: do it}\n");
    world.commit("chore: plan");
    world
}

/// The judge never gave one answer of the right shape, and the unit is given up with what was wrong.
fn assert_no_verdict(script: &str, told: &str) {
    let world = reviewed(script);
    let tip = world.git(&["rev-parse", "main"]);
    world.expect(&["run", "rfc.yaml"], 5);
    assert_eq!(world.git(&["rev-parse", "main"]), tip, "nothing landed");
    assert_eq!(
        state_and_reason(&world),
        ("evicted".to_owned(), "attempts_exhausted".to_owned()),
        "{script}"
    );
    assert_eq!(outcomes(&world)["schema_missing"], 2, "{script}");
    let shown = world.expect(&["show", "api"], 0);
    assert!(shown.out.contains(told), "{script}: {}", shown.out);
    let evicted = world.expect(&["evicted"], 0);
    assert!(evicted.out.contains("pipeline retry api"), "{}", evicted.out);
    assert_nothing_left(&world);
}

#[test]
fn a_verdict_that_is_garbage_is_no_verdict() {
    let _row = row("garbage verdict");
    let maybe = r#"{"verdict":"maybe","findings":[],"ledger":[]}"#;
    for (garbage, told) in [
        ("{oops", "does not have the shape"),
        ("approve", "is not a JSON object"),
        (maybe, "unknown variant `maybe`"),
    ] {
        let script = format!("echo '{garbage}' > \"$PIPELINE_RESULT\"; exit 0");
        assert_no_verdict(&script, told);
    }
}

#[test]
fn two_verdicts_are_no_verdict() {
    let _row = row("double verdict");
    let approve = r#"{"verdict":"approve","findings":[],"ledger":[]}"#;
    let twice = format!("printf '%s\\n%s\\n' '{approve}' '{approve}' > \"$PIPELINE_RESULT\"; exit 0");
    assert_no_verdict(&twice, "JSON object");
    let both = r#"{"verdict":"request_changes","verdict":"approve","findings":[],"ledger":[]}"#;
    assert_no_verdict(
        &format!("echo '{both}' > \"$PIPELINE_RESULT\"; exit 0"),
        "duplicate",
    );
}

#[test]
fn a_reviewer_that_says_nothing_never_approves() {
    let _row = row("missing verdict");
    assert_no_verdict("echo looks good to me; exit 0", "JSON object");
    // A judge of the last stage, too.
    let script = "[ \"$PIPELINE_KIND\" != approve ] || { echo lgtm; exit 0; }";
    assert_no_verdict(script, "JSON object");
}
