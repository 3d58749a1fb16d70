//! Reads the content of a message after DATA: finds its end and removes the dots that the client added.
//!
//! Only CRLF, dot, CRLF ends a message (RFC 5321 §4.5.2).

/// Largest message. A command line that is longer is not read to its end.
pub(super) const MESSAGE_BYTES_MAX: usize = 10 * 1024 * 1024;

#[derive(Default)]
pub(super) struct DotReader {
    /// The content so far, at most [`MESSAGE_BYTES_MAX`] bytes.
    pub(super) bytes: Vec<u8>,
    pub(super) is_too_large: bool,
    pub(super) is_complete: bool,
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
    pub(super) fn feed(&mut self, chunk: &[u8]) -> usize {
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
