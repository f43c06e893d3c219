//! `[queue.NAME]` of a `queues.toml`: what a queue is for, and what may be chosen about it.

use std::fmt;

use quayside_adapter_api::{
    Block, ByteSize, config,
    model::{Fault, Severity},
};
use serde::{Deserialize, Deserializer, de};

use super::queue_named;
use crate::{codes, config::confine};

/// How often a message of a transactional queue is delivered again before the broker gives it up. Many, for
/// every connection that ends counts for all that was sent ahead over it, whoever is to blame.
const DELIVERY_LIMIT: u32 = 20;

/// The priorities 0 to 7 that MSMQ has.
const MAX_PRIORITY: u8 = 7;

/// What a queue is for. Its arguments follow from that.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Exactly once and in order: replicated, one consumer at a time.
    Transactional,
    /// Fast, with priorities: a classic queue.
    Express,
    /// What a consumer could not take: kept for an operator, as all that follow.
    Poison,
    /// Copies of what was taken.
    Journal,
    /// What could not be delivered.
    DeadLetter,
    /// Acknowledgments.
    Admin,
}

impl Kind {
    /// As it is written.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Transactional => "transactional",
            Self::Express => "express",
            Self::Poison => "poison",
            Self::Journal => "journal",
            Self::DeadLetter => "dead-letter",
            Self::Admin => "admin",
        }
    }

    /// Whether applications take messages from it, so that the broker may have to give one up.
    pub(crate) fn is_worked(self) -> bool {
        matches!(self, Self::Transactional | Self::Express)
    }
}

/// Where messages go that the broker gives up.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) enum DeadLetter {
    /// Into `NAME.poison`.
    #[default]
    Own,
    /// Into this queue.
    Into(String),
    /// Nowhere: they are dropped.
    None,
}

impl<'de> Deserialize<'de> for DeadLetter {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl de::Visitor<'_> for Either {
            type Value = DeadLetter;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the name of a queue, or false")
            }

            fn visit_str<E: de::Error>(self, name: &str) -> Result<DeadLetter, E> {
                Ok(DeadLetter::Into(name.to_owned()))
            }

            fn visit_bool<E: de::Error>(self, own: bool) -> Result<DeadLetter, E> {
                Ok(if own {
                    DeadLetter::Own
                } else {
                    DeadLetter::None
                })
            }
        }
        deserializer.deserialize_any(Either)
    }
}

/// `[queue.NAME]`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Definition {
    /// What it is for.
    pub(crate) kind: Kind,
    /// The most that it may hold; beyond it the broker refuses messages. Without it the broker's disk.
    #[serde(default)]
    pub(crate) quota: Option<ByteSize>,
    /// How often a message is delivered again before it is given up.
    #[serde(default)]
    pub(crate) delivery_limit: Option<u32>,
    /// The highest priority.
    #[serde(default)]
    pub(crate) max_priority: Option<u8>,
    /// Whether one consumer at a time gets messages, which keeps their order.
    #[serde(default)]
    pub(crate) single_active_consumer: Option<bool>,
    /// Where messages go that the broker gives up.
    #[serde(default)]
    pub(crate) dead_letter: DeadLetter,
    /// Whether it has a queue for copies of what was taken.
    #[serde(default)]
    pub(crate) journal: bool,
    /// Whether no number of deliveries is too many, unless a limit is given: its location stops at what it cannot
    /// take, and what waits there is delivered again with each attempt to go on.
    #[serde(skip)]
    pub(crate) waits: bool,
}

impl Definition {
    /// A queue of this kind with what holds unless something else is said.
    pub(crate) fn of(kind: Kind) -> Self {
        Self {
            kind,
            quota: None,
            delivery_limit: None,
            max_priority: None,
            single_active_consumer: None,
            dead_letter: DeadLetter::Own,
            journal: false,
            waits: false,
        }
    }

    /// Reads and checks a block: the definition of the queue `name`, if it can be used, and every fault.
    #[must_use]
    pub fn read(name: &str, block: &Block) -> (Option<Self>, Vec<Fault>) {
        let definition: Self = match config::parse(block) {
            Ok(definition) => definition,
            Err(faults) => return (None, faults),
        };
        let mut faults = Vec::new();
        definition.faults(name, &mut faults);
        let wrong = faults.iter().any(|fault| fault.severity == Severity::Error);
        ((!wrong).then_some(definition), faults)
    }

    fn faults(&self, name: &str, faults: &mut Vec<Fault>) {
        if let Err(why) = of_amqp(name) {
            faults.push(Fault::error(codes::BAD_DEFINITION, &[], why));
        }
        let mut refuse = |key: &str, why: String| {
            faults.push(Fault::error(codes::BAD_DEFINITION, &[key], why));
        };
        for (key, why) in self.misplaced() {
            refuse(
                key,
                format!("{why} a queue of the kind `{}`", self.kind.word()),
            );
        }
        if self.delivery_limit == Some(0) {
            let why = "a limit of 0 gives up what is delivered again for any reason";
            refuse("delivery_limit", why.to_owned());
        }
        if self.quota.is_some_and(|quota| quota.bytes() == 0) {
            refuse("quota", "nothing fits into a quota of 0".to_owned());
        }
        match &self.dead_letter {
            DeadLetter::None if self.kind == Kind::Transactional => {
                let why = "the broker would drop what is delivered too often, and what expires";
                refuse("dead_letter", why.to_owned());
            }
            DeadLetter::Into(queue) if queue == name => {
                let why = "messages would be put back into the queue that they come from";
                refuse("dead_letter", why.to_owned());
            }
            DeadLetter::Into(queue) => {
                if let Err(why) = of_amqp(queue) {
                    refuse("dead_letter", why);
                }
            }
            _ => {}
        }
    }

