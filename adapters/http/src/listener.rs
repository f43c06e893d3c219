//! A listener: an address, its limits, and the task that accepts connections.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use quayside_adapter_api::{AdapterError, ByteSize, Secrets, Span};
use serde::Deserialize;
use tokio::{net::TcpListener, sync::Semaphore, time::sleep};
use tokio_rustls::TlsAcceptor;

use crate::{
    adapter::Life,
    connection,
    error::{BIND_FAILED, chain, config as config_error},
    routes::Routes,
    tls::{self, TlsOptions},
};

/// How long accepting pauses after it failed: almost always the process is out of file descriptors,
/// and then trying at once again would only burn the processor.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How much of contents that are taken apart is in memory at once, in KiB; requests beyond it get 429.
const WHOLE_KIB: usize = 64 * 1024;

/// How many senders may ask the store at once what became of a message: it has better things to do.
const QUESTIONS: usize = 8;

/// The settings of a listener, as `[http]` of the node's configuration has them.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListenerOptions {
    /// `ADDRESS:PORT`; port 0 takes a free one.
    pub listen: String,
    /// TLS, and whether clients show certificates.
    #[serde(default)]
    pub tls: Option<TlsOptions>,
    /// Within which the head of a request must come. An idle connection is kept as long as this:
    /// it should be longer than the load balancer keeps one.
    #[serde(default = "default_header_timeout")]
    pub header_timeout: Span,
    /// The largest head of a request.
    #[serde(default = "default_max_header")]
    pub max_header: ByteSize,
    /// How many connections are open at once; others wait in the system's queue.
    #[serde(default = "default_max_connections")]
    pub max_connections: usize,
    /// How many requests are served at once; others get 429.
    #[serde(default = "default_max_requests")]
    pub max_requests: usize,
    /// How many requests one HTTP/2 connection has at once.
    #[serde(default = "default_max_streams")]
    pub max_streams: u32,
}

const fn default_header_timeout() -> Span {
    Span::secs(75)
}

const fn default_max_header() -> ByteSize {
    ByteSize::kib(64)
}

const fn default_max_connections() -> usize {
    4096
}

const fn default_max_requests() -> usize {
    1024
}

const fn default_max_streams() -> u32 {
    128
}

impl ListenerOptions {
    /// A listener without TLS, with every default.
    pub fn plain(listen: impl Into<String>) -> Self {
        Self {
            listen: listen.into(),
            tls: None,
            header_timeout: default_header_timeout(),
            max_header: default_max_header(),
            max_connections: default_max_connections(),
            max_requests: default_max_requests(),
            max_streams: default_max_streams(),
        }
    }
}

/// A listener.
#[derive(Debug)]
pub(crate) struct Listener {
    shared: Arc<Shared>,
}

/// What the connections of a listener share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) options: ListenerOptions,
    pub(crate) routes: Arc<Routes>,
    pub(crate) requests: Semaphore,
    /// Kibibytes of contents that have to be whole in memory to be taken apart.
    pub(crate) whole: Semaphore,
    /// How many senders may ask at once what became of a message.
    pub(crate) questions: Semaphore,
    connections: Arc<Semaphore>,
}

/// A socket that is bound but not yet served.
pub(crate) struct Bound {
    socket: TcpListener,
    address: SocketAddr,
    tls: Option<TlsAcceptor>,
}

impl Bound {
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Listener {
    pub(crate) fn new(options: ListenerOptions) -> Self {
        let shared = Shared {
            routes: Arc::default(),
            requests: Semaphore::new(options.max_requests.min(Semaphore::MAX_PERMITS)),
            whole: Semaphore::new(WHOLE_KIB),
            questions: Semaphore::new(QUESTIONS),
            connections: Arc::new(Semaphore::new(
                options.max_connections.min(Semaphore::MAX_PERMITS),
            )),
            options,
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    pub(crate) fn routes(&self) -> &Arc<Routes> {
        &self.shared.routes
    }

    /// Whether clients can show certificates that are verified.
    pub(crate) fn verifies_clients(&self) -> bool {
        self.shared
            .options
            .tls
            .as_ref()
            .is_some_and(|tls| tls.client_ca.is_some())
    }

    pub(crate) async fn bind(&self, secrets: &dyn Secrets) -> Result<Bound, AdapterError> {
        let options = &self.shared.options;
        let tls = match &options.tls {
            Some(tls) => Some(TlsAcceptor::from(tls::server_config(tls, secrets)?)),
            None => None,
        };
        let failed = |error: std::io::Error| {
            config_error(
                BIND_FAILED,
                format!("`{}`: {}", options.listen, chain(&error)),
            )
        };
        let socket = TcpListener::bind(&options.listen).await.map_err(failed)?;
        let address = socket.local_addr().map_err(failed)?;
        Ok(Bound {
            socket,
            address,
            tls,
        })
    }

    pub(crate) fn serve(&self, bound: Bound, life: &Arc<Life>) {
        let accepting = accept(bound, Arc::clone(&self.shared), Arc::clone(life));
        life.tasks.spawn(accepting);
    }
}

/// Accepts until the adapter stops; the socket closes with it.
async fn accept(bound: Bound, shared: Arc<Shared>, life: Arc<Life>) {
    let stop = life.stop.clone();
    let cut = life.cut.clone();
    let accepting = async {
        loop {
            // The permit comes first: at the limit, connections wait in the system's queue.
            let permit = Arc::clone(&shared.connections).acquire_owned().await;
            let permit = permit.expect("nobody closes the semaphore");
            match bound.socket.accept().await {
                Ok((stream, remote)) => {
                    let tls = bound.tls.clone();
                    let connection = connection::serve(
                        stream,
                        remote,
                        tls,
                        Arc::clone(&shared),
                        Arc::clone(&life),
                    );
                    life.tasks.spawn(async move {
                        connection.await;
                        drop(permit);
                    });
                }
                Err(error) => {
                    tracing::warn!(error = %chain(&error), listen = %bound.address, "accepting failed");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    };
    tokio::select! {
        () = accepting => {}
        () = stop.cancelled() => {}
        () = cut.cancelled() => {}
    }
}
