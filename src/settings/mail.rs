//! Settings of emails: their sender, their templates and the lanes that send them.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::files::read_text;
use super::lanes_file;
use super::smtp::SmtpArgs;
use crate::delivery::LaneConfig;
use crate::domain::bounce_address::MAILBOX_LOCAL_BYTES_MAX;
use crate::mail::message::Sender;
use crate::mail::templates::Templates;
use crate::mail::transport::{FileTransport, Transport};

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum MailTransport {
    /// To a relay
    Smtp,
    /// To a folder, one .eml file for each email, for development
    File,
}

#[derive(Debug, Clone, Args)]
pub(super) struct MailArgs {
    /// File of lanes, for several relays or a provider's HTTP API (see docs/delivery.md); replaces `mail-transport` and
    /// the `smtp` settings
    #[arg(long, env = "INVITATIONS_LANES_FILE")]
    lanes_file: Option<PathBuf>,
    /// How emails are sent
    #[arg(long, env = "INVITATIONS_MAIL_TRANSPORT", default_value = "smtp")]
    mail_transport: MailTransport,
    /// Sender of the emails, as `Name <address>`
    #[arg(long, env = "INVITATIONS_MAIL_FROM")]
    mail_from: String,
    /// Mailbox for bounces, in which each email has its own address (`NAME+PROOF@…`, NAME of at most 13 bytes) for
    /// `invitectl bounce`; by default the address of `mail-from`
    #[arg(long, env = "INVITATIONS_MAIL_ENVELOPE_FROM")]
    pub(super) mail_envelope_from: Option<String>,
    /// Folder of templates that replace the built-in ones or add languages (see docs/mails.md)
    #[arg(long, env = "INVITATIONS_TEMPLATES_FOLDER")]
    templates_folder: Option<PathBuf>,
    /// Folder of the file transport
    #[arg(long, env = "INVITATIONS_MAIL_FOLDER")]
    mail_folder: Option<PathBuf>,
}

impl MailArgs {
    pub(super) fn sender(&self) -> Result<Sender, String> {
        let (name, address) = self
            .name_and_address()
            .ok_or_else(|| "mail-from: not of the form `Name <address>`".to_owned())?;
        let mailbox = self.mail_envelope_from.as_deref();
        let local_part = mailbox.and_then(|mailbox| mailbox.rsplit_once('@'));
        if local_part.is_some_and(|(local, _)| local.len() > MAILBOX_LOCAL_BYTES_MAX) {
            return Err(format!(
                "mail-envelope-from: the part before the at sign may have at most {MAILBOX_LOCAL_BYTES_MAX} bytes, because each email appends a proof to it"
            ));
        }
        Sender::parse(name, address, mailbox)
            .map_err(|error| format!("mail-from, mail-envelope-from: {error}"))
    }

    /// The domain of `mail-from`.
    pub(super) fn domain(&self) -> &str {
        self.name_and_address()
            .and_then(|(_, address)| address.rsplit_once('@'))
            .map_or("localhost", |(_, domain)| domain)
    }

    fn name_and_address(&self) -> Option<(&str, &str)> {
        let (name, rest) = self.mail_from.split_once('<')?;
        Some((name.trim(), rest.trim().strip_suffix('>')?))
    }

    pub(super) fn templates(&self) -> Result<Templates, Vec<String>> {
        let Some(folder) = &self.templates_folder else {
            return Templates::embedded().map_err(|errors| vec![errors.to_string()]);
        };
        Templates::with_folder(folder).map_err(|errors| {
            let in_folder = |error| format!("templates-folder {}: {error}", folder.display());
            errors.0.iter().map(in_folder).collect()
        })
    }

    /// The lanes of the lanes file, or the one that the other settings describe.
    pub(super) fn lanes(&self, smtp: &SmtpArgs) -> Result<Vec<LaneConfig>, Vec<String>> {
        let hello_name = smtp.smtp_hello_name.as_deref();
        let hello_name = hello_name.unwrap_or_else(|| self.domain());
        if let Some(file) = &self.lanes_file {
            let text = read_text(file, "lanes-file").map_err(|problem| vec![problem])?;
            let in_file = |problem| format!("lanes-file {}: {problem}", file.display());
            return lanes_file::parse(&text, hello_name)
                .map_err(|problems| problems.into_iter().map(in_file).collect());
        }
        let transport = match self.mail_transport {
            MailTransport::Smtp => smtp.transport(hello_name),
            MailTransport::File => match &self.mail_folder {
                Some(folder) => Ok(Transport::File(FileTransport::new(folder))),
                None => Err("mail-folder: the file transport needs a folder".to_owned()),
            },
        };
        Ok(vec![smtp.lane(transport).map_err(|problem| vec![problem])?])
    }
}
