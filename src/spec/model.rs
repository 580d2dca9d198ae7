//! The pipeline file as the rest of the program sees it: typed, complete, with every default filled in.
//!
//! A value of these types has passed validation. It is what a run freezes at its start, so everything here can
//! be stored and read back.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::id::{StageName, UnitId};

/// A whole pipeline file, validated, with defaults applied.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Pipeline {
    /// Names the run and the branches `pipeline/<name>/<unit>`.
    pub name: String,
    /// The branch units land on; `None` means the branch checked out when the run starts.
    pub target: Option<String>,
    /// Prose given to every stage that needs the intent.
    pub rfc: Option<Document>,
    /// Bounds on time, rounds, attempts and money.
    pub limits: Limits,
    /// Configured agents by name.
    pub agents: BTreeMap<String, Agent>,
    /// What is done to a fresh worktree before and after an attempt.
    pub workspace: Workspace,
    /// File-level checks, in file order.
    pub checks: Vec<Check>,
    /// What the queue verifies.
    pub verify: Verify,
    /// Tiers by name: built-in ones and those of the file.
    pub tiers: BTreeMap<String, Tier>,
    /// The tier of units that say nothing.
    #[serde(default = "small", skip_serializing_if = "is_small")]
    pub default_tier: String,
    /// Enabled units in file order, which is the tie-break everywhere.
    pub units: Vec<Unit>,
    /// The merge queue's settings.
    pub queue: QueueSettings,
    /// Bounds on what an author's work may touch.
    pub guards: Guards,
    /// What to do with units that may run together and claim the same paths.
    pub overlap: Overlap,
    /// How commits are written.
    pub commit: CommitSettings,
    /// How landed work reaches the target.
    #[serde(default, skip_serializing_if = "Land::is_local")]
    pub land: Land,
}

impl Pipeline {
    /// The unit of that id.
    pub fn unit(&self, id: &UnitId) -> Option<&Unit> {
        self.units.iter().find(|unit| unit.id == *id)
    }
}

/// A text file the pipeline file names, read when the file was loaded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Document {
    /// Path from the repository root.
    pub path: String,
    /// Its contents.
    pub text: String,
}

/// Bounds on a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Attempts running at once.
    pub parallel: u32,
    /// Fix rounds a unit may use.
    pub rounds: u32,
    /// Attempts after the first, per stage and round.
    pub retries: u32,
    /// Wall time of one attempt.
    #[serde(with = "duration_ms")]
    pub stage_timeout: Duration,
    /// Longest silence of an agent.
    #[serde(with = "duration_ms")]
    pub idle_timeout: Duration,
    /// Least time between two starts of one agent.
    #[serde(with = "duration_ms")]
    pub start_interval: Duration,
    /// Money for the whole run; `None` lifts the limit.
    pub budget: Option<Usd>,
    /// Money for one unit; `None` means no limit of its own.
    pub unit_budget: Option<Usd>,
}

/// An amount of US dollars, in millionths; written and read as a number of dollars.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Hash)]
pub struct Usd {
    /// Millionths of a dollar.
    pub micros: u64,
}

impl Usd {
    /// From a number of dollars; negative and non-finite amounts are refused.
    pub fn from_dollars(dollars: f64) -> Option<Self> {
        let micros = (dollars * 1e6).round();
        (dollars.is_finite() && (0.0..=1e15).contains(&micros)).then_some(Self {
            micros: micros as u64,
        })
    }

    /// As a number of dollars.
    pub fn dollars(self) -> f64 {
        self.micros as f64 / 1e6
    }
}

impl std::ops::Add for Usd {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self {
            micros: self.micros.saturating_add(other.micros),
        }
    }
}

impl std::iter::Sum for Usd {
    fn sum<I: Iterator<Item = Self>>(amounts: I) -> Self {
        amounts.fold(Self::default(), std::ops::Add::add)
    }
}

impl fmt::Display for Usd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "${:.2}", self.dollars())
    }
}

impl Serialize for Usd {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_f64(self.dollars())
    }
}

impl<'de> Deserialize<'de> for Usd {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let dollars = f64::deserialize(from)?;
        Self::from_dollars(dollars)
            .ok_or_else(|| serde::de::Error::custom("an amount of dollars is a number that is not negative"))
    }
}

/// A configured program that performs stages.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Agent {
    /// How it is driven.
    pub adapter: Adapter,
    /// The model it is to use; also tells whether author and judge are the same mind.
    pub model: Option<String>,
    /// Arguments added to the adapter's own.
    pub args: Vec<String>,
    /// Variables passed through from the environment of the person who runs the pipeline.
    pub pass_env: Vec<String>,
    /// Wall time of one attempt, instead of `limits.stage_timeout`.
    #[serde(with = "option_duration_ms")]
    pub timeout: Option<Duration>,
    /// Prices for agents that report tokens only.
    pub price: Option<Price>,
}

