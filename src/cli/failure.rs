//! Every error ends here: what, where, why, what to do, a code, and the exit code.

use std::fmt;

use miette::Diagnostic;

use super::exit::Exit;
use crate::control::AskError;
use crate::engine::EngineError;
use crate::engine::control::NotHere;
use crate::engine::steer::SteerError;
use crate::run::Refusal;
use crate::store::{LeaseError, StoreError};

/// An error on its way to the person.
#[derive(Debug)]
pub struct Failure {
    /// How the program ends.
    pub exit: Exit,
    code: &'static str,
    message: String,
    help: Option<String>,
    diagnostics: Vec<crate::spec::Diagnostic>,
}

impl Failure {
    /// An error with a code and a sentence that says what, where and why.
    pub fn new(exit: Exit, code: &'static str, message: impl Into<String>) -> Self {
        Self {
            exit,
            code,
            message: message.into(),
            help: None,
            diagnostics: Vec::new(),
        }
    }

    /// Whether it has this code.
    pub fn is(&self, code: &str) -> bool {
        self.code == code
    }

    /// Adds what to do about it.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// The problems of a pipeline file.
    pub fn of_file(file: &str, diagnostics: Vec<crate::spec::Diagnostic>) -> Self {
        let errors = diagnostics
            .iter()
            .filter(|d| d.level == crate::spec::Level::Error)
            .count();
        let plural = if errors == 1 { "" } else { "s" };
        let message = format!("{file} is not a valid pipeline file: {errors} error{plural}");
        let failure = Self::new(Exit::InvalidFile, "invalid_file", message);
        Self {
            diagnostics,
            ..failure.help("`pipeline explain CODE` tells more about a code")
        }
    }

    /// Says what helps against a full or read-only disk, when that is what the sentence tells of.
    fn with_remedy_of_disk(self) -> Self {
        match crate::port::disk_remedy(&self.message) {
            Some(remedy) => self.help(remedy),
            None => self,
        }
    }

    /// Problems to be shown before the error itself.
    pub fn diagnostics(&self) -> &[crate::spec::Diagnostic] {
        &self.diagnostics
    }

    /// An unexpected failure of the file system.
    pub fn io(what: &str, path: &std::path::Path, error: &std::io::Error) -> Self {
        let message = format!("cannot {what} {}: {error}", path.display());
        Self::new(Exit::Environment, "io", message).with_remedy_of_disk()
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

impl Diagnostic for Failure {
    fn code<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        Some(Box::new(format!("pipeline::{}", self.code)))
    }

    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.help
            .as_ref()
            .map(|help| Box::new(help) as Box<dyn fmt::Display>)
    }
}

impl From<crate::git::Error> for Failure {
    fn from(error: crate::git::Error) -> Self {
        Self::new(Exit::Environment, "git", error.to_string()).with_remedy_of_disk()
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::new(Exit::Environment, "store", error.to_string())
    }
}

impl From<LeaseError> for Failure {
    fn from(error: LeaseError) -> Self {
        match error {
            LeaseError::Held { .. } => {
                Self::new(Exit::Held, "held", error.to_string()).help("`pipeline status` works meanwhile")
            }
            LeaseError::Store(error) => error.into(),
        }
    }
}

impl From<EngineError> for Failure {
    fn from(error: EngineError) -> Self {
        match error {
            EngineError::Store(error) => error.into(),
            EngineError::Git(error) => error.into(),
            EngineError::Preflight(_) => Self::new(Exit::Environment, "workspace", error.to_string())
                .help("nothing was started; mend what it says, then run the same command"),
            EngineError::Pattern(error) => Self::new(Exit::InvalidFile, "pattern", error.to_string()),
            EngineError::Agent(error) => Self::new(Exit::Environment, "template", error.to_string()),
            EngineError::Replay { .. } | EngineError::Name(_) | EngineError::Frozen { .. } => {
                Self::new(Exit::Environment, "journal", error.to_string())
                    .help("`pipeline doctor --fix` sets the journal aside and rebuilds the run from git; keep it for a report")
            }
            EngineError::CutJournal { .. } => Self::new(Exit::Environment, "journal", error.to_string())
                .help("`pipeline doctor --fix` sets the journal aside and rebuilds the run from git"),
            EngineError::Task(error) => Self::new(Exit::Bug, "internal", error.to_string())
                .help("a bug of ours: report it with the run's journal; the same command goes on from there"),
        }
    }
}

impl From<SteerError> for Failure {
    fn from(error: SteerError) -> Self {
        match error {
            SteerError::Refused(refusal) => refusal.into(),
            SteerError::Engine(error) => error.into(),
        }
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        let (exit, code, help) = match refusal {
            Refusal::WrongState { .. } => (
                Exit::Usage,
                "wrong_state",
                "`pipeline status` shows where every unit is",
            ),
            Refusal::NoUnit { .. } => (Exit::NoMatch, "no_unit", "`pipeline status` lists the units"),
            Refusal::Finished => (
                Exit::Usage,
                "finished",
                "`pipeline runs` lists the runs; `--run NAME|ID` names another",
            ),
        };
        Self::new(exit, code, refusal.to_string()).help(help)
    }
}

impl From<NotHere> for Failure {
    fn from(not_here: NotHere) -> Self {
        Self::new(Exit::Held, "held", not_here.to_string())
            .help("wait for that engine to end, or stop it with Ctrl-C; then call again")
    }
}

impl From<AskError> for Failure {
    fn from(error: AskError) -> Self {
        let (exit, code, help) = match &error {
            AskError::Refused(_) => (
                Exit::Held,
                "refused",
                "a person steers a run from a terminal of their own",
            ),
            AskError::Late => (
                Exit::Held,
                "late",
                "`pipeline status` shows whether it is done; do not ask again before that",
            ),
            AskError::NoEngine | AskError::Gone | AskError::Io(_) => (
                Exit::Environment,
                "control",
                "`pipeline status` shows what came of it; Ctrl-C stops the engine and loses nothing",
            ),
        };
        Self::new(exit, code, error.to_string()).help(help)
    }
}
