//! Whose failure it is, over real git: what a unit pays for, what nobody pays for, and what goes on afterwards.

use crate::world::{World, file};

const TWO: &str = "  a: {title: 'feat: a', prompt: x, tier: trivial}
  b: {title: 'feat: b', prompt: x, tier: small}\n";
const ONE: &str = "  a: {title: 'feat: a', prompt: x, tier: trivial}\n";

/// A repository with these units, this author and this check.
fn ready(author: &str, check: &str, units: &str) -> World {
    let world = World::new();
    let author = author.replace("REPO", world.repo.to_str().unwrap());
    world.write("agents/author.sh", &author);
    world.write("agents/check.sh", check);
    world.write("rfc.yaml", &file("", "sh agents/check.sh", units));
    world.commit("chore: plan");
    world
}

/// A repository with one unit, whose candidates alone are verified by this script. `DIR` in it is a folder outside.
fn ready_to_verify(script: &str, timeout: &str) -> World {
    let world = World::new();
    let dir = world.base().join("count");
    world.write("agents/verify.sh", &script.replace("DIR", dir.to_str().unwrap()));
    let verify = format!("[{{name: gate, run: \"sh agents/verify.sh\", timeout: {timeout}}}]");
    let text = file("", "true", ONE).replace("checks:", &format!("queue: {{verify: {verify}}}\nchecks:"));
    world.write("rfc.yaml", &text);
    world.commit("chore: plan");
    world
}

#[test]
fn a_clean_rebase_that_breaks_the_checks_goes_back_with_the_log_and_lands_as_a_new_generation() {
    let author = r#"
set -eu
case "$PIPELINE_UNIT.$PIPELINE_KIND" in
a.*) echo new > interface.txt ;;
b.implement) until git -C 'REPO' cat-file -e main:interface.txt 2> /dev/null; do sleep 0.05; done; echo "the old way" > b.txt ;;
b.fix) cat "$PIPELINE_CONTEXT"/checks/test.log > "$COUNT_DIR/told"; echo "the new way" > b.txt ;;
esac
echo "$PIPELINE_UNIT.$PIPELINE_KIND" >> "$COUNT_DIR/authors"
echo '{"summary":"done"}' > "$PIPELINE_RESULT"
"#;
    let check =
        "if [ -e interface.txt ] && grep -qs old b.txt; then echo 'b uses what is gone'; exit 1; fi\n";
    let world = ready(author, check, TWO);
    world.expect(&["run", "rfc.yaml"], 0);

    assert_eq!(world.git(&["log", "--format=%s", "-2"]), "feat: b\nfeat: a\n");
    assert_eq!(
        (world.read("interface.txt"), world.read("b.txt")),
        ("new\n".into(), "the new way\n".into())
    );
    let outside = |name: &str| std::fs::read_to_string(world.base().join("count").join(name)).unwrap();
    assert!(
        outside("told").contains("b uses what is gone"),
        "{}",
        outside("told")
    );
    assert!(
        outside("authors").ends_with("b.implement\nb.fix\n"),
        "{}",
        outside("authors")
    );
    let back = world.events("sent_back");
    assert_eq!(back.len(), 1, "{back:?}");
    assert_eq!(
        (&back[0]["unit"], &back[0]["reason"]),
        (&"b".into(), &"verify_failed".into())
    );
    let charged = world.events("entry_charged");
    assert_eq!(charged.len(), 1, "{charged:?}");
    assert_eq!(
        (&charged[0]["unit"], &charged[0]["charge"]),
        (&"b".into(), &100.into())
    );
    let generations: Vec<_> = world
        .events("enqueued")
        .into_iter()
        .filter(|event| event["unit"] == "b")
        .map(|event| event["generation"].clone())
        .collect();
    assert_eq!(generations, [1, 2]);
    let reviews = world.calls("b");
    let reviewed = reviews.iter().filter(|call| call.starts_with("review")).count();
    assert_eq!(reviewed, 2, "what came of the fix was reviewed: {reviews:?}");
    world.expect(&["doctor", "--strict"], 0);
    world.assert_clean();
}

/// While the first unit is worked on a person breaks the target.
const BREAKS_THE_TARGET: &str = r#"
set -eu
if [ "$PIPELINE_UNIT" = a ]; then
    ( cd 'REPO'; touch broken; git add broken; git commit -qm 'chore: break it' )
else
    while ! [ -e "$COUNT_DIR/release" ]; do sleep 0.05; done
fi
echo "work of $PIPELINE_UNIT" > "$PIPELINE_UNIT.txt"
echo '{"summary":"done"}' > "$PIPELINE_RESULT"
"#;

const IS_WHOLE: &str = "if [ -e broken ]; then echo 'it is broken'; exit 1; fi\n";

fn repair(world: &World) {
    world.git(&["rm", "-q", "broken"]);
    world.git(&["commit", "-qm", "fix: repair it"]);
}

