//! The crash sweep: a fixed scenario is killed at every persisted write and effect, killed again while it recovers, and
//! refused each kind of write once; and once at each kind of point it loses what was not synced, as in a power failure. Whatever happens, the same command goes on to the same end.
//!
//! Needs the failpoints, so it exists in builds with debug assertions only. One cell is repeated by itself with
//! `PIPELINE_SWEEP='2 kill@37' cargo test --test it sweep::repeat`: the step, then the faults of the calls that come before the
//! undisturbed one.

mod scenario;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock};

use crate::kills::next;
use crate::tally::{skip, tally};
use scenario::{Cell, Course, Met, STEPS};

/// Worlds at once.
const WORKERS: usize = 3;
/// Another sample of pairs is drawn by setting this variable.
const SEED_VARIABLE: &str = "PIPELINE_SWEEP_SEED";
const SEED: u64 = 20_261_124;
/// Failpoints that no step reaches, and why.
const ELSEWHERE: &[(&str, &str)] = &[
    (
        "store.set-aside",
        "needs a damaged database or journal; see `store::tests::damage` and `rebuild`",
    ),
    ("store.run.leaving", "a run that expires; see `people`"),
    ("git.fetch", "a target with an upstream; see `fetch`"),
    ("git.forward.intent", "a target with an upstream; see `fetch`"),
    ("git.forward.done", "a target with an upstream; see `fetch`"),
    ("git.config", "a person's repair; see `people`"),
    ("git.reset", "a person's repair; see `people`"),
];

/// What went wrong, by cell.
type Failures = Mutex<Vec<String>>;

/// Performs a cell; what fails is kept with all that is needed to repeat it.
fn attempt(course: &Course, cell: &Cell, failures: &Failures) -> Option<Vec<Met>> {
    match catch_unwind(AssertUnwindSafe(|| course.perform(cell))) {
        Ok(met) => Some(met),
        Err(panic) => {
            let why = panic
                .downcast_ref::<String>()
                .map_or("(see above)", String::as_str)
                .to_owned();
            failures.lock().unwrap().push(format!(
                "PIPELINE_SWEEP='{} {}'\n{why}\n{}",
                cell.step,
                cell.faults.join(" "),
                course.journal_tail()
            ));
            None
        }
    }
}

/// Runs `work` in each worker on a course of its own, and fails if a cell did.
fn with_workers(work: impl Fn(&Course, &Failures) + Sync) {
    let failures = Failures::default();
    std::thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(|| work(&Course::prepare(), &failures));
        }
    });
    let failures = failures.into_inner().unwrap();
    assert!(
        failures.is_empty(),
        "{} cells failed:\n\n{}",
        failures.len(),
        failures.join("\n\n")
    );
}

/// Performs the cells that `of` makes of the undisturbed course, and gives each with what came of it to `seen`; more cells
/// that this answers with are performed, too.
fn perform_all(
    of: impl Fn(&Course) -> Vec<Cell> + Sync,
    seen: impl Fn(&Course, &Cell, &[Met]) -> Vec<Cell> + Sync,
) {
    let open: OnceLock<Mutex<VecDeque<Cell>>> = OnceLock::new();
    with_workers(|course, failures| {
        // All courses have the same points, but for those that depend on who is first.
        let open = open.get_or_init(|| Mutex::new(of(course).into()));
        loop {
            let Some(cell) = open.lock().unwrap().pop_front() else {
                return;
            };
            if let Some(met) = attempt(course, &cell, failures) {
                open.lock().unwrap().extend(seen(course, &cell, &met));
            }
        }
    });
}

/// The points by name, each with where it is reached: the step, and the how many-th time in it.
fn names(course: &Course) -> BTreeMap<String, Vec<(usize, u64)>> {
    let mut names: BTreeMap<String, Vec<(usize, u64)>> = BTreeMap::new();
    for (step, points) in course.points.iter().enumerate() {
        for name in points {
            let places = names.entry(name.clone()).or_default();
            let before = places.iter().filter(|(of, _)| *of == step).count() as u64;
            places.push((step, before + 1));
        }
    }
    names
}

