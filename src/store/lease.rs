//! One engine a repository: the lock that only one process holds.
//!
//! **Lock:** `engine.lock`, an advisory `flock` taken without waiting. The kernel lets go of it when the process
//! is gone for whatever reason, so there is nothing to unlock by hand. The file is kept for good: deleting it
//! would let two processes lock two files of the same name.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::path::PathBuf;

use jiff::Timestamp;
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use super::{Home, StoreError, disk};
use crate::fault;

/// Longest text taken from the lock file, in bytes.
const HOLDER_BYTES_MAX: u64 = 4096;

/// Who holds the repository.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// Process id.
    pub pid: u32,
    /// The command line, for people.
    pub command: String,
    /// When it took the lock.
    pub started: Timestamp,
}

impl std::fmt::Display for Holder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let command: String = self.command.chars().filter(|c| !c.is_control()).collect();
        write!(f, "process {} (`{command}`, since {:.0})", self.pid, self.started)
    }
}

/// The lease was not given.
#[derive(Debug, thiserror::Error)]
pub enum LeaseError {
    /// Another engine works in this repository. Wait for it, or end it.
    #[error(
        "another engine holds this repository: {holder}; wait for it to end, or stop it with Ctrl-C or `kill`"
    )]
    Held {
        /// Who, as told by the lock file.
        holder: String,
    },
    /// The lock file could not be made, locked or written.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Proof that this process holds `engine.lock`. Dropping it lets go.
///
/// The lock is one on a file, and a file can be taken away under whoever holds it: then another engine may hold a new
/// one of the same name. [`StoreLease::is_current`] is the fence against that.
#[derive(Debug)]
pub struct StoreLease {
    /// Holds the lock as long as it is open.
    file: File,
    path: PathBuf,
    holder: Holder,
}

impl StoreLease {
    /// Takes the lock without waiting and writes `holder` into the file.
    ///
    /// # Errors
    /// [`LeaseError::Held`] when another process, or another open file of this one, has it.
    pub fn acquire(home: &Home, holder: &Holder) -> Result<Self, LeaseError> {
        let path = home.lock();
        disk::make_dir(home.root())?;
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(|source| StoreError::io("open the lock", &path, source))?;
        match lock_patiently(&file) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                return Err(LeaseError::Held {
                    holder: holder_text(&mut file),
                });
            }
            Err(errno) => return Err(StoreError::io("lock", &path, errno.into()).into()),
        }
        let text = serde_json::to_vec(holder).expect("a holder is plain data");
        fault::point("lease.text")
            .and_then(|()| file.set_len(0))
            .and_then(|()| file.write_all(&text))
            .map_err(|source| StoreError::io("write the holder into", &path, source))?;
        Ok(Self {
            file,
            path,
            holder: holder.clone(),
        })
    }

    /// Whether the file that is locked is still the one that every other engine would lock.
    pub fn is_current(&self) -> bool {
        disk::is_at(&self.file, &self.path)
    }

    /// Who holds it.
    pub fn holder(&self) -> &Holder {
        &self.holder
    }
}

/// Takes the lock; a reader that asks for the holder has it for an instant, which is waited out.
fn lock_patiently(file: &File) -> Result<(), rustix::io::Errno> {
    const TRIES: u32 = 50;
    for _ in 1..TRIES {
        match flock(file, FlockOperation::NonBlockingLockExclusive) {
            Err(rustix::io::Errno::WOULDBLOCK) => std::thread::sleep(std::time::Duration::from_millis(2)),
            done => return done,
        }
    }
    flock(file, FlockOperation::NonBlockingLockExclusive)
}

/// The holder named in the lock file; the file is written by whoever holds the lock, so its text may be anything.
fn holder_text(file: &mut File) -> String {
    let mut bytes = Vec::new();
    let read = file.take(HOLDER_BYTES_MAX).read_to_end(&mut bytes);
    match (read, serde_json::from_slice::<Holder>(&bytes)) {
        (Ok(_), Ok(holder)) => holder.to_string(),
        _ => "a process that has not written its name yet".to_owned(),
    }
}

/// The holder of the lease of `home`, if a process has it now. For readers: the lock is tried and let go of at once.
pub fn holder(home: &Home) -> Option<String> {
    let mut file = File::open(home.lock()).ok()?;
    match flock(&file, FlockOperation::NonBlockingLockShared) {
        Ok(()) => None,
        Err(_) => Some(holder_text(&mut file)),
    }
}
