//! The `memberships` table.

use std::collections::HashMap;

use time::OffsetDateTime;

use super::{Connection, Result, bytes_max, column};
use crate::domain::ids::{OrganizationId, UserId};
use crate::domain::membership::{Membership, MembershipChanges};
use crate::domain::new_invitation::Inviter;

/// The organization and the user of a membership.
pub type MemberKey = (String, String);

/// A membership to upsert. The metadata are JSON objects.
pub struct MembershipRow {
    pub organization_id: OrganizationId,
    pub user_id: UserId,
    pub role: String,
    pub public_metadata: Option<String>,
    pub private_metadata: Option<String>,
    pub changes: MembershipChanges,
}

/// Inserts memberships, or changes the fields that change of those that exist. Returns the (organization, user) pairs that
/// were inserted.
pub async fn upsert_many(
    connection: &mut Connection<'_>,
    rows: &[MembershipRow],
    now: OffsetDateTime,
) -> Result<Vec<(String, String)>> {
    let mut sorted: Vec<&MembershipRow> = rows.iter().collect();
    sorted.sort_by_key(|row| (&row.organization_id, &row.user_id));
    let query = sqlx::query!(
        r#"-- store::memberships::upsert_many
        WITH item AS (
            SELECT organization_id COLLATE "C" AS organization_id, user_id COLLATE "C" AS user_id, role,
                   public_metadata::jsonb, private_metadata::jsonb, is_role_changed, is_public_changed,
                   is_private_changed
              FROM UNNEST($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $7::boolean[], $8::boolean[],
                          $9::boolean[])
                   AS t (organization_id, user_id, role, public_metadata, private_metadata, is_role_changed,
                         is_public_changed, is_private_changed)
        ), written AS (
            INSERT INTO memberships AS m
                   (organization_id, user_id, role, public_metadata, private_metadata, created_at, updated_at)
            SELECT organization_id, user_id, role, public_metadata, private_metadata, $6, $6 FROM item
                ON CONFLICT (organization_id, user_id) DO UPDATE
               SET role = CASE WHEN (excluded.organization_id, excluded.user_id) IN
                                    (SELECT organization_id, user_id FROM item WHERE is_role_changed)
                               THEN excluded.role ELSE m.role END,
                   public_metadata = CASE WHEN (excluded.organization_id, excluded.user_id) IN
                                               (SELECT organization_id, user_id FROM item WHERE is_public_changed)
                                          THEN excluded.public_metadata ELSE m.public_metadata END,
                   private_metadata = CASE WHEN (excluded.organization_id, excluded.user_id) IN
                                                (SELECT organization_id, user_id FROM item WHERE is_private_changed)
                                           THEN excluded.private_metadata ELSE m.private_metadata END,
                   updated_at = excluded.updated_at
            RETURNING organization_id, user_id, (xmax = 0) AS is_added
        )
        SELECT organization_id, user_id FROM written WHERE is_added"#,
        &column(&sorted, |row| row.organization_id.as_str()) as &[&str],
        &column(&sorted, |row| row.user_id.as_str()) as &[&str],
        &column(&sorted, |row| row.role.as_str()) as &[&str],
        &column(&sorted, |row| row.public_metadata.as_deref()) as &[Option<&str>],
        &column(&sorted, |row| row.private_metadata.as_deref()) as &[Option<&str>],
        now,
        &column(&sorted, |row| row.changes.role),
        &column(&sorted, |row| row.changes.public_metadata),
        &column(&sorted, |row| row.changes.private_metadata),
    )
    .map(|row| (row.organization_id, row.user_id));
    connection.fetch_all(query).await
}

pub async fn get(
    connection: &mut Connection<'_>,
    organization_id: &str,
    user_id: &str,
) -> Result<Option<Membership>> {
    let query = sqlx::query_as!(
        Membership,
        "-- store::memberships::get
        SELECT organization_id, user_id, role, public_metadata::text, private_metadata::text, invitation_id, created_at,
               updated_at
          FROM memberships
         WHERE organization_id = $1 AND user_id = $2",
        organization_id,
        user_id,
    );
    connection.fetch_optional(query).await
}

/// A membership of a list.
#[derive(Debug)]
pub struct ListedMembership {
    pub membership: Membership,
    /// Whether the metadata of this row and of those before it have too many bytes to be read together. Then this row has
    /// none.
    pub is_beyond_bytes: bool,
}

/// Returns the memberships of an organization whose user id is greater than `after`, by user id.
pub async fn list(
    connection: &mut Connection<'_>,
    organization_id: &OrganizationId,
    after: &str,
    limit: i64,
) -> Result<Vec<ListedMembership>> {
    let query = sqlx::query!(
        r#"-- store::memberships::list
        SELECT organization_id, user_id, role, invitation_id, created_at, updated_at,
               CASE WHEN read_bytes <= $4 THEN public_metadata::text END AS public_metadata,
               CASE WHEN read_bytes <= $4 THEN private_metadata::text END AS private_metadata,
               read_bytes > $4 AS "is_beyond_bytes!"
          FROM (SELECT page.*,
                       sum(coalesce(octet_length(public_metadata::text), 0)
                           + coalesce(octet_length(private_metadata::text), 0))
                           OVER (ORDER BY user_id ROWS UNBOUNDED PRECEDING) AS read_bytes
                  FROM (SELECT *
                          FROM memberships
                         WHERE organization_id = $1 AND user_id > $2
                         ORDER BY user_id
                         LIMIT $3) AS page) AS measured
         ORDER BY user_id"#,
        organization_id.as_str(),
        after,
        limit,
        bytes_max(),
    )
    .map(|row| ListedMembership {
        membership: Membership {
            organization_id: row.organization_id,
            user_id: row.user_id,
            role: row.role,
            public_metadata: row.public_metadata,
            private_metadata: row.private_metadata,
            invitation_id: row.invitation_id,
            created_at: row.created_at,
            updated_at: row.updated_at,
        },
        is_beyond_bytes: row.is_beyond_bytes,
    });
    connection.fetch_all(query).await
}

