//! What people ask of the queue: to see it, to hold it, to put something on top, to take something out, and why.

use serde_json::Value;

use super::given;
use super::given::Given;
use super::scene::Scene;

/// Three units in line whose engine was killed while the first was verified; the queue's check passes from now on.
fn cut_off(given: Given) -> Scene {
    let scene = given.closed().start();
    scene.verifying("a").in_line("abc").kill().open();
    scene
}

fn three_in_line() -> Scene {
    cut_off(given("window: 1").units("abc"))
}

#[test]
fn the_queue_is_listed_with_positions_reasons_and_what_each_waits_for() {
    let scene = given("window: 2").units("abc").closed().start();
    scene
        .verifying("a ab")
        .in_line("c")
        .line("a verifying, b verifying, c queued");
    let last = scene.queue()["entries"][2].clone();
    assert_eq!(last["position"], 3);
    assert_eq!(last["eta_ms"], Value::Null, "nothing was verified yet");
    assert_eq!(last["standing"]["waits_for"][0]["name"], "b");
    scene
        .call(&["queue"], 0)
        .told("2 units are ahead of it")
        .told("ETA unknown");
    scene.open().ends(0).landed("a b c").line("");
    assert!(scene.queue()["eta"]["median_ms"].as_u64().is_some());
    scene.call(&["queue"], 0).told("The queue is empty");
}

#[test]
fn without_a_run_there_is_no_queue() {
    let scene = given("window: 1").units("a").ready();
    scene.call(&["queue"], 4).told("pipeline run FILE");
    for verb in [
        &["queue"] as &[&str],
        &["pause"],
        &["resume"],
        &["cancel", "a"],
        &["queue", "top", "a"],
    ] {
        scene.call(verb, 4).told("no run in this repository yet");
    }
}

#[test]
fn a_paused_run_starts_and_lands_nothing_until_it_is_resumed() {
    let scene = three_in_line();
    scene.call(&["pause"], 0).told("Next: pipeline resume");
    scene.line("a held (paused), b held (paused), c held (paused)");
    scene
        .run(6)
        .told("`pipeline resume` lifts the pause")
        .landed("")
        .verified("a");
    let run = &scene.world.status()["run"];
    assert_eq!((&run["state"], &run["paused"]), (&"paused".into(), &true.into()));
    scene.call(&["status"], 0).told("Next: pipeline resume");
    scene.call(&["pause"], 0).told("paused already");

    scene.call(&["resume"], 0).told("Next: pipeline run rfc.yaml");
    assert_eq!(scene.world.status()["run"]["state"], "interrupted");
    scene.run(0).landed("a b c").nobody_paid();
}

#[test]
fn a_freeze_holds_who_is_below_it_and_lands_who_is_not() {
    let scene = cut_off(given("window: 1").units("a").unit('b', "priority: 5").units("c"));
    let freeze = ["queue", "freeze", "--below", "5"];
    scene.call(&freeze, 0).told("it holds `a`, `c`");
    scene
        .run(6)
        .told("`pipeline queue freeze --off` lifts")
        .landed("b")
        .line("a held (frozen), c held (frozen)");
    scene.call(&freeze, 0).told("already");
    let thaw = ["queue", "freeze", "--off"];
    scene.call(&thaw, 0).call(&thaw, 0).told("is not frozen");
    scene.run(0).landed("b a c").nobody_paid();
}

#[test]
fn who_is_put_on_top_passes_a_freeze_and_the_others_wait_for_the_thaw() {
    let scene = three_in_line();
    scene
        .call(&["queue", "freeze", "--below", "1"], 0)
        .call(&["queue", "top", "c"], 0)
        .run(6);
    scene.landed("c").line("a held (frozen), b held (frozen)");
    scene
        .call(&["queue", "freeze", "--off"], 0)
        .run(0)
        .landed("c a b");
}

#[test]
fn who_is_put_on_top_goes_next_and_with_an_interruption_at_once() {
    for (interrupt, order) in [(None, "a c b"), (Some("--interrupt"), "c a b")] {
        let scene = three_in_line();
        let top: Vec<&str> = ["queue", "top", "c"].into_iter().chain(interrupt).collect();
        scene
            .call(&top, 0)
            .told("`c` goes next, with priority 1")
            .told("Next: pipeline run rfc.yaml");
        scene.call(&["queue", "top", "c"], 0).told("the next already");
        scene.run(0).landed(order).nobody_paid();
    }
}

#[test]
fn a_unit_that_is_cancelled_in_the_queue_leaves_it_and_can_be_brought_back() {
    let scene = three_in_line();
    scene
        .call(&["cancel", "a"], 0)
        .told("`pipeline retry a` brings it back")
        .left('a', "cancelled", "cancelled");
    scene
        .call(&["cancel", "a"], 2)
        .told("it has left the run already");
    scene.run(0).landed("b c").call(&["retry", "a"], 0).run(0);
    scene.landed("b c a").nobody_paid();
}

#[test]
fn what_stood_on_a_unit_that_is_given_up_is_verified_without_it() {
    for verb in ["cancel", "discard"] {
        let scene = given("window: 3").units("abc").closed().start();
        scene.verifying("a ab abc").kill().call(&[verb, "b"], 0);
        scene.line("a integrated, c queued").open().run(0);
        scene.landed("a c").is('b', "cancelled");
        scene.verified("a ab abc a ac").nobody_paid();
    }
}

