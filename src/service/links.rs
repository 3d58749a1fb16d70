//! The links of invitations, for callers that may have them.

use std::collections::HashMap;

use uuid::Uuid;

use crate::domain::ids::OrganizationId;
use crate::store::{Connection, subjects};

use super::ServiceError;
use super::context::Context;
use super::item_result::ItemResult;

/// Adds the link of each invitation that did not fail.
pub(super) async fn add_links(
    context: &Context,
    connection: &mut Connection<'_>,
    organization_id: &OrganizationId,
    results: &mut [ItemResult],
) -> Result<(), ServiceError> {
    let ids: Vec<Uuid> = results
        .iter()
        .filter(|result| !result.is_failed())
        .filter_map(|result| Some(result.invitation.as_ref()?.id))
        .collect();
    let subjects = subjects::find_many(connection, organization_id, &ids).await?;
    let subjects: HashMap<Uuid, _> = subjects
        .iter()
        .filter(|subject| !subject.is_erased())
        .map(|subject| (subject.id, subject))
        .collect();
    for result in results.iter_mut().filter(|result| !result.is_failed()) {
        if let Some(invitation) = &result.invitation
            && let Some(subject) = subjects.get(&invitation.id)
        {
            result.link = Some(context.link(subject, &invitation.redirect_url)?);
        }
    }
    Ok(())
}
