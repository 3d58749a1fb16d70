//! The byte streams that `lettre` reads from and writes to.
//!
//! `lettre` has no stream with `TCP_NODELAY`: its body and final dot then wait 40 ms for a delayed acknowledgement. So
//! the TCP stream is opened here, and implicit TLS has to wrap it here as well.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use lettre::transport::smtp::client::AsyncTokioStream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

/// How many received bytes are searched for the end of a line.
const PEEK_BYTES: usize = 512;

/// The first byte of every TLS conversation: the type of a handshake record (RFC 8446 §5.1).
const HANDSHAKE_RECORD: u8 = 22;

#[derive(Debug)]
pub(super) enum RelayStream {
    /// Returns at most one line per read, until TLS begins.
    ///
    /// `lettre` keeps its read buffer when it upgrades to TLS. Text that an attacker appends to the plaintext reply to
    /// STARTTLS would stay in that buffer and later be taken for a reply inside TLS (as in CVE-2011-0411). Here that
    /// text is still unread when the handshake begins, and the handshake fails.
    LineByLine {
        tcp: TcpStream,
        /// From then on the bytes are TLS records, which have no lines.
        is_encrypted: bool,
    },
    ImplicitTls(Box<TlsStream<TcpStream>>),
}

impl RelayStream {
    fn writer(&mut self) -> Pin<&mut (dyn AsyncWrite + Unpin)> {
        match self {
            Self::LineByLine { tcp, .. } => Pin::new(tcp),
            Self::ImplicitTls(tls) => Pin::new(tls),
        }
    }
}

impl AsyncTokioStream for RelayStream {
    fn peer_addr(&self) -> io::Result<SocketAddr> {
        match self {
            Self::LineByLine { tcp, .. } => tcp.peer_addr(),
            Self::ImplicitTls(tls) => tls.get_ref().0.peer_addr(),
        }
    }
}

impl AsyncRead for RelayStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::ImplicitTls(tls) => Pin::new(tls).poll_read(context, buffer),
            Self::LineByLine { tcp, is_encrypted } if *is_encrypted => {
                Pin::new(tcp).poll_read(context, buffer)
            }
            Self::LineByLine { tcp, .. } => poll_read_line(tcp, context, buffer),
        }
    }
}

impl AsyncWrite for RelayStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if let Self::LineByLine { is_encrypted, .. } = &mut *self {
            // No SMTP command begins with this byte; the first TLS record does.
            *is_encrypted |= bytes.first() == Some(&HANDSHAKE_RECORD);
        }
        self.writer().poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.writer().poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.writer().poll_shutdown(context)
    }
}

fn poll_read_line(
    tcp: &mut TcpStream,
    context: &mut Context<'_>,
    buffer: &mut ReadBuf<'_>,
) -> Poll<io::Result<()>> {
    let mut bytes = [0; PEEK_BYTES];
    let room = buffer.remaining().min(PEEK_BYTES);
    let mut peeked = ReadBuf::new(&mut bytes[..room]);
    let length = ready!(tcp.poll_peek(context, &mut peeked))?;
    let line_length = peeked.filled()[..length]
        .iter()
        .position(|byte| *byte == b'\n')
        .map_or(length, |at| at + 1);
    let mut line = ReadBuf::new(&mut bytes[..line_length]);
    if line_length > 0 {
        ready!(Pin::new(tcp).poll_read(context, &mut line))?;
    }
    buffer.put_slice(line.filled());
    Poll::Ready(Ok(()))
}
