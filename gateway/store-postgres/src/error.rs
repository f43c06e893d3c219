//! The driver's errors, by what the caller does about them.

use std::error::Error as _;

use quayside_store::{StoreError, StoreErrorKind};
use tokio_postgres::{
    Error,
    error::{Severity, SqlState},
};

/// What `error` means before a COMMIT was sent, or outside of a transaction that changes anything.
pub(crate) fn kind_of(error: &Error) -> StoreErrorKind {
    let Some(db) = error.as_db_error() else {
        return StoreErrorKind::Unavailable;
    };
    let state = db.code();
    match (state.code(), state.code().get(..2).unwrap_or("")) {
        ("40P01" | "40001" | "55P03" | "25P02", _) => StoreErrorKind::Contended,
        ("53100", _) => StoreErrorKind::Full,
        ("42P01" | "42703" | "42883" | "0A000", _) => StoreErrorKind::Schema,
        ("42501" | "3D000", _) | (_, "28") => StoreErrorKind::Config,
        ("XX001" | "XX002", _) => StoreErrorKind::Corrupt,
        (_, "22" | "23" | "54") => StoreErrorKind::Data,
        // Everything else is a server that cannot work now: shutting down, starting, read-only (25006),
        // out of connections or memory, a statement that was cancelled.
        _ => StoreErrorKind::Unavailable,
    }
}

/// The error of `operation`.
pub(crate) fn fail(operation: &'static str, error: Error) -> StoreError {
    StoreError::new(kind_of(&error), operation, words(&error))
}

/// What the database or the driver says, with all causes and in one line, as a log line wants it. What the
/// database adds to the refusal of a value is left out: it repeats the row, and with it a message's content.
fn words(error: &Error) -> String {
    let text = match error.as_db_error() {
        Some(db) => {
            let mut text = format!("{}: {}", db.severity(), db.message());
            let detail = db
                .detail()
                .filter(|_| kind_of(error) != StoreErrorKind::Data);
            for (label, more) in [("DETAIL", detail), ("HINT", db.hint())] {
                if let Some(more) = more {
                    text.push_str(&format!("\n{label}: {more}"));
                }
            }
            text
        }
        None => {
            let mut text = error.to_string();
            let mut cause = error.source();
            while let Some(error) = cause {
                text.push_str(&format!(": {error}"));
                cause = error.source();
            }
            text
        }
    };
    one_line(&text)
}

fn one_line(text: &str) -> String {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    lines.collect::<Vec<_>>().join("; ")
}

/// The same error where COMMIT had been sent: only a refusal by a server that went on living proves that
/// nothing happened.
pub(crate) fn fail_after_commit(operation: &'static str, error: Error) -> StoreError {
    let refused = error.as_db_error().is_some_and(|db| {
        let fatal = matches!(
            db.parsed_severity(),
            Some(Severity::Fatal | Severity::Panic) | None
        );
        !fatal && !db.code().code().starts_with("57P")
    });
    let kind = if refused {
        kind_of(&error)
    } else {
        StoreErrorKind::Unknown
    };
    StoreError::new(kind, operation, words(&error))
}

/// The server answered with a warning: a failover may forget what it confirmed.
pub(crate) fn unsure(operation: &'static str) -> StoreError {
    StoreError::new(
        StoreErrorKind::Unknown,
        operation,
        "the server warned that it may not be replicated",
    )
}

/// Whether a lock was waited for too long.
pub(crate) fn is_locked(error: &Error) -> bool {
    error.code() == Some(&SqlState::LOCK_NOT_AVAILABLE)
}

/// Nobody answered in time, and nothing can have happened.
pub(crate) fn too_slow(operation: &'static str) -> StoreError {
    StoreError::new(
        StoreErrorKind::Unavailable,
        operation,
        "the database did not answer in time",
    )
}

/// Whether the message was there already: an earlier run of the batch was committed.
pub(crate) fn is_stored_before(error: &Error) -> bool {
    error.as_db_error().is_some_and(|db| {
        *db.code() == SqlState::UNIQUE_VIOLATION
            && db.table().is_some_and(|t| t.starts_with("message_"))
    })
}

/// Whether a row found no partition for its day.
pub(crate) fn is_day_missing(error: &Error) -> bool {
    // The same code as a violated CHECK, but then with the name of the constraint.
    error
        .as_db_error()
        .is_some_and(|db| *db.code() == SqlState::CHECK_VIOLATION && db.constraint().is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_become_one() {
        let text = "ERROR: no space\n\nDETAIL: process 1\r\n  and 2\nHINT: free some.\n";
        let one = "ERROR: no space; DETAIL: process 1; and 2; HINT: free some.";
        assert_eq!(one_line(text), one);
        assert_eq!(one_line(one), one);
    }
}
