//! Writing objects without a process: loose, as git keeps them.
//!
//! An object is written beside its place, synced, and put in place under its name; whoever sees it sees it whole, and
//! what a journal names afterwards is on the disk. Objects that belong together are synced side by side, because a
//! file system that is asked for several at once writes its own journal once.

use std::collections::HashSet;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::thread;

use git2::{ObjectType, OdbLookupFlags};

use super::objects::unreadable;
use super::{Error, Result};
use crate::fault;

/// Threads that wait for the disk at a time.
const SYNCS_AT_ONCE: usize = 8;
/// How often an object is written when a `git gc` gets in the way each time.
const TRIES_MAX: u32 = 100;
/// Trees and commits hardly compress, and are read again soon.
const COMPRESSION: u8 = 1;

/// Objects on their way into an object store. What is not put there by [`Self::finish`] never was.
pub(super) struct LooseObjects {
    directory: PathBuf,
    /// False where nothing that outlives the process refers to them: then it is no write that a crash could halve, and no
    /// failpoint stands before it.
    synced: bool,
    waiting: Vec<(git2::Oid, Vec<u8>)>,
    named: HashSet<git2::Oid>,
}

impl LooseObjects {
    /// For the object store at `directory`, where everything is synced.
    pub(super) fn durable(directory: PathBuf) -> Self {
        Self {
            directory,
            synced: true,
            waiting: Vec::new(),
            named: HashSet::new(),
        }
    }

    /// For an object store that goes with who asks.
    pub(super) fn passing(directory: PathBuf) -> Self {
        Self {
            synced: false,
            ..Self::durable(directory)
        }
    }

    /// Takes an object in and gives it its name. `store` is looked at for objects that are there already.
    pub(super) fn add(
        &mut self,
        store: &git2::Odb<'_>,
        kind: ObjectType,
        content: &[u8],
    ) -> Result<git2::Oid> {
        let oid = git2::Oid::hash_object(kind, content).map_err(unreadable("a new object"))?;
        if self.named.insert(oid) && !store.exists_ext(oid, OdbLookupFlags::NO_REFRESH) {
            let mut whole = format!("{} {}\0", kind.str(), content.len()).into_bytes();
            whole.extend_from_slice(content);
            self.waiting.push((oid, whole));
        }
        Ok(oid)
    }

    /// Puts everything in place that was taken in; when this returns, it is on the disk.
    pub(super) fn finish(&mut self) -> Result<()> {
        let batch = std::mem::take(&mut self.waiting);
        let this = &*self;
        let put_all = |part: &[(git2::Oid, Vec<u8>)]| -> Result<()> {
            part.iter().try_for_each(|(oid, whole)| this.put(*oid, whole))
        };
        if batch.len() <= 1 || !self.synced {
            return put_all(&batch);
        }
        thread::scope(|scope| {
            let size = batch.len().div_ceil(SYNCS_AT_ONCE);
            let parts: Vec<_> = batch
                .chunks(size)
                .map(|part| scope.spawn(move || put_all(part)))
                .collect();
            parts
                .into_iter()
                .try_for_each(|part| part.join().expect("writing a file does not panic"))
        })
    }

    fn put(&self, oid: git2::Oid, whole: &[u8]) -> Result<()> {
        let name = oid.to_string();
        let folder = self.directory.join(&name[..2]);
        let place = folder.join(&name[2..]);
        self.write(&folder, &place, whole)
            .map_err(Error::io("write the object", &place))
    }

    fn write(&self, folder: &Path, place: &Path, whole: &[u8]) -> io::Result<()> {
        if self.synced {
            fault::point("git.object")?;
        }
        let mut tries = 1..TRIES_MAX;
        loop {
            match self.write_once(folder, place, whole) {
                Err(error) if error.kind() == io::ErrorKind::NotFound && tries.next().is_some() => {}
                written => return written,
            }
        }
    }

    /// Fails as not found when a `git gc` removes the directory before something is in it, or what lies aside there.
    fn write_once(&self, folder: &Path, place: &Path, whole: &[u8]) -> io::Result<()> {
        fs::create_dir_all(folder)?;
        // git's own clean-up knows this name and removes what a crash left.
        let mut aside = tempfile::Builder::new().prefix("tmp_obj_").tempfile_in(folder)?;
        aside.write_all(&miniz_oxide::deflate::compress_to_vec_zlib(whole, COMPRESSION))?;
        aside
            .as_file()
            .set_permissions(fs::Permissions::from_mode(0o444))?;
        if self.synced {
            aside.as_file().sync_all()?;
        }
        aside.persist(place).map(drop).map_err(|error| error.error)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::TestRepo;
    use super::*;

    #[test]
    fn a_git_that_tidies_up_meanwhile_takes_nothing_away() {
        let repo = TestRepo::new();
        let directory = repo.root().join(".git/objects");
        let opened = repo.open();
        let objects = opened.objects().unwrap();
        let store = objects.odb().unwrap();
        let mut new = LooseObjects::durable(directory.clone());
        let contents = (0..400_u32).map(u32::to_le_bytes);
        let names: Vec<_> = contents
            .map(|content| new.add(&store, ObjectType::Blob, &content).unwrap())
            .collect();
        let done = std::sync::atomic::AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                // As `git gc` does with each directory that it emptied.
                while !done.load(std::sync::atomic::Ordering::Relaxed) {
                    (0..=255).for_each(|byte| drop(fs::remove_dir(directory.join(format!("{byte:02x}")))));
                }
            });
            let finished = new.finish();
            done.store(true, std::sync::atomic::Ordering::Relaxed);
            finished.unwrap();
        });
        for oid in names {
            assert_eq!(repo.git(&["cat-file", "-t", &oid.to_string()]), "blob");
        }
    }

    #[test]
    fn git_reads_what_is_written_small_and_large() {
        let repo = TestRepo::new();
        let directory = repo.root().join(".git/objects");
        let opened = repo.open();
        let objects = opened.objects().unwrap();
        let store = objects.odb().unwrap();
        let mut new = LooseObjects::durable(directory);
        let mut names = Vec::new();
        for length in [0, 1, 300, 65_535, 65_536, 300_000] {
            let content: Vec<u8> = (0..length).map(|n| (n % 251 + n / 70_000) as u8).collect();
            names.push((new.add(&store, ObjectType::Blob, &content).unwrap(), content));
        }
        assert!(
            names
                .iter()
                .all(|(oid, _)| { !store.exists_ext(*oid, OdbLookupFlags::NO_REFRESH) })
        );
        new.finish().unwrap();
        for (oid, content) in names {
            let name = oid.to_string();
            assert_eq!(repo.git(&["cat-file", "-t", &name]), "blob");
            let read = repo.run_in(&repo.root(), &["cat-file", "blob", &name]).stdout;
            assert!(read == content, "{} bytes", content.len());
        }
        repo.git(&["fsck", "--strict"]);
        repo.git(&["gc", "-q", "--prune=now"]);
    }
}
