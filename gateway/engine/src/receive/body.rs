//! Reading a body once: promoted from, hashed, and kept in memory or in chunks, all while it streams by.

use std::borrow::Cow;

use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use quayside_adapter_api::{AdapterError, Body};
use quayside_model::{BodyId, Content, Context, INLINE_MAX, Message, Part, StoredBody, Text};
use quayside_pipeline::{
    Invalid, Kind, Limits, Scanned, Scanner, codes as pipeline, decode::Decode,
};
use quayside_store::{StoreError, StoreErrorKind, bodies::CHUNK};
use sha2::{Digest, Sha256};

use super::{
    patience::Patience,
    pieces::{Broken, Pieces},
    validate::validate_at_hand,
    whole::needed,
};
use crate::{
    plan::{Expects, ReceivePort},
    shared::Shared,
};

/// A body that was read to its end.
#[derive(Debug)]
pub(crate) struct ReadBody {
    pub(crate) content: Content,
    pub(crate) sha256: [u8; 32],
    /// What kind of content it is, if somebody has looked.
    pub(crate) kind: Option<Kind>,
    /// What the content says of itself, or why it is not acceptable, where that is no refusal.
    pub(crate) scanned: Result<Scanned, Invalid>,
    /// What was taken off that was around it, if something was.
    pub(crate) decoded: Option<Inner>,
}

impl ReadBody {
    /// A body that nobody has looked into.
    pub(crate) fn unseen(content: Content, sha256: [u8; 32]) -> Self {
        Self {
            content,
            sha256,
            kind: None,
            scanned: Ok(Scanned::default()),
            decoded: None,
        }
    }
}

/// What came out of something that was around it.
#[derive(Debug)]
pub(crate) struct Inner {
    /// Its media type, if somebody says it.
    pub(crate) content_type: Option<Text>,
}

/// A body that was not read to its end.
#[derive(Debug)]
pub(crate) struct BrokenBody {
    pub(crate) error: BodyError,
    /// What has been stored of it, to be given up.
    pub(crate) leftover: Option<BodyId>,
}

/// Why a body could not be read to its end.
#[derive(Debug)]
pub(crate) enum BodyError {
    /// The source broke off or is over a limit.
    Source(AdapterError),
    /// What came is not acceptable.
    Invalid(Invalid),
    /// The chunks could not be stored.
    Store(StoreError),
    /// This process is not live any more.
    Fenced,
}

/// Reads `body`. The time that this takes is not taken from `patience`: it is the sender's, or that of a
/// large body on its way into the store, whose every piece has a time limit of its own. Whether content that
/// is not acceptable is read on is the caller's choice: it is when nobody is there to refuse it to, because
/// then it is kept as it came.
pub(crate) async fn read(
    shared: &Shared,
    port: &ReceivePort,
    content_type: Option<&str>,
    body: Body,
    patience: &mut Patience,
    read_on: bool,
    decode: Option<&Decode>,
) -> Result<ReadBody, BrokenBody> {
    let Some(decode) = decode else {
        let taken = take_in(shared, port, content_type, body, read_on);
        return patience.lend(taken).await;
    };
    // Apart from the others, of whose state it would be the largest part.
    let decoded = Box::pin(async {
        let raw = take_whole(shared, body).await?;
        decoded(shared, port, content_type, raw, decode, read_on).await
    });
    patience.lend(decoded).await
}

/// Reads `body` to its end without looking into it.
pub(crate) async fn take_whole(shared: &Shared, mut body: Body) -> Result<ReadBody, BrokenBody> {
    let mut sink = Sink::default();
    let mut sha = Sha256::new();
    while let Some(bytes) = body.next().await {
        let pushed = match bytes {
            Ok(bytes) => {
                sha.update(&bytes);
                sink.push(shared, bytes).await
            }
            Err(error) => Err(BodyError::Source(error)),
        };
        if let Err(error) = pushed {
            let leftover = sink.leftover();
            return Err(BrokenBody { error, leftover });
        }
    }
    let sha256: [u8; 32] = sha.finalize().into();
    let content = sink.finish(shared, sha256).await?;
    Ok(ReadBody::unseen(content, sha256))
}

