//! `--atomic`: a list that fits one call of `BulkCreate`, done as a whole or not at all.

use std::fmt::Write as _;

use uuid::Uuid;

use super::SendArgs;
use super::source::{Source, told};
use crate::chunks::{ITEM_BYTES_MAX, ITEMS_MAX};
use crate::connection::Connection;
use crate::people::{Entry, Person, Trouble};
use crate::proto::BulkCreateRequest;
use crate::proto::invitation_service_client::InvitationServiceClient;
use crate::results::{rows_of, with_lines};
use crate::retry::{is_retryable, retrying};
use crate::row::Row;
use crate::status::describe;
use invitations_command::error::CommandError;
use prost::Message as _;

/// Problems of a list that are told before the rest is only counted.
const PROBLEMS_SHOWN_MAX: usize = 20;
/// What the framing of an item may add to its own size: a tag and a length.
const FRAMING_BYTES_MAX: usize = 6;

/// Reads the whole list, if it fits one call and every row can be read.
pub(super) async fn read(args: &SendArgs) -> Result<Vec<Person>, CommandError> {
    let mut source = Source::open(args)?;
    let (mut people, mut problems, mut left) = (Vec::new(), Vec::new(), 0_u64);
    let mut bytes = 0;
    while let Some(entry) = source.next().await {
        match entry.map_err(|trouble| told(&args.file, trouble))? {
            Entry::Person(person) => {
                bytes += person.item.encoded_len() + FRAMING_BYTES_MAX;
                people.push(*person);
            }
            Entry::Unreadable(row) if problems.len() < PROBLEMS_SHOWN_MAX => {
                problems.push(format!("line {}: {}", row.line, row.problem));
            }
            Entry::Unreadable(_) => left += 1,
        }
        if people.len() > ITEMS_MAX || bytes > ITEM_BYTES_MAX {
            return Err(CommandError::Usage(format!(
                "--atomic needs a list that fits one call, of up to {ITEMS_MAX} rows and {} MiB",
                ITEM_BYTES_MAX / (1024 * 1024)
            )));
        }
    }
    if left > 0 {
        problems.push(format!("and {left} more"));
    }
    if problems.is_empty() {
        Ok(people)
    } else {
        Err(told(&args.file, Trouble::File(problems)))
    }
}

/// Makes the call; the batch and the rows.
pub(super) async fn create(
    args: &SendArgs,
    client: &mut InvitationServiceClient<Connection>,
    request_id: Uuid,
    people: &[Person],
) -> Result<(String, Vec<Row>), CommandError> {
    let request = BulkCreateRequest {
        // A dry run does nothing that could be done twice, and must not use the id up for the real one.
        request_id: if args.dry_run {
            String::new()
        } else {
            request_id.to_string()
        },
        organization_id: args.organization.clone(),
        inviter_user_id: args.inviter.clone(),
        invitations: people.iter().map(|person| person.item.clone()).collect(),
        on_existing: args.on_existing.to_proto().into(),
        atomic: true,
        validate_only: args.dry_run,
        return_link: false,
    };
    let response = retrying("BulkCreate", async || {
        client.bulk_create(request.clone()).await
    })
    .await
    .map_err(|status| {
        let text = describe("BulkCreate", args.connection.server(), &status);
        let mut text = with_lines(&text, people);
        if !args.dry_run && is_retryable(&status) {
            let _ = write!(
                text,
                "\n  repeat the command with --request-id {request_id}: what is done is not done twice"
            );
        }
        CommandError::Refused(text)
    })?;
    let batch_id = response.batch_id.clone();
    let rows = rows_of(people, response).map_err(CommandError::Refused)?;
    Ok((batch_id, rows))
}
