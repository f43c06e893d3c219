//! What a message carries beside its body: as context, and as the key by which a repeat is recognised.

use std::{collections::BTreeMap, fmt::Write as _};

use lapin::{
    BasicProperties,
    types::{AMQPValue, FieldTable, ShortString},
};
use quayside_adapter_api::{
    NaturalKey,
    model::{Context, Name, Text, Timestamp, Value},
};
use sha2::{Digest as _, Sha256};

use crate::{config::Dedupe, publish::PERSISTENT};

/// The most headers that become properties.
const MAX_HEADERS: usize = 256;

/// The most characters of a foreign text in a header or in a line of the log.
const MAX_TOLD: usize = 300;

/// The context of a message that `queue` delivered.
pub(crate) fn context(
    queue: &str,
    routing_key: &str,
    redelivered: bool,
    properties: &BasicProperties,
) -> Context {
    let mut context = Context::new();
    context.promote_text("amqp.queue", queue);
    context.promote_text("amqp.routing-key", routing_key);
    let texts = [
        ("amqp.message-id", properties.message_id()),
        ("amqp.correlation-id", properties.correlation_id()),
        ("amqp.reply-to", properties.reply_to()),
        ("amqp.type", properties.kind()),
        ("amqp.app-id", properties.app_id()),
    ];
    for (name, text) in texts {
        if let Some(text) = text {
            context.promote_text(name, text.as_str());
        }
    }
    write(
        &mut context,
        "amqp.redelivered",
        Value::Boolean(redelivered),
    );
    if let Some(seconds) = properties.timestamp() {
        let micros = i64::try_from(seconds.saturating_mul(1_000_000)).unwrap_or(i64::MAX);
        let time = Value::Time(Timestamp::from_micros(micros));
        write(&mut context, "amqp.timestamp", time);
    }
    if let Some(priority) = properties.priority() {
        let priority = Value::Integer(i64::from(*priority));
        write(&mut context, "amqp.priority", priority);
    }
    let headers = properties.headers().iter().flatten();
    for (name, value) in headers.take(MAX_HEADERS) {
        let name = format!("amqp.header.{}", name.as_str().to_ascii_lowercase());
        if let (Ok(name), Some(value)) = (Name::new(name), property(value)) {
            context.promote(name, value);
        }
    }
    context
}

fn write(context: &mut Context, name: &str, value: Value) {
    if let Ok(name) = Name::new(name) {
        context.write(name, value);
    }
}

/// Headers by which RabbitMQ routes a message to further queues, or refuses it.
pub(crate) const ROUTING: [&str; 2] = ["CC", "BCC"];

/// The headers of a message that came from a queue, for a copy of it: without those that would have the broker
/// put the copy into further queues, where its sender has put the message already.
pub(crate) fn headers(properties: &BasicProperties) -> FieldTable {
    let all = properties.headers().iter().flat_map(FieldTable::inner);
    let own = all.filter(|(name, _)| !ROUTING.contains(&name.as_str()));
    let own: BTreeMap<_, _> = own.map(|(k, v)| (k.clone(), v.clone())).collect();
    own.into()
}

/// The properties of a message that is put where it has to stay: without its `expiration`, which would have
/// it vanish there, and its `user_id`, which a broker takes from that user alone.
pub(crate) fn lasting(properties: &BasicProperties) -> BasicProperties {
    let mut lasting = BasicProperties::default().with_delivery_mode(PERSISTENT);
    if properties.headers().is_some() {
        lasting = lasting.with_headers(headers(properties));
    }
    macro_rules! keep {
        ($($get:ident, $set:ident;)*) => {
            $(if let Some(value) = properties.$get() {
                lasting = lasting.$set(value.clone());
            })*
        };
    }
    keep! {
        content_type, with_content_type;
        content_encoding, with_content_encoding;
        priority, with_priority;
        correlation_id, with_correlation_id;
        reply_to, with_reply_to;
        message_id, with_message_id;
        timestamp, with_timestamp;
        kind, with_type;
        app_id, with_app_id;
    }
    lasting
}

/// The value of a header, if a property can hold it exactly.
pub(crate) fn property(value: &AMQPValue) -> Option<Value> {
    let number = match value {
        AMQPValue::LongString(text) => {
            let text = std::str::from_utf8(text.as_bytes()).ok()?;
            return Text::new(text).ok().map(Value::Text);
        }
        AMQPValue::Boolean(value) => return Some(Value::Boolean(*value)),
        AMQPValue::ShortShortInt(n) => i64::from(*n),
        AMQPValue::ShortShortUInt(n) => i64::from(*n),
        AMQPValue::ShortInt(n) => i64::from(*n),
        AMQPValue::ShortUInt(n) => i64::from(*n),
        AMQPValue::LongInt(n) => i64::from(*n),
        AMQPValue::LongUInt(n) => i64::from(*n),
        AMQPValue::LongLongInt(n) => *n,
        _ => return None,
    };
    Some(Value::Integer(number))
}

