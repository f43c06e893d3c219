//! What a sender is told whose delivery is not accepted.

use std::time::Duration;

use quayside_adapter_api::{ErrorKind, RejectKind, Rejected, Span};
use quayside_model::{BodyId, Code, MessageId};
use quayside_pipeline::Invalid;
use quayside_store::commit::First;
use tracing::warn;

use super::body::{BodyError, BrokenBody};
use crate::{codes, committer::chain, exchange::NoAnswer};

/// When a sender may come back after the store failed.
const STORE_RETRY_AFTER: Duration = Duration::from_secs(1);

/// Why an arrival was not accepted.
#[derive(Debug)]
pub(crate) struct Refused {
    /// What its sender is told.
    pub(crate) rejected: Box<Rejected>,
    /// Whether nothing is stored for sure. The store may answer later than the sender can wait.
    pub(crate) known: bool,
    /// Bodies in chunks that no message names, to be given up when the sender has its answer.
    pub(crate) leftover: Vec<BodyId>,
}

impl Refused {
    /// As the fault of one of several messages, counted from 0.
    pub(crate) fn of(mut self, index: u16) -> Self {
        self.rejected.index = Some(index);
        self
    }

    /// The store did not answer in time: nobody knows what it did.
    pub(crate) fn late() -> Self {
        Self {
            known: false,
            ..unavailable("the store did not answer in time").into()
        }
    }
}

impl From<Rejected> for Refused {
    fn from(rejected: Rejected) -> Self {
        Self {
            rejected: Box::new(rejected),
            known: true,
            leftover: Vec::new(),
        }
    }
}

pub(crate) fn rejected(
    kind: RejectKind,
    code: Code,
    detail: String,
    retry_after: Option<Duration>,
) -> Rejected {
    Rejected {
        kind,
        code,
        detail,
        index: None,
        retry_after,
    }
}

pub(crate) fn unavailable(detail: &str) -> Rejected {
    let after = Some(STORE_RETRY_AFTER);
    rejected(
        RejectKind::Unavailable,
        codes::STORE_UNAVAILABLE,
        detail.to_owned(),
        after,
    )
}

pub(crate) fn refused(invalid: &Invalid) -> Rejected {
    let detail = format!("{} (at byte {})", invalid.detail, invalid.offset);
    rejected(RejectKind::Invalid, invalid.code, detail, None)
}

pub(crate) fn key_reused(first: &First) -> Rejected {
    let detail = format!(
        "the key stood for another request, which became message {} at {}",
        first.message, first.stored_at
    );
    rejected(RejectKind::KeyReused, codes::KEY_REUSED, detail, None)
}

/// Of two messages that came together.
pub(crate) fn key_repeated() -> Rejected {
    let detail = "another of the messages has the same key and another content";
    rejected(
        RejectKind::KeyReused,
        codes::KEY_REUSED,
        detail.to_owned(),
        None,
    )
}

/// It is stored, and its time is over.
pub(crate) fn no_answer(message: MessageId, within: Duration) -> Rejected {
    let shown = Span::new(within);
    let detail = format!("no subscriber answered message {message} within {shown}");
    let after = Some(within);
    rejected(RejectKind::NoAnswer, codes::NO_ANSWER, detail, after)
}

/// It is stored, and nobody answers it. The cause is for operators: it may name places within, so the sender
/// gets the code alone.
pub(crate) fn not_answered(message: MessageId, why: &NoAnswer) -> Rejected {
    let code = why.code.as_deref();
    let detail = if why.is_over {
        let last = code.map_or_else(String::new, |code| format!(" after {code}"));
        format!("message {message} has ended without an answer{last}: ask again under another key")
    } else {
        let with = code.map_or_else(String::new, |code| format!(" with {code}"));
        format!(
            "message {message} is stored, but its subscriber failed{with}: it is not answered unless an \
             operator acts"
        )
    };
    rejected(RejectKind::NotAnswered, codes::NOT_ANSWERED, detail, None)
}

pub(crate) fn broken_body(broken: BrokenBody) -> Refused {
    let rejected = match broken.error {
        BodyError::Source(error) => {
            let kind = match error.kind {
                ErrorKind::TooLarge => RejectKind::TooLarge,
                ErrorKind::Retry(_) | ErrorKind::Disconnected => RejectKind::Unavailable,
                _ => RejectKind::Invalid,
            };
            rejected(kind, error.code, error.detail, None)
        }
        BodyError::Invalid(invalid) => refused(&invalid),
        BodyError::Store(error) => {
            warn!(code = %error.kind.code(), error = %chain(&error), "storing a large body failed");
            unavailable("the store did not take the body")
        }
        BodyError::Fenced => unavailable("this instance is being replaced"),
    };
    Refused {
        leftover: broken.leftover.into_iter().collect(),
        ..rejected.into()
    }
}
