//! An engine on a real store, with an adapter that does what a test tells it.

use std::{
    collections::BTreeMap,
    future::pending,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use quayside_adapter_api::{
    Adapter, AdapterError, Block, ErrorKind, Outbound, Receive, RunEnd, Secrets, SendTerms, Sent,
    Services, Terms, Transmit,
    model::Fault,
    services::{Secret, SecretRef},
};
use quayside_conformance::{Backend, scene};
use quayside_engine::{
    Engine, Options, Roles, codes,
    plan::{ATTEMPT_TIMEOUT, InDoubt, OrderPlan, Plan, SendPipeline, SendPort, TransportPlan},
};
use quayside_model::{Name, OnOrderFailure, RetryPolicy, SystemClock, SystemEntropy, Text};
use quayside_store::{AnyStore, maintain::Retention};
use quayside_store_sqlite::SqliteStore;

/// What the adapter does with what it is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Behaviour {
    /// It takes it.
    Take,
    /// It refuses it for good.
    Refuse,
    /// It refuses this one for good and takes the others.
    RefuseOne(&'static str),
    /// It gets everything and takes so many of a run; then the connection is lost.
    TakeSome(usize),
    /// It refuses everything until somebody has repaired it.
    Stop,
    /// It never comes back from a send.
    Hang,
    /// It never comes back from opening.
    HangToOpen,
}

/// One send as the adapter saw it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) body: String,
    pub(crate) in_doubt: bool,
}

/// The adapter `probe`.
#[derive(Debug)]
pub(crate) struct Probe {
    behaviour: Mutex<Behaviour>,
    seen: Mutex<Vec<Seen>>,
    /// How many it takes in one run.
    longest: AtomicUsize,
    runs: Mutex<Vec<usize>>,
}

impl Probe {
    /// Takes so many of a key in one run.
    pub(crate) fn take_runs(&self, longest: usize) {
        self.longest.store(longest, Ordering::SeqCst);
    }

