//! The store itself: its options, its connections and what it remembers between calls.

use std::{
    collections::HashSet,
    fmt,
    future::Future,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use quayside_store::{
    Cluster, Store, StoreError,
    measure::Transactions,
    model::{Clock, InstanceId, Name, SystemClock},
};
use tokio::time::timeout;

use crate::{
    error::{too_slow, unsure},
    maintain::{Progress, READY},
    pool::{Conn, Pool, Use},
};

/// How long connections in use may take to end when the store is closed.
const CLOSE_GRACE: Duration = Duration::from_secs(2);

/// Every transaction that is measured.
const TRANSACTIONS: &[&str] = &[
    "commit batch",
    "commit group",
    "claim deliveries",
    "list claims",
    "look what came before",
    "release dead claims",
    "keep lanes",
    "claim runs",
    "keep runs",
    "show runs",
    "renew work",
    "answer work",
    "keep session",
    "keep instance",
    "keep fence",
    "keep cluster",
    "look at cluster",
    "write chunk",
    "read chunk",
    "keep sources",
    "keep controls",
    "operate deliveries",
    "browse",
    "read answers",
    "sweep",
    "probe store",
    "connect store",
    "migrate store",
    "release restored store",
];

/// Gives the password, at each connect: one that was changed meanwhile is taken up. The error says why there
/// is none; connecting is then tried again.
pub type Password = Arc<dyn Fn() -> Result<String, String> + Send + Sync>;

/// How to reach the database and how much to ask of it.
#[derive(Clone)]
pub struct Options {
    /// `postgres://USER@HOST[:PORT][,HOST...]/DATABASE[?sslmode=...]`. With several hosts the one that
    /// takes writes is found.
    pub url: String,
    /// The password, where the database wants one.
    pub password: Option<Password>,
    /// Whom to trust, for `sslmode=require`, `verify-ca` and `verify-full`. What is verified is up to it.
    pub tls: Option<rustls::ClientConfig>,
    /// How many connections commit batches. Default 2.
    pub commit_connections: usize,
    /// How many connections claim, read and keep house. Default 2.
    pub work_connections: usize,
    /// How long connecting to one host may take. Default 1 s.
    pub connect_timeout: Duration,
    /// How long a batch may take, connecting included. Default 1.5 s.
    pub commit_timeout: Duration,
    /// How long any other call may take, connecting included. Default 1.5 s.
    pub work_timeout: Duration,
    /// How long a step of housekeeping or a migration may take. Default 30 s.
    pub maintain_timeout: Duration,
    /// For measurements; the database's clock decides everything else.
    pub clock: Arc<dyn Clock>,
}

impl Options {
    /// The defaults for the database at `url`.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            password: None,
            tls: None,
            commit_connections: 2,
            work_connections: 2,
            connect_timeout: Duration::from_secs(1),
            commit_timeout: Duration::from_millis(1500),
            work_timeout: Duration::from_millis(1500),
            maintain_timeout: Duration::from_secs(30),
            clock: Arc::new(SystemClock),
        }
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The address may hold a password, although the configuration refuses that.
        f.debug_struct("Options")
            .field("url", &"***")
            .field("password", &self.password.as_ref().map(|_| "***"))
            .field("tls", &self.tls.is_some())
            .field("commit_connections", &self.commit_connections)
            .field("work_connections", &self.work_connections)
            .finish_non_exhaustive()
    }
}

/// A store in one PostgreSQL database.
#[derive(Debug)]
pub struct PostgresStore {
    pool: Pool,
    options: Options,
    transactions: Transactions,
    /// Whether this process ever touched an ordered port. Until then batches skip the lane's statements.
    pub(crate) ordered: AtomicBool,
    /// Lanes whose rows are known to be there: bounded by the lanes of the configured ports.
    pub(crate) lanes: Mutex<HashSet<(Name, u16)>>,
    pub(crate) progress: Mutex<Progress>,
}

impl PostgresStore {
    /// A store that connects when it is first asked for something: for a process that starts before its
    /// database.
    ///
    /// # Errors
    /// `Config` for an address that cannot be.
    pub fn new(options: Options) -> Result<Self, StoreError> {
        Ok(Self {
            pool: Pool::new(&options)?,
            options,
            transactions: Transactions::new(TRANSACTIONS),
            ordered: AtomicBool::new(false),
            lanes: Mutex::default(),
            progress: Mutex::default(),
        })
    }

