//! The maps of a send port, and what it assembles: what its transport sees of a message, and what others see of an answer.
//!
//! The delivery keeps the message as it was published. So each attempt maps it again, by the map in force then.

use std::sync::Arc;

use quayside_adapter_api::{AdapterError, ErrorKind, Sent};
use quayside_model::{Content, Failure, FailureClass, Message, Part, Text};
use quayside_store::Claimed;

use super::{assembled::assembled, decide::body_name, port::SendRuntime};
use crate::{
    codes,
    committer::chain,
    mapping::{self, MapFault},
    shared::Shared,
};

/// The message as the transport gets it, but for what is put around it.
///
/// # Errors
/// Why there is none: nothing was sent.
pub(crate) async fn message(
    shared: &Shared,
    runtime: &SendRuntime,
    claimed: &Claimed,
) -> Result<Arc<Message>, AdapterError> {
    let message = mapped(shared, runtime, claimed).await?;
    assembled(shared, &runtime.plan, message).await
}

async fn mapped(
    shared: &Shared,
    runtime: &SendRuntime,
    claimed: &Claimed,
) -> Result<Arc<Message>, AdapterError> {
    let message = &claimed.message;
    let map = mapping::for_type(&runtime.plan.maps, message.message_type.as_deref());
    let Some(map) = map else {
        return Ok(Arc::clone(message));
    };
    let done = mapping::at_port(shared, map, message)
        .await
        .map_err(|error| {
            let kind = ErrorKind::Retry(None);
            AdapterError::new(kind, codes::STORE_UNAVAILABLE, chain(&error))
        })?;
    let fitting = done.map_err(told)?;
    Ok(Arc::new(Message {
        message_type: fitting.scanned.message_type,
        parts: vec![Part {
            name: body_name(),
            content_type: Some(Text::lossy(&fitting.made.content_type)),
            // In memory, however large: it is not stored.
            content: Content::Inline(fitting.made.body.into()),
        }],
        ..Message::clone(message)
    }))
}

/// What was sent, with its answer as the maps of the port make it.
///
/// # Errors
/// Why the answer is none. The partner has the message: [`Unanswered::Suspended`] where another partner must not get it
/// as well.
pub(crate) async fn answer(
    shared: &Shared,
    runtime: &SendRuntime,
    sent: Sent,
) -> Result<Sent, Unanswered> {
    let Some(answer) = sent.answer else {
        return Ok(sent);
    };
    let made = mapping::answer(shared, &runtime.plan.answer_maps, answer).await;
    match made {
        Ok(answer) => Ok(Sent {
            answer: Some(answer),
            ..sent
        }),
        Err(fault) if fault.is_here => Err(Unanswered::Failed(told(fault).doubtful())),
        Err(fault) => {
            let detail = format!("the answer: {}", fault.detail);
            let failure = Failure::new(fault.code, FailureClass::GiveUp, &detail);
            Err(Unanswered::Suspended(failure))
        }
    }
}

/// Why there is no answer to be given.
pub(crate) enum Unanswered {
    /// Nothing came, or this machine could not map it now. Asked again under the same key, the partner gives it again.
    Failed(AdapterError),
    /// The map, or the answer, is wrong. It is for an operator: the backup transport leads to somebody who would get the
    /// message as well.
    Suspended(Failure),
}

fn told(fault: MapFault) -> AdapterError {
    let kind = match fault.is_here {
        false => ErrorKind::Rejected,
        // Nothing goes through before the machine is put right; what is only busy now is tried again.
        true if fault.code == codes::OUTSIDE_START => ErrorKind::Config,
        true => ErrorKind::Retry(None),
    };
    AdapterError::new(kind, fault.code, fault.detail)
}
