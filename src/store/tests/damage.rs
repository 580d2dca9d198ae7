//! Damage is told, never taken for less state.

use super::*;

fn damage_journal(dir: &Path, run: &RunId, change: impl FnOnce(&mut Vec<u8>)) {
    let path = Home::new(dir).journal(run);
    let mut bytes = fs::read(&path).unwrap();
    change(&mut bytes);
    fs::write(&path, bytes).unwrap();
}

/// The line and the reason of the corruption that `change` makes.
fn corruption(change: impl FnOnce(&mut Vec<u8>)) -> (u64, String) {
    let dir = tempfile::tempdir().unwrap();
    let run = three_records(dir.path());
    damage_journal(dir.path(), &run, change);
    let reader = read_journal(&Home::new(dir.path()), &run)
        .unwrap_err()
        .to_string();
    let (mut store, _) = open(dir.path());
    let error = store.load(&run).unwrap_err();
    assert_eq!(error.to_string(), reader);
    match error {
        StoreError::Corrupt { line, why, .. } => (line, why),
        other => panic!("{other}"),
    }
}

fn line_start(bytes: &[u8], line: usize) -> usize {
    let ends = bytes.iter().enumerate().filter(|(_, b)| **b == b'\n');
    ends.map(|(at, _)| at + 1).nth(line - 2).unwrap()
}

#[test]
fn a_torn_last_line_is_dropped_and_told() {
    for cut in [1, 5, 60] {
        let dir = tempfile::tempdir().unwrap();
        let run = three_records(dir.path());
        damage_journal(dir.path(), &run, |bytes| bytes.truncate(bytes.len() - cut));
        let reading = read_journal(&Home::new(dir.path()), &run).unwrap();
        assert!(reading.torn);
        assert_eq!(reading.records.len(), 2);

        let (mut store, _) = open(dir.path());
        assert_eq!(store.load(&run).unwrap().len(), 2);
        assert!(store.take_notes()[0].contains("cut short by a crash"));
        assert_eq!(store.commit(&run, at(), &[stopped()], &[]).unwrap()[0].seq, 3);
        assert_eq!(store.load(&run).unwrap().len(), 3);
        assert_eq!(store.take_notes(), Vec::<String>::new());
    }
}

#[test]
fn every_flipped_byte_of_a_journal_is_loud() {
    let dir = tempfile::tempdir().unwrap();
    let run = three_records(dir.path());
    let home = Home::new(dir.path());
    let whole = fs::read(home.journal(&run)).unwrap();
    for place in 0..whole.len() {
        let mut bytes = whole.clone();
        bytes[place] ^= 0x01;
        fs::write(home.journal(&run), &bytes).unwrap();
        let read = read_journal(&home, &run);
        assert!(
            matches!(read, Err(StoreError::Corrupt { .. })),
            "byte {place}: {read:?}"
        );
    }
}

#[test]
fn a_flipped_byte_is_told_with_its_line() {
    let (line, why) = corruption(|bytes| {
        let at = line_start(bytes, 2) + 30;
        bytes[at] ^= 0x40;
    });
    assert_eq!(line, 2);
    assert!(why.contains("checksum"), "{why}");
}

#[test]
fn a_missing_line_is_told() {
    let (line, why) = corruption(|bytes| {
        let (from, to) = (line_start(bytes, 2), line_start(bytes, 3));
        bytes.drain(from..to);
    });
    assert_eq!(line, 2);
    assert!(why.contains("sequence number 3"), "{why}");
}

#[test]
fn a_doubled_line_is_told() {
    let (line, why) = corruption(|bytes| {
        let (from, to) = (line_start(bytes, 2), line_start(bytes, 3));
        let doubled = bytes[from..to].to_vec();
        bytes.splice(to..to, doubled);
    });
    assert_eq!((line, why.contains("doubled")), (3, true));
}

#[test]
fn an_empty_line_is_told() {
    let (line, _) = corruption(|bytes| bytes.push(b'\n'));
    assert_eq!(line, 4);
}

#[test]
fn the_journal_of_another_run_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let run = three_records(dir.path());
    let home = Home::new(dir.path());
    let other = run_id(2);
    fs::rename(home.run_dir(&run), home.run_dir(&other)).unwrap();
    let error = read_journal(&home, &other).unwrap_err().to_string();
    assert!(error.contains("of its own run"), "{error}");
}

#[test]
fn a_missing_journal_is_told_and_not_taken_for_an_empty_one() {
    let dir = tempfile::tempdir().unwrap();
    let run = three_records(dir.path());
    fs::remove_file(Home::new(dir.path()).journal(&run)).unwrap();
    let (mut store, _) = open(dir.path());
    let error = store.load(&run).unwrap_err().to_string();
    assert!(
        error.contains("is missing") && error.contains("backup"),
        "{error}"
    );
}

#[test]
fn a_newer_format_names_what_it_needs_even_if_nothing_else_can_be_parsed() {
    let dir = tempfile::tempdir().unwrap();
    let run = three_records(dir.path());
    let json = br#"{"seq":1,"format":7,"whatever":[]}"#;
    let line = format!(
        "{{\"crc\":\"{:08x}\",{}\n",
        crc32fast::hash(json),
        std::str::from_utf8(&json[1..]).unwrap()
    );
    damage_journal(dir.path(), &run, |bytes| *bytes = line.into_bytes());
    let error = read_journal(&Home::new(dir.path()), &run).unwrap_err();
    assert!(matches!(error, StoreError::Newer { needs: 7, .. }), "{error}");
    assert!(error.to_string().contains("knows format 7"), "{error}");
}

