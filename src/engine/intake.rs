//! Taking in branches that bring the work of units.
//!
//! A branch is looked at once: its head is copied to a ref of ours, so that nothing a person does to the branch afterwards
//! takes the commits away, and then the journal says so. Whoever dies in between leaves a ref that the next engine writes
//! again; whatever is in the journal has its ref. The branch itself is only ever read.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::dispatch::blocking;
use super::records::{BRANCH, BranchRecord, HEAD, VERSION, refs_of, text_of};
use super::{Engine, EngineError, Tools, interpret};
use crate::event::{Event, GuardAction, GuardHit, Head, Obstacle, Reason, UnitEvent, UnitScoped};
use crate::git::{IntegrateUnit, Integration, RecordText};
use crate::id::{Oid, UnitId};
use crate::spec::{FromBranch, Pipeline, Strategy, Unit};

/// A branch to be looked at.
struct Look {
    tools: Arc<Tools>,
    pipeline: Arc<Pipeline>,
    unit: UnitId,
    branch: FromBranch,
    /// Where the branch is.
    head: Option<Oid>,
    /// Where the target is.
    tip: Oid,
}

impl Engine {
    /// Takes in the branches that units of the selection wait for.
    pub(super) async fn take_wanted_branches(&mut self) -> Result<(), EngineError> {
        let wanted = self.state.wanted_branches(self.options.only.as_deref());
        let units: Vec<UnitId> = wanted.map(|(unit, _)| unit.clone()).collect();
        self.take_branches(units).await
    }

    /// Looks at the branches of units that have not begun, copies them, and records what was found.
    pub(super) async fn take_branches(&mut self, units: Vec<UnitId>) -> Result<(), EngineError> {
        let Some(tip) = self
            .tools
            .repository
            .tip(self.target())?
            .filter(|_| !units.is_empty())
        else {
            return Ok(());
        };
        let pipeline = Arc::clone(self.state.pipeline());
        let tools = Arc::clone(&self.tools);
        let events = blocking(move || -> Result<Vec<(UnitId, UnitEvent)>, EngineError> {
            let brings = |id| pipeline.unit(id)?.from_branch.as_ref();
            let asked = units.iter().filter_map(|id| Some((id, brings(id)?)));
            let asked: Vec<_> = asked.collect();
            let names: BTreeSet<&str> = asked.iter().map(|(_, branch)| branch.name.as_str()).collect();
            let tips = tools.repository.branch_tips(&names)?;
            let look = |(unit, branch): &(&UnitId, &FromBranch)| {
                let look = Look {
                    tools: Arc::clone(&tools),
                    pipeline: Arc::clone(&pipeline),
                    unit: (*unit).clone(),
                    branch: (*branch).clone(),
                    head: tips.get(&branch.name).cloned(),
                    tip: tip.clone(),
                };
                Ok(((*unit).clone(), look.take()?))
            };
            asked.iter().map(look).collect()
        })
        .await??;
        self.copy_branches(&events).await?;
        let event = |(unit, what)| Event::Unit(UnitScoped { unit, what });
        let events: Vec<Event> = events.into_iter().map(event).collect();
        self.record(&events)
    }

    /// Keeps the heads by refs of ours, with the record from which a lost journal is made anew.
    async fn copy_branches(&self, events: &[(UnitId, UnitEvent)]) -> Result<(), EngineError> {
        let mut heads = Vec::new();
        let mut records = Vec::new();
        for (unit, what) in events {
            if let UnitEvent::BranchTaken {
                branch,
                head,
                base,
                guards,
            } = what
            {
                heads.push((format!("{}{unit}{HEAD}", refs_of(&self.run)), head.commit.clone()));
                let intake = crate::unit::Intake {
                    branch: branch.clone(),
                    head: head.clone(),
                    base: base.clone(),
                    guards: guards.clone(),
                };
                records.push(self.branch_record(unit, &intake));
            }
        }
        if heads.is_empty() {
            return Ok(());
        }
        let repository = self.tools.repository.clone();
        blocking(move || repository.write_refs(&heads)).await??;
        self.write_records(records).await
    }

    /// What git is told of a branch that was taken in.
    pub(super) fn branch_record(&self, unit: &UnitId, intake: &crate::unit::Intake) -> RecordText {
        let record = BranchRecord {
            version: VERSION,
            unit: unit.clone(),
            branch: intake.branch.clone(),
            head: intake.head.clone(),
            base: intake.base.clone(),
            guards: intake.guards.clone(),
        };
        RecordText {
            name: format!("{}{unit}{BRANCH}", refs_of(&self.run)),
            tree: intake.head.tree.clone(),
            parents: vec![intake.head.commit.clone()],
            text: text_of(&record),
        }
    }

