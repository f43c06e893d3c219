//! What to run: the applications' configuration in the form that the engine works by.
//!
//! The server reads files and builds a [`Plan`]; the engine never sees a file. Every name is full:
//! `orders.archive` is the send port `archive` of the application `orders`, `orders.orders.web` its
//! receive location `web` of the receive port `orders`.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use quayside_adapter_api::Block;
use quayside_model::{Name, OnOrderFailure, Priority, RetryPolicy, Timestamp};
use quayside_orchestration::{Activation, Definition, Environment};
use quayside_pipeline::{Map, Promotions, Schema};

mod pipeline;
pub use pipeline::{Expects, Parties, Party, ReceivePipeline, SendPipeline};

use crate::{
    filter::{Filter, FilterError},
    outside::Program,
    process::Newer,
    window::ServiceWindow,
};

/// Everything that the hosts of a group run.
#[derive(Debug, Clone, Default)]
pub struct Plan {
    /// The receive ports.
    pub receive: Vec<ReceivePort>,
    /// The send ports.
    pub send: Vec<SendPort>,
    /// The orchestrations.
    pub orchestrations: Vec<OrchestrationPlan>,
    /// The maps, by their names.
    pub maps: BTreeMap<Name, Arc<MapPlan>>,
    /// SHA-256 over the configuration's text, in hex.
    pub hash: String,
    /// The text itself, as it is kept with the version.
    pub text: String,
}

/// A receive port: what its locations have in common.
#[derive(Debug, Clone)]
pub struct ReceivePort {
    /// `APP.PORT`.
    pub name: Name,
    /// The host that runs its locations.
    pub host: Name,
    /// What is done to a body before its content is looked at.
    pub pipeline: ReceivePipeline,
    /// The messages that it expects, and what is promoted from them. Without any, a message passes with
    /// the properties of its transport only, and its content is not looked at.
    pub messages: Vec<Arc<MessagePlan>>,
    /// What happens to a message that does not fit the schema of its type.
    pub validate: Validate,
    /// The maps of which the first that takes a message's type is applied to it; any other message stays as it is.
    pub maps: Vec<PortMap>,
    /// The same for what its senders are answered.
    pub answer_maps: Vec<PortMap>,
    /// Under which key a message is accepted once.
    pub dedupe: DedupePlan,
    /// What happens to a message that nobody subscribes to.
    pub unrouted: Unrouted,
    /// Whether messages go into the store in the order of their arrival, one commit at a time.
    pub ordered: bool,
    /// How long a sender waits for a subscriber's answer; `None`: one-way.
    pub answer_within: Option<Duration>,
    /// How urgent its messages are.
    pub priority: Priority,
    /// Whether a message that fails is published again with `error.*` properties instead of being
    /// suspended; it is suspended all the same if nobody subscribes to it.
    pub publish_failures: bool,
    /// Where it listens or polls.
    pub locations: Vec<Location>,
}

/// A type of message.
#[derive(Debug, Clone)]
pub struct MessagePlan {
    /// `APP.MESSAGE`.
    pub name: Name,
    /// `namespace#root`; `None` takes any.
    pub message_type: Option<String>,
    /// What the prefixes of paths stand for.
    pub namespaces: BTreeMap<String, String>,
    /// What is promoted from the body.
    pub promotions: Promotions,
    /// What the body has to look like.
    pub schema: Option<Schema>,
}

/// A map.
#[derive(Debug, Clone)]
pub struct MapPlan {
    /// `APP.MAP`.
    pub name: Name,
    /// What it does.
    pub way: MapWay,
    /// SHA-256 over its files, in hex.
    pub version: String,
    /// The messages that it is made from, `APP.MESSAGE`, in the order of its sources, where it says so.
    pub from: Option<Vec<Name>>,
    /// The message that it makes, `APP.MESSAGE`, where it says so.
    pub to: Option<Name>,
}

/// How a map makes its document.
#[derive(Debug, Clone)]
pub enum MapWay {
    /// In this process, by what is declared.
    Declared(Map),
    /// In a process of its own.
    Outside(Arc<Program>),
}

/// A map of a port.
#[derive(Debug, Clone)]
pub struct PortMap {
    /// The type of the messages that it is applied to.
    pub message_type: String,
    /// The map.
    pub map: Arc<MapPlan>,
    /// What it makes, where it says so.
    pub to: Option<Arc<MessagePlan>>,
}

