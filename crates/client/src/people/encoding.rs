//! Whether a list is UTF-8: a name that was garbled is worse than a list that was refused.

use std::io::{self, BufRead, Cursor, Read as _};

const UTF8_BOM: &[u8] = b"\xef\xbb\xbf";
const UTF16_BOMS: [&[u8]; 2] = [b"\xff\xfe", b"\xfe\xff"];
/// Longest character of UTF-8.
const CHARACTER_BYTES_MAX: usize = 4;

/// Drops a byte order mark, and tells by it what is no UTF-8 at all.
pub(super) fn open<R: BufRead>(mut input: R) -> io::Result<Result<impl BufRead, String>> {
    let mut start = Vec::new();
    (&mut input)
        .take(UTF8_BOM.len() as u64)
        .read_to_end(&mut start)?;
    if UTF16_BOMS.iter().any(|bom| start.starts_with(bom)) {
        let problem = "the file is UTF-16: save it as UTF-8 (\"CSV UTF-8\")";
        return Ok(Err(problem.to_owned()));
    }
    if start == UTF8_BOM {
        start.clear();
    }
    Ok(Ok(Cursor::new(start).chain(input)))
}

/// Reads along, piece by piece, and finds the first byte that is no part of a character.
#[derive(Default)]
pub(super) struct Checker {
    /// The line that is read, from 0.
    lines: u64,
    /// How many bytes of that line are behind.
    bytes: u64,
    /// The beginning of a character that goes on in the next piece.
    open: Vec<u8>,
}

impl Checker {
    /// Reads the next piece; tells where it is not UTF-8, if it is not, and goes on behind it.
    pub(super) fn read(&mut self, piece: &[u8]) -> Option<String> {
        let mut problem = None;
        let mut rest = piece;
        while !self.open.is_empty() && !rest.is_empty() {
            let (byte, after) = rest.split_at(1);
            self.open.extend_from_slice(byte);
            match str::from_utf8(&self.open) {
                Ok(_) => self.step_over_open(),
                Err(error) if error.error_len().is_none() => {}
                Err(_) => {
                    problem.get_or_insert_with(|| self.problem());
                    // What broke the character off may begin another one, so it is read again.
                    self.open.pop();
                    self.step_over_open();
                    continue;
                }
            }
            rest = after;
        }
        loop {
            match str::from_utf8(rest) {
                Ok(_) => {
                    self.step(rest);
                    return problem;
                }
                Err(error) => {
                    let (good, bad) = rest.split_at(error.valid_up_to());
                    self.step(good);
                    let Some(length) = error.error_len() else {
                        self.open.extend_from_slice(bad);
                        return problem;
                    };
                    problem.get_or_insert_with(|| self.problem());
                    let (bad, after) = bad.split_at(length.min(CHARACTER_BYTES_MAX));
                    self.step(bad);
                    rest = after;
                }
            }
        }
    }

    /// Tells of a character that the end of the list broke off.
    pub(super) fn end(&self) -> Option<String> {
        (!self.open.is_empty()).then(|| self.problem())
    }

    fn problem(&self) -> String {
        format!(
            "byte {} of line {} is not UTF-8: save the file as UTF-8 (\"CSV UTF-8\")",
            self.bytes + 1,
            self.lines + 1
        )
    }

    fn step_over_open(&mut self) {
        let open = std::mem::take(&mut self.open);
        self.step(&open);
    }

    fn step(&mut self, bytes: &[u8]) {
        for byte in bytes {
            if *byte == b'\n' {
                self.lines += 1;
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

    fn opened(file: &[u8]) -> Result<Vec<u8>, String> {
        let mut text = Vec::new();
        open(file).unwrap()?.read_to_end(&mut text).unwrap();
        Ok(text)
    }

    /// What is told of a file that comes in pieces of this size.
    fn checked(file: &[u8], size: usize) -> Option<String> {
        let mut checker = Checker::default();
        let mut told = None;
        for piece in file.chunks(size) {
            told = told.or(checker.read(piece));
        }
        told.or(checker.end())
    }

    #[test]
    fn a_byte_order_mark_is_dropped_or_told() {
        assert_eq!(opened(b"\xef\xbb\xbfemail"), Ok(b"email".to_vec()));
        assert_eq!(opened(b"em"), Ok(b"em".to_vec()));
        let told = opened(b"\xff\xfee\0").unwrap_err();
        assert_eq!(told, "the file is UTF-16: save it as UTF-8 (\"CSV UTF-8\")");
    }

    #[test]
    fn what_is_not_utf8_is_named_by_line_and_byte() {
        for size in 1..20 {
            assert_eq!(checked("email\nmüller 例え\n".as_bytes(), size), None);
            let told = checked(b"email\na@b.co\nm\xfcller@b.co\n\xff\n", size);
            assert_eq!(
                told.unwrap(),
                "byte 2 of line 3 is not UTF-8: save the file as UTF-8 (\"CSV UTF-8\")",
                "{size}"
            );
            let told = checked(b"email\n\xe4\xbe\nx", size).unwrap();
            assert!(
                told.starts_with("byte 1 of line 2 is not"),
                "{size}: {told}"
            );
            let told = checked(b"a\xe4\xbe", size).unwrap();
            assert!(
                told.starts_with("byte 2 of line 1 is not"),
                "{size}: {told}"
            );
        }
    }
}
