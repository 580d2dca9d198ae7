//! A unit that conflicts with the target, over real git: its author resolves it, or it is handed to a person.

use std::path::PathBuf;

use serde_json::Value;

use crate::world::{World, file};

/// Every unit writes the one line of `shared.txt`, and a line of its own in `places.txt` where there is one. In the stage `resolve` the author looks around, waits where it is
/// told to, and then does what the file `how.<unit>` or `how` beside the repository says; without one it keeps both sides.
const AUTHOR: &str = r#"
set -eu
base="$COUNT_DIR/.."
echo "$PIPELINE_STAGE.$PIPELINE_ROUND" >> "$COUNT_DIR/$PIPELINE_UNIT"
if [ "$PIPELINE_KIND" = fix ] && [ "$PIPELINE_STAGE" != resolve ]; then
    cp -r "$PIPELINE_CONTEXT" "$base/seen.$PIPELINE_UNIT.fix.$PIPELINE_ATTEMPT"
    echo mended >> shared.txt
    if [ "$PIPELINE_ATTEMPT" = 1 ] || [ -e "$base/undo-always" ]; then
        sed -i "/$PIPELINE_UNIT/! s/^taken by/place of/" places.txt
    fi
    echo '{"summary":"done","resolutions":[{"finding":"F-1","action":"fixed","note":"n"}]}' > "$PIPELINE_RESULT"
    exit 0
fi
if [ "$PIPELINE_STAGE" != resolve ]; then
    echo "by $PIPELINE_UNIT" > shared.txt
    [ ! -f places.txt ] || sed -i "s/^place of $PIPELINE_UNIT$/taken by $PIPELINE_UNIT/" places.txt
    echo '{"summary":"done"}' > "$PIPELINE_RESULT"
    exit 0
fi
seen="$base/seen.$PIPELINE_UNIT.$PIPELINE_ROUND.$PIPELINE_ATTEMPT"
mkdir "$seen"
git status --porcelain > "$seen/status"
git rev-parse HEAD > "$seen/head"
cp -r "$PIPELINE_CONTEXT" "$seen/context"
cp -r . "$seen/tree"
while [ -e "$base/hold" ]; do touch "$base/held"; sleep 0.05; done
how=both
[ -f "$base/how" ] && how=$(cat "$base/how")
[ -f "$base/how.$PIPELINE_UNIT" ] && how=$(cat "$base/how.$PIPELINE_UNIT")
case "$how.$PIPELINE_ATTEMPT" in undo.*|undo-once.1) sed -i "/$PIPELINE_UNIT/! s/^taken by/place of/" places.txt ;; esac
case "$how" in
both|undo|undo-once) grep -v '^[<=>]\{7\}' shared.txt > "$TMPDIR/both"; cat "$TMPDIR/both" > shared.txt ;;
markers) echo "more" >> shared.txt ;;
nothing) ;;
theirs) git checkout -q HEAD -- . ;;
crash) kill -9 $$ ;;
esac
C=CAN; C="${C}ARY"
echo "{\"summary\":\"$C in a summary\",\"testing_notes\":\"$C\"}" > "$PIPELINE_RESULT"
"#;

/// A reviewer that keeps what it is given, and approves.
const REVIEWER: &str = r#"
set -eu
echo "$PIPELINE_STAGE.$PIPELINE_ROUND" >> "$COUNT_DIR/$PIPELINE_UNIT"
seen="$COUNT_DIR/../seen.$PIPELINE_UNIT.$PIPELINE_STAGE.$PIPELINE_ROUND"
mkdir "$seen"
cp -r "$PIPELINE_CONTEXT" "$seen/context"
cp -r . "$seen/tree"
env > "$seen/env"
git log --all -p > "$seen/log"
if [ "$PIPELINE_KIND" = approve ]; then echo '{"decision":"approve","reason":"good"}' > "$PIPELINE_RESULT"; exit 0; fi
while [ -e "$COUNT_DIR/../hold-review" ]; do touch "$COUNT_DIR/../reviewing"; sleep 0.05; done
open=""
if [ -f "$COUNT_DIR/../finds-in-$PIPELINE_STAGE.$PIPELINE_ROUND.$PIPELINE_UNIT" ]; then
    echo '{"verdict":"request_changes","findings":[{"file":"shared.txt","line":1,"severity":"major","confidence":95,"title":"too plain","detail":"say more"}],"ledger":[]}' > "$PIPELINE_RESULT"
    exit 0
