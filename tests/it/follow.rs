//! `logs --follow`: what attempts write is shown while they write it, from the first attempt to the end of the unit.

use std::io::{BufRead, BufReader, Read};

use crate::world::World;

/// A unit whose author says one line, waits until it is let go, and says another.
fn with_patient_author() -> World {
    let world = World::new();
    let work = world.read("agents/author.sh");
    let wait = "echo before\nwhile ! [ -e \"$COUNT_DIR/go\" ]; do sleep 0.02; done\nprintf after\n";
    world.write("agents/author.sh", &(wait.to_owned() + &work));
    world.file("", "  api: {title: 'feat: api', prompt: do it, tier: trivial}\n");
    world.commit("chore: plan");
    world
}

#[test]
fn it_shows_lines_at_once_and_goes_from_attempt_to_attempt_until_the_unit_has_landed() {
    let world = with_patient_author();
    let engine = world.start(&["run", "rfc.yaml"]);
    world.wait_until("an attempt", || {
        world.pipeline(&["logs", "api"]).out.contains("before")
    });
    let mut follower = world.start(&["logs", "-f", "api"]);
    let mut out = BufReader::new(follower.stdout.take().unwrap());
    let mut said = String::new();
    while !said.ends_with("before\n") {
        assert_ne!(out.read_line(&mut said).unwrap(), 0, "it ended: {said}");
    }
    std::fs::write(world.base().join("count/go"), "").unwrap();
    out.read_to_string(&mut said).unwrap();
    assert!(follower.wait().unwrap().success());
    world.expect_end(engine, 0);
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(
        lines[..4],
        [
            "── api/implement.1.1 · running",
            "before",
            "after",
            "── api/implement.1.1 · ok"
        ],
        "{said}"
    );
    assert!(lines.contains(&"── api/checks.1.1 · ok"), "{said}");
}

#[test]
fn it_ends_when_the_engine_is_killed() {
    let world = with_patient_author();
    let mut engine = world.start(&["run", "rfc.yaml"]);
    world.wait_until("an attempt", || {
        world.pipeline(&["logs", "api"]).out.contains("before")
    });
    let follower = world.start(&["logs", "-f", "api"]);
    engine.kill().unwrap();
    engine.wait().unwrap();
    let said = world.wait(follower);
    assert_eq!(
        (said.code, said.out.contains("before")),
        (0, true),
        "{}",
        said.err
    );
    world.assert_no_orphan();
}
