//! Why an entry of the queue is where it is.

use super::rules::{side_by_side, verified};
use super::*;

#[test]
fn the_next_to_land_is_the_first_of_the_chain_and_nobody_else() {
    let mut script = side_by_side();
    let told = |script: &Script, unit: &str| {
        let unit = script.view.unit(&unit.parse().unwrap()).unwrap();
        let standing = script.view.standing(unit, &[]);
        let waits_for: Vec<String> = standing
            .waits_for
            .iter()
            .filter_map(Waited::name)
            .map(str::to_owned)
            .collect();
        (standing.sentence, waits_for.join(" "))
    };
    script.queue(verified(2, CheckOutcome::Passed));
    let after = (
        "its checks passed; it lands after `lexer`".to_owned(),
        "lexer".to_owned(),
    );
    assert_eq!(told(&script, "cache"), after);
    // The one ahead is run again, and this one stands on the tip without it meanwhile.
    script
        .queue(verified(1, CheckOutcome::Failed))
        .candidate_on("cache", '4', 'd');
    script.queue(QueueEvent::VerifyStarted {
        commit: oid('d'),
        purpose: VerifyPurpose::Candidate,
        fence: 4,
    });
    script.queue(verified(4, CheckOutcome::Passed));
    let waits = "its checks passed; it waits until `lexer` has landed or left".to_owned();
    assert_eq!(told(&script, "cache"), (waits, "lexer".to_owned()));
    script.queue(QueueEvent::EntryLeft {
        unit: "lexer".parse().unwrap(),
        end: EntryEnd::Cancelled,
    });
    let next = "its checks passed; it is the next to land".to_owned();
    assert_eq!(told(&script, "cache"), (next, String::new()));
}
