//! The adapter itself: its listeners, its life cycle, and the doors to receive and send.

use std::{
    collections::BTreeMap,
    fmt,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use quayside_adapter_api::{
    Adapter, AdapterError, Block, Receive, Secrets, SendTerms, Services, Terms, Transmit,
    model::{Fault, Name},
};
use tokio::time::timeout;
use tokio_util::{
    sync::{CancellationToken, DropGuard},
    task::TaskTracker,
};

use crate::{
    DEFAULT_LISTENER, ListenerOptions, ReceiveConfig, SendConfig,
    error::{NO_LISTENER, PATH_TAKEN, config as config_error},
    listener::Listener,
    location::Location,
    receive::HttpReceive,
    send::HttpTransmit,
    work::Workers,
};

/// What the gateway says about itself to load balancers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Readiness {
    /// Whether messages can be stored now.
    pub ready: bool,
}

/// Asked at every request, so it must be cheap and must not wait.
pub type ReadinessCheck = Arc<dyn Fn() -> Readiness + Send + Sync>;

/// What an adapter is made of.
#[derive(Clone)]
pub struct HttpOptions {
    /// The listeners by name; receive locations that name none use [`DEFAULT_LISTENER`].
    pub listeners: BTreeMap<String, ListenerOptions>,
    /// Whether messages can be stored now. While not, requests are refused with 503.
    pub readiness: ReadinessCheck,
    /// Where the keys of listeners with TLS are.
    pub secrets: Arc<dyn Secrets>,
    /// Who keeps what outside programs say of their work; `None`: `/works/` is a path like others.
    pub workers: Option<Arc<dyn Workers>>,
}

impl HttpOptions {
    /// One listener, [`DEFAULT_LISTENER`], without TLS.
    pub fn plain(
        listen: impl Into<String>,
        readiness: ReadinessCheck,
        secrets: Arc<dyn Secrets>,
    ) -> Self {
        let listeners = [(DEFAULT_LISTENER.to_owned(), ListenerOptions::plain(listen))].into();
        Self {
            listeners,
            readiness,
            secrets,
            workers: None,
        }
    }
}

impl fmt::Debug for HttpOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpOptions")
            .field("listeners", &self.listeners)
            .finish_non_exhaustive()
    }
}

/// How a shutdown went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shutdown {
    /// Connections that were cut because they did not end within the grace.
    pub cut: usize,
}

/// What all listeners and connections of an adapter share.
pub(crate) struct Life {
    pub(crate) readiness: ReadinessCheck,
    pub(crate) workers: Option<Arc<dyn Workers>>,
    pub(crate) draining: AtomicBool,
    pub(crate) connections: AtomicUsize,
    /// No new connections, and the open ones end after their requests.
    pub(crate) stop: CancellationToken,
    /// The open ones end now.
    pub(crate) cut: CancellationToken,
    pub(crate) tasks: TaskTracker,
}

impl Life {
    /// Whether load balancers should send requests here.
    pub(crate) fn is_ready(&self) -> bool {
        !self.is_draining() && (self.readiness)().ready
    }

    /// Whether connections should end when they can.
    pub(crate) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }
}

/// The HTTP adapter.
pub struct HttpAdapter {
    listeners: BTreeMap<String, Listener>,
    secrets: Arc<dyn Secrets>,
    life: Arc<Life>,
    /// Ends every task when the adapter is dropped without a shutdown.
    _cut: DropGuard,
}

impl fmt::Debug for HttpAdapter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpAdapter")
            .field("listeners", &self.listeners)
            .finish_non_exhaustive()
    }
}

impl HttpAdapter {
    /// Makes the adapter. Nothing listens before [`HttpAdapter::bind`]; sending works at once.
    ///
    /// Installs ring as the TLS provider of the process if there is none yet.
    #[must_use]
    pub fn new(options: HttpOptions) -> Arc<Self> {
        // An error says that one is installed already, which is all that is wanted.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let cut = CancellationToken::new();
        let life = Arc::new(Life {
            readiness: options.readiness,
            workers: options.workers,
            draining: AtomicBool::new(false),
            connections: AtomicUsize::new(0),
            stop: CancellationToken::new(),
            cut: cut.clone(),
            tasks: TaskTracker::new(),
        });
        let listeners = options
            .listeners
            .into_iter()
            .map(|(name, listener)| (name, Listener::new(listener)))
            .collect();
        Arc::new(Self {
            listeners,
            secrets: options.secrets,
            life,
            _cut: cut.drop_guard(),
        })
    }

