//! `send`: a list of people to `BulkCreateStream`, and what happened to whom.
//!
//! It decides nothing about a row: what a good address is and who may invite whom is the service's business. However
//! long the list is, it keeps a bounded number of its rows.
//!
//! `source` reads rows, `stream` sends them with what `window` keeps of them, `listing` takes what came of them, and
//! `resume` and `session` take up what was cut off. `atomic` is the other way, for a list that fits one call.

mod atomic;
mod listing;
mod resume;
mod session;
mod source;
mod stream;
mod window;

use std::io::Write;
use std::path::{Path, PathBuf};

use uuid::Uuid;

use self::listing::{Listing, count_mails};
use self::session::Session;
use self::source::Source;
use self::stream::{Sending, Stop};
use super::connection::{Connection, ConnectionArgs};
use super::follow::follow;
use super::mails::{KnownMails, Mails};
use super::people::{Defaults, Format};
use super::report::{Manner, Report};
use super::report_file::ReportFile;
use super::request_id::new_request_id;
use super::status::summary;
use crate::proto::invitation_service_client::InvitationServiceClient;
use crate::proto::{BulkCreateStreamHeader, OnExisting};
use invitations_command::error::{CommandError, Exit};

const AFTER_HELP: &str = "\
The file is UTF-8: CSV with a header line, separated by commas, semicolons or tabs, or one JSON object a line (NDJSON). \
Columns, in any order, or names in each object:
  email            who is invited (required)
  role             one of the organization's roles
  inviter_user_id  who invites, an admin member; instead of --inviter
  redirect_url     where the person goes after accepting
  locale           language of the mail, such as de or pt-BR
  message          a personal note in the mail
  ttl              how long the invitation lasts, such as 7d
  expire_time      when it ends instead, such as 2027-01-31T12:00:00Z
  notify           false to send no mail
  public_metadata, private_metadata   JSON objects that move to the membership
An empty cell takes the value of the option of its name. Cells are sent exactly as they stand.

Rows are read, sent and written into the report as they come, however many there are; a row that cannot be read is \
refused by itself (ROW_UNREADABLE) and does not stop the others. A file is read through first: if it is not UTF-8 or its \
header is wrong, nothing is sent.

A stream that breaks is taken up where it broke, up to 5 times in a row, under one request id: nobody is invited twice. \
A command that was cut off leaves FILE.resume.json beside the report, or beside the list; the same command with --resume \
goes on within 24 hours, and its report is that of the whole list. A list from a pipe is sent again by --request-id.

The terminal shows the first 10,000 rows that need a look, and counts the others; the report has every row.

Exit status:
  0  every row was taken (created, existing, resent or replaced) and no mail failed
  1  the call failed, or was interrupted
  2  the command line or the file is wrong; nothing was sent
  3  some rows were refused or could not be read, or some mails failed
A mail that is deferred or still waiting when the waiting ends has not failed.

Examples:
  invitations send people.csv --organization acme --inviter u-1 --ttl 14d
  invitations send - --format ndjson --organization acme --inviter u-1 --report sent.csv <people.ndjson";

