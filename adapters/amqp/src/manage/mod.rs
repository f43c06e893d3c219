//! Looking after queues over a connection of one's own: what an operator asks for, step by step and once.
//! Nothing is rebuilt or tried again here, so that every failure is told at once.

use std::{future::Future, time::Duration};

use lapin::{
    Channel, Connection,
    options::{ConfirmSelectOptions, QueueDeclareOptions, QueuePurgeOptions},
    types::{FieldTable, ShortString},
};
use quayside_adapter_api::{AdapterError, ErrorKind, Secrets};
use tokio::time::timeout;

mod access;
mod compare;
mod give_back;
mod management;
mod message;
mod peek;

pub use compare::Standing;
pub use give_back::{Given, Selection};
pub use management::{Listed, Management};
pub(crate) use management::{address as management_address, client as management_client};
pub use message::Seen;
pub use peek::{Peeked, Peeking};

use crate::{codes, declare::Site, dial::dial, error, wire};

/// How long the broker may take for one step.
const WITHIN: Duration = Duration::from_secs(10);

/// How long a queue may take to have back what a channel held that is closed, and how often it is asked.
const BACK: Duration = Duration::from_secs(2);
const ASKED: Duration = Duration::from_millis(20);

/// How long it may take to say goodbye: what matters is done by then.
const FAREWELL: Duration = Duration::from_secs(2);

/// A connection for an operator's work.
pub struct Session {
    connection: Connection,
    /// Ends the connection with the session, whatever the broker does.
    _plug: wire::Plug,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").finish_non_exhaustive()
    }
}

/// What can be seen of a queue over AMQP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    /// Messages that wait for a consumer.
    pub ready: u32,
    /// Its consumers.
    pub consumers: u32,
}

impl Session {
    /// Connects to the first broker of `site` that answers.
    ///
    /// # Errors
    /// That none can be reached, or that it refuses the user.
    pub async fn open(site: &Site, secrets: &dyn Secrets) -> Result<Self, AdapterError> {
        let mut last = error::unreachable("no broker is named");
        for at in 0..site.broker.uris.len() {
            match dial(&site.broker, at, "queue", secrets).await {
                Ok((connection, plug)) => {
                    return Ok(Self {
                        connection,
                        _plug: plug,
                    });
                }
                // Another one of the list refuses the same user.
                Err(error) if error.kind != ErrorKind::Disconnected => return Err(error),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// Ends the connection in order.
    pub async fn close(self) {
        let closing = self.connection.close(200, ShortString::default());
        // It ends with the session in any case.
        let _ended = timeout(FAREWELL, closing).await;
    }

    /// What can be seen of `queue`; `None` if there is no such queue.
    ///
    /// # Errors
    /// That the broker does not say it, also that the queue belongs to another connection.
    pub async fn look(&self, queue: &str) -> Result<Option<Counts>, AdapterError> {
        let options = QueueDeclareOptions {
            passive: true,
            ..QueueDeclareOptions::default()
        };
        let channel = self.channel().await?;
        let looking = channel.queue_declare(name(queue)?, options, FieldTable::default());
        match within("looking for the queue", looking).await? {
            Ok(found) => {
                let counts = Counts {
                    ready: found.message_count(),
                    consumers: found.consumer_count(),
                };
                leave(channel).await;
                Ok(Some(counts))
            }
            Err(error) if reply(&error) == Some(NOT_FOUND) => Ok(None),
            Err(error) => Err(failed(&format!("looking for `{queue}`"), &error)),
        }
    }

    /// Deletes the messages of `queue` that wait for a consumer, for good, and tells how many.
    ///
    /// # Errors
    /// That there is no such queue, or that the broker does not do it.
    pub async fn purge(&self, queue: &str) -> Result<u32, AdapterError> {
        let channel = self.channel().await?;
        let purging = channel.queue_purge(name(queue)?, QueuePurgeOptions::default());
        let purged = within("purging", purging).await?;
        let count = purged.map_err(|error| failed(&format!("purging `{queue}`"), &error))?;
        leave(channel).await;
        Ok(count)
    }

    /// Waits until `queue` has back what a channel held that is closed: a quorum queue hears of that a moment after
    /// whoever closed it, and until then seems to have no messages and one consumer more than `before`.
    async fn settle(&self, queue: &str, before: Counts) {
        let settling = async {
            while let Ok(Some(now)) = self.look(queue).await
                && now.consumers > before.consumers
            {
                tokio::time::sleep(ASKED).await;
            }
        };
        // Somebody else may have begun to consume: what was done is done.
        let _settled = timeout(BACK, settling).await;
    }

    /// A channel of its own for one step: the broker closes it with a refusal.
    async fn channel(&self) -> Result<Channel, AdapterError> {
        let opening = self.connection.create_channel();
        let channel = within("opening a channel", opening).await?;
        channel.map_err(|error| failed("opening a channel", &error))
    }

    /// A channel over which the broker confirms what it takes.
    async fn confirming(&self) -> Result<Channel, AdapterError> {
        let channel = self.channel().await?;
        let selecting = channel.confirm_select(ConfirmSelectOptions::default());
        let selected = within("asking for confirmations", selecting).await?;
        selected.map_err(|error| failed("asking for confirmations", &error))?;
        Ok(channel)
    }
}

/// The replies that are told apart here.
const ACCESS_REFUSED: u16 = 403;
const NOT_FOUND: u16 = 404;
const LOCKED: u16 = 405;
const PRECONDITION_FAILED: u16 = 406;

/// The code of the broker's reply, if it is one.
fn reply(error: &lapin::Error) -> Option<u16> {
    match error.kind() {
        lapin::ErrorKind::ProtocolError(error) => Some(error.get_id()),
        _ => None,
    }
}

/// What a failure while `doing` something means here.
fn failed(doing: &str, error: &lapin::Error) -> AdapterError {
    let detail = format!("{doing}: {}", error::words(error));
    let config = |code| AdapterError::new(ErrorKind::Config, code, detail.clone());
    match reply(error) {
        Some(NOT_FOUND) => config(codes::QUEUE_MISSING),
        Some(ACCESS_REFUSED) => config(codes::LOGIN_REFUSED),
        Some(LOCKED) => config(codes::WOULD_HARM),
        Some(PRECONDITION_FAILED) => config(codes::DIFFERS),
        _ => error::of_broker(doing, error),
    }
}

/// What `step` comes to, if the broker answers in time.
async fn within<T>(doing: &str, step: impl Future<Output = T>) -> Result<T, AdapterError> {
    let late = |_| error::unreachable(format!("{doing}: no answer within {WITHIN:?}"));
    timeout(WITHIN, step).await.map_err(late)
}

fn name(queue: &str) -> Result<ShortString, AdapterError> {
    ShortString::try_new(queue).map_err(|error| {
        AdapterError::new(ErrorKind::Config, codes::QUEUE_REFUSED, error.to_string())
    })
}

/// Closes a channel that is not needed any more. What it holds unacknowledged goes back to its place.
async fn leave(channel: Channel) {
    let closing = channel.close(200, ShortString::default());
    // The connection ends soon, and it with it.
    let _closed = timeout(FAREWELL, closing).await;
}
