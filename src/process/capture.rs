//! The log of one command: the head of what it prints at once, the tail at the end, and its last line meanwhile.
//!
//! Memory is bounded by half of the log's limit, whatever is printed and however long a line is.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use super::text;

/// Most bytes of a line that are looked at to show it.
const LINE_BYTES_MAX: usize = 4096;
/// Most characters of a line that are shown.
const LINE_CHARS_MAX: usize = 200;

/// Takes a command's output.
pub(super) struct Capture {
    log: File,
    /// Bytes that may still go to the log directly.
    head_left: u64,
    tail: VecDeque<u8>,
    tail_bytes_max: usize,
    /// Everything printed.
    bytes: u64,
    /// Bytes that fell out of the tail.
    left_out: u64,
    /// The first thing that went wrong with the log; from then on nothing is written.
    failure: Option<io::Error>,
    line: LastLine,
}

impl Capture {
    /// Appends to `log`, at most `bytes_max` bytes and one line of our own.
    pub(super) fn open(log: &Path, bytes_max: u64) -> io::Result<Self> {
        let file = OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o600)
            .open(log)?;
        let tail_bytes_max = usize::try_from(bytes_max / 2).unwrap_or(usize::MAX);
        Ok(Self {
            log: file,
            head_left: bytes_max - bytes_max / 2,
            tail: VecDeque::new(),
            tail_bytes_max,
            bytes: 0,
            left_out: 0,
            failure: None,
            line: LastLine::default(),
        })
    }

    /// Takes a piece of output.
    pub(super) fn take(&mut self, piece: &[u8]) {
        self.bytes += piece.len() as u64;
        self.line.take(piece);
        let head = usize::try_from(self.head_left).map_or(piece.len(), |left| left.min(piece.len()));
        let (head, rest) = piece.split_at(head);
        self.head_left -= head.len() as u64;
        self.write(head);
        // A piece may be longer than the whole tail.
        let skipped = rest.len().saturating_sub(self.tail_bytes_max);
        let rest = &rest[skipped..];
        let overflow = (self.tail.len() + rest.len()).saturating_sub(self.tail_bytes_max);
        self.tail.drain(..overflow);
        self.left_out += (skipped + overflow) as u64;
        self.tail.extend(rest);
    }

    /// Bytes taken so far.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The last line, if there is one that was not yet asked for.
    pub(super) fn fresh_line(&mut self) -> Option<String> {
        self.line.fresh()
    }

    /// Writes the tail. The error, if there is one, is the first that the log had.
    pub(super) fn finish(mut self) -> io::Result<u64> {
        if self.left_out > 0 {
            let note = format!("\n[pipeline: {} bytes were left out here]\n", self.left_out);
            self.write(note.as_bytes());
        }
        let tail = std::mem::take(&mut self.tail);
        let (first, second) = tail.as_slices();
        self.write(first);
        self.write(second);
        match self.failure {
            Some(error) => Err(error),
            None => Ok(self.bytes),
        }
    }

    fn write(&mut self, bytes: &[u8]) {
        if self.failure.is_none()
            && let Err(error) = self.log.write_all(bytes)
        {
            self.failure = Some(error);
        }
    }
}

/// The beginning of the last line that says something.
#[derive(Default)]
struct LastLine {
    /// The line being printed.
    current: Vec<u8>,
    /// The last one that was ended and is not blank.
    ended: Vec<u8>,
    fresh: bool,
}

impl LastLine {
    fn take(&mut self, piece: &[u8]) {
        let mut rest = piece;
        while let Some(at) = rest.iter().position(|byte| matches!(byte, b'\n' | b'\r')) {
            self.extend(&rest[..at]);
            if !self.current.iter().all(u8::is_ascii_whitespace) {
                std::mem::swap(&mut self.ended, &mut self.current);
            }
            self.current.clear();
            rest = &rest[at + 1..];
        }
        self.extend(rest);
        self.fresh = true;
    }

    fn extend(&mut self, bytes: &[u8]) {
        let room = LINE_BYTES_MAX - self.current.len();
        self.current.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }

    fn fresh(&mut self) -> Option<String> {
        if !std::mem::take(&mut self.fresh) {
            return None;
        }
        let line = match text::one_line(&self.current, LINE_CHARS_MAX) {
            blank if blank.is_empty() => text::one_line(&self.ended, LINE_CHARS_MAX),
            line => line,
        };
        (!line.is_empty()).then_some(line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(bytes_max: u64, pieces: &[&[u8]]) -> String {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("log");
        let mut capture = Capture::open(&log, bytes_max).unwrap();
        for piece in pieces {
            capture.take(piece);
        }
        let bytes = pieces.iter().map(|piece| piece.len() as u64).sum::<u64>();
        assert_eq!(capture.finish().unwrap(), bytes);
        std::fs::read_to_string(&log).unwrap()
    }

    #[test]
    fn what_fits_is_kept_as_it_is() {
        assert_eq!(kept(8, &[b"abc", b"de", b"fgh"]), "abcdefgh");
        assert_eq!(kept(7, &[b"abcdefg"]), "abcdefg");
        assert_eq!(kept(8, &[]), "");
    }

    #[test]
    fn of_what_does_not_fit_the_head_and_the_tail_are_kept() {
        let expected = "abcd\n[pipeline: 3 bytes were left out here]\nhijk";
        assert_eq!(kept(8, &[b"abcdefghijk"]), expected);
        assert_eq!(kept(8, &[b"ab", b"cde", b"f", b"ghijk"]), expected);
        let single: Vec<&[u8]> = b"abcdefghijk".chunks(1).collect();
        assert_eq!(kept(8, &single), expected);
    }

    #[test]
    fn the_last_line_is_told_once_and_never_long() {
        let mut line = LastLine::default();
        assert_eq!(line.fresh(), None);
        line.take(b"one\ntwo\n");
        assert_eq!(line.fresh().as_deref(), Some("two"));
        assert_eq!(line.fresh(), None);
        line.take(b"th");
        line.take(b"ree");
        assert_eq!(line.fresh().as_deref(), Some("three"));
        for _ in 0..1000 {
            line.take(&[b'x'; 1000]);
        }
        assert_eq!(line.current.len(), LINE_BYTES_MAX);
        assert_eq!(line.fresh().map(|line| line.len()), Some(LINE_CHARS_MAX));
    }
}
