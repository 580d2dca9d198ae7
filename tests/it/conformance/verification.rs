//! What the checks say, and whose failure it is.

use super::given;
use super::scene::Scene;

#[test]
fn a_check_that_never_ends_is_run_twice_and_then_charged_as_a_time_out() {
    let hangs = "[ -z \"$holds\" ] || sleep 60";
    let scene = given("window: 1")
        .units("a")
        .gate(hangs)
        .gate_keys("timeout: 200ms")
        .run(5);
    scene
        .landed("")
        .evicted('a', "verify_timeout")
        .verified("a a")
        .charged("a 100");
}

#[test]
fn a_time_out_and_then_a_pass_is_a_flake() {
    let hangs_once = "[ -z \"$holds\" ] || ! mkdir STAGE/once 2> /dev/null || sleep 60";
    let scene = given("window: 1")
        .units("a")
        .gate(hangs_once)
        .gate_keys("timeout: 1s")
        .run(0);
    scene.landed("a").events("flake_seen", 1).nobody_paid();
}

#[test]
fn a_check_that_fails_and_passes_on_the_same_commit_is_a_recorded_flake_and_costs_nothing() {
    let once = "[ -z \"$holds\" ] || ! mkdir STAGE/once 2> /dev/null";
    let scene = given("window: 1").units("a").gate(once).run(0);
    scene
        .landed("a")
        .told("FLAKY")
        .told("1 flake")
        .verified("a a")
        .events("flake_seen", 1)
        .nobody_paid();
    let flake = &scene.world.events("flake_seen")[0];
    assert_eq!((&flake["unit"], &flake["check"]), (&"a".into(), &"gate".into()));
}

#[test]
fn a_queue_with_an_empty_list_of_checks_is_refused_before_anything_starts() {
    let scene = given("verify: []").units("a").ready();
    scene
        .call(&["validate", "rfc.yaml"], 3)
        .call(&["run", "rfc.yaml"], 3);
    scene.told("no check");
}

#[test]
fn what_is_waived_lands_unverified_and_everybody_is_told() {
    let scene = given("verify: none").units("a").run(0);
    scene
        .landed("a")
        .told("lands unverified")
        .events("verify_started", 0);
    assert!(scene.world.events("landed")[0]["evidence"].is_null());
}

#[test]
fn a_check_that_was_not_run_after_a_failure_is_no_pass() {
    let verify = "verify: [{name: first, run: '! [ -e a.txt ]'}, {name: second, run: 'true'}]";
    let scene = given(verify).units("a").run(5);
    scene.landed("").evicted('a', "verify_failed").charged("a 100");
    let ended = scene.world.events("verify_ended");
    let failed = ended
        .iter()
        .find(|event| event["evidence"]["results"][0]["outcome"] == "failed")
        .unwrap();
    assert_eq!(failed["evidence"]["results"][1]["outcome"], "skipped");
}

#[test]
fn a_runner_that_is_stopped_says_nothing_of_the_unit() {
    let scene = given("window: 1").units("a").closed().start();
    scene.verifying("a").stop(143).is('a', "queued").nobody_paid();
    scene.open().run(0).landed("a").verified("a a").nobody_paid();
}

#[test]
fn a_machine_that_cannot_set_up_costs_a_tenth_and_is_tried_again() {
    // Its own checks are set up first, and then the queue's.
    let once = "! [ -e a.txt ] || mkdir STAGE/own 2> /dev/null || ! mkdir STAGE/once 2> /dev/null";
    let setup = format!("workspace: {{setup: [{{run: '{once}', for: [check]}}]}}");
    let scene = given("window: 1, verify: [{name: late, run: 'true'}]")
        .units("a")
        .also(&setup)
        .run(0);
    scene.landed("a").charged("a 10");
}

#[test]
fn who_breaks_the_checks_goes_back_with_the_log_and_lands_as_a_new_generation() {
    let tells = "cp \"$PIPELINE_CONTEXT/checks/gate.log\" STAGE/told";
    let scene = given("window: 1")
        .unit('a', "tier: small")
        .gate("if grep -qs '^work' a.txt; then echo 'a is not mended'; exit 1; fi")
        .mends('a', tells)
        .run(0);
    scene
        .landed("a")
        .target("a.txt", "mended work of a\n")
        .charged("a 100")
        .events("enqueued", 2);
    assert!(
        std::fs::read_to_string(scene.world.base().join("count/told"))
            .unwrap()
            .contains("not mended")
    );
    let back = scene.world.events("sent_back");
    assert_eq!((back.len(), &back[0]["reason"]), (1, &"verify_failed".into()));
    let reviews = scene.world.calls("a");
    let reviews = reviews.iter().filter(|call| call.starts_with("review")).count();
    assert_eq!(reviews, 2, "what came of the fix was reviewed");
}

