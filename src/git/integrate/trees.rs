//! The merge of three trees where no path was changed on both sides: in process, without a file being read.
//!
//! Most units touch what nothing that landed meanwhile has touched. Then git's merge, `ort`, takes each entry from
//! the side that changed it, and so does this. Everything else is git's own: [`Trees::merge`] answers `None` where
//! git might do more than choose a side.
//!
//! That is so when an entry, by name within its tree, differs from the base on both sides and not in the same way,
//! unless it is a tree on all three. This covers contents to be merged with the attributes they have, every conflict
//! about one path, and directory renames: what one side added below a directory that the other side renamed away
//! makes the directory's entry differ on both sides.
//!
//! What is left are renames of files. `ort` sees one on a side only if that side both removed and added paths, and it
//! matters only if the other side changed the removed path (which differs on both sides, as above), removed it too,
//! or added the new path too. So where a side may have renamed and anything was changed on both sides in the same
//! way, the answer is `None` as well.

use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;

use git2::ObjectType;

use super::super::Result;
use super::super::loose::LooseObjects;
use super::super::objects::unreadable;

const MODE_TREE: u32 = 0o040_000;
/// Modes of entries that git writes today; a tree with an older one is git's own to write anew.
const MODES: [u32; 5] = [MODE_TREE, 0o100_644, 0o100_755, 0o120_000, 0o160_000];

/// What stands under a name in a tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Entry {
    mode: u32,
    oid: git2::Oid,
}

impl Entry {
    fn tree(self) -> Option<git2::Oid> {
        (self.mode == MODE_TREE).then_some(self.oid)
    }
}

type Tree = BTreeMap<Vec<u8>, Entry>;

/// Whether a side made paths and removed paths.
#[derive(Debug, Clone, Copy, Default)]
struct Changes {
    added: bool,
    removed: bool,
}

impl Changes {
    fn may_rename(self) -> bool {
        self.added && self.removed
    }
}

/// What was seen on the way through one merge.
#[derive(Debug, Default)]
struct Seen {
    ours: Changes,
    theirs: Changes,
    /// Something was changed on both sides, in the same way.
    alike: bool,
    /// No tree is to be made.
    only_looking: bool,
}

impl Seen {
    /// Whether no rename can matter.
    fn is_sure(&self) -> bool {
        !self.alike || !(self.ours.may_rename() || self.theirs.may_rename())
    }
}

/// Trees that were read or made, and a place for new ones.
pub(super) struct Trees<'a> {
    objects: &'a git2::Repository,
    known: HashMap<git2::Oid, Rc<Tree>>,
    /// Objects that are not in place yet.
    pub(super) new: LooseObjects,
}

impl<'a> Trees<'a> {
    /// Reads from `objects`; what is made goes to `new`.
    pub(super) fn new(objects: &'a git2::Repository, new: LooseObjects) -> Self {
        Self {
            objects,
            known: HashMap::new(),
            new,
        }
    }

    /// Merges `theirs` into `ours`, which both began as `base`; `None` where that is git's to decide.
    pub(super) fn merge(
        &mut self,
        base: git2::Oid,
        ours: git2::Oid,
        theirs: git2::Oid,
    ) -> Result<Option<git2::Oid>> {
        let mut seen = Seen::default();
        match self.merge_trees(base, ours, theirs, &mut seen)? {
            // A root without entries is a tree as well.
            Some(entries) if seen.is_sure() => Ok(Some(self.make(entries)?)),
            Some(_) | None => Ok(None),
        }
    }

    /// Whether [`Self::merge`] would merge; nothing is made.
    pub(super) fn fit(&mut self, base: git2::Oid, ours: git2::Oid, theirs: git2::Oid) -> Result<bool> {
        let mut seen = Seen {
            only_looking: true,
            ..Seen::default()
        };
        let merged = self.merge_trees(base, ours, theirs, &mut seen)?;
        Ok(merged.is_some() && seen.is_sure())
    }

    /// Takes a commit in.
    pub(super) fn add_commit(&mut self, text: &[u8]) -> Result<git2::Oid> {
        self.add(ObjectType::Commit, text)
    }

    fn add(&mut self, kind: ObjectType, content: &[u8]) -> Result<git2::Oid> {
        let store = self.objects.odb().map_err(unreadable("the object store"))?;
        self.new.add(&store, kind, content)
    }

