//! What an attempt's return means: exit status, result and tree together, never one of them alone.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::attempt::{Attempt, Conclusion};
use super::landing::OnTarget;
use super::records::{GUARDS, GuardsRecord, HEAD, REFUSED, VERSION, refs_of};
use super::{EngineError, Tools, resolution};
use crate::agent::{self, Returned};
use crate::event::{
    CheckOutcome, CheckResult, Evidence, GuardAction, GuardHit, Head, Job, LineRange, Outcome, Output,
    Reason, Resolution, Usage,
};
use crate::git::Repository;
use crate::id::Oid;
use crate::port::{AttemptReturn, Ended, TakenTree};
use crate::run::{hash_json, subject, unit_checks};
use crate::spec::{Check, Pipeline, StageKind, Unit};
use crate::unit::{self, Brief, guards};

/// Turns what came back into an outcome.
pub(super) fn conclude(attempt: &Attempt, returned: &AttemptReturn) -> Result<Conclusion, EngineError> {
    match &attempt.start.job {
        Job::Checks => conclude_checks(attempt, returned),
        Job::Stage { kind, .. } => conclude_stage(attempt, *kind, returned),
    }
}

fn conclude_checks(attempt: &Attempt, returned: &AttemptReturn) -> Result<Conclusion, EngineError> {
    if let Some(failed) = ending(returned) {
        return Ok(failed);
    }
    let checks = unit_checks(&attempt.pipeline, attempt.unit_spec());
    let tree = attempt.tools.repository.tree_of(&attempt.start.commit)?;
    let evidence = Evidence {
        tree: subject(&checks, &attempt.start.commit, &tree).clone(),
        checks: hash_json(&checks),
        environment: attempt.environment.clone(),
        results: signed(&checks, &returned.checks),
    };
    let interrupted = evidence
        .results
        .iter()
        .any(|result| result.outcome == CheckOutcome::Interrupted);
    if interrupted {
        return Ok(Conclusion::bare(
            Outcome::Interrupted,
            "the checks were interrupted",
        ));
    }
    let detail = evidence
        .first_failure()
        .map(|failure| format!("{}: {}", failure.name, failure.tail.trim_end()));
    Ok(Conclusion {
        outcome: Outcome::Ok,
        detail,
        output: Some(Output::Checks { evidence }),
        usage: Usage::default(),
    })
}

/// The results with their failure signatures. A check that has no result was skipped: evidence with a gap in it
/// must not pass.
pub(super) fn signed(checks: &[Check], results: &[CheckResult]) -> Vec<CheckResult> {
    let sign = |result: &CheckResult| CheckResult {
        signature: match result.outcome {
            CheckOutcome::Passed => String::new(),
            CheckOutcome::Failed
            | CheckOutcome::TimedOut
            | CheckOutcome::Skipped
            | CheckOutcome::Infrastructure
            | CheckOutcome::Interrupted => unit::failure_signature(&result.name, &result.tail),
        },
        ..result.clone()
    };
    let is_missing = |check: &&Check| results.iter().all(|result| result.name != check.name);
    let missing = checks.iter().filter(is_missing).map(|check| CheckResult {
        name: check.name.clone(),
        outcome: CheckOutcome::Skipped,
        exit: None,
        duration_ms: 0,
        tail: String::new(),
        signature: String::new(),
    });
    results.iter().map(sign).chain(missing).collect()
}

/// The outcome of an attempt whose program did not end by itself with status 0.
fn ending(returned: &AttemptReturn) -> Option<Conclusion> {
    let with_tail = |what: String| {
        let tail = returned.tail.trim();
        if tail.is_empty() {
            what
        } else {
            format!("{what}\n{tail}")
        }
    };
    Some(match &returned.ended {
        Ended::Exited(0) => return None,
        Ended::Exited(status) => Conclusion::bare(
            Outcome::Failed,
            with_tail(format!("the program ended with exit status {status}")),
        ),
        Ended::Signalled(signal) => Conclusion::bare(
            Outcome::Crashed,
            with_tail(format!("the program was ended by signal {signal}")),
        ),
        Ended::Timeout => Conclusion::bare(
            Outcome::Timeout,
            with_tail("the time limit was reached".to_owned()),
        ),
        Ended::Idle => Conclusion::bare(
            Outcome::Idle,
            with_tail("no output until the idle limit".to_owned()),
        ),
        Ended::Stopped => Conclusion::bare(Outcome::Interrupted, "the engine was asked to stop"),
        Ended::NotStarted(why) => Conclusion::bare(Outcome::Crashed, why.clone()),
        Ended::Infrastructure(why) => Conclusion::of_machine(why.clone()),
        Ended::SetupFailed(why) => {
            Conclusion::bare(Outcome::Failed, format!("{}{why}", unit::SETUP_FAILED_PREFIX))
        }
    })
}

