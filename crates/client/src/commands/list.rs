//! The command `list`, which shows the invitations of an organization.

use std::io::{self, Write};

use invitations_command::error::{CommandResult, Exit};
use serde_json::{Value, json};

use crate::connection::{ConnectionArgs, read_pages};
use crate::enum_parser::enum_parser;
use crate::invitation_json::{invitation_state_name, invitation_to_json};
use crate::output::{Table, delivery_state_name, escaped, time_text};
use crate::proto::{DeliveryState, Invitation, InvitationState, InvitationView, ListRequest};
use crate::selection::FilterArgs;
use crate::state_names::{delivery_state_text, invitation_state_text};

/// Invitations that are shown by default. They take one call.
const LIMIT_DEFAULT: usize = 100;

const AFTER_HELP: &str = "\
An invitation must match all filters that are given. Its address is empty once it was erased.

Examples:
  invitectl list --organization acme --state pending --delivery-state bounced --delivery-state failed
  invitectl list --organization acme --email ada@example.com --json";

/// Show the invitations of an organization, newest first
#[derive(Clone, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct ListArgs {
    /// Organization of the invitations
    #[arg(long, value_name = "ID")]
    organization: String,
    #[command(flatten)]
    filter: FilterArgs,
    /// Select invitations whose latest email is in this state; can be repeated
    #[arg(long = "delivery-state", value_name = "STATE",
          value_parser = enum_parser(delivery_state_text))]
    delivery_states: Vec<DeliveryState>,
    /// Select invitations in this state; can be repeated
    #[arg(long = "state", value_name = "STATE", value_parser = enum_parser(invitation_state_text))]
    states: Vec<InvitationState>,
    /// Most invitations to show
    #[arg(long, value_name = "COUNT", default_value_t = LIMIT_DEFAULT)]
    limit: usize,
    /// Print the invitations as JSON, with all details
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: ConnectionArgs,
}

pub(crate) async fn run(args: &ListArgs, out: &mut dyn Write) -> CommandResult {
    let connection = args.connection.connect().await?;
    let mut client = connection.invitations();
    let mut request = ListRequest {
        organization_id: args.organization.clone(),
        filter: args.filter.filter(&args.states, &args.delivery_states),
        view: InvitationView::Full.into(),
        ..Default::default()
    };
    let pages = read_pages(args.limit, async |page_size, page_token| {
        (request.page_size, request.page_token) = (page_size, page_token);
        let call = async || client.list(request.clone()).await;
        let page = connection.call("List", call).await?;
        Ok((page.invitations, page.next_page_token))
    });
    let (invitations, has_more) = pages.await?;
    if args.json {
        let invitations: Vec<Value> = invitations.into_iter().map(invitation_to_json).collect();
        let list = json!({"invitations": invitations, "has_more": has_more});
        writeln!(out, "{list:#}")?;
    } else {
        write_table(&invitations, has_more, out)?;
    }
    Ok(Exit::Done)
}

fn write_table(invitations: &[Invitation], has_more: bool, out: &mut dyn Write) -> io::Result<()> {
    let header = ["Invitation", "Address", "Role", "State", "Email", "Created"];
    let mut table = Table::new(header, &[]);
    for invitation in invitations {
        let email = invitation.delivery.as_ref();
        let email = email.map(|delivery| delivery_state_name(delivery.state()));
        table.add_row([
            escaped(&invitation.id),
            escaped(&invitation.email),
            escaped(&invitation.role),
            invitation_state_name(invitation),
            email.unwrap_or_default(),
            time_text(invitation.create_time),
        ]);
    }
    if !table.is_empty() {
        table.never_wrap(0);
        table.write(out)?;
    }
    let more = if has_more { ", and there are more" } else { "" };
    let noun = if invitations.len() == 1 {
        "invitation"
    } else {
        "invitations"
    };
    writeln!(out, "{} {noun}{more}", invitations.len())
}
