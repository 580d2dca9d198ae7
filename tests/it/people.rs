//! What people do: gates, repair by hand, another try, giving up.

use crate::world::World;

const ONE: &str = "  api: {title: 'feat: api', prompt: do it, tier: trivial}\n";

fn evicted_world() -> World {
    let world = World::new();
    world.write("agents/author.sh", "echo bad > api.txt\n");
    world.write("rfc.yaml", &crate::world::file("", "! grep -qs bad api.txt", ONE));
    world.commit("chore: plan");
    world.expect(&["run", "rfc.yaml"], 5);
    assert_eq!(world.unit("api")["reason"], "checks_failed");
    world
}

#[test]
fn a_person_repairs_an_evicted_unit_and_it_lands() {
    let world = evicted_world();
    let folder = world.open_repair("api");
    assert_eq!(std::fs::read_to_string(folder.join("api.txt")).unwrap(), "bad\n");
    let untouched = world.expect(&["resolve", "api", "--done"], 2);
    assert!(untouched.err.contains("nothing was changed"), "{}", untouched.err);
    std::fs::write(folder.join("api.txt"), "good\n").unwrap();
    let early = world.expect(&["resolve", "api", "--done"], 2);
    assert!(early.err.contains("api.txt"), "{}", early.err);
    let git = |args: &[&str]| world.git_in(&folder, args);
    git(&["add", "-A"]);
    git(&["commit", "-qm", "fix: by hand"]);
    world.expect(&["resolve", "api", "--done"], 0);
    world.expect(&["run", "rfc.yaml"], 0);
    assert_eq!(world.read("api.txt"), "good\n");
    assert_eq!(
        world.git(&[
            "log",
            "-1",
            "--format=%s|%(trailers:key=Pipeline-Unit,valueonly,separator=)"
        ]),
        "feat: api|api\n"
    );
    world.assert_clean();
}

#[test]
fn an_aborted_repair_leaves_the_unit_evicted_and_keeps_the_commit() {
    let world = evicted_world();
    world.expect(&["resolve", "api"], 0);
    world.expect(&["resolve", "api", "--abort"], 0);
    assert_eq!(world.unit("api")["state"], "evicted");
    assert!(
        world
            .git(&["for-each-ref", "refs/pipeline/salvage"])
            .contains("api")
    );
    world.assert_clean();
}

#[test]
fn a_retry_starts_afresh_and_tells_the_author_why() {
    let world = evicted_world();
    world.write(
        "agents/author.sh",
        "grep -q 'write good instead' \"$PIPELINE_CONTEXT/prompt.md\" && echo good > api.txt || echo bad > api.txt\n",
    );
    world.commit("chore: a better author");
    world.expect(&["retry", "api", "-m", "write good instead"], 0);
    world.expect(&["run", "rfc.yaml"], 0);
    assert_eq!(world.read("api.txt"), "good\n");
}

#[test]
fn a_discarded_unit_is_left_alone() {
    let world = evicted_world();
    world.expect(&["discard", "api"], 0);
    assert_eq!(world.unit("api")["state"], "cancelled");
    world.expect(&["run", "rfc.yaml"], 0);
}

#[test]
fn what_waits_for_a_unit_that_was_given_up_is_told_with_the_way_on() {
    let world = World::new();
    world.write("agents/author.sh", "exit 1\n");
    world.file(
        "",
        &format!("{ONE}  after: {{title: 'feat: after', prompt: x, tier: trivial, needs: [api]}}\n"),
    );
    world.commit("chore: plan");
    world.expect(&["run", "rfc.yaml"], 5);
    world.expect(&["discard", "api"], 0);
    world.expect(&["run", "rfc.yaml"], 5);
    let told = world.expect(&["evicted"], 0).out;
    assert!(
        told.contains("needs api, which was given up") && told.contains("discard after"),
        "{told}"
    );
    world.expect(&["discard", "after"], 0);
    world.expect(&["run", "rfc.yaml"], 0);
}

