//! What a send port writes on a message: pure.

use std::{collections::BTreeMap, time::Duration};

use lapin::BasicProperties;
use quayside_adapter_api::{
    AdapterError, ErrorKind,
    model::{DeliveryId, Message, Text, Timestamp, Value},
};

use super::{
    class::Class,
    context::unhex,
    deadline::{Standing, Times},
    id,
    message::{Properties, Xact},
    names::{self, Purpose},
    settings::{BYTES, Given, NORMAL_PRIORITY, SendMsmq},
    value::{self, Wrong},
};
use crate::codes;

/// A message with its properties, on its way to a queue.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Ready {
    /// The queue of AMQP.
    pub(crate) queue: String,
    pub(crate) told: Properties,
    pub(crate) properties: BasicProperties,
    /// Why it is too late for it, if so.
    pub(crate) late: Option<Class>,
}

/// What is to be sent, for [`ready`].
#[derive(Debug)]
pub(crate) struct Outgoing<'a> {
    pub(crate) delivery: DeliveryId,
    pub(crate) message: &'a Message,
    pub(crate) rendered: &'a BTreeMap<String, Text>,
    /// What the port writes on every message, whatever it means.
    pub(crate) base: BasicProperties,
}

/// Puts the settings, and what the message itself brought along, on the message. `queue` is a name of
/// MSMQ or of AMQP.
///
/// # Errors
/// `Rejected`: a name or a value that a template came to is none, or the message is too large.
pub(crate) fn ready(
    settings: &SendMsmq,
    queue: &str,
    given: &Outgoing<'_>,
    now: Timestamp,
) -> Result<Ready, AdapterError> {
    let size = given.message.body().content.len();
    if size > settings.max_message_size.bytes() {
        let most = settings.max_message_size;
        let detail = format!("the message has {size} bytes, `max_message_size` is {most}");
        return Err(rejected(codes::TOO_LARGE, detail));
    }
    let queue = self::queue(settings, queue)?;
    let times = Times {
        to_reach_queue: settings.time_to_reach_queue.map(|span| span.duration()),
        to_be_received: Values { settings, given }
            .to_be_received()
            .map_err(refused)?,
    };
    let sent = given.message.received_at;
    let (expiration, late) = match times.standing(sent, now) {
        Standing::InTime { expiration } => (expiration, None),
        Standing::Late(class) => (None, Some(class)),
    };
    let mut told = told(&Values { settings, given }).map_err(refused)?;
    told.expiration = expiration.or(told.expiration);
    told.deadline = times.deadline(sent);
    let mut properties = told.write(given.base.clone());
    if properties.content_type().is_none() {
        let content_type = content_type(told.body_type.unwrap_or(BYTES));
        properties = properties.with_content_type(content_type.into());
    }
    Ok(Ready {
        queue,
        told,
        properties,
        late,
    })
}

/// The queue of AMQP that `name` stands for.
pub(crate) fn queue(settings: &SendMsmq, name: &str) -> Result<String, AdapterError> {
    names::resolve(name, &settings.machine, Purpose::Send)
        .map_err(|error| rejected(error.code(), error.to_string()))
}

fn rejected(code: quayside_adapter_api::model::Code, detail: String) -> AdapterError {
    AdapterError::new(ErrorKind::Rejected, code, detail)
}

fn refused(wrong: Wrong) -> AdapterError {
    rejected(wrong.code, wrong.message)
}

fn told(values: &Values<'_>) -> Result<Properties, Wrong> {
    let settings = values.settings;
    // What the port has written already stays where nothing of this is set.
    let before = Properties::read(&values.given.base);
    let id = id::of_delivery(values.given.delivery);
    let transactional = settings.transactional;
    let priority = match values.number("priority", &settings.priority, "msmq.priority")? {
        _ if transactional => 0,
        Some(priority) => u8::try_from(priority).unwrap_or(NORMAL_PRIORITY),
        None => before.priority.unwrap_or(NORMAL_PRIORITY),
    };
    let correlation_id = match values.rendered("correlation_id") {
        Some(text) => value::correlation_id(text)?,
        None => values.own("msmq.correlation-id"),
    };
    let extension = match values.rendered("extension") {
        Some(text) => Some(value::extension(text)?),
        None => values.own("msmq.extension").and_then(|text| unhex(&text)),
    };
    let body_type = values.number("body_type", &settings.body_type, "msmq.body-type")?;
    Ok(Properties {
        correlation_id: before.correlation_id.or(correlation_id),
        label: values.text("label", Some("msmq.label"))?,
        priority: Some(priority),
        app_specific: values.number("app_specific", &settings.app_specific, "msmq.app-specific")?,
        body_type: Some(body_type.unwrap_or(BYTES)),
        extension: extension.filter(|bytes| !bytes.is_empty()),
        acknowledge: settings.acknowledge.0,
        admin_queue: values.text("administration_queue", None)?,
        response_queue: match before.response_queue {
            Some(queue) => Some(queue),
            None => values.text("response_queue", Some("msmq.response-queue"))?,
        },
        use_dead_letter: settings.dead_letter,
        use_journal: settings.journal,
        source: Some(settings.machine.to_lowercase()),
        // Each message is a transaction of its own.
        xact: transactional.then(|| Xact {
            id: id.clone(),
            first: true,
            last: true,
        }),
        id: Some(id),
        sent: before.sent,
        expiration: before.expiration,
        recoverable: true,
        ..Properties::default()
    })
}

