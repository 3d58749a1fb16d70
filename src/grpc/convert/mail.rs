//! Requests about the mails that are owed, and their answers.

use uuid::Uuid;

use super::{error, resend, times};
use crate::domain::actor::Actor;
use crate::domain::ids::OrganizationId;
use crate::domain::reason::{Reason, Violation};
use crate::grpc::convert::fields::{self, Field};
use crate::proto;
use crate::service::requeue::{NotRequeued, Requeue, RequeuedPage, Selection};
use crate::service::{Backlog, Count};

/// A request in domain words; every violation at once.
pub(in crate::grpc) fn requeue_request(
    input: &proto::RequeueRequest,
    actor: Actor,
    organization_id: Field<OrganizationId>,
) -> Field<Requeue> {
    let selection = match (input.all_dead, input.invitation_ids.is_empty()) {
        (true, true) => Ok(Selection::AllDead),
        (true, false) => Err(vec![Violation::new("all_dead", Reason::FieldInvalid)]),
        (false, _) => resend::ids(&input.invitation_ids).map(Selection::Ids),
    };
    let (organization_id, selection) = fields::both(organization_id, selection)?;
    Ok(Requeue {
        actor,
        organization_id,
        selection,
    })
}

/// An answer on the wire.
pub(in crate::grpc) fn requeue_response(
    input: proto::RequeueRequest,
    page: RequeuedPage,
) -> proto::RequeueResponse {
    let found = page.found.iter().map(Uuid::to_string);
    let ids = input.invitation_ids.into_iter().chain(found);
    let results: Vec<proto::RequeueResult> = (0..)
        .zip(ids.zip(page.results))
        .map(|(index, (id, outcome))| requeue_result(index, id, outcome))
        .collect();
    let is_failed =
        |result: &&proto::RequeueResult| result.outcome() == proto::RequeueOutcome::Failed;
    let failed_count = i32::try_from(results.iter().filter(is_failed).count()).unwrap_or(i32::MAX);
    let all_count = i32::try_from(results.len()).unwrap_or(i32::MAX);
    proto::RequeueResponse {
        requeued_count: all_count - failed_count,
        failed_count,
        results,
        has_more: page.has_more,
    }
}

fn requeue_result(
    index: i32,
    invitation_id: String,
    outcome: Result<(), NotRequeued>,
) -> proto::RequeueResult {
    let error = outcome.err().map(|refusal| {
        let violation = Violation::new("invitation_id", refusal.reason);
        error::item_error(&[violation], refusal.first_index)
    });
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

/// The figures on the wire.
pub(in crate::grpc) fn backlog(input: Backlog) -> proto::GetBacklogResponse {
    let count = |count: Count| {
        Some(proto::MailCount {
            value: count.value,
            capped: count.is_capped,
        })
    };
    proto::GetBacklogResponse {
        queued: count(input.queued),
        due: count(input.due),
        sending: count(input.sending),
        dead: count(input.dead),
        oldest_waiting: input.oldest_waiting.map(times::duration),
    }
}
