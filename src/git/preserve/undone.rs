//! Whether the resolution of a conflict takes back what had landed.
//!
//! A resolution is a new diff, so [`preserve`](super) does not bind it: it may change what the unit never changed. But
//! what landed between the unit's old base and its new one must still be there. Every landed hunk is looked for in
//! the result, but for those that met a hunk of the unit: these are the conflict's own, and what becomes of them is
//! what was to be decided.
//!
//! A landed hunk is undone when lines that it removed are back in its place, or when it loses more lines than come
//! in their place. A line that is moved is not lost, and a line that is reworked, one for one, is for the judges. Lines
//! of punctuation alone prove nothing either way. A path that holds no text is undone when it is again what it was
//! before the landing and the unit had not touched it, and so are a mode, a file that is gone, and one that is back.

use std::collections::{BTreeMap, BTreeSet};

use super::super::Result;
use super::super::objects::{own, raw, unreadable};
use super::super::repository::Repository;
use super::lines::{Hunk, hunks, lines};
use super::{Entry, MODES_FILE, text_of};
use crate::event::Conflict;
use crate::id::Oid;

/// Most lines that are quoted of one path.
const LINES_MAX: usize = 20;

/// A conflict that was resolved.
#[derive(Debug, Clone)]
pub struct Resolved<'a> {
    /// What the unit stood on.
    pub old_base: &'a Oid,
    /// What was approved there.
    pub old_head: &'a Oid,
    /// What it was to be put onto.
    pub new_base: &'a Oid,
    /// What came of it: a commit or tree that is to stand on the new base.
    pub result: &'a Oid,
    /// Where the two sides conflicted. At a path whose conflict is not about contents, everything is the conflict's own.
    pub conflicts: &'a [Conflict],
}

/// Landed work at one path that a resolution takes back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Undone {
    /// The path, as it landed.
    pub path: String,
    /// What is missing, or back, with `-` or `+` as in a diff against what landed; at most 20 lines. Of what is no text,
    /// one line that says it.
    pub lines: Vec<String>,
    /// The commit on the new base that last touched the path since the old one.
    pub landed_as: Option<Oid>,
}

impl Repository {
    /// What the resolution of a conflict takes back of the work that landed between the old base and the new.
    ///
    /// # Errors
    /// When git fails, or an object is missing.
    pub fn undone(&self, resolved: &Resolved<'_>) -> Result<Vec<Undone>> {
        let objects = self.objects()?;
        let search = Search::new(self, &objects, resolved)?;
        let mut undone = Vec::new();
        for change in self.raw_changes(resolved.old_base, resolved.new_base, "--find-renames")? {
            let old_path = change.old_path.as_deref().unwrap_or(&change.path);
            let is_own = |conflict: &&Conflict| {
                conflict.kind != "contents" && [&*change.path, old_path].contains(&&*conflict.path)
            };
            if resolved.conflicts.iter().any(|conflict| is_own(&conflict)) {
                continue;
            }
            let lines = search.lines_undone(&change.path, old_path)?;
            if !lines.is_empty() {
                undone.push(Undone {
                    lines: lines.into_iter().take(LINES_MAX).collect(),
                    landed_as: self.last_on(resolved.old_base, resolved.new_base, &change.path)?,
                    path: change.path,
                });
            }
        }
        Ok(undone)
    }
}

/// Where landed work is looked for.
struct Search<'a> {
    objects: &'a git2::Repository,
    /// The trees of old base, old head, new base and result.
    trees: [git2::Tree<'a>; 4],
    /// Where the unit, and the resolution, moved files to.
    moved_by_unit: BTreeMap<String, String>,
    moved_by_result: BTreeMap<String, String>,
    /// The lines that the resolution adds, wherever.
    added: BTreeSet<Vec<u8>>,
}

