//! An open receive location: what its requests are measured by, and the way to the engine.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use http::{HeaderMap, HeaderValue, Method, header};
use quayside_adapter_api::{
    AdapterError, Messages, RejectKind, Rejected, Resting, Services,
    model::{Clock, Name, Text},
};
use tokio::sync::mpsc;

use crate::{
    ReceiveConfig, body,
    credential::Gate,
    error::config as config_error,
    error::{BAD_METHOD, CLOSED, RESTING},
    gzip,
    queue::Queued,
};

/// An open receive location.
pub(crate) struct Location {
    pub(crate) name: Name,
    pub(crate) config: ReceiveConfig,
    pub(crate) methods: Vec<Method>,
    pub(crate) allow: HeaderValue,
    pub(crate) gate: Option<Gate>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) messages: Arc<dyn Messages>,
    pub(crate) deliveries: mpsc::Sender<Queued>,
    /// Why it rests, as far as it was said.
    resting: Mutex<Option<Resting>>,
}

impl fmt::Debug for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Location")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl Location {
    /// A location, and the end of its channel that the engine reads.
    pub(crate) fn new(
        name: Name,
        config: ReceiveConfig,
        services: &Services,
    ) -> Result<(Arc<Self>, mpsc::Receiver<Queued>), AdapterError> {
        let gate = config.auth.as_ref().map(|auth| Gate::new(auth, services));
        let (deliveries, receiver) = mpsc::channel(config.max_in_flight);
        let methods = config
            .methods
            .iter()
            .map(|m| Method::from_bytes(m.as_bytes()))
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| config_error(BAD_METHOD, error.to_string()))?;
        let allow = HeaderValue::from_str(&config.methods.join(", "))
            .map_err(|error| config_error(BAD_METHOD, error.to_string()))?;
        let location = Self {
            name,
            config,
            methods,
            allow,
            gate,
            clock: Arc::clone(&services.clock),
            messages: Arc::clone(&services.messages),
            deliveries,
            resting: Mutex::default(),
        };
        Ok((Arc::new(location), receiver))
    }

    /// Whether nobody takes its deliveries any more.
    pub(crate) fn is_closed(&self) -> bool {
        self.deliveries.is_closed()
    }

    /// Notes why it rests, for those who ask.
    pub(crate) fn rest(&self, why: Resting) {
        *self.resting.lock().unwrap_or_else(PoisonError::into_inner) = Some(why);
    }

    /// What a sender is told when it is closed.
    pub(crate) fn closed(&self) -> Rejected {
        let resting = self.resting.lock().unwrap_or_else(PoisonError::into_inner);
        let (code, why, retry_after) = match &*resting {
            Some(resting) => (RESTING, &*resting.why, Some(resting.retry_after)),
            None => (CLOSED, "is being closed", None),
        };
        Rejected {
            kind: RejectKind::Unavailable,
            code,
            detail: format!("the receive location {why}"),
            index: None,
            retry_after,
        }
    }

    /// What a content may be.
    pub(crate) fn limits(&self) -> body::Limits {
        body::Limits {
            max: self.config.max_body.bytes(),
            timeout: self.config.body_timeout.duration(),
            allow_empty: self.config.allow_empty,
        }
    }

    /// How far a content may inflate.
    pub(crate) fn inflation(&self) -> gzip::Limits {
        let gzip = &self.config.gzip;
        gzip::Limits {
            inflated: gzip.max_inflated.unwrap_or(self.config.max_body).bytes(),
            ratio: gzip.max_ratio,
        }
    }

    /// Whether the media type of a request is one that it takes.
    pub(crate) fn takes_type(&self, headers: &HeaderMap) -> bool {
        let accept = &self.config.accept;
        if accept.is_empty() {
            return true;
        }
        let Some(essence) = headers
            .get(header::CONTENT_TYPE)
            .and_then(|v| v.to_str().ok())
        else {
            return false;
        };
        let essence = essence.split(';').next().unwrap_or_default().trim();
        accept.iter().any(|pattern| type_matches(pattern, essence))
    }

    /// The types that it takes, as the `Accept-Post` header says it.
    pub(crate) fn accept_post(&self) -> Option<HeaderValue> {
        HeaderValue::from_str(&self.config.accept.join(", ")).ok()
    }

    /// Whether a verified certificate of this subject may send.
    pub(crate) fn takes_subject(&self, subject: &Text) -> bool {
        let subjects = &self.config.client_subjects;
        subjects.is_empty() || subjects.iter().any(|known| known == subject.as_str())
    }
}

fn type_matches(pattern: &str, essence: &str) -> bool {
    match pattern.strip_suffix("/*") {
        Some("*") => true,
        Some(kind) => essence
            .split_once('/')
            .is_some_and(|(given, _)| given.eq_ignore_ascii_case(kind)),
        None => pattern.eq_ignore_ascii_case(essence),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn media_types_match_whole_or_by_kind() {
        for (pattern, essence, want) in [
            ("application/xml", "Application/XML", true),
            ("text/*", "text/plain", true),
            ("*/*", "image/png", true),
            ("text/*", "textual/plain", false),
            ("application/xml", "application/xml2", false),
        ] {
            assert_eq!(type_matches(pattern, essence), want, "{pattern} {essence}");
        }
    }
}
