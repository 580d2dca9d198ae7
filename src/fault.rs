//! Failpoints: named places just before every persisted write and every effect, where a test can kill the program or
//! have the write fail.
//!
//! A build without debug assertions has none of this: every function here is an inlined `Ok(())` there. In a build with
//! them, `cli` arms the process once with the text of the variable [`VARIABLE`], faults separated by commas:
//!
//! | fault | what it does |
//! | --- | --- |
//! | `kill@37` | SIGKILL at the 37th point that is reached, whatever its name |
//! | `kill@journal.append:2` | SIGKILL at the second time of that point |
//! | `cut@37`, `cut@journal.append:2` | the same as a power failure may leave it: what was written and not synced is gone |
//! | `enospc@journal.append:1`, `eio@…`, `erofs@…` | the point answers with that error, once |
//! | `panic@git.merge-tree:2` | the point panics, as a bug there would |
//! | `trace@FILE` | appends the name of each point that is reached, and which fault came where |
//!
//! Points are counted in one process, whichever of its threads reaches them. A supervisor is a process of its own: who
//! starts it passes its points in its stead by [`hand_over`], so that each is counted and traced once, a kill comes
//! before the supervisor is there, and an error is carried out where it belongs, in the supervisor.
//!
//! What is made for a question and goes with its answer (`git::aside`) is no persisted write, and passes no point: nobody who
//! comes later can find half of it.
//!
//! **Architecture Invariant:** no decision depends on this module; it answers `Ok(())` or with an error that the disk could
//! have given, or panics as a bug would.

#[cfg(debug_assertions)]
pub use armed::{VARIABLE, arm, hand_over, point, synced, torn, written};
#[cfg(not(debug_assertions))]
pub use unarmed::{point, synced, torn, written};

/// What remains of the points in a release: nothing.
#[cfg(not(debug_assertions))]
mod unarmed {
    use std::fs::File;
    use std::io::{self, Write};

    /// Nothing.
    #[inline(always)]
    pub fn point(_name: &'static str) -> io::Result<()> {
        Ok(())
    }

    /// Nothing.
    #[inline(always)]
    pub fn written(_file: &File, _bytes_before: u64) {}

    /// Nothing.
    #[inline(always)]
    pub fn synced(_file: &File) {}

