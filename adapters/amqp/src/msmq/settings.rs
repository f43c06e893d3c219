//! `[send.PORT.primary.amqp.msmq]` and `[receive.PORT.location.NAME.amqp.msmq]`, and what can be wrong
//! with them.

use std::{collections::BTreeMap, fmt};

use quayside_adapter_api::{
    Block,
    model::{Code, Fault},
    units::{ByteSize, Span},
};
use serde::{
    Deserialize, Deserializer,
    de::{self, SeqAccess, Visitor, value::SeqAccessDeserializer},
};

use super::{
    class::Acks,
    names::{self, Purpose},
    spelling, value,
};
use crate::codes;

/// The body of a message is bytes, in MSMQ's number for it.
pub(super) const BYTES: u32 = 8209;

/// MSMQ's own priority of a message that names none.
pub(super) const NORMAL_PRIORITY: u8 = 3;

/// What MSMQ itself takes, and what a broker takes by default.
const NATIVE_SIZE: ByteSize = ByteSize::kib(4095);
const LARGEST_SIZE: ByteSize = ByteSize::mib(128);

/// The settings whose value is a template, text or number.
pub(super) const TEMPLATES: [&str; 9] = [
    "label",
    "correlation_id",
    "response_queue",
    "administration_queue",
    "extension",
    "app_specific",
    "body_type",
    "priority",
    "time_to_be_received",
];

/// `[send.PORT.primary.amqp.msmq]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SendMsmq {
    /// A text about the message for people.
    #[serde(default)]
    pub label: Option<String>,
    /// The id of the message that this one belongs to.
    #[serde(default)]
    pub correlation_id: Option<String>,
    /// Where answers are waited for.
    #[serde(default)]
    pub response_queue: Option<String>,
    /// Where acknowledgments are waited for.
    #[serde(default)]
    pub administration_queue: Option<String>,
    /// Bytes that the application understands, in hexadecimal digits.
    #[serde(default)]
    pub extension: Option<String>,
    /// A number that the application understands.
    #[serde(default)]
    pub app_specific: Option<Given>,
    /// What the body is, by MSMQ's number.
    #[serde(default)]
    pub body_type: Option<Given>,
    /// From 0, the lowest, to 7.
    #[serde(default)]
    pub priority: Option<Given>,
    /// Which acknowledgments are asked for.
    #[serde(default)]
    pub acknowledge: Acknowledge,
    /// How long a message may take from the store to its queue.
    #[serde(default)]
    pub time_to_reach_queue: Option<Span>,
    /// How long a message may take from the store to its receiver, or `infinite`.
    #[serde(default)]
    pub time_to_be_received: Option<String>,
    /// Whether a message that is not delivered goes into a dead letter queue.
    #[serde(default = "yes")]
    pub dead_letter: bool,
    /// Whether a copy of each message is kept in the journal of the machine.
    #[serde(default)]
    pub journal: bool,
    /// Whether the queue is a transactional one.
    #[serde(default)]
    pub transactional: bool,
    /// A larger message is not sent.
    #[serde(default = "max_message_size")]
    pub max_message_size: ByteSize,
    /// What a message without a queue comes to.
    #[serde(default)]
    pub undeliverable: Undeliverable,
    /// Whether what is not set is taken over from the message, if it came from a queue itself.
    #[serde(default = "yes")]
    pub carry: bool,
    /// The machine that messages come from, and whose journal and dead letter queues are used.
    #[serde(default = "machine")]
    pub machine: String,
}

/// `[receive.PORT.location.NAME.amqp.msmq]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReceiveMsmq {
    /// Whether the queue is a transactional one. Without it both kinds of messages are taken.
    #[serde(default)]
    pub transactional: Option<bool>,
    /// Whether a copy of each message is kept in the journal of the queue.
    #[serde(default)]
    pub journal: bool,
    /// Whether senders that ask for acknowledgments get them.
    #[serde(default = "yes")]
    pub acknowledge: bool,
    /// The machine that the queue is on, and whose dead letter queues are used.
    #[serde(default = "machine")]
    pub machine: String,
}