/// The values for one message: what a setting came to, or what the message brought along.
struct Values<'a> {
    settings: &'a SendMsmq,
    given: &'a Outgoing<'a>,
}

impl Values<'_> {
    fn rendered(&self, key: &str) -> Option<&str> {
        let rendered = self.given.rendered.get(&format!("msmq.{key}"));
        rendered.map(Text::as_str)
    }

    fn own_value(&self, name: &str) -> Option<&Value> {
        let own = self.given.message.context.value(name);
        own.filter(|_| self.settings.carry)
    }

    fn own(&self, name: &str) -> Option<String> {
        match self.own_value(name)? {
            Value::Text(text) => Some(text.to_string()),
            _ => None,
        }
    }

    /// An empty text is none.
    fn text(&self, key: &str, own: Option<&str>) -> Result<Option<String>, Wrong> {
        let Some(text) = self.rendered(key) else {
            // It was a partner's, and is passed on as it came.
            return Ok(own.and_then(|name| self.own(name)));
        };
        value::check_text(key, text)?;
        Ok((!text.is_empty()).then(|| text.to_owned()))
    }

    fn number(&self, key: &str, given: &Option<Given>, own: &str) -> Result<Option<u32>, Wrong> {
        match given {
            Some(Given::Number(number)) => Ok(u32::try_from(*number).ok()),
            Some(Given::Template(_)) => {
                let text = self.rendered(key).unwrap_or_default();
                value::number(key, text).map(Some)
            }
            None => Ok(match self.own_value(own) {
                Some(Value::Integer(number)) => u32::try_from(*number).ok(),
                _ => None,
            }),
        }
    }

    fn to_be_received(&self) -> Result<Option<Duration>, Wrong> {
        let text = self.rendered("time_to_be_received");
        text.map_or(Ok(None), value::time_to_be_received)
    }
}

