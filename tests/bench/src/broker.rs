//! The bench's own client of a RabbitMQ: fills queues, as fast as a publisher with a window of confirmations can,
//! and tells how many messages they hold.

use std::{collections::VecDeque, time::Duration};

use anyhow::{Context, ensure};
use lapin::{
    BasicProperties, Channel, Confirmation, Connection, ConnectionProperties, PublisherConfirm,
    options::{BasicPublishOptions, ConfirmSelectOptions, QueueDeclareOptions, QueueDeleteOptions},
    types::{AMQPValue, FieldTable, ShortString},
};
use quayside_harness::{RabbitMq, Stopwatch};
use tokio::time::timeout;

/// How many messages wait for their confirmation at once: as many as the shovel has on their way.
const WINDOW: usize = 1000;

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
        let mut window = VecDeque::with_capacity(WINDOW);
        for no in 0..count {
            if window.len() == WINDOW {
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
        let options = BasicPublishOptions {
            mandatory: true,
            ..BasicPublishOptions::default()
        };
        let (exchange, queue) = (ShortString::default(), ShortString::try_new(queue)?);
        let publish =
            self.channel
                .basic_publish(exchange, queue, options, body.as_bytes(), properties);
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
