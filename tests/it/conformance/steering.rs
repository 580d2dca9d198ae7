//! What people ask of the queue while an engine works: it is done at once, by that engine.

use super::given;

#[test]
fn a_run_that_is_paused_lets_what_is_verified_finish_and_lands_nothing() {
    let scene = given("window: 1").units("ab").closed().start();
    scene.verifying("a").in_line("b");
    scene
        .call(&["pause"], 0)
        .told("what is under way comes to its end, and nothing more starts or lands");
    scene.line("a verifying, b held (paused)");
    scene.call(&["pause"], 0).told("paused already");
    scene.open().until("verify_ended", None);
    scene.line("a held (paused), b held (paused)").landed("");
    // The engine waits for whoever paused it.
    scene.call(&["resume"], 0).told("Next: pipeline status");
    scene.ends(0).landed("a b").verified("a ab").nobody_paid();
}

#[test]
fn an_engine_that_is_paused_can_be_stopped_and_another_does_not_wait() {
    let scene = given("window: 1").units("ab").closed().start();
    scene.verifying("a").call(&["pause"], 0).open();
    scene.until("verify_ended", None).stop(143);
    scene.run(6).told("`pipeline resume` lifts the pause").landed("");
    scene.call(&["resume"], 0).told("Next: pipeline run rfc.yaml");
    scene.run(0).landed("a b").verified("a ab").nobody_paid();
}

#[test]
fn a_pause_that_is_lifted_before_anything_ended_changes_nothing() {
    let scene = given("window: 1").units("ab").closed().start();
    scene.verifying("a").call(&["pause"], 0);
    scene
        .call(&["resume"], 0)
        .told("is not paused any more")
        .told("Next: pipeline status");
    scene.call(&["resume"], 0).told("is not paused.");
    scene.open().ends(0).landed("a b").verified("a ab");
}

#[test]
fn a_freeze_holds_who_is_in_line_until_it_is_lifted() {
    let scene = given("window: 1")
        .units("a")
        .unit('b', "priority: 5")
        .units("c")
        .joining("abc")
        .closed()
        .start();
    scene.verifying("a").in_line("bc");
    let freeze = ["queue", "freeze", "--below", "5"];
    scene.call(&freeze, 0).told("it holds `a`, `c`").call(&freeze, 0);
    scene.told("already").told("Next: pipeline status");
    scene.open().until("landed", Some('b'));
    scene.line("a held (frozen), c held (frozen)");
    scene.ends(6).call(&["queue", "freeze", "--off"], 0).run(0);
    scene.landed("b a c").nobody_paid();
}

#[test]
fn who_is_put_on_top_goes_next_and_with_an_interruption_before_who_is_verified() {
    for (interrupt, order) in [(None, "a c b"), (Some("--interrupt"), "c a b")] {
        let scene = given("window: 1").units("abc").joining("abc").closed().start();
        scene.verifying("a").in_line("bc");
        let top: Vec<&str> = ["queue", "top", "c"].into_iter().chain(interrupt).collect();
        scene
            .call(&top, 0)
            .told("`c` goes next, with priority 1")
            .told("Next: pipeline status");
        if interrupt.is_some() {
            scene.verifying("c");
        }
        scene.open().ends(0).landed(order).nobody_paid();
    }
}

#[test]
fn who_is_cancelled_leaves_and_what_stood_on_it_is_verified_without_it() {
    let scene = given("window: 3").units("abc").joining("abc").closed().start();
    scene.verifying("a ab abc").call(&["cancel", "b"], 0);
    scene.left('b', "cancelled", "cancelled");
    scene
        .call(&["cancel", "b"], 2)
        .told("it has left the run already");
    scene.open().ends(0).told("taken out of the queue by a person");
    scene.landed("a c").nobody_paid();
    scene.call(&["retry", "b"], 0).run(0).landed("a c b");
}

