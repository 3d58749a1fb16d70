//! `MailService`: requests and responses.

use uuid::Uuid;

use super::error::ItemErrors;
use super::fields::{self, Field, Fields as _};
use super::filter::{REQUEUE, SelectionFields};
use super::{count, times};
use crate::domain::actor::Actor;
use crate::domain::ids::OrganizationId;
use crate::domain::keyring::Keyring;
use crate::proto;
use crate::service::{Backlog, MessageCount, RefusedInvitation, Requeue, SelectionResults};

pub(in crate::grpc) fn requeue_request(
    input: &proto::RequeueMessagesRequest,
    actor: Field<Actor>,
    organization_id: Field<OrganizationId>,
    keyring: &Keyring,
) -> Field<Requeue> {
    let selection = SelectionFields::from(input).parse(&REQUEUE, keyring);
    let (actor, organization_id, selection) = (actor, organization_id, selection).all()?;
    Ok(Requeue {
        actor,
        organization_id,
        selection,
        validate_only: input.validate_only,
    })
}

pub(in crate::grpc) fn requeue_response(
    input: &proto::RequeueMessagesRequest,
    page: SelectionResults<Result<(), RefusedInvitation>>,
    keyring: &Keyring,
) -> proto::RequeueMessagesResponse {
    let token = REQUEUE.token(keyring, &input.organization_id, input.filter.as_ref());
    let next_page_token = token.next_after(page.has_more, page.found.last());
    let found = page.found.iter().map(Uuid::to_string);
    let ids = input.invitation_ids.iter().map(fields::echo).chain(found);
    let errors = ItemErrors::among(page.results.len());
    let result = |(index, (invitation_id, outcome)): (i32, (String, Result<(), _>))| {
        let error = outcome.err().map(|refused| errors.of_refused(refused));
        let outcome = match error {
            Some(_) => proto::RequeueOutcome::Failed,
            None => proto::RequeueOutcome::Requeued,
        };
        proto::RequeueResult {
            index,
            invitation_id,
            outcome: outcome.into(),
            error,
        }
    };
    let results: Vec<_> = (0..).zip(ids.zip(page.results)).map(result).collect();
    let failed_count = count(results.iter().filter(|it| it.error.is_some()).count());
    proto::RequeueMessagesResponse {
        requeued_count: count(results.len()) - failed_count,
        failed_count,
        results,
        next_page_token,
    }
}

pub(in crate::grpc) fn backlog(input: Backlog) -> proto::GetBacklogResponse {
    let message_count = |count: MessageCount| {
        Some(proto::MessageCount {
            value: count.value,
            capped: count.is_capped,
        })
    };
    proto::GetBacklogResponse {
        queued: message_count(input.queued),
        due: message_count(input.due),
        sending: message_count(input.sending),
        failed: message_count(input.dead),
        oldest_waiting: input.oldest_waiting.map(times::duration),
    }
}
