//! The directories of one attempt.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{Mode, OFlags, openat};

use crate::fault;
use crate::id::{AttemptKey, RunId};
use crate::process::plain_text;

/// The file `PIPELINE_RESULT`, below `out/`.
pub(super) const RESULT_FILE: &str = "result.json";
/// The file `PIPELINE_ENV`, below `out/`.
pub(super) const ADDITIONS_FILE: &str = "env";
/// Most bytes of a log's end that are shown.
const TAIL_BYTES_MAX: usize = 8 * 1024;
/// How often the directories are made anew when another attempt's removal takes their parent away meanwhile.
const CREATE_RETRIES: u32 = 8;

/// Where the parts of an attempt are.
#[derive(Debug, Clone)]
pub(super) struct Place {
    /// The attempt's own directory; everything else is below it.
    pub(super) root: PathBuf,
    pub(super) tree: PathBuf,
    pub(super) git: PathBuf,
    pub(super) context: PathBuf,
    pub(super) out: PathBuf,
    pub(super) tmp: PathBuf,
    pub(super) agent: PathBuf,
    pub(super) scratch: PathBuf,
}

impl Place {
    /// The place of an attempt; makes nothing.
    pub(super) fn of(worktrees_root: &Path, run: &RunId, key: &AttemptKey) -> Self {
        // The last half of a run's id is random; short paths matter to sockets and to shebang lines.
        let run = &run.as_str()[run.as_str().len() - 8..];
        let unit = worktrees_root.join(run).join(key.unit.as_str());
        Self::below(unit.join(super::note::attempt_name(key)))
    }

    /// The place with that directory.
    pub(super) fn below(root: PathBuf) -> Self {
        Self {
            tree: root.join("tree"),
            git: root.join("git"),
            context: root.join("context"),
            out: root.join("out"),
            tmp: root.join("tmp"),
            agent: root.join("agent"),
            scratch: root.join("scratch"),
            root,
        }
    }

    /// Makes the directories, except those that git makes. An attempt's directory that exists is an error: it would
    /// not be fresh.
    ///
    /// The answer is `out/`, held open, so that what is read there later is what was made here.
    pub(super) fn create(&self) -> io::Result<OwnedFd> {
        let parent = self
            .root
            .parent()
            .expect("an attempt's directory is below a unit's");
        let mut tries = 0;
        loop {
            private_directories(parent)?;
            let made =
                fault::point("place.make").and_then(|()| DirBuilder::new().mode(0o700).create(&self.root));
            match made {
                Ok(()) => break,
                Err(error) if error.kind() == io::ErrorKind::NotFound && tries < CREATE_RETRIES => tries += 1,
                Err(error) => return Err(error),
            }
        }
        let filled = self.fill();
        if filled.is_err() {
            // What was half made must not be taken for an attempt; the first error is the one to tell.
            drop(remove_tree(&self.root));
        }
        filled
    }

    fn fill(&self) -> io::Result<OwnedFd> {
        fault::point("place.fill")?;
        for directory in [&self.context, &self.out, &self.tmp, &self.agent, &self.scratch] {
            DirBuilder::new().mode(0o700).create(directory)?;
        }
        let out = open_no_follow(&self.out)?;
        fault::point("place.additions")?;
        File::create(self.out.join(ADDITIONS_FILE))?;
        Ok(out)
    }

    /// Removes the attempt's directory, and those of its unit and run when they became empty.
    pub(super) fn remove(&self) -> io::Result<()> {
        fault::point("place.remove")?;
        remove_tree(&self.root)?;
        for directory in self.root.ancestors().skip(1).take(2) {
            // Not empty: somebody else is there.
            if fs::remove_dir(directory).is_err() {
                break;
            }
        }
        Ok(())
    }
}

fn open_no_follow(directory: &Path) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::RDONLY;
    rustix::fs::open(directory, flags, Mode::empty())
}

/// A directory held open, when it is one and no link to one.
pub(super) fn open_directory(directory: &Path) -> Option<OwnedFd> {
    open_no_follow(directory).ok()
}

/// Makes a directory with its parents for this user alone.
pub(super) fn private_directories(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    fault::point("workspace.directory")?;
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Writes a file below `root` that may be read and, where it says so, run, but not changed.
///
/// # Errors
/// `path` is absolute or has `..`, the file is there already, or it cannot be written.
pub(super) fn write_read_only(root: &Path, path: &Path, content: &[u8], mode: u32) -> io::Result<PathBuf> {
    if !path.components().all(|part| matches!(part, Component::Normal(_))) {
        let sentence = format!("`{}` is no path below a directory", path.display());
        return Err(io::Error::new(io::ErrorKind::InvalidInput, sentence));
    }
    let file = root.join(path);
    private_directories(file.parent().expect("a file is in a directory"))?;
    fault::point("workspace.file")?;
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(&file)
        .and_then(|mut file| io::Write::write_all(&mut file, content))?;
    fs::set_permissions(&file, Permissions::from_mode(mode))?;
    Ok(file)
}

/// Makes a directory and those below it read-only.
pub(super) fn seal(directory: &Path) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            seal(&entry.path())?;
        }
    }
    fs::set_permissions(directory, Permissions::from_mode(0o555))
}

