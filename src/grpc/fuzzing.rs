//! What the fuzz targets call: decoding, converting and checking a request, without a database.

use std::collections::HashMap;

use prost::Message as _;
use time::OffsetDateTime;

use super::convert::{bulk_create, fields};
use crate::domain::actor::Actor;
use crate::domain::new_invitation::{Inviter, ItemDraft};
use crate::domain::organization::OrganizationInput;
use crate::domain::update_mask::UpdateMask;
use crate::proto::BulkCreateRequest;

const NOW: OffsetDateTime = time::macros::datetime!(2026-11-22 18:48 UTC);

/// Decodes any bytes as a request. Returns how many of its items are valid.
pub fn bulk_create(bytes: &[u8]) -> Option<usize> {
    let message = BulkCreateRequest::decode(bytes).ok()?;
    let organization_id = fields::organization_id(&message.organization_id);
    let request =
        bulk_create::request(message, Actor::from_outside("fuzzer"), organization_id).ok()?;
    let organization = OrganizationInput {
        id: "acme".to_owned(),
        name: Some("Acme".to_owned()),
        redirect_origins: vec!["https://app.example.com".to_owned()],
        ..Default::default()
    };
    let organization = organization.parse(None, &UpdateMask::default()).ok()?;
    let inviter = Inviter {
        name: "Ada".to_owned(),
        can_invite: true,
    };
    let inviters = HashMap::from([("ada".to_owned(), inviter)]);
    let drafts = request.items.iter().enumerate().map(|(index, item)| {
        ItemDraft::parse(
            index,
            item,
            &organization,
            &request.terms.inviter_user_id,
            NOW,
        )
    });
    Some(
        drafts
            .filter_map(|draft| draft.finish(&inviters).ok())
            .count(),
    )
}
