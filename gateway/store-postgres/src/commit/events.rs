//! What publishing leaves in the history: suppressed repeats and messages for nobody.

use super::attempt::{Item, Verdict};
use crate::{pool::Params, row::Id};

/// Events of messages as columns.
#[derive(Debug, Default)]
pub(super) struct Events {
    messages: Vec<Id>,
    events: Vec<&'static str>,
    details: Vec<String>,
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
                _ => {}
            }
        }
        events
    }

    pub(super) fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    pub(super) fn params<'s>(&'s self, now: &'s i64) -> Params<'s> {
        vec![now, &self.messages, &self.events, &self.details]
    }

    fn push(&mut self, message: Id, event: &'static str, detail: String) {
        self.messages.push(message);
        self.events.push(event);
        self.details.push(detail);
    }
}
