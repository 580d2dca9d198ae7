//! What lands is what was reviewed: a candidate that is not goes to a person, however it came about.

use crate::doctor::forge;
use crate::world::{World, file};

/// Two units that change the same file in places far from each other, so that git has to merge its text. The second
/// begins before the first has landed.
const AUTHOR: &str = r#"
set -eu
case "$PIPELINE_UNIT" in
a) sed -i 's/^line 3$/line 3 by a/' shared.txt ;;
b) until git -C 'REPO' show main:shared.txt | grep -q 'by a'; do sleep 0.05; done
   sed -i 's/^line 27$/line 27 by b/' shared.txt ;;
esac
echo '{"summary":"done"}' > "$PIPELINE_RESULT"
"#;

const TWO: &str = "  a: {title: 'feat: a', prompt: x, tier: trivial}
  b: {title: 'feat: b', prompt: x, tier: trivial}\n";

/// A git whose first merge comes out with a file more than it should.
const WRONG_ONCE: &str = r#"#!/bin/sh
for word; do
    [ "$word" = merge-tree ] && merge=yes
done
if [ -z "${merge:-}" ] || ! mkdir 'DIR/wrong' 2> /dev/null; then
    exec REAL "$@"
fi
tree=$(REAL "$@" | head -c 40)
unset $(env | grep -o '^GIT_[A-Z_]*')
cd 'REPO'
blob=$(REAL rev-parse HEAD:README)
{ REAL ls-tree "$tree"; printf '100644 blob %s\tsmuggled.txt\n' "$blob"; } | REAL mktree | tr '\n' '\000'
"#;

fn world() -> World {
    let world = World::new();
    let text: String = (1..30).map(|line| format!("line {line}\n")).collect();
    world.write("shared.txt", &text);
    world.write(
        "agents/author.sh",
        &AUTHOR.replace("REPO", world.repo.to_str().unwrap()),
    );
    world.write("rfc.yaml", &file("", "true", TWO));
    world.commit("chore: plan");
    world
}

fn real_git(world: &World) -> String {
    let said = world
        .program("sh")
        .args(["-c", "command -v git"])
        .output()
        .unwrap();
    String::from_utf8(said.stdout).unwrap().trim().to_owned()
}

#[test]
fn a_merge_that_brings_something_nobody_reviewed_is_never_verified_and_goes_to_a_person() {
    let mut world = world();
    let script = WRONG_ONCE
        .replace("REAL", &real_git(&world))
        .replace("DIR", world.base().join("count").to_str().unwrap())
        .replace("REPO", world.repo.to_str().unwrap());
    world.put_before_git(&script);
    let said = world.expect(&["run", "rfc.yaml"], 5);
    assert!(
        world.base().join("count/wrong").exists(),
        "git was asked to merge"
    );
    let b = world.unit("b");
    assert_eq!(
        (&b["state"], &b["reason"]),
        (&"evicted".into(), &"diff_not_preserved".into())
    );
    let told = "What would land is not what was reviewed, in smuggled.txt.";
    assert!(
        said.out.contains(told) || said.err.contains(told),
        "{}\n{}",
        said.out,
        said.err
    );
    assert!(world.events("entry_charged").is_empty(), "nobody is charged");
    assert_eq!(
        world.events("candidate_built").len(),
        1,
        "only the sound one is a candidate"
    );
    assert!(!world.read("shared.txt").contains("by b"));
    // A person brings it back, and it lands as it was reviewed.
    world.expect(&["retry", "b", "-m", "again"], 0);
    world.expect(&["run", "rfc.yaml"], 0);
    assert!(world.read("shared.txt").contains("by b"));
    assert!(!world.repo.join("smuggled.txt").exists());
    world.expect(&["doctor", "--strict"], 0);
}

#[test]
fn a_candidate_that_became_another_before_it_landed_does_not_land() {
    let world = World::new();
    world.write(
        "agents/verify.sh",
        "[ -e api.txt ] || exit 0\ntouch \"DIR/verifying\"\nuntil [ -e \"DIR/go\" ]; do sleep 0.05; done\n"
            .replace("DIR", world.base().join("count").to_str().unwrap())
            .as_str(),
    );
    let one = "  api: {title: 'feat: api', prompt: x, tier: trivial}\n";
    let verify = "queue: {verify: [{name: gate, run: \"sh agents/verify.sh\"}]}\nchecks:";
    world.write("rfc.yaml", &file("", "true", one).replace("checks:", verify));
    world.commit("chore: plan");
    let mut engine = world.start(&["run", "rfc.yaml"]);
    world.wait_until("the candidate is verified", || {
        world.base().join("count/verifying").exists()
    });
    engine.kill().unwrap();
    engine.wait().unwrap();
    world.assert_no_orphan();

    let built = world.events("candidate_built");
    let candidate = built[0]["candidate"]["commit"].as_str().unwrap().to_owned();
    let blob = world.git(&["rev-parse", "HEAD:README"]);
    let index = world.base().join("index");
    let forged_tree = |args: &[&str]| {
        let mut git = world.program("git");
        let output = git.args(args).env("GIT_INDEX_FILE", &index).output().unwrap();
        assert!(output.status.success(), "{args:?}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    forged_tree(&["read-tree", &candidate]);
    forged_tree(&[
        "update-index",
        "--add",
        "--cacheinfo",
        &format!("100644,{},smuggled.txt", blob.trim()),
    ]);
    let tree = forged_tree(&["write-tree"]);
    let tip = world.git(&["rev-parse", "main"]).trim().to_owned();
    let forged = world.git(&["commit-tree", "-m", "forged", "-p", &tip, &tree]);
    let old_tree = world.git(&["rev-parse", &format!("{candidate}^{{tree}}")]);
    forge(&world, |record| {
        let text = record.to_string();
        if text.contains("\"candidate_built\"") || text.contains("\"verify_started\"") {
            let text = text.replace(&candidate, forged.trim());
            let text = if text.contains("\"candidate_built\"") {
                // The head that was approved is what it was.
                let mut whole: serde_json::Value = serde_json::from_str(&text).unwrap();
                let head = &mut whole["candidate"]["units"][0]["head"];
                *head = candidate.clone().into();
                whole["candidate"]["tree"] = tree.clone().into();
                whole.to_string()
            } else {
                text.replace(old_tree.trim(), &tree)
            };
            *record = serde_json::from_str(&text).unwrap();
        }
    });
    std::fs::write(world.base().join("count/go"), "").unwrap();
    world.expect(&["run", "rfc.yaml"], 5);
    assert_eq!(
        world.git(&["rev-parse", "main"]).trim(),
        tip,
        "the target did not move"
    );
    let api = world.unit("api");
    assert_eq!(
        (&api["state"], &api["reason"]),
        (&"evicted".into(), &"diff_not_preserved".into())
    );
    assert!(world.events("land_intended").is_empty(), "not even intended");
}
