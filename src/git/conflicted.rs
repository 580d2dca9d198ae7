//! A merge with its conflicts in place, as git leaves one: markers in the files and the sides in the index.

use super::integrate::{IntegrateUnit, Merged};
use super::invoke::Call;
use super::repository::Repository;
use super::{ChangedFile, Result};
use crate::id::Oid;

/// What git makes of a unit on a base where the two conflict.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflicted {
    /// The files: merged where that was possible, with markers or one side where it was not.
    pub tree: Oid,
    /// The unmerged entries of the index, as `update-index --index-info -z` reads them.
    pub(super) unmerged: Vec<u8>,
}

impl Repository {
    /// Puts `unit` onto `onto` in memory, as one change, and keeps what conflicts as git would leave it in a worktree.
    ///
    /// # Errors
    /// When git fails.
    pub fn conflicted(&self, onto: &Oid, unit: &IntegrateUnit) -> Result<Conflicted> {
        let counted_from = self.counted_from(&unit.base, onto)?;
        Ok(match self.merge_by_git(onto, onto, &unit.head, counted_from)? {
            Merged::Clean(tree) => Conflicted {
                tree,
                unmerged: Vec::new(),
            },
            Merged::Conflicts { tree, unmerged, .. } => Conflicted { tree, unmerged },
        })
    }

    /// Puts the unmerged entries into the index that `git` works with, in the place of the merged ones.
    pub(super) fn mark_unmerged(
        &self,
        git: impl Fn(Call) -> Call,
        call: Call,
        merge: &Conflicted,
    ) -> Result<()> {
        if merge.unmerged.is_empty() {
            return Ok(());
        }
        let mut lines = Vec::new();
        for entry in merge.unmerged.split(|byte| *byte == 0) {
            if let Some(tab) = entry.iter().position(|byte| *byte == b'\t') {
                lines.extend_from_slice(format!("0 {}\t", "0".repeat(40)).as_bytes());
                lines.extend_from_slice(&entry[tab + 1..]);
                lines.push(0);
            }
        }
        lines.extend_from_slice(&merge.unmerged);
        let call = git(call)
            .args(["update-index", "-z", "--index-info"])
            .stdin(lines);
        self.output(&call).map(drop)
    }

    /// Paths in which the change from `base` to `commit` has conflict markers that `base` does not have: a conflict that
    /// was committed as it stood.
    ///
    /// # Errors
    /// When one of them is not there, or an object is missing.
    pub fn conflict_markers(&self, base: &Oid, commit: &Oid) -> Result<Vec<String>> {
        let files = self.changed_files(base, commit)?;
        Ok(with_new_markers(files).collect())
    }
}

fn with_new_markers(files: Vec<ChangedFile>) -> impl Iterator<Item = String> {
    let left =
        |file: &ChangedFile| has_markers(file.new_text.as_ref()) && !has_markers(file.old_text.as_ref());
    files.into_iter().filter(left).map(|file| file.path)
}

fn has_markers(text: Option<&String>) -> bool {
    let line = |start: &str| {
        let mut lines = text.iter().flat_map(|text| text.lines());
        lines.any(|line| line.starts_with(start))
    };
    line("<<<<<<< ") && line(">>>>>>> ")
}
