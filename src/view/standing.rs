//! Why a unit is where it is, and what it waits for.

use super::{RunState, StageRow, StageState, UnitState, UnitView, View};
use crate::event::{Hold, Reason, StopCause};
use crate::id::{StageName, UnitId};
use crate::queue::{EntryView, Status};

/// What is waited for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Waited {
    /// Another unit.
    Unit(UnitId),
    /// An attempt of a stage.
    Attempt(StageName),
    /// The checks on its candidate.
    Checks,
    /// A free slot.
    Slot,
    /// A target that passes its checks.
    Base,
    /// A person's decision or work.
    Person,
    /// An engine: somebody has to call `pipeline run`.
    Engine,
}

impl Waited {
    /// The word in `--json`.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Unit(_) => "unit",
            Self::Attempt(_) => "attempt",
            Self::Checks => "checks",
            Self::Slot => "slot",
            Self::Base => "base",
            Self::Person => "person",
            Self::Engine => "engine",
        }
    }

    /// Which one, where there are several of its kind.
    pub fn name(&self) -> Option<&str> {
        match self {
            Self::Unit(unit) => Some(unit.as_str()),
            Self::Attempt(stage) => Some(stage.as_str()),
            Self::Checks | Self::Slot | Self::Base | Self::Person | Self::Engine => None,
        }
    }
}

/// Where a unit stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// A stable word: the code of a reason or a hold, else the state.
    pub code: &'static str,
    /// Why, as a sentence.
    pub sentence: String,
    /// What a person can do about it.
    pub remedy: Option<String>,
    /// Who or what it waits for.
    pub waits_for: Vec<Waited>,
}

impl Standing {
    fn new(code: &'static str, sentence: impl Into<String>, waits_for: Vec<Waited>) -> Self {
        Self {
            code,
            sentence: sentence.into(),
            remedy: None,
            waits_for,
        }
    }

    fn with(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = Some(remedy.into());
        self
    }
}

impl View {
    /// Where a unit stands. `after` are the units that must have ended before it begins, because both claim the same
    /// paths.
    pub fn standing(&self, unit: &UnitView, after: &[UnitId]) -> Standing {
        let standing = match self.queue.entry(&unit.id) {
            Some(entry) => self.standing_in_queue(&entry, self.queue.just_ahead(&unit.id).as_ref()),
            None => self.standing_outside(unit, after),
        };
        self.with_engine(standing, unit.state)
    }

    /// What holds up the whole run: a person's pause, a spent budget, and that no engine runs.
    fn with_engine(&self, mut standing: Standing, state: UnitState) -> Standing {
        if state.has_ended() || standing.waits_for.contains(&Waited::Person) {
            return standing;
        }
        let again = format!("`pipeline run {}`", self.run.file);
        if self.queue.is_paused() {
            standing.waits_for.push(Waited::Person);
            standing.sentence.push_str("; a person paused the run");
            return standing.with(Hold::Paused.remedy(&self.run.file));
        }
        if self.run.state == RunState::Running {
            return standing;
        }
        if self.run.stopped == Some(StopCause::Budget) {
            standing.waits_for.push(Waited::Person);
            standing.sentence.push_str("; the budget is spent");
            return standing.with(format!("{again} with `--budget-usd AMOUNT` goes on"));
        }
        if let (Some(StopCause::BaseRed), Some(trouble)) = (self.run.stopped, &self.run.trouble) {
            standing.waits_for.push(Waited::Base);
            standing.sentence.push_str(&format!("; {trouble}"));
            return standing.with(format!("{} ({again})", Reason::BaseRed.remedy()));
        }
        standing.waits_for.push(Waited::Engine);
        let remedy = || format!("No engine runs: {again} goes on.");
        standing.remedy.get_or_insert_with(remedy);
        standing
    }

    /// The same, with who holds what it waits for besides a slot; `rivals` are those that need a resource of its own.
    pub fn with_holders(&self, mut standing: Standing, rivals: &[(String, UnitId)]) -> Standing {
        if !standing.waits_for.contains(&Waited::Slot) {
            return standing;
        }
        for (resource, unit) in rivals.iter().filter(|(_, unit)| self.is_busy(unit)) {
            let told = format!("; `{unit}` has `{resource}`, which only one may hold");
            standing.sentence.push_str(&told);
            standing.waits_for.push(Waited::Unit(unit.clone()));
        }
        standing
    }

