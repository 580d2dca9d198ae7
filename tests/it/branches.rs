//! Branches that people made, brought in as units: what lands of them, and that the branch itself is left alone.

use crate::world::{World, file};

/// A world with the branch `feature` of two commits by two people, off the first commit of `main`, which has gone on.
fn with_branch(units: &str) -> World {
    with_branch_in(World::new(), units)
}

fn with_branch_in(world: World, units: &str) -> World {
    world.git(&["switch", "-q", "-c", "feature"]);
    commit_as(
        &world,
        "Grace <grace@example.org>",
        "one.txt",
        "one\n",
        "feat: one",
    );
    commit_as(
        &world,
        "Linus <linus@example.org>",
        "two.txt",
        "two\n",
        "feat: two\n\nBecause.",
    );
    world.git(&["switch", "-q", "main"]);
    world.write("other.txt", "other\n");
    world.file("", units);
    world.commit("chore: plan");
    world
}

fn commit_as(world: &World, author: &str, path: &str, text: &str, message: &str) {
    world.write(path, text);
    world.git(&["add", "-A"]);
    let author = format!("--author={author}");
    world.git(&[
        "commit",
        "-q",
        "-m",
        message,
        &author,
        "--date=2001-02-03T04:05:06+0700",
    ]);
}

/// Author and subject of the commits that landed, oldest first.
fn landed(world: &World) -> Vec<String> {
    let log = world.git(&["log", "--reverse", "--format=%an: %s", "main"]);
    let all = log.lines().map(str::to_owned).collect::<Vec<_>>();
    let plan = all.iter().position(|line| line.ends_with("chore: plan")).unwrap();
    all[plan + 1..].to_vec()
}

fn tip(world: &World, branch: &str) -> String {
    world.git(&["rev-parse", branch]).trim().to_owned()
}

const BRANCH: &str = "  x: {title: 'feat: x', from_branch: feature}\n";

#[test]
fn every_commit_of_a_branch_lands_with_its_author_and_the_branch_is_not_moved() {
    let world = with_branch(BRANCH);
    let (branch, reflog) = (tip(&world, "feature"), world.git(&["reflog", "feature"]));
    let said = world.expect(&["run", "rfc.yaml"], 0);
    assert!(said.out.contains("feature taken in"), "{}", said.out);
    assert_eq!(landed(&world), ["Grace: feat: one", "Linus: feat: two"]);
    let format = "--format=%ad|%(trailers:key=Pipeline-Unit,valueonly,separator=)|%b";
    let last = world.git(&["log", "-1", "--date=iso-strict", format, "main"]);
    assert!(last.starts_with("2001-02-03T04:05:06+07:00|x|Because."), "{last}");
    assert_eq!(tip(&world, "feature"), branch);
    assert_eq!(world.git(&["reflog", "feature"]), reflog);
    assert_eq!(
        world.calls("x"),
        ["review.1", "approve.1"],
        "nobody implements anything"
    );
    let unit = world.unit("x");
    assert_eq!(
        (&unit["state"], &unit["branch"]),
        (&"landed".into(), &"feature".into())
    );
    assert_eq!(unit["stages"][1]["name"], "review", "after the checks: {unit}");
    assert_eq!(
        (world.read("one.txt"), world.read("other.txt")),
        ("one\n".into(), "other\n".into())
    );
    world.expect(&["doctor", "--strict"], 0);
    world.assert_clean();
}

#[test]
fn a_conflict_with_a_unit_that_an_earlier_run_landed_names_it_and_explains_it() {
    let world = with_branch(BRANCH);
    world.git(&["switch", "-q", "-c", "late", "main~1"]);
    commit_as(&world, "Ada <ada@example.org>", "one.txt", "late\n", "feat: late");
    world.git(&["switch", "-q", "main"]);
    world.expect(&["run", "rfc.yaml"], 0);
    world.file(
        "",
        &format!("{BRANCH}  y: {{title: 'feat: y', from_branch: late}}\n"),
    );
    world.write(
        "agents/author.sh",
        "cp -r \"$PIPELINE_CONTEXT\" \"$COUNT_DIR/seen.$PIPELINE_ATTEMPT\"; exit 1\n",
    );
    world.commit("chore: one more");
    let said = world.expect(&["run", "rfc.yaml"], 5);
    assert!(said.err.contains("landed, kept"), "{}", said.err);
    let unit = world.unit("y");
    let sentence = unit["sentence"].as_str().unwrap_or_default();
    assert!(sentence.contains("one.txt (with `x`, which landed)"), "{unit}");
    let bundle = world
        .repo
        .join(unit["bundle"].as_str().unwrap())
        .join("bundle.md");
    let bundle = std::fs::read_to_string(bundle).unwrap();
    assert!(
        bundle.contains("was landed by unit `x` as ") && !bundle.contains("no unit of this run"),
        "{bundle}"
    );
    let seen = world.base().join("count/seen.1");
    let told = world
        .program("grep")
        .args(["-r", "feat: x"])
        .arg(seen)
        .output()
        .unwrap();
    assert!(
        told.status.success(),
        "the author is told what the other side is for"
    );
}

