//! The queue with a window and with batches, over real git: who is verified on top of whom, and what lands.

use std::process::Child;

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
