//! The target, branches and worktrees under somebody else's hands.

use super::{
    ONE, assert_landed_once, assert_not_repeated, assert_nothing_left, let_go, outcomes, row, start_and_wait,
    with_author, with_waiting_author, words,
};
use crate::world::World;

/// Two units one after the other; while the second is worked on, this is done to the repository.
fn with_meddling(target: &str, meddling: &str) -> World {
    let world = World::new();
    let units = "  a: {title: 'feat: a', prompt: x, tier: trivial}
  b: {title: 'feat: b', prompt: x, tier: trivial, needs: [a]}\n";
    world.file("", units);
    let author = world.read("agents/author.sh");
    let repo = world.repo.display();
    let once = format!(
        "if [ \"$PIPELINE_UNIT\" = b ] && mkdir \"$COUNT_DIR/meddled\" 2> /dev/null; then ( cd '{repo}'; {meddling} ); fi\n"
    );
    world.write("agents/author.sh", &(author + &once));
    world.commit("chore: plan");
    if target != "main" {
        world.git(&["branch", target]);
    }
    world
}

#[test]
fn a_commit_of_the_persons_meanwhile_costs_the_unit_nothing() {
    let _row = row("target fast-forwarded");
    let world = with_meddling("main", "git commit -q --allow-empty -m 'chore: meanwhile'");
    world.expect(&["run", "rfc.yaml"], 0);
    let subjects = world.git(&["log", "--format=%s", "-3"]);
    assert_eq!(subjects, "feat: b\nchore: meanwhile\nfeat: a\n");
    assert_eq!((world.calls("a").len(), world.calls("b").len()), (1, 1));
    assert_eq!(world.unit("b")["state"], "landed");
    assert_nothing_left(&world);
}

#[test]
fn a_rewritten_target_is_a_safety_stop() {
    let _row = row("target force-moved");
    let world = with_meddling("main", "git branch -q landed; git reset -q --hard HEAD~1");
    let said = world.expect(&["run", "rfc.yaml"], 10);
    assert!(
        words(&said).contains("target_rewritten") || words(&said).contains("target"),
        "{}",
        words(&said)
    );
    assert_eq!(
        world.git(&["log", "-1", "--format=%s"]),
        "chore: plan\n",
        "nothing landed on top"
    );
    let again = world.expect(&["run", "rfc.yaml"], 10);
    assert!(words(&again).contains("--fresh"), "{}", words(&again));
    world.git(&["reset", "-q", "--hard", "landed"]);
    world.git(&["branch", "-qD", "landed"]);
    world.expect(&["run", "rfc.yaml"], 0);
    assert_eq!(world.git(&["log", "--format=%s", "-2"]), "feat: b\nfeat: a\n");
    assert_eq!(world.calls("b").len(), 1, "the finished stage was not repeated");
    assert_nothing_left(&world);
}

#[test]
fn a_deleted_target_is_a_safety_stop_that_names_where_it_was() {
    let _row = row("target deleted");
    let world = with_meddling(
        "goal",
        "git rev-parse goal > \"$COUNT_DIR/goal\"; git branch -qD goal",
    );
    let said = world.expect(&["run", "rfc.yaml", "--target", "goal"], 10);
    assert!(words(&said).contains("target"), "{}", words(&said));
    let tip = std::fs::read_to_string(world.base().join("count/goal")).unwrap();
    let again = world.expect(&["run", "rfc.yaml", "--target", "goal"], 10);
    assert!(
        again.err.contains(&format!("git branch goal {}", tip.trim())),
        "{}",
        again.err
    );
    world.git(&["branch", "goal", tip.trim()]);
    world.expect(&["run", "rfc.yaml", "--target", "goal"], 0);
    assert_eq!(
        world.git(&["log", "--format=%s", "-2", "goal"]),
        "feat: b\nfeat: a\n"
    );
    assert_eq!(world.calls("b").len(), 1, "the finished stage was not repeated");
    assert_nothing_left(&world);
}

