//! `send`: a file of people to `BulkCreate`, and what happened to whom.
//!
//! It decides nothing about a row: what a good address is and who may invite whom is the service's business.

use std::fmt::Write as _;
use std::fs;
use std::io::{self, Read as _, Write};
use std::path::{Path, PathBuf};

use uuid::Uuid;

use super::chunks;
use super::connection::{Connection, ConnectionArgs};
use super::failure::{Exit, Failure};
use super::follow::follow;
use super::people::{self, Defaults, Format, Person};
use super::report::{self, Manner, Row};
use super::report_file;
use super::request_id::{new_request_id, request_id_of_call};
use super::results::{rows_of, with_lines};
use super::retry::retrying;
use super::status::{refused, summary};
use crate::proto::invitation_service_client::InvitationServiceClient;
use crate::proto::{BulkCreateRequest, OnExisting};

/// Problems of a file that are told before the rest is only counted.
const PROBLEMS_SHOWN_MAX: usize = 20;

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

A call is repeated up to 5 times where that helps, under one request id: nobody is invited twice.

Exit status:
  0  every row was taken (created, existing, resent or replaced) and no mail failed
  1  the call failed
  2  the command line or the file is wrong; nothing was sent
  3  some rows were refused, or some mails failed
A mail that is deferred or still waiting when the waiting ends has not failed.

Examples:
  invitations send people.csv --organization acme --inviter u-1 --ttl 14d
  invitations send - --format ndjson --organization acme --inviter u-1 --report sent.csv <people.ndjson";

/// Invite the people of a file, wait for their mails, and tell what happened to whom
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
    /// Do nothing at all if any row is refused; for a file that fits one call
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
    /// Show every row, not only those that need a look
    #[arg(long)]
    all: bool,
    /// Write what became of each row into this CSV file
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
pub async fn run(args: &SendArgs, out: &mut dyn Write) -> Result<Exit, Failure> {
    let chunks = chunks::of(read_people(args)?, |person| &person.item);
    if args.atomic && chunks.len() > 1 {
        let message = format!(
            "--atomic needs a file that fits one call, of up to {} rows and 15 MiB: this one takes {} calls",
            chunks::ITEMS_MAX,
            chunks.len()
        );
        return Err(Failure::Usage(message));
    }
    let request_id = args.request_id.unwrap_or_else(new_request_id);
    let mut client = args.connection.invitations().await?;
    let mut rows = Vec::new();
    for (index, chunk) in chunks.iter().enumerate() {
        create(args, &mut client, request_id, index, chunk, &mut rows).await?;
    }
    let manner = Manner {
        is_dry_run: args.dry_run,
        is_followed: !args.dry_run && !args.no_wait,
        shows_all: args.all,
    };
    if manner.is_followed {
        let timeout = args.wait_timeout.into();
        if let Err(status) = follow(&mut client, &args.organization, &mut rows, timeout).await {
            eprintln!(
                "warning: the invitations are made, but their mails cannot be followed: {}",
                summary(&status)
            );
        }
    }
    if let Some(path) = &args.report {
        report_file::write(&rows, path).map_err(|source| Failure::file("write", path, source))?;
    }
    report::write(&rows, manner, out)?;
    Ok(report::exit(&rows))
}

fn read_file(path: &Path) -> io::Result<Vec<u8>> {
    if path.as_os_str() != "-" {
        return fs::read(path);
    }
    let mut file = Vec::new();
    io::stdin().lock().read_to_end(&mut file)?;
    Ok(file)
}

fn read_people(args: &SendArgs) -> Result<Vec<Person>, Failure> {
    let file = read_file(&args.file).map_err(|source| Failure::file("read", &args.file, source))?;
    let defaults = Defaults {
        role: args.role.clone(),
        message: args.message.clone(),
        locale: args.locale.clone(),
        redirect_url: args.redirect_url.clone(),
        ttl: args.ttl.map(Into::into),
    };
    let format = args.format.unwrap_or_else(|| Format::of(&args.file));
    people::read(&file, format, &defaults).map_err(|mut problems| {
        let left = problems.len().saturating_sub(PROBLEMS_SHOWN_MAX);
        problems.truncate(PROBLEMS_SHOWN_MAX);
        if left > 0 {
            problems.push(format!("and {left} more"));
        }
        let path = args.file.display();
        Failure::Usage(format!(
            "nothing was sent, {path} has problems:\n  {}",
            problems.join("\n  ")
        ))
    })
}

