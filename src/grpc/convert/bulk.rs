//! Bulk requests and their answers.

use prost::Message as _;
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use super::{error, invitation, metadata, times};
use crate::domain::actor::Actor;
use crate::domain::expiry::Expiry;
use crate::domain::ids::OrganizationId;
use crate::domain::new_invitation::{ITEMS_MAX, ItemInput};
use crate::domain::reason::{Reason, Violation};
use crate::grpc::convert::fields::Field;
use crate::proto::{self, new_invitation};
use crate::service::bulk_create::{Batch, BulkCreate, ItemResult, OnExisting, Outcome};

/// A request in domain words; every violation of what is not an item at once.
pub(in crate::grpc) fn request(
    input: proto::BulkCreateRequest,
    actor: Actor,
    organization_id: Field<OrganizationId>,
) -> Field<BulkCreate<'static>> {
    let (organization_id, mut violations) = match organization_id {
        Ok(id) => (Some(id), Vec::new()),
        Err(violations) => (None, violations),
    };
    let mut refuse = |field: &str, reason| violations.push(Violation::new(field, reason));
    if input.invitations.is_empty() {
        refuse("invitations", Reason::ItemsEmpty);
    }
    if input.invitations.len() > ITEMS_MAX {
        refuse("invitations", Reason::TooManyItems);
    }
    let request_id = request_id(&input.request_id).unwrap_or_else(|reason| {
        refuse("request_id", reason);
        None
    });
    let on_existing = on_existing(input.on_existing);
    if on_existing.is_none() {
        refuse("on_existing", Reason::FieldInvalid);
    }
    let Some(organization_id) = organization_id.filter(|_| violations.is_empty()) else {
        return Err(violations);
    };
    Ok(BulkCreate {
        actor,
        request_id,
        request_hash: if request_id.is_some() {
            hash(&input)
        } else {
            [0; 32]
        },
        organization_id,
        inviter_user_id: input.inviter_user_id,
        items: input.invitations.into_iter().map(item).collect(),
        on_existing: on_existing.unwrap_or_default(),
        atomic: input.atomic,
        validate_only: input.validate_only,
        return_link: input.return_link,
    })
}

/// An answer on the wire.
pub(in crate::grpc) fn response(
    batch: Batch,
    emails: Vec<String>,
    may_see_accounts: bool,
) -> proto::BulkCreateResponse {
    let results: Vec<proto::BulkCreateResult> = (0..)
        .zip(batch.results.into_iter().zip(emails))
        .map(|(index, (item, email))| result(index, item, email, may_see_accounts))
        .collect();
    let is_failed =
        |result: &&proto::BulkCreateResult| result.outcome() == proto::CreateOutcome::Failed;
    let failed_count = i32::try_from(results.iter().filter(is_failed).count()).unwrap_or(i32::MAX);
    let all_count = i32::try_from(results.len()).unwrap_or(i32::MAX);
    proto::BulkCreateResponse {
        batch_id: invitation::id(batch.id),
        created_count: all_count - failed_count,
        failed_count,
        results,
    }
}

pub(super) fn result(
    index: i32,
    input: ItemResult,
    email: String,
    may_see_accounts: bool,
) -> proto::BulkCreateResult {
    let is_failed = input.outcome == Outcome::Failed;
    proto::BulkCreateResult {
        index,
        email,
        outcome: outcome(input.outcome).into(),
        error: is_failed.then(|| {
            let error = error::item_error(&input.violations, input.first_index);
            error::with_quota(error, input.exceeded.as_ref())
        }),
        invitation: input
            .invitation
            .map(|input| invitation::invitation(input, may_see_accounts)),
        link: input.link.unwrap_or_default(),
    }
}

/// SHA-256 of what is asked, without the request id and whether it is a dry run.
fn hash(input: &proto::BulkCreateRequest) -> [u8; 32] {
    let asked = proto::BulkCreateRequest {
        request_id: String::new(),
        validate_only: false,
        ..input.clone()
    };
    Sha256::digest(asked.encode_to_vec()).into()
}

/// Only the spelling of RFC 9562 §4, so that one id has one spelling but for case.
pub(super) fn request_id(input: &str) -> Result<Option<Uuid>, Reason> {
    if input.is_empty() {
        return Ok(None);
    }
    let is_hyphenated = input.len() == 36;
    Uuid::try_parse(input)
        .ok()
        .filter(|_| is_hyphenated)
        .map(Some)
        .ok_or(Reason::RequestIdInvalid)
}

pub(super) fn item(input: proto::NewInvitation) -> ItemInput {
    ItemInput {
        email: input.email,
        role: input.role,
        inviter_user_id: input.inviter_user_id,
        redirect_url: input.redirect_url,
        public_metadata: metadata::object(input.public_metadata),
        private_metadata: metadata::object(input.private_metadata),
        expiry: match input.expiry {
            None => Expiry::Default,
            Some(new_invitation::Expiry::Ttl(ttl)) => times::expiry_of_ttl(ttl),
            Some(new_invitation::Expiry::ExpireTime(time)) => times::expiry_of_time(time),
        },
        notify: input.notify.unwrap_or(true),
        locale: input.locale,
        message: input.message,
        accept_policy: invitation::accept_policy(input.accept_policy),
        reminder_lead: times::reminder_lead(input.reminder_lead),
    }
}

pub(super) fn on_existing(value: i32) -> Option<OnExisting> {
    Some(match proto::OnExisting::try_from(value).ok()? {
        proto::OnExisting::Unspecified | proto::OnExisting::Fail => OnExisting::Fail,
        proto::OnExisting::Return => OnExisting::Return,
        proto::OnExisting::Resend => OnExisting::Resend,
        proto::OnExisting::Replace => OnExisting::Replace,
    })
}

fn outcome(outcome: Outcome) -> proto::CreateOutcome {
    match outcome {
        Outcome::Created => proto::CreateOutcome::Created,
        Outcome::Existing => proto::CreateOutcome::Existing,
        Outcome::Resent => proto::CreateOutcome::Resent,
        Outcome::Replaced => proto::CreateOutcome::Replaced,
        Outcome::Failed => proto::CreateOutcome::Failed,
    }
}
