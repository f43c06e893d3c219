//! The answers of a receive location to those who sent a request: to its `reply_to`, with its `correlation_id`.

use std::time::Duration;

use lapin::{
    BasicProperties,
    types::{AMQPValue, FieldTable, ShortString},
};
use quayside_adapter_api::{
    Accepted, AdapterError, Answer, RejectKind, Rejected,
    model::{Name, Text},
};

use crate::{
    codes,
    publish::{Letter, PERSISTENT, Publisher},
};

/// What an answer tells beside its body.
pub(crate) const STATUS: &str = "quayside-status";
/// What tells that there is no answer, and why.
pub(crate) const CODE: &str = "quayside-code";
pub(crate) const DETAIL: &str = "quayside-detail";
/// Whether it may help to ask again with the same `message_id`.
pub(crate) const RETRY: &str = "quayside-retry";

/// Answers requests of one location.
#[derive(Debug)]
pub(crate) struct Answerer {
    pub(crate) location: Name,
    pub(crate) publisher: Publisher,
    /// How long a subscriber's answer is waited for.
    pub(crate) within: Duration,
}

/// What there is to tell.
pub(crate) enum Reply<'a> {
    Answer(&'a Accepted, &'a Answer),
    None(&'a Rejected),
}

/// Whether an answer is out of the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Told {
    /// It is confirmed, or nobody is there any more who waits for it.
    Yes,
    /// It has to be told again.
    NotYet,
}

/// Where a request wants its answer.
pub(crate) fn reply_to(request: &BasicProperties) -> Option<&str> {
    let queue = request.reply_to().as_ref().map(ShortString::as_str);
    queue.filter(|queue| !queue.is_empty())
}

/// Whether the refusal ends the request: somebody is told, and nothing comes again.
pub(crate) fn ends(rejected: &Rejected) -> bool {
    match rejected.kind {
        RejectKind::Invalid
        | RejectKind::Forbidden
        | RejectKind::TooLarge
        | RejectKind::KeyReused
        | RejectKind::NoAnswer
        | RejectKind::NotAnswered => true,
        RejectKind::InProgress | RejectKind::Overloaded | RejectKind::Unavailable => false,
    }
}

/// Whether the request is stored although it is refused: only its answer is missing.
pub(crate) fn is_stored(rejected: &Rejected) -> bool {
    matches!(
        rejected.kind,
        RejectKind::NoAnswer | RejectKind::NotAnswered
    )
}

impl Answerer {
    /// Tells whoever sent `request`, for good.
    pub(crate) async fn tell(&self, request: &BasicProperties, reply: &Reply<'_>) -> Told {
        let Some(queue) = reply_to(request) else {
            return Told::Yes;
        };
        let (properties, body) = written(request, reply);
        // It is no effect of ours that is fenced: whoever has the request answers the same.
        let may_act = || true;
        let letter = Letter {
            queue,
            properties,
            body: &body,
            may_act: &may_act,
            is_reply: true,
        };
        let published = self.publisher.publish_all(&[letter]).await;
        match published.failed {
            None => Told::Yes,
            Some((error, _)) if is_gone(&error) => {
                tracing::warn!(location = %self.location, code = %codes::ANSWER_LOST, queue,
                    detail = error.detail, "an answer was given that nobody waits for any more");
                Told::Yes
            }
            Some((error, _)) => {
                tracing::warn!(location = %self.location, code = %error.code, queue,
                    detail = error.detail, "an answer could not be delivered yet");
                Told::NotYet
            }
        }
    }
}

/// Whether no queue of that name is there, or none that it could be.
fn is_gone(error: &AdapterError) -> bool {
    [codes::RETURNED, codes::QUEUE_REFUSED].contains(&error.code)
}

fn written(request: &BasicProperties, reply: &Reply<'_>) -> (BasicProperties, Vec<u8>) {
    let mut properties = BasicProperties::default()
        .with_delivery_mode(PERSISTENT)
        .with_app_id("quayside".into());
    let correlation = request.correlation_id().as_ref();
    if let Some(id) = correlation.or(request.message_id().as_ref()) {
        properties = properties.with_correlation_id(id.clone());
    }
    let mut headers = FieldTable::default();
    let mut text = |name: &str, text: &str| {
        let text = AMQPValue::LongString(text.as_bytes().to_vec().into());
        headers.insert(name.into(), text);
    };
    let body = match reply {
        Reply::Answer(accepted, answer) => {
            // The same however often it is told.
            let id = ShortString::try_new(format!("{}.answer", accepted.message));
            if let Ok(id) = id {
                properties = properties.with_message_id(id);
            }
            let content_type = answer.content_type.as_ref().map(Text::as_str);
            if let Some(Ok(content_type)) = content_type.map(ShortString::try_new) {
                properties = properties.with_content_type(content_type);
            }
            let status = AMQPValue::LongLongInt(answer.status.into());
            headers.insert(STATUS.into(), status);
            answer.body.to_vec()
        }
        Reply::None(rejected) => {
            text(CODE, rejected.code.code);
            text(DETAIL, &rejected.detail);
            let retry = rejected.kind == RejectKind::NoAnswer;
            headers.insert(RETRY.into(), AMQPValue::Boolean(retry));
            Vec::new()
        }
    };
    (properties.with_headers(headers), body)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use quayside_adapter_api::model::{MessageId, SeededEntropy, Timestamp};

    use super::*;

    #[test]
    fn an_answer_belongs_to_its_request_however_often_it_is_told() {
        let entropy = SeededEntropy::new(1);
        let accepted = Accepted {
            message: MessageId::new(Timestamp::from_micros(0), &entropy),
            others: Vec::new(),
            replayed: false,
            answer: None,
        };
        let answer = Answer {
            status: 200,
            content_type: Some(Text::lossy("text/plain")),
            body: Bytes::from_static(b"yes"),
        };
        let reply = Reply::Answer(&accepted, &answer);
        let with_id = BasicProperties::default().with_message_id("m".into());
        let with_both = with_id.clone().with_correlation_id("c".into());
        for (request, expected) in [(&with_id, "m"), (&with_both, "c")] {
            let (properties, body) = written(request, &reply);
            let correlation = properties.correlation_id().as_ref();
            assert_eq!(correlation.map(ShortString::as_str), Some(expected));
            assert_eq!(body, b"yes");
            assert_eq!(written(request, &reply).0, properties, "the same again");
        }
    }
}
