//! State that is lost, cut or damaged: the run is made anew from git, or refused with the command that does it.

use std::path::PathBuf;

use crate::world::World;

const CHAIN: &str = "  a: {title: 'feat: a', prompt: x}
  b: {title: 'feat: b', prompt: x, needs: [a]}
  c: {title: 'feat: c', prompt: x, needs: [b]}
";

fn state(world: &World) -> PathBuf {
    world.repo.join(".git/pipeline")
}

fn journal(world: &World) -> PathBuf {
    let mut runs = std::fs::read_dir(state(world).join("runs")).unwrap();
    runs.next().unwrap().unwrap().path().join("journal.jsonl")
}

/// Subjects of what landed, oldest first.
fn landed(world: &World) -> Vec<String> {
    let log = world.git(&["log", "--reverse", "--format=%s", "main"]);
    log.lines()
        .filter(|subject| subject.starts_with("feat:"))
        .map(str::to_owned)
        .collect()
}

fn assert_all_landed_once(world: &World) {
    assert_eq!(landed(world), ["feat: a", "feat: b", "feat: c"]);
    for unit in ["a", "b", "c"] {
        let implemented = world
            .calls(unit)
            .iter()
            .filter(|call| *call == "implement.1")
            .count();
        assert_eq!(implemented, 1, "{unit} was implemented once");
        assert_eq!(world.unit(unit)["state"], "landed");
    }
    world.expect(&["doctor", "--strict"], 0);
    assert_eq!(world.git(&["status", "--porcelain"]), "");
    world.assert_clean();
}

/// A run whose unit `b` is being reviewed while `a` has landed; its engine was killed.
fn killed_in_review() -> World {
    let world = World::new();
    let reviewer = world.read("agents/reviewer.sh");
    let slow = "if [ \"$PIPELINE_UNIT\" = b ] && ! [ -f \"$COUNT_DIR/../go\" ]; then touch \"$COUNT_DIR/../waiting\"; sleep 600; fi\n";
    world.write("agents/reviewer.sh", &format!("{slow}{reviewer}"));
    world.file("", CHAIN);
    world.commit("chore: plan");
    let mut engine = world.start(&["run", "rfc.yaml"]);
    world.wait_until("b to be reviewed", || world.base().join("waiting").exists());
    engine.kill().unwrap();
    engine.wait().unwrap();
    std::fs::write(world.base().join("go"), "").unwrap();
    world
}

#[test]
fn a_run_whose_state_was_deleted_in_the_middle_goes_on_from_what_git_proves() {
    let world = killed_in_review();
    std::fs::remove_dir_all(state(&world)).unwrap();
    let said = world.expect(&["status"], 4);
    assert!(said.err.contains("doctor --fix"), "{}", said.err);
    let said = world.expect(&["run", "rfc.yaml"], 0);
    assert!(
        said.err
            .contains("1 landed, 0 approved and in line again, 1 to be judged again, 1 to be begun"),
        "{}",
        said.err
    );
    assert!(said.err.contains("not known any more"), "{}", said.err);
    assert_all_landed_once(&world);
}

#[test]
fn a_finished_run_whose_state_was_deleted_lands_nothing_again() {
    let world = World::new();
    world.file("", CHAIN);
    world.commit("chore: plan");
    world.expect(&["run", "rfc.yaml"], 0);
    let calls: Vec<_> = ["a", "b", "c"].iter().map(|unit| world.calls(unit)).collect();
    let tip = world.git(&["rev-parse", "main"]);
    std::fs::remove_dir_all(state(&world)).unwrap();
    let said = world.expect(&["run", "rfc.yaml"], 0);
    assert!(said.err.contains("3 landed"), "{}", said.err);
    assert_eq!(world.git(&["rev-parse", "main"]), tip);
    assert_eq!(["a", "b", "c"].map(|unit| world.calls(unit)).to_vec(), calls);
    assert_all_landed_once(&world);
}

