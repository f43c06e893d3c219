//! What a trial tells of: what has happened, and how instances are.

use std::{collections::BTreeMap, sync::Arc};

use quayside_model::{Message, MessageId, Name, Part, RunId, Text, Timestamp};
use quayside_orchestration::{Datum, Failure, Position, Status};

use super::Refusal;

/// Something that happened.
#[derive(Debug, Clone)]
pub struct Happened {
    /// When.
    pub at: Timestamp,
    /// What.
    pub what: What,
}

/// What happened.
#[derive(Debug, Clone)]
pub enum What {
    /// A message was taken in.
    Received {
        /// The location.
        location: Name,
        /// The message, with what was promoted from it.
        message: Arc<Message>,
    },
    /// Nothing was taken in, and the sender is told so.
    Refused {
        /// The location.
        location: Name,
        /// Why.
        refusal: Refusal,
        /// What it was read as, if it could be read.
        message: Option<Arc<Message>>,
    },
    /// An orchestration, or a failure, has published a message.
    Published {
        /// Who.
        by: Name,
        /// What.
        message: Arc<Message>,
    },
    /// A message goes to a send port.
    Sent {
        /// The port.
        port: Name,
        /// What is sent.
        message: Arc<Message>,
    },
    /// A worker is asked.
    Worker {
        /// The worker.
        worker: Name,
        /// The orchestration that asks.
        by: Name,
        /// Which attempt it is, from 1.
        attempt: u32,
        /// What it is given.
        message: Arc<Message>,
    },
    /// A sender that waits gets its answer.
    Answered {
        /// The request.
        request: MessageId,
        /// The status.
        status: u16,
        /// The answer.
        body: Part,
    },
    /// A message is suspended.
    Suspended {
        /// The port, location or orchestration that could not deal with it.
        place: Name,
        /// The message.
        message: Arc<Message>,
        /// The code.
        code: Text,
        /// Why.
        detail: Text,
    },
    /// An instance of an orchestration is suspended.
    Halted {
        /// The orchestration.
        orchestration: Name,
        /// The instance.
        run: RunId,
        /// Why.
        failure: Failure,
    },
}

/// Why a trial cannot go on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Stopped(pub String);

/// An instance of an orchestration, as it is now.
#[derive(Debug, Clone)]
pub struct InstanceView {
    /// The orchestration.
    pub orchestration: Name,
    /// Its id.
    pub run: RunId,
    /// What it is doing.
    pub status: Status,
    /// Where it is, one place for each of its branches.
    pub positions: Vec<Position>,
    /// What its variables hold.
    pub variables: BTreeMap<Name, Datum>,
    /// The messages that it has consumed, in their order.
    pub consumed: Vec<MessageId>,
    /// The messages in its inbox that it has not consumed; of one that is over, those that it left.
    pub left: Vec<MessageId>,
}
