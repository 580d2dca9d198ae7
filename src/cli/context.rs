//! Where a verb stands: the environment, the repository, its runs. The only place that reads the environment.

use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::exit::Exit;
use super::failure::Failure;
use crate::control::Place;
use crate::event::Record;
use crate::git::{Repository, UserEnvironment};
use crate::id::RunId;
use crate::report::line::LineStyle;
use crate::run::{Frozen, hash_json};
use crate::spec::{Pipeline, nearest};
use crate::store::{self, Home};
use crate::view::View;

/// Variables that say through which proxies other hosts are reached.
const PROXIES: &[&str] = &[
    "http_proxy",
    "https_proxy",
    "HTTPS_PROXY",
    "all_proxy",
    "ALL_PROXY",
    "no_proxy",
    "NO_PROXY",
];

/// Most bytes of a pipeline file.
const FILE_BYTES_MAX: u64 = 8 << 20;

/// Variables of the person's environment that every attempt gets: where programs, homes and toolchains are, and
/// how text is written. Nothing that holds a secret.
const PASSED_TO_ATTEMPTS: &[&str] = &[
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "SHELL",
    "LANG",
    "TZ",
    "TERM",
    "CARGO_HOME",
    "RUSTUP_HOME",
    "RUSTUP_TOOLCHAIN",
    "GOPATH",
    "GOROOT",
    "JAVA_HOME",
    "NVM_DIR",
    "PYENV_ROOT",
    "VIRTUAL_ENV",
];

/// The environment of the program, read once.
#[derive(Debug, Clone)]
pub struct Environment {
    vars: BTreeMap<String, String>,
    cwd: PathBuf,
}

impl Environment {
    /// Reads it. Variables that are not UTF-8 are left out.
    ///
    /// # Errors
    /// When the working directory is gone.
    pub fn read() -> Result<Self, Failure> {
        let cwd = std::env::current_dir().map_err(|error| {
            Failure::new(
                Exit::Environment,
                "cwd",
                format!("the working directory cannot be found: {error}"),
            )
        })?;
        let utf8 = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        };
        Ok(Self {
            vars: std::env::vars_os().filter_map(utf8).collect(),
            cwd,
        })
    }

    /// A variable that is set and not empty.
    pub fn var(&self, name: &str) -> Option<&str> {
        self.vars
            .get(name)
            .map(String::as_str)
            .filter(|value| !value.is_empty())
    }

    /// The same, working in another folder.
    pub fn at(&self, folder: &Path) -> Self {
        Self {
            vars: self.vars.clone(),
            cwd: folder.to_owned(),
        }
    }

    /// The working directory.
    pub fn cwd(&self) -> &Path {
        &self.cwd
    }

    /// What every attempt gets.
    pub fn for_attempts(&self) -> BTreeMap<String, String> {
        let passes = |name: &str| PASSED_TO_ATTEMPTS.contains(&name) || name.starts_with("LC_");
        self.vars
            .iter()
            .filter(|(name, _)| passes(name))
            .map(|(n, v)| (n.clone(), v.clone()))
            .collect()
    }

    /// The values of variables that agents ask for by name.
    pub fn named<'a>(&self, names: impl Iterator<Item = &'a String>) -> BTreeMap<String, String> {
        names
            .filter_map(|name| Some((name.clone(), self.vars.get(name)?.clone())))
            .collect()
    }

    /// What git may know of the person.
    pub fn for_git(&self) -> UserEnvironment {
        UserEnvironment {
            home: self.var("HOME").map(PathBuf::from),
            path: self.var("PATH").unwrap_or("/usr/local/bin:/usr/bin:/bin").into(),
            xdg_config_home: self.var("XDG_CONFIG_HOME").map(PathBuf::from),
            ssh_auth_sock: self.var("SSH_AUTH_SOCK").map(str::to_owned),
            proxies: PROXIES
                .iter()
                .filter_map(|name| Some(((*name).to_owned(), self.var(name)?.to_owned())))
                .collect(),
        }
    }

    /// Where worktrees go: `$XDG_STATE_HOME/pipeline`, by default `~/.local/state/pipeline`.
    pub fn state_root(&self) -> PathBuf {
        let home = || Path::new(self.var("HOME").unwrap_or("/")).join(".local/state");
        self.var("XDG_STATE_HOME")
            .map_or_else(home, PathBuf::from)
            .join("pipeline")
    }

    /// Where control sockets go, the best first: the directory that a login session has for such things, or one of this
    /// user where everybody may have some.
    fn socket_folders(&self) -> Vec<PathBuf> {
        let user = rustix::process::geteuid().as_raw();
        let of_session = self.var("XDG_RUNTIME_DIR").map(PathBuf::from);
        let of_system = PathBuf::from(format!("/run/user/{user}"));
        let of_session = of_session.filter(|folder| folder.is_absolute());
        let folders = of_session.into_iter().chain([of_system]);
        folders
            .map(|folder| folder.join("pipeline"))
            .chain([PathBuf::from(format!("/tmp/pipeline-{user}"))])
            .collect()
    }

    /// Whether a program can be started by that name.
    pub fn is_on_path(&self, program: &str) -> bool {
        let path = self.var("PATH").unwrap_or_default();
        std::env::split_paths(path).any(|folder| is_executable(&folder.join(program)))
    }
}

