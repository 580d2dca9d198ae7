//! What the store promises, each promise by itself.

mod damage;
mod laws;

use std::path::Path;

use super::*;
use crate::event::{RunEvent, StopCause};
use crate::id::Oid;

pub(super) const NOW: &str = "2026-11-21T14:22:33Z";

pub(super) fn at() -> Timestamp {
    NOW.parse().unwrap()
}

pub(super) fn run_id(n: u64) -> RunId {
    RunId::new(at(), n)
}

pub(super) fn oid(digit: char) -> Oid {
    digit.to_string().repeat(40).parse().unwrap()
}

pub(super) fn started(run: &RunId) -> Event {
    started_in(run, FORMAT)
}

pub(super) fn started_in(run: &RunId, format: u32) -> Event {
    Event::Run(RunEvent::RunStarted {
        format,
        run: run.clone(),
        name: "demo".to_owned(),
        file: "rfc.yaml".to_owned(),
        target: "main".to_owned(),
        meant_for: None,
        base: oid('1'),
        frozen: "f".repeat(64),
    })
}

pub(super) fn stopped() -> Event {
    Event::Run(RunEvent::EngineStopped {
        why: StopCause::Signal,
    })
}

pub(super) fn holder_of(command: &str) -> Holder {
    Holder {
        pid: 4711,
        command: command.to_owned(),
        started: at(),
    }
}

pub(super) fn open(dir: &Path) -> (Store, Vec<String>) {
    let home = Home::new(dir);
    let lease = StoreLease::acquire(&home, &holder_of("pipeline run rfc.yaml")).unwrap();
    Store::open(home, lease).unwrap()
}

pub(super) fn row(key: &str, value: &str) -> Row {
    Row {
        tree: RowTree::Entries,
        key: key.to_owned(),
        value: Some(value.as_bytes().to_vec()),
    }
}

/// A run with one record.
pub(super) fn begin(store: &mut Store, run: &RunId) {
    store.start_run(run, b"{}", at(), &[started(run)], &[]).unwrap();
}

/// A run with three records and two rows, closed again.
pub(super) fn three_records(dir: &Path) -> RunId {
    let run = run_id(1);
    let (mut store, _) = open(dir);
    store
        .start_run(&run, b"{}", at(), &[started(&run)], &[row("a", "1")])
        .unwrap();
    store
        .commit(&run, at(), &[stopped(), stopped()], &[row("b", "2")])
        .unwrap();
    run
}

pub(super) fn two_rows() -> RowMap {
    [("a", "1"), ("b", "2")]
        .into_iter()
        .map(|(key, value)| ((RowTree::Entries, key.to_owned()), value.as_bytes().to_vec()))
        .collect()
}

#[test]
fn what_is_committed_is_read_back_by_the_writer_and_by_readers() {
    let dir = tempfile::tempdir().unwrap();
    let run = run_id(1);
    let (mut store, notes) = open(dir.path());
    assert_eq!(notes, Vec::<String>::new());
    store
        .start_run(&run, b"frozen bytes", at(), &[started(&run)], &[])
        .unwrap();
    let written = store.commit(&run, at(), &[stopped(), stopped()], &[]).unwrap();
    assert_eq!(written.iter().map(|r| r.seq).collect::<Vec<_>>(), [2, 3]);

    let home = store.home().clone();
    let read = read_journal(&home, &run).unwrap().records;
    assert_eq!(read[1..], written);
    assert_eq!(read[0].event, started(&run));
    assert_eq!(read_frozen(&home, &run).unwrap(), b"frozen bytes");
    drop(store);
    let (mut store, _) = open(dir.path());
    assert_eq!(store.load(&run).unwrap(), read);
    assert_eq!(store.commit(&run, at(), &[stopped()], &[]).unwrap()[0].seq, 4);
}

#[test]
fn runs_are_listed_in_the_order_of_time() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, _) = open(dir.path());
    let late = RunId::new("2026-11-22T00:00:00Z".parse().unwrap(), 0);
    let early = run_id(u64::MAX);
    begin(&mut store, &late);
    begin(&mut store, &early);
    assert_eq!(store.runs().unwrap(), [early, late]);
}

#[test]
fn a_repository_without_state_has_no_runs() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(read_runs(&Home::new(dir.path())).unwrap(), Vec::<RunId>::new());
}

#[test]
fn a_run_whose_making_was_cut_short_is_removed_and_told() {
    let dir = tempfile::tempdir().unwrap();
    let home = Home::new(dir.path());
    let half = home.runs_dir().join(format!("{HALF_MADE}{}", run_id(1)));
    fs::create_dir_all(&half).unwrap();
    let (store, notes) = open(dir.path());
    assert!(!half.exists());
    assert!(notes[0].contains("never started"), "{notes:?}");
    assert_eq!(store.runs().unwrap(), []);
}

