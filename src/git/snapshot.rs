//! Taking the tree an author left, without believing anything in the worktree.
//!
//! git runs in the neutral setting with an index of its own, seeded from the base: the worktree's `.git`, its index,
//! configuration and hooks are never looked at; attributes come from the base and no filter driver exists. What is
//! too much is refused from the files' sizes, before a byte of it is stored.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path};

use super::invoke::{Call, nul_ended, nul_items, path_of};
use super::objects::{MODE_LINK, MODE_SUBMODULE, TreeEntry, own, raw, unreadable};
use super::repository::Repository;
use super::{Error, Result};
use crate::fault;
use crate::id::Oid;

/// Most bytes of paths that a worktree may have beside the base's before it is refused as too many files.
const LISTING_BYTES_MAX: usize = 64 << 20;

/// How much an author may leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SnapshotLimits {
    /// Most files changed, made or removed.
    pub files_max: u32,
    /// Most bytes in files changed or made.
    pub bytes_max: u64,
}

/// The answer of [`Repository::take_tree`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Taken {
    /// The tree, in the repository's object store.
    Tree(Oid),
    /// It cannot be taken; a sentence says why.
    Refused(Refusal),
}

/// One snapshot being taken.
struct Snapshot<'a> {
    repository: &'a Repository,
    worktree: &'a Path,
    base: &'a Oid,
    /// Holds the index and what the exclude rules need.
    scratch: tempfile::TempDir,
}

/// Either a value, or the sentence that refuses.
type Judged<T> = std::result::Result<T, Refusal>;

/// Why a tree is not taken, as a sentence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// What is wrong, and where.
    pub sentence: String,
    /// Whether a limit on size or number is what it exceeds; otherwise something in it cannot be taken at all.
    pub too_large: bool,
}

impl Refusal {
    fn too_large(sentence: String) -> Self {
        Self {
            sentence,
            too_large: true,
        }
    }
}

impl From<String> for Refusal {
    fn from(sentence: String) -> Self {
        Self {
            sentence,
            too_large: false,
        }
    }
}

impl Repository {
    /// Takes the tree that stands in `worktree`, which began as `base`.
    ///
    /// What is ignored by the base's own rules, by the rules that stand there now or by the person's does not enter;
    /// nor does what is new at or below a path of `skip`. Submodules stay as in the base.
    ///
    /// # Errors
    /// When git or the disk fails. What the author did wrong is [`Taken::Refused`].
    pub fn take_tree(
        &self,
        worktree: &Path,
        base: &Oid,
        limits: &SnapshotLimits,
        skip: &[String],
    ) -> Result<Taken> {
        let place = self.scratch_root()?;
        let scratch = self
            .staying(|| fault::point("snapshot.directory"))
            .and_then(|()| {
                tempfile::Builder::new()
                    .prefix("pipeline-tree-")
                    .tempdir_in(place)
            })
            .map_err(Error::io("make a directory for", worktree))?;
        let snapshot = Snapshot {
            repository: self,
            worktree,
            base,
            scratch,
        };
        Ok(match snapshot.take(limits, skip)? {
            Ok(tree) => Taken::Tree(tree),
            Err(refusal) => Taken::Refused(refusal),
        })
    }
}

