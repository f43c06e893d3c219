//! The maps of a send port: what its transport sees of a message.
//!
//! The delivery keeps the message as it was published. So each attempt maps it again, by the map in force then.

use std::sync::Arc;

use quayside_adapter_api::{AdapterError, ErrorKind};
use quayside_model::{Content, Message, Part, Text};
use quayside_store::Claimed;

use super::{decide::body_name, port::SendRuntime};
use crate::{codes, committer::chain, mapping, shared::Shared};

/// The message as the transport gets it.
///
/// # Errors
/// Why there is none: nothing was sent.
pub(crate) async fn message(
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
    let fitting = done.map_err(|fault| {
        let kind = match fault.is_here {
            false => ErrorKind::Rejected,
            // Nothing goes through before the machine is put right; what is only busy now is tried again.
            true if fault.code == codes::OUTSIDE_START => ErrorKind::Config,
            true => ErrorKind::Retry(None),
        };
        AdapterError::new(kind, fault.code, fault.detail)
    })?;
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
