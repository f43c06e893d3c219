//! What a failure of the broker means.

use std::io;

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
    AdapterError::new(kind, code, format!("{doing}: {}", words(error)))
}

/// What the broker said, without the names that the protocol and the library have for it: what is cut off a
/// line that is too long is then not what tells the cause.
pub(crate) fn words(error: &lapin::Error) -> String {
    let said = match error.kind() {
        Cause::ProtocolError(error) => error.get_message().to_string(),
        _ => return error.to_string(),
    };
    let is_name = |name: &str| name.chars().all(|c| c.is_ascii_uppercase() || c == '_');
    match said.split_once(" - ") {
        Some((name, cause)) if is_name(name) && !cause.is_empty() => cause.to_owned(),
        _ => said,
    }
}

/// The broker cannot be reached, or is not there any more.
pub(crate) fn unreachable(detail: impl Into<String>) -> AdapterError {
    AdapterError::new(ErrorKind::Disconnected, codes::UNREACHABLE, detail)
}

/// The broker at `place` cannot be connected to.
pub(crate) fn of_connecting(place: &str, error: &io::Error) -> AdapterError {
    let tls = error.get_ref().and_then(|cause| cause.downcast_ref());
    match tls {
        Some(rustls::Error::InvalidMessage(_)) => unreachable(format!(
            "{place}: what listens there speaks no TLS; `amqps` mostly has the port 5671"
        )),
        _ => unreachable(format!("{place}: {error}")),
    }
}

/// The location or port ends.
pub(crate) fn closed() -> AdapterError {
    let detail = "the queue is not used any more";
    AdapterError::new(ErrorKind::Disconnected, codes::CLOSED, detail)
}

#[cfg(test)]
mod tests {
    use lapin::protocol::{AMQPError, AMQPErrorKind, AMQPSoftError};

    use super::*;

    fn refused(said: &str) -> lapin::Error {
        let kind = AMQPErrorKind::Soft(AMQPSoftError::NOTFOUND);
        lapin::Error::from(Cause::ProtocolError(AMQPError::new(kind, said.into())))
    }

    #[test]
    fn a_broker_without_tls_is_told_from_one_that_is_not_there() {
        let cause = rustls::Error::InvalidMessage(rustls::InvalidMessage::InvalidContentType);
        let plain = io::Error::new(io::ErrorKind::InvalidData, cause);
        let told = of_connecting("mq:5672", &plain).detail;
        assert!(told.contains("speaks no TLS"), "{told}");
        let away = io::Error::from(io::ErrorKind::ConnectionRefused);
        assert_eq!(
            of_connecting("mq:5672", &away).detail,
            "mq:5672: connection refused"
        );
    }

    #[test]
    fn the_words_of_the_broker_stand_alone() {
        for (said, shown) in [
            (
                "NOT_FOUND - no queue 'q' in vhost '/'",
                "no queue 'q' in vhost '/'",
            ),
            ("no queue - none", "no queue - none"),
            ("NOT_FOUND", "NOT_FOUND"),
        ] {
            let error = of_broker("consuming from `q`", &refused(said));
            assert_eq!(error.code, codes::QUEUE_MISSING);
            assert_eq!(error.detail, format!("consuming from `q`: {shown}"));
        }
    }
}
