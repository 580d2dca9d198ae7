//! What a hostile or merely long file cannot do.

use std::time::{Duration, Instant};

use proptest::prelude::{any, proptest};

use super::{HEAD, UNIT, expect_one, loaded, render, with_head};

const FULL: &str = include_str!("../../../pipelines/examples/sqlite-per-worktree.yaml");

#[test]
fn ten_mistakes_are_ten_diagnostics_on_the_right_lines() {
    let text = "version: 1
name: Demo
target: 7
limits: {parallel: none, idle_timeout: 10}
agents:
  author: {command: [nowhere]}
checks: [{name: test, run: t, tiemout: 5m}]
units:
  a: {title: 'feat: a', prompt: p, needs: [bb]}
  b: {title: 'feat: b', prompt: p, tier: mediun}
  c: {title: 'feat: c'}
defaults: {tier: trivial}
land: pull-request
";
    let loaded = loaded(text);
    let found: Vec<_> = loaded
        .diagnostics
        .iter()
        .map(|found| (found.line().unwrap(), found.code))
        .collect();
    let expected = [
        (2, "bad_name"),
        (3, "wrong_type"),
        (4, "wrong_type"),
        (4, "bad_duration"),
        (6, "program_not_found"),
        (7, "unknown_key"),
        (9, "unknown_unit"),
        (10, "unknown_tier"),
        (11, "missing_key"),
        (13, "not_supported"),
    ];
    assert_eq!(found, expected, "{}", render(&loaded.diagnostics));
    assert!(loaded.pipeline.is_none());
}

#[test]
fn an_alias_bomb_is_refused_at_once() {
    let mut text = "x-a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..9 {
        let items = vec![format!("*a{}", level - 1); 10].join(", ");
        text.push_str(&format!("x-a{level}: &a{level} [{items}]\n"));
    }
    let start = Instant::now();
    let loaded = loaded(&format!("{text}{HEAD}{UNIT}"));
    assert_eq!(loaded.diagnostics.len(), 1, "{}", render(&loaded.diagnostics));
    assert_eq!(
        loaded.diagnostics[0].code,
        "alias_bomb",
        "{}",
        render(&loaded.diagnostics)
    );
    assert!(start.elapsed() < Duration::from_secs(10));
}

#[test]
fn deep_nesting_is_refused() {
    for text in [
        format!("a: {}", "[".repeat(100_000)),
        format!("a: {}{}", "[".repeat(60), "]".repeat(60)),
    ] {
        let loaded = loaded(&text);
        assert_eq!(
            loaded.diagnostics[0].code,
            "too_deep",
            "{}",
            render(&loaded.diagnostics)
        );
    }
}

#[test]
fn a_file_over_8_mib_is_refused_unread() {
    let text = format!("{HEAD}{UNIT}# {}\n", "x".repeat(8 << 20));
    expect_one(&loaded(&text), "too_large", 1, "split");
}

#[test]
fn more_than_a_hundred_problems_are_counted() {
    let mut text = "units:\n".to_owned();
    for unit in 0..150 {
        text.push_str(&format!(
            "  u{unit}: {{title: 'feat: a', prompt: p, needs: [nothing]}}\n"
        ));
    }
    let loaded = with_head(&text);
    assert_eq!(loaded.diagnostics.len(), 101);
    let last = loaded.diagnostics.last().unwrap();
    assert_eq!(
        (last.code, last.message.as_str()),
        ("too_many_problems", "50 more problems were left out")
    );
}

#[test]
fn ten_thousand_units_load_in_seconds_even_unoptimised() {
    let mut text = HEAD.to_owned();
    text.push_str("overlap: error\nunits:\n");
    for unit in 0..10_000 {
        let needs = if unit == 0 {
            String::new()
        } else {
            format!("u{}", unit - 1)
        };
        text.push_str(&format!("  u{unit}:\n    title: 'feat: unit {unit}'\n    prompt: do it\n    needs: [{needs}]\n    paths: ['src/u{unit}/**']\n"));
    }
    let start = Instant::now();
    let loaded = loaded(&text);
    assert!(
        loaded.diagnostics.is_empty(),
        "{}",
        render(&loaded.diagnostics[..1])
    );
    assert_eq!(loaded.pipeline.unwrap().units.len(), 10_000);
    let elapsed = start.elapsed();
    println!("{elapsed:?}");
    assert!(elapsed < Duration::from_secs(20), "{elapsed:?}");
}

#[test]
fn more_units_than_are_run_are_refused() {
    let mut text = "units:\n".to_owned();
    for unit in 0..20_001 {
        text.push_str(&format!("  u{unit}: {{title: t, prompt: p}}\n"));
    }
    expect_one(&with_head(&text), "too_large", 6, "split");
}

#[test]
fn an_empty_file_and_a_list_are_refused() {
    for text in ["", "# nothing\n", "- a\n", "text", "\u{feff}"] {
        let loaded = loaded(text);
        assert!(loaded.pipeline.is_none(), "{text:?}");
        assert!(!loaded.diagnostics.is_empty(), "{text:?}");
    }
}

proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig { cases: 200, failure_persistence: None, ..Default::default() })]

    #[test]
    fn no_text_makes_it_panic(text in "[a-z:{}\\[\\]\\-&*!|>'\"#%@`, \n\t]{0,120}") {
        let found = loaded(&text);
        let _ = render(&found.diagnostics);
    }

    #[test]
    fn no_mutation_of_a_good_file_makes_it_panic(
        at in any::<proptest::sample::Index>(), len in 0_usize..12, put in "[ -~ä\n]{0,6}"
    ) {
        let start = at.index(FULL.len());
        let end = (start + len).min(FULL.len());
        let text = format!("{}{put}{}", &FULL[..start], &FULL[end..]);
        let found = loaded(&text);
        let _ = render(&found.diagnostics);
        proptest::prop_assert_eq!(
            found.pipeline.is_some(),
            found.diagnostics.iter().all(|one| one.level == crate::spec::Level::Warning)
        );
    }
}
