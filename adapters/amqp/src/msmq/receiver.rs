//! A receive location with the meaning of MSMQ: what is not taken, and what a message that is stored brings
//! about before the broker may forget it.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::try_join_all;
use lapin::BasicProperties;
use quayside_adapter_api::{
    AdapterError,
    model::{Clock, Context, Name, Timestamp},
};

use super::{
    class::Class,
    context, deadline,
    message::Properties,
    names::{self, System},
    report,
    sender::{marked, missing, publish_report},
    settings::ReceiveMsmq,
};
use crate::{codes, publish::Publisher};

/// Receives with the meaning of MSMQ.
pub(crate) struct Receiver {
    location: Name,
    /// The queue of AMQP that messages are taken from.
    queue: String,
    settings: ReceiveMsmq,
    publisher: Publisher,
    clock: Arc<dyn Clock>,
}

impl std::fmt::Debug for Receiver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Receiver")
            .field("queue", &self.queue)
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

/// A message that was taken, as far as it matters here.
pub(crate) type Message<'a> = (&'a BasicProperties, &'a Bytes);

/// It is not our effect that is fenced: whoever else has these messages does the same with them, and
/// everything has an id by which the repeat is known.
const ALWAYS: &(dyn Fn() -> bool + Send + Sync) = &|| true;

impl Receiver {
    pub(crate) fn new(
        location: Name,
        queue: String,
        settings: ReceiveMsmq,
        publisher: Publisher,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            location,
            queue,
            settings,
            publisher,
            clock,
        }
    }

    /// Adds what the message carries to its context.
    pub(crate) fn add(&self, context: &mut Context, message: &BasicProperties) {
        let told = Properties::read(message);
        context::add(context, &told, &self.queue, self.clock.now());
    }

    /// Why the message must not be taken, if so.
    pub(crate) fn refusal(&self, message: &BasicProperties) -> Option<Class> {
        let told = Properties::read(message);
        refusal(&told, self.settings.transactional, self.clock.now())
    }

    /// Does with a message that must not be taken what its sender asked for: after this the broker may
    /// forget it.
    ///
    /// # Errors
    /// Nothing may be forgotten: the dead letter queue does not take it, or the connection is lost.
    pub(crate) async fn refuse(
        &self,
        (message, body): Message<'_>,
        class: Class,
    ) -> Result<(), AdapterError> {
        let told = Properties::read(message);
        let id = told.id.as_deref().unwrap_or("(none)");
        let code = match class {
            Class::RECEIVE_TIMEOUT => codes::MSMQ_EXPIRED,
            _ => codes::MSMQ_TRANSACTIONAL,
        };
        match dead_letter(&told, class) {
            None => tracing::warn!(location = %self.location, code = %code, class = %class, id,
                "a message came too late and is dropped: its sender wants no dead letter"),
            Some(which) => {
                let dead = which.queue(&self.settings.machine);
                let copy = self.dead(message, class);
                let buried = self.publisher.publish(&dead, copy, body, ALWAYS).await;
                buried.map_err(|error| missing(&dead, error))?;
                tracing::error!(location = %self.location, code = %code, class = %class, id,
                    dead_letter = dead, "a message must not be taken and is in the dead letter queue");
            }
        }
        self.report(&told, class).await
    }

    /// The properties of a message that goes into a dead letter queue because it was refused for good.
    pub(crate) fn rejected(&self, message: &BasicProperties) -> BasicProperties {
        self.dead(message, Class::RECEIVE_REJECTED)
    }

    /// The properties of a message that goes into a dead letter queue for this reason.
    fn dead(&self, message: &BasicProperties, class: Class) -> BasicProperties {
        let told = Properties::read(message);
        marked(
            copy(&told, class, &self.queue).write(message.clone()),
            &self.queue,
        )
    }

    /// Tells the sender of a message that it was refused for good.
    ///
    /// # Errors
    /// It was not told, because the connection is lost.
    pub(crate) async fn tell_rejected(
        &self,
        message: &BasicProperties,
    ) -> Result<(), AdapterError> {
        let told = Properties::read(message);
        self.report(&told, Class::RECEIVE_REJECTED).await
    }

    /// Copies messages that are stored into the journal of the queue and tells their senders: after this
    /// the broker may forget them.
    ///
    /// # Errors
    /// None of them may be forgotten yet: to do it again does all of it again, with the same ids.
    pub(crate) async fn stored<'a>(
        &self,
        messages: impl Iterator<Item = Message<'a>>,
    ) -> Result<(), AdapterError> {
        try_join_all(messages.map(|message| self.stored_one(message)))
            .await
            .map(drop)
    }

    async fn stored_one(&self, (message, body): Message<'_>) -> Result<(), AdapterError> {
        let told = Properties::read(message);
        if self.settings.journal {
            let journal = names::journal_of(&self.queue);
            let copy = copy(&told, told.class, &self.queue).write(message.clone());
            let kept = self.publisher.publish(&journal, copy, body, ALWAYS).await;
            kept.map_err(|error| missing(&journal, error))?;
        }
        match report::of_stored(&told) {
            Some(class) => self.report(&told, class).await,
            None => Ok(()),
        }
    }

    async fn report(&self, told: &Properties, class: Class) -> Result<(), AdapterError> {
        if !self.settings.acknowledge {
            return Ok(());
        }
        let now = self.clock.now();
        let report = report::of(told, class, &self.queue, &self.settings.machine, now);
        publish_report(&self.publisher, report, ALWAYS, &self.location).await
    }

    /// The location, for the log.
    pub(crate) fn location(&self) -> &Name {
        &self.location
    }

    /// Lets its connection go.
    pub(crate) fn release(&self) {
        self.publisher.link.release();
    }
}

