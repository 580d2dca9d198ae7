//! A target with an upstream is fetched before a run: behind is brought forward, diverged is told, and nobody is asked
//! for anything.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::PathBuf;

use crate::world::{Said, World, write_program};

const UNIT: &str = "  one: {title: 'feat: one', prompt: x, tier: trivial}\n";

/// A world whose `main` follows that of a bare repository beside it, which is the same by now.
fn ready() -> World {
    let world = World::new();
    world.file("", UNIT);
    world.write("shared.txt", "before\n");
    world.commit("chore: plan");
    let remote = remote(&world);
    world.git(&["init", "-q", "--bare", "-b", "main", &remote]);
    world.git(&["remote", "add", "origin", &remote]);
    world.git(&["push", "-q", "-u", "origin", "main"]);
    world
}

fn remote(world: &World) -> String {
    path(world, "remote.git").display().to_string()
}

fn path(world: &World, name: &str) -> PathBuf {
    world.base().join(name)
}

/// Somebody else pushes a change of `shared.txt` and a new file; returns the commit.
fn push_from_elsewhere(world: &World) -> String {
    let other = path(world, "other");
    if !other.exists() {
        world.git(&["clone", "-q", &remote(world), other.to_str().unwrap()]);
    }
    std::fs::write(other.join("shared.txt"), "after\n").unwrap();
    std::fs::write(other.join("new.txt"), "new\n").unwrap();
    world.git_in(&other, &["add", "-A"]);
    let by = ["-c", "user.name=Bob", "-c", "user.email=bob@example.org"];
    world.git_in(&other, &[&by[..], &["commit", "-qm", "feat: elsewhere"]].concat());
    world.git_in(&other, &["push", "-q", "origin", "HEAD:main"]);
    world.git_in(&other, &["rev-parse", "HEAD"]).trim().to_owned()
}

fn commit_here(world: &World) {
    world.write("here.txt", "here\n");
    world.commit("feat: here");
}

fn contains(world: &World, commit: &str, branch: &str) -> bool {
    let list = world.git(&["branch", "--format=%(refname:short)", "--contains", commit]);
    list.lines().any(|name| name == branch)
}

fn assert_landed_on(world: &World, commit: &str) {
    assert_eq!(world.unit("one")["state"], "landed");
    assert!(contains(world, commit, "main"));
    assert_eq!(world.git(&["status", "--porcelain"]), "");
    world.expect(&["doctor", "--strict"], 0);
}

fn tip(world: &World, name: &str) -> String {
    world.git(&["rev-parse", name]).trim().to_owned()
}

#[test]
fn a_target_that_is_behind_is_brought_forward_with_its_checkout() {
    let world = ready();
    let commit = push_from_elsewhere(&world);
    let said = world.expect(&["run", "rfc.yaml"], 0);
    assert!(
        said.err.contains("was behind origin/main and is brought forward"),
        "{}",
        said.err
    );
    assert_eq!(
        (world.read("shared.txt"), world.read("new.txt")),
        ("after\n".into(), "new\n".into())
    );
    assert_landed_on(&world, &commit);
    assert_eq!(
        world.status()["run"]["base"],
        commit.as_str(),
        "the run began on what was fetched"
    );
    assert_eq!(tip(&world, "origin/main"), commit, "as after any fetch");
    assert_eq!(world.git(&["for-each-ref", "refs/pipeline/fetched"]), "");
}

#[test]
fn a_target_that_is_not_checked_out_is_moved_alone() {
    let world = ready();
    world.git(&["switch", "-q", "-c", "mine"]);
    let text = world
        .read("rfc.yaml")
        .replace("name: trial\n", "name: trial\ntarget: main\n");
    world.write("rfc.yaml", &text);
    let commit = push_from_elsewhere(&world);
    world.expect(&["run", "rfc.yaml"], 0);
    assert!(contains(&world, &commit, "main"));
    assert_eq!(world.read("shared.txt"), "before\n");
}

#[test]
fn a_persons_work_on_a_path_that_would_be_written_is_not_touched() {
    let world = ready();
    let before = tip(&world, "main");
    push_from_elsewhere(&world);
    world.write("shared.txt", "mine\n");
    let said = world.expect(&["run", "rfc.yaml"], 6);
    assert!(
        said.err.contains("shared.txt") && said.err.contains("stash"),
        "{}",
        said.err
    );
    assert_eq!(
        (tip(&world, "main"), world.read("shared.txt")),
        (before, "mine\n".into())
    );
    assert_eq!(world.calls("one"), Vec::<String>::new(), "nothing was started");
    let words = said.err.split_whitespace().collect::<Vec<_>>().join(" ");
    let command = words
        .split('`')
        .find(|part| part.starts_with("git "))
        .unwrap_or_default();
    let stash = world
        .program("sh")
        .current_dir("/")
        .args(["-euc", command])
        .status();
    assert!(stash.unwrap().success(), "{command}");
    assert_eq!(world.read("shared.txt"), "before\n");
    world.write("README", "work elsewhere\n");
    world.expect(&["run", "rfc.yaml"], 0);
    assert_eq!(world.read("README"), "work elsewhere\n");
}

