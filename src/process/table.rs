//! The process table, as `/proc` shows it: finding what belongs to us and ending it.

use std::collections::HashSet;
use std::fs;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitOptions, kill_process, test_kill_process, waitpid};

use super::{MARKER_VARIABLE, OWNER_VARIABLE};

/// Longest time spent on killing. What is alive after that cannot be killed: it belongs to another user now, or
/// hangs in the kernel.
pub(super) const SWEEP_MAX: Duration = Duration::from_secs(10);
/// How often a line of parents that breaks off is followed anew.
const LOOKS_AT_A_LINE: u32 = 20;
/// Between two looks at the table while killed processes go away.
const LOOK_INTERVAL: Duration = Duration::from_millis(2);

/// One row of the process table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) pid: Pid,
    pub(super) parent: i32,
    pub(super) session: i32,
    /// Dead, and kept only until its parent asks for its status.
    pub(super) zombie: bool,
}

/// Every process there is. One that ends meanwhile may be missing, and so may one that is younger than the call.
pub(super) fn rows() -> Vec<Row> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter_map(row)
        .collect()
}

/// The row of one process.
pub(super) fn row(pid: i32) -> Option<Row> {
    let stat = fs::read(format!("/proc/{pid}/stat")).ok()?;
    // The command's name stands in parentheses and may hold any byte, so the fields begin after the last one.
    let fields = &stat[stat.iter().rposition(|byte| *byte == b')')? + 1..];
    let mut fields = std::str::from_utf8(fields).ok()?.split_ascii_whitespace();
    let state = fields.next()?;
    let parent = fields.next()?.parse().ok()?;
    let session = fields.nth(1)?.parse().ok()?;
    Some(Row {
        pid: Pid::from_raw(pid)?,
        parent,
        session,
        zombie: matches!(state, "Z" | "X"),
    })
}

/// The descendants of `root`, parents before children; nothing below a process for which `prune` holds, nor
/// that process itself.
pub(super) fn descendants(rows: &[Row], root: Pid, prune: impl Fn(&Row) -> bool) -> Vec<Row> {
    let mut found: Vec<Row> = Vec::new();
    let mut parents = vec![root.as_raw_nonzero().get()];
    while let Some(parent) = parents.pop() {
        for row in rows.iter().filter(|row| row.parent == parent && !prune(row)) {
            found.push(*row);
            parents.push(row.pid.as_raw_nonzero().get());
        }
    }
    found
}

/// A process of ours that nobody looked after any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Orphan {
    /// Its id.
    pub pid: i32,
    /// The marker it carried, `<run>:<fence>`.
    pub marker: String,
}

/// Kills every process that carries a marker for which `owned` holds, with everything below it, and returns
/// those that carried one. To be called at the start of an engine, which alone may own the runs it asks for;
/// a supervisor that is still ending them does the same thing meanwhile.
///
/// The calling process and those above it are spared, so that an engine may run below an attempt of another.
/// Returns when none is left, and after ten seconds in any case. Blocks.
pub fn sweep_orphans(owned: &dyn Fn(&str) -> bool) -> Vec<Orphan> {
    let mut orphans: Vec<Orphan> = Vec::new();
    let deadline = Instant::now() + SWEEP_MAX;
    let own_line = own_line();
    let mut killed = HashSet::new();
    loop {
        let rows = rows();
        // What was killed is waited for also when it tells its marker no more.
        let mut left = rows.iter().any(|row| !row.zombie && killed.contains(&row.pid));
        for row in rows
            .iter()
            .filter(|row| !row.zombie && !own_line.contains(&row.pid))
        {
            let Some(marker) = marker(row.pid).filter(|marker| owned(marker)) else {
                continue;
            };
            left = true;
            let pid = row.pid.as_raw_nonzero().get();
            if !orphans.iter().any(|orphan| orphan.pid == pid) {
                orphans.push(Orphan { pid, marker });
            }
            // Those below are killed with it: they may have cleared their environment, and would be lost after it.
            for below in descendants(&rows, row.pid, |_| false) {
                kill(&below);
                killed.insert(below.pid);
            }
            kill(row);
            killed.insert(row.pid);
        }
        if !left || Instant::now() >= deadline {
            return orphans;
        }
        std::thread::sleep(LOOK_INTERVAL);
    }
}

