//! Writes each email into an `.eml` file of a folder, for development.
//!
//! A file is written whole or not at all. Its name comes from the Message-ID, so a retry replaces the file. The envelope
//! is not written: it equals the To and From of the message.

use std::io;
use std::path::{Path, PathBuf};

use tokio::fs;
use tokio::io::AsyncWriteExt;

use super::message::ComposedMessage;
use super::send_error::{FailureAction, SendError, SendReceipt, SendStage};

#[derive(Debug, Clone)]
pub struct FileTransport {
    folder: PathBuf,
}

impl FileTransport {
    /// The folder is created with the first email.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self {
            folder: folder.into(),
        }
    }

    /// Writes one email. Every failure pauses the lane, because a folder does not judge messages.
    pub async fn send(&self, message: &ComposedMessage) -> Result<SendReceipt, SendError> {
        let name = file_name(message.message_id());
        match write(&self.folder, &name, message.bytes()).await {
            Ok(()) => Ok(SendReceipt {
                reply: "written to a file".to_owned(),
            }),
            // Only the kind: the error itself may name the path, which contains the Message-ID.
            Err(error) => Err(SendError::fault(
                FailureAction::PauseLane,
                SendStage::File,
                &format!("the file cannot be written: {}", error.kind()),
            )),
        }
    }
}

async fn write(folder: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    fs::create_dir_all(folder).await?;
    // Always the same temporary name, so that a crash leaves one file that the next attempt overwrites.
    let temporary = folder.join(format!(".{name}.part"));
    let mut file = fs::File::create(&temporary).await?;
    file.write_all(bytes).await?;
    file.sync_all().await?;
    drop(file);
    fs::rename(&temporary, folder.join(name)).await
}

/// Escapes characters of a Message-ID that a file name must not contain. The escaping is injective.
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
    use crate::mail::message::samples::{composer, invitation};

    #[tokio::test]
    async fn a_retry_replaces_the_file_and_leaves_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let transport = FileTransport::new(folder.path().join("out"));
        let message = composer().compose(&invitation()).unwrap();
        for _ in 0..2 {
            transport.send(&message).await.unwrap();
        }
        let files: Vec<_> = std::fs::read_dir(folder.path().join("out"))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        assert_eq!(files.len(), 1);
        assert_eq!(std::fs::read(&files[0]).unwrap(), message.bytes());
    }

    #[tokio::test]
    async fn a_folder_that_cannot_be_created_pauses_the_lane() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let transport = FileTransport::new(file.path().join("below"));
        let message = composer().compose(&invitation()).unwrap();
        let error = transport.send(&message).await.unwrap_err();
        assert_eq!(
            (error.action, error.stage),
            (FailureAction::PauseLane, SendStage::File)
        );
    }

    #[test]
    fn a_message_id_cannot_name_a_file_outside_the_folder() {
        assert_eq!(file_name("../../etc/x@y"), "..%2F..%2Fetc%2Fx@y.eml");
    }
}