fn gated_world() -> World {
    let world = World::new();
    let file = crate::world::file(
        "",
        "true",
        "  api: {title: 'feat: api', prompt: x, tier: gated}\n",
    );
    let tier =
        "tiers:\n  gated: {implement: {agent: author}, approve: {by: human, needs: [implement]}}\nagents:";
    world.write("rfc.yaml", &file.replace("agents:", tier));
    world.commit("chore: plan");
    let said = world.expect(&["run", "rfc.yaml"], 6);
    assert!(
        format!("{}{}", said.out, said.err).contains("pipeline approve api"),
        "{}{}",
        said.out,
        said.err
    );
    assert_eq!(world.unit("api")["state"], "gated");
    world
}

#[test]
fn a_gate_waits_for_a_person_who_approves() {
    let world = gated_world();
    world.expect(&["approve", "api"], 0);
    world.expect(&["run", "rfc.yaml"], 0);
    assert_eq!(world.unit("api")["state"], "landed");
    let late = world.expect(&["approve", "api"], 2);
    assert!(late.err.contains("landed"), "{}", late.err);
}

#[test]
fn a_rejected_unit_is_evicted_with_the_persons_words() {
    let world = gated_world();
    world.expect(&["reject", "api", "-m", "not this way"], 0);
    world.expect(&["run", "rfc.yaml"], 5);
    assert_eq!(world.unit("api")["reason"], "rejected");
    assert!(world.expect(&["show", "api"], 0).out.contains("not this way"));
}

#[test]
fn a_protected_path_is_a_gate() {
    let world = World::new();
    world.write(
        "agents/author.sh",
        "mkdir -p .github && echo x > .github/ci.yml\n",
    );
    world.file("", ONE);
    world.commit("chore: plan");
    let said = world.expect(&["run", "rfc.yaml"], 6);
    assert!(
        format!("{}{}", said.out, said.err).contains(".github/ci.yml"),
        "{}{}",
        said.out,
        said.err
    );
    world.expect(&["approve", "api"], 0);
    world.expect(&["run", "rfc.yaml"], 0);
    assert_eq!(world.read(".github/ci.yml"), "x\n");
}

#[test]
fn a_changed_file_keeps_what_landed_with_the_same_inputs() {
    let world = World::new();
    let two = "  a: {title: 'feat: a', prompt: x, tier: trivial}\n";
    world.file("", two);
    world.commit("chore: plan");
    world.expect(&["run", "rfc.yaml"], 0);
    world.file(
        "",
        &format!("{two}  b: {{title: 'feat: b', prompt: x, tier: trivial, needs: [a]}}\n"),
    );
    world.commit("chore: more");
    let said = world.expect(&["run", "rfc.yaml"], 0);
    assert!(said.err.contains("landed, kept"), "{}", said.err);
    assert_eq!(world.calls("a").len(), 1, "what landed is not done again");
    assert_eq!(world.git(&["log", "-1", "--format=%s"]), "feat: b\n");
}

#[test]
fn a_repair_of_a_conflict_can_be_given_up_and_the_run_goes_on_beside_it() {
    let (world, _, evicted) = World::with_conflict();
    let folder = world.open_repair(&evicted);
    let conflict = std::fs::read_to_string(folder.join("shared.txt")).unwrap();
    assert!(
        conflict.contains("<<<<<<<") && conflict.contains("by one") && conflict.contains("by two"),
        "{conflict}"
    );
    let git = |args: &[&str]| world.git_in(&folder, args);
    git(&["commit", "-qam", "as it stands"]);
    let said = world.expect(&["resolve", &evicted, "--done"], 2);
    assert!(
        said.err.contains("conflict markers") && said.err.contains("shared.txt"),
        "{}",
        said.err
    );
    std::fs::write(folder.join("shared.txt"), "half done\n").unwrap();
    // The branch of the repair is the unit's own: the file stays valid.
    world.expect(&["run", "rfc.yaml"], 5);
    world.expect(&["resolve", &evicted, "--abort"], 0);
    let kept = world.git(&["for-each-ref", "--format=%(refname)", "refs/pipeline/salvage"]);
    assert!(
        kept.contains(&format!("{evicted}/head")) && kept.contains(&format!("{evicted}/files")),
        "{kept}"
    );
    world.assert_clean();
}

#[test]
fn a_retry_while_a_repair_is_open_ends_the_repair() {
    let world = evicted_world();
    world.write("agents/author.sh", "echo good > api.txt\n");
    world.commit("chore: a better author");
    world.expect(&["resolve", "api"], 0);
    world.expect(&["retry", "api"], 0);
    assert_eq!(
        world.status()["run"]["state"],
        "paused",
        "a retried unit reopens the run"
    );
    world.expect(&["run", "rfc.yaml"], 0);
    world.assert_clean();
}

