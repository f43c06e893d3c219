//! Looking into a queue without taking anything out.
//!
//! AMQP has no such look: messages are taken and given back. They are given back by closing the channel, which
//! keeps their order in every kind of queue. A requeue puts them at the end of a quorum queue without a delivery
//! limit. A quorum queue keeps what came back in a line of its own, before the others, and puts into that line
//! at its end: of messages that came back before, part must not be taken, or it comes to stand behind the rest.
//! What cannot be avoided: each is marked as redelivered, and a quorum queue counts it as delivered.

use std::time::Duration;

use futures_util::StreamExt as _;
use lapin::{
    Channel,
    message::Delivery,
    options::{BasicConsumeOptions, BasicGetOptions, BasicQosOptions},
    types::FieldTable,
};
use quayside_adapter_api::{AdapterError, ErrorKind};
use tokio::time::timeout;

use super::{LOCKED, Seen, Session, failed, leave, name, reply, within};
use crate::{
    codes,
    declare::{Argument, Wanted},
};

/// How far a queue is looked through. So many messages are held at most, without their bodies.
pub(super) const SCAN: u32 = 10_000;

/// How many messages a consumer takes at least, if they are there: as many as a location has at once unless it is
/// told otherwise, so that they are all that came back from one.
const AHEAD: u32 = 200;

/// How long a consumer waits for what the broker said is there.
const NEXT: Duration = Duration::from_secs(2);

/// What to look at.
#[derive(Debug, Clone, Copy)]
pub struct Peeking<'a> {
    /// The queue.
    pub queue: &'a str,
    /// At most this many messages, from its head.
    pub most: u16,
    /// Whether bodies are shown.
    pub bodies: bool,
    /// Whether to look also where that may do harm.
    pub force: bool,
    /// What the queue is believed to be.
    pub guess: Option<&'a Wanted>,
}

/// What was seen.
#[derive(Debug, Clone, Default)]
pub struct Peeked {
    /// The messages, from the head.
    pub messages: Vec<Seen>,
    /// How many wait in the queue.
    pub ready: u32,
    /// How often a message is delivered again before the broker gives it up, if there is such a limit.
    pub limit: Option<i64>,
}

impl Session {
    /// Looks at the messages at the head of a queue and gives them back to their places.
    ///
    /// # Errors
    /// That there is no such queue; that it has consumers, which messages would come to out of turn, or a
    /// delivery limit without a dead letter queue, so that looking too often drops messages, unless it is
    /// forced.
    pub async fn peek(&self, peeking: Peeking<'_>) -> Result<Peeked, AdapterError> {
        let queue = peeking.queue;
        let Some(counts) = self.look(queue).await? else {
            return Err(missing(queue));
        };
        let mut peeked = Peeked {
            ready: counts.ready,
            ..Peeked::default()
        };
        let most = counts.ready.min(peeking.most.into());
        if most == 0 {
            return Ok(peeked);
        }
        if counts.consumers > 0 && !peeking.force {
            let why = "it has consumers: while messages are looked at, those behind them overtake";
            return Err(harm(queue, why));
        }
        let (limit, is_kept) = self.gives_up(queue, peeking.guess).await?;
        peeked.limit = limit;
        if limit.is_some() && !is_kept && !peeking.force {
            let why = "each look counts as a delivery, and beyond its limit, without a dead letter queue, the \
                       broker drops a message";
            return Err(harm(queue, why));
        }
        let see = |delivery: Delivery| {
            let (redelivered, properties) = (delivery.redelivered, &delivery.properties);
            Seen::new(redelivered, properties, delivery.data, peeking.bodies)
        };
        let channel = self.channel().await?;
        for _ in 0..most {
            match get(&channel, queue).await {
                Ok(Some(delivery)) => peeked.messages.push(see(delivery)),
                Ok(None) => break,
                // A quorum queue with a single active consumer has no other way.
                Err(Got::Locked) if peeked.messages.is_empty() => {
                    let taken = self
                        .consume(queue, most.max(counts.ready.min(AHEAD)))
                        .await?;
                    let shown = taken
                        .into_iter()
                        .take(usize::try_from(most).unwrap_or_default());
                    peeked.messages.extend(shown.map(see));
                    break;
                }
                Err(Got::Locked) => break,
                Err(Got::Failed(error)) => return Err(error),
            }
        }
        let last = peeked.messages.last();
        take_rest(&channel, queue, last.is_some_and(|last| last.redelivered)).await;
        leave(channel).await;
        self.settle(queue, counts).await;
        Ok(peeked)
    }

