//! Locks the invitations that a bulk call is about to act on.

use time::OffsetDateTime;
use uuid::Uuid;

use super::subjects::current_state;
use super::{Connection, Result};
use crate::domain::ids::OrganizationId;
use crate::domain::invitation::StateName;

/// What decides whether a bulk call may act on an invitation. Not `Debug`: it holds an address.
pub struct Candidate {
    pub id: Uuid,
    /// Empty once the address was erased.
    pub email_normalized: String,
    state: String,
    expires_at: OffsetDateTime,
}

impl Candidate {
    pub const fn is_erased(&self) -> bool {
        self.email_normalized.is_empty()
    }

    pub fn state(&self, now: OffsetDateTime) -> Result<StateName> {
        current_state(&self.state, self.expires_at, now)
    }
}

/// Locks those of an organization's invitations that exist. Returns them by address, and then from old to new.
pub async fn lock_many(
    connection: &mut Connection<'_>,
    organization_id: &OrganizationId,
    ids: &[Uuid],
) -> Result<Vec<Candidate>> {
    let query = sqlx::query_as!(
        Candidate,
        r#"-- store::candidates::lock_many
        SELECT id, coalesce(email_normalized, '') AS "email_normalized!", state, expires_at
          FROM invitations
         WHERE id = ANY($2) AND organization_id = $1
         ORDER BY invitations.email_normalized, id
           FOR NO KEY UPDATE"#,
        organization_id.as_str(),
        ids,
    );
    connection.fetch_all(query).await
}
