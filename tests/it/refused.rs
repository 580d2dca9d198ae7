//! A repository that does not let the target move: nothing lands, nobody is charged, nothing is tried for ever, and the
//! same command goes on once it does.

use std::path::Path;

use crate::world::{World, write_program};

const UNITS: &str = "  one: {title: 'feat: one', prompt: x, tier: trivial}
  two: {title: 'feat: two', prompt: x, tier: trivial}
";

fn ready() -> World {
    let world = World::new();
    world.file("", UNITS);
    world.commit("chore: plan");
    world
}

/// What stands in git's way, and how it gets there.
type Way = (&'static str, fn(&World));

/// A file in a directory where git wants to write the file of that name.
fn stand_in_the_way(place: &Path) {
    drop(std::fs::remove_file(place));
    std::fs::create_dir_all(place).unwrap();
    std::fs::write(place.join("stray"), "").unwrap();
}

#[test]
fn a_target_that_cannot_be_moved_holds_what_is_verified_until_it_can() {
    let ways: [Way; 3] = [
        (".git/refs/heads/main.lock", |world| {
            std::fs::write(world.repo.join(".git/refs/heads/main.lock"), "").unwrap();
        }),
        (".git/refs/heads/main", |world| {
            world.git(&["pack-refs", "--all"]);
            stand_in_the_way(&world.repo.join(".git/refs/heads/main"));
        }),
        (".git/logs/refs/heads/main", |world| {
            stand_in_the_way(&world.repo.join(".git/logs/refs/heads/main"));
        }),
    ];
    for (place, prepare) in ways {
        let world = ready();
        let before = world.git(&["rev-parse", "main"]);
        prepare(&world);
        let said = world.expect(&["run", "rfc.yaml"], 8);
        assert!(
            said.out.contains("HELD") && said.out.contains("push_rejected"),
            "{place}: {}",
            said.out
        );
        assert!(said.out.contains("Mend it, then: pipeline run"), "{}", said.out);
        assert_eq!(world.git(&["rev-parse", "main"]), before);
        assert_eq!(world.git(&["status", "--porcelain"]), "");
        for unit in ["one", "two"] {
            let row = world.unit(unit);
            assert_eq!(
                (row["state"].as_str(), row["queue"]["charged"].as_u64()),
                (Some("queued"), Some(0))
            );
        }
        assert_eq!(
            world.events("land_refused").len(),
            1,
            "{place}: once, and then it waits"
        );
        // Asked again it is tried again, once.
        world.expect(&["run", "rfc.yaml"], 8);
        assert_eq!(world.events("land_refused").len(), 2, "{place}");
        let path = world.repo.join(place);
        if path.is_dir() {
            std::fs::remove_dir_all(&path).unwrap();
        } else {
            std::fs::remove_file(&path).unwrap();
        }
        world.expect(&["run", "rfc.yaml"], 0);
        for unit in ["one", "two"] {
            assert_eq!(
                (world.unit(unit)["state"].as_str(), world.calls(unit).len()),
                (Some("landed"), 1)
            );
        }
        world.expect(&["doctor", "--strict"], 0);
    }
}

#[test]
fn a_lock_that_another_git_holds_for_a_moment_is_waited_for() {
    let world = ready();
    let lock = world.repo.join(".git/refs/heads/main.lock");
    std::fs::write(&lock, "").unwrap();
    let engine = world.start(&["run", "rfc.yaml"]);
    world.wait_until("the landing is intended", || {
        let runs = std::fs::read_dir(world.repo.join(".git/pipeline/runs"));
        let journals = runs.into_iter().flatten().flatten();
        let mut texts = journals.map(|run| std::fs::read_to_string(run.path().join("journal.jsonl")));
        texts.any(|text| text.is_ok_and(|text| text.contains("land_intended")))
    });
    std::fs::remove_file(&lock).unwrap();
    world.expect_end(engine, 0);
    assert_eq!(world.events("land_refused").len(), 0);
}

#[test]
fn what_git_says_cannot_write_to_the_terminal() {
    let mut world = ready();
    // Git names the lock; the repository lies below a folder whose name would paint the screen.
    let painted = world.base().join("re\u{1b}[31mpo");
    std::fs::rename(&world.repo, &painted).unwrap();
    world.repo = painted;
    std::fs::write(world.repo.join(".git/refs/heads/main.lock"), "").unwrap();
    let said = world.expect(&["run", "rfc.yaml"], 8);
    assert!(said.out.contains("push_rejected"), "{}", said.out);
    let status = world.expect(&["status"], 0);
    for text in [said.out, said.err, status.out] {
        assert!(!text.contains('\u{1b}'), "{text:?}");
    }
}

#[test]
fn hooks_of_the_repository_have_no_say_in_a_landing() {
    let world = ready();
    let trace = world.base().join("hook.trace");
    for hook in [
        "reference-transaction",
        "pre-receive",
        "update",
        "post-checkout",
        "pre-commit",
    ] {
        let path = world.repo.join(".git/hooks").join(hook);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let script = format!("#!/bin/sh\necho {hook} >> {}\nexit 1\n", trace.display());
        write_program(&path, &script);
    }
    world.expect(&["run", "rfc.yaml"], 0);
    assert!(
        !trace.exists(),
        "{}",
        std::fs::read_to_string(&trace).unwrap_or_default()
    );
}
