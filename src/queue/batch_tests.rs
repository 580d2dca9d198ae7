//! Rules about candidates of several units.

use super::Settings;
use super::batch::{Batch, UNITS_MAX};
use super::scenario::{Words, World, unit};
use crate::event::{CheckOutcome, EntryEnd, QueueEvent, VerifyPurpose};
use crate::spec::Breadth;

use Breadth::{Auto, Fixed};
use CheckOutcome::{Failed, Infrastructure, Interrupted, Passed, TimedOut};

const FOUR: [&str; 4] = ["a", "b", "c", "d"];

/// All of the names in one batch, one candidate at a time.
fn together(names: &[&str]) -> World {
    let world = World::wide(Fixed(1), Fixed(4), 2, names);
    assert_eq!(world.open.len(), 1);
    world
}

/// Fails what holds a word that begins with one of these.
fn fails(bad: &[&str]) -> impl Fn(&Words) -> CheckOutcome {
    let bad: Vec<String> = bad.iter().map(|name| format!("{name}#")).collect();
    move |words| {
        let is_bad = words
            .iter()
            .any(|word| bad.iter().any(|bad| word.starts_with(bad)));
        if is_bad { Failed } else { Passed }
    }
}

fn charged(world: &World) -> Vec<(String, &'static str)> {
    world
        .charges()
        .into_iter()
        .map(|(unit, _, reason)| (unit, reason))
        .collect()
}

/// The batches of each landing.
fn landings(world: &World) -> Vec<Vec<String>> {
    let units = world.journal.iter().filter_map(|event| match event {
        QueueEvent::Landed { units, .. } => {
            Some(units.iter().map(|landed| landed.unit.to_string()).collect())
        }
        _ => None,
    });
    units.collect()
}

#[test]
fn a_batch_lands_in_one_move_to_the_verified_tip_and_each_unit_is_its_own_commit() {
    let mut world = together(&FOUR);
    let before = world.tip();
    world.end_test(Passed);
    let Some(QueueEvent::Landed { from, to, units, .. }) = world.journal.last() else {
        panic!("landed")
    };
    assert_eq!((from, to), (&before, &world.tip()));
    let marks: Vec<_> = units
        .iter()
        .map(|landed| (landed.unit.as_str(), landed.unverified))
        .collect();
    assert_eq!(marks, [("a", true), ("b", true), ("c", true), ("d", false)]);
    let mut onto = from;
    for landed in units {
        assert_eq!(world.commits[&landed.commit].parent.as_ref(), Some(onto));
        onto = &landed.commit;
    }
    assert_eq!(onto, to);
}

#[test]
fn one_bad_unit_at_any_place_is_found_and_the_others_land_as_sets() {
    for (bad, sets) in [
        ("a", vec![vec!["b"], vec!["c", "d"]]),
        ("b", vec![vec!["a"], vec!["c", "d"]]),
        ("c", vec![vec!["a", "b"], vec!["d"]]),
        ("d", vec![vec!["a", "b"], vec!["c"]]),
    ] {
        let mut world = together(&FOUR);
        world.finish_with(fails(&[bad]));
        assert_eq!(landings(&world), sets, "{bad} is bad");
        assert_eq!(charged(&world), [(bad.to_owned(), "dropped_by_bisection")]);
        assert_eq!(world.left(bad), ["sent_back dropped_by_bisection"]);
        for to in world.state.landed().iter().map(|landed| &landed.to) {
            assert!(
                world.passed.contains(&world.commits[to].tree),
                "each set was verified as that set"
            );
        }
    }
}

#[test]
fn the_other_half_of_a_batch_is_known_to_fail_and_is_not_run_again() {
    let mut world = together(&FOUR);
    world.finish_with(fails(&["d"]));
    let mut runs = 0;
    let mut splits = Vec::new();
    for event in &world.journal {
        match event {
            QueueEvent::VerifyStarted {
                purpose: VerifyPurpose::Candidate,
                ..
            } => runs += 1,
            QueueEvent::BatchSplit { units, .. } => splits.push((units.len(), runs)),
            _ => {}
        }
    }
    assert_eq!(
        splits,
        [(4, 2), (2, 3)],
        "after one run of `a` and `b`: with `c` and `d` on them it is the commit that failed twice"
    );
}

#[test]
fn a_unit_is_charged_only_for_two_failures_of_its_own_candidate_on_a_verified_base() {
    let mut world = together(&["a", "b"]);
    world.end_test(Failed);
    world.end_test(Failed);
    world.end_base(Passed);
    assert_eq!(world.open[0].2, [unit("a")]);
    world.end_test(Passed);
    assert_eq!(landings(&world), [["a"]]);
    for _ in 0..2 {
        assert_eq!(world.open[0].2, [unit("b")], "verified alone, afresh");
        assert!(world.charges().is_empty());
        world.end_test(Failed);
    }
    world.end_base(Passed);
    assert_eq!(charged(&world), [("b".into(), "dropped_by_bisection")]);
}

