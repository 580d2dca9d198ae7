//! Locks and half-made worktrees that a git which was killed left behind.

use std::path::Path;

use super::{
    ONE, assert_landed_once, assert_not_repeated, assert_nothing_left, let_go, row, start_and_wait,
    with_waiting_author, words,
};
use crate::world::World;

/// A lock that no process holds stops the run with the lock's name; without it the same command goes on, and what was
/// done is not done again.
fn assert_stops_until_removed(lock: &str, told: &[&str]) {
    let world = with_waiting_author("");
    let engine = start_and_wait(&world);
    let path = world.repo.join(lock);
    std::fs::write(&path, "").unwrap();
    let_go(&world);
    let said = world.wait(engine);
    assert_eq!(said.code, 8, "{}", words(&said));
    let all = words(&said);
    let flat = all.split_whitespace().collect::<Vec<_>>().join(" ");
    for told in told.iter().chain(&[lock]) {
        assert!(flat.contains(told), "{told}: {}", said.err);
    }
    assert_eq!(world.git(&["log", "-1", "--format=%s", "main"]), "chore: plan\n");
    assert!(path.exists(), "it may be somebody's: only a person removes it");
    world.assert_no_orphan();
    world.assert_clean();
    let strict = world.expect(&["doctor", "--strict"], 8);
    assert!(
        strict.out.contains("stale_lock") && strict.out.contains(lock),
        "{}",
        strict.out
    );
    std::fs::remove_file(&path).unwrap();
    world.expect(&["run", "rfc.yaml"], 0);
    assert_landed_once(&world);
    assert_not_repeated(&world);
    assert_nothing_left(&world);
}

#[test]
fn a_stale_lock_of_the_index_stops_the_run_with_its_name() {
    let _row = row("stale `index.lock`");
    assert_stops_until_removed(
        ".git/index.lock",
        &["when none is at work there", "can be deleted"],
    );
}

#[test]
fn a_stale_lock_of_the_target_stops_the_run_with_its_name() {
    let _row = row("stale `refs/heads/*.lock`");
    assert_stops_until_removed(".git/refs/heads/main.lock", &["remove the file manually"]);
}

fn registrations(world: &World) -> Vec<String> {
    let entries = std::fs::read_dir(world.repo.join(".git/worktrees"));
    let names = entries.into_iter().flatten().flatten();
    names
        .map(|entry| entry.file_name().into_string().unwrap())
        .collect()
}

/// What `git worktree add` leaves when it is killed before it wrote where the worktree is, or the power fails.
fn halve(registration: &Path) {
    for file in std::fs::read_dir(registration).unwrap() {
        let path = file.unwrap().path();
        if path.is_dir() {
            std::fs::remove_dir_all(path).unwrap();
        } else {
            std::fs::remove_file(path).unwrap();
        }
    }
    std::fs::write(registration.join("locked"), "initializing\n").unwrap();
}

#[test]
fn a_worktree_that_git_was_killed_in_making_is_removed_by_the_next_run() {
    let _row = row("half-made worktrees");
    let empty = |registration: &Path| std::fs::write(registration.join("commondir"), "").unwrap();
    for spoil in [&halve as &dyn Fn(&Path), &empty] {
        let world = with_waiting_author("");
        let mut engine = start_and_wait(&world);
        engine.kill().unwrap();
        engine.wait().unwrap();
        world.assert_no_orphan();
        let made = registrations(&world);
        assert_eq!(made.len(), 1, "{made:?}");
        spoil(&world.repo.join(".git/worktrees").join(&made[0]));
        world.expect(&["status"], 0);
        let strict = world.expect(&["doctor", "--strict"], 8);
        assert!(strict.out.contains("orphan_attempt"), "{}", strict.out);
        let_go(&world);
        world.expect(&["run", "rfc.yaml"], 0);
        let left = registrations(&world);
        assert!(left.is_empty(), "{left:?}");
        assert_landed_once(&world);
        assert_nothing_left(&world);
    }

    // One of a person's, of the same name, is in nobody's way and stays.
    let world = World::new();
    world.file("", ONE);
    world.commit("chore: plan");
    let theirs = world.repo.join(".git/worktrees/tree");
    std::fs::create_dir_all(&theirs).unwrap();
    halve(&theirs);
    world.expect(&["run", "rfc.yaml"], 0);
    assert_landed_once(&world);
    world.assert_clean();
}
