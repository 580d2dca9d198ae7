//! What to do next.
//!
//! The order of the questions is the order of this file: does anything have to be written down; may anything land; has
//! nothing landed for too long; may a unit begin; what may start in the slots that are free; is there a reason to stop.
//! Writing down comes alone, because everything after it is asked again once it is written. Units begin after the queue
//! was asked, and only as many as slots are free: so each stands on the newest target there is when its work starts.

use std::cmp::Reverse;

use jiff::Timestamp;

use super::agenda::Rank;
use super::resources::Claims;
use super::{Effect, Facts, State, Verification, agent_of, queue_checks, subject};
use crate::event::{Event, Evidence, Job, QueueEvent, StopCause, UnitEvent, UnitScoped};
use crate::id::{Oid, UnitId};
use crate::policy::{self, Pacing};
use crate::queue::{self, Tip};
use crate::spec::Unit;
use crate::unit::{self, Phase};

impl State {
    /// What is to be done now. Empty means: wait for what is under way.
    ///
    /// Decisions to record come alone: the engine records them and asks again.
    pub fn decide(&self, facts: &Facts) -> Vec<Effect> {
        if self.queue.safety_stop().is_some() {
            return self.stop_when_quiet(StopCause::Safety);
        }
        if let Some(taking) = self.branches_to_take(facts) {
            return vec![Effect::TakeBranches(taking)];
        }
        let moved = self.moved_branches(facts);
        if !moved.is_empty() {
            return moved.into_iter().map(Effect::Record).collect();
        }
        let mut asked = self.ask_units(facts);
        if !asked.records.is_empty() {
            return asked.records.into_iter().map(Effect::Record).collect();
        }
        let of_queue = self.ask_queue(facts, &mut asked);
        if of_queue.iter().any(is_immediate) {
            return of_queue.into_iter().filter(is_immediate).collect();
        }
        if let Some(alarm) = self.alarm(facts.now).filter(|_| !facts.draining) {
            return vec![Effect::Record(alarm)];
        }
        let mut effects = Vec::new();
        if !facts.draining && !self.queue.is_paused() {
            let mut claims = self.held.claims();
            effects.extend(
                of_queue
                    .into_iter()
                    .filter(|run| self.is_granted(run, &mut claims)),
            );
            let free = (self.slots_free() as usize).saturating_sub(effects.len());
            let begin = self.units_to_begin(facts, &asked, free, claims.clone());
            if !begin.is_empty() {
                return begin.into_iter().map(Effect::Record).collect();
            }
            effects.extend(self.starts(&mut asked, facts.now, free, claims));
        }
        // What holds a resource ends, even if nobody waits for its outcome.
        let idle = self.running() == 0 && self.held.is_empty() && !effects.iter().any(is_work);
        if idle {
            effects.extend(self.reason_to_stop(facts, &asked).map(Effect::Stop));
        }
        // Who lets go raises no alarm.
        let stays = !facts.draining && !effects.iter().any(|effect| matches!(effect, Effect::Stop(_)));
        let alarm = self.alarm_due().filter(|_| stays);
        effects.extend(asked.wake.into_iter().chain(alarm).min().map(Effect::Wake));
        effects
    }

    /// Everything the units want, with records apart.
    fn ask_units(&self, facts: &Facts) -> Asked {
        let mut asked = Asked::default();
        for place in self.agenda.live() {
            let unit = &self.pipeline.units[place as usize];
            let id = &unit.id;
            if !is_selected(facts, id) {
                continue;
            }
            for effect in self.units[id].decide(facts.now) {
                match effect {
                    unit::Effect::Record(what) => asked.records.push(of_unit(id, what)),
                    unit::Effect::Start(start) => asked.starts.push((id.clone(), start)),
                    unit::Effect::Wake(at) => asked.wake_at(at),
                }
            }
            asked.records.extend(self.blocking_change(unit));
            asked.records.extend(self.enqueue(unit));
        }
        asked.starts.sort_by_cached_key(|(id, _)| self.rank(id));
        asked
    }

