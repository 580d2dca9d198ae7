//! Authors and agents that try to get out, to stay, or to judge themselves; and what is cleaned up after them.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use pipeline::event::CheckOutcome;
use pipeline::id::Oid;
use pipeline::port::{Activity, Ended, Launcher, Task};
use pipeline::spec::Role;
use pipeline::workspace::{Leftover, clean};
use tokio::sync::mpsc;

use super::{RUN, World, agent, check, git, step, workspace};

#[tokio::test]
async fn an_author_cannot_replace_its_own_reviewer() {
    let world = World::new();
    let commit = world.commit("scripts/review.sh", "#!/bin/sh\necho LGTM\n");
    let mut order = world.order(Role::Judge, agent(&["scripts/review.sh", "file"]), workspace());
    order.commit = commit.clone();
    let answer = world.launch(order).await;
    assert_eq!(answer.ended, Ended::Exited(0), "{answer:?}");
    assert_eq!(answer.tail, "the true reviewer\nbase\n");
    // As an argument of a program on the PATH it is the base's file too.
    let mut order = world.order(
        Role::Judge,
        agent(&["sh", "./scripts/review.sh", "-"]),
        workspace(),
    );
    order.commit = commit;
    assert_eq!(world.launch(order).await.tail, "the true reviewer\ndo it");
}

/// A judge that is told to run this on the author's commit is not started.
async fn assert_not_started(world: &World, commit: &Oid, command: &[&str]) {
    let mut order = world.order(Role::Judge, agent(command), workspace());
    order.commit = commit.clone();
    let answer = world.launch(order).await;
    assert!(
        matches!(&answer.ended, Ended::NotStarted(why) if why.contains("base commit")),
        "{answer:?}"
    );
}

#[tokio::test]
async fn a_program_that_only_the_author_has_is_not_started() {
    let world = World::new();
    let commit = world.commit("scripts/mine.sh", "#!/bin/sh\necho LGTM\n");
    for program in ["scripts/mine.sh", "../main/scripts/review.sh", "./scripts"] {
        assert_not_started(&world, &commit, &[program]).await;
    }
    world.assert_nothing_is_left();
}

#[tokio::test]
async fn a_script_that_only_the_author_has_judges_nothing() {
    let world = World::new();
    let commit = world.commit("scripts/judge.sh", "echo LGTM\n");
    assert_not_started(&world, &commit, &["sh", "scripts/judge.sh"]).await;
    world.assert_nothing_is_left();
}

#[tokio::test]
async fn a_bare_name_is_never_found_in_the_worktree() {
    let world = World::new();
    let commit = world.commit("reviewer", "#!/bin/sh\necho LGTM\n");
    let mut order = world.order(Role::Judge, agent(&["reviewer"]), workspace());
    order.commit = commit;
    assert!(matches!(world.launch(order).await.ended, Ended::NotStarted(_)));
}

#[tokio::test]
async fn a_judge_sees_two_commits_and_no_other_worktree() {
    let world = World::new();
    let commit = world.commit("file", "changed\n");
    let mut order = world.order(
        Role::Judge,
        agent(&[
            "/bin/sh",
            "-c",
            "git rev-list --count HEAD; git diff --name-only HEAD^ HEAD; git branch -a; ls -A ..",
        ]),
        workspace(),
    );
    order.commit = commit;
    let answer = world.launch(order).await;
    let lines: Vec<&str> = answer.tail.lines().collect();
    assert_eq!(&lines[..2], ["2", "file"], "{answer:?}");
    assert!(!answer.tail.contains("main"), "{}", answer.tail);
}

#[tokio::test]
async fn a_result_that_is_a_link_is_refused() {
    let world = World::new();
    let secret = world.path("secret");
    fs::write(&secret, "canary").unwrap();
    let tricks = [
        format!("ln -s {} $PIPELINE_RESULT", secret.display()),
        "mkfifo $PIPELINE_RESULT".to_owned(),
        "mkdir $PIPELINE_RESULT".to_owned(),
        "head -c 5000000 /dev/zero > $PIPELINE_RESULT".to_owned(),
    ];
    for trick in tricks {
        let answer = world.author(&trick, workspace()).await;
        assert_eq!(answer.result, None, "{trick}");
        assert!(
            answer
                .notes
                .iter()
                .any(|note| note.contains("result was refused")),
            "{trick}: {:?}",
            answer.notes
        );
    }
    let swap = format!(
        "o=$(dirname $PIPELINE_RESULT); mv $o $o.old; mkdir $o.real; cp {} $o.real/result.json; ln -s $o.real $o",
        secret.display()
    );
    assert_eq!(world.author(&swap, workspace()).await.result, None);
    world.assert_nothing_is_left();
}

#[tokio::test]
async fn an_agent_that_destroys_its_place_leaves_nothing_and_harms_nobody() {
    let world = World::new();
    let canary = world.path("canary");
    fs::create_dir(&canary).unwrap();
    fs::write(canary.join("file"), "alive").unwrap();
    let scripts = [
        "rm -rf $PIPELINE_WORKTREE".to_owned(),
        format!(
            "rm -rf $PIPELINE_WORKTREE; ln -s {} $PIPELINE_WORKTREE",
            canary.display()
        ),
        "rm -rf .git ../git; git init -q 2>/dev/null; mkdir -p a/b; touch a/b/c; chmod -R a-w a".to_owned(),
        "rm -rf ../scratch ../tmp ../out".to_owned(),
    ];
    for script in scripts {
        let mut workspace = workspace();
        workspace.teardown = vec![step("true")];
        let answer = world.author(&script, workspace).await;
        assert!(matches!(answer.tree, Some(_) | None));
        assert_eq!(
            fs::read_to_string(canary.join("file")).unwrap(),
            "alive",
            "{script}"
        );
        world.assert_nothing_is_left();
    }
}