    /// A store that is connected, to tell a wrong address from a database that is down.
    ///
    /// # Errors
    /// `Config` for an address that cannot be, `Unavailable` for a database that does not answer.
    pub async fn connect(options: Options) -> Result<Self, StoreError> {
        let store = Self::new(options)?;
        store.reach().await?;
        Ok(store)
    }

    /// Connects once. The connection is kept.
    ///
    /// # Errors
    /// `Config` for an address or credentials that the database refuses, `Unavailable` if it does not
    /// answer.
    pub async fn reach(&self) -> Result<(), StoreError> {
        const OPERATION: &str = "connect store";
        self.run(OPERATION, 1, self.options.work_timeout, async {
            self.pool.bare(Use::Work, OPERATION).await?.keep();
            Ok(())
        })
        .await
    }

    /// Closes all connections and awaits their tasks. Calls after it fail as `Unavailable`.
    pub async fn close(&self) {
        self.pool.close(CLOSE_GRACE).await;
    }

    pub(crate) fn pool(&self) -> &Pool {
        &self.pool
    }

    pub(crate) fn commit_timeout(&self) -> Duration {
        self.options.commit_timeout
    }

    pub(crate) fn work_timeout(&self) -> Duration {
        self.options.work_timeout
    }

    pub(crate) fn maintain_timeout(&self) -> Duration {
        self.options.maintain_timeout
    }

    /// From now on batches look after lanes.
    pub(crate) fn saw_order(&self) {
        self.ordered.store(true, Ordering::Relaxed);
    }

    /// Runs `work` as the named transaction: within `limit`, and measured.
    pub(crate) async fn run<T>(
        &self,
        operation: &'static str,
        items: usize,
        limit: Duration,
        work: impl Future<Output = Result<T, StoreError>> + Send,
    ) -> Result<T, StoreError> {
        let began = self.options.clock.monotonic();
        let result = timeout(limit, Box::pin(work))
            .await
            .unwrap_or_else(|_| Err(too_slow(operation)));
        let time = self.options.clock.monotonic().since(began);
        self.transactions
            .record(operation, result.is_ok(), time, items);
        result
    }

    /// Opens what is missing of the other connections that an agent needs.
    ///
    /// # Errors
    /// The database cannot be reached.
    pub async fn ready_to_lead(&self) -> Result<(), StoreError> {
        self.pool.ready(&[Use::Session, Use::Work], READY).await
    }

    /// Runs `work` on a work connection, which is kept if it succeeds.
    pub(crate) async fn work<T>(
        &self,
        operation: &'static str,
        work: impl AsyncFnOnce(&Conn) -> Result<T, StoreError> + Send,
    ) -> Result<T, StoreError>
    where
        T: Send,
    {
        self.on(Use::Work, operation, work).await
    }

    /// Runs `work` on a connection that is kept for `wanted`.
    pub(crate) async fn on<T>(
        &self,
        wanted: Use,
        operation: &'static str,
        work: impl AsyncFnOnce(&Conn) -> Result<T, StoreError> + Send,
    ) -> Result<T, StoreError>
    where
        T: Send,
    {
        let held = self.pool.get(wanted, operation).await?;
        let result = work(held.conn()).await?;
        held.keep();
        Ok(result)
    }

    /// Runs `work` as [`on`](Self::on) does, for a change that must not be taken for done when a failover
    /// could forget it.
    ///
    /// # Errors
    /// `Unknown` if the server warned: the change is then not known to be replicated.
    pub(crate) async fn surely<T>(
        &self,
        wanted: Use,
        operation: &'static str,
        work: impl AsyncFnOnce(&Conn) -> Result<T, StoreError> + Send,
    ) -> Result<T, StoreError>
    where
        T: Send,
    {
        let held = self.pool.get(wanted, operation).await?;
        held.conn().clear_warning();
        let result = work(held.conn()).await?;
        let warned = held.conn().was_warned();
        held.keep();
        if warned {
            Err(unsure(operation))
        } else {
            Ok(result)
        }
    }
}

impl Store for PostgresStore {
    fn dialect(&self) -> &'static str {
        "postgres"
    }

    fn parallel_commits(&self) -> usize {
        self.options.commit_connections.max(1)
    }

    fn transactions(&self) -> &Transactions {
        &self.transactions
    }

    fn cluster(&self) -> Option<&dyn Cluster> {
        Some(self)
    }

    fn work_as(&self, instance: InstanceId) {
        self.pool.name(instance);
    }
}
