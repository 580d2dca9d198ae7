//! What a seed sets up: a pipeline, and what its units' agents and checks are like.

use std::collections::BTreeSet;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use super::dice::Dice;
use super::git::{Mark, Path};
use crate::event::{GuardAction, Outcome};
use crate::id::UnitId;
use crate::spec::{
    Breadth, Check, DependsOn, FromBranch, OnConflict, Overlap, Pipeline, Strategy, Unit, Usd, Verify,
};

/// What happens to a run from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Nothing: only the units' own natures.
    Calm,
    /// Faults for a while; then calm, in which people act at once.
    Mending,
    /// Faults without an end.
    Wild,
}

/// What the agents of a unit do, and what its work is like.
#[derive(Debug, Clone)]
pub(super) struct Nature {
    /// What is wrong with the work, up to but without the version `mends_at`.
    pub(super) mark: Mark,
    pub(super) mends_at: u32,
    /// A path that other units write to as well.
    pub(super) shared: Option<Path>,
    /// How the first attempts of an author end.
    pub(super) fails: Vec<Outcome>,
    /// How every attempt of an author ends.
    pub(super) stubborn: Option<Outcome>,
    /// What the guards say of the first version.
    pub(super) guard: Option<GuardAction>,
    /// The review finds something that blocks in this many versions.
    pub(super) findings: u32,
    /// It is the same finding every time.
    pub(super) persists: bool,
    /// The review's verdict is the opposite of what it found.
    pub(super) contradicts: bool,
    /// The author disputes what is found instead of mending it.
    pub(super) disputes: bool,
    /// The approver rejects this many times.
    pub(super) rejections: u32,
    /// An author leaves the markers of a conflict this many times.
    pub(super) leaves_markers: u32,
    /// A judge answers with garbage this many times.
    pub(super) garbage: u32,
    /// Attempts of an author that the provider refuses.
    pub(super) limited: u32,
    /// The agent is not logged in at first.
    pub(super) login: bool,
    /// The machine cannot carry out a verification of it.
    pub(super) unlucky: bool,
    /// What an attempt costs, in millionths of a dollar.
    pub(super) cost_micros: u64,
}

impl Nature {
    const GOOD: Self = Self {
        mark: Mark::Fine,
        mends_at: 0,
        shared: None,
        fails: Vec::new(),
        stubborn: None,
        guard: None,
        findings: 0,
        persists: false,
        contradicts: false,
        disputes: false,
        rejections: 0,
        leaves_markers: 0,
        garbage: 0,
        limited: 0,
        login: false,
        unlucky: false,
        cost_micros: 0,
    };

    /// Nothing but the world outside can keep it from landing.
    pub(super) fn is_good(&self) -> bool {
        self.mark == Mark::Fine
            && self.fails.is_empty()
            && self.stubborn.is_none()
            && self.guard.is_none_or(|action| action == GuardAction::Note)
            && self.findings + self.rejections + self.garbage == 0
            && !self.unlucky
    }
}

/// Everything that is fixed before a run begins.
pub(super) struct Setting {
    pub(super) seed: u64,
    pub(super) kind: Kind,
    pub(super) pipeline: Arc<Pipeline>,
    pub(super) natures: Vec<Nature>,
    pub(super) with_checkout: bool,
    pub(super) skip_preflight: bool,
    /// The first unit was landed by an earlier run.
    pub(super) keeps_first: bool,
    /// Whether a finding is accepted as disputed.
    pub(super) judge_yields: bool,
}

const TIERS: &str = "tiers:
  trivial: {implement: {agent: author}, approve: {by: checks}}
  small: {implement: {agent: author}, review: {agent: other}, fix: {agent: author}, approve: {agent: other}}
  gated: {implement: {agent: author}, review: {agent: other}, fix: {agent: author}, approve: {by: human}}
  judged: {implement: {agent: author}, approve: {agent: other}}
  panel: {plan: {kind: prepare, agent: other}, implement: {agent: author, needs: [plan]}, review: {panel: [other, author], quorum: 2}, fix: {agent: author}, approve: {panel: [other, other, author], quorum: 2}}
  double: {implement: {agent: author}, one: {kind: review, agent: other, needs: [implement]}, two: {kind: review, agent: other, needs: [implement]}, mend-one: {kind: fix, agent: author, needs: [one]}, mend-two: {kind: fix, agent: author, needs: [two, mend-one]}, approve: {agent: other, needs: [mend-two]}}
  explore: {research: {kind: prepare, agent: other}}
";

/// One pipeline from a file; a seed changes it to its own.
static BASE: LazyLock<Pipeline> = LazyLock::new(|| {
    let unit = "  u0: {title: 'u0', prompt: x, tier: trivial, checks: [{name: own-0, run: make}]}\n";
    let loaded = super::super::tests::pipeline(TIERS, unit);
    let mut pipeline = Pipeline::clone(&loaded);
    let used = [
        "trivial", "small", "gated", "judged", "panel", "double", "explore",
    ];
    pipeline.tiers.retain(|name, _| used.contains(&name.as_str()));
    pipeline
});

