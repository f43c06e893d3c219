//! What runs in this process, as the admin API and the life cycle see it.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicBool, Ordering},
};

use quayside_engine::{Engine, EngineError, Health, PortView, Sight};
use quayside_model::{Clock, Name};
use quayside_store::AnyStore;
use quayside_store_sqlite::SqliteStore;
use tokio::sync::{RwLock, RwLockReadGuard};

/// The engine and the store of this process.
pub(crate) struct Gateway {
    /// The node.
    pub(crate) node: Name,
    /// The store.
    pub(crate) store: AnyStore,
    /// The same store, if it is the embedded one: it can be copied while it runs.
    pub(crate) embedded: Option<Arc<SqliteStore>>,
    /// The clocks.
    pub(crate) clock: Arc<dyn Clock>,
    /// Callers hold the lock for the length of their call, so that the engine is stopped when nobody
    /// uses it. `None` while it starts, restarts or stops.
    engine: RwLock<Option<Engine>>,
    /// Of the engine that was taken out last: while it stops it may have work in hand.
    stopping: Mutex<Option<Sight>>,
    /// Why there is no engine, while there is none.
    absence: Mutex<String>,
    draining: AtomicBool,
}

impl std::fmt::Debug for Gateway {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gateway")
            .field("node", &self.node)
            .finish_non_exhaustive()
    }
}

impl Gateway {
    /// Without an engine yet.
    pub(crate) fn new(
        node: Name,
        store: AnyStore,
        embedded: Option<Arc<SqliteStore>>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let (engine, draining) = (RwLock::new(None), AtomicBool::new(false));
        let absence = Mutex::new("the engine is starting".to_owned());
        Self {
            node,
            store,
            embedded,
            clock,
            engine,
            stopping: Mutex::new(None),
            absence,
            draining,
        }
    }

    /// The engine, for the length of a call.
    pub(crate) async fn engine(&self) -> RwLockReadGuard<'_, Option<Engine>> {
        self.engine.read().await
    }

    /// Puts an engine in.
    pub(crate) async fn put(&self, engine: Engine) {
        *self.engine.write().await = Some(engine);
    }

    /// Takes the engine out, once no call uses it.
    pub(crate) async fn take(&self) -> Option<Engine> {
        let engine = self.engine.write().await.take();
        if let Some(engine) = &engine {
            let mut stopping = self.stopping.lock().unwrap_or_else(PoisonError::into_inner);
            *stopping = Some(engine.sight());
        }
        engine
    }

    /// Every port and location, of an engine that stops without what waits for them. `None`: there is no engine.
    ///
    /// # Errors
    /// What waits cannot be read.
    pub(crate) async fn ports(&self) -> Result<Option<Vec<PortView>>, EngineError> {
        match self.engine().await.as_ref() {
            Some(engine) => engine.ports().await.map(Some),
            None => Ok(self.ports_of_the_stopping()),
        }
    }

    fn ports_of_the_stopping(&self) -> Option<Vec<PortView>> {
        let stopping = self.stopping.lock().unwrap_or_else(PoisonError::into_inner);
        stopping.as_ref()?.ports()
    }

    /// Says why there is no engine, for whoever asks while there is none.
    pub(crate) fn explain(&self, reason: impl Into<String>) {
        *self.absence.lock().unwrap_or_else(PoisonError::into_inner) = reason.into();
    }

    /// From now on the process says that it is not ready.
    pub(crate) fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// Whether new clients should come here. Cheap and never waits.
    pub(crate) fn health(&self) -> Health {
        if self.draining.load(Ordering::Relaxed) {
            return not_ready("stopping");
        }
        self.intake()
    }

    /// Whether a message that has come can be accepted: also while the process drains, because clients
    /// that have not seen it yet must not be refused. Cheap and never waits.
    pub(crate) fn intake(&self) -> Health {
        // Locked for writing means that the engine is being put in or taken out.
        match self.engine.try_read().as_deref() {
            Ok(Some(engine)) => engine.health(),
            _ => not_ready(&self.absence.lock().unwrap_or_else(PoisonError::into_inner)),
        }
    }
}

fn not_ready(reason: &str) -> Health {
    Health {
        ready: false,
        standby: false,
        reasons: vec![reason.to_owned()],
    }
}
