//! `exclusive` over real processes: what it names is never used twice at a time, and the rest goes on meanwhile.

use std::path::PathBuf;

use rustix::process::{Pid, Signal, kill_process};

use crate::world::World;

/// Uses the resource `db`, and tells when somebody else does. The lock goes with its process, however that ends.
const USE: &str = r#"
exec 9>"$1/db"
flock -n 9 || touch "$1/overlap"
"#;

/// Units other than `free` use the resource. `one` goes on when `$PARTNER` has begun beside it, `free` when `one` has.
const AUTHOR: &str = r#"
set -eu
set -- "$COUNT_DIR"
[ "$PIPELINE_UNIT" = free ] || . ./agents/use.sh
touch "$COUNT_DIR/began.$PIPELINE_UNIT"
case "$PIPELINE_UNIT" in one) other=$PARTNER ;; free) other=one ;; *) other=$PIPELINE_UNIT ;; esac
while ! [ -e "$COUNT_DIR/began.$other" ]; do sleep 0.02; done
echo "work of $PIPELINE_UNIT" > "$PIPELINE_UNIT.txt"
echo '{"summary":"done"}' > "$PIPELINE_RESULT"
"#;

const EXCLUSIVE: &str = ", exclusive: [db]";

/// Three units, two of which use the resource, as does a check; with `exclusive` written as these keys.
fn ready(of_unit: &str, of_check: &str, partner: &str) -> World {
    let mut world = World::new();
    world.write("agents/use.sh", USE);
    world.write("agents/author.sh", AUTHOR);
    let unit =
        |id: &str, more: &str| format!("  {id}: {{title: 'feat: {id}', prompt: x, tier: trivial{more}}}\n");
    world.file(
        "",
        &(unit("one", of_unit) + &unit("two", of_unit) + &unit("free", "")),
    );
    let check = format!(
        "\"set -- {}; . ./agents/use.sh; sleep 0.05\"{of_check}",
        world.base().join("count").display()
    );
    let text = world
        .read("rfc.yaml")
        .replace("pass_env: [COUNT_DIR]", "pass_env: [COUNT_DIR, PARTNER]")
        .replace("\"test -f README\"", &check);
    world.write("rfc.yaml", &text);
    world.commit("chore: plan");
    world.set("PARTNER", partner);
    world
}

fn told(world: &World, name: &str) -> PathBuf {
    world.base().join("count").join(name)
}

fn assert_all_landed(world: &World) {
    for unit in ["one", "two", "free"] {
        assert_eq!(world.unit(unit)["state"], "landed");
    }
}

#[test]
fn a_resource_is_used_by_one_process_at_a_time_and_others_go_on_beside_it() {
    let world = ready(EXCLUSIVE, EXCLUSIVE, "free");
    let plan = world.expect(&["plan", "rfc.yaml"], 0);
    assert!(plan.out.contains("db: one, two, check test\n"), "{}", plan.out);
    world.expect(&["run", "rfc.yaml"], 0);
    assert!(!told(&world, "overlap").exists());
    assert_all_landed(&world);
}

#[test]
fn without_it_the_same_units_get_in_each_others_way() {
    let world = ready("", "", "two");
    world.expect(&["run", "rfc.yaml"], 0);
    assert!(told(&world, "overlap").exists(), "an overlap would be told");
}

#[test]
fn what_a_killed_engine_held_is_free_for_the_next_one_and_for_nobody_before() {
    let world = ready(EXCLUSIVE, EXCLUSIVE, "the-end");
    let mut engine = world.start(&["run", "rfc.yaml"]);
    world.wait_until("the resource is held", || told(&world, "began.one").exists());
    kill_process(Pid::from_child(&engine), Signal::KILL).unwrap();
    engine.wait().unwrap();
    std::fs::write(told(&world, "began.the-end"), "").unwrap();
    world.expect(&["run", "rfc.yaml"], 0);
    assert!(!told(&world, "overlap").exists());
    assert_all_landed(&world);
}

#[test]
fn names_of_resources_are_safe_names() {
    let world = ready(", exclusive: [Staging DB]", EXCLUSIVE, "free");
    let said = world.expect(&["validate", "rfc.yaml"], 3);
    assert!(said.err.contains("cannot name a resource"), "{}", said.err);
}
