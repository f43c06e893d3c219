//! Answers to what a send port asked: who waits for which.
//!
//! Answers come over the connection that asked (RabbitMQ's direct reply-to), which needs no queue and loses an
//! answer with its connection; or into a queue of the port's own, where an answer waits while the broker or
//! the connection is away. An answer that nobody here waits for is late, or belongs to an attempt of another
//! process, which asks again.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures_util::StreamExt as _;
use lapin::{
    Consumer,
    message::Delivery as Delivered,
    options::{BasicAckOptions, BasicConsumeOptions, BasicQosOptions},
    types::{FieldTable, ShortString},
};
use quayside_adapter_api::{AdapterError, Answer, ErrorKind, model::Text};
use tokio::{
    sync::{Mutex as AsyncMutex, oneshot},
    task::JoinSet,
    time::{Instant, timeout},
};

use crate::{
    answerer, codes, error,
    link::{Link, Live},
    properties,
};

/// The queue that stands for the connection that asks.
const DIRECT: &str = "amq.rabbitmq.reply-to";
/// How many answers the broker sends ahead.
const PREFETCH: u16 = 64;
/// The rest between two looks for a queue of answers that cannot be consumed from.
const REST: Duration = Duration::from_secs(1);
/// How often somebody who waits looks whether the connection that brings the answer still stands.
const LOOK: Duration = Duration::from_millis(200);
/// An answer is kept in memory and in one row of the store.
const MAX_ANSWER: usize = 256 * 1024;

/// The answers of one port.
#[derive(Debug)]
pub(crate) struct Replies {
    /// The port's own queue, and the connection that takes answers from it.
    own: Option<(String, Arc<Link>)>,
    within: Duration,
    waiting: Arc<Waiting>,
    /// Whether anything was asked yet.
    asks: AtomicBool,
    /// The connection over which direct answers come.
    attached: AsyncMutex<Attached>,
    /// Take answers in; they end with the port.
    tasks: Mutex<JoinSet<()>>,
}

/// Which connections were asked to bring answers.
#[derive(Debug, Default)]
struct Attached {
    /// The one that does.
    done: Weak<Live>,
    /// The one that was asked last. A channel takes the question once: whoever does not hear what comes of it
    /// needs another connection.
    asked: Weak<Live>,
}

type Said = Result<Answer, AdapterError>;

#[derive(Debug, Default)]
struct Waiting {
    by_id: Mutex<HashMap<String, oneshot::Sender<Said>>>,
    /// Why no answer can come in, if so.
    trouble: Mutex<Option<AdapterError>>,
}

/// Somebody who waits for one answer.
#[derive(Debug)]
pub(crate) struct Expected {
    id: String,
    waiting: Arc<Waiting>,
    said: oneshot::Receiver<Said>,
}

