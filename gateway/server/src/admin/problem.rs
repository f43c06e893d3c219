//! Refusals as problem documents (RFC 9457) with a code and a remedy.

use axum::{
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use quayside_adapter_api::Rejected;
use quayside_adapter_http::refusal;
use quayside_engine::EngineError;
use quayside_model::Code;
use quayside_store::StoreError;
use serde_json::json;

use crate::{cli::codes, exit::root};

/// A refusal.
#[derive(Debug)]
pub(super) struct Problem {
    status: StatusCode,
    code: Code,
    detail: String,
    retry_after_secs: Option<u64>,
}

/// What a handler gives.
pub(super) type Answer<T> = Result<T, Problem>;

impl Problem {
    pub(super) fn new(status: StatusCode, code: Code, detail: impl Into<String>) -> Self {
        Self {
            status,
            code,
            detail: detail.into(),
            retry_after_secs: None,
        }
    }

    pub(super) fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, codes::NOT_FOUND, detail)
    }

    pub(super) fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, codes::BAD_REQUEST, detail)
    }

    /// There is no engine at this moment.
    pub(super) fn not_running() -> Self {
        let detail = "the engine is starting, restarting or stopping";
        Self {
            retry_after_secs: Some(1),
            ..Self::new(StatusCode::SERVICE_UNAVAILABLE, codes::NOT_RUNNING, detail)
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        if self.status.is_server_error() {
            tracing::warn!(code = %self.code, error = %self.detail, "an admin call failed");
        }
        let document = json!({
            "type": format!("urn:quayside:error:{}", self.code.code),
            "title": self.code.meaning,
            "status": self.status.as_u16(),
            "detail": self.detail,
            "code": self.code.code,
            "help": self.code.remedy,
            "retryable": self.retry_after_secs.is_some(),
        });
        let kind = [(header::CONTENT_TYPE, "application/problem+json")];
        let mut response = (self.status, kind, document.to_string()).into_response();
        if let Some(secs) = self.retry_after_secs {
            response
                .headers_mut()
                .insert(header::RETRY_AFTER, secs.into());
        }
        response
    }
}

impl Problem {
    /// The store came to no answer about what an operator wants: that may be written later all the same.
    pub(super) fn undecided(error: StoreError) -> Self {
        let transient = error.kind.is_transient();
        let mut problem = Self::from(error);
        if transient {
            problem.detail += "; it may take effect all the same: `quayside cluster history` tells";
        }
        problem
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        let transient = error.kind.is_transient();
        let status = match transient {
            true => StatusCode::SERVICE_UNAVAILABLE,
            false => StatusCode::INTERNAL_SERVER_ERROR,
        };
        let retry_after_secs = transient.then_some(1);
        Self {
            retry_after_secs,
            ..Self::new(status, error.kind.code(), in_words(&error))
        }
    }
}

/// What the store could not do, and the cause at the bottom: what lies between is the driver's own matter.
fn in_words(error: &StoreError) -> String {
    format!("the store could not {}: {}", error.operation, root(error))
}

impl From<EngineError> for Problem {
    fn from(error: EngineError) -> Self {
        let code = error.code();
        let store = match error {
            EngineError::Store(error) => return error.into(),
            other => other,
        };
        let detail = match &store {
            EngineError::Coded { detail, .. } => detail.clone(),
            EngineError::Adapter(error) => error.detail.clone(),
            other => root(other),
        };
        let status = if code == quayside_engine::codes::NOT_FOUND
            || code == quayside_engine::codes::NO_PORT
        {
            StatusCode::NOT_FOUND
        } else if code == quayside_engine::codes::NO_SUBSCRIBER {
            StatusCode::UNPROCESSABLE_ENTITY
        } else {
            StatusCode::BAD_GATEWAY
        };
        Self::new(status, code, detail)
    }
}

impl From<Rejected> for Problem {
    fn from(rejected: Rejected) -> Self {
        let (status, retry_after) = refusal(&rejected);
        Self {
            retry_after_secs: retry_after.map(|wait| wait.as_secs().max(1)),
            ..Self::new(status, rejected.code, rejected.detail)
        }
    }
}