/// Damages the database of a closed store, opens it again and says what was told.
fn after_damage(change: impl FnOnce(&Path)) -> Vec<String> {
    let dir = tempfile::tempdir().unwrap();
    let run = three_records(dir.path());
    change(&Home::new(dir.path()).sled());
    let (mut store, mut notes) = open(dir.path());
    let records = store.load(&run).unwrap();
    notes.extend(
        store
            .verify_rows(&run, &two_rows(), records.len() as u64)
            .unwrap(),
    );
    let rows = store
        .rows(&run, RowTree::Entries)
        .map(Result::unwrap)
        .collect::<Vec<_>>();
    assert_eq!(rows.len(), 2);
    drop(store);
    let (mut store, again) = open(dir.path());
    assert_eq!(again, Vec::<String>::new());
    assert_eq!(store.verify_rows(&run, &two_rows(), 3).unwrap(), None);
    notes
}

#[test]
fn an_undamaged_database_gives_no_note() {
    assert_eq!(after_damage(|_| {}), Vec::<String>::new());
}

#[test]
fn a_deleted_database_is_rebuilt() {
    let notes = after_damage(|path| fs::remove_dir_all(path).unwrap());
    assert!(notes[0].contains("knew nothing of"), "{notes:?}");
}

#[test]
fn a_truncated_database_is_rebuilt() {
    let notes = after_damage(|path| {
        let db = OpenOptions::new().write(true).open(path.join("db")).unwrap();
        let bytes = db.metadata().unwrap().len();
        db.set_len(bytes / 4).unwrap();
    });
    assert!(!notes.is_empty());
}

#[test]
fn a_database_of_garbage_is_set_aside_and_rebuilt() {
    let notes = after_damage(|path| {
        for file in ["db", "conf"] {
            fs::write(path.join(file), b"garbage ".repeat(512)).unwrap();
        }
    });
    assert!(
        notes[0].contains("set aside as") && notes[0].contains("queue.sled.bad-20261121-142233"),
        "{notes:?}"
    );
}

#[test]
fn a_database_that_is_a_file_is_set_aside_and_rebuilt() {
    let notes = after_damage(|path| {
        fs::remove_dir_all(path).unwrap();
        fs::write(path, b"x").unwrap();
    });
    assert!(notes[0].contains("set aside as"), "{notes:?}");
}

#[test]
fn a_flipped_database_gives_right_rows_wherever_it_was_flipped() {
    for place in [40, 90, 150, 200, 260, 400] {
        after_damage(|path| {
            let db = path.join("db");
            let mut bytes = fs::read(&db).unwrap();
            let place = place.min(bytes.len() - 1);
            bytes[place] ^= 0xff;
            fs::write(db, bytes).unwrap();
        });
    }
}

#[test]
fn rows_that_contradict_their_seal_are_set_aside() {
    let notes = after_damage(|path| {
        let db = sled::open(path).unwrap();
        let mut key = run_id(1).as_str().as_bytes().to_vec();
        key.extend_from_slice(b"\0ea");
        assert!(db.remove(key).unwrap().is_some());
        db.flush().unwrap();
    });
    assert!(notes[0].contains("1 where 2 were written"), "{notes:?}");
}

#[test]
fn a_database_ahead_of_the_journal_is_set_aside() {
    let dir = tempfile::tempdir().unwrap();
    let run = three_records(dir.path());
    damage_journal(dir.path(), &run, |bytes| {
        let cut = line_start(bytes, 2);
        bytes.truncate(cut);
    });
    let (mut store, _) = open(dir.path());
    assert_eq!(store.load(&run).unwrap().len(), 1);
    let note = store.verify_rows(&run, &RowMap::new(), 1).unwrap().unwrap();
    assert!(
        note.contains("reflects event 3") && note.contains("ends at 1"),
        "{note}"
    );
    assert_eq!(store.rows(&run, RowTree::Entries).count(), 0);
}

#[test]
fn a_database_that_differs_at_its_own_sequence_is_set_aside_and_other_runs_keep_their_rows() {
    let dir = tempfile::tempdir().unwrap();
    let run = three_records(dir.path());
    let other = run_id(2);
    let (mut store, _) = open(dir.path());
    store
        .start_run(&other, b"{}", at(), &[started(&other)], &[row("o", "1")])
        .unwrap();
    let mut expected = two_rows();
    expected.insert((RowTree::Units, "u".to_owned()), b"3".to_vec());
    let note = store.verify_rows(&run, &expected, 3).unwrap().unwrap();
    assert!(note.contains("not what the journal gives"), "{note}");
    assert_eq!(store.rows(&run, RowTree::Units).count(), 1);
    assert_eq!(store.rows(&other, RowTree::Entries).count(), 1);
    drop(store);
    assert_eq!(open(dir.path()).1, Vec::<String>::new());
}

#[test]
fn rows_that_lag_are_rolled_forward_in_silence() {
    let dir = tempfile::tempdir().unwrap();
    let run = three_records(dir.path());
    let path = Home::new(dir.path()).journal(&run);
    let mut bytes = fs::read(&path).unwrap();
    let record = Record {
        seq: 4,
        at: at(),
        event: stopped(),
    };
    journal::encode(&record, &mut bytes);
    fs::write(&path, bytes).unwrap();
    let (mut store, _) = open(dir.path());
    assert_eq!(store.load(&run).unwrap().len(), 4);
    let mut expected = two_rows();
    expected.remove(&(RowTree::Entries, "a".to_owned()));
    assert_eq!(store.verify_rows(&run, &expected, 4).unwrap(), None);
    assert_eq!(store.rows(&run, RowTree::Entries).count(), 1);
    assert_eq!(store.verify_rows(&run, &expected, 4).unwrap(), None);
}
