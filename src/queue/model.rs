//! The machine against a world that knows the truth: units that are good, bad, flaky or mended by a fix, a target
//! that others move, break and repair, and on which they rewrite what is theirs, runs that are interrupted or that the
//! machine fails, swaps that are raced, refused or cut by a crash, people who cancel, pause, freeze and let units go first.

use std::collections::{BTreeMap, BTreeSet};

use proptest::collection::vec;
use proptest::prelude::*;

use super::scenario::{Swap, World, unit};
use super::{CHARGE_FAILURE, EVICT_AT, EntryView, Settings, State, Status};
use crate::event::{Candidate, CheckOutcome, EntryEnd, Hold, QueueEvent, VerifyPurpose};
use crate::id::{Oid, UnitId};
use crate::spec::Breadth;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Nature {
    Good,
    Bad,
    /// Bad until it has been sent back once.
    Mends,
    /// Fails whenever the die says so.
    Flaky,
}

impl Nature {
    /// Whether the checks fail, always or at times, because of the work of that generation.
    fn is_at_fault(self, generation: u32) -> bool {
        match self {
            Self::Good => false,
            Self::Bad | Self::Flaky => true,
            Self::Mends => generation == 1,
        }
    }
}

#[derive(Debug, Clone)]
enum Step {
    Enqueue(usize),
    /// A run ends: which, and how the die fell.
    End(usize, u8),
    Interrupt(usize),
    MachineFails(usize),
    BreakOff,
    OthersMove,
    OthersAmend,
    OthersBreak,
    OthersRepair,
    NextSwap(Swap),
    Release,
    Cancel(usize),
    Drain(bool),
    Pause,
    Freeze(Option<i64>),
    Raise(usize, bool),
    Replay,
}

const UNITS: usize = 5;
/// How the world says that a unit was sent back with a conflict.
const CONFLICT: &str = "sent_back conflict_target";

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..UNITS).prop_map(Step::Enqueue),
        10 => (0_usize..4, any::<u8>()).prop_map(|(which, die)| Step::End(which, die)),
        1 => (0_usize..4).prop_map(Step::Interrupt),
        1 => (0_usize..4).prop_map(Step::MachineFails),
        2 => Just(Step::BreakOff),
        1 => Just(Step::OthersMove),
        1 => Just(Step::OthersAmend),
        1 => Just(Step::OthersBreak),
        1 => Just(Step::OthersRepair),
        2 => prop_oneof![
            Just(Swap::Raced), Just(Swap::Dirty), Just(Swap::Rejected), Just(Swap::Crash(false)), Just(Swap::Crash(true))
        ].prop_map(Step::NextSwap),
        1 => Just(Step::Release),
        1 => (0..UNITS).prop_map(Step::Cancel),
        1 => any::<bool>().prop_map(Step::Drain),
        1 => Just(Step::Pause),
        1 => prop_oneof![Just(None), (-1_i64..3).prop_map(Some)].prop_map(Step::Freeze),
        1 => (0..UNITS, any::<bool>()).prop_map(|(number, interrupt)| Step::Raise(number, interrupt)),
        2 => Just(Step::Replay),
    ]
}

fn breadth() -> impl Strategy<Value = Breadth> {
    prop_oneof![
        2 => Just(Breadth::Fixed(1)),
        2 => (2_u32..5).prop_map(Breadth::Fixed),
        2 => Just(Breadth::Auto),
    ]
}

/// A queue of any breadth, serial ones among them, that sends units back with a few conflicts or with none.
fn settings() -> impl Strategy<Value = Settings> {
    (breadth(), breadth(), 1_u32..5, 0_u32..3).prop_map(|(window, batch, parallel, conflicts_max)| Settings {
        window,
        batch,
        parallel,
        conflicts_max,
        ..Settings::serial(crate::spec::Strategy::Rebase)
    })
}

