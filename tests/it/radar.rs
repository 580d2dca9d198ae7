//! The conflict radar over real git: collisions are told while the units are still at work.

use std::process::Child;

use serde_json::{Value, json};

use crate::world::World;

const AUTHOR: &str = r#"
set -eu
echo "by $PIPELINE_UNIT" > shared.txt
[ "$PIPELINE_UNIT" != apart ] || git checkout -q shared.txt
[ "$PIPELINE_UNIT" != apart ] || while [ -e "$COUNT_DIR/late" ]; do sleep 0.02; done
echo "work" > "$PIPELINE_UNIT.txt"
echo '{"summary":"done"}' > "$PIPELINE_RESULT"
"#;

/// A reviewer that approves once its unit may go on.
const REVIEWER: &str = r#"
set -eu
while ! [ -e "$COUNT_DIR/open.$PIPELINE_UNIT" ]; do sleep 0.02; done
echo '{"verdict":"approve","findings":[],"ledger":[]}' > "$PIPELINE_RESULT"
"#;

/// What stands in the file behind the units.
const MORE: &str = "\
queue: {on_conflict: evict}
tiers: {reviewed: {implement: {agent: author}, review: {agent: reviewer}, approve: {by: checks}}}
";

/// A repository with units of these names by such authors.
fn ready(author: &str, units: [&str; 3]) -> World {
    let world = World::new();
    world.write("agents/author.sh", author);
    world.write("agents/reviewer.sh", REVIEWER);
    world.write("shared.txt", "before\n");
    let unit = |id: &str| format!("  {id}: {{title: 'feat: {id}', prompt: x, tier: reviewed}}\n");
    world.file("", &(units.map(unit).concat() + MORE));
    world.commit("chore: plan");
    world
}

/// A run under way whose units all wait for their reviewers, of which `left` and `right` collide.
fn under_review() -> (World, Child) {
    let world = ready(AUTHOR, ["left", "apart", "right"]);
    let run = world.start(&["run", "rfc.yaml"]);
    (world, run)
}

fn collisions(world: &World) -> Value {
    let said = world.pipeline(&["status", "--json"]);
    let status: Value = serde_json::from_str(&said.out).unwrap_or_default();
    status["run"]["collisions"].clone()
}

/// Waits until it is known that `left` and `right` collide, and nobody else.
fn await_pair(world: &World) -> Value {
    let pair = json!([{"units": ["left", "right"], "paths": ["shared.txt"], "paths_left_out": 0, "uncommitted": []}]);
    world.wait_until("the collision is foreseen", || collisions(world) == pair);
    pair
}

fn touch(world: &World, name: &str) {
    std::fs::write(world.base().join("count").join(name), "").unwrap();
}

#[test]
fn units_that_will_collide_are_named_with_the_path_while_they_are_reviewed_and_until_one_has_landed() {
    let (world, run) = under_review();
    let pair = await_pair(&world);
    for unit in ["left", "right", "apart"] {
        assert_eq!(world.unit(unit)["state"], "working");
    }
    let told = "Will collide: `left` and `right`, in shared.txt.\n";
    let status = world.expect(&["status"], 0).out;
    assert_eq!(status.matches("Will collide").count(), 1, "{status}");
    assert!(status.contains(told), "{status}");

    touch(&world, "open.apart");
    world.wait_until("another has landed", || world.unit_state("apart") == "landed");
    assert_eq!(collisions(&world), pair, "which has nothing to do with it");
    touch(&world, "open.left");
    world.wait_until("one of them has landed", || world.unit_state("left") == "landed");
    assert_eq!(collisions(&world), json!([]));
    touch(&world, "open.right");
    let said = world.expect_end(run, 5);
    let lines: Vec<&str> = said.out.lines().filter(|line| line.contains("COLLIDE")).collect();
    assert_eq!(
        lines,
        ["COLLIDE [       ] left      with right, in shared.txt"],
        "{}",
        said.out
    );
    assert_eq!(world.unit("right")["reason"], "conflict_target");
    assert_eq!(
        world.events("conflicts_foreseen").len(),
        1,
        "nothing is told twice"
    );
    world.expect(&["doctor", "--strict"], 0);
    world.assert_clean();
}

#[test]
fn an_engine_that_takes_the_run_up_knows_the_collisions_and_does_not_tell_them_again() {
    let (world, mut run) = under_review();
    let pair = await_pair(&world);
    run.kill().unwrap();
    run.wait().unwrap();
    assert_eq!(collisions(&world), pair, "it is still so");
    for unit in ["left", "right", "apart"] {
        touch(&world, &format!("open.{unit}"));
    }
    let said = world.expect(&["run", "rfc.yaml"], 5);
    assert!(!said.out.contains("COLLIDE"), "{}", said.out);
    assert_eq!(collisions(&world), json!([]));
    world.expect(&["doctor", "--strict"], 0);
    world.assert_no_orphan();
}