/// What happens to a message that does not fit the schema of its type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Validate {
    /// Nobody looks.
    #[default]
    Off,
    /// It goes on, with `validation.result` and `validation.findings`.
    Warn,
    /// It is stored, suspended with the findings, and accepted.
    Suspend,
    /// Nothing is stored and the sender is told; suspended where nobody is there to be told.
    Reject,
}

/// How the dedupe key of a message is found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DedupePlan {
    /// Property names; the first that is present gives the key. Empty: the protocol's own key, if any.
    pub keys: Vec<String>,
    /// How long a key is remembered, at least.
    pub window: Duration,
}

impl Default for DedupePlan {
    fn default() -> Self {
        Self {
            keys: Vec::new(),
            window: Duration::from_secs(86_400),
        }
    }
}

/// What happens to a message that nobody subscribes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Unrouted {
    /// Nothing is stored and the sender is told.
    #[default]
    Reject,
    /// It is stored, suspended with a routing report, and accepted.
    Suspend,
}

/// A receive location.
#[derive(Debug, Clone)]
pub struct Location {
    /// `APP.PORT.LOCATION`.
    pub name: Name,
    /// The adapter's key.
    pub adapter: String,
    /// The adapter's block.
    pub block: Block,
    /// Whether it is enabled unless an operator says otherwise.
    pub enabled: bool,
    /// Not before this moment.
    pub start: Option<Timestamp>,
    /// Not from this moment on.
    pub stop: Option<Timestamp>,
    /// At what times of the week.
    pub window: Option<ServiceWindow>,
    /// How many deliveries may be on their way into the store.
    pub max_in_flight: usize,
    /// After this many failures in a row an instance disables the location and says so.
    pub error_threshold: Option<u32>,
}

/// A send port.
#[derive(Debug, Clone)]
pub struct SendPort {
    /// `APP.PORT`.
    pub name: Name,
    /// The host that sends.
    pub host: Name,
    /// Whether that host is clustered.
    pub clustered: bool,
    /// Its subscription; `None`: none (a member of groups only, or an answering port).
    pub filter: Option<Filter>,
    /// The filters of the groups that it is a member of: each is one more subscription.
    pub group_filters: Vec<(Name, Filter)>,
    /// As at a receive port, before the transport sees a message.
    pub maps: Vec<PortMap>,
    /// What is done to the body then.
    pub pipeline: SendPipeline,
    /// The same for what its partner answers, before anybody sees it.
    pub answer_maps: Vec<PortMap>,
    /// The transport.
    pub primary: TransportPlan,
    /// The transport after the primary's attempts are spent.
    pub backup: Option<TransportPlan>,
    /// Order, if asked for.
    pub ordered: Option<OrderPlan>,
    /// How many sends may be under way at once, in each process.
    pub max_in_flight: usize,
    /// How urgent its deliveries are; `None`: as the receive port says.
    pub priority: Option<Priority>,
    /// At what times of the week it sends.
    pub window: Option<ServiceWindow>,
    /// Whether it brings an answer back to the requester.
    pub answers: bool,
    /// What happens to a delivery that may have been sent by an owner that died.
    pub in_doubt: InDoubt,
    /// Whether a delivery that fails is published with `error.*` properties instead of being suspended.
    pub publish_failures: bool,
    /// How long one attempt may take in all, whatever its adapter does. Then it has failed in doubt.
    pub attempt_timeout: Duration,
}

/// How long an attempt may take unless the port says otherwise: for adapters that never come back. Their
/// own limits, which know what they wait for, are far below it.
pub const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(600);

impl SendPort {
    /// Whether the intent of each send is recorded before it (`reference/store.md` 2), so that of the
    /// claims of a dead owner only those under way are in doubt. Elsewhere the claim is the intent.
    #[must_use]
    pub fn marks_sends(&self) -> bool {
        self.ordered.is_some() || self.clustered || self.in_doubt == InDoubt::Hold
    }
}

/// What happens to a delivery that may have been sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum InDoubt {
    /// It is sent again under the same id.
    #[default]
    Resend,
    /// It is suspended for an operator.
    Hold,
}

/// A transport of a send port.
#[derive(Debug, Clone)]
pub struct TransportPlan {
    /// The adapter's key.
    pub adapter: String,
    /// The adapter's block.
    pub block: Block,
    /// Its schedule of attempts.
    pub retry: RetryPolicy,
}

