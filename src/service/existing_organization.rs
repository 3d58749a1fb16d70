//! Checks that an organization exists.

use crate::domain::ids::OrganizationId;
use crate::domain::reason::Reason;
use crate::store::{Connection, organizations};

use super::ServiceError;

/// Refuses an organization that is unknown or was deleted.
///
/// # Errors
///
/// `ORGANIZATION_NOT_FOUND`.
pub(super) async fn require_organization_exists(
    connection: &mut Connection<'_>,
    id: &OrganizationId,
) -> Result<(), ServiceError> {
    organizations::get(connection, id)
        .await?
        .filter(|stored| !stored.is_deleted)
        .map(|_| ())
        .ok_or(ServiceError::Refused(Reason::OrganizationNotFound))
}
