//! Records: small commits of ours whose message is a text for a later engine, each at a ref of its own.
//!
//! They make the repository tell what happened even when everything beside it is lost. A record has the tree and the
//! parents of what it is about, so that this is kept from git's garbage collection as long as the ref is there.

use super::Result;
use super::objects::{commit_text, person_line, raw, unreadable};
use super::private::{NEUTRAL_SECONDS, neutral_identity};
use super::repository::Repository;
use crate::id::Oid;

impl Repository {
    /// Puts a record at the ref `name`, which must be one of ours: with the tree and the parents of what it is about. The
    /// same arguments always give the same commit, so to repeat it changes nothing.
    ///
    /// # Errors
    /// When git fails, or the ref is not ours.
    pub fn write_record(&self, name: &str, tree: &Oid, parents: &[&Oid], text: &str) -> Result<Oid> {
        let line = person_line(&neutral_identity(), NEUTRAL_SECONDS);
        let commit = self.write_commit(&commit_text(
            tree,
            parents,
            line.as_bytes(),
            line.as_bytes(),
            &[],
            text.as_bytes(),
        ))?;
        self.write_ref(name, &commit, None)?;
        Ok(commit)
    }

    /// The text of a record.
    ///
    /// # Errors
    /// There is no such commit.
    pub fn read_record(&self, record: &Oid) -> Result<String> {
        let objects = self.objects()?;
        let found = objects
            .find_commit(raw(record))
            .map_err(unreadable(record.as_str()))?;
        Ok(String::from_utf8_lossy(found.message_raw_bytes()).into_owned())
    }
}
