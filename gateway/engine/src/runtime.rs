//! The ports and locations that run in this process, and how another configuration takes their place.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use quayside_adapter_api::{Condition, Services};
use quayside_model::{Name, PortStatus, port::PortControl};
use quayside_store::{StoreError, controls::ControlSet};
use tokio::task::JoinSet;
use tracing::info;

use crate::{
    codes,
    options::{EngineError, Options},
    plan::{OrchestrationPlan, Plan, ReceivePort},
    process,
    receive::{
        location::{self, LocationRuntime},
        sources::{LocationSources, StoredMessages},
    },
    routing::Table,
    send::{
        lanes,
        port::{Runner, SendRuntime},
        rendered::Templates,
    },
    shared::{PortSubscriber, Routes, Shared},
};

/// How long a start waits for locations to open, and how often it looks.
const BEGIN_WITHIN: Duration = Duration::from_secs(2);
const BEGIN_POLL: Duration = Duration::from_millis(5);

/// The running ports and locations with their tasks.
#[derive(Debug)]
pub(crate) struct Runtimes {
    state: Mutex<State>,
    tasks: Mutex<JoinSet<()>>,
    /// One reconfiguration at a time.
    swap: tokio::sync::Mutex<()>,
    /// Counts of lanes that wait for a start.
    waiting: lanes::Waiting,
    controls_version: AtomicI64,
}

#[derive(Debug, Default)]
struct State {
    plan: Arc<Plan>,
    locations: BTreeMap<Name, Arc<LocationRuntime>>,
    send: BTreeMap<Name, Arc<SendRuntime>>,
}

