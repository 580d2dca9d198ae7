//! The agent's own files, taken from the base commit; [`LocalLauncher`](super::LocalLauncher) states the rule.

use std::io;
use std::path::{Component, Path};

use crate::git::{self, Repository};
use crate::id::Oid;

use super::place::{self, Place};

/// Why an agent's files could not be provided.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// The program is not in the base commit; commit it there.
    #[error(
        "`{0}` is not a file of the base commit, which is where an agent's own files come from; commit it to the target branch"
    )]
    NotInBase(String),
    /// The repository cannot be read.
    #[error("the agent's files cannot be read from the base commit: {0}")]
    Git(#[from] git::Error),
    /// The file cannot be written.
    #[error("the agent's files cannot be written: {0}")]
    Io(#[from] io::Error),
}

/// Writes the files that `argv` names below `place.agent`, and returns `argv` with their paths.
pub(super) fn materialise(
    repository: &Repository,
    base: &Oid,
    commit: &Oid,
    place: &Place,
    argv: &[String],
) -> Result<Vec<String>, Error> {
    let mut absolute = Vec::with_capacity(argv.len());
    for (at, word) in argv.iter().enumerate() {
        let is_program = at == 0;
        if is_program && (!word.contains('/') || word.starts_with('/')) {
            absolute.push(word.clone());
            continue;
        }
        let path = plain_relative(word);
        let content = match &path {
            Some(path) => repository.read_file(base, path)?,
            None => None,
        };
        match (path, content) {
            (Some(path), Some(content)) => {
                let file = place.agent.join(&path);
                // The same file may be named twice.
                if !file.exists() {
                    place::write_read_only(&place.agent, Path::new(&path), &content, 0o555)?;
                }
                absolute.push(file.to_string_lossy().into_owned());
            }
            _ if is_program => return Err(Error::NotInBase(word.clone())),
            // Only the work itself has it: what is judged must not bring its own judge.
            (Some(path), None) if commit != base && repository.read_file(commit, &path)?.is_some() => {
                return Err(Error::NotInBase(word.clone()));
            }
            _ => absolute.push(word.clone()),
        }
    }
    place::seal(&place.agent)?;
    Ok(absolute)
}

/// A path from the repository root as git writes it, if `word` can be one.
fn plain_relative(word: &str) -> Option<String> {
    if word.is_empty() || word.starts_with('-') || word.contains(['\0', '\n']) {
        return None;
    }
    let mut parts = Vec::new();
    for component in Path::new(word).components() {
        match component {
            Component::CurDir => {}
            Component::Normal(part) => parts.push(part.to_str()?),
            Component::ParentDir | Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    (!parts.is_empty()).then(|| parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_relative_path_without_detours_can_be_a_file_of_the_base() {
        assert_eq!(
            plain_relative("./scripts//review.sh").as_deref(),
            Some("scripts/review.sh")
        );
        assert_eq!(plain_relative("review").as_deref(), Some("review"));
        for other in ["", "/bin/sh", "../x", "a/../b", "-c", ".", "a\nb"] {
            assert_eq!(plain_relative(other), None, "{other}");
        }
    }
}
