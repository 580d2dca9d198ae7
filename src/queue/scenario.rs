//! A world around the queue for its tests: git as a graph of commits whose trees are sets of words, and an engine
//! that does what it is told.

use std::collections::{BTreeMap, BTreeSet};

use super::{Effect, Facts, IntegrateUnit, Recovery, Settings, State, Tip, recover_landing};
use crate::event::{
    Candidate, CandidateUnit, CheckOutcome, CheckResult, Evidence, Head, LandRefusal, Obstacle, QueueEvent,
    VerifyPurpose,
};
use crate::id::{Oid, UnitId};
use crate::spec::Strategy;

pub(super) type Words = BTreeSet<String>;

pub(super) fn unit(name: &str) -> UnitId {
    name.parse().unwrap()
}

/// A world with the unit `a` being verified.
pub(super) fn one() -> World {
    let mut world = World::new();
    world.enqueue("a", 1, 0, 0);
    world.settle();
    world
}

pub(super) fn words(of: &[&str]) -> Words {
    of.iter().map(|word| (*word).to_owned()).collect()
}

pub(super) struct Commit {
    pub(super) parent: Option<Oid>,
    pub(super) tree: Oid,
    pub(super) words: Words,
}

/// What the world does with a landing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Swap {
    Clean,
    /// Somebody moves the target between the intent and the swap.
    Raced,
    Dirty,
    /// The engine dies after the intent, before (false) or after (true) the ref moved.
    Crash(bool),
}

pub(super) struct World {
    pub(super) state: State,
    pub(super) journal: Vec<QueueEvent>,
    pub(super) commits: BTreeMap<Oid, Commit>,
    trees: BTreeMap<Words, Oid>,
    pub(super) tip: Option<Oid>,
    pub(super) rewritten: bool,
    pub(super) paused: bool,
    pub(super) slots: u32,
    pub(super) swap: Swap,
    pub(super) checkout: Option<String>,
    pub(super) cache: BTreeMap<(Oid, Vec<UnitId>), Evidence>,
    pub(super) green: BTreeSet<String>,
    pub(super) obstacles: BTreeMap<UnitId, Obstacle>,
    /// Open runs: fence, commit, units.
    pub(super) open: Vec<(u64, Oid, Vec<UnitId>, VerifyPurpose)>,
    /// Every unit the queue chose to integrate, with the entries in line at that moment.
    pub(super) chosen: Vec<UnitId>,
    /// Trees a real run passed on.
    pub(super) passed: BTreeSet<Oid>,
    fence: u64,
}

impl World {
    pub(super) fn new() -> Self {
        Self::with(Settings {
            strategy: Strategy::Rebase,
            waived: false,
            evict_at: super::EVICT_AT,
        })
    }

    pub(super) fn with(settings: Settings) -> Self {
        let mut world = Self {
            state: State::new(settings),
            journal: Vec::new(),
            commits: BTreeMap::new(),
            trees: BTreeMap::new(),
            tip: None,
            rewritten: false,
            paused: false,
            slots: 1,
            swap: Swap::Clean,
            checkout: None,
            cache: BTreeMap::new(),
            green: words(&["test"]),
            obstacles: BTreeMap::new(),
            open: Vec::new(),
            chosen: Vec::new(),
            passed: BTreeSet::new(),
            fence: 0,
        };
        world.tip = Some(world.commit(None, Words::new()));
        world
    }

    /// The same parent and words give the same id, as with fixed dates in git.
    pub(super) fn commit(&mut self, parent: Option<Oid>, words: Words) -> Oid {
        let known = self
            .commits
            .iter()
            .find(|(_, commit)| commit.parent == parent && commit.words == words);
        if let Some((oid, _)) = known {
            return oid.clone();
        }
        let number = self.trees.len();
        let tree = self
            .trees
            .entry(words.clone())
            .or_insert_with(|| oid(0xf, number))
            .clone();
        let oid = oid(0xc, self.commits.len());
        self.commits.insert(oid.clone(), Commit { parent, tree, words });
        oid
    }

    pub(super) fn tip(&self) -> Oid {
        self.tip.clone().unwrap()
    }

    pub(super) fn contains(&self, tip: &Oid, ancestor: &Oid) -> bool {
        std::iter::successors(Some(tip), |oid| self.commits[*oid].parent.as_ref()).any(|oid| oid == ancestor)
    }

    pub(super) fn record(&mut self, event: QueueEvent) {
        self.state.apply(&event).unwrap();
        self.journal.push(event);
    }

