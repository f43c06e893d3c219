//! The properties of MSMQ that a message of AMQP carries: read from it and written into it. What is written
//! is read again unchanged, whoever wrote it.

use lapin::{
    BasicProperties,
    types::{AMQPValue, ByteArray, FieldTable, ShortString},
};
use quayside_adapter_api::model::Timestamp;

use super::class::{Acks, Class};
use crate::{
    properties::{self, property},
    publish::PERSISTENT,
};

/// The longest text of a property of AMQP that is no header, in bytes.
const SHORT: usize = 255;

/// The longest time that RabbitMQ counts down, in milliseconds.
const MAX_EXPIRATION: u64 = u32::MAX as u64;

const LABEL: &str = "msmq-label";
const APP_SPECIFIC: &str = "msmq-app-specific";
const BODY_TYPE: &str = "msmq-body-type";
const EXTENSION: &str = "msmq-extension";
const CLASS: &str = "msmq-class";
const ACKNOWLEDGE: &str = "msmq-acknowledge";
const ADMIN_QUEUE: &str = "msmq-admin-queue";
const RESPONSE_QUEUE: &str = "msmq-response-queue";
const JOURNAL: &str = "msmq-journal";
const DEADLINE: &str = "msmq-deadline";
const SOURCE: &str = "msmq-source";
const DESTINATION: &str = "msmq-destination";
const XACT: &str = "msmq-xact";
const XACT_FIRST: &str = "msmq-xact-first";
const XACT_LAST: &str = "msmq-xact-last";
const MOVE_COUNT: &str = "msmq-move-count";
const SENDER_ID: &str = "msmq-sender-id";
const DELIVERY_COUNT: &str = "x-delivery-count";
const DEATHS: &str = "x-death";

/// Bits of the header `msmq-journal`.
const USE_DEAD_LETTER: i64 = 1;
const USE_JOURNAL: i64 = 2;

/// The properties of MSMQ that a message has.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Properties {
    pub(crate) id: Option<String>,
    pub(crate) correlation_id: Option<String>,
    pub(crate) label: Option<String>,
    pub(crate) priority: Option<u8>,
    pub(crate) app_specific: Option<u32>,
    pub(crate) body_type: Option<u32>,
    pub(crate) extension: Option<Vec<u8>>,
    pub(crate) class: Class,
    pub(crate) acknowledge: Acks,
    pub(crate) admin_queue: Option<String>,
    pub(crate) response_queue: Option<String>,
    pub(crate) use_dead_letter: bool,
    pub(crate) use_journal: bool,
    /// How long the broker may keep it, in milliseconds from when it was published.
    pub(crate) expiration: Option<u64>,
    /// When it is too late to receive it.
    pub(crate) deadline: Option<Timestamp>,
    /// When it was sent, to the second.
    pub(crate) sent: Option<Timestamp>,
    /// The machine that it comes from.
    pub(crate) source: Option<String>,
    /// The queue that it was sent to, on what stands in another one.
    pub(crate) destination: Option<String>,
    pub(crate) xact: Option<Xact>,
    pub(crate) recoverable: bool,
    /// How often it was given back to the queue.
    pub(crate) abort_count: Option<i64>,
    pub(crate) move_count: Option<i64>,
    pub(crate) sender_id: Option<String>,
}

/// The transaction in which a message was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Xact {
    pub(crate) id: String,
    pub(crate) first: bool,
    pub(crate) last: bool,
}

impl Default for Class {
    fn default() -> Self {
        Self::NORMAL
    }
}

