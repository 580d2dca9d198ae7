//! The conflict radar: which live work will collide, long before the queue finds out.
//!
//! Every live head is merged in memory with every other, on the target's tip, when one of them or the tip has moved. That
//! is for people and nothing depends on it. So it runs beside everything else, one look at a time, on a thread that may
//! block, and rests after each look for nine times as long as that took: at most a tenth of a processor goes to it. What
//! moved meanwhile is seen by one look later. A look that fails or panics is told once and ends nothing; the end of the
//! engine cuts it off. What it makes lies aside (`git::aside`) and is gone when it is over.

use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;

use super::dispatch::blocking;
use super::panics::panic_of;
use super::{Engine, EngineError};
use crate::event::{Collision, Event, RunEvent};
use crate::git::{self, Repository};
use crate::port::Cut;
use crate::run::Scene;

/// How much longer than a look the rest after it is.
const REST: u32 = 9;

/// When to look, and at what. Moments are counted from the beginning of the engine.
#[derive(Debug, Default)]
struct Plan {
    /// What there is to see.
    scene: Option<Scene>,
    /// What the latest look was about.
    seen: Option<Scene>,
    busy: bool,
    /// Nothing is looked at before.
    rests_until: Duration,
}

impl Plan {
    /// When the next look is due, if one is. `foreseen` tells whether collisions are known.
    fn due(&self, foreseen: bool) -> Option<Duration> {
        let scene = self.scene.as_ref().filter(|_| !self.busy)?;
        // One alone collides with nobody, and that is news only where collisions are known.
        let worth = scene.heads.len() > 1 || foreseen;
        (worth && self.seen.as_ref() != Some(scene)).then_some(self.rests_until)
    }

    /// A look begins: what it is about.
    fn begin(&mut self) -> Option<Scene> {
        self.busy = true;
        self.seen.clone_from(&self.scene);
        self.scene.clone()
    }

    /// A look that took that long is over.
    fn end(&mut self, now: Duration, took: Duration) {
        self.busy = false;
        self.rests_until = now.saturating_add(took.saturating_mul(REST));
    }
}

/// What came of a look.
#[derive(Debug)]
pub(super) struct Sighting {
    scene: Scene,
    /// Or what failed.
    found: Result<Vec<Collision>, String>,
    took: Duration,
}

/// The radar of one engine.
#[derive(Debug)]
pub(super) struct Radar {
    began: Instant,
    plan: Plan,
    /// One at most.
    looks: JoinSet<Sighting>,
    cut: Cut,
    /// A failure was told.
    told: bool,
}

impl Radar {
    pub(super) fn new() -> Self {
        Self {
            began: Instant::now(),
            plan: Plan::default(),
            looks: JoinSet::new(),
            cut: Cut::default(),
            told: false,
        }
    }

    /// The end of the look under way; never, while there is none.
    pub(super) async fn sighting(&mut self) -> Sighting {
        match self.looks.join_next().await {
            Some(Ok(sighting)) => sighting,
            // Its task holds nothing that panics, and is not aborted.
            Some(Err(_)) | None => std::future::pending().await,
        }
    }

    /// Cuts a look off and waits until nothing of it is left.
    pub(super) async fn end(&mut self) {
        self.cut.off();
        while self.looks.join_next().await.is_some() {}
    }
}

/// An engine that ends by an error waits for nothing.
impl Drop for Radar {
    fn drop(&mut self) {
        self.cut.off();
    }
}

impl Engine {
    /// When the radar looks next, if it does.
    pub(super) fn next_look(&self) -> Option<Instant> {
        let foreseen = !self.state.foreseen().pairs.is_empty();
        let due = self
            .radar
            .plan
            .due(foreseen)
            .filter(|_| self.stopping.is_none())?;
        self.radar.began.checked_add(due)
    }

    /// Tells the radar what there is to see.
    pub(super) fn show_radar(&mut self) {
        self.radar.plan.scene = self.state.scene();
    }

