//! Orchestrations on a real store, with an adapter that answers what a test tells it.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use quayside_adapter_api::{
    Adapter, AdapterError, Answer, Block, ErrorKind, Outbound, Receive, Secrets, SendTerms, Sent,
    Services, Terms, Transmit,
    model::Fault,
    services::{Secret, SecretRef},
};
use quayside_conformance::{Backend, Scene, scene};
use quayside_engine::{
    Engine, Options, Order, Roles, WORK_TICKET, codes,
    filter::Filter,
    plan::{
        ATTEMPT_TIMEOUT, InDoubt, MessagePlan, OrchestrationPlan, Plan, SendPipeline, SendPort,
        TransportPlan,
    },
};
use quayside_harness::wait_for;
use quayside_model::{
    DeliveryState, MessageId, Name, RetryPolicy, SystemClock, SystemEntropy, Text, ValueType,
};
use quayside_orchestration::{Definition, Environment, MessageSpec, PortSpec};
use quayside_pipeline::{Promotions, Rule};
use quayside_store::{
    AnyStore, Publish,
    maintain::Retention,
    runs::{RunFilter, RunRow, RunState},
    work::{Ticket, WorkAnswer, WorkOutcome},
};
use quayside_store_sqlite::SqliteStore;

const PATIENCE: Duration = Duration::from_secs(30);
const RUN: &str = "app.approval";

/// An order is reserved at the stock, told to the approvers, waits for their answer, and is booked.
const APPROVAL: &str = r#"
messages:
  order: order
  answer: answer
  receipt: receipt
variables:
  told: 0
correlations:
  by_number: Number
steps:
  - receive: order
    activate: true
    initialise: by_number
  - scope: approval
    timeout: 1h
    steps:
      - scope: reservation
        steps:
          - call: order
            to: stock
            reply: receipt
            name: reserve
        compensate:
          - send: order
            to: release
            name: release
      - send: order
        to: approvers
        name: ask
      - receive: answer
        follow: by_number
        name: wait
      - decide:
          - when: "text(answer, '/Answer/Decision') != 'yes'"
            steps:
              - raise: refused
    on_error:
      - catch: refused
        steps:
          - compensate: all
          - terminate: "'refused'"
  - send: order
    to: erp
    name: book
    notify: true
"#;

/// What the partners saw: port by port, body and delivery.
#[derive(Debug, Default)]
struct Partners {
    seen: Mutex<Vec<(String, String, String)>>,
    /// Ports that refuse for good.
    refusing: Mutex<Vec<String>>,
    /// What the worker was given.
    tickets: Mutex<Vec<Ticket>>,
}

impl Partners {
    fn seen_by(&self, port: &str) -> Vec<(String, String)> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let of = seen.iter().filter(|(at, ..)| at == port);
        of.map(|(_, body, key)| (body.clone(), key.clone()))
            .collect()
    }
}

#[derive(Debug, Clone)]
struct Partner(Arc<Partners>, String);

#[async_trait]
impl Adapter for Partner {
    fn name(&self) -> &'static str {
        "partner"
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
        port: &Name,
        _: &Block,
        _: Services,
    ) -> Result<Arc<dyn Transmit>, AdapterError> {
        Ok(Arc::new(Self(Arc::clone(&self.0), port.to_string())))
    }
}

#[async_trait]
impl Transmit for Partner {
    async fn send(&self, outbound: Outbound) -> Result<Sent, AdapterError> {
        let body = scene::body_of(&outbound.message);
        let key = outbound.delivery.to_string();
        let mut seen = self.0.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.push((self.1.clone(), body, key));
        let refusing = self
            .0
            .refusing
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if refusing.contains(&self.1) {
            let what = "refused for good";
            return Err(AdapterError::new(ErrorKind::Rejected, codes::REFUSED, what));
        }
        let mut status = 200;
        if let Some(ticket) = outbound.message.context.value(WORK_TICKET) {
            let ticket = ticket.to_string().parse().expect("a ticket");
            let mut tickets = self.0.tickets.lock();
            let tickets = tickets.as_mut().unwrap_or_else(|broken| broken.get_mut());
            tickets.push(ticket);
            status = 202;
        }
        let answer = outbound.answer_wanted.then(|| Answer {
            status,
            content_type: Some(scene::text("application/xml")),
            body: Bytes::from_static(b"<Receipt><No>7</No></Receipt>"),
        });
        Ok(Sent {
            detail: Text::lossy("taken"),
            answer,
        })
    }

