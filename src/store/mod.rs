//! What outlives the process: the journal, which is the truth about what happened, and sled, which holds the
//! queue and its indexes and can always be rebuilt from the journal.
//!
//! ```text
//! <git common dir>/pipeline/
//!     engine.lock                  held by the one engine; names it; never deleted
//!     runs/<run id>/journal.jsonl  one checksummed event a line, only appended to
//!     runs/<run id>/frozen.json    the pipeline as it was when the run began
//!     queue.sled/                  rows with the journal sequence they reflect
//!     logs/<run id>/               output of attempts
//! ```
//!
//! **Architecture Invariant:** [`Store::commit`] is the only way the state of a run changes on disk, once
//! [`Store::start_run`] put the run there with its first events: lines appended in one
//! write, synced, then one batch of rows. A crash between the two leaves rows that lag, which
//! [`Store::verify_rows`] rolls forward. Readers ([`read_runs`], [`read_journal`], [`read_frozen`]) take no lock,
//! write nothing and never open sled, whose lock is exclusive.
//!
//! **Locks:** the [`StoreLease`] is owned by the [`Store`] for as long as it lives; sled's own lock lies inside.

mod disk;
mod journal;
mod lease;
mod rows;

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use crate::event::{Event, FORMAT, Record};
use crate::fault;
use crate::id::RunId;
pub use journal::Reading;
pub use lease::{Holder, LeaseError, StoreLease, holder};
pub use rows::{Row, RowMap, RowTree, fold};

/// Where everything lies. Paths only; nothing is made or read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Home {
    root: PathBuf,
}

impl Home {
    /// The state of the repository whose common git directory is `common_dir`.
    pub fn new(common_dir: &Path) -> Self {
        Self {
            root: common_dir.join("pipeline"),
        }
    }

    /// The directory of everything.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The directory of all runs.
    pub fn runs_dir(&self) -> PathBuf {
        self.root.join("runs")
    }

    /// The directory of one run.
    pub fn run_dir(&self, run: &RunId) -> PathBuf {
        self.runs_dir().join(run.as_str())
    }

    /// The journal of a run.
    pub fn journal(&self, run: &RunId) -> PathBuf {
        self.run_dir(run).join("journal.jsonl")
    }

    /// The frozen pipeline of a run.
    pub fn frozen(&self, run: &RunId) -> PathBuf {
        self.run_dir(run).join("frozen.json")
    }

    /// The directory of the logs of a run.
    pub fn logs(&self, run: &RunId) -> PathBuf {
        self.root.join("logs").join(run.as_str())
    }

    /// What was set aside as damaged: databases and runs.
    pub fn set_aside(&self) -> Vec<PathBuf> {
        let below = |dir: &Path| {
            let found = names(dir).unwrap_or_default().into_iter();
            let found = found
                .filter(|name| name.contains(disk::ASIDE))
                .map(|name| dir.join(name));
            found.collect::<Vec<_>>()
        };
        [below(&self.root), below(&self.runs_dir())].concat()
    }

    /// The database of the queue.
    pub fn sled(&self) -> PathBuf {
        self.root.join("queue.sled")
    }

    /// The lock of the engine.
    pub fn lock(&self) -> PathBuf {
        self.root.join("engine.lock")
    }

    /// The directory of the eviction bundle of a unit.
    pub fn bundles(&self, run: &RunId, unit: &crate::id::UnitId) -> PathBuf {
        self.run_dir(run).join("bundles").join(unit.as_str())
    }
}

