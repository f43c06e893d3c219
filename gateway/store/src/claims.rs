//! Taking deliveries that wait, and giving back those of the dead.

use std::sync::Arc;

use async_trait::async_trait;
use quayside_model::{Claim, DeliveryId, ExchangeId, InstanceId, Message, Name, Text, Transport};

use crate::{StoreError, commit::OrderKey};

/// Taking and giving back deliveries.
#[async_trait]
pub trait Claims: Send + Sync {
    /// Claims what is due for `wants`, first ranks first, for `instance`; of each order key its head only,
    /// so that no key keeps others from their turn. Empty if nothing is due or the
    /// instance is not live. Never waits for another instance's claim. Durable when it returns.
    async fn claim(&self, instance: InstanceId, wants: &[Want])
    -> Result<Vec<Claimed>, StoreError>;

    /// Every claim of `instance`, for comparison with what it holds in memory.
    async fn claims_of(&self, instance: InstanceId) -> Result<Vec<Claim>, StoreError>;

    /// Whether a delivery of the same port that was accepted before this one is still to be had or in hand, and no
    /// attempt of it was made: what it brings may be what this one waits for. Looks at what is due first only, some
    /// hundreds: where more than those were tried before, the answer may be no. No too if there is no such delivery.
    async fn is_preceded(&self, delivery: DeliveryId) -> Result<bool, StoreError>;

    /// Gives back up to `limit` deliveries claimed by instances that are not live, whoever they were.
    /// One whose intent was recorded counts as an attempt made and is marked in doubt: its owner may have
    /// sent it. The claim itself is the intent, unless it was claimed with [`Want::marks`]: then
    /// [`Change::Sending`](crate::Change::Sending) is. On an ordered port the key goes on with it.
    /// Level-triggered: call it until it returns 0.
    async fn release_dead(&self, limit: u32) -> Result<u32, StoreError>;

    /// Gives up the lanes of the ordered `port` that `instance` owns and holds nothing in, so that another
    /// may take them. Returns how many. Durable when it returns. Those of a dead instance are free anyway.
    async fn release_lanes(&self, instance: InstanceId, port: &Name) -> Result<u32, StoreError>;

    /// Fixes into how many lanes the keys of the ordered `port` fall, and returns the count in force. That
    /// is `wanted`, unless another was fixed before and is still in use: a delivery of the port with a key
    /// lives, or an instance other than `instance` is live, which may publish by it at any moment. Durable
    /// when it returns.
    async fn fix_lanes(
        &self,
        instance: InstanceId,
        port: &Name,
        wanted: u16,
    ) -> Result<u16, StoreError>;
}

/// How many deliveries of a port are wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Want {
    /// The port.
    pub port: Name,
    /// At most this many.
    pub room: u32,
    /// Whether the port is ordered: then only rows whose key has nothing earlier alive are given.
    pub ordered: bool,
    /// Whether [`Change::Sending`](crate::Change::Sending) goes before each send, so that a claim alone
    /// is no intent yet. An ordered port is always served so.
    pub marks: bool,
    /// Those that so many owners have died over. Not looked at where the port is ordered.
    pub deaths: Deaths,
}

/// How many owners have died over something that is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Deaths {
    /// However many.
    #[default]
    Any,
    /// Fewer than this.
    Below(u32),
    /// This many, or more.
    From(u32),
}

impl Deaths {
    /// The least and the most.
    #[must_use]
    pub fn range(self) -> (i32, i32) {
        let number = |of: u32| i32::try_from(of).unwrap_or(i32::MAX);
        match self {
            Self::Any => (0, i32::MAX),
            Self::Below(most) => (0, number(most) - 1),
            Self::From(least) => (number(least), i32::MAX),
        }
    }
}

/// A delivery in hand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claimed {
    /// The proof.
    pub claim: Claim,
    /// Its port.
    pub port: Name,
    /// The message, inline parts included.
    pub message: Arc<Message>,
    /// The transport that is next.
    pub transport: Transport,
    /// How many attempts of that transport were made.
    pub attempts: u32,
    /// What the engine rendered when it was published.
    pub rendered: Option<Text>,
    /// Its order key.
    pub order: Option<OrderKey>,
    /// The request that waits for its answer.
    pub exchange: Option<ExchangeId>,
    /// Whether an owner died while holding it, so that it may have been sent.
    pub in_doubt: bool,
    /// How many owners have died while they held it, since it was accepted or resumed last.
    pub deaths: u32,
}

impl Claimed {
    /// The delivery.
    #[must_use]
    pub fn id(&self) -> DeliveryId {
        self.claim.delivery
    }
}
