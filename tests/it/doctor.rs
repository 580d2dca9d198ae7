//! `doctor --strict`: a sound repository is clean, and each thing that can be wrong is told with what helps.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::world::World;

const ONE: &str = "  api: {title: 'feat: api', prompt: do it, tier: trivial}\n";

/// A run that landed its one unit.
fn landed() -> World {
    let world = World::new();
    world.file("", ONE);
    world.commit("chore: plan");
    world.expect(&["run", "rfc.yaml"], 0);
    world
}

fn run_dir(world: &World) -> PathBuf {
    let mut runs = std::fs::read_dir(world.repo.join(".git/pipeline/runs")).unwrap();
    runs.next().unwrap().unwrap().path()
}

fn run_id(world: &World) -> String {
    run_dir(world).file_name().unwrap().to_str().unwrap().to_owned()
}

/// Cuts the journal before or after the first event of that type.
fn cut(world: &World, kind: &str, keep: bool) {
    let journal = run_dir(world).join("journal.jsonl");
    let text = std::fs::read_to_string(&journal).unwrap();
    let wanted = format!("\"type\":\"{kind}\"");
    let before = text.lines().take_while(|line| !line.contains(&wanted)).count();
    let lines: Vec<&str> = text
        .split_inclusive('\n')
        .take(before + usize::from(keep))
        .collect();
    std::fs::write(journal, lines.concat()).unwrap();
}

/// Changes the records of the journal, with checksums that are right.
pub(crate) fn forge(world: &World, edit: impl Fn(&mut Value)) {
    let journal = run_dir(world).join("journal.jsonl");
    let mut forged = String::new();
    for line in std::fs::read_to_string(&journal).unwrap().lines() {
        let mut record: Value = serde_json::from_str(line).unwrap();
        record.as_object_mut().unwrap().remove("crc");
        edit(&mut record);
        let json = record.to_string();
        let crc = crc32fast::hash(json.as_bytes());
        forged += &format!("{{\"crc\":\"{crc:08x}\",{}\n", &json[1..]);
    }
    std::fs::write(journal, forged).unwrap();
}

/// The codes of what is found, in order; the exit code says whether there is anything.
fn codes(world: &World) -> Vec<String> {
    let said = world.pipeline(&["doctor", "--strict", "--json"]);
    let told: Value = serde_json::from_str(&said.out).unwrap_or_else(|_| panic!("{}{}", said.out, said.err));
    let findings = told["findings"].as_array().unwrap();
    for finding in findings {
        assert!(!finding["what"].as_str().unwrap().is_empty());
        assert!(finding["help"].as_str().unwrap().contains('`'), "{finding}");
    }
    assert_eq!(said.code, if findings.is_empty() { 0 } else { 8 }, "{}", said.out);
    assert_eq!(told["ok"], findings.is_empty());
    findings
        .iter()
        .map(|finding| finding["code"].as_str().unwrap().to_owned())
        .collect()
}

fn worktrees_root(world: &World) -> PathBuf {
    let mut roots = std::fs::read_dir(world.base().join("state/pipeline")).unwrap();
    roots.next().unwrap().unwrap().path()
}

#[test]
fn a_repository_without_runs_is_clean() {
    assert!(codes(&World::new()).is_empty());
}

#[test]
fn reviews_fixes_and_commits_of_people_leave_the_repository_clean() {
    let world = World::new();
    let units = "  a: {title: 'feat: a', prompt: x}\n  b: {title: 'feat: b', prompt: y, needs: [a]}\n";
    world.file("90,", units);
    world.commit("chore: plan");
    world.expect(&["run", "rfc.yaml"], 0);
    world.write("mine.txt", "my own\n");
    world.commit("docs: mine");
    world.write("a.txt", "not committed\n");
    let said = world.expect(&["doctor", "--strict"], 0);
    assert!(said.out.contains("strict"), "{}", said.out);
    assert!(codes(&world).is_empty());
}

#[test]
fn a_flipped_byte_of_a_journal_is_told() {
    let world = landed();
    let journal = run_dir(&world).join("journal.jsonl");
    let mut bytes = std::fs::read(&journal).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(journal, bytes).unwrap();
    assert_eq!(codes(&world), ["journal_damaged"]);
    let said = world.expect(&["doctor", "--strict"], 8);
    assert!(said.out.contains("next: "), "{}", said.out);
}

#[test]
fn events_that_do_not_follow_from_each_other_are_told() {
    let world = landed();
    forge(&world, |record| {
        if record["type"] == "engine_started" {
            record["epoch"] = 0.into();
        }
    });
    assert_eq!(codes(&world), ["journal_illegal"]);
}

#[test]
fn an_empty_journal_is_told() {
    let world = landed();
    std::fs::write(run_dir(&world).join("journal.jsonl"), "").unwrap();
    assert_eq!(codes(&world), ["journal_damaged"]);
}

