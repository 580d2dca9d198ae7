//! A conflict with the target sends a unit back as often as the run allows; then it evicts.

use super::Settings;
use super::scenario::{World, oid, unit};
use crate::event::CheckOutcome::{Failed, Passed};
use crate::event::{Conflict, EntryEnd, Obstacle, QueueEvent, Reason};
use crate::spec::{Breadth, Strategy};

/// A world in which `b` cannot be put onto what `a` has landed, and conflicts are resolved so many times.
fn after_a(conflicts_max: u32) -> World {
    let mut world = World::with(Settings {
        conflicts_max,
        ..Settings::serial(Strategy::Rebase)
    });
    world.conflicts.push(("a".into(), "b".into()));
    world.enqueue("a", 1, 0, 0);
    world.enqueue("b", 1, 0, 1);
    world.settle();
    world.end_test(Passed);
    assert_eq!(world.landed(), ["a"]);
    world
}

#[test]
fn a_conflict_with_the_target_sends_the_unit_back_on_the_tip_it_was_met_on_and_charges_nothing() {
    let world = after_a(1);
    let Some(QueueEvent::SentToResolve {
        unit: sent,
        onto,
        conflicts,
    }) = world.journal.last()
    else {
        panic!("sent back")
    };
    assert_eq!((sent, onto), (&unit("b"), &world.tip()));
    assert_eq!(conflicts[0].landed_by, Some(unit("a")));
    assert!(world.charges().is_empty());
    assert!(world.state.is_idle());
}

#[test]
fn a_resolved_unit_lands_as_a_new_generation() {
    let mut world = after_a(1);
    world.conflicts.clear();
    world.enqueue("b", 2, 0, 1);
    world.settle();
    world.end_test(Passed);
    assert_eq!(world.landed(), ["a", "b"]);
    assert_eq!(world.state.landed()[1].generation, 2);
}

#[test]
fn conflicts_are_counted_over_generations_and_the_last_one_evicts() {
    let mut world = after_a(2);
    world.enqueue("b", 2, 0, 1);
    world.settle();
    assert_eq!(world.left("b"), ["sent_back conflict_target"; 2]);
    world.enqueue("b", 3, 0, 1);
    world.settle();
    let Some(QueueEvent::EntryLeft {
        end: EntryEnd::Evicted {
            reason,
            sentence,
            conflicts,
        },
        ..
    }) = world.journal.last()
    else {
        panic!("evicted")
    };
    assert_eq!((*reason, conflicts.len()), (Reason::ConflictTarget, 1));
    assert_eq!(
        sentence,
        "The work conflicts with the target in src/shared.rs (with `a`, which landed). 2 were resolved before."
    );
}

#[test]
fn a_failure_between_two_conflicts_forgets_none_of_them() {
    let mut world = after_a(1);
    let pair = std::mem::take(&mut world.conflicts);
    world.enqueue("b", 2, 0, 1);
    world.settle();
    world.end_test(Failed);
    world.end_test(Failed);
    world.end_base(Passed);
    assert_eq!(
        world.left("b"),
        ["sent_back conflict_target", "sent_back verify_failed"]
    );
    world.conflicts = pair;
    world.enqueue("b", 3, 0, 1);
    world.settle();
    assert_eq!(world.left("b").last().unwrap(), "evicted conflict_target");
}

#[test]
fn a_person_who_takes_over_begins_the_count_anew() {
    let mut world = after_a(1);
    world.state.person_takes_over(&unit("b"));
    world.enqueue("b", 2, 0, 1);
    world.settle();
    assert_eq!(world.left("b"), ["sent_back conflict_target"; 2]);
}

#[test]
fn a_conflict_with_one_ahead_is_no_conflict_with_the_target() {
    let mut world = World::with(Settings {
        conflicts_max: 1,
        window: Breadth::Fixed(2),
        parallel: 2,
        ..Settings::serial(Strategy::Rebase)
    });
    world.conflicts.push(("a".into(), "b".into()));
    world.enqueue("a", 1, 0, 0);
    world.enqueue("b", 1, 0, 1);
    world.settle();
    assert_eq!(world.status("b"), "held");
    world.end_of("a", Passed);
    assert_eq!(world.left("b"), ["sent_back conflict_target"]);
}

#[test]
fn what_is_no_conflict_is_final_however_many_conflicts_may_be_resolved() {
    for (obstacle, end) in [
        (Obstacle::AlreadyLanded, "AlreadyLanded"),
        (Obstacle::UnrelatedHistory, "evicted unrelated_history"),
    ] {
        let mut world = World::with(Settings {
            conflicts_max: 9,
            ..Settings::serial(Strategy::Rebase)
        });
        world.obstacles.insert(unit("a"), obstacle);
        world.enqueue("a", 1, 0, 0);
        world.settle();
        assert_eq!(world.left("a"), [end]);
    }
}

#[test]
fn a_journal_that_sends_a_unit_back_from_elsewhere_than_the_tip_is_refused() {
    let mut world = World::with(Settings::serial(Strategy::Rebase));
    world.enqueue("a", 1, 0, 0);
    world.settle();
    let before = world.state.clone();
    let event = QueueEvent::SentToResolve {
        unit: unit("a"),
        onto: oid(9, 9),
        conflicts: Vec::<Conflict>::new(),
    };
    assert!(world.state.apply(&event).is_err());
    assert_eq!(world.state, before);
}
