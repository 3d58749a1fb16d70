//! The folder of the messages, with one file per message, and an index of it in memory.
//!
//! A file starts with headers that store the envelope, because the recipients of a message need not be in its own headers.
//! The name of a file is the time of its arrival in microseconds, so the order is known after a restart.
//!
//! Messages are never deleted here. They are not synced to disk, so a crash of the machine may lose the latest ones.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, BufRead as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use mail_parser::MessageParser;
use serde::Serialize;
use time::OffsetDateTime;

/// Most messages in the folder. Later messages are refused until the folder is emptied and the server is restarted.
const MESSAGES_MAX: usize = 100_000;

const EXTENSION: &str = "eml";
const ENVELOPE_FROM: &str = "X-Envelope-From: ";
const ENVELOPE_TO: &str = "X-Envelope-To: ";

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Envelope {
    /// The reverse-path. Empty for `<>`.
    pub(crate) sender: String,
    /// The forward-paths, at least one.
    pub(crate) recipients: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct MessageSummary {
    /// 16 digits. Later messages have greater ids.
    pub(crate) id: String,
    pub(crate) to: Vec<String>,
    /// Decoded. Empty if there is none.
    pub(crate) subject: String,
    /// In whole seconds.
    #[serde(with = "time::serde::rfc3339")]
    pub(crate) received: OffsetDateTime,
}

pub(crate) struct Mailbox {
    directory: PathBuf,
    index: Mutex<MessageIndex>,
}

#[derive(Default)]
struct MessageIndex {
    /// By arrival in microseconds since 1970.
    summaries: BTreeMap<u64, MessageSummary>,
    /// The last arrival that was assigned. Its file may not be written yet.
    last: u64,
}

impl Mailbox {
    /// Opens a folder and reads all its messages. Creates the folder if it does not exist.
    pub(crate) fn open(directory: PathBuf) -> io::Result<Self> {
        let with_path = |error: io::Error| {
            let message = format!("folder {}: {error}", directory.display());
            io::Error::new(error.kind(), message)
        };
        std::fs::create_dir_all(&directory).map_err(with_path)?;
        let mut index = MessageIndex::default();
        for entry in std::fs::read_dir(&directory).map_err(with_path)? {
            let path = entry.map_err(with_path)?.path();
            if let Some(arrival) = arrival_of(&path) {
                let file = std::fs::read(&path).map_err(with_path)?;
                index.summaries.insert(arrival, summarize(arrival, &file));
                index.last = index.last.max(arrival);
            }
        }
        Ok(Self {
            directory,
            index: Mutex::new(index),
        })
    }

    /// Stores a message and returns its id. The complete file has its final name when this returns.
    pub(crate) async fn store(&self, envelope: &Envelope, message: &[u8]) -> io::Result<String> {
        let arrival = self.next_arrival()?;
        let mut file = envelope_headers(envelope).into_bytes();
        file.extend_from_slice(message);
        let path = self.path(arrival);
        // Written under another name first, so that other programs never read a part of a message.
        let unfinished = path.with_extension("part");
        tokio::fs::write(&unfinished, &file).await?;
        tokio::fs::rename(&unfinished, &path).await?;
        let summary = summarize(arrival, &file);
        let id = summary.id.clone();
        self.index().summaries.insert(arrival, summary);
        Ok(id)
    }

    /// The file of a message, or `None` if there is no such message.
    pub(crate) async fn read(&self, id: &str) -> io::Result<Option<Vec<u8>>> {
        let Some((arrival, _)) = self.find(id) else {
            return Ok(None);
        };
        match tokio::fs::read(self.path(arrival)).await {
            // The folder may be emptied while the server runs.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            result => result.map(Some),
        }
    }

    pub(crate) fn summary(&self, id: &str) -> Option<MessageSummary> {
        self.find(id).map(|(_, summary)| summary)
    }

    /// The newest messages with a recipient that contains `to`, compared without ASCII case; at most `limit`.
    pub(crate) fn list(&self, to: &str, limit: usize) -> Vec<MessageSummary> {
        let wanted = to.to_ascii_lowercase();
        let is_wanted = |address: &String| address.to_ascii_lowercase().contains(&wanted);
        self.index()
            .summaries
            .values()
            .rev()
            .filter(|summary| wanted.is_empty() || summary.to.iter().any(is_wanted))
            .take(limit)
            .cloned()
            .collect()
    }

    /// The newest message to this address, compared without ASCII case.
    pub(crate) fn newest_to(&self, address: &str) -> Option<MessageSummary> {
        let is_recipient = |summary: &&MessageSummary| {
            let mut recipients = summary.to.iter();
            recipients.any(|recipient| recipient.eq_ignore_ascii_case(address))
        };
        let index = self.index();
        index.summaries.values().rev().find(is_recipient).cloned()
    }

    /// The number of messages, and of different recipients, compared without ASCII case.
    pub(crate) fn count(&self) -> (usize, usize) {
        let index = self.index();
        let recipients = index.summaries.values().flat_map(|summary| &summary.to);
        let addresses: BTreeSet<_> = recipients.map(|it| it.to_ascii_lowercase()).collect();
        (index.summaries.len(), addresses.len())
    }

    /// Looks an id up in the index only, so that no id can name a file elsewhere.
    fn find(&self, id: &str) -> Option<(u64, MessageSummary)> {
        let arrival = id.parse().ok()?;
        let index = self.index();
        let summary = index.summaries.get(&arrival)?;
        (summary.id == id).then(|| (arrival, summary.clone()))
    }

    /// The current time, or one microsecond after the last arrival. So ids are unique, even if the clock goes back.
    fn next_arrival(&self) -> io::Result<u64> {
        #[expect(
            clippy::disallowed_methods,
            reason = "the only time that this server reads; no test depends on it"
        )]
        let now = OffsetDateTime::now_utc().unix_timestamp_nanos() / 1_000;
        let mut index = self.index();
        if index.summaries.len() >= MESSAGES_MAX {
            let message = "the inbox is full; empty its folder and restart it";
            return Err(io::Error::new(io::ErrorKind::StorageFull, message));
        }
        index.last = u64::try_from(now).unwrap_or(0).max(index.last + 1);
        Ok(index.last)
    }

    fn path(&self, arrival: u64) -> PathBuf {
        self.directory.join(format!("{arrival:016}.{EXTENSION}"))
    }

    fn index(&self) -> MutexGuard<'_, MessageIndex> {
        // Every statement that changes the index leaves it consistent, so a poisoned lock can be used.
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The arrival in the name of a file, or `None` if the file is not a stored message.
fn arrival_of(path: &Path) -> Option<u64> {
    let stem = path.file_stem()?.to_str()?;
    let is_stored = path.extension()? == EXTENSION && stem.len() == 16;
    let arrival: u64 = stem.parse().ok()?;
    is_stored.then_some(arrival)
}

