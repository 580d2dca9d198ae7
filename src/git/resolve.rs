//! A worktree for a person who repairs a unit: an ordinary one, on a branch, with the conflict in place.

use std::path::Path;

use super::invoke::{failed, nul_items};
use super::repository::Repository;
use super::{Error, Result};
use crate::id::Oid;

impl Repository {
    /// Makes an ordinary linked worktree at `path` on a new branch of ours at `commit`, with the person's own
    /// settings. `git push` there needs no arguments.
    ///
    /// # Errors
    /// [`Error::ForeignRef`] when `branch` (with or without `refs/heads/`) is not below `pipeline/`; when the branch or
    /// the path is taken.
    pub fn add_person_worktree(&self, path: &Path, branch: &str, commit: &Oid) -> Result<()> {
        let short = branch.strip_prefix("refs/heads/").unwrap_or(branch);
        let full = format!("refs/heads/{short}");
        if !short.starts_with("pipeline/") || !git2::Reference::is_valid_name(&full) {
            return Err(Error::ForeignRef(full));
        }
        let _lock = self.lock_worktrees()?;
        let call = self
            .personal(self.common_dir())
            .env("GIT_DIR", self.common_dir())
            .args([
                "worktree",
                "add",
                "--quiet",
                "--no-track",
                "-b",
                short,
                "--end-of-options",
            ])
            .arg(path)
            .arg(commit.as_str());
        self.output(&call)?;
        self.set_up_push(path)
    }

    /// Settings of one worktree need an extension of the repository, which changes what some keys mean; where these
    /// are set, the person goes without.
    fn set_up_push(&self, worktree: &Path) -> Result<()> {
        let is_set = |pattern: &str| -> Result<bool> {
            let call = self.shared().args(["config", "--local", "--get-regexp", pattern]);
            Ok(self.invoker().run(&call)?.status.success())
        };
        if !is_set("^extensions\\.worktreeconfig$")? {
            let bare = self
                .shared()
                .args(["config", "--local", "--type=bool", "--get", "core.bare"]);
            if is_set("^core\\.worktree$")? || self.invoker().run(&bare)?.stdout.starts_with(b"true") {
                return Ok(());
            }
            self.output(
                &self
                    .shared()
                    .args(["config", "--local", "extensions.worktreeConfig", "true"]),
            )?;
        }
        let call = self
            .personal(worktree)
            .args(["config", "--worktree", "push.autoSetupRemote", "true"]);
        self.output(&call).map(drop)
    }

    /// Paths in `worktree` that are not committed: changed, staged, unmerged or untracked.
    ///
    /// # Errors
    /// When git fails there.
    pub fn uncommitted(&self, worktree: &Path) -> Result<Vec<String>> {
        let call = self
            .personal(worktree)
            .args(["status", "--porcelain=v1", "--no-renames", "-z"]);
        let output = self.output(&call)?;
        let paths = nul_items(&output).filter_map(|item| item.get(3..));
        Ok(paths
            .map(|path| String::from_utf8_lossy(path).into_owned())
            .collect())
    }

    /// Puts the change of `head` onto `base` into `worktree`, which becomes clean at `base` first: conflicts stand in
    /// the files with markers and in the index with their stages; what does not conflict is staged. The change is what
    /// `head` adds to `from`, where that is given, and otherwise to what it has in common with `base`. False when nothing
    /// conflicts.
    ///
    /// # Errors
    /// When the worktree has work in it, or git fails. A conflict is what is wanted.
    pub fn start_merge_conflict(
        &self,
        worktree: &Path,
        base: &Oid,
        head: &Oid,
        from: Option<&Oid>,
    ) -> Result<bool> {
        let here = self
            .invoker()
            .line(&self.personal(worktree).args(["rev-parse", "--verify", "HEAD"]))?;
        if here != base.as_str() {
            let call = self
                .personal(worktree)
                .args(["reset", "--quiet", "--keep", base.as_str()]);
            self.output(&call)?;
        }
        let here = || self.personal(worktree);
        let call = match from {
            // Squashed, so that the person's commit has one parent and the message is offered to them.
            None => here()
                .args([
                    "merge",
                    "--quiet",
                    "--squash",
                    "--no-commit",
                    "--no-rerere-autoupdate",
                ])
                .args(["--end-of-options", head.as_str()]),
            Some(from) => {
                let tree = format!("{head}^{{tree}}");
                let message = "what is to be brought here";
                let squash = here().args(["commit-tree", "-p", from.as_str(), "-m", message, tree.as_str()]);
                let change = self.invoker().line(&squash)?;
                here()
                    .args(["cherry-pick", "--no-commit", "--no-rerere-autoupdate"])
                    .args([change.as_str()])
            }
        };
        let output = self.invoker().run(&call)?;
        let unmerged = self.output(&self.personal(worktree).args(["ls-files", "-z", "--unmerged"]))?;
        if output.status.success() || !unmerged.is_empty() {
            return Ok(!unmerged.is_empty());
        }
        Err(failed(&call, &output))
    }
}
