//! P9 and P12: what a state change costs on its way to the disk, and how soon a long run is taken up again.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use pipeline::agent::Templates;
use pipeline::clock::SystemClock;
use pipeline::engine::{Engine, LandedChanges, Observer, Options, Tools};
use pipeline::event::{Event, Head, Record, UnitEvent, UnitScoped};
use pipeline::git::Repository;
use pipeline::port::Activity;
use pipeline::process::Launch;
use pipeline::run::State;
use pipeline::store::{Holder, Home, Row, RowTree, Store, StoreLease, read_journal};
use pipeline::view::View;
use pipeline::workspace::{LauncherSettings, LocalLauncher, PortLeases};

use super::play::{ENVIRONMENT, Play, pipeline};
use super::support::{self, Figure, best, median, timed};

/// State changes that are measured.
const COMMITS: usize = 1500;
/// Events of the journal that is taken up again; the contract's number.
const EVENTS: usize = 100_000;

fn holder() -> Holder {
    Holder {
        pid: std::process::id(),
        command: "cargo bench".to_owned(),
        started: Timestamp::UNIX_EPOCH,
    }
}

pub(crate) fn open(home: &Home) -> Store {
    let lease = StoreLease::acquire(home, &holder()).expect("nobody else holds it");
    let (store, notes) = Store::open(home.clone(), lease).expect("the store opens");
    assert!(notes.is_empty(), "{notes:?}");
    store
}

/// The row that an engine changes with an attempt's event.
fn row_of(event: &Event) -> Option<Row> {
    let Event::Unit(UnitScoped { what, .. }) = event else {
        return None;
    };
    let (fence, value) = match what {
        UnitEvent::AttemptStarted { fence, .. } => (
            fence,
            Some(serde_json::to_vec(event).expect("an event is plain data")),
        ),
        UnitEvent::AttemptEnded { fence, .. } => (fence, None),
        _ => return None,
    };
    Some(Row {
        tree: RowTree::Leases,
        key: fence.to_string(),
        value,
    })
}

/// P9.
pub(crate) fn one_commit() -> Vec<Figure> {
    let place = support::scratch();
    let home = Home::new(&place.path().join("git"));
    let mut store = open(&home);
    let base = Head {
        commit: "1".repeat(40).parse().expect("it is an id"),
        tree: "2".repeat(40).parse().expect("it is an id"),
    };
    let mut play = Play::new(pipeline(COMMITS / 4), base);
    play.play(4 * COMMITS);
    let (first, rest) = play.journal.split_at(2);
    let first: Vec<Event> = first.iter().map(|record| record.event.clone()).collect();
    store
        .start_run(&play.run, b"{}", play.journal[0].at, &first, &[])
        .expect("the disk can be written");
    let mut journal = File::open(home.journal(&play.run)).expect("the run has a journal");
    journal.seek(SeekFrom::End(0)).expect("a file has an end");
    let mut bare = File::create(place.path().join("bare")).expect("a file can be made");
    let attempts = rest
        .iter()
        .filter_map(|record| Some((record, row_of(&record.event)?)));
    let (mut ours, mut theirs, mut bytes_all) = (Vec::new(), Vec::new(), 0);
    for (record, row) in attempts.take(COMMITS) {
        let events = [record.event.clone()];
        let rows = [row];
        ours.push(timed(|| {
            let done = store.commit(&play.run, record.at, &events, &rows);
            done.expect("the disk can be written");
        }));
        let mut bytes = Vec::new();
        journal.read_to_end(&mut bytes).expect("the journal can be read");
        bytes_all += bytes.len();
        theirs.push(timed(|| {
            let done = bare.write_all(&bytes).and_then(|()| bare.sync_data());
            done.expect("the disk can be written");
        }));
    }
    let mean = bytes_all / ours.len();
    let what = format!("a persisted state change: event of {mean} bytes and its row");
    let (one, other) = (median(ours), median(theirs));
    vec![Figure::ratio(
        &what,
        one,
        "append + fdatasync of the same bytes",
        other,
        3.0,
    )]
}

