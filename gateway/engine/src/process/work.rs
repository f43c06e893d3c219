//! Work of outside programs: a call under a lease.
//!
//! A program is asked by a message to the port of its worker, with a ticket among the properties. The lease of an attempt
//! runs from the commit that asks. A delivery whose attempt is over is not sent any more: the machine has asked again,
//! or does without. Whatever comes of a delivery, it is never suspended: what fails for good is the answer, and what
//! fails for now is tried again as long as the lease runs.

use std::{sync::Arc, time::Duration};

use quayside_model::{Content, EndResult, ExchangeId, Message, Name, Part, Text, Value};
use quayside_orchestration::CallKey;
use quayside_store::{Change, Claimed, commit::Answer, runs::ClaimedRun, work::Ticket};
use tracing::warn;

use super::effects::CALL_KEY;
use crate::{committer::chain, send::decide::body_name, shared::Shared};

/// The property that has the ticket, for templates of a worker's port.
pub const TICKET: &str = "orchestration.work";
/// The property that has the length of the lease in seconds.
pub const LEASE: &str = "orchestration.lease";
/// The property that has the number of the attempt, from 1.
pub const ATTEMPT: &str = "orchestration.attempt";

/// The status of a program that takes the work and answers later.
const LATER: u16 = 202;
/// The status under which a refusal of the program is kept as the answer.
const REFUSED: u16 = 422;

/// The message that asks a program, made from what it is asked about.
pub(crate) fn asking(
    content: Arc<Message>,
    key: CallKey,
    ticket: Ticket,
    lease: Duration,
) -> Message {
    let mut message = Arc::unwrap_or_clone(content);
    let seconds = format!("{}", lease.as_secs_f64());
    let attempt = Value::Integer(ticket.attempt.into());
    for (name, value) in [
        (CALL_KEY, Value::Text(Text::lossy(&key.to_string()))),
        (TICKET, Value::Text(Text::lossy(&ticket.to_string()))),
        (LEASE, Value::Text(Text::lossy(&seconds))),
        (ATTEMPT, attempt),
    ] {
        message
            .context
            .write(Name::new(name).expect("a name"), value);
    }
    message
}

/// The ticket of a message that asks a program.
pub(crate) fn ticket(message: &Message) -> Option<Ticket> {
    let ticket = message.context.value(TICKET)?.to_string();
    ticket.parse().ok()
}

/// Takes over what programs have said of the leases since the last step.
pub(crate) fn renew(state: &mut quayside_orchestration::State, claimed: &ClaimedRun) {
    for lease in &claimed.leases {
        if let Some(until) = lease.until {
            state.renew(key_of(lease.exchange), until);
        }
    }
}

fn key_of(exchange: ExchangeId) -> CallKey {
    CallKey::from_bytes(exchange.to_bytes())
}

/// What becomes of a delivery that asks a program of nobody's attempt. `None`: it is sent.
pub(crate) async fn is_over(shared: &Shared, claimed: &Claimed) -> Option<Change> {
    let ticket = ticket(&claimed.message)?;
    match shared.store.work_until(&ticket).await {
        Ok(Some(_)) => None,
        Ok(None) => Some(Change::End {
            result: EndResult::Consumed,
            attempts: claimed.attempts,
            detail: Text::lossy("nobody waits for this attempt any more"),
            answer: None,
        }),
        Err(error) => {
            warn!(code = %error.kind.code(), error = %chain(&error), delivery = %claimed.id(),
                "whether a program has to be asked could not be read");
            Some(Change::Release)
        }
    }
}

/// Whether a program that answers with `status` has taken the work and answers later.
pub(crate) fn answers_later(claimed: &Claimed, status: u16) -> bool {
    status == LATER && ticket(&claimed.message).is_some()
}

/// The end of a delivery that a program has refused for good: the refusal is the answer. `None`: it asks no program.
pub(crate) fn refused(claimed: &Claimed, attempts: u32, detail: &Text) -> Option<Change> {
    ticket(&claimed.message)?;
    let answer = Answer {
        exchange: claimed.exchange?,
        status: REFUSED,
        body: Part {
            name: body_name(),
            content_type: Some(Text::lossy("text/plain; charset=utf-8")),
            content: Content::Inline(bytes::Bytes::copy_from_slice(detail.as_bytes())),
        },
    };
    Some(Change::End {
        result: EndResult::Consumed,
        attempts,
        detail: detail.clone(),
        answer: Some(Box::new(answer)),
    })
}
