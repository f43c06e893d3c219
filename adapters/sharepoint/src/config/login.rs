//! How the gateway proves who it is.

use std::fmt;

use quayside_adapter_api::{SecretRef, model::Fault};
use serde::{
    Deserialize, Deserializer,
    de::{self, MapAccess, Visitor, value::MapAccessDeserializer},
};

use super::bad;
use crate::ntlm;

/// How the gateway proves who it is.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum Auth {
    /// An access token that something else renews.
    Bearer(SecretRef),
    /// A program, with its arguments, that prints an access token: bare, or as JSON with `access_token` and
    /// `expires_in`.
    Command(Vec<String>),
    /// An app of Entra ID with a certificate.
    Entra(Entra),
    /// A Windows account of a farm on premises that takes Basic.
    Basic {
        /// `DOMAIN\NAME`.
        user: String,
        /// Its password.
        password: SecretRef,
    },
    /// A Windows account of a farm on premises that takes NTLM.
    Ntlm {
        /// `DOMAIN\NAME` or `NAME@DOMAIN`.
        user: String,
        /// Its password.
        password: SecretRef,
    },
}

/// An app of Entra ID with a certificate.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entra {
    /// The tenant: its id or one of its domains.
    pub tenant: String,
    /// The id of the app.
    pub client_id: String,
    /// Its certificate, PEM.
    pub certificate: PathOrSecret,
    /// The RSA key of it, PEM, unencrypted.
    pub key: PathOrSecret,
    /// Where tokens are.
    #[serde(default = "entra_authority")]
    pub authority: String,
    /// What the token is for. Absent: the host of the site.
    #[serde(default)]
    pub scope: Option<String>,
}

/// A file, or a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PathOrSecret {
    /// The path of a file.
    Path(String),
    /// Where the secret is.
    Secret(SecretRef),
}

impl<'de> Deserialize<'de> for PathOrSecret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = PathOrSecret;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a path or { secret = \"NAME\" }")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<PathOrSecret, E> {
                Ok(PathOrSecret::Path(text.to_owned()))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<PathOrSecret, A::Error> {
                SecretRef::deserialize(MapAccessDeserializer::new(map)).map(PathOrSecret::Secret)
            }
        }
        deserializer.deserialize_any(Either)
    }
}

impl Auth {
    pub(super) fn faults(&self) -> Vec<Fault> {
        let mut faults = Vec::new();
        match self {
            Self::Command(command) if command.is_empty() => {
                faults.push(bad(&["auth", "command"], "the program is missing"));
            }
            Self::Entra(entra) => {
                if !entra.authority.starts_with("https://")
                    && !entra.authority.starts_with("http://")
                {
                    faults.push(bad(&["auth", "entra", "authority"], "write https://HOST"));
                }
                if entra.tenant.is_empty() || entra.tenant.contains(['/', '?', '#']) {
                    faults.push(bad(
                        &["auth", "entra", "tenant"],
                        "write the id or a domain of the tenant",
                    ));
                }
            }
            Self::Ntlm { user, .. } => {
                if let Err(why) = ntlm::check_user(user) {
                    faults.push(bad(&["auth", "ntlm", "user"], why));
                }
            }
            _ => {}
        }
        faults
    }
}

fn entra_authority() -> String {
    "https://login.microsoftonline.com".to_owned()
}
