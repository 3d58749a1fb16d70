//! Requests to take many invitations back, and their answers.

use uuid::Uuid;

use super::{error, invitation, resend};
use crate::domain::actor::Actor;
use crate::domain::ids::OrganizationId;
use crate::domain::invitation::StateName;
use crate::domain::reason::{Reason, Violation};
use crate::grpc::convert::fields::{self, Field};
use crate::proto;
use crate::service::ListFilter;
use crate::service::bulk_revoke::{BulkRevoke, RevokeOutcome, RevokeSelection, RevokedPage};

/// A request in domain words; every violation at once.
pub(in crate::grpc) fn request(
    input: &proto::BulkRevokeRequest,
    actor: Actor,
    organization_id: Field<OrganizationId>,
) -> Field<BulkRevoke> {
    let (organization_id, (by_user_id, selection)) = fields::both(
        organization_id,
        fields::both(fields::optional_user_id(&input.user_id), selection(input)),
    )?;
    Ok(BulkRevoke {
        actor,
        organization_id,
        selection,
        by_user_id,
        validate_only: input.validate_only,
    })
}

/// An answer on the wire.
pub(in crate::grpc) fn response(
    input: &proto::BulkRevokeRequest,
    page: &RevokedPage,
) -> proto::BulkRevokeResponse {
    let count = |wanted: fn(&RevokeOutcome) -> bool| {
        let count = page
            .outcomes
            .iter()
            .filter(|outcome| wanted(outcome))
            .count();
        i32::try_from(count).unwrap_or(i32::MAX)
    };
    let found = page.found.iter().map(Uuid::to_string);
    let ids = input.invitation_ids.iter().cloned().chain(found);
    proto::BulkRevokeResponse {
        revoked_count: count(|outcome| *outcome == RevokeOutcome::Revoked),
        failed_count: count(|outcome| matches!(outcome, RevokeOutcome::Failed { .. })),
        results: (0..)
            .zip(ids.zip(&page.outcomes))
            .map(|(index, (id, outcome))| result(index, id, *outcome))
            .collect(),
        has_more: page.has_more,
    }
}

fn result(index: i32, invitation_id: String, input: RevokeOutcome) -> proto::BulkRevokeResult {
    let (outcome, error) = match input {
        RevokeOutcome::Revoked => (proto::RevokeOutcome::Revoked, None),
        RevokeOutcome::Unchanged => (proto::RevokeOutcome::Unchanged, None),
        RevokeOutcome::Failed {
            reason,
            first_index,
        } => {
            let violation = Violation::new("invitation_id", reason);
            let error = error::item_error(&[violation], first_index);
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

fn selection(input: &proto::BulkRevokeRequest) -> Field<RevokeSelection> {
    let Some(wanted) = &input.filter else {
        return resend::ids(&input.invitation_ids).map(RevokeSelection::Ids);
    };
    let is_alone = if input.invitation_ids.is_empty() {
        Ok(())
    } else {
        Err(vec![Violation::new("filter", Reason::FieldInvalid)])
    };
    let (((), page_size), filter) = fields::both(
        fields::both(is_alone, resend::page_size(input.page_size)),
        filter(wanted),
    )?;
    Ok(RevokeSelection::Filter { filter, page_size })
}

/// Only what is pending can be taken back.
fn filter(input: &proto::RevokeFilter) -> Field<ListFilter> {
    let rest = invitation::filter_within(
        "filter",
        &proto::ListRequest {
            delivery_state: input.delivery_state,
            batch_id: input.batch_id.clone(),
            inviter_user_id: input.inviter_user_id.clone(),
            email: input.email.clone(),
            ..Default::default()
        },
    )?;
    Ok(ListFilter {
        states: vec![StateName::Pending],
        ..rest
    })
}