impl Snapshot<'_> {
    fn call(&self) -> Result<Call> {
        let call = self
            .repository
            .neutral()?
            .attributes_from(self.base.as_str())
            .env("GIT_INDEX_FILE", self.scratch.path().join("index"))
            .env("GIT_WORK_TREE", self.worktree)
            .config("core.bare", "false")
            .config("core.ignoreStat", "false");
        Ok(call)
    }

    /// A call that works in the worktree; its current directory is where relative paths are.
    fn inside(&self, args: &[&str]) -> Result<Call> {
        Ok(self.call()?.arg("-C").arg(self.worktree).args(args))
    }

    fn output(&self, call: &Call) -> Result<Vec<u8>> {
        self.repository.output(call)
    }

    fn take(&self, limits: &SnapshotLimits, skip: &[String]) -> Result<Judged<Oid>> {
        self.output(&self.call()?.args(["read-tree", self.base.as_str()]))?;
        let base: BTreeMap<String, TreeEntry> = self
            .repository
            .entries(self.base)?
            .into_iter()
            .map(|entry| (entry.path.clone(), entry))
            .collect();
        let new = match self.new_paths(&base, skip)? {
            Ok(new) => new,
            Err(refusal) => return Ok(Err(refusal)),
        };
        // Sizes first: a file that is far too large is not even read.
        let judged = refuse_many(new.len(), limits).and_then(|()| self.refuse_huge(&base, &new, limits));
        if let Err(refusal) = judged {
            return Ok(Err(refusal));
        }
        let changed = match self.changed_paths(&base)? {
            Ok(changed) => changed,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let touched: BTreeSet<&str> = new.iter().chain(&changed).map(String::as_str).collect();
        if let Err(refusal) = self.judge(&touched, limits) {
            return Ok(Err(refusal));
        }
        self.bring_index(&touched)?;
        let tree = self.repository.oid(&self.call()?.args(["write-tree"]))?;
        Ok(self.links_stay_inside(&tree, &base)?.map(|()| tree))
    }

    /// Puts the files at these paths into the index and takes out what is gone. git refuses a path below a link, so
    /// what is gone is told apart first.
    fn bring_index(&self, touched: &BTreeSet<&str>) -> Result<()> {
        let (here, gone): (Vec<&str>, Vec<&str>) = touched
            .iter()
            .partition(|path| self.look_at(path).is_some_and(|data| !data.is_dir()));
        for (option, paths) in [("--force-remove", gone), ("--add", here)] {
            let call = self.inside(&["update-index", option, "--replace", "-z", "--stdin"])?;
            self.output(&call.stdin(nul_ended(paths)))?;
        }
        Ok(())
    }

    /// What is at a path, `None` when nothing is or a link leads there.
    fn look_at(&self, path: &str) -> Option<fs::Metadata> {
        let mut place = self.worktree.to_owned();
        let mut parts = path.split('/').peekable();
        while let Some(part) = parts.next() {
            place.push(part);
            let data = fs::symlink_metadata(&place).ok()?;
            if parts.peek().is_none() {
                return Some(data);
            }
            if !data.is_dir() {
                return None;
            }
        }
        None
    }

    /// Paths that are in the worktree, not in the base, and not ignored.
    fn new_paths(&self, base: &BTreeMap<String, TreeEntry>, skip: &[String]) -> Result<Judged<Vec<String>>> {
        let mut call = self
            .inside(&["ls-files", "-z", "--others", "--exclude-per-directory=.gitignore"])?
            .output_bytes_max(LISTING_BYTES_MAX);
        let own = self.repository.common_dir().join("info/exclude");
        for file in [Some(own.as_path()), self.repository.excludes()]
            .into_iter()
            .flatten()
        {
            if file.is_file() {
                call = call.arg("--exclude-from").arg(file);
            }
        }
        let output = self.repository.invoker().run(&call)?;
        if output.truncated {
            return Ok(Err(Refusal::too_large(
                "the worktree holds far too many new files".to_owned(),
            )));
        }
        if !output.status.success() {
            return Err(super::invoke::failed(&call, &output));
        }
        // An agent could have written both lists, and however long they are, they are gone through once.
        let skip: BTreeSet<&[u8]> = skip
            .iter()
            .map(|made| made.trim_end_matches('/').as_bytes())
            .collect();
        let skipped = |path: &[u8]| {
            let ends = path.iter().enumerate().filter(|(_, byte)| **byte == b'/');
            skip.contains(path) || ends.into_iter().any(|(end, _)| skip.contains(&path[..end]))
        };
        let found: Vec<&[u8]> = nul_items(&output.stdout).filter(|path| !skipped(path)).collect();
        let kept = self.without_ignored_by_base(&found, base)?;
        let mut paths = Vec::with_capacity(kept.len());
        for path in kept {
            let shown = || String::from_utf8_lossy(&path).escape_default().to_string();
            if path.ends_with(b"/") {
                return Ok(Err(format!(
                    "`{}` is a git repository of its own inside the worktree",
                    shown()
                )
                .into()));
            }
            match String::from_utf8(path.clone()) {
                Ok(text) => paths.push(text),
                Err(_) => return Ok(Err(format!("the name `{}` is not UTF-8", shown()).into())),
            }
        }
        let tracked = base.values().filter(|entry| entry.mode != MODE_SUBMODULE);
        let all = paths
            .iter()
            .map(String::as_str)
            .chain(tracked.map(|entry| entry.path.as_str()));
        Ok(self.refuse_embedded(all).map(|()| paths))
    }

    /// Drops what the rules of the base ignore, though the author may have changed them. They are laid out in an
    /// otherwise empty directory, so that git itself judges.
    fn without_ignored_by_base(
        &self,
        found: &[&[u8]],
        base: &BTreeMap<String, TreeEntry>,
    ) -> Result<Vec<Vec<u8>>> {
        let all = || found.iter().map(|path| path.to_vec()).collect();
        let rules = base.values().filter(|entry| {
            entry.mode != MODE_LINK && (entry.path == ".gitignore" || entry.path.ends_with("/.gitignore"))
        });
        let rules: Vec<_> = rules.collect();
        if rules.is_empty() || found.is_empty() {
            return Ok(all());
        }
        let ground = self.scratch.path().join("rules");
        let objects = self.repository.objects()?;
        for rule in rules {
            let blob = objects
                .find_blob(raw(&rule.oid))
                .map_err(unreadable(&rule.path))?;
            let file = ground.join(&rule.path);
            let directory = file.parent().expect("it is below `ground`");
            fs::create_dir_all(directory).map_err(Error::io("make", directory))?;
            self.repository
                .staying(|| fault::point("snapshot.rules"))
                .and_then(|()| fs::write(&file, blob.content()))
                .map_err(Error::io("write", &file))?;
        }
        let call = self
            .repository
            .neutral()?
            .env("GIT_INDEX_FILE", self.scratch.path().join("no-index"))
            .env("GIT_WORK_TREE", &ground)
            .config("core.bare", "false")
            .arg("-C")
            .arg(&ground)
            .args(["check-ignore", "-z", "--stdin", "--no-index"])
            // It knows no literal paths; behind `./` nothing looks like more than a path.
            .env("GIT_LITERAL_PATHSPECS", "0")
            .stdin(nul_ended(found.iter().map(|path| [b"./", *path].concat())));
        let output = self.repository.invoker().run(&call)?;
        // Status 1 says that nothing is ignored.
        if !matches!(output.status.code(), Some(0 | 1)) {
            return Err(super::invoke::failed(&call, &output));
        }
        let ignored: BTreeSet<&[u8]> = nul_items(&output.stdout)
            .filter_map(|path| path.strip_prefix(b"./"))
            .collect();
        let kept = found.iter().filter(|path| !ignored.contains(**path));
        Ok(kept.map(|path| path.to_vec()).collect())
    }

    /// A `.git` anywhere but at the top would make what is beside it another repository's.
    fn refuse_embedded<'p>(&self, paths: impl Iterator<Item = &'p str>) -> Judged<()> {
        let mut directories = BTreeSet::new();
        for path in paths {
            let mut directory = Path::new(path).parent();
            while let Some(found) = directory.filter(|found| !found.as_os_str().is_empty()) {
                if !directories.insert(found) {
                    break;
                }
                directory = found.parent();
            }
        }
        for directory in directories {
            if fs::symlink_metadata(self.worktree.join(directory).join(".git")).is_ok() {
                let shown = directory.display();
                return Err(format!("`{shown}/` is a git repository of its own inside the worktree").into());
            }
        }
        Ok(())
    }

    /// Refuses a file that cannot be within the limits however its line ends are counted.
    fn refuse_huge(
        &self,
        base: &BTreeMap<String, TreeEntry>,
        new: &[String],
        limits: &SnapshotLimits,
    ) -> Judged<()> {
        let mut sum = 0_u64;
        for path in new {
            sum = sum.saturating_add(self.size(path));
        }
        refuse_large(sum, limits)?;
        for entry in base.values().filter(|entry| entry.mode != MODE_SUBMODULE) {
            let size = self.size(&entry.path);
            if size > limits.bytes_max.saturating_add(entry.size.saturating_mul(2)) {
                return Err(Refusal::too_large(format!(
                    "`{}` has grown to {size} bytes",
                    entry.path
                )));
            }
        }
        Ok(())
    }

    fn size(&self, path: &str) -> u64 {
        self.look_at(path)
            .filter(fs::Metadata::is_file)
            .map_or(0, |data| data.len())
    }

    /// Paths of the base whose file is another or gone. Every file is read: the index has no times to believe.
    fn changed_paths(&self, base: &BTreeMap<String, TreeEntry>) -> Result<Judged<Vec<String>>> {
        let refresh = self.inside(&["update-index", "-q", "--refresh"])?;
        // Its status only says whether something changed.
        self.repository.invoker().run(&refresh)?;
        let bytes =
            self.output(&self.inside(&["diff-files", "-z", "--name-only", "--ignore-submodules=all"])?)?;
        let mut paths = Vec::new();
        for item in nul_items(&bytes) {
            let Ok(path) = str::from_utf8(item) else {
                return Ok(Err(
                    format!("the name `{}` is not UTF-8", item.escape_ascii()).into()
                ));
            };
            if base.get(path).is_none_or(|entry| entry.mode != MODE_SUBMODULE) {
                paths.push(path.to_owned());
            }
        }
        Ok(Ok(paths))
    }

    fn judge(&self, touched: &BTreeSet<&str>, limits: &SnapshotLimits) -> Judged<()> {
        refuse_many(touched.len(), limits)?;
        let mut bytes = 0_u64;
        for path in touched {
            require_good_name(path)?;
            // What is below a link or gone is a deletion.
            let Some(data) = self.look_at(path) else {
                continue;
            };
            let kind = data.file_type();
            if !(kind.is_file() || kind.is_symlink() || kind.is_dir()) {
                return Err(format!("`{path}` is neither a file nor a link").into());
            }
            bytes = bytes.saturating_add(self.size(path));
        }
        refuse_large(bytes, limits)
    }

    /// Every link that is new must point at something below the worktree's top, without detour.
    fn links_stay_inside(&self, tree: &Oid, base: &BTreeMap<String, TreeEntry>) -> Result<Judged<()>> {
        let objects = self.repository.objects()?;
        for entry in self.repository.entries(tree)? {
            if entry.mode != MODE_LINK || base.get(&entry.path) == Some(&entry) {
                continue;
            }
            let blob = objects
                .find_blob(raw(&entry.oid))
                .map_err(unreadable(&entry.path))?;
            debug_assert_eq!(own(blob.id())?, entry.oid);
            if !stays_inside(&entry.path, &path_of(blob.content())) {
                let to = String::from_utf8_lossy(blob.content())
                    .escape_default()
                    .to_string();
                return Ok(Err(format!(
                    "the link `{}` leaves the worktree: it points at `{to}`",
                    entry.path
                )
                .into()));
            }
        }
        Ok(Ok(()))
    }
}

