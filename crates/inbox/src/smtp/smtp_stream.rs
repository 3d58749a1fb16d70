//! Reads command lines and messages from a connection, and writes replies.
//!
//! Only CRLF ends a line (RFC 5321 §2.3.8). A server that accepts a bare LF can be made to see two messages where the
//! client sent one (SMTP smuggling).

use std::io;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::time::timeout;

use crate::smtp::dot_reader::{DotReader, MESSAGE_BYTES_MAX};

/// Longest command line with its CRLF. RFC 5321 §4.5.3.1.4 requires 512 bytes, and more for extensions.
const LINE_BYTES_MAX: usize = 2_048;
/// How long a read or a write may take (RFC 5321 §4.5.3.2.7).
const IDLE_DURATION_MAX: Duration = Duration::from_mins(5);

#[derive(Debug, PartialEq, Eq)]
pub(super) enum CommandLine {
    /// Without its CRLF.
    Text(String),
    /// The line was longer than [`LINE_BYTES_MAX`] and was dropped.
    TooLong,
    /// The line ended with a bare LF, or is not UTF-8.
    Malformed,
}

/// A connection. Replies are buffered until no further command is buffered, because a client with PIPELINING (RFC 2920)
/// sends several commands at once and then reads all replies.
pub(super) struct SmtpStream<S> {
    stream: BufReader<S>,
    replies: Vec<u8>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> SmtpStream<S> {
    pub(super) fn new(stream: S) -> Self {
        Self {
            stream: BufReader::new(stream),
            replies: Vec::new(),
        }
    }

    pub(super) fn reply(&mut self, code: u16, text: &str) {
        let line = format!("{code} {text}\r\n");
        self.replies.extend_from_slice(line.as_bytes());
    }

    /// Adds a reply of several lines.
    pub(super) fn reply_lines(&mut self, code: u16, lines: &[&str]) {
        for (index, line) in lines.iter().enumerate() {
            let separator = if index + 1 == lines.len() { ' ' } else { '-' };
            let line = format!("{code}{separator}{line}\r\n");
            self.replies.extend_from_slice(line.as_bytes());
        }
    }

    /// Sends the buffered replies.
    pub(super) async fn flush(&mut self) -> io::Result<()> {
        let sent = timeout(IDLE_DURATION_MAX, async {
            self.stream.write_all(&self.replies).await?;
            self.stream.flush().await
        })
        .await?;
        self.replies.clear();
        sent
    }

    /// Reads a command line. `None` if the client closed the connection, even within a line.
    pub(super) async fn read_line(&mut self) -> io::Result<Option<CommandLine>> {
        let mut line = Vec::new();
        let mut bytes = 0;
        loop {
            let chunk = self.fill().await?;
            if chunk.is_empty() {
                return Ok(None);
            }
            let end = chunk.iter().position(|byte| *byte == b'\n');
            let length = end.map_or(chunk.len(), |index| index + 1);
            bytes += length;
            if bytes <= LINE_BYTES_MAX {
                line.extend_from_slice(&chunk[..length]);
            }
            self.stream.consume(length);
            if end.is_some() {
                break;
            }
            if bytes > MESSAGE_BYTES_MAX {
                let message = "the line has no end";
                return Err(io::Error::new(io::ErrorKind::InvalidData, message));
            }
        }
        if bytes > LINE_BYTES_MAX {
            return Ok(Some(CommandLine::TooLong));
        }
        let text = line
            .strip_suffix(b"\r\n")
            .and_then(|text| String::from_utf8(text.to_vec()).ok());
        Ok(Some(text.map_or(CommandLine::Malformed, CommandLine::Text)))
    }

    /// Reads a message to its final dot. `Some(None)` if the message was too large. `None` if the client closed the
    /// connection before the final dot.
    pub(super) async fn read_message(&mut self) -> io::Result<Option<Option<Vec<u8>>>> {
        let mut reader = DotReader::default();
        loop {
            let chunk = self.fill().await?;
            if chunk.is_empty() {
                return Ok(None);
            }
            let length = reader.feed(chunk);
            self.stream.consume(length);
            if reader.is_complete {
                return Ok(Some((!reader.is_too_large).then_some(reader.bytes)));
            }
        }
    }

    /// The buffered input. Waits for input if there is none. Empty at the end of the stream.
    async fn fill(&mut self) -> io::Result<&[u8]> {
        if self.stream.buffer().is_empty() && !self.replies.is_empty() {
            self.flush().await?;
        }
        timeout(IDLE_DURATION_MAX, self.stream.fill_buf()).await?
    }
}
