//! The message of a unit's one commit.
//!
//! The title comes from the pipeline file, so it is made harmless: one line, no control characters, and never
//! anything that could be read as a trailer.

use crate::id::RunId;
use crate::spec::{CommitSettings, Convention, Unit};

/// Longest title, in characters; what git hosts show without cutting is shorter, what they accept is longer.
const TITLE_CHARS_MAX: usize = 200;

/// The message: title, then trailers `Pipeline-Run`, `Pipeline-Unit`, `Pipeline-Inputs`, and where they apply
/// `Ticket` and `Signed-off-by`. `inputs` is the digest of what went into the unit; `signer` is `Name <email>`.
pub fn commit_message(
    unit: &Unit,
    settings: &CommitSettings,
    run: &RunId,
    inputs: &str,
    signer: Option<&str>,
) -> String {
    let plain = one_line(&unit.title);
    let plain = if plain.is_empty() {
        unit.id.to_string()
    } else {
        plain
    };
    let title = match settings.convention {
        Convention::Conventional if !is_conventional(&plain) => format!("feat: {plain}"),
        Convention::Conventional | Convention::None => plain,
    };
    let title: String = title.chars().take(TITLE_CHARS_MAX).collect();
    let mut trailers = vec![
        ("Pipeline-Run", run.to_string()),
        ("Pipeline-Unit", unit.id.to_string()),
        ("Pipeline-Inputs", one_line(inputs)),
    ];
    trailers.extend(unit.ticket.as_deref().map(|ticket| ("Ticket", one_line(ticket))));
    if settings.signoff {
        trailers.extend(signer.map(|signer| ("Signed-off-by", one_line(signer))));
    }
    let trailers: String = trailers
        .iter()
        .filter(|(_, value)| !value.is_empty())
        .map(|(key, value)| format!("{key}: {value}\n"))
        .collect();
    format!("{}\n\n{trailers}", title.trim_end())
}

/// The title of a commit that a fix stage adds to a branch.
pub fn fix_title(branch: &str, round: u32) -> String {
    format!("fix: mend {branch} (round {round})")
}

/// Whether a title is `type(scope)!: description`.
fn is_conventional(title: &str) -> bool {
    let Some((head, description)) = title.split_once(": ") else {
        return false;
    };
    let head = head.strip_suffix('!').unwrap_or(head);
    let (kind, scope_is_fine) = match head.split_once('(') {
        Some((kind, scope)) => {
            let inner = scope.strip_suffix(')').unwrap_or("");
            (kind, !inner.is_empty() && !inner.contains(['(', ')']))
        }
        None => (head, true),
    };
    let known = !kind.is_empty() && kind.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    known && scope_is_fine && !description.trim().is_empty()
}

/// One line without control characters or direction marks, inner blanks collapsed.
fn one_line(text: &str) -> String {
    let visible: String = text
        .chars()
        .map(|c| {
            if c.is_control() || c == '\u{2028}' || c == '\u{2029}' {
                ' '
            } else {
                c
            }
        })
        .filter(|c| !matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'))
        .collect();
    visible.split_whitespace().collect::<Vec<_>>().join(" ")
}
