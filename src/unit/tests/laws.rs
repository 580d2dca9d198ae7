//! Laws over random interleavings and outcomes.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::event::GuardAction;

fn medium() -> Vec<Stage> {
    let panel = Performer::Panel {
        agents: vec!["a".to_owned(), "b".to_owned()],
        quorum: 1,
    };
    vec![
        stage("plan", StageKind::Prepare, &[]),
        stage("implement", StageKind::Implement, &["plan"]),
        stage("review", StageKind::Review, &["implement"]),
        Stage {
            by: panel.clone(),
            ..stage("audit", StageKind::Review, &["implement"])
        },
        stage("fix", StageKind::Fix, &["review", "audit"]),
        stage("security", StageKind::Review, &["fix"]),
        stage("harden", StageKind::Fix, &["security"]),
        Stage {
            by: panel,
            ..stage("approve", StageKind::Approve, &["harden"])
        },
    ]
}

/// One random answer to a job, in the shape the job asks for or in none.
fn answer(driver: &Driver, job: &Job, dice: u8) -> (Outcome, Option<Output>) {
    let outcome = match dice % 16 {
        0 => Outcome::Failed,
        1 => Outcome::Interrupted,
        2 => Outcome::SchemaMissing,
        3 => Outcome::RateLimited { reset: driver.now },
        4 => Outcome::Crashed,
        _ => return (Outcome::Ok, Some(good_answer(driver, job, dice))),
    };
    (outcome, None)
}

fn good_answer(driver: &Driver, job: &Job, dice: u8) -> Output {
    let Job::Stage { stage, kind, .. } = job else {
        return match dice % 5 {
            0 => failing("boom"),
            1 => Output::Checks {
                evidence: evidence(CheckOutcome::Infrastructure, ""),
            },
            _ => passing(),
        };
    };
    match kind {
        StageKind::Prepare => Output::Document {
            text: "CANARY document".to_owned(),
        },
        StageKind::Implement | StageKind::Fix => {
            let ids: Vec<String> = driver
                .state
                .ledger()
                .entries()
                .iter()
                .map(|entry| entry.id.clone())
                .collect();
            let action = if dice.is_multiple_of(3) {
                ResolutionAction::Disputed
            } else {
                ResolutionAction::Fixed
            };
            let resolutions: Vec<(&str, ResolutionAction)> =
                ids.iter().map(|id| (id.as_str(), action)).collect();
            let hits = (dice.is_multiple_of(7)).then(|| GuardHit {
                reason: Reason::ProtectedPath,
                action: if dice.is_multiple_of(2) {
                    GuardAction::Gate
                } else {
                    GuardAction::Refuse
                },
                sentence: format!("hit {dice}"),
            });
            let tree = if dice.is_multiple_of(11) {
                2
            } else {
                100 + driver.fence
            };
            work_with(tree, &resolutions, hits.into_iter().collect())
        }
        StageKind::Review => {
            let open = driver.state.open_findings(stage);
            let row = if dice.is_multiple_of(2) {
                RESOLVED
            } else {
                PERSISTS
            };
            let rows: Vec<(&str, LedgerRowState)> =
                open.iter().map(|finding| (finding.id.as_str(), row)).collect();
            let found = if dice.is_multiple_of(3) {
                vec![finding(
                    &format!("issue {dice}"),
                    u32::from(dice),
                    Severity::Major,
                    90,
                )]
            } else {
                Vec::new()
            };
            review(found, &rows)
        }
        StageKind::Approve => decision(!dice.is_multiple_of(3)),
    }
}

/// Plays a unit to its rest; checks the invariants on the way.
fn play(stages: Vec<Stage>, dice: &[u8]) -> Driver {
    let mut driver = Driver::new(plan(stages));
    let mut rolls = dice.iter().copied().cycle();
    let mut running: Vec<(u64, Job)> = Vec::new();
    let mut keys = BTreeSet::new();
    for turn in 0..3_000 {
        let effects = driver.state.decide(driver.now);
        assert_eq!(effects, driver.state.decide(driver.now), "decide is idempotent");
        let roll = rolls
            .next()
            .unwrap()
            .wrapping_add((turn / dice.len() * 37 % 256) as u8);
        let mut wake = None;
        for effect in effects {
            match effect {
                Effect::Record(event) => driver.record(event),
                Effect::Wake(at) => wake = Some(at),
                Effect::Start(start) => {
                    let brief = driver.state.brief(&start.job);
                    if matches!(brief, Brief::Review { .. }) {
                        assert!(!format!("{brief:?}").contains("CANARY"));
                    }
                    let key = (
                        super::super::attempts::job_name(&start.job),
                        start.round,
                        start.attempt,
                    );
                    assert!(keys.insert(key), "an attempt's key is used once");
                    let fence = driver.start(&start);
                    running.push((fence, start.job));
                }
            }
        }
        let jobs: BTreeSet<&Job> = driver.state.in_flight().map(|flight| &flight.job).collect();
        assert_eq!(jobs.len(), driver.state.in_flight().count(), "one attempt a job");
        if driver.state.phase() == Phase::Gated {
            driver.record(UnitEvent::GateDecided {
                approved: roll.is_multiple_of(2),
                message: None,
            });
        } else if !running.is_empty() {
            let (fence, job) = running.remove(usize::from(roll) % running.len());
            let (outcome, output) = answer(&driver, &job, roll);
            // A complaint about a judge's own answer is the engine's; any other detail may quote the author.
            let detail = if outcome == Outcome::SchemaMissing {
                "no verdict"
            } else {
                "CANARY detail"
            };
            driver.end_with(fence, outcome, output, Some(detail));
        } else if let Some(at) = wake {
            driver.now = at;
        } else if driver.state.phase() != Phase::Working {
            return driver;
        }
    }
    panic!("it never ends: {:?}", driver.state);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_interleaving_ends_with_bounded_rounds(dice in proptest::collection::vec(any::<u8>(), 5..80)) {
        for stages in [small(), medium()] {
            let driver = play(stages, &dice);
            prop_assert!(matches!(driver.state.phase(), Phase::Queued | Phase::Evicted));
            prop_assert!(driver.state.fixes_used() <= 3);
            for tries in driver.state.tries.values() {
                prop_assert!(tries.charged.len() <= 3);
            }
        }
    }

    #[test]
    fn the_fold_is_deterministic(dice in proptest::collection::vec(any::<u8>(), 5..80)) {
        let driver = play(medium(), &dice);
        let mut again = State::new(driver.state.plan.clone());
        for (event, at) in &driver.events {
            again.apply(event, *at).unwrap();
        }
        prop_assert_eq!(again, driver.state);
    }

    #[test]
    fn nothing_is_approved_over_failing_checks_or_blocking_findings(dice in proptest::collection::vec(any::<u8>(), 5..80)) {
        let driver = play(medium(), &dice);
        if driver.state.phase() == Phase::Queued {
            prop_assert!(driver.state.evidence().is_some_and(Evidence::passed));
            prop_assert_eq!(driver.state.blocking().count(), 0);
        }
    }
}
