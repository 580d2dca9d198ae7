//! A step of ours that panics: it is done again, and the second time the entry leaves and the rest goes on.

use crate::world::{Said, World, file};

/// Two units that change one file in places far from each other, so that git has to merge the second; the third has a
/// file of its own.
const AUTHOR: &str = r#"
set -eu
case "$PIPELINE_UNIT" in
a) sed -i 's/^line 3$/line 3 by a/' shared.txt ;;
b) until git -C 'REPO' show main:shared.txt | grep -q 'by a'; do sleep 0.05; done
   sed -i 's/^line 27$/line 27 by b/' shared.txt ;;
c) until git -C 'REPO' show main:shared.txt | grep -q 'by a'; do sleep 0.05; done
   echo "work of c" > c.txt ;;
esac
echo '{"summary":"done"}' > "$PIPELINE_RESULT"
"#;

const THREE: &str = "  a: {title: 'feat: a', prompt: x, tier: trivial}
  b: {title: 'feat: b', prompt: x, tier: trivial}
  c: {title: 'feat: c', prompt: x, tier: trivial}\n";
const ONE: &str = "  a: {title: 'feat: a', prompt: x, tier: trivial}\n";

fn world(units: &str) -> World {
    let world = World::new();
    let text: String = (1..30).map(|line| format!("line {line}\n")).collect();
    world.write("shared.txt", &text);
    world.write(
        "agents/author.sh",
        &AUTHOR.replace("REPO", world.repo.to_str().unwrap()),
    );
    // What verifies a candidate is not what checked the unit, so that it runs.
    let verify = "queue: {verify: [{name: gate, run: \"test -f shared.txt\"}]}\nchecks:";
    world.write("rfc.yaml", &file("", "true", units).replace("checks:", verify));
    world.commit("chore: plan");
    world
}

fn run(world: &World, faults: &str) -> Said {
    world.pipeline_with(&["run", "rfc.yaml"], &[("PIPELINE_FAULT", faults)])
}

fn evicted(world: &World, unit: &str, said: &Said, step: &str) {
    assert_eq!(said.code, 5, "{}\n{}", said.out, said.err);
    let row = world.unit(unit);
    assert_eq!(
        (&row["state"], &row["reason"]),
        (&"evicted".into(), &"internal".into()),
        "{}",
        said.err
    );
    assert!(said.out.contains(step), "{}", said.out);
    let bundle = std::fs::read_to_string(world.run_dir().join(format!("bundles/{unit}/bundle.md"))).unwrap();
    assert!(bundle.contains(step) && bundle.contains("a fault at"), "{bundle}");
    assert!(world.events("entry_charged").is_empty(), "nobody is charged");
    world.assert_no_orphan();
}

fn landed(world: &World, units: &[&str]) {
    for unit in units {
        assert_eq!(world.unit(unit)["state"], "landed", "{unit}");
    }
}

#[test]
fn an_integration_that_panics_once_is_done_again_and_lands() {
    let world = world(THREE);
    let said = run(&world, "panic@git.merge-tree:1");
    assert_eq!(said.code, 0, "{}\n{}", said.out, said.err);
    assert_eq!(world.events("step_panicked").len(), 1);
    landed(&world, &["a", "b", "c"]);
    world.expect(&["doctor", "--strict"], 0);
    world.assert_clean();
}

#[test]
fn an_integration_that_panics_twice_takes_the_entry_out_and_the_queue_goes_on() {
    let world = world(THREE);
    let said = run(&world, "panic@git.merge-tree:1,panic@git.merge-tree:2");
    evicted(&world, "b", &said, "While this unit was put onto its base");
    landed(&world, &["a", "c"]);
    // A person brings it back, and the count begins anew.
    world.expect(&["retry", "b"], 0);
    let said = run(&world, "panic@git.merge-tree:1");
    assert_eq!(said.code, 0, "{}\n{}", said.out, said.err);
    landed(&world, &["b"]);
    world.expect(&["doctor", "--strict"], 0);
}

#[test]
fn panics_are_counted_over_engines() {
    let world = world(THREE);
    let said = run(&world, "panic@git.merge-tree:1,kill@git.merge-tree:2");
    assert_eq!(said.code, -1, "it was killed: {}\n{}", said.out, said.err);
    assert_eq!(world.events("step_panicked").len(), 1);
    let said = run(&world, "panic@git.merge-tree:1");
    evicted(&world, "b", &said, "While this unit was put onto its base");
    landed(&world, &["a", "c"]);
    world.expect(&["doctor", "--strict"], 0);
}

#[test]
fn a_landing_that_panics_once_is_done_again_and_twice_takes_the_entry_out_with_the_target_where_it_was() {
    let once = world(ONE);
    let said = run(&once, "panic@git.update-ref.target:1");
    assert_eq!(said.code, 0, "{}\n{}", said.out, said.err);
    landed(&once, &["a"]);
    once.expect(&["doctor", "--strict"], 0);

    let twice = world(ONE);
    let tip = twice.git(&["rev-parse", "main"]);
    let said = run(
        &twice,
        "panic@git.update-ref.target:1,panic@git.update-ref.target:2",
    );
    evicted(&twice, "a", &said, "While this unit was landed");
    assert_eq!(twice.git(&["rev-parse", "main"]), tip);
    twice.expect(&["doctor", "--strict"], 0);
}

/// Where `process.started` is passed in an undisturbed run of one unit: the checks on the target, the author, the unit's
/// own checks, those on its candidate.
const AUTHORS: [u64; 2] = [2, 3];
const VERIFICATIONS: [u64; 2] = [4, 5];

fn at_starts(places: &[u64]) -> String {
    let faults: Vec<String> = places
        .iter()
        .map(|place| format!("panic@process.started:{place}"))
        .collect();
    faults.join(",")
}

#[test]
fn a_verification_that_panics_once_is_done_again_and_twice_takes_the_entry_out() {
    let once = world(ONE);
    let said = run(&once, &at_starts(&VERIFICATIONS[..1]));
    assert_eq!(said.code, 0, "{}\n{}", said.out, said.err);
    assert_eq!(once.events("step_panicked")[0]["step"], "verify");
    landed(&once, &["a"]);

    let twice = world(ONE);
    let said = run(&twice, &at_starts(&VERIFICATIONS));
    evicted(&twice, "a", &said, "While this unit's candidate was verified");
    twice.expect(&["doctor", "--strict"], 0);
    twice.assert_clean();
}

#[test]
fn an_attempt_that_panics_once_is_made_again_free_of_charge_and_twice_hands_the_unit_to_a_person() {
    let once = world(ONE);
    let said = run(&once, &at_starts(&AUTHORS[..1]));
    assert_eq!(said.code, 0, "{}\n{}", said.out, said.err);
    let outcomes: Vec<_> = once
        .events("attempt_ended")
        .iter()
        .map(|event| event["outcome"].clone())
        .collect();
    assert_eq!(
        outcomes[0]["kind"].as_str().or(outcomes[0].as_str()),
        Some("panicked"),
        "{outcomes:?}"
    );
    landed(&once, &["a"]);
    once.assert_no_orphan();

    let twice = world(ONE);
    let said = run(&twice, &at_starts(&AUTHORS));
    evicted(&twice, "a", &said, "Work on this unit panicked 2 times");
    twice.expect(&["doctor", "--strict"], 0);
    twice.assert_clean();
}
