//! Putting messages into queues, for good: persistent, mandatory, confirmed.
//!
//! Messages that are published together go over one channel in their order, before the first of them is
//! confirmed. Whatever a lost connection left unconfirmed is published again over the next one, in the same
//! order and with the same ids, from the first unconfirmed one on: a queue that got a beginning of it before has
//! each message first where it belongs.

use std::{
    future::Future,
    pin::pin,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use lapin::{
    BasicProperties, Confirmation, PublisherConfirm, options::BasicPublishOptions,
    types::ShortString,
};
use quayside_adapter_api::{
    AdapterError, ErrorKind,
    model::{Text, failpoint},
};
use tokio::{sync::Semaphore, time::timeout};

use crate::{
    codes,
    confine::confine,
    error,
    link::{Link, Live},
    properties,
    replies::Replies,
    untaken::Untaken,
};

/// Kept on the disk of the broker.
pub(crate) const PERSISTENT: u8 = 2;

/// What a frame that tells properties has beside them, in bytes.
const FRAME: usize = 22;

/// What an operator reads of a message that went out over a connection that was lost. History has these words of
/// whatever may arrive once more.
pub(crate) const MAY_HAVE: &str = "; it may have been sent before, over a connection that was lost";

/// How many connections may be lost under the same messages before that is a failure.
const LOSSES: u32 = 3;

/// One message for one queue.
pub(crate) struct Letter<'a> {
    pub(crate) queue: &'a str,
    pub(crate) properties: BasicProperties,
    pub(crate) body: &'a [u8],
    /// Asked right before it is published.
    pub(crate) may_act: &'a (dyn Fn() -> bool + Send + Sync),
    /// Whether it is an answer: the queue of its address may be one of the broker's own then.
    pub(crate) is_reply: bool,
}

/// What became of letters that were published together.
#[derive(Debug, Default)]
pub(crate) struct Published {
    /// Of each that is confirmed, from the first on, whether it went out before over a connection that was lost.
    pub(crate) confirmed: Vec<bool>,
    /// Why the next one failed, if one did, and how many behind it may be in a queue all the same.
    pub(crate) failed: Option<(AdapterError, usize)>,
    /// The connection over which the last of them went.
    pub(crate) over: Option<Arc<Live>>,
}

/// Publishes over one channel, so that what is published one after the other arrives in that order.
#[derive(Debug)]
pub(crate) struct Publisher {
    pub(crate) link: Link,
    /// Places for messages that wait for their confirmation.
    window: Semaphore,
    within: Duration,
    /// Let come answers over each connection before anything is published over it.
    replies: Option<Arc<Replies>>,
    untaken: Mutex<Untaken>,
}

/// Why publishing stopped.
enum Stopped {
    /// The broker does not want the message, or it may not be published. The connection stands.
    Refused(AdapterError),
    /// The connection does not work any more.
    Lost(String),
}

/// What became of letters over one connection.
#[derive(Default)]
struct Put {
    /// How many are confirmed, from the first on.
    confirmed: usize,
    /// How many may be in a queue, from the first on.
    out: usize,
    /// Why not all are confirmed.
    stopped: Option<Stopped>,
}

impl Publisher {
    /// With at most `window` messages unconfirmed, each for at most `within`.
    pub(crate) fn new(link: Link, window: usize, within: Duration) -> Self {
        Self {
            link,
            window: Semaphore::new(window),
            within,
            replies: None,
            untaken: Mutex::default(),
        }
    }

    /// The same, of a port that waits for answers.
    pub(crate) fn with_replies(self, replies: Arc<Replies>) -> Self {
        Self {
            replies: Some(replies),
            ..self
        }
    }

    /// Puts a message into `queue` and returns when the broker has confirmed that it has it. Asks `may_act`
    /// right before. Gives whether it went out before over a connection that was lost.
    pub(crate) async fn publish(
        &self,
        queue: &str,
        properties: BasicProperties,
        body: &[u8],
        may_act: &(dyn Fn() -> bool + Send + Sync),
    ) -> Result<bool, AdapterError> {
        let letter = Letter {
            queue,
            properties,
            body,
            may_act,
            is_reply: false,
        };
        let published = self.publish_all(&[letter]).await;
        match published.failed {
            Some((error, _)) => Err(error),
            None => Ok(published.confirmed == [true]),
        }
    }