    /// Nothing.
    #[inline(always)]
    pub fn torn(_name: &'static str, _to: &mut impl Write, _bytes: &[u8]) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(debug_assertions)]
mod armed {
    use std::collections::BTreeMap;
    use std::fs::{File, OpenOptions};
    use std::io::{self, Write};
    use std::os::fd::AsRawFd;
    use std::path::PathBuf;
    use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

    use rustix::io::Errno;

    /// The environment variable that arms a process.
    pub const VARIABLE: &str = "PIPELINE_FAULT";

    /// What comes at a point.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    enum What {
        Kill,
        /// A kill after which what was not synced is gone.
        Cut,
        Fail(Errno),
        /// A bug of ours.
        Panic,
    }

    /// Where it comes: at the `time`-th hit of `name`, or of any point.
    #[derive(Debug, Clone, PartialEq, Eq)]
    struct Fault {
        word: String,
        what: What,
        name: Option<String>,
        time: u64,
    }

    #[derive(Debug, Default)]
    struct Plan {
        faults: Vec<Fault>,
        trace: Option<File>,
        hits: u64,
        hits_by_name: BTreeMap<&'static str, u64>,
        /// Files with bytes that were not synced, each with the length that was.
        unsynced: BTreeMap<PathBuf, u64>,
    }

    static PLAN: OnceLock<Mutex<Plan>> = OnceLock::new();

    /// Arms this process, for good. A second call changes nothing.
    ///
    /// # Errors
    /// The text is no list of faults, or the trace cannot be opened.
    pub fn arm(text: &str) -> Result<(), String> {
        let mut plan = Plan::default();
        for word in text.split(',').map(str::trim).filter(|word| !word.is_empty()) {
            match word.strip_prefix("trace@") {
                Some(path) => {
                    let file = OpenOptions::new().append(true).create(true).open(path);
                    plan.trace = Some(file.map_err(|error| format!("cannot trace into {path}: {error}"))?);
                }
                None => plan
                    .faults
                    .push(parse(word).ok_or_else(|| format!("`{word}` is no fault"))?),
            }
        }
        PLAN.get_or_init(|| Mutex::new(plan));
        Ok(())
    }

    fn parse(word: &str) -> Option<Fault> {
        let (what, place) = word.split_once('@')?;
        let what = match what {
            "kill" => What::Kill,
            "cut" => What::Cut,
            "panic" => What::Panic,
            "enospc" => What::Fail(Errno::NOSPC),
            "eio" => What::Fail(Errno::IO),
            "erofs" => What::Fail(Errno::ROFS),
            _ => return None,
        };
        let (name, time) = match place.split_once(':') {
            Some((name, time)) => (Some(name.to_owned()), time),
            None => (None, place),
        };
        Some(Fault {
            word: word.to_owned(),
            what,
            name,
            time: time.parse().ok()?,
        })
    }

    /// A place just before a write or an effect that outlives the process.
    ///
    /// # Errors
    /// What an armed fault says.
    pub fn point(name: &'static str) -> io::Result<()> {
        torn(name, &mut io::sink(), &[])
    }

    /// A place in the middle of writing `bytes`: when a fault comes here, half of them is written before.
    ///
    /// # Errors
    /// What an armed fault says.
    pub fn torn(name: &'static str, to: &mut impl Write, bytes: &[u8]) -> io::Result<()> {
        // Held until the end, so that no other thread passes a point after a kill was due.
        let Some(mut plan) = locked() else { return Ok(()) };
        let Some(fault) = plan.hit(name) else {
            return Ok(());
        };
        to.write_all(half_of(bytes))?;
        match fault.what {
            What::Fail(errno) => Err(errno.into()),
            What::Kill => die(),
            What::Cut => plan.cut(),
            What::Panic => {
                drop(plan);
                panic!("a fault at {name}")
            }
        }
    }

    /// The first half of what is written, which never ends with a whole line: two lines of one length would leave nothing torn.
    fn half_of(bytes: &[u8]) -> &[u8] {
        let half = &bytes[..bytes.len() / 2];
        half.strip_suffix(b"\n").unwrap_or(half)
    }

    /// Tells that bytes are about to be written behind the first `bytes_before` of a file.
    pub fn written(file: &File, bytes_before: u64) {
        if let (Some(mut plan), Ok(path)) = (locked(), path_of(file)) {
            plan.unsynced.entry(path).or_insert(bytes_before);
        }
    }

    /// Tells that everything that was written to a file is on the disk.
    pub fn synced(file: &File) {
        if let (Some(mut plan), Ok(path)) = (locked(), path_of(file)) {
            plan.unsynced.remove(&path);
        }
    }

    fn path_of(file: &File) -> io::Result<PathBuf> {
        std::fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd()))
    }

    /// Passes points in the stead of a process that is about to be started; what that process is to be armed with.
    pub fn hand_over(names: &[&'static str]) -> Option<String> {
        let mut plan = locked()?;
        let mut words = Vec::new();
        for name in names {
            if let Some(fault) = plan.hit(name) {
                match fault.what {
                    What::Kill => die(),
                    What::Cut => plan.cut(),
                    What::Panic => panic!("a fault at {name}"),
                    What::Fail(_) => words.push(format!("{}@{name}:1", fault.word.split('@').next()?)),
                }
            }
        }
        (!words.is_empty()).then(|| words.join(","))
    }

    fn locked() -> Option<MutexGuard<'static, Plan>> {
        // A plan is never left half-changed.
        Some(PLAN.get()?.lock().unwrap_or_else(PoisonError::into_inner))
    }

    impl Plan {
        /// Counts a hit; the fault that comes now.
        fn hit(&mut self, name: &'static str) -> Option<Fault> {
            self.hits += 1;
            let of_name = self.hits_by_name.entry(name).or_default();
            *of_name += 1;
            let due = |fault: &&Fault| match &fault.name {
                Some(wanted) => wanted == name && fault.time == *of_name,
                None => fault.time == self.hits,
            };
            let fault = self.faults.iter().find(due).cloned();
            if let Some(trace) = &mut self.trace {
                let line = match &fault {
                    Some(fault) => format!("{name}\n! {} {name}\n", fault.word),
                    None => format!("{name}\n"),
                };
                // A test that finds no trace fails by itself.
                drop(trace.write_all(line.as_bytes()));
            }
            fault
        }

        /// Dies as in a power failure.
        fn cut(&self) -> ! {
            for (path, length) in &self.unsynced {
                // A file that went away took its bytes with it.
                if let Ok(file) = OpenOptions::new().write(true).open(path) {
                    drop(file.set_len(*length));
                }
            }
            die()
        }
    }

    fn die() -> ! {
        loop {
            // Nothing can stop it, and it cannot fail for a process that is alive.
            let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
            std::thread::park();
        }
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        fn plan(words: &[&str]) -> Plan {
            Plan {
                faults: words.iter().map(|word| parse(word).unwrap()).collect(),
                ..Plan::default()
            }
        }

        #[test]
        fn a_fault_comes_at_its_point_and_time_and_once() {
            let mut plan = plan(&["enospc@b:2"]);
            let due: Vec<bool> = ["a", "b", "a", "b", "b"]
                .map(|name| plan.hit(name).is_some())
                .to_vec();
            assert_eq!(due, [false, false, false, true, false]);
        }

        #[test]
        fn a_number_alone_counts_every_point() {
            let mut plan = plan(&["kill@3"]);
            let due: Vec<bool> = ["a", "b", "a", "b"].map(|name| plan.hit(name).is_some()).to_vec();
            assert_eq!(due, [false, false, true, false]);
        }

        #[test]
        fn what_is_no_fault_is_refused() {
            for word in ["", "kill", "kill@", "kill@x", "burn@3", "eio@name", "eio@name:x"] {
                assert_eq!(parse(word), None, "{word}");
            }
        }

        #[test]
        fn what_is_torn_ends_within_a_line() {
            assert_eq!(half_of(b"one\ntwo\n"), b"one");
            assert_eq!(half_of(b"one\nthree\n"), b"one\nt");
            assert_eq!(half_of(b""), b"");
        }

        #[test]
        fn a_process_that_is_not_armed_passes_every_point() {
            point("a").unwrap();
            let mut written = Vec::new();
            torn("a", &mut written, b"whole").unwrap();
            assert!(written.is_empty());
            assert_eq!(hand_over(&["a"]), None);
        }
    }
}
