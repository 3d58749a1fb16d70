//! Invitations that a bulk call is about to act on: locked, with what decides whether it may.

use super::Connection;
use time::OffsetDateTime;
use uuid::Uuid;

use super::StoreError;
use crate::domain::ids::OrganizationId;
use crate::domain::invitation::StateName;

/// What decides whether a call may act on an invitation. Not `Debug`: it holds an address.
pub struct Candidate {
    /// The invitation.
    pub id: Uuid,
    /// The invited address; empty once it was erased.
    pub email_normalized: String,
    /// The state's name in the store.
    state: String,
    /// When it expires.
    expires_at: OffsetDateTime,
}

impl Candidate {
    /// Whether the address was erased, so that nobody can be mailed any more.
    #[must_use]
    pub const fn is_erased(&self) -> bool {
        self.email_normalized.is_empty()
    }

    /// The state as whoever reads now sees it.
    pub fn state(&self, now: OffsetDateTime) -> Result<StateName, StoreError> {
        match StateName::from_name(&self.state) {
            Some(StateName::Pending) if self.expires_at <= now => Ok(StateName::Expired),
            Some(state) => Ok(state),
            None => Err(StoreError::Inconsistent("invitations.state")),
        }
    }
}

/// Locks those of an organization's invitations that exist, until the transaction ends. In the order of their addresses,
/// as every statement that locks many; of one address, from old to new.
pub async fn lock_many(
    connection: &mut Connection<'_>,
    organization_id: &OrganizationId,
    ids: &[Uuid],
) -> Result<Vec<Candidate>, StoreError> {
    let candidates = sqlx::query_as!(
        Candidate,
        r#"-- store::candidates::lock_many
        SELECT id, coalesce(email_normalized, '') AS "email_normalized!", state, expires_at
          FROM invitations
         WHERE id = ANY($2) AND organization_id = $1
         ORDER BY invitations.email_normalized, id
           FOR NO KEY UPDATE"#,
        organization_id.as_str(),
        ids,
    )
    .fetch_all(connection.driver())
    .await?;
    Ok(candidates)
}
