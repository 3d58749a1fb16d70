//! The mails, one file each, in the order they came.
//!
//! A file is the mail as it was sent, behind a few headers of our own that say who it was for: the addresses in a mail
//! need not be the ones it was sent to. Its name is the microsecond it arrived at, so a folder listing is in order and
//! the mails are all there again after a restart.
//!
//! Nothing is ever deleted here, and nothing is flushed to the disk: a mail survives the death of the process, not that
//! of the machine.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use mail_parser::MessageParser;
use time::OffsetDateTime;

/// Most mails that are kept; later ones are refused until the folder is emptied and the inbox started anew.
pub const MAILS_MAX: usize = 100_000;

const EXTENSION: &str = "eml";
const ENVELOPE_FROM: &str = "X-Envelope-From: ";
const ENVELOPE_TO: &str = "X-Envelope-To: ";

/// Who a mail is from and for, by the SMTP conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    /// The reverse path; empty for `<>`.
    pub sender: String,
    /// The forward paths, at least one.
    pub recipients: Vec<String>,
}

/// One line of the list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// 16 digits; later mails have greater ones.
    pub id: String,
    /// The envelope's recipients.
    pub to: Vec<String>,
    /// The decoded subject, or nothing.
    pub subject: String,
    /// When it arrived.
    pub received: OffsetDateTime,
}

/// How many mails there are for how many people.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Count {
    /// Mails.
    pub mails: usize,
    /// Different recipients, compared without regard to ASCII case.
    pub addresses: usize,
}

/// A folder of mails and an index of it in memory.
#[derive(Debug)]
pub struct Mailbox {
    directory: PathBuf,
    index: Mutex<Index>,
}

#[derive(Debug, Default)]
struct Index {
    /// By arrival in microseconds since 1970.
    summaries: BTreeMap<u64, Summary>,
    /// The last arrival that was given out, whether or not its file is written yet.
    last: u64,
}

impl Mailbox {
    /// Opens a folder, making it if it is missing, and reads what is in it.
    pub fn open(directory: PathBuf) -> io::Result<Self> {
        let in_directory = |error: io::Error| {
            let message = format!("mail folder {}: {error}", directory.display());
            io::Error::new(error.kind(), message)
        };
        std::fs::create_dir_all(&directory).map_err(in_directory)?;
        let mut index = Index::default();
        for entry in std::fs::read_dir(&directory).map_err(in_directory)? {
            let path = entry.map_err(in_directory)?.path();
            if let Some(arrival) = arrival_of(&path) {
                let file = std::fs::read(&path).map_err(in_directory)?;
                index.summaries.insert(arrival, summarize(arrival, &file));
                index.last = index.last.max(arrival);
            }
        }
        Ok(Self {
            directory,
            index: Mutex::new(index),
        })
    }

    /// Keeps a mail. When this returns the file is whole and in place under its final name.
    pub async fn store(&self, envelope: &Envelope, mail: &[u8]) -> io::Result<String> {
        let arrival = self.next_arrival()?;
        let mut file = envelope_headers(envelope).into_bytes();
        file.extend_from_slice(mail);
        let path = self.path(arrival);
        // A reader that lists the folder never sees half a mail.
        let unfinished = path.with_extension("part");
        tokio::fs::write(&unfinished, &file).await?;
        tokio::fs::rename(&unfinished, &path).await?;
        let summary = summarize(arrival, &file);
        let id = summary.id.clone();
        self.index().summaries.insert(arrival, summary);
        Ok(id)
    }

