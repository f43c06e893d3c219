//! What a partner's answer means: taken, come again, or never.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use quayside_adapter_api::{
    AdapterError, ErrorKind,
    model::{Clock, Timestamp},
};
use reqwest::{Response, StatusCode, header};

use crate::error::{
    CREDENTIAL_REFUSED, PARTNER_BUSY, PARTNER_GONE, PARTNER_REFUSED, config as config_error,
};

/// How much of the body of a refusal is read.
pub(crate) const ERROR_BODY: usize = 48 * 1024;

/// How much of it an operator is shown, in characters.
const SHOWN: usize = 2000;

/// The longest pause that a partner may ask for.
const LONGEST_PAUSE: Duration = Duration::from_secs(3600);

/// A body, or the beginning of it.
pub(crate) struct ReadBody {
    pub(crate) bytes: Bytes,
    pub(crate) end: End,
}

/// How a body was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// To its end.
    Complete,
    /// To the limit: it is longer.
    TooLong,
    /// Until the connection broke.
    Broken,
}

/// Reads at most `max` bytes of an answer.
pub(crate) async fn read_up_to(mut response: Response, max: usize) -> ReadBody {
    let mut bytes = BytesMut::new();
    let end = loop {
        match response.chunk().await {
            Ok(Some(chunk)) if bytes.len() + chunk.len() > max => {
                bytes.extend_from_slice(&chunk[..max - bytes.len()]);
                break End::TooLong;
            }
            Ok(Some(chunk)) => bytes.extend_from_slice(&chunk),
            Ok(None) => break End::Complete,
            Err(_) => break End::Broken,
        }
    };
    ReadBody {
        bytes: bytes.freeze(),
        end,
    }
}

/// What a status other than 2xx and the followed redirects means. `repeatable`: whether the partner
/// recognises a repeat, by key or by method, so that a failure in the middle leaves nothing in doubt.
pub(crate) async fn refusal(
    response: Response,
    repeatable: bool,
    clock: &dyn Clock,
) -> AdapterError {
    let status = response.status();
    let pause = retry_after(&response, clock.now());
    let body = read_up_to(response, ERROR_BODY).await;
    let shown: String = String::from_utf8_lossy(&body.bytes)
        .chars()
        .take(SHOWN)
        .collect();
    let detail = match shown.trim() {
        "" => format!("the partner answered {status}"),
        shown => format!("the partner answered {status}: {shown}"),
    };
    classify(status, pause, repeatable, detail)
}

fn classify(
    status: StatusCode,
    pause: Option<Duration>,
    repeatable: bool,
    detail: String,
) -> AdapterError {
    match status.as_u16() {
        // The partner, or something before it, may have failed after the effect.
        500 | 502 | 504 => {
            let error = AdapterError::new(ErrorKind::Retry(pause), PARTNER_BUSY, detail);
            if repeatable { error } else { error.doubtful() }
        }
        408 | 409 | 425 | 429 | 500..=599 => {
            AdapterError::new(ErrorKind::Retry(pause), PARTNER_BUSY, detail)
        }
        // No message will pass with this credential, so none should be suspended for it.
        401 | 407 => config_error(CREDENTIAL_REFUSED, detail),
        410 => config_error(PARTNER_GONE, detail),
        _ => AdapterError::new(ErrorKind::Rejected, PARTNER_REFUSED, detail),
    }
}

/// The pause that a partner asks for, in seconds or as a date.
fn retry_after(response: &Response, now: Timestamp) -> Option<Duration> {
    let value = response.headers().get(header::RETRY_AFTER)?.to_str().ok()?;
    parse_pause(value.trim(), now)
}

fn parse_pause(value: &str, now: Timestamp) -> Option<Duration> {
    let pause = match value.parse::<u64>() {
        Ok(secs) => Duration::from_secs(secs),
        Err(_) => {
            let at = httpdate::parse_http_date(value).ok()?;
            let since_epoch = at.duration_since(std::time::UNIX_EPOCH).ok()?;
            let micros = i64::try_from(since_epoch.as_micros()).ok()?;
            Timestamp::from_micros(micros).since(now)
        }
    };
    Some(pause.min(LONGEST_PAUSE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_is_a_number_or_a_date() {
        let now: Timestamp = "2026-11-21T09:00:00Z".parse().unwrap();
        for (value, want) in [
            ("7", Some(7)),
            ("Sat, 21 Nov 2026 09:00:30 GMT", Some(30)),
            ("Sat, 21 Nov 2026 08:00:00 GMT", Some(0)),
            ("999999999", Some(3600)),
            ("soon", None),
            ("-1", None),
        ] {
            assert_eq!(
                parse_pause(value, now).map(|pause| pause.as_secs()),
                want,
                "{value}"
            );
        }
    }

    #[test]
    fn every_status_has_its_kind() {
        for status in 100..=599 {
            let error = classify(
                StatusCode::from_u16(status).unwrap(),
                None,
                true,
                String::new(),
            );
            let want = match status {
                401 | 407 | 410 => ErrorKind::Config,
                408 | 409 | 425 | 429 | 500.. => ErrorKind::Retry(None),
                _ => ErrorKind::Rejected,
            };
            assert_eq!((error.kind, error.in_doubt), (want, false), "{status}");
        }
        let doubt = |status| {
            classify(
                StatusCode::from_u16(status).unwrap(),
                None,
                false,
                String::new(),
            )
            .in_doubt
        };
        assert!(doubt(500) && doubt(502) && doubt(504) && !doubt(503) && !doubt(429));
    }
}
