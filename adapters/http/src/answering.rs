//! Answers on their way to a client, counted, so that one that lets them wait for ever is noticed.
//!
//! On HTTP/2 a client can open streams and a window of no byte: nothing is written, so no write waits, and
//! every answer stays in memory.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::Full;

/// How many answers a connection has begun and has done with.
#[derive(Debug, Default)]
pub(crate) struct Answers {
    begun: AtomicU64,
    done: AtomicU64,
}

impl Answers {
    /// How many are done with, while others wait; `None`: none waits.
    pub(crate) fn done_of_waiting(&self) -> Option<u64> {
        let done = self.done.load(Ordering::Acquire);
        (self.begun.load(Ordering::Acquire) > done).then_some(done)
    }
}

/// The body of an answer, done with when it is dropped.
pub(crate) struct Answering {
    body: Full<Bytes>,
    answers: Arc<Answers>,
}

impl Answering {
    pub(crate) fn new(body: Full<Bytes>, answers: &Arc<Answers>) -> Self {
        answers.begun.fetch_add(1, Ordering::AcqRel);
        Self {
            body,
            answers: Arc::clone(answers),
        }
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        self.answers.done.fetch_add(1, Ordering::AcqRel);
    }
}

impl Body for Answering {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
