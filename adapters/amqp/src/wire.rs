//! The connection below AMQP: TCP that notices a dead peer, TLS by rustls with ring, and how the protocol
//! library gets at both.

use std::{
    future::Future,
    io,
    net::SocketAddr,
    os::fd::{AsFd as _, OwnedFd},
    path::Path,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use async_rs::{Runtime, Tokio, traits::Reactor, util::RuntimeParts};
use bytes::Buf as _;
use futures_util::io::{AsyncRead as FuturesRead, AsyncWrite as FuturesWrite};
use lapin::uri::AMQPUri;
use quayside_adapter_api::{AdapterError, ErrorKind};
use rustix::net::sockopt;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::{CertificateDer, ServerName, pem::PemObject as _};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::Sleep,
};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tokio_util::compat::{Compat, TokioAsyncReadCompatExt as _};

use crate::{codes, config::is_tls, sieve::Sieve};

/// Where Debian and its relatives keep the authorities that the machine trusts.
const SYSTEM_CA: &str = "/etc/ssl/certs/ca-certificates.crt";

/// What was sent and is not acknowledged for so long is lost with its connection, in milliseconds.
const USER_TIMEOUT: u32 = 5000;

/// How much is read from the socket at once.
const READ_BYTES: usize = 64 * 1024;

/// When an idle connection is probed, and how often.
const KEEP_ALIVE: (Duration, Duration, u32) = (Duration::from_secs(5), Duration::from_secs(1), 3);

/// What the protocol library runs on: tokio, with streams of ours.
pub(crate) type Rt = Runtime<RuntimeParts<Tokio, Wire>>;

/// The runtime that this is called in.
pub(crate) fn runtime() -> Rt {
    let tokio = Tokio::current();
    Runtime::new(RuntimeParts::new(tokio.clone(), Wire(tokio)))
}

/// A connected stream.
#[derive(Debug)]
pub(crate) enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// Ends a connection from outside, whatever its owner is waiting for. Dropping it ends it too, because the
/// protocol library waits for a silent broker in a thread of its own, unless it was [left](Plug::leave) in.
#[derive(Debug)]
pub(crate) struct Plug {
    socket: OwnedFd,
    left: bool,
}

impl Plug {
    /// Ends it now. What was not sent is lost.
    pub(crate) fn pull(&self) {
        // The only failure is that it has ended already.
        let _ended = rustix::net::shutdown(&self.socket, rustix::net::Shutdown::Both);
    }

    /// The connection stands: it ends in order when its owner lets it go.
    pub(crate) fn leave(mut self) -> Self {
        self.left = true;
        self
    }
}

impl Drop for Plug {
    fn drop(&mut self) {
        if !self.left {
            self.pull();
        }
    }
}

/// Connects to the broker of `uri`, with TLS if it asks for it.
pub(crate) async fn connect(
    uri: &AMQPUri,
    tls: Option<Arc<ClientConfig>>,
) -> io::Result<(Stream, Plug)> {
    let host = uri.authority.host.as_str();
    let tcp = TcpStream::connect((host, uri.authority.port)).await?;
    tcp.set_nodelay(true)?;
    sockopt::set_tcp_user_timeout(&tcp, USER_TIMEOUT)?;
    sockopt::set_socket_keepalive(&tcp, true)?;
    sockopt::set_tcp_keepidle(&tcp, KEEP_ALIVE.0)?;
    sockopt::set_tcp_keepintvl(&tcp, KEEP_ALIVE.1)?;
    sockopt::set_tcp_keepcnt(&tcp, KEEP_ALIVE.2)?;
    let plug = Plug {
        socket: tcp.as_fd().try_clone_to_owned()?,
        left: false,
    };
    let stream = match tls {
        None => Stream::Plain(tcp),
        Some(config) => {
            let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
            let stream = TlsConnector::from(config).connect(name, tcp).await?;
            Stream::Tls(Box::new(stream))
        }
    };
    Ok((stream, plug))
}

/// As the protocol library takes it: what it could not read does not get there. `name` is for the log.
pub(crate) fn compat(stream: Stream, name: &str) -> Compat<Sifted> {
    let sifted = Sifted {
        stream,
        sieve: Sieve::new(),
        read: vec![0; READ_BYTES].into(),
        name: name.to_owned(),
        told: false,
    };
    sifted.compat()
}

