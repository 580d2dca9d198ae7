//! Bad input and bad luck: each ends in a clear error or a recorded outcome with the documented exit code.

use std::time::Duration;

use crate::world::{World, file};

const ONE: &str = "  api: {title: 'feat: api', prompt: do it, tier: trivial}\n";

fn ready() -> World {
    let world = World::new();
    world.file("", ONE);
    world.commit("chore: plan");
    world
}

#[test]
fn without_a_repository_the_error_says_what_to_do() {
    let world = ready();
    let outside = world.base().join("tmp");
    let said = world.pipeline_in(&outside, &["run", "rfc.yaml"]);
    assert_eq!(said.code, 8);
    assert!(said.err.contains("git init"), "{}", said.err);
}

#[test]
fn bare_and_empty_repositories_are_refused() {
    let world = ready();
    for (name, args) in [
        ("bare", vec!["init", "-q", "--bare"]),
        ("empty", vec!["init", "-q"]),
    ] {
        let folder = world.base().join(name);
        std::fs::create_dir(&folder).unwrap();
        let mut command = args.clone();
        let path = folder.to_str().unwrap();
        command.push(path);
        world.git(&command);
        std::fs::copy(world.repo.join("rfc.yaml"), folder.join("rfc.yaml")).unwrap();
        let said = world.pipeline_in(&folder, &["run", "rfc.yaml"]);
        assert_eq!(said.code, 8, "{name}: {}", said.err);
        assert!(
            said.err.contains(name) || said.err.contains("no commit"),
            "{name}: {}",
            said.err
        );
    }
}

#[test]
fn a_detached_head_needs_a_target() {
    let world = ready();
    world.git(&["checkout", "-q", "--detach"]);
    let said = world.expect(&["run", "rfc.yaml"], 8);
    assert!(said.err.contains("target"), "{}", said.err);
    world.expect(&["run", "rfc.yaml", "--target", "main"], 0);
    assert!(world.git(&["show", "main:api.txt"]).contains("work of api"));
}

#[test]
fn a_target_that_does_not_exist_is_told_with_the_nearest_name() {
    let world = ready();
    let said = world.expect(&["run", "rfc.yaml", "--target", "mian"], 8);
    assert!(
        said.err.contains("mian") && said.err.contains("main"),
        "{}",
        said.err
    );
}

#[test]
fn without_an_identity_the_error_names_the_two_commands() {
    let world = ready();
    world.git(&["config", "--unset", "user.name"]);
    world.git(&["config", "--unset", "user.email"]);
    let said = world.expect(&["run", "rfc.yaml"], 8);
    assert!(
        said.err.contains("user.name") && said.err.contains("user.email"),
        "{}",
        said.err
    );
}

#[test]
fn a_broken_file_is_exit_3_with_the_line() {
    let world = ready();
    world.write("rfc.yaml", "version: 1\nname: x\nunits:\n  a: {titel: x}\n");
    let said = world.expect(&["run", "rfc.yaml"], 3);
    assert!(
        said.err.contains("titel") && said.err.contains("title"),
        "{}",
        said.err
    );
    let said = world.expect(&["validate", "rfc.yaml"], 3);
    assert!(said.err.contains("rfc.yaml:4"), "{}", said.err);
}

#[test]
fn a_missing_program_is_an_error_of_the_file() {
    let world = ready();
    let text = world
        .read("rfc.yaml")
        .replace("[sh, agents/author.sh]", "[no-such-program-here]");
    world.write("rfc.yaml", &text);
    let said = world.expect(&["run", "rfc.yaml"], 3);
    assert!(said.err.contains("no-such-program-here"), "{}", said.err);
}

#[test]
fn a_target_whose_checks_fail_is_told_before_money_is_spent() {
    let world = World::new();
    world.write("rfc.yaml", &file("", "echo what is wrong; test -f never", ONE));
    world.commit("chore: plan");
    let said = world.expect(&["run", "rfc.yaml"], 6);
    assert!(
        said.out.contains("what is wrong"),
        "the check's own words are told: {}",
        said.out
    );
    assert!(
        format!("{}{}", said.out, said.err).contains("test"),
        "{}{}",
        said.out,
        said.err
    );
    assert!(world.calls("api").is_empty());
}

