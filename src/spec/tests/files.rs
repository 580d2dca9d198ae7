//! The files that are shipped load without a complaint.

use super::{Fake, loaded, render};
use crate::spec::model::{Performer, StageKind};
use crate::spec::{load, schema};

const MINIMAL: &str = include_str!("../../../pipelines/examples/minimal.yaml");
const SQLITE: &str = include_str!("../../../pipelines/examples/sqlite-per-worktree.yaml");
const NEON: &str = include_str!("../../../pipelines/examples/neon-branch.yaml");

#[test]
fn the_minimal_example_loads_and_only_warns_that_the_author_judges_itself() {
    let loaded = loaded(MINIMAL);
    let codes: Vec<_> = loaded.diagnostics.iter().map(|found| found.code).collect();
    assert_eq!(codes, ["same_model"], "{}", render(&loaded.diagnostics));
    assert_eq!(loaded.pipeline.unwrap().units[0].tier, "small");
}

#[test]
fn the_database_examples_load_without_a_diagnostic() {
    for text in [SQLITE, NEON] {
        let loaded = loaded(text);
        assert!(loaded.diagnostics.is_empty(), "{}", render(&loaded.diagnostics));
        assert!(loaded.pipeline.is_some());
    }
}

#[test]
fn every_built_in_tier_loads_with_one_agent() {
    let pipeline = loaded(MINIMAL).pipeline.unwrap();
    let names: Vec<_> = pipeline.tiers.keys().map(String::as_str).collect();
    assert_eq!(names, ["explore", "large", "medium", "small", "trivial"]);
    assert!(pipeline.tiers["explore"].is_explore());
    assert_eq!(
        pipeline.tiers["trivial"].stage("approve").unwrap().by,
        Performer::Checks
    );
}

#[test]
fn the_large_tier_waits_as_documented() {
    let pipeline = loaded(MINIMAL).pipeline.unwrap();
    let large = &pipeline.tiers["large"];
    let order: Vec<_> = large.stages.iter().map(|stage| stage.name.as_str()).collect();
    assert_eq!(
        order,
        [
            "research",
            "plan",
            "implement",
            "review",
            "audit",
            "security",
            "fix",
            "approve"
        ]
    );
    let needs = |name: &str| -> Vec<&str> {
        large
            .stage(name)
            .unwrap()
            .needs
            .iter()
            .map(crate::id::StageName::as_str)
            .collect()
    };
    assert_eq!(needs("implement"), ["plan"]);
    assert_eq!(needs("security"), ["implement"]);
    assert_eq!(needs("fix"), ["review", "audit", "security"]);
    assert_eq!(needs("approve"), ["fix"]);
    assert_eq!(large.stage("audit").unwrap().kind, StageKind::Review);
    let panel = Performer::Panel {
        agents: vec!["author".into(), "author".into()],
        quorum: 2,
    };
    assert_eq!(large.stage("approve").unwrap().by, panel);
}

#[test]
fn the_schema_knows_what_is_supported_and_nothing_else() {
    let schema = schema();
    assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
    assert_eq!(schema["additionalProperties"], false);
    assert!(schema["properties"]["units"].is_object());
    assert!(schema["properties"].get("github").is_none());
    let required: Vec<_> = schema["required"]
        .as_array()
        .unwrap()
        .iter()
        .map(|key| key.as_str().unwrap())
        .collect();
    assert_eq!(required, ["version", "name", "units"]);
    let unit = &schema["$defs"]["Unit"];
    assert!(unit["properties"].get("issue").is_none());
    assert_eq!(
        unit["properties"]["title"]["description"],
        "The title of its commit."
    );
    assert!(schema["$defs"]["Agent"]["properties"].get("use").is_some());
}

#[test]
fn the_file_wins_over_the_defaults_key_by_key() {
    let defaults = "limits: {parallel: 7, rounds: 9}\nagents: {author: {command: [npm]}, reviewer: {command: [sh, r]}}\nchecks: [{name: lint, run: lint}]\n";
    let text = MINIMAL.replace(
        "checks:\n  - {name: test, run: \"sh scripts/test.sh\"}",
        "limits: {rounds: 1}",
    );
    let loaded = load(
        "rfc.yaml",
        &text,
        Some((".pipeline/defaults.yaml", defaults)),
        &Fake::default(),
    );
    assert!(loaded.diagnostics.is_empty(), "{}", render(&loaded.diagnostics));
    let pipeline = loaded.pipeline.unwrap();
    assert_eq!((pipeline.limits.parallel, pipeline.limits.rounds), (7, 1));
    assert_eq!(pipeline.checks[0].name, "lint");
    let crate::spec::Adapter::Command { argv } = &pipeline.agents["author"].adapter;
    assert_eq!(argv[0], "sh");
    assert!(pipeline.agents.contains_key("reviewer"));
}

#[test]
fn a_mistake_in_the_defaults_is_told_in_that_file() {
    let defaults = "limits: {paralel: 7}\nunits: {}\n";
    let loaded = load(
        "rfc.yaml",
        MINIMAL,
        Some((".pipeline/defaults.yaml", defaults)),
        &Fake::default(),
    );
    let places: Vec<_> = loaded
        .diagnostics
        .iter()
        .filter(|found| found.code == "unknown_key")
        .collect();
    assert_eq!(places.len(), 2, "{}", render(&loaded.diagnostics));
    assert!(
        places
            .iter()
            .all(|found| found.file() == ".pipeline/defaults.yaml")
    );
}
