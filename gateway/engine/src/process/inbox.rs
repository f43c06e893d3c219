//! The inbox of an instance: deliveries with the way they came, and what became of the messages it waits for.

use std::sync::Arc;

use quayside_model::{
    Content, Context, DeliveryId, Entropy, ExchangeId, Message, MessageId, Name, RunId, Text,
    Timestamp, hash16,
};
use quayside_orchestration::{Arrived, CallKey, CorrelationKey, Route};
use quayside_store::runs::{Asked, AskedEnd, Entered};
use serde::{Deserialize, Serialize};

use super::document;
use crate::{codes, mapping::REFUSED, plan::OrchestrationPlan};

/// How old the time in the id of a message may be: stores keep messages by it.
const ID_AGE: std::time::Duration = std::time::Duration::from_secs(3600);

/// How many characters of what a program says of its failure are kept.
const WORDS: usize = 2000;

/// Something in the inbox.
#[derive(Debug)]
pub(crate) struct Waiting {
    /// As the machine sees it.
    pub(crate) arrived: Arrived,
    pub(crate) from: From,
}

/// Where it comes from, and so what ends with it.
#[derive(Debug)]
pub(crate) enum From {
    /// A delivery.
    Delivery(DeliveryId),
    /// A request. Its answer becomes a message when the instance keeps it.
    Exchange(ExchangeId, Option<Arc<Message>>),
}

/// How a delivery came to an instance, as it is written at the delivery.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Way {
    /// It started the instance, by this receive step.
    Start(Name),
    /// It has the key of a subscription.
    Key(CorrelationKey),
}

impl Way {
    /// As it is written.
    pub(crate) fn encode(&self) -> Text {
        Text::lossy(&serde_json::to_string(self).expect("plain data"))
    }
}

/// How the run of an instance that another one starts is told, in the place of rendered templates.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Started {
    pub(crate) run: RunId,
}

/// A delivery in the inbox. `None`: a newer program has written the way that it came.
pub(crate) fn entered(entered: &Entered) -> Option<Waiting> {
    let way: Way = serde_json::from_str(&entered.route).ok()?;
    let route = match way {
        Way::Start(step) => Route::Activation(step),
        Way::Key(key) => Route::Correlated(key),
    };
    Some(of(&entered.message, entered.delivery, route))
}

/// A delivery that comes by `route`.
pub(crate) fn of(message: &Message, delivery: DeliveryId, route: Route) -> Waiting {
    Waiting {
        arrived: Arrived {
            message: message.id,
            message_type: message.message_type.clone(),
            context: message.context.clone(),
            route,
        },
        from: From::Delivery(delivery),
    }
}

/// What an instance wants to know of a message that it has sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asking {
    /// Only whether it was delivered.
    Notified,
    /// A partner's answer.
    Call,
    /// What a program has made of it.
    Work,
}

/// What became of a message that the instance has sent.
pub(crate) fn asked(
    plan: &OrchestrationPlan,
    asked: Asked,
    what: Asking,
    now: Timestamp,
) -> Waiting {
    let Asked {
        exchange,
        message,
        end,
    } = asked;
    let key = CallKey::from_bytes(exchange.to_bytes());
    let notified = what == Asking::Notified;
    let failed = |code: Text, detail: Text| match notified {
        true => Route::Undelivered {
            message,
            code,
            detail,
        },
        false => Route::Refused { key, code, detail },
    };
    let mut answer = None;
    let (route, at) = match end {
        // What was answered was delivered.
        AskedEnd::Delivered | AskedEnd::Answered { .. } if notified => {
            (Route::Delivered(message), now)
        }
        AskedEnd::Delivered => {
            let code = Text::lossy(codes::NO_REPLY.code);
            let detail = Text::lossy("the message was delivered, but nothing came back");
            (failed(code, detail), now)
        }
        AskedEnd::Failed { code, detail } => (failed(code, detail), now),
        AskedEnd::Answered { status, at, body } if status >= REFUSED => {
            let code = Text::lossy(codes::NO_REPLY.code);
            let said = match (what, &body.content) {
                (Asking::Work, Content::Inline(bytes)) => first_words(bytes),
                _ => String::new(),
            };
            let detail = match said.is_empty() {
                true => format!("the partner answered with status {status}"),
                false => said,
            };
            (failed(code, Text::lossy(&detail)), at)
        }
        AskedEnd::Answered { at, body, .. } => {
            answer = Some((at, body));
            (Route::Reply(key), at)
        }
    };
    // The same whenever the answer is looked at, so that a step that is made again makes the same message of it.
    let at = if now.since(at) > ID_AGE { now } else { at };
    let id = MessageId::new(at, &Fixed(hash16(&[b"answer", &exchange.to_bytes()])));
    let message = answer.map(|(at, body)| {
        let mut message = Message {
            id,
            received_at: at,
            origin: Text::lossy(&plan.name),
            message_type: None,
            context: Context::new(),
            parts: vec![body],
        };
        document::promote(&plan.messages, &mut message);
        Arc::new(message)
    });
    Waiting {
        arrived: Arrived {
            message: id,
            message_type: message.as_ref().and_then(|m| m.message_type.clone()),
            context: message
                .as_ref()
                .map(|m| m.context.clone())
                .unwrap_or_default(),
            route,
        },
        from: From::Exchange(exchange, message),
    }
}

/// What a program says of its failure, as far as a person reads it.
fn first_words(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    text.trim().chars().take(WORDS).collect()
}

/// The run that a delivery starts: always the same, so that a start that is made again is met.
pub(crate) fn run_of(delivery: DeliveryId, at: Timestamp) -> RunId {
    let no = delivery.no.to_le_bytes();
    RunId::new(
        at,
        &Fixed(hash16(&[b"run", &delivery.message.to_bytes(), &no])),
    )
}

/// Bytes that are given in the place of random ones.
#[derive(Debug)]
struct Fixed([u8; 16]);

impl Entropy for Fixed {
    fn fill(&self, bytes: &mut [u8]) {
        for (to, from) in bytes.iter_mut().zip(self.0.iter().cycle()) {
            *to = *from;
        }
    }
}
