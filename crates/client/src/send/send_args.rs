//! The arguments of `send`.

use std::path::{Path, PathBuf};

use invitations_command::error::CommandError;
use uuid::Uuid;

use crate::connection::ConnectionArgs;
use crate::enum_parser::{ArgumentText, enum_parser};
use crate::list::{ListError, ListFormat, RowDefaults};
use crate::proto::OnExisting;

const AFTER_HELP: &str = "\
The file is UTF-8. It is CSV with a header line, separated by commas, semicolons or tabs, or it has one JSON object per \
line (NDJSON). The columns can have any order; JSON members have the same names:
  email            the person to invite (required)
  role             one of the organization's roles
  inviter_user_id  the admin who invites, instead of --inviter
  redirect_url     where the person continues after accepting
  locale           language of the email, such as de or pt-BR
  message          personal note in the email
  ttl              lifetime of the invitation, such as 7d
  expire_time      end of the invitation instead, such as 2027-01-31T12:00:00Z
  notify           false to send no email
  public_metadata, private_metadata   JSON objects that are copied to the membership
An empty cell takes the value of the option with the same name. Cells are sent unchanged.

The list can have any length. Each row is written to the report as soon as the server answers it. A row that cannot be \
read is refused with ROW_UNREADABLE, and the other rows are sent. If the whole file is not UTF-8 or its header is wrong, \
nothing is sent.

A broken stream is resumed up to 5 times in a row with the same request id, so no person is invited twice. An interrupted \
command leaves FILE.resume.json beside the report, or beside the list if there is no report. Within 24 hours, the same \
command with --resume continues, and its report covers the whole list. To repeat a list from a pipe, use --request-id.

The terminal shows the first 10,000 rows that need attention and the number of the others. The report has every row.

Exit status:
  0  every row was accepted (created, existing, resent or replaced) and no email failed
  1  the call failed or was interrupted
  2  the command line or the file is wrong; nothing was sent
  3  some rows were refused or unreadable, or some emails failed
An email that is deferred or still waiting when the command ends does not count as failed.

Examples:
  invitectl send people.csv --organization acme --inviter u-1 --ttl 14d
  invitectl send - --format ndjson --organization acme --inviter u-1 --report sent.csv <people.ndjson";

fn on_existing_text(policy: OnExisting) -> ArgumentText {
    Some(match policy {
        OnExisting::Fail => ("fail", "Refuse the row"),
        OnExisting::Return => ("return", "Keep the invitation unchanged"),
        OnExisting::Resend => ("resend", "Send the email again and renew the expiry"),
        OnExisting::Replace => ("replace", "Revoke the invitation and create a new one"),
        OnExisting::Unspecified => return None,
    })
}

/// Invite all people of a list, wait for the emails, and report the results
#[derive(Clone, clap::Args)]
#[command(after_help = AFTER_HELP)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a switch of the command line"
)]
pub(crate) struct SendArgs {
    /// List of people; - is stdin
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// Format of the file [default: ndjson for .ndjson and .jsonl, otherwise csv]
    #[arg(long, value_enum)]
    pub(crate) format: Option<ListFormat>,
    /// Organization that people are invited to
    #[arg(long, value_name = "ID")]
    pub(crate) organization: String,
    /// Admin who invites, for rows that do not name one
    #[arg(long, value_name = "USER_ID")]
    pub(crate) inviter: Option<String>,
    #[command(flatten)]
    pub(crate) defaults: RowDefaults,
    /// What to do if an address has a pending invitation
    #[arg(long, default_value = "fail",
          value_parser = enum_parser(on_existing_text))]
    pub(crate) on_existing: OnExisting,
    /// Change nothing if any row is refused; for up to 10,000 rows
    #[arg(long)]
    pub(crate) atomic: bool,
    /// Report what would happen, and change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Do not wait for the emails
    #[arg(long)]
    pub(crate) no_wait: bool,
    /// How long to wait for the emails, such as 90s or 5m
    #[arg(long, value_name = "TIME", default_value = "5m")]
    pub(crate) wait_timeout: humantime::Duration,
    /// Makes the command safe to repeat within 24 hours: with the same id and file, no person is invited twice [default: random]
    #[arg(long, value_name = "UUID")]
    pub(crate) request_id: Option<Uuid>,
    /// Continue an interrupted command with the same file and options
    #[arg(long, conflicts_with_all = ["request_id", "atomic", "dry_run"])]
    pub(crate) resume: bool,
    /// Show every row, not only rows that need attention
    #[arg(long)]
    pub(crate) all: bool,
    /// Write the result of each row to this CSV file
    #[arg(long, value_name = "FILE")]
    pub(crate) report: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) connection: ConnectionArgs,
}

impl SendArgs {
    pub(crate) fn inviter(&self) -> String {
        self.inviter.clone().unwrap_or_default()
    }

    pub(crate) fn format(&self) -> ListFormat {
        self.format.unwrap_or_else(|| ListFormat::of(&self.file))
    }

    pub(crate) fn is_stdin(&self) -> bool {
        self.file.as_os_str() == "-"
    }

    /// The `request_id` field of a call. A dry run has none, so that the id stays unused for the real call.
    pub(crate) fn request_id_field(&self, request_id: Uuid) -> String {
        if self.dry_run {
            String::new()
        } else {
            request_id.to_string()
        }
    }

    /// Fails if the report would overwrite the list.
    pub(crate) fn check_report_path(&self) -> Result<(), CommandError> {
        let real_path = |path: &Path| path.canonicalize().ok();
        let report = self.report.as_deref().and_then(real_path);
        if report.is_some() && report == real_path(&self.file) {
            let message = "the report would overwrite the list; use another file name for --report";
            return Err(CommandError::Usage(message.to_owned()));
        }
        Ok(())
    }

    pub(crate) fn list_error(&self, error: ListError) -> CommandError {
        match error {
            ListError::Io(source) => CommandError::file("read", &self.file, source),
            ListError::Invalid(problems) => CommandError::Usage(format!(
                "nothing was sent, because {} has problems:\n  {}",
                self.file.display(),
                problems.join("\n  ")
            )),
        }
    }
}
