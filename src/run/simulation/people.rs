//! What people do to the target and its checkout, and what they want of units and queue, while an engine works and while none
//! does.

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::SignedDuration;

use super::agents::{Truth, truth_of};
use super::driver::{Driver, Halt, Step};
use super::git::{File, Integration, Mark, OTHERS, Path, Stamp, THEIRS, Tree};
use super::laws::sets_of_target;
use super::setting::{Kind, number_of, unit_id};
use crate::event::StopCause;
use crate::id::{Oid, UnitId};
use crate::queue::EntryView;
use crate::run::{QueueWish, UnitWish, Wish};
use crate::unit::Phase;

impl Driver {
    /// Trouble while an engine waits: signals, kills, time, and other people.
    pub(super) fn trouble(&mut self) -> Step {
        if !self.faulty {
            return Ok(());
        }
        self.others_act(6);
        match self.dice.roll(200) {
            0 | 1 => {
                self.see("a signal");
                self.signal();
            }
            2 | 3 if self.stopping.is_none() => self.stopping = Some(StopCause::TimeLimit),
            4..=6 => {
                self.see("the clock went back");
                self.now -= SignedDuration::from_secs(i64::from(self.dice.roll(4_000)));
            }
            7 => self.now += SignedDuration::from_hours(9),
            8..=11 => {
                self.see("killed at rest");
                return Err(Halt::Killed);
            }
            12..=17 => self.somebody_calls()?,
            18..=30 if self.fuse.is_none() => self.fuse = Some(self.dice.roll(7)),
            _ => {}
        }
        Ok(())
    }

    /// Other people may do something to the target or its checkout.
    pub(super) fn others_act(&mut self, percent: u32) {
        if !self.faulty || !self.dice.chance(percent) {
            return;
        }
        let Some(tip) = self.git.target.clone() else {
            self.mend_target();
            return;
        };
        match self.dice.roll(22) {
            0..=4 => self.commit_theirs(&tip, Mark::Fine),
            5 | 6 => self.commit_theirs(&tip, Mark::Breaks),
            7 | 8 => self.mend_target(),
            9 => self.commit_shared(&tip),
            10 => self.force_back(&tip),
            11 => {
                self.see("the target was deleted");
                self.git.target = None;
            }
            12..=14 => self.dirty(),
            15 | 16 => self.clean(),
            17 => self.leave_checkout(),
            18 => self.touch_branch(),
            19 | 20 => self.amend(&tip),
            _ => self.land_by_hand(&tip),
        }
    }

    pub(super) fn move_target(&mut self, files: &Tree, parents: &[Oid]) {
        let second = i64::from(self.dice.roll(1 << 20));
        let by = OTHERS;
        let commit = self.git.commit(parents, files, Stamp { by, second });
        self.git.target = Some(commit);
        self.git.refresh_checkout();
    }

    fn commit_theirs(&mut self, tip: &Oid, mark: Mark) {
        let mut files = self.git.files(tip).clone();
        let version = self.dice.roll(1_000);
        let by = OTHERS;
        files.insert(THEIRS, File { by, version, mark });
        self.see(if mark == Mark::Breaks {
            "others broke the target"
        } else {
            "others moved the target"
        });
        self.move_target(&files, std::slice::from_ref(tip));
    }

    /// Somebody writes where units write, or takes a unit's file away.
    fn commit_shared(&mut self, tip: &Oid) {
        let mut files = self.git.files(tip).clone();
        let path = 80 + Path::try_from(self.dice.roll(2)).expect("few");
        let version = self.dice.roll(1_000);
        let (by, mark) = (OTHERS, Mark::Fine);
        if files.remove(&path).is_none() {
            files.insert(path, File { by, version, mark });
        }
        self.move_target(&files, std::slice::from_ref(tip));
    }

    fn force_back(&mut self, tip: &Oid) {
        let line: Vec<Oid> = self.git.line(tip).cloned().collect();
        let to = self.dice.pick(&line);
        self.see("the target was forced back");
        self.git.target = Some(to);
        self.git.refresh_checkout();
    }

    /// Somebody makes their own last commit anew.
    fn amend(&mut self, tip: &Oid) {
        let parents = self.git.parents(tip).to_vec();
        if self.git.author(tip) != OTHERS || parents.is_empty() {
            return;
        }
        let mut files = self.git.files(tip).clone();
        let (by, mark) = (OTHERS, Mark::Fine);
        let version = self.dice.roll(1_000);
        files.insert(THEIRS, File { by, version, mark });
        self.see("others rewrote their own commit");
        self.move_target(&files, &parents);
    }

