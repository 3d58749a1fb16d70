//! `MailService`: requests and responses.

use uuid::Uuid;

use super::fields::{self, Field, Fields as _};
use super::{count, error, times};
use crate::domain::actor::Actor;
use crate::domain::ids::OrganizationId;
use crate::domain::reason::{Reason, Violation};
use crate::proto;
use crate::service::{
    Backlog, MessageCount, RefusedInvitation, Requeue, RequeueSelection, RequeuedMessages,
};

/// The request. Reports every violation.
pub(in crate::grpc) fn requeue_request(
    input: &proto::RequeueRequest,
    actor: Actor,
    organization_id: Field<OrganizationId>,
) -> Field<Requeue> {
    let selection = match (input.all_dead, input.invitation_ids.is_empty()) {
        (true, true) => Ok(RequeueSelection::AllDead),
        (true, false) => Err(vec![Violation::new("all_dead", Reason::FieldInvalid)]),
        (false, _) => fields::invitation_ids(&input.invitation_ids).map(RequeueSelection::Ids),
    };
    let (organization_id, selection) = (organization_id, selection).all()?;
    Ok(Requeue {
        actor,
        organization_id,
        selection,
    })
}

pub(in crate::grpc) fn requeue_response(
    input: proto::RequeueRequest,
    page: RequeuedMessages,
) -> proto::RequeueResponse {
    let found = page.found.iter().map(Uuid::to_string);
    let ids = input.invitation_ids.into_iter().chain(found);
    let results: Vec<proto::RequeueResult> = (0..)
        .zip(ids.zip(page.results))
        .map(|(index, (id, outcome))| requeue_result(index, id, outcome))
        .collect();
    let failed_count = count(results.iter().filter(|it| it.error.is_some()).count());
    proto::RequeueResponse {
        requeued_count: count(results.len()) - failed_count,
        failed_count,
        results,
        has_more: page.has_more,
    }
}

fn requeue_result(
    index: i32,
    invitation_id: String,
    outcome: Result<(), RefusedInvitation>,
) -> proto::RequeueResult {
    let error = outcome.err().map(error::of_refused);
    let outcome = if error.is_some() {
        proto::RequeueOutcome::Failed
    } else {
        proto::RequeueOutcome::Requeued
    };
    proto::RequeueResult {
        index,
        invitation_id,
        outcome: outcome.into(),
        error,
    }
}

pub(in crate::grpc) fn backlog(input: Backlog) -> proto::GetBacklogResponse {
    let message_count = |count: MessageCount| {
        Some(proto::MailCount {
            value: count.value,
            capped: count.is_capped,
        })
    };
    proto::GetBacklogResponse {
        queued: message_count(input.queued),
        due: message_count(input.due),
        sending: message_count(input.sending),
        dead: message_count(input.dead),
        oldest_waiting: input.oldest_waiting.map(times::duration),
    }
}
