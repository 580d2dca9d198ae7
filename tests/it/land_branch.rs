//! `land: branch`: units land on a branch of the run's own, and the target is the person's to move.

use std::process::Stdio;

use crate::world::{Said, World};

const UNITS: &str = "  one: {title: 'feat: one', prompt: x, tier: trivial}
  two: {title: 'feat: two', prompt: x, tier: trivial, needs: [one]}
";

fn ready(land: &str) -> World {
    let world = World::new();
    world.file("", UNITS);
    let text = world
        .read("rfc.yaml")
        .replace("checks:\n", &format!("{land}checks:\n"));
    world.write("rfc.yaml", &text);
    world.commit("chore: plan");
    world
}

const LAND: &str = "land: branch\n";

fn tip(world: &World, name: &str) -> String {
    world.git(&["rev-parse", name]).trim().to_owned()
}

/// The branch that the run lands on, as its status says.
fn branch(world: &World) -> String {
    let run = world.status()["run"].clone();
    let branch = run["branch"].as_str().unwrap().to_owned();
    assert_eq!(branch, format!("pipeline/{}", run["id"].as_str().unwrap()));
    assert_eq!(run["target"], "main");
    branch
}

fn assert_landed(world: &World) {
    for unit in ["one", "two"] {
        assert_eq!(world.unit(unit)["state"], "landed");
    }
    let subjects = world.git(&["log", "--format=%s", &format!("main..{}", branch(world))]);
    assert_eq!(subjects, "feat: two\nfeat: one\n");
    world.expect(&["doctor", "--strict"], 0);
}

fn killed_at(world: &World, point: &str) -> Said {
    let fault = format!("kill@{point}");
    let said = world.pipeline_with(&["run", "rfc.yaml"], &[("PIPELINE_FAULT", &fault)]);
    assert_eq!(said.code, -1, "killed at {point}: {}", said.err);
    said
}

#[test]
fn units_land_on_the_branch_of_the_run_and_the_target_stays() {
    let world = ready(LAND);
    let before = tip(&world, "main");
    assert!(
        world
            .expect(&["plan", "rfc.yaml"], 0)
            .out
            .contains("on a branch of the run")
    );
    let said = world.expect(&["run", "rfc.yaml"], 0);
    assert_landed(&world);
    assert_eq!(tip(&world, "main"), before);
    assert_eq!(world.git(&["status", "--porcelain"]), "");
    let branch = branch(&world);
    let command = format!("git switch main && git merge {branch}");
    assert!(said.out.contains(&format!("{branch} for main")), "{}", said.out);
    for text in [
        &said.out,
        &world.expect(&["status"], 0).out,
        &world.expect(&["run", "rfc.yaml"], 0).err,
    ] {
        assert!(text.replace('\n', " ").contains(&command), "{text}");
    }
    // What it says is what helps; and the branch may go then.
    let shell = world
        .program("sh")
        .args(["-c", &command])
        .stdout(Stdio::null())
        .status();
    assert!(shell.unwrap().success());
    assert_eq!(tip(&world, "main"), tip(&world, &branch));
    world.git(&["branch", "-q", "-d", &branch]);
    world.expect(&["run", "rfc.yaml"], 0);
    world.expect(&["doctor", "--strict"], 0);
    world.expect(&["clean"], 0);
}

#[test]
fn a_branch_of_a_finished_run_is_told_to_have_lost_its_work_unless_that_was_merged() {
    let world = ready(LAND);
    world.expect(&["run", "rfc.yaml"], 0);
    let branch = branch(&world);
    let landed = tip(&world, &branch);
    world.git(&["branch", "-qf", &branch, "main"]);
    let said = world.expect(&["run", "rfc.yaml"], 10);
    assert!(said.err.contains("target_rewritten"), "{}", said.err);
    world.git(&["merge", "-q", &landed]);
    world.expect(&["run", "rfc.yaml"], 0);
    // A new run lands on a branch of its own, whatever became of the last one.
    world.git(&["reset", "-q", "--hard", "HEAD~2"]);
    let text = world.read("rfc.yaml").replace("prompt: x", "prompt: y");
    world.write("rfc.yaml", &text);
    world.commit("chore: anew");
    world.expect(&["run", "rfc.yaml"], 0);
    assert_eq!(world.calls("one").len(), 2);
}

#[test]
fn the_flag_says_the_same_and_holds_for_the_whole_run() {
    let world = ready("");
    world.expect(&["run", "rfc.yaml", "one", "--land", "branch"], 0);
    let said = world.expect(&["run", "rfc.yaml", "--land", "local"], 2);
    assert!(said.err.contains("lands on"), "{}", said.err);
    world.expect(&["run", "rfc.yaml"], 0);
    assert_landed(&world);
    let world = ready(LAND);
    world.expect(&["run", "rfc.yaml", "--land", "local"], 0);
    assert_eq!(world.status()["run"]["branch"], serde_json::Value::Null);
    assert!(
        world
            .git(&["log", "--format=%s", "main"])
            .starts_with("feat: two\nfeat: one\n")
    );
}

