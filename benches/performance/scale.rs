//! P8: ten thousand units in one file.

use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use pipeline::event::Head;

use super::play::{Play, file, pipeline};
use super::support::{self, Figure, best, in_turns};

const UNITS: usize = 10_000;
const UNITS_FEW: usize = 100;
/// Events that are counted of each run; fewer than a hundred units give.
const EVENTS: usize = 1200;

/// P8.
pub(crate) fn ten_thousand_units() -> Vec<Figure> {
    let place = support::scratch();
    let root = place.path().join("repo");
    drop(support::repository(&root, 10));
    std::fs::write(root.join("rfc.yaml"), file(UNITS)).expect("a file can be written");
    let mut figures = Vec::new();
    for verb in ["validate", "plan"] {
        let runs: Vec<_> = (0..5).map(|_| watched(&root, verb)).collect();
        let time = best(runs.iter().map(|(time, _)| *time));
        let kib = runs.iter().map(|(_, kib)| *kib).max().unwrap_or(0);
        let what = format!("`{verb}` of {UNITS} units, start to exit");
        figures.push(Figure::time(&what, time, Some(Duration::from_secs(1))));
        figures.push(Figure {
            what: "  its memory at the most".to_owned(),
            value: f64::from(kib) / 1024.0,
            unit: "MB",
            against: None,
            goal: Some(150.0),
        });
    }
    let many = pipeline(UNITS);
    let few = pipeline(UNITS_FEW);
    let per_event = |pipeline: &std::sync::Arc<_>| {
        let base = Head {
            commit: "1".repeat(40).parse().expect("it is an id"),
            tree: "2".repeat(40).parse().expect("it is an id"),
        };
        let mut play = Play::new(std::sync::Arc::clone(pipeline), base);
        play.play(EVENTS);
        let length = play.journal.len();
        assert!(
            length >= EVENTS,
            "the run ended after {length} events: {:?}",
            play.view.counts
        );
        play.spent / u32::try_from(EVENTS).expect("it is small")
    };
    let (ours, theirs) = in_turns(9, |_| per_event(&many), |_| per_event(&few));
    let what = format!("deciding and folding one event, {UNITS} units");
    figures.push(Figure::ratio(&what, ours, "the same with 100 units", theirs, 1.5));
    figures
}

/// Runs a verb to its end: how long it took, and the most memory it had, in KiB, as far as a look every half
/// millisecond shows it.
fn watched(root: &Path, verb: &str) -> (Duration, u32) {
    let began = Instant::now();
    let mut child = support::command(env!("CARGO_BIN_EXE_pipeline"), root)
        .args([verb, "rfc.yaml"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the program starts");
    let status = format!("/proc/{}/status", child.id());
    let mut peak = 0;
    loop {
        let text = std::fs::read_to_string(&status).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
        peak = peak.max(kib.unwrap_or(0));
        if let Some(ended) = child.try_wait().expect("it is our child") {
            assert!(ended.success(), "`{verb}` ended with {ended}");
            return (began.elapsed(), peak);
        }
        std::thread::sleep(Duration::from_micros(500));
    }
}
