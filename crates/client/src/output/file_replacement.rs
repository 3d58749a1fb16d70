//! Replaces a file as a whole: after a crash the file has its old content or the new one, never a part of it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Writes the new content to a file beside the old one and renames it. If that fails, the old content stays.
pub(crate) fn replace_file(
    path: &Path,
    write: impl FnOnce(&Path) -> io::Result<()>,
) -> io::Result<()> {
    let part = with_suffix(path, ".part");
    let result = write(&part).and_then(|()| fs::rename(&part, path));
    if result.is_err() {
        let _ = fs::remove_file(&part);
    }
    result
}

/// A path in the same folder whose file name has this suffix in addition.
pub(crate) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(suffix);
    path.with_file_name(name)
}