#[test]
fn what_landed_counts_also_where_the_target_has_left_what_the_run_began_on() {
    let world = World::new();
    let author = world.read("agents/author.sh");
    let rewinds = format!("git -C '{}' reset -q --hard HEAD~1\n", world.repo.display());
    world.write("agents/author.sh", &format!("{author}{rewinds}"));
    world.file("", "  a: {title: 'feat: a', prompt: x, tier: trivial}\n");
    world.commit("chore: plan");
    world.git(&["commit", "-q", "--allow-empty", "-m", "docs: dropped"]);
    world.expect(&["run", "rfc.yaml"], 0);
    assert_eq!(world.git(&["log", "-2", "--format=%s"]), "feat: a\nchore: plan\n");
    std::fs::remove_dir_all(state(&world)).unwrap();
    let said = world.expect(&["run", "rfc.yaml"], 0);
    assert!(said.err.contains("1 landed, 0 approved"), "{}", said.err);
    assert_eq!(world.calls("a").len(), 1);
    assert_eq!(landed(&world), ["feat: a"]);
    world.expect(&["doctor", "--strict"], 0);
}

#[test]
fn an_approval_that_git_proves_is_not_asked_for_again() {
    let world = World::new();
    world.file("", "  a: {title: 'feat: a', prompt: x}\n");
    world.commit("chore: plan");
    world.write("a.txt", "a person's own\n");
    world.expect(&["run", "rfc.yaml"], 6);
    let calls = world.calls("a");
    std::fs::remove_dir_all(state(&world)).unwrap();
    std::fs::remove_file(world.repo.join("a.txt")).unwrap();
    let said = world.expect(&["run", "rfc.yaml"], 0);
    assert!(said.err.contains("1 approved and in line again"), "{}", said.err);
    assert_eq!(world.calls("a"), calls, "no agent was asked again");
    assert_eq!(landed(&world), ["feat: a"]);
    world.expect(&["doctor", "--strict"], 0);
}

#[test]
fn an_engine_whose_state_is_deleted_under_it_stops_and_the_same_command_goes_on() {
    let world = World::new();
    let author = world.read("agents/author.sh");
    let wait = "if [ \"$PIPELINE_UNIT\" = b ] && ! [ -f \"$COUNT_DIR/../go\" ]; then touch \"$COUNT_DIR/../waiting\"; while ! [ -f \"$COUNT_DIR/../go\" ]; do sleep 0.05; done; fi\n";
    world.write("agents/author.sh", &format!("{author}{wait}"));
    world.file("", CHAIN);
    world.commit("chore: plan");
    let engine = world.start(&["run", "rfc.yaml"]);
    world.wait_until("b to be implemented", || world.base().join("waiting").exists());
    std::fs::remove_dir_all(state(&world)).unwrap();
    std::fs::write(world.base().join("go"), "").unwrap();
    let output = engine.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(8), "{said}");
    assert!(said.contains("was removed or replaced"), "{said}");
    assert_eq!(landed(&world), ["feat: a"]);
    world.expect(&["run", "rfc.yaml"], 0);
    assert_eq!(landed(&world), ["feat: a", "feat: b", "feat: c"]);
    world.expect(&["doctor", "--strict"], 0);
    world.assert_clean();
}

/// `run` refuses and names the repair; after it the run goes on.
fn refused_then_fixed(world: &World, why: &str) {
    let said = world.expect(&["run", "rfc.yaml"], 8);
    assert!(
        said.err.contains(why) && said.err.contains("doctor --fix"),
        "{}",
        said.err
    );
    assert_ne!(world.pipeline(&["doctor", "--strict"]).code, 0);
    let said = world.expect(&["doctor", "--fix"], 0);
    assert!(
        said.out.contains("set aside as") && said.out.contains("rebuilt from git"),
        "{}",
        said.out
    );
    world.expect(&["run", "rfc.yaml"], 0);
    assert_all_landed_once(world);
}

