//! The queue's verbs over the real binary and real git: who sees what, and what the next run makes of a wish.

use serde_json::Value;

use crate::window::{exists, queue_all, ready, touch};
use crate::world::World;

/// `queue --json`.
fn queue(world: &World) -> Value {
    serde_json::from_str(&world.expect(&["queue", "--json"], 0).out).unwrap()
}

/// Unit, state and code of every entry, in order.
fn line(world: &World) -> Vec<(String, String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let queue = queue(world);
    let entries = queue["entries"].as_array().unwrap();
    entries
        .iter()
        .map(|entry| {
            (
                text(&entry["unit"]),
                text(&entry["state"]),
                text(&entry["standing"]["code"]),
            )
        })
        .collect()
}

/// The same for comparison.
fn entries(rows: &[(&str, &str, &str)]) -> Vec<(String, String, String)> {
    rows.iter()
        .map(|(unit, state, code)| ((*unit).to_owned(), (*state).to_owned(), (*code).to_owned()))
        .collect()
}

#[test]
fn the_queue_is_listed_with_positions_reasons_and_what_each_waits_for() {
    let world = ready("window: 2", "abc", "");
    let engine = queue_all(&world, "abc");
    world.wait_until("two are verified", || exists(&world, "gate.ab"));
    assert_eq!(
        line(&world),
        entries(&[
            ("a", "verifying", "verifying"),
            ("b", "verifying", "verifying"),
            ("c", "queued", "queued")
        ])
    );
    let last = queue(&world)["entries"][2].clone();
    assert_eq!(last["position"], 3);
    assert_eq!(last["eta_ms"], Value::Null, "nothing was verified yet");
    assert_eq!(last["standing"]["waits_for"][0]["name"], "b");
    let told = world.expect(&["queue"], 0).out;
    assert!(told.contains("2 units are ahead of it"), "{told}");
    assert!(told.contains("ETA unknown"), "{told}");
    touch(&world, "open");
    world.expect_end(engine, 0);
    assert_eq!(line(&world), []);
    assert!(queue(&world)["eta"]["median_ms"].as_u64().is_some());
    assert!(world.expect(&["queue"], 0).out.contains("The queue is empty"));
}

#[test]
fn without_a_run_there_is_no_queue() {
    let said = World::new().expect(&["queue"], 4);
    assert!(said.err.contains("no run in this repository yet"), "{}", said.err);
    assert!(said.err.contains("pipeline run FILE"), "{}", said.err);
}

/// A run of three units in line whose engine was killed while the first is verified; the checks pass from now on. `b` has
/// a priority of its own.
fn in_line(b: &str) -> World {
    let world = ready("window: 1", "abc", "");
    if !b.is_empty() {
        let text = world.read("rfc.yaml");
        let with = format!("{{{b}title: 'feat: b'");
        world.write("rfc.yaml", &text.replace("{title: 'feat: b'", &with));
        world.commit("chore: priorities");
    }
    let mut engine = queue_all(&world, "abc");
    world.wait_until("one is verified", || exists(&world, "gate.a"));
    engine.kill().unwrap();
    engine.wait().unwrap();
    touch(&world, "open");
    world
}

/// The titles of what landed, the first first.
fn landed(world: &World) -> Vec<String> {
    let log = world.git(&["log", "--reverse", "--format=%s"]);
    let titles = log.lines().filter_map(|title| title.strip_prefix("feat: "));
    titles.map(str::to_owned).collect()
}

/// Everything is as the journal says, and nothing is left behind.
fn assert_sound(world: &World) {
    world.expect(&["doctor", "--strict"], 0);
    world.assert_clean();
}

