//! The private git directory of an attempt.
//!
//! The worktree stays registered, but its `.git` leads to a repository of the attempt's own, which only borrows
//! objects. What an agent commits, stashes or branches stays in there and goes with it, and a judge sees no history
//! but the two commits it judges.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::conflicted::Conflicted;
use super::invoke::{Call, Whose};
use super::objects::{commit_text, person_line};
use super::repository::{Identity, Repository, write_git_dir};
use super::worktree::real_path;
use super::{Error, Result};
use crate::fault;
use crate::id::Oid;

/// The date of commits that are nobody's: 2000-01-01. A date of zero confuses tools.
pub(super) const NEUTRAL_SECONDS: i64 = 946_684_800;

/// What an attempt sees of history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum View {
    /// The commit, with all that came before it.
    Author {
        /// What the files are.
        commit: Oid,
    },
    /// The commit, with the files and the index of a merge into it that is not finished.
    Conflict {
        /// The commit.
        commit: Oid,
        /// The merge.
        merge: Conflicted,
    },
    /// Two commits under the messages `base` and `head`, by nobody.
    Judge {
        /// The first one's content.
        base: Oid,
        /// The second one's content, and what the files are.
        head: Oid,
    },
}

impl Repository {
    /// Gives `worktree` a git directory of its own at `private_git_dir`, replacing what is there, and checks out the
    /// files of the view: with the attributes of that commit, without filters and hooks.
    ///
    /// # Errors
    /// When git or the disk fails; the worktree is then to be removed.
    pub fn populate_private(&self, worktree: &Path, private_git_dir: &Path, view: View) -> Result<()> {
        let (worktree, private) = (real_path(worktree), real_path(private_git_dir));
        match fs::remove_dir_all(&private) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(Error::Io {
                    action: "remove",
                    path: private,
                    source: error,
                });
            }
            Ok(()) | Err(_) => {}
        }
        let who = neutral_identity();
        let config = format!(
            "[core]\n\trepositoryformatversion = 0\n\tfilemode = true\n\tbare = false\n\tsymlinks = true\n\
             \tlogallrefupdates = true\n\thooksPath = /dev/null\n\
             [user]\n\tname = {}\n\temail = {}\n[gc]\n\tauto = 0\n[maintenance]\n\tauto = false\n",
            who.name, who.email
        );
        write_git_dir(&private, "ref: refs/heads/none\n", &config)?;
        self.borrow_objects(&private)?;
        let git = |call: Call| call.env("GIT_DIR", &private).env("GIT_WORK_TREE", &worktree);
        let mut unfinished = None;
        let commit = match view {
            View::Author { commit } => commit,
            View::Conflict { commit, merge } => {
                unfinished = Some(merge);
                commit
            }
            View::Judge { base, head } => {
                let base = self.neutral_commit(&private, &self.tree_of(&base)?, &[], "base")?;
                self.neutral_commit(&private, &self.tree_of(&head)?, &[&base], "head")?
            }
        };
        let head = private.join("HEAD");
        fault::point("git.private-head")
            .and_then(|()| fs::write(&head, format!("{commit}\n")))
            .map_err(Error::io("write", &head))?;
        point_at(&worktree, &private)?;
        let call = git(Call::new(&worktree, Whose::Nobody))
            .attributes_from(commit.as_str())
            .args(["read-tree", "--reset", "-u"])
            .arg(unfinished.as_ref().map_or(&commit, |merge| &merge.tree).as_str());
        self.output(&call)?;
        match &unfinished {
            Some(merge) => self.mark_unmerged(git, Call::new(&worktree, Whose::Nobody), merge),
            None => Ok(()),
        }
    }

    fn borrow_objects(&self, private: &Path) -> Result<()> {
        let mut line = self
            .common_dir()
            .join("objects")
            .into_os_string()
            .as_bytes()
            .to_vec();
        line.push(b'\n');
        let file = private.join("objects/info/alternates");
        fault::point("git.alternates")
            .and_then(|()| fs::write(&file, line))
            .map_err(Error::io("write", &file))?;
        if self.is_shallow() {
            let (from, to) = (self.common_dir().join("shallow"), private.join("shallow"));
            fs::copy(&from, &to).map_err(Error::io("write", &to))?;
        }
        Ok(())
    }

    fn neutral_commit(&self, private: &Path, tree: &Oid, parents: &[&Oid], message: &str) -> Result<Oid> {
        let line = person_line(&neutral_identity(), NEUTRAL_SECONDS);
        let text = commit_text(
            tree,
            parents,
            line.as_bytes(),
            line.as_bytes(),
            &[],
            message.as_bytes(),
        );
        let call = Call::new(private, Whose::Nobody)
            .env("GIT_DIR", private)
            .args(["hash-object", "-w", "-t", "commit", "--stdin"])
            .stdin(text);
        self.oid(&call)
    }
}

pub(super) fn neutral_identity() -> Identity {
    Identity {
        name: "pipeline".to_owned(),
        email: "pipeline@localhost".to_owned(),
    }
}

/// Replaces the worktree's `.git` in one step, whatever it is.
fn point_at(worktree: &Path, private: &Path) -> Result<()> {
    let mut line = b"gitdir: ".to_vec();
    line.extend_from_slice(private.as_os_str().as_bytes());
    line.push(b'\n');
    let (fresh, place) = (worktree.join(".git.new"), worktree.join(".git"));
    fault::point("git.link")
        .and_then(|()| fs::write(&fresh, line))
        .map_err(Error::io("write", &fresh))?;
    fault::point("git.link.rename")
        .and_then(|()| fs::rename(&fresh, &place))
        .map_err(Error::io("write", &place))
}
