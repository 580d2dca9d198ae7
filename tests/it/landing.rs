//! The whole path: from a pipeline file to verified commits on the target.

use crate::world::World;

const THREE: &str = "  \
  api:
    title: 'feat(settings): serve settings'
    prompt: serve them
    needs: [schema]
  schema:
    title: 'feat(settings): add the table'
    prompt: add it
  docs:
    title: 'docs: explain settings'
    prompt: explain them
";

#[test]
fn three_units_land_in_dependency_order_and_nothing_is_left_behind() {
    let world = World::new();
    world.file("", THREE);
    world.commit("chore: plan");
    let said = world.expect(&["run", "rfc.yaml"], 0);
    assert!(said.out.contains("LANDED"), "{}", said.out);

    let subjects = world.git(&["log", "--format=%s", "-3"]);
    let place = |subject: &str| {
        subjects
            .lines()
            .position(|line| line == subject)
            .unwrap_or_else(|| panic!("{subjects}"))
    };
    assert!(place("feat(settings): serve settings") < place("feat(settings): add the table"));
    place("docs: explain settings");
    let trailers = world.git(&[
        "log",
        "-3",
        "--format=%(trailers:key=Pipeline-Unit,valueonly,separator=%x2C)",
    ]);
    let mut units: Vec<_> = trailers.lines().collect();
    units.sort_unstable();
    assert_eq!(units, ["api", "docs", "schema"]);
    let runs = world.git(&[
        "log",
        "-3",
        "--format=%(trailers:key=Pipeline-Run,valueonly,separator=%x2C)",
    ]);
    assert!(runs.lines().all(|run| run.starts_with("r-")), "{runs}");

    assert_eq!(world.git(&["status", "--porcelain"]), "");
    assert_eq!(world.read("api.txt"), "work of api\n");
    world.assert_clean();

    let status = world.status();
    assert_eq!(status["schema"], 1);
    assert_eq!(status["run"]["state"], "finished");
    assert_eq!(status["run"]["target"], "main");
    assert_eq!(
        status["run"]["head"].as_str().unwrap(),
        world.git(&["rev-parse", "main"]).trim()
    );
    for (state, count) in [("landed", 3), ("evicted", 0), ("blocked", 0)] {
        assert_eq!(status["counts"][state], count);
    }
    for unit in status["units"].as_array().unwrap() {
        assert_eq!(unit["state"], "landed");
        assert!(unit["landed_as"].is_string() && unit["head"].is_string());
        for key in [
            "id", "title", "tier", "reason", "needs", "round", "branch", "cost_usd", "stages", "queue",
            "bundle",
        ] {
            assert!(unit.get(key).is_some(), "{key} is missing in {unit}");
        }
    }
}

#[test]
fn the_same_command_again_says_that_nothing_is_to_do() {
    let world = World::new();
    world.file("", THREE);
    world.commit("chore: plan");
    world.expect(&["plan", "rfc.yaml", "--detailed-exitcode"], 12);
    world.expect(&["run", "rfc.yaml"], 0);
    world.expect(&["plan", "rfc.yaml", "--detailed-exitcode"], 0);
    let tip = world.git(&["rev-parse", "main"]);
    let calls = world.calls("api");
    let said = world.expect(&["run", "rfc.yaml"], 0);
    assert!(said.err.contains("finished"), "{}", said.err);
    assert_eq!(world.git(&["rev-parse", "main"]), tip);
    assert_eq!(world.calls("api"), calls);
}

#[test]
fn a_blocking_finding_is_fixed_and_reviewed_again() {
    let world = World::new();
    world.file("90,90", "  api: {title: 'feat: api', prompt: do it}\n");
    world.commit("chore: plan");
    world.expect(&["run", "rfc.yaml"], 0);
    let calls = world.calls("api");
    let count = |stage: &str| calls.iter().filter(|call| call.starts_with(stage)).count();
    assert_eq!((count("fix"), count("review")), (2, 3), "{calls:?}");
    assert_eq!(world.read("api.txt"), "work of api fixed fixed\n");
    assert_eq!(
        world.git(&["rev-list", "--count", "HEAD"]).trim(),
        "3",
        "one commit for the unit"
    );
}

