//! The command `revoke`, which ends pending invitations.

use std::io::Write;

use invitations_command::error::CommandResult;

use crate::acting_user::ActingUserArgs;
use crate::connection::ConnectionArgs;
use crate::enum_parser::enum_parser;
use crate::proto::{BulkRevokeRequest, DeliveryState, InvitationView, RevokeOutcome};
use crate::report::ItemReport;
use crate::selection::{SelectedPage, SelectionArgs};
use crate::state_names::delivery_state_text;

const AFTER_HELP: &str = "\
Select invitations with --id, with a filter, or with --all. A filter is one or more of --batch, --inviter, --email and \
--delivery-state; an invitation must match all of them. Links of revoked invitations stop working, and their queued \
emails are canceled. An invitation that was declined, revoked or expired before does not change. A failed command can be \
repeated: it revokes what is left.

Exit status:
  0  no selected invitation can be accepted any more, or no invitation was selected
  1  a call failed
  2  the command line is wrong; nothing was sent
  3  some invitations cannot be revoked, for example because they were accepted

Examples:
  invitectl revoke --organization acme --batch 01a204dc-9b39-7001-8c82-6b5f4d3569e3 --dry-run
  invitectl revoke --organization acme --inviter u-1 --acting-user u-2";

/// Revoke pending invitations
#[derive(Clone, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct RevokeArgs {
    /// Organization of the invitations
    #[arg(long, value_name = "ID")]
    organization: String,
    #[command(flatten)]
    selection: SelectionArgs,
    /// Select invitations whose latest email is in this state; can be repeated
    #[arg(long = "delivery-state", value_name = "STATE", group = "filter",
          value_parser = enum_parser(delivery_state_text))]
    delivery_states: Vec<DeliveryState>,
    /// Report what would happen, and change nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    acting_user: ActingUserArgs,
    #[command(flatten)]
    connection: ConnectionArgs,
}

pub(crate) async fn run(args: &RevokeArgs, out: &mut dyn Write) -> CommandResult {
    let first_page = args.selection.first_page(&[], &args.delivery_states)?;
    let connection = args.connection.connect().await?;
    let mut client = connection.invitations();
    let verb = if args.dry_run {
        "would revoke"
    } else {
        "revoked"
    };
    let mut report = ItemReport::default();
    let revoke = async |page: SelectedPage| {
        let request = BulkRevokeRequest {
            organization_id: args.organization.clone(),
            invitation_ids: page.invitation_ids,
            filter: page.filter,
            acting_user_id: args.acting_user.id(),
            validate_only: args.dry_run,
            page_token: page.page_token,
            all: page.all,
            view: InvitationView::Basic.into(),
            ..Default::default()
        };
        let call = async || client.bulk_revoke(request.clone()).await;
        let response = connection.call("BulkRevoke", call).await;
        let response = response.map_err(|failure| report.interrupted(failure, verb))?;
        for result in response.results {
            if result.outcome() == RevokeOutcome::Unchanged {
                report.unchanged += 1;
            } else {
                report.add(result.invitation_id, result.error);
            }
        }
        Ok(response.next_page_token)
    };
    args.selection.for_each_page(first_page, revoke).await?;
    report.write(verb, out)?;
    Ok(report.exit())
}
