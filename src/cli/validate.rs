//! `pipeline validate FILE…` and `pipeline explain CODE|KEY`.

use std::path::{Path, PathBuf};

use serde_json::json;

use super::context::{Environment, draw, load_file, print_json, println, tell};
use super::exit::Exit;
use super::failure::Failure;
use crate::event::Reason;
use crate::git::Repository;
use crate::spec::{Level, Loaded, nearest};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Pipeline files
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, clap::Args)]
pub(super) struct ExplainArgs {
    /// A diagnostic or reason code such as `unknown_key` or `verify_failed`, a key of the pipeline file such as
    /// `limits.rounds` or `units.needs`, or `tiers`
    #[arg(value_name = "CODE|KEY")]
    code: String,
}

pub(super) fn perform(environment: &Environment, args: &Args) -> Result<Exit, Failure> {
    let repository = Repository::discover(environment.cwd(), &environment.for_git()).ok();
    let mut exit = Exit::Done;
    let mut files = Vec::new();
    for path in &args.files {
        let loaded = load_file(environment, repository.as_ref(), path)?.loaded;
        if loaded.pipeline.is_none() {
            exit = Exit::InvalidFile;
        }
        if args.json {
            files.push(to_json(path, &loaded));
        } else {
            tell_file(path, loaded);
        }
    }
    if args.json {
        print_json(&json!({"schema": 1, "valid": exit == Exit::Done, "files": files}));
    }
    Ok(exit)
}

fn to_json(path: &Path, loaded: &Loaded) -> serde_json::Value {
    let rows = loaded.diagnostics.iter().map(|found| {
        let level = match found.level {
            Level::Error => "error",
            Level::Warning => "warning",
        };
        json!({
            "code": found.code, "level": level, "file": found.file(), "line": found.line(),
            "column": found.column(), "message": found.message, "help": found.help,
        })
    });
    json!({"file": path, "valid": loaded.pipeline.is_some(), "diagnostics": rows.collect::<Vec<_>>()})
}

fn tell_file(path: &Path, loaded: Loaded) {
    let errors = loaded
        .diagnostics
        .iter()
        .filter(|found| found.level == Level::Error)
        .count();
    let warnings = loaded.diagnostics.len() - errors;
    for diagnostic in loaded.diagnostics {
        draw(diagnostic);
    }
    let shown = path.display();
    match &loaded.pipeline {
        Some(pipeline) => {
            let warned = if warnings == 0 {
                String::new()
            } else {
                format!(", {}", count(warnings, "warning"))
            };
            println(&format!(
                "{shown}: valid, {}{warned}",
                count(pipeline.units.len(), "unit")
            ));
        }
        None => tell(&format!(
            "{shown}: {}, {}",
            count(errors, "error"),
            count(warnings, "warning")
        )),
    }
}

fn count(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

pub(super) fn explain(args: &ExplainArgs) -> Result<Exit, Failure> {
    let code = args.code.trim_start_matches("pipeline::");
    if let Some(text) = crate::spec::explain(code) {
        println(&format!("{code}\n\n{text}"));
        return Ok(Exit::Done);
    }
    if let Some(reason) = Reason::ALL.iter().find(|reason| reason.code() == code) {
        println(&format!(
            "{code}\n\n{}\n\nWhat to do: {}",
            reason.sentence(),
            reason.remedy()
        ));
        return Ok(Exit::Done);
    }
    if matches!(code, "tier" | "tiers") {
        println(crate::spec::BUILT_IN_TIERS.trim_end());
        return Ok(Exit::Done);
    }
    if let Some(text) = explain_key(&crate::spec::schema(), code) {
        println(&text);
        return Ok(Exit::Done);
    }
    let known = crate::spec::CODES
        .iter()
        .copied()
        .chain(Reason::ALL.iter().map(|reason| reason.code()));
    let failure = Failure::new(
        Exit::Usage,
        "unknown_code",
        format!("there is no code and no key `{code}`"),
    );
    let keys = keys_of_sections(&crate::spec::schema(), code);
    Err(match nearest(code, known) {
        _ if !keys.is_empty() => failure.help(format!("did you mean {}?", keys.join(" or "))),
        Some(near) => failure.help(format!("did you mean `{near}`?")),
        None => failure,
    })
}

/// The keys of this name below the file's sections, with the section they are in.
fn keys_of_sections(schema: &serde_json::Value, name: &str) -> Vec<String> {
    let sections = schema.get("properties").and_then(|all| all.as_object());
    sections
        .into_iter()
        .flatten()
        .map(|(section, _)| format!("{section}.{name}"))
        .filter(|path| explain_key(schema, path).is_some())
        .map(|path| format!("`{path}`"))
        .collect()
}

/// What the schema says of a key, given by its path; keys that a person chooses (the id of a unit) are left out of it.
fn explain_key(schema: &serde_json::Value, path: &str) -> Option<String> {
    let mut at = schema;
    for word in path.split('.') {
        at = into_entries(schema, at);
        at = at.get("properties")?.get(word)?;
    }
    let at = resolved(schema, at);
    let mut text = path.to_owned();
    if let Some(description) = at.get("description").and_then(|text| text.as_str()) {
        text = format!("{text}\n\n{description}");
    }
    for (word, what) in [
        ("type", "Type"),
        ("default", "Default"),
        ("examples", "Examples"),
        ("enum", "One of"),
    ] {
        if let Some(value) = at.get(word) {
            text = format!("{text}\n{what}: {value}");
        }
    }
    if let Some(properties) = into_entries(schema, at)
        .get("properties")
        .and_then(|keys| keys.as_object())
    {
        let keys: Vec<&str> = properties.keys().map(String::as_str).collect();
        text = format!("{text}\nKeys: {}", keys.join(", "));
    }
    Some(text)
}

/// Through references and, where a map or a list holds entries of one kind, to the kind.
fn into_entries<'s>(schema: &'s serde_json::Value, at: &'s serde_json::Value) -> &'s serde_json::Value {
    let mut at = resolved(schema, at);
    while at.get("properties").is_none() {
        let inner = ["additionalProperties", "items"]
            .iter()
            .find_map(|key| at.get(key))
            .filter(|v| v.is_object());
        match inner {
            Some(inner) => at = resolved(schema, inner),
            None => return at,
        }
    }
    at
}

fn resolved<'s>(schema: &'s serde_json::Value, at: &'s serde_json::Value) -> &'s serde_json::Value {
    let target = at
        .get("$ref")
        .and_then(|name| name.as_str())
        .and_then(|name| name.strip_prefix('#'));
    target.and_then(|pointer| schema.pointer(pointer)).unwrap_or(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_explained_through_maps_lists_and_references() {
        let schema = crate::spec::schema();
        for key in [
            "limits.rounds",
            "units.needs",
            "checks.timeout",
            "tiers",
            "agents.command",
            "queue.strategy",
        ] {
            let text = explain_key(&schema, key).unwrap_or_else(|| panic!("{key} is not explained"));
            assert!(text.lines().count() > 1, "{key}: {text}");
        }
        assert!(explain_key(&schema, "units.neds").is_none());
    }

    #[test]
    fn a_key_without_its_section_is_found_in_every_section_that_has_it() {
        let schema = crate::spec::schema();
        assert_eq!(
            keys_of_sections(&schema, "exclusive"),
            ["`checks.exclusive`", "`units.exclusive`"]
        );
        assert!(keys_of_sections(&schema, "exclusiv").is_empty());
    }
}
