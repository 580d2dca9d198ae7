//! A step of ours that panics: it is done again, and the second time the entry leaves and the rest goes on.

use super::given;
use super::given::Given;
use super::scene::Scene;

/// `a` and `b` change one file in places far from each other, so that git has to merge the second; `c` has a file of its
/// own.
fn merged() -> Scene {
    given("window: 1")
        .units("abc")
        .repository("seq 30 > list")
        .writes('a', "sed -i '3s/$/ by a/' list")
        .writes('b', "sed -i '27s/$/ by b/' list")
        .ready()
}

fn one() -> Given {
    given("window: 1").units("a")
}

/// The entry left because of this step, told in the run and to whoever takes it over, and nobody was charged.
fn taken_out(scene: &Scene, unit: char, step: &str) {
    scene.told(step).evicted(unit, "internal").nobody_paid();
    let bundle = scene.world.run_dir().join(format!("bundles/{unit}/bundle.md"));
    let bundle = std::fs::read_to_string(bundle).unwrap();
    assert!(bundle.contains(step) && bundle.contains("a fault at"), "{bundle}");
}

const INTEGRATION: &str = "While this unit was put onto its base";

#[test]
fn an_integration_that_panics_once_is_done_again_and_lands() {
    let scene = merged();
    scene.run_with("panic@git.merge-tree:1", 0);
    scene.landed("a b c").events("step_panicked", 1).nobody_paid();
}

#[test]
fn an_integration_that_panics_twice_takes_the_entry_out_and_the_queue_goes_on() {
    let scene = merged();
    scene.run_with("panic@git.merge-tree:1,panic@git.merge-tree:2", 5);
    taken_out(&scene, 'b', INTEGRATION);
    scene.landed("a c").call(&["retry", "b"], 0);
    // A person brought it back, and the count begins anew.
    scene.run_with("panic@git.merge-tree:1", 0).landed("a c b");
}

#[test]
fn panics_are_counted_over_engines() {
    let scene = merged();
    scene.run_with("panic@git.merge-tree:1,kill@git.merge-tree:2", -1);
    scene.events("step_panicked", 1);
    scene.run_with("panic@git.merge-tree:1", 5).landed("a c");
    taken_out(&scene, 'b', INTEGRATION);
}

#[test]
fn a_landing_that_panics_once_is_done_again_and_twice_takes_the_entry_out_with_the_target_where_it_was() {
    let once = one().ready();
    once.run_with("panic@git.update-ref.target:1", 0).landed("a");

    let twice = one().ready();
    twice.run_with("panic@git.update-ref.target:1,panic@git.update-ref.target:2", 5);
    taken_out(&twice, 'a', "While this unit was landed");
    twice.landed("").history("chore: plan");
}

#[test]
fn who_stood_on_an_entry_that_is_taken_out_lands_without_it() {
    let scene = given("window: 3").units("abc").ready();
    scene.run_with("panic@git.update-ref.target:1,panic@git.update-ref.target:2", 5);
    taken_out(&scene, 'a', "While this unit was landed");
    scene.landed("b c");
}

/// Where `process.started` is passed in an undisturbed run of one unit, after the two checks on the target: the author, the
/// unit's own check, those on its candidate.
fn at_starts(places: std::ops::RangeInclusive<u32>) -> String {
    let faults = places.map(|place| format!("panic@process.started:{place}"));
    faults.collect::<Vec<_>>().join(",")
}

#[test]
fn a_verification_that_panics_once_is_done_again_and_twice_takes_the_entry_out() {
    let once = one().ready();
    once.run_with(&at_starts(5..=5), 0).landed("a");
    assert_eq!(once.world.events("step_panicked")[0]["step"], "verify");

    let twice = one().ready();
    twice.run_with(&at_starts(5..=6), 5);
    taken_out(&twice, 'a', "While this unit's candidate was verified");
}

#[test]
fn an_attempt_that_panics_once_is_made_again_free_of_charge_and_twice_hands_the_unit_to_a_person() {
    let once = one().ready();
    once.run_with(&at_starts(3..=3), 0).landed("a");
    assert_eq!(once.world.events("attempt_ended")[0]["outcome"], "panicked");

    let twice = one().ready();
    twice.run_with(&at_starts(3..=4), 5);
    taken_out(&twice, 'a', "Work on this unit panicked 2 times");
}
