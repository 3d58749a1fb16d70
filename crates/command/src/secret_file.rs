//! Files that hold secrets or decide who may call: made readable by their owner alone, never replaced by accident.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use crate::error::CommandError;

/// Owner may read and write, nobody else may do anything.
const MODE: u32 = 0o600;

/// Makes a new file with this content.
///
/// # Errors
///
/// Among others when the file is there already, unless `replace` is set.
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

/// The content of a file, empty if there is none yet.
pub fn read_or_empty(path: &Path) -> Result<String, CommandError> {
    match fs::read_to_string(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        result => result.map_err(|source| CommandError::file("read", path, source)),
    }
}

/// Adds lines at the end of a file, beginning a new line if its last one is open. Makes the file if there is none.
pub fn append(path: &Path, lines: &str) -> Result<(), CommandError> {
    let write = || {
        let mut file = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .mode(MODE)
            .open(path)?;
        let separator = if ends_open(&mut file)? { "\n" } else { "" };
        file.write_all(format!("{separator}{lines}").as_bytes())?;
        file.sync_all()
    };
    write().map_err(|source| CommandError::file("append to", path, source))
}

fn ends_open(file: &mut File) -> io::Result<bool> {
    let mut content = Vec::new();
    file.read_to_end(&mut content)?;
    Ok(content.last().is_some_and(|byte| *byte != b'\n'))
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
    fn a_secret_is_for_its_owner_and_never_replaced_unasked() {
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
    fn appending_closes_an_open_line() {
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
