//! What adapters fail with: a kind that the engine acts on, a code, a cause.

use std::time::Duration;

use quayside_model::Code;

/// A failure of an adapter.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {detail}")]
pub struct AdapterError {
    /// What the engine does about it.
    pub kind: ErrorKind,
    /// The stable code.
    pub code: Code,
    /// The cause, for an operator.
    pub detail: String,
    /// Whether the effect may have happened all the same.
    pub in_doubt: bool,
}

/// What the engine does about a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// The source or the target cannot be reached: open it again with a pause, try again.
    Disconnected,
    /// Try again by the port's schedule, but not before this long.
    Retry(Option<Duration>),
    /// This message will never be taken as it is: the next transport, else suspend.
    Rejected,
    /// The whole port cannot work until something is repaired.
    Config,
    /// What is being received is not acceptable: tell the sender.
    Invalid,
    /// What is being received is larger than the location allows: tell the sender.
    TooLarge,
    /// The source is at its end and will never yield again.
    Ended,
}

impl AdapterError {
    /// A failure whose effect surely did not happen.
    pub fn new(kind: ErrorKind, code: Code, detail: impl Into<String>) -> Self {
        Self {
            kind,
            code,
            detail: detail.into(),
            in_doubt: false,
        }
    }

    /// The same failure, but its effect may have happened.
    #[must_use]
    pub fn doubtful(mut self) -> Self {
        self.in_doubt = true;
        self
    }
}
