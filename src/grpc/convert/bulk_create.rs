//! `BulkCreate`: the request and its results.

use prost::Message as _;
use sha2::{Digest as _, Sha256};

use super::fields::{self, Field, Fields as _};
use super::viewer::{self, Viewer};
use super::{count, enums, error, metadata, times};
use crate::domain::actor::Actor;
use crate::domain::expiry::Expiry;
use crate::domain::ids::OrganizationId;
use crate::domain::new_invitation::ItemInput;
use crate::domain::reason::{Reason, Violation};
use crate::proto::{self, new_invitation};
use crate::service::bulk_create::{BulkCreate, CreatedBatch, OnExisting};
use crate::service::{ItemOutcome, ItemResult};

/// The request. Reports every violation that is not of an item.
pub(in crate::grpc) fn request(
    input: proto::BulkCreateRequest,
    actor: Actor,
    organization_id: Field<OrganizationId>,
) -> Field<BulkCreate> {
    let (organization_id, (), request_id, on_existing) = (
        organization_id,
        fields::list_length("invitations", input.invitations.len()),
        fields::request_id(&input.request_id),
        on_existing(input.on_existing),
    )
        .all()?;
    let request_hash = match request_id {
        None => [0; 32],
        Some(_) => hash(&input),
    };
    Ok(BulkCreate {
        actor,
        request_id,
        request_hash,
        organization_id,
        inviter_user_id: input.inviter_user_id,
        items: input.invitations.into_iter().map(item).collect(),
        on_existing,
        atomic: input.atomic,
        validate_only: input.validate_only,
        return_link: input.return_link,
    })
}

/// The response. `emails` are the addresses of the request.
pub(in crate::grpc) fn response(
    viewer: &Viewer<'_>,
    batch: CreatedBatch,
    emails: Vec<String>,
) -> proto::BulkCreateResponse {
    let all_count = count(batch.results.len());
    let is_failed = |result: &&ItemResult| result.outcome == ItemOutcome::Failed;
    let failed_count = count(batch.results.iter().filter(is_failed).count());
    proto::BulkCreateResponse {
        batch_id: viewer::id(batch.id),
        created_count: all_count - failed_count,
        failed_count,
        results: (0..)
            .zip(batch.results.into_iter().zip(emails))
            .map(|(index, (item, email))| result(viewer, index, item, email))
            .collect(),
    }
}

fn result(
    viewer: &Viewer<'_>,
    index: i32,
    input: ItemResult,
    email: String,
) -> proto::BulkCreateResult {
    proto::BulkCreateResult {
        index,
        email,
        outcome: enums::create_outcome(input.outcome).into(),
        error: error::of_result(&input),
        invitation: input.invitation.map(|input| viewer.invitation(input)),
        link: input.link.unwrap_or_default(),
    }
}

/// SHA-256 of the request without the request id and `validate_only`.
fn hash(input: &proto::BulkCreateRequest) -> [u8; 32] {
    let hashed = proto::BulkCreateRequest {
        request_id: String::new(),
        validate_only: false,
        ..input.clone()
    };
    Sha256::digest(hashed.encode_to_vec()).into()
}

pub(super) fn on_existing(value: i32) -> Field<OnExisting> {
    enums::parse_on_existing(value)
        .ok_or_else(|| vec![Violation::new("on_existing", Reason::FieldInvalid)])
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
        accept_policy: enums::parse_accept_policy(input.accept_policy),
        reminder_lead: times::reminder_lead(input.reminder_lead),
    }
}