/// `slow` and `hostile` change the file and stay at work, and `quick` hands its change in only then.
const AUTHORS: &str = r#"
set -eu
echo "by $PIPELINE_UNIT" > shared.txt
case "$PIPELINE_UNIT" in
quick) while ! [ -e "$COUNT_DIR/slow" ] || ! [ -e "$COUNT_DIR/hostile" ]; do sleep 0.02; done ;;
hostile) mkfifo pipe; ln -s /etc/passwd link; truncate -s 100G huge ;;
esac
touch "$COUNT_DIR/$PIPELINE_UNIT"
[ "$PIPELINE_UNIT" = quick ] || while ! [ -e "$COUNT_DIR/go" ]; do sleep 0.02; done
rm -f pipe link huge
[ "$PIPELINE_UNIT" != hostile ] || { git checkout -q shared.txt; echo "tame" > hostile.txt; }
echo '{"summary":"done"}' > "$PIPELINE_RESULT"
"#;

#[test]
fn what_an_author_has_not_handed_in_counts_and_a_worktree_that_cannot_be_taken_is_left_out() {
    let world = ready(AUTHORS, ["slow", "hostile", "quick"]);
    let run = world.start(&["run", "rfc.yaml"]);
    let pair = |uncommitted: &[&str]| json!([{"units": ["quick", "slow"], "paths": ["shared.txt"], "paths_left_out": 0, "uncommitted": uncommitted}]);
    world.wait_until("it collides with what is not handed in", || {
        collisions(&world) == pair(&["slow"])
    });
    let status = world.expect(&["status"], 0).out;
    let told = "Will collide: `quick` and `slow`, in shared.txt (uncommitted: slow).\n";
    assert!(status.contains(told), "{status}");
    assert_eq!(world.git(&["status", "--porcelain"]), "");

    touch(&world, "go");
    world.wait_until("it is handed in", || collisions(&world) == pair(&[]));
    for unit in ["slow", "hostile", "quick"] {
        touch(&world, &format!("open.{unit}"));
    }
    let said = world.expect_end(run, 5);
    let lines: Vec<&str> = said.out.lines().filter(|line| line.contains("COLLIDE")).collect();
    let told = ["COLLIDE [       ] quick     with slow, in shared.txt (uncommitted: slow)"];
    assert_eq!(
        lines, told,
        "that it was handed in is no other collision: {}",
        said.out
    );
    assert!(!said.err.contains("could not be looked at"), "{}", said.err);
    assert_eq!(world.unit("hostile")["state"], "landed");
    world.expect(&["doctor", "--strict"], 0);
    world.assert_clean();
    assert_eq!(
        std::fs::read_dir(world.base().join("tmp")).unwrap().count(),
        0,
        "nothing is left"
    );
}

/// A run under way whose looks at the work of `left` and `right` come to this.
fn with_looks(script: &str) -> (World, Child) {
    let mut world = ready(AUTHOR, ["left", "apart", "right"]);
    let path = std::env::var("PATH").unwrap();
    let looks = world.base().join("looks");
    world.put_before_git(&format!(
        "#!/bin/sh\nPATH='{path}'\ncase \" $* \" in *' merge-tree '*' --stdin '*)\n echo >> '{}'\n {script} ;; esac\nexec git \"$@\"\n",
        looks.display()
    ));
    touch(&world, "late");
    let run = world.start(&["run", "rfc.yaml"]);
    world.wait_until("a look", || looks.exists());
    (world, run)
}

#[test]
fn an_engine_that_is_told_to_stop_cuts_a_look_off_and_leaves_nothing() {
    let (world, run) = with_looks("exec sleep 1000");
    let pid = rustix::process::Pid::from_child(&run);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    let said = world.expect_end(run, 130);
    assert!(!said.err.contains("could not be looked at"), "{}", said.err);
    world.assert_no_orphan();
    assert_eq!(
        std::fs::read_dir(world.base().join("tmp")).unwrap().count(),
        0,
        "nothing is left"
    );
}

#[test]
fn a_look_that_fails_is_told_once_and_ends_nothing() {
    let (world, run) = with_looks("exit 3");
    std::fs::remove_file(world.base().join("count/late")).unwrap();
    world.wait_until("another look, for there is a new head", || {
        let looks = std::fs::read_to_string(world.base().join("looks")).unwrap();
        looks.lines().count() > 1
    });
    for unit in ["left", "right", "apart"] {
        touch(&world, &format!("open.{unit}"));
    }
    let said = world.expect_end(run, 5);
    let told = said.err.matches("could not be looked at").count();
    assert_eq!(told, 1, "{}", said.err);
    assert!(said.out.contains("2 landed"), "{}", said.out);
}
