//! What an adapter is, in one file. Read it top to bottom and you can write one.
//!
//! An adapter turns a protocol into messages and messages into a protocol. It moves bytes and tells
//! truths about them; the engine does the rest: it stores, routes, retries, reconnects, backs off,
//! bounds, measures, renders templates and stops. So an adapter never retries, never spawns a task
//! that outlives the value it returned, and never answers its partner before it is told to.
//!
//! Four traits: [`Adapter`] opens the others from a configuration block; [`Receive`] yields
//! [`Delivery`]s; [`Settle`] answers the partner of one delivery; [`Transmit`] sends one message.
//! A crate holds `config`, `receive`, `send`, `client`, `error` and a README with the guarantee it
//! gives per target; `tests/conformance` has the suite that it must pass.

use std::{collections::BTreeMap, fmt, pin::Pin, sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::Stream;

pub mod config;
mod debug;
pub mod error;
pub mod services;
pub mod units;

pub use config::{Block, parse};
pub use error::{AdapterError, ErrorKind};
pub use quayside_model as model;
pub use services::{PendingSource, SecretRef, Secrets, Services, Sources};
pub use units::{ByteSize, Span};

use model::{Code, Context, DeliveryId, Fault, Message, MessageId, Name, Text};

/// An adapter: named by its key in the configuration, as in `[send.erp.primary.http]`.
#[async_trait]
pub trait Adapter: Send + Sync + fmt::Debug {
    /// The key, such as `http`.
    fn name(&self) -> &'static str;

    /// Every fault of a receive location's block, without touching the network or the disk.
    fn check_receive(&self, block: &Block) -> Vec<Fault>;

    /// Every fault of a send transport's block, likewise.
    fn check_send(&self, block: &Block) -> Vec<Fault>;

    /// The settings of a send block whose value is a template, by key. The engine renders them from the
    /// message when it publishes and keeps the result, so every attempt sees the same values in
    /// [`Outbound::rendered`].
    fn templates(&self, block: &Block) -> BTreeMap<String, String>;

    /// Starts to listen or poll for the location `name`.
    async fn open_receive(
        &self,
        name: &Name,
        block: &Block,
        services: Services,
    ) -> Result<Box<dyn Receive>, AdapterError>;

    /// Prepares to send for the port `name`. Connects lazily: a partner that is down is no fault here.
    async fn open_send(
        &self,
        name: &Name,
        block: &Block,
        services: Services,
    ) -> Result<Arc<dyn Transmit>, AdapterError>;
}

/// An open receive location.
#[async_trait]
pub trait Receive: Send {
    /// The next delivery. The engine calls it again only when it has room, so that waiting here is how
    /// back-pressure reaches the source. Dropping the future must lose nothing.
    async fn receive(&mut self) -> Result<Delivery, AdapterError>;

    /// Takes nothing new from now on and returns when the partners can see it. Deliveries that were
    /// given out are still settled.
    async fn close(&mut self);
}

/// The bytes of a body, in pieces. An error ends it, and then nothing of it is stored.
pub type Body = Pin<Box<dyn Stream<Item = Result<Bytes, AdapterError>> + Send>>;

/// One thing that arrived, not yet accepted.
pub struct Delivery {
    /// Its properties, `http.method` or `file.name`; nothing of its content.
    pub context: Context,
    /// Its media type, as the sender gave it.
    pub content_type: Option<Text>,
    /// Its body.
    pub body: Body,
    /// The key that the protocol itself gives it, if it gives one, with the scope that it is unique in
    /// (the credential, say). Used unless the receive port names another key.
    pub key: Option<NaturalKey>,
    /// The mark to commit with the message, if something at the source has to be cleaned up after it.
    pub source: Option<Source>,
    /// What the sender waits for.
    pub reply: Reply,
    /// How to answer. Dropping it unanswered means: nothing is known to be stored.
    pub settle: Box<dyn Settle>,
}

/// A dedupe key that comes with the protocol.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NaturalKey {
    /// Within which it is unique, beside the location.
    pub scope: Text,
    /// The key.
    pub key: Text,
}

