//! Lines and mails as bytes: what is between the socket and the commands.
//!
//! Only CRLF ends a line and only CRLF, dot, CRLF ends a mail (RFC 5321 §2.3.8, §4.5.2). A server that takes a bare LF
//! for a line's end can be made to see two mails where its peer sent one.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::time::timeout;

/// Longest command line with its CRLF, in bytes. RFC 5321 §4.5.3.1.4 asks for 512 and more for extensions.
pub(super) const LINE_BYTES_MAX: usize = 2_048;
/// Largest mail, in bytes; also how much of an overlong line is read in search of its end.
pub(super) const MAIL_BYTES_MAX: usize = 10 * 1024 * 1024;
/// How long a connection may say nothing, or not take what it is told (RFC 5321 §4.5.3.2.7).
const IDLE_DURATION_MAX: Duration = Duration::from_mins(5);

/// One command line.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// Without its CRLF.
    Text(String),
    /// Longer than [`LINE_BYTES_MAX`]; read to its end and dropped.
    TooLong,
    /// Ended by a bare LF, or not UTF-8.
    Malformed,
}

/// A connection. Replies are gathered and go out together when nothing more is there to be read, which is what a client
/// that sends its commands in one go (RFC 2920) waits for.
pub(super) struct Wire<S> {
    stream: BufReader<S>,
    replies: Vec<u8>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Wire<S> {
    pub(super) fn new(stream: S) -> Self {
        Self {
            stream: BufReader::new(stream),
            replies: Vec::new(),
        }
    }

    /// Adds a reply of one line.
    pub(super) fn reply(&mut self, code: u16, text: &str) {
        self.replies
            .extend_from_slice(format!("{code} {text}\r\n").as_bytes());
    }

    /// Adds a reply of several lines.
    pub(super) fn reply_lines(&mut self, code: u16, lines: &[&str]) {
        for (index, line) in lines.iter().enumerate() {
            let separator = if index + 1 == lines.len() { ' ' } else { '-' };
            self.replies
                .extend_from_slice(format!("{code}{separator}{line}\r\n").as_bytes());
        }
    }

    /// Sends the replies that were gathered.
    pub(super) async fn flush(&mut self) -> io::Result<()> {
        let sent = timeout(IDLE_DURATION_MAX, async {
            self.stream.write_all(&self.replies).await?;
            self.stream.flush().await
        })
        .await?;
        self.replies.clear();
        sent
    }

    /// Reads a command line, or `None` when the peer is gone. A line without an end is nothing.
    pub(super) async fn read_line(&mut self) -> io::Result<Option<Line>> {
        let mut line = Vec::new();
        let mut bytes = 0;
        loop {
            let chunk = self.fill().await?;
            if chunk.is_empty() {
                return Ok(None);
            }
            let end = chunk.iter().position(|byte| *byte == b'\n');
            let taken = end.map_or(chunk.len(), |index| index + 1);
            bytes += taken;
            if bytes <= LINE_BYTES_MAX {
                line.extend_from_slice(&chunk[..taken]);
            }
            self.stream.consume(taken);
            if end.is_some() {
                break;
            }
            if bytes > MAIL_BYTES_MAX {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    "a line without end",
                ));
            }
        }
        if bytes > LINE_BYTES_MAX {
            return Ok(Some(Line::TooLong));
        }
        let text = line
            .strip_suffix(b"\r\n")
            .and_then(|text| String::from_utf8(text.to_vec()).ok());
        Ok(Some(text.map_or(Line::Malformed, Line::Text)))
    }

    /// Reads a mail to its final dot. `Some(None)` is one that was too large, `None` a peer that left in the middle.
    pub(super) async fn read_mail(&mut self) -> io::Result<Option<Option<Vec<u8>>>> {
        let mut mail = DotReader::default();
        loop {
            let chunk = self.fill().await?;
            if chunk.is_empty() {
                return Ok(None);
            }
            let taken = mail.feed(chunk);
            self.stream.consume(taken);
            if mail.is_complete {
                return Ok(Some((!mail.is_too_large).then_some(mail.bytes)));
            }
        }
    }

    /// What is there to be read; waits if there is nothing. Empty at the end of the stream.
    async fn fill(&mut self) -> io::Result<&[u8]> {
        if self.stream.buffer().is_empty() && !self.replies.is_empty() {
            self.flush().await?;
        }
        timeout(IDLE_DURATION_MAX, self.stream.fill_buf()).await?
    }
}

