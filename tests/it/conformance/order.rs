//! Who goes first: priority, age, place in the file, and what a unit needs.

use super::given;

#[test]
fn units_land_in_the_order_in_which_they_joined() {
    given("window: 1")
        .units("abc")
        .run(0)
        .landed("a b c")
        .nobody_paid();
}

#[test]
fn the_older_goes_before_the_one_that_stands_before_it_in_the_file() {
    let scene = given("window: 1").units("dbac").joining("acdb").closed().start();
    // A step of the queue lies between those that wait for `a` and those that wait for `c`.
    scene.verifying("a").until("enqueued", Some('b')).open().ends(0);
    scene.landed("a d b c").verified("a ad abd abcd");
}

#[test]
fn a_higher_priority_goes_next_and_takes_no_turn_away() {
    let scene = given("window: 1")
        .units("ab")
        .unit('c', "priority: 5")
        .closed()
        .start();
    scene.verifying("a").in_line("bc").open().ends(0);
    scene.landed("a c b").verified("a ac abc");
}

#[test]
fn a_priority_below_zero_goes_after_everybody() {
    let scene = given("window: 1")
        .units("a")
        .unit('b', "priority: -1")
        .units("c")
        .closed()
        .start();
    scene.verifying("a").in_line("bc").open().ends(0);
    scene.landed("a c b");
}

#[test]
fn what_a_unit_needs_has_landed_before_it_is_begun() {
    let scene = given("window: 3")
        .unit('a', "needs: [c]")
        .units("bc")
        .joining("bc")
        .writes('a', "test -e c.txt")
        .run(0);
    scene.landed("b c a");
}

#[test]
fn what_needs_an_evicted_unit_is_blocked_and_others_go_on() {
    let scene = given("window: 3")
        .units("a")
        .unit('b', "needs: [a]")
        .units("c")
        .joining("ac")
        .bad("a")
        .run(5);
    scene
        .landed("c")
        .evicted('a', "verify_failed")
        .is('b', "blocked")
        .charged("a 100");
}

#[test]
fn who_comes_back_mended_keeps_its_age() {
    // `b` is older than `c` and `d`, and is sent back while `c` is verified.
    let scene = given("window: 1")
        .units("a")
        .unit('b', "tier: small")
        .units("cd")
        .gate("! grep -qs '^work' b.txt")
        .mends('b', "in_line d")
        .writes('c', "has_landed a")
        .closed()
        .start();
    scene
        .verifying("a")
        .in_line("b")
        .pass("a")
        .pass("ab")
        .verifying("ac");
    scene.until_times("enqueued", 5).open().ends(0);
    scene.landed("a c b d").charged("b 100");
}

#[test]
fn a_priority_that_joins_later_takes_no_run_away() {
    let scene = given("window: 2")
        .units("ab")
        .unit('c', "priority: 9")
        .closed()
        .start();
    scene.verifying("ab").in_line("c").open().ends(0);
    scene.landed("a b c").verified("a ab abc");
}
