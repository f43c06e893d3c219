//! The properties of MSMQ as those of a message of the gateway, `msmq.*`.

use std::fmt::Write as _;

use quayside_adapter_api::model::{Context, Name, Text, Timestamp, Value};

use super::message::Properties;

/// The longest extension that a property can hold, in bytes: it is written in hexadecimal digits.
pub(super) const MAX_EXTENSION: usize = Text::MAX / 2;

/// Adds to `context` what the message that `queue` delivered at `now` carries.
///
/// Promoted are those that BizTalk promotes, and those by which failed messages and acknowledgments are
/// told apart from others.
pub(crate) fn add(context: &mut Context, properties: &Properties, queue: &str, now: Timestamp) {
    let mut add = Add(context);
    add.promote("msmq.label", text(&properties.label));
    add.promote("msmq.correlation-id", text(&properties.correlation_id));
    add.promote("msmq.priority", properties.priority.map(whole));
    add.promote("msmq.app-specific", properties.app_specific.map(whole));
    add.promote("msmq.class", Some(whole(properties.class.0)));
    let use_dead_letter = Value::Boolean(properties.use_dead_letter);
    add.promote("msmq.use-dead-letter-queue", Some(use_dead_letter));
    add.write(
        "msmq.use-journal-queue",
        Some(Value::Boolean(properties.use_journal)),
    );
    add.write("msmq.id", text(&properties.id));
    add.write("msmq.body-type", properties.body_type.map(whole));
    let extension = properties.extension.as_deref();
    let extension = extension.filter(|bytes| bytes.len() <= MAX_EXTENSION);
    add.write(
        "msmq.extension",
        extension.map(|bytes| Value::Text(Text::lossy(&hex(bytes)))),
    );
    add.write("msmq.acknowledge", Some(whole(properties.acknowledge.0)));
    add.write("msmq.administration-queue", text(&properties.admin_queue));
    add.write("msmq.response-queue", text(&properties.response_queue));
    let to_live = properties.expiration.map(|millis| millis.div_ceil(1000));
    let to_live = to_live.and_then(|seconds| i64::try_from(seconds).ok());
    add.write("msmq.time-to-be-received", to_live.map(Value::Integer));
    add.write("msmq.deadline", properties.deadline.map(Value::Time));
    add.write("msmq.sent-time", properties.sent.map(Value::Time));
    add.write("msmq.arrived-time", Some(Value::Time(now)));
    add.write("msmq.source-machine", text(&properties.source));
    let destination = properties.destination.as_deref().unwrap_or(queue);
    add.write(
        "msmq.destination-queue",
        Some(Value::Text(Text::lossy(destination))),
    );
    add.write(
        "msmq.recoverable",
        Some(Value::Boolean(properties.recoverable)),
    );
    let transactional = Value::Boolean(properties.is_transactional());
    add.write("msmq.transactional", Some(transactional));
    if let Some(xact) = &properties.xact {
        add.write(
            "msmq.transaction-id",
            Some(Value::Text(Text::lossy(&xact.id))),
        );
        add.write(
            "msmq.first-in-transaction",
            Some(Value::Boolean(xact.first)),
        );
        add.write("msmq.last-in-transaction", Some(Value::Boolean(xact.last)));
    }
    add.write(
        "msmq.abort-count",
        properties.abort_count.map(Value::Integer),
    );
    add.write("msmq.move-count", properties.move_count.map(Value::Integer));
    add.write("msmq.sender-id", text(&properties.sender_id));
}

struct Add<'a>(&'a mut Context);

impl Add<'_> {
    fn promote(&mut self, name: &str, value: Option<Value>) {
        if let (Ok(name), Some(value)) = (Name::new(name), value) {
            self.0.promote(name, value);
        }
    }

    fn write(&mut self, name: &str, value: Option<Value>) {
        if let (Ok(name), Some(value)) = (Name::new(name), value) {
            self.0.write(name, value);
        }
    }
}

fn text(text: &Option<String>) -> Option<Value> {
    text.as_deref().map(|text| Value::Text(Text::lossy(text)))
}

fn whole(number: impl Into<i64>) -> Value {
    Value::Integer(number.into())
}

