//! A send port with the meaning of MSMQ: what is published beside the message itself, and instead of it.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use lapin::{BasicProperties, types::ShortString};
use quayside_adapter_api::{
    AdapterError, ErrorKind, Outbound,
    model::{Clock, Name, Text},
};

use super::{
    class::Class,
    compose::{self, Outgoing, Ready},
    message::Properties,
    names::System,
    report,
    settings::{SendMsmq, Undeliverable},
};
use crate::{
    codes, error,
    link::Live,
    properties::beginning,
    publish::{MAY_HAVE, Publisher, confirmed},
};

/// The header that tells where a message in a dead letter queue belongs.
const ORIGINAL_QUEUE: &str = "quayside-queue";

/// Sends with the meaning of MSMQ.
pub(crate) struct Sender {
    port: Name,
    settings: SendMsmq,
    clock: Arc<dyn Clock>,
    /// The connection over which the journal was seen.
    journal_seen: Mutex<Weak<Live>>,
}

impl std::fmt::Debug for Sender {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sender")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

impl Sender {
    pub(crate) fn new(port: Name, settings: SendMsmq, clock: Arc<dyn Clock>) -> Self {
        Self {
            port,
            settings,
            clock,
            journal_seen: Mutex::default(),
        }
    }

    /// The queue of AMQP that a name of MSMQ or of AMQP stands for.
    ///
    /// # Errors
    /// `Rejected`: there is none that could be sent to.
    pub(crate) fn queue(&self, name: &str) -> Result<String, AdapterError> {
        compose::queue(&self.settings, name)
    }

    /// Puts the properties of MSMQ on a message, in place of or beside those of `base`.
    ///
    /// # Errors
    /// `Rejected`: it can never be sent like that.
    pub(crate) fn ready(
        &self,
        queue: &str,
        base: BasicProperties,
        outbound: &Outbound,
    ) -> Result<Ready, AdapterError> {
        let outgoing = Outgoing {
            delivery: outbound.delivery,
            message: &outbound.message,
            rendered: &outbound.rendered,
            base,
        };
        compose::ready(&self.settings, queue, &outgoing, self.clock.now())
    }

    /// Sends it and returns, with words for an operator, when all that it asks for is done: the message is
    /// confirmed and its copy is in the journal, and its sender has the acknowledgment; or it is in the dead
    /// letter queue with its reason. What fails in between is done again with the same ids.
    pub(crate) async fn send(
        &self,
        publisher: &Publisher,
        ready: &Ready,
        body: &[u8],
        may_act: &(dyn Fn() -> bool + Send + Sync),
    ) -> Result<Text, AdapterError> {
        let publishing = Publishing {
            publisher,
            body,
            may_act,
        };
        if let Some(class) = ready.late {
            return self.bury(&publishing, ready, class, "it is too late").await;
        }
        self.before(publisher).await?;
        let properties = ready.properties.clone();
        let published = publishing.publish(&ready.queue, properties).await;
        self.conclude(&publishing, ready, published).await
    }

    /// Makes sure of what has to be there before a message is published.
    pub(crate) async fn before(&self, publisher: &Publisher) -> Result<(), AdapterError> {
        match self.settings.journal {
            true => self.look_for_journal(publisher).await,
            false => Ok(()),
        }
    }

    /// Does what is left to do of a message that was `published`, once more or not, or was not.
    pub(crate) async fn conclude(
        &self,
        publishing: &Publishing<'_>,
        ready: &Ready,
        published: Result<bool, AdapterError>,
    ) -> Result<Text, AdapterError> {
        match published {
            Ok(again) => {
                self.sent(publishing, ready).await?;
                Ok(confirmed(&ready.queue, again))
            }
            Err(error) => match final_class(&error, self.settings.undeliverable) {
                Some(class) => {
                    let doubt = if error.in_doubt { MAY_HAVE } else { "" };
                    let why = format!("{}{doubt}", error.detail);
                    self.bury(publishing, ready, class, &why).await
                }
                None => Err(error),
            },
        }
    }

