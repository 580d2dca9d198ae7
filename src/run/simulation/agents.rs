//! What attempts and checks come to: agents act by the nature of their unit, checks by the truth of a tree.

use jiff::SignedDuration;

use super::driver::{Driver, HERE};
use super::git::{File, Git, Mark, OTHERS, Stamp, Tree};
use super::setting::number_of;
use crate::event::{
    CheckOutcome, CheckResult, Evidence, GuardAction, GuardHit, Head, Job, LedgerRow, LedgerRowState,
    LineRange, Outcome, Output, Reason, ReportedFinding, Resolution, ResolutionAction, UnitEvent, Usage,
    Verdict,
};
use crate::id::{Oid, UnitId};
use crate::run::{Verification, hash_json, queue_checks, subject, unit_checks};
use crate::spec::{Check, RESOLVE_REVIEW, Severity, StageKind, Usd};
use crate::unit::{self, Brief, OpenConflict, SETUP_FAILED_PREFIX};

/// What of a unit's nature is used up.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Used {
    pub(super) versions: u32,
    fails: usize,
    limited: u32,
    garbage: u32,
    rejections: u32,
    markers: u32,
    login: bool,
    /// The author has been shown that the work fails where another unit's is, too.
    mended: bool,
}

/// What a check says of a tree, as far as the tree decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Truth {
    Passes,
    Fails,
    Hangs,
    /// It is as luck has it.
    Flakes,
}

/// What the check of that name says of these files.
pub(super) fn truth(check: &str, files: &Tree) -> Truth {
    let mut truth = Truth::Passes;
    for (path, file) in files {
        let theirs = file.by == OTHERS;
        let here = match (file.mark, check) {
            (Mark::Breaks, "build") if theirs => Truth::Fails,
            (Mark::Breaks, "test") if !theirs => Truth::Fails,
            (Mark::Breaks, "gate") => Truth::Fails,
            (Mark::Clashes(other), "test" | "gate") if holds_work_of(files, other) => Truth::Fails,
            (Mark::Hangs, "test" | "gate") => Truth::Hangs,
            (Mark::Flaky, "test" | "gate") => Truth::Flakes,
            (Mark::Rough, _) if check == format!("own-{path}") => Truth::Fails,
            _ => Truth::Passes,
        };
        match (truth, here) {
            (Truth::Fails, _) | (_, Truth::Passes) => {}
            (_, Truth::Fails) => truth = Truth::Fails,
            (Truth::Hangs, _) => {}
            (_, worse) => truth = worse,
        }
    }
    truth
}

fn holds_work_of(files: &Tree, unit: u8) -> bool {
    files.get(&unit).is_some_and(|file| file.by == unit)
}

/// What a list of checks says of these files: the first that is not a plain pass.
pub(super) fn truth_of(checks: &[Check], files: &Tree) -> Truth {
    let mut said = checks.iter().map(|check| truth(&check.name, files));
    said.find(|truth| *truth != Truth::Passes)
        .unwrap_or(Truth::Passes)
}

struct Ended {
    outcome: Outcome,
    detail: Option<String>,
    output: Option<Output>,
}

fn bare(outcome: Outcome) -> Ended {
    Ended {
        outcome,
        detail: Some("it went wrong".to_owned()),
        output: None,
    }
}

fn ok(output: Output) -> Ended {
    Ended {
        outcome: Outcome::Ok,
        detail: None,
        output: Some(output),
    }
}

type Order<'a> = (&'a UnitId, &'a unit::Start, &'a Oid, &'a Brief);

impl Driver {
    /// An attempt ends.
    pub(super) fn attempt(&mut self, fence: u64, order: Order<'_>, told: bool) -> UnitEvent {
        let ended = if told && self.dice.chance(80) {
            bare(Outcome::Interrupted)
        } else {
            self.perform(order)
        };
        let paid = order.1.job != Job::Checks && ended.outcome != Outcome::Interrupted;
        let micros = self.setting.nature(order.0).cost_micros;
        UnitEvent::AttemptEnded {
            fence,
            outcome: ended.outcome,
            detail: ended.detail,
            output: ended.output,
            packet: None,
            usage: Usage {
                cost: (paid && micros > 0).then_some(Usd { micros }),
                ..Usage::default()
            },
            duration_ms: 1,
        }
    }

