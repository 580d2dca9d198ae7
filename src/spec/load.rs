//! The way from text to [`Pipeline`]: parse, lay the defaults beneath, read the records, resolve.

use std::collections::{BTreeMap, HashMap};

use schemars::generate::SchemaSettings;

use super::decode::{Decode, Field, Named};
use super::diagnostic::{Diagnostic, Problem, Sink, Span};
use super::model::{Check, Land, Overlap, Pipeline, Tier, Unit, Workspace};
use super::node::{self, Key, Node, Value};
use super::raw::{RawDefaultsFile, RawLand, RawOverlap, RawPipeline, RawStage, RawTiersFile};
use super::settings::{
    agents, checks, commit, document, example_name, guards, limits, queue, unknown, verify, workspace,
};
use super::tiers::{self, Roster};
use super::units::{self, Setting, UNITS_MAX, branch_collision};
use super::{Surroundings, warnings};

/// The built-in tiers, as the commented file that documents them.
pub const BUILT_IN_TIERS: &str = include_str!("../../pipelines/tiers.yaml");

/// The format that is read.
const VERSION: i64 = 1;

/// Keys of the defaults file whose entries lie beneath those of the file one by one.
const MERGED_BY_KEY: [&str; 3] = ["agents", "workspace", "limits"];

/// What came of loading a pipeline file.
#[derive(Debug)]
pub struct Loaded {
    /// The pipeline; there is one exactly if no diagnostic is an error.
    pub pipeline: Option<Pipeline>,
    /// Everything that was found, in the order of the text.
    pub diagnostics: Vec<Diagnostic>,
}

/// Loads the pipeline file called `file`, above the `(path, text)` of the repository's defaults file.
pub fn load(file: &str, text: &str, defaults: Option<(&str, &str)>, around: &dyn Surroundings) -> Loaded {
    let mut sink = Sink::default();
    let pipeline = read(file, text, defaults, around, &mut sink);
    let pipeline = pipeline.filter(|_| !sink.has_errors());
    Loaded {
        pipeline,
        diagnostics: sink.into_diagnostics(),
    }
}

/// The JSON Schema (draft 2020-12) of the pipeline file, from the types that read it.
pub fn schema() -> serde_json::Value {
    let mut schema = SchemaSettings::draft2020_12()
        .into_generator()
        .into_root_schema_for::<RawPipeline>();
    schema.insert("title".to_owned(), "pipeline file".into());
    schema.insert("patternProperties".to_owned(), serde_json::json!({"^x-": true}));
    schema.to_value()
}

fn read(
    file: &str,
    text: &str,
    defaults: Option<(&str, &str)>,
    around: &dyn Surroundings,
    sink: &mut Sink,
) -> Option<Pipeline> {
    let source = sink.add_source(file, text);
    let root = node::parse(source, sink);
    let beneath = defaults.and_then(|(path, text)| {
        let source = sink.add_source(path, text);
        let node = node::parse(source, sink)?;
        without_extensions(node, sink)
    });
    if let Some(beneath) = &beneath {
        // Read for its own sake, so that its mistakes are told as such.
        let raw = RawDefaultsFile::decode(beneath, sink);
        if let Some(version) = raw.as_ref().and_then(|raw| raw.version.given()) {
            check_version(version.value.0, version.span, sink);
        }
    }
    let mut root = without_extensions(root?, sink)?;
    if let Some(beneath) = beneath {
        lay_beneath(&mut root, beneath);
    }
    let raw = RawPipeline::decode(&root, sink)?;
    if let Some(version) = raw.version.given() {
        check_version(version.value.0, version.span, sink);
    }
    resolve(file, &root, &raw, around, sink)
}

fn check_version(version: i64, at: Span, sink: &mut Sink) {
    if version != VERSION {
        let problem = Problem::error(
            "unsupported_version",
            at,
            format!("version {version} of the format is not known"),
        )
        .label("unknown version")
        .help(format!(
            "this program reads version {VERSION}: write `version: {VERSION}`"
        ));
        sink.report(problem);
    }
}

/// The top-level mapping without its `x-…` keys, which are there for anchors.
fn without_extensions(mut root: Node, sink: &mut Sink) -> Option<Node> {
    match &mut root.value {
        Value::Map(entries) => {
            entries.retain(|(key, _)| !key.text.starts_with("x-"));
            Some(root)
        }
        _ => {
            let message = match root.value {
                Value::Null => "the file is empty".to_owned(),
                _ => format!("a pipeline file is a mapping, not {}", root.describe()),
            };
            let problem = Problem::error("wrong_type", root.span, message).help("start with `version: 1`");
            sink.report(problem);
            None
        }
    }
}

