//! The document of a message as a file of lines, where its port assembles one.

use std::sync::Arc;

use bytes::Bytes;
use quayside_adapter_api::{AdapterError, ErrorKind};
use quayside_model::{Content, Message, Text};
use quayside_pipeline::{assemble::Assemble, codes as pipeline};

use crate::{
    codes,
    committer::chain,
    mapping::{self, MapFault},
    plan::SendPort,
    shared::Shared,
};

/// `message` as its port assembles it. As what a map makes, it is made anew for each attempt.
///
/// # Errors
/// Why there is none: nothing was sent.
pub(super) async fn assembled(
    shared: &Shared,
    plan: &SendPort,
    message: Arc<Message>,
) -> Result<Arc<Message>, AdapterError> {
    let Some(assemble) = &plan.pipeline.assemble else {
        return Ok(message);
    };
    let refused = |fault: MapFault| AdapterError::new(ErrorKind::Invalid, fault.code, fault.detail);
    let body = mapping::bytes(shared, &message.body().content).await;
    let body = body.map_err(|error| {
        let kind = ErrorKind::Retry(None);
        AdapterError::new(kind, codes::STORE_UNAVAILABLE, chain(&error))
    })?;
    let body = body.map_err(|why| refused(MapFault::new(pipeline::MAP_INPUT_TOO_LARGE, why)))?;
    let (length, assemble) = (body.len(), Arc::clone(assemble));
    let made = mapping::apart(shared, length, move || at_hand(&assemble, &message, &body)).await;
    made.map(Arc::new).map_err(refused)
}

/// `message`, whose body is `body`, with that assembled. The other parts stay as they are.
///
/// # Errors
/// Why there is none.
pub(crate) fn at_hand(
    assemble: &Assemble,
    message: &Message,
    body: &Bytes,
) -> Result<Message, MapFault> {
    let content_type = message.body().content_type.as_deref();
    let file = assemble.apply(content_type, body);
    let file = file.map_err(|error| {
        let detail = format!("it cannot be assembled: {}", error.detail);
        MapFault::new(error.code, detail)
    })?;
    let mut message = message.clone();
    let part = &mut message.parts[0];
    part.content_type = Some(Text::lossy(assemble.content_type()));
    // In memory, however large: it is not stored.
    part.content = Content::Inline(file.into());
    Ok(message)
}
