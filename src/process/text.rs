//! Making hostile output fit to be shown.

/// Removes escape sequences, control characters, and characters that are invisible or turn the direction of
/// writing; line breaks and tabs stay, and a carriage return counts as a line break. Bytes that are not UTF-8
/// become U+FFFD.
pub fn plain_text(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let mut plain = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\u{1b}' => skip_escape(&mut chars),
            '\u{9b}' => skip_parameters(&mut chars),
            '\r' if chars.peek() == Some(&'\n') => {}
            '\r' => plain.push('\n'),
            '\n' | '\t' => plain.push(c),
            _ if c.is_control() || is_deceptive(c) => {}
            _ => plain.push(c),
        }
    }
    plain
}

/// The same on one line: the last line of `bytes` that is not blank, trimmed, at most `chars_max` characters.
pub fn one_line(bytes: &[u8], chars_max: usize) -> String {
    let plain = plain_text(bytes);
    let line = plain.lines().map(str::trim).rfind(|line| !line.is_empty());
    line.unwrap_or_default()
        .replace('\t', " ")
        .chars()
        .take(chars_max)
        .collect()
}

/// Zero-width characters and those that turn the direction of writing.
fn is_deceptive(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// Skips what follows an escape character: a control sequence, a string up to its terminator, or two characters.
fn skip_escape(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) {
    match chars.peek() {
        Some('[') => {
            chars.next();
            skip_parameters(chars);
        }
        Some(']' | 'P' | 'X' | '^' | '_') => {
            chars.next();
            skip_string(chars);
        }
        Some(' '..='/') => {
            chars.next();
            chars.next();
        }
        Some('0'..='~') => {
            chars.next();
        }
        Some(_) | None => {}
    }
}

/// Skips the parameters of a control sequence and its final character.
fn skip_parameters(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) {
    while chars.next_if(|c| (' '..='?').contains(c)).is_some() {}
    chars.next_if(|c| ('@'..='~').contains(c));
}

/// Skips a string command. One that is never closed ends with its line, so that it cannot hide all that follows.
fn skip_string(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) {
    while let Some(c) = chars.next_if(|c| *c != '\n') {
        let escaped_end = c == '\u{1b}' && chars.next_if_eq(&'\\').is_some();
        if escaped_end || c == '\u{7}' || c == '\u{9c}' {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escape_sequences_are_removed_and_words_stay() {
        for (raw, plain) in [
            ("\u{1b}[31mred\u{1b}[0m", "red"),
            ("\u{1b}]0;title\u{7}after", "after"),
            ("\u{1b}]8;;http://x\u{1b}\\link\u{1b}]8;;\u{1b}\\", "link"),
            ("\u{1b}(Bx\u{1b}7y\u{1b}cz", "xyz"),
            ("a\u{9b}2Jb", "ab"),
            ("\u{1b}]never closed\nnext", "\nnext"),
            ("a\u{8}\u{0}\u{7f}b", "ab"),
            ("ab\u{202e}cd\u{200b}e", "abcde"),
            ("50%\r100%\r\ndone", "50%\n100%\ndone"),
            ("\u{1b}", ""),
            ("\u{1b}[", ""),
        ] {
            assert_eq!(plain_text(raw.as_bytes()), plain, "{raw:?}");
        }
    }

    #[test]
    fn bytes_that_are_no_text_are_replaced() {
        assert_eq!(plain_text(b"a\xff\xfeb"), "a\u{fffd}\u{fffd}b");
    }

    #[test]
    fn one_line_is_the_last_that_says_something() {
        assert_eq!(one_line(b"first\n  second\tx \n\n", 200), "second x");
        assert_eq!(one_line("ääää".as_bytes(), 2), "ää");
        assert_eq!(one_line(b"\n\n", 9), "");
    }
}