fn refuse_many(files: usize, limits: &SnapshotLimits) -> Judged<()> {
    if files as u64 > u64::from(limits.files_max) {
        return Err(Refusal::too_large(format!(
            "{files} files are changed, and at most {} may be",
            limits.files_max
        )));
    }
    Ok(())
}

fn refuse_large(bytes: u64, limits: &SnapshotLimits) -> Judged<()> {
    if bytes > limits.bytes_max {
        return Err(Refusal::too_large(format!(
            "the changed files have {bytes} bytes, and at most {} may be",
            limits.bytes_max
        )));
    }
    Ok(())
}

/// Whether a link at `path` with this target stays below the top, read word by word.
fn stays_inside(path: &str, target: &Path) -> bool {
    let mut depth = Path::new(path).components().count() - 1;
    let bytes = target.as_os_str().as_bytes();
    if bytes.is_empty() || bytes.contains(&0) {
        return false;
    }
    for component in target.components() {
        match component {
            Component::Normal(name) if is_git_name(&name.to_string_lossy()) => return false,
            Component::Normal(_) => depth += 1,
            Component::CurDir => {}
            Component::ParentDir if depth > 0 => depth -= 1,
            Component::ParentDir | Component::RootDir | Component::Prefix(_) => return false,
        }
    }
    true
}

