//! What publishing leaves in the history: suppressed repeats, messages for nobody, and deliveries that are
//! suspended from birth.

use quayside_store::commit::Birth;

use super::attempt::{Item, Verdict};
use crate::{pool::Params, row::Id};

/// Events of messages and deliveries as columns.
#[derive(Debug, Default)]
pub(super) struct Events {
    messages: Vec<Id>,
    events: Vec<&'static str>,
    details: Vec<String>,
    nos: Vec<Option<i32>>,
    ports: Vec<Option<String>>,
}

impl Events {
    pub(super) fn of(items: &[Item<'_>]) -> Self {
        let mut events = Self::default();
        for item in items {
            let message = &item.publish.message;
            match &item.verdict {
                Verdict::Duplicate(first) => {
                    let detail = format!("the same key came again by {}", message.origin);
                    events.push(first.message.into(), "duplicate", detail);
                }
                Verdict::New if item.publish.deliveries.is_empty() => {
                    events.push(message.id.into(), "unrouted", String::new());
                }
                Verdict::New => {
                    for (no, delivery) in (0..).zip(&item.publish.deliveries) {
                        if let Birth::Suspended(failure) = &delivery.birth {
                            let detail = format!("{}: {}", failure.code, failure.detail);
                            events.push(message.id.into(), "suspended", detail);
                            events.of_delivery(no, delivery.port.to_string());
                        }
                    }
                }
                _ => {}
            }
        }
        events
    }

    pub(super) fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    pub(super) fn params<'s>(&'s self, now: &'s i64) -> Params<'s> {
        vec![
            now,
            &self.messages,
            &self.events,
            &self.details,
            &self.nos,
            &self.ports,
        ]
    }

    fn push(&mut self, message: Id, event: &'static str, detail: String) {
        self.messages.push(message);
        self.events.push(event);
        self.details.push(detail);
        self.nos.push(None);
        self.ports.push(None);
    }

    /// The event pushed last is one of this delivery.
    fn of_delivery(&mut self, no: i32, port: String) {
        if let (Some(last_no), Some(last_port)) = (self.nos.last_mut(), self.ports.last_mut()) {
            (*last_no, *last_port) = (Some(no), Some(port));
        }
    }
}
