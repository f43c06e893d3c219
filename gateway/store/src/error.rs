//! What can go wrong beneath the contract, by what the caller does about it.

use quayside_model::Code;

use crate::codes;

/// The unexpected. The source holds the driver's own words.
#[derive(Debug, thiserror::Error)]
#[error("failed to {operation} ({})", kind.code())]
pub struct StoreError {
    /// What the caller does about it.
    pub kind: StoreErrorKind,
    /// The name of the transaction, such as `commit batch`.
    pub operation: &'static str,
    /// The cause.
    #[source]
    pub source: Box<dyn std::error::Error + Send + Sync>,
}

/// What the caller does about an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StoreErrorKind {
    /// Not reachable, or not ready to write. Nothing happened; try again with a pause.
    Unavailable,
    /// The connection broke while COMMIT was under way. It may have happened: run the same batch again.
    Unknown,
    /// Lost against another transaction (deadlock, serialization). Nothing happened; run it again.
    Contended,
    /// No space left. Nothing happened; try again with a pause and tell the operator.
    Full,
    /// The database refused a value of the batch. Nothing happened; take the batch apart.
    Data,
    /// What was read cannot be: names table, column and row. Tell the operator.
    Corrupt,
    /// The schema is of another version. Never try again.
    Schema,
    /// Another process has the store (embedded store only). Never try again.
    Occupied,
    /// The configuration of the store is wrong. Never try again.
    Config,
    /// The store was restored or copied, and has to be released first. Never try again.
    Copied,
}

impl StoreErrorKind {
    /// The stable code.
    #[must_use]
    pub fn code(self) -> Code {
        match self {
            Self::Unavailable => codes::UNAVAILABLE,
            Self::Unknown => codes::UNKNOWN_COMMIT,
            Self::Contended => codes::CONTENDED,
            Self::Full => codes::FULL,
            Self::Data => codes::DATA,
            Self::Corrupt => codes::CORRUPT,
            Self::Schema => codes::SCHEMA,
            Self::Occupied => codes::OCCUPIED,
            Self::Config => codes::CONFIG,
            Self::Copied => codes::COPIED,
        }
    }

    /// Whether the same call may succeed later without anyone's help in the program.
    #[must_use]
    pub fn is_transient(self) -> bool {
        matches!(
            self,
            Self::Unavailable | Self::Unknown | Self::Contended | Self::Full
        )
    }
}

impl StoreError {
    /// An error of `kind` in `operation`.
    pub fn new(
        kind: StoreErrorKind,
        operation: &'static str,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self {
            kind,
            operation,
            source: source.into(),
        }
    }

    /// A row that cannot be: `place` names table, column and row.
    pub fn corrupt(operation: &'static str, place: String) -> Self {
        Self::new(StoreErrorKind::Corrupt, operation, place)
    }
}