impl<'a> Search<'a> {
    fn new(
        repository: &'a Repository,
        objects: &'a git2::Repository,
        resolved: &Resolved<'_>,
    ) -> Result<Self> {
        let tree = |treeish: &Oid| {
            let found = objects.find_object(raw(treeish), None);
            let tree = found.and_then(|found| found.peel_to_tree());
            tree.map_err(unreadable(treeish.as_str()))
        };
        let Resolved {
            old_base,
            old_head,
            new_base,
            result,
            ..
        } = resolved;
        let moves = |from: &Oid, to: &Oid| -> Result<BTreeMap<String, String>> {
            let changes = repository.raw_changes(from, to, "--find-renames")?.into_iter();
            Ok(changes
                .filter_map(|change| Some((change.old_path?, change.path)))
                .collect())
        };
        let mut search = Self {
            objects,
            trees: [tree(old_base)?, tree(old_head)?, tree(new_base)?, tree(result)?],
            moved_by_unit: moves(old_base, old_head)?,
            moved_by_result: moves(new_base, result)?,
            added: BTreeSet::new(),
        };
        for change in repository.raw_changes(new_base, result, "--find-renames")? {
            let text = |version: Option<(u32, Oid)>| -> Result<Option<Vec<u8>>> {
                match version {
                    Some((mode, oid)) if MODES_FILE.contains(&mode) => text_of(objects, raw(&oid)),
                    Some(_) => Ok(None),
                    None => Ok(Some(Vec::new())),
                }
            };
            if let (Some(old), Some(new)) = (text(change.old)?, text(change.new)?) {
                let new_lines = lines(&new);
                for line in hunks(&old, &new)?
                    .iter()
                    .flat_map(|hunk| &new_lines[hunk.new.clone()])
                {
                    search.added.insert(line.to_vec());
                }
            }
        }
        Ok(search)
    }

    fn entry(&self, side: usize, path: &str) -> Option<Entry> {
        let entry = self.trees[side].get_path(std::path::Path::new(path)).ok()?;
        let mode = u32::try_from(entry.filemode_raw()).unwrap_or(0);
        Some(Entry {
            mode,
            oid: entry.id(),
        })
    }

    /// What is undone at a path of the new base, which was called `old_path` in the old one.
    fn lines_undone(&self, path: &str, old_path: &str) -> Result<Vec<String>> {
        let by_unit = self.moved_by_unit.get(old_path).map_or(old_path, String::as_str);
        let by_result = self.moved_by_result.get(path).map_or(path, String::as_str);
        let was = self.entry(0, old_path);
        let head = self.entry(1, by_unit);
        let landed = self.entry(2, path);
        // A file that the unit moved is where the unit has it.
        let result = self
            .entry(3, by_result)
            .or_else(|| self.entry(3, by_unit).filter(|_| by_unit != old_path));
        if landed == result {
            return Ok(Vec::new());
        }
        let untouched = head == was;
        let (landed, result) = match (landed, result) {
            (Some(landed), Some(result)) => (landed, result),
            (Some(_), None) if untouched => return Ok(vec![format!("-{path}, the whole file")]),
            (None, Some(_)) if untouched => return Ok(vec![format!("+{path}, the whole file")]),
            (_, None) | (None, _) => return Ok(Vec::new()),
        };
        let Some(was) = was else {
            return self.text_undone([None, None, Some(landed), Some(result)]);
        };
        let mut undone = Vec::new();
        if was.mode != landed.mode && result.mode == was.mode && head.is_none_or(|head| head.mode == was.mode)
        {
            undone.push(format!("+mode {:o} of {path}", was.mode));
        }
        let is_text = [was, landed, result]
            .iter()
            .all(|entry| MODES_FILE.contains(&entry.mode));
        if is_text && text_of(self.objects, landed.oid)?.is_some() {
            undone.extend(self.text_undone([Some(was), head, Some(landed), Some(result)])?);
        } else if untouched && was.oid != landed.oid && result.oid == was.oid {
            undone.push(format!("+{path}, as it was in {}", own(was.oid)?.short()));
        }
        Ok(undone)
    }

    /// What is undone of a text; a version that is not there is empty.
    fn text_undone(&self, versions: [Option<Entry>; 4]) -> Result<Vec<String>> {
        let mut texts = Vec::with_capacity(versions.len());
        for version in versions {
            let text = version.map_or(Ok(Some(Vec::new())), |entry| text_of(self.objects, entry.oid))?;
            // What became binary is no text any more, and for the judges.
            let Some(text) = text else { return Ok(Vec::new()) };
            texts.push(text);
        }
        let [was, head, landed, result] = &texts[..] else {
            unreachable!("there are four of them")
        };
        hunks_undone([was, head, landed, result], &self.added)
    }
}

