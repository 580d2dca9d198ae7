//! `pipeline logs UNIT[/STAGE]`: the output of a unit's attempts.

use std::path::PathBuf;

use super::RunChoice;
use super::context::{Context, print, println, tell};
use super::exit::Exit;
use super::failure::Failure;
use crate::event::{CheckOutcome, Event, Job, Outcome, Output, QueueEvent, Record, UnitEvent, VerifyPurpose};
use crate::id::{AttemptKey, RunId, UnitId};
use crate::report::text::sanitize;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The unit, or one stage of it
    #[arg(value_name = "UNIT[/STAGE]")]
    what: String,
    /// Only this attempt, counted as `pipeline show` counts them
    #[arg(long, value_name = "N")]
    attempt: Option<u32>,
    /// Only attempts that failed
    #[arg(long)]
    failed: bool,
    /// Go on printing what the attempts write, one after another, until the unit or the engine has ended
    #[arg(short, long)]
    follow: bool,
    #[command(flatten)]
    choice: RunChoice,
}

/// One attempt as the journal tells it.
pub(super) struct Told {
    pub(super) key: AttemptKey,
    pub(super) fence: u64,
    pub(super) running: bool,
    failed: bool,
    pub(super) outcome: String,
}

pub(super) fn perform(context: &Context, args: &Args) -> Result<Exit, Failure> {
    let reading = context.read_run(args.choice.run.as_deref())?;
    let (unit, stage) = args
        .what
        .split_once('/')
        .map_or((args.what.as_str(), None), |(u, s)| (u, Some(s)));
    let id = super::added::unit_of_run(context, &reading, unit)?;
    let wanted = |told: &Told| {
        stage.is_none_or(|stage| told.key.stage.as_str() == stage)
            && args.attempt.is_none_or(|attempt| told.key.attempt == attempt)
            && (!args.failed || told.failed)
    };
    if args.follow {
        return super::follow::perform(context, &reading.run, &id, &wanted);
    }
    let all = attempts(&reading.records, &id);
    let chosen: Vec<&Told> = all.iter().filter(|told| wanted(told)).collect();
    if chosen.is_empty() {
        return Err(Failure::new(
            Exit::NoMatch,
            "no_attempt",
            format!("no such attempt of `{}`", args.what),
        )
        .help(format!("`pipeline show {id}` lists the attempts")));
    }
    for told in &chosen {
        println(&format!("── {} · {}", told.key, told.outcome));
        print_log(&log_of(context, &reading.run, &told.key));
    }
    Ok(Exit::Done)
}

pub(super) fn log_of(context: &Context, run: &RunId, key: &AttemptKey) -> PathBuf {
    crate::workspace::log_path(&context.home.logs(run), key)
}

/// The attempts of a unit in the order of their starts, verifications included.
pub(super) fn attempts(records: &[Record], unit: &UnitId) -> Vec<Told> {
    let mut all: Vec<Told> = Vec::new();
    let mut verified = std::collections::BTreeSet::new();
    let mut generation = 1;
    for record in records {
        match &record.event {
            Event::Unit(scoped) if scoped.unit == *unit => match &scoped.what {
                UnitEvent::AttemptStarted {
                    job,
                    round,
                    attempt,
                    fence,
                    ..
                } => {
                    let stage = match job {
                        Job::Stage { stage, .. } => stage.clone(),
                        Job::Checks => "checks".parse().expect("a constant name is well-formed"),
                    };
                    let key = AttemptKey {
                        unit: unit.clone(),
                        stage,
                        round: *round,
                        attempt: *attempt,
                    };
                    all.push(Told {
                        key,
                        fence: *fence,
                        running: true,
                        failed: false,
                        outcome: "running".to_owned(),
                    });
                }
                UnitEvent::AttemptEnded {
                    fence,
                    outcome,
                    output,
                    ..
                } => {
                    let red = matches!(output, Some(Output::Checks { evidence }) if !evidence.passed());
                    if let Some(told) = all.iter_mut().find(|told| told.fence == *fence) {
                        told.running = false;
                        told.failed = *outcome != Outcome::Ok || red;
                        told.outcome = if red { "failed".to_owned() } else { word(*outcome) };
                    }
                }
                UnitEvent::UnitApproved {
                    generation: approved, ..
                } => generation = *approved,
                UnitEvent::BranchTaken { .. }
                | UnitEvent::BranchLanded { .. }
                | UnitEvent::UnitStarted { .. }
                | UnitEvent::StageSkipped { .. }
                | UnitEvent::GateOpened { .. }
                | UnitEvent::GateDecided { .. }
                | UnitEvent::UnitPublished
                | UnitEvent::UnitEvicted { .. }
                | UnitEvent::UnitBlocked { .. }
                | UnitEvent::UnitUnblocked
                | UnitEvent::UnitRetried { .. }
                | UnitEvent::UnitResolved { .. }
                | UnitEvent::UnitKept { .. }
                | UnitEvent::UnitDiscarded => {}
                UnitEvent::UnitRestored { work, .. } => {
                    generation = work.as_ref().and_then(|work| work.approved).unwrap_or(generation);
                }
            },
            Event::Queue(QueueEvent::CandidateBuilt { candidate }) => {
                if candidate.units.iter().any(|built| built.unit == *unit) {
                    verified.insert(candidate.commit.clone());
                }
            }
            Event::Queue(QueueEvent::VerifyStarted {
                commit,
                purpose: VerifyPurpose::Candidate,
                fence,
            }) => {
                if verified.contains(commit) {
                    let key = crate::engine::verify_key(unit.clone(), generation, *fence);
                    all.push(Told {
                        key,
                        fence: *fence,
                        running: true,
                        failed: false,
                        outcome: "running".to_owned(),
                    });
                }
            }
            Event::Queue(QueueEvent::VerifyEnded {
                fence,
                evidence,
                reused,
            }) => {
                if *reused {
                    all.retain(|told| told.fence != *fence);
                }
                if let Some(told) = all.iter_mut().find(|told| told.fence == *fence) {
                    let failure = evidence.first_failure();
                    told.running = false;
                    told.failed = failure.is_some_and(|result| result.outcome != CheckOutcome::Interrupted);
                    told.outcome =
                        failure.map_or("passed".to_owned(), |result| format!("failed: {}", result.name));
                }
            }
            Event::Unit(_) | Event::Run(_) | Event::Queue(_) => {}
        }
    }
    all
}

fn word(outcome: Outcome) -> String {
    match serde_json::to_value(outcome) {
        Ok(serde_json::Value::String(word)) => word,
        Ok(_) | Err(_) => "rate_limited".to_owned(),
    }
}

fn print_log(path: &std::path::Path) {
    match std::fs::read(path) {
        Ok(bytes) => print(&with_newline(sanitize(&String::from_utf8_lossy(&bytes)))),
        Err(error) => tell(&format!("no log at {}: {error}", path.display())),
    }
}

fn with_newline(text: String) -> String {
    if text.is_empty() || text.ends_with('\n') {
        text
    } else {
        text + "\n"
    }
}