/// Two of the units that cannot be put onto one another, in some worlds.
fn at_odds() -> impl Strategy<Value = Option<(usize, usize)>> {
    prop_oneof![
        Just(None),
        (0..UNITS, 1..UNITS).prop_map(|(one, by)| Some((one, (one + by) % UNITS)))
    ]
}

fn nature() -> impl Strategy<Value = Nature> {
    prop_oneof![
        3 => Just(Nature::Good),
        1 => Just(Nature::Bad),
        1 => Just(Nature::Mends),
        1 => Just(Nature::Flaky),
    ]
}

struct Play {
    world: World,
    units: Vec<(String, Nature, i64)>,
    cancelled: BTreeSet<usize>,
    /// Whether authors resolve the conflicts they are sent back with.
    resolves: bool,
}

impl Play {
    fn take(&mut self, step: &Step) {
        match step {
            Step::Enqueue(number) => self.enqueue(*number),
            Step::End(which, die) => self.end(*which, *die),
            Step::Interrupt(which) => self.end_with(*which, CheckOutcome::Interrupted),
            Step::MachineFails(which) => self.end_with(*which, CheckOutcome::Infrastructure),
            Step::BreakOff => self.world.break_off(),
            Step::OthersMove => self.world.others_add("theirs"),
            Step::OthersAmend => self.world.others_amend("amended"),
            Step::OthersBreak => self.world.others_add("red"),
            Step::OthersRepair => self.world.others_remove("red"),
            Step::NextSwap(swap) => self.world.swap = *swap,
            Step::Release => self.release(),
            Step::Cancel(number) => self.cancel(*number),
            Step::Drain(draining) => self.world.paused = *draining,
            Step::Pause => self.pause(),
            Step::Freeze(below) => self.freeze(*below),
            Step::Raise(number, interrupt) => self.raise(*number, *interrupt),
            Step::Replay => self.replay(),
        }
        self.world.settle();
    }

    /// Takes a unit in: its first generation, or the next after it was sent back.
    fn enqueue(&mut self, number: usize) {
        let (name, _, priority) = self.units[number].clone();
        let lefts = self.world.left(&name);
        let gone = lefts.last().is_some_and(|left| !left.starts_with("sent_back"));
        if self.world.status(&name) != "gone" || self.world.landed().contains(&name.as_str()) || gone {
            return;
        }
        let generation = u32::try_from(lefts.len()).unwrap() + 1;
        if self.resolves && lefts.last().is_some_and(|left| left == CONFLICT) {
            self.world.conflicts.clear();
        }
        self.world
            .enqueue(&name, generation, priority, u32::try_from(number).unwrap());
    }

    fn end(&mut self, which: usize, die: u8) {
        let Some(commit) = self.commit_of_run(which) else {
            return;
        };
        let words = &self.world.commits[&commit].words;
        let fails = words.contains("red")
            || self.units.iter().any(|(name, nature, _)| match nature {
                Nature::Good => false,
                Nature::Bad => words.iter().any(|word| word.starts_with(&format!("{name}#"))),
                Nature::Mends => words.contains(&format!("{name}#1")),
                Nature::Flaky => {
                    die.is_multiple_of(3) && words.iter().any(|word| word.starts_with(&format!("{name}#")))
                }
            });
        let outcome = if fails {
            CheckOutcome::Failed
        } else {
            CheckOutcome::Passed
        };
        self.end_with(which, outcome);
    }

    fn commit_of_run(&self, which: usize) -> Option<Oid> {
        let open = &self.world.open;
        let run = open.get(which.checked_rem(open.len())?)?;
        Some(run.1.clone())
    }

    fn end_with(&mut self, which: usize, outcome: CheckOutcome) {
        if let Some(place) = which.checked_rem(self.world.open.len()) {
            self.world.end_at(place, &[("test", outcome)]);
        }
    }

