//! PEM from files and secrets.

use quayside_adapter_api::{AdapterError, Secrets};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};

use crate::{
    TextOrSecret,
    error::{BAD_TLS, config as config_error},
};

/// The bytes of a PEM file or secret.
pub(crate) fn read(source: &TextOrSecret, secrets: &dyn Secrets) -> Result<Vec<u8>, AdapterError> {
    match source {
        TextOrSecret::Text(path) => {
            std::fs::read(path).map_err(|error| config_error(BAD_TLS, format!("`{path}`: {error}")))
        }
        TextOrSecret::Secret(reference) => Ok(secrets.resolve(reference)?.expose().to_vec()),
    }
}

/// The certificates in it; at least one.
pub(crate) fn certificates(
    source: &TextOrSecret,
    secrets: &dyn Secrets,
) -> Result<Vec<CertificateDer<'static>>, AdapterError> {
    let pem = read(source, secrets)?;
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(&pem)
        .collect::<Result<_, _>>()
        .map_err(|error| unusable(source, &error.to_string()))?;
    if certificates.is_empty() {
        return Err(unusable(source, "there is no certificate in it"));
    }
    Ok(certificates)
}

/// The private key in it.
pub(crate) fn key(
    source: &TextOrSecret,
    secrets: &dyn Secrets,
) -> Result<PrivateKeyDer<'static>, AdapterError> {
    let pem = read(source, secrets)?;
    PrivateKeyDer::from_pem_slice(&pem).map_err(|error| unusable(source, &error.to_string()))
}

/// A certificate or key that cannot be used, without a byte of it.
pub(crate) fn unusable(source: &TextOrSecret, why: &str) -> AdapterError {
    let place = match source {
        TextOrSecret::Text(path) => path,
        TextOrSecret::Secret(reference) => &reference.secret,
    };
    config_error(BAD_TLS, format!("`{place}`: {why}"))
}