fn envelope_headers(envelope: &Envelope) -> String {
    let mut headers = format!("{ENVELOPE_FROM}<{}>\r\n", envelope.sender);
    for recipient in &envelope.recipients {
        headers.extend([ENVELOPE_TO, "<", recipient, ">\r\n"]);
    }
    // Also ends the envelope headers, so that an X-Envelope-To header of the message itself is ignored.
    headers.push_str("Received: by invitations-inbox with ESMTP\r\n");
    headers
}

fn summarize(arrival: u64, file: &[u8]) -> MessageSummary {
    let subject = MessageParser::default()
        .parse_headers(file)
        .and_then(|message| message.subject().map(str::to_owned))
        .unwrap_or_default();
    let seconds = i64::try_from(arrival / 1_000_000).unwrap_or_default();
    let received = OffsetDateTime::from_unix_timestamp(seconds);
    MessageSummary {
        id: format!("{arrival:016}"),
        to: recipients(file),
        subject,
        received: received.unwrap_or(OffsetDateTime::UNIX_EPOCH),
    }
}

/// The recipients in the headers of [`envelope_headers`].
fn recipients(file: &[u8]) -> Vec<String> {
    let mut lines = file.lines().map_while(Result::ok);
    let first = lines.next();
    if !first.is_some_and(|line| line.starts_with(ENVELOPE_FROM)) {
        return Vec::new();
    }
    let recipients = lines.map_while(|line| {
        let path = line.strip_prefix(ENVELOPE_TO)?;
        let path = path.trim_start_matches('<').trim_end_matches('>');
        Some(path.to_owned())
    });
    recipients.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tempfile::TempDir;

    fn to(recipients: &[&str]) -> Envelope {
        Envelope {
            sender: "invitations@example.com".to_owned(),
            recipients: recipients.iter().map(ToString::to_string).collect(),
        }
    }

    #[tokio::test]
    async fn messages_are_listed_after_a_restart_newest_first() {
        let folder = TempDir::new().unwrap();
        let message = "Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\n\r\nbody\r\n".as_bytes();
        let mailbox = Mailbox::open(folder.path().to_owned()).unwrap();
        let first = mailbox.store(&to(&["a@b.co"]), message).await.unwrap();
        let second = mailbox
            .store(&to(&["A@b.co", "c@b.co"]), message)
            .await
            .unwrap();
        std::fs::write(folder.path().join("notes.txt"), "not a message").unwrap();
        std::fs::write(folder.path().join("1.eml"), "not a stored message").unwrap();

        let again = Mailbox::open(folder.path().to_owned()).unwrap();
        let listed = again.list("", 10);
        assert_eq!(listed, mailbox.list("", 10));
        let ids: Vec<&str> = listed.iter().map(|summary| summary.id.as_str()).collect();
        assert_eq!(ids, [second.as_str(), first.as_str()]);
        assert_eq!(listed[0].subject, "Grüße");
        assert_eq!(listed[0].to, ["A@b.co", "c@b.co"]);
        assert_eq!(again.count(), (2, 2));
        assert_eq!(again.newest_to("a@B.co").unwrap().id, second);
        assert_eq!(again.list("C@", 10).len(), 1);
        assert!(
            again
                .read(&first)
                .await
                .unwrap()
                .unwrap()
                .ends_with(message)
        );
    }

    #[tokio::test]
    async fn a_message_cannot_forge_its_envelope() {
        let folder = TempDir::new().unwrap();
        let mailbox = Mailbox::open(folder.path().to_owned()).unwrap();
        let message = b"X-Envelope-To: <other@b.co>\r\n\r\n";
        let id = mailbox.store(&to(&["a@b.co"]), message).await.unwrap();
        assert_eq!(mailbox.summary(&id).unwrap().to, ["a@b.co"]);
    }

    #[tokio::test]
    async fn an_id_cannot_name_a_file_outside_of_the_folder() {
        let folder = TempDir::new().unwrap();
        let mailbox = Mailbox::open(folder.path().to_owned()).unwrap();
        let id = mailbox.store(&to(&["a@b.co"]), b"\r\n").await.unwrap();
        let padded = format!("+{id}");
        for wrong in ["", "../secret", "0", padded.as_str()] {
            assert!(mailbox.read(wrong).await.unwrap().is_none(), "{wrong}");
        }
        std::fs::remove_file(folder.path().join(format!("{id}.eml"))).unwrap();
        assert!(mailbox.read(&id).await.unwrap().is_none());
    }
}
