//! Putting a unit onto a base, in memory.
//!
//! git's own merge (`ort`) does it, in the neutral setting with the attributes of the base. Authors and their dates
//! are kept, a committer's date is the author's, so the same inputs give the same commit.

use std::collections::BTreeMap;

use super::invoke::failed;
use super::objects::{commit_text, person_line, raw, unreadable};
use super::repository::{Identity, Repository};
use super::{Error, Result};
use crate::event::{Conflict, Obstacle};
use crate::id::Oid;
use crate::spec::Strategy;

/// Most bytes of conflict hunks kept of one path.
const HUNKS_BYTES_MAX: usize = 16 << 10;
/// Lines kept around a conflict.
const HUNK_CONTEXT_LINES: usize = 3;

/// What is put onto a base: the commits of `head` that are not in `base`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IntegrateUnit {
    /// The approved commit.
    pub head: Oid,
    /// What it stands on.
    pub base: Oid,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Integration {
    /// It fits.
    Built {
        /// The last commit.
        commit: Oid,
        /// Its tree.
        tree: Oid,
    },
    /// It does not; `landed_by` of its conflicts is for the caller to fill in.
    Obstacle(Obstacle),
}

/// A merge of two trees.
enum Merged {
    Clean(Oid),
    Conflicts {
        tree: Oid,
        conflicts: BTreeMap<String, String>,
    },
}

/// What is kept of a commit that is made again.
struct Original {
    author: Vec<u8>,
    /// Seconds and zone of the author.
    date: Vec<u8>,
    /// The `encoding` header, if there is one.
    encoding: Vec<u8>,
    message: Vec<u8>,
}

impl Repository {
    /// Puts `unit` onto `base`. `message` is that of the one commit of squash and merge.
    ///
    /// # Errors
    /// When git fails. What is the unit's own trouble is an [`Integration::Obstacle`].
    pub fn integrate(
        &self,
        base: &Oid,
        unit: &IntegrateUnit,
        strategy: Strategy,
        message: &str,
        identity: &Identity,
    ) -> Result<Integration> {
        let Some(fork) = self.merge_base(base, &unit.head)? else {
            return Ok(Integration::Obstacle(Obstacle::UnrelatedHistory));
        };
        if fork == unit.head {
            return Ok(Integration::Obstacle(Obstacle::AlreadyLanded));
        }
        match strategy {
            Strategy::Rebase => self.replay(base, unit, &fork, identity),
            Strategy::Squash => {
                // Where the unit's base is on the line, git finds the better base itself; where it is not, only what
                // the unit adds to it is meant.
                let explicit = (!self.is_ancestor(&unit.base, base)?).then_some(&unit.base);
                self.one_commit(base, unit, explicit, &fork, &[base], message, identity)
            }
            Strategy::Merge => {
                self.one_commit(base, unit, None, &fork, &[base, &unit.head], message, identity)
            }
        }
    }

    fn replay(
        &self,
        base: &Oid,
        unit: &IntegrateUnit,
        fork: &Oid,
        identity: &Identity,
    ) -> Result<Integration> {
        let call = self
            .neutral()?
            .args([
                "rev-list",
                "--reverse",
                "--topo-order",
                "--parents",
                "--end-of-options",
            ])
            .arg(format!("{}..{}", unit.base, unit.head));
        let bytes = self.output(&call)?;
        let mut current = base.clone();
        for line in String::from_utf8_lossy(&bytes).lines() {
            let ids = line
                .split(' ')
                .map(str::parse)
                .collect::<std::result::Result<Vec<Oid>, _>>()?;
            let [commit, parent] = ids.as_slice() else {
                return Ok(Integration::Obstacle(match ids.into_iter().next() {
                    Some(commit) if line.len() > 81 => Obstacle::MergeCommit { commit },
                    _ => Obstacle::UnrelatedHistory,
                }));
            };
            if *parent == current && self.tree_of(parent)? != self.tree_of(commit)? {
                // It stands there already.
                current = commit.clone();
                continue;
            }
            let tree = match self.merge_trees(base, &current, commit, Some(parent))? {
                Merged::Clean(tree) => tree,
                Merged::Conflicts { tree, conflicts } => {
                    return self.conflict(&tree, conflicts, fork, base);
                }
            };
            if tree == self.tree_of(&current)? {
                continue;
            }
            let original = self.original(commit)?;
            let mut committer = name_of(identity);
            committer.extend_from_slice(&original.date);
            let text = commit_text(
                &tree,
                &[&current],
                &original.author,
                &committer,
                &original.encoding,
                &original.message,
            );
            current = self.write_commit(&text)?;
        }
        self.built(base, current)
    }