/// Returns the users that the directory knows, by id, and locks their memberships until the transaction ends. A
/// transaction that removes a membership or changes its role waits, and then sees the invitations of the user.
pub async fn lock_inviters(
    connection: &mut Connection<'_>,
    organization_id: &OrganizationId,
    user_ids: &[&str],
) -> Result<HashMap<String, Inviter>> {
    let query = sqlx::query!(
        r#"-- store::memberships::lock_inviters
        WITH membership AS (
            SELECT user_id, role
              FROM memberships
             WHERE organization_id = $1 AND user_id = ANY($2)
             ORDER BY user_id
               FOR SHARE
        )
        SELECT u.id, u.name,
               coalesce(membership.role = ANY((SELECT o.inviting_roles FROM organizations o WHERE o.id = $1)::text[]),
                        false) AS "can_invite!"
          FROM users u
          LEFT JOIN membership ON membership.user_id = u.id
         WHERE u.id = ANY($2)"#,
        organization_id.as_str(),
        user_ids as &[&str],
    )
    .map(|row| {
        let (name, can_invite) = (row.name, row.can_invite);
        (row.id, Inviter { name, can_invite })
    });
    connection.fetch_all(query).await
}

/// Whether a user is a member, with a role that can invite, of an organization that exists and is not deleted.
pub async fn can_invite(
    connection: &mut Connection<'_>,
    organization_id: &OrganizationId,
    user_id: &UserId,
) -> Result<bool> {
    let query = sqlx::query_scalar!(
        r#"-- store::memberships::can_invite
        SELECT EXISTS (
               SELECT FROM memberships m
                 JOIN organizations o ON o.id = m.organization_id
                WHERE m.organization_id = $1 AND m.user_id = $2 AND m.role = ANY(o.inviting_roles)
                  AND o.deleted_at IS NULL) AS "can_invite!""#,
        organization_id.as_str(),
        user_id.as_str(),
    );
    connection.fetch_one(query).await
}

/// Deletes those of the memberships that exist, and returns their keys in order. Must run with custom plans.
pub async fn delete_many(
    connection: &mut Connection<'_>,
    keys: &[MemberKey],
) -> Result<Vec<MemberKey>> {
    let query = sqlx::query!(
        r#"-- store::memberships::delete_many
        WITH locked AS (
            SELECT m.organization_id, m.user_id
              FROM (SELECT organization_id COLLATE "C" AS organization_id, user_id COLLATE "C" AS user_id
                      FROM UNNEST($1::text[], $2::text[]) AS t (organization_id, user_id)
                     ORDER BY 1, 2) AS t
             CROSS JOIN LATERAL (
                   SELECT organization_id, user_id
                     FROM memberships
                    WHERE organization_id = t.organization_id AND user_id = t.user_id
                    LIMIT 1
                      FOR UPDATE) AS m
        ), deleted AS (
            DELETE FROM memberships AS m
             USING locked
             WHERE m.organization_id = locked.organization_id AND m.user_id = locked.user_id
            RETURNING m.organization_id, m.user_id
        )
        SELECT organization_id, user_id FROM deleted ORDER BY organization_id, user_id"#,
        &column(keys, |(organization_id, _)| organization_id.as_str()) as &[&str],
        &column(keys, |(_, user_id)| user_id.as_str()) as &[&str],
    )
    .map(|row| (row.organization_id, row.user_id));
    connection.fetch_all(query).await
}

/// Deletes every membership of an organization, and returns how many.
pub async fn delete_of_organization(
    connection: &mut Connection<'_>,
    organization_id: &OrganizationId,
) -> Result<u64> {
    let query = sqlx::query!(
        "-- store::memberships::delete_of_organization
        DELETE FROM memberships WHERE organization_id = $1",
        organization_id.as_str(),
    );
    connection.execute(query).await
}

/// Deletes every membership of users, and returns the keys in order. Must run with custom plans.
pub async fn delete_of_users(
    connection: &mut Connection<'_>,
    user_ids: &[String],
) -> Result<Vec<MemberKey>> {
    let query = sqlx::query!(
        "-- store::memberships::delete_of_users
        WITH locked AS (
            SELECT organization_id, user_id
              FROM memberships
             WHERE user_id = ANY($1)
             ORDER BY organization_id, user_id
               FOR UPDATE
        ), deleted AS (
            DELETE FROM memberships AS m
             USING locked
             WHERE m.organization_id = locked.organization_id AND m.user_id = locked.user_id
            RETURNING m.organization_id, m.user_id
        )
        SELECT organization_id, user_id FROM deleted ORDER BY organization_id, user_id",
        user_ids,
    )
    .map(|row| (row.organization_id, row.user_id));
    connection.fetch_all(query).await
}