#[test]
fn what_cannot_be_is_refused_with_its_place_and_the_way_on() {
    let scene = three_in_line();
    for (verb, code, told) in [
        (&["queue", "top", "aa"] as &[&str], 4, "has no unit `aa`"),
        (&["cancel", "zebra"], 4, "has no unit `zebra`"),
        (
            &["queue", "freeze", "--below", "high"],
            2,
            "a priority is a whole number",
        ),
        (&["queue", "freeze"], 2, "--below"),
        (
            &["queue", "freeze", "--below", "1", "--off"],
            2,
            "cannot be used with",
        ),
        (&["queue", "top", "a", "--run", "other"], 4, "no run `other`"),
    ] {
        scene.call(verb, code).told(told);
    }
    scene
        .call(&["cancel", "b"], 0)
        .call(&["queue", "top", "b"], 2)
        .told("only a unit in the queue");
    scene
        .call(&["queue", "freeze", "--below", "-3"], 0)
        .told("below priority -3");
    scene.run(0).landed("a c");
    for verb in [&["pause"] as &[&str], &["queue", "freeze", "--below", "1"]] {
        scene.call(verb, 2).told("is finished");
    }
}

#[test]
fn why_tells_what_an_entry_waits_for_and_what_brought_it_there() {
    let scene = three_in_line();
    let waits = scene.why('c');
    assert_eq!(
        (&waits["state"], &waits["queue"]["position"]),
        (&"queued".into(), &3.into())
    );
    let waits_for = &waits["standing"]["waits_for"];
    assert_eq!(
        (&waits_for[0]["name"], &waits_for[1]["kind"]),
        (&"b".into(), &"engine".into())
    );
    scene.came_to_pass('c', &["work began on", "was approved", "it joined the queue"]);

    scene.call(&["queue", "freeze", "--below", "1"], 0);
    let held = &scene.why('c')["standing"];
    assert_eq!(
        (&held["code"], &held["waits_for"][0]["kind"]),
        (&"frozen".into(), &"person".into())
    );
    scene
        .call(&["why", "c"], 0)
        .told("Why         frozen: a person froze the queue below priority 1")
        .told("Waits for   a person")
        .told("`pipeline queue top c` lets one unit pass");

    scene.call(&["queue", "freeze", "--off"], 0).run(0);
    let parts = [
        "it was put onto",
        "its checks began",
        "its checks ended: 1 check passed",
        "it landed as",
    ];
    scene.landed("a b c").came_to_pass('a', &parts);
    assert_eq!(scene.why('a')["standing"]["waits_for"], Value::Array(Vec::new()));
}

#[test]
fn why_tells_of_who_left_and_of_nobody() {
    let scene = given("window: 1, on_conflict: evict")
        .units("ab")
        .writes('a', "echo a > shared")
        .writes('b', "echo b > shared")
        .run(5);
    let gone = &scene.why('b')["standing"];
    assert_eq!(gone["code"], "conflict_target");
    let remedy = gone["remedy"].as_str().unwrap();
    assert!(remedy.contains("pipeline resolve b"), "{remedy}");
    let parts = [
        "it joined the queue",
        "it could not be put there: shared",
        "it left the queue, conflict_target",
    ];
    scene
        .came_to_pass('b', &parts)
        .came_to_pass('a', &["it landed as"]);
    scene.call(&["why", "nobody"], 4).told("has no unit `nobody`");
}

#[test]
fn why_tells_of_gates_and_of_units_that_wait_for_others() {
    let tiers = "tiers: {gated: {implement: {agent: author}, approve: {by: human, needs: [implement]}}}";
    let scene = given("window: 1")
        .also(tiers)
        .unit('a', "tier: gated")
        .unit('b', "needs: [a]")
        .run(6);
    let gated = &scene.why('a')["standing"];
    assert_eq!(
        (&gated["code"], &gated["waits_for"][0]["kind"]),
        (&"gated".into(), &"person".into())
    );
    let parts = ["`implement` (round 1, attempt 1) ended", "a person is asked"];
    scene.came_to_pass('a', &parts);
    assert_eq!(scene.why('b')["standing"]["waits_for"][0]["name"], "a");

    scene.call(&["cancel", "a"], 0).run(5);
    assert_eq!(scene.why('b')["standing"]["code"], "dependency_evicted");
    let parts = [
        "`a`, which it needs, left (cancelled)",
        "`a`, which it needs, will not land",
    ];
    scene.came_to_pass('b', &parts).landed("");
}

#[test]
fn a_queue_in_which_nothing_lands_raises_an_alarm_that_run_status_and_json_tell() {
    let scene = given("window: 1, stall_alarm: 1s").units("ab").closed().start();
    scene.verifying("a").in_line("b").until("queue_stalled", None);
    assert!(scene.world.status()["run"]["stalled_since"].is_string());
    for verb in ["status", "queue"] {
        scene
            .call(&[verb], 0)
            .told("STALLED: nothing has landed for")
            .told("`a`, the first, is verifying");
    }
    scene.came_to_pass('b', &["an alarm:"]).open().ends(0);
    scene.told("STALLED").landed("a b");
    assert_eq!(
        scene.world.status()["run"]["stalled_since"],
        Value::Null,
        "both landed"
    );
}