    #[expect(clippy::too_many_arguments, reason = "one commit is just what these are")]
    fn one_commit(
        &self,
        base: &Oid,
        unit: &IntegrateUnit,
        merge_base: Option<&Oid>,
        fork: &Oid,
        parents: &[&Oid],
        message: &str,
        identity: &Identity,
    ) -> Result<Integration> {
        let tree = match self.merge_trees(base, base, &unit.head, merge_base)? {
            Merged::Clean(tree) => tree,
            Merged::Conflicts { tree, conflicts } => return self.conflict(&tree, conflicts, fork, base),
        };
        if tree == self.tree_of(base)? {
            return Ok(Integration::Obstacle(Obstacle::AlreadyLanded));
        }
        let original = self.original(&unit.head)?;
        let mut committer = name_of(identity);
        committer.extend_from_slice(&original.date);
        let author = if parents.len() == 1 {
            &original.author
        } else {
            &committer
        };
        let text = commit_text(&tree, parents, author, &committer, &[], message.as_bytes());
        let commit = self.write_commit(&text)?;
        Ok(Integration::Built { commit, tree })
    }

    fn built(&self, base: &Oid, commit: Oid) -> Result<Integration> {
        if commit == *base {
            return Ok(Integration::Obstacle(Obstacle::AlreadyLanded));
        }
        let tree = self.tree_of(&commit)?;
        Ok(Integration::Built { commit, tree })
    }

    /// Merges `theirs` into `ours`, with the attributes of `attributes`.
    fn merge_trees(&self, attributes: &Oid, ours: &Oid, theirs: &Oid, base: Option<&Oid>) -> Result<Merged> {
        let call = self
            .neutral()?
            .attributes_from(attributes.as_str())
            .args(["merge-tree", "--write-tree", "-z", "--messages"])
            .args(base.map(|base| format!("--merge-base={base}")))
            .args(["--end-of-options", ours.as_str(), theirs.as_str()]);
        let output = self.invoker().run(&call)?;
        let mut items = output.stdout.split(|byte| *byte == 0);
        let tree = || -> Result<Oid> { Ok(String::from_utf8_lossy(&output.stdout[..40]).parse()?) };
        match output.status.code() {
            Some(0) if output.stdout.len() > 40 => return Ok(Merged::Clean(tree()?)),
            Some(1) if output.stdout.len() > 40 => {}
            _ => return Err(failed(&call, &output)),
        }
        let mut conflicts = BTreeMap::new();
        // The tree, then `mode oid stage TAB path` for every stage up to an empty item.
        for item in items.by_ref().skip(1).take_while(|item| !item.is_empty()) {
            if let Some(tab) = item.iter().position(|byte| *byte == b'\t') {
                conflicts.insert(
                    String::from_utf8_lossy(&item[tab + 1..]).into_owned(),
                    String::new(),
                );
            }
        }
        // Then messages: how many paths, the paths, the kind, and a sentence.
        let mut items = items.map(String::from_utf8_lossy);
        while let Some(count) = items.next().and_then(|text| text.parse::<usize>().ok()) {
            let paths: Vec<_> = items.by_ref().take(count).collect();
            let kind = items.next().unwrap_or_default();
            items.next();
            let Some(kind) = kind
                .strip_prefix("CONFLICT (")
                .and_then(|rest| rest.strip_suffix(')'))
            else {
                continue;
            };
            for path in paths {
                conflicts
                    .entry(path.into_owned())
                    .and_modify(|known| {
                        if known.is_empty() {
                            kind.clone_into(known);
                        }
                    })
                    .or_insert_with(|| kind.to_owned());
            }
        }
        Ok(Merged::Conflicts {
            tree: tree()?,
            conflicts,
        })
    }