#[test]
fn a_pipeline_that_changed_under_its_run_is_told() {
    let world = landed();
    let frozen = run_dir(&world).join("frozen.json");
    let text = std::fs::read_to_string(&frozen).unwrap();
    std::fs::write(frozen, text.replace("feat: api", "feat: other")).unwrap();
    assert_eq!(codes(&world), ["frozen_changed"]);
}

#[test]
fn a_landing_whose_record_was_removed_is_told() {
    let world = landed();
    cut(&world, "land_intended", false);
    assert_eq!(codes(&world), ["landing_unknown", "rows_wrong"]);
}

#[test]
fn a_landing_without_outcome_and_a_checkout_that_did_not_follow_are_told_until_the_next_run() {
    let world = landed();
    cut(&world, "landed", true);
    assert_eq!(codes(&world), ["checkout_behind", "rows_wrong"]);
    cut(&world, "land_intended", true);
    assert_eq!(codes(&world), ["landing_open", "landing_unknown", "rows_wrong"]);
    world.expect(&["run", "rfc.yaml"], 0);
    assert!(codes(&world).is_empty());
}

#[test]
fn a_landing_whose_record_lacks_the_proof_does_not_follow() {
    let world = landed();
    forge(&world, |record| {
        if record["type"] == "landed" {
            record["evidence"] = Value::Null;
        }
    });
    assert_eq!(codes(&world), ["journal_illegal"]);
}

#[test]
fn evidence_about_another_tree_than_the_one_that_landed_is_told() {
    let world = landed();
    let tree = world.git(&["rev-parse", "HEAD^{tree}"]);
    forge(&world, |record| {
        let text = record.to_string().replace(tree.trim(), &"1".repeat(40));
        *record = serde_json::from_str(&text).unwrap();
    });
    assert_eq!(codes(&world), ["unproved_landing"]);
}

#[test]
fn a_target_that_was_set_back_or_deleted_is_told() {
    let world = landed();
    world.git(&["reset", "-q", "--hard", "HEAD~1"]);
    assert_eq!(codes(&world), ["landing_gone"]);
    world.git(&["switch", "-q", "--detach"]);
    world.git(&["branch", "-q", "-D", "main"]);
    assert_eq!(codes(&world), ["target_gone"]);
}

#[test]
fn a_database_that_is_damaged_or_gone_is_told_and_left_alone() {
    let world = landed();
    let sled = world.repo.join(".git/pipeline/queue.sled");
    std::fs::remove_dir_all(&sled).unwrap();
    assert_eq!(codes(&world), ["rows_wrong"]);
    std::fs::create_dir(&sled).unwrap();
    std::fs::write(sled.join("db"), "garbage").unwrap();
    assert_eq!(codes(&world), ["rows_wrong"]);
    assert_eq!(std::fs::read(sled.join("db")).unwrap(), b"garbage");
}

#[test]
fn a_landing_that_git_would_not_know_of_after_a_loss_is_told() {
    let world = landed();
    let names = world.git(&["for-each-ref", "--format=%(refname)", "refs/pipeline/runs"]);
    let record = names.lines().find(|name| name.contains("/_landings/")).unwrap();
    world.git(&["update-ref", "-d", record]);
    assert_eq!(codes(&world), ["record_missing"]);
}

#[test]
fn a_second_commit_with_the_trailers_of_a_landing_is_told() {
    let world = landed();
    let message = world.git(&["log", "-1", "--format=%B"]);
    world.git(&["commit", "-q", "--allow-empty", "-m", &message]);
    assert_eq!(codes(&world), ["landing_unknown", "landed_twice"]);
}

#[test]
fn trailers_of_another_run_are_somebody_elses() {
    let world = landed();
    let message = world.git(&["log", "-1", "--format=%B"]);
    let other = message.replace(&run_id(&world), "r-20200101-000000-00000000");
    world.git(&["commit", "-q", "--allow-empty", "-m", &other]);
    assert!(codes(&world).is_empty());
}

#[test]
fn a_staged_reversal_is_told_with_the_command_that_undoes_it() {
    let world = landed();
    world.git(&["read-tree", "HEAD~1"]);
    assert_eq!(codes(&world), ["staged_reversal"]);
    world.git(&["restore", "--staged", "--", "api.txt"]);
    assert!(codes(&world).is_empty());
    world.write("api.txt", "another version, staged\n");
    world.git(&["add", "api.txt"]);
    assert!(codes(&world).is_empty(), "a person's own work is theirs");
}

#[test]
fn an_attempt_that_nobody_owns_is_told_and_cleaned() {
    let world = landed();
    let attempt = worktrees_root(&world).join("abcdef01/api/implement.1.1");
    std::fs::create_dir_all(&attempt).unwrap();
    assert_eq!(codes(&world), ["orphan_attempt"]);
    world.expect(&["clean"], 0);
    assert!(codes(&world).is_empty());
}

