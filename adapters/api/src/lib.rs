//! What an adapter is, in one file. Read it top to bottom and you can write one.
//!
//! An adapter turns a protocol into messages and messages into a protocol. It moves bytes and tells
//! truths about them; the engine does the rest: it stores, routes, retries, reconnects, backs off,
//! bounds, measures, renders templates and stops. So an adapter never retries, never spawns a task
//! that outlives the value it returned, and never answers its partner before it is told to. One that works
//! over a standing connection may build it anew while it waits in `receive` or `send`, as `adapters/amqp`
//! does, and says in [`Services::condition`] that it is not connected.
//!
//! Four traits: [`Adapter`] opens the others from a configuration block; [`Receive`] yields
//! [`Delivery`]s; [`Settle`] answers the partner of one delivery; [`Transmit`] sends one message.
//! A crate holds `config`, `receive`, `send`, `client`, `error` and a README with the guarantee it
//! gives per target; `tests/conformance` has the suite that it must pass.

use std::{collections::BTreeMap, fmt, pin::Pin, sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::Stream;

pub mod condition;
pub mod config;
mod debug;
pub mod error;
pub mod keys;
pub mod partner;
pub mod run;
pub mod services;
pub mod units;
pub mod verdict;

pub use condition::{Condition, Trouble, TroubleKind};
pub use config::{Block, SendTerms, Terms, parse};
pub use error::{AdapterError, ErrorKind};
pub use keys::{NaturalKey, Source};
pub use partner::Partner;
pub use quayside_model as model;
pub use run::RunEnd;
pub use services::{Messages, PendingSource, SecretRef, Secrets, Services, Sources, Standing};
pub use units::{ByteSize, Span};
pub use verdict::{Accepted, Answer, RECEIPT_WITHIN, RejectKind, Rejected, Resting};

use model::{Context, DeliveryId, Fault, Message, Monotonic, Name, Text};

/// An adapter: named by its key in the configuration, as in `[send.erp.primary.http]`.
#[async_trait]
pub trait Adapter: Send + Sync + fmt::Debug {
    /// The key, such as `http`.
    fn name(&self) -> &'static str;

    /// Every fault of a receive location's block, without touching the network or the disk.
    fn check_receive(&self, block: &Block, terms: &Terms) -> Vec<Fault>;

    /// Every fault of a send transport's block, likewise.
    fn check_send(&self, block: &Block, terms: &SendTerms) -> Vec<Fault>;

    /// The settings of a send block whose value is a template, by key. The engine renders them from the
    /// message when it publishes and keeps the result, so every attempt sees the same values in
    /// [`Outbound::rendered`].
    fn templates(&self, block: &Block) -> BTreeMap<String, String>;

    /// Whether a location that rests is opened all the same, and closed at once, so that its partners are
    /// told why instead of finding nobody.
    fn speaks_at_rest(&self) -> bool {
        false
    }

    /// Whether a location of a host that another process runs is opened already, to [`Receive::prepare`] for its
    /// turn. Opening alone must take nothing from the source then, and keep nobody else from it.
    fn prepares(&self) -> bool {
        false
    }

    /// Starts to listen or poll for the location `name`.
    async fn open_receive(
        &self,
        name: &Name,
        block: &Block,
        terms: &Terms,
        services: Services,
    ) -> Result<Box<dyn Receive>, AdapterError>;

    /// Prepares to send for the port `name`. Connects lazily: a partner that is down is no fault here.
    async fn open_send(
        &self,
        name: &Name,
        block: &Block,
        services: Services,
    ) -> Result<Arc<dyn Transmit>, AdapterError>;

    /// The system behind a block, if a clustered host is to move when its node alone cannot reach it.
    fn partner(&self, _: &Name, _: &Block, _: Services) -> Option<Arc<dyn Partner>> {
        None
    }
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

    /// Told before it closes to rest, and now and then as long as it does.
    fn rests(&mut self, _why: Resting) {}

    /// Gets ready what takes time, such as a connection, and takes nothing. Called again and again while another
    /// process runs the host. What fails is tried again, and told by [`Receive::receive`]. Dropping the future must
    /// lose nothing.
    async fn prepare(&mut self) {}
}

/// The bytes of a body, in pieces. An error ends it, and then nothing of it is stored.
pub type Body = Pin<Box<dyn Stream<Item = Result<Bytes, AdapterError>> + Send>>;

/// What arrived at once, not yet accepted.
pub struct Delivery {
    /// When it was handed to the engine, by [`Services::clock`]. At most [`RECEIPT_WITHIN`] later its sender
    /// has a receipt or is told to come back; only the time that the body takes to come is not counted.
    /// The engine cannot answer what it has not taken yet: who keeps a queue answers for it likewise.
    pub arrived: Monotonic,
    /// The message.
    pub message: Incoming,
    /// The messages that came with it, in order. All of them are stored together with it, or none is.
    pub others: Vec<Incoming>,
    /// The mark to commit with it, if something at the source has to be cleaned up after it.
    pub source: Option<Source>,
    /// What the sender waits for. Of several messages none can be answered, only receipted.
    pub reply: Reply,
    /// Whether an operator may resume what of it has to be suspended.
    pub resumable: bool,
    /// How to answer. Dropping it unanswered means: nothing is known to be stored.
    pub settle: Box<dyn Settle>,
}

/// One message that arrived.
pub struct Incoming {
    /// Its properties, `http.method` or `file.name`; nothing of its content.
    pub context: Context,
    /// Its media type, as the sender gave it.
    pub content_type: Option<Text>,
    /// Its body. Of several messages that come together each must be there already.
    pub body: Body,
    /// The key that the protocol itself gives it, if it gives one, with the scope that it is unique in
    /// (the credential, say). Used unless the receive port names another key.
    pub key: Option<NaturalKey>,
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

/// An open send transport. Shared by all sends of its port; the port's window bounds how many.
#[async_trait]
pub trait Transmit: Send + Sync {
    /// Sends one message and returns when the partner has taken it for good. Calls
    /// [`Outbound::may_act`] right before the effect and gives up if it says no.
    async fn send(&self, outbound: Outbound) -> Result<Sent, AdapterError>;

    /// How many messages of one order key [`Transmit::send_run`] takes at most: more than 1 promises that the
    /// partner gets them in their order while several are under way.
    fn longest_run(&self) -> usize {
        1
    }

    /// Sends messages of one order key, in their order, without waiting for the end of one before the next
    /// begins. Once one has failed nothing behind it counts as sent: all of it comes again, from the failed
    /// one on. Only called with as many as [`Transmit::longest_run`] allows, never where an answer is wanted.
    async fn send_run(&self, run: Vec<Outbound>) -> RunEnd {
        let mut sent = Vec::with_capacity(run.len());
        for outbound in run {
            match self.send(outbound).await {
                Ok(one) => sent.push(one),
                Err(error) => return RunEnd::until(sent, error, 0),
            }
        }
        RunEnd::all(sent)
    }

    /// Gets ready what takes time, such as a connection, and sends nothing: see [`Receive::prepare`].
    async fn prepare(&self) {}

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
    /// The epoch of a clustered host: a target that refuses a lower one than it has seen is safe from late owners.
    pub epoch: Option<i64>,
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