#[test]
fn who_is_cancelled_at_work_is_broken_off_and_can_be_tried_again() {
    let scene = given("window: 1")
        .units("ab")
        .joining("b")
        .writes('a', "[ -e STAGE/again ] || { touch STAGE/begun; sleep 600; }")
        .closed()
        .start();
    scene.until_file("begun").verifying("b");
    scene
        .call(&["cancel", "a"], 0)
        .left('a', "cancelled", "cancelled");
    scene
        .file("again")
        .call(&["retry", "a"], 0)
        .told("Next: pipeline status");
    scene.in_line("a").open().ends(0).landed("b a").nobody_paid();
    scene
        .told("cancelled by a person")
        .told("pipeline retry a")
        .told("starts afresh");
}

#[test]
fn a_gate_is_opened_while_others_work() {
    let scene = given("window: 1")
        .also("tiers:\n  gated: {implement: {agent: author}, approve: {by: human, needs: [implement]}}")
        .unit('a', "tier: gated")
        .unit('b', "tier: gated")
        .units("c")
        .joining("c")
        .closed()
        .start();
    scene.until_is('a', "gated").until_is('b', "gated").verifying("c");
    scene
        .call(&["approve", "c"], 2)
        .told("only a unit that waits at a gate");
    scene.call(&["approve", "a"], 0).in_line("a");
    scene.call(&["reject", "b", "-m", "not like this"], 0);
    scene.until_is('b', "evicted").open().ends(5).landed("c a");
}

#[test]
fn a_branch_that_is_brought_joins_the_run_that_goes_on() {
    let scene = given("window: 1")
        .units("a")
        .repository("git switch -q -c x && echo x > x.txt && git add x.txt && git commit -qm 'feat: x' && git switch -q main")
        .closed()
        .start();
    scene.verifying("a");
    let add = ["queue", "add", "x", "--no-review"];
    scene
        .call(&add, 0)
        .told("The engine that runs takes it in. Next: pipeline queue");
    scene.in_line("x").call(&add, 0).told("in line already");
    scene.open().ends(0).landed("a x").target("x.txt", "x\n");
    // The file and its branch are that run: nothing is left to do.
    scene.run(0).told("2 landed").landed("a x");
}

#[test]
fn an_engine_with_other_units_than_the_file_takes_no_branch_in() {
    let scene = given("window: 1")
        .units("a")
        .repository("git switch -q -c x && echo x > x.txt && git add x.txt && git commit -qm 'feat: x' && git switch -q main")
        .closed()
        .start();
    scene
        .verifying("a")
        .person("sed -i 's/feat: a/feat: other/' rfc.yaml");
    scene
        .call(&["queue", "add", "x", "--no-review"], 0)
        .told("or one with other units than rfc.yaml has now")
        .told("Once it has ended: pipeline run rfc.yaml");
    scene.open().ends(0).landed("a");
}

#[test]
fn who_calls_between_two_landings_is_heard_before_the_second() {
    let scene = given("window: 1, verify: none")
        .units("ab")
        .writes('a', "until [ -e STAGE/begin ]; do sleep 0.02; done")
        .before_the_swap(1, "touch STAGE/swap; until [ -e STAGE/go ]; do sleep 0.02; done")
        .start();
    // Both are in line when the second engine begins, and nothing keeps them from landing one right after the other.
    scene.until("attempt_started", Some('a'));
    scene.call(&["queue", "freeze", "--below", "1"], 0);
    scene.file("begin").ends(6).call(&["queue", "freeze", "--off"], 0);
    scene.start().until_file("swap");
    let caller = scene.calls(&["pause"]);
    scene
        .file("go")
        .hears(caller, 0)
        .told("nothing more starts or lands");
    scene.landed("a").line("b held (paused)");
    scene.call(&["resume"], 0).ends(0).landed("a b");
}

#[test]
fn a_verb_says_when_its_wish_waits_for_the_next_engine() {
    let scene = given("window: 1").units("ab").closed().ready();
    scene.start_for("a").verifying("a");
    scene
        .call(&["cancel", "b"], 0)
        .told("does not act upon it. Once it has ended: pipeline run rfc.yaml");
    scene
        .open()
        .ends(0)
        .landed("a")
        .left('b', "cancelled", "cancelled");
}