/// Something on disk is not as it must be, or the disk refused.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The operating system refused. The remedy depends on how.
    #[error("cannot {doing} {path}: {source}; {}", io_remedy(.source), path = .path.display())]
    Io {
        /// What was being done, as a verb phrase.
        doing: &'static str,
        /// To what.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// A file was damaged, or changed by somebody else. Nothing was repaired.
    #[error("{file}{} is damaged: {why}; {remedy}", line_text(*.line), file = .file.display())]
    Corrupt {
        /// Which.
        file: PathBuf,
        /// The line, from 1; 0 means the file as a whole.
        line: u64,
        /// What is wrong.
        why: String,
        /// What a person can do.
        remedy: String,
    },
    /// A later version of the program wrote this run. Use that version.
    #[error("{file} has format {needs}, and this version reads up to {FORMAT}; use a version of pipeline that knows format {needs}", file = .file.display())]
    Newer {
        /// The journal.
        file: PathBuf,
        /// Its format.
        needs: u32,
    },
    /// A run of that id exists already.
    #[error("the run {0} exists already; start it with another id")]
    Exists(RunId),
    /// The run was neither started nor loaded by this store, so the end of its journal is not known.
    #[error("the run {0} is not loaded; load it before committing to it")]
    NotLoaded(RunId),
    /// The first event of a journal must be the start of its own run.
    #[error("the run {0} has not started; the first event of its journal must be its `run_started`")]
    NotStarted(RunId),
    /// An earlier commit failed, so what is on disk is not known. Start again.
    #[error(
        "nothing more is written after a failed commit ({0}); mend its cause, then run the same command again"
    )]
    Poisoned(String),
    /// The state was removed or replaced while this process worked with it; somebody else may work with the new one.
    #[error(
        "{path} was removed or replaced while this engine worked, so it writes nothing more; run the same command again: it goes on with what is there, and rebuilds from git what is not", path = .0.display()
    )]
    Displaced(PathBuf),
    /// sled cannot be used.
    #[error("the queue's database {path} cannot be used: {why}; check that the disk is writable and has room, then run the same command again", path = .path.display())]
    Database {
        /// Where it is.
        path: PathBuf,
        /// What sled said.
        why: String,
    },
}

impl StoreError {
    fn io(doing: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Io {
            doing,
            path: path.to_path_buf(),
            source,
        }
    }

    fn corrupt(file: &Path, line: u64, why: String) -> Self {
        let run = file.parent().unwrap_or(file).display();
        Self::Corrupt {
            file: file.to_path_buf(),
            line,
            why,
            remedy: format!(
                "`pipeline doctor --fix` sets {run} aside and rebuilds the run from git, as far as git proves it; or restore it from a backup"
            ),
        }
    }
}

fn line_text(line: u64) -> String {
    if line == 0 {
        String::new()
    } else {
        format!(", line {line},")
    }
}

fn io_remedy(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "make room on the disk, then run the same command again"
        }
        io::ErrorKind::ReadOnlyFilesystem => "make the file system writable, then run the same command again",
        io::ErrorKind::PermissionDenied => "make it writable for this user, then run the same command again",
        io::ErrorKind::NotFound => "check that the repository's git directory is complete",
        _ => "check the disk, then run the same command again",
    }
}

/// The end of a journal that is open for appending.
#[derive(Debug)]
struct Segment {
    file: File,
    seq: u64,
    bytes: u64,
}

/// The one writer of a repository's state.
#[derive(Debug)]
pub struct Store {
    home: Home,
    rows: rows::Rows,
    segments: HashMap<RunId, Segment>,
    notes: Vec<String>,
    poison: Option<String>,
    stamp: String,
    /// Dropped last: the lock outlives everything it protects.
    lease: StoreLease,
}

impl Store {
    /// Opens the state for writing. The second part of the answer is to be told: what was set aside or cleaned.
    pub fn open(home: Home, lease: StoreLease) -> Result<(Self, Vec<String>), StoreError> {
        disk::make_dir(&home.runs_dir())?;
        let mut notes = remove_half_made_runs(&home)?;
        let stamp = lease.holder().started.strftime("%Y%m%d-%H%M%S").to_string();
        let (rows, note) = rows::Rows::open(&home.sled(), &stamp)?;
        notes.extend(note);
        let store = Self {
            home,
            rows,
            segments: HashMap::new(),
            notes: Vec::new(),
            poison: None,
            stamp,
            lease,
        };
        Ok((store, notes))
    }