/// The unit of that number.
pub(super) fn unit_id(number: usize) -> UnitId {
    format!("u{number}").parse().expect("a safe name")
}

/// The number of a unit.
pub(super) fn number_of(unit: &UnitId) -> usize {
    unit.as_str()[1..].parse().expect("units are numbered")
}

impl Setting {
    pub(super) fn draw(seed: u64, dice: &mut Dice) -> Self {
        let kind = match seed % 10 {
            0 | 1 => Kind::Calm,
            2..=6 => Kind::Mending,
            _ => Kind::Wild,
        };
        let mut pipeline = BASE.clone();
        draw_limits(&mut pipeline, kind, dice);
        draw_checks(&mut pipeline, dice);
        let template = pipeline.units.remove(0);
        let mut count = 1 + dice.roll(6).min(dice.roll(7)) as usize;
        // Many that are alike and get in each other's way: a long line, in which the order tells.
        let is_crowded = dice.chance(8);
        if is_crowded {
            count = 7;
            pipeline.limits.parallel = 3 + dice.roll(2);
            pipeline.limits.rounds = 3;
        }
        let mut natures = Vec::new();
        for number in 0..count {
            let mut nature = draw_nature(number, count, kind, dice);
            let mut unit = draw_unit(number, &template, &nature, dice);
            if is_crowded {
                crowd(&mut nature, &mut unit, number, count, dice);
            }
            natures.push(nature);
            pipeline.units.push(unit);
        }
        if dice.chance(25) {
            draw_resources(&mut pipeline, dice);
        }
        if dice.chance(15) {
            pipeline.overlap = Overlap::Serialize;
        }
        Self {
            seed,
            kind,
            pipeline: Arc::new(pipeline),
            natures,
            with_checkout: dice.chance(60),
            skip_preflight: dice.chance(10),
            keeps_first: kind != Kind::Calm && dice.chance(5),
            judge_yields: dice.chance(50),
        }
    }

    /// Whether what costs much is tried, too.
    pub(super) fn is_thorough(&self) -> bool {
        self.seed.is_multiple_of(50)
    }

    pub(super) fn nature(&self, unit: &UnitId) -> &Nature {
        &self.natures[number_of(unit)]
    }

    pub(super) fn spec(&self, unit: &UnitId) -> &Unit {
        &self.pipeline.units[number_of(unit)]
    }
}

fn draw_limits(pipeline: &mut Pipeline, kind: Kind, dice: &mut Dice) {
    let limits = &mut pipeline.limits;
    limits.parallel = 1 + dice.roll(4);
    limits.rounds = dice.roll(4);
    limits.retries = dice.roll(3);
    limits.start_interval = Duration::from_secs(if dice.chance(30) { 5 } else { 0 });
    let dollars = |dice: &mut Dice| Usd::from_dollars(f64::from(1 + dice.roll(4)) / 2.0);
    limits.budget = if dice.chance(8) { dollars(dice) } else { None };
    limits.unit_budget = if dice.chance(8) { dollars(dice) } else { None };
    if kind == Kind::Calm {
        limits.budget = None;
    }
    let strategies = [
        Strategy::Rebase,
        Strategy::Rebase,
        Strategy::Squash,
        Strategy::Merge,
    ];
    pipeline.queue.strategy = dice.pick(&strategies);
    let breadths = [
        Breadth::Fixed(1),
        Breadth::Fixed(2),
        Breadth::Fixed(4),
        Breadth::Auto,
    ];
    pipeline.queue.window = dice.pick(&breadths);
    pipeline.queue.batch = dice.pick(&breadths);
    let ages = [pipeline.queue.max_age, Duration::from_secs(60)];
    pipeline.queue.max_age = dice.pick(&ages);
    let recoveries = [OnConflict::Agent, OnConflict::Agent, OnConflict::Evict];
    pipeline.queue.on_conflict = dice.pick(&recoveries);
    pipeline.queue.conflict_rounds = 1 + dice.roll(2);
}

fn draw_checks(pipeline: &mut Pipeline, dice: &mut Dice) {
    let check = |name: &str, depends_on| Check {
        name: name.to_owned(),
        depends_on,
        ..pipeline.checks[0].clone()
    };
    let history = if dice.chance(10) {
        DependsOn::History
    } else {
        DependsOn::Tree
    };
    let checks = vec![check("build", DependsOn::Tree), check("test", history)];
    pipeline.verify = match dice.roll(10) {
        0 => Verify::Waived,
        1 | 2 => Verify::Own(vec![check("gate", history)]),
        _ => Verify::Inherit,
    };
    pipeline.checks = checks;
}

