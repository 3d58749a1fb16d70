//! `BulkResend` and `BulkRevoke`: requests and results.

use prost::Message as _;
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use crate::domain::actor::Actor;
use crate::domain::expiry::Expiry;
use crate::domain::ids::OrganizationId;
use crate::domain::invitation::{InvitationFilter, StateName};
use crate::domain::keyring::Keyring;
use crate::proto::{self, InvitationState, bulk_resend_request};
use crate::service::{
    BulkResend, BulkRevoke, ItemOutcome, ItemResult, RefusedInvitation, RevokeOutcome,
    RevokedInvitation, SelectionResults,
};

use super::fields::{self, Field, Fields as _};
use super::filter::{self, selection};
use super::list_token::ListToken;
use super::viewed_invitations::ViewedInvitations;
use super::{count, enums, error, times};

pub(in crate::grpc) fn resend_request(
    input: &proto::BulkResendRequest,
    actor: Actor,
    organization_id: Field<OrganizationId>,
    keyring: &Keyring,
) -> Field<BulkResend> {
    let token = list_token(keyring, input);
    let before = token.open(&input.page_token, |cursor| Uuid::from_slice(&cursor).ok());
    let (ids, wanted) = (&input.invitation_ids, input.filter.as_ref());
    let (organization_id, request_id, selection, view) = (
        organization_id,
        fields::request_id(&input.request_id),
        selection(ids, wanted, input.page_size, resend_filter, before),
        enums::view(input.view),
    )
        .all()?;
    Ok(BulkResend {
        actor,
        request_id,
        request_hash: hash(input),
        organization_id,
        selection,
        rotate_token: input.rotate_token,
        expiry: match input.expiration {
            None => Expiry::Default,
            Some(bulk_resend_request::Expiration::Ttl(ttl)) => times::expiry_of_ttl(ttl),
            Some(bulk_resend_request::Expiration::ExpireTime(time)) => times::expiry_of_time(time),
        },
        validate_only: input.validate_only,
        view,
    })
}

pub(in crate::grpc) fn resend_response(
    viewed: &mut ViewedInvitations<'_>,
    input: &proto::BulkResendRequest,
    resent: SelectionResults<ItemResult>,
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
            .map(|(index, (invitation_id, item))| proto::BulkResendResult {
                index,
                invitation_id,
                outcome: match item.outcome {
                    ItemOutcome::Failed => proto::ResendOutcome::Failed.into(),
                    _ => proto::ResendOutcome::Resent.into(),
                },
                error: error::of_result(&item),
                invitation: item.invitation.map(|input| viewed.convert(input)),
            })
            .collect(),
        next_page_token,
    }
}

fn resend_filter(input: &proto::InvitationFilter) -> Field<InvitationFilter> {
    let states = if input.states.is_empty() {
        Ok(vec![StateName::Pending])
    } else {
        input.states.iter().copied().map(resendable_state).collect()
    };
    let (states, rest) = (states, filter::filter(Some(input))).all()?;
    Ok(InvitationFilter { states, ..rest })
}

fn resendable_state(value: i32) -> Field<StateName> {
    match InvitationState::try_from(value) {
        Ok(InvitationState::Pending) => Ok(StateName::Pending),
        Ok(InvitationState::Expired) => Ok(StateName::Expired),
        _ => Err(fields::invalid("filter.states")),
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

/// SHA-256 of the request without the request id, `validate_only` and the view.
fn hash(input: &proto::BulkResendRequest) -> [u8; 32] {
    let hashed = proto::BulkResendRequest {
        request_id: String::new(),
        validate_only: false,
        view: 0,
        ..input.clone()
    };
    Sha256::digest(hashed.encode_to_vec()).into()
}

pub(in crate::grpc) fn revoke_request(
    input: &proto::BulkRevokeRequest,
    actor: Actor,
    organization_id: Field<OrganizationId>,
) -> Field<BulkRevoke> {
    let (ids, wanted) = (&input.invitation_ids, input.filter.as_ref());
    let (organization_id, by_user_id, selection, view) = (
        organization_id,
        fields::optional(&input.acting_user_id, fields::acting_user_id),
        selection(ids, wanted, input.page_size, revoke_filter, Ok(None)),
        enums::view(input.view),
    )
        .all()?;
    Ok(BulkRevoke {
        actor,
        organization_id,
        selection,
        by_user_id,
        validate_only: input.validate_only,
        view,
    })
}

pub(in crate::grpc) fn revoke_response(
    viewed: &mut ViewedInvitations<'_>,
    input: &proto::BulkRevokeRequest,
    revoked: SelectionResults<Result<RevokedInvitation, RefusedInvitation>>,
) -> proto::BulkRevokeResponse {
    let results = &revoked.results;
    let is_revoked = |result: &&RevokedInvitation| result.outcome == RevokeOutcome::Revoked;
    let revoked_count = count(results.iter().flatten().filter(is_revoked).count());
    let failed_count = count(results.iter().filter(|result| result.is_err()).count());
    let found = revoked.found.iter().map(Uuid::to_string);
    let ids = input.invitation_ids.iter().cloned().chain(found);
    proto::BulkRevokeResponse {
        revoked_count,
        failed_count,
        results: (0..)
            .zip(ids.zip(revoked.results))
            .map(|(index, (id, result))| revoke_result(viewed, index, id, result))
            .collect(),
        // TODO(13): paging.
        next_page_token: String::new(),
    }
}

fn revoke_result(
    viewed: &mut ViewedInvitations<'_>,
    index: i32,
    invitation_id: String,
    input: Result<RevokedInvitation, RefusedInvitation>,
) -> proto::BulkRevokeResult {
    let (outcome, invitation, error) = match input {
        Ok(revoked) => {
            let outcome = match revoked.outcome {
                RevokeOutcome::Revoked => proto::RevokeOutcome::Revoked,
                RevokeOutcome::Unchanged => proto::RevokeOutcome::Unchanged,
            };
            (outcome, Some(viewed.convert(revoked.invitation)), None)
        }
        Err(refused) => {
            let error = error::of_refused(refused);
            (proto::RevokeOutcome::Failed, None, Some(error))
        }
    };
    proto::BulkRevokeResult {
        index,
        invitation_id,
        outcome: outcome.into(),
        error,
        invitation,
    }
}

/// Only pending invitations can be revoked.
fn revoke_filter(input: &proto::InvitationFilter) -> Field<InvitationFilter> {
    Ok(InvitationFilter {
        states: vec![StateName::Pending],
        ..filter::filter(Some(input))?
    })
}
