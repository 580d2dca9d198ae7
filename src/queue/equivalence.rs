//! The scheduling layer chooses what gets verified and can never change what may land: the same units land, and the
//! target holds the same in the end, whatever the window, the batches, the slots and the order in which runs end. Held
//! against a reference that needs no queue.
//!
//! Left out are units whose checks fail at random: whether these land is for the die to say.

use std::collections::BTreeSet;

use proptest::collection::vec;
use proptest::prelude::*;

use super::Settings;
use super::scenario::{Words, World};
use crate::event::CheckOutcome;
use crate::spec::Breadth;

const UNITS: usize = 7;

/// A unit, and what is true of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Nature {
    Good,
    Bad,
    /// Bad in its first generation.
    Mends,
}

#[derive(Debug, Clone)]
struct Work {
    units: Vec<(Nature, i64)>,
    /// Pairs that cannot be put onto one another.
    conflicts: Vec<(usize, usize)>,
    /// Pairs that fit, and fail the checks together.
    quarrels: Vec<(usize, usize)>,
    /// Pairs that fit, and cannot be set up together.
    clashes: Vec<(usize, usize)>,
}

impl Work {
    /// Units in the order of the line, each taken if it can be.
    fn reference(&self) -> BTreeSet<usize> {
        let mut order: Vec<usize> = (0..UNITS).collect();
        order.sort_by_key(|number| (-self.units[*number].1, *number));
        let mut landed = BTreeSet::new();
        for number in order {
            let pairs = self.conflicts.iter().chain(&self.quarrels).chain(&self.clashes);
            let mut others = pairs.filter_map(|(one, two)| match number {
                number if number == *one => Some(two),
                number if number == *two => Some(one),
                _ => None,
            });
            if self.units[number].0 != Nature::Bad && !others.any(|other| landed.contains(other)) {
                landed.insert(number);
            }
        }
        landed
    }

    fn outcome(&self, words: &Words) -> CheckOutcome {
        let holds = |number: usize| words.iter().any(|word| word.starts_with(&format!("u{number}#")));
        let bad = |(number, (nature, _)): (usize, &(Nature, i64))| match nature {
            Nature::Good => false,
            Nature::Bad => holds(number),
            Nature::Mends => words.contains(&format!("u{number}#1")),
        };
        if self.clashes.iter().any(|(one, two)| holds(*one) && holds(*two)) {
            return CheckOutcome::Infrastructure;
        }
        let at_odds = self.quarrels.iter().any(|(one, two)| holds(*one) && holds(*two));
        if at_odds || self.units.iter().enumerate().any(bad) {
            CheckOutcome::Failed
        } else {
            CheckOutcome::Passed
        }
    }

    /// Takes in what is not in line and has neither landed nor left for good.
    fn enqueue(&self, world: &mut World) {
        for (number, (_, priority)) in self.units.iter().enumerate() {
            let name = format!("u{number}");
            let lefts = world.left(&name);
            let gone = lefts.last().is_some_and(|left| !left.starts_with("sent_back"));
            if !gone && world.status(&name) == "gone" && !world.landed().contains(&name.as_str()) {
                let generation = u32::try_from(lefts.len()).unwrap() + 1;
                world.enqueue(&name, generation, *priority, u32::try_from(number).unwrap());
            }
        }
    }

    /// Plays it to the end; the dice say which run ends, which is interrupted, and when others move the target.
    fn play(&self, settings: Settings, dice: &[u8]) -> World {
        let mut world = World::with(settings);
        let pair = |(one, two): &(usize, usize)| (format!("u{one}"), format!("u{two}"));
        world.conflicts.extend(self.conflicts.iter().map(pair));
        let mut dice = dice.iter().copied().chain(std::iter::repeat(0));
        world.others_add("theirs");
        for turn in 0..2000 {
            self.enqueue(&mut world);
            world.settle();
            if turn == 6 {
                world.others_add("later");
                world.settle();
            }
            world.break_off();
            let die = usize::from(dice.next().unwrap());
            let Some(place) = die.checked_rem(world.open.len()) else {
                if turn > 6 {
                    return world;
                }
                continue;
            };
            let outcome = match die / 16 {
                15 => CheckOutcome::Interrupted,
                _ => self.outcome(&world.commits[&world.open[place].1].words),
            };
            world.end_at(place, &[("test", outcome)]);
        }
        panic!("it does not end: {:?}", world.state.entries());
    }
}

fn work() -> impl Strategy<Value = Work> {
    let nature = prop_oneof![4 => Just(Nature::Good), 1 => Just(Nature::Bad), 1 => Just(Nature::Mends)];
    let pair = (0..UNITS, 1..UNITS).prop_map(|(one, by)| (one, (one + by) % UNITS));
    let pairs = move || vec(pair.clone(), 0..3);
    (vec((nature, -1_i64..2), UNITS), pairs(), pairs(), pairs()).prop_map(
        |(units, conflicts, quarrels, clashes)| {
            // A unit in a pair has one generation that counts, so that the order of the two is the line's.
            let mends = |number: usize| units[number].0 == Nature::Mends;
            let apart = |pairs: Vec<(usize, usize)>| -> Vec<_> {
                let told = |(one, two): &(usize, usize)| !mends(*one) && !mends(*two);
                pairs.into_iter().filter(told).collect()
            };
            Work {
                conflicts: apart(conflicts),
                quarrels: apart(quarrels),
                clashes: apart(clashes),
                units,
            }
        },
    )
}

fn breadth() -> impl Strategy<Value = Breadth> {
    prop_oneof![(2_u32..5).prop_map(Breadth::Fixed), Just(Breadth::Auto)]
}

fn landed(world: &World) -> BTreeSet<String> {
    world.landed().into_iter().map(str::to_owned).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn window_and_batches_change_neither_what_lands_nor_what_the_target_holds_in_the_end(
        work in work(),
        (window, batch, parallel) in (breadth(), breadth(), 1_u32..6),
        conflicts_max in 0_u32..3,
        dice in vec(any::<u8>(), 0..120),
    ) {
        let serial = Settings { conflicts_max, ..Settings::serial(crate::spec::Strategy::Rebase) };
        let reference: BTreeSet<String> = work.reference().into_iter().map(|number| format!("u{number}")).collect();
        let mut trees = BTreeSet::new();
        for settings in [
            serial,
            Settings { window, parallel, ..serial },
            Settings { batch, parallel, ..serial },
            Settings { window, batch, parallel, ..serial },
        ] {
            let world = work.play(settings, &dice);
            prop_assert!(world.state.is_idle());
            prop_assert_eq!(landed(&world), reference.clone(), "{:?}", settings);
            trees.insert(world.commits[&world.tip()].words.clone());
        }
        prop_assert_eq!(trees.len(), 1, "{:?}", trees);
    }
}
