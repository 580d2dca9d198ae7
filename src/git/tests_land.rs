//! Moving the target, and the checkout that follows without touching a person's work.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use super::testing::TestRepo;
use super::{Error, Moved, Repository};
use crate::id::Oid;

/// A checkout of `main` at `from`, and a commit `to` that continues it: `a.txt` changed, `gone` removed, `new/file`
/// added, `keep` untouched.
struct Landing {
    repo: TestRepo,
    git: Repository,
    from: Oid,
    to: Oid,
}

impl Landing {
    fn new() -> Self {
        Self::with(&[], &[])
    }

    fn with(before: &[(&str, &str)], after: &[(&str, &str)]) -> Self {
        let repo = TestRepo::new();
        repo.commit(
            "base",
            &[("gone", "x\n"), ("keep", "k\n"), (".gitignore", "*.log\n")],
        );
        let from = repo.commit("before", before);
        fs::remove_file(repo.root().join("gone")).unwrap();
        repo.commit("after", &[("a.txt", "landed\n"), ("new/file", "n\n")]);
        let to = repo.commit("more", after);
        repo.git(&["reset", "-q", "--hard", from.as_str()]);
        let git = repo.open();
        Self { repo, git, from, to }
    }

    fn obstacles(&self) -> Vec<String> {
        self.git
            .obstacles_in_checkout(&self.repo.root(), &self.from, &self.to)
            .unwrap()
            .paths
    }

    fn land(&self) {
        let lock = self.git.lock_target("main").unwrap();
        assert_eq!(
            self.git
                .move_target(&lock, &self.from, &self.to, "pipeline: land")
                .unwrap(),
            Moved::Done
        );
    }

    fn follow(&self) -> Vec<String> {
        self.git
            .follow_in_checkout(&self.repo.root(), &self.from, &self.to)
            .unwrap()
    }

    fn status(&self) -> String {
        self.repo.git(&["status", "--porcelain", "--untracked-files=all"])
    }
}

#[test]
fn the_target_moves_with_a_reflog_and_the_checkout_follows_clean() {
    let landing = Landing::new();
    assert!(landing.obstacles().is_empty());
    landing.land();
    assert!(
        !landing.status().is_empty(),
        "the ref alone leaves a staged reversal"
    );
    assert!(landing.follow().is_empty());
    assert_eq!(landing.status(), "");
    assert_eq!(landing.repo.read("new/file"), "n\n");
    assert!(!landing.repo.root().join("gone").exists());
    assert!(
        landing
            .repo
            .git(&["reflog", "-1", "main"])
            .contains("pipeline: land")
    );
}

#[test]
fn following_twice_changes_nothing() {
    let landing = Landing::new();
    landing.land();
    landing.follow();
    assert!(landing.follow().is_empty());
    assert_eq!(landing.status(), "");
}

#[test]
fn a_half_done_follow_is_finished() {
    for stage in ["file", "index", "removed"] {
        let landing = Landing::new();
        landing.land();
        match stage {
            "file" => landing.repo.write("a.txt", "landed\n"),
            "index" => drop(landing.repo.git(&["reset", "-q", "--mixed"])),
            _ => fs::remove_file(landing.repo.root().join("gone")).unwrap(),
        }
        assert!(landing.follow().is_empty(), "{stage}");
        assert_eq!(landing.status(), "", "{stage}");
    }
}

#[test]
fn the_target_moves_only_from_where_it_is_expected() {
    let landing = Landing::new();
    let lock = landing.git.lock_target("main").unwrap();
    let elsewhere = landing
        .git
        .move_target(&lock, &landing.to, &landing.to, "x")
        .unwrap();
    assert_eq!(elsewhere, Moved::Elsewhere(Some(landing.from.clone())));
    let back = landing.git.move_target(&lock, &landing.to, &landing.from, "x");
    assert!(matches!(back, Err(Error::NotAFastForward { .. })));
    drop(lock);
    let gone = landing.git.lock_target("none").unwrap();
    assert_eq!(
        landing
            .git
            .move_target(&gone, &landing.from, &landing.to, "x")
            .unwrap(),
        Moved::Elsewhere(None)
    );
}

#[test]
fn a_target_has_one_lock_and_targets_have_their_own() {
    let landing = Landing::new();
    let lock = landing.git.lock_target("main").unwrap();
    assert!(matches!(
        landing.git.lock_target("main"),
        Err(Error::TargetLocked(_))
    ));
    landing.git.lock_target("release/1.0").unwrap();
    assert_eq!(lock.branch(), "main");
    drop(lock);
    landing.git.lock_target("main").unwrap();
}

