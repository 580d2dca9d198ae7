//! Refs: reading all, writing our own.

use std::collections::{BTreeMap, BTreeSet};

use super::invoke::nul_items;
use super::repository::Repository;
use super::{Error, Result};
use crate::id::Oid;

/// Where a branch may be; the later one counts.
const REMOTE_THEN_LOCAL: [&str; 2] = ["refs/remotes/", "refs/heads/"];

/// Names of one call, which a command line has room for.
const NAMES_A_CALL_MAX: usize = 500;

/// Below these prefixes refs are ours.
const OURS: [&str; 2] = ["refs/pipeline/", "refs/heads/pipeline/"];

impl Repository {
    /// All local branches, without `refs/heads/`, in order.
    ///
    /// # Errors
    /// When git fails.
    pub fn branches(&self) -> Result<Vec<String>> {
        let refs = self.refs_below("refs/heads/")?;
        let names = refs
            .iter()
            .filter_map(|(name, _)| name.strip_prefix("refs/heads/"));
        Ok(names.map(str::to_owned).collect())
    }

    /// Where a branch stands, `None` when there is no such branch.
    ///
    /// # Errors
    /// When git cannot be run.
    pub fn tip(&self, branch: &str) -> Result<Option<Oid>> {
        self.ref_value(&format!("refs/heads/{branch}"))
    }

    /// The commit a full ref name is at.
    pub(super) fn ref_value(&self, name: &str) -> Result<Option<Oid>> {
        let call = self
            .shared()
            .args(["rev-parse", "--quiet", "--verify", "--end-of-options"])
            .arg(format!("{name}^{{commit}}"));
        // A name that `rev-parse` would take for more than a ref is no ref.
        if !is_ref_name(name) {
            return Ok(None);
        }
        let output = self.invoker().run(&call)?;
        Ok(String::from_utf8_lossy(&output.stdout)
            .trim()
            .parse()
            .ok()
            .filter(|_| output.status.success()))
    }

    /// Where branches are, by the names a person gives them: a local branch, else a remote-tracking one, else the whole id
    /// of a commit. One that is nowhere is left out.
    ///
    /// # Errors
    /// When git fails.
    pub fn branch_tips(&self, names: &BTreeSet<&str>) -> Result<BTreeMap<String, Oid>> {
        let mut tips = BTreeMap::new();
        let names: Vec<&str> = names.iter().copied().collect();
        for names in names.chunks(NAMES_A_CALL_MAX) {
            let patterns = REMOTE_THEN_LOCAL.iter().flat_map(|prefix| {
                let full = names.iter().map(move |name| format!("{prefix}{name}"));
                full.filter(|name| is_ref_name(name))
            });
            let call = self
                .shared()
                .args(["for-each-ref", REF_FORMAT, "--end-of-options"])
                .args(patterns);
            let found: BTreeMap<String, Oid> = ref_lines(&self.output(&call)?)?.into_iter().collect();
            for name in names {
                let in_refs = REMOTE_THEN_LOCAL
                    .iter()
                    .filter_map(|prefix| found.get(&format!("{prefix}{name}")))
                    .next_back();
                let tip = match in_refs {
                    Some(tip) => Some(tip.clone()),
                    None => self.commit_of_id(name)?,
                };
                tips.extend(tip.map(|tip| ((*name).to_owned(), tip)));
            }
        }
        Ok(tips)
    }

    /// The commit whose whole id this is.
    fn commit_of_id(&self, name: &str) -> Result<Option<Oid>> {
        let Ok(oid) = name.parse::<Oid>() else {
            return Ok(None);
        };
        let is_there = self.objects()?.find_commit(super::objects::raw(&oid)).is_ok();
        Ok(is_there.then_some(oid))
    }

    /// Every ref below a prefix that ends with `/`, with the object it names, in order.
    ///
    /// # Errors
    /// When git fails.
    pub fn refs_below(&self, prefix: &str) -> Result<Vec<(String, Oid)>> {
        let call = self
            .shared()
            .args(["for-each-ref", REF_FORMAT, "--end-of-options"])
            .arg(prefix);
        ref_lines(&self.output(&call)?)
    }

    /// Sets a ref of ours. With `old` it must be there; without, whatever it is at is replaced.
    ///
    /// # Errors
    /// [`Error::ForeignRef`] for any other ref, [`Error::RefMoved`] when it is not at `old`.
    pub fn write_ref(&self, name: &str, new: &Oid, old: Option<&Oid>) -> Result<()> {
        require_own(name)?;
        self.update(name, old, &format!("{new}"), "update")
    }

    /// Makes a branch of ours at a commit; one that is there already must be at it.
    ///
    /// # Errors
    /// [`Error::ForeignRef`] for any other branch, [`Error::RefMoved`] when it is there and elsewhere; when git refuses.
    pub fn create_branch(&self, branch: &str, commit: &Oid) -> Result<()> {
        let name = format!("refs/heads/{branch}");
        require_own(&name)?;
        let Err(error) = self.output(&self.update_refs(vec![format!("create {name}"), commit.to_string()]))
        else {
            return Ok(());
        };
        match self.tip(branch)? {
            Some(found) if found == *commit => Ok(()),
            Some(_) => Err(Error::RefMoved { name, expected: None }),
            None => Err(error),
        }
    }

