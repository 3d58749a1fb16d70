//! Files with secrets or access rules. Only the owner can read them, and they are replaced only on request.

use std::fs::{self, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use crate::bounded_file::{self, FILE_BYTES_MAX};
use crate::error::CommandError;

/// The owner may read and write; all others have no access.
const MODE: u32 = 0o600;

/// Creates a file with this content. Fails if the file exists and `replace` is not set.
pub fn create(path: &Path, content: &str, replace: bool) -> Result<(), CommandError> {
    if replace
        && let Err(error) = fs::remove_file(path)
        && error.kind() != io::ErrorKind::NotFound
    {
        return Err(CommandError::file("replace", path, error));
    }
    let write = || {
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(MODE)
            .open(path)?;
        file.write_all(content.as_bytes())?;
        file.sync_all()
    };
    write().map_err(|source| CommandError::file("create", path, source))
}

/// The content of a file, or an empty text if the file does not exist.
pub fn read_or_empty(path: &Path) -> Result<String, CommandError> {
    match bounded_file::read(path, FILE_BYTES_MAX).and_then(bounded_file::into_text) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        result => result.map_err(|source| CommandError::file("read", path, source)),
    }
}

/// Appends lines to a file, which may not exist. If its last line has no line break, one is added first.
pub fn append(path: &Path, lines: &str) -> Result<(), CommandError> {
    let write = || {
        let mut file = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .mode(MODE)
            .open(path)?;
        let mut content = Vec::new();
        (&mut file).take(FILE_BYTES_MAX).read_to_end(&mut content)?;
        let is_unfinished = content.last().is_some_and(|byte| *byte != b'\n');
        let separator = if is_unfinished { "\n" } else { "" };
        file.write_all(format!("{separator}{lines}").as_bytes())?;
        file.sync_all()
    };
    write().map_err(|source| CommandError::file("append to", path, source))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use tempfile::TempDir;

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn a_secret_file_is_private_and_replaced_only_on_request() {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("token");
        create(&path, "one\n", false).unwrap();
        assert_eq!(mode(&path), MODE);
        assert!(create(&path, "two\n", false).is_err());
        assert_eq!(fs::read_to_string(&path).unwrap(), "one\n");
        create(&path, "two\n", true).unwrap();
        assert_eq!(
            (fs::read_to_string(&path).unwrap().as_str(), mode(&path)),
            ("two\n", MODE)
        );
    }

    #[test]
    fn appending_ends_an_unfinished_line_first() {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("keys");
        assert_eq!(read_or_empty(&path).unwrap(), "");
        append(&path, "one").unwrap();
        append(&path, "two\n").unwrap();
        append(&path, "three\n").unwrap();
        assert_eq!(
            (fs::read_to_string(&path).unwrap().as_str(), mode(&path)),
            ("one\ntwo\nthree\n", MODE)
        );
    }
}
