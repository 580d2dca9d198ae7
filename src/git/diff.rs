//! Differences between two commits or trees.
//!
//! All in the neutral setting, with the attributes of the older side: the newer side may be an agent's, and an
//! attribute of its own could hide a change.

use super::invoke::{Call, failed, nul_items};
use super::objects::{MODE_SUBMODULE, raw, unreadable};
use super::repository::Repository;
use super::{Error, Result};
use crate::event::LineRange;
use crate::id::Oid;

/// Largest file whose text [`ChangedFile`] holds.
const TEXT_BYTES_MAX: usize = 1 << 20;

/// A patch as text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Patch {
    /// What `git diff` prints.
    pub text: Vec<u8>,
    /// Whether it was cut off at the bound.
    pub truncated: bool,
}

/// How much of one file changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileStat {
    /// Path in the new version; the old one of a deleted file.
    pub path: String,
    /// Lines added; 0 for a binary file.
    pub added: u64,
    /// Lines removed; 0 for a binary file.
    pub removed: u64,
    /// Whether it has no lines.
    pub binary: bool,
}

/// What happened to a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ChangeStatus {
    /// `A`.
    Added,
    /// `D`.
    Deleted,
    /// `M`: content or executable bit.
    Modified,
    /// `R`, with or without change of content.
    Renamed,
    /// `T`: a file became a link or a submodule, or the other way round.
    TypeChanged,
}

/// One changed file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangedFile {
    /// Path in the new version; the old one of a deleted file.
    pub path: String,
    /// Where it was, if renamed.
    pub old_path: Option<String>,
    /// What happened.
    pub status: ChangeStatus,
    /// Its old mode, 0 when it was not there.
    pub old_mode: u32,
    /// Its new mode, 0 when it is no longer there.
    pub new_mode: u32,
    /// Its old blob; a submodule has none.
    pub old_blob: Option<Oid>,
    /// Its new blob; a submodule has none.
    pub new_blob: Option<Oid>,
    /// The old text, if it is UTF-8 and at most 1 MiB.
    pub old_text: Option<String>,
    /// The new text, if it is UTF-8 and at most 1 MiB.
    pub new_text: Option<String>,
    /// Size of the new blob.
    pub new_bytes: u64,
}

/// One changed path, as the trees have it.
#[derive(Debug, Clone)]
pub(super) struct RawChange {
    pub(super) path: String,
    pub(super) old_path: Option<String>,
    pub(super) status: ChangeStatus,
    /// Mode and object, a submodule's commit among them.
    pub(super) old: Option<(u32, Oid)>,
    pub(super) new: Option<(u32, Oid)>,
}

impl Repository {
    fn diff(&self, from: &Oid, to: &Oid, options: &[&str]) -> Result<Call> {
        let call = self
            .neutral()?
            .attributes_from(from.as_str())
            .args([
                "diff",
                "--no-ext-diff",
                "--no-textconv",
                "--no-color",
                "--full-index",
            ])
            .args(["--no-relative", "--ignore-submodules=none", "--submodule=short"])
            .args(["--src-prefix=a/", "--dst-prefix=b/"])
            .args(options)
            .args(["--end-of-options", from.as_str(), to.as_str()]);
        Ok(call)
    }

    /// The change as a patch with renames found, at most `bytes_max` of it.
    ///
    /// # Errors
    /// When one of them is not there.
    pub fn diff_patch(&self, from: &Oid, to: &Oid, bytes_max: usize) -> Result<Patch> {
        let call = self.diff(from, to, &["--patch", "--find-renames"])?;
        self.patch(call, bytes_max)
    }

    /// As [`Repository::diff_patch`], of these paths alone, and so without renames.
    ///
    /// # Errors
    /// When one of the commits is not there.
    pub fn diff_patch_of(&self, from: &Oid, to: &Oid, paths: &[&str], bytes_max: usize) -> Result<Patch> {
        let call = self
            .diff(from, to, &["--patch", "--no-renames"])?
            .env("GIT_LITERAL_PATHSPECS", "1")
            .arg("--")
            .args(paths);
        self.patch(call, bytes_max)
    }

    fn patch(&self, call: Call, bytes_max: usize) -> Result<Patch> {
        let call = call.output_bytes_max(bytes_max);
        let output = self.invoker().run(&call)?;
        if !output.truncated && !output.status.success() {
            return Err(failed(&call, &output));
        }
        Ok(Patch {
            text: output.stdout,
            truncated: output.truncated,
        })
    }

