//! What a failure of the broker means.

use lapin::ErrorKind as Cause;
use quayside_adapter_api::{AdapterError, ErrorKind};

use crate::codes;

/// The replies of AMQP that tell more than that something failed.
const ACCESS_REFUSED: u16 = 403;
const NOT_FOUND: u16 = 404;
const NOT_ALLOWED: u16 = 530;

/// A failure while `doing` something.
pub(crate) fn of_broker(doing: &str, error: &lapin::Error) -> AdapterError {
    let reply = match error.kind() {
        Cause::ProtocolError(error) => Some(error.get_id()),
        _ => None,
    };
    let (kind, code) = match reply {
        Some(ACCESS_REFUSED | NOT_ALLOWED) => (ErrorKind::Config, codes::LOGIN_REFUSED),
        Some(NOT_FOUND) => (ErrorKind::Config, codes::QUEUE_MISSING),
        _ => (ErrorKind::Disconnected, codes::UNREACHABLE),
    };
    AdapterError::new(kind, code, format!("{doing}: {error}"))
}

/// The broker cannot be reached, or is not there any more.
pub(crate) fn unreachable(detail: impl Into<String>) -> AdapterError {
    AdapterError::new(ErrorKind::Disconnected, codes::UNREACHABLE, detail)
}

/// The location or port ends.
pub(crate) fn closed() -> AdapterError {
    let detail = "the queue is not used any more";
    AdapterError::new(ErrorKind::Disconnected, codes::CLOSED, detail)
}
