//! Text from outside made safe to show, and the one way durations are written.

use std::borrow::Cow;

/// `text` without escape sequences, control characters (but newline and tab), and characters that reorder,
/// join or hide what is around them. What remains can neither steer a terminal nor look like something else by
/// invisible means.
pub fn sanitize(text: &str) -> String {
    let plain: Cow<'_, str> = console::strip_ansi_codes(text);
    plain.chars().filter(|c| is_visible(*c)).collect()
}

/// As [`sanitize`], on one line of at most `chars_max` characters; what is cut off is told by `…`.
pub fn one_line(text: &str, chars_max: usize) -> String {
    let clean = sanitize(text);
    let mut words = String::new();
    for word in clean.split_whitespace() {
        if !words.is_empty() {
            words.push(' ');
        }
        words.push_str(word);
    }
    if words.chars().count() <= chars_max {
        return words;
    }
    let mut cut: String = words.chars().take(chars_max.saturating_sub(1)).collect();
    cut.push('…');
    cut
}

fn is_visible(c: char) -> bool {
    match c {
        '\n' | '\t' => true,
        // Zero-width and invisible formatting, bidirectional controls, variation and tag characters.
        '\u{ad}'
        | '\u{34f}'
        | '\u{61c}'
        | '\u{115f}'
        | '\u{1160}'
        | '\u{17b4}'
        | '\u{17b5}'
        | '\u{180b}'..='\u{180f}'
        | '\u{200b}'..='\u{200f}'
        | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}'
        | '\u{3164}'
        | '\u{fe00}'..='\u{fe0f}'
        | '\u{feff}'
        | '\u{ffa0}'
        | '\u{fff9}'..='\u{fffb}'
        | '\u{e0000}'..='\u{e0fff}' => false,
        other => !other.is_control(),
    }
}

/// A duration for people: `0.3s`, `12.4s`, `3m12s`, `2h05m`.
pub fn duration(ms: u64) -> String {
    let seconds = ms / 1000;
    if seconds < 60 {
        return format!("{}.{}s", seconds, ms % 1000 / 100);
    }
    if seconds < 3600 {
        return format!("{}m{:02}s", seconds / 60, seconds % 60);
    }
    format!("{}h{:02}m", seconds / 3600, seconds % 3600 / 60)
}

/// `text` as a Markdown code block it cannot break out of: the fence is longer than any run of its backticks.
pub fn fenced(text: &str) -> String {
    let clean = sanitize(text);
    let longest = clean.split(|c| c != '`').map(str::len).max().unwrap_or(0);
    let fence = "`".repeat(longest.max(2) + 1);
    format!("{fence}text\n{}\n{fence}\n", clean.trim_end_matches('\n'))
}

/// One line of untrusted text as Markdown code within a sentence.
pub fn inline_code(text: &str) -> String {
    let clean = one_line(text, 500);
    let longest = clean.split(|c| c != '`').map(str::len).max().unwrap_or(0);
    let fence = "`".repeat(longest + 1);
    let pad = if clean.starts_with('`') || clean.ends_with('`') {
        " "
    } else {
        ""
    };
    format!("{fence}{pad}{clean}{pad}{fence}")
}