/// Order by a property.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrderPlan {
    /// The property whose value is the key; a message without it is of the empty key.
    pub by: String,
    /// What happens behind a delivery that failed.
    pub on_failure: OnOrderFailure,
    /// How many lanes the keys fall into.
    pub lanes: u16,
}

/// An orchestration: a durable process, whose instances any process of its host finishes.
#[derive(Debug, Clone)]
pub struct OrchestrationPlan {
    /// `APP.NAME`, which is the name of its subscription too.
    pub name: Name,
    /// The host that runs it.
    pub host: Name,
    /// The checked definition, to which new instances are bound.
    pub definition: Arc<Definition>,
    /// Its text, kept for as long as an instance is bound to it.
    pub source: String,
    /// What it was checked against, kept with the text.
    pub environment: Environment,
    /// Which messages it wants: those that start an instance, and those that may follow.
    pub subscription: Filter,
    /// What starts an instance, with its filter.
    pub activations: Vec<(Activation, Option<Filter>)>,
    /// The messages of its application.
    pub messages: Vec<Arc<MessagePlan>>,
    /// Earlier definitions that live instances are bound to: messages still find these.
    pub older: Vec<Arc<Definition>>,
    /// The maps of its application, by their full names.
    pub maps: BTreeMap<Name, Arc<MapPlan>>,
    /// What is known of the definitions that came after it.
    pub(crate) newer: Arc<Newer>,
}

impl OrchestrationPlan {
    /// Prepares a checked definition.
    ///
    /// # Errors
    /// Filters of its receives that cannot be compiled, each with the name of the step.
    pub fn new(
        name: Name,
        host: Name,
        definition: Definition,
        source: String,
        environment: Environment,
        (messages, maps): (Vec<Arc<MessagePlan>>, BTreeMap<Name, Arc<MapPlan>>),
    ) -> Result<Self, Vec<(Name, FilterError)>> {
        let (mut activations, mut faults) = (Vec::new(), Vec::new());
        for activation in definition.activations() {
            match activation
                .filter
                .as_deref()
                .map(Filter::compile)
                .transpose()
            {
                Ok(filter) => activations.push((activation, filter)),
                Err(error) => faults.push((activation.step, error)),
            }
        }
        if !faults.is_empty() {
            return Err(faults);
        }
        let subscription = subscription(&definition, &[]);
        let subscription = subscription.map_err(|error| vec![(name.clone(), error)])?;
        Ok(Self {
            name,
            host,
            definition: Arc::new(definition),
            source,
            environment,
            subscription,
            activations,
            messages,
            older: Vec::new(),
            maps,
            newer: Arc::default(),
        })
    }

    /// Lets messages find instances of `older` definitions, too.
    ///
    /// # Errors
    /// The filter cannot be compiled.
    pub fn remember(&mut self, older: Vec<Arc<Definition>>) -> Result<(), FilterError> {
        self.subscription = subscription(&self.definition, &older)?;
        self.older = older;
        Ok(())
    }

    /// The port of the worker `local`.
    #[must_use]
    pub fn worker(&self, local: &Name) -> Name {
        let of_worker = Name::new(format!("worker.{local}"));
        of_worker.map_or_else(|_| local.clone(), |name| self.full(&name))
    }

    /// The full name of what the definition calls `local`: a port, a map or another orchestration.
    #[must_use]
    pub fn full(&self, local: &Name) -> Name {
        let app = self.name.split_once('.').map_or("", |(app, _)| app);
        Name::new(format!("{app}.{local}")).unwrap_or_else(|_| local.clone())
    }
}

/// Which messages a definition wants, and what instances of older ones may wait for.
fn subscription(definition: &Definition, older: &[Arc<Definition>]) -> Result<Filter, FilterError> {
    let mut terms = Vec::new();
    for activation in definition.activations() {
        let of_type = format!("msg.type == {}", quoted(&activation.message_type));
        terms.push(match &activation.filter {
            Some(filter) => format!("({of_type} && ({filter}))"),
            None => of_type,
        });
    }
    let all = std::iter::once(definition).chain(older.iter().map(|one| &**one));
    let types: BTreeSet<_> = all
        .flat_map(|one| one.correlations())
        .flat_map(|correlation| correlation.types)
        .collect();
    terms.extend(types.iter().map(|of| format!("msg.type == {}", quoted(of))));
    Filter::compile(&terms.join(" || "))
}

/// `text` as a literal of a filter.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"))
}
