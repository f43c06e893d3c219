//! Acknowledgments: messages that tell a sender what became of its message. Pure.

use lapin::BasicProperties;
use quayside_adapter_api::model::Timestamp;

use super::{
    class::{Acks, Class},
    id,
    message::Properties,
    names::{self, NameError, Purpose},
};

/// An acknowledgment, ready to be published.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Report {
    /// The queue of AMQP that it goes to.
    pub(crate) queue: String,
    pub(crate) properties: BasicProperties,
}

/// The acknowledgment of `class` for a message that was sent to `queue`, if its sender asked for one.
///
/// It carries the id of the message as its correlation id. Its own id follows from that, so that one which
/// is sent again after a crash is known as a repeat. A message without an id has none: nobody could tell
/// what it is about.
///
/// # Errors
/// The name of the queue for acknowledgments is none.
pub(crate) fn of(
    message: &Properties,
    class: Class,
    queue: &str,
    machine: &str,
    now: Timestamp,
) -> Result<Option<Report>, NameError> {
    let (Some(id), Some(admin)) = (&message.id, &message.admin_queue) else {
        return Ok(None);
    };
    if !message.acknowledge.want(class) {
        return Ok(None);
    }
    let to = names::resolve(admin, machine, Purpose::Send)?;
    let report = Properties {
        id: Some(id::derived(id, &format!("{class} {queue}"))),
        correlation_id: Some(id.clone()),
        label: message.label.clone(),
        app_specific: message.app_specific,
        class,
        acknowledge: Acks::NONE,
        sent: Some(now),
        source: Some(machine.to_owned()),
        destination: Some(queue.to_owned()),
        recoverable: true,
        ..Properties::default()
    };
    Ok(Some(Report {
        queue: to,
        properties: report.write(BasicProperties::default()),
    }))
}

/// The class of the acknowledgment for a message that was stored: that it was received, or why a broker
/// has moved it into the queue that it was taken from. `None` for an acknowledgment and for a copy: who made
/// that has told its sender already.
pub(crate) fn of_stored(message: &Properties) -> Option<Class> {
    match message.class {
        _ if message.is_copy() => None,
        Class::NORMAL => Some(Class::RECEIVE),
        class => Some(class),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_micros(5_000_000);

    fn asking(acknowledge: Acks) -> Properties {
        Properties {
            id: Some("id-1".to_owned()),
            label: Some("Order".to_owned()),
            app_specific: Some(7),
            admin_queue: Some(r".\private$\acks".to_owned()),
            acknowledge,
            ..Properties::default()
        }
    }

    #[test]
    fn a_report_tells_which_message_it_is_about() {
        let message = asking(Acks::POSITIVE_RECEIVE);
        let report = of(&message, Class::RECEIVE, "q", "srv1", NOW);
        let report = report.expect("a name").expect("asked for");
        assert_eq!(report.queue, "msmq.private$.acks");
        let said = Properties::read(&report.properties);
        assert_eq!(said.correlation_id.as_deref(), Some("id-1"));
        assert_eq!(said.class, Class::RECEIVE);
        assert_eq!(said.destination.as_deref(), Some("q"));
        assert_eq!(said.label.as_deref(), Some("Order"));
        assert!(said.recoverable && said.acknowledge.is_none() && said.admin_queue.is_none());
        // However often it is sent, and only for this.
        let id = |class, queue| {
            let message = asking(Acks(15));
            let report = of(&message, class, queue, "srv1", NOW).expect("a name");
            Properties::read(&report.expect("asked for").properties).id
        };
        assert_eq!(id(Class::RECEIVE, "q"), said.id);
        assert_ne!(id(Class::REACH_QUEUE, "q"), said.id);
        assert_ne!(id(Class::RECEIVE, "r"), said.id);
    }

    #[test]
    fn nobody_is_told_who_did_not_ask() {
        let none = |message: &Properties| of(message, Class::RECEIVE, "q", "srv1", NOW) == Ok(None);
        assert!(none(&asking(Acks::POSITIVE_ARRIVAL)));
        assert!(none(&asking(Acks::NEGATIVE_RECEIVE)));
        assert!(none(&Properties {
            id: None,
            ..asking(Acks(15))
        }));
        assert!(none(&Properties {
            admin_queue: None,
            ..asking(Acks(15))
        }));
        let strange = Properties {
            admin_queue: Some("LABEL:acks".to_owned()),
            ..asking(Acks(15))
        };
        assert!(of(&strange, Class::RECEIVE, "q", "srv1", NOW).is_err());
    }

    #[test]
    fn what_was_told_once_is_not_told_again() {
        let of_class = |class| Properties {
            class,
            ..Properties::default()
        };
        let normal = of_class(Class::NORMAL);
        assert_eq!(of_stored(&normal), Some(Class::RECEIVE));
        let dead = of_class(Class::RECEIVE_TIMEOUT);
        assert_eq!(of_stored(&dead), Some(Class::RECEIVE_TIMEOUT));
        let copy = Properties {
            destination: Some("q".to_owned()),
            ..dead
        };
        assert_eq!(of_stored(&copy), None);
    }
}
