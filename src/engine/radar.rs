//! The conflict radar: which live work will collide, long before the queue finds out.
//!
//! Every live head is merged in memory with every other, on the target's tip, when one of them has moved. What an author under
//! way has made so far counts as its unit's head. Nobody tells that a file was written, and landings change little about
//! those who wait; so that is looked at every [`PERIOD`].
//!
//! That is for people and nothing depends on it. So it runs beside everything else, one look at a time, on a thread that may
//! block, and rests after each look for twice as long as that took: at most a third of a processor goes to it. What moved
//! meanwhile is seen by one look later. A look that fails or panics is told once and ends nothing; the end of the
//! engine cuts it off. What it makes lies aside (`git::aside`) and is gone when it is over.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;

use super::dispatch::blocking;
use super::panics::{caught, panic_of};
use super::{Engine, EngineError, Tools};
use crate::event::{Collision, Event, Foreseen, RunEvent};
use crate::git::{self, Repository};
use crate::id::{Oid, RunId, UnitId};
use crate::port::{Cut, Glance};
use crate::run::Scene;

/// How often is looked while no head moves and authors are at work, or the target has moved.
const PERIOD: Duration = Duration::from_secs(30);
/// How much longer than a look the rest after it is.
const REST: u32 = 2;

/// When to look, and at what. Moments are counted from the beginning of the engine.
#[derive(Debug, Default)]
struct Plan {
    /// What there is to see.
    scene: Option<Scene>,
    /// What the latest look was about, and when it began.
    seen: Option<(Scene, Duration)>,
    busy: bool,
    /// Nothing is looked at before.
    rests_until: Duration,
}

impl Plan {
    /// When the next look is due, if one is. `foreseen` tells whether collisions are known.
    fn due(&self, foreseen: bool) -> Option<Duration> {
        let scene = self.scene.as_ref().filter(|_| !self.busy)?;
        // One alone collides with nobody, and that is news only where collisions are known.
        if !(scene.has_two() || foreseen) {
            return None;
        }
        match &self.seen {
            Some((seen, began)) if !scene.has_new_head(seen) => {
                let again = began.saturating_add(PERIOD).max(self.rests_until);
                scene.may_differ(seen).then_some(again)
            }
            // Who has just begun has made nothing.
            None if scene.heads.is_empty() => Some(PERIOD),
            Some(_) | None => Some(self.rests_until),
        }
    }

    /// A look begins: what it is about.
    fn begin(&mut self, now: Duration) -> Option<Scene> {
        let scene = self.scene.clone()?;
        self.busy = true;
        self.seen = Some((scene.clone(), now));
        Some(scene)
    }

    /// A look that took that long is over.
    fn end(&mut self, now: Duration, took: Duration) {
        self.busy = false;
        self.rests_until = now.saturating_add(took.saturating_mul(REST));
    }
}

/// What is merged with one another.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Question {
    onto: Oid,
    heads: Vec<Subject>,
}

/// A unit's work as a commit, which may be one that only the look knows.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Subject {
    unit: UnitId,
    commit: Oid,
    base: Oid,
    uncommitted: bool,
}

/// A question with its answer.
type Answered = (Question, Vec<Collision>);

