//! `mail`: checks an operator's templates and writes a sample email, without a server.

use std::fs;
use std::io::Write;
use std::path::PathBuf;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Subcommand};
use time::macros::datetime;

use crate::domain::brand::Brand;
use crate::domain::email_address::EmailAddress;
use crate::domain::reason::Violation;
use crate::mail::message::{Composer, EmailKind, InvitationEmail, Sender};
use crate::mail::templates::{TemplateErrors, Templates};
use invitations_command::error::{CommandError, Exit};

/// Its token is not valid.
const SAMPLE_LINK: &str = "https://app.example.com/join#token=inv1_a_token_that_opens_nothing";

const AFTER_HELP: &str = "\
The folder may hold invitation.mjml, invitation.txt and any LOCALE.toml, such as de.toml. Each file \
replaces the built-in file of the same name; another locale adds a language. The check renders \
every language in every combination of optional parts. `serve` runs the same check at start.

Examples:
  invitations mail check --templates-folder templates
  invitations mail preview --locale de --open-in mail.html
  invitations mail preview --kind reminder --brand-color '#0f766e' --support-email help@acme.example --text";

#[derive(Debug, Clone, Subcommand)]
#[command(after_help = AFTER_HELP)]
pub enum MailCommand {
    /// Render every email that the templates can give, and report all errors
    #[command(after_help = AFTER_HELP)]
    Check(MailCheckArgs),
    /// Write a sample email into a file or print it
    #[command(after_help = AFTER_HELP)]
    Preview(Box<MailPreviewArgs>),
}

#[derive(Debug, Clone, Args)]
pub struct TemplatesArgs {
    /// Folder of templates that replace the built-in templates or add languages
    #[arg(long, env = "INVITATIONS_TEMPLATES_FOLDER", value_name = "FOLDER")]
    templates_folder: Option<PathBuf>,
}

#[derive(Debug, Clone, Args)]
pub struct MailCheckArgs {
    #[command(flatten)]
    templates: TemplatesArgs,
}

fn email_kind() -> impl TypedValueParser<Value = EmailKind> {
    PossibleValuesParser::new(["invitation", "reminder"]).map(|kind| match kind.as_str() {
        "reminder" => EmailKind::Reminder,
        _ => EmailKind::Invitation,
    })
}

#[derive(Debug, Clone, Args)]
pub struct MailPreviewArgs {
    #[command(flatten)]
    templates: TemplatesArgs,
    #[command(flatten)]
    output: OutputArgs,
    /// Language of the email; English if there are no templates in this language
    #[arg(long, default_value = "en", value_name = "TAG")]
    locale: String,
    /// Kind of email
    #[arg(long, value_parser = email_kind(), default_value = "invitation")]
    kind: EmailKind,
    /// Sender, as `Name <address>`
    #[arg(
        long,
        env = "INVITATIONS_MAIL_FROM",
        default_value = "Example invitations <invitations@example.com>",
        value_name = "FROM"
    )]
    mail_from: String,
    /// Name of the organization
    #[arg(long, default_value = "Analytical Engines Ltd", value_name = "NAME")]
    organization_name: String,
    /// Name of the inviter
    #[arg(long, default_value = "Ada King", value_name = "NAME")]
    inviter_name: String,
    /// Leave out the inviter
    #[arg(long, conflicts_with = "inviter_name")]
    no_inviter: bool,
    /// Role in the organization
    #[arg(long, default_value = "member", value_name = "ROLE")]
    role: String,
    /// Personal message
    #[arg(long, default_value = "", value_name = "TEXT")]
    note: String,
    /// The organization's logo, an https URL
    #[arg(long, default_value = "", value_name = "URL")]
    logo_url: String,
    /// The organization's color, as #rrggbb
    #[arg(long, default_value = "", value_name = "COLOR")]
    brand_color: String,
    /// Address for questions of recipients
    #[arg(long, default_value = "", value_name = "ADDRESS")]
    support_email: String,
    /// URL that stops further email
    #[arg(long, value_name = "URL")]
    unsubscribe_url: Option<String>,
}

