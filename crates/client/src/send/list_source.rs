//! Reads the list: once to check it, and once in a thread, a limited number of rows ahead of the sender.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, BufReader, Read};
use std::thread;

use invitations_command::error::CommandError;
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;

use crate::list::{ListEntry, ListError, ListReader, Utf8Checker};
use crate::send::send_args::SendArgs;

const READ_BYTES: usize = 64 * 1024;

pub(crate) struct ListScan {
    pub(crate) row_count: u64,
    /// SHA-256 of the file, in hexadecimal.
    pub(crate) digest: String,
}

/// Returns `None` for stdin and pipes, which can be read only once.
pub(crate) fn scan_list(args: &SendArgs) -> Result<Option<ListScan>, CommandError> {
    let path = &args.file;
    let failure = |source| CommandError::file("read", path, source);
    // A named pipe must not be opened here: closing it again would stop its writer.
    if args.is_stdin() || !fs::metadata(path).map_err(failure)?.is_file() {
        return Ok(None);
    }
    let file = BufReader::with_capacity(READ_BYTES, File::open(path).map_err(failure)?);
    let reader = ListReader::open(file, args.format()).map_err(|error| args.list_error(error))?;
    let digest = checked_digest(&mut File::open(path).map_err(failure)?)
        .map_err(|error| args.list_error(error))?;
    let row_count = reader.count_rows().map_err(failure)?;
    Ok(Some(ListScan { row_count, digest }))
}

/// The digest of a file that is valid UTF-8.
fn checked_digest(file: &mut File) -> Result<String, ListError> {
    let mut digest = Sha256::new();
    let mut checker = Utf8Checker::default();
    let mut buffer = vec![0; READ_BYTES];
    loop {
        let length = file.read(&mut buffer)?;
        let piece = buffer.get(..length).unwrap_or_default();
        let is_end = piece.is_empty();
        let problem = checker.check(piece);
        let problem = problem.or_else(|| checker.finish().filter(|_| is_end));
        if let Some(problem) = problem {
            return Err(ListError::invalid(problem));
        }
        if is_end {
            return Ok(hexadecimal(&digest.finalize()));
        }
        digest.update(piece);
    }
}

pub(crate) fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Rows that are read before the sender asks for them.
const ROWS_AHEAD_MAX: usize = 1_000;

/// A list that is being read. It ends after the last row or an error.
pub(crate) type RowReceiver = mpsc::Receiver<Result<ListEntry, ListError>>;

pub(crate) fn start_reading(args: &SendArgs) -> Result<RowReceiver, CommandError> {
    let failure = |source| CommandError::file("read", &args.file, source);
    let (sender, rows) = mpsc::channel(ROWS_AHEAD_MAX);
    let (args, defaults) = (args.clone(), args.defaults.clone());
    let read = move || {
        let mut reader = match open(&args) {
            Ok(reader) => reader,
            // The receiver is gone if the command has ended, here and below.
            Err(error) => return drop(sender.blocking_send(Err(error))),
        };
        while let Some(row) = reader.next_entry(&defaults).transpose() {
            let is_end = row.is_err();
            if sender.blocking_send(row).is_err() || is_end {
                return;
            }
        }
    };
    // A plain thread does not delay the end of the command, as a blocking task of the runtime would: reading a terminal
    // or a pipe can block without a limit.
    thread::Builder::new()
        .name("rows".to_owned())
        .spawn(read)
        .map_err(failure)?;
    Ok(rows)
}

/// Opens the list. For a named pipe this blocks until a writer opens it too.
fn open(args: &SendArgs) -> Result<ListReader, ListError> {
    let input: Box<dyn Read + Send> = if args.is_stdin() {
        Box::new(io::stdin())
    } else {
        Box::new(File::open(&args.file)?)
    };
    ListReader::open(BufReader::with_capacity(READ_BYTES, input), args.format())
}