/// Whether a file can be executed.
pub fn is_executable(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    path.metadata()
        .is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

/// How a verb writes.
#[derive(Debug, Clone, Copy)]
pub struct Screen {
    /// Colour, characters, width.
    pub style: LineStyle,
    /// Whether standard error is a terminal that can be drawn on.
    pub live: bool,
    /// Whether machine output is asked for.
    pub json: bool,
}

impl Screen {
    /// From the environment and the flags.
    pub fn new(environment: &Environment, color: super::ColorChoice, json: bool) -> Self {
        let dumb = environment.var("TERM").is_none_or(|term| term == "dumb");
        let terminal = std::io::stdout().is_terminal() && !dumb;
        let color = match color {
            super::ColorChoice::Always => true,
            super::ColorChoice::Never => false,
            super::ColorChoice::Auto => terminal && environment.var("NO_COLOR").is_none(),
        };
        let locale = ["LC_ALL", "LC_CTYPE", "LANG"]
            .iter()
            .find_map(|name| environment.var(name));
        let unicode =
            locale.is_some_and(|locale| locale.to_ascii_lowercase().replace('-', "").contains("utf8"));
        let width = if terminal {
            usize::from(console::Term::stdout().size().1)
        } else {
            120
        };
        Self {
            style: LineStyle {
                color,
                unicode,
                width,
            },
            live: terminal && std::io::stderr().is_terminal(),
            json,
        }
    }
}

/// Writes to standard output. A reader that went away ends nothing: a run goes on without it.
pub fn print(text: &str) {
    // Nobody may be reading any more; then only the words are lost.
    let _ = write_out(text);
}

/// Writes to standard output; `false` when nobody reads it any more.
pub fn write_out(text: &str) -> bool {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).is_ok()
}

/// Writes a line to standard output.
pub fn println(text: &str) {
    print(&format!("{text}\n"));
}

/// Writes an object to standard output.
pub fn print_json(value: &serde_json::Value) {
    println(&serde_json::to_string_pretty(value).expect("a JSON value serialises"));
}

/// Draws an error or a warning on standard error.
pub fn draw(diagnostic: impl miette::Diagnostic + Send + Sync + 'static) {
    tell(&format!("{:?}", miette::Report::new(diagnostic)));
}

/// Writes a file and makes the folders above it.
///
/// # Errors
/// When the disk refuses.
pub fn write_file(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let folder = path.parent().expect("a file lies in a folder");
    crate::fault::point("cli.file")
        .and_then(|()| std::fs::create_dir_all(folder))
        .and_then(|()| std::fs::write(path, bytes))
        .map_err(|error| Failure::io("write", path, &error))
}

/// Writes a line to standard error.
pub fn tell(text: &str) {
    // A person who closed standard error does not want to be told.
    drop(writeln!(std::io::stderr(), "{text}"));
}

/// A repository with its runs.
#[derive(Clone)]
pub struct Context {
    /// The environment.
    pub environment: Environment,
    /// The repository.
    pub repository: Repository,
    /// Where its runs are stored.
    pub home: Home,
}

/// A run that was read from its journal.
pub struct Reading {
    /// The run.
    pub run: RunId,
    /// What it was started with.
    pub frozen: Frozen,
    /// Everything that happened.
    pub records: Vec<Record>,
    /// What it looks like.
    pub view: View,
}

impl Context {
    /// Finds the repository around the working directory.
    ///
    /// # Errors
    /// When there is none that the program can work with.
    pub fn discover(environment: Environment) -> Result<Self, Failure> {
        let repository = Repository::discover(environment.cwd(), &environment.for_git())?;
        let home = Home::new(repository.common_dir());
        Ok(Self {
            environment,
            repository,
            home,
        })
    }

