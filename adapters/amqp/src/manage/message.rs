//! A message as an operator sees it, and where it came from.

use lapin::{
    BasicProperties,
    types::{AMQPValue, FieldTable, ShortString},
};
use serde_json::{Map, Value, json};

use crate::{
    msmq::Class,
    properties::{self, lasting},
};

/// What the broker adds when it gives a message up or delivers it again, and what this gateway adds when it
/// does: of no use to who takes the message up anew.
const OF_THE_WAY: [&str; 11] = [
    "x-death",
    "x-first-death-exchange",
    "x-first-death-queue",
    "x-first-death-reason",
    "x-last-death-exchange",
    "x-last-death-queue",
    "x-last-death-reason",
    "x-delivery-count",
    "quayside-queue",
    "quayside-code",
    "quayside-detail",
];

/// What tells of a message of MSMQ that it was given up, where it should have gone, and by when: returned by an
/// operator it is an ordinary one again, which is wanted however late it is.
const OF_THE_END: [&str; 3] = ["msmq-class", "msmq-destination", "msmq-deadline"];

/// How often a message was returned by an operator.
const RETURNED: &str = "quayside-returned";

/// The most of a body that is shown.
const SHOWN: usize = 64 * 1024;

/// A message as it was seen in a queue.
#[derive(Debug, Clone, PartialEq)]
pub struct Seen {
    /// Its property `message_id`.
    pub message_id: Option<String>,
    /// How long its body is, in bytes.
    pub size: u64,
    /// How often it was delivered before and came back, where the queue counts.
    pub deliveries: Option<i64>,
    /// Whether it was delivered before.
    pub redelivered: bool,
    /// The queue that it was given up in.
    pub from: Option<String>,
    /// Why it was given up.
    pub reason: Option<String>,
    /// Its properties and headers.
    pub properties: Value,
    /// The beginning of its body, if that was asked for.
    pub body: Option<Vec<u8>>,
}

impl Seen {
    pub(super) fn new(
        redelivered: bool,
        properties: &BasicProperties,
        mut body: Vec<u8>,
        show: bool,
    ) -> Self {
        let size = body.len() as u64;
        body.truncate(SHOWN);
        Self {
            message_id: text(properties.message_id()),
            size,
            deliveries: header(properties, "x-delivery-count").and_then(whole),
            redelivered,
            from: origin(properties),
            reason: reason(properties),
            properties: in_json(properties),
            body: show.then_some(body),
        }
    }
}

/// The queue that a message was given up in: what this gateway says, else what the broker says of the last
/// time.
pub(super) fn origin(properties: &BasicProperties) -> Option<String> {
    let ours = header(properties, "quayside-queue").and_then(string);
    ours.or_else(|| death(properties)?.get("queue").and_then(string))
}

fn reason(properties: &BasicProperties) -> Option<String> {
    if let Some(code) = header(properties, "quayside-code").and_then(string) {
        let detail = header(properties, "quayside-detail").and_then(string);
        return Some(match detail {
            Some(detail) => format!("{code} {detail}"),
            None => code,
        });
    }
    if let Some(class) = class(properties) {
        return Some(format!("{class} {}", class.words()).trim_end().to_owned());
    }
    let reason = death(properties)?.get("reason").and_then(string)?;
    Some(match reason.as_str() {
        "delivery_limit" => "delivered too often".to_owned(),
        "maxlen" => "the queue was full".to_owned(),
        "expired" => "expired".to_owned(),
        "rejected" => "rejected by a consumer".to_owned(),
        _ => reason,
    })
}

/// The class of a message of MSMQ that is no ordinary one: an acknowledgment, or one that was given up.
fn class(properties: &BasicProperties) -> Option<Class> {
    let class = header(properties, "msmq-class").and_then(whole)?;
    let class = Class(u16::try_from(class).ok()?);
    (class != Class::NORMAL).then_some(class)
}

/// The newest entry of the broker's list of deaths.
fn death(properties: &BasicProperties) -> Option<std::collections::BTreeMap<String, AMQPValue>> {
    match header(properties, "x-death")? {
        AMQPValue::FieldArray(deaths) => match deaths.as_slice().first()? {
            AMQPValue::FieldTable(death) => {
                let entries = death.inner().iter();
                Some(entries.map(|(k, v)| (k.to_string(), v.clone())).collect())
            }
            _ => None,
        },
        _ => None,
    }
}