/// Folds what it is told into the view, as every observer does.
struct Folding(View);

impl Observer for Folding {
    fn replayed(&mut self, record: &Record) {
        self.0.apply(record);
    }
    fn recorded(&mut self, record: &Record) {
        self.0.apply(record);
    }
    fn grown(&mut self, pipeline: &pipeline::spec::Pipeline) {
        self.0.grow(pipeline);
    }
    fn activity(&mut self, _: &Activity) {}
    fn note(&mut self, _: &str) {}
}

fn tools(repository: &Repository, place: &Path) -> Tools {
    let settings = LauncherSettings {
        worktrees_root: place.join("worktrees"),
        logs_root: place.join("logs"),
        user_env: [("PATH".to_owned(), support::PATH.to_owned())].into(),
        ports: Arc::new(PortLeases::default()),
        files_max: 100,
        bytes_max: 1 << 20,
        grace: Duration::from_secs(1),
    };
    let launch = Launch::new(env!("CARGO_BIN_EXE_pipeline").into());
    Tools {
        launcher: Arc::new(LocalLauncher::new(repository.clone(), launch, settings)),
        repository: repository.clone(),
        clock: Arc::new(SystemClock),
        templates: Templates::embedded(),
        identity: repository.identity().expect("it is configured"),
        pass_env: std::collections::BTreeMap::new(),
        seed: 1,
        protected: Vec::new(),
        landed: LandedChanges::default(),
    }
}

/// P12.
pub(crate) fn resume() -> Vec<Figure> {
    let place = support::scratch();
    let root = place.path().join("repo");
    let repository = support::repository(&root, 10);
    let tip = support::head(&root);
    let tip = Head {
        tree: repository.tree_of(&tip).expect("it is a commit"),
        commit: tip,
    };
    let home = Home::new(repository.common_dir());
    let mut play = Play::new(pipeline(EVENTS / 16), tip.clone());
    play.play(EVENTS - 1);
    play.move_target(tip);
    {
        let mut store = open(&home);
        let mut events: Vec<Event> = play.journal.iter().map(|record| record.event.clone()).collect();
        let rest = events.split_off(1);
        store
            .start_run(&play.run, b"{}", play.journal[0].at, &events, &[])
            .expect("the disk can be written");
        store
            .commit(&play.run, play.journal[0].at, &rest, &[])
            .expect("the disk can be written");
    }
    let bytes = std::fs::metadata(home.journal(&play.run))
        .expect("there is a journal")
        .len();
    let runtime = tokio::runtime::Runtime::new().expect("threads can be started");
    let take_up = || {
        let observer = Box::new(Folding(View::new(&play.pipeline)));
        let engine = runtime.block_on(Engine::take_up(
            play.run.clone(),
            Arc::clone(&play.pipeline),
            ENVIRONMENT.to_owned(),
            open(&home),
            Arc::new(tools(&repository, place.path())),
            Options::default(),
            observer,
        ));
        let engine = engine.unwrap_or_else(|error| panic!("{error}"));
        drop(engine);
    };
    // The first time, rows are missing and work under way is settled.
    take_up();
    let all = best((0..5).map(|_| timed(take_up)));
    let mut records = Vec::new();
    let read = timed(|| {
        records = read_journal(&home, &play.run)
            .expect("it was just written")
            .records;
    });
    let state = timed(|| {
        let mut state = State::new(Arc::clone(&play.pipeline), ENVIRONMENT.to_owned());
        for record in &records {
            state.apply(record).expect("the machine decided it");
        }
        drop(state);
    });
    let view = timed(|| drop(View::of(&play.pipeline, &records)));
    let what = format!("an engine takes up {} events, {} MB", records.len(), bytes >> 20);
    vec![
        Figure::time(&what, all, Some(Duration::from_secs(1))),
        Figure::time("  of this: reading and checking the journal", read, None),
        Figure::time("  of this: folding the state", state, None),
        Figure::time("  of this: folding the view", view, None),
    ]
}