/// A stream of which only frames are read that the protocol library can read.
#[derive(Debug)]
pub(crate) struct Sifted {
    stream: Stream,
    sieve: Sieve,
    read: Box<[u8]>,
    /// The location or port.
    name: String,
    /// Whether it was told that a message had to be rewritten.
    told: bool,
}

impl Sifted {
    fn tell(&mut self) {
        if self.sieve.rewritten() > 0 && !self.told {
            self.told = true;
            tracing::warn!(name = self.name, code = %codes::UNREADABLE,
                "a message has properties that cannot be read as they are; they are rewritten");
        }
    }
}

impl AsyncRead for Sifted {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        while this.sieve.ready().is_empty() {
            let mut read = ReadBuf::new(&mut this.read);
            ready!(Pin::new(&mut this.stream).poll_read(cx, &mut read))?;
            if read.filled().is_empty() {
                // The end: what is held back is half a frame.
                return Poll::Ready(Ok(()));
            }
            this.sieve.push(read.filled());
            this.tell();
        }
        let ready = this.sieve.ready();
        let count = ready.len().min(buf.remaining());
        buf.put_slice(&ready[..count]);
        ready.advance(count);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Sifted {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}

/// The TLS settings for `uris`, if any of them asks for TLS. Reads a file: not on a thread that others
/// wait for.
///
/// # Errors
/// `Config` if the authorities cannot be read.
pub(crate) fn tls(
    uris: &[AMQPUri],
    ca: Option<&Path>,
) -> Result<Option<Arc<ClientConfig>>, AdapterError> {
    if !uris.iter().any(is_tls) {
        return Ok(None);
    }
    let path = ca.unwrap_or(Path::new(SYSTEM_CA));
    let wrong = |why: String| {
        let detail = format!("`{}`: {why}", path.display());
        AdapterError::new(ErrorKind::Config, codes::BAD_TLS, detail)
    };
    let pem = std::fs::read(path).map_err(|error| wrong(error.to_string()))?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let certificate = certificate.map_err(|error| wrong(error.to_string()))?;
        roots
            .add(certificate)
            .map_err(|error| wrong(error.to_string()))?;
    }
    if roots.is_empty() {
        return Err(wrong("there is no certificate in it".to_owned()));
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| wrong(error.to_string()))?;
    let config = builder.with_root_certificates(roots).with_no_client_auth();
    Ok(Some(Arc::new(config)))
}

/// The half of the runtime that has to do with streams. Connections are made by [`connect`] and handed to
/// the library, which never makes one itself.
#[derive(Debug, Clone)]
pub(crate) struct Wire(Tokio);

impl Reactor for Wire {
    type TcpStream = Compat<Sifted>;
    type Sleep = Sleep;

