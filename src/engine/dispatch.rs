//! The dispatcher: receive, decide, write down, act.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::panics::caught;
use super::{Engine, EngineError, attempt, verify};
use crate::event::{
    CheckOutcome, Event, Evidence, Outcome, QueueEvent, QueueStep, RunEvent, StopCause, UnitEvent,
    UnitScoped, VerifyPurpose,
};
use crate::id::{AttemptKey, Oid, UnitId};
use crate::port::{Stop, disk_remedy};
use crate::queue::Tip;
use crate::run::{Effect, Facts, Verification};
use crate::unit;

/// How often the target is looked at while nothing happens: a person's commit there is an event, too.
const LOOK_AGAIN: Duration = Duration::from_secs(15);

/// What a task of the engine came to.
#[derive(Debug)]
pub(super) struct Done {
    /// Of the attempt or verification.
    pub(super) fence: u64,
    /// The place that is needed until the event is recorded.
    pub(super) place: Option<AttemptKey>,
    /// Things worth telling that are no events.
    pub(super) notes: Vec<String>,
    /// What to record.
    pub(super) event: Event,
    /// What a verification's panic said, with the units it was about.
    pub(super) panicked: Option<(Verification, String)>,
}

impl Engine {
    /// Drives the run until nothing is left to do, a person must act, or `stop` says so.
    ///
    /// # Errors
    /// When the store or git fails. What was recorded stays; the same command continues.
    pub async fn run(&mut self, mut stop: watch::Receiver<Stop>) -> Result<StopCause, EngineError> {
        let began = tokio::time::Instant::now();
        let deadline = self.options.time_limit.and_then(|limit| began.checked_add(limit));
        self.take_wanted_branches().await?;
        if let Some(cause) = self.preflight(&mut stop).await? {
            return self.let_go(cause).await;
        }
        loop {
            let settled = self.settle(&mut stop).await?;
            // What nobody waits for any more is being ended; its cost is still recorded, its worktree removed.
            if let Some(cause) = settled.stop.filter(|_| self.tasks.is_empty()) {
                return self.let_go(cause).await;
            }
            self.show_radar();
            let wake = tokio::time::Instant::now() + settled.sleep.unwrap_or(LOOK_AGAIN).min(LOOK_AGAIN);
            self.wait(&mut stop, wake, deadline).await?;
            self.release_what_is_free().await?;
        }
    }

    /// Waits for something to decide upon, and takes it in. Activity is shown on the way.
    async fn wait(
        &mut self,
        stop: &mut watch::Receiver<Stop>,
        wake: tokio::time::Instant,
        deadline: Option<tokio::time::Instant>,
    ) -> Result<(), EngineError> {
        loop {
            let look = self.next_look();
            tokio::select! {
                biased;
                level = told(stop) => self.stop_work(level),
                Some(done) = self.tasks.join_next() => self.receive(done?)?,
                Some(call) = self.calls.recv() => self.answer(call).await?,
                Some(done) = self.discards.join_next() => {
                    if let Err(sentence) = done? {
                        self.observer.note(&sentence);
                    }
                    continue;
                }
                Some(activity) = self.activity_of_attempts.recv() => {
                    self.observer.activity(&activity);
                    continue;
                }
                // What the radar does is asked of nobody who decides.
                sighting = self.radar.sighting() => {
                    self.take_sighting(sighting)?;
                    continue;
                }
                () = at(look) => {
                    self.look();
                    continue;
                }
                () = tokio::time::sleep_until(wake) => {}
                () = at(deadline), if self.stopping.is_none() => {
                    self.stopping = Some(StopCause::TimeLimit);
                }
            }
            return Ok(());
        }
    }

    /// Tells everything under way to end, because a signal asked for it.
    fn stop_work(&mut self, level: Stop) {
        self.stopping = Some(StopCause::Signal);
        for sender in self.stops.values() {
            sender.send_replace(level);
        }
    }

    fn receive(&mut self, done: Done) -> Result<(), EngineError> {
        self.stops.remove(&done.fence);
        let needs_login = matches!(
            &done.event,
            Event::Unit(UnitScoped {
                what: UnitEvent::AttemptEnded {
                    outcome: Outcome::Auth,
                    ..
                },
                ..
            })
        );
        let refusal = refusal_of_disk(&done.event);
        // An attempt that nobody waited for any more may have written of a head that the unit does not have.
        if let Event::Unit(UnitScoped { unit, .. }) = &done.event
            && !self.state.is_under_way(done.fence)
        {
            self.untold.insert(unit.clone());
        }
        self.record(&[done.event])?;
        if let Some((verification, message)) = done.panicked {
            self.verification_panicked(verification, &message)?;
        }
        done.notes.iter().for_each(|note| self.observer.note(note));
        self.discard(done.place);
        if let Some(refusal) = &refusal {
            self.observer.note(refusal);
        }
        if needs_login || refusal.is_some() {
            self.stopping = Some(self.stopping.unwrap_or(StopCause::Environment));
        }
        Ok(())
    }