/// How an agent is driven.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Adapter {
    /// Any program that keeps the `command` contract. The list is never empty.
    Command {
        /// Program and arguments; never a shell string.
        argv: Vec<String>,
    },
}

/// Prices per million tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Price {
    /// Fresh input tokens.
    pub input_per_mtok: Usd,
    /// Output tokens.
    pub output_per_mtok: Usd,
    /// Input tokens read from a cache.
    pub cached_per_mtok: Usd,
}

/// What is done to a fresh worktree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Workspace {
    /// Where worktrees are made; `None` means the state directory.
    pub root: Option<PathBuf>,
    /// Run in order before the agent.
    pub setup: Vec<Step>,
    /// Always run, also after a failure.
    pub teardown: Vec<Step>,
    /// Gitignore-style patterns of ignored files brought in from the main worktree.
    pub copy: Vec<String>,
    /// Environment of everything run there; values are templates that know `worktree`, `unit`, `stage`, `run`
    /// and each port by its name.
    pub env: BTreeMap<String, String>,
    /// One free port is leased per name and passed in the variable of that name.
    pub ports: Vec<String>,
    /// First port of the range.
    pub port_base: u16,
    /// Number of ports in the range.
    pub port_range: u16,
}

/// One set-up or teardown command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// A shell line (`sh -c`).
    pub run: String,
    /// The attempts it is for.
    pub roles: Vec<Role>,
}

/// Who works in a worktree, as far as set-up is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Prepare, implement and fix stages.
    Author,
    /// Checks on a unit's head, and verification by the queue.
    Check,
    /// Review and approve stages.
    Judge,
}

/// A command whose exit status says whether a commit is good.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Check {
    /// Unique within its list.
    pub name: String,
    /// A shell line (`sh -c`).
    pub run: String,
    /// Working directory from the repository root.
    pub cwd: String,
    /// Wall time.
    #[serde(with = "duration_ms")]
    pub timeout: Duration,
    /// What its result depends on.
    pub depends_on: DependsOn,
    /// Resources that only one run of checks, or attempt, may hold at a time.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub exclusive: BTreeSet<String>,
}

/// What the result of a check depends on; evidence is keyed by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DependsOn {
    /// The tree alone.
    Tree,
    /// The commit with its history.
    History,
}

/// What the queue verifies before it lands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verify {
    /// The file's checks and those of the candidate's units.
    Inherit,
    /// Written out as `none`: lands unverified, and every report says so.
    Waived,
    /// A list of the queue's own, with those of the candidate's units.
    Own(Vec<Check>),
}

/// A named stage DAG.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tier {
    /// Stages in an order that respects `needs`; ties in file order.
    pub stages: Vec<Stage>,
}

impl Tier {
    /// The stage of that name.
    pub fn stage(&self, name: &str) -> Option<&Stage> {
        self.stages.iter().find(|stage| stage.name.as_str() == name)
    }

    /// Whether the tier only prepares documents and lands nothing.
    pub fn is_explore(&self) -> bool {
        self.stages.iter().all(|stage| stage.kind == StageKind::Prepare)
    }
}

/// One step of a unit's quality pipeline.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stage {
    /// Unique within its tier.
    pub name: StageName,
    /// What it may touch, is shown, and must return.
    pub kind: StageKind,
    /// Who performs it.
    pub by: Performer,
    /// Stages that must be done first, of the same tier.
    pub needs: Vec<StageName>,
    /// What a review is to look at above all.
    pub focus: Option<String>,
    /// How a review is to look.
    pub stance: Option<String>,
    /// Least confidence at which a finding blocks, 0–100.
    pub min_confidence: u8,
    /// Least severity at which a finding blocks.
    pub block_on: Severity,
    /// Added to the stage's prompt.
    pub prompt: Option<String>,
    /// Attempts after the first, instead of `limits.retries`.
    pub retries: Option<u32>,
    /// Wall time, instead of the agent's and of `limits.stage_timeout`.
    #[serde(with = "option_duration_ms")]
    pub timeout: Option<Duration>,
}

/// What a stage may touch, is shown and must return.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StageKind {
    /// Writes a document.
    Prepare,
    /// Changes the tree.
    Implement,
    /// Judges the tree and reports findings.
    Review,
    /// Changes the tree to resolve findings and failed checks.
    Fix,
    /// Decides whether the unit may land.
    Approve,
}

