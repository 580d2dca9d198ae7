//! Writing that survives a crash: every sync of the store passes through [`sync`], every file that must be whole
//! through [`write_aside`].

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::StoreError;
use crate::fault;

/// Stands in the names of what was moved out of the way.
pub(super) const ASIDE: &str = ".bad-";

/// Brings a file's bytes to the disk. The one place where the store waits for it.
pub(super) fn sync(file: &File) -> io::Result<()> {
    file.sync_data()?;
    fault::synced(file);
    Ok(())
}

/// Brings the names in a directory to the disk.
pub(super) fn sync_dir(dir: &Path) -> Result<(), StoreError> {
    File::open(dir)
        .and_then(|file| file.sync_all())
        .map_err(|source| StoreError::io("sync the directory", dir, source))
}

/// Makes a directory with its parents; there is nothing wrong with one that exists.
pub(super) fn make_dir(dir: &Path) -> Result<(), StoreError> {
    fault::point("store.directory")
        .and_then(|()| fs::create_dir_all(dir))
        .map_err(|source| StoreError::io("make the directory", dir, source))
}

/// Puts `bytes` at `path` so that at any instant the file is either absent, as it was, or complete.
pub(super) fn write_aside(path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    let mut aside = PathBuf::from(path);
    aside.as_mut_os_string().push(".new");
    let written = fault::point("store.file")
        .and_then(|()| File::create(&aside))
        .and_then(|mut file| {
            fault::written(&file, 0);
            fault::torn("store.file.torn", &mut file, bytes)?;
            file.write_all(bytes)?;
            sync(&file)
        });
    written.map_err(|source| StoreError::io("write", &aside, source))?;
    fault::point("store.file.rename")
        .and_then(|()| fs::rename(&aside, path))
        .map_err(|source| StoreError::io("put in place", path, source))?;
    sync_dir(path.parent().expect("a file of the store lies in a directory"))
}

/// Whether an open file is what stands at `path` now: nobody removed or replaced it meanwhile.
pub(super) fn is_at(file: &File, path: &Path) -> bool {
    let identity = |data: fs::Metadata| (data.dev(), data.ino());
    match (file.metadata(), fs::metadata(path)) {
        (Ok(open), Ok(there)) => identity(open) == identity(there),
        (Err(_), _) | (_, Err(_)) => false,
    }
}

/// Moves what is at `path` out of the way under a name nobody has.
pub(super) fn set_aside(path: &Path, stamp: &str) -> Result<PathBuf, StoreError> {
    let name_of = |n: u32| {
        let mut name = path.as_os_str().to_owned();
        name.push(format!("{ASIDE}{stamp}"));
        if n > 1 {
            name.push(format!("-{n}"));
        }
        PathBuf::from(name)
    };
    let aside = (1..)
        .map(name_of)
        .find(|name| !name.exists())
        .expect("some number is free");
    fault::point("store.set-aside")
        .and_then(|()| fs::rename(path, &aside))
        .map_err(|source| StoreError::io("set aside", path, source))?;
    Ok(aside)
}

/// Copies the files of a directory, and those below it, into another.
pub(super) fn copy_dir(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        if entry.file_type()?.is_dir() {
            copy_dir(&source, &target)?;
        } else {
            fs::copy(&source, &target)?;
        }
    }
    Ok(())
}

/// Removes a directory with everything in it; one that is not there is fine.
pub(super) fn remove_dir(dir: &Path) -> Result<(), StoreError> {
    match fault::point("store.remove").and_then(|()| fs::remove_dir_all(dir)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(StoreError::io("remove", dir, error)),
        Ok(()) | Err(_) => Ok(()),
    }
}
