//! One test or more for each code about the text, names and the shape of the graph: line and help.

use super::{HEAD, UNIT, expect_one, loaded, render, tier, unit, with_head};
use crate::spec::{CODES, explain};

#[test]
fn every_code_is_explained_and_sorted() {
    for code in CODES {
        assert!(explain(code).is_some_and(|text| text.len() > 30), "{code}");
    }
    assert!(CODES.is_sorted());
    assert_eq!(explain("nonsense"), None);
}

#[test]
fn every_code_that_is_reported_is_listed() {
    let sources = [
        include_str!("../decode.rs"),
        include_str!("../diagnostic.rs"),
        include_str!("../load.rs"),
        include_str!("../node.rs"),
        include_str!("../settings.rs"),
        include_str!("../tiers.rs"),
        include_str!("../units.rs"),
        include_str!("../warnings.rs"),
    ];
    for source in sources {
        for opener in [
            "Problem::error(\"",
            "Problem::warning(\"",
            "unknown(\"",
            "make(\"",
        ] {
            for rest in source.split(opener).skip(1) {
                let code = rest.split('"').next().unwrap();
                assert!(CODES.contains(&code), "{code}");
            }
        }
    }
}

#[test]
fn a_sound_file_has_no_diagnostic() {
    let loaded = with_head(UNIT);
    assert!(
        loaded.diagnostics.is_empty() && loaded.pipeline.is_some(),
        "{}",
        render(&loaded.diagnostics)
    );
}

#[test]
fn an_unquoted_colon_gets_the_corrected_line() {
    let loaded = with_head("units:\n  one:\n    title: feat(x): y\n    prompt: p\n");
    expect_one(&loaded, "yaml_syntax", 7, "`title: \"feat(x): y\"`");
}

#[test]
fn an_unquoted_pattern_gets_the_corrected_line() {
    let loaded =
        with_head("units:\n  one:\n    title: 'feat: y'\n    prompt: p\n    paths: [**/*.rs, src/a]\n");
    expect_one(&loaded, "yaml_syntax", 9, "`paths: [\"**/*.rs\", src/a]`");
}

#[test]
fn an_unquoted_template_gets_the_corrected_line() {
    let loaded = with_head(&format!(
        "{UNIT}workspace:\n  env:\n    DIR: {{{{ worktree }}}}\n"
    ));
    let rendered = render(&loaded.diagnostics);
    assert!(loaded.pipeline.is_none(), "{rendered}");
    assert!(rendered.contains("DIR: \"{{ worktree }}\""), "{rendered}");
    assert_eq!(loaded.diagnostics[0].line(), Some(8), "{rendered}");
}

#[test]
fn a_tab_or_an_open_bracket_is_a_syntax_error_with_a_place() {
    let loaded = with_head("units: {one: [\n");
    assert_eq!(loaded.diagnostics.len(), 1);
    assert_eq!(loaded.diagnostics[0].code, "yaml_syntax");
    assert!(loaded.diagnostics[0].line().is_some_and(|line| line >= 5));
}

#[test]
fn a_duplicate_key_shows_both_places() {
    let loaded = with_head(&format!("{UNIT}name: again\n"));
    expect_one(&loaded, "duplicate_key", 6, "keep one");
    assert_eq!(loaded.diagnostics[0].labels.len(), 2);
    assert_eq!(loaded.diagnostics[0].labels[1].text, "first here");
}

#[test]
fn an_unknown_key_gets_the_nearest_one() {
    expect_one(
        &with_head(&unit("promt: x")),
        "unknown_key",
        5,
        "did you mean `prompt`?",
    );
    expect_one(
        &with_head(&format!("{UNIT}limit: {{}}\n")),
        "unknown_key",
        6,
        "did you mean `limits`?",
    );
    expect_one(
        &with_head(&format!("{UNIT}queue: {{zzzzz: 1}}\n")),
        "unknown_key",
        6,
        "`strategy`",
    );
}

#[test]
fn free_keys_may_hold_anchors_and_merges() {
    let text =
        format!("{HEAD}x-base: &base {{prompt: do it}}\nunits: {{one: {{<<: *base, title: 'feat: one'}}}}\n");
    let loaded = loaded(&text);
    assert!(loaded.diagnostics.is_empty(), "{}", render(&loaded.diagnostics));
    assert_eq!(loaded.pipeline.unwrap().units[0].prompt, "do it");
}

