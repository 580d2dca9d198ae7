//! Conflicts with the target that the author resolves: on what landed, reviewed anew, so and so often, and never for a
//! conflict that may yet go away.

use serde_json::Value;

use super::given;
use super::given::Given;
use super::scene::Scene;

/// Units that all begin on the same target and write the same line.
fn rivals(queue: &str, names: &str) -> Given {
    let writes = |given: Given, name: char| given.writes(name, &format!("echo {name} > shared"));
    names.chars().fold(given(queue).units(names), writes)
}

/// The conflicts that a unit was handed to a person with.
fn handed_over(scene: &Scene, unit: char) -> Value {
    let bundle = scene.world.run_dir().join(format!("bundles/{unit}/bundle.json"));
    let bundle: Value = serde_json::from_str(&std::fs::read_to_string(bundle).unwrap()).unwrap();
    bundle["conflicts"].clone()
}

/// Which approvals of a unit joined the queue.
fn generations(scene: &Scene, unit: char) -> Vec<u64> {
    let joined = scene.world.events("enqueued");
    let of_unit = joined.iter().filter(|event| event["unit"] == unit.to_string());
    of_unit
        .map(|event| event["generation"].as_u64().unwrap())
        .collect()
}

#[test]
fn the_second_of_two_is_resolved_reviewed_anew_and_lands_as_another_generation() {
    let scene = rivals("window: 1", "ab").run(0);
    scene.told("CONFLICT").landed("a b").target("shared", "a\nb\n");
    scene.events("sent_to_resolve", 1).nobody_paid();
    assert_eq!(generations(&scene, 'b'), [1, 2]);
    // The tier has no review of its own; only the reviewer counts its calls.
    assert_eq!(scene.world.calls("b"), ["resolve-review.2"]);
}

#[test]
fn a_resolution_that_breaks_the_checks_is_charged_to_who_resolved() {
    let breaks = "keep_both; echo broken >> shared";
    let scene = rivals("window: 1", "ab")
        .resolves('b', breaks)
        .gate("! grep -qs broken shared")
        .run(5);
    scene.landed("a").evicted('b', "verify_failed").charged("b 100");
}

#[test]
fn markers_that_are_left_hand_the_unit_over_with_its_hunks_and_its_counterpart() {
    let scene = rivals("window: 1", "ab")
        .resolves('b', "echo more >> shared")
        .run(5);
    scene.landed("a").evicted('b', "conflict_target").nobody_paid();
    let conflict = &handed_over(&scene, 'b')[0];
    assert_eq!(
        (&conflict["path"], &conflict["landed_by"]),
        (&"shared".into(), &"a".into())
    );
    let hunks = conflict["hunks"].as_str().unwrap();
    assert!(hunks.contains("a\n=======\nb\n"), "{hunks}");
}

#[test]
fn a_resolver_that_changes_nothing_has_resolved_nothing() {
    let scene = rivals("window: 1", "ab").resolves('b', ":").run(5);
    scene.landed("a").evicted('b', "conflict_target").nobody_paid();
}

#[test]
fn conflict_rounds_bound_how_often_a_unit_is_resolved() {
    for (rounds, moves, code) in [(2, "a b c", 0), (1, "a b", 5)] {
        // `b` is resolved and lands before `c` comes back from its first round.
        let scene = rivals(&format!("window: 1, conflict_rounds: {rounds}"), "abc")
            .resolves('c', "keep_both; has_landed b")
            .run(code);
        scene.landed(moves).nobody_paid();
        if rounds == 1 {
            scene.evicted('c', "conflict_target");
            assert_eq!(handed_over(&scene, 'c')[0]["landed_by"], "b");
            assert_eq!(generations(&scene, 'c'), [1, 2], "one was resolved");
        }
    }
}

#[test]
fn a_conflict_with_a_unit_ahead_is_held_and_goes_on_as_it_is_when_that_one_is_evicted() {
    let scene = rivals("window: 3", "ab").bad("a").closed().start();
    scene.verifying("a").until_stands('b', "held").open().ends(5);
    scene
        .landed("b")
        .evicted('a', "verify_failed")
        .events("sent_to_resolve", 0)
        .charged("a 100");
    assert_eq!(generations(&scene, 'b'), [1]);
}

#[test]
fn a_conflict_with_a_unit_ahead_is_resolved_once_that_one_has_landed() {
    let scene = rivals("window: 3", "ab").closed().start();
    scene.verifying("a").until_stands('b', "held");
    scene.events("sent_to_resolve", 0).open().ends(0);
    scene.landed("a b").events("sent_to_resolve", 1).nobody_paid();
}

#[test]
fn what_stands_behind_a_conflict_lands_while_it_is_resolved() {
    let scene = rivals("window: 1", "ab")
        .units("c")
        .resolves('b', "has_landed c; keep_both")
        .run(0);
    scene.landed("a c b").nobody_paid();
}

#[test]
fn of_a_batch_who_conflicts_is_resolved_and_the_others_land() {
    let scene = rivals("window: 1, batch: 3", "bc")
        .units("ad")
        .joining("abcd")
        .closed()
        .start();
    scene.verifying("a").in_line("bcd").open().ends(0);
    scene.events("sent_to_resolve", 1).nobody_paid();
    scene.target("shared", "b\nc\n");
    for unit in "abcd".chars() {
        scene.is(unit, "landed");
    }
}

/// Somebody commits to the target while `b` is resolved.
fn moved_meanwhile(theirs: &str) -> Scene {
    let scene = rivals("window: 1", "ab")
        .resolves('b', "touch STAGE/resolving; until_file go; keep_both")
        .start();
    scene.until_file("resolving").person(theirs).file("go").ends(0);
    scene.landed("a b").nobody_paid();
    scene
}

#[test]
fn a_target_that_moves_elsewhere_while_a_conflict_is_resolved_is_no_second_conflict() {
    let scene = moved_meanwhile("git commit -q --allow-empty -m 'docs: theirs'");
    scene.events("sent_to_resolve", 1).target("shared", "a\nb\n");
    scene.history("feat: b; docs: theirs; feat: a; chore: plan");
}

#[test]
fn a_target_that_moves_on_the_same_line_while_a_conflict_is_resolved_is_a_second_round() {
    let scene = moved_meanwhile("echo theirs > shared; git commit -qam 'docs: theirs'");
    scene.events("sent_to_resolve", 2);
    assert_eq!(generations(&scene, 'b'), [1, 2, 3]);
}

#[test]
fn an_engine_killed_while_a_conflict_is_resolved_goes_on_there() {
    let scene = rivals("window: 1", "ab")
        .resolves('b', "touch STAGE/resolving; until_file go; keep_both")
        .start();
    scene.until_file("resolving").kill().file("go").run(0);
    scene.landed("a b").events("sent_to_resolve", 1).nobody_paid();
    scene.target("shared", "a\nb\n");
}

#[test]
fn who_was_resolved_keeps_its_age() {
    // `b` comes back while `c` is verified, and goes before `d`, which is younger.
    let scene = rivals("window: 1", "ab")
        .units("cd")
        .writes('c', "has_landed a")
        .closed()
        .start();
    scene.verifying("a").in_line("b").pass("a").verifying("ac");
    scene.until_times("enqueued", 5).open().ends(0);
    scene.landed("a c b d").nobody_paid();
}
