//! Connections that are made one by one: for NTLM, which logs in a connection and not a caller.

use std::{error::Error, fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use http::Uri;
use hyper::rt::{Read, Write};
use hyper_util::{client::legacy::connect::HttpConnector, rt::TokioIo};
use quayside_adapter_api::{AdapterError, Secrets};
use rustls::{ClientConfig, RootCertStore, pki_types::ServerName};
use rustls_platform_verifier::BuilderVerifierExt as _;
use tokio_rustls::TlsConnector;
use tower_service::Service as _;

use crate::{codes, config::Farm, error, ntlm, pem};

/// A connection, over TLS or not.
pub(crate) trait Io: Read + Write + Send + Unpin {}

impl<T: Read + Write + Send + Unpin> Io for T {}

/// A connection that was made.
pub(crate) struct Line {
    pub(crate) io: Box<dyn Io>,
    /// What a login on it is bound to.
    pub(crate) binding: Option<Vec<u8>>,
}

/// Makes connections.
#[async_trait]
pub(crate) trait Dial: fmt::Debug + Send + Sync {
    /// Makes one.
    ///
    /// # Errors
    /// Why there is none.
    async fn dial(&self) -> Result<Line, String>;
}

/// Makes connections to a farm.
pub(crate) struct Dialer {
    uri: Uri,
    tcp: HttpConnector,
    tls: Option<(TlsConnector, ServerName<'static>)>,
    time: Duration,
}

impl fmt::Debug for Dialer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Dialer").field(&self.uri).finish()
    }
}

impl Dialer {
    /// Prepares to connect to a farm.
    ///
    /// # Errors
    /// `Config` if its address or a certificate cannot be used.
    pub(crate) fn new(farm: &Farm, secrets: &dyn Secrets) -> Result<Self, AdapterError> {
        let wrong = |why: String| error::config(codes::BAD_SETTING, why);
        let uri: Uri = farm
            .site
            .origin()
            .parse()
            .map_err(|why: http::uri::InvalidUri| wrong(why.to_string()))?;
        let time = farm.connect_timeout.duration();
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_keepalive(Some(Duration::from_secs(15)));
        tcp.set_connect_timeout(Some(time));
        let tls = if uri.scheme_str() == Some("https") {
            let host = uri.host().unwrap_or_default();
            let host = host.trim_start_matches('[').trim_end_matches(']');
            let name = ServerName::try_from(host.to_owned());
            let name = name.map_err(|why| wrong(why.to_string()))?;
            let tls = trusting(farm, secrets)?;
            Some((TlsConnector::from(Arc::new(tls)), name))
        } else {
            None
        };
        Ok(Self {
            uri,
            tcp,
            tls,
            time,
        })
    }

    async fn connect(&self) -> Result<Line, Box<dyn Error + Send + Sync>> {
        let tcp = self.tcp.clone().call(self.uri.clone()).await?;
        let Some((tls, name)) = &self.tls else {
            let io = Box::new(tcp);
            return Ok(Line { io, binding: None });
        };
        let stream = tls.connect(name.clone(), tcp.into_inner()).await?;
        let shown = stream.get_ref().1.peer_certificates();
        let binding = shown
            .and_then(|chain| chain.first())
            .and_then(|der| ntlm::binding(der));
        let io = Box::new(TokioIo::new(stream));
        Ok(Line { io, binding })
    }
}

#[async_trait]
impl Dial for Dialer {
    async fn dial(&self) -> Result<Line, String> {
        let made = tokio::time::timeout(self.time, self.connect()).await;
        let made = match made {
            Ok(made) => made.map_err(|why| error::chain(&*why)),
            Err(_) => Err("connecting took too long".to_owned()),
        };
        let default = if self.tls.is_some() { 443 } else { 80 };
        let port = self.uri.port_u16().unwrap_or(default);
        made.map_err(|why| format!("{}:{port}: {why}", self.uri.host().unwrap_or_default()))
    }
}