    /// Somebody lands a unit's approved work themselves.
    fn land_by_hand(&mut self, tip: &Oid) {
        let heads: Vec<(Oid, Oid)> = self
            .state
            .units()
            .filter(|(_, unit)| unit.phase() == Phase::Queued)
            .filter_map(|(_, unit)| Some((unit.head()?.commit.clone(), unit.base()?.clone())))
            .collect();
        if heads.is_empty() {
            return;
        }
        let (head, base) = self.dice.pick(&heads);
        let strategy = self.setting.pipeline.queue.strategy;
        if let Integration::Built { commit, .. } = self.git.integrate(tip, &head, &base, strategy) {
            self.see("others landed a unit's work");
            let files = self.git.files(&commit).clone();
            self.move_target(&files, std::slice::from_ref(tip));
        }
    }

    fn dirty(&mut self) {
        let paths: Vec<Path> = (0..7).chain([80, 81, THEIRS]).collect();
        let path = self.dice.pick(&paths);
        let version = 5_000 + self.dice.roll(1_000);
        let (by, mark) = (OTHERS, Mark::Fine);
        if let Some(checkout) = &mut self.git.checkout {
            let file = File { by, version, mark };
            checkout.files.insert(path, file);
            checkout.dirty.insert(path, file);
        }
    }

    fn clean(&mut self) {
        if let Some(checkout) = &mut self.git.checkout {
            checkout.dirty.clear();
        }
        self.git.refresh_checkout();
    }

    /// The checkout goes to another branch, or comes to the target.
    fn leave_checkout(&mut self) {
        if self.setting.with_checkout && self.git.checkout.take().is_none() {
            self.git.checkout = Some(super::git::Checkout::default());
            self.git.refresh_checkout();
        }
    }

    /// A target that is gone, or has lost landed work, is brought back to where the run left it, and its checks are repaired.
    fn mend_target(&mut self) {
        let expected = self.state.queue().expected_tip().cloned();
        let start = self.state.start().expect("a run has started").base.clone();
        let expected = expected.unwrap_or(start);
        let lost = |tip: &Oid| {
            let mut landed = self.state.landed_work();
            landed.any(|commit| !self.git.is_ancestor(commit, tip))
        };
        if self.git.target.as_ref().is_none_or(lost) {
            self.git.target = Some(expected);
        }
        let tip = self.git.target.clone().expect("it was restored");
        self.git.refresh_checkout();
        let checks = sets_of_target(&self.setting.pipeline).concat();
        if matches!(
            truth_of(&checks, self.git.files(&tip)),
            Truth::Fails | Truth::Hangs
        ) {
            let mut files = self.git.files(&tip).clone();
            files.values_mut().for_each(|file| file.mark = Mark::Fine);
            self.see("others repaired the target");
            self.move_target(&files, &[tip]);
        }
    }

    /// Faults are over: whoever is asked for something does it at once. `false` when there was nothing to do.
    pub(super) fn people_help(&mut self) -> Step<bool> {
        self.mend_target();
        self.clean();
        let lifted = self.lift_holds()?;
        let gated: Vec<UnitId> = self.state.gates().map(|(unit, _)| unit.clone()).collect();
        for unit in &gated {
            let approves = self.setting.kind == Kind::Calm || self.dice.chance(80);
            self.wish(wish_of(unit, decision(approves)))?;
        }
        Ok(lifted || !gated.is_empty())
    }

    /// What people may want of units while no engine runs.
    pub(super) fn people_wish(&mut self) -> Step {
        self.others_act(30);
        for number in 0..self.setting.natures.len() {
            let unit = unit_id(number);
            let phase = self.state.unit(&unit).expect("a unit of the pipeline").phase();
            let wishes = match phase {
                Phase::Gated => 60,
                Phase::Evicted | Phase::Cancelled => 30,
                Phase::Landed | Phase::Discarded => 0,
                Phase::Queued => 8,
                Phase::Waiting | Phase::Working | Phase::Published | Phase::Blocked => 2,
            };
            if !self.dice.chance(wishes) {
                continue;
            }
            if let Some(wish) = self.draw_wish(&unit, phase) {
                self.wish(wish_of(&unit, wish))?;
            }
        }
        self.wish_of_queue()?;
        let everybody = self.setting.kind == Kind::Wild && self.dice.chance(20);
        self.selection = everybody.then(|| self.draw_selection());
        Ok(())
    }

