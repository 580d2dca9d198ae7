//! The queue with a window and with batches, over real git: who is verified on top of whom, and what lands.

use std::process::Child;

use serde_json::Value;

use crate::world::World;

/// An author whose unit is in line only after the one it is told to wait for.
const AUTHOR: &str = r#"
set -eu
after=$(echo "$ORDER" | sed -n "s/.*\([a-z]\)$PIPELINE_UNIT.*/\1/p")
while [ -n "$after" ] && ! [ -e "$COUNT_DIR/queued.$after" ]; do sleep 0.02; done
echo "work of $PIPELINE_UNIT" > "$PIPELINE_UNIT.txt"
echo '{"summary":"done"}' > "$PIPELINE_RESULT"
"#;

/// The queue's check. It tells by a file `gate.<units>` what it runs on, waits for the file `open`, and fails where one of
/// the bad units is.
const GATE: &str = r#"
set -eu
dir=$1
holds=$(ls | grep '^[a-d]\.txt$' | sed 's/\.txt//' | paste -sd '' - || true)
[ -n "$holds" ] || exit 0
touch "$dir/gate.$holds"
while ! [ -e "$dir/open" ]; do sleep 0.02; done
for name in $2; do ! [ -e "$name.txt" ]; done
"#;

/// A repository with units of these names, which join the queue in this order, and one of them bad.
pub(crate) fn ready(queue: &str, names: &str, bad: &str) -> World {
    let mut world = World::new();
    world.write("agents/author.sh", AUTHOR);
    world.write("agents/gate.sh", GATE);
    let units: String = names
        .chars()
        .map(|name| format!("  {name}: {{title: 'feat: {name}', prompt: x, tier: trivial}}\n"))
        .collect();
    world.file("", &units);
    let dir = world.base().join("count");
    let verify = format!(
        "[{{name: gate, run: \"sh agents/gate.sh {} '{bad}'\"}}]",
        dir.display()
    );
    let text = world
        .read("rfc.yaml")
        .replace("pass_env: [COUNT_DIR]", "pass_env: [COUNT_DIR, ORDER]")
        .replace(
            "checks:",
            &format!("queue: {{{queue}, verify: {verify}}}\nchecks:"),
        );
    world.write("rfc.yaml", &text);
    world.commit("chore: plan");
    world.set("ORDER", names);
    world
}

/// Runs until every unit is in line, each only when the one before it is.
pub(crate) fn queue_all(world: &World, names: &str) -> Child {
    let engine = world.start(&["run", "rfc.yaml"]);
    for name in names.chars() {
        world.wait_until("it is in line", || {
            world.unit_state(&name.to_string()) == "queued"
        });
        touch(world, &format!("queued.{name}"));
    }
    engine
}

pub(crate) fn touch(world: &World, name: &str) {
    std::fs::write(world.base().join("count").join(name), "").unwrap();
}

pub(crate) fn exists(world: &World, name: &str) -> bool {
    world.base().join("count").join(name).exists()
}

fn queue_of(world: &World, unit: &str) -> Value {
    world.unit(unit)["queue"].clone()
}

#[test]
fn a_bad_unit_in_the_middle_of_the_window_is_put_out_and_the_one_behind_it_lands() {
    let world = ready("window: 3", "abc", "b");
    let engine = queue_all(&world, "abc");
    for gate in ["gate.a", "gate.ab", "gate.abc"] {
        world.wait_until("three candidates are verified side by side", || {
            exists(&world, gate)
        });
    }
    for (unit, position) in [("a", 1), ("b", 2), ("c", 3)] {
        let entry = queue_of(&world, unit);
        assert_eq!(
            (entry["state"].as_str(), entry["position"].as_i64()),
            (Some("verifying"), Some(position))
        );
    }
    touch(&world, "open");
    world.expect_end(engine, 5);

    for (unit, state) in [("a", "landed"), ("b", "evicted"), ("c", "landed")] {
        assert_eq!(world.unit(unit)["state"], state, "{unit}");
    }
    assert_eq!(world.unit("b")["reason"], "verify_failed");
    assert_eq!(world.git(&["log", "--format=%s", "-2"]), "feat: c\nfeat: a\n");
    assert!(exists(&world, "gate.ac"), "what landed last was verified as that");
    let charged = world.events("entry_charged");
    assert_eq!(charged.len(), 1, "{charged:?}");
    assert_eq!(
        (&charged[0]["unit"], &charged[0]["charge"]),
        (&"b".into(), &100.into())
    );
    world.expect(&["doctor", "--strict"], 0);
    world.assert_clean();
}

#[test]
fn a_unit_that_conflicts_with_one_ahead_is_held_in_place_while_the_next_one_is_verified() {
    let world = ready("window: 3", "abc", "a");
    let author = world.read("agents/author.sh");
    world.write(
        "agents/author.sh",
        &(author + "[ \"$PIPELINE_UNIT\" = c ] || echo \"$PIPELINE_UNIT\" > shared\n"),
    );
    world.commit("chore: two change the same file");
    let engine = queue_all(&world, "abc");
    world.wait_until("the third is verified without the second", || {
        exists(&world, "gate.ac")
    });
    let entry = queue_of(&world, "b");
    assert_eq!(entry["state"], "held");
    assert_eq!(
        entry["held"],
        "it conflicts with `a`, ahead in the queue, in shared"
    );
    touch(&world, "open");
    let said = world.expect_end(engine, 5);
    for (unit, state) in [("a", "evicted"), ("b", "landed"), ("c", "landed")] {
        assert_eq!(world.unit(unit)["state"], state, "{unit}");
    }
    assert!(said.out.contains("HELD"));
    world.assert_clean();
}

#[test]
fn a_batch_lands_in_one_move_and_a_bad_one_is_bisected() {
    for (bad, landings) in [("", vec!["a", "bcd"]), ("c", vec!["a", "b", "d"])] {
        let world = ready("window: 1, batch: 3", "abcd", bad);
        let engine = queue_all(&world, "abcd");
        touch(&world, "open");
        world.expect_end(engine, if bad.is_empty() { 0 } else { 5 });
        let landed = world.events("landed");
        let sets: Vec<String> = landed
            .iter()
            .map(|event| {
                let units = event["units"].as_array().unwrap();
                units.iter().map(|unit| unit["unit"].as_str().unwrap()).collect()
            })
            .collect();
        assert_eq!(sets, landings);
        let unverified: Vec<bool> = landed[1]["units"]
            .as_array()
            .unwrap()
            .iter()
            .map(|unit| unit["unverified"] == true)
            .collect();
        assert_eq!(
            unverified,
            if bad.is_empty() {
                vec![true, true, false]
            } else {
                vec![false]
            }
        );
        if !bad.is_empty() {
            assert_eq!(world.unit(bad)["reason"], "dropped_by_bisection");
        }
        world.expect(&["doctor", "--strict"], 0);
        world.assert_clean();
    }
}
