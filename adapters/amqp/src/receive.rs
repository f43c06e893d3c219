//! A receive location: takes messages from its queue in batches, while the engine has room for them.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use async_trait::async_trait;
use futures_util::{FutureExt as _, StreamExt as _};
use lapin::{
    Consumer,
    message::Delivery as Delivered,
    options::{BasicConsumeOptions, BasicQosOptions},
    types::{FieldTable, ShortString},
};
use quayside_adapter_api::{
    AdapterError, Delivery, ErrorKind, Receive, TroubleKind, condition::Part, model::Monotonic,
};
use tokio::time::timeout;

use crate::{
    batch::{Line, Taken},
    codes,
    config::OnFailure,
    error::of_broker,
    inspect::{self, Nature},
    link::{Link, Live},
    unacked::Unacked,
};

/// The most bytes of one commit, beside the message that goes over it.
const BATCH_BYTES: usize = 1 << 20;

/// While so many batches are on their way into the store, the next one waits until it is full or one of them
/// has come to its end: many small ones would cost more and bring nothing.
const BUSY: usize = 2;

/// How long a queue that cannot be used is left alone: a fourth of the time for which it could not be, within
/// these bounds. A broker that has just come back may not have its queues yet.
const LEFT_ALONE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// How long nothing comes before a location looks whether the broker still knows its consumer: one that it added to a
/// queue in the moment in which that was deleted it may forget without a word.
const FORGOTTEN: Duration = Duration::from_secs(5);

/// An open location.
#[derive(Debug)]
pub(crate) struct AmqpReceive {
    line: Arc<Line>,
    link: Link,
    /// Whether its messages go into the store in the order of the queue.
    ordered: bool,
    /// Whether the queue can be used, for people.
    part: Part,
    /// Since when it cannot be used, and the code of why.
    unusable: Option<(Monotonic, &'static str)>,
    /// Whether the queue is known to keep what the location promises.
    inspected: bool,
    /// What the queue was when it was looked at last.
    nature: Option<Nature>,
    /// Whether that was found out while another process ran the location.
    foreseen: bool,
    consuming: Option<Consuming>,
    /// A connection that was asked for the queue. If nobody waited for the answer there may be a consumer over
    /// it that nobody listens to.
    asked: Option<Arc<Live>>,
    /// Taken and not handed out: dropping [`Receive::receive`] must lose nothing.
    pending: VecDeque<Taken>,
}

/// The queue, over a connection that stands.
#[derive(Debug)]
struct Consuming {
    live: Arc<Live>,
    unacked: Arc<Unacked>,
    consumer: Consumer,
}

impl AmqpReceive {
    pub(crate) fn new(line: Arc<Line>, link: Link, ordered: bool) -> Self {
        let part = line.services.condition.part();
        Self {
            line,
            link,
            ordered,
            part,
            unusable: None,
            inspected: false,
            nature: None,
            foreseen: false,
            consuming: None,
            asked: None,
            pending: VecDeque::new(),
        }
    }

    /// Connects and consumes, unless that is so already.
    async fn consume(&mut self) -> Result<(), AdapterError> {
        if self.consuming.is_some() {
            return Ok(());
        }
        if let Some(live) = self.asked.take() {
            self.link
                .fail(&live, "the answer of the broker was not waited for");
        }
        let live = self.link.live().await?;
        self.asked = Some(Arc::clone(&live));
        let within = self.line.settings.connect_timeout.duration();
        let consumer = match timeout(within, self.ask(&live)).await {
            Ok(consumer) => consumer,
            Err(_) => Err(crate::error::unreachable(format!(
                "the broker did not answer within {within:?}"
            ))),
        };
        self.asked = None;
        match consumer {
            Ok(consumer) => {
                self.usable();
                live.keep(consumer.clone());
                self.consuming = Some(Consuming {
                    live,
                    unacked: Arc::default(),
                    consumer,
                });
                Ok(())
            }
            Err(error) if error.kind == ErrorKind::Disconnected => {
                self.link.fail(&live, &error.detail);
                Ok(())
            }
            Err(error) => {
                drop(live);
                self.unusable(&error);
                Ok(())
            }
        }
    }

    /// The queue can be used.
    fn usable(&mut self) {
        self.part.well();
        self.inspected = true;
        if self.unusable.take().is_some() {
            tracing::info!(location = %self.line.location, "the queue can be used again");
        }
    }