    /// What somebody says to the engine that has the run.
    pub(super) fn somebody_calls(&mut self) -> Step {
        self.see("somebody called");
        if self.dice.chance(50) {
            return self.wish_of_queue();
        }
        let number = usize::try_from(self.dice.roll(64)).expect("few") % self.setting.natures.len();
        let unit = unit_id(number);
        let phase = self.state.unit(&unit).expect("a unit of the pipeline").phase();
        match self.draw_wish(&unit, phase) {
            Some(wish) => self.wish(wish_of(&unit, wish)),
            None => Ok(()),
        }
    }

    fn draw_wish(&mut self, unit: &UnitId, phase: Phase) -> Option<UnitWish> {
        Some(match self.dice.roll(10) {
            0..=5 if phase == Phase::Gated => decision(self.dice.chance(70)),
            0..=4 if phase == Phase::Evicted => self.repair(unit)?,
            8 => UnitWish::Cancel,
            9 => UnitWish::Discard,
            _ => UnitWish::Retry { note: None },
        })
    }

    /// What people may say to the queue.
    fn wish_of_queue(&mut self) -> Step {
        let queue = self.state.queue();
        if (queue.is_paused() || queue.frozen_below().is_some()) && self.dice.chance(70) {
            self.lift_holds()?;
            return Ok(());
        }
        let below = i64::from(self.dice.roll(4)) - 1;
        let interrupt = self.dice.chance(50);
        let wish = match self.dice.roll(24) {
            0 => QueueWish::Pause,
            1 => QueueWish::Freeze { below },
            2..=5 => {
                let queue = self.state.queue();
                let is_behind = |entry: &EntryView| queue.priority_on_top(&entry.unit).is_some();
                let behind: Vec<EntryView> = queue.entries().into_iter().filter(is_behind).collect();
                if behind.is_empty() {
                    return Ok(());
                }
                let unit = self.dice.pick(&behind).unit;
                QueueWish::Top { unit, interrupt }
            }
            _ => return Ok(()),
        };
        self.wish(Wish::Queue(wish))
    }

    /// A pause and a freeze are lifted; `false` where there is none.
    pub(super) fn lift_holds(&mut self) -> Step<bool> {
        let queue = self.state.queue();
        let held = queue.is_paused() || queue.frozen_below().is_some();
        self.wish(Wish::Queue(QueueWish::Resume))?;
        self.wish(Wish::Queue(QueueWish::Thaw))?;
        Ok(held)
    }

    /// A person's commit on the target instead of the unit's.
    fn repair(&mut self, unit: &UnitId) -> Option<UnitWish> {
        let base = self.git.target.clone()?;
        let number = number_of(unit);
        let head = self.write(number, &base, &base);
        Some(UnitWish::Resolve { head, base })
    }

    /// Some units, with what they need.
    fn draw_selection(&mut self) -> Arc<BTreeSet<UnitId>> {
        let mut only = BTreeSet::new();
        for unit in self.setting.pipeline.units.iter().rev() {
            if only.contains(&unit.id) || self.dice.chance(40) {
                only.insert(unit.id.clone());
                only.extend(unit.needs.iter().cloned());
            }
        }
        Arc::new(only)
    }

    /// Writes a wish down where it can be true.
    fn wish(&mut self, wish: Wish) -> Step {
        let same = wish.clone();
        match self.state.events_of(self.now, wish) {
            Ok(events) => {
                let is_told = events.iter().any(|event| same.is_told_by(event));
                assert!(
                    is_told || matches!(same, Wish::Queue(_)),
                    "{same:?} is told by {events:?}"
                );
                self.record(events)
            }
            Err(_) => {
                self.see("a wish was refused");
                Ok(())
            }
        }
    }
}

fn wish_of(unit: &UnitId, wish: UnitWish) -> Wish {
    let unit = unit.clone();
    Wish::Unit { unit, wish }
}

fn decision(approves: bool) -> UnitWish {
    if approves {
        UnitWish::Approve
    } else {
        let message = "not like this".to_owned();
        UnitWish::Reject { message }
    }
}
