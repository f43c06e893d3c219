//! Acknowledging what is stored, in one word where that is possible: does what [`Acks`] decides.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use lapin::{Channel, options::BasicAckOptions};
use tokio::{
    sync::Notify,
    time::{Instant, timeout_at},
};

use crate::acks::{Ack, Acks};

/// How long what is stored waits for what is before it. Batches that are under way together are stored in one
/// commit mostly, so they end in one moment.
const TOGETHER_WITHIN: Duration = Duration::from_millis(20);

/// The deliveries of one channel that are not acknowledged.
#[derive(Debug, Default)]
pub(crate) struct Unacked {
    acks: Mutex<Acks>,
    /// Held from a decision until it is said: said later, one for a single message could come behind one that stands for
    /// it too, which the broker takes for a fault of the channel.
    saying: tokio::sync::Mutex<()>,
    /// Something that was held may have been said.
    said: Notify,
}

impl Unacked {
    /// The delivery `tag` arrived.
    pub(crate) fn opened(&self, tag: u64) {
        self.acks().opened(tag);
    }

    /// Acknowledges `tags` over their `channel`. If that is lost, the broker delivers them again.
    pub(crate) async fn acknowledge(&self, channel: &Channel, tags: &[u64]) {
        {
            let _saying = self.saying.lock().await;
            let ack = self.acks().done(tags);
            if let Some(ack) = ack {
                say(channel, ack).await;
                self.said.notify_waiters();
            }
        }
        let until = Instant::now() + TOGETHER_WITHIN;
        loop {
            // Register before looking, so that a word between both is not missed.
            let said = self.said.notified();
            if !self.acks().hold(tags) {
                return;
            }
            if timeout_at(until, said).await.is_err() {
                break;
            }
        }
        let _saying = self.saying.lock().await;
        let late = self.acks().release(tags);
        for ack in late {
            say(channel, ack).await;
        }
    }

    fn acks(&self) -> MutexGuard<'_, Acks> {
        self.acks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn say(channel: &Channel, Ack { tag, multiple }: Ack) {
    let said = channel.basic_ack(tag, BasicAckOptions { multiple }).await;
    if let Err(error) = said {
        tracing::debug!(%error, tag, "a stored message could not be acknowledged");
    }
}
