//! Landings an hour with checks of fixed length and a few bad units: the adaptive window against the serial queue and
//! against an oracle that knows the outcomes. The queue is the real machine; time, git and the checks are played.
//!
//! The oracle runs the checks of every good unit once, in all slots at all times, and those of no bad unit: no queue can
//! be faster.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a benchmark prints its table, writes its figures and fails where it stands"
)]

use std::collections::{BTreeMap, BTreeSet};

use pipeline::event::{
    Candidate, CandidateUnit, CheckOutcome, CheckResult, Evidence, Head, QueueEvent, VerifyPurpose,
};
use pipeline::id::{Oid, UnitId};
use pipeline::queue::{Effect, Facts, IntegrateUnit, Settings, State, Tip};
use pipeline::spec::{Breadth, Strategy};

const UNITS: usize = 400;
const BAD_PERCENT: u64 = 5;
const SLOTS: u32 = 4;
const CHECK_MINUTES: u64 = 10;
const SEEDS: u64 = 20;

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
                place: u32::try_from(place).unwrap(),
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
            tip: Tip::At {
                commit: self.tip.clone(),
                tree: self.tip.clone(),
            },
            tip_continues: true,
            slots_free: SLOTS - u32::try_from(self.runs.len()).unwrap(),
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
        let (_, commit) = self.runs.remove(&fence).unwrap();
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
        self.state.apply(event).unwrap();
    }
}

fn unit(place: usize) -> UnitId {
    format!("u{place}").parse().unwrap()
}

fn oid(number: usize) -> Oid {
    format!("{number:040x}").parse().unwrap()
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

fn main() {
    let serial = of_all(|bad| Play::new(Breadth::Fixed(1), Breadth::Fixed(1), bad).finish());
    let oracle = of_all(|bad| {
        let good = UNITS - bad.len();
        (good.div_ceil(SLOTS as usize) as u64 * CHECK_MINUTES, good)
    });
    let wide = |batch| of_all(|bad| Play::new(Breadth::Auto, batch, bad).finish());
    let rows = [
        ("serial", serial),
        ("window auto", wide(Breadth::Fixed(1))),
        ("window auto, batch auto", wide(Breadth::Auto)),
        ("oracle", oracle),
    ];
    println!(
        "{UNITS} units in line, {BAD_PERCENT} % bad, {SLOTS} slots, checks of {CHECK_MINUTES} min, {SEEDS} seeds"
    );
    println!(
        "{:<26}{:>14}{:>12}{:>18}",
        "", "landings/hour", "x serial", "x oracle's time"
    );
    let mut figures = Vec::new();
    for (name, (minutes, landed)) in rows {
        assert_eq!(landed, oracle.1, "every good unit lands, and no other");
        let hourly = |(minutes, landed): (u64, usize)| landed as f64 * 60.0 / minutes as f64;
        let gain = hourly((minutes, landed)) / hourly(serial);
        let time = minutes as f64 / oracle.0 as f64;
        println!(
            "{name:<26}{:>14.1}{gain:>12.2}{time:>18.2}",
            hourly((minutes, landed))
        );
        figures.push(serde_json::json!({
            "name": name, "landings_per_hour": hourly((minutes, landed)), "of_serial": gain, "of_oracle_time": time,
        }));
    }
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("target/bench");
    std::fs::create_dir_all(&folder).unwrap();
    let report = serde_json::json!({"bench": "queue", "goal": {"of_serial": 3.0, "of_oracle_time": 1.2}, "rows": figures});
    std::fs::write(folder.join("queue.json"), format!("{report:#}\n")).unwrap();
}
