//! The broker's management API: what AMQP does not tell of queues.

use std::{collections::BTreeMap, path::Path, time::Duration};

use quayside_adapter_api::{AdapterError, ErrorKind, Secrets, services::Secret};
use reqwest::{RequestBuilder, Response, StatusCode, Url};
use serde_json::Value;

use crate::{
    codes,
    declare::{Argument, Arguments, Site},
};

/// How long it may take to answer.
const WITHIN: Duration = Duration::from_secs(20);

/// How many queues are asked for at once, and how often.
const PAGE: usize = 500;
const PAGES: usize = 40;

/// A queue as the management API tells it, up to some seconds old.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Its name.
    pub name: String,
    /// `quorum`, `classic` or `stream`.
    pub kind: String,
    /// Messages that wait for a consumer, if that is known yet.
    pub ready: Option<u64>,
    /// Messages that consumers have and did not acknowledge.
    pub unacked: Option<u64>,
    /// Its consumers.
    pub consumers: Option<u64>,
    /// Its arguments.
    pub arguments: Arguments,
}

/// The management API of one broker.
#[derive(Debug)]
pub struct Management {
    http: reqwest::Client,
    address: Url,
    vhost: String,
    user: String,
    password: Option<Secret>,
}

/// The address, if it is one.
pub(crate) fn address(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| format!("`{text}` is no URL: {error}"))?;
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return Err(format!("`{text}` is no address like http://HOST:15672"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(
            "user and password do not stand in the URL: set `user` and `password`".to_owned(),
        );
    }
    Ok(url)
}

/// The same as one that is asked.
fn usable(text: &str) -> Result<Url, AdapterError> {
    address(text).map_err(|why| AdapterError::new(ErrorKind::Config, codes::BAD_URL, why))
}

/// What asks: trusts the authorities in `ca`, or those of the machine. Reads files.
///
/// # Errors
/// That the authorities cannot be used.
pub(crate) fn client(
    ca: Option<&Path>,
    connect: Duration,
    within: Duration,
) -> Result<reqwest::Client, AdapterError> {
    let wrong = |why| AdapterError::new(ErrorKind::Config, codes::BAD_TLS, why);
    let mut builder = reqwest::Client::builder()
        .timeout(within)
        .connect_timeout(connect)
        // The broker is named by the operator; a proxy of the environment would get the password.
        .no_proxy();
    if let Some(ca) = ca {
        let shown = ca.display();
        let pem = std::fs::read(ca).map_err(|error| wrong(format!("`{shown}`: {error}")))?;
        let certificates = reqwest::Certificate::from_pem_bundle(&pem);
        let certificates = certificates.map_err(|error| wrong(format!("`{shown}`: {error}")))?;
        builder = builder.tls_certs_only(certificates);
    }
    builder.build().map_err(|error| wrong(error.to_string()))
}

impl Management {
    /// The management API at `text`, asked by `http` as `user`.
    ///
    /// # Errors
    /// That it is no address.
    pub(crate) fn at(
        text: &str,
        http: reqwest::Client,
        user: String,
        password: Option<Secret>,
    ) -> Result<Self, AdapterError> {
        Ok(Self {
            http,
            address: usable(text)?,
            vhost: String::new(),
            user,
            password,
        })
    }

    /// Closes all connections of `user`. A user that has none, or is none, is no error.
    ///
    /// # Errors
    /// That the API does not answer, or refuses its own user.
    pub(crate) async fn close_connections_of(&self, user: &str) -> Result<(), AdapterError> {
        let url = self.url(&["api", "connections", "username", user]);
        let reason = "another node has taken the host over";
        let request = self.http.delete(url).header("x-reason", reason);
        self.answer(request, "administrator").await.map(drop)
    }

    /// The management API of the broker of `site`, if its address is known.
    ///
    /// # Errors
    /// That the address or the authorities cannot be used, or the password not be read.
    pub fn of(site: &Site, secrets: &dyn Secrets) -> Result<Option<Self>, AdapterError> {
        let Some(text) = &site.management else {
            return Ok(None);
        };
        let address = usable(text)?;
        let broker = &site.broker;
        let http = client(broker.ca.as_deref(), broker.connect_timeout, WITHIN)?;
        let first = broker.uris.first();
        let login = first
            .map(|uri| uri.authority.userinfo.clone())
            .unwrap_or_default();
        let password = match &broker.password {
            Some(reference) => secrets.resolve(reference)?,
            None => Secret::new(login.password.as_bytes()),
        };
        Ok(Some(Self {
            http,
            address,
            vhost: first.map_or_else(|| "/".to_owned(), |uri| uri.vhost.clone()),
            user: broker.user.clone().unwrap_or(login.username),
            password: Some(password),
        }))
    }

