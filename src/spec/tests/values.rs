//! One test or more for each code about values, files, units and the world around the file.

use super::{Fake, HEAD, UNIT, expect_one, loaded, render, unit, with_head};
use crate::spec::load;

#[test]
fn a_program_must_be_found() {
    let text = |program: &str| loaded(&format!("{HEAD}{UNIT}").replace("[sh, a]", program));
    expect_one(&text("[nope]"), "program_not_found", 3, "install it");
    expect_one(&text("[./nope.sh]"), "program_not_found", 3, "executable");
    expect_one(&text("['sh a']"), "program_not_found", 3, "item of its own");
}

#[test]
fn durations_have_units() {
    for (written, help) in [
        ("10", "`10s` or `10m`"),
        ("soon", "`90s`"),
        ("0s", "`90s`"),
        ("10 m", "`90s`"),
    ] {
        expect_one(
            &with_head(&format!("{UNIT}limits: {{idle_timeout: {written}}}\n")),
            "bad_duration",
            6,
            help,
        );
    }
}

#[test]
fn numbers_have_bounds() {
    expect_one(
        &with_head(&format!("{UNIT}limits: {{parallel: 0}}\n")),
        "bad_number",
        6,
        "from 1 to 1000",
    );
    expect_one(
        &with_head(&format!("{UNIT}limits: {{budget_usd: -1}}\n")),
        "bad_number",
        6,
        "not negative",
    );
    expect_one(
        &with_head(&format!(
            "{UNIT}workspace: {{port_base: 65000, port_range: 1000}}\n"
        )),
        "bad_number",
        6,
        "536 ports",
    );
}

#[test]
fn patterns_must_parse_and_stay_inside() {
    expect_one(
        &with_head(&unit("paths: ['src/[z-a]']")),
        "bad_glob",
        5,
        ".gitignore",
    );
    expect_one(
        &with_head(&unit("paths: ['../x/**']")),
        "outside_repository",
        5,
        "without `..`",
    );
}

#[test]
fn templates_are_rendered_and_their_own_span_is_underlined() {
    let loaded = with_head(&format!(
        "{UNIT}workspace: {{env: {{DIR: \"a/{{{{ worktre }}}}\"}}}}\n"
    ));
    expect_one(&loaded, "template", 6, "`worktree`");
    let label = &loaded.diagnostics[0].labels[0];
    assert_eq!(label.len, "worktre".len(), "{}", render(&loaded.diagnostics));
    expect_one(
        &with_head(&format!("{UNIT}workspace: {{env: {{DIR: \"{{{{ run\"}}}}\n")),
        "template",
        6,
        "`run`",
    );
}

#[test]
fn ports_are_known_to_templates_and_unique() {
    let loaded = with_head(&format!(
        "{UNIT}workspace: {{ports: [PORT], env: {{URL: 'http://h:{{{{ PORT }}}}'}}}}\n"
    ));
    assert!(loaded.diagnostics.is_empty(), "{}", render(&loaded.diagnostics));
    expect_one(
        &with_head(&format!("{UNIT}workspace: {{ports: [A, A]}}\n")),
        "duplicate_name",
        6,
        "keep one",
    );
}

#[test]
fn checks_that_run_together_have_different_names() {
    expect_one(
        &with_head(&unit("checks: [{name: test, run: x}]")),
        "duplicate_name",
        5,
        "name of its own",
    );
}

#[test]
fn a_queue_without_checks_must_be_waived_in_writing() {
    let head = HEAD.replace("checks: [{name: test, run: make test}]\n", "");
    expect_one(&loaded(&format!("{head}{UNIT}")), "no_checks", 1, "verify: none");
    expect_one(
        &loaded(&format!("{head}{UNIT}checks: []\n")),
        "no_checks",
        5,
        "verify: none",
    );
    expect_one(
        &with_head(&format!("{UNIT}queue: {{verify: []}}\n")),
        "no_checks",
        6,
        "verify: none",
    );
    let waived = loaded(&format!("{head}{UNIT}queue: {{verify: none}}\n"));
    assert!(waived.diagnostics.is_empty(), "{}", render(&waived.diagnostics));
    let trivial = format!("{head}{}queue: {{verify: none}}\n", unit("tier: trivial"));
    expect_one(&loaded(&trivial), "no_checks", 4, "add a check");
}

#[test]
fn a_branch_must_not_stand_in_the_way() {
    for (branch, line) in [
        ("pipeline", 2),
        ("pipeline/demo", 2),
        ("pipeline/demo/one", 5),
        ("pipeline/demo/one/x", 5),
    ] {
        let around = Fake {
            branches: vec!["main".into(), branch.into()],
            ..Fake::default()
        };
        let loaded = load("rfc.yaml", &format!("{HEAD}{UNIT}"), None, &around);
        expect_one(&loaded, "branch_collision", line, branch);
    }
}

