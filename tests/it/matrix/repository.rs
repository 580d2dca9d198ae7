//! Agents that use git as they like in their worktree: only the tree they leave counts, and nothing of it reaches the
//! repository.

use super::{assert_landed_once, assert_nothing_left, row, with_author, words};
use crate::world::World;

/// A person's git configuration is not there; an agent brings a name of its own.
const NAME: &str = "set -eu
git config user.name agent; git config user.email agent@localhost
base=$(git rev-parse HEAD)
";

/// The one unit lands as one commit on the base, whatever its author did to the repository it saw.
fn assert_only_the_tree_counts(script: &str) -> World {
    let world = with_author(&format!("{NAME}{script}"), "");
    world.git(&["tag", "mine"]);
    let before = world.git(&["rev-parse", "HEAD"]);
    let config = world.read(".git/config");
    let said = world.expect(&["run", "rfc.yaml"], 0);
    assert!(said.out.contains("LANDED"), "{}", words(&said));
    assert_landed_once(&world);
    assert_eq!(
        world.git(&["rev-parse", "HEAD~1"]),
        before,
        "one commit on its base"
    );
    assert_eq!(world.read("api.txt"), "work\n");
    let changed = world.git(&["diff", "--name-only", "HEAD~1", "HEAD"]);
    assert_eq!(changed, "api.txt\n");
    let refs = world.git(&[
        "for-each-ref",
        "--format=%(refname)",
        "refs/heads",
        "refs/tags",
        "refs/stash",
    ]);
    assert_eq!(refs, "refs/heads/main\nrefs/tags/mine\n");
    assert_eq!(world.read(".git/config"), config);
    assert_eq!(world.git(&["symbolic-ref", "HEAD"]), "refs/heads/main\n");
    assert!(!world.git(&["log", "--format=%an", "main"]).contains("agent"));
    assert_eq!(world.git(&["status", "--porcelain"]), "");
    world.git(&["fsck", "--strict"]);
    assert_nothing_left(&world);
    world
}

#[test]
fn what_an_agent_commits_becomes_one_commit_of_ours() {
    let _row = row("agent commits");
    assert_only_the_tree_counts(
        "echo draft > api.txt; git add -A; git commit -qm 'one'
echo work > api.txt; git commit -qam 'two'
git branch keep-me; git tag agents; git stash list",
    );
}

#[test]
fn history_that_an_agent_rewrites_is_its_own() {
    let _row = row("agent rewrites history");
    assert_only_the_tree_counts(
        "echo work > api.txt; git add -A
git commit -q --amend -m 'another past'
git update-ref refs/heads/main HEAD
git checkout -q --orphan anew; git commit -qm 'no past at all'
git reflog expire --expire=now --all; git gc -q --prune=now",
    );
}

#[test]
fn a_head_that_an_agent_detaches_elsewhere_changes_nothing() {
    let _row = row("agent detaches HEAD");
    assert_only_the_tree_counts(
        "git switch -q -c own
echo lost > other.txt; git add -A; git commit -qm 'left behind'
git checkout -q --detach \"$base\"
echo work > api.txt",
    );
}

#[test]
fn a_merge_that_an_agent_leaves_in_progress_is_judged_by_its_files() {
    let _row = row("agent leaves a merge in progress");
    assert_only_the_tree_counts(
        "git switch -q -c ours; echo ours > api.txt; git add -A; git commit -qm ours
git switch -q -c theirs \"$base\"; echo theirs > api.txt; git add -A; git commit -qm theirs
! git merge -q ours > /dev/null
test -f \"$(git rev-parse --git-path MERGE_HEAD)\"
echo work > api.txt",
    );
}

#[test]
fn an_agent_that_deletes_dot_git_has_only_lost_its_own() {
    let _row = row("agent deletes `.git`");
    assert_only_the_tree_counts("echo work > api.txt; rm -rf .git");
    assert_only_the_tree_counts("echo work > api.txt; rm -rf \"$(git rev-parse --git-dir)\" .git");
    // What stands in its place is not believed either.
    assert_only_the_tree_counts("echo work > api.txt; rm -rf .git; git init -q .");
}
