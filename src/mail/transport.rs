//! Sends one email at a time, to a relay or into a folder.
//!
//! A worker keeps one [`TransportSession`] for each connection of a lane. A session neither retries nor waits.

use std::io;
use std::path::{Path, PathBuf};

use tokio::fs;
use tokio::io::AsyncWriteExt;
use tokio::time::Instant;

use super::message::ComposedMessage;
use super::send_error::{FailureAction, SendError, SendReceipt, SendStage};
use super::smtp::{SmtpSession, SmtpTransport};

/// Where emails go, as configured. Cheap to clone.
#[derive(Debug, Clone)]
pub enum Transport {
    Smtp(SmtpTransport),
    File(FileTransport),
}

/// One connection of a lane, reused for many emails.
pub enum TransportSession {
    Smtp(Box<SmtpSession>),
    File(FileTransport),
}

impl Transport {
    /// Opens a session, which connects when it sends its first email.
    pub fn open(&self) -> TransportSession {
        match self {
            Self::Smtp(transport) => TransportSession::Smtp(Box::new(transport.open())),
            Self::File(transport) => TransportSession::File(transport.clone()),
        }
    }
}

impl TransportSession {
    /// Sends one email to its one recipient.
    ///
    /// The future can be dropped at any point. The session then closes its connection, and the next email gets a new
    /// one. Whether the server accepted the abandoned email is unknown.
    pub async fn send(&mut self, message: &ComposedMessage) -> Result<SendReceipt, SendError> {
        match self {
            Self::Smtp(session) => session.send(message).await,
            Self::File(transport) => transport.send(message).await,
        }
    }

    /// Whether the server refused the last connections, at least two in a row.
    pub fn is_refused(&self) -> bool {
        match self {
            Self::Smtp(session) => session.is_refused(),
            Self::File(_) => false,
        }
    }

    /// When the idle connection is due to be closed; `None` without an open connection.
    pub fn idle_deadline(&self) -> Option<Instant> {
        match self {
            Self::Smtp(session) => session.idle_deadline(),
            Self::File(_) => None,
        }
    }

    /// Closes the connection, in bounded time. The session connects again when it sends the next email.
    pub async fn close(&mut self) {
        match self {
            Self::Smtp(session) => session.close().await,
            Self::File(_) => {}
        }
    }
}

/// Writes each email into an `.eml` file of a folder, for development.
///
/// A file is written whole or not at all. Its name comes from the Message-ID, so a retry replaces the file. The envelope
/// is not written: it equals the To and From of the message.
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
    let escaped = message_id.chars().map(|character| {
        if character.is_ascii_alphanumeric() || "@.-_".contains(character) {
            character.to_string()
        } else {
            format!("%{:02X}", u32::from(character))
        }
    });
    escaped.collect::<String>() + ".eml"
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
