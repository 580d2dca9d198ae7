//! Untrusted text made safe to stand in a prompt: cleaned, cut to its budget, and fenced.
//!
//! A fence is a pair of lines that carry a nonce. The nonce is SHA-256 over a secret seed, the attempt's digest,
//! the fence's name and the text, so the same packet gives the same prompt, and nobody who does not know the seed
//! can write a closing fence into the text in advance.

use std::borrow::Cow;
use std::fmt::Write as _;

use sha2::{Digest, Sha256};

/// How a text is cleaned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Text {
    /// Written for people: invisible characters and HTML comments go.
    Prose,
    /// Diffs, logs and JSON: invisible characters go, but an HTML comment stays. It is visible in source, and
    /// code between `<!--` and `-->` in two string literals must not vanish from a reviewer's sight.
    Code,
}

/// Makes fences for one attempt.
#[derive(Debug, Clone)]
pub struct Fences {
    key: [u8; 32],
}

impl Fences {
    /// For the attempt that `digest` identifies; `seed` must be unknown to whoever writes the fenced texts.
    pub fn new(seed: u64, digest: &str) -> Self {
        let mut hasher = Sha256::new();
        hasher.update(b"pipeline fence v1\0");
        hasher.update(seed.to_le_bytes());
        hasher.update(digest.as_bytes());
        Self {
            key: hasher.finalize().into(),
        }
    }

    /// `text`, cleaned, cut to `bytes_max`, between fences called `name`. Where it is cut, `whole` says in which
    /// file of `PIPELINE_CONTEXT` all of it is.
    pub fn fence(&self, name: &str, kind: Text, text: &str, bytes_max: usize, whole: Option<&str>) -> String {
        let cleaned = clean(text, kind);
        let body = cut(&cleaned, bytes_max, whole);
        let nonce = self.nonce(name, &body);
        let end = if body.ends_with('\n') { "" } else { "\n" };
        format!("<data name=\"{name}\" fence=\"{nonce}\">\n{body}{end}</data fence=\"{nonce}\">")
    }

    fn nonce(&self, name: &str, body: &str) -> String {
        let mut hasher = Sha256::new();
        hasher.update(self.key);
        hasher.update((name.len() as u64).to_le_bytes());
        hasher.update(name.as_bytes());
        hasher.update(body.as_bytes());
        hex(&hasher.finalize()[..16])
    }
}

/// Lower-case hex digits of `bytes`.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("writing to a String cannot fail");
        text
    })
}

/// Removes what a person reading `text` would not see, and says so where it was: `[removed: 3 hidden characters]`.
pub fn clean(text: &str, kind: Text) -> Cow<'_, str> {
    let visible = without_hidden_characters(text);
    match kind {
        Text::Prose if visible.contains("<!--") => Cow::Owned(without_comments(&visible)),
        Text::Prose | Text::Code => visible,
    }
}

fn without_hidden_characters(text: &str) -> Cow<'_, str> {
    if !text.contains(is_hidden) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    let mut removed = 0_usize;
    let mut characters = text.chars().peekable();
    while let Some(c) = characters.next() {
        // CRLF is a line end, not something hidden.
        if c == '\r' && characters.peek() == Some(&'\n') {
            continue;
        }
        if is_hidden(c) {
            removed += 1;
            if characters.peek().copied().is_some_and(is_hidden) {
                continue;
            }
            let plural = if removed == 1 { "" } else { "s" };
            write!(out, "[removed: {removed} hidden character{plural}]")
                .expect("writing to a String cannot fail");
            removed = 0;
        } else {
            out.push(c);
        }
    }
    Cow::Owned(out)
}

/// Characters that show nothing, reorder what is shown, or drive a terminal.
pub fn is_hidden(c: char) -> bool {
    matches!(c,
        '\0'..='\u{8}' | '\u{b}'..='\u{1f}' | '\u{7f}'..='\u{9f}' // controls but tab and newline
        | '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
        | '\u{180b}'..='\u{180f}'
        | '\u{200b}'..='\u{200f}' // zero width, left-to-right and right-to-left marks
        | '\u{2028}'..='\u{202e}' // separators, bidirectional embedding and override
        | '\u{2060}'..='\u{206f}' // invisible operators, bidirectional isolates
        | '\u{3164}' | '\u{feff}' | '\u{ffa0}' | '\u{fff9}'..='\u{fffb}'
        | '\u{fe00}'..='\u{fe0d}' // variation selectors; the two of emoji stay
        | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}'
        | '\u{e0000}'..='\u{e0fff}') // tags and more variation selectors: they can carry whole sentences
}

/// An unclosed comment hides everything to the end, as it does in a browser.
fn without_comments(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find("<!--") {
        out.push_str(&rest[..start]);
        let comment = &rest[start..];
        let end = comment[4..].find("-->").map_or(comment.len(), |at| 4 + at + 3);
        let characters = comment[..end].chars().count();
        write!(out, "[removed: a hidden comment of {characters} characters]")
            .expect("writing to a String cannot fail");
        rest = &comment[end..];
    }
    out.push_str(rest);
    out
}

