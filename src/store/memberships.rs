//! The `memberships` table.

use std::collections::HashMap;

use super::Connection;
use time::OffsetDateTime;

use super::StoreError;
use crate::domain::ids::{OrganizationId, UserId};
use crate::domain::membership::Membership;
use crate::domain::new_invitation::Inviter;
use crate::domain::role::Role;

/// A membership to write, its role settled.
pub struct MembershipRow {
    /// The organization.
    pub organization_id: OrganizationId,
    /// The user.
    pub user_id: UserId,
    /// The role.
    pub role: String,
    /// A JSON object.
    pub public_metadata: Option<String>,
    /// A JSON object.
    pub private_metadata: Option<String>,
}

/// Adds or replaces memberships; returns the (organization, user) pairs that were added.
pub async fn upsert_many(
    connection: &mut Connection<'_>,
    rows: &[MembershipRow],
    now: OffsetDateTime,
) -> Result<Vec<(String, String)>, StoreError> {
    let mut sorted: Vec<&MembershipRow> = rows.iter().collect();
    sorted.sort_by_key(|row| (&row.organization_id, &row.user_id));
    let column = |of: fn(&MembershipRow) -> String| -> Vec<String> {
        sorted.iter().map(|row| of(row)).collect()
    };
    let optional = |of: fn(&MembershipRow) -> Option<String>| -> Vec<Option<String>> {
        sorted.iter().map(|row| of(row)).collect()
    };
    let added = sqlx::query!(
        r#"-- store::memberships::upsert_many
        WITH written AS (
            INSERT INTO memberships
                   (organization_id, user_id, role, public_metadata, private_metadata, created_at, updated_at)
            SELECT organization_id, user_id, role, public_metadata::jsonb, private_metadata::jsonb, $6, $6
              FROM UNNEST($1::text[], $2::text[], $3::text[], $4::text[], $5::text[])
                   AS t (organization_id, user_id, role, public_metadata, private_metadata)
                ON CONFLICT (organization_id, user_id) DO UPDATE
               SET role = excluded.role, public_metadata = excluded.public_metadata,
                   private_metadata = excluded.private_metadata, updated_at = excluded.updated_at
            RETURNING organization_id, user_id, (xmax = 0) AS is_added
        )
        SELECT organization_id, user_id FROM written WHERE is_added"#,
        &column(|row| row.organization_id.as_str().to_owned()),
        &column(|row| row.user_id.as_str().to_owned()),
        &column(|row| row.role.clone()),
        &optional(|row| row.public_metadata.clone()) as &[Option<String>],
        &optional(|row| row.private_metadata.clone()) as &[Option<String>],
        now,
    )
    .fetch_all(connection.driver())
    .await?;
    Ok(added
        .into_iter()
        .map(|row| (row.organization_id, row.user_id))
        .collect())
}

/// Returns one membership.
pub async fn get(
    connection: &mut Connection<'_>,
    organization_id: &str,
    user_id: &str,
) -> Result<Option<Membership>, StoreError> {
    let membership = sqlx::query_as!(
        Membership,
        "-- store::memberships::get
        SELECT organization_id, user_id, role, public_metadata, private_metadata, invitation_id, created_at, updated_at
          FROM memberships
         WHERE organization_id = $1 AND user_id = $2",
        organization_id,
        user_id,
    )
    .fetch_optional(connection.driver())
    .await?;
    Ok(membership)
}

/// Returns the memberships of an organization by user, those after `after` alone, at most `limit`.
pub async fn list(
    connection: &mut Connection<'_>,
    organization_id: &OrganizationId,
    after: &str,
    limit: i64,
) -> Result<Vec<Membership>, StoreError> {
    let memberships = sqlx::query_as!(
        Membership,
        "-- store::memberships::list
        SELECT organization_id, user_id, role, public_metadata, private_metadata, invitation_id, created_at, updated_at
          FROM memberships
         WHERE organization_id = $1 AND user_id > $2
         ORDER BY user_id
         LIMIT $3",
        organization_id.as_str(),
        after,
        limit,
    )
    .fetch_all(connection.driver())
    .await?;
    Ok(memberships)
}

/// What the directory knows of people named as inviters: those it does not know are left out.
///
/// Their memberships stay as they are until the transaction ends: whoever removes one waits, and then finds the
/// invitations that were made in its name; whoever makes an admin a member waits, too.
pub async fn inviters(
    connection: &mut Connection<'_>,
    organization_id: &OrganizationId,
    user_ids: &[&str],
) -> Result<HashMap<String, Inviter>, StoreError> {
    let rows = sqlx::query!(
        r#"-- store::memberships::inviters
        WITH membership AS (
            SELECT user_id, role
              FROM memberships
             WHERE organization_id = $1 AND user_id = ANY($2)
             ORDER BY user_id
               FOR SHARE
        )
        SELECT u.id, u.name, coalesce(membership.role = $3, false) AS "is_admin!"
          FROM users u
          LEFT JOIN membership ON membership.user_id = u.id
         WHERE u.id = ANY($2)"#,
        organization_id.as_str(),
        user_ids as &[&str],
        Role::ADMIN,
    )
    .fetch_all(connection.driver())
    .await?;
    let inviter = |name, is_admin| Inviter { name, is_admin };
    Ok(rows
        .into_iter()
        .map(|row| (row.id, inviter(row.name, row.is_admin)))
        .collect())
}

/// Whether a user is an admin member of an organization; the same answer for one that is not known.
pub async fn is_admin(
    connection: &mut Connection<'_>,
    organization_id: &OrganizationId,
    user_id: &UserId,
) -> Result<bool, StoreError> {
    let is_admin = sqlx::query_scalar!(
        r#"-- store::memberships::is_admin
        SELECT EXISTS (
               SELECT FROM memberships m
                 JOIN organizations o ON o.id = m.organization_id
                WHERE m.organization_id = $1 AND m.user_id = $2 AND m.role = $3
                  AND o.deleted_at IS NULL) AS "is_admin!""#,
        organization_id.as_str(),
        user_id.as_str(),
        Role::ADMIN,
    )
    .fetch_one(connection.driver())
    .await?;
    Ok(is_admin)
}

/// Deletes one membership; `false` if it is not known.
pub async fn delete(
    connection: &mut Connection<'_>,
    organization_id: &OrganizationId,
    user_id: &UserId,
) -> Result<bool, StoreError> {
    let deleted = sqlx::query!(
        "-- store::memberships::delete
        DELETE FROM memberships WHERE organization_id = $1 AND user_id = $2",
        organization_id.as_str(),
        user_id.as_str(),
    )
    .execute(connection.driver())
    .await?;
    Ok(deleted.rows_affected() == 1)
}

/// Deletes every membership of an organization; returns how many.
pub async fn delete_of_organization(
    connection: &mut Connection<'_>,
    organization_id: &OrganizationId,
) -> Result<u64, StoreError> {
    let deleted = sqlx::query!(
        "-- store::memberships::delete_of_organization
        DELETE FROM memberships WHERE organization_id = $1",
        organization_id.as_str(),
    )
    .execute(connection.driver())
    .await?;
    Ok(deleted.rows_affected())
}

/// Deletes every membership of a user; returns the organizations they were in.
pub async fn delete_of_user(
    connection: &mut Connection<'_>,
    user_id: &UserId,
) -> Result<Vec<String>, StoreError> {
    let organizations = sqlx::query_scalar!(
        "-- store::memberships::delete_of_user
        DELETE FROM memberships WHERE user_id = $1 RETURNING organization_id",
        user_id.as_str(),
    )
    .fetch_all(connection.driver())
    .await?;
    Ok(organizations)
}