/// What is drawn by chance in a sweep, the same for the same seed.
struct Dice(Mutex<u64>);

impl Dice {
    fn new() -> Self {
        let seed = std::env::var(SEED_VARIABLE).map_or(SEED, |text| text.parse().unwrap());
        println!("{SEED_VARIABLE}={seed}");
        Self(Mutex::new(seed))
    }

    /// A number from 1.
    fn up_to(&self, count: usize) -> u64 {
        next(&mut self.0.lock().unwrap()) % (count.max(1) as u64) + 1
    }

    fn one_of(&self, places: &[(usize, u64)]) -> (usize, u64) {
        places[self.up_to(places.len()) as usize - 1]
    }
}

#[test]
fn an_engine_that_is_killed_at_any_persisted_write_is_continued_by_the_same_command() {
    let place: Vec<AtomicU64> = STEPS.iter().map(|_| AtomicU64::new(0)).collect();
    let over: Vec<AtomicBool> = STEPS.iter().map(|_| AtomicBool::new(false)).collect();
    let visited = AtomicU64::new(0);
    with_workers(|course, failures| {
        for step in 0..STEPS.len() {
            while !over[step].load(Ordering::Relaxed) {
                let at = place[step].fetch_add(1, Ordering::Relaxed) + 1;
                let faults = vec![format!("kill@{at}")];
                match attempt(course, &Cell { step, faults }, failures).as_deref() {
                    Some([met]) if met.at.is_none() => over[step].store(true, Ordering::Relaxed),
                    _ => drop(visited.fetch_add(1, Ordering::Relaxed)),
                }
                // A step whose every cell fails would never come to its end.
                assert!(
                    failures.lock().unwrap().len() < 40,
                    "{:#?}",
                    failures.lock().unwrap()
                );
            }
        }
    });
    tally(&format!("kill points visited: {}", visited.into_inner()));
}

#[test]
fn a_recovery_that_is_killed_too_is_continued_by_the_same_command() {
    let dice = Dice::new();
    let pairs = AtomicU64::new(0);
    let known = Mutex::new(BTreeSet::new());
    // First each point by name with a recovery that is watched; then a kill in that recovery, and one at each point that only
    // a recovery reaches.
    let watched = |course: &Course| {
        let names = names(course);
        known.lock().unwrap().extend(names.keys().cloned());
        let cell = |(name, places): (String, Vec<(usize, u64)>)| {
            let (step, time) = dice.one_of(&places);
            let faults = vec![format!("kill@{name}:{time}"), "kill@0".to_owned()];
            Cell { step, faults }
        };
        names.into_iter().map(cell).collect()
    };
    perform_all(watched, |_, cell, met| {
        let [first, recovery] = met else {
            panic!("two calls")
        };
        if first.at.is_none() {
            // How often a point is passed depends on who is first; once is nearly sure.
            let (fault, time) = cell.faults[0].rsplit_once(':').unwrap();
            let again = Cell {
                step: cell.step,
                faults: vec![format!("{fault}:1"), cell.faults[1].clone()],
            };
            return (time != "1").then_some(again).into_iter().collect();
        }
        if cell.faults[1] != "kill@0" {
            pairs.fetch_add(u64::from(recovery.at.is_some()), Ordering::Relaxed);
            return Vec::new();
        }
        let mut known = known.lock().unwrap();
        let new: Vec<&String> = recovery
            .points
            .iter()
            .filter(|name| known.insert((*name).clone()))
            .collect();
        let sampled = dice.up_to(recovery.points.len()).to_string();
        let second = new.into_iter().map(|name| format!("{name}:1")).chain([sampled]);
        second
            .map(|at| Cell {
                step: cell.step,
                faults: vec![cell.faults[0].clone(), format!("kill@{at}")],
            })
            .collect()
    });
    tally(&format!("kill pairs: {}", pairs.into_inner()));
    let known = known.into_inner().unwrap();
    let missed: Vec<String> = failpoints()
        .into_iter()
        .filter(|name| !known.contains(name) && ELSEWHERE.iter().all(|(elsewhere, _)| elsewhere != name))
        .collect();
    assert!(missed.is_empty(), "no step and no recovery reaches {missed:?}");
}

