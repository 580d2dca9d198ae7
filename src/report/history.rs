//! The events that brought a unit where it is, each as a sentence: the history that `pipeline why` tells.

use jiff::Timestamp;

use super::line::{check_word, evidence_text};
use super::text::one_line;
use crate::event::{
    CheckOutcome, EntryEnd, Event, Evidence, LandRefusal, Outcome, QueueEvent, Record, RunEvent, UnitEvent,
    VerifyPurpose, conflict_sentence,
};
use crate::id::UnitId;
use crate::spec::Pipeline;
use crate::view::{View, outcome_word};

/// Longest text taken over from outside into a sentence, in characters.
const TEXT_CHARS_MAX: usize = 160;

/// Something that happened, as far as it decided about a unit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// Its place in the journal.
    pub seq: u64,
    /// When.
    pub at: Timestamp,
    /// What, as a sentence.
    pub sentence: String,
}

/// What decided about a unit, in order.
pub fn history(pipeline: &Pipeline, records: &[Record], unit: &UnitId) -> Vec<Told> {
    let mut teller = Teller {
        unit,
        view: View::new(pipeline),
    };
    records.iter().filter_map(|record| teller.take(record)).collect()
}

/// Folds the run beside the telling: whom a run of the checks is about, only the queue knows.
struct Teller<'a> {
    unit: &'a UnitId,
    view: View,
}

