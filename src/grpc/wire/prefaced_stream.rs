//! A stream that tells when the peer has sent as many bytes as an HTTP/2 preface has.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;
use tokio_util::either::Either;
use tokio_util::sync::CancellationToken;

/// Bytes of the client's connection preface (RFC 9113 §3.4).
const PREFACE_BYTES: usize = 24;

pub(super) type MaybeTlsStream = Either<TcpStream, Box<TlsStream<TcpStream>>>;

pub(super) struct PrefacedStream {
    stream: MaybeTlsStream,
    /// Bytes of the preface that were not received yet.
    missing: usize,
    preface: CancellationToken,
}

impl PrefacedStream {
    /// Returns the stream, and a token that is cancelled after the preface.
    pub(super) fn new(stream: MaybeTlsStream) -> (Self, CancellationToken) {
        let preface = CancellationToken::new();
        let stream = Self {
            stream,
            missing: PREFACE_BYTES,
            preface: preface.clone(),
        };
        (stream, preface)
    }
}

impl AsyncRead for PrefacedStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        if self.missing > 0 {
            let received = buffer.filled().len() - before;
            self.missing = self.missing.saturating_sub(received);
            if self.missing == 0 {
                self.preface.cancel();
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for PrefacedStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, buffers)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