/// Reads a file of a directory that an agent could write, without following a link and without waiting on a pipe.
/// `None` when it is not there.
///
/// # Errors
/// It is no plain file, or longer than `bytes_max`; the sentence says which.
pub(super) fn read_plain(directory: &OwnedFd, name: &str, bytes_max: u64) -> Result<Option<Vec<u8>>, String> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
    let file = match openat(directory, name, flags, Mode::empty()) {
        Ok(file) => File::from(file),
        Err(rustix::io::Errno::NOENT) => return Ok(None),
        Err(rustix::io::Errno::LOOP) => return Err(format!("{name} is a link, which is not followed")),
        Err(error) => return Err(format!("{name} cannot be read: {error}")),
    };
    let unreadable = |error: io::Error| format!("{name} cannot be read: {error}");
    if !file.metadata().map_err(unreadable)?.is_file() {
        return Err(format!("{name} is no plain file"));
    }
    let mut bytes = Vec::new();
    file.take(bytes_max + 1)
        .read_to_end(&mut bytes)
        .map_err(unreadable)?;
    if bytes.len() as u64 > bytes_max {
        return Err(format!("{name} is longer than {bytes_max} bytes"));
    }
    Ok(Some(bytes))
}

/// The end of a log from `offset` on, fit to be shown; at most 8 KiB.
pub(super) fn log_tail(log: &Path, offset: u64) -> String {
    // No log, no tail: what went wrong with it is told by how the command ended.
    let Ok(bytes) = read_end(log, offset) else {
        return String::new();
    };
    let mut text = plain_text(&bytes);
    // A byte that is no text becomes three.
    while text.len() > TAIL_BYTES_MAX {
        let cut = text.ceil_char_boundary(text.len() - TAIL_BYTES_MAX);
        text.drain(..cut);
    }
    text
}

fn read_end(log: &Path, offset: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut file = File::open(log)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(
        offset.max(length.saturating_sub(TAIL_BYTES_MAX as u64)),
    ))?;
    file.take(TAIL_BYTES_MAX as u64).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The length of a log, 0 when there is none.
pub(super) fn log_length(log: &Path) -> u64 {
    fs::metadata(log).map_or(0, |metadata| metadata.len())
}

/// Removes whatever stands at `path` without following a link, also below directories that were made read-only.
pub(super) fn remove_tree(path: &Path) -> io::Result<()> {
    let Ok(metadata) = fs::symlink_metadata(path) else {
        return Ok(());
    };
    if !metadata.is_dir() {
        return fs::remove_file(path);
    }
    if fs::remove_dir_all(path).is_ok() {
        return Ok(());
    }
    let mut directories = vec![path.to_owned()];
    while let Some(directory) = directories.pop() {
        fs::set_permissions(&directory, Permissions::from_mode(0o700))?;
        for entry in fs::read_dir(&directory)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                directories.push(entry.path());
            }
        }
    }
    fs::remove_dir_all(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(directory: &Path) -> OwnedFd {
        File::open(directory).unwrap().into()
    }

    #[test]
    fn only_a_plain_file_of_the_directory_itself_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let fd = open(dir.path());
        assert_eq!(read_plain(&fd, "a", 3), Ok(None));
        fs::write(dir.path().join("a"), "abc").unwrap();
        assert_eq!(read_plain(&fd, "a", 3), Ok(Some(b"abc".to_vec())));
        assert!(read_plain(&fd, "a", 2).unwrap_err().contains("longer than 2"));
        std::os::unix::fs::symlink("a", dir.path().join("link")).unwrap();
        assert!(read_plain(&fd, "link", 3).unwrap_err().contains("link"));
        fs::create_dir(dir.path().join("d")).unwrap();
        assert!(read_plain(&fd, "d", 3).unwrap_err().contains("plain"));
        let fifo = dir.path().join("fifo");
        rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, Mode::RWXU, 0).unwrap();
        assert!(read_plain(&fd, "fifo", 3).unwrap_err().contains("plain"));
    }

    #[test]
    fn a_tail_is_short_plain_and_begins_at_its_offset() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("log");
        assert_eq!(log_tail(&log, 0), "");
        fs::write(&log, "before\n\u{1b}[1mafter\u{1b}[0m\n").unwrap();
        assert_eq!(log_tail(&log, 7), "after\n");
        fs::write(&log, [b'\xff'; 100_000]).unwrap();
        let tail = log_tail(&log, 0);
        assert!(tail.len() <= TAIL_BYTES_MAX && tail.len() > TAIL_BYTES_MAX - 4);
    }

    #[test]
    fn removal_takes_read_only_directories_and_spares_what_links_point_to() {
        let dir = tempfile::tempdir().unwrap();
        let kept = dir.path().join("kept");
        fs::write(&kept, "x").unwrap();
        let doomed = dir.path().join("doomed");
        write_read_only(&doomed, Path::new("a/b/file"), b"x", 0o444).unwrap();
        std::os::unix::fs::symlink(&kept, doomed.join("a/link")).unwrap();
        std::os::unix::fs::symlink(dir.path(), doomed.join("a/dirlink")).unwrap();
        seal(&doomed).unwrap();
        remove_tree(&doomed).unwrap();
        assert!(kept.exists() && !doomed.exists());
        remove_tree(&doomed).unwrap();
    }
}