#[test]
fn the_document_of_an_exploring_unit_is_shown() {
    let world = World::new();
    world.write(
        "agents/author.sh",
        "echo '{\"document\":\"It is round.\"}' > \"$PIPELINE_RESULT\"\n",
    );
    let file = crate::world::file(
        "",
        "true",
        "  look: {title: 'docs: look', prompt: x, tier: look}\n",
    );
    world.write(
        "rfc.yaml",
        &file.replace(
            "agents:",
            "tiers:\n  look: {research: {kind: prepare, agent: author}}\nagents:",
        ),
    );
    world.commit("chore: plan");
    world.expect(&["run", "rfc.yaml"], 0);
    assert_eq!(world.unit("look")["state"], "published");
    assert!(world.expect(&["show", "look"], 0).out.contains("It is round."));
}

/// A run that landed its one unit, which somebody then took from the target.
fn with_lost_work() -> (World, String) {
    let world = World::new();
    world.file("", ONE);
    world.commit("chore: plan");
    world.expect(&["run", "rfc.yaml"], 0);
    let landed = world.git(&["rev-parse", "main"]).trim().to_owned();
    world.git(&["reset", "-q", "--hard", "HEAD~1"]);
    (world, landed)
}

#[test]
fn landed_work_that_is_gone_is_not_taken_for_done_and_not_landed_again() {
    let (world, landed) = with_lost_work();
    let remedy = format!("git switch main && git merge {landed}");
    let refused = || {
        let said = world.expect(&["run", "rfc.yaml"], 10);
        let words: Vec<&str> = said.err.split_whitespace().collect();
        let told = words.join(" ");
        for part in ["target_rewritten", &remedy, "--fresh"] {
            assert!(told.contains(part), "{told}");
        }
    };
    refused();
    // Also where a new run would begin.
    let more = format!("{ONE}  b: {{title: 'feat: b', prompt: x, tier: trivial}}\n");
    world.file("", &more);
    world.commit("chore: more");
    refused();
    let runs = std::fs::read_dir(world.repo.join(".git/pipeline/runs")).unwrap();
    assert_eq!(runs.count(), 1, "no new run began");
    let restored = world.program("sh").args(["-c", &remedy]).output().unwrap();
    assert!(restored.status.success(), "{restored:?}");
    let said = world.expect(&["run", "rfc.yaml"], 0);
    assert!(said.err.contains("landed, kept"), "{}", said.err);
    assert_eq!(world.calls("api").len(), 1);
    assert_eq!(world.unit("b")["state"], "landed");
}

#[test]
fn who_starts_over_does_without_landed_work_that_is_gone() {
    let (world, _) = with_lost_work();
    world.expect(&["run", "rfc.yaml", "--fresh"], 0);
    assert_eq!(world.calls("api").len(), 2);
    assert_eq!(world.read("api.txt"), "work of api\n");
    // What the run before it had landed is nobody's any more.
    world.expect(&["run", "rfc.yaml"], 0);
}

#[test]
fn named_units_are_done_and_the_rest_is_left_for_the_next_run() {
    let world = World::new();
    let units = "  a: {title: 'feat: a', prompt: x, tier: trivial}
  b: {title: 'feat: b', prompt: x, tier: trivial, needs: [a]}
  c: {title: 'feat: c', prompt: x, tier: trivial}
";
    world.file("", units);
    world.commit("chore: plan");
    let said = world.expect(&["run", "rfc.yaml", "b"], 0);
    assert!(said.out.contains("Next: pipeline run rfc.yaml"), "{}", said.out);
    assert_eq!(world.unit("b")["state"], "landed");
    assert!(world.calls("c").is_empty());
    assert_ne!(world.status()["run"]["state"], "finished");
    world.expect(&["run", "rfc.yaml"], 0);
    assert_eq!(world.unit("c")["state"], "landed");
    assert_eq!(world.status()["run"]["state"], "finished");
}

