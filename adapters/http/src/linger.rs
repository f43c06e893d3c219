//! Closing without losing the last answer.
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

/// A stream that lingers at its end if the flag says that something was left unread.
pub(crate) struct Linger<S> {
    stream: S,
    wanted: Arc<AtomicBool>,
    state: State,
}

enum State {
    Open,
    Lingering {
        until: Pin<Box<Sleep>>,
        dropped: usize,
    },
    Closed,
}

impl<S> Linger<S> {
    pub(crate) fn new(stream: S, wanted: Arc<AtomicBool>) -> Self {
        Self {
            stream,
            wanted,
            state: State::Open,
        }
    }
}

impl<S: AsyncRead + Unpin> Linger<S> {
    fn poll_drop_rest(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let State::Lingering { until, dropped } = &mut self.state else {
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

impl<S: AsyncRead + Unpin> AsyncRead for Linger<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Linger<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if matches!(self.state, State::Open) {
            ready!(Pin::new(&mut self.stream).poll_shutdown(cx))?;
            self.state = if self.wanted.load(Ordering::Relaxed) {
                State::Lingering {
                    until: Box::pin(sleep(TIME)),
                    dropped: 0,
                }
            } else {
                State::Closed
            };
        }
        ready!(self.poll_drop_rest(cx));
        self.state = State::Closed;
        Poll::Ready(Ok(()))
    }
}
