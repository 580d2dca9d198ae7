//! Bringing a target forward to where its upstream is: the ref, and the files of the checkout that has it.
//!
//! As with a landing, the ref moves first, by compare-and-swap, and the files follow. Between the two a checkout shows
//! what it lacks as a staged reversal, and no journal of a run knows of it; so what is intended stands in a file until
//! it is done, and the next `run` finishes what a crash cut off.

use std::fs;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::checkout::InTheWay;
use super::land::Moved;
use super::repository::Repository;
use super::{Error, Result};
use crate::fault;
use crate::id::Oid;

/// The name of the file that says what is intended, beside the locks.
const INTENT: &str = "forward.json";

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Forwarded {
    /// The branch is there, and so are the files.
    Done,
    /// A person's work is in the way; nothing was touched.
    InTheWay {
        /// The checkout.
        checkout: PathBuf,
        /// What.
        what: InTheWay,
    },
    /// Somebody else moved the branch at this moment; nothing was touched.
    Elsewhere,
    /// The repository does not let the branch move; git's words. Nothing was touched.
    Refused(String),
}

/// A move that was begun.
#[derive(Debug, Serialize, Deserialize)]
struct Intent {
    branch: String,
    from: Oid,
    to: Oid,
    /// The checkout that has the branch.
    checkout: Option<PathBuf>,
}

impl Repository {
    /// Moves a branch from `from` forward to `to`, its descendant, and brings along the files of the checkout that has
    /// it, unless a person's work is in the way there. Another git in that checkout is waited for, up to `patience`.
    ///
    /// # Errors
    /// When git or the disk fails, when the branch is locked, and when `to` is no descendant.
    pub fn fast_forward(&self, branch: &str, from: &Oid, to: &Oid, patience: Duration) -> Result<Forwarded> {
        let lock = self.lock_target(branch)?;
        let way = self.way_in_checkout(branch, from, to, patience)?;
        if let Some((checkout, what)) = way.clone().filter(|(_, what)| !what.paths.is_empty()) {
            return Ok(Forwarded::InTheWay { checkout, what });
        }
        let intent = Intent {
            branch: branch.to_owned(),
            from: from.clone(),
            to: to.clone(),
            checkout: way.map(|(checkout, _)| checkout),
        };
        self.write_intent(&intent)?;
        let moved = self.move_target(&lock, from, to, "pipeline: fast-forward to the upstream")?;
        match moved {
            Moved::Done => self.finish_intent(&intent, patience)?,
            Moved::Elsewhere(_) | Moved::Refused(_) => self.remove_intent()?,
        }
        Ok(match moved {
            Moved::Done => Forwarded::Done,
            Moved::Elsewhere(_) => Forwarded::Elsewhere,
            Moved::Refused(words) => Forwarded::Refused(words),
        })
    }

    /// The branch that a crash cut off on its way forward, if there is one.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn open_fast_forward(&self) -> Result<Option<String>> {
        Ok(self.read_intent()?.map(|intent| intent.branch))
    }

    /// Finishes what a crash cut off. Returns the branch whose files were brought along, if there was one.
    ///
    /// # Errors
    /// When git or the disk fails; the next call goes on.
    pub fn finish_fast_forward(&self, patience: Duration) -> Result<Option<String>> {
        let Some(intent) = self.read_intent()? else {
            return Ok(None);
        };
        let tip = self.tip(&intent.branch)?;
        let has_moved = match &tip {
            // What is not even here is not in the branch.
            Some(tip) => self.is_ancestor(&intent.to, tip).unwrap_or(false),
            None => false,
        };
        if !has_moved {
            self.remove_intent()?;
            return Ok(None);
        }
        self.finish_intent(&intent, patience)?;
        Ok(Some(intent.branch))
    }

    fn finish_intent(&self, intent: &Intent, patience: Duration) -> Result<()> {
        if let Some(checkout) = &intent.checkout {
            self.follow_where_it_is(&intent.branch, checkout, (&intent.from, &intent.to), patience)?;
        }
        self.remove_intent()
    }

    /// What is intended. The file appears whole, so what cannot be read is none of ours, and is replaced some day.
    fn read_intent(&self) -> Result<Option<Intent>> {
        let path = self.common_dir().join("pipeline").join(INTENT);
        match fs::read(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Ok(bytes) => Ok(serde_json::from_slice(&bytes).ok()),
            Err(error) => Err(Error::io("read", &path)(error)),
        }
    }

    fn write_intent(&self, intent: &Intent) -> Result<()> {
        let directory = self.own_dir()?;
        let path = directory.join(INTENT);
        let bytes = serde_json::to_vec(intent).expect("plain data serialises");
        let write = || -> std::io::Result<()> {
            fault::point("git.forward.intent")?;
            let mut aside = tempfile::NamedTempFile::new_in(&directory)?;
            aside.write_all(&bytes)?;
            aside.as_file().sync_all()?;
            aside.persist(&path).map_err(|error| error.error)?;
            sync_directory(&directory)
        };
        write().map_err(Error::io("write", &path))
    }

    fn remove_intent(&self) -> Result<()> {
        let path = self.own_dir()?.join(INTENT);
        match fault::point("git.forward.done").and_then(|()| fs::remove_file(&path)) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(Error::Io {
                action: "remove",
                path,
                source: error,
            }),
            Ok(()) | Err(_) => Ok(()),
        }
    }
}

fn sync_directory(directory: &Path) -> std::io::Result<()> {
    fs::File::open(directory)?.sync_all()
}
