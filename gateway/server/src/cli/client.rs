//! The client of the admin API.

use std::{fs, path::Path, time::Duration};

use bytes::Bytes;
use reqwest::{Certificate, Identity, Method, StatusCode, Url, header::HeaderValue};
use serde_json::Value;

use super::codes;
use crate::exit::{Exit, Failure, root};

/// How long a call may take, the connection included.
const TIMEOUT: Duration = Duration::from_secs(60);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a question may take. A node that is paused accepts the connection and says nothing.
const ANSWER_WITHIN: Duration = Duration::from_secs(15);

/// How to reach a node.
#[derive(Debug)]
pub(super) struct Access<'a> {
    /// The address, as the operator wrote it.
    pub(super) admin: &'a str,
    /// The file of the authorities that its certificate may come from; `None`: those of the machine.
    pub(super) ca: Option<&'a Path>,
    /// The file of the certificate and key to show.
    pub(super) identity: Option<&'a Path>,
    /// The token to bear.
    pub(super) token: Option<&'a str>,
    /// Who acts.
    pub(super) operator: Option<&'a str>,
}

/// Calls the admin API of one node.
#[derive(Debug)]
pub(super) struct Client {
    http: reqwest::Client,
    /// The address without the path of the API: for people.
    admin: String,
    token: Option<String>,
    operator: Option<HeaderValue>,
}

impl Client {
    /// A client of the node that `access` leads to.
    pub(super) fn new(access: &Access<'_>) -> Result<Self, Failure> {
        let admin = address(access.admin)?;
        let mut builder = reqwest::Client::builder()
            .timeout(TIMEOUT)
            .connect_timeout(CONNECT_TIMEOUT)
            // The node is named by the operator; a proxy of the environment would get the token.
            .no_proxy();
        if let Some(file) = access.ca {
            let certificates = Certificate::from_pem_bundle(&read(file)?)
                .ok()
                .filter(|certificates| !certificates.is_empty())
                .ok_or_else(|| unusable(file, "it holds no PEM certificate"))?;
            builder = builder.tls_certs_only(certificates);
        } else if !admin.to_ascii_lowercase().starts_with("https:") {
            // The authorities of the machine are of no use, and may not be there.
            builder = builder.tls_certs_only([]);
        }
        if let Some(file) = access.identity {
            let identity = Identity::from_pem(&read(file)?);
            let identity = identity.map_err(|error| unusable(file, &root(&error)))?;
            builder = builder.identity(identity);
        }
        let http = builder
            .build()
            .map_err(|error| Failure::new(codes::TLS_FILES, root(&error)))?;
        Ok(Self {
            http,
            admin,
            token: access.token.map(str::to_owned),
            // A name that no header can hold is left out: it is a note, not a proof.
            operator: access
                .operator
                .and_then(|name| HeaderValue::from_bytes(name.as_bytes()).ok()),
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
        let request = self.request(Method::GET, &path).timeout(ANSWER_WITHIN);
        json(&self.send(request).await?)
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
        let url = format!("{}/api/v1{path}", self.admin);
        let mut request = self.http.request(method, url);
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        match &self.operator {
            Some(name) => request.header("x-quayside-operator", name),
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
            let problem = serde_json::from_slice(&body).unwrap_or_default();
            Err(refused(status, &problem).unwrap_or_else(|| self.no_api(status)))
        }
    }

    /// Something answers, but not as a node does.
    fn no_api(&self, status: StatusCode) -> Failure {
        let message = format!(
            "what answers at {} is no admin API: it says {status}",
            self.admin
        );
        Failure::new(codes::NO_NODE, message).exiting(Exit::NoNode)
    }

    fn no_node(&self, error: &reqwest::Error) -> Failure {
        let cause = match root(error) {
            _ if error.is_timeout() => format!("no answer within {} s", TIMEOUT.as_secs()),
            cause => cause,
        };
        let message = format!("cannot call the node at {}: {cause}", self.admin);
        let failure = Failure::new(codes::NO_NODE, message).exiting(Exit::NoNode);
        if cause.contains("certificate") {
            return failure.with_help(
                "Name the authority of its certificate with `--admin-ca FILE` or QUAYSIDE_ADMIN_CA; \
                 a node that asks for a certificate is shown one with `--admin-identity FILE`.",
            );
        }
        if self.admin.starts_with("http://") && !error.is_connect() && !error.is_timeout() {
            return failure
                .with_help("If its listener speaks TLS, write https:// instead of http://.");
        }
        failure
    }
}

/// The address without a slash at its end.
fn address(admin: &str) -> Result<String, Failure> {
    let url = Url::parse(admin).ok();
    let fits = url.is_some_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    if !fits {
        let message = match admin {
            "" => "the admin address is empty".to_owned(),
            _ => format!("`{admin}` is no admin address"),
        };
        return Err(Failure::new(codes::BAD_REQUEST, message)
            .exiting(Exit::Usage)
            .with_help("Write http://HOST:PORT or https://HOST:PORT after `--admin` or into QUAYSIDE_ADMIN."));
    }
    Ok(admin.trim_end_matches('/').to_owned())
}

fn read(file: &Path) -> Result<Vec<u8>, Failure> {
    fs::read(file)
        .map_err(|error| Failure::new(codes::FILE, format!("{}: {error}", file.display())))
}

fn unusable(file: &Path, cause: &str) -> Failure {
    Failure::new(codes::TLS_FILES, format!("{}: {cause}", file.display()))
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
fn refused(status: StatusCode, problem: &Value) -> Option<Failure> {
    let text = |key: &str| problem[key].as_str();
    let (given, detail) = (text("code")?, text("detail")?);
    // What the command line refuses by itself has the same code when the node refuses it.
    let same = [codes::EXISTS, codes::NOT_NOW, codes::POSTGRES_TOOLS];
    let same = same.into_iter().find(|code| code.code == given);
    let (code, exit) = match status {
        _ if same.is_some() => (same.unwrap_or(codes::API_REFUSED), Exit::Failed),
        StatusCode::UNAUTHORIZED => (codes::UNAUTHORIZED, Exit::Failed),
        StatusCode::NOT_FOUND => (codes::NOT_FOUND, Exit::NotFound),
        StatusCode::BAD_REQUEST => (codes::BAD_REQUEST, Exit::Usage),
        _ => (codes::API_REFUSED, Exit::Failed),
    };
    let message = if given == code.code || detail.contains(given) {
        detail.to_owned()
    } else {
        format!("{detail} ({given})")
    };
    let failure = Failure::new(code, message).exiting(exit);
    Some(match text("help") {
        // The node speaks to programs.
        Some(_) if given == codes::BAD_REQUEST.code => failure.with_help(
            "Correct what the message names; `--help` behind the verb shows what it takes.",
        ),
        Some(help) => failure.with_help(help),
        None => failure,
    })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_has_the_code_that_the_command_line_gives_by_itself() {
        for (status, given, code, message) in [
            (StatusCode::CONFLICT, "QS0712", "QS0712", "why"),
            (StatusCode::CONFLICT, "QS0708", "QS0708", "why"),
            (StatusCode::BAD_REQUEST, "QS0705", "QS0705", "why"),
            (StatusCode::BAD_GATEWAY, "QS0401", "QS0702", "why (QS0401)"),
        ] {
            let problem = serde_json::json!({ "code": given, "detail": "why" });
            let failure = refused(status, &problem).expect("a refusal");
            assert_eq!(failure.code.code, code, "{given}");
            assert_eq!(failure.message, message, "{given}");
        }
    }
}
