//! What operators are told of messages that could not be accepted: once for each that is stored, under an id
//! that the store knows.

use std::{
    collections::BTreeMap,
    io,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream;
use quayside_adapter_api::{
    Accepted, Adapter, AdapterError, Block, Delivery, ErrorKind, Incoming, Receive, RejectKind,
    Rejected, Reply, Secrets, SendTerms, Services, Settle, Terms, Transmit,
    model::Fault,
    services::{Secret, SecretRef},
};
use quayside_conformance::scene::name;
use quayside_engine::{
    Engine, Options, Roles, codes,
    filter::Filter,
    plan::{
        ATTEMPT_TIMEOUT, DedupePlan, InDoubt, Location, MessagePlan, Parties, Party, Plan,
        ReceivePipeline, ReceivePort, SendPipeline, SendPort, TransportPlan, Unrouted, Validate,
    },
};
use quayside_harness::wait_for;
use quayside_model::{
    Context, DeliveryId, MessageId, Name, Priority, RetryPolicy, SystemClock, SystemEntropy, Text,
};
use quayside_pipeline::Promotions;
use quayside_store::{AnyStore, browse::MessageWay, maintain::Retention, operate::OperateOutcome};
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

    fn check_receive(&self, _: &Block, _: &Terms) -> Vec<Fault> {
        Vec::new()
    }

    fn check_send(&self, _: &Block, _: &SendTerms) -> Vec<Fault> {
        Vec::new()
    }

    fn templates(&self, _: &Block) -> BTreeMap<String, String> {
        BTreeMap::from([("name".to_owned(), "{OrderId}".to_owned())])
    }

    async fn open_receive(
        &self,
        _: &Name,
        block: &Block,
        _: &Terms,
        services: Services,
    ) -> Result<Box<dyn Receive>, AdapterError> {
        let gives = block["gives"].as_str().map(ToOwned::to_owned);
        let resumable = block["resumable"] != false;
        Ok(Box::new(Source {
            gives,
            resumable,
            services,
        }))
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

/// It gives what its block says, for which nobody waits, and ends when the host stops.
struct Source {
    gives: Option<String>,
    resumable: bool,
    services: Services,
}

#[async_trait]
impl Receive for Source {
    async fn receive(&mut self) -> Result<Delivery, AdapterError> {
        if let Some(content) = self.gives.take() {
            let content = Bytes::from(content);
            return Ok(Delivery {
                arrived: self.services.clock.monotonic(),
                message: Incoming {
                    context: Context::new(),
                    content_type: Some(Text::lossy("application/xml")),
                    body: Box::pin(stream::once(async move { Ok(content) })),
                    key: None,
                },
                others: Vec::new(),
                source: None,
                reply: Reply::Nothing,
                resumable: self.resumable,
                settle: Box::new(Unread),
            });
        }
        self.services.stopping.cancelled().await;
        let what = "the location is closed";
        Err(AdapterError::new(ErrorKind::Ended, codes::STOPPING, what))
    }

    async fn close(&mut self) {}
}

/// Whoever gave it does not read what became of it.
struct Unread;

#[async_trait]
impl Settle for Unread {
    async fn accept(self: Box<Self>, _: Accepted) -> Result<(), AdapterError> {
        Ok(())
    }

    async fn reject(self: Box<Self>, _: Rejected) {}
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
        pipeline: ReceivePipeline::default(),
        messages: Vec::new(),
        validate: Validate::Off,
        maps: Vec::new(),
        answer_maps: Vec::new(),
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
        clustered: false,
        filter: Some(Filter::compile(filter).expect("a filter")),
        maps: Vec::new(),
        answer_maps: Vec::new(),
        group_filters: Vec::new(),
        pipeline: SendPipeline::default(),
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

impl Log {
    /// The fields of the lines that say `what`; no key is in one of them twice.
    fn lines(&self, what: &str) -> Vec<serde_json::Value> {
        let log = self.0.lock().unwrap_or_else(PoisonError::into_inner);
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
}

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
            clustered: Vec::new(),
            roles: Roles::default(),
            timings: quayside_lease::Timings::default(),
            agent: None,
            retention: Retention::default(),
            adapters: BTreeMap::from([("still", still)]),
            clock: Arc::new(SystemClock),
            entropy: Arc::new(SystemEntropy),
            secrets: Arc::new(NoSecrets),
            outside: quayside_engine::outside::Settings::in_folder(
                std::env::temp_dir().join("quayside-maps"),
                quayside_engine::outside::Command::plain(&["false"]),
            ),
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

    fn lines(&self, what: &str) -> Vec<serde_json::Value> {
        self.log.lines(what)
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

#[tokio::test]
async fn a_source_that_ends_while_the_host_stops_has_not_failed() {
    let mut port = receive(false);
    let more = (0..32).map(|n| Location {
        name: name(&format!("app.in.web{n}")),
        ..port.locations[0].clone()
    });
    port.locations = more.collect();
    let world = World::new(port, Vec::new()).await;
    wait_for(
        "the locations to open",
        Duration::from_secs(30),
        async || match world.lines("receive location open").len() {
            32 => Ok(()),
            open => Err(format!("{open} are")),
        },
    )
    .await;
    let log = world.log.clone();
    assert!(world.engine.stop(Duration::from_secs(5)).await.ended);
    assert_eq!(log.lines("receive location closed").len(), 32);
    let failed = log.lines("receive location failed");
    assert!(failed.is_empty(), "{failed:?}");
}

#[tokio::test]
async fn what_a_location_suspends_for_good_is_not_resumed() {
    let mut port = receive(false);
    port.messages = vec![Arc::new(MessagePlan {
        name: name("app.order"),
        message_type: None,
        namespaces: std::collections::BTreeMap::new(),
        promotions: Promotions::default(),
        schema: None,
    })];
    port.locations[0].block = serde_json::json!({ "gives": "<Order>", "resumable": false });
    let world = World::new(port, Vec::new()).await;
    let told = wait_for("the message", Duration::from_secs(30), async || {
        let told = world.lines("message suspended on receipt").pop();
        told.ok_or_else(|| "it is not stored".to_owned())
    });
    let told = told.await;
    let id = told["message.id"].as_str().expect("an id");
    let message: MessageId = id.parse().expect("an id");
    let ids = [DeliveryId { message, no: 0 }];
    let resumed = world.store.resume(&ids, &Text::lossy("by a test")).await;
    assert_eq!(resumed.expect("it answers"), [OperateOutcome::NotResumable]);
}

/// The port takes messages of the party `acme` alone.
fn of_acme() -> ReceivePort {
    let mut port = receive(false);
    let acme = Party {
        name: Text::lossy("acme"),
        certificates: Vec::new(),
        clients: vec![Text::lossy("acme-erp")],
    };
    port.pipeline.party = Some(Arc::new(Parties {
        required: true,
        known: vec![acme],
    }));
    port
}

#[tokio::test]
async fn a_stranger_who_waits_is_refused_and_a_party_routes() {
    let world = World::new(of_acme(), vec![send("msg.party == 'acme'")]).await;
    let accepted = world.arrive(&[("http.client", "acme-erp")]).await;
    let way = world.way(&accepted).await;
    let party = way.context.value("msg.party").map(ToString::to_string);
    assert_eq!(party.as_deref(), Some("acme"));
    assert_eq!(&*way.live_deliveries[0].port, "app.out");

    let (location, body) = (name(LOCATION), Bytes::from_static(b"the content"));
    // What a sender says of itself does not count.
    let said = vec![(name("msg.party"), Text::lossy("acme"))];
    let refused = world.engine.inject(&location, body, None, said).await;
    let refused = refused.expect("a location").expect_err("a stranger");
    assert_eq!(refused.code, codes::PARTY_UNKNOWN);
    assert_eq!(refused.kind, RejectKind::Forbidden);
    world.end().await;
}

#[tokio::test]
async fn what_a_stranger_leaves_is_kept_as_it_came() {
    let mut port = of_acme();
    port.locations[0].block = serde_json::json!({ "gives": "<Order" });
    let world = World::new(port, Vec::new()).await;
    let told = wait_for("the message", Duration::from_secs(30), async || {
        let told = world.lines("message suspended on receipt").pop();
        told.ok_or_else(|| "it is not stored".to_owned())
    });
    let told = told.await;
    assert_eq!(told["code"], codes::PARTY_UNKNOWN.code);
    let message: MessageId = told["message.id"]
        .as_str()
        .expect("an id")
        .parse()
        .expect("an id");
    let ids = [DeliveryId { message, no: 0 }];
    let resumed = world.store.resume(&ids, &Text::lossy("by a test")).await;
    assert_eq!(resumed.expect("it answers"), [OperateOutcome::Done]);
    // Resumed it is looked for again: it still came from a stranger.
    wait_for(
        "the second refusal",
        Duration::from_secs(30),
        async || match world.lines("resumed message refused again").len() {
            0 => Err("not yet".to_owned()),
            _ => Ok(()),
        },
    )
    .await;
    world.end().await;
}

#[tokio::test]
async fn a_resubmission_names_what_is_wrong_with_the_content() {
    let mut port = receive(false);
    port.messages = vec![Arc::new(MessagePlan {
        name: name("app.order"),
        message_type: None,
        namespaces: std::collections::BTreeMap::new(),
        promotions: Promotions::default(),
        schema: None,
    })];
    port.locations[0].block = serde_json::json!({ "gives": "<Order>" });
    let world = World::new(port, Vec::new()).await;
    let told = wait_for("the message", Duration::from_secs(30), async || {
        let told = world.lines("message suspended on receipt").pop();
        told.ok_or_else(|| "it is not stored".to_owned())
    });
    let told = told.await;
    let id = told["message.id"].as_str().expect("an id");
    let id: MessageId = id.parse().expect("an id");
    for terminated in [false, true] {
        if terminated {
            let (deliveries, by) = (
                [DeliveryId { message: id, no: 0 }],
                Text::lossy("by a test"),
            );
            let ended = world.store.terminate(&deliveries, &by);
            let ended = ended.await.expect("it answers");
            assert_eq!(ended, [OperateOutcome::Done]);
        }
        let refused = world.engine.resubmit(id).await;
        let refused = refused.expect_err("nobody can subscribe to it");
        assert_eq!(told["code"], refused.code().code, "{refused}");
        assert!(refused.code().code.starts_with("QS02"), "{refused}");
    }
    world.end().await;
}