#[test]
fn what_a_review_asks_for_is_fixed_in_a_commit_of_its_own_after_those_of_the_branch() {
    let world = with_branch(BRANCH);
    let fixer = "[ \"$PIPELINE_KIND\" = fix ] && { echo mended >> one.txt; \
        echo '{\"summary\":\"s\",\"resolutions\":[{\"finding\":\"F-1\",\"action\":\"fixed\",\"note\":\"n\"}]}' > \"$PIPELINE_RESULT\"; }\n";
    world.write("agents/author.sh", fixer);
    world.write("rfc.yaml", &file("90,", "test -f README", BRANCH));
    world.commit("chore: plan");
    let branch = tip(&world, "feature");
    world.expect(&["run", "rfc.yaml"], 0);
    assert_eq!(
        landed(&world)[1..],
        [
            "Grace: feat: one",
            "Linus: feat: two",
            "Ada: fix: mend feature (round 1)"
        ]
    );
    assert_eq!(world.read("one.txt"), "one\nmended\n");
    assert_eq!(tip(&world, "feature"), branch);
    world.expect(&["doctor", "--strict"], 0);
}

#[test]
fn a_push_before_the_landing_evicts_the_unit_and_a_retry_takes_the_new_head() {
    let world = with_branch(BRANCH);
    let once = "[ \"$PIPELINE_KIND\" = approve ] && ! [ -e \"$COUNT_DIR/pushed\" ] && touch \"$COUNT_DIR/pushed\" && \
        git -C \"$COUNT_DIR/../repo\" update-ref refs/heads/feature main\n";
    let reviewer = world.read("agents/reviewer.sh");
    world.write("agents/reviewer.sh", &format!("{once}{reviewer}"));
    world.commit("chore: plan");
    world.expect(&["run", "rfc.yaml"], 5);
    let unit = world.unit("x");
    assert_eq!(
        (&unit["state"], &unit["reason"]),
        (&"evicted".into(), &"head_moved".into())
    );
    assert_eq!(landed(&world).len(), 1, "nothing landed");
    // The person goes on from where they were.
    world.git(&["switch", "-q", "-C", "feature", "main~2"]);
    commit_as(
        &world,
        "Grace <grace@example.org>",
        "three.txt",
        "three\n",
        "feat: three",
    );
    world.git(&["switch", "-q", "main"]);
    let said = world.expect(&["retry", "x"], 0);
    assert!(said.out.contains("pipeline run rfc.yaml"), "{}", said.out);
    world.expect(&["run", "rfc.yaml"], 0);
    assert_eq!(landed(&world).last().unwrap(), "Grace: feat: three");
    assert!(
        !world.repo.join("one.txt").exists(),
        "what the branch was before is not wanted"
    );
    world.expect(&["doctor", "--strict"], 0);
}

#[test]
fn a_branch_that_is_deleted_after_its_intake_lands_all_the_same() {
    let world = with_branch(BRANCH);
    let reviewer = world.read("agents/reviewer.sh");
    world.write(
        "agents/reviewer.sh",
        &format!("git -C \"$COUNT_DIR/../repo\" branch -qD feature || true\n{reviewer}"),
    );
    world.commit("chore: plan");
    world.expect(&["run", "rfc.yaml"], 0);
    assert_eq!(landed(&world)[1..], ["Grace: feat: one", "Linus: feat: two"]);
    let again = world.expect(&["run", "rfc.yaml"], 0);
    assert!(again.err.contains("Nothing to do"), "{}", again.err);
}

#[test]
fn what_is_on_the_target_already_is_done_at_once_however_it_came_there() {
    let units = "  same: {title: 'feat: a', from_branch: same}
  picked: {title: 'feat: b', from_branch: feature}
  after: {title: 'feat: c', prompt: x, needs: [same, picked]}\n";
    let world = with_branch(units);
    world.git(&["cherry-pick", "feature~1", "feature"]);
    world.git(&["branch", "same", "main"]);
    let before = tip(&world, "main");
    let said = world.expect(&["run", "rfc.yaml"], 0);
    assert!(said.out.contains("is on the target already"), "{}", said.out);
    for unit in ["same", "picked", "after"] {
        assert_eq!(world.unit(unit)["state"], "landed");
    }
    assert_eq!(
        world.calls("picked"),
        Vec::<String>::new(),
        "nobody was paid to look at it"
    );
    assert_eq!(
        tip(&world, "main~1"),
        before,
        "only the one that needed them landed"
    );
    world.expect(&["doctor", "--strict"], 0);
}