#[test]
fn work_elsewhere_is_no_obstacle_and_stays_as_it_is() {
    let landing = Landing::new();
    landing.repo.write("keep", "unstaged\n");
    landing.repo.write("staged", "staged\n");
    landing.repo.git(&["add", "staged"]);
    landing.repo.write("untracked", "u\n");
    let before = landing.repo.git(&["diff", "--cached", "--", "staged", "keep"]);
    assert!(landing.obstacles().is_empty());
    landing.land();
    assert!(landing.follow().is_empty());
    assert_eq!(landing.status(), " M keep\nA  staged\n?? untracked");
    assert_eq!(
        landing.repo.git(&["diff", "--cached", "--", "staged", "keep"]),
        before
    );
    assert_eq!(landing.repo.read("keep"), "unstaged\n");
}

#[test]
fn a_changed_file_is_an_obstacle_and_is_left() {
    let landing = Landing::new();
    landing.repo.write("a.txt", "mine\n");
    assert_eq!(landing.obstacles(), ["a.txt"]);
    landing.land();
    assert_eq!(landing.follow(), ["a.txt"]);
    assert_eq!(landing.repo.read("a.txt"), "mine\n");
    // Not a staged reversal: just a file that differs.
    assert_eq!(landing.status(), " M a.txt");
}

#[test]
fn a_staged_change_is_an_obstacle_and_stays_staged() {
    let landing = Landing::new();
    landing.repo.write("a.txt", "mine\n");
    landing.repo.git(&["add", "a.txt"]);
    assert_eq!(landing.obstacles(), ["a.txt"]);
    landing.land();
    assert_eq!(landing.follow(), ["a.txt"]);
    assert_eq!(landing.repo.git(&["show", ":a.txt"]), "mine");
    assert_eq!(landing.status(), "M  a.txt");
}

#[test]
fn a_staged_change_whose_file_was_set_back_is_an_obstacle() {
    let landing = Landing::new();
    let original = landing.repo.read("a.txt");
    landing.repo.write("a.txt", "mine\n");
    landing.repo.git(&["add", "a.txt"]);
    landing.repo.write("a.txt", &original);
    assert_eq!(landing.obstacles(), ["a.txt"]);
}

#[test]
fn an_untracked_file_is_an_obstacle_and_is_never_overwritten() {
    let landing = Landing::new();
    landing.repo.write("new/file", "mine\n");
    assert_eq!(landing.obstacles(), ["new/file"]);
    landing.land();
    assert_eq!(landing.follow(), ["new/file"]);
    assert_eq!(landing.repo.read("new/file"), "mine\n");
}

#[test]
fn an_ignored_file_is_an_obstacle_and_is_never_overwritten() {
    let landing = Landing::with(&[], &[]);
    let (from, repo) = (landing.to.clone(), &landing.repo);
    repo.git(&["reset", "-q", "--hard", from.as_str()]);
    repo.write("x.log", "landed\n");
    repo.git(&["add", "-f", "x.log"]);
    let to = repo.commit("log", &[]);
    repo.git(&["reset", "-q", "--hard", from.as_str()]);
    repo.write("x.log", "mine\n");
    let git = repo.open();
    assert_eq!(
        git.obstacles_in_checkout(&repo.root(), &from, &to).unwrap().paths,
        ["x.log"]
    );
    assert_eq!(
        git.follow_in_checkout(&repo.root(), &from, &to).unwrap(),
        ["x.log"]
    );
    assert_eq!(repo.read("x.log"), "mine\n");
}

#[test]
fn a_file_where_a_directory_must_be_is_an_obstacle() {
    let landing = Landing::new();
    landing.repo.write("new", "mine\n");
    assert_eq!(landing.obstacles(), ["new"]);
    landing.land();
    assert_eq!(landing.follow(), ["new/file"]);
    assert_eq!(landing.repo.read("new"), "mine\n");
}

#[test]
fn a_linked_directory_is_not_written_through() {
    let landing = Landing::new();
    fs::create_dir(landing.repo.path("outside")).unwrap();
    symlink("../outside", landing.repo.root().join("new")).unwrap();
    assert_eq!(landing.obstacles(), ["new"]);
    assert_eq!(landing.follow(), ["new/file"]);
    assert!(!landing.repo.path("outside/file").exists());
}

#[test]
fn a_file_of_a_person_in_the_place_of_a_landed_file_is_an_obstacle() {
    let landing = Landing::new();
    landing.repo.write("new/file/mine", "mine\n");
    assert_eq!(landing.obstacles(), ["new/file"]);
}

#[test]
fn a_changed_file_that_would_be_removed_is_an_obstacle() {
    let landing = Landing::new();
    landing.repo.write("gone", "mine\n");
    assert_eq!(landing.obstacles(), ["gone"]);
    landing.land();
    assert_eq!(landing.follow(), ["gone"]);
    assert_eq!(landing.repo.read("gone"), "mine\n");
}

#[test]
fn a_deleted_file_that_would_be_written_is_an_obstacle() {
    let landing = Landing::new();
    fs::remove_file(landing.repo.root().join("a.txt")).unwrap();
    assert_eq!(landing.obstacles(), ["a.txt"]);
}

