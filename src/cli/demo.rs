//! `pipeline demo`: a scratch repository with real source code and tests, and a small pipeline run in it on
//! scripted agents. Needs no account and no network.

use std::path::{Path, PathBuf};

use super::context::{Context, Environment, Screen, println, write_file};
use super::exit::Exit;
use super::failure::Failure;
use crate::git::{self, Identity};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// A folder that does not exist yet, for the repository [default: one below the temporary folder]
    folder: Option<PathBuf>,
}

macro_rules! fixture {
    ($($path:literal),* $(,)?) => {
        &[$(($path, include_str!(concat!("../../fixtures/demo/", $path)))),*]
    };
}

/// The files of the repository.
const FILES: &[(&str, &str)] = fixture![
    "README.md",
    "agents/approver.sh",
    "agents/author.sh",
    "agents/reviewer.sh",
    "bin/textkit",
    "lib/count.sh",
    "lib/upper.sh",
    "rfc.yaml",
    "tests/count.test.sh",
    "tests/expect.sh",
    "tests/run.sh",
    "tests/upper.test.sh",
];

pub(super) fn perform(environment: &Environment, args: &Args, screen: Screen) -> Result<Exit, Failure> {
    let folder = match &args.folder {
        Some(folder) => environment.cwd().join(folder),
        None => tempfile::Builder::new()
            .prefix("pipeline-demo-")
            .tempdir()
            .map_err(|error| Failure::io("make a folder in", &std::env::temp_dir(), &error))?
            .keep(),
    };
    if folder
        .read_dir()
        .is_ok_and(|mut entries| entries.next().is_some())
    {
        return Err(Failure::new(
            Exit::Usage,
            "exists",
            format!("{} is not empty", folder.display()),
        )
        .help("name a folder that does not exist yet, or none for a temporary one"));
    }
    write_files(&folder)?;
    let who = Identity {
        name: "Demo".to_owned(),
        email: "demo@example.invalid".to_owned(),
    };
    git::create_repository(&folder, "main", &who, "chore: begin textkit")?;
    println(
        "A small shell project with six units of work. Its agents are scripts; everything else is real.\n",
    );
    println(&format!(
        "  cd {}",
        shell_words::quote(&folder.display().to_string())
    ));
    println("  pipeline run rfc.yaml\n");

    let context = Context::discover(environment.at(&folder))?;
    let exit = super::run::perform(&context, &super::run::Args::of(Path::new("rfc.yaml")), screen)?;
    tell_next(environment, &folder);
    // One unit is meant to be handed to a person.
    Ok(if exit == Exit::NeedsPerson {
        Exit::Done
    } else {
        exit
    })
}

fn write_files(folder: &Path) -> Result<(), Failure> {
    for (name, text) in FILES {
        write_file(&folder.join(name), text.as_bytes())?;
    }
    use std::os::unix::fs::PermissionsExt;
    let program = folder.join("bin/textkit");
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755))
        .map_err(|error| Failure::io("make executable", &program, &error))
}

fn tell_next(environment: &Environment, folder: &Path) {
    let folder = shell_words::quote(&folder.display().to_string()).into_owned();
    println(&format!("\nThe repository is at {folder}. Look around:\n"));
    println(&format!("  cd {folder}"));
    if let (false, Ok(program)) = (environment.is_on_path("pipeline"), std::env::current_exe()) {
        println(&format!(
            "  alias pipeline={}",
            shell_words::quote(&program.display().to_string())
        ));
    }
    for (command, what) in [
        ("git log --stat", "what landed, one verified commit a unit"),
        ("pipeline status", "where every unit is"),
        (
            "pipeline show slugify",
            "a defect that the review found and the fix repaired",
        ),
        ("pipeline show wrap", "why this one was handed to you"),
        ("pipeline resolve wrap", "repair it, and put it back in line"),
        ("pipeline graph rfc.yaml", "the units and what they need"),
    ] {
        println(&format!("  {command:<26} # {what}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fixture_is_embedded() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/demo");
        let mut found = Vec::new();
        let mut folders = vec![root.clone()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    found.push(path.strip_prefix(&root).unwrap().display().to_string());
                }
            }
        }
        found.sort();
        let embedded: Vec<_> = FILES.iter().map(|(path, _)| (*path).to_owned()).collect();
        assert_eq!(found, embedded);
    }
}
