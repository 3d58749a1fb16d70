//! `--atomic`: sends the whole list in one `BulkCreate`, which changes everything or nothing.

use std::fmt::Write as _;

use invitations_command::error::CommandError;
use uuid::Uuid;

use crate::connection::{
    CALL_BYTES_MAX, CALL_ITEMS_MAX, Connection, framed_bytes, is_retryable, with_retries,
};
use crate::list::{Invitee, ListEntry, ListError};
use crate::proto::BulkCreateRequest;
use crate::report::{RowResult, match_response, with_line_numbers};
use crate::send::list_source::RowSource;
use crate::send::send_args::SendArgs;

/// Unreadable rows that are printed. The others are only counted.
const PROBLEMS_SHOWN_MAX: usize = 20;

/// Reads the whole list. Fails if it does not fit one call or if any row is unreadable.
pub(crate) async fn read_list(args: &SendArgs) -> Result<Vec<Invitee>, CommandError> {
    let mut source = RowSource::start(args)?;
    let (mut invitees, mut problems, mut omitted) = (Vec::new(), Vec::new(), 0_u64);
    let mut bytes = 0;
    while let Some(entry) = source.next().await {
        match entry.map_err(|error| args.list_error(error))? {
            ListEntry::Invitee(invitee) => {
                bytes += framed_bytes(&invitee.item);
                invitees.push(*invitee);
            }
            ListEntry::Unreadable { line, problem, .. } => {
                if problems.len() < PROBLEMS_SHOWN_MAX {
                    problems.push(format!("line {line}: {problem}"));
                } else {
                    omitted += 1;
                }
            }
        }
        if invitees.len() > CALL_ITEMS_MAX || bytes > CALL_BYTES_MAX {
            return Err(CommandError::Usage(format!(
                "the list is too long for --atomic, which sends at most {CALL_ITEMS_MAX} rows and {} MiB in one call",
                CALL_BYTES_MAX / (1024 * 1024)
            )));
        }
    }
    if omitted > 0 {
        problems.push(format!("and {omitted} more"));
    }
    if problems.is_empty() {
        Ok(invitees)
    } else {
        Err(args.list_error(ListError::Invalid(problems)))
    }
}

/// Makes the call. Returns the id of the batch and the result of each row.
pub(crate) async fn create(
    args: &SendArgs,
    connection: &Connection,
    request_id: Uuid,
    invitees: &[Invitee],
) -> Result<(String, Vec<RowResult>), CommandError> {
    let request = BulkCreateRequest {
        request_id: args.request_id_field(request_id),
        organization_id: args.organization.clone(),
        inviter_user_id: args.inviter(),
        invitations: invitees
            .iter()
            .map(|invitee| invitee.item.clone())
            .collect(),
        on_existing: args.on_existing.into(),
        atomic: true,
        validate_only: args.dry_run,
        return_link: false,
    };
    let mut client = connection.invitations();
    let call = async || client.bulk_create(request.clone()).await;
    let response = with_retries("BulkCreate", call).await.map_err(|status| {
        let text = connection.describe("BulkCreate", &status);
        let mut text = with_line_numbers(&text, invitees);
        if !args.dry_run && is_retryable(&status) {
            let _ = write!(
                text,
                "\n  repeat the command with --request-id {request_id}, so that no person is invited twice"
            );
        }
        CommandError::Refused(text)
    })?;
    let batch_id = response.batch_id.clone();
    let rows = match_response(invitees, response).map_err(CommandError::Refused)?;
    Ok((batch_id, rows))
}
