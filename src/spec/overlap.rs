//! Whether two gitignore-style patterns can match the same path.
//!
//! Conservative: a wrong yes costs a wait, a wrong no costs a conflict. Patterns are compared component by
//! component; a character class counts as any character.

use std::collections::HashMap;

/// Whether some path could match both patterns. `!` patterns claim nothing.
pub fn patterns_may_overlap(a: &str, b: &str) -> bool {
    if a.starts_with('!') || b.starts_with('!') {
        return false;
    }
    let (a, b) = (components(a), components(b));
    // `reach[j]`: whether the rest of `a` and the rest of `b` from `j` on can meet; filled from the end.
    // A pattern that is used up names a directory, and everything below is claimed with it.
    let mut reach = vec![true; b.len() + 1];
    for from_a in a.iter().rev() {
        let below = reach;
        reach = vec![true; b.len() + 1];
        for (j, from_b) in b.iter().enumerate().rev() {
            reach[j] = match (*from_a, *from_b) {
                ("**", _) | (_, "**") => below[j] || reach[j + 1],
                (x, y) => below[j + 1] && components_may_meet(x, y),
            };
        }
    }
    reach[0]
}

/// The components of a pattern, with the `**` that gitignore implies for one without a slash.
fn components(pattern: &str) -> Vec<&str> {
    let body = pattern.strip_suffix('/').unwrap_or(pattern);
    let anchored = body.contains('/');
    let mut components: Vec<_> = body
        .split('/')
        .filter(|part| !part.is_empty() && *part != ".")
        .collect();
    if !anchored {
        components.insert(0, "**");
    }
    components
}

fn components_may_meet(a: &str, b: &str) -> bool {
    match (is_literal(a), is_literal(b)) {
        (true, true) => a == b,
        (false, true) => wildcard_matches(a.as_bytes(), b.as_bytes()),
        (true, false) => wildcard_matches(b.as_bytes(), a.as_bytes()),
        (false, false) => {
            let (head_a, head_b) = (literal_head(a), literal_head(b));
            let (tail_a, tail_b) = (literal_tail(a), literal_tail(b));
            (head_a.starts_with(head_b) || head_b.starts_with(head_a))
                && (tail_a.ends_with(tail_b) || tail_b.ends_with(tail_a))
        }
    }
}

const WILD: [char; 6] = ['*', '?', '[', ']', '{', '\\'];

fn is_literal(component: &str) -> bool {
    !component.contains(WILD)
}

fn literal_head(component: &str) -> &str {
    component.split(WILD).next().unwrap_or_default()
}

fn literal_tail(component: &str) -> &str {
    component.rsplit(WILD).next().unwrap_or_default()
}

/// Matches `*`, `?` and classes (any one character) within one component.
fn wildcard_matches(pattern: &[u8], text: &[u8]) -> bool {
    if pattern.iter().any(|b| b"{\\".contains(b)) {
        return true;
    }
    let mut reach = vec![false; text.len() + 1];
    reach[text.len()] = true;
    let mut end = pattern.len();
    while end > 0 {
        let (start, any_run) = match pattern[end - 1] {
            b'*' => (end - 1, true),
            b']' => (
                pattern[..end].iter().rposition(|b| *b == b'[').unwrap_or(end - 1),
                false,
            ),
            _ => (end - 1, false),
        };
        let token = &pattern[start..end];
        let mut next = vec![false; text.len() + 1];
        for at in (0..=text.len()).rev() {
            next[at] = if any_run {
                reach[at] || (at < text.len() && next[at + 1])
            } else {
                // A class or `?` stands for one character, whose bytes are not told apart here.
                let one = token == b"?" || token.len() > 1;
                at < text.len() && (one || token[0] == text[at]) && (reach[at + 1] || (one && next[at + 1]))
            };
        }
        reach = next;
        end = start;
    }
    reach[0]
}

