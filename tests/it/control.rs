//! The control socket of an engine: where it is, who may use it, and what comes of it when either side dies.

use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::PathBuf;
use std::process::Child;

use crate::world::{World, file};

/// A unit whose author waits, and one that is there to be steered.
const UNITS: &str = "  slow: {title: 'feat: slow', prompt: x, tier: trivial}\n  \
                     api: {title: 'feat: api', prompt: x, tier: gated}\n";

/// What the author of `slow` does beside its work; words in capitals are paths of the person's.
fn world(slow: &str) -> World {
    let world = World::new();
    let text = file("", "true", UNITS);
    let tier =
        "tiers:\n  gated: {implement: {agent: author}, approve: {by: human, needs: [implement]}}\nagents:";
    world.write("rfc.yaml", &text.replace("agents:", tier));
    let path = |name: &str| world.base().join(name).display().to_string();
    let slow = slow
        .replace("REPO", &path("repo"))
        .replace("SESSION", &path("runtime"))
        .replace("HOUSE", &path("home"))
        .replace("BINARY", env!("CARGO_BIN_EXE_pipeline"));
    let author =
        format!("echo work > \"$PIPELINE_UNIT.txt\"\n[ \"$PIPELINE_UNIT\" = slow ] || exit 0\n{slow}\n");
    world.write("agents/author.sh", &author);
    world.commit("chore: plan");
    world
}

const WAITS: &str = "until [ -e \"$COUNT_DIR/go\" ]; do sleep 0.02; done";

/// An engine that waits for an author.
fn engine(world: &World) -> Child {
    let engine = world.start(&["run", "rfc.yaml"]);
    world.wait_until("the gate", || world.unit_state("api") == "gated");
    engine
}

fn let_go(world: &World) {
    std::fs::write(world.base().join("count/go"), "").unwrap();
}

/// The sockets that are there.
fn sockets(world: &World) -> Vec<PathBuf> {
    let folder = world.base().join("runtime/pipeline");
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).collect()
}

#[test]
fn the_socket_is_its_users_alone_and_goes_with_the_engine() {
    let world = world(WAITS);
    let running = engine(&world);
    let [socket] = sockets(&world).try_into().unwrap();
    let mode = |path: &std::path::Path| path.metadata().unwrap().permissions().mode() & 0o777;
    assert!(socket.metadata().unwrap().file_type().is_socket());
    assert_eq!((mode(&socket), mode(socket.parent().unwrap())), (0o600, 0o700));
    let_go(&world);
    world.expect_end(running, 6);
    assert_eq!(sockets(&world), [] as [PathBuf; 0]);
}

