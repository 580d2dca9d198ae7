//! The stage in which a unit's author resolves a conflict with the target: what the author is given, and what is made of
//! what it left.

use super::EngineError;
use super::attempt::{Attempt, Conclusion, PATCH_BYTES_MAX};
use super::interpret::{self, Account};
use crate::agent::{LandedWork, Packet};
use crate::event::{GuardAction, GuardHit, Head, Outcome, Reason, conflict_id, listed};
use crate::git::{IntegrateUnit, Resolved, Undone};
use crate::id::Oid;
use crate::port::MergeInPlace;
use crate::unit::OpenConflict;

impl Attempt {
    /// What is put into the worktree of an attempt that resolves a conflict.
    pub(super) fn merge_in_place(&self) -> Option<MergeInPlace> {
        let conflict = self.brief.conflict()?;
        Some(MergeInPlace {
            head: conflict.head.clone(),
            base: conflict.base.clone(),
        })
    }

    /// Both sides of a conflict, and who brought the other.
    pub(super) fn resolve_packet(
        &self,
        conflict: &OpenConflict,
        failures: &[String],
        note: Option<&String>,
    ) -> Result<Packet, EngineError> {
        let repository = &self.tools.repository;
        let paths: Vec<&str> = conflict.conflicts.iter().map(|at| at.path.as_str()).collect();
        let target = repository.diff_patch_of(&conflict.base, &conflict.onto, &paths, PATCH_BYTES_MAX)?;
        let is_other = |unit: &&crate::spec::Unit| {
            let mut conflicts = conflict.conflicts.iter();
            conflicts.any(|at| at.landed_by.as_ref() == Some(&unit.id))
        };
        let landed = self
            .pipeline
            .units
            .iter()
            .filter(is_other)
            .map(|unit| LandedWork {
                unit: unit.id.to_string(),
                title: unit.title.clone(),
                prompt: unit.prompt.clone(),
            });
        Ok(Packet::Resolve {
            diff: self.diff_of(&conflict.base, &conflict.head)?,
            target_diff: target.text,
            conflicts: conflict.conflicts.clone(),
            landed: landed.collect(),
            failures: failures.to_vec(),
            note: note.cloned(),
        })
    }
}

/// Lines quoted of each.
const LINES_QUOTED_MAX: usize = 5;
/// Longest quoted line, in characters.
const LINE_CHARS_MAX: usize = 80;

/// Refuses what undoes landed work outside the conflict's own hunks: in what resolves the conflict, and in every fix until
/// the unit is approved.
pub(super) fn taken_back(attempt: &Attempt, commit: &Oid) -> Result<Option<GuardHit>, EngineError> {
    let Some(conflict) = &attempt.recovers else {
        return Ok(None);
    };
    let undone = attempt.tools.repository.undone(&Resolved {
        old_base: &conflict.base,
        old_head: &conflict.head,
        new_base: &conflict.onto,
        result: commit,
        conflicts: &conflict.conflicts,
    })?;
    Ok((!undone.is_empty()).then(|| GuardHit {
        reason: Reason::DiffNotPreserved,
        action: GuardAction::Refuse,
        sentence: undone_sentence(&undone),
    }))
}

fn undone_sentence(undone: &[Undone]) -> String {
    let places: Vec<String> = undone.iter().map(place).collect();
    format!(
        "The work takes back what landed outside the conflict, in {}.",
        listed(&places)
    )
}

/// `lib.rs (landed as 1234567: -fn f(), +fn g())`.
fn place(undone: &Undone) -> String {
    let quoted: Vec<String> = undone
        .lines
        .iter()
        .take(LINES_QUOTED_MAX)
        .map(|line| {
            line.chars()
                .filter(|c| !c.is_control())
                .take(LINE_CHARS_MAX)
                .collect()
        })
        .collect();
    let landed = undone
        .landed_as
        .as_ref()
        .map_or_else(String::new, |commit| format!("landed as {}: ", commit.short()));
    format!("{} ({landed}{})", undone.path, quoted.join(", "))
}

/// The tree an author left of a conflict becomes the unit's one commit on the target's tip.
pub(super) fn work(
    attempt: &Attempt,
    conflict: &OpenConflict,
    tree: Oid,
    account: Account,
) -> Result<Conclusion, EngineError> {
    let repository = &attempt.tools.repository;
    if tree == repository.tree_of(&conflict.onto)? {
        return Ok(Conclusion::bare(
            Outcome::NoChange,
            "the author dropped the unit's whole change",
        ));
    }
    let unit = IntegrateUnit {
        head: conflict.head.clone(),
        base: conflict.base.clone(),
    };
    let as_it_was = tree == repository.conflicted(&conflict.onto, &unit)?.tree;
    let markers = repository.conflict_markers(&conflict.onto, &tree)?;
    // What leaves no markers may be right as git left it, and then the author says so of each conflict.
    let is_settled = |id: String| account.resolutions.iter().any(|said| said.finding == id);
    let settled = (0..conflict.conflicts.len()).map(conflict_id).all(is_settled);
    if as_it_was && !(markers.is_empty() && settled) {
        return Ok(Conclusion::bare(
            Outcome::NoChange,
            "the author left the conflict as it was",
        ));
    }
    if !markers.is_empty() {
        let told = format!("conflict markers are left in {}", markers.join(", "));
        return Ok(Conclusion::bare(Outcome::Failed, told));
    }
    let commit = interpret::commit_of(attempt, &tree)?;
    let hits = interpret::inspect_work(attempt, &commit)?;
    interpret::finished(attempt, Head { commit, tree }, account, hits, Vec::new())
}