impl Drop for Expected {
    fn drop(&mut self) {
        lock(&self.waiting.by_id).remove(&self.id);
    }
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Replies {
    /// Of a port that waits so long for an answer. `own` is its queue, if it has one.
    pub(crate) fn new(own: Option<(String, Link)>, within: Duration) -> Self {
        Self {
            own: own.map(|(queue, link)| (queue, Arc::new(link))),
            within,
            waiting: Arc::default(),
            asks: AtomicBool::new(false),
            attached: AsyncMutex::default(),
            tasks: Mutex::default(),
        }
    }

    /// Where answers come to.
    pub(crate) fn address(&self) -> &str {
        self.own.as_ref().map_or(DIRECT, |(queue, _)| queue)
    }

    /// Makes ready for the answer to the request `id`, before it is sent.
    ///
    /// # Errors
    /// No answer could come in now.
    pub(crate) fn expect(&self, id: &str) -> Result<Expected, AdapterError> {
        let first = !self.asks.swap(true, Ordering::SeqCst);
        if let (true, Some((queue, link))) = (first, &self.own) {
            let (queue, link) = (queue.clone(), Arc::clone(link));
            let waiting = Arc::clone(&self.waiting);
            lock(&self.tasks).spawn(take_in(queue, link, waiting));
        }
        if let Some(trouble) = lock(&self.waiting.trouble).clone() {
            return Err(trouble);
        }
        let (sender, said) = oneshot::channel();
        lock(&self.waiting.by_id).insert(id.to_owned(), sender);
        Ok(Expected {
            id: id.to_owned(),
            waiting: Arc::clone(&self.waiting),
            said,
        })
    }

    /// Before anything is published over `live`: lets direct answers come over it.
    ///
    /// # Errors
    /// They do not come, and never will over this connection.
    pub(crate) async fn attach(&self, live: &Arc<Live>) -> Result<(), AdapterError> {
        if self.own.is_some() || !self.asks.load(Ordering::SeqCst) {
            return Ok(());
        }
        // Whoever comes first attaches for all.
        let mut attached = self.attached.lock().await;
        let is_live = |known: &Weak<Live>| std::ptr::eq(known.as_ptr(), Arc::as_ptr(live));
        if is_live(&attached.done) {
            return Ok(());
        }
        if is_live(&attached.asked) {
            return Err(error::unreachable("nobody heard whether answers come"));
        }
        attached.asked = Arc::downgrade(live);
        let options = BasicConsumeOptions {
            no_ack: true,
            ..BasicConsumeOptions::default()
        };
        let (queue, tag) = (ShortString::from(DIRECT), ShortString::default());
        let consume = live
            .channel
            .basic_consume(queue, tag, options, FieldTable::default());
        let asked = timeout(self.within, consume).await;
        let late = || error::unreachable("the broker takes nobody who waits for answers");
        let consumer = asked.map_err(|_| late())?;
        let mut consumer =
            consumer.map_err(|error| error::of_broker("waiting for answers", &error))?;
        attached.done = Arc::downgrade(live);
        let waiting = Arc::clone(&self.waiting);
        let mut tasks = lock(&self.tasks);
        while tasks.try_join_next().is_some() {}
        tasks.spawn(async move {
            while let Some(Ok(delivered)) = consumer.next().await {
                waiting.give(&delivered);
            }
        });
        Ok(())
    }

    /// The answer to a request that was published `over` a connection.
    ///
    /// # Errors
    /// There is none in time, or it was lost; the request may have had its effect.
    pub(crate) async fn answer(
        &self,
        mut expected: Expected,
        over: Option<&Arc<Live>>,
    ) -> Result<Answer, AdapterError> {
        let until = Instant::now() + self.within;
        let none = |why: String| {
            let kind = ErrorKind::Retry(None);
            Err(AdapterError::new(kind, codes::NOT_ANSWERED, why).doubtful())
        };
        loop {
            let look = (Instant::now() + LOOK).min(until);
            match tokio::time::timeout_at(look, &mut expected.said).await {
                Ok(Ok(said)) => return said,
                Ok(Err(_)) => return none("the port is closed".to_owned()),
                Err(_) if Instant::now() >= until => {
                    let within = self.within;
                    return none(format!("no answer within {within:?}"));
                }
                Err(_) => {}
            }
            // What waits in a queue comes over another connection as well.
            if self.own.is_none() && over.is_some_and(|live| live.is_lost()) {
                return none("the connection was lost, and the answer with it".to_owned());
            }
        }
    }

    /// Lets the connection for answers go.
    pub(crate) fn release(&self) {
        lock(&self.tasks).abort_all();
        if let Some((_, link)) = &self.own {
            link.release();
        }
    }
}

impl Drop for Replies {
    fn drop(&mut self) {
        self.release();
    }
}

impl Waiting {
    fn give(&self, delivered: &Delivered) {
        let id = delivered.properties.correlation_id().as_ref();
        let id = id.map(ShortString::as_str).unwrap_or_default();
        match lock(&self.by_id).remove(id) {
            // Whoever waited may have gone in this moment.
            Some(waiter) => drop(waiter.send(said(delivered))),
            None => tracing::warn!(code = %codes::ANSWER_LOST, correlation_id = id,
                "an answer came that nobody waits for here"),
        }
    }
}

/// What an answer says.
fn said(delivered: &Delivered) -> Said {
    let properties = &delivered.properties;
    let header = |name: &str| {
        let headers = properties.headers().as_ref()?;
        let value = properties::property(headers.inner().get(name)?)?;
        Some(value.to_string())
    };
    if let Some(code) = header(answerer::CODE) {
        let detail = header(answerer::DETAIL).unwrap_or_default();
        let again = header(answerer::RETRY).as_deref() == Some("true");
        let kind = if again {
            ErrorKind::Retry(None)
        } else {
            ErrorKind::Rejected
        };
        let detail = format!("the other side answered {code}: {detail}");
        return Err(AdapterError::new(kind, codes::NOT_ANSWERED, detail));
    }
    let size = delivered.data.len();
    if size > MAX_ANSWER {
        let detail = format!("the answer has {size} bytes, more than {MAX_ANSWER}");
        let error = AdapterError::new(ErrorKind::Rejected, codes::NOT_ANSWERED, detail);
        return Err(error.doubtful());
    }
    let content_type = properties.content_type().as_ref();
    Ok(Answer {
        status: header(answerer::STATUS)
            .and_then(|status| status.parse().ok())
            .unwrap_or(200),
        content_type: content_type.map(|text| Text::lossy(text.as_str())),
        body: delivered.data.clone().into(),
    })
}

/// Takes answers from the port's own queue, for as long as the port is open.
async fn take_in(queue: String, link: Arc<Link>, waiting: Arc<Waiting>) {
    loop {
        let consuming = match link.live().await {
            Ok(live) => consume(&live, &queue)
                .await
                .map(|it| (it, Arc::clone(&live))),
            Err(error) => Err(error),
        };
        let (mut consumer, live) = match consuming {
            Ok(consuming) => consuming,
            Err(error) => {
                // A refusal closes the channel: over this connection it would be the last word.
                link.release();
                tracing::warn!(queue, code = %error.code, detail = error.detail,
                    "answers cannot be taken in; it is tried again");
                *lock(&waiting.trouble) = Some(error);
                tokio::time::sleep(REST).await;
                continue;
            }
        };
        *lock(&waiting.trouble) = None;
        while let Some(Ok(delivered)) = consumer.next().await {
            waiting.give(&delivered);
            let options = BasicAckOptions::default();
            if live
                .channel
                .basic_ack(delivered.delivery_tag, options)
                .await
                .is_err()
            {
                break;
            }
        }
        link.fail(&live, "the broker has ended the consumer of answers");
    }
}

async fn consume(live: &Live, queue: &str) -> Result<Consumer, AdapterError> {
    let doing = format!("waiting for answers in `{queue}`");
    let name = ShortString::try_new(queue).map_err(|error| {
        AdapterError::new(ErrorKind::Config, codes::QUEUE_REFUSED, error.to_string())
    })?;
    let failed = |error: lapin::Error| error::of_broker(&doing, &error);
    let seen = live.look(name.clone());
    if seen.await.map_err(failed)?.consumer_count() > 0 {
        let detail = format!("somebody else takes answers from `{queue}`, also those to this port");
        let kind = ErrorKind::Retry(None);
        return Err(AdapterError::new(kind, codes::ANSWERS_SHARED, detail));
    }
    let qos = live.channel.basic_qos(PREFETCH, BasicQosOptions::default());
    qos.await.map_err(failed)?;
    let options = BasicConsumeOptions {
        exclusive: true,
        ..BasicConsumeOptions::default()
    };
    let (tag, arguments) = (ShortString::default(), FieldTable::default());
    let consume = live.channel.basic_consume(name, tag, options, arguments);
    consume.await.map_err(failed)
}
