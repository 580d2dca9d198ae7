//! Taking trees from worktrees nobody may trust.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::testing::{TestRepo, write_in};
use super::{Repository, SnapshotLimits, Taken, View};
use crate::id::Oid;
use crate::port::Cut;

const LIMITS: SnapshotLimits = SnapshotLimits {
    files_max: 50,
    bytes_max: 1 << 20,
};

/// A repository and an author's worktree of its head.
struct Author {
    repo: TestRepo,
    git: Repository,
    base: Oid,
    place: PathBuf,
}

impl Author {
    fn of(repo: TestRepo) -> Self {
        let (git, base, place) = (repo.open(), repo.head(), repo.path("wt"));
        git.add_worktree(&place, &base, "test").unwrap();
        git.populate_private(
            &place,
            &repo.path("private"),
            View::Author { commit: base.clone() },
        )
        .unwrap();
        Self {
            repo,
            git,
            base,
            place,
        }
    }

    fn take(&self) -> Taken {
        self.git.take_tree(&self.place, &self.base, &LIMITS, &[]).unwrap()
    }

    /// `mode path` of everything in the tree.
    fn listing(&self) -> Vec<String> {
        let Taken::Tree(tree) = self.take() else {
            panic!("{:?}", self.take())
        };
        let text = self.repo.git(&["ls-tree", "-r", tree.as_str()]);
        text.lines()
            .map(|line| format!("{} {}", &line[..6], line.split('\t').nth(1).unwrap()))
            .collect()
    }

    fn content(&self, path: &str) -> String {
        let Taken::Tree(tree) = self.take() else {
            panic!("{:?}", self.take())
        };
        self.repo.git(&["cat-file", "blob", &format!("{tree}:{path}")])
    }

    fn refusal(&self) -> String {
        match self.take() {
            Taken::Refused(refusal) => refusal.sentence,
            Taken::Tree(tree) => panic!("taken: {tree}"),
        }
    }
}

#[test]
fn an_untouched_worktree_gives_the_base_tree() {
    let author = Author::of(TestRepo::new());
    assert_eq!(
        author.take(),
        Taken::Tree(author.git.tree_of(&author.base).unwrap())
    );
}

#[test]
fn modes_links_deletions_and_new_files_are_taken() {
    let repo = TestRepo::new();
    repo.commit("more", &[("gone", "x"), ("run.sh", "#!/bin/sh\n"), ("d/f", "f")]);
    let author = Author::of(repo);
    fs::remove_file(author.place.join("gone")).unwrap();
    fs::set_permissions(author.place.join("run.sh"), fs::Permissions::from_mode(0o755)).unwrap();
    symlink("../a.txt", author.place.join("d/link")).unwrap();
    write_in(&author.place, "new/deep/file", "n");
    assert_eq!(
        author.listing(),
        [
            "100644 a.txt",
            "100644 d/f",
            "120000 d/link",
            "100644 new/deep/file",
            "100755 run.sh"
        ]
    );
}

#[test]
fn a_file_may_become_a_directory_and_back() {
    let repo = TestRepo::new();
    repo.commit("more", &[("d/f", "f"), ("x", "x")]);
    let author = Author::of(repo);
    fs::remove_dir_all(author.place.join("d")).unwrap();
    write_in(&author.place, "d", "now a file");
    fs::remove_file(author.place.join("x")).unwrap();
    write_in(&author.place, "x/y", "now a directory");
    assert_eq!(author.listing(), ["100644 a.txt", "100644 d", "100644 x/y"]);
}

#[test]
fn a_directory_that_became_a_link_is_not_looked_through() {
    let repo = TestRepo::new();
    repo.commit("more", &[("d/f", "f")]);
    let author = Author::of(repo);
    fs::remove_dir_all(author.place.join("d")).unwrap();
    fs::create_dir(author.repo.path("outside")).unwrap();
    fs::write(author.repo.path("outside/f"), "secret").unwrap();
    symlink("../outside", author.place.join("d")).unwrap();
    assert!(author.refusal().contains("leaves the worktree"));
}

#[test]
fn links_that_leave_the_tree_are_refused() {
    for target in ["/etc/passwd", "../secret", "a/../../x", ".git/config"] {
        let author = Author::of(TestRepo::new());
        symlink(target, author.place.join("link")).unwrap();
        assert!(author.refusal().contains("`link`"), "{target}");
    }
}

#[test]
fn line_ends_follow_the_attributes_of_the_base() {
    let repo = TestRepo::new();
    repo.commit("eol", &[(".gitattributes", "*.txt text eol=crlf\n*.bat -text\n")]);
    let author = Author::of(repo);
    assert_eq!(
        fs::read_to_string(author.place.join("a.txt")).unwrap(),
        "one\r\ntwo\r\nthree\r\n"
    );
    assert_eq!(
        author.take(),
        Taken::Tree(author.git.tree_of(&author.base).unwrap())
    );
    write_in(&author.place, "a.txt", "one\r\nother\r\n");
    write_in(&author.place, "x.bat", "kept\r\n!");
    // Attributes the author writes do not apply yet.
    write_in(&author.place, ".gitattributes", "* -text\n");
    assert_eq!(author.content("a.txt"), "one\nother");
    assert_eq!(author.content("x.bat"), "kept\r\n!");
}

