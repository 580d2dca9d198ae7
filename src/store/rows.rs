//! sled: the queue, its evidence and its indexes, with the journal sequence they reflect.
//!
//! **Architecture Invariant:** everything here can be rebuilt from the journal. sled's flush is no fsync, and a
//! truncated or overwritten sled opens without an error and with fewer rows. So each run has a seal: the sequence
//! its rows reflect, how many there are, and a sum over them all, written in the same batch as the rows. A
//! database whose seals do not hold is set aside, never repaired.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};

use super::{StoreError, disk};
use crate::fault;
use crate::id::RunId;

/// Which collection a row belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RowTree {
    /// Entries of the merge queue.
    Entries,
    /// Passing check results by tree and check set.
    Evidence,
    /// Attempts and verifications under way, by fence.
    Leases,
    /// State by unit.
    Units,
    /// Leased ports.
    Ports,
    /// Effects on other machines still to be made.
    Outbox,
}

impl RowTree {
    /// Every collection.
    pub const ALL: [Self; 6] = [
        Self::Entries,
        Self::Evidence,
        Self::Leases,
        Self::Units,
        Self::Ports,
        Self::Outbox,
    ];

    /// Stands in keys on disk; never reused for another collection.
    fn tag(self) -> u8 {
        match self {
            Self::Entries => b'e',
            Self::Evidence => b'v',
            Self::Leases => b'l',
            Self::Units => b'u',
            Self::Ports => b'p',
            Self::Outbox => b'o',
        }
    }
}

/// A change of one row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Its collection.
    pub tree: RowTree,
    /// Its key, unique within run and collection.
    pub key: String,
    /// Its new value; `None` removes it.
    pub value: Option<Vec<u8>>,
}

/// Rows of one run by collection and key.
pub type RowMap = BTreeMap<(RowTree, String), Vec<u8>>;

/// What the rows of a run must add up to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Seal {
    /// Journal sequence the rows reflect.
    seq: u64,
    /// How many there are.
    count: u64,
    /// Wrapping sum of the rows' hashes: independent of order, kept up to date by subtracting what is replaced.
    sum: u128,
}

impl Seal {
    fn add(&mut self, key: &[u8], value: &[u8]) {
        self.count += 1;
        self.sum = self.sum.wrapping_add(hash(key, value));
    }

    fn subtract(&mut self, key: &[u8], value: &[u8]) {
        self.count = self.count.saturating_sub(1);
        self.sum = self.sum.wrapping_sub(hash(key, value));
    }
}

/// 128 bits of SHA-256 over a row.
fn hash(key: &[u8], value: &[u8]) -> u128 {
    let digest = Sha256::new()
        .chain_update((key.len() as u64).to_le_bytes())
        .chain_update(key)
        .chain_update(value)
        .finalize();
    let half: [u8; 16] = digest[..16].try_into().expect("SHA-256 has 32 bytes");
    u128::from_le_bytes(half)
}

/// The key on disk: run, zero byte, collection, key. Run ids hold no zero byte.
fn disk_key(run: &RunId, tree: RowTree, key: &str) -> Vec<u8> {
    let mut bytes = run_prefix(run);
    bytes.push(tree.tag());
    bytes.extend_from_slice(key.as_bytes());
    bytes
}

fn run_prefix(run: &RunId) -> Vec<u8> {
    let mut bytes = run.as_str().as_bytes().to_vec();
    bytes.push(0);
    bytes
}

/// The seal's key: no collection has a zero tag.
fn seal_key(run: &[u8]) -> Vec<u8> {
    let mut bytes = run.to_vec();
    bytes.extend_from_slice(&[0, 0]);
    bytes
}

/// The open database.
#[derive(Debug)]
pub(super) struct Rows {
    db: sled::Db,
    path: PathBuf,
    seals: BTreeMap<Vec<u8>, Seal>,
}

/// How long sled's own lock is waited for. Whoever opens the database holds the engine's lock, so nobody else works with
/// it: what holds sled's lock is its last user on the way out, or a child of ours between fork and exec.
const PATIENCE: Duration = Duration::from_secs(2);
const LOOK_AGAIN: Duration = Duration::from_millis(10);

