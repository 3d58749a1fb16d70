//! `BulkGet`: requests and results.

use std::collections::HashMap;

use uuid::Uuid;

use crate::domain::ids::OrganizationId;
use crate::domain::invitation::Invitation;
use crate::domain::reason::{Reason, Violation};
use crate::proto;
use crate::service::BulkGetInvitations;

use super::error::ItemErrors;
use super::fields::{self, Field, Fields as _};
use super::viewed_invitations::ViewedInvitations;
use super::{count, enums};

/// The ids of a request. `None` stands for an id that is no UUID, which fails as an item.
pub(in crate::grpc) type RequestedIds = Vec<Option<Uuid>>;

pub(in crate::grpc) fn request(
    input: &proto::BulkGetRequest,
    organization_id: Field<OrganizationId>,
) -> Field<(BulkGetInvitations, RequestedIds)> {
    let (organization_id, requested, view) = (
        organization_id,
        fields::invitation_ids(&input.invitation_ids),
        enums::view(input.view),
    )
        .all()?;
    let get = BulkGetInvitations {
        organization_id,
        ids: requested.iter().copied().flatten().collect(),
        view,
    };
    Ok((get, requested))
}

/// One result for each id. An id that is requested twice has two results.
pub(in crate::grpc) fn response(
    viewed: &mut ViewedInvitations<'_>,
    requested: &[Option<Uuid>],
    found: &HashMap<Uuid, Invitation>,
) -> proto::BulkGetResponse {
    let errors = ItemErrors::among(requested.len());
    let results: Vec<_> = (0..)
        .zip(requested)
        .map(|(index, id)| match find(*id, found) {
            Ok(invitation) => proto::GetResult {
                index,
                invitation: Some(viewed.convert(invitation.clone())),
                error: None,
            },
            Err(reason) => proto::GetResult {
                index,
                invitation: None,
                error: Some(errors.of_violations(&[Violation::new("invitation_id", reason)], None)),
            },
        })
        .collect();
    viewed.fit(proto::BulkGetResponse {
        failed_count: count(results.iter().filter(|it| it.error.is_some()).count()),
        results,
    })
}

fn find(id: Option<Uuid>, found: &HashMap<Uuid, Invitation>) -> Result<&Invitation, Reason> {
    let id = id.ok_or(Reason::FieldInvalid)?;
    found.get(&id).ok_or(Reason::InvitationNotFound)
}