#[test]
fn what_the_base_the_author_or_the_person_ignores_does_not_enter() {
    let repo = TestRepo::new();
    repo.commit(
        "ignore",
        &[
            (".gitignore", ".env\nbuild/\n"),
            ("sub/.gitignore", "*.o\n!keep.o\n"),
        ],
    );
    fs::write(repo.root().join(".git/info/exclude"), "mine\n").unwrap();
    fs::write(
        repo.path("home/.gitconfig"),
        "[core]\n\texcludesFile = ~/ignored\n",
    )
    .unwrap();
    fs::write(repo.path("home/ignored"), "*.swp\n").unwrap();
    let author = Author::of(repo);
    // The author lifts a rule of the base and adds one.
    write_in(&author.place, ".gitignore", "target/\n");
    for path in [
        ".env",
        "build/x",
        "sub/x.o",
        "sub/keep.o",
        "mine",
        "x.swp",
        "target/y",
        "taken",
    ] {
        write_in(&author.place, path, "x");
    }
    assert_eq!(
        author.listing(),
        [
            "100644 .gitignore",
            "100644 a.txt",
            "100644 sub/.gitignore",
            "100644 sub/keep.o",
            "100644 taken"
        ]
    );
}

#[test]
fn what_set_up_made_does_not_enter() {
    let author = Author::of(TestRepo::new());
    write_in(&author.place, "made/a", "x");
    write_in(&author.place, "made-by-author", "x");
    let skip = ["made".to_owned()];
    let Taken::Tree(tree) = author
        .git
        .take_tree(&author.place, &author.base, &LIMITS, &skip)
        .unwrap()
    else {
        panic!("refused");
    };
    assert_eq!(
        author.repo.git(&["ls-tree", "-r", "--name-only", tree.as_str()]),
        "a.txt\nmade-by-author"
    );
}

#[test]
fn a_repository_inside_the_worktree_is_refused() {
    let author = Author::of(TestRepo::new());
    author.repo.git_in(&author.place, &["init", "-q", "inner"]);
    write_in(&author.place, "inner/file", "x");
    assert!(
        author.refusal().contains("`inner/` is a git repository"),
        "{}",
        author.refusal()
    );
}

#[test]
fn a_git_directory_beside_tracked_files_is_refused() {
    let repo = TestRepo::new();
    repo.commit("more", &[("d/f", "f")]);
    let author = Author::of(repo);
    write_in(&author.place, "d/.git", "gitdir: /elsewhere\n");
    assert!(author.refusal().contains("`d/` is a git repository"));
}

#[test]
fn a_replaced_or_deleted_git_file_misleads_nobody() {
    let author = Author::of(TestRepo::new());
    let (script, trace) = author.repo.canary();
    let evil = author.repo.path("evil");
    author.repo.git_in(&author.repo.path(""), &["init", "-q", "evil"]);
    author.repo.git_in(&evil, &["config", "core.fsmonitor", &script]);
    author.repo.git_in(&evil, &["config", "filter.x.clean", &script]);
    author
        .repo
        .git_in(&evil, &["config", "filter.x.required", "true"]);
    fs::write(
        author.place.join(".git"),
        format!("gitdir: {}/.git\n", evil.display()),
    )
    .unwrap();
    write_in(&author.place, ".gitattributes", "* filter=x\n");
    write_in(&author.place, "a.txt", "changed");
    assert_eq!(author.content("a.txt"), "changed");
    fs::remove_file(author.place.join(".git")).unwrap();
    assert_eq!(author.content("a.txt"), "changed");
    fs::rename(evil.join(".git"), author.place.join(".git")).unwrap();
    assert_eq!(author.content("a.txt"), "changed");
    assert!(!trace.exists(), "something was executed");
}

#[test]
fn filters_of_the_private_git_directory_do_not_run() {
    let repo = TestRepo::new();
    repo.commit("attributes", &[(".gitattributes", "* filter=evil\n")]);
    let (script, trace) = repo.canary();
    let author = Author::of(repo);
    for key in ["filter.evil.clean", "filter.evil.smudge", "core.fsmonitor"] {
        author.repo.git_in(&author.place, &["config", key, &script]);
    }
    drop(fs::remove_file(&trace));
    write_in(&author.place, "a.txt", "changed");
    assert_eq!(author.content("a.txt"), "changed");
    assert!(!trace.exists(), "something was executed");
}

#[test]
fn index_flags_of_the_author_hide_nothing() {
    let author = Author::of(TestRepo::new());
    author
        .repo
        .git_in(&author.place, &["update-index", "--assume-unchanged", "a.txt"]);
    write_in(&author.place, "a.txt", "changed");
    assert_eq!(author.content("a.txt"), "changed");
}

#[test]
fn a_huge_file_is_refused_before_it_is_read() {
    for path in ["huge", "a.txt"] {
        let author = Author::of(TestRepo::new());
        fs::File::create(author.place.join(path))
            .unwrap()
            .set_len(1 << 30)
            .unwrap();
        let begun = Instant::now();
        assert!(author.refusal().contains("1073741824"), "{}", author.refusal());
        assert!(begun.elapsed() < Duration::from_secs(5));
    }
}