impl Properties {
    /// What `message` carries. What is there in another type than it should be is not there.
    pub(crate) fn read(message: &BasicProperties) -> Self {
        let none = FieldTable::default();
        let headers = message.headers().as_ref().unwrap_or(&none);
        let short = |text: &Option<ShortString>| text.as_ref().map(ToString::to_string);
        let seconds = |seconds: &u64| seconds.saturating_mul(1_000_000);
        let flags = integer(headers, JOURNAL).unwrap_or_default();
        let xact = text(headers, XACT).map(|id| Xact {
            id,
            first: boolean(headers, XACT_FIRST).unwrap_or(true),
            last: boolean(headers, XACT_LAST).unwrap_or(true),
        });
        let expiration = message.expiration().as_ref();
        Self {
            id: short(message.message_id()),
            correlation_id: short(message.correlation_id()),
            label: text(headers, LABEL),
            priority: message.priority().filter(|priority| *priority <= 7),
            app_specific: unsigned(headers, APP_SPECIFIC),
            body_type: unsigned(headers, BODY_TYPE),
            extension: bytes(headers, EXTENSION),
            class: class(headers),
            acknowledge: Acks(small(headers, ACKNOWLEDGE).unwrap_or_default() & 15),
            admin_queue: text(headers, ADMIN_QUEUE),
            response_queue: short(message.reply_to()).or_else(|| text(headers, RESPONSE_QUEUE)),
            use_dead_letter: flags & USE_DEAD_LETTER != 0,
            use_journal: flags & USE_JOURNAL != 0,
            expiration: expiration.and_then(|text| text.as_str().parse().ok()),
            deadline: integer(headers, DEADLINE).map(of_millis),
            sent: message.timestamp().as_ref().map(|time| {
                let micros = i64::try_from(seconds(time)).unwrap_or(i64::MAX);
                Timestamp::from_micros(micros)
            }),
            source: text(headers, SOURCE),
            destination: text(headers, DESTINATION),
            xact,
            recoverable: *message.delivery_mode() == Some(PERSISTENT),
            abort_count: integer(headers, DELIVERY_COUNT),
            move_count: integer(headers, MOVE_COUNT),
            sender_id: short(message.user_id()).or_else(|| text(headers, SENDER_ID)),
        }
    }

    /// Puts these into `message`, in the place of those that it has. How often a message came back is the
    /// broker's to say, and so is whose connection it came over.
    pub(crate) fn write(&self, message: BasicProperties) -> BasicProperties {
        let mut headers = properties::headers(&message);
        let mut put = Put(&mut headers);
        put.text(LABEL, self.label.as_deref());
        put.integer(APP_SPECIFIC, self.app_specific.map(i64::from));
        put.integer(BODY_TYPE, self.body_type.map(i64::from));
        let extension = self.extension.as_deref();
        put.value(
            EXTENSION,
            extension.map(|bytes| AMQPValue::ByteArray(ByteArray::from(bytes))),
        );
        let class = (self.class != Class::NORMAL).then_some(i64::from(self.class.0));
        put.integer(CLASS, class);
        let acknowledge = (!self.acknowledge.is_none()).then_some(i64::from(self.acknowledge.0));
        put.integer(ACKNOWLEDGE, acknowledge);
        put.text(ADMIN_QUEUE, self.admin_queue.as_deref());
        let mut flags = 0;
        flags |= if self.use_dead_letter {
            USE_DEAD_LETTER
        } else {
            0
        };
        flags |= if self.use_journal { USE_JOURNAL } else { 0 };
        put.integer(JOURNAL, (flags != 0).then_some(flags));
        put.integer(DEADLINE, self.deadline.map(|time| time.as_micros() / 1000));
        put.text(SOURCE, self.source.as_deref());
        put.text(DESTINATION, self.destination.as_deref());
        let xact = self.xact.as_ref();
        put.text(XACT, xact.map(|xact| xact.id.as_str()));
        put.boolean(XACT_FIRST, xact.map(|xact| xact.first));
        put.boolean(XACT_LAST, xact.map(|xact| xact.last));
        put.integer(MOVE_COUNT, self.move_count);
        put.text(SENDER_ID, self.sender_id.as_deref());
        let response = self.response_queue.as_deref();
        let long = response.filter(|text| text.len() > SHORT);
        put.text(RESPONSE_QUEUE, long);
        let mut message = plain(&message).with_headers(headers);
        if let Some(id) = short(self.id.as_deref()) {
            message = message.with_message_id(id);
        }
        if let Some(id) = short(self.correlation_id.as_deref()) {
            message = message.with_correlation_id(id);
        }
        if let Some(queue) = short(response) {
            message = message.with_reply_to(queue);
        }
        if let Some(priority) = self.priority {
            message = message.with_priority(priority);
        }
        // What is longer than the broker can count is kept by the deadline alone.
        if let Some(millis) = self.expiration.filter(|millis| *millis <= MAX_EXPIRATION) {
            message = message.with_expiration(millis.to_string().into());
        }
        if let Some(sent) = self.sent {
            let seconds = u64::try_from(sent.as_micros() / 1_000_000).unwrap_or_default();
            message = message.with_timestamp(seconds);
        }
        if self.recoverable {
            message = message.with_delivery_mode(PERSISTENT);
        }
        message
    }