#[test]
fn a_target_that_git_cannot_move_is_told_with_its_words() {
    let world = ready();
    let before = tip(&world, "main");
    push_from_elsewhere(&world);
    let lock = world.repo.join(".git/refs/heads/main.lock");
    std::fs::write(&lock, "").unwrap();
    let said = world.expect(&["run", "rfc.yaml"], 8);
    assert!(
        said.err.contains("push_rejected") && said.err.contains("main.lock"),
        "{}",
        said.err
    );
    assert_eq!(tip(&world, "main"), before);
    std::fs::remove_file(&lock).unwrap();
    world.expect(&["run", "rfc.yaml"], 0);
}

#[test]
fn a_target_that_is_ahead_is_as_it_is() {
    let world = ready();
    commit_here(&world);
    let here = tip(&world, "main");
    let said = world.expect(&["run", "rfc.yaml"], 0);
    assert!(!said.err.contains("origin"), "{}", said.err);
    assert_eq!(world.status()["run"]["base"], here.as_str());
}

#[test]
fn a_diverged_target_is_told_with_the_command_that_mends_it() {
    let world = ready();
    let commit = push_from_elsewhere(&world);
    commit_here(&world);
    let said = world.expect(&["run", "rfc.yaml"], 8);
    assert!(
        said.err.contains("target_diverged") && said.err.contains("--no-fetch"),
        "{}",
        said.err
    );
    let words = said.err.replace(['\n', '│'], " ");
    let command = words.split('`').find(|word| word.starts_with("git -C")).unwrap();
    let merge: Vec<&str> = command.split_whitespace().skip(3).collect();
    assert_eq!(merge, ["merge", "origin/main"]);
    world.git(&merge);
    world.expect(&["run", "rfc.yaml"], 0);
    assert_landed_on(&world, &commit);
}

#[test]
fn no_fetch_goes_on_with_the_target_as_it_is() {
    let world = ready();
    let commit = push_from_elsewhere(&world);
    commit_here(&world);
    world.expect(&["run", "rfc.yaml", "--no-fetch"], 0);
    assert_eq!(world.unit("one")["state"], "landed");
    let mut look = world.program("git");
    let looked = look.args(["cat-file", "-e", &commit]).output().unwrap();
    assert!(!looked.status.success(), "nothing was fetched");
}

fn assert_not_fetched(said: &Said) {
    let words: Vec<&str> = said.err.split(|c: char| c.is_whitespace() || c == '│').collect();
    assert!(words.join(" ").contains("cannot be fetched"), "{}", said.err);
    assert!(said.err.contains("--no-fetch"), "{}", said.err);
}

#[test]
fn a_remote_that_cannot_be_reached_is_an_error_before_anything_starts_and_a_finished_run_needs_none() {
    let world = ready();
    let (remote, aside) = (remote(&world), path(&world, "aside"));
    std::fs::rename(&remote, &aside).unwrap();
    assert_not_fetched(&world.expect(&["run", "rfc.yaml"], 8));
    world.expect(&["status"], 4);
    std::fs::rename(&aside, &remote).unwrap();
    world.expect(&["run", "rfc.yaml"], 0);
    std::fs::rename(&remote, &aside).unwrap();
    world.expect(&["run", "rfc.yaml"], 0);
}

#[test]
fn an_upstream_branch_that_is_gone_holds_nobody_up() {
    let world = ready();
    world.git(&["--git-dir", &remote(&world), "branch", "-m", "main", "other"]);
    let said = world.expect(&["run", "rfc.yaml"], 0);
    assert!(said.err.contains("does not exist there"), "{}", said.err);
    assert_eq!(world.unit("one")["state"], "landed");
}

#[test]
fn what_is_no_upstream_to_fetch_is_not_asked() {
    let nowhere = "/nonexistent/remote.git";
    for settings in [
        // No upstream, though there is a remote.
        vec![("remote.origin.url", nowhere), ("branch.main.merge", "")],
        // A branch of this repository.
        vec![
            ("branch.main.remote", "."),
            ("branch.main.merge", "refs/heads/mine"),
        ],
        // A remote that is only pushed to.
        vec![("remote.out.pushurl", nowhere), ("branch.main.remote", "out")],
    ] {
        let world = ready();
        world.git(&["branch", "mine"]);
        for (key, value) in &settings {
            world.git(&["config", key, value]);
        }
        let said = world.expect(&["run", "rfc.yaml"], 0);
        assert!(!said.err.contains("fetch"), "{settings:?}: {}", said.err);
    }
}

#[test]
fn a_shallow_clone_by_url_is_brought_forward() {
    let source = ready();
    let url = format!("file://{}", remote(&source));
    let world = World::new();
    std::fs::remove_dir_all(&world.repo).unwrap();
    let repo = world.repo.display().to_string();
    world.git_in(world.base(), &["clone", "-q", "--depth=1", &url, &repo]);
    world.git(&["config", "user.name", "Ada"]);
    world.git(&["config", "user.email", "ada@example.org"]);
    assert_eq!(
        world.git(&["rev-parse", "--is-shallow-repository"]).trim(),
        "true"
    );
    push_from_elsewhere(&source);
    let commit = push_from_elsewhere_again(&source);
    world.expect(&["run", "rfc.yaml"], 0);
    assert_landed_on(&world, &commit);
}

