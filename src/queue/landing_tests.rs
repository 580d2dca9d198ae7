//! Rules about moved targets, landings, crashes, stops and what the journal may not say.

use super::scenario::{Swap, World, evidence, oid, one, unit};
use super::{Effect, Recovery, State, Status, recover_landing, transition_table};
use crate::event::{CheckOutcome, Conflict, EntryEnd, Hold, Obstacle, QueueEvent, Reason};

use CheckOutcome::Passed;

#[test]
fn a_moved_target_requeues_for_free_and_makes_the_run_moot() {
    let mut world = one();
    let fence = world.open[0].0;
    world.others_add("x");
    world.settle();
    assert_eq!(world.state.moot(), [fence]);
    assert_eq!(
        world.status("a"),
        "integrated",
        "built anew, the only slot is taken"
    );
    world.end_test(Passed);
    assert_eq!(
        world.status("a"),
        "verifying",
        "what ran on the old base proves nothing"
    );
    world.end_test(Passed);
    assert_eq!(world.landed(), ["a"]);
    assert!(world.charges().is_empty());
}

#[test]
fn what_others_committed_is_theirs_to_rewrite() {
    let mut world = one();
    let amended = |world: &mut World| {
        world.others_add("wip");
        world.settle();
        world.others_amend("better");
        world.settle();
        world.break_off();
        world.end_test(Passed);
    };
    amended(&mut world);
    assert_eq!(world.landed(), ["a"]);
    world.enqueue("b", 1, 0, 1);
    world.settle();
    amended(&mut world);
    assert_eq!(world.landed(), ["a", "b"]);
    assert!(world.state.safety_stop().is_none() && world.charges().is_empty());
    let words = &world.commits[&world.tip()].words;
    assert!(words.contains("better") && !words.contains("wip"), "{words:?}");
}

#[test]
fn a_target_without_what_landed_stops_the_queue_until_it_is_there_again() {
    let mut world = World::new();
    world.others_add("theirs");
    let before = world.tip();
    world.enqueue("a", 1, 0, 0);
    world.settle();
    world.end_test(Passed);
    assert_eq!(world.landed(), ["a"]);
    let landed = world.tip.replace(before).unwrap();
    world.settle();
    let (reason, sentence) = world.state.safety_stop().unwrap();
    assert_eq!(reason, Reason::TargetRewritten);
    assert!(sentence.contains(landed.short()), "{sentence}");
    assert_eq!(world.resume(), None);
    // Somebody has put another commit on top of it since.
    world.tip = Some(landed);
    world.others_add("more");
    let resume = world.resume().unwrap();
    world.record(resume);
    world.enqueue("b", 1, 0, 1);
    world.settle();
    world.end_test(Passed);
    assert_eq!(world.landed(), ["a", "b"]);
}

#[test]
fn a_race_at_the_swap_requeues_for_free() {
    let mut world = one();
    world.swap = Swap::Raced;
    world.end_test(Passed);
    assert_eq!(world.status("a"), "verifying");
    world.end_test(Passed);
    assert_eq!(world.landed(), ["a"]);
    assert!(world.charges().is_empty());
}

#[test]
fn a_dirty_checkout_holds_the_head_and_the_others_wait_behind_it() {
    let mut world = one();
    world.enqueue("b", 1, 9, 1);
    world.swap = Swap::Dirty;
    world.end_test(Passed);
    let Status::Held(Hold::TargetDirty { paths, .. }) = world.state.entry(&unit("a")).unwrap().status else {
        panic!("held")
    };
    assert_eq!(paths, ["a"]);
    assert_eq!(world.status("b"), "queued");
    assert!(world.state.waits_for_person());
    world.record(QueueEvent::EntryReleased { unit: unit("a") });
    world.settle();
    assert_eq!(world.landed(), ["a"]);
}

#[test]
fn a_repository_that_does_not_let_the_target_move_holds_the_head_and_charges_nobody() {
    let mut world = one();
    world.swap = Swap::Rejected;
    world.end_test(Passed);
    let Status::Held(Hold::PushRejected { words }) = world.state.entry(&unit("a")).unwrap().status else {
        panic!("held")
    };
    assert_eq!(words, "locked");
    assert!(world.state.is_rejected() && world.landed().is_empty() && world.charges().is_empty());
    world.settle();
    assert!(world.landed().is_empty(), "it is not tried again by itself");
    world.record(QueueEvent::EntryReleased { unit: unit("a") });
    world.settle();
    assert_eq!(world.landed(), ["a"]);
    assert!(!world.state.is_rejected());
}

#[test]
fn a_dirty_hold_ends_with_the_base_it_was_about() {
    let mut world = one();
    world.swap = Swap::Dirty;
    world.end_test(Passed);
    world.others_add("x");
    world.settle();
    assert_eq!(world.status("a"), "verifying");
}

