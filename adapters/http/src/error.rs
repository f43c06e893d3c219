//! The codes of this adapter, and how its failures are built.

use std::{error::Error, fmt::Write as _};

use quayside_adapter_api::{
    AdapterError, ErrorKind,
    model::{Code, codes},
};
use reqwest::Url;

codes! {
    NO_LOCATION = "QS0401", "No receive location listens at this path.",
        "Correct the path, or enable the receive location.";
    WRONG_METHOD = "QS0402", "The receive location does not take this method.",
        "Use a method of the Allow header, or add it to `methods`.";
    NOT_AUTHENTICATED = "QS0403", "The request carries no valid credential.",
        "Send the credential that the receive location asks for.";
    NO_CERTIFICATE = "QS0404", "The request came without an acceptable client certificate.",
        "Connect with TLS and a client certificate that the receive location accepts.";
    WRONG_TYPE = "QS0405", "The content type is not accepted here.",
        "Send one of the types of the Accept-Post header, or add it to `accept`.";
    WRONG_ENCODING = "QS0406", "The content encoding is not supported here.",
        "Send the content without encoding or with gzip.";
    TOO_LARGE = "QS0407", "The content is larger than the receive location allows.",
        "Send less, or raise `max_body` (or the gzip limits) of the receive location.";
    EMPTY = "QS0408", "The request has no content.",
        "Send content, or set `allow_empty` at the receive location.";
    BAD_KEY = "QS0409", "The Idempotency-Key header is malformed.",
        "Send one key of 1 to 255 printable characters, in double quotes or bare.";
    KEY_REQUIRED = "QS0410", "The Idempotency-Key header is missing.",
        "Send a key that is unique for each message and the same for each repeat.";
    BAD_DIGEST = "QS0411", "The Content-Digest header is malformed.",
        "Send it as `sha-256=:BASE64:` or `sha-512=:BASE64:`.";
    DIGEST_MISMATCH = "QS0412", "The content is not what its Content-Digest says.",
        "Send the message again; if it stays so, correct the sender's digest.";
    TOO_SLOW = "QS0413", "The content came too slowly.",
        "Send it faster, or raise `body_timeout` of the receive location.";
    TRUNCATED = "QS0414", "The content ended before it was complete.",
        "Send the message again; nothing of it was stored.";
    BAD_GZIP = "QS0415", "The content is not valid gzip.",
        "Correct the encoding, or send without Content-Encoding.";
    OVERLOADED = "QS0416", "The gateway has more requests in flight than it takes.",
        "Send again after the time of the Retry-After header.";
    NOT_READY = "QS0417", "The gateway cannot store messages now.",
        "Send again after the time of the Retry-After header.";
    NOT_SETTLED = "QS0418", "The gateway ended the request without a result.",
        "Send again with the same Idempotency-Key.";
    CLOSED = "QS0419", "The receive location is being closed.",
        "Send again after the time of the Retry-After header.";
    BAD_REQUEST = "QS0420", "The request breaks a rule of HTTP.",
        "Correct the request as the detail says.";
    BAD_EVENT = "QS0421", "The request is no valid CloudEvent.",
        "Send a CloudEvent of version 1.0, as the detail says.";
    NO_MESSAGE = "QS0422", "There is no such message, or not for this sender.",
        "Correct the id, or ask with the credential that may send to its receive location.";
    RESTING = "QS0423", "The receive location takes nothing for now: it is stopped, paused, disabled or outside of its hours.",
        "Send it again after the time that the answer names; for the operator: `quayside ports show NAME`.";
    WORK_OVER = "QS0424", "The work of this ticket is over: it was answered, given to somebody else, or nobody waits for it.",
        "Drop the work. If it is still wanted, the gateway asks for it again under the same Idempotency-Key.";
    BIND_FAILED = "QS0430", "A listener cannot be bound to its address.",
        "Correct `listen`, or stop the process that has the address.";
    BAD_TLS = "QS0431", "Certificates or keys cannot be used.",
        "Correct the PEM files or secrets that the detail names.";
    PATH_TAKEN = "QS0432", "Another open receive location has this path.",
        "Give each receive location of a listener its own path.";
    NO_LISTENER = "QS0433", "There is no listener that fits the receive location.",
        "Name a listener of the node's [http] section that has what the location asks for.";
    BAD_PATH = "QS0440", "The path of a receive location is not valid.",
        "Write an absolute path without query, such as /in/orders or /in/*.";
    BAD_URL = "QS0441", "The URL is not valid.",
        "Write http:// or https://, a fixed host, and placeholders only behind it.";
    CREDENTIAL_IN_SETTING = "QS0442", "A credential stands in the configuration.",
        "Move it into a secret and refer to it with { secret = \"NAME\" }.";
    BAD_HEADER = "QS0443", "A header cannot be set here.",
        "Remove it; the message says what sets it instead.";
    BAD_METHOD = "QS0444", "The method cannot be used here.",
        "Use one of the methods that the message names.";
    BAD_LIMIT = "QS0445", "A limit is outside of its range.",
        "Use a value of the range that the message names.";
    NOT_TRUSTED = "QS0450", "This process may not act now.",
        "Nothing: the owner of the delivery sends it. Look at the node if this stays.";
    NOT_REACHED = "QS0451", "The partner cannot be reached.",
        "Check the URL, name resolution, the network, certificates and the partner.";
    OUTCOME_UNKNOWN = "QS0452", "The connection broke before the partner answered.",
        "It is sent again with the same Idempotency-Key; check the partner if it ignores the key.";
    PARTNER_BUSY = "QS0453", "The partner answered that it cannot take the message now.",
        "It is sent again; look at the partner if this stays.";
    PARTNER_REFUSED = "QS0454", "The partner refused the message.",
        "Read the partner's answer; correct the message or the port and resume it.";
    PARTNER_GONE = "QS0455", "The partner answered that the target is gone for good.",
        "Correct the URL of the port and start it again.";
    CREDENTIAL_REFUSED = "QS0456", "The partner refused the port's credential.",
        "Correct the credential of the port and resume.";
    BAD_REDIRECT = "QS0457", "The partner redirected in a way that is not followed.",
        "Set the URL of the port to the final address.";
    ANSWER_TOO_LARGE = "QS0458", "The partner's answer is larger than an answer may be.",
        "Let the partner answer with at most 256 KiB.";
    BAD_RENDERING = "QS0459", "A template gave a value that cannot be sent.",
        "Correct the property that the template takes its value from.";
    NO_TOKEN = "QS0460", "The token endpoint gave no access token.",
        "Check `auth.oauth2` of the port and the token endpoint.";
    BODY_UNREADABLE = "QS0461", "The message's content could not be read while it was sent.",
        "It is sent again; check the message store if this stays.";
    NO_TARGET = "QS0462", "The partner answers, but the target does not exist there.",
        "Correct the URL of the port.";
}

