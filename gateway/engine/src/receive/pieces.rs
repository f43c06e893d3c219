//! A body that is kept already, read again in pieces: as it is, decoded, or record by record.

use bytes::{Buf, Bytes};
use futures_util::StreamExt;
use quayside_adapter_api::{AdapterError, Body};
use quayside_model::Content;
use quayside_pipeline::{
    Invalid,
    decode::{Decode, Decoding},
    split::{Record, Split, Splitter},
};
use quayside_store::AnyStore;

use crate::send::attempt::open_content;

/// Why there are no more pieces before the end.
#[derive(Debug)]
pub(super) enum Broken {
    /// What came is not acceptable.
    Invalid(Invalid),
    /// The store does not give what it has of it.
    Source(AdapterError),
}

/// The pieces of a body, about 64 KiB each where something is taken off.
pub(super) struct Pieces {
    body: Body,
    decoding: Option<Decoding>,
    /// What is to be decoded next.
    raw: Bytes,
    /// Whether the decoder has more of what it was given.
    more: bool,
    /// Whether the body, and then the decoder, has ended.
    ended: bool,
    over: bool,
}

impl Pieces {
    /// Of `content`, with what `decode` says taken off.
    pub(super) fn of(store: &AnyStore, content: &Content, decode: Option<&Decode>) -> Self {
        Self {
            body: open_content(store, content),
            decoding: decode.map(Decoding::new),
            raw: Bytes::new(),
            more: false,
            ended: false,
            over: false,
        }
    }

    /// The next piece, which is not empty; nothing at the end.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, Broken> {
        loop {
            if let Some(piece) = self.decode()? {
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
                Some(Ok(bytes)) if self.decoding.is_some() => self.raw = bytes,
                Some(Ok(bytes)) if bytes.is_empty() => {}
                Some(Ok(bytes)) => return Ok(Some(bytes)),
            }
        }
    }

    /// What can be made of the bytes at hand.
    fn decode(&mut self) -> Result<Option<Bytes>, Broken> {
        let Some(decoding) = &mut self.decoding else {
            return Ok(None);
        };
        let mut out = Vec::new();
        while out.is_empty() {
            if self.more || !self.raw.is_empty() {
                let mut rest = &self.raw[..];
                self.more = decoding
                    .pull(&mut rest, &mut out)
                    .map_err(Broken::Invalid)?;
                self.raw = self.raw.slice(self.raw.len() - rest.len()..);
            } else if self.ended && !self.over {
                self.over = !decoding.finish(&mut out).map_err(Broken::Invalid)?;
            } else {
                return Ok(None);
            }
        }
        Ok(Some(out.into()))
    }
}

/// The records of a body.
pub(super) struct Records<'a> {
    pieces: Pieces,
    piece: Bytes,
    splitter: Splitter<'a>,
    ended: bool,
}

impl<'a> Records<'a> {
    /// Splits what comes in `pieces`.
    pub(super) fn of(pieces: Pieces, split: &'a Split) -> Self {
        Self {
            pieces,
            piece: Bytes::new(),
            splitter: Splitter::new(split),
            ended: false,
        }
    }

    /// The next record; nothing at the end.
    pub(super) async fn next(&mut self) -> Result<Option<Record>, Broken> {
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
