//! A connection that does not let itself be held up.
//!
//! # Invariants
//!
//! * The first bytes of a request come in time, before which no other timer runs.
//! * A write that makes no progress for too long ends the connection.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep, sleep_until};

use crate::limits::{HTTP_HEADERS_TIMEOUT, HTTP_WRITE_TIMEOUT};

/// What tells HTTP/2 from HTTP/1: as many bytes are read before either's timers run.
const PREFACE_BYTES: usize = 24;

/// A stream with its timers.
pub(super) struct Steady<T> {
    stream: T,
    /// Until when the first bytes have to be there.
    first: Option<Pin<Box<Sleep>>>,
    /// First bytes that are missing.
    missing: usize,
    /// Until when a write that waits has to make progress.
    stuck: Option<Pin<Box<Sleep>>>,
}

impl<T: AsyncRead + AsyncWrite + Unpin> Steady<T> {
    /// The first bytes are waited for from now on.
    pub(super) fn new(stream: T) -> Self {
        let first = Some(Box::pin(sleep(HTTP_HEADERS_TIMEOUT)));
        Self { stream, first, missing: PREFACE_BYTES, stuck: None }
    }

    /// Passes on what a write has come to, if that was in time.
    fn written<R>(
        &mut self,
        cx: &mut Context<'_>,
        poll: Poll<io::Result<R>>,
    ) -> Poll<io::Result<R>> {
        if poll.is_ready() {
            self.stuck = None;
            return poll;
        }
        let until = || Box::pin(sleep_until(Instant::now() + HTTP_WRITE_TIMEOUT));
        ready!(self.stuck.get_or_insert_with(until).as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncRead for Steady<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let this = &mut *self;
        if let Poll::Ready(read) = Pin::new(&mut this.stream).poll_read(cx, buffer) {
            this.missing = this.missing.saturating_sub(buffer.filled().len() - before);
            if this.missing == 0 {
                this.first = None;
            }
            return Poll::Ready(read);
        }
        match &mut this.first {
            Some(first) => {
                ready!(first.as_mut().poll(cx));
                Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
            }
            None => Poll::Pending,
        }
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Steady<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        // Whoever is answered has asked.
        self.first = None;
        let poll = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.written(cx, poll)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.first = None;
        let poll = Pin::new(&mut self.stream).poll_write_vectored(cx, bytes);
        self.written(cx, poll)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let poll = Pin::new(&mut self.stream).poll_flush(cx);
        self.written(cx, poll)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let poll = Pin::new(&mut self.stream).poll_shutdown(cx);
        self.written(cx, poll)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_first_bytes_have_to_come_in_time_and_later_ones_need_not() {
        let (mut client, server) = duplex(64);
        let mut server = Steady::new(server);
        client.write_all(&[0; PREFACE_BYTES - 1]).await.unwrap();
        server.read_exact(&mut [0; PREFACE_BYTES - 1]).await.unwrap();
        let error = server.read_u8().await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);

        let (mut client, server) = duplex(64);
        let mut server = Steady::new(server);
        client.write_all(&[0; PREFACE_BYTES]).await.unwrap();
        server.read_exact(&mut [0; PREFACE_BYTES]).await.unwrap();
        let waiting = tokio::time::timeout(HTTP_HEADERS_TIMEOUT * 10, server.read_u8()).await;
        assert!(waiting.is_err(), "nothing is read, and nothing ends");
    }

    #[tokio::test(start_paused = true)]
    async fn a_write_that_nobody_reads_ends_and_a_slow_one_does_not() {
        let (mut client, server) = duplex(8);
        let mut server = Steady::new(server);
        server.write_all(&[0; 8]).await.unwrap();
        let slow = async {
            sleep(HTTP_WRITE_TIMEOUT * 2 / 3).await;
            client.read_exact(&mut [0; 4]).await.unwrap();
            sleep(HTTP_WRITE_TIMEOUT * 2 / 3).await;
            client.read_exact(&mut [0; 4]).await.unwrap();
        };
        let (written, ()) = tokio::join!(server.write_all(&[0; 8]), slow);
        written.unwrap();
        let error = server.write_all(&[0; 8]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        drop(client);
    }
}