#[test]
fn a_journal_begins_with_the_start_of_its_own_run() {
    let dir = tempfile::tempdir().unwrap();
    let run = run_id(1);
    let (mut store, _) = open(dir.path());
    for first in [stopped(), started(&run_id(2))] {
        let error = store.start_run(&run, b"{}", at(), &[first], &[]).unwrap_err();
        assert!(matches!(error, StoreError::NotStarted(_)), "{error}");
    }
    begin(&mut store, &run);
}

#[test]
fn a_run_that_is_not_loaded_is_not_written() {
    let dir = tempfile::tempdir().unwrap();
    let run = three_records(dir.path());
    let (mut store, _) = open(dir.path());
    let error = store.commit(&run, at(), &[stopped()], &[]).unwrap_err();
    assert!(matches!(error, StoreError::NotLoaded(_)), "{error}");
}

#[test]
fn a_second_engine_is_refused_with_the_name_of_the_first() {
    let dir = tempfile::tempdir().unwrap();
    let home = Home::new(dir.path());
    let first = StoreLease::acquire(&home, &holder_of("pipeline run \u{1b}[31mrfc.yaml")).unwrap();
    let error = StoreLease::acquire(&home, &holder_of("pipeline stop")).unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains("process 4711 (`pipeline run [31mrfc.yaml`, since 2026-11-21"),
        "{text}"
    );
    assert!(holder(&home).unwrap().contains("4711"));

    drop(first);
    assert_eq!(holder(&home), None);
    assert!(home.lock().exists());
    StoreLease::acquire(&home, &holder_of("pipeline run other.yaml")).unwrap();
}

#[test]
fn an_engine_whose_state_was_taken_away_writes_nothing_more() {
    let dir = tempfile::tempdir().unwrap();
    let run = run_id(1);
    let (mut stalled, _) = open(dir.path());
    stalled
        .start_run(&run, b"{}", at(), &[started(&run)], &[])
        .unwrap();
    fs::rename(dir.path().join("pipeline"), dir.path().join("away")).unwrap();
    // The name is free again, so another engine gets a lock of its own.
    let (mut other, _) = open(dir.path());
    other.start_run(&run, b"{}", at(), &[started(&run)], &[]).unwrap();
    let error = stalled.commit(&run, at(), &[stopped()], &[]).unwrap_err();
    assert!(matches!(error, StoreError::Displaced(_)), "{error}");
    assert!(matches!(stalled.still_holds(), Err(StoreError::Displaced(_))));
    other.commit(&run, at(), &[stopped()], &[]).unwrap();
    assert_eq!(other.load(&run).unwrap().len(), 2);
}

#[test]
fn a_journal_that_was_replaced_is_not_appended_to() {
    let dir = tempfile::tempdir().unwrap();
    let run = run_id(1);
    let (mut store, _) = open(dir.path());
    store.start_run(&run, b"{}", at(), &[started(&run)], &[]).unwrap();
    let journal = store.home().journal(&run);
    let copy = fs::read(&journal).unwrap();
    fs::remove_file(&journal).unwrap();
    fs::write(&journal, &copy).unwrap();
    let error = store.commit(&run, at(), &[stopped()], &[]).unwrap_err();
    assert!(matches!(error, StoreError::Displaced(_)), "{error}");
    assert_eq!(fs::read(&journal).unwrap(), copy);
}

#[test]
fn a_lock_file_of_garbage_is_no_obstacle() {
    let dir = tempfile::tempdir().unwrap();
    let home = Home::new(dir.path());
    fs::create_dir_all(home.root()).unwrap();
    fs::write(home.lock(), [0xff; 100_000]).unwrap();
    let lease = StoreLease::acquire(&home, &holder_of("pipeline run")).unwrap();
    assert_eq!(
        fs::metadata(home.lock()).unwrap().len(),
        serde_json::to_vec(lease.holder()).unwrap().len() as u64
    );
}

#[test]
fn a_directory_that_cannot_be_made_is_told_with_path_and_remedy() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, b"").unwrap();
    let error = StoreLease::acquire(&Home::new(&file), &holder_of("x"))
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("cannot make the directory") && error.contains("file/pipeline"),
        "{error}"
    );
}

#[test]
fn a_refusal_of_the_system_names_its_remedy() {
    let text = |kind: io::ErrorKind| StoreError::io("append to", Path::new("/j"), kind.into()).to_string();
    assert!(text(io::ErrorKind::ReadOnlyFilesystem).contains("make the file system writable"));
    assert!(text(io::ErrorKind::StorageFull).contains("make room on the disk"));
    assert!(text(io::ErrorKind::PermissionDenied).contains("writable for this user"));
}