#[test]
fn who_fails_again_after_a_fix_is_evicted_at_two_hundred() {
    let scene = given("window: 1").unit('a', "tier: small").bad("a").run(5);
    scene
        .landed("")
        .evicted('a', "verify_failed")
        .charged("a 200")
        .verified("a a a a");
}

/// A person breaks the target while `a` is worked on; `b` is worked on until the scenario lets it go.
fn broken_meanwhile(names: &str) -> Scene {
    let scene = given("window: 1")
        .units(names)
        .gate("if [ -e broken ]; then echo 'it is broken'; exit 1; fi")
        .writes('a', "touch STAGE/begun; until_file broken")
        .writes('b', "until_file release")
        .start();
    let breaks = "touch broken; git add broken; git commit -qm 'chore: break it'";
    scene.until_file("begun").person(breaks).file("broken");
    scene
}

const REPAIR: &str = "git rm -q broken; git commit -qm 'fix: repair it'";

#[test]
fn a_red_target_charges_nobody_and_the_run_goes_on_by_itself_once_it_is_repaired() {
    let scene = broken_meanwhile("ab");
    scene.until("base_red", None).call(&["status"], 0);
    assert_eq!(scene.entry('a')["state"], "held", "the status is the queue's own");
    scene
        .told("The queue waits: the check `gate` fails on the target itself")
        .is('a', "queued");
    scene.person(REPAIR).file("release").ends(0).told("base_red");
    scene.landed("a b").nobody_paid().events("sent_back", 0);
    scene.history("feat: b; feat: a; fix: repair it; chore: break it");
}

#[test]
fn a_red_target_ends_a_run_that_has_nothing_else_to_do_and_the_same_command_goes_on() {
    let scene = broken_meanwhile("a");
    scene.ends(6).told("base_red").is('a', "queued").landed("");
    scene.person(REPAIR).run(0).landed("a").nobody_paid();
}

#[test]
fn without_a_preflight_work_goes_on_beside_a_target_that_is_known_to_be_red() {
    let scene = broken_meanwhile("a");
    scene.ends(6);
    let theirs = "git switch -qc c; echo c > c.txt; git add .; git commit -qm 'feat: c'; git switch -q main";
    scene.person(theirs).call(&["queue", "add", "c"], 0);
    scene
        .run(6)
        .told("The check `gate` fails on the target itself")
        .is('c', "ready");
    scene.call(&["run", "rfc.yaml", "--no-preflight"], 6);
    scene.is('c', "queued").is('a', "queued").landed("").nobody_paid();
    assert_eq!(scene.world.calls("c"), ["review.1", "approve.1"]);
    // A target that was mended is noticed also so.
    scene
        .person(REPAIR)
        .call(&["run", "rfc.yaml", "--no-preflight"], 0);
    scene.landed("a c").nobody_paid();
}

#[test]
fn a_target_that_fails_what_units_are_held_against_is_told_before_anybody_works() {
    for queue in ["window: 1", "verify: none"] {
        let scene = given(queue)
            .units("a")
            .checks("[{name: test, run: '! ls brok* 2> /dev/null'}]")
            .repository("touch broken")
            .run(6);
        scene
            .told("The check `test` fails on the target itself")
            .is('a', "ready")
            .events("attempt_started", 0);
        scene.person(REPAIR).run(0).landed("a");
    }
}

#[test]
fn a_check_that_never_passed_on_the_target_is_the_units_own() {
    // Without the look at the target before the start nobody knows that its check cannot pass there.
    let scene = given("window: 1").units("ab").gate("[ -e b.txt ]").ready();
    scene.call(&["run", "rfc.yaml", "--no-preflight"], 5);
    scene
        .landed("b")
        .evicted('a', "verify_failed")
        .charged("a 100")
        .events("base_red", 0);
}

#[test]
fn a_check_of_the_units_own_is_never_the_targets_fault() {
    let checks = "checks: [{name: own, run: '! [ -e b.txt ]'}]";
    let scene = given("window: 1, verify: inherit")
        .unit('a', checks)
        .units("b")
        .joining("ba")
        .run(5);
    scene
        .landed("b")
        .evicted('a', "verify_failed")
        .charged("a 100")
        .events("base_red", 0);
    let asked = scene.world.events("verify_started");
    assert!(
        asked.iter().all(|event| event["purpose"] == "candidate"),
        "the target was not asked"
    );
}

#[test]
fn a_tree_that_passed_as_the_units_own_is_not_verified_again_to_land() {
    let scene = given("window: 1, verify: inherit")
        .units("a")
        .checks("[{name: gate, run: 'GATE'}]")
        .run(0);
    scene.landed("a").verified("a");
    let reused: Vec<_> = scene
        .world
        .events("verify_ended")
        .iter()
        .map(|event| event["reused"].clone())
        .collect();
    assert_eq!(reused, [true]);
}

