//! The settings of a send transport.

use std::collections::BTreeMap;

use http::{HeaderName, HeaderValue, Method};
use quayside_adapter_api::{Block, SecretRef, Span, model::Fault, parse};
use serde::Deserialize;

use super::TextOrSecret;
use crate::{
    error::{BAD_HEADER, BAD_LIMIT, BAD_METHOD, BAD_URL, CREDENTIAL_IN_SETTING},
    target::Target,
};

/// A send transport: `[send.PORT.primary.http]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SendConfig {
    /// Where to; placeholders may stand in path and query.
    pub url: String,
    /// How.
    #[serde(default = "default_method")]
    pub method: String,
    /// More headers: templates, or secrets.
    #[serde(default)]
    pub headers: BTreeMap<String, TextOrSecret>,
    /// The content type. Absent: the message's own.
    #[serde(default)]
    pub content_type: Option<String>,
    /// From the connection to the end of the answer.
    #[serde(default = "default_timeout")]
    pub timeout: Span,
    /// Until the connection stands, TLS included.
    #[serde(default = "default_connect_timeout")]
    pub connect_timeout: Span,
    /// How many redirects are followed. 0: none.
    #[serde(default = "default_max_redirects")]
    pub max_redirects: usize,
    /// How many idle connections are kept for each host.
    #[serde(default = "default_pool_idle")]
    pub pool_max_idle: usize,
    /// How long an idle connection is kept: shorter than the partner does.
    #[serde(default = "default_pool_idle_timeout")]
    pub pool_idle_timeout: Span,
    /// How the gateway proves who it is.
    #[serde(default)]
    pub auth: Option<SendAuth>,
    /// The certificate that it shows.
    #[serde(default)]
    pub client_certificate: Option<ClientIdentity>,
    /// The authorities that it trusts, as PEM. Absent: those of the machine.
    #[serde(default)]
    pub ca: Option<TextOrSecret>,
    /// Whether every attempt carries `Idempotency-Key`.
    #[serde(default = "yes")]
    pub idempotency_key: bool,
}

/// How the gateway proves who it is.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum SendAuth {
    /// User name and password.
    Basic {
        /// The name.
        user: String,
        /// The password.
        password: SecretRef,
    },
    /// A token.
    Bearer(SecretRef),
    /// A token that the client fetches with its own credential.
    OAuth2(OAuth2),
}

/// OAuth 2.0 client credentials (RFC 6749, 4.4).
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OAuth2 {
    /// The token endpoint.
    pub token_url: String,
    /// The client.
    pub client_id: String,
    /// Its secret.
    pub client_secret: SecretRef,
    /// The scopes, separated by spaces.
    #[serde(default)]
    pub scope: Option<String>,
    /// The audience, where the endpoint wants one.
    #[serde(default)]
    pub audience: Option<String>,
    /// Where the client's credential stands in the request.
    #[serde(default)]
    pub client_auth: TokenAuth,
}

/// Where the client's credential stands in a token request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TokenAuth {
    /// In the Authorization header.
    #[default]
    Basic,
    /// In the form.
    Post,
}

/// A client certificate and its key, both PEM: paths of files, or secrets.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClientIdentity {
    /// The certificate, followed by those that lead to the authority.
    pub certificate: TextOrSecret,
    /// The private key.
    pub key: TextOrSecret,
}

fn default_method() -> String {
    Method::POST.to_string()
}

const fn default_timeout() -> Span {
    Span::secs(60)
}

const fn default_connect_timeout() -> Span {
    Span::secs(5)
}

const fn default_max_redirects() -> usize {
    5
}

const fn default_pool_idle() -> usize {
    64
}

const fn default_pool_idle_timeout() -> Span {
    Span::secs(20)
}

const fn yes() -> bool {
    true
}

/// Headers that something else sets, and what that is.
const RESERVED: [(&str, &str); 9] = [
    ("authorization", "`auth`"),
    ("proxy-authorization", "nothing: proxies are not supported"),
    ("cookie", "nothing: a session is no way to send messages"),
    ("content-type", "`content_type`"),
    ("content-length", "the content"),
    ("transfer-encoding", "the content"),
    ("connection", "the transport"),
    ("host", "`url`"),
    ("idempotency-key", "`idempotency_key`"),
];

