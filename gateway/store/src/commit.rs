//! Publishing messages and settling deliveries: the hot path, one transaction per batch.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use quayside_model::{
    Claim, DedupeKey, EndResult, ExchangeId, Failure, InstanceId, Message, MessageId, Name, Part,
    Priority, RunId, Text, Timestamp, Transport,
};

use crate::{
    Claimed, StoreError,
    runs::{Enter, EnterOutcome, Step, StepOutcome},
    work::NewLease,
};

/// Publishing and settling.
#[async_trait]
pub trait Commit: Send + Sync {
    /// Runs `ops` in one transaction by `instance` and returns one outcome for each, in order. Durable
    /// when it returns `Ok`. If `instance` is not live, every outcome is `Fenced` and nothing is written.
    ///
    /// Running the same batch again is safe: a message that is already stored under its id gives
    /// [`PublishOutcome::Stored`] again, and a settlement that already happened gives
    /// [`SettleOutcome::Done`] as long as nobody claimed the delivery since.
    ///
    /// # Errors
    /// [`StoreError`]; nothing of the batch happened, except with
    /// [`Unknown`](crate::StoreErrorKind::Unknown), where all or none of it did.
    async fn commit(&self, instance: InstanceId, ops: &[Op]) -> Result<Vec<Outcome>, StoreError>;

    /// Runs the group `ops` by `instance`: all of it in one transaction of its own, or nothing. Durable
    /// when it returns `Ok` with [`GroupOutcome::Done`]. Dearer than [`commit`](Commit::commit), so only
    /// for what must not come apart, such as the end of a delivery and the message that takes its place.
    ///
    /// Running the same group again is safe in the way of [`commit`](Commit::commit).
    ///
    /// # Errors
    /// [`StoreError`]; nothing of the group happened, except with
    /// [`Unknown`](crate::StoreErrorKind::Unknown), where all or none of it did.
    async fn commit_group(
        &self,
        instance: InstanceId,
        ops: &[Op],
    ) -> Result<GroupOutcome, StoreError>;
}

/// One item of a batch.
#[derive(Debug, Clone)]
pub enum Op {
    /// Store a message with all that comes of it.
    Publish(Box<Publish>),
    /// Change a delivery that the instance holds.
    Settle(Claim, Change),
    /// Claim the head of an order key, and what stands right behind it, as about to be sent, by what the items
    /// before it have made of the key: in a lane the commit that ends some deliveries records the intent of
    /// the next. Not in a group.
    Next(Next),
    /// A step of an orchestration instance. In a group only, the publications that belong to it behind it, and before
    /// it the entrance of the message that starts the instance.
    Step(Box<Step>),
    /// A claimed delivery enters an orchestration instance. In a group only.
    Enter(Enter),
}

/// An order key whose first deliveries are wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Next {
    /// The ordered port.
    pub port: Name,
    /// The key; the instance must own its lane.
    pub order: OrderKey,
    /// At most this many. More than one only for whoever keeps their order while they are under way together.
    pub most: u32,
}

/// A message with its dedupe key and its deliveries: all or none of it is stored.
#[derive(Debug, Clone)]
pub struct Publish {
    /// The message. Bodies kept in chunks are sealed here and must be the instance's own.
    pub message: Arc<Message>,
    /// The version of the configuration by which it was routed.
    pub config_version: i64,
    /// Which of the 4,096 slots its key falls into (`reference/store.md` 5).
    pub slot: u16,
    /// The key under which it is accepted once.
    pub dedupe: Option<DedupeKey>,
    /// One for each subscriber, numbered by their place.
    pub deliveries: Vec<NewDelivery>,
    /// The request that waits for an answer to it.
    pub exchange: Option<NewExchange>,
    /// What the receiving adapter has to clean up at its source after the commit.
    pub source: Option<NewSource>,
}

/// A delivery to be made.
#[derive(Debug, Clone)]
pub struct NewDelivery {
    /// The subscriber.
    pub port: Name,
    /// Its place in the queue of the port.
    pub priority: Priority,
    /// How it is born.
    pub birth: Birth,
    /// Its order key, on an ordered port.
    pub order: Option<OrderKey>,
    /// What the engine rendered from the port's templates, as JSON: kept, so that every attempt on every
    /// node uses the same names even if the configuration changes in between.
    pub rendered: Option<Text>,
}

/// How a delivery is born.
#[derive(Debug, Clone)]
pub enum Birth {
    /// For anyone with room.
    Ready,
    /// Handed to the publishing instance, which has room for it. On an ordered port the store makes it
    /// so only if the instance owns the lane and no earlier row of the key lives; see
    /// [`PublishOutcome::Stored`].
    Claimed,
    /// Out of the flow at once, for an operator.
    Suspended(Failure),
    /// Kept by an orchestration instance that made it, or got it as an answer, until it is named among the
    /// [consumed](crate::runs::Step::consumed).
    Kept(RunId),
}

/// The full key of an ordered delivery, and the lane that it falls into.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct OrderKey {
    /// The lane, below the port's count of lanes.
    pub lane: u16,
    /// 16 bytes of SHA-256 over the key's value.
    pub hash: [u8; 16],
}

