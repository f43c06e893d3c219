//! The bench's own client of a RabbitMQ: fills queues, as fast as a publisher with a window of confirmations can,
//! and tells how many messages they hold.

use std::{collections::VecDeque, time::Duration};

use anyhow::{Context, ensure};
use futures_util::{FutureExt as _, StreamExt as _};
use lapin::{
    BasicProperties, Channel, Confirmation, Connection, ConnectionProperties, PublisherConfirm,
    message::Delivery,
    options::{
        BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, BasicQosOptions,
        ConfirmSelectOptions, QueueDeclareOptions, QueueDeleteOptions,
    },
    types::{AMQPValue, FieldTable, ShortString},
};
use quayside_harness::{RabbitMq, Stopwatch};
use tokio::time::timeout;

/// How many messages wait for their confirmation at once: as many as the shovel has on their way.
const WINDOW: u16 = 1000;

/// How many messages a [`Client::relay`] acknowledges in one word, while more come.
const ACKNOWLEDGED: usize = 100;

/// Kept on the disk of the broker.
const PERSISTENT: u8 = 2;

/// How long the broker may take to answer.
const ANSWER: Duration = Duration::from_secs(30);

/// A connection.
pub(crate) struct Client {
    channel: Channel,
    _connection: Connection,
}

impl Client {
    pub(crate) async fn connect(server: &RabbitMq) -> anyhow::Result<Self> {
        let (url, properties) = (server.url(), ConnectionProperties::default());
        let connecting = Connection::connect(&url, properties);
        let connection = timeout(ANSWER, connecting).await.context("no answer")??;
        let channel = connection.create_channel().await?;
        let confirms = ConfirmSelectOptions::default();
        channel.confirm_select(confirms).await?;
        Ok(Self {
            channel,
            _connection: connection,
        })
    }

    /// Puts `count` messages of `size` bytes into `queue`, their keys in turn out of `keys`, and returns how many
    /// were confirmed in a second.
    pub(crate) async fn fill(
        &self,
        queue: &str,
        count: u32,
        size: usize,
        keys: u32,
    ) -> anyhow::Result<f64> {
        let watch = Stopwatch::start();
        let mut window = VecDeque::with_capacity(WINDOW.into());
        for no in 0..count {
            if window.len() == usize::from(WINDOW) {
                confirmed(window.pop_front()).await?;
            }
            window.push_back(self.publish(queue, no, size, no % keys).await?);
        }
        while !window.is_empty() {
            confirmed(window.pop_front()).await?;
        }
        Ok(f64::from(count) / watch.elapsed().as_secs_f64())
    }

    async fn publish(
        &self,
        queue: &str,
        no: u32,
        size: usize,
        key: u32,
    ) -> anyhow::Result<PublisherConfirm> {
        let mut headers = FieldTable::default();
        let key = AMQPValue::LongString(format!("k{key}").into());
        headers.insert(ShortString::try_new("key")?, key);
        let properties = BasicProperties::default()
            .with_delivery_mode(PERSISTENT)
            .with_message_id(ShortString::try_new(format!("{queue}-{no}"))?)
            .with_headers(headers);
        // Different from each other, as messages are.
        let body = format!("{no:>size$}");
        let (exchange, queue) = (ShortString::default(), ShortString::try_new(queue)?);
        let publish =
            self.channel
                .basic_publish(exchange, queue, mandatory(), body.as_bytes(), properties);
        Ok(publish.await?)
    }

    /// Moves messages from `from` to `to` until it is dropped: takes them over this connection, puts them over
    /// `out`, and acknowledges what is confirmed. It keeps nothing and decides nothing, so no program beside the
    /// broker that keeps what it moves is faster with the same client library.
    pub(crate) async fn relay(&self, from: &str, out: &Self, to: &str) -> anyhow::Result<()> {
        let limit = BasicQosOptions::default();
        self.channel.basic_qos(WINDOW, limit).await?;
        let consumer = self.channel.basic_consume(
            ShortString::try_new(from)?,
            ShortString::default(),
            BasicConsumeOptions::default(),
            FieldTable::default(),
        );
        let mut consumer = consumer.await?;
        let to = ShortString::try_new(to)?;
        let mut window: VecDeque<(u64, PublisherConfirm)> = VecDeque::new();
        loop {
            let next = if window.is_empty() {
                consumer.next().await
            } else if let Some(next) = consumer.next().now_or_never() {
                next
            } else {
                self.acknowledge(&mut window).await?;
                continue;
            };
            let delivery = next.context("the broker has ended the consumer")??;
            let tag = delivery.delivery_tag;
            window.push_back((tag, out.pass_on(&to, delivery).await?));
            if window.len() >= usize::from(WINDOW) - ACKNOWLEDGED {
                self.acknowledge(&mut window).await?;
            }
        }
    }

    /// Waits for the first confirmations of `window` and acknowledges what they stand for.
    async fn acknowledge(
        &self,
        window: &mut VecDeque<(u64, PublisherConfirm)>,
    ) -> anyhow::Result<()> {
        let mut last = None;
        for (tag, confirm) in window.drain(..window.len().min(ACKNOWLEDGED)) {
            confirmed(Some(confirm)).await?;
            last = Some(tag);
        }
        if let Some(tag) = last {
            let options = BasicAckOptions { multiple: true };
            self.channel.basic_ack(tag, options).await?;
        }
        Ok(())
    }

    async fn pass_on(&self, to: &ShortString, it: Delivery) -> anyhow::Result<PublisherConfirm> {
        let (exchange, to) = (ShortString::default(), to.clone());
        let publish =
            self.channel
                .basic_publish(exchange, to, mandatory(), &it.data, it.properties);
        Ok(publish.await?)
    }

    /// How many messages of `queue` wait for a consumer.
    pub(crate) async fn count(&self, queue: &str) -> anyhow::Result<u32> {
        let options = QueueDeclareOptions {
            passive: true,
            ..QueueDeclareOptions::default()
        };
        let queue = ShortString::try_new(queue)?;
        let declare = self
            .channel
            .queue_declare(queue, options, FieldTable::default());
        Ok(timeout(ANSWER, declare).await??.message_count())
    }

    /// Removes `queue` with all that is in it.
    pub(crate) async fn delete(&self, queue: &str) -> anyhow::Result<()> {
        let queue = ShortString::try_new(queue)?;
        let delete = self
            .channel
            .queue_delete(queue, QueueDeleteOptions::default());
        timeout(ANSWER, delete).await??;
        Ok(())
    }
}

/// A message that no queue takes is a failure.
fn mandatory() -> BasicPublishOptions {
    BasicPublishOptions {
        mandatory: true,
        ..BasicPublishOptions::default()
    }
}

async fn confirmed(confirm: Option<PublisherConfirm>) -> anyhow::Result<()> {
    let confirm = confirm.context("the window is empty")?;
    let confirmation = timeout(ANSWER, confirm)
        .await
        .context("no confirmation")??;
    ensure!(
        matches!(confirmation, Confirmation::Ack(None)),
        "the broker did not take a message: {confirmation:?}"
    );
    Ok(())
}
