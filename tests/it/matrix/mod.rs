//! The fault matrix: everything bad that is known to happen to a run, each thing one test over the real binary, real
//! git and real processes. A test asserts the documented outcome, what a person is told, and that nothing is left.
//!
//! [`ROWS`] is the matrix. A row whose test came to its end is added to the tally, so that `tests/run` can say how
//! many of them held.

mod agents;
mod concurrency;
mod disk;
mod locks;
mod output;
mod repository;
mod signals;
mod store;
mod target;
mod time;
mod verdicts;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Child;

use rustix::process::{Pid, Signal, kill_process};

use crate::tally::tally;
use crate::world::{Said, World};

/// Every fault and the test that proves what comes of it.
const ROWS: &[(&str, &str)] = &[
    (
        "SIGTERM once",
        "signals::sigterm_ends_a_run_so_that_the_same_command_goes_on",
    ),
    ("SIGTERM twice", "signals::a_second_sigterm_ends_it_at_once"),
    (
        "Ctrl-C once",
        "signals::ctrl_c_ends_a_run_so_that_the_same_command_goes_on",
    ),
    ("Ctrl-C twice", "signals::a_second_ctrl_c_ends_it_at_once"),
    ("agent killed", "agents::an_agent_that_is_killed_is_tried_again"),
    (
        "agent out of memory",
        "agents::an_agent_that_runs_out_of_memory_has_failed_and_nothing_else_suffers",
    ),
    (
        "agent hanging silently",
        "agents::an_agent_that_hangs_is_ended_by_the_idle_limit",
    ),
    (
        "agent printing for ever",
        "agents::an_agent_that_prints_for_ever_is_ended_by_the_time_limit",
    ),
    (
        "agent waiting for a tty",
        "agents::an_agent_finds_no_terminal_to_wait_for_even_when_its_engine_has_one",
    ),
    (
        "agent daemonises with setsid and a cleared environment",
        "agents::a_daemon_with_its_own_session_and_no_environment_ends_with_its_attempt_and_with_its_engine",
    ),
    (
        "1 GB of output",
        "output::of_a_gigabyte_of_output_head_and_tail_are_kept_in_bounded_memory",
    ),
    (
        "one 1 GB line",
        "output::a_line_of_a_gigabyte_is_cut_in_bounded_memory",
    ),
    (
        "binary output",
        "output::binary_output_is_kept_as_it_is_and_shown_without_controls",
    ),
    (
        "1 GB in the worktree",
        "output::a_gigabyte_in_the_worktree_is_refused_before_it_is_read",
    ),
    (
        "100,000 files in the worktree",
        "output::a_hundred_thousand_files_in_the_worktree_are_refused_by_their_number",
    ),
    (
        "agent commits",
        "repository::what_an_agent_commits_becomes_one_commit_of_ours",
    ),
    (
        "agent rewrites history",
        "repository::history_that_an_agent_rewrites_is_its_own",
    ),
    (
        "agent detaches HEAD",
        "repository::a_head_that_an_agent_detaches_elsewhere_changes_nothing",
    ),
    (
        "agent leaves a merge in progress",
        "repository::a_merge_that_an_agent_leaves_in_progress_is_judged_by_its_files",
    ),
    (
        "agent deletes `.git`",
        "repository::an_agent_that_deletes_dot_git_has_only_lost_its_own",
    ),
    (
        "garbage verdict",
        "verdicts::a_verdict_that_is_garbage_is_no_verdict",
    ),
    ("double verdict", "verdicts::two_verdicts_are_no_verdict"),
    (
        "missing verdict",
        "verdicts::a_reviewer_that_says_nothing_never_approves",
    ),
    (
        "disk full",
        "disk::a_disk_that_fills_up_stops_the_run_which_goes_on_when_there_is_room",
    ),
    (
        "read-only state",
        "disk::state_that_cannot_be_written_stops_every_writer_and_no_reader",
    ),
    (
        "clock jumps forth",
        "time::a_clock_that_jumps_forth_ends_no_attempt",
    ),
    (
        "clock jumps back",
        "time::a_clock_that_is_set_back_prolongs_no_attempt_and_no_back_off",
    ),
    (
        "suspend",
        "time::an_engine_that_sleeps_takes_up_what_happened_meanwhile",
    ),
    (
        "target fast-forwarded",
        "target::a_commit_of_the_persons_meanwhile_costs_the_unit_nothing",
    ),
    (
        "target force-moved",
        "target::a_rewritten_target_is_a_safety_stop",
    ),
    (
        "target deleted",
        "target::a_deleted_target_is_a_safety_stop_that_names_where_it_was",
    ),
    (
        "target checked out dirty",
        "target::a_persons_change_in_the_way_holds_the_landing_and_is_not_touched",
    ),
    (
        "unit branch deleted",
        "target::a_repair_whose_branch_was_deleted_is_opened_anew_and_its_files_are_kept",
    ),
    (
        "worktree directory deleted",
        "target::a_worktree_that_is_deleted_costs_an_attempt_and_nothing_else",
    ),
    (
        "stale `index.lock`",
        "locks::a_stale_lock_of_the_index_stops_the_run_with_its_name",
    ),
    (
        "stale `refs/heads/*.lock`",
        "locks::a_stale_lock_of_the_target_stops_the_run_with_its_name",
    ),
    (
        "half-made worktrees",
        "locks::a_worktree_that_git_was_killed_in_making_is_removed_by_the_next_run",
    ),
    (
        "sled truncated",
        "store::a_database_that_was_cut_short_is_rebuilt_from_the_journal",
    ),
    (
        "sled flipped",
        "store::a_database_with_flipped_bits_is_rebuilt_from_the_journal",
    ),
    (
        "sled removed",
        "store::a_database_that_was_removed_is_rebuilt_from_the_journal",
    ),
    (
        "journal flipped",
        "store::a_journal_with_a_flipped_bit_is_told_and_never_repaired",
    ),
    (
        "journal torn",
        "store::a_last_line_that_was_torn_never_took_effect",
    ),
    (
        "two engines at once",
        "concurrency::a_second_engine_is_refused_and_told_who_has_the_repository",
    ),
    (
        "two engines from two worktrees of one repository",
        "concurrency::worktrees_of_one_repository_share_one_engine_and_one_state",
    ),
    (
        "`git gc` meanwhile",
        "concurrency::nothing_that_is_needed_is_taken_by_garbage_collection",
    ),
    (
        "`git worktree prune` meanwhile",
        "concurrency::no_worktree_that_is_needed_is_forgotten_by_prune",
    ),
    (
        "flaky checks",
        "concurrency::a_check_that_fails_once_on_the_same_tree_is_a_recorded_flake_and_lands",
    ),
    (
        "pipeline file edited mid-run",
        "concurrency::an_edit_of_the_file_reaches_only_the_next_run_which_says_what_differs",
    ),
];

