//! The command `resend`, which sends the emails of invitations again.

use std::io::Write;

use invitations_command::error::{CommandError, CommandResult};
use uuid::Uuid;

use crate::connection::{
    CALL_ITEMS_MAX, ConnectionArgs, is_retryable, new_request_id, request_id_of_call, with_retries,
};
use crate::enum_parser::{ArgumentText, enum_parser};
use crate::proto::{
    BulkResendRequest, DeliveryState, InvitationState, ResendFilter, bulk_resend_request,
};
use crate::report::ItemReport;

const AFTER_HELP: &str = "\
Select invitations with --id, or with one or more of --batch, --inviter, --delivery-state and --state; an invitation must \
match all of them. Without --state only pending invitations are selected. A queued email is replaced, so no person gets two.

A failed call is repeated up to 5 times with the same request id if that can help, so no person gets two emails.

Exit status:
  0  every email is sent again, or no invitation was selected
  1  a call failed
  2  the command line is wrong; nothing was sent
  3  some emails cannot be sent again

Examples:
  invitectl resend --organization acme --delivery-state failed --dry-run
  invitectl resend --organization acme --batch 01a204dc-9b39-7001-8c82-6b5f4d3569e3 --state expired --expires-in 14d";

/// Send the emails of invitations again and renew their expiry
#[derive(Clone, clap::Args)]
#[command(after_help = AFTER_HELP)]
#[command(group(clap::ArgGroup::new("which").required(true).multiple(true)
    .args(["ids", "batch", "inviter", "delivery_state", "states"])))]
pub(crate) struct ResendArgs {
    /// Organization of the invitations
    #[arg(long, value_name = "ID")]
    organization: String,
    /// Select this invitation; can be repeated
    #[arg(long = "id", value_name = "ID",
          conflicts_with_all = ["batch", "inviter", "delivery_state", "states"])]
    ids: Vec<Uuid>,
    /// Select the invitations of this batch
    #[arg(long, value_name = "BATCH_ID")]
    batch: Option<String>,
    /// Select the invitations of this inviter
    #[arg(long, value_name = "USER_ID")]
    inviter: Option<String>,
    /// Select invitations whose latest email is in this state
    #[arg(long, value_parser = enum_parser(delivery_state_text))]
    delivery_state: Option<DeliveryState>,
    /// Select invitations in this state; can be given twice [default: pending]
    #[arg(long = "state", value_parser = enum_parser(state_text))]
    states: Vec<InvitationState>,
    /// Invalidate the links of earlier emails
    #[arg(long)]
    rotate: bool,
    /// Lifetime from now on, such as 14d [default: that of the server]
    #[arg(long, value_name = "TIME")]
    expires_in: Option<humantime::Duration>,
    /// Report what would happen, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Makes the command safe to repeat within 24 hours: with the same id and options, no person gets two emails [default:
    /// random]
    #[arg(long, value_name = "UUID")]
    request_id: Option<Uuid>,
    #[command(flatten)]
    connection: ConnectionArgs,
}

fn state_text(state: InvitationState) -> ArgumentText {
    match state {
        InvitationState::Pending => Some(("pending", "Not accepted yet")),
        InvitationState::Expired => Some(("expired", "Not accepted before its expiry")),
        _ => None,
    }
}

fn delivery_state_text(state: DeliveryState) -> ArgumentText {
    Some(match state {
        DeliveryState::NotRequested => ("not-requested", "No email was requested"),
        DeliveryState::Queued => ("queued", "Waits in the queue"),
        DeliveryState::Sent => ("sent", "Accepted by the mail server"),
        DeliveryState::Deferred => ("deferred", "The server retries later"),
        DeliveryState::Bounced => ("bounced", "Returned by the receiving mail server"),
        DeliveryState::Complained => ("complained", "Reported as spam"),
        DeliveryState::Failed => ("failed", "Given up"),
        DeliveryState::Suppressed => (
            "suppressed",
            "Not sent, because the address is on the suppression list",
        ),
        DeliveryState::Canceled => ("canceled", "Not needed any more"),
        DeliveryState::Unspecified | DeliveryState::Sending => return None,
    })
}

pub(crate) async fn run(args: &ResendArgs, out: &mut dyn Write) -> CommandResult {
    let connection = args.connection.connect().await?;
    let mut client = connection.invitations();
    let request_id = args.request_id.unwrap_or_else(new_request_id);
    let (mut call_count, mut report) = (0, ItemReport::default());
    // Makes one call, adds its results to the report and returns the next page token.
    let mut resend = async |mut request: BulkResendRequest| {
        // A dry run has no request id, so that the id stays unused for the real call.
        if !args.dry_run {
            request.request_id = request_id_of_call(request_id, call_count).to_string();
        }
        call_count += 1;
        let call = async || client.bulk_resend(request.clone()).await;
        let response = with_retries("BulkResend", call).await.map_err(|status| {
            let text = connection.describe("BulkResend", &status);
            let count = report.succeeded;
            let advice = if !args.dry_run && is_retryable(&status) {
                format!("\n  repeat the command with --request-id {request_id}, so that no person gets two emails")
            } else if !args.dry_run && count > 0 {
                format!("\n  {count} emails are already sent again")
            } else {
                String::new()
            };
            CommandError::Refused(text + &advice)
        })?;
        for result in response.results {
            report.add(result.invitation_id, result.error);
        }
        Ok::<_, CommandError>(response.next_page_token)
    };
    let mut request = args.request()?;
    if args.ids.is_empty() {
        loop {
            request.page_token = resend(request.clone()).await?;
            if request.page_token.is_empty() {
                break;
            }
        }
    } else {
        for ids in args.ids.chunks(CALL_ITEMS_MAX) {
            request.invitation_ids = ids.iter().map(Uuid::to_string).collect();
            resend(request.clone()).await?;
        }
    }
    let verb = if args.dry_run {
        "would resend"
    } else {
        "resent"
    };
    report.write(verb, out)?;
    Ok(report.exit())
}

impl ResendArgs {
    /// The request, which selects invitations by a filter if no ids are given.
    fn request(&self) -> Result<BulkResendRequest, CommandError> {
        let ttl = self.expires_in.map(|ttl| {
            prost_types::Duration::try_from(std::time::Duration::from(ttl))
                .map(bulk_resend_request::Expiration::Ttl)
                .map_err(|_| CommandError::Usage("--expires-in is too long".to_owned()))
        });
        Ok(BulkResendRequest {
            organization_id: self.organization.clone(),
            rotate_token: self.rotate,
            expiry: ttl.transpose()?,
            validate_only: self.dry_run,
            filter: self.ids.is_empty().then(|| ResendFilter {
                states: self.states.iter().map(|state| (*state).into()).collect(),
                delivery_state: self.delivery_state.unwrap_or_default().into(),
                batch_id: self.batch.clone().unwrap_or_default(),
                inviter_user_id: self.inviter.clone().unwrap_or_default(),
            }),
            ..Default::default()
        })
    }
}
