//! The committed references are what the code says, to the byte.
//!
//! `PIPELINE_BLESS=1 cargo test --test it generated` writes them anew.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use clap_complete::Shell;
use pipeline::event::Reason;

use crate::world::World;

/// How a stale file is made anew.
const REMEDY: &str = "PIPELINE_BLESS=1 cargo test --test it generated";

/// Columns of the help in `docs/cli.md`, whatever terminal the test runs in.
const HELP_COLUMNS: usize = 100;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Fails when the file is not `expected`; with `PIPELINE_BLESS` set it writes the file instead.
fn holds(path: &str, expected: &str) {
    let place = root().join(path);
    if std::env::var_os("PIPELINE_BLESS").is_some() {
        std::fs::create_dir_all(place.parent().expect("a file has a folder")).unwrap();
        std::fs::write(&place, expected).unwrap();
        return;
    }
    let found = std::fs::read_to_string(&place).unwrap_or_default();
    if let Some((line, was, is)) = first_difference(&found, expected) {
        panic!(
            "{path} is stale. Write it anew with:\n  {REMEDY}\nLine {line} is  {was:?}\nand must be {is:?}"
        );
    }
}

fn first_difference(found: &str, expected: &str) -> Option<(usize, String, String)> {
    if found == expected {
        return None;
    }
    let (mut old, mut new) = (found.split('\n'), expected.split('\n'));
    for line in 1.. {
        let (was, is) = (old.next(), new.next());
        if was != is {
            let text = |line: Option<&str>| line.unwrap_or("missing").to_owned();
            return Some((line, text(was), text(is)));
        }
    }
    None
}

/// The text with everything between the two markers of `name` replaced.
fn between_markers(text: &str, name: &str, inner: &str) -> String {
    let begin = format!("<!-- generated: {name} -->\n");
    let end = format!("<!-- end: {name} -->");
    let from = text
        .find(&begin)
        .unwrap_or_else(|| panic!("ARCHITECTURE.md has no `{begin}`"))
        + begin.len();
    let to = from
        + text[from..]
            .find(&end)
            .unwrap_or_else(|| panic!("ARCHITECTURE.md has no `{end}`"));
    format!("{}\n{}\n\n{}", &text[..from], inner.trim_end(), &text[to..])
}

#[test]
fn the_schema_is_that_of_the_reader() {
    let text = serde_json::to_string_pretty(&pipeline::spec::schema()).unwrap() + "\n";
    holds("docs/pipeline.schema.json", &text);
}

#[test]
fn the_command_reference_is_what_help_prints() {
    holds("docs/cli.md", &cli_reference());
}

#[test]
fn the_completions_are_what_the_verb_prints() {
    for (shell, file) in [
        (Shell::Bash, "pipeline.bash"),
        (Shell::Zsh, "_pipeline"),
        (Shell::Fish, "pipeline.fish"),
    ] {
        let mut script = Vec::new();
        clap_complete::generate(shell, &mut pipeline::cli::command(), "pipeline", &mut script);
        let script = String::from_utf8(script).unwrap();
        holds(&format!("docs/completions/{file}"), &script);
    }
}

#[test]
fn the_transition_tables_are_those_of_the_machines() {
    let text = std::fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let text = between_markers(&text, "unit transitions", &pipeline::unit::transition_table());
    let text = between_markers(&text, "queue transitions", &pipeline::queue::transition_table());
    holds("ARCHITECTURE.md", &text);
}

#[test]
fn the_code_reference_lists_every_code() {
    holds("docs/codes.md", &code_reference());
}

#[test]
fn the_readme_names_every_verb_and_every_exit_code() {
    let text = std::fs::read_to_string(root().join("README.md")).unwrap();
    for verb in verbs() {
        let name = verb.get_name();
        assert!(
            text.contains(&format!("`{name}")),
            "README.md does not name `{name}`"
        );
    }
    for (code, _) in exit_codes() {
        assert!(
            text.contains(&format!("| {code} |")),
            "README.md does not name exit code {code}"
        );
    }
}

#[test]
fn the_documents_name_only_tests_that_exist() {
    let mut sources = String::new();
    collect(&root().join("src"), &mut sources);
    collect(&root().join("tests"), &mut sources);
    for (file, section) in [
        ("README.md", "## What it promises"),
        ("SECURITY.md", "## What is built"),
        ("ARCHITECTURE.md", "## Where the merge queue decides"),
    ] {
        let text = std::fs::read_to_string(root().join(file)).unwrap();
        let section = text
            .split(section)
            .nth(1)
            .and_then(|rest| rest.split("\n## ").next())
            .unwrap_or_else(|| panic!("{file} has no `{section}`"));
        let named: Vec<_> = section
            .split('`')
            .skip(1)
            .step_by(2)
            .filter(is_test_name)
            .collect();
        assert!(named.len() > 5, "{file}: {named:?}");
        for name in named {
            assert!(
                sources.contains(&format!("fn {name}(")),
                "{file} names `{name}`, which is no test"
            );
        }
    }
}