    /// Where the worktrees of this repository go.
    pub fn worktrees_root(&self, pipeline: Option<&Pipeline>) -> PathBuf {
        if let Some(root) = pipeline.and_then(|pipeline| pipeline.workspace.root.as_ref()) {
            return self.repository.main_root().join(root);
        }
        let name = self
            .repository
            .main_root()
            .file_name()
            .map_or("repository".into(), |n| n.to_string_lossy());
        let hash = hash_json(&self.repository.common_dir());
        self.environment
            .state_root()
            .join(format!("{name}-{}", &hash[..8]))
    }

    /// Where the engine of this repository can be talked to.
    pub fn control_place(&self) -> Place {
        let hash = hash_json(&self.repository.common_dir());
        let name = format!("{}.sock", &hash[..16]);
        Place::new(&self.environment.socket_folders(), &name)
    }

    /// Reads the run that is asked for: by id, by name, or the latest.
    ///
    /// # Errors
    /// When there is none, or its journal cannot be read.
    pub fn read_run(&self, wanted: Option<&str>) -> Result<Reading, Failure> {
        let runs = store::read_runs(&self.home)?;
        for run in runs.iter().rev() {
            if let Some(wanted) = wanted
                && run.as_str() != wanted
                && self.read_frozen(run)?.pipeline.name != wanted
            {
                continue;
            }
            return self.read(run);
        }
        if let [.., lost] = super::restore::lost_runs(self)?.as_slice() {
            let message = format!(
                "the state of run {lost} is gone from {}",
                self.home.root().display()
            );
            return Err(Failure::new(Exit::NoMatch, "lost_run", message)
                .help("`pipeline doctor --fix` rebuilds it from git; so does `pipeline run FILE`, which goes on with it"));
        }
        let (message, help) = match wanted {
            Some(wanted) => (
                format!("no run `{wanted}` in this repository"),
                "`pipeline runs` lists the runs",
            ),
            None => (
                "no run in this repository yet".to_owned(),
                "`pipeline run FILE` starts one",
            ),
        };
        Err(Failure::new(Exit::NoMatch, "no_run", message).help(help))
    }

    /// Reads a run.
    ///
    /// # Errors
    /// When its journal cannot be read.
    pub fn read(&self, run: &RunId) -> Result<Reading, Failure> {
        let frozen = self.read_frozen(run)?;
        let records = store::read_journal(&self.home, run)?.records;
        let mut view = View::of(&frozen.pipeline, &records);
        if store::holder(&self.home).is_none() {
            view.tell_no_engine();
        }
        super::bundle::name_bundles(&self.home, run, &mut view);
        Ok(Reading {
            run: run.clone(),
            frozen,
            records,
            view,
        })
    }

    /// What a run was started with.
    ///
    /// # Errors
    /// When the file is gone or not one of ours.
    pub fn read_frozen(&self, run: &RunId) -> Result<Frozen, Failure> {
        let bytes = store::read_frozen(&self.home, run)?;
        serde_json::from_slice(&bytes).map_err(|error| {
            let path = self.home.frozen(run);
            Failure::new(
                Exit::Environment,
                "frozen",
                format!("{} cannot be read: {error}", path.display()),
            )
            .help("`pipeline doctor --fix` sets the run aside and rebuilds it from git")
        })
    }

    /// The runs of this repository, oldest first.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn runs(&self) -> Result<Vec<RunId>, Failure> {
        Ok(store::read_runs(&self.home)?)
    }
}

impl Reading {
    /// The unit of that id.
    ///
    /// # Errors
    /// When the run has none; the nearest id is suggested.
    pub fn unit(&self, id: &str) -> Result<&crate::spec::Unit, Failure> {
        if let Some(unit) = self
            .frozen
            .pipeline
            .units
            .iter()
            .find(|unit| unit.id.as_str() == id)
        {
            return Ok(unit);
        }
        let names = self.frozen.pipeline.units.iter().map(|unit| unit.id.as_str());
        let failure = Failure::new(
            Exit::NoMatch,
            "no_unit",
            format!("run {} has no unit `{id}`", self.run),
        );
        let hint = nearest(id, names).map_or_else(String::new, |name| format!("did you mean `{name}`? "));
        Err(failure.help(format!("{hint}`pipeline status` lists the units")))
    }
}

/// A pipeline file that was read, with what validation said.
pub struct LoadedFile {
    /// The path as recorded: from the repository root where it lies below it.
    pub file: String,
    /// The pipeline, if it is valid.
    pub loaded: crate::spec::Loaded,
}

