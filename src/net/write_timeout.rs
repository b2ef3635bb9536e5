//! A connection as hyper sees it. It closes when the client does not read: hyper would keep it, and all that
//! waits to be written, for ever. It stays open when the client has only closed its half: hyper would take
//! such a client for gone.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep};

use super::exchange::{ExchangeState, InputEnd};
use super::socket::Socket;

/// How often the node looks whether a half-closed client that waits for a single body is still there: nothing
/// can be written before that body.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// How long a write may make no progress because the client does not read: as long as a stream waits for its
/// client. Then the node closes the connection and drops what waits to be written; the log keeps what the
/// client missed.
const WRITE_WITHIN: Duration = Duration::from_secs(10);

/// A connection on which a write without progress for [`WRITE_WITHIN`] is an error. While there is nothing to write,
/// it may be idle for as long as it likes.
#[derive(Debug)]
pub(super) struct WriteTimeout<S> {
    inner: S,
    // Made when a write first waits: most connections never need one.
    waits: Option<Pin<Box<Sleep>>>,
    // Made when a client closes its half.
    closed: Option<Pin<Box<Sleep>>>,
    state: Arc<ExchangeState>,
}

impl<S: Socket> WriteTimeout<S> {
    pub(super) fn new(inner: S) -> Self {
        Self {
            inner,
            waits: None,
            closed: None,
            state: Arc::default(),
        }
    }

    /// Its state, for code that no longer holds the connection.
    pub(super) fn state(&self) -> Arc<ExchangeState> {
        Arc::clone(&self.state)
    }

    /// Ready when the client sends no more and the connection may end.
    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match self.state.end_of_input(cx) {
            InputEnd::Counts => Poll::Ready(()),
            InputEnd::MayCount => {
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            InputEnd::WaitsForStream | InputEnd::WaitsForWriting => Poll::Pending,
            InputEnd::WaitsForAnswer => self.poll_gone(cx),
        }
    }

    /// Ready when a client that has closed its half has gone.
    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let inner = &self.inner;
        let closed = self.closed.get_or_insert_with(|| {
            // Where the system cannot ask, it learns of the end only when the answer is written.
            drop(inner.ask_after());
            Box::pin(sleep(Duration::ZERO))
        });
        while !inner.is_gone() {
            ready!(closed.as_mut().poll(cx));
            closed.as_mut().reset(Instant::now() + LOOK_EVERY);
        }
        Poll::Ready(())
    }

    /// Ends a wait that lasts too long.
    fn watch<T>(&mut self, cx: &mut Context<'_>, write: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if write.is_ready() {
            if self.waits.take().is_some() {
                self.state.note_waiting(false);
            }
            return write;
        }
        self.state.note_waiting(true);
        let waits = self.waits.get_or_insert_with(|| Box::pin(sleep(WRITE_WITHIN)));
        ready!(waits.as_mut().poll(cx));
        let words = "the client did not read for too long";
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, words)))
    }
}

impl<S: AsyncRead + Socket + Unpin> AsyncRead for WriteTimeout<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let (this, before) = (self.get_mut(), buf.remaining());
        ready!(Pin::new(&mut this.inner).poll_read(cx, buf))?;
        if before > 0 && buf.remaining() == before {
            ready!(this.poll_end(cx));
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Socket + Unpin> AsyncWrite for WriteTimeout<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let write = Pin::new(&mut this.inner).poll_write(cx, buf);
        this.watch(cx, write)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let write = Pin::new(&mut this.inner).poll_write_vectored(cx, bufs);
        this.watch(cx, write)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let flush = Pin::new(&mut this.inner).poll_flush(cx);
        this.watch(cx, flush)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let shutdown = Pin::new(&mut this.inner).poll_shutdown(cx);
        this.watch(cx, shutdown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

    #[tokio::test(start_paused = true)]
    async fn a_write_that_makes_no_headway_ends_and_silence_does_not() {
        let (ours, mut theirs) = duplex(8);
        let mut connection = WriteTimeout::new(ours);
        connection.write_all(b"12345678").await.unwrap();
        // Idle for long, with nothing to write.
        sleep(WRITE_WITHIN * 100).await;
        let slow = async {
            for _ in 0..3 {
                sleep(WRITE_WITHIN - Duration::from_secs(1)).await;
                theirs.read_exact(&mut [0; 4]).await.unwrap();
            }
        };
        let (written, ()) = tokio::join!(connection.write_all(b"123456789012"), slow);
        written.unwrap();
        let began = Instant::now();
        let error = connection.write_all(b"1").await.unwrap_err();
        assert_eq!(
            (error.kind(), began.elapsed()),
            (io::ErrorKind::TimedOut, WRITE_WITHIN)
        );
    }
}