#[test]
fn a_finding_below_the_confidence_limit_blocks_nothing() {
    let world = World::new();
    world.file("60", "  api: {title: 'feat: api', prompt: do it}\n");
    world.commit("chore: plan");
    world.expect(&["run", "rfc.yaml"], 0);
    assert!(world.calls("api").iter().all(|call| !call.starts_with("fix")));
    assert_eq!(world.unit("api")["state"], "landed");
}

#[test]
fn blocking_findings_after_the_last_fix_evict_the_unit_and_block_its_dependents() {
    let world = World::new();
    let reviewer = world.read("agents/reviewer.sh").replace(
        "confidence=$(",
        "[ \"$PIPELINE_UNIT\" = bad ] || set -- \"\"\nconfidence=$(",
    );
    // A new finding each round, on the line every fix touches: nothing ends the rounds early.
    let reviewer = reviewer
        .replace("too plain", "flaw $PIPELINE_ROUND")
        .replace("state=persists", "state=resolved")
        .replace("[ -n \"$open\" ] && findings=\"\"", ":");
    world.write("agents/reviewer.sh", &reviewer);
    world.file(
        "90,90,90,90",
        "  bad: {title: 'feat: bad', prompt: x}\n  after: {title: 'feat: after', prompt: x, needs: [bad]}\n  good: {title: 'feat: good', prompt: x}\n",
    );
    world.commit("chore: plan");
    let said = world.expect(&["run", "rfc.yaml"], 5);
    assert!(said.out.contains("EVICTED"), "{}", said.out);
    let bad = world.unit("bad");
    assert_eq!(
        (bad["state"].as_str(), bad["reason"].as_str()),
        (Some("evicted"), Some("rounds_exhausted"))
    );
    assert_eq!(world.unit("after")["state"], "blocked");
    assert_eq!(world.unit("good")["state"], "landed");
    assert_eq!(
        world
            .calls("bad")
            .iter()
            .filter(|call| call.starts_with("fix"))
            .count(),
        3
    );
    let bundle = bad["bundle"].as_str().expect("a bundle is named");
    let told = std::fs::read_to_string(std::path::Path::new(bundle).join("bundle.md")).unwrap();
    assert!(
        told.contains("rounds_exhausted") && told.contains("flaw"),
        "{told}"
    );
    let json = std::fs::read_to_string(std::path::Path::new(bundle).join("bundle.json")).unwrap();
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["reason"], "rounds_exhausted");
    world.expect(&["run", "rfc.yaml"], 5);
    world.assert_clean();
}

#[test]
fn what_an_author_writes_outside_the_diff_never_reaches_the_reviewer() {
    let world = World::new();
    world.write(
        "agents/author.sh",
        r#"
set -eu
# Put together here, so that the script itself, which is in the tree, does not hold it.
C=CAN; C="${C}ARY"
echo "INDIFF" > "$PIPELINE_UNIT.txt"
git add -A && git -c user.name=x -c user.email=x@x commit -qm "$C in a message"
git branch "$C-branch"
echo $C > untracked.log
export "$C=1"
echo "$C on standard output"; echo "$C on standard error" >&2
echo $C > "$TMPDIR/left"; echo $C > "$PIPELINE_CONTEXT/../left" 2>/dev/null || true
echo "{\"summary\":\"$C in a summary\",\"testing_notes\":\"$C\"}" > "$PIPELINE_RESULT"
"#,
    );
    world.write(".gitignore", "*.log\n");
    let seen = world.base().join("seen");
    std::fs::create_dir(&seen).unwrap();
    world.write(
        "agents/reviewer.sh",
        &format!(
            r#"
cat > "{seen}/prompt"
env > "{seen}/env"
cp -r "$PIPELINE_CONTEXT" "{seen}/context"
cp -r . "{seen}/tree"
git log --all -p > "{seen}/log"
git stash list >> "{seen}/log"; git for-each-ref >> "{seen}/log"
ls -R "$PIPELINE_WORKTREE/.." > "{seen}/around"
if [ "$PIPELINE_KIND" = approve ]; then echo '{{"decision":"approve","reason":"x"}}' > "$PIPELINE_RESULT"
else echo '{{"verdict":"approve","findings":[],"ledger":[]}}' > "$PIPELINE_RESULT"; fi
"#,
            seen = seen.display()
        ),
    );
    world.file("", "  api: {title: 'feat: api', prompt: do it}\n");
    let file = world.read("rfc.yaml").replace("agents:", "tiers:\n  seen: {implement: {agent: author}, review: {agent: reviewer, needs: [implement]}, approve: {by: checks, needs: [review]}}\ndefaults: {tier: seen}\nagents:");
    world.write("rfc.yaml", &file);
    world.commit("chore: plan");
    world.expect(&["run", "rfc.yaml"], 0);
    let hits = world_grep("CANARY", &seen);
    assert!(hits.is_empty(), "the reviewer saw the canary in {hits:?}");
    let hits = world_grep("INDIFF", &seen);
    assert!(
        hits.iter()
            .any(|path| path.ends_with("prompt") || path.contains("diff.patch")),
        "{hits:?}"
    );
    let log = std::fs::read_to_string(seen.join("log")).unwrap();
    assert_eq!(
        log.lines().filter(|line| line.starts_with("commit ")).count(),
        2,
        "base and head: {log}"
    );
}

