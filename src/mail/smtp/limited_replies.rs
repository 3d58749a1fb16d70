//! A limit on what a relay sends. `lettre` looks at the length of a line only when the line ends, so a line without an
//! end would take any amount of memory.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use lettre::transport::smtp::client::AsyncTokioStream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Most bytes that a relay may send between two writes of the client. Replies have a few hundred bytes, and a chain of
/// certificates has a few thousand.
pub(super) const REPLIES_BYTES_MAX: usize = 256 * 1024;

/// A stream that fails when the relay sends too much.
#[derive(Debug)]
pub(super) struct LimitedReplies {
    inner: Box<dyn AsyncTokioStream>,
    /// The bytes that arrived since the last write.
    received: usize,
}

impl LimitedReplies {
    pub(super) const fn new(inner: Box<dyn AsyncTokioStream>) -> Self {
        Self { inner, received: 0 }
    }
}

impl AsyncTokioStream for LimitedReplies {
    fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.inner.peer_addr()
    }
}

impl AsyncRead for LimitedReplies {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.inner).poll_read(context, buffer))?;
        self.received += buffer.filled().len() - before;
        if self.received > REPLIES_BYTES_MAX {
            let error = io::Error::new(io::ErrorKind::InvalidData, "the reply is too long");
            return Poll::Ready(Err(error));
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for LimitedReplies {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.received = 0;
        Pin::new(&mut self.inner).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}