/// Runs one unit with that author; returns the unit's row and what was called.
fn with_author(script: &str, limits: &str, code: i32) -> (World, serde_json::Value) {
    let world = World::new();
    world.write("agents/author.sh", script);
    let text = file("", "true", ONE).replace("retries: 1}", &format!("retries: 1{limits}}}"));
    world.write("rfc.yaml", &text);
    world.commit("chore: plan");
    world.expect(&["run", "rfc.yaml"], code);
    let unit = world.unit("api");
    world.assert_clean();
    (world, unit)
}

fn outcome(unit: &serde_json::Value) -> String {
    let stages = unit["stages"].as_array().unwrap();
    let row = stages.iter().find(|stage| stage["name"] == "implement").unwrap();
    row["outcome"].as_str().unwrap_or_default().to_owned()
}

#[test]
fn an_agent_that_fails_is_tried_again_and_then_evicted() {
    let (world, unit) = with_author("echo boom >&2; exit 1\n", "", 5);
    assert_eq!(
        (unit["state"].as_str(), unit["reason"].as_str()),
        (Some("evicted"), Some("attempts_exhausted"))
    );
    assert_eq!(outcome(&unit), "failed");
    let logs = world.expect(&["logs", "api", "--failed"], 0);
    assert_eq!(logs.out.matches("boom").count(), 2, "{}", logs.out);
}

#[test]
fn an_agent_that_changes_nothing_has_not_succeeded() {
    let (_, unit) = with_author("true\n", "", 5);
    assert_eq!(
        (unit["reason"].as_str(), outcome(&unit).as_str()),
        (Some("no_change"), "no_change")
    );
}

#[test]
fn an_agent_that_writes_garbage_as_its_result_has_failed() {
    let (_, unit) = with_author("echo x > api.txt; echo '{oops' > \"$PIPELINE_RESULT\"\n", "", 5);
    assert_eq!(outcome(&unit), "schema_missing");
}

#[test]
fn a_killed_engine_is_continued_without_repeating_what_was_finished() {
    let world = World::new();
    let reviewer = world.read("agents/reviewer.sh");
    let slow = "[ -f \"$COUNT_DIR/../go\" ] || { touch \"$COUNT_DIR/../waiting\"; sleep 600; }\n";
    world.write("agents/reviewer.sh", &format!("{slow}{reviewer}"));
    world.file("", "  api: {title: 'feat: api', prompt: do it}\n");
    world.commit("chore: plan");
    let mut engine = world.start(&["run", "rfc.yaml"]);
    world.wait_until("the reviewer to run", || world.base().join("waiting").exists());
    engine.kill().unwrap();
    engine.wait().unwrap();
    world.assert_no_orphan();
    assert_eq!(world.status()["run"]["state"], "interrupted");

    std::fs::write(world.base().join("go"), "").unwrap();
    world.expect(&["run", "rfc.yaml"], 0);
    assert_eq!(
        world
            .calls("api")
            .iter()
            .filter(|call| *call == "implement.1")
            .count(),
        1
    );
    assert_eq!(world.unit("api")["state"], "landed");
    world.assert_clean();
}

#[test]
fn a_state_directory_that_cannot_be_written_is_an_error_with_the_place() {
    let mut world = ready();
    // A file where a folder must be: also root cannot write there.
    let path = world.base().join("not-a-folder");
    std::fs::write(&path, "").unwrap();
    world.set("XDG_STATE_HOME", path.to_str().unwrap());
    let said = world.expect(&["run", "rfc.yaml"], 8);
    assert!(said.err.contains("not-a-folder"), "{}", said.err);
    world.unset("XDG_STATE_HOME");
    world.expect(&["run", "rfc.yaml"], 0);
}

