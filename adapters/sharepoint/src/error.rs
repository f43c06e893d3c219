//! Failures before and beside the farm's own answers.

use std::{error::Error, fmt::Write as _};

use quayside_adapter_api::{AdapterError, ErrorKind, model::Code};
use reqwest::Url;

use crate::codes;

/// Something that an operator has to repair.
pub(crate) fn config(code: Code, detail: impl Into<String>) -> AdapterError {
    AdapterError::new(ErrorKind::Config, code, detail)
}

/// The open location takes nothing any more.
pub(crate) fn closed() -> AdapterError {
    AdapterError::new(ErrorKind::Ended, codes::CLOSED, "the location is closed")
}

/// The process is not trusted to act any more.
pub(crate) fn not_trusted() -> AdapterError {
    let detail = "the process was paused beyond its lease";
    AdapterError::new(ErrorKind::Retry(None), codes::NOT_TRUSTED, detail)
}

/// Something of a farm that makes no sense.
pub(crate) fn bad_answer(doing: &str, what: impl AsRef<str>) -> AdapterError {
    let detail = format!("{doing}: {}", what.as_ref());
    AdapterError::new(ErrorKind::Retry(None), codes::BAD_ANSWER, detail)
}

/// Which host gave no answer, and why.
pub(crate) fn unreached(url: &Url, error: &reqwest::Error) -> String {
    let host = url.host_str().unwrap_or_default();
    let port = url.port_or_known_default().unwrap_or_default();
    let why = if error.is_timeout() && error.is_connect() {
        "connecting took too long".to_owned()
    } else if error.is_timeout() {
        "no answer in time".to_owned()
    } else {
        chain(error)
    };
    format!("{host}:{port}: {why}")
}

/// `error` and all its causes in one line: most HTTP libraries keep the telling part in the last one.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            // Writing to a String cannot fail.
            let _ = write!(text, ": {cause_text}");
        }
        source = cause.source();
    }
    text
}