/// What becomes of a message that the broker returns or refuses.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Undeliverable {
    /// It is tried again by the port's schedule.
    #[default]
    Retry,
    /// It goes into the dead letter queue at once, as with MSMQ.
    DeadLetter,
}

/// A whole number, or a template for one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Given {
    /// As it is.
    Number(i64),
    /// From the message.
    Template(String),
}

/// Which acknowledgments a sender asks for: one name or several.
#[derive(Debug, Clone, Copy, Default)]
pub struct Acknowledge(pub(crate) Acks);

impl<'de> Deserialize<'de> for Given {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl Visitor<'_> for Either {
            type Value = Given;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a whole number or a template for one")
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Given, E> {
                Ok(Given::Number(number))
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Given, E> {
                Ok(Given::Number(i64::try_from(number).unwrap_or(i64::MAX)))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Given, E> {
                Ok(Given::Template(text.to_owned()))
            }
        }
        deserializer.deserialize_any(Either)
    }
}

impl<'de> Deserialize<'de> for Acknowledge {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = Acknowledge;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let names: Vec<&str> = Acks::NAMES.iter().map(|(name, _)| *name).collect();
                write!(f, "one or a list of {}", names.join(", "))
            }

            fn visit_str<E: de::Error>(self, name: &str) -> Result<Acknowledge, E> {
                let acks = Acks::of_name(name).map(Acknowledge);
                acks.ok_or_else(|| E::invalid_value(de::Unexpected::Str(name), &self))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, names: A) -> Result<Acknowledge, A::Error> {
                let names: Vec<Acknowledge> = Vec::deserialize(SeqAccessDeserializer::new(names))?;
                let all = names.iter().fold(Acks::NONE, |all, one| all.and(one.0));
                Ok(Acknowledge(all))
            }
        }
        deserializer.deserialize_any(Either)
    }
}

const fn yes() -> bool {
    true
}

const fn max_message_size() -> ByteSize {
    ByteSize::mib(1)
}

fn machine() -> String {
    "quayside".to_owned()
}

/// The templates of a block `msmq`, by the key of their setting in the block around it.
pub(crate) fn templates(block: &Block) -> BTreeMap<String, String> {
    let mut templates = BTreeMap::new();
    for key in TEMPLATES {
        if let Some(text) = block.get(key).and_then(Block::as_str) {
            templates.insert(format!("msmq.{key}"), text.to_owned());
        }
    }
    templates
}

/// Whether a text depends on the message: what it comes to can be checked then only.
fn is_dynamic(text: &str) -> bool {
    text.contains(['{', '}'])
}

impl SendMsmq {
    /// What is wrong, each at its key below `msmq`.
    pub(crate) fn faults(&self, faults: &mut Vec<Fault>) {
        let mut say = Say(faults);
        let literals = [
            ("label", &self.label),
            ("correlation_id", &self.correlation_id),
            ("extension", &self.extension),
            ("response_queue", &self.response_queue),
            ("administration_queue", &self.administration_queue),
            ("time_to_be_received", &self.time_to_be_received),
        ];
        for (key, text) in literals {
            let text = text.as_deref().filter(|text| !is_dynamic(text));
            if let Some(Err(wrong)) = text.map(|text| value::check_text(key, text)) {
                say.error(wrong.code, key, wrong.message);
            }
        }
        let numbers = [
            ("app_specific", &self.app_specific),
            ("body_type", &self.body_type),
            ("priority", &self.priority),
        ];
        for (key, given) in numbers {
            let checked = match given {
                Some(Given::Number(number)) => value::check_number(key, *number),
                Some(Given::Template(text)) if !is_dynamic(text) => {
                    value::number(key, text).map(|_| ())
                }
                _ => Ok(()),
            };
            if let Err(wrong) = checked {
                say.error(wrong.code, key, wrong.message);
            }
        }
        self.contradictions(&mut say);
        machine_fault(&self.machine, &mut say);
    }