#[test]
fn a_time_limit_stops_the_run_so_that_it_can_go_on() {
    let world = World::new();
    world.write("agents/author.sh", "sleep 1; echo x > $PIPELINE_UNIT.txt\n");
    let units = "  a: {title: 'feat: a', prompt: x, tier: trivial}\n  b: {title: 'feat: b', prompt: x, tier: trivial, needs: [a]}\n";
    world.file("", units);
    world.commit("chore: plan");
    let began = std::time::Instant::now();
    world.expect(&["run", "rfc.yaml", "--time-limit", "500ms"], 6);
    assert!(began.elapsed() < Duration::from_secs(10));
    world.expect(&["run", "rfc.yaml"], 0);
}

#[test]
fn work_that_a_guard_refuses_is_shown_as_failed_with_the_reason() {
    let (world, unit) = with_author("head -c 25000000 /dev/zero > big.bin\n", "", 5);
    assert_eq!(
        (unit["reason"].as_str(), outcome(&unit).as_str()),
        (Some("too_large"), "failed")
    );
    assert!(unit["head"].is_null(), "nothing of it was taken");
    assert!(world.expect(&["show", "api"], 0).out.contains("bytes"));
}

#[test]
fn a_link_out_of_the_tree_is_refused_by_its_own_name() {
    let (world, unit) = with_author("ln -s /etc/passwd secret\n", "", 5);
    assert_eq!(unit["reason"], "attempts_exhausted");
    assert!(
        world
            .expect(&["show", "api"], 0)
            .out
            .contains("leaves the worktree")
    );
}

#[test]
fn a_repository_with_filter_drivers_is_refused_before_anything_starts() {
    let world = World::new();
    world.write(".gitattributes", "*.bin filter=lfs diff=lfs -text\n");
    world.file("", ONE);
    world.commit("chore: plan");
    let said = world.expect(&["run", "rfc.yaml"], 8);
    assert!(said.err.contains("filter=lfs"), "{}", said.err);
}

#[test]
fn diagnostics_and_keys_are_told_to_machines_and_people() {
    let world = World::new();
    world.write("rfc.yaml", "version: 1\nname: x\nunits:\n  a: {titel: x}\n");
    let said = world.expect(&["validate", "rfc.yaml", "--json"], 3);
    let told: serde_json::Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!(
        (told["schema"].as_i64(), told["valid"].as_bool()),
        (Some(1), Some(false))
    );
    let found = told["files"][0]["diagnostics"].as_array().unwrap();
    assert!(
        found
            .iter()
            .any(|row| row["code"] == "unknown_key" && row["line"] == 4),
        "{told}"
    );
    assert!(
        world
            .expect(&["explain", "limits.rounds"], 0)
            .out
            .contains("limits.rounds")
    );
    assert!(
        world
            .expect(&["explain", "verify_failed"], 0)
            .out
            .contains("What to do")
    );
    world.expect(&["explain", "nonsense"], 2);
}

#[test]
fn the_events_of_a_run_begin_with_the_run() {
    let world = ready();
    let said = world.expect(&["run", "rfc.yaml", "--json"], 0);
    let events: Vec<serde_json::Value> = said
        .out
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(events[0]["type"], "run_started");
    let numbers: Vec<u64> = events
        .iter()
        .map(|event| event["seq"].as_u64().unwrap())
        .collect();
    assert_eq!(numbers, (1..=numbers.len() as u64).collect::<Vec<_>>());
}

#[test]
fn a_run_goes_on_when_nobody_reads_what_it_says() {
    let world = ready();
    let mut engine = world.start(&["run", "rfc.yaml"]);
    drop(engine.stdout.take());
    drop(engine.stderr.take());
    let status = engine.wait().unwrap();
    assert_eq!(status.code(), Some(0));
    assert_eq!(world.status()["run"]["state"], "finished");
}

#[test]
fn an_agent_whose_file_is_not_committed_is_refused_before_anything_starts() {
    let world = ready();
    let text = world
        .read("rfc.yaml")
        .replace("agents/reviewer.sh", "agents/forgotten.sh");
    world.write("rfc.yaml", &text);
    let said = world.expect(&["run", "rfc.yaml"], 3);
    assert!(
        said.err.contains("agents/forgotten.sh") && said.err.contains("commit"),
        "{}",
        said.err
    );
}
