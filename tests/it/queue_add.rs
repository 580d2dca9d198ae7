//! `pipeline queue add BRANCH`: a branch is brought into the queue of a run, by hand and with no more than is needed.

use std::os::unix::ffi::OsStrExt as _;

use crate::world::World;

const ONE: &str = "  one: {title: 'feat: one', prompt: x, tier: trivial}\n";

/// A world with a pipeline of one unit, and branches off its `main`, each with a file of its name.
fn with_branches(names: &[&str]) -> World {
    let world = World::new();
    world.write("rfc.yaml", &crate::world::file("", "! test -f broken", ONE));
    world.commit("chore: plan");
    names.iter().for_each(|name| push(&world, name, name));
    world
}

/// Another commit on a branch, which is made where there is none.
fn push(world: &World, branch: &str, file: &str) {
    if world.git(&["branch", "--list", branch]).is_empty() {
        world.git(&["branch", branch, "main"]);
    }
    world.git(&["switch", "-q", branch]);
    world.write(file, "theirs\n");
    world.commit(&format!("feat: {file}"));
    world.git(&["switch", "-q", "main"]);
}

fn add(world: &World, args: &[&str], code: i32) -> String {
    let said = world.expect(&[&["queue", "add"], args].concat(), code);
    said.out + &said.err
}

#[test]
fn a_wish_is_kept_until_the_run_it_names_carries_it_out() {
    let world = with_branches(&["feature/x"]);
    let said = add(&world, &["feature/x", "--file", "rfc.yaml"], 0);
    assert!(
        said.contains("as `feature-x`") && said.ends_with("Next: pipeline run rfc.yaml\n"),
        "{said}"
    );
    assert!(
        world
            .expect(&["plan", "rfc.yaml"], 0)
            .out
            .contains("branch feature/x → review")
    );
    world.expect(&["run", "rfc.yaml"], 0);
    for unit in ["one", "feature-x"] {
        assert_eq!(world.unit(unit)["state"], "landed");
    }
    assert_eq!(world.calls("feature-x"), ["review.1", "approve.1"]);
    assert_eq!(world.read("feature/x"), "theirs\n");
    world.expect(&["doctor", "--strict"], 0);
    world.assert_clean();
}

#[test]
fn a_branch_joins_the_run_there_is_and_nothing_that_is_done_is_done_again() {
    let world = with_branches(&["x", "y"]);
    world.expect(&["run", "rfc.yaml"], 0);
    let run = world.run_dir();
    add(&world, &["x", "--no-review"], 0);
    add(&world, &["y", "--no-review"], 0);
    let brought = || {
        world
            .expect(&["queue"], 0)
            .out
            .contains("brought by hand: `x`, `y`")
    };
    assert!(brought());
    let queue = world.expect(&["queue", "--json"], 0).out;
    let queue: serde_json::Value = serde_json::from_str(&queue).unwrap();
    assert_eq!(
        queue["brought"][1],
        serde_json::json!({"unit": "y", "branch": "y", "review": false})
    );
    let asked = world.expect(&["why", "y"], 4).err;
    assert!(asked.contains("was brought by hand"), "{asked}");
    world.expect(&["run", "rfc.yaml"], 0);
    assert!(!brought(), "the run has them");
    assert_eq!(world.run_dir(), run, "the same run");
    assert_eq!(world.calls("one").len(), 1);
    assert_eq!(
        (world.calls("x").len(), world.calls("y").len()),
        (0, 0),
        "nobody judges them"
    );
    let subjects = world.git(&["log", "-3", "--format=%s"]);
    assert_eq!(
        subjects, "feat: y\nfeat: x\nfeat: one\n",
        "in the order they were asked for"
    );
    world.expect(&["run", "rfc.yaml"], 0);
    world.expect(&["doctor", "--strict"], 0);
}

#[test]
fn what_needs_a_person_is_left_alone_when_a_branch_joins_the_run() {
    let world = with_branches(&["x"]);
    world.write(
        "agents/author.sh",
        "echo tried >> \"$COUNT_DIR/tried\"; touch broken\n",
    );
    world.commit("chore: a bad author");
    world.expect(&["run", "rfc.yaml"], 5);
    let tries = std::fs::read_to_string(world.base().join("count/tried")).unwrap();
    add(&world, &["x"], 0);
    world.expect(&["run", "rfc.yaml"], 5);
    assert_eq!(world.unit("x")["state"], "landed");
    assert_eq!(world.unit("one")["state"], "evicted");
    assert_eq!(
        std::fs::read_to_string(world.base().join("count/tried")).unwrap(),
        tries
    );
}

