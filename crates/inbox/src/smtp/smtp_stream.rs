//! Reads command lines and messages from a connection, and writes replies.
//!
//! Only CRLF ends a line (RFC 5321 §2.3.8), and only CRLF, dot, CRLF ends a message (§4.5.2). A server that accepts a bare
//! LF can be made to see two messages where the client sent one (SMTP smuggling).

use std::io;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::time::timeout;

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
        self.reply_lines(code, &[text]);
    }

    pub(super) fn reply_lines(&mut self, code: u16, lines: &[&str]) {
        for (index, line) in lines.iter().enumerate() {
            let separator = if index + 1 == lines.len() { ' ' } else { '-' };
            let line = format!("{code}{separator}{line}\r\n");
            self.replies.extend_from_slice(line.as_bytes());
        }
    }

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

    /// Reads a message to its final dot. `Some(None)` if it was too large. `None` if the client closed the connection.
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

/// Largest message. A command line that is longer is not read to its end.
pub(super) const MESSAGE_BYTES_MAX: usize = 10 * 1024 * 1024;

/// Finds the end of a message and removes the dots that the client added.
#[derive(Default)]
struct DotReader {
    /// The content so far, at most [`MESSAGE_BYTES_MAX`] bytes.
    bytes: Vec<u8>,
    is_too_large: bool,
    is_complete: bool,
    position: LinePosition,
}

/// What was read last.
#[derive(Default, Clone, Copy)]
enum LinePosition {
    /// CRLF, or nothing.
    #[default]
    Start,
    /// A dot at the start of a line.
    Dot,
    /// A dot at the start of a line, and CR.
    DotCr,
    Cr,
    /// Any other byte.
    Inside,
}

impl DotReader {
    /// Reads up to the end of the message. Returns the number of bytes that were read.
    fn feed(&mut self, chunk: &[u8]) -> usize {
        for (index, &byte) in chunk.iter().enumerate() {
            self.position = match (self.position, byte) {
                (LinePosition::Start, b'.') => LinePosition::Dot,
                (LinePosition::Dot, b'\r') => LinePosition::DotCr,
                (LinePosition::DotCr, b'\n') => {
                    self.is_complete = true;
                    return index + 1;
                }
                (before, byte) => {
                    // The first dot of a line is dropped. The CR after it belongs to the message.
                    if matches!(before, LinePosition::DotCr) {
                        self.push(b'\r');
                    }
                    self.push(byte);
                    match (before, byte) {
                        (_, b'\r') => LinePosition::Cr,
                        (LinePosition::Cr, b'\n') => LinePosition::Start,
                        _ => LinePosition::Inside,
                    }
                }
            };
        }
        chunk.len()
    }

    fn push(&mut self, byte: u8) {
        if self.bytes.len() < MESSAGE_BYTES_MAX {
            self.bytes.push(byte);
        } else {
            self.is_too_large = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Feeds chunks. Returns the message, and the bytes after it.
    fn read(chunks: &[&[u8]]) -> (Option<Vec<u8>>, Vec<u8>) {
        let mut reader = DotReader::default();
        let mut rest = Vec::new();
        for chunk in chunks {
            if reader.is_complete {
                rest.extend_from_slice(chunk);
            } else {
                let length = reader.feed(chunk);
                rest.extend_from_slice(&chunk[length..]);
            }
        }
        (reader.is_complete.then_some(reader.bytes), rest)
    }

    #[test]
    fn a_message_ends_only_at_a_line_with_a_single_dot() {
        let cases: [(&[u8], Option<&[u8]>); 8] = [
            (b".\r\n", Some(b"")),
            (b"a\r\n.\r\n", Some(b"a\r\n")),
            (b"a\r\n..\r\n..b\r\n.\r\n", Some(b"a\r\n.\r\n.b\r\n")),
            (b".a\r\n.\r\n", Some(b"a\r\n")),
            (b".\rx\r\n.\r\n", Some(b"\rx\r\n")),
            (b"a\n.\nb\r\n.\n\r\n", None),
            (b"a\n.\r\nb\r.\r\n", None),
            (b"a\r\n.", None),
        ];
        for (input, expected) in cases {
            let shown = String::from_utf8_lossy(input);
            assert_eq!(read(&[input]).0.as_deref(), expected, "{shown:?}");
        }
    }

    #[test]
    fn a_message_over_the_limit_is_read_to_its_end_and_dropped() {
        let mut reader = DotReader::default();
        let line = [b'x'; 1_024];
        for _ in 0..=MESSAGE_BYTES_MAX / line.len() {
            reader.feed(&line);
        }
        assert_eq!(reader.feed(b"\r\n.\r\nQUIT"), 5);
        assert!(reader.is_complete && reader.is_too_large);
        assert_eq!(reader.bytes.len(), MESSAGE_BYTES_MAX);
    }

    proptest! {
        #[test]
        fn added_dots_are_removed_for_any_size_of_chunks(
            lines in proptest::collection::vec("[.a\r ]{0,4}", 0..8),
            cut in 1_usize..7,
        ) {
            let message: String = lines.iter().flat_map(|line| [line, "\r\n"]).collect();
            let mut input = String::new();
            // A client adds a dot to every line that starts with one.
            for line in message.split_inclusive("\r\n") {
                if line.starts_with('.') {
                    input.push('.');
                }
                input.push_str(line);
            }
            input.push_str(".\r\nQUIT\r\n");
            let chunks: Vec<&[u8]> = input.as_bytes().chunks(cut).collect();
            let (content, rest) = read(&chunks);
            prop_assert_eq!(content, Some(message.into_bytes()));
            prop_assert_eq!(rest, b"QUIT\r\n".to_vec());
        }
    }
}