#[test]
fn a_wrong_type_says_what_was_expected_and_found() {
    expect_one(
        &with_head(&unit("acceptance: works")),
        "wrong_type",
        5,
        "write `[works]`",
    );
    expect_one(
        &with_head(&unit("ticket: 12")),
        "wrong_type",
        5,
        "quote this: `\"12\"`",
    );
    expect_one(
        &with_head(&unit("may_change_tests: yes")),
        "wrong_type",
        5,
        "write `true`",
    );
}

#[test]
fn an_unknown_word_gets_the_nearest_one() {
    expect_one(
        &with_head(&format!("{UNIT}overlap: serialise\n")),
        "unknown_value",
        6,
        "did you mean `serialize`?",
    );
    expect_one(
        &with_head(&format!("{UNIT}queue: {{strategy: x}}\n")),
        "unknown_value",
        6,
        "`squash`",
    );
}

#[test]
fn a_missing_key_is_told_at_what_lacks_it() {
    expect_one(
        &with_head("units:\n  one:\n    prompt: p\n"),
        "missing_key",
        6,
        "add `title: …`",
    );
    expect_one(
        &with_head("units:\n  one:\n    title: 'feat: x'\n"),
        "missing_key",
        6,
        "prompt_file",
    );
    expect_one(
        &with_head(&format!("{UNIT}guards: {{}}\ndefaults: {{}}\n").replace("units", "x-u")),
        "missing_key",
        1,
        "units",
    );
    let no_agent = format!("version: 1\nname: demo\nchecks: [{{name: t, run: t}}]\n{UNIT}");
    expect_one(&loaded(&no_agent), "missing_key", 1, "agents:");
    let no_command = HEAD.replace("{command: [sh, a], model: a}", "{model: a}");
    expect_one(
        &loaded(&format!("{no_command}{UNIT}")),
        "missing_key",
        3,
        "command:",
    );
}

#[test]
fn what_is_not_built_is_refused_at_its_place() {
    let top = |rest: &str| with_head(&format!("{UNIT}{rest}\n"));
    for rest in [
        "github: {}",
        "notify: {}",
        "sandbox: {}",
        "land: pull-request",
        "workspace: {sparse: true}",
        "workspace: {cache: {}}",
        "workspace: {setup: [{run: x, scope: unit}]}",
        "tiers: {t: {implement: {template: x}, approve: {by: checks}}}",
        "tiers: {t: {implement: {network: false}, approve: {by: checks}}}",
    ] {
        expect_one(&top(rest), "not_supported", 6, "leave it out");
    }
    for key in [
        "issue: 1",
        "source: [a]",
        "contract: []",
        "land: never",
        "variants: {}",
        "pull_request: 1",
    ] {
        expect_one(&with_head(&unit(key)), "not_supported", 5, "leave it out");
    }
    for key in ["use: claude", "promote: true", "allow_tools: []"] {
        let text = HEAD.replace("model: a}", &format!("model: a, {key}}}"));
        expect_one(
            &loaded(&format!("{text}{UNIT}")),
            "not_supported",
            3,
            "leave it out",
        );
    }
    let text = HEAD.replace("run: make test", "run: make test, network: false");
    expect_one(
        &loaded(&format!("{text}{UNIT}")),
        "not_supported",
        4,
        "leave it out",
    );
}

#[test]
fn the_only_supported_values_are_accepted() {
    let loaded = with_head(&format!(
        "{UNIT}queue: {{window: auto, batch: 1, on_conflict: evict}}\nland: local\n"
    ));
    assert!(loaded.diagnostics.is_empty(), "{}", render(&loaded.diagnostics));
}

#[test]
fn waits_of_the_queue_are_durations_and_are_left_out_of_the_frozen_file_where_they_are_the_default() {
    let read = |written: &str| {
        let loaded = with_head(&format!("{UNIT}queue: {written}\n"));
        let queue = loaded.pipeline.expect("no error").queue;
        let frozen = serde_json::to_string(&queue).unwrap();
        assert_eq!(
            serde_json::from_str::<crate::spec::QueueSettings>(&frozen).unwrap(),
            queue
        );
        let alarm = (queue.stall_alarm.as_secs(), frozen.contains("stall_alarm"));
        (alarm, (queue.max_age.as_secs(), frozen.contains("max_age")))
    };
    let month = 30 * 24 * 3600;
    assert_eq!(read("{}"), ((1800, false), (month, false)));
    assert_eq!(
        read("{stall_alarm: 30m, max_age: 30d}"),
        ((1800, false), (month, false))
    );
    assert_eq!(
        read("{stall_alarm: 90s, max_age: 1h}"),
        ((90, true), (3600, true))
    );
    for (wrong, help) in [
        ("stall_alarm: soon", "30m"),
        ("max_age: soon", "30m"),
        ("max_age: 59s", "`1m` or more"),
    ] {
        expect_one(
            &with_head(&format!("{UNIT}queue: {{{wrong}}}\n")),
            "bad_duration",
            6,
            help,
        );
    }
}

