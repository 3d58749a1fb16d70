//! Reads whole files up to a size, so that a wrong path such as `/dev/zero` uses no memory.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read as _};
use std::path::Path;

/// Largest file of settings, keys or certificates, in bytes. A callers file of this size has about 20,000 callers.
pub const FILE_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// Largest file of rows that a command sends, in bytes.
pub const ROWS_FILE_BYTES_MAX: u64 = 256 * 1024 * 1024;

/// Reads a file, which may be a pipe.
pub fn read(path: &Path, bytes_max: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let limit = bytes_max.saturating_add(1);
    let length = File::open(path)?.take(limit).read_to_end(&mut bytes)?;
    if u64::try_from(length).is_ok_and(|length| length <= bytes_max) {
        return Ok(bytes);
    }
    let problem = format!("the file is over {} KiB", bytes_max / 1024);
    Err(io::Error::new(ErrorKind::FileTooLarge, problem))
}

/// Reads a file that is no pipe, device or socket. A server that reads one of those at start may wait forever.
pub fn read_regular(path: &Path, bytes_max: u64) -> io::Result<Vec<u8>> {
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::new(
            ErrorKind::InvalidInput,
            "not a regular file",
        ));
    }
    read(path, bytes_max)
}

/// The bytes as UTF-8.
pub fn into_text(bytes: Vec<u8>) -> io::Result<String> {
    String::from_utf8(bytes)
        .map_err(|_| io::Error::new(ErrorKind::InvalidData, "the file is not UTF-8"))
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    #[test]
    fn a_file_that_is_too_large_or_endless_is_refused() {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("file");
        fs::write(&path, "four").unwrap();
        assert_eq!(read_regular(&path, 4).unwrap(), b"four");
        assert_eq!(
            read_regular(&path, 3).unwrap_err().kind(),
            ErrorKind::FileTooLarge
        );
        let endless = Path::new("/dev/zero");
        let refused = read(endless, 1024).unwrap_err().to_string();
        assert_eq!(refused, "the file is over 1 KiB");
        for special in [endless, Path::new("/dev/null"), folder.path()] {
            assert_eq!(
                read_regular(special, 4).unwrap_err().kind(),
                ErrorKind::InvalidInput
            );
        }
    }
}
