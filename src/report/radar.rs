//! What the conflict radar saw, for people.

use std::fmt::Write;

use super::line::plural;
use super::text::one_line;
use crate::event::Collision;
use crate::id::UnitId;
use crate::view::View;

/// Longest list of paths, in characters.
const PATHS_CHARS_MAX: usize = 120;

/// `with b, in src/a.rs, src/b.rs and 3 more paths`.
pub(super) fn collision_text(pair: &Collision) -> String {
    let [_, other] = &pair.units;
    format!("with {other}{}", places(pair))
}

/// One line a pair, in `status`.
pub(super) fn status_lines(view: &View) -> String {
    let mut out = String::new();
    for pair in &view.run.foreseen.pairs {
        let [one, other] = &pair.units;
        let _ = writeln!(out, "Will collide: `{one}` and `{other}`{}.", places(pair));
    }
    if view.run.foreseen.left_out > 0 {
        let _ = writeln!(
            out,
            "Will collide: {} more.",
            plural(view.run.foreseen.left_out, "pair")
        );
    }
    if view.run.foreseen.not_compared > 0 {
        let _ = writeln!(
            out,
            "Whether {} more will collide was not looked at: there are too many.",
            plural(view.run.foreseen.not_compared, "unit")
        );
    }
    out
}

/// Where, and whose work is not handed in yet.
fn places(pair: &Collision) -> String {
    let units: Vec<&str> = pair.uncommitted.iter().map(UnitId::as_str).collect();
    let uncommitted = match units.as_slice() {
        [] => String::new(),
        units => format!(" (uncommitted: {})", units.join(", ")),
    };
    format!("{}{uncommitted}", paths(pair))
}

fn paths(pair: &Collision) -> String {
    let named = one_line(&pair.paths.join(", "), PATHS_CHARS_MAX);
    match (named.is_empty(), pair.paths_left_out) {
        (true, 0) => String::new(),
        (true, more) => format!(", in {}", plural(more, "path")),
        (false, 0) => format!(", in {named}"),
        (false, 1) => format!(", in {named} and 1 more path"),
        (false, more) => format!(", in {named} and {more} more paths"),
    }
}
