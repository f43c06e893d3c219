//! How a run of the program ends: exit codes and the form of a failure. Both are stable.

use std::{fmt, io::Write as _, process::ExitCode};

use quayside_model::Code;

/// The exit codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Exit {
    /// Done.
    Ok = 0,
    /// Tried and failed.
    Failed = 1,
    /// The command line cannot be understood.
    Usage = 2,
    /// There is no such thing.
    NotFound = 3,
    /// No node answers at the admin address, or no broker at its own.
    NoNode = 4,
    /// The configuration has errors.
    BadConfig = 10,
    /// The schema of the store is of another version.
    Schema = 11,
    /// The process cannot stay alive as a member of its group: start it again.
    Lost = 12,
    /// The agent that started the process is gone, or does not speak to it.
    Orphan = 21,
    /// A part of the process has failed; its agent starts another one.
    Broken = 70,
}

/// The exit codes, as `--help` shows them.
pub(crate) const HELP: &str = "\
Exit codes: 0 done, 1 failed, 2 wrong usage, 3 no such thing, 4 no node or broker answers,
10 the configuration has errors (`check --strict`: or warnings), 11 the store's schema is of another
version, 12 the process was lost to its group again and again: start it anew, 21 the agent that started
the process is gone, 70 a part of a process of an agent has failed.";

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Why a verb failed, for the person who called it.
#[derive(Debug)]
pub(crate) struct Failure {
    /// The stable code.
    pub(crate) code: Code,
    /// How the program ends.
    pub(crate) exit: Exit,
    /// The cause.
    pub(crate) message: String,
    /// What to do, where it is more than the code's own remedy.
    pub(crate) help: Option<String>,
}

impl Failure {
    /// A failure that ends the program with 1.
    pub(crate) fn new(code: Code, message: impl Into<String>) -> Self {
        Self {
            code,
            exit: Exit::Failed,
            message: message.into(),
            help: None,
        }
    }

    /// The same failure with another exit code.
    pub(crate) fn exiting(self, exit: Exit) -> Self {
        Self { exit, ..self }
    }

    /// The same failure with its own remedy.
    pub(crate) fn with_help(self, help: impl Into<String>) -> Self {
        Self {
            help: Some(help.into()),
            ..self
        }
    }

    /// Writes the failure to standard error and says how the program ends.
    pub(crate) fn report(&self) -> Exit {
        // If nobody reads standard error there is nobody left to tell.
        let _ = write!(std::io::stderr(), "{self}");
        self.exit
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "error[{}] {}", self.code, self.message)?;
        writeln!(
            f,
            "   help: {}",
            self.help.as_deref().unwrap_or(self.code.remedy)
        )
    }
}

/// The cause at the bottom of an error: for people who have no use for the layers above it.
pub(crate) fn root(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(cause) = error.source() {
        error = cause;
    }
    error.to_string()
}

/// An error with all its causes, on one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
