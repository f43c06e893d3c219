//! What was taken from the queue and is on its way into the store, and how it is answered for.

use std::{
    collections::{BTreeSet, VecDeque},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use lapin::{
    BasicProperties,
    types::{AMQPValue, ShortString},
};
use quayside_adapter_api::{
    Accepted, AdapterError, Delivery, ErrorKind, Incoming, Rejected, Reply, Services, Settle,
    model::{Code, Monotonic, Name, Text, Value, failpoint},
};
use tokio::sync::Notify;

use crate::{
    answerer::{self, Answerer, Reply as AnswererReply, Told},
    codes,
    config::{OnFailure, ReceiveSettings},
    error,
    link::Live,
    msmq::Duties,
    properties,
    publish::Publisher,
    refusal::{DEFAULT_PAUSE, Then, then},
    unacked::Unacked,
};

/// One message that the broker delivered and that is not acknowledged.
#[derive(Debug)]
pub(crate) struct Taken {
    /// Where it was delivered: it can be acknowledged nowhere else.
    pub(crate) live: Arc<Live>,
    pub(crate) unacked: Arc<Unacked>,
    pub(crate) tag: u64,
    pub(crate) redelivered: bool,
    pub(crate) routing_key: ShortString,
    pub(crate) properties: BasicProperties,
    pub(crate) body: Bytes,
    /// Whether its id stood for another message.
    pub(crate) apart: bool,
}

/// What an open location and the deliveries that it gave out share.
#[derive(Debug)]
pub(crate) struct Line {
    pub(crate) location: Name,
    pub(crate) settings: ReceiveSettings,
    pub(crate) services: Services,
    dead_letters: Option<Publisher>,
    /// What the meaning of MSMQ asks for, if the location means that.
    pub(crate) duties: Option<Duties>,
    /// Answers requests, on a two-way port.
    answerer: Option<Answerer>,
    state: Mutex<State>,
    /// Something came back or the location failed.
    pub(crate) changed: Notify,
    /// How many batches are on their way into the store.
    out: AtomicUsize,
}

/// What a location publishes beside taking messages.
#[derive(Debug, Default)]
pub(crate) struct Asides {
    pub(crate) dead_letters: Option<Publisher>,
    pub(crate) duties: Option<Duties>,
    pub(crate) answerer: Option<Answerer>,
}

#[derive(Debug, Default)]
struct State {
    /// Batches that were not stored, in the order of the queue.
    again: VecDeque<Vec<Taken>>,
    pause_until: Option<Monotonic>,
    failed: Option<AdapterError>,
    closed: bool,
    /// The codes of what was said once for this location.
    told: BTreeSet<&'static str>,
}

impl Line {
    pub(crate) fn new(
        location: Name,
        settings: ReceiveSettings,
        services: Services,
        asides: Asides,
    ) -> Arc<Self> {
        Arc::new(Self {
            location,
            settings,
            services,
            dead_letters: asides.dead_letters,
            duties: asides.duties,
            answerer: asides.answerer,
            state: Mutex::default(),
            changed: Notify::new(),
            out: AtomicUsize::new(0),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes nothing new from now on, and gives up what waits to come again: the broker has it still.
    pub(crate) fn close(&self) {
        let mut state = self.state();
        state.closed = true;
        state.again.clear();
        if let Some(duties) = &self.duties {
            duties.close();
        }
    }

    /// Why the location cannot go on, if so.
    pub(crate) fn failure(&self) -> Option<AdapterError> {
        let mut state = self.state();
        if state.closed {
            return Some(error::closed());
        }
        state.failed.take()
    }

    /// How long to rest before anything is handed out.
    pub(crate) fn pause_left(&self) -> Option<Duration> {
        let now = self.services.clock.monotonic();
        let left = self.state().pause_until?.since(now);
        (!left.is_zero()).then_some(left)
    }

    /// Hands nothing out for `pause`.
    pub(crate) fn rest(&self, pause: Duration) {
        let until = self.services.clock.monotonic().plus(pause);
        let mut state = self.state();
        state.pause_until = state.pause_until.max(Some(until));
    }

    /// The next batch that comes again. What was delivered over a connection that is lost does not: the
    /// broker delivers it anew.
    pub(crate) fn next_again(&self) -> Option<Vec<Taken>> {
        let mut state = self.state();
        loop {
            let batch = state.again.pop_front()?;
            if batch.iter().all(|taken| !taken.live.is_lost()) {
                return Some(batch);
            }
        }
    }

    /// Hands `batches` out again after `pause`, before all that the broker has sent since.
    fn put_back(&self, batches: Vec<Vec<Taken>>, pause: Duration) {
        {
            let mut state = self.state();
            if state.closed {
                return;
            }
            for batch in batches.into_iter().rev().filter(|batch| !batch.is_empty()) {
                state.again.push_front(batch);
            }
        }
        if !pause.is_zero() {
            self.rest(pause);
        }
        self.changed.notify_one();
    }

    fn fail(&self, error: AdapterError) {
        self.state().failed = Some(error);
        self.changed.notify_one();
    }

    /// How many batches are on their way into the store. [`Line::changed`] tells when one has come to its end.
    pub(crate) fn out(&self) -> usize {
        self.out.load(Ordering::SeqCst)
    }

    /// As the engine takes it.
    pub(crate) fn delivery(self: &Arc<Self>, batch: Vec<Taken>) -> Delivery {
        self.out.fetch_add(1, Ordering::SeqCst);
        let mut messages = batch.iter().map(|taken| self.incoming(taken));
        let message = messages.next().expect("a batch has a message");
        let others = messages.collect();
        let reply = match (self.answers_within(&batch), self.settings.on_failure) {
            (Some(within), _) => Reply::Answer(within),
            (None, OnFailure::Suspend | OnFailure::SuspendNonResumable) => Reply::Nothing,
            (None, OnFailure::DeadLetter | OnFailure::Stop) => Reply::Receipt,
        };
        Delivery {
            arrived: self.services.clock.monotonic(),
            message,
            others,
            source: None,
            reply,
            resumable: self.settings.on_failure != OnFailure::SuspendNonResumable,
            settle: Box::new(BatchSettle {
                line: Arc::clone(self),
                batch,
            }),
        }
    }

    /// How many messages make a batch at most: a request is answered alone.
    pub(crate) fn largest_batch(&self) -> usize {
        match self.answerer {
            Some(_) => 1,
            None => self.settings.batch,
        }
    }

    /// How long the answer to the request that `batch` is may take, if it is one.
    fn answers_within(&self, batch: &[Taken]) -> Option<Duration> {
        let (Some(answerer), [request]) = (&self.answerer, batch) else {
            return None;
        };
        answerer::reply_to(&request.properties).map(|_| answerer.within)
    }

    /// Answers the request that `batch` is. `false`: it has to come again, and is answered as a repeat then.
    async fn told(&self, batch: &[Taken], reply: &AnswererReply<'_>) -> bool {
        let (Some(answerer), [request]) = (&self.answerer, batch) else {
            return true;
        };
        let Taken {
            properties, body, ..
        } = request;
        match answerer.tell(properties, reply).await {
            Told::Yes => true,
            // Without a key it would be stored again.
            Told::NotYet => {
                let (queue, dedupe) = (&self.settings.queue, &self.settings.dedupe);
                properties::key(queue, dedupe, properties, body, request.apart).is_none()
            }
        }
    }

    /// What is left to do of a batch that is stored.
    async fn stored(&self, batch: Vec<Taken>) -> Result<(), AdapterError> {
        let Some(duties) = &self.duties else {
            let tell = || tracing::warn!(location = %self.location, "held before the ack");
            failpoint::pass("hold-before-ack", tell).await;
            return acknowledge(&batch).await;
        };
        duties.stored(batch);
        self.fulfil().await;
        // What is left to do is done by whoever takes messages.
        self.changed.notify_one();
        Ok(())
    }

    /// Closes the connection of the last batch that was under way when the location was closed: what was acknowledged
    /// goes out before.
    async fn end_if_last(&self, live: Option<Arc<Live>>) {
        let Some(live) = live else { return };
        let closed = self.state().closed;
        if closed && self.out() == 1 {
            live.end().await;
        }
    }

    fn incoming(&self, taken: &Taken) -> Incoming {
        let queue = &self.settings.queue;
        let Taken {
            properties, body, ..
        } = taken;
        let mut context = properties::context(
            queue,
            taken.routing_key.as_str(),
            taken.redelivered,
            properties,
        );
        if let Some(duties) = &self.duties {
            duties.receiver().add(&mut context, properties);
        }
        if taken.apart
            && let Ok(name) = Name::new("amqp.key-reused")
        {
            context.write(name, Value::Boolean(true));
        }
        let key = properties::key(queue, &self.settings.dedupe, properties, body, taken.apart);
        if key.is_none() {
            self.tell_of_keyless();
        }
        let content_type = properties.content_type().as_ref();
        let body = body.clone();
        Incoming {
            context,
            content_type: content_type.map(|text| Text::lossy(text.as_str())),
            body: Box::pin(futures_util::stream::once(async move { Ok(body) })),
            key,
        }
    }

    /// Whether `code` was not said yet of this location, since it is open.
    pub(crate) fn is_new(&self, code: Code) -> bool {
        self.state().told.insert(code.code)
    }

    /// Once: every message of such a sender is like that.
    fn tell_of_keyless(&self) {
        if self.is_new(codes::NO_KEY) {
            tracing::warn!(location = %self.location, code = %codes::NO_KEY,
                "a message has no key; should the broker deliver it again, it is stored again");
        }
    }

    async fn dead_letter(&self, taken: &Taken, why: &Rejected) -> Result<(), AdapterError> {
        let (Some(publisher), Some(queue)) = (&self.dead_letters, &self.settings.dead_letter)
        else {
            let detail = "there is no queue for messages that are not acceptable";
            return Err(AdapterError::new(
                ErrorKind::Config,
                codes::NO_DEAD_LETTER,
                detail,
            ));
        };
        let mut properties = dead_properties(&self.settings.queue, &taken.properties, why);
        let receiver = self.duties.as_ref().map(Duties::receiver);
        if let Some(receiver) = receiver {
            properties = receiver.rejected(&properties);
        }
        // It is not our effect that is fenced: whoever else has this message does the same with it.
        let may_act = || true;
        publisher
            .publish(queue, properties, &taken.body, &may_act)
            .await?;
        match receiver {
            Some(receiver) => receiver.tell_rejected(&taken.properties).await,
            None => Ok(()),
        }
    }

    async fn stop(&self, taken: &Taken, why: &Rejected) {
        let id = taken.properties.message_id().as_ref();
        let id = id.map_or("(none)", ShortString::as_str);
        let detail = format!("message_id {id}: {}: {}", why.code, why.detail);
        tracing::error!(location = %self.location, code = %codes::REFUSED, detail,
            "a message is not acceptable; the location does not go on");
        self.fail(AdapterError::new(ErrorKind::Config, codes::REFUSED, detail));
    }

    /// Lets the line's own connections go.
    pub(crate) fn release(&self) {
        let answers = self.answerer.as_ref().map(|answerer| &answerer.publisher);
        for publisher in self.dead_letters.iter().chain(answers) {
            publisher.link.release();
        }
        if let Some(duties) = &self.duties {
            duties.receiver().release();
        }
    }

    /// Does what is left to do for messages that are not handed out again. What cannot be done now is told,
    /// and nothing is handed out for a while. Dropping the future loses nothing.
    pub(crate) async fn fulfil(&self) {
        let Some(duties) = &self.duties else { return };
        if let Err(pause) = duties.fulfil().await {
            self.rest(pause);
        }
    }
}

/// The properties of a message that was not acceptable, with the reason.
fn dead_properties(queue: &str, properties: &BasicProperties, why: &Rejected) -> BasicProperties {
    let mut headers = properties::headers(properties);
    let mut add = |name: &str, text: &str| {
        let text = AMQPValue::LongString(text.as_bytes().to_vec().into());
        headers.insert(name.into(), text);
    };
    add("quayside-queue", queue);
    add("quayside-code", why.code.code);
    add("quayside-detail", properties::beginning(&why.detail));
    properties::lasting(properties).with_headers(headers)
}

/// Acknowledges messages that are stored, or that are in the dead letter queue.
pub(crate) async fn acknowledge(batch: &[Taken]) -> Result<(), AdapterError> {
    let Some(first) = batch.first() else {
        return Ok(());
    };
    let tags: Vec<u64> = batch.iter().map(|taken| taken.tag).collect();
    // If the connection is lost, the broker delivers them again, and they are known by their keys.
    first.unacked.acknowledge(&first.live.channel, &tags).await;
    Ok(())
}

/// Answers for one batch.
#[derive(Debug)]
struct BatchSettle {
    line: Arc<Line>,
    batch: Vec<Taken>,
}

#[async_trait]
impl Settle for BatchSettle {
    async fn accept(mut self: Box<Self>, accepted: Accepted) -> Result<(), AdapterError> {
        let batch = std::mem::take(&mut self.batch);
        if let Some(answer) = &accepted.answer
            && !self
                .line
                .told(&batch, &AnswererReply::Answer(&accepted, answer))
                .await
        {
            self.line.put_back(vec![batch], DEFAULT_PAUSE);
            return Ok(());
        }
        let live = batch.first().map(|taken| Arc::clone(&taken.live));
        let stored = self.line.stored(batch).await;
        self.line.end_if_last(live).await;
        stored
    }

    async fn reject(mut self: Box<Self>, rejected: Rejected) {
        let mut batch = std::mem::take(&mut self.batch);
        let line = Arc::clone(&self.line);
        let settings = &line.settings;
        let has_dead_letter = line.dead_letters.is_some();
        if line.answers_within(&batch).is_some() && answerer::ends(&rejected) {
            match line.told(&batch, &AnswererReply::None(&rejected)).await {
                true if answerer::is_stored(&rejected) => drop(line.stored(batch).await),
                true => drop(acknowledge(&batch).await),
                false => line.put_back(vec![batch], DEFAULT_PAUSE),
            }
            return;
        }
        match then(batch.len(), &rejected, settings.on_failure, has_dead_letter) {
            Then::Again(pause) => line.put_back(vec![batch], pause),
            Then::Alone => {
                let alone = batch.into_iter().map(|taken| vec![taken]).collect();
                line.put_back(alone, Duration::ZERO);
            }
            Then::Apart(guilty) => {
                tracing::warn!(location = %line.location, code = %rejected.code,
                    detail = rejected.detail, "a message has the id of another one; it is kept too");
                batch[guilty].apart = true;
                line.put_back(vec![batch], Duration::ZERO);
            }
            Then::DeadLetter(guilty) => match line.dead_letter(&batch[guilty], &rejected).await {
                Ok(()) => {
                    let id = batch[guilty].properties.message_id().as_ref();
                    tracing::error!(location = %line.location, code = %rejected.code,
                        id = id.map(ShortString::as_str), detail = rejected.detail,
                        queue = settings.dead_letter,
                        "a message is not acceptable and went into the dead letter queue");
                    let dead = batch.remove(guilty);
                    // It never fails: what is not acknowledged comes again and goes the same way.
                    let _acknowledged = acknowledge(&[dead]).await;
                    line.put_back(vec![batch], Duration::ZERO);
                }
                Err(error) => {
                    tracing::error!(location = %line.location, code = %error.code,
                        detail = error.detail, "the dead letter queue does not take a message");
                    line.put_back(vec![batch], Duration::from_secs(1));
                }
            },
            Then::Stop => {
                let guilty = rejected.index.map_or(0, usize::from).min(batch.len() - 1);
                if guilty == 0 {
                    line.stop(&batch[0], &rejected).await;
                } else {
                    // What came before it goes on; then it is the first.
                    let behind = batch.split_off(guilty);
                    line.put_back(vec![batch, behind], Duration::ZERO);
                }
            }
        }
    }
}

impl Drop for BatchSettle {
    /// If it is unanswered, nobody knows yet whether it is stored, so it comes again under the same keys.
    fn drop(&mut self) {
        let batch = std::mem::take(&mut self.batch);
        if !batch.is_empty() {
            self.line.put_back(vec![batch], DEFAULT_PAUSE);
        }
        self.line.out.fetch_sub(1, Ordering::SeqCst);
        self.line.changed.notify_one();
    }
}