    /// How many lines changed, file by file.
    ///
    /// # Errors
    /// When one of them is not there.
    pub fn diff_stat(&self, from: &Oid, to: &Oid) -> Result<Vec<FileStat>> {
        let call = self.diff(from, to, &["--numstat", "-z", "--find-renames"])?;
        let bytes = self.output(&call)?;
        let mut items = nul_items(&bytes).map(String::from_utf8_lossy);
        let mut stats = Vec::new();
        while let Some(item) = items.next() {
            let mut fields = item.splitn(3, '\t');
            let (added, removed) = (fields.next().unwrap_or("-"), fields.next().unwrap_or("-"));
            let mut path = fields.next().unwrap_or("").to_owned();
            if path.is_empty() {
                // A rename: the old and the new name follow as items of their own.
                path = items.nth(1).unwrap_or_default().into_owned();
            }
            stats.push(FileStat {
                path,
                added: added.parse().unwrap_or(0),
                removed: removed.parse().unwrap_or(0),
                binary: added == "-",
            });
        }
        Ok(stats)
    }

    /// The lines that changed, in the numbering of the new version. Renames are not followed: a moved file is new.
    ///
    /// # Errors
    /// When one of them is not there.
    pub fn changed_lines(&self, from: &Oid, to: &Oid) -> Result<Vec<LineRange>> {
        let call = self.diff(
            from,
            to,
            &["--patch", "--unified=0", "--inter-hunk-context=0", "--no-renames"],
        )?;
        Ok(hunk_ranges(&self.output(&call)?))
    }

    /// A changed path whose name is no text, which nothing else here can work with; escaped.
    ///
    /// # Errors
    /// When git fails.
    pub fn path_that_is_no_text(&self, from: &Oid, to: &Oid) -> Result<Option<String>> {
        match self.raw_changes(from, to, "--no-renames") {
            Ok(_) => Ok(None),
            Err(Error::NotUtf8(path)) => Ok(Some(path)),
            Err(error) => Err(error),
        }
    }

    /// Every changed file with its texts, renames found.
    ///
    /// # Errors
    /// When one of them is not there, or an object is missing.
    pub fn changed_files(&self, from: &Oid, to: &Oid) -> Result<Vec<ChangedFile>> {
        let objects = self.objects()?;
        let content = |blob: Option<&Oid>| -> Result<(u64, Option<String>)> {
            let Some(oid) = blob else {
                return Ok((0, None));
            };
            let (bytes, _) = objects
                .odb()
                .and_then(|store| store.read_header(raw(oid)))
                .map_err(unreadable(oid.as_str()))?;
            if bytes > TEXT_BYTES_MAX {
                return Ok((bytes as u64, None));
            }
            let found = objects.find_blob(raw(oid)).map_err(unreadable(oid.as_str()))?;
            Ok((
                bytes as u64,
                str::from_utf8(found.content()).ok().map(str::to_owned),
            ))
        };
        let mut files = Vec::new();
        for change in self.raw_changes(from, to, "--find-renames")? {
            let mode = |version: &Option<(u32, Oid)>| version.as_ref().map_or(0, |(mode, _)| *mode);
            let (old_mode, new_mode) = (mode(&change.old), mode(&change.new));
            let blob = |version: Option<(u32, Oid)>| {
                version
                    .filter(|(mode, _)| *mode != MODE_SUBMODULE)
                    .map(|(_, oid)| oid)
            };
            let (old_blob, new_blob) = (blob(change.old), blob(change.new));
            let (_, old_text) = content(old_blob.as_ref())?;
            let (new_bytes, new_text) = content(new_blob.as_ref())?;
            files.push(ChangedFile {
                path: change.path,
                old_path: change.old_path,
                status: change.status,
                old_mode,
                new_mode,
                old_blob,
                new_blob,
                old_text,
                new_text,
                new_bytes,
            });
        }
        Ok(files)
    }

    /// Every changed path, with or without renames found as `renames` says.
    pub(super) fn raw_changes(&self, from: &Oid, to: &Oid, renames: &str) -> Result<Vec<RawChange>> {
        let call = self.diff(from, to, &["--raw", "-z", "--no-abbrev", renames])?;
        let bytes = self.output(&call)?;
        let mut items = nul_items(&bytes);
        let mut changes = Vec::new();
        while let Some(head) = items.next() {
            let head = String::from_utf8_lossy(head);
            let answer = || Error::Answer {
                command: call.describe(),
                answer: head.to_string(),
            };
            let words: Vec<_> = head.trim_start_matches(':').split(' ').collect();
            let [old_mode, new_mode, old, new, status] = words[..] else {
                return Err(answer());
            };
            let version = |mode: &str, oid: &str| -> Result<Option<(u32, Oid)>> {
                let mode = u32::from_str_radix(mode, 8).map_err(|_| answer())?;
                Ok(if mode == 0 {
                    None
                } else {
                    Some((mode, oid.parse()?))
                })
            };
            let status = match status.as_bytes().first() {
                Some(b'A') => ChangeStatus::Added,
                Some(b'D') => ChangeStatus::Deleted,
                Some(b'M') => ChangeStatus::Modified,
                Some(b'R') => ChangeStatus::Renamed,
                Some(b'T') => ChangeStatus::TypeChanged,
                _ => return Err(answer()),
            };
            let mut name = || -> Result<String> {
                let bytes = items.next().ok_or_else(answer)?.to_vec();
                String::from_utf8(bytes)
                    .map_err(|error| Error::NotUtf8(error.as_bytes().escape_ascii().to_string()))
            };
            let first = name()?;
            let (old_path, path) = match status {
                ChangeStatus::Renamed => (Some(first), name()?),
                ChangeStatus::Added
                | ChangeStatus::Deleted
                | ChangeStatus::Modified
                | ChangeStatus::TypeChanged => (None, first),
            };
            changes.push(RawChange {
                path,
                old_path,
                status,
                old: version(old_mode, old)?,
                new: version(new_mode, new)?,
            });
        }
        Ok(changes)
    }
}