fn open_patiently(path: &Path) -> sled::Result<sled::Db> {
    let began = Instant::now();
    loop {
        let opened = sled::Config::new()
            .path(path)
            .flush_every_ms(None)
            .cache_capacity(16 << 20)
            .open();
        match opened {
            Err(sled::Error::Io(error))
                if error.to_string().contains("could not acquire lock") && began.elapsed() < PATIENCE =>
            {
                std::thread::sleep(LOOK_AGAIN);
            }
            other => return other,
        }
    }
}

impl Rows {
    /// Opens the database; one that does not open or whose seals do not hold is set aside with a note.
    pub(super) fn open(path: &Path, stamp: &str) -> Result<(Self, Option<String>), StoreError> {
        let why = match Self::try_open(path) {
            Ok(rows) => return Ok((rows, None)),
            Err(why) => why,
        };
        if !path.exists() {
            return Err(StoreError::Database {
                path: path.to_path_buf(),
                why,
            });
        }
        let aside = disk::set_aside(path, stamp)?;
        let rows = Self::try_open(path).map_err(|why| StoreError::Database {
            path: path.to_path_buf(),
            why,
        })?;
        Ok((rows, Some(set_aside_note(&aside, &why))))
    }

    /// Opens and checks every seal. sled panics on some damage, which is an answer like any other here.
    fn try_open(path: &Path) -> Result<Self, String> {
        let opened = catch_unwind(AssertUnwindSafe(|| {
            fault::point("rows.open").map_err(|error| format!("it does not open: {error}"))?;
            let db = open_patiently(path).map_err(|error| format!("it does not open: {error}"))?;
            let seals = verified_seals(&db)?;
            Ok(Self {
                db,
                path: path.to_path_buf(),
                seals,
            })
        }));
        opened.unwrap_or_else(|_| Err("it does not open: its contents make the database panic".to_owned()))
    }

    /// Applies `changes` and moves the seal to `seq`, all or nothing.
    pub(super) fn apply(&mut self, run: &RunId, seq: u64, changes: &[Row]) -> Result<(), StoreError> {
        let name = run.as_str().as_bytes().to_vec();
        let mut seal = self.seals.get(&name).copied().unwrap_or_default();
        seal.seq = seq;
        // The last change of a key counts; the ones before it never reach the disk.
        let last: BTreeMap<Vec<u8>, Option<&Vec<u8>>> = changes
            .iter()
            .map(|row| (disk_key(run, row.tree, &row.key), row.value.as_ref()))
            .collect();
        let mut batch = sled::Batch::default();
        for (key, value) in last {
            if let Some(old) = self.db.get(&key).map_err(|e| self.failed(&e))? {
                seal.subtract(&key, &old);
            }
            match value {
                Some(value) => {
                    seal.add(&key, value);
                    batch.insert(key, value.as_slice());
                }
                None => batch.remove(key),
            }
        }
        batch.insert(seal_key(&name), encode_seal(&seal));
        let apply = |()| self.db.apply_batch(batch).map_err(|e| self.failed(&e));
        fault::point("rows.apply")
            .map_err(|e| self.failed(&e.into()))
            .and_then(apply)?;
        self.db.flush().map_err(|e| self.failed(&e))?;
        self.seals.insert(name, seal);
        Ok(())
    }

    /// Makes the rows of `run` what `rows` add up to, at `seq`, whatever there was of it.
    pub(super) fn replace(&mut self, run: &RunId, seq: u64, rows: &[Row]) -> Result<(), StoreError> {
        let expected = fold(rows.iter().cloned());
        let changes = difference(&self.map(run)?, &expected);
        self.apply(run, seq, &changes)
    }

    /// Removes everything of a run.
    pub(super) fn forget(&mut self, run: &RunId) -> Result<(), StoreError> {
        let mut batch = sled::Batch::default();
        for row in self.db.scan_prefix(run_prefix(run)) {
            batch.remove(row.map_err(|e| self.failed(&e))?.0);
        }
        self.db.apply_batch(batch).map_err(|e| self.failed(&e))?;
        self.db.flush().map_err(|e| self.failed(&e))?;
        self.seals.remove(run.as_str().as_bytes());
        Ok(())
    }

