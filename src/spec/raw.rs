//! The pipeline file as it is written: every key, optional unless the format demands it, with its place.
//!
//! These declarations are both the reader and the JSON Schema. A key or word whose behaviour does not exist
//! yet stands under `not_yet`: it is recognised, refused at its place, and absent from the schema.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use super::decode::{
    Age, Decode, Field, List, Named, Pause, Spanned, Wait, Whole, keyword_field, missing_key, not_supported,
    record, unknown_key, unknown_value, word_of, words, wrong_type,
};
use super::diagnostic::Sink;
use super::model::{Breadth, Usd};
use super::node::{Node, Value};

/// A count that is at least one.
pub(super) type Some1 = Whole<1, 1_000_000>;

record! {
    /// A pipeline file.
    RawPipeline, "the file" {
        /// Version of this format; 1.
        [required] version: Whole<0, 1_000_000>,
        /// Names the run and the branches `pipeline/<name>/<unit>`: up to 40 of a-z, 0-9 and `-`.
        [required] name: String,
        /// The branch units land on; the branch checked out when the run starts if not written.
        target: String,
        /// Path of a prose document given to every stage that needs the intent.
        rfc: String,
        /// Bounds on time, rounds, attempts and money.
        limits: RawLimits,
        /// Configured agents by name.
        agents: Named<RawAgent>,
        /// What is done to a fresh worktree.
        workspace: RawWorkspace,
        /// Run on every commit an author stage produces, and by the queue before landing.
        checks: List<RawCheck>,
        /// Tiers added to the built-in ones, or replacing them.
        tiers: Named<Named<RawStage>>,
        /// What units have that do not say otherwise.
        defaults: RawDefaults,
        /// The work, by id, in the order that breaks ties.
        [required] units: Named<RawUnit>,
        /// The merge queue.
        queue: RawQueue,
        /// Where units land: on the target (`local`, default), or on a branch `pipeline/<run>` (`branch`).
        land: RawLand,
        /// Bounds on what an author's work may touch.
        guards: RawGuards,
        /// What to do with units that may run together and claim the same paths.
        overlap: RawOverlap,
        /// How commits are written.
        commit: RawCommit,
    }
    not_yet { "github", "notify", "sandbox" }
}

record! {
    /// What `.pipeline/defaults.yaml` may say; the pipeline file wins key by key.
    RawDefaultsFile, "the defaults file" {
        /// Version of this format; 1.
        version: Whole<0, 1_000_000>,
        /// Configured agents by name.
        agents: Named<RawAgent>,
        /// What is done to a fresh worktree.
        workspace: RawWorkspace,
        /// Run on every commit an author stage produces, and by the queue before landing.
        checks: List<RawCheck>,
        /// Bounds on time, rounds, attempts and money.
        limits: RawLimits,
    }
    not_yet {}
}

record! {
    /// The file of built-in tiers.
    RawTiersFile, "the tiers file" {
        /// Tiers by name.
        [required] tiers: Named<Named<RawStage>>,
    }
    not_yet {}
}

record! {
    /// Bounds on a run.
    RawLimits, "`limits`" {
        /// Attempts running at once (default 3).
        parallel: Whole<1, 1_000>,
        /// Fix rounds a unit may use (default 3).
        rounds: Whole<0, 1_000>,
        /// Attempts after the first, per stage and round (default 2).
        retries: Whole<0, 1_000>,
        /// Wall time of one attempt (default 60m).
        stage_timeout: Wait,
        /// Longest silence of an agent (default 10m).
        idle_timeout: Wait,
        /// Least time between two starts of one agent (default 1s).
        start_interval: Pause,
        /// Money for the whole run in US dollars (default 25); `none` lifts the limit.
        budget_usd: Budget,
        /// Money for one unit in US dollars; no limit of its own if not written.
        unit_budget_usd: Budget,
    }
    not_yet {}
}

record! {
    /// A program that performs stages.
    RawAgent, "an agent" {
        /// How it is driven.
        r#use: Use,
        /// The model it is to use.
        model: String,
        /// Program and arguments; no shell is involved.
        command: List<String>,
        /// Arguments added to `command`.
        args: List<String>,
        /// Names of variables passed through from the environment of the person.
        pass_env: List<String>,
        /// Prices in US dollars per million tokens.
        price: RawPrice,
        /// Wall time of one attempt, instead of `limits.stage_timeout`.
        timeout: Wait,
    }
    not_yet { "promote", "allow_tools" }
}

record! {
    /// Prices in US dollars per million tokens.
    RawPrice, "`price`" {
        /// Fresh input tokens.
        [required] input_per_mtok: Usd,
        /// Output tokens.
        [required] output_per_mtok: Usd,
        /// Input tokens read from a cache (default: as fresh ones).
        cached_per_mtok: Usd,
    }
    not_yet {}
}

