//! Worktrees with private git directories, and those for a person.

use std::fs;
use std::os::unix::fs::symlink;

use super::testing::{TestRepo, write_in};
use super::{Error, IntegrateUnit, View};

#[test]
fn a_worktree_is_listed_locked_and_removed_without_a_trace() {
    let repo = TestRepo::new();
    let (git, place) = (repo.open(), repo.path("wt"));
    git.add_worktree(&place, &repo.head(), "pipeline api/implement.1.1")
        .unwrap();
    let list = git.worktrees().unwrap();
    assert_eq!(list.len(), 2);
    assert_eq!((&list[1].path, list[1].branch.as_deref()), (&place, None));
    assert_eq!(list[1].locked.as_deref(), Some("pipeline api/implement.1.1"));
    assert_eq!(list[1].head, Some(repo.head()));
    git.remove_worktree(&place).unwrap();
    git.remove_worktree(&place).unwrap();
    assert!(!place.exists());
    assert_eq!(git.worktrees().unwrap().len(), 1);
}

#[test]
fn removal_follows_no_links_and_manages_read_only_directories() {
    let repo = TestRepo::new();
    let (git, place) = (repo.open(), repo.path("wt"));
    git.add_worktree(&place, &repo.head(), "x").unwrap();
    fs::create_dir(repo.path("outside")).unwrap();
    fs::write(repo.path("outside/precious"), "p").unwrap();
    symlink(repo.path("outside"), place.join("link")).unwrap();
    write_in(&place, "cache/file", "x");
    let mut mode = fs::metadata(place.join("cache")).unwrap().permissions();
    mode.set_readonly(true);
    fs::set_permissions(place.join("cache"), mode).unwrap();
    git.remove_worktree(&place).unwrap();
    assert!(repo.path("outside/precious").exists());
    assert!(!place.exists());
}

#[test]
fn removal_touches_no_other_registration() {
    let repo = TestRepo::new();
    let git = repo.open();
    for name in ["one", "two"] {
        git.add_worktree(&repo.path(name), &repo.head(), "x").unwrap();
    }
    // Its directory is away for a while, as on a disk that is not mounted.
    fs::rename(repo.path("two"), repo.path("elsewhere")).unwrap();
    git.remove_worktree(&repo.path("one")).unwrap();
    assert!(
        git.worktrees()
            .unwrap()
            .iter()
            .any(|worktree| worktree.path == repo.path("two"))
    );
}

#[test]
fn a_half_made_worktree_is_recognised() {
    let repo = TestRepo::new();
    let (git, place) = (repo.open(), repo.path("half"));
    let registration = repo.root().join(".git/worktrees/half");
    fs::create_dir_all(&registration).unwrap();
    fs::write(registration.join("locked"), "initializing\n").unwrap();
    git.remove_worktree(&place).unwrap();
    assert!(!registration.exists());
}

#[test]
fn the_main_worktree_is_never_removed() {
    let repo = TestRepo::new();
    assert!(matches!(
        repo.open().remove_worktree(&repo.root()),
        Err(Error::NotAWorktree(_))
    ));
    assert!(repo.root().join("a.txt").exists());
}

#[test]
fn eight_threads_add_and_remove_at_once() {
    let repo = TestRepo::new();
    let (git, head) = (repo.open(), repo.head());
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let (git, head, repo) = (git.clone(), head.clone(), &repo);
            scope.spawn(move || {
                for round in 0..3 {
                    let place = repo.path(&format!("w{thread}/{round}"));
                    fs::create_dir_all(place.parent().unwrap()).unwrap();
                    git.add_worktree(&place, &head, "x").unwrap();
                    let view = View::Author { commit: head.clone() };
                    git.populate_private(&place, &repo.path(&format!("p{thread}")), view)
                        .unwrap();
                    assert!(place.join("a.txt").exists());
                    git.remove_worktree(&place).unwrap();
                }
            });
        }
    });
    assert_eq!(git.worktrees().unwrap().len(), 1);
}

#[test]
fn a_judge_sees_two_commits_and_nothing_else() {
    let repo = TestRepo::new();
    let base = repo.head();
    let head = repo.commit("secret reasoning", &[("b", "b\n")]);
    repo.git(&["tag", "v1"]);
    let (git, place) = (repo.open(), repo.path("wt"));
    git.add_worktree(&place, &head, "x").unwrap();
    git.populate_private(
        &place,
        &repo.path("p"),
        View::Judge {
            base,
            head: head.clone(),
        },
    )
    .unwrap();
    assert_eq!(
        repo.git_in(&place, &["log", "--all", "--format=%s|%an"]),
        "head|pipeline\nbase|pipeline"
    );
    assert_eq!(repo.git_in(&place, &["diff", "--name-only", "HEAD~1"]), "b");
    assert_eq!(repo.git_in(&place, &["status", "--porcelain", "--ignored"]), "");
    assert_eq!(repo.git_in(&place, &["for-each-ref"]), "");
    assert!(
        git.worktrees()
            .unwrap()
            .iter()
            .any(|worktree| worktree.path == place && !worktree.prunable)
    );
}