    async fn test(&self) -> Result<String, AdapterError> {
        Ok("it is here".to_owned())
    }
}

struct NoSecrets;

impl Secrets for NoSecrets {
    fn resolve(&self, reference: &SecretRef) -> Result<Secret, AdapterError> {
        let what = format!("no secret `{}`", reference.secret);
        Err(AdapterError::new(ErrorKind::Config, codes::NOT_FOUND, what))
    }
}

struct World {
    store: AnyStore,
    partners: Arc<Partners>,
    _folder: tempfile::TempDir,
}

impl Backend for World {
    fn store(&self) -> AnyStore {
        Arc::clone(&self.store)
    }
}

impl World {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let options = quayside_store_sqlite::Options::default();
        let store = SqliteStore::open(folder.path(), Arc::new(SystemClock), options);
        Self {
            store: Arc::new(store.expect("the folder is free")),
            partners: Arc::default(),
            _folder: folder,
        }
    }

    async fn engine(&self, plan: Plan) -> Engine {
        let partner: Arc<dyn Adapter> =
            Arc::new(Partner(Arc::clone(&self.partners), String::new()));
        let options = Options {
            node: scene::name("node-a"),
            hosts: Vec::new(),
            clustered: Vec::new(),
            roles: Roles {
                track: false,
                ..Roles::default()
            },
            timings: quayside_lease::Timings::default(),
            agent: None,
            retention: Retention::default(),
            adapters: BTreeMap::from([("partner", partner)]),
            clock: Arc::new(SystemClock),
            entropy: Arc::new(SystemEntropy),
            secrets: Arc::new(NoSecrets),
            outside: quayside_engine::outside::Settings::in_folder(
                std::env::temp_dir().join("quayside-maps"),
                quayside_engine::outside::Command::plain(&["false"]),
            ),
        };
        let engine = Engine::start(self.store(), plan, options).await;
        engine.expect("the plan can run")
    }

    /// The only run, when it stands so.
    async fn run(&self, state: RunState) -> RunRow {
        wait_for("the run to stand so", PATIENCE, async || {
            let runs = self.store.runs(&RunFilter::default(), None, 9).await;
            let runs = runs.expect("runs");
            match runs.as_slice() {
                [run] if run.state == state => Ok(run.clone()),
                other => Err(format!("{state:?} is wanted: {other:?}")),
            }
        })
        .await
    }
}

fn port(name: &str, answers: bool) -> SendPort {
    SendPort {
        name: scene::name(&format!("app.{name}")),
        host: scene::name("host"),
        clustered: false,
        filter: None,
        maps: Vec::new(),
        answer_maps: Vec::new(),
        group_filters: Vec::new(),
        pipeline: SendPipeline::default(),
        primary: TransportPlan {
            adapter: "partner".to_owned(),
            block: serde_json::json!({}),
            retry: RetryPolicy {
                attempts: 1,
                ..RetryPolicy::default()
            },
        },
        backup: None,
        ordered: None,
        max_in_flight: 4,
        priority: None,
        window: None,
        answers,
        in_doubt: InDoubt::Resend,
        publish_failures: false,
        attempt_timeout: ATTEMPT_TIMEOUT,
    }
}

