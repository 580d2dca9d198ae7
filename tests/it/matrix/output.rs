//! More than anybody asked for: output, lines, bytes and files without measure.

use std::process::Child;
use std::time::Duration;

use super::{assert_landed_once, assert_nothing_left, row, state_and_reason, with_author, words};
use crate::world::{Said, World};

/// Most memory an engine or a supervisor may ever have held, in KiB, in a build without optimisation.
const MEMORY_KIB_MAX: u64 = 96 << 10;
/// What is kept of one log, and a line about what was left out.
const LOG_BYTES_MAX: u64 = (16 << 20) + 100;

/// The author's work, and then the most memory that its supervisor held.
const WORK: &str = "
echo work > api.txt
grep VmHWM /proc/$PPID/status > \"$COUNT_DIR/high\"
";

fn memory_kib(status: &str) -> Option<u64> {
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    line.split_ascii_whitespace().nth(1)?.parse().ok()
}

/// Waits for the end of an engine; the most memory that it held.
fn wait_and_measure(world: &World, mut engine: Child) -> (Said, u64) {
    let status = format!("/proc/{}/status", engine.id());
    let mut most = 0;
    while engine.try_wait().unwrap().is_none() {
        let now = std::fs::read_to_string(&status).unwrap_or_default();
        most = most.max(memory_kib(&now).unwrap_or_default());
        std::thread::sleep(Duration::from_millis(5));
    }
    (world.wait(engine), most)
}

/// Runs the one unit, which must end with that code in memory that is bounded; what was said.
fn run_in_bounds(world: &World, code: i32) -> Said {
    let (said, engine) = wait_and_measure(world, world.start(&["run", "rfc.yaml"]));
    assert_eq!(said.code, code, "{}", words(&said));
    assert!(
        (1..MEMORY_KIB_MAX).contains(&engine),
        "the engine held {engine} KiB"
    );
    let high = std::fs::read_to_string(world.base().join("count/high")).unwrap();
    let supervisor = memory_kib(&high).unwrap();
    assert!(
        supervisor < MEMORY_KIB_MAX,
        "the supervisor held {supervisor} KiB"
    );
    said
}

/// The log of the author's first attempt.
fn log(world: &World) -> Vec<u8> {
    let run = world.run_dir();
    let logs = world
        .repo
        .join(".git/pipeline/logs")
        .join(run.file_name().unwrap());
    std::fs::read(logs.join("api/implement.1.1.log")).unwrap()
}

#[test]
fn of_a_gigabyte_of_output_head_and_tail_are_kept_in_bounded_memory() {
    let _row = row("1 GB of output");
    let endless = "line=$(head -c 500 /dev/zero | tr '\\0' x)\necho first; yes \"$line\" | head -c 1000000000; echo; echo last\n";
    let world = with_author(&(endless.to_owned() + WORK), "");
    run_in_bounds(&world, 0);
    let log = log(&world);
    assert!(log.len() as u64 <= LOG_BYTES_MAX, "{}", log.len());
    assert!(log.starts_with(b"first\nx") && log.ends_with(b"\nlast\n"));
    let told = world.expect(&["logs", "api"], 0);
    assert!(told.out.contains("bytes were left out here"));
    assert_landed_once(&world);
    assert_nothing_left(&world);
}

#[test]
fn a_line_of_a_gigabyte_is_cut_in_bounded_memory() {
    let _row = row("one 1 GB line");
    let endless = "head -c 1000000000 /dev/zero | tr '\\0' x\n";
    let world = with_author(&(endless.to_owned() + WORK), "");
    let said = run_in_bounds(&world, 0);
    assert!(said.out.len() < 10_000, "{} bytes were told", said.out.len());
    assert!(log(&world).len() as u64 <= LOG_BYTES_MAX);
    assert_landed_once(&world);
    assert_nothing_left(&world);
}

#[test]
fn binary_output_is_kept_as_it_is_and_shown_without_controls() {
    let _row = row("binary output");
    let bytes: Vec<u8> = (0..=255).cycle().take(300_000).collect();
    let script = "cat \"$COUNT_DIR/bytes\"\nprintf '\\033]0;owned\\007\\033[2J\\n'\n";
    let world = with_author(&(script.to_owned() + WORK), "");
    std::fs::write(world.base().join("count/bytes"), &bytes).unwrap();
    let said = run_in_bounds(&world, 0);
    let log = log(&world);
    assert_eq!(log[..bytes.len()], bytes, "byte for byte");
    let shown = world.expect(&["logs", "api"], 0);
    let is_control = |c: char| c.is_control() && !['\n', '\t'].contains(&c);
    for text in [&said.out, &said.err, &shown.out] {
        assert!(
            !text.contains(is_control),
            "a control character reached the terminal"
        );
    }
    assert_landed_once(&world);
    assert_nothing_left(&world);
}

/// The author left more than the guards allow: it is told, tried again, and given up without harm.
fn assert_too_large(world: &World, told: &str) {
    run_in_bounds(world, 5);
    assert_eq!(
        state_and_reason(world),
        ("evicted".to_owned(), "too_large".to_owned())
    );
    let shown = world.expect(&["show", "api"], 0);
    assert!(shown.out.contains(told), "{}", shown.out);
    assert!(world.unit("api")["head"].is_null(), "nothing of it was taken");
    let objects = world.git(&["count-objects", "-v"]);
    let size = objects
        .lines()
        .find_map(|line| line.strip_prefix("size: "))
        .unwrap();
    assert!(size.parse::<u64>().unwrap() < 1000, "{objects}");
    assert_nothing_left(world);
}

#[test]
fn a_gigabyte_in_the_worktree_is_refused_before_it_is_read() {
    let _row = row("1 GB in the worktree");
    let world = with_author(&("fallocate -l 1000000000 big.bin\n".to_owned() + WORK), "");
    assert_too_large(&world, "bytes");
}

#[test]
fn a_hundred_thousand_files_in_the_worktree_are_refused_by_their_number() {
    let _row = row("100,000 files in the worktree");
    let script = "mkdir many; cd many; seq 100000 | xargs touch; cd ..\n";
    let world = with_author(&(script.to_owned() + WORK), "");
    assert_too_large(&world, "100001 files");
}
