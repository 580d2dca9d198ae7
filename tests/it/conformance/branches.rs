//! Branches that people made, in line with what agents did: they land commit by commit, as they were when they came.

use super::given;
use super::given::Given;

/// A branch `theirs` of two commits by two people, from which the target has gone on.
const THEIRS: &str = "
    git switch -qc theirs
    echo one > a.txt; git add a.txt; git commit -qm 'feat: one' --author 'Grace <grace@example.org>'
    echo two > two; git add two; git commit -qm 'feat: two' --author 'Linus <linus@example.org>'
    git rev-parse theirs > STAGE/theirs
    git switch -q main; git commit -q --allow-empty -m 'docs: meanwhile'
";

/// `a` is the branch; it joins the queue when it will, because nobody has to write it.
fn branch(queue: &str, after: &str) -> Given {
    given(queue)
        .unit('a', "from_branch: theirs")
        .repository(&format!("{THEIRS}{after}"))
}

#[test]
fn every_commit_of_a_branch_lands_with_its_author_and_the_branch_stays_where_it_is() {
    let scene = branch("window: 1", "").run(0);
    scene
        .landed("a")
        .history("feat: two; feat: one; chore: plan; docs: meanwhile");
    scene.person("test \"$(git log -2 --format=%an main)\" = \"$(printf 'Linus\\nGrace')\"");
    scene.person("test \"$(git rev-parse theirs)\" = \"$(cat STAGE/theirs)\"");
    assert!(scene.world.calls("a").is_empty(), "its tier has no review");
}

#[test]
fn others_are_built_on_all_the_commits_of_a_branch() {
    let scene = branch("window: 3", "").units("bc").closed().start();
    scene.verifying("a ab abc").open().ends(0);
    scene.landed("a b c").verified("a ab abc");
    scene.history("feat: c; feat: b; feat: two; feat: one");
}

#[test]
fn a_branch_that_fails_leaves_with_all_its_commits() {
    let scene = branch("window: 2", "").units("b").bad("a").run(5);
    scene
        .landed("b")
        .evicted('a', "verify_failed")
        .charged("a 100")
        .history("feat: b; chore: plan");
}

#[test]
fn a_branch_is_squashed_where_the_queue_squashes() {
    let scene = branch("window: 1, strategy: squash", "").run(0);
    scene
        .landed("a")
        .history("feat: a; chore: plan")
        .target("two", "two\n");
}

#[test]
fn the_commits_of_a_branch_land_also_behind_where_the_run_began() {
    let scene = branch("window: 1", "").closed().ready();
    scene
        .person("git commit -q --allow-empty -m 'docs: dropped'")
        .start()
        .verifying("a")
        .person("git reset -q --hard HEAD~1")
        .open()
        .ends(0);
    scene
        .landed("a")
        .history("feat: two; feat: one; chore: plan; docs: meanwhile")
        .nobody_paid();
}

#[test]
fn a_branch_that_was_picked_already_is_done_and_lands_nothing() {
    let scene = branch("window: 1", "git cherry-pick theirs~1 theirs > /dev/null")
        .units("b")
        .joining("")
        .run(0);
    scene
        .told("is on the target already")
        .is('a', "landed")
        .landed("b")
        .nobody_paid();
}

#[test]
fn a_branch_of_which_a_part_was_picked_lands_the_rest() {
    let scene = branch("window: 1", "git cherry-pick theirs~1 > /dev/null").run(0);
    scene
        .landed("a")
        .history("feat: two; chore: plan; feat: one; docs: meanwhile");
}

#[test]
fn a_merge_commit_is_refused_with_the_way_on_and_others_land() {
    let merge = "git switch -q theirs; git merge -q --no-edit main; git switch -q main";
    let scene = branch("window: 1", merge).units("b").joining("").run(5);
    scene.landed("b").evicted('a', "merge_commit").nobody_paid();
    scene.call(&["evicted"], 0).told("strategy: squash");
}

#[test]
fn an_unrelated_history_is_refused_and_others_land() {
    let alien = "git switch -q --orphan alien; echo x > a.txt; git add a.txt; git commit -qm 'feat: alien';
        git branch -M theirs; git switch -q main";
    let scene = branch("window: 1", alien).units("b").joining("").run(5);
    scene.landed("b").evicted('a', "unrelated_history").nobody_paid();
}

#[test]
fn a_branch_that_is_pushed_to_before_it_lands_leaves_and_comes_back_as_it_is_then() {
    let scene = branch("window: 1", "").closed().start();
    scene
        .verifying("a")
        .person("git branch -qf theirs theirs~1")
        .open()
        .ends(5);
    scene.landed("").evicted('a', "head_moved").nobody_paid();
    scene
        .call(&["retry", "a"], 0)
        .run(0)
        .landed("a")
        .history("feat: one; chore: plan");
}

#[test]
fn a_branch_that_conflicts_is_resolved_like_the_work_of_an_agent() {
    let theirs = "git switch -q theirs; echo theirs > shared; git add shared; git commit -qm 'feat: three'; git switch -q main
        echo ours > shared; git add shared; git commit -qm 'docs: ours'";
    let scene = branch("window: 1", theirs).run(0);
    scene.landed("a").events("sent_to_resolve", 1).nobody_paid();
    scene.target("shared", "ours\ntheirs\n").target("two", "two\n");
}

#[test]
fn what_an_agent_makes_of_a_branch_that_a_person_vouched_for_is_judged() {
    let conflict = "git switch -q theirs; echo theirs > shared; git add shared; git commit -qm 'feat: three'; git switch -q main
        echo ours > shared; git add shared; git commit -qm 'docs: ours'";
    let scene = given("window: 1")
        .units("b")
        .repository(&format!("{THEIRS}{conflict}"))
        .ready();
    scene.call(
        &["queue", "add", "theirs", "--no-review", "--file", "rfc.yaml"],
        0,
    );
    scene.run(0).events("sent_to_resolve", 1).nobody_paid();
    let calls = scene.world.calls("theirs");
    assert_eq!(calls[1..], ["review.2", "approve.2"], "after its author");
    assert_eq!(scene.world.unit("theirs")["state"], "landed");
    scene.target("shared", "ours\ntheirs\n").target("two", "two\n");
}