#[test]
fn a_repair_whose_files_cannot_be_kept_keeps_the_unit_from_being_done_afresh() {
    let world = evicted_world();
    let folder = world.open_repair("api");
    std::os::unix::fs::symlink("/etc/hostname", folder.join("out")).unwrap();
    for verb in ["retry", "discard"] {
        let said = world.expect(&[verb, "api"], 2);
        assert!(said.err.contains("cannot be kept"), "{}", said.err);
        assert!(!said.out.contains("`api`"), "nothing was wished: {}", said.out);
        assert_eq!(world.unit_state("api"), "evicted");
    }
    std::fs::remove_file(folder.join("out")).unwrap();
    world.expect(&["discard", "api"], 0);
    assert!(!folder.exists());
}

/// A run whose unit began on a commit that its person then took back, to put `other` in its place.
fn with_base_taken_back(check: &str, author: &str, other: &str) -> World {
    let world = World::new();
    let wait = "touch \"$COUNT_DIR/began\"; until [ -e \"$COUNT_DIR/go\" ]; do sleep 0.02; done";
    world.write("agents/author.sh", &format!("{wait}\n{author}\n"));
    let text = crate::world::file("", check, ONE);
    world.write(
        "rfc.yaml",
        &text.replace("checks:", "queue: {on_conflict: evict}\nchecks:"),
    );
    world.write("shared.txt", "one\ntwo\nthree\n");
    world.commit("chore: plan");
    world.write("secret.txt", "not to be published\n");
    world.commit("wip");
    let engine = world.start(&["run", "rfc.yaml"]);
    world.wait_until("the author", || world.base().join("count/began").exists());
    world.git(&["reset", "-q", "--hard", "HEAD~1"]);
    world.write("shared.txt", other);
    world.commit("chore: another thing");
    std::fs::write(world.base().join("count/go"), "").unwrap();
    world.expect_end(engine, 5);
    world
}

/// The repair lands, and what was taken back does not come with it.
fn assert_lands_alone(world: &World, folder: &std::path::Path) {
    world.git_in(folder, &["add", "-A"]);
    world.git_in(folder, &["commit", "-qm", "by hand"]);
    world.expect(&["resolve", "api", "--done"], 0);
    world.expect(&["run", "rfc.yaml"], 0);
    assert_eq!(world.unit_state("api"), "landed");
    assert_eq!(world.git(&["log", "--format=%s", "--", "secret.txt"]), "");
    world.expect(&["doctor", "--strict"], 0);
}

#[test]
fn a_repair_brings_nothing_of_a_base_that_was_taken_back() {
    let world = with_base_taken_back("! grep -qs bad api.txt", "echo bad > api.txt", "one\ntwo\n3\n");
    assert_eq!(world.unit("api")["reason"], "checks_failed");
    let folder = world.open_repair("api");
    std::fs::write(folder.join("api.txt"), "good\n").unwrap();
    assert_lands_alone(&world, &folder);
    assert_eq!(world.read("shared.txt"), "one\ntwo\n3\n");
}

#[test]
fn a_conflict_is_put_in_place_without_a_base_that_was_taken_back() {
    let author = "printf 'one\\nTWO\\nthree\\n' > shared.txt";
    let world = with_base_taken_back("true", author, "one\n2\nthree\n");
    assert_eq!(world.unit("api")["reason"], "conflict_target");
    let folder = world.open_repair("api");
    assert!(!folder.join("secret.txt").exists());
    let conflict = std::fs::read_to_string(folder.join("shared.txt")).unwrap();
    assert!(
        conflict.contains("<<<<<<<") && conflict.contains("TWO"),
        "{conflict}"
    );
    std::fs::write(folder.join("shared.txt"), "one\nTWO 2\nthree\n").unwrap();
    assert_lands_alone(&world, &folder);
}

#[test]
fn a_target_that_loses_what_an_earlier_run_landed_stops_a_run_that_has_nothing_of_it() {
    let world = World::new();
    world.file("", ONE);
    world.commit("chore: plan");
    world.expect(&["run", "rfc.yaml"], 0);
    world.write(
        "agents/author.sh",
        "touch \"$COUNT_DIR/began\"; until [ -e \"$COUNT_DIR/go\" ]; do sleep 0.02; done; echo x > x.txt\n",
    );
    world.file("", "  x: {title: 'feat: x', prompt: do it, tier: trivial}\n");
    world.commit("chore: another plan");
    let engine = world.start(&["run", "rfc.yaml"]);
    world.wait_until("the author", || world.base().join("count/began").exists());
    world.git(&["branch", "kept"]);
    world.git(&["reset", "-q", "--hard", "HEAD~2"]);
    std::fs::write(world.base().join("count/go"), "").unwrap();
    let said = world.expect_end(engine, 10);
    assert!((said.out + &said.err).contains("what an earlier run landed"));
    world.git(&["reset", "-q", "--hard", "kept"]);
    world.expect(&["run", "rfc.yaml"], 0);
}

