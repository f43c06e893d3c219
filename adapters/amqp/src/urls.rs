//! Where brokers are.

use std::{fmt, path::PathBuf, time::Duration};

use lapin::uri::{AMQPScheme, AMQPUri};
use quayside_adapter_api::{AdapterError, ErrorKind, SecretRef};
use serde::{
    Deserialize, Deserializer,
    de::{self, SeqAccess, Visitor, value::SeqAccessDeserializer},
};

use crate::{codes, takeover::user_of};

/// One URL or a list of them.
#[derive(Debug, Clone)]
pub struct Urls(Vec<String>);

impl Urls {
    /// The URLs as they were given.
    pub(crate) fn list(&self) -> &[String] {
        &self.0
    }
}

impl<'de> Deserialize<'de> for Urls {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = Urls;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a URL or a list of URLs")
            }

            fn visit_str<E: de::Error>(self, url: &str) -> Result<Urls, E> {
                Ok(Urls(vec![url.to_owned()]))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, urls: A) -> Result<Urls, A::Error> {
                Vec::deserialize(SeqAccessDeserializer::new(urls)).map(Urls)
            }
        }
        deserializer.deserialize_any(Either)
    }
}

/// How to reach the brokers of one connection.
#[derive(Debug, Clone)]
pub(crate) struct Broker {
    /// Without user and password.
    pub(crate) uris: Vec<AMQPUri>,
    /// As it is in the settings: `{node}` may stand in it.
    pub(crate) user: Option<String>,
    pub(crate) password: Option<SecretRef>,
    pub(crate) ca: Option<PathBuf>,
    pub(crate) heartbeat: u16,
    pub(crate) connect_timeout: Duration,
}

impl Broker {
    /// The same for the node `node`.
    pub(crate) fn of_node(mut self, node: &str) -> Self {
        self.user = self.user.map(|user| user_of(&user, node));
        self
    }
}

pub(crate) fn uris(urls: &Urls) -> Result<Vec<AMQPUri>, AdapterError> {
    let parsed = urls.0.iter().map(|url| parse_url(url));
    parsed
        .collect::<Result<_, _>>()
        .map_err(|wrong| AdapterError::new(ErrorKind::Config, codes::BAD_URL, wrong))
}

/// Reads a URL, without repeating it: there may be a password in it.
pub(crate) fn parse_url(url: &str) -> Result<AMQPUri, String> {
    let scheme = url
        .split_once("://")
        .map(|(scheme, _)| scheme.to_ascii_lowercase());
    if !matches!(scheme.as_deref(), Some("amqp" | "amqps")) {
        return Err("no URL of a broker: it begins with neither amqp:// nor amqps://".into());
    }
    let uri: AMQPUri = url
        .parse()
        .map_err(|error| format!("no URL of a broker: {error}"))?;
    let rest = url.split_once("://").map_or("", |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = authority.rsplit('@').next().unwrap_or_default();
    if authority.contains('@') {
        return Err("user and password do not stand in the URL: set `user` and `password`".into());
    }
    // The parser takes `localhost` for what it does not know as a name.
    if host.is_empty() || host.starts_with('[') || host.starts_with(':') {
        return Err("the URL needs the name or the IPv4 address of a host".to_owned());
    }
    if url.contains(['?', '#']) {
        return Err("the URL takes no parameters: they are settings of their own".to_owned());
    }
    Ok(uri)
}

/// Whether the connection is to be encrypted.
pub(crate) fn is_tls(uri: &AMQPUri) -> bool {
    uri.scheme == AMQPScheme::AMQPS
}
