//! What operators are told of messages that could not be accepted: once for each that is stored, under an id
//! that the store knows.

use std::{
    collections::BTreeMap,
    future::pending,
    io,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use quayside_adapter_api::{
    Accepted, Adapter, AdapterError, Block, Delivery, ErrorKind, Receive, Secrets, Services,
    Transmit,
    model::Fault,
    services::{Secret, SecretRef},
};
use quayside_conformance::scene::name;
use quayside_engine::{
    Engine, Options, Roles, codes,
    filter::Filter,
    plan::{
        ATTEMPT_TIMEOUT, DedupePlan, InDoubt, Location, Plan, ReceivePort, SendPort, TransportPlan,
        Unrouted,
    },
};
use quayside_model::{Name, Priority, RetryPolicy, SystemClock, SystemEntropy, Text};
use quayside_store::{AnyStore, browse::MessageWay, maintain::Retention};
use quayside_store_sqlite::SqliteStore;
use tracing_subscriber::fmt::MakeWriter;

const LOCATION: &str = "app.in.web";

/// An adapter that gives nothing and takes nothing, and names its files by a property.
#[derive(Debug, Clone)]
struct Still;

#[async_trait]
impl Adapter for Still {
    fn name(&self) -> &'static str {
        "still"
    }

    fn check_receive(&self, _: &Block) -> Vec<Fault> {
        Vec::new()
    }

    fn check_send(&self, _: &Block) -> Vec<Fault> {
        Vec::new()
    }

    fn templates(&self, _: &Block) -> BTreeMap<String, String> {
        BTreeMap::from([("name".to_owned(), "{OrderId}".to_owned())])
    }

    async fn open_receive(
        &self,
        _: &Name,
        _: &Block,
        _: Services,
    ) -> Result<Box<dyn Receive>, AdapterError> {
        Ok(Box::new(self.clone()))
    }

    async fn open_send(
        &self,
        _: &Name,
        _: &Block,
        _: Services,
    ) -> Result<Arc<dyn Transmit>, AdapterError> {
        let what = "it only receives";
        Err(AdapterError::new(
            ErrorKind::Retry(None),
            codes::NO_ADAPTER,
            what,
        ))
    }
}

#[async_trait]
impl Receive for Still {
    async fn receive(&mut self) -> Result<Delivery, AdapterError> {
        pending().await
    }

    async fn close(&mut self) {}
}

struct NoSecrets;

impl Secrets for NoSecrets {
    fn resolve(&self, reference: &SecretRef) -> Result<Secret, AdapterError> {
        let what = format!("no secret `{}`", reference.secret);
        Err(AdapterError::new(ErrorKind::Config, codes::NOT_FOUND, what))
    }
}

/// A receive port whose messages have the key of their content and stay when nobody wants them.
fn receive(publish_failures: bool) -> ReceivePort {
    ReceivePort {
        name: name("app.in"),
        host: name("host"),
        messages: Vec::new(),
        dedupe: DedupePlan {
            keys: vec!["msg.sha256".to_owned()],
            ..DedupePlan::default()
        },
        unrouted: Unrouted::Suspend,
        ordered: false,
        answer_within: None,
        priority: Priority::default(),
        publish_failures,
        locations: vec![Location {
            name: name(LOCATION),
            adapter: "still".to_owned(),
            block: serde_json::json!({}),
            enabled: true,
            start: None,
            stop: None,
            window: None,
            max_in_flight: 4,
            error_threshold: None,
        }],
    }
}

