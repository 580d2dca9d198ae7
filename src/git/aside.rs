//! A repository seen so that nothing of what is made stays.
//!
//! Objects go into a store of its own, which borrows the repository's and goes with the last clone of the view. Nothing
//! that outlives the view refers to them. So they are not synced, and no failpoint stands before these writes: whether
//! one of them is done, half done or not at all is seen by nobody who comes later. They also happen beside what a run
//! writes down, at moments that no replay repeats.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tempfile::TempDir;

use super::loose::LooseObjects;
use super::repository::Repository;
use super::{Error, Result};
use crate::port::Cut;

/// Where a view puts what is made.
#[derive(Debug)]
pub(super) struct Aside {
    objects: TempDir,
    cut: Cut,
}

impl Aside {
    /// Ends the commands of the view.
    pub(super) fn cut(&self) -> &Cut {
        &self.cut
    }
}

impl Repository {
    /// The same repository for questions about objects that leave nothing behind. Its commands end when `cut` says so.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn aside(&self, cut: &Cut) -> Result<Self> {
        let parent = self.scratch_root()?;
        let objects = tempfile::Builder::new()
            .prefix("objects-")
            .tempdir_in(parent)
            .map_err(Error::io("make a directory in", parent))?;
        borrow(objects.path(), &self.objects_dir())?;
        let cut = cut.clone();
        let mut view = self.clone();
        view.aside = Some(Arc::new(Aside { objects, cut }));
        Ok(view)
    }

    /// Where objects are made; those that it borrows are found from there.
    pub(super) fn objects_dir(&self) -> PathBuf {
        match &self.aside {
            Some(aside) => aside.objects.path().to_owned(),
            None => self.common_dir().join("objects"),
        }
    }

    /// Objects on their way to where they are made.
    pub(super) fn new_objects(&self) -> LooseObjects {
        match &self.aside {
            Some(aside) => LooseObjects::passing(aside.objects.path().to_owned()),
            None => LooseObjects::durable(self.objects_dir()),
        }
    }

    /// Passes the failpoint before a write, where the write stays.
    pub(super) fn staying(&self, point: impl FnOnce() -> std::io::Result<()>) -> std::io::Result<()> {
        match self.aside {
            Some(_) => Ok(()),
            None => point(),
        }
    }
}

/// Makes an object store of a directory, which borrows those of another.
fn borrow(store: &Path, lender: &Path) -> Result<()> {
    let info = store.join("info");
    fs::create_dir_all(&info).map_err(Error::io("make", &info))?;
    let file = info.join("alternates");
    let line = [lender.as_os_str().as_bytes(), b"\n"].concat();
    fs::write(&file, line).map_err(Error::io("write", &file))
}