#[test]
fn a_flipped_byte_of_the_journal_is_refused_until_the_run_is_rebuilt() {
    let world = killed_in_review();
    let path = journal(&world);
    let mut bytes = std::fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    refused_then_fixed(&world, "is damaged");
}

#[test]
fn a_journal_that_was_emptied_is_refused_until_the_run_is_rebuilt() {
    let world = killed_in_review();
    std::fs::write(journal(&world), "").unwrap();
    refused_then_fixed(&world, "is damaged");
}

#[test]
fn a_journal_that_was_removed_is_refused_until_the_run_is_rebuilt() {
    let world = killed_in_review();
    std::fs::remove_file(journal(&world)).unwrap();
    refused_then_fixed(&world, "is missing");
}

#[test]
fn a_journal_that_was_cut_before_a_landing_is_refused_until_the_run_is_rebuilt() {
    let world = killed_in_review();
    let path = journal(&world);
    let text = std::fs::read_to_string(&path).unwrap();
    let end = text.find("\"type\":\"enqueued\"").unwrap();
    let end = text[..end].rfind('\n').unwrap() + 1;
    std::fs::write(&path, &text[..end]).unwrap();
    // The database that reflects later events would tell it, too; here it is gone as well.
    std::fs::remove_dir_all(state(&world).join("queue.sled")).unwrap();
    refused_then_fixed(&world, "older than the target");
}

#[test]
fn a_journal_that_lost_acknowledged_events_is_told_by_the_database() {
    let world = killed_in_review();
    let path = journal(&world);
    let text = std::fs::read_to_string(&path).unwrap();
    let cut: usize = text.lines().rev().take(2).map(|line| line.len() + 1).sum();
    std::fs::write(&path, &text[..text.len() - cut]).unwrap();
    let said = world.expect(&["run", "rfc.yaml"], 0);
    assert!(
        said.err.contains("set aside") && said.err.contains("where the journal ends"),
        "{}",
        said.err
    );
    assert_eq!(landed(&world), ["feat: a", "feat: b", "feat: c"]);
    world.expect(&["doctor", "--strict"], 0);
}

#[test]
fn landed_work_that_no_approval_confirms_is_not_believed() {
    let world = killed_in_review();
    let approvals = world.git(&["for-each-ref", "--format=%(refname)", "refs/pipeline/runs"]);
    let approval = approvals
        .lines()
        .find(|name| name.ends_with("/a/approval"))
        .unwrap();
    world.git(&["update-ref", "-d", approval]);
    std::fs::remove_dir_all(state(&world)).unwrap();
    let said = world.expect(&["run", "rfc.yaml"], 0);
    assert!(said.err.contains("is not confirmed as `a`"), "{}", said.err);
    assert_eq!(
        landed(&world),
        ["feat: a", "feat: b", "feat: c"],
        "and lands nothing twice"
    );
}

/// One unit whose author does this first.
fn with_author(does: &str) -> World {
    let world = World::new();
    let author = world.read("agents/author.sh");
    world.write("agents/author.sh", &format!("{does}\n{author}"));
    world.file("", "  a: {title: 'feat: a', prompt: x}\n");
    world.commit("chore: plan");
    world
}

#[test]
fn a_gate_that_a_guard_had_opened_is_opened_again() {
    let world = with_author("echo '# more' >> agents/reviewer.sh");
    world.expect(&["run", "rfc.yaml"], 6);
    assert_eq!(world.unit("a")["state"], "gated");
    std::fs::remove_dir_all(state(&world)).unwrap();
    world.expect(&["run", "rfc.yaml"], 6);
    assert_eq!(world.unit("a")["state"], "gated");
    let gates = world.events("gate_opened");
    assert!(
        gates.len() == 1 && gates[0].to_string().contains("agents/reviewer.sh"),
        "{gates:?}"
    );
    assert_eq!(landed(&world), Vec::<String>::new());
    let implemented = world
        .calls("a")
        .iter()
        .filter(|call| *call == "implement.1")
        .count();
    assert_eq!(implemented, 1, "its work was kept");
    world.expect(&["approve", "a"], 0);
    world.expect(&["run", "rfc.yaml"], 0);
    assert_eq!(landed(&world), ["feat: a"]);
    world.expect(&["doctor", "--strict"], 0);
}

