//! Reading for people: messages, deliveries, their way.

use async_trait::async_trait;
use bytes::Bytes;
use quayside_lease::Epoch;
use quayside_model::{
    Context, DeliveryId, DeliveryState, Failure, InstanceId, Message, MessageId, Name, Text,
    Timestamp, Transport,
};
use serde::{Deserialize, Serialize};

use crate::StoreError;

/// The most rows of one page, whatever was asked for.
pub const MAX_PAGE: u32 = 1000;
/// The most deliveries and events of one message that are shown.
pub const MAX_WAY: u32 = 10_000;

/// Queries. They never block the hot path and may lag it by a moment.
#[async_trait]
pub trait Browse: Send + Sync {
    /// Messages that fit `filter`, newest first, at most `limit`, older than `before` (keyset paging:
    /// pass the last id of the page before).
    async fn messages(
        &self,
        filter: &MessageFilter,
        before: Option<MessageId>,
        limit: u32,
    ) -> Result<Vec<MessageRow>, StoreError>;

    /// The whole way of one message. `None` after retention, or if there never was one.
    async fn message(&self, id: MessageId) -> Result<Option<MessageWay>, StoreError>;

    /// The message itself, inline parts included; parts that retention has removed are empty.
    async fn load(&self, id: MessageId) -> Result<Option<Message>, StoreError>;

    /// Live deliveries that fit `filter`, in the order of their ids, at most `limit`, after `after`.
    async fn deliveries(
        &self,
        filter: &DeliveryFilter,
        after: Option<DeliveryId>,
        limit: u32,
    ) -> Result<Vec<DeliveryRow>, StoreError>;

    /// Live deliveries in doubt, of `ports` alone if these are given, in the order of their ids, at most `limit`,
    /// after `after`.
    async fn doubts(
        &self,
        ports: Option<&[Name]>,
        after: Option<DeliveryId>,
        limit: u32,
    ) -> Result<Vec<DoubtRow>, StoreError>;

    /// The answers that have arrived for `exchanges`.
    async fn answers(
        &self,
        exchanges: &[quayside_model::ExchangeId],
    ) -> Result<Vec<ArrivedAnswer>, StoreError>;

    /// How many live deliveries each port has, counting at most `cap` of each state.
    async fn backlog(&self, cap: u32) -> Result<Vec<PortBacklog>, StoreError>;
}

/// Which messages.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MessageFilter {
    /// Received by this location, or by any of this port or application (a prefix that ends at a dot).
    pub origin: Option<Text>,
    /// Of this type.
    pub message_type: Option<Text>,
    /// With a live delivery in this state.
    pub state: Option<DeliveryState>,
    /// With a live delivery for this port.
    pub port: Option<Name>,
    /// Received at or after this moment.
    pub since: Option<Timestamp>,
    /// Received before this moment.
    pub until: Option<Timestamp>,
}

/// A message in a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MessageRow {
    /// Its id.
    pub id: MessageId,
    /// When it was received.
    pub received_at: Timestamp,
    /// Where from.
    pub origin: Text,
    /// Its type.
    pub message_type: Option<Text>,
    /// The length of its body in bytes.
    pub body_len: u64,
    /// How many deliveries it had in all.
    pub deliveries: u32,
    /// How many of them have not ended.
    pub live: u32,
    /// How many of those are suspended.
    pub suspended: u32,
    /// How many were ended by an operator.
    pub terminated: u32,
    /// How many ended because they failed and their failure was published as a message of its own. The
    /// others that are not live any more reached their target.
    pub failed: u32,
}

/// What stands in the detail of a delivery that ended as consumed because its failure was published: behind
/// the code, before the id of the message that tells of it. The statements that count these know it too.
pub const FAILURE_PUBLISHED: &str = ": published as failed message ";

/// What an entry of history ends with behind which a delivery may reach its partner once more: a failed attempt in doubt,
/// and the death of an owner that had begun to send. Statements of the stores say it too.
pub const MAY_HAVE_BEEN_SENT: &str = "; it may have been sent";

/// What a message as a whole has come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MessageState {
    /// Nobody subscribed to it.
    Unrouted,
    /// A delivery of it waits for an operator.
    Suspended,
    /// Deliveries of it are on their way.
    Open,
    /// No delivery of it is left, but one failed, and its failure was published as a message of its own.
    Failed,
    /// Each delivery of it reached its target.
    Delivered,
    /// An operator ended some of its deliveries; the others reached their target.
    PartlyTerminated,
    /// An operator ended all of its deliveries.
    Terminated,
}

