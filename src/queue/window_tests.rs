//! Rules about candidates that are verified side by side.

use super::scenario::{Swap, World, unit};
use super::window::Window;
use super::{State, Status};
use crate::event::{CheckOutcome, EntryEnd, Hold, QueueEvent};
use crate::spec::Breadth;

use Breadth::{Auto, Fixed};
use CheckOutcome::{Failed, Infrastructure, Interrupted, Passed, Skipped, TimedOut};

/// A window of as many candidates as there are units, each with a slot, all verifying.
fn side_by_side(names: &[&str]) -> World {
    let width = u32::try_from(names.len()).unwrap();
    let world = World::wide(Fixed(width), Fixed(1), width + 1, names);
    assert_eq!(world.running(), names);
    world
}

fn words_of(world: &World, name: &str) -> Vec<String> {
    let candidate = world.state.entry(&unit(name)).unwrap().candidate.unwrap();
    world.commits[&candidate].words.iter().cloned().collect()
}

#[test]
fn each_candidate_is_built_on_the_one_before_and_lands_from_its_own_base() {
    let mut world = side_by_side(&["a", "b", "c"]);
    assert_eq!(words_of(&world, "c"), ["a#1", "b#1", "c#1"]);
    world.end_of("c", Passed);
    world.end_of("b", Passed);
    assert_eq!((world.status("b"), world.status("c")), ("verified", "verified"));
    assert!(world.landed().is_empty(), "not before the first");
    world.end_of("a", Passed);
    assert_eq!(world.landed(), ["a", "b", "c"]);
    let moves: Vec<_> = world.state.landed().iter().map(|l| (&l.from, &l.to)).collect();
    assert!(
        moves.windows(2).all(|pair| pair[0].1 == pair[1].0),
        "one move each"
    );
    let runs = world
        .journal
        .iter()
        .filter(|e| matches!(e, QueueEvent::VerifyStarted { .. }));
    assert_eq!(
        runs.count(),
        3,
        "what landed as the base keeps the evidence of what is on it"
    );
}

#[test]
fn a_journal_that_lands_a_candidate_before_its_predecessors_is_refused() {
    let mut world = side_by_side(&["a", "b"]);
    world.end_of("b", Passed);
    let entry = |name: &str| world.state.entry(&unit(name)).unwrap();
    let (onto, commit) = (entry("a").candidate.unwrap(), entry("b").candidate.unwrap());
    let tree = world.commits[&commit].tree.clone();
    assert_eq!(entry("b").status, Status::Verified);
    for from in [world.tip(), onto] {
        let intent = QueueEvent::LandIntended {
            commit: commit.clone(),
            from,
            tree: tree.clone(),
            checkout: None,
        };
        assert!(world.state.clone().apply(&intent).is_err());
    }
}

#[test]
fn a_failure_in_the_middle_breaks_off_what_is_built_on_it_and_the_rest_goes_on_without_it() {
    let mut world = side_by_side(&["a", "b", "c"]);
    let doomed = world.open[2].0;
    world.end_of("b", Failed);
    assert_eq!(world.state.moot(), [doomed]);
    world.break_off();
    assert_eq!(words_of(&world, "c"), ["a#1", "c#1"]);
    assert_eq!(
        world.running(),
        ["a", "b", "c"],
        "the same candidate of `b` once more"
    );
    world.end_of("b", Failed);
    assert_eq!(world.status("b"), "suspect");
    assert!(world.charges().is_empty(), "`a` has not landed");
    world.end_of("a", Passed);
    world.end_base(Passed);
    assert_eq!(world.left("b"), ["sent_back verify_failed"]);
    world.end_of("c", Passed);
    assert_eq!(world.landed(), ["a", "c"]);
    assert_eq!(world.charges(), [("b".into(), 100, "verify_failed")]);
}

#[test]
fn a_failure_at_the_head_rebuilds_the_rest_on_the_target() {
    let mut world = side_by_side(&["a", "b"]);
    world.end_of("a", Failed);
    world.break_off();
    assert_eq!(words_of(&world, "b"), ["b#1"]);
    world.end_of("b", Passed);
    assert!(
        world.landed().is_empty(),
        "the first in line is served to its end"
    );
    world.end_of("a", Failed);
    world.end_base(Passed);
    assert_eq!(
        (world.left("a"), world.landed()),
        (vec!["sent_back verify_failed".into()], vec!["b"])
    );
}

