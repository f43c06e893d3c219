//! Who is connected to whom: the only place that names adapters and stores.

use std::{collections::BTreeMap, path::Path, sync::Arc};

use quayside_adapter_amqp::AmqpAdapter;
pub(crate) use quayside_adapter_amqp::{codes as queue_codes, declare, manage};
use quayside_adapter_api::{Adapter, SecretRef, Secrets};
use quayside_adapter_file::FileAdapter;
use quayside_adapter_http::{
    DEFAULT_LISTENER, HttpAdapter, HttpOptions, ListenerOptions, Readiness, ReadinessCheck, Workers,
};
use quayside_adapter_sharepoint::SharePointAdapter;
use quayside_model::{Clock, SystemClock, SystemEntropy};
use quayside_store::{AnyStore, StoreError};
use quayside_store_postgres::{Options as PostgresOptions, Password, PostgresStore, client_tls};
use quayside_store_sqlite::{Options as SqliteOptions, SqliteStore, Synchronous};

use crate::{
    cli::codes,
    config::{
        node::{Listen, NodeConfig},
        transport::Adapters,
    },
    exit::{Exit, Failure, chain},
    secrets::FolderSecrets,
};

/// The adapters of a process, by their keys; the HTTP one once more, because it has listeners to bind.
#[derive(Debug)]
pub(crate) struct Wired {
    pub(crate) adapters: Adapters,
    pub(crate) http: Arc<HttpAdapter>,
}

/// Adapters that read blocks and open nothing.
pub(crate) fn adapters_for_checking() -> Adapters {
    let readiness: ReadinessCheck = Arc::new(|| Readiness { ready: false });
    let secrets = Arc::new(FolderSecrets::new(Path::new("")));
    let options = HttpOptions {
        listeners: BTreeMap::new(),
        readiness,
        secrets,
        workers: None,
    };
    wire(HttpAdapter::new(options)).adapters
}

/// The adapters of a process that listens at `listen`, if anywhere.
pub(crate) fn adapters(
    listen: Option<&Listen>,
    readiness: ReadinessCheck,
    workers: Arc<dyn Workers>,
    secrets: Arc<dyn Secrets>,
) -> Wired {
    let listener = |listen: &Listen| ListenerOptions {
        listen: listen.address.to_string(),
        tls: listen.tls.clone(),
        ..listen.limits.clone()
    };
    let listeners = listen.map(|listen| (DEFAULT_LISTENER.to_owned(), listener(listen)));
    let listeners = listeners.into_iter().collect();
    wire(HttpAdapter::new(HttpOptions {
        listeners,
        readiness,
        secrets,
        workers: Some(workers),
    }))
}

fn wire(http: Arc<HttpAdapter>) -> Wired {
    let all: [Arc<dyn Adapter>; 4] = [
        Arc::clone(&http) as _,
        Arc::new(FileAdapter::new()),
        Arc::new(AmqpAdapter::new()),
        Arc::new(SharePointAdapter::new()),
    ];
    let adapters = all
        .into_iter()
        .map(|adapter| (adapter.name(), adapter))
        .collect();
    Wired { adapters, http }
}

/// Whether who hands a message in by this adapter is told that it is refused, unless its block says otherwise. Otherwise
/// such a message is stored, suspended.
pub(crate) fn tells_senders(adapter: &str) -> bool {
    adapter == "http"
}

/// The clocks of the machine.
pub(crate) fn clock() -> Arc<dyn Clock> {
    Arc::new(SystemClock)
}

/// The randomness of the machine.
pub(crate) fn entropy() -> Arc<dyn quayside_model::Entropy> {
    Arc::new(SystemEntropy)
}

/// A store that this process may use. What is asked of one that cannot be reached fails as unavailable.
#[derive(Clone)]
pub(crate) struct OpenStore {
    pub(crate) store: AnyStore,
    /// The same one, if it is the embedded store.
    pub(crate) embedded: Option<Arc<SqliteStore>>,
    /// The same one, if it is PostgreSQL.
    pub(crate) postgres: Option<Arc<PostgresStore>>,
}

impl std::fmt::Debug for OpenStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.store.dialect())
    }
}

/// Opens the store of the node: it answers and has the schema of this program.
pub(crate) async fn open_store(
    node: &NodeConfig,
    secrets: Arc<dyn Secrets>,
    clock: Arc<dyn Clock>,
) -> Result<OpenStore, StoreFailure> {
    let store = prepare_store(node, secrets, clock).await?;
    if let Err(failure) = store.reach().await {
        store.close().await;
        return Err(failure);
    }
    Ok(store)
}