/// The key of a message from `queue`, if it has one. `apart` makes it another one than that of an earlier
/// message with the same id and other content.
pub(crate) fn key(
    queue: &str,
    dedupe: &Dedupe,
    properties: &BasicProperties,
    body: &[u8],
    apart: bool,
) -> Option<NaturalKey> {
    let mut key = match dedupe {
        Dedupe::None => return None,
        Dedupe::MessageId => properties.message_id().as_ref()?.to_string(),
        Dedupe::Header(name) => {
            let headers = properties.headers().as_ref()?;
            match headers.inner().get(name.as_str())? {
                AMQPValue::LongString(text) => String::from_utf8(text.as_bytes().to_vec())
                    .unwrap_or_else(|error| hex(&Sha256::digest(error.as_bytes()))),
                value => property(value)?.to_string(),
            }
        }
        Dedupe::BodyHash => hash(properties, body),
    };
    if apart {
        key.push('#');
        key.push_str(&hash(properties, body));
    }
    // Two keys are not to become one by being cut.
    let key = Text::new(key.as_str())
        .unwrap_or_else(|_| Text::lossy(&hex(&Sha256::digest(key.as_bytes()))));
    Some(NaturalKey {
        scope: Text::lossy(&format!("amqp:{queue}")),
        key,
        covers: None,
    })
}

fn hash(properties: &BasicProperties, body: &[u8]) -> String {
    let correlation = properties
        .correlation_id()
        .as_ref()
        .map(ShortString::as_str);
    let correlation = correlation.unwrap_or_default().as_bytes();
    let timestamp = properties.timestamp().unwrap_or_default();
    let digest = Sha256::new()
        .chain_update((correlation.len() as u64).to_be_bytes())
        .chain_update(correlation)
        .chain_update(timestamp.to_be_bytes())
        .chain_update(body)
        .finalize();
    hex(&digest)
}

