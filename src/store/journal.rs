//! The journal: one file a run, one event a line, only ever appended to.
//!
//! A line is the record's JSON with a checksum put in front, `{"crc":"1a2b3c4d",` and then the rest of the record
//! byte for byte, so that checking it depends neither on the order of keys nor on how numbers are printed. A last
//! line without its newline is the trace of a crash during a write that was never acknowledged; it does not
//! count. Whatever else is wrong is corruption and is told with file and line.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use serde::Deserialize;

use super::StoreError;
use crate::event::{Event, FORMAT, Record, RunEvent};
use crate::id::RunId;

/// Bytes of `{"crc":"xxxxxxxx",`.
const PREFIX_BYTES: usize = 18;
const PREFIX_HEAD: &[u8] = b"{\"crc\":\"";
const PREFIX_TAIL: &[u8] = b"\",";

/// A run is made with its first event, all or nothing: a journal without one lost it.
const NO_BEGINNING: &str = "it has no whole line, and a run begins with one";

/// What a journal says.
#[derive(Debug, Clone, PartialEq)]
pub struct Reading {
    /// Its records, in order.
    pub records: Vec<Record>,
    /// Whether a last line was cut short, by a crash or because it is being written right now.
    pub torn: bool,
}

/// A reading with the number of bytes it rests on.
pub(super) struct Scan {
    pub(super) reading: Reading,
    pub(super) bytes_good: u64,
}

/// Appends the line of `record` to `into`.
pub(super) fn encode(record: &Record, into: &mut Vec<u8>) {
    let json = serde_json::to_vec(record).expect("a record is plain data");
    let crc = crc32fast::hash(&json);
    into.extend_from_slice(PREFIX_HEAD);
    into.extend_from_slice(format!("{crc:08x}").as_bytes());
    into.extend_from_slice(PREFIX_TAIL);
    into.extend_from_slice(&json[1..]);
    into.push(b'\n');
}

/// The record's JSON in a line without its newline; the error says what is wrong.
fn checked(line: &mut [u8]) -> Result<&[u8], String> {
    let digits = line
        .get(PREFIX_HEAD.len()..PREFIX_BYTES - PREFIX_TAIL.len())
        .filter(|_| {
            line.starts_with(PREFIX_HEAD) && line[..PREFIX_BYTES.min(line.len())].ends_with(PREFIX_TAIL)
        })
        .and_then(|digits| std::str::from_utf8(digits).ok())
        .filter(|digits| {
            digits
                .bytes()
                .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
        })
        .and_then(|digits| u32::from_str_radix(digits, 16).ok());
    let Some(expected) = digits else {
        return Err("it does not begin with a checksum".to_owned());
    };
    // The prefix's comma stands where the record's own brace was.
    line[PREFIX_BYTES - 1] = b'{';
    let json = &line[PREFIX_BYTES - 1..];
    let found = crc32fast::hash(json);
    if found != expected {
        return Err(format!(
            "its checksum is {found:08x} where {expected:08x} is written"
        ));
    }
    Ok(json)
}

/// The record in a line without its newline; the error says what is wrong.
#[cfg(test)]
pub(super) fn decode(line: &mut [u8]) -> Result<Record, String> {
    let json = checked(line)?;
    serde_json::from_slice(json).map_err(|error| format!("it is no record: {error}"))
}

/// The format a first line declares, read apart from everything else because a newer one may hold what this
/// version cannot parse.
#[derive(Deserialize)]
struct FormatLine {
    format: Option<u32>,
}

/// Reads a whole journal of `run`.
pub(super) fn scan(path: &Path, run: &RunId) -> Result<Scan, StoreError> {
    let file = File::open(path).map_err(|source| match source.kind() {
        std::io::ErrorKind::NotFound => StoreError::corrupt(path, 0, "the journal is missing".to_owned()),
        _ => StoreError::io("open the journal", path, source),
    })?;
    let mut input = BufReader::with_capacity(1 << 18, file);
    let mut records = Vec::new();
    let mut line = Vec::new();
    let mut bytes_good = 0;
    loop {
        line.clear();
        let length = input
            .read_until(b'\n', &mut line)
            .map_err(|source| StoreError::io("read the journal", path, source))?;
        let number = records.len() as u64 + 1;
        if length == 0 && records.is_empty() {
            return Err(StoreError::corrupt(path, 0, NO_BEGINNING.to_owned()));
        }
        if length == 0 {
            return Ok(Scan {
                reading: Reading { records, torn: false },
                bytes_good,
            });
        }
        if line.pop_if(|last| *last == b'\n').is_none() {
            torn_tail(path, number, &mut line)?;
            if records.is_empty() {
                return Err(StoreError::corrupt(path, 0, NO_BEGINNING.to_owned()));
            }
            return Ok(Scan {
                reading: Reading { records, torn: true },
                bytes_good,
            });
        }
        records.push(record_of(path, run, number, &mut line)?);
        bytes_good += length as u64;
    }
}

/// Tells a write that was cut short from a last newline that was overwritten: only the former ends before its
/// line is complete.
fn torn_tail(path: &Path, number: u64, line: &mut [u8]) -> Result<(), StoreError> {
    let all_but_last = line.len().saturating_sub(1);
    match checked(&mut line[..all_but_last]) {
        Ok(_) => Err(StoreError::corrupt(
            path,
            number,
            "its newline was overwritten".to_owned(),
        )),
        Err(_) => Ok(()),
    }
}

fn record_of(path: &Path, run: &RunId, number: u64, line: &mut [u8]) -> Result<Record, StoreError> {
    let json = checked(line).map_err(|why| StoreError::corrupt(path, number, why))?;
    if number == 1 {
        let format = serde_json::from_slice::<FormatLine>(json)
            .ok()
            .and_then(|l| l.format);
        if let Some(needs) = format.filter(|format| *format > FORMAT) {
            return Err(StoreError::Newer {
                file: path.to_path_buf(),
                needs,
            });
        }
    }
    let record: Record = serde_json::from_slice(json)
        .map_err(|error| StoreError::corrupt(path, number, format!("it is no record: {error}")))?;
    if record.seq != number {
        let why = format!(
            "it carries the sequence number {}; lines are missing or doubled",
            record.seq
        );
        return Err(StoreError::corrupt(path, number, why));
    }
    if number == 1 && !starts(&record.event, run) {
        let why = format!("a journal begins with `run_started` of its own run, {run}");
        return Err(StoreError::corrupt(path, number, why));
    }
    Ok(record)
}

/// Whether `event` may be the first of the journal of `run`.
pub(super) fn starts(event: &Event, run: &RunId) -> bool {
    matches!(event, Event::Run(RunEvent::RunStarted { run: named, .. }) if named == run)
}