    /// The keys that say something about queues of another kind, and why not of this one.
    fn misplaced(&self) -> impl Iterator<Item = (&'static str, &'static str)> {
        let is_worked = self.kind.is_worked();
        let all = [
            (
                self.delivery_limit.is_some() && self.kind != Kind::Transactional,
                ("delivery_limit", "deliveries are not counted in"),
            ),
            (
                self.max_priority.is_some() && self.kind != Kind::Express,
                ("max_priority", "the broker knows no priorities in"),
            ),
            (
                self.single_active_consumer.is_some() && !is_worked,
                (
                    "single_active_consumer",
                    "an operator has to be able to look into",
                ),
            ),
            (
                self.dead_letter != DeadLetter::Own && !is_worked,
                ("dead_letter", "nothing is given up in"),
            ),
            (
                self.journal && !is_worked,
                ("journal", "no copies are kept of"),
            ),
        ];
        all.into_iter()
            .filter(|(is_set, _)| *is_set)
            .map(|(_, told)| told)
    }

    /// How often a message is delivered again before it is given up, if ever.
    pub(crate) fn limit(&self) -> Option<u32> {
        let unless_said = (!self.waits).then_some(DELIVERY_LIMIT);
        self.delivery_limit.or(unless_said)
    }

    /// The highest priority; 0: there are none.
    pub(crate) fn priorities(&self) -> u8 {
        self.max_priority.unwrap_or(MAX_PRIORITY)
    }

    /// Whether one consumer at a time gets messages.
    pub(crate) fn is_single(&self) -> bool {
        let unless_said = self.kind == Kind::Transactional;
        self.single_active_consumer.unwrap_or(unless_said)
    }
}

/// Refuses a name that no queue of AMQP can have, and one of MSMQ: what is defined is a queue of the broker, which
/// every spelling of a port comes to.
fn of_amqp(name: &str) -> Result<(), String> {
    let queue = queue_named(name);
    if queue == name {
        return confine(name);
    }
    Err(format!(
        "`{name}` is a name of MSMQ; the queue of the broker is `{queue}`"
    ))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn places(name: &str, block: &Block) -> Vec<String> {
        let (_, faults) = Definition::read(name, block);
        let place = |f: &Fault| format!("{} {}", f.code, f.path.join("."));
        faults.iter().map(place).collect()
    }

    #[test]
    fn a_kind_is_enough() {
        for kind in [
            "transactional",
            "express",
            "poison",
            "journal",
            "dead-letter",
            "admin",
        ] {
            let (definition, faults) = Definition::read("q", &json!({ "kind": kind }));
            assert_eq!(faults, [], "{kind}");
            assert_eq!(definition.map(|d| d.kind.word()), Some(kind));
        }
    }

    #[test]
    fn each_fault_stands_at_its_key() {
        for (block, expected) in [
            (json!({}), vec!["QS0303 "]),
            (json!({ "kind": "fast" }), vec!["QS0302 kind"]),
            (
                json!({ "kind": "express", "delivery_limit": 5 }),
                vec!["QS0951 delivery_limit"],
            ),
            (
                json!({ "kind": "transactional", "max_priority": 7, "delivery_limit": 0 }),
                vec!["QS0951 max_priority", "QS0951 delivery_limit"],
            ),
            (
                json!({ "kind": "transactional", "dead_letter": false }),
                vec!["QS0951 dead_letter"],
            ),
            (
                json!({ "kind": "express", "dead_letter": "q" }),
                vec!["QS0951 dead_letter"],
            ),
            (
                json!({ "kind": "express", "dead_letter": "amq.x" }),
                vec!["QS0951 dead_letter"],
            ),
            (
                json!({ "kind": "journal", "journal": true, "quota": "0 B" }),
                vec!["QS0951 journal", "QS0951 quota"],
            ),
            (
                json!({ "kind": "poison", "single_active_consumer": true }),
                vec!["QS0951 single_active_consumer"],
            ),
            (
                json!({ "kind": "express", "dead_letter": 5 }),
                vec!["QS0302 dead_letter"],
            ),
        ] {
            assert_eq!(places("q", &block), expected, "{block}");
        }
        assert_eq!(places("amq.q", &json!({ "kind": "admin" })), ["QS0951 "]);
    }

    #[test]
    fn a_queue_is_defined_by_its_name_on_the_broker() {
        let block = json!({ "kind": "transactional", "dead_letter": "DIRECT=OS:srv\\bad" });
        let (_, faults) = Definition::read("srv\\private$\\in", &block);
        let told: Vec<&str> = faults.iter().map(|fault| fault.message.as_str()).collect();
        let expected = [
            r"`srv\private$\in` is a name of MSMQ; the queue of the broker is `msmq.private$.in`",
            r"`DIRECT=OS:srv\bad` is a name of MSMQ; the queue of the broker is `msmq.bad`",
        ];
        assert_eq!(told, expected);
    }
}
