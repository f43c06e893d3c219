//! A body that is kept already, read again in pieces: as it is, decoded, encoded, or record by record.

use bytes::{Buf, Bytes};
use futures_util::StreamExt;
use quayside_adapter_api::{AdapterError, Body};
use quayside_model::Content;
use quayside_pipeline::{
    Invalid,
    decode::{Decode, Decoding},
    encode::{Encode, Encoding},
    split::{Record, Split, Splitter},
};
use quayside_store::AnyStore;

use crate::send::attempt::open_content;

/// Why there are no more pieces before the end.
#[derive(Debug)]
pub(crate) enum Broken {
    /// What came is not acceptable.
    Invalid(Invalid),
    /// The store does not give what it has of it.
    Source(AdapterError),
}

/// What is done to the bytes on their way.
enum Stages {
    Decode(Decoding),
    Encode(Encoding),
}

impl Stages {
    fn pull(&mut self, bytes: &mut &[u8], out: &mut Vec<u8>) -> Result<bool, Invalid> {
        match self {
            Self::Decode(decoding) => decoding.pull(bytes, out),
            Self::Encode(encoding) => encoding.pull(bytes, out),
        }
    }

    fn finish(&mut self, out: &mut Vec<u8>) -> Result<bool, Invalid> {
        match self {
            Self::Decode(decoding) => decoding.finish(out),
            Self::Encode(encoding) => encoding.finish(out),
        }
    }
}

/// The pieces of a body, about 64 KiB each where something is taken off or put around.
pub(crate) struct Pieces {
    body: Body,
    stages: Option<Stages>,
    /// What goes through them next.
    raw: Bytes,
    /// Whether they have more of what they were given.
    more: bool,
    /// Whether the body, and then they, have ended.
    ended: bool,
    over: bool,
}

impl Pieces {
    /// Of `content`, which has this type, with what `decode` says taken off.
    pub(crate) fn of(
        store: &AnyStore,
        (content, content_type): (&Content, Option<&str>),
        decode: Option<&Decode>,
    ) -> Self {
        let stages = decode.map(|decode| Stages::Decode(Decoding::new(decode, content_type)));
        Self::through(store, content, stages)
    }

    /// The type of the part that is the body, if it is one of a multipart body and has begun.
    pub(crate) fn part_type(&self) -> Option<&str> {
        match &self.stages {
            Some(Stages::Decode(decoding)) => decoding.part_type(),
            _ => None,
        }
    }

    /// Of `content`, with what `encode` says put around.
    pub(crate) fn encoded(store: &AnyStore, content: &Content, encode: &Encode) -> Self {
        let stages = Stages::Encode(Encoding::new(encode));
        Self::through(store, content, Some(stages))
    }

    fn through(store: &AnyStore, content: &Content, stages: Option<Stages>) -> Self {
        Self {
            body: open_content(store, content),
            stages,
            raw: Bytes::new(),
            more: false,
            ended: false,
            over: false,
        }
    }

    /// The next piece, which is not empty; nothing at the end.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, Broken> {
        loop {
            if let Some(piece) = self.work()? {
                // A small body may become many pieces: others have their turn between them.
                tokio::task::yield_now().await;
                return Ok(Some(piece));
            }
            if self.ended {
                return Ok(None);
            }
            match self.body.next().await {
                None => self.ended = true,
                Some(Err(error)) => return Err(Broken::Source(error)),
                Some(Ok(bytes)) if self.stages.is_some() => self.raw = bytes,
                Some(Ok(bytes)) if bytes.is_empty() => {}
                Some(Ok(bytes)) => return Ok(Some(bytes)),
            }
        }
    }

    /// What can be made of the bytes at hand.
    fn work(&mut self) -> Result<Option<Bytes>, Broken> {
        let Some(stages) = &mut self.stages else {
            return Ok(None);
        };
        let mut out = Vec::new();
        while out.is_empty() {
            if self.more || !self.raw.is_empty() {
                let mut rest = &self.raw[..];
                self.more = stages.pull(&mut rest, &mut out).map_err(Broken::Invalid)?;
                self.raw = self.raw.slice(self.raw.len() - rest.len()..);
            } else if self.ended && !self.over {
                self.over = !stages.finish(&mut out).map_err(Broken::Invalid)?;
            } else {
                return Ok(None);
            }
        }
        Ok(Some(out.into()))
    }
}

/// The records of a body.
pub(crate) struct Records<'a> {
    pieces: Pieces,
    piece: Bytes,
    splitter: Splitter<'a>,
    ended: bool,
}

impl<'a> Records<'a> {
    /// Splits what comes in `pieces`.
    pub(crate) fn of(pieces: Pieces, split: &'a Split) -> Self {
        Self {
            pieces,
            piece: Bytes::new(),
            splitter: Splitter::new(split),
            ended: false,
        }
    }

    /// The next record; nothing at the end.
    pub(crate) async fn next(&mut self) -> Result<Option<Record>, Broken> {
        loop {
            let mut rest = &self.piece[..];
            let found = if self.ended {
                self.splitter.finish()
            } else {
                self.splitter.pull(&mut rest)
            };
            let used = self.piece.len() - rest.len();
            self.piece.advance(used);
            match found.map_err(Broken::Invalid)? {
                Some(record) => return Ok(Some(record)),
                None if self.ended => return Ok(None),
                None => {}
            }
            match self.pieces.next().await? {
                Some(piece) => self.piece = piece,
                None => self.ended = true,
            }
        }
    }
}
