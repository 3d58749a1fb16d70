//! `BulkResend`: the request and its results.

use prost::Message as _;
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use super::fields::{self, Field, Fields as _};
use super::filter::bulk_filter;
use super::list_token::ListToken;
use super::viewer::Viewer;
use super::{count, error, times};
use crate::domain::actor::Actor;
use crate::domain::expiry::Expiry;
use crate::domain::ids::OrganizationId;
use crate::domain::invitation::StateName;
use crate::domain::invitation_filter::InvitationFilter;
use crate::domain::keyring::Keyring;
use crate::domain::reason::{Reason, Violation};
use crate::proto::{self, InvitationState, bulk_resend_request};
use crate::service::{BulkResend, InvitationSelection, ItemOutcome, ItemResult, ResentInvitations};

/// The request. Reports every violation.
pub(in crate::grpc) fn request(
    input: &proto::BulkResendRequest,
    actor: Actor,
    organization_id: Field<OrganizationId>,
    keyring: &Keyring,
) -> Field<BulkResend> {
    let (organization_id, request_id, selection) = (
        organization_id,
        fields::request_id(&input.request_id),
        selection(input, keyring),
    )
        .all()?;
    Ok(BulkResend {
        actor,
        request_id,
        request_hash: hash(input),
        organization_id,
        selection,
        rotate_token: input.rotate_token,
        expiry: match input.expiry {
            None => Expiry::Default,
            Some(bulk_resend_request::Expiry::Ttl(ttl)) => times::expiry_of_ttl(ttl),
            Some(bulk_resend_request::Expiry::ExpireTime(time)) => times::expiry_of_time(time),
        },
        validate_only: input.validate_only,
    })
}

/// The response.
pub(in crate::grpc) fn response(
    viewer: &Viewer<'_>,
    input: &proto::BulkResendRequest,
    resent: ResentInvitations,
    keyring: &Keyring,
) -> proto::BulkResendResponse {
    let last = resent.found.last().map(|id| id.as_bytes().as_slice());
    let next_page_token = list_token(keyring, input).next(resent.has_more, last);
    let all_count = count(resent.results.len());
    let is_failed = |result: &&ItemResult| result.outcome == ItemOutcome::Failed;
    let failed_count = count(resent.results.iter().filter(is_failed).count());
    let found = resent.found.iter().map(Uuid::to_string);
    let ids = input.invitation_ids.iter().cloned().chain(found);
    proto::BulkResendResponse {
        resent_count: all_count - failed_count,
        failed_count,
        results: (0..)
            .zip(ids.zip(resent.results))
            .map(|(index, (id, item))| result(viewer, index, id, item))
            .collect(),
        next_page_token,
    }
}

fn result(
    viewer: &Viewer<'_>,
    index: i32,
    invitation_id: String,
    input: ItemResult,
) -> proto::BulkResendResult {
    let outcome = match input.outcome {
        ItemOutcome::Failed => proto::ResendOutcome::Failed,
        _ => proto::ResendOutcome::Resent,
    };
    proto::BulkResendResult {
        index,
        invitation_id,
        outcome: outcome.into(),
        error: error::of_result(&input),
        invitation: input.invitation.map(|input| viewer.invitation(input)),
    }
}

fn selection(input: &proto::BulkResendRequest, keyring: &Keyring) -> Field<InvitationSelection> {
    let Some(wanted) = &input.filter else {
        return fields::invitation_ids(&input.invitation_ids).map(InvitationSelection::Ids);
    };
    let ((), page_size, filter, before) = (
        only_filter(&input.invitation_ids),
        fields::bulk_page_size(input.page_size),
        filter(wanted),
        list_token(keyring, input).open(&input.page_token, |cursor| Uuid::from_slice(&cursor).ok()),
    )
        .all()?;
    Ok(InvitationSelection::Filter {
        filter,
        before,
        page_size,
    })
}

/// Refuses ids beside a filter.
pub(super) fn only_filter(invitation_ids: &[String]) -> Field<()> {
    if invitation_ids.is_empty() {
        Ok(())
    } else {
        Err(vec![Violation::new("filter", Reason::FieldInvalid)])
    }
}

fn filter(input: &proto::ResendFilter) -> Field<InvitationFilter> {
    let states = if input.states.is_empty() {
        Ok(vec![StateName::Pending])
    } else {
        input.states.iter().copied().map(resendable_state).collect()
    };
    let rest = bulk_filter(&proto::ListRequest {
        delivery_state: input.delivery_state,
        batch_id: input.batch_id.clone(),
        inviter_user_id: input.inviter_user_id.clone(),
        ..Default::default()
    });
    let (states, rest) = (states, rest).all()?;
    Ok(InvitationFilter { states, ..rest })
}

fn resendable_state(value: i32) -> Field<StateName> {
    match InvitationState::try_from(value) {
        Ok(InvitationState::Pending) => Ok(StateName::Pending),
        Ok(InvitationState::Expired) => Ok(StateName::Expired),
        _ => Err(vec![Violation::new("filter.states", Reason::FieldInvalid)]),
    }
}

fn list_token<'a>(keyring: &'a Keyring, input: &proto::BulkResendRequest) -> ListToken<'a> {
    let list = proto::BulkResendRequest {
        organization_id: input.organization_id.clone(),
        filter: input.filter.clone(),
        ..Default::default()
    };
    ListToken::new(keyring, "resend", &list)
}

/// SHA-256 of the request without the request id and `validate_only`.
fn hash(input: &proto::BulkResendRequest) -> [u8; 32] {
    let hashed = proto::BulkResendRequest {
        request_id: String::new(),
        validate_only: false,
        ..input.clone()
    };
    Sha256::digest(hashed.encode_to_vec()).into()
}
