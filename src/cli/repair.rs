//! Which branch is a repair's own: what `pipeline resolve` made says so itself, a name alone proves nothing.
//!
//! A record is a small commit of ours at `refs/pipeline/repairs/<pipeline>/<unit>`, from when the branch was made until the
//! repair is closed. As long as the worktree of a repair stands on the branch, or is registered there, that counts as much.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::context::Context;
use super::failure::Failure;
use crate::git::{RecordText, WorktreeInfo};
use crate::id::{Oid, UnitId};

/// Below this prefix are the records of all pipelines.
const REPAIRS: &str = "refs/pipeline/repairs/";
/// The version of a record.
const VERSION: u32 = 1;

/// What a repair made.
#[derive(Debug, Serialize, Deserialize)]
struct Record {
    version: u32,
    unit: UnitId,
    branch: String,
    worktree: PathBuf,
}

/// Where a person repairs a unit.
pub(super) struct Repair {
    /// The name of the pipeline.
    pub(super) pipeline: String,
    pub(super) unit: UnitId,
    /// The branch, without `refs/heads/`.
    pub(super) branch: String,
    /// The worktree.
    pub(super) path: PathBuf,
}

/// A branch with the name of a repair's.
pub(super) enum Named {
    /// There is none.
    Nothing,
    /// The repair made it, and it is at this commit.
    Own(Oid),
    /// The repair made it, and a person has it checked out here by now.
    Lent(PathBuf),
    /// Nothing says that a repair made it.
    Foreign,
}

impl Repair {
    fn record_name(&self) -> String {
        format!("{REPAIRS}{}/{}", self.pipeline, self.unit)
    }

    /// Whose the branch of this name is.
    pub(super) fn named(&self, context: &Context) -> Result<Named, Failure> {
        let repository = &context.repository;
        let Some(tip) = repository.tip(&self.branch)? else {
            return Ok(Named::Nothing);
        };
        let on_branch = |tree: &WorktreeInfo| tree.branch.as_ref() == Some(&self.branch);
        let (here, elsewhere): (Vec<_>, Vec<_>) = repository
            .worktrees()?
            .into_iter()
            .filter(on_branch)
            .partition(|tree| is_at(&tree.path, &self.path));
        Ok(if here.is_empty() && !self.is_recorded(context)? {
            Named::Foreign
        } else {
            let lent = elsewhere.into_iter().next();
            lent.map_or(Named::Own(tip), |tree| Named::Lent(tree.path))
        })
    }

    fn is_recorded(&self, context: &Context) -> Result<bool, Failure> {
        let name = self.record_name();
        let records = context.repository.refs_below(&name)?;
        Ok(records.iter().any(|(found, _)| *found == name))
    }

    /// Says that the branch, which was made at that commit, is the repair's.
    pub(super) fn record(&self, context: &Context, start: &Oid) -> Result<(), Failure> {
        let record = Record {
            version: VERSION,
            unit: self.unit.clone(),
            branch: self.branch.clone(),
            worktree: self.path.clone(),
        };
        let name = self.record_name();
        let text = RecordText {
            tree: context.repository.tree_of(start)?,
            parents: vec![start.clone()],
            text: serde_json::to_string_pretty(&record).expect("a record is plain data"),
            name: name.clone(),
        };
        Ok(context.repository.write_records(&name, &[text])?)
    }

    /// Says no more that a branch of this name is the repair's, and deletes it in the same step when it is to go, at this
    /// commit.
    pub(super) fn forget(&self, context: &Context, branch_at: Option<&Oid>) -> Result<(), Failure> {
        let branch = (format!("refs/heads/{}", self.branch), branch_at.cloned());
        let branch = Some(branch).filter(|(_, at)| at.is_some());
        let record = (self.record_name(), None);
        let refs: Vec<(String, Option<Oid>)> = branch.into_iter().chain([record]).collect();
        Ok(context.repository.delete_refs(&refs)?)
    }
}

/// Whether git means this folder, which may be gone, by that path.
pub(super) fn is_at(path: &Path, folder: &Path) -> bool {
    let in_real_parent = || Some(folder.parent()?.canonicalize().ok()?.join(folder.file_name()?));
    path == folder || in_real_parent().is_some_and(|real| real == path)
}