    fn release(&mut self) {
        for (name, _, _) in self.units.clone() {
            let entry = self.world.state.entry(&unit(&name));
            let is_dirty = |entry: EntryView| {
                matches!(
                    entry.status,
                    Status::Held(Hold::TargetDirty { .. } | Hold::PushRejected { .. })
                )
            };
            if entry.is_some_and(is_dirty) {
                self.world.record(QueueEvent::EntryReleased { unit: unit(&name) });
            }
        }
    }

    fn cancel(&mut self, number: usize) {
        let name = self.units[number].0.clone();
        if self.world.status(&name) != "gone" {
            self.cancelled.insert(number);
            self.world.record(QueueEvent::EntryLeft {
                unit: unit(&name),
                end: EntryEnd::Cancelled,
            });
        }
    }

    /// Pauses the queue, or lifts the pause.
    fn pause(&mut self) {
        let paused = self.world.state.is_paused();
        self.world.record(if paused {
            QueueEvent::QueueResumed
        } else {
            QueueEvent::QueuePaused
        });
    }

    fn freeze(&mut self, below: Option<i64>) {
        if self.world.state.frozen_below() != below {
            self.world
                .record(below.map_or(QueueEvent::QueueThawed, |below| QueueEvent::QueueFrozen { below }));
        }
    }

    fn raise(&mut self, number: usize, interrupt: bool) {
        let unit = unit(&self.units[number].0);
        if let Some(priority) = self.world.state.priority_on_top(&unit) {
            self.world.record(QueueEvent::EntryRaised {
                unit,
                priority,
                interrupt,
            });
        }
    }

    /// State is the fold of the journal.
    fn replay(&mut self) {
        let mut state = State::new(self.world.state.settings);
        for event in &self.world.journal {
            state.apply(event).unwrap();
        }
        assert_eq!(state, self.world.state);
    }

    /// No more faults: everything must come to an end.
    fn finish(&mut self) {
        self.world.paused = false;
        if self.world.state.is_paused() {
            self.pause();
        }
        self.freeze(None);
        self.world.swap = Swap::Clean;
        self.world.others_remove("red");
        self.world.settle();
        for _ in 0..400 {
            let before = self.world.journal.len();
            (0..UNITS).for_each(|number| self.enqueue(number));
            self.release();
            self.world.settle();
            self.world.break_off();
            if self.world.open.is_empty() && self.world.journal.len() == before {
                break;
            }
            self.end(0, 1);
        }
        self.replay();
    }

    fn check(&self) {
        assert!(
            self.world.state.is_idle(),
            "no entry is lost: {:?}",
            self.world.state.entries()
        );
        let blamed = self.blamed();
        for (number, (name, nature, _)) in self.units.iter().enumerate() {
            let landings = self
                .world
                .landed()
                .iter()
                .filter(|landed| *landed == name)
                .count();
            let terminal = self
                .world
                .left(name)
                .iter()
                .filter(|left| !left.starts_with("sent_back"))
                .count();
            assert_eq!(landings + terminal, 1, "{name} reaches one terminal state");
            let failures = blamed.iter().filter(|blamed| *blamed == name).count();
            match nature {
                Nature::Good => assert_eq!(failures, 0, "{name} is good and charged"),
                Nature::Mends => assert!(failures <= 1, "{name} is charged for its first generation alone"),
                Nature::Bad => assert_eq!(landings, 0, "{name} is bad and landed"),
                Nature::Flaky => {}
            }
            let charges = self.world.charges();
            let spent: u32 = charges.iter().filter(|c| c.0 == *name).map(|c| c.1).sum();
            let conflicts = self
                .world
                .left(name)
                .last()
                .is_some_and(|left| left == "evicted conflict_target");
            if *nature == Nature::Good && !self.cancelled.contains(&number) && spent < EVICT_AT && !conflicts
            {
                assert_eq!(landings, 1, "{name} is good and did not land");
            }
            assert!(
                !conflicts || self.its_other_landed(name),
                "{name} conflicts with nothing that landed"
            );
            let lefts = self.world.left(name);
            let sent = lefts.iter().filter(|left| *left == CONFLICT).count();
            let most = self.world.state.settings.conflicts_max as usize;
            assert!(
                sent <= most,
                "{name} is sent back with {sent} conflicts of {most}"
            );
            assert!(
                !conflicts || sent == most,
                "{name} is evicted after {sent} conflicts of {most}"
            );
        }
        self.check_landings();
        self.check_order();
    }