    /// Whether a unit becomes blocked, or is blocked no more.
    fn blocking_change(&self, unit: &Unit) -> Option<Event> {
        let dead = unit.needs.iter().find(|need| is_dead(self.units[*need].phase()));
        match (self.units[&unit.id].phase(), dead) {
            (Phase::Waiting, Some(need)) => {
                Some(of_unit(&unit.id, UnitEvent::UnitBlocked { on: need.clone() }))
            }
            (Phase::Blocked, None) => Some(of_unit(&unit.id, UnitEvent::UnitUnblocked)),
            (
                Phase::Waiting
                | Phase::Blocked
                | Phase::Working
                | Phase::Gated
                | Phase::Queued
                | Phase::Landed
                | Phase::Published
                | Phase::Evicted
                | Phase::Cancelled
                | Phase::Discarded,
                _,
            ) => None,
        }
    }

    /// Whether a unit is approved and its approval is not in line yet.
    pub(super) fn waits_outside(&self, id: &UnitId) -> bool {
        let state = &self.units[id];
        state.phase() == Phase::Queued
            && self
                .queue
                .generation_in_line(id)
                .is_none_or(|generation| generation < state.generation())
    }

    /// An approved unit joins the queue.
    fn enqueue(&self, unit: &Unit) -> Option<Event> {
        if !self.waits_outside(&unit.id) {
            return None;
        }
        let state = &self.units[&unit.id];
        Some(Event::Queue(QueueEvent::Enqueued {
            unit: unit.id.clone(),
            generation: state.generation(),
            head: state.head()?.clone(),
            base: state.base()?.clone(),
            priority: unit.priority,
            place: self.places[&unit.id],
        }))
    }

