//! What is shown of the collisions that the conflict radar foresees.

use super::*;
use crate::event::{Collision, Foreseen};

fn pair(one: &str, other: &str) -> Collision {
    let units = [one, other].map(|unit| unit.parse().unwrap());
    Collision::new(units, vec!["shared".to_owned()])
}

/// Two units at work, and two that are not.
fn at_work() -> Script {
    let mut script = Script::new();
    script.begin();
    for unit in ["lexer", "cache"] {
        script.unit(unit, UnitEvent::UnitStarted { base: oid('4') });
    }
    script
}

fn shown(script: &Script) -> Vec<Value> {
    let status = script.view.to_status_json();
    let pairs = status["run"]["collisions"].as_array().unwrap();
    pairs.iter().map(|pair| pair["units"].clone()).collect()
}

fn foresee(script: &mut Script, pairs: Vec<Collision>) {
    script.run(RunEvent::ConflictsForeseen(Foreseen::new(pairs, 0)));
}

#[test]
fn a_collision_is_shown_until_one_of_the_two_has_landed_or_left() {
    let mut script = at_work();
    foresee(&mut script, vec![pair("lexer", "cache")]);
    assert_eq!(shown(&script), [json!(["lexer", "cache"])]);
    script.enqueue("lexer", 0, 0);
    assert_eq!(shown(&script).len(), 1, "one is in line");
    script.land("lexer", '9');
    assert_eq!(shown(&script), [] as [Value; 0]);

    let mut script = at_work();
    foresee(&mut script, vec![pair("lexer", "cache")]);
    script.evict("cache", "it fails");
    assert_eq!(shown(&script), [] as [Value; 0]);
}

#[test]
fn a_collision_of_what_does_not_work_is_not_shown() {
    let mut script = at_work();
    foresee(&mut script, vec![pair("lexer", "docs"), pair("lexer", "nobody")]);
    assert_eq!(shown(&script), [] as [Value; 0]);
}

#[test]
fn a_collision_is_new_with_the_first_record_that_tells_of_it() {
    let mut script = at_work();
    script.unit("parser", UnitEvent::UnitStarted { base: oid('4') });
    let new = |script: &Script| {
        let seq = script.records.len() as u64;
        let new = script.view.collisions_since(seq).cloned();
        new.collect::<Vec<Collision>>()
    };
    foresee(&mut script, vec![pair("lexer", "cache")]);
    assert_eq!(new(&script), [pair("lexer", "cache")]);
    foresee(&mut script, vec![pair("lexer", "cache"), pair("parser", "cache")]);
    assert_eq!(new(&script), [pair("parser", "cache")]);
    foresee(&mut script, vec![pair("parser", "cache")]);
    foresee(&mut script, vec![pair("lexer", "cache"), pair("parser", "cache")]);
    assert_eq!(new(&script), [pair("lexer", "cache")], "it was gone in between");
}

#[test]
fn a_collision_of_what_an_author_has_not_handed_in_is_shown_while_it_is_at_work() {
    let at_work = || {
        let mut script = at_work();
        let fence = script.start("cache", job("implement", StageKind::Implement), 1, 1);
        let collision = Collision {
            uncommitted: vec!["cache".parse().unwrap()],
            ..pair("lexer", "cache")
        };
        foresee(&mut script, vec![collision]);
        assert_eq!(
            script.view.to_status_json()["run"]["collisions"][0]["uncommitted"],
            json!(["cache"])
        );
        (script, fence)
    };
    let (mut script, fence) = at_work();
    script.end("cache", fence, Outcome::Ok, Some(work('a', Vec::new())));
    assert_eq!(shown(&script), [] as [Value; 0]);
    let (mut script, _) = at_work();
    script.view.tell_no_engine();
    assert_eq!(shown(&script), [] as [Value; 0], "its engine died");
}
