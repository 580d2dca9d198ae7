//! What stands in a person's checkout on the paths that a landing would write.
//!
//! Each path has an old and a new version, an index entry and a file. It is free when both entry and file are one of
//! the two versions; anything else is a person's work. Files are compared as the person's own settings would store
//! them, because these are their files.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::invoke::nul_items;
use super::objects::{MODE_EXECUTABLE, MODE_LINK, MODE_SUBMODULE, own, unreadable};
use super::repository::Repository;
use super::{Error, Result};
use crate::id::Oid;

/// Mode and object of a path in a tree or in the index.
pub(super) type Entry = (u32, Oid);

/// What the file system has at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum OnDisk {
    Absent,
    /// A file or link stands where a directory above it would have to be.
    Blocked(String),
    /// A directory with these files below it, by their paths from the top.
    Directory(Vec<String>),
    Link(Oid),
    /// The object it would be stored as under the old and under the new attributes.
    File {
        executable: bool,
        as_old: Oid,
        as_new: Oid,
    },
    /// A socket, a pipe, a device.
    Other,
}

/// One path that a landing writes.
#[derive(Debug, Clone)]
pub(super) struct PathState {
    pub(super) path: String,
    pub(super) old: Option<Entry>,
    pub(super) new: Option<Entry>,
    /// `Err` when the index has a conflict there.
    pub(super) index: std::result::Result<Option<Entry>, ()>,
    /// Whether a sparse checkout leaves the file out.
    pub(super) sparse: bool,
    pub(super) disk: OnDisk,
    /// Whether modes of files mean anything here.
    modes: bool,
}

impl PathState {
    /// Whether the index has the old or the new version.
    pub(super) fn index_is_free(&self) -> bool {
        self.index
            .as_ref()
            .is_ok_and(|found| *found == self.old || *found == self.new)
    }

    /// Whether the file is the new version already.
    pub(super) fn file_is_new(&self) -> bool {
        self.file_is(self.new.as_ref(), false)
    }

    /// The path at which a person's work is, when it is in the way here.
    fn whose_path<'a>(&'a self, landscape: &Landscape) -> &'a str {
        match &self.disk {
            OnDisk::Blocked(by) if !landscape.goes_away(by) => by,
            _ => &self.path,
        }
    }

    /// Whether neither the index nor the disk has anything here.
    fn is_removed(&self) -> bool {
        let on_disk = match &self.disk {
            OnDisk::Absent => false,
            OnDisk::Directory(files) => !files.is_empty(),
            OnDisk::Blocked(_) | OnDisk::Link(_) | OnDisk::File { .. } | OnDisk::Other => true,
        };
        !on_disk && self.index == Ok(None)
    }

    fn file_is_old(&self) -> bool {
        self.file_is(self.old.as_ref(), true)
    }

    fn file_is(&self, version: Option<&Entry>, old: bool) -> bool {
        let Some((mode, oid)) = version else {
            // Where there is to be no file, a directory or a file above it is none of ours.
            return matches!(
                self.disk,
                OnDisk::Absent | OnDisk::Blocked(_) | OnDisk::Directory(_)
            );
        };
        if *mode == MODE_SUBMODULE {
            return true;
        }
        match &self.disk {
            OnDisk::Absent => self.sparse,
            OnDisk::Link(found) => *mode == MODE_LINK && found == oid,
            OnDisk::File {
                executable,
                as_old,
                as_new,
            } => {
                let stored = if old { as_old } else { as_new };
                let mode_fits = !self.modes || *executable == (*mode == MODE_EXECUTABLE);
                *mode != MODE_LINK && stored == oid && mode_fits
            }
            OnDisk::Blocked(_) | OnDisk::Directory(_) | OnDisk::Other => false,
        }
    }
}

/// A person's work that is in the way of bringing a checkout along.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct InTheWay {
    /// Where it is, in order: the paths that would be written, or files that stand where their directories would be.
    pub paths: Vec<String>,
    /// Those of them that are removed in the index, and have no file: git finds nothing there.
    pub removed: Vec<String>,
}

/// Every path that a landing writes.
#[derive(Debug)]
pub(super) struct Landscape {
    pub(super) paths: Vec<PathState>,
}

impl Landscape {
    /// Whether the file at this path may be replaced: it is one of the versions, and nothing that would have to give
    /// way is a person's.
    pub(super) fn file_is_free(&self, state: &PathState) -> bool {
        if !state.file_is_new() && !state.file_is_old() {
            return false;
        }
        if state.new.is_none() || state.file_is_new() {
            return true;
        }
        match &state.disk {
            OnDisk::Blocked(by) => self.goes_away(by),
            OnDisk::Directory(files) => files.iter().all(|file| self.goes_away(file)),
            OnDisk::Absent | OnDisk::Link(_) | OnDisk::File { .. } | OnDisk::Other => true,
        }
    }

