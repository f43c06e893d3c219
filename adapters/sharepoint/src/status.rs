//! What the farm says when it says no, and what follows from it. Classified by HRESULT first, by .NET type and by
//! status after that, and never by the text, which is in the language of the site.

use std::time::Duration;

use quayside_adapter_api::{
    AdapterError, ErrorKind,
    model::{Code, Timestamp},
};
use serde_json::Value;

use crate::{codes, gate::Asked, names::BAD_NAME};

/// How much of a refusal an operator is shown, in characters.
const SHOWN: usize = 500;

/// The longest pause that a farm may ask for.
const LONGEST_PAUSE: Duration = Duration::from_secs(3600);

/// An answer that is an error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// The HTTP status.
    pub(crate) status: u16,
    /// The HRESULT; `None` if the answer is none of SharePoint's.
    pub(crate) code: Option<i64>,
    /// The .NET type.
    pub(crate) kind: String,
    /// The text, cut.
    pub(crate) message: String,
    /// How long the farm wants peace.
    pub(crate) pause: Option<Duration>,
}

/// What a refusal means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Slow down. Also comes as 401 from some farms.
    Throttled,
    /// The form digest is old.
    Digest,
    /// Who are you?
    Unauthorized,
    /// Not for this account.
    Denied,
    /// No document, or no item, is there.
    NoFile,
    /// No folder is there.
    NoFolder,
    /// No site, list or view is there.
    NoPlace,
    /// The name is taken.
    Exists,
    /// A precondition does not hold.
    Changed,
    /// Others have it open.
    Locked,
    /// Somebody has it checked out: another account, or this one.
    CheckedOut,
    /// Nobody has it checked out.
    NotCheckedOut,
    /// Somebody changed it at the same time.
    Conflict,
    /// The name or path is not allowed.
    BadName,
    /// A column is missing, required, or does not take the value.
    BadColumn,
    /// Another document has the value of a unique column.
    Duplicate,
    /// Too many items for the query.
    Threshold,
    /// The farm, or something before it, failed: the call may be done.
    Busy,
    /// Anything else.
    Refused,
}

impl Refusal {
    /// Reads an answer. `pause` is what its headers ask for.
    pub(crate) fn read(status: u16, body: &[u8], pause: Option<Duration>) -> Self {
        let error: Option<Value> = serde_json::from_slice(body).ok();
        let error = error.as_ref();
        let error = error.and_then(|it| it.get("odata.error").or_else(|| it.get("error")));
        let said = error.and_then(|it| it.get("code")?.as_str());
        let (code, kind) = said.map_or((None, ""), |said| {
            let (code, kind) = said.split_once(',').unwrap_or((said, ""));
            (code.trim().parse().ok(), kind.trim())
        });
        let message = error.and_then(|it| it.pointer("/message/value")?.as_str());
        let text = String::from_utf8_lossy(body);
        let message = message.unwrap_or(&text).trim();
        Self {
            status,
            code,
            kind: kind.to_owned(),
            message: message.chars().take(SHOWN).collect(),
            pause,
        }
    }

    /// What it means.
    pub(crate) fn verdict(&self) -> Verdict {
        match self.code {
            Some(-2_130_575_257) => return Verdict::Exists,
            Some(-2_130_575_251 | -2_130_575_252) => return Verdict::Digest,
            Some(-2_147_024_891) => return Verdict::Denied,
            Some(-2_130_575_338) => return Verdict::NoFile,
            Some(-2_147_024_894) => return Verdict::NoFolder,
            Some(-2_130_246_326 | -2_130_575_305) => return Verdict::Conflict,
            Some(-2_147_018_894 | -2_147_018_887 | -2_147_023_436) => return Verdict::Locked,
            Some(-2_130_575_306) => return Verdict::CheckedOut,
            Some(-2_147_024_738) => return Verdict::NotCheckedOut,
            Some(-2_147_024_860) => return Verdict::Threshold,
            Some(-2_130_575_169) => return Verdict::Duplicate,
            Some(BAD_NAME | -2_147_024_690) => return Verdict::BadName,
            Some(-2_130_575_163) => return Verdict::BadColumn,
            _ => {}
        }
        match self.status {
            // A page for people to log in.
            300..=399 => Verdict::Unauthorized,
            // Seen: a throttle in the clothes of a failed login.
            401 if self.pause.is_some() || self.message.starts_with("429") => Verdict::Throttled,
            401 => Verdict::Unauthorized,
            403 => Verdict::Denied,
            404 => Verdict::NoPlace,
            409 => Verdict::Conflict,
            412 => Verdict::Changed,
            423 => Verdict::Locked,
            429 | 503 => Verdict::Throttled,
            408 | 500..=599 => Verdict::Busy,
            400 if self.kind.ends_with("InvalidClientQueryException") || self.is_argument() => {
                Verdict::BadColumn
            }
            _ => Verdict::Refused,
        }
    }

