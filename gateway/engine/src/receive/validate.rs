//! A body against the schema of its type, and what follows from that.

use std::io::{self, Read};

use bytes::{Buf, Bytes};
use futures_util::StreamExt;
use quayside_adapter_api::Body;
use quayside_model::{Code, Content, Context, Name, Text};
use quayside_pipeline::{Findings, Invalid, Schema, codes};
use tokio::{
    sync::{Semaphore, mpsc},
    task::spawn_blocking,
};

use super::body::ReadBody;
use crate::{
    plan::{MessagePlan, ReceivePort, Validate},
    send::attempt::stored_body,
    shared::Shared,
};

/// What a schema found: `valid` or `invalid`.
const RESULT: &str = "validation.result";

/// What it found, line by line.
const FINDINGS: &str = "validation.findings";

/// Up to this length a body is validated where it was read, in bytes: that takes less than a change of threads may.
const AT_ONCE: usize = 16 * 1024;

/// How many pieces of a large body wait for the validator.
const PIECES: usize = 2;

/// Why a message does not go on.
#[derive(Debug)]
pub(crate) enum Fault {
    /// It is not what its sender says, whatever the port does with schemas.
    Content(Invalid),
    /// It is not allowed to look as it does; the findings are the cause.
    Invalid(Invalid),
    /// The store did not give what it has of the body.
    Store(String),
}

/// Validates what a port has read, if it is to be validated, and leaves the result in the context.
///
/// # Errors
/// Why the message must not go on.
pub(crate) async fn validate(
    shared: &Shared,
    port: &ReceivePort,
    read: &ReadBody,
    context: &mut Context,
) -> Result<(), Fault> {
    let Some(schema) = schema_for(port, read) else {
        return Ok(());
    };
    let found = match other_kind(schema, read) {
        Some(other) => Err(other),
        None => match findings(shared, schema, &read.content).await {
            Ok(findings) => Ok(findings),
            Err(Fault::Invalid(invalid)) => Err(invalid),
            Err(fault) => return Err(fault),
        },
    };
    conclude(port.validate, found, context).map_err(Fault::Invalid)
}

/// [`validate`] where the whole body is at hand, for whoever has no store.
///
/// # Errors
/// The findings, if the message must not go on.
pub(crate) fn validate_at_hand(
    port: &ReceivePort,
    read: &ReadBody,
    body: &[u8],
    context: &mut Context,
) -> Result<(), Invalid> {
    let Some(schema) = schema_for(port, read) else {
        return Ok(());
    };
    let found = match other_kind(schema, read) {
        Some(other) => Err(other),
        None => schema.validate(body, body.len() as u64),
    };
    conclude(port.validate, found, context)
}

/// Why a body cannot be held against `schema`, if it is of another kind.
fn other_kind(schema: &Schema, read: &ReadBody) -> Option<Invalid> {
    let other = read.kind != Some(schema.kind());
    let detail = || format!("the schema of its type is for {:?}", schema.kind());
    other.then(|| fault(codes::INVALID, detail()))
}

/// Leaves in the context what was found, and says whether the message must not go on.
fn conclude(
    validate: Validate,
    found: Result<Findings, Invalid>,
    context: &mut Context,
) -> Result<(), Invalid> {
    let invalid = match found {
        Ok(findings) if findings.is_empty() => {
            context.promote_text(RESULT, "valid");
            return Ok(());
        }
        Ok(findings) => fault(codes::INVALID, findings.to_string()),
        Err(invalid) => invalid,
    };
    context.promote_text(RESULT, "invalid");
    if validate != Validate::Warn {
        return Err(invalid);
    }
    if let Ok(name) = Name::new(FINDINGS) {
        context.write(name, Text::lossy(&invalid.detail));
    }
    Ok(())
}

/// The schema that a body has to fit.
fn schema_for<'a>(port: &'a ReceivePort, read: &ReadBody) -> Option<&'a Schema> {
    if port.validate == Validate::Off {
        return None;
    }
    let scanned = read.scanned.as_ref().ok()?;
    let message: &MessagePlan = port.messages.get(scanned.expected?)?;
    message.schema.as_ref()
}