    /// The file of a mail, or `None` if there is no such mail.
    pub async fn read(&self, id: &str) -> io::Result<Option<Vec<u8>>> {
        let Some((arrival, _)) = self.find(id) else {
            return Ok(None);
        };
        match tokio::fs::read(self.path(arrival)).await {
            Ok(file) => Ok(Some(file)),
            // Somebody emptied the folder under us, which is a fine thing to do.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The summary of a mail.
    #[must_use]
    pub fn summary(&self, id: &str) -> Option<Summary> {
        self.find(id).map(|(_, summary)| summary)
    }

    /// Up to `limit` summaries, the newest first, of mails to an address that contains `to` in any case.
    #[must_use]
    pub fn list(&self, to: &str, limit: usize) -> Vec<Summary> {
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

    /// The newest mail to exactly this address, but for ASCII case.
    #[must_use]
    pub fn newest_to(&self, address: &str) -> Option<Summary> {
        let is_for = |summary: &&Summary| {
            let mut recipients = summary.to.iter();
            recipients.any(|recipient| recipient.eq_ignore_ascii_case(address))
        };
        self.index().summaries.values().rev().find(is_for).cloned()
    }

    /// Counts mails and recipients.
    #[must_use]
    pub fn count(&self) -> Count {
        let index = self.index();
        let addresses: BTreeSet<String> = index
            .summaries
            .values()
            .flat_map(|summary| &summary.to)
            .map(|address| address.to_ascii_lowercase())
            .collect();
        Count {
            mails: index.summaries.len(),
            addresses: addresses.len(),
        }
    }

    /// Ids lead to files only through the index, so no id can name a file elsewhere.
    fn find(&self, id: &str) -> Option<(u64, Summary)> {
        let arrival = id.parse().ok()?;
        let index = self.index();
        let summary = index.summaries.get(&arrival)?;
        (summary.id == id).then(|| (arrival, summary.clone()))
    }

    /// Now, or just behind the last one: two mails never share a name, and a clock that goes back does no harm.
    fn next_arrival(&self) -> io::Result<u64> {
        #[expect(
            clippy::disallowed_methods,
            reason = "a development inbox has no Clock: it stamps what comes in from outside"
        )]
        let now = OffsetDateTime::now_utc().unix_timestamp_nanos() / 1_000;
        let mut index = self.index();
        if index.summaries.len() >= MAILS_MAX {
            return Err(io::Error::new(
                io::ErrorKind::StorageFull,
                "the inbox is full",
            ));
        }
        index.last = u64::try_from(now).unwrap_or(0).max(index.last + 1);
        Ok(index.last)
    }

    fn path(&self, arrival: u64) -> PathBuf {
        self.directory.join(format!("{arrival:016}.{EXTENSION}"))
    }

    fn index(&self) -> MutexGuard<'_, Index> {
        // The index is whole after every statement that changes it.
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The arrival a file's name tells, or `None` for a file that is no mail of ours.
fn arrival_of(path: &Path) -> Option<u64> {
    let stem = path.file_stem()?.to_str()?;
    let is_mail = path.extension()? == EXTENSION && stem.len() == 16;
    let arrival: u64 = stem.parse().ok()?;
    // The greatest number of 16 digits is still a time that can be shown.
    is_mail.then_some(arrival)
}

fn envelope_headers(envelope: &Envelope) -> String {
    let mut headers = format!("{ENVELOPE_FROM}<{}>\r\n", envelope.sender);
    for recipient in &envelope.recipients {
        for part in [ENVELOPE_TO, "<", recipient, ">\r\n"] {
            headers.push_str(part);
        }
    }
    // Also the end of our headers: a mail that brings an X-Envelope-To of its own is not believed.
    headers.push_str("Received: by invitations-inbox with ESMTP\r\n");
    headers
}

fn summarize(arrival: u64, file: &[u8]) -> Summary {
    let subject = MessageParser::default()
        .parse_headers(file)
        .and_then(|message| message.subject().map(str::to_owned))
        .unwrap_or_default();
    let received = OffsetDateTime::from_unix_timestamp_nanos(i128::from(arrival) * 1_000)
        .unwrap_or(OffsetDateTime::UNIX_EPOCH);
    Summary {
        id: format!("{arrival:016}"),
        to: recipients(file),
        subject,
        received,
    }
}

/// The recipients in the headers that [`envelope_headers`] wrote at the very top.
fn recipients(file: &[u8]) -> Vec<String> {
    let mut lines = file.split(|byte| *byte == b'\n').map(|line| {
        let text = std::str::from_utf8(line).unwrap_or_default();
        text.trim_end_matches('\r')
    });
    if !lines
        .next()
        .is_some_and(|line| line.starts_with(ENVELOPE_FROM))
    {
        return Vec::new();
    }
    lines
        .map_while(|line| line.strip_prefix(ENVELOPE_TO))
        .map(|path| {
            path.trim_start_matches('<')
                .trim_end_matches('>')
                .to_owned()
        })
        .collect()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A folder of its own for each test, gone when the test is.
    pub(crate) struct Folder(PathBuf);

    impl Folder {
        pub(crate) fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("inbox-{name}-{}", std::process::id()));
            std::fs::remove_dir_all(&path).ok();
            Self(path)
        }

        pub(crate) fn path(&self) -> PathBuf {
            self.0.clone()
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            std::fs::remove_dir_all(&self.0).ok();
        }
    }