const ONE: &str = "  api: {title: 'feat: api', prompt: do it, tier: trivial}\n";

/// A row that is being proved.
struct Row(&'static str);

/// Begins a row; it counts when its test comes to its end.
fn row(fault: &'static str) -> Row {
    Row(fault)
}

impl Row {
    /// The row cannot be tried on this machine.
    fn skip(self, lacks: &str) {
        crate::tally::skip(&format!("fault matrix, {}: {lacks}", self.0));
        std::mem::forget(self);
    }
}

impl Drop for Row {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            tally(&format!("row: {}", self.0));
        }
    }
}

#[test]
fn every_row_of_the_matrix_is_one_test_and_every_test_is_one_row() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/matrix");
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let family = path.file_stem().unwrap().to_str().unwrap().to_owned();
        if family == "mod" {
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        for test in text.split("#[test]\nfn ").skip(1) {
            let (name, body) = test.split_once('(').unwrap();
            let begun: Vec<&str> = body.split("row(\"").skip(1).collect();
            assert_eq!(begun.len(), 1, "{family}::{name} proves one row");
            let fault = begun[0].split('"').next().unwrap();
            found.push((fault.to_owned(), format!("{family}::{name}")));
        }
    }
    let mut table: Vec<(String, String)> = ROWS
        .iter()
        .map(|(fault, test)| ((*fault).to_owned(), (*test).to_owned()))
        .collect();
    assert_eq!(
        table
            .iter()
            .map(|(fault, _)| fault)
            .collect::<std::collections::BTreeSet<_>>()
            .len(),
        ROWS.len(),
        "no fault stands twice"
    );
    found.sort_unstable();
    table.sort_unstable();
    assert_eq!(found, table);
    tally(&format!("rows: {}", ROWS.len()));
}