#[test]
fn a_paused_run_starts_and_lands_nothing_until_it_is_resumed() {
    let world = in_line("");
    let said = world.expect(&["pause"], 0);
    assert!(said.out.contains("Next: pipeline resume"), "{}", said.out);
    assert_eq!(
        line(&world),
        entries(&[
            ("a", "held", "paused"),
            ("b", "held", "paused"),
            ("c", "held", "paused")
        ])
    );
    let runs = world.events("verify_started").len();
    let said = world.expect(&["run", "rfc.yaml"], 6);
    assert!(
        said.out.contains("`pipeline resume` lifts the pause"),
        "{}",
        said.out
    );
    assert_eq!(
        (landed(&world).len(), world.events("verify_started").len()),
        (0, runs)
    );
    let status = world.status();
    assert_eq!(status["run"]["state"], "paused");
    assert_eq!(status["run"]["paused"], true);
    assert!(world.expect(&["status"], 0).out.contains("Next: pipeline resume"));
    assert!(world.expect(&["pause"], 0).out.contains("paused already"));

    let said = world.expect(&["resume"], 0);
    assert!(said.out.contains("Next: pipeline run rfc.yaml"), "{}", said.out);
    assert_eq!(world.status()["run"]["state"], "interrupted");
    world.expect(&["run", "rfc.yaml"], 0);
    assert_eq!(landed(&world), ["a", "b", "c"]);
    assert_sound(&world);
}

#[test]
fn a_freeze_holds_who_is_below_it_and_lands_who_is_not() {
    let world = in_line("priority: 5, ");
    let said = world.expect(&["queue", "freeze", "--below", "5"], 0);
    assert!(said.out.contains("it holds `a`, `c`"), "{}", said.out);
    let said = world.expect(&["run", "rfc.yaml"], 6);
    assert!(
        said.out.contains("`pipeline queue freeze --off` lifts"),
        "{}",
        said.out
    );
    assert_eq!(landed(&world), ["b"]);
    assert_eq!(
        line(&world),
        entries(&[("a", "held", "frozen"), ("c", "held", "frozen")])
    );
    assert!(
        world
            .expect(&["queue", "freeze", "--below", "5"], 0)
            .out
            .contains("already")
    );

    world.expect(&["queue", "freeze", "--off"], 0);
    assert!(
        world
            .expect(&["queue", "freeze", "--off"], 0)
            .out
            .contains("is not frozen")
    );
    world.expect(&["run", "rfc.yaml"], 0);
    assert_eq!(landed(&world), ["b", "a", "c"]);
    assert_sound(&world);
}

#[test]
fn who_is_put_on_top_goes_next_and_with_an_interruption_at_once() {
    for (interrupt, order) in [(None, ["a", "c", "b"]), (Some("--interrupt"), ["c", "a", "b"])] {
        let world = in_line("");
        let args: Vec<&str> = ["queue", "top", "c"].into_iter().chain(interrupt).collect();
        let said = world.expect(&args, 0);
        assert!(
            said.out.contains("`c` goes next, with priority 1"),
            "{}",
            said.out
        );
        assert!(said.out.contains("Next: pipeline run rfc.yaml"), "{}", said.out);
        assert!(
            world
                .expect(&["queue", "top", "c"], 0)
                .out
                .contains("the next already")
        );
        world.expect(&["run", "rfc.yaml"], 0);
        assert_eq!(landed(&world), order);
        assert_sound(&world);
    }
}

#[test]
fn a_unit_that_is_cancelled_in_the_queue_leaves_it_and_can_be_brought_back() {
    let world = in_line("");
    let said = world.expect(&["cancel", "a"], 0);
    assert!(
        said.out.contains("`pipeline retry a` brings it back"),
        "{}",
        said.out
    );
    let unit = world.unit("a");
    assert_eq!(
        (&unit["state"], &unit["reason"]),
        (&"cancelled".into(), &"cancelled".into())
    );
    let again = world.expect(&["cancel", "a"], 2);
    assert!(again.err.contains("it has left the run already"), "{}", again.err);
    world.expect(&["run", "rfc.yaml"], 0);
    assert_eq!(landed(&world), ["b", "c"]);
    world.expect(&["retry", "a"], 0);
    world.expect(&["run", "rfc.yaml"], 0);
    assert_eq!(landed(&world), ["b", "c", "a"]);
    assert_sound(&world);
}