/// What validation may ask of the repository. Without one, only the file itself is judged.
pub struct Around<'a> {
    environment: &'a Environment,
    repository: Option<&'a Repository>,
    root: PathBuf,
    /// Asked for twice.
    branches: OnceCell<Vec<String>>,
}

impl crate::spec::Surroundings for Around<'_> {
    fn read(&self, path: &str) -> Result<String, String> {
        read_text(&self.root.join(path)).map_err(|failure| failure.to_string())
    }

    fn is_on_path(&self, program: &str) -> bool {
        if program.contains('/') {
            is_executable(&self.root.join(program))
        } else {
            self.environment.is_on_path(program)
        }
    }

    fn branches(&self) -> Vec<String> {
        let Some(repository) = self.repository else {
            return Vec::new();
        };
        self.branches.get_or_init(|| foreign_branches(repository)).clone()
    }

    fn has_branch(&self, name: &str) -> bool {
        // Without a repository only the file itself is judged.
        let found = |repository: &Repository| repository.branch_tips(&BTreeSet::from([name])).ok();
        self.repository
            .and_then(found)
            .is_none_or(|tips| !tips.is_empty())
    }

    fn tracked_paths(&self) -> Vec<String> {
        let head = |repository: &Repository| {
            let head = repository.resolve("HEAD").ok()??;
            repository.tracked_paths(&head).ok()
        };
        self.repository.and_then(head).unwrap_or_default()
    }
}

/// The branches that units could collide with.
fn foreign_branches(repository: &Repository) -> Vec<String> {
    // A branch on which a person repairs a unit is the unit's own and collides with nothing.
    let repairs: Vec<String> = repository
        .worktrees()
        .unwrap_or_default()
        .into_iter()
        .filter(|worktree| super::resolve::is_repair(&worktree.path))
        .filter_map(|worktree| worktree.branch)
        .collect();
    let mut branches = repository.branches().unwrap_or_default();
    branches.retain(|branch| !repairs.contains(branch));
    branches
}

/// Reads and judges a pipeline file.
///
/// # Errors
/// When the file itself cannot be read.
pub fn load_file(
    environment: &Environment,
    repository: Option<&Repository>,
    path: &Path,
) -> Result<LoadedFile, Failure> {
    let absolute = environment.cwd().join(path);
    let text = read_text(&absolute)?;
    let root = repository.map_or_else(|| environment.cwd().to_owned(), |r| r.root().to_owned());
    let canonical = absolute.canonicalize().unwrap_or_else(|_| absolute.clone());
    let file = canonical
        .strip_prefix(&root)
        .unwrap_or(&canonical)
        .display()
        .to_string();
    let defaults_path = ".pipeline/defaults.yaml";
    let defaults = match root.join(defaults_path) {
        present if present.exists() => Some(read_text(&present)?),
        _ => None,
    };
    let around = Around {
        environment,
        repository,
        root,
        branches: OnceCell::new(),
    };
    let defaults = defaults.as_deref().map(|text| (defaults_path, text));
    Ok(LoadedFile {
        loaded: crate::spec::load(&path.display().to_string(), &text, defaults, &around),
        file,
    })
}

/// The pipeline of a file that must be valid; that there are warnings is told.
///
/// # Errors
/// When it is not.
pub fn require_valid(loaded: LoadedFile, shown: &Path) -> Result<Frozen, Failure> {
    match loaded.loaded.pipeline {
        Some(pipeline) => {
            let warnings = loaded.loaded.diagnostics.len();
            if warnings > 0 {
                let plural = if warnings == 1 { "" } else { "s" };
                let shown = shown.display();
                tell(&format!(
                    "{shown}: {warnings} warning{plural}; `pipeline validate {shown}` shows them"
                ));
            }
            Ok(Frozen {
                file: loaded.file,
                pipeline,
            })
        }
        None => Err(Failure::of_file(
            &shown.display().to_string(),
            loaded.loaded.diagnostics,
        )),
    }
}

fn read_text(path: &Path) -> Result<String, Failure> {
    let failed = |error: &std::io::Error| {
        Failure::new(
            Exit::InvalidFile,
            "unreadable",
            format!("cannot read {}: {error}", path.display()),
        )
    };
    let size = path.metadata().map_err(|error| failed(&error))?.len();
    if size > FILE_BYTES_MAX {
        let message = format!("{} has {size} bytes; 8 MiB are the most", path.display());
        return Err(Failure::new(Exit::InvalidFile, "too_large", message));
    }
    std::fs::read_to_string(path).map_err(|error| failed(&error))
}

/// The clock of the program.
pub fn clock() -> Arc<dyn crate::port::Clock> {
    Arc::new(crate::clock::SystemClock)
}
