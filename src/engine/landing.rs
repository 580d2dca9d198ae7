//! Integration and landing: the only place that moves the target.
//!
//! A landing is: look at the checkout that has the target, write the intent down, move the ref by
//! compare-and-swap, write the landing down, bring the checkout's files along. The order is the crash-safety: an
//! intent without an outcome is settled by looking at the target (see [`super::recovery`]).
//!
//! A candidate is held against what was reviewed twice: when it is built, since no other is worth verifying, and when
//! it lands, since what is written down about it may be older than this program. The swap demands the proof.

use std::path::PathBuf;
use std::time::Duration;

use super::dispatch::blocking;
use super::panics::panic_of;
use super::{Engine, EngineError, Tools};
use crate::event::{
    Candidate, CandidateUnit, Conflict, Event, Hold, LandRefusal, Obstacle, QueueEvent, QueueStep,
};
use crate::git::{self, CHECKOUT_PATIENCE, InTheWay, Integration, Moved, Preservation, Preserved};
use crate::id::{Oid, UnitId};
use crate::queue::{IntegrateUnit, VerifiedCandidate, not_preserved};
use crate::spec::Strategy;

impl Engine {
    /// Puts units onto a base, in memory, and records what came of it.
    pub(super) async fn integrate(
        &mut self,
        base: Oid,
        units: Vec<IntegrateUnit>,
    ) -> Result<(), EngineError> {
        let mut onto = base.clone();
        let mut built: Vec<CandidateUnit> = Vec::new();
        let mut tree = None;
        let strategy = self.state.pipeline().queue.strategy;
        for unit in units {
            let tools = std::sync::Arc::clone(&self.tools);
            let message = self.message_of(&unit.unit);
            let target = onto.clone();
            let range = crate::git::IntegrateUnit {
                head: unit.head.clone(),
                base: unit.base.clone(),
            };
            let done = blocking(move || build(&tools, &target, &range, strategy, &message)).await;
            let integration = match done {
                Ok(integration) => integration?,
                Err(error) => {
                    let message = panic_of(error.into())?;
                    return self.record_panic(&[unit.unit], None, QueueStep::Integrate, &message);
                }
            };
            match integration {
                Integration::Built {
                    commit,
                    tree: of_commit,
                } => {
                    onto = commit.clone();
                    tree = Some(of_commit);
                    built.push(CandidateUnit {
                        unit: unit.unit,
                        generation: unit.generation,
                        head: unit.head,
                        commit,
                    });
                }
                Integration::Obstacle(obstacle) => {
                    let obstacle = self.with_units(obstacle, &built);
                    return self.record(&[Event::Queue(QueueEvent::IntegrationFailed {
                        unit: unit.unit,
                        generation: unit.generation,
                        base,
                        ahead: built.into_iter().map(|ahead| ahead.unit).collect(),
                        obstacle,
                    })]);
                }
            }
        }
        let Some(tree) = tree else { return Ok(()) };
        let candidate = Candidate {
            base,
            strategy,
            units: built,
            commit: onto,
            tree,
        };
        self.keep_candidate(&candidate).await?;
        self.record(&[Event::Queue(QueueEvent::CandidateBuilt { candidate })])
    }

    /// The commit message of a unit's squash or merge.
    fn message_of(&self, id: &UnitId) -> String {
        let pipeline = self.state.pipeline();
        let unit = pipeline.unit(id).expect("entries are units of the pipeline");
        let identity = &self.tools.identity;
        let signer = identity.to_string();
        crate::unit::commit_message(unit, &pipeline.commit, &self.run, &self.inputs[id], Some(&signer))
    }

    /// Names the unit of this run that brought the other side of each conflict: one that has landed, in this run or in an
    /// earlier one that it is kept from, or one ahead in the queue, `ahead` of it in the same candidate among them.
    fn with_units(&self, obstacle: Obstacle, ahead: &[CandidateUnit]) -> Obstacle {
        let Obstacle::Conflict { conflicts } = obstacle else {
            return obstacle;
        };
        let mut known = self.landed_units();
        let kept = self.kept.iter();
        known.extend(kept.map(|kept| (kept.unit.clone(), kept.commit.clone())));
        known.extend(self.state.queue().candidate_commits());
        known.extend(
            ahead
                .iter()
                .map(|ahead| (ahead.unit.clone(), ahead.commit.clone())),
        );
        let named = |conflict: Conflict| {
            let by = |commit: &Oid| {
                let last = known.iter().find(|(_, at)| at == commit);
                // Of a unit of several commits, the others say whose they are.
                let inner = || {
                    known
                        .iter()
                        .find(|(unit, at)| self.says_it_is_of(commit, unit, at))
                };
                last.or_else(inner).map(|(unit, _)| unit.clone())
            };
            Conflict {
                landed_by: conflict.landed_as.as_ref().and_then(by),
                ..conflict
            }
        };
        Obstacle::Conflict {
            conflicts: conflicts.into_iter().map(named).collect(),
        }
    }