    /// All queues of the virtual host by their names.
    ///
    /// # Errors
    /// That the API does not answer, refuses the user, or answers with something else.
    pub async fn queues(&self) -> Result<BTreeMap<String, Listed>, AdapterError> {
        let mut all = BTreeMap::new();
        for page in 1..=PAGES {
            let answer = self.page(page).await?;
            let items = answer["items"].as_array();
            let items = items.ok_or_else(|| self.failed("it answers with no list of queues"))?;
            all.extend(
                items
                    .iter()
                    .map(listed)
                    .map(|queue| (queue.name.clone(), queue)),
            );
            if answer["page_count"].as_u64().unwrap_or(0) <= page as u64 {
                break;
            }
        }
        Ok(all)
    }

    async fn page(&self, page: usize) -> Result<Value, AdapterError> {
        let mut url = self.url(&["api", "queues", &self.vhost]);
        url.query_pairs_mut()
            .append_pair("page", &page.to_string())
            .append_pair("page_size", &PAGE.to_string());
        let answer = self.answer(self.http.get(url), "management").await?;
        let body = answer.bytes().await;
        let body = body.map_err(|error| self.failed(&cause(&error)))?;
        serde_json::from_slice(&body).map_err(|error| self.failed(&format!("no JSON: {error}")))
    }

    fn url(&self, segments: &[&str]) -> Url {
        let mut url = self.address.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(segments);
        }
        url
    }

    /// Its answer, if that is a good one; its user needs `tag`.
    async fn answer(&self, request: RequestBuilder, tag: &str) -> Result<Response, AdapterError> {
        let password = self
            .password
            .as_ref()
            .and_then(|secret| secret.expose_text());
        let answer = request.basic_auth(&self.user, password).send().await;
        let answer = answer.map_err(|error| self.failed(&cause(&error)))?;
        match answer.status() {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                let detail = format!(
                    "the management API at {} refuses the user `{}`, who needs the tag `{tag}`",
                    self.address, self.user
                );
                let kind = ErrorKind::Config;
                Err(AdapterError::new(kind, codes::LOGIN_REFUSED, detail))
            }
            status if !status.is_success() => Err(self.failed(&format!("it answers {status}"))),
            _ => Ok(answer),
        }
    }

    fn failed(&self, why: &str) -> AdapterError {
        let detail = format!("the management API at {}: {why}", self.address);
        AdapterError::new(ErrorKind::Disconnected, codes::NO_MANAGEMENT, detail)
    }
}

/// The cause at the bottom.
fn cause(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return "no answer in time".to_owned();
    }
    let mut cause: &dyn std::error::Error = error;
    while let Some(below) = cause.source() {
        cause = below;
    }
    cause.to_string()
}

fn listed(queue: &Value) -> Listed {
    let text = |key: &str| queue[key].as_str().unwrap_or_default().to_owned();
    let arguments = queue["arguments"].as_object().into_iter().flatten();
    Listed {
        name: text("name"),
        kind: text("type"),
        ready: queue["messages_ready"].as_u64(),
        unacked: queue["messages_unacknowledged"].as_u64(),
        consumers: queue["consumers"].as_u64(),
        arguments: arguments
            .map(|(name, value)| (name.clone(), Argument::from_json(value)))
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_address_has_no_password_in_it() {
        assert!(address("http://mq:15672/prefix/").is_ok());
        for wrong in ["mq:15672", "amqp://mq", "http://", "http://u:hunter2@mq"] {
            let why = address(wrong).expect_err(wrong);
            assert!(!why.contains("hunter2"), "{why}");
        }
    }

    #[test]
    fn a_queue_is_read_also_before_it_was_counted() {
        let young =
            listed(&json!({ "name": "q", "type": "quorum", "arguments": { "x-max-length": 5 } }));
        assert_eq!((young.ready, young.kind.as_str()), (None, "quorum"));
        assert_eq!(young.arguments["x-max-length"], Argument::Number(5));
    }
}