fi
if [ -f "$COUNT_DIR/../finds" ] && [ "$PIPELINE_STAGE" = resolve-review ]; then
    echo '{"verdict":"request_changes","findings":[{"file":"shared.txt","line":1,"severity":"major","confidence":95,"title":"one side is lost","detail":"keep it"}],"ledger":[]}' > "$PIPELINE_RESULT"
    rm "$COUNT_DIR/../finds"
    exit 0
fi
[ -f "$PIPELINE_CONTEXT/findings.json" ] && open=$(grep -o '"F-[0-9]*"' "$PIPELINE_CONTEXT/findings.json" | sort -u)
rows=$(for id in $open; do echo "{\"id\":$id,\"state\":\"resolved\"}"; done | paste -sd, -)
echo "{\"verdict\":\"approve\",\"findings\":[],\"ledger\":[$rows]}" > "$PIPELINE_RESULT"
"#;

/// A repository with the agents above, and units that all begin on the same commit and write the same line.
fn world(units: &[&str], tier: &str, queue: &str) -> World {
    let world = World::new();
    world.write("shared.txt", "before\n");
    world.write("agents/author.sh", AUTHOR);
    world.write("agents/reviewer.sh", REVIEWER);
    let unit = |id: &&str| format!("  {id}: {{title: 'feat: {id}', prompt: 'why {id}', tier: {tier}}}\n");
    let units: String = units.iter().map(unit).collect();
    world.write("rfc.yaml", &file("", "test -f README", &(units + queue)));
    world.commit("chore: plan");
    world
}

fn beside(world: &World, name: &str) -> PathBuf {
    world.base().join(name)
}

fn say(world: &World, name: &str, text: &str) {
    std::fs::write(beside(world, name), text).unwrap();
}

fn read(world: &World, name: &str) -> String {
    std::fs::read_to_string(beside(world, name)).unwrap()
}

/// The units in the order in which they landed, then those that did not.
fn by_landing<'a>(world: &World, units: &[&'a str]) -> Vec<&'a str> {
    let log = world.git(&["log", "--reverse", "--format=%s", "main"]);
    let place = |unit: &&str| log.lines().position(|subject| subject == format!("feat: {unit}"));
    let mut units = units.to_vec();
    units.sort_by_key(|unit| place(unit).unwrap_or(usize::MAX));
    units
}

fn approvals(world: &World, unit: &str) -> usize {
    let of_unit = |row: &Value| {
        let row = row.to_string();
        row.contains("\"unit_approved\"") && row.contains(&format!("\"unit\":\"{unit}\""))
    };
    world.journal().iter().filter(|row| of_unit(row)).count()
}

/// How often a unit was sent back with a conflict.
fn conflicts(world: &World, unit: &str) -> usize {
    let sent = world.events("sent_to_resolve");
    sent.iter().filter(|event| event["unit"] == unit).count()
}