    /// The queue cannot be used: somebody has to declare it, or to give the right to it. Until then it is
    /// looked for, and people are told why nothing comes.
    fn unusable(&mut self, error: &AdapterError) {
        self.link.release();
        self.inspected = false;
        let clock = &self.line.services.clock;
        let now = clock.monotonic();
        let code = error.code.code;
        let since = match self.unusable {
            Some((since, told)) if told == code => since,
            before => {
                tracing::warn!(location = %self.line.location, code = %error.code,
                    detail = error.detail, "the queue cannot be used; it is looked for again");
                before.map_or(now, |(since, _)| since)
            }
        };
        self.unusable = Some((since, code));
        let detail = format!("{}. {}", error.detail, error.code.remedy);
        let kind = TroubleKind::Disconnected;
        self.part.ill(kind, error.code, &detail, clock.now());
        let pause = now.since(since) / 4;
        self.line.rest(pause.clamp(LEFT_ALONE.0, LEFT_ALONE.1));
    }

    /// Looks whether the queues are what the location needs.
    async fn inspect(&mut self, live: &Live) -> Result<(), AdapterError> {
        let settings = &self.line.settings;
        if let Some(queue) = &settings.dead_letter {
            // Found out when the first message is not acceptable it would stand in the way of all others.
            inspect::exists(live, queue).await?;
        }
        let stops = settings.on_failure == OnFailure::Stop;
        if !self.ordered && !settings.exclusive && !stops {
            return Ok(());
        }
        let (queue, location) = (&settings.queue, &self.line.location);
        self.nature = inspect::nature(live, queue, self.nature.take()).await?;
        let Some(nature) = &self.nature else {
            if self.line.is_new(codes::NOT_INSPECTED) {
                tracing::warn!(%location, code = %codes::NOT_INSPECTED, queue,
                    "the broker does not tell whether the queue keeps the order and serves one consumer");
            }
            return Ok(());
        };
        if let Some((code, why)) = nature.unfit(self.ordered, settings.exclusive) {
            let detail = format!("`{queue}`: {why}");
            return Err(AdapterError::new(ErrorKind::Config, code, detail));
        }
        if let Some((code, why)) = nature.remark(self.ordered, stops)
            && self.line.is_new(code)
        {
            tracing::warn!(%location, code = %code, queue, "{why}");
        }
        Ok(())
    }

    async fn ask(&mut self, live: &Live) -> Result<Consumer, AdapterError> {
        if !self.inspected {
            self.inspect(live).await?;
        }
        let settings = &self.line.settings;
        let doing = format!("consuming from `{}`", settings.queue);
        let failed = |error: lapin::Error| of_broker(&doing, &error);
        let queue = ShortString::try_new(settings.queue.as_str()).map_err(|error| {
            AdapterError::new(ErrorKind::Config, codes::QUEUE_REFUSED, error.to_string())
        })?;
        // Before the consumer: without it the broker would send the whole queue at once.
        let options = BasicQosOptions::default();
        let limited = live.channel.basic_qos(settings.prefetch, options).await;
        limited.map_err(failed)?;
        let tag = ShortString::default();
        let options = BasicConsumeOptions {
            exclusive: settings.exclusive,
            ..BasicConsumeOptions::default()
        };
        let consumer = live
            .channel
            .basic_consume(queue, tag, options, FieldTable::default());
        consumer.await.map_err(failed).map_err(|error| {
            // Of the right to a queue, or of a consumer that has it for itself, AMQP says the same.
            let taken = settings.exclusive && error.code == codes::LOGIN_REFUSED;
            let code = if taken {
                codes::NOT_EXCLUSIVE
            } else {
                error.code
            };
            AdapterError { code, ..error }
        })
    }

    /// Takes what the broker has sent: waits for the first message and takes what is there behind it, up to
    /// one batch. Returns with nothing when something else has changed.
    async fn take(&mut self) {
        let Some(consuming) = &mut self.consuming else {
            return;
        };
        let first = tokio::select! {
            first = consuming.consumer.next() => first,
            () = self.line.changed.notified() => return,
            () = tokio::time::sleep(FORGOTTEN) => return self.look().await,
        };
        let mut next = Some(first);
        let mut bytes = bytes_of(&self.pending);
        let lost = loop {
            match next {
                Some(Some(Ok(delivered))) => {
                    let taken = consuming.taken(delivered);
                    bytes += taken.body.len();
                    self.pending.push_back(taken);
                }
                Some(Some(Err(error))) => break Some(error.to_string()),
                Some(None) => {
                    // The queue was deleted, it seems: another one may stand in its place.
                    self.inspected = false;
                    break Some("the broker has ended the consumer".to_owned());
                }
                None => break None,
            }
            if self.pending.len() >= self.line.largest_batch() || bytes >= BATCH_BYTES {
                break None;
            }
            next = consuming.consumer.next().now_or_never();
        };
        if let Some(duties) = &self.line.duties {
            duties.sort_out(&mut self.pending);
        }
        if let Some(why) = lost {
            self.lose(&why);
        }
    }

