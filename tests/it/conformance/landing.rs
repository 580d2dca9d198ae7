//! Moving the target: only from where the candidate stands, and never over anybody's work.

use super::given;
use super::scene::Scene;

#[test]
fn a_target_that_moves_at_the_very_swap_is_landed_on_anew() {
    let theirs = "git commit -q --allow-empty -m 'docs: theirs'";
    let scene = given("window: 1").units("a").before_the_swap(1, theirs).run(0);
    scene
        .landed("a")
        .history("feat: a; docs: theirs; chore: plan")
        .nobody_paid();
}

#[test]
fn a_target_that_keeps_moving_is_followed_until_it_rests() {
    let theirs = "git commit -q --allow-empty -m 'docs: theirs'";
    let scene = given("window: 1").units("a").before_the_swap(3, theirs).run(0);
    scene.landed("a").events("land_refused", 3).nobody_paid();
    scene.history("feat: a; docs: theirs; docs: theirs; docs: theirs; chore: plan");
}

/// `a` begins, then this is done to the repository, and then it goes on.
fn meanwhile(script: &str) -> Scene {
    let scene = given("window: 1")
        .units("a")
        .writes('a', "touch STAGE/begun; until_file go")
        .start();
    scene.until_file("begun").person(script).file("go");
    scene
}

#[test]
fn a_target_that_moves_while_a_candidate_is_verified_is_verified_anew() {
    let scene = given("window: 1").units("a").closed().start();
    scene
        .verifying("a")
        .person("echo theirs > theirs; git add theirs; git commit -qm 'docs: theirs'");
    scene.open().ends(0).landed("a").verified("a a").nobody_paid();
    scene.history("feat: a; docs: theirs; chore: plan");
}

#[test]
fn a_rewritten_target_is_a_safety_stop_and_goes_on_when_it_is_restored() {
    let scene = given("window: 1").units("ab").closed().start();
    scene.first_lands("ab");
    scene
        .person("git branch -q kept; git reset -q --hard HEAD~1")
        .open()
        .ends(10);
    scene
        .told("target_rewritten")
        .person("git log -1 --format=%s | grep -q 'chore: plan'");
    scene
        .run(10)
        .told("--fresh")
        .person("git reset -q --hard kept; git branch -qD kept");
    scene.run(0).landed("a b").nobody_paid();
}

/// Before a landing somebody commits, and before it is tried again makes that commit anew.
const AMENDS: &str = "if [ -e STAGE/wip ]; then git commit -q --amend --allow-empty -m 'docs: better'; \
    else touch STAGE/wip; git commit -q --allow-empty -m 'docs: wip'; fi";

#[test]
fn a_person_may_amend_what_they_committed_on_a_landing() {
    let scene = given("window: 1").units("ab").at_swap(2..=3, AMENDS, "").run(0);
    scene.landed("a b").events("target_moved", 2).nobody_paid();
    scene.history("feat: b; docs: better; feat: a; chore: plan");
}

#[test]
fn a_person_may_amend_what_they_committed_before_anything_landed() {
    let scene = given("window: 1").units("a").at_swap(1..=2, AMENDS, "").run(0);
    scene.landed("a").events("target_moved", 2).nobody_paid();
    scene.history("feat: a; docs: better; chore: plan");
}

#[test]
fn a_person_who_amends_a_landing_stops_the_run() {
    let amends = "git branch -q kept; git commit -q --amend -m 'feat: mine'";
    let scene = given("window: 1").units("ab").at_swap(2..=2, amends, "").run(10);
    scene
        .told("target_rewritten")
        .person("git reset -q --hard kept; git branch -qD kept");
    scene.run(0).landed("a b").nobody_paid();
}

#[test]
fn a_deleted_target_is_never_made_again() {
    let scene = meanwhile("git switch -q --detach; git rev-parse main > STAGE/main; git branch -qD main");
    scene
        .ends(10)
        .told("does not exist any more")
        .person("! git rev-parse -q --verify main");
    scene
        .person("git branch main $(cat STAGE/main); git switch -q main")
        .run(0)
        .landed("a")
        .nobody_paid();
}

#[test]
fn a_renamed_target_is_not_followed() {
    let scene = meanwhile("git branch -m main other");
    scene
        .ends(10)
        .person("git log -1 --format=%s other | grep -q 'chore: plan'");
    scene
        .person("git branch -m other main")
        .run(0)
        .landed("a")
        .nobody_paid();
}

