//! Deterministic guards on an author's work: no model is asked.
//!
//! Every guard is a function of the unit, the settings and the facts of the diff. A hit says what follows from it:
//! a note, a gate for a person, or a refusal of the attempt. No sentence ever quotes the content of a file, so that
//! a secret that is found is not spread.

mod secrets;
mod weakened;

use ignore::gitignore::{Gitignore, GitignoreBuilder};

use crate::event::{GuardAction, GuardHit, Reason, listed};
use crate::id::{Oid, UnitId};
use crate::spec::{Guards, Unit};

/// The file mode of a submodule.
const MODE_SUBMODULE: u32 = 0o160_000;
/// The file mode of a symbolic link.
const MODE_SYMLINK: u32 = 0o120_000;

/// What an author's work changes, against the unit's base.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DiffFacts {
    /// One entry a path.
    pub files: Vec<FileChange>,
}

/// One changed path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileChange {
    /// The path, from the repository root; the old one when it was deleted.
    pub path: String,
    /// The path before a rename.
    pub old_path: Option<String>,
    /// What happened to it.
    pub status: ChangeStatus,
    /// Git's mode before; 0 when it did not exist.
    pub old_mode: u32,
    /// Git's mode after; 0 when it is gone.
    pub new_mode: u32,
    /// The text before; `None` when absent, binary or too large to look at.
    pub old_text: Option<String>,
    /// The text after; `None` when absent, binary or too large to look at.
    pub new_text: Option<String>,
    /// The blob after; `None` when it is gone.
    pub new_blob: Option<Oid>,
    /// Size of the blob after.
    pub new_bytes: u64,
}

/// What happened to a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ChangeStatus {
    /// It is new.
    Added,
    /// Its content or mode changed.
    Modified,
    /// It is gone.
    Deleted,
    /// It has another name, and perhaps other content.
    Renamed,
    /// It is of another type: file, link or submodule.
    TypeChanged,
}

/// A path that a unit of this run changed when it landed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LandedChange {
    /// The unit that landed.
    pub unit: UnitId,
    /// The path.
    pub path: String,
    /// The blob before that landing; `None` when the path did not exist.
    pub before: Option<Oid>,
}

/// Patterns that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the pattern `{pattern}` is not a gitignore-style pattern: {problem}; correct it in the pipeline file"
)]
pub struct PatternError {
    /// The pattern.
    pub pattern: String,
    /// What is wrong with it.
    pub problem: String,
}

/// Everything the guards find, in a fixed order.
///
/// `extra_protected` are exact paths protected besides the configured patterns: the pipeline file, and files that
/// checks and set-up name. `landed` is what units of this run changed on the target, in landing order.
///
/// # Errors
/// When a pattern of the unit or of the settings is malformed: a guard that cannot be evaluated must not pass.
pub fn inspect(
    unit: &Unit,
    guards: &Guards,
    extra_protected: &[String],
    facts: &DiffFacts,
    landed: &[LandedChange],
) -> Result<Vec<GuardHit>, PatternError> {
    let protected = protected_paths(&guards.protected_paths, extra_protected, facts)?;
    let outside = outside_paths(unit, guards, facts)?;
    let hits = [
        too_large(guards, facts),
        secrets::secret_in_diff(facts),
        outside,
        protected,
        reverts_landed(unit, facts, landed),
        weakened::tests_weakened(unit, facts),
    ];
    Ok(hits.into_iter().flatten().collect())
}

fn matcher(patterns: &[String]) -> Result<Gitignore, PatternError> {
    let mut builder = GitignoreBuilder::new("");
    for pattern in patterns {
        builder.add_line(None, pattern).map_err(|problem| PatternError {
            pattern: pattern.clone(),
            problem: problem.to_string(),
        })?;
    }
    builder.build().map_err(|problem| PatternError {
        pattern: patterns.join(" "),
        problem: problem.to_string(),
    })
}

fn covers(matcher: &Gitignore, path: &str) -> bool {
    // The matcher asserts that a path is relative; one that is not cannot come from a tree, and is not claimed.
    !path.starts_with('/') && matcher.matched_path_or_any_parents(path, false).is_ignore()
}

/// Both names of a change.
fn names(file: &FileChange) -> impl Iterator<Item = &str> {
    std::iter::once(file.path.as_str()).chain(file.old_path.as_deref())
}

