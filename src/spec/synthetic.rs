//! The stages that stand in no tier: what recovers a unit that conflicts with the target.
//!
//! The names are reserved, so that no tier of a file has them.

use std::collections::BTreeMap;

use super::model::{Agent, Performer, Severity, Stage, StageKind, Tier};

/// The stage in which a unit's author resolves a conflict with the target.
pub const RESOLVE: &str = "resolve";
/// The review of a resolved conflict in a tier that has no review.
pub const RESOLVE_REVIEW: &str = "resolve-review";
/// Least confidence at which a finding blocks, where nothing else is written.
pub const MIN_CONFIDENCE: u8 = 80;
/// Least severity at which a finding blocks, where nothing else is written.
pub const BLOCK_ON: Severity = Severity::Major;

/// What the built-in review is told beside the unit.
const REVIEW_INSTRUCTIONS: &str = "\
This work conflicted with changes that landed on the target meanwhile, and the conflict was resolved. The diff is what it
brings to the target as it is now. Look above all whether it undoes or drops anything of the target without being asked
to, and whether it still does all that the unit is about.";

impl Tier {
    /// The stage in which the author of a unit of this tier resolves a conflict; `None` where there is no author.
    pub fn resolve_stage(&self) -> Option<Stage> {
        let author = self.stages.iter().find(|stage| stage.kind.is_author())?;
        Some(synthetic(RESOLVE, StageKind::Fix, author.by.clone()))
    }

    /// Whether a stage of the tier reviews the work.
    pub fn has_review(&self) -> bool {
        self.stages.iter().any(|stage| stage.kind == StageKind::Review)
    }

    /// The review of a resolved conflict, where the tier has none: by the agent `reviewer`, else by the only one there
    /// is, else by the author's, which begins anew and knows nothing of the author's.
    pub fn resolve_review(&self, agents: &BTreeMap<String, Agent>) -> Option<Stage> {
        if self.has_review() {
            return None;
        }
        let author = self.stages.iter().find(|stage| stage.kind.is_author())?;
        let by = if agents.contains_key("reviewer") {
            Performer::Agent("reviewer".to_owned())
        } else {
            match agents.keys().next() {
                Some(only) if agents.len() == 1 => Performer::Agent(only.clone()),
                Some(_) | None => author.by.clone(),
            }
        };
        let mut review = synthetic(RESOLVE_REVIEW, StageKind::Review, by);
        review.prompt = Some(REVIEW_INSTRUCTIONS.to_owned());
        Some(review)
    }
}

fn synthetic(name: &str, kind: StageKind, by: Performer) -> Stage {
    Stage {
        name: name.parse().expect("a constant name is well-formed"),
        kind,
        by,
        needs: Vec::new(),
        focus: None,
        stance: None,
        min_confidence: MIN_CONFIDENCE,
        block_on: BLOCK_ON,
        prompt: None,
        retries: None,
        timeout: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tier(kinds: &[(&str, StageKind)]) -> Tier {
        let stage = |(name, kind): &(&str, StageKind)| {
            synthetic(name, *kind, Performer::Agent(format!("agent-of-{name}")))
        };
        Tier {
            stages: kinds.iter().map(stage).collect(),
        }
    }

    #[test]
    fn a_conflict_is_resolved_by_the_author_of_the_tier() {
        let of = |tier: &Tier| tier.resolve_stage().map(|stage| (stage.kind, stage.by));
        let small = tier(&[
            ("plan", StageKind::Prepare),
            ("implement", StageKind::Implement),
            ("fix", StageKind::Fix),
        ]);
        let author = Performer::Agent("agent-of-implement".to_owned());
        assert_eq!(of(&small), Some((StageKind::Fix, author)));
        assert_eq!(of(&tier(&[("plan", StageKind::Prepare)])), None);
    }

    #[test]
    fn the_built_in_review_stands_in_only_where_a_tier_has_none() {
        let agents = BTreeMap::new();
        let small = tier(&[("implement", StageKind::Implement), ("review", StageKind::Review)]);
        assert_eq!(small.resolve_review(&agents), None);
        let trivial = tier(&[("implement", StageKind::Implement)]);
        let review = trivial.resolve_review(&agents).unwrap();
        assert_eq!(review.kind, StageKind::Review);
        assert_eq!(review.by, Performer::Agent("agent-of-implement".to_owned()));
    }
}
