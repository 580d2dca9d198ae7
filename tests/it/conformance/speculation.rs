//! The window: who is verified on top of whom, and what becomes of those behind a failure.

use super::given;

#[test]
fn candidates_are_verified_side_by_side_and_each_lands_on_its_one_run() {
    let scene = given("window: 3").units("abc").closed().start();
    scene.verifying("a ab abc");
    for (unit, position) in [('a', 1), ('b', 2), ('c', 3)] {
        let entry = scene.entry(unit);
        assert_eq!(entry["state"], "verifying", "{entry}");
        assert_eq!(entry["position"], position, "{entry}");
    }
    scene.open().ends(0);
    scene.landed("a b c").verified("a ab abc").nobody_paid();
}

#[test]
fn a_failure_in_the_middle_is_put_out_and_the_one_behind_it_lands_without_it() {
    let scene = given("window: 3").units("abc").bad("b").closed().start();
    scene.verifying("a ab abc").open().ends(5);
    scene.landed("a c").evicted('b', "verify_failed").charged("b 100");
    assert!(
        scene.runs().contains(&"ac".to_owned()),
        "what landed last was verified as that"
    );
}

#[test]
fn who_passed_without_the_one_ahead_waits_for_it_and_is_told_so() {
    let once = "if [ \"$holds\" = a ]; then [ -e STAGE/once ] || { touch STAGE/once; exit 1; }; touch STAGE/twice; until [ -e STAGE/again ]; do sleep 0.01; done; fi";
    let scene = given("window: 2").units("ab").gate(once).start();
    scene
        .in_line("ab")
        .until_file("twice")
        .until_stands('b', "verified");
    let standing = &scene.why('b')["standing"];
    assert_eq!(
        standing["sentence"],
        "its checks passed; it waits until `a` has landed or left"
    );
    assert_eq!(standing["waits_for"][0]["name"], "a");
    scene.file("again").ends(0);
    scene.landed("a b").nobody_paid();
}

#[test]
fn a_failure_at_the_head_costs_those_behind_it_nothing() {
    let scene = given("window: 3").units("abc").bad("a").closed().start();
    scene.verifying("a ab abc").open().ends(5);
    scene.landed("b c").evicted('a', "verify_failed").charged("a 100");
}

#[test]
fn a_failure_at_the_end_costs_those_before_it_nothing() {
    let scene = given("window: 3").units("abc").bad("c").closed().start();
    scene.verifying("a ab abc").open().ends(5);
    scene.landed("a b").evicted('c', "verify_failed").charged("c 100");
}

#[test]
fn two_failures_in_one_window_are_told_apart() {
    let scene = given("window: 4").units("abcd").bad("ac").closed().start();
    scene.verifying("abcd").open().ends(5);
    scene
        .landed("b d")
        .evicted('a', "verify_failed")
        .evicted('c', "verify_failed");
    scene.charged("a 100, c 100");
}

#[test]
fn a_failure_on_a_doomed_predecessor_is_nobodys() {
    // `c` fails wherever `b` is, and `b` is bad by itself.
    let with_b = "if [ -e b.txt ] && [ -e c.txt ]; then echo 'not together'; exit 1; fi";
    let scene = given("window: 3")
        .units("abc")
        .bad("b")
        .gate(with_b)
        .closed()
        .start();
    // It fails twice before anything is known of `b`.
    scene.verifying("abc").pass("abc").until_times("verify_ended", 2);
    scene.nobody_paid().open().ends(5);
    scene.landed("a c").evicted('b', "verify_failed").charged("b 100");
}

#[test]
fn who_fails_on_a_sound_predecessor_is_judged_once_that_has_landed() {
    let with_b = "if [ -e b.txt ] && [ -e c.txt ]; then echo 'not together'; exit 1; fi";
    let scene = given("window: 3").units("abc").gate(with_b).closed().start();
    scene.verifying("abc").pass("abc").until_times("verify_ended", 2);
    scene.nobody_paid().open().ends(5);
    scene.landed("a b").evicted('c', "verify_failed").charged("c 100");
}

#[test]
fn a_flake_at_the_head_gives_those_behind_it_their_place_back() {
    let once = "if [ \"$holds\" = a ] && mkdir STAGE/once 2> /dev/null; then exit 1; fi";
    let scene = given("window: 3").units("abc").gate(once).closed().start();
    scene.verifying("ab abc").open().ends(0);
    scene.landed("a b c").events("flake_seen", 1).nobody_paid();
}

#[test]
fn a_window_of_two_never_verifies_three() {
    let scene = given("window: 2").units("abcd").closed().start();
    scene.verifying("a ab").in_line("abcd").open().ends(0);
    scene.landed("a b c d").side_by_side(2);
}