fn conclude_stage(
    attempt: &Attempt,
    kind: StageKind,
    returned: &AttemptReturn,
) -> Result<Conclusion, EngineError> {
    let agent = attempt
        .start
        .agent
        .as_ref()
        .and_then(|name| attempt.pipeline.agents.get(name));
    let price = agent.and_then(|agent| agent.price.as_ref());
    let parsed = agent::parse(kind, returned.result.as_deref(), price);
    if let Some(mut failed) = ending(returned) {
        // Money is spent whether or not the work came to anything.
        failed.usage = parsed.map(|parsed| parsed.usage).unwrap_or_default();
        return Ok(failed);
    }
    let parsed = match parsed {
        Ok(parsed) => parsed,
        Err(error) => return Ok(Conclusion::bare(Outcome::SchemaMissing, error.to_string())),
    };
    let usage = parsed.usage;
    let conclusion = match parsed.returned {
        Returned::Document(text) => output(Output::Document { text }),
        Returned::Decision { approved, reason } => output(Output::Decision { approved, reason }),
        Returned::Review {
            verdict,
            findings,
            ledger,
        } => {
            let review = Output::Review {
                verdict,
                findings,
                ledger,
            };
            match &attempt.brief {
                Brief::Review { open, .. } => match unit::check_review(open, &review) {
                    Ok(()) => output(review),
                    Err(why) => Conclusion::bare(Outcome::SchemaMissing, why),
                },
                Brief::Prepare { .. }
                | Brief::Author { .. }
                | Brief::Resolve { .. }
                | Brief::Approve { .. }
                | Brief::Checks => output(review),
            }
        }
        Returned::Work {
            blocked_reason: Some(why),
            ..
        } => Conclusion::bare(Outcome::Failed, format!("the author says it is blocked: {why}")),
        Returned::Work {
            summary,
            testing_notes,
            resolutions,
            blocked_reason: None,
        } => work(
            attempt,
            kind,
            returned,
            Account {
                summary,
                testing_notes,
                resolutions,
            },
        )?,
    };
    Ok(Conclusion { usage, ..conclusion })
}

fn output(output: Output) -> Conclusion {
    Conclusion {
        outcome: Outcome::Ok,
        detail: None,
        output: Some(output),
        usage: Usage::default(),
    }
}

/// What an author says of its work.
pub(super) struct Account {
    summary: String,
    testing_notes: Option<String>,
    pub(super) resolutions: Vec<Resolution>,
}

/// The tree an author left becomes the unit's one commit.
fn work(
    attempt: &Attempt,
    kind: StageKind,
    returned: &AttemptReturn,
    account: Account,
) -> Result<Conclusion, EngineError> {
    let repository = &attempt.tools.repository;
    let tree = match &returned.tree {
        Some(TakenTree::Tree(tree)) => tree.clone(),
        Some(TakenTree::TooLarge(why)) => return too_large(attempt, why, account),
        Some(TakenTree::Refused(why)) => return Ok(Conclusion::bare(Outcome::Failed, why.clone())),
        None => {
            return Ok(Conclusion::bare(
                Outcome::Crashed,
                "the tree the author left could not be taken",
            ));
        }
    };
    if let Some(conflict) = attempt.brief.conflict() {
        return resolution::work(attempt, conflict, tree, account);
    }
    let before = attempt.start.commit.clone();
    let before_tree = repository.tree_of(&before)?;
    if tree == before_tree {
        let settles = kind == StageKind::Fix && !account.resolutions.is_empty();
        if !settles {
            return Ok(Conclusion::bare(Outcome::NoChange, "the author changed nothing"));
        }
        let head = Head { commit: before, tree };
        return Ok(output(work_output(head, account, Vec::new(), Vec::new())));
    }
    if tree == repository.tree_of(&attempt.base)? {
        return Ok(Conclusion::bare(
            Outcome::NoChange,
            "the author undid the unit's whole change",
        ));
    }
    let commit = commit_of(attempt, &tree)?;
    let hits = inspect_work(attempt, &commit)?;
    let touched = repository.changed_lines(&before, &commit)?;
    finished(attempt, Head { commit, tree }, account, hits, touched)
}

