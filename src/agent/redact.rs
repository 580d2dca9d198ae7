//! Keeps the values of passed-through variables out of what is written down.
//!
//! This is a net under accidents, not a boundary: an agent that wants to leak a value can encode it in a way
//! nobody looks for. Against that only helps that it is not given the value.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::ops::Range;

/// Shortest value that is looked for, in bytes. Shorter ones stand in ordinary text by accident.
pub const SECRET_BYTES_MIN: usize = 6;

/// What stands where a value stood.
pub const REDACTED: &str = "[redacted]";

const BASE64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Replaces known values in text: plain, JSON-escaped, base64 (both alphabets, wherever the value stands in what
/// was encoded) and URL-encoded.
#[derive(Clone, Default)]
pub struct Redactor {
    needles: Vec<String>,
}

impl std::fmt::Debug for Redactor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The needles are the secrets.
        f.debug_struct("Redactor")
            .field("needles", &self.needles.len())
            .finish()
    }
}

impl Redactor {
    /// Looks for these values. Those shorter than [`SECRET_BYTES_MIN`] are left out; of a value with several
    /// lines each line is looked for too, since logs are cleaned line by line.
    pub fn new<S: AsRef<str>>(values: impl IntoIterator<Item = S>) -> Self {
        let mut needles = Vec::new();
        for value in values {
            let value = value.as_ref();
            let lines = value.lines().map(str::trim);
            for part in [value, value.trim()].into_iter().chain(lines) {
                if part.len() >= SECRET_BYTES_MIN {
                    needles.extend(forms(part));
                }
            }
        }
        needles.sort();
        needles.dedup();
        Self { needles }
    }

    /// `text` with every value replaced by [`REDACTED`]; overlapping ones by a single one.
    pub fn clean<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let spans = self.spans(text);
        if spans.is_empty() {
            return Cow::Borrowed(text);
        }
        let mut out = String::with_capacity(text.len());
        let mut at = 0;
        for span in spans {
            out.push_str(&text[at..span.start]);
            out.push_str(REDACTED);
            at = span.end;
        }
        out.push_str(&text[at..]);
        Cow::Owned(out)
    }

    fn spans(&self, text: &str) -> Vec<Range<usize>> {
        let mut found: Vec<Range<usize>> = Vec::new();
        for needle in &self.needles {
            let mut from = 0;
            while let Some(at) = text[from..].find(needle) {
                let start = from + at;
                found.push(start..start + needle.len());
                // One character on, not past the match: overlapping occurrences are parts of one secret run.
                from = text.ceil_char_boundary(start + 1);
            }
        }
        found.sort_by_key(|span| span.start);
        let mut merged: Vec<Range<usize>> = Vec::new();
        for span in found {
            match merged.last_mut() {
                Some(last) if span.start <= last.end => last.end = last.end.max(span.end),
                Some(_) | None => merged.push(span),
            }
        }
        merged
    }
}

fn forms(value: &str) -> Vec<String> {
    let mut forms = vec![value.to_owned()];
    let json = serde_json::to_string(value).expect("a string is JSON");
    forms.push(json[1..json.len() - 1].to_owned());
    for (escape_all, upper) in [(false, true), (false, false), (true, true), (true, false)] {
        forms.push(url_encoded(value, escape_all, upper));
    }
    for offset in 0..3 {
        let inner = base64_inner(value.as_bytes(), offset);
        // A few letters would match ordinary words.
        if inner.len() >= SECRET_BYTES_MIN {
            forms.push(inner.replace('+', "-").replace('/', "_"));
            forms.push(inner);
        }
    }
    forms
}

