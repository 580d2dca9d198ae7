//! Attempts whose engine died: what was finished is taken over, what was not is torn down and made again.

use std::fs;
use std::time::Duration;

use pipeline::port::{Activity, AttemptOrder, Ended, Launcher, TakenTree};
use pipeline::spec::Role;
use tokio::sync::mpsc;

use super::{World, agent, step, workspace};

/// An author's attempt that set-up gave a name, and whose teardown writes that name into a file.
fn order(world: &World, script: &str) -> AttemptOrder {
    let torn = world.path("torn");
    let mut workspace = workspace();
    workspace.setup = vec![step("echo NAME=branch-7 >> $PIPELINE_ENV")];
    workspace.teardown = vec![step(&format!("echo $NAME >> {}", torn.display()))];
    let mut order = world.order(Role::Author, agent(&["/bin/sh", "-c", script]), workspace);
    order.packet = Some("hash of the packet".to_owned());
    order
}

fn torn(world: &World) -> String {
    fs::read_to_string(world.path("torn")).unwrap_or_default()
}

#[tokio::test]
async fn what_an_agent_had_finished_is_taken_over_whole() {
    let world = World::new();
    let ordered = order(
        &world,
        "echo new > new; echo '{}' > $PIPELINE_RESULT; echo said; exit 3",
    );
    let (activity, _) = mpsc::channel::<Activity>(1);
    let launched = world
        .launcher
        .launch(ordered.clone(), world.stop.subscribe(), activity)
        .await;
    let adopted = world.launcher.adopt(ordered.clone()).await.unwrap();
    assert_eq!(adopted.packet, ordered.packet);
    assert_eq!(adopted.returned.ended, Ended::Exited(3));
    assert_eq!(adopted.returned.tree, launched.tree);
    assert_eq!(adopted.returned.result, launched.result);
    assert_eq!(adopted.returned.tail, launched.tail);
    assert_eq!(world.show(&adopted.returned, "new").as_deref(), Some("new"));
    assert_eq!(torn(&world), "branch-7\nbranch-7\n");
    world.launcher.discard(ordered.run, ordered.key).await.unwrap();
    world.assert_nothing_is_left();
}

#[tokio::test]
async fn an_answer_of_another_fence_is_not_taken_over() {
    let world = World::new();
    let mut ordered = order(&world, "echo new > new");
    let (activity, _) = mpsc::channel::<Activity>(1);
    world
        .launcher
        .launch(ordered.clone(), world.stop.subscribe(), activity)
        .await;
    ordered.fence += 1;
    assert_eq!(world.launcher.adopt(ordered.clone()).await, None);
    world.launcher.discard(ordered.run, ordered.key).await.unwrap();
}

#[tokio::test]
async fn an_agent_that_was_cut_off_is_not_taken_over_and_its_teardown_is_made_up_for() {
    let world = World::new();
    let started = world.path("started");
    let ordered = order(
        &world,
        &format!("echo half > half; touch {}; exec sleep 60", started.display()),
    );
    let (activity, _) = mpsc::channel::<Activity>(1);
    let running = tokio::spawn(
        world
            .launcher
            .launch(ordered.clone(), world.stop.subscribe(), activity),
    );
    while !started.exists() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    // As a dead engine leaves it; the supervisor ends by itself.
    running.abort();
    drop(running.await);
    let end = world
        .path("state")
        .join("deadbeef/api/work.1.1/scratch/agent/end.json");
    while !end.exists() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(world.launcher.adopt(ordered.clone()).await, None);
    assert_eq!(torn(&world), "branch-7\n");
    world.launcher.discard(ordered.run, ordered.key).await.unwrap();
    world.assert_nothing_is_left();
}

#[tokio::test]
async fn an_attempt_of_which_nothing_is_there_is_made_again() {
    let world = World::new();
    let ordered = order(&world, "true");
    assert_eq!(world.launcher.adopt(ordered.clone()).await, None);
    assert_eq!(torn(&world), "");
    world.launcher.discard(ordered.run, ordered.key).await.unwrap();
}

#[tokio::test]
async fn a_forged_note_takes_over_nothing() {
    let world = World::new();
    let note = "scratch/attempt.json";
    let forge = format!("sed -i 's/\"attempt\":\"work.1.1\"/\"attempt\":\"..\"/' ../{note}; echo new > new");
    let ordered = order(&world, &forge);
    let (activity, _) = mpsc::channel::<Activity>(1);
    let launched = world
        .launcher
        .launch(ordered.clone(), world.stop.subscribe(), activity)
        .await;
    assert!(matches!(launched.tree, Some(TakenTree::Tree(_))));
    assert_eq!(world.launcher.adopt(ordered.clone()).await, None);
    world.launcher.discard(ordered.run, ordered.key).await.unwrap();
}