#[test]
fn all_bad_units_are_found_and_none_lands() {
    let mut world = together(&FOUR);
    world.finish_with(fails(&FOUR));
    assert!(world.landed().is_empty());
    let mut names: Vec<_> = charged(&world).into_iter().map(|(unit, _)| unit).collect();
    names.sort();
    assert_eq!(names, FOUR);
}

#[test]
fn units_that_fail_only_together_are_told_apart_by_their_order() {
    let mut world = together(&FOUR);
    world.finish_with(|words| {
        let both = words.contains("b#1") && words.contains("c#1");
        if both { Failed } else { Passed }
    });
    assert_eq!(charged(&world), [("c".into(), "dropped_by_bisection")]);
    assert_eq!(landings(&world), [vec!["a", "b"], vec!["d"]]);
}

#[test]
fn a_batch_that_times_out_is_split_and_the_unit_says_so() {
    let mut world = together(&["a", "b"]);
    world.finish_with(|words| if words.contains("b#1") { TimedOut } else { Passed });
    assert_eq!(charged(&world), [("b".into(), "verify_timeout")]);
    assert_eq!(world.landed(), ["a"]);
}

fn was_split(world: &World) -> bool {
    let mut events = world.journal.iter();
    events.any(|event| matches!(event, QueueEvent::BatchSplit { .. }))
}

#[test]
fn a_batch_that_passes_the_second_time_lands_and_is_not_split() {
    let mut world = together(&FOUR);
    world.end_test(Failed);
    world.end_test(Passed);
    assert_eq!(landings(&world), [FOUR]);
    assert!(!was_split(&world));
}

#[test]
fn a_batch_on_a_red_base_is_not_split() {
    let mut world = together(&FOUR);
    world.end_test(Failed);
    world.end_test(Failed);
    world.end_base(Failed);
    assert!(world.state.base_red().is_some());
    assert!(!was_split(&world));
}

#[test]
fn units_that_conflict_in_one_batch_go_apart_and_the_rest_stays_together() {
    let mut world = World::wide(Fixed(2), Fixed(4), 2, &[]);
    world.conflicts.push(("a".into(), "b".into()));
    for (place, name) in (0..).zip(FOUR) {
        world.enqueue(name, 1, 0, place);
    }
    world.settle();
    assert_eq!(world.open[0].2, ["a", "c", "d"].map(unit));
    assert_eq!(world.status("b"), "held");
    world.end_test(Passed);
    assert_eq!(world.left("b"), ["evicted conflict_target"]);
    assert_eq!(landings(&world), [["a", "c", "d"]]);

    let mut world = World::wide(Fixed(1), Fixed(2), 1, &[]);
    world.conflicts.push(("a".into(), "b".into()));
    world.enqueue("a", 1, 0, 0);
    world.enqueue("b", 1, 0, 1);
    world.settle();
    world.record(QueueEvent::EntryLeft {
        unit: unit("a"),
        end: EntryEnd::Cancelled,
    });
    world.settle();
    world.break_off();
    assert_eq!(world.running(), ["b"], "it goes on as it is");
}

#[test]
fn a_batch_without_a_gate_is_split_and_each_unit_is_told() {
    let mut world = together(&["a", "b"]);
    for _ in 0..3 {
        world.end(&[]);
    }
    assert_eq!(
        (world.left("a"), world.left("b")),
        (
            vec!["evicted gate_empty".into()],
            vec!["evicted gate_empty".into()]
        )
    );
}

#[test]
fn what_cannot_be_set_up_together_is_split_for_free_and_what_can_be_alone_lands() {
    let mut world = together(&FOUR);
    let sizes = |world: &World| world.open[0].2.len();
    for _ in 0..3 {
        assert_eq!(sizes(&world), 4, "three in a row split it, and not fewer");
        world.end_test(Infrastructure);
    }
    assert!(was_split(&world));
    assert_eq!(sizes(&world), 2);
    world.finish_with(|words| match words.contains("a#1") && words.contains("d#1") {
        true => Infrastructure,
        false => Passed,
    });
    assert_eq!(
        (world.landed(), world.left("d")),
        (vec!["a", "b", "c"], vec!["evicted infra_exhausted".into()])
    );
    let mut charges = world.charges().into_iter();
    assert!(charges.all(|(unit, charge, _)| (unit.as_str(), charge) == ("d", 10)));
}