#[test]
fn a_branch_that_no_run_has_taken_in_can_be_given_up() {
    let world = with_branches(&["wrong", "right"]);
    // Without any run.
    add(
        &world,
        &["wrong", "right", "--no-review", "--file", "rfc.yaml"],
        0,
    );
    let said = world.expect(&["queue", "top", "right"], 4).err;
    assert!(
        said.contains("no run has taken it in") && said.contains("pipeline run FILE"),
        "{said}"
    );
    world.git(&["branch", "-qD", "wrong"]);
    let said = world.expect(&["run", "rfc.yaml"], 3).err;
    assert!(said.contains("pipeline cancel wrong"), "{said}");
    let said = world.expect(&["cancel", "wrong"], 0).out;
    assert!(
        said.contains("is forgotten") && said.ends_with("Next: pipeline run FILE\n"),
        "{said}"
    );
    world.expect(&["cancel", "wrong"], 4);
    world.expect(&["run", "rfc.yaml"], 0);
    assert_eq!(world.unit("right")["state"], "landed");
    world.expect(&["show", "wrong"], 4);

    // Beside the run there is, which goes on.
    let run = world.run_dir();
    push(&world, "wrong", "wrong");
    add(&world, &["wrong"], 0);
    let said = world.expect(&["queue", "top", "wrong"], 4).err;
    assert!(
        said.contains("pipeline run rfc.yaml") && said.contains("pipeline cancel wrong"),
        "{said}"
    );
    let said = world.expect(&["discard", "wrong"], 0).out;
    assert!(said.ends_with("Next: pipeline run rfc.yaml\n"), "{said}");
    world.expect(&["run", "rfc.yaml"], 0);
    assert_eq!(world.run_dir(), run);
    assert_eq!(
        world.git(&["for-each-ref", "refs/pipeline/added/trial/wrong"]),
        ""
    );

    // What a run has is cancelled there, and not forgotten.
    let said = world.expect(&["cancel", "right"], 2).err;
    assert!(said.contains("landed"), "{said}");
    assert_ne!(
        world.git(&["for-each-ref", "refs/pipeline/added/trial/right"]),
        ""
    );
}

#[test]
fn a_branch_that_was_brought_to_several_pipelines_is_given_up_by_the_name_of_one() {
    let world = with_branches(&["x"]);
    let other = world.read("rfc.yaml").replace("name: trial", "name: other");
    world.write("other.yaml", &other);
    world.commit("chore: another plan");
    for file in ["rfc.yaml", "other.yaml"] {
        add(&world, &["x", "--file", file], 0);
    }
    let said = world.expect(&["cancel", "x"], 2).err;
    assert!(
        said.contains("`other`, `trial`") && said.contains("--run"),
        "{said}"
    );
    world.expect(&["cancel", "x", "--run", "other"], 0);
    // The one that is left is the run's by now.
    world.expect(&["run", "rfc.yaml"], 0);
    add(&world, &["x", "--file", "other.yaml"], 0);
    world.expect(&["cancel", "x", "--run", "other"], 0);
    let left = world.git(&["for-each-ref", "--format=%(refname)", "refs/pipeline/added"]);
    assert_eq!(left, "refs/pipeline/added/trial/x\n");
}

#[test]
fn a_brought_branch_that_is_gone_is_given_up_when_a_new_run_begins() {
    let world = with_branches(&["x"]);
    push(&world, "x", "broken");
    add(&world, &["x", "--no-review", "--file", "rfc.yaml"], 0);
    world.expect(&["run", "rfc.yaml"], 5);
    world.git(&["branch", "-qD", "x"]);
    world.write("rfc.yaml", &world.read("rfc.yaml").replace("  one:", "  two:"));
    world.commit("chore: another run");
    let said = world.expect(&["run", "rfc.yaml"], 3).err;
    assert!(said.contains("pipeline discard x"), "{said}");
    world.expect(&["discard", "x"], 0);
    world.expect(&["run", "rfc.yaml"], 0);
    world.expect(&["show", "x"], 4);
}

