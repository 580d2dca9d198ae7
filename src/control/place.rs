//! Where the socket is.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

/// Where the socket of a repository may be. An engine takes the first that it can have; callers try all, since the
/// environment they were called in may be another.
#[derive(Debug, Clone)]
pub struct Place {
    candidates: Vec<PathBuf>,
}

impl Place {
    /// The socket called `name` in one of `folders`, the best first.
    pub fn new(folders: &[PathBuf], name: &str) -> Self {
        Self {
            candidates: folders.iter().map(|folder| folder.join(name)).collect(),
        }
    }

    pub(super) fn candidates(&self) -> &[PathBuf] {
        &self.candidates
    }
}

/// Makes the directory of a socket where it is missing.
pub(super) fn make_private(folder: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(0o700).create(folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        Ok(()) | Err(_) => require_private(folder),
    }
}

/// Refuses a directory that somebody else could have made or may write to.
pub(super) fn require_private(folder: &Path) -> io::Result<()> {
    let found = fs::symlink_metadata(folder)?;
    let own = rustix::process::geteuid().as_raw();
    if found.is_dir() && found.uid() == own && found.mode() & 0o077 == 0 {
        return Ok(());
    }
    Err(io::Error::new(
        io::ErrorKind::PermissionDenied,
        format!("{} is not a directory of yours alone", folder.display()),
    ))
}
