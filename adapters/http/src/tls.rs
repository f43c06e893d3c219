//! TLS of listeners: rustls with ring, and the certificates that clients show.

use std::{fmt::Write as _, sync::Arc};

use quayside_adapter_api::{AdapterError, Secrets, model::Text};
use rustls::{
    RootCertStore, ServerConfig, ServerConnection,
    server::{WebPkiClientVerifier, danger::ClientCertVerifier},
};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use x509_cert::{Certificate, der::Decode as _};

use crate::{
    TextOrSecret,
    error::{BAD_TLS, config as config_error},
    pem,
};

/// The TLS settings of a listener: PEM files by their path, or secrets.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsOptions {
    /// The certificate, followed by those that lead to the authority.
    pub certificate: TextOrSecret,
    /// The private key.
    pub key: TextOrSecret,
    /// The authorities whose client certificates are verified. Absent: clients show none.
    #[serde(default)]
    pub client_ca: Option<TextOrSecret>,
    /// Whether a client without certificate is refused at the handshake. Otherwise each receive
    /// location decides, and probes need no certificate.
    #[serde(default)]
    pub require_client_certificate: bool,
}

/// The rustls configuration of a listener.
///
/// # Errors
/// `Config` if a file or secret cannot be read or used.
pub(crate) fn server_config(
    options: &TlsOptions,
    secrets: &dyn Secrets,
) -> Result<Arc<ServerConfig>, AdapterError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| config_error(BAD_TLS, error.to_string()))?;
    let builder = match &options.client_ca {
        Some(ca) => {
            let required = options.require_client_certificate;
            builder.with_client_cert_verifier(client_verifier(ca, required, provider, secrets)?)
        }
        None => builder.with_no_client_auth(),
    };
    let chain = pem::certificates(&options.certificate, secrets)?;
    let key = pem::key(&options.key, secrets)?;
    let mut config = builder
        .with_single_cert(chain, key)
        .map_err(|error| pem::unusable(&options.certificate, &error.to_string()))?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

fn client_verifier(
    ca: &TextOrSecret,
    required: bool,
    provider: Arc<rustls::crypto::CryptoProvider>,
    secrets: &dyn Secrets,
) -> Result<Arc<dyn ClientCertVerifier>, AdapterError> {
    let mut roots = RootCertStore::empty();
    for certificate in pem::certificates(ca, secrets)? {
        roots
            .add(certificate)
            .map_err(|error| pem::unusable(ca, &error.to_string()))?;
    }
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
    let builder = if required {
        builder
    } else {
        builder.allow_unauthenticated()
    };
    builder
        .build()
        .map_err(|error| pem::unusable(ca, &error.to_string()))
}

/// A certificate that a client has shown and that was verified.
#[derive(Debug, Clone)]
pub(crate) struct ClientCertificate {
    /// Its subject, as RFC 4514 writes it.
    pub(crate) subject: Text,
    /// The SHA-256 of its DER form, in hex.
    pub(crate) thumbprint: Text,
}

impl ClientCertificate {
    /// The certificate of a connection's client, if it showed one.
    pub(crate) fn of(connection: &ServerConnection) -> Option<Self> {
        let der = connection.peer_certificates()?.first()?;
        // rustls verified it, so it can be read; if not, it is as if there were none.
        let subject = Certificate::from_der(der)
            .ok()?
            .tbs_certificate
            .subject
            .to_string();
        let mut thumbprint = String::with_capacity(64);
        for byte in Sha256::digest(der) {
            // Writing to a String cannot fail.
            let _ = write!(thumbprint, "{byte:02x}");
        }
        Some(Self {
            subject: Text::new(subject).ok()?,
            thumbprint: Text::lossy(&thumbprint),
        })
    }
}
