//! What an engine of this repository works with.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::context::Context;
use super::exit::Exit;
use super::failure::Failure;
use crate::engine::Tools;
use crate::id::RunId;
use crate::run::hash_json;
use crate::spec::Pipeline;
use crate::workspace::{LauncherSettings, LocalLauncher, PortLeases};

pub(super) fn random() -> Result<u64, Failure> {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes)
        .map_err(|error| Failure::new(Exit::Environment, "random", format!("no random numbers: {error}")))?;
    Ok(u64::from_ne_bytes(bytes))
}

pub(super) fn tools(
    context: &Context,
    pipeline: &Pipeline,
    file: &str,
    run: &RunId,
) -> Result<Tools, Failure> {
    let repository = context.repository.clone();
    let supervisor = std::env::current_exe().map_err(|error| {
        Failure::new(
            Exit::Environment,
            "exe",
            format!("cannot find this program: {error}"),
        )
    })?;
    let settings = LauncherSettings {
        worktrees_root: context.worktrees_root(Some(pipeline)),
        logs_root: context.home.logs(run),
        user_env: context.environment.for_attempts(),
        ports: Arc::new(PortLeases::default()),
        files_max: pipeline.guards.files_max,
        bytes_max: pipeline.guards.bytes_max,
        grace: crate::process::GRACE,
    };
    let launch = crate::process::Launch::new(supervisor);
    let names = pipeline.agents.values().flat_map(|agent| &agent.pass_env);
    let head = repository.resolve("HEAD")?;
    let tracked = head
        .map(|head| repository.tracked_paths(&head))
        .transpose()?
        .unwrap_or_default();
    Ok(Tools {
        identity: repository.identity()?,
        launcher: Arc::new(LocalLauncher::new(repository.clone(), launch, settings)),
        clock: super::context::clock(),
        templates: templates(context)?,
        pass_env: context.environment.named(names),
        seed: random()?,
        protected: protected(pipeline, file, &tracked),
        landed: crate::engine::LandedChanges::default(),
        repository,
    })
}

/// Prompts of the repository's own, from its current commit.
fn templates(context: &Context) -> Result<crate::agent::Templates, Failure> {
    let mut overrides = BTreeMap::new();
    let Some(head) = context.repository.resolve("HEAD")? else {
        return Ok(crate::agent::Templates::embedded());
    };
    for path in context.repository.tracked_paths(&head)? {
        let Some(name) = path.strip_prefix(".pipeline/templates/") else {
            continue;
        };
        if let Some(bytes) = context.repository.read_file(&head, &path)? {
            overrides.insert(name.to_owned(), String::from_utf8_lossy(&bytes).into_owned());
        }
    }
    crate::agent::Templates::with_overrides(&overrides)
        .map_err(|error| Failure::new(Exit::InvalidFile, "template", error.to_string()))
}

/// Files that decide what is run: the pipeline file, and tracked files that checks, set-up and agents name.
fn protected(pipeline: &Pipeline, file: &str, tracked: &[String]) -> Vec<String> {
    let lines = pipeline
        .checks
        .iter()
        .map(|check| check.run.as_str())
        .chain(
            pipeline
                .units
                .iter()
                .flat_map(|unit| &unit.checks)
                .map(|check| check.run.as_str()),
        )
        .chain(pipeline.workspace.setup.iter().map(|step| step.run.as_str()))
        .chain(pipeline.workspace.teardown.iter().map(|step| step.run.as_str()));
    let mut words: Vec<String> = lines
        .flat_map(|line| {
            shell_words::split(line).unwrap_or_else(|_| line.split_whitespace().map(Into::into).collect())
        })
        .collect();
    for agent in pipeline.agents.values() {
        let crate::spec::Adapter::Command { argv } = &agent.adapter;
        words.extend(argv.iter().cloned());
    }
    let named = |path: &&String| {
        words
            .iter()
            .any(|word| word.trim_start_matches("./") == path.as_str())
    };
    tracked
        .iter()
        .filter(named)
        .cloned()
        .chain([file.to_owned()])
        .collect()
}

/// What evidence depends on besides tree and checks.
pub(super) fn fingerprint(pipeline: &Pipeline) -> String {
    hash_json(&(
        std::env::consts::OS,
        std::env::consts::ARCH,
        &pipeline.workspace.env,
        &pipeline.workspace.setup,
    ))
}