    fn contradictions(&self, say: &mut Say<'_>) {
        let asks = !self.acknowledge.0.is_none();
        if asks && self.administration_queue.is_none() {
            let message = "acknowledgments are asked for, but no `administration_queue` takes them";
            say.error(codes::MSMQ_NO_ADMIN, "acknowledge", message);
        }
        if !asks && self.administration_queue.is_some() {
            let message = "nothing will come to it: `acknowledge` asks for nothing";
            say.warning(codes::MSMQ_NO_ADMIN, "administration_queue", message);
        }
        let is_lowest = matches!(&self.priority, None | Some(Given::Number(0)));
        if self.transactional && !is_lowest {
            let message = "a transactional message has the priority 0, whatever is set";
            say.warning(codes::MSMQ_PROPERTY, "priority", message);
        }
        if self
            .time_to_reach_queue
            .is_some_and(|time| time.duration().is_zero())
        {
            let message = "it must be longer than nothing, such as \"4d\"";
            say.error(codes::MSMQ_PROPERTY, "time_to_reach_queue", message);
        }
        if self.undeliverable == Undeliverable::DeadLetter && !self.has_dead_letter() {
            let message = "`undeliverable = \"dead-letter\"` without `dead_letter`";
            say.error(codes::MSMQ_PROPERTY, "undeliverable", message);
        }
        let size = self.max_message_size;
        if size < ByteSize::kib(1) || size > LARGEST_SIZE {
            let message = format!("it is {size}, not between 1 KiB and {LARGEST_SIZE}");
            say.error(codes::MSMQ_PROPERTY, "max_message_size", message);
        } else if size > NATIVE_SIZE {
            let message =
                format!("MSMQ itself takes at most {NATIVE_SIZE}, should it be a receiver");
            say.warning(codes::MSMQ_PROPERTY, "max_message_size", message);
        }
    }

    /// Whether what is not delivered is kept: a transactional message always is.
    pub(crate) fn has_dead_letter(&self) -> bool {
        self.dead_letter || self.transactional
    }
}

impl ReceiveMsmq {
    /// What is wrong, each at its key below `msmq`.
    pub(crate) fn faults(&self, faults: &mut Vec<Fault>) {
        machine_fault(&self.machine, &mut Say(faults));
    }
}

fn machine_fault(machine: &str, say: &mut Say<'_>) {
    match spelling::machine_name(machine) {
        Ok(name) if name != "." => {}
        Ok(_) => say.error(codes::MSMQ_NAME, "machine", "it needs a name of its own"),
        Err(wrong) => say.error(wrong.code(), "machine", wrong.to_string()),
    }
}

/// What is wrong with the name of a queue, in a block that means MSMQ or not.
pub(crate) fn queue_fault(
    key: &str,
    text: &str,
    purpose: Purpose,
    means_msmq: bool,
    faults: &mut Vec<Fault>,
) {
    if !means_msmq {
        if names::is_msmq(text) {
            let message = format!(
                "`{text}` is taken for a name of AMQP: add `msmq = {{}}` if a queue of MSMQ is meant"
            );
            faults.push(Fault::warning(codes::MSMQ_NAME, &[key], message));
        }
    } else if let Err(wrong) = names::resolve(text, "here", purpose) {
        faults.push(Fault::error(wrong.code(), &[key], wrong.to_string()));
    }
}

struct Say<'a>(&'a mut Vec<Fault>);

impl Say<'_> {
    fn error(&mut self, code: Code, key: &str, message: impl Into<String>) {
        self.0.push(Fault::error(code, &["msmq", key], message));
    }

    fn warning(&mut self, code: Code, key: &str, message: impl Into<String>) {
        self.0.push(Fault::warning(code, &["msmq", key], message));
    }
}

#[cfg(test)]
mod tests {
    use quayside_adapter_api::config::parse;
    use serde_json::json;

    use super::*;

    fn send(block: Block) -> Vec<String> {
        match parse::<SendMsmq>(&block) {
            Ok(settings) => {
                let mut faults = Vec::new();
                settings.faults(&mut faults);
                places(&faults)
            }
            Err(faults) => places(&faults),
        }
    }

    fn places(faults: &[Fault]) -> Vec<String> {
        let place = |f: &Fault| format!("{} {}", f.code, f.path.join("."));
        faults.iter().map(place).collect()
    }

