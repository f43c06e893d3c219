//! Ids and keys that are the same whenever the same is done again: made from the instance, the step and
//! the rounds of the loops around it.

use std::{fmt, str::FromStr};

use quayside_model::{Context, Entropy, MessageId, RunId, Timestamp, Value, hash16};
use serde::{Deserialize, Serialize};

use crate::{Definition, definition::Group};

macro_rules! key {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name([u8; 16]);

        impl $name {
            /// The key as bytes.
            #[must_use]
            pub fn to_bytes(self) -> [u8; 16] {
                self.0
            }

            /// The key with these bytes.
            #[must_use]
            pub fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(bytes)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({self})", stringify!($name))
            }
        }
        impl FromStr for $name {
            type Err = NotAKey;
            fn from_str(text: &str) -> Result<Self, NotAKey> {
                let mut bytes = [0; 16];
                if text.len() != 32 || !text.is_ascii() {
                    return Err(NotAKey);
                }
                for (byte, at) in bytes.iter_mut().zip((0..).step_by(2)) {
                    *byte = u8::from_str_radix(&text[at..at + 2], 16).map_err(|_| NotAKey)?;
                }
                Ok(Self(bytes))
            }
        }
        impl TryFrom<String> for $name {
            type Error = NotAKey;
            fn try_from(text: String) -> Result<Self, NotAKey> {
                text.parse()
            }
        }
        impl From<$name> for String {
            fn from(key: $name) -> String {
                key.to_string()
            }
        }
    };
}

key!(
    /// By what messages find an instance: made from a correlation and the values of its properties.
    CorrelationKey
);
key!(
    /// Under what a partner or worker sees a call: the same for every attempt.
    CallKey
);

key!(
    /// What a definition and its meaning are told apart by.
    Fingerprint
);

/// The text is not 32 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a key: expected 32 hexadecimal digits")]
pub struct NotAKey;

impl Definition {
    /// The key that a message with these properties has for the correlation `group`. `None`: it lacks one of
    /// them, so that it belongs to no instance by it.
    #[must_use]
    pub fn correlation_key(&self, group: u16, context: &Context) -> Option<CorrelationKey> {
        let group = self.groups.get(usize::from(group))?;
        let values = self
            .group_properties(group)
            .map(|name| context.promoted(name));
        let values: Vec<&Value> = values.collect::<Option<_>>()?;
        Some(self.key_of(group, &values))
    }

    /// The key of the values of all properties of a group, in their order.
    pub(crate) fn key_of(&self, group: &Group, values: &[&Value]) -> CorrelationKey {
        let mut parts: Vec<Vec<u8>> = vec![b"correlation".to_vec(), self.name.as_bytes().to_vec()];
        for set in &group.sets {
            parts.push(self.sets[usize::from(*set)].name.as_bytes().to_vec());
        }
        parts.extend(values.iter().map(|value| canonical(value).into_bytes()));
        let parts: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
        CorrelationKey(hash16(&parts))
    }
}

/// A value in a form in which equal values are equal texts: a number is the same whatever type it has.
fn canonical(value: &Value) -> String {
    match value {
        Value::Text(text) => format!("s:{text}"),
        Value::Integer(number) => format!("n:{number}"),
        Value::Decimal(decimal) => format!("n:{decimal}"),
        Value::Boolean(truth) => format!("b:{truth}"),
        Value::Time(time) => format!("t:{time}"),
    }
}

/// One execution of a step: where it is, in which rounds of the loops around it, and which attempt.
#[derive(Debug, Clone)]
pub(crate) struct Occurrence {
    pub(crate) run: RunId,
    pub(crate) step: u16,
    pub(crate) rounds: Vec<u32>,
    pub(crate) attempt: u32,
    /// The time of what the instance goes on because of, so that ids sort by time and a repeat has the same.
    pub(crate) at: Timestamp,
}

impl Occurrence {
    /// The key of a call, without the attempt.
    pub(crate) fn key(&self) -> CallKey {
        CallKey(self.hash("call", 0))
    }

    pub(crate) fn message(&self, purpose: &str) -> MessageId {
        MessageId::new(self.at, &Fixed(self.hash(purpose, self.attempt)))
    }

    pub(crate) fn run(&self) -> RunId {
        RunId::new(self.at, &Fixed(self.hash("run", self.attempt)))
    }

    fn hash(&self, purpose: &str, attempt: u32) -> [u8; 16] {
        let rounds: Vec<u8> = self.rounds.iter().flat_map(|r| r.to_le_bytes()).collect();
        hash16(&[
            purpose.as_bytes(),
            &self.run.to_bytes(),
            &self.step.to_le_bytes(),
            &rounds,
            &attempt.to_le_bytes(),
        ])
    }
}

/// The time in the id of a message.
pub(crate) fn time_of(message: MessageId) -> Timestamp {
    let millis = message.to_bytes()[..6]
        .iter()
        .fold(0_i64, |sum, byte| sum << 8 | i64::from(*byte));
    Timestamp::from_micros(millis.saturating_mul(1000))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_survive_text_and_ids_repeat() {
        let key = CallKey([7; 16]);
        assert_eq!(key.to_string().parse(), Ok(key));
        for wrong in ["", "0", &"g".repeat(32), &"ä".repeat(16)] {
            assert_eq!(wrong.parse::<CallKey>(), Err(NotAKey), "{wrong}");
        }
        let at = Timestamp::from_micros(1_800_000_000_000_000);
        let one = |attempt, rounds: &[u32]| Occurrence {
            run: RunId::from_bytes([1; 16]),
            step: 3,
            rounds: rounds.to_vec(),
            attempt,
            at,
        };
        assert_eq!(one(0, &[1, 2]).message("m"), one(0, &[1, 2]).message("m"));
        assert_ne!(one(0, &[1, 2]).message("m"), one(0, &[2, 1]).message("m"));
        assert_ne!(one(0, &[]).message("m"), one(1, &[]).message("m"));
        assert_eq!(one(0, &[]).key(), one(1, &[]).key());
    }

    #[test]
    fn equal_numbers_have_equal_keys() {
        let decimal = Value::Decimal("5.0".parse().expect("a decimal"));
        assert_eq!(canonical(&decimal), canonical(&Value::Integer(5)));
        assert_ne!(
            canonical(&Value::Integer(5)),
            canonical(&Value::Text("5".parse().expect("text")))
        );
    }
}
