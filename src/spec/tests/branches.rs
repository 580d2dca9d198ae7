//! Units that bring a branch.

use super::{Fake, HEAD, expect_one, render, unit, with_head};
use crate::spec::load;
use crate::spec::model::FromBranch;

fn around_branch(rest: &str) -> crate::spec::Loaded {
    let around = Fake {
        branches: vec!["feature/x".to_owned()],
        ..Fake::default()
    };
    load("rfc.yaml", &format!("{HEAD}{rest}"), None, &around)
}

#[test]
fn a_branch_stands_in_for_a_prompt_and_may_have_one_beside_it() {
    for (keys, prompt) in [
        (
            "from_branch: feature/x",
            "The work is there: the commits of the branch `feature/x` are to land.",
        ),
        ("from_branch: feature/x, prompt: look at it", "look at it"),
        ("from_branch: origin/feature/x, prompt: look at it", "look at it"),
    ] {
        let loaded = around_branch(&format!("units: {{one: {{title: 'feat: one', {keys}}}}}\n"));
        assert!(loaded.diagnostics.is_empty(), "{}", render(&loaded.diagnostics));
        let unit = &loaded.pipeline.unwrap().units[0];
        assert_eq!(unit.prompt, prompt);
        assert!(unit.from_branch.as_ref().is_some_and(|branch| branch.review));
    }
}

#[test]
fn a_branch_that_is_not_there_is_a_warning_because_a_run_may_have_taken_it_in() {
    let loaded = around_branch(&unit("from_branch: feature/y"));
    expect_one(&loaded, "unknown_branch", 5, "git branch --all");
}

#[test]
fn what_git_would_read_as_more_than_a_branch_is_refused() {
    for name in [
        "HEAD~1", "a..b", "'@{u}'", "a b", "'-d'", "'x:y'", "a//b", "x.lock", "'@'",
    ] {
        expect_one(
            &with_head(&unit(&format!("from_branch: {name}"))),
            "bad_text",
            5,
            "git branch --all",
        );
    }
}

#[test]
fn an_exploring_tier_has_nothing_to_do_with_a_branch() {
    let tier = "tiers: {look: {research: {kind: prepare, agent: author}}}\n";
    let loaded = around_branch(&(unit("from_branch: feature/x, tier: look") + tier));
    expect_one(&loaded, "conflicting_keys", 5, "tier: small");
}

#[test]
fn a_pipeline_without_a_branch_is_frozen_as_it_always_was() {
    let pipeline = with_head(super::UNIT).pipeline.unwrap();
    let unit = serde_json::to_value(&pipeline.units[0]).unwrap();
    assert!(unit.get("from_branch").is_none(), "so that runs keep their hash");
    let mut unit = pipeline.units[0].clone();
    unit.from_branch = Some(FromBranch {
        name: "x".to_owned(),
        review: false,
    });
    let text = serde_json::to_string(&unit).unwrap();
    assert_eq!(serde_json::from_str::<crate::spec::Unit>(&text).unwrap(), unit);
}