    /// The journal and the acknowledgment of a message that is confirmed.
    async fn sent(&self, publishing: &Publishing<'_>, ready: &Ready) -> Result<(), AdapterError> {
        if self.settings.journal {
            let journal = System::Journal.queue(&self.settings.machine);
            let copy = copy(ready, Class::NORMAL);
            publishing.publish(&journal, copy).await.map_err(|error| {
                // The message itself is sent: to do it again repeats it.
                AdapterError {
                    in_doubt: true,
                    ..missing(&journal, error)
                }
            })?;
        }
        let reported = self.report(publishing, ready, Class::REACH_QUEUE).await;
        reported.map_err(AdapterError::doubtful)
    }

    /// Puts a message that is not sent into the dead letter queue, and tells its sender.
    async fn bury(
        &self,
        publishing: &Publishing<'_>,
        ready: &Ready,
        class: Class,
        why: &str,
    ) -> Result<Text, AdapterError> {
        let queue = &ready.queue;
        if !self.settings.has_dead_letter() {
            let detail = format!("`{queue}`: {why}, class {class}, and `dead_letter` is off");
            return Err(AdapterError::new(
                ErrorKind::Rejected,
                codes::MSMQ_LATE,
                detail,
            ));
        }
        let which = match self.settings.transactional {
            true => System::XactDeadLetter,
            false => System::DeadLetter,
        };
        let dead = which.queue(&self.settings.machine);
        let properties = marked(copy(ready, class), queue);
        let buried = publishing.publish(&dead, properties).await;
        buried.map_err(|error| missing(&dead, error))?;
        tracing::error!(port = %self.port, code = %codes::MSMQ_LATE, queue, dead_letter = dead,
            class = %class, why, "a message was not delivered and is in the dead letter queue");
        self.report(publishing, ready, class).await?;
        let detail = format!("not delivered to `{queue}` ({why}): in `{dead}`, class {class}");
        Ok(Text::lossy(&detail))
    }

    async fn report(
        &self,
        publishing: &Publishing<'_>,
        ready: &Ready,
        class: Class,
    ) -> Result<(), AdapterError> {
        let now = self.clock.now();
        let machine = &self.settings.machine;
        let report = report::of(&ready.told, class, &ready.queue, machine, now);
        publish_report(publishing.publisher, report, publishing.may_act, &self.port).await
    }

    /// Looks whether there is a journal, once for each connection: a message that is sent without its copy
    /// could only be sent again.
    async fn look_for_journal(&self, publisher: &Publisher) -> Result<(), AdapterError> {
        let live = publisher.ready().await?;
        let seen = |seen: &Weak<Live>| std::ptr::eq(seen.as_ptr(), Arc::as_ptr(&live));
        if seen(
            &self
                .journal_seen
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
        ) {
            return Ok(());
        }
        let journal = System::Journal.queue(&self.settings.machine);
        look_for(&live, &journal).await?;
        let mut seen = self
            .journal_seen
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *seen = Arc::downgrade(&live);
        Ok(())
    }
}

/// What messages are published with.
pub(crate) struct Publishing<'a> {
    pub(crate) publisher: &'a Publisher,
    pub(crate) body: &'a [u8],
    pub(crate) may_act: &'a (dyn Fn() -> bool + Send + Sync),
}

impl Publishing<'_> {
    async fn publish(
        &self,
        queue: &str,
        properties: BasicProperties,
    ) -> Result<bool, AdapterError> {
        let publishing = self
            .publisher
            .publish(queue, properties, self.body, self.may_act);
        publishing.await
    }
}

/// Publishes an acknowledgment, if there is one. One that no queue takes is told in the log and dropped, as
/// with MSMQ: the message that it is about must not wait for it.
pub(super) async fn publish_report(
    publisher: &Publisher,
    report: Result<Option<report::Report>, super::names::NameError>,
    may_act: &(dyn Fn() -> bool + Send + Sync),
    of: &Name,
) -> Result<(), AdapterError> {
    let (queue, why) = match report {
        Ok(None) => return Ok(()),
        Err(wrong) => (String::new(), wrong.to_string()),
        Ok(Some(report)) => {
            let publishing = publisher.publish(&report.queue, report.properties, &[], may_act);
            match publishing.await {
                Err(error) if is_final(&error) => (report.queue, error.detail),
                done => return done.map(drop),
            }
        }
    };
    let (queue, why) = (beginning(&queue), beginning(&why));
    tracing::warn!(of = %of, code = %codes::MSMQ_NO_ACK, queue, why,
        "an acknowledgment was asked for that no queue takes");
    Ok(())
}

