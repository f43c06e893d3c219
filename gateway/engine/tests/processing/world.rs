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
    Engine, EngineError, Options, Roles, WORK_TICKET, codes,
    plan::{
        ATTEMPT_TIMEOUT, InDoubt, MessagePlan, OrchestrationPlan, Plan, SendPipeline, SendPort,
        TransportPlan,
    },
};
use quayside_harness::wait_for;
use quayside_model::{MessageId, Name, RetryPolicy, SystemClock, SystemEntropy, Text, ValueType};
use quayside_orchestration::{Definition, Environment, MessageSpec, PortSpec};
use quayside_pipeline::{Promotions, Rule};
use quayside_store::{
    AnyStore, Publish,
    maintain::Retention,
    runs::{RunFilter, RunRow, RunState},
    work::Ticket,
};
use quayside_store_sqlite::SqliteStore;

pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
pub(crate) const RUN: &str = "app.approval";

/// An order is reserved at the stock, told to the approvers, waits for their answer, and is booked.
pub(crate) const APPROVAL: &str = r#"
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
pub(crate) struct Partners {
    pub(crate) seen: Mutex<Vec<(String, String, String)>>,
    /// Ports that refuse for good.
    pub(crate) refusing: Mutex<Vec<String>>,
    /// What the worker was given.
    pub(crate) tickets: Mutex<Vec<Ticket>>,
}

impl Partners {
    pub(crate) fn seen_by(&self, port: &str) -> Vec<(String, String)> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let of = seen.iter().filter(|(at, ..)| at == port);
        of.map(|(_, body, key)| (body.clone(), key.clone()))
            .collect()
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Partner(Arc<Partners>, String);

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

pub(crate) struct NoSecrets;

impl Secrets for NoSecrets {
    fn resolve(&self, reference: &SecretRef) -> Result<Secret, AdapterError> {
        let what = format!("no secret `{}`", reference.secret);
        Err(AdapterError::new(ErrorKind::Config, codes::NOT_FOUND, what))
    }
}

pub(crate) struct World {
    pub(crate) store: AnyStore,
    pub(crate) partners: Arc<Partners>,
    _folder: tempfile::TempDir,
}

impl Backend for World {
    fn store(&self) -> AnyStore {
        Arc::clone(&self.store)
    }
}

impl World {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let options = quayside_store_sqlite::Options::default();
        let store = SqliteStore::open(folder.path(), Arc::new(SystemClock), options);
        Self {
            store: Arc::new(store.expect("the folder is free")),
            partners: Arc::default(),
            _folder: folder,
        }
    }

    pub(crate) async fn engine(&self, plan: Plan) -> Engine {
        self.engine_at(scene::name("node-a"), plan).await
    }

    pub(crate) async fn engine_at(&self, node: Name, plan: Plan) -> Engine {
        let engine = self.starts(node, plan).await;
        engine.expect("the plan can run")
    }

    /// An engine, if it takes the plan.
    pub(crate) async fn starts(&self, node: Name, plan: Plan) -> Result<Engine, EngineError> {
        let partner: Arc<dyn Adapter> =
            Arc::new(Partner(Arc::clone(&self.partners), String::new()));
        let options = Options {
            node,
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
        Engine::start(self.store(), plan, options).await
    }

    /// The only run, when it stands so.
    pub(crate) async fn run(&self, state: RunState) -> RunRow {
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

pub(crate) fn port(name: &str, answers: bool) -> SendPort {
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

pub(crate) fn message(name: &str, message_type: &str, xpath: Option<&str>) -> Arc<MessagePlan> {
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
pub(crate) fn application(yaml: &str) -> Plan {
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
pub(crate) fn order(scene: &Scene<'_>, number: &str) -> Publish {
    let body = format!("<Order xmlns='urn:orders'><Number>{number}</Number></Order>");
    with_number(scene.publish(&body, &[RUN]), "urn:orders#Order", number)
}

pub(crate) fn answer(scene: &Scene<'_>, number: &str, decision: &str) -> Publish {
    let body = format!("<Answer><Number>{number}</Number><Decision>{decision}</Decision></Answer>");
    with_number(scene.publish(&body, &[RUN]), "Answer", number)
}

pub(crate) fn with_number(mut publish: Publish, message_type: &str, number: &str) -> Publish {
    let message = Arc::make_mut(&mut publish.message);
    message.message_type = Some(scene::text(message_type));
    message.context.promote_text("Number", number);
    publish
}

pub(crate) async fn events(scene: &Scene<'_>, id: MessageId) -> Vec<String> {
    let way = scene.store.message(id).await.expect("way");
    let history = way.expect("it is stored").history;
    history.iter().map(|row| row.event.to_string()).collect()
}