#[test]
fn too_many_files_are_refused() {
    let author = Author::of(TestRepo::new());
    for n in 0..51 {
        write_in(&author.place, &format!("f{n}"), "");
    }
    assert!(author.refusal().contains("51 files"));
}

#[test]
fn names_git_reserves_are_refused() {
    for name in ["sub/GIT~1", ".Git ", "a\u{1}b", "x/.git.\u{200c}"] {
        let author = Author::of(TestRepo::new());
        write_in(&author.place, name, "x");
        assert!(!author.refusal().is_empty(), "{name}");
    }
}

#[test]
fn a_name_that_is_not_utf8_is_refused() {
    let author = Author::of(TestRepo::new());
    let name = <std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(b"x\xff");
    fs::write(author.place.join(name), "x").unwrap();
    assert!(author.refusal().contains("UTF-8"));
}

#[test]
fn submodules_stay_as_in_the_base() {
    let repo = TestRepo::new();
    let entry = format!("160000,{},sub", repo.head());
    repo.git(&["update-index", "--add", "--cacheinfo", &entry]);
    repo.git(&["commit", "-q", "-m", "submodule"]);
    let author = Author::of(repo);
    write_in(&author.place, "sub/file", "x");
    assert_eq!(
        author.take(),
        Taken::Tree(author.git.tree_of(&author.base).unwrap())
    );
    fs::remove_dir_all(author.place.join("sub")).unwrap();
    assert_eq!(
        author.take(),
        Taken::Tree(author.git.tree_of(&author.base).unwrap())
    );
}

#[test]
fn a_name_that_looks_like_a_pattern_is_just_a_name() {
    let repo = TestRepo::new();
    repo.commit("ignore", &[(".gitignore", "*.o\n"), ("x1", "1")]);
    let author = Author::of(repo);
    for path in [":(top)a", "x*", ":!y", "-z", "[1].o"] {
        write_in(&author.place, path, "new");
    }
    assert_eq!(
        author.listing(),
        [
            "100644 -z",
            "100644 .gitignore",
            "100644 :!y",
            "100644 :(top)a",
            "100644 a.txt",
            "100644 x*",
            "100644 x1"
        ]
    );
}

#[test]
fn a_link_in_the_place_of_a_directory_removes_its_files() {
    let repo = TestRepo::new();
    repo.commit("more", &[("d/f", "f"), ("e/f", "secret")]);
    let author = Author::of(repo);
    fs::remove_dir_all(author.place.join("d")).unwrap();
    symlink("e", author.place.join("d")).unwrap();
    assert_eq!(author.listing(), ["100644 a.txt", "120000 d", "100644 e/f"]);
}

#[test]
fn a_hundred_thousand_files_are_refused_quickly() {
    let author = Author::of(TestRepo::new());
    for n in 0..100_000 {
        if n % 1000 == 0 {
            fs::create_dir(author.place.join(format!("d{}", n / 1000))).unwrap();
        }
        fs::File::create(author.place.join(format!("d{}/f{n}", n / 1000))).unwrap();
    }
    let begun = Instant::now();
    assert!(author.refusal().contains("100000 files"));
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
}

#[test]
fn a_tracked_name_that_is_not_utf8_may_stay_but_not_change() {
    let repo = TestRepo::new();
    let name = <std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(b"x\xff");
    fs::write(repo.root().join(name), "x").unwrap();
    repo.commit("odd", &[]);
    let author = Author::of(repo);
    assert_eq!(
        author.take(),
        Taken::Tree(author.git.tree_of(&author.base).unwrap())
    );
    fs::write(author.place.join(name), "changed").unwrap();
    assert!(author.refusal().contains("UTF-8"));
}

#[test]
fn a_tree_that_is_taken_aside_is_the_same_and_nothing_of_it_stays() {
    let author = Author::of(TestRepo::new());
    write_in(&author.place, "new/deep/file", "n");
    let objects = || author.repo.git(&["count-objects", "-v"]);
    let before = objects();
    let cut = Cut::default();
    let aside = author.git.aside(&cut).unwrap();
    let taken = |by: &Repository| by.take_tree(&author.place, &author.base, &LIMITS, &[]);
    let Taken::Tree(tree) = taken(&aside).unwrap() else {
        panic!("it is taken")
    };
    let head = aside.passing_commit(&tree, &author.base).unwrap();
    assert_eq!(aside.tree_of(&head).unwrap(), tree);
    assert_eq!(objects(), before);
    assert!(
        author.git.tree_of(&head).is_err(),
        "the repository does not know it"
    );
    let lent = author.git.aside_in(&aside.objects_dir(), &cut);
    assert_eq!(lent.tree_of(&head).unwrap(), tree, "who shares the store does");
    let store = aside.objects_dir();
    drop(aside);
    assert!(!store.exists());
    cut.off();
    assert!(taken(&lent).is_err(), "what is cut off does nothing more");
    assert_eq!(author.take(), Taken::Tree(tree));
}
