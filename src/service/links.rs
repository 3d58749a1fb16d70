//! The links of invitations, for callers that may have them.

use std::collections::HashMap;

use uuid::Uuid;

use crate::domain::ids::OrganizationId;
use crate::store::subjects;

use super::ServiceError;
use super::item_result::ItemResult;
use super::unit_of_work::UnitOfWork;

/// Adds the link of each invitation that did not fail.
pub(super) async fn add_links(
    work: &mut UnitOfWork<'_>,
    organization_id: &OrganizationId,
    results: &mut [ItemResult],
) -> Result<(), ServiceError> {
    let ids: Vec<Uuid> = results
        .iter()
        .filter(|result| !result.is_failed())
        .filter_map(|result| Some(result.invitation.as_ref()?.id))
        .collect();
    let subjects = subjects::find_many(work, organization_id, &ids).await?;
    let subjects: HashMap<Uuid, _> = subjects
        .iter()
        .filter(|subject| !subject.is_erased())
        .map(|subject| (subject.id, subject))
        .collect();
    for result in results.iter_mut().filter(|result| !result.is_failed()) {
        if let Some(invitation) = &result.invitation
            && let Some(subject) = subjects.get(&invitation.id)
        {
            result.link = Some(work.context.link(subject, &invitation.redirect_url)?);
        }
    }
    Ok(())
}
