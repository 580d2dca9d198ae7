//! Collisions that the conflict radar foresees.

use serde::{Deserialize, Serialize};

use crate::id::UnitId;

/// Most pairs that are named; the rest is counted.
const PAIRS_MAX: usize = 50;
/// Most paths that are named of a pair; the rest is counted.
const PATHS_MAX: usize = 5;
/// Longest path that is named.
const PATH_BYTES_MAX: usize = 500;

/// Live work that will collide.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Foreseen {
    /// Pairs of units, in order.
    pub pairs: Vec<Collision>,
    /// How many more pairs there are.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub left_out: u32,
    /// How many units on their way were compared with none, because there are so many.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub not_compared: u32,
}

/// Two units that fit onto the target alone and not together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Collision {
    /// The two, in the order of their ids.
    pub units: [UnitId; 2],
    /// Where both changed the same; none where git names no path. Untrusted.
    pub paths: Vec<String>,
    /// How many more paths there are.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub paths_left_out: u32,
    /// Those of the two whose author is still at work: what it has not handed in yet collides.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub uncommitted: Vec<UnitId>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

impl Collision {
    /// Two units with the paths, as many as are named.
    pub fn new(units: [UnitId; 2], paths: Vec<String>) -> Self {
        let all = paths.len();
        let short = paths.into_iter().filter(|path| path.len() <= PATH_BYTES_MAX);
        let paths: Vec<String> = short.take(PATHS_MAX).collect();
        Self {
            paths_left_out: count(all - paths.len()),
            units,
            paths,
            uncommitted: Vec::new(),
        }
    }
}

impl Foreseen {
    /// These pairs, as many as are named, with so many units compared with none.
    pub fn new(mut pairs: Vec<Collision>, not_compared: u32) -> Self {
        let left_out = count(pairs.len().saturating_sub(PAIRS_MAX));
        pairs.truncate(PAIRS_MAX);
        Self {
            pairs,
            left_out,
            not_compared,
        }
    }

    /// Forgets the pairs that this does not hold for. Of those that are only counted nothing is known.
    pub fn retain(&mut self, holds: impl Fn(&Collision) -> bool) {
        self.pairs.retain(holds);
        if self.pairs.is_empty() {
            self.left_out = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(paths: Vec<String>) -> Collision {
        Collision::new(["a".parse().unwrap(), "b".parse().unwrap()], paths)
    }

    #[test]
    fn what_is_not_named_is_counted() {
        let paths = (0..PATHS_MAX + 2).map(|at| format!("p{at}"));
        let long = "x".repeat(PATH_BYTES_MAX + 1);
        let one = pair([long].into_iter().chain(paths).collect());
        assert_eq!((one.paths[0].as_str(), one.paths.len()), ("p0", PATHS_MAX));
        assert_eq!(one.paths_left_out, 3);
        let foreseen = Foreseen::new(vec![one; PAIRS_MAX + 4], 0);
        assert_eq!((foreseen.pairs.len(), foreseen.left_out), (PAIRS_MAX, 4));
    }

    #[test]
    fn what_is_whole_is_written_without_counts_and_read_again() {
        let foreseen = Foreseen::new(vec![pair(vec!["shared".to_owned()])], 0);
        let text = serde_json::to_string(&foreseen).unwrap();
        assert_eq!(text, r#"{"pairs":[{"units":["a","b"],"paths":["shared"]}]}"#);
        assert_eq!(serde_json::from_str::<Foreseen>(&text).unwrap(), foreseen);
    }
}
