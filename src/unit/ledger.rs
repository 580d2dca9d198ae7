//! The ledger of a unit's findings: stable ids, states, who may close what.
//!
//! Invariants: an id is never given twice, also not after a retry of the unit; a finding is closed only by a stage
//! that reported it. What an author says about a finding is kept apart from the entry, so that an entry can be
//! shown to a judge as it is.

use std::collections::{BTreeMap, BTreeSet};

use crate::event::{LedgerRow, LedgerRowState, LineRange, ReportedFinding, Resolution, ResolutionAction};
use crate::id::StageName;
use crate::spec::{Severity, Stage};

/// Who brought a finding up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Source {
    /// A review.
    Review,
    /// An approve stage that rejected the work, or the person behind it.
    Approve,
    /// A person who did not agree to what a guard found.
    Guard,
}

/// What became of a finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FindingState {
    /// Reported once.
    New,
    /// Confirmed on a later head.
    Persists,
    /// Gone, as the stage that reported it says.
    Resolved,
    /// Back after it was gone, or after a dispute about it was lost.
    Reopened,
    /// Held to be wrong by the author; the approve stage decides.
    Disputed,
    /// Left for later by the author; the approve stage decides.
    Deferred,
}

impl FindingState {
    /// The word used in output.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Persists => "persists",
            Self::Resolved => "resolved",
            Self::Reopened => "reopened",
            Self::Disputed => "disputed",
            Self::Deferred => "deferred",
        }
    }

    /// Whether the author has passed it on to the approve stage.
    pub fn awaits_judge(self) -> bool {
        match self {
            Self::Disputed | Self::Deferred => true,
            Self::New | Self::Persists | Self::Resolved | Self::Reopened => false,
        }
    }
}

/// One finding, without anything an author said about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LedgerEntry {
    /// `F-<n>`.
    pub id: String,
    /// Path from the repository root; empty when it is about the work as a whole.
    pub file: String,
    /// First line, from 1.
    pub line: Option<u32>,
    /// Last line.
    pub end_line: Option<u32>,
    /// How bad it is.
    pub severity: Severity,
    /// How sure the reviewer is, 0–100; of merged reports the highest.
    pub confidence: u8,
    /// One line.
    pub title: String,
    /// The whole explanation.
    pub detail: String,
    /// What to do about it.
    pub suggestion: Option<String>,
    /// What brought it up.
    pub source: Source,
    /// Stages that reported it; each may close it.
    pub reporters: BTreeSet<StageName>,
    /// Agents that reported it.
    pub agents: BTreeSet<String>,
    /// What became of it.
    pub state: FindingState,
    /// Whether it stands in the way while it is open.
    pub blocks: bool,
    /// Recorded only, because it was new on lines the fix did not touch.
    pub note_only: bool,
    /// The try of the unit it belongs to; entries of earlier tries are history.
    pub try_number: u32,
    /// The round it was first reported in.
    pub opened: u32,
    /// The last round that confirmed it.
    pub seen: u32,
    /// The round in which a reporter last called it resolved.
    pub closed: Option<u32>,
    /// How often a later round confirmed it while it blocked.
    pub persisted: u32,
}

impl LedgerEntry {
    /// Neither gone nor of an earlier try.
    pub fn is_open(&self, try_number: u32) -> bool {
        self.try_number == try_number && self.state != FindingState::Resolved
    }

    fn is_same_issue(&self, finding: &ReportedFinding) -> bool {
        self.source == Source::Review
            && self.file == finding.file
            && self.title.trim().eq_ignore_ascii_case(finding.title.trim())
            && overlap(
                lines(self.line, self.end_line),
                lines(finding.line, finding.end_line),
            )
    }
}

/// The findings of a unit.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Ledger {
    entries: Vec<LedgerEntry>,
    claims: BTreeMap<String, Resolution>,
    notes: Vec<String>,
}

/// One member's answer in a review, as the ledger takes it in.
pub(super) struct Report<'a> {
    pub(super) agent: Option<&'a str>,
    pub(super) findings: &'a [ReportedFinding],
    pub(super) rows: &'a [LedgerRow],
}

/// What a review's findings are measured by.
pub(super) struct Measure<'a> {
    pub(super) stage: &'a Stage,
    pub(super) try_number: u32,
    pub(super) round: u32,
    /// Lines the fix touched, when the review has judged an earlier head.
    pub(super) converging: Option<&'a [LineRange]>,
}

impl Ledger {
    /// All findings in the order of their ids, those of earlier tries included.
    pub fn entries(&self) -> &[LedgerEntry] {
        &self.entries
    }

    /// What the author last said about a finding. Never for a reviewer's eyes.
    pub fn claim(&self, id: &str) -> Option<&Resolution> {
        self.claims.get(id)
    }