/// Reads the hunk headers of a patch without context. Bodies are skipped by count, so that a line of a file that
/// looks like a header is not taken for one.
fn hunk_ranges(patch: &[u8]) -> Vec<LineRange> {
    let mut ranges = Vec::new();
    let (mut old, mut new) = (String::new(), None);
    let mut body = 0_u64;
    for line in patch.split(|byte| *byte == b'\n') {
        if body > 0 {
            // "\ No newline at end of file" belongs to the line before it.
            body -= u64::from(!line.starts_with(b"\\"));
            continue;
        }
        let text = String::from_utf8_lossy(line);
        if let Some(name) = text.strip_prefix("--- ") {
            old = patch_name(name).unwrap_or_default();
        } else if let Some(name) = text.strip_prefix("+++ ") {
            new = patch_name(name);
        } else if let Some((removed, first, added)) = hunk_header(&text) {
            body = removed + added;
            let count = u32::try_from(added).unwrap_or(u32::MAX);
            let first = if count == 0 {
                first.saturating_add(1)
            } else {
                first
            };
            ranges.push(LineRange {
                file: new.clone().unwrap_or_else(|| old.clone()),
                first,
                last: first.saturating_add(count).saturating_sub(1),
            });
        }
    }
    ranges
}

/// Removed lines, first new line and added lines of `@@ -a,b +c,d @@`.
fn hunk_header(line: &str) -> Option<(u64, u32, u64)> {
    let mut words = line.strip_prefix("@@ -")?.split(' ');
    let count = |text: &str| {
        text.split_once(',')
            .map_or(Some(1), |(_, count)| count.parse().ok())
    };
    let removed = count(words.next()?)?;
    let new = words.next()?.strip_prefix('+')?;
    let first = new.split(',').next()?.parse().ok()?;
    Some((removed, first, count(new)?))
}

/// The name in a `---` or `+++` line; `None` for `/dev/null`.
fn patch_name(text: &str) -> Option<String> {
    // git ends a name that has a space with a tab.
    let text = text.strip_suffix('\t').unwrap_or(text);
    let plain = if text.starts_with('"') {
        unquote(text)?
    } else {
        text.to_owned()
    };
    plain
        .split_once('/')
        .filter(|(side, _)| ["a", "b"].contains(side))
        .map(|(_, path)| path.to_owned())
}

/// Takes git's C quoting off.
fn unquote(text: &str) -> Option<String> {
    let mut bytes = text.strip_prefix('"')?.strip_suffix('"')?.bytes();
    let mut plain = Vec::new();
    while let Some(byte) = bytes.next() {
        if byte != b'\\' {
            plain.push(byte);
            continue;
        }
        plain.push(match bytes.next()? {
            b'a' => 7,
            b'b' => 8,
            b't' => b'\t',
            b'n' => b'\n',
            b'v' => 11,
            b'f' => 12,
            b'r' => b'\r',
            digit @ b'0'..=b'3' => {
                let low = [bytes.next()?, bytes.next()?].map(|byte| byte.wrapping_sub(b'0') & 7);
                ((digit - b'0') << 6) | (low[0] << 3) | low[1]
            }
            other => other,
        });
    }
    Some(String::from_utf8_lossy(&plain).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_looks_like_a_header_is_not_taken_for_one() {
        let patch =
            b"--- a/x\n+++ b/x\n@@ -1 +1,2 @@\n---- a/y\n+++ b/y\n+@@ -9 +9 @@\n@@ -5,2 +6,0 @@\n-a\n-b\n";
        let ranges = hunk_ranges(patch);
        let seen: Vec<_> = ranges
            .iter()
            .map(|r| (r.file.as_str(), r.first, r.last))
            .collect();
        assert_eq!(seen, [("x", 1, 2), ("x", 7, 6)]);
    }

    #[test]
    fn quoted_names_are_read_back() {
        assert_eq!(patch_name("\"b/a\\tb\\303\\244\\\"\"").unwrap(), "a\tb\u{e4}\"");
        assert_eq!(patch_name("b/with space\t").unwrap(), "with space");
        assert_eq!(patch_name("/dev/null"), None);
    }
}