impl Teller<'_> {
    fn take(&mut self, record: &Record) -> Option<Told> {
        let verified = match &record.event {
            Event::Queue(QueueEvent::VerifyEnded { fence, .. }) => self.view.queue().units_of_run(*fence),
            _ => Vec::new(),
        };
        let had_candidate = self.has_candidate();
        self.view.apply(record);
        let sentence = match &record.event {
            Event::Run(event) => self.of_run(event),
            Event::Unit(scoped) if scoped.unit == *self.unit => self.of_unit(&scoped.what),
            Event::Unit(scoped) => self.of_needed(&scoped.unit, &scoped.what),
            Event::Queue(event) => self.of_queue(event, &verified, had_candidate),
        }?;
        Some(Told {
            seq: record.seq,
            at: record.at,
            sentence,
        })
    }

    fn has_candidate(&self) -> bool {
        self.view.queue().has_candidate(self.unit)
    }

    fn has_ended(&self) -> bool {
        self.view
            .unit(self.unit)
            .is_none_or(|unit| unit.state.has_ended())
    }

    fn is_in_line(&self) -> bool {
        self.view.queue().generation_in_line(self.unit).is_some()
    }

    /// An engine that let go, and a journal that was made anew.
    fn of_run(&self, event: &RunEvent) -> Option<String> {
        match event {
            RunEvent::EngineStopped { why } if !self.has_ended() => {
                Some(format!("the engine stopped ({})", why.as_str()))
            }
            RunEvent::RunRebuilt { .. } => Some("the run was rebuilt from git".to_owned()),
            RunEvent::PreflightEnded { evidence, also, .. } => {
                let evidence = evidence.together(also);
                let told = || {
                    let said = evidence_text(&evidence);
                    format!("before work began, the target's own checks: {said}")
                };
                (!evidence.passed()).then(told)
            }
            RunEvent::RunStarted { .. }
            | RunEvent::UnitsAdded { .. }
            | RunEvent::EngineStarted { .. }
            | RunEvent::EngineStopped { .. }
            | RunEvent::RunFinished
            | RunEvent::ConflictsForeseen(_) => None,
        }
    }

    /// What became of a unit that this one needs.
    fn of_needed(&self, other: &UnitId, event: &UnitEvent) -> Option<String> {
        let unit = self.view.unit(self.unit)?;
        if !unit.needs.contains(other) {
            return None;
        }
        match event {
            UnitEvent::UnitEvicted { reason, .. } => {
                Some(format!("`{other}`, which it needs, left ({reason})"))
            }
            UnitEvent::UnitPublished => Some(format!("`{other}`, which it needs, is there")),
            _ => None,
        }
    }

    fn of_unit(&self, event: &UnitEvent) -> Option<String> {
        Some(match event {
            UnitEvent::UnitStarted { base } => format!("work began on {}", base.short()),
            UnitEvent::BranchTaken { branch, head, .. } => format!(
                "its branch `{}` was taken in at {}",
                one_line(branch, TEXT_CHARS_MAX),
                head.commit.short()
            ),
            UnitEvent::BranchLanded { branch, .. } => format!(
                "its branch `{}` brings nothing that is not on the target already",
                one_line(branch, TEXT_CHARS_MAX)
            ),
            UnitEvent::AttemptStarted { .. } => return None,
            UnitEvent::AttemptEnded { outcome, .. } => self.attempt_ended(*outcome)?,
            UnitEvent::StageSkipped { stage, round } => {
                format!("`{stage}` of round {round} had nothing to do")
            }
            UnitEvent::GateOpened { gate } => {
                format!(
                    "a person is asked: {}",
                    one_line(&gate.sentence(), TEXT_CHARS_MAX)
                )
            }
            UnitEvent::GateDecided { approved: true, .. } => "a person approved it".to_owned(),
            UnitEvent::GateDecided { message, .. } => with_text("a person rejected it", message.as_deref()),
            UnitEvent::UnitApproved { generation, head, .. } => {
                format!("{} was approved (generation {generation})", head.commit.short())
            }
            UnitEvent::UnitPublished => "its document is there".to_owned(),
            UnitEvent::UnitEvicted { reason, sentence } => {
                with_text(&format!("it left the run, {reason}"), Some(sentence))
            }
            UnitEvent::UnitBlocked { on } => format!("`{on}`, which it needs, will not land"),
            UnitEvent::UnitUnblocked => "what it needs is under way again".to_owned(),
            UnitEvent::UnitRetried { note } => with_text("a person let it start afresh", note.as_deref()),
            UnitEvent::UnitResolved { head, .. } => {
                format!("a person repaired it as {}", head.commit.short())
            }
            UnitEvent::UnitKept { commit, from } => {
                format!("run {from} landed it from the same inputs, as {}", commit.short())
            }
            UnitEvent::UnitRestored { .. } => "what git proves of it was taken over".to_owned(),
            UnitEvent::UnitDiscarded => "a person gave it up".to_owned(),
        })
    }

    /// The attempt that has just ended is the latest of the view's that has.
    fn attempt_ended(&self, outcome: Outcome) -> Option<String> {
        let unit = self.view.unit(self.unit)?;
        let ended = unit
            .attempts
            .iter()
            .filter(|attempt| attempt.finished_at.is_some());
        let attempt = ended.max_by_key(|attempt| attempt.finished_at)?;
        let name = format!(
            "`{}` (round {}, attempt {})",
            attempt.stage, attempt.round, attempt.attempt
        );
        let said = attempt.verdict.as_ref().or(attempt.detail.as_ref());
        let how = if attempt.moot {
            "ended, and nobody waited for it any more"
        } else if outcome == Outcome::Ok {
            "ended"
        } else {
            outcome_word(outcome)
        };
        Some(with_text(&format!("{name} {how}"), said.map(String::as_str)))
    }

    fn of_queue(&self, event: &QueueEvent, verified: &[UnitId], had_candidate: bool) -> Option<String> {
        let is_it = |unit: &UnitId| unit == self.unit;
        match event {
            QueueEvent::VerifyEnded { evidence, reused, .. } if verified.contains(self.unit) => {
                Some(verify_ended(evidence, *reused))
            }
            QueueEvent::Landed { units, .. } => {
                let landed = units.iter().find(|landed| is_it(&landed.unit));
                landed
                    .map(|landed| format!("it landed as {}", landed.commit.short()))
                    .or_else(|| self.landed_before(units))
            }
            QueueEvent::CandidateBuilt { candidate } => {
                let member = candidate.units.iter().find(|member| is_it(&member.unit))?;
                let (commit, base) = (member.commit.short(), candidate.base.short());
                Some(format!("it was put onto {base}, as {commit}"))
            }
            QueueEvent::VerifyStarted {
                purpose: VerifyPurpose::Candidate,
                fence,
                ..
            } => {
                let about = self.view.queue().units_of_run(*fence);
                about.contains(self.unit).then(|| "its checks began".to_owned())
            }
            QueueEvent::LandRefused { cause, .. } if had_candidate => Some(refused(cause)),
            QueueEvent::TargetMoved { to, .. } if had_candidate && !self.has_candidate() => Some(format!(
                "somebody else moved the target to {}; it is put onto that, free of charge",
                to.short()
            )),
            QueueEvent::BaseRed { check, .. } if self.is_in_line() => {
                let check = one_line(check, TEXT_CHARS_MAX);
                Some(format!(
                    "the check `{check}` fails on the target itself; everybody waits"
                ))
            }
            _ => self.of_entry(event).or_else(|| self.word_of_person(event)),
        }
    }

    /// A landing of somebody else whom the unit needs.
    fn landed_before(&self, units: &[crate::event::LandedUnit]) -> Option<String> {
        let needs = &self.view.unit(self.unit)?.needs;
        let landed = units.iter().find(|landed| needs.contains(&landed.unit))?;
        Some(format!("`{}`, which it needs, landed", landed.unit))
    }

    /// What the queue says of this very entry.
    fn of_entry(&self, event: &QueueEvent) -> Option<String> {
        let (unit, sentence) = match event {
            QueueEvent::Enqueued {
                unit,
                generation,
                priority,
                ..
            } => (
                unit,
                format!("it joined the queue (generation {generation}, priority {priority})"),
            ),
            QueueEvent::IntegrationFailed { unit, obstacle, .. } => {
                let paths: Vec<&str> = obstacle.conflicts().iter().map(|at| at.path.as_str()).collect();
                let place = if paths.is_empty() {
                    String::new()
                } else {
                    format!(": {}", paths.join(", "))
                };
                (
                    unit,
                    one_line(&format!("it could not be put there{place}"), TEXT_CHARS_MAX),
                )
            }
            QueueEvent::EntryHeld { unit, hold } => (
                unit,
                format!("it is held: {}", one_line(&hold.sentence(), TEXT_CHARS_MAX)),
            ),
            QueueEvent::EntryReleased { unit } => (unit, "it is held no more".to_owned()),
            QueueEvent::EntryCharged { unit, charge, reason } => {
                (unit, format!("it was charged {charge} of 200 ({reason})"))
            }
            QueueEvent::FlakeSeen { unit, check } => {
                let check = one_line(check, TEXT_CHARS_MAX);
                (
                    unit,
                    format!("the check `{check}` failed, then passed on the same tree"),
                )
            }
            QueueEvent::SentBack {
                unit,
                reason,
                evidence,
            } => (
                unit,
                format!(
                    "it went back to its author ({reason}): {}",
                    evidence_text(evidence)
                ),
            ),
            QueueEvent::EntryRaised { unit, priority, .. } => {
                (unit, format!("a person let it go next, with priority {priority}"))
            }
            QueueEvent::SentToResolve { unit, conflicts, .. } => (
                unit,
                format!("its author is to resolve it: {}", conflict_sentence(conflicts)),
            ),
            QueueEvent::EntryLeft { unit, end } => (unit, left(end)),
            QueueEvent::BatchSplit { units, .. } if units.contains(self.unit) => (
                self.unit,
                "its batch failed, and is verified in halves".to_owned(),
            ),
            QueueEvent::StepPanicked {
                units, step, message, ..
            } if units.contains(self.unit) => (
                self.unit,
                with_text(&format!("{} the program panicked", step.doing()), Some(message)),
            ),
            _ => return None,
        };
        (unit == self.unit).then_some(sentence)
    }

    /// What a person said to the whole queue, while it concerns the unit.
    fn word_of_person(&self, event: &QueueEvent) -> Option<String> {
        let sentence = match event {
            QueueEvent::QueuePaused => "a person paused the run".to_owned(),
            QueueEvent::QueueResumed => "a person lifted the pause".to_owned(),
            QueueEvent::QueueFrozen { below } => format!("a person froze the queue below priority {below}"),
            QueueEvent::QueueStalled { since } if self.is_in_line() => {
                format!(
                    "an alarm: nothing had landed since {}",
                    since.strftime("%H:%M:%S")
                )
            }
            QueueEvent::QueueThawed => "a person lifted the freeze".to_owned(),
            QueueEvent::SafetyStop { sentence, .. } => {
                format!("the queue stopped: {}", one_line(sentence, TEXT_CHARS_MAX))
            }
            _ => return None,
        };
        (!self.has_ended()).then_some(sentence)
    }
}