#[test]
fn an_author_sees_history_and_what_it_does_stays_inside() {
    let repo = TestRepo::new();
    let head = repo.commit("second", &[("b", "b\n")]);
    let (git, place) = (repo.open(), repo.path("wt"));
    git.add_worktree(&place, &head, "x").unwrap();
    git.populate_private(&place, &repo.path("p"), View::Author { commit: head.clone() })
        .unwrap();
    assert_eq!(repo.git_in(&place, &["log", "--format=%s"]), "second\nfirst");
    let before = repo.git(&["for-each-ref"]);
    let objects = repo.git(&["count-objects"]);
    write_in(&place, "b", "changed\n");
    repo.git_in(&place, &["stash", "-q"]);
    repo.git_in(&place, &["stash", "pop", "-q"]);
    repo.git_in(&place, &["checkout", "-q", "-b", "evil"]);
    repo.git_in(&place, &["commit", "-q", "-a", "-m", "mine"]);
    repo.git_in(&place, &["update-ref", "refs/heads/main", "HEAD"]);
    assert_eq!(repo.git(&["for-each-ref"]), before);
    assert_eq!(repo.git(&["count-objects"]), objects);
    assert_eq!(repo.head(), head);
}

#[test]
fn a_private_git_directory_is_replaced_when_it_is_there() {
    let repo = TestRepo::new();
    let (git, place) = (repo.open(), repo.path("wt"));
    git.add_worktree(&place, &repo.head(), "x").unwrap();
    write_in(&repo.path("p"), "config", "[core]\n\tfsmonitor = /bin/false\n");
    git.populate_private(&place, &repo.path("p"), View::Author { commit: repo.head() })
        .unwrap();
    assert!(
        !fs::read_to_string(repo.path("p/config"))
            .unwrap()
            .contains("fsmonitor")
    );
}

#[test]
fn a_person_gets_a_branch_that_pushes_by_itself() {
    let repo = TestRepo::new();
    let (git, place) = (repo.open(), repo.path("resolve"));
    git.add_person_worktree(&place, "refs/heads/pipeline/r/api", &repo.head())
        .unwrap();
    assert_eq!(
        repo.git_in(&place, &["symbolic-ref", "HEAD"]),
        "refs/heads/pipeline/r/api"
    );
    assert_eq!(repo.git_in(&place, &["config", "push.autoSetupRemote"]), "true");
    assert!(
        !repo
            .run_in(&repo.root(), &["config", "push.autoSetupRemote"])
            .status
            .success()
    );
    assert!(place.join("a.txt").exists());
    let foreign = git.add_person_worktree(&repo.path("x"), "feature", &repo.head());
    assert!(matches!(foreign, Err(Error::ForeignRef(_))));
}

#[test]
fn a_conflict_is_put_in_place_with_markers_and_stages() {
    let repo = TestRepo::new();
    let fork = repo.head();
    let head = repo.commit("unit", &[("a.txt", "one\nunit\nthree\n"), ("fits", "f\n")]);
    repo.git(&["reset", "-q", "--hard", fork.as_str()]);
    let base = repo.commit("target", &[("a.txt", "one\ntarget\nthree\n")]);
    let (git, place) = (repo.open(), repo.path("resolve"));
    git.add_person_worktree(&place, "pipeline/r/api", &base).unwrap();
    assert!(git.start_merge_conflict(&place, &base, &head, None).unwrap());
    assert!(
        fs::read_to_string(place.join("a.txt"))
            .unwrap()
            .contains("<<<<<<<")
    );
    assert_eq!(
        repo.git_in(&place, &["status", "--porcelain"]),
        "UU a.txt\nA  fits"
    );
    write_in(&place, "a.txt", "one\nboth\nthree\n");
    repo.git_in(&place, &["commit", "-q", "-a", "-m", "resolved"]);
    assert_eq!(repo.git_in(&place, &["log", "-1", "--format=%P"]), base.as_str());
}

#[test]
fn a_conflict_is_not_started_over_a_persons_work() {
    let repo = TestRepo::new();
    let base = repo.head();
    let head = repo.commit("unit", &[("a.txt", "unit\n")]);
    let (git, place) = (repo.open(), repo.path("resolve"));
    git.add_person_worktree(&place, "pipeline/r/api", &base).unwrap();
    write_in(&place, "a.txt", "mine\n");
    assert!(git.start_merge_conflict(&place, &base, &head, None).is_err());
    assert_eq!(fs::read_to_string(place.join("a.txt")).unwrap(), "mine\n");
}

#[test]
fn an_attempt_has_a_conflict_as_git_would_leave_it_and_the_same_one_each_time() {
    let repo = TestRepo::new();
    repo.commit("first", &[("gone", "one\ntwo\n")]);
    let fork = repo.head();
    let head = repo.commit(
        "unit",
        &[
            ("a.txt", "one\nunit\nthree\n"),
            ("fits", "f\n"),
            ("gone", "one\nmore\n"),
        ],
    );
    repo.git(&["reset", "-q", "--hard", fork.as_str()]);
    repo.git(&["rm", "-q", "gone"]);
    let onto = repo.commit("target", &[("a.txt", "one\ntarget\nthree\n")]);
    let git = repo.open();
    let unit = IntegrateUnit { head, base: fork };
    let merge = git.conflicted(&onto, &unit).unwrap();
    assert_eq!(git.conflicted(&onto, &unit).unwrap(), merge);
    let place = repo.path("wt");
    git.add_worktree(&place, &onto, "x").unwrap();
    let view = View::Conflict {
        commit: onto.clone(),
        merge: merge.clone(),
    };
    git.populate_private(&place, &repo.path("p"), view).unwrap();
    assert_eq!(
        repo.git_in(&place, &["status", "--porcelain"]),
        "UU a.txt\nA  fits\nDU gone"
    );
    assert_eq!(repo.git_in(&place, &["rev-parse", "HEAD"]), onto.as_str());
    let text = fs::read_to_string(place.join("a.txt")).unwrap();
    assert!(text.contains("target\n=======\nunit\n"), "{text}");
    assert_eq!(git.conflict_markers(&onto, &merge.tree).unwrap(), ["a.txt"]);
    assert_eq!(git.conflict_markers(&onto, &onto).unwrap(), Vec::<String>::new());
}