/// Puts what the defaults say beneath the file: whole keys the file lacks, and single entries of some.
fn lay_beneath(root: &mut Node, beneath: Node) {
    let (Value::Map(entries), Value::Map(defaults)) = (&mut root.value, beneath.value) else {
        return;
    };
    for (key, default) in defaults {
        if !MERGED_BY_KEY.contains(&key.text.as_str()) && key.text != "checks" {
            continue;
        }
        let Some((_, own)) = entries.iter_mut().find(|(own, _)| own.text == key.text) else {
            entries.push((key, default));
            continue;
        };
        if let (true, Value::Map(own), Value::Map(more)) = (
            MERGED_BY_KEY.contains(&key.text.as_str()),
            &mut own.value,
            default.value,
        ) {
            let added: Vec<_> = more
                .into_iter()
                .filter(|(new, _)| !own.iter().any(|(old, _)| old.text == new.text))
                .collect();
            own.extend(added);
        }
    }
}

fn resolve(
    file: &str,
    root: &Node,
    raw: &RawPipeline,
    around: &dyn Surroundings,
    sink: &mut Sink,
) -> Option<Pipeline> {
    let name = pipeline_name(raw, around, sink);
    let rfc = raw.rfc.given().and_then(|path| document(path, around, sink));
    let agents = agents(raw.agents.value(), around, sink);
    let roster = Roster {
        names: keys_of(root, "agents"),
    };
    require_agents(root, raw, &roster, sink);
    let workspace = workspace(raw.workspace.value(), sink);
    let mut check_names = HashMap::new();
    let checks = checks(raw.checks.value(), &mut check_names, sink);
    let verify = verify(raw, root.head(), sink);
    let commit = commit(raw.commit.value());
    let (tiers, missing_agents) = tiers(raw, &roster, sink);
    let tier_names = keys_of(root, "tiers")
        .into_iter()
        .chain(tiers.keys().cloned())
        .chain(missing_agents.keys().cloned())
        .collect();
    let default_tier = raw.defaults.value().and_then(|defaults| defaults.tier.given());
    let setting = Setting {
        around,
        pipeline_name: &name,
        roster: &roster,
        unit_names: keys_of(root, "units").into_iter().collect(),
        tier_names,
        tiers: &tiers,
        missing_agents: &missing_agents,
        default_tier,
        check_names,
        has_checks: !checks.is_empty() || matches!(raw.checks, Field::Wrong),
        convention: commit.convention,
        overlap: raw.overlap.or(RawOverlap::Serialize),
    };
    check_default_tier(&setting, sink);
    let units = units(raw, &setting, sink);
    warnings::report(raw, &agents, &tiers, &units, sink);
    let lines = shell_lines(&checks, &workspace);
    let guards = guards(raw.guards.value(), file, lines, &around.tracked_paths(), sink);
    Some(Pipeline {
        name,
        target: raw.target.value().cloned(),
        rfc,
        limits: limits(raw.limits.value()),
        agents,
        workspace,
        checks,
        verify,
        tiers,
        default_tier: default_tier
            .map_or("small", |tier| tier.value.as_str())
            .to_owned(),
        units,
        queue: queue(raw.queue.value()),
        guards,
        overlap: match raw.overlap.or(RawOverlap::Serialize) {
            RawOverlap::Serialize => Overlap::Serialize,
            RawOverlap::Warn => Overlap::Warn,
            RawOverlap::Error => Overlap::Error,
        },
        commit,
        land: match raw.land.value() {
            None | Some(RawLand::Local) => Land::Local,
            Some(RawLand::Branch) => Land::Branch,
        },
    })
}

fn require_agents(root: &Node, raw: &RawPipeline, roster: &Roster, sink: &mut Sink) {
    if roster.names.is_empty() && !matches!(raw.agents, Field::Wrong) {
        let problem = Problem::error("missing_key", root.head(), "the file has no agent")
            .label("`agents` is required here")
            .help("say who does the work: `agents: {author: {command: [sh, scripts/agent.sh]}}`");
        sink.report(problem);
    }
}

fn check_default_tier(setting: &Setting<'_>, sink: &mut Sink) {
    if let Some(tier) = setting.default_tier
        && !setting.tier_names.contains(&tier.value)
    {
        unknown(
            "unknown_tier",
            "tier",
            tier,
            setting.tier_names.iter().map(String::as_str),
            sink,
        );
    }
}