    /// Puts `letters` into their queues, in their order, at most as many as the window takes. Behind the first
    /// that fails none counts.
    pub(crate) async fn publish_all(&self, letters: &[Letter<'_>]) -> Published {
        let mut published = Published::default();
        // All at once: who waits for more while it holds some would wait for ever beside another.
        let places = u32::try_from(letters.len()).unwrap_or(u32::MAX);
        let _places = self.window.acquire_many(places).await;
        // How many went out over connections that were lost, and why the last one was.
        let (mut doubtful, mut losses, mut lost) = (0, 0, None);
        loop {
            let from = published.confirmed.len();
            let put = match self.ready().await {
                Ok(live) => {
                    published.over = Some(Arc::clone(&live));
                    self.put(&live, &letters[from..]).await
                }
                Err(error) => Put {
                    stopped: Some(Stopped::Refused(since_lost(lost.as_deref(), error))),
                    ..Put::default()
                },
            };
            let again = (from..from + put.confirmed).map(|no| no < doubtful);
            published.confirmed.extend(again);
            let failed = published.confirmed.len();
            let out = doubtful.max(from + put.out);
            let mut error = match put.stopped {
                None => return published,
                Some(Stopped::Lost(detail)) if losses + 1 < LOSSES => {
                    let (queue, count) = (letters[failed].queue, out.saturating_sub(failed));
                    tracing::warn!(
                        queue,
                        count,
                        detail,
                        "messages without a confirmation are published again"
                    );
                    (doubtful, losses, lost) = (out, losses + 1, Some(detail));
                    continue;
                }
                Some(Stopped::Lost(detail)) => unconfirmed(detail),
                Some(Stopped::Refused(error)) => error,
            };
            error.in_doubt |= failed < doubtful;
            published.failed = Some((error, out.saturating_sub(failed + 1)));
            return published;
        }
    }

    /// Publishes over `live` until one fails, and waits for what becomes of all that went out: what a queue has
    /// taken behind one that was refused is known then.
    async fn put(&self, live: &Arc<Live>, letters: &[Letter<'_>]) -> Put {
        let mut under_way = Vec::with_capacity(letters.len());
        let mut not_begun = None;
        for letter in letters {
            match self.begin(live, letter).await {
                Ok(confirm) => under_way.push(confirm),
                Err(stopped) => {
                    not_begun = Some(stopped);
                    break;
                }
            }
        }
        let out = under_way.len() + usize::from(matches!(not_begun, Some(Stopped::Lost(_))));
        for letter in &letters[..under_way.len()] {
            let tell = || tracing::warn!(queue = letter.queue, "held before the confirmation");
            failpoint::pass("hold-before-confirm", tell).await;
        }
        let mut put = Put::default();
        for (no, (confirm, letter)) in under_way.into_iter().zip(letters).enumerate() {
            let outcome = match self.answer(live, confirm).await {
                Some(Ok(confirmation)) => {
                    judge(letter.queue, &confirmation).map_err(Stopped::Refused)
                }
                Some(Err(error)) => {
                    let detail = format!("publishing into `{}`: {error}", letter.queue);
                    Err(Stopped::Lost(detail))
                }
                // What comes later could not be told from it, and the connection may be dead.
                None => {
                    let within = self.within;
                    let detail = format!("`{}`: no confirmation within {within:?}", letter.queue);
                    Err(Stopped::Lost(detail))
                }
            };
            self.watch(live, letter.queue, &outcome);
            match outcome {
                Ok(()) => {
                    put.confirmed += usize::from(put.stopped.is_none());
                    put.out = no + 1;
                }
                Err(Stopped::Lost(detail)) => {
                    self.link.fail(live, &detail);
                    put.out = out;
                    put.stopped.get_or_insert(Stopped::Lost(detail));
                    return put;
                }
                Err(refused) => {
                    put.stopped.get_or_insert(refused);
                }
            }
        }
        if let Some(Stopped::Lost(detail)) = &not_begun {
            self.link.fail(live, detail);
            put.out = out;
        }
        put.stopped = put.stopped.or(not_begun);
        put
    }

    /// Gives a connection up over which nothing is taken for a queue: over another one it may be.
    fn watch(&self, live: &Arc<Live>, queue: &str, outcome: &Result<(), Stopped>) {
        let mut untaken = self.untaken.lock().unwrap_or_else(PoisonError::into_inner);
        match outcome {
            Ok(()) => untaken.taken(queue),
            Err(Stopped::Refused(error)) if error.code == codes::NOT_TAKEN => {
                if untaken.refused(queue, self.link.now()) {
                    let detail = format!("nothing is taken for `{queue}` over the connection");
                    self.link.fail(live, &detail);
                }
            }
            Err(_) => {}
        }
    }

    /// Publishes one over `live`.
    async fn begin(&self, live: &Live, letter: &Letter<'_>) -> Result<PublisherConfirm, Stopped> {
        let refused = |why| {
            let kind = ErrorKind::Rejected;
            Stopped::Refused(AdapterError::new(kind, codes::QUEUE_REFUSED, why))
        };
        if !letter.is_reply {
            confine(letter.queue).map_err(refused)?;
        }
        let key = ShortString::try_new(letter.queue).map_err(|e| refused(e.to_string()))?;
        // A broker would close the connection over them, and again each time.
        let size = FRAME + properties::size(&letter.properties);
        if size > live.frame_max() {
            let most = live.frame_max();
            let detail = format!("the properties have {size} bytes, the broker takes {most}");
            let kind = ErrorKind::Rejected;
            let error = AdapterError::new(kind, codes::BAD_PROPERTY, detail);
            return Err(Stopped::Refused(error));
        }
        if !(letter.may_act)() {
            let detail = "the process was paused beyond its lease";
            let kind = ErrorKind::Retry(None);
            let error = AdapterError::new(kind, codes::NOT_TRUSTED, detail);
            return Err(Stopped::Refused(error));
        }
        let options = BasicPublishOptions {
            mandatory: true,
            ..BasicPublishOptions::default()
        };
        let exchange = ShortString::default();
        let properties = letter.properties.clone();
        let channel = &live.channel;
        let publishing = channel.basic_publish(exchange, key, options, letter.body, properties);
        match self.answer(live, publishing).await {
            Some(Ok(confirm)) => Ok(confirm),
            Some(Err(error)) => {
                let detail = format!("publishing into `{}`: {error}", letter.queue);
                Err(Stopped::Lost(detail))
            }
            None => {
                let within = self.within;
                let detail = format!("`{}`: not sent within {within:?}", letter.queue);
                Err(Stopped::Lost(detail))
            }
        }
    }

    /// A connection whose broker takes messages. Nothing was sent when this fails.
    pub(crate) async fn ready(&self) -> Result<Arc<Live>, AdapterError> {
        let within = self.within;
        let connecting = timeout(within, self.link.live()).await;
        let live = connecting.map_err(|_| {
            let why = self.link.why().map(|why| format!(": {why}"));
            let why = why.unwrap_or_default();
            error::unreachable(format!("no broker within {within:?}{why}"))
        })??;
        match timeout(within, live.unblocked()).await {
            Ok(()) => {
                if let Some(replies) = &self.replies
                    && let Err(error) = replies.attach(&live).await
                {
                    self.link.fail(&live, &error.detail);
                    return Err(error);
                }
                Ok(live)
            }
            Err(_) => {
                let reason = live.blocked().unwrap_or_default();
                let detail = format!("blocked for more than {within:?}: {reason}");
                let kind = ErrorKind::Retry(None);
                Err(AdapterError::new(kind, codes::BLOCKED, detail))
            }
        }
    }

    /// What `published` comes to; `None` if the time is up. While the broker says that it takes nothing the
    /// time stands still: it has the message or will have it, and sending it again would only add to it.
    async fn answer<T>(&self, live: &Live, published: impl Future<Output = T>) -> Option<T> {
        let mut published = pin!(published);
        loop {
            match timeout(self.within, &mut published).await {
                Ok(answer) => return Some(answer),
                Err(_) if live.blocked().is_some() && !live.is_lost() => {}
                Err(_) => return None,
            }
        }
    }
}

/// What an operator reads of a message that `queue` has, `again` if it went out before.
pub(crate) fn confirmed(queue: &str, again: bool) -> Text {
    let before = if again { MAY_HAVE } else { "" };
    Text::lossy(&format!("confirmed by the broker in `{queue}`{before}"))
}

fn unconfirmed(detail: String) -> AdapterError {
    AdapterError::new(ErrorKind::Retry(None), codes::UNCONFIRMED, detail).doubtful()
}

/// What it comes to that there is no connection, after one was `lost` under the same messages.
fn since_lost(lost: Option<&str>, error: AdapterError) -> AdapterError {
    match (lost, error.kind) {
        (Some(lost), ErrorKind::Retry(_) | ErrorKind::Disconnected) => {
            unconfirmed(format!("{lost}; since then: {}", error.detail))
        }
        _ => error,
    }
}

/// The reply of a broker that has no queue of the name.
const NO_ROUTE: u16 = 312;

/// What a refusal without a word may mean.
pub(crate) const NOT_TAKEN: &str =
    "the broker did not take it: the queue is full, or its other copies cannot be reached";

/// What the broker's word means. A message that was returned is confirmed as well.
fn judge(queue: &str, confirmation: &Confirmation) -> Result<(), AdapterError> {
    let failed = |code, why: &str| {
        let detail = format!("`{queue}`: {why}");
        Err(AdapterError::new(ErrorKind::Retry(None), code, detail))
    };
    match confirmation {
        Confirmation::Ack(None) => Ok(()),
        Confirmation::Ack(Some(returned)) | Confirmation::Nack(Some(returned)) => {
            let (code, text) = (returned.reply_code, &returned.reply_text);
            let why = match code {
                NO_ROUTE => "there is no such queue".to_owned(),
                code => format!("the broker returned it: {code} {text}"),
            };
            failed(codes::RETURNED, &why)
        }
        Confirmation::Nack(None) => failed(codes::NOT_TAKEN, NOT_TAKEN),
        Confirmation::NotRequested => failed(codes::UNCONFIRMED, "the broker was not asked"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_word_that_a_queue_has_it_is_success() {
        assert_eq!(judge("q", &Confirmation::Ack(None)), Ok(()));
        for (confirmation, code) in [
            (Confirmation::Nack(None), codes::NOT_TAKEN),
            (Confirmation::NotRequested, codes::UNCONFIRMED),
        ] {
            let error = judge("q", &confirmation).expect_err("no success");
            assert_eq!((error.kind, error.code), (ErrorKind::Retry(None), code));
        }
    }
}