    /// Whether a commit carries the trailers of a unit: of this run, or of the run that its last commit tells it landed in.
    fn says_it_is_of(&self, commit: &Oid, unit: &UnitId, last: &Oid) -> bool {
        const RUN: &str = "Pipeline-Run: ";
        let read = |commit| self.tools.repository.read_record(commit).unwrap_or_default();
        let text = read(commit);
        let has = |wanted: &str| text.lines().any(|line| line == wanted);
        let is_of_its_run = || {
            let last = read(last);
            last.lines().filter(|line| line.starts_with(RUN)).any(has)
        };
        has(&format!("Pipeline-Unit: {unit}")) && (has(&format!("{RUN}{}", self.run)) || is_of_its_run())
    }

    /// The units of this run that have landed, with their commits on the target.
    pub(super) fn landed_units(&self) -> Vec<(UnitId, Oid)> {
        self.state
            .queue()
            .landed()
            .iter()
            .map(|landed| (landed.unit.clone(), landed.commit.clone()))
            .collect()
    }

    /// The same with where the target was before each.
    pub(super) fn landed_ranges(&self) -> Vec<OnTarget> {
        let mut ranges: Vec<OnTarget> = Vec::new();
        let mut tip = None;
        for landed in self.state.queue().landed() {
            // Units of one landing stand on each other.
            let after = match ranges.last() {
                Some(last) if tip == Some(&landed.to) => last.commit.clone(),
                Some(_) | None => landed.from.clone(),
            };
            tip = Some(&landed.to);
            ranges.push(OnTarget {
                unit: landed.unit.clone(),
                after,
                commit: landed.commit.clone(),
            });
        }
        ranges
    }

    /// Lands a verified candidate.
    pub(super) async fn land(&mut self, verified: &VerifiedCandidate) -> Result<(), EngineError> {
        let preserved = match self.preserved(verified).await? {
            Ok(preserved) => preserved,
            Err(end) => return self.record(&[end]),
        };
        let (from, to) = (verified.from().clone(), verified.to().clone());
        let look = self.look_at_checkout(&from, &to, CHECKOUT_PATIENCE).await?;
        self.record(&[Event::Queue(QueueEvent::LandIntended {
            commit: to.clone(),
            from: from.clone(),
            tree: verified.tree().clone(),
            checkout: look.checkout.as_deref().map(|path| path.display().to_string()),
        })])?;
        match look.refusal {
            Some(cause) => self.record(&[Event::Queue(QueueEvent::LandRefused { commit: to, cause })]),
            None => self.swap(verified, &preserved, look.checkout).await,
        }
    }

    /// The proof that a candidate is what was reviewed of its units, and nothing else; or the end of the first unit of
    /// which it is not.
    pub(super) async fn preserved(
        &self,
        verified: &VerifiedCandidate,
    ) -> Result<Result<Preserved, Event>, EngineError> {
        let strategy = verified.candidate().strategy;
        let mut onto = verified.from().clone();
        let mut whole: Option<Preserved> = None;
        for member in verified.units() {
            let base = self.state.queue().base_of(&member.unit);
            let range = crate::git::IntegrateUnit {
                head: member.head.clone(),
                base: base.expect("what lands is in line").clone(),
            };
            let repository = self.tools.repository.clone();
            let (under, commit) = (onto, member.commit.clone());
            let kept = blocking(move || repository.preserve(&under, &range, strategy, &commit)).await??;
            let end = |paths: &[String]| {
                Event::Queue(QueueEvent::EntryLeft {
                    unit: member.unit.clone(),
                    end: not_preserved(paths),
                })
            };
            let joined = match kept {
                Preservation::Broken { paths } => return Ok(Err(end(&paths))),
                Preservation::Kept(next) => match whole {
                    None => Some(next),
                    Some(before) => before.followed_by(next),
                },
            };
            let Some(joined) = joined else {
                return Ok(Err(end(&[])));
            };
            whole = Some(joined);
            onto = member.commit.clone();
        }
        Ok(Ok(whole.expect("a candidate has a unit")))
    }

    /// The compare-and-swap of an intended landing, and what follows from it.
    pub(super) async fn swap(
        &mut self,
        verified: &VerifiedCandidate,
        preserved: &Preserved,
        checkout: Option<PathBuf>,
    ) -> Result<(), EngineError> {
        self.write_landing(verified).await?;
        // The swap is what no later engine could take back: one that lost its lock meanwhile must not make it.
        self.store.still_holds()?;
        let (from, to) = (preserved.onto().clone(), preserved.commit().clone());
        let repository = self.tools.repository.clone();
        let target = self.target().to_owned();
        let reason = format!("pipeline: land {}", names(verified.units()));
        let (old, new) = (from.clone(), to.clone());
        let moved = blocking(move || {
            let lock = repository.lock_target(&target)?;
            repository.move_target(&lock, &old, &new, &reason)
        })
        .await??;
        match moved {
            Moved::Done => {
                self.record(&[Event::Queue(verified.landed_event())])?;
                self.follow(checkout, &from, &to).await
            }
            Moved::Refused(words) => {
                let cause = LandRefusal::PushRejected { words };
                self.record(&[Event::Queue(QueueEvent::LandRefused { commit: to, cause })])
            }
            Moved::Elsewhere(tip) => {
                // A target that is gone is seen by the next look at the world, which stops the run.
                let cause = LandRefusal::BaseMoved {
                    tip: tip.unwrap_or(from),
                };
                self.record(&[Event::Queue(QueueEvent::LandRefused { commit: to, cause })])
            }
        }
    }

