//! One typed id per noun, so that two ids in a row cannot be swapped.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use uuid::{Builder, Uuid};

use crate::{Entropy, Timestamp};

macro_rules! typed_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Uuid);

        impl $name {
            /// A new id: time-ordered to the millisecond (UUIDv7), the rest random.
            #[must_use]
            pub fn new(now: Timestamp, entropy: &dyn Entropy) -> Self {
                let mut random = [0; 10];
                entropy.fill(&mut random);
                let millis = u64::try_from(now.as_micros() / 1000).unwrap_or(0);
                Self(Builder::from_unix_timestamp_millis(millis, &random).into_uuid())
            }

            /// The id as 16 bytes, in the order in which ids sort.
            #[must_use]
            pub fn to_bytes(self) -> [u8; 16] {
                self.0.into_bytes()
            }

            /// The id with these 16 bytes.
            #[must_use]
            pub fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(Uuid::from_bytes(bytes))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.hyphenated().fmt(f)
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({})", stringify!($name), self.0.hyphenated())
            }
        }
        impl FromStr for $name {
            type Err = uuid::Error;
            fn from_str(text: &str) -> Result<Self, uuid::Error> {
                Uuid::parse_str(text).map(Self)
            }
        }
    };
}

typed_id!(
    /// One message, from its publication to the end of its retention.
    MessageId
);
typed_id!(
    /// One run of a host's process on a node. Random, never used twice.
    InstanceId
);
typed_id!(
    /// A node's lease on being alive.
    SessionId
);
typed_id!(
    /// A body above [`crate::INLINE_MAX`], kept in chunks.
    BodyId
);
typed_id!(
    /// One run of an orchestration: an orchestration instance.
    RunId
);
typed_id!(
    /// One request that waits for its answer.
    ExchangeId
);
typed_id!(
    /// One grant of a clustered host, beside its epoch.
    GrantId
);

/// One message for one subscriber: the message and the number of the subscriber in its fan-out.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct DeliveryId {
    /// The message.
    pub message: MessageId,
    /// The place in the fan-out, from 0.
    pub no: u16,
}

impl fmt::Display for DeliveryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.message, self.no)
    }
}

impl fmt::Debug for DeliveryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DeliveryId({self})")
    }
}

/// The text is not `MESSAGE.NO`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a delivery id: expected a message id, a dot and a number")]
pub struct NotADeliveryId;

impl FromStr for DeliveryId {
    type Err = NotADeliveryId;
    fn from_str(text: &str) -> Result<Self, NotADeliveryId> {
        let (message, no) = text.rsplit_once('.').ok_or(NotADeliveryId)?;
        Ok(Self {
            message: message.parse().map_err(|_| NotADeliveryId)?,
            no: no.parse().map_err(|_| NotADeliveryId)?,
        })
    }
}

impl TryFrom<String> for DeliveryId {
    type Error = NotADeliveryId;
    fn try_from(text: String) -> Result<Self, NotADeliveryId> {
        text.parse()
    }
}

impl From<DeliveryId> for String {
    fn from(id: DeliveryId) -> String {
        id.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SeededEntropy;

    #[test]
    fn ids_sort_by_time_and_survive_text() {
        let entropy = SeededEntropy::new(7);
        let early = MessageId::new(Timestamp::from_micros(1_000_000), &entropy);
        let late = MessageId::new(Timestamp::from_micros(1_002_000), &entropy);
        assert!(early < late);
        assert_eq!(early.to_string().parse(), Ok(early));
        let delivery = DeliveryId {
            message: late,
            no: 3,
        };
        assert_eq!(delivery.to_string().parse(), Ok(delivery));
        assert_eq!("x.1".parse::<DeliveryId>(), Err(NotADeliveryId));
    }
}
