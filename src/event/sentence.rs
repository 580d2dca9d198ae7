//! Facts with many parts, as sentences of a bounded length.

use super::{Conflict, Reason};

/// How many parts a sentence names.
const PARTS_NAMED_MAX: usize = 10;

/// `a, b and 3 more`: the first of the parts, and how many there are beside them.
pub fn listed<T: AsRef<str>>(parts: &[T]) -> String {
    let (named, rest) = parts.split_at(parts.len().min(PARTS_NAMED_MAX));
    let named: Vec<&str> = named.iter().map(AsRef::as_ref).collect();
    let named = named.join(", ");
    match rest.len() {
        0 => named,
        more => format!("{named} and {more} more"),
    }
}

/// A conflict with the target, as a sentence that names the paths and who brought the other side.
pub fn conflict_sentence(conflicts: &[Conflict]) -> String {
    let places: Vec<String> = conflicts
        .iter()
        .map(|conflict| match &conflict.landed_by {
            Some(unit) => format!("{} (with `{unit}`, which landed)", conflict.path),
            None => conflict.path.clone(),
        })
        .collect();
    match places.as_slice() {
        [] => Reason::ConflictTarget.sentence().to_owned(),
        places => format!("The work conflicts with the target in {}.", listed(places)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_list_ends_with_how_many_more_there_are() {
        let parts: Vec<String> = (1..=12).map(|n| n.to_string()).collect();
        assert_eq!(listed(&parts), "1, 2, 3, 4, 5, 6, 7, 8, 9, 10 and 2 more");
        assert_eq!(listed(&parts[..10]), "1, 2, 3, 4, 5, 6, 7, 8, 9, 10");
        assert_eq!(listed::<&str>(&[]), "");
    }
}
