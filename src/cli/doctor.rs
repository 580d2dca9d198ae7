//! `pipeline doctor [FILE]`: is everything there that a run needs?

use std::path::PathBuf;

use serde_json::json;

use super::context::{Context, Environment, Screen, load_file, print_json, println};
use super::exit::Exit;
use super::failure::Failure;
use crate::git::Repository;
use crate::spec::{Adapter, Level};
use crate::store::Store;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// A pipeline file whose agents are looked at too
    file: Option<PathBuf>,
    /// Compare every run's journal with git, checkouts, processes and the disk; no engine may be at work
    #[arg(long)]
    strict: bool,
    /// Remove what nobody owns, and rebuild runs whose state is lost or damaged from git
    #[arg(long)]
    fix: bool,
    /// Print JSON
    #[arg(long)]
    pub(super) json: bool,
}

/// What one question came to.
struct Answer {
    question: &'static str,
    good: bool,
    said: String,
}

impl Answer {
    fn of<T>(
        question: &'static str,
        result: Result<T, Failure>,
        said: impl FnOnce(&T) -> String,
    ) -> (Self, Option<T>) {
        match result {
            Ok(value) => (
                Self {
                    question,
                    good: true,
                    said: said(&value),
                },
                Some(value),
            ),
            Err(failure) => (
                Self {
                    question,
                    good: false,
                    said: failure.to_string(),
                },
                None,
            ),
        }
    }
}

pub(super) fn perform(environment: &Environment, args: &Args, screen: Screen) -> Result<Exit, Failure> {
    let mut answers = Vec::new();
    let (answer, context) = Answer::of("repository", Context::discover(environment.clone()), |context| {
        context.repository.root().display().to_string()
    });
    answers.push(answer);
    if let Some(context) = &context {
        if args.fix {
            answers.extend(fix(context)?);
        }
        answers.extend(of_repository(context));
    }
    if let Some(file) = &args.file {
        answers.extend(of_file(
            environment,
            context.as_ref().map(|context| &context.repository),
            file,
        )?);
    }
    let mut findings = Vec::new();
    if let (Some(context), true) = (&context, args.strict) {
        findings = super::strict::findings(context)?;
        answers.push(Answer {
            question: "strict",
            good: findings.is_empty(),
            said: match findings.len() {
                0 => "journals, target, checkouts, processes and disk agree".to_owned(),
                1 => "1 finding".to_owned(),
                count => format!("{count} findings"),
            },
        });
    }
    let good = answers.iter().all(|answer| answer.good);
    if screen.json {
        let rows: Vec<_> = answers
            .iter()
            .map(|a| json!({"check": a.question, "ok": a.good, "detail": a.said}))
            .collect();
        let mut told = json!({"schema": 1, "ok": good, "checks": rows});
        if args.strict {
            told["findings"] = findings.iter().map(super::strict::Finding::json).collect();
        }
        print_json(&told);
    } else {
        for answer in &answers {
            let word = if answer.good { "ok" } else { "FAIL" };
            println(&format!("{word:>5}  {:<12} {}", answer.question, answer.said));
        }
        for finding in &findings {
            println(&finding.line());
        }
    }
    Ok(if good { Exit::Done } else { Exit::Environment })
}

/// Mends what can be mended, and says what was.
fn fix(context: &Context) -> Result<Vec<Answer>, Failure> {
    let lease = super::steer::lease(context, "doctor --fix")?;
    let (mut store, mut told) = Store::open(context.home.clone(), lease)?;
    told.extend(super::restore::repair_runs(context, &mut store)?);
    for found in super::clean::all_leftovers(context, false) {
        let path = found.path.display();
        told.push(match (&found.failure, &found.kept) {
            (Some(why), _) => format!("{path} could not be removed: {why}"),
            (None, Some(name)) => format!("{path} was removed; unfinished work is kept as {name}"),
            (None, None) => format!("{path}, which nobody owned, was removed"),
        });
    }
    if told.is_empty() {
        told.push("nothing to mend".to_owned());
    }
    let fixed = told.into_iter().map(|said| Answer {
        question: "fix",
        good: true,
        said,
    });
    Ok(fixed.collect())
}

fn of_repository(context: &Context) -> Vec<Answer> {
    let repository = &context.repository;
    let version = repository.git_version().map_err(Failure::from);
    let (version, _) = Answer::of("git", version, Clone::clone);
    let identity = repository.identity().map_err(Failure::from);
    let (identity, _) = Answer::of("identity", identity, ToString::to_string);
    let branch = repository.current_branch().map_err(Failure::from);
    let (branch, _) = Answer::of("branch", branch, |branch| {
        branch
            .clone()
            .unwrap_or_else(|| "detached; name a `target` in the pipeline file".to_owned())
    });
    let root = context.worktrees_root(None);
    // Before the first run it is not there yet; then what counts is where it will be made.
    let there = root.ancestors().find(|folder| folder.exists()).unwrap_or(&root);
    let free = crate::workspace::free_disk(there);
    let disk = Answer {
        question: "disk",
        good: free.as_ref().is_ok_and(|free| *free > FREE_BYTES_MIN),
        said: match &free {
            Ok(free) => format!(
                "{} free for worktrees below {}",
                indicatif::HumanBytes(*free),
                root.display()
            ),
            Err(error) => format!("cannot look at {}: {error}", root.display()),
        },
    };
    let engine = match crate::store::holder(&context.home) {
        Some(holder) => format!("running: {holder}"),
        None => "none running".to_owned(),
    };
    let engine = Answer {
        question: "engine",
        good: true,
        said: engine,
    };
    let (runs, _) = Answer::of("runs", readable_runs(context), |count| {
        format!("{count}, every journal reads well")
    });
    vec![version, identity, branch, disk, engine, runs]
}

/// Below this, a run is likely to end on a full disk.
const FREE_BYTES_MIN: u64 = 512 << 20;

fn readable_runs(context: &Context) -> Result<usize, Failure> {
    let runs = context.runs()?;
    for run in &runs {
        context.read(run)?;
    }
    Ok(runs.len())
}

fn of_file(
    environment: &Environment,
    repository: Option<&Repository>,
    file: &std::path::Path,
) -> Result<Vec<Answer>, Failure> {
    let loaded = load_file(environment, repository, file)?.loaded;
    let errors = loaded
        .diagnostics
        .iter()
        .filter(|diagnostic| diagnostic.level == Level::Error)
        .count();
    let said = match errors {
        0 => format!("{} is valid", file.display()),
        count => format!(
            "{} has {count} errors; `pipeline validate {0}` tells them",
            file.display()
        ),
    };
    let mut answers = vec![Answer {
        question: "file",
        good: errors == 0,
        said,
    }];
    for (name, agent) in loaded.pipeline.iter().flat_map(|pipeline| &pipeline.agents) {
        let Adapter::Command { argv } = &agent.adapter;
        let missing: Vec<&String> = agent
            .pass_env
            .iter()
            .filter(|variable| environment.var(variable).is_none())
            .collect();
        let said = if missing.is_empty() {
            format!("{name}: {}", shell_words::join(argv))
        } else {
            let names = missing
                .iter()
                .map(|name| name.as_str())
                .collect::<Vec<_>>()
                .join(", ");
            format!("{name}: {names} not set in this environment")
        };
        answers.push(Answer {
            question: "agent",
            // A run goes on without it: whether the agent can, too, is the agent's to say.
            good: true,
            said,
        });
    }
    Ok(answers)
}
