//! The rows of a list as they are read: by a thread of its own, a bounded number ahead.
//!
//! A file is read through once before, for its digest and the number of its rows; anything else, such as a pipe, once.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, BufReader, Read};
use std::path::Path;
use std::thread;

use sha2::{Digest, Sha256};
use tokio::sync::mpsc;

use super::SendArgs;
use crate::people::{EncodingCheck, Entry, Format, Rows, Trouble};
use invitations_command::error::CommandError;

/// Rows that are read ahead of those on their way.
const ROWS_AHEAD_MAX: usize = 1_000;
/// How much of a file is read at once.
const PIECE_BYTES: usize = 64 * 1024;

/// What the first reading of a file found.
pub(super) struct Survey {
    /// How many rows it has.
    pub(super) rows: u64,
    /// SHA-256 of all of it, in hexadecimal.
    pub(super) digest: String,
}

/// A list that is being read.
pub(super) struct Source {
    rows: mpsc::Receiver<Result<Entry, Trouble>>,
}

/// Reads a file through; `None` if it is none that could be read twice.
pub(super) fn survey(args: &SendArgs) -> Result<Option<Survey>, CommandError> {
    let path = &args.file;
    let failure = |source| CommandError::file("read", path, source);
    if is_stdin(path) {
        return Ok(None);
    }
    // A named pipe must not be opened to look at it: whoever writes into it would be cut off.
    if !fs::metadata(path).map_err(failure)?.is_file() {
        return Ok(None);
    }
    let file = File::open(path).map_err(failure)?;
    let rows = Rows::open(BufReader::with_capacity(PIECE_BYTES, file), format_of(args))
        .map_err(|trouble| told(path, trouble))?;
    let digest = check(&mut File::open(path).map_err(failure)?)
        .map_err(failure)?
        .map_err(|problem| told(path, Trouble::File(vec![problem])))?;
    let rows = rows.count().map_err(failure)?;
    Ok(Some(Survey { rows, digest }))
}

/// The digest of a file that is UTF-8.
fn check(file: &mut File) -> io::Result<Result<String, String>> {
    let mut digest = Sha256::new();
    let mut encoding = EncodingCheck::default();
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        let length = file.read(&mut piece)?;
        let piece = piece.get(..length).unwrap_or_default();
        let problem = if piece.is_empty() {
            encoding.end()
        } else {
            encoding.read(piece)
        };
        if let Some(problem) = problem {
            return Ok(Err(problem));
        }
        if piece.is_empty() {
            return Ok(Ok(hexadecimal(&digest.finalize())));
        }
        digest.update(piece);
    }
}

/// A digest as people compare them.
pub(super) fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

impl Source {
    /// Begins to read.
    pub(super) fn open(args: &SendArgs) -> Result<Self, CommandError> {
        let path = args.file.clone();
        let failure = |source| CommandError::file("read", &args.file, source);
        let (format, defaults) = (format_of(args), args.defaults());
        let (sender, rows) = mpsc::channel(ROWS_AHEAD_MAX);
        let read = move || {
            let mut rows = match open(&path, format) {
                Ok(rows) => rows,
                // Nobody listens any more where the command has ended, here as below.
                Err(trouble) => return drop(sender.blocking_send(Err(trouble))),
            };
            while let Some(row) = rows.next(&defaults).transpose() {
                let is_end = row.is_err();
                if sender.blocking_send(row).is_err() || is_end {
                    return;
                }
            }
        };
        // A thread and no task of the runtime: reading a terminal or a pipe may wait for ever, and the command may end.
        thread::Builder::new()
            .name("rows".to_owned())
            .spawn(read)
            .map_err(failure)?;
        Ok(Self { rows })
    }

    /// The next row, as soon as there is one; `None` at the end.
    pub(super) async fn next(&mut self) -> Option<Result<Entry, Trouble>> {
        self.rows.recv().await
    }

    /// Another row, if one is there already.
    pub(super) fn next_ready(&mut self) -> Option<Result<Entry, Trouble>> {
        self.rows.try_recv().ok()
    }
}

/// Opens a list, which takes as long as a pipe has nobody at its other end.
fn open(path: &Path, format: Format) -> Result<Rows, Trouble> {
    let input: Box<dyn Read + Send> = if is_stdin(path) {
        Box::new(io::stdin())
    } else {
        Box::new(File::open(path)?)
    };
    Rows::open(BufReader::with_capacity(PIECE_BYTES, input), format)
}

/// Whether a path means standard input.
pub(super) fn is_stdin(path: &Path) -> bool {
    path.as_os_str() == "-"
}

fn format_of(args: &SendArgs) -> Format {
    args.format.unwrap_or_else(|| Format::of(&args.file))
}

/// A list that cannot be read, in words.
pub(super) fn told(path: &Path, trouble: Trouble) -> CommandError {
    match trouble {
        Trouble::Read(source) => CommandError::file("read", path, source),
        Trouble::File(problems) => CommandError::Usage(format!(
            "nothing was sent, {} has problems:\n  {}",
            path.display(),
            problems.join("\n  ")
        )),
    }
}