/// Invite the people of a list of any length, wait for their mails, and tell what happened to whom
#[derive(Clone, clap::Args)]
#[command(after_help = AFTER_HELP)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a switch of the command line"
)]
pub struct SendArgs {
    /// File of people; - is stdin
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// How it is written [default: ndjson for .ndjson and .jsonl, csv for all others]
    #[arg(long, value_enum)]
    format: Option<Format>,
    /// Organization that they are invited into
    #[arg(long, value_name = "ID")]
    organization: String,
    /// Who invites, for rows that name nobody: an admin member
    #[arg(
        long,
        value_name = "USER_ID",
        default_value = "",
        hide_default_value = true
    )]
    inviter: String,
    /// Role for rows that name none [default: the organization's]
    #[arg(long, default_value = "", hide_default_value = true)]
    role: String,
    /// Personal note for rows that have none
    #[arg(
        long,
        value_name = "TEXT",
        default_value = "",
        hide_default_value = true
    )]
    message: String,
    /// Language of the mail for rows that name none [default: the organization's]
    #[arg(long, default_value = "", hide_default_value = true)]
    locale: String,
    /// How long invitations last, such as 7d, for rows that do not say [default: the server's]
    #[arg(long, value_name = "TIME")]
    ttl: Option<humantime::Duration>,
    /// Where people go after accepting, for rows that do not say
    #[arg(
        long,
        value_name = "URL",
        default_value = "",
        hide_default_value = true
    )]
    redirect_url: String,
    /// What to do with an address that has a pending invitation
    #[arg(long, value_enum, default_value_t = Existing::Fail)]
    on_existing: Existing,
    /// Do nothing at all if any row is refused; for up to 10,000 rows
    #[arg(long)]
    atomic: bool,
    /// Tell what would happen, and do nothing
    #[arg(long)]
    dry_run: bool,
    /// Do not wait for the mails
    #[arg(long)]
    no_wait: bool,
    /// How long to wait for the mails, such as 90s or 5m
    #[arg(long, value_name = "TIME", default_value = "5m")]
    wait_timeout: humantime::Duration,
    /// Makes the command safe to repeat within 24 hours: the same id and file invite nobody twice [default: a new one]
    #[arg(long, value_name = "UUID")]
    request_id: Option<Uuid>,
    /// Take up a send of this file that was cut off, with the same options
    #[arg(long, conflicts_with_all = ["request_id", "atomic", "dry_run"])]
    resume: bool,
    /// Show every row, not only those that need a look
    #[arg(long)]
    all: bool,
    /// Write what became of each row into this CSV file, as it happens
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    #[command(flatten)]
    connection: ConnectionArgs,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Existing {
    /// Refuse the row
    Fail,
    /// Leave the invitation as it is
    Return,
    /// Mail it again and renew its expiry
    Resend,
    /// Revoke it and make a new one
    Replace,
}

/// Runs the command.
pub async fn run(args: &SendArgs, out: &mut dyn Write) -> Result<Exit, CommandError> {
    let manner = Manner {
        is_dry_run: args.dry_run,
        is_followed: !args.dry_run && !args.no_wait,
        shows_all: args.all,
    };
    let mut outcome = if args.atomic {
        at_once(args).await?
    } else {
        streamed(args).await?
    };
    let mut counts = outcome.report.mails_at_first();
    if manner.is_followed {
        let known = followed(args, &mut outcome).await;
        counts = outcome.mails.counts();
        outcome
            .report
            .note_mails(|row| known.of(&row.invitation_id));
        if let Some(file) = outcome.file {
            file.finish(&known)?;
        }
    }
    outcome.report.write(counts, manner, out)?;
    Ok(outcome.report.exit(counts))
}

/// What a list came to, before its mails are waited for.
struct Outcome {
    client: InvitationServiceClient<Connection>,
    report: Report,
    file: Option<ReportFile>,
    mails: Mails,
}

/// Sends a list as a whole or not at all.
async fn at_once(args: &SendArgs) -> Result<Outcome, CommandError> {
    require_apart(args)?;
    let people = atomic::read(args).await?;
    let request_id = args.request_id.unwrap_or_else(new_request_id);
    let mut client = args.connection.invitations().await?;
    let (batch_id, rows) = atomic::create(args, &mut client, request_id, &people).await?;
    let mut outcome = Outcome {
        client,
        report: Report::default(),
        file: report_file(args)?,
        mails: Mails::new(&args.organization),
    };
    outcome.mails.set_batch(&batch_id);
    if let Some(file) = &mut outcome.file {
        file.add(&rows)?;
    }
    for row in rows {
        outcome.mails.add(&row);
        outcome.report.add(row);
    }
    Ok(outcome)
}