/// What comes out of `raw`, which is given up unless it has to be kept as it came.
async fn decoded(
    shared: &Shared,
    port: &ReceivePort,
    content_type: Option<&str>,
    raw: ReadBody,
    decode: &Decode,
    read_on: bool,
) -> Result<ReadBody, BrokenBody> {
    let mut look = Look::new(port, inner_type(content_type));
    let mut sink = Sink::default();
    let mut sha = Sha256::new();
    let of = (&raw.content, content_type);
    let mut pieces = Pieces::of(&shared.store, of, Some(decode));
    let whole = loop {
        let error = match pieces.next().await {
            Ok(None) => break Ok(()),
            Ok(Some(piece)) => {
                if decode.is_multipart() {
                    look.content_type = part_type(&pieces, decode).map(Cow::Owned);
                }
                look.push(&piece);
                if look.failed() {
                    break Ok(());
                }
                sha.update(&piece);
                match sink.push(shared, piece).await {
                    Ok(()) => continue,
                    Err(error) => error,
                }
            }
            Err(Broken::Invalid(invalid)) => BodyError::Invalid(invalid),
            Err(Broken::Source(error)) => BodyError::Source(error),
        };
        break Err(error);
    };
    let inner = match decode.is_multipart() {
        true => part_type(&pieces, decode),
        false => inner_type(content_type).map(str::to_owned),
    };
    let (kind, scanned) = look.finish();
    let invalid = match (whole, scanned) {
        (Ok(()), Ok(scanned)) => {
            let content = sink.finish(shared, sha.finalize().into()).await;
            give_up(shared, &raw.content).await;
            return Ok(ReadBody {
                content: content?,
                kind,
                scanned: Ok(scanned),
                decoded: Some(Inner {
                    content_type: inner.as_deref().map(Text::lossy),
                }),
                ..raw
            });
        }
        (Ok(()), Err(invalid)) | (Err(BodyError::Invalid(invalid)), _) => invalid,
        (Err(error), _) => {
            give_up(shared, &raw.content).await;
            let leftover = sink.leftover();
            return Err(BrokenBody { error, leftover });
        }
    };
    if let Some(body) = sink.leftover() {
        abandon(shared, body).await;
    }
    if read_on {
        let scanned = Err(invalid);
        return Ok(ReadBody { scanned, ..raw });
    }
    give_up(shared, &raw.content).await;
    let error = BodyError::Invalid(invalid);
    let leftover = None;
    Err(BrokenBody { error, leftover })
}

/// The media type of what is inside of a body of this type: known where that is no type of a wrapping.
pub(crate) fn inner_type(content_type: Option<&str>) -> Option<&str> {
    content_type.filter(|name| Kind::sniff(Some(name), b"") != Kind::Opaque)
}

/// The type of the part that is the body, as far as it says what comes out of the stages.
fn part_type(pieces: &Pieces, decode: &Decode) -> Option<String> {
    let part_type = pieces.part_type();
    let known = match decode.has_stages() {
        true => inner_type(part_type),
        false => part_type,
    };
    known.map(str::to_owned)
}

/// Gives `content` up if it is in chunks that no message names.
async fn give_up(shared: &Shared, content: &Content) {
    if let Content::Stored(body) = content {
        abandon(shared, body.id).await;
    }
}

async fn take_in(
    shared: &Shared,
    port: &ReceivePort,
    content_type: Option<&str>,
    mut body: Body,
    read_on: bool,
) -> Result<ReadBody, BrokenBody> {
    let mut look = Look::new(port, content_type);
    let mut sink = Sink::default();
    let mut sha = Sha256::new();
    let end = loop {
        let Some(bytes) = body.next().await else {
            break Ok(());
        };
        let bytes = match bytes {
            Ok(bytes) => bytes,
            Err(error) => break Err(BodyError::Source(error)),
        };
        look.push(&bytes);
        if look.failed() && !read_on {
            break Ok(());
        }
        sha.update(&bytes);
        if let Err(error) = sink.push(shared, bytes).await {
            break Err(error);
        }
    };
    if let Err(error) = end {
        let leftover = sink.leftover();
        return Err(BrokenBody { error, leftover });
    }
    let sha256: [u8; 32] = sha.finalize().into();
    let (kind, scanned) = look.finish();
    if let (Err(invalid), false) = (&scanned, read_on) {
        let error = BodyError::Invalid(invalid.clone());
        let leftover = sink.leftover();
        return Err(BrokenBody { error, leftover });
    }
    let content = sink.finish(shared, sha256).await?;
    Ok(ReadBody {
        content,
        sha256,
        kind,
        scanned,
        decoded: None,
    })
}

/// Keeps a body that was made here, in memory or in chunks.
///
/// # Errors
/// The chunks could not be stored; those that are there have been given up.
pub(crate) async fn keep(shared: &Shared, bytes: Bytes) -> Result<Content, BodyError> {
    let sha256 = Sha256::digest(&bytes).into();
    let mut sink = Sink::default();
    let broken = match sink.push(shared, bytes).await {
        Ok(()) => match sink.finish(shared, sha256).await {
            Ok(content) => return Ok(content),
            Err(broken) => broken,
        },
        Err(error) => {
            let leftover = sink.leftover();
            BrokenBody { error, leftover }
        }
    };
    if let Some(body) = broken.leftover {
        abandon(shared, body).await;
    }
    Err(broken.error)
}