/// Every process that carries a marker for which `owned` holds; the calling process and those above it are left out.
/// Only looks.
pub fn orphans(owned: &dyn Fn(&str) -> bool) -> Vec<Orphan> {
    let own_line = own_line();
    rows()
        .iter()
        .filter(|row| !row.zombie && !own_line.contains(&row.pid))
        .filter_map(|row| {
            Some(Orphan {
                pid: row.pid.as_raw_nonzero().get(),
                marker: marker(row.pid).filter(|marker| owned(marker))?,
            })
        })
        .collect()
}

/// Waits for the short commands that a process which is gone by now started for `purpose`, and returns those that are
/// still there after `patience`. To be called by who has the engine's lock, which a killed engine lets go of only when
/// every child of it has begun to be what it was started for. Blocks.
pub fn await_stragglers(purpose: &str, patience: Duration) -> Vec<i32> {
    let deadline = Instant::now() + patience;
    loop {
        let rows = rows();
        let is_alive = |pid: i32| {
            rows.iter()
                .any(|row| row.pid.as_raw_nonzero().get() == pid && !row.zombie)
        };
        let is_straggler = |row: &&Row| {
            let owner = variable(row.pid, OWNER_VARIABLE);
            let owner = owner.as_deref().and_then(|value| value.split_once(':'));
            let gone = |(pid, of): (&str, &str)| of == purpose && pid.parse().is_ok_and(|pid| !is_alive(pid));
            !row.zombie && owner.is_some_and(gone)
        };
        let left: Vec<i32> = rows
            .iter()
            .filter(is_straggler)
            .map(|row| row.pid.as_raw_nonzero().get())
            .collect();
        if left.is_empty() || Instant::now() >= deadline {
            return left;
        }
        std::thread::sleep(LOOK_INTERVAL);
    }
}

/// Kills what fell to this process when a supervisor died: all that is below it in a session that is not its
/// own, `is_supervisor` and what is below those excepted. Children that were started without a supervisor share
/// the session of this process, because only a supervisor makes one. Returns how many were killed. Blocks.
pub(super) fn sweep_fallen(is_supervisor: impl Fn(Pid) -> bool) -> u32 {
    let this = rustix::process::getpid();
    let Some(own_session) = row(this.as_raw_nonzero().get()).map(|row| row.session) else {
        return 0;
    };
    let deadline = Instant::now() + SWEEP_MAX;
    let mut killed = HashSet::new();
    loop {
        let rows = rows();
        let fallen = descendants(&rows, this, |row| {
            is_supervisor(row.pid) || row.session == own_session
        });
        for row in &fallen {
            if row.zombie {
                // Nobody else waits for it: it was never a child of anybody in this process.
                let _ = waitpid(Some(row.pid), WaitOptions::NOHANG);
            } else if kill(row) {
                killed.insert(row.pid);
            }
        }
        if fallen.is_empty() || Instant::now() >= deadline {
            return u32::try_from(killed.len()).unwrap_or(u32::MAX);
        }
        std::thread::sleep(LOOK_INTERVAL);
    }
}

/// Sends SIGKILL; whether it could be sent.
pub(super) fn kill(row: &Row) -> bool {
    !row.zombie && kill_process(row.pid, Signal::KILL).is_ok()
}

/// The marker in a process's environment; `None` too when the process is not ours to look at.
fn marker(pid: Pid) -> Option<String> {
    variable(pid, MARKER_VARIABLE)
}

fn variable(pid: Pid, name: &str) -> Option<String> {
    let environ = fs::read(format!("/proc/{}/environ", pid.as_raw_nonzero())).ok()?;
    environ.split(|byte| *byte == 0).find_map(|variable| {
        let value = variable.strip_prefix(name.as_bytes())?.strip_prefix(b"=")?;
        String::from_utf8(value.to_vec()).ok()
    })
}

/// Whether a process is certainly neither this one nor below it. Of one that is gone nothing is certain.
pub fn is_no_descendant(pid: i32) -> bool {
    let this = rustix::process::getpid().as_raw_nonzero().get();
    pid > 0 && (0..LOOKS_AT_A_LINE).any(|_| stands_outside(pid, this, parent_of) == Some(true))
}

