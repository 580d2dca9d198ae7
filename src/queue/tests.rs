//! Rules about order, verification and blame.

use super::scenario::{World, evidence, one, unit};
use super::{Effect, Settings};
use crate::event::{CheckOutcome, EntryEnd, QueueEvent, Reason, VerifyPurpose};
use crate::spec::Strategy;

use CheckOutcome::{Failed, Infrastructure, Interrupted, Passed, Skipped, TimedOut};

fn waived() -> Settings {
    Settings {
        waived: true,
        ..Settings::serial(Strategy::Rebase)
    }
}

#[test]
fn a_unit_goes_from_queued_to_landed() {
    let mut world = World::new();
    world.enqueue("a", 1, 0, 0);
    assert_eq!(world.status("a"), "queued");
    world.settle();
    assert_eq!(world.status("a"), "verifying");
    world.end_test(Passed);
    assert_eq!(world.landed(), ["a"]);
    assert!(world.state.is_idle());
    assert_eq!(world.state.expected_tip(), world.tip.as_ref());
}

#[test]
fn units_are_served_by_priority_then_age_then_place() {
    let mut world = World::new();
    world.enqueue("c", 1, 0, 2);
    world.enqueue("b", 1, 0, 1);
    world.enqueue("x", 1, 5, 9);
    world.settle();
    world.enqueue("a", 1, 0, 0);
    for _ in 0..4 {
        world.end_test(Passed);
    }
    assert_eq!(world.landed(), ["x", "b", "c", "a"]);
}

#[test]
fn a_higher_priority_goes_next_but_cancels_nothing() {
    let mut world = one();
    world.enqueue("b", 1, 0, 1);
    world.enqueue("urgent", 1, 9, 2);
    world.settle();
    let order: Vec<_> = world
        .state
        .entries()
        .into_iter()
        .map(|e| (e.unit.to_string(), e.position))
        .collect();
    assert_eq!(order, [("a".into(), 1), ("urgent".into(), 2), ("b".into(), 3)]);
    for (place, name) in ["a", "urgent", "b"].into_iter().enumerate() {
        assert_eq!(world.state.entry(&unit(name)).unwrap().position, place + 1);
    }
    world.end_test(Passed);
    assert_eq!(world.status("urgent"), "verifying");
}

#[test]
fn a_unit_that_comes_back_keeps_its_age() {
    let mut world = one();
    world.enqueue("b", 1, 0, 1);
    world.end_test(Failed);
    world.end_test(Failed);
    world.end_test(Passed); // the base
    assert_eq!(world.left("a"), ["sent_back verify_failed"]);
    world.enqueue("c", 1, 0, 2);
    world.enqueue("a", 2, 0, 0);
    world.end_test(Passed);
    assert_eq!(world.status("a"), "verifying", "older than c");
}

#[test]
fn no_run_is_started_without_a_slot_or_twice() {
    let mut world = World::new();
    world.slots = 0;
    world.enqueue("a", 1, 0, 0);
    world.settle();
    assert_eq!(world.status("a"), "integrated");
    world.slots = 1;
    world.settle();
    world.settle();
    assert_eq!(world.open.len(), 1);
}

#[test]
fn a_failure_that_passes_on_the_same_candidate_is_a_flake_and_lands() {
    let mut world = one();
    world.end_test(Failed);
    assert_eq!(world.open.len(), 1, "the same candidate once more");
    world.end_test(Passed);
    assert_eq!(world.landed(), ["a"]);
    let flakes = world
        .journal
        .iter()
        .filter(|e| matches!(e, QueueEvent::FlakeSeen { check, .. } if check == "test"));
    assert_eq!(flakes.count(), 1);
    assert!(world.charges().is_empty());
}

#[test]
fn failing_twice_on_a_green_base_is_charged_and_sent_back() {
    let mut world = one();
    world.end_test(Failed);
    world.end_test(Failed);
    assert_eq!(world.open[0].3, VerifyPurpose::Base);
    assert!(world.charges().is_empty(), "not before the base is known");
    world.end_test(Passed);
    assert_eq!(world.charges(), [("a".into(), 100, "verify_failed")]);
    assert_eq!(world.left("a"), ["sent_back verify_failed"]);
    assert!(world.state.is_idle());
}

#[test]
fn a_charge_follows_the_unit_and_evicts_at_the_limit() {
    let mut world = one();
    for generation in 1..=2 {
        world.end_test(Failed);
        world.end_test(TimedOut);
        if generation == 1 {
            world.end_test(Passed); // the base
            world.enqueue("a", 2, 0, 0);
            world.settle();
            assert_eq!(world.state.entry(&unit("a")).unwrap().charged, 100);
        }
    }
    assert_eq!(
        world.left("a"),
        ["sent_back verify_timeout", "evicted verify_timeout"]
    );
}