/// What came of a look.
#[derive(Debug)]
pub(super) struct Sighting {
    scene: Scene,
    /// Or what failed.
    found: Result<Answered, String>,
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
    /// The latest answer, which the same question gets again.
    answered: Option<Answered>,
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
            answered: None,
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
        let foreseen = *self.state.foreseen() != Foreseen::default();
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
        let Some(scene) = self.radar.plan.begin(self.radar.began.elapsed()) else {
            return;
        };
        let look = Look {
            tools: Arc::clone(&self.tools),
            run: self.run.clone(),
            scene: scene.clone(),
            cut: self.radar.cut.clone(),
            answered: self.radar.answered.clone(),
        };
        self.radar.looks.spawn(async move {
            let began = Instant::now();
            let found = match caught(look.perform()).await {
                Ok(Ok(answered)) => Ok(answered),
                Ok(Err(error)) => Err(panic_of(error).unwrap_or_else(|error| error.to_string())),
                Err(panicked) => Err(panicked),
            };
            let took = began.elapsed();
            Sighting { scene, found, took }
        });
    }

    /// Takes in what a look found.
    pub(super) fn take_sighting(&mut self, sighting: Sighting) -> Result<(), EngineError> {
        self.radar.plan.end(self.radar.began.elapsed(), sighting.took);
        match sighting.found {
            Ok(answered) => {
                let seen = self.state.sighting(&sighting.scene, answered.1.clone());
                self.radar.answered = Some(answered);
                match seen {
                    Some(foreseen) => self.record(&[Event::Run(RunEvent::ConflictsForeseen(foreseen))]),
                    None => Ok(()),
                }
            }
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

/// One look.
struct Look {
    tools: Arc<Tools>,
    run: RunId,
    scene: Scene,
    cut: Cut,
    answered: Option<Answered>,
}

impl Look {
    async fn perform(self) -> Result<Answered, EngineError> {
        let (repository, cut) = (self.tools.repository.clone(), self.cut.clone());
        let aside = blocking(move || repository.aside(&cut)).await??;
        let mut trees = BTreeMap::new();
        for author in &self.scene.authors {
            let glance = Glance {
                run: self.run.clone(),
                key: author.key.clone(),
                fence: author.fence,
                commit: author.commit.clone(),
                objects: aside.objects_dir(),
                cut: self.cut.clone(),
            };
            // One that cannot be taken now is left out this time.
            if let Some(tree) = self.tools.launcher.glance(glance).await {
                trees.insert(author.fence, tree);
            }
        }
        blocking(move || self.answer(&aside, &trees))
            .await?
            .map_err(EngineError::Git)
    }

    fn answer(self, aside: &Repository, trees: &BTreeMap<u64, Oid>) -> git::Result<Answered> {
        let question = question(aside, &self.scene, trees)?;
        if let Some(answered) = self.answered.filter(|(known, _)| *known == question) {
            return Ok(answered);
        }
        let pairs = collisions(aside, &question)?;
        Ok((question, pairs))
    }
}

/// The heads of a scene, and the trees of its authors, by fence, in their place.
fn question(aside: &Repository, scene: &Scene, trees: &BTreeMap<u64, Oid>) -> git::Result<Question> {
    let mut heads: Vec<Subject> = scene
        .heads
        .iter()
        .map(|head| Subject {
            unit: head.unit.clone(),
            commit: head.commit.clone(),
            base: head.base.clone(),
            uncommitted: false,
        })
        .collect();
    for author in &scene.authors {
        let Some(tree) = trees.get(&author.fence) else {
            continue;
        };
        if *tree == aside.tree_of(&author.commit)? {
            continue;
        }
        heads.retain(|head| head.unit != author.key.unit);
        heads.push(Subject {
            unit: author.key.unit.clone(),
            commit: aside.passing_commit(tree, &author.commit)?,
            base: author.base.clone(),
            uncommitted: true,
        });
    }
    heads.sort_by(|one, other| one.unit.cmp(&other.unit));
    let onto = scene.onto.clone();
    Ok(Question { onto, heads })
}

/// The pairs that collide.
fn collisions(aside: &Repository, question: &Question) -> git::Result<Vec<Collision>> {
    let heads = &question.heads;
    let commits: Vec<_> = heads
        .iter()
        .map(|head| (head.commit.clone(), head.base.clone()))
        .collect();
    let graph = aside.conflicts_between(&commits, &question.onto)?;
    let pairs = graph.pairs.into_iter().map(|pair| {
        let two = [&heads[pair.one], &heads[pair.other]];
        let uncommitted = two.iter().filter(|head| head.uncommitted);
        Collision {
            uncommitted: uncommitted.map(|head| head.unit.clone()).collect(),
            ..Collision::new(two.map(|head| head.unit.clone()), pair.paths)
        }
    });
    Ok(pairs.collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::AttemptKey;
    use crate::run::{LiveAuthor, LiveHead};

    fn oid(digit: char) -> Oid {
        digit.to_string().repeat(40).parse().unwrap()
    }

    fn scene(onto: char, heads: &[(&str, char)]) -> Scene {
        let head = |(unit, commit): &(&str, char)| LiveHead {
            unit: unit.parse().unwrap(),
            commit: oid(*commit),
            base: oid('0'),
        };
        Scene {
            onto: oid(onto),
            heads: heads.iter().map(head).collect(),
            authors: Vec::new(),
            not_compared: 0,
        }
    }

    /// The same with authors at work.
    fn with_authors(scene: Scene, units: &[&str]) -> Scene {
        let author = |unit: &&str| LiveAuthor {
            key: AttemptKey {
                unit: unit.parse().unwrap(),
                stage: "implement".parse().unwrap(),
                round: 1,
                attempt: 1,
            },
            fence: 1,
            commit: oid('0'),
            base: oid('0'),
        };
        let authors = units.iter().map(author).collect();
        Scene { authors, ..scene }
    }

    fn plan(scene: Scene) -> Plan {
        Plan {
            scene: Some(scene),
            ..Plan::default()
        }
    }

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn the_same_heads_are_looked_at_once_and_new_ones_at_once() {
        let mut plan = plan(scene('0', &[("a", '1'), ("b", '2')]));
        for other in [
            scene('0', &[("a", '1'), ("b", '3')]),
            scene('4', &[("a", '1'), ("b", '5')]),
            scene('4', &[("a", '1'), ("b", '5'), ("c", '6')]),
        ] {
            assert_eq!(plan.due(false), Some(Duration::ZERO));
            plan.begin(Duration::ZERO).unwrap();
            plan.end(Duration::ZERO, Duration::ZERO);
            assert_eq!(plan.due(false), None);
            plan.scene = Some(other);
        }
    }

    #[test]
    fn that_the_target_moved_or_a_head_went_is_looked_at_within_30_seconds() {
        for other in [
            scene('4', &[("a", '1'), ("b", '2'), ("c", '3')]),
            scene('0', &[("a", '1'), ("c", '3')]),
        ] {
            let mut plan = plan(scene('0', &[("a", '1'), ("b", '2'), ("c", '3')]));
            plan.begin(SECOND).unwrap();
            plan.end(2 * SECOND, SECOND);
            plan.scene = Some(other);
            assert_eq!(plan.due(false), Some(31 * SECOND));
        }
    }

    #[test]
    fn what_moves_during_a_look_is_seen_by_one_look_after_the_rest() {
        let mut plan = plan(scene('0', &[("a", '1'), ("b", '2')]));
        plan.begin(SECOND).unwrap();
        for commit in ['3', '4', '5'] {
            plan.scene = Some(scene('0', &[("a", '1'), ("b", commit)]));
            assert_eq!(plan.due(false), None, "one at a time");
        }
        plan.end(3 * SECOND, 2 * SECOND);
        assert_eq!(plan.due(false), Some(7 * SECOND));
        assert_eq!(
            plan.begin(7 * SECOND),
            Some(scene('0', &[("a", '1'), ("b", '5')]))
        );
    }

    #[test]
    fn one_alone_is_looked_at_only_where_collisions_are_known() {
        let mut plan = plan(with_authors(scene('0', &[("a", '1')]), &["a"]));
        assert_eq!(plan.due(false), None, "its author and its head are one unit");
        assert_eq!(plan.due(true), Some(Duration::ZERO));
        plan.scene = Some(with_authors(scene('0', &[("a", '1')]), &["b"]));
        assert_eq!(plan.due(false), Some(Duration::ZERO));
        assert_eq!(Plan::default().due(true), None);
    }

    #[test]
    fn authors_at_work_are_looked_at_again_every_30_seconds() {
        let heads = || scene('0', &[("a", '1')]);
        let mut plan = plan(with_authors(scene('0', &[]), &["a", "b"]));
        assert_eq!(
            plan.due(false),
            Some(30 * SECOND),
            "who has just begun has made nothing"
        );
        plan.scene = Some(with_authors(heads(), &["b"]));
        plan.begin(5 * SECOND).unwrap();
        plan.end(6 * SECOND, SECOND);
        assert_eq!(plan.due(false), Some(35 * SECOND));
        plan.scene = Some(with_authors(heads(), &["b", "c"]));
        assert_eq!(
            plan.due(false),
            Some(35 * SECOND),
            "another author is no other head"
        );
        plan.begin(35 * SECOND).unwrap();
        plan.end(55 * SECOND, 20 * SECOND);
        assert_eq!(plan.due(false), Some(95 * SECOND), "after the rest");
        plan.scene = Some(heads());
        assert_eq!(plan.due(true), None, "nobody is at work");
    }
}