    /// The lengths of the runs so far.
    pub(crate) fn runs(&self) -> Vec<usize> {
        self.runs
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn note(&self, outbound: &Outbound) -> String {
        let body = scene::body_of(&outbound.message);
        let seen = Seen {
            body: body.clone(),
            in_doubt: outbound.in_doubt,
        };
        self.seen
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(seen);
        body
    }

    pub(crate) fn behave(&self, behaviour: Behaviour) {
        *self
            .behaviour
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = behaviour;
    }

    fn behaviour(&self) -> Behaviour {
        *self
            .behaviour
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Every send so far.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

/// The adapter as the engine has it.
#[derive(Debug, Clone)]
struct Shared(Arc<Probe>);

#[async_trait]
impl Adapter for Shared {
    fn name(&self) -> &'static str {
        "probe"
    }

    fn check_receive(&self, _: &Block, _: &Terms) -> Vec<Fault> {
        Vec::new()
    }

    fn check_send(&self, _: &Block, _: &SendTerms) -> Vec<Fault> {
        Vec::new()
    }

    fn templates(&self, _: &Block) -> BTreeMap<String, String> {
        BTreeMap::new()
    }

    async fn open_receive(
        &self,
        _: &Name,
        _: &Block,
        _: &Terms,
        _: Services,
    ) -> Result<Box<dyn Receive>, AdapterError> {
        let what = "it only sends";
        Err(AdapterError::new(
            ErrorKind::Config,
            codes::NO_ADAPTER,
            what,
        ))
    }

    async fn open_send(
        &self,
        _: &Name,
        _: &Block,
        _: Services,
    ) -> Result<Arc<dyn Transmit>, AdapterError> {
        match self.0.behaviour() {
            Behaviour::HangToOpen => pending().await,
            _ => Ok(Arc::new(self.clone())),
        }
    }
}

#[async_trait]
impl Transmit for Shared {
    async fn send(&self, outbound: Outbound) -> Result<Sent, AdapterError> {
        let body = self.0.note(&outbound);
        match self.0.behaviour() {
            Behaviour::RefuseOne(one) if one == body => {
                let what = "refused for good";
                Err(AdapterError::new(ErrorKind::Rejected, codes::REFUSED, what))
            }
            Behaviour::Take | Behaviour::RefuseOne(_) | Behaviour::TakeSome(_) => Ok(taken()),
            Behaviour::Refuse => {
                let what = "refused for good";
                Err(AdapterError::new(ErrorKind::Rejected, codes::REFUSED, what))
            }
            Behaviour::Stop => {
                let what = "no message would pass";
                Err(AdapterError::new(ErrorKind::Config, codes::REFUSED, what))
            }
            Behaviour::Hang | Behaviour::HangToOpen => pending().await,
        }
    }

    fn longest_run(&self) -> usize {
        self.0.longest.load(Ordering::SeqCst)
    }

    async fn send_run(&self, run: Vec<Outbound>) -> RunEnd {
        let runs = || self.0.runs.lock().unwrap_or_else(PoisonError::into_inner);
        runs().push(run.len());
        let count = run.len();
        match self.0.behaviour() {
            Behaviour::TakeSome(some) => {
                for outbound in &run {
                    self.0.note(outbound);
                }
                let what = "the connection is lost";
                let kind = ErrorKind::Retry(None);
                let error = AdapterError::new(kind, codes::REFUSED, what).doubtful();
                let some = some.min(count - 1);
                let sent = std::iter::repeat_with(taken).take(some);
                RunEnd::until(sent.collect(), error, count - some - 1)
            }
            Behaviour::Hang => {
                for outbound in &run {
                    self.0.note(outbound);
                }
                pending().await
            }
            _ => {
                let mut sent = Vec::new();
                for outbound in run {
                    match self.send(outbound).await {
                        Ok(one) => sent.push(one),
                        Err(error) => return RunEnd::until(sent, error, 0),
                    }
                }
                RunEnd::all(sent)
            }
        }
    }

    async fn test(&self) -> Result<String, AdapterError> {
        Ok("it is here".to_owned())
    }
}

fn taken() -> Sent {
    Sent {
        detail: Text::lossy("taken"),
        answer: None,
    }
}

struct NoSecrets;

impl Secrets for NoSecrets {
    fn resolve(&self, reference: &SecretRef) -> Result<Secret, AdapterError> {
        let what = format!("no secret `{}`", reference.secret);
        Err(AdapterError::new(ErrorKind::Config, codes::NOT_FOUND, what))
    }
}

/// A store, the adapter, and what keeps them.
pub(crate) struct World {
    // Before the folder: the store is closed before its files go.
    store: AnyStore,
    pub(crate) probe: Arc<Probe>,
    _folder: tempfile::TempDir,
}

impl World {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let clock = Arc::new(SystemClock);
        let store = SqliteStore::open(
            folder.path(),
            clock,
            quayside_store_sqlite::Options::default(),
        );
        let probe = Probe {
            behaviour: Mutex::new(Behaviour::Take),
            seen: Mutex::default(),
            longest: AtomicUsize::new(1),
            runs: Mutex::default(),
        };
        Self {
            store: Arc::new(store.expect("the folder is free")),
            probe: Arc::new(probe),
            _folder: folder,
        }
    }

    /// Runs `ports`.
    pub(crate) async fn engine(&self, ports: Vec<SendPort>) -> Engine {
        let probe: Arc<dyn Adapter> = Arc::new(Shared(Arc::clone(&self.probe)));
        let options = Options {
            node: scene::name("node-a"),
            hosts: Vec::new(),
            clustered: Vec::new(),
            roles: Roles {
                receive: false,
                process: false,
                send: true,
                track: false,
            },
            timings: quayside_lease::Timings::default(),
            agent: None,
            retention: Retention::default(),
            adapters: BTreeMap::from([("probe", probe)]),
            clock: Arc::new(SystemClock),
            entropy: Arc::new(SystemEntropy),
            secrets: Arc::new(NoSecrets),
            outside: quayside_engine::outside::Settings::in_folder(
                std::env::temp_dir().join("quayside-maps"),
                quayside_engine::outside::Command::plain(&["false"]),
            ),
        };
        let engine = Engine::start(self.store(), plan(ports), options).await;
        engine.expect("the plan can run")
    }
}

impl Backend for World {
    fn store(&self) -> AnyStore {
        Arc::clone(&self.store)
    }
}

/// A plan of these ports.
pub(crate) fn plan(send: Vec<SendPort>) -> Plan {
    let names: Vec<_> = send.iter().map(|port| port.name.to_string()).collect();
    Plan {
        send,
        hash: names.join(" "),
        ..Plan::default()
    }
}

/// A port without order, of two attempts in quick succession.
pub(crate) fn port(name: &str) -> SendPort {
    SendPort {
        name: scene::name(name),
        host: scene::name("host"),
        clustered: false,
        filter: None,
        maps: Vec::new(),
        answer_maps: Vec::new(),
        group_filters: Vec::new(),
        pipeline: SendPipeline::default(),
        primary: TransportPlan {
            adapter: "probe".to_owned(),
            block: serde_json::json!({}),
            retry: RetryPolicy {
                attempts: 2,
                first: Duration::from_millis(1),
                ..RetryPolicy::default()
            },
        },
        backup: None,
        ordered: None,
        max_in_flight: 4,
        priority: None,
        window: None,
        answers: false,
        in_doubt: InDoubt::Resend,
        publish_failures: false,
        attempt_timeout: ATTEMPT_TIMEOUT,
    }
}

/// An ordered port.
pub(crate) fn ordered(name: &str) -> SendPort {
    SendPort {
        ordered: Some(OrderPlan {
            by: "Number".to_owned(),
            on_failure: OnOrderFailure::HoldKey,
            lanes: 4,
        }),
        ..port(name)
    }
}