fn trusting(farm: &Farm, secrets: &dyn Secrets) -> Result<ClientConfig, AdapterError> {
    let wrong = |why: rustls::Error| error::config(codes::BAD_CREDENTIAL, why.to_string());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(wrong)?;
    let builder = match &farm.ca {
        Some(ca) => {
            let mut roots = RootCertStore::empty();
            for der in pem::certificates(ca, secrets)? {
                let added = roots.add(der);
                added.map_err(|why| pem::unusable(ca, &why.to_string()))?;
            }
            builder.with_root_certificates(roots)
        }
        None => builder.with_platform_verifier().map_err(wrong)?,
    };
    Ok(builder.with_no_client_auth())
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use quayside_adapter_api::{SecretRef, services::Secret, units::Span};
    use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384};
    use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
    use sha2::{Digest as _, Sha256, Sha384};
    use tokio::{net::TcpListener, task::JoinSet};

    use super::*;
    use crate::{
        config::{Auth, PathOrSecret},
        odata::Site,
    };

    struct Nothing;

    impl Secrets for Nothing {
        fn resolve(&self, _: &SecretRef) -> Result<Secret, AdapterError> {
            Ok(Secret::new(b""))
        }
    }

    fn dialer(address: &str, ca: Option<&str>) -> Dialer {
        let secret = SecretRef {
            secret: "farm".to_owned(),
        };
        let farm = Farm {
            site: Site::parse(address).expect("an address"),
            auth: Auth::Bearer(secret),
            ca: ca.map(|path| PathOrSecret::Path(path.to_owned())),
            timeout: Span::secs(5),
            connect_timeout: Span::secs(5),
        };
        Dialer::new(&farm, &Nothing).expect("a dialer")
    }

    #[tokio::test]
    async fn a_connection_over_tls_trusts_the_given_authorities_and_knows_the_certificate() {
        for algorithm in [&PKCS_ECDSA_P256_SHA256, &PKCS_ECDSA_P384_SHA384] {
            let key = KeyPair::generate_for(algorithm).expect("a key");
            let names = CertificateParams::new(["localhost".to_owned()]).expect("a name");
            let certificate = names.self_signed(&key).expect("a certificate");
            let der = certificate.der().clone();
            let mut ca = tempfile::NamedTempFile::new().expect("a file");
            ca.write_all(certificate.pem().as_bytes()).expect("written");
            let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
            let provider = Arc::new(rustls::crypto::ring::default_provider());
            let server = rustls::ServerConfig::builder_with_provider(provider)
                .with_safe_default_protocol_versions()
                .expect("versions")
                .with_no_client_auth()
                .with_single_cert(vec![der.clone()], key)
                .expect("a server");
            let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(server));
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
            let port = listener.local_addr().expect("an address").port();
            let mut tasks = JoinSet::new();
            tasks.spawn(async move {
                while let Ok((stream, _)) = listener.accept().await {
                    drop(acceptor.accept(stream).await);
                }
            });
            let address = format!("https://localhost:{port}/sites/team");
            let line = dialer(&address, ca.path().to_str()).dial().await;
            let binding = line.map(|line| line.binding.expect("a binding"));
            let hash = if algorithm == &PKCS_ECDSA_P384_SHA384 {
                Sha384::digest(&der).to_vec()
            } else {
                Sha256::digest(&der).to_vec()
            };
            let expected = [b"tls-server-end-point:".as_slice(), &hash].concat();
            assert_eq!(binding, Ok(expected));
            let stranger = dialer(&address, None).dial().await;
            let why = stranger.err().expect("it is not trusted");
            assert!(why.starts_with(&format!("localhost:{port}: ")), "{why}");
            assert!(why.contains("certificate"), "{why}");
        }
    }

    #[tokio::test]
    async fn who_is_not_there_is_named() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let dialer = dialer(&format!("http://127.0.0.1:{port}"), None);
        let line = dialer.dial().await.map(|line| line.binding);
        assert_eq!(line, Ok(None));
        drop(listener);
        let why = dialer.dial().await.err().expect("nobody is there");
        assert!(why.starts_with(&format!("127.0.0.1:{port}: ")), "{why}");
        assert!(why.contains("refused"), "{why}");
    }
}
