//! Exit codes, and the one place where they are decided.

use crate::event::StopCause;

/// How the program ends. The numbers are a contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// All units are done, or there was nothing to do.
    Done,
    /// A bug of ours.
    Bug,
    /// The command line makes no sense.
    Usage,
    /// The pipeline file is not valid.
    InvalidFile,
    /// No unit or run matches.
    NoMatch,
    /// Finished, but some unit needs a person.
    NeedsPerson,
    /// Stopped by budget, time limit, a human gate, a pause, a dirty target or a red base; the same command goes on.
    Stopped,
    /// Another engine holds the repository.
    Held,
    /// git, the disk, an agent or the sandbox is not as it must be.
    Environment,
    /// Safety stop: landed work or the target is gone, or something was tampered with.
    Safety,
    /// `plan --detailed-exitcode`: there is something to do.
    SomethingToDo,
    /// Ended by SIGINT; the same command goes on.
    Interrupted,
    /// Ended by SIGTERM; the same command goes on.
    Terminated,
}

impl Exit {
    /// The number.
    pub fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Bug => 1,
            Self::Usage => 2,
            Self::InvalidFile => 3,
            Self::NoMatch => 4,
            Self::NeedsPerson => 5,
            Self::Stopped => 6,
            Self::Held => 7,
            Self::Environment => 8,
            Self::Safety => 10,
            Self::SomethingToDo => 12,
            Self::Interrupted => 130,
            Self::Terminated => 143,
        }
    }

    /// How `run` ends: why the engine let go, and whether a unit waits for a person.
    pub fn of_run(cause: StopCause, needs_person: bool, signal: Option<Signal>) -> Self {
        match cause {
            StopCause::Safety => Self::Safety,
            StopCause::Environment => Self::Environment,
            StopCause::Signal => match signal {
                Some(Signal::Terminate) => Self::Terminated,
                Some(Signal::Interrupt) | None => Self::Interrupted,
            },
            StopCause::Budget | StopCause::TimeLimit | StopCause::Human | StopCause::BaseRed => Self::Stopped,
            StopCause::Finished if needs_person => Self::NeedsPerson,
            StopCause::Finished => Self::Done,
        }
    }
}

/// A signal that asked the program to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// SIGINT.
    Interrupt,
    /// SIGTERM.
    Terminate,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_safety_stop_outranks_units_that_need_a_person() {
        assert_eq!(Exit::of_run(StopCause::Safety, true, None).code(), 10);
        assert_eq!(Exit::of_run(StopCause::Environment, true, None).code(), 8);
        assert_eq!(Exit::of_run(StopCause::Human, true, None).code(), 6);
        assert_eq!(Exit::of_run(StopCause::Finished, true, None).code(), 5);
        assert_eq!(Exit::of_run(StopCause::Finished, false, None).code(), 0);
    }

    #[test]
    fn a_signal_ends_with_its_number() {
        assert_eq!(
            Exit::of_run(StopCause::Signal, false, Some(Signal::Interrupt)).code(),
            130
        );
        assert_eq!(
            Exit::of_run(StopCause::Signal, false, Some(Signal::Terminate)).code(),
            143
        );
    }
}