fn bundle(world: &World, unit: &str) -> Value {
    let path = world.run_dir().join("bundles").join(unit).join("bundle.json");
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn grep(word: &str, folder: &PathBuf) -> String {
    let found = std::process::Command::new("grep")
        .args(["-rla", word])
        .arg(folder)
        .output();
    String::from_utf8(found.unwrap().stdout).unwrap()
}

#[test]
fn two_units_edit_the_same_line_and_the_second_is_resolved_reviewed_again_and_lands() {
    let world = world(&["one", "two"], "small", "");
    let said = world.expect(&["run", "rfc.yaml"], 0);
    let order = by_landing(&world, &["one", "two"]);
    let (first, second) = (order[0], order[1]);
    assert_eq!(world.read("shared.txt"), format!("by {first}\nby {second}\n"));
    assert!(
        said.out.contains("CONFLICT") && said.out.contains("Back to its author"),
        "{}",
        said.out
    );

    assert_eq!(
        world.calls(second),
        [
            "implement.1",
            "review.1",
            "approve.1",
            "resolve.1",
            "review.2",
            "approve.2"
        ],
        "nothing of it was skipped and nothing was made twice"
    );
    assert_eq!(approvals(&world, second), 2, "a new generation");
    let landing = world.git(&["rev-parse", "main~1"]);
    assert_eq!(
        world.unit(second)["base"],
        landing.trim(),
        "on what the other landed"
    );
    assert_eq!(world.unit(second)["fixes_used"], 0);

    let seen = format!("seen.{second}.1.1");
    assert_eq!(read(&world, &format!("{seen}/head")), landing);
    assert_eq!(read(&world, &format!("{seen}/status")), "UU shared.txt\n");
    let tree = read(&world, &format!("{seen}/tree/shared.txt"));
    assert!(
        tree.starts_with("<<<<<<< ") && tree.contains(&format!("by {first}\n=======\nby {second}\n>>>>>>> "))
    );
    let prompt = read(&world, &format!("{seen}/context/prompt.md"));
    for told in [
        format!("shared.txt (contents, with unit {first}, which landed)"),
        format!("why {first}"),
        format!("+by {first}"),
        format!("+by {second}"),
    ] {
        assert!(prompt.contains(&told), "{told} is not in\n{prompt}");
    }
    world.expect(&["doctor", "--strict"], 0);
    assert_eq!(world.git(&["status", "--porcelain"]), "");
    world.assert_clean();
}

#[test]
fn who_reviews_a_resolution_sees_its_diff_on_the_new_base_and_no_word_of_the_author() {
    let world = world(&["one", "two"], "small", "");
    world.expect(&["run", "rfc.yaml"], 0);
    let order = by_landing(&world, &["one", "two"]);
    let (first, second) = (order[0], order[1]);
    for stage in ["review", "approve"] {
        let seen = beside(&world, &format!("seen.{second}.{stage}.2"));
        assert_eq!(grep("CANARY", &seen), "", "{stage} saw the author's words");
        let diff = std::fs::read_to_string(seen.join("context/diff.patch")).unwrap();
        assert!(diff.contains(&format!(" by {first}\n+by {second}\n")), "{diff}");
        assert!(
            !diff.contains("-before"),
            "it is not the diff against the old base: {diff}"
        );
        let log = std::fs::read_to_string(seen.join("log")).unwrap();
        assert_eq!(
            log.lines().filter(|line| line.starts_with("commit ")).count(),
            2,
            "{log}"
        );
    }
}

#[test]
fn an_author_that_leaves_the_markers_has_its_unit_evicted_with_hunks_and_counterpart() {
    let world = world(&["one", "two"], "small", "");
    say(&world, "how", "markers");
    world.expect(&["run", "rfc.yaml"], 5);
    let order = by_landing(&world, &["one", "two"]);
    let (first, second) = (order[0], order[1]);
    assert_eq!(world.read("shared.txt"), format!("by {first}\n"));
    let row = world.unit(second);
    assert_eq!(row["reason"], "conflict_target");
    let sentence = row["sentence"].as_str().unwrap();
    assert!(
        sentence.contains(&format!("shared.txt (with `{first}`, which landed)"))
            && sentence.contains("Stage `resolve` failed in 2 attempts")
            && sentence.contains("conflict markers are left in shared.txt"),
        "{sentence}"
    );
    let bundle = bundle(&world, second);
    let conflict = &bundle["conflicts"][0];
    assert_eq!(
        (&conflict["path"], &conflict["landed_by"]),
        (&"shared.txt".into(), &first.into())
    );
    let hunks = conflict["hunks"].as_str().unwrap();
    assert!(
        hunks.contains(&format!("by {first}\n=======\nby {second}\n")),
        "{hunks}"
    );
    world.expect(&["doctor", "--strict"], 0);

    let folder = world.open_repair(second);
    let tree = std::fs::read_to_string(folder.join("shared.txt")).unwrap();
    assert!(
        tree.contains("<<<<<<< ") && tree.contains(&format!("by {first}")),
        "{tree}"
    );
    std::fs::write(folder.join("shared.txt"), "by hand\n").unwrap();
    world.git_in(&folder, &["commit", "-qam", "fix: by hand"]);
    world.expect(&["resolve", second, "--done"], 0);
    world.expect(&["run", "rfc.yaml"], 0);
    assert_eq!(world.read("shared.txt"), "by hand\n");
    world.assert_clean();
}

#[test]
fn an_author_that_crashes_changes_nothing_or_drops_the_work_resolves_nothing() {
    for (how, told) in [
        ("crash", "signal 9"),
        ("nothing", "changed nothing"),
        ("theirs", "changed nothing"),
    ] {
        let world = world(&["one", "two"], "trivial", "");
        say(&world, "how", how);
        world.expect(&["run", "rfc.yaml"], 5);
        let second = by_landing(&world, &["one", "two"])[1];
        let row = world.unit(second);
        assert_eq!(row["reason"], "conflict_target", "{how}");
        let sentence = row["sentence"].as_str().unwrap();
        assert!(sentence.contains(told), "{how}: {sentence}");
        assert_eq!(world.calls(second), ["implement.1", "resolve.1", "resolve.1"]);
        world.expect(&["doctor", "--strict"], 0);
    }
}

#[test]
fn a_unit_that_failed_to_be_resolved_can_be_tried_again_afresh() {
    let world = world(&["one", "two"], "trivial", "");
    say(&world, "how", "markers");
    world.expect(&["run", "rfc.yaml"], 5);
    let second = by_landing(&world, &["one", "two"])[1];
    std::fs::remove_file(beside(&world, "how")).unwrap();
    world.expect(&["retry", second, "-m", "on what is there now"], 0);
    world.expect(&["run", "rfc.yaml"], 0);
    assert_eq!(world.read("shared.txt"), format!("by {second}\n"));
    world.expect(&["doctor", "--strict"], 0);
}

#[test]
fn a_tier_without_a_review_has_a_resolution_reviewed_all_the_same() {
    let world = world(&["one", "two"], "trivial", "");
    world.expect(&["run", "rfc.yaml"], 0);
    let second = by_landing(&world, &["one", "two"])[1];
    assert_eq!(
        world.calls(second),
        ["implement.1", "resolve.1", "resolve-review.2"]
    );
    let shown = world.expect(&["show", second], 0).out;
    assert!(shown.contains("resolve-review"), "{shown}");
    world.expect(&["logs", second], 0);
    world.expect(&["doctor", "--strict"], 0);
}

#[test]
fn what_the_built_in_review_finds_has_the_conflict_resolved_again() {
    let world = world(&["one", "two"], "trivial", "");
    say(&world, "finds", "");
    world.expect(&["run", "rfc.yaml"], 0);
    let second = by_landing(&world, &["one", "two"])[1];
    assert_eq!(
        world.calls(second),
        [
            "implement.1",
            "resolve.1",
            "resolve-review.2",
            "resolve.2",
            "resolve-review.3"
        ]
    );
    let prompt = read(&world, &format!("seen.{second}.2.1/context/prompt.md"));
    assert!(prompt.contains("one side is lost"), "{prompt}");
}

#[test]
fn conflict_rounds_bound_how_often_a_unit_is_resolved() {
    let units = ["one", "two", "three"];
    let world_with = |rounds: u32| {
        world(
            &units,
            "trivial",
            &format!("queue: {{conflict_rounds: {rounds}}}\n"),
        )
    };
    let generous = world_with(2);
    generous.expect(&["run", "rfc.yaml"], 0);
    let order = by_landing(&generous, &units);
    assert_eq!(
        generous.read("shared.txt"),
        order
            .iter()
            .map(|unit| format!("by {unit}\n"))
            .collect::<String>()
    );
    let counts: Vec<usize> = order.iter().map(|unit| conflicts(&generous, unit)).collect();
    assert_eq!(counts, [0, 1, 2]);

    let strict = world_with(1);
    strict.expect(&["run", "rfc.yaml"], 5);
    let order = by_landing(&strict, &units);
    let row = strict.unit(order[2]);
    assert_eq!(
        (&row["state"], &row["reason"]),
        (&"evicted".into(), &"conflict_target".into())
    );
    let sentence = row["sentence"].as_str().unwrap();
    assert!(
        sentence.contains(&format!("with `{}`, which landed", order[1]))
            && sentence.contains("One was resolved before"),
        "{sentence}"
    );
    assert_eq!(bundle(&strict, order[2])["conflicts"][0]["landed_by"], order[1]);
    strict.expect(&["doctor", "--strict"], 0);
}

#[test]
fn a_conflict_evicts_at_once_where_the_file_says_so() {
    let world = world(&["one", "two"], "small", "queue: {on_conflict: evict}\n");
    world.expect(&["run", "rfc.yaml"], 5);
    let second = by_landing(&world, &["one", "two"])[1];
    assert_eq!(world.unit(second)["reason"], "conflict_target");
    assert_eq!(world.calls(second), ["implement.1", "review.1", "approve.1"]);
}

#[test]
fn a_target_that_moves_while_a_conflict_is_resolved_is_met_by_the_queue() {
    let world = world(&["one", "two"], "trivial", "");
    say(&world, "hold", "");
    let run = world.start(&["run", "rfc.yaml"]);
    world.wait_until("a conflict to be resolved", || beside(&world, "held").exists());
    world.write("other.txt", "somebody's\n");
    world.commit("feat: somebody else");
    std::fs::remove_file(beside(&world, "hold")).unwrap();
    world.expect_end(run, 0);
    let second = by_landing(&world, &["one", "two"])[1];
    assert_eq!(conflicts(&world, second), 1);
    assert_eq!(
        world.git(&["log", "-1", "--format=%s"]),
        format!("feat: {second}\n")
    );
    assert_eq!(world.read("other.txt"), "somebody's\n");

    let world = self::world(&["one", "two"], "trivial", "");
    say(&world, "hold", "");
    let run = world.start(&["run", "rfc.yaml"]);
    world.wait_until("a conflict to be resolved", || beside(&world, "held").exists());
    world.write("shared.txt", "somebody's\n");
    world.commit("feat: somebody else");
    std::fs::remove_file(beside(&world, "hold")).unwrap();
    world.expect_end(run, 0);
    let second = by_landing(&world, &["one", "two"])[1];
    assert_eq!(
        conflicts(&world, second),
        2,
        "a second conflict is a second round"
    );
    assert!(world.read("shared.txt").contains("somebody's"));
    world.expect(&["doctor", "--strict"], 0);
}

/// An engine that was killed while an author resolves a conflict.
fn killed_in_resolve(tier: &str) -> World {
    let world = world(&["one", "two"], tier, "");
    say(&world, "hold", "");
    let mut run = world.start(&["run", "rfc.yaml"]);
    world.wait_until("a conflict to be resolved", || beside(&world, "held").exists());
    run.kill().unwrap();
    run.wait().unwrap();
    world.assert_no_orphan();
    std::fs::remove_file(beside(&world, "hold")).unwrap();
    world
}

#[test]
fn an_engine_killed_while_a_conflict_is_resolved_goes_on_there() {
    let world = killed_in_resolve("small");
    world.expect(&["run", "rfc.yaml"], 0);
    let order = by_landing(&world, &["one", "two"]);
    assert_eq!(
        world.read("shared.txt"),
        format!("by {}\nby {}\n", order[0], order[1])
    );
    assert_eq!(
        world.calls(order[1]),
        [
            "implement.1",
            "review.1",
            "approve.1",
            "resolve.1",
            "resolve.1",
            "review.2",
            "approve.2"
        ]
    );
    assert_eq!(conflicts(&world, order[1]), 1);
    world.expect(&["doctor", "--strict"], 0);
    world.assert_clean();
}

#[test]
fn a_journal_lost_while_a_conflict_is_resolved_is_made_anew_and_the_conflict_met_again() {
    let world = killed_in_resolve("trivial");
    std::fs::remove_dir_all(world.repo.join(".git/pipeline")).unwrap();
    world.expect(&["run", "rfc.yaml"], 0);
    let order = by_landing(&world, &["one", "two"]);
    assert_eq!(
        world.read("shared.txt"),
        format!("by {}\nby {}\n", order[0], order[1])
    );
    let implemented = world
        .calls(order[1])
        .iter()
        .filter(|call| *call == "implement.1")
        .count();
    assert_eq!(implemented, 1, "its approved work was kept");
    assert!(world.calls(order[1]).contains(&"resolve-review.2".to_owned()));
    world.expect(&["doctor", "--strict"], 0);
}

#[test]
fn a_unit_that_needs_the_resolved_one_begins_when_that_has_landed() {
    let world = world(
        &["one", "two"],
        "trivial",
        "  after: {title: 'feat: after', prompt: x, tier: trivial, needs: [one, two]}\n",
    );
    world.expect(&["run", "rfc.yaml"], 0);
    assert_eq!(by_landing(&world, &["one", "two", "after"])[2], "after");
    assert_eq!(world.read("shared.txt"), "by after\n");
    assert_eq!(conflicts(&world, "after"), 0);
}

#[test]
fn a_file_that_one_side_deleted_is_decided_by_what_the_author_leaves() {
    for (how, code, left) in [("keep", 0, true), ("drop", 0, false), ("nothing", 5, false)] {
        let world = World::new();
        world.write("shared.txt", "before\n");
        // `gone` deletes the file; `kept` has begun on the same commit, and changes it once the other has landed.
        let author = r#"
set -eu
base="$COUNT_DIR/.."
case "$PIPELINE_UNIT.$PIPELINE_STAGE" in
gone.implement) rm shared.txt ;;
kept.implement)
    while [ -f "$base/repo/shared.txt" ]; do sleep 0.05; done
    echo more >> shared.txt; echo own > kept.txt ;;
kept.resolve)
    case HOW in
    keep) echo '{"summary":"kept","resolutions":[{"finding":"C-1","action":"fixed","note":"it stays"}]}' > "$PIPELINE_RESULT"; exit 0 ;;
    drop) rm shared.txt ;;
    esac ;;