/// Takes a mail off the wire: undoes dot-stuffing and finds the end, however the bytes are cut into chunks.
#[derive(Default)]
struct DotReader {
    bytes: Vec<u8>,
    at: At,
    is_too_large: bool,
    is_complete: bool,
}

/// What was read last.
#[derive(Default, Clone, Copy)]
enum At {
    /// CRLF, or nothing yet.
    #[default]
    LineStart,
    /// A dot at the start of a line.
    Dot,
    /// That dot and a CR.
    DotCr,
    /// A CR.
    Cr,
    /// Anything else.
    Inside,
}

impl DotReader {
    /// Takes bytes up to the end of the mail and says how many.
    fn feed(&mut self, chunk: &[u8]) -> usize {
        for (index, &byte) in chunk.iter().enumerate() {
            self.at = match (self.at, byte) {
                (At::LineStart, b'.') => At::Dot,
                (At::Dot, b'\r') => At::DotCr,
                (At::DotCr, b'\n') => {
                    self.is_complete = true;
                    return index + 1;
                }
                (before, byte) => {
                    // The dot is gone for good; the CR behind it turned out to be text.
                    if matches!(before, At::DotCr) {
                        self.push(b'\r');
                    }
                    self.push(byte);
                    match (before, byte) {
                        (_, b'\r') => At::Cr,
                        (At::Cr, b'\n') => At::LineStart,
                        _ => At::Inside,
                    }
                }
            };
        }
        chunk.len()
    }

    fn push(&mut self, byte: u8) {
        if self.bytes.len() < MAIL_BYTES_MAX {
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

    /// Feeds chunks and returns the mail and what was left over behind it.
    fn read(chunks: &[&[u8]]) -> (Option<Vec<u8>>, Vec<u8>) {
        let mut reader = DotReader::default();
        let mut rest = Vec::new();
        for chunk in chunks {
            if reader.is_complete {
                rest.extend_from_slice(chunk);
            } else {
                let taken = reader.feed(chunk);
                rest.extend_from_slice(&chunk[taken..]);
            }
        }
        (reader.is_complete.then_some(reader.bytes), rest)
    }

    #[test]
    fn a_mail_ends_at_a_lone_dot_between_line_ends_and_nowhere_else() {
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
        for (wire, expected) in cases {
            let shown = String::from_utf8_lossy(wire);
            assert_eq!(read(&[wire]).0.as_deref(), expected, "{shown:?}");
        }
    }

    #[test]
    fn a_mail_over_the_limit_is_read_to_its_end_and_dropped() {
        let mut reader = DotReader::default();
        let line = [b'x'; 1_024];
        for _ in 0..=MAIL_BYTES_MAX / line.len() {
            reader.feed(&line);
        }
        assert_eq!(reader.feed(b"\r\n.\r\nQUIT"), 5);
        assert!(reader.is_complete && reader.is_too_large);
        assert_eq!(reader.bytes.len(), MAIL_BYTES_MAX);
    }

    proptest! {
        #[test]
        fn stuffing_is_undone_however_the_wire_cuts_it(
            lines in proptest::collection::vec("[.a\r ]{0,4}", 0..8),
            cut in 1_usize..7,
        ) {
            let mail: String = lines.iter().flat_map(|line| [line, "\r\n"]).collect();
            let mut wire = String::new();
            // A client stuffs every dot behind a CRLF, also one that is made of what the lines happen to hold.
            for line in mail.split_inclusive("\r\n") {
                if line.starts_with('.') {
                    wire.push('.');
                }
                wire.push_str(line);
            }
            wire.push_str(".\r\nQUIT\r\n");
            let chunks: Vec<&[u8]> = wire.as_bytes().chunks(cut).collect();
            let (read_mail, rest) = read(&chunks);
            prop_assert_eq!(read_mail, Some(mail.into_bytes()));
            prop_assert_eq!(rest, b"QUIT\r\n".to_vec());
        }
    }
}