    fn goes_away(&self, path: &str) -> bool {
        let found = self.paths.binary_search_by(|state| state.path.as_str().cmp(path));
        found.is_ok_and(|place| {
            let state = &self.paths[place];
            state.new.is_none() && state.old.is_some() && state.file_is_old()
        })
    }
}

/// Time between two looks at a held index.
const LOOK_AGAIN: Duration = Duration::from_millis(25);

impl Repository {
    /// What of a person's work is in the way of bringing `checkout` from `from` to `to`: changed, staged, untracked or
    /// ignored. Work elsewhere does not matter. Empty when nothing is in the way.
    ///
    /// # Errors
    /// When git fails.
    pub fn obstacles_in_checkout(&self, checkout: &Path, from: &Oid, to: &Oid) -> Result<InTheWay> {
        let landscape = self.landscape(checkout, from, to)?;
        let blocked = landscape
            .paths
            .iter()
            .filter(|state| !state.index_is_free() || !landscape.file_is_free(state));
        let mut way = InTheWay::default();
        for state in blocked {
            let path = state.whose_path(&landscape).to_owned();
            if state.is_removed() {
                way.removed.push(path.clone());
            }
            if way.paths.last() != Some(&path) {
                way.paths.push(path);
            }
        }
        Ok(way)
    }

    /// Waits until no git holds the index of `checkout`: an editor that asks for the status holds it for a moment.
    ///
    /// # Errors
    /// [`Error::IndexLocked`] when it is still held after `patience`.
    pub fn wait_for_index(&self, checkout: &Path, patience: Duration) -> Result<()> {
        let lock = self.index_lock_path(checkout)?;
        let began = Instant::now();
        while lock.exists() {
            if began.elapsed() >= patience {
                return Err(Error::IndexLocked(lock));
            }
            std::thread::sleep(LOOK_AGAIN);
        }
        Ok(())
    }

    pub(super) fn index_lock_path(&self, checkout: &Path) -> Result<PathBuf> {
        let call = self
            .personal(checkout)
            .args(["rev-parse", "--git-path", "index.lock"]);
        Ok(checkout.join(self.invoker().line(&call)?))
    }

    /// Looks at every path that differs between the two commits.
    pub(super) fn landscape(&self, checkout: &Path, from: &Oid, to: &Oid) -> Result<Landscape> {
        let mut changes = self.raw_changes(from, to, "--no-renames")?;
        changes.sort_by(|one, other| one.path.cmp(&other.path));
        let index = self.index_entries(checkout)?;
        let mut files = Vec::new();
        for change in &changes {
            if matches!(place_of(checkout, &change.path)?, Place::File(_)) {
                files.push(change.path.as_str());
            }
        }
        let as_old = self.stored_as(checkout, from, &files)?;
        let rules_change = changes
            .iter()
            .any(|change| change.path.rsplit('/').next() == Some(".gitattributes"));
        let as_new = if rules_change {
            self.stored_as(checkout, to, &files)?
        } else {
            as_old.clone()
        };
        let modes = self.modes_matter(checkout)?;
        let mut states = Vec::with_capacity(changes.len());
        for change in &changes {
            let path = &change.path;
            let disk = match place_of(checkout, path)? {
                Place::Other(disk) => disk,
                Place::File(executable) => match (as_old.get(path.as_str()), as_new.get(path.as_str())) {
                    (Some(old), Some(new)) => OnDisk::File {
                        executable,
                        as_old: old.clone(),
                        as_new: new.clone(),
                    },
                    // It appeared since: a person is at work there.
                    _ => OnDisk::Other,
                },
            };
            let (entry, sparse) = index.get(path).cloned().unwrap_or((Ok(None), false));
            states.push(PathState {
                old: change.old.clone(),
                new: change.new.clone(),
                path: path.clone(),
                index: entry,
                sparse,
                disk,
                modes,
            });
        }
        Ok(Landscape { paths: states })
    }

