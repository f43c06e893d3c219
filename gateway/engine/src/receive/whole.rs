//! Promotions for which a document has to be in memory as a whole.

use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use quayside_model::{Content, Context, INLINE_MAX};
use quayside_pipeline::{Invalid, Kind, Promotions, codes};

use super::{
    body::ReadBody,
    validate::{Fault, apart},
};
use crate::{plan::ReceivePort, send::attempt::open_content, shared::Shared};

/// The largest document, in bytes as it came; of UTF-16 twice as many bytes are the same text.
const MOST: u64 = 8 * 1024 * 1024;

/// Up to this length paths are followed where the body was read, in bytes.
const AT_ONCE: usize = 4 * 1024;

/// Promotes what no stream can find.
///
/// # Errors
/// Why the message must not go on.
pub(super) async fn promote(
    shared: &Shared,
    port: &ReceivePort,
    read: &ReadBody,
    context: &mut Context,
) -> Result<(), Fault> {
    let Some(promotions) = needed(port, read) else {
        return Ok(());
    };
    let bytes = whole(shared, &read.content).await?;
    let found = if bytes.len() <= AT_ONCE {
        promotions.whole(&bytes)
    } else {
        let promotions = promotions.clone();
        apart(&shared.validators, move || promotions.whole(&bytes)).await
    };
    for (name, value) in found.map_err(Fault::Content)? {
        context.promote(name, value);
    }
    Ok(())
}

/// The promotions of the message that was found, if they need the whole document.
pub(crate) fn needed<'a>(port: &'a ReceivePort, read: &ReadBody) -> Option<&'a Promotions> {
    let scanned = read.scanned.as_ref().ok()?;
    let promotions = &port.messages.get(scanned.expected?)?.promotions;
    let is_needed = read.kind == Some(Kind::Xml) && promotions.need_whole().next().is_some();
    is_needed.then_some(promotions)
}

/// All bytes of a body.
async fn whole(shared: &Shared, content: &Content) -> Result<Bytes, Fault> {
    let length = content.len();
    if length > MOST {
        return Err(Fault::Content(Invalid {
            code: codes::WHOLE_TOO_LARGE,
            detail: format!("it has {length} bytes"),
            offset: 0,
        }));
    }
    if let Content::Inline(bytes) = content {
        return Ok(bytes.clone());
    }
    let mut bytes = BytesMut::with_capacity(INLINE_MAX);
    let mut body = open_content(&shared.store, content);
    while let Some(piece) = body.next().await {
        bytes.extend_from_slice(&piece.map_err(|error| Fault::Store(error.detail))?);
    }
    Ok(bytes.freeze())
}
