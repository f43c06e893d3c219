//! The bytes of a connection and its end: whoever takes nothing of what is written is cut off, however long
//! it would wait, and the last answer is not lost.
//!
//! A request that is refused before its content is read leaves unread bytes in the socket. Closing it
//! then makes the system send a reset, which destroys the answer before the client reads it. So the
//! writing half is closed first, and what still comes is thrown away for a moment.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Sleep, sleep},
};

/// How long what still comes is thrown away, at most.
const TIME: Duration = Duration::from_secs(1);

/// How much is thrown away, at most. Enough for a client that sends on before it looks at the answer: one
/// whose rest was cut at 4 MiB met a reset instead of its 413 now and then.
const BYTES: usize = 64 * 1024 * 1024;

/// A stream whose writes fail when the other side has taken nothing for a while, and that lingers at its end
/// if something was left unread.
pub(crate) struct Stream<S> {
    stream: S,
    /// How long a write waits.
    limit: Duration,
    /// Runs while a write waits.
    waiting: Option<Pin<Box<Sleep>>>,
    /// Whether something was left unread.
    lingers: Arc<AtomicBool>,
    end: End,
}

enum End {
    Open,
    Lingering {
        until: Pin<Box<Sleep>>,
        dropped: usize,
    },
    Closed,
}

impl<S> Stream<S> {
    pub(crate) fn new(stream: S, limit: Duration, lingers: Arc<AtomicBool>) -> Self {
        Self {
            stream,
            limit,
            waiting: None,
            lingers,
            end: End::Open,
        }
    }

    /// `polled`, or the end of the patience if it waits for too long.
    fn limited<T>(
        &mut self,
        cx: &mut Context<'_>,
        polled: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if polled.is_ready() {
            self.waiting = None;
            return polled;
        }
        let limit = self.limit;
        let waiting = self.waiting.get_or_insert_with(|| Box::pin(sleep(limit)));
        ready!(waiting.as_mut().poll(cx));
        let detail = "the client does not take its answer";
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, detail)))
    }
}

impl<S: AsyncRead + Unpin> Stream<S> {
    fn poll_drop_rest(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let End::Lingering { until, dropped } = &mut self.end else {
            return Poll::Ready(());
        };
        let mut scratch = [0; 8 * 1024];
        while *dropped < BYTES {
            let mut buffer = ReadBuf::new(&mut scratch);
            match Pin::new(&mut self.stream).poll_read(cx, &mut buffer) {
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {
                    *dropped += buffer.filled().len();
                }
                Poll::Ready(_) => return Poll::Ready(()),
                Poll::Pending => return until.as_mut().poll(cx),
            }
        }
        Poll::Ready(())
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Stream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Stream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.limited(cx, polled)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.limited(cx, polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.stream).poll_flush(cx);
        self.limited(cx, polled)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if matches!(self.end, End::Open) {
            let polled = Pin::new(&mut self.stream).poll_shutdown(cx);
            ready!(self.limited(cx, polled))?;
            self.end = if self.lingers.load(Ordering::Relaxed) {
                End::Lingering {
                    until: Box::pin(sleep(TIME)),
                    dropped: 0,
                }
            } else {
                End::Closed
            };
        }
        ready!(self.poll_drop_rest(cx));
        self.end = End::Closed;
        Poll::Ready(Ok(()))
    }
}
