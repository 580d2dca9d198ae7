//! What people are shown of the collisions that the conflict radar foresees.

use super::{last_line, unicode};
use crate::event::{Collision, Foreseen, RunEvent, UnitEvent};
use crate::report::table;
use crate::view::tests::{Script, oid};

/// Three units at work, of which these pairs collide, each on these paths.
fn foreseen(pairs: &[([&str; 2], &[&str])]) -> Script {
    let mut script = Script::new();
    script.begin();
    for unit in ["lexer", "parser", "cache", "docs"] {
        script.unit(unit, UnitEvent::UnitStarted { base: oid('4') });
    }
    let pairs = pairs.iter().map(|(units, paths)| {
        let units = units.map(|unit| unit.parse().unwrap());
        Collision::new(units, paths.iter().map(|path| (*path).to_owned()).collect())
    });
    script.run(RunEvent::ConflictsForeseen(Foreseen::new(pairs.collect(), 0)));
    script
}

#[test]
fn a_collision_is_told_with_both_units_and_the_paths() {
    let script = foreseen(&[
        (["lexer", "cache"], &["shared", "src/\u{1b}[31m.rs"]),
        (["lexer", "parser"], &["1", "2", "3", "4", "5", "6"]),
        (["parser", "cache"], &[]),
        (["lexer", "docs"], &["x"]),
    ]);
    insta::assert_snapshot!(last_line(&script).unwrap(), @"
    COLLIDE [       ] lexer     with cache, in shared, src/.rs
    COLLIDE [       ] lexer     with parser, in 1, 2, 3, 4, 5 and 1 more path
    COLLIDE [       ] parser    with cache
            and 1 pair more: pipeline status
    ");
    let status = table::status(&script.view, unicode(), script.now());
    let told: Vec<&str> = status.lines().filter(|line| line.starts_with("Will")).collect();
    insta::assert_snapshot!(told.join("\n"), @"
    Will collide: `lexer` and `cache`, in shared, src/.rs.
    Will collide: `lexer` and `parser`, in 1, 2, 3, 4, 5 and 1 more path.
    Will collide: `parser` and `cache`.
    Will collide: `lexer` and `docs`, in x.
    ");
}

#[test]
fn that_nothing_collides_any_more_is_no_line() {
    let script = foreseen(&[]);
    assert_eq!(last_line(&script), None);
    let status = table::status(&script.view, unicode(), script.now());
    assert!(!status.contains("collide"), "{status}");
}