record! {
    /// What is done to a fresh worktree.
    RawWorkspace, "`workspace`" {
        /// Where worktrees are made (default: the state directory).
        root: String,
        /// Run in every fresh worktree before the agent.
        setup: List<RawStep>,
        /// Always run, also after a failure.
        teardown: List<RawStep>,
        /// Gitignore-style patterns of ignored files brought in from the main worktree.
        copy: List<String>,
        /// Environment of everything run there; templates that know worktree, unit, stage, run and the ports.
        env: Named<Spanned<String>>,
        /// One free port is leased per name.
        ports: List<String>,
        /// First port of the range (default 4000).
        port_base: Whole<1_024, 65_535>,
        /// Number of ports in the range (default 1000).
        port_range: Whole<1, 65_535>,
    }
    not_yet { "sparse", "cache" }
}

record! {
    /// A set-up or teardown command and the attempts it is for.
    RawStepRecord, "a step" {
        /// A shell line (`sh -c`).
        [required] run: String,
        /// The attempts it is for (default: all).
        r#for: List<RawRole>,
        /// How often it is run.
        scope: Scope,
    }
    not_yet {}
}

record! {
    /// A command whose exit status says whether a commit is good.
    RawCheck, "a check" {
        /// Unique within its list.
        [required] name: String,
        /// A shell line (`sh -c`).
        [required] run: String,
        /// Working directory from the repository root (default `.`).
        cwd: String,
        /// Wall time (default 10m).
        timeout: Wait,
        /// Whether it may use the network.
        network: OnlyTrue,
        /// What its result depends on (default `tree`).
        depends_on: RawDependsOn,
        /// Resources that only one may hold at a time.
        exclusive: List<String>,
    }
    not_yet {}
}

record! {
    /// One step of a unit's quality pipeline.
    RawStage, "a stage" {
        /// What it may touch and must return; the stage's own name if that is a kind.
        kind: RawKind,
        /// The agent that performs it.
        agent: String,
        /// Agents that perform it side by side.
        panel: List<String>,
        /// Approvals needed of a panel (default: all).
        quorum: Some1,
        /// Who approves instead of an agent.
        by: By,
        /// Stages that must be done first; by kind if not written.
        needs: List<String>,
        /// What a review is to look at above all.
        focus: String,
        /// How a review is to look.
        stance: String,
        /// Least confidence at which a finding blocks (default 80).
        min_confidence: Whole<0, 100>,
        /// Least severity at which a finding blocks (default `major`).
        block_on: RawSeverity,
        /// Added to the stage's prompt.
        prompt: String,
        /// Attempts after the first, instead of `limits.retries`.
        retries: Whole<0, 1_000>,
        /// Wall time, instead of the agent's and of `limits.stage_timeout`.
        timeout: Wait,
        /// Whether it may use the network.
        network: OnlyTrue,
    }
    not_yet { "template" }
}

record! {
    /// What units have that do not say otherwise.
    RawDefaults, "`defaults`" {
        /// The tier of units without one (default `small`).
        tier: String,
    }
    not_yet {}
}

record! {
    /// One piece of work.
    RawUnit, "a unit" {
        /// The title of its commit.
        [required] title: String,
        /// What is asked.
        prompt: String,
        /// Path of a file with what is asked.
        prompt_file: String,
        /// An existing branch whose commits are the implementation; the unit starts at review.
        from_branch: String,
        /// Criteria shown to authors and judges.
        acceptance: List<String>,
        /// Gitignore-style patterns of what it expects to touch.
        paths: List<String>,
        /// Units that must have landed first.
        needs: List<String>,
        /// The tier it goes through.
        tier: String,
        /// Higher goes first (default 0).
        priority: Whole<-1_000_000, 1_000_000>,
        /// Performs the author stages instead of the tier's agent.
        agent: String,
        /// Money for this unit, instead of `limits.unit_budget_usd`.
        budget_usd: Budget,
        /// Checks added to the file's.
        checks: List<RawCheck>,
        /// Whether it may delete, skip or empty tests (default false).
        may_change_tests: bool,
        /// A ticket of an outside tracker, for trailers.
        ticket: String,
        /// Resources that only one may hold at a time.
        exclusive: List<String>,
        /// Whether it is part of the run (default true).
        enabled: bool,
    }
    not_yet {
        "issue", "source", "contract", "land", "variants", "pull_request",
    }
}