#[test]
fn a_crash_before_the_swap_goes_on_and_after_it_is_recorded() {
    for moved in [false, true] {
        let mut world = one();
        world.swap = Swap::Crash(moved);
        world.end_test(Passed);
        assert_eq!(world.landed(), ["a"]);
        let landings = world
            .journal
            .iter()
            .filter(|e| matches!(e, QueueEvent::Landed { .. }));
        assert_eq!(landings.count(), 1);
    }
}

#[test]
fn recovery_follows_the_table_of_crash_points() {
    let mut world = one();
    world.swap = Swap::Dirty;
    world.end_test(Passed);
    world.record(QueueEvent::EntryReleased { unit: unit("a") });
    let Some(Effect::Land(verified)) = world.decide().pop() else {
        panic!("lands")
    };
    let pending = super::PendingLanding {
        verified: verified.clone(),
        checkout: None,
    };
    assert_eq!(
        recover_landing(&pending, verified.from(), false),
        Recovery::Continue
    );
    for told in [true, false] {
        assert_eq!(
            recover_landing(&pending, verified.to(), told),
            Recovery::RecordLanded,
            "a tip contains itself"
        );
    }
    assert_eq!(
        recover_landing(&pending, &oid(0xc, 99), true),
        Recovery::RecordLanded
    );
    assert_eq!(recover_landing(&pending, &oid(0xc, 99), false), Recovery::Requeue);
}

#[test]
fn nothing_lands_before_the_checkout_followed() {
    let mut world = one();
    world.checkout = Some("/checkout".to_owned());
    world.enqueue("b", 1, 0, 1);
    world.end_test(Passed);
    world.end_test(Passed);
    assert_eq!((world.landed(), world.status("b")), (vec!["a"], "verified"));
    let to = world.state.unfollowed().unwrap().to.clone();
    world.record(QueueEvent::CheckoutFollowed { to, left: vec![] });
    world.settle();
    assert_eq!(world.landed(), ["a", "b"]);
}

#[test]
fn a_target_that_was_rewritten_or_deleted_stops_the_queue_once() {
    for deleted in [false, true] {
        let mut world = one();
        if deleted {
            world.tip = None;
        }
        world.rewritten = true;
        world.settle();
        assert_eq!(world.state.safety_stop().unwrap().0, Reason::TargetRewritten);
        let stops = world
            .journal
            .iter()
            .filter(|e| matches!(e, QueueEvent::SafetyStop { .. }));
        assert_eq!(stops.count(), 1);
    }
}

#[test]
fn a_stop_ends_only_when_the_target_is_restored_and_the_engine_asks() {
    let mut world = one();
    world.rewritten = true;
    world.settle();
    world.rewritten = false;
    world.settle();
    assert!(world.state.safety_stop().is_some());
    let tip = world.tip();
    let facts = |continues| super::Facts {
        now: jiff::Timestamp::UNIX_EPOCH,
        tip: super::Tip::At {
            commit: tip.clone(),
            tree: tip.clone(),
        },
        tip_continues: continues,
        slots_free: 0,
        evidence: &|_, _| None,
        known_green: &|_| false,
        paused: false,
    };
    assert_eq!(world.state.resume_after_stop(&facts(false)), None);
    let resume = world.state.resume_after_stop(&facts(true)).unwrap();
    world.record(resume);
    assert!(world.state.safety_stop().is_none());
    world.end_test(Passed);
    assert_eq!(world.landed(), ["a"]);
}

#[test]
fn a_stop_before_the_target_was_ever_found_ends_when_it_is_there() {
    let mut world = World::new();
    let tip = world.tip.take();
    world.settle();
    assert!(world.state.safety_stop().is_some() && world.state.expected_tip().is_none());
    let facts = |tip| super::Facts {
        now: jiff::Timestamp::UNIX_EPOCH,
        tip,
        tip_continues: true,
        slots_free: 0,
        evidence: &|_, _| None,
        known_green: &|_| false,
        paused: false,
    };
    assert_eq!(world.state.resume_after_stop(&facts(super::Tip::Missing)), None);
    world.tip = tip;
    let (commit, tree) = (world.tip(), world.tip());
    let found = super::Tip::At { commit, tree };
    let resume = world.state.resume_after_stop(&facts(found)).unwrap();
    world.record(resume);
    world.enqueue("a", 1, 0, 0);
    world.settle();
    world.end_test(Passed);
    assert_eq!(world.landed(), ["a"]);
}

#[test]
fn a_pause_lets_runs_finish_and_starts_and_lands_nothing() {
    let mut world = one();
    world.enqueue("b", 1, 0, 1);
    world.paused = true;
    world.end_test(Passed);
    assert_eq!((world.status("a"), world.status("b")), ("verified", "queued"));
    world.paused = false;
    world.settle();
    assert_eq!((world.landed(), world.status("b")), (vec!["a"], "verifying"));
}

