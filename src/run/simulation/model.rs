//! What may land, computed the naive way: one unit after the other is put onto the target, tested, and landed.
//!
//! Nothing here knows candidates, trials, evidence or holds. [`put_onto`] says for every landing whether it may be.
//! [`Serial`] goes along with the journal of a run in which nothing but the units' own natures had a say, makes the
//! naive decision at every turn, and at the end has landed the same units.

use std::collections::{BTreeMap, BTreeSet};

use super::agents::{Truth, truth_of};
use super::git::{Git, Tree};
use super::setting::Setting;
use crate::event::{EntryEnd, Event, QueueEvent, Reason, Record};
use crate::id::{Oid, UnitId};
use crate::run::queue_checks;
use crate::spec::{Breadth, Strategy, Verify};

/// What becomes of a unit's head on a base.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It fits; these are the files then.
    Lands(Tree),
    AlreadyThere,
    Conflicts,
    /// It fits, and the checks fail.
    Fails,
}

/// Puts a head onto a commit, path by path.
pub(super) fn put_onto(git: &Git, onto: &Oid, head: &Oid, base: &Oid, strategy: Strategy) -> Verdict {
    if git.is_ancestor(head, onto) {
        return Verdict::AlreadyThere;
    }
    // What the head changed is measured from its own base, or from where the histories part.
    let replays = strategy == Strategy::Rebase;
    let off_the_line = !git.is_ancestor(base, onto);
    let since = if replays || off_the_line {
        base.clone()
    } else {
        git.merge_base(onto, head).expect("all grew from one root")
    };
    let (old, new, here) = (git.files(&since), git.files(head), git.files(onto));
    let mut result = Tree::new();
    for path in 0..=u8::MAX {
        let (old, new, here) = (old.get(&path), new.get(&path), here.get(&path));
        let merged = match (new == old, here == old, new == here) {
            (_, _, true) | (true, _, _) => here,
            (false, true, _) => new,
            (false, false, false) => return Verdict::Conflicts,
        };
        if let Some(file) = merged {
            result.insert(path, *file);
        }
    }
    if result == *here {
        Verdict::AlreadyThere
    } else {
        Verdict::Lands(result)
    }
}

/// An approved head in line.
struct Waiting {
    head: Oid,
    base: Oid,
    priority: i64,
    age: u32,
    place: u32,
    /// It was put onto something, whether it fitted or not.
    is_tried: bool,
}

/// The naive queue.
pub(super) struct Serial<'a> {
    git: &'a Git,
    setting: &'a Setting,
    target: Oid,
    line: BTreeMap<UnitId, Waiting>,
    ages: BTreeMap<UnitId, u32>,
    step: u32,
    pub(super) landed: BTreeSet<UnitId>,
}

impl<'a> Serial<'a> {
    pub(super) fn new(git: &'a Git, setting: &'a Setting, target: Oid) -> Self {
        Self {
            git,
            setting,
            target,
            line: BTreeMap::new(),
            ages: BTreeMap::new(),
            step: 0,
            landed: BTreeSet::new(),
        }
    }

    /// Goes along with a run to its end.
    pub(super) fn follow(mut self, journal: &[Record]) -> Self {
        for record in journal {
            if let Event::Queue(event) = &record.event {
                self.take(event);
            }
        }
        assert!(self.line.is_empty(), "everybody had their turn");
        self
    }

    fn take(&mut self, event: &QueueEvent) {
        match event {
            QueueEvent::Enqueued {
                unit,
                head,
                base,
                priority,
                place,
                ..
            } => {
                let age = *self.ages.entry(unit.clone()).or_insert(self.step);
                let (head, base) = (head.commit.clone(), base.clone());
                let (priority, place) = (*priority, *place);
                let waiting = Waiting {
                    head,
                    base,
                    priority,
                    age,
                    place,
                    is_tried: false,
                };
                self.line.insert(unit.clone(), waiting);
            }
            QueueEvent::CandidateBuilt { candidate } => {
                let units: Vec<&UnitId> = candidate.units.iter().map(|member| &member.unit).collect();
                self.expect_next(&units);
            }
            QueueEvent::IntegrationFailed { unit, ahead, .. } => {
                let units: Vec<&UnitId> = ahead.iter().chain([unit]).collect();
                self.expect_next(&units);
            }
            QueueEvent::Landed { units, to, .. } => {
                for landed in units {
                    let verdict = self.serve(&landed.unit);
                    assert!(
                        matches!(verdict, Verdict::Lands(_)),
                        "{} landed; {verdict:?}",
                        landed.unit
                    );
                    self.target = landed.commit.clone();
                    self.landed.insert(landed.unit.clone());
                }
                assert_eq!(self.target, *to);
            }
            QueueEvent::SentBack { unit, .. } => {
                assert_eq!(self.serve(unit), Verdict::Fails, "{unit} was sent back");
            }
            QueueEvent::SentToResolve { unit, onto, .. } => {
                assert_eq!(*onto, self.target);
                assert_eq!(self.serve(unit), Verdict::Conflicts, "{unit} was sent to resolve");
            }
            QueueEvent::EntryLeft { unit, end } => {
                let expected = match end {
                    EntryEnd::AlreadyLanded => Verdict::AlreadyThere,
                    EntryEnd::Evicted {
                        reason: Reason::ConflictTarget,
                        ..
                    } => Verdict::Conflicts,
                    EntryEnd::Evicted { .. } => Verdict::Fails,
                    EntryEnd::Cancelled => panic!("nobody cancels here"),
                };
                assert_eq!(self.serve(unit), expected, "{unit} left as {end:?}");
            }
            _ => {}
        }
    }

    /// Whoever is first by priority, age and place goes first. Only where several are verified at once may one go
    /// before others, and then these had their turn already.
    fn expect_next(&mut self, chosen: &[&UnitId]) {
        self.step += 1;
        let queue = &self.setting.pipeline.queue;
        let is_serial = (queue.window, queue.batch) == (Breadth::Fixed(1), Breadth::Fixed(1));
        let rank = |waiting: &Waiting| (-waiting.priority, waiting.age, waiting.place);
        let mut line: Vec<(&UnitId, &mut Waiting)> = self.line.iter_mut().collect();
        line.sort_by_key(|(_, waiting)| rank(waiting));
        assert!(!is_serial || chosen == [line[0].0], "first in line");
        let mut left = chosen.iter();
        for (unit, waiting) in line {
            if left.as_slice().first() == Some(&unit) {
                left.next();
                waiting.is_tried = true;
            } else if !left.as_slice().is_empty() {
                assert!(waiting.is_tried, "{unit} is passed over for {chosen:?}");
            }
        }
        assert!(
            left.as_slice().is_empty(),
            "{chosen:?} are in line, and in its order"
        );
    }

    /// Takes a unit out of the line: put onto the target, and tested.
    fn serve(&mut self, unit: &UnitId) -> Verdict {
        self.step += 1;
        let waiting = self.line.remove(unit).expect("who is served is in line");
        let strategy = self.setting.pipeline.queue.strategy;
        let verdict = put_onto(self.git, &self.target, &waiting.head, &waiting.base, strategy);
        let Verdict::Lands(files) = verdict else {
            return verdict;
        };
        let checks = queue_checks(&self.setting.pipeline, [self.setting.spec(unit)]);
        let waived = self.setting.pipeline.verify == Verify::Waived;
        if waived || truth_of(&checks, &files) == Truth::Passes {
            Verdict::Lands(files)
        } else {
            Verdict::Fails
        }
    }
}