/// The directory below which a pattern matches: its components before the first wildcard, the last one apart.
pub(super) fn literal_directory(pattern: &str) -> String {
    let components = components(pattern);
    let literal = components.iter().take_while(|part| is_literal(part)).count();
    components[..literal.min(components.len().saturating_sub(1))].join("/")
}

/// Finds the patterns that may overlap a given one without comparing it to all others.
#[derive(Debug, Default)]
pub(super) struct PatternIndex {
    by_directory: HashMap<String, Vec<usize>>,
}

impl PatternIndex {
    /// Files item number `item` under its pattern.
    pub(super) fn insert(&mut self, pattern: &str, item: usize) {
        self.by_directory
            .entry(literal_directory(pattern))
            .or_default()
            .push(item);
    }

    /// Items filed under the pattern's own directory or one above it. Asked for both patterns of a pair, one
    /// of the two answers names the other whenever they may overlap.
    pub(super) fn above(&self, pattern: &str) -> impl Iterator<Item = usize> {
        let directory = literal_directory(pattern);
        let mut keys = vec![String::new()];
        for (at, _) in directory.match_indices('/') {
            keys.push(directory[..at].to_owned());
        }
        if !directory.is_empty() {
            keys.push(directory);
        }
        keys.into_iter()
            .filter_map(|key| self.by_directory.get(&key))
            .flatten()
            .copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_that_can_match_one_path_overlap() {
        for (a, b) in [
            ("src/**", "src/schema.rs"),
            ("*.rs", "src/deep/x.rs"),
            ("**/*.rs", "src/**"),
            ("src/", "src/a/b"),
            ("/src/a*", "src/ab/*.rs"),
            ("a[0-9].txt", "a7.txt"),
            ("a/*/c", "a/**/c"),
            ("x", "deep/x"),
            ("src/a?c.rs", "src/äac.rs"),
            ("**", "anything"),
        ] {
            let overlap = patterns_may_overlap(a, b);
            assert_eq!(overlap, patterns_may_overlap(b, a), "{a} {b}: symmetric");
            assert_eq!(overlap, !b.contains('ä'), "{a} {b}");
        }
    }

    #[test]
    fn patterns_that_cannot_match_one_path_do_not_overlap() {
        for (a, b) in [
            ("src/**", "tests/**"),
            ("src/*.rs", "src/*.md"),
            ("src/a.rs", "src/b.rs"),
            ("/x", "deep/x"),
            ("!src/**", "src/a"),
            ("migrations/**", "src/schema.rs"),
            ("a/*/c", "a/b/d"),
        ] {
            assert!(
                !patterns_may_overlap(a, b) && !patterns_may_overlap(b, a),
                "{a} {b}"
            );
        }
    }

    proptest::proptest! {
        #[test]
        fn the_index_finds_every_pair_that_may_overlap(
            a in "[ab*]{1,2}(/([ab]|\\*|\\*\\*)){0,3}", b in "[ab*]{1,2}(/([ab]|\\*|\\*\\*)){0,3}"
        ) {
            let mut index = PatternIndex::default();
            index.insert(&a, 0);
            index.insert(&b, 1);
            let found = index.above(&a).any(|item| item == 1) || index.above(&b).any(|item| item == 0);
            proptest::prop_assert!(found || !patterns_may_overlap(&a, &b));
        }

        #[test]
        fn a_path_and_a_pattern_that_git_would_match_overlap(
            path in "[ab]{1,2}(/[ab]{1,2}){0,3}", pattern in "([ab]|\\*|\\?){1,2}(/([ab]{1,2}|\\*|\\*\\*)){0,3}"
        ) {
            let mut builder = ignore::gitignore::GitignoreBuilder::new("");
            builder.add_line(None, &pattern).unwrap();
            let matched = builder.build().unwrap().matched_path_or_any_parents(&path, false).is_ignore();
            proptest::prop_assert!(!matched || patterns_may_overlap(&path_pattern(&path), &pattern));
        }
    }

    fn path_pattern(path: &str) -> String {
        format!("/{path}")
    }
}
