//! Secret-looking strings in what the work adds.

use crate::event::{GuardAction, GuardHit, Reason};

use super::{DiffFacts, added_lines, hit, shown};

/// Prefix, least number of further characters, and what it is.
const TOKENS: [(&str, usize, &str); 14] = [
    ("AKIA", 16, "an AWS access key"),
    ("ASIA", 16, "an AWS access key"),
    ("ghp_", 36, "a GitHub token"),
    ("gho_", 36, "a GitHub token"),
    ("ghu_", 36, "a GitHub token"),
    ("ghs_", 36, "a GitHub token"),
    ("ghr_", 36, "a GitHub token"),
    ("github_pat_", 40, "a GitHub token"),
    ("xoxb-", 20, "a Slack token"),
    ("xoxp-", 20, "a Slack token"),
    ("xoxa-", 20, "a Slack token"),
    ("sk-ant-", 30, "an Anthropic key"),
    ("AIza", 35, "a Google key"),
    ("glpat-", 20, "a GitLab token"),
];

/// Names that announce a secret, lower-case, `_` and `-` removed.
const NAMES: [&str; 9] = [
    "apikey",
    "secret",
    "token",
    "password",
    "passwd",
    "privatekey",
    "accesskey",
    "clientsecret",
    "authkey",
];

/// Shortest value taken for a generic secret.
const VALUE_CHARS_MIN: usize = 20;
/// Least entropy of such a value, in bits a character; English words stay below.
const ENTROPY_MIN: f64 = 3.5;

pub(super) fn secret_in_diff(facts: &DiffFacts) -> Option<GuardHit> {
    let mut places = Vec::new();
    for file in &facts.files {
        for (number, line) in added_lines(file) {
            if let Some(what) = secret_in(line) {
                places.push(format!("{}:{number} ({what})", shown(&file.path)));
            }
        }
    }
    hit(
        Reason::SecretInDiff,
        GuardAction::Refuse,
        "adds what looks like a secret",
        &places,
    )
}

fn secret_in(line: &str) -> Option<&'static str> {
    if line.contains("-----BEGIN ") && line.contains("PRIVATE KEY") {
        return Some("a private key");
    }
    TOKENS
        .iter()
        .find(|(prefix, least, _)| has_token(line, prefix, *least))
        .map(|(_, _, what)| *what)
        .or_else(|| is_assigned_secret(line).then_some("a secret value"))
}

fn has_token(line: &str, prefix: &str, least: usize) -> bool {
    line.match_indices(prefix).any(|(at, _)| {
        let starts_word = !line[..at].ends_with(|c: char| c.is_ascii_alphanumeric());
        let body = &line[at + prefix.len()..];
        let length = body
            .bytes()
            .take_while(|b| b.is_ascii_alphanumeric() || *b == b'_' || *b == b'-')
            .count();
        starts_word && length >= least
    })
}

/// `api_key = "…"` with a quoted value that is long, in one piece and looks random.
fn is_assigned_secret(line: &str) -> bool {
    let Some(at) = line.find(['=', ':']) else {
        return false;
    };
    let name: String = line[..at]
        .to_ascii_lowercase()
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .collect();
    if !NAMES.iter().any(|known| name.contains(known)) {
        return false;
    }
    ['"', '\'', '`']
        .iter()
        .any(|quote| line[at + 1..].split(*quote).skip(1).step_by(2).any(looks_random))
}

fn looks_random(value: &str) -> bool {
    let in_one_piece = value
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || b"+/=_-.".contains(&b));
    let mixed = value.bytes().any(|b| b.is_ascii_digit()) && value.bytes().any(|b| b.is_ascii_alphabetic());
    value.len() >= VALUE_CHARS_MIN && in_one_piece && mixed && entropy(value) >= ENTROPY_MIN
}

/// Shannon entropy in bits a byte.
fn entropy(value: &str) -> f64 {
    let mut counts = [0u32; 256];
    for byte in value.bytes() {
        counts[usize::from(byte)] += 1;
    }
    let total = value.len() as f64;
    counts
        .iter()
        .filter(|count| **count > 0)
        .map(|count| f64::from(*count) / total)
        .map(|share| -share * share.log2())
        .sum()
}