record! {
    /// The merge queue.
    RawQueue, "`queue`" {
        /// How a unit is put onto its base (default `rebase`).
        strategy: RawStrategy,
        /// Candidates verified at once: `auto` (default) or a number.
        window: RawBreadth,
        /// Units per candidate: a number (default 1) or `auto`.
        batch: RawBreadth,
        /// What is done with a unit that conflicts with the target: `agent` (default), its author resolves it, then
        /// checks and review again; or `evict`.
        on_conflict: RawOnConflict,
        /// Conflicts with the target that are resolved for a unit before one evicts it (default 2).
        conflict_rounds: Whole<1, 100>,
        /// What is verified before landing: `inherit`, `none` or a list of checks of its own.
        verify: RawVerify,
        /// How long units may wait without a landing before an alarm is raised (default `30m`).
        stall_alarm: Wait,
        /// How old the evidence of checks may be to be used again (default `30d`).
        max_age: Age,
    }
    not_yet {}
}

record! {
    /// Bounds on what an author's work may touch.
    RawGuards, "`guards`" {
        /// Gitignore-style patterns; a change below one is a human gate. Replaces the built-in list.
        protected_paths: List<String>,
        /// Whether work outside a unit's `paths` is an error instead of a note (default false).
        paths_strict: bool,
        /// Most files a unit may change (default 2000).
        max_files: Some1,
        /// Most bytes a unit may add (default `20 MB`).
        max_bytes: Bytes,
    }
    not_yet {}
}

record! {
    /// How commits are written.
    RawCommit, "`commit`" {
        /// The form of commit titles (default `conventional`).
        convention: RawConvention,
        /// Whether a `Signed-off-by` trailer of the person is added (default false).
        signoff: bool,
    }
    not_yet {}
}

words! {
    /// How an agent is driven.
    Use { Command = "command" } not_yet { "claude", "codex", "gemini", "opencode", "copilot", "aider" }
}
words! {
    /// How often a set-up step is run.
    Scope { Attempt = "attempt" } not_yet { "unit" }
}
words! {
    /// Who works in a worktree.
    RawRole { Author = "author", Check = "check", Judge = "judge" } not_yet {}
}
words! {
    /// What a check's result depends on.
    RawDependsOn { Tree = "tree", History = "history" } not_yet {}
}
words! {
    /// Who approves instead of an agent.
    By { Human = "human", Checks = "checks" } not_yet {}
}
words! {
    /// How bad a finding is.
    RawSeverity { Nit = "nit", Minor = "minor", Major = "major", Blocker = "blocker" } not_yet {}
}
words! {
    /// How a unit is put onto its base.
    RawStrategy { Rebase = "rebase", Squash = "squash", Merge = "merge" } not_yet {}
}
words! {
    /// What is done with a unit that conflicts with the target.
    RawOnConflict { Agent = "agent", Evict = "evict" } not_yet {}
}
words! {
    /// How landed work reaches the target.
    RawLand { Local = "local", Branch = "branch" } not_yet { "pull-request" }
}
words! {
    /// What to do with units that may run together and claim the same paths.
    RawOverlap { Serialize = "serialize", Warn = "warn", Error = "error" } not_yet {}
}
words! {
    /// The form of commit titles.
    RawConvention { Conventional = "conventional", None = "none" } not_yet {}
}

/// The words for stage kinds, in the order of a unit's life.
pub(super) const KINDS: [&str; 5] = ["prepare", "implement", "review", "fix", "approve"];

/// A kind as written; resolved with the stage's name in view.
#[derive(Debug, Clone)]
pub(super) struct RawKind(pub(super) String);

impl Decode for RawKind {
    fn decode(node: &Node, sink: &mut Sink) -> Option<Self> {
        String::decode(node, sink).map(Self)
    }
}

/// An amount of money, or `none`.
#[derive(Debug, Clone, Copy)]
pub(super) enum Budget {
    /// No limit.
    Lifted,
    /// At most that.
    Amount(Usd),
}

impl Decode for Budget {
    fn decode(node: &Node, sink: &mut Sink) -> Option<Self> {
        match &node.value {
            Value::Text(word) if word == "none" => Some(Self::Lifted),
            Value::Int(_) | Value::Float(_) => Usd::decode(node, sink).map(Self::Amount),
            _ => {
                wrong_type(node, "a number of US dollars, or `none`", sink);
                None
            }
        }
    }
}

/// `true`, and nothing else yet.
#[derive(Debug, Clone, Copy)]
pub(super) struct OnlyTrue;

impl Decode for OnlyTrue {
    fn decode(node: &Node, sink: &mut Sink) -> Option<Self> {
        if bool::decode(node, sink)? {
            return Some(Self);
        }
        not_supported(node.span, "`network: false`", sink);
        None
    }
}