#[test]
fn while_an_engine_runs_the_verbs_say_who_has_the_repository() {
    let world = ready("window: 1", "a", "");
    let engine = queue_all(&world, "a");
    for args in [
        &["pause"] as &[&str],
        &["resume"],
        &["cancel", "a"],
        &["queue", "top", "a"],
        &["queue", "freeze", "--below", "1"],
    ] {
        let said = world.expect(args, 7);
        assert!(said.err.contains("pipeline run"), "{}", said.err);
    }
    assert_eq!(line(&world).len(), 1, "readers need nobody's leave");
    touch(&world, "open");
    world.expect_end(engine, 0);
    assert_sound(&world);
}

#[test]
fn what_cannot_be_is_refused_with_its_place_and_the_way_on() {
    let world = in_line("");
    for (args, code, told) in [
        (&["queue", "top", "aa"] as &[&str], 4, "`pipeline status` lists the units"),
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
        let said = world.expect(args, code);
        assert!(said.err.contains(told), "{args:?}: {}", said.err);
    }
    world.expect(&["cancel", "b"], 0);
    let said = world.expect(&["queue", "top", "b"], 2);
    assert!(said.err.contains("only a unit in the queue"), "{}", said.err);
    assert!(
        world
            .expect(&["queue", "freeze", "--below", "-3"], 0)
            .out
            .contains("below priority -3")
    );
    world.expect(&["run", "rfc.yaml"], 0);
    for args in [&["pause"] as &[&str], &["queue", "freeze", "--below", "1"]] {
        let said = world.expect(args, 2);
        assert!(said.err.contains("is finished"), "{}", said.err);
    }
    let empty = World::new();
    for args in [
        &["pause"] as &[&str],
        &["resume"],
        &["cancel", "a"],
        &["queue", "top", "a"],
    ] {
        let said = empty.expect(args, 4);
        assert!(said.err.contains("no run in this repository yet"), "{}", said.err);
    }
}

/// `why UNIT --json`.
fn why(world: &World, unit: &str) -> Value {
    serde_json::from_str(&world.expect(&["why", unit, "--json"], 0).out).unwrap()
}

/// The sentences of its history.
fn told(why: &Value) -> Vec<&str> {
    let history = why["history"].as_array().unwrap();
    history
        .iter()
        .map(|one| one["sentence"].as_str().unwrap())
        .collect()
}

/// Whether these are among them, in this order.
fn in_order(told: &[&str], parts: &[&str]) -> bool {
    let mut told = told.iter();
    parts
        .iter()
        .all(|part| told.any(|sentence| sentence.contains(part)))
}

#[test]
fn why_tells_what_an_entry_waits_for_and_what_brought_it_there() {
    let world = in_line("");
    let waits = why(&world, "c");
    assert_eq!(
        (&waits["state"], &waits["queue"]["position"]),
        (&"queued".into(), &3.into())
    );
    let waits_for = &waits["standing"]["waits_for"];
    assert_eq!(
        (&waits_for[0]["name"], &waits_for[1]["kind"]),
        (&"b".into(), &"engine".into())
    );
    assert!(
        in_order(
            &told(&waits),
            &["work began on", "was approved", "it joined the queue"]
        ),
        "{waits}"
    );
    world.expect(&["queue", "freeze", "--below", "1"], 0);
    let held = why(&world, "c");
    assert_eq!(held["standing"]["code"], "frozen");
    assert_eq!(held["standing"]["waits_for"][0]["kind"], "person");
    let text = world.expect(&["why", "c"], 0).out;
    for part in [
        "Why         frozen: a person froze the queue below priority 1",
        "Waits for   a person",
        "`pipeline queue top c` lets one unit pass",
        "a person froze the queue below priority 1",
    ] {
        assert!(text.contains(part), "{part}\n{text}");
    }
    world.expect(&["queue", "freeze", "--off"], 0);
    world.expect(&["run", "rfc.yaml"], 0);
    let landed = why(&world, "a");
    let parts = [
        "it was put onto",
        "its checks began",
        "its checks ended: 1 check passed",
        "it landed as",
    ];
    assert!(in_order(&told(&landed), &parts), "{landed}");
    assert_eq!(landed["standing"]["waits_for"], Value::Array(Vec::new()));
}

