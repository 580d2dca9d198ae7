//! What people say to the queue, and what comes of it.

use crate::event::CheckOutcome::{Failed, Passed};
use crate::event::{Hold, QueueEvent};
use crate::spec::Breadth::Fixed;

use super::scenario::{Swap, World, one, unit};
use super::{Effect, Status};

fn raise(world: &mut World, name: &str, interrupt: bool) {
    let unit = unit(name);
    let priority = world.state.priority_on_top(&unit).expect("it is not on top");
    world.record(QueueEvent::EntryRaised {
        unit,
        priority,
        interrupt,
    });
    world.settle();
}

fn hold(world: &World, name: &str) -> Option<Hold> {
    match world.state.entry(&unit(name))?.status {
        Status::Held(hold) => Some(hold),
        _ => None,
    }
}

#[test]
fn while_a_person_has_paused_the_queue_runs_finish_and_nothing_is_started_or_landed() {
    let mut world = one();
    world.enqueue("b", 1, 0, 1);
    world.record(QueueEvent::QueuePaused);
    world.settle();
    assert_eq!(world.status("a"), "verifying", "what runs goes on");
    world.end_test(Passed);
    assert_eq!(
        (hold(&world, "a"), hold(&world, "b")),
        (Some(Hold::Paused), Some(Hold::Paused))
    );
    assert!(world.open.is_empty() && world.landed().is_empty());
    assert!(world.state.waits_for_person());
    world.record(QueueEvent::QueueResumed);
    world.settle();
    assert_eq!((world.landed(), world.status("b")), (vec!["a"], "verifying"));
}

/// A queue that is about to land `a`, and the intent to do so.
fn about_to_land() -> (World, QueueEvent) {
    let mut world = one();
    world.paused = true;
    world.end_test(Passed);
    world.paused = false;
    let effects = world.decide();
    let [Effect::Land(verified)] = effects.as_slice() else {
        panic!("it may land: {effects:?}")
    };
    let intended = QueueEvent::LandIntended {
        commit: verified.to().clone(),
        from: verified.from().clone(),
        tree: verified.tree().clone(),
        checkout: None,
    };
    (world, intended)
}

#[test]
fn a_journal_that_lands_while_paused_or_frozen_is_refused() {
    for event in [QueueEvent::QueuePaused, QueueEvent::QueueFrozen { below: 1 }] {
        let (mut world, intended) = about_to_land();
        assert!(world.state.clone().apply(&intended).is_ok());
        world.record(event);
        assert!(world.state.apply(&intended).is_err());
    }
}

#[test]
fn a_landing_that_was_begun_before_a_pause_or_a_freeze_is_settled() {
    for event in [QueueEvent::QueuePaused, QueueEvent::QueueFrozen { below: 1 }] {
        for swap in [Swap::Clean, Swap::Dirty, Swap::Raced] {
            let (mut world, intended) = about_to_land();
            world.record(intended);
            world.record(event.clone());
            assert_eq!(world.status("a"), "landing");
            world.swap = swap;
            world.settle_landing();
            world.settle();
            let expected = if swap == Swap::Clean { "gone" } else { "held" };
            assert_eq!(world.status("a"), expected, "{event:?} {swap:?}");
            assert!(world.open.is_empty(), "nothing is started");
        }
    }
}

#[test]
fn a_freeze_holds_who_is_below_it_and_keeps_nobody_above_waiting() {
    let mut world = World::wide(Fixed(3), Fixed(1), 3, &["a", "b"]);
    world.enqueue("urgent", 1, 5, 2);
    world.settle();
    assert_eq!(world.running(), ["a", "b", "urgent"]);
    world.record(QueueEvent::QueueFrozen { below: 5 });
    world.settle();
    world.break_off();
    assert_eq!(hold(&world, "a"), Some(Hold::Frozen { below: 5 }));
    assert_eq!(world.running(), ["urgent"], "it is built without them");
    world.end_of("urgent", Passed);
    assert_eq!(world.landed(), ["urgent"]);
    assert!(world.open.is_empty() && world.state.waits_for_person());
    world.record(QueueEvent::QueueThawed);
    world.settle();
    world.end_of("a", Passed);
    world.end_of("b", Passed);
    assert_eq!(world.landed(), ["urgent", "a", "b"]);
    assert!(world.charges().is_empty(), "a freeze costs nobody anything");
}