/// Sends a list of any length.
async fn streamed(args: &SendArgs) -> Result<Outcome, CommandError> {
    require_apart(args)?;
    let survey = source::survey(args)?;
    let total = survey.as_ref().map(|survey| survey.rows);
    let session = Session::begin(args, survey.as_ref())?;
    let source = Source::open(args).inspect_err(|_| session.nothing_done())?;
    let report = report_file(args).inspect_err(|_| session.nothing_done())?;
    let client = args
        .connection
        .invitations()
        .await
        .inspect_err(|_| session.nothing_done())?;
    if !args.dry_run {
        eprintln!("request id {}", session.request_id);
    }
    let mut listing = Listing::new(report, Mails::new(&args.organization), total);
    let batch_id = listing.batch_id.clone();
    let counts = listing.counts.clone();
    let patience = args.connection.server().timeout();
    let header = args.header(session.request_id);
    let mut sending = Sending::new(client.clone(), header, source, patience, &mut listing);
    let result = tokio::select! {
        result = sending.run() => result,
        never = count_mails(client.clone(), &args.organization, &batch_id, &counts) => match never {},
        _ = tokio::signal::ctrl_c() => {
            Err(Stop::Other(CommandError::Refused("interrupted".to_owned())))
        }
    };
    drop(sending);
    let (report, file, mails, was_open) = listing.finish();
    match result {
        Ok(()) => session.done(),
        Err(stop) => return Err(session.failed(args, &report, was_open, stop)),
    }
    Ok(Outcome {
        client,
        report,
        file,
        mails,
    })
}

/// Waits for the mails, and looks up where they are.
async fn followed(args: &SendArgs, outcome: &mut Outcome) -> KnownMails {
    let warn = |status: &tonic::Status| {
        eprintln!(
            "warning: the invitations are made, but their mails cannot be followed: {}",
            summary(status)
        );
    };
    let client = &mut outcome.client;
    let timeout = args.wait_timeout.into();
    if let Err(status) = follow(client, &mut outcome.mails, timeout).await {
        warn(&status);
        return KnownMails::default();
    }
    if outcome.mails.left_out() > 0 {
        eprintln!(
            "warning: {} mails of invitations that were there before are not followed",
            outcome.mails.left_out()
        );
    }
    match outcome.mails.look_up(client).await {
        Ok(known) => known,
        Err(status) => {
            warn(&status);
            KnownMails::default()
        }
    }
}

/// Refuses a report that would be written over the list.
fn require_apart(args: &SendArgs) -> Result<(), CommandError> {
    let place = |path: &Path| path.canonicalize().ok();
    let report = args.report.as_deref().and_then(place);
    if report.is_some() && report == place(&args.file) {
        let message = "the report would be written over the list: name another file";
        return Err(CommandError::Usage(message.to_owned()));
    }
    Ok(())
}

fn report_file(args: &SendArgs) -> Result<Option<ReportFile>, CommandError> {
    args.report.as_deref().map(ReportFile::create).transpose()
}

impl SendArgs {
    fn defaults(&self) -> Defaults {
        Defaults {
            role: self.role.clone(),
            message: self.message.clone(),
            locale: self.locale.clone(),
            redirect_url: self.redirect_url.clone(),
            ttl: self.ttl.map(Into::into),
        }
    }

    fn header(&self, request_id: Uuid) -> BulkCreateStreamHeader {
        BulkCreateStreamHeader {
            // A dry run does nothing that could be done twice, and must not use the id up for the real one.
            request_id: if self.dry_run {
                String::new()
            } else {
                request_id.to_string()
            },
            organization_id: self.organization.clone(),
            inviter_user_id: self.inviter.clone(),
            on_existing: self.on_existing.to_proto().into(),
            validate_only: self.dry_run,
            return_link: false,
            first_index: 0,
        }
    }
}

impl Existing {
    const fn to_proto(self) -> OnExisting {
        match self {
            Self::Fail => OnExisting::Fail,
            Self::Return => OnExisting::Return,
            Self::Resend => OnExisting::Resend,
            Self::Replace => OnExisting::Replace,
        }
    }
}

#[cfg(test)]
mod tests;