/// The properties with which a message is put back. `user_id` is left out, which the broker refuses from
/// anybody else than that user.
pub(super) fn cleaned(properties: &BasicProperties) -> BasicProperties {
    let mut headers = FieldTable::default();
    let was_given_up = origin(properties).is_some();
    for (name, value) in properties::headers(properties).inner() {
        let of_the_end = was_given_up && OF_THE_END.contains(&name.as_str());
        let of_the_way = OF_THE_WAY.contains(&name.as_str()) || name.as_str() == RETURNED;
        if !of_the_end && !of_the_way {
            headers.insert(name.clone(), value.clone());
        }
    }
    let before = header(properties, RETURNED).and_then(whole);
    let times = AMQPValue::LongLongInt(before.unwrap_or_default().saturating_add(1));
    headers.insert(RETURNED.into(), times);
    let put = lasting(properties).with_headers(headers);
    match properties.expiration() {
        Some(expiration) => put.with_expiration(expiration.clone()),
        None => put,
    }
}

fn header<'a>(properties: &'a BasicProperties, name: &str) -> Option<&'a AMQPValue> {
    properties.headers().as_ref()?.inner().get(name)
}

fn text(text: &Option<ShortString>) -> Option<String> {
    text.as_ref().map(ToString::to_string)
}

fn string(value: &AMQPValue) -> Option<String> {
    match value {
        AMQPValue::LongString(text) => Some(String::from_utf8_lossy(text.as_bytes()).into_owned()),
        AMQPValue::ShortString(text) => Some(text.to_string()),
        _ => None,
    }
}

/// A whole number, whatever its width on the wire.
fn whole(value: &AMQPValue) -> Option<i64> {
    json_of(value).as_i64()
}

fn in_json(properties: &BasicProperties) -> Value {
    let mut all = Map::new();
    let texts = [
        ("content_type", properties.content_type()),
        ("content_encoding", properties.content_encoding()),
        ("correlation_id", properties.correlation_id()),
        ("reply_to", properties.reply_to()),
        ("expiration", properties.expiration()),
        ("message_id", properties.message_id()),
        ("type", properties.kind()),
        ("user_id", properties.user_id()),
        ("app_id", properties.app_id()),
    ];
    for (name, value) in texts {
        if let Some(value) = value {
            all.insert(name.to_owned(), json!(value.as_str()));
        }
    }
    let numbers = [
        ("delivery_mode", properties.delivery_mode().map(u64::from)),
        ("priority", properties.priority().map(u64::from)),
        ("timestamp", *properties.timestamp()),
    ];
    for (name, value) in numbers {
        if let Some(value) = value {
            all.insert(name.to_owned(), json!(value));
        }
    }
    if let Some(headers) = properties.headers() {
        all.insert("headers".to_owned(), table_of(headers));
    }
    Value::Object(all)
}

fn table_of(table: &FieldTable) -> Value {
    let entries = table.inner().iter();
    Value::Object(entries.map(|(k, v)| (k.to_string(), json_of(v))).collect())
}

fn json_of(value: &AMQPValue) -> Value {
    match value {
        AMQPValue::Boolean(flag) => json!(flag),
        AMQPValue::ShortShortInt(n) => json!(n),
        AMQPValue::ShortShortUInt(n) => json!(n),
        AMQPValue::ShortInt(n) => json!(n),
        AMQPValue::ShortUInt(n) => json!(n),
        AMQPValue::LongInt(n) => json!(n),
        AMQPValue::LongUInt(n) => json!(n),
        AMQPValue::LongLongInt(n) => json!(n),
        AMQPValue::Float(n) => json!(n),
        AMQPValue::Double(n) => json!(n),
        AMQPValue::Timestamp(n) => json!(n),
        AMQPValue::FieldArray(list) => list.as_slice().iter().map(json_of).collect(),
        AMQPValue::FieldTable(table) => table_of(table),
        AMQPValue::Void => Value::Null,
        AMQPValue::ByteArray(bytes) => json!(bytes.as_slice()),
        AMQPValue::DecimalValue(n) => json!({ "scale": n.scale, "value": n.value }),
        AMQPValue::LongString(_) | AMQPValue::ShortString(_) => json!(string(value)),
    }
}