/// Names of tests are sentences; those of keys and variables are shorter.
fn is_test_name(word: &&str) -> bool {
    word.matches('_').count() > 1 && word.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')
}

#[test]
fn every_dependency_is_accounted_for() {
    let manifest = std::fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let text = std::fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let mut inside = false;
    for line in manifest.lines() {
        if line.starts_with('[') {
            inside = line.ends_with("dependencies]");
        } else if let Some((name, _)) = line.split_once(" = ").filter(|_| inside) {
            assert!(
                text.contains(&format!("| `{name}`")),
                "ARCHITECTURE.md does not account for `{name}`"
            );
        }
    }
}

#[test]
fn the_example_of_the_readme_lands_both_units() {
    let text = std::fs::read_to_string(root().join("README.md")).unwrap();
    let block = |language: &str, holds: &str| {
        let opening = format!("```{language}\n");
        let blocks = text.split(&opening).skip(1);
        let mut blocks = blocks.filter_map(|rest| rest.split("```").next());
        blocks
            .find(|block| block.contains(holds))
            .unwrap_or_else(|| panic!("README.md has no {language} block with {holds}"))
            .to_owned()
    };
    let world = World::new();
    std::fs::remove_dir_all(world.repo.join("agents")).unwrap();
    let status = std::process::Command::new("sh")
        .args(["-euc", &block("sh", "agents/author.sh")])
        .current_dir(&world.repo)
        .status();
    assert!(status.unwrap().success());
    world.write("rfc.yaml", &block("yaml", "version: 1"));
    world.commit("chore: start");
    world.expect(&["run", "rfc.yaml"], 0);
    assert_eq!(
        world.git(&["log", "-2", "--format=%s"]),
        "docs: say how to greet\nfeat: greet people\n"
    );
    assert!(
        world
            .read("README.md")
            .contains("`sh greet.sh NAME` greets NAME.")
    );
}

fn collect(folder: &Path, text: &mut String) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, text);
        } else if path.extension().is_some_and(|it| it == "rs") {
            text.push_str(&std::fs::read_to_string(&path).unwrap());
        }
    }
}

/// The verbs a person may use.
fn verbs() -> Vec<clap::Command> {
    let mut command = pipeline::cli::command().term_width(HELP_COLUMNS);
    command.build();
    command
        .get_subcommands()
        .filter(|verb| !verb.is_hide_set() && verb.get_name() != "help")
        .cloned()
        .collect()
}

fn cli_reference() -> String {
    let mut text = String::from(
        "# The command line\n\nGenerated from the program; do not edit. Exit codes are in [codes.md](codes.md).\n\n\
         Every verb also knows `--color auto|always|never` (`auto`: on a terminal, unless `NO_COLOR` is set), `--help` \
         and `--version`.\n",
    );
    for verb in verbs() {
        let name = verb.get_name().to_owned();
        let mut verb = verb.mut_args(|arg| {
            let is_everywhere = ["color", "help", "version"].contains(&arg.get_id().as_str());
            arg.hide(is_everywhere)
        });
        let help = verb.render_long_help().to_string();
        let help: Vec<_> = help.lines().map(str::trim_end).collect();
        let help = help.join("\n");
        let _ = write!(
            text,
            "\n## pipeline {name}\n\n```text\n{}\n```\n",
            help.trim_end()
        );
    }
    text
}