#[test]
fn a_branch_that_a_person_deletes_or_rewinds_is_a_safety_stop_and_never_made_again() {
    for spoil in [
        &["branch", "-q", "-D"][..],
        &["update-ref", "refs/heads/B", "main"],
    ] {
        let world = ready(LAND);
        world.expect(&["run", "rfc.yaml", "one"], 0);
        let branch = branch(&world);
        let landed = tip(&world, &branch);
        let full = format!("refs/heads/{branch}");
        let mut words: Vec<&str> = spoil
            .iter()
            .map(|word| {
                if *word == "refs/heads/B" {
                    full.as_str()
                } else {
                    word
                }
            })
            .collect();
        if spoil.len() == 3 && spoil[0] == "branch" {
            words.push(&branch);
        }
        world.git(&words);
        let said = world.expect(&["run", "rfc.yaml"], 10);
        assert!(
            said.out.contains(&format!("git branch -f {branch} {landed}")),
            "{}",
            said.out
        );
        assert_eq!(world.calls("two"), Vec::<String>::new());
        world.git(&["branch", "-q", "-f", &branch, &landed]);
        world.expect(&["run", "rfc.yaml"], 0);
        assert_landed(&world);
    }
}

#[test]
fn a_kill_before_or_after_the_branch_is_made_leaves_one_branch() {
    for point in [
        "git.update-ref:1",
        "git.update-ref:2",
        "git.update-ref.target:1",
        "git.update-ref.target:2",
    ] {
        let world = ready(LAND);
        killed_at(&world, point);
        world.expect(&["run", "rfc.yaml"], 0);
        assert_landed(&world);
        let all = world.git(&["branch", "--list", "--format=%(refname:short)", "pipeline/*"]);
        assert_eq!(all.trim(), branch(&world));
    }
}

#[test]
fn a_lost_journal_is_rebuilt_with_its_branch() {
    let world = ready(LAND);
    world.expect(&["run", "rfc.yaml", "one"], 0);
    let before = (branch(&world), tip(&world, &branch(&world)));
    std::fs::remove_dir_all(world.repo.join(".git/pipeline")).unwrap();
    world.expect(&["doctor", "--fix"], 0);
    assert_eq!((branch(&world), tip(&world, &branch(&world))), before);
    world.expect(&["run", "rfc.yaml"], 0);
    assert_landed(&world);
}

#[test]
fn another_run_of_the_file_lands_on_a_branch_of_its_own_from_the_target() {
    let world = ready(LAND);
    world.expect(&["run", "rfc.yaml"], 0);
    let first = branch(&world);
    world.expect(&["run", "rfc.yaml", "--fresh"], 0);
    assert_ne!(branch(&world), first);
    assert_landed(&world);
    world.git(&["merge", "-q", &branch(&world)]);
    let text = world.read("rfc.yaml") + "  three: {title: 'feat: three', prompt: x, tier: trivial}\n";
    world.write("rfc.yaml", &text);
    let said = world.expect(&["run", "rfc.yaml"], 0);
    assert!(
        said.err.contains("landed, kept"),
        "what was merged is kept: {}",
        said.err
    );
    let subjects = world.git(&["log", "--format=%s", &format!("main..{}", branch(&world))]);
    assert_eq!(subjects, "feat: three\n");
}

#[test]
fn what_conflicts_is_repaired_on_the_branch() {
    let world = ready(LAND);
    world.write("shared.txt", "before\n");
    world.write(
        "agents/author.sh",
        "echo \"by $PIPELINE_UNIT\" > shared.txt\nsleep 0.2\n",
    );
    let text = world.read("rfc.yaml").replace(", needs: [one]", "");
    world.write("rfc.yaml", &(text + "queue: {on_conflict: evict}\n"));
    world.commit("feat: share");
    world.expect(&["run", "rfc.yaml"], 5);
    let evicted = if world.unit("one")["state"] == "evicted" {
        "one"
    } else {
        "two"
    };
    let place = world.open_repair(evicted);
    std::fs::write(place.join("shared.txt"), "by both\n").unwrap();
    world.git_in(&place, &["commit", "-qam", "fix: both"]);
    world.expect(&["resolve", evicted, "--done"], 0);
    world.expect(&["run", "rfc.yaml"], 0);
    assert_eq!(
        world.git(&["show", &format!("{}:shared.txt", branch(&world))]),
        "by both\n"
    );
    assert_eq!(world.read("shared.txt"), "before\n");
    world.expect(&["doctor", "--strict"], 0);
}
