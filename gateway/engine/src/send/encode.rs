//! What an adapter sees of a message whose port encodes it.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt, stream};
use quayside_adapter_api::{AdapterError, Body, ErrorKind, Outbound};
use quayside_model::{BodyId, Content, INLINE_MAX, Message, StoredBody, Text};
use quayside_pipeline::encode::Encode;
use quayside_store::AnyStore;
use sha2::{Digest, Sha256};

use crate::{
    plan::SendPort,
    receive::pieces::{Broken, Pieces},
};

/// `outbound` as its port encodes it. A body is encoded once to know how long it becomes, which adapters have to tell
/// before they send it, and then again for each time that it is opened, unless it is short: the same body gives the
/// same bytes.
///
/// # Errors
/// That it cannot be encoded, or not be read now.
pub(super) async fn encoded(
    store: &AnyStore,
    plan: &SendPort,
    outbound: Outbound,
) -> Result<Outbound, AdapterError> {
    let Some(encode) = &plan.pipeline.encode else {
        return Ok(outbound);
    };
    let source = outbound.message.body().content.clone();
    let content = measured(store, &source, encode, outbound.message.id.to_bytes()).await?;
    let mut parts = outbound.message.parts.clone();
    let body = &mut parts[0];
    let content_type = encode.content_type(body.content_type.as_deref());
    body.content_type = content_type.as_deref().map(Text::lossy);
    body.content = content.clone();
    let message = Message {
        parts,
        ..(*outbound.message).clone()
    };
    let (store, encode) = (Arc::clone(store), Arc::clone(encode));
    Ok(Outbound {
        message: Arc::new(message),
        open: Arc::new(move || match &content {
            Content::Inline(bytes) => one(bytes.clone()),
            Content::Stored(_) => open(&store, &source, &encode),
        }),
        ..outbound
    })
}

/// The encoded body, or how long it is.
async fn measured(
    store: &AnyStore,
    source: &Content,
    encode: &Encode,
    id: [u8; 16],
) -> Result<Content, AdapterError> {
    let (mut sha, mut len, mut kept) = (Sha256::new(), 0, BytesMut::new());
    let mut body = open(store, source, encode);
    while let Some(piece) = body.next().await {
        let piece = piece?;
        len += piece.len() as u64;
        sha.update(&piece);
        if len <= INLINE_MAX as u64 {
            kept.extend_from_slice(&piece);
        }
    }
    if len <= INLINE_MAX as u64 {
        return Ok(Content::Inline(kept.freeze()));
    }
    Ok(Content::Stored(StoredBody {
        id: BodyId::from_bytes(id),
        len,
        chunks: 0,
        sha256: sha.finalize().into(),
    }))
}

fn one(bytes: Bytes) -> Body {
    Box::pin(stream::once(async move { Ok(bytes) }))
}

fn open(store: &AnyStore, source: &Content, encode: &Encode) -> Body {
    let pieces = Pieces::encoded(store, source, encode);
    Box::pin(stream::try_unfold(pieces, |mut pieces| async move {
        let piece = pieces.next().await.map_err(failed)?;
        Ok(piece.map(|piece| (piece, pieces)))
    }))
}

fn failed(broken: Broken) -> AdapterError {
    match broken {
        Broken::Invalid(invalid) => {
            AdapterError::new(ErrorKind::Invalid, invalid.code, invalid.detail)
        }
        Broken::Source(error) => error,
    }
}
