//! PEM from files and secrets.

use quayside_adapter_api::{AdapterError, Secrets};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};

use crate::{codes::BAD_CREDENTIAL, config::PathOrSecret, error};

/// The certificates in it; at least one.
pub(crate) fn certificates(
    source: &PathOrSecret,
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
    source: &PathOrSecret,
    secrets: &dyn Secrets,
) -> Result<PrivateKeyDer<'static>, AdapterError> {
    let pem = read(source, secrets)?;
    PrivateKeyDer::from_pem_slice(&pem).map_err(|error| unusable(source, &error.to_string()))
}

/// A certificate or key that cannot be used, without a byte of it.
pub(crate) fn unusable(source: &PathOrSecret, why: &str) -> AdapterError {
    let place = match source {
        PathOrSecret::Path(path) => path,
        PathOrSecret::Secret(reference) => &reference.secret,
    };
    error::config(BAD_CREDENTIAL, format!("`{place}`: {why}"))
}

fn read(source: &PathOrSecret, secrets: &dyn Secrets) -> Result<Vec<u8>, AdapterError> {
    match source {
        PathOrSecret::Path(path) => std::fs::read(path)
            .map_err(|cause| error::config(BAD_CREDENTIAL, format!("`{path}`: {cause}"))),
        PathOrSecret::Secret(reference) => Ok(secrets.resolve(reference)?.expose().to_vec()),
    }
}