/// Whether the line of parents from `pid` to the first process passes `root` by; `None` when it breaks off, because one
/// of them ended while it was followed and its children have another parent by now. `parent` says who started one, 0 of
/// the first.
fn stands_outside(pid: i32, root: i32, parent: impl Fn(i32) -> Option<i32>) -> Option<bool> {
    let mut next = pid;
    let mut seen = HashSet::new();
    while next > 0 && next != root && seen.insert(next) {
        next = parent(next)?;
    }
    Some(next == 0)
}

/// Who started a process, 0 where nobody did. One of another user that `/proc` hides counts as the first: what runs below
/// this process is of its own user, so nothing of it is further up.
fn parent_of(pid: i32) -> Option<i32> {
    let hidden = || {
        let asked = test_kill_process(Pid::from_raw(pid)?);
        (asked == Err(rustix::io::Errno::PERM)).then_some(0)
    };
    row(pid).map(|row| row.parent).or_else(hidden)
}

/// This process and those above it.
fn own_line() -> HashSet<Pid> {
    let mut line = HashSet::new();
    let mut next = Some(rustix::process::getpid());
    while let Some(pid) = next {
        if !line.insert(pid) {
            break;
        }
        next = row(pid.as_raw_nonzero().get()).and_then(|row| Pid::from_raw(row.parent));
    }
    line
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn example(pid: i32, parent: i32) -> Row {
        Row {
            pid: Pid::from_raw(pid).unwrap(),
            parent,
            session: 1,
            zombie: false,
        }
    }

    #[test]
    fn descendants_are_found_at_any_depth_and_a_pruned_branch_is_not() {
        let rows = [
            example(30, 20),
            example(20, 10),
            example(21, 10),
            example(31, 21),
            example(99, 1),
        ];
        let pids = |prune: i32| -> BTreeSet<i32> {
            descendants(&rows, Pid::from_raw(10).unwrap(), |row| {
                row.pid.as_raw_nonzero().get() == prune
            })
            .iter()
            .map(|row| row.pid.as_raw_nonzero().get())
            .collect()
        };
        assert_eq!(pids(0), BTreeSet::from([20, 21, 30, 31]));
        assert_eq!(pids(21), BTreeSet::from([20, 30]));
    }

    #[test]
    fn a_line_of_parents_passes_a_process_by_or_does_not_or_breaks_off() {
        let parents = [(40, 30), (30, 20), (20, 1), (50, 60), (1, 0)];
        let parent = |pid: i32| {
            parents
                .iter()
                .find(|(child, _)| *child == pid)
                .map(|(_, parent)| *parent)
        };
        assert_eq!(stands_outside(40, 20, parent), Some(false), "it is below");
        assert_eq!(
            stands_outside(20, 20, parent),
            Some(false),
            "it is the process itself"
        );
        assert_eq!(stands_outside(40, 50, parent), Some(true));
        assert_eq!(stands_outside(50, 20, parent), None, "its parent is gone");
        assert_eq!(stands_outside(99, 20, parent), None, "it is gone itself");
    }

    #[test]
    fn what_this_process_started_is_below_it_and_what_started_it_is_not() {
        let this = rustix::process::getpid().as_raw_nonzero().get();
        let parent = rustix::process::getppid().unwrap().as_raw_nonzero().get();
        assert!(!is_no_descendant(this));
        assert!(is_no_descendant(parent));
        let mut child = sleeper();
        assert!(!is_no_descendant(i32::try_from(child.id()).unwrap()));
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(
            !is_no_descendant(i32::try_from(child.id()).unwrap()),
            "it is gone"
        );
        assert!(!is_no_descendant(0) && !is_no_descendant(-1));
    }

    #[expect(clippy::disallowed_methods, reason = "the command is the test's own")]
    fn sleeper() -> std::process::Child {
        std::process::Command::new("sleep").arg("60").spawn().unwrap()
    }

    #[test]
    fn this_process_stands_in_the_table_with_its_parent() {
        let this = rustix::process::getpid();
        let own = row(this.as_raw_nonzero().get()).unwrap();
        assert_eq!(Pid::from_raw(own.parent), rustix::process::getppid());
        assert!(!own.zombie);
        assert!(rows().iter().any(|row| row.pid == this));
    }
}