#[test]
fn a_touched_but_equal_file_is_no_obstacle() {
    let landing = Landing::new();
    let text = landing.repo.read("a.txt");
    landing.repo.write("a.txt", &text);
    assert!(landing.obstacles().is_empty());
}

#[test]
fn modes_links_and_file_directory_changes_follow() {
    let repo = TestRepo::new();
    let from = repo.commit(
        "from",
        &[
            ("d/x", "x"),
            ("f", "f"),
            ("run", "r"),
            ("t", "t"),
            ("odd \"name\"\n", "1"),
        ],
    );
    fs::remove_dir_all(repo.root().join("d")).unwrap();
    fs::remove_file(repo.root().join("f")).unwrap();
    fs::remove_file(repo.root().join("t")).unwrap();
    fs::set_permissions(repo.root().join("run"), fs::Permissions::from_mode(0o755)).unwrap();
    symlink("a.txt", repo.root().join("t")).unwrap();
    let to = repo.commit(
        "to",
        &[
            ("d", "now a file"),
            ("f/y", "now a directory"),
            ("odd \"name\"\n", "2"),
        ],
    );
    let git = repo.open();
    for (one, other) in [(&to, &from), (&from, &to)] {
        repo.git(&["reset", "-q", "--hard", one.as_str()]);
        assert!(
            git.obstacles_in_checkout(&repo.root(), one, other)
                .unwrap()
                .paths
                .is_empty()
        );
        repo.git(&["update-ref", "refs/heads/main", other.as_str()]);
        assert!(
            git.follow_in_checkout(&repo.root(), one, other)
                .unwrap()
                .is_empty()
        );
        assert_eq!(repo.git(&["status", "--porcelain"]), "");
    }
}

#[test]
fn the_persons_line_ends_apply() {
    let landing = Landing::new();
    landing.repo.git(&["config", "core.autocrlf", "true"]);
    landing.repo.git(&["reset", "-q", "--hard"]);
    fs::remove_file(landing.repo.root().join("a.txt")).unwrap();
    landing.repo.git(&["checkout", "-q", "--", "a.txt"]);
    assert!(landing.repo.read("a.txt").contains("\r\n"));
    assert!(landing.obstacles().is_empty());
    landing.land();
    assert!(landing.follow().is_empty());
    assert_eq!(landing.repo.read("a.txt"), "landed\r\n");
    assert_eq!(landing.status(), "");
}

#[test]
fn a_held_index_is_an_error_that_changes_nothing() {
    let landing = Landing::new();
    landing.land();
    fs::write(landing.repo.root().join(".git/index.lock"), "").unwrap();
    let error = landing
        .git
        .follow_in_checkout(&landing.repo.root(), &landing.from, &landing.to)
        .unwrap_err();
    assert!(error.to_string().contains("delete the lock file"), "{error}");
    assert_ne!(landing.repo.read("a.txt"), "landed\n");
    fs::remove_file(landing.repo.root().join(".git/index.lock")).unwrap();
    assert!(landing.follow().is_empty());
    assert_eq!(landing.status(), "");
}

#[test]
fn the_checkout_of_a_branch_is_found() {
    let landing = Landing::new();
    landing
        .repo
        .git(&["worktree", "add", "-q", "../side", "-b", "side"]);
    assert_eq!(
        landing.git.checkout_of("main").unwrap(),
        Some(landing.repo.root())
    );
    assert_eq!(
        landing.git.checkout_of("side").unwrap(),
        Some(landing.repo.path("side"))
    );
    assert_eq!(landing.git.checkout_of("none").unwrap(), None);
}

#[test]
fn the_persons_filters_apply() {
    let landing = Landing::with(&[(".gitattributes", "*.txt filter=loud\n")], &[]);
    landing.repo.git(&["config", "filter.loud.smudge", "tr a-z A-Z"]);
    landing.repo.git(&["config", "filter.loud.clean", "tr A-Z a-z"]);
    landing
        .repo
        .write("a.txt", &landing.repo.read("a.txt").to_uppercase());
    assert!(landing.obstacles().is_empty());
    landing.land();
    assert!(landing.follow().is_empty());
    assert_eq!(landing.repo.read("a.txt"), "LANDED\n");
    assert_eq!(landing.status(), "");
}

#[test]
fn a_landing_of_a_name_that_is_no_text_is_refused_beforehand() {
    let landing = Landing::new();
    let (repo, from) = (&landing.repo, &landing.from);
    let name = <std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(b"x\xff");
    fs::write(repo.root().join(name), "x").unwrap();
    let to = repo.commit("odd", &[]);
    repo.git(&["reset", "-q", "--hard", from.as_str()]);
    let result = landing.git.obstacles_in_checkout(&repo.root(), from, &to);
    assert!(matches!(result, Err(Error::NotUtf8(_))), "{result:?}");
}
