//! Disks that are full or cannot be written. A test of this file runs itself again on a small file system of its own,
//! in a mount namespace that ends with it.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::{
    Row, assert_landed_once, assert_nothing_left, flat, let_go, row, start_and_wait, with_waiting_author,
    words,
};
use crate::world::World;

/// Names the place of the small file system to the test that runs again on it.
const PLACE: &str = "PIPELINE_TEST_SMALL_DISK";
/// Room for a run, and as much as `doctor` wants to be free.
const SIZE: &str = "700m";

/// Ways to a mount namespace: for root, and for others where the kernel lets them.
const UNSHARES: &[&[&str]] = &[&["--mount"], &["--mount", "--map-root-user"]];

/// Runs `prove` with all temporary files on a small disk of its own, by running the test of that name again.
fn on_a_small_disk(row: Row, test: &str, prove: impl FnOnce(&SmallDisk)) {
    if let Some(place) = std::env::var_os(PLACE) {
        prove(&SmallDisk(place.into()));
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mount = format!("mount -t tmpfs -o size={SIZE} pipeline \"$0\"");
    let can = |unshare: &&&[&str]| {
        let tried = Command::new("unshare")
            .args(**unshare)
            .args(["sh", "-c", &mount])
            .arg(folder.path())
            .stderr(Stdio::null())
            .status();
        tried.is_ok_and(|status| status.success())
    };
    let Some(unshare) = UNSHARES.iter().find(can) else {
        return row.skip("no mount namespace can be made here (`unshare --mount`)");
    };
    let status = Command::new("unshare")
        .args(*unshare)
        .args(["sh", "-c", &format!("{mount} && exec \"$@\"")])
        .arg(folder.path())
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(PLACE, folder.path())
        .env("TMPDIR", folder.path())
        .env_remove("PIPELINE_TEST_TALLY")
        .status()
        .unwrap();
    assert!(status.success(), "see above");
}

/// The file system everything of a world is on.
struct SmallDisk(PathBuf);

impl SmallDisk {
    /// Once nobody writes there: what a killed engine had started may still be putting down how it ended.
    fn remount(&self, option: &str) {
        let deadline = Instant::now() + Duration::from_secs(20);
        let mount = || {
            let mut mount = Command::new("mount");
            mount.args(["-o", &format!("remount,{option}")]).arg(&self.0);
            mount.status().unwrap().success()
        };
        while !mount() {
            assert!(Instant::now() < deadline, "remount,{option}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn fill(&self) {
        // Ends when nothing more fits.
        let full = std::fs::File::create(self.0.join("filler"))
            .and_then(|mut file| std::io::copy(&mut std::io::repeat(0), &mut file));
        assert_eq!(full.unwrap_err().kind(), std::io::ErrorKind::StorageFull);
    }

    fn make_room(&self) {
        std::fs::remove_file(self.0.join("filler")).unwrap();
    }
}

/// Every verb that only reads works, and shows the run.
fn assert_readers_work(world: &World) {
    for verb in [
        &["status"][..],
        &["status", "--json"],
        &["show", "api"],
        &["logs", "api"],
        &["runs"],
        &["evicted"],
        &["plan", "rfc.yaml"],
        &["graph", "rfc.yaml"],
        &["validate", "rfc.yaml"],
        &["explain", "target_dirty"],
        &["clean", "--dry-run"],
    ] {
        let said = world.pipeline(verb);
        assert_eq!(said.code, 0, "{verb:?}: {}", words(&said));
    }
    assert!(world.expect(&["show", "api"], 0).out.contains("implement"));
}

#[test]
fn a_disk_that_fills_up_stops_the_run_which_goes_on_when_there_is_room() {
    let row = row("disk full");
    let name = "matrix::disk::a_disk_that_fills_up_stops_the_run_which_goes_on_when_there_is_room";
    on_a_small_disk(row, name, |disk| {
        let world = with_waiting_author("");
        let engine = start_and_wait(&world);
        disk.fill();
        let_go(&world);
        let said = world.wait(engine);
        assert_eq!(said.code, 8, "{}", words(&said));
        assert!(
            flat(&said).contains("make room on the disk, then run the same command again"),
            "{}",
            said.err
        );
        world.assert_no_orphan();
        assert_readers_work(&world);
        let again = world.expect(&["run", "rfc.yaml"], 8);
        assert!(flat(&again).contains("room"), "{}", again.err);
        assert_readers_work(&world);
        disk.make_room();
        world.expect(&["run", "rfc.yaml"], 0);
        assert_landed_once(&world);
        assert_nothing_left(&world);
    });
}

#[test]
fn state_that_cannot_be_written_stops_every_writer_and_no_reader() {
    let row = row("read-only state");
    let name = "matrix::disk::state_that_cannot_be_written_stops_every_writer_and_no_reader";
    on_a_small_disk(row, name, |disk| {
        let world = with_waiting_author("");
        let mut engine = start_and_wait(&world);
        engine.kill().unwrap();
        engine.wait().unwrap();
        world.assert_no_orphan();
        let_go(&world);
        disk.remount("ro");
        assert_readers_work(&world);
        for writer in [
            &["run", "rfc.yaml"][..],
            &["retry", "api"],
            &["discard", "api"],
            &["clean"],
        ] {
            let said = world.expect(writer, 8);
            let told = flat(&said);
            assert!(told.contains("Read-only file system"), "{writer:?}: {}", said.err);
            assert!(
                told.contains("make the file system writable, then run the same command again"),
                "{writer:?}: {}",
                said.err
            );
        }
        disk.remount("rw");
        world.expect(&["run", "rfc.yaml"], 0);
        assert_landed_once(&world);
        assert_eq!(world.calls("api"), ["implement.1"]);
        assert_nothing_left(&world);
    });
}
