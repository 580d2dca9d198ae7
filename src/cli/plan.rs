//! `pipeline plan FILE`: what a run would do. Starts nothing.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::PathBuf;

use serde_json::json;

use super::context::{Context, Environment, Screen, load_file, print, print_json, require_valid};
use super::exit::Exit;
use super::failure::Failure;
use crate::dag::{self, UnitGraph};
use crate::git::Repository;
use crate::id::UnitId;
use crate::run::Frozen;
use crate::run::order::{longest_stage_path, serialized};
use crate::spec::{Adapter, Check, Land, Performer, Pipeline, Stage, StageKind, Tier, Unit, Verify};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The pipeline file
    pub(super) file: PathBuf,
    /// Print JSON
    #[arg(long)]
    pub(super) json: bool,
    /// Exit with 12 when there is something to do, with 0 when there is not
    #[arg(long)]
    pub(super) detailed_exitcode: bool,
}

pub(super) fn perform(environment: &Environment, args: &Args, screen: Screen) -> Result<Exit, Failure> {
    let repository = Repository::discover(environment.cwd(), &environment.for_git()).ok();
    let loaded = load_file(environment, repository.as_ref(), &args.file)?;
    let mut frozen = require_valid(loaded, &args.file)?;
    if let Ok(context) = Context::discover(environment.clone()) {
        frozen = super::added::lay_over(&context, frozen)?;
    }
    let pipeline = &frozen.pipeline;
    let plan = Plan::of(pipeline);
    if screen.json {
        print_json(&plan.to_json(pipeline));
    } else {
        print(&plan.to_text(pipeline));
    }
    let something = !is_done(environment, &frozen)?;
    Ok(if args.detailed_exitcode && something {
        Exit::SomethingToDo
    } else {
        Exit::Done
    })
}

/// Whether the latest run of the file is of this very pipeline and has nothing left to do.
fn is_done(environment: &Environment, frozen: &Frozen) -> Result<bool, Failure> {
    let Ok(context) = Context::discover(environment.clone()) else {
        return Ok(false);
    };
    for run in context.runs()?.iter().rev() {
        let earlier = context.read_frozen(run)?;
        if earlier.pipeline.name == frozen.pipeline.name {
            return Ok(earlier.hash() == frozen.hash() && context.read(run)?.view.is_settled());
        }
    }
    Ok(false)
}

/// Who needs which resource for itself: units and checks by name, in the order of the file.
fn exclusive(pipeline: &Pipeline) -> BTreeMap<String, Vec<String>> {
    let of_queue: &[Check] = match &pipeline.verify {
        Verify::Own(checks) => checks,
        Verify::Inherit | Verify::Waived => &[],
    };
    let units = pipeline.units.iter();
    let of_units = units.flat_map(|unit| unit.exclusive.iter().map(|name| (name, unit.id.to_string())));
    let checks = pipeline.checks.iter().chain(of_queue);
    let checks = checks.chain(pipeline.units.iter().flat_map(|unit| &unit.checks));
    let of_checks = checks.flat_map(|check| {
        check
            .exclusive
            .iter()
            .map(|name| (name, format!("check {}", check.name)))
    });
    let mut users: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, user) in of_units.chain(of_checks) {
        users.entry(name.clone()).or_default().push(user);
    }
    users
}

/// What can be said of a run before it starts.
struct Plan {
    waves: Vec<Vec<UnitId>>,
    critical: Vec<UnitId>,
    overlaps: Vec<dag::Overlap>,
    /// Each resource with the units and checks that need it for themselves.
    exclusive: BTreeMap<String, Vec<String>>,
    /// Least and most attempts: every review content at once, or every fix round used.
    attempts: (u64, u64),
    commands: Vec<(String, String)>,
}

impl Plan {
    fn of(pipeline: &Pipeline) -> Self {
        let graph = UnitGraph::new(&pipeline.units, &serialized(pipeline));
        let tier = |id: &UnitId| {
            let unit = pipeline.unit(id).expect("a unit of the graph");
            &pipeline.tiers[&unit.tier]
        };
        let attempts = pipeline.units.iter().fold((0, 0), |(least, most), unit| {
            let (low, high) = attempts_of(unit, &pipeline.tiers[&unit.tier], pipeline.limits.rounds);
            (least + low, most + high)
        });
        Self {
            waves: graph.waves(),
            critical: graph.critical_path(|id| longest_stage_path(tier(id))),
            overlaps: dag::overlaps(&pipeline.units, &crate::spec::patterns_may_overlap),
            exclusive: exclusive(pipeline),
            attempts,
            commands: commands(pipeline),
        }
    }

    fn to_json(&self, pipeline: &Pipeline) -> serde_json::Value {
        let overlaps: Vec<_> = self
            .overlaps
            .iter()
            .map(|o| json!({"units": [o.a, o.b], "patterns": [o.patterns.0, o.patterns.1]}))
            .collect();
        let commands: Vec<_> = self
            .commands
            .iter()
            .map(|(who, line)| json!({"for": who, "command": line}))
            .collect();
        json!({
            "schema": 1,
            "name": pipeline.name,
            "units": pipeline.units.len(),
            "waves": self.waves,
            "critical_path": self.critical,
            "overlaps": overlaps,
            "exclusive": self.exclusive,
            "attempts": {"least": self.attempts.0, "most": self.attempts.1},
            "commands": commands,
            "waived": pipeline.verify == Verify::Waived,
        })
    }