/// What a person has in the checkout holds the landing of `a`, which names the path and touches nothing. The command that
/// is told puts it out of the way from wherever it is run, with nothing else of theirs, and `a` lands.
fn assert_held_by(script: &str) {
    let scene = given("window: 1")
        .units("a")
        .repository("echo before > kept; echo before > 'st*r'; touch star elsewhere aside")
        .writes(
            'a',
            "for file in kept 'st*r' new new.log folder; do echo after > \"$file\"; done",
        )
        .ready();
    let theirs = "mkdir own; touch own/x; echo '*.log' > .gitignore; echo mine > aside.log";
    scene.person(theirs);
    scene.person("echo mine > star; echo mine > elsewhere; git add elsewhere");
    let kept = scene.world.git(&["status", "--porcelain", "--ignored"]);
    scene.person(script);
    let before = scene.world.git(&["status", "--porcelain", "--ignored"]);
    scene
        .run(6)
        .told("HELD")
        .landed("")
        .is('a', "queued")
        .nobody_paid();
    assert_eq!(scene.entry('a')["state"], "held");
    assert_eq!(
        scene.world.git(&["status", "--porcelain", "--ignored"]),
        before,
        "nothing was touched"
    );
    let words = scene.words.borrow().clone();
    let told = words.split("put it aside with `").last().unwrap();
    let command = told.split_once('`').unwrap().0;
    scene.person(&format!("cd /; {command}"));
    let status = || scene.world.git(&["status", "--porcelain", "--ignored"]);
    assert_eq!(status(), kept, "{command}");
    scene.run(0).landed("a");
    assert_eq!(status(), kept);
    scene.person("git stash list | grep -q .; git stash drop -q");
}

/// `b` is still being written when something in the checkout holds the landing of `a`.
fn held_while_another_works(script: &str) -> Scene {
    let scene = given("window: 1")
        .units("ab")
        .repository("echo before > kept")
        .writes('a', "echo after > kept")
        .writes('b', "touch STAGE/begun; until_file go")
        .ready();
    scene
        .person(script)
        .start()
        .until_file("begun")
        .until_stands('a', "held");
    scene
}

#[test]
fn what_a_person_puts_aside_while_others_work_holds_nothing_any_more() {
    let scene = held_while_another_works("echo mine > kept");
    scene.person("git stash push -q").file("go").ends(0);
    scene.landed("a b").nobody_paid();
    scene.person("git stash drop -q");
}

#[test]
fn a_commit_that_a_person_is_writing_holds_the_landing_and_nobody_who_works() {
    let scene = held_while_another_works("touch .git/index.lock");
    scene.file("go").ends(8).told("another git holds").landed("");
    assert_eq!(scene.entry('b')["state"], "queued", "its author was not cut off");
    scene
        .person("rm .git/index.lock")
        .run(0)
        .landed("a b")
        .nobody_paid();
}

#[test]
fn an_unstaged_change_in_the_way_holds_the_landing() {
    assert_held_by("echo mine > kept");
}

#[test]
fn a_staged_change_in_the_way_holds_the_landing() {
    assert_held_by("echo mine > kept; git add kept");
}

#[test]
fn an_untracked_file_in_the_way_holds_the_landing() {
    assert_held_by("echo mine > new");
}

#[test]
fn an_ignored_file_in_the_way_holds_the_landing() {
    assert_held_by("echo mine > new.log");
}

#[test]
fn a_deleted_file_in_the_way_holds_the_landing() {
    assert_held_by("rm kept");
}

#[test]
fn a_file_that_was_removed_from_the_index_in_the_way_holds_the_landing() {
    assert_held_by("git rm -q kept; echo mine > new");
}

#[test]
fn a_folder_in_the_way_holds_the_landing() {
    assert_held_by("mkdir folder; echo mine > folder/mine; echo mine > folder/mine.log");
}

#[test]
fn everything_in_the_way_at_once_holds_the_landing_and_is_put_aside_by_one_command() {
    let mine = "echo mine > new; echo mine > new.log; echo mine > kept; git add kept; echo more > kept; echo mine > 'st*r'";
    assert_held_by(mine);
}

#[test]
fn work_elsewhere_in_the_checkout_holds_nothing() {
    let scene = given("window: 1")
        .units("a")
        .repository("echo x > kept; echo x > staged")
        .ready();
    scene.person("echo mine > kept; echo mine > staged; git add staged; echo mine > untracked");
    let before = scene.world.git(&["status", "--porcelain"]);
    scene.run(0).landed("a");
    assert_eq!(scene.world.git(&["status", "--porcelain"]), before);
    assert_eq!(scene.world.read("a.txt"), "work of a\n");
}

#[test]
fn a_checkout_that_is_held_holds_the_whole_window_and_costs_nobody() {
    let scene = given("window: 3").units("abc").ready();
    scene
        .person("echo mine > a.txt")
        .run(6)
        .told("a.txt")
        .landed("")
        .nobody_paid();
    scene.person("rm a.txt").run(0).landed("a b c").nobody_paid();
}

#[test]
fn files_follow_into_whichever_worktree_has_the_target() {
    let scene = given("window: 1").units("a").ready();
    scene.person("git switch -q -c elsewhere; git worktree add -q ../second main");
    scene
        .call(&["run", "rfc.yaml", "--target", "main"], 0)
        .landed("a");
    scene.person("grep -q 'work of a' ../second/a.txt; test -z \"$(git -C ../second status --porcelain)\"");
    scene.person("! [ -e a.txt ]; git worktree remove ../second; git switch -q main");
}

