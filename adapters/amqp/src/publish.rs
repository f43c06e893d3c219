//! Putting one message into a queue, for good: persistent, mandatory, confirmed.

use std::{future::Future, pin::pin, sync::Arc, time::Duration};

use lapin::{BasicProperties, Confirmation, options::BasicPublishOptions, types::ShortString};
use quayside_adapter_api::{AdapterError, ErrorKind, model::failpoint};
use tokio::{sync::Semaphore, time::timeout};

use crate::{
    codes, config, error,
    link::{Link, Live},
};

/// Kept on the disk of the broker.
pub(crate) const PERSISTENT: u8 = 2;

/// Publishes over one channel, so that what is published one after the other arrives in that order.
#[derive(Debug)]
pub(crate) struct Publisher {
    pub(crate) link: Link,
    /// Places for messages that wait for their confirmation.
    window: Semaphore,
    within: Duration,
}

impl Publisher {
    /// With at most `window` messages unconfirmed, each for at most `within`.
    pub(crate) fn new(link: Link, window: usize, within: Duration) -> Self {
        Self {
            link,
            window: Semaphore::new(window),
            within,
        }
    }

    /// Puts a message into `queue` and returns when the broker has confirmed that it has it. Asks `may_act`
    /// right before.
    pub(crate) async fn publish(
        &self,
        queue: &str,
        properties: BasicProperties,
        body: &[u8],
        may_act: &(dyn Fn() -> bool + Send + Sync),
    ) -> Result<(), AdapterError> {
        let refused = |why| AdapterError::new(ErrorKind::Rejected, codes::QUEUE_REFUSED, why);
        config::confine(queue).map_err(refused)?;
        let key = ShortString::try_new(queue).map_err(|error| refused(error.to_string()))?;
        let _place = self.window.acquire().await;
        let live = self.ready().await?;
        if !may_act() {
            let detail = "the process was paused beyond its lease";
            let kind = ErrorKind::Retry(None);
            return Err(AdapterError::new(kind, codes::NOT_TRUSTED, detail));
        }
        let options = BasicPublishOptions {
            mandatory: true,
            ..BasicPublishOptions::default()
        };
        let published = async {
            let exchange = ShortString::default();
            let confirm = live
                .channel
                .basic_publish(exchange, key, options, body, properties)
                .await?;
            let tell = || tracing::warn!(queue, "held before the confirmation");
            failpoint::pass("hold-before-confirm", tell).await;
            confirm.await
        };
        match self.answer(&live, published).await {
            Some(Ok(confirmation)) => judge(queue, &confirmation),
            Some(Err(error)) => {
                let detail = format!("publishing into `{queue}`: {error}");
                self.link.fail(&live, &detail);
                Err(unconfirmed(detail))
            }
            None => {
                let detail = format!("`{queue}`: no confirmation within {:?}", self.within);
                // What comes later could not be told from it, and the connection may be dead.
                self.link.fail(&live, &detail);
                Err(unconfirmed(detail))
            }
        }
    }

    /// A connection whose broker takes messages. Nothing was sent when this fails.
    pub(crate) async fn ready(&self) -> Result<Arc<Live>, AdapterError> {
        let within = self.within;
        let connecting = timeout(within, self.link.live()).await;
        let live = connecting
            .map_err(|_| error::unreachable(format!("no broker within {within:?}")))??;
        match timeout(within, live.unblocked()).await {
            Ok(()) => Ok(live),
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

fn unconfirmed(detail: String) -> AdapterError {
    AdapterError::new(ErrorKind::Retry(None), codes::UNCONFIRMED, detail).doubtful()
}

/// What the broker's word means. A message that was returned is confirmed as well.
fn judge(queue: &str, confirmation: &Confirmation) -> Result<(), AdapterError> {
    let failed = |code, why: &str| {
        let detail = format!("`{queue}`: {why}");
        Err(AdapterError::new(ErrorKind::Retry(None), code, detail))
    };
    match confirmation {
        Confirmation::Ack(None) => Ok(()),
        Confirmation::Ack(Some(returned)) | Confirmation::Nack(Some(returned)) => {
            let why = format!("{} {}", returned.reply_code, returned.reply_text);
            failed(codes::RETURNED, &why)
        }
        Confirmation::Nack(None) => failed(codes::NOT_TAKEN, "the broker did not take it"),
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