    fn register<H: io::Read + io::Write + Send + 'static>(
        &self,
        _socket: H,
    ) -> io::Result<impl FuturesRead + FuturesWrite + Send + Unpin + 'static> {
        Err::<Compat<Sifted>, _>(io::Error::from(io::ErrorKind::Unsupported))
    }

    fn sleep(&self, duration: Duration) -> Sleep {
        self.0.sleep(duration)
    }

    fn interval(
        &self,
        every: Duration,
    ) -> impl futures_util::Stream<Item = Instant> + Send + 'static {
        self.0.interval(every)
    }

    fn tcp_connect_addr(
        &self,
        _addr: SocketAddr,
    ) -> impl Future<Output = io::Result<Compat<Sifted>>> + Send + 'static {
        std::future::ready(Err(io::Error::from(io::ErrorKind::Unsupported)))
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
    use rustls_pki_types::PrivateKeyDer;
    use tempfile::TempDir;
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpListener,
        task::JoinSet,
    };
    use tokio_rustls::TlsAcceptor;

    use super::*;

    fn authority(dir: &TempDir, name: &str) -> (CertifiedIssuer<'static, KeyPair>, PathBuf) {
        let mut params = CertificateParams::new(Vec::new()).expect("parameters");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().expect("a key");
        let authority = CertifiedIssuer::self_signed(params, key).expect("an authority");
        let path = dir.path().join(name);
        std::fs::write(&path, authority.pem()).expect("written");
        (authority, path)
    }

    /// A server that shows a certificate for `name` and sends back what it gets.
    async fn echo(
        authority: &CertifiedIssuer<'static, KeyPair>,
        name: &str,
        tasks: &mut JoinSet<()>,
    ) -> u16 {
        let params = CertificateParams::new(vec![name.to_owned()]).expect("a name");
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, authority).expect("signed");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(
                vec![certificate.der().clone()],
                PrivateKeyDer::try_from(key.serialize_der()).expect("a key"),
            )
            .expect("a certificate");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        tasks.spawn(async move {
            let (tcp, _) = listener.accept().await.expect("a client");
            // A client that does not trust it hangs up, which is what the test is about.
            let Ok(mut stream) = acceptor.accept(tcp).await else {
                return;
            };
            let mut bytes = [0; 5];
            stream.read_exact(&mut bytes).await.expect("bytes");
            stream.write_all(&bytes).await.expect("written");
            stream.flush().await.expect("flushed");
        });
        port
    }

    async fn connect_to(port: u16, ca: &Path) -> io::Result<(Stream, Plug)> {
        let uri: AMQPUri = format!("amqps://localhost:{port}").parse().expect("a URL");
        let tls = tls(std::slice::from_ref(&uri), Some(ca)).expect("authorities");
        connect(&uri, tls).await
    }

    #[tokio::test]
    async fn bytes_go_both_ways_over_tls() {
        let dir = tempfile::tempdir().expect("a folder");
        let mut tasks = JoinSet::new();
        let (authority, ca) = authority(&dir, "ca.pem");
        let port = echo(&authority, "localhost", &mut tasks).await;
        let (mut stream, _plug) = connect_to(port, &ca).await.expect("a connection");
        stream.write_all(b"hello").await.expect("written");
        stream.flush().await.expect("flushed");
        let mut bytes = [0; 5];
        stream.read_exact(&mut bytes).await.expect("bytes");
        assert_eq!(&bytes, b"hello");
    }

    #[tokio::test]
    async fn a_broker_of_another_name_or_authority_is_not_trusted() {
        let dir = tempfile::tempdir().expect("a folder");
        let mut tasks = JoinSet::new();
        let (known, ca) = authority(&dir, "ca.pem");
        let (unknown, _) = authority(&dir, "other.pem");
        let port = echo(&known, "mq.example", &mut tasks).await;
        let refused = connect_to(port, &ca).await.expect_err("another name");
        assert!(
            refused.to_string().contains("not valid for name"),
            "{refused}"
        );
        let port = echo(&unknown, "localhost", &mut tasks).await;
        let refused = connect_to(port, &ca).await.expect_err("another authority");
        assert!(refused.to_string().contains("UnknownIssuer"), "{refused}");
    }

    #[tokio::test]
    async fn a_connection_whose_plug_is_gone_has_ended() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let uri: AMQPUri = format!("amqp://localhost:{port}").parse().expect("a URL");
        let (mut stream, plug) = connect(&uri, None).await.expect("a connection");
        drop(plug);
        let mut bytes = [0; 1];
        assert_eq!(stream.read(&mut bytes).await.expect("its end"), 0);
    }

    #[test]
    fn authorities_that_cannot_be_used_are_told() {
        let dir = tempfile::tempdir().expect("a folder");
        let uri: AMQPUri = "amqps://localhost".parse().expect("a URL");
        let of = |path: &Path| tls(std::slice::from_ref(&uri), Some(path)).expect_err("a fault");
        let empty = dir.path().join("empty.pem");
        std::fs::write(&empty, "").expect("written");
        for path in [empty, dir.path().join("missing.pem")] {
            let error = of(&path);
            assert_eq!(
                (error.kind, error.code),
                (ErrorKind::Config, codes::BAD_TLS)
            );
        }
        let plain: AMQPUri = "amqp://localhost".parse().expect("a URL");
        let missing = dir.path().join("missing.pem");
        let without = tls(std::slice::from_ref(&plain), Some(&missing));
        assert!(without.expect("no file is read").is_none());
    }
}