    /// Contradictions and merges worth telling, as sentences.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    pub(super) fn note(&mut self, sentence: String) {
        self.notes.push(sentence);
    }

    pub(super) fn open(&self, try_number: u32) -> impl Iterator<Item = &LedgerEntry> {
        self.entries.iter().filter(move |entry| entry.is_open(try_number))
    }

    /// The findings a review is shown in a round: open ones it reported. One that another reporter closed in the
    /// same round stays among them, so that what a review must answer does not depend on who is faster.
    pub(super) fn shown_to<'a>(
        &'a self,
        review: &'a StageName,
        try_number: u32,
        round: u32,
    ) -> impl Iterator<Item = &'a LedgerEntry> {
        self.entries.iter().filter(move |entry| {
            let open = entry.is_open(try_number) || entry.closed == Some(round);
            open && entry.try_number == try_number && entry.reporters.contains(review)
        })
    }

    /// Takes in the answers of all members of a review. Whatever order they arrived in, the result is the same.
    pub(super) fn take_review(&mut self, measure: &Measure<'_>, reports: &[Report<'_>]) {
        let shown: Vec<String> = self
            .shown_to(&measure.stage.name, measure.try_number, measure.round)
            .map(|entry| entry.id.clone())
            .collect();
        let mut confirmed = BTreeSet::new();
        for report in reports {
            for finding in report.findings {
                let id = self.take_finding(measure, report.agent, finding, &shown);
                confirmed.insert(id);
            }
        }
        for id in shown {
            let rows = || {
                reports
                    .iter()
                    .flat_map(|report| report.rows)
                    .filter(|row| row.id == id)
            };
            let persists = rows().any(|row| row.state == LedgerRowState::Persists);
            if confirmed.contains(&id) {
                if rows().any(|row| row.state == LedgerRowState::Resolved) {
                    self.note(format!(
                        "{} called {id} resolved and reported it again; it stays open.",
                        measure.stage.name
                    ));
                }
            } else if persists {
                self.confirm(&id, measure.round);
            } else if let Some(entry) = self.entry_mut(&id).filter(|entry| entry.seen != measure.round) {
                // Another of its reporters that still sees it in this round keeps it open, whoever came first.
                entry.state = FindingState::Resolved;
                entry.closed = Some(measure.round);
            }
        }
    }

    fn take_finding(
        &mut self,
        measure: &Measure<'_>,
        agent: Option<&str>,
        finding: &ReportedFinding,
        shown: &[String],
    ) -> String {
        let named = finding.id.as_ref().filter(|id| shown.contains(id)).cloned();
        let known = named.or_else(|| {
            self.entries
                .iter()
                .find(|entry| entry.try_number == measure.try_number && entry.is_same_issue(finding))
                .map(|entry| entry.id.clone())
        });
        let id = known.unwrap_or_else(|| self.add_reported(measure, finding));
        self.confirm(&id, measure.round);
        let stage = measure.stage;
        let round = measure.round;
        let entry = self.entry_mut(&id).expect("the entry was found or added");
        if entry.opened == round {
            entry.severity = entry.severity.max(finding.severity);
            entry.confidence = entry.confidence.max(finding.confidence);
        } else {
            entry.severity = finding.severity;
            entry.confidence = finding.confidence;
        }
        let over = entry.severity >= stage.block_on && entry.confidence >= stage.min_confidence;
        let held_back = entry.note_only && entry.severity < Severity::Blocker;
        // Another stage's lower bar may already have made it block in this round.
        let kept = entry.blocks && entry.seen == round && !entry.reporters.contains(&stage.name);
        entry.blocks = kept || (over && !held_back);
        entry.reporters.insert(stage.name.clone());
        entry.agents.extend(agent.map(str::to_owned));
        id
    }

    fn add_reported(&mut self, measure: &Measure<'_>, finding: &ReportedFinding) -> String {
        let untouched = measure
            .converging
            .is_some_and(|touched| !touches(touched, finding));
        self.add(LedgerEntry {
            id: String::new(),
            file: finding.file.clone(),
            line: finding.line,
            end_line: finding.end_line,
            severity: finding.severity,
            confidence: finding.confidence,
            title: finding.title.clone(),
            detail: finding.detail.clone(),
            suggestion: finding.suggestion.clone(),
            source: Source::Review,
            reporters: BTreeSet::new(),
            agents: BTreeSet::new(),
            state: FindingState::New,
            blocks: false,
            note_only: untouched,
            try_number: measure.try_number,
            opened: measure.round,
            seen: measure.round,
            closed: None,
            persisted: 0,
        })
    }

    /// Records that the work as a whole was rejected.
    pub(super) fn take_rejection(
        &mut self,
        source: Source,
        stage: Option<&StageName>,
        reason: &str,
        (try_number, round): (u32, u32),
    ) {
        let known = self
            .open(try_number)
            .find(|entry| entry.source == source && entry.reporters.first() == stage)
            .map(|entry| entry.id.clone());
        if let Some(id) = known {
            self.confirm(&id, round);
            let entry = self.entry_mut(&id).expect("the entry was found");
            entry.state = FindingState::Persists;
            reason.clone_into(&mut entry.detail);
            return;
        }
        let title = match source {
            Source::Review | Source::Approve => "The work was rejected",
            Source::Guard => "A person did not agree to what a guard found",
        };
        self.add(LedgerEntry {
            id: String::new(),
            file: String::new(),
            line: None,
            end_line: None,
            severity: Severity::Blocker,
            confidence: 100,
            title: title.to_owned(),
            detail: reason.to_owned(),
            suggestion: None,
            source,
            reporters: stage.into_iter().cloned().collect(),
            agents: BTreeSet::new(),
            state: FindingState::New,
            blocks: true,
            note_only: false,
            try_number,
            opened: round,
            seen: round,
            closed: None,
            persisted: 0,
        });
    }

    /// Records what an author says; only where a judge is there to decide does it take the finding out of the way.
    pub(super) fn take_resolutions(&mut self, resolutions: &[Resolution], judged: bool, try_number: u32) {
        for resolution in resolutions {
            let Some(entry) = self
                .entries
                .iter_mut()
                .find(|entry| entry.id == resolution.finding && entry.is_open(try_number))
            else {
                continue;
            };
            match resolution.action {
                ResolutionAction::Fixed => {}
                ResolutionAction::Disputed if judged => entry.state = FindingState::Disputed,
                ResolutionAction::Deferred if judged => entry.state = FindingState::Deferred,
                ResolutionAction::Disputed | ResolutionAction::Deferred => {}
            }
            self.claims.insert(resolution.finding.clone(), resolution.clone());
        }
    }

    /// The judge did not accept what the author passed on: it stands in the way again.
    pub(super) fn refuse_disputes(&mut self, try_number: u32, round: u32) {
        for entry in &mut self.entries {
            if entry.is_open(try_number) && entry.state.awaits_judge() {
                entry.state = FindingState::Reopened;
                entry.seen = round;
            }
        }
    }

    /// Closes what a source brought up about the work as a whole; `stage` narrows it to one reporter.
    pub(super) fn close_rejections(&mut self, source: Source, stage: Option<&StageName>, try_number: u32) {
        for entry in &mut self.entries {
            let reported = stage.is_none_or(|stage| entry.reporters.contains(stage));
            if entry.is_open(try_number) && entry.source == source && reported {
                entry.state = FindingState::Resolved;
            }
        }
    }

    fn confirm(&mut self, id: &str, round: u32) {
        let Some(entry) = self.entry_mut(id) else { return };
        if entry.opened != round && entry.seen != round {
            entry.persisted += u32::from(entry.blocks);
        }
        if entry.opened != round {
            entry.state = match entry.state {
                FindingState::Resolved | FindingState::Reopened => FindingState::Reopened,
                FindingState::New | FindingState::Persists => FindingState::Persists,
                FindingState::Disputed => FindingState::Disputed,
                FindingState::Deferred => FindingState::Deferred,
            };
        }
        entry.seen = round;
    }

    fn add(&mut self, mut entry: LedgerEntry) -> String {
        let id = format!("F-{}", self.entries.len() + 1);
        entry.id.clone_from(&id);
        self.entries.push(entry);
        id
    }

    fn entry_mut(&mut self, id: &str) -> Option<&mut LedgerEntry> {
        self.entries.iter_mut().find(|entry| entry.id == id)
    }
}

/// First and last line; `None` is the whole file.
fn lines(line: Option<u32>, end_line: Option<u32>) -> Option<(u32, u32)> {
    let first = line?;
    let last = end_line.unwrap_or(first);
    Some((first.min(last), first.max(last)))
}

fn overlap(one: Option<(u32, u32)>, other: Option<(u32, u32)>) -> bool {
    match (one, other) {
        (Some((first, last)), Some((other_first, other_last))) => first <= other_last && other_first <= last,
        (None, _) | (_, None) => true,
    }
}

fn touches(touched: &[LineRange], finding: &ReportedFinding) -> bool {
    touched.iter().any(|range| {
        // Lines that were only removed touch the two lines that now meet there.
        let changed = (range.first.min(range.last), range.first.max(range.last));
        range.file == finding.file && overlap(Some(changed), lines(finding.line, finding.end_line))
    })
}