/// The lines of landed hunks that are gone from the result, or back in it. `added` are the lines that the result
/// adds, wherever: what is moved is not lost.
fn hunks_undone([was, head, landed, result]: [&[u8]; 4], added: &BTreeSet<Vec<u8>>) -> Result<Vec<String>> {
    let (by_unit, by_target, later) = (hunks(was, head)?, hunks(was, landed)?, hunks(landed, result)?);
    let (was, landed, result) = (lines(was), lines(landed), lines(result));
    let mut undone = Vec::new();
    for hunk in &by_target {
        if by_unit.iter().any(|own| own.meets(hunk)) {
            continue;
        }
        let place = Hunk {
            old: hunk.new.clone(),
            new: 0..0,
        };
        let touching = || later.iter().filter(|later| later.meets(&place));
        let come: Vec<&[u8]> = touching()
            .flat_map(|later| result[later.new.clone()].iter().copied())
            .collect();
        let is_new = |line: &&&[u8]| says_something(line) && !landed[hunk.new.clone()].contains(*line);
        let back: Vec<&[u8]> = was[hunk.old.clone()]
            .iter()
            .filter(is_new)
            .filter(|line| come.contains(*line))
            .copied()
            .collect();
        let gone: Vec<&[u8]> = hunk
            .new
            .clone()
            .filter(|at| touching().any(|later| later.old.contains(at)))
            .map(|at| landed[at])
            .filter(|line| says_something(line) && !added.contains(*line))
            .collect();
        let foreign = come
            .iter()
            .filter(|line| says_something(line) && !back.contains(line));
        if back.is_empty() && gone.len() <= foreign.count() {
            continue;
        }
        let shown = |sign, line: &[u8]| {
            format!(
                "{sign}{}",
                String::from_utf8_lossy(line).trim_end_matches(['\r', '\n'])
            )
        };
        undone.extend(gone.iter().map(|line| shown('-', line)));
        undone.extend(back.iter().map(|line| shown('+', line)));
    }
    Ok(undone)
}

/// Whether a line is more than punctuation: such a line stands everywhere.
fn says_something(line: &[u8]) -> bool {
    line.iter()
        .any(|byte| byte.is_ascii_alphanumeric() || !byte.is_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every line the result adds counts, as if the file were all there is.
    fn undone(was: &str, head: &str, landed: &str, result: &str) -> Vec<String> {
        let new = lines(result.as_bytes());
        let later = hunks(landed.as_bytes(), result.as_bytes()).unwrap();
        let added = later.iter().flat_map(|hunk| &new[hunk.new.clone()]);
        let added = added.map(|line| line.to_vec()).collect();
        hunks_undone([was, head, landed, result].map(str::as_bytes), &added).unwrap()
    }

    const WAS: &str = "a\nb\nc\nd\ne\nf\ng\n";
    /// The unit changes `b`, the target changes `b` and, elsewhere, `f`; the conflict is about `b`.
    const HEAD: &str = "a\nunit\nc\nd\ne\nf\ng\n";
    const LANDED: &str = "a\nlanded\nc\nd\ne\nF\nmore\ng\n";

    #[test]
    fn a_resolution_that_keeps_what_landed_elsewhere_undoes_nothing() {
        for result in [
            "a\nunit\nc\nd\ne\nF\nmore\ng\n",
            "a\nlanded and unit\nc\nd\ne\nF\nmore\ng\n",
            "a\nb\nc\nd\ne\nF\nmore\ng\n",
            "a\nc\nd\ne\nF\nmore\ng\n",
        ] {
            assert_eq!(
                undone(WAS, HEAD, LANDED, result),
                Vec::<String>::new(),
                "{result}"
            );
        }
    }

    #[test]
    fn taking_the_units_side_of_the_whole_file_undoes_what_landed_outside_the_conflict() {
        assert_eq!(undone(WAS, HEAD, LANDED, HEAD), ["-F", "-more", "+f"]);
    }

    #[test]
    fn a_line_that_landed_and_is_left_out_is_undone() {
        let result = "a\nunit\nc\nd\ne\nF\ng\n";
        assert_eq!(undone(WAS, HEAD, LANDED, result), ["-more"]);
    }

    #[test]
    fn a_line_that_was_removed_and_is_back_is_undone() {
        let landed = "a\nlanded\nc\nd\ne\ng\n";
        let result = "a\nunit\nc\nd\ne\nf\ng\n";
        assert_eq!(undone(WAS, HEAD, landed, result), ["+f"]);
    }

    #[test]
    fn a_line_that_is_moved_or_reworked_one_for_one_is_not_undone() {
        let moved = "more\na\nunit\nc\nd\ne\nF\ng\n";
        assert_eq!(undone(WAS, HEAD, LANDED, moved), Vec::<String>::new());
        let reworked = "a\nunit\nc\nd\ne\nF(1)\nmore(1)\ng\n";
        assert_eq!(undone(WAS, HEAD, LANDED, reworked), Vec::<String>::new());
    }

    #[test]
    fn what_comes_beside_a_landed_line_does_not_undo_it() {
        let result = "a\nunit\nc\nd\ne\nF\nmore\nnew\ng\n";
        assert_eq!(undone(WAS, HEAD, LANDED, result), Vec::<String>::new());
    }
}