    fn its_other_landed(&self, name: &str) -> bool {
        let pairs = self.world.conflicts.iter();
        let mut others = pairs.filter_map(|(one, two)| match name {
            name if name == one => Some(two),
            name if name == two => Some(one),
            _ => None,
        });
        others.any(|other| self.world.landed().contains(&other.as_str()))
    }

    /// What landed was passed by a real run, as exactly that tree, and is still there, each unit as a commit of its own
    /// between the old tip and the new.
    fn check_landings(&self) {
        let tip = self.world.tip();
        for event in &self.world.journal {
            let QueueEvent::Landed { from, to, units, .. } = event else {
                continue;
            };
            assert!(self.world.passed.contains(&self.world.commits[to].tree));
            assert!(self.world.contains(&tip, to));
            let mut onto = from;
            for landed in units {
                assert_eq!(self.world.commits[&landed.commit].parent.as_ref(), Some(onto));
                assert_eq!(landed.unverified, landed.commit != *to);
                onto = &landed.commit;
            }
            assert_eq!(onto, to);
        }
    }

    /// Whenever units were chosen, no other that waited for its turn came before them by priority, then age, then
    /// place. Ages and the line are counted here from the journal alone; who has a candidate or is held, the queue says.
    fn check_order(&self) {
        let (mut line, mut ages, mut step) = (BTreeMap::new(), BTreeMap::new(), 0_u32);
        let mut raised: BTreeMap<UnitId, i64> = BTreeMap::new();
        let mut state = State::new(self.world.state.settings);
        for event in &self.world.journal {
            match event {
                QueueEvent::Enqueued {
                    unit,
                    priority,
                    place,
                    ..
                } => {
                    let age = *ages.entry(unit.clone()).or_insert(step);
                    let priority = raised.get(unit).unwrap_or(priority);
                    line.insert(unit.clone(), (-priority, age, *place));
                }
                QueueEvent::EntryRaised { unit, priority, .. } => {
                    raised.insert(unit.clone(), *priority);
                    line.get_mut(unit).unwrap().0 = -priority;
                }
                QueueEvent::LandIntended { commit, .. } => {
                    let lands: Vec<_> = line
                        .keys()
                        .filter(|unit| state.entry(unit).is_some_and(|e| e.chain_place == Some(0)))
                        .collect();
                    assert!(!state.is_paused(), "{commit} lands while the queue is paused");
                    let frozen =
                        |unit: &&&UnitId| state.frozen_below().is_some_and(|below| -line[**unit].0 < below);
                    assert_eq!(lands.iter().find(frozen), None, "a frozen unit lands");
                }
                QueueEvent::CandidateBuilt { candidate } => {
                    let waits = |unit: &UnitId| state.entry(unit).is_some_and(|e| e.status == Status::Queued);
                    let mut waiting: Vec<_> = line.iter().filter(|(unit, _)| waits(unit)).collect();
                    waiting.sort_by_key(|(_, rank)| **rank);
                    let first: Vec<_> = waiting.iter().map(|(unit, _)| *unit).collect();
                    let chosen: Vec<_> = candidate.units.iter().map(|member| &member.unit).collect();
                    assert_eq!(
                        first[..chosen.len()],
                        chosen,
                        "not the first of those that waited"
                    );
                    step += 1;
                }
                QueueEvent::IntegrationFailed { .. } | QueueEvent::BatchSplit { .. } => step += 1,
                QueueEvent::Landed { units, .. } => {
                    line.retain(|unit, _| units.iter().all(|landed| landed.unit != *unit));
                    step += 1;
                }
                QueueEvent::SentBack { unit, .. }
                | QueueEvent::SentToResolve { unit, .. }
                | QueueEvent::EntryLeft { unit, .. } => {
                    line.remove(unit);
                    step += 1;
                }
                _ => {}
            }
            state.apply(event).unwrap();
        }
    }