    /// Whether it stands in another queue than it was sent to, or tells of one that was sent.
    pub(crate) fn is_copy(&self) -> bool {
        self.destination.is_some()
    }

    /// Whether it was sent in a transaction.
    pub(crate) fn is_transactional(&self) -> bool {
        self.xact.is_some()
    }
}

/// Those of `message` that [`Properties`] says nothing about.
fn plain(message: &BasicProperties) -> BasicProperties {
    let mut plain = BasicProperties::default();
    if let Some(text) = message.content_type() {
        plain = plain.with_content_type(text.clone());
    }
    if let Some(text) = message.content_encoding() {
        plain = plain.with_content_encoding(text.clone());
    }
    if let Some(text) = message.kind() {
        plain = plain.with_type(text.clone());
    }
    if let Some(text) = message.app_id() {
        plain = plain.with_app_id(text.clone());
    }
    plain
}

fn class(headers: &FieldTable) -> Class {
    let own = integer(headers, CLASS).and_then(|class| u16::try_from(class).ok());
    own.map(Class)
        .or_else(|| Class::of_death(&death(headers)?))
        .unwrap_or_default()
}

/// Why a broker has last moved the message, if one has.
fn death(headers: &FieldTable) -> Option<String> {
    let AMQPValue::FieldArray(deaths) = headers.inner().get(DEATHS)? else {
        return None;
    };
    let AMQPValue::FieldTable(last) = deaths.as_slice().first()? else {
        return None;
    };
    text(last, "reason")
}

fn of_millis(millis: i64) -> Timestamp {
    Timestamp::from_micros(millis.saturating_mul(1000))
}

fn short(text: Option<&str>) -> Option<ShortString> {
    ShortString::try_new(text?).ok()
}

fn text(headers: &FieldTable, name: &str) -> Option<String> {
    match headers.inner().get(name)? {
        AMQPValue::LongString(text) => String::from_utf8(text.as_bytes().to_vec()).ok(),
        AMQPValue::ShortString(text) => Some(text.to_string()),
        _ => None,
    }
}

fn bytes(headers: &FieldTable, name: &str) -> Option<Vec<u8>> {
    match headers.inner().get(name)? {
        AMQPValue::ByteArray(bytes) => Some(bytes.as_slice().to_vec()),
        AMQPValue::LongString(text) => Some(text.as_bytes().to_vec()),
        _ => None,
    }
}

fn integer(headers: &FieldTable, name: &str) -> Option<i64> {
    match property(headers.inner().get(name)?)? {
        quayside_adapter_api::model::Value::Integer(number) => Some(number),
        _ => None,
    }
}

fn unsigned(headers: &FieldTable, name: &str) -> Option<u32> {
    u32::try_from(integer(headers, name)?).ok()
}

fn small(headers: &FieldTable, name: &str) -> Option<u8> {
    u8::try_from(integer(headers, name)?).ok()
}

fn boolean(headers: &FieldTable, name: &str) -> Option<bool> {
    match headers.inner().get(name)? {
        AMQPValue::Boolean(truth) => Some(*truth),
        _ => None,
    }
}

/// Writes headers; what is `None` is not there afterwards.
struct Put<'a>(&'a mut FieldTable);

impl Put<'_> {
    fn value(&mut self, name: &str, value: Option<AMQPValue>) {
        if let Some(value) = value {
            self.0.insert(name.into(), value);
        } else if self.0.inner().contains_key(name) {
            let others = self.0.inner().iter();
            let others = others.filter(|(other, _)| other.as_str() != name);
            *self.0 = others
                .map(|(name, value)| (name.clone(), value.clone()))
                .collect::<std::collections::BTreeMap<_, _>>()
                .into();
        }
    }

    fn text(&mut self, name: &str, text: Option<&str>) {
        let value = text.map(|text| AMQPValue::LongString(text.as_bytes().to_vec().into()));
        self.value(name, value);
    }

    /// Always 64 bits with a sign: there is no type for 32 bits without one that all clients know.
    fn integer(&mut self, name: &str, number: Option<i64>) {
        self.value(name, number.map(AMQPValue::LongLongInt));
    }

    fn boolean(&mut self, name: &str, truth: Option<bool>) {
        self.value(name, truth.map(AMQPValue::Boolean));
    }
}