#[test]
fn a_head_of_which_git_does_not_know_what_the_guards_found_waits_for_a_person() {
    let world = with_author("echo '# more' >> agents/reviewer.sh");
    world.expect(&["run", "rfc.yaml"], 6);
    let refs = world.git(&["for-each-ref", "--format=%(refname)", "refs/pipeline/runs"]);
    let found = refs.lines().find(|name| name.ends_with("/a/guards")).unwrap();
    world.git(&["update-ref", "-d", found]);
    std::fs::remove_dir_all(state(&world)).unwrap();
    world.expect(&["run", "rfc.yaml"], 6);
    let gate = world.events("gate_opened")[0].to_string();
    assert!(gate.contains("does not know what the guards found"), "{gate}");
    assert_eq!(landed(&world), Vec::<String>::new());
}

#[test]
fn work_that_a_guard_had_refused_is_not_taken_over_but_done_anew() {
    let leaks = "[ -f \"$COUNT_DIR/../clean\" ] || echo \"AKIA$(echo Q3EGRIFZ7JWM2NXB)\" > leak.txt";
    let world = with_author(leaks);
    world.expect(&["run", "rfc.yaml"], 5);
    assert_eq!(world.unit("a")["reason"], "secret_in_diff");
    std::fs::remove_dir_all(state(&world)).unwrap();
    std::fs::write(world.base().join("clean"), "").unwrap();
    let said = world.expect(&["run", "rfc.yaml"], 0);
    assert!(
        said.err
            .contains("work of `a` that a guard had refused is not taken over"),
        "{}",
        said.err
    );
    assert_eq!(landed(&world), ["feat: a"]);
    assert!(!world.repo.join("leak.txt").exists());
    world.expect(&["doctor", "--strict"], 0);
}

/// A run whose one unit is approved and in line, held by a file of the person's.
fn held_in_line() -> World {
    let world = World::new();
    world.file("", "  a: {title: 'feat: a', prompt: x, tier: trivial}\n");
    world.commit("chore: plan");
    world.write("a.txt", "a person's own\n");
    world.expect(&["run", "rfc.yaml"], 6);
    assert_eq!(world.unit("a")["state"], "queued");
    std::fs::remove_file(world.repo.join("a.txt")).unwrap();
    world
}

fn lose_state(world: &World) {
    std::fs::remove_dir_all(state(world)).unwrap();
}

#[test]
fn a_unit_that_a_person_took_out_stays_out_however_often_the_state_is_lost() {
    for verb in ["cancel", "discard"] {
        let world = held_in_line();
        world.expect(&[verb, "a"], 0);
        world.expect(&["doctor", "--strict"], 0);
        for _ in 0..2 {
            lose_state(&world);
            let said = world.expect(&["run", "rfc.yaml"], 0);
            assert!(said.err.contains("1 taken out by a person"), "{}", said.err);
            assert_eq!(world.unit("a")["state"], "cancelled");
            assert_eq!(landed(&world), Vec::<String>::new(), "after `{verb}`");
            world.expect(&["doctor", "--strict"], 0);
        }
        world.assert_clean();
    }
}

#[test]
fn a_cancelled_unit_can_be_brought_back_after_the_state_is_lost() {
    let world = held_in_line();
    world.expect(&["cancel", "a"], 0);
    lose_state(&world);
    world.expect(&["doctor", "--fix"], 0);
    world.expect(&["retry", "a"], 0);
    lose_state(&world);
    world.expect(&["run", "rfc.yaml"], 0);
    assert_eq!(landed(&world), ["feat: a"]);
    assert_eq!(
        world.calls("a"),
        ["implement.1", "implement.1"],
        "it was done anew"
    );
    world.expect(&["doctor", "--strict"], 0);
}

