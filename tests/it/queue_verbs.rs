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
