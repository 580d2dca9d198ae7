//! State on disk that was damaged: the database is rebuilt from the journal, and a journal is never guessed at.

use std::path::{Path, PathBuf};

use super::{
    assert_landed_once, assert_nothing_left, flat, let_go, row, start_and_wait, with_waiting_author, words,
};
use crate::world::World;

/// A run whose engine was killed while its author worked, so that there is something to go on with.
fn interrupted() -> World {
    let world = with_waiting_author("");
    let mut engine = start_and_wait(&world);
    engine.kill().unwrap();
    engine.wait().unwrap();
    world.assert_no_orphan();
    let_go(&world);
    world
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files_below(&path));
        } else {
            found.push(path);
        }
    }
    found
}

/// The database was damaged: the run goes on from the journal, and tells at most once what was set aside.
fn assert_rebuilt(world: &World) {
    let readers = world.expect(&["status"], 0);
    assert!(readers.out.contains("api"), "readers never open it");
    let said = world.expect(&["run", "rfc.yaml"], 0);
    assert!(said.err.matches("queue.sled.bad-").count() <= 1, "{}", said.err);
    assert_landed_once(world);
    assert_eq!(world.calls("api"), ["implement.1"]);
    assert_nothing_left(world);
    let again = world.expect(&["run", "rfc.yaml"], 0);
    assert!(!words(&again).contains("bad-"), "told once: {}", words(&again));
}

#[test]
fn a_database_that_was_cut_short_is_rebuilt_from_the_journal() {
    let _row = row("sled truncated");
    for part in [0, 1, 2] {
        let world = interrupted();
        for file in files_below(&world.repo.join(".git/pipeline/queue.sled")) {
            let bytes = std::fs::read(&file).unwrap();
            std::fs::write(&file, &bytes[..bytes.len() * part / 3]).unwrap();
        }
        assert_rebuilt(&world);
    }
}

#[test]
fn a_database_with_flipped_bits_is_rebuilt_from_the_journal() {
    let _row = row("sled flipped");
    for step in [7, 101, 997] {
        let world = interrupted();
        for file in files_below(&world.repo.join(".git/pipeline/queue.sled")) {
            let mut bytes = std::fs::read(&file).unwrap();
            for byte in bytes.iter_mut().step_by(step) {
                *byte ^= 0x10;
            }
            std::fs::write(&file, bytes).unwrap();
        }
        assert_rebuilt(&world);
    }
}

#[test]
fn a_database_that_was_removed_is_rebuilt_from_the_journal() {
    let _row = row("sled removed");
    let world = interrupted();
    std::fs::remove_dir_all(world.repo.join(".git/pipeline/queue.sled")).unwrap();
    assert_rebuilt(&world);
    let world = interrupted();
    std::fs::remove_dir_all(world.repo.join(".git/pipeline/queue.sled")).unwrap();
    std::fs::write(world.repo.join(".git/pipeline/queue.sled"), "no folder").unwrap();
    assert_rebuilt(&world);
}

#[test]
fn a_journal_with_a_flipped_bit_is_told_and_never_repaired() {
    let _row = row("journal flipped");
    let world = interrupted();
    let journal = world.run_dir().join("journal.jsonl");
    let sound = std::fs::read(&journal).unwrap();
    let lines = sound.split(|byte| *byte == b'\n').count() - 1;
    for at in [0, sound.len() / 2, sound.len() - 1] {
        let mut damaged = sound.clone();
        damaged[at] ^= 1;
        std::fs::write(&journal, &damaged).unwrap();
        let line = 1 + sound[..at].iter().filter(|byte| **byte == b'\n').count();
        assert!(line <= lines);
        for verb in [
            &["run", "rfc.yaml"][..],
            &["status"],
            &["show", "api"],
            &["retry", "api"],
        ] {
            let said = world.expect(verb, 8);
            for told in ["journal.jsonl", &format!("line {line}"), "damaged", "backup"] {
                assert!(flat(&said).contains(told), "{verb:?}, {told}: {}", said.err);
            }
        }
        world.expect(&["doctor", "--strict"], 8);
        assert_eq!(std::fs::read(&journal).unwrap(), damaged, "nobody wrote to it");
        assert_eq!(
            world.git(&["log", "--format=%s"]).lines().next(),
            Some("chore: plan")
        );
    }
    std::fs::write(&journal, &sound).unwrap();
    world.expect(&["run", "rfc.yaml"], 0);
    assert_landed_once(&world);
    assert_nothing_left(&world);
}

#[test]
fn a_last_line_that_was_torn_never_took_effect() {
    let _row = row("journal torn");
    for left in [1, 40] {
        let world = interrupted();
        let journal = world.run_dir().join("journal.jsonl");
        let sound = std::fs::read(&journal).unwrap();
        let last = sound[..sound.len() - 1]
            .iter()
            .rposition(|byte| *byte == b'\n')
            .unwrap()
            + 1;
        std::fs::write(&journal, &sound[..last + left]).unwrap();
        world.expect(&["status"], 0);
        let said = world.expect(&["run", "rfc.yaml"], 0);
        assert!(words(&said).contains("cut short by a crash"), "{}", words(&said));
        assert_landed_once(&world);
        assert_eq!(world.calls("api"), ["implement.1"]);
        assert_nothing_left(&world);
    }
}
