//! What an operator wants of an instance, on its way through the store.

use quayside_model::{Name, Text};
use quayside_orchestration::{Event, Seen};
use serde::{Deserialize, Serialize};

/// An operator's order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Order {
    /// Suspend it, for this reason.
    Suspend(Text),
    /// Go on where it is suspended.
    Resume,
    /// Run the step that failed or waits once more, however it stands by then.
    RetryStep(Option<Name>),
    /// Run this step once more if it still stands as the operator has seen it.
    RetrySeen(Name, Seen),
    /// End it, for this reason.
    Terminate(Text),
}

impl Order {
    /// What it is, for a log.
    #[must_use]
    pub fn in_words(&self) -> &'static str {
        match self {
            Self::Suspend(_) => "suspend",
            Self::Resume => "resume",
            Self::RetryStep(_) | Self::RetrySeen(..) => "retry-step",
            Self::Terminate(_) => "terminate",
        }
    }

    /// As it is left in the store.
    ///
    /// # Panics
    /// Never: it is plain data.
    #[must_use]
    pub fn encode(&self) -> String {
        serde_json::to_string(self).expect("plain data")
    }

    /// Reads what [`Order::encode`] has written. `None`: a newer program has left it.
    #[must_use]
    pub fn decode(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }

    /// What the machine is told.
    pub(crate) fn event(self) -> Event {
        match self {
            Self::Suspend(reason) => Event::Suspend { reason },
            Self::Resume => Event::Resume,
            Self::RetryStep(step) => Event::RetryStep { step, seen: None },
            Self::RetrySeen(step, seen) => Event::RetryStep {
                step: Some(step),
                seen: Some(seen),
            },
            Self::Terminate(reason) => Event::Terminate { reason },
        }
    }
}

#[cfg(test)]
mod tests {
    use quayside_orchestration::CallKey;

    use super::*;

    #[test]
    fn orders_come_back_as_they_were_left() {
        for order in [
            Order::Suspend(Text::lossy("holiday")),
            Order::Resume,
            Order::RetryStep(None),
            Order::RetryStep(Name::new("ask").ok()),
            Order::RetrySeen(Name::new("ask").expect("a name"), Seen::Failed),
            Order::RetrySeen(
                Name::new("ask").expect("a name"),
                Seen::Call(CallKey::from_bytes([7; 16])),
            ),
            Order::Terminate(Text::lossy("obsolete")),
        ] {
            assert_eq!(Order::decode(&order.encode()), Some(order));
        }
        assert_eq!(Order::decode("{\"dance\":null}"), None);
    }
}