    /// Every charge for a failure, by unit. Each must follow two failed runs of the very candidate, none of them before
    /// a red base was cleared, and a pass of its base, which was the last that a run said about it.
    ///
    /// Left out are the charges no queue could spare: the unit is not at fault, but work that landed before it is
    /// flaky, and failed under both of the unit's runs and not under its base's. What the queue sees then is to the
    /// letter what it sees of a unit that is at fault (a test below shows it), so the truth cannot be demanded of it.
    fn blamed(&self) -> Vec<String> {
        let mut blamed = Vec::new();
        let mut built: Vec<(&Candidate, u32)> = Vec::new();
        let (mut runs, mut base_passed, mut red) = (BTreeMap::new(), BTreeMap::new(), None);
        let mut state = State::new(self.world.state.settings);
        for event in &self.world.journal {
            match event {
                QueueEvent::CandidateBuilt { candidate } => built.push((candidate, 0)),
                QueueEvent::VerifyStarted {
                    fence,
                    purpose,
                    commit,
                } => {
                    let latest = built
                        .iter()
                        .rposition(|(candidate, _)| candidate.commit == *commit);
                    runs.insert(*fence, (*purpose, commit, latest));
                }
                QueueEvent::VerifyEnded { fence, evidence, .. } => {
                    let outcome = evidence.first_failure().map(|row| row.outcome);
                    let failed = outcome == Some(CheckOutcome::Failed);
                    match runs[fence] {
                        (VerifyPurpose::Candidate, _, place) => {
                            built[place.unwrap()].1 += u32::from(failed);
                        }
                        (VerifyPurpose::Base, commit, _) => {
                            if evidence.passed() && red.take_if(|red| *red == commit).is_some() {
                                built.iter_mut().for_each(|(_, failures)| *failures = 0);
                            }
                            if evidence.passed() || failed {
                                base_passed.insert(commit, evidence.passed());
                            }
                        }
                    }
                }
                QueueEvent::BaseRed { commit, .. } => red = Some(commit),
                QueueEvent::EntryCharged { unit, charge, .. } if *charge == CHARGE_FAILURE => {
                    let holds = |(candidate, _): &&(&Candidate, u32)| {
                        candidate.units.iter().any(|member| member.unit == *unit)
                    };
                    let (candidate, failures) = built.iter().rfind(holds).unwrap();
                    assert_eq!(candidate.units.len(), 1, "{unit} is charged for others");
                    assert_eq!(
                        state.expected_tip(),
                        Some(&candidate.base),
                        "{unit} is on unlanded work"
                    );
                    assert!(*failures >= 2, "{unit} is charged after {failures} failed runs");
                    assert_eq!(base_passed.get(&candidate.base), Some(&true), "{unit}'s base");
                    if !self.is_beyond_telling(candidate) {
                        blamed.push(unit.to_string());
                    }
                }
                _ => {}
            }
            state.apply(event).unwrap();
        }
        blamed
    }

    /// Whether only flaky work in its base can have failed a candidate.
    fn is_beyond_telling(&self, candidate: &Candidate) -> bool {
        let member = &candidate.units[0];
        let at_fault = self
            .units
            .iter()
            .any(|(name, nature, _)| name == member.unit.as_str() && nature.is_at_fault(member.generation));
        let base = &self.world.commits[&candidate.base].words;
        let landed_flake = self.units.iter().any(|(name, nature, _)| {
            *nature == Nature::Flaky && base.iter().any(|word| word.starts_with(&format!("{name}#")))
        });
        !at_fault && landed_flake && !base.contains("red")
    }
}