fn verify_ended(evidence: &Evidence, reused: bool) -> String {
    if reused {
        return "earlier evidence for the same tree stood in for its checks".to_owned();
    }
    match evidence.first_failure() {
        None => format!("its checks ended: {}", evidence_text(evidence)),
        Some(failed) if failed.outcome == CheckOutcome::Interrupted => {
            "its checks were interrupted; they are run again, free of charge".to_owned()
        }
        Some(failed) => format!(
            "its checks ended: {} {}",
            one_line(&failed.name, TEXT_CHARS_MAX),
            check_word(failed.outcome)
        ),
    }
}

fn refused(cause: &LandRefusal) -> String {
    match cause {
        LandRefusal::BaseMoved { tip } => {
            format!("the target moved to {} before the landing", tip.short())
        }
        LandRefusal::TargetDirty { paths, .. } => {
            let paths = one_line(&paths.join(", "), TEXT_CHARS_MAX);
            format!("uncommitted work was in the way of the landing: {paths}")
        }
        LandRefusal::PushRejected { words } => {
            with_text("the repository did not let the target move", Some(words))
        }
    }
}

fn left(end: &EntryEnd) -> String {
    match end {
        EntryEnd::AlreadyLanded => "everything it brings was on the target already".to_owned(),
        EntryEnd::Evicted { reason, sentence, .. } => {
            with_text(&format!("it left the queue, {reason}"), Some(sentence))
        }
        EntryEnd::Cancelled => "a person took it out of the queue".to_owned(),
    }
}

/// A sentence with what somebody said, if they did.
fn with_text(sentence: &str, text: Option<&str>) -> String {
    match text.filter(|text| !text.is_empty()) {
        Some(text) => format!("{sentence}: {}", one_line(text, TEXT_CHARS_MAX)),
        None => sentence.to_owned(),
    }
}
