//! Conflicts of every kind with what has landed: what git's own rebase would say, told with path and kind, and charged to
//! nobody. And what looks like a conflict and is none.

use super::given;
use super::scene::Scene;

/// `a` lands, and `b`, which began on the same target, is put onto it.
fn side_by_side(repository: &str, a: &str, b: &str, code: i32) -> Scene {
    given("window: 1, on_conflict: evict")
        .units("ab")
        .repository(repository)
        .writes('a', a)
        .writes('b', b)
        .run(code)
}

/// The work of `b` conflicts with that of `a` on this path, in git's word for it.
fn assert_conflict(repository: &str, a: &str, b: &str, path: &str, kind: &str) -> Scene {
    let scene = side_by_side(repository, a, b, 5);
    scene.landed("a").evicted('b', "conflict_target").nobody_paid();
    let left = scene.world.events("entry_left");
    let conflicts = left[0]["end"]["conflicts"].as_array().unwrap();
    let found = conflicts.iter().find(|conflict| conflict["path"] == path);
    let found = found.unwrap_or_else(|| panic!("{path}: {conflicts:?}"));
    assert_eq!(found["kind"], kind, "{conflicts:?}");
    assert_eq!(picked(&scene, "main"), None, "git itself finds a conflict");
    scene
}

/// Both land, whatever they did to one another's paths.
fn assert_none(repository: &str, a: &str, b: &str) -> Scene {
    let scene = side_by_side(repository, a, b, 0);
    scene.landed("a b").nobody_paid();
    let tree = scene.world.git(&["rev-parse", "main^{tree}"]);
    assert_eq!(
        picked(&scene, "main~"),
        Some(tree),
        "git itself makes the same of it"
    );
    scene
}

/// The tree that git itself makes of the head of `b` on that commit; `None` where it finds a conflict.
fn picked(scene: &Scene, onto: &str) -> Option<String> {
    let head = scene.world.git(&[
        "for-each-ref",
        "--format=%(objectname)",
        "refs/pipeline/runs/*/b/head",
    ]);
    let place = scene.world.base().join("picked");
    let place = place.to_str().unwrap();
    scene
        .world
        .git(&["worktree", "add", "-q", "--detach", place, onto]);
    let pick = ["-C", place, "cherry-pick", head.trim()];
    let is_clean = scene
        .world
        .program("git")
        .args(pick)
        .output()
        .unwrap()
        .status
        .success();
    let tree = is_clean.then(|| scene.world.git(&["-C", place, "rev-parse", "HEAD^{tree}"]));
    scene.world.git(&["worktree", "remove", "--force", place]);
    tree
}

const TEXT: &str = "seq 20 > list";

#[test]
fn both_change_the_same_line() {
    let scene = assert_conflict(
        TEXT,
        "sed -i '3s/$/ by a/' list",
        "sed -i '3s/$/ by b/' list",
        "list",
        "contents",
    );
    let left = &scene.world.events("entry_left")[0]["end"];
    let conflict = &left["conflicts"][0];
    assert_eq!(conflict["landed_by"], "a", "the unit that brought the other side");
    assert!(
        conflict["hunks"].as_str().unwrap().contains("<<<<<<<"),
        "{conflict}"
    );
    assert!(
        left["sentence"]
            .as_str()
            .unwrap()
            .contains("list (with `a`, which landed)"),
        "{left}"
    );
}

#[test]
fn one_changes_what_the_other_deleted() {
    assert_conflict(TEXT, "rm list", "echo 21 >> list", "list", "modify/delete");
}

#[test]
fn one_deletes_what_the_other_changed() {
    assert_conflict(TEXT, "echo 21 >> list", "rm list", "list", "modify/delete");
}

#[test]
fn both_add_the_same_path() {
    assert_conflict("", "echo a > new", "echo b > new", "new", "contents");
}

#[test]
fn both_change_a_binary_file() {
    let binary = "printf 'a\\0b' > image";
    assert_conflict(
        binary,
        "printf 'a\\0a' > image",
        "printf 'b\\0b' > image",
        "image",
        "binary",
    );
}

#[test]
fn both_rename_a_file_differently() {
    assert_conflict(TEXT, "mv list one", "mv list two", "list", "rename/rename");
}

#[test]
fn one_renames_what_the_other_deleted() {
    assert_conflict(TEXT, "rm list", "mv list two", "two", "rename/delete");
}

#[test]
fn one_puts_a_file_where_the_other_puts_a_folder() {
    assert_conflict(
        "",
        "mkdir place; echo x > place/file",
        "echo y > place",
        "place",
        "file/directory",
    );
}

#[test]
fn one_adds_a_file_to_a_folder_that_the_other_renamed() {
    let folder = "mkdir old; seq 20 > old/one; seq 30 50 > old/two";
    let kind = "directory rename suggested";
    assert_conflict(folder, "mv old new", "echo three > old/three", "new/three", kind);
}

#[test]
fn one_puts_a_link_where_the_other_puts_a_file() {
    assert_conflict("", "ln -s README new", "echo b > new", "new", "distinct modes");
}

