//! What becomes of an entry on which a step of ours panicked.
//!
//! A panic is a bug of ours, so nobody is charged. Once may be chance: the step is done again. Twice on the same entry
//! takes the entry out, so that the queue goes on without it. The count is what the journal says, so it outlives the
//! engine. A candidate of several units that met one is taken apart, and each of them goes alone from then on.

use crate::event::{EntryEnd, QueueEvent, QueueStep, Reason};
use crate::id::{Oid, UnitId};

use super::apply::{Applied, illegal};
use super::state::State;

/// Panics after which an entry is taken out.
const PANICS_MAX: u32 = 2;

/// The panics that an entry met.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Panics {
    count: u32,
    /// Of the last one.
    step: QueueStep,
    message: String,
}

impl State {
    pub(super) fn step_panicked(
        &mut self,
        units: &[UnitId],
        commit: Option<&Oid>,
        step: QueueStep,
        message: &str,
    ) -> Applied {
        const EVENT: &str = "step_panicked";
        for unit in units {
            self.require_entry(EVENT, unit)?;
            self.require_not_landing(EVENT, unit)?;
        }
        match units {
            [] => Err(illegal(EVENT, None, "it is about no entry")),
            [unit] => {
                let entry = self.require_entry_mut(EVENT, unit)?;
                let before = entry.panics.as_ref().map_or(0, |panics| panics.count);
                entry.panics = Some(Panics {
                    count: before + 1,
                    step,
                    message: message.to_owned(),
                });
                Ok(())
            }
            [..] => {
                let place = commit.and_then(|commit| self.place_in_chain(commit));
                if let Some(place) = place {
                    self.step += 1;
                    self.take_apart(place);
                    self.drop_void();
                }
                Ok(())
            }
        }
    }

    /// The end of the first entry on which a step panicked too often.
    pub(super) fn end_by_quarantine(&self) -> Option<QueueEvent> {
        let mut entries = self.line.iter();
        entries.find_map(|(rank, entry)| {
            let panics = entry
                .panics
                .as_ref()
                .filter(|panics| panics.count >= PANICS_MAX)?;
            let sentence = format!(
                "{} it panicked {} times, the last time with: {}",
                panics.step.doing(),
                panics.count,
                panics.message
            );
            Some(QueueEvent::EntryLeft {
                unit: rank.unit.clone(),
                end: EntryEnd::Evicted {
                    reason: Reason::Internal,
                    sentence,
                    conflicts: Vec::new(),
                },
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::scenario::{World, unit};
    use super::*;
    use crate::event::CheckOutcome::Passed;
    use crate::spec::Breadth::Fixed;

    fn panics(world: &mut World, names: &[&str]) {
        let commit = world.state.candidate_commits().map(|(_, commit)| commit).last();
        world.record(QueueEvent::StepPanicked {
            units: names.iter().map(|name| unit(name)).collect(),
            commit,
            step: QueueStep::Verify,
            message: "index out of bounds".to_owned(),
        });
        world.settle();
    }

    /// Everyone who runs is broken off and runs again.
    fn again(world: &mut World) {
        world.break_off();
        world.settle();
    }

    #[test]
    fn the_second_panic_takes_an_entry_out_uncharged_and_those_behind_go_on() {
        let mut world = World::wide(Fixed(1), Fixed(1), 1, &["a", "b"]);
        again(&mut world);
        panics(&mut world, &["a"]);
        assert_eq!(world.status("a"), "verifying", "once may be chance");
        again(&mut world);
        panics(&mut world, &["a"]);
        let left = world.left("a");
        assert!(left.len() == 1 && left[0].contains("internal"), "{left:?}");
        assert!(world.charges().is_empty());
        world.finish_with(|_| Passed);
        assert_eq!(world.landed(), ["b"]);
    }

    #[test]
    fn a_later_approval_begins_anew() {
        let mut world = World::wide(Fixed(1), Fixed(1), 1, &["a"]);
        again(&mut world);
        panics(&mut world, &["a"]);
        again(&mut world);
        panics(&mut world, &["a"]);
        world.enqueue("a", 2, 0, 0);
        world.settle();
        again(&mut world);
        panics(&mut world, &["a"]);
        world.finish_with(|_| Passed);
        assert_eq!(world.landed(), ["a"]);
    }

    #[test]
    fn a_batch_that_met_a_panic_is_taken_apart_and_whoever_is_not_its_cause_lands() {
        let mut world = World::wide(Fixed(1), Fixed(3), 2, &["a", "b", "c"]);
        world.break_off();
        panics(&mut world, &["a", "b", "c"]);
        assert!(
            world.left("a").is_empty(),
            "nobody is counted for what several met together"
        );
        assert_eq!(world.status("a"), "verifying", "alone");
        for _ in 0..2 {
            world.break_off();
            panics(&mut world, &["b"]);
        }
        world.finish_with(|_| Passed);
        assert_eq!(world.landed(), ["a", "c"]);
        assert_eq!(world.left("b").len(), 1);
    }

    #[test]
    fn a_panic_about_nobody_in_line_is_no_event_of_ours() {
        let mut world = World::wide(Fixed(1), Fixed(1), 1, &["a"]);
        let step = QueueStep::Integrate;
        assert!(world.state.step_panicked(&[], None, step, "x").is_err());
        assert!(world.state.step_panicked(&[unit("z")], None, step, "x").is_err());
    }
}