    fn perform(&mut self, order: Order<'_>) -> Ended {
        let (unit, start, ..) = order;
        if self.faulty && self.dice.chance(3) {
            let outcomes = [Outcome::Crashed, Outcome::Timeout, Outcome::Idle, Outcome::Failed];
            return bare(self.dice.pick(&outcomes));
        }
        let Job::Stage { kind, .. } = &start.job else {
            let checks = unit_checks(&self.setting.pipeline, self.setting.spec(unit));
            let evidence = self.examine(&checks, &start.commit, None);
            let mut rows = evidence.results.iter();
            if rows.any(|row| row.outcome == CheckOutcome::Interrupted) {
                return bare(Outcome::Interrupted);
            }
            return ok(Output::Checks { evidence });
        };
        match kind {
            StageKind::Prepare => ok(Output::Document {
                text: unit.to_string(),
            }),
            StageKind::Implement | StageKind::Fix => match order.3.conflict() {
                Some(conflict) => self.resolve(order, conflict),
                None => self.author(order, *kind),
            },
            StageKind::Review => self.review(order),
            StageKind::Approve => self.approve(order),
        }
    }

    /// What of an author's nature ends an attempt before there is work.
    fn ends_early(&mut self, number: usize) -> Option<Ended> {
        let nature = &self.setting.natures[number];
        let used = &mut self.used[number];
        if nature.login && !used.login {
            used.login = true;
            return Some(bare(Outcome::Auth));
        }
        if used.limited < nature.limited {
            used.limited += 1;
            let reset = self.now + SignedDuration::from_secs(i64::from(used.limited) * 60 - 90);
            return Some(bare(Outcome::RateLimited { reset }));
        }
        let outcome = nature.fails.get(used.fails).copied();
        used.fails += usize::from(outcome.is_some());
        let outcome = outcome.or(nature.stubborn)?;
        Some(Ended {
            detail: (outcome == Outcome::Denied).then(|| format!("{SETUP_FAILED_PREFIX}no network")),
            ..bare(outcome)
        })
    }

    /// The author lets its own side of a conflict stand, on top of everything else that landed.
    fn resolve(&mut self, (unit, start, base, _): Order<'_>, conflict: &OpenConflict) -> Ended {
        let number = number_of(unit);
        assert_eq!(
            start.commit, conflict.onto,
            "a conflict is resolved where it was met"
        );
        if let Some(ended) = self.ends_early(number) {
            return ended;
        }
        if self.used[number].markers < self.setting.natures[number].leaves_markers {
            self.used[number].markers += 1;
            self.see("a conflict was left unresolved");
            return bare(Outcome::Failed);
        }
        self.see("a conflict was resolved");
        let head = self.write(number, &start.commit, base);
        ok(work(head, Vec::new(), Vec::new(), number))
    }

    fn author(&mut self, (unit, start, base, brief): Order<'_>, kind: StageKind) -> Ended {
        let number = number_of(unit);
        if let Some(ended) = self.ends_early(number) {
            return ended;
        }
        let nature = self.setting.natures[number].clone();
        let used = &mut self.used[number];
        let Brief::Author {
            findings,
            failed_checks,
            ..
        } = brief
        else {
            panic!("an author gets an author's brief")
        };
        used.mended |= failed_checks.is_some() && nature.mends_at != u32::MAX;
        if kind == StageKind::Fix && nature.disputes && failed_checks.is_none() && !findings.is_empty() {
            let resolutions = findings.iter().map(|open| Resolution {
                finding: open.id.clone(),
                action: ResolutionAction::Disputed,
                note: String::new(),
            });
            let head = head_of(&self.git, &start.commit);
            return ok(work(head, resolutions.collect(), Vec::new(), number));
        }
        let head = self.write(number, &start.commit, base);
        let version = self.used[number].versions;
        let guards: Vec<GuardHit> = nature
            .guard
            .filter(|_| version == 1)
            .map(guard_hit)
            .into_iter()
            .collect();
        let refused = guards.iter().any(|hit| hit.action == GuardAction::Refuse);
        let mut ended = ok(work(head, Vec::new(), guards, number));
        if refused {
            ended.outcome = Outcome::Failed;
        }
        ended
    }