esac
echo '{"summary":"done"}' > "$PIPELINE_RESULT"
"#;
        world.write("agents/author.sh", &author.replace("HOW", how));
        world.write("agents/reviewer.sh", REVIEWER);
        world.file(
            "",
            "  gone: {title: 'feat: gone', prompt: x, tier: trivial}\n  kept: {title: 'feat: kept', prompt: x, tier: trivial}\n",
        );
        world.commit("chore: plan");
        world.expect(&["run", "rfc.yaml"], code);
        assert_eq!(world.repo.join("shared.txt").exists(), left, "{how}");
        assert_eq!(world.repo.join("kept.txt").exists(), code == 0, "{how}");
        world.expect(&["doctor", "--strict"], 0);
    }
}

/// Two units that conflict in `shared.txt` and side by side change `places.txt`, in which git merges them.
fn with_places() -> World {
    let world = world(&["one", "two"], "small", "");
    world.write("places.txt", "place of one\n-\n-\n-\n-\nplace of two\n");
    world.commit("chore: places");
    world
}

#[test]
fn a_resolution_that_undoes_landed_work_outside_the_conflict_is_refused() {
    let world = with_places();
    say(&world, "how", "undo");
    world.expect(&["run", "rfc.yaml"], 5);
    let order = by_landing(&world, &["one", "two"]);
    let (first, second) = (order[0], order[1]);
    assert_eq!(world.unit(second)["reason"], "diff_not_preserved");
    let landed = world.git(&["rev-parse", "--short=7", "main"]);
    let sentence = bundle(&world, second)["sentence"].as_str().unwrap().to_owned();
    for told in [
        "takes back what landed outside the conflict, in places.txt",
        &format!("landed as {}", landed.trim()),
        &format!("taken by {first}"),
    ] {
        assert!(sentence.contains(told), "{told}: {sentence}");
    }
    assert_eq!(
        world.calls(second)[3..],
        ["resolve.1", "resolve.1"],
        "nobody was asked to review it"
    );
    assert!(world.read("places.txt").contains(&format!("taken by {first}")));
    world.expect(&["doctor", "--strict"], 0);
}