    /// Where everything lies.
    pub fn home(&self) -> &Home {
        &self.home
    }

    /// The lock this store holds.
    pub fn lease(&self) -> &StoreLease {
        &self.lease
    }

    /// Runs of this repository, oldest first.
    pub fn runs(&self) -> Result<Vec<RunId>, StoreError> {
        read_runs(&self.home)
    }

    /// Things worth telling since the last call: a torn last line that was dropped.
    pub fn take_notes(&mut self) -> Vec<String> {
        std::mem::take(&mut self.notes)
    }

    /// Makes the directory of a run with its frozen pipeline and its first events, all or nothing: after a crash there
    /// is a run that began, or none. `rows` are those that the events give.
    ///
    /// # Errors
    /// When the first event is not the start of this run, the run is there already, or the disk refuses.
    pub fn start_run(
        &mut self,
        run: &RunId,
        frozen: &[u8],
        at: Timestamp,
        events: &[Event],
        rows: &[Row],
    ) -> Result<(), StoreError> {
        if !events.first().is_some_and(|event| journal::starts(event, run)) {
            return Err(StoreError::NotStarted(run.clone()));
        }
        let (_, lines) = encoded(1, at, events);
        let seq = events.len() as u64;
        self.make_run(run, frozen, &lines, seq)?;
        let done = self.rows.replace(run, seq, rows);
        if let Err(error) = &done {
            self.poison = Some(error.to_string());
        }
        done
    }

    fn make_run(&mut self, run: &RunId, frozen: &[u8], lines: &[u8], seq: u64) -> Result<(), StoreError> {
        self.still_holds()?;
        let place = self.home.run_dir(run);
        if place.exists() {
            return Err(StoreError::Exists(run.clone()));
        }
        let making = self.home.runs_dir().join(format!("{HALF_MADE}{run}"));
        disk::make_dir(&making)?;
        disk::write_aside(&making.join("frozen.json"), frozen)?;
        disk::write_aside(&making.join("journal.jsonl"), lines)?;
        fault::point("store.run")
            .and_then(|()| fs::rename(&making, &place))
            .map_err(|source| StoreError::io("put in place", &place, source))?;
        disk::sync_dir(&self.home.runs_dir())?;
        disk::sync_dir(self.home.root())?;
        let segment = open_segment(&self.home.journal(run), seq, lines.len() as u64)?;
        self.segments.insert(run.clone(), segment);
        Ok(())
    }