    /// A verification of the target is about the first in line: it is asked because of its failure.
    fn verification_panicked(
        &mut self,
        verification: Verification,
        message: &str,
    ) -> Result<(), EngineError> {
        let mut units = verification.units;
        if units.is_empty() {
            units.extend(
                self.state
                    .queue()
                    .entries()
                    .into_iter()
                    .next()
                    .map(|entry| entry.unit),
            );
        }
        self.record_panic(&units, Some(verification.commit), QueueStep::Verify, message)
    }

    /// Removes the place of an attempt whose outcome is recorded, beside everything else.
    pub(super) fn discard(&mut self, place: Option<AttemptKey>) {
        if let Some(key) = place {
            let discarded = self.tools.launcher.discard(self.run.clone(), key);
            self.discards.spawn(discarded);
        }
    }

    /// Waits until the places of all attempts are gone, and tells of those that are not.
    pub(super) async fn finish_discards(&mut self) {
        while let Some(done) = self.discards.join_next().await {
            if let Err(sentence) = done.unwrap_or_else(|error| Err(error.to_string())) {
                self.observer.note(&sentence);
            }
        }
    }

    /// Decides and acts until there is nothing to do but wait. Between two steps it hears who wants something, so that a
    /// long line of landings is no reason to be deaf.
    async fn settle(&mut self, stop: &mut watch::Receiver<Stop>) -> Result<Settled, EngineError> {
        let mut facts = self.facts().await?;
        facts.branches = self.look_at_branches().await?;
        loop {
            self.hear(stop).await?;
            facts.draining = self.stopping.is_some();
            facts.selection = self.options.only.clone();
            self.tell_of_units().await?;
            facts.now = self.tools.clock.now();
            let effects = self.state.decide(&facts);
            let mut settled = Settled::default();
            let mut records = Vec::new();
            let mut acted = false;
            let mut took_time = false;
            for effect in effects {
                match effect {
                    Effect::Record(event) => records.push(event),
                    Effect::TakeBranches(units) => {
                        took_time = true;
                        self.take_branches(units).await?;
                    }
                    Effect::Integrate { base, units } => {
                        took_time = true;
                        self.integrate(base, units).await?;
                    }
                    Effect::Land(verified) => {
                        took_time = true;
                        if let Err(error) = self.land(&verified).await {
                            self.land_panicked(&verified, error).await?;
                        }
                    }
                    Effect::Reuse {
                        commit,
                        purpose,
                        evidence,
                    } => {
                        acted = true;
                        self.reuse(commit, purpose, evidence)?;
                    }
                    Effect::Verify(verification) => self.start_verification(&verification)?,
                    Effect::Attempt { unit, start } => self.start_attempt(unit, start)?,
                    Effect::Wake(at) => {
                        let wait = Duration::try_from(at.duration_since(facts.now)).unwrap_or_default();
                        settled.sleep = Some(wait.max(Duration::from_millis(1)));
                    }
                    Effect::Stop(cause) => settled.stop = Some(self.cause_of_stop(cause)),
                }
            }
            // Decisions that come together are about different units: one write, one flush.
            if !records.is_empty() {
                self.record(&records)?;
            }
            self.break_off_moot();
            if took_time {
                // Branches are looked at once a turn: what is pushed within it is seen in the next.
                let branches = facts.branches;
                facts = self.facts().await?;
                facts.branches = branches;
            } else if !acted && records.is_empty() {
                return Ok(settled);
            }
        }
    }

    /// Takes in what was said since the last step.
    async fn hear(&mut self, stop: &mut watch::Receiver<Stop>) -> Result<(), EngineError> {
        if stop.has_changed().unwrap_or(false) {
            let level = *stop.borrow_and_update();
            if level != Stop::No {
                self.stop_work(level);
            }
        }
        while let Ok(call) = self.calls.try_recv() {
            self.answer(call).await?;
        }
        Ok(())
    }

    /// What comes to its end is finished, and what is unsafe is unsafe, whatever asked for a stop meanwhile.
    fn cause_of_stop(&self, cause: StopCause) -> StopCause {
        match cause {
            StopCause::Finished | StopCause::Safety => cause,
            StopCause::Signal
            | StopCause::Budget
            | StopCause::TimeLimit
            | StopCause::Human
            | StopCause::BaseRed
            | StopCause::Environment => self.stopping.unwrap_or(cause),
        }
    }

