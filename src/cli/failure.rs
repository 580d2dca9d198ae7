//! Every error ends here: what, where, why, what to do, a code, and the exit code.

use std::fmt;

use miette::Diagnostic;

use super::exit::Exit;
use crate::engine::EngineError;
use crate::engine::steer::SteerError;
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
            EngineError::Replay { .. } | EngineError::Name(_) => {
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
            SteerError::WrongState { .. } => Self::new(Exit::Usage, "wrong_state", error.to_string())
                .help("`pipeline status` shows where every unit is"),
            SteerError::NoUnit { .. } => Self::new(Exit::NoMatch, "no_unit", error.to_string())
                .help("`pipeline status` lists the units"),
            SteerError::Finished { .. } => Self::new(Exit::Usage, "finished", error.to_string())
                .help("`pipeline runs` lists the runs; `--run NAME|ID` names another"),
            SteerError::Engine(error) => error.into(),
        }
    }
}
