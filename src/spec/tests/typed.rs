//! What a sound file becomes.

use std::time::Duration;

use super::{Fake, HEAD, UNIT, loaded, render, with_head};
use crate::spec::load;
use crate::spec::model::{
    Convention, DependsOn, Overlap, Performer, Pipeline, Role, Severity, Strategy, Usd, Verify,
};

#[track_caller]
fn pipeline(rest: &str) -> Pipeline {
    let loaded = with_head(rest);
    assert!(loaded.pipeline.is_some(), "{}", render(&loaded.diagnostics));
    loaded.pipeline.unwrap()
}

#[test]
fn what_is_not_written_has_the_documented_default() {
    let p = pipeline(UNIT);
    let limits = &p.limits;
    assert_eq!((limits.parallel, limits.rounds, limits.retries), (3, 3, 2));
    assert_eq!(limits.stage_timeout, Duration::from_secs(3600));
    assert_eq!(limits.idle_timeout, Duration::from_secs(600));
    assert_eq!(limits.start_interval, Duration::from_secs(1));
    assert_eq!(
        (limits.budget, limits.unit_budget),
        (Usd::from_dollars(25.0), None)
    );
    assert_eq!((p.workspace.port_base, p.workspace.port_range), (4000, 1000));
    assert_eq!(p.queue.strategy, Strategy::Rebase);
    assert_eq!((p.verify, p.overlap), (Verify::Inherit, Overlap::Serialize));
    assert_eq!(
        (p.commit.convention, p.commit.signoff),
        (Convention::Conventional, false)
    );
    assert_eq!(
        (p.guards.files_max, p.guards.bytes_max, p.guards.paths_strict),
        (2000, 20_000_000, false)
    );
    assert_eq!(
        (p.checks[0].cwd.as_str(), p.checks[0].timeout),
        (".", Duration::from_secs(600))
    );
    assert_eq!(p.checks[0].depends_on, DependsOn::Tree);
    let unit = &p.units[0];
    assert_eq!(
        (unit.tier.as_str(), unit.priority, unit.may_change_tests),
        ("small", 0, false)
    );
    let review = p.tiers["small"].stage("review").unwrap();
    assert_eq!((review.min_confidence, review.block_on), (80, Severity::Major));
}

#[test]
fn resources_are_kept_once_for_a_unit_and_for_a_check() {
    let unit = "exclusive: [db, db, staging-db], checks: [{name: e2e, run: x, exclusive: [db]}]";
    let p = pipeline(&UNIT.replace("do it", &format!("do it, {unit}")));
    assert!(p.units[0].exclusive.iter().eq(["db", "staging-db"]));
    assert!(p.units[0].checks[0].exclusive.iter().eq(["db"]));
    assert!(p.checks[0].exclusive.is_empty());
}

#[test]
fn the_pipeline_file_and_what_checks_name_are_protected() {
    let around = Fake {
        tracked: vec!["scripts/t.sh".into(), "src/a".into()],
        ..Fake::default()
    };
    let text = format!("{HEAD}{UNIT}").replace("make test", "sh ./scripts/t.sh missing");
    let guards = load("rfc.yaml", &text, None, &around).pipeline.unwrap().guards;
    assert!(guards.protected_paths.contains(&"/rfc.yaml".to_owned()));
    assert!(guards.protected_paths.contains(&"/scripts/t.sh".to_owned()));
    assert!(guards.protected_paths.contains(&"CODEOWNERS".to_owned()));
    assert!(!guards.protected_paths.iter().any(|path| path.contains("missing")));
}

#[test]
fn units_keep_the_order_of_the_file_and_disabled_ones_are_left_out() {
    let p = pipeline(
        "units:\n  z: {title: 'feat: z', prompt: p}\n  m: {title: 'feat: m', prompt: p, enabled: false}\n  a: {title: 'feat: a', prompt: p, needs: [z]}\n",
    );
    let ids: Vec<_> = p.units.iter().map(|unit| unit.id.as_str()).collect();
    assert_eq!(ids, ["z", "a"]);
}