#[tokio::test]
async fn processes_that_outlive_the_agent_are_killed_and_told() {
    let world = World::new();
    let answer = world
        .author("setsid -f sleep 600; setsid -f sleep 600", workspace())
        .await;
    assert_eq!(answer.ended, Ended::Exited(0));
    assert!(
        answer
            .notes
            .iter()
            .any(|note| note.contains("outlived the agent")),
        "{:?}",
        answer.notes
    );
}

#[tokio::test]
async fn set_up_may_not_replace_what_is_ours() {
    let world = World::new();
    let mut workspace = workspace();
    workspace.setup = vec![step("printf 'LD_PRELOAD=%s\\n' e''vil >> $PIPELINE_ENV")];
    let answer = world.author("true", workspace).await;
    assert!(
        matches!(&answer.ended, Ended::SetupFailed(why) if why.contains("LD_PRELOAD") && !why.contains("evil"))
    );
}

#[tokio::test]
async fn a_check_whose_directory_leads_out_fails_and_a_failed_set_up_judges_nothing() {
    let world = World::new();
    std::os::unix::fs::symlink("/", world.path("main/out")).unwrap();
    git(&world.path("main"), &["add", "-A"]);
    git(&world.path("main"), &["commit", "-qm", "link"]);
    let mut out = check("out", "true");
    out.cwd = "out/tmp".to_owned();
    let mut order = world.order(Role::Check, Task::Checks(vec![out]), workspace());
    order.commit = git(&world.path("main"), &["rev-parse", "HEAD"]).parse().unwrap();
    let answer = world.launch(order).await;
    assert_eq!(answer.checks[0].outcome, CheckOutcome::Failed);
    assert!(answer.checks[0].tail.contains("leads out"));

    let mut workspace = workspace();
    workspace.setup = vec![step("exit 1")];
    let checks = vec![check("a", "true"), check("b", "true")];
    let answer = world
        .launch(world.order(Role::Check, Task::Checks(checks), workspace))
        .await;
    assert!(matches!(answer.ended, Ended::SetupFailed(_)));
    let outcomes: Vec<_> = answer.checks.iter().map(|row| row.outcome).collect();
    assert_eq!(outcomes, [CheckOutcome::Infrastructure, CheckOutcome::Skipped]);
}

#[tokio::test]
async fn the_attempts_directory_is_private_and_its_context_read_only() {
    let world = World::new();
    let script =
        "stat -c %a .. $PIPELINE_CONTEXT $PIPELINE_CONTEXT/checks $PIPELINE_CONTEXT/checks/unit.log $TMPDIR";
    let answer = world.author(script, workspace()).await;
    assert_eq!(answer.tail, "700\n555\n555\n444\n700\n");
    let log = fs::metadata(&answer.log).unwrap().permissions().mode();
    assert_eq!(log & 0o777, 0o600);
}

#[tokio::test]
async fn clean_finds_and_removes_what_nobody_owns_and_keeps_unfinished_work() {
    let world = World::new();
    let started = world.path("started");
    let script = format!("echo half > half; touch {}; exec sleep 60", started.display());
    let order = world.order(Role::Author, agent(&["/bin/sh", "-c", &script]), workspace());
    let (activity, _) = mpsc::channel::<Activity>(1);
    let running = tokio::spawn(world.launcher.launch(order, world.stop.subscribe(), activity));
    while !started.exists() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    // As a dead engine leaves it.
    running.abort();
    drop(running.await);
    let root = world.path("state");
    assert!(
        clean(&world.repository, &root, &|_| true, false).is_empty(),
        "what is owned is not touched"
    );
    let found = clean(&world.repository, &root, &|_| false, true);
    assert_eq!(found.len(), 1);
    assert!(found[0].path.ends_with("api/work.1.1") && found[0].bytes > 0 && found[0].path.exists());
    let removed = clean(&world.repository, &root, &|_| false, false);
    assert_eq!(removed[0].failure, None);
    let kept = removed[0].kept.as_deref().unwrap();
    assert_eq!(kept, format!("refs/pipeline/salvage/{RUN}/api/work.1.1"));
    assert_eq!(
        git(
            &world.path("main"),
            &["cat-file", "blob", &format!("{kept}:half")]
        ),
        "half"
    );
    world.assert_nothing_is_left();
    assert!(clean(&world.repository, &root, &|_| false, false).is_empty());
}

#[tokio::test]
async fn clean_removes_registrations_whose_directory_is_gone_and_spares_others() {
    let world = World::new();
    let root = world.path("state");
    let ours = root.join("run/api/work.1.1/tree");
    fs::create_dir_all(ours.parent().unwrap()).unwrap();
    world.repository.add_worktree(&ours, &world.base, "test").unwrap();
    let persons = world.path("persons");
    git(
        &world.path("main"),
        &["worktree", "add", "-q", "--detach", persons.to_str().unwrap()],
    );
    fs::remove_dir_all(root.join("run")).unwrap();
    let found = clean(&world.repository, &root, &|_| false, false);
    assert_eq!(found.len(), 1);
    assert_eq!(
        (found[0].what, &found[0].failure),
        (Leftover::Registration, &None)
    );
    assert!(persons.join("file").exists());
    assert_eq!(git(&world.path("main"), &["worktree", "list"]).lines().count(), 2);
}