#[test]
fn a_new_generation_with_the_old_head_is_verified_anew() {
    let mut world = one();
    world.end_test(Failed);
    world.end_test(Failed);
    world.end_test(Passed); // the base
    let mut again = world.journal[0].clone();
    let QueueEvent::Enqueued { generation, .. } = &mut again else {
        panic!("enqueued")
    };
    *generation = 2;
    world.record(again);
    world.settle();
    assert_eq!(world.status("a"), "verifying");
    assert_eq!(world.left("a").len(), 1, "not sent back for the old failures");
    world.end_test(Passed);
    assert_eq!(world.landed(), ["a"]);
}

#[test]
fn a_person_who_brings_an_evicted_unit_back_starts_with_a_fresh_budget() {
    let mut world = one();
    world.record(QueueEvent::EntryCharged {
        unit: unit("a"),
        charge: 190,
        reason: Reason::InfraExhausted,
    });
    world.record(QueueEvent::EntryLeft {
        unit: unit("a"),
        end: EntryEnd::Cancelled,
    });
    world.enqueue("a", 2, 0, 0);
    assert_eq!(world.state.entry(&unit("a")).unwrap().charged, 0);
}

#[test]
fn known_passing_evidence_of_the_base_spares_its_run() {
    let mut world = World::new();
    let tree = world.commits[&world.tip()].tree.clone();
    world
        .cache
        .insert((tree.clone(), vec![]), evidence(&tree, &[("test", Passed)]));
    world.enqueue("a", 1, 0, 0);
    world.settle();
    world.end_test(Failed);
    world.end_test(Failed);
    assert_eq!(world.left("a"), ["sent_back verify_failed"]);
}

#[test]
fn a_check_that_never_passed_on_the_target_is_the_units_own() {
    let mut world = one();
    world.green.clear();
    world.end(&[("own", Failed)]);
    world.end(&[("own", Failed)]);
    assert_eq!(world.left("a"), ["sent_back verify_failed"], "no run on the base");
}

#[test]
fn a_red_base_charges_nobody_and_holds_everyone() {
    let mut world = one();
    world.enqueue("b", 1, 0, 1);
    for _ in 0..3 {
        world.end_test(Failed);
    }
    assert_eq!((world.status("a"), world.status("b")), ("held", "held"));
    assert_eq!(world.state.base_red().unwrap().1, "test");
    assert!(world.state.waits_for_person() && !world.state.is_idle());
    assert!(world.charges().is_empty() && world.open.is_empty());
}

#[test]
fn a_red_base_is_over_when_the_target_moves() {
    let mut world = one();
    for _ in 0..3 {
        world.end_test(Failed);
    }
    world.others_add("repair");
    world.settle();
    assert_eq!(world.status("a"), "verifying");
    world.end_test(Passed);
    assert_eq!(world.landed(), ["a"]);
}

#[test]
fn a_red_base_that_passes_later_makes_its_failures_prove_nothing() {
    let mut world = one();
    for _ in 0..3 {
        world.end_test(Failed);
    }
    let tip = world.tip();
    let fence = world.start(&tip, VerifyPurpose::Base);
    world.open.push((fence, tip, vec![], VerifyPurpose::Base));
    world.end_test(Passed);
    assert_eq!(world.status("a"), "verifying");
    world.end_test(Passed);
    assert_eq!(world.landed(), ["a"]);
    assert!(world.charges().is_empty());
}

#[test]
fn evidence_about_a_red_base_waits_for_the_run_that_is_under_way_on_it() {
    let mut world = one();
    for _ in 0..3 {
        world.end_test(Failed);
    }
    let tip = world.tip();
    let tree = world.commits[&tip].tree.clone();
    let fence = world.start(&tip, VerifyPurpose::Base);
    world.open.push((fence, tip, vec![], VerifyPurpose::Base));
    world
        .cache
        .insert((tree.clone(), vec![]), evidence(&tree, &[("test", Passed)]));
    world.settle();
    assert_eq!((world.status("a"), world.open.len()), ("held", 1));
    world.end_test(Failed);
    assert_eq!(world.status("a"), "verifying", "the evidence stands in now");
}

#[test]
fn a_pause_keeps_the_base_from_being_run_for_blame() {
    let mut world = one();
    world.end_test(Failed);
    world.paused = true;
    world.end_test(Failed);
    assert!(world.open.is_empty() && world.charges().is_empty());
    world.paused = false;
    world.settle();
    assert_eq!(world.open[0].3, VerifyPurpose::Base);
}

