//! Requests to mail many invitations again, and their answers.

use prost::Message as _;
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use super::{bulk, error, invitation, times};
use crate::domain::actor::Actor;
use crate::domain::expiry::Expiry;
use crate::domain::ids::OrganizationId;
use crate::domain::invitation::StateName;
use crate::domain::keyring::Keyring;
use crate::domain::new_invitation::ITEMS_MAX;
use crate::domain::page_token;
use crate::domain::reason::{Reason, Violation};
use crate::grpc::convert::fields::{self, Field};
use crate::proto::{self, InvitationState, bulk_resend_request};
use crate::service::ListFilter;
use crate::service::bulk_create::{ItemResult, Outcome};
use crate::service::bulk_resend::{BulkResend, ResentPage, Selection};

/// A request in domain words; every violation at once.
pub(in crate::grpc) fn request(
    input: &proto::BulkResendRequest,
    actor: Actor,
    organization_id: Field<OrganizationId>,
    keyring: &Keyring,
) -> Field<BulkResend> {
    let request_id = bulk::request_id(&input.request_id)
        .map_err(|reason| vec![Violation::new("request_id", reason)]);
    let (organization_id, (request_id, selection)) = fields::both(
        organization_id,
        fields::both(request_id, selection(input, keyring)),
    )?;
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

/// An answer on the wire.
pub(in crate::grpc) fn response(
    input: &proto::BulkResendRequest,
    page: ResentPage,
    keyring: &Keyring,
    may_see_accounts: bool,
) -> proto::BulkResendResponse {
    let next_page_token = page
        .found
        .last()
        .filter(|_| page.has_more)
        .map(|last| page_token::seal(keyring, &list_name(input), last.as_bytes()))
        .unwrap_or_default();
    let found = page.found.iter().map(Uuid::to_string);
    let ids = input.invitation_ids.iter().cloned().chain(found);
    let results: Vec<proto::BulkResendResult> = (0..)
        .zip(ids.zip(page.results))
        .map(|(index, (id, item))| result(index, id, item, may_see_accounts))
        .collect();
    let is_failed =
        |result: &&proto::BulkResendResult| result.outcome() == proto::ResendOutcome::Failed;
    let failed_count = i32::try_from(results.iter().filter(is_failed).count()).unwrap_or(i32::MAX);
    let all_count = i32::try_from(results.len()).unwrap_or(i32::MAX);
    proto::BulkResendResponse {
        resent_count: all_count - failed_count,
        failed_count,
        results,
        next_page_token,
    }
}

fn result(
    index: i32,
    invitation_id: String,
    input: ItemResult,
    may_see_accounts: bool,
) -> proto::BulkResendResult {
    let is_failed = input.outcome == Outcome::Failed;
    let outcome = if is_failed {
        proto::ResendOutcome::Failed
    } else {
        proto::ResendOutcome::Resent
    };
    proto::BulkResendResult {
        index,
        invitation_id,
        outcome: outcome.into(),
        error: is_failed.then(|| {
            let error = error::item_error(&input.violations, input.first_index);
            error::with_quota(error, input.exceeded.as_ref())
        }),
        invitation: input
            .invitation
            .map(|input| invitation::invitation(input, may_see_accounts)),
    }
}

/// Ids whose form is checked where each has a result of its own, or why the list is refused as a whole.
pub(super) fn ids(input: &[String]) -> Field<Vec<Option<Uuid>>> {
    let refuse = |reason| Err(vec![Violation::new("invitation_ids", reason)]);
    match input.len() {
        0 => refuse(Reason::ItemsEmpty),
        1..=ITEMS_MAX => Ok(input.iter().map(|id| Uuid::try_parse(id).ok()).collect()),
        _ => refuse(Reason::TooManyItems),
    }
}

fn selection(input: &proto::BulkResendRequest, keyring: &Keyring) -> Field<Selection> {
    let Some(wanted) = &input.filter else {
        return ids(&input.invitation_ids).map(Selection::Ids);
    };
    let is_alone = if input.invitation_ids.is_empty() {
        Ok(())
    } else {
        Err(vec![Violation::new("filter", Reason::FieldInvalid)])
    };
    let cursor = fields::cursor(keyring, &list_name(input), &input.page_token, |cursor| {
        Uuid::from_slice(&cursor).ok()
    });
    let (((), page_size), (filter, before)) = fields::both(
        fields::both(is_alone, page_size(input.page_size)),
        fields::both(filter(wanted), cursor),
    )?;
    Ok(Selection::Filter {
        filter,
        before,
        page_size,
    })
}

fn filter(input: &proto::ResendFilter) -> Field<ListFilter> {
    let states = if input.states.is_empty() {
        Ok(vec![StateName::Pending])
    } else {
        input
            .states
            .iter()
            .map(|state| parse_state(*state))
            .collect()
    };
    let refuse = |()| vec![Violation::new("filter.states", Reason::FieldInvalid)];
    let rest = invitation::filter_within(
        "filter",
        &proto::ListRequest {
            delivery_state: input.delivery_state,
            batch_id: input.batch_id.clone(),
            inviter_user_id: input.inviter_user_id.clone(),
            ..Default::default()
        },
    );
    let (states, rest) = fields::both(states.map_err(refuse), rest)?;
    Ok(ListFilter { states, ..rest })
}

/// The states from which an invitation can be mailed again.
fn parse_state(value: i32) -> Result<StateName, ()> {
    match InvitationState::try_from(value) {
        Ok(InvitationState::Pending) => Ok(StateName::Pending),
        Ok(InvitationState::Expired) => Ok(StateName::Expired),
        _ => Err(()),
    }
}

/// A page of a bulk call: at most as many as a list of ids.
pub(super) fn page_size(input: i32) -> Field<usize> {
    match usize::try_from(input) {
        Ok(0) => Ok(ITEMS_MAX),
        Ok(size) => Ok(size.min(ITEMS_MAX)),
        Err(_) => Err(vec![Violation::new("page_size", Reason::FieldInvalid)]),
    }
}

/// What a page token is bound to.
fn list_name(input: &proto::BulkResendRequest) -> Vec<u8> {
    let mut name = b"resend\0".to_vec();
    let asked = proto::BulkResendRequest {
        organization_id: input.organization_id.clone(),
        filter: input.filter.clone(),
        ..Default::default()
    };
    name.extend(asked.encode_to_vec());
    name
}

/// SHA-256 of what is asked, without the request id and whether it is a dry run.
fn hash(input: &proto::BulkResendRequest) -> [u8; 32] {
    let asked = proto::BulkResendRequest {
        request_id: String::new(),
        validate_only: false,
        ..input.clone()
    };
    Sha256::digest(asked.encode_to_vec()).into()
}
