//! What the engine says of a delivery: why it is accepted, or why it is not.

use std::time::Duration;

use bytes::Bytes;
use quayside_model::{Code, MessageId, Text};

/// How long after its arrival a sender has its receipt, or is told to come back: half a second below the
/// two seconds that are promised, for the way there and back.
pub const RECEIPT_WITHIN: Duration = Duration::from_millis(1500);

/// Why a delivery counts as accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accepted {
    /// The message; of a repeat, the one that was first.
    pub message: MessageId,
    /// Those that came with it, in their order.
    pub others: Vec<MessageId>,
    /// Whether all of it is a repeat of what was accepted before.
    pub replayed: bool,
    /// The answer, where one was waited for.
    pub answer: Option<Answer>,
}

/// What a subscriber answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The partner's status, in the words of the adapter that sent.
    pub status: u16,
    /// Its media type.
    pub content_type: Option<Text>,
    /// Its body.
    pub body: Bytes,
}

/// Why a delivery is not accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejected {
    /// What the sender can do.
    pub kind: RejectKind,
    /// The stable code.
    pub code: Code,
    /// The cause, for a person at the sender's side: no inner details.
    pub detail: String,
    /// Which of several messages is to blame, counted from 0.
    pub index: Option<u16>,
    /// When to try again, where that helps.
    pub retry_after: Option<Duration>,
}

/// Why a location takes nothing for now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resting {
    /// What goes on behind the words `the receive location`, for a person at the sender's side: no inner
    /// details.
    pub why: String,
    /// When to try again.
    pub retry_after: Duration,
}

/// What a sender can do about a rejection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RejectKind {
    /// Correct the content.
    Invalid,
    /// Come as somebody who may send here: the content is not what is wrong.
    Forbidden,
    /// Send less.
    TooLarge,
    /// Use a new key: this one stood for another request.
    KeyReused,
    /// Ask again: the first request of this key has no answer yet.
    InProgress,
    /// Slow down.
    Overloaded,
    /// Try again: the gateway cannot store anything now.
    Unavailable,
    /// Ask again with the same key: the subscriber did not answer in time, the request goes on.
    NoAnswer,
    /// Nothing now: it is stored, and the subscriber that answers has failed. Once an operator has repaired
    /// that, the same key brings the answer.
    NotAnswered,
}