/// Parts of header and query names behind which a literal credential stands.
const SECRET_NAMES: [&str; 6] = [
    "password", "secret", "token", "api-key", "api_key", "apikey",
];

impl SendConfig {
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

    /// The settings whose value is a template, by the key under which the rendered value comes back.
    #[must_use]
    pub fn templates(&self) -> BTreeMap<String, String> {
        let mut templates = BTreeMap::new();
        if let Ok(target) = Target::parse(&self.url) {
            templates.extend(target.templates());
        }
        for (name, value) in &self.headers {
            if let TextOrSecret::Text(text) = value
                && text.contains(['{', '}'])
            {
                templates.insert(header_key(name), text.clone());
            }
        }
        templates
    }

    fn faults(&self) -> Vec<Fault> {
        let mut faults = url_faults(&self.url, "url");
        if !matches!(
            self.method.as_str(),
            "POST" | "PUT" | "PATCH" | "DELETE" | "GET"
        ) {
            let message = format!(
                "`{}` is none of POST, PUT, PATCH, DELETE and GET",
                self.method
            );
            faults.push(Fault::error(BAD_METHOD, &["method"], message));
        }
        for (name, value) in &self.headers {
            faults.extend(header_fault(name, value));
        }
        if self
            .content_type
            .as_ref()
            .is_some_and(|v| HeaderValue::from_str(v).is_err())
        {
            faults.push(Fault::error(
                BAD_HEADER,
                &["content_type"],
                "not a header value",
            ));
        }
        for (key, span) in [
            ("timeout", self.timeout),
            ("connect_timeout", self.connect_timeout),
        ] {
            if span.duration().is_zero() {
                faults.push(Fault::error(BAD_LIMIT, &[key], "use more than 0s"));
            }
        }
        if self.max_redirects > 10 {
            faults.push(Fault::error(BAD_LIMIT, &["max_redirects"], "use 0 to 10"));
        }
        if let Some(SendAuth::OAuth2(oauth)) = &self.auth {
            let token = url_faults(&oauth.token_url, "token_url");
            faults.extend(token.into_iter().map(|mut fault| {
                fault
                    .path
                    .splice(0..0, ["auth".to_owned(), "oauth2".to_owned()]);
                fault
            }));
        }
        faults
    }
}

/// The key of a header's template in [`SendConfig::templates`].
pub(crate) fn header_key(name: &str) -> String {
    format!("headers.{name}")
}

fn url_faults(url: &str, key: &str) -> Vec<Fault> {
    let target = match Target::parse(url) {
        Ok(target) => target,
        Err(why) => return vec![Fault::error(BAD_URL, &[key], why)],
    };
    let mut faults = Vec::new();
    if target.has_credentials() {
        let message = "the URL holds a user name or a password; use `auth`";
        faults.push(Fault::error(CREDENTIAL_IN_SETTING, &[key], message));
    }
    if let Some(name) = target
        .literal_query_names()
        .find(|name| names_a_secret(name))
    {
        let message = format!("the query `{name}` holds a credential; use a header with a secret");
        faults.push(Fault::error(CREDENTIAL_IN_SETTING, &[key], message));
    }
    faults
}

fn names_a_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    SECRET_NAMES.iter().any(|part| name.contains(part))
}

fn header_fault(name: &str, value: &TextOrSecret) -> Option<Fault> {
    let path = ["headers", name];
    if HeaderName::from_bytes(name.as_bytes()).is_err() {
        return Some(Fault::error(BAD_HEADER, &path, "not a header name"));
    }
    let lower = name.to_ascii_lowercase();
    if let Some((_, setter)) = RESERVED.iter().find(|(reserved, _)| *reserved == lower) {
        return Some(Fault::error(
            BAD_HEADER,
            &path,
            format!("this header is set by {setter}"),
        ));
    }
    let TextOrSecret::Text(text) = value else {
        return None;
    };
    if names_a_secret(name) && !text.contains('{') {
        let message = "the header holds a credential";
        return Some(Fault::error(CREDENTIAL_IN_SETTING, &path, message));
    }
    if HeaderValue::from_str(text).is_err() {
        return Some(Fault::error(BAD_HEADER, &path, "not a header value"));
    }
    None
}