/// The lines that a shell will be given, which may name files.
fn shell_lines<'a>(checks: &'a [Check], workspace: &'a Workspace) -> impl Iterator<Item = &'a str> {
    let steps = workspace
        .setup
        .iter()
        .chain(&workspace.teardown)
        .map(|step| step.run.as_str());
    checks.iter().map(|check| check.run.as_str()).chain(steps)
}

fn units(raw: &RawPipeline, setting: &Setting<'_>, sink: &mut Sink) -> Vec<Unit> {
    let Some(written) = raw.units.given() else {
        return Vec::new();
    };
    let count = written.value.0.len();
    if count > UNITS_MAX {
        let message = format!("the file has {count} units; at most {UNITS_MAX} are run");
        sink.report(
            Problem::error("too_large", written.span, message)
                .help("split the work into several pipeline files"),
        );
        return Vec::new();
    }
    let enabled = units::resolve(&written.value, setting, sink);
    let none_enabled = !written.value.0.iter().any(|(_, unit)| unit.enabled.or(true));
    if none_enabled && !sink.has_errors() {
        let problem = Problem::error("missing_key", written.span, "there is no unit to run")
            .help("add a unit with a `title` and a `prompt`, or enable one");
        sink.report(problem);
    }
    enabled
}

/// Keys below a top-level key, whatever their values are: names that are known even where a value is wrong.
fn keys_of(root: &Node, key: &str) -> Vec<String> {
    match root.entry(key).map(|node| &node.value) {
        Some(Value::Map(entries)) => entries.iter().map(|(key, _)| key.text.clone()).collect(),
        _ => Vec::new(),
    }
}

fn pipeline_name(raw: &RawPipeline, around: &dyn Surroundings, sink: &mut Sink) -> String {
    let Some(name) = raw.name.given() else {
        return String::new();
    };
    if !crate::id::is_safe_name(&name.value) {
        let problem = Problem::error(
            "bad_name",
            name.span,
            format!("`{}` cannot name a pipeline", name.value),
        )
        .label("not safe as a branch and a directory")
        .help(format!(
            "use up to 40 of a-z, 0-9 and `-`{}",
            example_name(&name.value)
        ));
        sink.report(problem);
        return name.value.clone();
    }
    let own = format!("pipeline/{}", name.value);
    for branch in around.branches() {
        if branch == "pipeline" || branch == own {
            sink.report(branch_collision(name.span, &format!("{own}/<unit>"), &branch));
        }
    }
    name.value.clone()
}

type Missing = BTreeMap<String, Vec<super::decode::Spanned<String>>>;

/// All tiers that can be run, and what the others lack.
fn tiers(raw: &RawPipeline, roster: &Roster, sink: &mut Sink) -> (BTreeMap<String, Tier>, Missing) {
    let mut resolved = BTreeMap::new();
    let mut missing = Missing::new();
    let none = Vec::new();
    let written: &[(Key, Named<RawStage>)] = raw.tiers.value().map_or(&none, |tiers| &tiers.0);
    for (key, stages) in written {
        super::settings::check_name("a tier", &key.text, key.span, sink);
        let outcome = tiers::resolve(key, stages, roster, sink);
        for agent in &outcome.missing {
            roster.report_unknown(agent, sink);
        }
        if let Some(tier) = outcome.tier {
            resolved.insert(key.text.clone(), tier);
        }
    }
    for (key, stages) in built_in(sink) {
        if written.iter().any(|(own, _)| own.text == key.text) {
            continue;
        }
        let outcome = tiers::resolve(&key, &stages, roster, sink);
        if !outcome.missing.is_empty() {
            let mut agents = outcome.missing;
            agents.sort_by(|a, b| a.value.cmp(&b.value));
            agents.dedup_by(|a, b| a.value == b.value);
            // Without any agent there is one diagnostic about that.
            if roster.names.is_empty() {
                agents.clear();
            }
            missing.insert(key.text, agents);
        } else if let Some(tier) = outcome.tier {
            resolved.insert(key.text, tier);
        }
    }
    (resolved, missing)
}

fn built_in(sink: &mut Sink) -> Vec<(Key, Named<RawStage>)> {
    let source = sink.add_source("pipelines/tiers.yaml", BUILT_IN_TIERS);
    let file = node::parse(source, sink).and_then(|node| RawTiersFile::decode(&node, sink));
    match file.map(|file| file.tiers) {
        Some(Field::Given(tiers)) => tiers.value.0,
        Some(Field::Absent | Field::Wrong) | None => Vec::new(),
    }
}