    #[expect(
        clippy::type_complexity,
        reason = "an entry or a conflict, and whether it is sparse"
    )]
    pub(super) fn index_entries(
        &self,
        checkout: &Path,
    ) -> Result<BTreeMap<String, (std::result::Result<Option<Entry>, ()>, bool)>> {
        let call = self.personal(checkout).args(["ls-files", "-z", "--stage", "-t"]);
        let bytes = self.output(&call)?;
        let mut entries = BTreeMap::new();
        for item in nul_items(&bytes) {
            let text = String::from_utf8_lossy(item);
            let answer = || Error::Answer {
                command: call.describe(),
                answer: text.to_string(),
            };
            let (head, path) = text.split_once('\t').ok_or_else(answer)?;
            let words: Vec<_> = head.split(' ').collect();
            let [tag, mode, oid, stage] = words[..] else {
                return Err(answer());
            };
            let mode = u32::from_str_radix(mode, 8).map_err(|_| answer())?;
            let entry = if stage == "0" {
                Ok(Some((mode, oid.parse()?)))
            } else {
                Err(())
            };
            entries.insert(path.to_owned(), (entry, tag == "S"));
        }
        Ok(entries)
    }

    /// The objects that files would be stored as, with the person's settings and the attributes of `commit`.
    fn stored_as<'p>(
        &self,
        checkout: &Path,
        commit: &Oid,
        files: &[&'p str],
    ) -> Result<BTreeMap<&'p str, Oid>> {
        if files.is_empty() {
            return Ok(BTreeMap::new());
        }
        let lines: Vec<String> = files.iter().map(|path| quoted_line(path)).collect();
        let call = self
            .personal(checkout)
            .attributes_from(commit.as_str())
            .args(["hash-object", "--stdin-paths"])
            .config("core.safecrlf", "false")
            .stdin(lines.concat().into_bytes());
        let bytes = self.output(&call)?;
        let text = String::from_utf8_lossy(&bytes);
        let oids = text.lines().map(|line| Ok(line.parse()?));
        files
            .iter()
            .copied()
            .zip(oids)
            .map(|(path, oid): (_, Result<Oid>)| Ok((path, oid?)))
            .collect()
    }

    fn modes_matter(&self, checkout: &Path) -> Result<bool> {
        let call = self.personal(checkout).args([
            "config",
            "--type=bool",
            "--default=true",
            "--get",
            "core.fileMode",
        ]);
        Ok(self.invoker().line(&call)? == "true")
    }
}

/// `hash-object` reads lines, and takes one that begins with a quote for a quoted one.
fn quoted_line(path: &str) -> String {
    if path.contains('\n') || path.starts_with('"') {
        let inner = path
            .replace('\\', "\\\\")
            .replace('"', "\\\"")
            .replace('\n', "\\n");
        return format!("\"{inner}\"\n");
    }
    format!("{path}\n")
}

enum Place {
    /// A file; whether it is executable.
    File(bool),
    Other(OnDisk),
}

/// Looks at a path below `top` without following any link on the way.
fn place_of(top: &Path, path: &str) -> Result<Place> {
    let mut above = PathBuf::new();
    let parts: Vec<&str> = path.split('/').collect();
    for part in &parts[..parts.len() - 1] {
        above.push(part);
        match fs::symlink_metadata(top.join(&above)) {
            Ok(data) if data.is_dir() => {}
            Ok(_) => {
                return Ok(Place::Other(OnDisk::Blocked(
                    above.to_string_lossy().into_owned(),
                )));
            }
            Err(_) => return Ok(Place::Other(OnDisk::Absent)),
        }
    }
    let full = top.join(path);
    let data = match fs::symlink_metadata(&full) {
        Ok(data) => data,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Ok(Place::Other(OnDisk::Absent));
        }
        Err(source) => {
            return Err(Error::Io {
                action: "look at",
                path: full,
                source,
            });
        }
    };
    let kind = data.file_type();
    if kind.is_file() {
        return Ok(Place::File(data.permissions().mode() & 0o100 != 0));
    }
    Ok(Place::Other(if kind.is_symlink() {
        let to = fs::read_link(&full).map_err(Error::io("read", &full))?;
        let oid = git2::Oid::hash_object(git2::ObjectType::Blob, to.as_os_str().as_bytes());
        OnDisk::Link(own(oid.map_err(unreadable(path))?)?)
    } else if kind.is_dir() {
        let mut files = Vec::new();
        files_below(top, path, &mut files)?;
        OnDisk::Directory(files)
    } else {
        OnDisk::Other
    }))
}

fn files_below(top: &Path, path: &str, files: &mut Vec<String>) -> Result<()> {
    let directory = top.join(path);
    for entry in fs::read_dir(&directory).map_err(Error::io("list", &directory))? {
        let entry = entry.map_err(Error::io("list", &directory))?;
        let name = format!("{path}/{}", entry.file_name().to_string_lossy());
        if entry
            .file_type()
            .map_err(Error::io("look at", entry.path()))?
            .is_dir()
        {
            files_below(top, &name, files)?;
        } else {
            files.push(name);
        }
    }
    Ok(())
}
