//! The environment of everything that runs in a worktree.

use std::collections::BTreeMap;

use crate::port::AttemptOrder;
use crate::process::MARKER_VARIABLE;

use super::place::Place;

/// Most bytes of the file `PIPELINE_ENV`.
pub(super) const ADDITIONS_BYTES_MAX: u64 = 256 * 1024;
/// Most bytes of one rendered value.
const VALUE_BYTES_MAX: usize = 64 * 1024;
/// Used when the person's environment has no absolute directory on its `PATH`.
const PATH_DEFAULT: &str = "/usr/local/bin:/usr/bin:/bin";

/// The environment of one attempt, in layers; a later one wins.
#[derive(Debug, Clone)]
pub(super) struct Environment {
    /// The person's, the ports, and the pipeline file's.
    given: BTreeMap<String, String>,
    /// What set-up appended to `PIPELINE_ENV`.
    additions: BTreeMap<String, String>,
    /// Ours: nobody may change these.
    fixed: BTreeMap<String, String>,
}

impl Environment {
    /// # Errors
    /// A template of `workspace.env` is wrong; the sentence names it.
    pub(super) fn new(
        order: &AttemptOrder,
        place: &Place,
        user: &BTreeMap<String, String>,
        ports: &[(String, u16)],
    ) -> Result<Self, String> {
        let mut given: BTreeMap<String, String> = user
            .iter()
            .filter(|(name, _)| !misleads_tools(name))
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        let path = absolute_directories(given.get("PATH").map_or("", String::as_str));
        given.insert("PATH".to_owned(), path);
        given.insert("TMPDIR".to_owned(), text(&place.tmp));
        given.extend(ports.iter().map(|(name, port)| (name.clone(), port.to_string())));
        let context = template_context(order, place, ports);
        for (name, template) in &order.workspace.env {
            let value = render(template, &context)
                .map_err(|error| format!("`workspace.env.{name}` cannot be rendered: {error}"))?;
            given.insert(name.clone(), value);
        }
        Ok(Self {
            given,
            additions: BTreeMap::new(),
            fixed: fixed(order, place),
        })
    }

    /// Takes over what set-up appended so far; `file` is the whole file.
    ///
    /// # Errors
    /// A line is not of the form `NAME=value`, or the name is not set-up's to set. The sentence has the line's number
    /// and not its value, which may be a secret.
    pub(super) fn add(&mut self, file: &[u8]) -> Result<(), String> {
        self.additions = parse_additions(file)?;
        Ok(())
    }

    /// The whole environment, with the variables of one task.
    pub(super) fn with(&self, task: &BTreeMap<String, String>) -> BTreeMap<String, String> {
        let mut all = self.given.clone();
        for layer in [&self.additions, task, &self.fixed] {
            all.extend(layer.iter().map(|(name, value)| (name.clone(), value.clone())));
        }
        all
    }
}

fn fixed(order: &AttemptOrder, place: &Place) -> BTreeMap<String, String> {
    let key = &order.key;
    [
        ("PIPELINE_RUN", order.run.to_string()),
        ("PIPELINE_UNIT", key.unit.to_string()),
        ("PIPELINE_STAGE", key.stage.to_string()),
        ("PIPELINE_KIND", order.kind.to_owned()),
        ("PIPELINE_ROUND", key.round.to_string()),
        ("PIPELINE_ATTEMPT", key.attempt.to_string()),
        ("PIPELINE_WORKTREE", text(&place.tree)),
        ("PIPELINE_BASE", order.base.to_string()),
        ("PIPELINE_TARGET", order.target.clone()),
        ("PIPELINE_CONTEXT", text(&place.context)),
        (
            "PIPELINE_RESULT",
            text(&place.out.join(super::place::RESULT_FILE)),
        ),
        (
            "PIPELINE_ENV",
            text(&place.out.join(super::place::ADDITIONS_FILE)),
        ),
        (MARKER_VARIABLE, format!("{}:{}", order.run, order.fence)),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value))
    .collect()
}

fn template_context(order: &AttemptOrder, place: &Place, ports: &[(String, u16)]) -> tera::Context {
    let mut context = tera::Context::new();
    context.insert("worktree", &text(&place.tree));
    context.insert("unit", order.key.unit.as_str());
    context.insert("stage", order.key.stage.as_str());
    context.insert("run", order.run.as_str());
    for (name, port) in ports {
        context.insert(name.clone(), port);
    }
    context
}

/// Renders one value. There is no template to include and no function that reads a file or the environment.
fn render(template: &str, context: &tera::Context) -> Result<String, String> {
    let value = tera::Tera::one_off(template, context, false).map_err(|error| {
        let causes = std::iter::successors(std::error::Error::source(&error), |cause| cause.source());
        causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
    })?;
    if value.len() > VALUE_BYTES_MAX {
        return Err(format!("the value is longer than {VALUE_BYTES_MAX} bytes"));
    }
    if value.contains('\0') {
        return Err("the value contains a NUL character".to_owned());
    }
    Ok(value)
}

