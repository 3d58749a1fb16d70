//! The command `resend`, which sends the emails of invitations again.

use std::io::Write;

use invitations_command::error::{CommandError, CommandResult};
use uuid::Uuid;

use crate::acting_user::ActingUserArgs;
use crate::connection::{
    ConnectionArgs, is_retryable, new_request_id, request_id_of_call, with_retries,
};
use crate::enum_parser::enum_parser;
use crate::proto::{
    BulkResendRequest, DeliveryState, InvitationState, InvitationView, bulk_resend_request,
};
use crate::report::ItemReport;
use crate::selection::{SelectedPage, SelectionArgs};
use crate::state_names::{delivery_state_text, unanswered_state_text};

const AFTER_HELP: &str = "\
Select invitations with --id, with a filter, or with --all. A filter is one or more of --batch, --inviter, --email, \
--delivery-state and --state; an invitation must match all of them. Without --state only pending invitations are selected. \
A queued email is replaced, so no person gets two.

A failed call is repeated up to 5 times with the same request id if that can help, so no person gets two emails.

Exit status:
  0  every email is sent again, or no invitation was selected
  1  a call failed
  2  the command line is wrong; nothing was sent
  3  some emails cannot be sent again

Examples:
  invitectl resend --organization acme --delivery-state failed --delivery-state bounced --dry-run
  invitectl resend --organization acme --batch 01a204dc-9b39-7001-8c82-6b5f4d3569e3 --state expired --expires-in 14d";

/// Send the emails of invitations again and renew their expiry
#[derive(Clone, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct ResendArgs {
    /// Organization of the invitations
    #[arg(long, value_name = "ID")]
    organization: String,
    #[command(flatten)]
    selection: SelectionArgs,
    /// Select invitations whose latest email is in this state; can be repeated
    #[arg(long = "delivery-state", value_name = "STATE", group = "filter",
          value_parser = enum_parser(delivery_state_text))]
    delivery_states: Vec<DeliveryState>,
    /// Select invitations in this state; can be repeated [default: pending]
    #[arg(long = "state", value_name = "STATE", group = "filter",
          value_parser = enum_parser(unanswered_state_text))]
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
    acting_user: ActingUserArgs,
    #[command(flatten)]
    connection: ConnectionArgs,
}

pub(crate) async fn run(args: &ResendArgs, out: &mut dyn Write) -> CommandResult {
    let template = args.request()?;
    let first_page = (args.selection).first_page(&args.states, &args.delivery_states)?;
    let connection = args.connection.connect().await?;
    let mut client = connection.invitations();
    let request_id = args.request_id.unwrap_or_else(new_request_id);
    let (mut call_count, mut report) = (0, ItemReport::default());
    // Makes one call, adds its results to the report and returns the next page token.
    let resend = async |page: SelectedPage| {
        let mut request = BulkResendRequest {
            invitation_ids: page.invitation_ids,
            filter: page.filter,
            all: page.all,
            page_token: page.page_token,
            ..template.clone()
        };
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
    args.selection.for_each_page(first_page, resend).await?;
    let verb = if args.dry_run {
        "would resend"
    } else {
        "resent"
    };
    report.write(verb, out)?;
    Ok(report.exit())
}

impl ResendArgs {
    /// The fields of the request that all calls have in common.
    fn request(&self) -> Result<BulkResendRequest, CommandError> {
        let ttl = self.expires_in.map(|ttl| {
            prost_types::Duration::try_from(std::time::Duration::from(ttl))
                .map(bulk_resend_request::Expiration::Ttl)
                .map_err(|_| CommandError::Usage("--expires-in is too long".to_owned()))
        });
        Ok(BulkResendRequest {
            organization_id: self.organization.clone(),
            rotate_token: self.rotate,
            expiration: ttl.transpose()?,
            validate_only: self.dry_run,
            view: InvitationView::Basic.into(),
            acting_user_id: self.acting_user.id(),
            ..Default::default()
        })
    }
}
