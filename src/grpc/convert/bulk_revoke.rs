//! `BulkRevoke`: the request and its results.

use uuid::Uuid;

use super::bulk_resend::only_filter;
use super::fields::{self, Field, Fields as _};
use super::filter::bulk_filter;
use super::{count, error};
use crate::domain::actor::Actor;
use crate::domain::ids::OrganizationId;
use crate::domain::invitation::StateName;
use crate::domain::invitation_filter::InvitationFilter;
use crate::proto;
use crate::service::{
    BulkRevoke, InvitationSelection, RefusedInvitation, RevokeOutcome, RevokedInvitations,
};

/// The request. Reports every violation.
pub(in crate::grpc) fn request(
    input: &proto::BulkRevokeRequest,
    actor: Actor,
    organization_id: Field<OrganizationId>,
) -> Field<BulkRevoke> {
    let (organization_id, by_user_id, selection) = (
        organization_id,
        fields::optional_user_id(&input.user_id),
        selection(input),
    )
        .all()?;
    Ok(BulkRevoke {
        actor,
        organization_id,
        selection,
        by_user_id,
        validate_only: input.validate_only,
    })
}

/// The response.
pub(in crate::grpc) fn response(
    input: &proto::BulkRevokeRequest,
    revoked: &RevokedInvitations,
) -> proto::BulkRevokeResponse {
    let results = &revoked.results;
    let is_revoked = |result: &&Result<_, _>| matches!(result, Ok(RevokeOutcome::Revoked));
    let found = revoked.found.iter().map(Uuid::to_string);
    let ids = input.invitation_ids.iter().cloned().chain(found);
    proto::BulkRevokeResponse {
        revoked_count: count(results.iter().filter(is_revoked).count()),
        failed_count: count(results.iter().filter(|result| result.is_err()).count()),
        results: (0..)
            .zip(ids.zip(results))
            .map(|(index, (id, outcome))| result(index, id, *outcome))
            .collect(),
        has_more: revoked.has_more,
    }
}

fn result(
    index: i32,
    invitation_id: String,
    input: Result<RevokeOutcome, RefusedInvitation>,
) -> proto::BulkRevokeResult {
    let (outcome, error) = match input {
        Ok(RevokeOutcome::Revoked) => (proto::RevokeOutcome::Revoked, None),
        Ok(RevokeOutcome::Unchanged) => (proto::RevokeOutcome::Unchanged, None),
        Err(refused) => {
            let error = error::of_refused(refused);
            (proto::RevokeOutcome::Failed, Some(error))
        }
    };
    proto::BulkRevokeResult {
        index,
        invitation_id,
        outcome: outcome.into(),
        error,
    }
}

fn selection(input: &proto::BulkRevokeRequest) -> Field<InvitationSelection> {
    let Some(wanted) = &input.filter else {
        return fields::invitation_ids(&input.invitation_ids).map(InvitationSelection::Ids);
    };
    let ((), page_size, filter) = (
        only_filter(&input.invitation_ids),
        fields::bulk_page_size(input.page_size),
        filter(wanted),
    )
        .all()?;
    Ok(InvitationSelection::Filter {
        filter,
        before: None,
        page_size,
    })
}

/// Only pending invitations can be revoked.
fn filter(input: &proto::RevokeFilter) -> Field<InvitationFilter> {
    let rest = bulk_filter(&proto::ListRequest {
        delivery_state: input.delivery_state,
        batch_id: input.batch_id.clone(),
        inviter_user_id: input.inviter_user_id.clone(),
        email: input.email.clone(),
        ..Default::default()
    })?;
    Ok(InvitationFilter {
        states: vec![StateName::Pending],
        ..rest
    })
}