    fn conflict(
        &self,
        tree: &Oid,
        paths: BTreeMap<String, String>,
        fork: &Oid,
        base: &Oid,
    ) -> Result<Integration> {
        let mut conflicts = Vec::with_capacity(paths.len());
        for (path, kind) in paths {
            let hunks = self.hunks(tree, &path)?;
            let call = self
                .neutral()?
                .args(["rev-list", "-1", "--first-parent", "--end-of-options"])
                .arg(format!("{fork}..{base}"))
                .args(["--", &path]);
            let landed_as = self.invoker().line(&call)?;
            conflicts.push(Conflict {
                hunks,
                kind: if kind.is_empty() {
                    "contents".to_owned()
                } else {
                    kind
                },
                landed_by: None,
                landed_as: if landed_as.is_empty() {
                    None
                } else {
                    Some(landed_as.parse()?)
                },
                path,
            });
        }
        Ok(Integration::Obstacle(Obstacle::Conflict { conflicts }))
    }

    /// The hunks with markers that the merge left at `path`; empty where it left none.
    fn hunks(&self, tree: &Oid, path: &str) -> Result<String> {
        let objects = self.objects()?;
        let tree = objects.find_tree(raw(tree)).map_err(unreadable(tree.as_str()))?;
        let Ok(entry) = tree.get_path(std::path::Path::new(path)) else {
            return Ok(String::new());
        };
        if entry.kind() != Some(git2::ObjectType::Blob) {
            return Ok(String::new());
        }
        let blob = objects.find_blob(entry.id()).map_err(unreadable(path))?;
        if blob.is_binary() {
            return Ok(String::new());
        }
        Ok(conflict_hunks(&String::from_utf8_lossy(blob.content())))
    }

    fn original(&self, commit: &Oid) -> Result<Original> {
        let objects = self.objects()?;
        let found = objects
            .find_commit(raw(commit))
            .map_err(unreadable(commit.as_str()))?;
        let header = found.raw_header_bytes();
        let field = |key: &[u8]| -> Option<&[u8]> {
            header
                .split(|byte| *byte == b'\n')
                .find_map(|line| line.strip_prefix(key))
        };
        let author = field(b"author ").ok_or_else(|| Error::Object {
            what: commit.to_string(),
            message: "it has no author".to_owned(),
        })?;
        let after = author
            .iter()
            .rposition(|byte| *byte == b'>')
            .map_or(author.len(), |at| at + 1);
        let encoding = field(b"encoding ").map_or(Vec::new(), |name| [b"encoding ", name, b"\n"].concat());
        Ok(Original {
            date: author[after..].to_vec(),
            author: author.to_vec(),
            encoding,
            message: found.message_raw_bytes().to_vec(),
        })
    }
}

/// `Name <address>`, to be followed by a date.
fn name_of(identity: &Identity) -> Vec<u8> {
    let line = person_line(identity, 0);
    let end = line.rfind('>').map_or(line.len(), |at| at + 1);
    line.as_bytes()[..end].to_vec()
}

/// The parts of a file between conflict markers, with a little around them.
fn conflict_hunks(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let mut keep = vec![false; lines.len()];
    let mut begun = None;
    for (place, line) in lines.iter().enumerate() {
        if line.starts_with("<<<<<<< ") {
            begun = Some(place);
        } else if line.starts_with(">>>>>>> ")
            && let Some(from) = begun.take()
        {
            let last = (place + HUNK_CONTEXT_LINES).min(lines.len() - 1);
            keep[from.saturating_sub(HUNK_CONTEXT_LINES)..=last].fill(true);
        }
    }
    let mut hunks = String::new();
    let mut gap = false;
    for (place, line) in lines.iter().enumerate().filter(|(place, _)| keep[*place]) {
        if gap && !keep[place - 1] {
            hunks.push_str("...\n");
        }
        gap = true;
        if hunks.len() + line.len() + 1 > HUNKS_BYTES_MAX - 4 {
            hunks.push_str("...\n");
            break;
        }
        hunks.push_str(line);
        hunks.push('\n');
    }
    hunks
}