/// Sends a signal.
fn signal(pid: u32, signal: Signal) {
    let pid = Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    kill_process(pid, signal).unwrap();
}

/// Whether a process is there and not a zombie.
fn is_alive(pid: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| !stat.rsplit(')').next().unwrap().starts_with(" Z"))
}

/// One unit, `api`, that waits in the hands of its author until [`let_go`]. The author does `first` before it waits.
fn with_waiting_author(first: &str) -> World {
    let world = World::new();
    let author = world.read("agents/author.sh");
    let wait = format!(
        "[ -e \"$COUNT_DIR/go\" ] || {{\n{first}\ntouch \"$COUNT_DIR/waiting\"\nwhile ! [ -e \"$COUNT_DIR/go\" ]; do sleep 0.02; done\n}}\n"
    );
    world.write("agents/author.sh", &(wait + &author));
    world.file("", ONE);
    world.commit("chore: plan");
    world
}

/// Starts a run and waits until its author waits.
fn start_and_wait(world: &World) -> Child {
    let engine = world.start(&["run", "rfc.yaml"]);
    world.wait_until("the author to wait", || {
        world.base().join("count/waiting").exists()
    });
    engine
}

/// Lets the waiting author do its work.
fn let_go(world: &World) {
    std::fs::write(world.base().join("count/go"), "").unwrap();
}

/// One unit, `api`, whose author is that script, with these keys below `limits`; it may be tried twice.
fn with_author(script: &str, limits: &str) -> World {
    let world = World::new();
    world.write("agents/author.sh", script);
    world.file("", ONE);
    let text = world.read("rfc.yaml");
    let limits = format!("retries: 1{limits}}}");
    assert!(text.contains("retries: 1}"));
    world.write("rfc.yaml", &text.replace("retries: 1}", &limits));
    world.commit("chore: plan");
    world
}

/// How the last attempt of the author ended.
fn outcome_of_author(world: &World) -> String {
    let unit = world.unit("api");
    let stages = unit["stages"].as_array().unwrap();
    let row = stages.iter().find(|stage| stage["name"] == "implement").unwrap();
    row["outcome"].as_str().unwrap_or_default().to_owned()
}

/// State and reason of the unit `api`.
fn state_and_reason(world: &World) -> (String, String) {
    let unit = world.unit("api");
    let text = |key: &str| unit[key].as_str().unwrap_or_default().to_owned();
    (text("state"), text("reason"))
}

/// Outcomes of attempts in the order of the journal, counted.
fn outcomes(world: &World) -> BTreeMap<String, usize> {
    let mut counted = BTreeMap::new();
    for record in world.journal() {
        if record["type"] == "attempt_ended" {
            let outcome = record["outcome"].as_str().unwrap_or("?").to_owned();
            *counted.entry(outcome).or_default() += 1;
        }
    }
    counted
}

/// Everything the program said.
fn words(said: &Said) -> String {
    format!("{}{}", said.out, said.err)
}

/// No process, worktree, branch, folder or lock is left, and journal, git and disk agree.
fn assert_nothing_left(world: &World) {
    world.assert_no_orphan();
    world.assert_clean();
    world.expect(&["doctor", "--strict"], 0);
}

/// The error as one line.
fn flat(said: &Said) -> String {
    let text = said.err.replace('│', " ");
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The author of `api` was called once: what had ended well was not done again.
fn assert_not_repeated(world: &World) {
    assert_eq!(world.calls("api"), ["implement.1"]);
}

/// `api` landed exactly once, by one commit with its title and nothing else of anybody's.
fn assert_landed_once(world: &World) {
    let log = world.git(&[
        "log",
        "--format=%s|%(trailers:key=Pipeline-Unit,valueonly,separator=)",
        "main",
    ]);
    let landed = log.lines().filter(|line| *line == "feat: api|api").count();
    assert_eq!(landed, 1, "{log}");
    assert_eq!(world.unit("api")["state"], "landed");
}