#[test]
fn an_attempt_cannot_steer_however_far_it_gets_away() {
    let world = world(
        "\
cd REPO
export XDG_RUNTIME_DIR=SESSION HOME=HOUSE
until BINARY status --json | grep -q '\"gated\"'; do sleep 0.05; done
BINARY approve api > \"$COUNT_DIR/said\" 2>&1 && exit 1
git branch x HEAD~0 && BINARY queue add x --no-review --file rfc.yaml > \"$COUNT_DIR/added\" 2>&1 && exit 1
setsid -f env -i HOME=HOUSE XDG_RUNTIME_DIR=SESSION \"PATH=$PATH\" \"COUNT_DIR=$COUNT_DIR\" sh -c '
    sleep 0.2; BINARY cancel api > \"$COUNT_DIR/late\" 2>&1; echo $? > \"$COUNT_DIR/code\"'
until [ -s \"$COUNT_DIR/code\" ]; do sleep 0.02; done",
    );
    world.expect(&["run", "rfc.yaml"], 6);
    let said = |name: &str| std::fs::read_to_string(world.base().join("count").join(name)).unwrap();
    for name in ["said", "added", "late"] {
        let said = said(name);
        assert!(said.contains("an attempt of a run may not steer it"), "{said}");
    }
    assert_eq!(said("code"), "7\n");
    assert_eq!(world.unit_state("api"), "gated");
    assert_eq!(world.unit_state("slow"), "landed");
    assert_eq!(world.git(&["for-each-ref", "refs/pipeline/added"]), "");
}

#[test]
fn what_nobody_can_read_is_answered_and_who_says_nothing_holds_nobody_up() {
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;
    let world = world(WAITS);
    let running = engine(&world);
    let [socket] = sockets(&world).try_into().unwrap();
    let _silent: Vec<UnixStream> = (0..4).map(|_| UnixStream::connect(&socket).unwrap()).collect();
    let mut caller = UnixStream::connect(&socket).unwrap();
    caller.write_all(b"{\"nonsense\": ").unwrap();
    caller.shutdown(std::net::Shutdown::Write).unwrap();
    let mut answer = String::new();
    caller.read_to_string(&mut answer).unwrap();
    assert!(answer.contains("other_version"), "{answer}");
    world.expect(&["approve", "api"], 0);
    let_go(&world);
    world.expect_end(running, 0);
}

#[test]
fn a_person_repairs_and_retries_units_while_the_engine_is_at_work() {
    let world = World::new();
    world.write(
        "agents/author.sh",
        &format!(
            "case $PIPELINE_UNIT in\nslow) {WAITS} ;;\nagain) [ -e \"$COUNT_DIR/better\" ] || exit 1 ;;\nhand) exit 1 ;;\nesac\n\
             echo work > \"$PIPELINE_UNIT.txt\"\n"
        ),
    );
    let unit = |id: &str| format!("  {id}: {{title: 'feat: {id}', prompt: x, tier: trivial}}\n");
    let units = ["slow", "again", "hand", "gone"].map(unit).concat();
    world.write("rfc.yaml", &file("", "true", &units));
    world.commit("chore: plan");
    let running = world.start(&["run", "rfc.yaml"]);
    for unit in ["again", "hand"] {
        world.wait_until(unit, || world.unit_state(unit) == "evicted");
    }
    world.wait_until("gone", || world.unit_state("gone") == "landed");
    std::fs::write(world.base().join("count/better"), "").unwrap();
    let told = world.expect(&["retry", "again"], 0).out;
    assert!(
        told.contains("The engine that runs acts upon it. Next: pipeline status"),
        "{told}"
    );
    let folder = world.open_repair("hand");
    std::fs::write(folder.join("hand.txt"), "by hand\n").unwrap();
    world.git_in(&folder, &["add", "-A"]);
    world.git_in(&folder, &["commit", "-qm", "by hand"]);
    world.expect(&["resolve", "hand", "--done"], 0);
    for unit in ["again", "hand"] {
        world.wait_until(unit, || world.unit_state(unit) == "landed");
    }
    let refused = world.expect(&["discard", "gone"], 2).err;
    assert!(refused.contains("what has landed stays landed"), "{refused}");
    world.expect(&["discard", "slow"], 0);
    world.expect_end(running, 0);
    assert_eq!(world.read("hand.txt"), "by hand\n");
    world.expect(&["doctor", "--strict"], 0);
    world.assert_clean();
}

#[test]
fn what_an_engine_left_that_was_killed_is_in_nobodys_way() {
    let world = world(WAITS);
    let mut killed = engine(&world);
    killed.kill().unwrap();
    killed.wait().unwrap();
    assert_eq!(sockets(&world).len(), 1, "it had no time to take its socket away");
    let told = world.expect(&["approve", "api"], 0).out;
    assert!(told.contains("Next: pipeline run rfc.yaml"), "{told}");
    let running = world.start(&["run", "rfc.yaml"]);
    world.wait_until("api", || world.unit_state("api") == "landed");
    let told = world.expect(&["cancel", "slow"], 0).out;
    assert!(told.contains("The engine that runs acts upon it"), "{told}");
    world.expect_end(running, 0);
    assert_eq!(sockets(&world), [] as [PathBuf; 0]);
}

#[test]
fn an_engine_is_asked_for_its_own_run_only() {
    let world = world(WAITS);
    let other = file("", "false", "  x: {title: 'feat: x', prompt: x, tier: trivial}\n");
    world.write("other.yaml", &other.replace("name: trial", "name: other"));
    world.commit("chore: another plan");
    world.expect(&["run", "other.yaml"], 6);
    let running = engine(&world);
    let said = world.expect(&["pause", "--run", "other"], 7).err;
    assert!(
        said.contains("the engine that runs here works on run r-"),
        "{said}"
    );
    let_go(&world);
    world.expect_end(running, 6);
}

#[test]
fn without_a_directory_of_its_own_the_socket_goes_elsewhere_and_callers_find_it() {
    for too_long in [false, true] {
        let mut world = world(WAITS);
        let session = world.base().join("runtime");
        if too_long {
            let session = session.join("x".repeat(90));
            std::fs::create_dir(&session).unwrap();
            world.set("XDG_RUNTIME_DIR", session.to_str().unwrap());
        } else {
            let open = session.join("pipeline");
            std::fs::create_dir(&open).unwrap();
            std::fs::set_permissions(&open, std::fs::Permissions::from_mode(0o777)).unwrap();
        }
        let running = engine(&world);
        assert_eq!(sockets(&world), [] as [PathBuf; 0]);
        world.expect(&["approve", "api"], 0);
        let_go(&world);
        world.expect_end(running, 0);
    }
}

#[test]
fn an_engine_that_begins_with_a_long_fetch_is_waited_for() {
    let mut world = world(WAITS);
    let origin = world.base().join("origin.git").display().to_string();
    world.git(&["init", "-q", "--bare", &origin]);
    world.git(&["remote", "add", "origin", &origin]);
    world.git(&["push", "-qu", "origin", "main"]);
    let mut first = engine(&world);
    first.kill().unwrap();
    first.wait().unwrap();
    let path = std::env::var("PATH").unwrap();
    let fetching = world.base().join("count/fetching");
    world.put_before_git(&format!(
        "#!/bin/sh\nPATH='{path}'\ncase \" $* \" in *' ls-remote '*)\n touch '{0}'; while [ -e '{0}' ]; do sleep 0.02; done ;; esac\nexec git \"$@\"\n",
        fetching.display()
    ));
    let second = world.start(&["run", "rfc.yaml"]);
    world.wait_until("the fetch", || fetching.exists());
    let callers = [world.start(&["cancel", "slow"]), world.start(&["approve", "api"])];
    // Longer than one is waited for that has no socket.
    std::thread::sleep(std::time::Duration::from_secs(4));
    std::fs::remove_file(&fetching).unwrap();
    for caller in callers {
        let said = world.wait(caller).with_code(0, &["a call"]);
        assert!(
            said.out.contains("The engine that runs acts upon it"),
            "{}",
            said.out
        );
    }
    world.expect_end(second, 0);
}

/// Needs the failpoints of builds with debug assertions.
#[cfg(debug_assertions)]
#[test]
fn an_engine_that_is_killed_while_its_run_grows_has_it_grown_once() {
    for at in ["store.file:1", "store.file.rename:1"] {
        let mut world = world(WAITS);
        world.git(&["switch", "-qc", "x"]);
        world.write("x.txt", "x\n");
        world.commit("feat: x");
        world.git(&["switch", "-q", "main"]);
        // The first file that an engine writes which goes on with a run is the one with the units that were added.
        let mut first = engine(&world);
        first.kill().unwrap();
        first.wait().unwrap();
        std::fs::remove_dir_all(world.base().join("runtime/pipeline")).unwrap();
        world.set("PIPELINE_FAULT", &format!("kill@{at}"));
        let second = world.start(&["run", "rfc.yaml"]);
        world.unset("PIPELINE_FAULT");
        world.wait_until("the second engine", || !sockets(&world).is_empty());
        let told = world.expect(&["queue", "add", "x", "--no-review"], 0).out;
        assert!(told.contains("Next: pipeline run rfc.yaml"), "{at}: {told}");
        assert_eq!(world.wait(second).code, -1, "{at}");
        let said = world.pipeline(&["doctor", "--strict"]);
        let said = said.out + &said.err;
        assert!(said.contains("`pipeline run rfc.yaml` adds them"), "{at}: {said}");
        let_go(&world);
        world.expect(&["run", "rfc.yaml"], 6);
        assert_eq!(world.read("x.txt"), "x\n");
        world.expect(&["doctor", "--strict"], 0);
        assert_eq!(world.events("landed").len(), 2, "{at}");
    }
}