    /// Another version of a unit's work, as its one commit on its base.
    pub(super) fn write(&mut self, number: usize, onto: &Oid, base: &Oid) -> Head {
        let nature = &self.setting.natures[number];
        let used = &mut self.used[number];
        used.versions += 1;
        let by = u8::try_from(number).expect("few units");
        let clash_is_mended = used.mended && matches!(nature.mark, Mark::Clashes(_));
        let mark = if used.versions < nature.mends_at && !clash_is_mended {
            nature.mark
        } else {
            Mark::Fine
        };
        let version = used.versions;
        let mut files = self.git.files(onto).clone();
        files.insert(by, File { by, version, mark });
        if let Some(path) = nature.shared {
            let mark = Mark::Fine;
            files.insert(path, File { by, version, mark });
        }
        let second = self.now.as_second();
        let commit = self
            .git
            .commit(std::slice::from_ref(base), &files, Stamp { by, second });
        head_of(&self.git, &commit)
    }

    fn review(&mut self, (unit, start, _, brief): Order<'_>) -> Ended {
        let number = number_of(unit);
        let Brief::Review { open, .. } = brief else {
            panic!("a review gets a review's brief")
        };
        if start.job == built_in_review() {
            self.see("a resolution was reviewed without a review in the tier");
        }
        let nature = &self.setting.natures[number];
        let used = &mut self.used[number];
        if used.garbage < nature.garbage {
            used.garbage += 1;
            return bare(Outcome::SchemaMissing);
        }
        let version = used.versions;
        let finds = version <= nature.findings;
        let same = finds && nature.persists;
        let rows = open.iter().map(|open| LedgerRow {
            id: open.id.clone(),
            state: if same {
                LedgerRowState::Persists
            } else {
                LedgerRowState::Resolved
            },
        });
        let findings = if finds && (open.is_empty() || !same) {
            vec![finding(number, &start.job, version, same)]
        } else {
            Vec::new()
        };
        let asks = finds != nature.contradicts;
        ok(Output::Review {
            verdict: if asks {
                Verdict::RequestChanges
            } else {
                Verdict::Approve
            },
            findings,
            ledger: rows.collect(),
        })
    }

    fn approve(&mut self, (unit, .., brief): Order<'_>) -> Ended {
        let number = number_of(unit);
        let Brief::Approve { disputed, .. } = brief else {
            panic!("an approval gets an approval's brief")
        };
        let refuses_dispute = !disputed.is_empty() && !self.setting.judge_yields;
        let nature = &self.setting.natures[number];
        let used = &mut self.used[number];
        let rejects = used.rejections < nature.rejections;
        used.rejections += u32::from(rejects);
        let approved = !rejects && !refuses_dispute;
        let reason = "as it is".to_owned();
        ok(Output::Decision { approved, reason })
    }

    /// A verification ends.
    pub(super) fn verify(&mut self, verification: &Verification, told: bool) -> Evidence {
        let units = self.setting.pipeline.units.iter();
        let units = units.filter(|unit| verification.units.contains(&unit.id));
        let checks = queue_checks(&self.setting.pipeline, units);
        if told && self.dice.chance(80) {
            let row = row(
                "workspace",
                CheckOutcome::Interrupted,
                "the engine was asked to stop",
            );
            return self.evidence(&checks, &verification.commit, vec![row]);
        }
        self.examine(&checks, &verification.commit, verification.units.first())
    }