#[test]
fn what_cannot_be_put_on_the_target_is_told_before_anybody_is_paid() {
    let units = "  alien: {title: 'feat: a', from_branch: alien}\n  merged: {title: 'feat: b', from_branch: merged}\n";
    let world = with_branch(units);
    world.git(&["switch", "-q", "-c", "merged", "feature"]);
    world.git(&["merge", "-q", "--no-edit", "main"]);
    world.write("more.txt", "more\n");
    world.commit("feat: more");
    world.git(&["switch", "-q", "--orphan", "alien"]);
    world.write("alien.txt", "alien\n");
    world.commit("feat: alien");
    world.git(&["switch", "-q", "main"]);
    world.expect(&["run", "rfc.yaml"], 5);
    for (unit, reason) in [("alien", "unrelated_history"), ("merged", "merge_commit")] {
        let row = world.unit(unit);
        assert_eq!(
            (&row["state"], &row["reason"]),
            (&"evicted".into(), &reason.into())
        );
        assert_eq!(world.calls(unit), Vec::<String>::new());
    }
    assert_eq!(landed(&world), Vec::<String>::new());
    let evicted = world.expect(&["evicted"], 0);
    assert!(evicted.out.contains("strategy: squash"), "{}", evicted.out);
    // Squashed, the same branch is one commit.
    let squash = world.read("rfc.yaml") + "queue: {strategy: squash}\n";
    world.write("rfc.yaml", &squash);
    world.commit("chore: squash");
    world.expect(&["run", "rfc.yaml"], 5);
    assert_eq!(world.unit("merged")["state"], "landed");
    assert_eq!(world.git(&["log", "-1", "--format=%s", "main"]), "feat: b\n");
    assert_eq!(world.read("more.txt"), "more\n");
    world.expect(&["doctor", "--strict"], 0);
}

#[test]
fn a_branch_that_is_not_there_is_told_with_the_nearest_and_no_run_begins() {
    let world = with_branch("  x: {title: 'feat: x', from_branch: featura}\n");
    let said = world.expect(&["validate", "rfc.yaml"], 0);
    assert!(
        said.err.contains("unknown_branch") || said.out.contains("unknown_branch"),
        "{}{}",
        said.out,
        said.err
    );
    let said = world.expect(&["run", "rfc.yaml"], 3);
    assert!(said.err.contains("did you mean `feature`?"), "{}", said.err);
    assert!(
        !world
            .repo
            .join(".git/pipeline/runs")
            .read_dir()
            .is_ok_and(|mut runs| runs.next().is_some())
    );
}

#[test]
fn a_branch_of_a_remote_and_a_commit_by_its_id_are_brought_in_like_a_branch() {
    let world = with_branch("");
    let clone = world.base().join("clone");
    world.git(&["clone", "-q", ".", clone.to_str().unwrap()]);
    let units = format!(
        "  far: {{title: 'feat: far', from_branch: origin/feature}}\n  id: {{title: 'feat: id', from_branch: {}}}\n",
        tip(&world, "main~0")
    );
    std::fs::write(clone.join("rfc.yaml"), file("", "test -f README", &units)).unwrap();
    world.git_in(&clone, &["config", "user.name", "Ada"]);
    world.git_in(&clone, &["config", "user.email", "ada@example.org"]);
    world.git_in(&clone, &["commit", "-qam", "chore: plan"]);
    let said = world.pipeline_in(&clone, &["run", "rfc.yaml"]);
    assert_eq!(said.code, 0, "{}{}", said.out, said.err);
    assert_eq!(
        world.git_in(&clone, &["log", "-2", "--format=%an"]),
        "Linus\nGrace\n"
    );
}

/// The branch's own tests fail, and no agent repairs what is a person's.
#[test]
fn a_branch_that_fails_its_checks_in_a_tier_without_a_fix_is_a_persons_again() {
    let world = with_branch("");
    let units = "  x: {title: 'feat: x', from_branch: feature, tier: trivial}\n";
    world.write("rfc.yaml", &file("", "! test -f two.txt", units));
    world.commit("chore: plan");
    world.expect(&["run", "rfc.yaml"], 5);
    assert_eq!(world.unit("x")["reason"], "checks_failed");
    // Repaired by hand, commit by commit.
    let folder = world.open_repair("x");
    world.git_in(&folder, &["rm", "-q", "two.txt"]);
    world.git_in(&folder, &["commit", "-qm", "fix: by hand"]);
    world.expect(&["resolve", "x", "--done"], 0);
    world.expect(&["run", "rfc.yaml"], 0);
    let last: Vec<String> = landed(&world)[1..].to_vec();
    assert_eq!(
        last,
        ["Grace: feat: one", "Linus: feat: two", "Ada: fix: by hand"]
    );
    world.expect(&["doctor", "--strict"], 0);
}

