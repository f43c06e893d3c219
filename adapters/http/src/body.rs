//! The content of a request as a stream that keeps every limit: size, pace, digest, encoding.

use std::{
    future::Future as _,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt as _, stream};
use http_body::Body as HttpBody;
use quayside_adapter_api::{AdapterError, Body, Span};
use tokio::time::{Instant, Sleep, sleep};

use crate::{
    digest::Digests,
    error::{EMPTY, TOO_SLOW, TRUNCATED, chain, invalid, too_large},
    gzip::{self, Inflate},
};

/// How much must come within the time limit for the time to begin again: a sender that gives a byte
/// now and then is as bad as one that gives none.
const PACE: u64 = 16 * 1024;

/// How much of a content is read before the engine sees the request: slow senders of small contents
/// wait here and take nobody's place.
const PREFETCH: usize = 64 * 1024;

/// What a content may be.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Bytes on the wire.
    pub(crate) max: u64,
    /// For [`PACE`] bytes or the end.
    pub(crate) timeout: Duration,
    /// Whether no byte at all is a content.
    pub(crate) allow_empty: bool,
}

/// The content of a request.
pub(crate) struct RequestBody<B> {
    wire: Wire<B>,
    inflate: Option<Inflate>,
    wire_ended: bool,
}

impl<B> RequestBody<B>
where
    B: HttpBody<Data = Bytes> + Unpin,
    B::Error: std::error::Error + 'static,
{
    pub(crate) fn new(
        body: B,
        limits: Limits,
        digests: Option<Digests>,
        inflate: Option<gzip::Limits>,
    ) -> Self {
        let wire = Wire {
            body,
            limits,
            digests,
            seen: 0,
            waited: Duration::ZERO,
            pace_at: PACE,
            wait: None,
        };
        Self {
            wire,
            inflate: inflate.map(Inflate::new),
            wire_ended: false,
        }
    }
}

impl<B> Stream for RequestBody<B>
where
    B: HttpBody<Data = Bytes> + Unpin,
    B::Error: std::error::Error + 'static,
{
    type Item = Result<Bytes, AdapterError>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        let Some(inflate) = &mut this.inflate else {
            return this.wire.poll_piece(cx);
        };
        loop {
            if let Some(piece) = inflate.next_piece().transpose() {
                return Poll::Ready(Some(piece));
            }
            if this.wire_ended {
                return Poll::Ready(None);
            }
            match ready!(this.wire.poll_piece(cx)) {
                Some(Ok(wire)) => inflate.feed(wire),
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => {
                    this.wire_ended = true;
                    return Poll::Ready(inflate.finish().transpose());
                }
            }
        }
    }
}

/// The content as it is on the wire.
struct Wire<B> {
    body: B,
    limits: Limits,
    digests: Option<Digests>,
    seen: u64,
    waited: Duration,
    pace_at: u64,
    /// The wait that is going on, and when it began.
    wait: Option<(Instant, Pin<Box<Sleep>>)>,
}

impl<B> Wire<B>
where
    B: HttpBody<Data = Bytes> + Unpin,
    B::Error: std::error::Error + 'static,
{
    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, AdapterError>>> {
        loop {
            let frame = match Pin::new(&mut self.body).poll_frame(cx) {
                Poll::Pending => return self.poll_timeout(cx),
                Poll::Ready(Some(Ok(frame))) => frame,
                Poll::Ready(Some(Err(error))) => {
                    return Poll::Ready(Some(Err(invalid(TRUNCATED, chain(&error)))));
                }
                Poll::Ready(None) => return Poll::Ready(self.end().err().map(Err)),
            };
            self.end_wait();
            // Trailers are no content and nothing here needs them.
            let Ok(piece) = frame.into_data() else {
                continue;
            };
            if !piece.is_empty() {
                return Poll::Ready(Some(self.count(&piece).map(|()| piece)));
            }
        }
    }

    fn count(&mut self, piece: &[u8]) -> Result<(), AdapterError> {
        self.seen += piece.len() as u64;
        if self.seen > self.limits.max {
            return Err(too_large(format!(
                "the content is larger than {} bytes",
                self.limits.max
            )));
        }
        if self.seen >= self.pace_at {
            self.pace_at = self.seen + PACE;
            self.waited = Duration::ZERO;
        }
        if let Some(digests) = &mut self.digests {
            digests.update(piece);
        }
        Ok(())
    }

    fn end(&mut self) -> Result<(), AdapterError> {
        self.wait = None;
        if self.seen == 0 && !self.limits.allow_empty {
            return Err(invalid(EMPTY, "the content is empty"));
        }
        self.digests.take().map_or(Ok(()), Digests::verify)
    }

    /// Only time spent waiting for the sender counts: while the gateway itself does not ask for more,
    /// nobody looks at the clock.
    fn poll_timeout(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, AdapterError>>> {
        let left = self.limits.timeout.saturating_sub(self.waited);
        let (_, wait) = self
            .wait
            .get_or_insert_with(|| (Instant::now(), Box::pin(sleep(left))));
        ready!(wait.as_mut().poll(cx));
        let error = invalid(
            TOO_SLOW,
            format!(
                "{} bytes came, then too little for {}",
                self.seen,
                Span::new(self.limits.timeout)
            ),
        );
        Poll::Ready(Some(Err(error)))
    }

    fn end_wait(&mut self) {
        if let Some((began, _)) = self.wait.take() {
            self.waited += began.elapsed();
        }
    }
}

/// Reads the beginning of `body`; what is short is read to its end, and checked, right here.
///
/// # Errors
/// What the body ends with, if it ends within the part that is read.
pub(crate) async fn prefetch<S>(mut body: S) -> Result<Body, AdapterError>
where
    S: Stream<Item = Result<Bytes, AdapterError>> + Send + Unpin + 'static,
{
    let Some(first) = body.next().await.transpose()? else {
        return Ok(Box::pin(stream::empty()));
    };
    let Some(mut piece) = body.next().await.transpose()? else {
        return Ok(whole(first));
    };
    let mut start = BytesMut::from(first);
    loop {
        start.extend_from_slice(&piece);
        if start.len() > PREFETCH {
            return Ok(Box::pin(whole(start.freeze()).chain(Fused(Some(body)))));
        }
        match body.next().await.transpose()? {
            Some(next) => piece = next,
            None => return Ok(whole(start.freeze())),
        }
    }
}

fn whole(bytes: Bytes) -> Body {
    Box::pin(stream::iter([Ok(bytes)]))
}

/// Ends after an error, and gives the connection back at once when it ends.
struct Fused<S>(Option<S>);

impl<S> Stream for Fused<S>
where
    S: Stream<Item = Result<Bytes, AdapterError>> + Unpin,
{
    type Item = Result<Bytes, AdapterError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Some(body) = &mut self.0 else {
            return Poll::Ready(None);
        };
        let item = ready!(body.poll_next_unpin(cx));
        if !matches!(item, Some(Ok(_))) {
            self.0 = None;
        }
        Poll::Ready(item)
    }
}