impl StageKind {
    /// Stages that change the tree.
    pub fn is_author(self) -> bool {
        matches!(self, Self::Implement | Self::Fix)
    }

    /// Stages that judge the tree.
    pub fn is_judge(self) -> bool {
        matches!(self, Self::Review | Self::Approve)
    }

    /// Whose set-up the stage gets.
    pub fn role(self) -> Role {
        if self.is_judge() {
            Role::Judge
        } else {
            Role::Author
        }
    }

    /// The word used in files and output.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Prepare => "prepare",
            Self::Implement => "implement",
            Self::Review => "review",
            Self::Fix => "fix",
            Self::Approve => "approve",
        }
    }
}

/// Who performs a stage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Performer {
    /// One agent, by name.
    Agent(String),
    /// Several agents side by side; `quorum` of them must approve.
    Panel {
        /// Agents by name; the same one may stand twice.
        agents: Vec<String>,
        /// Approvals needed, at least 1 and at most the number of agents.
        quorum: u32,
    },
    /// A person, through `pipeline approve` and `pipeline reject`. Approve stages only.
    Human,
    /// Passing checks are the approval. Approve stages only.
    Checks,
}

/// How bad a finding is.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// A matter of taste.
    Nit,
    /// Worth changing.
    Minor,
    /// Must be changed before landing.
    Major,
    /// Breaks something important.
    Blocker,
}

impl Severity {
    /// The word used in files and output.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Nit => "nit",
            Self::Minor => "minor",
            Self::Major => "major",
            Self::Blocker => "blocker",
        }
    }
}

/// One piece of work.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unit {
    /// Unique ignoring case.
    pub id: UnitId,
    /// The title of its commit.
    pub title: String,
    /// What is asked; the text of `prompt_file` where that was given.
    pub prompt: String,
    /// Criteria shown to authors and judges.
    pub acceptance: Vec<String>,
    /// Gitignore-style patterns of what it expects to touch.
    pub paths: Vec<String>,
    /// Units that must have landed first.
    pub needs: Vec<UnitId>,
    /// The name of its tier, a key of [`Pipeline::tiers`].
    pub tier: String,
    /// Higher goes first.
    pub priority: i64,
    /// Performs the author stages instead of the tier's agent.
    pub agent: Option<String>,
    /// Money for this unit, instead of `limits.unit_budget_usd`.
    pub budget: Option<Usd>,
    /// Checks added to the file's.
    pub checks: Vec<Check>,
    /// Whether it may delete, skip or empty tests.
    pub may_change_tests: bool,
    /// A ticket of an outside tracker, for trailers.
    pub ticket: Option<String>,
    /// Resources held by whatever is run for the unit, by one at a time.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub exclusive: BTreeSet<String>,
    /// The branch whose commits are its implementation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from_branch: Option<FromBranch>,
}

impl Unit {
    /// Whether stages of that kind are performed for it as it comes: nobody implements what is there, and nobody judges a
    /// branch that a person vouched for, unless an author has to resolve a conflict.
    pub fn performs(&self, kind: StageKind) -> bool {
        match (&self.from_branch, kind) {
            (None, _) => true,
            (Some(_), StageKind::Prepare | StageKind::Implement) => false,
            (Some(branch), StageKind::Review | StageKind::Fix | StageKind::Approve) => branch.review,
        }
    }
}

/// A branch that was there before the run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FromBranch {
    /// Its name, as git would find it: `feature/x`, `origin/feature/x`, or a commit's whole id.
    pub name: String,
    /// Whether the tier judges it; if not, a person has vouched for it and it goes straight to the queue.
    pub review: bool,
}

/// The merge queue's settings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueSettings {
    /// How a unit is put onto its base.
    pub strategy: Strategy,
    /// Candidates verified side by side.
    #[serde(default = "auto", skip_serializing_if = "is_auto")]
    pub window: Breadth,
    /// Units per candidate.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub batch: Breadth,
    /// How long units may wait without a landing before an alarm is raised.
    #[serde(default = "stall_alarm", skip_serializing_if = "is_stall_alarm")]
    pub stall_alarm: Duration,
    /// How old the evidence of checks may be to be used again.
    #[serde(default = "max_age", skip_serializing_if = "is_max_age")]
    pub max_age: Duration,
    /// What becomes of a unit that conflicts with the target.
    #[serde(default, skip_serializing_if = "OnConflict::is_default")]
    pub on_conflict: OnConflict,
    /// Conflicts with the target that are resolved for a unit; the next one evicts it.
    #[serde(default = "conflict_rounds", skip_serializing_if = "is_conflict_rounds")]
    pub conflict_rounds: u32,
}

