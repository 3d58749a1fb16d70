//! The command line: serving, and two queries of the folder.
//!
//! The questions read files and need no running inbox. What they print on standard output is meant for scripts, so it is
//! one line and nothing else.

use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::{Context, bail};
use clap::{Parser, Subcommand};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::letter::Letter;
use crate::mailbox::Mailbox;
use crate::{Inbox, InboxConfig};

/// Take mails for development: keep each in a file, deliver none, show them in a browser
#[derive(Debug, Parser)]
#[command(name = "invitations-inbox", version)]
pub struct InboxArgs {
    /// Where it takes mails by SMTP; port 0 means any free one.
    #[arg(
        long,
        env = "INVITATIONS_INBOX_SMTP_LISTEN",
        default_value = "127.0.0.1:1025",
        value_name = "ADDRESS"
    )]
    smtp_listen: SocketAddr,
    /// Where it shows them in a browser; port 0 means any free one. Whoever reaches it reads every mail.
    #[arg(
        long,
        env = "INVITATIONS_INBOX_HTTP_LISTEN",
        default_value = "127.0.0.1:8025",
        value_name = "ADDRESS"
    )]
    http_listen: SocketAddr,
    /// The folder of the mails, one .eml file each.
    #[arg(
        long,
        env = "INVITATIONS_INBOX_DIRECTORY",
        default_value = ".data/inbox",
        value_name = "FOLDER",
        global = true
    )]
    directory: PathBuf,
    /// What to do instead of taking mails.
    #[command(subcommand)]
    question: Option<Question>,
}

#[derive(Debug, Subcommand)]
enum Question {
    /// Print the invitation's link in the newest mail to an address
    Link {
        /// Whom the mail was sent to.
        #[arg(long, value_name = "EMAIL")]
        to: String,
    },
    /// Print how many mails there are for how many addresses
    Count,
}

/// Serves until SIGINT or SIGTERM, or answers a question.
pub async fn run(args: InboxArgs) -> anyhow::Result<()> {
    match args.question {
        None => {
            serve(InboxConfig {
                smtp_listen: args.smtp_listen,
                http_listen: args.http_listen,
                directory: args.directory,
            })
            .await
        }
        Some(Question::Link { to }) => print(&link(args.directory, &to).await?),
        Some(Question::Count) => {
            let count = existing(args.directory)?.count();
            print(&format!(
                "{} mails for {} addresses",
                count.mails, count.addresses
            ))
        }
    }
}

async fn serve(config: InboxConfig) -> anyhow::Result<()> {
    let directory = config.directory.display().to_string();
    let inbox = Inbox::bind(config).context("cannot start the inbox")?;
    // Before the line below tells that it is there: whoever reads that line may send a signal at once.
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let (smtp, http) = (inbox.smtp_addr(), inbox.http_addr());
    print(&format!(
        "inbox: takes mails at {smtp}, shows them at http://{http}/, keeps them in {directory}"
    ))?;

    let stop = CancellationToken::new();
    let stopping = async {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        stop.cancel();
        // Only the end of the inbox ends the select below.
        std::future::pending::<()>().await;
    };
    tokio::select! {
        ended = inbox.run(stop.clone()) => ended.context("the inbox broke down"),
        () = stopping => Ok(()),
    }
}

async fn link(directory: PathBuf, to: &str) -> anyhow::Result<String> {
    let mailbox = existing(directory)?;
    let mailbox_address = with_ascii_domain(to);
    let summary = mailbox
        .newest_to(&mailbox_address)
        .context("the inbox holds no mail to this address")?;
    let file = mailbox.read(&summary.id).await?;
    let letter = Letter::open(&file.unwrap_or_default());
    let link = letter.invitation_link();
    Ok(link
        .context("the newest mail to this address holds no invitation link")?
        .to_owned())
}

/// The address with its domain in A-labels, as the sender of invitations writes it (RFC 5890).
fn with_ascii_domain(address: &str) -> String {
    address
        .rsplit_once('@')
        .and_then(|(local, domain)| {
            Some(format!("{local}@{}", idna::domain_to_ascii(domain).ok()?))
        })
        .unwrap_or_else(|| address.to_owned())
}

/// Asking about a folder that is not there is a mistake, not an empty inbox.
fn existing(directory: PathBuf) -> anyhow::Result<Mailbox> {
    if !directory.is_dir() {
        bail!("there is no folder {}", directory.display());
    }
    Ok(Mailbox::open(directory)?)
}

fn print(line: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}")?;
    Ok(out.flush()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mailbox::Envelope;

    #[test]
    fn the_folder_may_stand_before_or_behind_the_question() {
        for line in [
            ["inbox", "--directory", "d", "count"],
            ["inbox", "count", "--directory", "d"],
        ] {
            let args = InboxArgs::try_parse_from(line).unwrap();
            assert_eq!(args.directory, PathBuf::from("d"));
            assert!(matches!(args.question, Some(Question::Count)));
        }
        let args = InboxArgs::try_parse_from(["inbox"]).unwrap();
        assert!(args.smtp_listen.ip().is_loopback() && args.http_listen.ip().is_loopback());
    }

    #[tokio::test]
    async fn the_link_is_the_one_of_the_newest_mail_to_the_address() {
        let directory = std::env::temp_dir().join(format!("inbox-cli-{}", std::process::id()));
        std::fs::remove_dir_all(&directory).ok();
        let mailbox = Mailbox::open(directory.clone()).unwrap();
        for (recipient, token) in [
            ("a@b.co", "inv1_old"),
            ("a@b.co", "inv1_new"),
            ("x@xn--bcher-kva.example", "inv1_other"),
        ] {
            let envelope = Envelope {
                sender: String::new(),
                recipients: vec![recipient.to_owned()],
            };
            let mail = format!("Subject: x\r\n\r\nhttps://b.co/#token={token}\r\n");
            mailbox.store(&envelope, mail.as_bytes()).await.unwrap();
        }
        let found = link(directory.clone(), "A@B.co").await.unwrap();
        assert_eq!(found, "https://b.co/#token=inv1_new");
        let found = link(directory.clone(), "x@bücher.example").await.unwrap();
        assert_eq!(found, "https://b.co/#token=inv1_other");
        assert!(link(directory.clone(), "nobody@b.co").await.is_err());
        std::fs::remove_dir_all(&directory).unwrap();
        assert!(link(directory, "a@b.co").await.is_err());
    }
}
