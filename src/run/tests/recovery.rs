//! The state is its journal: replay, interruptions, determinism.

use proptest::prelude::*;

use super::*;
use crate::spec::DependsOn;

#[test]
fn what_an_engine_that_died_left_running_is_made_again_at_no_cost() {
    let mut driver = Driver::of(
        "limits: {parallel: 4, start_interval: 0s, retries: 0}",
        &line("a", ""),
    );
    driver.settle();
    for _ in 0..5 {
        driver.restart();
        assert_eq!(driver.state.running(), 0);
        driver.settle();
        assert_eq!(driver.under_way(), ["a"]);
    }
    driver.finish_all();
    assert_eq!(driver.phase("a"), Phase::Landed);
}

#[test]
fn an_interrupted_verification_is_made_again() {
    let mut driver = Driver::of(&parallel(4), &(line("a", "") + &line("b", "")));
    driver.settle().finish("a").finish("b").finish("a").finish("b");
    assert_eq!(driver.verifying.len(), 1);
    driver.restart();
    driver.settle();
    assert_eq!(driver.verifying.len(), 1);
    assert_eq!(driver.state.queue().entry(&id("b")).unwrap().charged, 0);
    driver.verify(CheckOutcome::Passed);
    assert_eq!(driver.phase("b"), Phase::Landed);
}

#[test]
fn a_red_target_is_asked_again_when_a_person_calls_again() {
    for depends_on in [DependsOn::Tree, DependsOn::History] {
        let mut of_file = Pipeline::clone(&pipeline(&parallel(1), &(line("a", "") + &line("b", ""))));
        of_file.checks[0].depends_on = depends_on;
        let mut driver = Driver::new(&Arc::new(of_file));
        driver.settle().finish("a").finish("b").finish("a");
        if driver.phase("a") != Phase::Landed {
            driver.verify(CheckOutcome::Passed);
        }
        driver.target.insert("theirs".to_owned());
        driver.commits += 1;
        driver.settle().finish("b");
        for _ in 0..3 {
            driver.verify(CheckOutcome::Failed);
        }
        assert_eq!(driver.stopped, Some(StopCause::BaseRed));
        driver.begin_engine();
        let asked = |driver: &Driver, skip| {
            let (commit, tree) = (driver.tip(), tree(&driver.target));
            driver.state.preflight(None, skip, (&commit, &tree), driver.now)
        };
        let preflight = asked(&driver, true).expect("it is asked though no unit is left to begin");
        let checks = preflight.checks();
        let rows = evidence(&checks, preflight.commit(), CheckOutcome::Passed).results;
        driver.run_event(preflight.ended(&rows, "here"));
        driver.settle();
        assert!(driver.state.queue().base_red().is_none());
        driver.verify(CheckOutcome::Passed);
        assert_eq!(driver.phase("b"), Phase::Landed);
        assert!(asked(&driver, false).is_none(), "nothing is left to pay for");
    }
}

#[test]
fn a_retry_forgets_what_the_queue_charged_before_it() {
    let mut driver = Driver::of(&parallel(1), &line("a", ""));
    for word in ["one", "two"] {
        driver.settle().finish("a");
        driver.target.insert(word.to_owned());
        driver.commits += 1;
        driver.finish("a");
        assert_eq!(driver.state.queue().entry(&id("a")).unwrap().charged, 0);
        driver.verify(CheckOutcome::Failed).verify(CheckOutcome::Failed);
        assert_eq!(driver.phase("a"), Phase::Evicted, "its tier has no fix stage");
        driver.unit_event("a", UnitEvent::UnitRetried { note: None });
        driver.begin_engine();
    }
}

#[test]
fn what_is_finished_is_not_interrupted() {
    let mut driver = Driver::of(&parallel(4), &line("a", ""));
    driver.finish_all();
    assert!(driver.state.interruptions().is_empty());
}