    /// Puts another frozen file in the place of a run's. What the journal says of it is for the caller.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn replace_frozen(&mut self, run: &RunId, frozen: &[u8]) -> Result<(), StoreError> {
        self.still_holds()?;
        disk::write_aside(&self.home.frozen(run), frozen)
    }

    /// Reads and checks the whole journal of a run and makes it ready for more. A torn last line is cut away and
    /// told by [`Store::take_notes`].
    pub fn load(&mut self, run: &RunId) -> Result<Vec<Record>, StoreError> {
        self.still_holds()?;
        let path = self.home.journal(run);
        let scan = journal::scan(&path, run)?;
        let records = scan.reading.records;
        let segment = open_segment(&path, records.len() as u64, scan.bytes_good)?;
        if scan.reading.torn {
            fault::point("journal.cut")
                .and_then(|()| segment.file.set_len(scan.bytes_good))
                .and_then(|()| disk::sync(&segment.file))
                .map_err(|source| StoreError::io("cut the torn line from", &path, source))?;
            self.notes.push(format!(
                "{}: the last line was cut short by a crash and was dropped; it had never taken effect",
                path.display()
            ));
        }
        self.segments.insert(run.clone(), segment);
        Ok(records)
    }

    /// Moves the directory of a run out of the way, for a new one of the same id; the answer is where it is now.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn set_run_aside(&mut self, run: &RunId) -> Result<PathBuf, StoreError> {
        self.still_holds()?;
        self.segments.remove(run);
        let aside = disk::set_aside(&self.home.run_dir(run), &self.stamp)?;
        disk::sync_dir(&self.home.runs_dir())?;
        Ok(aside)
    }

    /// Removes a run with its journal, its logs and its rows. What a crash leaves of it is removed by the next
    /// [`Store::open`].
    ///
    /// # Errors
    /// The disk refuses.
    pub fn remove_run(&mut self, run: &RunId) -> Result<(), StoreError> {
        self.still_holds()?;
        self.segments.remove(run);
        let (place, leaving) = (
            self.home.run_dir(run),
            self.home.runs_dir().join(format!("{LEAVING}{run}")),
        );
        fault::point("store.run.leaving")
            .and_then(|()| fs::rename(&place, &leaving))
            .map_err(|source| StoreError::io("move", &place, source))?;
        disk::sync_dir(&self.home.runs_dir())?;
        for doomed in [self.home.logs(run), leaving] {
            disk::remove_dir(&doomed)?;
        }
        self.rows.forget(run)
    }

    /// Makes `events` part of the run for good, then brings the rows along. When this returns, the events are on
    /// the disk; effects that depend on them may begin.
    ///
    /// # Errors
    /// After a failed write nothing on disk is certain, so every later commit is refused.
    pub fn commit(
        &mut self,
        run: &RunId,
        at: Timestamp,
        events: &[Event],
        rows: &[Row],
    ) -> Result<Vec<Record>, StoreError> {
        self.still_holds()?;
        let segment = self
            .segments
            .get_mut(run)
            .ok_or_else(|| StoreError::NotLoaded(run.clone()))?;
        let (records, lines) = encoded(segment.seq + 1, at, events);
        let done = append(segment, &self.home.journal(run), &lines).and_then(|()| {
            segment.seq += events.len() as u64;
            self.rows.apply(run, segment.seq, rows)
        });
        if let Err(error) = done {
            self.poison = Some(error.to_string());
            return Err(error);
        }
        Ok(records)
    }

    /// The rows of one collection of a run, in the order of their keys.
    pub fn rows(
        &self,
        run: &RunId,
        tree: RowTree,
    ) -> impl Iterator<Item = Result<(String, Vec<u8>), StoreError>> + '_ {
        self.rows.iter(run, tree)
    }

    /// Makes the rows of `run` equal to `expected`, which the journal gives at sequence `at_seq`. To be called once
    /// after [`Store::load`]. The answer is to be told: rows that are ahead of the journal, differ from it at the
    /// same sequence or are gone were set aside and rebuilt.
    pub fn verify_rows(
        &mut self,
        run: &RunId,
        expected: &RowMap,
        at_seq: u64,
    ) -> Result<Option<String>, StoreError> {
        self.still_holds()?;
        self.rows.reconcile(run, expected, at_seq, &self.stamp)
    }

    /// Whether this process may still act for the repository. To be asked before an effect that cannot be taken back.
    ///
    /// # Errors
    /// A commit failed before, or the lock is not the repository's any more ([`StoreError::Displaced`]).
    pub fn still_holds(&self) -> Result<(), StoreError> {
        if let Some(cause) = &self.poison {
            return Err(StoreError::Poisoned(cause.clone()));
        }
        if self.lease.is_current() {
            Ok(())
        } else {
            Err(StoreError::Displaced(self.home.lock()))
        }
    }
}

/// The records of events from `first` on, and their lines.
fn encoded(first: u64, at: Timestamp, events: &[Event]) -> (Vec<Record>, Vec<u8>) {
    let mut lines = Vec::with_capacity(events.len() * 256);
    let mut records = Vec::with_capacity(events.len());
    for (seq, event) in (first..).zip(events) {
        let event = event.clone();
        let record = Record { seq, at, event };
        journal::encode(&record, &mut lines);
        records.push(record);
    }
    (records, lines)
}

/// Directories of this prefix are runs whose making was cut short; nothing has ever referred to them.
const HALF_MADE: &str = ".new-";
/// Directories of this prefix are runs whose removal was cut short; nothing refers to them any more.
const LEAVING: &str = ".old-";