/// `u0` lands, and `u1` fails twice on a base that passes. Told are the journal and what landed.
fn two_failures_on_a_green_base(natures: [Nature; 2]) -> Play {
    let units = natures
        .into_iter()
        .enumerate()
        .map(|(number, nature)| (format!("u{number}"), nature, 0))
        .collect();
    let mut play = Play {
        world: World::new(),
        units,
        cancelled: BTreeSet::new(),
        resolves: false,
    };
    // The die fails what is flaky with a multiple of three.
    for step in [
        Step::Enqueue(0),
        Step::End(0, 1),
        Step::Enqueue(1),
        Step::End(0, 3),
        Step::End(0, 3),
        Step::End(0, 1),
    ] {
        play.take(&step);
    }
    play
}

#[test]
fn landed_work_that_flakes_under_the_next_unit_alone_looks_to_the_letter_like_that_units_failure() {
    let innocent = two_failures_on_a_green_base([Nature::Flaky, Nature::Good]);
    let guilty = two_failures_on_a_green_base([Nature::Good, Nature::Bad]);
    assert_eq!(innocent.world.journal, guilty.world.journal);
    assert_eq!(guilty.blamed(), ["u1"]);
    assert!(innocent.blamed().is_empty(), "beyond telling");
}

#[test]
fn a_unit_charged_for_a_flake_of_landed_work_lands_with_its_next_generation() {
    let mut play = two_failures_on_a_green_base([Nature::Flaky, Nature::Good]);
    assert_eq!(
        play.world.charges(),
        [("u1".into(), CHARGE_FAILURE, "verify_failed")]
    );
    assert_eq!(play.world.left("u1"), ["sent_back verify_failed"]);
    play.take(&Step::Enqueue(1));
    play.take(&Step::End(0, 3));
    play.take(&Step::End(0, 1));
    assert_eq!(play.world.landed(), ["u0", "u1"]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_only_verified_trees_land_and_every_unit_ends_once(
        natures in vec((nature(), -1_i64..2), UNITS),
        steps in vec(step(), 0..60),
        settings in settings(),
        pair in at_odds(),
        resolves in any::<bool>(),
    ) {
        let units = natures
            .into_iter()
            .enumerate()
            .map(|(number, (nature, priority))| (format!("u{number}"), nature, priority))
            .collect();
        let mut play = Play { world: World::with(settings), units, cancelled: BTreeSet::new(), resolves };
        let pair = pair.map(|(one, two)| (format!("u{one}"), format!("u{two}")));
        play.world.conflicts.extend(pair);
        for step in &steps {
            play.take(step);
        }
        play.finish();
        play.check();
    }

    #[test]
    fn every_prefix_of_a_journal_folds_and_asks_for_nothing_that_is_under_way(
        steps in vec(step(), 0..40),
        settings in settings(),
    ) {
        let units = (0..UNITS).map(|number| (format!("u{number}"), Nature::Flaky, 0)).collect();
        let mut play = Play { world: World::with(settings), units, cancelled: BTreeSet::new(), resolves: false };
        for step in &steps {
            play.take(step);
        }
        let mut state = State::new(play.world.state.settings);
        for event in &play.world.journal {
            state.apply(event).unwrap();
            let moot = state.moot();
            let awaited = state.in_flight().into_iter().filter(|(fence, ..)| !moot.contains(fence));
            let runs: Vec<_> = awaited.map(|(_, commit, purpose)| (commit, purpose == VerifyPurpose::Base)).collect();
            prop_assert_eq!(runs.iter().collect::<BTreeSet<_>>().len(), runs.len());
            let positions: Vec<usize> = state.entries().iter().map(|entry| entry.position).collect();
            prop_assert_eq!(positions, (1..=state.entries().len()).collect::<Vec<_>>());
            for entry in state.entries() {
                prop_assert_eq!(state.entry(&entry.unit), Some(entry));
            }
        }
    }
}