/// A second commit, so that one lies between what is here and what is there.
fn push_from_elsewhere_again(world: &World) -> String {
    let other = path(world, "other");
    std::fs::write(other.join("again.txt"), "again\n").unwrap();
    world.git_in(&other, &["add", "-A"]);
    let by = ["-c", "user.name=Bob", "-c", "user.email=bob@example.org"];
    world.git_in(&other, &[&by[..], &["commit", "-qm", "feat: again"]].concat());
    world.git_in(&other, &["push", "-q", "origin", "HEAD:main"]);
    world.git_in(&other, &["rev-parse", "HEAD"]).trim().to_owned()
}

/// A program that leaves a trace of its arguments, and fails.
fn canary(world: &World, name: &str) -> (String, PathBuf) {
    let (program, trace) = (path(world, name), path(world, &format!("{name}.trace")));
    let script = format!("#!/bin/sh\necho \"$@\" >> {}\nexit 1\n", trace.display());
    write_program(&program, &script);
    (program.display().to_string(), trace)
}

#[test]
fn ssh_asks_nobody_for_a_password() {
    let mut world = ready();
    let (_, trace) = canary(&world, "ssh");
    let paths = format!("{}:{}", world.base().display(), std::env::var("PATH").unwrap());
    world.set("PATH", &paths);
    world.git(&["remote", "set-url", "origin", "ssh://example.invalid/x.git"]);
    assert_not_fetched(&world.expect(&["run", "rfc.yaml"], 8));
    let called = std::fs::read_to_string(trace).unwrap();
    assert!(called.contains("-o BatchMode=yes"), "{called}");
}

#[test]
fn a_host_that_wants_a_password_gets_it_from_the_persons_own_helper_or_not_at_all() {
    let world = ready();
    let host = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/x.git", host.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in host.incoming() {
            let mut stream = stream.unwrap();
            let _ = stream.read(&mut [0; 4096]);
            let answer = "HTTP/1.1 401 No\r\nWWW-Authenticate: Basic realm=\"x\"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    world.git(&["remote", "set-url", "origin", &url]);
    let (of_repository, foul) = canary(&world, "of-repository");
    let (of_person, asked) = canary(&world, "of-person");
    world.git(&["config", "credential.helper", &of_repository]);
    world.git(&["config", &format!("credential.{url}.helper"), &of_repository]);
    assert_not_fetched(&world.expect(&["run", "rfc.yaml"], 8));
    world.git(&["config", "--global", "credential.helper", &of_person]);
    assert_not_fetched(&world.expect(&["run", "rfc.yaml"], 8));
    assert!(std::fs::read_to_string(asked).unwrap().starts_with("get"));
    assert!(
        !foul.exists(),
        "an agent could have written the repository's configuration"
    );
}

#[test]
fn a_kill_anywhere_on_the_way_forward_is_finished_by_the_next_run() {
    for point in [
        "git.fetch:1",
        "git.forward.intent:1",
        "git.update-ref.target:1",
        "follow.stage:1",
        "git.update-index:1",
        "follow.place:1",
        "follow.place:2",
        "git.forward.done:1",
    ] {
        let world = ready();
        let commit = push_from_elsewhere(&world);
        let fault = format!("kill@{point}");
        let said = world.pipeline_with(&["run", "rfc.yaml"], &[("PIPELINE_FAULT", &fault)]);
        assert_eq!(said.code, -1, "killed at {point}: {}", said.err);
        assert_eq!(
            world.calls("one"),
            Vec::<String>::new(),
            "killed at {point} on the way forward"
        );
        let is_open = world.repo.join(".git/pipeline/forward.json").exists();
        let strict = world.pipeline(&["doctor", "--strict"]);
        assert_eq!(
            strict.out.contains("forward_open"),
            is_open,
            "killed at {point}: {}",
            strict.out
        );
        world.expect(&["run", "rfc.yaml"], 0);
        assert_landed_on(&world, &commit);
        assert!(!world.repo.join(".git/pipeline/forward.json").exists());
    }
}

#[test]
fn a_landing_that_was_cut_off_is_settled_before_the_target_is_moved() {
    let world = ready();
    let said = world.pipeline_with(&["run", "rfc.yaml"], &[("PIPELINE_FAULT", "kill@follow.place:1")]);
    assert_eq!(said.code, -1, "{}", said.err);
    assert!(world.git(&["log", "--format=%s", "main"]).contains("feat: one"));
    assert_ne!(
        world.git(&["status", "--porcelain"]),
        "",
        "the checkout lacks what landed"
    );
    world.git(&["push", "-q", "origin", "main"]);
    let commit = push_from_elsewhere(&world);
    world.expect(&["run", "rfc.yaml"], 0);
    assert_landed_on(&world, &commit);
}