#[test]
fn every_obstacle_has_its_end() {
    let conflict = Conflict {
        path: "src/a.rs".to_owned(),
        kind: "contents".to_owned(),
        hunks: String::new(),
        landed_by: Some(unit("b")),
        landed_as: None,
    };
    let cases = [
        (Obstacle::AlreadyLanded, "AlreadyLanded"),
        (Obstacle::UnrelatedHistory, "evicted unrelated_history"),
        (
            Obstacle::MergeCommit { commit: oid(1, 1) },
            "evicted merge_commit",
        ),
        (
            Obstacle::Conflict {
                conflicts: vec![conflict],
            },
            "evicted conflict_target",
        ),
    ];
    for (obstacle, end) in cases {
        let mut world = World::new();
        world.obstacles.insert(unit("a"), obstacle);
        world.enqueue("a", 1, 0, 0);
        world.settle();
        assert_eq!(world.left("a"), [end]);
    }
}

#[test]
fn a_conflict_names_the_path_and_the_unit_that_landed_the_other_side() {
    let mut world = World::new();
    let conflicts = vec![Conflict {
        path: "src/a.rs".to_owned(),
        kind: "contents".to_owned(),
        hunks: "<<<".to_owned(),
        landed_by: Some(unit("b")),
        landed_as: None,
    }];
    world.obstacles.insert(
        unit("a"),
        Obstacle::Conflict {
            conflicts: conflicts.clone(),
        },
    );
    world.enqueue("a", 1, 0, 0);
    world.settle();
    let Some(QueueEvent::EntryLeft { end, .. }) = world.journal.last() else {
        panic!("left")
    };
    let sentence = "The work conflicts with the target in src/a.rs (with `b`, which landed).".to_owned();
    assert_eq!(
        *end,
        EntryEnd::Evicted {
            reason: Reason::ConflictTarget,
            sentence,
            conflicts
        }
    );
}

#[test]
fn a_second_report_of_the_same_fact_changes_nothing() {
    let mut world = one();
    world.enqueue("b", 1, 0, 1);
    world.end_test(Passed);
    let before = world.state.clone();
    let landed = world
        .journal
        .iter()
        .find(|e| matches!(e, QueueEvent::Landed { .. }))
        .unwrap();
    world.state.apply(landed).unwrap();
    let ended = world
        .journal
        .iter()
        .find(|e| matches!(e, QueueEvent::VerifyEnded { .. }))
        .unwrap();
    world.state.apply(ended).unwrap();
    let enqueued = world
        .journal
        .iter()
        .rfind(|e| matches!(e, QueueEvent::Enqueued { .. }))
        .unwrap();
    world.state.apply(enqueued).unwrap();
    assert_eq!(world.state, before);
}

#[test]
fn a_landed_unit_is_never_taken_in_again() {
    let mut world = one();
    world.end_test(Passed);
    for event in world.journal.clone() {
        if let QueueEvent::Enqueued { .. } = event {
            let refused = world.state.apply(&event).unwrap_err();
            assert!(
                refused.to_string().contains("of unit `a`: the unit has landed"),
                "{refused}"
            );
        }
    }
}

#[test]
fn a_journal_that_lands_what_was_not_verified_is_refused() {
    let mut world = one();
    let (_, commit, _, _) = world.open[0].clone();
    let tree = world.commits[&commit].tree.clone();
    let intent = QueueEvent::LandIntended {
        commit: commit.clone(),
        from: world.tip(),
        tree: tree.clone(),
        checkout: None,
    };
    assert!(world.state.apply(&intent).is_err());
    let fence = world.open[0].0;
    let foreign = QueueEvent::VerifyEnded {
        fence,
        evidence: evidence(&oid(0xf, 77), &[("test", Passed)]),
        reused: true,
    };
    assert!(
        world.state.apply(&foreign).is_err(),
        "evidence about another tree"
    );
    assert!(world.state.apply(&intent).is_err());
}

/// A verified candidate that a pause keeps from landing, and the intent to land it.
fn verified() -> (World, QueueEvent) {
    let mut world = one();
    let commit = world.open[0].1.clone();
    world.paused = true;
    world.end_test(Passed);
    world.paused = false;
    let intent = QueueEvent::LandIntended {
        tree: world.commits[&commit].tree.clone(),
        commit,
        from: world.tip(),
        checkout: None,
    };
    (world, intent)
}