#[test]
fn a_failure_that_was_a_flake_lands_and_those_that_went_on_without_it_are_built_on_it_again() {
    let mut world = side_by_side(&["a", "b", "c"]);
    world.end_of("c", Passed);
    world.end_of("a", Failed);
    world.break_off();
    assert_eq!(words_of(&world, "b"), ["b#1"]);
    world.end_of("a", Passed);
    world.break_off();
    assert_eq!(world.landed(), ["a"]);
    world.end_of("b", Passed);
    assert_eq!(
        world.landed(),
        ["a", "b", "c"],
        "what passed as the same tree is not run again"
    );
    assert!(world.charges().is_empty());
    let flakes = world
        .journal
        .iter()
        .filter(|e| matches!(e, QueueEvent::FlakeSeen { .. }));
    assert_eq!(flakes.count(), 1);
}

#[test]
fn two_failures_at_once_charge_both_and_nobody_else() {
    let mut world = side_by_side(&["a", "b", "c", "d"]);
    world.end_of("d", Failed);
    world.end_of("c", Failed);
    world.end_of("b", Failed);
    world.break_off();
    assert_eq!(words_of(&world, "d"), ["a#1", "c#1", "d#1"]);
    world.end_of("c", Failed);
    world.break_off();
    assert_eq!(
        words_of(&world, "d"),
        ["a#1", "d#1"],
        "what it showed on top of a failure is forgotten"
    );
    world.end_of("a", Passed);
    for name in ["b", "c"] {
        world.end_of(name, Failed);
    }
    world.end_base(Passed);
    world.end_of("d", Passed);
    assert_eq!(world.landed(), ["a", "d"]);
    let charged: Vec<_> = world.charges().into_iter().map(|charge| charge.0).collect();
    assert_eq!(charged, ["b", "c"]);
}

#[test]
fn a_failure_on_a_doomed_predecessor_is_forgotten_when_the_predecessor_leaves() {
    let mut world = side_by_side(&["a", "b"]);
    world.end_of("b", Failed);
    assert_eq!(world.running(), ["a", "b"]);
    world.end_of("b", TimedOut);
    assert_eq!(world.status("b"), "suspect");
    world.record(QueueEvent::EntryLeft {
        unit: unit("a"),
        end: EntryEnd::Cancelled,
    });
    world.settle();
    assert_eq!(world.status("b"), "verifying");
    world.end_of("b", Failed);
    assert_eq!(world.status("b"), "verifying", "one failure so far");
    world.end_of("b", Passed);
    assert_eq!(world.landed(), ["b"]);
    assert!(world.charges().is_empty());
}

#[test]
fn a_suspect_whose_predecessors_land_as_its_base_is_blamed_for_what_it_showed() {
    let mut world = side_by_side(&["a", "b"]);
    world.end_of("b", Failed);
    world.end_of("b", Failed);
    world.end_of("a", Passed);
    world.end_base(Passed);
    assert_eq!(world.left("b"), ["sent_back verify_failed"]);
}

#[test]
fn the_machines_failure_under_speculation_is_charged_only_on_the_target() {
    let mut world = side_by_side(&["a", "b", "c"]);
    world.end_of("b", Infrastructure);
    assert!(world.charges().is_empty());
    assert_eq!(
        words_of(&world, "c"),
        ["a#1", "b#1", "c#1"],
        "it says nothing about the work"
    );
    world.end_of("a", Passed);
    assert_eq!(world.charges(), [("b".into(), 10, "infra_exhausted")]);
    world.end_of("b", Passed);
    world.end_of("c", Passed);
    assert_eq!(world.landed(), ["a", "b", "c"]);
}

#[test]
fn a_gate_that_is_no_gate_evicts_only_on_the_target() {
    let mut world = side_by_side(&["a", "b"]);
    world.end_of("b", Skipped);
    assert_eq!(world.status("b"), "suspect");
    world.end_of("a", Passed);
    assert_eq!(world.left("b"), ["evicted gate_skipped"]);
}

#[test]
fn a_target_moved_by_others_rebuilds_the_whole_chain_for_free() {
    let mut world = side_by_side(&["a", "b"]);
    world.end_of("b", Failed);
    world.others_add("theirs");
    world.settle();
    world.break_off();
    assert_eq!(words_of(&world, "b"), ["a#1", "b#1", "theirs"]);
    for name in ["a", "b"] {
        world.end_of(name, Passed);
    }
    assert_eq!(world.landed(), ["a", "b"]);
    assert!(world.charges().is_empty());
}

#[test]
fn a_landing_goes_through_while_later_ones_verify() {
    let mut world = side_by_side(&["a", "b", "c"]);
    world.end_of("a", Passed);
    assert_eq!(world.landed(), ["a"]);
    assert_eq!(world.running(), ["b", "c"], "undisturbed");
    assert!(world.state.moot().is_empty());
}

