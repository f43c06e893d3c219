//! A send port: messages into queues, one by one or as a run of one key.

use std::{collections::VecDeque, sync::Arc};

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt as _;
use lapin::{BasicProperties, types::ShortString};
use quayside_adapter_api::{
    AdapterError, ErrorKind, Outbound, RunEnd, Sent, Transmit, model::Text,
};

use crate::{
    codes,
    config::SendSettings,
    confine, error,
    link::Live,
    msmq::{self, Publishing, Sender},
    publish::{Letter, MAY_HAVE, Publisher, confirmed},
    replies::Replies,
};

/// The most bytes of a run that are under way together, beside the message that goes over it.
const RUN_BYTES: usize = 4 << 20;

/// An open port.
#[derive(Debug)]
pub(crate) struct AmqpSend {
    pub(crate) settings: SendSettings,
    pub(crate) publisher: Publisher,
    /// What messages get beside, if the port means MSMQ.
    pub(crate) msmq: Option<Sender>,
    /// The answers, where they are wanted.
    pub(crate) replies: Arc<Replies>,
}

/// A message as it is published.
struct Ready {
    queue: String,
    properties: BasicProperties,
    body: Bytes,
    guard: Arc<dyn Fn() -> bool + Send + Sync>,
    msmq: Option<msmq::Ready>,
}

#[async_trait]
impl Transmit for AmqpSend {
    async fn send(&self, outbound: Outbound) -> Result<Sent, AdapterError> {
        let ready = self.ready(&outbound).await?;
        if outbound.answer_wanted {
            return self.ask(&outbound, ready).await;
        }
        if let (Some(sender), Some(told)) = (&self.msmq, &ready.msmq) {
            let sending = sender.send(&self.publisher, told, &ready.body, &*ready.guard);
            let (detail, answer) = (sending.await?, None);
            return Ok(Sent { detail, answer });
        }
        let published = self.publisher.publish_all(&[ready.letter()]).await;
        match published.failed {
            Some((error, _)) => Err(error),
            None => Ok(Sent {
                detail: confirmed(&ready.queue, published.confirmed == [true]),
                answer: None,
            }),
        }
    }

    fn longest_run(&self) -> usize {
        self.settings.pipeline.min(self.settings.window)
    }

    async fn send_run(&self, run: Vec<Outbound>) -> RunEnd {
        let mut run = VecDeque::from(run);
        let mut sent = Vec::with_capacity(run.len());
        // How many of those left may be in a queue.
        let mut doubtful = 0_usize;
        while !run.is_empty() {
            let batch = match self.together(&run).await {
                Ok(batch) => batch,
                Err(error) => return RunEnd::until(sent, error, doubtful.saturating_sub(1)),
            };
            let Some(first) = batch.first() else { break };
            if first.is_late() {
                // It goes another way, and by itself.
                let Some(outbound) = run.pop_front() else {
                    break;
                };
                doubtful = doubtful.saturating_sub(1);
                match self.send(outbound).await {
                    Ok(one) => sent.push(one),
                    Err(error) => return RunEnd::until(sent, error, doubtful),
                }
                continue;
            }
            let letters: Vec<_> = batch.iter().map(Ready::letter).collect();
            let published = self.publisher.publish_all(&letters).await;
            let count = published.confirmed.len();
            for (no, (ready, again)) in batch.iter().zip(published.confirmed).enumerate() {
                match self.conclude(ready, Ok(again)).await {
                    Ok(one) => sent.push(one),
                    Err(error) => {
                        let behind = published.failed.map_or(0, |(_, behind)| behind + 1);
                        return RunEnd::until(sent, error, count - no - 1 + behind);
                    }
                }
                run.pop_front();
                doubtful = doubtful.saturating_sub(1);
            }
            if let Some((error, behind)) = published.failed {
                doubtful = doubtful.saturating_sub(1).max(behind);
                match self.conclude(&batch[count], Err(error)).await {
                    Ok(one) => sent.push(one),
                    Err(error) => return RunEnd::until(sent, error, doubtful),
                }
                run.pop_front();
            }
        }
        RunEnd::all(sent)
    }

    async fn prepare(&self) {
        // Without the answers: the queue for them may be another process's as long as that runs the port.
        drop(self.publisher.link.ready().await);
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
        let noun = if waiting == 1 { "message" } else { "messages" };
        Ok(format!("`{queue}` holds {waiting} {noun}"))
    }
}