#[test]
fn a_target_made_red_by_hand_charges_nobody_and_the_run_goes_on_by_itself_once_it_is_repaired() {
    let world = ready(BREAKS_THE_TARGET, IS_WHOLE, TWO);
    let engine = world.start(&["run", "rfc.yaml"]);
    world.wait_until("the queue waits for a target that passes", || {
        world.unit_state("a") == "queued" && !world.status()["run"]["trouble"].is_null()
    });
    assert_eq!(world.events("base_red")[0]["check"], "test");
    let status = world.expect(&["status"], 0);
    let told = "The queue waits: the check `test` fails on the target itself";
    assert!(status.out.contains(told), "{}", status.out);

    repair(&world);
    std::fs::write(world.base().join("count/release"), "").unwrap();
    let said = world.expect_end(engine, 0);
    assert!(said.out.contains("base_red"), "{}", said.out);
    assert_eq!(
        world.git(&["log", "--format=%s", "-4"]),
        "feat: b\nfeat: a\nfix: repair it\nchore: break it\n"
    );
    assert!(world.events("entry_charged").is_empty());
    assert!(world.events("sent_back").is_empty());
    world.expect(&["doctor", "--strict"], 0);
    world.assert_clean();
}

#[test]
fn a_red_target_ends_a_run_that_has_nothing_else_to_do_and_the_same_command_goes_on() {
    let world = ready(BREAKS_THE_TARGET, IS_WHOLE, ONE);
    let said = world.expect(&["run", "rfc.yaml"], 6);
    let words = format!("{}{}", said.out, said.err);
    assert!(words.contains("base_red") && words.contains("test"), "{words}");
    assert_eq!(world.unit("a")["state"], "queued");
    repair(&world);
    world.expect(&["run", "rfc.yaml"], 0);
    assert_eq!(
        world.git(&["log", "--format=%s", "-2"]),
        "feat: a\nfix: repair it\n"
    );
    assert!(world.events("entry_charged").is_empty());
}

#[test]
fn work_that_sets_a_file_back_to_before_a_landed_unit_waits_for_a_person() {
    let author = r#"
set -eu
[ "$PIPELINE_UNIT" = a ] && echo new > shared.txt || echo old > shared.txt
echo "work of $PIPELINE_UNIT" > "$PIPELINE_UNIT.txt"
echo '{"summary":"done"}' > "$PIPELINE_RESULT"
"#;
    let units = "  a: {title: 'feat: a', prompt: x, tier: trivial}
  b: {title: 'feat: b', prompt: x, tier: trivial, needs: [a]}\n";
    let world = ready(author, "true\n", units);
    world.write("shared.txt", "old\n");
    world.commit("chore: what was before");
    let said = world.expect(&["run", "rfc.yaml"], 6);
    let words = format!("{}{}", said.out, said.err);
    assert!(
        words.contains("shared.txt") && words.contains("pipeline approve b"),
        "{words}"
    );
    assert_eq!(world.unit("b")["state"], "gated");
    let hits = &world.events("gate_opened")[0]["gate"]["hits"];
    assert_eq!(hits[0]["reason"], "reverts_landed", "{hits}");
    assert_eq!(world.read("shared.txt"), "new\n");
    world.expect(&["approve", "b"], 0);
    world.expect(&["run", "rfc.yaml"], 0);
    assert_eq!(
        world.read("shared.txt"),
        "old\n",
        "a person said that it is meant"
    );
}

#[test]
fn a_check_that_fails_and_passes_on_the_same_commit_is_a_recorded_flake_and_costs_nothing() {
    let world = ready_to_verify("[ -e a.txt ] || exit 0\n! mkdir 'DIR/once' 2> /dev/null\n", "10m");
    let said = world.expect(&["run", "rfc.yaml"], 0);
    assert!(said.out.contains("FLAKY"), "{}", said.out);
    let flakes = world.events("flake_seen");
    assert_eq!(flakes.len(), 1, "{flakes:?}");
    assert_eq!(
        (&flakes[0]["unit"], &flakes[0]["check"]),
        (&"a".into(), &"gate".into())
    );
    assert!(world.events("entry_charged").is_empty());
    assert_eq!(world.unit("a")["state"], "landed");
}

#[test]
fn a_check_that_never_ends_is_run_twice_and_then_charged_as_a_time_out() {
    let script = "[ -e a.txt ] || exit 0\necho run >> 'DIR/runs'\nsleep 60\n";
    let world = ready_to_verify(script, "1s");
    world.expect(&["run", "rfc.yaml"], 5);
    assert_eq!(world.unit("a")["reason"], "verify_timeout");
    let charged = world.events("entry_charged");
    assert_eq!(charged.len(), 1, "{charged:?}");
    assert_eq!(
        (&charged[0]["reason"], &charged[0]["charge"]),
        (&"verify_timeout".into(), &100.into())
    );
    let runs = std::fs::read_to_string(world.base().join("count/runs")).unwrap();
    assert_eq!(runs, "run\nrun\n");
    world.assert_no_orphan();
    world.assert_clean();
}

#[test]
fn a_tree_that_passed_as_the_units_own_is_not_verified_again_to_land() {
    let world = World::new();
    let log = world.base().join("count/trees");
    world.write(
        "agents/check.sh",
        &format!("git rev-parse HEAD^{{tree}} >> '{}'\n", log.display()),
    );
    world.write("rfc.yaml", &file("", "sh agents/check.sh", ONE));
    world.commit("chore: plan");
    world.expect(&["run", "rfc.yaml"], 0);
    let trees = std::fs::read_to_string(log).unwrap();
    let landed = world.git(&["rev-parse", "HEAD^{tree}"]);
    assert_eq!(
        trees.lines().filter(|tree| *tree == landed.trim()).count(),
        1,
        "{trees}"
    );
    let ended = world.events("verify_ended");
    let reused = ended
        .iter()
        .filter(|event| event["evidence"]["tree"] == landed.trim());
    assert_eq!(
        reused.map(|event| event["reused"].clone()).collect::<Vec<_>>(),
        [true]
    );
}