    fn to(recipients: &[&str]) -> Envelope {
        Envelope {
            sender: "invitations@example.com".to_owned(),
            recipients: recipients.iter().map(ToString::to_string).collect(),
        }
    }

    #[tokio::test]
    async fn mails_are_there_again_after_a_restart_newest_first() {
        let folder = Folder::new("restart");
        let mail = "Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\n\r\nbody\r\n".as_bytes();
        let mailbox = Mailbox::open(folder.path()).unwrap();
        let first = mailbox.store(&to(&["a@b.co"]), mail).await.unwrap();
        let second = mailbox
            .store(&to(&["A@b.co", "c@b.co"]), mail)
            .await
            .unwrap();
        std::fs::write(folder.path().join("notes.txt"), "no mail").unwrap();
        std::fs::write(folder.path().join("1.eml"), "no mail of ours").unwrap();

        let again = Mailbox::open(folder.path()).unwrap();
        let listed = again.list("", 10);
        assert_eq!(listed, mailbox.list("", 10));
        let ids: Vec<&str> = listed.iter().map(|summary| summary.id.as_str()).collect();
        assert_eq!(ids, [second.as_str(), first.as_str()]);
        assert_eq!(listed[0].subject, "Grüße");
        assert_eq!(listed[0].to, ["A@b.co", "c@b.co"]);
        let expected = Count {
            mails: 2,
            addresses: 2,
        };
        assert_eq!(again.count(), expected);
        assert_eq!(again.newest_to("a@B.co").unwrap().id, second);
        assert_eq!(again.list("C@", 10).len(), 1);
        assert!(again.read(&first).await.unwrap().unwrap().ends_with(mail));
    }

    #[tokio::test]
    async fn a_mail_cannot_forge_its_envelope() {
        let folder = Folder::new("forged");
        let mailbox = Mailbox::open(folder.path()).unwrap();
        let mail = b"X-Envelope-To: <other@b.co>\r\n\r\n";
        let id = mailbox.store(&to(&["a@b.co"]), mail).await.unwrap();
        assert_eq!(mailbox.summary(&id).unwrap().to, ["a@b.co"]);
    }

    #[tokio::test]
    async fn an_id_never_leads_out_of_the_folder() {
        let folder = Folder::new("ids");
        let mailbox = Mailbox::open(folder.path()).unwrap();
        let id = mailbox.store(&to(&["a@b.co"]), b"\r\n").await.unwrap();
        let padded = format!("+{id}");
        for wrong in ["", "../secret", "0", padded.as_str()] {
            assert!(mailbox.read(wrong).await.unwrap().is_none(), "{wrong}");
        }
        std::fs::remove_file(folder.path().join(format!("{id}.eml"))).unwrap();
        assert!(mailbox.read(&id).await.unwrap().is_none());
    }
}