#[test]
fn who_is_put_on_top_goes_next_and_breaks_nothing_off() {
    let mut world = World::wide(Fixed(1), Fixed(1), 1, &["a", "b", "c"]);
    raise(&mut world, "c", false);
    assert_eq!(world.running(), ["a"]);
    world.end_of("a", Passed);
    assert_eq!(world.running(), ["c"]);
    world.end_of("c", Passed);
    world.end_of("b", Passed);
    assert_eq!(world.landed(), ["a", "c", "b"]);
}

#[test]
fn an_interruption_breaks_off_who_is_served_free_of_charge() {
    let mut world = World::wide(Fixed(2), Fixed(1), 2, &["a", "b", "c"]);
    assert_eq!(world.running(), ["a", "b"]);
    raise(&mut world, "c", true);
    world.break_off();
    assert_eq!(world.running(), ["c", "a"], "the others are put onto it");
    for name in ["c", "a", "b"] {
        world.end_of(name, Passed);
    }
    assert_eq!(world.landed(), ["c", "a", "b"]);
    assert!(world.charges().is_empty());
}

#[test]
fn an_interruption_for_the_one_that_is_first_breaks_nothing_off() {
    let mut world = World::wide(Fixed(2), Fixed(1), 2, &["a", "b"]);
    world.record(QueueEvent::EntryRaised {
        unit: unit("a"),
        priority: 1,
        interrupt: true,
    });
    world.settle();
    assert!(world.state.moot().is_empty());
    assert_eq!(world.running(), ["a", "b"]);
}

#[test]
fn a_unit_keeps_the_priority_a_person_gave_it_when_it_comes_back() {
    let mut world = World::wide(Fixed(1), Fixed(1), 1, &["a", "b", "c"]);
    raise(&mut world, "c", true);
    world.break_off();
    world.end_of("c", Failed);
    world.end_of("c", Failed);
    world.end_base(Passed);
    assert_eq!(world.left("c"), ["sent_back verify_failed"]);
    world.enqueue("c", 2, 0, 2);
    world.end_of("a", Passed);
    assert_eq!(world.running(), ["c"], "before b, which is as old");
}

#[test]
fn who_is_put_on_top_passes_a_freeze() {
    let mut world = World::wide(Fixed(1), Fixed(1), 1, &["a", "b"]);
    world.record(QueueEvent::QueueFrozen { below: 7 });
    world.settle();
    world.break_off();
    assert!(world.open.is_empty());
    assert_eq!(world.state.priority_on_top(&unit("a")), Some(7));
    raise(&mut world, "b", false);
    world.end_of("b", Passed);
    assert_eq!(world.landed(), ["b"]);
    assert_eq!(hold(&world, "a"), Some(Hold::Frozen { below: 7 }));
}

#[test]
fn who_is_on_top_already_is_not_raised() {
    let world = World::wide(Fixed(1), Fixed(1), 1, &["a", "b"]);
    assert_eq!(world.state.priority_on_top(&unit("a")), None);
    assert_eq!(world.state.priority_on_top(&unit("b")), Some(1));
    assert_eq!(world.state.priority_on_top(&unit("stranger")), None);
}

#[test]
fn a_unit_that_passes_the_one_it_conflicts_with_waits_for_it_no_more() {
    let blocked = || {
        let mut world = World::wide(Fixed(1), Fixed(4), 2, &[]);
        world.conflicts.push(("a".into(), "b".into()));
        world.enqueue("a", 1, 0, 0);
        world.enqueue("b", 1, 0, 1);
        world.settle();
        let waits = |hold: Option<Hold>| matches!(hold, Some(Hold::ConflictAhead { .. }));
        assert!(waits(hold(&world, "b")), "{:?}", hold(&world, "b"));
        world
    };
    let mut world = blocked();
    raise(&mut world, "b", true);
    world.end_of("b", Passed);
    assert_eq!(world.landed(), ["b"]);
    let mut world = blocked();
    world.record(QueueEvent::QueueFrozen { below: 5 });
    raise(&mut world, "b", false);
    world.end_of("a", Passed);
    world.end_of("b", Passed);
    assert_eq!(world.landed(), ["b"], "past a frozen one");
}