#[cfg(test)]
mod tests {
    use lapin::types::FieldArray;
    use proptest::{option::of, prelude::*};

    use super::*;

    fn any_text() -> impl Strategy<Value = String> {
        "[a-zäß\\\\$ .0-9]{1,40}"
    }

    fn any_properties() -> impl Strategy<Value = Properties> {
        let ids = (
            of(any_text()),
            of(any_text()),
            of(any_text()),
            of("[a-z]{1,400}"),
        );
        let numbers = (
            of(0u8..8),
            of(any::<u32>()),
            of(any::<u32>()),
            any::<u16>(),
            0u8..16,
        );
        let flags = (any::<bool>(), any::<bool>(), any::<bool>());
        let times = (of(0..=MAX_EXPIRATION), of(0i64..1 << 40), of(0i64..1 << 33));
        let more = (
            of(any_text()),
            of(any_text()),
            of(any_text()),
            of(0i64..9),
            of(any_text()),
        );
        let extension = of(proptest::collection::vec(any::<u8>(), 0..60));
        let xact = of((any_text(), any::<bool>(), any::<bool>()));
        (ids, numbers, flags, times, more, extension, xact).prop_map(
            |(ids, numbers, flags, times, more, extension, xact)| Properties {
                id: ids.0,
                correlation_id: ids.1,
                label: ids.2,
                response_queue: ids.3,
                priority: numbers.0,
                app_specific: numbers.1,
                body_type: numbers.2,
                class: Class(numbers.3),
                acknowledge: Acks(numbers.4),
                use_dead_letter: flags.0,
                use_journal: flags.1,
                recoverable: flags.2,
                expiration: times.0,
                deadline: times.1.map(of_millis),
                sent: times.2.map(|s| Timestamp::from_micros(s * 1_000_000)),
                admin_queue: more.0,
                source: more.1,
                destination: more.2,
                move_count: more.3,
                sender_id: more.4,
                abort_count: None,
                extension,
                xact: xact.map(|(id, first, last)| Xact { id, first, last }),
            },
        )
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(properties in any_properties(), before in any_properties()) {
            let message = BasicProperties::default().with_content_type("text/plain".into());
            let message = properties.write(message);
            prop_assert_eq!(&Properties::read(&message), &properties);
            // Nothing of what stood there before shines through.
            let over = properties.write(before.write(BasicProperties::default()));
            prop_assert_eq!(Properties::read(&over), properties);
        }
    }

    #[test]
    fn a_broker_tells_its_reason_by_its_own_header() {
        let mut last = FieldTable::default();
        last.insert("reason".into(), AMQPValue::LongString("expired".into()));
        let mut headers = FieldTable::default();
        let deaths = FieldArray::from(vec![AMQPValue::FieldTable(last)]);
        headers.insert(DEATHS.into(), AMQPValue::FieldArray(deaths));
        let message = BasicProperties::default().with_headers(headers.clone());
        assert_eq!(Properties::read(&message).class, Class::RECEIVE_TIMEOUT);
        headers.insert(CLASS.into(), AMQPValue::LongInt(0x8002));
        let message = BasicProperties::default().with_headers(headers);
        assert_eq!(Properties::read(&message).class, Class::REACH_QUEUE_TIMEOUT);
    }

    #[test]
    fn what_has_another_type_or_range_is_not_there() {
        let mut headers = FieldTable::default();
        headers.insert(APP_SPECIFIC.into(), AMQPValue::LongLongInt(-1));
        headers.insert(LABEL.into(), AMQPValue::LongInt(5));
        headers.insert(DEADLINE.into(), AMQPValue::LongString("soon".into()));
        let message = BasicProperties::default()
            .with_headers(headers)
            .with_priority(9)
            .with_expiration("soon".into());
        assert_eq!(Properties::read(&message), Properties::default());
    }

    #[test]
    fn a_time_that_the_broker_cannot_count_is_left_to_the_deadline() {
        let properties = Properties {
            expiration: Some(MAX_EXPIRATION + 1),
            deadline: Some(of_millis(5)),
            ..Properties::default()
        };
        let message = properties.write(BasicProperties::default());
        assert_eq!(message.expiration(), &None);
        assert_eq!(Properties::read(&message).deadline, Some(of_millis(5)));
    }
}