    /// Units that could begin now, the first first.
    fn ready<'a>(&'a self, facts: &'a Facts) -> impl Iterator<Item = (&'a Rank, &'a UnitId)> {
        self.agenda.ready().filter_map(|rank| {
            let id = &self.pipeline.units[rank.2 as usize].id;
            let mut after = self.order.after(id).iter();
            let is_free =
                is_selected(facts, id) && after.all(|earlier| self.is_out_of_the_way(facts, earlier));
            is_free.then_some((rank, id))
        })
    }

    /// Whether a unit that claims the same paths has come to an end, or is left alone this time and will not land.
    fn is_out_of_the_way(&self, facts: &Facts, id: &UnitId) -> bool {
        let left_alone = !is_selected(facts, id) && self.queue.generation_in_line(id).is_none();
        has_ended(self.units[id].phase()) || left_alone
    }

    /// Units that begin, each because the free slots reach down to it and what it must hold is free: on the target's tip,
    /// or where their branch left it.
    fn units_to_begin(&self, facts: &Facts, asked: &Asked, free: usize, mut claims: Claims) -> Vec<Event> {
        let Tip::At { commit: tip, .. } = &facts.tip else {
            return Vec::new();
        };
        // A spent budget starts nothing, and a unit that has not begun is not recorded as if it had.
        if self.budget_is_spent() {
            return Vec::new();
        }
        let mut ready = self.ready(facts).peekable();
        if ready.peek().is_none() {
            return Vec::new();
        }
        let mut wanted = asked.starts.iter().peekable();
        let mut begin = Vec::new();
        let mut free = free;
        for (rank, id) in ready {
            while let Some((id, start)) = wanted.next_if(|(of_start, _)| self.rank(of_start) < *rank) {
                free = free.saturating_sub(1);
                if self.pause_before(start, &self.pacing, facts.now).is_none() {
                    claims.grant(self.resources_of_job(id, &start.job));
                }
            }
            if free == 0 {
                break;
            }
            if claims.grant(self.resources_to_begin(id)) {
                free -= 1;
                let base = self.units[id].intake().map_or(tip, |intake| &intake.base);
                begin.push(of_unit(id, UnitEvent::UnitStarted { base: base.clone() }));
            }
        }
        begin
    }

    /// Where a unit's next attempt stands among those of others.
    fn rank(&self, id: &UnitId) -> Rank {
        let left = u64::from(self.units[id].remaining_stages()) + self.order.behind(id);
        let place = self.places[id];
        let priority = self.pipeline.units[place as usize].priority;
        (Reverse(left), Reverse(priority), place)
    }

    fn ask_queue(&self, facts: &Facts, asked: &mut Asked) -> Vec<Effect> {
        let evidence = |tree: &Oid, units: &[UnitId]| self.evidence_for(facts, tree, units).cloned();
        let known_green = |check: &str| self.gate.contains(check) && self.evidence.was_green_on_target(check);
        let queue_facts = queue::Facts {
            now: facts.now,
            tip: facts.tip.clone(),
            tip_continues: facts.tip_continues,
            slots_free: self.slots_free(),
            evidence: &evidence,
            known_green: &known_green,
            paused: facts.draining,
        };
        self.queue
            .decide(&queue_facts)
            .into_iter()
            .filter_map(|effect| match effect {
                queue::Effect::Record(event) => Some(Effect::Record(Event::Queue(event))),
                queue::Effect::Integrate { base, units, .. } => Some(Effect::Integrate { base, units }),
                queue::Effect::Verify {
                    commit,
                    tree,
                    units,
                    purpose,
                    ..
                } => Some(Effect::Verify(Verification {
                    commit,
                    tree,
                    units,
                    purpose,
                })),
                queue::Effect::Reuse {
                    commit,
                    purpose,
                    evidence,
                } => Some(Effect::Reuse {
                    commit,
                    purpose,
                    evidence,
                }),
                queue::Effect::Land(verified) => Some(Effect::Land(verified)),
                queue::Effect::Wake(at) => {
                    asked.wake_at(at);
                    None
                }
            })
            .collect()
    }

    /// Passing evidence for a tree under the queue's checks for these units; for the target itself when there are
    /// none. Checks that depend on history leave none that could be used for another commit.
    fn evidence_for(&self, facts: &Facts, tree: &Oid, units: &[UnitId]) -> Option<&Evidence> {
        let of_units = self.pipeline.units.iter().filter(|unit| units.contains(&unit.id));
        let checks = queue_checks(&self.pipeline, of_units);
        let about = match &facts.tip {
            Tip::At { commit, .. } if units.is_empty() => subject(&checks, commit, tree),
            Tip::At { .. } | Tip::Missing => tree,
        };
        self.evidence_of(about, &checks, facts.now)
    }

    fn slots_free(&self) -> u32 {
        let running = u32::try_from(self.running()).unwrap_or(u32::MAX);
        self.pipeline.limits.parallel.saturating_sub(running)
    }

    /// Until when the distance between two starts of its agent keeps an attempt from starting, if it does.
    fn pause_before(&self, start: &unit::Start, pacing: &Pacing, now: Timestamp) -> Option<Timestamp> {
        let interval = self.pipeline.limits.start_interval;
        pacing.next_start(agent_of(start)?, interval, now)
    }

    /// Which attempts start in the free slots. Starts of one agent keep their distance, and
    /// what an attempt must hold is free.
    fn starts(&self, asked: &mut Asked, now: Timestamp, mut free: usize, mut claims: Claims) -> Vec<Effect> {
        let mut effects = Vec::new();
        let mut pacing = self.pacing.clone();
        let mut wake = None;
        for (id, start) in &asked.starts {
            if free == 0 {
                break;
            }
            // Checks cost nothing: what is paid for is judged also when the budget is spent.
            if start.job != Job::Checks && self.budget_is_spent() {
                continue;
            }
            if let Some(earliest) = self.pause_before(start, &pacing, now) {
                wake = Some(wake.map_or(earliest, |wake: Timestamp| wake.min(earliest)));
                continue;
            }
            if !claims.grant(self.resources_of_job(id, &start.job)) {
                continue;
            }
            if let Some(agent) = agent_of(start) {
                pacing.started(agent, now);
            }
            free -= 1;
            effects.push(Effect::Attempt {
                unit: id.clone(),
                start: start.clone(),
            });
        }
        if let Some(at) = wake {
            asked.wake_at(at);
        }
        effects
    }

    /// Whether the run's budget is reached.
    pub fn budget_is_spent(&self) -> bool {
        policy::is_spent(self.spent, self.pipeline.limits.budget)
    }

    /// Whether what a run of the queue must hold is free; anything else needs nothing.
    fn is_granted(&self, effect: &Effect, claims: &mut Claims) -> bool {
        let Effect::Verify(verification) = effect else {
            return true;
        };
        claims.grant(self.resources_of_verification(&verification.units))
    }

    fn stop_when_quiet(&self, why: StopCause) -> Vec<Effect> {
        if self.running() == 0 {
            vec![Effect::Stop(why)]
        } else {
            Vec::new()
        }
    }

    /// Nothing runs and nothing can start: why, if it is not only a matter of time.
    fn reason_to_stop(&self, facts: &Facts, asked: &Asked) -> Option<StopCause> {
        let mut units = self.units.iter().filter(|(id, _)| is_selected(facts, id));
        if units.all(|(_, unit)| has_ended(unit.phase())) && self.queue.is_idle() {
            return Some(StopCause::Finished);
        }
        if facts.draining {
            return Some(StopCause::Signal);
        }
        if self.queue.is_paused() {
            return (!self.paused_at_work).then_some(StopCause::Human);
        }
        if !asked.starts.is_empty() || self.ready(facts).next().is_some() {
            return self.budget_is_spent().then_some(StopCause::Budget);
        }
        if self.queue.base_red().is_some() {
            return Some(StopCause::BaseRed);
        }
        if self.queue.is_rejected() {
            return asked.wake.is_none().then_some(StopCause::Environment);
        }
        asked.wake.is_none().then_some(StopCause::Human)
    }
}

