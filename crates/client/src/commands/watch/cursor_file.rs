//! The file of `--cursor-file`, which stores how far the events were read.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use invitations_command::error::CommandError;
use invitations_command::secret_file;

use crate::output::replace_file;

pub(crate) struct CursorFile {
    path: PathBuf,
    /// The content of the file. Empty if there is no cursor.
    cursor: String,
}

impl CursorFile {
    /// Reads the file if it exists.
    pub(crate) fn open(path: &Path) -> Result<Self, CommandError> {
        Ok(Self {
            path: path.to_owned(),
            cursor: secret_file::read_or_empty(path)?.trim().to_owned(),
        })
    }

    pub(crate) fn cursor(&self) -> &str {
        &self.cursor
    }

    pub(crate) fn set(&mut self, cursor: &str) -> Result<(), CommandError> {
        if cursor == self.cursor {
            return Ok(());
        }
        replace_file(&self.path, |part| write(part, cursor))
            .map_err(|source| CommandError::file("write", &self.path, source))?;
        cursor.clone_into(&mut self.cursor);
        Ok(())
    }
}

fn write(path: &Path, cursor: &str) -> io::Result<()> {
    let mut file = File::create(path)?;
    writeln!(file, "{cursor}")?;
    file.sync_all()
}