fn message(name: &str, message_type: &str, xpath: Option<&str>) -> Arc<MessagePlan> {
    let rules = xpath.map(|xpath| ("Number".to_owned(), Rule::xpath(xpath)));
    let rules = rules.into_iter().collect();
    Arc::new(MessagePlan {
        name: scene::name(&format!("app.{name}")),
        message_type: Some(message_type.to_owned()),
        namespaces: BTreeMap::new(),
        promotions: Promotions::compile(&BTreeMap::new(), &rules).expect("promotions"),
        schema: None,
    })
}

/// The application with the orchestration `yaml`.
fn application(yaml: &str) -> Plan {
    let messages = vec![
        message("order", "urn:orders#Order", Some("/Order/Number")),
        message("answer", "Answer", Some("/Answer/Number")),
        message("receipt", "Receipt", None),
    ];
    let ports = [
        ("stock", true),
        ("release", false),
        ("approvers", false),
        ("erp", false),
    ];
    let spec = |plan: &Arc<MessagePlan>| {
        let name = plan.name.split_once('.').expect("a full name").1;
        let message_type = plan.message_type.as_deref().expect("a type");
        let properties = match name {
            "receipt" => BTreeMap::new(),
            _ => BTreeMap::from([(scene::name("Number"), ValueType::String)]),
        };
        let spec = MessageSpec {
            message_type: scene::text(message_type),
            properties,
        };
        (scene::name(name), spec)
    };
    let two_way = |(name, two_way): (&str, bool)| (scene::name(name), PortSpec { two_way });
    let environment = Environment {
        messages: messages.iter().map(spec).collect(),
        ports: ports.into_iter().map(two_way).collect(),
        workers: [scene::name("pricing")].into(),
        ..Environment::default()
    };
    let definition = Definition::compile(&scene::name("approval"), yaml, &environment);
    let definition = definition.unwrap_or_else(|defects| panic!("{defects:#?}"));
    let plan = OrchestrationPlan::new(
        scene::name(RUN),
        scene::name("host"),
        definition,
        yaml.to_owned(),
        environment,
        (messages, BTreeMap::new()),
    );
    let ports = ports.into_iter().chain([("worker.pricing", true)]);
    Plan {
        send: ports.map(|(name, answers)| port(name, answers)).collect(),
        orchestrations: vec![plan.expect("filters")],
        hash: yaml.to_owned(),
        ..Plan::default()
    }
}

/// An order with the number `number`, for the orchestration.
fn order(scene: &Scene<'_>, number: &str) -> Publish {
    let body = format!("<Order xmlns='urn:orders'><Number>{number}</Number></Order>");
    with_number(scene.publish(&body, &[RUN]), "urn:orders#Order", number)
}

fn answer(scene: &Scene<'_>, number: &str, decision: &str) -> Publish {
    let body = format!("<Answer><Number>{number}</Number><Decision>{decision}</Decision></Answer>");
    with_number(scene.publish(&body, &[RUN]), "Answer", number)
}

fn with_number(mut publish: Publish, message_type: &str, number: &str) -> Publish {
    let message = Arc::make_mut(&mut publish.message);
    message.message_type = Some(scene::text(message_type));
    message.context.promote_text("Number", number);
    publish
}