    /// Binds every listener and begins to serve; says at which address each one is, which is how a
    /// caller learns the port that it got for port 0.
    ///
    /// # Errors
    /// `Config` if an address cannot be bound or a certificate cannot be used; then none serves.
    pub async fn bind(&self) -> Result<BTreeMap<String, SocketAddr>, AdapterError> {
        let mut bound = Vec::new();
        for (name, listener) in &self.listeners {
            bound.push((name, listener, listener.bind(&*self.secrets).await?));
        }
        let mut addresses = BTreeMap::new();
        for (name, listener, socket) in bound {
            addresses.insert(name.clone(), socket.address());
            listener.serve(socket, &self.life);
        }
        Ok(addresses)
    }

    /// Answers `/readyz` with 503 from now on and goes on serving; HTTP/1.1 connections end after
    /// their next answer, so that clients go elsewhere without a reset.
    pub fn drain(&self) {
        self.life.draining.store(true, Ordering::Relaxed);
    }

    /// Stops listening at once, lets requests in flight end within `grace` (`Connection: close`,
    /// GOAWAY), then cuts what is left. All tasks of the listeners have ended when it returns. Receive
    /// locations should stay open until then: a request in flight needs its own.
    pub async fn shutdown(&self, grace: Duration) -> Shutdown {
        self.drain();
        self.life.stop.cancel();
        self.life.tasks.close();
        let in_time = timeout(grace, self.life.tasks.wait()).await.is_ok();
        let cut = if in_time {
            0
        } else {
            self.life.connections.load(Ordering::Relaxed)
        };
        self.life.cut.cancel();
        self.life.tasks.wait().await;
        Shutdown { cut }
    }

    fn listener(&self, config: &ReceiveConfig) -> Result<&Listener, AdapterError> {
        let listener = self.listeners.get(&config.listener).ok_or_else(|| {
            let names: Vec<&str> = self.listeners.keys().map(String::as_str).collect();
            let (name, known) = (&config.listener, names.join(", "));
            config_error(
                NO_LISTENER,
                format!("no listener `{name}`; there are: {known}"),
            )
        })?;
        if config.client_certificate && !listener.verifies_clients() {
            let name = &config.listener;
            let detail = format!("the listener `{name}` has no `tls.client_ca` to verify clients");
            return Err(config_error(NO_LISTENER, detail));
        }
        Ok(listener)
    }
}

#[async_trait]
impl Adapter for HttpAdapter {
    fn name(&self) -> &'static str {
        "http"
    }

    fn check_receive(&self, block: &Block, _: &Terms) -> Vec<Fault> {
        ReceiveConfig::read(block).err().unwrap_or_default()
    }

    fn check_send(&self, block: &Block, _: &SendTerms) -> Vec<Fault> {
        SendConfig::read(block).err().unwrap_or_default()
    }

    fn templates(&self, block: &Block) -> BTreeMap<String, String> {
        SendConfig::read(block)
            .map(|config| config.templates())
            .unwrap_or_default()
    }

    fn speaks_at_rest(&self) -> bool {
        true
    }

    async fn open_receive(
        &self,
        name: &Name,
        block: &Block,
        _: &Terms,
        services: Services,
    ) -> Result<Box<dyn Receive>, AdapterError> {
        let config = ReceiveConfig::read(block).map_err(first_fault)?;
        let listener = self.listener(&config)?;
        let (location, deliveries) = Location::new(name.clone(), config, &services)?;
        if !listener.routes().insert(&location) {
            let path = &location.config.path;
            return Err(config_error(PATH_TAKEN, format!("`{path}` is taken")));
        }
        Ok(Box::new(HttpReceive::new(
            location,
            Arc::clone(listener.routes()),
            deliveries,
        )))
    }

    async fn open_send(
        &self,
        name: &Name,
        block: &Block,
        services: Services,
    ) -> Result<Arc<dyn Transmit>, AdapterError> {
        let config = SendConfig::read(block).map_err(first_fault)?;
        Ok(Arc::new(HttpTransmit::open(name, config, services)?))
    }
}

/// Faults of a block as one error: whoever opens it has checked it before, so this is a late guard.
fn first_fault(faults: Vec<Fault>) -> AdapterError {
    let detail: Vec<String> = faults
        .iter()
        .map(|fault| format!("{}: {}", fault.path.join("."), fault.message))
        .collect();
    let code = faults.first().map_or(NO_LISTENER, |fault| fault.code);
    config_error(code, detail.join("; "))
}