#[test]
fn a_persons_change_in_the_way_holds_the_landing_and_is_not_touched() {
    let _row = row("target checked out dirty");
    let world = World::new();
    world.write("api.txt", "before\n");
    world.write("other.txt", "other\n");
    world.write("staged.txt", "staged\n");
    world.file("", ONE);
    world.commit("chore: plan");
    world.write("api.txt", "my own words\n");
    world.write("other.txt", "elsewhere\n");
    world.write("staged.txt", "staged by me\n");
    world.git(&["add", "staged.txt"]);
    let before = world.git(&["status", "--porcelain"]);
    let tip = world.git(&["rev-parse", "main"]);

    let said = world.expect(&["run", "rfc.yaml"], 6);
    let told = words(&said);
    assert!(told.contains("HELD") && told.contains("api.txt"), "{told}");
    assert_eq!(world.read("api.txt"), "my own words\n");
    assert_eq!(world.git(&["status", "--porcelain"]), before);
    assert_eq!(world.git(&["rev-parse", "main"]), tip);
    assert_eq!(world.unit("api")["queue"]["state"], "held");
    assert_nothing_left(&world);

    world.git(&["checkout", "-q", "--", "api.txt"]);
    world.expect(&["run", "rfc.yaml"], 0);
    assert_eq!(world.read("api.txt"), "work of api\n");
    assert_eq!(world.read("other.txt"), "elsewhere\n");
    assert_eq!(
        world.git(&["status", "--porcelain"]),
        " M other.txt\nM  staged.txt\n"
    );
    assert_not_repeated(&world);
    assert_nothing_left(&world);
}

#[test]
fn a_repair_whose_branch_was_deleted_is_opened_anew_and_its_files_are_kept() {
    let _row = row("unit branch deleted");
    let (world, _, evicted) = World::with_conflict();
    let folder = world.open_repair(&evicted);
    std::fs::write(folder.join("shared.txt"), "half repaired\n").unwrap();
    let branch = format!("refs/heads/pipeline/trial/{evicted}");
    world.git(&["update-ref", "-d", &branch]);
    let said = world.expect(&["resolve", &evicted, "--done"], 2);
    assert!(words(&said).contains(&evicted), "{}", words(&said));
    assert_eq!(
        std::fs::read_to_string(folder.join("shared.txt")).unwrap(),
        "half repaired\n"
    );
    world.expect(&["run", "rfc.yaml"], 5);
    world.expect(&["resolve", &evicted, "--abort"], 0);
    assert_nothing_left(&world);
    let kept = world.git(&["for-each-ref", "--format=%(refname)", "refs/pipeline/salvage"]);
    let files = kept
        .lines()
        .find(|name| name.ends_with("/files"))
        .unwrap_or_else(|| panic!("{kept}"));
    assert_eq!(
        world.git(&["show", &format!("{files}:shared.txt")]),
        "half repaired\n"
    );

    let folder = world.open_repair(&evicted);
    std::fs::write(folder.join("shared.txt"), "repaired\n").unwrap();
    world.git_in(&folder, &["commit", "-qam", "fix: by hand"]);
    world.expect(&["resolve", &evicted, "--done"], 0);
    world.expect(&["run", "rfc.yaml"], 0);
    assert_eq!(world.read("shared.txt"), "repaired\n");
    assert_nothing_left(&world);
}

#[test]
fn a_worktree_that_is_deleted_costs_an_attempt_and_nothing_else() {
    let _row = row("worktree directory deleted");
    // By the agent itself, the first time.
    let script = "mkdir \"$COUNT_DIR/once\" 2> /dev/null || { echo work > api.txt; exit 0; }
rm -rf \"$PIPELINE_WORKTREE\"\n";
    let world = with_author(script, "");
    let said = world.expect(&["run", "rfc.yaml"], 0);
    assert!(said.out.contains("removed by the agent"), "{}", said.out);
    assert_eq!(outcomes(&world)["failed"], 1);
    assert_landed_once(&world);
    assert_nothing_left(&world);

    // All of them, by somebody else, under a living engine.
    let world = with_waiting_author("");
    let engine = start_and_wait(&world);
    std::fs::remove_dir_all(world.base().join("state/pipeline")).unwrap();
    let_go(&world);
    let said = world.wait(engine);
    assert_eq!(said.code, 0, "{}", words(&said));
    assert_landed_once(&world);
    assert_nothing_left(&world);

    // And after the death of the engine: there is nothing left to keep, and the unit is done again.
    let world = with_waiting_author("");
    let mut engine = start_and_wait(&world);
    engine.kill().unwrap();
    engine.wait().unwrap();
    world.assert_no_orphan();
    std::fs::remove_dir_all(world.base().join("state/pipeline")).unwrap();
    let_go(&world);
    world.expect(&["run", "rfc.yaml"], 0);
    assert_landed_once(&world);
    assert_nothing_left(&world);
}
