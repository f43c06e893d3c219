//! The maps of a receive port: after a message was promoted and validated, before it is routed.
//!
//! What arrived stays as it is until its map has gone well and somebody subscribes to the result: a message that fails is
//! kept, or published as a failure, in the form in which it came.

use std::sync::Arc;

use bytes::Bytes;
use quayside_adapter_api::{RejectKind, Rejected};
use quayside_model::{BodyId, Content, Message, Part, Text};
use quayside_pipeline::Invalid;
use tracing::warn;

use super::{
    body::{self, BodyError},
    refusal::{rejected, unavailable},
};
use crate::{
    codes, committer::chain, mapping, plan::ReceivePort, send::decide::body_name, shared::Shared,
};

/// Why a message is not mapped.
#[derive(Debug)]
pub(crate) enum Unmapped {
    /// The map, or what it makes, is wrong.
    Fault(Invalid),
    /// Neither the message nor the map is to blame, and its sender may come back.
    NotNow(Box<Rejected>),
}

/// A message in the form in which it came, and as a map has made it, if one has. Both have the same id.
pub(crate) struct Forms {
    pub(crate) came: Arc<Message>,
    pub(crate) mapped: Option<Arc<Message>>,
}

impl Forms {
    /// A message that no map is applied to.
    pub(crate) fn as_it_came(came: Arc<Message>) -> Self {
        Self { came, mapped: None }
    }

    /// The form in which it is routed.
    pub(crate) fn goes(&self) -> &Arc<Message> {
        self.mapped.as_ref().unwrap_or(&self.came)
    }

    /// The bodies in chunks of both.
    pub(crate) fn bodies(&self) -> Vec<BodyId> {
        let both = [Some(&self.came), self.mapped.as_ref()];
        let both = both.into_iter().flatten();
        both.filter_map(|message| stored(message)).collect()
    }

    /// Gives up the bodies in chunks that do not go on: all but `kept`.
    pub(crate) async fn keep(&self, shared: &Shared, kept: Option<BodyId>) {
        for body in self.bodies() {
            if Some(body) != kept {
                body::abandon(shared, body).await;
            }
        }
    }
}

/// What the first fitting map of the port makes of `message`, under the id of that. `None`: no map takes its type.
///
/// # Errors
/// Why it is not mapped.
pub(crate) async fn map(
    shared: &Shared,
    port: &ReceivePort,
    message: &Message,
) -> Result<Option<Arc<Message>>, Unmapped> {
    let Some(map) = mapping::for_type(&port.maps, message.message_type.as_deref()) else {
        return Ok(None);
    };
    let done = mapping::at_port(shared, map, message).await;
    let done = done.map_err(|error| {
        warn!(code = %error.kind.code(), error = %chain(&error), port = %port.name,
            "a large body could not be mapped");
        not_now(unavailable("the store did not give the body"))
    })?;
    let fitting = done.map_err(|fault| {
        if fault.is_here {
            let (kind, after) = (RejectKind::Unavailable, unavailable("").retry_after);
            warn!(code = %fault.code, detail = %fault.detail, port = %port.name, "a message could not be mapped");
            return not_now(rejected(kind, fault.code, fault.detail, after));
        }
        Unmapped::Fault(Invalid {
            code: fault.code,
            detail: fault.detail,
            offset: 0,
        })
    })?;
    let content = body::keep(shared, Bytes::from(fitting.made.body)).await;
    let content = content.map_err(|error| not_kept(&error))?;
    let mut context = message.context.clone();
    for (name, value) in fitting.scanned.properties {
        context.promote(name, value);
    }
    Ok(Some(Arc::new(Message {
        id: message.id,
        received_at: message.received_at,
        origin: message.origin.clone(),
        message_type: fitting.scanned.message_type,
        context,
        parts: vec![Part {
            name: body_name(),
            content_type: Some(Text::lossy(&fitting.made.content_type)),
            content,
        }],
    })))
}

fn not_now(rejected: Rejected) -> Unmapped {
    Unmapped::NotNow(Box::new(rejected))
}

fn not_kept(error: &BodyError) -> Unmapped {
    if let BodyError::Store(error) = error {
        warn!(code = %error.kind.code(), error = %chain(error), "storing a large body failed");
    }
    not_now(rejected(
        RejectKind::Unavailable,
        codes::STORE_UNAVAILABLE,
        "the store did not take the body".to_owned(),
        unavailable("").retry_after,
    ))
}

/// The body in chunks of a message.
pub(crate) fn stored(message: &Message) -> Option<BodyId> {
    match &message.body().content {
        Content::Stored(body) => Some(body.id),
        Content::Inline(_) => None,
    }
}