#[test]
fn a_conflict_is_resolved_by_an_agent_unless_the_file_says_evict() {
    use crate::spec::OnConflict::{Agent, Evict};
    for (written, on_conflict, resolved) in [
        ("{}", Agent, 2),
        ("{on_conflict: agent, conflict_rounds: 5}", Agent, 5),
        ("{on_conflict: evict}", Evict, 0),
        ("{on_conflict: evict, conflict_rounds: 5}", Evict, 0),
    ] {
        let loaded = with_head(&format!("{UNIT}queue: {written}\n"));
        let queue = loaded.pipeline.expect("no error").queue;
        assert_eq!(
            (queue.on_conflict, queue.conflicts_resolved_max()),
            (on_conflict, resolved)
        );
    }
}

#[test]
fn a_breadth_is_auto_or_a_number_from_one() {
    use crate::spec::Breadth::{Auto, Fixed};
    for (written, window, batch) in [
        ("{}", Auto, Fixed(1)),
        ("{window: auto, batch: auto}", Auto, Auto),
        ("{window: 1, batch: 8}", Fixed(1), Fixed(8)),
    ] {
        let loaded = with_head(&format!("{UNIT}queue: {written}\n"));
        let queue = loaded.pipeline.expect("no error").queue;
        assert_eq!((queue.window, queue.batch), (window, batch), "{written}");
        let frozen = serde_json::to_string(&queue).unwrap();
        assert_eq!(
            serde_json::from_str::<crate::spec::QueueSettings>(&frozen).unwrap(),
            queue
        );
        assert!(
            written != "{}" || frozen == r#"{"strategy":"rebase"}"#,
            "{frozen}"
        );
    }
    for (written, code, help) in [
        ("{window: 0}", "bad_number", "from 1 to 1000"),
        ("{batch: -1}", "bad_number", "from 1 to 1000"),
        ("{window: wide}", "wrong_type", "`auto` or a whole number"),
        ("{batch: [2]}", "wrong_type", "`auto` or a whole number"),
    ] {
        expect_one(&with_head(&format!("{UNIT}queue: {written}\n")), code, 6, help);
    }
}

#[test]
fn another_version_is_refused() {
    let text = format!("{HEAD}{UNIT}").replace("version: 1", "version: 2");
    expect_one(&loaded(&text), "unsupported_version", 1, "`version: 1`");
}

#[test]
fn names_must_be_safe() {
    let name = |new: &str| loaded(&format!("{HEAD}{UNIT}").replace("name: demo", new));
    expect_one(&name("name: My Demo"), "bad_name", 2, "`my-demo`");
    expect_one(
        &with_head("units: {One: {title: 'feat: x', prompt: p}}"),
        "bad_name",
        5,
        "`one`",
    );
    expect_one(
        &with_head(&format!("{UNIT}workspace: {{ports: [2x]}}\n")),
        "bad_name",
        6,
        "letters",
    );
    expect_one(
        &with_head(&tier("checks: {kind: implement}, approve: {by: human}")),
        "bad_name",
        6,
        "choose another",
    );
    expect_one(
        &with_head(&format!("{UNIT}workspace: {{env: {{A B: x}}}}\n")),
        "bad_name",
        6,
        "letters",
    );
}

#[test]
fn names_that_nothing_has_get_the_nearest_one() {
    expect_one(
        &with_head(&unit("agent: reviever")),
        "unknown_agent",
        5,
        "`reviewer`",
    );
    expect_one(&with_head(&unit("tier: smal")), "unknown_tier", 5, "`small`");
    expect_one(&with_head(&unit("needs: [on]")), "unknown_unit", 5, "`one`");
    expect_one(
        &with_head(&format!("{UNIT}defaults: {{tier: larg}}\n")),
        "unknown_tier",
        6,
        "`large`",
    );
    expect_one(
        &with_head(&tier("implement: {}, approve: {needs: [implment]}")),
        "unknown_stage",
        6,
        "`implement`",
    );
    expect_one(
        &with_head(&tier("implement: {}, x: {kind: aprove}")),
        "unknown_kind",
        6,
        "`approve`",
    );
}

