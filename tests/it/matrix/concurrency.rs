//! Others at work in the same repository at the same time: engines, housekeeping, flaky checks and an editor.

use std::process::{Child, Stdio};

use super::{
    ONE, assert_landed_once, assert_nothing_left, is_alive, let_go, row, start_and_wait, with_waiting_author,
    words,
};
use crate::world::{World, file};

#[test]
fn a_second_engine_is_refused_and_told_who_has_the_repository() {
    let _row = row("two engines at once");
    let world = with_waiting_author("");
    let engine = start_and_wait(&world);
    let said = world.expect(&["run", "rfc.yaml"], 7);
    assert!(said.err.contains(&engine.id().to_string()), "{}", said.err);
    let status = world.status();
    assert_eq!(status["run"]["state"], "running", "readers work meanwhile");
    let_go(&world);
    let first = world.wait(engine);
    assert_eq!(first.code, 0, "{}", words(&first));
    assert_landed_once(&world);
    assert_nothing_left(&world);

    // Both at the same instant: one of them works, and the other is refused or finds nothing left to do.
    for _ in 0..3 {
        let world = World::new();
        world.file("", ONE);
        world.commit("chore: plan");
        let both = [
            world.start(&["run", "rfc.yaml"]),
            world.start(&["run", "rfc.yaml"]),
        ];
        let mut codes = both.map(|engine| world.wait(engine).code);
        codes.sort_unstable();
        assert!([[0, 7], [0, 0]].contains(&codes), "{codes:?}");
        assert_landed_once(&world);
        assert_eq!(world.calls("api"), ["implement.1"]);
        assert_nothing_left(&world);
    }
}

#[test]
fn worktrees_of_one_repository_share_one_engine_and_one_state() {
    let _row = row("two engines from two worktrees of one repository");
    let world = with_waiting_author("");
    let second = world.base().join("second");
    world.git(&["worktree", "add", "-q", "-b", "side", second.to_str().unwrap()]);
    let engine = start_and_wait(&world);
    for target in [&["run", "rfc.yaml"][..], &["run", "rfc.yaml", "--target", "main"]] {
        let said = world.pipeline_in(&second, target);
        assert_eq!(said.code, 7, "{}", words(&said));
        assert!(said.err.contains(&engine.id().to_string()), "{}", said.err);
    }
    let seen = world.pipeline_in(&second, &["status", "--json"]);
    assert!(seen.out.contains("\"running\""), "{}", seen.out);
    let_go(&world);
    assert_eq!(world.wait(engine).code, 0);
    assert_landed_once(&world);
    // The other worktree is at its own branch: a run from there lands there.
    let said = world.pipeline_in(&second, &["run", "rfc.yaml"]);
    assert_eq!(said.code, 0, "{}", words(&said));
    assert_eq!(world.git(&["log", "-1", "--format=%s", "side"]), "feat: api\n");
    assert_eq!(world.git_in(&second, &["status", "--porcelain"]), "");
    assert_eq!(world.git(&["status", "--porcelain"]), "");
    world.git(&["worktree", "remove", second.to_str().unwrap()]);
    assert_nothing_left(&world);
}

/// Four units with reviews and fixes.
const FOUR: &str = "  a: {title: 'feat: a', prompt: x}
  b: {title: 'feat: b', prompt: x}
  c: {title: 'feat: c', prompt: x, needs: [a]}
  d: {title: 'feat: d', prompt: x, needs: [b]}
";

/// A shell line that is repeated until this is dropped.
struct Loop(Child);

