//! `resend`: mails invitations again, named by id or by what they have in common, and tells which could not be.

use std::io::Write;

use uuid::Uuid;

use super::chunks::ITEMS_MAX;
use super::connection::{Connection, ConnectionArgs};
use super::request_id::{new_request_id, request_id_of_call};
use super::retry::{is_retryable, retrying};
use super::status::refused;
use super::tally::{Tally, invitation_id};
use crate::proto::invitation_service_client::InvitationServiceClient;
use crate::proto::{
    BulkResendRequest, BulkResendResponse, DeliveryState, InvitationState, ResendFilter,
    bulk_resend_request,
};
use invitations_command::error::{CommandError, Exit};

const AFTER_HELP: &str = "\
Name invitations by --id, or by any of --batch, --inviter, --delivery-state and --state, which must all hold. Without \
--state only pending ones are found. A mail that is still queued is replaced, so nobody gets two.

A call is repeated up to 5 times where that helps, under one request id: nobody is mailed twice.

Exit status:
  0  every invitation was mailed again, or none was found
  1  a call failed
  2  the command line is wrong; nothing was sent
  3  some could not be mailed again

Examples:
  invitations resend --organization acme --delivery-state failed --dry-run
  invitations resend --organization acme --batch 01a204dc-9b39-7001-8c82-6b5f4d3569e3 --state expired --expires-in 14d";

/// Mail invitations again and renew their expiry
#[derive(Clone, clap::Args)]
#[command(after_help = AFTER_HELP)]
#[command(group(clap::ArgGroup::new("which").required(true).multiple(true)
    .args(["ids", "batch", "inviter", "delivery_state", "states"])))]
