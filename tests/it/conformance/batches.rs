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

#[test]
fn a_batch_in_which_all_are_bad_lands_none_of_them() {
    let scene = batch_of_three("bcd", 5);
    scene.landed("a").charged("b 100, c 100, d 100");
    for unit in ['b', 'c', 'd'] {
        scene.evicted(unit, "dropped_by_bisection");
    }
}

#[test]
fn two_bad_ones_in_a_batch_are_both_found() {
    let scene = batch_of_three("bd", 5);
    scene
        .landed("a c")
        .evicted('b', "dropped_by_bisection")
        .evicted('d', "dropped_by_bisection");
    scene.charged("b 100, d 100");
}

#[test]
fn of_two_that_fail_only_together_the_first_lands() {
    let together = "if [ -e b.txt ] && [ -e c.txt ]; then echo 'not together'; exit 1; fi";
    let scene = given("window: 1, batch: 2")
        .units("abc")
        .gate(together)
        .closed()
        .start();
    scene.verifying("a").in_line("bc").open().ends(5);
    scene
        .landed("a b")
        .evicted('c', "dropped_by_bisection")
        .charged("c 100");
}

#[test]
fn what_is_left_of_a_split_batch_lands_as_the_set_that_was_verified() {
    let scene = given("window: 1, batch: 4")
        .units("abcde")
        .bad("e")
        .closed()
        .start();
    scene.verifying("a").in_line("bcde").open().ends(5);
    scene
        .landed("a bc d")
        .evicted('e', "dropped_by_bisection")
        .charged("e 100");
    assert!(
        scene.runs().contains(&"abc".to_owned()),
        "the good half was verified as a set"
    );
}

#[test]
fn a_batch_takes_no_more_than_its_number_and_no_fewer_than_there_are() {
    let scene = given("window: 1, batch: 2").units("abcd").closed().start();
    scene.verifying("a").in_line("bcd").open().ends(0);
    scene.landed("a bc d").verified("a abc abcd");
}

#[test]
fn a_batch_of_one_lands_every_unit_by_itself() {
    let scene = given("window: 1, batch: 1").units("abc").closed().start();
    scene.verifying("a").in_line("bc").open().ends(0);
    scene.landed("a b c").unverified("");
}

#[test]
fn an_adaptive_batch_grows_while_units_land() {
    let scene = given("window: 1, batch: auto").units("abcdef").closed().start();
    scene.verifying("a").in_line("bcdef").open().ends(0);
    scene.landed("a bc def");
}

#[test]
fn an_adaptive_batch_is_back_at_one_after_a_failure() {
    let scene = given("window: 1, batch: auto")
        .units("abcdef")
        .bad("b")
        .closed()
        .start();
    scene.verifying("a").in_line("bcdef").open().ends(5);
    // `b` and `c` are taken apart; then it begins anew, and the landing of `c` makes it two.
    scene
        .landed("a c de f")
        .evicted('b', "dropped_by_bisection")
        .charged("b 100");
}

#[test]
fn a_time_out_in_a_batch_is_put_down_to_the_one_that_hangs() {
    let hangs = "if [ -e c.txt ]; then sleep 60; fi";
    let scene = given("window: 1, batch: 2")
        .units("abc")
        .gate(hangs)
        .gate_keys("timeout: 600ms")
        .closed()
        .start();
    scene.verifying("a").in_line("bc").open().ends(5);
    scene
        .landed("a b")
        .evicted('c', "verify_timeout")
        .charged("c 100")
        .events("batch_split", 1);
}

#[test]
fn a_flake_of_a_batch_is_nobodys_and_it_lands_whole() {
    let once = "if [ \"$holds\" = abcd ] && mkdir STAGE/once 2> /dev/null; then exit 1; fi";
    let scene = given("window: 1, batch: 3")
        .units("abcd")
        .gate(once)
        .closed()
        .start();
    scene.verifying("a").in_line("bcd").open().ends(0);
    scene.landed("a bcd").verified("a abcd abcd").nobody_paid();
}

#[test]
fn a_red_target_takes_no_batch_apart() {
    let scene = given("window: 1, batch: 3")
        .units("abcd")
        .gate("[ -e broken ] && exit 1 || true")
        .closed()
        .start();
    scene.first_lands("abcd");
    scene
        .person("touch broken; git add broken; git commit -qm 'chore: break it'")
        .open()
        .ends(6);
    scene.landed("a").events("batch_split", 0).nobody_paid();
    scene
        .person("git rm -q broken; git commit -qm 'fix: repair it'")
        .run(0)
        .landed("a bcd")
        .nobody_paid();
}

#[test]
fn a_unit_of_another_priority_goes_into_the_batch_before_the_others() {
    let scene = given("window: 1, batch: 2")
        .units("abc")
        .unit('d', "priority: 5")
        .closed()
        .start();
    scene.verifying("a").in_line("bcd").open().ends(0);
    scene.landed("a db c");
}

#[test]
fn who_conflicts_within_a_batch_leaves_it_and_the_others_land() {
    let scene = given("window: 1, batch: 3, on_conflict: evict")
        .units("abcd")
        .writes('b', "echo b > shared")
        .writes('c', "echo c > shared")
        .closed()
        .start();
    scene.verifying("a").in_line("bcd").open().ends(5);
    scene
        .evicted('c', "conflict_target")
        .is('b', "landed")
        .is('d', "landed")
        .nobody_paid();
}

#[test]
fn batches_are_verified_on_top_of_one_another_in_a_window() {
    let scene = given("window: 2, batch: 2").units("abcde").closed().start();
    scene.verifying("a").in_line("abcde").open().ends(0);
    scene.landed("a b cd e").side_by_side(2);
}