#[test]
fn a_built_in_tier_tells_which_agent_it_lacks_where_it_is_chosen() {
    expect_one(
        &with_head(&unit("tier: medium")),
        "unknown_agent",
        5,
        "add `planner` under `agents`",
    );
}

#[test]
fn a_stage_that_is_called_like_no_kind_needs_one() {
    expect_one(
        &with_head(&tier("implement: {}, audit: {}, approve: {}")),
        "missing_kind",
        6,
        "audit: {kind: review",
    );
    expect_one(
        &with_head(&tier("implemnt: {}, approve: {}")),
        "missing_kind",
        6,
        "did you mean `implement`?",
    );
}

#[test]
fn a_cycle_of_units_shows_the_whole_way_and_each_edge() {
    let text = "units:\n  a: {title: 'feat: a', prompt: p, needs: [c]}\n  b: {title: 'feat: b', prompt: p, needs: [a]}\n  c: {title: 'feat: c', prompt: p, needs: [b]}\n  d: {title: 'feat: d', prompt: p, needs: [c]}\n";
    let loaded = with_head(text);
    expect_one(&loaded, "cycle", 6, "remove one");
    assert_eq!(
        loaded.diagnostics[0].message,
        "units wait for one another: a → c → b → a"
    );
    assert_eq!(loaded.diagnostics[0].labels.len(), 3);
    expect_one(
        &with_head(&unit("needs: [one]")),
        "cycle",
        5,
        "cannot wait for itself",
    );
}

#[test]
fn a_cycle_of_stages_shows_the_whole_way() {
    let loaded = with_head(&tier(
        "implement: {needs: [approve]}, approve: {by: human, needs: [implement]}",
    ));
    expect_one(&loaded, "cycle", 6, "remove one");
    assert_eq!(
        loaded.diagnostics[0].message,
        "stages wait for one another: implement → approve → implement"
    );
}

#[test]
fn a_tier_needs_an_author_and_an_approval() {
    expect_one(
        &with_head(&tier("plan: {kind: prepare, agent: author}, approve: {}")),
        "no_author",
        6,
        "implement",
    );
    expect_one(&with_head(&tier("implement: {}")), "no_approval", 6, "by: checks");
}

#[test]
fn a_fix_needs_a_review_before_it() {
    expect_one(
        &with_head(&tier("implement: {}, fix: {needs: [implement]}, approve: {}")),
        "fix_without_review",
        6,
        "review above it",
    );
}

#[test]
fn author_stages_must_be_in_one_order() {
    let stages = "a: {kind: implement}, b: {kind: implement}, review: {needs: [a, b]}, approve: {}";
    expect_one(&with_head(&tier(stages)), "author_order", 6, "needs: [a]");
}

#[test]
fn a_judge_must_wait_for_what_it_judges() {
    expect_one(
        &with_head(&tier("implement: {}, review: {}, approve: {needs: [implement]}")),
        "early_judge",
        6,
        "add `review`",
    );
    expect_one(
        &with_head(&tier(
            "implement: {}, review: {needs: []}, approve: {needs: [implement, review]}",
        )),
        "early_judge",
        6,
        "needs: [implement]",
    );
}

#[test]
fn keys_belong_to_kinds() {
    expect_one(
        &with_head(&tier("implement: {min_confidence: 5}, approve: {}")),
        "misplaced_key",
        6,
        "leave it out",
    );
    expect_one(
        &with_head(&tier("implement: {by: human}, approve: {}")),
        "misplaced_key",
        6,
        "leave it out",
    );
    expect_one(
        &with_head(&tier("implement: {}, approve: {quorum: 1}")),
        "misplaced_key",
        6,
        "leave it out",
    );
}

#[test]
fn a_panel_must_be_able_to_reach_its_quorum() {
    expect_one(
        &with_head(&tier("implement: {}, approve: {panel: [author], quorum: 2}")),
        "bad_panel",
        6,
        "`quorum: 1`",
    );
    expect_one(
        &with_head(&tier("implement: {}, approve: {panel: []}")),
        "bad_panel",
        6,
        "at least",
    );
}

#[test]
fn a_thing_is_said_once() {
    expect_one(
        &with_head(&tier("implement: {}, approve: {agent: author, by: human}")),
        "conflicting_keys",
        6,
        "keep one",
    );
    expect_one(
        &with_head(&unit("prompt_file: x.md")),
        "conflicting_keys",
        5,
        "keep one",
    );
}