#[test]
fn to_ask_again_changes_nothing_and_says_where_the_branch_is() {
    let world = with_branches(&["x"]);
    add(&world, &["x", "--file", "rfc.yaml"], 0);
    let wishes = world.git(&["for-each-ref", "refs/pipeline/added"]);
    assert!(add(&world, &["x", "--file", "rfc.yaml"], 0).contains("in line already, as `x`"));
    assert_eq!(world.git(&["for-each-ref", "refs/pipeline/added"]), wishes);
    // Another way through is another wish, as long as nobody has begun.
    assert!(
        add(&world, &["x", "--file", "rfc.yaml", "--no-review"], 0)
            .contains("straight to verification, as `x`")
    );
    assert_eq!(
        world
            .git(&["for-each-ref", "refs/pipeline/added"])
            .lines()
            .count(),
        1
    );
    world.expect(&["run", "rfc.yaml"], 0);
    assert!(add(&world, &["x"], 0).contains("has landed"));
    world.expect(&["run", "rfc.yaml"], 0);
    // What was pushed since may be brought in, too.
    push(&world, "x", "more");
    assert!(add(&world, &["x"], 0).contains("as `x-2`"));
    world.expect(&["run", "rfc.yaml"], 0);
    assert_eq!(world.read("more"), "theirs\n");
    assert_eq!(world.git(&["log", "-1", "--format=%s"]), "feat: more\n");
    world.expect(&["doctor", "--strict"], 0);
}

#[test]
fn a_branch_that_landed_on_the_branch_of_a_run_is_not_asked_for_again() {
    let world = with_branches(&["x"]);
    let text = world
        .read("rfc.yaml")
        .replace("checks:\n", "land: branch\nchecks:\n");
    world.write("rfc.yaml", &text);
    world.commit("chore: land on a branch");
    add(&world, &["x", "--no-review", "--file", "rfc.yaml"], 0);
    world.expect(&["run", "rfc.yaml"], 0);
    assert!(add(&world, &["x"], 0).contains("has landed"));
}

#[test]
fn a_branch_with_a_path_that_is_no_text_leaves_and_the_others_go_on() {
    for how in [&["odd"] as &[&str], &["odd", "--no-review"]] {
        let world = with_branches(&[]);
        world.git(&["switch", "-qc", "odd"]);
        let name = std::ffi::OsStr::from_bytes(b"caf\xe9");
        std::fs::write(world.repo.join(name), "odd\n").unwrap();
        world.commit("feat: odd");
        world.git(&["switch", "-q", "main"]);
        add(&world, &[how, &["--file", "rfc.yaml"]].concat(), 0);
        world.expect(&["run", "rfc.yaml"], 5);
        let odd = world.unit("odd");
        assert_eq!(odd["reason"], "diff_not_preserved");
        assert!(odd["sentence"].as_str().unwrap().contains("caf\\xe9"), "{odd}");
        assert_eq!(world.unit("one")["state"], "landed");
    }
}

#[test]
fn a_branch_that_a_person_gave_up_is_in_no_later_run_even_when_it_is_gone() {
    let world = with_branches(&["x", "y"]);
    world.expect(&["run", "rfc.yaml"], 0);
    add(&world, &["x"], 0);
    add(&world, &["y"], 0);
    let paused = world.pipeline_with(&["run", "rfc.yaml", "one"], &[]);
    assert_eq!(paused.code, 0, "{}{}", paused.out, paused.err);
    world.expect(&["cancel", "x"], 0);
    world.expect(&["discard", "y"], 0);
    world.git(&["branch", "-qD", "x"]);
    let text = world.read("rfc.yaml").replace("  one:", "  two:");
    world.write("rfc.yaml", &text);
    world.commit("chore: another run");
    world.expect(&["run", "rfc.yaml"], 0);
    for unit in ["x", "y"] {
        world.expect(&["show", unit], 4);
    }
    assert_eq!(world.git(&["for-each-ref", "refs/pipeline/added"]), "");
}