/// The password that the secret has at each connect.
fn password_of(secrets: Arc<dyn Secrets>, reference: SecretRef) -> Password {
    Arc::new(move || {
        let secret = secrets.resolve(&reference);
        let secret = secret.map_err(|error| format!("{}: {}", error.code.code, error.detail))?;
        let text = secret.expose_text().map(str::to_owned);
        text.ok_or_else(|| format!("the secret `{}` is not UTF-8 text", reference.secret))
    })
}

/// The store of the node, before it has been [reached](OpenStore::reach). The embedded one is open: it is
/// there at once or there is a reason that does not go away.
pub(crate) async fn prepare_store(
    node: &NodeConfig,
    secrets: Arc<dyn Secrets>,
    clock: Arc<dyn Clock>,
) -> Result<OpenStore, StoreFailure> {
    if let Some(url) = &node.store.url {
        let password = node.store.password.clone();
        if let Some(reference) = &password {
            let secret = secrets.resolve(reference);
            secret.map_err(|error| StoreFailure::Other(Failure::new(error.code, error.detail)))?;
        }
        let password = password.map(|reference| password_of(secrets, reference));
        let options = PostgresOptions {
            password,
            tls: client_tls(url, node.store.ca.as_deref())?,
            clock,
            ..PostgresOptions::new(url.as_str())
        };
        let store = Arc::new(PostgresStore::new(options)?);
        let any = Arc::clone(&store) as AnyStore;
        return Ok(OpenStore {
            store: any,
            embedded: None,
            postgres: Some(store),
        });
    }
    let dir = node.data_dir.clone();
    let options = SqliteOptions {
        synchronous: synchronous(),
    };
    // Opening reads and may migrate: not on a thread that others wait for.
    let opened = tokio::task::spawn_blocking(move || SqliteStore::open(&dir, clock, options)).await;
    let store = opened.map_err(|error| {
        StoreFailure::Other(Failure::new(
            codes::INTERNAL,
            format!("opening the store: {error}"),
        ))
    })??;
    let store = Arc::new(store);
    Ok(OpenStore {
        store: Arc::clone(&store) as AnyStore,
        embedded: Some(store),
        postgres: None,
    })
}

impl OpenStore {
    /// Finds out whether the store answers, and brings its schema to this program's. Durable when it
    /// returns.
    pub(crate) async fn reach(&self) -> Result<(), StoreFailure> {
        if let Some(postgres) = &self.postgres {
            postgres.reach().await?;
            postgres.migrate().await?;
        }
        Ok(())
    }

    /// Ends the connections of the store. The embedded one is closed when its last user drops it.
    pub(crate) async fn close(self) {
        if let Some(postgres) = &self.postgres {
            postgres.close().await;
        }
    }
}

/// Full durability; a test that shows that it would notice the lack of it can switch it off in a build
/// with debug assertions.
fn synchronous() -> Synchronous {
    let off = std::env::var_os("QUAYSIDE_TEST_SYNCHRONOUS").is_some_and(|value| value == "off");
    if cfg!(debug_assertions) && off {
        Synchronous::Off
    } else {
        Synchronous::Full
    }
}

/// Why a store cannot be opened.
#[derive(Debug)]
pub(crate) enum StoreFailure {
    /// The store says so.
    Store(StoreError),
    /// Something before it.
    Other(Failure),
}

impl From<StoreError> for StoreFailure {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl StoreFailure {
    /// Whether it may go away by itself.
    pub(crate) fn is_transient(&self) -> bool {
        matches!(self, Self::Store(error) if error.kind.is_transient())
    }
}

impl From<StoreFailure> for Failure {
    fn from(failure: StoreFailure) -> Self {
        match failure {
            StoreFailure::Other(failure) => failure,
            StoreFailure::Store(error) => store_failure(&error),
        }
    }
}

/// A failure of the store as a verb reports it.
pub(crate) fn store_failure(error: &StoreError) -> Failure {
    let exit = match error.kind {
        quayside_store::StoreErrorKind::Schema => Exit::Schema,
        quayside_store::StoreErrorKind::Config | quayside_store::StoreErrorKind::Copied => {
            Exit::BadConfig
        }
        _ => Exit::Failed,
    };
    Failure::new(error.kind.code(), chain(error)).exiting(exit)
}