/// Two lower-case digits for each byte.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The bytes of hexadecimal digits.
pub(super) fn unhex(text: &str) -> Option<Vec<u8>> {
    let text = text.trim();
    let whole = text.len().is_multiple_of(2) && text.bytes().all(|b| b.is_ascii_hexdigit());
    let bytes = text.as_bytes().chunks(2);
    let byte = |digits: &[u8]| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok();
    bytes.map(byte).collect::<Option<_>>().filter(|_| whole)
}

#[cfg(test)]
mod tests {
    use super::{
        super::{
            class::{Acks, Class},
            message::Xact,
        },
        *,
    };

    fn full() -> Properties {
        Properties {
            id: Some("g\\1".to_owned()),
            correlation_id: Some("c\\2".to_owned()),
            label: Some("Order 17".to_owned()),
            priority: Some(5),
            app_specific: Some(u32::MAX),
            body_type: Some(8209),
            extension: Some(vec![0, 255]),
            class: Class::RECEIVE,
            acknowledge: Acks(14),
            admin_queue: Some("acks".to_owned()),
            response_queue: Some("answers".to_owned()),
            use_dead_letter: true,
            use_journal: false,
            expiration: Some(1500),
            deadline: Some(Timestamp::from_micros(7)),
            sent: Some(Timestamp::from_micros(5_000_000)),
            source: Some("srv1".to_owned()),
            destination: None,
            xact: Some(Xact {
                id: "x".to_owned(),
                first: true,
                last: false,
            }),
            recoverable: true,
            abort_count: Some(2),
            move_count: Some(1),
            sender_id: Some("guest".to_owned()),
        }
    }

    #[test]
    fn every_property_is_told_with_its_type() {
        let mut context = Context::new();
        add(&mut context, &full(), "q", Timestamp::from_micros(9));
        let said: Vec<String> = context
            .iter()
            .map(|(name, property)| {
                let mark = if property.promoted { "*" } else { "" };
                format!(
                    "{mark}{} {:?}",
                    name.trim_start_matches("msmq."),
                    property.value
                )
            })
            .collect();
        let wanted = [
            "abort-count Integer(2)",
            "acknowledge Integer(14)",
            "administration-queue Text(\"acks\")",
            "*app-specific Integer(4294967295)",
            "arrived-time Time(1970-01-01T00:00:00.000009Z)",
            "body-type Integer(8209)",
            "*class Integer(16384)",
            "*correlation-id Text(\"c\\\\2\")",
            "deadline Time(1970-01-01T00:00:00.000007Z)",
            "destination-queue Text(\"q\")",
            "extension Text(\"00ff\")",
            "first-in-transaction Boolean(true)",
            "id Text(\"g\\\\1\")",
            "*label Text(\"Order 17\")",
            "last-in-transaction Boolean(false)",
            "move-count Integer(1)",
            "*priority Integer(5)",
            "recoverable Boolean(true)",
            "response-queue Text(\"answers\")",
            "sender-id Text(\"guest\")",
            "sent-time Time(1970-01-01T00:00:05.000000Z)",
            "source-machine Text(\"srv1\")",
            "time-to-be-received Integer(2)",
            "transaction-id Text(\"x\")",
            "transactional Boolean(true)",
            "*use-dead-letter-queue Boolean(true)",
            "use-journal-queue Boolean(false)",
        ];
        assert_eq!(said, wanted);
    }

    #[test]
    fn an_ordinary_message_has_few() {
        let mut context = Context::new();
        add(
            &mut context,
            &Properties::default(),
            "q",
            Timestamp::from_micros(9),
        );
        assert_eq!(context.get("msmq.label"), None);
        assert_eq!(context.promoted("msmq.class"), Some(&Value::Integer(0)));
        let transactional = context.value("msmq.transactional");
        assert_eq!(transactional, Some(&Value::Boolean(false)));
    }

    #[test]
    fn bytes_are_written_in_digits_and_read_again() {
        let all: Vec<u8> = (0..=255).collect();
        assert_eq!(unhex(&hex(&all)), Some(all));
        assert_eq!(unhex("ABcd"), Some(vec![0xab, 0xcd]));
        for wrong in ["a", "0x", "+1", "gg", "ä"] {
            assert_eq!(unhex(wrong), None, "{wrong}");
        }
    }
}