#[test]
fn a_tree_that_failed_is_verified_anew_when_it_comes_again() {
    let mended = "[ -z \"$holds\" ] || [ -e STAGE/mended ]";
    let verify = "verify: [{name: fine, run: 'true'}, {name: gate, run: 'GATE'}]";
    let scene = given(verify).units("a").gate(mended).run(5);
    scene.evicted('a', "verify_failed").verified("a a");
    scene.file("mended").call(&["retry", "a"], 0).run(0);
    scene
        .landed("a")
        .verified("a a a")
        .charged("a 100")
        .events("flake_seen", 0);
}

#[test]
fn a_check_that_depends_on_history_is_asked_again_of_another_commit_with_the_same_tree() {
    let checks = |depends_on: &str| format!("[{{name: gate, run: 'GATE', depends_on: {depends_on}}}]");
    let theirs = "touch STAGE/begun; until_file moved";
    for (depends_on, verified) in [("tree", "a"), ("history", "a a")] {
        let scene = given("window: 1, verify: inherit")
            .units("a")
            .checks(&checks(depends_on))
            .writes('a', theirs)
            .start();
        let empty = "git commit -q --allow-empty -m 'docs: theirs'";
        scene.until_file("begun").person(empty).file("moved").ends(0);
        scene.landed("a").verified(verified);
    }
}

#[test]
fn what_a_check_leaves_behind_never_lands() {
    let litter = "echo litter > left.txt; git add left.txt; [ -z \"$holds\" ] || echo worse > a.txt";
    let scene = given("window: 2").units("ab").gate(litter).run(0);
    scene.landed("a b").target("a.txt", "work of a\n");
    assert!(
        !scene
            .world
            .git(&["ls-tree", "--name-only", "main"])
            .contains("left.txt")
    );
}

#[test]
fn a_clean_rebase_that_breaks_the_checks_is_the_failure_of_the_one_that_lands_later() {
    let old_way = "if grep -qs old b.txt && [ -e interface ]; then echo 'b uses what is gone'; exit 1; fi";
    let scene = given("window: 1")
        .units("a")
        .unit('b', "tier: small")
        .gate(old_way)
        .writes('a', "echo new > interface")
        .writes('b', "echo 'the old way' > b.txt")
        .mends('b', "echo 'the new way' > b.txt")
        .run(0);
    scene
        .landed("a b")
        .target("b.txt", "the new way\n")
        .charged("b 100");
}

#[test]
fn the_check_list_is_that_of_the_start_and_not_of_the_units_tree() {
    let scene = given("window: 1")
        .units("a")
        .writes('a', "sed -i 's/^queue: .*/queue: {verify: none}/' rfc.yaml")
        .bad("a")
        .run(6);
    // The pipeline file is protected, so a person has to say yes; even then this run keeps its checks.
    scene
        .told("protected paths: rfc.yaml")
        .call(&["approve", "a"], 0)
        .run(5);
    scene.landed("").evicted('a', "verify_failed").charged("a 100");
}

#[test]
fn a_machine_that_cannot_set_up_is_waited_for_and_what_it_holds_up_lands_when_it_is_mended() {
    let broken = "! [ -e a.txt ] || [ -e STAGE/mended ] || mkdir STAGE/own 2> /dev/null";
    let setup = format!("workspace: {{setup: [{{run: '{broken}', for: [check]}}]}}");
    let scene = given("window: 1, verify: [{name: late, run: 'true'}]")
        .units("a")
        .also(&setup)
        .start();
    scene.until_times("entry_charged", 2).until_stands('a', "held");
    scene.line("a held (backoff)").charged("a 20");
    let why = scene.why('a')["standing"]["sentence"].to_string();
    assert!(
        why.contains("the checks could not be run 2 times in a row"),
        "{why}"
    );
    scene.file("mended").ends(0);
    scene.landed("a").events("verify_started", 3);
}

#[test]
fn what_a_check_leaves_running_ends_with_it() {
    let leaves = "setsid sh -c 'echo $$ > STAGE/pid; sleep 600' > /dev/null 2>&1 & until [ -s STAGE/pid ]; do sleep 0.01; done";
    let scene = given("window: 1").units("a").gate(leaves).run(0);
    scene
        .landed("a")
        .person("! kill -0 $(cat STAGE/pid) 2> /dev/null");
}

#[test]
fn checks_that_use_the_same_resource_run_one_after_another() {
    let scene = given("window: 3")
        .units("abc")
        .gate_keys("exclusive: [db]")
        .closed()
        .start();
    // Two could begin beside the first, and do not.
    scene
        .verifying("a")
        .until_times("candidate_built", 3)
        .open()
        .ends(0);
    scene.landed("a b c").side_by_side(1).nobody_paid();
}

#[test]
fn each_list_of_checks_has_its_time_in_the_preflight() {
    let scene = given("window: 1")
        .units("a")
        .checks("[{name: slow, run: sleep 2}]")
        .gate("sleep 2")
        .stage_timeout("3s");
    scene.run(0).landed("a");
}