#[test]
fn attempts_are_looked_for_where_the_pipeline_has_its_worktrees() {
    let world = World::new();
    world.file("", ONE);
    let text = world.read("rfc.yaml");
    world.write(
        "rfc.yaml",
        &text.replace("units:", "workspace: {root: ../elsewhere}\nunits:"),
    );
    world.commit("chore: plan");
    world.expect(&["run", "rfc.yaml"], 0);
    let attempt = world.base().join("elsewhere/abcdef01/api/implement.1.1");
    std::fs::create_dir_all(attempt).unwrap();
    assert_eq!(codes(&world), ["orphan_attempt"]);
    world.expect(&["clean"], 0);
    assert!(codes(&world).is_empty());
}

#[test]
fn the_worktree_in_which_a_person_repairs_a_unit_is_theirs() {
    let world = World::new();
    world.file("90", "  a: {title: 'feat: a', prompt: x}\n");
    world.commit("chore: plan");
    world.expect(&["run", "rfc.yaml"], 5);
    world.expect(&["resolve", "a"], 0);
    assert_eq!(world.git(&["worktree", "list"]).lines().count(), 2);
    assert!(codes(&world).is_empty());
}

#[test]
fn a_worktree_whose_folder_is_gone_is_told_and_cleaned() {
    let world = landed();
    let attempt = worktrees_root(&world).join("abcdef01/api/implement.1.1");
    let tree = attempt.join("tree");
    world.git(&["worktree", "add", "-q", "--detach", tree.to_str().unwrap()]);
    std::fs::remove_dir_all(&attempt).unwrap();
    assert_eq!(codes(&world), ["orphan_worktree"]);
    world.expect(&["clean"], 0);
    assert!(codes(&world).is_empty());
}

#[test]
fn temporary_folders_of_what_was_killed_are_told_and_go_with_the_next_run() {
    let world = landed();
    std::fs::create_dir(world.repo.join(".git/pipeline/follow-abc")).unwrap();
    let common = world.repo.join(".git").canonicalize().unwrap();
    std::fs::write(world.base().join("path"), common.to_str().unwrap()).unwrap();
    let hash = world.git(&["hash-object", "--no-filters", "../path"]);
    let temporary = world.base().join("tmp");
    let (dead, other) = (
        format!("pipeline-git-{}-dead", &hash[..8]),
        "pipeline-git-01234567-other",
    );
    std::fs::create_dir(temporary.join(&dead)).unwrap();
    std::fs::create_dir(temporary.join(other)).unwrap();
    assert_eq!(codes(&world), ["orphan_temporary", "orphan_temporary"]);
    world.expect(&["retry", "api"], 2);
    world.expect(&["clean"], 0);
    assert!(codes(&world).is_empty());
    assert!(temporary.join(other).exists() && !temporary.join(dead).exists());
}

#[test]
fn locks_that_a_killed_git_left_are_told() {
    let world = landed();
    std::fs::write(world.repo.join(".git/refs/heads/main.lock"), "").unwrap();
    std::fs::write(world.repo.join(".git/index.lock"), "").unwrap();
    assert_eq!(codes(&world), ["stale_lock", "stale_lock"]);
}

#[test]
fn refs_of_a_run_that_is_not_known_are_told() {
    let world = landed();
    world.git(&["update-ref", "refs/pipeline/runs/r-gone/api/head", "HEAD"]);
    assert_eq!(codes(&world), ["foreign_refs"]);
}

#[test]
fn an_object_that_is_missing_is_told() {
    let world = landed();
    let blob = world.git(&["rev-parse", "HEAD:api.txt"]);
    let (folder, file) = blob.trim().split_at(2);
    std::fs::remove_file(world.repo.join(".git/objects").join(folder).join(file)).unwrap();
    assert_eq!(codes(&world), ["objects_missing"]);
}

#[test]
fn a_process_of_an_attempt_without_an_engine_is_told() {
    let world = landed();
    let mut process = Command::new("sleep")
        .arg("60")
        .env("PIPELINE_FENCE", format!("{}:9", run_id(&world)))
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    let found = codes(&world);
    process.kill().unwrap();
    process.wait().unwrap();
    assert_eq!(found, ["orphan_process"]);
    assert!(codes(&world).is_empty());
}

#[test]
fn while_an_engine_is_at_work_nothing_is_judged() {
    let world = World::new();
    world.write("agents/author.sh", "sleep 60\n");
    world.file("", ONE);
    world.commit("chore: plan");
    let mut engine = world.start(&["run", "rfc.yaml"]);
    world.wait_until("the unit is worked on", || world.unit_state("api") == "working");
    let said = world.expect(&["doctor", "--strict"], 7);
    assert!(said.err.contains("at work"), "{}", said.err);
    engine.kill().unwrap();
    engine.wait().unwrap();
}