#[test]
fn after_a_failed_write_nothing_more_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let run = run_id(1);
    let (mut store, _) = open(dir.path());
    begin(&mut store, &run);
    let journal = store.home().journal(&run);
    fs::remove_file(&journal).unwrap();
    std::os::unix::fs::symlink("/dev/full", &journal).unwrap();
    let full = OpenOptions::new().append(true).open(&journal).unwrap();
    let segment = store.segments.get_mut(&run).unwrap();
    (segment.file, segment.bytes) = (full, 0);
    let error = store
        .commit(&run, at(), &[stopped()], &[row("a", "1")])
        .unwrap_err();
    assert!(error.to_string().contains("make room on the disk"), "{error}");
    assert_eq!(store.rows(&run, RowTree::Entries).count(), 0);
    let again = store.commit(&run, at(), &[stopped()], &[]).unwrap_err();
    assert!(matches!(again, StoreError::Poisoned(_)), "{again}");
    assert!(matches!(store.load(&run), Err(StoreError::Poisoned(_))));
    assert!(matches!(
        store.start_run(&run_id(2), b"{}", at(), &[started(&run_id(2))], &[]),
        Err(StoreError::Poisoned(_))
    ));
}

#[test]
fn a_journal_that_somebody_else_changed_is_not_appended_to() {
    let dir = tempfile::tempdir().unwrap();
    let run = run_id(1);
    let (mut store, _) = open(dir.path());
    begin(&mut store, &run);
    let path = store.home().journal(&run);
    let mut bytes = fs::read(&path).unwrap();
    bytes.extend_from_slice(b"x\n");
    fs::write(&path, bytes).unwrap();
    let error = store.commit(&run, at(), &[stopped()], &[]).unwrap_err();
    assert!(matches!(error, StoreError::Corrupt { .. }), "{error}");
}

#[test]
fn readers_see_a_prefix_while_the_engine_appends() {
    let dir = tempfile::tempdir().unwrap();
    let run = run_id(1);
    let (mut store, _) = open(dir.path());
    begin(&mut store, &run);
    let home = store.home().clone();
    let read = run.clone();
    let reader = std::thread::spawn(move || {
        let mut seen = 0;
        while seen < 101 {
            let records = read_journal(&home, &read).unwrap().records;
            assert!(records.len() >= seen);
            seen = records.len();
        }
    });
    for _ in 0..100 {
        store.commit(&run, at(), &[stopped()], &[]).unwrap();
    }
    reader.join().unwrap();
}

#[test]
fn readers_need_no_permission_to_write() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let run = three_records(dir.path());
    let home = Home::new(dir.path());
    fs::set_permissions(home.journal(&run), fs::Permissions::from_mode(0o444)).unwrap();
    fs::set_permissions(home.run_dir(&run), fs::Permissions::from_mode(0o555)).unwrap();
    assert_eq!(read_journal(&home, &run).unwrap().records.len(), 3);
    assert_eq!(read_frozen(&home, &run).unwrap(), b"{}");
    fs::set_permissions(home.run_dir(&run), fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn rows_are_replaced_removed_and_kept_apart_by_run_and_collection() {
    let dir = tempfile::tempdir().unwrap();
    let (one, two) = (run_id(1), run_id(2));
    let (mut store, _) = open(dir.path());
    for run in [&one, &two] {
        store
            .start_run(run, b"{}", at(), &[started(run)], &[row("a", "1"), row("b", "1")])
            .unwrap();
    }
    let gone = Row {
        value: None,
        ..row("b", "")
    };
    let unit = Row {
        tree: RowTree::Units,
        ..row("a", "unit")
    };
    store
        .commit(
            &one,
            at(),
            &[stopped()],
            &[row("a", "2"), row("a", "3"), gone, unit],
        )
        .unwrap();
    let read = |run, tree| store.rows(run, tree).map(Result::unwrap).collect::<Vec<_>>();
    assert_eq!(read(&one, RowTree::Entries), [("a".to_owned(), b"3".to_vec())]);
    assert_eq!(read(&one, RowTree::Units), [("a".to_owned(), b"unit".to_vec())]);
    assert_eq!(read(&two, RowTree::Entries).len(), 2);
    drop(store);
    assert_eq!(open(dir.path()).1, Vec::<String>::new());
}

#[test]
fn a_run_is_there_with_its_first_events_or_not_at_all() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, _) = open(dir.path());
    let run = run_id(1);
    let refused = store.start_run(&run, b"{}", at(), &[stopped()], &[]);
    assert!(matches!(refused, Err(StoreError::NotStarted(_))));
    assert!(store.runs().unwrap().is_empty());
    store
        .start_run(&run, b"{}", at(), &[started(&run), stopped()], &[])
        .unwrap();
    let again = store.start_run(&run, b"{}", at(), &[started(&run)], &[]);
    assert!(matches!(again, Err(StoreError::Exists(_))));
    store.commit(&run, at(), &[stopped()], &[]).unwrap();
    let records = store.load(&run).unwrap();
    let seqs: Vec<u64> = records.iter().map(|record| record.seq).collect();
    assert_eq!(seqs, [1, 2, 3]);
    assert_eq!(store.verify_rows(&run, &RowMap::new(), 3).unwrap(), None);
}