    /// Where the branches are that units depend on.
    pub(super) async fn look_at_branches(&self) -> Result<BTreeMap<UnitId, Oid>, EngineError> {
        let watched: Vec<(UnitId, String)> = self
            .state
            .watched_branches()
            .map(|(unit, intake)| (unit.clone(), intake.branch.clone()))
            .collect();
        if watched.is_empty() {
            return Ok(BTreeMap::new());
        }
        let repository = self.tools.repository.clone();
        Ok(blocking(move || -> Result<_, crate::git::Error> {
            let names: BTreeSet<&str> = watched.iter().map(|(_, name)| name.as_str()).collect();
            let tips = repository.branch_tips(&names)?;
            let at = |(unit, name): &(UnitId, String)| Some((unit.clone(), tips.get(name)?.clone()));
            Ok(watched.iter().filter_map(at).collect())
        })
        .await??)
    }
}

impl Look {
    /// What is to be recorded of the branch.
    fn take(&self) -> Result<UnitEvent, EngineError> {
        let branch = &self.branch.name;
        let Some(commit) = self.head.clone() else {
            let sentence = format!("There is no branch `{branch}`.");
            return Ok(evicted(Reason::HeadMoved, sentence));
        };
        let repository = &self.tools.repository;
        let Some(base) = repository.merge_base(&self.tip, &commit)? else {
            let sentence = format!("The branch `{branch}` shares no history with the target.");
            return Ok(evicted(Reason::UnrelatedHistory, sentence));
        };
        let tree = repository.tree_of(&commit)?;
        let head = Head { commit, tree };
        let merge = match self.pipeline.queue.strategy {
            Strategy::Rebase => repository.merge_between(&base, &head.commit)?,
            Strategy::Squash | Strategy::Merge => None,
        };
        if let Some(merge) = merge {
            return Ok(evicted(Reason::MergeCommit, merge_sentence(branch, &merge)));
        }
        if let Some(path) = repository.path_that_is_no_text(&base, &head.commit)? {
            let sentence = format!(
                "The branch `{branch}` has a path whose name is not UTF-8, so nothing could prove what of it lands: {path}."
            );
            return Ok(evicted(Reason::DiffNotPreserved, sentence));
        }
        if base == head.commit || self.is_on_target(&head, &base)? {
            let branch = branch.clone();
            return Ok(UnitEvent::BranchLanded { branch, head });
        }
        let guards = self.guards(&head, &base)?;
        if let Some(hit) = guards.iter().find(|hit| hit.action == GuardAction::Refuse) {
            return Ok(evicted(hit.reason, hit.sentence.clone()));
        }
        Ok(UnitEvent::BranchTaken {
            branch: branch.clone(),
            head,
            base,
            guards,
        })
    }

    fn unit(&self) -> &Unit {
        self.pipeline
            .unit(&self.unit)
            .expect("only units of the pipeline bring branches")
    }

    /// Whether nothing would be left of it, so that judges need not be paid. Where nobody judges, the queue finds it out.
    fn is_on_target(&self, head: &Head, base: &Oid) -> Result<bool, EngineError> {
        if !self.branch.review {
            return Ok(false);
        }
        let range = IntegrateUnit {
            head: head.commit.clone(),
            base: base.clone(),
        };
        let strategy = self.pipeline.queue.strategy;
        let identity = &self.tools.identity;
        let integration = self
            .tools
            .repository
            .integrate(&self.tip, &range, strategy, "probe", identity)?;
        Ok(integration == Integration::Obstacle(Obstacle::AlreadyLanded))
    }

    /// What the guards find in it; a person who vouches for a branch has looked.
    fn guards(&self, head: &Head, base: &Oid) -> Result<Vec<GuardHit>, EngineError> {
        if !self.branch.review {
            return Ok(Vec::new());
        }
        interpret::inspect(
            &self.tools,
            &self.pipeline,
            self.unit(),
            (base, &head.commit),
            &[],
        )
    }
}

fn evicted(reason: Reason, sentence: String) -> UnitEvent {
    UnitEvent::UnitEvicted { reason, sentence }
}

fn merge_sentence(branch: &str, merge: &Oid) -> String {
    format!(
        "The branch `{branch}` contains the merge commit {}, which `strategy: rebase` cannot replay.",
        merge.short()
    )
}