#[test]
fn stages_are_sorted_by_needs_with_ties_in_file_order() {
    let p = pipeline(&format!(
        "{UNIT}tiers: {{t: {{approve: {{by: human, needs: [b, a]}}, b: {{kind: review, needs: [implement]}}, a: {{kind: review, needs: [implement]}}, implement: {{}}}}}}\n"
    ));
    let order: Vec<_> = p.tiers["t"]
        .stages
        .iter()
        .map(|stage| stage.name.as_str())
        .collect();
    assert_eq!(order, ["implement", "b", "a", "approve"]);
}

#[test]
fn a_tier_of_the_file_replaces_a_built_in_one() {
    let p = pipeline(&format!(
        "{UNIT}tiers: {{small: {{implement: {{}}, approve: {{by: human}}}}}}\n"
    ));
    assert_eq!(p.tiers["small"].stages.len(), 2);
    assert_eq!(p.tiers["small"].stages[1].by, Performer::Human);
}

#[test]
fn an_approval_without_a_fix_waits_for_the_reviews() {
    let p = pipeline(&format!(
        "{UNIT}tiers: {{t: {{implement: {{}}, review: {{}}, approve: {{}}}}}}\n"
    ));
    assert_eq!(p.tiers["t"].stage("approve").unwrap().needs[0].as_str(), "review");
}

#[test]
fn steps_are_for_all_roles_unless_they_say() {
    let p = pipeline(&format!(
        "{UNIT}workspace: {{setup: [npm ci, {{run: seed, for: [check]}}]}}\n"
    ));
    assert_eq!(
        p.workspace.setup[0].roles,
        [Role::Author, Role::Check, Role::Judge]
    );
    assert_eq!(p.workspace.setup[1].roles, [Role::Check]);
}

#[test]
fn durations_money_and_sizes_are_read() {
    let p = pipeline(&format!(
        "{UNIT}limits: {{stage_timeout: 1h30m, budget_usd: none, unit_budget_usd: 0.5}}\nguards: {{max_bytes: 3 MiB, max_files: 7}}\n"
    ));
    assert_eq!(p.limits.stage_timeout, Duration::from_secs(5400));
    assert_eq!(
        (p.limits.budget, p.limits.unit_budget),
        (None, Usd::from_dollars(0.5))
    );
    assert_eq!((p.guards.bytes_max, p.guards.files_max), (3 << 20, 7));
}

#[test]
fn prompts_and_the_rfc_may_be_files() {
    let around = Fake {
        files: vec![("p.md", "do it"), ("rfc.md", "why")],
        ..Fake::default()
    };
    let text = format!("{HEAD}rfc: rfc.md\nunits: {{one: {{title: 'feat: a', prompt_file: p.md}}}}\n");
    let p = load("rfc.yaml", &text, None, &around).pipeline.unwrap();
    assert_eq!(
        (p.units[0].prompt.as_str(), p.rfc.unwrap().text.as_str()),
        ("do it", "why")
    );
}

#[test]
fn the_queue_may_have_checks_of_its_own() {
    let p = pipeline(&format!(
        "{UNIT}queue: {{strategy: squash, verify: [{{name: full, run: x}}]}}\n"
    ));
    assert!(matches!(&p.verify, Verify::Own(checks) if checks[0].name == "full"));
    assert_eq!(p.queue.strategy, Strategy::Squash);
}

#[test]
fn a_frozen_pipeline_reads_back_as_it_was() {
    let p = pipeline(UNIT);
    let text = serde_json::to_string(&p).unwrap();
    assert_eq!(serde_json::from_str::<Pipeline>(&text).unwrap(), p);
}

#[test]
fn a_rendered_diagnostic_shows_code_place_and_help() {
    let loaded = loaded(&format!("{HEAD}{}", UNIT.replace("prompt", "promt")));
    let rendered = render(&loaded.diagnostics);
    for part in [
        "pipeline::unknown_key",
        "rfc.yaml:5:",
        "did you mean `prompt`?",
        "a unit has no key `promt`",
    ] {
        assert!(rendered.contains(part), "{part}\n{rendered}");
    }
}