async fn events(scene: &Scene<'_>, id: MessageId) -> Vec<String> {
    let way = scene.store.message(id).await.expect("way");
    let history = way.expect("it is stored").history;
    history.iter().map(|row| row.event.to_string()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_approval_asks_waits_and_books() {
    let world = World::new();
    let scene = Scene::open(&world).await;
    let engine = world.engine(application(APPROVAL)).await;
    let order = order(&scene, "4711");
    let id = order.message.id;
    scene.stored(order).await;
    let run = world.run(RunState::Waiting).await;
    assert!(run.due.is_some(), "its time-out: {run:?}");
    let asked = world.partners.seen_by("app.stock");
    assert_eq!(asked.len(), 1);
    let shown = world.store.run(run.id).await.expect("run").expect("it is");
    assert_eq!((shown.keys.len(), shown.inbox.len()), (1, 0));
    // Of another number, so that nobody waits for it.
    let stray = answer(&scene, "1", "yes");
    let stray_id = stray.message.id;
    scene.stored(stray).await;
    let answer = answer(&scene, "4711", "yes");
    let answer_id = answer.message.id;
    scene.stored(answer).await;
    let run = world.run(RunState::Completed).await;
    assert_eq!((run.discarded, run.due), (0, None));
    let booked = world.partners.seen_by("app.erp");
    assert_eq!(booked.len(), 1);
    assert!(booked[0].0.contains("4711"), "{booked:?}");
    assert_eq!(world.partners.seen_by("app.release"), []);
    assert_eq!(events(&scene, id).await, ["consumed"]);
    assert_eq!(events(&scene, answer_id).await, ["consumed"]);
    wait_for("the stray one to be suspended", PATIENCE, async || {
        let way = world.store.message(stray_id).await.expect("way");
        let live = way.expect("it is stored").live_deliveries;
        let state = live.first().map(|d| d.state);
        match state {
            Some(DeliveryState::Suspended) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    engine.stop(PATIENCE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_approval_is_undone_and_one_that_fails_waits_for_an_operator() {
    let world = World::new();
    let scene = Scene::open(&world).await;
    let refusing = |ports: &[&str]| {
        let mut refusing = world
            .partners
            .refusing
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *refusing = ports.iter().map(|port| (*port).to_owned()).collect();
    };
    refusing(&["app.stock"]);
    let engine = world.engine(application(APPROVAL)).await;
    scene.stored(order(&scene, "9")).await;
    let run = world.run(RunState::Suspended).await;
    let reason = run.reason.expect("a reason").to_string();
    assert!(reason.contains("reserve"), "{reason}");
    // While it is suspended the partner recovers: the call is made again, under the same key.
    refusing(&[]);
    let retry = Order::RetryStep(None).encode();
    let left = world.store.order_run(run.id, &retry).await;
    left.expect("it is left");
    // It waits as soon as it has asked, and the partner hears of it then.
    let asked = wait_for("the call to be made again", PATIENCE, async || {
        let asked = world.partners.seen_by("app.stock");
        match asked.len() {
            2 => Ok(asked),
            _ => Err(format!("{asked:?}")),
        }
    })
    .await;
    assert_eq!(asked[0].1, asked[1].1, "one key for all attempts");
    scene.stored(answer(&scene, "9", "no")).await;
    let run = world.run(RunState::Terminated).await;
    assert_eq!(run.reason.as_deref(), Some("refused"));
    wait_for("the release", PATIENCE, async || {
        match world.partners.seen_by("app.release").len() {
            1 => Ok(()),
            other => Err(format!("{other} releases")),
        }
    })
    .await;
    assert_eq!(world.partners.seen_by("app.erp"), []);
    engine.stop(PATIENCE).await;
}

/// A changed file is for new instances: the old ones go on by their own, and messages still find them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_instance_goes_on_by_the_definition_that_it_was_started_with() {
    let world = World::new();
    let scene = Scene::open(&world).await;
    let engine = world.engine(application(APPROVAL)).await;
    scene.stored(order(&scene, "5")).await;
    world.run(RunState::Waiting).await;
    wait_for("the approvers to be told", PATIENCE, async || {
        match world.partners.seen_by("app.approvers").len() {
            1 => Ok(()),
            other => Err(format!("{other} requests")),
        }
    })
    .await;
    engine.stop(PATIENCE).await;
    // It follows nothing any more, and ends elsewhere.
    let changed = "about: Nothing of the old.\nmessages:\n  order: order\nsteps:\n  - receive: order\n    \
                   activate: true\n  - send: order\n    to: release\n";
    let engine = world.engine(application(changed)).await;
    scene.stored(answer(&scene, "5", "yes")).await;
    world.run(RunState::Completed).await;
    assert_eq!(world.partners.seen_by("app.erp").len(), 1);
    assert_eq!(world.partners.seen_by("app.release"), []);
    engine.stop(PATIENCE).await;
}

/// Takes answers until there are enough of them.
const GATHERING: &str = r#"
messages: { order: order, answer: answer }
variables: { seen: 0 }
correlations: { by_number: Number }
steps:
  - receive: order
    activate: true
    initialise: by_number
  - loop: seen < 600
    steps:
      - receive: answer
        follow: by_number
      - assign: { seen: seen + 1 }
"#;

/// More messages than come along with one claim are taken all the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_inbox_is_taken_page_by_page() {
    let world = World::new();
    let scene = Scene::open(&world).await;
    let engine = world.engine(application(GATHERING)).await;
    scene.stored(order(&scene, "6")).await;
    let run = world.run(RunState::Waiting).await;
    let order = async |order: Order| {
        let left = world.store.order_run(run.id, &order.encode()).await;
        left.expect("it is left");
    };
    order(Order::Suspend(scene::text("first fill its inbox"))).await;
    world.run(RunState::Suspended).await;
    for _ in 0..600 {
        scene.stored(answer(&scene, "6", "yes")).await;
    }
    order(Order::Resume).await;
    let run = world.run(RunState::Completed).await;
    assert_eq!(run.discarded, 0);
    engine.stop(PATIENCE).await;
}

const PRICING: &str = r#"
messages: { order: order, receipt: receipt }
steps:
  - receive: order
    activate: true
  - { worker: pricing, send: order, reply: receipt, lease: 1s, attempts: 9, name: price }
  - { send: receipt, to: erp, name: book }
"#;

/// A worker that takes its work and is not heard of is asked again under the same key; its answer is the reply.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_answers_later() {
    let world = World::new();
    let scene = Scene::open(&world).await;
    let engine = world.engine(application(PRICING)).await;
    scene.stored(order(&scene, "8")).await;
    let given = async |attempt: usize| {
        wait_for("the worker to be asked", PATIENCE, async || {
            let tickets = &world.partners.tickets;
            let tickets = tickets.lock().unwrap_or_else(PoisonError::into_inner);
            tickets
                .get(attempt - 1)
                .copied()
                .ok_or("not yet".to_owned())
        })
        .await
    };
    let first = given(1).await;
    let second = given(2).await;
    assert_eq!((first.attempt, second.attempt), (1, 2));
    assert_eq!(
        Ticket {
            attempt: 2,
            ..first
        },
        second
    );
    assert_eq!(world.store.renew_work(&first).await.expect("ok"), None);
    let mut body = scene.publish("<Receipt/>", &["x"]).message.parts[0].clone();
    body.content_type = Some(scene::text("application/xml"));
    let answer = WorkAnswer { status: 200, body };
    let kept = world.store.answer_work(&second, &answer).await;
    assert_eq!(kept.expect("ok"), WorkOutcome::Kept);
    world.run(RunState::Completed).await;
    let asked = world.partners.seen_by("app.worker.pricing");
    assert!(asked.iter().all(|(_, key)| *key == asked[0].1), "{asked:?}");
    wait_for("the booking", PATIENCE, async || {
        match &world.partners.seen_by("app.erp")[..] {
            [(body, _)] if body == "<Receipt/>" => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    engine.stop(PATIENCE).await;
}

/// The filter that an orchestration subscribes by takes what starts it and what may follow.
#[test]
fn an_orchestration_subscribes_to_what_it_takes() {
    let plan = application(&APPROVAL.replace(
        "activate: true",
        "activate: true\n    filter: Number == '5'",
    ));
    let filter: &Filter = &plan.orchestrations[0].subscription;
    assert_eq!(
        filter.source(),
        "(msg.type == 'urn:orders#Order' && (Number == '5')) || msg.type == 'Answer'"
    );
}