    /// Ends what nobody waits for any more: judges of a head that is replaced, verifications of a base that moved.
    fn break_off_moot(&self) {
        let moot = self.state.queue().moot();
        for (fence, sender) in &self.stops {
            if moot.contains(fence) || !self.state.is_under_way(*fence) {
                sender.send_if_modified(|level| {
                    let rises = *level < Stop::Gently;
                    *level = (*level).max(Stop::Gently);
                    rises
                });
            }
        }
    }

    /// Looks at the world.
    pub(super) async fn facts(&mut self) -> Result<Facts, EngineError> {
        let repository = self.tools.repository.clone();
        let target = self.target().to_owned();
        let expected = self.state.queue().expected_tip().cloned();
        let own = self.state.queue().landed();
        let before = self.landed_before.iter().filter(|_| own.is_empty());
        let landed: Vec<Oid> = self.state.landed_work().chain(before).cloned().collect();
        let known = self.looked_at.take();
        let (tip, looked_at) = blocking(move || -> Result<_, crate::git::Error> {
            let Some(tip) = repository.tip(&target)? else {
                return Ok((Tip::Missing, None));
            };
            let continues = match known {
                // Where the queue left the target, everything is there.
                _ if expected.as_ref() == Some(&tip) => true,
                Some((at, of, continues)) if at == tip && of == landed => continues,
                Some(_) | None => repository.contains_all(&tip, &landed)?,
            };
            let tree = repository.tree_of(&tip)?;
            let looked_at = Some((tip.clone(), landed, continues));
            Ok((Tip::At { commit: tip, tree }, looked_at))
        })
        .await??;
        let continues = looked_at.as_ref().is_some_and(|(_, _, continues)| *continues);
        self.looked_at = looked_at;
        Ok(Facts {
            now: self.tools.clock.now(),
            tip,
            tip_continues: continues,
            draining: self.stopping.is_some(),
            selection: self.options.only.clone(),
            branches: BTreeMap::new(),
        })
    }

    /// The target branch of the run.
    pub(super) fn target(&self) -> &str {
        &self
            .state
            .start()
            .expect("a run that was taken up has started")
            .target
    }

    fn start_attempt(&mut self, unit: UnitId, start: unit::Start) -> Result<(), EngineError> {
        let fence = self.state.next_fence();
        self.record(&[Event::Unit(UnitScoped {
            unit: unit.clone(),
            what: UnitEvent::AttemptStarted {
                job: start.job.clone(),
                round: start.round,
                attempt: start.attempt,
                fence,
                agent: start.agent.clone(),
                commit: start.commit.clone(),
            },
        })])?;
        let attempt = Arc::new(attempt::Attempt::new(self, unit, start, fence));
        let stop = self.stop_of(fence);
        let activity = self.activity.clone();
        self.tasks.spawn(async move {
            match caught(Arc::clone(&attempt).perform(stop, activity)).await {
                Ok(done) => done,
                Err(message) => attempt.panicked(message),
            }
        });
        Ok(())
    }

    /// Lets earlier evidence stand in for a verification.
    fn reuse(&mut self, commit: Oid, purpose: VerifyPurpose, evidence: Evidence) -> Result<(), EngineError> {
        let fence = self.state.next_fence();
        self.record(&[
            Event::Queue(QueueEvent::VerifyStarted {
                commit,
                purpose,
                fence,
            }),
            Event::Queue(QueueEvent::VerifyEnded {
                fence,
                evidence,
                reused: true,
            }),
        ])
    }

    fn start_verification(&mut self, verification: &Verification) -> Result<(), EngineError> {
        let fence = self.state.next_fence();
        self.record(&[Event::Queue(QueueEvent::VerifyStarted {
            commit: verification.commit.clone(),
            purpose: verification.purpose,
            fence,
        })])?;
        let job = verify::Job::new(self, verification, fence);
        let verification = verification.clone();
        let stop = self.stop_of(fence);
        let activity = self.activity.clone();
        self.tasks.spawn(async move {
            let broken_off = job.broken_off();
            let key = job.order().key;
            // Checks remove their place themselves, if they come to it.
            let (evidence, panicked, place) = match caught(job.perform(stop, activity)).await {
                Ok(evidence) => (free_of_charge_on_a_bad_disk(evidence), None, None),
                Err(message) => (broken_off, Some((verification, message)), Some(key)),
            };
            Done {
                panicked,
                fence,
                place,
                notes: Vec::new(),
                event: Event::Queue(QueueEvent::VerifyEnded {
                    fence,
                    evidence,
                    reused: false,
                }),
            }
        });
        Ok(())
    }