#[test]
fn a_retried_unit_is_done_anew_though_its_old_work_was_approved() {
    let world = held_in_line();
    let author = world.read("agents/author.sh");
    world.write(
        "agents/author.sh",
        &author.replace("work of $PIPELINE_UNIT", "better work"),
    );
    world.commit("chore: a better author");
    world.expect(&["retry", "a"], 0);
    world.expect(&["doctor", "--strict"], 0);
    lose_state(&world);
    let said = world.expect(&["run", "rfc.yaml"], 0);
    assert!(
        said.err.contains("0 to be judged again, 1 to be begun"),
        "{}",
        said.err
    );
    assert_eq!(landed(&world), ["feat: a"]);
    assert_eq!(world.read("a.txt"), "better work\n");
    world.expect(&["doctor", "--strict"], 0);
}

#[test]
fn a_retried_branch_is_taken_in_as_it_is_now() {
    let world = World::new();
    world.file("", "  a: {title: 'feat: a', from_branch: theirs}\n");
    world.commit("chore: plan");
    world.git(&["switch", "-qc", "theirs"]);
    world.write("theirs.txt", "old\n");
    world.commit("feat: a");
    world.git(&["switch", "-q", "main"]);
    world.write("theirs.txt", "a person's own\n");
    world.expect(&["run", "rfc.yaml"], 6);
    std::fs::remove_file(world.repo.join("theirs.txt")).unwrap();
    world.expect(&["retry", "a"], 0);
    world.git(&["switch", "-q", "theirs"]);
    world.write("theirs.txt", "new\n");
    world.git(&["commit", "-qa", "--amend", "--no-edit"]);
    world.git(&["switch", "-q", "main"]);
    lose_state(&world);
    world.expect(&["run", "rfc.yaml"], 0);
    assert_eq!(world.read("theirs.txt"), "new\n");
    world.expect(&["doctor", "--strict"], 0);
}

#[test]
fn a_unit_that_the_queue_evicted_is_judged_again() {
    let (world, _, evicted) = World::with_conflict();
    world.expect(&["doctor", "--strict"], 0);
    lose_state(&world);
    let said = world.expect(&["doctor", "--fix"], 0);
    assert!(
        said.out
            .contains("1 landed, 0 approved and in line again, 1 to be judged again"),
        "{}",
        said.out
    );
    assert_eq!(world.unit(&evicted)["state"], "working");
}

#[test]
fn what_a_person_says_to_an_engine_at_work_is_known_to_git_when_it_is_answered() {
    let world = World::new();
    let author = world.read("agents/author.sh");
    let waits = "[ \"$PIPELINE_UNIT\" = a ] || until [ -e \"$COUNT_DIR/go\" ]; do sleep 0.02; done\n";
    world.write("agents/author.sh", &(waits.to_owned() + &author));
    world.file(
        "",
        "  a: {title: 'feat: a', prompt: x, tier: trivial}\n  slow: {title: 'feat: slow', prompt: x, tier: trivial}\n",
    );
    world.commit("chore: plan");
    world.write("a.txt", "a person's own\n");
    let mut engine = world.start(&["run", "rfc.yaml"]);
    world.wait_until("a to be in line", || world.unit_state("a") == "queued");
    world.expect(&["discard", "a"], 0);
    engine.kill().unwrap();
    engine.wait().unwrap();
    std::fs::remove_file(world.repo.join("a.txt")).unwrap();
    std::fs::write(world.base().join("count/go"), "").unwrap();
    lose_state(&world);
    world.expect(&["run", "rfc.yaml"], 0);
    assert_eq!(landed(&world), ["feat: slow"]);
    world.expect(&["doctor", "--strict"], 0);
}