    /// Begins a look.
    pub(super) fn look(&mut self) {
        let Some(scene) = self.radar.plan.begin() else {
            return;
        };
        let (repository, cut) = (self.tools.repository.clone(), self.radar.cut.clone());
        self.radar.looks.spawn(async move {
            let began = Instant::now();
            let about = scene.clone();
            let found = match blocking(move || collisions(&repository, &about, &cut)).await {
                Ok(found) => found.map_err(|error| error.to_string()),
                Err(error) => Err(panic_of(error.into()).unwrap_or_else(|error| error.to_string())),
            };
            let took = began.elapsed();
            Sighting { scene, found, took }
        });
    }

    /// Takes in what a look found.
    pub(super) fn take_sighting(&mut self, sighting: Sighting) -> Result<(), EngineError> {
        self.radar.plan.end(self.radar.began.elapsed(), sighting.took);
        match sighting.found {
            Ok(pairs) => match self.state.sighting(&sighting.scene, pairs) {
                Some(foreseen) => self.record(&[Event::Run(RunEvent::ConflictsForeseen(foreseen))]),
                None => Ok(()),
            },
            Err(why) => {
                if !std::mem::replace(&mut self.radar.told, true) {
                    self.observer.note(&format!(
                        "whether work collides could not be looked at, which changes nothing else: {why}"
                    ));
                }
                Ok(())
            }
        }
    }
}

/// The pairs that collide in a scene.
fn collisions(repository: &Repository, scene: &Scene, cut: &Cut) -> git::Result<Vec<Collision>> {
    let aside = repository.aside(cut)?;
    let heads: Vec<_> = scene
        .heads
        .iter()
        .map(|head| (head.commit.clone(), head.base.clone()))
        .collect();
    let graph = aside.conflicts_between(&heads, &scene.onto)?;
    let pairs = graph.pairs.into_iter().map(|pair| {
        let units = [pair.one, pair.other].map(|at| scene.heads[at].unit.clone());
        Collision::new(units, pair.paths)
    });
    Ok(pairs.collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::LiveHead;

    fn scene(onto: char, heads: &[(&str, char)]) -> Scene {
        let oid = |digit: char| digit.to_string().repeat(40).parse().unwrap();
        let head = |(unit, commit): &(&str, char)| LiveHead {
            unit: unit.parse().unwrap(),
            commit: oid(*commit),
            base: oid('0'),
        };
        Scene {
            onto: oid(onto),
            heads: heads.iter().map(head).collect(),
        }
    }

    fn plan(scene: Scene) -> Plan {
        Plan {
            scene: Some(scene),
            ..Plan::default()
        }
    }

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn the_same_scene_is_looked_at_once_and_each_other_again() {
        let mut plan = plan(scene('0', &[("a", '1'), ("b", '2')]));
        for other in [
            scene('0', &[("a", '1'), ("b", '3')]),
            scene('4', &[("a", '1'), ("b", '3')]),
            scene('4', &[("a", '1'), ("b", '3'), ("c", '5')]),
        ] {
            assert_eq!(plan.due(false), Some(Duration::ZERO));
            plan.begin().unwrap();
            plan.end(Duration::ZERO, Duration::ZERO);
            assert_eq!(plan.due(false), None);
            plan.scene = Some(other);
        }
    }

    #[test]
    fn what_moves_during_a_look_is_seen_by_one_look_after_the_rest() {
        let mut plan = plan(scene('0', &[("a", '1'), ("b", '2')]));
        plan.begin().unwrap();
        for commit in ['3', '4', '5'] {
            plan.scene = Some(scene('0', &[("a", '1'), ("b", commit)]));
            assert_eq!(plan.due(false), None, "one at a time");
        }
        plan.end(3 * SECOND, 2 * SECOND);
        assert_eq!(plan.due(false), Some(21 * SECOND));
        assert_eq!(plan.begin(), Some(scene('0', &[("a", '1'), ("b", '5')])));
    }

    #[test]
    fn one_alone_is_looked_at_only_where_collisions_are_known() {
        let plan = plan(scene('0', &[("a", '1')]));
        assert_eq!(plan.due(false), None);
        assert_eq!(plan.due(true), Some(Duration::ZERO));
        assert_eq!(Plan::default().due(true), None);
    }
}
