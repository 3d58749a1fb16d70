//! The file that keeps how far the events were read, replaced as a whole: after a crash it holds an older cursor or the
//! newer one, never half of either.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use invitations_command::error::CommandError;

/// A file for a cursor.
pub struct CursorFile {
    path: PathBuf,
    /// What is in it.
    cursor: String,
}

impl CursorFile {
    /// Reads the file, which need not be there.
    pub fn open(path: &Path) -> Result<Self, CommandError> {
        let cursor = match fs::read_to_string(path) {
            Ok(text) => text.trim().to_owned(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            Err(source) => return Err(CommandError::file("read", path, source)),
        };
        Ok(Self {
            path: path.to_owned(),
            cursor,
        })
    }

    /// The cursor that is in it, empty if there is none.
    #[must_use]
    pub fn cursor(&self) -> &str {
        &self.cursor
    }

    /// Puts another cursor into it.
    pub fn set(&mut self, cursor: &str) -> Result<(), CommandError> {
        if cursor == self.cursor {
            return Ok(());
        }
        self.write(cursor)
            .map_err(|source| CommandError::file("write", &self.path, source))?;
        cursor.clone_into(&mut self.cursor);
        Ok(())
    }

    fn write(&self, cursor: &str) -> io::Result<()> {
        let mut name = self.path.file_name().unwrap_or_default().to_owned();
        name.push(".part");
        let part = self.path.with_file_name(name);
        let mut file = File::create(&part)?;
        writeln!(file, "{cursor}")?;
        file.sync_all()?;
        fs::rename(&part, &self.path)
    }
}