    pub(super) fn enqueue(&mut self, name: &str, generation: u32, priority: i64, place: u32) {
        let base = self.tip();
        let mut content = self.commits[&base].words.clone();
        content.insert(format!("{name}#{generation}"));
        let head = self.commit(Some(base.clone()), content);
        let tree = self.commits[&head].tree.clone();
        self.record(QueueEvent::Enqueued {
            unit: unit(name),
            generation,
            head: Head { commit: head, tree },
            base,
            priority,
            place,
        });
    }

    /// Somebody else lands a word.
    pub(super) fn others_add(&mut self, word: &str) {
        let mut content = self.commits[&self.tip()].words.clone();
        content.insert(word.to_owned());
        self.tip = Some(self.commit(Some(self.tip()), content));
    }

    pub(super) fn others_remove(&mut self, word: &str) {
        let mut content = self.commits[&self.tip()].words.clone();
        content.remove(word);
        self.tip = Some(self.commit(Some(self.tip()), content));
    }

    pub(super) fn decide(&self) -> Vec<Effect> {
        let tip = match &self.tip {
            Some(commit) => Tip::At {
                commit: commit.clone(),
                tree: self.commits[commit].tree.clone(),
            },
            None => Tip::Missing,
        };
        let continues = match (self.state.expected_tip(), &self.tip) {
            (Some(expected), Some(tip)) => !self.rewritten && self.contains(tip, expected),
            (None, _) | (_, None) => true,
        };
        self.state.decide(&Facts {
            tip,
            tip_continues: continues,
            slots_free: self.slots.saturating_sub(u32::try_from(self.open.len()).unwrap()),
            evidence: &|tree, units| self.cache.get(&(tree.clone(), units.to_vec())).cloned(),
            known_green: &|check| self.green.contains(check),
            paused: self.paused,
        })
    }

    /// Does what the queue says until it says nothing.
    pub(super) fn settle(&mut self) {
        for _ in 0..500 {
            let effects = self.decide();
            assert_eq!(effects, self.decide(), "asked twice, the same answer");
            if effects.is_empty() {
                return;
            }
            for effect in effects {
                self.carry_out(effect);
            }
        }
        panic!("the queue does not settle: {:?}", self.decide());
    }

    fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::Record(event) => self.record(event),
            Effect::Integrate {
                base,
                units,
                strategy,
            } => self.integrate(base, &units, strategy),
            Effect::Verify {
                commit,
                units,
                purpose,
                ..
            } => {
                let fence = self.start(&commit, purpose);
                self.open.push((fence, commit, units, purpose));
            }
            Effect::Reuse {
                commit,
                purpose,
                evidence,
            } => {
                let fence = self.start(&commit, purpose);
                self.record(QueueEvent::VerifyEnded {
                    fence,
                    evidence,
                    reused: true,
                });
            }
            Effect::Land(verified) => {
                self.record(QueueEvent::LandIntended {
                    commit: verified.to().clone(),
                    from: verified.from().clone(),
                    tree: verified.tree().clone(),
                    checkout: self.checkout.clone(),
                });
                self.swap(verified.to().clone());
            }
        }
    }

    pub(super) fn start(&mut self, commit: &Oid, purpose: VerifyPurpose) -> u64 {
        self.fence += 1;
        self.record(QueueEvent::VerifyStarted {
            commit: commit.clone(),
            purpose,
            fence: self.fence,
        });
        self.fence
    }

    fn integrate(&mut self, base: Oid, units: &[IntegrateUnit], strategy: Strategy) {
        let [member] = units else { panic!("serial") };
        assert_eq!(Some(&base), self.tip.as_ref());
        self.chosen.push(member.unit.clone());
        let mut content = self.commits[&base].words.clone();
        let word = format!("{}#{}", member.unit, member.generation);
        let obstacle = match self.obstacles.get(&member.unit) {
            None if content.contains(&word) => Some(Obstacle::AlreadyLanded),
            obstacle => obstacle.cloned(),
        };
        if let Some(obstacle) = obstacle {
            return self.record(QueueEvent::IntegrationFailed {
                unit: member.unit.clone(),
                generation: member.generation,
                base,
                obstacle,
            });
        }
        content.insert(word);
        let commit = self.commit(Some(base.clone()), content);
        let tree = self.commits[&commit].tree.clone();
        self.record(QueueEvent::CandidateBuilt {
            candidate: Candidate {
                base,
                strategy,
                units: vec![CandidateUnit {
                    unit: member.unit.clone(),
                    generation: member.generation,
                    head: member.head.clone(),
                    commit: commit.clone(),
                }],
                commit,
                tree,
            },
        });
    }

    fn swap(&mut self, to: Oid) {
        let (swap, pending) = (self.swap, self.state.pending_landing().unwrap().clone());
        self.swap = Swap::Clean;
        match swap {
            Swap::Dirty => {
                return self.record(QueueEvent::LandRefused {
                    commit: to,
                    cause: LandRefusal::TargetDirty {
                        checkout: "/checkout".to_owned(),
                        paths: vec!["a".to_owned()],
                    },
                });
            }
            Swap::Raced => self.others_add("raced"),
            Swap::Crash(true) => self.tip = Some(to.clone()),
            Swap::Clean | Swap::Crash(false) => {}
        }
        let mut replayed = State::new(self.state.settings);
        self.journal
            .iter()
            .for_each(|event| replayed.apply(event).unwrap());
        assert_eq!(replayed, self.state);
        let tip = self.tip();
        match recover_landing(&pending, &tip, self.contains(&tip, &to)) {
            Recovery::Continue => {
                assert_eq!(
                    &tip,
                    pending.verified.from(),
                    "compare-and-swap from its own base"
                );
                assert_eq!(self.commits[&to].parent.as_ref(), Some(&tip), "fast-forward only");
                assert_eq!(&self.commits[&to].tree, pending.verified.tree(), "the exact tree");
                self.tip = Some(to);
                self.record(pending.verified.landed_event());
            }
            Recovery::RecordLanded => self.record(pending.verified.landed_event()),
            Recovery::Requeue => self.record(QueueEvent::LandRefused {
                commit: to,
                cause: LandRefusal::BaseMoved { tip },
            }),
        }
    }

    /// Ends the oldest open run with one row a check, then settles.
    pub(super) fn end(&mut self, rows: &[(&str, CheckOutcome)]) {
        let (fence, commit, units, _) = self.open.remove(0);
        let evidence = evidence(&self.commits[&commit].tree, rows);
        if evidence.passed() {
            self.passed.insert(evidence.tree.clone());
            self.cache
                .insert((evidence.tree.clone(), units), evidence.clone());
        }
        self.record(QueueEvent::VerifyEnded {
            fence,
            evidence,
            reused: false,
        });
        self.settle();
    }

    pub(super) fn end_test(&mut self, outcome: CheckOutcome) {
        self.end(&[("test", outcome)]);
    }

    pub(super) fn status(&self, name: &str) -> &'static str {
        self.state
            .entry(&unit(name))
            .map_or("gone", |entry| entry.status.as_str())
    }

    pub(super) fn landed(&self) -> Vec<&str> {
        self.state
            .landed()
            .iter()
            .map(|landed| landed.unit.as_str())
            .collect()
    }

    pub(super) fn charges(&self) -> Vec<(String, u32, &'static str)> {
        self.journal
            .iter()
            .filter_map(|event| match event {
                QueueEvent::EntryCharged { unit, charge, reason } => {
                    Some((unit.to_string(), *charge, reason.code()))
                }
                _ => None,
            })
            .collect()
    }

    /// How a unit left, as a word.
    pub(super) fn left(&self, name: &str) -> Vec<String> {
        self.journal
            .iter()
            .filter_map(|event| match event {
                QueueEvent::SentBack { unit, reason, .. } if unit.as_str() == name => {
                    Some(format!("sent_back {reason}"))
                }
                QueueEvent::EntryLeft { unit, end } if unit.as_str() == name => Some(match end {
                    crate::event::EntryEnd::Evicted { reason, .. } => format!("evicted {reason}"),
                    other => format!("{other:?}"),
                }),
                _ => None,
            })
            .collect()
    }
}

pub(super) fn oid(kind: u8, number: usize) -> Oid {
    format!("{kind:x}{number:039x}").parse().unwrap()
}

pub(super) fn evidence(tree: &Oid, rows: &[(&str, CheckOutcome)]) -> Evidence {
    Evidence {
        tree: tree.clone(),
        checks: "checks".to_owned(),
        environment: "environment".to_owned(),
        results: rows
            .iter()
            .map(|(name, outcome)| CheckResult {
                name: (*name).to_owned(),
                outcome: *outcome,
                exit: None,
                duration_ms: 1,
                tail: String::new(),
                signature: String::new(),
            })
            .collect(),
    }
}