    /// Looks whether the broker still knows the consumer, while nothing is under way.
    async fn look(&mut self) {
        let Some(consuming) = &self.consuming else {
            return;
        };
        let Ok(queue) = ShortString::try_new(self.line.settings.queue.as_str()) else {
            return;
        };
        if self.line.out() > 0 {
            return;
        }
        let within = self.line.settings.connect_timeout.duration();
        let why = match timeout(within, consuming.live.look(queue)).await {
            Ok(Ok(queue)) if queue.consumer_count() == 0 => {
                "the broker has forgotten the consumer".to_owned()
            }
            Ok(Err(error)) => error.to_string(),
            // One that answers nothing at all is noticed by its heartbeat.
            Ok(Ok(_)) | Err(_) => return,
        };
        self.inspected = false;
        self.lose(&why);
    }

    /// Whether what was taken is to be handed out now.
    fn is_worth_a_commit(&self) -> bool {
        let count = self.pending.len();
        let is_full = count >= self.line.largest_batch() || bytes_of(&self.pending) >= BATCH_BYTES;
        count > 0 && (is_full || self.line.out() < BUSY)
    }

    /// The connection does not work any more. What came over it and is not stored comes again.
    fn lose(&mut self, why: &str) {
        self.pending.clear();
        if let Some(consuming) = self.consuming.take() {
            self.link.fail(&consuming.live, why);
        }
    }
}

fn bytes_of(pending: &VecDeque<Taken>) -> usize {
    pending.iter().map(|taken| taken.body.len()).sum()
}

impl Consuming {
    fn taken(&self, delivered: Delivered) -> Taken {
        let tag = delivered.delivery_tag;
        self.unacked.opened(tag);
        Taken {
            live: Arc::clone(&self.live),
            unacked: Arc::clone(&self.unacked),
            tag,
            redelivered: delivered.redelivered,
            routing_key: delivered.routing_key,
            properties: delivered.properties,
            body: delivered.data.into(),
            apart: false,
        }
    }
}

#[async_trait]
impl Receive for AmqpReceive {
    async fn receive(&mut self) -> Result<Delivery, AdapterError> {
        loop {
            if let Some(error) = self.line.failure() {
                // Everything goes back in its order: the queue is as if nothing had been taken.
                self.lose(&error.detail);
                return Err(error);
            }
            if let Some(left) = self.line.pause_left() {
                tokio::time::sleep(left).await;
                continue;
            }
            if let Some(duties) = &self.line.duties
                && duties.are_open()
            {
                self.line.fulfil().await;
                continue;
            }
            if let Some(batch) = self.line.next_again() {
                return Ok(self.line.delivery(batch));
            }
            if self.is_worth_a_commit() {
                let batch = self.pending.drain(..).collect();
                return Ok(self.line.delivery(batch));
            }
            if let Err(error) = self.consume().await {
                if self.line.services.stopping.is_cancelled() {
                    // That is no failure of the location, and whoever waits here does not wait any longer.
                    std::future::pending::<()>().await;
                }
                return Err(error);
            }
            self.take().await;
        }
    }

    async fn prepare(&mut self) {
        if let Some(live) = self.link.ready().await
            && !self.foreseen
        {
            // Once, because the broker may note each question. It is looked at again before anything is taken, and
            // what is wrong with it now may be mended by then.
            drop(self.inspect(&live).await);
            self.foreseen = true;
        }
    }

    async fn close(&mut self) {
        self.line.close();
        self.pending.clear();
        // Deliveries that were given out hold the connection until they are settled; with the last of them
        // it ends, and the broker has back what was not handed out, in its order.
        let live = self.consuming.take().map(|consuming| consuming.live);
        if let Some(live) = live
            && self.line.out() == 0
        {
            live.end().await;
        }
        self.asked = None;
        self.part.well();
        self.link.release();
        self.line.release();
    }
}
