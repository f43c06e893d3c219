//! Who sends: credentials of requests, compared without telling how close a guess was.

use std::{fmt, sync::Arc};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{HeaderMap, HeaderValue, header};
use quayside_adapter_api::{AdapterError, SecretRef, Secrets, Services, model::Text};
use sha2::{Digest as _, Sha256};

use crate::{ReceiveAuth, config::Credentials, fresh::Fresh};

/// What a receive location asks of a sender.
pub(crate) struct Gate {
    scheme: Scheme,
    credentials: Credentials,
    secrets: Arc<dyn Secrets>,
    known: Fresh<Arc<[Known]>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scheme {
    Basic,
    Bearer,
}

/// A credential that would be accepted: compared by hash, so that neither length nor prefix shows.
struct Known {
    name: Text,
    hash: [u8; 32],
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gate")
            .field("scheme", &self.scheme)
            .finish_non_exhaustive()
    }
}

impl Gate {
    /// The gate of a receive location.
    pub(crate) fn new(auth: &ReceiveAuth, services: &Services) -> Self {
        let (scheme, credentials) = match auth {
            ReceiveAuth::Basic(users) => (Scheme::Basic, users.clone()),
            ReceiveAuth::Bearer(tokens) => (Scheme::Bearer, tokens.clone()),
        };
        Self {
            scheme,
            credentials,
            secrets: Arc::clone(&services.secrets),
            known: Fresh::new(Arc::clone(&services.clock)),
        }
    }

    /// The name of the credential that the request carries, if it is a valid one.
    ///
    /// # Errors
    /// If a secret cannot be read.
    pub(crate) fn admit(&self, headers: &HeaderMap) -> Result<Option<Text>, AdapterError> {
        let known = self.known()?;
        let Some(hash) = headers
            .get(header::AUTHORIZATION)
            .and_then(|v| self.hash(v))
        else {
            return Ok(None);
        };
        Ok(known
            .iter()
            .find(|known| same(&known.hash, &hash))
            .map(|known| known.name.clone()))
    }

    /// What a refused sender is told to send.
    pub(crate) fn challenge(&self) -> HeaderValue {
        HeaderValue::from_static(match self.scheme {
            Scheme::Basic => "Basic realm=\"quayside\", charset=\"UTF-8\"",
            Scheme::Bearer => "Bearer realm=\"quayside\"",
        })
    }

    fn hash(&self, authorization: &HeaderValue) -> Option<[u8; 32]> {
        let (scheme, rest) = authorization.to_str().ok()?.split_once(' ')?;
        let rest = rest.trim();
        let credential = match self.scheme {
            Scheme::Basic if scheme.eq_ignore_ascii_case("basic") => STANDARD.decode(rest).ok()?,
            Scheme::Bearer if scheme.eq_ignore_ascii_case("bearer") => rest.as_bytes().to_vec(),
            _ => return None,
        };
        Some(Sha256::digest(credential).into())
    }

    fn known(&self) -> Result<Arc<[Known]>, AdapterError> {
        self.known.get(|| {
            self.credentials
                .iter()
                .map(|(name, secret)| self.read(name, secret))
                .collect()
        })
    }

    fn read(&self, name: &str, reference: &SecretRef) -> Result<Known, AdapterError> {
        let secret = self.secrets.resolve(reference)?;
        let text = secret.expose_text().map_or(secret.expose(), str::as_bytes);
        let mut sha = Sha256::new();
        if self.scheme == Scheme::Basic {
            sha.update(name.as_bytes());
            sha.update(b":");
        }
        sha.update(text);
        Ok(Known {
            name: Text::lossy(name),
            hash: sha.finalize().into(),
        })
    }
}

/// Compares every byte, whatever the first ones say.
fn same(a: &[u8; 32], b: &[u8; 32]) -> bool {
    a.iter().zip(b).fold(0, |differs, (a, b)| differs | (a ^ b)) == 0
}
