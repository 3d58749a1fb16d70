//! `Resend`, `BulkResend` and `BulkRevoke`: requests and results.

use prost::Message as _;
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use crate::domain::actor::Actor;
use crate::domain::expiry::Expiry;
use crate::domain::ids::OrganizationId;
use crate::domain::keyring::Keyring;
use crate::proto::{self, bulk_resend_request, resend_request};
use crate::service::{
    BulkResend, BulkRevoke, ItemOutcome, ItemResult, RefusedInvitation, Resend, RevokeOutcome,
    RevokedInvitation, SelectionResults,
};

use super::error::ItemErrors;
use super::fields::{self, Field, Fields as _};
use super::filter::{BULK_RESEND, BULK_REVOKE, SelectionFields};
use super::viewed_invitations::ViewedInvitations;
use super::{count, enums, times};

pub(in crate::grpc) fn resend(
    input: &proto::ResendRequest,
    actor: Field<Actor>,
    organization_id: Field<OrganizationId>,
) -> Field<Resend> {
    let id = fields::invitation_id(&input.invitation_id);
    let (actor, organization_id, id) = (actor, organization_id, id).all()?;
    let hashed = proto::ResendRequest {
        request_id: String::new(),
        ..input.clone()
    };
    Ok(Resend {
        actor,
        request_hash: Sha256::digest(hashed.encode_to_vec()).into(),
        organization_id,
        id,
        rotate_token: input.rotate_token,
        expiry: match input.expiration {
            None => Expiry::Default,
            Some(resend_request::Expiration::Ttl(ttl)) => times::expiry_of_ttl(ttl),
            Some(resend_request::Expiration::ExpireTime(time)) => times::expiry_of_time(time),
        },
    })
}

pub(in crate::grpc) fn bulk_resend(
    input: &proto::BulkResendRequest,
    actor: Field<Actor>,
    organization_id: Field<OrganizationId>,
    keyring: &Keyring,
) -> Field<BulkResend> {
    let selection = SelectionFields::from(input).parse(&BULK_RESEND, keyring);
    let (actor, organization_id, selection, view) =
        (actor, organization_id, selection, enums::view(input.view)).all()?;
    Ok(BulkResend {
        actor,
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
    let token = BULK_RESEND.token(keyring, &input.organization_id, input.filter.as_ref());
    let next_page_token = token.next_after(resent.has_more, resent.found.last());
    let all_count = count(resent.results.len());
    let is_failed = |result: &&ItemResult| result.outcome == ItemOutcome::Failed;
    let failed_count = count(resent.results.iter().filter(is_failed).count());
    let found = resent.found.iter().map(Uuid::to_string);
    let ids = input.invitation_ids.iter().map(fields::echo).chain(found);
    let errors = ItemErrors::among(resent.results.len());
    let response = proto::BulkResendResponse {
        resent_count: all_count - failed_count,
        failed_count,
        results: (0..)
            .zip(ids.zip(resent.results))
            .map(|(index, (invitation_id, item))| proto::ResendResult {
                index,
                invitation_id,
                outcome: match item.outcome {
                    ItemOutcome::Failed => proto::ResendOutcome::Failed.into(),
                    _ => proto::ResendOutcome::Resent.into(),
                },
                error: errors.of_result(&item),
                invitation: item.invitation.map(|input| viewed.convert(input)),
            })
            .collect(),
        next_page_token,
    };
    viewed.fit(response)
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

pub(in crate::grpc) fn bulk_revoke(
    input: &proto::BulkRevokeRequest,
    actor: Field<Actor>,
    organization_id: Field<OrganizationId>,
    keyring: &Keyring,
) -> Field<BulkRevoke> {
    let selection = SelectionFields::from(input).parse(&BULK_REVOKE, keyring);
    let (actor, organization_id, selection, view) =
        (actor, organization_id, selection, enums::view(input.view)).all()?;
    Ok(BulkRevoke {
        actor,
        organization_id,
        selection,
        validate_only: input.validate_only,
        view,
    })
}

pub(in crate::grpc) fn revoke_response(
    viewed: &mut ViewedInvitations<'_>,
    input: &proto::BulkRevokeRequest,
    revoked: SelectionResults<Result<RevokedInvitation, RefusedInvitation>>,
    keyring: &Keyring,
) -> proto::BulkRevokeResponse {
    let token = BULK_REVOKE.token(keyring, &input.organization_id, input.filter.as_ref());
    let results = &revoked.results;
    let is_revoked = |result: &&RevokedInvitation| result.outcome == RevokeOutcome::Revoked;
    let revoked_count = count(results.iter().flatten().filter(is_revoked).count());
    let failed_count = count(results.iter().filter(|result| result.is_err()).count());
    let found = revoked.found.iter().map(Uuid::to_string);
    let ids = input.invitation_ids.iter().map(fields::echo).chain(found);
    let errors = ItemErrors::among(results.len());
    let response = proto::BulkRevokeResponse {
        revoked_count,
        failed_count,
        results: (0..)
            .zip(ids.zip(revoked.results))
            .map(|(index, (id, result))| revoke_result(viewed, errors, index, id, result))
            .collect(),
        next_page_token: token.next_after(revoked.has_more, revoked.found.last()),
    };
    viewed.fit(response)
}

fn revoke_result(
    viewed: &mut ViewedInvitations<'_>,
    errors: ItemErrors,
    index: i32,
    invitation_id: String,
    input: Result<RevokedInvitation, RefusedInvitation>,
) -> proto::RevokeResult {
    let (outcome, invitation, error) = match input {
        Ok(revoked) => {
            let outcome = match revoked.outcome {
                RevokeOutcome::Revoked => proto::RevokeOutcome::Revoked,
                RevokeOutcome::Unchanged => proto::RevokeOutcome::Unchanged,
            };
            (outcome, Some(viewed.convert(revoked.invitation)), None)
        }
        Err(refused) => {
            let error = errors.of_refused(refused);
            (proto::RevokeOutcome::Failed, None, Some(error))
        }
    };
    proto::RevokeResult {
        index,
        invitation_id,
        outcome: outcome.into(),
        error,
        invitation,
    }
}
