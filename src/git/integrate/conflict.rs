//! git's own merge of two commits, and what it says of conflicts.

use std::collections::BTreeMap;

use super::super::Result;
use super::super::invoke::failed;
use super::super::objects::{raw, unreadable};
use super::super::repository::Repository;
use super::Integration;
use crate::event::{Conflict, Obstacle};
use crate::id::Oid;

/// Most bytes of conflict hunks kept of one path.
const HUNKS_BYTES_MAX: usize = 16 << 10;
/// Lines kept around a conflict.
const HUNK_CONTEXT_LINES: usize = 3;

/// A merge of two trees.
pub(in crate::git) enum Merged {
    Clean(Oid),
    Conflicts {
        tree: Oid,
        conflicts: BTreeMap<String, String>,
        /// `mode oid stage TAB path` for every stage of what conflicts, each with a NUL after it.
        unmerged: Vec<u8>,
    },
}

impl Repository {
    /// Merges `theirs` into `ours`, with the attributes of `attributes`.
    pub(in crate::git) fn merge_by_git(
        &self,
        attributes: &Oid,
        ours: &Oid,
        theirs: &Oid,
        base: Option<&Oid>,
    ) -> Result<Merged> {
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
        let mut unmerged = Vec::new();
        // The tree, then `mode oid stage TAB path` for every stage up to an empty item.
        for item in items.by_ref().skip(1).take_while(|item| !item.is_empty()) {
            unmerged.extend_from_slice(item);
            unmerged.push(0);
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
            unmerged,
        })
    }

    /// The obstacle that conflicts at these paths are, each with its hunks in `tree` and the landing it met.
    pub(super) fn conflict(
        &self,
        tree: &Oid,
        paths: BTreeMap<String, String>,
        fork: &Oid,
        base: &Oid,
    ) -> Result<Integration> {
        let mut conflicts = Vec::with_capacity(paths.len());
        for (path, kind) in paths {
            let hunks = self.hunks(tree, &path)?;
            let landed_as = self.last_on(fork, base, &path)?;
            conflicts.push(Conflict {
                hunks,
                kind: if kind.is_empty() {
                    "contents".to_owned()
                } else {
                    kind
                },
                landed_by: None,
                landed_as,
                path,
            });
        }
        Ok(Integration::Obstacle(Obstacle::Conflict { conflicts }))
    }

    /// The last commit of `base` since `fork`, along first parents, that changed a path.
    pub(in super::super) fn last_on(&self, fork: &Oid, base: &Oid, path: &str) -> Result<Option<Oid>> {
        let call = self
            .neutral()?
            .args(["rev-list", "-1", "--first-parent", "--end-of-options"])
            .arg(format!("{fork}..{base}"))
            .args(["--", path]);
        let commit = self.invoker().line(&call)?;
        Ok(if commit.is_empty() {
            None
        } else {
            Some(commit.parse()?)
        })
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