fn draw_unit(number: usize, template: &Unit, nature: &Nature, dice: &mut Dice) -> Unit {
    let mut unit = template.clone();
    unit.id = unit_id(number);
    unit.title = unit.id.to_string();
    let tiers = [
        "trivial", "trivial", "small", "small", "small", "gated", "judged", "panel", "double", "explore",
    ];
    unit.tier = dice.pick(&tiers).to_owned();
    unit.needs = (0..number).filter(|_| dice.chance(20)).map(unit_id).collect();
    unit.priority = i64::from(dice.roll(5) / 3) - i64::from(dice.roll(5) / 4);
    unit.paths = nature
        .shared
        .iter()
        .map(|path| format!("shared/{path}"))
        .collect();
    if nature.mark == Mark::Rough || dice.chance(10) {
        unit.checks[0].name = format!("own-{number}");
    } else {
        unit.checks.clear();
    }
    unit.from_branch = (unit.tier != "explore" && dice.chance(15)).then(|| FromBranch {
        name: unit.id.to_string(),
        review: dice.chance(60),
    });
    unit
}

fn draw_nature(number: usize, count: usize, kind: Kind, dice: &mut Dice) -> Nature {
    let mut nature = Nature {
        shared: dice
            .chance(20)
            .then(|| 80 + Path::try_from(dice.roll(2)).expect("few")),
        leaves_markers: dice.pick(&[0, 0, 0, 0, 1, 2, u32::MAX]),
        cost_micros: u64::from(dice.roll(4)) * 100_000,
        ..Nature::GOOD
    };
    let troubles = [0, 0, 0, 0, 1, 1, 1, 1, 2];
    for _ in 0..dice.pick(&troubles) {
        trouble(&mut nature, number, count, dice);
    }
    if kind == Kind::Calm {
        nature.login = false;
        nature.unlucky = false;
        if nature.mark == Mark::Flaky {
            nature.mark = Mark::Breaks;
        }
    }
    nature
}

/// Few resources, so that they are fought over: by units, by checks of the file, and by those of one unit.
fn draw_resources(pipeline: &mut Pipeline, dice: &mut Dice) {
    let mut draw = |chance: u32| -> BTreeSet<String> {
        let named = ["db", "port", "device"].into_iter();
        named.filter(|_| dice.chance(chance)).map(str::to_owned).collect()
    };
    for unit in &mut pipeline.units {
        unit.exclusive = draw(25);
        for check in &mut unit.checks {
            check.exclusive = draw(25);
        }
    }
    let of_queue = match &mut pipeline.verify {
        Verify::Own(checks) => checks.as_mut_slice(),
        Verify::Inherit | Verify::Waived => &mut [],
    };
    for check in pipeline.checks.iter_mut().chain(of_queue) {
        check.exclusive = draw(8);
    }
}

/// Makes a unit one of many that are alike.
fn crowd(nature: &mut Nature, unit: &mut Unit, number: usize, count: usize, dice: &mut Dice) {
    "small".clone_into(&mut unit.tier);
    unit.needs.clear();
    unit.from_branch = None;
    unit.priority = i64::from(dice.chance(10));
    *nature = Nature::GOOD;
    let other = usize::try_from(dice.roll(7)).expect("few") % count;
    if other != number && dice.chance(60) {
        nature.mark = Mark::Clashes(Path::try_from(other).expect("few"));
        nature.mends_at = 2;
    }
}

/// How attempts of an author may fail.
const FAILURES: [Outcome; 9] = [
    Outcome::Failed,
    Outcome::Contradicted,
    Outcome::NoChange,
    Outcome::SchemaMissing,
    Outcome::Denied,
    Outcome::Timeout,
    Outcome::Idle,
    Outcome::Budget,
    Outcome::Crashed,
];

fn trouble(nature: &mut Nature, number: usize, count: usize, dice: &mut Dice) {
    match dice.roll(16) {
        0..=4 => {
            let other = Path::try_from(dice.roll(u32::try_from(count).expect("few"))).expect("few");
            let clash = if usize::from(other) == number {
                Mark::Breaks
            } else {
                Mark::Clashes(other)
            };
            nature.mark = dice.pick(&[Mark::Breaks, Mark::Hangs, Mark::Flaky, clash, clash, Mark::Rough]);
            nature.mends_at = if dice.chance(30) {
                u32::MAX
            } else {
                2 + dice.roll(2)
            };
        }
        5 => nature.fails = (0..=dice.roll(3)).map(|_| dice.pick(&FAILURES)).collect(),
        6 => nature.stubborn = Some(dice.pick(&FAILURES)),
        7 => nature.guard = Some(dice.pick(&[GuardAction::Note, GuardAction::Gate, GuardAction::Refuse])),
        8 | 9 => {
            nature.findings = 1 + dice.roll(5);
            nature.persists = dice.chance(50);
            nature.disputes = dice.chance(30);
        }
        10 => nature.contradicts = true,
        11 => nature.rejections = 1 + dice.roll(3),
        12 => nature.garbage = 1 + dice.roll(3),
        13 => nature.limited = 1 + dice.roll(3),
        14 => nature.login = dice.chance(30),
        _ => nature.unlucky = dice.chance(20),
    }
}
