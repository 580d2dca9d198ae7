//! Units that bring a branch: when it is taken in, where they begin, and what follows when it moves.

use super::*;
use crate::event::Reason;

fn branch(id: &str, more: &str) -> String {
    line(
        id,
        &format!(
            "from_branch: {id}{}{more}",
            if more.is_empty() { "" } else { ", " }
        ),
    )
}

/// The same pipeline with a person's word for every branch.
fn vouched(units: &str) -> Driver {
    let mut pipeline = Pipeline::clone(&pipeline(&parallel(2), units));
    for unit in &mut pipeline.units {
        unit.from_branch
            .iter_mut()
            .for_each(|branch| branch.review = false);
    }
    Driver::new(&Arc::new(pipeline))
}

impl Driver {
    /// Somebody pushes to the branch of a unit.
    fn push(&mut self, unit: &str) -> &mut Self {
        self.branches.insert(id(unit), oid_of(&("pushed", unit)));
        self.settle()
    }

    fn reason(&self, unit: &str) -> Option<Reason> {
        let eviction = self.state.unit(&id(unit)).unwrap().eviction();
        eviction.map(|(reason, _)| reason)
    }

    fn taken(&self) -> Vec<String> {
        let unit = |record: &Record| match &record.event {
            Event::Unit(UnitScoped {
                unit,
                what: UnitEvent::BranchTaken { .. },
            }) => Some(unit.to_string()),
            _ => None,
        };
        self.journal.iter().filter_map(unit).collect()
    }
}

#[test]
fn all_branches_of_a_run_are_taken_in_before_anything_else() {
    let units = line("a", "") + &branch("b", "needs: [a]") + &branch("c", "");
    let mut driver = Driver::of(&parallel(1), &units);
    driver.settle();
    assert_eq!(driver.taken(), ["b", "c"], "also one that waits for another unit");
    assert_eq!(driver.under_way(), ["a"], "and then work begins");
}

#[test]
fn a_branch_is_what_the_author_would_have_made_and_the_unit_begins_with_what_judges_it() {
    let mut driver = Driver::of(&parallel(1), &branch("a", ""));
    driver.settle();
    assert_eq!(driver.under_way(), ["a*"], "the checks, and no implement stage");
    let state = driver.state.unit(&id("a")).unwrap();
    assert_eq!(state.head(), state.intake().map(|intake| &intake.head));
    driver.finish("a").finish_all();
    assert_eq!(driver.phase("a"), Phase::Landed);
}

#[test]
fn a_unit_stands_where_its_branch_left_the_target_however_far_the_target_has_gone_meanwhile() {
    let mut driver = Driver::of(&parallel(1), &(line("a", "") + &branch("b", "needs: [a]")));
    let before = driver.tip();
    driver.finish_all();
    assert_eq!(driver.phase("b"), Phase::Landed);
    assert_eq!(driver.state.unit(&id("b")).unwrap().base(), Some(&before));
}

#[test]
fn a_branch_that_fails_its_checks_is_nobodys_to_implement_again() {
    let mut driver = Driver::of(&parallel(1), &branch("a", ""));
    driver.settle();
    let evidence = driver.checked("a", CheckOutcome::Failed);
    driver.end(
        driver.fence_of("a"),
        Outcome::Ok,
        Some(Output::Checks { evidence }),
        None,
    );
    driver.settle();
    assert_eq!(driver.reason("a"), Some(Reason::ChecksFailed));
}

#[test]
fn a_branch_a_person_vouched_for_goes_straight_to_the_queue() {
    let mut driver = vouched(&(branch("a", "") + &branch("b", "")));
    driver.settle();
    assert_eq!(driver.under_way(), Vec::<String>::new());
    assert_eq!(
        (driver.phase("a"), driver.phase("b")),
        (Phase::Queued, Phase::Queued)
    );
    driver.finish_all();
    assert_eq!(
        (driver.phase("a"), driver.phase("b")),
        (Phase::Landed, Phase::Landed)
    );
}

#[test]
fn a_push_ends_the_unit_wherever_it_stands_and_a_retry_takes_the_new_head() {
    let judged = Driver::of(&parallel(1), &branch("a", ""));
    let in_line = vouched(&branch("a", ""));
    for (mut driver, stood) in [(judged, Phase::Working), (in_line, Phase::Queued)] {
        driver.settle();
        assert_eq!(driver.phase("a"), stood);
        driver.push("a");
        assert_eq!(driver.reason("a"), Some(Reason::HeadMoved), "it was {stood:?}");
        assert!(
            driver.state.queue().entry(&id("a")).is_none(),
            "its place in line is free"
        );
        driver.unit_event("a", UnitEvent::UnitRetried { note: None });
        driver.begin_engine();
        driver.settle();
        assert_eq!(driver.taken(), ["a", "a"]);
    }
}

#[test]
fn a_branch_that_is_taken_away_takes_nothing_from_the_unit() {
    let mut driver = Driver::of(&parallel(1), &branch("a", ""));
    driver.settle().branches.clear();
    driver.finish("a").finish_all();
    assert_eq!(driver.phase("a"), Phase::Landed);
}

#[test]
fn a_persons_repair_stands_instead_of_the_branch_which_may_go_where_it_will() {
    let mut driver = Driver::of(&parallel(1), &branch("a", ""));
    driver.settle().push("a");
    let (base, works) = (driver.tip(), BTreeSet::from(["a".to_owned()]));
    let head = Head {
        commit: oid_of(&"repaired"),
        tree: tree(&works),
    };
    driver.unit_event("a", UnitEvent::UnitResolved { head, base });
    driver.begin_engine();
    driver.finish_all();
    assert_eq!(driver.phase("a"), Phase::Landed);
}

#[test]
fn a_branch_that_is_on_the_target_already_is_done_and_those_that_need_it_begin() {
    let mut driver = Driver::of(&parallel(1), &(branch("a", "") + &line("b", "needs: [a]")));
    let head = Head {
        commit: driver.tip(),
        tree: tree(&BTreeSet::new()),
    };
    let branch = "a".to_owned();
    driver.unit_event("a", UnitEvent::BranchLanded { branch, head });
    driver.finish_all();
    assert_eq!(
        (driver.phase("a"), driver.phase("b")),
        (Phase::Landed, Phase::Landed)
    );
}

#[test]
fn a_branch_is_taken_in_once_and_only_where_one_was_asked_for() {
    let mut driver = Driver::of(&parallel(1), &(branch("a", "") + &line("b", "")));
    driver.settle();
    let head = Head {
        commit: driver.tip(),
        tree: tree(&BTreeSet::new()),
    };
    for unit in ["a", "b"] {
        let what = UnitEvent::BranchTaken {
            branch: unit.to_owned(),
            head: head.clone(),
            base: driver.tip(),
            guards: Vec::new(),
        };
        let event = Event::Unit(UnitScoped { unit: id(unit), what });
        let record = Record {
            seq: 0,
            at: driver.now,
            event,
        };
        assert!(driver.state.clone().apply(&record).is_err(), "{unit}");
    }
}