    /// Whether a checkout has the target, and whether a person's work there, or another git, is in the way after so long.
    pub(super) async fn look_at_checkout(
        &self,
        from: &Oid,
        to: &Oid,
        patience: Duration,
    ) -> Result<Look, EngineError> {
        let repository = self.tools.repository.clone();
        let (target, from, to) = (self.target().to_owned(), from.clone(), to.clone());
        let (checkout, refusal) =
            match blocking(move || repository.way_in_checkout(&target, &from, &to, patience)).await? {
                Ok(None) => return Ok(Look::default()),
                Ok(Some((checkout, InTheWay { paths, removed }))) => {
                    let refusal = (!paths.is_empty()).then(|| LandRefusal::TargetDirty {
                        checkout: checkout.display().to_string(),
                        paths,
                        removed,
                    });
                    (Some(checkout), refusal)
                }
                // A person may write a commit message for an hour: others go on meanwhile.
                Err(error @ git::Error::IndexLocked(_)) => {
                    let words = error.to_string();
                    (None, Some(LandRefusal::PushRejected { words }))
                }
                Err(error) => return Err(error.into()),
            };
        Ok(Look { checkout, refusal })
    }

    /// Releases what a person's uncommitted work held up, where that is in the way no longer.
    pub(super) async fn release_what_is_free(&mut self) -> Result<(), EngineError> {
        let Some((candidate, Hold::TargetDirty { .. })) = self.state.queue().held_landing() else {
            return Ok(());
        };
        let candidate = candidate.clone();
        let look = self.look_at_checkout(&candidate.base, &candidate.commit, Duration::ZERO);
        if look.await?.refusal.is_some() {
            return Ok(());
        }
        let released = |member: &CandidateUnit| {
            let unit = member.unit.clone();
            Event::Queue(QueueEvent::EntryReleased { unit })
        };
        let released: Vec<Event> = candidate.units.iter().map(released).collect();
        self.record(&released)
    }

    /// Brings a checkout along that an engine, or a step that panicked, left behind the last landing.
    pub(super) async fn follow_last(&mut self) -> Result<(), EngineError> {
        let Some(landed) = self.state.queue().unfollowed().cloned() else {
            return Ok(());
        };
        let checkout = PathBuf::from(&landed.checkout);
        self.follow(Some(checkout), &landed.from, &landed.to).await
    }

    /// Brings the files of the checkout that has the target along.
    pub(super) async fn follow(
        &mut self,
        checkout: Option<PathBuf>,
        from: &Oid,
        to: &Oid,
    ) -> Result<(), EngineError> {
        let Some(checkout) = checkout else { return Ok(()) };
        let repository = self.tools.repository.clone();
        let target = self.target().to_owned();
        let (old, new) = (from.clone(), to.clone());
        let left = blocking(move || {
            repository.follow_where_it_is(&target, &checkout, (&old, &new), CHECKOUT_PATIENCE)
        })
        .await??;
        self.record(&[Event::Queue(QueueEvent::CheckoutFollowed {
            to: to.clone(),
            left,
        })])
    }
}

/// Puts a unit onto a base; what comes of it counts only if it is what was reviewed.
fn build(
    tools: &Tools,
    onto: &Oid,
    unit: &crate::git::IntegrateUnit,
    strategy: Strategy,
    message: &str,
) -> Result<Integration, crate::git::Error> {
    let repository = &tools.repository;
    let built = repository.integrate(onto, unit, strategy, message, &tools.identity)?;
    let Integration::Built { commit, .. } = &built else {
        return Ok(built);
    };
    Ok(match repository.preserve(onto, unit, strategy, commit)? {
        Preservation::Kept(_) => built,
        Preservation::Broken { paths } => Integration::Obstacle(Obstacle::NotPreserved { paths }),
    })
}

/// A unit on the target.
pub(super) struct OnTarget {
    pub(super) unit: UnitId,
    /// What its commits stand on there.
    pub(super) after: Oid,
    /// The last of them.
    pub(super) commit: Oid,
}

/// What was found where the target is checked out.
#[derive(Default)]
pub(super) struct Look {
    pub(super) checkout: Option<PathBuf>,
    pub(super) refusal: Option<LandRefusal>,
}

fn names(units: &[CandidateUnit]) -> String {
    units
        .iter()
        .map(|unit| unit.unit.as_str())
        .collect::<Vec<_>>()
        .join(", ")
}