#[test]
fn a_verified_candidate_lands_neither_on_a_red_base_nor_after_a_stop() {
    let (world, intent) = verified();
    let stop = QueueEvent::SafetyStop {
        reason: Reason::TargetRewritten,
        sentence: "The target went back.".to_owned(),
    };
    let red = QueueEvent::BaseRed {
        commit: world.tip(),
        check: "test".to_owned(),
    };
    world
        .state
        .clone()
        .apply(&intent)
        .expect("but for these it may land");
    for obstacle in [stop, red] {
        let (mut world, intent) = verified();
        world.record(obstacle.clone());
        assert!(world.state.apply(&intent).is_err(), "{obstacle:?}");
        world.settle();
        assert!(world.landed().is_empty(), "{obstacle:?}");
    }
}

#[test]
fn a_landing_is_recorded_with_the_evidence_that_proved_it_and_no_other() {
    let (mut world, intent) = verified();
    world.record(intent);
    let proper = world.state.pending_landing().unwrap().verified.landed_event();
    let mut other = proper.clone();
    let QueueEvent::Landed {
        evidence: Some(proof),
        ..
    } = &mut other
    else {
        panic!("proved by a run")
    };
    proof.results[0].name = "other".to_owned();
    assert!(world.state.apply(&other).is_err());
    world.record(proper);
    assert_eq!(world.landed(), ["a"]);
}

#[test]
fn a_candidate_of_another_head_or_base_is_refused() {
    let world = one();
    let Some(QueueEvent::CandidateBuilt { candidate }) = world
        .journal
        .iter()
        .find(|e| matches!(e, QueueEvent::CandidateBuilt { .. }))
    else {
        panic!("built")
    };
    let mut state = State::new(world.state.settings);
    state.apply(&world.journal[0]).unwrap();
    let mut other = candidate.clone();
    other.units[0].head = oid(1, 1);
    assert!(
        state
            .apply(&QueueEvent::CandidateBuilt { candidate: other })
            .is_err()
    );
    let mut other = candidate.clone();
    other.base = oid(1, 1);
    let mut moved = world.state.clone();
    assert!(
        moved
            .apply(&QueueEvent::CandidateBuilt { candidate: other })
            .is_err()
    );
}

#[test]
fn an_entry_that_is_being_landed_cannot_leave() {
    let mut world = one();
    world.swap = Swap::Dirty;
    world.end_test(Passed);
    world.record(QueueEvent::EntryReleased { unit: unit("a") });
    let intent = world
        .journal
        .iter()
        .rfind(|e| matches!(e, QueueEvent::LandIntended { .. }))
        .unwrap();
    world.state.apply(intent).unwrap();
    let cancel = QueueEvent::EntryLeft {
        unit: unit("a"),
        end: EntryEnd::Cancelled,
    };
    assert!(world.state.apply(&cancel).is_err());
}

#[test]
fn a_used_fence_is_refused_and_an_unknown_one_ignored() {
    let mut world = one();
    let (fence, commit, _, purpose) = world.open[0].clone();
    assert!(
        world
            .state
            .apply(&QueueEvent::VerifyStarted {
                commit,
                purpose,
                fence
            })
            .is_err()
    );
    let before = world.state.clone();
    let unknown = QueueEvent::VerifyEnded {
        fence: 999,
        evidence: evidence(&oid(0xf, 1), &[("test", Passed)]),
        reused: false,
    };
    world.state.apply(&unknown).unwrap();
    assert_eq!(world.state, before);
}

#[test]
fn a_cancelled_entry_makes_way_for_the_next() {
    let mut world = one();
    world.enqueue("b", 1, 0, 1);
    world.record(QueueEvent::EntryLeft {
        unit: unit("a"),
        end: EntryEnd::Cancelled,
    });
    world.slots = 2;
    world.settle();
    assert_eq!(world.status("b"), "verifying");
    world.end_test(Passed);
    world.end_test(Passed);
    assert_eq!(world.landed(), ["b"]);
}

#[test]
fn the_table_shows_that_only_a_verified_entry_may_land() {
    let table = transition_table();
    let row = |name: &str| {
        let line = table
            .lines()
            .find(|line| line.starts_with(&format!("| {name} |")))
            .unwrap();
        line.split('|')
            .skip(2)
            .map(|cell| cell.trim().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(
        row("event")[..6],
        ["queued", "integrated", "verifying", "verified", "landing", "held"]
    );
    assert_eq!(row("land_intended")[..3], ["", "", ""]);
    assert_eq!(row("land_intended")[3], "landing");
    assert_eq!(row("landed")[..6], ["", "", "", "", "–", ""]);
    assert_eq!(
        row("land_intended")[4..6],
        ["", ""],
        "not twice, and not while it is held"
    );
    assert_eq!(
        row("verify_started")[2..6],
        ["", "", "", ""],
        "a proof is not put at risk"
    );
    for event in [
        "integration_failed",
        "entry_held",
        "sent_back",
        "entry_left",
        "target_moved",
        "base_red",
    ] {
        assert_eq!(row(event)[4], "", "{event} waits for the outcome of a landing");
    }
}
