//! A send port: one message, one queue, one confirmation.

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt as _;
use lapin::{
    BasicProperties,
    options::QueueDeclareOptions,
    types::{FieldTable, ShortString},
};
use quayside_adapter_api::{
    AdapterError, ErrorKind, Outbound, Sent, Transmit,
    model::{DeliveryId, Message, Text},
};

use crate::{
    codes,
    config::SendSettings,
    error,
    link::Live,
    msmq::Sender,
    publish::{PERSISTENT, Publisher},
};

/// An open port.
#[derive(Debug)]
pub(crate) struct AmqpSend {
    pub(crate) settings: SendSettings,
    pub(crate) publisher: Publisher,
    /// What messages get beside, if the port means MSMQ.
    pub(crate) msmq: Option<Sender>,
}

#[async_trait]
impl Transmit for AmqpSend {
    async fn send(&self, outbound: Outbound) -> Result<Sent, AdapterError> {
        if outbound.answer_wanted {
            let detail = "the port has subscribers that wait for an answer";
            return Err(AdapterError::new(
                ErrorKind::Config,
                codes::NO_ANSWER,
                detail,
            ));
        }
        let Some(queue) = outbound.rendered.get("queue").cloned() else {
            let detail = "no name of a queue was rendered for the message";
            return Err(AdapterError::new(
                ErrorKind::Rejected,
                codes::QUEUE_REFUSED,
                detail,
            ));
        };
        let body = self.body(&outbound).await?;
        let properties = properties(outbound.delivery, &outbound.message);
        if let Some(msmq) = &self.msmq {
            let ready = msmq.ready(&queue, properties, &outbound)?;
            let sending = msmq.send(&self.publisher, &ready, &body, &*outbound.guard);
            let (detail, answer) = (sending.await?, None);
            return Ok(Sent { detail, answer });
        }
        self.publisher
            .publish(&queue, properties, &body, &*outbound.guard)
            .await?;
        Ok(Sent {
            detail: Text::lossy(&format!("confirmed by the broker in `{queue}`")),
            answer: None,
        })
    }

    async fn test(&self) -> Result<String, AdapterError> {
        let live = self.publisher.ready().await?;
        if self.settings.is_dynamic() {
            return Ok("the broker can be reached; the queue depends on the message".to_owned());
        }
        let queue = match &self.msmq {
            Some(msmq) => msmq.queue(&self.settings.queue)?,
            None => self.settings.queue.clone(),
        };
        let waiting = count(&live, &queue).await?;
        Ok(format!("`{queue}` holds {waiting} messages"))
    }
}

impl AmqpSend {
    /// The whole body: AMQP tells its length first and its library takes it in one piece.
    async fn body(&self, outbound: &Outbound) -> Result<Bytes, AdapterError> {
        let length = outbound.message.body().content.len();
        let most = self.settings.max_body.bytes();
        if length > most {
            let detail = format!("the message has {length} bytes, `max_body` is {most}");
            return Err(AdapterError::new(
                ErrorKind::Rejected,
                codes::TOO_LARGE,
                detail,
            ));
        }
        let mut body = outbound.body();
        let mut whole = BytesMut::new();
        while let Some(piece) = body.next().await {
            let piece = piece?;
            if piece.len() as u64 == length {
                return Ok(piece);
            }
            whole.extend_from_slice(&piece);
        }
        if whole.len() as u64 == length {
            return Ok(whole.freeze());
        }
        let detail = format!("the body ended after {} of {length} bytes", whole.len());
        let kind = ErrorKind::Retry(None);
        Err(AdapterError::new(kind, codes::UNREACHABLE, detail))
    }
}

/// The same for every attempt, on every node: the consumer knows a repeat by it.
fn properties(delivery: DeliveryId, message: &Message) -> BasicProperties {
    let received = message.received_at.as_micros() / 1_000_000;
    let mut properties = BasicProperties::default()
        .with_delivery_mode(PERSISTENT)
        .with_timestamp(u64::try_from(received).unwrap_or_default())
        .with_app_id("quayside".into());
    if let Ok(id) = ShortString::try_new(delivery.to_string()) {
        properties = properties.with_message_id(id);
    }
    let content_type = message.body().content_type.as_deref();
    if let Some(Ok(content_type)) = content_type.map(ShortString::try_new) {
        properties = properties.with_content_type(content_type);
    }
    properties
}

async fn count(live: &Live, queue: &str) -> Result<u32, AdapterError> {
    let name = ShortString::try_new(queue).map_err(|error| {
        AdapterError::new(ErrorKind::Config, codes::BAD_SETTING, error.to_string())
    })?;
    let options = QueueDeclareOptions {
        passive: true,
        ..QueueDeclareOptions::default()
    };
    let looking = async {
        // Of its own: the broker closes the channel on which it is asked for a queue that is not there.
        let channel = live.channel_aside().await?;
        let declare = channel.queue_declare(name, options, FieldTable::default());
        declare.await.map(|queue| queue.message_count())
    };
    let doing = format!("looking for `{queue}`");
    looking
        .await
        .map_err(|error| error::of_broker(&doing, &error))
}
