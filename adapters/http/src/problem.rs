//! What the partner reads: answers, and problem documents after RFC 9457.

use bytes::Bytes;
use http::{
    HeaderValue, Response, StatusCode,
    header::{CONTENT_TYPE, HeaderName, RETRY_AFTER},
};
use http_body_util::Full;
use quayside_adapter_api::{AdapterError, ErrorKind, RejectKind, Rejected, model::Code};
use serde::Serialize;

use crate::error as codes;

/// An answer. Always whole in memory: what is larger than 256 KiB is no answer.
pub(crate) type Reply = Response<Full<Bytes>>;

/// What went wrong, on its way to become an answer.
#[derive(Debug)]
pub(crate) struct Problem {
    pub(crate) status: StatusCode,
    pub(crate) code: Code,
    pub(crate) detail: String,
    /// Which event of a batch is to blame, counted from 0.
    pub(crate) index: Option<u16>,
    pub(crate) retry_after: Option<std::time::Duration>,
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
}

#[derive(Serialize)]
struct Document<'a> {
    r#type: String,
    title: &'a str,
    status: u16,
    detail: &'a str,
    code: &'a str,
    instance: &'a str,
    retryable: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    index: Option<u16>,
}

impl Problem {
    /// A problem of this status.
    pub(crate) fn new(status: StatusCode, code: Code, detail: impl Into<String>) -> Self {
        Self {
            status,
            code,
            detail: detail.into(),
            index: None,
            retry_after: None,
            headers: Vec::new(),
        }
    }

    /// The gateway cannot take the request now.
    pub(crate) fn busy(status: StatusCode, code: Code, detail: impl Into<String>) -> Self {
        Self {
            retry_after: Some(RETRY_SOON),
            ..Self::new(status, code, detail)
        }
    }

    /// The fault of one event of a batch, counted from 0.
    pub(crate) fn of_event(self, index: u16) -> Self {
        Self {
            detail: format!("event {index} of the batch: {}", self.detail),
            index: Some(index),
            ..self
        }
    }

    /// With this header.
    pub(crate) fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    /// The answer; `path` is what was asked for.
    pub(crate) fn reply(self, path: &str) -> Reply {
        let document = Document {
            r#type: format!("urn:quayside:error:{}", self.code.code),
            title: self.code.meaning,
            status: self.status.as_u16(),
            detail: &self.detail,
            code: self.code.code,
            instance: path,
            retryable: is_retryable(self.status),
            index: self.index,
        };
        let body = serde_json::to_vec(&document).expect("strings and numbers are JSON");
        let mut reply = Response::new(Full::from(body));
        *reply.status_mut() = self.status;
        let headers = reply.headers_mut();
        headers.insert(
            CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        if let Some(after) = self.retry_after {
            // Whole seconds, rounded up: a sender must not come back before the time.
            let secs = after.as_secs() + u64::from(after.subsec_nanos() > 0);
            headers.insert(RETRY_AFTER, HeaderValue::from(secs.max(1)));
        }
        for (name, value) in self.headers {
            headers.append(name, value);
        }
        reply
    }
}

/// When to come back if nothing better is known.
const RETRY_SOON: std::time::Duration = std::time::Duration::from_secs(1);

fn is_retryable(status: StatusCode) -> bool {
    matches!(status.as_u16(), 408 | 409 | 429 | 503 | 504)
}

impl From<AdapterError> for Problem {
    fn from(error: AdapterError) -> Self {
        let by_kind = match error.kind {
            ErrorKind::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            ErrorKind::Invalid => StatusCode::UNPROCESSABLE_ENTITY,
            _ => StatusCode::SERVICE_UNAVAILABLE,
        };
        let status = status_of(error.code).unwrap_or(by_kind);
        Self::new(status, error.code, error.detail)
    }
}

/// How a refusal of the engine is answered: the status, and when to come back. Public for the admin API,
/// which takes messages in as well and refuses them in the same way.
#[must_use]
pub fn refusal(rejected: &Rejected) -> (StatusCode, Option<std::time::Duration>) {
    let by_kind = match rejected.kind {
        RejectKind::Invalid | RejectKind::KeyReused => StatusCode::UNPROCESSABLE_ENTITY,
        RejectKind::Forbidden => StatusCode::FORBIDDEN,
        RejectKind::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        RejectKind::InProgress => StatusCode::CONFLICT,
        RejectKind::Overloaded => StatusCode::TOO_MANY_REQUESTS,
        RejectKind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        RejectKind::NoAnswer => StatusCode::GATEWAY_TIMEOUT,
        RejectKind::NotAnswered => StatusCode::BAD_GATEWAY,
    };
    // A body that failed on its way carries this crate's own code through the engine.
    let status = status_of(rejected.code).unwrap_or(by_kind);
    let retry_after = match rejected.kind {
        RejectKind::Overloaded | RejectKind::Unavailable => {
            rejected.retry_after.or(Some(RETRY_SOON))
        }
        _ => rejected.retry_after,
    };
    (status, retry_after)
}

impl From<Rejected> for Problem {
    fn from(rejected: Rejected) -> Self {
        let (status, retry_after) = refusal(&rejected);
        let problem = Self {
            retry_after,
            ..Self::new(status, rejected.code, rejected.detail)
        };
        match rejected.index {
            Some(index) => problem.of_event(index),
            None => problem,
        }
    }
}

/// The status that says what a code of this crate means.
fn status_of(code: Code) -> Option<StatusCode> {
    const TABLE: [(Code, StatusCode); 11] = [
        (codes::TOO_SLOW, StatusCode::REQUEST_TIMEOUT),
        (codes::TRUNCATED, StatusCode::BAD_REQUEST),
        (codes::BAD_GZIP, StatusCode::BAD_REQUEST),
        (codes::BAD_DIGEST, StatusCode::BAD_REQUEST),
        (codes::DIGEST_MISMATCH, StatusCode::BAD_REQUEST),
        (codes::EMPTY, StatusCode::BAD_REQUEST),
        (codes::BAD_KEY, StatusCode::BAD_REQUEST),
        (codes::KEY_REQUIRED, StatusCode::BAD_REQUEST),
        (codes::BAD_EVENT, StatusCode::BAD_REQUEST),
        (codes::BAD_REQUEST, StatusCode::BAD_REQUEST),
        (codes::TOO_LARGE, StatusCode::PAYLOAD_TOO_LARGE),
    ];
    TABLE
        .iter()
        .find(|(known, _)| *known == code)
        .map(|(_, status)| *status)
}