impl QueueSettings {
    /// Conflicts with the target that are resolved for a unit before one evicts it: none with `on_conflict: evict`.
    pub fn conflicts_resolved_max(&self) -> u32 {
        match self.on_conflict {
            OnConflict::Agent => self.conflict_rounds,
            OnConflict::Evict => 0,
        }
    }
}

/// What becomes of a unit that conflicts with the target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnConflict {
    /// Its author resolves the conflict, and what results is checked and reviewed again.
    #[default]
    Agent,
    /// It is handed to a person.
    Evict,
}

impl OnConflict {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// [`QueueSettings::stall_alarm`], where the file says nothing.
pub(super) const STALL_ALARM: Duration = Duration::from_secs(30 * 60);
/// [`QueueSettings::max_age`], where the file says nothing.
pub(super) const EVIDENCE_AGE_MAX: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// [`QueueSettings::conflict_rounds`], where the file says nothing.
pub(super) const CONFLICT_ROUNDS: u32 = 2;

// What is left out of the file is left out of its frozen form, so that a run that was frozen without these keys keeps
// its hash.

fn small() -> String {
    "small".to_owned()
}

fn is_small(tier: &str) -> bool {
    tier == "small"
}

fn auto() -> Breadth {
    Breadth::Auto
}

fn one() -> Breadth {
    Breadth::Fixed(1)
}

fn stall_alarm() -> Duration {
    STALL_ALARM
}

fn is_stall_alarm(wait: &Duration) -> bool {
    *wait == STALL_ALARM
}

fn max_age() -> Duration {
    EVIDENCE_AGE_MAX
}

fn is_max_age(age: &Duration) -> bool {
    *age == EVIDENCE_AGE_MAX
}

fn conflict_rounds() -> u32 {
    CONFLICT_ROUNDS
}

fn is_conflict_rounds(rounds: &u32) -> bool {
    *rounds == CONFLICT_ROUNDS
}

fn is_auto(window: &Breadth) -> bool {
    *window == auto()
}

fn is_one(batch: &Breadth) -> bool {
    *batch == one()
}

/// How much the queue does at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Breadth {
    /// As much as goes well.
    Auto,
    /// That many; at least 1.
    Fixed(u32),
}

/// How a unit is put onto its base.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Strategy {
    /// Each commit replayed.
    Rebase,
    /// One commit with the whole change.
    Squash,
    /// A merge commit.
    Merge,
}

/// Bounds on what an author's work may touch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Guards {
    /// Gitignore-style patterns; a change below one is a human gate.
    pub protected_paths: Vec<String>,
    /// Whether work outside a unit's `paths` is an error instead of a note.
    pub paths_strict: bool,
    /// Most files a unit may change.
    pub files_max: u32,
    /// Most bytes a unit may add, over all new blobs.
    pub bytes_max: u64,
}

/// How landed work reaches the target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Land {
    /// The target itself moves.
    #[default]
    Local,
    /// Units land on a branch of the run, which a person merges.
    Branch,
}

impl Land {
    fn is_local(&self) -> bool {
        *self == Self::Local
    }
}

/// What to do with units that may run together and claim the same paths.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Overlap {
    /// The later one in the file waits until the earlier one has ended.
    Serialize,
    /// They run together and validation warns.
    Warn,
    /// Validation refuses the file.
    Error,
}

/// How commits are written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommitSettings {
    /// Whether titles must be Conventional Commits.
    pub convention: Convention,
    /// Whether a `Signed-off-by` trailer of the person is added.
    pub signoff: bool,
}

/// The form of commit titles.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Convention {
    /// Conventional Commits; a unit's title that is not one becomes `feat: <title>`.
    Conventional,
    /// Titles are taken as they are.
    None,
}

/// Durations are stored as whole milliseconds.
mod duration_ms {
    use super::{Deserialize, Duration};

    pub(super) fn serialize<S: serde::Serializer>(value: &Duration, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_u64(u64::try_from(value.as_millis()).unwrap_or(u64::MAX))
    }

    pub(super) fn deserialize<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        u64::deserialize(from).map(Duration::from_millis)
    }
}

mod option_duration_ms {
    use super::{Deserialize, Duration, Serialize};

    pub(super) fn serialize<S: serde::Serializer>(
        value: &Option<Duration>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        value
            .map(|d| u64::try_from(d.as_millis()).unwrap_or(u64::MAX))
            .serialize(to)
    }

    pub(super) fn deserialize<'de, D: serde::Deserializer<'de>>(
        from: D,
    ) -> Result<Option<Duration>, D::Error> {
        Ok(Option::<u64>::deserialize(from)?.map(Duration::from_millis))
    }
}