    fn is_argument(&self) -> bool {
        self.code == Some(-2_147_024_809)
    }

    /// Whether it passes by itself, so that the same call may be made again soon.
    pub(crate) fn is_passing(&self) -> bool {
        matches!(
            self.verdict(),
            Verdict::Throttled | Verdict::Busy | Verdict::Conflict
        )
    }

    /// What a farm asks for that [throttles](Verdict::Throttled).
    pub(crate) fn asked(&self) -> Asked {
        match self.pause {
            Some(pause) => Asked::For(pause),
            None if self.status == 503 => Asked::Away,
            None => Asked::SlowDown,
        }
    }

    /// What the engine does about it when the adapter knows nothing better.
    pub(crate) fn error(&self, doing: &str) -> AdapterError {
        let retry = ErrorKind::Retry(self.pause);
        let (kind, code): (ErrorKind, Code) = match self.verdict() {
            Verdict::Throttled => (retry, codes::THROTTLED),
            Verdict::Digest => (retry, codes::FARM_BUSY),
            Verdict::Unauthorized => (ErrorKind::Config, codes::LOGIN_REFUSED),
            Verdict::Denied => (ErrorKind::Config, codes::DENIED),
            Verdict::NoFile | Verdict::NoFolder | Verdict::NoPlace => {
                (ErrorKind::Config, codes::LIBRARY_MISSING)
            }
            Verdict::Exists => (ErrorKind::Rejected, codes::TARGET_EXISTS),
            Verdict::Changed | Verdict::Conflict => (retry, codes::CONFLICT),
            Verdict::Locked | Verdict::CheckedOut | Verdict::NotCheckedOut => {
                (retry, codes::LOCKED)
            }
            Verdict::BadName => (ErrorKind::Rejected, codes::NAME_REFUSED),
            Verdict::BadColumn => (ErrorKind::Rejected, codes::BAD_COLUMN),
            Verdict::Duplicate => (ErrorKind::Rejected, codes::DUPLICATE_VALUE),
            Verdict::Threshold => (ErrorKind::Config, codes::THRESHOLD),
            Verdict::Busy => (retry, codes::FARM_BUSY),
            Verdict::Refused => (ErrorKind::Rejected, codes::REFUSED),
        };
        AdapterError::new(kind, code, self.describe(doing))
    }

    fn describe(&self, doing: &str) -> String {
        let code = match self.code {
            Some(code) => format!(" ({code}, {})", self.kind),
            None => String::new(),
        };
        let message = match self.message.as_str() {
            "" => String::new(),
            message => format!(": {message}"),
        };
        format!("{doing}: the farm answered {}{code}{message}", self.status)
    }
}

