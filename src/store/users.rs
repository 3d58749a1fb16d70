//! The `users` table and the addresses of users in `user_emails`.

use std::collections::HashMap;

use super::Connection;
use time::OffsetDateTime;

use super::StoreError;
use crate::domain::ids::{OrganizationId, UserId};
use crate::domain::user::User;

/// Adds or replaces users with all their addresses, in one statement; returns the ids of those that were added.
pub async fn upsert_many(
    connection: &mut Connection<'_>,
    users: &[User],
    now: OffsetDateTime,
) -> Result<Vec<String>, StoreError> {
    let mut sorted: Vec<&User> = users.iter().collect();
    sorted.sort_by(|one, other| one.id.cmp(&other.id));
    let ids: Vec<String> = sorted
        .iter()
        .map(|user| user.id.as_str().to_owned())
        .collect();
    let names: Vec<String> = sorted.iter().map(|user| user.name.clone()).collect();
    let (owners, emails): (Vec<String>, Vec<String>) = sorted
        .iter()
        .flat_map(|user| {
            user.emails_normalized
                .iter()
                .map(|email| (user.id.as_str().to_owned(), email.clone()))
        })
        .unzip();
    let added = sqlx::query_scalar!(
        r#"-- store::users::upsert_many
        WITH email AS (
            SELECT DISTINCT email_normalized COLLATE "C" AS email_normalized, user_id COLLATE "C" AS user_id
              FROM UNNEST($4::text[], $3::text[]) AS t (email_normalized, user_id)
        ), dropped AS (
            DELETE FROM user_emails AS e
             WHERE e.user_id = ANY($1)
               AND NOT EXISTS (SELECT FROM email
                                WHERE email.email_normalized = e.email_normalized AND email.user_id = e.user_id)
        ), kept AS (
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
        &ids,
        &names,
        &owners,
        &emails,
        now,
    )
    .fetch_all(connection.driver())
    .await?;
    Ok(added)
}

/// Those of the ids that are known.
pub async fn known(
    connection: &mut Connection<'_>,
    ids: &[String],
) -> Result<Vec<String>, StoreError> {
    let known = sqlx::query_scalar!(
        "-- store::users::known
        SELECT id FROM users WHERE id = ANY($1)",
        ids,
    )
    .fetch_all(connection.driver())
    .await?;
    Ok(known)
}

/// Deletes a user with their name and addresses; returns how many addresses, or `None` if the user is not known.
pub async fn delete(
    connection: &mut Connection<'_>,
    id: &UserId,
) -> Result<Option<u64>, StoreError> {
    let emails = sqlx::query_scalar!(
        r#"-- store::users::delete
        WITH dropped AS (DELETE FROM user_emails WHERE user_id = $1 RETURNING user_id),
             deleted AS (DELETE FROM users WHERE id = $1 RETURNING id)
        SELECT (SELECT count(*) FROM dropped) AS "emails!" FROM deleted"#,
        id.as_str(),
    )
    .fetch_optional(connection.driver())
    .await?;
    Ok(emails.map(i64::unsigned_abs))
}

/// What taking an address from users came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Forgotten {
    /// Users who had it.
    pub users: i64,
    /// Those of them who had no other.
    pub nameless: i64,
}

/// Takes an address from every user who has it. Who has no other loses their name and the metadata of their memberships
/// too: what is left of them is an id. For use inside a transaction.
pub async fn forget_address(
    connection: &mut Connection<'_>,
    email_normalized: &str,
    now: OffsetDateTime,
) -> Result<Forgotten, StoreError> {
    // Locked first: of two addresses that are taken from one user at once, the later call sees that none is left.
    sqlx::query!(
        "-- store::users::lock_of_address
        SELECT u.id
          FROM users u
         WHERE u.id IN (SELECT user_id FROM user_emails WHERE email_normalized = $1)
         ORDER BY u.id
           FOR NO KEY UPDATE",
        email_normalized,
    )
    .fetch_all(connection.driver())
    .await?;
    let forgotten = sqlx::query_as!(
        Forgotten,
        r#"-- store::users::forget_address
        WITH dropped AS (
            DELETE FROM user_emails WHERE email_normalized = $1 RETURNING user_id
        ), nameless AS (
            UPDATE users AS u SET name = '', updated_at = $2
              FROM dropped
             WHERE u.id = dropped.user_id
               AND NOT EXISTS (SELECT FROM user_emails e WHERE e.user_id = u.id AND e.email_normalized <> $1)
            RETURNING u.id
        ), bare AS (
            UPDATE memberships AS m SET public_metadata = NULL, private_metadata = NULL, updated_at = $2
              FROM nameless
             WHERE m.user_id = nameless.id AND (m.public_metadata IS NOT NULL OR m.private_metadata IS NOT NULL)
        )
        SELECT (SELECT count(*) FROM dropped) AS "users!", (SELECT count(*) FROM nameless) AS "nameless!""#,
        email_normalized,
        now,
    )
    .fetch_one(connection.driver())
    .await?;
    Ok(forgotten)
}

/// A user who owns an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// Who; of several the first by id.
    pub user_id: String,
    /// Whether such a user is a member of the organization.
    pub is_member: bool,
}

/// The owners of those addresses that have one, by address.
///
/// The array comes out of a subquery, so that it is planned for the few rows that any array is taken for, by the index and
/// without a look at each of its thousands of elements.
pub async fn owners(
    connection: &mut Connection<'_>,
    organization_id: &OrganizationId,
    emails_normalized: &[&str],
) -> Result<HashMap<String, Owner>, StoreError> {
    let rows = sqlx::query!(
        r#"-- store::users::owners
        SELECT e.email_normalized, min(e.user_id) AS "user_id!",
               bool_or(EXISTS (SELECT FROM memberships m
                                WHERE m.organization_id = $1 AND m.user_id = e.user_id)) AS "is_member!"
          FROM user_emails e
         WHERE e.email_normalized = ANY ((SELECT $2::text[])::text[])
         GROUP BY e.email_normalized"#,
        organization_id.as_str(),
        emails_normalized as &[&str],
    )
    .fetch_all(connection.driver())
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| {
            let owner = Owner {
                user_id: row.user_id,
                is_member: row.is_member,
            };
            (row.email_normalized, owner)
        })
        .collect())
}
