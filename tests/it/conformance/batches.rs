//! Batches: several units verified and landed as one, and taken apart when they cannot pass.

use super::given;
use super::scene::Scene;

/// The head is verified alone while three more get in line, and these become a batch.
fn batch_of_three(bad: &str, code: i32) -> Scene {
    let scene = given("window: 1, batch: 3")
        .units("abcd")
        .bad(bad)
        .closed()
        .start();
    scene.verifying("a").in_line("bcd").open().ends(code);
    scene
}

#[test]
fn a_batch_lands_in_one_move_and_says_which_commits_were_not_verified() {
    let scene = batch_of_three("", 0);
    scene
        .landed("a bcd")
        .verified("a abcd")
        .unverified("bc")
        .nobody_paid();
}

#[test]
fn a_bad_one_at_the_front_of_a_batch_is_dropped() {
    let scene = batch_of_three("b", 5);
    scene
        .evicted('b', "dropped_by_bisection")
        .landed("a c d")
        .charged("b 100");
}

#[test]
fn a_bad_one_in_the_middle_of_a_batch_is_dropped() {
    let scene = batch_of_three("c", 5);
    scene
        .evicted('c', "dropped_by_bisection")
        .landed("a b d")
        .charged("c 100");
}

#[test]
fn a_bad_one_at_the_end_of_a_batch_is_dropped() {
    let scene = batch_of_three("d", 5);
    scene
        .evicted('d', "dropped_by_bisection")
        .landed("a bc")
        .charged("d 100");
}
