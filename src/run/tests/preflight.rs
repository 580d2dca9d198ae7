//! Before work begins: what is asked of the target's tip, and what the answer proves.

use super::*;
use crate::spec::Check;

/// Two units; the file's checks are `test` and `lint`.
fn driver(queue: &str) -> Driver {
    let checks = "checks: [{name: test, run: make}, {name: lint, run: lint}]";
    let head = format!("{}\n{checks}\nqueue: {{window: 1, {queue}}}", parallel(1));
    Driver::of(&head, &(line("a", "") + &line("b", "")))
}

fn asked(driver: &Driver, skip: bool) -> Option<Preflight> {
    let facts = driver.facts();
    let Tip::At { commit, tree } = &facts.tip else {
        panic!("there is a target")
    };
    driver
        .state
        .preflight(driver.only.as_deref(), skip, (commit, tree), driver.now)
}

fn commands(checks: &[Check]) -> Vec<&str> {
    checks.iter().map(|check| check.run.as_str()).collect()
}

/// Runs a preflight, in which the checks with these commands fail; what comes after the first of them is skipped.
fn run(driver: &mut Driver, preflight: &Preflight, bad: &[&str]) {
    let checks = preflight.checks();
    let mut rows = evidence(&checks, preflight.commit(), CheckOutcome::Passed).results;
    let first = checks.iter().position(|check| bad.contains(&check.run.as_str()));
    for (at, row) in rows.iter_mut().enumerate() {
        row.outcome = match first {
            Some(first) if at == first => CheckOutcome::Failed,
            Some(first) if at > first => CheckOutcome::Skipped,
            Some(_) | None => CheckOutcome::Passed,
        };
    }
    driver.run_event(preflight.ended(&rows, "here"));
}

#[test]
fn what_lands_unverified_is_worked_on_with_checks_that_the_target_must_pass() {
    let driver = driver("verify: none");
    let preflight = asked(&driver, false).unwrap();
    assert_eq!(commands(&preflight.checks()), ["make", "lint"]);
    assert!(asked(&driver, true).is_none(), "nobody wants to know");
    let mut none = Pipeline::clone(driver.state.pipeline());
    none.checks.clear();
    let none = Driver::new(&Arc::new(none));
    assert!(asked(&none, false).is_none(), "there is nothing to ask");
}

#[test]
fn the_checks_of_the_queue_and_of_the_file_run_together_and_each_once() {
    let own = "verify: [{name: gate, run: gate}, {name: lint, run: lint}]";
    for (queue, expected) in [
        ("verify: inherit", vec!["make", "lint"]),
        (own, vec!["gate", "lint", "make"]),
        (
            "verify: [{name: lint, run: other}]",
            vec!["other", "make", "lint"],
        ),
    ] {
        let mut driver = driver(queue);
        let preflight = asked(&driver, false).unwrap();
        assert_eq!(commands(&preflight.checks()), expected);
        run(&mut driver, &preflight, &[]);
        assert!(asked(&driver, false).is_none(), "evidence answers it");
    }
}

#[test]
fn what_a_preflight_shows_stands_in_for_the_queues_checks_whatever_the_files_say() {
    let own = "verify: [{name: gate, run: gate}, {name: lint, run: lint}]";
    let mut driver = driver(own);
    let preflight = asked(&driver, false).unwrap();
    run(&mut driver, &preflight, &["make"]);
    let commit = preflight.commit().clone();
    let gate = queue_checks(driver.state.pipeline(), std::iter::empty());
    let file = driver.state.pipeline().checks.clone();
    let known = |driver: &Driver, checks: &[Check]| {
        let tree = tree(&driver.target);
        let about = subject(checks, &commit, &tree);
        driver.state.evidence_of(about, checks, driver.now).is_some()
    };
    assert!(known(&driver, &gate) && !known(&driver, &file));
    assert!(
        driver.state.evidence.was_green_on_target("gate")
            && driver.state.evidence.was_green_on_target("lint")
    );
    assert!(driver.state.queue().base_red().is_none(), "what lands would pass");
    let again = asked(&driver, false).unwrap();
    assert_eq!(commands(&again.checks()), ["make", "lint"], "only what is open");
    run(&mut driver, &again, &[]);
    assert!(known(&driver, &file) && asked(&driver, false).is_none());
}

#[test]
fn a_check_of_the_file_is_no_check_of_the_queues_that_is_called_the_same() {
    let mut driver = driver("verify: [{name: test, run: thorough}]");
    let preflight = asked(&driver, false).unwrap();
    run(&mut driver, &preflight, &["thorough"]);
    assert!(!driver.state.evidence.was_green_on_target("test"));
    // In a journal in which only the file's is open, too.
    let again = asked(&driver, false).unwrap();
    let RunEvent::PreflightEnded { commit, also, .. } = again.ended(
        &evidence(&again.checks(), again.commit(), CheckOutcome::Passed).results,
        "here",
    ) else {
        panic!("it tells of a preflight")
    };
    let [of_file] = <[Evidence; 1]>::try_from(also).unwrap();
    driver.run_event(RunEvent::PreflightEnded {
        commit,
        evidence: of_file,
        also: Vec::new(),
    });
    assert!(!driver.state.evidence.was_green_on_target("test"));
    assert_eq!(commands(&asked(&driver, false).unwrap().checks()), ["thorough"]);
}

#[test]
fn a_gap_in_what_was_run_passes_nothing() {
    let driver = driver("verify: [{name: test, run: thorough}]");
    let preflight = asked(&driver, false).unwrap();
    let all = evidence(&preflight.checks(), preflight.commit(), CheckOutcome::Passed).results;
    let workspace = CheckResult {
        name: "workspace".to_owned(),
        outcome: CheckOutcome::TimedOut,
        ..all[0].clone()
    };
    for rows in [&all[..2], &[workspace]] {
        let RunEvent::PreflightEnded { evidence, also, .. } = preflight.ended(rows, "here") else {
            panic!("it tells of a preflight")
        };
        assert!(also.len() == 1 && !evidence.passed() && !also[0].passed());
    }
}