/// The names of all failpoints in the source.
fn failpoints() -> BTreeSet<String> {
    fn collect(folder: &Path, found: &mut BTreeSet<String>) {
        for entry in std::fs::read_dir(folder).unwrap().flatten() {
            let path = entry.path();
            if path.is_dir() {
                collect(&path, found);
                continue;
            }
            let text = std::fs::read_to_string(&path).unwrap();
            for call in [
                "fault::point(\"",
                "fault::torn(\"",
                "_POINT: &str = \"",
                "\", \"git.",
                "\", \"\", \"git.",
            ] {
                let prefix = if call.ends_with("git.") { "git." } else { "" };
                let names = text.split(call).skip(1).filter_map(|rest| rest.split('"').next());
                found.extend(names.map(|name| format!("{prefix}{name}")));
            }
        }
    }
    let mut found = BTreeSet::new();
    collect(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut found);
    assert!(found.len() > 40, "{found:?}");
    found
}

#[test]
fn what_was_not_synced_when_the_power_failed_had_no_effect() {
    let dice = Dice::new();
    let cuts = AtomicU64::new(0);
    let cells = |course: &Course| {
        let cell = |(name, places): (String, Vec<(usize, u64)>)| {
            let (step, time) = dice.one_of(&places);
            let faults = vec![format!("cut@{name}:{time}")];
            Cell { step, faults }
        };
        names(course).into_iter().map(cell).collect()
    };
    perform_all(cells, |_, _, met| {
        let came = met.iter().filter(|met| met.at.is_some()).count() as u64;
        cuts.fetch_add(came, Ordering::Relaxed);
        Vec::new()
    });
    tally(&format!("power cuts: {}", cuts.into_inner()));
}

#[test]
fn a_write_that_fails_is_told_or_costs_an_attempt_at_most() {
    let dice = Dice::new();
    let failed = AtomicU64::new(0);
    let cells = |course: &Course| {
        let errors = ["enospc", "eio", "erofs"];
        let cell = |(name, places): (String, Vec<(usize, u64)>)| {
            errors.map(|error| {
                let (step, time) = dice.one_of(&places);
                let faults = vec![format!("{error}@{name}:{time}")];
                Cell { step, faults }
            })
        };
        names(course).into_iter().flat_map(cell).collect()
    };
    perform_all(cells, |_, _, met| {
        failed.fetch_add(
            met.iter().filter(|met| met.at.is_some()).count() as u64,
            Ordering::Relaxed,
        );
        Vec::new()
    });
    tally(&format!("failing writes: {}", failed.into_inner()));
}

#[test]
fn a_release_holds_nothing_of_the_failpoints() {
    let debug = Path::new(env!("CARGO_BIN_EXE_pipeline"));
    let release = debug.parent().unwrap().with_file_name("release").join("pipeline");
    let traces = [
        "PIPELINE_FAULT",
        "journal.append.torn",
        "git.update-ref.target",
        "supervisor.end",
    ];
    let found = |binary: &Path| {
        let bytes = std::fs::read(binary).unwrap();
        traces.map(|text| bytes.windows(text.len()).any(|window| window == text.as_bytes()))
    };
    assert_eq!(found(debug), [true; 4], "they would be found");
    if release.exists() {
        assert_eq!(found(&release), [false; 4], "{traces:?} in {}", release.display());
    } else {
        skip("failpoints in a release: there is no target/release/pipeline");
    }
}

#[test]
fn repeat() {
    let Ok(wanted) = std::env::var("PIPELINE_SWEEP") else {
        return;
    };
    let (step, faults) = wanted.split_once(' ').unwrap();
    let course = Course::prepare();
    let cell = Cell {
        step: step.parse().unwrap(),
        faults: faults.split(' ').map(str::to_owned).collect(),
    };
    let failures = Failures::default();
    for met in attempt(&course, &cell, &failures).into_iter().flatten() {
        println!("{} points, the fault at {:?}", met.points.len(), met.at);
    }
    assert!(
        failures.lock().unwrap().is_empty(),
        "{}",
        failures.lock().unwrap()[0]
    );
}
