//! What SQLite says, sorted by what the caller does about it.

use quayside_store::{StoreError, StoreErrorKind};
use rusqlite::{ErrorCode, ffi};

/// What can go wrong inside a transaction.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DbError {
    /// SQLite's own words.
    #[error(transparent)]
    Sqlite(#[from] rusqlite::Error),
    /// A cell that cannot be: table, column and row.
    #[error("unreadable {0}")]
    Corrupt(String),
}

/// The result of a step of a transaction.
pub(crate) type DbResult<T> = Result<T, DbError>;

impl DbError {
    /// What the caller does about it.
    pub(crate) fn kind(&self) -> StoreErrorKind {
        match self {
            Self::Corrupt(_) => StoreErrorKind::Corrupt,
            Self::Sqlite(error) => kind_of(error),
        }
    }

    /// The error of the contract.
    pub(crate) fn into_store(self, operation: &'static str) -> StoreError {
        match self {
            Self::Corrupt(place) => StoreError::corrupt(operation, place),
            Self::Sqlite(error) => StoreError::new(kind_of(&error), operation, error),
        }
    }

    /// The same for an error of COMMIT itself: the commit record may be on the disk although SQLite could
    /// not say so, and recovery after a crash would find it.
    pub(crate) fn into_store_at_commit(self, operation: &'static str) -> StoreError {
        let mut error = self.into_store(operation);
        if error.kind == StoreErrorKind::Unavailable {
            error.kind = StoreErrorKind::Unknown;
        }
        error
    }
}

fn kind_of(error: &rusqlite::Error) -> StoreErrorKind {
    match error {
        rusqlite::Error::SqliteFailure(failure, _) => kind_of_code(failure),
        rusqlite::Error::FromSqlConversionFailure(..)
        | rusqlite::Error::InvalidColumnType(..)
        | rusqlite::Error::IntegralValueOutOfRange(..) => StoreErrorKind::Corrupt,
        _ => StoreErrorKind::Data,
    }
}

fn kind_of_code(failure: &ffi::Error) -> StoreErrorKind {
    // SQLite reports a full disk as FULL where it writes, but as an I/O error where it grows the shared
    // index of the log.
    if failure.extended_code == ffi::SQLITE_IOERR_SHMSIZE {
        return StoreErrorKind::Full;
    }
    match failure.code {
        ErrorCode::DiskFull => StoreErrorKind::Full,
        ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => StoreErrorKind::Contended,
        ErrorCode::ConstraintViolation | ErrorCode::TooBig | ErrorCode::TypeMismatch => {
            StoreErrorKind::Data
        }
        ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase => StoreErrorKind::Corrupt,
        _ => StoreErrorKind::Unavailable,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_sorted_by_what_to_do() {
        for (code, kind) in [
            (ffi::SQLITE_FULL, StoreErrorKind::Full),
            (ffi::SQLITE_IOERR_SHMSIZE, StoreErrorKind::Full),
            (ffi::SQLITE_IOERR_FSYNC, StoreErrorKind::Unavailable),
            (ffi::SQLITE_BUSY, StoreErrorKind::Contended),
            (ffi::SQLITE_CONSTRAINT_PRIMARYKEY, StoreErrorKind::Data),
            (ffi::SQLITE_TOOBIG, StoreErrorKind::Data),
            (ffi::SQLITE_CORRUPT, StoreErrorKind::Corrupt),
            (ffi::SQLITE_READONLY, StoreErrorKind::Unavailable),
        ] {
            let error =
                || DbError::from(rusqlite::Error::SqliteFailure(ffi::Error::new(code), None));
            assert_eq!(error().kind(), kind, "{code}");
            let at_commit = error().into_store_at_commit("test").kind;
            let unsure = kind == StoreErrorKind::Unavailable;
            assert_eq!(
                at_commit == StoreErrorKind::Unknown,
                unsure,
                "{code} at COMMIT"
            );
        }
    }
}