    /// The delivery limit of a queue, and whether the broker keeps what goes over it. A broker that does not
    /// tell the arguments to this user is believed to have none.
    async fn gives_up(
        &self,
        queue: &str,
        guess: Option<&Wanted>,
    ) -> Result<(Option<i64>, bool), AdapterError> {
        let arguments = match self.arguments(queue, guess).await {
            Ok(arguments) => arguments.unwrap_or_default(),
            Err(error) if error.code == codes::LOGIN_REFUSED => return Ok((None, false)),
            Err(error) => return Err(error),
        };
        let limit = match arguments.get("x-delivery-limit") {
            Some(Argument::Number(limit)) => Some(*limit),
            _ => None,
        };
        Ok((limit, arguments.contains_key("x-dead-letter-exchange")))
    }

    /// Takes messages as the only consumer, and gives them back.
    async fn consume(&self, queue: &str, most: u32) -> Result<Vec<Delivery>, AdapterError> {
        let channel = self.channel().await?;
        let doing = format!("looking into `{queue}`");
        let ahead = u16::try_from(most).unwrap_or(u16::MAX);
        let limiting = channel.basic_qos(ahead, BasicQosOptions::default());
        let limited = within(&doing, limiting).await?;
        limited.map_err(|error| failed(&doing, &error))?;
        let tag = lapin::types::ShortString::default();
        let options = BasicConsumeOptions::default();
        let consuming = channel.basic_consume(name(queue)?, tag, options, FieldTable::default());
        let consumer = within(&doing, consuming).await?;
        let mut consumer = consumer.map_err(|error| failed(&doing, &error))?;
        let mut taken = Vec::new();
        while taken.len() < usize::from(ahead) {
            match timeout(NEXT, consumer.next()).await {
                Ok(Some(Ok(delivery))) => taken.push(delivery),
                Ok(Some(Err(error))) => return Err(failed(&doing, &error)),
                // Another consumer has come first, or they are gone.
                Ok(None) | Err(_) => break,
            }
        }
        // The channel before the consumer: one that is cancelled alone lets the next consumer go on before
        // the queue has back what this one holds.
        leave(channel).await;
        drop(consumer);
        Ok(taken)
    }
}

/// Why nothing was got.
pub(super) enum Got {
    /// The queue gives messages to its consumer only.
    Locked,
    /// Something else.
    Failed(AdapterError),
}

/// Takes the message at the head; it stays unacknowledged until the channel is closed.
pub(super) async fn get(channel: &Channel, queue: &str) -> Result<Option<Delivery>, Got> {
    let doing = format!("looking into `{queue}`");
    let getting = channel.basic_get(
        name(queue).map_err(Got::Failed)?,
        BasicGetOptions::default(),
    );
    match within(&doing, getting).await.map_err(Got::Failed)? {
        Ok(got) => Ok(got.map(|message| message.delivery)),
        Err(error) if reply(&error) == Some(LOCKED) => Err(Got::Locked),
        Err(error) => Err(Got::Failed(failed(&doing, &error))),
    }
}

/// Takes what came back before, behind a last message of that kind: given back together they keep their order.
pub(super) async fn take_rest(channel: &Channel, queue: &str, mut came_back: bool) {
    for _ in 0..SCAN {
        if !came_back {
            return;
        }
        match get(channel, queue).await {
            Ok(Some(delivery)) => came_back = delivery.redelivered,
            // The channel does not work any more, or there is nothing left.
            Ok(None) | Err(_) => return,
        }
    }
}

pub(super) fn missing(queue: &str) -> AdapterError {
    let detail = format!("there is no queue `{queue}`");
    AdapterError::new(ErrorKind::Config, codes::QUEUE_MISSING, detail)
}

pub(super) fn harm(queue: &str, why: &str) -> AdapterError {
    let detail = format!("`{queue}` is not looked into: {why}");
    AdapterError::new(ErrorKind::Config, codes::WOULD_HARM, detail)
}