#[test]
fn fences_are_never_given_twice_not_even_after_a_restart() {
    let mut driver = Driver::of(&parallel(4), &(line("a", "") + &line("b", "")));
    driver.settle();
    let given = driver.state.next_fence();
    driver.restart();
    assert_eq!(driver.state.next_fence(), given);
}

#[test]
fn an_older_engine_cannot_take_over_again() {
    let mut driver = Driver::of(&parallel(4), &line("a", ""));
    let event = Event::Run(RunEvent::EngineStarted {
        epoch: 1,
        pid: 1,
        version: String::new(),
    });
    let at = driver.now;
    assert!(driver.state.apply(&Record { seq: 9, at, event }).is_err());
}

#[test]
fn an_event_of_an_unknown_unit_is_refused_and_no_panic() {
    let mut driver = Driver::of(&parallel(4), &line("a", ""));
    let event = Event::Unit(UnitScoped {
        unit: id("zzz"),
        what: UnitEvent::UnitUnblocked,
    });
    let at = driver.now;
    assert!(driver.state.apply(&Record { seq: 9, at, event }).is_err());
}

/// Runs a pipeline of five units in a diamond under choices of a person and of luck, to its end.
fn play(choices: &[u8]) -> Driver {
    let units = line("a", "")
        + &line("b", "needs: [a]")
        + &line("c", "needs: [a]")
        + &line("d", "needs: [b, c]")
        + &line("e", "");
    let mut driver = Driver::of("limits: {parallel: 2, start_interval: 1s, retries: 1}", &units);
    driver.settle();
    for choice in choices {
        let fences: Vec<u64> = driver.running.keys().copied().collect();
        let picked = fences.get(usize::from(*choice) % fences.len().max(1)).copied();
        match (choice / 16 % 5, picked) {
            (0 | 1, Some(fence)) => {
                let unit = driver.running[&fence].0.clone();
                driver.finish(unit.as_str());
            }
            (2, Some(fence)) => {
                driver.end(fence, Outcome::Failed, None, None);
                driver.settle();
            }
            (3, _) if !driver.verifying.is_empty() => {
                let outcome = if choice % 2 == 0 {
                    CheckOutcome::Passed
                } else {
                    CheckOutcome::Failed
                };
                driver.verify(outcome);
            }
            (4, _) => {
                driver.restart();
                driver.settle();
            }
            _ => drop(driver.pass_time(i64::from(*choice))),
        }
    }
    driver
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn every_prefix_of_a_journal_folds_to_one_state_that_decides_the_same(choices in prop::collection::vec(any::<u8>(), 0..60)) {
        let driver = play(&choices);
        let facts = driver.facts();
        for end in (0..=driver.journal.len()).step_by(7) {
            let one = fold(driver.state.pipeline(), &driver.journal[..end]);
            let other = fold(driver.state.pipeline(), &driver.journal[..end]);
            prop_assert_eq!(format!("{:?}", one.decide(&facts)), format!("{:?}", other.decide(&facts)));
        }
        let again = fold(driver.state.pipeline(), &driver.journal);
        prop_assert_eq!(format!("{again:?}"), format!("{:?}", driver.state));
    }

    #[test]
    fn the_same_choices_land_in_the_same_order(choices in prop::collection::vec(any::<u8>(), 0..60)) {
        let (one, other) = (play(&choices), play(&choices));
        prop_assert_eq!(one.state.queue().landed(), other.state.queue().landed());
    }

    #[test]
    fn whatever_happens_the_run_comes_to_an_end(choices in prop::collection::vec(any::<u8>(), 0..60)) {
        let mut driver = play(&choices);
        driver.finish_all();
        prop_assert_eq!(driver.stopped, Some(StopCause::Finished));
        for unit in ["a", "b", "c", "d", "e"] {
            prop_assert!(decide::has_ended(driver.phase(unit)), "{} is {:?}", unit, driver.phase(unit));
        }
    }
}