impl Loop {
    fn start(world: &World, line: &str) -> Self {
        let script = format!("while :; do {line}; done");
        let started = world
            .program("sh")
            .args(["-c", &script])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        Self(started.unwrap())
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// Everything lands while that line runs again and again, also after the engine was killed in the middle.
fn assert_lands_during(line: &str) {
    let world = World::new();
    world.write("rfc.yaml", &file("90,", "sleep 0.1; test -f README", FOUR));
    world.commit("chore: plan");
    let housekeeping = Loop::start(&world, line);
    let mut engine = world.start(&["run", "rfc.yaml"]);
    world.wait_until("the first landing, or an early end", || {
        let landed = |unit| world.unit_state(unit) == "landed";
        landed("a") || landed("b") || !is_alive(engine.id())
    });
    if let Some(status) = engine.try_wait().unwrap() {
        let said = world.wait(engine);
        panic!("{status}: {}", words(&said));
    }
    engine.kill().unwrap();
    engine.wait().unwrap();
    world.assert_no_orphan();
    let said = world.expect(&["run", "rfc.yaml"], 0);
    drop(housekeeping);
    assert!(!words(&said).contains("could not be removed"), "{}", words(&said));
    for unit in ["a", "b", "c", "d"] {
        assert_eq!(world.unit(unit)["state"], "landed");
    }
    assert_eq!(world.git(&["rev-list", "--count", "main"]), "6\n");
    world.git(&["fsck", "--strict", "--no-dangling"]);
    assert_nothing_left(&world);
}

#[test]
fn nothing_that_is_needed_is_taken_by_garbage_collection() {
    let _row = row("`git gc` meanwhile");
    assert_lands_during("git gc -q; sleep 0.05");

    // Of what waits for its turn, or for a person, a ref holds everything: git itself would take what none holds.
    let world = World::new();
    world.write("api.txt", "before\n");
    // Takes longer than the other unit, so that what is to land stands on the other's work and is no author's commit.
    let author = world.read("agents/author.sh");
    world.write(
        "agents/author.sh",
        &format!("[ $PIPELINE_UNIT = a ] || sleep 1\n{author}"),
    );
    world.file(
        "",
        &format!("  a: {{title: 'feat: a', prompt: x, tier: trivial}}\n{ONE}"),
    );
    world.commit("chore: plan");
    world.write("api.txt", "my own words\n");
    world.expect(&["run", "rfc.yaml"], 6);
    assert_eq!(world.unit("a")["state"], "landed");
    assert_eq!(world.unit("api")["queue"]["state"], "held");
    world.git(&["reflog", "expire", "--expire=now", "--all"]);
    world.git(&["gc", "-q", "--prune=now"]);
    world.git(&["checkout", "-q", "--", "api.txt"]);
    world.expect(&["run", "rfc.yaml"], 0);
    assert_landed_once(&world);
    assert_eq!(world.calls("api"), ["implement.1"]);
    assert_nothing_left(&world);

    let world = with_waiting_author("");
    let engine = start_and_wait(&world);
    world.git(&["gc", "-q", "--prune=now"]);
    let_go(&world);
    assert_eq!(world.wait(engine).code, 0);
    assert_landed_once(&world);
    assert_nothing_left(&world);
}

#[test]
fn no_worktree_that_is_needed_is_forgotten_by_prune() {
    let _row = row("`git worktree prune` meanwhile");
    assert_lands_during("git worktree prune --expire=now; sleep 0.01");
}

#[test]
fn a_check_that_fails_once_on_the_same_tree_is_a_recorded_flake_and_lands() {
    let _row = row("flaky checks");
    let world = World::new();
    let counter = world.base().join("count/api.runs");
    // Fails in the third run in which it sees the unit's work: the unit's own checks and the first verification pass it by.
    let check = format!(
        "[ ! -f api.txt ] || {{ echo x >> {0}; [ $(wc -l < {0}) -ne 2 ] || {{ echo flaky today; exit 1; }}; }}",
        counter.display()
    );
    let base = "  base: {title: 'feat: base', prompt: x, tier: trivial}\n";
    world.write(
        "rfc.yaml",
        &file("", &check.replace('"', "'"), &format!("{base}{ONE}")),
    );
    world.commit("chore: plan");
    let said = world.expect(&["run", "rfc.yaml"], 0);
    assert!(said.out.contains("FLAKY"), "{}", said.out);
    assert_landed_once(&world);
    assert_eq!(
        world.unit("api")["queue"]["charged"].as_u64().unwrap_or(0),
        0,
        "a flake costs nothing"
    );
    assert_eq!(world.calls("api"), ["implement.1"]);
    assert_nothing_left(&world);
}

#[test]
fn an_edit_of_the_file_reaches_only_the_next_run_which_says_what_differs() {
    let _row = row("pipeline file edited mid-run");
    let world = with_waiting_author("");
    let engine = start_and_wait(&world);
    let more = "  more: {title: 'feat: more', prompt: x, tier: trivial}\n";
    world.file("", &format!("{ONE}{more}"));
    let_go(&world);
    let first = world.wait(engine);
    assert_eq!(first.code, 0, "{}", words(&first));
    assert!(!words(&first).contains("more"), "{}", words(&first));
    assert_landed_once(&world);
    assert!(world.calls("more").is_empty());
    world.commit("chore: more");
    let second = world.expect(&["run", "rfc.yaml"], 0);
    let told: Vec<&str> = second.err.lines().collect();
    assert!(
        told.iter().any(|line| line.contains("has changed since run")),
        "{}",
        second.err
    );
    assert!(
        told.iter()
            .any(|line| line.contains("api") && line.contains("landed, kept")),
        "{}",
        second.err
    );
    assert!(
        told.iter()
            .any(|line| line.contains("more") && line.contains("new")),
        "{}",
        second.err
    );
    assert_eq!(
        world.calls("api"),
        ["implement.1"],
        "what landed is not done again"
    );
    assert_eq!(world.git(&["log", "-1", "--format=%s"]), "feat: more\n");
    assert_nothing_left(&world);
}