/// Scans if the port expects messages; otherwise lets everything pass unseen.
struct Look<'a> {
    port: &'a ReceivePort,
    content_type: Option<Cow<'a, str>>,
    scanner: Option<Scanner<'a>>,
    kind: Option<Kind>,
    invalid: Option<Invalid>,
}

impl<'a> Look<'a> {
    fn new(port: &'a ReceivePort, content_type: Option<&'a str>) -> Self {
        Self {
            port,
            content_type: content_type.map(Cow::Borrowed),
            scanner: None,
            kind: None,
            invalid: None,
        }
    }

    fn push(&mut self, bytes: &[u8]) {
        let expects = self.port.pipeline.expects;
        let unseen = match expects {
            Expects::Messages => self.port.messages.is_empty(),
            Expects::Kind(_) => false,
            Expects::Anything => true,
        };
        if unseen || self.invalid.is_some() {
            return;
        }
        let kind = *self
            .kind
            .get_or_insert_with(|| Kind::sniff(self.content_type.as_deref(), bytes));
        if let Expects::Kind(expected) = expects
            && expected != kind
        {
            self.invalid = Some(unexpected(expected));
            return;
        }
        let scanner = self.scanner.get_or_insert_with(|| {
            let expected = self.port.messages.iter();
            let expected = expected
                .map(|m| (m.message_type.as_deref(), &m.promotions))
                .collect();
            Scanner::new(kind, expected, Limits::default())
        });
        if let Err(invalid) = scanner.push(bytes) {
            self.invalid = Some(invalid);
        }
    }

    fn failed(&self) -> bool {
        self.invalid.is_some()
    }

    fn finish(mut self) -> (Option<Kind>, Result<Scanned, Invalid>) {
        // An empty body has not been sniffed yet, and it is not well-formed either.
        self.push(b"");
        let scanned = match (self.invalid, self.scanner) {
            (Some(invalid), _) => Err(invalid),
            (None, Some(scanner)) => scanner.finish(),
            (None, None) => Ok(Scanned::default()),
        };
        (self.kind, scanned)
    }
}

/// Why content of another kind than `expected` does not pass.
fn unexpected(expected: Kind) -> Invalid {
    let expected = match expected {
        Kind::Xml => "XML",
        Kind::Json => "JSON",
        Kind::Opaque => "neither XML nor JSON",
    };
    Invalid {
        code: pipeline::UNEXPECTED_TYPE,
        detail: format!("the body is not what the pipeline expects, which is {expected}"),
        offset: 0,
    }
}

/// Where the bytes go: memory up to [`INLINE_MAX`], then chunks of the store.
#[derive(Default)]
struct Sink {
    first: Option<Bytes>,
    buffer: BytesMut,
    stored: Option<(BodyId, u32)>,
    len: u64,
}

impl Sink {
    async fn push(&mut self, shared: &Shared, bytes: Bytes) -> Result<(), BodyError> {
        self.len += bytes.len() as u64;
        // Most bodies come in one piece: keep that piece instead of copying it.
        if self.len == bytes.len() as u64 && bytes.len() <= INLINE_MAX {
            self.first = Some(bytes);
            return Ok(());
        }
        if let Some(first) = self.first.take() {
            self.buffer.extend_from_slice(&first);
        }
        self.buffer.extend_from_slice(&bytes);
        if self.len > INLINE_MAX as u64 {
            self.flush(shared, CHUNK).await?;
        }
        Ok(())
    }

    /// Writes whole chunks while `at_least` bytes are there.
    async fn flush(&mut self, shared: &Shared, at_least: usize) -> Result<(), BodyError> {
        while self.buffer.len() >= at_least && !self.buffer.is_empty() {
            let (body, no) = match self.stored {
                Some(stored) => stored,
                None => (self.open(shared).await?, 0),
            };
            let chunk = self.buffer.split_to(CHUNK.min(self.buffer.len())).freeze();
            let stored = shared
                .store
                .append_chunk(body, shared.instance, no, chunk)
                .await;
            if !stored.map_err(BodyError::Store)? {
                return Err(BodyError::Fenced);
            }
            self.stored = Some((body, no + 1));
        }
        Ok(())
    }

    async fn open(&mut self, shared: &Shared) -> Result<BodyId, BodyError> {
        let body = BodyId::new(shared.options.clock.now(), &*shared.options.entropy);
        let opened = shared.store.open_body(body, shared.instance).await;
        if opened.map_err(BodyError::Store)? {
            self.stored = Some((body, 0));
            Ok(body)
        } else {
            Err(BodyError::Fenced)
        }
    }