impl Runtimes {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::new(State::default()),
            tasks: Mutex::new(JoinSet::new()),
            swap: tokio::sync::Mutex::new(()),
            waiting: lanes::Waiting::default(),
            controls_version: AtomicI64::new(-1),
        })
    }

    /// Records `plan` and puts it into force: what is unchanged runs on, the rest is replaced. Returns its
    /// version. After an error everything is as it was.
    pub(crate) async fn apply(&self, shared: &Arc<Shared>, plan: Plan) -> Result<i64, EngineError> {
        let _one = self.swap.lock().await;
        check(&plan, &shared.options)?;
        let mut plan = lanes::keep(shared, &self.waiting, &self.plan(), plan).await?;
        process::keep_definitions(shared, &mut plan).await?;
        let subscribers = subscribers(&plan, &shared.options)?;
        let controls = shared.store.controls().await?;
        // The last thing that can fail: no version is recorded that then does not run.
        let version = shared.store.apply_config(&plan.hash, &plan.text).await?;
        let plan = Arc::new(plan);
        self.controls_version
            .store(controls.version, Ordering::SeqCst);
        let controls = by_name(controls);
        let send = self.place_send_ports(shared, &plan);
        let routes = routes(&plan, &shared.options, version, subscribers, send, controls);
        shared.set_routes(routes);
        self.place_locations(shared, &plan);
        self.lock().plan = plan;
        self.refresh(shared);
        info!(version, "configuration in force");
        Ok(version)
    }

    /// Returns when every location that may open has opened or failed to, or when that takes too long.
    pub(crate) async fn begun(&self) {
        let all = async {
            while !self.locations().iter().all(|location| location.has_begun()) {
                tokio::time::sleep(BEGIN_POLL).await;
            }
        };
        if tokio::time::timeout(BEGIN_WITHIN, all).await.is_err() {
            info!("some receive locations take long to open");
        }
    }

    /// Reads the operators' controls if they have changed, and puts them into force.
    pub(crate) async fn reload_controls(&self, shared: &Arc<Shared>) -> Result<(), StoreError> {
        // Before the look: of two looks the later one is put into force last.
        let _one = self.swap.lock().await;
        let set = shared.store.controls().await?;
        if self.controls_version.swap(set.version, Ordering::SeqCst) == set.version {
            return Ok(());
        }
        let controls = by_name(set);
        let old = shared.routes();
        self.forgive_started(&old.controls, &controls);
        let plan = Arc::clone(&self.lock().plan);
        let subscribers = old.subscribers.clone();
        let send = old.send.clone();
        let routes = routes(
            &plan,
            &shared.options,
            old.version,
            subscribers,
            send,
            controls,
        );
        shared.set_routes(routes);
        self.refresh(shared);
        Ok(())
    }

    /// Tries at once what rests here until it is repaired.
    pub(crate) fn end_rest(&self, shared: &Shared, port: &str) {
        if let Some(runtime) = self.lock().send.get(port) {
            runtime.rest.forgive();
            shared.wake_claimer.notify_one();
        }
        let location = self.lock().locations.get(port).map(Arc::clone);
        if let Some(location) = location {
            location.forgive();
            self.refresh(shared);
        }
    }

    /// Opens and shuts gates by time and controls.
    pub(crate) fn refresh(&self, shared: &Shared) {
        let now = shared.options.clock.now();
        let state = self.lock();
        // Behind the lock: of two that do this at once the later one must not have read the older controls, or a port
        // that an operator has just stopped would open again.
        let routes = shared.routes();
        for (name, runtime) in &state.locations {
            let stands_by = shared.ownership.stands_by(&runtime.port.host);
            runtime.refresh(routes.controls.get(name), now, stands_by);
        }
        let mut opened = false;
        for (name, runtime) in &state.send {
            let was = runtime.is_open();
            let stands_by = shared.ownership.stands_by(&runtime.plan.host);
            opened |= runtime.refresh(routes.controls.get(name), now, stands_by) && !was;
        }
        if opened {
            shared.wake_claimer.notify_one();
        }
    }

    pub(crate) fn locations(&self) -> Vec<Arc<LocationRuntime>> {
        self.lock().locations.values().map(Arc::clone).collect()
    }

    pub(crate) fn send_ports(&self) -> Vec<Arc<SendRuntime>> {
        self.lock().send.values().map(Arc::clone).collect()
    }

    pub(crate) fn plan(&self) -> Arc<Plan> {
        Arc::clone(&self.lock().plan)
    }

    /// Gives the tasks of all ports and locations to whoever stops them.
    pub(crate) fn take_tasks(&self) -> JoinSet<()> {
        std::mem::take(&mut *self.tasks.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Takes note of port tasks that have ended. `true`: one of them panicked.
    pub(crate) fn reap(&self) -> bool {
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        let mut panicked = false;
        while let Some(end) = tasks.try_join_next() {
            if let Err(error) = end {
                tracing::error!(%error, "a port's task panicked; the engine is started anew");
                panicked = true;
            }
        }
        panicked
    }

    fn forgive_started(&self, old: &HashMap<Name, PortControl>, new: &HashMap<Name, PortControl>) {
        for (name, runtime) in &self.lock().locations {
            let started = new
                .get(name)
                .is_some_and(|c| c.status == PortStatus::Started);
            if started && old.get(name) != new.get(name) {
                runtime.forgive();
            }
        }
        for (name, runtime) in &self.lock().send {
            if old.get(name) != new.get(name) {
                runtime.rest.forgive();
            }
        }
    }

    fn place_send_ports(
        &self,
        shared: &Arc<Shared>,
        plan: &Arc<Plan>,
    ) -> HashMap<Name, Arc<SendRuntime>> {
        let mut old = std::mem::take(&mut self.lock().send);
        let mut send = BTreeMap::new();
        let ours = plan
            .send
            .iter()
            .filter(|p| shared.options.roles.send && shared.options.runs(&p.host));
        for port in ours {
            let kept = take_if(&mut old, &port.name, |r| same(&*r.plan, port));
            // What was wrong may be repaired outside of the configuration.
            kept.iter().for_each(|kept| kept.rest.forgive());
            let runtime = kept.unwrap_or_else(|| {
                let services = services(shared, &port.name, Condition::default());
                let (runtime, works) = SendRuntime::new(Arc::new(port.clone()), services);
                let runner = Runner::new(Arc::clone(shared), Arc::clone(&runtime));
                self.spawn(runner.run(works));
                runtime
            });
            send.insert(port.name.clone(), runtime);
        }
        // Routes still name the others for a moment; they end when the last hand-over is through.
        for runtime in old.into_values() {
            runtime.retired.cancel();
        }
        self.lock().send = send.clone();
        send.into_iter().collect()
    }

    fn place_locations(&self, shared: &Arc<Shared>, plan: &Arc<Plan>) {
        let mut old = std::mem::take(&mut self.lock().locations);
        let mut fresh = Vec::new();
        let mut locations = BTreeMap::new();
        let ours = plan
            .receive
            .iter()
            .filter(|p| shared.options.roles.receive && shared.options.runs(&p.host));
        for port in ours {
            for location in &port.locations {
                // What has changed stays among the old ones, which are retired.
                let kept = take_if(&mut old, &location.name, |r| {
                    same(&*r.location, location) && same(&*r.port, port)
                });
                let runtime = kept.unwrap_or_else(|| {
                    let port = Arc::new(port.clone());
                    let predecessor = old.remove(&location.name);
                    let location = Arc::new(location.clone());
                    let runtime = LocationRuntime::new(port, location, predecessor);
                    fresh.push(Arc::clone(&runtime));
                    runtime
                });
                locations.insert(location.name.clone(), runtime);
            }
        }
        for runtime in old.into_values() {
            runtime.retired.cancel();
        }
        self.lock().locations = locations;
        for runtime in fresh {
            let condition = runtime.condition.clone();
            let services = services(shared, &runtime.location.name, condition);
            self.spawn(location::run(Arc::clone(shared), runtime, services));
        }
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        tasks.spawn(task);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes the entry `name` out of `map` if it fits.
fn take_if<T>(
    map: &mut BTreeMap<Name, Arc<T>>,
    name: &Name,
    fits: impl Fn(&T) -> bool,
) -> Option<Arc<T>> {
    if map.get(name).is_some_and(|entry| fits(entry)) {
        return map.remove(name);
    }
    None
}

/// Whether two plans are the same, by all that they say.
fn same<T: std::fmt::Debug>(a: &T, b: &T) -> bool {
    format!("{a:?}") == format!("{b:?}")
}

pub(crate) fn services(shared: &Arc<Shared>, name: &Name, condition: Condition) -> Services {
    let options = &shared.options;
    Services {
        node: options.node.clone(),
        clock: Arc::clone(&options.clock),
        entropy: Arc::clone(&options.entropy),
        secrets: Arc::clone(&options.secrets),
        sources: Arc::new(LocationSources {
            store: Arc::clone(&shared.store),
            location: name.clone(),
            instance: shared.instance,
        }),
        messages: Arc::new(StoredMessages {
            store: Arc::clone(&shared.store),
        }),
        condition,
        stopping: shared.stopping.clone(),
    }
}

fn by_name(set: ControlSet) -> HashMap<Name, PortControl> {
    let controls = set.controls.into_iter();
    controls.map(|(name, control, _)| (name, control)).collect()
}

/// Finds out whether `plan` can run, without changing anything.
///
/// # Errors
/// Why it cannot.
pub(crate) fn check(plan: &Plan, options: &Options) -> Result<(), EngineError> {
    subscribers(plan, options).map(drop)
}

fn known_adapter(options: &Options, place: &Name, key: &str) -> Result<(), EngineError> {
    if options.adapters.contains_key(key) {
        return Ok(());
    }
    Err(EngineError::Coded {
        code: codes::NO_ADAPTER,
        detail: format!("{place}: no adapter `{key}`"),
    })
}

fn subscribers(
    plan: &Plan,
    options: &Options,
) -> Result<HashMap<Name, Arc<PortSubscriber>>, EngineError> {
    let adapter = |key: &str| options.adapters.get(key).map(Arc::clone);
    for location in plan.receive.iter().flat_map(|port| &port.locations) {
        known_adapter(options, &location.name, &location.adapter)?;
    }
    let mut subscribers = HashMap::new();
    for port in &plan.send {
        let transports = [Some(&port.primary), port.backup.as_ref()];
        for transport in transports.into_iter().flatten() {
            known_adapter(options, &port.name, &transport.adapter)?;
        }
        let templates = Templates::parse(port, adapter).map_err(|detail| EngineError::Coded {
            code: codes::TEMPLATE,
            detail: format!("{}: {detail}", port.name),
        })?;
        let subscriber = PortSubscriber {
            plan: Arc::new(port.clone()),
            templates,
        };
        subscribers.insert(port.name.clone(), Arc::new(subscriber));
    }
    Ok(subscribers)
}

fn routes(
    plan: &Plan,
    options: &Options,
    version: i64,
    subscribers: HashMap<Name, Arc<PortSubscriber>>,
    send: HashMap<Name, Arc<SendRuntime>>,
    controls: HashMap<Name, PortControl>,
) -> Routes {
    let unenlisted: HashSet<Name> = controls
        .iter()
        .filter(|(_, control)| control.status == PortStatus::Unenlisted)
        .map(|(name, _)| name.clone())
        .collect();
    Routes {
        version,
        table: Table::compile(plan, &unenlisted),
        receive: by_location(plan, options),
        send,
        subscribers,
        orchestrations: by_orchestration(plan),
        controls,
    }
}

fn by_orchestration(plan: &Plan) -> HashMap<Name, Arc<OrchestrationPlan>> {
    let all = plan.orchestrations.iter();
    all.map(|one| (one.name.clone(), Arc::new(one.clone())))
        .collect()
}

fn by_location(plan: &Plan, options: &Options) -> HashMap<Name, Arc<ReceivePort>> {
    let mut receive = HashMap::new();
    for port in plan.receive.iter().filter(|port| options.runs(&port.host)) {
        let port = Arc::new(port.clone());
        for location in &port.locations {
            receive.insert(location.name.clone(), Arc::clone(&port));
        }
    }
    receive
}
