//! What must hold when a scenario is over, whatever happened in it: the invariants of the queue, asked of the journal, of
//! git and of the disk. The journal is read here as text, by nothing of the product.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::aftermath;
use crate::world::World;

/// The program itself finds nothing wrong, and no process of it is left.
pub(super) fn hold_of_the_place(world: &World) {
    world.assert_no_orphan();
    world.expect(&["doctor", "--strict"], 0);
}

/// What the journal of the run says agrees with itself and with git, and nothing is left but what landed.
pub(super) fn hold_of_the_run(world: &World) {
    let branch = aftermath::lands_on(world);
    let is_ours = branch.starts_with("pipeline/");
    world.assert_clean_beside(if is_ours { &branch } else { "" });
    let journal = world.journal();
    every_landing_was_proved(world, &journal, &branch);
    each_unit_landed_once(world);
    each_place_in_line_was_approved(&journal);
    nobody_paid_without_two_failures(&journal);
    nobody_in_line_was_lost(world, &journal);
    no_landed_path_shows_a_staged_reversal(world, &journal);
}

fn of_type<'a>(journal: &'a [Value], kind: &'a str) -> impl Iterator<Item = &'a Value> {
    journal.iter().filter(move |row| row["type"] == kind)
}

fn text<'a>(row: &'a Value, key: &str) -> &'a str {
    row[key].as_str().unwrap_or_default()
}

/// The branch moved only forward, from where the candidate stood, by one commit a unit or by those of the branch that a
/// unit was made of, to a tree whose checks had passed; and what landed is in it still.
fn every_landing_was_proved(world: &World, journal: &[Value], branch: &str) {
    let is_waived = world.read("rfc.yaml").contains("verify: none");
    for landing in of_type(journal, "landed") {
        let (from, to) = (text(landing, "from"), text(landing, "to"));
        let line = world.git(&[
            "rev-list",
            "--first-parent",
            "--reverse",
            &format!("{from}..{to}"),
        ]);
        let line: Vec<&str> = line.lines().collect();
        each_unit_has_its_commits(world, journal, landing, &line);
        let first = world.git(&["rev-parse", &format!("{}^", line[0])]);
        assert_eq!(first.trim(), from, "it stands on where the target was");
        world.git(&["merge-base", "--is-ancestor", to, branch]);
        if is_waived {
            continue;
        }
        let evidence = &landing["evidence"];
        let results = evidence["results"].as_array().unwrap();
        assert!(
            !results.is_empty() && results.iter().all(|result| result["outcome"] == "passed"),
            "it landed without a pass: {landing}"
        );
        let tree = world.git(&["rev-parse", &format!("{to}^{{tree}}")]);
        let about = text(evidence, "tree");
        assert!(
            about == tree.trim() || about == to,
            "the evidence is about another tree: {landing}"
        );
    }
}

/// The commits of a landing are those of its units, one unit after the other. Only a unit that was made of a branch has
/// more than one.
fn each_unit_has_its_commits(world: &World, journal: &[Value], landing: &Value, line: &[&str]) {
    let mut rest = line;
    for unit in landing["units"].as_array().unwrap() {
        let tip = text(unit, "commit");
        let place = rest.iter().position(|commit| *commit == tip);
        let (own, others) =
            rest.split_at(place.unwrap_or_else(|| panic!("{unit} is not in its place: {landing}")) + 1);
        let name = text(unit, "unit");
        let is_of_a_branch = of_type(journal, "branch_taken").any(|taken| taken["unit"] == name);
        assert!(own.len() == 1 || is_of_a_branch, "one commit a unit: {landing}");
        for commit in own {
            let format = "--format=%(trailers:key=Pipeline-Unit,valueonly,separator=)";
            let of_unit = world.git(&["log", "-1", format, commit]);
            assert_eq!(of_unit.trim(), name, "whose commit it is: {landing}");
        }
        rest = others;
    }
    assert!(rest.is_empty(), "commits that are no unit's: {landing}");
}

fn each_unit_landed_once(world: &World) {
    let landed = aftermath::landed(world);
    let once: BTreeSet<&String> = landed.iter().collect();
    assert_eq!(once.len(), landed.len(), "landed twice: {landed:?}");
}