    /// Whether an attempt or a verification of a unit is under way.
    fn is_busy(&self, id: &UnitId) -> bool {
        let is_running = |unit: &UnitView| unit.stages.iter().any(|row| row.state == StageState::Running);
        let is_verified = |entry: EntryView| matches!(entry.status, Status::Verifying { .. });
        self.unit(id).is_some_and(is_running) || self.queue.entry(id).is_some_and(is_verified)
    }

    /// Where every entry of the queue stands, the first first.
    pub fn standings_in_queue(&self) -> Vec<(EntryView, Standing)> {
        let mut ahead = None;
        let mut standings = Vec::new();
        for entry in self.queue.entries() {
            let standing = self.standing_in_queue(&entry, ahead.as_ref());
            ahead = Some(entry.unit.clone());
            standings.push((entry, self.with_engine(standing, UnitState::Queued)));
        }
        standings
    }

    /// `just_ahead` is served right before it.
    fn standing_in_queue(&self, entry: &EntryView, just_ahead: Option<&UnitId>) -> Standing {
        let code = entry.status.as_str();
        let below = self.queue.unlanded_below(&entry.unit);
        let units = |units: &[UnitId]| units.iter().cloned().map(Waited::Unit).collect::<Vec<_>>();
        match &entry.status {
            Status::Queued => {
                let ahead = entry.position - 1;
                let sentence = match ahead {
                    0 => "it is the next to be put onto the target".to_owned(),
                    1 => "1 unit is ahead of it".to_owned(),
                    ahead => format!("{ahead} units are ahead of it"),
                };
                let waits_for = just_ahead.cloned().map(Waited::Unit);
                Standing::new(code, sentence, waits_for.into_iter().collect())
            }
            Status::Integrated => Standing::new(
                code,
                "its candidate is built and is verified when a slot is free",
                vec![Waited::Slot],
            ),
            Status::Verifying { .. } => {
                let onto = if below.is_empty() {
                    format!("the tip of {}", self.run.target)
                } else {
                    names(&below)
                };
                let sentence = format!("the checks run on the candidate that puts it onto {onto}");
                Standing::new(code, sentence, vec![Waited::Checks])
            }
            Status::Verified => {
                let first = self.queue.settled_before(&entry.unit);
                let when = match first.len() {
                    0 => "it is the next to land".to_owned(),
                    all if all == below.len() => format!("it lands after {}", names(&first)),
                    1 => format!("it waits until {} has landed or left", names(&first)),
                    _ => format!("it waits until {} have landed or left", names(&first)),
                };
                Standing::new(code, format!("its checks passed; {when}"), units(&first))
            }
            Status::Suspect => {
                let sentence = format!(
                    "its candidate failed, and contains {}: nobody is blamed until that has landed or left",
                    names(&below)
                );
                Standing::new(code, sentence, units(&below))
            }
            Status::Landing { to, .. } => {
                let sentence = format!("{} is being moved to {}", self.run.target, to.short());
                Standing::new(code, sentence, Vec::new())
            }
            Status::Held(hold) => self.standing_held(&entry.unit, hold),
        }
    }

    fn standing_held(&self, unit: &UnitId, hold: &Hold) -> Standing {
        let waits_for = match hold {
            Hold::TargetDirty { .. } | Hold::PushRejected { .. } | Hold::Paused | Hold::Frozen { .. } => {
                vec![Waited::Person]
            }
            Hold::BaseRed { .. } => vec![Waited::Base, Waited::Person],
            Hold::Backoff { .. } => vec![Waited::Checks],
            Hold::ConflictAhead { units, .. } => units.iter().cloned().map(Waited::Unit).collect(),
        };
        let remedy = hold.remedy(&self.run.file).replace("UNIT", unit.as_str());
        Standing::new(hold.code(), hold.sentence(), waits_for).with(remedy)
    }