/// What the units want.
#[derive(Default)]
struct Asked {
    records: Vec<Event>,
    /// In the order in which they are served.
    starts: Vec<(UnitId, unit::Start)>,
    wake: Option<Timestamp>,
}

impl Asked {
    fn wake_at(&mut self, at: Timestamp) {
        self.wake = Some(self.wake.map_or(at, |wake| wake.min(at)));
    }
}

/// Whether this engine works on the unit.
pub(super) fn is_selected(facts: &Facts, id: &UnitId) -> bool {
    facts.selection.as_ref().is_none_or(|only| only.contains(id))
}

pub(super) fn of_unit(unit: &UnitId, what: UnitEvent) -> Event {
    Event::Unit(UnitScoped {
        unit: unit.clone(),
        what,
    })
}

/// Effects that are carried out at once and change what is decided next.
fn is_immediate(effect: &Effect) -> bool {
    match effect {
        Effect::Record(_)
        | Effect::TakeBranches(_)
        | Effect::Integrate { .. }
        | Effect::Land(_)
        | Effect::Reuse { .. } => true,
        Effect::Verify(_) | Effect::Attempt { .. } | Effect::Wake(_) | Effect::Stop(_) => false,
    }
}

fn is_work(effect: &Effect) -> bool {
    match effect {
        Effect::Attempt { .. }
        | Effect::Verify(_)
        | Effect::Reuse { .. }
        | Effect::Record(_)
        | Effect::TakeBranches(_)
        | Effect::Integrate { .. }
        | Effect::Land(_) => true,
        Effect::Wake(_) | Effect::Stop(_) => false,
    }
}

/// Whether what a unit was to bring is there for those that need it.
pub(super) fn is_done(phase: Phase) -> bool {
    match phase {
        Phase::Landed | Phase::Published => true,
        Phase::Waiting
        | Phase::Working
        | Phase::Gated
        | Phase::Queued
        | Phase::Evicted
        | Phase::Blocked
        | Phase::Cancelled
        | Phase::Discarded => false,
    }
}

/// Whether those that need the unit wait in vain.
pub(super) fn is_dead(phase: Phase) -> bool {
    match phase {
        Phase::Evicted | Phase::Blocked | Phase::Cancelled | Phase::Discarded => true,
        Phase::Waiting | Phase::Working | Phase::Gated | Phase::Queued | Phase::Landed | Phase::Published => {
            false
        }
    }
}

/// Whether nothing more happens to the unit by itself, so that it no longer claims its paths.
pub(super) fn has_ended(phase: Phase) -> bool {
    is_done(phase) || is_dead(phase)
}