/// Reads the lines that set-up appended to `PIPELINE_ENV`.
fn parse_additions(file: &[u8]) -> Result<BTreeMap<String, String>, String> {
    let text = std::str::from_utf8(file).map_err(|_| "the file PIPELINE_ENV is not UTF-8".to_owned())?;
    let mut additions = BTreeMap::new();
    for (number, line) in (1..).zip(text.lines()) {
        if line.trim().is_empty() {
            continue;
        }
        let name = line
            .split_once('=')
            .filter(|(name, value)| is_variable(name) && !value.contains('\0'));
        let Some((name, value)) = name else {
            return Err(format!(
                "line {number} of the file PIPELINE_ENV is not of the form NAME=value"
            ));
        };
        if is_reserved(name) {
            return Err(format!(
                "line {number} of the file PIPELINE_ENV sets {name}, which set-up may not set"
            ));
        }
        let value = if name == "PATH" {
            absolute_directories(value)
        } else {
            value.to_owned()
        };
        additions.insert(name.to_owned(), value);
    }
    Ok(additions)
}

fn is_variable(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes
        .next()
        .is_some_and(|first| first.is_ascii_alphabetic() || first == b'_')
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// Names that would change what a program *is*, or who it takes itself for. Set-up runs the author's code, also in
/// a judge's worktree.
fn is_reserved(name: &str) -> bool {
    let loads_code = ["LD_", "DYLD_"].iter().any(|prefix| name.starts_with(prefix));
    let is_ours = name.starts_with("PIPELINE_")
        || matches!(name, "BASH_ENV" | "ENV" | "HOME" | "SHELL" | "IFS" | "TMPDIR");
    loads_code || is_ours || misleads_tools(name)
}

/// Names by which git or an agent would take itself for part of another session.
fn misleads_tools(name: &str) -> bool {
    name.starts_with("GIT_") || name.starts_with("CLAUDE")
}

fn absolute_directories(path: &str) -> String {
    let kept: Vec<&str> = path
        .split(':')
        .filter(|directory| directory.starts_with('/'))
        .collect();
    if kept.is_empty() {
        return PATH_DEFAULT.to_owned();
    }
    kept.join(":")
}

fn text(path: &std::path::Path) -> String {
    path.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn additions_are_lines_of_name_and_value() {
        let additions = parse_additions(b"A=1\n\nURL=postgres://x?y=z \nA=2\nPATH=bin:/opt/bin:\n").unwrap();
        assert_eq!(additions["A"], "2");
        assert_eq!(additions["URL"], "postgres://x?y=z ");
        assert_eq!(additions["PATH"], "/opt/bin");
        assert!(parse_additions(b"").unwrap().is_empty());
    }

    #[test]
    fn a_bad_addition_is_told_by_its_line_and_not_by_its_value() {
        for bad in [
            "secret",
            "1A=secret",
            "A B=secret",
            "=secret",
            "export A=secret",
            "A=sec\0ret",
        ] {
            let sentence = parse_additions(format!("X=1\n{bad}\n").as_bytes()).unwrap_err();
            assert!(
                sentence.contains("line 2") && !sentence.contains("secret"),
                "{sentence}"
            );
        }
        assert!(parse_additions(b"A=\xff").is_err());
    }

    #[test]
    fn set_up_cannot_change_what_programs_are() {
        for name in [
            "PIPELINE_RESULT",
            "LD_PRELOAD",
            "GIT_DIR",
            "BASH_ENV",
            "CLAUDECODE",
            "HOME",
        ] {
            assert!(parse_additions(format!("{name}=x").as_bytes()).is_err(), "{name}");
        }
    }

    #[test]
    fn only_absolute_directories_stay_on_the_path() {
        assert_eq!(absolute_directories("/a::./b:/c:."), "/a:/c");
        assert_eq!(absolute_directories("."), PATH_DEFAULT);
    }

    #[test]
    fn templates_know_the_names_they_are_given_and_nothing_else() {
        let mut context = tera::Context::new();
        context.insert("unit", "a<b");
        context.insert("PORT", &4000);
        assert_eq!(render("{{ unit }}-{{ PORT + 1 }}", &context).unwrap(), "a<b-4001");
        for bad in [
            "{{ nothing }}",
            "{{ get_env(name=\"HOME\") }}",
            "{% include \"/etc/passwd\" %}",
            "{{ unit",
        ] {
            assert!(render(bad, &context).is_err(), "{bad}");
        }
    }
}