#[test]
fn only_an_evicted_unit_is_opened_for_repair() {
    let world = World::new();
    world.write("agents/author.sh", "exit 1\n");
    let after = "  after: {title: 'feat: after', prompt: x, tier: trivial, needs: [api]}\n";
    world.file("", &format!("{ONE}{after}"));
    world.commit("chore: plan");
    world.expect(&["run", "rfc.yaml"], 5);
    assert_eq!(world.unit_state("after"), "blocked");
    let said = world.expect(&["resolve", "after"], 2).err;
    assert!(
        said.contains("only an evicted unit is resolved by hand"),
        "{said}"
    );
    world.expect(&["cancel", "api"], 2);
    world.expect(&["resolve", "api"], 0);
}

#[test]
fn a_repair_on_another_branch_is_not_taken_for_the_units() {
    let world = evicted_world();
    let folder = world.open_repair("api");
    let git = |args: &[&str]| world.git_in(&folder, args);
    git(&["switch", "-q", "--detach"]);
    std::fs::write(folder.join("api.txt"), "good\n").unwrap();
    git(&["commit", "-qam", "fix: by hand"]);
    let said = world.expect(&["resolve", "api", "--done"], 2);
    assert!(said.err.contains("not on the branch"), "{}", said.err);
    assert_eq!(world.unit("api")["state"], "evicted");
    git(&["switch", "-q", "-C", "pipeline/trial/api"]);
    world.expect(&["resolve", "api", "--done"], 0);
    let kept = world.git(&["for-each-ref", "refs/pipeline/salvage"]);
    assert!(kept.contains("api"), "{kept}");
    world.expect(&["run", "rfc.yaml"], 0);
    assert_eq!(world.read("api.txt"), "good\n");
}

#[test]
fn a_repair_whose_folder_was_deleted_by_hand_is_opened_anew() {
    let world = evicted_world();
    std::fs::remove_dir_all(world.open_repair("api")).unwrap();
    world.expect(&["run", "rfc.yaml"], 5);
    world.expect(&["resolve", "api"], 0);
    world.expect(&["resolve", "api", "--abort"], 0);
    world.assert_clean();
}

#[test]
fn a_persons_branch_is_left_alone_whatever_its_name_is() {
    for verb in ["retry", "discard"] {
        let world = evicted_world();
        world.git(&["switch", "-qc", "pipeline/trial/api"]);
        world.write("mine", "mine\n");
        world.commit("feat: mine");
        let mine = world.git(&["rev-parse", "HEAD"]);
        world.expect(&[verb, "api"], 0);
        assert_eq!(world.git(&["rev-parse", "HEAD"]), mine);
        world.git(&["switch", "-q", "main"]);
        assert_eq!(world.git(&["rev-parse", "pipeline/trial/api"]), mine);
        assert_eq!(world.git(&["for-each-ref", "refs/pipeline/salvage"]), "");
    }
}

#[test]
fn a_persons_branch_that_is_in_the_way_of_a_repair_is_named_with_the_way_on() {
    let world = evicted_world();
    world.git(&["branch", "pipeline/trial/api"]);
    let said = world.expect(&["resolve", "api"], 2);
    assert!(
        said.err.contains("resolve` did not make")
            && said
                .err
                .contains("git branch -m pipeline/trial/api repair-of-api"),
        "{}",
        said.err
    );
    world.git(&["branch", "-m", "pipeline/trial/api", "repair-of-api"]);
    world.expect(&["resolve", "api"], 0);
    world.expect(&["resolve", "api", "--abort"], 0);
    world.git(&["branch", "-d", "repair-of-api"]);
    world.assert_clean();
}

