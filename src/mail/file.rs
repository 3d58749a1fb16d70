//! Mail into a folder, one `.eml` file each, for development and for looking at.
//!
//! A file appears whole or not at all, under a name made from the Message-ID, so that a retry replaces what it
//! repeats. The envelope is not written: it is the To and From of the message.

use std::io;
use std::path::{Path, PathBuf};

use tokio::fs;
use tokio::io::AsyncWriteExt;

use super::message::ComposedMail;
use super::outcome::{Accepted, Fate, SendError, Stage};

/// A folder that takes mail.
#[derive(Debug, Clone)]
pub struct FileTransport {
    folder: PathBuf,
}

impl FileTransport {
    /// Names a folder; it is made when the first mail comes.
    #[must_use]
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self {
            folder: folder.into(),
        }
    }

    /// Writes one mail. Every failure is the lane's: a folder does not judge messages.
    pub async fn send(&self, mail: &ComposedMail) -> Result<Accepted, SendError> {
        let name = file_name(mail.message_id());
        match write(&self.folder, &name, mail.bytes()).await {
            Ok(()) => Ok(Accepted {
                reply: "written to a file".to_owned(),
            }),
            // The kind, not the error: that one would say the path, which holds the Message-ID.
            Err(error) => Err(SendError::fault(
                Fate::LaneDown,
                Stage::File,
                &format!("could not write the file: {}", error.kind()),
            )),
        }
    }
}

async fn write(folder: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    fs::create_dir_all(folder).await?;
    // The same temporary name each time, so that a crash leaves one file to overwrite and not a growing number.
    let temporary = folder.join(format!(".{name}.part"));
    let mut file = fs::File::create(&temporary).await?;
    file.write_all(bytes).await?;
    file.sync_all().await?;
    drop(file);
    fs::rename(&temporary, folder.join(name)).await
}

/// A Message-ID may hold a slash, and a file name must not; what is escaped cannot collide with what is not.
fn file_name(message_id: &str) -> String {
    use std::fmt::Write as _;
    let mut name = String::with_capacity(message_id.len() + 4);
    for character in message_id.chars() {
        if character.is_ascii_alphanumeric() || "@.-_".contains(character) {
            name.push(character);
        } else {
            write!(name, "%{:02X}", u32::from(character)).expect("a String takes every write");
        }
    }
    name.push_str(".eml");
    name
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mail::message::tests::{composer, invitation};

    #[tokio::test]
    async fn a_retry_replaces_the_file_and_leaves_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let transport = FileTransport::new(folder.path().join("out"));
        let mail = composer().compose(&invitation()).unwrap();
        for _ in 0..2 {
            transport.send(&mail).await.unwrap();
        }
        let files: Vec<_> = std::fs::read_dir(folder.path().join("out"))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        assert_eq!(files.len(), 1);
        assert_eq!(std::fs::read(&files[0]).unwrap(), mail.bytes());
    }

    #[tokio::test]
    async fn a_folder_that_cannot_be_made_is_the_lanes_fault() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let transport = FileTransport::new(file.path().join("below"));
        let mail = composer().compose(&invitation()).unwrap();
        let error = transport.send(&mail).await.unwrap_err();
        assert_eq!((error.fate, error.stage), (Fate::LaneDown, Stage::File));
    }

    #[test]
    fn no_message_id_leaves_the_folder() {
        assert_eq!(file_name("../../etc/x@y"), "..%2F..%2Fetc%2Fx@y.eml");
    }
}
