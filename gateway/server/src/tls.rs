//! TLS for the admin listener: rustls with ring. That towards the database is made by its store.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use quayside_adapter_api::Secrets;
use quayside_adapter_http::{TextOrSecret, TlsOptions};
use rustls::{
    RootCertStore, ServerConfig,
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

/// The configuration of the admin listener with these certificates.
pub(crate) fn server_config(
    options: &TlsOptions,
    secrets: &dyn Secrets,
) -> Result<Arc<ServerConfig>, Failure> {
    let failed = |part: &str, cause: String| {
        Failure::new(codes::TLS_FILES, format!("admin.tls.{part}: {cause}"))
    };
    let chain = certificates(&options.certificate, secrets)
        .map_err(|fault| failed("certificate", fault.into_message()))?;
    let key = key(&options.key, secrets).map_err(|fault| failed("key", fault.into_message()))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| failed("certificate", error.to_string()))?;
    let builder = match &options.client_ca {
        None => builder.with_no_client_auth(),
        Some(ca) => {
            let roots = authorities(ca, secrets)
                .map_err(|fault| failed("client_ca", fault.into_message()))?;
            let verifier =
                WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
            builder.with_client_cert_verifier(
                verifier.map_err(|error| failed("client_ca", error.to_string()))?,
            )
        }
    };
    let config = builder.with_single_cert(chain, key);
    config
        .map(Arc::new)
        .map_err(|error| failed("certificate", error.to_string()))
}

/// Why a PEM file or secret is of no use.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum PemFault {
    /// The secret cannot be read.
    Secret(String),
    /// The file is not there.
    Missing(String),
    /// What is there cannot be used.
    Unusable(String),
}

impl PemFault {
    fn unusable(from: &TextOrSecret, cause: &str) -> Self {
        Self::Unusable(format!("{}: {cause}", shown(from)))
    }

    fn into_message(self) -> String {
        match self {
            Self::Secret(message) | Self::Missing(message) | Self::Unusable(message) => message,
        }
    }
}

/// Whether certificate and key can be read and belong together.
pub(crate) fn check_identity(
    certificate: &TextOrSecret,
    private: &TextOrSecret,
    secrets: &dyn Secrets,
) -> Result<(), PemFault> {
    let chain = certificates(certificate, secrets)?;
    let key = key(private, secrets)?;
    let provider = rustls::crypto::ring::default_provider();
    let pair = rustls::sign::CertifiedKey::from_der(chain, key, &provider);
    match pair {
        Ok(_) => Ok(()),
        Err(rustls::Error::InconsistentKeys(_)) => {
            let cause = format!("it is not the certificate of the key in {}", shown(private));
            Err(PemFault::unusable(certificate, &cause))
        }
        Err(error) => Err(PemFault::unusable(private, &error.to_string())),
    }
}

/// Whether the certificates of authorities can be read.
pub(crate) fn check_authorities(
    from: &TextOrSecret,
    secrets: &dyn Secrets,
) -> Result<(), PemFault> {
    authorities(from, secrets).map(drop)
}

fn authorities(from: &TextOrSecret, secrets: &dyn Secrets) -> Result<RootCertStore, PemFault> {
    let chain = certificates(from, secrets)?;
    let mut roots = RootCertStore::empty();
    // A bundle of a system may hold an old root that rustls does not take; the others still count.
    let (usable, _) = roots.add_parsable_certificates(chain);
    if usable == 0 {
        return Err(PemFault::unusable(from, "it holds no usable certificate"));
    }
    Ok(roots)
}

fn certificates(
    from: &TextOrSecret,
    secrets: &dyn Secrets,
) -> Result<Vec<CertificateDer<'static>>, PemFault> {
    let pem = bytes(from, secrets)?;
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    let chain = chain.map_err(|error| PemFault::unusable(from, &error.to_string()))?;
    if chain.is_empty() {
        return Err(PemFault::unusable(from, "it holds no certificate in PEM"));
    }
    Ok(chain)
}

fn key(from: &TextOrSecret, secrets: &dyn Secrets) -> Result<PrivateKeyDer<'static>, PemFault> {
    PrivateKeyDer::from_pem_slice(&bytes(from, secrets)?)
        .map_err(|_| PemFault::unusable(from, "it holds no unencrypted private key in PEM"))
}

fn bytes(from: &TextOrSecret, secrets: &dyn Secrets) -> Result<Vec<u8>, PemFault> {
    match from {
        TextOrSecret::Text(path) => read_file(path),
        TextOrSecret::Secret(reference) => match secrets.resolve(reference) {
            Ok(secret) => Ok(secret.expose().to_vec()),
            Err(error) => Err(PemFault::Secret(error.detail)),
        },
    }
}

fn read_file(path: &str) -> Result<Vec<u8>, PemFault> {
    std::fs::read(path).map_err(|error| {
        let message = format!("{path}: {error}");
        match error.kind() {
            io::ErrorKind::NotFound => PemFault::Missing(message),
            _ => PemFault::Unusable(message),
        }
    })
}

fn shown(from: &TextOrSecret) -> String {
    match from {
        TextOrSecret::Text(path) => path.clone(),
        TextOrSecret::Secret(reference) => format!("the secret `{}`", reference.secret),
    }
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