    fn standing_outside(&self, unit: &UnitView, after: &[UnitId]) -> Standing {
        if let Some(reason) = unit.reason {
            return self.standing_by_reason(unit, reason);
        }
        let code = unit.state.as_str();
        match unit.state {
            UnitState::Waiting => {
                let missing: Vec<UnitId> = unit
                    .needs
                    .iter()
                    .filter(|id| !self.is_done(id))
                    .cloned()
                    .collect();
                let have = if missing.len() == 1 { "has" } else { "have" };
                let sentence = format!("it needs {}, which {have} not landed yet", names(&missing));
                let waits_for = missing.into_iter().map(Waited::Unit).collect();
                Standing::new(code, sentence, waits_for)
            }
            UnitState::Ready => self.standing_ready(after),
            UnitState::Working => Self::standing_working(unit),
            UnitState::Gated => {
                let why: Vec<String> = unit.gates.iter().map(crate::event::Gate::sentence).collect();
                Standing::new(code, why.join(" "), vec![Waited::Person]).with(format!(
                    "`pipeline diff {0}`, then `pipeline approve {0}` or `pipeline reject {0} -m WHY`",
                    unit.id
                ))
            }
            UnitState::Queued => Standing::new(
                code,
                "it is approved, and joins the queue with the next step of an engine",
                Vec::new(),
            ),
            UnitState::Landed => {
                let sentence = unit.landed_as.as_ref().map_or_else(
                    || format!("everything it brings was on {} already", self.run.target),
                    |commit| format!("it is on {} as {}", self.run.target, commit.short()),
                );
                Standing::new(code, sentence, Vec::new())
            }
            UnitState::Published => {
                let sentence = "its document is there; it lands nothing";
                Standing::new(code, sentence, Vec::new())
                    .with(format!("`pipeline show {}` prints it", unit.id))
            }
            UnitState::Cancelled => Standing::new(code, "a person gave it up", Vec::new()),
            UnitState::Evicted | UnitState::Blocked | UnitState::Declined => {
                Standing::new(code, "it needs a person", vec![Waited::Person])
            }
        }
    }

    fn is_done(&self, id: &UnitId) -> bool {
        self.unit(id).is_some_and(|unit| unit.state.is_done())
    }

    /// Evicted, blocked, cancelled or declined: the reason says it.
    fn standing_by_reason(&self, unit: &UnitView, reason: Reason) -> Standing {
        let told = unit.sentence.as_deref().unwrap_or_else(|| reason.sentence());
        let gone = |id: &&UnitId| {
            self.unit(id)
                .is_some_and(|needed| needed.state.has_ended() && !needed.state.is_done())
        };
        let waits_for = match unit.state {
            UnitState::Blocked => unit
                .needs
                .iter()
                .filter(gone)
                .cloned()
                .map(Waited::Unit)
                .collect(),
            UnitState::Cancelled => Vec::new(),
            _ => vec![Waited::Person],
        };
        let remedy = reason.remedy().replace("UNIT", unit.id.as_str());
        Standing::new(reason.code(), told, waits_for).with(remedy)
    }

    fn standing_ready(&self, after: &[UnitId]) -> Standing {
        let code = UnitState::Ready.as_str();
        let ended = |id: &&UnitId| self.unit(id).is_none_or(|unit| unit.state.has_ended());
        let before: Vec<UnitId> = after.iter().filter(|id| !ended(id)).cloned().collect();
        if before.is_empty() {
            return Standing::new(
                code,
                "it is ready, and begins when a slot is free",
                vec![Waited::Slot],
            );
        }
        let sentence = format!(
            "it claims paths that {} claims too, and begins when that has ended",
            names(&before)
        );
        Standing::new(code, sentence, before.into_iter().map(Waited::Unit).collect())
    }

    fn standing_working(unit: &UnitView) -> Standing {
        let code = UnitState::Working.as_str();
        let find = |state| unit.stages.iter().filter(move |row| row.state == state);
        let told = |row: &StageRow| {
            format!(
                "`{}` (round {}, attempt {})",
                row.name,
                row.round,
                row.attempt.max(1)
            )
        };
        let running: Vec<&StageRow> = find(StageState::Running).collect();
        if !running.is_empty() {
            let rows: Vec<String> = running.iter().map(|row| told(row)).collect();
            let waits_for = running
                .iter()
                .map(|row| Waited::Attempt(row.name.clone()))
                .collect();
            return Standing::new(code, format!("under way: {}", rows.join(", ")), waits_for);
        }
        let failed = unit.attempts.last().filter(|last| {
            last.outcome
                .is_some_and(|outcome| outcome != crate::event::Outcome::Ok)
        });
        let sentence = match (failed, find(StageState::Pending).next()) {
            (Some(last), _) => format!(
                "its latest attempt, `{}`, ended as {}; what follows starts when a slot is free",
                last.stage,
                last.outcome.map_or("", super::outcome_word)
            ),
            (None, Some(next)) => format!(
                "its next stage is {}, which starts when a slot is free",
                told(next)
            ),
            (None, None) => "its next stage starts when a slot is free".to_owned(),
        };
        Standing::new(code, sentence, vec![Waited::Slot])
    }
}

/// `` `a`, `b` ``.
fn names(units: &[UnitId]) -> String {
    let names: Vec<String> = units.iter().map(|unit| format!("`{unit}`")).collect();
    names.join(", ")
}