impl MessageRow {
    /// What the message as a whole has come to.
    #[must_use]
    pub fn state(&self) -> MessageState {
        match self {
            Self { deliveries: 0, .. } => MessageState::Unrouted,
            Self { suspended: 1.., .. } => MessageState::Suspended,
            Self { live: 1.., .. } => MessageState::Open,
            Self { failed: 1.., .. } => MessageState::Failed,
            Self { terminated: 0, .. } => MessageState::Delivered,
            row if row.terminated < row.deliveries => MessageState::PartlyTerminated,
            _ => MessageState::Terminated,
        }
    }
}

/// The whole way of a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MessageWay {
    /// What a list says of it.
    #[serde(flatten)]
    pub row: MessageRow,
    /// Its properties.
    pub context: Context,
    /// The media type of its body.
    pub content_type: Option<Text>,
    /// The version of the configuration that routed it.
    pub config_version: i64,
    /// Its deliveries that have not ended.
    pub live_deliveries: Vec<DeliveryRow>,
    /// What was recorded of it, oldest first.
    pub history: Vec<HistoryRow>,
}

/// Which live deliveries.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DeliveryFilter {
    /// In this state.
    pub state: Option<DeliveryState>,
    /// For this port.
    pub port: Option<Name>,
    /// Of this message.
    pub message: Option<MessageId>,
    /// Held or once held by an owner that died.
    pub in_doubt: Option<bool>,
}

/// A live delivery.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeliveryRow {
    /// Its id.
    pub id: DeliveryId,
    /// Its port.
    pub port: Name,
    /// Where it stands.
    pub state: DeliveryState,
    /// The transport that is next.
    pub transport: Transport,
    /// How many attempts of that transport were made.
    pub attempts: u32,
    /// When it is due.
    pub due: Timestamp,
    /// Who holds it.
    pub instance: Option<InstanceId>,
    /// Whether an owner died while holding it.
    pub in_doubt: bool,
    /// What the engine rendered for it.
    pub rendered: Option<Text>,
    /// Why the last attempt failed.
    pub failure: Option<Failure>,
    /// Which earlier delivery of its order key it waits behind. Told with the way of its message, not in
    /// lists.
    pub behind: Option<DeliveryId>,
}

/// A live delivery in doubt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DoubtRow {
    /// The delivery.
    pub delivery: DeliveryRow,
    /// The properties of its message: its order key is one of them.
    pub context: Context,
    /// What is known of the owner that died. `None`: none did; an attempt came to no answer, or the store was restored.
    pub owner: Option<LostOwner>,
    /// When the store was restored from a backup that had it open.
    pub restored_at: Option<Timestamp>,
}

/// An owner that died while it sent a delivery. A store that is for one process knows no more than the last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LostOwner {
    /// Which process it was.
    pub instance: Option<InstanceId>,
    /// On which node.
    pub node: Option<Name>,
    /// The epoch in which it had its clustered host, under an agent.
    pub epoch: Option<Epoch>,
    /// When the send began, by the store's clock.
    pub begun_at: Option<Timestamp>,
    /// When the delivery was taken from it, by the store's clock.
    pub released_at: Timestamp,
}

/// One recorded event of a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistoryRow {
    /// When.
    pub at: Timestamp,
    /// `sent`, `sent-by-backup`, `consumed`, `terminated`: ends. `attempt-failed` (of a long row only
    /// every doubling), `failed-over` (the backup is next), `suspended`, `resumed`, `released` (its owner
    /// died). `duplicate`, `resubmitted` (the detail begins with the id of the copy), `unrouted` (published
    /// with no delivery): of the message as a whole.
    pub event: Text,
    /// The port, where one took part.
    pub port: Option<Name>,
    /// Which delivery, where one took part.
    pub no: Option<u16>,
    /// How many attempts it took in all.
    pub attempts: u32,
    /// What an operator may want to know. Of failures: the code, a colon, the cause. Whatever may reach the partner
    /// once more says so with [`MAY_HAVE_BEEN_SENT`].
    pub detail: Text,
}

/// An answer that has arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArrivedAnswer {
    /// Which request.
    pub exchange: quayside_model::ExchangeId,
    /// The partner's status.
    pub status: u16,
    /// The media type of the body.
    pub content_type: Option<Text>,
    /// The body.
    pub body: Bytes,
}

/// How much waits for a port.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortBacklog {
    /// The port.
    pub port: Name,
    /// Ready, due or not; capped.
    pub ready: u32,
    /// In some instance's hands; capped.
    pub claimed: u32,
    /// Behind an earlier one of their key; capped.
    pub held: u32,
    /// Suspended; capped.
    pub suspended: u32,
}