fn require_good_name(path: &str) -> Judged<()> {
    let shown = || path.escape_default();
    if path.chars().any(char::is_control) {
        return Err(format!("the name `{}` contains a control character", shown()).into());
    }
    if let Some(part) = path
        .split('/')
        .find(|part| is_git_name(part) || ["", ".", ".."].contains(part))
    {
        return Err(format!(
            "the name `{}` contains `{}`, which git reserves",
            shown(),
            part.escape_default()
        )
        .into());
    }
    Ok(())
}

/// Whether some file system takes this name for `.git`: case, ignorable characters, and the short names and streams
/// of Windows.
fn is_git_name(part: &str) -> bool {
    let visible: String = part
        .chars()
        .filter(|c| !matches!(c, '\u{200c}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{206a}'..='\u{206f}' | '\u{feff}'))
        .flat_map(char::to_lowercase)
        .collect();
    // A backslash separates on Windows, a colon begins a stream there, and dots and spaces at the end vanish.
    visible.split('\\').any(|name| {
        let stem = name
            .split(':')
            .next()
            .unwrap_or(name)
            .trim_end_matches(['.', ' ']);
        stem == ".git" || stem == "git~1"
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_some_file_system_takes_for_git_are_refused() {
        for bad in [
            ".git",
            "a/.GIT/x",
            "git~1",
            ".git. ",
            ".g\u{200c}it",
            ".git::$INDEX_ALLOCATION",
            "a\\.git\\x",
        ] {
            assert!(require_good_name(bad).is_err(), "{bad}");
        }
        for good in [".gitignore", ".github/x", "git", "a.git", ".gitattributes"] {
            assert!(require_good_name(good).is_ok(), "{good}");
        }
        assert!(require_good_name("a\nb").is_err());
    }

    #[test]
    fn a_link_is_followed_word_by_word() {
        for (path, target, inside) in [
            ("a", "b", true),
            ("d/a", "../b", true),
            ("a", "../b", false),
            ("d/a", "x/../../../b", false),
            ("a", "/etc/passwd", false),
            ("a", "", false),
            ("a", ".git/config", false),
        ] {
            assert_eq!(
                stays_inside(path, Path::new(target)),
                inside,
                "{path} -> {target}"
            );
        }
    }
}