/// Why a message must not be taken: it is too late for it, or it was sent in another way than the queue is
/// made for. A copy in a journal or a dead letter queue, and what a broker has moved, is taken as it is.
fn refusal(told: &Properties, transactional: Option<bool>, now: Timestamp) -> Option<Class> {
    if told.is_copy() || told.class != Class::NORMAL {
        return None;
    }
    match (transactional, told.is_transactional()) {
        (Some(true), false) => return Some(Class::NOT_TRANSACTIONAL_MESSAGE),
        (Some(false), true) => return Some(Class::NOT_TRANSACTIONAL_QUEUE),
        _ => {}
    }
    deadline::is_over(told.deadline, now).then_some(Class::RECEIVE_TIMEOUT)
}

/// Which dead letter queue a message goes into. One that came too late only if that is wanted; one that was
/// sent the wrong way always: nobody wanted that.
fn dead_letter(told: &Properties, class: Class) -> Option<System> {
    if told.is_transactional() {
        return Some(System::XactDeadLetter);
    }
    let wanted = told.use_dead_letter || class != Class::RECEIVE_TIMEOUT;
    wanted.then_some(System::DeadLetter)
}

fn copy(told: &Properties, class: Class, queue: &str) -> Properties {
    let destination = told.destination.clone();
    Properties {
        class,
        destination: Some(destination.unwrap_or_else(|| queue.to_owned())),
        expiration: None,
        recoverable: true,
        ..told.clone()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{super::message::Xact, *};

    const NOW: Timestamp = Timestamp::from_micros(9_000_000);

    fn transactional() -> Properties {
        let xact = Xact {
            id: "x".to_owned(),
            first: true,
            last: true,
        };
        Properties {
            xact: Some(xact),
            ..Properties::default()
        }
    }

    #[test]
    fn what_is_late_or_sent_the_wrong_way_is_not_taken() {
        let late = Properties {
            deadline: Some(NOW),
            ..Properties::default()
        };
        assert_eq!(refusal(&late, None, NOW), Some(Class::RECEIVE_TIMEOUT));
        let before = NOW.minus(Duration::from_micros(1));
        assert_eq!(refusal(&late, None, before), None);
        let plain = Properties::default();
        let wrong = Some(Class::NOT_TRANSACTIONAL_MESSAGE);
        assert_eq!(refusal(&plain, Some(true), NOW), wrong);
        let wrong = Some(Class::NOT_TRANSACTIONAL_QUEUE);
        assert_eq!(refusal(&transactional(), Some(false), NOW), wrong);
        for (told, setting) in [
            (&plain, None),
            (&plain, Some(false)),
            (&transactional(), None),
            (&transactional(), Some(true)),
        ] {
            assert_eq!(refusal(told, setting, NOW), None, "{told:?} {setting:?}");
        }
        // A dead letter is late for good, and is there to be read.
        let dead = copy(&late, Class::RECEIVE_TIMEOUT, "q");
        assert_eq!(refusal(&dead, Some(true), NOW), None);
        let journaled = copy(&late, Class::NORMAL, "q");
        assert_eq!(refusal(&journaled, None, NOW), None);
    }

    #[test]
    fn nothing_is_dropped_but_what_its_sender_lets_go() {
        let plain = Properties::default();
        let flagged = Properties {
            use_dead_letter: true,
            ..Properties::default()
        };
        assert_eq!(dead_letter(&plain, Class::RECEIVE_TIMEOUT), None);
        let own = Some(System::DeadLetter);
        assert_eq!(dead_letter(&flagged, Class::RECEIVE_TIMEOUT), own);
        assert_eq!(dead_letter(&plain, Class::NOT_TRANSACTIONAL_MESSAGE), own);
        let xact = Some(System::XactDeadLetter);
        assert_eq!(dead_letter(&transactional(), Class::RECEIVE_TIMEOUT), xact);
    }
}