fn hex(digest: &[u8]) -> String {
    digest.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// As much of `text` as a header or a line of the log has room for: its length may be a sender's to choose.
pub(crate) fn beginning(text: &str) -> &str {
    let end = text.char_indices().nth(MAX_TOLD);
    end.map_or(text, |(end, _)| &text[..end])
}

/// How many bytes `properties` take in a frame, at most.
pub(crate) fn size(properties: &BasicProperties) -> usize {
    let texts = [
        properties.content_type(),
        properties.content_encoding(),
        properties.correlation_id(),
        properties.reply_to(),
        properties.expiration(),
        properties.message_id(),
        properties.kind(),
        properties.user_id(),
        properties.app_id(),
        properties.cluster_id(),
    ];
    let texts = texts.into_iter().flatten();
    let texts: usize = texts.map(|text| 1 + text.as_str().len()).sum();
    let headers = properties.headers().as_ref().map_or(0, size_of_table);
    // Flags, delivery mode, priority and timestamp.
    texts + headers + 2 + 1 + 1 + 8
}

fn size_of_table(table: &FieldTable) -> usize {
    let size = |(name, value): (&ShortString, &AMQPValue)| 1 + name.as_str().len() + size_of(value);
    4 + table.inner().iter().map(size).sum::<usize>()
}

fn size_of(value: &AMQPValue) -> usize {
    1 + match value {
        AMQPValue::LongString(text) => 4 + text.as_bytes().len(),
        AMQPValue::ShortString(text) => 1 + text.as_str().len(),
        AMQPValue::ByteArray(bytes) => 4 + bytes.as_slice().len(),
        AMQPValue::FieldArray(list) => 4 + list.as_slice().iter().map(size_of).sum::<usize>(),
        AMQPValue::FieldTable(table) => size_of_table(table),
        // No other is longer.
        _ => 8,
    }
}

#[cfg(test)]
mod tests {
    use lapin::types::FieldTable;

    use super::*;

    fn message() -> BasicProperties {
        let mut headers = FieldTable::default();
        headers.insert("X-Id".into(), AMQPValue::LongString("h-1".into()));
        headers.insert("Count".into(), AMQPValue::LongLongInt(7));
        headers.insert("Ratio".into(), AMQPValue::Double(0.5));
        BasicProperties::default()
            .with_message_id("m-1".into())
            .with_correlation_id("c-1".into())
            .with_timestamp(5)
            .with_headers(headers)
    }

    #[test]
    fn properties_and_headers_are_told() {
        let context = context("orders", "orders", true, &message());
        let text = |name: &str| context.promoted(name).map(ToString::to_string);
        assert_eq!(text("amqp.message-id").as_deref(), Some("m-1"));
        assert_eq!(text("amqp.header.x-id").as_deref(), Some("h-1"));
        assert_eq!(
            context.promoted("amqp.header.count"),
            Some(&Value::Integer(7))
        );
        assert_eq!(
            context.get("amqp.header.ratio"),
            None,
            "no property is a float"
        );
        assert_eq!(
            context.value("amqp.redelivered"),
            Some(&Value::Boolean(true))
        );
        let time = Value::Time(Timestamp::from_micros(5_000_000));
        assert_eq!(context.value("amqp.timestamp"), Some(&time));
    }

    #[test]
    fn what_has_to_stay_does_not_expire_and_needs_no_certain_user() {
        let message = message().with_delivery_mode(PERSISTENT);
        let passing = message.clone().with_expiration("5".into());
        let foreign = passing.with_user_id("somebody".into());
        assert_eq!(lasting(&foreign), message);
    }

    #[test]
    fn a_copy_goes_into_no_further_queue() {
        let plain = message();
        let mut routed = plain.headers().clone().unwrap_or_default();
        for name in ROUTING {
            let queues = vec![AMQPValue::LongString("elsewhere".into())];
            routed.insert(name.into(), AMQPValue::FieldArray(queues.into()));
        }
        let routed = plain.clone().with_headers(routed);
        assert_eq!(lasting(&routed), lasting(&plain));
    }

    #[test]
    fn the_key_is_the_one_that_was_chosen() {
        let of = |dedupe: &Dedupe, properties: &BasicProperties, body: &[u8], apart| {
            key("q", dedupe, properties, body, apart).map(|key| key.key.to_string())
        };
        let message = message();
        assert_eq!(
            of(&Dedupe::MessageId, &message, b"a", false).as_deref(),
            Some("m-1")
        );
        let header = Dedupe::Header("X-Id".to_owned());
        assert_eq!(of(&header, &message, b"a", false).as_deref(), Some("h-1"));
        assert_eq!(of(&Dedupe::None, &message, b"a", false), None);
        assert_eq!(
            of(&Dedupe::MessageId, &BasicProperties::default(), b"a", false),
            None
        );
    }

    #[test]
    fn keys_that_differ_anywhere_stay_apart() {
        let dedupe = Dedupe::Header("X-Id".to_owned());
        let of = |id: &[u8]| {
            let mut headers = FieldTable::default();
            headers.insert("X-Id".into(), AMQPValue::LongString(id.to_vec().into()));
            let message = BasicProperties::default().with_headers(headers);
            key("q", &dedupe, &message, b"", false).expect("a key").key
        };
        let long = "x".repeat(2 * Text::MAX);
        let ids = [
            &format!("{long}1").into_bytes()[..],
            &format!("{long}2").into_bytes(),
            b"\xff",
            b"\xfe",
            b"a\0",
            "a\u{fffd}".as_bytes(),
        ];
        let keys: std::collections::BTreeSet<String> =
            ids.iter().map(|id| of(id).to_string()).collect();
        assert_eq!(keys.len(), ids.len(), "{keys:?}");
        assert_eq!(of(ids[0]), of(ids[0]));
        assert_eq!(of(b"7").as_str(), "7");
    }

    #[test]
    fn no_property_tells_a_part_of_a_header() {
        let text = |length| AMQPValue::LongString("x".repeat(length).into_bytes().into());
        assert!(property(&text(Text::MAX)).is_some());
        assert_eq!(property(&text(Text::MAX + 1)), None);
        assert_eq!(beginning(&"ä".repeat(70_000)).chars().count(), MAX_TOLD);
    }

    #[test]
    fn the_size_is_that_of_what_is_sent() {
        let none = size(&BasicProperties::default());
        assert_eq!(
            size(&message()) - none,
            4 + 4 + 4 + (1 + 4 + 5 + 3) + (1 + 5 + 9) + (1 + 5 + 9)
        );
    }

    #[test]
    fn content_makes_the_difference_where_it_should() {
        let of = |dedupe: &Dedupe, properties: &BasicProperties, body: &[u8], apart| {
            key("q", dedupe, properties, body, apart)
                .expect("a key")
                .key
        };
        let message = message();
        let other = message.clone().with_correlation_id("c-2".into());
        let hash = |properties, body| of(&Dedupe::BodyHash, properties, body, false);
        assert_eq!(hash(&message, b"a"), hash(&message, b"a"));
        assert_ne!(hash(&message, b"a"), hash(&message, b"b"));
        assert_ne!(hash(&message, b"a"), hash(&other, b"a"));
        let apart = |body| of(&Dedupe::MessageId, &message, body, true);
        assert_ne!(apart(b"a"), of(&Dedupe::MessageId, &message, b"a", false));
        assert_eq!(apart(b"a"), apart(b"a"));
        assert_ne!(apart(b"a"), apart(b"b"));
    }
}