/// A request that waits for an answer.
#[derive(Debug, Clone, Copy)]
pub struct NewExchange {
    /// Its id; the answer names it.
    pub id: ExchangeId,
    /// How long its row is kept from now on, answered or not.
    pub keep: Duration,
    /// The orchestration instance that waits for what becomes of the message: it is woken by the answer, by the
    /// end of the delivery and by its suspension, and [closes](crate::runs::Step::closed) the row. If it has opened
    /// this exchange before, that now stands for the new message, and an earlier answer is gone.
    pub run: Option<RunId>,
    /// The message asks a program that works under a lease: see [`work`](crate::work). Asked once more it has the new
    /// lease, and an answer that has come meanwhile stays.
    pub lease: Option<NewLease>,
}

/// A mark at the source that has to be cleaned up after the commit, such as a file to be removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewSource {
    /// The receive location.
    pub location: Name,
    /// What the adapter calls the thing, unique in its location.
    pub key: Text,
    /// What the adapter needs to settle it.
    pub state: Text,
}

/// What becomes of a delivery.
#[derive(Debug, Clone)]
pub enum Change {
    /// It ends.
    End {
        /// How.
        result: EndResult,
        /// How many attempts were made in all.
        attempts: u32,
        /// What an operator may want to know, such as the partner's status.
        detail: Text,
        /// The answer to the request that the message was.
        answer: Option<Box<Answer>>,
    },
    /// It is tried again after `wait`.
    Retry {
        /// From now, by the store's clock.
        wait: Duration,
        /// By which transport.
        transport: Transport,
        /// How many attempts of that transport were made.
        attempts: u32,
        /// Why the last one failed.
        failure: Failure,
        /// Whether the last one may have had its effect all the same. A delivery once in doubt stays so.
        in_doubt: bool,
    },
    /// It leaves the flow until an operator acts.
    Suspend {
        /// How many attempts of the current transport were made.
        attempts: u32,
        /// Why.
        failure: Failure,
        /// On an ordered port: whether its key waits for it. `false` is `skip`: the next of the key goes,
        /// and this one has lost its place for good: resumed, it is claimed with no order key.
        hold_key: bool,
        /// Whether the last attempt may have had its effect all the same. A delivery once in doubt stays so.
        in_doubt: bool,
    },
    /// It is given back untouched: nothing was sent.
    Release,
    /// It is about to be sent: the intent is recorded, and the claim goes on. Wanted before the send of
    /// what was claimed with [`Want::marks`](crate::Want::marks); of what was born claimed the birth is
    /// the intent. Recorded again it stays recorded.
    Sending,
}

/// An answer to a request.
#[derive(Debug, Clone)]
pub struct Answer {
    /// Which request.
    pub exchange: ExchangeId,
    /// The partner's status, in the words of the adapter that got it.
    pub status: u16,
    /// Its body, inline.
    pub body: Part,
}

/// What became of an item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Of [`Op::Publish`].
    Published(PublishOutcome),
    /// Of [`Op::Settle`].
    Settled(SettleOutcome),
    /// Of [`Op::Next`]: the head and those right behind it, in their order, their intents recorded, up to the
    /// first that is not due or not free. Empty if the head is such, and when an earlier run of the batch
    /// has claimed it, of whose claim nobody was told then.
    Next(Vec<Claimed>),
    /// Of [`Op::Step`].
    Stepped(StepOutcome),
    /// Of [`Op::Enter`].
    Entered(EnterOutcome),
}

impl Outcome {
    /// Whether the member of a group is as it was wanted: stored, a repeat of what is stored, or done.
    #[must_use]
    pub fn is_fine(&self) -> bool {
        match self {
            Self::Published(outcome) => matches!(
                outcome,
                PublishOutcome::Stored { .. } | PublishOutcome::Duplicate(_)
            ),
            Self::Settled(outcome) => *outcome == SettleOutcome::Done,
            Self::Next(_) => true,
            Self::Stepped(outcome) => {
                matches!(outcome, StepOutcome::Done | StepOutcome::GivenBack)
            }
            Self::Entered(outcome) => matches!(outcome, EnterOutcome::Entered(_)),
        }
    }
}

/// What became of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GroupOutcome {
    /// All of it is durable. One outcome per member, in order, each of them
    /// [fine](Outcome::is_fine). A `Duplicate` is fine: what was wanted of it is there.
    Done(Vec<Outcome>),
    /// Nothing of it was written, not even the members before this one. The others have no outcome: they
    /// may be run again in another group.
    Undone {
        /// The number of a member that stood in the way.
        member: usize,
        /// What it met: `Fenced`, `Refused` or `Mismatch`, `Taken` or `Nobody`.
        outcome: Outcome,
    },
}

/// What became of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PublishOutcome {
    /// Stored, durably.
    Stored {
        /// The numbers of the deliveries that were born claimed, with the claim token 1.
        claimed: Vec<u16>,
    },
    /// The same key was accepted before, within its window. An event of the first message records it.
    Duplicate(First),
    /// The same key was accepted before for another request.
    Mismatch(First),
    /// The instance is not live any more.
    Fenced,
    /// A body in chunks was not this instance's open body, or the value cannot be stored.
    Refused(Text),
}

/// The message that was accepted first under a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct First {
    /// Its id.
    pub message: MessageId,
    /// When it was stored.
    pub stored_at: Timestamp,
    /// The request that it opened, if it was one.
    pub exchange: Option<ExchangeId>,
}

/// What became of a settlement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SettleOutcome {
    /// Durably done.
    Done,
    /// The delivery is not held under this claim any more; nothing was changed.
    Fenced,
}