/// Guards look at a branch as they look at an author's work.
#[test]
fn a_branch_that_touches_what_is_protected_waits_for_a_person() {
    let world = with_branch("");
    world.git(&["switch", "-q", "feature"]);
    commit_as(
        &world,
        "Grace <g@example.org>",
        ".github/workflows/ci.yml",
        "on: push\n",
        "ci: build",
    );
    world.git(&["switch", "-q", "main"]);
    world.file("", BRANCH);
    world.commit("chore: plan");
    world.expect(&["run", "rfc.yaml"], 6);
    assert_eq!(world.unit("x")["state"], "gated");
    world.expect(&["approve", "x"], 0);
    world.expect(&["run", "rfc.yaml"], 0);
    assert_eq!(world.unit("x")["state"], "landed");
}

/// Needs the failpoints of builds with debug assertions.
#[cfg(debug_assertions)]
#[test]
fn an_engine_that_is_killed_anywhere_around_the_intake_is_continued_and_the_branch_is_taken_in_once() {
    let world = with_branch_in(
        World::in_memory(),
        "  x: {title: 'feat: x', from_branch: feature, tier: trivial}\n",
    );
    let saved = tempfile::tempdir_in(world.base().parent().unwrap()).unwrap();
    world.save(saved.path());
    let branch = tip(&world, "feature");
    let mut kills_around_intake = 0;
    for at in 1.. {
        let fault = format!("kill@{at}");
        let killed = world.pipeline_with(&["run", "rfc.yaml"], &[("PIPELINE_FAULT", &fault)]);
        assert_eq!(killed.code, -1, "the intake is before the end: {}", killed.out);
        // What comes before the run begins is the sweep's.
        let runs = world.repo.join(".git/pipeline/runs").read_dir();
        let begun = runs.is_ok_and(|mut runs| {
            runs.any(|run| !run.unwrap().file_name().to_string_lossy().starts_with('.'))
        });
        if begun {
            kills_around_intake += 1;
            let is_over = !world.events("branch_taken").is_empty();
            world.expect(&["run", "rfc.yaml"], 0);
            assert_eq!(world.events("branch_taken").len(), 1, "killed at {at}");
            assert_eq!(
                landed(&world),
                ["Grace: feat: one", "Linus: feat: two"],
                "killed at {at}"
            );
            assert_eq!(tip(&world, "feature"), branch);
            world.expect(&["doctor", "--strict"], 0);
            world.assert_clean();
            if is_over {
                break;
            }
        }
        world.restore(saved.path());
    }
    assert!(kills_around_intake > 5, "{kills_around_intake} places");
}

#[test]
fn a_lost_journal_is_made_anew_with_the_branch_where_it_was_taken_in() {
    let world = with_branch(BRANCH);
    world.git(&["tag", "before", "main"]);
    let reviewer = world.read("agents/reviewer.sh");
    let once = "[ \"$PIPELINE_KIND\" = approve ] && ! [ -e \"$COUNT_DIR/held\" ] && touch \"$COUNT_DIR/held\" && sleep 600\n";
    world.write("agents/reviewer.sh", &format!("{once}{reviewer}"));
    world.commit("chore: plan");
    let mut engine = world.start(&["run", "rfc.yaml"]);
    world.wait_until("the approval", || world.base().join("count/held").exists());
    engine.kill().unwrap();
    engine.wait().unwrap();
    std::fs::remove_dir_all(world.repo.join(".git/pipeline")).unwrap();
    // What was taken in is what lands, whatever became of the branch.
    world.git(&["branch", "-qD", "feature"]);
    let said = world.expect(&["run", "rfc.yaml"], 0);
    assert!(said.err.contains("rebuilt from git"), "{}", said.err);
    assert_eq!(landed(&world)[1..], ["Grace: feat: one", "Linus: feat: two"]);
    world.expect(&["doctor", "--strict"], 0);
    // And once it has landed, it has landed.
    std::fs::remove_dir_all(world.repo.join(".git/pipeline")).unwrap();
    let said = world.expect(&["run", "rfc.yaml"], 0);
    assert!(said.err.contains("1 landed"), "{}", said.err);
    assert_eq!(landed(&world).len(), 3);
}
