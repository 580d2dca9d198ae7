//! P5: landings an hour with checks of fixed length and a few bad units: the adaptive window against the serial queue and
//! against an oracle that knows the outcomes. The queue is the real machine; time, git and the checks are played.
//!
//! The oracle runs the checks of every good unit once, in all slots at all times, and those of no bad unit: no queue can
//! be faster.

use std::collections::{BTreeMap, BTreeSet};

use pipeline::event::{
    Candidate, CandidateUnit, CheckOutcome, CheckResult, Evidence, Head, QueueEvent, VerifyPurpose,
};
use pipeline::id::{Oid, UnitId};
use pipeline::queue::{Effect, Facts, IntegrateUnit, Settings, State, Tip};
use pipeline::spec::{Breadth, Strategy};

use super::support::Figure;

const UNITS: usize = 400;
const BAD_PERCENT: u64 = 5;
const SLOTS: u32 = 4;
const CHECK_MINUTES: u64 = 10;
const SEEDS: u64 = 20;
/// The goals: landings an hour against the serial queue, and the time against the oracle's.
const TIMES_SERIAL: f64 = 3.0;
const TIMES_ORACLE: f64 = 1.2;

/// One line of units, played to its end.
struct Play {
    state: State,
    minute: u64,
    /// Ends of the runs under way, by fence.
    runs: BTreeMap<u64, (u64, Oid)>,
    /// Whether a bad unit is in a commit; a tree has its commit's id.
    commits: BTreeMap<Oid, bool>,
    passed: BTreeSet<Oid>,
    bad: BTreeSet<UnitId>,
    tip: Oid,
    fence: u64,
}

impl Play {
    fn new(window: Breadth, batch: Breadth, bad: &BTreeSet<UnitId>) -> Self {
        let tip = oid(0);
        let settings = Settings {
            window,
            batch,
            parallel: SLOTS,
            ..Settings::serial(Strategy::Rebase)
        };
        let mut play = Self {
            state: State::new(settings),
            minute: 0,
            runs: BTreeMap::new(),
            commits: [(tip.clone(), false)].into(),
            // As the preflight of a run leaves it.
            passed: [tip.clone()].into(),
            bad: bad.clone(),
            tip,
            fence: 0,
        };
        for place in 0..UNITS {
            let head = oid(1_000_000 + place);
            play.record(&QueueEvent::Enqueued {
                unit: unit(place),
                generation: 1,
                head: Head {
                    commit: head.clone(),
                    tree: head,
                },
                base: play.tip.clone(),
                priority: 0,
                place: u32::try_from(place).expect("the line is short"),
            });
        }
        play
    }

    /// Plays to the end; the minutes it took and the units that landed.
    fn finish(mut self) -> (u64, usize) {
        loop {
            self.settle();
            let Some((fence, (end, commit))) = self.runs.iter().min_by_key(|(_, (end, _))| *end) else {
                assert!(self.state.is_idle());
                return (self.minute, self.state.landed().len());
            };
            self.minute = *end;
            let (fence, commit) = (*fence, commit.clone());
            let outcome = if self.commits[&commit] {
                CheckOutcome::Failed
            } else {
                CheckOutcome::Passed
            };
            self.end(fence, outcome, false);
        }
    }

    /// Decides and acts until nothing is left but to wait; what nobody waits for is broken off at once.
    fn settle(&mut self) {
        loop {
            for fence in self.state.moot() {
                self.end(fence, CheckOutcome::Interrupted, false);
            }
            let effects = self.decide();
            if effects.is_empty() {
                return;
            }
            for effect in effects {
                self.carry_out(effect);
            }
        }
    }

    fn decide(&self) -> Vec<Effect> {
        self.state.decide(&Facts {
            now: jiff::Timestamp::UNIX_EPOCH,
            tip: Tip::At {
                commit: self.tip.clone(),
                tree: self.tip.clone(),
            },
            tip_continues: true,
            slots_free: SLOTS - u32::try_from(self.runs.len()).expect("there are few slots"),
            evidence: &|tree, _| {
                self.passed
                    .contains(tree)
                    .then(|| evidence(tree, CheckOutcome::Passed))
            },
            known_green: &|_| true,
            paused: false,
        })
    }

    fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::Record(event) => self.record(&event),
            Effect::Integrate {
                base,
                units,
                strategy,
            } => self.integrate(base, &units, strategy),
            Effect::Verify { commit, purpose, .. } => {
                let fence = self.start(&commit, purpose);
                self.runs.insert(fence, (self.minute + CHECK_MINUTES, commit));
            }
            Effect::Reuse { commit, purpose, .. } => {
                let fence = self.start(&commit, purpose);
                self.runs.insert(fence, (self.minute, commit));
                self.end(fence, CheckOutcome::Passed, true);
            }
            Effect::Wake(_) => unreachable!("the queue is told no times here"),
            Effect::Land(verified) => {
                self.record(&QueueEvent::LandIntended {
                    commit: verified.to().clone(),
                    from: verified.from().clone(),
                    tree: verified.tree().clone(),
                    checkout: None,
                });
                assert_eq!(*verified.from(), self.tip);
                assert!(!self.commits[verified.to()], "bad work landed");
                self.tip = verified.to().clone();
                self.record(&verified.landed_event());
            }
        }
    }

    fn integrate(&mut self, base: Oid, units: &[IntegrateUnit], strategy: Strategy) {
        let mut onto = base.clone();
        let mut built = Vec::new();
        for member in units {
            let is_bad = self.commits[&onto] || self.bad.contains(&member.unit);
            onto = oid(self.commits.len());
            self.commits.insert(onto.clone(), is_bad);
            built.push(CandidateUnit {
                unit: member.unit.clone(),
                generation: member.generation,
                head: member.head.clone(),
                commit: onto.clone(),
            });
        }
        self.record(&QueueEvent::CandidateBuilt {
            candidate: Candidate {
                base,
                strategy,
                units: built,
                tree: onto.clone(),
                commit: onto,
            },
        });
    }

    fn start(&mut self, commit: &Oid, purpose: VerifyPurpose) -> u64 {
        self.fence += 1;
        self.record(&QueueEvent::VerifyStarted {
            commit: commit.clone(),
            purpose,
            fence: self.fence,
        });
        self.fence
    }

    fn end(&mut self, fence: u64, outcome: CheckOutcome, reused: bool) {
        let (_, commit) = self.runs.remove(&fence).expect("it is under way");
        if outcome == CheckOutcome::Passed {
            self.passed.insert(commit.clone());
        }
        self.record(&QueueEvent::VerifyEnded {
            fence,
            evidence: evidence(&commit, outcome),
            reused,
        });
    }

    fn record(&mut self, event: &QueueEvent) {
        self.state.apply(event).expect("the machine decided it");
    }
}

fn unit(place: usize) -> UnitId {
    format!("u{place}").parse().expect("it is an id")
}

fn oid(number: usize) -> Oid {
    format!("{number:040x}").parse().expect("it is an id")
}

fn evidence(tree: &Oid, outcome: CheckOutcome) -> Evidence {
    Evidence {
        tree: tree.clone(),
        checks: String::new(),
        environment: String::new(),
        results: vec![CheckResult {
            name: "test".to_owned(),
            outcome,
            exit: None,
            duration_ms: 0,
            tail: String::new(),
            signature: String::new(),
        }],
    }
}

/// The bad units of a seed, by a generator of its own so that every machine draws the same.
fn bad_units(seed: u64) -> BTreeSet<UnitId> {
    let mut word = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(1);
    let mut draw = || {
        word ^= word << 13;
        word ^= word >> 7;
        word ^= word << 17;
        word % 100
    };
    (0..UNITS).filter(|_| draw() < BAD_PERCENT).map(unit).collect()
}

/// Minutes and landings of all seeds together.
fn of_all(play: impl Fn(&BTreeSet<UnitId>) -> (u64, usize)) -> (u64, usize) {
    let each = (0..SEEDS).map(|seed| play(&bad_units(seed)));
    each.fold((0, 0), |(minutes, landed), (more, units)| {
        (minutes + more, landed + units)
    })
}

/// P5. Every queue lands the same units, so landings an hour compare as the inverse of the times.
pub(crate) fn one_line() -> Vec<Figure> {
    let serial = of_all(|bad| Play::new(Breadth::Fixed(1), Breadth::Fixed(1), bad).finish());
    let oracle = of_all(|bad| {
        let good = UNITS - bad.len();
        (good.div_ceil(SLOTS as usize) as u64 * CHECK_MINUTES, good)
    });
    let mut figures = Vec::new();
    for (name, batch, goals) in [
        (
            "window auto",
            Breadth::Fixed(1),
            Some((1.0 / TIMES_SERIAL, TIMES_ORACLE)),
        ),
        ("window auto, batch auto", Breadth::Auto, None),
    ] {
        let (minutes, landed) = of_all(|bad| Play::new(Breadth::Auto, batch, bad).finish());
        assert_eq!(landed, serial.1, "every good unit lands, and no other");
        assert_eq!(landed, oracle.1, "every good unit lands, and no other");
        let figure = |against, theirs: u64, goal| Figure {
            what: format!("{UNITS} units, {BAD_PERCENT} % bad, {SLOTS} slots: {name}"),
            value: minutes as f64 / SEEDS as f64,
            unit: "min",
            against: Some((against, theirs as f64 / SEEDS as f64)),
            goal,
        };
        figures.push(figure(
            "one candidate at a time",
            serial.0,
            goals.map(|goals| goals.0),
        ));
        figures.push(figure(
            "an oracle that knows the outcomes",
            oracle.0,
            goals.map(|goals| goals.1),
        ));
    }
    figures
}