    fn stop_of(&mut self, fence: u64) -> watch::Receiver<Stop> {
        let (sender, receiver) = watch::channel(Stop::No);
        self.stops.insert(fence, sender);
        receiver
    }

    /// Runs the checks on the target's tip before money is spent, unless evidence for it exists. Who said that no
    /// preflight is wanted learns whether a target that was red has been mended, and is stopped by nothing.
    async fn preflight(
        &mut self,
        stop: &mut watch::Receiver<Stop>,
    ) -> Result<Option<StopCause>, EngineError> {
        let Some((preflight, job)) = verify::Job::preflight(self)? else {
            return Ok(None);
        };
        let (sender, receiver) = watch::channel(Stop::No);
        let mut task = tokio::spawn(job.perform(receiver, self.activity.clone()));
        let evidence = loop {
            tokio::select! {
                evidence = &mut task => break evidence?,
                Some(activity) = self.activity_of_attempts.recv() => self.observer.activity(&activity),
                Some(call) = self.calls.recv() => self.answer(call).await?,
                level = told(stop) => {
                    sender.send_replace(level);
                    self.stopping = Some(StopCause::Signal);
                }
            }
        };
        if self.stopping.is_some() {
            return Ok(self.stopping);
        }
        if let Some(broken) = evidence
            .results
            .iter()
            .find(|row| row.outcome == CheckOutcome::Infrastructure)
        {
            let error = EngineError::Preflight(broken.tail.clone());
            if !self.options.skip_preflight {
                return Err(error);
            }
            self.observer.note(&error.to_string());
            return Ok(None);
        }
        let stops = !evidence.passed() && !self.options.skip_preflight;
        let event = preflight.ended(&evidence.results, self.state.environment());
        self.record(&[Event::Run(event)])?;
        Ok(stops.then_some(StopCause::BaseRed))
    }

    /// Records that the engine is done with the run, for now or for good.
    async fn let_go(&mut self, cause: StopCause) -> Result<StopCause, EngineError> {
        self.radar.end().await;
        self.finish_discards().await;
        let complete = cause == StopCause::Finished && self.state.is_complete();
        let finished = complete.then_some(Event::Run(RunEvent::RunFinished));
        let stopped = Event::Run(RunEvent::EngineStopped { why: cause });
        let events: Vec<Event> = finished.into_iter().chain([stopped]).collect();
        self.record(&events)?;
        Ok(cause)
    }
}

/// A verification that the disk did not let happen costs nobody anything.
fn free_of_charge_on_a_bad_disk(mut evidence: Evidence) -> Evidence {
    for row in &mut evidence.results {
        if row.outcome == CheckOutcome::Infrastructure && disk_remedy(&row.tail).is_some() {
            row.outcome = CheckOutcome::Interrupted;
        }
    }
    evidence
}

/// What to tell when the disk refused what an attempt or a verification needed.
fn refusal_of_disk(event: &Event) -> Option<String> {
    let told = |why: &str| disk_remedy(why).map(|remedy| format!("{why}: {remedy}"));
    match event {
        Event::Unit(UnitScoped {
            what:
                UnitEvent::AttemptEnded {
                    outcome: Outcome::Interrupted,
                    detail: Some(why),
                    ..
                },
            ..
        }) => told(why),
        Event::Queue(QueueEvent::VerifyEnded { evidence, .. }) => evidence
            .results
            .iter()
            .filter(|row| row.outcome == CheckOutcome::Interrupted)
            .find_map(|row| told(&row.tail)),
        Event::Run(_) | Event::Unit(_) | Event::Queue(_) => None,
    }
}

/// What settling came to.
#[derive(Default)]
struct Settled {
    sleep: Option<Duration>,
    stop: Option<StopCause>,
}

/// Runs blocking work of git or of the file system off the async threads.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, tokio::task::JoinError> {
    tokio::task::spawn_blocking(work).await
}

/// Waits for the next wish to stop; for ever when nobody is left to utter one.
async fn told(stop: &mut watch::Receiver<Stop>) -> Stop {
    while stop.changed().await.is_ok() {
        let level = *stop.borrow_and_update();
        if level != Stop::No {
            return level;
        }
    }
    std::future::pending().await
}

/// Waits for a moment, or for ever.
async fn at(moment: Option<tokio::time::Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment).await,
        None => std::future::pending().await,
    }
}
