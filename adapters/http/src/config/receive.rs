//! The settings of a receive location.

use http::Method;
use quayside_adapter_api::{Block, ByteSize, Span, model::Fault, parse};
use serde::Deserialize;

use super::Credentials;
use crate::error::{BAD_LIMIT, BAD_METHOD, BAD_PATH};

/// A receive location: `[receive.PORT.location.NAME.http]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReceiveConfig {
    /// The path that it listens at; `/*` at the end takes everything below.
    pub path: String,
    /// The listener of the node.
    #[serde(default = "default_listener")]
    pub listener: String,
    /// The methods that it takes. With `GET`, the decoded query is the content.
    #[serde(default = "default_methods")]
    pub methods: Vec<String>,
    /// The largest content, in bytes on the wire.
    #[serde(default = "default_max_body")]
    pub max_body: ByteSize,
    /// Within which at least 16 KiB of the content, or its end, must come.
    #[serde(default = "default_body_timeout")]
    pub body_timeout: Span,
    /// Whether a request without content is a message.
    #[serde(default)]
    pub allow_empty: bool,
    /// The media types that it takes, as `application/xml` or `text/*`. Empty: any.
    #[serde(default)]
    pub accept: Vec<String>,
    /// What it takes with `Content-Encoding: gzip`.
    #[serde(default)]
    pub gzip: GzipConfig,
    /// Whether every request must have an `Idempotency-Key`.
    #[serde(default)]
    pub require_idempotency_key: bool,
    /// What a sender gets back when its message is accepted.
    #[serde(default)]
    pub returns: Returns,
    /// The type of an answer whose own type is not known.
    #[serde(default)]
    pub response_content_type: Option<String>,
    /// How long a sender waits for a subscriber's answer; the port's setting. Absent: one-way.
    #[serde(default)]
    pub answer_within: Option<Span>,
    /// Who may send.
    #[serde(default)]
    pub auth: Option<ReceiveAuth>,
    /// Whether a verified client certificate is needed.
    #[serde(default)]
    pub client_certificate: bool,
    /// The subjects that such a certificate may have, as RFC 4514 writes them. Empty: any.
    #[serde(default)]
    pub client_subjects: Vec<String>,
    /// How many requests wait for the engine before others are refused.
    #[serde(default = "default_max_in_flight")]
    pub max_in_flight: usize,
    /// Whether it recognises CloudEvents, with (source, id) as their natural key.
    #[serde(default)]
    pub cloudevents: CloudEvents,
}

/// Inflation and its limits.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GzipConfig {
    /// Whether gzip is taken at all.
    #[serde(default = "yes")]
    pub enabled: bool,
    /// The largest inflated content. Absent: `max_body`.
    #[serde(default)]
    pub max_inflated: Option<ByteSize>,
    /// How many times its size a content may inflate to, above 64 KiB.
    #[serde(default = "default_max_ratio")]
    pub max_ratio: u64,
}

impl Default for GzipConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            max_inflated: None,
            max_ratio: default_max_ratio(),
        }
    }
}

/// What a sender gets back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Returns {
    /// The id of the message: `{"id":"..."}` and `Location`.
    #[default]
    Id,
    /// The status only.
    Nothing,
}

/// What a location makes of CloudEvents.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CloudEvents {
    /// Nothing: their attributes are headers like any other.
    #[default]
    Off,
    /// Those that come are recognised.
    Accept,
    /// Nothing else is taken.
    Require,
}

/// Who may send: names and the secrets that prove them.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum ReceiveAuth {
    /// Basic: user names and passwords.
    Basic(Credentials),
    /// Bearer: credential names and tokens.
    Bearer(Credentials),
}

fn default_listener() -> String {
    crate::DEFAULT_LISTENER.to_owned()
}

fn default_methods() -> Vec<String> {
    vec![Method::POST.to_string()]
}

const fn default_max_body() -> ByteSize {
    ByteSize::mib(10)
}

const fn default_body_timeout() -> Span {
    Span::secs(30)
}

const fn default_max_ratio() -> u64 {
    100
}

const fn default_max_in_flight() -> usize {
    256
}

const fn yes() -> bool {
    true
}

/// The most requests that may wait for the engine.
const MAX_IN_FLIGHT: usize = 65_536;

impl ReceiveConfig {
    /// Reads a block.
    ///
    /// # Errors
    /// All its faults.
    pub fn read(block: &Block) -> Result<Self, Vec<Fault>> {
        let config: Self = parse(block)?;
        let faults = config.faults();
        if faults.is_empty() {
            Ok(config)
        } else {
            Err(faults)
        }
    }

    fn faults(&self) -> Vec<Fault> {
        let mut faults = Vec::new();
        if let Err(why) = check_path(&self.path) {
            faults.push(Fault::error(BAD_PATH, &["path"], why));
        }
        if self.methods.is_empty() {
            faults.push(Fault::error(
                BAD_METHOD,
                &["methods"],
                "name at least one method",
            ));
        }
        for (at, method) in self.methods.iter().enumerate() {
            if !matches!(method.as_str(), "POST" | "PUT" | "PATCH" | "GET") {
                let message = format!("`{method}` is none of POST, PUT, PATCH and GET");
                faults.push(Fault::error(
                    BAD_METHOD,
                    &["methods", &at.to_string()],
                    message,
                ));
            }
        }
        if !(1..=MAX_IN_FLIGHT).contains(&self.max_in_flight) {
            let message = format!("use 1 to {MAX_IN_FLIGHT}");
            faults.push(Fault::error(BAD_LIMIT, &["max_in_flight"], message));
        }
        if let Some(ReceiveAuth::Basic(users)) = &self.auth
            && let Some(user) = users.keys().find(|user| user.contains(':'))
        {
            let message = "a user name of Basic holds no colon";
            faults.push(Fault::error(BAD_LIMIT, &["auth", "basic", user], message));
        }
        if self.gzip.max_ratio == 0 {
            faults.push(Fault::error(
                BAD_LIMIT,
                &["gzip", "max_ratio"],
                "use 1 or more",
            ));
        }
        if self.body_timeout.duration().is_zero() {
            faults.push(Fault::error(
                BAD_LIMIT,
                &["body_timeout"],
                "use more than 0s",
            ));
        }
        faults
    }
}

fn check_path(path: &str) -> Result<(), &'static str> {
    let fixed = path.strip_suffix("/*").unwrap_or(path);
    if !path.starts_with('/') {
        return Err("a path starts with `/`");
    }
    if fixed.contains(['*', '?', '#', ' ']) || !fixed.is_ascii() {
        return Err("a path holds no `?`, `#` or space, and `*` only as `/*` at its end");
    }
    if fixed
        .split('/')
        .skip(1)
        .any(|part| matches!(part, "." | ".."))
        || fixed.contains("//")
    {
        return Err("a path holds no empty, `.` or `..` segment");
    }
    if matches!(path, "/livez" | "/readyz") {
        return Err("this path is the gateway's own");
    }
    Ok(())
}