    /// Sets several refs of ours, all or none, wherever they are.
    ///
    /// # Errors
    /// [`Error::ForeignRef`] for any other ref; when git fails.
    pub fn write_refs(&self, refs: &[(String, Oid)]) -> Result<()> {
        self.replace_refs(refs, &[])
    }

    /// The same, and deletes others of ours in the same step.
    pub(super) fn replace_refs(&self, refs: &[(String, Oid)], gone: &[&String]) -> Result<()> {
        let mut fields = Vec::with_capacity(refs.len() * 3 + gone.len() * 2);
        for (name, new) in refs {
            require_own(name)?;
            fields.extend([format!("update {name}"), new.to_string(), String::new()]);
        }
        for name in gone {
            require_own(name)?;
            fields.extend([format!("delete {name}"), String::new()]);
        }
        self.output(&self.update_refs(fields)).map(drop)
    }

    /// Deletes every ref below a prefix of ours that ends with `/`.
    ///
    /// # Errors
    /// [`Error::ForeignRef`] for any other prefix; when git fails.
    pub fn delete_refs_below(&self, prefix: &str) -> Result<()> {
        let mut fields = Vec::new();
        for (name, _) in self.refs_below(prefix)? {
            require_own(&name)?;
            fields.extend([format!("delete {name}"), String::new()]);
        }
        self.output(&self.update_refs(fields)).map(drop)
    }

    /// Deletes refs of ours in one step, each only where it is when that is said; those that are gone already are fine.
    ///
    /// # Errors
    /// When one is not ours, or not where it is said to be.
    pub fn delete_refs(&self, refs: &[(String, Option<Oid>)]) -> Result<()> {
        let mut fields = Vec::new();
        for (name, at) in refs {
            require_own(name)?;
            if self.refs_below(name)?.iter().any(|(found, _)| found == name) {
                let at = at.as_ref().map_or("", Oid::as_str);
                fields.extend([format!("delete {name}"), at.to_owned()]);
            }
        }
        self.output(&self.update_refs(fields)).map(drop)
    }

    /// Deletes a ref of ours; one that is gone already is fine.
    ///
    /// # Errors
    /// [`Error::ForeignRef`] for any other ref, [`Error::RefMoved`] when it is not at `old`.
    pub fn delete_ref(&self, name: &str, old: Option<&Oid>) -> Result<()> {
        require_own(name)?;
        if self.refs_below(name)?.iter().all(|(found, _)| found != name) {
            return Ok(());
        }
        self.update(name, old, "", "delete")
    }

    fn update(&self, name: &str, old: Option<&Oid>, new: &str, verb: &str) -> Result<()> {
        let mut fields = vec![format!("{verb} {name}")];
        fields.extend((verb == "update").then(|| new.to_owned()));
        fields.push(old.map_or(String::new(), |oid| oid.as_str().to_owned()));
        match self.output(&self.update_refs(fields)) {
            Ok(_) => Ok(()),
            Err(error) => {
                let found = self
                    .refs_below(name)?
                    .into_iter()
                    .find(|(found, _)| found == name);
                let moved = old.is_some() && found.map(|(_, oid)| oid).as_ref() != old;
                if moved {
                    return Err(Error::RefMoved {
                        name: name.to_owned(),
                        expected: old.cloned(),
                    });
                }
                Err(error)
            }
        }
    }
}

impl Repository {
    /// One transaction of `update-ref`.
    fn update_refs(&self, fields: Vec<String>) -> super::invoke::Call {
        self.shared()
            .args(["update-ref", "--no-deref", "-m", "pipeline", "-z", "--stdin"])
            .env("GIT_COMMITTER_NAME", "pipeline")
            .env("GIT_COMMITTER_EMAIL", "pipeline@localhost")
            .stdin(super::invoke::nul_ended(fields))
    }
}

/// What [`ref_lines`] reads.
const REF_FORMAT: &str = "--format=%(objectname) %(refname)%00";

fn ref_lines(bytes: &[u8]) -> Result<Vec<(String, Oid)>> {
    let mut refs = Vec::new();
    for item in nul_items(bytes.trim_ascii_end()) {
        let text = String::from_utf8_lossy(item);
        if let Some((oid, name)) = text.trim_start().split_once(' ') {
            refs.push((name.to_owned(), oid.parse()?));
        }
    }
    Ok(refs)
}

/// Whether git would take `name` for a ref and for nothing more.
fn is_ref_name(name: &str) -> bool {
    git2::Reference::is_valid_name(name)
}

fn require_own(name: &str) -> Result<()> {
    if is_ref_name(name) && OURS.iter().any(|prefix| name.starts_with(prefix)) {
        return Ok(());
    }
    Err(Error::ForeignRef(name.to_owned()))
}
