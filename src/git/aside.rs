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
use super::objects::commit_text;
use super::repository::Repository;
use super::{Error, Result};
use crate::id::Oid;
use crate::port::Cut;

/// Where a view puts what is made.
#[derive(Debug)]
pub(super) struct Aside {
    objects: Store,
    cut: Cut,
}

/// A directory for objects.
#[derive(Debug)]
enum Store {
    Own(TempDir),
    Lent(PathBuf),
}

impl Aside {
    fn objects(&self) -> &Path {
        match &self.objects {
            Store::Own(directory) => directory.path(),
            Store::Lent(path) => path,
        }
    }

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
        Ok(self.with_aside(Store::Own(objects), cut))
    }

    /// The same for who was lent the store of such a view, [`Self::objects_dir`].
    #[must_use]
    pub fn aside_in(&self, objects: &Path, cut: &Cut) -> Self {
        self.with_aside(Store::Lent(objects.to_owned()), cut)
    }

    fn with_aside(&self, objects: Store, cut: &Cut) -> Self {
        let cut = cut.clone();
        let mut view = self.clone();
        view.aside = Some(Arc::new(Aside { objects, cut }));
        view
    }

    /// Where objects are made; those that it borrows are found from there.
    pub fn objects_dir(&self) -> PathBuf {
        match &self.aside {
            Some(aside) => aside.objects().to_owned(),
            None => self.common_dir().join("objects"),
        }
    }

    /// Objects on their way to where they are made.
    pub(super) fn new_objects(&self) -> LooseObjects {
        match &self.aside {
            Some(aside) => LooseObjects::passing(aside.objects().to_owned()),
            None => LooseObjects::durable(self.objects_dir()),
        }
    }

    /// A commit that nobody made, which stands for a tree on a commit where commits are asked for.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn passing_commit(&self, tree: &Oid, on: &Oid) -> Result<Oid> {
        self.write_commit(&passing_text(tree, on))
    }

    /// Passes the failpoint before a write, where the write stays.
    pub(super) fn staying(&self, point: impl FnOnce() -> std::io::Result<()>) -> std::io::Result<()> {
        match self.aside {
            Some(_) => Ok(()),
            None => point(),
        }
    }
}

/// The text of a commit that nobody made.
pub(super) fn passing_text(tree: &Oid, on: &Oid) -> Vec<u8> {
    let nobody = b"nobody <> 0 +0000";
    commit_text(tree, &[on], nobody, nobody, &[], b"placed")
}

/// Makes an object store of a directory, which borrows those of another.
fn borrow(store: &Path, lender: &Path) -> Result<()> {
    let info = store.join("info");
    fs::create_dir_all(&info).map_err(Error::io("make", &info))?;
    let file = info.join("alternates");
    let line = [lender.as_os_str().as_bytes(), b"\n"].concat();
    fs::write(&file, line).map_err(Error::io("write", &file))
}