#[cfg(test)]
mod tests {
    use lapin::types::FieldArray;

    use super::*;

    fn long(text: &str) -> AMQPValue {
        AMQPValue::LongString(text.as_bytes().to_vec().into())
    }

    fn table(entries: &[(&str, AMQPValue)]) -> FieldTable {
        let mut table = FieldTable::default();
        for (name, value) in entries {
            table.insert((*name).into(), value.clone());
        }
        table
    }

    fn given_up(reason: &str, more: &[(&str, AMQPValue)]) -> BasicProperties {
        let death = |queue: &str, reason: &str| {
            AMQPValue::FieldTable(table(&[("queue", long(queue)), ("reason", long(reason))]))
        };
        let deaths = vec![death("orders", reason), death("before", "expired")];
        let mut entries = vec![
            ("x-death", AMQPValue::FieldArray(FieldArray::from(deaths))),
            ("x-first-death-queue", long("before")),
            ("x-delivery-count", AMQPValue::LongLongInt(3)),
            ("CC", long("elsewhere")),
            ("msmq-class", AMQPValue::LongInt(0xC002)),
            ("msmq-deadline", AMQPValue::LongLongInt(5)),
            ("key", long("k1")),
        ];
        entries.extend(more.iter().cloned());
        BasicProperties::default()
            .with_message_id("m-1".into())
            .with_user_id("erp".into())
            .with_priority(4)
            .with_headers(table(&entries))
    }

    #[test]
    fn a_message_tells_where_it_comes_from_and_why() {
        let ordinary = [("msmq-class", AMQPValue::LongInt(0))];
        let by_broker = given_up("delivery_limit", &ordinary);
        assert_eq!(origin(&by_broker).as_deref(), Some("orders"));
        assert_eq!(reason(&by_broker).as_deref(), Some("delivered too often"));
        let late = given_up("delivery_limit", &[]);
        let why = "0xc002 was not received in time";
        assert_eq!(reason(&late).as_deref(), Some(why));
        let ours = [
            ("quayside-queue", long("in")),
            ("quayside-code", long("QS0401")),
            ("quayside-detail", long("no XML")),
        ];
        let by_us = given_up("rejected", &ours);
        assert_eq!(origin(&by_us).as_deref(), Some("in"));
        assert_eq!(reason(&by_us).as_deref(), Some("QS0401 no XML"));
        let plain = BasicProperties::default();
        assert_eq!((origin(&plain), reason(&plain)), (None, None));
    }

    #[test]
    fn what_is_put_back_is_what_was_sent_and_no_more() {
        let once = cleaned(&given_up("rejected", &[("quayside-queue", long("in"))]));
        let headers = |p: &BasicProperties| p.headers().as_ref().map(table_of);
        assert_eq!(
            headers(&once),
            Some(json!({ "key": "k1", "quayside-returned": 1 }))
        );
        assert_eq!(
            once.message_id().as_ref().map(ShortString::as_str),
            Some("m-1")
        );
        assert_eq!((once.priority(), once.user_id()), (&Some(4), &None));
        assert_eq!(once.delivery_mode(), &Some(2));
        assert_eq!(
            headers(&cleaned(&once)).expect("headers")["quayside-returned"],
            2
        );
        // An acknowledgment was not given up: its class is what it says.
        let told = table(&[("msmq-class", AMQPValue::LongInt(2))]);
        let told = cleaned(&BasicProperties::default().with_headers(told));
        assert_eq!(headers(&told).expect("headers")["msmq-class"], 2);
    }

    #[test]
    fn of_a_large_body_the_beginning_is_shown_and_the_size_told() {
        let properties = given_up("rejected", &[]);
        let seen = Seen::new(true, &properties, vec![b'x'; SHOWN + 1], true);
        assert_eq!(seen.size, SHOWN as u64 + 1);
        assert_eq!(seen.body.map(|body| body.len()), Some(SHOWN));
        assert_eq!(seen.deliveries, Some(3));
        assert_eq!(seen.properties["headers"]["x-death"][1]["queue"], "before");
        let unseen = Seen::new(true, &properties, vec![b'x'], false);
        assert_eq!(unseen.body, None);
    }
}