/// Something that is not acceptable as it was received.
pub(crate) fn invalid(code: Code, detail: impl Into<String>) -> AdapterError {
    AdapterError::new(ErrorKind::Invalid, code, detail)
}

/// Something that is larger than allowed.
pub(crate) fn too_large(detail: impl Into<String>) -> AdapterError {
    AdapterError::new(ErrorKind::TooLarge, TOO_LARGE, detail)
}

/// Something that an operator has to repair.
pub(crate) fn config(code: Code, detail: impl Into<String>) -> AdapterError {
    AdapterError::new(ErrorKind::Config, code, detail)
}

/// Which host and port gave no answer, and why: for an operator who has never seen the libraries' words.
pub(crate) fn unreached(url: &Url, error: &reqwest::Error) -> String {
    let host = url.host_str().unwrap_or_default();
    let port = url.port_or_known_default().unwrap_or_default();
    let why = if error.is_timeout() && error.is_connect() {
        "connecting took too long".to_owned()
    } else if error.is_timeout() {
        "no answer in time".to_owned()
    } else {
        innermost(error)
    };
    format!("{host}:{port}: {why}")
}

/// The causes of `error` without the layers of the HTTP client, which name themselves only.
fn innermost(error: &reqwest::Error) -> String {
    let mut layer: &dyn Error = error;
    while let Some(cause) = layer.source() {
        let text = layer.to_string();
        if !text.starts_with("error sending request") && !text.starts_with("client error (") {
            break;
        }
        layer = cause;
    }
    chain(layer)
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