#[test]
fn an_author_whose_resolution_was_refused_is_told_what_it_took_back_and_may_do_it_right() {
    let world = with_places();
    say(&world, "how", "undo-once");
    world.expect(&["run", "rfc.yaml"], 0);
    let order = by_landing(&world, &["one", "two"]);
    let seen = beside(&world, &format!("seen.{}.1.2", order[1]));
    assert!(!grep("takes back what landed", &seen.join("context")).is_empty());
    for unit in order {
        assert!(world.read("places.txt").contains(&format!("taken by {unit}")));
    }
    world.expect(&["doctor", "--strict"], 0);
}

#[test]
fn a_refused_resolution_is_not_taken_over_from_a_lost_journal() {
    let world = with_places();
    say(&world, "how", "undo");
    world.expect(&["run", "rfc.yaml"], 5);
    let second = by_landing(&world, &["one", "two"])[1];
    assert_eq!(world.unit(second)["reason"], "diff_not_preserved");
    std::fs::remove_dir_all(world.repo.join(".git/pipeline")).unwrap();
    std::fs::remove_file(beside(&world, "how")).unwrap();
    // What was evicted is judged again. The numbers of its attempts are the same, and so are the names of what they saw.
    for entry in std::fs::read_dir(world.base()).unwrap().flatten() {
        if entry.file_name().to_string_lossy().starts_with("seen.") {
            std::fs::remove_dir_all(entry.path()).unwrap();
        }
    }
    world.expect(&["run", "rfc.yaml"], 0);
    assert_eq!(conflicts(&world, second), 1, "the approved work meets it again");
    for unit in ["one", "two"] {
        assert!(world.read("places.txt").contains(&format!("taken by {unit}")));
    }
    world.expect(&["doctor", "--strict"], 0);
}

#[test]
fn a_fix_after_a_resolution_that_undoes_landed_work_is_refused_and_its_author_told() {
    for always in [false, true] {
        let world = with_places();
        for unit in ["one", "two"] {
            say(&world, &format!("finds-in-review.2.{unit}"), "");
        }
        if always {
            say(&world, "undo-always", "");
        }
        world.expect(&["run", "rfc.yaml"], if always { 5 } else { 0 });
        let order = by_landing(&world, &["one", "two"]);
        let calls = world.calls(order[1]);
        let fixes = calls.iter().filter(|call| call.starts_with("fix.")).count();
        assert_eq!(fixes, 2, "{calls:?}");
        let told = beside(&world, &format!("seen.{}.fix.2", order[1]));
        assert!(!grep("takes back what landed", &told).is_empty());
        assert!(
            world
                .read("places.txt")
                .contains(&format!("taken by {}", order[0]))
        );
        if always {
            assert_eq!(world.unit(order[1])["reason"], "diff_not_preserved");
        } else {
            assert!(
                world
                    .read("places.txt")
                    .contains(&format!("taken by {}", order[1]))
            );
            assert!(world.read("shared.txt").contains("mended"));
        }
        world.expect(&["doctor", "--strict"], 0);
    }
}