    #[test]
    fn nothing_is_required_and_the_defaults_are_biztalks() {
        let settings: SendMsmq = parse(&json!({})).expect("no fault");
        assert!(settings.dead_letter && settings.carry);
        assert!(!settings.journal && !settings.transactional);
        assert!(settings.acknowledge.0.is_none() && settings.time_to_reach_queue.is_none());
        assert_eq!(settings.max_message_size, ByteSize::kib(1024));
        assert_eq!(send(json!({})), [""; 0]);
        let receive: ReceiveMsmq = parse(&json!({})).expect("no fault");
        assert!(receive.transactional.is_none() && !receive.journal && receive.acknowledge);
    }

    #[test]
    fn nonsense_is_refused_at_its_key() {
        let id = r"9f0c1a2b-0001-4aaa-8bbb-0123456789ab\17";
        for (block, expected) in [
            (json!({ "label": "x".repeat(249) }), vec![]),
            (
                json!({ "label": "x".repeat(250) }),
                vec!["QS0942 msmq.label"],
            ),
            (
                json!({ "label": "\u{1F600}".repeat(125) }),
                vec!["QS0942 msmq.label"],
            ),
            (json!({ "label": "{msmq.label}" }), vec![]),
            (json!({ "correlation_id": id }), vec![]),
            (
                json!({ "correlation_id": "id-1" }),
                vec!["QS0942 msmq.correlation_id"],
            ),
            (
                json!({ "priority": 7, "app_specific": 4_294_967_295_i64 }),
                vec![],
            ),
            (json!({ "priority": 8 }), vec!["QS0942 msmq.priority"]),
            (json!({ "priority": -1 }), vec!["QS0942 msmq.priority"]),
            (json!({ "priority": "{Urgency}" }), vec![]),
            (json!({ "priority": "high" }), vec!["QS0942 msmq.priority"]),
            (
                json!({ "priority": 1, "transactional": true }),
                vec!["QS0942 msmq.priority"],
            ),
            (
                json!({ "app_specific": -1 }),
                vec!["QS0942 msmq.app_specific"],
            ),
            (json!({ "extension": "0g" }), vec!["QS0942 msmq.extension"]),
            (
                json!({ "response_queue": "DL=x" }),
                vec!["QS0941 msmq.response_queue"],
            ),
            (
                json!({ "response_queue": "PUBLIC=x" }),
                vec!["QS0940 msmq.response_queue"],
            ),
            (
                json!({ "acknowledge": "full-receive" }),
                vec!["QS0943 msmq.acknowledge"],
            ),
            (json!({ "acknowledge": "all" }), vec!["QS0302 acknowledge"]),
            (
                json!({ "acknowledge": ["positive-arrival"], "administration_queue": "acks" }),
                vec![],
            ),
            (
                json!({ "administration_queue": "acks" }),
                vec!["QS0943 msmq.administration_queue"],
            ),
            (
                json!({ "time_to_reach_queue": "0s" }),
                vec!["QS0942 msmq.time_to_reach_queue"],
            ),
            (json!({ "time_to_be_received": "infinite" }), vec![]),
            (json!({ "time_to_be_received": "4d" }), vec![]),
            (
                json!({ "time_to_be_received": "soon" }),
                vec!["QS0942 msmq.time_to_be_received"],
            ),
            (
                json!({ "undeliverable": "dead-letter", "dead_letter": false }),
                vec!["QS0942 msmq.undeliverable"],
            ),
            (
                json!({ "max_message_size": "1 GiB" }),
                vec!["QS0942 msmq.max_message_size"],
            ),
            (
                json!({ "max_message_size": "8 MiB" }),
                vec!["QS0942 msmq.max_message_size"],
            ),
            (json!({ "machine": "a\\b" }), vec!["QS0940 msmq.machine"]),
            (json!({ "machine": "." }), vec!["QS0940 msmq.machine"]),
        ] {
            assert_eq!(send(block.clone()), expected, "{block}");
        }
    }

    #[test]
    fn texts_and_numbers_may_be_templates() {
        let block =
            json!({ "label": "{A}", "priority": "{B}", "app_specific": 5, "journal": true });
        let templates: Vec<_> = templates(&block).into_iter().collect();
        let wanted = [("msmq.label", "{A}"), ("msmq.priority", "{B}")];
        assert_eq!(
            templates,
            wanted.map(|(key, text)| (key.to_owned(), text.to_owned()))
        );
    }
}
