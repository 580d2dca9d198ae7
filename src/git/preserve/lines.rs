//! Texts as lines, and what two changes of one text come to together.

use std::ops::Range;

use super::super::Result;
use super::super::objects::unreadable;

/// One place where two texts differ, as lines of the one and of the other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Hunk {
    pub(super) old: Range<usize>,
    pub(super) new: Range<usize>,
}

impl Hunk {
    /// Whether it and a change of the same text are too close for each to have a place of its own: one line between
    /// them is enough.
    pub(super) fn meets(&self, other: &Self) -> bool {
        self.old.start <= other.old.end && other.old.start <= self.old.end
    }
}

/// The lines of a text, each with its end. A last line without one differs from the same line with one, and `\r` is a
/// byte like any other.
pub(super) fn lines(text: &[u8]) -> Vec<&[u8]> {
    text.split_inclusive(|byte| *byte == b'\n').collect()
}

/// Where two texts differ, in order, without context.
pub(super) fn hunks(old: &[u8], new: &[u8]) -> Result<Vec<Hunk>> {
    let mut options = git2::DiffOptions::new();
    options.context_lines(0).interhunk_lines(0).force_text(true);
    let mut found = || -> std::result::Result<Vec<Hunk>, git2::Error> {
        let patch = git2::Patch::from_buffers(old, None, new, None, Some(&mut options))?;
        let hunk = |at| {
            let (hunk, _) = patch.hunk(at)?;
            Ok(Hunk {
                old: range(hunk.old_start(), hunk.old_lines()),
                new: range(hunk.new_start(), hunk.new_lines()),
            })
        };
        (0..patch.num_hunks()).map(hunk).collect()
    };
    found().map_err(unreadable("a difference"))
}

/// Lines as a header counts them, from 1; of no line it names the one before.
fn range(start: u32, count: u32) -> Range<usize> {
    let first = if count == 0 {
        start
    } else {
        start.saturating_sub(1)
    };
    first as usize..(first + count) as usize
}

/// `onto` with every hunk that turns `was` into `changed`, each at the place that corresponds to its own; one that
/// `onto` already has is not made twice. `None` where a hunk meets another change and is not the same.
pub(super) fn transport(was: &[u8], changed: &[u8], onto: &[u8]) -> Result<Option<Vec<u8>>> {
    let (ours, theirs) = (hunks(was, changed)?, hunks(was, onto)?);
    let (changed, onto) = (lines(changed), lines(onto));
    let mut landed = theirs.iter().peekable();
    let mut text = Vec::new();
    // Lines of `onto` that are in `text`, and how far `onto` is ahead of `was` in lines.
    let (mut done, mut added, mut removed) = (0, 0, 0);
    for hunk in &ours {
        while let Some(before) = landed.next_if(|before| before.old.end < hunk.old.start) {
            added += before.new.len();
            removed += before.old.len();
        }
        if let Some(met) = landed.next_if(|met| met.meets(hunk)) {
            let same = met.old == hunk.old && onto[met.new.clone()] == changed[hunk.new.clone()];
            if !same || landed.peek().is_some_and(|next| next.meets(hunk)) {
                return Ok(None);
            }
            added += met.new.len();
            removed += met.old.len();
            continue;
        }
        let place = hunk.old.start + added - removed;
        // A change that was held already may stand before a hunk it touches.
        if place < done {
            return Ok(None);
        }
        text.extend(onto[done..place].concat());
        text.extend(changed[hunk.new.clone()].concat());
        done = place + hunk.old.len();
    }
    text.extend(onto[done..].concat());
    Ok(Some(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moved(was: &str, changed: &str, onto: &str) -> Option<String> {
        let text = transport(was.as_bytes(), changed.as_bytes(), onto.as_bytes()).unwrap();
        text.map(|text| String::from_utf8(text).unwrap())
    }

    #[test]
    fn a_hunk_is_made_where_its_place_has_moved_to() {
        let was = "a\nb\nc\nd\ne\n";
        let cases = [
            ("a\nb\nC\nd\ne\n", "new\na\nb\nc\nd\ne\n", "new\na\nb\nC\nd\ne\n"),
            ("a\nb\nc\nd\ne\nf\n", "b\nc\nd\ne\n", "b\nc\nd\ne\nf\n"),
            ("x\na\nb\nc\nd\ne\n", "a\nb\nc\nd\nE", "x\na\nb\nc\nd\nE"),
            ("b\nc\nd\ne\n", "a\nb\nc\nd\ne\nf\n", "b\nc\nd\ne\nf\n"),
            ("a\nb\nc\nd\ne", "A\nb\nc\nd\ne\n", "A\nb\nc\nd\ne"),
            ("a\nb\nc\nd\r\ne\n", "a\r\nb\nc\nd\ne\n", "a\r\nb\nc\nd\r\ne\n"),
        ];
        for (changed, onto, expected) in cases {
            assert_eq!(moved(was, changed, onto).as_deref(), Some(expected));
        }
    }

    #[test]
    fn what_the_target_holds_is_not_made_twice() {
        let both = "A\nb\nc\nd\ne\n";
        let more = "A\nb\nc\nd\nE\n";
        assert_eq!(
            moved("a\nb\nc\nd\ne\n", more, both).as_deref(),
            Some("A\nb\nc\nd\nE\n")
        );
        assert_eq!(
            moved("a\nb\nc\nd\ne\n", both, more).as_deref(),
            Some("A\nb\nc\nd\nE\n")
        );
    }

    #[test]
    fn changes_that_touch_have_no_place_of_their_own() {
        for (changed, onto) in [
            ("a\nB\nc\n", "a\nb\nC\n"),
            ("a\nB\nc\n", "a\nX\nc\n"),
            ("", "a\nb\nX\n"),
        ] {
            assert_eq!(moved("a\nb\nc\n", changed, onto), None);
        }
    }
}