    fn read(&mut self, oid: git2::Oid) -> Result<Rc<Tree>> {
        if let Some(tree) = self.known.get(&oid) {
            return Ok(Rc::clone(tree));
        }
        let found = self
            .objects
            .find_tree(oid)
            .map_err(unreadable(&oid.to_string()))?;
        let entries = found.iter().map(|entry| {
            let mode = u32::try_from(entry.filemode_raw()).unwrap_or(0);
            (
                entry.name_bytes().to_vec(),
                Entry {
                    mode,
                    oid: entry.id(),
                },
            )
        });
        let tree = Rc::new(entries.collect::<Tree>());
        self.known.insert(oid, Rc::clone(&tree));
        Ok(tree)
    }

    /// The entries of the merged tree.
    fn merge_trees(
        &mut self,
        base: git2::Oid,
        ours: git2::Oid,
        theirs: git2::Oid,
        seen: &mut Seen,
    ) -> Result<Option<Tree>> {
        let (base, ours, theirs) = (self.read(base)?, self.read(ours)?, self.read(theirs)?);
        if [&base, &ours, &theirs]
            .iter()
            .any(|tree| tree.values().any(|entry| !MODES.contains(&entry.mode)))
        {
            return Ok(None);
        }
        let mut merged = if seen.only_looking {
            Tree::new()
        } else {
            (*ours).clone()
        };
        let names = base
            .keys()
            .chain(ours.keys().filter(|name| !base.contains_key(*name)))
            .chain(
                theirs
                    .keys()
                    .filter(|name| !base.contains_key(*name) && !ours.contains_key(*name)),
            );
        for name in names {
            let [was, our, their] = [&base, &ours, &theirs].map(|tree| tree.get(name).copied());
            if our == their {
                seen.alike |= our != was;
                if our != was {
                    self.note(was, our, &mut seen.ours)?;
                    self.note(was, their, &mut seen.theirs)?;
                }
            } else if was == their {
                self.note(was, our, &mut seen.ours)?;
            } else if was == our {
                self.note(was, their, &mut seen.theirs)?;
                match their {
                    Some(entry) => drop(merged.insert(name.clone(), entry)),
                    None => drop(merged.remove(name)),
                }
            } else {
                let trees = [was, our, their].map(|entry| entry.and_then(Entry::tree));
                let [Some(was), Some(our), Some(their)] = trees else {
                    return Ok(None);
                };
                let Some(below) = self.merge_trees(was, our, their, seen)? else {
                    return Ok(None);
                };
                if seen.only_looking {
                    continue;
                }
                if below.is_empty() {
                    merged.remove(name);
                } else {
                    let (mode, oid) = (MODE_TREE, self.make(below)?);
                    merged.insert(name.clone(), Entry { mode, oid });
                }
            }
        }
        Ok(Some(merged))
    }

    /// Notes whether a side that turned `was` into `is` made or removed paths.
    fn note(&mut self, was: Option<Entry>, is: Option<Entry>, changes: &mut Changes) -> Result<()> {
        if was == is || changes.may_rename() {
            return Ok(());
        }
        match (was, is) {
            (None, _) => changes.added = true,
            (_, None) => changes.removed = true,
            (Some(was), Some(is)) => match (was.tree(), is.tree()) {
                (Some(was), Some(is)) => {
                    let (was, is) = (self.read(was)?, self.read(is)?);
                    for (name, entry) in &*was {
                        self.note(Some(*entry), is.get(name).copied(), changes)?;
                    }
                    changes.added |= is.keys().any(|name| !was.contains_key(name));
                }
                // A file in another's place is the same path; of another kind, it is as good as a new one.
                (None, None) if was.mode & 0o170_000 == is.mode & 0o170_000 => {}
                (_, _) => {
                    *changes = Changes {
                        added: true,
                        removed: true,
                    };
                }
            },
        }
        Ok(())
    }

    /// Makes a tree of these entries.
    fn make(&mut self, entries: Tree) -> Result<git2::Oid> {
        let mut sorted: Vec<(&Vec<u8>, &Entry)> = entries.iter().collect();
        // git sorts a directory as if its name ended with a slash.
        sorted.sort_by_cached_key(|(name, entry)| {
            let slash = entry.tree().map(|_| b'/');
            name.iter().copied().chain(slash).collect::<Vec<u8>>()
        });
        let mut content = Vec::new();
        for (name, entry) in sorted {
            content.extend_from_slice(format!("{:o} ", entry.mode).as_bytes());
            content.extend_from_slice(name);
            content.push(0);
            content.extend_from_slice(entry.oid.as_bytes());
        }
        let oid = self.add(ObjectType::Tree, &content)?;
        self.known.insert(oid, Rc::new(entries));
        Ok(oid)
    }
}