async fn findings(shared: &Shared, schema: &Schema, content: &Content) -> Result<Findings, Fault> {
    let found = match content {
        Content::Inline(bytes) if bytes.len() <= AT_ONCE => {
            schema.validate(&bytes[..], bytes.len() as u64)
        }
        Content::Inline(bytes) => {
            let (schema, bytes) = (schema.clone(), bytes.clone());
            let work = move || schema.validate(&bytes[..], bytes.len() as u64);
            apart(&shared.validators, work).await
        }
        Content::Stored(body) => {
            let (length, schema) = (body.len, schema.clone());
            let (give, take) = mpsc::channel(PIECES);
            let pieces = Pieces {
                take,
                piece: Bytes::new(),
                ended: false,
            };
            let work = move || schema.validate(pieces, length);
            let body = stored_body(shared.store.clone(), *body);
            let (found, fed) = tokio::join!(apart(&shared.validators, work), feed(body, give));
            fed.map_err(Fault::Store)?;
            found
        }
    };
    found.map_err(Fault::Invalid)
}

fn fault(code: Code, detail: String) -> Invalid {
    Invalid {
        code,
        detail,
        offset: 0,
    }
}

/// Does `work` on a thread for that. No more of it at once than the machine has processors: it never waits for anything
/// but pieces, and more of it would only keep everything else from running.
pub(super) async fn apart<T: Send + 'static>(
    validators: &Semaphore,
    work: impl FnOnce() -> Result<T, Invalid> + Send + 'static,
) -> Result<T, Invalid> {
    // It is never closed.
    let _place = validators.acquire().await;
    let done = spawn_blocking(work).await;
    // It panics at nothing that we know; a document that it panics at is not valid.
    done.unwrap_or_else(|_| {
        Err(fault(
            codes::NOT_VALIDATED,
            "the validator failed".to_owned(),
        ))
    })
}

/// Gives the pieces of a body to the validator until it has seen enough.
///
/// # Errors
/// Why the body broke off.
async fn feed(mut body: Body, give: mpsc::Sender<Piece>) -> Result<(), String> {
    while let Some(piece) = body.next().await {
        let piece = piece.map_err(|error| error.detail)?;
        if give.send(Piece::More(piece)).await.is_err() {
            return Ok(());
        }
    }
    // Without this word a body that breaks off would look like one that is whole.
    let _gone = give.send(Piece::End).await;
    Ok(())
}

enum Piece {
    More(Bytes),
    End,
}

/// A body as the validator reads it, on a thread of its own.
struct Pieces {
    take: mpsc::Receiver<Piece>,
    piece: Bytes,
    ended: bool,
}

impl Read for Pieces {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_empty() && !self.ended {
            match self.take.blocking_recv() {
                Some(Piece::More(bytes)) => self.piece = bytes,
                Some(Piece::End) => self.ended = true,
                None => return Err(io::Error::other("the body broke off")),
            }
        }
        let length = self.piece.len().min(into.len());
        self.piece.copy_to_slice(&mut into[..length]);
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn pieces_are_read_as_one_document_to_their_end_and_no_cut_looks_like_one() {
        let read = |sent: Vec<Piece>| async {
            let (give, take) = mpsc::channel(8);
            for piece in sent {
                give.send(piece)
                    .await
                    .unwrap_or_else(|_| panic!("there is room"));
            }
            drop(give);
            let mut pieces = Pieces {
                take,
                piece: Bytes::new(),
                ended: false,
            };
            let read = spawn_blocking(move || {
                let mut text = String::new();
                pieces.read_to_string(&mut text).map(|_| text)
            });
            let read = read.await.expect("it does not panic");
            read.map_err(|error| error.to_string())
        };
        let more = |text: &'static str| Piece::More(Bytes::from_static(text.as_bytes()));
        let whole = read(vec![more("<a>"), more(""), more("b</a>"), Piece::End]).await;
        assert_eq!(whole.as_deref(), Ok("<a>b</a>"));
        let cut = read(vec![more("<a>")]).await;
        assert_eq!(cut, Err("the body broke off".to_owned()));
    }
}