#[test]
fn a_target_that_nobody_has_checked_out_moves_and_no_file_does() {
    let scene = given("window: 1").units("a").ready();
    scene
        .person("git switch -q -c elsewhere")
        .call(&["run", "rfc.yaml", "--target", "main"], 0);
    scene
        .landed("a")
        .events("checkout_followed", 0)
        .target("a.txt", "work of a\n");
    assert!(!scene.world.repo.join("a.txt").exists());
}

#[test]
fn modes_links_deletions_and_renames_follow_into_the_checkout() {
    let scene = given("window: 1")
        .units("a")
        .repository("echo x > gone; mkdir old; echo y > old/file; echo z > tool")
        .writes('a', "rm gone; mv old new; chmod +x tool; ln -s README link")
        .run(0);
    scene
        .landed("a")
        .person("! [ -e gone ]; ! [ -e old ]; [ -e new/file ]; [ -x tool ]; [ -L link ]");
    assert_eq!(scene.world.git(&["status", "--porcelain"]), "");
}

#[test]
fn files_follow_with_the_persons_own_line_ends() {
    let scene = given("window: 1").units("a").ready();
    scene
        .person("git config core.autocrlf true")
        .run(0)
        .landed("a")
        .target("a.txt", "work of a\n");
    assert_eq!(scene.world.read("a.txt"), "work of a\r\n");
    assert_eq!(scene.world.git(&["status", "--porcelain"]), "");
}

#[test]
fn what_a_person_took_over_by_hand_counts_as_landed() {
    let scene = given("window: 1").units("a").closed().start();
    scene.verifying("a").person("git commit -q --allow-empty -m 'docs: theirs'; git cherry-pick $(git for-each-ref --format='%(objectname)' 'refs/pipeline/runs/*/a/head') > /dev/null");
    scene
        .open()
        .ends(0)
        .is('a', "landed")
        .events("landed", 0)
        .nobody_paid();
}

#[test]
fn of_work_that_a_person_took_over_in_part_the_rest_lands() {
    let scene = given("window: 1")
        .units("a")
        .writes('a', "echo more > more")
        .closed()
        .start();
    scene
        .verifying("a")
        .person("echo more > more; git add more; git commit -qm 'docs: theirs'")
        .open()
        .ends(0);
    scene.landed("a").nobody_paid();
    assert_eq!(
        scene.world.git(&["show", "--format=", "--name-only", "main"]),
        "a.txt\n"
    );
}

#[test]
fn what_was_approved_lands_though_its_ref_was_moved() {
    let scene = given("window: 1").units("a").closed().start();
    let moves = "git update-ref $(git for-each-ref --format='%(refname)' 'refs/pipeline/runs/*/a/head') main";
    scene.verifying("a").person(moves).open().ends(0);
    scene.landed("a").target("a.txt", "work of a\n");
}

#[test]
fn a_squash_lands_one_commit_a_unit() {
    let scene = given("window: 2, strategy: squash").units("ab").run(0);
    scene.landed("a b").history("feat: b; feat: a; chore: plan");
}

#[test]
fn a_merge_lands_one_merge_a_unit_and_the_first_parents_are_the_targets() {
    let scene = given("window: 2, strategy: merge").units("ab").run(0);
    scene.landed("a b");
    let merges = scene
        .world
        .git(&["rev-list", "--first-parent", "--merges", "--count", "main"]);
    assert_eq!(merges.trim(), "2");
}

/// `a` begins on a commit of a person's, who takes it from the target before `a` lands.
fn assert_brings_nothing_of_its_base(strategy: &str) {
    let scene = given(&format!("window: 1, strategy: {strategy}"))
        .units("a")
        .writes('a', "test -e debug.txt; touch STAGE/begun; until_file go")
        .ready();
    scene
        .person("echo debug > debug.txt; git add .; git commit -qm 'chore: debug'")
        .start()
        .until_file("begun")
        .person("git reset -q --hard HEAD~1")
        .file("go")
        .ends(0);
    scene
        .landed("a")
        .history("feat: a; chore: plan")
        .person("test ! -e debug.txt; ! git log --format=%s main | grep -q debug")
        .nobody_paid();
}

#[test]
fn a_rebase_brings_nothing_of_a_base_that_left_the_target() {
    assert_brings_nothing_of_its_base("rebase");
}

#[test]
fn a_squash_brings_nothing_of_a_base_that_left_the_target() {
    assert_brings_nothing_of_its_base("squash");
}

#[test]
fn a_merge_brings_nothing_of_a_base_that_left_the_target() {
    assert_brings_nothing_of_its_base("merge");
}

#[test]
fn the_reflog_of_the_target_says_what_was_landed() {
    let scene = given("window: 1").units("ab").run(0);
    let reflog = scene.world.git(&["reflog", "-2", "--format=%gs", "main"]);
    assert_eq!(reflog, "pipeline: land b\npipeline: land a\n");
    scene.landed("a b");
}