/// Needs the failpoints of builds with debug assertions.
#[cfg(debug_assertions)]
#[test]
fn whoever_is_killed_before_git_is_told_is_made_up_for() {
    for next in [["run", "rfc.yaml"].as_slice(), &["pause"]] {
        let world = held_in_line();
        let fault = [("PIPELINE_FAULT", "kill@git.update-ref:1")];
        let killed = world.pipeline_with(&["discard", "a"], &fault);
        assert_eq!(killed.code, -1, "{}{}", killed.out, killed.err);
        assert_eq!(world.unit("a")["state"], "cancelled");
        let said = world.pipeline(&["doctor", "--strict"]);
        assert!(said.out.contains("record_stale"), "{}{}", said.out, said.err);
        world.pipeline(next);
        world.expect(&["doctor", "--strict"], 0);
        lose_state(&world);
        world.expect(&["run", "rfc.yaml"], 0);
        assert_eq!(landed(&world), Vec::<String>::new());
    }
}

#[test]
fn nothing_is_steered_by_a_journal_that_is_older_than_the_target() {
    let world = killed_in_review();
    let path = journal(&world);
    let text = std::fs::read_to_string(&path).unwrap();
    let end = text.find("\"type\":\"land_intended\"").unwrap();
    let end = text[..end].rfind('\n').unwrap() + 1;
    std::fs::write(&path, &text[..end]).unwrap();
    std::fs::remove_dir_all(state(&world).join("queue.sled")).unwrap();
    let said = world.expect(&["discard", "a"], 8);
    assert!(said.err.contains("older than the target"), "{}", said.err);
    refused_then_fixed(&world, "older than the target");
}

#[test]
fn a_run_that_git_does_not_know_is_left_as_it_is() {
    let world = World::new();
    world.file("", CHAIN);
    world.commit("chore: plan");
    world.expect(&["run", "rfc.yaml"], 0);
    for name in world
        .git(&["for-each-ref", "--format=%(refname)", "refs/pipeline"])
        .lines()
    {
        world.git(&["update-ref", "-d", name]);
    }
    std::fs::write(journal(&world), "").unwrap();
    let said = world.expect(&["doctor", "--fix"], 8);
    assert!(said.out.contains("was left as it is"), "{}", said.out);
    assert!(journal(&world).exists());
}

/// `fixtures/journals/<format>/` holds a journal that a version with that format wrote: the demo's, with a defect that was
/// mended and a unit that was evicted.
#[test]
fn a_journal_of_every_format_there_ever_was_still_opens_and_folds() {
    let fixtures = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures/journals");
    let mut formats: Vec<u32> = std::fs::read_dir(&fixtures)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_str().unwrap().parse().unwrap())
        .collect();
    formats.sort_unstable();
    assert_eq!(formats, (1..=pipeline::event::FORMAT).collect::<Vec<_>>());
    for format in formats {
        let from = fixtures.join(format.to_string());
        let text = std::fs::read_to_string(from.join("journal.jsonl")).unwrap();
        let first: serde_json::Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
        let run: pipeline::id::RunId = pipeline::id::RunId::parse(first["run"].as_str().unwrap()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let home = pipeline::store::Home::new(folder.path());
        std::fs::create_dir_all(home.run_dir(&run)).unwrap();
        for name in ["journal.jsonl", "frozen.json"] {
            std::fs::copy(from.join(name), home.run_dir(&run).join(name)).unwrap();
        }
        let frozen: pipeline::run::Frozen =
            serde_json::from_slice(&pipeline::store::read_frozen(&home, &run).unwrap()).unwrap();
        let records = pipeline::store::read_journal(&home, &run).unwrap().records;
        let mut state = pipeline::run::State::new(std::sync::Arc::new(frozen.pipeline), String::new());
        for record in &records {
            state.apply(record).unwrap();
        }
        assert!(state.is_finished(), "format {format}");
        assert_eq!(state.queue().landed().len(), 5);
        assert_eq!(state.evicted().count(), 1);
    }
}