fn code_reference() -> String {
    let mut text = String::from(
        "# Codes\n\nGenerated from the program; do not edit. Codes are stable: one never changes its meaning.\n\
         `pipeline explain CODE` prints the text of a diagnostic or a reason.\n\n\
         ## Exit codes\n\n| code | meaning |\n| --- | --- |\n",
    );
    for (code, meaning) in exit_codes() {
        let _ = writeln!(text, "| {code} | {meaning} |");
    }
    text.push_str("\n## Reasons\n\nWhy a unit, an attempt or the whole queue stopped. Some belong to what is not there yet, and are never given.\n");
    text.push_str("\n| code | meaning | what to do |\n| --- | --- | --- |\n");
    for reason in Reason::ALL {
        let _ = writeln!(
            text,
            "| `{reason}` | {} | {} |",
            reason.sentence(),
            reason.remedy()
        );
    }
    text.push_str("\n## Diagnostics of a pipeline file\n");
    for code in pipeline::spec::CODES {
        let explanation = pipeline::spec::explain(code).expect("every code has a text");
        let _ = write!(text, "\n### `{code}`\n\n{explanation}\n");
    }
    text.push_str(
        "\n## Events\n\nEach line of a journal, and of `run --json`, is one event: `seq` (from 1, without gaps), `at`, \
         `scope`, `type`, and the fields of\nthe type. A line of a journal begins with its checksum, `crc`. Events of the \
         scope `unit` have the field `unit` besides.\n",
    );
    for (scope, file, name) in [
        ("run", "src/event/mod.rs", "RunEvent"),
        ("unit", "src/event/unit.rs", "UnitEvent"),
        ("queue", "src/event/queue.rs", "QueueEvent"),
    ] {
        let _ = write!(
            text,
            "\n### Scope `{scope}`\n\n| type | meaning | fields |\n| --- | --- | --- |\n"
        );
        for variant in variants(file, name) {
            let fields: Vec<_> = variant.fields.iter().map(|field| format!("`{field}`")).collect();
            let _ = writeln!(
                text,
                "| `{}` | {} | {} |",
                snake_case(&variant.name),
                variant.doc,
                fields.join(", ")
            );
        }
    }
    text
}

/// Every exit code with its meaning, as the constants of `cli::exit` say.
fn exit_codes() -> Vec<(u8, String)> {
    let source = std::fs::read_to_string(root().join("src/cli/exit.rs")).unwrap();
    let codes: Vec<_> = variants("src/cli/exit.rs", "Exit")
        .into_iter()
        .map(|variant| {
            let arm = format!("Self::{} => ", variant.name);
            let number = source.split(&arm).nth(1).and_then(|rest| rest.split(',').next());
            let number = number.and_then(|number| number.parse().ok());
            (number.expect("every exit has a number"), variant.doc)
        })
        .collect();
    assert!(codes.is_sorted_by_key(|(code, _)| *code), "{codes:?}");
    codes
}

/// One variant of an enum, as the source declares it.
struct Variant {
    name: String,
    doc: String,
    fields: Vec<String>,
}

/// The variants of a documented enum. Relies on the layout that `cargo fmt` keeps: variants are indented by four
/// columns, fields by eight.
fn variants(file: &str, name: &str) -> Vec<Variant> {
    let source = std::fs::read_to_string(root().join(file)).unwrap();
    let body = source
        .split(&format!("pub enum {name} {{\n"))
        .nth(1)
        .and_then(|rest| rest.split("\n}\n").next())
        .unwrap_or_else(|| panic!("{file} has no enum {name}"));
    let mut found: Vec<Variant> = Vec::new();
    let mut doc: Vec<&str> = Vec::new();
    for line in body.lines() {
        if let Some(words) = line.strip_prefix("    /// ") {
            doc.push(words);
        } else if let Some(declared) = line
            .strip_prefix("    ")
            .filter(|rest| rest.starts_with(char::is_uppercase))
        {
            found.push(Variant {
                name: declared.chars().take_while(char::is_ascii_alphanumeric).collect(),
                doc: std::mem::take(&mut doc).join(" "),
                fields: declared
                    .split_once('(')
                    .and_then(|(_, rest)| rest.split(')').next())
                    .map(|held| fields_of(Path::new(file).parent().unwrap(), held))
                    .unwrap_or_default(),
            });
        } else if let Some(declared) = line
            .strip_prefix("        ")
            .filter(|rest| rest.starts_with(char::is_lowercase))
        {
            let field = declared.split(':').next().expect("a split has a first part");
            found
                .last_mut()
                .expect("a field follows its variant")
                .fields
                .push(field.to_owned());
        }
    }
    found
}

/// The fields of a struct that a file of this folder declares.
fn fields_of(folder: &Path, name: &str) -> Vec<String> {
    let files = std::fs::read_dir(root().join(folder)).unwrap().flatten();
    let body = files.into_iter().find_map(|file| {
        let source = std::fs::read_to_string(file.path()).ok()?;
        let rest = source.split(&format!("pub struct {name} {{\n")).nth(1)?;
        Some(rest.split("\n}\n").next()?.to_owned())
    });
    let body = body.unwrap_or_else(|| panic!("{} has no struct {name}", folder.display()));
    body.lines()
        .filter_map(|line| line.strip_prefix("    pub ")?.split(':').next())
        .map(str::to_owned)
        .collect()
}

/// As serde renames variants.
fn snake_case(name: &str) -> String {
    let mut text = String::new();
    for (at, letter) in name.char_indices() {
        if letter.is_uppercase() && at > 0 {
            text.push('_');
        }
        text.push(letter.to_ascii_lowercase());
    }
    text
}