impl AmqpSend {
    /// A message as it is to be published.
    async fn ready(&self, outbound: &Outbound) -> Result<Ready, AdapterError> {
        let rejected =
            |detail: String| AdapterError::new(ErrorKind::Rejected, codes::QUEUE_REFUSED, detail);
        let Some(queue) = outbound.rendered.get("queue") else {
            let detail = "no name of a queue was rendered for the message";
            return Err(rejected(detail.to_owned()));
        };
        if !confine::may_choose(&self.settings.queues, queue) {
            let detail = format!("`{queue}` is none of the queues that `queues` lists");
            return Err(rejected(detail));
        }
        let properties = self.settings.properties.properties(outbound)?;
        let told = match &self.msmq {
            Some(msmq) => Some(msmq.ready(queue, properties.clone(), outbound)?),
            None => None,
        };
        let (queue, properties) = match &told {
            Some(told) => (told.queue.clone(), told.properties.clone()),
            None => (queue.to_string(), properties),
        };
        Ok(Ready {
            queue,
            properties,
            body: self.body(outbound).await?,
            guard: Arc::clone(&outbound.guard),
            msmq: told,
        })
    }

    /// Publishes a request and waits for its answer. Both carry the id of the delivery, the same on every attempt
    /// and node.
    async fn ask(&self, outbound: &Outbound, ready: Ready) -> Result<Sent, AdapterError> {
        let text = |text: &str| {
            ShortString::try_new(text).map_err(|error| {
                AdapterError::new(ErrorKind::Config, codes::BAD_SETTING, error.to_string())
            })
        };
        if ready.msmq.is_some() {
            let detail = "a port with the meaning of MSMQ does not wait for answers";
            let kind = ErrorKind::Config;
            return Err(AdapterError::new(kind, codes::NO_ANSWER, detail));
        }
        let id = outbound.delivery.to_string();
        let expected = self.replies.expect(&id)?;
        let letter = Letter {
            properties: ready
                .properties
                .clone()
                .with_correlation_id(text(&id)?)
                .with_reply_to(text(self.replies.address())?),
            ..ready.letter()
        };
        let published = self.publisher.publish_all(&[letter]).await;
        if let Some((error, _)) = published.failed {
            return Err(error);
        }
        let answer = self.replies.answer(expected, published.over.as_ref());
        let answer = Some(answer.await?);
        let before = match published.confirmed == [true] {
            true => MAY_HAVE,
            false => "",
        };
        let detail = format!("answered to a request in `{}`{before}", ready.queue);
        let detail = Text::lossy(&detail);
        Ok(Sent { detail, answer })
    }

    /// The first of `run` that are published together: those before the first that cannot be published, or one
    /// that is late. Bounded by their bytes.
    async fn together(&self, run: &VecDeque<Outbound>) -> Result<Vec<Ready>, AdapterError> {
        let mut batch = Vec::with_capacity(run.len());
        let mut bytes = 0;
        for outbound in run.iter().take(self.longest_run()) {
            match self.ready(outbound).await {
                Ok(ready) if ready.is_late() && !batch.is_empty() => break,
                Ok(ready) => {
                    bytes += ready.body.len();
                    let alone = ready.is_late();
                    batch.push(ready);
                    if alone || bytes >= RUN_BYTES {
                        break;
                    }
                }
                Err(error) if batch.is_empty() => return Err(error),
                Err(_) => break,
            }
        }
        if let Some(msmq) = &self.msmq
            && batch.first().is_some_and(|first| !first.is_late())
        {
            msmq.before(&self.publisher).await?;
        }
        Ok(batch)
    }

    /// What is left to do of a message that was published, once more or not, or that was not taken.
    async fn conclude(
        &self,
        ready: &Ready,
        published: Result<bool, AdapterError>,
    ) -> Result<Sent, AdapterError> {
        let (Some(sender), Some(told)) = (&self.msmq, &ready.msmq) else {
            return published.map(|again| Sent {
                detail: confirmed(&ready.queue, again),
                answer: None,
            });
        };
        let publishing = Publishing {
            publisher: &self.publisher,
            body: &ready.body,
            may_act: &*ready.guard,
        };
        let concluding = sender.conclude(&publishing, told, published);
        let (detail, answer) = (concluding.await?, None);
        Ok(Sent { detail, answer })
    }

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

impl Ready {
    fn letter(&self) -> Letter<'_> {
        Letter {
            queue: &self.queue,
            properties: self.properties.clone(),
            body: &self.body,
            may_act: &*self.guard,
            is_reply: false,
        }
    }

    /// Whether it came too late for its queue.
    fn is_late(&self) -> bool {
        self.msmq.as_ref().is_some_and(|told| told.late.is_some())
    }
}

async fn count(live: &Live, queue: &str) -> Result<u32, AdapterError> {
    let name = ShortString::try_new(queue).map_err(|error| {
        AdapterError::new(ErrorKind::Config, codes::BAD_SETTING, error.to_string())
    })?;
    let doing = format!("looking for `{queue}`");
    let seen = live.look(name).await;
    seen.map(|queue| queue.message_count())
        .map_err(|error| error::of_broker(&doing, &error))
}