#[test]
fn a_pointer_to_a_large_file_conflicts_as_the_text_it_is() {
    let pointer = |oid: &str| {
        format!(
            "printf 'version https://git-lfs.github.com/spec/v1\\noid sha256:{oid}\\nsize 3\\n' > big.bin"
        )
    };
    assert_conflict(
        &pointer("00"),
        &pointer("aa"),
        &pointer("bb"),
        "big.bin",
        "contents",
    );
}

#[test]
fn one_conflicts_with_what_a_person_committed() {
    let scene = given("window: 1, on_conflict: evict")
        .units("a")
        .repository(TEXT)
        .writes('a', "sed -i 1d list; touch STAGE/begun; until_file theirs")
        .start();
    scene
        .until_file("begun")
        .person("echo theirs > list; git commit -qam 'docs: theirs'")
        .file("theirs")
        .ends(5);
    scene.landed("").evicted('a', "conflict_target").nobody_paid();
    let left = &scene.world.events("entry_left")[0]["end"];
    assert!(left["conflicts"][0]["landed_by"].is_null(), "{left}");
    assert_eq!(left["sentence"], "The work conflicts with the target in list.");
}

#[test]
fn distant_lines_of_one_file_are_no_conflict() {
    let scene = assert_none(TEXT, "sed -i '2s/$/ by a/' list", "sed -i '18s/$/ by b/' list");
    let list = scene.world.git(&["show", "main:list"]);
    assert!(list.contains("2 by a\n") && list.contains("18 by b\n"), "{list}");
}

#[test]
fn a_change_follows_the_rename_of_its_file() {
    let scene = assert_none(TEXT, "mv list names", "sed -i '18s/$/ by b/' list");
    assert!(scene.world.git(&["show", "main:names"]).contains("18 by b\n"));
    assert!(
        !scene
            .world
            .git(&["ls-tree", "--name-only", "main"])
            .contains("list")
    );
}

#[test]
fn a_mode_and_a_content_are_no_conflict() {
    let scene = assert_none(TEXT, "chmod +x list", "echo 21 >> list");
    let listed = scene.world.git(&["ls-tree", "main", "list"]);
    assert!(listed.starts_with("100755"), "{listed}");
    assert!(scene.world.read("list").ends_with("20\n21\n"));
}

#[test]
fn what_both_did_alike_lands_once_and_the_rest_of_the_second_lands() {
    let both = "echo 21 >> list";
    let scene = assert_none(TEXT, both, both);
    let landed = scene.world.git(&["show", "--format=", "--name-only", "main"]);
    assert_eq!(landed, "b.txt\n", "only the rest of it");
}

#[test]
fn work_that_is_on_the_target_already_is_done_and_not_landed_again() {
    let both = "rm -f ?.txt; echo 21 >> list";
    let scene = side_by_side(TEXT, both, both, 0);
    scene.landed("a").is('b', "landed").nobody_paid();
    assert_eq!(
        scene.world.events("entry_left")[0]["end"]["end"],
        "already_landed"
    );
}

#[test]
fn of_a_batch_in_which_all_conflict_the_first_lands() {
    let scene = given("window: 1, batch: 3, on_conflict: evict")
        .units("abc")
        .writes('a', "echo a > shared")
        .writes('b', "echo b > shared")
        .writes('c', "echo c > shared")
        .closed()
        .start();
    scene.in_line("abc").open().ends(5);
    scene
        .landed("a")
        .evicted('b', "conflict_target")
        .evicted('c', "conflict_target")
        .nobody_paid();
}

#[test]
fn what_sets_a_landed_file_back_waits_for_a_person() {
    let scene = given("window: 1")
        .units("a")
        .unit('b', "needs: [a]")
        .repository("echo old > shared")
        .writes('a', "echo new > shared")
        .writes('b', "echo old > shared")
        .run(6);
    scene
        .told("pipeline approve b")
        .is('b', "gated")
        .landed("a")
        .target("shared", "new\n");
    let hits = &scene.world.events("gate_opened")[0]["gate"]["hits"];
    assert_eq!(hits[0]["reason"], "reverts_landed", "{hits}");
    scene
        .call(&["approve", "b"], 0)
        .run(0)
        .landed("a b")
        .target("shared", "old\n");
}

#[test]
fn a_submodule_that_a_person_moved_meanwhile_stays_where_they_moved_it() {
    let at_head = "git update-index --add --cacheinfo 160000,$(git rev-parse HEAD),module";
    let scene = given("window: 1, on_conflict: evict")
        .units("a")
        .repository(&format!("mkdir module; {at_head}"))
        .writes('a', "touch STAGE/begun; until_file theirs")
        .start();
    scene
        .until_file("begun")
        .person(&format!("{at_head}; git commit -qm 'chore: move it'"));
    let moved = scene.world.git(&["ls-tree", "main", "module"]);
    scene.file("theirs").ends(0).landed("a").nobody_paid();
    assert_eq!(scene.world.git(&["ls-tree", "main", "module"]), moved);
    assert_eq!(scene.world.git(&["status", "--porcelain"]), "");
}