fn send(filter: &str) -> SendPort {
    SendPort {
        name: name("app.out"),
        host: name("host"),
        filter: Some(Filter::compile(filter).expect("a filter")),
        group_filters: Vec::new(),
        primary: TransportPlan {
            adapter: "still".to_owned(),
            block: serde_json::json!({}),
            retry: RetryPolicy::default(),
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

/// The log of a test, as JSON.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut log = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        log.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

/// An engine and everything that it says.
struct World {
    // Before the folder: the store is closed before its files go.
    engine: Engine,
    store: AnyStore,
    log: Log,
    _listens: tracing::subscriber::DefaultGuard,
    _folder: tempfile::TempDir,
}

impl World {
    /// On the thread of the test alone, whose log it takes.
    async fn new(receive: ReceivePort, send: Vec<SendPort>) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let options = quayside_store_sqlite::Options::default();
        let store = SqliteStore::open(folder.path(), Arc::new(SystemClock), options);
        let store: AnyStore = Arc::new(store.expect("the folder is free"));
        let log = Log::default();
        let listener = tracing_subscriber::fmt()
            .json()
            .with_writer(log.clone())
            .finish();
        let listens = tracing::subscriber::set_default(listener);
        let still: Arc<dyn Adapter> = Arc::new(Still);
        let options = Options {
            node: name("node-a"),
            hosts: Vec::new(),
            roles: Roles::default(),
            timings: quayside_lease::Timings::default(),
            retention: Retention::default(),
            adapters: BTreeMap::from([("still", still)]),
            clock: Arc::new(SystemClock),
            entropy: Arc::new(SystemEntropy),
            secrets: Arc::new(NoSecrets),
        };
        let plan = Plan {
            receive: vec![receive],
            send,
            ..Plan::default()
        };
        let engine = Engine::start(Arc::clone(&store), plan, options).await;
        Self {
            engine: engine.expect("it runs"),
            store,
            log,
            _listens: listens,
            _folder: folder,
        }
    }

    async fn arrive(&self, properties: &[(&str, &str)]) -> Accepted {
        let properties = properties
            .iter()
            .map(|(key, value)| (name(key), Text::lossy(value)))
            .collect();
        let body = Bytes::from_static(b"the content");
        let location = name(LOCATION);
        let arrived = self.engine.inject(&location, body, None, properties);
        arrived.await.expect("a location").expect("it is accepted")
    }

    async fn way(&self, accepted: &Accepted) -> MessageWay {
        let way = self.store.message(accepted.message).await.expect("a way");
        way.expect("it is stored")
    }

    /// The lines that say `what`; no key is in one of them twice.
    fn lines(&self, what: &str) -> Vec<serde_json::Value> {
        let log = self.log.0.lock().unwrap_or_else(PoisonError::into_inner);
        let log = String::from_utf8_lossy(&log);
        let said = format!("\"message\":\"{what}\"");
        let lines = log.lines().filter(|line| line.contains(&said));
        let read = |line: &str| {
            assert_eq!(line.matches("\"message\":").count(), 1, "{line}");
            let line: serde_json::Value = serde_json::from_str(line).expect("JSON");
            line["fields"].clone()
        };
        lines.map(read).collect()
    }

    async fn end(self) {
        assert!(self.engine.stop(Duration::from_secs(5)).await.ended);
    }
}

#[tokio::test]
async fn of_the_repeats_of_a_message_suspended_on_receipt_only_the_stored_one_is_told() {
    let world = World::new(receive(false), Vec::new()).await;
    let first = world.arrive(&[]).await;
    for _ in 0..2 {
        let again = world.arrive(&[]).await;
        assert_eq!((again.message, again.replayed), (first.message, true));
    }
    let lines = world.lines("message suspended on receipt");
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert_eq!(lines[0]["message.id"], first.message.to_string());
    assert_eq!(lines[0]["code"], codes::NO_SUBSCRIBER.code);
    assert_eq!(world.engine.counters().suspended_on_receipt, 1);
    world.end().await;
}

#[tokio::test]
async fn a_failure_on_receipt_that_is_published_is_told_under_the_id_that_is_stored() {
    let failed = send("error.code == 'QS0801'");
    let world = World::new(receive(true), vec![failed]).await;
    let stored = world.arrive(&[("OrderId", "7")]).await;
    assert!(world.arrive(&[("OrderId", "7")]).await.replayed);
    let lines = world.lines("message not accepted, published as a failed message");
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert_eq!(lines[0]["message.id"], stored.message.to_string());
    assert_eq!(lines[0]["code"], codes::NO_SUBSCRIBER.code);
    let counters = world.engine.counters();
    let counted = (counters.failed_on_receipt, counters.suspended_on_receipt);
    assert_eq!(counted, (1, 0));
    let way = world.way(&stored).await;
    let named = way.context.value("error.message-id").expect("it is named");
    assert_eq!(named.to_string(), stored.message.to_string());
    world.end().await;
}

#[tokio::test]
async fn a_delivery_suspended_from_birth_is_told_once() {
    let world = World::new(receive(false), vec![send("Kind == 'bare'")]).await;
    let stored = world.arrive(&[("Kind", "bare")]).await;
    assert!(world.arrive(&[("Kind", "bare")]).await.replayed);
    let lines = world.lines("delivery suspended");
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert_eq!(lines[0]["delivery"], format!("{}.0", stored.message));
    assert_eq!(lines[0]["port"], "app.out");
    assert_eq!(lines[0]["code"], codes::TEMPLATE.code);
    assert_eq!(world.engine.counters().suspended, 1);
    world.end().await;
}