#[test]
fn why_tells_of_units_that_are_not_in_the_queue() {
    let (world, landed, evicted) = World::with_conflict();
    let gone = why(&world, &evicted);
    assert_eq!(gone["standing"]["code"], "conflict_target");
    let remedy = gone["standing"]["remedy"].as_str().unwrap();
    assert!(
        remedy.contains(&format!("pipeline resolve {evicted}")),
        "{remedy}"
    );
    assert!(
        in_order(
            &told(&gone),
            &[
                "it joined the queue",
                "it could not be put there: shared.txt",
                "it left the queue, conflict_target"
            ]
        ),
        "{gone}"
    );
    assert!(
        told(&why(&world, &landed))
            .last()
            .unwrap()
            .starts_with("it landed as")
    );
    let said = world.expect(&["why", "nobody"], 4);
    assert!(said.err.contains("has no unit `nobody`"), "{}", said.err);
}

#[test]
fn why_tells_of_gates_and_of_units_that_wait_for_others() {
    let world = World::new();
    world.file(
        "",
        "  first: {title: 'feat: first', prompt: x, tier: gated}\n  second: {title: 'feat: second', prompt: x, tier: trivial, needs: [first]}\n",
    );
    let tiers =
        "tiers: {gated: {implement: {agent: author}, approve: {by: human, needs: [implement]}}}\nunits:";
    let text = world.read("rfc.yaml").replace("units:", tiers);
    world.write("rfc.yaml", &text);
    world.commit("chore: plan");
    world.expect(&["run", "rfc.yaml"], 6);
    let gated = why(&world, "first");
    assert_eq!(gated["standing"]["code"], "gated");
    assert_eq!(gated["standing"]["waits_for"][0]["kind"], "person");
    assert!(
        in_order(
            &told(&gated),
            &["`implement` (round 1, attempt 1) ended", "a person is asked"]
        ),
        "{gated}"
    );
    let waiting = why(&world, "second");
    assert_eq!(waiting["standing"]["waits_for"][0]["name"], "first");
    world.expect(&["cancel", "first"], 0);
    world.expect(&["run", "rfc.yaml"], 5);
    let blocked = why(&world, "second");
    assert_eq!(blocked["standing"]["code"], "dependency_evicted");
    assert!(
        in_order(
            &told(&blocked),
            &[
                "`first`, which it needs, left (cancelled)",
                "`first`, which it needs, will not land"
            ]
        ),
        "{blocked}"
    );
    assert_sound(&world);
}

#[test]
fn a_queue_in_which_nothing_lands_raises_an_alarm_that_run_status_and_json_tell() {
    let world = ready("window: 1, stall_alarm: 1s", "ab", "");
    let engine = queue_all(&world, "ab");
    world.wait_until("an alarm is raised", || !world.events("queue_stalled").is_empty());
    let status = world.status();
    assert!(status["run"]["stalled_since"].is_string(), "{status}");
    for verb in ["status", "queue"] {
        let text = world.expect(&[verb], 0).out;
        assert!(text.contains("STALLED: nothing has landed for"), "{text}");
        assert!(text.contains("`a`, the first, is verifying"), "{text}");
    }
    assert!(
        told(&why(&world, "b"))
            .iter()
            .any(|one| one.starts_with("an alarm:"))
    );
    touch(&world, "open");
    let said = world.expect_end(engine, 0);
    let line = said.out.lines().find(|line| line.contains("STALLED")).unwrap();
    assert!(line.contains("nothing has landed for"), "{line}");
    assert_eq!(world.status()["run"]["stalled_since"], Value::Null, "both landed");
    assert_sound(&world);
}
