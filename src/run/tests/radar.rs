//! What the conflict radar looks at, and what becomes of what it saw.

use super::*;
use crate::event::{Collision, Foreseen};

fn pair(one: &str, other: &str) -> Collision {
    Collision::new([id(one), id(other)], vec!["shared".to_owned()])
}

fn begun(names: &[&str]) -> Driver {
    let units: String = names.iter().map(|name| line(name, "")).collect();
    let queue = "queue: {window: 1, verify: [{name: test, run: make}]}";
    let more = format!("{}\nchecks: [{{name: lint, run: make}}]\n{queue}", parallel(4));
    let mut driver = Driver::of(&more, &units);
    driver.settle();
    driver
}

fn heads(driver: &Driver) -> Vec<String> {
    let scene = driver.state.scene().unwrap();
    scene.heads.iter().map(|head| head.unit.to_string()).collect()
}

/// A look at what there is to see finds these pairs; whether that was news.
fn look(driver: &mut Driver, pairs: Vec<Collision>) -> bool {
    let scene = driver.state.scene().unwrap();
    let seen = driver.state.sighting(&scene, pairs);
    let news = seen.is_some();
    if let Some(foreseen) = seen {
        driver.run_event(RunEvent::ConflictsForeseen(foreseen));
    }
    news
}

#[test]
fn a_unit_is_looked_at_from_its_first_commit_until_it_has_landed_or_left() {
    let mut driver = begun(&["a", "b", "c"]);
    assert!(heads(&driver).is_empty(), "nobody has made anything");
    driver.finish("b").finish("a");
    assert_eq!(heads(&driver), ["a", "b"], "while their checks run");
    driver.finish("a").finish("b");
    assert_eq!(
        (driver.phase("a"), driver.phase("b")),
        (Phase::Queued, Phase::Queued)
    );
    assert_eq!(heads(&driver), ["a", "b"], "while they are in line");
    driver.verify(CheckOutcome::Passed);
    assert_eq!(driver.phase("a"), Phase::Landed);
    assert_eq!(heads(&driver), ["b"]);
    assert_eq!(driver.state.scene().unwrap().onto, driver.tip(), "on what landed");
    let discarded = UnitEvent::UnitDiscarded;
    driver.unit_event("b", discarded);
    assert!(heads(&driver).is_empty());
}

#[test]
fn the_same_collisions_are_told_once_and_others_and_none_again() {
    let mut driver = begun(&["a", "b", "c"]);
    driver.finish("a").finish("b").finish("c");
    assert!(!look(&mut driver, Vec::new()), "none is no news");
    assert!(look(&mut driver, vec![pair("a", "b")]));
    assert!(!look(&mut driver, vec![pair("a", "b")]));
    assert!(look(&mut driver, vec![pair("a", "b"), pair("b", "c")]));
    assert!(look(&mut driver, Vec::new()));
    assert_eq!(*driver.state.foreseen(), Foreseen::default());
}

#[test]
fn a_collision_is_forgotten_when_one_of_the_two_has_landed_or_left() {
    let mut driver = begun(&["a", "b", "c"]);
    driver.finish("a").finish("b").finish("c");
    look(&mut driver, vec![pair("a", "b"), pair("b", "c"), pair("a", "c")]);
    driver.unit_event("c", UnitEvent::UnitDiscarded);
    assert_eq!(driver.state.foreseen().pairs, [pair("a", "b")]);
    driver.finish("a").finish("b").verify(CheckOutcome::Passed);
    assert_eq!(driver.phase("a"), Phase::Landed);
    assert_eq!(*driver.state.foreseen(), Foreseen::default());
    let again = fold(driver.state.pipeline(), &driver.journal);
    assert_eq!(again.foreseen(), driver.state.foreseen(), "and so in a replay");
}

#[test]
fn what_was_seen_of_a_head_that_is_gone_meanwhile_is_not_told() {
    let mut driver = begun(&["a", "b", "c"]);
    driver.finish("a").finish("b").finish("c");
    let scene = driver.state.scene().unwrap();
    driver.unit_event("c", UnitEvent::UnitDiscarded);
    let seen = driver
        .state
        .sighting(&scene, vec![pair("a", "c"), pair("a", "b")]);
    assert_eq!(seen.unwrap().pairs, [pair("a", "b")]);
}

fn uncommitted(one: &str, other: &str, whose: &str) -> Collision {
    Collision {
        uncommitted: vec![id(whose)],
        ..pair(one, other)
    }
}

#[test]
fn an_author_is_looked_at_while_it_is_at_work_and_nobody_else() {
    let mut driver = begun(&["a", "b", "c"]);
    let authors = |driver: &Driver| {
        let scene = driver.state.scene().unwrap();
        let authors = scene.authors.iter();
        authors
            .map(|author| author.key.unit.to_string())
            .collect::<Vec<_>>()
    };
    assert_eq!(authors(&driver), ["a", "b", "c"]);
    let author = driver.state.scene().unwrap().authors[1].clone();
    let key = (author.key.stage.as_str(), author.key.round, author.key.attempt);
    assert_eq!((key, author.fence), (("implement", 1, 1), driver.fence_of("b")));
    assert_eq!((&author.commit, &author.base), (&driver.tip(), &driver.tip()));
    driver.finish("b");
    assert_eq!(authors(&driver), ["a", "c"], "checks make nothing");
    driver.restart();
    assert!(authors(&driver).is_empty(), "a dead engine has no authors");
}

#[test]
fn a_collision_of_what_an_author_has_not_handed_in_is_forgotten_when_it_is_not_at_work() {
    let mut driver = begun(&["a", "b", "c"]);
    driver.finish("a");
    let scene = driver.state.scene().unwrap();
    assert!(
        !look(&mut driver, vec![uncommitted("b", "c", "c")]),
        "`b` has no head that `c` could meet"
    );
    assert!(look(&mut driver, vec![uncommitted("a", "b", "b")]));
    assert_eq!(driver.state.foreseen().pairs.len(), 1);
    driver.finish("b");
    assert_eq!(*driver.state.foreseen(), Foreseen::default());
    let late = driver.state.sighting(&scene, vec![uncommitted("a", "b", "b")]);
    assert_eq!(late, None, "nor is it told then");
}

#[test]
fn the_first_units_are_compared_and_the_rest_is_counted() {
    let mut driver = begun(&["a", "b", "c"]);
    driver.finish("a");
    let scene = driver.state.scene_of(2).unwrap();
    assert_eq!(
        (scene.heads.len(), scene.authors.len(), scene.not_compared),
        (1, 1, 1)
    );
    let seen = driver.state.sighting(&scene, Vec::new()).unwrap();
    assert_eq!((seen.pairs.len(), seen.not_compared), (0, 1));
    assert_eq!(driver.state.scene().unwrap().not_compared, 0);
}