#[test]
fn a_base_that_was_red_excuses_nobody_on_the_next_one() {
    let mut world = one();
    for _ in 0..3 {
        world.end_test(Failed);
    }
    world.others_add("repair");
    world.settle();
    world.end_test(Failed);
    world.end_test(Failed);
    world.end_test(Passed); // the new base
    assert_eq!(world.left("a"), ["sent_back verify_failed"]);
}

#[test]
fn a_base_that_fails_what_never_passed_there_excuses_nobody() {
    let mut world = one();
    world.end_test(Failed);
    world.end_test(Failed);
    world.end(&[("new", Failed)]);
    assert_eq!(world.left("a"), ["sent_back verify_failed"]);
}

#[test]
fn an_interruption_is_free_and_repeated() {
    let mut world = one();
    for _ in 0..30 {
        world.end_test(Interrupted);
    }
    assert_eq!(world.status("a"), "verifying");
    assert!(world.charges().is_empty());
    world.end_test(Passed);
    assert_eq!(world.landed(), ["a"]);
}

#[test]
fn runs_on_a_commit_are_numbered_with_the_interrupted_ones() {
    let mut world = one();
    world.slots = 0;
    world.end_test(Interrupted);
    world.slots = 1;
    let Some(Effect::Verify { run_number, .. }) = world.decide().pop() else {
        panic!("a run")
    };
    assert_eq!(run_number, 2);
}

#[test]
fn the_machines_failure_costs_ten_and_evicts_in_the_end() {
    let mut world = one();
    world.end_test(Infrastructure);
    assert_eq!(world.charges(), [("a".into(), 10, "infra_exhausted")]);
    for _ in 0..19 {
        world.end_test(Infrastructure);
    }
    assert_eq!(world.left("a"), ["evicted infra_exhausted"]);
    assert_eq!(world.charges().len(), 20);
}

#[test]
fn the_machines_failure_on_the_base_is_bounded_too() {
    let mut world = one();
    world.end_test(Failed);
    world.end_test(Failed);
    for _ in 0..20 {
        world.end_test(Infrastructure);
    }
    assert_eq!(world.left("a"), ["evicted infra_exhausted"]);
}

#[test]
fn a_base_that_was_not_checked_is_checked_again_before_anybody_is_charged_for_a_failure() {
    let mut world = one();
    world.end_test(Failed);
    world.end_test(Failed);
    world.end_test(CheckOutcome::Skipped);
    assert_eq!(world.charges(), [("a".into(), 10, "infra_exhausted")]);
    assert_eq!(world.open[0].3, VerifyPurpose::Base);
    world.end_test(Failed);
    assert!(world.state.base_red().is_some());
}

#[test]
fn the_machines_failure_is_no_failure_of_the_unit() {
    let mut world = one();
    world.end_test(Failed);
    world.end_test(Infrastructure);
    world.end_test(Passed);
    assert_eq!(world.landed(), ["a"]);
}

#[test]
fn no_check_at_all_is_not_a_pass() {
    let mut world = one();
    world.end(&[]);
    assert_eq!(world.left("a"), ["evicted gate_empty"]);
    assert!(world.landed().is_empty());
}

#[test]
fn a_check_skipped_without_a_failure_before_it_is_not_a_pass() {
    let mut world = one();
    world.end(&[("build", Passed), ("test", Skipped)]);
    assert_eq!(world.left("a"), ["evicted gate_skipped"]);
}

#[test]
fn a_check_skipped_after_a_failure_is_that_failure() {
    let mut world = one();
    world.end(&[("build", Failed), ("test", Skipped)]);
    assert_eq!(world.status("a"), "verifying");
}

#[test]
fn waived_checks_land_without_evidence_and_without_a_run() {
    let mut world = World::with(waived());
    world.enqueue("a", 1, 0, 0);
    world.settle();
    assert_eq!(world.landed(), ["a"]);
    assert!(
        world
            .journal
            .iter()
            .any(|e| matches!(e, QueueEvent::Landed { evidence: None, .. }))
    );
}

#[test]
fn cached_evidence_of_the_same_tree_spares_a_run_but_not_after_a_failure() {
    let mut world = one();
    let (_, commit, units, _) = world.open[0].clone();
    let tree = world.commits[&commit].tree.clone();
    world
        .cache
        .insert((tree.clone(), units), evidence(&tree, &[("test", Passed)]));
    world.end_test(Failed);
    assert_eq!(world.open.len(), 1, "a real run");
    world.others_add("x");
    world.others_remove("x");
    world.settle();
    assert_eq!(world.landed(), ["a"], "the same tree on another base");
}
