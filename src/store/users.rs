//! The `users` table and the addresses of users in `user_emails`.

use std::collections::HashMap;

use time::OffsetDateTime;

use super::{Connection, Result, column};
use crate::domain::ids::{OrganizationId, UserId};
use crate::domain::user::User;

/// Inserts or replaces users with all their addresses, and returns the ids of the users that were inserted.
pub async fn upsert_many(
    connection: &mut Connection<'_>,
    users: &[User],
    now: OffsetDateTime,
) -> Result<Vec<String>> {
    let mut sorted: Vec<&User> = users.iter().collect();
    sorted.sort_by_key(|user| &user.id);
    let (owners, emails): (Vec<&str>, Vec<&str>) = sorted
        .iter()
        .flat_map(|user| {
            let emails = user.emails_normalized.iter();
            emails.map(|email| (user.id.as_str(), email.as_str()))
        })
        .unzip();
    let query = sqlx::query_scalar!(
        r#"-- store::users::upsert_many
        WITH email AS (
            SELECT DISTINCT email_normalized COLLATE "C" AS email_normalized, user_id COLLATE "C" AS user_id
              FROM UNNEST($4::text[], $3::text[]) AS t (email_normalized, user_id)
        ), removed_email AS (
            DELETE FROM user_emails AS e
             WHERE e.user_id = ANY($1)
               AND NOT EXISTS (SELECT FROM email
                                WHERE email.email_normalized = e.email_normalized AND email.user_id = e.user_id)
        ), inserted_email AS (
            INSERT INTO user_emails (email_normalized, user_id)
            SELECT email_normalized, user_id FROM email ORDER BY 1, 2
                ON CONFLICT DO NOTHING
        ), written AS (
            INSERT INTO users (id, name, created_at, updated_at)
            SELECT id, name, $5, $5 FROM UNNEST($1::text[], $2::text[]) AS t (id, name)
                ON CONFLICT (id) DO UPDATE SET name = excluded.name, updated_at = excluded.updated_at
            RETURNING id, (xmax = 0) AS is_added
        )
        SELECT id FROM written WHERE is_added"#,
        &column(&sorted, |user| user.id.as_str()) as &[&str],
        &column(&sorted, |user| user.name.as_str()) as &[&str],
        &owners as &[&str],
        &emails as &[&str],
        now,
    );
    connection.fetch_all(query).await
}

/// Returns those of the ids that exist.
pub async fn existing(connection: &mut Connection<'_>, ids: &[String]) -> Result<Vec<String>> {
    let query = sqlx::query_scalar!(
        "-- store::users::existing
        SELECT id FROM users WHERE id = ANY($1)",
        ids,
    );
    connection.fetch_all(query).await
}

/// Whether the directory has the address for the user.
pub async fn owns_email(
    connection: &mut Connection<'_>,
    user_id: &UserId,
    email_normalized: &str,
) -> Result<bool> {
    let query = sqlx::query_scalar!(
        r#"-- store::users::owns_email
        SELECT EXISTS (SELECT FROM user_emails WHERE email_normalized = $2 AND user_id = $1) AS "is_owner!""#,
        user_id.as_str(),
        email_normalized,
    );
    connection.fetch_one(query).await
}

/// Deletes a user with their addresses. Returns how many addresses there were, or `None` if the user does not exist.
pub async fn delete(connection: &mut Connection<'_>, id: &UserId) -> Result<Option<u64>> {
    let query = sqlx::query_scalar!(
        r#"-- store::users::delete
        WITH deleted_email AS (DELETE FROM user_emails WHERE user_id = $1 RETURNING user_id),
             deleted AS (DELETE FROM users WHERE id = $1 RETURNING id)
        SELECT (SELECT count(*) FROM deleted_email) AS "emails!" FROM deleted"#,
        id.as_str(),
    );
    let emails = connection.fetch_optional(query).await?;
    Ok(emails.map(i64::unsigned_abs))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AddressRemoval {
    /// Users who had the address.
    pub users: i64,
    /// Those of them who had no other address.
    pub users_without_address: i64,
}

/// Removes an address from all users. A user without another address also loses their name and the metadata of their
/// memberships, so that only their id is left. Must run inside a transaction.
pub async fn remove_address(
    connection: &mut Connection<'_>,
    email_normalized: &str,
    now: OffsetDateTime,
) -> Result<AddressRemoval> {
    // The lock serializes calls for two addresses of one user, so that the second call sees that no address is left.
    let query = sqlx::query!(
        "-- store::users::lock_of_address
        SELECT u.id
          FROM users u
         WHERE u.id IN (SELECT user_id FROM user_emails WHERE email_normalized = $1)
         ORDER BY u.id
           FOR NO KEY UPDATE",
        email_normalized,
    );
    let _: Vec<_> = connection.fetch_all(query).await?;
    let query = sqlx::query_as!(
        AddressRemoval,
        r#"-- store::users::remove_address
        WITH removed AS (
            DELETE FROM user_emails WHERE email_normalized = $1 RETURNING user_id
        ), without_address AS (
            UPDATE users AS u SET name = '', updated_at = $2
              FROM removed
             WHERE u.id = removed.user_id
               AND NOT EXISTS (SELECT FROM user_emails e WHERE e.user_id = u.id AND e.email_normalized <> $1)
            RETURNING u.id
        ), membership AS (
            UPDATE memberships AS m SET public_metadata = NULL, private_metadata = NULL, updated_at = $2
              FROM without_address
             WHERE m.user_id = without_address.id AND (m.public_metadata IS NOT NULL OR m.private_metadata IS NOT NULL)
        )
        SELECT (SELECT count(*) FROM removed) AS "users!",
               (SELECT count(*) FROM without_address) AS "users_without_address!""#,
        email_normalized,
        now,
    );
    connection.fetch_one(query).await
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddressOwner {
    /// If several users own the address, the smallest id.
    pub user_id: String,
    /// Whether any of the owners is a member of the organization.
    pub is_member: bool,
}

/// Returns the owners of those addresses that have one, by address.
pub async fn address_owners(
    connection: &mut Connection<'_>,
    organization_id: &OrganizationId,
    emails_normalized: &[&str],
) -> Result<HashMap<String, AddressOwner>> {
    let query = sqlx::query!(
        r#"-- store::users::address_owners
        SELECT e.email_normalized, min(e.user_id) AS "user_id!",
               bool_or(EXISTS (SELECT FROM memberships m
                                WHERE m.organization_id = $1 AND m.user_id = e.user_id)) AS "is_member!"
          FROM user_emails e
         WHERE e.email_normalized = ANY ((SELECT $2::text[])::text[])
         GROUP BY e.email_normalized"#,
        organization_id.as_str(),
        emails_normalized as &[&str],
    )
    .map(|row| {
        let (user_id, is_member) = (row.user_id, row.is_member);
        (row.email_normalized, AddressOwner { user_id, is_member })
    });
    connection.fetch_all(query).await
}
