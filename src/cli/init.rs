//! `pipeline init`: writes a commented pipeline file for this repository.

use std::path::{Path, PathBuf};

use super::context::{Context, println, write_file};
use super::exit::Exit;
use super::failure::Failure;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Where to write it
    #[arg(default_value = "rfc.yaml")]
    file: PathBuf,
}

/// Where the schema goes, so that editors find it without a network.
const SCHEMA: &str = ".pipeline/schema.json";

/// A file that tells how a repository is tested, the program that does it, and the command.
const TEST_COMMANDS: &[(&str, &str)] = &[
    ("Cargo.toml", "cargo test --locked"),
    ("package.json", "npm test"),
    ("go.mod", "go test ./..."),
    ("pyproject.toml", "python -m pytest"),
    ("setup.py", "python -m pytest"),
    ("pom.xml", "mvn -q test"),
    ("build.gradle", "gradle test"),
    ("Gemfile", "bundle exec rake test"),
    ("mix.exs", "mix test"),
    ("Makefile", "make test"),
    ("tests/run.sh", "sh tests/run.sh"),
];

/// Agent programs that answer a prompt on standard input, with the arguments that make them work alone.
const AGENTS: &[(&str, &str)] = &[
    ("claude", "[claude, -p, --permission-mode, acceptEdits]"),
    ("codex", "[codex, exec, --sandbox, workspace-write, \"-\"]"),
];

pub(super) fn perform(context: &Context, args: &Args) -> Result<Exit, Failure> {
    let path = context.environment.cwd().join(&args.file);
    if path.exists() {
        let message = format!("{} is there already", args.file.display());
        return Err(Failure::new(Exit::Usage, "exists", message).help(format!(
            "`pipeline validate {}` looks at it; or name another file",
            args.file.display()
        )));
    }
    let root = context.repository.root();
    let target = context
        .repository
        .current_branch()?
        .unwrap_or_else(|| "main".to_owned());
    let test = TEST_COMMANDS
        .iter()
        .find(|(file, _)| root.join(file).exists())
        .map(|(_, command)| *command);
    let agent = AGENTS
        .iter()
        .find(|(program, _)| context.environment.is_on_path(program));
    let text = file_text(root, &target, test, agent.map(|(_, argv)| *argv));
    write_file(&path, text.as_bytes())?;
    let schema = serde_json::to_string_pretty(&crate::spec::schema()).expect("a schema serialises");
    write_file(&root.join(SCHEMA), (schema + "\n").as_bytes())?;
    println(&format!(
        "{} is written, with its schema for editors in {SCHEMA}.",
        args.file.display()
    ));
    println(&format!("  target  {target}"));
    println(&format!(
        "  test    {}",
        test.unwrap_or("none found: write the `run` of the check")
    ));
    println(&format!(
        "  agent   {}",
        agent.map_or("none found: write the `command` of the agent", |(name, _)| name)
    ));
    println(&format!(
        "Next: edit it, then `pipeline validate {0}` and `pipeline run {0}`",
        args.file.display()
    ));
    Ok(Exit::Done)
}

fn file_text(root: &Path, target: &str, test: Option<&str>, agent: Option<&str>) -> String {
    let name = root
        .file_name()
        .map(|name| name.to_string_lossy().to_ascii_lowercase())
        .unwrap_or_default();
    let name: String = name
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
        .take(40)
        .collect();
    let name = name.trim_matches('-');
    let name = if name.is_empty() { "pipeline" } else { name };
    let target = serde_json::Value::from(target);
    let test =
        serde_json::Value::from(test.unwrap_or("echo write the command that tests this repository; false"));
    let agent = agent.unwrap_or("[your-agent]");
    format!(
        "\
# yaml-language-server: $schema={SCHEMA}
version: 1
name: {name}-change          # names the run and its branches
target: {target}              # the branch units land on

limits:
  parallel: 3                # attempts at once
  rounds: 3                  # fix rounds a unit may use before it is handed to you

# Any program can be an agent: it gets its prompt on standard input, works in a fresh worktree, and writes its
# result as JSON to the file named by PIPELINE_RESULT. The prompt tells it the form.
agents:
  author: {{command: {agent}}}
  reviewer: {{command: {agent}}}

# Run on every commit an author makes, and by the queue on exactly what lands.
checks:
  - {{name: test, run: {test}}}

# trivial: implement, approved by checks. small: implement, review, fix, approve. `pipeline explain tier` tells more.
defaults: {{tier: small}}

units:
  first-change:
    title: \"feat: say what the change does\"
    prompt: |
      Say what is to be done, as you would to a colleague who has just read the code.
    acceptance: [\"what must be true at the end\"]
    # paths: [\"src/**\"]      # what it expects to touch
    # needs: []              # units that must have landed first
"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Everything;

    impl crate::spec::Surroundings for Everything {
        fn read(&self, path: &str) -> Result<String, String> {
            Err(format!("{path} is not there"))
        }
        fn is_on_path(&self, _: &str) -> bool {
            true
        }
        fn branches(&self) -> Vec<String> {
            vec!["main".to_owned()]
        }
        fn has_branch(&self, _: &str) -> bool {
            true
        }
        fn tracked_paths(&self) -> Vec<String> {
            vec!["src/lib.rs".to_owned()]
        }
    }

    #[test]
    fn what_init_writes_is_valid() {
        for (test, agent) in [(Some("cargo test --locked"), Some(AGENTS[0].1)), (None, None)] {
            let text = file_text(Path::new("/srv/My Project!"), "ma\"in", test, agent);
            let loaded = crate::spec::load("rfc.yaml", &text, None, &Everything);
            let errors: Vec<_> = loaded
                .diagnostics
                .iter()
                .filter(|d| d.level == crate::spec::Level::Error)
                .collect();
            assert!(errors.is_empty(), "{errors:?}\n{text}");
        }
    }
}