#[test]
fn a_race_at_the_swap_rebuilds_everybody_and_charges_nobody() {
    let mut world = side_by_side(&["a", "b"]);
    world.swap = Swap::Raced;
    world.end_of("a", Passed);
    world.break_off();
    for name in ["a", "b"] {
        world.end_of(name, Passed);
    }
    assert_eq!(world.landed(), ["a", "b"]);
    assert!(world.charges().is_empty());
}

#[test]
fn a_dirty_checkout_holds_the_landing_and_lets_the_others_verify() {
    let mut world = side_by_side(&["a", "b"]);
    world.swap = Swap::Dirty;
    world.end_of("a", Passed);
    world.end_of("b", Passed);
    assert_eq!((world.status("a"), world.status("b")), ("held", "verified"));
    world.record(QueueEvent::EntryReleased { unit: unit("a") });
    world.settle();
    assert_eq!(world.landed(), ["a", "b"]);
}

#[test]
fn a_red_base_holds_everybody_and_what_failed_on_it_proves_nothing_once_it_passes() {
    let mut world = side_by_side(&["a", "b"]);
    world.end_of("a", Failed);
    world.break_off();
    world.end_of("b", Failed);
    world.end_of("a", Failed);
    world.end_of("b", Failed);
    world.end_base(Failed);
    assert_eq!((world.status("a"), world.status("b")), ("held", "held"));
    let tip = world.tip();
    let tree = world.commits[&tip].tree.clone();
    let passed = super::scenario::evidence(&tree, &[("test", Passed)]);
    world.cache.insert((tree, vec![]), passed);
    world.settle();
    for name in ["a", "b"] {
        world.end_of(name, Passed);
    }
    assert_eq!(world.landed(), ["a", "b"]);
    assert!(world.charges().is_empty());
}

#[test]
fn two_suspects_on_the_same_target_ask_for_one_run_of_it() {
    let mut world = side_by_side(&["a", "b"]);
    world.end_of("a", Failed);
    world.break_off();
    world.end_of("b", Failed);
    world.paused = true;
    world.end_of("a", Failed);
    world.end_of("b", Failed);
    world.paused = false;
    world.settle();
    assert_eq!(world.open.len(), 1);
    world.end_base(Passed);
    assert_eq!(world.charges().len(), 2);
}

#[test]
fn a_higher_priority_goes_next_and_breaks_nothing_off() {
    let mut world = World::wide(Fixed(3), Fixed(1), 3, &["a", "b"]);
    world.enqueue("c", 1, 0, 2);
    world.enqueue("urgent", 1, 9, 3);
    world.settle();
    assert_eq!(world.running(), ["a", "b", "urgent"]);
    let order: Vec<_> = world
        .state
        .entries()
        .into_iter()
        .map(|e| e.unit.to_string())
        .collect();
    assert_eq!(order, ["a", "b", "urgent", "c"]);
    for entry in world.state.entries() {
        assert_eq!(world.state.entry(&entry.unit), Some(entry));
    }
}

#[test]
fn the_head_of_the_line_has_its_slot_before_speculation_has_any() {
    let mut world = World::wide(Fixed(4), Fixed(1), 2, &["a", "b", "c"]);
    assert_eq!(world.running(), ["a", "b"]);
    assert_eq!(world.status("c"), "queued", "nothing is built that has no slot");
    world.slots = 1;
    world.end_of("a", Interrupted);
    assert_eq!(world.running(), ["b"]);
    world.end_of("b", Passed);
    assert_eq!(world.running(), ["a"]);
}

#[test]
fn a_window_of_one_is_the_serial_queue() {
    let mut world = World::wide(Fixed(1), Fixed(1), 4, &["a", "b"]);
    assert_eq!(world.running(), ["a"]);
    world.end_of("a", Failed);
    assert_eq!((world.running(), world.status("b")), (vec!["a"], "queued"));
}

#[test]
fn an_adaptive_window_grows_by_one_a_landing_and_halves_at_a_failure_between_one_and_its_ceiling() {
    let mut window = Window::new(Auto, 5);
    assert_eq!(window.width(), 5);
    let mut widths = Vec::new();
    for landed in [false, false, false, true, true, true, true, true, false] {
        if landed {
            window.landed();
        } else {
            window.failed();
        }
        widths.push(window.width());
    }
    assert_eq!(widths, [2, 1, 1, 2, 3, 4, 5, 5, 2]);
    let mut fixed = Window::new(Fixed(3), 5);
    fixed.failed();
    fixed.landed();
    assert_eq!(fixed.width(), 3);
    assert_eq!(Window::new(Auto, 0).width(), 1);
}