/// The pause that headers ask for: the longer one of `Retry-After`, in seconds or as a date, and `RateLimit-Reset`.
pub(crate) fn pause(
    retry_after: Option<&str>,
    reset: Option<&str>,
    now: Timestamp,
) -> Option<Duration> {
    let secs = |text: &str| text.trim().parse().ok().map(Duration::from_secs);
    let after = retry_after.and_then(|text| {
        secs(text).or_else(|| {
            let at = httpdate::parse_http_date(text.trim()).ok()?;
            let since_epoch = at.duration_since(std::time::UNIX_EPOCH).ok()?;
            let micros = i64::try_from(since_epoch.as_micros()).ok()?;
            Some(Timestamp::from_micros(micros).since(now))
        })
    });
    let pause = after.max(reset.and_then(secs))?;
    Some(pause.min(LONGEST_PAUSE))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SP: &str = "Microsoft.SharePoint.SPException";

    fn refusal(status: u16, code: i64, kind: &str) -> Refusal {
        let body = format!(
            r#"{{"odata.error":{{"code":"{code}, {kind}","message":{{"lang":"de-DE","value":"Nein."}}}}}}"#
        );
        Refusal::read(status, body.as_bytes(), None)
    }

    /// The table of what farms are known to answer.
    #[test]
    fn each_answer_has_its_verdict() {
        let argument = "System.ArgumentException";
        for (status, code, kind, want) in [
            (400, -2_130_575_257, SP, Verdict::Exists),
            (409, -2_130_575_257, SP, Verdict::Exists),
            (
                400,
                -1,
                "Microsoft.SharePoint.Client.InvalidClientQueryException",
                Verdict::BadColumn,
            ),
            (400, -2_147_024_809, argument, Verdict::BadColumn),
            (400, -2_130_575_245, SP, Verdict::BadName),
            (
                403,
                -2_147_024_891,
                "System.UnauthorizedAccessException",
                Verdict::Denied,
            ),
            (403, -2_130_575_251, SP, Verdict::Digest),
            (404, -2_130_575_338, SP, Verdict::NoFile),
            (
                404,
                -2_147_024_894,
                "System.IO.FileNotFoundException",
                Verdict::NoFolder,
            ),
            (404, -1, argument, Verdict::NoPlace),
            (409, -2_130_246_326, SP, Verdict::Conflict),
            (
                412,
                -1,
                "Microsoft.SharePoint.Client.ClientServiceException",
                Verdict::Changed,
            ),
            (
                423,
                -2_147_018_894,
                "Microsoft.SharePoint.SPFileLockException",
                Verdict::Locked,
            ),
            (
                423,
                -2_130_575_306,
                "Microsoft.SharePoint.SPFileCheckOutException",
                Verdict::CheckedOut,
            ),
            (
                400,
                -2_147_024_738,
                "Microsoft.SharePoint.SPFileCheckOutException",
                Verdict::NotCheckedOut,
            ),
            (
                500,
                -2_147_024_860,
                "Microsoft.SharePoint.SPQueryThrottledException",
                Verdict::Threshold,
            ),
            (500, -2_130_575_169, SP, Verdict::Duplicate),
        ] {
            assert_eq!(
                refusal(status, code, kind).verdict(),
                want,
                "{status} {code}"
            );
        }
    }

    #[test]
    fn what_is_no_answer_of_sharepoint_is_judged_by_its_status() {
        let second = Some(Duration::from_secs(1));
        for (status, body, pause, want) in [
            (429, "429 TOO MANY REQUESTS", second, Verdict::Throttled),
            (401, "429 TOO MANY REQUESTS", None, Verdict::Throttled),
            (401, "", second, Verdict::Throttled),
            (401, "", None, Verdict::Unauthorized),
            (
                503,
                "<html>Server Too Busy</html>",
                None,
                Verdict::Throttled,
            ),
            (502, "", None, Verdict::Busy),
            (500, "{}", None, Verdict::Busy),
            (405, "", None, Verdict::Refused),
        ] {
            let refusal = Refusal::read(status, body.as_bytes(), pause);
            assert_eq!(refusal.verdict(), want, "{status} {body}");
        }
    }

    #[test]
    fn a_suspended_message_tells_the_farms_code() {
        let error = refusal(400, -2_130_575_245, SP).error("adding a document");
        assert_eq!(
            (error.kind, error.code),
            (ErrorKind::Rejected, codes::NAME_REFUSED)
        );
        assert_eq!(
            error.detail,
            "adding a document: the farm answered 400 (-2130575245, Microsoft.SharePoint.SPException): Nein."
        );
    }

    #[test]
    fn the_longer_pause_counts_and_is_bounded() {
        let now: Timestamp = "2026-11-21T09:00:00Z".parse().unwrap();
        let secs = |after, reset| pause(after, reset, now).map(|pause| pause.as_secs());
        assert_eq!(secs(Some("7"), Some("9")), Some(9));
        assert_eq!(secs(Some("Sat, 21 Nov 2026 09:00:30 GMT"), None), Some(30));
        assert_eq!(secs(Some("99999999"), None), Some(3600));
        assert_eq!(secs(Some("soon"), None), None);
        assert_eq!(secs(None, None), None);
    }
}
