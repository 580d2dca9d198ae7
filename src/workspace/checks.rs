//! Checks in a worktree: one after the other, until one does not pass.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

use crate::event::{CheckOutcome, CheckResult};
use crate::port::{AttemptReturn, Ended};
use crate::spec::Check;

use super::attempt::{Attempt, Job, outlived, shell};
use super::place;

impl Attempt {
    /// Runs the checks and fills in one row for each.
    pub(super) async fn checks(&self, checks: &[Check], answer: &mut AttemptReturn) {
        let deadline = Instant::now().checked_add(self.order.wall_max);
        answer.ended = Ended::Exited(0);
        let offset = place::log_length(&self.logs.main);
        let mut unbroken = true;
        for (at, check) in (1..).zip(checks) {
            if !unbroken {
                answer.checks.push(skipped(check));
                continue;
            }
            let (result, ended) = self.check(at, check, deadline, answer).await;
            unbroken = result.outcome == CheckOutcome::Passed;
            answer.ended = match (result.outcome, ended) {
                (CheckOutcome::Interrupted, _) => Ended::Stopped,
                (CheckOutcome::Infrastructure, ended) => ended,
                (
                    CheckOutcome::Passed
                    | CheckOutcome::Failed
                    | CheckOutcome::TimedOut
                    | CheckOutcome::Skipped,
                    _,
                ) => Ended::Exited(0),
            };
            answer.checks.push(result);
        }
        answer.tail = place::log_tail(&self.logs.main, offset);
    }

    async fn check(
        &self,
        at: usize,
        check: &Check,
        deadline: Option<Instant>,
        answer: &mut AttemptReturn,
    ) -> (CheckResult, Ended) {
        let cwd = match directory_below(&self.place.tree, &check.cwd) {
            Ok(cwd) => cwd,
            // A fact about the commit, like a program that fails.
            Err(sentence) => return (result(check, CheckOutcome::Failed, sentence), Ended::Exited(0)),
        };
        let log = &self.logs.main;
        let offset = match begin(log, check) {
            Ok(offset) => offset,
            Err(error) => {
                let sentence = format!("the log {} cannot be written: {error}", log.display());
                return (
                    result(check, CheckOutcome::Infrastructure, sentence.clone()),
                    Ended::Infrastructure(sentence),
                );
            }
        };
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        let wall_max = left.map_or(check.timeout, |left| left.min(check.timeout));
        let job = Job {
            name: format!("check-{at}"),
            argv: shell(&check.run),
            cwd: &cwd,
            env: self.environment.with(&BTreeMap::new()),
            stdin: None,
            log,
            wall_max,
            idle_max: wall_max,
        };
        let end = self.run(job, self.stop.clone()).await;
        answer.notes.extend(outlived(
            end.killed_descendants,
            &format!("the check `{}`", check.name),
        ));
        let (outcome, exit) = judge(&end.ended);
        let mut result = result(check, outcome, place::log_tail(log, offset));
        result.exit = exit;
        result.duration_ms = u64::try_from(end.duration.as_millis()).unwrap_or(u64::MAX);
        if let Ended::NotStarted(sentence) | Ended::Infrastructure(sentence) = &end.ended
            && result.tail.is_empty()
        {
            result.tail.clone_from(sentence);
        }
        (result, end.ended)
    }
}

/// What an end says about the commit, and the exit status if there is one.
fn judge(ended: &Ended) -> (CheckOutcome, Option<i32>) {
    match ended {
        Ended::Exited(0) => (CheckOutcome::Passed, Some(0)),
        Ended::Exited(status) => (CheckOutcome::Failed, Some(*status)),
        Ended::Signalled(_) => (CheckOutcome::Failed, None),
        Ended::Timeout | Ended::Idle => (CheckOutcome::TimedOut, None),
        Ended::Stopped => (CheckOutcome::Interrupted, None),
        Ended::NotStarted(_) | Ended::SetupFailed(_) | Ended::Infrastructure(_) => {
            (CheckOutcome::Infrastructure, None)
        }
    }
}

/// The rows of checks that did not come to run, because of what `ended` says.
pub(super) fn without_run(checks: &[Check], ended: &Ended, tail: &str) -> Vec<CheckResult> {
    let outcome = match ended {
        Ended::Stopped => CheckOutcome::Interrupted,
        Ended::Exited(_)
        | Ended::Signalled(_)
        | Ended::Timeout
        | Ended::Idle
        | Ended::NotStarted(_)
        | Ended::SetupFailed(_)
        | Ended::Infrastructure(_) => CheckOutcome::Infrastructure,
    };
    let first = checks
        .first()
        .map(|check| result(check, outcome, tail.to_owned()));
    first
        .into_iter()
        .chain(checks.iter().skip(1).map(skipped))
        .collect()
}

fn skipped(check: &Check) -> CheckResult {
    result(check, CheckOutcome::Skipped, String::new())
}

fn result(check: &Check, outcome: CheckOutcome, tail: String) -> CheckResult {
    CheckResult {
        name: check.name.clone(),
        outcome,
        exit: None,
        duration_ms: 0,
        tail,
        signature: String::new(),
    }
}

/// Says in the log which check follows; where its output begins.
fn begin(log: &Path, check: &Check) -> io::Result<u64> {
    crate::fault::point("workspace.log")?;
    let mut file = OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .open(log)?;
    writeln!(
        file,
        "[pipeline: check `{}`: {}]",
        check.name,
        check.run.replace('\n', "; ")
    )?;
    Ok(place::log_length(log))
}

/// The directory `below` of a worktree. Nothing runs there meanwhile, so that what is looked at is what is used.
fn directory_below(tree: &Path, below: &str) -> Result<PathBuf, String> {
    let missing = |error: io::Error| format!("the check's directory `{below}` cannot be entered: {error}");
    let root = fs::canonicalize(tree).map_err(missing)?;
    let directory = fs::canonicalize(root.join(below)).map_err(missing)?;
    if !directory.starts_with(&root) {
        return Err(format!(
            "the check's directory `{below}` leads out of the worktree"
        ));
    }
    if !directory.is_dir() {
        return Err(format!("the check's directory `{below}` is not a directory"));
    }
    Ok(directory)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checks_directory_lies_in_the_worktree() {
        let dir = tempfile::tempdir().unwrap();
        let tree = dir.path().join("tree");
        fs::create_dir_all(tree.join("a/b")).unwrap();
        fs::write(tree.join("file"), "").unwrap();
        std::os::unix::fs::symlink(dir.path(), tree.join("out")).unwrap();
        assert_eq!(
            directory_below(&tree, ".").unwrap(),
            fs::canonicalize(&tree).unwrap()
        );
        assert!(directory_below(&tree, "a/b").unwrap().ends_with("tree/a/b"));
        for bad in ["..", "out", "missing", "file", "/"] {
            assert!(directory_below(&tree, bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn only_an_exit_status_says_something_about_the_commit() {
        assert_eq!(judge(&Ended::Exited(0)), (CheckOutcome::Passed, Some(0)));
        assert_eq!(judge(&Ended::Exited(2)), (CheckOutcome::Failed, Some(2)));
        assert_eq!(judge(&Ended::Timeout), (CheckOutcome::TimedOut, None));
        assert_eq!(judge(&Ended::Stopped), (CheckOutcome::Interrupted, None));
        let broken = Ended::Infrastructure("disk".to_owned());
        assert_eq!(judge(&broken), (CheckOutcome::Infrastructure, None));
    }
}
