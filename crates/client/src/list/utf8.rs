//! Checks that a list is UTF-8. A list with another encoding is rejected, because names in it would be garbled.

use std::io::{self, BufRead, Cursor, Read as _};

const UTF8_BOM: &[u8] = b"\xef\xbb\xbf";
const UTF16_BOMS: [&[u8]; 2] = [b"\xff\xfe", b"\xfe\xff"];

/// Skips a byte order mark. The mark of UTF-16 is an error.
pub(crate) fn skip_byte_order_mark<R: BufRead>(
    mut input: R,
) -> io::Result<Result<impl BufRead, &'static str>> {
    let mut start = Vec::new();
    (&mut input)
        .take(UTF8_BOM.len() as u64)
        .read_to_end(&mut start)?;
    if UTF16_BOMS.iter().any(|bom| start.starts_with(bom)) {
        return Ok(Err("the file is UTF-16; save it as UTF-8 (\"CSV UTF-8\")"));
    }
    if start == UTF8_BOM {
        start.clear();
    }
    Ok(Ok(Cursor::new(start).chain(input)))
}

/// Finds invalid UTF-8 in a file that is read in pieces.
#[derive(Default)]
pub(crate) struct Utf8Checker {
    /// Index of the current line, from 0.
    line: u64,
    /// Bytes of the current line that are checked.
    bytes: u64,
    /// Start of a character that continues in the next piece.
    partial: Vec<u8>,
}

impl Utf8Checker {
    /// Checks the next piece to its end. Returns a message about its first invalid byte.
    pub(crate) fn check(&mut self, piece: &[u8]) -> Option<String> {
        let mut problem = None;
        let mut bytes = std::mem::take(&mut self.partial);
        bytes.extend_from_slice(piece);
        let mut rest = bytes.as_slice();
        while let Err(error) = str::from_utf8(rest) {
            let (valid, invalid) = rest.split_at(error.valid_up_to());
            self.advance(valid);
            let Some(length) = error.error_len() else {
                invalid.clone_into(&mut self.partial);
                return problem;
            };
            problem.get_or_insert_with(|| self.problem());
            let (invalid, after) = invalid.split_at(length);
            self.advance(invalid);
            rest = after;
        }
        self.advance(rest);
        problem
    }

    /// Returns a message if the file ended within a character.
    pub(crate) fn finish(&self) -> Option<String> {
        (!self.partial.is_empty()).then(|| self.problem())
    }

    fn problem(&self) -> String {
        format!(
            "byte {} of line {} is not UTF-8; save the file as UTF-8 (\"CSV UTF-8\")",
            self.bytes + 1,
            self.line + 1
        )
    }

    fn advance(&mut self, bytes: &[u8]) {
        for byte in bytes {
            if *byte == b'\n' {
                self.line += 1;
                self.bytes = 0;
            } else {
                self.bytes += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content(file: &[u8]) -> Result<Vec<u8>, &'static str> {
        let mut text = Vec::new();
        skip_byte_order_mark(file)
            .unwrap()?
            .read_to_end(&mut text)
            .unwrap();
        Ok(text)
    }

    /// The first message about a file that is checked in pieces of this size.
    fn first_problem(file: &[u8], size: usize) -> Option<String> {
        let mut checker = Utf8Checker::default();
        let mut problem = None;
        for piece in file.chunks(size) {
            problem = problem.or(checker.check(piece));
        }
        problem.or(checker.finish())
    }

    #[test]
    fn a_byte_order_mark_is_skipped_or_reported() {
        assert_eq!(content(b"\xef\xbb\xbfemail"), Ok(b"email".to_vec()));
        assert_eq!(content(b"em"), Ok(b"em".to_vec()));
        assert_eq!(
            content(b"\xff\xfe\0"),
            Err("the file is UTF-16; save it as UTF-8 (\"CSV UTF-8\")")
        );
    }

    #[test]
    fn invalid_utf8_is_reported_by_line_and_byte() {
        for size in 1..20 {
            let valid = "email\nmüller 例え\n".as_bytes();
            assert_eq!(first_problem(valid, size), None);
            let problem = first_problem(b"email\na@b.co\nm\xfcller@b.co\n\xff\n", size);
            assert_eq!(
                problem.unwrap(),
                "byte 2 of line 3 is not UTF-8; save the file as UTF-8 (\"CSV UTF-8\")",
                "{size}"
            );
            for (file, start) in [
                (&b"email\n\xe4\xbe\nx"[..], "byte 1 of line 2 is not"),
                (b"a\xe4\xbe", "byte 2 of line 1 is not"),
            ] {
                let problem = first_problem(file, size).unwrap();
                assert!(problem.starts_with(start), "{size}: {problem}");
            }
        }
    }
}
