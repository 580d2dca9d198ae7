//! Records: small commits of ours whose message is a text for a later engine, each at a ref of its own.
//!
//! They make the repository tell what happened even when everything beside it is lost. A record has the tree and the
//! parents of what it is about, so that this is kept from git's garbage collection as long as the ref is there.

use super::Result;
use std::collections::{BTreeMap, BTreeSet};

use super::objects::{commit_text, own, person_line, raw, unreadable};
use super::private::{NEUTRAL_SECONDS, neutral_identity};
use super::repository::Repository;
use crate::id::Oid;

/// A record to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordText {
    /// The ref it is at, which must be one of ours.
    pub name: String,
    /// The tree and the parents of what it is about.
    pub tree: Oid,
    /// See `tree`.
    pub parents: Vec<Oid>,
    /// What it says.
    pub text: String,
}

impl RecordText {
    /// The text of the commit. The same record always gives the same commit.
    fn commit(&self) -> Vec<u8> {
        let line = person_line(&neutral_identity(), NEUTRAL_SECONDS);
        let parents: Vec<&Oid> = self.parents.iter().collect();
        commit_text(
            &self.tree,
            &parents,
            line.as_bytes(),
            line.as_bytes(),
            &[],
            self.text.as_bytes(),
        )
    }
}

impl Repository {
    /// Puts records at their refs, all or none; one that is there already is left as it is. To repeat it changes nothing.
    ///
    /// # Errors
    /// When git or the disk fails, or a ref is not ours.
    pub fn write_records(&self, below: &str, records: &[RecordText]) -> Result<()> {
        self.replace_records(below, records, &BTreeSet::new())
    }

    /// The same, and in the same step takes the refs `gone` away, where they are there.
    ///
    /// # Errors
    /// When git or the disk fails, or a ref is not ours.
    pub fn replace_records(
        &self,
        below: &str,
        records: &[RecordText],
        gone: &BTreeSet<String>,
    ) -> Result<()> {
        let there: BTreeMap<String, Oid> = self.refs_below(below)?.into_iter().collect();
        let objects = self.objects()?;
        let store = objects.odb().map_err(unreadable("the object store"))?;
        let mut new = self.new_objects();
        let mut refs = Vec::new();
        for record in records {
            let text = record.commit();
            let id = git2::Oid::hash_object(git2::ObjectType::Commit, &text);
            let id = own(id.map_err(unreadable("a new record"))?)?;
            if there.get(&record.name) != Some(&id) {
                new.add(&store, git2::ObjectType::Commit, &text)?;
                refs.push((record.name.clone(), id));
            }
        }
        let gone: Vec<&String> = gone.iter().filter(|name| there.contains_key(*name)).collect();
        if refs.is_empty() && gone.is_empty() {
            return Ok(());
        }
        new.finish()?;
        self.replace_refs(&refs, &gone)
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
