//! The bytes under an SMTP conversation: what `lettre` reads and writes through.
//!
//! `lettre` brings no stream with `TCP_NODELAY` (its body and final dot then wait for a delayed acknowledgement, 40 ms
//! a mail) and none for implicit TLS around one, so both are here. This knows nothing of SMTP but where lines end.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use lettre::transport::smtp::client::AsyncTokioStream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

/// How much of what has arrived is looked at to find the end of a line.
const PEEK_BYTES: usize = 512;

/// What every TLS conversation begins with: the type of a handshake record (RFC 8446 §5.1).
const HANDSHAKE_RECORD: u8 = 22;

/// TLS from the first byte on.
#[derive(Debug)]
pub(super) struct ImplicitTls(pub(super) Box<TlsStream<TcpStream>>);

/// A stream that never hands out more than one line at a time, until TLS begins.
///
/// `lettre` keeps its read buffer when it upgrades to TLS. Whatever an attacker appends to the plaintext reply to
/// STARTTLS would be in that buffer and later pass for the server's words inside TLS (the fault class of
/// CVE-2011-0411). Here it is still on the wire when the handshake begins, and the handshake fails.
#[derive(Debug)]
pub(super) struct LineByLine {
    tcp: TcpStream,
    /// What is sent and received are records of TLS, which are no lines.
    is_encrypted: bool,
}

impl LineByLine {
    pub(super) fn new(tcp: TcpStream) -> Self {
        Self {
            tcp,
            is_encrypted: false,
        }
    }
}

impl AsyncTokioStream for ImplicitTls {
    fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.0.get_ref().0.peer_addr()
    }
}

impl AsyncTokioStream for LineByLine {
    fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.tcp.peer_addr()
    }
}

impl AsyncRead for LineByLine {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.is_encrypted {
            return Pin::new(&mut self.tcp).poll_read(context, buffer);
        }
        let mut bytes = [0; PEEK_BYTES];
        let room = buffer.remaining().min(PEEK_BYTES);
        let mut peeked = ReadBuf::new(&mut bytes[..room]);
        let length = ready!(self.tcp.poll_peek(context, &mut peeked))?;
        let line_length = peeked.filled()[..length]
            .iter()
            .position(|byte| *byte == b'\n')
            .map_or(length, |at| at + 1);
        let mut line = ReadBuf::new(&mut bytes[..line_length]);
        if line_length > 0 {
            ready!(Pin::new(&mut self.tcp).poll_read(context, &mut line))?;
        }
        buffer.put_slice(line.filled());
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for ImplicitTls {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl AsyncWrite for LineByLine {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        // No command begins with this byte, and the first record of TLS does.
        self.is_encrypted |= bytes.first() == Some(&HANDSHAKE_RECORD);
        Pin::new(&mut self.tcp).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_shutdown(context)
    }
}

impl AsyncWrite for ImplicitTls {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}