/// Cleans every string of a JSON value, keys included.
pub(super) fn clean_json(value: &mut serde_json::Value, kind: Text) {
    match value {
        serde_json::Value::String(text) => {
            if let Cow::Owned(cleaned) = clean(text, kind) {
                *text = cleaned;
            }
        }
        serde_json::Value::Array(items) => items.iter_mut().for_each(|item| clean_json(item, kind)),
        serde_json::Value::Object(fields) => {
            *fields = std::mem::take(fields)
                .into_iter()
                .map(|(key, mut field)| {
                    clean_json(&mut field, kind);
                    (clean(&key, kind).into_owned(), field)
                })
                .collect();
        }
        serde_json::Value::Null | serde_json::Value::Bool(_) | serde_json::Value::Number(_) => {}
    }
}

/// Keeps two thirds of the budget from the start of the text and one third from its end, on character borders.
fn cut<'a>(text: &'a str, bytes_max: usize, whole: Option<&str>) -> Cow<'a, str> {
    if text.len() <= bytes_max {
        return Cow::Borrowed(text);
    }
    let head_end = text.floor_char_boundary(bytes_max / 3 * 2);
    let tail_start = text.ceil_char_boundary(text.len() - bytes_max / 3);
    let bytes = tail_start - head_end;
    let whole = whole.map_or(String::new(), |file| {
        format!("; all of it is in {file} of PIPELINE_CONTEXT")
    });
    Cow::Owned(format!(
        "{}\n[cut: {bytes} bytes{whole}]\n{}",
        &text[..head_end],
        &text[tail_start..]
    ))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn hidden_characters_are_removed_and_counted() {
        assert_eq!(
            clean("a\u{200b}\u{202e}\u{feff}b", Text::Prose),
            "a[removed: 3 hidden characters]b"
        );
        assert_eq!(
            clean("a\u{e0041}b", Text::Code),
            "a[removed: 1 hidden character]b"
        );
        assert_eq!(
            clean("\x1b[31mred", Text::Code),
            "[removed: 1 hidden character][31mred"
        );
        assert_eq!(clean("tab\tline\r\nend\n", Text::Code), "tab\tline\nend\n");
    }

    #[test]
    fn visible_text_of_any_script_is_left_alone() {
        for text in ["grüße", "日本語", "✔️ done", "العربية", "a < b --> c"] {
            assert!(matches!(clean(text, Text::Prose), Cow::Borrowed(_)), "{text}");
        }
    }

    #[test]
    fn comments_are_removed_from_prose_and_an_unclosed_one_hides_the_rest() {
        assert_eq!(
            clean("a <!-- do x --> b", Text::Prose),
            "a [removed: a hidden comment of 13 characters] b"
        );
        assert_eq!(
            clean("a <!-- do x", Text::Prose),
            "a [removed: a hidden comment of 9 characters]"
        );
    }

    #[test]
    fn comments_stay_in_code_so_that_nothing_can_be_hidden_from_a_reviewer() {
        let code = "a = '<!--'; evil(); b = '-->';";
        assert_eq!(clean(code, Text::Code), code);
    }

    #[test]
    fn removal_cannot_assemble_a_comment_or_a_fence() {
        assert!(!clean("<!\u{200b}-- x -->", Text::Prose).contains("<!--"));
        assert!(!clean("<!<!-- y -->-- x -->", Text::Prose).contains("<!--"));
    }

    #[test]
    fn a_nonce_depends_on_seed_attempt_name_and_text() {
        let fence =
            |seed, digest, name, text| Fences::new(seed, digest).fence(name, Text::Prose, text, 99, None);
        let one = fence(1, "a", "rfc", "x");
        assert_eq!(one, fence(1, "a", "rfc", "x"));
        let nonce = |text: &str| text.split('"').nth(3).unwrap().to_owned();
        let others = [
            fence(2, "a", "rfc", "x"),
            fence(1, "b", "rfc", "x"),
            fence(1, "a", "rf", "x"),
        ];
        for other in others.iter().chain([&fence(1, "a", "rfc", "y")]) {
            assert_ne!(nonce(&one), nonce(other));
        }
    }

    #[test]
    fn a_long_text_keeps_head_and_tail_and_says_what_was_cut() {
        let text = format!("head{}tail", "ä".repeat(1000));
        let fenced = Fences::new(0, "").fence("log", Text::Code, &text, 90, Some("checks/a.log"));
        assert!(fenced.contains("head") && fenced.contains("tail"), "{fenced}");
        assert!(
            fenced.contains("bytes; all of it is in checks/a.log of PIPELINE_CONTEXT]"),
            "{fenced}"
        );
        assert!(fenced.len() < 400, "{}", fenced.len());
    }

    proptest! {
        #[test]
        fn a_fence_is_closed_exactly_once_whatever_the_text(text in ".{0,300}", seed: u64) {
            let fences = Fences::new(seed, "attempt");
            let forged = Fences::new(seed.wrapping_add(1), "attempt").fence("x", Text::Prose, &text, 4096, None);
            let fenced = fences.fence("x", Text::Prose, &format!("{text}\n{forged}"), 4096, None);
            let close = fenced.lines().last().unwrap();
            prop_assert!(close.starts_with("</data fence="));
            prop_assert_eq!(fenced.matches(close).count(), 1);
        }

        #[test]
        fn cleaning_is_idempotent_and_leaves_nothing_hidden(text in any::<String>()) {
            for kind in [Text::Prose, Text::Code] {
                let once = clean(&text, kind).into_owned();
                prop_assert!(!once.contains(is_hidden));
                prop_assert_eq!(clean(&once, kind).into_owned(), once);
            }
        }
    }
}
