//! `pipeline logs --follow`: what a unit's attempts write, while they write it.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::path::Path;
use std::time::Duration;

use super::context::{Context, write_out};
use super::exit::Exit;
use super::failure::Failure;
use super::logs::{Told, attempts, log_of};
use crate::id::{RunId, UnitId};
use crate::report::text::sanitize;
use crate::view::RunState;

/// How often logs and journal are looked at again.
const PERIOD: Duration = Duration::from_millis(200);

/// Prints every attempt that is `wanted`, one after another, each to its end. It returns when the unit has come to an
/// end or no engine works on the run, and when nobody reads any more.
pub(super) fn perform(
    context: &Context,
    run: &RunId,
    unit: &UnitId,
    wanted: &dyn Fn(&Told) -> bool,
) -> Result<Exit, Failure> {
    let mut shown: BTreeMap<u64, Shown> = BTreeMap::new();
    loop {
        let reading = context.read(run)?;
        let ended = reading.view.run.state != RunState::Running
            || reading.view.unit(unit).is_none_or(|unit| unit.state.has_ended());
        for told in attempts(&reading.records, unit)
            .iter()
            .filter(|told| wanted(told))
        {
            let running = told.running && !ended;
            let shown = shown.entry(told.fence).or_default();
            if !shown.take(&log_of(context, run, &told.key), told, running)? {
                return Ok(Exit::Done);
            }
            if running {
                break;
            }
        }
        if ended {
            return Ok(Exit::Done);
        }
        std::thread::sleep(PERIOD);
    }
}

/// How much of an attempt is shown.
#[derive(Default)]
struct Shown {
    /// Whether its first line is.
    begun: bool,
    /// Whether all of it is.
    whole: bool,
    /// Bytes of its log.
    bytes: u64,
}

impl Shown {
    /// Shows what is new; while it is `running`, whole lines only, lest a character be torn. `false` when nobody reads.
    fn take(&mut self, log: &Path, told: &Told, running: bool) -> Result<bool, Failure> {
        if self.whole {
            return Ok(true);
        }
        let mut text = String::new();
        let was_running = self.begun;
        if !self.begun {
            text += &head(told, if running { "running" } else { &told.outcome });
            self.begun = true;
        }
        let mut more = read_from(log, self.bytes).map_err(|error| Failure::io("read", log, &error))?;
        if running {
            let lines = more
                .iter()
                .rposition(|byte| *byte == b'\n')
                .map_or(0, |last| last + 1);
            more.truncate(lines);
        }
        self.bytes += more.len() as u64;
        text += &sanitize(&String::from_utf8_lossy(&more));
        if !running {
            if !text.is_empty() && !text.ends_with('\n') {
                text.push('\n');
            }
            if was_running {
                text += &head(told, &told.outcome);
            }
            self.whole = true;
        }
        Ok(text.is_empty() || write_out(&text))
    }
}

fn head(told: &Told, state: &str) -> String {
    format!("── {} · {state}\n", told.key)
}

/// The bytes after the first `offset`; none of a log that is not there yet.
fn read_from(path: &Path, offset: u64) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    match File::open(path) {
        Ok(mut file) => {
            file.seek(SeekFrom::Start(offset))?;
            file.read_to_end(&mut bytes)?;
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    Ok(bytes)
}