/// Whether the broker's word is that the queue does not take a message, rather than none.
fn is_final(error: &AdapterError) -> bool {
    [codes::RETURNED, codes::NOT_TAKEN, codes::QUEUE_REFUSED].contains(&error.code)
}

/// The class of a message that was not taken, if that is the end of it.
fn final_class(error: &AdapterError, undeliverable: Undeliverable) -> Option<Class> {
    if undeliverable == Undeliverable::Retry {
        return None;
    }
    match error.code {
        code if code == codes::RETURNED => Some(Class::BAD_QUEUE),
        code if code == codes::NOT_TAKEN => Some(Class::QUOTA_EXCEEDED),
        _ => None,
    }
}

/// The properties of a copy of the message in another queue. It stays there, however old it gets.
fn copy(ready: &Ready, class: Class) -> BasicProperties {
    let told = Properties {
        class,
        destination: Some(ready.queue.clone()),
        expiration: None,
        ..ready.told.clone()
    };
    told.write(ready.properties.clone())
}

/// The same with the header that tells where it belongs.
pub(super) fn marked(properties: BasicProperties, queue: &str) -> BasicProperties {
    let mut headers = properties.headers().clone().unwrap_or_default();
    let text = lapin::types::AMQPValue::LongString(queue.as_bytes().to_vec().into());
    headers.insert(ORIGINAL_QUEUE.into(), text);
    properties.with_headers(headers)
}

/// A journal or a dead letter queue does not take a copy.
pub(super) fn missing(queue: &str, error: AdapterError) -> AdapterError {
    if !is_final(&error) {
        return error;
    }
    let detail = match error.detail.contains(queue) {
        true => error.detail.clone(),
        false => format!("`{queue}`: {}", error.detail),
    };
    AdapterError {
        code: codes::MSMQ_NO_COPY,
        detail,
        ..error
    }
}

async fn look_for(live: &Live, queue: &str) -> Result<(), AdapterError> {
    let name = ShortString::try_new(queue).map_err(|error| {
        AdapterError::new(ErrorKind::Config, codes::MSMQ_NO_COPY, error.to_string())
    })?;
    let doing = format!("looking for `{queue}`");
    live.look(name).await.map(drop).map_err(|failed| {
        let error = error::of_broker(&doing, &failed);
        match error.code == codes::QUEUE_MISSING {
            true => AdapterError::new(ErrorKind::Retry(None), codes::MSMQ_NO_COPY, error.detail),
            false => error,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_broker_says_is_the_end_only_where_that_is_asked_for() {
        let error = |code| AdapterError::new(ErrorKind::Retry(None), code, "");
        let class = |code, undeliverable| final_class(&error(code), undeliverable);
        assert_eq!(class(codes::RETURNED, Undeliverable::Retry), None);
        let dead = Undeliverable::DeadLetter;
        assert_eq!(class(codes::RETURNED, dead), Some(Class::BAD_QUEUE));
        assert_eq!(class(codes::NOT_TAKEN, dead), Some(Class::QUOTA_EXCEEDED));
        assert_eq!(class(codes::UNCONFIRMED, dead), None);
        assert_eq!(class(codes::UNREACHABLE, dead), None);
    }

    #[test]
    fn a_copy_tells_where_it_belongs_and_does_not_expire() {
        let told = Properties {
            id: Some("m\\1".to_owned()),
            expiration: Some(5),
            ..Properties::default()
        };
        let ready = Ready {
            queue: "q".to_owned(),
            properties: told.write(BasicProperties::default()),
            told,
            late: None,
        };
        let dead = marked(copy(&ready, Class::BAD_QUEUE), &ready.queue);
        let said = Properties::read(&dead);
        assert_eq!(said.id.as_deref(), Some("m\\1"));
        assert_eq!((said.class, said.expiration), (Class::BAD_QUEUE, None));
        assert_eq!(said.destination.as_deref(), Some("q"));
        let headers = dead.headers().as_ref().expect("headers");
        assert!(headers.contains_key(ORIGINAL_QUEUE));
    }
}