/// Makes one call and appends its rows.
async fn create(
    args: &SendArgs,
    client: &mut InvitationServiceClient<Connection>,
    request_id: Uuid,
    index: usize,
    chunk: &[Person],
    rows: &mut Vec<Row>,
) -> Result<(), Failure> {
    let request = BulkCreateRequest {
        // A dry run does nothing that could be done twice, and must not use the id up for the real one.
        request_id: if args.dry_run {
            String::new()
        } else {
            request_id_of_call(request_id, index).to_string()
        },
        organization_id: args.organization.clone(),
        inviter_user_id: args.inviter.clone(),
        invitations: chunk.iter().map(|person| person.item.clone()).collect(),
        on_existing: args.on_existing.to_proto().into(),
        atomic: args.atomic,
        validate_only: args.dry_run,
        return_link: false,
    };
    let response = retrying("BulkCreate", async || {
        client.bulk_create(request.clone()).await
    })
    .await
    .map_err(|status| call_failure(args, request_id, chunk, rows.len(), &status))?;
    rows.extend(rows_of(chunk, response).map_err(Failure::Refused)?);
    Ok(())
}

/// Says which lines a refused call was about, and how to go on.
fn call_failure(
    args: &SendArgs,
    request_id: Uuid,
    chunk: &[Person],
    rows_done: usize,
    status: &tonic::Status,
) -> Failure {
    let Failure::Refused(mut text) = refused("BulkCreate", args.connection.server(), status) else {
        unreachable!("a refused call is told as one");
    };
    text = with_lines(&text, chunk);
    if !args.dry_run && super::retry::is_retryable(status) {
        let _ = write!(
            text,
            "\n  repeat the command with --request-id {request_id}: what is done is not done twice"
        );
    } else if rows_done > 0 && !args.dry_run {
        let _ = write!(
            text,
            "\n  the first {rows_done} rows are done, their invitations stay"
        );
    }
    Failure::Refused(text)
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
mod tests {
    use super::*;
    use crate::cli::fake_server::{FakeServer, TOKEN, serve};
    use crate::cli::secret_file::tests::Folder;
    use clap::Parser;
    use std::collections::HashSet;
    use std::sync::Arc;

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        args: SendArgs,
    }

    /// Runs `send` on this file against this service.
    async fn send(
        server: &Arc<FakeServer>,
        file: &str,
        more: &[&str],
    ) -> (Result<Exit, Failure>, String) {
        let folder = Folder::new();
        let path = folder.file("people.csv");
        fs::write(&path, file).unwrap();
        let (address, serving) = serve(Arc::clone(server));
        let path = path.to_str().unwrap();
        let mut line = vec!["send", path, "--organization", "acme", "--server", &address];
        if !more.contains(&"--token") {
            line.extend(["--token", TOKEN]);
        }
        line.extend(more);
        let args = Line::parse_from(line).args;
        let mut out = Vec::new();
        let result = tokio::select! {
            result = run(&args, &mut out) => result,
            end = serving => panic!("the service ended: {end:?}"),
        };
        (result, String::from_utf8(out).unwrap())
    }

    fn server(mails_per_look: usize) -> Arc<FakeServer> {
        Arc::new(FakeServer {
            mails_per_look,
            ..FakeServer::default()
        })
    }

    #[tokio::test]
    async fn a_file_is_sent_and_its_mails_are_followed() {
        let server = server(2);
        *server.refusals.lock().unwrap() = 1;
        let file = "email\na@b.co\nplain\nA@b.co\t\nc@d.co\ngone@d.co\n";
        let (result, out) = send(&server, file, &[]).await;
        assert_eq!(result.unwrap(), Exit::Partly);
        let last = out.lines().last().unwrap();
        assert_eq!(
            last,
            "invited 3 of 5: 3 created, 0 existing, 0 resent, 0 replaced, 2 refused; \
             2 mails sent, 0 deferred, 1 failed, 0 waiting, 0 canceled"
        );
        for part in [
            "A@b.co\\t",
            "(line 2)",
            "550 5.1.1 no such user here",
            "1 DUPLICATE_IN_REQUEST",
        ] {
            assert!(out.contains(part), "{part}: {out}");
        }
        let ids = server.request_ids.lock().unwrap();
        assert_eq!(ids.len(), 2, "one call, made again once");
        assert_eq!(ids[0], ids[1], "under the same id");
    }

    #[tokio::test]
    async fn all_good_rows_end_with_success() {
        let (result, out) = send(&server(10), "email\na@b.co\n", &["--all"]).await;
        assert_eq!(result.unwrap(), Exit::Done, "{out}");
        assert!(out.contains("invitation-0"), "{out}");
    }

    #[tokio::test]
    async fn waiting_ends_with_its_time() {
        let (result, out) = send(&server(0), "email\na@b.co\n", &["--wait-timeout", "100ms"]).await;
        assert_eq!(result.unwrap(), Exit::Done);
        assert!(out.contains("1 waiting"), "{out}");
        let (result, out) = send(&server(0), "email\na@b.co\n", &["--no-wait"]).await;
        assert_eq!(result.unwrap(), Exit::Done);
        assert!(out.ends_with("1 mails queued, not waited for\n"), "{out}");
    }

    #[tokio::test]
    async fn a_long_file_makes_several_calls_with_ids_of_their_own() {
        let mut file = "email\n".to_owned();
        for index in 0..10_001 {
            let _ = writeln!(file, "p{index}@b.co");
        }
        let id = "0192f0c1-2d3e-7a4b-8c5d-6e7f80910111";
        let options = ["--no-wait", "--request-id", id];
        let (first, second) = (server(0), server(0));
        assert_eq!(send(&first, &file, &options).await.0.unwrap(), Exit::Done);
        assert_eq!(send(&second, &file, &options).await.0.unwrap(), Exit::Done);
        let ids = first.request_ids.lock().unwrap().clone();
        assert_eq!((ids.len(), ids[0].as_str()), (2, id));
        assert_eq!(ids.iter().collect::<HashSet<_>>().len(), 2);
        assert_eq!(ids, *second.request_ids.lock().unwrap());

        let (result, _) = send(&first, &file, &["--atomic"]).await;
        assert!(matches!(result, Err(Failure::Usage(_))));
        assert_eq!(
            first.request_ids.lock().unwrap().len(),
            2,
            "nothing was sent"
        );
    }

    #[tokio::test]
    async fn the_report_has_a_row_for_each_row() {
        let folder = Folder::new();
        let path = folder.file("report.csv");
        let file = "email;role\n\"a@b.co\";admin\n=plain;\n";
        let options = ["--report", path.to_str().unwrap()];
        let (result, _) = send(&server(10), file, &options).await;
        assert_eq!(result.unwrap(), Exit::Partly);
        assert_eq!(
            fs::read_to_string(path).unwrap(),
            "line,email,outcome,reason,explanation,invitation_id,batch_id,mail,mail_error\n\
             2,a@b.co,created,,,invitation-0,batch-1,sent,\n\
             3,'=plain,refused,EMAIL_INVALID,the address is not one that mail can reach,,,,\n"
        );
    }

    #[tokio::test]
    async fn a_file_of_json_lines_is_sent_too() {
        let file = "{\"email\":\"a@b.co\"}\n";
        let (result, out) = send(&server(10), file, &["--format", "ndjson"]).await;
        assert_eq!(result.unwrap(), Exit::Done, "{out}");
    }

    #[tokio::test]
    async fn a_wrong_token_is_told() {
        let (result, out) = send(&server(0), "email\na@b.co\n", &["--token", "invc_bad"]).await;
        let message = result.unwrap_err().to_string();
        assert!(
            message.starts_with("BulkCreate failed: UNAUTHENTICATED"),
            "{message}"
        );
        assert!(message.contains("--token-file"), "{message}");
        assert_eq!(out, "");
    }
}