    async fn finish(mut self, shared: &Shared, sha256: [u8; 32]) -> Result<Content, BrokenBody> {
        if let Some(first) = self.first {
            return Ok(Content::Inline(first));
        }
        if self.len <= INLINE_MAX as u64 {
            return Ok(Content::Inline(self.buffer.freeze()));
        }
        if let Err(error) = self.flush(shared, 1).await {
            let leftover = self.leftover();
            return Err(BrokenBody { error, leftover });
        }
        let (id, chunks) = self
            .stored
            .expect("more than fits inline was flushed into chunks");
        Ok(Content::Stored(StoredBody {
            id,
            len: self.len,
            chunks,
            sha256,
        }))
    }

    /// The body whose chunks are in the store.
    fn leftover(&self) -> Option<BodyId> {
        self.stored.map(|(body, _)| body)
    }
}

/// Gives an open body up. If that fails, the sweep finds it when this instance has ended.
pub(crate) async fn abandon(shared: &Shared, body: BodyId) {
    if let Err(error) = shared.store.abandon_body(body, shared.instance).await {
        tracing::warn!(code = %error.kind.code(), "giving up a body failed; the sweep will");
    }
}

/// The parts of `message` for another message: bodies in chunks are copied, because each belongs to one
/// message and goes with its retention. Who does not publish them gives them up ([`abandon_parts`]).
pub(crate) async fn copy_parts(
    shared: &Shared,
    message: &Message,
) -> Result<Vec<Part>, StoreError> {
    let mut parts = Vec::with_capacity(message.parts.len());
    for part in &message.parts {
        let mut copy = part.clone();
        if let Content::Stored(body) = &mut copy.content {
            let id = BodyId::new(shared.options.clock.now(), &*shared.options.entropy);
            let original = std::mem::replace(body, StoredBody { id, ..*body });
            if let Err(error) = copy_body(shared, original, id).await {
                abandon(shared, id).await;
                abandon_parts(shared, &parts).await;
                return Err(error);
            }
        }
        parts.push(copy);
    }
    Ok(parts)
}

/// Gives up the bodies in chunks of `parts` that were not published after all.
pub(crate) async fn abandon_parts(shared: &Shared, parts: &[Part]) {
    for part in parts {
        if let Content::Stored(body) = &part.content {
            abandon(shared, body.id).await;
        }
    }
}

async fn copy_body(shared: &Shared, body: StoredBody, copy: BodyId) -> Result<(), StoreError> {
    let fenced = || {
        StoreError::new(
            StoreErrorKind::Unavailable,
            "copy a body",
            "not live any more",
        )
    };
    if !shared.store.open_body(copy, shared.instance).await? {
        return Err(fenced());
    }
    for no in 0..body.chunks {
        let chunk = shared.store.read_chunk(body.id, no).await?;
        let chunk = chunk.ok_or_else(|| {
            StoreError::corrupt(
                "copy a body",
                format!("chunk {no} of body {} is gone", body.id),
            )
        })?;
        if !shared
            .store
            .append_chunk(copy, shared.instance, no, chunk)
            .await?
        {
            return Err(fenced());
        }
    }
    Ok(())
}

/// Why a message whose body is at hand does not go on.
#[derive(Debug)]
pub(crate) enum Unfit {
    /// It is not what its sender says, whatever the port does with schemas.
    Content(Invalid),
    /// It does not fit the schema of its type.
    Schema(Invalid),
}

/// What a location reads in a body that is at hand, for whoever has no store: its type, what is promoted from it into
/// `context`, and why it does not go on, if it does not.
pub(crate) fn read_at_hand(
    port: &ReceivePort,
    content_type: Option<&str>,
    body: &Bytes,
    context: &mut Context,
) -> (Option<Text>, Option<Unfit>) {
    let mut look = Look::new(port, content_type);
    look.push(body);
    let (kind, scanned) = look.finish();
    let read = ReadBody {
        content: Content::Inline(body.clone()),
        sha256: [0; 32],
        kind,
        scanned,
        decoded: None,
    };
    let scanned = match &read.scanned {
        Ok(scanned) => scanned,
        Err(invalid) => return (None, Some(Unfit::Content(invalid.clone()))),
    };
    let whole = match needed(port, &read).map(|promotions| promotions.whole(body)) {
        Some(Ok(found)) => found,
        Some(Err(invalid)) => return (None, Some(Unfit::Content(invalid))),
        None => Vec::new(),
    };
    let found = scanned.properties.iter().cloned().chain(whole);
    for (name, value) in found {
        context.promote(name, value);
    }
    let fault = validate_at_hand(port, &read, body, context).err();
    (scanned.message_type.clone(), fault.map(Unfit::Schema))
}
