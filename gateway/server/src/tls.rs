//! TLS for the admin listener and towards the database: rustls with ring.

use std::{io, net::SocketAddr, path::Path, sync::Arc, time::Duration};

use quayside_adapter_api::Secrets;
use quayside_adapter_http::{TextOrSecret, TlsOptions};
use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    server::WebPkiClientVerifier,
};
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::timeout,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use crate::{cli::codes, exit::Failure};

/// How long a client may take for its handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// How many handshakes may be under way.
const MAX_HANDSHAKES: usize = 64;

/// The configuration of a listener with these certificates.
pub(crate) fn server_config(
    options: &TlsOptions,
    secrets: &dyn Secrets,
) -> Result<Arc<ServerConfig>, Failure> {
    let failed = |cause: String| Failure::new(codes::TLS_FILES, cause);
    let chain = certificates(&options.certificate, secrets)?;
    let key = PrivateKeyDer::from_pem_slice(&bytes(&options.key, secrets)?)
        .map_err(|error| failed(format!("admin.tls.key: {error}")))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| failed(error.to_string()))?;
    let builder = match &options.client_ca {
        None => builder.with_no_client_auth(),
        Some(ca) => {
            let mut roots = RootCertStore::empty();
            for certificate in certificates(ca, secrets)? {
                roots
                    .add(certificate)
                    .map_err(|error| failed(format!("admin.tls.client_ca: {error}")))?;
            }
            let verifier =
                WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
            builder.with_client_cert_verifier(
                verifier.map_err(|error| failed(format!("admin.tls.client_ca: {error}")))?,
            )
        }
    };
    let config = builder.with_single_cert(chain, key);
    config
        .map(Arc::new)
        .map_err(|error| failed(format!("admin.tls.certificate: {error}")))
}

fn certificates(
    from: &TextOrSecret,
    secrets: &dyn Secrets,
) -> Result<Vec<CertificateDer<'static>>, Failure> {
    let pem = bytes(from, secrets)?;
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    let chain = chain.map_err(|error| Failure::new(codes::TLS_FILES, error.to_string()))?;
    if chain.is_empty() {
        return Err(Failure::new(
            codes::TLS_FILES,
            "a PEM file of admin.tls holds no certificate",
        ));
    }
    Ok(chain)
}

fn bytes(from: &TextOrSecret, secrets: &dyn Secrets) -> Result<Vec<u8>, Failure> {
    match from {
        TextOrSecret::Text(path) => std::fs::read(path)
            .map_err(|error| Failure::new(codes::TLS_FILES, format!("{path}: {error}"))),
        TextOrSecret::Secret(reference) => secrets
            .resolve(reference)
            .map(|secret| secret.expose().to_vec())
            .map_err(|error| Failure::new(error.code, error.detail)),
    }
}

/// The configuration of a client that trusts the authorities of the PEM file `ca`.
pub(crate) fn client_config(ca: &Path) -> Result<ClientConfig, Failure> {
    let failed = |cause: String| {
        Failure::new(
            codes::TLS_FILES,
            format!("store.ca, {}: {cause}", ca.display()),
        )
    };
    let pem = std::fs::read(ca).map_err(|error| failed(error.to_string()))?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let certificate = certificate.map_err(|error| failed(error.to_string()))?;
        // A bundle of a system may hold an old root that rustls does not take; the others still count.
        if let Err(error) = roots.add(certificate) {
            tracing::debug!(%error, "an authority is left out");
        }
    }
    if roots.is_empty() {
        return Err(failed("it holds no usable certificate".to_owned()));
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| failed(error.to_string()))?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

/// A listener whose connections speak TLS. A slow handshake holds up no other client.
pub(crate) struct TlsListener {
    tcp: TcpListener,
    acceptor: TlsAcceptor,
    handshakes: JoinSet<Option<(TlsStream<TcpStream>, SocketAddr)>>,
}

impl TlsListener {
    /// Over a bound listener.
    pub(crate) fn new(tcp: TcpListener, config: Arc<ServerConfig>) -> Self {
        Self {
            tcp,
            acceptor: TlsAcceptor::from(config),
            handshakes: JoinSet::new(),
        }
    }
}

impl axum::serve::Listener for TlsListener {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            tokio::select! {
                Some(done) = self.handshakes.join_next() => {
                    // A handshake that failed is its client's matter.
                    if let Ok(Some(connection)) = done {
                        return connection;
                    }
                }
                accepted = self.tcp.accept(), if self.handshakes.len() < MAX_HANDSHAKES => {
                    match accepted {
                        Ok((tcp, address)) => {
                            let handshake = timeout(HANDSHAKE, self.acceptor.accept(tcp));
                            self.handshakes
                                .spawn(async move { Some((handshake.await.ok()?.ok()?, address)) });
                        }
                        Err(error) => {
                            tracing::warn!(%error, "the admin listener cannot accept a connection");
                            // Out of file handles: some have to be closed first.
                            tokio::time::sleep(Duration::from_millis(100)).await;
                        }
                    }
                }
            }
        }
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        self.tcp.local_addr()
    }
}
