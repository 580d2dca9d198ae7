//! Engines that are killed, and people who act at the worst moment.

use super::given;

/// A git that says that it is there, and ends with the engine it was started by.
const DIES: &str = "dies_with_the_engine";

#[test]
fn an_engine_killed_before_the_swap_lands_it_once_after_all() {
    let scene = given("window: 1").units("a").before_the_swap(1, DIES).start();
    scene
        .until_file("there")
        .kill()
        .landed("")
        .run(0)
        .landed("a")
        .nobody_paid();
}

#[test]
fn an_engine_killed_after_the_swap_does_not_land_it_again() {
    let scene = given("window: 1").units("a").after_the_swap(DIES).start();
    scene.until_file("there").kill().history("feat: a; chore: plan");
    scene.run(0).landed("a").history("feat: a; chore: plan");
}

#[test]
fn a_git_that_outlives_its_engine_and_moves_the_target_has_landed_it() {
    let outlives = "touch STAGE/there; until_file go";
    let scene = given("window: 1").units("a").before_the_swap(1, outlives).start();
    scene.until_file("there").kill().start().file("go").ends(0);
    scene.landed("a").history("feat: a; chore: plan").nobody_paid();
}

#[test]
fn a_batch_whose_engine_is_killed_at_the_swap_lands_whole_and_once() {
    for after in [false, true] {
        let given = given("window: 1, batch: 3").units("abcd").closed();
        let scene = match after {
            false => given.at_swap(2..=2, DIES, ""),
            true => given.at_swap(2..=2, "", DIES),
        };
        let scene = scene.start();
        scene
            .verifying("a")
            .in_line("bcd")
            .open()
            .until_file("there")
            .kill();
        scene.run(0).landed("a bcd").unverified("bc").nobody_paid();
    }
}

#[test]
fn a_target_that_a_person_moved_after_the_kill_is_landed_on_anew() {
    let scene = given("window: 1").units("a").before_the_swap(1, DIES).start();
    scene
        .until_file("there")
        .kill()
        .person("git commit -q --allow-empty -m 'docs: theirs'")
        .run(0);
    scene
        .landed("a")
        .history("feat: a; docs: theirs; chore: plan")
        .nobody_paid();
}

#[test]
fn work_that_a_person_began_after_the_kill_is_not_overwritten() {
    let scene = given("window: 1").units("a").before_the_swap(1, DIES).start();
    scene
        .until_file("there")
        .kill()
        .person("echo mine > a.txt")
        .run(6);
    scene
        .told("a.txt")
        .landed("")
        .person("grep -q mine a.txt; rm a.txt")
        .run(0)
        .landed("a");
}

#[test]
fn runs_side_by_side_end_with_their_engine_and_are_repeated_for_free() {
    let scene = given("window: 3").units("abc").closed().start();
    scene.verifying("a ab abc").kill().open().run(0);
    scene.landed("a b c").nobody_paid().verified("a a ab ab abc abc");
}

#[test]
fn a_failure_before_the_kill_still_counts_and_the_second_run_decides() {
    // The second run on `a` waits for the scenario, so the engine dies between the two.
    let second_waits = "[ \"$holds\" != a ] || { mkdir STAGE/one 2> /dev/null || until [ -e STAGE/go ]; do sleep 0.01; done; exit 1; }";
    let scene = given("window: 1").units("a").gate(second_waits).start();
    scene.until_times("verify_started", 2).kill().nobody_paid();
    scene
        .file("go")
        .run(5)
        .evicted('a', "verify_failed")
        .charged("a 100");
}

#[test]
fn a_flake_before_the_kill_is_recorded_once() {
    let second_waits = "[ \"$holds\" != a ] || { mkdir STAGE/one 2> /dev/null && exit 1; until [ -e STAGE/go ]; do sleep 0.01; done; }";
    let scene = given("window: 1").units("a").gate(second_waits).start();
    scene.until_times("verify_started", 2).kill();
    scene
        .file("go")
        .run(0)
        .landed("a")
        .events("flake_seen", 1)
        .nobody_paid();
}

#[test]
fn an_engine_that_dies_at_every_tenth_write_comes_to_the_same_end() {
    let scene = given("window: 2, batch: 2").units("abcd").bad("b").ready();
    let kill = [("PIPELINE_FAULT", "kill@journal.append:10")];
    let mut lives = 1;
    while scene.world.pipeline_with(&["run", "rfc.yaml"], &kill).code == -1 {
        lives += 1;
        assert!(lives < 30, "it gets nowhere");
    }
    assert!(lives > 2, "{lives} lives");
    scene
        .is('b', "evicted")
        .charged("b 100")
        .is('a', "landed")
        .is('c', "landed")
        .is('d', "landed");
}

#[test]
fn an_engine_killed_while_the_checkout_follows_finishes_it() {
    let scene = given("window: 1").units("a").ready();
    scene.run_with("kill@follow.place:1", -1);
    assert!(
        !scene.world.repo.join("a.txt").exists(),
        "the file had not come yet"
    );
    scene.run(0).landed("a");
    assert_eq!(scene.world.read("a.txt"), "work of a\n");
    assert_eq!(scene.world.git(&["status", "--porcelain"]), "");
}

#[test]
fn an_engine_killed_while_it_builds_a_candidate_builds_the_same_again() {
    let scene = given("window: 1").units("ab").ready();
    scene.run_with("kill@git.object:1", -1);
    scene.run(0).landed("a b").nobody_paid();
}

#[test]
fn a_second_engine_is_refused_and_takes_nothing_from_the_first() {
    let scene = given("window: 1").units("a").closed().start();
    scene.verifying("a").call(&["run", "rfc.yaml"], 7).open().ends(0);
    scene.landed("a").verified("a");
}
