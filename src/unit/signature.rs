//! What makes two failures of a check the same failure.

/// Longest normalised message, in characters.
const MESSAGE_CHARS_MAX: usize = 200;

/// Lines that name a failing test, by what stands around the name: Rust, Go, pytest, TAP, jest, JUnit-like.
const TEST_MARKS: [(&str, &str); 7] = [
    ("test ", " ... FAILED"),
    ("---- ", " stdout ----"),
    ("--- FAIL: ", ""),
    ("FAILED ", ""),
    ("not ok ", ""),
    ("✕ ", ""),
    ("● ", ""),
];

/// Words that mark the message of a failure.
const MESSAGE_MARKS: [&str; 8] = [
    "panicked at",
    "assert",
    "error",
    "exception",
    "expected",
    "fatal",
    "failed",
    "fail",
];

/// The signature of a failed check: its name, the first failing test, and the message with numbers, hex, paths and
/// durations taken out. Equal signatures mean that a fix changed nothing about the failure.
pub fn failure_signature(check: &str, output: &str) -> String {
    let lines = || output.lines().map(str::trim).filter(|line| !line.is_empty());
    let test = lines().find_map(test_name).unwrap_or_default();
    let marked = MESSAGE_MARKS.iter().find_map(|mark| {
        lines().find(|line| line.to_ascii_lowercase().contains(mark) && test_name(line).is_none())
    });
    let message = marked.or_else(|| lines().next_back()).unwrap_or_default();
    let message: String = normalised(message).chars().take(MESSAGE_CHARS_MAX).collect();
    format!("{check}: {}: {message}", normalised_test(&test))
}

fn test_name(line: &str) -> Option<String> {
    TEST_MARKS.iter().find_map(|(before, after)| {
        let rest = line.strip_prefix(before)?;
        let name = if after.is_empty() {
            rest
        } else {
            rest.strip_suffix(after)?
        };
        let name = name.split(" - ").next().unwrap_or(name);
        Some(name.trim().to_owned())
    })
}

/// A test's name keeps its digits, but not a time such as `(0.02s)` at its end.
fn normalised_test(name: &str) -> String {
    match name.rsplit_once(" (") {
        Some((stem, time)) if time.ends_with(')') && time.starts_with(|c: char| c.is_ascii_digit()) => {
            stem.to_owned()
        }
        Some(_) | None => name.to_owned(),
    }
}

fn normalised(line: &str) -> String {
    line.split_whitespace()
        .map(|word| {
            let core = word.trim_matches(|c: char| !c.is_alphanumeric() && c != '/');
            if core.contains('/') || core.contains('\\') {
                return "<path>".to_owned();
            }
            let is_hash = core.len() >= 7
                && core.bytes().all(|b| b.is_ascii_hexdigit())
                && core.bytes().any(|b| b.is_ascii_digit());
            if core.starts_with("0x") || is_hash {
                return "<hex>".to_owned();
            }
            without_numbers(word)
        })
        .collect::<Vec<_>>()
        .join(" ")
}

/// Each run of digits, with its decimal point and its unit of time, becomes `<n>`.
fn without_numbers(word: &str) -> String {
    let mut text = String::new();
    let mut rest = word;
    while let Some(start) = rest.find(|c: char| c.is_ascii_digit()) {
        text.push_str(&rest[..start]);
        text.push_str("<n>");
        rest = rest[start..].trim_start_matches(|c: char| c.is_ascii_digit() || c == '.');
        for unit in ["ms", "µs", "us", "ns", "s", "m"] {
            let after = rest.strip_prefix(unit);
            if let Some(after) = after.filter(|after| !after.starts_with(|c: char| c.is_alphanumeric())) {
                rest = after;
                break;
            }
        }
    }
    text.push_str(rest);
    text
}