    /// The rows of one collection of one run, in the order of their keys.
    pub(super) fn iter(
        &self,
        run: &RunId,
        tree: RowTree,
    ) -> impl Iterator<Item = Result<(String, Vec<u8>), StoreError>> + '_ {
        let prefix = disk_key(run, tree, "");
        let skip = prefix.len();
        self.db.scan_prefix(prefix).map(move |row| {
            let (key, value) = row.map_err(|e| self.failed(&e))?;
            let key = String::from_utf8_lossy(&key[skip..]).into_owned();
            Ok((key, value.to_vec()))
        })
    }

    /// Every row of a run.
    fn map(&self, run: &RunId) -> Result<RowMap, StoreError> {
        let mut map = RowMap::new();
        for tree in RowTree::ALL {
            for row in self.iter(run, tree) {
                let (key, value) = row?;
                map.insert((tree, key), value);
            }
        }
        Ok(map)
    }

    /// Brings the rows of `run` to `expected`, which the journal gives at `seq`. Rows that merely lag are rolled
    /// forward in silence; rows that are ahead, differ at the same sequence, or are gone give a note.
    pub(super) fn reconcile(
        &mut self,
        run: &RunId,
        expected: &RowMap,
        seq: u64,
        stamp: &str,
    ) -> Result<Option<String>, StoreError> {
        let known = self.seals.get(run.as_str().as_bytes()).copied();
        let found = self.map(run)?;
        let why = match known {
            Some(seal) if seal.seq > seq => Some(format!(
                "it reflects event {} of {run} where the journal ends at {seq}",
                seal.seq
            )),
            Some(seal) if seal.seq == seq && found != *expected => {
                Some(format!("its rows of {run} are not what the journal gives"))
            }
            Some(_) | None => None,
        };
        let note = match why {
            Some(why) => Some(self.start_over(run, &why, stamp)?),
            None if known.is_none() && seq > 0 => Some(format!(
                "the queue's database {} knew nothing of {run}; its rows were rebuilt from the journal",
                self.path.display()
            )),
            None => None,
        };
        if known.map(|seal| seal.seq) == Some(seq) && note.is_none() {
            return Ok(None);
        }
        let current = if note.is_some() { RowMap::new() } else { found };
        self.apply(run, seq, &difference(&current, expected))?;
        Ok(note)
    }

    /// Sets the database aside and goes on with a fresh one that holds the rows of the other runs.
    fn start_over(&mut self, run: &RunId, why: &str, stamp: &str) -> Result<String, StoreError> {
        let leaving = run_prefix(run);
        let mut batch = sled::Batch::default();
        for row in &*self.db {
            let (key, value) = row.map_err(|e| self.failed(&e))?;
            if !key.starts_with(&leaving) {
                batch.insert(key, value);
            }
        }
        let aside = disk::set_aside(&self.path, stamp)?;
        let fresh = Self::try_open(&self.path).map_err(|why| StoreError::Database {
            path: self.path.clone(),
            why,
        })?;
        fresh.db.apply_batch(batch).map_err(|e| fresh.failed(&e))?;
        fresh.db.flush().map_err(|e| fresh.failed(&e))?;
        self.db = fresh.db;
        self.seals.remove(run.as_str().as_bytes());
        Ok(set_aside_note(&aside, why))
    }

    fn failed(&self, error: &sled::Error) -> StoreError {
        StoreError::Database {
            path: self.path.clone(),
            why: error.to_string(),
        }
    }
}

/// What rows add up to: a later one of the same key counts.
pub fn fold(rows: impl Iterator<Item = Row>) -> RowMap {
    let mut map = RowMap::new();
    for row in rows {
        match row.value {
            Some(value) => drop(map.insert((row.tree, row.key), value)),
            None => drop(map.remove(&(row.tree, row.key))),
        }
    }
    map
}

/// The changes that turn `current` into `expected`.
fn difference(current: &RowMap, expected: &RowMap) -> Vec<Row> {
    let gone = current
        .keys()
        .filter(|name| !expected.contains_key(*name))
        .map(|(tree, key)| Row {
            tree: *tree,
            key: key.clone(),
            value: None,
        });
    let changed = expected
        .iter()
        .filter(|(name, value)| current.get(*name) != Some(*value))
        .map(|((tree, key), value)| Row {
            tree: *tree,
            key: key.clone(),
            value: Some(value.clone()),
        });
    gone.chain(changed).collect()
}

