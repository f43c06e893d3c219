//! What all tasks of one engine share.

use std::{
    collections::HashMap,
    fmt,
    num::NonZero,
    sync::{Arc, PoisonError, RwLock, atomic::AtomicU64},
    thread::available_parallelism,
};

use quayside_model::{InstanceId, Name, port::PortControl};
use quayside_store::AnyStore;
use tokio::sync::{Notify, Semaphore};
use tokio_util::sync::CancellationToken;

use crate::{
    committer::Committer,
    counters::Live,
    effects::Effects,
    exchange::Exchanges,
    held::Held,
    options::Options,
    outside::Outside,
    ownership::Ownership,
    partners::Partners,
    plan::{OrchestrationPlan, ReceivePort},
    process::Process,
    routing::Table,
    send::port::SendRuntime,
    trust::Trust,
    writable::Writable,
};

/// How much all batches may have that go into one commit each, in KiB, together: four of the largest.
pub(crate) const BATCHES_KIB: usize = 256 * 1024;

/// Shared by all tasks of one engine.
pub(crate) struct Shared {
    pub(crate) store: AnyStore,
    pub(crate) instance: InstanceId,
    pub(crate) options: Options,
    pub(crate) committer: Committer,
    pub(crate) trust: Trust,
    /// What the commits say about the store.
    pub(crate) writable: Arc<Writable>,
    pub(crate) held: Held,
    pub(crate) effects: Effects,
    /// The clustered hosts.
    pub(crate) ownership: Ownership,
    /// The systems behind them.
    pub(crate) partners: Partners,
    pub(crate) counters: Live,
    pub(crate) exchanges: Exchanges,
    /// The processes of maps.
    pub(crate) outside: Outside,
    /// Places for bodies that are validated.
    pub(crate) validators: Semaphore,
    /// Room for batches that go into one commit as a whole, in KiB: all of their records are in memory until then.
    pub(crate) batches: Arc<Semaphore>,
    /// The orchestration instances in hand.
    pub(crate) process: Process,
    /// Wakes the claimer: something may have become ready, or room has been made.
    pub(crate) wake_claimer: Notify,
    /// Wakes the sweeper: somebody has died.
    pub(crate) wake_sweeper: Arc<Notify>,
    /// How many rounds of claims have begun.
    pub(crate) claim_rounds: AtomicU64,
    /// Ends when the engine stops taking work.
    pub(crate) stopping: CancellationToken,
    /// Ends when what is under way has to be given up.
    pub(crate) cut: CancellationToken,
    routes: RwLock<Arc<Routes>>,
}

/// What a configuration version and the operators' controls make of the plan. Swapped as a whole.
pub(crate) struct Routes {
    /// The version of the configuration.
    pub(crate) version: i64,
    /// The subscriptions.
    pub(crate) table: Table,
    /// The receive ports, by the names of their locations.
    pub(crate) receive: HashMap<Name, Arc<ReceivePort>>,
    /// The send ports that run here, by name.
    pub(crate) send: HashMap<Name, Arc<SendRuntime>>,
    /// What every send port needs at publication, by name; those of other hosts included.
    pub(crate) subscribers: HashMap<Name, Arc<PortSubscriber>>,
    /// The orchestrations, by name; those of other hosts included.
    pub(crate) orchestrations: HashMap<Name, Arc<OrchestrationPlan>>,
    /// What operators said.
    pub(crate) controls: HashMap<Name, PortControl>,
}

/// Who gets a message.
#[derive(Debug, Clone)]
pub(crate) enum Subscriber {
    /// A send port.
    Port(Arc<PortSubscriber>),
    /// An orchestration.
    Orchestration(Name),
}

/// What is needed of a send port when a message for it is published.
#[derive(Debug)]
pub(crate) struct PortSubscriber {
    pub(crate) plan: Arc<crate::plan::SendPort>,
    pub(crate) templates: crate::send::rendered::Templates,
}

impl Shared {
    #[expect(clippy::too_many_arguments, reason = "called once, by Engine::start")]
    pub(crate) fn new(
        store: AnyStore,
        instance: InstanceId,
        options: Options,
        committer: Committer,
        trust: Trust,
        writable: Arc<Writable>,
        routes: Routes,
        stopping: CancellationToken,
        cut: CancellationToken,
    ) -> Self {
        Self {
            ownership: Ownership::of(&options.clustered),
            outside: Outside::new(options.outside.clone(), Arc::clone(&options.clock)),
            store,
            instance,
            options,
            committer,
            trust,
            writable,
            held: Held::default(),
            effects: Effects::default(),
            partners: Partners::default(),
            counters: Live::default(),
            exchanges: Exchanges::default(),
            validators: Semaphore::new(available_parallelism().map_or(2, NonZero::get)),
            batches: Arc::new(Semaphore::new(BATCHES_KIB)),
            process: Process::default(),
            wake_claimer: Notify::new(),
            wake_sweeper: Arc::default(),
            claim_rounds: AtomicU64::new(0),
            stopping,
            cut,
            routes: RwLock::new(Arc::new(routes)),
        }
    }

    /// The routes in force.
    pub(crate) fn routes(&self) -> Arc<Routes> {
        Arc::clone(&self.routes.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Puts other routes into force.
    pub(crate) fn set_routes(&self, routes: Routes) {
        *self.routes.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(routes);
        self.wake_claimer.notify_one();
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared")
            .field("instance", &self.instance)
            .finish_non_exhaustive()
    }
}
