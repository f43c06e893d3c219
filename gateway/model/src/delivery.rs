//! The delivery: one message for one subscriber; the unit of work, retry and suspension.

use serde::{Deserialize, Serialize};

use crate::{Code, DeliveryId, InstanceId, Text};

/// Where a delivery stands. Ended deliveries are no longer rows of the live tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DeliveryState {
    /// Waits for an instance with room, or for the time of its next attempt.
    Ready,
    /// Held by an instance.
    Claimed,
    /// Waits behind an earlier delivery of its order key.
    Held,
    /// Taken out of the flow until an operator acts; can be resumed.
    Suspended,
    /// With an orchestration instance: in its inbox, or consumed and kept because the instance may still read it.
    Taken,
}

/// The proof of holding a delivery: presented with every change and refused when it is no longer true.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Claim {
    /// The delivery.
    pub delivery: DeliveryId,
    /// The holder.
    pub instance: InstanceId,
    /// Which of the delivery's claims this is: the store counts it up with each, so that an answer to
    /// an earlier claim of the same instance is refused too.
    pub token: u32,
}

/// Which of a port's transports is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    /// The one of `[send.NAME.primary]`.
    Primary,
    /// The one of `[send.NAME.backup]`, after the primary's attempts are spent.
    Backup,
}

/// How a delivery ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EndResult {
    /// Sent by the primary transport.
    Sent,
    /// Sent by the backup transport.
    SentByBackup,
    /// Consumed inside the gateway, such as an answer that a requester waited for.
    Consumed,
    /// Ended by an operator.
    Terminated,
}

/// What an operator can expect of trying again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FailureClass {
    /// The partner may take it later.
    Retry,
    /// The whole port cannot work until something is repaired (a credential, a name, a certificate).
    Stop,
    /// This message will never be taken as it is.
    GiveUp,
}

/// Why an attempt failed or a delivery was suspended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// The stable code, `QS` and four digits: see `docs/errors.md`.
    pub code: Text,
    /// What trying again would do.
    pub class: FailureClass,
    /// The cause, for a person.
    pub detail: Text,
    /// Whether an operator may resume what it suspended. Programs before this field do not know it and may.
    #[serde(default = "yes")]
    pub resumable: bool,
}

const fn yes() -> bool {
    true
}

impl Failure {
    /// A failure with a code of the list.
    #[must_use]
    pub fn new(code: Code, class: FailureClass, detail: &str) -> Self {
        Self {
            code: Text::lossy(code.code),
            class,
            detail: Text::lossy(detail),
            resumable: true,
        }
    }
}