#[test]
fn a_window_of_one_is_a_queue_without_speculation() {
    let scene = given("window: 1").units("abc").closed().start();
    scene.verifying("a").in_line("abc").open().ends(0);
    scene.landed("a b c").verified("a ab abc").side_by_side(1);
}

#[test]
fn an_adaptive_window_begins_as_wide_as_there_are_slots() {
    let scene = given("window: auto").units("abcd").parallel(4).closed().start();
    scene.verifying("a ab abc abcd").open().ends(0);
    scene.landed("a b c d").side_by_side(4);
}

#[test]
fn an_adaptive_window_is_halved_by_a_failure_and_widened_by_a_landing() {
    // `a` fails in a window of four, which leaves two; it comes back while three of the old window are under way.
    let scene = given("window: auto")
        .unit('a', "tier: small")
        .units("bcd")
        .gate("! grep -qs '^work' a.txt")
        .parallel(4)
        .closed()
        .start();
    scene.verifying("abcd").pass("a").until_times("enqueued", 5);
    assert_eq!(
        scene.entry('a')["state"],
        "queued",
        "a slot is free, and the window is full"
    );
    scene
        .pass("b")
        .until("landed", Some('b'))
        .until_stands('a', "verifying");
    scene.open().ends(0).events("landed", 4).charged("a 100");
}

#[test]
fn a_window_has_no_more_runs_than_there_are_slots() {
    let scene = given("window: 5")
        .units("abc")
        .joining("")
        .parallel(2)
        .closed()
        .start();
    scene.world.wait_until("two runs", || {
        scene.runs().iter().filter(|run| !run.is_empty()).count() == 2
    });
    scene.open().ends(0);
    scene.events("landed", 3).side_by_side(2);
}

#[test]
fn a_target_that_moves_under_a_window_sends_all_of_it_back_for_free() {
    let scene = given("window: 3").units("abc").closed().start();
    scene
        .verifying("abc")
        .person("git commit -q --allow-empty -m 'docs: theirs'")
        .open()
        .ends(0);
    scene
        .landed("a b c")
        .history("feat: c; feat: b; feat: a; docs: theirs")
        .nobody_paid();
}

#[test]
fn who_conflicts_with_one_ahead_is_held_in_place_and_lands_when_that_one_is_put_out() {
    let scene = given("window: 3, on_conflict: evict")
        .units("abc")
        .writes('a', "echo a > shared")
        .writes('b', "echo b > shared")
        .bad("a")
        .closed()
        .start();
    scene.verifying("ac");
    let entry = scene.entry('b');
    assert_eq!(entry["state"], "held");
    assert_eq!(
        entry["held"],
        "it conflicts with `a`, ahead in the queue, in shared"
    );
    scene.open().ends(5);
    scene
        .told("HELD")
        .evicted('a', "verify_failed")
        .is('b', "landed")
        .is('c', "landed")
        .charged("a 100");
}

#[test]
fn who_conflicts_with_one_ahead_leaves_when_that_one_lands() {
    let scene = given("window: 3, on_conflict: evict")
        .units("abc")
        .writes('a', "echo a > shared")
        .writes('b', "echo b > shared")
        .closed()
        .start();
    scene.verifying("ac").open().ends(5);
    scene.landed("a c").evicted('b', "conflict_target").nobody_paid();
}

#[test]
fn a_time_out_at_the_head_costs_those_behind_it_nothing() {
    let hangs = "if [ -e a.txt ]; then sleep 60; fi";
    let scene = given("window: 3")
        .units("abc")
        .gate(hangs)
        .gate_keys("timeout: 600ms")
        .run(5);
    scene
        .landed("b c")
        .evicted('a', "verify_timeout")
        .charged("a 100");
}

#[test]
fn what_needs_another_is_not_speculated_on_it() {
    let scene = given("window: 3")
        .units("a")
        .unit('b', "needs: [a]")
        .closed()
        .start();
    scene.verifying("a").is('b', "waiting").open().ends(0);
    scene.landed("a b").verified("a ab").side_by_side(1);
}

#[test]
fn who_comes_back_mended_is_put_onto_those_that_overtook_it() {
    let scene = given("window: 2")
        .unit('a', "tier: small")
        .units("b")
        .gate("! grep -qs '^work' a.txt")
        .run(0);
    scene
        .landed("b a")
        .charged("a 100")
        .target("a.txt", "mended work of a\n");
}

#[test]
fn while_a_failure_is_run_again_those_behind_it_are_verified_without_it() {
    let again = "if mkdir STAGE/one 2> /dev/null; then exit 1; fi; until [ -e STAGE/go ]; do sleep 0.01; done; exit 1";
    let gate = format!("[ \"$holds\" != a ] || {{ {again}; }}");
    let scene = given("window: 2").units("ab").gate(&gate).start();
    scene.verifying("b").nobody_paid().file("go").ends(5);
    scene.landed("b").evicted('a', "verify_failed").charged("a 100");
}