/// Whoever joins the queue was approved for it, and anew whenever it was sent back to be mended or resolved.
fn each_place_in_line_was_approved(journal: &[Value]) {
    let mut approved: BTreeSet<&str> = BTreeSet::new();
    let mut generations: BTreeMap<&str, u64> = BTreeMap::new();
    for row in journal {
        let unit = text(row, "unit");
        match text(row, "type") {
            "unit_approved" => drop(approved.insert(unit)),
            "enqueued" => {
                assert!(approved.remove(unit), "nobody approved it: {row}");
                let generation = row["generation"].as_u64().unwrap();
                let before = generations.insert(unit, generation);
                assert!(before < Some(generation), "the same generation again: {row}");
            }
            _ => {}
        }
    }
}

/// A unit pays for a failure only when its own candidate, which stood on the target, failed twice, and once for one
/// approval. What the machine did is cheap.
fn nobody_paid_without_two_failures(journal: &[Value]) {
    let mut target = String::new();
    let mut generations: BTreeMap<&str, u64> = BTreeMap::new();
    let mut candidates: BTreeMap<&str, &Value> = BTreeMap::new();
    let mut under_way: BTreeMap<u64, &str> = BTreeMap::new();
    let mut failures: BTreeMap<&str, usize> = BTreeMap::new();
    let mut paid: BTreeSet<(&str, u64)> = BTreeSet::new();
    for row in journal {
        match text(row, "type") {
            "enqueued" => {
                generations.insert(text(row, "unit"), row["generation"].as_u64().unwrap());
            }
            "candidate_built" => {
                let candidate = &row["candidate"];
                for unit in candidate["units"].as_array().unwrap() {
                    candidates.insert(text(unit, "unit"), candidate);
                }
                if target.is_empty() {
                    text(candidate, "base").clone_into(&mut target);
                }
            }
            "landed" | "target_moved" => text(row, "to").clone_into(&mut target),
            "verify_started" => {
                under_way.insert(row["fence"].as_u64().unwrap(), text(row, "commit"));
            }
            "verify_ended" => {
                let Some(commit) = under_way.remove(&row["fence"].as_u64().unwrap()) else {
                    continue;
                };
                let results = row["evidence"]["results"].as_array().unwrap();
                let first = results.iter().find(|result| result["outcome"] != "passed");
                if first.is_some_and(|first| matches!(text(first, "outcome"), "failed" | "timed_out")) {
                    *failures.entry(commit).or_default() += 1;
                }
            }
            "entry_charged" if row["charge"] == 100 => {
                let unit = text(row, "unit");
                let candidate = candidates[unit];
                assert_eq!(
                    candidate["units"].as_array().unwrap().len(),
                    1,
                    "a batch paid: {row}"
                );
                assert_eq!(
                    text(candidate, "base"),
                    target,
                    "it did not stand on the target: {row}"
                );
                let failed = failures
                    .get(text(candidate, "commit"))
                    .copied()
                    .unwrap_or_default();
                assert!(failed >= 2, "{failed} failures: {row}");
                assert!(paid.insert((unit, generations[unit])), "paid twice: {row}");
            }
            "entry_charged" => assert_eq!(row["charge"], 10, "{row}"),
            _ => {}
        }
    }
}

/// Each approval that joined the queue left it in one way; in a run that is not finished it may still be there.
fn nobody_in_line_was_lost(world: &World, journal: &[Value]) {
    let mut in_line: BTreeSet<String> = BTreeSet::new();
    for row in journal {
        match text(row, "type") {
            "enqueued" => {
                let unit = text(row, "unit").to_owned();
                assert!(in_line.insert(unit), "it was in line already: {row}");
            }
            "landed" => {
                for unit in row["units"].as_array().unwrap() {
                    assert!(in_line.remove(text(unit, "unit")), "it was not in line: {row}");
                }
            }
            "entry_left" | "sent_back" | "sent_to_resolve" => {
                assert!(in_line.remove(text(row, "unit")), "it was not in line: {row}");
            }
            _ => {}
        }
    }
    if world.status()["run"]["state"] == "finished" {
        assert!(in_line.is_empty(), "left in line by a finished run: {in_line:?}");
    }
}

fn no_landed_path_shows_a_staged_reversal(world: &World, journal: &[Value]) {
    let head = world.git(&["rev-parse", "--abbrev-ref", "HEAD"]);
    if head.trim() != "main" {
        return;
    }
    let staged = world.git(&["diff", "--cached", "--name-only"]);
    for landing in of_type(journal, "landed") {
        let paths = world.git(&["diff", "--name-only", text(landing, "from"), text(landing, "to")]);
        for path in paths.lines() {
            assert!(
                !staged.lines().any(|other| other == path),
                "{path} is staged after {landing}"
            );
        }
    }
}
