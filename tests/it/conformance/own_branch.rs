//! `land: branch`: the run lands on a branch of its own, and the target is somebody else's.

use super::given;
use super::given::Given;

fn aside(queue: &str) -> Given {
    given(queue).also("land: branch")
}

/// Names the branch in the scripts of people.
const BRANCH: &str = "branch=$(git branch --list --format='%(refname:short)' 'pipeline/*')";

#[test]
fn a_target_that_moves_is_none_of_its_business() {
    let scene = aside("window: 2").units("ab").closed().start();
    scene
        .verifying("a ab")
        .person("git commit -q --allow-empty -m 'docs: theirs'")
        .open()
        .ends(0);
    scene.landed("a b").verified("a ab").nobody_paid();
    scene.history("docs: theirs; chore: plan");
}

#[test]
fn a_conflict_on_the_branch_is_resolved_there() {
    let scene = aside("window: 1")
        .units("ab")
        .writes('a', "echo a > shared")
        .writes('b', "echo b > shared")
        .run(0);
    scene.landed("a b").events("sent_to_resolve", 1);
    scene.person(&format!(
        "{BRANCH}; git show $branch:shared | grep -qx b; ! git show main:shared"
    ));
}

#[test]
fn an_engine_killed_after_the_swap_of_the_branch_does_not_land_again() {
    // The branch is made before; its second swap is the first landing.
    let scene = aside("window: 1")
        .units("ab")
        .at_swap(2..=2, "", "dies_with_the_engine")
        .start();
    scene
        .until_file("there")
        .kill()
        .run(0)
        .landed("a b")
        .nobody_paid();
}

#[test]
fn a_branch_that_a_person_rewinds_is_a_safety_stop_and_goes_on_when_it_is_restored() {
    let scene = aside("window: 1").units("ab").closed().start();
    scene
        .first_lands("ab")
        .person(&format!(
            "{BRANCH}; git branch kept $branch; git branch -qf $branch main"
        ))
        .open()
        .ends(10);
    scene.told("target_rewritten").person(&format!(
        "{BRANCH}; git branch -qf $branch kept; git branch -qD kept"
    ));
    scene.run(0).landed("a b").nobody_paid();
}

#[test]
fn a_checkout_of_the_branch_follows_it() {
    let scene = aside("window: 1").units("ab").closed().start();
    scene
        .first_lands("ab")
        .person(&format!("{BRANCH}; git switch -q $branch"))
        .open()
        .ends(0);
    scene
        .landed("a b")
        .person("grep -q 'work of b' b.txt; test -z \"$(git status --porcelain)\"");
}