    fn to_text(&self, pipeline: &Pipeline) -> String {
        let mut text = String::new();
        let line = |text: &mut String, what: &str| writeln!(text, "{what}").expect("writing to a string");
        let units = pipeline.units.len();
        line(
            &mut text,
            &format!(
                "{} · {units} unit{} · {} at once\n",
                pipeline.name,
                if units == 1 { "" } else { "s" },
                pipeline.limits.parallel
            ),
        );
        line(&mut text, "Waves (a unit starts when what it needs has landed):");
        for (number, wave) in self.waves.iter().enumerate() {
            line(&mut text, &format!("  {:>3}  {}", number + 1, join(wave)));
        }
        line(
            &mut text,
            &format!(
                "\nCritical path: {}",
                self.critical
                    .iter()
                    .map(UnitId::as_str)
                    .collect::<Vec<_>>()
                    .join(" → ")
            ),
        );
        if !self.overlaps.is_empty() {
            line(&mut text, "\nUnits that claim the same paths:");
            for overlap in &self.overlaps {
                let (a, b) = &overlap.patterns;
                line(
                    &mut text,
                    &format!("  {} and {}: {a} and {b}", overlap.a, overlap.b),
                );
            }
        }
        if !self.exclusive.is_empty() {
            line(&mut text, "\nHeld by one at a time:");
            for (resource, users) in &self.exclusive {
                line(&mut text, &format!("  {resource}: {}", users.join(", ")));
            }
        }
        if pipeline.land == Land::Branch {
            line(&mut text, "\nUnits land on a branch of the run, which you merge.");
        }
        line(&mut text, "\nStages:");
        for unit in &pipeline.units {
            line(
                &mut text,
                &format!(
                    "  {:<20} {:<8} {}",
                    unit.id.as_str(),
                    unit.tier,
                    stages(unit, &pipeline.tiers[&unit.tier])
                ),
            );
        }
        line(
            &mut text,
            &format!(
                "\nAttempts: {} when every review is content, at most {} with every fix round (retries apart)",
                self.attempts.0, self.attempts.1
            ),
        );
        line(&mut text, "\nPrograms that will be run:");
        for (who, command) in &self.commands {
            line(&mut text, &format!("  {who:<20} {command}"));
        }
        if pipeline.verify == Verify::Waived {
            line(
                &mut text,
                "\nThe queue verifies nothing: `verify: none` is written out.",
            );
        }
        text
    }
}

fn join(units: &[UnitId]) -> String {
    units.iter().map(UnitId::as_str).collect::<Vec<_>>().join(", ")
}

fn stages(unit: &Unit, tier: &Tier) -> String {
    let named = |stage: &Stage| {
        let who = match &stage.by {
            Performer::Agent(agent) => agent.clone(),
            Performer::Panel { agents, quorum } => format!("{quorum} of {}", agents.join("+")),
            Performer::Human => "a person".to_owned(),
            Performer::Checks => "checks".to_owned(),
        };
        format!("{} ({who})", stage.name)
    };
    let branch = unit.from_branch.as_ref();
    let performed = tier.stages.iter().filter(|stage| unit.performs(stage.kind));
    let all = branch
        .map(|branch| format!("branch {}", branch.name))
        .into_iter()
        .chain(performed.map(named))
        .chain(
            branch
                .filter(|branch| !branch.review)
                .map(|_| "the queue".to_owned()),
        );
    all.collect::<Vec<_>>().join(" → ")
}

/// Attempts of agents a unit needs: at best, and with every fix round used.
fn attempts_of(unit: &Unit, tier: &Tier, rounds: u32) -> (u64, u64) {
    let performers = |stage: &Stage| match &stage.by {
        Performer::Agent(_) => 1,
        Performer::Panel { agents, .. } => agents.len() as u64,
        Performer::Human | Performer::Checks => 0,
    };
    let sum = |kinds: &[StageKind]| -> u64 {
        tier.stages
            .iter()
            .filter(|stage| kinds.contains(&stage.kind) && unit.performs(stage.kind))
            .map(performers)
            .sum()
    };
    let once = sum(&[
        StageKind::Prepare,
        StageKind::Implement,
        StageKind::Review,
        StageKind::Approve,
    ]);
    let a_round = sum(&[StageKind::Review, StageKind::Fix]);
    (once, once + u64::from(rounds) * a_round)
}

/// Every program a run starts, with what it is for.
fn commands(pipeline: &Pipeline) -> Vec<(String, String)> {
    let mut commands = Vec::new();
    for (name, agent) in &pipeline.agents {
        let Adapter::Command { argv } = &agent.adapter;
        let line = shell_words::join(argv.iter().chain(&agent.args));
        commands.push((format!("agent {name}"), line));
    }
    let steps = |what: &'static str, steps: &[crate::spec::Step]| {
        steps
            .iter()
            .map(|step| (what.to_owned(), step.run.clone()))
            .collect::<Vec<_>>()
    };
    commands.extend(steps("set-up", &pipeline.workspace.setup));
    commands.extend(
        pipeline
            .checks
            .iter()
            .map(|check| (format!("check {}", check.name), check.run.clone())),
    );
    for unit in &pipeline.units {
        let of_unit = unit.checks.iter();
        commands
            .extend(of_unit.map(|check| (format!("check {} of {}", check.name, unit.id), check.run.clone())));
    }
    commands.extend(steps("teardown", &pipeline.workspace.teardown));
    commands
}