fn remove_half_made_runs(home: &Home) -> Result<Vec<String>, StoreError> {
    let dir = home.runs_dir();
    let mut notes = Vec::new();
    for name in names(&dir)? {
        let what = if name.starts_with(HALF_MADE) {
            "a run that was never started"
        } else if name.starts_with(LEAVING) {
            "what was left of a run that was removed"
        } else {
            continue;
        };
        let path = dir.join(&name);
        disk::remove_dir(&path)?;
        notes.push(format!("{}: {what} is gone now", path.display()));
    }
    Ok(notes)
}

fn open_segment(path: &Path, seq: u64, bytes: u64) -> Result<Segment, StoreError> {
    let file = OpenOptions::new()
        .append(true)
        .open(path)
        .map_err(|source| StoreError::io("open the journal", path, source))?;
    Ok(Segment { file, seq, bytes })
}

/// Appends in one write and waits for the disk.
fn append(segment: &mut Segment, path: &Path, lines: &[u8]) -> Result<(), StoreError> {
    if lines.is_empty() {
        return Ok(());
    }
    if !disk::is_at(&segment.file, path) {
        return Err(StoreError::Displaced(path.to_path_buf()));
    }
    let found = segment
        .file
        .metadata()
        .map_err(|source| StoreError::io("look at", path, source))?
        .len();
    if found != segment.bytes {
        let why = format!("it has {found} bytes where {} were written", segment.bytes);
        return Err(StoreError::corrupt(path, 0, why));
    }
    write_lines(&mut segment.file, segment.bytes, lines)
        .map_err(|source| StoreError::io("append to", path, source))?;
    segment.bytes += lines.len() as u64;
    Ok(())
}

fn write_lines(file: &mut File, bytes_before: u64, lines: &[u8]) -> io::Result<()> {
    fault::point("journal.append")?;
    fault::written(file, bytes_before);
    fault::torn("journal.append.torn", file, lines)?;
    file.write_all(lines)?;
    fault::point("journal.sync")?;
    disk::sync(file)
}

/// The names in a directory; one that does not exist has none.
fn names(dir: &Path) -> Result<Vec<String>, StoreError> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => return Err(StoreError::io("list", dir, source)),
    };
    entries
        .map(|entry| match entry {
            Ok(entry) => Ok(entry.file_name().to_string_lossy().into_owned()),
            Err(source) => Err(StoreError::io("list", dir, source)),
        })
        .collect()
}

/// Runs of a repository, oldest first. Takes no lock.
pub fn read_runs(home: &Home) -> Result<Vec<RunId>, StoreError> {
    let mut runs: Vec<RunId> = names(&home.runs_dir())?
        .iter()
        .filter_map(|name| RunId::parse(name).ok())
        .collect();
    runs.sort();
    Ok(runs)
}

/// The journal of a run as it is at this moment. Takes no lock and writes nothing.
pub fn read_journal(home: &Home, run: &RunId) -> Result<Reading, StoreError> {
    Ok(journal::scan(&home.journal(run), run)?.reading)
}

/// What is wrong with the rows that the database holds of these runs, each given with what its journal makes of them and
/// the sequence it ends at. Takes no lock and leaves the database alone. Means something only while no engine is at work.
///
/// # Errors
/// The database cannot be copied.
pub fn audit_rows(
    home: &Home,
    expected: &BTreeMap<RunId, (RowMap, u64)>,
) -> Result<Vec<(Option<RunId>, String)>, StoreError> {
    rows::audit(&home.sled(), expected)
}

/// The frozen pipeline of a run, as the bytes it was created with. Takes no lock.
pub fn read_frozen(home: &Home, run: &RunId) -> Result<Vec<u8>, StoreError> {
    let path = home.frozen(run);
    fs::read(&path).map_err(|source| StoreError::io("read", &path, source))
}

#[cfg(test)]
mod tests;
