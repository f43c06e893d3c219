//! The HTTP client of a send port: its pool, its certificates, its time limits.

use quayside_adapter_api::{AdapterError, Secrets};
use reqwest::{Certificate, Client, Identity, redirect};

use crate::{
    SendConfig,
    config::ClientIdentity,
    error::{BAD_TLS, chain, config as config_error},
    pem,
};

/// Builds the client of a port.
///
/// # Errors
/// `Config` if a certificate or key cannot be read or used.
pub(crate) fn build(config: &SendConfig, secrets: &dyn Secrets) -> Result<Client, AdapterError> {
    let mut builder = Client::builder()
        .user_agent(concat!("quayside/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(config.connect_timeout.duration())
        .timeout(config.timeout.duration())
        .pool_max_idle_per_host(config.pool_max_idle)
        .pool_idle_timeout(config.pool_idle_timeout.duration())
        .tcp_nodelay(true)
        .tcp_keepalive(std::time::Duration::from_secs(15))
        // A redirect repeats the message or does not, which is for `send` to decide.
        .redirect(redirect::Policy::none())
        // A proxy from the environment would silently change where messages go.
        .no_proxy();
    if let Some(ca) = &config.ca {
        let roots = pem::certificates(ca, secrets)?;
        let roots: Result<Vec<_>, _> = roots.iter().map(|der| Certificate::from_der(der)).collect();
        builder = builder.tls_certs_only(roots.map_err(|e| pem::unusable(ca, &chain(&e)))?);
    }
    if let Some(identity) = &config.client_certificate {
        builder = builder.identity(read_identity(identity, secrets)?);
    }
    builder
        .build()
        .map_err(|error| config_error(BAD_TLS, chain(&error)))
}

fn read_identity(
    identity: &ClientIdentity,
    secrets: &dyn Secrets,
) -> Result<Identity, AdapterError> {
    let mut pem = pem::read(&identity.certificate, secrets)?;
    pem.push(b'\n');
    pem.extend(pem::read(&identity.key, secrets)?);
    Identity::from_pem(&pem).map_err(|e| pem::unusable(&identity.certificate, &chain(&e)))
}
