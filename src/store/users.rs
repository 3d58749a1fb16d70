//! The `users` table and the addresses of users in `user_emails`.

use sqlx::PgConnection;
use time::OffsetDateTime;

use super::StoreError;
use crate::domain::ids::UserId;
use crate::domain::user::User;

/// Adds or replaces users with all their addresses, in one statement; returns the ids of those that were added.
pub async fn upsert_many(
    connection: &mut PgConnection,
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
    .fetch_all(connection)
    .await?;
    Ok(added)
}

/// Those of the ids that are known.
pub async fn known(
    connection: &mut PgConnection,
    ids: &[String],
) -> Result<Vec<String>, StoreError> {
    let known = sqlx::query_scalar!(
        "-- store::users::known
        SELECT id FROM users WHERE id = ANY($1)",
        ids,
    )
    .fetch_all(connection)
    .await?;
    Ok(known)
}

/// Deletes a user with their addresses; `false` if they are not known.
pub async fn delete(connection: &mut PgConnection, id: &UserId) -> Result<bool, StoreError> {
    let deleted = sqlx::query!(
        "-- store::users::delete
        WITH dropped AS (DELETE FROM user_emails WHERE user_id = $1)
        DELETE FROM users WHERE id = $1",
        id.as_str(),
    )
    .execute(connection)
    .await?;
    Ok(deleted.rows_affected() == 1)
}
