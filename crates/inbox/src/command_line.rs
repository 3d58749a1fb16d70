//! The command line of `invitations-inbox`: the server, and two commands that read the folder of the messages.
//!
//! The two commands do not need a running server. They print one line for scripts.

use std::io::Write;
use std::path::PathBuf;
use std::pin::pin;

use anyhow::{Context, bail};
use clap::{Parser, Subcommand};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::mailbox::Mailbox;
use crate::message::ParsedMessage;
use crate::server::{InboxConfig, InboxServer};

/// Mail server for development: accepts every message, delivers none, shows all in a browser
///
/// Without a command, the server runs until SIGINT or SIGTERM.
#[derive(Debug, Parser)]
#[command(name = "invitations-inbox", version)]
pub struct InboxArgs {
    #[command(flatten)]
    config: InboxConfig,
    #[command(subcommand)]
    command: Option<InboxCommand>,
}

#[derive(Debug, Subcommand)]
enum InboxCommand {
    /// Print the invitation link of the newest message to an address
    Link {
        /// Recipient of the message
        #[arg(long, value_name = "EMAIL")]
        to: String,
    },
    /// Print the number of messages and of recipients
    Count,
}

/// Runs a command, or serves until SIGINT or SIGTERM.
pub async fn run(args: InboxArgs) -> anyhow::Result<()> {
    let directory = args.config.directory.clone();
    match args.command {
        None => serve(args.config).await,
        Some(InboxCommand::Link { to }) => print(&link(directory, &to).await?),
        Some(InboxCommand::Count) => {
            let (messages, addresses) = open_existing(directory)?.count();
            print(&format!("{messages} messages for {addresses} addresses"))
        }
    }
}

async fn serve(config: InboxConfig) -> anyhow::Result<()> {
    let directory = config.directory.display().to_string();
    let server = InboxServer::bind(config).context("cannot start the inbox")?;
    // Before the line below, because a script may send a signal as soon as it has read the line.
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    print(&format!(
        "inbox: SMTP at {}, pages at http://{}/, messages in {directory}",
        server.smtp_addr, server.http_addr
    ))?;

    let stop = CancellationToken::new();
    let mut running = pin!(server.run(stop.clone()));
    tokio::select! {
        result = &mut running => return result.context("the inbox failed"),
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    stop.cancel();
    running.await.context("the inbox failed")
}

async fn link(directory: PathBuf, to: &str) -> anyhow::Result<String> {
    let mailbox = open_existing(directory)?;
    let newest = mailbox.newest_to(&with_ascii_domain(to));
    let newest = newest.with_context(|| format!("the inbox has no message to {to}"))?;
    let file = mailbox.read(&newest.id).await?;
    let message = ParsedMessage::parse(&file.unwrap_or_default());
    let link = message.invitation_link().map(str::to_owned);
    link.with_context(|| format!("the newest message to {to} has no invitation link"))
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

/// Opens a folder. A missing folder is an error, because it is most likely a mistyped path.
fn open_existing(directory: PathBuf) -> anyhow::Result<Mailbox> {
    if !directory.is_dir() {
        bail!("the folder {} does not exist", directory.display());
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
    use tempfile::TempDir;

    #[test]
    fn the_folder_can_be_given_before_or_after_the_command() {
        for line in [
            ["inbox", "--directory", "d", "count"],
            ["inbox", "count", "--directory", "d"],
        ] {
            let args = InboxArgs::try_parse_from(line).unwrap();
            assert_eq!(args.config.directory, PathBuf::from("d"));
            assert!(matches!(args.command, Some(InboxCommand::Count)));
        }
        let args = InboxArgs::try_parse_from(["inbox"]).unwrap();
        let config = args.config;
        assert!(config.smtp_listen.ip().is_loopback() && config.http_listen.ip().is_loopback());
    }

    #[tokio::test]
    async fn the_link_is_that_of_the_newest_message_to_the_address() {
        let folder = TempDir::new().unwrap();
        let directory = folder.path().to_owned();
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
            let message = format!("Subject: x\r\n\r\nhttps://b.co/#token={token}\r\n");
            mailbox.store(&envelope, message.as_bytes()).await.unwrap();
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