#[test]
fn the_branch_of_a_repair_that_a_person_has_checked_out_is_theirs() {
    let world = evicted_world();
    let folder = world.open_repair("api");
    world.git_in(&folder, &["switch", "-q", "--detach"]);
    std::fs::write(folder.join("api.txt"), "half done\n").unwrap();
    world.git(&["switch", "-q", "pipeline/trial/api"]);
    let here = world.git(&["rev-parse", "HEAD"]);
    let said = world.expect(&["resolve", "api", "--abort"], 0);
    assert!(
        said.out
            .contains("pipeline/trial/api stays, since it is checked out in"),
        "{}",
        said.out
    );
    assert_eq!(world.git(&["rev-parse", "HEAD"]), here);
    // From now on nothing says that it is anybody else's.
    world.git(&["switch", "-q", "main"]);
    world.expect(&["discard", "api"], 0);
    assert_eq!(world.git(&["rev-parse", "pipeline/trial/api"]), here);
    world.git(&["branch", "-qD", "pipeline/trial/api"]);
    world.assert_clean();
}

#[test]
fn a_repair_is_closed_by_its_record_or_by_its_worktree() {
    let world = evicted_world();
    // As an older version opened it.
    world.open_repair("api");
    world.git(&["update-ref", "-d", "refs/pipeline/repairs/trial/api"]);
    world.expect(&["resolve", "api", "--abort"], 0);
    world.assert_clean();
    // As `git worktree prune` leaves it.
    std::fs::remove_dir_all(world.open_repair("api")).unwrap();
    world.git(&["worktree", "prune"]);
    world.expect(&["discard", "api"], 0);
    world.assert_clean();
}

#[test]
fn what_an_exploring_unit_found_is_given_to_the_units_that_need_it() {
    let world = World::new();
    world.write(
        "agents/author.sh",
        r#"
if [ "$PIPELINE_KIND" = prepare ]; then
    echo '{"document":"the answer is 42"}' > "$PIPELINE_RESULT"
else
    grep -rh "the answer is 42" "$PIPELINE_CONTEXT/documents" > found.txt
fi
"#,
    );
    let units = "  look: {title: 'docs: look', prompt: x, tier: look}
  make: {title: 'feat: make', prompt: x, tier: trivial, needs: [look]}
";
    let file = crate::world::file("", "true", units);
    let tier = "tiers:\n  look: {research: {kind: prepare, agent: author}}\nagents:";
    world.write("rfc.yaml", &file.replace("agents:", tier));
    world.commit("chore: plan");
    world.expect(&["run", "rfc.yaml"], 0);
    assert_eq!(world.read("found.txt"), "the answer is 42\n");
}

#[test]
fn a_finished_run_that_another_followed_expires_with_its_refs_and_logs() {
    let world = World::new();
    let one = "  a: {title: 'feat: a', prompt: x, tier: trivial}\n";
    world.file("", one);
    world.commit("chore: plan");
    world.expect(&["run", "rfc.yaml"], 0);
    world.file(
        "",
        &format!("{one}  b: {{title: 'feat: b', prompt: x, tier: trivial}}\n"),
    );
    world.commit("chore: more");
    world.expect(&["run", "rfc.yaml"], 0);
    let runs = || -> usize {
        let told: serde_json::Value =
            serde_json::from_str(&world.expect(&["runs", "--json"], 0).out).unwrap();
        told["runs"].as_array().unwrap().len()
    };
    let refs = || world.git(&["for-each-ref", "refs/pipeline"]).lines().count();
    let before = refs();
    assert_eq!(runs(), 2);
    world.expect(&["clean"], 0);
    assert_eq!((runs(), refs()), (2, before), "nothing is old enough");
    let said = world.expect(&["clean", "--older-than", "0s", "--dry-run"], 0);
    assert!(said.out.contains("1 to remove"), "{}", said.out);
    assert_eq!(runs(), 2);
    let said = world.expect(&["clean", "--older-than", "0s"], 0);
    assert!(said.out.contains("(expired)"), "{}", said.out);
    assert_eq!(runs(), 1);
    assert!(refs() < before);
    // The latest stays, what landed stays, and nothing comes back.
    world.expect(&["run", "rfc.yaml"], 0);
    assert_eq!(runs(), 1);
    assert_eq!(world.unit("a")["state"], "landed");
    world.expect(&["doctor", "--strict"], 0);
}
