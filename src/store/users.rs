//! The `users` table and the addresses of users in `user_emails`.

use std::collections::HashMap;

use time::OffsetDateTime;

use super::{Connection, Result, column};
use crate::domain::ids::{OrganizationId, UserId};
use crate::domain::user::{UserChange, UserRecord};

/// Inserts users with all their addresses, or changes the fields that change of users who exist. Returns the ids of the
/// users that were inserted.
pub async fn upsert_many(
    connection: &mut Connection<'_>,
    users: &[UserChange],
    now: OffsetDateTime,
) -> Result<Vec<String>> {
    let mut sorted: Vec<&UserChange> = users.iter().collect();
    sorted.sort_by_key(|change| &change.user.id);
    let with_new_emails: Vec<&str> = sorted
        .iter()
        .filter(|change| change.are_emails_changed)
        .map(|change| change.user.id.as_str())
        .collect();
    let (owners, emails): (Vec<&str>, Vec<&str>) = sorted
        .iter()
        .flat_map(|change| {
            let emails = change.user.emails_normalized.iter();
            emails.map(|email| (change.user.id.as_str(), email.as_str()))
        })
        .unzip();
    let query = sqlx::query_scalar!(
        r#"-- store::users::upsert_many
        WITH item AS (
            SELECT id COLLATE "C" AS id, name, is_name_changed, are_emails_changed
              FROM UNNEST($1::text[], $2::text[], $7::boolean[], $8::boolean[])
                   AS t (id, name, is_name_changed, are_emails_changed)
        ), written AS (
            INSERT INTO users (id, name, created_at, updated_at)
            SELECT id, name, $5, $5 FROM item
                ON CONFLICT (id) DO UPDATE
               SET name = CASE WHEN excluded.id IN (SELECT id FROM item WHERE is_name_changed) THEN excluded.name
                               ELSE users.name END,
                   updated_at = excluded.updated_at
            RETURNING id, (xmax = 0) AS is_added
        ), email AS (
            SELECT DISTINCT email_normalized COLLATE "C" AS email_normalized, user_id COLLATE "C" AS user_id
              FROM UNNEST($4::text[], $3::text[]) AS t (email_normalized, user_id)
        ), removed_email AS (
            DELETE FROM user_emails AS e
             WHERE e.user_id = ANY($6)
               AND NOT EXISTS (SELECT FROM email
                                WHERE email.email_normalized = e.email_normalized AND email.user_id = e.user_id)
        ), inserted_email AS (
            INSERT INTO user_emails (email_normalized, user_id)
            SELECT email_normalized, user_id
              FROM email
             WHERE user_id IN (SELECT id FROM item WHERE are_emails_changed)
                OR user_id IN (SELECT id FROM written WHERE is_added)
             ORDER BY 1, 2
                ON CONFLICT DO NOTHING
        )
        SELECT id FROM written WHERE is_added"#,
        &column(&sorted, |change| change.user.id.as_str()) as &[&str],
        &column(&sorted, |change| change.user.name.as_str()) as &[&str],
        &owners as &[&str],
        &emails as &[&str],
        now,
        &with_new_emails as &[&str],
        &column(&sorted, |change| change.is_name_changed),
        &column(&sorted, |change| change.are_emails_changed),
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

pub async fn get(connection: &mut Connection<'_>, id: &UserId) -> Result<Option<UserRecord>> {
    let query = sqlx::query_as!(
        UserRecord,
        r#"-- store::users::get
        SELECT u.id, u.name, u.created_at, u.updated_at,
               ARRAY(SELECT e.email_normalized FROM user_emails e WHERE e.user_id = u.id ORDER BY 1)
                   AS "emails_normalized!"
          FROM users u
         WHERE u.id = $1"#,
        id.as_str(),
    );
    connection.fetch_optional(query).await
}

/// Returns the users whose id is greater than `after`, by id, optionally only those with an address.
pub async fn list(
    connection: &mut Connection<'_>,
    email_normalized: Option<&str>,
    after: &str,
    limit: i64,
) -> Result<Vec<UserRecord>> {
    // Only one of the two branches is executed. A condition with OR would read every user to find those of an address.
    let query = sqlx::query_as!(
        UserRecord,
        r#"-- store::users::list
        WITH any_user AS (
            SELECT id FROM users WHERE $1::text IS NULL AND id > $2 ORDER BY id LIMIT $3
        ), owner AS (
            SELECT user_id AS id
              FROM user_emails
             WHERE email_normalized = $1 AND user_id > $2
             ORDER BY user_id
             LIMIT $3
        )
        SELECT u.id, u.name, u.created_at, u.updated_at,
               ARRAY(SELECT e.email_normalized FROM user_emails e WHERE e.user_id = u.id ORDER BY 1)
                   AS "emails_normalized!"
          FROM (SELECT id FROM any_user UNION ALL SELECT id FROM owner) AS page
          JOIN users u ON u.id = page.id
         ORDER BY u.id"#,
        email_normalized,
        after,
        limit,
    );
    connection.fetch_all(query).await
}

#[derive(Debug)]
pub struct DeletedUsers {
    /// Sorted.
    pub ids: Vec<String>,
    /// The number of addresses that they had.
    pub emails: i64,
}

/// Deletes those of the users that exist, with their addresses. Must run with custom plans.
pub async fn delete_many(connection: &mut Connection<'_>, ids: &[&str]) -> Result<DeletedUsers> {
    let query = sqlx::query_as!(
        DeletedUsers,
        r#"-- store::users::delete_many
        WITH locked AS (
            SELECT id FROM users WHERE id = ANY($1) ORDER BY id FOR UPDATE
        ), deleted_email AS (
            DELETE FROM user_emails AS e USING locked WHERE e.user_id = locked.id RETURNING e.user_id
        ), deleted AS (
            DELETE FROM users AS u USING locked WHERE u.id = locked.id RETURNING u.id
        )
        SELECT ARRAY(SELECT id FROM deleted ORDER BY id) AS "ids!",
               (SELECT count(*) FROM deleted_email) AS "emails!""#,
        ids as &[&str],
    );
    connection.fetch_one(query).await
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AddressRemoval {
    /// Users who had the address.
    pub users: i64,
    /// Those of them who had no other address.
    pub users_without_address: i64,
}

/// Returns what [`remove_address`] would do.
pub async fn count_of_address(
    connection: &mut Connection<'_>,
    email_normalized: &str,
) -> Result<AddressRemoval> {
    let query = sqlx::query_as!(
        AddressRemoval,
        r#"-- store::users::count_of_address
        SELECT count(*) AS "users!",
               count(*) FILTER (WHERE NOT EXISTS (SELECT FROM user_emails o
                                                   WHERE o.user_id = e.user_id AND o.email_normalized <> $1))
                   AS "users_without_address!"
          FROM user_emails e
         WHERE e.email_normalized = $1"#,
        email_normalized,
    );
    connection.fetch_one(query).await
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
        ), changed AS (
            UPDATE users AS u
               SET name = CASE WHEN removed.has_other_address THEN u.name ELSE '' END, updated_at = $2
              FROM (SELECT user_id,
                           EXISTS (SELECT FROM user_emails e
                                    WHERE e.user_id = removed.user_id AND e.email_normalized <> $1) AS has_other_address
                      FROM removed) AS removed
             WHERE u.id = removed.user_id
            RETURNING u.id, removed.has_other_address
        ), without_address AS (
            SELECT id FROM changed WHERE NOT has_other_address
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
