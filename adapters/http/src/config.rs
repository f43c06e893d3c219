//! The settings of receive locations and send transports, and every fault that they can have.

use std::{collections::BTreeMap, fmt};

use quayside_adapter_api::SecretRef;
use serde::{
    Deserialize, Deserializer,
    de::{self, MapAccess, Visitor, value::MapAccessDeserializer},
};

mod receive;
mod send;

pub use receive::{CloudEvents, GzipConfig, ReceiveAuth, ReceiveConfig, Returns};
pub(crate) use send::header_key;
pub use send::{ClientIdentity, OAuth2, SendAuth, SendConfig, TokenAuth};

/// Text that stands in the configuration, or a secret that it refers to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TextOrSecret {
    /// The text: a template, or the path of a file.
    Text(String),
    /// Where the secret is.
    Secret(SecretRef),
}

impl<'de> Deserialize<'de> for TextOrSecret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = TextOrSecret;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text or { secret = \"NAME\" }")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<TextOrSecret, E> {
                Ok(TextOrSecret::Text(text.to_owned()))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<TextOrSecret, A::Error> {
                SecretRef::deserialize(MapAccessDeserializer::new(map)).map(TextOrSecret::Secret)
            }
        }
        deserializer.deserialize_any(Either)
    }
}

/// Secrets by the name of the credential that they prove.
pub type Credentials = BTreeMap<String, SecretRef>;
