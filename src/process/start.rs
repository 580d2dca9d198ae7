//! Starts a child, with patience for a program that somebody still has open for writing.
//!
//! A file that was written a moment ago may stay open for writing although its writer has closed it: another thread
//! that was between fork and exec at that moment holds a copy of the descriptor until its exec. The kernel then
//! refuses to run the file (`ETXTBSY`), for as long as that takes.

use std::io;
use std::process::{Child, Command};
use std::thread;
use std::time::Duration;

/// How often a busy program is tried again.
const RETRIES: u32 = 50;

/// The pause before each of these.
const PAUSE: Duration = Duration::from_millis(10);

/// Spawns `command`; blocks its thread for at most half a second while the program is busy.
///
/// # Errors
/// What the system said at the last try.
pub(super) fn spawn(command: &mut Command) -> io::Result<Child> {
    for _ in 0..RETRIES {
        match command.spawn() {
            Err(error) if error.kind() == io::ErrorKind::ExecutableFileBusy => thread::sleep(PAUSE),
            done => return done,
        }
    }
    command.spawn()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::disallowed_methods, reason = "the commands are the test's own")]

    use std::fs::{self, File, OpenOptions, Permissions};
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    /// A program in `folder` that somebody has open for writing.
    fn busy(folder: &tempfile::TempDir) -> (Command, File) {
        let path = folder.path().join("busy");
        fs::write(&path, "#!/bin/sh\n").unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o700)).unwrap();
        let writer = OpenOptions::new().append(true).open(&path).unwrap();
        (Command::new(path), writer)
    }

    #[test]
    fn a_program_that_is_written_for_a_moment_is_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let (mut command, writer) = busy(&folder);
        let closes = thread::spawn(move || {
            thread::sleep(8 * PAUSE);
            drop(writer);
        });
        assert!(spawn(&mut command).unwrap().wait().unwrap().success());
        closes.join().unwrap();
    }

    #[test]
    fn a_program_that_stays_busy_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let (mut command, _writer) = busy(&folder);
        let error = spawn(&mut command).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ExecutableFileBusy);
    }
}
