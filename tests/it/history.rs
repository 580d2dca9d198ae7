//! A real history: two hundred branches go through the queue, and what lands is compared, tree for tree, with what a person
//! would land who rebases, tests and fast-forwards one after another with plain git.

mod making;

use std::path::Path;
use std::process::Stdio;
use std::time::Instant;

use crate::tally::tally;
use crate::world::World;

const BRANCHES: usize = 200;
/// Another history is made by setting this variable.
const SEED_VARIABLE: &str = "PIPELINE_HISTORY_SEED";
const SEED: u64 = 20_261_124;

/// The tests of the history: some branches break them, and some do so only together with another.
const CHECK: &str = "! test -d broken && ! { test -d left && test -d right; }";

fn name(number: usize) -> String {
    format!("topic/{number:03}")
}

/// A world with the history in it; it is at the tip of `main`.
fn world_of(seed: u64) -> World {
    let world = World::in_memory();
    let units = "  nothing: {title: 'feat: nothing', from_branch: main}\n";
    let file = crate::world::file("", CHECK, units).replace("parallel: 8", "parallel: 4");
    world.write("rfc.yaml", &file);
    world.commit("chore: plan");
    let root = world.git(&["rev-parse", "main"]);
    let stream = making::history(seed, root.trim(), BRANCHES, name);
    let input = world.base().join("history");
    std::fs::write(&input, stream).unwrap();
    let mut import = world.program("git");
    import
        .args(["fast-import", "--quiet"])
        .stdin(std::fs::File::open(&input).unwrap());
    assert!(import.status().unwrap().success());
    world.git(&["reset", "-q", "--hard", "main"]);
    world
}

/// A branch that landed, and the tree of the target then.
type Landing = (String, String);

/// What a person lands who takes one branch after the other; and how many would not go.
fn by_hand(world: &World, clone: &Path) -> (Vec<Landing>, usize, usize) {
    let git = |args: &[&str]| {
        let mut git = world.program("git");
        git.current_dir(clone)
            .args(args)
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        git.status().unwrap().success()
    };
    let tree = |of: &str| world.git_in(clone, &["rev-parse", of]).trim().to_owned();
    let (mut landed, mut conflicts, mut broken) = (Vec::new(), 0, 0);
    for number in 0..BRANCHES {
        let branch = name(number);
        assert!(git(&["switch", "-q", "-C", "work", &format!("origin/{branch}")]));
        if !git(&["rebase", "-q", "--no-keep-empty", "main"]) {
            conflicts += 1;
            assert!(git(&["rebase", "--abort"]));
            continue;
        }
        if tree("work") == tree("main") {
            continue;
        }
        let mut check = world.program("sh");
        if !check
            .current_dir(clone)
            .args(["-c", CHECK])
            .status()
            .unwrap()
            .success()
        {
            broken += 1;
            continue;
        }
        assert!(git(&["branch", "-q", "-f", "main", "work"]));
        landed.push((branch, tree("work^{tree}")));
    }
    (landed, conflicts, broken)
}

/// What landed through the queue, in order.
fn through_the_queue(world: &World) -> Vec<Landing> {
    let status = world.status();
    let units = status["units"].as_array().unwrap();
    let branch_of = |id: &str| {
        let unit = units.iter().find(|unit| unit["id"] == id).unwrap();
        unit["branch"].as_str().unwrap().to_owned()
    };
    let mut landed = Vec::new();
    for event in world.events("landed") {
        let [unit] = event["units"].as_array().unwrap().as_slice() else {
            panic!("one at a time: {event}")
        };
        landed.push((
            branch_of(unit["unit"].as_str().unwrap()),
            event["to"].as_str().unwrap().to_owned(),
        ));
    }
    let commits = landed.iter().map(|(_, to)| format!("{to}^{{tree}}"));
    let commits: Vec<String> = commits.collect();
    let asked: Vec<&str> = ["rev-parse"]
        .into_iter()
        .chain(commits.iter().map(String::as_str))
        .collect();
    let trees = world.git(&asked);
    let branches = landed.into_iter().map(|(branch, _)| branch);
    branches.zip(trees.lines().map(str::to_owned)).collect()
}

#[test]
fn two_hundred_branches_land_as_with_plain_git_tree_for_tree() {
    let seed = std::env::var(SEED_VARIABLE).map_or(SEED, |text| text.parse().unwrap());
    println!("{SEED_VARIABLE}={seed}");
    let world = world_of(seed);
    let clone = world.base().join("clone");
    world.git(&["clone", "-q", ".", clone.to_str().unwrap()]);
    world.git_in(&clone, &["config", "user.name", "Ada"]);
    world.git_in(&clone, &["config", "user.email", "ada@example.org"]);

    let began = Instant::now();
    let (expected, conflicts, broken) = by_hand(&world, &clone);
    let hand = began.elapsed();
    assert!(
        (10..=60).contains(&conflicts),
        "{conflicts} of {BRANCHES} conflict"
    );
    assert!(broken >= 5, "{broken} of {BRANCHES} break the tests");

    let began = Instant::now();
    let names: Vec<String> = (0..BRANCHES).map(name).collect();
    let add = ["queue", "add", "--no-review", "--file", "rfc.yaml"];
    let add: Vec<&str> = add.into_iter().chain(names.iter().map(String::as_str)).collect();
    let refs = world.git(&["for-each-ref", "refs/heads/topic"]);
    world.expect(&add, 0);
    let added = began.elapsed();
    world.expect(&["run", "rfc.yaml"], 5);
    let queue = began.elapsed();

    let landed = through_the_queue(&world);
    let first = landed
        .iter()
        .zip(&expected)
        .position(|(ours, theirs)| ours != theirs);
    let told = first.map(|at| world.unit(&expected[at].0.replace('/', "-")));
    assert!(
        first.is_none() && landed.len() == expected.len(),
        "{} landed, {} by hand; the first that differ: {:?}; {told:?}",
        landed.len(),
        expected.len(),
        first.map(|at| (&landed[at], &expected[at]))
    );
    assert_eq!(
        world.git(&["for-each-ref", "refs/heads/topic"]),
        refs,
        "no branch was moved"
    );
    let evicted = |reason: &str| {
        let status = world.status();
        let units = status["units"].as_array().unwrap().iter();
        units.filter(|unit| unit["reason"] == reason).count()
    };
    assert_eq!(
        (evicted("conflict_target"), evicted("verify_failed")),
        (conflicts, broken)
    );
    tally(&format!(
        "real history: {} of {BRANCHES} branches landed tree for tree, {conflicts} conflicts, {broken} broken; {:.1} s through \
         the queue ({:.1} s of it to add them), {:.1} s with git rebase one after another",
        landed.len(),
        queue.as_secs_f64(),
        added.as_secs_f64(),
        hand.as_secs_f64()
    ));
    world.expect(&["doctor", "--strict"], 0);
    world.assert_clean();
}