#[test]
fn named_files_are_read_from_inside_the_repository() {
    expect_one(
        &with_head(&format!("{UNIT}rfc: docs/x.md\n")),
        "unreadable_file",
        6,
        "repository root",
    );
    expect_one(
        &with_head(&format!("{UNIT}rfc: ../x.md\n")),
        "outside_repository",
        6,
        "without `..`",
    );
    expect_one(
        &with_head(&format!("{UNIT}rfc: /etc/passwd\n")),
        "outside_repository",
        6,
        "without `..`",
    );
    let text = "units: {one: {title: 'feat: x', prompt_file: gone.md}}\n";
    expect_one(&with_head(text), "unreadable_file", 5, "repository root");
}

#[test]
fn texts_say_something_in_one_line() {
    expect_one(
        &with_head("units: {one: {title: '', prompt: p}}\n"),
        "bad_text",
        5,
        "one line",
    );
    expect_one(
        &with_head("units: {one: {title: \"feat: a\\nb\", prompt: p}}\n"),
        "bad_text",
        5,
        "`\"feat: a b\"`",
    );
    expect_one(
        &with_head("units: {one: {title: 'feat: a', prompt: ' '}}\n"),
        "bad_text",
        5,
        "what is to be done",
    );
}

#[test]
fn a_unit_cannot_wait_for_one_that_is_not_enabled() {
    let text = "units:\n  a: {title: 'feat: a', prompt: p, enabled: false}\n  b: {title: 'feat: b', prompt: p, needs: [a]}\n";
    expect_one(&with_head(text), "disabled_need", 7, "enable `a`");
}

#[test]
fn overlapping_paths_are_an_error_or_a_warning_as_the_file_says() {
    let text = |overlap: &str, needs: &str| {
        with_head(&format!(
            "units:\n  a: {{title: 'feat: a', prompt: p, paths: ['src/**']}}\n  b: {{title: 'feat: b', prompt: p, paths: ['docs/**', 'src/x.rs'], needs: [{needs}]}}\noverlap: {overlap}\n"
        ))
    };
    expect_one(&text("error", ""), "overlap", 7, "needs: [a]");
    expect_one(&text("warn", ""), "overlap", 7, "needs: [a]");
    assert!(text("error", "a").diagnostics.is_empty());
    assert!(text("serialize", "").diagnostics.is_empty());
}

#[test]
fn paths_that_match_nothing_are_a_warning() {
    let around = Fake {
        tracked: vec!["src/main.rs".into(), "docs/a.md".into()],
        ..Fake::default()
    };
    let text = format!(
        "{HEAD}{}",
        unit("paths: ['src/**', '*.md', /src/main.rs, 'scr/**', '**/*.rs']")
    );
    let loaded = load("rfc.yaml", &text, None, &around);
    expect_one(&loaded, "unmatched_path", 5, "check the spelling");
    assert!(loaded.diagnostics[0].message.contains("scr/**"));
}

#[test]
fn a_written_budget_over_an_agent_without_price_is_a_warning() {
    let head = HEAD.replace(
        "model: a}",
        "model: a, price: {input_per_mtok: 1, output_per_mtok: 2}}",
    );
    let loaded = loaded(&format!("{head}{UNIT}limits: {{budget_usd: 3}}\n"));
    expect_one(&loaded, "unknown_cost", 3, "cost_usd");
    assert!(
        loaded.diagnostics[0]
            .message
            .contains("cannot be known unless it reports its cost")
    );
    assert!(
        with_head(&format!("{UNIT}limits: {{budget_usd: none}}\n"))
            .diagnostics
            .is_empty()
    );
}

#[test]
fn a_judge_with_the_authors_model_is_a_warning() {
    let text = format!("{HEAD}{UNIT}").replace("model: b", "model: a");
    expect_one(&loaded(&text), "same_model", 3, "another model");
    expect_one(
        &with_head(&unit("agent: reviewer")),
        "same_model",
        3,
        "another model",
    );
}

#[test]
fn a_title_that_is_not_conventional_is_told_what_it_becomes() {
    let loaded = with_head("units: {one: {title: add things, prompt: p}}\n");
    expect_one(&loaded, "title_convention", 5, "convention: none");
    assert!(loaded.diagnostics[0].labels[0].text.contains("feat: add things"));
    assert_eq!(loaded.pipeline.unwrap().units[0].title, "feat: add things");
}

#[test]
fn one_mistake_hides_no_other_and_causes_no_other() {
    let text = "units:\n  a: 5\n  b: {title: [5], prompt: p, paths: ['[z-a]'], needs: [a], agent: nobody}\n";
    let loaded = with_head(text);
    let found: Vec<_> = loaded
        .diagnostics
        .iter()
        .map(|found| (found.line().unwrap(), found.code))
        .collect();
    let expected = [
        (6, "wrong_type"),
        (7, "wrong_type"),
        (7, "bad_glob"),
        (7, "unknown_agent"),
    ];
    assert_eq!(found, expected, "{}", render(&loaded.diagnostics));
}

#[test]
fn a_template_that_yaml_misreads_is_told_once() {
    let loaded = with_head(&format!(
        "{UNIT}workspace:\n  env:\n    DIR: {{{{ worktree }}}}\n"
    ));
    expect_one(&loaded, "yaml_syntax", 8, "quote this: `DIR: \"{{ worktree }}\"`");
}