pub struct ResendArgs {
    /// Organization of the invitations
    #[arg(long, value_name = "ID")]
    organization: String,
    /// An invitation; may be given many times
    #[arg(long = "id", value_name = "ID", value_parser = invitation_id,
          conflicts_with_all = ["batch", "inviter", "delivery_state", "states"])]
    ids: Vec<String>,
    /// Those that one call made
    #[arg(
        long,
        value_name = "BATCH_ID",
        default_value = "",
        hide_default_value = true
    )]
    batch: String,
    /// Those of one inviter
    #[arg(
        long,
        value_name = "USER_ID",
        default_value = "",
        hide_default_value = true
    )]
    inviter: String,
    /// Those whose latest mail is in this state
    #[arg(long, value_enum)]
    delivery_state: Option<MailState>,
    /// Those in this state; may be given twice [default: pending]
    #[arg(long = "state", value_enum)]
    states: Vec<State>,
    /// Cut links that were mailed before
    #[arg(long)]
    rotate: bool,
    /// How long they last from now on, such as 14d [default: the server's]
    #[arg(long, value_name = "TIME")]
    expires_in: Option<humantime::Duration>,
    /// Tell what would happen, and do nothing
    #[arg(long)]
    dry_run: bool,
    /// Makes the command safe to repeat within 24 hours: the same id and options mail nobody twice [default: a new one]
    #[arg(long, value_name = "UUID")]
    request_id: Option<Uuid>,
    #[command(flatten)]
    connection: ConnectionArgs,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum State {
    /// Waits for its person
    Pending,
    /// Its time ran out
    Expired,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum MailState {
    /// None was asked for
    NotRequested,
    /// Waits for its turn
    Queued,
    /// The mail server took it
    Sent,
    /// Will be tried again
    Deferred,
    /// Given back by the receiving side
    Bounced,
    /// Reported as unwanted
    Complained,
    /// Given up
    Failed,
    /// Not sent to an address that asked for no more
    Suppressed,
    /// Not needed any more
    Canceled,
}

/// Runs the command.
pub async fn run(args: &ResendArgs, out: &mut dyn Write) -> Result<Exit, CommandError> {
    let request_id = args.request_id.unwrap_or_else(new_request_id);
    let mut client = args.connection.invitations().await?;
    let mut tally = Tally::default();
    if args.ids.is_empty() {
        let mut request = args.request()?;
        request.filter = Some(args.filter());
        for index in 0.. {
            let response = call(args, &mut client, request_id, index, &request, &tally).await?;
            request.page_token.clone_from(&response.next_page_token);
            add(&mut tally, response);
            if request.page_token.is_empty() {
                break;
            }
        }
    } else {
        for (index, ids) in args.ids.chunks(ITEMS_MAX).enumerate() {
            let mut request = args.request()?;
            request.invitation_ids = ids.to_vec();
            let response = call(args, &mut client, request_id, index, &request, &tally).await?;
            add(&mut tally, response);
        }
    }
    let verb = if args.dry_run {
        "would resend"
    } else {
        "resent"
    };
    tally.write(verb, out)?;
    Ok(tally.exit())
}

/// Makes one call, and says how to go on if it fails.
async fn call(
    args: &ResendArgs,
    client: &mut InvitationServiceClient<Connection>,
    request_id: Uuid,
    index: usize,
    request: &BulkResendRequest,
    tally: &Tally,
) -> Result<BulkResendResponse, CommandError> {
    let request = BulkResendRequest {
        // A dry run does nothing that could be done twice, and must not use the id up for the real one.
        request_id: if args.dry_run {
            String::new()
        } else {
            request_id_of_call(request_id, index).to_string()
        },
        ..request.clone()
    };
    retrying("BulkResend", async || {
        client.bulk_resend(request.clone()).await
    })
    .await
    .map_err(|status| {
        let failure = refused("BulkResend", args.connection.server(), &status);
        if args.dry_run {
            return failure;
        }
        let advice = if is_retryable(&status) {
            format!(
                "\n  repeat the command with --request-id {request_id}: what is done is not done twice"
            )
        } else if tally.done() > 0 {
            format!("\n  {} are mailed again already", tally.done())
        } else {
            String::new()
        };
        CommandError::Refused(format!("{failure}{advice}"))
    })
}

impl ResendArgs {
    /// The request, but for which invitations.
    fn request(&self) -> Result<BulkResendRequest, CommandError> {
        let expiry = self
            .expires_in
            .map(|ttl| {
                prost_types::Duration::try_from(std::time::Duration::from(ttl))
                    .map(bulk_resend_request::Expiry::Ttl)
                    .map_err(|_| CommandError::Usage("--expires-in is too long".to_owned()))
            })
            .transpose()?;
        Ok(BulkResendRequest {
            organization_id: self.organization.clone(),
            rotate_token: self.rotate,
            expiry,
            validate_only: self.dry_run,
            ..Default::default()
        })
    }

    fn filter(&self) -> ResendFilter {
        ResendFilter {
            states: self
                .states
                .iter()
                .map(|state| state.to_proto().into())
                .collect(),
            delivery_state: self
                .delivery_state
                .map_or(0, |state| state.to_proto().into()),
            batch_id: self.batch.clone(),
            inviter_user_id: self.inviter.clone(),
        }
    }
}

fn add(tally: &mut Tally, response: BulkResendResponse) {
    for result in response.results {
        tally.add(result.invitation_id, result.error);
    }
}

impl State {
    const fn to_proto(self) -> InvitationState {
        match self {
            Self::Pending => InvitationState::Pending,
            Self::Expired => InvitationState::Expired,
        }
    }
}

impl MailState {
    const fn to_proto(self) -> DeliveryState {
        match self {
            Self::NotRequested => DeliveryState::NotRequested,
            Self::Queued => DeliveryState::Queued,
            Self::Sent => DeliveryState::Sent,
            Self::Deferred => DeliveryState::Deferred,
            Self::Bounced => DeliveryState::Bounced,
            Self::Complained => DeliveryState::Complained,
            Self::Failed => DeliveryState::Failed,
            Self::Suppressed => DeliveryState::Suppressed,
            Self::Canceled => DeliveryState::Canceled,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake_server::{FakeServer, GONE, TOKEN, serve};
    use clap::Parser;
    use std::sync::Arc;

    const ONE: &str = "01a204dc-9b39-7001-8c82-6b5f4d3569e3";

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        args: ResendArgs,
    }

    async fn resend(
        server: &Arc<FakeServer>,
        options: &[&str],
    ) -> (Result<Exit, CommandError>, String) {
        let (address, serving) = serve(Arc::clone(server));
        let mut line = vec!["resend", "--organization", "acme", "--server", &address];
        line.extend(["--token", TOKEN]);
        line.extend(options);
        let args = Line::parse_from(line).args;
        let mut out = Vec::new();
        let result = tokio::select! {
            result = run(&args, &mut out) => result,
            end = serving => panic!("the service ended: {end:?}"),
        };
        (result, String::from_utf8(out).unwrap())
    }

    #[tokio::test]
    async fn each_page_is_a_call_with_an_id_of_its_own_made_again_under_the_same() {
        let server = Arc::new(FakeServer::default());
        *server.refusals.lock().unwrap() = 1;
        let (result, out) = resend(&server, &["--delivery-state", "failed"]).await;
        assert_eq!(result.unwrap(), Exit::Done, "{out}");
        assert_eq!(out, "resent 3 of 3: 0 refused\n");
        let ids = server.request_ids.lock().unwrap();
        assert_eq!(ids.len(), 3, "two pages, the first made again once");
        assert_eq!(ids[0], ids[1]);
        assert_ne!(ids[1], ids[2]);
    }

    #[tokio::test]
    async fn what_could_not_be_mailed_again_is_told() {
        let server = Arc::new(FakeServer::default());
        let options = ["--id", ONE, "--id", GONE, "--dry-run"];
        let (result, out) = resend(&server, &options).await;
        assert_eq!(result.unwrap(), Exit::Partly);
        assert!(out.contains(GONE), "{out}");
        let last = out.lines().last().unwrap();
        assert_eq!(
            last,
            "would resend 1 of 2: 1 refused, 1 INVITATION_NOT_FOUND"
        );
        assert_eq!(*server.request_ids.lock().unwrap(), [""]);
    }

    #[test]
    fn which_invitations_must_be_said_in_one_way() {
        let parse = |options: &str| {
            let line = format!("resend --organization acme {options}");
            Line::try_parse_from(line.split_whitespace()).is_ok()
        };
        assert!(parse(&format!("--id {ONE} --id {GONE}")));
        assert!(!parse("--id xyz"));
        assert!(parse(
            "--batch b --state pending --state expired --rotate --expires-in 14d"
        ));
        assert!(!parse(""));
        assert!(!parse("--rotate"));
        assert!(!parse(&format!("--id {ONE} --batch b")));
    }
}