/// The unit's one commit on the base of the attempt, or, of a branch, the one after those it has.
pub(super) fn commit_of(attempt: &Attempt, tree: &Oid) -> Result<Oid, EngineError> {
    let unit = attempt.unit_spec();
    let identity = &attempt.tools.identity;
    let signer = identity.to_string();
    // The commits of a branch are a person's: what is mended comes after them. A resolved conflict takes their place.
    let (parent, title) = match &unit.from_branch {
        Some(branch) if attempt.brief.conflict().is_none() => (
            &attempt.start.commit,
            unit::fix_title(&branch.name, attempt.start.round),
        ),
        Some(_) | None => (&attempt.base, unit.title.clone()),
    };
    let message = unit::commit_message(
        &Unit {
            title,
            ..unit.clone()
        },
        &attempt.pipeline.commit,
        &attempt.run,
        &attempt.inputs,
        Some(&signer),
    );
    let repository = &attempt.tools.repository;
    Ok(repository.commit_tree(tree, &[parent], &message, identity, attempt.began)?)
}

/// Keeps a head by its ref, after what the guards found in it, and says what came of the attempt that made it. Work that
/// a guard refuses is no head: it is kept beside it, so that nobody takes it for one.
pub(super) fn finished(
    attempt: &Attempt,
    head: Head,
    account: Account,
    hits: Vec<GuardHit>,
    touched: Vec<LineRange>,
) -> Result<Conclusion, EngineError> {
    let repository = &attempt.tools.repository;
    let below = refs_of(&attempt.run);
    let found = GuardsRecord {
        version: VERSION,
        unit: attempt.unit.clone(),
        head: head.clone(),
        guards: hits.clone(),
    };
    let refused = hits.iter().any(|hit| hit.action == GuardAction::Refuse);
    let name = if refused { REFUSED } else { GUARDS };
    repository.write_records(&below, &[found.record(&attempt.run, name)])?;
    if !refused {
        let name = format!("{below}{}{HEAD}", attempt.unit);
        repository.write_ref(&name, &head.commit, None)?;
    }
    Ok(judged(work_output(head, account, hits, touched)))
}

fn work_output(head: Head, account: Account, guards: Vec<GuardHit>, touched: Vec<LineRange>) -> Output {
    Output::Work {
        head,
        summary: account.summary,
        testing_notes: account.testing_notes,
        resolutions: account.resolutions,
        guards,
        touched,
    }
}

/// A tree over the limits is an objection like that of a guard: the author is told and tries again.
fn too_large(attempt: &Attempt, why: &str, account: Account) -> Result<Conclusion, EngineError> {
    let tree = attempt.tools.repository.tree_of(&attempt.start.commit)?;
    let head = Head {
        commit: attempt.start.commit.clone(),
        tree,
    };
    let hit = GuardHit {
        reason: Reason::TooLarge,
        action: GuardAction::Refuse,
        sentence: why.to_owned(),
    };
    Ok(judged(work_output(head, account, vec![hit], Vec::new())))
}

/// Work that a guard refuses has failed, whatever the author says of it.
fn judged(work: Output) -> Conclusion {
    let refused = match &work {
        Output::Work { guards, .. } => guards.iter().find(|hit| hit.action == GuardAction::Refuse),
        Output::Document { .. } | Output::Review { .. } | Output::Decision { .. } | Output::Checks { .. } => {
            None
        }
    };
    match refused.map(|hit| hit.sentence.clone()) {
        Some(sentence) => Conclusion {
            outcome: Outcome::Failed,
            detail: Some(sentence),
            ..output(work)
        },
        None => output(work),
    }
}

