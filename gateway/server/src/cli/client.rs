//! The client of the admin API.

use std::time::Duration;

use bytes::Bytes;
use reqwest::{Method, StatusCode};
use serde_json::Value;

use super::codes;
use crate::exit::{Exit, Failure, chain};

/// How long a call may take, the connection included.
const TIMEOUT: Duration = Duration::from_secs(60);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Calls the admin API of one node.
#[derive(Debug)]
pub(super) struct Client {
    http: reqwest::Client,
    base: String,
    token: Option<String>,
}

impl Client {
    /// A client of the node at `admin`.
    pub(super) fn new(admin: &str, token: Option<String>) -> Result<Self, Failure> {
        let http = reqwest::Client::builder()
            .timeout(TIMEOUT)
            .connect_timeout(CONNECT_TIMEOUT)
            // The node is named by the operator; a proxy of the environment would get the token.
            .no_proxy()
            .build()
            .map_err(|error| Failure::new(codes::INTERNAL, chain(&error)))?;
        Ok(Self {
            http,
            base: format!("{}/api/v1", admin.trim_end_matches('/')),
            token,
        })
    }

    /// Gets what is at `path`.
    pub(super) async fn get(&self, path: &str, query: &[(&str, String)]) -> Result<Value, Failure> {
        let pairs = query
            .iter()
            .map(|(key, value)| format!("{key}={}", segment(value)));
        let query = pairs.collect::<Vec<_>>().join("&");
        let path = if query.is_empty() {
            path.to_owned()
        } else {
            format!("{path}?{query}")
        };
        json(&self.send(self.request(Method::GET, &path)).await?)
    }

    /// Gets the bytes at `path`.
    pub(super) async fn bytes(&self, path: &str) -> Result<Bytes, Failure> {
        self.send(self.request(Method::GET, path)).await
    }

    /// Posts `body` to `path`.
    pub(super) async fn post(&self, path: &str, body: &Value) -> Result<Value, Failure> {
        let request = self.request(Method::POST, path);
        let request = request
            .header("content-type", "application/json")
            .body(body.to_string());
        json(&self.send(request).await?)
    }

    /// Posts bytes with headers to `path`.
    pub(super) async fn post_bytes(
        &self,
        path: &str,
        body: Vec<u8>,
        headers: &[(&str, String)],
    ) -> Result<Value, Failure> {
        let request = self.request(Method::POST, path).body(body);
        let request = headers.iter().fold(request, |request, (name, value)| {
            request.header(*name, value)
        });
        json(&self.send(request).await?)
    }

    fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        let request = self.http.request(method, format!("{}{path}", self.base));
        match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    async fn send(&self, request: reqwest::RequestBuilder) -> Result<Bytes, Failure> {
        let answer = request.send().await.map_err(|error| self.no_node(&error))?;
        let status = answer.status();
        let body = answer.bytes().await.map_err(|error| self.no_node(&error))?;
        if status.is_success() {
            Ok(body)
        } else {
            Err(refused(status, &body))
        }
    }

    fn no_node(&self, error: &reqwest::Error) -> Failure {
        let message = format!("no answer from {}: {}", self.base, chain(error));
        Failure::new(codes::NO_NODE, message).exiting(Exit::NoNode)
    }
}

fn json(body: &[u8]) -> Result<Value, Failure> {
    serde_json::from_slice(body).map_err(|error| {
        Failure::new(
            codes::INTERNAL,
            format!("the node's answer is not JSON: {error}"),
        )
    })
}

/// The problem document of a refusal, in words. Its code and remedy are the node's.
fn refused(status: StatusCode, body: &[u8]) -> Failure {
    let problem: Value = serde_json::from_slice(body).unwrap_or_default();
    let text = |key: &str| problem[key].as_str().map(str::to_owned);
    let detail = text("detail").unwrap_or_else(|| format!("the node answered {status}"));
    let message = match text("code") {
        Some(code) if !detail.contains(&code) => format!("{detail} ({code})"),
        _ => detail,
    };
    let (code, exit) = match status {
        StatusCode::UNAUTHORIZED => (codes::UNAUTHORIZED, Exit::Failed),
        StatusCode::NOT_FOUND => (codes::NOT_FOUND, Exit::NotFound),
        StatusCode::BAD_REQUEST => (codes::BAD_REQUEST, Exit::Usage),
        _ => (codes::API_REFUSED, Exit::Failed),
    };
    let failure = Failure::new(code, message).exiting(exit);
    match text("help") {
        Some(help) => failure.with_help(help),
        None => failure,
    }
}

/// `text` as one segment of a path.
pub(super) fn segment(text: &str) -> String {
    let keep = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    text.bytes()
        .map(|byte| {
            if keep(byte) {
                char::from(byte).to_string()
            } else {
                format!("%{byte:02X}")
            }
        })
        .collect()
}
