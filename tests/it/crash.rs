//! Engines that died at a landing: the journal is cut where they were, and git is put where they left it.

use std::path::PathBuf;

use crate::world::World;

const ONE: &str = "  api: {title: 'feat: api', prompt: do it, tier: trivial}\n";

/// A run that landed its one unit, whose engine wrote nothing after the event of that type.
fn cut_after(kind: &str) -> World {
    let world = World::new();
    world.file("", ONE);
    world.commit("chore: plan");
    world.expect(&["run", "rfc.yaml"], 0);
    let runs = std::fs::read_dir(world.repo.join(".git/pipeline/runs")).unwrap();
    let journals: Vec<PathBuf> = runs
        .map(|run| run.unwrap().path().join("journal.jsonl"))
        .collect();
    let [journal] = journals.as_slice() else {
        panic!("one run: {journals:?}")
    };
    let text = std::fs::read_to_string(journal).unwrap();
    let at = text.find(&format!("\"type\":\"{kind}\"")).unwrap();
    let end = at + text[at..].find('\n').unwrap() + 1;
    std::fs::write(journal, &text[..end]).unwrap();
    world
}

fn landings(world: &World) -> usize {
    let log = world.git(&["log", "--format=%s", "main"]);
    log.lines().filter(|subject| *subject == "feat: api").count()
}

#[test]
fn a_landing_that_is_in_the_target_is_recorded_and_not_made_again() {
    let world = cut_after("land_intended");
    world.expect(&["run", "rfc.yaml"], 0);
    assert_eq!(landings(&world), 1);
    assert_eq!(world.unit("api")["state"], "landed");
    assert_eq!(world.calls("api").len(), 1);
    assert_eq!(world.git(&["status", "--porcelain"]), "");
}

#[test]
fn a_landing_that_was_only_intended_is_made_after_the_restart() {
    let world = cut_after("land_intended");
    world.git(&["reset", "-q", "--hard", "HEAD~1"]);
    world.expect(&["run", "rfc.yaml"], 0);
    assert_eq!(landings(&world), 1);
    assert_eq!(world.read("api.txt"), "work of api\n");
    assert_eq!(world.calls("api").len(), 1);
}

#[test]
fn work_that_a_person_began_meanwhile_holds_an_intended_landing() {
    let world = cut_after("land_intended");
    world.git(&["reset", "-q", "--hard", "HEAD~1"]);
    world.write("api.txt", "my own words\n");
    world.expect(&["run", "rfc.yaml"], 6);
    assert_eq!(landings(&world), 0);
    assert_eq!(world.read("api.txt"), "my own words\n");
    std::fs::remove_file(world.repo.join("api.txt")).unwrap();
    world.expect(&["run", "rfc.yaml"], 0);
    assert_eq!(landings(&world), 1);
}

#[test]
fn a_checkout_that_did_not_follow_the_last_landing_follows_at_the_next_call() {
    let world = cut_after("landed");
    world.git(&["read-tree", "--reset", "-u", "HEAD~1"]);
    assert_eq!(world.git(&["status", "--porcelain"]), "D  api.txt\n");
    world.expect(&["run", "rfc.yaml"], 0);
    assert_eq!(world.git(&["status", "--porcelain"]), "");
    assert_eq!(world.read("api.txt"), "work of api\n");
    assert_eq!(world.status()["run"]["state"], "finished");
}

#[test]
fn a_checkout_that_left_the_target_meanwhile_is_not_touched() {
    let world = cut_after("landed");
    world.git(&["switch", "-q", "-c", "elsewhere", "HEAD~1"]);
    world.expect(&["run", "rfc.yaml", "--target", "main"], 0);
    assert_eq!(world.git(&["status", "--porcelain"]), "");
    assert!(!world.repo.join("api.txt").exists());
}

#[test]
fn a_wish_for_a_unit_that_is_being_landed_is_refused_and_breaks_nothing() {
    let world = cut_after("land_intended");
    for wish in [&["retry", "api"][..], &["discard", "api"]] {
        let said = world.expect(wish, 2);
        assert!(said.err.contains("being landed"), "{}", said.err);
    }
    world.expect(&["run", "rfc.yaml"], 0);
    assert_eq!(landings(&world), 1);
}

#[test]
fn a_target_that_went_away_during_a_landing_is_a_safety_stop() {
    let world = cut_after("land_intended");
    let tip = world.git(&["rev-parse", "main"]);
    world.git(&["switch", "-q", "--detach"]);
    world.git(&["branch", "-q", "-D", "main"]);
    let said = world.pipeline(&["run", "rfc.yaml", "--target", "main"]);
    assert_ne!(said.code, 0, "{}{}", said.out, said.err);
    world.git(&["switch", "-q", "-c", "main", tip.trim()]);
    world.expect(&["run", "rfc.yaml"], 0);
    assert_eq!(landings(&world), 1);
}

#[test]
fn a_landing_that_was_cut_off_is_settled_before_a_changed_file_begins_anew() {
    let world = cut_after("landed");
    world.git(&["read-tree", "--reset", "-u", "HEAD~1"]);
    let two = format!("{ONE}  b: {{title: 'feat: b', prompt: x, tier: trivial}}\n");
    world.file("", &two);
    let said = world.expect(&["run", "rfc.yaml"], 0);
    assert!(said.err.contains("landed, kept"), "{}", said.err);
    assert_eq!(world.git(&["status", "--porcelain"]), " M rfc.yaml\n");
    assert_eq!(world.read("api.txt"), "work of api\n");
}

#[test]
fn an_agent_that_had_ended_when_the_engine_died_is_not_started_again() {
    let world = World::new();
    world.file("", ONE);
    let text = world.read("rfc.yaml").replace(
        "checks:",
        "workspace:\n  teardown:\n    - {run: '[ -e \"$COUNT_DIR/../go\" ] || { touch \"$COUNT_DIR/../torn\"; sleep 600; }', for: [author]}\n  env: {COUNT_DIR: \"COUNT\"}\nchecks:",
    );
    let count = world.base().join("count");
    world.write(
        "rfc.yaml",
        &text.replace("COUNT\"", &format!("{}\"", count.display())),
    );
    world.commit("chore: plan");
    let mut engine = world.start(&["run", "rfc.yaml"]);
    world.wait_until("the author to have ended", || world.base().join("torn").exists());
    engine.kill().unwrap();
    engine.wait().unwrap();
    std::fs::write(world.base().join("go"), "").unwrap();
    let said = world.expect(&["run", "rfc.yaml"], 0);
    assert!(
        said.err.contains("its work is taken over"),
        "{}{}",
        said.out,
        said.err
    );
    assert_eq!(world.calls("api"), ["implement.1"]);
    assert_eq!(landings(&world), 1);
    world.expect(&["doctor", "--strict"], 0);
    world.assert_clean();
}