/// A mark at the source, handed back by [`Sources::pending`] until it is settled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// Unique in the location.
    pub key: Text,
    /// What the adapter needs to settle it.
    pub state: Text,
}

/// What a sender waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reply {
    /// For nothing: what cannot be accepted is suspended, because nobody is there to refuse it to.
    Nothing,
    /// For the word that it is accepted or refused.
    Receipt,
    /// For the answer of a subscriber, at most this long.
    Answer(Duration),
}

/// Answers the partner of one delivery, once.
#[async_trait]
pub trait Settle: Send {
    /// The message is durably stored. An error means that the source could not be cleaned up; the
    /// message stays accepted.
    async fn accept(self: Box<Self>, accepted: Accepted) -> Result<(), AdapterError>;

    /// Nothing is stored.
    async fn reject(self: Box<Self>, rejected: Rejected);
}

/// Why a delivery counts as accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accepted {
    /// The message; of a repeat, the one that was first.
    pub message: MessageId,
    /// Whether this is a repeat of an earlier delivery.
    pub replayed: bool,
    /// The answer, where one was waited for.
    pub answer: Option<Answer>,
}

/// What a subscriber answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The partner's status, in the words of the adapter that sent.
    pub status: u16,
    /// Its media type.
    pub content_type: Option<Text>,
    /// Its body.
    pub body: Bytes,
}

/// Why a delivery is not accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejected {
    /// What the sender can do.
    pub kind: RejectKind,
    /// The stable code.
    pub code: Code,
    /// The cause, for a person at the sender's side: no inner details.
    pub detail: String,
    /// When to try again, where that helps.
    pub retry_after: Option<Duration>,
}

/// What a sender can do about a rejection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RejectKind {
    /// Correct the content.
    Invalid,
    /// Send less.
    TooLarge,
    /// Use a new key: this one stood for another request.
    KeyReused,
    /// Ask again: the first request of this key has no answer yet.
    InProgress,
    /// Slow down.
    Overloaded,
    /// Try again: the gateway cannot store anything now.
    Unavailable,
    /// Ask again with the same key: the subscriber did not answer in time, the request goes on.
    NoAnswer,
}

/// An open send transport. Shared by all sends of its port; the port's window bounds how many.
#[async_trait]
pub trait Transmit: Send + Sync {
    /// Sends one message and returns when the partner has taken it for good. Calls
    /// [`Outbound::may_act`] right before the effect and gives up if it says no.
    async fn send(&self, outbound: Outbound) -> Result<Sent, AdapterError>;

    /// Connects, authenticates and looks whether the target exists; changes nothing. Says what it saw.
    async fn test(&self) -> Result<String, AdapterError>;
}

/// One message to be sent.
pub struct Outbound {
    /// The delivery: the stable id of all attempts on all nodes.
    pub delivery: DeliveryId,
    /// The message; large bodies only through [`Outbound::body`].
    pub message: Arc<Message>,
    /// Opens the body from its first byte, as often as needed.
    pub open: Arc<dyn Fn() -> Body + Send + Sync>,
    /// The rendered templates, by key of the setting.
    pub rendered: BTreeMap<String, Text>,
    /// Whether an earlier attempt may have had its effect: look before you repeat it, if you can.
    pub in_doubt: bool,
    /// Whether the answer is wanted: then [`Sent::answer`] must be there.
    pub answer_wanted: bool,
    /// Whether this process still may act; see [`Outbound::may_act`].
    pub guard: Arc<dyn Fn() -> bool + Send + Sync>,
}

impl Outbound {
    /// The body from its first byte.
    #[must_use]
    pub fn body(&self) -> Body {
        (self.open)()
    }

    /// Whether this process is still trusted to act. A process that was paused beyond its lease is not.
    #[must_use]
    pub fn may_act(&self) -> bool {
        (self.guard)()
    }
}

/// A message that the partner has taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sent {
    /// What an operator may want to know: a status, a final name.
    pub detail: Text,
    /// The answer, where one was wanted.
    pub answer: Option<Answer>,
}