/// What is wrong with the rows of runs, each given with what its journal makes of them and at which sequence; a sentence
/// each. Rows that merely lag are fine: the next engine rolls them forward. For readers: the database itself is left alone,
/// a copy of it is opened.
///
/// # Errors
/// It cannot be copied.
pub(super) fn audit(
    path: &Path,
    expected: &BTreeMap<RunId, (RowMap, u64)>,
) -> Result<Vec<(Option<RunId>, String)>, StoreError> {
    if expected.is_empty() {
        return Ok(Vec::new());
    }
    if !path.is_dir() {
        return Ok(vec![(None, "the queue's database is gone".to_owned())]);
    }
    let copying = |source| StoreError::io("copy", path, source);
    let scratch = tempfile::tempdir().map_err(copying)?;
    disk::copy_dir(path, scratch.path()).map_err(copying)?;
    let rows = match Rows::try_open(scratch.path()) {
        Ok(rows) => rows,
        Err(why) => return Ok(vec![(None, format!("the queue's database is damaged: {why}"))]),
    };
    let mut wrong = Vec::new();
    for (run, (map, seq)) in expected {
        let said = match rows.seals.get(run.as_str().as_bytes()) {
            None => "the queue's database does not know the run".to_owned(),
            Some(seal) if seal.seq > *seq => format!(
                "the queue's database reflects event {} where the journal ends at {seq}: the journal lost its end",
                seal.seq
            ),
            Some(seal) if seal.seq == *seq && rows.map(run)? != *map => {
                "the queue's rows are not what the journal gives".to_owned()
            }
            Some(_) => continue,
        };
        wrong.push((Some(run.clone()), said));
    }
    Ok(wrong)
}

/// The seals, each checked against the rows it stands for.
fn verified_seals(db: &sled::Db) -> Result<BTreeMap<Vec<u8>, Seal>, String> {
    let mut written = BTreeMap::new();
    let mut counted: BTreeMap<Vec<u8>, Seal> = BTreeMap::new();
    for row in &**db {
        let (key, value) = row.map_err(|error| format!("it cannot be read: {error}"))?;
        let Some(cut) = key.iter().position(|byte| *byte == 0) else {
            return Err("it holds a key of no run".to_owned());
        };
        let run = key[..cut].to_vec();
        if key[cut..] == [0, 0] {
            let seal: Seal = decode_seal(&value).ok_or("a seal of it cannot be read")?;
            written.insert(run, seal);
        } else {
            counted.entry(run).or_default().add(&key, &value);
        }
    }
    for run in counted.keys() {
        if !written.contains_key(run) {
            return Err("it holds rows without a seal".to_owned());
        }
    }
    for (run, seal) in &written {
        let rows = counted.get(run).copied().unwrap_or_default();
        if (rows.count, rows.sum) != (seal.count, seal.sum) {
            return Err(format!(
                "its rows do not match their seal: {} where {} were written",
                rows.count, seal.count
            ));
        }
    }
    Ok(written)
}

/// sequence, count, sum, checksum.
fn encode_seal(seal: &Seal) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(36);
    bytes.extend_from_slice(&seal.seq.to_le_bytes());
    bytes.extend_from_slice(&seal.count.to_le_bytes());
    bytes.extend_from_slice(&seal.sum.to_le_bytes());
    let crc = crc32fast::hash(&bytes);
    bytes.extend_from_slice(&crc.to_le_bytes());
    bytes
}

fn decode_seal(bytes: &[u8]) -> Option<Seal> {
    let (body, crc) = bytes.split_last_chunk::<4>()?;
    if body.len() != 32 || crc32fast::hash(body) != u32::from_le_bytes(*crc) {
        return None;
    }
    Some(Seal {
        seq: u64::from_le_bytes(body[..8].try_into().ok()?),
        count: u64::from_le_bytes(body[8..16].try_into().ok()?),
        sum: u128::from_le_bytes(body[16..].try_into().ok()?),
    })
}

fn set_aside_note(aside: &Path, why: &str) -> String {
    format!(
        "the queue's database was set aside as {} and rebuilt from the journal: {why}",
        aside.display()
    )
}