fn world_grep(word: &str, folder: &std::path::Path) -> Vec<String> {
    let output = std::process::Command::new("grep")
        .args(["-rla", word])
        .arg(folder)
        .output()
        .unwrap();
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .map(str::to_owned)
        .collect()
}

#[test]
fn eight_units_in_parallel_know_no_lock_errors_and_no_leak() {
    for _ in 0..2 {
        let world = World::new();
        let units: String = (1..=8)
            .map(|n| format!("  u{n}: {{title: 'feat: u{n}', prompt: x, tier: trivial}}\n"))
            .collect();
        world.file("", &units);
        world.commit("chore: plan");
        let said = world.expect(&["run", "rfc.yaml"], 0);
        assert!(
            !said.err.contains("lock") && !said.out.contains(".lock"),
            "{}{}",
            said.out,
            said.err
        );
        assert_eq!(world.status()["counts"]["landed"], 8);
        world.assert_clean();
    }
}

#[test]
fn a_conflict_evicts_the_later_unit_with_the_hunks_and_the_unit_on_the_other_side() {
    let (world, landed, evicted) = World::with_conflict();
    let evicted = world.unit(&evicted);
    assert_eq!(evicted["reason"], "conflict_target");
    let bundle = std::path::Path::new(evicted["bundle"].as_str().unwrap()).join("bundle.md");
    let told = std::fs::read_to_string(bundle).unwrap();
    assert!(
        told.contains("shared.txt") && told.contains(&landed) && told.contains("<<<<<<<"),
        "{told}"
    );
}

#[test]
fn an_index_that_another_git_holds_for_a_moment_is_waited_for() {
    let world = World::new();
    world.file("", "  api: {title: 'feat: api', prompt: do it, tier: trivial}\n");
    world.commit("chore: plan");
    let lock = world.repo.join(".git/index.lock");
    std::fs::write(&lock, "").unwrap();
    let engine = world.start(&["run", "rfc.yaml"]);
    world.wait_until("the unit to be verified", || world.unit_state("api") == "queued");
    std::fs::remove_file(&lock).unwrap();
    assert!(engine.wait_with_output().unwrap().status.success());
    assert_eq!(world.git(&["status", "--porcelain"]), "");
    assert_eq!(world.read("api.txt"), "work of api\n");
}

#[test]
fn a_review_is_shown_by_what_it_found_and_not_by_what_it_says() {
    let world = World::new();
    // It says approve, and reports what blocks.
    let reviewer = world
        .read("agents/reviewer.sh")
        .replace("verdict=request_changes", "verdict=approve");
    world.write("agents/reviewer.sh", &reviewer);
    world.file("90,", "  api: {title: 'feat: api', prompt: do it}\n");
    world.commit("chore: plan");
    let said = world.expect(&["run", "rfc.yaml"], 0);
    assert!(
        said.out.contains("1 finding, though it said approve → fix 1/3"),
        "{}",
        said.out
    );
}