/// `auto` or a number.
#[derive(Debug, Clone, Copy)]
pub(super) struct RawBreadth(pub(super) Breadth);

/// The widest a person may write.
const BREADTH_MAX: i64 = 1000;

impl Decode for RawBreadth {
    fn decode(node: &Node, sink: &mut Sink) -> Option<Self> {
        if word_of(node).as_deref() == Some("auto") {
            return Some(Self(Breadth::Auto));
        }
        let Value::Int(_) = node.value else {
            wrong_type(node, "`auto` or a whole number", sink);
            return None;
        };
        let number = Whole::<1, BREADTH_MAX>::decode(node, sink)?;
        u32::try_from(number.0)
            .ok()
            .map(|number| Self(Breadth::Fixed(number)))
    }
}

/// A step as a shell line or as a record.
#[derive(Debug)]
pub(super) enum RawStep {
    /// The line, for all attempts.
    Line(String),
    /// With its roles.
    Record(RawStepRecord),
}

impl Decode for RawStep {
    fn decode(node: &Node, sink: &mut Sink) -> Option<Self> {
        match &node.value {
            Value::Text(line) => Some(Self::Line(line.clone())),
            Value::Map(_) => RawStepRecord::decode(node, sink).map(Self::Record),
            _ => {
                wrong_type(node, "a shell line as text, or a mapping with `run`", sink);
                None
            }
        }
    }
}

/// What the queue verifies.
#[derive(Debug)]
pub(super) enum RawVerify {
    /// The file's checks.
    Inherit,
    /// Nothing.
    Waived,
    /// A list of its own.
    Own(List<RawCheck>),
}

impl Decode for RawVerify {
    fn decode(node: &Node, sink: &mut Sink) -> Option<Self> {
        match &node.value {
            Value::Text(word) if word == "inherit" => Some(Self::Inherit),
            Value::Text(word) if word == "none" => Some(Self::Waived),
            Value::List(_) => List::decode(node, sink).map(Self::Own),
            Value::Text(_) => {
                unknown_value(node, &["inherit", "none"], sink);
                None
            }
            _ => {
                wrong_type(node, "`inherit`, `none` or a list of checks", sink);
                None
            }
        }
    }
}

/// A size: a number of bytes, or text such as `20 MB`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bytes(pub(super) u64);

impl Decode for Bytes {
    fn decode(node: &Node, sink: &mut Sink) -> Option<Self> {
        let bytes = match &node.value {
            Value::Int(number) => u64::try_from(*number).ok(),
            Value::Text(text) => parse_bytes(text),
            _ => None,
        };
        match bytes {
            Some(bytes) if bytes > 0 => Some(Self(bytes)),
            _ => {
                wrong_type(node, "a size such as `20 MB`", sink);
                None
            }
        }
    }
}

fn parse_bytes(text: &str) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let unit: u64 = match text[digits..].trim() {
        "" | "B" => 1,
        "kB" | "KB" => 1_000,
        "KiB" => 1 << 10,
        "MB" => 1_000_000,
        "MiB" => 1 << 20,
        "GB" => 1_000_000_000,
        "GiB" => 1 << 30,
        _ => return None,
    };
    text[..digits].parse::<u64>().ok()?.checked_mul(unit)
}

macro_rules! inline_schema {
    ($($ty:ty => |$generator:ident| $schema:expr;)+) => {$(
        impl JsonSchema for $ty {
            fn inline_schema() -> bool {
                true
            }
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($ty).into()
            }
            fn json_schema($generator: &mut SchemaGenerator) -> Schema {
                $schema
            }
        }
    )+};
}

inline_schema! {
    RawKind => |_generator| json_schema!({"enum": KINDS});
    Budget => |_generator| json_schema!({"oneOf": [{"type": "number", "minimum": 0}, {"const": "none"}]});
    OnlyTrue => |_generator| json_schema!({"const": true});
    RawBreadth => |_generator| json_schema!({
        "oneOf": [{"const": "auto"}, {"type": "integer", "minimum": 1, "maximum": BREADTH_MAX}]
    });
    RawStep => |generator| json_schema!({
        "oneOf": [{"type": "string"}, generator.subschema_for::<RawStepRecord>()]
    });
    RawVerify => |generator| json_schema!({
        "oneOf": [{"enum": ["inherit", "none"]}, generator.subschema_for::<List<RawCheck>>()]
    });
    Bytes => |_generator| json_schema!({
        "oneOf": [{"type": "integer", "minimum": 1}, {"type": "string", "pattern": "^[0-9]+ ?(B|kB|KB|KiB|MB|MiB|GB|GiB)?$"}]
    });
}