#[test]
fn a_branch_that_fails_is_named_with_the_way_on() {
    let world = with_branches(&[]);
    push(&world, "bad", "broken");
    add(&world, &["bad", "--file", "rfc.yaml", "--no-review"], 0);
    world.expect(&["run", "rfc.yaml"], 5);
    assert_eq!(world.unit("bad")["reason"], "verify_failed");
    assert_eq!(world.unit("one")["state"], "landed");
    let said = add(&world, &["bad"], 2);
    assert!(said.contains("pipeline retry bad"), "{said}");
    world.git(&["switch", "-q", "bad"]);
    world.git(&["rm", "-q", "broken"]);
    world.write("fine", "fine\n");
    world.git(&["add", "fine"]);
    world.git(&["commit", "-q", "--amend", "-m", "feat: fine"]);
    world.git(&["switch", "-q", "main"]);
    world.expect(&["retry", "bad"], 0);
    world.expect(&["run", "rfc.yaml"], 0);
    assert_eq!(world.read("fine"), "fine\n");
}

#[test]
fn what_could_never_land_is_refused_before_anything_is_written() {
    let world = with_branches(&["x"]);
    world.git(&["branch", "same", "main~1"]);
    world.git(&["switch", "-q", "--orphan", "alien"]);
    world.write("alien", "alien\n");
    world.commit("feat: alien");
    world.git(&["switch", "-q", "main"]);
    world.write("other", "other\n");
    world.commit("chore: go on");
    world.git(&["switch", "-q", "-c", "merged", "x"]);
    world.git(&["merge", "-q", "--no-edit", "main"]);
    world.git(&["switch", "-q", "main"]);
    for (branch, code, told) in [
        ("nowhere", 4, "no branch `nowhere`"),
        ("alien", 2, "shares no history"),
        ("merged", 2, "merge commit"),
        ("same", 0, "on `main` already"),
    ] {
        let said = add(&world, &[branch, "--file", "rfc.yaml"], code);
        assert!(said.contains(told), "{said}");
    }
    assert!(
        add(&world, &["x"], 2).contains("--file FILE"),
        "without a run there is no latest file"
    );
    assert_eq!(world.git(&["for-each-ref", "refs/pipeline"]), "");
}

#[test]
fn a_branch_that_an_unfinished_run_on_another_target_has_is_not_forgotten() {
    let world = with_branches(&["x"]);
    world.git(&["branch", "rel"]);
    world.write("agents/author.sh", "touch \"$COUNT_DIR/began\"; sleep 600\n");
    world.commit("chore: a slow author");
    let stop = |mut engine: std::process::Child| {
        engine.kill().unwrap();
        engine.wait().unwrap();
    };
    let first = world.start(&["run", "rfc.yaml"]);
    world.wait_until("the author", || world.base().join("count/began").exists());
    stop(first);
    // A later run of the same name, on another target, is finished.
    world.git(&["switch", "-q", "rel"]);
    world.expect(&["run", "rfc.yaml"], 0);
    world.git(&["switch", "-q", "main"]);
    add(&world, &["x", "--file", "rfc.yaml"], 0);
    std::fs::remove_file(world.base().join("count/began")).unwrap();
    let second = world.start(&["run", "rfc.yaml"]);
    world.wait_until("the author", || world.base().join("count/began").exists());
    stop(second);
    let said = world.expect(&["cancel", "x"], 4).err;
    assert!(!said.contains("forgotten"), "{said}");
    assert!(world.git(&["for-each-ref", "refs/pipeline/added"]).contains("/x"));
}

/// Needs the failpoints of builds with debug assertions.
#[cfg(debug_assertions)]
#[test]
fn a_run_that_is_killed_while_it_is_given_a_branch_is_given_it_once() {
    let world = with_branches(&["x"]);
    world.expect(&["run", "rfc.yaml"], 0);
    add(&world, &["x", "--no-review"], 0);
    for at in [
        "journal.append:1",
        "store.file:1",
        "store.file.rename:1",
        "journal.append:2",
    ] {
        let fault = format!("kill@{at}");
        let killed = world.pipeline_with(&["run", "rfc.yaml"], &[("PIPELINE_FAULT", &fault)]);
        assert_eq!(killed.code, -1, "{at}: {}{}", killed.out, killed.err);
    }
    world.expect(&["run", "rfc.yaml"], 0);
    assert_eq!(world.git(&["log", "-2", "--format=%s"]), "feat: x\nfeat: one\n");
    world.expect(&["doctor", "--strict"], 0);
    // And the run is made anew from git with all of its units.
    std::fs::remove_dir_all(world.repo.join(".git/pipeline")).unwrap();
    let said = world.expect(&["run", "rfc.yaml"], 0);
    assert!(said.err.contains("2 landed"), "{}", said.err);
}
