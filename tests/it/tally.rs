//! What tests tell `tests/run`: how much was tried, and what this machine did not let them try.

use std::fs::OpenOptions;
use std::io::Write;

/// Adds a line to the tally, such as `random kills: 200`.
pub(crate) fn tally(line: &str) {
    println!("{line}");
    append("PIPELINE_TEST_TALLY", line);
}

/// Says that a test could not do its work here, and what it lacks.
pub(crate) fn skip(what: &str) {
    eprintln!("skipped: {what}");
    append("PIPELINE_TEST_SKIPS", what);
}

/// Nobody may have asked; then nothing is written.
fn append(variable: &str, line: &str) {
    let Some(path) = std::env::var_os(variable) else {
        return;
    };
    let mut file = OpenOptions::new().append(true).create(true).open(path).unwrap();
    // One write, because other tests append at the same time.
    file.write_all(format!("{line}\n").as_bytes()).unwrap();
}