    /// Runs checks on a commit, in order; after the first that does not pass the rest are skipped.
    pub(super) fn examine(&mut self, checks: &[Check], commit: &Oid, unit: Option<&UnitId>) -> Evidence {
        let unlucky = unit.is_some_and(|unit| self.setting.nature(unit).unlucky);
        let fault = if self.faulty { self.dice.roll(100) } else { 99 };
        if unlucky || fault < 3 {
            let row = row("workspace", CheckOutcome::Infrastructure, "the disk is full");
            return self.evidence(checks, commit, vec![row]);
        }
        // A runner that loses what it should have run.
        let lost = usize::from(fault == 3);
        let mut rows = Vec::new();
        let mut failed = false;
        for (index, check) in checks.iter().enumerate() {
            let outcome = if failed || index + lost >= checks.len() {
                CheckOutcome::Skipped
            } else {
                self.run_check(&check.name, commit)
            };
            failed |= outcome != CheckOutcome::Passed;
            rows.push(row(&check.name, outcome, "as it fails"));
        }
        let evidence = self.evidence(checks, commit, rows);
        self.laws.checked(&evidence, self.now);
        evidence
    }

    fn run_check(&mut self, check: &str, commit: &Oid) -> CheckOutcome {
        match truth(check, self.git.files(commit)) {
            Truth::Passes => CheckOutcome::Passed,
            Truth::Fails => CheckOutcome::Failed,
            Truth::Hangs => CheckOutcome::TimedOut,
            Truth::Flakes => match self.dice.roll(6) {
                0 => CheckOutcome::TimedOut,
                1 | 2 => CheckOutcome::Failed,
                _ => CheckOutcome::Passed,
            },
        }
    }

    fn evidence(&self, checks: &[Check], commit: &Oid, results: Vec<CheckResult>) -> Evidence {
        Evidence {
            tree: subject(checks, commit, self.git.tree_of(commit)).clone(),
            checks: hash_json(&checks),
            environment: HERE.to_owned(),
            results,
        }
    }
}

fn head_of(git: &Git, commit: &Oid) -> Head {
    Head {
        commit: commit.clone(),
        tree: git.tree_of(commit).clone(),
    }
}

fn row(name: &str, outcome: CheckOutcome, tail: &str) -> CheckResult {
    let passed = outcome == CheckOutcome::Passed;
    CheckResult {
        name: name.to_owned(),
        outcome,
        exit: None,
        duration_ms: 1,
        tail: if passed { String::new() } else { tail.to_owned() },
        signature: String::new(),
    }
}

fn built_in_review() -> Job {
    Job::Stage {
        stage: RESOLVE_REVIEW.parse().expect("it is a stage name"),
        kind: StageKind::Review,
        member: 0,
    }
}

pub(super) fn guard_hit(action: GuardAction) -> GuardHit {
    GuardHit {
        reason: match action {
            GuardAction::Note => Reason::OutsidePaths,
            GuardAction::Gate => Reason::ProtectedPath,
            GuardAction::Refuse => Reason::SecretInDiff,
        },
        action,
        sentence: "something is there".to_owned(),
    }
}

fn work(head: Head, resolutions: Vec<Resolution>, guards: Vec<GuardHit>, number: usize) -> Output {
    Output::Work {
        head,
        summary: String::new(),
        testing_notes: None,
        resolutions,
        guards,
        touched: vec![LineRange {
            file: format!("u{number}"),
            first: 1,
            last: 9,
        }],
    }
}

fn finding(number: usize, review: &Job, version: u32, same: bool) -> ReportedFinding {
    let told = if same { 0 } else { version };
    ReportedFinding {
        id: None,
        file: format!("u{number}"),
        line: Some(3),
        end_line: None,
        severity: Severity::Major,
        confidence: 90,
        title: format!("version {told} is wrong, says {review:?}"),
        detail: String::new(),
        suggestion: None,
    }
}