fn protected_paths(
    patterns: &[String],
    extra: &[String],
    facts: &DiffFacts,
) -> Result<Option<GuardHit>, PatternError> {
    let matcher = matcher(patterns)?;
    let mut paths = Vec::new();
    for file in &facts.files {
        let submodule = file.old_mode == MODE_SUBMODULE || file.new_mode == MODE_SUBMODULE;
        if submodule {
            paths.push(format!("{} (a submodule)", shown(&file.path)));
            continue;
        }
        let hit = names(file).find(|name| covers(&matcher, name) || extra.iter().any(|path| path == name));
        if let Some(name) = hit {
            let link = if file.new_mode == MODE_SYMLINK {
                " (a symbolic link)"
            } else {
                ""
            };
            paths.push(format!("{}{link}", shown(name)));
        }
    }
    Ok(hit(
        Reason::ProtectedPath,
        GuardAction::Gate,
        "changes protected paths",
        &paths,
    ))
}

fn outside_paths(unit: &Unit, guards: &Guards, facts: &DiffFacts) -> Result<Option<GuardHit>, PatternError> {
    if unit.paths.is_empty() {
        return Ok(None);
    }
    let matcher = matcher(&unit.paths)?;
    let mut paths: Vec<String> = facts
        .files
        .iter()
        .flat_map(names)
        .filter(|name| !covers(&matcher, name))
        .map(shown)
        .collect();
    paths.dedup();
    let action = if guards.paths_strict {
        GuardAction::Refuse
    } else {
        GuardAction::Note
    };
    Ok(hit(
        Reason::OutsidePaths,
        action,
        "touches paths it does not claim",
        &paths,
    ))
}

fn too_large(guards: &Guards, facts: &DiffFacts) -> Option<GuardHit> {
    let files = facts.files.len();
    let bytes = facts
        .files
        .iter()
        .map(|file| file.new_bytes)
        .fold(0, u64::saturating_add);
    let sentence = if files > guards.files_max as usize {
        format!(
            "The work changes {files} files; {} are allowed.",
            guards.files_max
        )
    } else if bytes > guards.bytes_max {
        format!("The work adds {bytes} bytes; {} are allowed.", guards.bytes_max)
    } else {
        return None;
    };
    Some(GuardHit {
        reason: Reason::TooLarge,
        action: GuardAction::Refuse,
        sentence,
    })
}

fn reverts_landed(unit: &Unit, facts: &DiffFacts, landed: &[LandedChange]) -> Option<GuardHit> {
    let mut paths = Vec::new();
    for change in landed.iter().filter(|change| change.unit != unit.id) {
        let reverted = facts.files.iter().any(|file| {
            let is_new_name = file.path == change.path;
            let is_old_name = file.old_path.as_deref() == Some(change.path.as_str());
            (is_new_name && file.new_blob == change.before) || (is_old_name && change.before.is_none())
        });
        if reverted {
            paths.push(format!("{} (landed by `{}`)", shown(&change.path), change.unit));
        }
    }
    let what = "sets paths back to what they were before another unit landed";
    hit(Reason::RevertsLanded, GuardAction::Gate, what, &paths)
}

/// A hit with its paths, or none without.
fn hit(reason: Reason, action: GuardAction, what: &str, paths: &[String]) -> Option<GuardHit> {
    if paths.is_empty() {
        return None;
    }
    Some(GuardHit {
        reason,
        action,
        sentence: format!("The work {what}: {}.", listed(paths)),
    })
}

/// A path as a sentence may hold it: an author chooses file names, so control characters are escaped.
fn shown(path: &str) -> String {
    path.chars()
        .flat_map(|c| {
            let escaped = c.is_control()
                || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
            if escaped {
                c.escape_unicode().collect::<Vec<_>>()
            } else {
                vec![c]
            }
        })
        .collect()
}

/// Lines of the new text that the old text does not have, with their numbers; a line that occurs more often than
/// before counts as added where the surplus begins.
fn added_lines(file: &FileChange) -> Vec<(usize, &str)> {
    let mut before = std::collections::BTreeMap::new();
    for line in file.old_text.as_deref().unwrap_or_default().lines() {
        *before.entry(line).or_insert(0u32) += 1;
    }
    let mut added = Vec::new();
    for (index, line) in file.new_text.as_deref().unwrap_or_default().lines().enumerate() {
        match before.get_mut(line) {
            Some(left) if *left > 0 => *left -= 1,
            Some(_) | None => added.push((index + 1, line)),
        }
    }
    added
}

#[cfg(test)]
mod tests;