#[test]
fn a_batch_that_can_be_set_up_at_the_third_try_is_not_split() {
    let mut world = together(&FOUR);
    world.end_test(Infrastructure);
    world.end_test(Infrastructure);
    world.end_test(Interrupted);
    world.end_test(Passed);
    assert!(!was_split(&world) && world.charges().is_empty());
    assert_eq!(landings(&world), [FOUR]);
}

#[test]
fn a_target_that_cannot_be_checked_under_a_batch_charges_nobody_before_the_batch_is_taken_apart() {
    let mut world = together(&["a", "b"]);
    world.end_test(Failed);
    world.end_test(Failed);
    world.end_base(Infrastructure);
    assert!(was_split(&world) && world.charges().is_empty());
}

#[test]
fn a_machine_that_is_broken_for_good_charges_each_unit_for_itself_and_is_bounded() {
    let mut world = together(&["a", "b"]);
    world.finish_with(|_| Infrastructure);
    assert!(world.state.is_idle());
    for unit in ["a", "b"] {
        assert_eq!(world.left(unit), ["evicted infra_exhausted"]);
    }
    assert_eq!(world.charges().len(), 40);
}

#[test]
fn a_member_that_leaves_takes_the_batch_apart_for_free() {
    let mut world = together(&FOUR);
    world.record(QueueEvent::EntryLeft {
        unit: unit("b"),
        end: EntryEnd::Cancelled,
    });
    world.settle();
    world.break_off();
    assert_eq!(world.open[0].2, ["a", "c", "d"].map(unit));
    world.end_test(Passed);
    assert_eq!(landings(&world), [["a", "c", "d"]]);
}

#[test]
fn batches_are_verified_side_by_side_like_single_units() {
    let names = ["a", "b", "c", "d", "e", "f"];
    let mut world = World::wide(Fixed(3), Fixed(2), 3, &names);
    assert_eq!(world.running(), ["b", "d", "f"]);
    world.finish_with(fails(&["c"]));
    assert_eq!(world.landed(), ["a", "b", "d", "e", "f"]);
    assert_eq!(charged(&world), [("c".into(), "dropped_by_bisection")]);
}

#[test]
fn an_adaptive_batch_grows_while_units_pass_and_is_back_at_one_after_a_failure() {
    let names: Vec<String> = (0..12).map(|number| format!("u{number:02}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut world = World::wide(Fixed(1), Auto, 1, &names);
    world.finish_with(fails(&["u06"]));
    let sizes: Vec<usize> = landings(&world).iter().map(Vec::len).collect();
    assert_eq!(
        sizes,
        [1, 2, 3, 1, 2, 2],
        "u06..u09 fail together, and half as many are allowed then"
    );
    assert_eq!(charged(&world), [("u06".into(), "dropped_by_bisection")]);
    let mut batch = Batch::new(Auto);
    (0..2 * UNITS_MAX).for_each(|_| batch.landed());
    assert_eq!(batch.size(), UNITS_MAX);
}

#[test]
fn a_batch_takes_whoever_is_in_line_and_waits_for_nobody() {
    let mut world = together(&["a"]);
    world.end_test(Passed);
    assert_eq!(landings(&world), [["a"]]);
}

#[test]
fn waived_checks_land_a_batch_at_once() {
    let mut world = World::with(Settings {
        waived: true,
        batch: Fixed(2),
        ..World::new().state.settings
    });
    world.enqueue("a", 1, 0, 0);
    world.enqueue("b", 1, 0, 1);
    world.settle();
    assert_eq!(landings(&world), [["a", "b"]]);
}

#[test]
fn a_journal_that_splits_what_has_not_failed_is_refused() {
    let mut world = together(&["a", "b"]);
    let split = QueueEvent::BatchSplit {
        commit: world.open[0].1.clone(),
        units: vec![unit("a"), unit("b")],
    };
    assert!(world.state.apply(&split).is_err());
}

#[test]
fn every_prefix_of_a_crash_in_a_bisection_goes_on_to_the_same_end() {
    let mut whole = together(&FOUR);
    whole.finish_with(fails(&["c"]));
    for (length, moved) in (4..=whole.journal.len()).flat_map(|length| [(length, false), (length, true)]) {
        let mut world = together(&FOUR);
        world.finish_with(fails(&["c"]));
        world.restart_after(length, moved);
        world.finish_with(fails(&["c"]));
        let mut landed = world.landed();
        landed.sort_unstable();
        assert_eq!(landed, ["a", "b", "d"], "after {length} events");
        assert_eq!(charged(&world).len(), 1, "after {length} events");
    }
}