#[derive(Debug, Clone, Args)]
#[group(required = true, multiple = false)]
pub struct OutputArgs {
    /// Write the HTML part into this file, to open in a browser
    #[arg(long, value_name = "FILE")]
    open_in: Option<PathBuf>,
    /// Print the subject and the text part
    #[arg(long)]
    text: bool,
    /// Write the whole message into this file, to open in a mail client
    #[arg(long, value_name = "FILE")]
    eml: Option<PathBuf>,
}

pub fn run(command: &MailCommand, out: &mut dyn Write) -> Result<Exit, CommandError> {
    match command {
        MailCommand::Check(args) => check(args, out),
        MailCommand::Preview(args) => preview(args, out),
    }
}

fn check(args: &MailCheckArgs, out: &mut dyn Write) -> Result<Exit, CommandError> {
    let templates = args.templates.load()?;
    templates.check().map_err(|errors| refused(&errors))?;
    let languages = templates.languages().collect::<Vec<_>>().join(", ");
    writeln!(out, "every email can be rendered in {languages}")?;
    Ok(Exit::Done)
}

fn preview(args: &MailPreviewArgs, out: &mut dyn Write) -> Result<Exit, CommandError> {
    let email = args.email()?;
    let composer = Composer::with_templates(args.sender()?, args.templates.load()?);
    let compose_error =
        |error| CommandError::Usage(format!("the email cannot be composed: {error}"));
    let rendered = composer.render(&email).map_err(compose_error)?;
    let (path, bytes) = match (&args.output.open_in, &args.output.eml) {
        (Some(path), _) => (path, rendered.html.into_bytes()),
        (None, Some(path)) => {
            let message = composer.compose(&email).map_err(compose_error)?;
            (path, message.bytes().to_vec())
        }
        (None, None) => {
            write!(out, "{}\n\n{}", rendered.subject, rendered.text)?;
            return Ok(Exit::Done);
        }
    };
    fs::write(path, bytes).map_err(|source| CommandError::file("write", path, source))?;
    writeln!(out, "wrote {}: {}", path.display(), rendered.subject)?;
    Ok(Exit::Done)
}

impl TemplatesArgs {
    fn load(&self) -> Result<Templates, CommandError> {
        let templates = match &self.templates_folder {
            Some(folder) => Templates::with_folder(folder),
            None => Templates::embedded(),
        };
        templates.map_err(|errors| refused(&errors))
    }
}

impl MailPreviewArgs {
    fn sender(&self) -> Result<Sender, CommandError> {
        let parts = self.mail_from.split_once('<');
        let parts =
            parts.and_then(|(name, rest)| Some((name.trim(), rest.trim().strip_suffix('>')?)));
        let (name, address) = parts.ok_or_else(|| {
            CommandError::Usage("--mail-from is not of the form `Name <address>`".to_owned())
        })?;
        Sender::parse(name, address, None)
            .map_err(|error| CommandError::Usage(format!("--mail-from: {error}")))
    }

    fn email(&self) -> Result<InvitationEmail, CommandError> {
        let brand = Brand::parse(&self.logo_url, &self.brand_color, &self.support_email);
        let brand = brand.map_err(|violations| {
            let line = |violation: &Violation| {
                let flag = violation.field.replace('_', "-");
                let rule = rule(violation.field.as_ref()).unwrap_or_default();
                format!("--{flag}: {}{rule}", violation.reason.sentence())
            };
            CommandError::Usage(violations.iter().map(line).collect::<Vec<_>>().join("\n"))
        })?;
        Ok(InvitationEmail {
            kind: self.kind,
            message_id: "preview@example.com".to_owned(),
            date: datetime!(2026-12-15 18:48 UTC),
            to: EmailAddress::parse("grace@example.com").expect("a plain address"),
            organization_name: self.organization_name.clone(),
            brand,
            inviter_name: (!self.no_inviter).then(|| self.inviter_name.clone()),
            role: self.role.clone(),
            note: (!self.note.is_empty()).then(|| self.note.clone()),
            link: SAMPLE_LINK.to_owned().into(),
            expires_at: datetime!(2026-12-22 18:48 UTC),
            locale: self.locale.clone(),
            envelope_from: None,
            unsubscribe_url: self.unsubscribe_url.clone().map(Into::into),
        })
    }
}