/// The media type for one of MSMQ's types of bodies, for a message that brought none.
fn content_type(body_type: u32) -> &'static str {
    match body_type {
        8 | 31 => "text/plain; charset=utf-16le",
        30 => "text/plain",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use quayside_adapter_api::{
        config::parse,
        model::{Content, Context, MessageId, Name, Part, SeededEntropy},
    };
    use serde_json::{Value as Block, json};

    use super::*;

    const SENT: Timestamp = Timestamp::from_micros(1_700_000_000_000_000);

    fn message(context: Context) -> Message {
        Message {
            id: MessageId::new(SENT, &SeededEntropy::new(1)),
            received_at: SENT,
            origin: Text::lossy("a/b/c"),
            message_type: None,
            context,
            parts: vec![Part {
                name: Name::new("body").expect("a name"),
                content_type: None,
                content: Content::Inline(Bytes::from_static(b"0123456789")),
            }],
        }
    }

    fn carried() -> Context {
        let told = Properties {
            label: Some("theirs".to_owned()),
            correlation_id: Some("c-1".to_owned()),
            priority: Some(6),
            app_specific: Some(9),
            body_type: Some(8),
            extension: Some(vec![1, 2]),
            response_queue: Some("answers".to_owned()),
            admin_queue: Some("acks".to_owned()),
            acknowledge: super::super::class::Acks(15),
            ..Properties::default()
        };
        let mut context = Context::new();
        super::super::context::add(&mut context, &told, "q", SENT);
        context
    }

    fn compose(block: Block, rendered: &[(&str, &str)], after: u64) -> Result<Ready, AdapterError> {
        compose_of(block, rendered, after, &message(Context::new()))
    }

    fn compose_of(
        block: Block,
        rendered: &[(&str, &str)],
        after: u64,
        message: &Message,
    ) -> Result<Ready, AdapterError> {
        let settings: SendMsmq = parse(&block).expect("settings");
        let texts = rendered.iter();
        let texts = texts.map(|(key, text)| (format!("msmq.{key}"), Text::lossy(text)));
        let given = Outgoing {
            delivery: DeliveryId {
                message: MessageId::from_bytes([7; 16]),
                no: 0,
            },
            message,
            rendered: &texts.collect(),
            base: BasicProperties::default()
                .with_timestamp(1_700_000_000)
                .with_expiration("86400000".into()),
        };
        ready(
            &settings,
            r"srv1\private$\q",
            &given,
            SENT.plus(Duration::from_secs(after)),
        )
    }

    #[test]
    fn a_plain_message_has_the_defaults() {
        let ready = compose(json!({}), &[], 0).expect("ready");
        assert_eq!(ready.queue, "msmq.private$.q");
        let told = Properties::read(&ready.properties);
        assert_eq!(
            told.id.as_deref(),
            Some(r"07070707-0707-0707-0707-070707070707\1")
        );
        assert_eq!((told.priority, told.body_type), (Some(3), Some(8209)));
        assert!(told.use_dead_letter && !told.use_journal && told.recoverable);
        assert!(told.xact.is_none() && told.deadline.is_none());
        // The port's own, which means something else.
        assert_eq!(told.expiration, Some(86_400_000));
        assert_eq!(told.sent, Some(SENT));
        assert_eq!(told.source.as_deref(), Some("quayside"));
        let content_type = ready.properties.content_type().as_ref();
        assert_eq!(
            content_type.map(|t| t.as_str()),
            Some("application/octet-stream")
        );
    }

    #[test]
    fn settings_come_before_what_the_message_brought() {
        let message = message(carried());
        let ready = compose_of(json!({}), &[], 0, &message).expect("ready");
        let told = &ready.told;
        assert_eq!(told.label.as_deref(), Some("theirs"));
        assert_eq!(told.correlation_id.as_deref(), Some("c-1"));
        assert_eq!(
            (told.priority, told.app_specific, told.body_type),
            (Some(6), Some(9), Some(8))
        );
        assert_eq!(told.extension, Some(vec![1, 2]));
        assert_eq!(told.response_queue.as_deref(), Some("answers"));
        // What was asked of this gateway is not asked of the next one.
        assert!(told.admin_queue.is_none() && told.acknowledge.is_none());
        let set =
            json!({ "label": "x", "app_specific": 1, "priority": "x", "transactional": true });
        let rendered = [("label", "ours"), ("priority", "2")];
        let told = compose_of(set, &rendered, 0, &message).expect("ready").told;
        assert_eq!(told.label.as_deref(), Some("ours"));
        assert_eq!((told.priority, told.app_specific), (Some(0), Some(1)));
        assert!(told.xact.is_some_and(|xact| xact.first && xact.last));
        let told = compose_of(json!({ "carry": false }), &[], 0, &message)
            .expect("ready")
            .told;
        assert_eq!((told.label, told.priority), (None, Some(3)));
    }

    #[test]
    fn what_a_template_comes_to_is_checked() {
        for (key, text, code) in [
            ("label", "x".repeat(250), codes::MSMQ_PROPERTY),
            ("correlation_id", "id-1".to_owned(), codes::MSMQ_PROPERTY),
            ("priority", "8".to_owned(), codes::MSMQ_PROPERTY),
            ("extension", "0".to_owned(), codes::MSMQ_PROPERTY),
            ("response_queue", "LABEL:x".to_owned(), codes::MSMQ_NO_QUEUE),
            ("time_to_be_received", "0".to_owned(), codes::MSMQ_PROPERTY),
        ] {
            let error = compose(json!({ key: "{X}" }), &[(key, &text)], 0).expect_err(key);
            assert_eq!(
                (error.kind, error.code),
                (ErrorKind::Rejected, code),
                "{key}"
            );
        }
        let error = compose(json!({ "max_message_size": "9 B" }), &[], 0).expect_err("large");
        assert_eq!(error.code, codes::TOO_LARGE);
    }

    #[test]
    fn times_run_from_when_the_store_had_it() {
        let block = || json!({ "time_to_reach_queue": "1m", "time_to_be_received": "x" });
        let at = |after| compose(block(), &[("time_to_be_received", "2m")], after).expect("ready");
        let early = at(10);
        assert_eq!(early.late, None);
        assert_eq!(early.told.expiration, Some(110_000));
        let deadline = SENT.plus(Duration::from_secs(120));
        assert_eq!(early.told.deadline, Some(deadline));
        assert_eq!(at(60).late, Some(Class::REACH_QUEUE_TIMEOUT));
        let endless = compose(block(), &[("time_to_be_received", "infinite")], 0).expect("ready");
        assert_eq!(endless.told.expiration, Some(86_400_000));
        assert_eq!(endless.told.deadline, None);
    }
}