#[test]
fn a_confirmed_failure_narrows_the_window_and_a_flake_does_not() {
    let mut world = World::wide(Auto, Fixed(1), 4, &["a", "b", "c", "d", "e", "f"]);
    world.end_of("a", Failed);
    world.end_of("a", Passed);
    assert_eq!(world.state.window.width(), 4);
    world.break_off();
    world.end_of("b", Failed);
    world.break_off();
    world.end_of("b", Failed);
    world.end_base(Passed);
    assert_eq!(world.left("b").len(), 1);
    assert_eq!(world.state.window.width(), 2);
}

/// `b` cannot be put onto `a`.
fn at_odds() -> World {
    let mut world = World::wide(Fixed(3), Fixed(1), 3, &[]);
    world.conflicts.push(("a".into(), "b".into()));
    for (place, name) in (0..).zip(["a", "b", "c"]) {
        world.enqueue(name, 1, 0, place);
    }
    world.settle();
    world
}

#[test]
fn a_conflict_with_one_ahead_waits_in_place_and_those_behind_go_on() {
    let world = at_odds();
    let Status::Held(Hold::ConflictAhead { units, paths }) = world.state.entry(&unit("b")).unwrap().status
    else {
        panic!("held: {:?}", world.state.entries())
    };
    assert_eq!(
        (units, paths),
        (vec![unit("a")], vec!["src/shared.rs".to_owned()])
    );
    assert_eq!(world.running(), ["a", "c"]);
    assert_eq!(words_of(&world, "c"), ["a#1", "c#1"]);
    assert!(world.charges().is_empty());
    assert!(!world.state.waits_for_person());
}

#[test]
fn a_conflict_with_one_ahead_is_one_with_the_target_once_that_has_landed() {
    let mut world = at_odds();
    world.end_of("a", Passed);
    assert_eq!(world.left("b"), ["evicted conflict_target"]);
    world.end_of("c", Passed);
    assert_eq!(world.landed(), ["a", "c"]);
}

#[test]
fn a_conflict_with_one_ahead_is_over_when_that_leaves_or_is_in_doubt() {
    let mut world = at_odds();
    world.record(QueueEvent::EntryLeft {
        unit: unit("a"),
        end: EntryEnd::Cancelled,
    });
    world.settle();
    world.break_off();
    assert_eq!(
        (words_of(&world, "b"), words_of(&world, "c")),
        (vec!["b#1".into()], vec!["b#1".into(), "c#1".into()])
    );

    let mut world = at_odds();
    world.end_of("a", Failed);
    world.break_off();
    assert_eq!(world.status("b"), "verifying");
    world.end_of("a", Passed);
    world.break_off();
    assert_eq!(world.left("b"), ["evicted conflict_target"]);
    assert!(world.charges().is_empty());
}

#[test]
fn what_is_part_of_one_ahead_has_landed_when_that_has() {
    let mut world = side_by_side(&["a"]);
    world.state = State::new(super::Settings {
        window: Fixed(2),
        ..world.state.settings
    });
    let journal = std::mem::take(&mut world.journal);
    journal.into_iter().for_each(|event| world.record(event));
    world
        .obstacles
        .insert(unit("b"), crate::event::Obstacle::AlreadyLanded);
    world.enqueue("b", 1, 0, 1);
    world.settle();
    assert_eq!(world.status("b"), "held");
    world.end_of("a", Passed);
    assert_eq!(world.left("b"), ["AlreadyLanded"]);
}

#[test]
fn every_prefix_of_a_crash_goes_on_to_the_same_end() {
    let script = |world: &mut World| {
        world.swap = Swap::Crash(true);
        world.end_of("b", Failed);
        world.break_off();
        world.end_of("c", Passed);
        world.end_of("b", Failed);
        world.end_of("a", Passed);
        world.end_base(Passed);
    };
    let mut whole = side_by_side(&["a", "b", "c"]);
    script(&mut whole);
    assert_eq!(whole.landed(), ["a", "c"]);
    for (length, moved) in (3..=whole.journal.len()).flat_map(|length| [(length, false), (length, true)]) {
        let mut world = side_by_side(&["a", "b", "c"]);
        script(&mut world);
        world.restart_after(length, moved);
        world.finish_with(|words| if words.contains("b#1") { Failed } else { Passed });
        assert_eq!(world.landed(), ["a", "c"], "after {length} events");
        assert_eq!(
            world.left("b"),
            ["sent_back verify_failed"],
            "after {length} events"
        );
        assert_eq!(world.charges().len(), 1, "after {length} events");
    }
}