/// The rule of a brand field, if its reason does not contain it.
fn rule(field: &str) -> Option<&'static str> {
    match field {
        "logo_url" => Some(
            ": it must be an https URL of a host name with a dot, without user, port or fragment",
        ),
        "brand_color" => Some(": it must be #rrggbb, such as #0f766e"),
        _ => None,
    }
}

fn refused(errors: &TemplateErrors) -> CommandError {
    CommandError::Usage(format!("the templates cannot be used:\n{errors}"))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct MailCommandLine {
        #[command(subcommand)]
        command: MailCommand,
    }

    fn run_line(line: &[&str]) -> Result<String, CommandError> {
        let words = ["mail"].iter().chain(line);
        let line = MailCommandLine::try_parse_from(words)
            .map_err(|error| CommandError::Usage(error.to_string()))?;
        let mut out = Vec::new();
        run(&line.command, &mut out)?;
        Ok(String::from_utf8(out).unwrap_or_default())
    }

    #[test]
    fn the_built_in_templates_pass_their_check() {
        let output = run_line(&["check"]).unwrap();
        let expected = "every email can be rendered in ar, de, en, es, fr, ja, pt-BR, zh-Hans\n";
        assert_eq!(output, expected);
    }

    #[test]
    fn all_errors_of_a_folder_are_reported() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("de.toml"), "language = 'de'").unwrap();
        fs::write(folder.path().join("invitation.txt"), "{{ lnk }}").unwrap();
        let path = folder.path().to_str().unwrap();
        let failure = run_line(&["check", "--templates-folder", path]).unwrap_err();
        let output = failure.to_string();
        assert!(output.contains("\nde.toml: "), "{output}");
        let expected = "\ninvitation.txt: the placeholder lnk is unknown";
        assert!(output.contains(expected), "{output}");
    }

    #[test]
    fn an_email_is_written_in_each_form() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
        let (html, eml) = (path("mail.html"), path("mail.eml"));
        let output = run_line(&["preview", "--locale", "de", "--open-in", &html]).unwrap();
        assert_eq!(
            output,
            format!("wrote {html}: Einladung zu Analytical Engines Ltd\n")
        );
        let written = fs::read_to_string(&html).unwrap();
        assert!(written.contains("<html lang=\"de\""));
        run_line(&["preview", "--no-inviter", "--eml", &eml]).unwrap();
        let written = fs::read_to_string(&eml).unwrap();
        assert!(written.contains("Subject: Invitation to join"));
        let line = [
            "preview",
            "--kind",
            "reminder",
            "--note",
            "Hello",
            "--support-email",
            "help@acme.example",
            "--unsubscribe-url",
            "https://mail.example.com/u/1",
            "--text",
        ];
        let output = run_line(&line).unwrap();
        assert!(output.starts_with("Reminder: "), "{output}");
        for words in [
            "> Hello",
            "help@acme.example",
            "https://mail.example.com/u/1",
        ] {
            assert!(output.contains(words), "{output}");
        }
    }

    #[test]
    fn a_malformed_brand_is_refused() {
        let line = [
            "preview",
            "--text",
            "--brand-color",
            "red",
            "--logo-url",
            "http://e.example/l.png",
        ];
        let output = run_line(&line).unwrap_err().to_string();
        let expected = "--logo-url: the field is malformed: it must be an https URL of a host name with a dot, \
                        without user, port or fragment\n\
                        --brand-color: the field is malformed: it must be #rrggbb, such as #0f766e";
        assert_eq!(output, expected);
        assert!(run_line(&["preview"]).is_err());
        assert!(run_line(&["preview", "--text", "--eml", "x"]).is_err());
    }
}
