//! Ten thousand runs in memory, each from one seed: units and queue as they are, with git, agents, checks, people and
//! a clock that are played.
//!
//! ```text
//! dice     chance from a seed            setting  the pipeline, and what its agents are like
//! git      commits, target, checkout     agents   what attempts and checks come to
//! driver   the engine's loop             recovery what it does first
//! branches work that was there before the run
//! people   everybody else                laws     what must hold of target and queue, after every event
//! cases    what must hold of each unit   trace    what happened, for a person
//! model    what may land, naively        coverage what happened, by kind
//! ```
//!
//! A seed is calm (only the units' own natures have a say, and the naive model lands the same units), mending (faults
//! for a while, then people act at once and every unit must come to an end), or wild (faults without an end, in which
//! nothing but safety is asked for). `PIPELINE_SIM_SEED=n` plays one seed and shows it, `PIPELINE_SIM_SEEDS=n` plays
//! another number of seeds.

mod agents;
mod branches;
mod cases;
mod coverage;
mod dice;
mod driver;
mod git;
mod laws;
mod model;
mod people;
mod radar;
mod recovery;
mod setting;
mod trace;

use std::collections::BTreeSet;
use std::io::Write as _;
use std::sync::Arc;

use coverage::Counts;
use dice::Dice;
use driver::{Driver, Halt, Step};
use laws::Laws;
use setting::{Kind, Setting, unit_id};

use crate::event::{Event, Record, RunEvent, StopCause, UnitEvent, UnitScoped};
use crate::id::{RunId, UnitId};
use crate::run::State;
use crate::spec::{Pipeline, Unit};

/// Seeds of the test command.
const SEEDS: u64 = 10_000;
const THREADS: u64 = 2;
/// Engines that take a run up before people are held to have failed it.
const ENGINES_MAX: u32 = 60;

impl Driver {
    fn begin(&mut self) -> Step {
        self.make_branches();
        let base = self.git.target.clone().expect("a target to begin with");
        let run = RunId::new(self.now, 7);
        self.record([Event::Run(RunEvent::RunStarted {
            format: crate::event::FORMAT,
            run: run.clone(),
            name: "t".to_owned(),
            file: "rfc.yaml".to_owned(),
            target: "main".to_owned(),
            meant_for: None,
            base: base.clone(),
            frozen: String::new(),
        })])?;
        if self.setting.keeps_first {
            let what = UnitEvent::UnitKept {
                commit: base,
                from: run,
            };
            let unit = unit_id(0);
            self.record([Event::Unit(UnitScoped { unit, what })])?;
        }
        Ok(())
    }

    /// Engines come and go under faults.
    fn live_through_faults(&mut self) {
        let engines = if self.setting.kind == Kind::Wild {
            8
        } else {
            1 + self.dice.roll(5)
        };
        for _ in 0..engines {
            let stopped = self.engine();
            if stopped == Err(Halt::Over) {
                return;
            }
            self.fuse = None;
            // A person who is killed in the middle of a wish has wished for a part of it.
            let _ = self.people_wish();
        }
    }

    /// No more faults, and people act at once: the run comes to its end.
    fn come_to_an_end(&mut self) {
        self.faulty = false;
        self.fuse = None;
        self.selection = None;
        self.people_help().expect("nobody is killed any more");
        for _ in 0..ENGINES_MAX {
            let cause = self.engine().expect("nobody is killed any more");
            match cause {
                StopCause::Finished => return self.check_the_end(),
                StopCause::Budget => return,
                StopCause::Human | StopCause::BaseRed | StopCause::Environment => {
                    self.people_help().expect("nobody is killed any more");
                }
                StopCause::Signal | StopCause::TimeLimit | StopCause::Safety => {
                    panic!("{cause:?} where nothing is wrong")
                }
            }
        }
        panic!("people do what they can, and the run does not end");
    }

    /// What is finished stays finished: another engine does nothing.
    fn check_the_end(&mut self) {
        Laws::all_ended(&self.state);
        let before = self.journal.len();
        let cause = self.engine().expect("nobody is killed any more");
        assert_eq!(cause, StopCause::Finished);
        let starts = |record: &Record| !matches!(record.event, Event::Run(_));
        assert!(
            !self.journal[before..].iter().any(starts),
            "nothing is done twice"
        );
    }

    fn landed(&self) -> BTreeSet<UnitId> {
        let landed = self.state.queue().landed().iter();
        landed.map(|landed| landed.unit.clone()).collect()
    }
}