/// What the deterministic guards find in the unit's whole change, as an attempt of its author left it, and whether it takes
/// back what landed while a conflict is recovered from.
pub(super) fn inspect_work(attempt: &Attempt, commit: &Oid) -> Result<Vec<GuardHit>, EngineError> {
    let landed = landed_changes(attempt)?;
    let range = (&attempt.base, commit);
    let mut hits = inspect(
        &attempt.tools,
        &attempt.pipeline,
        attempt.unit_spec(),
        range,
        &landed,
    )?;
    hits.extend(resolution::taken_back(attempt, commit)?);
    Ok(hits)
}

/// What the deterministic guards find in a unit's whole change: from its base to its head.
pub(super) fn inspect(
    tools: &Tools,
    pipeline: &Pipeline,
    unit: &Unit,
    (base, head): (&Oid, &Oid),
    landed: &[guards::LandedChange],
) -> Result<Vec<GuardHit>, EngineError> {
    let files = tools.repository.changed_files(base, head)?;
    let facts = guards::DiffFacts {
        files: files.into_iter().map(file_change).collect(),
    };
    Ok(guards::inspect(
        unit,
        &pipeline.guards,
        &tools.protected,
        &facts,
        landed,
    )?)
}

fn file_change(file: crate::git::ChangedFile) -> guards::FileChange {
    guards::FileChange {
        status: match file.status {
            crate::git::ChangeStatus::Added => guards::ChangeStatus::Added,
            crate::git::ChangeStatus::Modified => guards::ChangeStatus::Modified,
            crate::git::ChangeStatus::Deleted => guards::ChangeStatus::Deleted,
            crate::git::ChangeStatus::Renamed => guards::ChangeStatus::Renamed,
            crate::git::ChangeStatus::TypeChanged => guards::ChangeStatus::TypeChanged,
        },
        path: file.path,
        old_path: file.old_path,
        old_mode: file.old_mode,
        new_mode: file.new_mode,
        new_blob: file.new_blob,
        old_text: file.old_text,
        new_text: file.new_text,
        new_bytes: file.new_bytes,
    }
}

/// What each path was before a unit of this run landed a change to it.
fn landed_changes(attempt: &Attempt) -> Result<Vec<guards::LandedChange>, EngineError> {
    let mut changes = Vec::new();
    for on_target in &attempt.landed {
        let of_commit = attempt.tools.landed.of(&attempt.tools.repository, on_target)?;
        changes.extend(of_commit.iter().map(|(path, before)| guards::LandedChange {
            unit: on_target.unit.clone(),
            path: path.clone(),
            before: before.clone(),
        }));
    }
    Ok(changes)
}

/// The paths that landed commits changed, each with the blob it was before. Commits never change, so that each is
/// looked at once, however many attempts are held against it.
#[derive(Debug, Default)]
pub struct LandedChanges(Mutex<BTreeMap<Oid, Arc<PathsBefore>>>);

type PathsBefore = Vec<(String, Option<Oid>)>;

impl LandedChanges {
    fn of(&self, repository: &Repository, landed: &OnTarget) -> Result<Arc<PathsBefore>, EngineError> {
        let commit = &landed.commit;
        let known = |map: &BTreeMap<Oid, Arc<PathsBefore>>| map.get(commit).cloned();
        if let Some(changes) = known(&self.0.lock().unwrap_or_else(PoisonError::into_inner)) {
            return Ok(changes);
        }
        let files = repository.changed_files(&landed.after, commit)?;
        let changes = Arc::new(files.into_iter().map(|file| (file.path, file.old_blob)).collect());
        let mut map = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(Arc::clone(map.entry(commit.clone()).or_insert(changes)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::DependsOn;

    #[test]
    fn a_check_without_a_result_was_skipped_so_that_a_gap_never_passes() {
        let check = |name: &str| Check {
            name: name.to_owned(),
            run: "true".to_owned(),
            timeout: std::time::Duration::from_secs(1),
            cwd: ".".to_owned(),
            depends_on: DependsOn::Tree,
            exclusive: std::collections::BTreeSet::new(),
        };
        let passed = CheckResult {
            name: "build".to_owned(),
            outcome: CheckOutcome::Passed,
            exit: Some(0),
            duration_ms: 1,
            tail: String::new(),
            signature: String::new(),
        };
        let results = signed(&[check("build"), check("test")], &[passed]);
        let outcomes: Vec<CheckOutcome> = results.iter().map(|result| result.outcome).collect();
        assert_eq!(outcomes, [CheckOutcome::Passed, CheckOutcome::Skipped]);
    }
}