/// Percent-encoding of everything but RFC 3986's unreserved characters, or of every byte that is not
/// alphanumeric.
fn url_encoded(value: &str, escape_all: bool, upper: bool) -> String {
    value.bytes().fold(String::new(), |mut out, byte| {
        let unreserved = matches!(byte, b'-' | b'.' | b'_' | b'~');
        let plain = byte.is_ascii_alphanumeric() || (unreserved && !escape_all);
        match (plain, upper) {
            (true, _) => out.push(char::from(byte)),
            (false, true) => write!(out, "%{byte:02X}").expect("writing to a String cannot fail"),
            (false, false) => write!(out, "%{byte:02x}").expect("writing to a String cannot fail"),
        }
        out
    })
}

/// The base64 digits that depend on `value` alone when `offset` (0–2, mod 3) unknown bytes stand before it.
fn base64_inner(value: &[u8], offset: usize) -> String {
    let mut bits = vec![0_u8; offset];
    bits.extend_from_slice(value);
    let digits = (0..bits.len() * 8 / 6).map(|index| {
        let bit = index * 6;
        let high = u16::from(bits[bit / 8]) << 8;
        let low = bits.get(bit / 8 + 1).copied().map_or(0, u16::from);
        let six = ((high | low) >> (10 - bit % 8)) & 0x3f;
        char::from(BASE64[usize::from(six)])
    });
    // The first digits mix with the unknown bytes; a last, incomplete digit was never counted.
    digits.skip((offset * 8).div_ceil(6)).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECRET: &str = "s3cr3t/+key?";

    fn clean(text: &str) -> String {
        Redactor::new([SECRET, "short"]).clean(text).into_owned()
    }

    #[test]
    fn plain_and_escaped_values_are_replaced() {
        assert_eq!(clean("token=s3cr3t/+key?!"), "token=[redacted]!");
        assert_eq!(clean("u=s3cr3t%2F%2Bkey%3F&x"), "u=[redacted]&x");
        assert_eq!(clean("u=s3cr3t%2f%2bkey%3f&x"), "u=[redacted]&x");
        let json = Redactor::new(["pass\"word\\"]);
        assert_eq!(json.clean(r#"{"a":"pass\"word\\"}"#), r#"{"a":"[redacted]"}"#);
    }

    #[test]
    fn base64_is_found_wherever_the_value_stands() {
        // printf '%s' 's3cr3t/+key?' | base64, and with one and two bytes before it.
        for encoded in ["czNjcjN0LytrZXk/", "eHMzY3IzdC8ra2V5Pw==", "eHlzM2NyM3QvK2tleT8="] {
            assert!(clean(encoded).contains(REDACTED), "{encoded}");
        }
        assert!(
            clean("czNjcjN0LytrZXk_").contains(REDACTED),
            "the alphabet of URLs"
        );
    }

    #[test]
    fn short_values_and_clean_text_are_left_alone() {
        assert!(matches!(
            Redactor::new(["short"]).clean("a short text"),
            Cow::Borrowed("a short text")
        ));
        assert_eq!(Redactor::default().clean("x"), "x");
    }

    #[test]
    fn every_line_of_a_key_is_looked_for() {
        let redactor = Redactor::new(["-----BEGIN-----\nAAAABBBBCCCC\n-----END-----\n"]);
        assert_eq!(redactor.clean("log: AAAABBBBCCCC"), "log: [redacted]");
    }

    #[test]
    fn overlapping_values_leave_no_rest() {
        let redactor = Redactor::new(["abcdefgh", "efghijkl"]);
        assert_eq!(redactor.clean("x abcdefghijkl y"), "x [redacted] y");
        assert_eq!(Redactor::new(["ababab"]).clean("abababab"), "[redacted]");
    }

    #[test]
    fn debug_shows_no_value() {
        assert!(!format!("{:?}", Redactor::new([SECRET])).contains("s3cr3t"));
    }

    proptest! {
        #[test]
        fn no_value_survives(before in "[a-z ]{0,9}", secret in "[!-~äß]{6,20}", after in "[a-z ]{0,9}") {
            let redactor = Redactor::new([&secret]);
            let cleaned = redactor.clean(&format!("{before}{secret}{after}")).into_owned();
            prop_assert!(!cleaned.replace(REDACTED, "").contains(&secret));
        }
    }
}