/// Plays a seed to its end, and holds it against every law.
fn play(seed: u64) -> Driver {
    let mut dice = Dice::new(seed);
    let setting = Setting::draw(seed, &mut dice);
    let mut driver = Driver::new(setting, dice);
    let root = driver.git.target.clone().expect("a target to begin with");
    driver.begin().expect("nobody is killed yet");
    if driver.faulty {
        driver.live_through_faults();
    }
    if driver.setting.kind != Kind::Wild {
        driver.come_to_an_end();
    }
    driver.laws.at_the_end(&driver.state, &driver.git);
    if driver.setting.kind == Kind::Calm {
        let naive = model::Serial::new(&driver.git, &driver.setting, root).follow(&driver.journal);
        assert_eq!(naive.landed, driver.landed(), "what the naive queue would land");
    }
    let folded = recovery::fold(&driver.setting.pipeline, &driver.journal);
    assert!(folded == driver.state, "the fold of the journal is the state");
    if driver.setting.is_thorough() {
        check_journal(&driver);
        check_growth(&driver, folded);
    }
    driver
}

/// A run that is given a unit at its end is as if it had had it from the beginning.
fn check_growth(driver: &Driver, folded: State) {
    let mut more = Pipeline::clone(&driver.setting.pipeline);
    let unit = more.units.first().cloned().expect("a run has units");
    more.units.push(Unit {
        id: "one-more".parse().expect("an id"),
        needs: Vec::new(),
        ..unit
    });
    let more = Arc::new(more);
    let had = recovery::fold(&more, &driver.journal);
    assert!(
        folded.grown(more) == had,
        "a run that grows is as if it had been larger"
    );
}

/// The journal as it would be read back from a disk says the same.
fn check_journal(driver: &Driver) {
    let again = |record: &Record| {
        let line = serde_json::to_string(record).expect("a record serialises");
        serde_json::from_str(&line).expect("what was written is read")
    };
    let read: Vec<Record> = driver.journal.iter().map(again).collect();
    assert_eq!(read, driver.journal);
}

/// Plays a share of the seeds.
fn play_share(seeds: u64, share: u64) -> (u64, Counts) {
    let mut counts = Counts::new();
    let mut played = 0;
    for seed in (share..seeds).step_by(usize::try_from(THREADS).expect("few")) {
        let driver = play(seed);
        if driver.setting.is_thorough() {
            assert_eq!(
                play(seed).journal,
                driver.journal,
                "the same seed is the same run"
            );
        }
        driver
            .journal
            .iter()
            .for_each(|record| coverage::count(&mut counts, record));
        for (what, times) in &driver.seen {
            *counts.entry(format!("world {what}")).or_insert(0) += times;
        }
        played += 1;
    }
    (played, counts)
}

#[expect(clippy::disallowed_methods, reason = "a test is steered from outside")]
fn number_from_environment(name: &str) -> Option<u64> {
    std::env::var(name)
        .ok()
        .map(|text| text.parse().expect("a number"))
}

/// Tells how many seeds were played, where somebody adds up what was tested.
#[expect(clippy::disallowed_methods, reason = "a test is steered from outside")]
fn tally(played: u64) {
    let Some(path) = std::env::var_os("PIPELINE_TEST_TALLY") else {
        return;
    };
    let mut file = std::fs::File::options()
        .create(true)
        .append(true)
        .open(path)
        .unwrap();
    writeln!(file, "simulator seeds: {played}").unwrap();
}

#[test]
fn whatever_happens_only_what_is_proved_lands_and_every_unit_comes_to_an_end() {
    if let Some(seed) = number_from_environment("PIPELINE_SIM_SEED") {
        eprintln!("{}", trace::of(&play(seed)));
        return;
    }
    let seeds = number_from_environment("PIPELINE_SIM_SEEDS").unwrap_or(SEEDS);
    let shares = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|share| scope.spawn(move || play_share(seeds, share)))
            .collect();
        let shares = threads
            .into_iter()
            .map(|thread| thread.join().expect("the seed above fails"));
        shares.collect::<Vec<_>>()
    });
    let mut played = 0;
    let mut counts = Counts::new();
    for (share, of_share) in shares {
        played += share;
        for (kind, times) in of_share {
            *counts.entry(kind).or_insert(0) += times;
        }
    }
    tally(played);
    assert_eq!(played, seeds);
    if seeds >= SEEDS {
        let missing: Vec<&&str> = coverage::EXPECTED
            .iter()
            .filter(|kind| !counts.contains_key(**kind))
            .collect();
        assert!(missing.is_empty(), "never happened: {missing:?}");
    }
}
